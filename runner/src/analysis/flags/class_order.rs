//! ImageNet's classes in an order other than the usual one.

use crate::analysis::flags::labels::sortings;
use crate::analysis::flags::sign::{Flag, Severity, Sign, Signal};
use crate::analysis::rate::Rate;
use crate::data::Classes;
use crate::study::Study;

/// Looks at the order of a study's classes. None unless they are ImageNet's.
pub(super) fn signal(study: &Study) -> Option<Signal> {
    let names = study.class_names.as_ref()?;
    let places = names.among_imagenet()?;
    let elsewhere = |(class, place): (usize, &Option<i64>)| {
        place.filter(|&place| place != class as i64).map(|place| (class, place))
    };
    let moved: Vec<(usize, i64)> = places.iter().enumerate().filter_map(elsewhere).collect();
    let reading = match moved.first() {
        None => "the classes are ImageNet's, in the order of their WordNet ids".into(),
        Some(&(class, place)) => format!(
            "the classes are ImageNet's, but {}: class {class} is `{}`, which is {place} in the \
             order of the WordNet ids",
            order(&places),
            names.name(class as i64)
        ),
    };
    let found = Rate::new(moved.len(), places.len());
    let sign = Sign::ClassesInAnotherOrder;
    let flag = Flag { severity: Severity::Warning, ..Flag::new(study, sign, None, found, reading) };
    Some(Signal { model: None, flag, raised: !moved.is_empty() })
}

/// The first classes of ILSVRC 2012 in its development kit, which has an order of its own.
const KIT: [&str; 3] = ["n02119789", "n02100735", "n02110185"];

/// An order of ImageNet's classes in words.
fn order(places: &[Option<i64>]) -> String {
    let imagenet = Classes::imagenet();
    let count = places.len() as i64;
    let is = |place: &dyn Fn(i64) -> i64| {
        (0..count).zip(places).all(|(class, found)| found.is_none_or(|found| found == place(class)))
    };
    let sorted =
        sortings(Some(&imagenet), count).find(|(_, sorted)| is(&|class| sorted[class as usize]));
    let index = imagenet.index();
    let starts_as_kit = KIT
        .iter()
        .zip(places)
        .all(|(id, place)| place.is_some_and(|p| index.find(id).ok() == Some(p)));
    if is(&|class| count - 1 - class) {
        "in reverse".into()
    } else if let Some((key, _)) = sorted {
        format!("sorted by {key} as text")
    } else if starts_as_kit {
        "in the order of the development kit of ILSVRC 2012".into()
    } else if let Some(shift) = (1..count).find(|shift| is(&|class| (class + shift) % count)) {
        format!("shifted by {shift}")
    } else {
        "in an order of their own".into()
    }
}

#[cfg(test)]
mod tests {
    use super::order;
    use crate::data::Classes;

    #[test]
    fn usual_orders_are_named() {
        let imagenet = Classes::imagenet();
        let index = imagenet.index();
        let mut by_name: Vec<i64> = (0..1000).collect();
        by_name.sort_by_key(|&class| imagenet.name(class).to_lowercase());
        let mut by_number: Vec<i64> = (0..1000).collect();
        by_number.sort_by_key(ToString::to_string);
        let mut kit: Vec<i64> = (0..1000).collect();
        for (n, id) in super::KIT.iter().enumerate() {
            let at = kit.iter().position(|&class| Ok(class) == index.find(id).map_err(drop));
            kit.swap(n, at.unwrap());
        }
        let mut swapped: Vec<i64> = (0..1000).collect();
        swapped.swap(3, 700);
        for (places, expected) in [
            ((0..1000).rev().collect(), "in reverse"),
            (by_name, "sorted by name as text"),
            (by_number, "sorted by number (from 0) as text"),
            (kit, "in the order of the development kit of ILSVRC 2012"),
            ((0..1000).map(|class| (class + 999) % 1000).collect(), "shifted by 999"),
            (swapped, "in an order of their own"),
        ] {
            let places: Vec<Option<i64>> = places.into_iter().map(Some).collect();
            assert_eq!(order(&places), expected);
        }
    }
}

//! Signs in the answers to the images as they are: an accuracy that is not above chance, and the
//! order of the classes that explains it.

use crate::analysis::flags::sign::{Flag, LEVEL, Severity, Sign, Signal, beyond_chance};
use crate::analysis::rate::Rate;
use crate::analysis::stats;
use crate::analysis::tables::Tables;
use crate::data::Classes;
use crate::study::Study;
use std::collections::BTreeMap;

/// Looks at the accuracy of every model.
///
/// The exact binomial test says whether as many right answers may be chance. A model is flagged
/// where no answer is right, or where another order of the classes explains the answers. Otherwise
/// few images are not enough to show anything, so its accuracy must also be below half-way between
/// chance and perfection, beyond chance.
pub(super) fn signs(study: &Study, tables: &Tables) -> Vec<Signal> {
    let (mut signals, sure): (Vec<Signal>, Vec<bool>) =
        (0..study.models.len()).filter_map(|model| accuracy(study, tables, model)).unzip();
    beyond_chance(&mut signals);
    for (signal, sure) in signals.iter_mut().zip(sure) {
        signal.raised |= sure;
    }
    // It is the probability of so few right answers half-way to perfection, and not of chance.
    for signal in &mut signals {
        signal.flag.p = None;
    }
    signals
}

/// A model's accuracy against chance, and whether it is to be flagged whatever the number of
/// images. None where no image is classified.
fn accuracy(study: &Study, tables: &Tables, model: usize) -> Option<(Signal, bool)> {
    let labels = study.data.pictures.iter().map(|picture| picture.label);
    let answered = labels.zip(&tables.answers[model]);
    let cases: Vec<Case> =
        answered.filter_map(|(label, answer)| Some(Case { label, answer: (*answer)? })).collect();
    let n = cases.len();
    if n == 0 {
        return None;
    }
    let k = cases.iter().filter(|case| case.answer == case.label).count();
    let chance = 1.0 / study.classes as f64;
    let half_way = f64::midpoint(chance, 1.0);
    let raised = stats::at_least(k, n, chance) >= LEVEL;
    let explained = if raised { explain(study, &cases) } else { None };
    let sure = raised && (k == 0 || explained.is_some());
    let (why, remedy) = explained.map_or((String::new(), None), |order| {
        (format!("; {}", order.reading), Some(order.remedy))
    });
    let reading =
        format!("{k} of {n} images are right, not above chance (1 in {}){why}", study.classes);
    let flag =
        Flag::new(study, Sign::AccuracyNotAboveChance, Some(model), Rate::new(k, n), reading);
    let flag = Flag {
        severity: Severity::Error,
        p: Some(stats::at_least(n - k, n, 1.0 - half_way)),
        remedy: remedy.unwrap_or(flag.remedy),
        ..flag
    };
    Some((Signal { model: Some(model), flag, raised }, sure))
}

/// An image's label, and a model's answer to it.
#[derive(Clone, Copy)]
struct Case {
    label: i64,
    answer: i64,
}

/// An order of the classes in which a model would be right.
struct Explanation {
    /// How the answers follow from the labels, with the number of images.
    reading: String,
    remedy: String,
}

/// The order of the classes by which the answers follow from the labels on the most images, if
/// there is one beyond chance.
fn explain(study: &Study, cases: &[Case]) -> Option<Explanation> {
    let orders = orders(study);
    let all_shifts = 2 * (study.classes - 1) as usize;
    let tests = (all_shifts + orders.len() + 1) as f64;
    let chance = 1.0 / study.classes as f64;
    let n = cases.len();
    let follows = |guesses: &[Option<i64>]| {
        let hits = agreeing(cases, guesses);
        let p = stats::at_least(hits, n, expected(cases, guesses).max(chance));
        (p * tests < LEVEL).then_some(hits)
    };

    let shifts = cases.iter().map(|case| case.answer - case.label).filter(|shift| *shift != 0);
    let shift = commonest(shifts)?;
    let shifted = Explanation {
        reading: format!("the answer is the label {}", signed(shift)),
        remedy: remedy_of_shift(shift).into(),
    };
    let mut candidates =
        vec![(cases.iter().map(|case| Some(case.label + shift)).collect::<Vec<_>>(), shifted)];
    candidates.extend(orders.into_iter().map(|order| {
        let guess = |case: &Case| order.to.get(usize::try_from(case.label).ok()?).copied();
        let reading = format!("the answer is the {}", order.what);
        (cases.iter().map(guess).collect(), Explanation { reading, remedy: REORDER.into() })
    }));
    let mapped = Explanation {
        reading: format!("the answer follows from the label by another order ({})", shown(cases)),
        remedy: REORDER.into(),
    };
    candidates.push((by_the_others(cases), mapped));

    let found = candidates.into_iter().filter_map(|(guesses, explanation)| {
        let hits = follows(&guesses)?;
        let reading = format!("{} on {hits} of {n} images", explanation.reading);
        Some((hits, Explanation { reading, ..explanation }))
    });
    let found: Vec<(usize, Explanation)> = found.collect();
    let most = found.iter().map(|(hits, _)| *hits).max()?;
    // A simple order stands first. It is kept where another explains few images more: those are
    // the model's own confusions.
    let good = found.into_iter().find(|(hits, _)| *hits as f64 >= SIMPLE * most as f64);
    good.map(|(_, explanation)| explanation)
}

/// Share of the images that the best order explains, from which on a simpler one is kept.
const SIMPLE: f64 = 0.8;

/// On how many images the answer is the guess.
fn agreeing(cases: &[Case], guesses: &[Option<i64>]) -> usize {
    cases.iter().zip(guesses).filter(|(case, guess)| Some(case.answer) == **guess).count()
}

/// The share of images on which guesses would be right if answers had nothing to do with labels:
/// a model that always gives one answer agrees with every constant guess.
fn expected(cases: &[Case], guesses: &[Option<i64>]) -> f64 {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for case in cases {
        *counts.entry(case.answer).or_default() += 1;
    }
    let n = cases.len() as f64;
    let share = |guess: &i64| counts.get(guess).map_or(0.0, |count| *count as f64 / n);
    guesses.iter().flatten().map(share).sum::<f64>() / n
}

/// For each image the commonest answer to the other images of its label; none for the only one.
fn by_the_others(cases: &[Case]) -> Vec<Option<i64>> {
    let guess = |n: usize| {
        let others =
            cases.iter().enumerate().filter(|(m, case)| *m != n && case.label == cases[n].label);
        commonest(others.map(|(_, case)| case.answer))
    };
    (0..cases.len()).map(guess).collect()
}

/// The first labels, each with the commonest answer to its images.
fn shown(cases: &[Case]) -> String {
    const SHOWN: usize = 4;
    let mut answers: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for case in cases {
        answers.entry(case.label).or_default().push(case.answer);
    }
    let pairs = answers.iter().take(SHOWN).filter_map(|(label, answers)| {
        Some(format!("{label} → {}", commonest(answers.iter().copied())?))
    });
    let more = if answers.len() > SHOWN { ", …" } else { "" };
    pairs.collect::<Vec<_>>().join(", ") + more
}

/// The value that comes most often, the least of several; none without values.
fn commonest(values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(value, _)| value)
}

/// `+ 1` or `− 1`.
fn signed(shift: i64) -> String {
    format!("{} {}", if shift < 0 { '−' } else { '+' }, shift.abs())
}

fn remedy_of_shift(shift: i64) -> &'static str {
    match shift {
        -1 => {
            "If the label file counts from 1, say `first_label = 1` in [data]; if the model has \
             no \"background\" class, leave out its `label_offset = 1`."
        }
        1 => {
            "If the model's class 0 is \"background\", say `label_offset = 1` of the model; if the \
             label file counts from 0, leave out `first_label = 1` in [data]."
        }
        _ => REORDER,
    }
}

/// What to do when labels and outputs count the classes in different orders.
const REORDER: &str = "Name the classes in the order of the model's outputs in a file, a line \
                       each, and give it as `classes` in [data]; labels that are numbers must \
                       count in that order too.";

/// A usual order of the classes other than the study's.
struct Order {
    /// What the answers are in it, after "the answer is the".
    what: String,
    /// The place of each class of the study in it.
    to: Vec<i64>,
}

/// The usual other orders of a study's classes: the reverse, and those by which tools sort class
/// folders.
fn orders(study: &Study) -> Vec<Order> {
    let mut orders = vec![Order {
        what: "label counted from the last class".into(),
        to: (0..study.classes).rev().collect(),
    }];
    for (key, sorted) in sortings(study.class_names.as_ref(), study.classes) {
        let mut place = vec![0; sorted.len()];
        for (n, &class) in sorted.iter().enumerate() {
            place[class as usize] = n as i64;
        }
        let sorting = format!("when classes are sorted by {key} as text");
        orders.push(Order { what: format!("label's place {sorting}"), to: place });
        orders.push(Order { what: format!("class at the label's place {sorting}"), to: sorted });
    }
    orders.retain(|order| order.to.iter().enumerate().any(|(class, &to)| class as i64 != to));
    orders
}

/// Classes as tools sort their folders: as text, by name, WordNet id and number.
pub(super) fn sortings(
    names: Option<&Classes>,
    count: i64,
) -> impl Iterator<Item = (&'static str, Vec<i64>)> {
    let classes = 0..count;
    let of_classes = |text: &dyn Fn(&Classes, i64) -> String| -> Option<Vec<String>> {
        let names = names?;
        Some(classes.clone().map(|class| text(names, class)).collect())
    };
    let numbers = |first: i64| classes.clone().map(|class| (class + first).to_string()).collect();
    let texts = [
        ("name", of_classes(&|names, class| names.name(class).to_lowercase())),
        (
            "WordNet id",
            of_classes(&|names, class| {
                names.get(class).and_then(|class| class.id.clone()).unwrap_or_default()
            }),
        ),
        ("number (from 0)", Some(numbers(0))),
        ("number (from 1)", Some(numbers(1))),
    ];
    texts.into_iter().filter_map(move |(key, texts)| {
        let texts = texts?;
        let mut sorted: Vec<i64> = (0..count).collect();
        sorted.sort_by_key(|&class| &texts[class as usize]);
        Some((key, sorted))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(answers: &[(i64, i64)]) -> Vec<Case> {
        answers.iter().map(|&(label, answer)| Case { label, answer }).collect()
    }

    #[test]
    fn a_constant_answer_follows_from_no_label() {
        let constant = cases(&[(0, 3), (1, 3), (2, 3), (0, 3), (1, 3), (2, 3)]);
        let guesses = by_the_others(&constant);
        assert_eq!((agreeing(&constant, &guesses), expected(&constant, &guesses)), (6, 1.0));
        let mapped = cases(&[(0, 3), (1, 2), (0, 3), (1, 2), (5, 5)]);
        assert_eq!(by_the_others(&mapped), [Some(3), Some(2), Some(3), Some(2), None]);
        assert_eq!(shown(&mapped), "0 → 3, 1 → 2, 5 → 5");
    }
}

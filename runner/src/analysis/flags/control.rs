//! Transfer that its control explains.

use crate::analysis::Control;
use crate::analysis::flags::sign::{Flag, Sign, Signal};
use crate::analysis::rate::Rate;
use crate::analysis::tables::Tables;
use crate::analysis::transfer::{Match, Pixels, Transfer};
use crate::study::{Policy, Study};
use std::collections::BTreeMap;

/// Looks at the transfer between models of different sides: one signal for each target, attack and
/// goal, over the sources whose control makes up more than half of the rate.
pub(super) fn signs(study: &Study, tables: &Tables) -> Vec<Signal> {
    let shape = |model: usize| study.models[model].card.shape();
    let across = |row: &&Transfer| {
        study.transfer != Some(Policy::Native)
            && (row.pixels, row.matching) == (Pixels::Float, Match::Top1)
            && shape(row.source) != shape(row.target)
    };
    let mut groups: BTreeMap<_, Vec<&Transfer>> = BTreeMap::new();
    for row in tables.transfer.iter().filter(across) {
        groups.entry((row.target, row.attack, row.goal)).or_default().push(row);
    }
    groups.into_values().map(|rows| signal(study, &rows)).collect()
}

fn signal(study: &Study, rows: &[&Transfer]) -> Signal {
    let (target, attack, goal) = (rows[0].target, rows[0].attack, rows[0].goal);
    let explained: Vec<&&Transfer> = rows.iter().filter(|row| row.control.is_most()).collect();
    let sum = |of: fn(&Control) -> usize| explained.iter().map(|row| of(&row.control)).sum();
    let (control, images): (usize, usize) = (sum(|c| c.control().k), sum(Control::images));
    let transferred: usize = sum(|control| control.attack().k);
    let sources: Vec<&str> =
        explained.iter().map(|row| study.models[row.source].part.label.as_str()).collect();
    let reading = format!(
        "adversarials of {} meet the goal on {transferred} of {images} images, the unperturbed \
         images, brought from that shape in the same way, on {control}",
        sources.join(", ")
    );
    let flag = Flag {
        attack: Some(study.attacks[attack].part.label.clone()),
        goal: Some(goal),
        against: Some("unperturbed images".into()),
        compared: Some(Rate::new(control, images)),
        ..Flag::new(
            study,
            Sign::TransferIsControl,
            Some(target),
            Rate::new(transferred, images),
            reading,
        )
    };
    Signal { model: Some(target), flag, raised: !explained.is_empty() }
}

//! Estimates of transfer: matrices, and transfer within and across families.

use crate::analysis::{
    Control, Denominator, Estimate, Match, Pixels, Spread, Success, Tally, Transfer, interval,
    stats,
};
use crate::study::GoalKind;
use crate::summary::resampled::resampler::Resampler;
use crate::summary::transfer::{Counts, FamilyTransfer, Matrix, Pooled, SourceFamily, Split};

impl Resampler<'_> {
    /// A matrix for every attack, goal, match and kind of pixels.
    pub fn matrices(&self) -> Vec<Matrix> {
        let mut matrices = Vec::new();
        for (attack, goal) in self.attacks_and_goals() {
            for &matching in Match::of(goal) {
                for pixels in [Pixels::Float, Pixels::EightBit] {
                    matrices.push(self.matrix(attack, goal, matching, pixels));
                }
            }
        }
        matrices
    }

    fn matrix(&self, attack: usize, goal: GoalKind, matching: Match, pixels: Pixels) -> Matrix {
        let of = |row: &&Transfer| {
            (row.attack, row.goal, row.matching, row.pixels) == (attack, goal, matching, pixels)
        };
        let rows: Vec<&Transfer> = self.tables.transfer.iter().filter(of).collect();
        // Rows of attacks do not tell whether the target class is among the source's first five.
        let known =
            |row: &&Success| matching == Match::Top1 && (row.attack, row.goal) == (attack, goal);
        let own: Vec<&Success> = self.tables.success.iter().filter(known).collect();
        let counts =
            |&of: &Denominator| (of.name().to_owned(), self.counts(&rows, &own, pixels, of));
        let controls = self.controls(&rows, &own, pixels);
        Matrix {
            attack: self.study.attacks[attack].part.label.clone(),
            goal,
            pixels,
            matching,
            denominators: Denominator::ALL.iter().map(counts).collect(),
            published: Denominator::PUBLISHED.name().into(),
            control: Counts {
                k: controls.iter().map(|row| row.iter().map(|c| c.control().k).collect()).collect(),
                n: controls.iter().map(|row| row.iter().map(Control::images).collect()).collect(),
            },
            excess: controls.iter().map(|row| row.iter().map(Control::excess).collect()).collect(),
            split: self.split(&rows, &own, pixels),
        }
    }

    /// Zeros for every source and target.
    fn square(&self) -> Vec<Vec<usize>> {
        vec![vec![0; self.study.models.len()]; self.study.models.len()]
    }

    /// The counts under one denominator. `own`: outcomes on the sources themselves, for the
    /// diagonal.
    fn counts(
        &self,
        rows: &[&Transfer],
        own: &[&Success],
        pixels: Pixels,
        denominator: Denominator,
    ) -> Counts {
        let mut counts = Counts { k: self.square(), n: self.square() };
        for row in rows {
            counts.k[row.source][row.target] = row.transferred[denominator];
            counts.n[row.source][row.target] = row.images[denominator];
        }
        for row in own {
            let met = if pixels == Pixels::Float { &row.met } else { &row.met_8bit };
            let success = met.iter().filter(|met| **met).count();
            let everyone =
                || met.iter().enumerate().filter(|(image, _)| self.tables.everyone(*image));
            (counts.k[row.model][row.model], counts.n[row.model][row.model]) = match denominator {
                Denominator::All => (success, row.images),
                Denominator::SourceCorrect | Denominator::TargetCorrect | Denominator::Control => {
                    (success, row.source_correct)
                }
                Denominator::SourceSuccess | Denominator::Both => (success, success),
                Denominator::AllCorrect => {
                    (everyone().filter(|(_, met)| **met).count(), everyone().count())
                }
            };
        }
        counts
    }

    /// Outcomes beside those without the attack. On its own model an attacked image meets no goal
    /// without the attack.
    fn controls(&self, rows: &[&Transfer], own: &[&Success], pixels: Pixels) -> Vec<Vec<Control>> {
        let models = self.study.models.len();
        let mut controls = vec![vec![Control::default(); models]; models];
        for row in rows {
            controls[row.source][row.target] = row.control;
        }
        for row in own {
            let success = if pixels == Pixels::Float { row.success } else { row.success_8bit };
            controls[row.model][row.model] = Control {
                attack_alone: success,
                neither: row.source_correct - success,
                ..Control::default()
            };
        }
        controls
    }

    /// What targets make of the images of [`Denominator::Both`].
    fn split(&self, rows: &[&Transfer], own: &[&Success], pixels: Pixels) -> Split {
        let mut split = Split {
            unfooled: self.square(),
            different_mistake: self.square(),
            same_mistake: self.square(),
        };
        for row in rows {
            split.unfooled[row.source][row.target] = row.split.unfooled;
            split.different_mistake[row.source][row.target] = row.split.different_mistake;
            split.same_mistake[row.source][row.target] = row.split.same_mistake;
        }
        for row in own {
            split.same_mistake[row.model][row.model] =
                if pixels == Pixels::Float { row.success } else { row.success_8bit };
        }
        split
    }

    /// Transfer within and across families, for every attack and goal that has transfer.
    pub fn families(&self) -> Vec<FamilyTransfer> {
        let transfer = |(attack, goal)| {
            let spreads: Vec<&Spread> = self
                .tables
                .spread
                .iter()
                .filter(|spread| (spread.attack, spread.goal) == (attack, goal))
                .collect();
            let within = added(spreads.iter().map(|spread| spread.within.as_slice()));
            let across = added(spreads.iter().map(|spread| spread.across.as_slice()));
            let source = |spread: &&Spread| SourceFamily {
                family: spread.family.clone(),
                within: self.pooled(&spread.within),
                across: self.pooled(&spread.across),
            };
            FamilyTransfer {
                attack: self.study.attacks[attack].part.label.clone(),
                goal,
                within: self.pooled(&within),
                across: self.pooled(&across),
                difference: self.difference(&within, &across),
                sources: spreads.iter().map(source).collect(),
            }
        };
        let has_transfer = |(attack, goal): &(usize, GoalKind)| {
            self.tables.spread.iter().any(|s| (s.attack, s.goal) == (*attack, *goal))
        };
        self.attacks_and_goals().filter(has_transfer).map(transfer).collect()
    }

    /// Outcomes with the interval of their rate.
    fn pooled(&self, tallies: &[Tally]) -> Pooled {
        let sum = |of: fn(&Tally) -> u32| tallies.iter().map(|tally| of(tally) as usize).sum();
        Pooled { k: sum(|tally| tally.hits), n: sum(|tally| tally.of), rate: self.rate(tallies) }
    }

    /// The rate of outcomes. Where it is the same on every image, every resample gives it too: its
    /// interval is Wilson's then, over the images.
    fn rate(&self, tallies: &[Tally]) -> Estimate {
        let estimate = self.estimate(|counts| drawn_rate(tallies, counts));
        match (estimate.value, equal_images(tallies)) {
            (Some(value), Some(images)) => {
                Estimate { interval: interval(stats::wilson_of_rate(value, images)), ..estimate }
            }
            _ => estimate,
        }
    }

    /// The rate of `a` minus the rate of `b`. Where one of them is the same on every image, the
    /// interval is made from those of both rates.
    pub fn difference(&self, a: &[Tally], b: &[Tally]) -> Estimate {
        let difference =
            self.estimate(|counts| Some(drawn_rate(a, counts)? - drawn_rate(b, counts)?));
        if equal_images(a).is_none() && equal_images(b).is_none() {
            return difference;
        }
        let ends = |tallies| {
            let Estimate { value, interval } = self.rate(tallies);
            value.zip(interval)
        };
        let both = ends(a).zip(ends(b)).and_then(|(a, b)| interval(stats::of_difference(a, b)));
        Estimate { interval: both, ..difference }
    }
}

/// The number of images with outcomes, if all of them have the same rate.
fn equal_images(tallies: &[Tally]) -> Option<usize> {
    let mut some = tallies.iter().filter(|tally| tally.of > 0);
    let first = some.next()?;
    let equal = some.clone().all(|tally| tally.hits * first.of == first.hits * tally.of);
    equal.then(|| 1 + some.count())
}

/// The rate over images. `counts` says how often each image counts.
fn drawn_rate(tallies: &[Tally], counts: &[u32]) -> Option<f64> {
    let (hits, of) = tallies.iter().zip(counts).fold((0, 0), |(hits, of), (tally, count)| {
        (hits + u64::from(tally.hits * count), of + u64::from(tally.of * count))
    });
    (of > 0).then(|| hits as f64 / of as f64)
}

/// Tallies added up image by image.
pub(in crate::summary) fn added<'t>(tallies: impl Iterator<Item = &'t [Tally]>) -> Vec<Tally> {
    let mut sum = Vec::new();
    for tallies in tallies {
        sum.resize(tallies.len(), Tally::default());
        for (sum, tally) in sum.iter_mut().zip(tallies) {
            sum.hits += tally.hits;
            sum.of += tally.of;
        }
    }
    sum
}

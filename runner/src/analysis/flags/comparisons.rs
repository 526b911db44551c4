//! Signs in outcomes: two rates on the same images are compared by McNemar's exact test, a single
//! rate is compared with an expected one by the exact binomial test.

use crate::analysis::flags::sign::{Flag, Severity, Sign, Signal, beyond_chance};
use crate::analysis::rate::Rate;
use crate::analysis::stats;
use crate::analysis::tables::{Score, Success, Tables};
use crate::analysis::transfer::Transfer;
use crate::study::{GoalKind, Policy, Study, StudyAttack};
use gauntlet_core::attack::Budget;
use toml::Value;

/// Share of images whose interval of 95 % by CLEVER may lie above the truth.
const ABOVE: f64 = 0.025;
/// Relative tolerance in comparisons of distortions with bounds: both are float32.
const SLACK: f64 = 1e-3;
/// CLEVER's metrics, each with the distortion that it estimates a lower bound of, by registered
/// names.
const BOUNDS: [(&str, &str); 3] =
    [("clever_l1", "l1"), ("clever_l2", "l2"), ("clever_linf", "linf")];

/// Compares all outcomes in which a sign may show.
pub(super) fn signs(study: &Study, tables: &Tables) -> Vec<Signal> {
    let scene =
        Scene { study, tables, budgets: study.attacks.iter().map(StudyAttack::budget).collect() };
    let kinds =
        [scene.random(), scene.transfer(), scene.iterated(), scene.epsilon(), scene.clever()];
    kinds.into_iter().flatten().collect()
}

/// The data that all comparisons use.
struct Scene<'a> {
    study: &'a Study,
    tables: &'a Tables,
    /// One per attack; none for an attack without a bound.
    budgets: Vec<Option<Budget>>,
}

/// Counts of two outcomes on the same images.
#[derive(Default)]
struct Pairs {
    images: usize,
    /// Images on which the first outcome meets the goal.
    this: usize,
    /// Images on which the second outcome meets the goal.
    other: usize,
    /// Images on which the first alone meets the goal.
    this_alone: usize,
    /// Images on which the second alone meets the goal.
    other_alone: usize,
}

impl Pairs {
    fn of(outcomes: impl Iterator<Item = (bool, bool)>) -> Self {
        outcomes.fold(Self::default(), |sum, (this, other)| Self {
            images: sum.images + 1,
            this: sum.this + usize::from(this),
            other: sum.other + usize::from(other),
            this_alone: sum.this_alone + usize::from(this && !other),
            other_alone: sum.other_alone + usize::from(other && !this),
        })
    }
}

/// Whether each of two attacks met its goal, on the images that both attacked.
fn both<'v>(this: &'v Success, other: &'v Success) -> impl Iterator<Item = (bool, bool)> + 'v {
    let images = 0..this.met.len().min(other.met.len());
    images.filter(|&n| this.attacked[n] && other.attacked[n]).map(|n| (this.met[n], other.met[n]))
}

impl Scene<'_> {
    fn label(&self, attack: usize) -> &str {
        &self.study.attacks[attack].part.label
    }

    /// A warning about an attack on a model.
    fn flag(&self, sign: Sign, row: &Success, found: Rate, reading: String) -> Flag {
        let (attack, goal) = (Some(self.label(row.attack).to_owned()), Some(row.goal));
        Flag { attack, goal, ..Flag::new(self.study, sign, Some(row.model), found, reading) }
    }

    /// A signal that is raised when the other outcome succeeds more often. `said` says in words
    /// what the attack did and what the other did; the counts are appended to each.
    fn signal(
        &self,
        sign: Sign,
        row: &Success,
        pairs: &Pairs,
        against: &str,
        said: [&str; 2],
    ) -> Signal {
        let [this, other] = said;
        let (found, compared) =
            (Rate::new(pairs.this, pairs.images), Rate::new(pairs.other, pairs.images));
        let reading = format!(
            "{this} on {} of {} images, {other} on {}",
            pairs.this, pairs.images, pairs.other
        );
        let flag = Flag {
            severity: Severity::Error,
            against: Some(against.to_owned()),
            compared: Some(compared),
            p: Some(stats::mcnemar(pairs.this_alone, pairs.other_alone)),
            ..self.flag(sign, row, found, reading)
        };
        Signal { model: Some(row.model), flag, raised: pairs.other_alone > pairs.this_alone }
    }

    /// Whether an attack uses gradients.
    fn is_guided(row: &Success) -> bool {
        row.passes.backward.mean.is_some_and(|passes| passes > 0.0)
    }

    /// Attacks within an ℓ∞ bound against random perturbations within that bound.
    fn random(&self) -> Vec<Signal> {
        let mut signals = Vec::new();
        for row in self
            .tables
            .success
            .iter()
            .filter(|row| row.goal == GoalKind::Untargeted && Self::is_guided(row))
        {
            let Some(Budget { norm: gauntlet_core::attack::Norm::Linf, radius }) =
                self.budgets[row.attack]
            else {
                continue;
            };
            let Some(probe) = self.tables.probes.iter().find(|probe| probe.model == row.model)
            else {
                continue;
            };
            let probed =
                probe.cases.iter().enumerate().filter_map(|(n, case)| Some((n, case.as_ref()?)));
            let drawn = probed.filter(|(n, _)| row.attacked[*n]);
            let pairs = Pairs::of(drawn.map(|(n, case)| {
                (row.met[n], case.random_radius.is_some_and(|least| least <= radius))
            }));
            if pairs.images > 0 {
                let within = format!("random signs within {} succeed", short(radius));
                signals.push(self.signal(
                    Sign::RandomBeatsGradient,
                    row,
                    &pairs,
                    "random signs",
                    ["the attack succeeds", &within],
                ));
            }
        }
        beyond_chance(&mut signals);
        signals
    }

    /// Attacks on a model against adversarials that the same attack made on other models, within
    /// the same bound and for the same class. Of several sources beyond chance the worst is
    /// flagged.
    fn transfer(&self) -> Vec<Signal> {
        let mut signals = Vec::new();
        for other in self
            .tables
            .transfer
            .iter()
            .filter(|other| !other.met.is_empty() && self.is_comparable(other))
        {
            let same = |row: &&Success| {
                (row.model, row.attack, row.goal) == (other.target, other.attack, other.goal)
            };
            let Some(row) =
                self.tables.success.iter().find(same).filter(|row| Self::is_guided(row))
            else {
                continue;
            };
            let images = other.met.iter().enumerate().filter_map(|(n, met)| Some((n, (*met)?)));
            let pairs = Pairs::of(
                images.filter(|(n, _)| row.attacked[*n]).map(|(n, met)| (row.met[n], met)),
            );
            if pairs.images > 0 {
                let source = &self.study.models[other.source].part.label;
                let carried = format!("adversarials of {source} succeed");
                let said = ["the attack on the model itself succeeds", carried.as_str()];
                signals.push(self.signal(Sign::TransferBeatsWhiteBox, row, &pairs, source, said));
            }
        }
        beyond_chance(&mut signals);
        worst_source(&mut signals);
        signals
    }

    /// Whether transferred adversarials have the bound and the class that an attack on the target
    /// itself has.
    fn is_comparable(&self, transfer: &Transfer) -> bool {
        let shape = |model: usize| self.study.models[model].card.shape();
        let same_class = match transfer.goal {
            GoalKind::Untargeted | GoalKind::Random | GoalKind::Given => true,
            GoalKind::LeastLikely | GoalKind::Second => false,
        };
        same_class
            && (self.study.transfer == Some(Policy::Native)
                || shape(transfer.source) == shape(transfer.target))
    }

    /// Every two rows of one model and goal whose attacks are `related`.
    fn pairs_of_attacks(
        &self,
        related: impl Fn(&Success, &Success) -> bool,
    ) -> Vec<(&Success, &Success)> {
        let rows = &self.tables.success;
        let same = |a: &Success, b: &Success| {
            (a.model, a.goal) == (b.model, b.goal) && a.attack != b.attack
        };
        rows.iter()
            .flat_map(|a| rows.iter().map(move |b| (a, b)))
            .filter(|(a, b)| same(a, b) && related(a, b))
            .collect()
    }

    /// Attacks of many steps against attacks of one step within the same bound.
    fn iterated(&self) -> Vec<Signal> {
        let steps = |row: &Success| row.passes.backward.mean.unwrap_or_default();
        let same_bound =
            |a: usize, b: usize| self.budgets[a].is_some() && self.budgets[a] == self.budgets[b];
        let related = |many: &Success, one: &Success| {
            steps(many) > 1.0 && steps(one) == 1.0 && same_bound(many.attack, one.attack)
        };
        let signal = |(many, one): (&Success, &Success)| {
            let other = format!("{} within the same bound succeeds", self.label(one.attack));
            let said = ["the attack succeeds", other.as_str()];
            let mut signal = self.signal(
                Sign::IteratedWeakerThanSingleStep,
                many,
                &Pairs::of(both(many, one)),
                self.label(one.attack),
                said,
            );
            signal.flag.severity = Severity::Warning;
            signal
        };
        let mut signals: Vec<Signal> = self
            .pairs_of_attacks(related)
            .into_iter()
            .map(signal)
            .filter(is_about_images)
            .collect();
        beyond_chance(&mut signals);
        signals
    }

    /// Attacks within a larger bound against the same attack within a smaller one.
    fn epsilon(&self) -> Vec<Signal> {
        let larger = |a: usize, b: usize| match (self.budgets[a], self.budgets[b]) {
            (Some(large), Some(small)) => {
                large.norm == small.norm && large.radius > small.radius && self.differ_in_one(a, b)
            }
            _ => false,
        };
        let signal = |(large, small): (&Success, &Success)| {
            let within = |row: &Success| {
                self.budgets[row.attack].map_or_else(String::new, |budget| short(budget.radius))
            };
            let said = [
                format!("within {} the attack succeeds", within(large)),
                format!("within {}", within(small)),
            ];
            let said = [said[0].as_str(), said[1].as_str()];
            let pairs = Pairs::of(both(large, small));
            let mut signal = self.signal(
                Sign::SuccessFallsWithEpsilon,
                large,
                &pairs,
                self.label(small.attack),
                said,
            );
            // A single step always goes to the bound, and may overshoot.
            let many_steps = large.passes.backward.mean.is_some_and(|passes| passes > 1.0);
            signal.flag.severity = if many_steps { Severity::Warning } else { Severity::Note };
            signal
        };
        let pairs = self.pairs_of_attacks(|large, small| larger(large.attack, small.attack));
        let mut signals: Vec<Signal> =
            pairs.into_iter().map(signal).filter(is_about_images).collect();
        beyond_chance(&mut signals);
        signals
    }

    /// Whether two attacks are the same but for one parameter.
    fn differ_in_one(&self, a: usize, b: usize) -> bool {
        let (a, b) = (&self.study.attacks[a].part, &self.study.attacks[b].part);
        let keys = a
            .parameters
            .keys()
            .chain(b.parameters.keys().filter(|key| !a.parameters.contains_key(key.as_str())));
        a.name == b.name
            && keys
                .filter(|key| a.parameters.get(key.as_str()) != b.parameters.get(key.as_str()))
                .count()
                == 1
    }

    /// Distortions against CLEVER's scores of the same image, norm and goal.
    fn clever(&self) -> Vec<Signal> {
        let mut signals = Vec::new();
        for score in &self.tables.scores {
            let metric = &self.study.metrics[score.metric].part.name;
            let Some((_, norm)) = BOUNDS.iter().find(|(clever, _)| clever == metric) else {
                continue;
            };
            for row in self
                .tables
                .success
                .iter()
                .filter(|row| (row.model, row.goal) == (score.model, score.goal))
            {
                signals.extend(self.below(score, row, norm));
            }
        }
        beyond_chance(&mut signals);
        signals
    }

    /// The images on which distortions are below CLEVER's estimate of the smallest.
    fn below(&self, score: &Score, row: &Success, norm: &str) -> Option<Signal> {
        let metric = &self.study.metrics[score.metric];
        let distortion = row
            .distortions
            .iter()
            .find(|found| self.study.metrics[found.metric].part.name == norm)?;
        // CLEVER samples slopes within the radius, so its estimate holds no further.
        let radius =
            metric.part.parameters.get("radius").and_then(Value::as_float).unwrap_or(f64::INFINITY);
        let low = metric.extras.iter().position(|extra| extra == "low");
        let (mut images, mut below, mut below_estimate) = (0, 0, 0);
        for (n, (distance, value)) in distortion.cases.iter().zip(&score.cases).enumerate() {
            let (Some(distance), Some(value)) = (distance, value) else { continue };
            let end = low
                .and_then(|low| score.extra_cases[n].get(low).copied())
                .filter(|end| end.is_finite())
                .unwrap_or(*value);
            let under = |bound: f64| usize::from(*distance < bound.min(radius) * (1.0 - SLACK));
            images += 1;
            below += under(end);
            below_estimate += under(*value);
        }
        let label = &metric.part.label;
        let reading = format!(
            "adversarials are nearer than {label} estimates on {below_estimate} of {images} \
             images, on {below} of them nearer than the estimate's own interval"
        );
        let flag = Flag {
            against: Some(label.clone()),
            p: Some(stats::at_least(below, images, ABOVE)),
            ..self.flag(Sign::BelowClever, row, Rate::new(below, images), reading)
        };
        (images > 0).then_some(Signal { model: Some(row.model), flag, raised: true })
    }
}

/// Whether a comparison has any image.
fn is_about_images(signal: &Signal) -> bool {
    signal.flag.found.n > 0
}

/// Of the raised flags of one model, attack and goal, keeps the one with the greatest difference,
/// and adds to its reading how many there were.
fn worst_source(signals: &mut [Signal]) {
    let gain =
        |flag: &Flag| flag.compared.map_or(0, |compared| compared.k).saturating_sub(flag.found.k);
    let key = |flag: &Flag| (flag.model.clone(), flag.attack.clone(), flag.goal);
    let raised: Vec<usize> = (0..signals.len()).filter(|&n| signals[n].raised).collect();
    for &n in &raised {
        let rivals: Vec<usize> = raised
            .iter()
            .copied()
            .filter(|&m| key(&signals[m].flag) == key(&signals[n].flag))
            .collect();
        let best = rivals.iter().copied().rev().max_by_key(|&m| gain(&signals[m].flag));
        if best != Some(n) {
            signals[n].raised = false;
        } else if rivals.len() > 1 {
            let rest = format!("; those of {} models beat it, these most", rivals.len());
            signals[n].flag.reading.push_str(&rest);
        }
    }
}

/// A radius in three digits.
fn short(radius: f64) -> String {
    crate::analysis::rate::number(radius)
        .map_or_else(|| radius.to_string(), |radius| format!("{radius:.3}"))
}

//! Estimates of the effect of depth within a family.

use crate::analysis::{Estimate, Success, stats};
use crate::summary::laws::DepthEffect;
use crate::summary::resampled::resampler::{Resampler, of_several};
use std::collections::BTreeMap;

/// Outcomes on a model of known depth.
#[derive(Clone, Copy)]
struct Layered<'t> {
    /// Number of the model's layers.
    depth: u32,
    row: &'t Success,
}

impl Resampler<'_> {
    /// Each model against the next less deep one of its family, for every attack, goal and metric
    /// of outcomes.
    pub fn depth(&self) -> Vec<DepthEffect> {
        let mut effects = Vec::new();
        for (attack, goal) in self.attacks_and_goals() {
            let of = |row: &&Success| (row.attack, row.goal) == (attack, goal);
            let mut by_family: BTreeMap<&str, Vec<Layered>> = BTreeMap::new();
            for row in self.tables.success.iter().filter(of) {
                if let Some(depth) = self.study.models[row.model].card.depth {
                    by_family
                        .entry(self.family(row.model))
                        .or_default()
                        .push(Layered { depth, row });
                }
            }
            for (family, mut models) in by_family {
                models.sort_by_key(|model| (model.depth, model.row.model));
                for pair in models.windows(2).filter(|pair| pair[0].depth < pair[1].depth) {
                    let metrics = 0..pair[0].row.distortions.len();
                    effects.extend(metrics.map(|n| self.deeper(family, pair[0], pair[1], n)));
                }
            }
        }
        effects
    }

    /// A pair of models by the `n`th metric of outcomes.
    fn deeper(&self, family: &str, shallow: Layered, deep: Layered, n: usize) -> DepthEffect {
        let distortion = &shallow.row.distortions[n];
        let images = distortion
            .cases
            .iter()
            .zip(&deep.row.distortions[n].cases)
            .filter(|(a, b)| a.is_some() && b.is_some())
            .count();
        DepthEffect {
            attack: self.study.attacks[shallow.row.attack].part.label.clone(),
            goal: shallow.row.goal,
            metric: self.study.metrics[distortion.metric].part.label.clone(),
            family: family.into(),
            shallow: self.label(shallow.row.model).into(),
            shallow_depth: shallow.depth,
            deep: self.label(deep.row.model).into(),
            deep_depth: deep.depth,
            images,
            ratio: of_several(
                self.estimate(|counts| depth_ratio(shallow.row, deep.row, n, counts)),
                images,
            ),
        }
    }

    /// The geometric mean of the ratios of pairs of one attack, goal and metric.
    pub fn mean_ratio(&self, pairs: &[&DepthEffect]) -> Estimate {
        let row = |model: &str, pair: &DepthEffect| {
            let of = |row: &&Success| {
                self.label(row.model) == model
                    && self.study.attacks[row.attack].part.label == pair.attack
                    && row.goal == pair.goal
            };
            self.tables.success.iter().find(of)
        };
        let pairs: Vec<(&Success, &Success, usize)> = pairs
            .iter()
            .filter_map(|pair| {
                let (shallow, deep) = (row(&pair.shallow, pair)?, row(&pair.deep, pair)?);
                let n = shallow
                    .distortions
                    .iter()
                    .position(|d| self.study.metrics[d.metric].part.label == pair.metric)?;
                Some((shallow, deep, n))
            })
            .collect();
        self.estimate(|counts| {
            let logs: Vec<f64> = pairs
                .iter()
                .map(|&(shallow, deep, n)| Some(depth_ratio(shallow, deep, n, counts)?.ln()))
                .collect::<Option<_>>()?;
            stats::mean(&logs).map(f64::exp)
        })
    }
}

/// Mean distortion of the deeper model over that of the other, on the images where the attack
/// succeeds against both. `counts` says how often each image counts.
fn depth_ratio(shallow: &Success, deep: &Success, n: usize, counts: &[u32]) -> Option<f64> {
    let (mut a, mut b) = (0.0, 0.0);
    for ((shallow, deep), &count) in
        shallow.distortions[n].cases.iter().zip(&deep.distortions[n].cases).zip(counts)
    {
        if let (Some(shallow), Some(deep)) = (shallow, deep) {
            a += shallow * f64::from(count);
            b += deep * f64::from(count);
        }
    }
    (a > 0.0 && b > 0.0).then(|| b / a)
}

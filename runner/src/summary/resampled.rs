//! Estimates by resampling images.

use crate::analysis::stats::{self, Bootstrap, Line};
use crate::analysis::{
    self, DENOMINATORS, Depth, Estimate, PUBLISHED, Rank, Rate, Spread, Success, Tables, Tally,
    Transfer, interval, number,
};
use crate::study::{GoalKind, Study};
use crate::summary::campaigns::{
    CampaignSummary, Cost, Curve, DistortionSummary, Gap, Quantiles, ScoreSummary,
};
use crate::summary::document::Model;
use crate::summary::laws::{Band, DepthEffect, Fit, Law, Point, Subset};
use crate::summary::transfer::{
    Counts, FamilyTransfer, Match, Matrix, Pixels, Pooled, SourceFamily, Split,
};
use gauntlet_core::metric::Direction;
use std::collections::BTreeMap;

/// Resamples behind every interval.
pub(super) const RESAMPLES: usize = 1000;

/// Places at which a line's height is given.
const BAND: usize = 21;

/// Families that a line is also fitted without: it has been said to lean on them alone.
const LEANED_ON: [&str; 2] = ["AlexNet", "VGG"];

/// The counts, and what resampling the images makes of them.
pub(super) struct Resampler<'a> {
    pub study: &'a Study,
    pub tables: &'a Tables,
    pub bootstrap: Bootstrap,
    /// Per model and resample.
    ln_errors: Vec<Vec<f64>>,
    /// Per campaign, metric of outcomes and resample, the mean distortion of the successes.
    means: Vec<Vec<Vec<Option<f64>>>>,
}

/// ln of the error, kept finite: half an image is added to both sides.
fn ln_error(wrong: u32, images: u32) -> f64 {
    ((f64::from(wrong) + 0.5) / (f64::from(images) + 1.0)).ln()
}

/// How many of the images drawn are classified, and how many of these wrongly.
fn drawn_errors(correct: &[Option<bool>], counts: &[u32]) -> (u32, u32) {
    correct
        .iter()
        .zip(counts)
        .filter_map(|(correct, &count)| Some((u32::from(!(*correct)?) * count, count)))
        .fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1))
}

impl<'a> Resampler<'a> {
    pub(super) fn new(study: &'a Study, tables: &'a Tables) -> Self {
        let bootstrap = Bootstrap::new(study.seed, study.data.pictures.len(), RESAMPLES);
        let ln_errors = tables.correct.iter().map(|correct| {
            let of = |counts: &[u32]| {
                let (wrong, images) = drawn_errors(correct, counts);
                ln_error(wrong, images)
            };
            bootstrap.resamples().map(of).collect()
        });
        let ln_errors = ln_errors.collect();
        let means = |success: &Success| -> Vec<Vec<Option<f64>>> {
            let of = |d: &analysis::Distortion| {
                bootstrap.resamples().map(|counts| stats::drawn_mean(&d.cases, counts)).collect()
            };
            success.distortions.iter().map(of).collect()
        };
        let means = tables.success.iter().map(means).collect();
        Self { study, tables, bootstrap, ln_errors, means }
    }

    pub fn label(&self, model: usize) -> &'a str {
        &self.study.models[model].part.label
    }

    pub fn family(&self, model: usize) -> &'a str {
        &self.study.models[model].card.family
    }

    /// ln(error) of a model on all images; none when none is classified.
    pub fn ln_error(&self, model: usize) -> Option<f64> {
        let row = &self.tables.accuracy[model];
        (row.images > 0).then(|| ln_error((row.images - row.correct) as u32, row.images as u32))
    }

    pub(super) fn model(&self, index: usize) -> Model {
        let (model, row) = (&self.study.models[index], &self.tables.accuracy[index]);
        Model {
            label: model.part.label.clone(),
            name: model.part.name.clone(),
            family: model.card.family.clone(),
            side: model.card.side,
            parameters: model.parameters,
            depth: model.card.depth,
            missing: row.missing,
            top1: Rate::new(row.correct, row.images),
            top5: Rate::new(row.top5, row.images),
            published_top1: model.card.top1,
            published_top5: model.card.top5,
            ln_error: self.ln_error(index).and_then(number),
            source: model.card.source.clone(),
        }
    }

    pub(super) fn campaign(&self, index: usize, row: &Success) -> CampaignSummary {
        CampaignSummary {
            model: self.label(row.model).into(),
            attack: self.study.attacks[row.attack].part.label.clone(),
            goal: row.goal,
            missing: row.missing,
            attacked: row.source_correct,
            found: row.found,
            invalid: row.invalid,
            success: Rate::new(row.success, row.source_correct),
            success_8bit: Rate::new(row.success_8bit, row.source_correct),
            distortions: (0..row.distortions.len())
                .map(|n| self.distortion(index, row, n))
                .collect(),
            cost: Cost {
                forward_mean: row.passes.forward.mean.and_then(number),
                forward_median: row.passes.forward.median.and_then(number),
                backward_mean: row.passes.backward.mean.and_then(number),
                backward_median: row.passes.backward.median.and_then(number),
            },
        }
    }

    fn distortion(&self, campaign: usize, row: &Success, n: usize) -> DistortionSummary {
        let distortion = &row.distortions[n];
        let metric = &self.study.metrics[distortion.metric];
        let sorted = stats::sorted(distortion.cases.iter().copied().flatten().collect());
        // Of a metric that falls with the perturbation's size it cannot be said what is "within"
        // it.
        let is_distance = metric.direction == Direction::HigherIsMoreRobust;
        DistortionSummary {
            metric: metric.part.label.clone(),
            mean: estimate(distortion.float.mean, self.means[campaign][n].iter().copied()),
            quantiles: Quantiles::of(&sorted),
            mean_8bit: distortion.rounded.mean.and_then(number),
            median_8bit: distortion.rounded.median.and_then(number),
            curve: is_distance.then(|| Curve::of(&sorted, row.source_correct)),
            gap: is_distance.then(|| self.gap(row, n)),
        }
    }

    /// Against the smallest distortions that any attack on the same model with the same goal came
    /// to.
    fn gap(&self, row: &Success, n: usize) -> Gap {
        let rivals = self
            .tables
            .success
            .iter()
            .filter(|other| (other.model, other.goal) == (row.model, row.goal));
        let rivals: Vec<&[Option<f64>]> =
            rivals.map(|other| other.distortions[n].cases.as_slice()).collect();
        let mut ratios = Vec::new();
        for (image, own) in row.distortions[n].cases.iter().enumerate() {
            let least = rivals.iter().filter_map(|cases| cases[image]).min_by(f64::total_cmp);
            ratios.extend(least.map(|least| {
                own.map_or(f64::INFINITY, |own| if own == least { 1.0 } else { own / least })
            }));
        }
        let ratios = stats::sorted(ratios);
        let finite: Vec<f64> = ratios.iter().copied().filter(|ratio| ratio.is_finite()).collect();
        Gap {
            images: ratios.len(),
            best: ratios.iter().filter(|ratio| **ratio <= 1.01).count(),
            median_ratio: stats::quantile(&ratios, 0.5).and_then(number),
            mean_ratio: stats::mean(&finite).and_then(number),
        }
    }

    pub(super) fn score(&self, score: &analysis::Score) -> ScoreSummary {
        let metric = &self.study.metrics[score.metric];
        let sorted = stats::sorted(score.cases.iter().copied().flatten().collect());
        let extras = metric
            .extras
            .iter()
            .cloned()
            .zip(score.extras.iter().map(|mean| mean.and_then(number)));
        ScoreSummary {
            metric: metric.part.label.clone(),
            model: self.label(score.model).into(),
            goal: score.goal,
            missing: score.missing,
            scored: score.scored,
            mean: self.estimate(|counts| stats::drawn_mean(&score.cases, counts)),
            quantiles: Quantiles::of(&sorted),
            extras: extras.collect(),
        }
    }

    fn attacks_and_goals(&self) -> impl Iterator<Item = (usize, GoalKind)> {
        self.study
            .attacks
            .iter()
            .enumerate()
            .flat_map(|(index, attack)| attack.goals.iter().map(move |&goal| (index, goal)))
    }

    pub(super) fn matrices(&self) -> Vec<Matrix> {
        let mut matrices = Vec::new();
        for (attack, goal) in self.attacks_and_goals() {
            for (rank, matching) in [(Rank::Top1, Match::Top1), (Rank::Top5, Match::Top5)] {
                if goal == GoalKind::Untargeted && rank == Rank::Top5 {
                    continue;
                }
                for (depth, pixels) in
                    [(Depth::Float, Pixels::Float), (Depth::EightBit, Pixels::EightBit)]
                {
                    let of = |row: &&Transfer| {
                        (row.attack, row.goal, row.rank, row.depth) == (attack, goal, rank, depth)
                    };
                    let rows: Vec<&Transfer> = self.tables.transfer.iter().filter(of).collect();
                    let own: Vec<&Success> = match rank {
                        Rank::Top1 => self
                            .tables
                            .success
                            .iter()
                            .filter(|row| (row.attack, row.goal) == (attack, goal))
                            .collect(),
                        Rank::Top5 => Vec::new(),
                    };
                    matrices.push(Matrix {
                        attack: self.study.attacks[attack].part.label.clone(),
                        goal,
                        pixels,
                        matching,
                        denominators: (0..DENOMINATORS.len())
                            .map(|n| (DENOMINATORS[n].into(), self.counts(&rows, &own, depth, n)))
                            .collect(),
                        published: DENOMINATORS[PUBLISHED].into(),
                        split: self.split(&rows, &own, depth),
                    });
                }
            }
        }
        matrices
    }

    fn square(&self) -> Vec<Vec<usize>> {
        vec![vec![0; self.study.models.len()]; self.study.models.len()]
    }

    fn counts(
        &self,
        rows: &[&Transfer],
        own: &[&Success],
        depth: Depth,
        denominator: usize,
    ) -> Counts {
        let mut counts = Counts { k: self.square(), n: self.square() };
        for row in rows {
            counts.k[row.source][row.target] = row.transferred[denominator];
            counts.n[row.source][row.target] = row.images[denominator];
        }
        for row in own {
            let met = if depth == Depth::Float { &row.met } else { &row.met_8bit };
            let success = met.iter().filter(|met| **met).count();
            let everyone =
                || met.iter().enumerate().filter(|(image, _)| self.tables.everyone(*image));
            (counts.k[row.model][row.model], counts.n[row.model][row.model]) =
                match DENOMINATORS[denominator] {
                    "all" => (success, row.images),
                    "source_correct" | "target_correct" => (success, row.source_correct),
                    "source_success" | "both" => (success, success),
                    _ => (everyone().filter(|(_, met)| **met).count(), everyone().count()),
                };
        }
        counts
    }

    fn split(&self, rows: &[&Transfer], own: &[&Success], depth: Depth) -> Split {
        let mut split = Split {
            unfooled: self.square(),
            different_mistake: self.square(),
            same_mistake: self.square(),
        };
        for row in rows {
            let [unfooled, different, same] = row.split;
            split.unfooled[row.source][row.target] = unfooled;
            split.different_mistake[row.source][row.target] = different;
            split.same_mistake[row.source][row.target] = same;
        }
        for row in own {
            split.same_mistake[row.model][row.model] =
                if depth == Depth::Float { row.success } else { row.success_8bit };
        }
        split
    }

    pub(super) fn laws(&self) -> Vec<Law> {
        let mut laws = Vec::new();
        for (attack, goal) in self.attacks_and_goals() {
            let campaigns: Vec<usize> = (0..self.tables.success.len())
                .filter(|&index| {
                    (self.tables.success[index].attack, self.tables.success[index].goal)
                        == (attack, goal)
                })
                .collect();
            let Some(&first) = campaigns.first() else { continue };
            for n in 0..self.tables.success[first].distortions.len() {
                laws.push(self.law(attack, goal, &campaigns, n));
            }
        }
        laws
    }

    fn law(&self, attack: usize, goal: GoalKind, campaigns: &[usize], n: usize) -> Law {
        let metric = &self.study.metrics[self.tables.success[campaigns[0]].distortions[n].metric];
        let sign = if metric.direction == Direction::HigherIsMoreRobust { 1.0 } else { -1.0 };
        // Accurate and robust: to the upper left of distortion against ln(error).
        let frontier = |points: &[(f64, f64)]| {
            stats::pareto(&points.iter().map(|(x, y)| (-x, sign * y)).collect::<Vec<_>>())
        };

        // The models that have a point, with their point in each resample.
        let has_point: Vec<(usize, usize, f64, f64)> = campaigns
            .iter()
            .filter_map(|&campaign| {
                let row = &self.tables.success[campaign];
                Some((
                    campaign,
                    row.model,
                    self.ln_error(row.model)?,
                    row.distortions[n].float.mean?,
                ))
            })
            .collect();
        let points: Vec<(f64, f64)> = has_point.iter().map(|&(_, _, x, y)| (x, y)).collect();
        let on_frontier = frontier(&points);
        let resampled = |b: usize| -> Vec<Option<(f64, f64)>> {
            has_point
                .iter()
                .map(|&(campaign, model, ..)| {
                    Some((self.ln_errors[model][b], self.means[campaign][n][b]?))
                })
                .collect()
        };
        let resamples: Vec<Resample> = (0..RESAMPLES)
            .map(|b| {
                let drawn = resampled(b);
                let (present, found): (Vec<usize>, Vec<(f64, f64)>) = drawn
                    .iter()
                    .enumerate()
                    .filter_map(|(index, point)| Some((index, (*point)?)))
                    .unzip();
                let mut on_frontier = vec![false; drawn.len()];
                for (index, on) in present.into_iter().zip(frontier(&found)) {
                    on_frontier[index] = on;
                }
                Resample { points: drawn, on_frontier }
            })
            .collect();

        let point = |index: usize| {
            let (campaign, model, ln_error, distortion) = has_point[index];
            let drawn: Vec<&Resample> =
                resamples.iter().filter(|resample| resample.points[index].is_some()).collect();
            let on = drawn.iter().filter(|resample| resample.on_frontier[index]).count();
            Some(Point {
                model: self.label(model).into(),
                ln_error: number(ln_error)?,
                ln_error_interval: stats::percentiles(self.ln_errors[model].clone())
                    .and_then(interval),
                distortion: number(distortion)?,
                distortion_interval: stats::percentiles(
                    self.means[campaign][n].iter().copied().flatten().collect(),
                )
                .and_then(interval),
                on_frontier: on_frontier[index],
                membership: analysis::rate(on, drawn.len()).and_then(number),
            })
        };
        let without: Vec<bool> = has_point
            .iter()
            .map(|&(_, model, ..)| !LEANED_ON.contains(&self.family(model)))
            .collect();
        let all = vec![true; points.len()];
        let fits = [
            (Subset::All, &all),
            (Subset::Frontier, &on_frontier),
            (Subset::WithoutAlexnetAndVgg, &without),
        ];
        Law {
            attack: self.study.attacks[attack].part.label.clone(),
            goal,
            metric: metric.part.label.clone(),
            points: (0..points.len()).filter_map(point).collect(),
            fits: fits
                .into_iter()
                .map(|(subset, members)| fit(subset, &points, members, &resamples))
                .collect(),
        }
    }

    pub(super) fn depth(&self) -> Vec<DepthEffect> {
        let mut effects = Vec::new();
        for (attack, goal) in self.attacks_and_goals() {
            let of = |row: &&Success| (row.attack, row.goal) == (attack, goal);
            let mut by_family: BTreeMap<&str, Vec<(u32, &Success)>> = BTreeMap::new();
            for row in self.tables.success.iter().filter(of) {
                if let Some(depth) = self.study.models[row.model].card.depth {
                    by_family.entry(self.family(row.model)).or_default().push((depth, row));
                }
            }
            for (family, mut rows) in by_family {
                rows.sort_by_key(|(depth, row)| (*depth, row.model));
                for pair in rows.windows(2).filter(|pair| pair[0].0 < pair[1].0) {
                    effects.extend(
                        (0..pair[0].1.distortions.len())
                            .map(|n| self.deeper(family, pair[0], pair[1], n)),
                    );
                }
            }
        }
        effects
    }

    fn deeper(
        &self,
        family: &str,
        shallow: (u32, &Success),
        deep: (u32, &Success),
        n: usize,
    ) -> DepthEffect {
        let ratio = |counts: &[u32]| depth_ratio(shallow.1, deep.1, n, counts);
        DepthEffect {
            attack: self.study.attacks[shallow.1.attack].part.label.clone(),
            goal: shallow.1.goal,
            metric: self.study.metrics[shallow.1.distortions[n].metric].part.label.clone(),
            family: family.into(),
            shallow: self.label(shallow.1.model).into(),
            shallow_depth: shallow.0,
            deep: self.label(deep.1.model).into(),
            deep_depth: deep.0,
            images: shallow.1.distortions[n]
                .cases
                .iter()
                .zip(&deep.1.distortions[n].cases)
                .filter(|(a, b)| a.is_some() && b.is_some())
                .count(),
            ratio: self.estimate(ratio),
        }
    }

    /// The geometric mean of the ratios of pairs that are about one attack, goal and metric.
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

    /// A statistic of the images, each as often as it is drawn.
    pub fn estimate(&self, statistic: impl Fn(&[u32]) -> Option<f64>) -> Estimate {
        let all = vec![1; self.study.data.pictures.len()];
        estimate(statistic(&all), self.bootstrap.resamples().map(statistic))
    }

    pub(super) fn families(&self) -> Vec<FamilyTransfer> {
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

    fn pooled(&self, tallies: &[Tally]) -> Pooled {
        let rate = |counts: &[u32]| drawn_rate(tallies, counts);
        let sum = |of: fn(&Tally) -> u32| tallies.iter().map(|tally| of(tally) as usize).sum();
        Pooled { k: sum(|tally| tally.hits), n: sum(|tally| tally.of), rate: self.estimate(rate) }
    }

    /// The rate of `a` less that of `b`.
    pub fn difference(&self, a: &[Tally], b: &[Tally]) -> Estimate {
        self.estimate(|counts| Some(drawn_rate(a, counts)? - drawn_rate(b, counts)?))
    }
}

/// A resample of a law's images.
struct Resample {
    /// None for a model without a success among them.
    points: Vec<Option<(f64, f64)>>,
    on_frontier: Vec<bool>,
}

fn fit(subset: Subset, points: &[(f64, f64)], members: &[bool], resamples: &[Resample]) -> Fit {
    let chosen: Vec<(f64, f64)> = points
        .iter()
        .zip(members)
        .filter(|(_, member)| **member)
        .map(|(point, _)| *point)
        .collect();
    let line = Line::fit(&chosen);
    let lines: Vec<Line> = resamples
        .iter()
        .filter_map(|resample| {
            let members = if subset == Subset::Frontier { &resample.on_frontier } else { members };
            let chosen: Vec<(f64, f64)> = resample
                .points
                .iter()
                .zip(members)
                .filter(|(_, member)| **member)
                .filter_map(|(p, _)| *p)
                .collect();
            Line::fit(&chosen)
        })
        .collect();
    let of = |value: &dyn Fn(&Line) -> f64| {
        estimate(line.as_ref().map(value), lines.iter().map(|line| Some(value(line))))
    };
    let ends = chosen.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (x, _)| {
        (low.min(*x), high.max(*x))
    });
    let band = |place: usize| {
        let x = ends.0 + (ends.1 - ends.0) * place as f64 / (BAND - 1) as f64;
        let height = of(&|line| line.at(x));
        Some(Band { ln_error: number(x)?, line: height.value?, interval: height.interval })
    };
    Fit {
        subset,
        models: chosen.len(),
        slope: of(&|line| line.slope),
        slope_interval_t: line
            .and_then(|line| line.slope_interval(chosen.len()))
            .and_then(interval),
        intercept: of(&|line| line.intercept),
        r2: of(&|line| line.r2),
        band: if line.is_some() { (0..BAND).filter_map(band).collect() } else { Vec::new() },
    }
}

/// Mean distortion of the deeper model over that of the other, on the images with both.
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

/// A value and what resampling made of it; no value, no interval.
fn estimate(value: Option<f64>, resampled: impl Iterator<Item = Option<f64>>) -> Estimate {
    let Some(value) = value.and_then(number) else { return Estimate::default() };
    Estimate {
        value: Some(value),
        interval: stats::percentiles(resampled.flatten().collect()).and_then(interval),
    }
}

fn drawn_rate(tallies: &[Tally], counts: &[u32]) -> Option<f64> {
    let (hits, of) = tallies.iter().zip(counts).fold((0, 0), |(hits, of), (tally, count)| {
        (hits + u64::from(tally.hits * count), of + u64::from(tally.of * count))
    });
    (of > 0).then(|| hits as f64 / of as f64)
}

/// Tallies added up image by image.
pub(super) fn added<'t>(tallies: impl Iterator<Item = &'t [Tally]>) -> Vec<Tally> {
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

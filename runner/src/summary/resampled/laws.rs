//! Estimates of laws: distortion against ln(error), the frontier, and lines.

use crate::analysis::stats::{self, Line};
use crate::analysis::{interval, number, rate};
use crate::study::GoalKind;
use crate::summary::laws::{Band, Fit, Law, Point, Subset};
use crate::summary::resampled::resampler::{RESAMPLES, Resampler, estimate, of_several};
use gauntlet_core::metric::Direction;

/// Number of abscissas at which a line's height is given.
const BAND: usize = 21;

/// The families that a line is also fitted without, since the law has been said to rest on them
/// alone.
const LEANED_ON: [&str; 2] = ["AlexNet", "VGG"];

/// A model in the plane of ln(error) and mean distortion.
struct ModelPoint {
    campaign: usize,
    model: usize,
    ln_error: f64,
    distortion: f64,
}

/// The points of a law in one resample of the images.
struct Resample {
    /// Per model of the law, ln(error) and mean distortion; none without a success.
    points: Vec<Option<(f64, f64)>>,
    /// Per model of the law, whether it is on the frontier.
    on_frontier: Vec<bool>,
}

impl Resampler<'_> {
    /// The laws of every attack, goal and metric of outcomes.
    pub fn laws(&self) -> Vec<Law> {
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

    /// The law of the `n`th metric of outcomes. `campaigns` are those of the attack and goal.
    fn law(&self, attack: usize, goal: GoalKind, campaigns: &[usize], n: usize) -> Law {
        let metric = &self.study.metrics[self.tables.success[campaigns[0]].distortions[n].metric];
        let models = self.points(campaigns, n);
        let points: Vec<(f64, f64)> =
            models.iter().map(|point| (point.ln_error, point.distortion)).collect();
        let on_frontier = frontier(&points, metric.direction);
        let resamples: Vec<Resample> =
            (0..RESAMPLES).map(|b| self.resample(&models, n, metric.direction, b)).collect();
        let without: Vec<bool> =
            models.iter().map(|point| !LEANED_ON.contains(&self.family(point.model))).collect();
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
            points: (0..models.len())
                .filter_map(|index| self.point(&models, index, n, on_frontier[index], &resamples))
                .collect(),
            fits: fits
                .into_iter()
                .map(|(subset, members)| fit(subset, &points, members, &resamples))
                .collect(),
        }
    }

    /// The models that have a point.
    fn points(&self, campaigns: &[usize], n: usize) -> Vec<ModelPoint> {
        let point = |&campaign: &usize| {
            let row = &self.tables.success[campaign];
            Some(ModelPoint {
                campaign,
                model: row.model,
                ln_error: self.ln_error(row.model)?,
                distortion: row.distortions[n].float.mean?,
            })
        };
        campaigns.iter().filter_map(point).collect()
    }

    /// The points of models in resample `b`.
    fn resample(
        &self,
        models: &[ModelPoint],
        n: usize,
        direction: Direction,
        b: usize,
    ) -> Resample {
        let point = |point: &ModelPoint| {
            Some((self.ln_errors[point.model][b], self.means[point.campaign][n][b]?))
        };
        let points: Vec<Option<(f64, f64)>> = models.iter().map(point).collect();
        let (present, found): (Vec<usize>, Vec<(f64, f64)>) =
            points.iter().enumerate().filter_map(|(index, point)| Some((index, (*point)?))).unzip();
        let mut on_frontier = vec![false; points.len()];
        for (index, on) in present.into_iter().zip(frontier(&found, direction)) {
            on_frontier[index] = on;
        }
        Resample { points, on_frontier }
    }

    /// A point with its intervals.
    fn point(
        &self,
        models: &[ModelPoint],
        index: usize,
        n: usize,
        on_frontier: bool,
        resamples: &[Resample],
    ) -> Option<Point> {
        let ModelPoint { campaign, model, ln_error, distortion } = models[index];
        let drawn: Vec<&Resample> =
            resamples.iter().filter(|resample| resample.points[index].is_some()).collect();
        let on = drawn.iter().filter(|resample| resample.on_frontier[index]).count();
        let drawn_means = self.means[campaign][n].iter().copied();
        let mean = of_several(
            estimate(Some(distortion), drawn_means),
            self.tables.success[campaign].success,
        );
        Some(Point {
            model: self.label(model).into(),
            ln_error: number(ln_error)?,
            ln_error_interval: self.ln_error_interval(model).and_then(interval),
            distortion: number(distortion)?,
            distortion_interval: mean.interval,
            on_frontier,
            membership: rate(on, drawn.len()).and_then(number),
        })
    }
}

/// Which points of (ln(error), distortion) are on the frontier of accuracy and robustness.
fn frontier(points: &[(f64, f64)], direction: Direction) -> Vec<bool> {
    let sign = if direction == Direction::HigherIsMoreRobust { 1.0 } else { -1.0 };
    stats::pareto(&points.iter().map(|(x, y)| (-x, sign * y)).collect::<Vec<_>>())
}

/// The line through the points of `members`.
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

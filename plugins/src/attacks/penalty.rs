//! The search over the constant c, which [`CwL2`](super::CwL2) and [`EadL1`](super::EadL1) share.
//!
//! Both minimise distortion(x′) + c·f(x′), where f is above 0 until the goal is met. A small c
//! leaves the image as it is, a large one finds adversarials that are farther than need be. So c is
//! searched for, for each case on its own:
//!
//! ```text
//! c ← initial_c,  lower ← 0,  upper ← ∞
//! for each of search_steps steps:
//!     run the optimiser with c, for at most `iterations` iterations; every
//!         ⌊iterations/abort_checks⌋ of them look at the loss, and give the step up
//!         if it is above abort_tolerance × the loss at the last look
//!     if the step has met the goal:  upper ← min(upper, c)
//!     else:                          lower ← max(lower, c)
//!     c ← (lower + upper)/2 if upper < ∞, else 10·c
//! the answer is the adversarial of the smallest distortion in all steps
//! ```
//!
//! Source: Carlini and Wagner's `l2_attack.py`, whose loop the authors of EAD took over.
//!
//! An attack's [`step`](gauntlet_core::lanes::Search::step) is one iteration of the optimiser,
//! followed by [`look`], [`SearchRows::keep`] and [`SearchRows::turn`].

use super::at_image::AtImage;
use anyhow::{Result, ensure};
use gauntlet_core::attack::Answer;
use gauntlet_core::device::upload;
use gauntlet_core::lanes::per_image;
use gauntlet_core::rows;
use tch::{Device, Kind, Tensor};

/// Settings of the search over c.
#[derive(Clone, Copy)]
pub struct SearchSettings {
    /// The first c.
    pub initial_c: f64,
    /// Values of c that are tried.
    pub search_steps: u32,
    /// Greatest number of the optimiser's iterations in a step.
    pub iterations: u32,
    /// Looks at the loss in a whole step; 0 for none.
    pub abort_checks: u32,
    /// A step is given up when the loss is above this fraction of the last look's.
    pub abort_tolerance: f64,
}

impl SearchSettings {
    /// # Errors
    /// Says which setting is out of range, and what is expected.
    pub fn check(self) -> Result<()> {
        ensure!(
            self.initial_c > 0.0 && self.initial_c.is_finite(),
            "`initial_c` is {}, expected a positive number",
            self.initial_c
        );
        ensure!(self.search_steps > 0, "`search_steps` is 0, expected 1 or more");
        ensure!(self.iterations > 0, "`iterations` is 0, expected 1 or more");
        ensure!(
            self.abort_tolerance > 0.0 && self.abort_tolerance <= 1.0,
            "`abort_tolerance` is {}, expected above 0, at most 1",
            self.abort_tolerance
        );
        Ok(())
    }

    /// Iterations that a case is expected to take in all steps.
    pub fn expected_iterations(self, ExpectedSteps { whole, looks }: ExpectedSteps) -> f64 {
        let iterations = f64::from(self.iterations);
        let step = self.iterations.checked_div(self.abort_checks).map_or(iterations, |between| {
            let given_up = (looks * f64::from(between.max(1)) + 1.0).min(iterations);
            whole * iterations + (1.0 - whole) * given_up
        });
        f64::from(self.search_steps) * step
    }
}

/// When steps are expected to end, as measured: a part of them runs all iterations, the others are
/// given up at about the same look at the loss. Looks are counted, not iterations, because steps of
/// any length take as many looks.
#[derive(Clone, Copy)]
pub struct ExpectedSteps {
    /// Part of the steps that are not given up, 0 to 1.
    pub whole: f64,
    /// Looks at the loss before the one at which the others are given up.
    pub looks: f64,
}

/// What happened in the search, for comparison with other implementations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// c of each step of the search.
    pub constants: Vec<f64>,
    /// Iterations of the optimiser in each step.
    pub iterations: Vec<u32>,
    /// Step and iteration of the first adversarial, each from 0.
    pub first_found: Option<(u32, u32)>,
    /// c of the step that found the best adversarial.
    pub best_constant: Option<f64>,
}

/// What the search gave for one case.
#[derive(Debug)]
pub struct PenaltyOutcome {
    /// The adversarial of the smallest distortion, C×H×W in [0, 1], if any was found.
    pub best: Option<Tensor>,
    /// What happened in the search.
    pub trace: Trace,
}

impl From<PenaltyOutcome> for Answer {
    fn from(outcome: PenaltyOutcome) -> Self {
        outcome.best.map_or(Self::NotFound, Self::Pixels)
    }
}

/// Begins a case: the state of its search, and its rows.
pub fn begin(settings: SearchSettings, image: &Tensor) -> (ConstantSearch, SearchRows) {
    let scalar =
        |value: f64| Tensor::full([0i64; 0].as_slice(), value, (Kind::Float, image.device()));
    let rows = SearchRows {
        image: image.shallow_clone(),
        c: scalar(settings.initial_c),
        found: scalar(0.0),
        best: image.zeros_like(),
        best_distortion: scalar(f64::INFINITY),
        best_c: scalar(0.0),
        first_found: scalar(-1.0),
    };
    (ConstantSearch::new(settings), rows)
}

/// Looks at the losses (M) of the lanes that are due, and says which lanes give their step up.
///
/// `losses` is called only when a lane is due: apart from the end of a step, this is the one place
/// that waits for the device.
pub fn given_up(
    searches: &mut [ConstantSearch],
    losses: impl FnOnce() -> Tensor,
) -> Result<Vec<bool>> {
    let mut given_up = vec![false; searches.len()];
    if searches.iter().any(ConstantSearch::is_due) {
        let losses = Vec::<f64>::try_from(losses().to_kind(Kind::Double))?;
        for (lane, search) in searches.iter_mut().enumerate().filter(|(_, s)| s.is_due()) {
            given_up[lane] = search.gives_up(losses[lane]);
        }
    }
    Ok(given_up)
}

/// State of one case's search.
pub struct ConstantSearch {
    settings: SearchSettings,
    c: f64,
    /// Iteration within the step, from 0.
    pub iteration: u32,
    /// What the model answers at the image itself with this c, as long as the case has not left it.
    pub at_image: Option<AtImage>,
    /// Greatest c that has failed; 0 before that.
    lower: f64,
    /// Smallest c that has met the goal; infinite before that.
    upper: f64,
    /// Loss at the last look in this step.
    previous_loss: f64,
    trace: Trace,
}

/// What a lane does after an iteration.
enum Turn {
    /// Goes on with this step.
    Iterate,
    /// Starts the next step, with another c.
    NextStep,
    /// Is finished.
    Done,
}

/// The loss that the first look of a step is compared with, as in the reference.
const NO_LOSS: f64 = 1e6;

impl ConstantSearch {
    fn new(settings: SearchSettings) -> Self {
        let c = settings.initial_c;
        let trace = Trace { constants: vec![c], iterations: vec![0], ..Trace::default() };
        Self {
            settings,
            c,
            iteration: 0,
            at_image: None,
            lower: 0.0,
            upper: f64::INFINITY,
            previous_loss: NO_LOSS,
            trace,
        }
    }

    /// The number of the step, from 0.
    fn step(&self) -> u32 {
        self.trace.constants.len() as u32 - 1
    }

    /// Iterations of whole steps up to this one's.
    fn clock(&self) -> u32 {
        self.step() * self.settings.iterations + self.iteration
    }

    /// Steps that have ended without an adversarial, as long as no step has found one; then 0.
    pub fn steps_in_vain(&self) -> u32 {
        if self.upper.is_finite() { 0 } else { self.step() }
    }

    /// Whether this iteration's loss is looked at.
    fn is_due(&self) -> bool {
        let SearchSettings { iterations, abort_checks, .. } = self.settings;
        abort_checks > 0 && self.iteration.is_multiple_of((iterations / abort_checks).max(1))
    }

    /// Looks at the loss, and says whether this step is given up.
    fn gives_up(&mut self, loss: f64) -> bool {
        // In float32, as the reference compares.
        let stuck = loss as f32 > self.previous_loss as f32 * self.settings.abort_tolerance as f32;
        if !stuck {
            self.previous_loss = loss;
        }
        stuck
    }

    /// Counts an iteration. `found` says whether the step has met the goal; it is called at the end
    /// of a step.
    fn advance(&mut self, given_up: bool, found: impl FnOnce() -> bool) -> Turn {
        self.iteration += 1;
        if let Some(count) = self.trace.iterations.last_mut() {
            *count = self.iteration;
        }
        if !given_up && self.iteration < self.settings.iterations {
            return Turn::Iterate;
        }
        if self.step() + 1 == self.settings.search_steps {
            return Turn::Done;
        }
        if found() {
            self.upper = self.upper.min(self.c);
        } else {
            self.lower = self.lower.max(self.c);
        }
        self.c = if self.upper.is_finite() {
            f64::midpoint(self.lower, self.upper)
        } else {
            self.c * 10.0
        };
        self.iteration = 0;
        self.at_image = None;
        self.previous_loss = NO_LOSS;
        self.trace.constants.push(self.c);
        self.trace.iterations.push(0);
        Turn::NextStep
    }
}

rows! {
    /// Rows of the search over c; an attack's own stand beside them.
    pub struct SearchRows {
        /// M×C×H×W: the image x, to the bit, for the pixels that do not move.
        pub image: Tensor,
        /// M: the c of each lane.
        pub c: Tensor,
        /// M: 1 where this step has met the goal, else 0.
        found: Tensor,
        /// M×C×H×W: the adversarial of the smallest distortion.
        best: Tensor,
        /// M; infinite before the first adversarial.
        best_distortion: Tensor,
        /// M: c of the step that found `best`.
        best_c: Tensor,
        /// M: [`ConstantSearch::clock`] of the first adversarial, or −1.
        first_found: Tensor,
    }
}

impl SearchRows {
    /// The lanes in which it does not matter what the model answers at pixels of these distortions
    /// (one per lane): this step has met the goal already, the best adversarial is as close, and
    /// the loss is not looked at.
    pub fn decided(&self, searches: &[ConstantSearch], distortions: &[f32]) -> Result<Vec<bool>> {
        let found = Vec::<f32>::try_from(&self.found)?;
        let best = Vec::<f32>::try_from(&self.best_distortion)?;
        Ok((0..searches.len())
            .map(|lane| {
                found[lane] > 0.0 && distortions[lane] >= best[lane] && !searches[lane].is_due()
            })
            .collect())
    }

    /// Keeps the pixels (M×C×H×W) that meet their goal (`met`, M) at a smaller distortion (M) than
    /// any before. As published, the iterate at which a step is given up does not count.
    pub fn keep(
        &mut self,
        searches: &[ConstantSearch],
        given_up: &[bool],
        pixels: &Tensor,
        distortion: &Tensor,
        met: &Tensor,
    ) -> Result<()> {
        let device = distortion.device();
        let success = if given_up.contains(&true) {
            met.logical_and(&upload(given_up, device).logical_not())
        } else {
            met.shallow_clone()
        };
        self.found = self.found.maximum(&success.to_kind(Kind::Float));
        let better = success.logical_and(&distortion.lt_tensor(&self.best_distortion));
        // On the CPU only the lanes that are better are copied. On a GPU the host would have to
        // wait to know which these are, so all rows are written, through a mask.
        if device == Device::Cpu {
            let better: Vec<i64> = (0..)
                .zip(Vec::<bool>::try_from(&better)?)
                .filter_map(|(lane, better)| better.then_some(lane))
                .collect();
            if better.is_empty() {
                return Ok(());
            }
            for lane in better {
                self.best.get(lane).copy_(&pixels.get(lane));
            }
        } else {
            self.best = pixels.where_self(&per_image(&better), &self.best);
        }
        let now: Vec<f32> = searches.iter().map(|search| search.clock() as f32).collect();
        let first = better.logical_and(&self.first_found.lt(0.0));
        self.first_found = upload(&now, device).where_self(&first, &self.first_found);
        self.best_distortion = distortion.where_self(&better, &self.best_distortion);
        self.best_c = self.c.where_self(&better, &self.best_c);
        Ok(())
    }

    /// Ends the iteration, and says which cases are done. A lane at the end of a step goes on to
    /// the next c; `restart` then sets the attack's own rows of that lane.
    pub fn turn(
        &mut self,
        searches: &mut [ConstantSearch],
        given_up: &[bool],
        mut restart: impl FnMut(i64),
    ) -> Vec<bool> {
        let mut done = vec![false; searches.len()];
        for (n, search) in searches.iter_mut().enumerate() {
            let lane = n as i64;
            match search.advance(given_up[n], || self.found.double_value(&[lane]) > 0.0) {
                Turn::Iterate => {}
                Turn::Done => done[n] = true,
                Turn::NextStep => {
                    let _ = self.found.get(lane).zero_();
                    let _ = self.c.get(lane).fill_(search.c);
                    restart(lane);
                }
            }
        }
        done
    }

    /// The result of a case that is done; the rows have no lane dimension.
    pub fn finish(self, search: ConstantSearch) -> PenaltyOutcome {
        let (iterations, mut trace) = (search.settings.iterations, search.trace);
        let first = self.first_found.double_value(&[]);
        if first < 0.0 {
            return PenaltyOutcome { best: None, trace };
        }
        trace.first_found = Some((first as u32 / iterations, first as u32 % iterations));
        trace.best_constant = Some(self.best_c.double_value(&[]));
        PenaltyOutcome { best: Some(self.best), trace }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: SearchSettings = SearchSettings {
        initial_c: 0.01,
        search_steps: 6,
        iterations: 20,
        abort_checks: 10,
        abort_tolerance: 0.9999,
    };

    #[test]
    fn c_grows_tenfold_until_found_then_halves_the_gap() {
        let mut search = ConstantSearch::new(SETTINGS);
        let mut in_vain = vec![search.steps_in_vain()];
        for found in [false, false, true, false, true, true] {
            search.advance(true, || found);
            in_vain.push(search.steps_in_vain());
        }
        assert_eq!(in_vain, [0, 1, 2, 0, 0, 0, 0]);
        let expected = [0.01, 0.1, 1.0, 0.55, 0.775, 0.6625];
        for (c, expected) in search.trace.constants.iter().zip(expected) {
            assert!((c - expected).abs() < 1e-12, "{:?}", search.trace.constants);
        }
    }

    #[test]
    fn a_step_ends_at_the_last_iteration_or_when_the_loss_stands_still() {
        let mut search = ConstantSearch::new(SETTINGS);
        let mut looked = Vec::new();
        loop {
            let due = search.is_due();
            if due {
                looked.push(search.iteration);
            }
            let loss = if search.iteration < 6 { 5.0 - f64::from(search.iteration) } else { 1.0 };
            let given_up = due && search.gives_up(loss);
            if !matches!(search.advance(given_up, || false), Turn::Iterate) {
                break;
            }
        }
        assert_eq!(looked, [0, 2, 4, 6]);
        assert_eq!(search.trace.iterations, [7, 0]);
    }

    #[test]
    fn a_step_is_expected_to_end_at_a_look_or_not_at_all() {
        let iterations = |settings: SearchSettings, whole: f64, looks: f64| {
            settings.expected_iterations(ExpectedSteps { whole, looks })
        };
        // 20 iterations, a look at every second: 6 and (20 + 3) / 2 in each of six steps.
        assert_eq!(iterations(SETTINGS, 0.0, 2.5), 36.0);
        assert_eq!(iterations(SETTINGS, 0.5, 1.0), 69.0);
        for abort_checks in [0, 1] {
            let settings = SearchSettings { abort_checks, ..SETTINGS };
            assert_eq!(iterations(settings, 0.0, 2.5), 120.0);
        }
    }

    #[test]
    fn fewer_than_ten_iterations_are_looked_at_each_time() {
        let settings = SearchSettings { iterations: 5, ..SETTINGS };
        let at = |iteration| ConstantSearch { iteration, ..ConstantSearch::new(settings) };
        assert!((0..5).all(|iteration| at(iteration).is_due()));
    }
}

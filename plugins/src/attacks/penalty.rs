//! The outer loop that C&W and EAD share: a search, per case, for the constant c that weighs the
//! misclassification loss against the distortion, with early abort inside each of its steps.

use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Goal};
use gauntlet_core::device::upload;
use gauntlet_core::lanes::Lanes;
use tch::{Device, Kind, Tensor};

/// The outer loop's settings.
#[derive(Clone, Copy)]
pub struct Plan {
    pub initial_c: f64,
    pub search_steps: u32,
    pub iterations: u32,
    /// How often a step looks at its loss; 0 for never.
    pub abort_checks: u32,
    /// A step is given up when the loss is above this fraction of the last look's.
    pub abort_tolerance: f64,
}

impl Plan {
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

    /// Gradients that a case is expected to take; `habits` are those away from a class and towards
    /// one.
    pub fn gradients(self, goal: Goal, habits: [Habit; 2]) -> f64 {
        let Habit { whole, looks } = habits[usize::from(matches!(goal, Goal::Towards(_)))];
        let iterations = f64::from(self.iterations);
        let step = self.iterations.checked_div(self.abort_checks).map_or(iterations, |between| {
            let given_up = (looks * f64::from(between.max(1)) + 1.0).min(iterations);
            whole * iterations + (1.0 - whole) * given_up
        });
        f64::from(self.search_steps) * step
    }
}

/// When steps end, as measured: part of them run all their iterations, the others are given up at
/// about the same look at their loss. Looks, unlike iterations, are as many in short steps as in
/// long ones.
#[derive(Clone, Copy)]
pub struct Habit {
    /// Part of the steps that are not given up.
    pub whole: f64,
    /// Looks at the loss before the one that ends the others.
    pub looks: f64,
}

/// What happened on the way, for comparison with other implementations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// c of each step of the search.
    pub constants: Vec<f64>,
    /// Optimiser iterations run in each step.
    pub iterations: Vec<u32>,
    /// Step and iteration of the first adversarial.
    pub first_found: Option<(u32, u32)>,
    /// c at the best adversarial.
    pub best_constant: Option<f64>,
}

/// What a search over c gave for one case.
#[derive(Debug)]
pub struct PenaltyOutcome {
    /// The adversarial of the smallest distortion, 3×S×S in [0, 1], if there is any.
    pub best: Option<Tensor>,
    /// The way there.
    pub trace: Trace,
}

impl From<PenaltyOutcome> for Answer {
    fn from(outcome: PenaltyOutcome) -> Self {
        outcome.best.map_or(Self::NotFound, Self::Pixels)
    }
}

/// Where one case stands in the search.
pub struct Walk {
    pub c: f64,
    /// Iteration within the step.
    pub iteration: u32,
    /// What the model made of the image itself at this c, while the case has not left it.
    pub rest: Option<Rest>,
    lower: f64,
    upper: f64,
    previous_loss: f64,
    pub trace: Trace,
}

/// A model's answer to a case's image.
pub struct Rest {
    /// The gradient that the first iteration has taken, 3×S×S.
    pub gradient: Tensor,
    /// Logits, K.
    pub logits: Tensor,
}

/// What a lane does after an iteration.
pub enum Turn {
    /// Goes on with this step.
    Iterate,
    /// Starts the next step, with the new c.
    NextStep,
    /// Is finished.
    Done,
}

impl Walk {
    pub fn new(plan: Plan) -> Self {
        Self {
            c: plan.initial_c,
            iteration: 0,
            rest: None,
            lower: 0.0,
            upper: f64::INFINITY,
            previous_loss: 1e6,
            trace: Trace {
                constants: vec![plan.initial_c],
                iterations: vec![0],
                ..Trace::default()
            },
        }
    }

    /// The number of the step, from 0.
    pub fn step(&self) -> u32 {
        self.trace.constants.len() as u32 - 1
    }

    /// How many steps the case has had, as long as none has found an adversarial; 0 once one has.
    pub fn in_vain(&self) -> u32 {
        if self.upper.is_finite() { 0 } else { self.step() }
    }

    /// Whether the loss of this iteration is looked at.
    pub fn due(&self, plan: Plan) -> bool {
        plan.abort_checks > 0
            && self.iteration.is_multiple_of((plan.iterations / plan.abort_checks).max(1))
    }

    /// Looks at the loss: whether this step is given up.
    pub fn look(&mut self, plan: Plan, loss: f64) -> bool {
        // In float32, as the published code compares.
        let stuck = loss as f32 > self.previous_loss as f32 * plan.abort_tolerance as f32;
        if !stuck {
            self.previous_loss = loss;
        }
        stuck
    }

    /// Counts an iteration; at the end of a step, `found` says whether it had any adversarial.
    pub fn advance(&mut self, plan: Plan, aborted: bool, found: impl FnOnce() -> bool) -> Turn {
        self.iteration += 1;
        if let Some(count) = self.trace.iterations.last_mut() {
            *count = self.iteration;
        }
        if !aborted && self.iteration < plan.iterations {
            return Turn::Iterate;
        }
        if self.step() + 1 == plan.search_steps {
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
        self.rest = None;
        self.previous_loss = 1e6;
        self.trace.constants.push(self.c);
        self.trace.iterations.push(0);
        Turn::NextStep
    }
}

// The rows of a lane that both attacks keep; an attack's own come after them.
const BEST: usize = 0; // the best adversarial's pixels
const BEST_DISTORTION: usize = 1;
const BEST_C: usize = 2;
const FIRST: usize = 3; // iteration count when the first adversarial was found, or −1
const FOUND: usize = 4; // whether this step of the search has found any
pub const C: usize = 5;
/// p itself, for the pixels that do not move.
pub const ORIGINAL: usize = 6;
/// The first row that is the attack's own.
pub const OWN: usize = 7;

/// Begins a case: the walk, and the shared rows followed by `own`.
pub fn begin(plan: Plan, image: &Tensor, own: Vec<Tensor>) -> (Walk, Vec<Tensor>) {
    let walk = Walk::new(plan);
    let scalar =
        |value: f64| Tensor::full([0i64; 0].as_slice(), value, (Kind::Float, image.device()));
    let mut rows = vec![
        image.zeros_like(),
        scalar(f64::INFINITY),
        scalar(0.0),
        scalar(-1.0),
        scalar(0.0),
        scalar(walk.c),
        image.shallow_clone(),
    ];
    rows.extend(own);
    (walk, rows)
}

/// The lanes in which it does not matter what the model makes of pixels at these distortions: those
/// that have met their goal in this step of the search already, at a smaller distortion, and whose
/// loss is not looked at.
pub fn decided(lanes: &Lanes<Walk>, plan: Plan, distortions: &[f32]) -> Result<Vec<bool>> {
    let [found, best] = [FOUND, BEST_DISTORTION].map(|row| Vec::<f32>::try_from(&lanes.rows[row]));
    let (found, best) = (found?, best?);
    Ok((0..lanes.len())
        .map(|lane| {
            found[lane] > 0.0 && distortions[lane] >= best[lane] && !lanes.states[lane].due(plan)
        })
        .collect())
}

/// Looks at the losses (M), in the lanes whose turn it is; says which lanes give their step up.
/// `losses` is asked for only when there is such a lane: but for the end of a search step it is the
/// one wait for the device.
pub fn look(
    lanes: &mut Lanes<Walk>,
    plan: Plan,
    losses: impl FnOnce(&Lanes<Walk>) -> Tensor,
) -> Result<Vec<bool>> {
    let mut aborted = vec![false; lanes.len()];
    if lanes.states.iter().any(|walk| walk.due(plan)) {
        let losses = Vec::<f64>::try_from(losses(lanes).to_kind(Kind::Double))?;
        for (lane, walk) in lanes.states.iter_mut().enumerate().filter(|(_, walk)| walk.due(plan)) {
            aborted[lane] = walk.look(plan, losses[lane]);
        }
    }
    Ok(aborted)
}

/// Keeps the pixels (M×3×S×S) that meet their goal (`met`, M) at a smaller distortion (M) than any
/// before. As published, the iterate at which a step is given up does not count.
pub fn keep(
    lanes: &mut Lanes<Walk>,
    plan: Plan,
    aborted: &[bool],
    pixels: &Tensor,
    distortion: &Tensor,
    met: &Tensor,
) -> Result<()> {
    let device = distortion.device();
    let success = if aborted.contains(&true) {
        met.logical_and(&upload(aborted, device).logical_not())
    } else {
        met.shallow_clone()
    };
    lanes.rows[FOUND] = lanes.rows[FOUND].maximum(&success.to_kind(Kind::Float));
    let better = success.logical_and(&distortion.lt_tensor(&lanes.rows[BEST_DISTORTION]));
    // Which lanes these are, a GPU's host would have to wait to know, so that there all rows are
    // written.
    if device == Device::Cpu {
        let closer: Vec<i64> = (0..)
            .zip(Vec::<bool>::try_from(&better)?)
            .filter_map(|(lane, better)| better.then_some(lane))
            .collect();
        if closer.is_empty() {
            return Ok(());
        }
        for lane in closer {
            lanes.rows[BEST].get(lane).copy_(&pixels.get(lane));
        }
    } else {
        lanes.rows[BEST] = pixels.where_self(&better.view([-1, 1, 1, 1]), &lanes.rows[BEST]);
    }
    let now: Vec<f32> = lanes
        .states
        .iter()
        .map(|walk| (walk.step() * plan.iterations + walk.iteration) as f32)
        .collect();
    let now = upload(&now, device);
    lanes.rows[FIRST] =
        now.where_self(&better.logical_and(&lanes.rows[FIRST].lt(0.0)), &lanes.rows[FIRST]);
    lanes.rows[BEST_DISTORTION] = distortion.where_self(&better, &lanes.rows[BEST_DISTORTION]);
    lanes.rows[BEST_C] = lanes.rows[C].where_self(&better, &lanes.rows[BEST_C]);
    Ok(())
}

/// Ends the iteration: lanes at the end of a step of the search go on to the next, with the rows
/// that `restart` sets anew, or are done.
pub fn turn(
    lanes: &mut Lanes<Walk>,
    plan: Plan,
    aborted: &[bool],
    restart: impl Fn(&mut Lanes<Walk>, usize),
) -> Vec<bool> {
    let mut done = vec![false; lanes.len()];
    for lane in 0..lanes.len() {
        let found = &lanes.rows[FOUND];
        match lanes.states[lane]
            .advance(plan, aborted[lane], || found.double_value(&[lane as i64]) > 0.0)
        {
            Turn::Iterate => {}
            Turn::Done => done[lane] = true,
            Turn::NextStep => {
                let _ = lanes.rows[FOUND].get(lane as i64).zero_();
                let _ = lanes.rows[C].get(lane as i64).fill_(lanes.states[lane].c);
                restart(lanes, lane);
            }
        }
    }
    done
}

/// The result of a case that is done.
pub fn finish(plan: Plan, walk: Walk, rows: &[Tensor]) -> PenaltyOutcome {
    let mut trace = walk.trace;
    let first = rows[FIRST].double_value(&[]);
    if first < 0.0 {
        return PenaltyOutcome { best: None, trace };
    }
    trace.first_found = Some((first as u32 / plan.iterations, first as u32 % plan.iterations));
    trace.best_constant = Some(rows[BEST_C].double_value(&[]));
    PenaltyOutcome { best: Some(rows[BEST].shallow_clone()), trace }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        initial_c: 0.01,
        search_steps: 6,
        iterations: 20,
        abort_checks: 10,
        abort_tolerance: 0.9999,
    };

    #[test]
    fn c_grows_tenfold_until_found_then_halves_the_gap() {
        let mut walk = Walk::new(PLAN);
        let mut in_vain = vec![walk.in_vain()];
        for found in [false, false, true, false, true, true] {
            walk.advance(PLAN, true, || found);
            in_vain.push(walk.in_vain());
        }
        assert_eq!(in_vain, [0, 1, 2, 0, 0, 0, 0]);
        for (c, expected) in walk.trace.constants.iter().zip([0.01, 0.1, 1.0, 0.55, 0.775, 0.6625])
        {
            assert!((c - expected).abs() < 1e-12, "{:?}", walk.trace.constants);
        }
    }

    #[test]
    fn a_step_ends_at_the_last_iteration_or_when_the_loss_stands_still() {
        let mut walk = Walk::new(PLAN);
        let mut looked = Vec::new();
        loop {
            let due = walk.due(PLAN);
            if due {
                looked.push(walk.iteration);
            }
            let aborted = due
                && walk.look(
                    PLAN,
                    if walk.iteration < 6 { 5.0 - f64::from(walk.iteration) } else { 1.0 },
                );
            if !matches!(walk.advance(PLAN, aborted, || false), Turn::Iterate) {
                break;
            }
        }
        assert_eq!(looked, [0, 2, 4, 6]);
        assert_eq!(walk.trace.iterations, [7, 0]);
    }

    #[test]
    fn a_step_is_expected_to_end_at_a_look_or_not_at_all() {
        let habits = [Habit { whole: 0.0, looks: 2.5 }, Habit { whole: 0.5, looks: 1.0 }];
        let gradients = |plan: Plan, goal| plan.gradients(goal, habits);
        // 20 iterations, a look at every second: 6 and (20 + 3) / 2 in each of six steps.
        assert_eq!(
            (gradients(PLAN, Goal::Away(0)), gradients(PLAN, Goal::Towards(0))),
            (36.0, 69.0)
        );
        assert_eq!(gradients(Plan { abort_checks: 0, ..PLAN }, Goal::Away(0)), 120.0);
        assert_eq!(gradients(Plan { abort_checks: 1, ..PLAN }, Goal::Away(0)), 120.0);
    }

    #[test]
    fn fewer_than_ten_iterations_are_looked_at_each_time() {
        let plan = Plan { iterations: 5, ..PLAN };
        assert!((0..5).all(|iteration| Walk { iteration, ..Walk::new(plan) }.due(plan)));
    }
}

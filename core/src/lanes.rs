//! The driver of iterative attacks: many cases side by side, each on its own clock.
//!
//! An attack describes one step on a batch of lanes. Each lane holds one case: some host state
//! and a row in each of a few tensors. The driver keeps the batch full: a lane whose case is done
//! takes the next case at once; when none waits, the batch shrinks. A lane that ends one search
//! step early starts the next within [`Search::step`]. So every case sees what it would see
//! alone, at the speed of a full batch.

use crate::attack::{Cases, Goal, Goals};
use crate::device;
use crate::oracle::Oracle;
use anyhow::{Result, ensure};
use tch::Tensor;

/// An iterative attack, as one step on a batch of lanes.
pub trait Search {
    /// What a lane remembers on the host.
    type Lane;
    /// What a finished case gives.
    type Output;

    /// Begins a case: its host state and its row of each tensor, without the lane dimension.
    /// `image` is 3×S×S. Every case gives the same number of rows, of the same shapes.
    fn begin(&self, image: &Tensor, goal: Goal) -> (Self::Lane, Vec<Tensor>);

    /// Takes one step in every lane; says for each whether its case is done. A lane's rows may
    /// depend on that lane alone.
    fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Self::Lane>) -> Result<Vec<bool>>;

    /// Reads the result from a lane whose case is done.
    fn finish(&self, lane: Self::Lane, rows: Vec<Tensor>) -> Self::Output;
}

/// The lanes at work. All vectors and all tensors' first dimensions have one entry per lane.
pub struct Lanes<L> {
    /// The case in each lane, as the oracle wants it.
    pub cases: Vec<usize>,
    /// Host state of each lane.
    pub states: Vec<L>,
    /// Goals of the lanes.
    pub goals: Goals,
    /// The tensors that [`Search::begin`] gave rows for, each M×….
    pub rows: Vec<Tensor>,
}

impl<L> Lanes<L> {
    /// Number of lanes.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether no lane is left.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Writes one lane's row of tensor `row`.
    pub fn set(&mut self, row: usize, lane: usize, value: &Tensor) {
        self.rows[row].get(lane as i64).copy_(value);
    }
}

/// Runs a search over all cases; output n belongs to case n.
pub fn drive<S: Search>(search: &S, oracle: &Oracle, cases: &Cases) -> Result<Vec<S::Output>> {
    let order: Vec<usize> = (0..cases.len()).collect();
    drive_in_order(search, oracle, cases, &order)
}

/// As [`drive`], taking the cases in the given order; the outputs are in case order all the same.
pub fn drive_in_order<S: Search>(
    search: &S,
    oracle: &Oracle,
    cases: &Cases,
    order: &[usize],
) -> Result<Vec<S::Output>> {
    tch::no_grad(|| {
        let mut outputs: Vec<Option<S::Output>> = (0..cases.len()).map(|_| None).collect();
        let mut waiting = order.iter().copied();
        let first: Vec<usize> = waiting.by_ref().take(oracle.lanes()).collect();
        if first.is_empty() {
            return Ok(Vec::new());
        }
        let mut lanes = fill(search, cases, first);
        while !lanes.is_empty() {
            let done = search.step(oracle, &mut lanes)?;
            ensure!(
                done.len() == lanes.len(),
                "a step must answer for each of the {} lanes, found {} answers",
                lanes.len(),
                done.len()
            );
            if done.contains(&true) {
                turn_over(search, cases, &mut lanes, &done, &mut waiting, &mut outputs);
            }
        }
        Ok(outputs.into_iter().flatten().collect())
    })
}

fn fill<S: Search>(search: &S, cases: &Cases, first: Vec<usize>) -> Lanes<S::Lane> {
    let mut columns: Vec<Vec<Tensor>> = Vec::new();
    let mut states = Vec::new();
    for &case in &first {
        let (state, rows) = search.begin(&cases.image(case), cases.goals[case]);
        states.push(state);
        columns.resize_with(rows.len(), Vec::new);
        for (column, row) in columns.iter_mut().zip(rows) {
            column.push(row);
        }
    }
    let rows = columns.iter().map(|column| Tensor::stack(column, 0)).collect();
    Lanes { goals: goals_of(cases, &first), cases: first, states, rows }
}

/// Takes the results out of the lanes that are done, and gives each the next case or closes it.
fn turn_over<S: Search>(
    search: &S,
    cases: &Cases,
    lanes: &mut Lanes<S::Lane>,
    done: &[bool],
    waiting: &mut impl Iterator<Item = usize>,
    outputs: &mut [Option<S::Output>],
) {
    let mut closed = Vec::new();
    let mut kept_states = Vec::new();
    let mut kept_cases = Vec::new();
    for (lane, (state, case)) in std::mem::take(&mut lanes.states)
        .into_iter()
        .zip(std::mem::take(&mut lanes.cases))
        .enumerate()
    {
        if !done[lane] {
            kept_states.push(state);
            kept_cases.push(case);
            continue;
        }
        let rows = lanes.rows.iter().map(|tensor| tensor.get(lane as i64).copy()).collect();
        outputs[case] = Some(search.finish(state, rows));
        if let Some(next) = waiting.next() {
            let (state, rows) = search.begin(&cases.image(next), cases.goals[next]);
            for (row, value) in rows.iter().enumerate() {
                lanes.set(row, lane, value);
            }
            kept_states.push(state);
            kept_cases.push(next);
        } else {
            closed.push(lane);
        }
    }
    if !closed.is_empty() && !kept_cases.is_empty() {
        let keep: Vec<i64> =
            (0..done.len()).filter(|lane| !closed.contains(lane)).map(|lane| lane as i64).collect();
        let keep = device::upload(&keep, lanes.goals.class.device());
        for tensor in &mut lanes.rows {
            *tensor = tensor.index_select(0, &keep);
        }
    }
    lanes.goals = goals_of(cases, &kept_cases);
    lanes.states = kept_states;
    lanes.cases = kept_cases;
}

fn goals_of(cases: &Cases, members: &[usize]) -> Goals {
    let goals: Vec<Goal> = members.iter().map(|&case| cases.goals[case]).collect();
    Goals::new(&goals, &cases.pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Settings;
    use crate::testing::Affine;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use tch::{Device, Kind};

    /// Descends the margin with a step that shrinks by host state; a case ends when its goal is
    /// met, but at the latest after a number of steps that depends on the image.
    struct Descent {
        /// Lanes at work and cases begun, noted at every step.
        log: RefCell<Vec<(usize, usize)>>,
        begun: RefCell<usize>,
    }

    struct Clock {
        steps: u32,
        limit: u32,
    }

    impl Search for Descent {
        type Lane = Clock;
        type Output = (u32, Vec<f32>);

        fn begin(&self, image: &Tensor, _: Goal) -> (Clock, Vec<Tensor>) {
            *self.begun.borrow_mut() += 1;
            let limit = 3 + (image.double_value(&[0, 0, 0]) * 20.0) as u32;
            (Clock { steps: 0, limit }, vec![image.shallow_clone(), image.zeros_like()])
        }

        fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Clock>) -> Result<Vec<bool>> {
            self.log.borrow_mut().push((lanes.len(), *self.begun.borrow()));
            let answer =
                oracle.gradient(&lanes.cases, &lanes.rows[0], |z| lanes.goals.margin(z))?;
            lanes.rows[1] = &lanes.rows[1] * 0.9 + answer.pixels;
            lanes.rows[0] = &lanes.rows[0] - &lanes.rows[1] * 0.01;
            let met =
                Vec::<i64>::try_from(lanes.goals.met(&answer.logits, 0.0).to_kind(Kind::Int64))?;
            Ok(lanes
                .states
                .iter_mut()
                .zip(met)
                .map(|(clock, met)| {
                    clock.steps += 1;
                    met == 1 || clock.steps >= clock.limit
                })
                .collect())
        }

        fn finish(&self, clock: Clock, rows: Vec<Tensor>) -> Self::Output {
            (clock.steps, Vec::try_from(rows[0].view([-1])).unwrap())
        }
    }

    fn cases(count: usize, seed: i64) -> Cases {
        let pixels = Tensor::from_slice(
            &(0..count as i64 * 3 * 4 * 4)
                .map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 1000.0)
                .collect::<Vec<_>>(),
        );
        let goals = (0..count as i64).map(|n| {
            if n % 2 == 0 { Goal::Away((n + seed) % 5) } else { Goal::Towards((n * seed) % 5) }
        });
        Cases::new(pixels.view([count as i64, 3, 4, 4]), goals.collect()).unwrap()
    }

    /// Steps taken and last pixels of each case.
    type Outputs = Vec<(u32, Vec<f32>)>;
    /// Lanes at work and cases begun, at each step.
    type Log = Vec<(usize, usize)>;

    fn run(cases: &Cases, lanes: usize, order: &[usize]) -> (Outputs, Log) {
        let model = Affine::new(5, 4, 3);
        let oracle =
            Oracle::new(&model, vec![0; cases.len()], Settings { lanes, ..Settings::default() });
        let search = Descent { log: RefCell::default(), begun: RefCell::default() };
        let outputs = drive_in_order(&search, &oracle, cases, order).unwrap();
        (outputs, search.log.into_inner())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn answers_do_not_depend_on_lanes_or_order(count in 1usize..14, seed in 1i64..1000, order in Just(()).prop_perturb(|(), mut rng| rng.random::<u64>())) {
            let cases = cases(count, seed);
            let plain: Vec<usize> = (0..count).collect();
            let mut shuffled = plain.clone();
            shuffled.sort_by_key(|&n| (n as u64 + 1).wrapping_mul(order | 1));
            let (expected, _) = run(&cases, 1, &plain);
            for lanes in [1, 3, 8] {
                for order in [&plain, &shuffled] {
                    let (found, _) = run(&cases, lanes, order);
                    for (found, expected) in found.iter().zip(&expected) {
                        prop_assert_eq!(found.0, expected.0);
                        for (a, b) in found.1.iter().zip(&expected.1) {
                            prop_assert!((a - b).abs() <= 1e-5, "{} {}", a, b);
                        }
                    }
                }
            }
        }

        #[test]
        fn no_lane_is_idle_while_a_case_waits(count in 1usize..14, seed in 1i64..1000, lanes in 1usize..9) {
            let plain: Vec<usize> = (0..count).collect();
            let (outputs, log) = run(&cases(count, seed), lanes, &plain);
            let steps: u32 = outputs.iter().map(|o| o.0).sum();
            prop_assert_eq!(log.iter().map(|l| l.0).sum::<usize>(), steps as usize, "every lane of \
                every step did a case's work");
            for (at_work, begun) in log {
                prop_assert!(at_work == lanes || begun == count, "{} of {} lanes at work, {} of {} \
                    cases begun", at_work, lanes, begun, count);
            }
        }
    }

    #[test]
    fn no_cases_no_steps() {
        let pixels = Tensor::zeros([0, 3, 4, 4], (Kind::Float, Device::Cpu));
        let (outputs, log) = run(&Cases::new(pixels, vec![]).unwrap(), 4, &[]);
        assert!(outputs.is_empty() && log.is_empty());
    }
}

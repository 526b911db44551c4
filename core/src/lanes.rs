//! The driver of iterative attacks: many cases side by side, each on its own clock.
//!
//! An attack describes one step on a batch of lanes ([`Search`]). A lane holds one case: some state
//! on the host, and a row in each of a few tensors. [`drive`] keeps the batch full: a lane whose
//! case is done takes the next case at once, and the batch shrinks when no case waits. So every
//! case sees what it would see alone, but for float32 noise, at the speed of a full batch.
//!
//! ```
//! use gauntlet_core::lanes::per_image;
//! use gauntlet_core::oracle::Settings;
//! use gauntlet_core::prelude::*;
//! use gauntlet_core::testing::Affine;
//!
//! /// Descends the margin with momentum, until the goal is met.
//! struct Descent;
//!
//! rows! {
//!     /// What a lane keeps on the device.
//!     struct Point {
//!         /// M×C×H×W.
//!         pixels: Tensor,
//!         /// M×C×H×W.
//!         momentum: Tensor,
//!     }
//! }
//!
//! impl Search for Descent {
//!     type State = u32; // steps so far
//!     type Rows = Point;
//!     type Output = Answer;
//!
//!     fn begin(&self, image: &Tensor, _: Goal) -> (u32, Point) {
//!         (0, Point { pixels: image.copy(), momentum: image.zeros_like() })
//!     }
//!
//!     fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Self>) -> Result<Vec<bool>> {
//!         let Lanes { cases, states, goals, rows } = lanes;
//!         let answer = oracle.gradient(cases, &rows.pixels, |logits| goals.margin(logits))?;
//!         let met = goals.met(&answer.logits, 0.0);
//!         rows.momentum = &rows.momentum * 0.9 + answer.pixels;
//!         let moved = (&rows.pixels - &rows.momentum * 0.1).clamp(0.0, 1.0);
//!         rows.pixels = rows.pixels.where_self(&per_image(&met), &moved);
//!         states.iter_mut().for_each(|steps| *steps += 1);
//!         let met = Vec::<bool>::try_from(met)?;
//!         Ok(states.iter().zip(met).map(|(&steps, met)| met || steps == 100).collect())
//!     }
//!
//!     fn finish(&self, steps: u32, point: Point) -> Answer {
//!         if steps < 100 { Answer::Pixels(point.pixels) } else { Answer::NotFound }
//!     }
//! }
//!
//! let model = Affine::new(3, 4, 1);
//! let pixels = Tensor::full([5, 3, 4, 4], 0.5, (Kind::Float, tch::Device::Cpu));
//! let cases = Cases::new(pixels, vec![Goal::Towards(2); 5])?;
//! let oracle = Oracle::new(&model, vec![0; 5], Settings { lanes: 2, ..Settings::default() });
//! let answers = lanes::drive(&Descent, &oracle, &cases)?;
//! assert!(answers.iter().all(|answer| matches!(answer, Answer::Pixels(_))));
//! # anyhow::Ok(())
//! ```

use crate::attack::{Cases, Goal, Goals};
use crate::device;
use crate::oracle::Oracle;
use anyhow::{Result, ensure};
use tch::Tensor;

/// Runs a search over all cases; output n belongs to case n.
///
/// # Errors
/// Those of [`Search::step`], and a step that does not answer for each lane.
pub fn drive<S: Search>(search: &S, oracle: &Oracle, cases: &Cases) -> Result<Vec<S::Output>> {
    let order: Vec<usize> = (0..cases.len()).collect();
    drive_in_order(search, oracle, cases, &order)
}

/// An iterative attack, as one step on a batch of M lanes.
pub trait Search {
    /// What a lane remembers on the host.
    type State;
    /// What a lane keeps on the device: a [`rows!`](crate::rows!) struct, or a single tensor.
    type Rows: Rows;
    /// What a finished case gives.
    type Output;

    /// Begins a case: its state, and its row of each tensor, without the lane dimension. `image` is
    /// C×H×W. All cases have rows of the same shapes.
    fn begin(&self, image: &Tensor, goal: Goal) -> (Self::State, Self::Rows);

    /// Takes one step in every lane, and says for each whether its case is done. What a lane does
    /// may depend on that lane alone.
    fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Self>) -> Result<Vec<bool>>;

    /// Reads the result from a lane whose case is done; `rows` have no lane dimension.
    fn finish(&self, state: Self::State, rows: Self::Rows) -> Self::Output;
}

/// The lanes at work: M of them. All vectors have one entry per lane, and so has the first
/// dimension of all tensors.
pub struct Lanes<S: Search + ?Sized> {
    /// The case in each lane, as the oracle wants it.
    pub cases: Vec<usize>,
    /// State of each lane.
    pub states: Vec<S::State>,
    /// Goals of the lanes.
    pub goals: Goals,
    /// The tensors that [`Search::begin`] gave rows for, each M×….
    pub rows: S::Rows,
}

impl<S: Search + ?Sized> Lanes<S> {
    /// Number of lanes.
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether no lane is left.
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// A number for each lane, such as its step length: M×1×1×1 float32, to multiply M×C×H×W with.
    pub fn per_image(&self, number: impl Fn(&S::State) -> f64) -> Tensor {
        let numbers: Vec<f32> = self.states.iter().map(|state| number(state) as f32).collect();
        per_image(&device::upload(&numbers, self.goals.class.device()))
    }
}

/// One value for each lane, M, as M×1×1×1: so it combines with M×C×H×W.
pub fn per_image(values: &Tensor) -> Tensor {
    values.view([-1, 1, 1, 1])
}

/// Tensors with one row per lane. [`rows!`](crate::rows!) makes a struct of such tensors; a single
/// tensor is one too, and an `Option` is for tensors that only some settings need.
pub trait Rows: Sized {
    /// Combines values of the same form, field by field: `join` gets the same field of each.
    fn combine(all: &[&Self], join: &mut dyn FnMut(&[&Tensor]) -> Tensor) -> Self;
}

impl Rows for Tensor {
    fn combine(all: &[&Self], join: &mut dyn FnMut(&[&Tensor]) -> Tensor) -> Self {
        join(all)
    }
}

/// None unless all have a value.
impl<R: Rows> Rows for Option<R> {
    fn combine(all: &[&Self], join: &mut dyn FnMut(&[&Tensor]) -> Tensor) -> Self {
        let all: Option<Vec<&R>> = all.iter().map(|rows| rows.as_ref()).collect();
        all.map(|all| R::combine(&all, join))
    }
}

/// A struct of tensors with one row per lane, for [`Search::Rows`]. A field is a tensor, another
/// such struct, or an `Option` of one.
///
/// ```
/// use gauntlet_core::prelude::*;
///
/// rows! {
///     /// What a lane keeps on the device.
///     struct Point {
///         /// M×C×H×W.
///         pixels: Tensor,
///         /// M.
///         distortion: Tensor,
///     }
/// }
/// ```
#[macro_export]
macro_rules! rows {
    (
        $(#[$about:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$field_about:meta])* $field_visibility:vis $field:ident: $type:ty),* $(,)?
        }
    ) => {
        $(#[$about])*
        $visibility struct $name {
            $($(#[$field_about])* $field_visibility $field: $type),*
        }

        impl $crate::lanes::Rows for $name {
            fn combine(
                all: &[&Self],
                join: &mut dyn FnMut(&[&$crate::prelude::Tensor]) -> $crate::prelude::Tensor,
            ) -> Self {
                Self {
                    $($field: $crate::lanes::Rows::combine(
                        &all.iter().map(|rows| &rows.$field).collect::<::std::vec::Vec<_>>(),
                        join,
                    )),*
                }
            }
        }
    };
}

/// As [`drive`], but takes the cases in the given order.
fn drive_in_order<S: Search>(
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

/// Begins the first cases, a lane for each.
fn fill<S: Search>(search: &S, cases: &Cases, first: Vec<usize>) -> Lanes<S> {
    let (states, rows): (Vec<S::State>, Vec<S::Rows>) =
        first.iter().map(|&case| search.begin(&cases.image(case), cases.goals[case])).unzip();
    let rows = Rows::combine(&rows.iter().collect::<Vec<_>>(), &mut |all| Tensor::stack(all, 0));
    Lanes { goals: goals_of(cases, &first), cases: first, states, rows }
}

/// Takes the results out of the lanes that are done, and gives each the next case or closes it.
fn turn_over<S: Search>(
    search: &S,
    cases: &Cases,
    lanes: &mut Lanes<S>,
    done: &[bool],
    waiting: &mut impl Iterator<Item = usize>,
    outputs: &mut [Option<S::Output>],
) {
    let mut kept = Vec::new();
    let mut kept_states = Vec::new();
    let mut kept_cases = Vec::new();
    for (lane, (state, case)) in std::mem::take(&mut lanes.states)
        .into_iter()
        .zip(std::mem::take(&mut lanes.cases))
        .enumerate()
    {
        let (state, case) = if done[lane] {
            let row = Rows::combine(&[&lanes.rows], &mut |all| all[0].get(lane as i64).copy());
            outputs[case] = Some(search.finish(state, row));
            let Some(next) = waiting.next() else { continue };
            let (state, row) = search.begin(&cases.image(next), cases.goals[next]);
            lanes.rows = Rows::combine(&[&lanes.rows, &row], &mut |all| {
                all[0].get(lane as i64).copy_(all[1]);
                all[0].shallow_clone()
            });
            (state, next)
        } else {
            (state, case)
        };
        kept.push(lane as i64);
        kept_states.push(state);
        kept_cases.push(case);
    }
    if !kept.is_empty() && kept.len() < done.len() {
        let kept = device::upload(&kept, lanes.goals.class.device());
        lanes.rows = Rows::combine(&[&lanes.rows], &mut |all| all[0].index_select(0, &kept));
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

    crate::rows! {
        struct Point {
            pixels: Tensor,
            momentum: Option<Tensor>,
        }
    }

    impl Search for Descent {
        type State = Clock;
        type Rows = Point;
        type Output = (u32, Vec<f32>);

        fn begin(&self, image: &Tensor, _: Goal) -> (Clock, Point) {
            *self.begun.borrow_mut() += 1;
            let limit = 3 + (image.double_value(&[0, 0, 0]) * 20.0) as u32;
            let momentum = Some(image.zeros_like());
            (Clock { steps: 0, limit }, Point { pixels: image.shallow_clone(), momentum })
        }

        fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Self>) -> Result<Vec<bool>> {
            self.log.borrow_mut().push((lanes.len(), *self.begun.borrow()));
            let Lanes { cases, states, goals, rows } = lanes;
            let answer = oracle.gradient(cases, &rows.pixels, |z| goals.margin(z))?;
            let momentum = rows.momentum.as_mut().expect("every case has one");
            *momentum = &*momentum * 0.9 + answer.pixels;
            rows.pixels = &rows.pixels - &*momentum * 0.01;
            let met = Vec::<bool>::try_from(goals.met(&answer.logits, 0.0))?;
            let done = states.iter_mut().zip(met).map(|(clock, met)| {
                clock.steps += 1;
                met || clock.steps >= clock.limit
            });
            Ok(done.collect())
        }

        fn finish(&self, clock: Clock, point: Point) -> Self::Output {
            (clock.steps, Vec::try_from(point.pixels.view([-1])).unwrap())
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
        fn answers_do_not_depend_on_lanes_or_order(
            count in 1usize..14,
            seed in 1i64..1000,
            order in Just(()).prop_perturb(|(), mut rng| rng.random::<u64>()),
        ) {
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
        fn no_lane_is_idle_while_a_case_waits(
            count in 1usize..14,
            seed in 1i64..1000,
            lanes in 1usize..9,
        ) {
            let plain: Vec<usize> = (0..count).collect();
            let (outputs, log) = run(&cases(count, seed), lanes, &plain);
            let steps: u32 = outputs.iter().map(|o| o.0).sum();
            let work: usize = log.iter().map(|l| l.0).sum();
            prop_assert_eq!(work, steps as usize, "every lane of every step did a case's work");
            for (at_work, begun) in log {
                prop_assert!(
                    at_work == lanes || begun == count,
                    "{at_work} of {lanes} lanes at work, {begun} of {count} cases begun",
                );
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

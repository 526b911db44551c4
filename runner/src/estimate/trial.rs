//! Trying attacks on a few images, to count their passes.

use crate::data::{self, Picture};
use crate::engine::RunOptions;
use crate::engine::plan::SLICE;
use crate::estimate::made_up::load;
use crate::estimate::rates::{Effort, Pace, asked, made};
use crate::estimate::{HOPELESS, TRIAL, TRIALS, TRIED, passes};
use crate::study::{GoalKind, Study, StudyAttack};
use crate::threads::crowd;
use anyhow::Result;
use gauntlet_core::attack::{Cases, Goal};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_core::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;
use tch::Tensor;

/// What each attack costs for an image, by goal, as far as it can be tried in a short time: by the
/// slowest, a middling or the quickest of the models that have weights, in this order.
pub(super) fn try_out(
    study: &Study,
    registry: &Registry,
    options: &RunOptions,
    paces: &[Pace],
) -> BTreeMap<(usize, GoalKind), Effort> {
    let mut real: Vec<usize> = (0..paces.len()).filter(|&n| !paces[n].made_up).collect();
    real.sort_by(|&a, &b| paces[b].gradient.each.total_cmp(&paces[a].gradient.each));
    let spread = |n: usize| real.len().saturating_sub(1) * n / (TRIED.1 - 1);
    let mut chosen: Vec<usize> =
        (0..TRIED.1).filter_map(|n| real.get(spread(n)).copied()).collect();
    chosen.dedup();
    let declared = |&(attack, goal): &(usize, GoalKind)| {
        study.attacks[attack].attack.cost(asked(goal)).unwrap_or_default()
    };
    let tasks = study
        .attacks
        .iter()
        .enumerate()
        .flat_map(|(n, attack)| attack.goals.iter().map(move |&goal| (n, goal)));
    let mut left: Vec<(usize, GoalKind)> = tasks.collect();
    let efforts: Mutex<BTreeMap<(usize, GoalKind), Effort>> = Mutex::default();
    for model in chosen {
        // The last comes first: what costs least.
        left.sort_by(|a, b| declared(b).forward.total_cmp(&declared(a).forward));
        let images = study.data.pictures.len().min(TRIED.0) as f64;
        let hopeless = |task: &(usize, GoalKind)| {
            passes(&paces[model], images, declared(task).into()) > HOPELESS * TRIAL.as_secs_f64()
        };
        let (tasks, mut later): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|task| !hopeless(task));
        let workers = options.workers.min(tasks.len());
        let (tasks, failed) = (Mutex::new(tasks), Mutex::new(Vec::new()));
        let next = || tasks.lock().expect("nobody panics with the lock").pop();
        if workers > 0 {
            crowd(workers, || {
                let Ok(model) = guard::catch("loading", || {
                    load(&study.models[model], registry, options.device)
                }) else {
                    return;
                };
                let Ok(seen) = guard::catch("looking", || {
                    TrialImages::by(model.as_ref(), &study.data.pictures, options.device)
                }) else {
                    return;
                };
                let start = Instant::now();
                while start.elapsed() < TRIALS / TRIED.1 as u32
                    && let Some((attack, goal)) = next()
                {
                    let trial = || tried(&study.attacks[attack], goal, model.as_ref(), &seen);
                    match guard::catch("trying", trial).ok().flatten() {
                        Some(effort) => drop(
                            efforts
                                .lock()
                                .expect("nobody panics with the lock")
                                .insert((attack, goal), effort),
                        ),
                        None => {
                            failed.lock().expect("nobody panics with the lock").push((attack, goal))
                        }
                    }
                }
            });
        }
        later.extend(failed.into_inner().expect("nobody panics with the lock"));
        later.extend(tasks.into_inner().expect("nobody panics with the lock"));
        left = later;
    }
    efforts.into_inner().expect("nobody panics with the lock")
}

/// A few images, and the classes that a model sees in each.
pub(super) struct TrialImages {
    /// N×3×side×side within [0, 1].
    pixels: Tensor,
    /// By image, the likeliest first.
    classes: Vec<Vec<i64>>,
}

impl TrialImages {
    fn by(model: &dyn Model, pictures: &[Picture], device: Device) -> Result<Self> {
        let card = model.card();
        let pixels =
            data::batch(&pictures[..pictures.len().min(TRIED.0)], card.side)?.to_device(device);
        let logits = tch::no_grad(|| model.logits(&pixels)).narrow(
            1,
            card.label_offset,
            card.classes - card.label_offset,
        );
        let classes = Vec::<Vec<i64>>::try_from(logits.argsort(1, true) + card.label_offset)?;
        Ok(Self { pixels, classes })
    }
}

/// What an attack costs for each of a few images, of which it is told to leave the class that the
/// model sees; none where that takes too long, or the attack fails.
pub(super) fn tried(
    attack: &StudyAttack,
    goal: GoalKind,
    model: &dyn Model,
    seen: &TrialImages,
) -> Result<Option<Effort>> {
    let goals = seen.classes.iter().enumerate().map(|(n, classes)| match goal {
        GoalKind::Untargeted => Goal::Away(classes[0]),
        GoalKind::LeastLikely => Goal::Towards(classes[classes.len() - 1]),
        GoalKind::Second => Goal::Towards(classes[1]),
        // From the likely ones to those that are not.
        GoalKind::Random | GoalKind::Given => {
            Goal::Towards(classes[1 + n * (classes.len() - 1) / seen.classes.len()])
        }
    });
    let cases = Cases::new(seen.pixels.copy(), goals.collect())?;
    let settings =
        Settings { lanes: SLICE, deadline: Some(Instant::now() + TRIAL), ..Settings::default() };
    let oracle = Oracle::new(model, (0..cases.len() as u64).collect(), settings);
    attack.attack.run(&oracle, &cases)?;
    Ok(oracle.stopped().is_none().then(|| made(&oracle)))
}

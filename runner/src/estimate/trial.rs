//! Trying attacks on a few images, to count their passes.

use crate::data::{self, Picture};
use crate::engine::RunOptions;
use crate::engine::plan::SLICE;
use crate::estimate::made_up::load;
use crate::estimate::pace::{AttackGoal, Effort, Pace, any_goal};
use crate::study::{GoalKind, Study, StudyAttack};
use crate::threads::crowd;
use anyhow::Result;
use gauntlet_core::attack::{Cases, Cost, Goal};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_core::registry::Registry;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tch::Tensor;

/// Images in a trial.
const IMAGES: usize = 8;
/// Models that attacks are tried on, one after the other; at least 2.
const MODELS: usize = 3;
/// Time after which a trial is given up.
const LIMIT: Duration = Duration::from_secs(2);
/// Time after which no further trial begins, on all models together.
const ALL: Duration = Duration::from_secs(20);
/// An attack is not tried that says of itself that it takes this many times a trial's limit.
const HOPELESS: f64 = 5.0;

/// Passes that each attack makes for an image, by goal, as far as it can be tried in a short time.
///
/// Attacks are tried on the slowest model that has weights. Those that it is too slow for go to a
/// middling model, and then to the quickest.
pub(super) fn try_out(
    study: &Study,
    registry: &Registry,
    options: &RunOptions,
    paces: &[Pace],
) -> BTreeMap<AttackGoal, Effort> {
    let declared = |of: &AttackGoal| -> Cost {
        study.attacks[of.attack].attack.cost(any_goal(of.goal)).unwrap_or_default()
    };
    let mut left: Vec<AttackGoal> = study
        .attacks
        .iter()
        .enumerate()
        .flat_map(|(attack, chosen)| {
            chosen.goals.iter().map(move |&goal| AttackGoal { attack, goal })
        })
        .collect();
    let mut efforts = BTreeMap::new();
    let images = study.data.pictures.len().min(IMAGES) as f64;
    for model in from_slow_to_quick(paces) {
        let hopeless = |of: &AttackGoal| {
            paces[model].passes(images, declared(of).into()) > HOPELESS * LIMIT.as_secs_f64()
        };
        let (later, mut tries): (Vec<_>, Vec<_>) = left.into_iter().partition(hopeless);
        // The last is taken first: it costs least.
        tries.sort_by(|a, b| declared(b).forward.total_cmp(&declared(a).forward));
        let tried = try_on(study, registry, options, model, tries);
        efforts.extend(tried.efforts);
        left = later;
        left.extend(tried.left);
    }
    efforts
}

/// The slowest, a middling and the quickest of the models that have weights: their indices.
fn from_slow_to_quick(paces: &[Pace]) -> Vec<usize> {
    let mut real: Vec<usize> = (0..paces.len()).filter(|&n| !paces[n].made_up).collect();
    real.sort_by(|&a, &b| paces[b].gradient.each.total_cmp(&paces[a].gradient.each));
    let spread = |n: usize| real.len().saturating_sub(1) * n / (MODELS - 1);
    let mut chosen: Vec<usize> = (0..MODELS).filter_map(|n| real.get(spread(n)).copied()).collect();
    chosen.dedup();
    chosen
}

/// What has come of the trials on one model.
struct Tried {
    efforts: BTreeMap<AttackGoal, Effort>,
    /// Attacks that failed or took too long, and those whose turn has not come.
    left: Vec<AttackGoal>,
}

/// Tries attacks on one model, the last first.
fn try_on(
    study: &Study,
    registry: &Registry,
    options: &RunOptions,
    model: usize,
    tries: Vec<AttackGoal>,
) -> Tried {
    let workers = options.workers.min(tries.len());
    if workers == 0 {
        return Tried { efforts: BTreeMap::new(), left: tries };
    }
    let (tries, failed) = (Mutex::new(tries), Mutex::new(Vec::new()));
    let efforts: Mutex<BTreeMap<AttackGoal, Effort>> = Mutex::default();
    let next = || tries.lock().expect("nobody panics with the lock").pop();
    crowd(workers, || {
        let loaded =
            guard::catch("loading", || load(&study.models[model], registry, options.device));
        let Ok(model) = loaded else { return };
        let seen = guard::catch("looking", || {
            TrialImages::by(model.as_ref(), &study.data.pictures, options.device)
        });
        let Ok(seen) = seen else { return };
        let start = Instant::now();
        while start.elapsed() < ALL / MODELS as u32
            && let Some(of) = next()
        {
            let trial = || effort(&study.attacks[of.attack], of.goal, model.as_ref(), &seen);
            match guard::catch("trying", trial).ok().flatten() {
                Some(effort) => {
                    efforts.lock().expect("nobody panics with the lock").insert(of, effort);
                }
                None => failed.lock().expect("nobody panics with the lock").push(of),
            }
        }
    });
    let mut left = failed.into_inner().expect("nobody panics with the lock");
    left.extend(tries.into_inner().expect("nobody panics with the lock"));
    Tried { efforts: efforts.into_inner().expect("nobody panics with the lock"), left }
}

/// A few images, and the classes that a model sees in each.
struct TrialImages {
    /// N×C×H×W within [0, 1].
    pixels: Tensor,
    /// By image, the likeliest first.
    classes: Vec<Vec<i64>>,
}

impl TrialImages {
    fn by(model: &dyn Model, pictures: &[Picture], device: Device) -> Result<Self> {
        let card = model.card();
        let pixels =
            data::batch(&pictures[..pictures.len().min(IMAGES)], card.shape())?.to_device(device);
        let logits = tch::no_grad(|| model.logits(&pixels)).narrow(
            1,
            card.label_offset,
            card.classes - card.label_offset,
        );
        let classes = Vec::<Vec<i64>>::try_from(logits.argsort(1, true) + card.label_offset)?;
        Ok(Self { pixels, classes })
    }
}

/// Passes that an attack makes for a few images, each away from the class that the model sees in
/// it; none where that takes too long.
///
/// # Errors
/// When the attack fails.
fn effort(
    attack: &StudyAttack,
    goal: GoalKind,
    model: &dyn Model,
    seen: &TrialImages,
) -> Result<Option<Effort>> {
    let goals = seen.classes.iter().enumerate().map(|(n, classes)| match goal {
        GoalKind::Untargeted => Goal::Away(classes[0]),
        GoalKind::LeastLikely => Goal::Towards(classes[classes.len() - 1]),
        GoalKind::Second => Goal::Towards(classes[1]),
        // From the likely classes to the unlikely ones.
        GoalKind::Random | GoalKind::Given => {
            Goal::Towards(classes[1 + n * (classes.len() - 1) / seen.classes.len()])
        }
    });
    let cases = Cases::new(seen.pixels.copy(), goals.collect())?;
    let settings =
        Settings { lanes: SLICE, deadline: Some(Instant::now() + LIMIT), ..Settings::default() };
    let oracle = Oracle::new(model, (0..cases.len() as u64).collect(), settings);
    attack.attack.run(&oracle, &cases)?;
    Ok(oracle.stopped().is_none().then(|| Effort::made(&oracle)))
}

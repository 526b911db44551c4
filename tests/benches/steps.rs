//! Time that attacks add to their passes, time that threads and refilled lanes save, and passes at
//! pixels that were asked about before: `cargo bench -p gauntlet-tests --bench steps`. Times are
//! taken in turn in one process and given as ratios.
//!
//! Times on a shared machine drift. The median over the rounds of ratios taken pair by pair hardly
//! does. Variables of the environment, with their defaults: `ROUNDS` (5), `NETWORKS` (three of full
//! size and their miniatures, separated by commas), `ITERATIONS` of an attack whose steps are timed
//! (40 for a miniature, 10 at full size), `DEVICE` (`cpu`).

use anyhow::{Context, Result};
use gauntlet_core::attack::{Cases, Goal, Goals};
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_core::registry::{DynAttack, Registry};
use gauntlet_plugins as _;
use gauntlet_tests::benching::{self, FULL, MINI, Origin, Ratio, seconds, setting};
use gauntlet_tests::golden::network_images;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::hint::black_box;
use tch::{Kind, Tensor};

const BATCH: usize = 8;

/// Attacks, with the parameters besides `iterations` that fix their number of steps.
const ATTACKS: [(&str, Option<&str>); 4] = [
    ("fgsm", None),
    ("ifgsm", Some("search_tries = 0\nstop_early = false")),
    ("cw_l2", Some("search_steps = 1\nabort_checks = 0")),
    // With c this large no case stays at its image, where the attack would make no passes.
    ("ead_l1", Some("initial_c = 1e6\nsearch_steps = 1\nabort_checks = 0")),
];

/// Attack, preset and parameters of short searches.
const SEARCHES: [(&str, Option<&str>, &str); 5] = [
    ("ifgsm", None, "iterations = 20\nsearch_tries = 7"),
    ("ifgsm", Some("eccv2018"), "iterations = 20\nsearch_tries = 7"),
    ("ifgsm", Some("eccv2018_transfer"), "iterations = 100"),
    ("cw_l2", None, "iterations = 60\nsearch_steps = 4"),
    ("ead_l1", None, "iterations = 60\nsearch_steps = 4"),
];

/// A batch of waves, each shifted against the last, with the classes that the model answers.
fn cases(model: &dyn Model, count: usize) -> Result<Cases> {
    let images = network_images(model.card().side);
    let rows: Vec<Tensor> =
        (0..count as i64).map(|n| images.get(n % 2).roll([n * 5], [2])).collect();
    let pixels = Tensor::stack(&rows, 0).contiguous().to_device(benching::device()?);
    let classes = Vec::<i64>::try_from(tch::no_grad(|| model.logits(&pixels)).argmax(1, false))?;
    Cases::new(pixels, classes.into_iter().map(Goal::Away).collect())
}

/// A batch that a model is given.
#[derive(Clone, Copy)]
struct Batch {
    images: usize,
    /// Whether the gradient is asked for too.
    gradient: bool,
}

/// Seconds of a bare pass: forward, and back to the pixels if their gradient is asked for.
fn pass(model: &dyn Model, cases: &Cases, Batch { images, gradient }: Batch) -> f64 {
    let pixels = cases.pixels.narrow(0, 0, images as i64);
    let goals = Goals::new(&cases.goals[..images], &pixels);
    seconds(|| {
        if gradient {
            let pixels = pixels.detach().set_requires_grad(true);
            let loss = goals.margin(&model.logits(&pixels)).sum(Kind::Float);
            black_box(Tensor::run_backward(&[loss], &[pixels], false, false));
        } else {
            drop(black_box(tch::no_grad(|| model.logits(&pixels))));
        }
    })
}

/// Notes every batch that a model is given.
struct Watched<'a> {
    model: &'a dyn Model,
    batches: RefCell<Vec<Batch>>,
    /// Pixels that the model was given, bit by bit.
    asked: RefCell<HashSet<Vec<u32>>>,
    /// How many times it was given the same pixels again.
    again: Cell<usize>,
    remember: bool,
}

// SAFETY: `Model` asks for `Send`, but the bench has a single thread that the reference never
// leaves.
unsafe impl Send for Watched<'_> {}

impl Model for Watched<'_> {
    fn card(&self) -> &ModelCard {
        self.model.card()
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        self.batches
            .borrow_mut()
            .push(Batch { images: pixels.size()[0] as usize, gradient: pixels.requires_grad() });
        if self.remember {
            let bits = Vec::<f32>::try_from(pixels.detach().contiguous().view([-1]))
                .expect("pixels are float32");
            let known =
                !self.asked.borrow_mut().insert(bits.into_iter().map(f32::to_bits).collect());
            self.again.set(self.again.get() + usize::from(known));
        }
        self.model.logits(pixels)
    }
}

impl<'a> Watched<'a> {
    fn new(model: &'a dyn Model, remember: bool) -> Self {
        Self {
            model,
            batches: RefCell::default(),
            asked: RefCell::default(),
            again: Cell::new(0),
            remember,
        }
    }
}

fn make(
    registry: &Registry,
    attack: &str,
    preset: Option<&str>,
    parameters: &str,
) -> Result<Box<dyn DynAttack>> {
    let entry = registry.find_attack(attack).context("a built-in attack is missing")?;
    entry.make(&entry.entry.parameters(preset, &parameters.parse()?)?)
}

fn run(attack: &dyn DynAttack, model: &dyn Model, cases: &Cases) -> Result<()> {
    let oracle = Oracle::new(
        model,
        (0..cases.len() as u64).collect(),
        Settings { lanes: BATCH, ..Settings::default() },
    );
    attack.run(&oracle, cases).map(drop)
}

/// The gain of threads, and each attack against bare passes in batches of the same sizes.
fn steps(registry: &Registry, name: &str, model: &dyn Model, rounds: usize) -> Result<()> {
    let cases = cases(model, BATCH)?;
    let iterations = setting("ITERATIONS", if name.starts_with("mini_") { 40 } else { 10 })?;
    let cores = std::thread::available_parallelism()?.get() as i32;
    let threads = |count: i32| {
        tch::set_num_threads(count);
        let taken = pass(model, &cases, Batch { images: BATCH, gradient: true });
        tch::set_num_threads(1);
        taken
    };
    benching::print(
        &format!("a pass by one thread ÷ by {cores}"),
        name,
        &Ratio::take(rounds, || threads(1), || threads(cores)),
    );

    for (attack, parameters) in ATTACKS {
        let parameters = parameters
            .map_or_else(String::new, |more| format!("iterations = {iterations}\n{more}"));
        let made = make(registry, attack, None, &parameters)?;
        let watched = Watched::new(model, false);
        run(&*made, &watched, &cases)?;
        let batches = watched.batches.take();
        let bare = || batches.iter().map(|&batch| pass(model, &cases, batch)).sum();
        let attacked = || seconds(|| drop(black_box(run(&*made, model, &cases))));
        benching::print(
            &format!("{attack} ÷ its bare passes"),
            name,
            &Ratio::take(rounds, attacked, bare),
        );
    }
    Ok(())
}

/// The part of the lanes that works on unfinished cases, and the gain of refilling lanes.
fn lanes(registry: &Registry, name: &str, model: &dyn Model, rounds: usize) -> Result<()> {
    let cases = cases(model, 4 * BATCH)?;
    let attack = make(registry, "cw_l2", None, "iterations = 100\nsearch_steps = 6")?;
    let watched = Watched::new(model, false);
    run(&*attack, &watched, &cases)?;
    let sizes: Vec<usize> = watched.batches.take().iter().map(|batch| batch.images).collect();
    let work: usize = sizes.iter().sum();
    let full = sizes.iter().rposition(|&size| size == BATCH).map_or(0, |last| last + 1);
    println!(
        "{:<40} {name:<22} {:>6.3}  (until the last case has begun: {:.3}; of {} cases, {} \
         batches)",
        "rows at work ÷ lanes × batches",
        work as f64 / (sizes.len() * BATCH) as f64,
        sizes[..full].iter().sum::<usize>() as f64 / (full * BATCH).max(1) as f64,
        cases.len(),
        sizes.len()
    );
    let group = |n: usize| {
        Cases::new(
            cases.pixels.narrow(0, n as i64, BATCH as i64),
            cases.goals[n..n + BATCH].to_vec(),
        )
    };
    let groups: Vec<Cases> = (0..cases.len()).step_by(BATCH).map(group).collect::<Result<_>>()?;
    let apart =
        || seconds(|| groups.iter().for_each(|group| drop(black_box(run(&*attack, model, group)))));
    let together = || seconds(|| drop(black_box(run(&*attack, model, &cases))));
    benching::print(
        "lanes not filled again ÷ filled again",
        name,
        &Ratio::take(rounds, apart, together),
    );
    Ok(())
}

/// The part of its passes that an attack makes at pixels that it has asked about before, bit by bit.
///
/// An attack could save at most this part by remembering answers, or by noticing that its iterates
/// go round in a circle.
fn known(registry: &Registry, name: &str, model: &dyn Model) -> Result<()> {
    let cases = cases(model, BATCH)?;
    for (attack, preset, parameters) in SEARCHES {
        let made = make(registry, attack, preset, parameters)?;
        let (mut again, mut all) = (0, 0);
        for n in 0..cases.len() {
            let watched = Watched::new(model, true);
            run(&*made, &watched, &Cases::new(cases.image(n).unsqueeze(0), vec![cases.goals[n]])?)?;
            again += watched.again.get();
            all += watched.batches.take().len();
        }
        let what = format!("{attack} {}: passes asked before", preset.unwrap_or("default"));
        println!("{what:<40} {name:<22} {:>6.3}  ({again} of {all})", again as f64 / all as f64);
    }
    Ok(())
}

fn main() -> Result<()> {
    let rounds = setting("ROUNDS", 5)?;
    tch::set_num_threads(1); // as in a worker of the engine
    let registry = Registry::linked()?;
    println!(
        "{:<40} {:<22}  ratio  (range over {rounds} rounds; one thread, batch {BATCH})",
        "", "network"
    );
    for name in benching::list("NETWORKS", &[FULL, MINI].concat()) {
        let model = benching::load(&registry, &name, &Origin::find(&registry, &name, None)?)?;
        steps(&registry, &name, &*model, rounds)?;
        if name.starts_with("mini_") {
            lanes(&registry, &name, &*model, rounds)?;
            known(&registry, &name, &*model)?;
        }
    }
    Ok(())
}

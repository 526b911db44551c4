//! What the attacks, the engine's passes and the folded networks cost, as ratios of times taken in
//! turn in one process: `cargo bench -p gauntlet-tests --bench steps`.
//!
//! Times on a shared machine drift; their ratio, taken pair by pair and then the median over the
//! rounds, hardly does. `ROUNDS` and `NETWORKS` (comma-separated) in the environment choose.

use anyhow::{Context, Result};
use gauntlet_core::attack::{Cases, Goal, Goals};
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::oracle::{Oracle, Passes, Settings};
use gauntlet_core::registry::Registry;
use gauntlet_plugins as _;
use gauntlet_tests::benching::{self, FULL, MINI, Origin, Ratio, seconds};
use gauntlet_tests::golden::network_images;
use std::cell::RefCell;
use std::hint::black_box;
use tch::{Kind, Tensor};

const BATCH: usize = 8;

/// Parameters that fix how many passes an attack makes.
const ATTACKS: [(&str, &str); 4] = [
    ("fgsm", ""),
    ("ifgsm", "iterations = 4\nsearch_tries = 0\nstop_early = false"),
    ("cw_l2", "iterations = 4\nsearch_steps = 1\nabort_checks = 0"),
    ("ead_l1", "iterations = 4\nsearch_steps = 1\nabort_checks = 0"),
];

/// A batch of waves, moved from image to image, with the classes that the model sees in them.
fn cases(model: &dyn Model, count: usize) -> Result<Cases> {
    let images = network_images(model.card().side);
    let rows: Vec<Tensor> = (0..count as i64).map(|n| images.get(n % 2).roll([n * 5], [2])).collect();
    let pixels = Tensor::stack(&rows, 0).contiguous();
    let classes = Vec::<i64>::try_from(tch::no_grad(|| model.logits(&pixels)).argmax(1, false))?;
    Cases::new(pixels, classes.into_iter().map(Goal::Away).collect())
}

fn forward(model: &dyn Model, cases: &Cases) -> f64 {
    seconds(|| drop(black_box(tch::no_grad(|| model.logits(&cases.pixels)))))
}

/// A bare forward and input-gradient pass.
fn gradient(model: &dyn Model, cases: &Cases, goals: &Goals) -> f64 {
    seconds(|| {
        let pixels = cases.pixels.detach().set_requires_grad(true);
        let loss = goals.margin(&model.logits(&pixels)).sum(Kind::Float);
        black_box(Tensor::run_backward(&[loss], &[pixels], false, false));
    })
}

/// Notes the size of every batch that a model is given.
struct Counted<'a> {
    model: &'a dyn Model,
    sizes: RefCell<Vec<i64>>,
}

// SAFETY of the trait's `Send` bound: the bench has one thread, and the reference does not leave it.
unsafe impl Send for Counted<'_> {}

impl Model for Counted<'_> {
    fn card(&self) -> &ModelCard {
        self.model.card()
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        self.sizes.borrow_mut().push(pixels.size()[0]);
        self.model.logits(pixels)
    }
}

fn main() -> Result<()> {
    let rounds = benching::setting("ROUNDS", 5)?;
    gauntlet_runner::execute::keep_memory();
    tch::set_num_threads(1); // as a worker of the engine has
    let registry = Registry::linked()?;
    println!("{:<40} {:<22}  ratio  (range over {rounds} rounds; one thread, batch {BATCH})", "", "network");

    let load = |name: &str| benching::load(&registry, name, &Origin::find(&registry, name, None)?);
    for name in benching::list("NETWORKS", &[FULL, MINI].concat()) {
        let model = load(&name)?;
        let model = &*model;
        let cases = cases(model, BATCH)?;
        let goals = Goals::new(&cases.goals, &cases.pixels);

        let cores = std::thread::available_parallelism()?.get() as i32;
        let threads = |count: i32| {
            tch::set_num_threads(count);
            let taken = gradient(model, &cases, &goals);
            tch::set_num_threads(1);
            taken
        };
        benching::print(&format!("a pass by one thread ÷ by {cores}"), &name, &Ratio::take(rounds, || threads(1), || threads(cores)));

        for (attack, parameters) in ATTACKS {
            let entry = registry.find_attack(attack).context("a built-in attack is missing")?;
            let attack = entry.make(&entry.entry.parameters(None, &parameters.parse()?)?)?;
            let run = || -> Result<Vec<Passes>> {
                let oracle = Oracle::new(model, (0..BATCH as u64).collect(), Settings { lanes: BATCH, ..Settings::default() });
                attack.run(&oracle, &cases)?;
                Ok(oracle.passes())
            };
            let passes = run()?[0];
            let bare = || {
                let backward: f64 = (0..passes.backward).map(|_| gradient(model, &cases, &goals)).sum();
                backward + (passes.backward..passes.forward).map(|_| forward(model, &cases)).sum::<f64>()
            };
            let attacked = || seconds(|| drop(black_box(run())));
            benching::print(&format!("{} ÷ its bare passes", entry.entry.name), &name, &Ratio::take(rounds, attacked, bare));
        }
    }

    for name in MINI {
        let model = load(name)?;
        let counted = Counted { model: &*model, sizes: RefCell::default() };
        let cases = cases(&*model, 4 * BATCH)?;
        let entry = registry.find_attack("cw_l2").context("a built-in attack is missing")?;
        let attack = entry.make(&entry.entry.parameters(None, &"iterations = 100\nsearch_steps = 6".parse()?)?)?;
        let oracle = Oracle::new(&counted, (0..cases.len() as u64).collect(), Settings { lanes: BATCH, ..Settings::default() });
        attack.run(&oracle, &cases)?;
        let sizes = counted.sizes.take();
        let work: i64 = sizes.iter().sum();
        let full = sizes.iter().rposition(|&size| size == BATCH as i64).map_or(0, |last| last + 1);
        println!(
            "{:<40} {name:<22} {:>6.3}  (until the last case has begun: {:.3}; of {} cases, {} batches)",
            "rows at work ÷ lanes × batches",
            work as f64 / (sizes.len() * BATCH) as f64,
            sizes[..full].iter().sum::<i64>() as f64 / (full * BATCH).max(1) as f64,
            cases.len(),
            sizes.len()
        );
    }
    Ok(())
}

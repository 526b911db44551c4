//! What the engine adds to the attacks' own work, as shares and ratios of times in one process:
//! `cargo bench -p gauntlet-tests --bench engine`. `ROUNDS` (3) and `NETWORKS` (three miniatures) in the
//! environment.

use anyhow::{Context, Result, ensure};
use gauntlet_core::device::Device;
use gauntlet_core::registry::Registry;
use gauntlet_plugins as _;
use gauntlet_runner::data::{self, Data, Source};
use gauntlet_runner::execute::{Options, Progress};
use gauntlet_runner::{Session, Study, study};
use gauntlet_tests::benching::{self, MINI, Origin, Ratio, seconds};
use std::hint::black_box;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

const FGSM: &str = "[[attacks]]\nname = \"fgsm\"\nparams = { epsilon = 0.1 }\ngoals = [\"untargeted\", \"random\"]\n";
const IFGSM: &str = "[[attacks]]\nname = \"ifgsm\"\nparams = { iterations = 20, search_tries = 2 }\ngoals = [\"untargeted\", \"random\"]\n";
/// As in the study `mini`.
const ALL: &str = r#"
[[attacks]]
name = "fgsm"
params = { epsilon = 0.1 }
goals = ["untargeted", "random"]
[[attacks]]
name = "ifgsm"
params = { iterations = 20, search_tries = 7 }
goals = ["untargeted", "random"]
[[attacks]]
name = "cw_l2"
params = { initial_c = 1.0, search_steps = 4, iterations = 60, learning_rate = 0.02, abort_checks = 3 }
goals = ["untargeted", "random"]
[[attacks]]
name = "ead_l1"
params = { initial_c = 1.0, search_steps = 4, iterations = 60, learning_rate = 0.02, abort_checks = 3 }
goals = ["untargeted", "random"]
"#;

/// Images in a cell.
const SLICE: usize = 32;

/// When phases began and ended.
#[derive(Default)]
struct Clock(Mutex<Vec<(String, Instant, f64)>>);

impl Progress for Clock {
    fn begin(&self, phase: &str, _: usize, _: usize) {
        self.0.lock().expect("nothing panics under it").push((phase.to_owned(), Instant::now(), 0.0));
    }

    fn end(&self) {
        if let Some((_, start, seconds)) = self.0.lock().expect("nothing panics under it").last_mut() {
            *seconds = start.elapsed().as_secs_f64();
        }
    }
}

impl Clock {
    fn seconds(&self, phase: &str) -> f64 {
        self.0
            .lock()
            .expect("nothing panics under it")
            .iter()
            .filter(|(name, ..)| name.starts_with(phase))
            .map(|(.., seconds)| seconds)
            .sum()
    }
}

/// What a study took.
struct Taken {
    /// From the study's text to its tables.
    whole: f64,
    clean: f64,
    /// Its transfer, and its metrics if it has any.
    transfer: f64,
    /// The attacks themselves, and other models' looks at their images, as the rows have it.
    attacks: f64,
    looks: f64,
}

fn run(registry: &Registry, networks: &[String], attacks: &str, metrics: &str, images: usize, workers: usize) -> Result<Taken> {
    let models: Vec<String> = networks.iter().map(|name| format!("{{ name = \"{name}\" }}")).collect();
    let text = format!(
        "name = \"bench\"\nmetrics = {metrics}\nmodels = [{}]\n[data]\nsource = \"fashion-mnist\"\nimages = {images}\n{attacks}\n\
         [transfer]\npolicy = \"crop_or_pad\"\n",
        models.join(", ")
    );
    let out = tempfile::tempdir()?;
    let (start, clock) = (Instant::now(), Clock::default());
    let study = Study::parse(&text, "the bench's study", Path::new("."), registry, study::Options::default())?;
    let options = Options { workers, ..Options::on(Device::Cpu) };
    let session = Session::open(&study, registry, out.path(), options, &clock)?;
    let outcome = session.run()?;
    ensure!(outcome.failures.is_empty() && outcome.computed > 0, "cells fail: {:?}", outcome.failures);
    let tables = session.report()?;
    Ok(Taken {
        whole: start.elapsed().as_secs_f64(),
        clean: clock.seconds("clean"),
        transfer: clock.seconds("transfer"),
        attacks: tables.success.iter().map(|row| row.seconds).sum(),
        looks: tables.success.iter().map(|row| row.transfer_seconds).sum(),
    })
}

/// Seconds of nothing but the forward passes of the transfer of a study with FGSM, in batches of a cell.
fn passes(registry: &Registry, networks: &[String]) -> Result<f64> {
    let pictures = Data::open(&Source::FashionMnist, Some(SLICE), 0)?.pictures;
    let mut all = 0.0;
    for name in networks {
        let model = benching::load(registry, name, &Origin::find(registry, name, None)?)?;
        let pixels = data::batch(&pictures, model.card().side)?;
        let looks = 2 * 2 * (networks.len() - 1); // goals; as float and rounded; the other models
        tch::no_grad(|| drop(model.logits(&pixels)));
        all += seconds(|| tch::no_grad(|| (0..looks).for_each(|_| drop(black_box(model.logits(&pixels))))));
    }
    Ok(all)
}

fn main() -> Result<()> {
    let rounds = benching::setting("ROUNDS", 3)?;
    let networks = benching::list("NETWORKS", &MINI);
    let registry = Registry::linked()?;
    gauntlet_runner::execute::keep_memory();
    tch::set_num_threads(1);
    println!("{:<60}  ratio  (range over {rounds} rounds)", networks.join(", "));
    let print = |what: &str, Ratio { median, range: (least, greatest), unit }: Ratio| {
        println!("{what:<60} {median:>6.3}  ({least:.3} to {greatest:.3}; unit {unit:.2} s)");
    };

    let pairs = (0..rounds).map(|_| {
        let bare = passes(&registry, &networks)?;
        Ok((bare, run(&registry, &networks, FGSM, "[]", SLICE, 1)?.transfer))
    });
    print("images per second of transfer ÷ of its forward passes alone", Ratio::of(&pairs.collect::<Result<Vec<_>>>()?));

    let whole = (0..rounds).map(|_| run(&registry, &networks, ALL, "[\"l0\", \"l1\", \"l2\", \"linf\"]", SLICE, 1));
    let whole = whole.collect::<Result<Vec<_>>>()?;
    let rest = |taken: &Taken| taken.whole - taken.clean - taken.attacks - taken.looks;
    print(
        "all but the attacks, transfer and clean answers ÷ a study",
        Ratio::of(&whole.iter().map(|t| (rest(t), t.whole)).collect::<Vec<_>>()),
    );

    let cores = std::thread::available_parallelism().context("how many cores are there?")?.get();
    let time = |workers, images| -> Result<f64> { Ok(run(&registry, &networks, IFGSM, "[]", images, workers)?.whole) };
    let pairs = (0..rounds).map(|_| Ok((time(1, 2 * SLICE)?, time(cores, 2 * SLICE)? * cores as f64)));
    print(&format!("{cores} workers: time of one ÷ {cores} × time of all"), Ratio::of(&pairs.collect::<Result<Vec<_>>>()?));
    let pairs = (0..rounds).map(|_| Ok((time(1, 4 * SLICE)?, 4.0 * time(1, SLICE)?)));
    print("four times the images: time ÷ 4 × time", Ratio::of(&pairs.collect::<Result<Vec<_>>>()?));
    Ok(())
}

//! Time that the engine adds to the attacks' own work, as shares and ratios of times in one process:
//! `cargo bench -p gauntlet-tests --bench engine`. Variables of the environment, with their
//! defaults:
//!
//! - `ROUNDS` (3), `NETWORKS` (three miniatures), `DEVICE` (`cpu`).
//! - `ROWS` (all): `transfer`, `share`, `workers`, `images`, `dry_run`, separated by commas.
//! - `WEIGHTS`, `PHOTOS`: folders for networks of full size. That of photographs has a `labels.csv`,
//!   whose classes count from `FIRST_LABEL` (0).

use anyhow::{Context, Result, ensure};
use gauntlet_core::registry::Registry;
use gauntlet_plugins as _;
use gauntlet_runner::data::{self, Data, Folder, Source};
use gauntlet_runner::engine::{Progress, RunOptions};
use gauntlet_runner::store::CellKind;
use gauntlet_runner::{Session, Study, estimate, study};
use gauntlet_tests::benching::{self, MINI, Origin, Ratio, seconds, setting};
use std::env;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

const FGSM: &str = "[[attacks]]\nname = \"fgsm\"\nparams = { epsilon = 0.1 }\ngoals = \
                    [\"untargeted\", \"random\"]\n";
const IFGSM: &str = "[[attacks]]\nname = \"ifgsm\"\nparams = \
                     { iterations = 20, search_tries = 2 }\ngoals = [\"untargeted\", \"random\"]\n";
/// The attacks of the study `mini`.
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
params = { initial_c = 1.0, search_steps = 4, iterations = 60, learning_rate = 1.0, abort_checks = 3 }
goals = ["untargeted", "random"]
[[attacks]]
name = "ead_l1"
params = { initial_c = 1.0, search_steps = 4, iterations = 60, learning_rate = 0.02, abort_checks = 3 }
goals = ["untargeted", "random"]
"#;

const NORMS: &str = "[\"l0\", \"l1\", \"l2\", \"linf\"]";

/// Images in a cell.
const SLICE: usize = 32;

/// Phases of a run: name, begin, and seconds that it took.
#[derive(Default)]
struct Clock(Mutex<Vec<(String, Instant, f64)>>);

impl Progress for Clock {
    fn begin(&self, phase: &str, _: usize, _: usize) {
        self.0.lock().expect("nothing panics under it").push((
            phase.to_owned(),
            Instant::now(),
            0.0,
        ));
    }

    fn end(&self) {
        if let Some((_, start, seconds)) =
            self.0.lock().expect("nothing panics under it").last_mut()
        {
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

/// What a study cost. Times are in seconds.
struct Taken {
    /// Size of the results folder.
    bytes: f64,
    /// From the study's text to its tables.
    whole: f64,
    /// The phase of transfer and metrics.
    transfer: f64,
    /// The attacks, by their rows.
    attacks: f64,
    /// Other models' passes on the adversarials, by their rows.
    looks: f64,
    /// Passes of the attacks, and two for each image with which the engine verifies them.
    passes: f64,
    /// For each network the adversarials that were found, over all goals.
    attacked: Vec<f64>,
}

/// The images of the bench: those in a folder, or the embedded ones.
fn source() -> Result<Source> {
    let Some(path) = env::var_os("PHOTOS").map(PathBuf::from) else {
        return Ok(Source::FashionMnist);
    };
    let labels = path.join("labels.csv");
    Ok(Source::Folder(Folder {
        labels: Some(labels),
        path,
        first_label: Some(setting("FIRST_LABEL", 0)?),
        ..Folder::default()
    }))
}

fn study(
    registry: &Registry,
    networks: &[String],
    attacks: &str,
    metrics: &str,
    images: usize,
) -> Result<Study> {
    let models: Vec<String> =
        networks.iter().map(|name| format!("{{ name = \"{name}\" }}")).collect();
    let data = match source()? {
        Source::Folder(Folder { path, labels, first_label, .. }) => {
            let labels = labels.context("a folder of photographs has labels")?;
            format!(
                "folder = \"{}\"\nlabels = \"{}\"\nfirst_label = {}",
                path.display(),
                labels.display(),
                first_label.unwrap_or_default()
            )
        }
        _ => "source = \"fashion-mnist\"".to_owned(),
    };
    let text = format!(
        "name = \"bench\"\nmetrics = {metrics}\nmodels = [{}]\n[data]\n{data}\nimages = \
         {images}\n{attacks}\n\
         [transfer]\npolicy = \"crop_or_pad\"\n[probe]\nimages = 0\n",
        models.join(", ")
    );
    let options = study::StudyOptions {
        weights: env::var_os("WEIGHTS").map(PathBuf::from),
        ..study::StudyOptions::default()
    };
    Study::parse(&text, "the bench's study", &env::current_dir()?, registry, options)
}

fn run(
    registry: &Registry,
    networks: &[String],
    attacks: &str,
    metrics: &str,
    images: usize,
    workers: usize,
) -> Result<Taken> {
    let out = tempfile::tempdir()?;
    let (start, clock) = (Instant::now(), Clock::default());
    let study = study(registry, networks, attacks, metrics, images)?;
    let options = RunOptions { workers, ..RunOptions::on(benching::device()?) };
    let session = Session::open(&study, registry, out.path(), options, &clock)?;
    let outcome = session.run()?;
    ensure!(
        outcome.failures.is_empty() && outcome.computed > 0,
        "cells fail: {:?}",
        outcome.failures
    );
    let tables = session.report()?;
    let attacked = |model| {
        tables.success.iter().filter(|row| row.model == model).map(|row| row.found as f64).sum()
    };
    Ok(Taken {
        attacked: (0..networks.len()).map(attacked).collect(),
        passes: tables
            .success
            .iter()
            .map(|row| {
                row.source_correct as f64
                    * (row.passes.forward.mean.unwrap_or_default()
                        + row.passes.backward.mean.unwrap_or_default()
                        + 2.0)
            })
            .sum(),
        bytes: size(out.path())?,
        whole: start.elapsed().as_secs_f64(),
        transfer: clock.seconds("transfer"),
        attacks: tables.success.iter().map(|row| row.seconds).sum(),
        looks: tables.success.iter().map(|row| row.transfer_seconds).sum(),
    })
}

/// Slices of the transfer. With this many, loading models counts as little as in a study.
const SLICES: usize = 8;

/// Seconds of the bare forward passes of a study's transfer, in batches of a whole cell. `attacked`
/// has for each network its number of adversarials.
fn passes(registry: &Registry, networks: &[String], attacked: &[f64]) -> Result<f64> {
    let pictures = Data::open(&source()?, Some(SLICE), 0)?.pictures;
    let mut all = 0.0;
    for (target, name) in networks.iter().enumerate() {
        let model = benching::load(
            registry,
            name,
            &Origin::find(registry, name, env::var_os("WEIGHTS").map(PathBuf::from))?,
        )?;
        let pixels = data::batch(&pictures, model.card().side)?.to_device(benching::device()?);
        tch::no_grad(|| drop(model.logits(&pixels)));
        let looks = SLICES * 2 * 2;
        let each = seconds(|| {
            tch::no_grad(|| (0..looks).for_each(|_| drop(black_box(model.logits(&pixels)))));
        }) / (looks * pictures.len()) as f64;
        let others: f64 = attacked
            .iter()
            .enumerate()
            .filter(|(source, _)| *source != target)
            .map(|(_, images)| images)
            .sum();
        all += each * 2.0 * others; // as float and rounded
    }
    Ok(all)
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> Result<f64> {
    let sizes = fs::read_dir(folder)?.map(|entry| {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            size(&entry.path())
        } else {
            Ok(entry.metadata()?.len() as f64)
        }
    });
    sizes.sum()
}

fn main() -> Result<()> {
    let rounds = setting("ROUNDS", 3)?;
    let networks = benching::list("NETWORKS", &MINI);
    let registry = Registry::linked()?;
    tch::set_num_threads(1);
    println!("{:<60}  ratio  (range over {rounds} rounds)", networks.join(", "));
    let print = |what: &str, Ratio { median, range: (least, greatest), unit }: Ratio| {
        println!("{what:<60} {median:>6.3}  ({least:.3} to {greatest:.3}; unit {unit:.2} s)");
    };

    let rows = benching::list("ROWS", &["transfer", "share", "workers", "images", "dry_run"]);
    let asked = |row: &str| rows.iter().any(|name| name == row);

    if asked("transfer") {
        let pairs = (0..rounds).map(|_| {
            let taken = run(&registry, &networks, FGSM, "[]", SLICES * SLICE, 1)?;
            Ok((passes(&registry, &networks, &taken.attacked)?, taken.transfer))
        });
        print(
            "images per second of transfer ÷ of its forward passes alone",
            Ratio::of(&pairs.collect::<Result<Vec<_>>>()?),
        );
    }
    if asked("share") {
        let whole = (0..rounds).map(|_| run(&registry, &networks, ALL, NORMS, SLICE, 1));
        let whole = whole.collect::<Result<Vec<_>>>()?;
        // The rest includes the passes of clean answers, which hardly count.
        let rest = |taken: &Taken| taken.whole - taken.attacks - taken.looks;
        print(
            "all but the attacks and transfer ÷ a study",
            Ratio::of(&whole.iter().map(|t| (rest(t), t.whole)).collect::<Vec<_>>()),
        );
    }
    let cores = std::thread::available_parallelism().context("how many cores are there?")?.get();
    let time = |workers, images| -> Result<f64> {
        Ok(run(&registry, &networks, IFGSM, "[]", images, workers)?.whole)
    };
    if asked("workers") {
        let pairs =
            (0..rounds).map(|_| Ok((time(1, 2 * SLICE)?, time(cores, 2 * SLICE)? * cores as f64)));
        print(
            &format!("{cores} workers: time of one ÷ {cores} × time of all"),
            Ratio::of(&pairs.collect::<Result<Vec<_>>>()?),
        );
    }
    if asked("images") {
        let pairs = (0..rounds).map(|_| Ok((time(1, 4 * SLICE)?, 4.0 * time(1, SLICE)?)));
        print(
            "four times the images: time ÷ 4 × time",
            Ratio::of(&pairs.collect::<Result<Vec<_>>>()?),
        );
    }
    if asked("dry_run") {
        let attacks = if env::var_os("PHOTOS").is_some() { IFGSM } else { ALL };
        let (mut times, mut sizes, mut passes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let study = study(&registry, &networks, attacks, NORMS, SLICE)?;
            let estimated = estimate::estimate(
                &study,
                &registry,
                Path::new("no such folder"),
                &RunOptions::on(benching::device()?),
            )?;
            let taken = run(&registry, &networks, attacks, NORMS, SLICE, cores)?;
            times.push((estimated.seconds, taken.whole));
            sizes.push((estimated.bytes, taken.bytes));
            let craft = estimated.cells.iter().filter(|kind| kind.kind == CellKind::Craft);
            passes.push((craft.map(|kind| kind.forward + kind.backward).sum(), taken.passes));
        }
        print("time that a dry run estimates ÷ taken", Ratio::of(&times));
        print("passes of attacks that a dry run estimates ÷ made", Ratio::of(&passes));
        print("bytes that a dry run estimates ÷ taken", Ratio::of(&sizes));
    }
    Ok(())
}

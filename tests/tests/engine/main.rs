//! The study engine with toy models, and with attacks that break the rules.

mod builder;
mod compare;
mod keys;
mod misbehaviour;
mod rows;
mod storage;

use anyhow::Result;
use gauntlet_core::device::Device;
use gauntlet_runner::analysis::Tables;
use gauntlet_runner::engine::plan::{CellId, Plan};
use gauntlet_runner::engine::{Progress, RunOptions, RunOutcome};
use gauntlet_runner::store::Row;
use gauntlet_runner::store::rows::CraftRow;
use gauntlet_runner::store::table_rows::OutcomeRow;
use gauntlet_runner::store::{Lookup, Store};
use gauntlet_runner::{Session, Study, study};
use gauntlet_tests::toys;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tempfile::TempDir;

const STUDY: &str = r#"
name = "toys"
seed = 3
metrics = ["largest", "margin"]
[[models]]
name = "toy_8"
[[models]]
name = "toy_12"
[[models]]
name = "toy_8"
label = "other"
params = { seed = 9 }
[[attacks]]
name = "step"
goals = ["untargeted", "random", "least_likely", "second"]
[transfer]
policy = "crop_or_pad"
"#;

/// The text of a study of `attacks` on one model.
fn study_of(attacks: &[&str]) -> String {
    let attacks: Vec<String> =
        attacks.iter().map(|name| format!("[[attacks]]\nname = \"{name}\"\n")).collect();
    format!(
        "name = \"toys\"\nmetrics = [\"largest\"]\n[[models]]\nname = \"toy_8\"\n{}",
        attacks.concat()
    )
}

fn parse(text: &str, images: usize) -> Study {
    let options = study::StudyOptions {
        pictures: Some(toys::pictures(images)),
        ..study::StudyOptions::default()
    };
    Study::parse(text, "toys.toml", Path::new("."), &toys::registry().unwrap(), options).unwrap()
}

/// Keeps the warnings of a run.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

/// A study that was run, and what came of it.
struct Run {
    study: Study,
    plan: Plan,
    store: Store,
    missing: usize,
    outcome: RunOutcome,
    tables: Tables,
    warnings: Vec<String>,
}

impl Run {
    fn of(text: &str, images: usize, out: &Path, workers: usize) -> Result<Self> {
        let registry = toys::registry()?;
        let study = parse(text, images);
        let options = RunOptions { workers, ..RunOptions::on(Device::Cpu) };
        let warnings = Warnings::default();
        let session = Session::open(&study, &registry, out, options, &warnings)?;
        let (missing, outcome, tables) = (session.to_compute(), session.run()?, session.report()?);
        drop(session);
        let (plan, store) = (Plan::new(&study, "cpu"), Store::open(out)?);
        let warnings = warnings.0.into_inner().unwrap();
        Ok(Self { study, plan, store, missing, outcome, tables, warnings })
    }

    fn rows<R: Row>(&self, id: CellId) -> Vec<R> {
        match self.store.read(&self.plan.cells[id].address).unwrap() {
            Lookup::Whole(stored) => stored.rows,
            Lookup::Missing => panic!("missing"),
            Lookup::Damaged(reason) => panic!("{reason}"),
        }
    }

    /// The craft rows of an attack, over all its goals.
    fn craft(&self, attack: &str) -> Vec<CraftRow> {
        let campaigns = self
            .plan
            .campaigns
            .iter()
            .filter(|c| self.study.attacks[c.attack].part.label == attack);
        campaigns.flat_map(|c| c.craft.iter().flat_map(|&id| self.rows(id))).collect()
    }
}

/// Every file of a results folder that holds no times, as text.
fn tables(out: &Path) -> BTreeMap<String, String> {
    let files =
        fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let tables: BTreeMap<String, String> = files
        .filter(|path| !name(path).starts_with("timing."))
        .map(|path| (name(&path), String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()))
        .collect();
    assert!(tables.len() >= 9, "{:?}", tables.keys());
    tables
}

/// All rows of `outcomes.parquet`.
fn outcomes(out: &Path) -> Vec<OutcomeRow> {
    let file = File::open(out.join("outcomes.parquet")).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    batches.flat_map(|batch| OutcomeRow::read(&batch.unwrap()).unwrap()).collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The files of one kind of cells, sorted.
fn files(out: &Path, kind: &str, extension: &str) -> Vec<PathBuf> {
    let all =
        fs::read_dir(out.join("cells").join(kind)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        all.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

#[cfg(target_os = "linux")]
#[test]
fn tensors_come_from_an_allocator_that_keeps_memory() {
    use gauntlet_tests::allocator;
    let setting = |name| allocator::read(name).unwrap();
    assert_eq!([setting(c"opt.dirty_decay_ms"), setting(c"opt.muzzy_decay_ms")], [-1, -1]);
    assert_eq!(setting(c"opt.oversize_threshold"), 1 << 20);
    let allocated = || allocator::read(c"thread.allocated").unwrap();
    let before = allocated();
    let tensor = tch::Tensor::zeros([1 << 20], (tch::Kind::Float, Device::Cpu));
    assert!(allocated() - before >= 4 << 20, "libtorch took {tensor:?} from another allocator");
}

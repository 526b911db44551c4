//! Code that the benches share: times taken in turn, and networks with whatever weights there are.

use anyhow::{Context, Result};
use gauntlet_core::device::{self, Device};
use gauntlet_core::model::Model;
use gauntlet_core::registry::Registry;
use gauntlet_core::weights::{Misfit, Role, Source, Weights};
use std::env;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tch::Tensor;
use toml::Table;

use crate::golden::Formula;

/// Networks of full size that the benches measure.
pub const FULL: [&str; 3] = ["mobilenet_v1_100", "resnet_v2_50", "vgg_16"];
/// Miniatures of the networks in [`FULL`].
pub const MINI: [&str; 3] = ["mini_mobilenet_v1_100", "mini_resnet_v2_50", "mini_vgg_16"];

/// Reads a number from the environment.
///
/// # Errors
/// When the variable holds something else.
pub fn setting<T: FromStr>(name: &str, default: T) -> Result<T> {
    let text = env::var(name).ok();
    text.map_or(Ok(default), |text| {
        text.parse().ok().with_context(|| format!("{name}={text}: expected a number"))
    })
}

/// Reads a list from the environment, separated by commas.
pub fn list(name: &str, default: &[&str]) -> Vec<String> {
    let text = env::var(name).unwrap_or_else(|_| default.join(","));
    text.split(',').map(str::to_owned).collect()
}

/// The device that models are loaded to: `DEVICE` in the environment, or `cpu`.
///
/// # Errors
/// When there is no such device.
pub fn device() -> Result<Device> {
    device::open(&env::var("DEVICE").unwrap_or_else(|_| "cpu".into()))
}

/// Seconds that `work` takes, including what a GPU does for it.
pub fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    if let Ok(device) = device() {
        device::wait(device);
    }
    start.elapsed().as_secs_f64()
}

/// The median. Of an even number of values it is the upper of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The time of one piece of work ÷ the time of another.
///
/// Times on a shared machine drift. Ratios of times that are taken in turn hardly do.
pub struct Ratio {
    /// Median over all rounds.
    pub median: f64,
    /// The least and the greatest ratio.
    pub range: (f64, f64),
    /// Median time of the other piece of work, in seconds.
    pub unit: f64,
}

impl Ratio {
    /// Takes both times in turn for a number of rounds. Each piece of work runs once before that,
    /// since libtorch chooses its kernels in the first run.
    pub fn take(
        rounds: usize,
        mut one: impl FnMut() -> f64,
        mut other: impl FnMut() -> f64,
    ) -> Self {
        one();
        other();
        Self::of(&(0..rounds).map(|_| (one(), other())).collect::<Vec<_>>())
    }

    /// The ratio of times that were taken in turn.
    pub fn of(pairs: &[(f64, f64)]) -> Self {
        let ratios: Vec<f64> = pairs.iter().map(|(one, other)| one / other).collect();
        let bound =
            |choose: fn(f64, f64) -> f64| ratios.iter().copied().reduce(choose).unwrap_or(f64::NAN);
        let range = (bound(f64::min), bound(f64::max));
        Self {
            median: median(ratios),
            range,
            unit: median(pairs.iter().map(|pair| pair.1).collect()),
        }
    }
}

/// Prints a line of a bench's table.
pub fn print(what: &str, network: &str, ratio: &Ratio) {
    let Ratio { median, range: (least, greatest), unit } = ratio;
    println!(
        "{what:<40} {network:<22} {median:>6.3}  ({least:.3} to {greatest:.3}; unit {:.1} ms)",
        unit * 1e3
    );
}

/// Where a network's weights come from.
pub enum Origin {
    /// Embedded in the program.
    Embedded,
    /// Read from a file.
    File(PathBuf),
    /// Made by the formula of the golden values. Passes take as long as with real weights.
    MadeUp,
}

impl Origin {
    /// Embedded weights if the network has any, else those in `folder`, else made-up ones.
    pub fn find(registry: &Registry, network: &str, folder: Option<PathBuf>) -> Result<Self> {
        let entry =
            registry.find_model(network).with_context(|| format!("no model `{network}`"))?;
        Ok(match (entry.embedded_weights, folder) {
            (Some(_), _) => Self::Embedded,
            (None, Some(folder)) => Self::File(folder.join(format!("{network}.safetensors"))),
            (None, None) => Self::MadeUp,
        })
    }
}

/// Loads a registered network onto the [`device`].
///
/// # Errors
/// When there is no network of that name, or its weights do not fit.
pub fn load(registry: &Registry, network: &str, origin: &Origin) -> Result<Box<dyn Model>> {
    let entry = registry.find_model(network).with_context(|| format!("no model `{network}`"))?;
    let (parameters, device) = (entry.entry.parameters(None, &Table::new())?, device()?);
    match origin {
        Origin::Embedded => entry.load_embedded(&parameters, device),
        Origin::File(path) => entry.load(&parameters, Weights::open(path, device)?),
        Origin::MadeUp => entry.load(&parameters, Weights::new(made_up(network), device)),
    }
}

/// Made-up weights, with which passes take as long as with real ones.
pub fn made_up(network: &str) -> Formula {
    Formula { prefix: format!("bench/{network}/"), gain: 1.2 }
}

/// A source of weights that keeps every tensor a network reads, under the name it reads it by.
#[derive(Clone)]
pub struct Recorder<S> {
    source: S,
    kept: Arc<Mutex<Vec<(String, Tensor)>>>,
}

impl<S: Source> Recorder<S> {
    /// Passes on the tensors of `source`.
    pub fn new(source: S) -> Self {
        Self { source, kept: Arc::default() }
    }

    /// Takes out the tensors that were read so far.
    pub fn kept(&self) -> Vec<(String, Tensor)> {
        std::mem::take(&mut self.kept.lock().expect("nothing panics under it"))
    }
}

impl<S: Source> Source for Recorder<S> {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let found = self.source.tensor(name, shape, role)?;
        self.kept
            .lock()
            .expect("nothing panics under it")
            .push((name.to_owned(), found.shallow_clone()));
        Ok(found)
    }
}

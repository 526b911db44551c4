//! Memory that plugin libraries keep. Makes, uses and releases everything that each library brings,
//! `CALLS` times (10,000 by default), and looks at what stays allocated.
//!
//! `make leaks` runs this by itself, and then with fewer calls under valgrind (Linux only), which
//! also finds accesses outside of blocks and blocks that are freed twice.

use anyhow::{Context, Result, bail, ensure};
use gauntlet_core::attack::{Cases, Goal};
use gauntlet_core::device::Device;
use gauntlet_core::metric::Scope;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_core::params::parse;
use gauntlet_core::registry::{AttackEntry, MetricEntry, ModelEntry, Registry};
use gauntlet_core::testing::Affine;
use gauntlet_core::weights::Weights;
use gauntlet_tests::allocator;
use gauntlet_tests::benching::setting;
use gauntlet_tests::golden::Formula;
use gauntlet_tests::libraries::library;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tch::{Kind, Tensor};

/// A leak keeps at least this much for each call: the smallest block of the allocator.
const BYTES_PER_CALL: f64 = 8.0;
const SIDE: i64 = 28;
const CLASSES: i64 = 10;

fn main() -> Result<()> {
    let calls: usize = setting("CALLS", 10_000)?;
    tch::set_num_threads(1);
    let place = tempfile::tempdir()?;
    let mut libraries: Vec<PathBuf> =
        ["sample", "plugin_attack", "plugin_model", "plugin_metric"].map(library).to_vec();
    for kind in ["attack", "model", "metric"] {
        libraries.push(of_cpp(kind, place.path())?);
    }
    let mut leaks = 0;
    println!("{:<40} {:>9} {:>16} {:>12}", "", "calls", "bytes per call", "growth, KiB");
    for path in libraries {
        let mut registry = Registry::empty();
        let library = registry.load(&path)?;
        let origin = library.stamp.to_string();
        let mut check = |what: String, call: &dyn Fn() -> Result<()>| -> Result<()> {
            // The first calls fill caches: libtorch's, the allocator's, and those of the plugin.
            for _ in 0..calls.div_ceil(10) {
                call()?;
            }
            let before = Memory::now()?;
            for _ in 0..calls {
                call()?;
            }
            let after = Memory::now()?;
            let per_call = (after.allocated as f64 - before.allocated as f64) / calls as f64;
            let growth = (after.resident as f64 - before.resident as f64) / 1024.0;
            println!(
                "{:<40} {calls:>9} {per_call:>16.2} {growth:>12.0}",
                format!("{origin}: {what}")
            );
            leaks += usize::from(per_call >= BYTES_PER_CALL);
            Ok(())
        };
        for entry in registry.attacks() {
            check(format!("attack {}", entry.entry.name), &|| attack(entry))?;
        }
        for entry in registry.models() {
            check(format!("model {}", entry.entry.name), &|| model(entry))?;
        }
        for entry in registry.metrics() {
            check(format!("metric {}", entry.entry.name), &|| metric(entry))?;
        }
    }
    ensure!(leaks == 0, "{leaks} of them keep memory with every call");
    Ok(())
}

/// Memory of the process, in bytes.
struct Memory {
    /// Allocated and not freed by this thread, which does all the work. It is 0 under valgrind, which
    /// replaces the allocator.
    allocated: i64,
    /// Resident in memory.
    resident: usize,
}

impl Memory {
    fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/status")?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("a process has memory")?;
        let resident: usize = line.trim().trim_end_matches(" kB").parse()?;
        Ok(Self {
            allocated: allocator::read(c"thread.allocated")?
                - allocator::read(c"thread.deallocated")?,
            resident: resident * 1024,
        })
    }
}

fn pixels(count: i64) -> Tensor {
    ((Tensor::arange(count * 3 * SIDE * SIDE, (Kind::Float, Device::Cpu)) * 0.7).sin() * 0.45 + 0.5)
        .view([count, 3, SIDE, SIDE])
}

fn with_cases<T>(work: impl FnOnce(&Oracle, &Cases) -> Result<T>) -> Result<T> {
    let model = Affine::new(CLASSES, SIDE, 1);
    let cases = Cases::new(pixels(2), vec![Goal::Away(1), Goal::Towards(2)])?;
    let oracle = Oracle::new(&model, vec![0; 2], Settings::default());
    work(&oracle, &cases)
}

/// Asks for an unknown parameter, since errors take memory too.
fn refused(parameters: impl FnOnce(&toml::Table) -> Result<toml::Table>) -> Result<()> {
    match parameters(&parse("no_such_parameter = 1")?) {
        Ok(_) => bail!("an unknown parameter is accepted"),
        Err(_) => Ok(()),
    }
}

fn attack(entry: &AttackEntry) -> Result<()> {
    refused(|given| entry.entry.parameters(None, given))?;
    let attack = entry.make(&entry.entry.parameters(None, &toml::Table::new())?)?;
    let _ = attack.budget();
    with_cases(|oracle, cases| attack.run(oracle, cases)).map(drop)
}

fn model(entry: &ModelEntry) -> Result<()> {
    refused(|given| entry.entry.parameters(None, given))?;
    let parameters = entry.entry.parameters(None, &toml::Table::new())?;
    let model = if entry.embedded_weights.is_some() {
        entry.load_embedded(&parameters, Device::Cpu)?
    } else {
        entry.load(
            &parameters,
            Weights::new(Formula { prefix: String::new(), gain: 1.0 }, Device::Cpu),
        )?
    };
    let side = model.card().side;
    let pixels =
        pixels(2).narrow(2, 0, side).narrow(3, 0, side).contiguous().set_requires_grad(true);
    let logits = model.logits(&pixels);
    // The backward pass goes through the plugin's operations.
    let _ = Tensor::run_backward(&[logits.sum(Kind::Float)], &[&pixels], false, false);
    Ok(())
}

fn metric(entry: &MetricEntry) -> Result<()> {
    refused(|given| entry.entry.parameters(None, given))?;
    let metric = entry.make(&entry.entry.parameters(None, &toml::Table::new())?)?;
    match entry.scope {
        Scope::Outcome => metric.outcome(&pixels(2), &(pixels(2) * 0.9)).map(drop),
        Scope::Model => with_cases(|oracle, cases| metric.model(oracle, cases)).map(drop),
    }
}

/// Compiles an example in C++ as the tutorial does.
fn of_cpp(kind: &str, folder: &Path) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let libtorch = env::var_os("LIBTORCH").map_or_else(|| root.join(".libtorch"), PathBuf::from);
    let path = folder.join(format!("lib{kind}_cpp.so"));
    let mut compiler = Command::new(env::var_os("CXX").unwrap_or_else(|| "c++".into()));
    compiler.args(["-std=c++17", "-O1", "-g1", "-fPIC", "-shared", "-fvisibility=hidden"]);
    compiler.arg("-isystem").arg(libtorch.join("include")).arg("-I").arg(root.join("core/include"));
    compiler.arg(format!("-DPLUGIN_DIR=\"{}\"", root.join("examples/plugin-model").display()));
    compiler.arg(root.join(format!("examples/plugin-cpp/{kind}.cpp"))).arg("-o").arg(&path);
    compiler.arg("-L").arg(libtorch.join("lib")).args(["-ltorch_cpu", "-lc10"]);
    let output = compiler.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(path)
}

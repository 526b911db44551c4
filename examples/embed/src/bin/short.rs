//! A program that runs a study and looks at its outcomes: what `runner plugins new --kind program`
//! writes.

use gauntlet_core::device::Device;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_plugins as _; // the built-in models, attacks and metrics
use gauntlet_runner::report::outcomes;
use gauntlet_runner::{GoalKind, Member, RunOptions, Session, Silent, Study, StudyOptions};
use std::path::Path;

/// Runs the study in a results folder, on the first `images` images. A run that was stopped goes on.
fn study(out: &Path, images: usize) -> Result<()> {
    // A model, an attack or a metric of your own joins by `registry.model`, `attack` or `metric`.
    let registry = Registry::linked()?;
    let study = Study::builder("short")
        .set("data", toml::toml! { source = "fashion-mnist" })
        .model("mini_vgg_16")
        .model("mini_mobilenet_v1_025")
        .attack(Member::new("ifgsm").goals(&[GoalKind::Untargeted]))
        .metric("linf")
        .open(&registry, StudyOptions { images: Some(images), ..Default::default() })?;
    let session = Session::open(&study, &registry, out, RunOptions::on(Device::Cpu), &Silent)?;
    let outcome = session.run()?;
    session.report()?; // writes the tables
    println!("{} cells computed, {} failed", outcome.computed, outcome.failures.len());
    outcomes::read(out, |_, outcome| {
        println!("{} of {}: {}", outcome.row.image, outcome.row.source, outcome.row.success);
        Ok(())
    })
}

fn main() -> Result<()> {
    study(Path::new("results"), 10)
}

#[test]
fn it_runs() {
    let out = std::env::temp_dir().join(format!("short-{}", std::process::id()));
    study(&out, 4).unwrap();
    assert!(out.join("success.csv").is_file());
    std::fs::remove_dir_all(out).unwrap();
}

//! A program that runs a study on a model of its own: a classifier that holds the mean image of
//! each class of Fashion-MNIST and answers with the nearest.

use gauntlet_core::device::Device;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_plugins as _; // the built-in models, attacks and metrics
use gauntlet_runner::data::{Data, Source, batch};
use gauntlet_runner::report::outcomes::{self, Outcome};
use gauntlet_runner::{
    GoalKind, Member, Policy, Progress, RunOptions, Session, Study, StudyOptions,
};
use std::path::Path;

struct NearestMean(ModelCard, Tensor);

impl Model for NearestMean {
    fn card(&self) -> &ModelCard {
        &self.0
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let distances = pixels.flatten(1, -1).unsqueeze(1) - self.1.flatten(1, -1).unsqueeze(0);
        distances.square().sum_dim_intlist([2i64].as_slice(), false, Kind::Float) * -0.1
    }
}

fn learn(device: Device) -> Result<Box<dyn Model>> {
    let data = Data::open(&Source::FashionMnist, Some(300), 1)?;
    let labels =
        Tensor::from_slice(&data.pictures.iter().map(|picture| picture.label).collect::<Vec<_>>());
    let pixels = batch(&data.pictures, 28)?;
    let means: Vec<Tensor> = (0..10)
        .map(|class| {
            pixels.index(&[Some(labels.eq(class))]).mean_dim([0i64].as_slice(), false, Kind::Float)
        })
        .collect();
    Ok(Box::new(NearestMean(card(), Tensor::stack(&means, 0).to_device(device))))
}

fn card() -> ModelCard {
    ModelCard {
        name: "nearest_mean".into(),
        family: "mine".into(),
        side: 28,
        classes: 10,
        ..ModelCard::default()
    }
}

struct Watch;

impl Progress for Watch {
    fn begin(&self, phase: &str, cells: usize, _: usize) {
        println!("{phase}: {cells} cells");
    }
}

fn study(out: &Path, images: usize) -> Result<()> {
    let mut registry = Registry::linked()?;
    registry.model_with(card(), "embed 1", learn)?;
    let study = Study::builder("embedded")
        .set("data", toml::toml! { source = "fashion-mnist" })
        .model("nearest_mean")
        .model("mini_mobilenet_v1_025")
        .attack(Member::new("ifgsm").goals(&[GoalKind::Untargeted]))
        .metric("linf")
        .transfer(Policy::Resize)
        .open(&registry, StudyOptions { images: Some(images), ..Default::default() })?;
    // Another thread may set `options.cancel` to end the run early.
    let session = Session::open(&study, &registry, out, RunOptions::on(Device::Cpu), &Watch)?;
    let outcome = session.run()?;
    session.report()?;
    println!("{} cells computed, {} failed", outcome.computed, outcome.failures.len());
    outcomes::read(out, |_, Outcome { row, distortions }| {
        let change = distortions.get("distortion_linf");
        println!(
            "{} of {}, given to {}: {}, l∞ {change:?}",
            row.image, row.source, row.target, row.success
        );
        Ok(())
    })
}

fn main() -> Result<()> {
    study(Path::new("results/embedded"), 20)
}

#[test]
fn runs() {
    study(tempfile::tempdir().unwrap().path(), 4).unwrap();
}

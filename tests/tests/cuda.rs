//! A GPU against the CPU. Where there is no GPU, the tests say so and pass.

use anyhow::Result;
use gauntlet_core::attack::{Answer, Cases, Goal, Goals};
use gauntlet_core::device::{self, Device};
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_core::registry::Registry;
use gauntlet_plugins as _;
use gauntlet_runner::data::{self, Data, Source};
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::study;
use gauntlet_runner::{Session, Study};
use std::env;
use std::fs;
use std::path::Path;
use tch::{Kind, Tensor};
use toml::Table;

/// The GPU that `DEVICE` in the environment names, or `cuda`, if there is one. libtorch must not
/// have run anything before.
fn gpu() -> Option<Device> {
    device::open(&env::var("DEVICE").unwrap_or_else(|_| "cuda".into()))
        .inspect_err(|reason| println!("skipped: {reason:#}"))
        .ok()
}

fn load(registry: &Registry, name: &str, device: Device) -> Box<dyn Model> {
    registry.find_model(name).unwrap().load_embedded(&Table::new(), device).unwrap()
}

/// `count` of the embedded images and their labels.
fn images(count: usize) -> (Tensor, Vec<i64>) {
    let pictures = Data::open(&Source::FashionMnist, Some(count), 0).unwrap().pictures;
    (data::batch(&pictures, 28).unwrap(), pictures.iter().map(|picture| picture.label).collect())
}

fn answers(model: &dyn Model, cases: &Cases) -> [Tensor; 2] {
    let pixels = cases.pixels.detach().set_requires_grad(true);
    let logits = model.logits(&pixels);
    let loss = Goals::new(&cases.goals, &pixels).margin(&logits).sum(Kind::Float);
    let gradient = Tensor::run_backward(&[loss], &[pixels], false, false).remove(0);
    [logits.detach(), gradient].map(|tensor| tensor.to_device(Device::Cpu))
}

#[test]
fn networks_answer_as_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let registry = Registry::linked().unwrap();
    let (pixels, labels) = images(8);
    let cases = |device| {
        Cases::new(
            pixels.to_device(device),
            labels.iter().map(|&label| Goal::Away(label)).collect(),
        )
        .unwrap()
    };
    for entry in registry.models().filter(|model| model.embedded_weights.is_some()) {
        let name = &entry.entry.name;
        let [here, there] = [Device::Cpu, gpu]
            .map(|device| answers(&*load(&registry, name, device), &cases(device)));
        let spread = (here[0].max() - here[0].min()).double_value(&[]);
        let distance = (&here[0] - &there[0]).abs().max().double_value(&[]);
        assert!(
            distance <= 1e-4 * spread,
            "{name}: the logits are {distance:.1e} apart, of {spread:.1e}: is TF32 on?"
        );
        // A unit near zero may be active on one device only, so single elements can differ much.
        let length = |tensor: &Tensor| tensor.square().sum(Kind::Double).sqrt().double_value(&[]);
        let apart = length(&(&here[1] - &there[1])) / length(&here[1]);
        assert!(apart <= 1e-3, "{name}: the gradients are {apart:.1e} of their length apart");
    }
}

/// For each image the l2 distance of the adversarial that an attack finds, measured on the device
/// where it ran, or none.
fn distances(
    registry: &Registry,
    attack: &str,
    parameters: &str,
    device: Device,
) -> Result<Vec<Option<f64>>> {
    let model = load(registry, "mini_mobilenet_v1_100", device);
    let (pixels, labels) = images(16);
    let cases = Cases::new(
        pixels.to_device(device),
        labels.iter().map(|&label| Goal::Away(label)).collect(),
    )?;
    let entry = registry.find_attack(attack).unwrap();
    let attack = entry.make(&entry.entry.parameters(None, &parameters.parse()?)?)?;
    let oracle = Oracle::new(&*model, (0..cases.len() as u64).collect(), Settings::default());
    let answers = attack.run(&oracle, &cases)?;
    Ok(answers
        .iter()
        .enumerate()
        .map(|(n, answer)| match answer {
            Answer::NotFound => None,
            Answer::Pixels(found) => {
                Some((found - cases.image(n)).square().sum(Kind::Double).sqrt().double_value(&[]))
            }
        })
        .collect())
}

#[test]
fn attacks_find_what_they_find_on_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let registry = Registry::linked().unwrap();
    for (attack, parameters, tolerance) in [
        ("fgsm", "epsilon = 0.05", 1e-3),
        ("ifgsm", "iterations = 10\nsearch_tries = 3", 0.02),
        ("cw_l2", "iterations = 60\nsearch_steps = 4", 0.02),
        ("ead_l1", "iterations = 60\nsearch_steps = 4", 0.05),
    ] {
        let [here, there] = [Device::Cpu, gpu]
            .map(|device| distances(&registry, attack, parameters, device).unwrap());
        let both: Vec<(f64, f64)> =
            here.iter().zip(&there).filter_map(|(here, there)| here.zip(*there)).collect();
        assert!(
            both.len() + 1 >= here.iter().flatten().count(),
            "{attack}: the GPU finds fewer: {there:?}"
        );
        let total = |of: fn(&(f64, f64)) -> f64| both.iter().map(of).sum::<f64>();
        let ratio = total(|pair| pair.1) / total(|pair| pair.0);
        assert!((ratio - 1.0).abs() < tolerance, "{attack}: {ratio} of the distance on the CPU");
    }
}

/// A study of networks without max pooling, whose gradient libtorch adds up in no fixed order on a
/// GPU.
const STUDY: &str = r#"
name = "gpu"
metrics = ["l2", { name = "clever_l2", params = { batches = 4, samples = 4, rivals = 1 }, goals = ["untargeted"] }]
models = [{ name = "mini_mobilenet_v1_025" }, { name = "mini_mobilenet_v1_050" }]
[data]
source = "fashion-mnist"
images = 8
[[attacks]]
name = "fgsm"
goals = ["untargeted"]
[[attacks]]
name = "cw_l2"
params = { iterations = 30, search_steps = 3 }
goals = ["untargeted", "random"]
[transfer]
policy = "native"
"#;

fn outcomes_on(registry: &Registry, device: Device) -> Vec<u8> {
    let out = tempfile::tempdir().unwrap();
    let study = Study::parse(
        STUDY,
        "the test's study",
        Path::new("."),
        registry,
        study::StudyOptions::default(),
    )
    .unwrap();
    let session =
        Session::open(&study, registry, out.path(), RunOptions::on(device), &Silent).unwrap();
    let outcome = session.run().unwrap();
    assert!(outcome.failures.is_empty() && outcome.computed > 0, "{:?}", outcome.failures);
    session.report().unwrap();
    fs::read(out.path().join("outcomes.parquet")).unwrap()
}

#[test]
fn a_study_on_a_gpu_is_the_same_each_time() {
    let Some(gpu) = gpu() else { return };
    let registry = Registry::linked().unwrap();
    assert_eq!(outcomes_on(&registry, gpu), outcomes_on(&registry, gpu));
}

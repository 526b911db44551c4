//! The networks against the original authors' code: logits, input gradients, and the names and
//! shapes of all variables (see `fixtures/golden/README.md`).

use gauntlet_core::registry::{ModelEntry, Registry};
use gauntlet_core::weights::{Misfit, Role, Source, Weights};
use gauntlet_plugins as _;
use gauntlet_tests::golden::{self, Formula};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tch::{Device, Kind, Tensor};

/// The part of `networks/<name>.json` that the tests use.
#[derive(Deserialize)]
struct Golden {
    seed: String,
    gain: f64,
    input_size: i64,
    classes: i64,
    param_count: i64,
    /// Name, shape, kind.
    variables: Vec<(String, Vec<i64>, String)>,
    logits: Vec<Vec<f64>>,
    grad: Gradient,
}

/// Gradient of the logit `class` of image 0 with respect to its pixels.
#[derive(Deserialize)]
struct Gradient {
    class: i64,
    l1: f64,
    l2: f64,
    linf: f64,
    /// Row, column, channel, value.
    samples: Vec<(i64, i64, i64, f64)>,
}

/// Shape and kind of variables, by name.
type Variables = BTreeMap<String, (Vec<i64>, &'static str)>;

/// A source of weights by the formula that notes what is asked for.
struct Recorded {
    formula: Formula,
    asked: Arc<Mutex<Variables>>,
}

impl Source for Recorded {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let kind = match role {
            Role::Kernel => "kernel",
            Role::Depthwise => "depthwise",
            Role::Bias => "bias",
            Role::Gamma => "gamma",
            Role::Beta => "beta",
            Role::Mean => "mean",
            Role::Variance => "var",
        };
        self.asked.lock().unwrap().insert(name.to_owned(), (shape.to_vec(), kind));
        self.formula.tensor(name, shape, role)
    }
}

/// Compares a network with its golden. `published` is its number of parameters in millions.
fn check(name: &str, published: f64) {
    let golden: Golden = golden::read(&format!("networks/{name}.json"));
    let registry = Registry::linked().unwrap();
    let entry: &ModelEntry = registry.find_model(name).unwrap();
    let asked = Arc::default();
    let formula = Formula { prefix: format!("{}/", golden.seed), gain: golden.gain };
    let source = Recorded { formula, asked: Arc::clone(&asked) };
    let model = entry.load(&entry.entry.defaults, Weights::new(source, Device::Cpu)).unwrap();
    assert_eq!((model.card().side, model.card().classes), (golden.input_size, golden.classes));

    let asked = std::mem::take(&mut *asked.lock().unwrap());
    let expected: BTreeMap<_, _> = golden
        .variables
        .iter()
        .map(|(n, shape, kind)| (n.clone(), (shape.clone(), kind.as_str())))
        .collect();
    assert_eq!(asked, expected, "variables");
    assert_eq!(
        asked.values().map(|(shape, _)| shape.iter().product::<i64>()).sum::<i64>(),
        golden.param_count
    );
    let millions = golden.param_count as f64 / 1e6;
    assert!(
        (millions - published).abs() < 0.1,
        "{millions} million parameters, {published} are published"
    ); // some publications do not count moving statistics

    let pixels = golden::network_images(golden.input_size).set_requires_grad(true);
    let logits = model.logits(&pixels);
    let values: Vec<f64> = golden.logits.concat();
    let expected = Tensor::from_slice(&values).view([2, golden.classes]);
    let deviation = (logits.to_kind(Kind::Double) - &expected).abs().max().double_value(&[])
        / expected.std(false).double_value(&[]);

    let gradient =
        Tensor::run_backward(&[logits.get(0).get(golden.grad.class)], &[&pixels], false, false)
            .remove(0)
            .get(0);
    let Gradient { l1, l2, linf, samples, .. } = golden.grad;
    let norm = |p: f64| {
        gradient
            .flatten(0, -1)
            .to_kind(Kind::Double)
            .norm_scalaropt_dim(p, [0i64], false)
            .double_value(&[])
    };
    let norms: f64 = [(1.0, l1), (2.0, l2), (f64::INFINITY, linf)]
        .map(|(p, expected)| (norm(p) / expected - 1.0).abs())
        .into_iter()
        .fold(0.0, f64::max);
    let sample = samples
        .iter()
        .map(|&(h, w, c, v)| (gradient.double_value(&[c, h, w]) - v).abs() / linf)
        .fold(0.0, f64::max);

    println!(
        "{name}: logits {deviation:.1e} of their standard deviation, gradient norms {norms:.1e}, \
         samples {sample:.1e} of l∞"
    );
    assert!(
        deviation < 1e-4,
        "{name}: logits differ by {deviation:.1e} of their standard deviation"
    );
    assert!(norms < 1e-2, "{name}: norms of the gradient differ by {norms:.1e}");
    assert!(sample < 2e-2, "{name}: the gradient differs by {sample:.1e} of its l∞ norm");
}

#[test]
fn alexnet() {
    check("alexnet", 61.0);
}

#[test]
fn vgg_16() {
    check("vgg_16", 138.4);
}

#[test]
fn vgg_19() {
    check("vgg_19", 143.7);
}

#[test]
fn mobilenet_v1_025() {
    check("mobilenet_v1_025", 0.5);
}

#[test]
fn mobilenet_v1_050() {
    check("mobilenet_v1_050", 1.3);
}

#[test]
fn mobilenet_v1_100() {
    check("mobilenet_v1_100", 4.2);
}

#[test]
fn resnet_v2_50() {
    check("resnet_v2_50", 25.6);
}

#[test]
fn resnet_v2_101() {
    check("resnet_v2_101", 44.7);
}

#[test]
fn resnet_v2_152() {
    check("resnet_v2_152", 60.4);
}

#[test]
fn inception_v1() {
    check("inception_v1", 6.6);
}

#[test]
fn inception_v2() {
    check("inception_v2", 11.2);
}

#[test]
fn inception_v3() {
    check("inception_v3", 23.9);
}

#[test]
fn inception_v4() {
    check("inception_v4", 42.7);
}

#[test]
fn inception_resnet_v2() {
    check("inception_resnet_v2", 55.9);
}

#[test]
fn densenet121_k32() {
    check("densenet121_k32", 8.1);
}

#[test]
fn densenet169_k32() {
    check("densenet169_k32", 14.3);
}

#[test]
fn densenet161_k48() {
    check("densenet161_k48", 28.9);
}

#[test]
fn nasnet_large() {
    check("nasnet_large", 88.9);
}

//! Weights under the names of timm and torchvision. Networks that fit give the logits of these
//! libraries, which `fixtures/pytorch` holds; the others say why they do not fit.

use gauntlet_core::params::parse;
use gauntlet_core::registry::Registry;
use gauntlet_core::weights::{Misfit, PyTorch, Read, Role, Source, Weights};
use gauntlet_plugins as _;
use gauntlet_tests::golden;
use serde::Deserialize;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

#[derive(Deserialize)]
struct Expected {
    library: String,
    side: i64,
    gain: f64,
    /// Number of tensors of the library's network.
    tensors: usize,
    /// Number of values in them.
    values: i64,
    /// Standard deviation of all logits.
    deviation: f64,
    /// The first logits.
    logits: Vec<f64>,
}

/// The variables of TensorFlow's network: name, shape, kind.
#[derive(Deserialize)]
struct Reference {
    variables: Vec<(String, Vec<i64>, String)>,
}

fn expected() -> BTreeMap<String, Expected> {
    serde_json::from_str(include_str!("../fixtures/pytorch/logits.json")).unwrap()
}

/// A source of weights by the formula in PyTorch's names and layouts.
struct Theirs {
    gain: f64,
    names: Vec<String>,
}

impl Source for Theirs {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        // torchvision stores these layers as matrices.
        if name.starts_with("classifier.") && shape.len() == 4 {
            return Err(Misfit::Misshapen {
                found: vec![shape[0], shape[1..].iter().product()],
                expected: shape.to_vec(),
            });
        }
        // The formula's fan-in is all but the last axis of TensorFlow's layouts.
        let layout = match role {
            Role::Kernel => vec![shape[1..].iter().product(), shape[0]],
            Role::Depthwise => vec![shape[2], shape[3], shape[0], 1],
            _ => shape.to_vec(),
        };
        Ok(Tensor::from_slice(&golden::values(name, &layout, role, self.gain)).view(shape))
    }

    fn names(&self) -> Vec<String> {
        self.names.clone()
    }
}

fn check(name: &str) {
    let Expected { library, side, gain, tensors, values, deviation, logits } =
        expected().remove(name).unwrap();
    let registry = Registry::linked().unwrap();
    let entry = registry.find_model(name).unwrap();
    let Some(PyTorch::Fits { library: own, rename, .. }) = entry.pytorch else {
        panic!("{name} fits")
    };
    assert_eq!(own, library);
    let reference: Reference = golden::read(&format!("networks/{name}.json"));
    let names: Vec<String> =
        reference.variables.iter().map(|(name, ..)| rename(name).expect(name)).collect();
    let counts = Rc::new(Cell::new((0, 0)));
    let counting = Rc::clone(&counts);
    let weights = Weights::new(Theirs { gain, names }, Device::Cpu).observed(move |read| {
        if let Read::Tensor(_, tensor) = read {
            counting.set((counting.get().0 + 1, counting.get().1 + tensor.numel() as i64));
        }
    });
    let model =
        entry.load(&parse(&format!("classes = 1000\nside = {side}")).unwrap(), weights).unwrap();
    assert_eq!(counts.get(), (tensors, values), "{name}: tensors and numbers");
    let found = model.logits(&golden::network_images(side).narrow(0, 0, 1)).view([-1]).narrow(
        0,
        0,
        logits.len() as i64,
    );
    let distance =
        (found.to_kind(Kind::Double) - Tensor::from_slice(&logits)).abs().max().double_value(&[])
            / deviation;
    println!("{name} against {library}: {distance:.1e} of the standard deviation");
    assert!(
        distance < 1e-4,
        "{name}: logits differ by {distance:.1e} of their standard deviation from {library}"
    );
}

/// Weights of a library's network under other names.
struct Respelled {
    /// The library's own name of each.
    names: BTreeMap<String, String>,
    theirs: Theirs,
}

impl Source for Respelled {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let own = self.names.get(name).ok_or(Misfit::Missing)?;
        if name.contains("pre_logits.") && role == Role::Kernel {
            // timm has a convolution where torchvision has a matrix; its numbers are the same.
            let flat = [shape[0], shape[1..].iter().product()];
            return self.theirs.tensor(own, &flat, role).map(|matrix| matrix.view(shape));
        }
        self.theirs.tensor(own, shape, role)
    }

    fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }
}

#[test]
fn names_that_files_spell_otherwise_are_read() {
    let registry = Registry::linked().unwrap();
    let wrappers = ["module.", "model.", "_orig_mod.", "state_dict.module.", "state_dict/"];
    let dense = [
        (".norm1.", ".norm.1."),
        (".norm2.", ".norm.2."),
        (".conv1.", ".conv.1."),
        (".conv2.", ".conv.2."),
    ];
    let timm = [
        ("classifier.0", "pre_logits.fc1"),
        ("classifier.3", "pre_logits.fc2"),
        ("classifier.6", "head.fc"),
    ];
    for (name, spellings) in [("vgg_16", &timm[..]), ("densenet121_k32", &dense)] {
        let entry = registry.find_model(name).unwrap();
        let Some(PyTorch::Fits { rename, .. }) = entry.pytorch else { panic!("{name} fits") };
        let reference: Reference = golden::read(&format!("networks/{name}.json"));
        let own: Vec<String> =
            reference.variables.iter().map(|(name, ..)| rename(name).expect(name)).collect();
        let logits = |spell: &dyn Fn(&str) -> String| {
            let names = own.iter().map(|own| (spell(own), own.clone())).collect();
            let theirs = Theirs { gain: 1.0, names: Vec::new() };
            let weights = Weights::new(Respelled { names, theirs }, Device::Cpu);
            let small = "classes = 10\nside = 80\nchannels = 0.125";
            let model = entry.load(&parse(small).unwrap(), weights).unwrap();
            model.logits(&golden::network_images(80))
        };
        let expected = logits(&str::to_owned);
        let found = logits(&|own| {
            spellings.iter().fold(own.to_owned(), |name, (a, b)| name.replacen(a, b, 1))
        });
        assert_eq!(found, expected, "{name}: {spellings:?}");
        for scope in wrappers {
            assert_eq!(logits(&|own| format!("{scope}{own}")), expected, "{name}: {scope}");
        }
    }
}

#[test]
fn vgg() {
    check("vgg_16");
    check("vgg_19");
}

#[test]
fn densenet() {
    check("densenet121_k32");
    check("densenet161_k48");
    check("densenet169_k32");
}

#[test]
fn inception_v3() {
    check("inception_v3");
}

#[test]
fn inception_v4() {
    check("inception_v4");
}

#[test]
fn inception_resnet_v2() {
    check("inception_resnet_v2");
}

#[test]
fn nasnet_large() {
    check("nasnet_large");
}

#[test]
fn every_other_network_says_why_theirs_does_not_fit() {
    let registry = Registry::linked().unwrap();
    let known = expected();
    let theirs =
        || Weights::new(Theirs { gain: 1.0, names: vec!["features.0.weight".into()] }, Device::Cpu);
    for entry in registry.models().filter(|entry| {
        !entry.entry.name.starts_with("mini_") && !known.contains_key(&entry.entry.name)
    }) {
        let error = format!("{:#}", entry.load(&entry.entry.defaults, theirs()).err().unwrap());
        assert!(
            error.contains("these are weights in PyTorch's names")
                && error.contains("their network is another: "),
            "{error}"
        );
    }
    assert_eq!(known.len() + 9, 18);
}

//! The miniatures with their embedded weights, on the embedded images.

use gauntlet_core::registry::Registry;
use gauntlet_plugins as _;
use std::path::Path;
use tch::{Device, Kind, Tensor};
use toml::Table;

/// How many of the 1,000 images each miniature classifies correctly (see `plugins/mini/README.md`).
const RIGHT: [(&str, i64); 18] = [
    ("mini_alexnet", 904),
    ("mini_densenet121_k32", 900),
    ("mini_densenet161_k48", 913),
    ("mini_densenet169_k32", 908),
    ("mini_inception_resnet_v2", 916),
    ("mini_inception_v1", 887),
    ("mini_inception_v2", 892),
    ("mini_inception_v3", 918),
    ("mini_inception_v4", 899),
    ("mini_mobilenet_v1_025", 918),
    ("mini_mobilenet_v1_050", 904),
    ("mini_mobilenet_v1_100", 916),
    ("mini_nasnet_large", 893),
    ("mini_resnet_v2_101", 903),
    ("mini_resnet_v2_152", 893),
    ("mini_resnet_v2_50", 917),
    ("mini_vgg_16", 907),
    ("mini_vgg_19", 913),
];
/// Images on which another processor may answer otherwise, since their top classes almost tie.
const TIES: i64 = 3;

/// The embedded images, 1000×3×28×28 in [0, 1], and their labels.
fn images() -> (Tensor, Tensor) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runner/data/fashion-mnist");
    let read = |name| std::fs::read(folder.join(name)).unwrap();
    let pixels =
        Tensor::from_slice(&read("images.idx")[16..]).view([1000, 1, 28, 28]).to_kind(Kind::Float)
            / 255.0;
    (
        pixels.expand([1000, 3, 28, 28], false),
        Tensor::from_slice(&read("labels.idx")[8..]).to_kind(Kind::Int64),
    )
}

#[test]
fn minis_work_from_the_registry_alone() {
    let registry = Registry::linked().unwrap();
    let (pixels, labels) = images();
    let minis: Vec<&str> = registry
        .models()
        .map(|m| m.entry.name.as_str())
        .filter(|name| name.starts_with("mini_"))
        .collect();
    assert_eq!(minis, RIGHT.map(|(name, _)| name));
    for (name, expected) in RIGHT {
        let model =
            registry.find_model(name).unwrap().load_embedded(&Table::new(), Device::Cpu).unwrap();
        let answers = tch::no_grad(|| {
            let logits: Vec<Tensor> =
                pixels.split(250, 0).iter().map(|batch| model.logits(batch)).collect();
            Tensor::cat(&logits, 0).argmax(1, false)
        });
        let right = answers.eq_tensor(&labels).sum(Kind::Int64).int64_value(&[]);
        println!("{name}: {right} of 1000");
        assert!(right >= 860, "{name}: {right} of 1000 right");
        assert!(
            (right - expected).abs() <= TIES,
            "{name}: {right} of 1000 right, expected {expected}"
        );
    }
}

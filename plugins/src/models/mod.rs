//! The networks, a file per family.

mod alexnet;
mod densenet;
mod inception;
mod inception_resnet_v2;
mod inception_v1;
mod inception_v2;
mod inception_v3;
mod inception_v4;
mod mini;
mod mobilenet_v1;
mod nasnet;
mod resnet_v2;
mod vgg;

pub use alexnet::{AlexNet, AlexNetParams};
pub use densenet::DenseNet;
pub use inception::Inception;
pub use inception_resnet_v2::InceptionResNetV2;
pub use inception_v1::InceptionV1;
pub use inception_v2::InceptionV2;
pub use inception_v3::InceptionV3;
pub use inception_v4::InceptionV4;
pub use mini::Mini;
pub use mobilenet_v1::MobileNetV1;
pub use nasnet::NasNetLarge;
pub use resnet_v2::ResNetV2;
pub use vgg::Vgg;

use gauntlet_core::model::ModelCard;
use gauntlet_core::prelude::*;

/// Smallest side of networks that halve their input five times, with padding.
const HALVED_FIVE_TIMES: i64 = 32;

params! {
    /// What can be chosen when a network is built. The defaults are those of the published weights.
    pub struct Shape<const CLASSES: i64, const SIDE: i64> {
        /// Number of logits, 2 to 1048576. With 1001, the first is a background class, as in the
        /// 2018 study.
        pub classes: i64 = CLASSES,
        /// Height and width of the pixels, from the network's smallest (32 or more) to 4096.
        pub side: i64 = SIDE,
        /// Multiplier of the channels of every layer, above 0; no layer gets less than 8.
        pub channels: f64 = 1.0,
    }
}

impl<const CLASSES: i64, const SIDE: i64> Shape<CLASSES, SIDE> {
    /// Checks the ranges; the side is at least `smallest`.
    ///
    /// # Errors
    /// Says which value is out of range, and what the range is.
    fn check(&self, smallest: i64) -> Result<()> {
        ensure!(
            (2..=1 << 20).contains(&self.classes),
            "`classes` is {}, expected 2 to 1048576",
            self.classes
        );
        ensure!(
            self.side >= smallest && self.side <= 4096,
            "`side` is {}, expected {smallest} to 4096",
            self.side
        );
        ensure!(
            self.channels > 0.0 && self.channels <= 16.0,
            "`channels` is {}, expected above 0 and up to 16",
            self.channels
        );
        Ok(())
    }

    /// The card of a network of this shape. Accuracies stand on it for the default shape alone,
    /// which they were published for.
    fn card(&self, published: &Published) -> ModelCard {
        let as_published = *self == Self::default();
        ModelCard {
            name: published.name.into(),
            family: published.family.into(),
            side: self.side,
            classes: self.classes,
            label_offset: i64::from(self.classes == 1001),
            top1: published.top1.filter(|_| as_published),
            top5: published.top5.filter(|_| as_published),
            depth: published.depth,
            source: published.source.into(),
            ..ModelCard::default()
        }
    }
}

/// PyTorch's name of a tensor within a layer.
fn pytorch_leaf(name: &str) -> Option<&'static str> {
    Some(match name {
        "weights" | "gamma" => "weight",
        "biases" | "beta" => "bias",
        "moving_mean" => "running_mean",
        "moving_variance" => "running_var",
        _ => return None,
    })
}

/// What is known of a network's published weights.
pub struct Published {
    name: &'static str,
    family: &'static str,
    /// Top-1 accuracy, per cent.
    top1: Option<f64>,
    /// Top-5 accuracy, per cent.
    top5: Option<f64>,
    /// Layers, of networks that come in several depths.
    depth: Option<u32>,
    source: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::tests::{Waves, WavesInTraining, distance, pixels};
    use gauntlet_core::params::parse;
    use gauntlet_core::registry::Registry;
    use gauntlet_core::weights::Source;
    use tch::Device;

    /// Name, family, top-1 and top-5 as published, smallest side.
    const NETWORKS: [(&str, &str, f64, Option<f64>, i64); 18] = [
        ("alexnet", "AlexNet", 56.9, Some(80.1), 67),
        ("vgg_16", "VGG", 71.5, Some(89.8), 32),
        ("vgg_19", "VGG", 71.1, Some(89.8), 32),
        ("inception_v1", "Inception", 69.8, Some(89.6), 32),
        ("inception_v2", "Inception", 73.9, Some(91.8), 32),
        ("inception_v3", "Inception", 78.0, Some(93.9), 75),
        ("inception_v4", "Inception", 80.2, Some(95.2), 75),
        ("inception_resnet_v2", "Inception", 80.4, Some(95.3), 75),
        ("mobilenet_v1_025", "MobileNet", 49.8, None, 32),
        ("mobilenet_v1_050", "MobileNet", 63.3, None, 32),
        ("mobilenet_v1_100", "MobileNet", 70.9, Some(89.9), 32),
        ("resnet_v2_50", "ResNet-v2", 75.6, Some(92.8), 32),
        ("resnet_v2_101", "ResNet-v2", 77.0, Some(93.7), 32),
        ("resnet_v2_152", "ResNet-v2", 77.8, Some(94.1), 32),
        ("densenet121_k32", "DenseNet", 74.9, Some(92.2), 32),
        ("densenet169_k32", "DenseNet", 76.1, Some(93.1), 32),
        ("densenet161_k48", "DenseNet", 77.6, Some(93.8), 32),
        ("nasnet_large", "NASNet", 82.7, Some(96.2), 32),
    ];

    fn load(name: &str, parameters: &str, source: impl Source + 'static) -> Result<Box<dyn Model>> {
        let registry = Registry::linked()?;
        registry.find_model(name)?.load(&parse(parameters)?, Weights::new(source, Device::Cpu))
    }

    fn refusal(name: &str, parameters: &str) -> String {
        format!("{:#}", load(name, parameters, Waves).err().unwrap())
    }

    #[test]
    fn any_side_class_count_and_width_will_do() {
        for (name, _, _, _, smallest) in NETWORKS {
            for (classes, side, channels) in
                [(7, smallest, 0.125), (10, smallest + 33, 0.2), (1001, smallest + 16, 0.3)]
            {
                let model = load(
                    name,
                    &format!("classes = {classes}\nside = {side}\nchannels = {channels}"),
                    Waves,
                )
                .unwrap();
                let card = model.card();
                assert_eq!(
                    (card.classes, card.side, card.label_offset),
                    (classes, side, i64::from(classes == 1001))
                );
                assert_eq!(card.top1, None, "what was published holds for the published shape");
                let pixels = pixels(2, side).set_requires_grad(true);
                let logits = model.logits(&pixels);
                assert_eq!(logits.size(), [2, classes], "{name}, side {side}");
                let gradient =
                    Tensor::run_backward(&[logits.sum(Kind::Float)], &[&pixels], false, false)
                        .remove(0);
                assert!(
                    gradient.abs().sum(Kind::Float).double_value(&[]) > 0.0,
                    "{name}: no gradient"
                );
                assert_eq!(logits.isfinite().all().int64_value(&[]), 1, "{name}");
            }
        }
    }

    #[test]
    fn an_answer_does_not_depend_on_neighbours() {
        for (name, _, _, _, smallest) in NETWORKS {
            let side = smallest + 8;
            let model = load(name, &format!("classes = 9\nside = {side}\nchannels = 0.125"), Waves)
                .unwrap();
            let pixels = pixels(3, side);
            let together = model.logits(&pixels);
            for n in 0..3 {
                let alone = model.logits(&pixels.narrow(0, n, 1));
                let distance = distance(&together.narrow(0, n, 1), &alone);
                assert!(distance < 1e-5, "{name}, image {n}: {distance:.1e}");
            }
        }
    }

    #[test]
    fn in_training_the_same_code_uses_the_batch_s_statistics() {
        for (name, side, same) in [
            ("vgg_16", 33, true),
            ("inception_v1", 33, false),
            ("inception_resnet_v2", 76, false),
            ("mobilenet_v1_025", 33, false),
            ("resnet_v2_50", 33, false),
        ] {
            let pixels = pixels(4, side);
            let shape = format!("classes = 9\nside = {side}\nchannels = 0.125");
            let [frozen, training] =
                [load(name, &shape, Waves), load(name, &shape, WavesInTraining)]
                    .map(|m| m.unwrap().logits(&pixels));
            assert_eq!(distance(&frozen, &training) < 1e-5, same, "{name}");
        }
    }

    #[test]
    fn wrong_parameters_are_refused_with_what_is_expected() {
        for (name, _, _, _, smallest) in NETWORKS {
            assert!(
                refusal(name, "classes = 1").ends_with("`classes` is 1, expected 2 to 1048576")
            );
            let side = smallest - 1;
            assert!(
                refusal(name, &format!("side = {side}"))
                    .ends_with(&format!("`side` is {side}, expected {smallest} to 4096"))
            );
            assert!(
                refusal(name, "channels = 0")
                    .ends_with("`channels` is 0, expected above 0 and up to 16")
            );
            assert!(
                refusal(name, "channels = nan")
                    .ends_with("`channels` is NaN, expected above 0 and up to 16")
            );
            assert!(
                refusal(name, "size = 80")
                    .contains("unknown parameter `size`, did you mean `side`?")
            );
        }
        assert!(refusal("mini_vgg_16", "side = 80").contains("unknown parameter `side`"));
    }

    #[test]
    fn cards_hold_what_was_published() {
        let registry = Registry::linked().unwrap();
        for (name, family, top1, top5, _) in NETWORKS {
            let card = registry.find_model(name).unwrap().card(&parse("").unwrap()).unwrap();
            assert_eq!(
                (card.family.as_str(), card.top1, card.top5),
                (family, Some(top1), top5),
                "{name}"
            );
            // Class 0 of the other families is none of ImageNet's.
            let background = i64::from(!matches!(family, "AlexNet" | "VGG" | "DenseNet"));
            assert_eq!(
                (card.classes, card.label_offset),
                (1000 + background, background),
                "{name}"
            );
        }
    }

    #[test]
    fn minis_are_of_their_network_s_family() {
        let registry = Registry::linked().unwrap();
        for mini in registry.models().filter(|m| m.entry.name.starts_with("mini_")) {
            let card = mini.card(&parse("").unwrap()).unwrap();
            let whole = registry
                .find_model(card.name.trim_start_matches("mini_"))
                .unwrap()
                .card(&parse("").unwrap())
                .unwrap();
            assert_eq!(
                (&card.family, card.side, card.classes, card.label_offset),
                (&whole.family, 28, 10, 0)
            );
            assert!(card.top1.unwrap() >= 88.0, "{}", card.name);
        }
    }
}

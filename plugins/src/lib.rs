//! Gauntlet's built-in networks, attacks and metrics, written as a third party would write them:
//! against `gauntlet-core` alone, and named once, in an `export_plugin!`.
//!
//! ```text
//!                       export_plugin!
//!        ┌─────────────────────┼────────────────────┐
//!     models                attacks              metrics
//!     a file per family,    a file per attack    norms, SSIM, CLEVER
//!     and `mini`            │                    │
//!        │                  penalty: search      weibull: fit of
//!        nn                 over c; adam;        CLEVER's maxima
//!        layers as          objective
//!        TensorFlow has them
//!        └─────────────────────┼────────────────────┘
//!                        gauntlet-core
//!          Model, Attack, Metric, Oracle, lanes, weights
//! ```
//!
//! - [`models`]: the 18 networks of the ECCV 2018 study, and their miniatures with weights that are
//!   part of this crate.
//! - [`attacks`]: FGSM, I-FGSM, C&W-L2 and EAD-L1.
//! - [`metrics`]: distortions of an image, and the CLEVER score of a model.
//! - [`nn`]: the layers that the networks are made of.
//!
//! A program that links this crate finds all of them in
//! [`Registry::linked`](gauntlet_core::registry::Registry::linked), under their names:
//!
//! ```
//! use gauntlet_core::device::Device;
//! use gauntlet_core::oracle::Settings;
//! use gauntlet_core::prelude::*;
//! use gauntlet_core::registry::Registry;
//! use gauntlet_plugins::attacks::{Ifgsm, IfgsmParams};
//!
//! let registry = Registry::linked()?;
//! let network = registry.find_model("mini_mobilenet_v1_025")?;
//! let model = network.load_embedded(&network.entry.defaults, Device::Cpu)?;
//!
//! // A grey square, and the goal that the model takes it for something else.
//! let pixels = Tensor::full([1, 3, 28, 28], 0.5, (Kind::Float, Device::Cpu));
//! let class =
//!     |pixels: &Tensor| tch::no_grad(|| model.logits(pixels)).argmax(1, false).int64_value(&[0]);
//! let goal = Goal::Away(class(&pixels));
//!
//! let attack = Ifgsm::new(IfgsmParams { iterations: 10, ..IfgsmParams::default() })?;
//! let oracle = Oracle::new(&*model, vec![0], Settings::default());
//! let answers = attack.run(&oracle, &Cases::new(pixels, vec![goal])?)?;
//! let Answer::Pixels(adversarial) = &answers[0] else { bail!("nothing found") };
//! assert!(goal.met_by(class(&adversarial.unsqueeze(0))));
//! # anyhow::Ok(())
//! ```

pub mod attacks;
pub mod metrics;
pub mod models;
pub mod nn;

use attacks::{CwL2, EadL1, Fgsm, Ifgsm};
use metrics::{Clever, INFINITY, L0, L1, L2, L2PerPixel, Linf, Ssim};
use models::{
    AlexNet, DenseNet, InceptionResNetV2, InceptionV1, InceptionV2, InceptionV3, InceptionV4, Mini,
    MobileNetV1, NasNetLarge, ResNetV2, Vgg,
};

gauntlet_core::export_plugin!(
    model AlexNet,
    model Vgg<16>,
    model Vgg<19>,
    model InceptionV1,
    model InceptionV2,
    model InceptionV3,
    model InceptionV4,
    model InceptionResNetV2,
    model MobileNetV1<25>,
    model MobileNetV1<50>,
    model MobileNetV1<100>,
    model ResNetV2<50>,
    model ResNetV2<101>,
    model ResNetV2<152>,
    model DenseNet<121>,
    model DenseNet<169>,
    model DenseNet<161>,
    model NasNetLarge,
    model Mini<AlexNet>,
    model Mini<Vgg<16>>,
    model Mini<Vgg<19>>,
    model Mini<InceptionV1>,
    model Mini<InceptionV2>,
    model Mini<InceptionV3>,
    model Mini<InceptionV4>,
    model Mini<InceptionResNetV2>,
    model Mini<MobileNetV1<25>>,
    model Mini<MobileNetV1<50>>,
    model Mini<MobileNetV1<100>>,
    model Mini<ResNetV2<50>>,
    model Mini<ResNetV2<101>>,
    model Mini<ResNetV2<152>>,
    model Mini<DenseNet<121>>,
    model Mini<DenseNet<169>>,
    model Mini<DenseNet<161>>,
    model Mini<NasNetLarge>,
    attack CwL2,
    attack EadL1,
    attack Fgsm,
    attack Ifgsm,
    metric Clever<1>,
    metric Clever<2>,
    metric Clever<INFINITY>,
    metric L0,
    metric L1,
    metric L2,
    metric L2PerPixel,
    metric Linf,
    metric Ssim,
);

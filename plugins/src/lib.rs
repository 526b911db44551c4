//! Gauntlet's built-in networks, attacks and metrics, written as a third party would write them.

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

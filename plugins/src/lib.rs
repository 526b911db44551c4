//! Gauntlet's built-in networks, attacks and metrics, written as a third party would write them.

pub mod models;
pub mod nn;

use models::{Mini, MobileNetV1, ResNetV2, Vgg};

gauntlet_core::export_plugin!(
    model Vgg<16>,
    model Vgg<19>,
    model MobileNetV1<25>,
    model MobileNetV1<50>,
    model MobileNetV1<100>,
    model ResNetV2<50>,
    model Mini<Vgg<16>>,
    model Mini<Vgg<19>>,
    model Mini<MobileNetV1<25>>,
    model Mini<MobileNetV1<50>>,
    model Mini<MobileNetV1<100>>,
    model Mini<ResNetV2<50>>,
);

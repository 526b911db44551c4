//! The mini zoo: the networks at one eighth of their channels, for Fashion-MNIST, small enough to
//! be part of the program. Weights, accuracies and how they were trained: `mini/README.md` of this
//! crate.
//!
//! The network is the family's own code. What is added here enlarges 28×28 pixels to a side of
//! which something is left after the network has halved it five times. Fashion-MNIST is grey: a
//! miniature may take one channel, which stands for three.

use super::{
    AlexNet, DenseNet, InceptionResNetV2, InceptionV1, InceptionV2, InceptionV3, InceptionV4,
    MobileNetV1, NasNetLarge, ResNetV2, Shape, Vgg,
};
use gauntlet_core::prelude::*;
use tch::Device;

/// Side of Fashion-MNIST's images.
const SIDE: i64 = 28;
const CLASSES: i64 = 10;
const CHANNELS: f64 = 0.125;

/// A network that has a miniature.
pub trait Miniature: Architecture {
    /// The miniature's registered name.
    const MINI: &'static str;
    /// Height and width that pixels are enlarged to.
    const ENLARGED: i64;
    /// Accuracy on the 10,000 test images, per cent.
    const TOP1: f64;
    /// Weights, a safetensors file.
    const WEIGHTS: &'static [u8];

    /// The network's parameters: that side, one eighth of the channels, ten classes.
    fn params() -> Self::Params;
}

macro_rules! miniature {
    ($network:ty, $name:literal, enlarged $enlarged:literal, top1 $top1:literal) => {
        impl Miniature for $network {
            const MINI: &'static str = $name;
            const ENLARGED: i64 = $enlarged;
            const TOP1: f64 = $top1;
            const WEIGHTS: &'static [u8] =
                include_bytes!(concat!("../../mini/", $name, ".safetensors"));

            fn params() -> Self::Params {
                Shape { classes: CLASSES, side: $enlarged, channels: CHANNELS }.into()
            }
        }
    };
}

miniature!(AlexNet, "mini_alexnet", enlarged 67, top1 88.68);
miniature!(Vgg<16>, "mini_vgg_16", enlarged 32, top1 90.22);
miniature!(Vgg<19>, "mini_vgg_19", enlarged 32, top1 89.68);
miniature!(InceptionV1, "mini_inception_v1", enlarged 32, top1 89.39);
miniature!(InceptionV2, "mini_inception_v2", enlarged 32, top1 89.25);
miniature!(InceptionV3, "mini_inception_v3", enlarged 75, top1 90.47);
miniature!(InceptionV4, "mini_inception_v4", enlarged 75, top1 89.49);
miniature!(InceptionResNetV2, "mini_inception_resnet_v2", enlarged 75, top1 91.35);
miniature!(ResNetV2<50>, "mini_resnet_v2_50", enlarged 64, top1 90.73);
miniature!(ResNetV2<101>, "mini_resnet_v2_101", enlarged 32, top1 88.55);
miniature!(ResNetV2<152>, "mini_resnet_v2_152", enlarged 32, top1 88.82);
miniature!(MobileNetV1<25>, "mini_mobilenet_v1_025", enlarged 64, top1 90.82);
miniature!(MobileNetV1<50>, "mini_mobilenet_v1_050", enlarged 64, top1 90.38);
miniature!(MobileNetV1<100>, "mini_mobilenet_v1_100", enlarged 64, top1 91.76);
miniature!(DenseNet<121>, "mini_densenet121_k32", enlarged 32, top1 89.83);
miniature!(DenseNet<169>, "mini_densenet169_k32", enlarged 32, top1 89.90);
miniature!(DenseNet<161>, "mini_densenet161_k48", enlarged 32, top1 90.26);
miniature!(NasNetLarge, "mini_nasnet_large", enlarged 32, top1 88.25);

params! {
    /// The images that a miniature takes.
    pub struct MiniParams {
        /// 3 for RGB; 1 for grey, which the network is given as three equal channels.
        pub channels: i64 = 3,
        /// Height in pixels.
        pub height: i64 = SIDE,
        /// Width in pixels.
        pub width: i64 = SIDE,
    }
}

/// The miniature of `A`.
pub struct Mini<A> {
    card: ModelCard,
    network: A,
    /// Rows of an image → rows of the enlarged image.
    down: Tensor,
    /// Columns of an image → columns of the enlarged image.
    across: Tensor,
}

/// The matrix of bilinear enlarging along one axis, `to`×`from`: its columns are the enlarged unit
/// vectors. Two products with it take half the time of libtorch's own operation.
fn enlarging(from: i64, to: i64, device: Device) -> Tensor {
    Tensor::eye(from, (Kind::Float, device))
        .view([1, 1, from, from])
        .upsample_bilinear2d([to, from], false, None, None)
        .view([to, from])
}

impl<A: Miniature> Model for Mini<A> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let enlarged = self.down.matmul(&pixels.matmul(&self.across.tr()));
        let [_, _, height, width] = ImageShape::rgb(A::ENLARGED).batch(1);
        self.network.logits(&enlarged.expand([-1, 3, height, width], false))
    }
}

impl<A: Miniature> Architecture for Mini<A> {
    const NAME: &'static str = A::MINI;
    type Params = MiniParams;

    fn describe(params: &MiniParams) -> ModelCard {
        let &MiniParams { channels, height, width } = params;
        let card = ModelCard {
            name: A::MINI.into(),
            family: A::describe(&A::params()).family,
            classes: CLASSES,
            top1: Some(A::TOP1),
            depth: A::describe(&A::params()).depth,
            source: format!("{} at one eighth of its channels, trained on Fashion-MNIST", A::NAME),
            ..ModelCard::default()
        };
        card.with_shape(ImageShape { channels, height, width })
    }

    fn load(params: MiniParams, weights: &Weights) -> Result<Self> {
        let enlarging = |from: i64| enlarging(from, A::ENLARGED, weights.device());
        Ok(Self {
            card: Self::describe(&params),
            network: A::load(A::params(), weights)?,
            down: enlarging(params.height),
            across: enlarging(params.width),
        })
    }

    fn embedded_weights() -> Option<&'static [u8]> {
        Some(A::WEIGHTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::tests::{distance, pixels};

    #[test]
    fn enlarging_by_products_is_bilinear() {
        let x = pixels(2, SIDE);
        for side in [28, 32, 67, 75] {
            let matrix = enlarging(SIDE, side, Device::Cpu);
            let expected = x.upsample_bilinear2d([side; 2], false, None, None);
            assert!(distance(&matrix.matmul(&x.matmul(&matrix.tr())), &expected) < 1e-6, "{side}");
        }
    }

    #[test]
    fn grey_images_and_those_that_are_not_square_have_the_logits_of_what_they_stand_for() {
        let model = |params: MiniParams| {
            let weights = Weights::from_bytes(Vgg::<16>::WEIGHTS, Device::Cpu).unwrap();
            Mini::<Vgg<16>>::load(params, &weights).unwrap()
        };
        let grey = pixels(2, SIDE).narrow(1, 0, 1);
        let rgb = grey.repeat([1, 3, 1, 1]);
        let expected = model(MiniParams::default()).logits(&rgb);
        let found = model(MiniParams { channels: 1, ..MiniParams::default() }).logits(&grey);
        assert_eq!(found, expected);
        let wide = rgb.upsample_bilinear2d([32, 32], false, None, None).narrow(2, 0, 28);
        let wide = model(MiniParams { width: 32, ..MiniParams::default() }).logits(&wide);
        assert!(wide.size() == [2, CLASSES] && distance(&wide, &expected) > 0.0);
        let card = Mini::<Vgg<16>>::describe(&MiniParams { width: 32, ..MiniParams::default() });
        assert_eq!((card.shape().height, card.shape().width), (28, 32));
    }
}

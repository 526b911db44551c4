//! Layers as TensorFlow defines them, for networks whose weights are frozen.
//!
//! A layer is first described (`Conv { … }`) and then loaded from its place in the name tree
//! (`.load(&scope)`), which asks for every tensor by its TF-Slim name and shape. Activations are
//! N×C×H×W tensors whose memory runs N, H, W, C ([`channels_last`]), since convolutions are fastest
//! in that layout.
//! Batch norm is folded into the convolution before it, unless the weights are in training
//! ([`Source::training`](gauntlet_core::weights::Source::training)).

mod conv;
mod dense;
mod frozen;
mod lrn;
mod norm;
mod padding;
mod pool;
mod preprocess;

pub use conv::{Activation, Connection, Conv, Convolution, Ending};
pub use dense::Dense;
pub use frozen::{Pool, check_input, check_operations};
pub use lrn::LocalResponse;
pub use norm::{BatchNorm, Normalization};
pub use padding::{Padding, same};
pub use pool::{
    average_pool_same, average_pool_same_counting, average_pool_valid, global_mean,
    max_pool_around, max_pool_same, max_pool_valid,
};
pub use preprocess::{VGG_MEANS, minus_one_to_one, subtract_means, torchvision};

use tch::Tensor;

/// The same N×C×H×W values with memory running N, H, W, C. Costs nothing where it already does.
pub fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// Channels of a layer that has `channels` of them at multiplier 1: TF-Slim's rule for MobileNet,
/// the product rounded down and at least 8.
pub fn depth(channels: i64, multiplier: f64) -> i64 {
    ((channels as f64 * multiplier) as i64).max(8)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use gauntlet_core::weights::{Misfit, Role, Source};
    use tch::{Device, Kind};

    /// Weights that differ from place to place, of a size that keeps signals alive in deep
    /// networks.
    pub(crate) struct Waves;

    impl Source for Waves {
        fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
            let count: i64 = shape.iter().product();
            let phase = name.bytes().map(f64::from).sum::<f64>();
            let wave =
                (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 1.7 + phase).sin().view(shape);
            Ok(match role {
                Role::Kernel => wave * 2.0 * (shape[shape.len() - 1] as f64 / count as f64).sqrt(),
                Role::Depthwise | Role::Bias | Role::Beta | Role::Mean => wave * 0.3,
                Role::Gamma | Role::Variance => wave * 0.2 + 1,
            })
        }
    }

    /// The same as if in training.
    pub(crate) struct WavesInTraining;

    impl Source for WavesInTraining {
        fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
            Waves.tensor(name, shape, role)
        }

        fn training(&self) -> bool {
            true
        }
    }

    /// N×C×H×W within [0, 1], each image different.
    pub(crate) fn pixels(count: i64, side: i64) -> Tensor {
        let grid = Tensor::arange(count * 3 * side * side, (Kind::Float, Device::Cpu));
        ((grid * 0.37).sin() * 0.5 + 0.5).view([count, 3, side, side])
    }

    /// Greatest difference relative to the greatest value of `b`.
    pub(crate) fn distance(a: &Tensor, b: &Tensor) -> f64 {
        ((a - b).abs().max() / b.abs().max()).double_value(&[])
    }

    #[test]
    fn channels_last_changes_memory_alone() {
        let x = Tensor::arange(48, (Kind::Float, Device::Cpu)).view([2, 2, 3, 4]);
        let y = channels_last(&x);
        assert_eq!(y, x);
        assert_eq!(y.stride(), [24, 1, 8, 2]);
        assert_eq!(channels_last(&y).data_ptr(), y.data_ptr());
    }

    #[test]
    fn depth_rounds_down_to_at_least_eight() {
        assert_eq!(
            [(32, 0.25), (64, 1.0), (512, 0.03125), (1024, 0.03125), (1000, 0.0999)]
                .map(|(d, m)| depth(d, m)),
            [8, 64, 16, 32, 99]
        );
    }
}

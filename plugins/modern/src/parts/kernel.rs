//! Kernels that smooth a gradient. Dong et al., "Evading Defenses to Transferable Adversarial
//! Examples by Translation-Invariant Attacks", CVPR 2019, section 3.3.

use gauntlet_core::choices;
use gauntlet_core::prelude::{Kind, Tensor};

choices! {
    /// How a kernel weighs the shifts of an image.
    pub enum Kernel {
        /// A Gaussian that ends at three standard deviations.
        Gaussian,
        /// All alike.
        Uniform,
        /// Less with the distance, linearly.
        Linear,
    }
}

impl Kernel {
    /// The kernel, `size`×`size` with the sum 1; `size` is odd.
    pub fn weights(self, size: i64) -> Tensor {
        let half = (size - 1) as f64 / 2.0;
        let weight = |n: i64| {
            let place = n as f64 - half;
            match self {
                Self::Gaussian => (-(place * 3.0 / half.max(1.0)).powi(2) / 2.0).exp(),
                Self::Uniform => 1.0,
                Self::Linear => 1.0 - place.abs() / (size * size) as f64,
            }
        };
        let line = Tensor::from_slice(&(0..size).map(weight).collect::<Vec<f64>>());
        let kernel = line.outer(&line);
        (&kernel / kernel.sum(Kind::Double)).to_kind(Kind::Float)
    }

    /// Each channel of a gradient (M×C×H×W) smoothed, with zeros around it.
    pub fn smooth(self, gradient: &Tensor, size: i64) -> Tensor {
        let weights = self.weights(size).to_device(gradient.device());
        let channels = gradient.size()[1];
        let weights = weights.expand([channels, 1, size, size], false);
        let around = size / 2;
        gradient.conv2d(&weights, None::<Tensor>, [1, 1], [around; 2], [1, 1], channels)
    }
}

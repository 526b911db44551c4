//! Local response normalization.

use tch::{Kind, Tensor};

/// x / (bias + alpha·Σx²)^beta with the sum over the channels that are at most `radius` away
/// (TensorFlow's convention; others divide the sum by the number of channels in it).
#[derive(Clone, Copy, Debug)]
pub struct LocalResponse {
    /// Channels on each side.
    pub radius: i64,
    /// Factor of the sum.
    pub alpha: f64,
    /// Exponent.
    pub beta: f64,
    /// Added to the sum.
    pub bias: f64,
}

impl LocalResponse {
    /// N×C×H×W → the same.
    pub fn forward(self, x: &Tensor) -> Tensor {
        let channels = x.size()[1];
        // The sums are a product with a band of ones, which is fast where channels come last.
        let near = Tensor::ones([channels; 2], (Kind::Float, x.device()))
            .triu(-self.radius)
            .tril(self.radius);
        let sums = x.square().permute([0, 2, 3, 1]).matmul(&near).permute([0, 3, 1, 2]);
        x * (sums * self.alpha + self.bias).pow_tensor_scalar(-self.beta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::tests::{distance, pixels};

    #[test]
    fn each_channel_is_divided_by_its_neighbours() {
        let norm = LocalResponse { radius: 2, alpha: 0.3, beta: 0.75, bias: 1.5 };
        let x = pixels(2, 4).view([2, 12, 2, 2]) - 0.4;
        let y = norm.forward(&x);
        for c in 0..12 {
            let first = (c - 2).max(0);
            let near = x.narrow(1, first, (c + 3).min(12) - first);
            let sum = near.square().sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
            let expected = x.select(1, c) / ((sum * 0.3 + 1.5).log() * 0.75).exp();
            let distance = distance(&y.select(1, c), &expected);
            assert!(distance < 1e-6, "channel {c}: {distance:.1e}");
        }
    }
}

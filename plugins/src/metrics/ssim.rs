//! Structural similarity.
//!
//! Paper: Wang, Bovik, Sheikh and Simoncelli, "Image Quality Assessment: From Error Visibility to
//! Structural Similarity", IEEE Transactions on Image Processing 13(4), 2004.
//! Reference: scikit-image's `structural_similarity` with `gaussian_weights`.
//!
//! The window is Gaussian, 11×11 with σ 1.5; K₁ is 0.01, K₂ 0.03. Positions where the window would
//! reach over the edge are left out. The score is the mean over positions and channels.

use gauntlet_core::params::NoParams;
use gauntlet_core::prelude::*;
use tch::Device;

/// The window has 2·5 + 1 positions a side.
const RADIUS: i64 = 5;
/// Standard deviation of the window, in pixels.
const SIGMA: f64 = 1.5;
/// (K₁·L)² with the dynamic range L of 1.
const C1: f64 = 0.01 * 0.01;
/// (K₂·L)² with the dynamic range L of 1.
const C2: f64 = 0.03 * 0.03;

/// Mean structural similarity of the images.
pub struct Ssim;

/// The weighted mean of every window: N×C×H×W → N×C×(H−10)×(W−10).
fn blur(images: &Tensor) -> Tensor {
    let offsets = Tensor::arange_start(-RADIUS, RADIUS + 1, (Kind::Double, Device::Cpu));
    let bell: Tensor = (offsets.square() / (-2.0 * SIGMA * SIGMA)).exp();
    let bell = (&bell / bell.sum(Kind::Double)).to_device(images.device());
    let along = |images: &Tensor, shape: [i64; 4]| {
        let channels = images.size()[1];
        let window = bell.view(shape).expand([channels, 1, shape[2], shape[3]], false);
        images.conv2d(&window, None::<Tensor>, 1, 0, 1, channels)
    };
    along(&along(images, [1, 1, -1, 1]), [1, 1, 1, -1])
}

impl Metric for Ssim {
    const NAME: &'static str = "ssim";
    const SUMMARY: &'static str = "mean structural similarity; 1 for the same image";
    const UNIT: &'static str = "similarity";
    const SCOPE: Scope = Scope::Outcome;
    const DIRECTION: Direction = Direction::LowerIsMoreRobust;
    const AT_IDENTITY: Option<f64> = Some(1.0);
    const SYMMETRIC: bool = true;
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        let (window, size) = (2 * RADIUS + 1, original.size());
        ensure!(
            size[2] >= window && size[3] >= window,
            "SSIM needs images of at least {window}×{window} pixels, found {size:?}"
        );
        let (x, y) = (original.to_kind(Kind::Double), adversarial.to_kind(Kind::Double));
        let (mx, my) = (blur(&x), blur(&y));
        let vx = blur(&x.square()) - mx.square();
        let vy = blur(&y.square()) - my.square();
        let covariance = blur(&(&x * &y)) - &mx * &my;
        let likeness = (&mx * &my * 2.0 + C1) * (covariance * 2.0 + C2);
        let size = (mx.square() + my.square() + C1) * (vx + vy + C2);
        Ok(Vec::try_from((likeness / size).flatten(1, -1).mean_dim(
            [1].as_slice(),
            false,
            Kind::Double,
        ))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use serde_json::Value;

    #[test]
    fn agrees_with_scikit_image() {
        let fixture: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/ssim.json")).unwrap();
        let side = fixture["side"].as_i64().unwrap();
        let image = |kind: i64| {
            let value = |n: i64| {
                let (c, h, w) =
                    ((n / (side * side)) as f64, (n / side % side) as f64, (n % side) as f64);
                let wave = 0.5 + 0.3 * (0.7 * h + 0.2 * c).sin() * (0.5 * w).cos();
                match kind {
                    0 => wave,
                    1 => wave + 0.1 * (1.9 * h + 2.3 * w + c).sin(),
                    2 => wave * 0.6 + 0.2,
                    _ => 1.0 - wave,
                }
            };
            Tensor::from_slice(&(0..3 * side * side).map(value).collect::<Vec<f64>>())
                .to_kind(Kind::Float)
                .view([1, 3, side, side])
        };
        let pairs = fixture["ssim"].as_array().unwrap();
        assert_eq!(pairs.len(), 3);
        for (kind, expected) in (1..).zip(pairs) {
            let found = Ssim.outcome(&image(0), &image(kind)).unwrap()[0];
            assert_relative_eq!(found, expected.as_f64().unwrap(), epsilon = 1e-6);
        }
        assert_relative_eq!(Ssim.outcome(&image(0), &image(0)).unwrap()[0], 1.0, epsilon = 1e-12);
        let swapped = Ssim.outcome(&image(1), &image(0)).unwrap()[0];
        assert_relative_eq!(swapped, pairs[0].as_f64().unwrap(), epsilon = 1e-6);
    }

    #[test]
    fn small_images_are_refused() {
        let image = Tensor::zeros([1, 3, 10, 20], (Kind::Float, Device::Cpu));
        let error = Ssim.outcome(&image, &image).unwrap_err().to_string();
        assert_eq!(error, "SSIM needs images of at least 11×11 pixels, found [1, 3, 10, 20]");
    }
}

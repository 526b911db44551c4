//! PSNR, the peak signal-to-noise ratio: 10·log₁₀(peak²/MSE), with a peak of 1.

use gauntlet_core::prelude::*;

export_plugin!(metric Psnr);

/// Peak signal-to-noise ratio of the change, in decibels.
pub struct Psnr(PsnrParams);

params! {
    /// Parameters of [`Psnr`].
    pub struct PsnrParams {
        /// The value of images that are equal, where the formula has no number, in decibels.
        pub ceiling: f64 = 100.0,
    }
}

impl Metric for Psnr {
    const NAME: &'static str = "psnr";
    const SUMMARY: &'static str = "peak signal-to-noise ratio, the higher the less visible";
    const UNIT: &'static str = "dB";
    const SCOPE: Scope = Scope::Outcome;
    // The more noise it takes, the more robust the model.
    const DIRECTION: Direction = Direction::LowerIsMoreRobust;
    const SYMMETRIC: bool = true;
    type Params = PsnrParams;

    fn new(params: PsnrParams) -> Result<Self> {
        ensure!(
            params.ceiling.is_finite() && params.ceiling > 0.0,
            "`ceiling` is {}, expected a positive number",
            params.ceiling
        );
        Ok(Self(params))
    }

    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        let change = (adversarial - original).to_kind(Kind::Double).flatten(1, -1);
        let mse = change.square().mean_dim([1i64].as_slice(), false, Kind::Double);
        Ok(Vec::try_from((mse.log10() * -10.0).clamp_max(self.0.ceiling))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_metric;

    #[test]
    fn it_conforms() {
        check_metric::<Psnr>(PsnrParams::default()).unwrap();
    }

    #[test]
    fn a_tenth_everywhere_is_20_decibels() {
        let original = Tensor::full([1, 3, 4, 4], 0.5, (Kind::Float, tch::Device::Cpu));
        let psnr = Psnr(PsnrParams::default());
        assert!((psnr.outcome(&original, &(&original + 0.1)).unwrap()[0] - 20.0).abs() < 1e-4);
        assert_eq!(psnr.outcome(&original, &original).unwrap(), [100.0]);
    }
}

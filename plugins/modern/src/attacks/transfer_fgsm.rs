//! Iterated FGSM made to transfer: momentum, a look ahead, and averages over changes of the image.
//!
//! Papers and reference (TransferAttack):
//! - momentum (MI): Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018;
//! - look-ahead and scales (NI, SI): Lin et al., "Nesterov Accelerated Gradient and Scale
//!   Invariance for Adversarial Attacks", ICLR 2020;
//! - input diversity (DI): Xie et al., "Improving Transferability of Adversarial Examples with
//!   Input Diversity", CVPR 2019;
//! - translation invariance (TI): Dong et al., "Evading Defenses to Transferable Adversarial
//!   Examples by Translation-Invariant Attacks", CVPR 2019;
//! - variance tuning (VMI, VNI): Wang and He, "Enhancing the Transferability of Adversarial Attacks
//!   through Variance Tuning", CVPR 2021.
//!
//! ```text
//! δ ← 0, m ← 0, v ← 0
//! repeat N times:
//!     g ← G(x + δ)
//!     m ← μ·m − (g + v)/mean|g + v|
//!     v ← the mean of G at neighbours of x + δ, less g
//!     δ ← δ + α·sign(m), in ℓ2 δ + α·m/‖m‖₂, clipped to the ball, and x + δ to the box
//! G(x) is the gradient of the loss, which is low where the goal is met, averaged over the scaled
//! copies D(x + α·μ·m)/2ⁱ, i < n, and smoothed by the kernel W
//! ```
//!
//! The look-ahead α·μ·m is NI's. D resizes and pads the image at random, with a probability, and
//! back to its size. A neighbour differs by uniform noise in [−β·ε, β·ε], and may leave the box.
//!
//! Deviations:
//! - A case has random numbers of its own; the published code resizes a batch alike.
//! - Where a gradient is zero the momentum stays; in the published code it becomes undefined.

use crate::parts::{Kernel, Loss, Streams, clip, unit};
use gauntlet_core::attack::{Budget, Cost, Norm};
use gauntlet_core::prelude::*;

/// Iterated FGSM made to transfer.
pub struct TransferFgsm(TransferFgsmParams);

params! {
    /// Settings of [`TransferFgsm`]: by default MI-FGSM, in the published budget.
    pub struct TransferFgsmParams {
        /// The norm of the ball: `linf` or `l2`.
        pub norm: Norm = Norm::Linf,
        /// Radius of the ball, pixels in [0, 1].
        pub epsilon: f64 = 16.0 / 255.0,
        /// Steps N.
        pub iterations: u32 = 10,
        /// Length α of a step as a multiple of ε/iterations.
        pub step: f64 = 1.0,
        /// How much of the momentum stays from step to step, μ; 0 is I-FGSM.
        pub decay: f64 = 1.0,
        /// Whether the gradient is taken ahead, where the momentum leads (NI).
        pub nesterov: bool = false,
        /// Probability with which an image is resized and padded (DI).
        pub diversity: f64 = 0.0,
        /// Side of a padded image as a multiple of the image's, 1 or more.
        pub resize: f64 = 1.1,
        /// Side of the kernel that smooths the gradient, odd (TI); 0 does not smooth it.
        pub kernel: u32 = 0,
        /// How the kernel weighs shifts.
        pub kernel_shape: Kernel = Kernel::Gaussian,
        /// Copies of the image at scales 1, 1/2, 1/4, … over which the gradient is averaged (SI).
        pub scales: u32 = 1,
        /// Neighbours at which the gradient's variance is taken (VMI, VNI); 0 takes none.
        pub neighbours: u32 = 0,
        /// Greatest difference of a neighbour's pixel, as a multiple β of ε.
        pub beta: f64 = 1.5,
        /// Whether δ starts at a random point of the ball.
        pub random_start: bool = false,
        /// What a step descends.
        pub loss: Loss = Loss::CrossEntropy,
    }
}

impl Attack for TransferFgsm {
    const NAME: &'static str = "transfer_fgsm";
    const SUMMARY: &'static str =
        "iterated FGSM made to transfer: momentum, diversity, scales, variance (2018 to 2021)";
    type Params = TransferFgsmParams;

    fn presets() -> Vec<Preset<TransferFgsmParams>> {
        let mi = TransferFgsmParams::default;
        let preset = |name, summary, params| Preset { name, summary, params };
        vec![
            preset("mi", "MI-FGSM: momentum (Dong et al. 2018)", mi()),
            preset(
                "ni",
                "NI-FGSM: momentum with a look-ahead (Lin et al. 2020)",
                TransferFgsmParams { nesterov: true, ..mi() },
            ),
            preset(
                "di",
                "DI-MI-FGSM: half of the images resized (Xie et al. 2019)",
                TransferFgsmParams { diversity: 0.5, ..mi() },
            ),
            preset(
                "ti",
                "TI-MI-FGSM: a Gaussian kernel of 15 pixels (Dong et al. 2019)",
                TransferFgsmParams { kernel: 15, ..mi() },
            ),
            preset(
                "sini",
                "SI-NI-FGSM: look-ahead and five scales (Lin et al. 2020)",
                TransferFgsmParams { nesterov: true, scales: 5, ..mi() },
            ),
            preset(
                "vmi",
                "VMI-FGSM: variance at 20 neighbours (Wang and He 2021)",
                TransferFgsmParams { neighbours: 20, ..mi() },
            ),
            preset(
                "vni_ct",
                "VNI-CT-FGSM: variance, look-ahead, diversity, a kernel of 7 pixels and five \
                 scales (Wang and He 2021)",
                TransferFgsmParams {
                    nesterov: true,
                    diversity: 0.5,
                    kernel: 7,
                    scales: 5,
                    neighbours: 20,
                    ..mi()
                },
            ),
        ]
    }

    fn new(params: TransferFgsmParams) -> Result<Self> {
        ensure!(params.norm != Norm::L1, "`norm` is L1, expected L2 or Linf");
        super::positive("epsilon", params.epsilon)?;
        super::positive("step", params.step)?;
        super::at_least_one("iterations", params.iterations)?;
        super::at_least_one("scales", params.scales)?;
        super::not_negative("decay", params.decay)?;
        super::not_negative("beta", params.beta)?;
        ensure!(
            (0.0..=1.0).contains(&params.diversity),
            "`diversity` is {}, expected 0 to 1",
            params.diversity
        );
        ensure!(
            params.resize >= 1.0 && params.resize.is_finite(),
            "`resize` is {}, expected 1 or more",
            params.resize
        );
        ensure!(
            params.kernel == 0 || !params.kernel.is_multiple_of(2),
            "`kernel` is {}, expected 0 or an odd number",
            params.kernel
        );
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: self.0.norm, radius: self.0.epsilon })
    }

    fn cost(&self, _: Goal) -> Option<Cost> {
        let TransferFgsmParams { iterations, scales, neighbours, .. } = self.0;
        Some(Cost::gradients(f64::from(iterations) * f64::from(scales) * f64::from(1 + neighbours)))
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        self.0.loss.check(oracle.card().classes, &cases.goals)?;
        let mut answers = Vec::with_capacity(cases.len());
        for batch in cases.batches(oracle.lanes()) {
            answers.extend(Answer::rows(&self.adversarials(oracle, &batch)?));
        }
        Ok(answers)
    }
}

impl TransferFgsm {
    /// The adversarials of a batch, M×C×H×W.
    fn adversarials(&self, oracle: &Oracle, batch: &Batch) -> Result<Tensor> {
        let TransferFgsmParams { norm, epsilon, iterations, decay, neighbours, beta, .. } = self.0;
        let Batch { cases, pixels: images, .. } = batch;
        let mut streams = Streams::new(oracle, cases);
        let alpha = self.alpha();
        let radius = images.new_full([cases.len() as i64], epsilon, (Kind::Float, images.device()));
        let mut momentum = images.zeros_like();
        let mut variance = images.zeros_like();
        let mut delta = images.zeros_like();
        if self.0.random_start {
            delta = (streams.in_ball(norm, images) * epsilon + images).clamp_(0.0, 1.0) - images;
        }
        for _ in 0..iterations {
            let x = images + &delta;
            let gradient = self.gradient(oracle, batch, &x, &momentum, &mut streams)?;
            let tuned = &gradient + &variance;
            let mean = tuned.abs().mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float);
            momentum = momentum * decay - tuned / mean.clamp_min(1e-30);
            if neighbours > 0 {
                variance = -gradient;
                for _ in 0..neighbours {
                    let near = &x + streams.uniform(images) * (beta * epsilon);
                    let gradient = self.gradient(oracle, batch, &near, &momentum, &mut streams)?;
                    variance += gradient / f64::from(neighbours);
                }
            }
            let direction = match norm {
                Norm::Linf => momentum.sign(),
                Norm::L1 | Norm::L2 => unit(norm, &momentum),
            };
            delta = clip(norm, &(delta + direction * alpha), &radius);
            delta = (delta + images).clamp_(0.0, 1.0) - images;
        }
        Ok(images + delta)
    }

    fn alpha(&self) -> f64 {
        self.0.step * self.0.epsilon / f64::from(self.0.iterations)
    }

    /// G at x (M×C×H×W): the gradient, averaged over scaled copies and smoothed.
    fn gradient(
        &self,
        oracle: &Oracle,
        batch: &Batch,
        x: &Tensor,
        momentum: &Tensor,
        streams: &mut Streams,
    ) -> Result<Tensor> {
        let TransferFgsmParams { decay, nesterov, diversity, kernel, scales, loss, .. } = self.0;
        let ahead = if nesterov { x + momentum * (self.alpha() * decay) } else { x.copy() };
        let mut sum = x.zeros_like();
        for scale in 0..scales {
            let part = 0.5f64.powi(scale as i32);
            let copy = &ahead * part;
            let views = (diversity > 0.0).then(|| self.views(&copy, streams));
            let seen = views.as_ref().map_or_else(|| copy.copy(), |views| view(&copy, views));
            let answer = oracle.gradient(&batch.cases, &seen, |z| loss.cost(&batch.goals, z))?;
            let gradient = match views {
                Some(views) => through_view(&copy, &views, &answer.pixels)?,
                None => answer.pixels,
            };
            sum += gradient * (part / f64::from(scales));
        }
        Ok(if kernel == 0 { sum } else { self.0.kernel_shape.smooth(&sum, i64::from(kernel)) })
    }

    /// What D does to each image: none leaves it as it is.
    fn views(&self, images: &Tensor, streams: &mut Streams) -> Vec<Option<View>> {
        let size = images.size();
        let sides = [size[2], size[3]];
        let padded = sides.map(|side| (side as f64 * self.0.resize) as i64);
        let draws: Vec<Vec<f64>> = (0..4).map(|_| streams.numbers()).collect();
        let whole = |number: f64, count: i64| (number * count as f64) as i64;
        let view = |row: usize| {
            let draw = |n: usize| draws[n][row];
            if padded == sides || draw(0) > self.0.diversity {
                return None;
            }
            let inner = [0, 1].map(|n| sides[n] + whole(draw(1), padded[n] - sides[n]));
            let [down, across] = [0, 1].map(|n| padded[n] - inner[n]);
            Some(View { padded, inner, top: whole(draw(2), down), left: whole(draw(3), across) })
        };
        (0..images.size()[0] as usize).map(view).collect()
    }
}

/// An image of height and width `inner`, at `top` and `left` of one of those of `padded`.
struct View {
    padded: [i64; 2],
    inner: [i64; 2],
    top: i64,
    left: i64,
}

/// The images (M×C×H×W) as D has them, of the same size.
fn view(images: &Tensor, views: &[Option<View>]) -> Tensor {
    let resized = |image: &Tensor, size: [i64; 2]| {
        image.upsample_bilinear2d(size, false, None::<f64>, None::<f64>)
    };
    let rows: Vec<Tensor> = images
        .split(1, 0)
        .into_iter()
        .zip(views)
        .map(|(image, view)| match view {
            None => image,
            Some(View { padded, inner, top, left }) => {
                let [down, across] = [0, 1].map(|n| padded[n] - inner[n]);
                let around = [*left, across - left, *top, down - top];
                let size = images.size();
                resized(&resized(&image, *inner).constant_pad_nd(around), [size[2], size[3]])
            }
        })
        .collect();
    Tensor::cat(&rows, 0)
}

/// The gradient at the images of what has this gradient at their views, all M×C×H×W.
fn through_view(images: &Tensor, views: &[Option<View>], gradient: &Tensor) -> Result<Tensor> {
    tch::with_grad(|| {
        let images = images.detach_copy().set_requires_grad(true);
        let product = (view(&images, views) * gradient).sum(Kind::Float);
        Ok(Tensor::f_run_backward(&[product], &[&images], false, false)?.remove(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for Preset { params, .. } in TransferFgsm::presets() {
            check_attack::<TransferFgsm>(TransferFgsmParams {
                resize: 1.5,
                neighbours: params.neighbours.min(2),
                kernel: params.kernel.min(3),
                ..params
            })
            .unwrap();
        }
        check_attack::<TransferFgsm>(TransferFgsmParams {
            norm: Norm::L2,
            epsilon: 1.0,
            random_start: true,
            ..TransferFgsmParams::default()
        })
        .unwrap();
    }
}

//! A model whose nearest adversarials are known in closed form, and an attack that is as simple as
//! can be.

use crate::attack::{Answer, Attack, Cases, Goal};
use crate::model::{Architecture, ImageShape, Model, ModelCard};
use crate::oracle::Oracle;
use crate::params::NoParams;
use crate::weights::{Role, Weights};
use anyhow::{Result, ensure};
use tch::{Kind, Tensor};

/// An affine model: z = W·p + b, with p the flattened pixels.
///
/// The nearest point at which two classes change places lies at the distance |m|/‖w‖, where m is
/// the difference of their logits, w that of their rows of W, and ‖·‖ the dual norm (ℓ1 for a
/// distance in ℓ∞, ℓ2 for ℓ2, ℓ∞ for ℓ1).
pub struct Affine {
    card: ModelCard,
    weight: Tensor,
    bias: Tensor,
}

impl Affine {
    /// A model with `classes` logits of square RGB images, and weights drawn from `seed`. The
    /// logits of grey (0.5) are between −1 and 1.
    pub fn new(classes: i64, side: i64, seed: u64) -> Self {
        Self::of_shape(classes, ImageShape::rgb(side), seed)
    }

    /// The same for images of any shape.
    pub fn of_shape(classes: i64, shape: ImageShape, seed: u64) -> Self {
        let inputs = shape.values();
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) as f32) / (1u64 << 30) as f32 - 1.0
        };
        let weight: Vec<f32> =
            (0..classes * inputs).map(|_| uniform() / (inputs as f32).sqrt()).collect();
        let bias: Vec<f32> = (0..classes).map(|_| uniform()).collect();
        let weight = Tensor::from_slice(&weight).view([classes, inputs]);
        let bias = Tensor::from_slice(&bias) - weight.sum_dim_intlist(1, false, Kind::Float) * 0.5;
        Self::of(weight, bias, shape)
    }

    /// A model like that of [`new`](Self::new) whose logits are 0 for grey, so that every class is
    /// near every image.
    pub(super) fn centred(classes: i64, side: i64, seed: u64) -> Self {
        let weight = Self::new(classes, side, seed).weight;
        let bias = weight.sum_dim_intlist(1, false, Kind::Float) * -0.5;
        Self::of(weight, bias, ImageShape::rgb(side))
    }

    /// This model with its weights times `gain`, and with the logits `bias` for grey. Where `bias`
    /// is large, no image in [0, 1] changes the class; where `gain` is 0, the gradient is zero.
    pub(super) fn stubborn(&self, bias: &Tensor, gain: f64) -> Self {
        let weight = &self.weight * gain;
        Self::of(
            weight.shallow_clone(),
            bias - weight.sum_dim_intlist(1, false, Kind::Float) * 0.5,
            self.card.shape(),
        )
    }

    fn of(weight: Tensor, bias: Tensor, shape: ImageShape) -> Self {
        let card = ModelCard {
            name: "affine".into(),
            family: "affine".into(),
            classes: bias.size()[0],
            source: "affine function of the pixels, for tests".into(),
            ..ModelCard::default()
        };
        Self { card: card.with_shape(shape), weight, bias }
    }

    /// W, classes×(C·H·W).
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The distance to the nearest point that meets the goal, in ℓ∞, ℓ2 and ℓ1. It may lie outside
    /// [0, 1]. `image` is C×H×W. For a targeted goal and more than two classes it is a lower bound.
    pub fn distances(&self, image: &Tensor, goal: Goal) -> [f64; 3] {
        let logits = self.logits(&image.unsqueeze(0)).squeeze_dim(0).to_kind(Kind::Double);
        let weight = self.weight.to_kind(Kind::Double);
        let class = goal.class();
        let mut best = [f64::INFINITY; 3];
        let mut worst = [0f64; 3];
        for other in (0..self.card.classes).filter(|&k| k != class) {
            let m = (logits.double_value(&[class]) - logits.double_value(&[other])).abs();
            let w: Tensor = weight.get(class) - weight.get(other);
            let norms =
                [w.abs().sum(Kind::Double), w.square().sum(Kind::Double).sqrt(), w.abs().max()];
            for (n, norm) in norms.iter().enumerate() {
                let distance = m / norm.double_value(&[]);
                best[n] = best[n].min(distance);
                worst[n] = worst[n].max(distance);
            }
        }
        // An untargeted goal needs the nearest other class; a targeted one must pass all of them.
        match goal {
            Goal::Away(_) => best,
            Goal::Towards(_) => worst,
        }
    }
}

impl Model for Affine {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        pixels.flatten(1, -1).linear(&self.weight, Some(&self.bias))
    }
}

impl Architecture for Affine {
    const NAME: &'static str = "affine";
    type Params = NoParams;

    fn describe(_: &NoParams) -> ModelCard {
        Self::new(3, 2, 0).card
    }

    fn load(_: NoParams, weights: &Weights) -> Result<Self> {
        let root = weights.root();
        Ok(Self::of(
            root.tensor("weights", &[3, 12], Role::Kernel),
            root.tensor("biases", &[3], Role::Bias),
            ImageShape::rgb(2),
        ))
    }
}

/// An attack that moves every pixel up by `amount`, for tests.
pub struct Nudge(NudgeParams);

crate::params! {
    /// Parameters of [`Nudge`].
    pub struct NudgeParams {
        /// What is added to every pixel; within [0, 1].
        pub amount: f64 = 0.1,
    }
}

impl Attack for Nudge {
    const NAME: &'static str = "nudge";
    const SUMMARY: &'static str = "moves every pixel up";
    type Params = NudgeParams;

    fn new(params: NudgeParams) -> Result<Self> {
        ensure!(
            (0.0..=1.0).contains(&params.amount),
            "`amount` is {}, expected 0 to 1",
            params.amount
        );
        Ok(Self(params))
    }

    fn run(&self, _: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let moved = (&cases.pixels + self.0.amount).clamp(0.0, 1.0);
        Ok((0..cases.len() as i64).map(|n| Answer::Pixels(moved.get(n))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn distances_of_two_classes_agree_with_a_step_along_the_gradient() {
        let model = Affine::new(2, 3, 5);
        let image = Tensor::full([3, 3, 3], 0.5, (Kind::Float, Device::Cpu));
        let label = model.logits(&image.unsqueeze(0)).argmax(1, false).int64_value(&[0]);
        let [linf, l2, _] = model.distances(&image, Goal::Away(label));
        let w: Tensor = model.weight.get(1 - label) - model.weight.get(label);
        for (step, distance) in [(w.sign(), linf), (&w / w.square().sum(Kind::Float).sqrt(), l2)] {
            for (scale, crossed) in [(0.999, false), (1.001, true)] {
                let moved = image.view([-1]) + &step * (distance * scale);
                let answer =
                    model.logits(&moved.view([1, 3, 3, 3])).argmax(1, false).int64_value(&[0]);
                assert_eq!(answer != label, crossed);
            }
        }
    }
}

//! The oracle: all that an attack or a metric gets to see of a model.

mod access;
mod direct;
mod draws;
mod passes;

use crate::guard;
use crate::model::{Model, ModelCard};
use crate::oracle::direct::Direct;
pub(crate) use access::Access;
pub use access::{Detached, Gradient, Settings, Stop};
use anyhow::{Context, Result};
pub use draws::{Draws, Purpose};
pub use passes::Passes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use tch::Tensor;

/// A model under attack.
///
/// Every call says which case each row of the batch belongs to, by its index in the
/// [`Cases`](crate::attack::Cases) that the attack was given. Passes are counted per case.
pub struct Oracle<'a> {
    access: Box<dyn Access + 'a>,
}

impl<'a> Oracle<'a> {
    /// Opens a model for the cases whose random streams are numbered `streams`.
    pub fn new(model: &'a dyn Model, streams: Vec<u64>, settings: Settings) -> Self {
        Self::through(Direct::new(model, streams, settings))
    }

    pub(crate) fn through(access: impl Access + 'a) -> Self {
        Self { access: Box::new(access) }
    }

    /// The model's card: name, side of the images, number of classes.
    pub fn card(&self) -> &ModelCard {
        self.access.card()
    }

    /// Greatest number of rows that a batch shall have; at least 1.
    pub fn lanes(&self) -> usize {
        self.access.lanes()
    }

    /// Logits of a batch, M×C×H×W → M×K. It costs each row's case a forward pass; where the model
    /// answers at random, one for each of [`Draws::count`].
    ///
    /// # Errors
    /// [`Stop`] when the oracle refuses calls; otherwise when the shape of `pixels` is wrong, a
    /// case is unknown, or the model fails.
    pub fn logits(&self, cases: &[usize], pixels: &Tensor) -> Result<Tensor> {
        self.access.logits(cases, pixels)
    }

    /// Logits, losses, and the gradients of the losses with respect to the pixels. `loss` maps M×K
    /// logits to M losses. It costs each row's case a forward and a backward pass.
    ///
    /// # Errors
    /// Those of [`logits`](Self::logits); [`Detached`] when the model has no gradient; otherwise
    /// when `loss` panics or gives another shape.
    pub fn gradient(
        &self,
        cases: &[usize],
        pixels: &Tensor,
        loss: impl FnOnce(&Tensor) -> Tensor,
    ) -> Result<Gradient> {
        let mut loss = Some(loss);
        self.access.gradient(cases, pixels, &mut |logits| {
            guard::catch("the loss", || {
                loss.take().map(|loss| loss(logits)).context("a loss is asked once")
            })
        })
    }

    /// The random stream of a case. It does not depend on the other cases.
    pub fn rng(&self, case: usize) -> ChaCha8Rng {
        self.access.rng(case)
    }

    /// Random numbers in [0, 1), float32 in the shape and on the device of `like`: the first of the
    /// case's random stream, so every call gives the same. Draw more than one tensor from
    /// [`rng`](Self::rng). The numbers are those of `uniform` in C++.
    pub fn uniform(&self, case: usize, like: &Tensor) -> Tensor {
        let mut rng = self.rng(case);
        // 24 bits are what a float32 holds.
        let numbers: Vec<f32> =
            (0..like.numel()).map(|_| (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32).collect();
        Tensor::from_slice(&numbers).view_as(like).to_device(like.device())
    }

    /// Number of passes so far, per case.
    pub fn passes(&self) -> Vec<Passes> {
        self.access.passes()
    }

    /// Per case, forward passes with a logit and backward passes with a gradient that is not
    /// finite. Empty in a plugin library, where the program alone counts them.
    pub fn not_finite(&self) -> Vec<Passes> {
        self.access.not_finite().unwrap_or_default()
    }

    /// Checks that there is still time. Long work that does not call the model calls this instead.
    ///
    /// # Errors
    /// [`Stop`] when the work shall be given up.
    pub fn check_time(&self) -> Result<()> {
        self.access.check_time()
    }

    /// Why a call was refused, if one was. The results of an attack that was refused a call depend
    /// on the clock, even where it handles the error.
    pub fn stopped(&self) -> Option<Stop> {
        self.access.stopped()
    }

    pub(crate) fn access(&self) -> &(dyn Access + 'a) {
        self.access.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Affine;
    use rand_chacha::rand_core::RngCore;
    use std::sync::atomic::Ordering;
    use std::time::Instant;
    use tch::{Device, Kind};

    #[test]
    fn passes_are_counted_per_case() {
        let model = Affine::new(3, 2, 1);
        let oracle = Oracle::new(&model, vec![7, 8, 9], Settings::default());
        let pixels = Tensor::full([2, 3, 2, 2], 0.5, (Kind::Float, Device::Cpu));
        let _ = oracle.logits(&[0, 2], &pixels).unwrap();
        oracle.gradient(&[2, 2], &pixels, |z| z.select(1, 0)).unwrap();
        let expected =
            [(1, 0), (0, 0), (3, 2)].map(|(forward, backward)| Passes { forward, backward });
        assert_eq!(oracle.passes(), expected);
    }

    #[test]
    fn the_gradient_of_an_affine_model_is_its_weight() {
        let model = Affine::new(3, 2, 1);
        let oracle = Oracle::new(&model, vec![0], Settings::default());
        let pixels = Tensor::full([1, 3, 2, 2], 0.5, (Kind::Float, Device::Cpu));
        let gradient = oracle.gradient(&[0], &pixels, |z| z.select(1, 2)).unwrap();
        assert_eq!(gradient.pixels.view([-1]), model.weight().get(2));
    }

    #[test]
    fn streams_differ_by_case_and_not_by_company() {
        let model = Affine::new(3, 2, 1);
        let a = Oracle::new(&model, vec![7, 8], Settings::default());
        let b = Oracle::new(&model, vec![8], Settings::default());
        assert_eq!(a.rng(1).next_u64(), b.rng(0).next_u64());
        assert_ne!(a.rng(0).next_u64(), a.rng(1).next_u64());
    }

    /// An affine model whose logits have noise of libtorch's generator.
    struct Noisy(Affine);

    impl Model for Noisy {
        fn card(&self) -> &ModelCard {
            self.0.card()
        }

        fn logits(&self, pixels: &Tensor) -> Tensor {
            self.0.logits(&(pixels + pixels.randn_like() * 0.5))
        }
    }

    #[test]
    fn answers_at_random_are_means_of_draws_that_depend_on_their_case_alone() {
        let (model, plain) = (Noisy(Affine::new(3, 2, 1)), Affine::new(3, 2, 1));
        let pixels = Tensor::full([2, 3, 2, 2], 0.5, (Kind::Float, Device::Cpu));
        let oracle = |streams: &[u64], count, purpose| {
            let settings =
                Settings { draws: Some(Draws { count, purpose }), ..Settings::default() };
            Oracle::new(&model, streams.to_vec(), settings)
        };
        let together = oracle(&[7, 8], 4, Purpose::Attack);
        let first = together.gradient(&[0, 1], &pixels, |z| z.select(1, 2)).unwrap();
        assert_eq!(
            (together.lanes(), together.passes()[1]),
            (8, Passes { forward: 4, backward: 4 })
        );
        let alone = oracle(&[8], 4, Purpose::Attack);
        let one = pixels.narrow(0, 1, 1);
        tch::manual_seed(3);
        let again = alone.gradient(&[0], &one, |z| z.select(1, 2)).unwrap();
        assert_eq!(
            (again.logits, again.pixels),
            (first.logits.narrow(0, 1, 1), first.pixels.narrow(0, 1, 1))
        );
        assert_eq!(first.pixels.get(0).view([-1]), plain.weight().get(2));
        // An oracle draws anew for each answer; another one draws the same.
        assert_ne!(alone.logits(&[0], &one).unwrap(), first.logits.narrow(0, 1, 1));
        let judged = |count| oracle(&[8], count, Purpose::Judgement).logits(&[0], &one).unwrap();
        assert_eq!(judged(4), judged(4));
        // The mean of n draws of noise with deviation s is s/√n off.
        let off = |count| (judged(count) - plain.logits(&one)).abs().max().double_value(&[]);
        assert!(off(4000) < 0.04 && off(4000) < off(4), "{} {}", off(4000), off(4));
    }

    #[test]
    fn a_refusal_is_remembered() {
        let model = Affine::new(3, 2, 1);
        let pixels = Tensor::full([1, 3, 2, 2], 0.5, (Kind::Float, Device::Cpu));
        let oracle = Oracle::new(
            &model,
            vec![0],
            Settings { deadline: Some(Instant::now()), ..Settings::default() },
        );
        assert_eq!(oracle.stopped(), None);
        let error = oracle.gradient(&[0], &pixels, |z| z.select(1, 0)).err().unwrap();
        assert_eq!(error.downcast_ref(), Some(&Stop::OutOfTime));
        assert_eq!(
            (oracle.stopped(), error.to_string().as_str()),
            (Some(Stop::OutOfTime), "out of time")
        );
    }

    #[test]
    fn a_loss_that_fails_is_blamed_itself() {
        let model = Affine::new(3, 2, 1);
        let oracle = Oracle::new(&model, vec![0], Settings::default());
        let pixels = Tensor::full([1, 3, 2, 2], 0.5, (Kind::Float, Device::Cpu));
        let error =
            oracle.gradient(&[0], &pixels, |_| panic!("no idea")).err().unwrap().to_string();
        assert!(
            error.starts_with("the loss panicked at ") && error.ends_with(": no idea"),
            "{error}"
        );
    }

    /// Logits that have forgotten the pixels; those of a model with weights that are not frozen
    /// have a graph.
    struct Forgetful(Affine, bool);

    impl Model for Forgetful {
        fn card(&self) -> &ModelCard {
            self.0.card()
        }

        fn logits(&self, pixels: &Tensor) -> Tensor {
            let logits = self.0.logits(&pixels.detach());
            if self.1 {
                logits * Tensor::ones([1], (Kind::Float, Device::Cpu)).set_requires_grad(true)
            } else {
                logits
            }
        }
    }

    #[test]
    fn logits_without_a_gradient_are_told_from_other_mistakes() {
        let pixels = Tensor::full([1, 3, 2, 2], 0.5, (Kind::Float, Device::Cpu));
        for trains in [false, true] {
            let model = Forgetful(Affine::new(3, 2, 1), trains);
            let oracle = Oracle::new(&model, vec![0], Settings::default());
            let error = oracle.gradient(&[0], &pixels, |z| z.select(1, 0)).err().unwrap();
            assert_eq!(error.downcast_ref(), Some(&Detached { model: "affine".into() }), "{error}");
        }
    }

    #[test]
    fn wrong_pixels_and_cancellation_are_errors() {
        let model = Affine::new(3, 2, 1);
        let settings = Settings::default();
        let oracle = Oracle::new(&model, vec![0], settings.clone());
        let pixels = Tensor::zeros([1, 3, 5, 5], (Kind::Float, Device::Cpu));
        let error = oracle.logits(&[0], &pixels).unwrap_err().to_string();
        assert_eq!(error, "model `affine` takes pixels [1, 3, 2, 2], found [1, 3, 5, 5]");
        settings.cancel.store(true, Ordering::Relaxed);
        assert_eq!(oracle.logits(&[0], &pixels).unwrap_err().to_string(), "cancelled");
    }
}

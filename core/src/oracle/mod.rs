//! The oracle: all that an attack or a metric gets to see of a model.

mod passes;

use crate::guard;
use crate::model::{Model, ModelCard};
use crate::oracle::passes::NotFinite;
use anyhow::{Context, Result, ensure};
pub use passes::Passes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::Tensor;
use thiserror::Error;

/// What the engine sets for the work of an attack or a metric.
#[derive(Clone)]
pub struct Settings {
    /// Greatest number of rows in a batch. It changes answers by no more than float32 noise, since
    /// sums in a network depend on the shape of the batch.
    pub lanes: usize,
    /// Seed of the study. Each case derives its own random stream from it.
    pub seed: u64,
    /// When the oracle starts to refuse calls, if ever.
    pub deadline: Option<Instant>,
    /// Set to `true` by another thread, it makes the oracle refuse calls.
    pub cancel: Arc<AtomicBool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lanes: 32, seed: 0, deadline: None, cancel: Arc::default() }
    }
}

/// Why an oracle refuses calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Stop {
    /// [`Settings::cancel`] was set.
    #[error("cancelled")]
    Cancelled,
    /// [`Settings::deadline`] is over.
    #[error("out of time")]
    OutOfTime,
}

/// The logits do not depend on the pixels as far as libtorch knows, so there is no gradient.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "the logits of model `{model}` have no gradient: something in it is detached, rounded to \
     integers, or under `no_grad`"
)]
pub struct Detached {
    /// The model's name.
    pub model: String,
}

/// What [`Oracle::gradient`] gives for a batch of M rows.
pub struct Gradient {
    /// Logits, M×K.
    pub logits: Tensor,
    /// Losses, M.
    pub loss: Tensor,
    /// Gradient of each row's loss with respect to its pixels, M×3×S×S.
    pub pixels: Tensor,
}

/// A model under attack.
///
/// Every call says which case each row of the batch belongs to, by its index in the
/// [`Cases`](crate::attack::Cases) that the attack was given. Passes are counted per case.
pub struct Oracle<'a> {
    access: Box<dyn Access + 'a>,
}

/// How an oracle reaches its model: directly, or across the boundary of a plugin library.
pub(crate) trait Access {
    fn card(&self) -> &ModelCard;
    fn lanes(&self) -> usize;
    fn logits(&self, cases: &[usize], pixels: &Tensor) -> Result<Tensor>;
    /// Calls `loss` once.
    fn gradient(
        &self,
        cases: &[usize],
        pixels: &Tensor,
        loss: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Gradient>;
    /// The ChaCha8 key of all random streams.
    fn key(&self) -> [u8; 32];
    /// The number of each case's random stream.
    fn streams(&self) -> &[u64];
    fn passes(&self) -> Vec<Passes>;
    /// Per case, passes whose numbers are not finite. None: the oracle does not count them.
    fn not_finite(&self) -> Option<Vec<Passes>> {
        None
    }
    fn check_time(&self) -> Result<()>;
    fn stopped(&self) -> Option<Stop>;
}

impl<'a> Oracle<'a> {
    /// Opens a model for the cases whose random streams are numbered `streams`.
    pub fn new(model: &'a dyn Model, streams: Vec<u64>, settings: Settings) -> Self {
        let passes = RefCell::new(vec![Passes::default(); streams.len()]);
        let not_finite = NotFinite::new(streams.len());
        let stopped = Cell::new(None);
        Self::through(Direct { model, settings, streams, passes, not_finite, stopped })
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

    /// Logits of a batch, M×3×S×S → M×K. It costs each row's case a forward pass.
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
        let mut rng = ChaCha8Rng::from_seed(self.access.key());
        rng.set_stream(self.access.streams()[case]);
        rng
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

/// Calls the model itself.
struct Direct<'a> {
    model: &'a dyn Model,
    settings: Settings,
    /// A number for each case, which does not depend on the cases that run beside it.
    streams: Vec<u64>,
    passes: RefCell<Vec<Passes>>,
    not_finite: NotFinite,
    stopped: Cell<Option<Stop>>,
}

impl Access for Direct<'_> {
    fn card(&self) -> &ModelCard {
        self.model.card()
    }

    fn lanes(&self) -> usize {
        self.settings.lanes.max(1)
    }

    fn logits(&self, cases: &[usize], pixels: &Tensor) -> Result<Tensor> {
        self.admit(cases, pixels)?;
        // Copies, since a model may write to what it is given, or keep what it gives.
        let logits = guard::catch(&self.who(), || {
            Ok(tch::no_grad(|| self.model.logits(&pixels.detach_copy()).detach_copy()))
        })?;
        self.check(&logits, cases.len())?;
        self.count(cases, &logits, None)?;
        Ok(logits)
    }

    fn gradient(
        &self,
        cases: &[usize],
        pixels: &Tensor,
        loss: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Gradient> {
        self.admit(cases, pixels)?;
        let gradient = guard::catch(&self.who(), || {
            tch::with_grad(|| {
                // A copy, since a model may write to what it is given.
                let pixels = pixels.detach_copy().set_requires_grad(true);
                let logits = self.model.logits(&pixels);
                self.check(&logits, cases.len())?;
                ensure!(logits.requires_grad(), self.detached());
                let loss = loss(&logits)?;
                ensure!(
                    loss.size() == [cases.len() as i64],
                    "a loss must have one value per row, found shape {:?}",
                    loss.size()
                );
                // The sum's gradient is each row's own: a row's logits depend on that row alone.
                let gradient = Tensor::f_run_backward(
                    &[loss.sum(tch::Kind::Float)],
                    &[&pixels],
                    false,
                    false,
                )?
                .remove(0);
                // A model whose weights require a gradient has a graph even without the pixels.
                ensure!(gradient.defined(), self.detached());
                // In the layout of pixels: adding tensors of two layouts is slow.
                Ok(Gradient {
                    logits: logits.detach_copy(),
                    loss: loss.detach(),
                    pixels: gradient.contiguous(),
                })
            })
        })?;
        self.count(cases, &gradient.logits, Some(&gradient.pixels))?;
        Ok(gradient)
    }

    fn key(&self) -> [u8; 32] {
        ChaCha8Rng::seed_from_u64(self.settings.seed).get_seed()
    }

    fn streams(&self) -> &[u64] {
        &self.streams
    }

    fn passes(&self) -> Vec<Passes> {
        self.passes.borrow().clone()
    }

    fn not_finite(&self) -> Option<Vec<Passes>> {
        Some(self.not_finite.counts())
    }

    fn check_time(&self) -> Result<()> {
        let late = || self.settings.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if self.settings.cancel.load(Ordering::Relaxed) {
            self.stopped.set(Some(Stop::Cancelled));
        } else if late() {
            self.stopped.set(Some(Stop::OutOfTime));
        }
        self.stopped.get().map_or(Ok(()), |stop| Err(stop.into()))
    }

    fn stopped(&self) -> Option<Stop> {
        self.stopped.get()
    }
}

impl Direct<'_> {
    fn who(&self) -> String {
        format!("model `{}`", self.model.card().name)
    }

    fn detached(&self) -> Detached {
        Detached { model: self.model.card().name.clone() }
    }

    fn admit(&self, cases: &[usize], pixels: &Tensor) -> Result<()> {
        self.check_time()?;
        let side = self.model.card().side;
        let expected = [cases.len() as i64, 3, side, side];
        ensure!(
            pixels.size() == expected,
            "{} takes pixels {expected:?}, found {:?}",
            self.who(),
            pixels.size()
        );
        ensure!(
            cases.iter().all(|&c| c < self.streams.len()),
            "a case number is beyond the {} cases",
            self.streams.len()
        );
        Ok(())
    }

    fn check(&self, logits: &Tensor, rows: usize) -> Result<()> {
        let expected = [rows as i64, self.model.card().classes];
        ensure!(
            logits.size() == expected,
            "{} gave logits {:?}, expected {expected:?}",
            self.who(),
            logits.size()
        );
        Ok(())
    }

    /// Counts a pass: M×K logits and, with a backward pass, the gradient, M×3×S×S.
    fn count(&self, cases: &[usize], logits: &Tensor, gradient: Option<&Tensor>) -> Result<()> {
        let backward = u64::from(gradient.is_some());
        let mut passes = self.passes.borrow_mut();
        for &case in cases {
            passes[case].forward += 1;
            passes[case].backward += backward;
        }
        self.not_finite.note(cases, logits, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Affine;
    use rand_chacha::rand_core::RngCore;
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

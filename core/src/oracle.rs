//! The oracle: all that an attack or a score gets to see of a model.

use crate::guard;
use crate::model::{Model, ModelCard};
use anyhow::{Context, Result, ensure};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::Tensor;

/// Passes through the network that one case has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Forward passes.
    pub forward: u64,
    /// Backward passes, to the input.
    pub backward: u64,
}

/// What the engine sets for an attack's work.
#[derive(Clone)]
pub struct Settings {
    /// How many lanes a batch has at the most; never changes an answer.
    pub lanes: usize,
    /// Seed of the study; each case derives its own random stream from it.
    pub seed: u64,
    /// Work that is not done by then is given up.
    pub deadline: Option<Instant>,
    /// Set from elsewhere to give the work up.
    pub cancel: Arc<AtomicBool>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lanes: 32, seed: 0, deadline: None, cancel: Arc::default() }
    }
}

/// Why an oracle answers no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// [`Settings::cancel`] was set.
    Cancelled,
    /// [`Settings::deadline`] is over.
    OutOfTime,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "cancelled",
            Self::OutOfTime => "out of time",
        })
    }
}

impl std::error::Error for Stop {}

/// Why there is no gradient: logits that no pixel stands behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    /// The model's name.
    pub model: String,
}

impl fmt::Display for Detached {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = &self.model;
        write!(
            f,
            "the logits of model `{name}` have no gradient: something in it is detached, rounded \
             to integers, or under `no_grad`"
        )
    }
}

impl std::error::Error for Detached {}

/// The answer of [`Oracle::gradient`] for a batch of M.
pub struct Gradient {
    /// M×K logits.
    pub logits: Tensor,
    /// M losses.
    pub loss: Tensor,
    /// M×3×S×S: the gradient of each row's loss with respect to its pixels.
    pub pixels: Tensor,
}

/// A model under attack.
///
/// Every call says which case each row of the batch belongs to: passes are counted per case.
/// Rows are indices into the [`Cases`](crate::attack::Cases) that the attack was given.
pub struct Oracle<'a> {
    access: Box<dyn Access + 'a>,
}

/// A way to a model: within this module, or across the boundary of a plugin.
pub(crate) trait Access {
    fn card(&self) -> &ModelCard;
    fn lanes(&self) -> usize;
    fn logits(&self, cases: &[usize], pixels: &Tensor) -> Result<Tensor>;
    /// `loss` is called once.
    fn gradient(
        &self,
        cases: &[usize],
        pixels: &Tensor,
        loss: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Gradient>;
    /// The key of all streams.
    fn key(&self) -> [u8; 32];
    /// The number of each case's stream.
    fn streams(&self) -> &[u64];
    fn passes(&self) -> Vec<Passes>;
    fn check_time(&self) -> Result<()>;
    fn stopped(&self) -> Option<Stop>;
}

impl<'a> Oracle<'a> {
    /// Opens a model for the cases whose random streams are numbered `streams`.
    pub fn new(model: &'a dyn Model, streams: Vec<u64>, settings: Settings) -> Self {
        let passes = RefCell::new(vec![Passes::default(); streams.len()]);
        Self::through(Direct { model, settings, streams, passes, stopped: Cell::new(None) })
    }

    pub(crate) fn through(access: impl Access + 'a) -> Self {
        Self { access: Box::new(access) }
    }

    /// The model's card: side, classes and so on.
    pub fn card(&self) -> &ModelCard {
        self.access.card()
    }

    /// How many lanes a batch shall have at the most.
    pub fn lanes(&self) -> usize {
        self.access.lanes()
    }

    /// Logits of a batch, M×3×S×S → M×K. One forward pass for each of `cases`.
    pub fn logits(&self, cases: &[usize], pixels: &Tensor) -> Result<Tensor> {
        self.access.logits(cases, pixels)
    }

    /// Logits, losses and the gradients of the losses with respect to the pixels. `loss` maps
    /// M×K logits to M losses. One forward and one backward pass for each of `cases`.
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

    /// The random stream of a case: the same whatever runs beside it.
    pub fn rng(&self, case: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.access.key());
        rng.set_stream(self.access.streams()[case]);
        rng
    }

    /// Passes so far, per case.
    pub fn passes(&self) -> Vec<Passes> {
        self.access.passes()
    }

    /// Whether there is still time, for long work that does not ask the model.
    ///
    /// # Errors
    /// [`Stop`] when the work is to be given up.
    pub fn check_time(&self) -> Result<()> {
        self.access.check_time()
    }

    /// Why a call was refused, if one was: what an attack gives after that depends on the clock,
    /// whatever it makes of the refusal.
    pub fn stopped(&self) -> Option<Stop> {
        self.access.stopped()
    }

    pub(crate) fn access(&self) -> &(dyn Access + 'a) {
        self.access.as_ref()
    }
}

/// A model of this module's.
struct Direct<'a> {
    model: &'a dyn Model,
    settings: Settings,
    /// One number per case that does not depend on which cases run together.
    streams: Vec<u64>,
    passes: RefCell<Vec<Passes>>,
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
        let logits =
            guard::catch(&self.who(), || Ok(tch::no_grad(|| self.model.logits(&pixels.detach()))))?;
        self.check(&logits, cases.len())?;
        self.count(cases, 0);
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
                let pixels = pixels.detach().set_requires_grad(true);
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
                // The graph may be one of weights that want a gradient, without the pixels.
                ensure!(gradient.defined(), self.detached());
                // Laid out as pixels are, whatever the model does inside: sums of tensors in two
                // layouts are slow.
                Ok(Gradient {
                    logits: logits.detach(),
                    loss: loss.detach(),
                    pixels: gradient.contiguous(),
                })
            })
        })?;
        self.count(cases, 1);
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

    fn count(&self, cases: &[usize], backward: u64) {
        let mut passes = self.passes.borrow_mut();
        for &case in cases {
            passes[case].forward += 1;
            passes[case].backward += backward;
        }
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
        assert_eq!(error, "the loss panicked: no idea");
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

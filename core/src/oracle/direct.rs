//! The oracle that calls the model itself: it counts passes, and refuses to answer when time is
//! over or the run is cancelled.

use crate::guard;
use crate::model::{Model, ModelCard};
use crate::oracle::access::{Access, Detached, Gradient, Settings, Stop};
use crate::oracle::passes::{NotFinite, Passes};
use anyhow::{Result, ensure};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use std::time::Instant;
use tch::Tensor;

/// Calls the model itself.
pub(super) struct Direct<'a> {
    model: &'a dyn Model,
    settings: Settings,
    /// A number for each case, which does not depend on the cases that run beside it.
    streams: Vec<u64>,
    passes: RefCell<Vec<Passes>>,
    /// Number of draws so far, per case.
    drawn: RefCell<Vec<u64>>,
    not_finite: NotFinite,
    stopped: Cell<Option<Stop>>,
}

impl<'a> Direct<'a> {
    pub fn new(model: &'a dyn Model, streams: Vec<u64>, settings: Settings) -> Self {
        let passes = RefCell::new(vec![Passes::default(); streams.len()]);
        let drawn = RefCell::new(vec![0; streams.len()]);
        let not_finite = NotFinite::new(streams.len());
        Self { model, settings, streams, passes, drawn, not_finite, stopped: Cell::new(None) }
    }
}

impl Access for Direct<'_> {
    fn card(&self) -> &ModelCard {
        self.model.card()
    }

    fn lanes(&self) -> usize {
        // As many passes are held at a time as there are without draws.
        let draws = self.settings.draws.map_or(1, |draws| draws.count.max(1));
        (self.settings.lanes / draws).max(1)
    }

    fn logits(&self, cases: &[usize], pixels: &Tensor) -> Result<Tensor> {
        self.admit(cases, pixels)?;
        // Copies, since a model may write to what it is given, or keep what it gives.
        let logits = guard::catch(&self.who(), || {
            Ok(tch::no_grad(|| self.ask(cases, &pixels.detach_copy()).detach_copy()))
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
                let logits = self.ask(cases, &pixels);
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
        let expected = self.model.card().shape().batch(cases.len());
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

    /// The model's logits, or the means of their draws.
    fn ask(&self, cases: &[usize], pixels: &Tensor) -> Tensor {
        let Some(draws) = self.settings.draws else { return self.model.logits(pixels) };
        let row = |(n, &case): (usize, &usize)| {
            let first = self.drawn.borrow()[case];
            self.drawn.borrow_mut()[case] += draws.count as u64;
            let image = pixels.narrow(0, n as i64, 1);
            draws.of(self.model, &self.rng(case), first, &image).mean_dim(
                [0i64].as_slice(),
                true,
                tch::Kind::Float,
            )
        };
        Tensor::cat(&cases.iter().enumerate().map(row).collect::<Vec<_>>(), 0)
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

    /// Counts a pass: M×K logits and, with a backward pass, the gradient, M×C×H×W.
    fn count(&self, cases: &[usize], logits: &Tensor, gradient: Option<&Tensor>) -> Result<()> {
        let draws = self.settings.draws.map_or(1, |draws| draws.count as u64);
        let backward = if gradient.is_some() { draws } else { 0 };
        let mut passes = self.passes.borrow_mut();
        for &case in cases {
            passes[case].forward += draws;
            passes[case].backward += backward;
        }
        self.not_finite.note(cases, logits, gradient)
    }
}

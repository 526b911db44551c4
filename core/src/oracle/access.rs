//! How an oracle reaches its model, and what it is told and says.

use crate::model::ModelCard;
use crate::oracle::draws::Draws;
use crate::oracle::passes::Passes;
use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
    /// How a model that answers at random is asked. None for a model whose answers repeat.
    pub draws: Option<Draws>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { lanes: 32, seed: 0, deadline: None, cancel: Arc::default(), draws: None }
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

/// What [`Oracle::gradient`](crate::oracle::Oracle::gradient) gives for a batch of M rows.
pub struct Gradient {
    /// Logits, M×K.
    pub logits: Tensor,
    /// Losses, M.
    pub loss: Tensor,
    /// Gradient of each row's loss with respect to its pixels, M×C×H×W.
    pub pixels: Tensor,
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
    /// The random stream of a case.
    fn rng(&self, case: usize) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.key());
        rng.set_stream(self.streams()[case]);
        rng
    }
    fn passes(&self) -> Vec<Passes>;
    /// Per case, passes whose numbers are not finite. None: the oracle does not count them.
    fn not_finite(&self) -> Option<Vec<Passes>> {
        None
    }
    fn check_time(&self) -> Result<()>;
    fn stopped(&self) -> Option<Stop>;
}

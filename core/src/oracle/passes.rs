//! Passes through a model, counted per case.

use anyhow::Result;
use std::cell::RefCell;
use tch::{Kind, Tensor};

/// Number of passes through the network that one case has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Forward passes.
    pub forward: u64,
    /// Backward passes, to the input.
    pub backward: u64,
}

/// Greatest number of passes that are unread.
const UNREAD: usize = 64;

/// Counts passes whose logits or gradients are not finite, per case.
pub(super) struct NotFinite {
    counts: RefCell<Vec<Passes>>,
    /// The last passes: not yet in `counts`, since reading them waits for the device.
    unread: RefCell<Vec<Pass>>,
}

/// Which rows of a pass were finite: M booleans each.
struct Pass {
    cases: Vec<usize>,
    logits: Tensor,
    gradient: Option<Tensor>,
}

impl NotFinite {
    /// For so many cases.
    pub fn new(cases: usize) -> Self {
        let counts = RefCell::new(vec![Passes::default(); cases]);
        Self { counts, unread: RefCell::default() }
    }

    /// Notes a pass: M×K logits and, after a backward pass, the gradient, M×C×H×W.
    pub fn note(&self, cases: &[usize], logits: &Tensor, gradient: Option<&Tensor>) -> Result<()> {
        // A sum is finite if all that it adds is.
        let sum = |gradient: &Tensor| {
            gradient.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float)
        };
        self.unread.borrow_mut().push(Pass {
            cases: cases.to_vec(),
            logits: logits.isfinite().all_dim(1, false),
            gradient: gradient.map(|gradient| sum(gradient).isfinite()),
        });
        if self.unread.borrow().len() >= UNREAD { self.read() } else { Ok(()) }
    }

    /// Per case, forward passes with a logit and backward passes with a gradient that is not
    /// finite.
    pub fn counts(&self) -> Vec<Passes> {
        // Passes that cannot be read fail where their numbers are used.
        let _ = self.read();
        self.counts.borrow().clone()
    }

    fn read(&self) -> Result<()> {
        let mut counts = self.counts.borrow_mut();
        for Pass { cases, logits, gradient } in self.unread.take() {
            let logits = broken(&logits)?;
            let gradient = gradient.as_ref().map(broken).transpose()?;
            for (n, &case) in cases.iter().enumerate() {
                counts[case].forward += logits[n];
                counts[case].backward += gradient.as_ref().map_or(0, |gradient| gradient[n]);
            }
        }
        Ok(())
    }
}

/// 1 for each row that is not finite, otherwise 0.
fn broken(finite: &Tensor) -> Result<Vec<u64>> {
    Ok(Vec::<bool>::try_from(finite)?.iter().map(|finite| u64::from(!finite)).collect())
}

//! The attacks, a file each: its head has the paper, the reference code and the algorithm.

mod apgd;
mod autoattack;
mod ddn;
mod deepfool;
mod fab;
mod fmn;
mod pdpgd;
mod pgd;
mod square;
mod transfer_fgsm;

pub use apgd::{Apgd, ApgdOutcome, ApgdParams};
pub use autoattack::{AutoAttack, AutoAttackParams};
pub use ddn::{Ddn, DdnParams};
pub use deepfool::{DeepFool, DeepFoolParams};
pub use fab::{Fab, FabParams};
pub use fmn::{Fmn, FmnNorm, FmnParams};
pub use pdpgd::{Pdpgd, PdpgdParams};
pub use pgd::{Kept, Pgd, PgdParams};
pub use square::{Square, SquareOutcome, SquareParams};
pub use transfer_fgsm::{TransferFgsm, TransferFgsmParams};

use crate::parts::Nearest;
use gauntlet_core::prelude::*;

/// Refuses a number that is not positive and finite.
fn positive(name: &str, value: f64) -> Result<()> {
    ensure!(value > 0.0 && value.is_finite(), "`{name}` is {value}, expected a positive number");
    Ok(())
}

/// Refuses a number below zero, and one that is not finite.
fn not_negative(name: &str, value: f64) -> Result<()> {
    ensure!(value >= 0.0 && value.is_finite(), "`{name}` is {value}, expected 0 or more");
    Ok(())
}

/// Refuses a count of zero.
fn at_least_one(name: &str, count: u32) -> Result<()> {
    ensure!(count > 0, "`{name}` is 0, expected 1 or more");
    Ok(())
}

/// Searches batch by batch for the nearest adversarial of each case.
fn nearest(
    oracle: &Oracle,
    cases: &Cases,
    search: impl Fn(&Batch) -> Result<Nearest>,
) -> Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(cases.len());
    for batch in cases.batches(oracle.lanes()) {
        answers.extend(search(&batch)?.answers()?);
    }
    Ok(answers)
}

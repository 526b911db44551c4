//! The attacks, a file each: its head has the paper, the reference code and the algorithm.

mod pgd;

pub use pgd::{Kept, Pgd, PgdParams};

use gauntlet_core::prelude::*;

/// Refuses a number that is not positive and finite.
fn positive(name: &str, value: f64) -> Result<()> {
    ensure!(value > 0.0 && value.is_finite(), "`{name}` is {value}, expected a positive number");
    Ok(())
}

/// Refuses a count of zero.
fn at_least_one(name: &str, count: u32) -> Result<()> {
    ensure!(count > 0, "`{name}` is 0, expected 1 or more");
    Ok(())
}

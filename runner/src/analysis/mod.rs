//! From rows to tables: rates with their denominators, distortions, transfer.
//!
//! All counts come from the stored rows, in the study's order. So the tables are the same byte for
//! byte in whatever order, and on whatever machines, the cells were computed.

mod control;
mod count;
mod denominator;
pub mod flags;
mod rate;
mod robustness;
pub mod stats;
mod tables;
mod transfer;

pub use control::Control;
pub use count::analyse;
pub use denominator::{Denominator, PerDenominator};
pub use rate::{Estimate, Rate, rate};
pub(crate) use rate::{interval, number};
pub use robustness::{Known, NORMS, Nearest, QuotedBudget, Robustness, quoted_budgets};
pub use tables::{
    Accuracy, Distortion, MeanMedian, OutcomeSink, Outcomes, Passes, Probe, Score, Spread, Success,
    Tables, Tally,
};
pub use transfer::{Match, Pixels, SplitCounts, Transfer};

//! A study in one document, `study.json`: everything that a report shows, without times. So the
//! document is the same byte for byte whenever the same study is run. Times are in `timing.csv`,
//! single outcomes in `outcomes.parquet`.
//!
//! Models, attacks and metrics are named by their labels, in the study's order. Rates and means
//! have intervals of 95 % ([`CONFIDENCE`](crate::analysis::stats::CONFIDENCE)): Wilson's for rates,
//! a bootstrap over images for everything else. Unknown values are null, such as the mean of no
//! values.

mod build;
mod campaigns;
mod claims;
mod document;
mod examples;
mod laws;
mod resampled;
mod robustness;
mod timing;
mod transfer;
mod verdicts;

pub use crate::analysis::{Match, Pixels};
pub(crate) use build::build;
pub use campaigns::{
    CampaignSummary, Cost, Curve, DistortionSummary, Gap, Quantiles, ScoreSummary,
};
pub(crate) use document::schema;
pub use document::{
    Attack, EXAMPLES, Example, FILE, FORMAT, Facts, Left, Metric, MissingCell, Model, SCHEMA,
    Summary, example_pixels,
};
pub(crate) use examples::{ChosenExamples, examples};
pub use laws::{Band, DepthEffect, Fit, Law, Point, Subset};
pub use robustness::{Apart, ModelRobustness, NearestBy, NormRobustness, RobustAccuracy};
pub use timing::Timing;
pub use transfer::{Counts, FamilyTransfer, Matrix, Pooled, SourceFamily, Split};
pub use verdicts::{Evidence, Finding, Verdict};

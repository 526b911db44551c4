//! A study in one document, `study.json`: everything that a report shows, and nothing that depends
//! on a clock, so it is the same byte for byte whenever the same study is run. Times stand in
//! `timing.csv`, single outcomes in `outcomes.parquet`.
//!
//! Models, attacks and metrics go by their labels, in the study's order. Rates and means come with
//! intervals of 95 % ([`CONFIDENCE`](crate::analysis::stats::CONFIDENCE)): Wilson's for rates, a
//! bootstrap over images for everything else. What is not known is null: the mean of no values, an
//! interval that no two resamples give.

mod build;
mod campaigns;
mod claims;
mod document;
mod examples;
mod laws;
mod resampled;
mod timing;
mod transfer;
mod verdicts;

pub(crate) use build::build;
pub use campaigns::{
    CampaignSummary, Cost, Curve, DistortionSummary, Gap, Quantiles, ScoreSummary,
};
pub(crate) use document::schema;
pub use document::{
    Attack, Example, Facts, Left, Metric, MissingCell, Model, Summary, example_pixels,
};
pub(crate) use examples::examples;
pub use laws::{Band, DepthEffect, Fit, Law, Point, Subset};
pub use timing::Timing;
pub use transfer::{Counts, FamilyTransfer, Match, Matrix, Pixels, Pooled, SourceFamily, Split};
pub use verdicts::{Evidence, Finding, Verdict};

/// The file that the document is in.
pub const FILE: &str = "study.json";
/// The file that its schema is in.
pub const SCHEMA: &str = "study.schema.json";
/// The file that the pixels of its examples are in.
pub const EXAMPLES: &str = "examples.safetensors";
/// The file that times are in.
const TIMING: &str = "timing.csv";

/// Counts up when a reader of the last format would misread this one.
pub const FORMAT: u32 = 1;

/// Norms by which attacks are shown.
pub(crate) const NORMS: [&str; 3] = ["linf", "l2", "l1"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_curve_keeps_its_ends_and_at_most_200_points() {
        let few = Curve::of(&[0.5, 1.0, 4.0], 10);
        assert_eq!(few.points().collect::<Vec<_>>(), [(0.5, 0.1), (1.0, 0.2), (4.0, 0.3)]);
        let many: Vec<f64> = (1..=999).map(f64::from).collect();
        let curve = Curve::of(&many, 1000);
        assert_eq!((curve.rank.len(), curve.rank[0], curve.rank[199]), (200, 1, 999));
        assert!(
            curve
                .rank
                .iter()
                .zip(&curve.distortion)
                .all(|(rank, distortion)| *rank as f64 == *distortion)
        );
        assert_eq!(Curve::of(&[], 3).points().count(), 0);
        assert_eq!(Curve::of(&[2.0], 4).points().collect::<Vec<_>>(), [(2.0, 0.25)]);
    }

    #[test]
    fn what_is_no_study_is_refused_with_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let error = || format!("{:#}", Summary::open(folder.path()).unwrap_err());
        assert!(error().contains("cannot be read: a results' folder is expected"), "{}", error());
        fs::write(folder.path().join(FILE), "{\"format\": 99}").unwrap();
        assert!(
            error().ends_with("is of format 99, this program reads 1: run the study again"),
            "{}",
            error()
        );
    }
}

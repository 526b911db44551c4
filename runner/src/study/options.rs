//! What a program sets beside a study's text.

use crate::data::Picture;
use std::path::PathBuf;
use std::time::Duration;

/// What a program may set beside the study file.
#[derive(Debug, Default)]
pub struct StudyOptions {
    /// Replaces `images` of `[data]`.
    pub images: Option<usize>,
    /// Changes to the study, each `PATH=VALUE` as of `runner run --set`.
    pub set: Vec<String>,
    /// Missing weights and images are no error, but listed in
    /// [`Study::missing`](crate::study::Study::missing): the study can be planned, not run.
    pub plan_only: bool,
    /// A folder with weights, for models whose weights the study does not name.
    pub weights: Option<PathBuf>,
    /// Replaces `cell_timeout`.
    pub cell_timeout: Option<Duration>,
    /// Replaces `include` of the study, unless empty.
    pub include: Vec<String>,
    /// Added to `exclude` of the study.
    pub exclude: Vec<String>,
    /// Images in memory that replace `[data]`.
    pub pictures: Option<Vec<Picture>>,
}

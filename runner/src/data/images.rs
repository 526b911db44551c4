//! The images of a study.

use crate::data::classes::Classes;
use crate::data::picture::Picture;
use serde::{Deserialize, Serialize};

/// The images of a study, in its order.
#[derive(Debug, Default)]
pub struct Data {
    /// The usable images.
    pub pictures: Vec<Picture>,
    /// The files that are no usable images.
    pub skipped: Vec<SkippedImage>,
    /// Number of images asked for; `None` for all. `pictures` may be fewer.
    pub asked: Option<usize>,
    /// Names of the classes, where the source of the images has them.
    pub classes: Option<Classes>,
    /// Number of the first class where the labels were read, 0 or 1. Labels count from 0.
    pub first_label: i64,
    /// How labels were read, where the study does not say so: in words, a sentence each.
    pub notes: Vec<String>,
}

/// A file that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedImage {
    /// Path below the folder of images.
    pub name: String,
    /// Why the file is not used, in words.
    pub reason: String,
}

impl Data {
    /// `count` images without pixels, for planning a study whose images are not there.
    pub(crate) fn absent(count: usize) -> Self {
        Self { pictures: (0..count).map(Picture::absent).collect(), ..Self::default() }
    }
}

//! The estimates of the document, with intervals from resampling the images.
//!
//! [`Resampler`] holds the counts and the resamples; each file here adds its methods for a subject.

mod campaigns;
mod depth;
mod laws;
mod resampler;
mod transfer;

pub(super) use resampler::{RESAMPLES, Resampler};
pub(super) use transfer::added;

//! Labelled images: the embedded Fashion-MNIST, a folder of photographs, or those of the published
//! study.
//!
//! A label is one of the dataset's own classes, counted from 0, whatever a model's numbering is.
//! The folder and the seed alone decide which images a study takes, and in which order.

mod class_folders;
mod classes;
mod decode;
mod fashion;
mod folder;
mod formats;
#[cfg(fuzzing)]
pub mod fuzzing;
mod images;
mod labels;
mod lookup;
mod open;
mod picture;
mod resample;
mod sheet;
mod source;
#[cfg(test)]
mod tests;
mod walk;

pub use classes::{Class, Classes};
pub use folder::{Folder, Greyscale};
pub use images::{Data, SkippedImage};
pub use picture::{Picture, batch, open_image};
pub use source::{MissingImages, OpenError, Source, eccv2018};

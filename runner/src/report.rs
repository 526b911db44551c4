//! What a run leaves behind: CSV and Parquet files in the results' folder, tables on the terminal.

mod files;
mod latex;
mod provenance;
mod terminal;

pub(crate) use files::DISTORTION;
pub use files::write;
pub(crate) use provenance::device;
pub use terminal::{Grid, print};

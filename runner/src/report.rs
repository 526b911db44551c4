//! What a run leaves behind: CSV and Parquet files in the results' folder, tables on the terminal,
//! a page with figures.

#[cfg(feature = "report")]
mod figure;
mod files;
#[cfg(feature = "report")]
mod html;
mod latex;
mod provenance;
mod terminal;

pub(crate) use files::DISTORTION;
pub use files::write;
#[cfg(feature = "report")]
pub use html::write_report;
pub use provenance::device;
pub use terminal::{Grid, print};

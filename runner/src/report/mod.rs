//! What a run leaves behind: CSV and Parquet files in the results' folder, tables on the terminal,
//! a page with figures.

#[cfg(feature = "report")]
mod figure;
mod grid;
#[cfg(feature = "report")]
mod html;
mod latex;
pub mod outcomes;
mod provenance;
mod tables;
mod terminal;
mod write;

pub use grid::Grid;
#[cfg(feature = "report")]
pub use html::write_report;
pub use provenance::device;
pub use terminal::print;
pub use write::{Written, write};

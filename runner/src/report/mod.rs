//! What a run leaves behind: CSV, Parquet and LaTeX tables in the results folder, tables on the
//! terminal, and a page with figures.

#[cfg(feature = "report")]
mod figure;
mod grid;
#[cfg(feature = "report")]
mod html;
mod latex;
pub mod outcomes;
pub(crate) mod provenance;
mod tables;
mod terminal;
mod write;

#[cfg(feature = "cli")]
pub(crate) use grid::Grid;
#[cfg(feature = "report")]
pub use html::write_report;
pub use provenance::device;
pub use terminal::print;
pub(crate) use write::{Written, write};

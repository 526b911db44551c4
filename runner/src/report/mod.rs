//! What a run leaves behind: CSV, Parquet and LaTeX tables in the results folder, tables on the
//! terminal, and a page with figures.

#[cfg(feature = "report")]
mod figure;
mod grid;
#[cfg(feature = "report")]
mod html;
mod latex;
pub mod outcomes;
#[cfg(feature = "report")]
mod png;
pub(crate) mod provenance;
mod robustness;
mod screen;
mod tables;
mod terminal;
mod write;

#[cfg(feature = "cli")]
pub(crate) use grid::Grid;
pub use grid::Shape;
#[cfg(feature = "report")]
pub use html::write_report;
#[cfg(feature = "cli")]
pub(crate) use png::png;
pub use provenance::device;
pub use screen::print_screen;
pub use terminal::{print, print_tables};
pub(crate) use write::{Written, write};

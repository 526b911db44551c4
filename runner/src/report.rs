//! What a run leaves behind: CSV and Parquet files in the results' folder, tables on the terminal.

mod files;
mod terminal;

pub use files::write;
pub use terminal::{Grid, print};

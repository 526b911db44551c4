//! A table of text: in aligned columns, or as CSV or Markdown.

use std::io::{self, Write};

/// How tables of text are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// In aligned columns, for people.
    #[default]
    Aligned,
    /// Comma-separated.
    Csv,
    /// A table of Markdown.
    Markdown,
}

/// Rows of text.
#[derive(Default)]
pub struct Grid {
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A grid with a heading.
    pub fn new<S: Into<String>>(head: impl IntoIterator<Item = S>) -> Self {
        Self { rows: vec![head.into_iter().map(Into::into).collect()] }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Writes the grid in a shape. Aligned, the first column stands to the left.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write, shape: Shape) -> io::Result<()> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let line = |row: &[String]| {
            let cells = (0..columns).map(|n| row.get(n).map_or("", |cell| cell.trim()));
            cells.map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | ")
        };
        match shape {
            Shape::Aligned => self.print(out, 1),
            Shape::Csv => {
                let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(out);
                for row in &self.rows {
                    writer.write_record(row.iter().map(|cell| cell.trim()))?;
                }
                writer.flush()
            }
            Shape::Markdown => {
                for (n, row) in self.rows.iter().enumerate() {
                    writeln!(out, "| {} |", line(row))?;
                    if n == 0 {
                        writeln!(out, "|{}", "---|".repeat(columns))?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Writes the grid: the first `left` columns aligned to the left, the others to the right. A
    /// column with nothing below its heading is left out.
    pub fn print(&self, out: &mut dyn Write, left: usize) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let empty = |column: usize| {
            self.rows.iter().skip(1).all(|row| row.get(column).is_none_or(String::is_empty))
        };
        let empty: Vec<bool> = (0..columns).map(empty).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate().filter(|(column, _)| !empty[*column]) {
                let space = " ".repeat(widths[column] - cell.chars().count());
                let (before, after) =
                    if column < left { ("", space.as_str()) } else { (space.as_str(), "") };
                line.extend(["  ", before, cell, after]);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

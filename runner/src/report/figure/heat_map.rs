//! A matrix of rates, ordered by family.

use super::canvas::{Anchor, Area, Canvas};
use super::drawing::Figure;
use super::frame::Name;
use super::palette::{hue, magnitude};
use super::text::{Style, fitted, width};

/// A matrix of rates of things against each other: rows and columns are the same things in the same
/// order.
pub struct HeatMap<'a> {
    /// What it shows.
    pub title: String,
    /// What a row is.
    pub rows: &'a str,
    /// What a column is.
    pub columns: &'a str,
    /// What a colour says, with its unit.
    pub values: &'a str,
    /// What the second number in a cell says, if a cell has one.
    pub controls: &'a str,
    /// The things, one family after the other.
    pub names: &'a [Name],
    /// The families' names.
    pub families: &'a [String],
    /// The cells, by row and column.
    pub cells: Vec<Vec<HeatCell>>,
}

/// A cell of a [`HeatMap`].
pub struct HeatCell {
    /// The rate, in [0, 1], if there is one.
    pub value: Option<f64>,
    /// The rate of its control, in [0, 1], if it has one. It is written below the rate.
    pub control: Option<f64>,
    /// The text of its tip.
    pub tip: String,
    /// `data-` attributes.
    pub data: Vec<(&'static str, String)>,
}

/// Width and height of a cell, in pixels.
const CELL: (f64, f64) = (27.0, 23.0);
/// Gap between families, in pixels.
const GAP: f64 = 5.0;
/// Greatest width of a name, in pixels; a longer one is cut.
const LONGEST: f64 = 150.0;
/// Turn of the columns' names, in degrees clockwise.
const TURN: f64 = -50.0;

impl HeatMap<'_> {
    /// Draws the matrix.
    pub fn draw(self) -> Figure {
        let mut canvas = Canvas::default();
        let texts: Vec<String> =
            self.names.iter().map(|name| fitted(&name.text, Style::TICK, LONGEST)).collect();
        let layout = Layout::new(self.names, &texts);
        self.heads(&mut canvas, &layout, &texts);
        for (row, cells) in self.cells.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                cell.draw(&mut canvas, layout.cell(row, column), (row, column));
            }
        }
        let room = layout.right - layout.left;
        let key = self.key(&mut canvas, layout.left, layout.bottom + 20.0, room);
        let end = self.legend(&mut canvas, &layout, key + 20.0);
        let steep = TURN.to_radians();
        let over = texts.last().map_or(0.0, |text| width(text, Style::TICK) * steep.cos());
        let controls = if self.has_controls() { self.controls } else { "" };
        let words = width(self.values, Style::TICK).max(width(controls, Style::TICK));
        let words = layout.left + words;
        let wide = (layout.right - CELL.0 / 2.0 + over).max(layout.right).max(words) + 12.0;
        Figure::new(canvas, wide, end + 12.0, self.title)
    }

    /// What rows and columns are, and their names with the colours of their families.
    fn heads(&self, canvas: &mut Canvas, layout: &Layout, texts: &[String]) {
        let Layout { left, top, bottom, .. } = *layout;
        canvas.text(
            (left, 14.0),
            Anchor::Start,
            Style::STRONG,
            "muted",
            &format!("{} →", self.columns),
        );
        canvas.turned(
            (14.0, bottom),
            -90.0,
            Anchor::Start,
            Style::STRONG,
            "muted",
            &format!("← {}", self.rows),
        );
        for (n, text) in texts.iter().enumerate() {
            let colour = hue(self.names[n].family).0;
            let Area { x, y, .. } = layout.cell(n, n);
            canvas.text(
                (left - 12.0, y + CELL.1 / 2.0 + 4.0),
                Anchor::End,
                Style::TICK,
                "ink",
                text,
            );
            canvas.turned(
                (x + CELL.0 / 2.0 + 3.0, top - 12.0),
                TURN,
                Anchor::Start,
                Style::TICK,
                "ink",
                text,
            );
            canvas.rect(Area { x: left - 8.0, y, w: 4.0, h: CELL.1 }, &colour);
            canvas.rect(Area { x, y: top - 8.0, w: CELL.0, h: 4.0 }, &colour);
        }
    }

    /// The scale of colours; returns the height of its last line.
    fn key(&self, canvas: &mut Canvas, left: f64, top: f64, room: f64) -> f64 {
        let (steps, wide) = (50, room.clamp(160.0, 300.0));
        for n in 0..steps {
            let w = wide / f64::from(steps);
            canvas.tile(
                Area { x: left + w * f64::from(n), y: top, w: w + 0.3, h: 9.0 },
                &magnitude((f64::from(n) + 0.5) / f64::from(steps)).0,
            );
        }
        for part in [0, 25, 50, 75, 100] {
            let x = left + wide * f64::from(part) / 100.0;
            canvas.line((x, top + 9.0), (x, top + 12.0), "axis");
            let anchor = if part == 0 { Anchor::Start } else { Anchor::Middle };
            canvas.text((x, top + 23.0), anchor, Style::TICK, "muted", &part.to_string());
        }
        canvas.text((left, top + 39.0), Anchor::Start, Style::TICK, "muted", self.values);
        if !self.has_controls() {
            return top + 39.0;
        }
        canvas.text((left, top + 55.0), Anchor::Start, Style::TICK, "muted", self.controls);
        top + 55.0
    }

    /// Whether a cell has a second number.
    fn has_controls(&self) -> bool {
        self.cells.iter().flatten().any(|cell| cell.control.is_some())
    }

    /// The families' colours, in as many lines as they need; returns the height of the last.
    fn legend(&self, canvas: &mut Canvas, layout: &Layout, top: f64) -> f64 {
        let used = self
            .families
            .iter()
            .enumerate()
            .filter(|(n, _)| self.names.iter().any(|name| name.family == *n));
        let mut at = (layout.left, top);
        for (n, family) in used {
            let needed = 14.0 + width(family, Style::TICK);
            if at.0 > layout.left && at.0 + needed > layout.right {
                at = (layout.left, at.1 + 18.0);
            }
            canvas.rect(Area { x: at.0, y: at.1 - 9.0, w: 9.0, h: 9.0 }, &hue(n).0);
            canvas.text((at.0 + 14.0, at.1), Anchor::Start, Style::TICK, "ink", family);
            at.0 += needed + 16.0;
        }
        at.1
    }
}

impl HeatCell {
    /// Draws the cell that stands at a row and a column.
    fn draw(&self, canvas: &mut Canvas, area: Area, (row, column): (usize, usize)) {
        let mut data = vec![("row", row.to_string()), ("column", column.to_string())];
        data.extend(self.data.iter().cloned());
        canvas.open("cell", &self.tip, &data);
        let middle = (area.x + area.w / 2.0, area.y + area.h / 2.0 + 3.5);
        match self.value {
            None => {
                canvas.rect(area, "hatch");
                canvas.text(middle, Anchor::Middle, Style::CELL, "muted", "–");
            }
            Some(value) => {
                let (ground, light) = magnitude(value);
                canvas.tile(area, &ground);
                let class = if light { "on-dark" } else { "on-light" };
                let up = if self.control.is_some() { 4.0 } else { 0.0 };
                let text = format!("{:.0}", 100.0 * value);
                canvas.text((middle.0, middle.1 - up), Anchor::Middle, Style::CELL, class, &text);
                if let Some(control) = self.control {
                    let text = format!("{:.0}", 100.0 * control);
                    let below = (middle.0, middle.1 + 5.5);
                    canvas.text(below, Anchor::Middle, Style::SMALL, class, &text);
                }
            }
        }
        if row == column {
            canvas.rect(area.grown(-1.0), "own");
        }
        canvas.close();
    }
}

/// Where the cells are, in pixels.
struct Layout {
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
    /// The sum of the gaps before each row or column.
    gaps: Vec<f64>,
}

impl Layout {
    fn new(names: &[Name], texts: &[String]) -> Self {
        let longest = texts.iter().map(|text| width(text, Style::TICK)).fold(0.0, f64::max);
        let left = 26.0 + longest + 14.0;
        let top = 26.0 + longest * -TURN.to_radians().sin() + 14.0;
        let mut sum = 0.0;
        let gaps = (0..names.len())
            .map(|n| {
                if n > 0 && names[n].family != names[n - 1].family {
                    sum += GAP;
                }
                sum
            })
            .collect();
        let mut layout = Self { left, top, right: left, bottom: top, gaps };
        let last = layout.cell(names.len() - 1, names.len() - 1);
        (layout.right, layout.bottom) = (last.right(), last.bottom());
        layout
    }

    fn cell(&self, row: usize, column: usize) -> Area {
        Area {
            x: self.left + column as f64 * CELL.0 + self.gaps[column],
            y: self.top + row as f64 * CELL.1 + self.gaps[row],
            w: CELL.0,
            h: CELL.1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighteen_by_eighteen_cells_have_their_numbers_and_no_text_touches_another() {
        let families: Vec<String> = (0..7).map(|n| format!("family {n}")).collect();
        let names: Vec<Name> = (0..18)
            .map(|n| Name { text: format!("inception_resnet_v{n}"), family: n * 7 / 18 })
            .collect();
        let cell = |row: usize, column: usize| HeatCell {
            value: (row != 3).then(|| (row * 18 + column) as f64 / 323.0),
            control: (column == 5).then_some(row as f64 / 17.0),
            tip: format!("{row} to {column}: 5 of 40"),
            data: vec![("n", "40".into())],
        };
        let cells = (0..18).map(|row| (0..18).map(|column| cell(row, column)).collect()).collect();
        let map = HeatMap {
            title: "who fools whom".into(),
            rows: "source",
            columns: "target",
            values: "%",
            controls: "below: without the attack (%)",
            names: &names,
            families: &families,
            cells,
        };
        let figure = map.draw();
        let svg = figure.inline();
        assert_eq!(svg.matches("<g class=\"cell\"").count(), 324);
        assert!(svg.contains(
            "data-row=\"17\" data-column=\"17\" data-n=\"40\"><title>17 to 17: 5 of 40</title>"
        ));
        assert!(svg.contains("below: without the attack"));
        super::super::drawing::tests::no_text_touches(&figure);
    }
}

//! Estimates with whiskers, in rows.

use super::canvas::{Anchor, Area, Canvas};
use super::drawing::Figure;
use super::frame::{Axis, MARK, Sample, WIDTH, abscissa, legend};
use super::palette::{hue, shape};
use super::scale::Scale;
use super::text::{Style, fitted, width};

/// Estimates with their intervals, one row below the other.
pub struct Intervals<'a> {
    /// What it shows.
    pub title: String,
    /// The abscissa.
    pub x: Axis,
    /// Range that the abscissa covers in any case, such as 0 to 1 for rates.
    pub least: Option<(f64, f64)>,
    /// The rows.
    pub rows: Vec<Interval>,
    /// What the colours of whiskers mean.
    pub series: &'a [String],
    /// A value to compare with.
    pub reference: Option<f64>,
}

/// A row of [`Intervals`].
pub struct Interval {
    /// What the row is.
    pub name: String,
    /// A heading above the row.
    pub heading: Option<String>,
    /// Its estimates.
    pub whiskers: Vec<Whisker>,
}

/// An estimate.
pub struct Whisker {
    /// Index of its series.
    pub series: usize,
    /// The estimate.
    pub value: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// The text of its tip.
    pub tip: String,
}

/// Greatest width of a name, in pixels; a longer one is cut.
const LONGEST: f64 = 240.0;

impl Intervals<'_> {
    /// Draws the rows.
    pub fn draw(self) -> Figure {
        let mut canvas = Canvas::default();
        let longest = self
            .rows
            .iter()
            .map(|row| width(&row.name, Style::TICK))
            .fold(0.0, f64::max)
            .min(LONGEST);
        let deep = |row: &Interval| {
            8.0 + 11.0 * row.whiskers.len().max(1) as f64
                + if row.heading.is_some() { 24.0 } else { 0.0 }
        };
        let (left, top) = (longest + 22.0, 8.0);
        let plot =
            Area { x: left, y: top, w: WIDTH - left - 20.0, h: self.rows.iter().map(deep).sum() };
        let whiskers = self.rows.iter().flat_map(|row| &row.whiskers);
        let ends = whiskers.flat_map(|whisker| {
            whisker.interval.map_or([whisker.value; 2], |(low, high)| [low, high])
        });
        let values = ends
            .chain(self.least.map_or(vec![], |(low, high)| vec![low, high]))
            .chain(self.reference);
        let across = match self.least {
            Some((low, high)) => {
                let (from, to) = values
                    .filter(|value| value.is_finite())
                    .fold((low, high), |(a, b), value| (a.min(value), b.max(value)));
                Scale::new(self.x.kind, (from, to), (plot.x, plot.right()))
            }
            None => Scale::around(self.x.kind, values, (plot.x, plot.right())),
        };
        abscissa(&mut canvas, plot, &self.x, &across);
        if let Some(value) = self.reference {
            canvas.line(
                (across.within(value), plot.y),
                (across.within(value), plot.bottom()),
                "reference",
            );
        }
        let mut y = top;
        for row in &self.rows {
            let end = y + deep(row);
            if let Some(heading) = &row.heading {
                canvas.text((4.0, y + 20.0), Anchor::Start, Style::STRONG, "muted", heading);
                y += 24.0;
            }
            let name = fitted(&row.name, Style::TICK, LONGEST);
            canvas.text(
                (left - 10.0, f64::midpoint(y, end) + 4.0),
                Anchor::End,
                Style::TICK,
                "ink",
                &name,
            );
            let first = f64::midpoint(y, end) - 5.5 * (row.whiskers.len().max(1) - 1) as f64;
            for (n, whisker) in row.whiskers.iter().enumerate() {
                let (at, (fill, line)) = (first + 11.0 * n as f64, hue(whisker.series));
                canvas.open("point", &whisker.tip, &[("name", row.name.clone())]);
                if let Some((low, high)) = whisker.interval {
                    canvas.line(
                        (across.within(low), at),
                        (across.within(high), at),
                        &format!("whisker {line}"),
                    );
                }
                canvas.mark((across.within(whisker.value), at), shape(whisker.series), MARK, &fill);
                canvas.close();
            }
            y = end;
        }
        let present = |n: usize| {
            self.rows.iter().flat_map(|row| &row.whiskers).any(|whisker| whisker.series == n)
        };
        let entries: Vec<(Sample, &str)> = self
            .series
            .iter()
            .enumerate()
            .filter(|(n, _)| present(*n))
            .map(|(n, name)| (Sample::Family(n), name.as_str()))
            .collect();
        let end = if entries.len() > 1 {
            legend(&mut canvas, &entries, left, plot.bottom() + 60.0, plot.w)
        } else {
            plot.bottom() + 48.0
        };
        Figure::new(canvas, WIDTH, end, self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::scale::Kind;

    #[test]
    fn rows_stand_apart() {
        let row = |n: usize| Interval {
            name: format!("some network of number {n}"),
            heading: n.is_multiple_of(6).then(|| format!("group {n}")),
            whiskers: (0..=n % 3)
                .map(|series| Whisker {
                    series,
                    value: 0.5,
                    interval: Some((0.2, 0.9)),
                    tip: String::new(),
                })
                .collect(),
        };
        let intervals = Intervals {
            title: "accuracy".into(),
            x: Axis::percent("accuracy (%)", Kind::Linear),
            least: Some((0.0, 1.0)),
            rows: (0..18).map(row).collect(),
            series: &["a".into(), "b".into(), "c".into()],
            reference: Some(0.7),
        };
        super::super::drawing::tests::no_text_touches(&intervals.draw());
    }
}

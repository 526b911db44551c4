//! What charts with axes have in common.

use super::canvas::{Anchor, Area, Canvas};
use super::palette::{hue, shape};
use super::scale::{Kind, Scale};
use super::text::{Style, width};

/// Width of every chart with axes, in pixels.
pub(super) const WIDTH: f64 = 720.0;
/// Radius of a mark.
pub(super) const MARK: f64 = 4.2;

/// An axis.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with its unit.
    pub label: String,
    /// Whether the axis is linear or logarithmic.
    pub kind: Kind,
    /// Whether values are fractions that are written as per cent.
    pub percent: bool,
}

impl Axis {
    /// An axis of plain numbers.
    pub fn new(label: impl Into<String>, kind: Kind) -> Self {
        Self { label: label.into(), kind, percent: false }
    }

    /// An axis of fractions, written as per cent.
    pub fn percent(label: impl Into<String>, kind: Kind) -> Self {
        Self { label: label.into(), kind, percent: true }
    }
}

/// A name in a figure, of a model for example, and the family that its colour shows.
#[derive(Clone, Debug, PartialEq)]
pub struct Name {
    /// The name.
    pub text: String,
    /// Index of its family.
    pub family: usize,
}

/// Ticks, grid and labels around `plot`. The ordinate's label stands above it, the abscissa's
/// below.
pub(super) fn axes(
    canvas: &mut Canvas,
    plot: Area,
    (x, across): (&Axis, &Scale),
    (y, up): (&Axis, &Scale),
) {
    for tick in up.ticks(6, y.percent).into_iter().filter(|tick| !tick.text.is_empty()) {
        let at = up.at(tick.value);
        canvas.line((plot.x, at), (plot.right(), at), "grid");
        canvas.text((plot.x - 7.0, at + 4.0), Anchor::End, Style::TICK, "muted", &tick.text);
    }
    canvas.text((4.0, plot.y - 12.0), Anchor::Start, Style::LABEL, "ink", &y.label);
    abscissa(canvas, plot, x, across);
}

/// Ticks and label below `plot`.
pub(super) fn abscissa(canvas: &mut Canvas, plot: Area, x: &Axis, across: &Scale) {
    let mut taken = f64::NEG_INFINITY;
    for tick in across.ticks(8, x.percent) {
        let (at, half) = (across.at(tick.value), width(&tick.text, Style::TICK) / 2.0);
        if tick.text.is_empty() || at - half < taken + 6.0 {
            canvas.line((at, plot.bottom()), (at, plot.bottom() + 3.0), "axis");
            continue;
        }
        taken = at + half;
        canvas.line((at, plot.y), (at, plot.bottom()), "grid");
        canvas.line((at, plot.bottom()), (at, plot.bottom() + 5.0), "axis");
        canvas.text((at, plot.bottom() + 18.0), Anchor::Middle, Style::TICK, "muted", &tick.text);
    }
    canvas.line((plot.x, plot.bottom()), (plot.right(), plot.bottom()), "axis");
    canvas.text(
        (plot.x + plot.w / 2.0, plot.bottom() + 37.0),
        Anchor::Middle,
        Style::LABEL,
        "ink",
        &x.label,
    );
}

/// Width of the ordinate's ticks left of a plot, in pixels.
pub(super) fn gutter(axis: &Axis, scale: &Scale) -> f64 {
    scale
        .ticks(6, axis.percent)
        .iter()
        .map(|tick| width(&tick.text, Style::TICK))
        .fold(0.0, f64::max)
        + 14.0
}

/// What a legend shows before a text.
pub(super) enum Sample<'a> {
    /// A family's mark.
    Family(usize),
    /// A line of a class.
    Line(&'a str),
    /// A line of a class over a band.
    Band(&'a str),
    /// A ring around a mark.
    Ring,
}

/// Entries in rows from `y` on, as many in a row as fit; returns where the next row would be.
pub(super) fn legend(
    canvas: &mut Canvas,
    entries: &[(Sample, &str)],
    left: f64,
    mut y: f64,
    room: f64,
) -> f64 {
    let mut x = left;
    for (sample, text) in entries {
        let sign = if matches!(sample, Sample::Family(_) | Sample::Ring) { 14.0 } else { 30.0 };
        let needed = sign + width(text, Style::TICK);
        if x > left && x + needed > left + room {
            (x, y) = (left, y + 18.0);
        }
        let middle = y - 4.0;
        match sample {
            Sample::Family(family) => {
                canvas.mark((x + 5.0, middle), shape(*family), MARK, &hue(*family).0);
            }
            Sample::Ring => {
                canvas.mark((x + 5.0, middle), 0, MARK - 1.5, "muted");
                canvas.mark((x + 5.0, middle), 0, MARK + 2.6, "ring");
            }
            Sample::Line(class) => canvas.line((x, middle), (x + 24.0, middle), class),
            Sample::Band(class) => {
                canvas.rect(Area { x, y: middle - 5.0, w: 24.0, h: 10.0 }, "band");
                canvas.line((x, middle), (x + 24.0, middle), class);
            }
        }
        canvas.text((x + sign, y), Anchor::Start, Style::TICK, "ink", text);
        x += needed + 18.0;
    }
    y + 18.0
}

/// Legend entries of the families that occur.
pub(super) fn families(
    families: &[String],
    present: impl Fn(usize) -> bool,
) -> Vec<(Sample<'static>, &str)> {
    families
        .iter()
        .enumerate()
        .filter(|(n, _)| present(*n))
        .map(|(n, name)| (Sample::Family(n), name.as_str()))
        .collect()
}

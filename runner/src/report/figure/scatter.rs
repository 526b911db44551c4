//! Points with their names: one quantity against another.

use super::canvas::{Anchor, Area, Canvas};
use super::drawing::Figure;
use super::frame::{Axis, MARK, Name, Sample, WIDTH, axes, families, gutter, legend};
use super::labels::{Wanted, beside};
use super::palette::{hue, shape};
use super::scale::Scale;
use super::text::{Style, width};

/// Points in a plane, with lines through them.
pub struct Scatter<'a> {
    /// What it shows.
    pub title: String,
    /// The abscissa.
    pub x: Axis,
    /// The ordinate.
    pub y: Axis,
    /// The points.
    pub points: Vec<ScatterPoint>,
    /// Lines with bands.
    pub fits: Vec<Fit>,
    /// A line through the best points, from left to right, and what it is called.
    pub frontier: Option<(&'a str, Vec<(f64, f64)>)>,
    /// What a ring around a mark says.
    pub ring: Option<&'a str>,
    /// Points of one family that a line joins, as indices in order.
    pub joined: Vec<Vec<usize>>,
    /// The families' names.
    pub families: &'a [String],
}

/// A point of a [`Scatter`].
pub struct ScatterPoint {
    /// Its name and family.
    pub name: Name,
    /// Where it is.
    pub at: (f64, f64),
    /// The abscissa's interval.
    pub across: Option<(f64, f64)>,
    /// The ordinate's interval.
    pub up: Option<(f64, f64)>,
    /// Whether it has a ring.
    pub ring: bool,
    /// The text of its tip.
    pub tip: String,
}

/// A point of a [`Fit`].
pub struct FitPoint {
    /// The abscissa.
    pub x: f64,
    /// The line's height there.
    pub y: f64,
    /// The ends of its interval.
    pub interval: Option<(f64, f64)>,
}

/// A line with a band.
pub struct Fit {
    /// What it goes through.
    pub name: String,
    /// Its points, from left to right.
    pub line: Vec<FitPoint>,
}

const HEIGHT: f64 = 330.0;
const FITS: [&str; 3] = ["fit", "fit dash1", "fit dash2"];

impl Scatter<'_> {
    /// Draws the points.
    pub fn draw(self) -> Figure {
        let mut canvas = Canvas::default();
        let top = 34.0;
        // Whiskers may run off the sheet, points and lines may not.
        let heights = self
            .points
            .iter()
            .map(|p| p.at.1)
            .chain(self.fits.iter().flat_map(|fit| fit.line.iter().map(|point| point.y)));
        let ends =
            self.points.iter().flat_map(|p| p.up.map_or([p.at.1; 2], |(low, high)| [low, high]));
        let up = Scale::around(self.y.kind, heights.chain(ends), (top + HEIGHT, top));
        let left = gutter(&self.y, &up);
        let plot = Area { x: left, y: top, w: WIDTH - left - 16.0, h: HEIGHT };
        let ends = self
            .points
            .iter()
            .flat_map(|p| p.across.map_or([p.at.0; 2], |(low, high)| [low, high]));
        let across = Scale::around(
            self.x.kind,
            self.points.iter().map(|p| p.at.0).chain(ends),
            (plot.x, plot.right()),
        );
        axes(&mut canvas, plot, (&self.x, &across), (&self.y, &up));
        let place = |(x, y): (f64, f64)| (across.within(x), up.within(y));

        let mut light = Vec::new();
        for (n, fit) in self.fits.iter().enumerate() {
            let band: Vec<(f64, f64, f64)> = fit
                .line
                .iter()
                .filter_map(|point| point.interval.map(|(low, high)| (point.x, low, high)))
                .collect();
            if band.len() > 1 {
                let lower = band.iter().map(|&(x, low, _)| place((x, low)));
                let outline: Vec<(f64, f64)> =
                    lower.chain(band.iter().rev().map(|&(x, _, high)| place((x, high)))).collect();
                canvas.path(&outline, true, "band");
            }
            let line: Vec<(f64, f64)> =
                fit.line.iter().map(|point| place((point.x, point.y))).collect();
            light.extend(along(&line));
            canvas.path(&line, false, FITS[n % FITS.len()]);
        }
        if let Some((_, corners)) = &self.frontier {
            let line: Vec<(f64, f64)> = corners.iter().copied().map(place).collect();
            light.extend(along(&line));
            canvas.path(&line, false, "frontier");
        }
        for chain in &self.joined {
            let line: Vec<(f64, f64)> = chain.iter().map(|&n| place(self.points[n].at)).collect();
            light.extend(along(&line));
            let class =
                chain.first().map_or_else(String::new, |&n| hue(self.points[n].name.family).1);
            canvas.path(&line, false, &format!("curve {class}"));
        }
        for point in &self.points {
            let ((x, y), class) =
                (place(point.at), format!("whisker {}", hue(point.name.family).1));
            if let Some((low, high)) = point.across {
                let (from, to) = (across.within(low), across.within(high));
                light.push(Area { x: from, y: y - 0.5, w: to - from, h: 1.0 });
                canvas.line((from, y), (to, y), &class);
            }
            if let Some((low, high)) = point.up {
                let (from, to) = (up.within(low), up.within(high));
                light.push(Area { x: x - 0.5, y: to, w: 1.0, h: from - to });
                canvas.line((x, from), (x, to), &class);
            }
        }
        for point in &self.points {
            canvas.open("point", &point.tip, &[("name", point.name.text.clone())]);
            canvas.mark(place(point.at), shape(point.name.family), MARK, &hue(point.name.family).0);
            if point.ring {
                canvas.mark(place(point.at), 0, MARK + 2.6, "ring");
            }
            canvas.close();
        }
        self.names(&mut canvas, plot, &light, place);
        self.legend(&mut canvas, plot)
    }

    fn names(
        &self,
        canvas: &mut Canvas,
        plot: Area,
        light: &[Area],
        place: impl Fn((f64, f64)) -> (f64, f64),
    ) {
        let marks: Vec<Area> = self
            .points
            .iter()
            .map(|point| {
                let (x, y) = place(point.at);
                Area { x, y, w: 0.0, h: 0.0 }.grown(MARK + if point.ring { 2.5 } else { 0.5 })
            })
            .collect();
        let wanted: Vec<Wanted> = self
            .points
            .iter()
            .map(|point| Wanted {
                at: place(point.at),
                w: width(&point.name.text, Style::TICK),
                h: 0.93 * Style::TICK.size,
            })
            .collect();
        for ((point, wanted), placed) in
            self.points.iter().zip(&wanted).zip(beside(&wanted, &marks, light, plot))
        {
            if let Some(end) = placed.leader {
                canvas.line(end, wanted.at, "leader");
            }
            let at = (placed.area.x, placed.area.y + 0.73 * Style::TICK.size);
            canvas.text(at, Anchor::Start, Style::TICK, "ink", &point.name.text);
        }
    }

    fn legend(self, canvas: &mut Canvas, plot: Area) -> Figure {
        let mut entries =
            families(self.families, |n| self.points.iter().any(|point| point.name.family == n));
        for (n, fit) in self.fits.iter().enumerate() {
            entries.push((Sample::Band(FITS[n % FITS.len()]), &fit.name));
        }
        entries.extend(self.frontier.iter().map(|(name, _)| (Sample::Line("frontier"), *name)));
        entries.extend(
            self.ring
                .filter(|_| self.points.iter().any(|point| point.ring))
                .map(|name| (Sample::Ring, name)),
        );
        let end = legend(canvas, &entries, plot.x, plot.bottom() + 60.0, plot.w);
        Figure::new(std::mem::take(canvas), WIDTH, end, self.title)
    }
}

/// Small boxes along a line, which names keep off.
fn along(line: &[(f64, f64)]) -> Vec<Area> {
    let mut boxes = Vec::new();
    for pair in line.windows(2) {
        let steps = ((pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1) / 6.0).ceil().max(1.0);
        for n in 0..steps as usize {
            let part = n as f64 / steps;
            let at = |a: f64, b: f64| a + (b - a) * part;
            boxes.push(Area {
                x: at(pair[0].0, pair[1].0) - 3.0,
                y: at(pair[0].1, pair[1].1) - 1.0,
                w: 6.0,
                h: 2.0,
            });
        }
    }
    boxes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figure::scale::Kind;

    #[test]
    fn names_of_eighteen_close_points_touch_nothing() {
        let families: Vec<String> =
            ["AlexNet", "VGG", "Inception", "ResNet", "MobileNet", "DenseNet", "NASNet"]
                .map(str::to_owned)
                .to_vec();
        let point = |n: usize| ScatterPoint {
            name: Name { text: format!("some_network_v{n}"), family: n % 7 },
            at: (0.08 + 0.002 * (n % 5) as f64, 0.5 + 0.01 * n as f64),
            across: Some((0.06, 0.12)),
            up: Some((0.4, 0.8)),
            ring: n.is_multiple_of(3),
            tip: String::new(),
        };
        let fit = |name: &str| Fit {
            name: name.into(),
            line: [0.08, 0.09]
                .map(|x| FitPoint { x, y: 4.0 * x, interval: Some((3.0 * x, 5.0 * x)) })
                .into(),
        };
        let scatter = Scatter {
            title: "distortion against error".into(),
            x: Axis::percent("error (%)", Kind::Log),
            y: Axis::new("distortion", Kind::Linear),
            points: (0..18).map(point).collect(),
            fits: vec![fit("all"), fit("frontier"), fit("rest")],
            frontier: Some(("frontier", vec![(0.08, 0.5), (0.09, 0.6)])),
            ring: Some("on the frontier"),
            joined: vec![vec![0, 7, 14]],
            families: &families,
        };
        let figure = scatter.draw();
        super::super::drawing::tests::no_text_touches(&figure);
        assert_eq!(figure.inline().matches("<g class=\"point\"").count(), 18);
    }
}

//! Curves that rise or fall in steps, each with its name at its end.

use super::canvas::{Anchor, Area, Canvas};
use super::drawing::Figure;
use super::frame::{Axis, Name, WIDTH, axes, families, gutter, legend};
use super::labels::apart;
use super::palette::hue;
use super::scale::{Kind, Scale};
use super::text::{Style, width};

/// Shares that grow with a quantity.
pub struct Curves<'a> {
    /// What it shows.
    pub title: String,
    /// The abscissa.
    pub x: Axis,
    /// The ordinate, from 0 to 1.
    pub y: Axis,
    /// The curves, as they rise.
    pub rising: Vec<Curve>,
    /// Whether they are drawn falling, each height as what is left of 1.
    pub falls: bool,
    /// The families' names.
    pub families: &'a [String],
}

/// A curve of [`Curves`].
pub struct Curve {
    /// Its name and family.
    pub name: Name,
    /// Abscissae and the heights to which the curve has risen there, ascending.
    pub points: Vec<(f64, f64)>,
    /// The text of its tip.
    pub tip: String,
}

const HEIGHT: f64 = 350.0;
const DASHES: [&str; 5] = ["", "dash1", "dash2", "dash3", "dash4"];

impl Curves<'_> {
    /// Draws the curves.
    pub fn draw(self) -> Figure {
        let mut canvas = Canvas::default();
        let (top, bottom) = (34.0, 34.0 + HEIGHT);
        let up = Scale::new(Kind::Linear, (0.0, 1.0), (bottom, top));
        let left = gutter(&self.y, &up);
        let longest = self
            .rising
            .iter()
            .map(|curve| width(&curve.name.text, Style::TICK))
            .fold(0.0, f64::max);
        let plot = Area { x: left, y: top, w: WIDTH - left - longest - 34.0, h: HEIGHT };
        let values = self.rising.iter().flat_map(|curve| curve.points.iter().map(|point| point.0));
        let across = Scale::around(self.x.kind, values, (plot.x, plot.right()));
        axes(&mut canvas, plot, (&self.x, &across), (&self.y, &up));

        let height = |share: f64| up.within(if self.falls { 1.0 - share } else { share });
        let ends: Vec<f64> = self
            .rising
            .iter()
            .map(|curve| height(curve.points.last().map_or(0.0, |point| point.1)))
            .collect();
        let names = apart(&ends, 13.0, (top - 8.0, bottom + 4.0));
        for (n, curve) in self.rising.iter().enumerate() {
            // The dashes tell members of a family apart.
            let member = self.rising[..n]
                .iter()
                .filter(|other| other.name.family == curve.name.family)
                .count();
            let line = hue(curve.name.family).1;
            let class = format!("curve {line} {}", DASHES[member % DASHES.len()]);
            canvas.open("series", &curve.tip, &[("name", curve.name.text.clone())]);
            let mut steps = vec![(plot.x, height(0.0))];
            for &(x, y) in &curve.points {
                let (x, last) = (across.within(x), steps.last().map_or(bottom, |step| step.1));
                steps.extend([(x, last), (x, height(y))]);
            }
            steps.push((plot.right(), ends[n]));
            canvas.path(&steps, false, &class);
            canvas.path(
                &[(plot.right() + 2.0, ends[n]), (plot.right() + 20.0, names[n])],
                false,
                &class,
            );
            canvas.text(
                (plot.right() + 24.0, names[n] + 4.0),
                Anchor::Start,
                Style::TICK,
                "ink",
                &curve.name.text,
            );
            canvas.close();
        }
        let entries =
            families(self.families, |n| self.rising.iter().any(|curve| curve.name.family == n));
        let end = legend(&mut canvas, &entries, plot.x, plot.bottom() + 60.0, WIDTH - plot.x);
        Figure::new(canvas, WIDTH, end, self.title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_at_the_ends_touch_nothing_though_all_curves_end_together() {
        let families = vec!["VGG".to_owned(), "ResNet".to_owned()];
        let curve = |n: usize| Curve {
            name: Name { text: format!("some_network_v{n}"), family: n % 2 },
            points: (1..=40).map(|step| (0.01 * f64::from(step), f64::from(step) / 40.0)).collect(),
            tip: String::new(),
        };
        let curves = Curves {
            title: "success against distortion".into(),
            x: Axis::new("l2", Kind::Linear),
            y: Axis::percent("success (%)", Kind::Linear),
            rising: (0..18).map(curve).collect(),
            falls: false,
            families: &families,
        };
        super::super::drawing::tests::no_text_touches(&curves.draw());
    }
}

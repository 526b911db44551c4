//! A sheet of SVG: shapes and text, in colours that the palette names.

use super::text::{Style, width};
use std::fmt::Write;

/// A class of the palette's style sheet, instead of a colour.
pub type Class<'a> = &'a str;

/// Which point of a text is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its left end.
    Start,
    /// Its middle.
    Middle,
    /// Its right end.
    End,
}

/// A rectangle in pixels; y goes down, as in SVG.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Area {
    /// The right edge.
    pub fn right(&self) -> f64 {
        self.x + self.w
    }

    /// The lower edge.
    pub fn bottom(&self) -> f64 {
        self.y + self.h
    }

    /// The size of the area that both cover, in square pixels.
    pub fn overlap(&self, other: &Self) -> f64 {
        let along = |a: f64, b: f64, c: f64, d: f64| (b.min(d) - a.max(c)).max(0.0);
        along(self.x, self.right(), other.x, other.right())
            * along(self.y, self.bottom(), other.y, other.bottom())
    }

    /// Larger by `by` on every side.
    pub fn grown(&self, by: f64) -> Self {
        Self { x: self.x - by, y: self.y - by, w: self.w + 2.0 * by, h: self.h + 2.0 * by }
    }
}

/// SVG in the making, and the boxes of its upright text.
#[derive(Debug, Default)]
pub struct Canvas {
    body: String,
    written: Vec<Area>,
}

/// A coordinate to a tenth of a pixel.
pub fn coordinate(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    format!("{}", if rounded == 0.0 { 0.0 } else { rounded })
}

/// Text for XML, between tags and in attributes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' => safe.push(' '),
            // XML forbids these, also as references.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

impl Canvas {
    /// The drawing so far: the inside of an `svg` element.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The boxes of the upright text on the sheet.
    #[cfg(test)]
    pub fn written(&self) -> &[Area] {
        &self.written
    }

    /// Opens a group, with a text that tells what it shows and `data-` attributes.
    pub fn open(&mut self, class: Class, title: &str, data: &[(&str, String)]) {
        let _ = write!(self.body, "<g class=\"{class}\"");
        for (name, value) in data {
            let _ = write!(self.body, " data-{name}=\"{}\"", escape(value));
        }
        let _ = write!(self.body, "><title>{}</title>", escape(title));
    }

    /// Closes a group.
    pub fn close(&mut self) {
        self.body.push_str("</g>");
    }

    /// A rectangle.
    pub fn rect(&mut self, area: Area, class: Class) {
        self.rectangle(area, &format!("class=\"{class}\""));
    }

    /// A rectangle in a colour of its own, the same in light and in dark.
    pub fn tile(&mut self, area: Area, colour: &str) {
        self.rectangle(area, &format!("fill=\"{colour}\""));
    }

    fn rectangle(&mut self, area: Area, paint: &str) {
        let [x, y, w, h] = [area.x, area.y, area.w, area.h].map(coordinate);
        let _ =
            write!(self.body, "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" {paint}/>");
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: Class) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(coordinate);
        let _ = write!(
            self.body,
            "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" class=\"{class}\"/>"
        );
    }

    /// A line through points; closed, the area inside.
    pub fn path(&mut self, points: &[(f64, f64)], closed: bool, class: Class) {
        self.body.push_str("<path d=\"");
        for (n, &(x, y)) in points.iter().enumerate() {
            let _ = write!(
                self.body,
                "{}{},{}",
                if n == 0 { 'M' } else { 'L' },
                coordinate(x),
                coordinate(y)
            );
        }
        let _ = write!(self.body, "{}\" class=\"{class}\"/>", if closed { "Z" } else { "" });
    }

    /// A mark at a point, in one of [`SHAPES`] shapes.
    pub fn mark(&mut self, (x, y): (f64, f64), shape: usize, radius: f64, class: Class) {
        let polygon = |turn: f64, radii: &[f64]| -> Vec<(f64, f64)> {
            let step = std::f64::consts::TAU / radii.len() as f64;
            (0..radii.len())
                .map(|n| (turn + step * n as f64, radii[n] * radius))
                .map(|(a, r)| (x + r * a.sin(), y - r * a.cos()))
                .collect()
        };
        let quarter = std::f64::consts::FRAC_PI_4;
        let points = match shape % SHAPES {
            0 => {
                let [x, y, r] = [x, y, radius].map(coordinate);
                let _ = write!(
                    self.body,
                    "<circle cx=\"{x}\" cy=\"{y}\" r=\"{r}\" class=\"{class}\"/>"
                );
                return;
            }
            1 => polygon(quarter, &[1.25; 4]),
            2 => polygon(0.0, &[1.35; 3]),
            3 => polygon(0.0, &[1.35; 4]),
            4 => polygon(std::f64::consts::PI, &[1.35; 3]),
            5 => polygon(0.0, &[1.5, 0.65].repeat(5)),
            _ => polygon(0.0, &[1.2; 6]),
        };
        self.path(&points, true, class);
    }

    /// Text with its baseline at `y`.
    pub fn text(
        &mut self,
        (x, y): (f64, f64),
        anchor: Anchor,
        style: Style,
        class: Class,
        text: &str,
    ) {
        let w = width(text, style);
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - w / 2.0,
            Anchor::End => x - w,
        };
        self.written.push(Area { x: left, y: y - 0.73 * style.size, w, h: 0.93 * style.size });
        self.put(
            &format!("x=\"{}\" y=\"{}\"", coordinate(x), coordinate(y)),
            anchor,
            style,
            class,
            text,
        );
    }

    /// Text turned around its anchor, clockwise in degrees.
    pub fn turned(
        &mut self,
        (x, y): (f64, f64),
        degrees: f64,
        anchor: Anchor,
        style: Style,
        class: Class,
        text: &str,
    ) {
        let place = format!(
            "transform=\"translate({},{}) rotate({})\"",
            coordinate(x),
            coordinate(y),
            coordinate(degrees)
        );
        self.put(&place, anchor, style, class, text);
    }

    fn put(&mut self, place: &str, anchor: Anchor, style: Style, class: Class, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let weight = if style.strong { " font-weight=\"600\"" } else { "" };
        let _ = write!(
            self.body,
            "<text {place}{anchor} font-size=\"{}\"{weight} class=\"{class}\">{}</text>",
            style.size,
            escape(text)
        );
    }
}

/// Number of different marks.
pub const SHAPES: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_cannot_become_markup() {
        let mut canvas = Canvas::default();
        canvas.open("cell", "</title><script>", &[("model", "\"onload='x'".into())]);
        canvas.text((0.0, 0.0), Anchor::Start, Style::TICK, "ink", "<b>&\u{1}");
        canvas.close();
        let body = canvas.body();
        assert!(body.contains("<title>&lt;/title&gt;&lt;script&gt;</title>"), "{body}");
        assert!(body.contains("data-model=\"&quot;onload=&#39;x&#39;\""), "{body}");
        assert!(body.contains(">&lt;b&gt;&amp;\u{fffd}</text>"), "{body}");
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(
            [1.0, 0.04, -0.04, 2.25, -3.1267].map(coordinate),
            ["1", "0", "0", "2.3", "-3.1"]
        );
    }
}

//! A drawing as part of a page, as an SVG file and as PNG.

use super::canvas::{Canvas, coordinate, escape};
use super::palette;
use super::text::FONTS;
use anyhow::{Context, Result};
use resvg::{tiny_skia, usvg};
use std::sync::{Arc, LazyLock};

/// A drawing with a description in words.
#[derive(Debug)]
pub struct Figure {
    canvas: Canvas,
    width: f64,
    height: f64,
    title: String,
}

/// The font's name in figures, and what may stand in for it.
const FAMILY: &str = "Inter, Helvetica, Arial, sans-serif";
/// Pixels of a PNG for each of the figure's own.
const DENSITY: f32 = 2.0;

static OPTIONS: LazyLock<usvg::Options<'static>> = LazyLock::new(|| {
    let mut options = usvg::Options { font_family: "Inter".into(), ..usvg::Options::default() };
    let fonts = Arc::make_mut(&mut options.fontdb);
    for font in FONTS {
        fonts.load_font_data(font.to_vec());
    }
    options
});

impl Figure {
    /// A drawing of a size in pixels, and what it shows.
    pub fn new(canvas: Canvas, width: f64, height: f64, title: String) -> Self {
        Self { canvas, width, height, title }
    }

    /// The figure for a page that has [`palette::style_sheet`] and [`palette::variables`].
    pub fn inline(&self) -> String {
        self.svg("class=\"figure\" tabindex=\"0\"", "")
    }

    /// The figure as a file: white ground, its style in it.
    pub fn standalone(&self) -> String {
        let style = format!(
            "<style>{}</style><rect width=\"100%\" height=\"100%\" class=\"paper\"/>",
            palette::plain_style_sheet()
        );
        let [width, height] = [self.width, self.height].map(coordinate);
        self.svg(
            &format!("xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\""),
            &style,
        )
    }

    fn svg(&self, attributes: &str, style: &str) -> String {
        let ([width, height], title) =
            ([self.width, self.height].map(coordinate), escape(&self.title));
        format!(
            "<svg {attributes} viewBox=\"0 0 {width} {height}\" font-family=\"{FAMILY}\" \
             role=\"img\" aria-label=\"{title}\">\
             {style}{}</svg>\n",
            self.canvas.body()
        )
    }

    /// The figure as PNG, two pixels for each of its own.
    ///
    /// # Errors
    /// When it is larger than a picture can be.
    pub fn png(&self) -> Result<Vec<u8>> {
        let tree = usvg::Tree::from_str(&self.standalone(), &OPTIONS)?;
        let size = tree.size().to_int_size().scale_by(DENSITY).context("a figure has a size")?;
        let mut pixels = tiny_skia::Pixmap::new(size.width(), size.height())
            .context("the figure is too large for a picture")?;
        resvg::render(
            &tree,
            tiny_skia::Transform::from_scale(DENSITY, DENSITY),
            &mut pixels.as_mut(),
        );
        Ok(pixels.encode_png()?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::report::figure::canvas::Anchor;
    use crate::report::figure::text::Style;

    /// No two upright texts overlap, and none leaves the figure.
    pub(in crate::report::figure) fn no_text_touches(figure: &Figure) {
        let written = figure.canvas.written();
        assert!(written.len() > 10);
        for (n, one) in written.iter().enumerate() {
            let inside = one.x >= 0.0
                && one.y >= 0.0
                && one.right() <= figure.width
                && one.bottom() <= figure.height;
            assert!(inside, "{one:?} leaves the figure");
            for other in &written[..n] {
                assert!(one.overlap(other) <= 0.0, "{one:?} and {other:?}");
            }
        }
    }

    #[test]
    fn a_figure_becomes_a_file_and_a_picture() {
        let mut canvas = Canvas::default();
        canvas.text((10.0, 30.0), Anchor::Start, Style { size: 20.0, strong: true }, "ink", "ABC");
        let figure = Figure::new(canvas, 100.0, 50.0, "letters & more".into());
        assert!(figure.standalone().contains("aria-label=\"letters &amp; more\""));
        let picture = image::load_from_memory(&figure.png().unwrap()).unwrap().to_luma8();
        assert_eq!(picture.dimensions(), (200, 100));
        let dark = picture.pixels().filter(|pixel| pixel.0[0] < 100).count();
        assert!(
            (200..2000).contains(&dark),
            "{dark} dark pixels: the letters are drawn in the font"
        );
    }
}

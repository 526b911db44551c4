//! The width of text in the font of the figures.

use std::sync::LazyLock;
use ttf_parser::Face;

/// Inter Regular and SemiBold, cut down; see `font/README.md`.
pub const FONTS: [&[u8]; 2] =
    [include_bytes!("../font/Inter-Regular.otf"), include_bytes!("../font/Inter-SemiBold.otf")];

/// Size in pixels, and weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Height of the em, in pixels.
    pub size: f64,
    /// SemiBold instead of Regular.
    pub strong: bool,
}

impl Style {
    /// A value in a cell.
    pub const CELL: Self = Self { size: 9.5, strong: false };
    /// A second value in a cell.
    pub const SMALL: Self = Self { size: 7.5, strong: false };
    /// A value at an axis, a name beside a point.
    pub const TICK: Self = Self { size: 11.0, strong: false };
    /// The label of an axis.
    pub const LABEL: Self = Self { size: 12.0, strong: false };
    /// A heading.
    pub const STRONG: Self = Self { size: 11.0, strong: true };
}

static FACES: LazyLock<[Face<'static>; 2]> = LazyLock::new(|| {
    FONTS.map(|bytes| Face::parse(bytes, 0).expect("the font is part of the program"))
});

/// The width of a line of text, in pixels. A letter that the font lacks counts as an em.
pub fn width(text: &str, style: Style) -> f64 {
    let face = &FACES[usize::from(style.strong)];
    let em = f64::from(face.units_per_em());
    let advance = |c: char| {
        face.glyph_index(c).and_then(|glyph| face.glyph_hor_advance(glyph)).map_or(em, f64::from)
    };
    text.chars().map(advance).sum::<f64>() / em * style.size
}

/// Text cut so that it is at most `room` pixels wide, with an ellipsis where something is missing.
pub fn fitted(text: &str, style: Style, room: f64) -> String {
    if width(text, style) <= room {
        return text.to_owned();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while !kept.is_empty() && width(&format!("{}…", kept.iter().collect::<String>()), style) > room
    {
        kept.pop();
    }
    format!("{}…", kept.iter().collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_as_wide_as_its_letters() {
        let style = Style { size: 100.0, strong: false };
        assert!(width("iii", style) < width("mmm", style) / 2.0);
        assert!((width("ab", style) - width("a", style) - width("b", style)).abs() < 1e-9);
        assert!(width("ab", Style { strong: true, ..style }) > width("ab", style));
        assert_eq!(width("漢", style), 100.0, "not in the font");
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(fitted("short", Style::TICK, 100.0), "short");
        let cut = fitted("a_network_with_a_rather_long_name", Style::TICK, 100.0);
        assert!(cut.ends_with('…') && width(&cut, Style::TICK) <= 100.0, "{cut}");
    }
}

//! Colours. Families take those of Okabe and Ito (Color Universal Design, 2008), which people with
//! any kind of colour vision tell apart, each with a mark of its own shape; magnitudes take
//! Crameri's perceptually uniform map devon (Crameri 2018, doi:10.5281/zenodo.1243862), light for
//! little.

use super::canvas::SHAPES;
use std::fmt::Write;

/// Names of colours, each with its value on light and on dark ground. Contrast of text is at least
/// 4.5:1.
const COLOURS: [(&str, &str, &str); 14] = [
    ("paper", "#ffffff", "#16181d"),
    ("ink", "#1a1c20", "#eceef2"),
    ("muted", "#595e68", "#a6acb8"),
    ("axis", "#868c97", "#7b828f"),
    ("grid", "#e4e6ea", "#2c3038"),
    ("accent", "#0072b2", "#56b4e9"),
    ("c0", "#0072b2", "#56a5e0"),
    ("c1", "#d55e00", "#f07c2e"),
    ("c2", "#009e73", "#2dbd92"),
    ("c3", "#cc79a7", "#dd8fba"),
    ("c4", "#e69f00", "#f0b028"),
    ("c5", "#56b4e9", "#8fd0f5"),
    ("c6", "#33363c", "#d4d8e0"),
    ("c7", "#8a7a00", "#e6d94a"),
];

/// Number of different colours of families.
const HUES: usize = 8;

/// The classes of the n-th family: for fills and for lines. After eight families colours repeat,
/// with other shapes.
pub fn hue(n: usize) -> (String, String) {
    (format!("fill{}", n % HUES), format!("line{}", n % HUES))
}

/// The shape of the n-th family's mark.
pub fn shape(n: usize) -> usize {
    (n + n / HUES) % SHAPES
}

/// Declarations of the colours as CSS variables, on light or dark ground.
pub fn variables(dark: bool) -> String {
    COLOURS.iter().fold(String::new(), |mut css, (name, light, other)| {
        let _ = write!(css, "--{name}:{};", if dark { other } else { light });
        css
    })
}

/// The figures' style sheet, colours as variables.
pub fn style_sheet() -> String {
    let mut css = include_str!("figure.css").to_owned();
    for n in 0..HUES {
        let _ = writeln!(
            css,
            ".fill{n} {{ fill: var(--c{n}); }}\n.line{n} {{ stroke: var(--c{n}); fill: none; }}"
        );
    }
    css
}

/// The style sheet with the light colours in the variables' places, for programs that know none.
pub fn plain_style_sheet() -> String {
    COLOURS
        .iter()
        .fold(style_sheet(), |css, (name, light, _)| css.replace(&format!("var(--{name})"), light))
}

/// The map devon at 17 even steps from its light end, from the author's package.
const DEVON: [u32; 17] = [
    0xffffff, 0xf2f0fc, 0xe4e2fa, 0xd7d4f7, 0xcac6f4, 0xbeb8f2, 0xafaaee, 0x9a9be7, 0x7d8edc,
    0x5d7fce, 0x4171bb, 0x3165a4, 0x28578e, 0x27467a, 0x29376a, 0x2a285a, 0x2c1a4c,
];

/// A colour by its red, green and blue, 0 to 255.
type Rgb = [f64; 3];

fn devon(part: f64) -> Rgb {
    let place = part.clamp(0.0, 1.0) * (DEVON.len() - 1) as f64;
    let step = (place as usize).min(DEVON.len() - 2);
    let channel = |colour: u32, n: usize| f64::from(colour >> (16 - 8 * n) & 0xff);
    std::array::from_fn(|n| {
        let (a, b) = (channel(DEVON[step], n), channel(DEVON[step + 1], n));
        a + (b - a) * (place - step as f64)
    })
}

/// WCAG's relative luminance.
fn luminance(colour: Rgb) -> f64 {
    let linear = |v: f64| if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) };
    let [r, g, b] = colour.map(|v| linear(v / 255.0));
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

/// The colour of a magnitude in [0, 1], and whether text on it should be light.
pub fn magnitude(part: f64) -> (String, bool) {
    let colour = devon(part);
    let [r, g, b] = colour.map(|v| v.round() as u8);
    (format!("#{r:02x}{g:02x}{b:02x}"), luminance(colour) < 0.22)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(text: &str) -> Rgb {
        std::array::from_fn(|n| {
            f64::from(u8::from_str_radix(&text[1 + 2 * n..3 + 2 * n], 16).unwrap())
        })
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(rgb(a)), luminance(rgb(b)));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn greater_magnitudes_are_darker_and_their_text_can_be_read() {
        let steps: Vec<f64> = (0..=100).map(|n| luminance(devon(f64::from(n) / 100.0))).collect();
        assert!(steps.windows(2).all(|pair| pair[1] < pair[0]), "{steps:?}");
        for n in 0..=100 {
            let (ground, light) = magnitude(f64::from(n) / 100.0);
            let text = if light { "#ffffff" } else { "#1a1c20" };
            assert!(
                contrast(&ground, text) >= 3.7,
                "{ground} under {text}: {}",
                contrast(&ground, text)
            );
        }
    }

    #[test]
    fn text_and_marks_stand_out_from_the_ground() {
        let [(_, light, dark), others @ ..] = COLOURS;
        for (name, on_light, on_dark) in others.into_iter().filter(|(name, ..)| *name != "grid") {
            let least = if ["ink", "muted", "accent"].contains(&name) { 4.5 } else { 2.1 };
            for (ground, colour) in [(light, on_light), (dark, on_dark)] {
                assert!(
                    contrast(ground, colour) >= least,
                    "{name} {colour} on {ground}: {}",
                    contrast(ground, colour)
                );
            }
        }
    }

    #[test]
    fn the_plain_style_sheet_has_no_variables() {
        assert!(style_sheet().contains("var(--ink)"));
        assert!(!plain_style_sheet().contains("var("), "{}", plain_style_sheet());
    }

    #[test]
    fn fifty_families_have_marks_of_their_own() {
        let marks: std::collections::BTreeSet<_> = (0..50).map(|n| (hue(n).0, shape(n))).collect();
        assert_eq!(marks.len(), 50);
    }
}

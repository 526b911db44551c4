//! Antialiased Lanczos in 8-bit fixed point, pixel for pixel what Pillow's `Image.resize` gives.
//!
//! The published study loaded its images with it, and one level of difference in the input is as
//! large as some adversarial perturbations. The width is resampled first, rounded to 8 bits, then
//! the height; the filter is stretched by the scale when an image shrinks.

use image::RgbImage;
use std::f64::consts::PI;
use std::ops::Range;

/// Bits after the binary point of a filter weight: 8 of 32 are the sample's, 2 keep the sum's sign.
const PRECISION: u32 = 22;
const SUPPORT: f64 = 3.0;

/// Resizes to `width`×`height` pixels, both at least 1, of which a window is computed: it takes no
/// more than the window needs, however long the image is.
pub fn lanczos(
    image: &RgbImage,
    (width, height): (u32, u32),
    columns: Range<u32>,
    rows: Range<u32>,
) -> RgbImage {
    let (old_width, old_height) = image.dimensions();
    let (wide, high) = (columns.len() as u32, rows.len() as u32);
    let across = filters(old_width as usize, width as usize, columns);
    let mut down = filters(old_height as usize, height as usize, rows);
    let first = down.iter().map(|filter| filter.first).min().unwrap_or(0);
    let end = down.iter().map(|filter| filter.first + filter.weights.len()).max().unwrap_or(first);
    for filter in &mut down {
        filter.first -= first;
    }
    let row = 3 * old_width as usize;
    let samples = resample(&image.as_raw()[first * row..end * row], end - first, 3, &across);
    let samples = resample(&samples, 1, 3 * wide as usize, &down);
    RgbImage::from_raw(wide, high, samples)
        .expect("the buffer has one sample per pixel and channel")
}

/// What one output sample is made of: the first input sample, and a weight for it and those after.
struct Filter {
    first: usize,
    weights: Vec<i64>,
}

fn filters(old: usize, new: usize, wanted: Range<u32>) -> Vec<Filter> {
    let wanted = wanted.map(|n| n as usize);
    if old == new {
        return wanted.map(|n| Filter { first: n, weights: vec![1 << PRECISION] }).collect();
    }
    let scale = old as f64 / new as f64;
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    wanted
        .map(|n| {
            let centre = (n as f64 + 0.5) * scale;
            let first = ((centre - support + 0.5) as i64).max(0) as usize;
            let end = ((centre + support + 0.5) as usize).min(old);
            let weights: Vec<f64> =
                (first..end).map(|i| window((i as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            Filter {
                first,
                weights: weights
                    .iter()
                    .map(|w| (w / sum * f64::from(1u32 << PRECISION)).round() as i64)
                    .collect(),
            }
        })
        .collect()
}

fn window(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
    if (-SUPPORT..SUPPORT).contains(&x) { sinc(x) * sinc(x / SUPPORT) } else { 0.0 }
}

/// Filters the middle axis of samples laid out outer × axis × inner.
fn resample(samples: &[u8], outer: usize, inner: usize, filters: &[Filter]) -> Vec<u8> {
    let axis = samples.len() / (outer * inner).max(1);
    let mut out = Vec::with_capacity(outer * filters.len() * inner);
    for block in samples.chunks_exact(axis * inner) {
        for Filter { first, weights } in filters {
            for channel in 0..inner {
                let sum: i64 = weights
                    .iter()
                    .enumerate()
                    .map(|(k, w)| w * i64::from(block[(first + k) * inner + channel]))
                    .sum();
                out.push(((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::lanczos;
    use image::{Rgb, RgbImage};

    /// FNV-1a of the samples, row by row.
    fn fingerprint(image: &RgbImage) -> u64 {
        image
            .as_raw()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    }

    // Pillow 13.0.0: a = np.fromfunction(lambda y, x, c: (x*x*7 + y*13 + x*y*3 + c*101) % 256, (37,
    // 53, 3)).astype(np.uint8) b = Image.fromarray(a).resize((w, h), Image.LANCZOS).tobytes()
    #[test]
    fn samples_are_pillows() {
        let image = RgbImage::from_fn(53, 37, |x, y| {
            let sample = |c: u32| ((x * x * 7 + y * 13 + x * y * 3 + c * 101) % 256) as u8;
            Rgb([sample(0), sample(1), sample(2)])
        });
        for ((width, height), first, expected) in EXPECTED {
            let resized = lanczos(&image, (width, height), 0..width, 0..height);
            assert_eq!(resized.as_raw()[..6], first, "{width}×{height}");
            assert_eq!(fingerprint(&resized), expected, "{width}×{height}");
        }
    }

    #[test]
    fn a_window_is_cut_out_of_the_whole() {
        let image =
            RgbImage::from_fn(53, 37, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x * y) as u8]));
        for (width, height) in [(53, 37), (20, 14), (90, 61), (53, 60)] {
            let whole = lanczos(&image, (width, height), 0..width, 0..height);
            let part = lanczos(&image, (width, height), 6..width - 3, 2..height - 5);
            let expected =
                image::imageops::crop_imm(&whole, 6, 2, width - 9, height - 7).to_image();
            assert_eq!(part, expected, "{width}×{height}");
        }
    }

    #[test]
    fn a_long_image_takes_what_its_window_needs() {
        // As a whole it would be 1000×50,000,000 pixels.
        let image = RgbImage::from_fn(1, 50_000, |_, y| Rgb([(y / 200) as u8; 3]));
        let part = lanczos(&image, (1000, 50_000_000), 0..1000, 24_999_500..25_000_500);
        assert_eq!(part.dimensions(), (1000, 1000));
        assert_eq!((part.get_pixel(3, 0).0, part.get_pixel(999, 999).0), ([124; 3], [125; 3]));
    }

    const EXPECTED: [((u32, u32), [u8; 6], u64); 6] = [
        ((53, 37), [0, 101, 202, 7, 108, 209], 0x795f_344d_7def_4ebc),
        ((20, 14), [16, 130, 205, 112, 151, 89], 0x6b58_ea84_0894_7332),
        ((28, 28), [4, 101, 227, 38, 161, 146], 0x3452_e23b_51a2_8f77),
        ((100, 70), [0, 100, 200, 0, 101, 199], 0xb009_f478_bebe_807d),
        ((53, 10), [18, 119, 238, 29, 126, 175], 0xfaae_7594_c4ac_667d),
        ((7, 37), [95, 124, 125, 145, 103, 102], 0x0ce3_e3f5_89d6_7516),
    ];
}

//! Antialiased Lanczos in 8-bit fixed point, pixel for pixel what Pillow's `Image.resize` gives.
//!
//! The published study loaded its images with it, and one level of difference in the input is as
//! large as some adversarial perturbations. The width is resampled first, rounded to 8 bits, then
//! the height; the filter is stretched by the scale when an image shrinks.

use image::RgbImage;
use std::f64::consts::PI;

/// Bits after the binary point of a filter weight: 8 of 32 are the sample's, 2 keep the sum's sign.
const PRECISION: u32 = 22;
const SUPPORT: f64 = 3.0;

/// Resizes to `width`×`height` pixels, both at least 1.
pub fn lanczos(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    let (old_width, old_height) = image.dimensions();
    let mut rows = image.as_raw().clone();
    if width != old_width {
        rows = resample(&rows, old_height as usize, 3, &filters(old_width as usize, width as usize));
    }
    if height != old_height {
        rows = resample(&rows, 1, 3 * width as usize, &filters(old_height as usize, height as usize));
    }
    RgbImage::from_raw(width, height, rows).expect("the buffer has one sample per pixel and channel")
}

/// What one output sample is made of: the first input sample, and a weight for it and those after.
struct Filter {
    first: usize,
    weights: Vec<i64>,
}

fn filters(old: usize, new: usize) -> Vec<Filter> {
    let scale = old as f64 / new as f64;
    let stretch = scale.max(1.0);
    let support = SUPPORT * stretch;
    (0..new)
        .map(|n| {
            let centre = (n as f64 + 0.5) * scale;
            let first = ((centre - support + 0.5) as i64).max(0) as usize;
            let end = ((centre + support + 0.5) as usize).min(old);
            let weights: Vec<f64> = (first..end).map(|i| window((i as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            Filter { first, weights: weights.iter().map(|w| (w / sum * f64::from(1u32 << PRECISION)).round() as i64).collect() }
        })
        .collect()
}

fn window(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
    if (-SUPPORT..SUPPORT).contains(&x) { sinc(x) * sinc(x / SUPPORT) } else { 0.0 }
}

/// Filters the middle axis of samples laid out outer × axis × inner.
fn resample(samples: &[u8], outer: usize, inner: usize, filters: &[Filter]) -> Vec<u8> {
    let axis = samples.len() / (outer * inner);
    let mut out = Vec::with_capacity(outer * filters.len() * inner);
    for block in samples.chunks_exact(axis * inner) {
        for Filter { first, weights } in filters {
            for channel in 0..inner {
                let sum: i64 = weights.iter().enumerate().map(|(k, w)| w * i64::from(block[(first + k) * inner + channel])).sum();
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
        image.as_raw().iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
    }

    // Pillow 13.0.0:
    //   a = np.fromfunction(lambda y, x, c: (x*x*7 + y*13 + x*y*3 + c*101) % 256, (37, 53, 3)).astype(np.uint8)
    //   b = Image.fromarray(a).resize((w, h), Image.LANCZOS).tobytes()
    #[test]
    fn samples_are_pillows() {
        let image = RgbImage::from_fn(53, 37, |x, y| {
            let sample = |c: u32| ((x * x * 7 + y * 13 + x * y * 3 + c * 101) % 256) as u8;
            Rgb([sample(0), sample(1), sample(2)])
        });
        for ((width, height), first, expected) in EXPECTED {
            let resized = lanczos(&image, width, height);
            assert_eq!(resized.as_raw()[..6], first, "{width}×{height}");
            assert_eq!(fingerprint(&resized), expected, "{width}×{height}");
        }
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

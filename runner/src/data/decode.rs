//! Image files to 8-bit RGB.
//!
//! JPEG leaves decoders freedom, and they use it: `image`'s own is up to 9 grey levels off libjpeg,
//! by 2 in 5 % of the samples where chroma is subsampled. The published study read its images with
//! Pillow, which has libjpeg-turbo; mozjpeg's decoder is the same and gives the same samples.

use gauntlet_core::guard;
use image::{ImageFormat, RgbImage};
use mozjpeg::{ColorSpace, Decompress};
use std::io::{self, BufRead, Read};
use std::panic::{self, AssertUnwindSafe};

/// A JPEG file of more samples is refused, as `image` does with PNG.
const MAX_SAMPLES: usize = 1 << 29;

/// What is in an image file.
pub struct Decoded {
    /// Greyscale has three equal channels. Transparency is ignored.
    pub pixels: RgbImage,
    /// Whether the file has colour.
    pub colour: bool,
}

/// Reads a PNG or JPEG file, or says in words why it cannot be used.
pub fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg(bytes),
        // The decoder panics over some damaged files.
        Ok(ImageFormat::Png) => guard::catch("its decoder", || Ok(png(bytes))).map_err(damaged)?,
        _ => Err("neither PNG nor JPEG".into()),
    }
}

fn damaged(error: impl std::fmt::Display) -> String {
    format!("damaged image: {error}")
}

fn png(bytes: &[u8]) -> Result<Decoded, String> {
    let image = image::load_from_memory_with_format(bytes, ImageFormat::Png).map_err(damaged)?;
    Ok(Decoded { colour: image.color().has_color(), pixels: image.into_rgb8() })
}

fn jpeg(bytes: &[u8]) -> Result<Decoded, String> {
    // libjpeg's fatal errors unwind through it, with their message.
    panic::catch_unwind(AssertUnwindSafe(|| libjpeg(bytes))).unwrap_or_else(|payload| {
        let message = payload.downcast_ref::<String>().map_or("libjpeg gave up", String::as_str);
        Err(damaged(message.trim_start_matches("libjpeg fatal error: ")))
    })
}

fn libjpeg(bytes: &[u8]) -> Result<Decoded, String> {
    let file = Decompress::new_reader(Whole(bytes)).map_err(damaged)?;
    let (width, height) = file.size();
    if width.saturating_mul(height).saturating_mul(3) > MAX_SAMPLES {
        return Err(format!("too large: {width}×{height} pixels"));
    }
    let colour = match file.color_space() {
        ColorSpace::JCS_GRAYSCALE => false,
        ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => return Err("CMYK".into()),
        _ => true,
    };
    let mut file = file.rgb().map_err(damaged)?;
    let samples: Vec<[u8; 3]> = file.read_scanlines().map_err(damaged)?;
    file.finish().map_err(damaged)?;
    let pixels = RgbImage::from_raw(width as u32, height as u32, samples.into_flattened())
        .ok_or("damaged image: rows are missing")?;
    Ok(Decoded { pixels, colour })
}

/// The bytes of a file that must not end before the image does: libjpeg would make up the rest.
struct Whole<'a>(&'a [u8]);

impl Read for Whole<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for Whole<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.0.is_empty() {
            Err(io::Error::other("the file ends too early"))
        } else {
            Ok(self.0)
        }
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::decode;
    use mozjpeg::{ColorSpace, Compress};

    /// A JPEG file of 24×16 equal pixels.
    fn file(space: ColorSpace, pixel: &[u8]) -> Vec<u8> {
        let mut compress = Compress::new(space);
        compress.set_size(24, 16);
        let mut started = compress.start_compress(Vec::new()).unwrap();
        started.write_scanlines(&pixel.repeat(24 * 16)).unwrap();
        started.finish().unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        decode(bytes).err().expect("the file is refused")
    }

    #[test]
    fn colour_grey_and_cmyk_are_told_apart() {
        let colour = decode(&file(ColorSpace::JCS_RGB, &[200, 30, 90])).unwrap();
        assert!(colour.colour);
        assert!(
            colour.pixels.pixels().all(|p| p
                .0
                .iter()
                .zip([200u8, 30, 90])
                .all(|(a, b)| a.abs_diff(b) <= 2))
        );
        let grey = decode(&file(ColorSpace::JCS_GRAYSCALE, &[77])).unwrap();
        assert!(!grey.colour && grey.pixels.pixels().all(|p| p.0 == [77; 3]));
        assert_eq!(refusal(&file(ColorSpace::JCS_CMYK, &[1, 2, 3, 4])), "CMYK");
    }

    #[test]
    fn no_truncated_file_is_an_image() {
        let whole = file(ColorSpace::JCS_RGB, &[200, 30, 90]);
        for length in 3..whole.len() {
            let reason = refusal(&whole[..length]);
            assert!(reason.starts_with("damaged image: "), "{length}: {reason}");
        }
        assert_eq!(refusal(&whole[..2]), "neither PNG nor JPEG");
    }

    /// A PNG file of 8×8 pixels, the first colours of a palette.
    fn indexed(palette: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, 8, 8);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_palette(palette);
        encoder.write_header().unwrap().write_image_data(&[1; 64]).unwrap();
        file
    }

    #[test]
    fn a_palette_that_ends_within_a_colour_is_damage() {
        let whole = decode(&indexed(&[0, 0, 0, 200, 30, 90])).unwrap();
        assert!(whole.pixels.pixels().all(|p| p.0 == [200, 30, 90]));
        let reason = refusal(&indexed(&[0, 0, 0, 200, 30, 90, 7]));
        assert!(reason.starts_with("damaged image: its decoder panicked at png-"), "{reason}");
    }

    #[test]
    fn a_header_that_lies_about_the_size_costs_nothing() {
        let mut bytes = file(ColorSpace::JCS_RGB, &[200, 30, 90]);
        // mozjpeg writes progressive files, whose frames begin with these bytes.
        let frame = bytes.windows(2).position(|w| w == [0xff, 0xc2]).unwrap();
        bytes[frame + 5..frame + 9].fill(0x7f);
        assert_eq!(refusal(&bytes), "too large: 32639×32639 pixels");
        bytes[frame + 5..frame + 9].fill(0xff);
        assert!(
            refusal(&bytes).starts_with("damaged image: Maximum supported image dimension"),
            "{}",
            refusal(&bytes)
        );
    }
}

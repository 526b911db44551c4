//! Image files to 8-bit RGB.
//!
//! JPEG leaves decoders freedom, and they use it: `image`'s own is up to 9 grey levels off libjpeg,
//! by 2 in 5 % of the samples where chroma is subsampled. The published study read its images with
//! Pillow, which has libjpeg-turbo; mozjpeg's decoder is the same and gives the same samples.

use crate::data::formats::unread;
use gauntlet_core::guard;
use image::{DynamicImage, ImageBuffer, ImageFormat, ImageReader, Pixel, RgbImage};
use mozjpeg::{ColorSpace, Decompress};
use std::io::{self, BufRead, Cursor, Read};
use std::panic::{self, AssertUnwindSafe};

/// An image of more samples is refused.
const MAX_SAMPLES: usize = 1 << 29;

/// What is in an image file.
pub struct Decoded {
    /// Greyscale has three equal channels. Transparency is ignored.
    pub pixels: RgbImage,
    /// Whether the file has colour.
    pub colour: bool,
}

/// Reads a PNG, JPEG, WebP or BMP file, or says in words why it cannot be used. Of 16-bit samples
/// the high byte is taken; CMYK becomes RGB as Pillow's `convert("RGB")` makes it.
pub fn decode(bytes: &[u8]) -> Result<Decoded, String> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg(bytes),
        // The decoders panic over some damaged files.
        Ok(format @ (ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp)) => {
            guard::catch("its decoder", || Ok(other(bytes, format))).map_err(damaged)?
        }
        _ => Err(unread(bytes)),
    }
}

/// Whether a file is a JPEG file with four channels.
pub fn is_cmyk(bytes: &[u8]) -> bool {
    let space = || {
        let file = Decompress::new_reader(Whole(bytes)).ok()?;
        Some(file.color_space())
    };
    let jpeg = matches!(image::guess_format(bytes), Ok(ImageFormat::Jpeg));
    jpeg && panic::catch_unwind(space).is_ok_and(|space| space.is_some_and(four_channels))
}

fn four_channels(space: ColorSpace) -> bool {
    matches!(space, ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK)
}

/// A header may claim any size: it is checked before memory is taken.
fn check_size(width: usize, height: usize) -> Result<(), String> {
    if width.saturating_mul(height).saturating_mul(3) > MAX_SAMPLES {
        return Err(format!("too large: {width}×{height} pixels"));
    }
    Ok(())
}

fn damaged(error: impl std::fmt::Display) -> String {
    format!("damaged image: {error}")
}

fn other(bytes: &[u8], format: ImageFormat) -> Result<Decoded, String> {
    if format == ImageFormat::WebP && bytes.len() < riff_length(bytes) {
        return Err(damaged("the file ends too early"));
    }
    let header = ImageReader::with_format(Cursor::new(bytes), format);
    let (width, height) = header.into_dimensions().map_err(damaged)?;
    check_size(width as usize, height as usize)?;
    let image = image::load_from_memory_with_format(bytes, format).map_err(damaged)?;
    let colour = image.color().has_color() && !(format == ImageFormat::Bmp && grey_palette(bytes));
    Ok(Decoded { colour, pixels: to_8bit(image).into_rgb8() })
}

/// The length that a RIFF file says it has.
fn riff_length(bytes: &[u8]) -> usize {
    bytes
        .get(4..8)
        .and_then(|size| size.try_into().ok())
        .map_or(0, |size| u32::from_le_bytes(size) as usize + 8)
}

/// Whether a BMP file has a palette of greys alone, as greyscale BMP files have.
fn grey_palette(bytes: &[u8]) -> bool {
    let number = |at: usize| {
        let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let palette = || -> Option<bool> {
        // A header of 12 bytes is OS/2's, with three bytes a colour; later ones have four.
        let (pixels, header) = (number(10)?, number(14)?);
        let (bits, width) =
            if header == 12 { (number(22)? >> 16, 3) } else { (number(26)? >> 16, 4) };
        if !(1..=8).contains(&bits) {
            return Some(false);
        }
        let start = 14_usize.checked_add(header)?;
        let end = start.checked_add(width << bits)?.min(pixels);
        let colours = bytes.get(start..end)?.chunks_exact(width);
        Some(colours.len() > 0 && colours.clone().all(|c| c[0] == c[1] && c[1] == c[2]))
    };
    palette().unwrap_or(false)
}

fn map<P, Q>(
    image: &ImageBuffer<P, Vec<u16>>,
    sample: impl Fn(&u16) -> u8,
) -> ImageBuffer<Q, Vec<u8>>
where
    P: Pixel<Subpixel = u16>,
    Q: Pixel<Subpixel = u8>,
{
    let samples = image.as_raw().iter().map(sample).collect();
    ImageBuffer::from_raw(image.width(), image.height(), samples)
        .expect("as many samples as before")
}

/// The high bytes of 16-bit samples, as Pillow takes them. `image` itself would round.
fn to_8bit(image: DynamicImage) -> DynamicImage {
    let high = |sample: &u16| (sample >> 8) as u8;
    match image {
        DynamicImage::ImageLuma16(image) => DynamicImage::ImageLuma8(map(&image, high)),
        DynamicImage::ImageLumaA16(image) => DynamicImage::ImageLumaA8(map(&image, high)),
        DynamicImage::ImageRgb16(image) => DynamicImage::ImageRgb8(map(&image, high)),
        DynamicImage::ImageRgba16(image) => DynamicImage::ImageRgba8(map(&image, high)),
        other => other,
    }
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
    check_size(width, height)?;
    let colour = file.color_space() != ColorSpace::JCS_GRAYSCALE;
    let samples: Vec<[u8; 3]> = if four_channels(file.color_space()) {
        let mut file = file.to_colorspace(ColorSpace::JCS_CMYK).map_err(damaged)?;
        let samples: Vec<[u8; 4]> = file.read_scanlines().map_err(damaged)?;
        file.finish().map_err(damaged)?;
        samples.into_iter().map(inverted_cmyk_to_rgb).collect()
    } else {
        let mut file = file.rgb().map_err(damaged)?;
        let samples = file.read_scanlines().map_err(damaged)?;
        file.finish().map_err(damaged)?;
        samples
    };
    let pixels = RgbImage::from_raw(width as u32, height as u32, samples.into_flattened())
        .ok_or("damaged image: rows are missing")?;
    Ok(Decoded { pixels, colour })
}

/// CMYK as Adobe's programs store it, 255 for no ink, to RGB in Pillow's fixed point. Pillow takes
/// every JPEG file of four channels for such a one.
fn inverted_cmyk_to_rgb([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    [c, m, y].map(|paper| {
        let product = u32::from(!paper) * u32::from(k) + 128;
        k.saturating_sub((((product >> 8) + product) >> 8) as u8)
    })
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
    use super::{decode, is_cmyk};
    use image::{ImageFormat, RgbImage};
    use mozjpeg::{ColorSpace, Compress};
    use std::io::Cursor;

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
        let cmyk = file(ColorSpace::JCS_CMYK, &[255, 200, 0, 128]);
        assert!(is_cmyk(&cmyk) && !is_cmyk(&file(ColorSpace::JCS_RGB, &[1, 2, 3])));
        let cmyk = decode(&cmyk).unwrap();
        // No cyan, little magenta, all yellow, half black.
        assert!(cmyk.colour && cmyk.pixels.pixels().all(|p| p.0 == [128, 100, 0]));
    }

    #[test]
    fn no_truncated_file_is_an_image() {
        let whole = file(ColorSpace::JCS_RGB, &[200, 30, 90]);
        for length in 3..whole.len() {
            let reason = refusal(&whole[..length]);
            assert!(reason.starts_with("damaged image: "), "{length}: {reason}");
        }
        assert_eq!(refusal(&whole[..2]), "JPEG that ends after its first bytes: fetch it again");
    }

    #[test]
    fn no_truncated_file_of_another_format_is_an_image() {
        let image = RgbImage::from_fn(7, 5, |x, y| image::Rgb([(x * 30) as u8, (y * 50) as u8, 9]));
        // The image is whole without PNG's empty last chunk and BMP's fill at the end of rows.
        for (format, end) in [(ImageFormat::Png, 12), (ImageFormat::Bmp, 3), (ImageFormat::WebP, 0)]
        {
            let mut file = Cursor::new(Vec::new());
            image.write_to(&mut file, format).unwrap();
            let whole = file.into_inner();
            assert_eq!(decode(&whole).unwrap().pixels, image, "{format:?}");
            for length in 16..whole.len() - end {
                let reason = decode(&whole[..length]).err().unwrap_or_default();
                assert!(reason.starts_with("damaged image: "), "{format:?} {length}: {reason}");
            }
        }
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
        // Lossless WebP of 16383×16383 pixels, in 26 bytes.
        let mut file = b"RIFF\x12\0\0\0WEBPVP8L\x05\0\0\0\x2f\xfe\xbf\xff\x0f".to_vec();
        file.push(0);
        assert_eq!(refusal(&file), "too large: 16383×16383 pixels");
        let mut file = Cursor::new(Vec::new());
        RgbImage::new(2, 2).write_to(&mut file, ImageFormat::Bmp).unwrap();
        let mut file = file.into_inner();
        file[18..26].copy_from_slice(&[0, 128, 0, 0, 0, 128, 0, 0]);
        assert_eq!(refusal(&file), "too large: 32768×32768 pixels");
    }
}

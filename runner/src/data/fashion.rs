//! The embedded images: the first 1,000 test images of Fashion-MNIST, 28×28 grey, and their labels.

use image::RgbImage;

/// Two IDX files: a header, then a byte a pixel or label.
const IMAGES: &[u8] = include_bytes!("../../data/fashion-mnist/images.idx");
const LABELS: &[u8] = include_bytes!("../../data/fashion-mnist/labels.idx");
const IMAGES_HEADER: usize = 16;
const LABELS_HEADER: usize = 8;

/// Width and height of every image, in pixels.
pub(super) const SIDE: usize = 28;

/// The label of every image.
pub(super) fn labels() -> &'static [u8] {
    &LABELS[LABELS_HEADER..]
}

/// The grey samples of an image, row by row.
pub(super) fn samples(number: usize) -> &'static [u8] {
    const SIZE: usize = SIDE * SIDE;
    &IMAGES[IMAGES_HEADER + number * SIZE..][..SIZE]
}

/// The pixels of an image, as RGB.
pub(super) fn pixels(number: usize) -> RgbImage {
    let rgb = samples(number).iter().flat_map(|&sample| [sample; 3]).collect();
    RgbImage::from_raw(SIDE as u32, SIDE as u32, rgb).expect("28×28 grey samples")
}

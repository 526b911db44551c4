//! Bringing images to the shape of another model.

use crate::engine::cell::eight_bit::to_8bit;
use crate::study::Policy;
use gauntlet_core::model::ImageShape;
use tch::{Kind, Tensor};

/// Brings N×C×H×W to the shape of another model. Grey becomes three equal channels, RGB its
/// brightness; height and width are each cropped, padded or resized.
pub(super) fn bring(pixels: &Tensor, shape: ImageShape, policy: Policy) -> Tensor {
    let pixels = to_channels(pixels, shape);
    if pixels.size()[2..] == [shape.height, shape.width] {
        return pixels;
    }
    match policy {
        Policy::Resize => resize(&pixels, shape).clamp(0.0, 1.0),
        Policy::CropOrPad | Policy::Native => {
            let down = crop_or_pad(&pixels, 2, shape.height);
            crop_or_pad(&down, 3, shape.width).contiguous()
        }
    }
}

/// Brings 8-bit images, N×C×H×W, to the shape of another model. Resizing and brightness make values
/// between the levels: those are rounded, so that the model is given 8-bit images.
pub(super) fn bring_8bit(rounded: &Tensor, shape: ImageShape, policy: Policy) -> Tensor {
    let brought = bring(rounded, shape, policy);
    if brought.size() == rounded.size() { brought } else { to_8bit(&brought) }
}

/// Brings N×C×H×W to the channels of a shape: grey becomes three equal channels, RGB its brightness.
pub(super) fn to_channels(pixels: &Tensor, shape: ImageShape) -> Tensor {
    /// Shares of red, green and blue in brightness (ITU-R BT.601).
    const SHARES: [f64; 3] = [0.299, 0.587, 0.114];
    let have = pixels.size()[1];
    if have == shape.channels {
        pixels.shallow_clone()
    } else if shape.is_grey() {
        let shares = Tensor::from_slice(&SHARES).to_kind(Kind::Float).to_device(pixels.device());
        (pixels * shares.view([1, -1, 1, 1])).sum_dim_intlist(1, true, Kind::Float)
    } else {
        pixels.repeat([1, shape.channels, 1, 1])
    }
}

/// Brings N×C×H×W to a height and width, bilinear and antialiased. Gradients pass through.
pub(super) fn resize(pixels: &Tensor, shape: ImageShape) -> Tensor {
    pixels.internal_upsample_bilinear2d_aa([shape.height, shape.width], false, None, None)
}

/// What is put around images that are smaller than a model's.
const MID_GREY: f64 = 0.5;

/// Cuts the centre out along a dimension, or pads it on both sides.
fn crop_or_pad(pixels: &Tensor, dimension: i64, length: i64) -> Tensor {
    let have = pixels.size()[dimension as usize];
    if have >= length {
        return pixels.narrow(dimension, (have - length) / 2, length);
    }
    let before = (length - have) / 2;
    let after = length - have - before;
    // Pairs of the last dimension first.
    let padding = if dimension == 3 { vec![before, after] } else { vec![0, 0, before, after] };
    pixels.pad(padding, "constant", MID_GREY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// 1×3×side×side: every pixel says where it is.
    fn grid(side: i64) -> Tensor {
        (Tensor::arange(side * side, (Kind::Float, Device::Cpu)) / (side * side) as f64)
            .view([1, 1, side, side])
            .repeat([1, 3, 1, 1])
    }

    #[test]
    fn the_centre_is_cut_out_or_grey_put_around() {
        let pixels = grid(4);
        let cropped = bring(&pixels, ImageShape::rgb(2), Policy::CropOrPad);
        assert_eq!(cropped, pixels.narrow(2, 1, 2).narrow(3, 1, 2));
        let padded = bring(&pixels, ImageShape::rgb(7), Policy::CropOrPad);
        assert_eq!(padded.size(), [1, 3, 7, 7]);
        assert_eq!(
            padded.narrow(2, 1, 4).narrow(3, 1, 4),
            pixels,
            "the odd row and column are after"
        );
        assert_eq!(padded.select(2, 6).min().double_value(&[]), MID_GREY);
        assert_eq!(bring(&pixels, ImageShape::rgb(4), Policy::Resize), pixels);
    }

    #[test]
    fn height_and_width_are_brought_each_by_itself() {
        let pixels = grid(4);
        let shape = ImageShape { channels: 3, height: 2, width: 6 };
        let brought = bring(&pixels, shape, Policy::CropOrPad);
        assert_eq!(brought.size(), [1, 3, 2, 6]);
        assert_eq!(brought.narrow(3, 1, 4), pixels.narrow(2, 1, 2));
        assert_eq!(brought.select(3, 5).max().double_value(&[]), MID_GREY);
        assert_eq!(bring(&pixels, shape, Policy::Resize).size(), [1, 3, 2, 6]);
    }

    #[test]
    fn grey_becomes_three_channels_and_rgb_its_brightness() {
        let grey = grid(4).narrow(1, 0, 1);
        let rgb = bring(&grey, ImageShape::rgb(4), Policy::CropOrPad);
        assert_eq!(rgb, grid(4));
        let one_channel = ImageShape { channels: 1, ..ImageShape::rgb(4) };
        let again = bring(&rgb, one_channel, Policy::CropOrPad);
        assert!((again - &grey).abs().max().double_value(&[]) < 1e-7);
        // Pure red, green and blue of level 255, by Pillow's `convert("L")`: 76, 150, 29.
        let colours = Tensor::eye(3, (Kind::Float, Device::Cpu)).view([3, 3, 1, 1]);
        let one_pixel = ImageShape { channels: 1, height: 1, width: 1 };
        let brought = bring_8bit(&colours, one_pixel, Policy::CropOrPad) * 255.0;
        assert_eq!(Vec::<f32>::try_from(brought.view([-1])).unwrap(), [76.0, 150.0, 29.0]);
    }

    #[test]
    fn resizing_keeps_the_mean() {
        let pixels = grid(8);
        for side in [4, 16] {
            let resized = bring(&pixels, ImageShape::rgb(side), Policy::Resize);
            assert_eq!(resized.size(), [1, 3, side, side]);
            let mean = |pixels: &Tensor| pixels.mean(Kind::Float).double_value(&[]);
            assert!((mean(&resized) - mean(&pixels)).abs() < 1e-3);
        }
    }
}

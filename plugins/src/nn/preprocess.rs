//! From pixels in [0, 1] to what a network was trained on.

use super::channels_last;
use gauntlet_core::device::upload;
use tch::Tensor;

/// Means of red, green and blue over ImageNet on the scale 0 to 255, as the VGG networks have them
/// (TF-Slim, `preprocessing/vgg_preprocessing.py`).
pub const VGG_MEANS: [f32; 3] = [123.68, 116.78, 103.94];

/// 2p − 1, channels last.
pub fn minus_one_to_one(pixels: &Tensor) -> Tensor {
    channels_last(pixels) * 2 - 1
}

/// Means and standard deviations of red, green and blue over ImageNet, of pixels in [0, 1], as
/// torchvision has them.
const TORCHVISION: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// (p − mean)/deviation as torchvision's networks take it, channels last.
pub fn torchvision(pixels: &Tensor) -> Tensor {
    let [means, deviations] = TORCHVISION.map(|v| upload(&v, pixels.device()).view([3, 1, 1]));
    (channels_last(pixels) - means) / deviations
}

/// 255p − `means`, channels last.
pub fn subtract_means(pixels: &Tensor, means: [f32; 3]) -> Tensor {
    let means = upload(&means, pixels.device()).view([3, 1, 1]);
    channels_last(pixels) * 255 - means
}

//! Inception v1 (GoogLeNet).
//!
//! Paper: Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, arXiv 1409.4842, table 1.
//! Reference: TF-Slim of April 2018, `nets/inception_v1.py`, parameter names likewise.
//! Accuracies: TF-Slim's table of checkpoints.
//!
//! Where the reference differs from the paper, this follows the reference: 3×3 convolutions stand
//! in for the 5×5, batch norm for local response normalisation, and the last pool between modules
//! is 2×2.
//!
//! Deviations: those of all Inception networks here, see `inception.rs`.

use super::inception::Layer::{MaxPool, Mixed};
use super::inception::{Inception, Layer, Logits, Version, conv, strided};
use super::{HALVED_FIVE_TIMES, Published};
use crate::nn::Padding::Same;
use gauntlet_core::weights::PyTorch;

/// Inception v1.
pub type InceptionV1 = Inception<V1, 224>;

/// The table of Inception v1.
pub enum V1 {}

/// A module, its numbers in the paper's order: 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5, pool proj.
const fn mixed<
    const N1: i64,
    const R3: i64,
    const N3: i64,
    const R5: i64,
    const N5: i64,
    const POOL: i64,
>(
    name: &'static str,
) -> Layer {
    Mixed(
        name,
        const {
            &[
                &[conv("Conv2d_0a_1x1", N1)],
                &[conv("Conv2d_0a_1x1", R3), conv("Conv2d_0b_3x3", N3)],
                &[conv("Conv2d_0a_1x1", R5), conv("Conv2d_0b_3x3", N5)],
                &[MaxPool(3, 1, Same), conv("Conv2d_0b_1x1", POOL)],
            ]
        },
    )
}

impl Version for V1 {
    const PUBLISHED: Published = Published {
        name: "inception_v1",
        family: "Inception",
        top1: Some(69.8),
        top5: Some(89.6),
        depth: None,
        source: "Szegedy et al. 2015 (arXiv 1409.4842), TF-Slim inception_v1",
    };
    const SCOPE: &'static str = "InceptionV1";
    const LAYERS: &'static [Layer] = &[
        strided("Conv2d_1a_7x7", 64, 2, Same),
        MaxPool(3, 2, Same),
        conv("Conv2d_2b_1x1", 64),
        conv("Conv2d_2c_3x3", 192),
        MaxPool(3, 2, Same),
        mixed::<64, 96, 128, 16, 32, 32>("Mixed_3b"),
        mixed::<128, 128, 192, 32, 96, 64>("Mixed_3c"),
        MaxPool(3, 2, Same),
        mixed::<192, 96, 208, 16, 48, 64>("Mixed_4b"),
        mixed::<160, 112, 224, 24, 64, 64>("Mixed_4c"),
        mixed::<128, 128, 256, 24, 64, 64>("Mixed_4d"),
        mixed::<112, 144, 288, 32, 64, 64>("Mixed_4e"),
        mixed::<256, 160, 320, 32, 128, 128>("Mixed_4f"),
        MaxPool(2, 2, Same),
        // As `mixed` gives it, but for the name of the second 3×3 convolution.
        Mixed(
            "Mixed_5b",
            &[
                &[conv("Conv2d_0a_1x1", 256)],
                &[conv("Conv2d_0a_1x1", 160), conv("Conv2d_0b_3x3", 320)],
                &[conv("Conv2d_0a_1x1", 32), conv("Conv2d_0a_3x3", 128)],
                &[MaxPool(3, 1, Same), conv("Conv2d_0b_1x1", 128)],
            ],
        ),
        mixed::<384, 192, 384, 48, 128, 128>("Mixed_5c"),
    ];
    const LOGITS: Logits = Logits::Convolution("Conv2d_0c_1x1");
    const SMALLEST: i64 = HALVED_FIVE_TIMES;
    const PYTORCH: PyTorch = PyTorch::Differs(
        "torchvision's GoogLeNet pads its first convolution and its max-pools otherwise",
    );
}

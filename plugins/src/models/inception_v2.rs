//! Inception v2 (Inception with batch norm).
//!
//! Paper: Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
//! Internal Covariate Shift", ICML 2015, arXiv 1502.03167, figure 5.
//! Reference: TF-Slim of April 2018, `nets/inception_v2.py`, parameter names likewise.
//! Accuracies: TF-Slim's table of checkpoints.
//!
//! Where the reference differs from the paper, this follows the reference: the widths of `Mixed_4c`
//! to `Mixed_4e`; the first layer is a separable convolution and has a bias in place of batch norm.
//!
//! Deviations: those of all Inception networks here, see `inception.rs`.

use super::inception::Layer::{AveragePool, MaxPool, Mixed, Separable};
use super::inception::{Inception, Layer, Logits, Version, conv, strided};
use super::{HALVED_FIVE_TIMES, Published};
use crate::nn::Padding::Same;
use gauntlet_core::weights::PyTorch;

/// Inception v2.
pub type InceptionV2 = Inception<V2, 224>;

/// The table of Inception v2.
pub enum V2 {}

/// A module, its numbers in the paper's order: 1×1, 3×3 reduce, 3×3, double 3×3 reduce, double 3×3,
/// pool proj.
const fn mixed<
    const N1: i64,
    const R3: i64,
    const N3: i64,
    const RD: i64,
    const ND: i64,
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
                &[conv("Conv2d_0a_1x1", RD), conv("Conv2d_0b_3x3", ND), conv("Conv2d_0c_3x3", ND)],
                &[AveragePool, conv("Conv2d_0b_1x1", POOL)],
            ]
        },
    )
}

/// A module with stride 2: 3×3 reduce, 3×3, double 3×3 reduce, double 3×3. The pool passes through.
const fn reduction<const R3: i64, const N3: i64, const RD: i64, const ND: i64>(
    name: &'static str,
) -> Layer {
    Mixed(
        name,
        const {
            &[
                &[conv("Conv2d_0a_1x1", R3), strided("Conv2d_1a_3x3", N3, 2, Same)],
                &[
                    conv("Conv2d_0a_1x1", RD),
                    conv("Conv2d_0b_3x3", ND),
                    strided("Conv2d_1a_3x3", ND, 2, Same),
                ],
                &[MaxPool(3, 2, Same)],
            ]
        },
    )
}

impl Version for V2 {
    const PUBLISHED: Published = Published {
        name: "inception_v2",
        family: "Inception",
        top1: Some(73.9),
        top5: Some(91.8),
        depth: None,
        source: "Ioffe and Szegedy 2015 (arXiv 1502.03167), TF-Slim inception_v2",
    };
    const SCOPE: &'static str = "InceptionV2";
    const LAYERS: &'static [Layer] = &[
        Separable("Conv2d_1a_7x7", 64),
        MaxPool(3, 2, Same),
        conv("Conv2d_2b_1x1", 64),
        conv("Conv2d_2c_3x3", 192),
        MaxPool(3, 2, Same),
        mixed::<64, 64, 64, 64, 96, 32>("Mixed_3b"),
        mixed::<64, 64, 96, 64, 96, 64>("Mixed_3c"),
        reduction::<128, 160, 64, 96>("Mixed_4a"),
        mixed::<224, 64, 96, 96, 128, 128>("Mixed_4b"),
        mixed::<192, 96, 128, 96, 128, 128>("Mixed_4c"),
        mixed::<160, 128, 160, 128, 160, 96>("Mixed_4d"),
        mixed::<96, 128, 192, 160, 192, 96>("Mixed_4e"),
        reduction::<128, 192, 192, 256>("Mixed_5a"),
        mixed::<352, 192, 320, 160, 224, 128>("Mixed_5b"),
        Mixed(
            "Mixed_5c", // the only one whose pool takes the maximum
            &[
                &[conv("Conv2d_0a_1x1", 352)],
                &[conv("Conv2d_0a_1x1", 192), conv("Conv2d_0b_3x3", 320)],
                &[
                    conv("Conv2d_0a_1x1", 192),
                    conv("Conv2d_0b_3x3", 224),
                    conv("Conv2d_0c_3x3", 224),
                ],
                &[MaxPool(3, 1, Same), conv("Conv2d_0b_1x1", 128)],
            ],
        ),
    ];
    const LOGITS: Logits = Logits::Convolution("Conv2d_1c_1x1");
    const SMALLEST: i64 = HALVED_FIVE_TIMES;
    const PYTORCH: PyTorch = PyTorch::Differs(
        "neither timm nor torchvision has Inception v2 with its separable first layer",
    );
}

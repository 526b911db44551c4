//! Inception v3.
//!
//! Paper: Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception Architecture for
//! Computer Vision", CVPR 2016, arXiv 1512.00567, table 1 and figures 5 to 7 and 10.
//! Reference: TF-Slim of April 2018, `nets/inception_v3.py`, parameter names likewise.
//! Accuracies: TF-Slim's table of checkpoints.
//!
//! Where the reference differs from the paper, this follows the reference: the first three modules
//! have a 5×5 convolution in one branch, and `Conv2d_3b` is 1×1.
//!
//! Weights of timm's and torchvision's `inception_v3` fit, with 1000 classes; their means count the
//! zeros beyond the edge.
//!
//! Deviations: those of all Inception networks here, see `inception.rs`.

use super::inception::Layer::{AveragePool, Conv, Fork, MaxPool, Mixed};
use super::inception::{Inception, Layer, Logits, Place, Version, conv, strided, timm_tensor};
use super::{Published, pytorch_leaf};
use crate::nn::Padding::Valid;
use gauntlet_core::weights::PyTorch;

/// Inception v3.
pub type InceptionV3 = Inception<V3, 299>;

/// The table of Inception v3.
pub enum V3 {}

/// Figure 5 of the paper.
const fn mixed5<const POOL: i64>(name: &'static str) -> Layer {
    Mixed(
        name,
        const {
            &[
                &[conv("Conv2d_0a_1x1", 64)],
                &[conv("Conv2d_0a_1x1", 48), conv("Conv2d_0b_5x5", 64)],
                &[conv("Conv2d_0a_1x1", 64), conv("Conv2d_0b_3x3", 96), conv("Conv2d_0c_3x3", 96)],
                &[AveragePool, conv("Conv2d_0b_1x1", POOL)],
            ]
        },
    )
}

/// Figure 6 of the paper, n = 7.
const fn mixed6<const WIDTH: i64>(name: &'static str) -> Layer {
    Mixed(
        name,
        const {
            &[
                &[conv("Conv2d_0a_1x1", 192)],
                &[
                    conv("Conv2d_0a_1x1", WIDTH),
                    conv("Conv2d_0b_1x7", WIDTH),
                    conv("Conv2d_0c_7x1", 192),
                ],
                &[
                    conv("Conv2d_0a_1x1", WIDTH),
                    conv("Conv2d_0b_7x1", WIDTH),
                    conv("Conv2d_0c_1x7", WIDTH),
                    conv("Conv2d_0d_7x1", WIDTH),
                    conv("Conv2d_0e_1x7", 192),
                ],
                &[AveragePool, conv("Conv2d_0b_1x1", 192)],
            ]
        },
    )
}

/// The third branch of figure 7 of the paper.
const WIDE: &[Layer] = &[
    conv("Conv2d_0a_1x1", 448),
    conv("Conv2d_0b_3x3", 384),
    Fork(&[conv("Conv2d_0c_1x3", 384), conv("Conv2d_0d_3x1", 384)]),
];
/// The fourth branch of figure 7 of the paper.
const POOL: &[Layer] = &[AveragePool, conv("Conv2d_0b_1x1", 192)];

/// A 3×3 convolution that halves the map. The reference calls it 1×1.
const fn misnamed(name: &'static str, channels: i64) -> Layer {
    Conv { name, kernel: [3, 3], channels, stride: 2, padding: Valid }
}

/// timm's name of a tensor, which is torchvision's too.
fn timm(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.strip_prefix(V3::SCOPE)?.strip_prefix('/')?.split('/').collect();
    match parts[..] {
        ["Logits", "Conv2d_1c_1x1", leaf] => Some(format!("fc.{}", pytorch_leaf(leaf)?)),
        [module, branch, conv, ref tensor @ ..] if module.starts_with("Mixed") => {
            let Place { branch, conv: (n, count), side, .. } =
                Place::find(V3::LAYERS, module, branch, conv)?;
            let branches: &[&str] = match module.strip_prefix("Mixed_")? {
                "5b" | "5c" | "5d" => &["branch1x1", "branch5x5", "branch3x3dbl", "branch_pool"],
                "6a" => &["branch3x3", "branch3x3dbl"],
                "6b" | "6c" | "6d" | "6e" => {
                    &["branch1x1", "branch7x7", "branch7x7dbl", "branch_pool"]
                }
                "7a" => &["branch3x3", "branch7x7x3"],
                _ => &["branch1x1", "branch3x3", "branch3x3dbl", "branch_pool"],
            };
            let step = if count == 1 { String::new() } else { format!("_{}{side}", n + 1) };
            timm_tensor(&format!("{module}.{}{step}", branches.get(branch)?), tensor)
        }
        [conv, ref tensor @ ..] => timm_tensor(conv, tensor),
        [] => None,
    }
}

impl Version for V3 {
    const PUBLISHED: Published = Published {
        name: "inception_v3",
        family: "Inception",
        top1: Some(78.0),
        top5: Some(93.9),
        depth: None,
        source: "Szegedy et al. 2016 (arXiv 1512.00567), TF-Slim inception_v3",
    };
    const SCOPE: &'static str = "InceptionV3";
    const LAYERS: &'static [Layer] = &[
        strided("Conv2d_1a_3x3", 32, 2, Valid),
        strided("Conv2d_2a_3x3", 32, 1, Valid),
        conv("Conv2d_2b_3x3", 64),
        MaxPool(3, 2, Valid),
        conv("Conv2d_3b_1x1", 80),
        strided("Conv2d_4a_3x3", 192, 1, Valid),
        MaxPool(3, 2, Valid),
        mixed5::<32>("Mixed_5b"),
        Mixed(
            "Mixed_5c", // as `mixed5::<64>`, but for the names of the second branch
            &[
                &[conv("Conv2d_0a_1x1", 64)],
                &[conv("Conv2d_0b_1x1", 48), conv("Conv_1_0c_5x5", 64)],
                &[conv("Conv2d_0a_1x1", 64), conv("Conv2d_0b_3x3", 96), conv("Conv2d_0c_3x3", 96)],
                &[AveragePool, conv("Conv2d_0b_1x1", 64)],
            ],
        ),
        mixed5::<64>("Mixed_5d"),
        Mixed(
            "Mixed_6a", // figure 10
            &[
                &[misnamed("Conv2d_1a_1x1", 384)],
                &[
                    conv("Conv2d_0a_1x1", 64),
                    conv("Conv2d_0b_3x3", 96),
                    misnamed("Conv2d_1a_1x1", 96),
                ],
                &[MaxPool(3, 2, Valid)],
            ],
        ),
        mixed6::<128>("Mixed_6b"),
        mixed6::<160>("Mixed_6c"),
        mixed6::<160>("Mixed_6d"),
        mixed6::<192>("Mixed_6e"),
        Mixed(
            "Mixed_7a",
            &[
                &[conv("Conv2d_0a_1x1", 192), strided("Conv2d_1a_3x3", 320, 2, Valid)],
                &[
                    conv("Conv2d_0a_1x1", 192),
                    conv("Conv2d_0b_1x7", 192),
                    conv("Conv2d_0c_7x1", 192),
                    strided("Conv2d_1a_3x3", 192, 2, Valid),
                ],
                &[MaxPool(3, 2, Valid)],
            ],
        ),
        Mixed(
            "Mixed_7b", // figure 7
            &[
                &[conv("Conv2d_0a_1x1", 320)],
                &[
                    conv("Conv2d_0a_1x1", 384),
                    Fork(&[conv("Conv2d_0b_1x3", 384), conv("Conv2d_0b_3x1", 384)]),
                ],
                WIDE,
                POOL,
            ],
        ),
        Mixed(
            "Mixed_7c", // the same with another name
            &[
                &[conv("Conv2d_0a_1x1", 320)],
                &[
                    conv("Conv2d_0a_1x1", 384),
                    Fork(&[conv("Conv2d_0b_1x3", 384), conv("Conv2d_0c_3x1", 384)]),
                ],
                WIDE,
                POOL,
            ],
        ),
    ];
    const LOGITS: Logits = Logits::Convolution("Conv2d_1c_1x1");
    // 75 → 37 → 35 → 17 → 15 → 7 → 3 → 1
    const SMALLEST: i64 = 75;
    const PYTORCH: PyTorch = PyTorch::Fits {
        library: "timm inception_v3",
        rename: timm,
        also: &[],
        spare: &["AuxLogits."],
    };
    const PYTORCH_MEANS_COUNT_PADDING: bool = true;
}

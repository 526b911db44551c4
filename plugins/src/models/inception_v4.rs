//! Inception v4.
//!
//! Paper: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the Impact of
//! Residual Connections on Learning", AAAI 2017, arXiv 1602.07261, figures 3 to 9.
//! Reference: TF-Slim of April 2018, `nets/inception_v4.py`, parameter names likewise.
//! Accuracies: TF-Slim's table of checkpoints.
//!
//! Weights of timm's `inception_v4` fit, with 1000 classes.
//!
//! Deviations: those of all Inception networks here, see `inception.rs`.

use super::inception::Layer::{AveragePool, Conv, Fork, MaxPool, Mixed};
use super::inception::{
    Branches, Inception, Layer, Logits, Place, Version, conv, strided, timm_tensor,
};
use super::{Published, pytorch_leaf};
use crate::nn::Padding::Valid;
use gauntlet_core::weights::PyTorch;

/// Inception v4.
pub type InceptionV4 = Inception<V4, 299>;

/// The table of Inception v4.
pub enum V4 {}

/// Figure 4 of the paper.
const A: Branches = &[
    &[conv("Conv2d_0a_1x1", 96)],
    &[conv("Conv2d_0a_1x1", 64), conv("Conv2d_0b_3x3", 96)],
    &[conv("Conv2d_0a_1x1", 64), conv("Conv2d_0b_3x3", 96), conv("Conv2d_0c_3x3", 96)],
    &[AveragePool, conv("Conv2d_0b_1x1", 96)],
];

/// Figure 7 of the paper, with table 1.
const REDUCTION_A: Branches = &[
    &[strided("Conv2d_1a_3x3", 384, 2, Valid)],
    &[
        conv("Conv2d_0a_1x1", 192),
        conv("Conv2d_0b_3x3", 224),
        strided("Conv2d_1a_3x3", 256, 2, Valid),
    ],
    &[MaxPool(3, 2, Valid)],
];

/// Figure 5 of the paper.
const B: Branches = &[
    &[conv("Conv2d_0a_1x1", 384)],
    &[conv("Conv2d_0a_1x1", 192), conv("Conv2d_0b_1x7", 224), conv("Conv2d_0c_7x1", 256)],
    &[
        conv("Conv2d_0a_1x1", 192),
        conv("Conv2d_0b_7x1", 192),
        conv("Conv2d_0c_1x7", 224),
        conv("Conv2d_0d_7x1", 224),
        conv("Conv2d_0e_1x7", 256),
    ],
    &[AveragePool, conv("Conv2d_0b_1x1", 128)],
];

/// Figure 8 of the paper.
const REDUCTION_B: Branches = &[
    &[conv("Conv2d_0a_1x1", 192), strided("Conv2d_1a_3x3", 192, 2, Valid)],
    &[
        conv("Conv2d_0a_1x1", 256),
        conv("Conv2d_0b_1x7", 256),
        conv("Conv2d_0c_7x1", 320),
        strided("Conv2d_1a_3x3", 320, 2, Valid),
    ],
    &[MaxPool(3, 2, Valid)],
];

/// Figure 6 of the paper.
const C: Branches = &[
    &[conv("Conv2d_0a_1x1", 256)],
    &[conv("Conv2d_0a_1x1", 384), Fork(&[conv("Conv2d_0b_1x3", 256), conv("Conv2d_0c_3x1", 256)])],
    &[
        conv("Conv2d_0a_1x1", 384),
        conv("Conv2d_0b_3x1", 448),
        conv("Conv2d_0c_1x3", 512),
        Fork(&[conv("Conv2d_0d_1x3", 256), conv("Conv2d_0e_3x1", 256)]),
    ],
    &[AveragePool, conv("Conv2d_0b_1x1", 256)],
];

/// timm's name of a tensor: it numbers modules, and the layers in them.
fn timm(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.strip_prefix(V4::SCOPE)?.strip_prefix('/')?.split('/').collect();
    match parts[..] {
        ["Logits", "Logits", leaf] => Some(format!("last_linear.{}", pytorch_leaf(leaf)?)),
        [module, branch, conv, ref tensor @ ..] if module.starts_with("Mixed") => {
            let Place { row, branch, layer: (n, count), side, forked, .. } =
                Place::find(V4::LAYERS, module, branch, conv)?;
            let layer = match module {
                "Mixed_3a" | "Mixed_5a" => "conv".to_owned(),
                _ if count == 1 => format!("branch{branch}"),
                _ if forked => format!("branch{branch}_{n}{side}"),
                _ => format!("branch{branch}.{n}"),
            };
            timm_tensor(&format!("features.{row}.{layer}"), tensor)
        }
        [conv, ref tensor @ ..] => {
            let row = V4::LAYERS
                .iter()
                .position(|layer| matches!(layer, Conv { name, .. } if *name == conv))?;
            timm_tensor(&format!("features.{row}"), tensor)
        }
        [] => None,
    }
}

impl Version for V4 {
    const PUBLISHED: Published = Published {
        name: "inception_v4",
        family: "Inception",
        top1: Some(80.2),
        top5: Some(95.2),
        depth: None,
        source: "Szegedy et al. 2017 (arXiv 1602.07261), TF-Slim inception_v4",
    };
    const SCOPE: &'static str = "InceptionV4";
    const LAYERS: &'static [Layer] = &[
        // The stem, figure 3.
        strided("Conv2d_1a_3x3", 32, 2, Valid),
        strided("Conv2d_2a_3x3", 32, 1, Valid),
        conv("Conv2d_2b_3x3", 64),
        Mixed("Mixed_3a", &[&[MaxPool(3, 2, Valid)], &[strided("Conv2d_0a_3x3", 96, 2, Valid)]]),
        Mixed(
            "Mixed_4a",
            &[
                &[conv("Conv2d_0a_1x1", 64), strided("Conv2d_1a_3x3", 96, 1, Valid)],
                &[
                    conv("Conv2d_0a_1x1", 64),
                    conv("Conv2d_0b_1x7", 64),
                    conv("Conv2d_0c_7x1", 64),
                    strided("Conv2d_1a_3x3", 96, 1, Valid),
                ],
            ],
        ),
        Mixed("Mixed_5a", &[&[strided("Conv2d_1a_3x3", 192, 2, Valid)], &[MaxPool(3, 2, Valid)]]),
        Mixed("Mixed_5b", A),
        Mixed("Mixed_5c", A),
        Mixed("Mixed_5d", A),
        Mixed("Mixed_5e", A),
        Mixed("Mixed_6a", REDUCTION_A),
        Mixed("Mixed_6b", B),
        Mixed("Mixed_6c", B),
        Mixed("Mixed_6d", B),
        Mixed("Mixed_6e", B),
        Mixed("Mixed_6f", B),
        Mixed("Mixed_6g", B),
        Mixed("Mixed_6h", B),
        Mixed("Mixed_7a", REDUCTION_B),
        Mixed("Mixed_7b", C),
        Mixed("Mixed_7c", C),
        Mixed("Mixed_7d", C),
    ];
    const LOGITS: Logits = Logits::Matrix;
    // 75 → 37 → 35 → 17 → 15 → 7 → 3 → 1
    const SMALLEST: i64 = 75;
    const PYTORCH: PyTorch =
        PyTorch::Fits { library: "timm inception_v4", rename: timm, also: &[], spare: &[] };
}

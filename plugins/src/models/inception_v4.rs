//! Inception v4.
//!
//! Paper: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the Impact of
//! Residual Connections on Learning", AAAI 2017, arXiv 1602.07261, figures 3 to 9.
//! Reference: TF-Slim of April 2018, `nets/inception_v4.py`, parameter names likewise.
//! Accuracies: TF-Slim's table of checkpoints.
//!
//! Deviations: those of all Inception networks here, see `inception.rs`.

use super::Published;
use super::inception::Layer::{AveragePool, Fork, MaxPool, Mixed};
use super::inception::{Branches, Inception, Layer, Logits, Version, conv, strided};
use crate::nn::Padding::Valid;

/// Inception v4.
pub type InceptionV4 = Inception<V4, 299>;

/// Its table.
pub enum V4 {}

/// Figure 4 of the paper.
const A: Branches = &[
    &[conv("Conv2d_0a_1x1", 96)],
    &[conv("Conv2d_0a_1x1", 64), conv("Conv2d_0b_3x3", 96)],
    &[conv("Conv2d_0a_1x1", 64), conv("Conv2d_0b_3x3", 96), conv("Conv2d_0c_3x3", 96)],
    &[AveragePool, conv("Conv2d_0b_1x1", 96)],
];

/// Figure 7 with table 1.
const REDUCTION_A: Branches = &[
    &[strided("Conv2d_1a_3x3", 384, 2, Valid)],
    &[conv("Conv2d_0a_1x1", 192), conv("Conv2d_0b_3x3", 224), strided("Conv2d_1a_3x3", 256, 2, Valid)],
    &[MaxPool(3, 2, Valid)],
];

/// Figure 5.
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

/// Figure 8.
const REDUCTION_B: Branches = &[
    &[conv("Conv2d_0a_1x1", 192), strided("Conv2d_1a_3x3", 192, 2, Valid)],
    &[conv("Conv2d_0a_1x1", 256), conv("Conv2d_0b_1x7", 256), conv("Conv2d_0c_7x1", 320), strided("Conv2d_1a_3x3", 320, 2, Valid)],
    &[MaxPool(3, 2, Valid)],
];

/// Figure 6.
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
                &[conv("Conv2d_0a_1x1", 64), conv("Conv2d_0b_1x7", 64), conv("Conv2d_0c_7x1", 64), strided("Conv2d_1a_3x3", 96, 1, Valid)],
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
}

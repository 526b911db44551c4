//! Inception-ResNet v2.
//!
//! Paper: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the Impact of
//! Residual Connections on Learning", AAAI 2017, arXiv 1602.07261, figures 7 and 15 to 19.
//! Reference: TF-Slim of April 2018, `nets/inception_resnet_v2.py`, parameter names likewise.
//! Accuracies: TF-Slim's table of checkpoints.
//!
//! Where the reference differs from the paper, this follows the reference: the stem is that of
//! Inception v3 and a module like its first; blocks come 10, 20 and 10 times, and the last of all
//! adds its branches unscaled and has no ReLU; a 1×1 convolution follows.
//!
//! Weights of timm's `inception_resnet_v2` fit, with 1000 classes.
//!
//! Deviations: those of all Inception networks here, see `inception.rs`.

use super::inception::Layer::{AveragePool, MaxPool, Mixed, Repeat, Residual};
use super::inception::{
    Block, Inception, Layer, Logits, Place, Version, conv, strided, timm_tensor,
};
use super::{Published, pytorch_leaf};
use crate::nn::Activation::{Identity, Relu};
use crate::nn::Padding::Valid;
use gauntlet_core::weights::PyTorch;

/// Inception-ResNet v2.
pub type InceptionResNetV2 = Inception<ResNetV2, 299>;

/// The table of Inception-ResNet v2.
pub enum ResNetV2 {}

/// Figure 16 of the paper.
const BLOCK35: Block = Block {
    branches: &[
        &[conv("Conv2d_1x1", 32)],
        &[conv("Conv2d_0a_1x1", 32), conv("Conv2d_0b_3x3", 32)],
        &[conv("Conv2d_0a_1x1", 32), conv("Conv2d_0b_3x3", 48), conv("Conv2d_0c_3x3", 64)],
    ],
    scale: 0.17,
    activation: Relu,
};

/// Figure 17 of the paper.
const BLOCK17: Block = Block {
    branches: &[
        &[conv("Conv2d_1x1", 192)],
        &[conv("Conv2d_0a_1x1", 128), conv("Conv2d_0b_1x7", 160), conv("Conv2d_0c_7x1", 192)],
    ],
    scale: 0.1,
    activation: Relu,
};

/// Figure 19 of the paper.
const BLOCK8: Block = Block {
    branches: &[
        &[conv("Conv2d_1x1", 192)],
        &[conv("Conv2d_0a_1x1", 192), conv("Conv2d_0b_1x3", 224), conv("Conv2d_0c_3x1", 256)],
    ],
    scale: 0.2,
    activation: Relu,
};

/// timm's name of a tensor: it counts blocks from 0, and leaves kernels out of names.
fn timm(name: &str) -> Option<String> {
    let parts: Vec<&str> =
        name.strip_prefix(ResNetV2::SCOPE)?.strip_prefix('/')?.split('/').collect();
    let (module, rest) = match parts[..] {
        ["Logits", "Logits", leaf] => return Some(format!("classif.{}", pytorch_leaf(leaf)?)),
        [repeat, block, ref rest @ ..] if repeat.starts_with("Repeat") => {
            let n: usize = block.rsplit_once('_')?.1.parse().ok()?;
            let theirs = format!("{}.{}", repeat.to_lowercase(), n.checked_sub(1)?);
            ((format!("{repeat}/{block}"), theirs), rest)
        }
        [module, ref rest @ ..] if module.starts_with("Mixed") || module == "Block8" => {
            ((module.to_owned(), module.to_lowercase()), rest)
        }
        [conv, ref tensor @ ..] => {
            return timm_tensor(&conv.rsplit_once('_')?.0.to_lowercase(), tensor);
        }
        [] => return None,
    };
    let (module, theirs) = module;
    match *rest {
        ["Conv2d_1x1", leaf] => Some(format!("{theirs}.conv2d.{}", pytorch_leaf(leaf)?)),
        [branch, conv, ref tensor @ ..] => {
            let Place { branch, layer: (n, count), .. } =
                Place::find(ResNetV2::LAYERS, &module, branch, conv)?;
            let layer =
                if count == 1 { format!("branch{branch}") } else { format!("branch{branch}.{n}") };
            timm_tensor(&format!("{theirs}.{layer}"), tensor)
        }
        _ => None,
    }
}

impl Version for ResNetV2 {
    const PUBLISHED: Published = Published {
        name: "inception_resnet_v2",
        family: "Inception",
        top1: Some(80.4),
        top5: Some(95.3),
        depth: None,
        source: "Szegedy et al. 2017 (arXiv 1602.07261), TF-Slim inception_resnet_v2",
    };
    const SCOPE: &'static str = "InceptionResnetV2";
    const LAYERS: &'static [Layer] = &[
        strided("Conv2d_1a_3x3", 32, 2, Valid),
        strided("Conv2d_2a_3x3", 32, 1, Valid),
        conv("Conv2d_2b_3x3", 64),
        MaxPool(3, 2, Valid),
        conv("Conv2d_3b_1x1", 80),
        strided("Conv2d_4a_3x3", 192, 1, Valid),
        MaxPool(3, 2, Valid),
        Mixed(
            "Mixed_5b",
            &[
                &[conv("Conv2d_1x1", 96)],
                &[conv("Conv2d_0a_1x1", 48), conv("Conv2d_0b_5x5", 64)],
                &[conv("Conv2d_0a_1x1", 64), conv("Conv2d_0b_3x3", 96), conv("Conv2d_0c_3x3", 96)],
                &[AveragePool, conv("Conv2d_0b_1x1", 64)],
            ],
        ),
        Repeat(10, "Repeat/block35", BLOCK35),
        Mixed(
            "Mixed_6a", // figure 7 with table 1
            &[
                &[strided("Conv2d_1a_3x3", 384, 2, Valid)],
                &[
                    conv("Conv2d_0a_1x1", 256),
                    conv("Conv2d_0b_3x3", 256),
                    strided("Conv2d_1a_3x3", 384, 2, Valid),
                ],
                &[MaxPool(3, 2, Valid)],
            ],
        ),
        Repeat(20, "Repeat_1/block17", BLOCK17),
        Mixed(
            "Mixed_7a", // figure 18
            &[
                &[conv("Conv2d_0a_1x1", 256), strided("Conv2d_1a_3x3", 384, 2, Valid)],
                &[conv("Conv2d_0a_1x1", 256), strided("Conv2d_1a_3x3", 288, 2, Valid)],
                &[
                    conv("Conv2d_0a_1x1", 256),
                    conv("Conv2d_0b_3x3", 288),
                    strided("Conv2d_1a_3x3", 320, 2, Valid),
                ],
                &[MaxPool(3, 2, Valid)],
            ],
        ),
        Repeat(9, "Repeat_2/block8", BLOCK8),
        Residual("Block8", Block { scale: 1.0, activation: Identity, ..BLOCK8 }),
        conv("Conv2d_7b_1x1", 1536),
    ];
    const LOGITS: Logits = Logits::Matrix;
    // 75 → 37 → 35 → 17 → 15 → 7 → 3 → 1
    const SMALLEST: i64 = 75;
    const PYTORCH: PyTorch =
        PyTorch::Fits { library: "timm inception_resnet_v2", rename: timm, also: &[], spare: &[] };
}

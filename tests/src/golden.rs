//! Golden values: what the original authors' code gave for weights and images that come from
//! formulas. The formulas are here, the values in `fixtures/golden` (see its README).
//!
//! `GAUNTLET_GOLDENS=DIR cargo test -p gauntlet-tests --test attacks --test networks` tests another
//! folder, with files of the same form made from another seed.

use gauntlet_core::weights::{Misfit, Role, Source};
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use tch::Tensor;

/// Reads a file of golden values, such as `attacks.json` or `networks/vgg_16.json`.
pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let folder = std::env::var_os("GAUNTLET_GOLDENS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden"),
        PathBuf::from,
    );
    let path = folder.join(name);
    let text = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Element `i` of the variable whose name has the hash `h0`: uniform in [−1, 1).
fn element(h0: u64, i: u64) -> f64 {
    let mut z = h0.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 / 2f64.powi(53) * 2.0 - 1.0
}

fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The values of a variable in TensorFlow's layout, row-major.
///
/// `name` is the full name after the seed, such as `public/tiny/conv1/weights`. `gain` scales the
/// kernels.
pub fn values(name: &str, shape: &[i64], role: Role, gain: f64) -> Vec<f32> {
    let h0 = fnv1a(name);
    let count: i64 = shape.iter().product();
    let last = shape.last().copied().unwrap_or(1);
    let (offset, scale) = match role {
        Role::Kernel => (0.0, gain * (3.0 / (count / last) as f64).sqrt()),
        Role::Depthwise => (0.0, gain * (3.0 / (shape[0] * shape[1]) as f64).sqrt()),
        Role::Bias | Role::Beta | Role::Mean => (0.0, 0.1),
        Role::Gamma => (1.0, 0.1),
        Role::Variance => (1.0, 0.2),
    };
    (0..count as u64).map(|i| (offset + scale * element(h0, i)) as f32).collect()
}

/// A source of weights by the formula.
#[derive(Clone)]
pub struct Formula {
    /// Seed and scope that go before every name, such as `public/vgg_16/`.
    pub prefix: String,
    /// Scale of the kernels.
    pub gain: f64,
}

impl Source for Formula {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let values = values(&format!("{}{name}", self.prefix), shape, role, self.gain);
        Ok(Tensor::from_slice(&values).view(shape))
    }
}

/// Image `n` of a batch, C×H×W: the sum of three waves. `wave` has their angular frequencies per
/// pixel along the height, along the width, and along the product of the two.
pub fn image(n: i64, side: i64, wave: [f64; 3]) -> Tensor {
    let n = n as f64;
    let mut values = Vec::with_capacity((3 * side * side) as usize);
    for c in 0..3 {
        let c = f64::from(c);
        for h in 0..side {
            let h = h as f64;
            for w in 0..side {
                let w = w as f64;
                let p = 0.5
                    + 0.22 * (wave[0] * h * (1.0 + 0.2 * c) + 0.9 * n).sin()
                    + 0.18 * (wave[1] * w * (1.0 + 0.3 * n) + 0.5 * c).cos()
                    + 0.08 * (wave[2] * h * w * (1.0 + c)).sin();
                values.push(p as f32);
            }
        }
    }
    Tensor::from_slice(&values).view([3, side, side])
}

/// The six images of `attacks.json`, 6×3×16×16.
pub fn tiny_images() -> Tensor {
    Tensor::stack(&(0..6).map(|n| image(n, 16, [0.41, 0.37, 0.13])).collect::<Vec<_>>(), 0)
}

/// The two images of `networks/*.json`, 2×C×H×W.
pub fn network_images(side: i64) -> Tensor {
    Tensor::stack(&(0..2).map(|n| image(n, side, [0.11, 0.07, 0.013])).collect::<Vec<_>>(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_formula_gives_the_stated_values() {
        let name = "public/resnet_v2_50/conv1/weights";
        assert_eq!(fnv1a(name), 0x1a21_2610_a427_226b);
        let first = values(name, &[7, 7, 3, 64], Role::Kernel, 1.2)[0];
        assert!((f64::from(first) + 0.045_622_780_919_075_01).abs() < 1e-8, "{first}");
        assert!(values("x", &[4], Role::Variance, 1.0).iter().all(|v| (0.8..1.2).contains(v)));
    }
}

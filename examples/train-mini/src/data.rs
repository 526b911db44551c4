//! Fashion-MNIST from its IDX files.

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use std::io::Read;
use std::path::Path;
use tch::Tensor;

/// Height and width of an image.
pub const SIDE: usize = 28;

/// Images with labels.
pub struct Set {
    /// N images of 28×28 grey values.
    images: Vec<u8>,
    /// N labels, 0 to 9.
    labels: Vec<u8>,
}

/// How an image is moved before the network sees it.
#[derive(Clone, Copy, Default)]
pub struct Move {
    /// Rows down.
    pub down: i32,
    /// Columns to the right.
    pub right: i32,
    /// Mirrored left to right.
    pub mirrored: bool,
}

impl Set {
    /// Reads `<part>-images-idx3-ubyte` and `<part>-labels-idx1-ubyte`, plain or `.gz`, of
    /// `folder`.
    pub fn read(folder: &Path, part: &str) -> Result<Self> {
        let (shape, images) = read_idx(folder, &format!("{part}-images-idx3-ubyte"))?;
        let (counts, labels) = read_idx(folder, &format!("{part}-labels-idx1-ubyte"))?;
        ensure!(
            shape[1..] == [SIDE, SIDE],
            "images of {part} have shape {shape:?}, expected N×{SIDE}×{SIDE}"
        );
        ensure!(counts == shape[..1], "{part} has {} images but {counts:?} labels", shape[0]);
        ensure!(labels.iter().all(|&l| l < 10), "{part} has labels above 9");
        Ok(Self { images, labels })
    }

    /// Takes the last `count` images away, as a set of their own.
    pub fn split_off(&mut self, count: usize) -> Self {
        let kept = self.len() - count;
        Self {
            images: self.images.split_off(kept * SIDE * SIDE),
            labels: self.labels.split_off(kept),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// A batch: pixels M×3×28×28 in [0, 1], grey in all three channels, and M labels. Moves uncover
    /// black, the background of Fashion-MNIST.
    pub fn batch(&self, picks: &[(usize, Move)]) -> (Tensor, Tensor) {
        let side = SIDE as i32;
        let mut pixels = vec![0f32; picks.len() * SIDE * SIDE];
        for (target, &(n, Move { down, right, mirrored })) in
            pixels.chunks_exact_mut(SIDE * SIDE).zip(picks)
        {
            let image = &self.images[n * SIDE * SIDE..][..SIDE * SIDE];
            for y in 0..side {
                for x in 0..side {
                    let (from_y, from_x) = (y - down, x - right);
                    if (0..side).contains(&from_y) && (0..side).contains(&from_x) {
                        let column = if mirrored { side - 1 - from_x } else { from_x };
                        target[(y * side + x) as usize] =
                            f32::from(image[(from_y * side + column) as usize]) / 255.0;
                    }
                }
            }
        }
        let labels: Vec<i64> = picks.iter().map(|&(n, _)| i64::from(self.labels[n])).collect();
        let count = picks.len() as i64;
        let grey = Tensor::from_slice(&pixels).view([count, 1, SIDE as i64, SIDE as i64]);
        (
            grey.expand([count, 3, SIDE as i64, SIDE as i64], false).contiguous(),
            Tensor::from_slice(&labels),
        )
    }
}

/// Sizes and values of an IDX file of bytes, plain or `.gz`.
fn read_idx(folder: &Path, name: &str) -> Result<(Vec<usize>, Vec<u8>)> {
    let plain = folder.join(name);
    let packed = folder.join(format!("{name}.gz"));
    let bytes = if plain.exists() {
        std::fs::read(&plain).with_context(|| plain.display().to_string())?
    } else {
        let file = std::fs::File::open(&packed).with_context(|| {
            format!(
                "{} (nor {name}); install the Debian package dataset-fashion-mnist, or name a \
                 folder with --data",
                packed.display()
            )
        })?;
        let mut bytes = Vec::new();
        GzDecoder::new(file)
            .read_to_end(&mut bytes)
            .with_context(|| packed.display().to_string())?;
        bytes
    };
    parse_idx(&bytes, name)
}

/// Sizes and values of an IDX file: two zeros, the type (8 for bytes), the number of axes, the size
/// of each axis in four bytes (big-endian), and the values.
fn parse_idx(bytes: &[u8], name: &str) -> Result<(Vec<usize>, Vec<u8>)> {
    ensure!(bytes.len() >= 4 && bytes[..3] == [0, 0, 8], "{name} is not an IDX file of bytes");
    let start = 4 + 4 * usize::from(bytes[3]);
    ensure!(bytes.len() >= start, "{name} ends within its header");
    let shape: Vec<usize> = bytes[4..start]
        .chunks_exact(4)
        .map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize)
        .collect();
    let count: usize = shape.iter().product();
    ensure!(
        bytes.len() - start == count,
        "{name} holds {} values, its header says {shape:?}",
        bytes.len() - start
    );
    Ok((shape, bytes[start..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idx_is_read_and_checked() {
        let file = [0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9];
        assert_eq!(parse_idx(&file, "f").unwrap(), (vec![1, 3], vec![7, 8, 9]));
        let error = |bytes: &[u8]| parse_idx(bytes, "f").unwrap_err().to_string();
        assert_eq!(error(&file[..14]), "f holds 2 values, its header says [1, 3]");
        assert_eq!(error(&file[..9]), "f ends within its header");
        assert_eq!(error(b"PK\x03\x04"), "f is not an IDX file of bytes");
    }

    #[test]
    fn what_is_split_off_is_in_one_set_alone() {
        let mut set = Set {
            images: (0..3).flat_map(|n| vec![n; SIDE * SIDE]).collect(),
            labels: vec![7, 8, 9],
        };
        let last = set.split_off(1);
        assert_eq!(
            (set.labels.as_slice(), last.labels.as_slice()),
            ([7, 8].as_slice(), [9].as_slice())
        );
        assert_eq!((set.images.len(), last.images), (2 * SIDE * SIDE, vec![2; SIDE * SIDE]));
    }

    #[test]
    fn moves_shift_and_mirror() {
        let mut images = vec![0; SIDE * SIDE];
        images[2 * SIDE + 5] = 255; // row 2, column 5
        let set = Set { images, labels: vec![3] };
        for (step, row, column) in [
            (Move::default(), 2, 5),
            (Move { down: 1, right: -2, mirrored: false }, 3, 3),
            (Move { down: 0, right: 0, mirrored: true }, 2, 22),
            (Move { down: -2, right: 1, mirrored: true }, 0, 23),
        ] {
            let (pixels, labels) = set.batch(&[(0, step)]);
            assert_eq!(pixels.size(), [1, 3, 28, 28]);
            assert_eq!(labels.int64_value(&[0]), 3);
            assert_eq!(pixels.double_value(&[0, 2, row, column]), 1.0);
            assert_eq!(pixels.sum(tch::Kind::Float).double_value(&[]), 3.0);
        }
    }
}

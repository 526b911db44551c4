//! Files of pixels, as safetensors.

use crate::store::files::open_file;
use anyhow::{Context, Result, bail, ensure};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::io::{self, Read};
use std::path::Path;
use tch::{Kind, Tensor};

/// Greatest length of the header of a file of pixels, in bytes. Real headers are far smaller.
pub(super) const MAX_HEADER: u64 = 1 << 10;
/// The tensor of the pixels themselves.
const PIXELS: &str = "pixels";
/// The tensor of the levels of 8-bit images.
const LEVELS: &str = "levels";
/// Greatest level of an 8-bit image.
pub(crate) const WHITE: f64 = 255.0;

/// The pixels of a craft cell.
#[derive(Debug)]
pub struct Adversarials {
    /// As the attack gave them: N×C×H×W float32 in [0, 1].
    pub float: Tensor,
    /// As 8-bit images: N×C×H×W float32, each a level of 0 to 255 divided by 255. None where each
    /// pixel's level is the nearest.
    pub rounded: Option<Tensor>,
}

/// The hash of a file of pixels, in hexadecimal, and its bytes. 8-bit images are stored as their
/// levels, a byte each.
pub(super) fn pack(pixels: &Adversarials) -> Result<(String, Vec<u8>)> {
    let mut tensors = vec![(PIXELS.to_owned(), pixels.float.shallow_clone())];
    tensors.extend(pixels.rounded.as_ref().map(|rounded| (LEVELS.to_owned(), levels(rounded))));
    let bytes = safetensors(&tensors)?;
    Ok((blake3::hash(&bytes).to_string(), bytes))
}

/// The nearest level, a byte, for each pixel in [0, 1].
pub(crate) fn levels(pixels: &Tensor) -> Tensor {
    (pixels * WHITE).round().to_kind(Kind::Uint8)
}

/// Reads a file of pixels whose hash has been verified.
pub(super) fn unpack(bytes: &[u8]) -> Result<Adversarials> {
    let file = SafeTensors::deserialize(bytes)?;
    let read = |name: &str, dtype: Dtype, kind: Kind| -> Result<Tensor> {
        let view = file.tensor(name).with_context(|| format!("no tensor `{name}`"))?;
        ensure!(view.dtype() == dtype, "tensor `{name}` is {:?}, expected {dtype:?}", view.dtype());
        let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
        Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
    };
    let levels = file.names().contains(&LEVELS).then(|| read(LEVELS, Dtype::U8, Kind::Uint8));
    Ok(Adversarials {
        float: read(PIXELS, Dtype::F32, Kind::Float)?,
        rounded: levels.transpose()?.map(|levels| levels.to_kind(Kind::Float) / WHITE),
    })
}

/// The first bytes of a file of pixels, which include the header, and the length of the file.
pub(super) fn beginning(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = open_file(path)?;
    let length = file.metadata()?.len();
    let mut start = Vec::new();
    file.take(8 + MAX_HEADER).read_to_end(&mut start)?;
    Ok((start, length))
}

/// Checks that a file of pixels has `count` images, by its first bytes and its length.
pub(super) fn check_size(start: &[u8], length: u64, count: usize) -> Result<()> {
    let header = start
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
        .filter(|&header| header <= MAX_HEADER);
    let text = header
        .and_then(|header| start.get(8..8 + header as usize))
        .context("not a whole safetensors file")?;
    let parsed: serde_json::Value = serde_json::from_slice(text)?;
    let shape: Option<Vec<u64>> = parsed[PIXELS]["shape"]
        .as_array()
        .map(|shape| shape.iter().filter_map(serde_json::Value::as_u64).collect());
    let bytes_of_value = if parsed.get(LEVELS).is_some() { 5 } else { 4 };
    let expected = match shape.as_deref() {
        Some(&[n, channels, height, width]) if n == count as u64 => channels
            .checked_mul(n)
            .and_then(|n| n.checked_mul(height)?.checked_mul(width)?.checked_mul(bytes_of_value)),
        _ => bail!("{count} images are expected"),
    };
    ensure!(
        expected.and_then(|bytes| bytes.checked_add(8 + text.len() as u64)) == Some(length),
        "{length} bytes are fewer or more than its header says"
    );
    Ok(())
}

/// A safetensors file with these tensors: bytes as they are, all else as float32.
pub(crate) fn safetensors(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let bytes = |tensor: &Tensor| -> Result<Vec<u8>> {
        if tensor.kind() == Kind::Uint8 {
            return Ok(Vec::<u8>::try_from(tensor.contiguous().view([-1]))?);
        }
        let values = Vec::<f32>::try_from(
            tensor.to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]),
        )?;
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let all: Vec<Vec<u8>> =
        tensors.iter().map(|(_, tensor)| bytes(tensor)).collect::<Result<_>>()?;
    let mut views = Vec::new();
    for ((name, tensor), bytes) in tensors.iter().zip(&all) {
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        let dtype = if tensor.kind() == Kind::Uint8 { Dtype::U8 } else { Dtype::F32 };
        views.push((name.as_str(), TensorView::new(dtype, shape, bytes)?));
    }
    Ok(safetensors::serialize(views, None)?)
}

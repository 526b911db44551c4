//! Files of pixels, as safetensors.

use crate::store::files::open_file;
use anyhow::{Context, Result, bail, ensure};
use std::io::{self, Read};
use std::path::Path;
use tch::{Kind, Tensor};

/// Greatest length of the header of a file of pixels, in bytes. Real headers are far smaller.
pub(super) const MAX_HEADER: u64 = 1 << 10;

/// The hash of a file of pixels, in hexadecimal, and its bytes.
pub(super) fn pack(pixels: &Tensor) -> Result<(String, Vec<u8>)> {
    let bytes = safetensors(&[("pixels".to_owned(), pixels.shallow_clone())])?;
    Ok((blake3::hash(&bytes).to_string(), bytes))
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
    let shape: Option<Vec<u64>> = parsed["pixels"]["shape"]
        .as_array()
        .map(|shape| shape.iter().filter_map(serde_json::Value::as_u64).collect());
    let expected = match shape.as_deref() {
        Some(&[n, 3, height, width]) if n == count as u64 => 3u64
            .checked_mul(n)
            .and_then(|n| n.checked_mul(height)?.checked_mul(width)?.checked_mul(4)),
        _ => bail!("{count} images of 3 channels are expected"),
    };
    ensure!(
        expected.and_then(|bytes| bytes.checked_add(8 + text.len() as u64)) == Some(length),
        "{length} bytes are fewer or more than its header says"
    );
    Ok(())
}

/// A safetensors file with these tensors, as float32.
pub(crate) fn safetensors(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let bytes = |tensor: &Tensor| -> Result<Vec<u8>> {
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
        views.push((
            name.as_str(),
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes)?,
        ));
    }
    Ok(safetensors::serialize(views, None)?)
}

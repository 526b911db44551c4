//! Safetensors files.

use super::bytes::Bytes;
use super::conventions::{Dialect, Role};
use super::note::Note;
use super::source::{Misfit, Source, count};
use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// Number of bytes at the start that hold the length of the header.
const PREFIX: u64 = 8;
/// Greatest length of a header, in bytes: room for a hundred thousand tensors.
const MAX_HEADER: u64 = 16 << 20;

/// A file, and where its tensors lie.
struct Safetensors {
    bytes: Bytes,
    tensors: BTreeMap<String, TensorInfo>,
    /// Byte from which the offsets in the header count.
    start: u64,
    note: Option<Note>,
}

impl Safetensors {
    fn new(bytes: Bytes) -> Result<Self> {
        ensure!(bytes.len() > PREFIX, "it has {} bytes, too few for a header", bytes.len());
        let length = u64::from_le_bytes(
            bytes.start(PREFIX)?[..].try_into().expect("eight bytes were asked for"),
        );
        ensure!(
            length <= MAX_HEADER && length <= bytes.len() - PREFIX,
            "its header would have {length} bytes, in a file of {} (at most {MAX_HEADER} are read)",
            bytes.len()
        );
        let start = PREFIX + length;
        let header: Metadata =
            serde_json::from_slice(&bytes.read(PREFIX..start)?).context("its header is damaged")?;
        let found = bytes.len() - start;
        let expected = header.data_len() as u64;
        ensure!(
            found == expected,
            "its header speaks of {expected} bytes of tensors, there are {found}"
        );
        let tensors =
            header.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let note = Note::read(header.metadata().as_ref())?;
        Ok(Self { bytes, tensors, start, note })
    }

    fn read(&self, info: &TensorInfo) -> Result<Tensor> {
        let kind = match info.dtype {
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            other => bail!("it has type {other:?}; F16, BF16, F32 or F64 is expected"),
        };
        let (start, end) = info.data_offsets;
        let bytes = self.bytes.read(self.start + start as u64..self.start + end as u64)?;
        Ok(Tensor::f_from_data_size(&bytes, &shape(info), kind)?)
    }
}

fn shape(info: &TensorInfo) -> Vec<i64> {
    info.shape.iter().map(|&n| n as i64).collect()
}

impl Source for Safetensors {
    fn tensor(&self, name: &str, expected: &[i64], _: Role) -> Result<Tensor, Misfit> {
        let info = self.tensors.get(name).ok_or(Misfit::Missing)?;
        let found = shape(info);
        if found != expected {
            return Err(Misfit::Misshapen { found, expected: expected.to_vec() });
        }
        self.read(info).map_err(|error| Misfit::Unreadable(format!("{error:#}")))
    }

    fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    fn values(&self) -> u64 {
        self.tensors
            .values()
            .map(|info| count(info.shape.iter().map(|&n| n as u64)))
            .fold(0, u64::saturating_add)
    }

    fn dialect(&self) -> Dialect {
        self.note.as_ref().map(|note| note.dialect).unwrap_or_default()
    }

    fn note(&self) -> Option<&Note> {
        self.note.as_ref()
    }

    fn description(&self) -> String {
        format!("safetensors, {} tensors", self.tensors.len())
    }
}

/// Opens a file that begins like safetensors.
pub(super) fn open(bytes: Bytes) -> Result<Box<dyn Source>> {
    Ok(Box::new(
        Safetensors::new(bytes)
            .context("a damaged or cut safetensors file, to be fetched or written again")?,
    ))
}

/// The tensors in the bytes of a safetensors file, by name. All must be floating-point numbers.
pub fn read_safetensors(bytes: Vec<u8>) -> Result<BTreeMap<String, Tensor>> {
    let file =
        Safetensors::new(Bytes::in_memory(bytes.into())).context("not a safetensors file")?;
    let read = |(name, info)| {
        Ok((String::clone(name), file.read(info).with_context(|| format!("tensor `{name}`"))?))
    };
    file.tensors.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;
    use proptest::prelude::*;
    use tch::Device;

    fn file(header: &str, data: usize) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
    }

    fn read(bytes: &[u8]) -> Result<Tensor> {
        let weights = Weights::from_bytes(bytes.to_vec(), Device::Cpu)?;
        let a = weights.root().tensor("a", &[2], Role::Bias);
        weights.finish().map(|()| a)
    }

    fn sample() -> Vec<u8> {
        let mut bytes = file(
            r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            4,
        );
        bytes.extend(1f32.to_le_bytes());
        bytes
    }

    #[test]
    fn tensors_are_read_and_halves_widened() {
        assert_eq!(Vec::<f32>::try_from(read(&sample()).unwrap()).unwrap(), [0.0, 1.0]);
        let half = file(r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}"#, 4);
        assert_eq!(read(&half).unwrap().kind(), Kind::Float);
        assert_eq!(read_safetensors(sample()).unwrap()["a"].size(), [2]);
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let long = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for (bytes, expected) in [
            (long, "its header would have 18446744073709551615 bytes, in a file of 10"),
            (file("{", 0), "its header is damaged: EOF while parsing"),
            (file(&deep, 0), "its header is damaged: recursion limit exceeded"),
            (
                file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 4),
                "its header speaks of 8 bytes of tensors, there are 4",
            ),
            (
                file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, 9),
                "its header speaks of 8 bytes of tensors, there are 9",
            ),
            (
                file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12),
                "its header is damaged: invalid offset for tensor `a`",
            ),
            (
                file(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, 8),
                "its header is damaged: invalid offset for tensor `a`",
            ),
            (
                file(
                    r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,8]}}"#,
                    8,
                ),
                "its header is damaged: ",
            ),
            (
                file(r#"{"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}}"#, 8),
                "its header is damaged: ",
            ),
            (
                file(r#"{"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}"#, 16),
                "unreadable  a: it has type I64; F16, BF16",
            ),
            (
                file(
                    r#"{"a":{"dtype":"F32","shape":[0,9223372036854775808],"data_offsets":[0,0]}}"#,
                    0,
                ),
                "misshapen   a: found [0, ",
            ),
        ] {
            let error = format!("{:#}", read(&bytes).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn damaged_files_give_errors_or_tensors(
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut bytes = sample();
            for (place, byte) in flips {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            let _ = read(&bytes);
            let _ = read_safetensors(bytes);
        }
    }
}

//! What weights and modules are, whatever file they are in.

use super::Weights;
use super::conventions::Role;
use super::scope::common_scope;
use super::source::Misfit;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use tch::{Device, Kind};
use zip::ZipArchive;

/// What PyTorch adds to a module's archive and does not compute with.
const REMARKS: [&str; 5] =
    ["version", "byteorder", ".data/", "traced_inputs", ".storage_alignment"];

impl Weights {
    /// BLAKE3 of all tensors, in hexadecimal: their names without a scope that all have, their
    /// shapes, and their values in float32. Files with the same tensors under the same names have
    /// the same digest, whatever their formats. Tensors that are no floating-point numbers are left
    /// out. Everything is read.
    ///
    /// # Errors
    /// When values cannot be read.
    pub fn digest(&self) -> Result<String> {
        let names = self.source.names();
        let scope = common_scope(names.iter().map(String::as_str)).len();
        let sorted: BTreeMap<&str, &String> =
            names.iter().map(|name| (name[scope..].trim_end_matches(":0"), name)).collect();
        let mut hash = blake3::Hasher::new();
        for (short, name) in sorted {
            // No tensor has the shape that is asked for first: the refusal gives the real one.
            let asked = self.source.tensor(name, &[-1], Role::Bias);
            let Err(Misfit::Misshapen { found: shape, .. }) = asked else { continue };
            let Ok(tensor) = self.source.tensor(name, &shape, Role::Bias) else { continue };
            hash.update(format!("{short}\n{shape:?}\n").as_bytes());
            let flat = tensor.to_device(Device::Cpu).to_kind(Kind::Float).flatten(0, -1);
            let values = Vec::<f32>::try_from(&flat).with_context(|| name.clone())?;
            for value in values {
                hash.update(&value.to_le_bytes());
            }
        }
        Ok(hash.finalize().to_string())
    }
}

/// BLAKE3 of what a TorchScript module's archive holds, in hexadecimal: names, sizes and checksums
/// of its code and its tensors. An archive that is written again has the same digest. Only the
/// archive's directory is read.
///
/// # Errors
/// When the file is no zip archive.
pub fn module_digest(file: &Path) -> Result<String> {
    let mut archive = ZipArchive::new(BufReader::new(File::open(file)?))?;
    let mut entries = BTreeMap::new();
    for number in 0..archive.len() {
        let entry = archive.by_index_raw(number)?;
        // PyTorch puts everything into a folder that is named after the file.
        let name = entry.name().split_once('/').map_or(entry.name(), |(_, name)| name);
        let remark = REMARKS.iter().any(|remark| name.starts_with(remark));
        if entry.is_file() && !remark && !name.ends_with(".debug_pkl") {
            entries.insert(name.to_owned(), (entry.size(), entry.crc32()));
        }
    }
    let mut hash = blake3::Hasher::new();
    for (name, (size, checksum)) in entries {
        hash.update(format!("{name}\n{size}\n{checksum}\n").as_bytes());
    }
    Ok(hash.finalize().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use tch::Tensor;
    use zip::write::FileOptions;
    use zip::{CompressionMethod, ZipWriter};

    fn safetensors(scope: &str, kind: Kind, second: f32) -> String {
        let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
        let tensor = |values: &[f32]| Tensor::from_slice(values).to_kind(kind);
        let named = [
            (format!("{scope}b"), tensor(&[second])),
            (format!("{scope}a/w"), tensor(&[1.0, 2.5]).view([2, 1])),
        ];
        Tensor::write_safetensors(&named, file.path()).unwrap();
        Weights::open(file.path(), Device::Cpu).unwrap().digest().unwrap()
    }

    #[test]
    fn equal_tensors_have_one_digest_in_any_file() {
        let one = safetensors("", Kind::Float, 3.0);
        assert_eq!(one, safetensors("", Kind::Half, 3.0));
        assert_eq!(one, safetensors("module/", Kind::Double, 3.0));
        assert_ne!(one, safetensors("", Kind::Float, 3.5));
    }

    fn module(folder: &str, code: &str, method: CompressionMethod) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut archive = ZipWriter::new(fs::File::create(file.path()).unwrap());
        let options = FileOptions::default().compression_method(method);
        for (name, content) in [("data.pkl", "tensors"), ("code/m.py", code), ("version", folder)] {
            archive.start_file(format!("{folder}/{name}"), options).unwrap();
            archive.write_all(content.as_bytes()).unwrap();
        }
        archive.finish().unwrap();
        module_digest(file.path()).unwrap()
    }

    #[test]
    fn an_archive_that_is_written_again_has_the_same_digest() {
        let one = module("one", "return x", CompressionMethod::Stored);
        assert_eq!(one, module("two", "return x", CompressionMethod::Deflated));
        assert_ne!(one, module("one", "return y", CompressionMethod::Stored));
    }
}

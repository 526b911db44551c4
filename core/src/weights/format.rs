//! The format of a weights file, told by its content. Pickles are programs: they are refused by
//! name, and never opened.

use super::bytes::Bytes;
use super::source::Source;
use super::{graphdef, safetensors};
use anyhow::{Result, bail};

/// How many bytes of a file are looked at to tell its format.
const HEAD: u64 = 512;
/// Last bytes of a TensorFlow checkpoint's index, which is a LevelDB table.
const TABLE_MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57_u64.to_le_bytes();
const EXPECTED: &str = "a safetensors file or a frozen TensorFlow graph (.pb) is expected";

const PICKLE: &str = "\
PyTorch's `torch.save` (.pt, .pth, .ckpt, .bin) or another pickle: a program rather than data, so \
it is never opened. Convert it with the library that made the model, where you trust the file:
  python -c \"import sys, torch, safetensors.torch as s; w = torch.load(sys.argv[1], \
map_location='cpu', weights_only=True); s.save_file({k: v.contiguous() for k, v in \
w.get('state_dict', w).items()}, sys.argv[2])\" model.pth model.safetensors";

/// Opens weights of either format.
pub(super) fn open(bytes: Bytes) -> Result<Box<dyn Source>> {
    let head = bytes.start(HEAD)?;
    if head.get(8) == Some(&b'{') {
        return safetensors::open(bytes);
    }
    if let Some(what) = foreign(&head) {
        bail!("{what}");
    }
    if graphdef::may_begin_with(&head) {
        return graphdef::open(bytes);
    }
    if bytes.len() >= 8 && *bytes.read(bytes.len() - 8..bytes.len())? == TABLE_MAGIC {
        bail!(
            "a TensorFlow checkpoint's index: {EXPECTED}; save the variables as safetensors under \
             their names, or freeze the graph"
        );
    }
    bail!(
        "{}; {EXPECTED}",
        if head.is_empty() {
            "an empty file"
        } else {
            "neither safetensors nor a TensorFlow graph"
        }
    )
}

/// Says what a file is, and what to do, where it has a known format that is not read.
fn foreign(head: &[u8]) -> Option<String> {
    let begins = |magic: &[u8]| head.starts_with(magic);
    let pickled = matches!(head, [0x80, 2..=5, ..]);
    if pickled || begins(b"PK\x03\x04") {
        return Some(format!(
            "{} {PICKLE}",
            if pickled { "a pickle of" } else { "a zip archive, as of" }
        ));
    }
    let what = if begins(b"\x89HDF\r\n\x1a\n") {
        "an HDF5 file (Keras)"
    } else if begins(b"\x1f\x8b") || head.get(257..262) == Some(b"ustar") {
        "an archive: unpack it first (`runner weights pull eccv2018` does both)"
    } else if begins(b"version https://git-lfs") {
        "a Git LFS pointer, not the file itself (`git lfs pull` gets it)"
    } else if head.trim_ascii_start().starts_with(b"<") {
        "a web page or XML, not weights: the download went wrong"
    } else {
        return None;
    };
    Some(format!("{what}; {EXPECTED}"))
}

#[cfg(test)]
mod tests {
    use crate::weights::Weights;
    use tch::Device;

    fn refusal(bytes: &[u8]) -> String {
        Weights::from_bytes(bytes.to_vec(), Device::Cpu).err().unwrap().to_string()
    }

    #[test]
    fn what_is_neither_is_named() {
        let mut tar = vec![b'a'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, expected) in [
            (&b"PK\x03\x04 archive/data.pkl"[..], "a zip archive, as of PyTorch's `torch.save`"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "a pickle of PyTorch's `torch.save`"),
            (b"\x80\x04\x95\x00", "a pickle of PyTorch's `torch.save`"),
            (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file (Keras); a safetensors file or"),
            (b"\x1f\x8b\x08\0", "an archive: unpack it first"),
            (&tar, "an archive: unpack it first"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
            (b"\n<!DOCTYPE html><html>", "a web page"),
            (b"table\x57\xfb\x80\x8b\x24\x75\x47\xdb", "a TensorFlow checkpoint's index"),
            (b"", "an empty file; a safetensors"),
            (b"weights", "neither safetensors nor a TensorFlow graph; a safetensors"),
        ] {
            let error = refusal(bytes);
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(refusal(b"PK\x03\x04").contains("weights_only=True"));
    }
}

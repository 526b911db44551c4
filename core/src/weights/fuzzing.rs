//! Entry points of the fuzz targets (`tests/fuzz`), in builds with `--cfg fuzzing` alone.

use super::bytes::Bytes;
use super::conventions::Role;
use super::format;
use super::safetensors::read_safetensors;
use super::source::{Misfit, count};

/// Greatest number of values in a tensor that is read, since the fuzzer's memory is limited.
const MAX_VALUES: u64 = 1 << 20;

/// Opens weights of either format, and reads every tensor in the shape that it says it has.
pub fn weights(bytes: &[u8]) {
    let Ok(source) = format::open(Bytes::in_memory(bytes.to_vec().into())) else { return };
    let _ = (source.values(), source.dialect(), source.description(), source.note());
    let nodes: Vec<String> = source
        .graph()
        .iter()
        .flat_map(|graph| graph.nodes().map(|(name, _)| name.to_owned()))
        .collect();
    for name in source.names().iter().chain(&nodes) {
        // No tensor has the shape that is asked for first: the refusal gives the real one.
        if let Err(Misfit::Misshapen { found, .. }) = source.tensor(name, &[-1], Role::Kernel)
            && count(found.iter().map(|&size| size.max(0) as u64)) <= MAX_VALUES
            && let Ok(tensor) = source.tensor(name, &found, Role::Kernel)
        {
            assert_eq!(tensor.size(), found, "a tensor has the shape that was asked for");
        }
    }
}

/// Reads all tensors of a safetensors file at once, as stored adversarials are read.
pub fn safetensors(bytes: &[u8]) {
    let _ = read_safetensors(bytes.to_vec());
}

/// Tells the format of any file, and what to do with it.
pub fn format(bytes: &[u8]) {
    let format = format::FileFormat::of_bytes(bytes);
    for purpose in [format::Purpose::Weights, format::Purpose::Module] {
        assert!(format.refusal(purpose).contains("is expected"), "a refusal says what is expected");
    }
}

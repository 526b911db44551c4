//! The way in for the fuzz targets (`tests/fuzz`), in builds with `--cfg fuzzing` alone.

use super::bytes::Bytes;
use super::{Misfit, Role, count, format, read_safetensors};

/// No tensor is asked for that is larger: the fuzzer's memory is limited, as a network's shapes
/// are.
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
        // No tensor has this shape.
        if let Err(Misfit::Misshapen { found, .. }) = source.tensor(name, &[-1], Role::Kernel)
            && count(found.iter().map(|&size| size.max(0) as u64)) <= MAX_VALUES
            && let Ok(tensor) = source.tensor(name, &found, Role::Kernel)
        {
            assert_eq!(tensor.size(), found, "a tensor is of the shape that was asked for");
        }
    }
}

/// Reads all tensors of a safetensors file at once, as stored adversarials are read.
pub fn safetensors(bytes: &[u8]) {
    let _ = read_safetensors(bytes.to_vec());
}

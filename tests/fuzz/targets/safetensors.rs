//! Safetensors files: weights, and stored adversarials.
#![no_main]

use gauntlet_core::weights::fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzzing::weights(bytes);
    fuzzing::safetensors(bytes);
});

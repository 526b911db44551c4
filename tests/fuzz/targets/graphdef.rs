//! Frozen TensorFlow graphs, with every tensor in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gauntlet_core::weights::fuzzing::weights(bytes));

//! The stamp of a plugin library, read from an ELF file before any of its code runs.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gauntlet_core::plugin::fuzzing::stamp(bytes));

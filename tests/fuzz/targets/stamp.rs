//! The stamp of a plugin library: an ELF file of which none of the code may be run yet.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gauntlet_core::plugin::fuzzing::stamp(bytes));

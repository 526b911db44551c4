//! Files of any format, given as weights or as a module.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gauntlet_core::weights::fuzzing::format(bytes));

//! Image files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    gauntlet_runner::data::fuzzing::image(bytes);
});

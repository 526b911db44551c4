//! Image files.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = gauntlet_runner::data::decode::decode(bytes);
});

//! TOML across the plugin boundary, in both directions. A zero byte separates the plugin's
//! description from the program's overrides.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (said, overrides) = text.split_once('\0').unwrap_or((text, ""));
    gauntlet_core::plugin::fuzzing::toml(said, overrides);
});

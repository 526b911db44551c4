//! TOML across the plugin boundary, either way. A zero byte ends what the plugin says and begins
//! what the program asks for.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let (said, overrides) = text.split_once('\0').unwrap_or((text, ""));
    gauntlet_core::plugin::fuzzing::toml(said, overrides);
});

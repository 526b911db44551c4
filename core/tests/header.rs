//! `include/gauntlet.h` is generated from `src/library/abi.rs`. To generate it again:
//!
//! ```text
//! GAUNTLET_WRITE_HEADER=1 cargo test -p gauntlet-core --test header
//! ```

use std::fs;
use std::path::Path;

#[test]
fn the_c_header_is_that_of_the_interface() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(root.join("src/library/abi.rs")).unwrap();
    let front: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    config.header = Some(format!(
        "// Generated from core/src/library/abi.rs. Do not edit.\n//\n//{}\n",
        front.join("\n//")
    ));
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/library/abi.rs"))
        .generate()
        .unwrap();
    let mut header = Vec::new();
    bindings.write(&mut header);
    let header = in_c(&String::from_utf8(header).unwrap());
    let path = root.join("include/gauntlet.h");
    if std::env::var_os("GAUNTLET_WRITE_HEADER").is_some() {
        fs::write(&path, &header).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differing = found.lines().zip(header.lines()).position(|(found, new)| found != new);
    let line = differing.unwrap_or_else(|| found.lines().count().min(header.lines().count())) + 1;
    assert!(
        found == header,
        "core/include/gauntlet.h is out of date from line {line} on: generate it again, see the \
         top of this test"
    );
}

/// Replaces links in comments by the names in C.
fn in_c(text: &str) -> String {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once("[`").and_then(|(before, after)| Some((before, after.split_once("`]")?)))
    {
        let prefix = match name {
            field if field.starts_with(char::is_lowercase) => "",
            constant if !constant.contains(char::is_lowercase) => "GAUNTLET_",
            _ => "Gauntlet",
        };
        replaced.extend([before, "`", prefix, name, "`"]);
        rest = after;
    }
    replaced + rest
}

//! `include/gauntlet.h` says what `plugin/abi.rs` says. To make it anew:
//!
//! ```text
//! GAUNTLET_WRITE_HEADER=1 cargo test -p gauntlet-core --test header
//! ```

use std::fs;
use std::path::Path;

#[test]
fn the_c_header_is_that_of_the_interface() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = fs::read_to_string(root.join("src/plugin/abi.rs")).unwrap();
    let about: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    config.header = Some(format!(
        "// Made from core/src/plugin/abi.rs; not to be edited.\n//\n//{}\n",
        about.join("\n//")
    ));
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root.join("src/plugin/abi.rs"))
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
    let differing = found.lines().zip(header.lines()).position(|(found, made)| found != made);
    let line = differing.unwrap_or_else(|| found.lines().count().min(header.lines().count())) + 1;
    assert!(
        found == header,
        "core/include/gauntlet.h is out of date from line {line} on; make it anew as the top of \
         this test says"
    );
}

/// Comments with the names that things have in C.
fn in_c(text: &str) -> String {
    let mut made = String::new();
    let mut rest = text;
    while let Some((before, (name, after))) =
        rest.split_once("[`").and_then(|(before, after)| Some((before, after.split_once("`]")?)))
    {
        let prefix = match name {
            field if field.starts_with(char::is_lowercase) => "",
            constant if !constant.contains(char::is_lowercase) => "GAUNTLET_",
            _ => "Gauntlet",
        };
        made.extend([before, "`", prefix, name, "`"]);
        rest = after;
    }
    made + rest
}

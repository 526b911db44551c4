//! Which libraries are loaded, and what is told of them.

use crate::{command, hash, install, place, refusal, said, session, with_attacks};
use gauntlet_tests::libraries::{altered, library};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

#[test]
fn a_folder_s_libraries_are_loaded_and_all_else_in_it_is_ignored() {
    let place = place();
    let at = place.path();
    install(at, "sample");
    fs::write(at.join("plugins/readme.txt"), "no library").unwrap();
    fs::write(at.join("plugins/empty.so"), "").unwrap();
    fs::create_dir(at.join("plugins/more")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_toy-runner"), at.join("plugins/runner")).unwrap();
    symlink("libgauntlet_sample.so", at.join("plugins/libgauntlet_sample.so.1")).unwrap();
    Command::new("mkfifo").arg(at.join("plugins/pipe")).status().unwrap();
    symlink("nowhere", at.join("plugins/old.so")).unwrap();
    let symbols = Command::new("objcopy")
        .arg("--only-keep-debug")
        .arg(library("sample"))
        .arg(at.join("plugins/sample.debug"))
        .status();
    assert!(symbols.unwrap().success());

    let (code, list, err) =
        session(command(at, &["-v", "list", "attacks", "--plugins", "plugins"]));
    let hash = hash(&library("sample"));
    assert_eq!(code, 0, "{err}");
    let line = format!(
        "noisy  one step of random lengths  [gauntlet-sample 1.2.3, libgauntlet_sample.so {}]\n",
        &hash[..12]
    );
    assert!(list.contains(&line) && list.contains("step  for tests  [toys 1.0.0]\n"), "{list}");
    let build = "so not a plugin; `cargo build --release` leaves one in `target/release`";
    let notes = format!(
        "note: plugins/empty.so: an empty file, {build}\n\
         note: plugins/more: a folder; name it with a `--plugins` of its own\n\
         note: plugins/old.so: a link to nothing\n\
         note: plugins/pipe: not a file, {build}\n\
         note: plugins/readme.txt: not a shared library (ELF), {build}\n\
         note: plugins/runner: a program or an object file, so not a plugin\n\
         note: plugins/sample.debug: a library whose stamp is empty, as in a file of debugging \
         symbols, so not a plugin\n"
    );
    assert_eq!(err, notes);
    assert_eq!(
        session(command(at, &["list", "attacks", "--plugins", "plugins"])),
        (0, list, String::new())
    );

    let json: Value =
        serde_json::from_str(&said(at, &["list", "models", "--json", "--plugins", "plugins"]))
            .unwrap();
    let [patch, toy] = ["patch", "toy_8"]
        .map(|name| json.as_array().unwrap().iter().find(|model| model["name"] == name).unwrap());
    assert_eq!(
        (&patch["origin"], &patch["plugin"]["hash"]),
        (&"gauntlet-sample 1.2.3".into(), &hash.into())
    );
    assert_eq!(
        (&patch["plugin"]["stamp"]["version"], &toy["plugin"]),
        (&"1.2.3".into(), &Value::Null)
    );
}

#[test]
fn plugins_are_named_before_and_after_the_command_by_variable_and_by_the_study() {
    let place = place();
    let at = place.path();
    install(at, "sample");
    let attacks = |mut command: Command, variable: &str| {
        command.env("GAUNTLET_PLUGINS", variable);
        let (code, list, err) = session(command);
        assert_eq!(code, 0, "{err}");
        ["noisy", "unruly"].map(|name| list.contains(&format!("{name}  ")))
    };
    let unruly = library("unruly").display().to_string();
    let list = |arguments: &[&str]| command(at, arguments);
    assert_eq!(
        attacks(list(&["--plugins", "plugins", "list", "attacks", "--plugins", &unruly]), ""),
        [true, true]
    );
    assert_eq!(attacks(list(&["list", "attacks"]), &format!("plugins::{unruly}")), [true, true]);
    assert_eq!(attacks(list(&["list", "attacks", "--plugins", &unruly]), ""), [false, true]);

    // A study names its plugins relative to itself. The results' study.toml names them absolutely.
    fs::create_dir(at.join("studies")).unwrap();
    let text = with_attacks("[[attacks]]\nname = \"noisy\"").replace("\"images\"", "\"../images\"");
    let text = text.replace("[data]", "[plugins]\nfrom = [\"../plugins\"]\n[data]");
    fs::write(at.join("studies/own.toml"), &text).unwrap();
    let first = said(at, &["run", "studies/own.toml"]);
    assert!(
        first.contains("\nplugins gauntlet-sample 1.2.3\n")
            && first.contains("\nnoisy, untargeted: "),
        "{first}"
    );
    let again = said(at, &["run", "results/toys/study.toml"]);
    assert!(again.contains("\n0 of "), "{again}");
    fs::write(at.join("studies/own.toml"), text.replace("../plugins", "../plugin")).unwrap();
    let error = refusal(at, &["run", "studies/own.toml"]);
    assert!(
        error.starts_with(
            "error: studies/own.toml, line 4, column 9: there is no folder or \
             library studies/../plugin\n"
        ),
        "{error}"
    );
}

#[test]
fn what_a_library_says_of_itself_is_read_without_running_it() {
    let place = place();
    let at = place.path();
    let path = altered("sample", at, "panic = \"unwind\"\n", "panic = \"abort\" \n");
    let text = said(at, &["plugins", "inspect", "libgauntlet_sample.so"]);
    for line in [
        "plugin      gauntlet-sample 1.2.3\n",
        &format!("BLAKE3      {}\n", hash(&path)),
        "ABI         1 (this program's: 1)\n",
        "libtorch    2.11.0\n",
        "a panic     ends the process: computes in processes of its own alone\n",
        "this program can load it\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    altered("sample", at, "libtorch = \"2.11.0\"", "libtorch = \"2.10.0\"");
    let (code, text, err) =
        session(command(at, &["plugins", "inspect", "libgauntlet_sample.so", "--json"]));
    let json: Value = serde_json::from_str(&text).unwrap();
    let fault = json["fault"].as_str().unwrap();
    assert!(fault.contains("libtorch 2.10.0, this program for libtorch 2.11.0"), "{fault}");
    assert_eq!((code, err), (2, format!("error: {fault}\n")));

    install(at, "sample");
    let json: Value =
        serde_json::from_str(&said(at, &["plugins", "list", "--json", "--plugins", "plugins"]))
            .unwrap();
    assert_eq!(json["plugins"][0]["brings"].as_array().unwrap().len(), 5);
    assert_eq!(said(at, &["plugins", "list"]).lines().count(), 1);
}

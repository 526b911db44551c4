//! Plugin libraries on the command line: which are loaded, which are refused and in what words, and
//! that one that misbehaves costs its own cells alone.

use gauntlet_core::device::Device;
use gauntlet_core::plugin::Library;
use gauntlet_core::registry::Registry;
use gauntlet_runner::Session;
use gauntlet_runner::execute::{Isolation, Options, Silent};
use gauntlet_runner::study::{self, Study};
use gauntlet_tests::libraries::{altered, library, rogue};
use gauntlet_tests::toys;
use gauntlet_unruly as _;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const STUDY: &str = r#"name = "toys"
metrics = ["largest"]
[data]
folder = "images"
[[models]]
name = "toy_8"
[[models]]
name = "toy_12"
[[attacks]]
name = "step"
[transfer]
policy = "crop_or_pad"
"#;

/// A folder with a study, its images, and an empty folder `plugins`.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for folder in ["images", "plugins"] {
        fs::create_dir(place.path().join(folder)).unwrap();
    }
    toys::save_pictures(12, &place.path().join("images"));
    fs::write(place.path().join("study.toml"), STUDY).unwrap();
    place
}

/// Puts a library into the folder `plugins`.
fn install(place: &Path, name: &str) -> PathBuf {
    let path = place.join(format!("plugins/libgauntlet_{name}.so"));
    fs::copy(library(name), &path).unwrap();
    path
}

fn command(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
    command.current_dir(place).env_remove("GAUNTLET_PLUGINS").args(arguments);
    command
}

/// Exit code, stdout, stderr.
fn session(mut command: Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("the runner lives"), text(output.stdout), text(output.stderr))
}

fn said(place: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = session(command(place, arguments));
    assert_eq!(code, 0, "{err}");
    out
}

/// Why a folder's plugins are refused.
fn refusal(place: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = session(command(place, arguments));
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    err
}

fn hash(path: &Path) -> String {
    Library::read(path).unwrap().hash
}

fn with_attacks(more: &str) -> String {
    STUDY.replacen("[[attacks]]", &format!("{more}\n[[attacks]]"), 1)
}

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

    // A study names its own, relative to itself; what it has come to names them for good.
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

#[test]
fn a_library_that_does_not_fit_is_refused_with_the_remedy() {
    let place = place();
    let at = place.path();
    let root = at.canonicalize().unwrap().display().to_string();
    let who = format!("plugin gauntlet-sample 1.2.3 ({root}/plugins/libgauntlet_sample.so)");
    for (from, to, expected) in [
        (
            "abi = 1\nwith",
            "abi = 9\nwith",
            "speaks ABI 9 (gauntlet-core 0.1.0), this program speaks ABI 1 (gauntlet-core 0.1.0): \
             build the plugin against \
             gauntlet-core 0.1.0, or use the runner that it was built for",
        ),
        (
            "\nlibtorch = \"2.11.0\"",
            "\nlibtorch = \"2.99.0\"",
            "was built for libtorch 2.99.0, this program for libtorch 2.11.0: build it with \
             LIBTORCH set to a libtorch 2.11.0",
        ),
        (
            "-linux-gnu\"\nlibtorch",
            "-other-abi\"\nlibtorch",
            "-unknown-other-abi, this program for ",
        ),
        (
            "\"gauntlet_plugin_gauntlet_sample\"",
            "\"system                         \"",
            "has a stamp without a name or an entry function",
        ),
    ] {
        altered("sample", &at.join("plugins"), from, to);
        let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
        assert!(
            error.starts_with(&format!("error: {who} ")) && error.contains(expected),
            "{to}\n{error}"
        );
    }
    let damaged = |bytes: &[u8]| {
        fs::write(at.join("plugins/libgauntlet_sample.so"), bytes).unwrap();
        refusal(at, &["--plugins", "plugins", "list", "attacks"])
    };
    let whole = fs::read(library("sample")).unwrap();
    for length in [4, 64, 100, whole.len() / 2] {
        let error = damaged(&whole[..length]);
        let expected = "error: plugins/libgauntlet_sample.so: the file is damaged or not whole; \
                        build or copy it again";
        assert!(error.starts_with(expected), "{length}: {error}");
    }
    altered("sample", &at.join("plugins"), "\nlibtorch = \"2.11.0\"", "\nlibtorch = 2.11.0  ");
    let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
    assert!(
        error.contains("the stamp cannot be read; build the plugin again: not a stamp: "),
        "{error}"
    );

    // What was named itself is more than ignored.
    let error = refusal(at, &["--plugins", "study.toml", "list", "attacks"]);
    assert!(
        error.starts_with("error: study.toml: not a shared library (ELF), so not a plugin; "),
        "{error}"
    );
    for (name, why) in
        [("gone", "No such file or directory"), ("circle", "Too many levels of symbolic links")]
    {
        symlink("circle", at.join("circle")).ok();
        let error = refusal(at, &["--plugins", name, "list", "attacks"]);
        let expected = format!(
            "error: plugins {name} cannot be read; `--plugins`, GAUNTLET_PLUGINS and [plugins] \
             take folders and libraries: {why}"
        );
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn names_are_taken_once() {
    let place = place();
    let at = place.path();
    install(at, "sample");
    let mut rebuilt = fs::read(library("sample")).unwrap();
    rebuilt.push(0);
    fs::write(at.join("plugins/other.so"), rebuilt).unwrap();
    let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
    assert!(
        error.starts_with("error: plugin `gauntlet-sample` is there twice: ")
            && error.ends_with("/other.so); remove one\n"),
        "{error}"
    );
    fs::remove_file(at.join("plugins/other.so")).unwrap();

    rogue(&at.join("plugins"), &["ITEM=\"nudge\""]);
    let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
    let expected = "error: attack `nudge` is brought twice: by toys 1.0.0 and by rogue 0.1.0 (";
    assert!(
        error.starts_with(expected) && error.ends_with("/librogue.so); remove or rename one\n"),
        "{error}"
    );
    // All that is wrong is said at once, and `list` shows what is left.
    altered("unruly", &at.join("plugins"), "abi = 1\nwith", "abi = 2\nwith");
    let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
    assert!(
        error.starts_with("error: 2 plugins are refused:\n  ") && error.lines().count() == 3,
        "{error}"
    );
    install(at, "unruly");
    let (code, list, err) = session(command(at, &["--plugins", "plugins", "plugins", "list"]));
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(
        list.contains("gauntlet-unruly 0.1.0  model fragile, attack unruly, metric miscounted"),
        "{list}"
    );
    assert!(list.contains("\nrefused: attack `nudge` is brought twice: "), "{list}");
}

#[test]
fn a_lock_admits_what_it_lists() {
    let place = place();
    let at = place.path();
    let path = install(at, "sample");
    let lock = said(at, &["plugins", "lock", "--plugins", "plugins"]);
    assert_eq!(lock, format!("{}  {}\n", hash(&path), path.canonicalize().unwrap().display()));
    fs::write(at.join("plugins.lock"), format!("# checked by me\n\n{lock}")).unwrap();
    let locked = ["--plugins-lock", "plugins.lock", "--plugins", "plugins", "list", "attacks"];
    assert!(said(at, &locked).contains("noisy  "));

    let was = hash(&path);
    let mut rebuilt = fs::read(&path).unwrap();
    rebuilt.push(0);
    fs::write(&path, rebuilt).unwrap();
    let expected = format!(
        "error: plugin gauntlet-sample 1.2.3 ({}) is not in the lock plugins.lock: its hash is {}, \
         for libgauntlet_sample.so it has {was}; \
         use the file that was locked or, if you trust this one, lock it with `runner plugins \
         lock`\n",
        path.canonicalize().unwrap().display(),
        hash(&path)
    );
    assert_eq!(refusal(at, &locked), expected);
    // The command line's lock is for a study's own plugins too, and a study may have one.
    let text = STUDY.replace("[data]", "[plugins]\nfrom = [\"plugins\"]\n[data]");
    fs::write(at.join("study.toml"), &text).unwrap();
    assert_eq!(refusal(at, &["run", "study.toml", "--plugins-lock", "plugins.lock"]), expected);
    fs::write(at.join("study.toml"), text.replace("[data]", "lock = \"plugins.lock\"\n[data]"))
        .unwrap();
    assert_eq!(
        refusal(at, &["run", "study.toml"]),
        expected.replace("lock plugins.lock", "lock ./plugins.lock")
    );
    // A study's lock is for what the command line names, and a lock for what is checked.
    let unruly = library("unruly").display().to_string();
    fs::write(
        at.join("study.toml"),
        STUDY.replace("[data]", "[plugins]\nfrom = []\nlock = \"plugins.lock\"\n[data]"),
    )
    .unwrap();
    assert!(
        refusal(at, &["run", "study.toml", "--plugins", &unruly])
            .contains(" is not in the lock ./plugins.lock: ")
    );
    assert!(
        refusal(at, &["plugins", "check", &unruly, "--plugins-lock", "plugins.lock"])
            .contains(" is not in the lock plugins.lock: ")
    );
    fs::write(at.join("plugins.lock"), "\nsha256:abc libx.so\n").unwrap();
    let error = refusal(at, &locked);
    assert!(
        error.starts_with(
            "error: the lock of plugins plugins.lock, line 2: found `sha256:abc`, \
             expected a BLAKE3 hash of 64 "
        ),
        "{error}"
    );
    let error = refusal(at, &["--plugins-lock", "gone", "list", "attacks"]);
    assert!(
        error.starts_with(
            "error: the lock of plugins gone cannot be read; `runner plugins lock` makes one: "
        ),
        "{error}"
    );
}

#[test]
fn what_everybody_can_write_to_is_warned_of() {
    let place = place();
    let path = install(place.path(), "sample");
    let warned = || session(command(place.path(), &["--plugins", "plugins", "list", "metrics"])).2;
    assert_eq!(warned(), "");
    let open = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap()
    };
    open(&place.path().join("plugins"), 0o777);
    let why = "can be changed by everybody here, and its code runs as you";
    assert_eq!(
        warned(),
        format!("warning: folder of plugins plugins {why}: `chmod o-w plugins`\n")
    );
    open(&place.path().join("plugins"), 0o755);
    open(&path, 0o666);
    let path = path.canonicalize().unwrap();
    assert_eq!(
        warned(),
        format!("warning: plugin {} {why}: `chmod o-w {}`\n", path.display(), path.display())
    );
    open(&path, 0o644);
    // Only root can give a file away.
    if std::os::unix::fs::chown(&path, Some(12345), None).is_ok() {
        let expected = "can be changed by user 12345, who owns it, and its code runs as you: copy \
                        it to a folder of yours";
        assert_eq!(warned(), format!("warning: plugin {} {expected}\n", path.display()));
    }
}

#[test]
fn a_rebuilt_plugin_computes_its_own_cells_again() {
    let place = place();
    let at = place.path();
    let path = install(at, "sample");
    fs::write(
        at.join("study.toml"),
        with_attacks("[[attacks]]\nname = \"noisy\"")
            .replace("[\"largest\"]", "[\"largest\", \"mean_change\"]"),
    )
    .unwrap();
    let cells = |arguments: &[&str]| {
        let out = said(at, &[&["run", "study.toml", "--plugins", "plugins"], arguments].concat());
        out.lines().find(|line| line.ends_with("cells to compute")).unwrap().to_owned()
    };
    // 2 clean and 2 probe; for either attack 2 craft, 4 measure and 2 transfer.
    assert_eq!(cells(&[]), "20 of 20 cells to compute");
    let provenance = |file: &Path, key: &str| -> Value {
        let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
        let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
        serde_json::from_str(
            metadata.iter().find(|entry| entry.key == key).unwrap().value.as_ref().unwrap(),
        )
        .unwrap()
    };
    let whole: Value =
        serde_json::from_slice(&fs::read(at.join("results/toys/provenance.json")).unwrap())
            .unwrap();
    let plugin = |part: &Value| {
        (part["name"].as_str().unwrap().to_owned(), part["origin"].clone(), part["plugin"].clone())
    };
    let (noisy, step) = (plugin(&whole["attacks"][0]), plugin(&whole["attacks"][1]));
    assert_eq!(noisy, ("noisy".to_owned(), "gauntlet-sample 1.2.3".into(), hash(&path).into()));
    assert_eq!(step, ("step".to_owned(), "toys 1.0.0".into(), Value::Null));
    let crafted =
        fs::read_dir(at.join("results/toys/cells/craft")).unwrap().map(|file| file.unwrap().path());
    let crafted = crafted.filter(|path| path.extension().is_some_and(|kind| kind == "parquet"));
    let mut attacks: Vec<(String, Value)> = crafted
        .map(|file| provenance(&file, "gauntlet.provenance")["attack"].clone())
        .map(|attack| (attack["name"].as_str().unwrap().to_owned(), attack["plugin"].clone()))
        .collect();
    attacks.sort_by(|a, b| a.0.cmp(&b.0));
    attacks.dedup();
    assert_eq!(
        attacks,
        [("noisy".to_owned(), hash(&path).into()), ("step".to_owned(), Value::Null)]
    );

    assert_eq!(cells(&["--isolate", "never"]), "0 of 20 cells to compute");
    let mut rebuilt = fs::read(&path).unwrap();
    rebuilt.push(0);
    fs::write(&path, rebuilt).unwrap();
    // Of the other attack what the plugin's metric measures.
    assert_eq!(cells(&[]), "10 of 20 cells to compute");
}

#[test]
fn a_model_of_a_library_is_probed_like_any_other() {
    let place = place();
    let at = place.path();
    install(at, "unruly");
    // Its logits are 0 whatever the pixels.
    let flat = "[[models]]\nname = \"fragile\"\nparams = \
                { calls = 10000, scale = 0.0, classes = 4 }\n[[attacks]]";
    fs::write(at.join("study.toml"), STUDY.replacen("[[attacks]]", flat, 1)).unwrap();
    let out = said(at, &["run", "study.toml", "--plugins", "plugins"]);
    assert!(
        out.contains(
            "\n  error zero_gradients: 1 of 3\n    fragile: the gradient of the margin is \
             exactly zero on 3 of 3 images\n"
        ),
        "{out}"
    );
    let flags = fs::read_to_string(at.join("results/toys/flags.csv")).unwrap();
    assert!(flags.contains("\nzero_gradients,error,fragile,,,3,3,1,,,,"), "{flags}");
}

#[test]
fn a_study_with_lists_takes_plugins_in_when_asked() {
    let place = place();
    let at = place.path();
    install(at, "sample");
    let run = |arguments: &[&str]| {
        said(at, &[&["--plugins", "plugins", "run", "study.toml"], arguments].concat())
    };
    let left_out = run(&[]);
    assert!(
        left_out.contains(
            "left out: attack noisy: the study names its attacks: name it there too, \
             or say `--include 'attack:*'`\n"
        ),
        "{left_out}"
    );
    let joined = run(&["--include", "attack:*"]);
    assert!(
        joined.contains("\nplugins gauntlet-sample 1.2.3\njoined by attack noisy\n")
            && joined.contains("\nnoisy, untargeted: "),
        "{joined}"
    );
    // A study without lists takes in what fits, and says of the rest why not.
    let text = "name = \"open\"\ninclude = [\"noisy\"]\nexclude = \
                [\"broken\", \"fatal\"]\n[data]\nfolder = \"images\"\n";
    fs::write(at.join("open.toml"), text).unwrap();
    let open = said(at, &["--plugins", "plugins", "run", "open.toml"]);
    for line in [
        "left out: model patch: no weights, see `runner weights list`\n",
        "left out: model bands: it has 10 classes, and the study 4\n",
        "joined by model toy_12, model toy_8, attack noisy, metric goal_margin, metric largest, \
         metric mean_change\n",
    ] {
        assert!(open.contains(line), "{line}\n{open}");
    }
}

/// The tables' lines that do not speak of attacks that begin with `other`.
fn tables(out: &Path, other: &str) -> Vec<String> {
    let texts = ["accuracy", "success", "transfer"]
        .map(|name| fs::read_to_string(out.join(format!("{name}.csv"))).unwrap());
    texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.contains(other))
        .map(String::from)
        .collect()
}

#[test]
fn whatever_a_plugin_does_it_costs_its_own_cells() {
    const WAYS: [(&str, &str); 13] = [
        ("error", "I would rather not"),
        ("panic", "attack `unruly` panicked: out of order"),
        ("torch", "attack `unruly` panicked: The size of tensor a (2) must match"),
        ("speechless_error", "attack `unruly` panicked: an error that cannot be put into words"),
        ("other_thread", "an oracle is asked from the thread that it was given to alone"),
        ("forgetful", "answers for "),
        ("endless", "out of time: it may take 1 s"),
        ("hang", "out of time: it may take 1 s"),
        ("segfault", "the process that computed it died of SIGSEGV"),
        ("abort", "the process that computed it died of SIGABRT"),
        ("overflow", "the process that computed it died of SIGABRT"),
        ("sloppy", ""),
        ("liar", ""),
    ];
    let place = place();
    let at = place.path();
    assert!(said(at, &["run", "study.toml", "--out", "alone"]).contains("\nstep, untargeted: "));
    install(at, "unruly");
    let attack = |way: &str| {
        format!(
            "[[attacks]]\nname = \"unruly\"\nlabel = \"bad {way}\"\nparams = \
             {{ way = \"{way}\" }}\n"
        )
    };
    let attacks: String = WAYS.iter().map(|(way, _)| attack(way)).collect();
    fs::write(at.join("study.toml"), with_attacks(&attacks)).unwrap();
    let run = [
        "run",
        "study.toml",
        "--plugins",
        "plugins",
        "--out",
        "beside",
        "--cell-timeout",
        "1",
        "--workers",
        "2",
    ];
    let (code, out, err) = session(command(at, &run));
    assert_eq!(code, 1, "{err}");
    for (way, reason) in WAYS.iter().filter(|(_, reason)| !reason.is_empty()) {
        for model in ["toy_8", "toy_12"] {
            let start = format!("bad {way} (untargeted) on {model}, images 1–12: ");
            let found = err
                .lines()
                .filter_map(|line| line.split_once(&start))
                .any(|(_, why)| why.contains(reason));
            assert!(found || err.contains("… and 2 more"), "{start}{reason}\n{err}");
        }
    }
    assert!(err.contains("\n22 cells failed"), "{err}");
    // What is no image, and what is no adversarial, is not believed.
    let success = fs::read_to_string(at.join("beside/success.csv")).unwrap();
    let row = |label: &str| -> Vec<String> {
        success
            .lines()
            .find(|line| line.starts_with(&format!("toy_8,bad {label},")))
            .unwrap()
            .split(',')
            .map(String::from)
            .collect()
    };
    assert_eq!(
        (&row("liar")[6..9], &row("error")[4]),
        (&["10", "0", "0"].map(String::from)[..], &"12".to_owned()),
        "{success}"
    );
    assert_eq!(row("sloppy")[8], "0", "{success}");
    assert!(row("sloppy")[7].parse::<u32>().unwrap() >= 7, "{success}");
    assert!(out.contains("\nbad hang, untargeted: "), "{out}");
    assert_eq!(tables(&at.join("beside"), ",bad "), tables(&at.join("alone"), ",bad "));
}

#[test]
fn a_model_and_a_metric_cost_their_own_cells_too() {
    let place = place();
    let at = place.path();
    let model = |label: &str, params: &str| {
        format!(
            "[[models]]\nname = \"fragile\"\nlabel = \"{label}\"\nparams = \
             {{ classes = 4, {params} }}\n"
        )
    };
    let models = [
        model("bad born", "stillborn = true"),
        model("bad shape", "misshapen = true, calls = 99"),
        model("bad numbers", "scale = nan, calls = 99"),
        model("bad panic", "calls = 0"),
        model("bad abort", "calls = 1, fatal = true"),
    ];
    let text = STUDY
        .replacen("[[models]]", &format!("{}[[models]]", models.concat()), 1)
        .replace("[\"largest\"]", "[\"largest\", \"miscounted\"]");
    fs::write(at.join("bad.toml"), text).unwrap();
    said(at, &["run", "study.toml", "--out", "alone"]);
    let unruly = library("unruly").display().to_string();
    let (code, _, err) = session(command(
        at,
        &["run", "bad.toml", "--plugins", &unruly, "--out", "beside", "--workers", "1"],
    ));
    assert_eq!(code, 1, "{err}");
    for line in [
        "warning: model `bad born`, whose cells will fail: model `fragile`: model `fragile` \
         panicked: cannot be loaded\n",
        "  clean answers of bad born, images 1–12: model `fragile`: model `fragile` panicked: \
         cannot be loaded\n",
        "  clean answers of bad shape, images 1–12: model `fragile` gave logits [12, 5], expected \
         [12, 4]\n",
        "  clean answers of bad numbers, images 1–12: model `fragile` gave logits that are NaN for \
         image `",
        "  clean answers of bad panic, images 1–12: model `fragile` panicked: worn out\n",
        "  step (untargeted) on bad abort, images 1–12: the process that computed it died of \
         SIGABRT\n",
    ] {
        assert!(err.contains(line), "{line}\n{err}");
    }
    assert!(
        err.contains("\n  miscounted of step (untargeted) on toy_8, images 1–12: ")
            && err.contains(" values, expected "),
        "{err}"
    );
    let accuracy = |out: &str| fs::read_to_string(at.join(out).join("accuracy.csv")).unwrap();
    assert!(
        accuracy("alone").lines().skip(1).all(|line| accuracy("beside").contains(line)),
        "{}",
        accuracy("beside")
    );
}

#[test]
fn a_model_may_take_its_time_to_load_but_not_for_ever() {
    let place = place();
    let at = place.path();
    let model = |seconds: &str| {
        format!(
            "[[models]]\nname = \"fragile\"\nparams = \
             {{ classes = 4, calls = 99, loading = {seconds} }}\n"
        )
    };
    let unruly = library("unruly").display().to_string();
    let run = |seconds: &str, limit: &str, out: &str| {
        fs::write(
            at.join("slow.toml"),
            STUDY.replacen("[[models]]", &format!("{}[[models]]", model(seconds)), 1),
        )
        .unwrap();
        let (code, _, err) = session(command(
            at,
            &[
                "run",
                "slow.toml",
                "--plugins",
                &unruly,
                "--out",
                out,
                "--workers",
                "1",
                "--cell-timeout",
                limit,
            ],
        ));
        (code, err)
    };
    let (code, err) = run("0.3", "0", "slow");
    assert!(code == 0 && !err.contains("warning"), "{err}");
    let (code, err) = run("1e9", "0.5", "hang");
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains(
            "warning: model `fragile`, whose cells will fail: loading it takes longer \
             than a cell may\n"
        ),
        "{err}"
    );
    assert!(
        err.contains("  clean answers of fragile, images 1–12: out of time: it may take 0.5 s; "),
        "{err}"
    );
    let accuracy = fs::read_to_string(at.join("hang/accuracy.csv")).unwrap();
    assert!(accuracy.contains("toy_8,"), "the others go on: {accuracy}");
}

#[test]
fn a_library_that_ends_the_process_quietly_is_not_passed() {
    let place = place();
    let path = rogue(place.path(), &["FAULT=LEAVES"]).display().to_string();
    let (code, out, err) = session(command(place.path(), &["plugins", "check", &path]));
    assert!(
        code == 2
            && err.ends_with("librogue.so: loading it fails: the process ended with exit code 0\n"),
        "{out}{err}"
    );
}

#[test]
fn a_leak_ends_with_the_process_that_it_is_in() {
    let place = place();
    let at = place.path();
    let attack = |n: usize| {
        format!(
            "[[attacks]]\nname = \"unruly\"\nlabel = \"leak {n}\"\nparams = {{ way = \"leak\" }}\n"
        )
    };
    let attacks: Vec<String> = (0..8).map(attack).collect();
    fs::write(at.join("study.toml"), with_attacks(&attacks.concat())).unwrap();
    let unruly = library("unruly");
    let mut registry = toys::registry().unwrap();
    registry.load(&unruly).unwrap();
    let study = Study::open(
        &at.join("study.toml").display().to_string(),
        &registry,
        study::Options::default(),
    )
    .unwrap();
    let isolation = Some(Isolation {
        everything: false,
        program: env!("CARGO_BIN_EXE_toy-runner").into(),
        arguments: vec!["work".into()],
    });
    let options = Options { workers: 1, isolation, ..Options::on(Device::Cpu) };
    let resident = || -> u64 {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
    };
    let before = resident();
    let outcome =
        Session::open(&study, &registry, &at.join("out"), options, &Silent).unwrap().run().unwrap();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert!(
        resident() < before + 200,
        "2 models × 8 × 64 MiB stay in the other process: {before}, then {} MiB",
        resident()
    );
}

#[test]
fn a_plugin_that_cannot_catch_its_panics_is_isolated_or_refused() {
    let place = place();
    let at = place.path();
    fs::write(at.join("study.toml"), with_attacks("[[attacks]]\nname = \"noisy\"")).unwrap();
    let path =
        altered("sample", &at.join("plugins"), "panic = \"unwind\"\n", "panic = \"abort\" \n");
    let run = ["--plugins", "plugins", "run", "study.toml"];
    let (code, _, err) = session(command(at, &[&run[..], &["--isolate", "never"]].concat()));
    let who = format!("plugin gauntlet-sample 1.2.3 ({})", path.canonicalize().unwrap().display());
    let expected = format!(
        "error: {who} was built with panic = \"abort\", so that any error of libtorch's in it ends \
         the process: isolate it "
    );
    assert!(code == 2 && err.starts_with(&expected), "{err}");
    assert!(said(at, &run).contains("\nnoisy, untargeted: "));
    // These compute in the program itself.
    let why = format!(
        "error: {who} was built with panic = \"abort\", so that any error of libtorch's in it ends \
         the process: it computes in"
    );
    let predict = ["--plugins", "plugins", "predict", "--model", "patch", "images/none.png"];
    for arguments in [&[&run[..], &["--dry-run"]].concat(), &predict[..]] {
        let (code, _, err) = session(command(at, arguments));
        assert!(code == 2 && err.starts_with(&why), "{err}");
    }
}

#[test]
fn workers_load_the_same_file_or_none() {
    let place = place();
    let at = place.path();
    let path = install(at, "sample");
    fs::write(at.join("study.toml"), with_attacks("[[attacks]]\nname = \"noisy\"")).unwrap();
    let mut registry = toys::registry().unwrap();
    registry.load(&path).unwrap();
    let study = Study::open(
        &at.join("study.toml").display().to_string(),
        &registry,
        study::Options::default(),
    )
    .unwrap();
    let mut rebuilt = fs::read(&path).unwrap();
    rebuilt.push(0);
    fs::write(at.join("new.so"), rebuilt).unwrap();
    fs::rename(at.join("new.so"), &path).unwrap();
    let isolation = Some(Isolation {
        everything: false,
        program: env!("CARGO_BIN_EXE_toy-runner").into(),
        arguments: vec!["work".into()],
    });
    let options = Options { isolation, ..Options::on(Device::Cpu) };
    let error = Session::open(&study, &registry, &at.join("out"), options, &Silent)
        .unwrap()
        .run()
        .unwrap_err();
    let error = format!("{error:#}");
    let expected = "libgauntlet_sample.so: the program, a plugin or weights have changed since the \
                    study was read: run it again";
    assert!(error.ends_with(expected), "{error}");
}

#[test]
fn the_header_is_enough_for_a_plugin_and_its_breaches_are_told() {
    let place = place();
    let at = place.path();
    let plugins = at.join("plugins");
    let path = rogue(&plugins, &[]);
    assert!(
        said(at, &["--plugins", "plugins", "list", "attacks"])
            .contains("rogue  finds nothing  [rogue 0.1.0, librogue.so ")
    );
    fs::write(at.join("study.toml"), with_attacks("[[attacks]]\nname = \"rogue\"")).unwrap();
    let who = format!("plugin rogue 0.1.0 ({})", path.canonicalize().unwrap().display());
    for (fault, expected) in [
        ("FAULT=NO_TABLE", "its plugin table is missing"),
        ("FAULT=OTHER_ABI", "its table is of ABI 7, expected 1 as its stamp says; build it again"),
        ("FAULT=SMALL_TABLE", "its attack table has 8 bytes, expected at least 56; build it again"),
        ("FAULT=NOTHING", "it brings nothing: no attack, no model, no metric"),
        ("FAULT=UNKNOWN_KIND", "it brings something of the unknown kind 9; use a newer runner"),
        ("FAULT=NO_RUN", "its table has no `run`; build it again"),
        ("FAULT=BAD_NAME", "the name \"ro/gue\" is not made of letters, digits, `-`, `_` and `.`"),
        ("FAULT=NO_TOML", "what it says of itself cannot be read:"),
        ("FAULT=NO_UNIT", "metric `rogue` says no `unit`, `scope` and `direction` of itself"),
        (
            "NO_ENTRY",
            "it has no function `gauntlet_plugin_rogue`, which its stamp names; build it again",
        ),
    ] {
        rogue(&plugins, &[fault]);
        let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
        assert!(
            error.starts_with(&format!("error: {who} cannot be loaded: {expected}")),
            "{fault}: {error}"
        );
    }
    rogue(&plugins, &["FAULT=NO_OBJECT"]);
    let error = refusal(at, &["--plugins", "plugins", "run", "study.toml"]);
    assert!(error.contains("attack `rogue`: attack `rogue` gave no object"), "{error}");
    for (fault, expected) in [
        ("FAULT=THROWS", "the process that computed it died of SIGABRT"),
        ("FAULT=UNKNOWN_STATUS", "attack `rogue` gave the unknown status 42: who knows"),
        ("FAULT=UNKNOWN_ANSWER", "attack `rogue` gave an answer of the unknown kind 7"),
        ("FAULT=SILENT", "no reason given"),
    ] {
        rogue(&plugins, &[fault]);
        let (code, _, err) =
            session(command(at, &["--plugins", "plugins", "run", "study.toml", "--workers", "1"]));
        let line = format!("  rogue (untargeted) on toy_8, images 1–12: {expected}\n");
        assert!(code == 1 && err.contains(&line), "{fault}: {err}");
    }
    let linked = Registry::empty().load(&path).unwrap();
    assert_eq!(linked.stamp.with, "rogue.cpp");
}

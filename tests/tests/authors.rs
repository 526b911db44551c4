//! What authors of plugins use: the tutorial, `runner plugins new` and `check`, the examples.

use anyhow::{Context, Result};
use gauntlet_core::params::parse;
use gauntlet_core::registry::{Entry, Registry};
use gauntlet_core::testing::Report;
use gauntlet_modern as _;
use gauntlet_plugins as _;
use gauntlet_runner::study::{Study, StudyOptions};
use gauntlet_tests::libraries::{library, without_lines};
use gauntlet_tests::processes::ended;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Exit code, standard output and standard error of a session.
fn runner(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
    ended(command.current_dir(folder).args(arguments).output().unwrap())
}

/// Runs a compiler, which must succeed.
fn compile(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_tutorial_s_code_is_the_examples() {
    let text = fs::read_to_string(format!("{ROOT}/docs/plugins.md")).unwrap();
    let mut count = 0;
    for block in text.split("<!-- ").skip(1) {
        let (path, rest) = block.split_once(" -->\n```").unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        let (code, _) = rest.split_once("\n```").unwrap();
        let source = fs::read_to_string(format!("{ROOT}/{path}")).unwrap();
        assert!(source.contains(code), "docs/plugins.md shows what {path} does not say:\n{code}");
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn the_tutorial_s_study_runs_and_its_error_is_the_one_that_comes() {
    let text = fs::read_to_string(format!("{ROOT}/docs/plugins.md")).unwrap();
    let (_, rest) = text.split_once("```toml\nname = \"mine\"").unwrap();
    let (study, rest) = rest.split_once("```").unwrap();
    let (_, error) = rest.split_once("```\nerror: ").unwrap();
    let (error, _) = error.split_once("\n```").unwrap();
    let error = error.replace("\n    ", " "); // the tutorial breaks the long line
    let mut registry = Registry::linked().unwrap();
    registry.load(&library("plugin_attack")).unwrap();
    let study = format!("name = \"mine\"{study}").replace("my-attack/target/debug", ".");
    let own = study.replace("my_attack", "mi_fgsm");
    let open = |text: &str| {
        Study::parse(text, "mine.toml", Path::new("."), &registry, StudyOptions::default())
    };
    assert_eq!(open(&own).unwrap().attacks.len(), 1);
    let found = open(&own.replace("epsilon", "epsilom")).err().unwrap().to_string();
    assert_eq!(found.replace("mi_fgsm", "my_attack"), error);
}

#[test]
fn the_examples_conform_as_libraries_too() {
    let mut registry = Registry::empty();
    for name in ["plugin_attack", "plugin_model", "plugin_metric"] {
        registry.load(&library(name)).unwrap();
    }
    conform(&registry, |_| "");
}

/// Runs the conformance kit over everything in a registry, with `parameters` for each name.
fn conform(registry: &Registry, parameters: impl Fn(&str) -> &'static str) {
    tch::set_num_threads(1); // other tests run in parallel
    let full =
        |entry: &Entry| entry.parameters(None, &parse(parameters(&entry.name)).unwrap()).unwrap();
    // Miniatures are the same networks behind one more step, so one of them is enough.
    for model in registry
        .models()
        .filter(|model| !model.entry.name.starts_with("mini_") || model.entry.name == "mini_vgg_16")
    {
        Report::of_model(model, &full(&model.entry), None, &mut |_| ()).passed().unwrap();
    }
    for attack in registry.attacks() {
        Report::of_attack(attack, &full(&attack.entry), &mut |_| ()).passed().unwrap();
    }
    for metric in registry.metrics() {
        Report::of_metric(metric, &full(&metric.entry), &mut |_| ()).passed().unwrap();
    }
}

#[test]
fn everything_built_in_conforms() {
    conform(&Registry::linked().unwrap(), |name| match name {
        "cw_l2" | "ead_l1" => "iterations = 40\nsearch_steps = 4",
        "clever_l1" | "clever_l2" | "clever_linf" => "batches = 4\nsamples = 16",
        // Narrow networks for small images have the full structure.
        "inception_v3" | "inception_v4" | "inception_resnet_v2" => {
            "classes = 7\nside = 75\nchannels = 0.125"
        }
        "alexnet" => "classes = 7\nside = 67\nchannels = 0.125",
        name if name.starts_with("mini_")
            || Registry::linked().unwrap().find_model(name).is_err() =>
        {
            ""
        }
        _ => "classes = 7\nside = 32\nchannels = 0.125",
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one plugin after the other")]
fn what_new_writes_builds_loads_and_conforms() -> Result<()> {
    let place = tempfile::tempdir()?;
    let deps = std::env::current_exe()?.parent().context("a test has a folder")?.to_owned();
    let core = newest(&deps, "libgauntlet_core-", ".rlib")?;
    let libtorch = PathBuf::from(std::env::var_os("LIBTORCH").context("LIBTORCH")?);
    let precompiled = place.path().join("gauntlet.hpp.gch");
    let cpp = || {
        let mut command = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()));
        command
            .args(["-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-isystem"])
            .arg(libtorch.join("include"));
        command
    };
    compile(
        cpp()
            .args(["-x", "c++-header"])
            .arg(format!("{ROOT}/core/include/gauntlet.hpp"))
            .arg("-o")
            .arg(&precompiled),
    );

    // The command that cargo would run. Cargo itself would compile libtorch's bindings again.
    let rust = |name: &str| -> Result<Command> {
        let manifest: toml::Table =
            fs::read_to_string(place.path().join(name).join("Cargo.toml"))?.parse()?;
        let own = manifest["package"].as_table().context("a package")?;
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        command.args([
            "--edition",
            "2024",
            "--crate-type",
            "cdylib",
            "--crate-name",
            &name.replace('-', "_"),
        ]);
        command.env("CARGO_PKG_NAME", own["name"].as_str().context("a name")?);
        command.env("CARGO_PKG_VERSION", own["version"].as_str().context("a version")?);
        command.env("CARGO_CRATE_NAME", name.replace('-', "_"));
        command.arg("--extern").arg(format!("gauntlet_core={}", core.display()));
        command.arg("-L").arg(format!("dependency={}", deps.display()));
        command.arg("-L").arg(format!("native={}", libtorch.join("lib").display()));
        Ok(command)
    };

    for (kind, is_cpp) in [
        ("attack", false),
        ("model", false),
        ("metric", false),
        ("attack", true),
        ("model", true),
        ("metric", true),
    ] {
        let name = format!("own-{kind}{}", if is_cpp { "-cpp" } else { "" });
        let mut arguments = vec!["plugins", "new", &name, "--kind", kind, "--gauntlet", ROOT];
        arguments.extend(is_cpp.then_some("--cpp"));
        let (code, out, error) = runner(place.path(), &arguments);
        assert_eq!((code, error.as_str()), (0, ""), "{name}");
        assert!(out.contains("plugins check") && out.contains("--plugins"), "{out}");
        let folder = place.path().join(&name);
        let made = folder.join(format!("lib{}.so", name.replace('-', "_")));
        if is_cpp {
            // The tutorial's command, except that the header is compiled once for all three.
            let mut command = cpp();
            command
                .arg("-I")
                .arg(place.path())
                .arg("-I")
                .arg(format!("{ROOT}/core/include"))
                .current_dir(&folder);
            command
                .arg("-shared")
                .arg(format!("-DPLUGIN_DIR=\"{}\"", folder.display()))
                .args(["plugin.cpp", "-o"])
                .arg(&made);
            compile(command.arg("-L").arg(libtorch.join("lib")).args(["-ltorch_cpu", "-lc10"]));
        } else {
            compile(rust(&name)?.arg(folder.join("src/lib.rs")).arg("-o").arg(&made));
        }
        if (kind, is_cpp) == ("attack", false) {
            // A library built with other flags loads as well.
            let build = |source: &Path, library: &str| -> Result<()> {
                let mut command = rust(&name)?;
                for flag in ["opt-level=3", "panic=abort", "strip=symbols", "target-cpu=native"] {
                    command.args(["-C", flag]);
                }
                compile(command.arg(source).arg("-o").arg(folder.join(library)));
                Ok(())
            };
            build(&folder.join("src/lib.rs"), "other.so")?;
            let (code, out, error) = runner(&folder, &["plugins", "check", "other.so"]);
            assert!(code == 0 && out.contains(" passed, 0 failed, "), "{out}{error}");
            assert!(
                runner(&folder, &["plugins", "inspect", "other.so"]).1.contains("ends the process")
            );
            // A panic there ends the process, and is printed before.
            build(&Path::new(ROOT).join("tests/plugins/unruly/src/lib.rs"), "unruly.so")?;
            let (code, out, error) = runner(&folder, &["plugins", "check", "unruly.so"]);
            assert!(code == 1 && out.contains("the process died of SIGABRT"), "{out}");
            assert!(error.contains("unruly/src/lib.rs:") && error.contains("worn out"), "{error}");
        }
        let (code, out, error) =
            runner(&folder, &["plugins", "check", made.to_str().context("a path")?]);
        assert_eq!((code, error.as_str()), (0, ""), "{out}");
        let summary = out.lines().last().unwrap_or_default();
        assert!(
            out.contains(&format!("{kind} `{}`", name.replace('-', "_")))
                && summary.contains(" passed, 0 failed, "),
            "{out}"
        );
    }

    let mut registry = Registry::empty();
    for name in ["own-model", "own-model-cpp"] {
        registry
            .load(&place.path().join(name).join(format!("lib{}.so", name.replace('-', "_"))))?;
    }
    let images = (tch::Tensor::arange(4 * 3 * 28 * 28, (tch::Kind::Float, tch::Device::Cpu)).sin()
        * 0.5
        + 0.5)
        .view([4, 3, 28, 28]);
    let logits = registry.models().map(|model| {
        Ok(model.load_embedded(&toml::Table::new(), tch::Device::Cpu)?.logits(&images))
    });
    let logits = logits.collect::<Result<Vec<_>>>()?;
    assert!((&logits[0] - &logits[1]).abs().max().double_value(&[]) < 1e-4, "Rust and C++ differ");
    Ok(())
}

/// The file that was written last among those whose name begins and ends so.
fn newest(folder: &Path, start: &str, end: &str) -> Result<PathBuf> {
    let files = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(start) && name.ends_with(end))
    };
    let age = |path: &PathBuf| {
        fs::metadata(path).and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    files.filter(fits).max_by_key(age).with_context(|| format!("no {start}…{end}"))
}

#[test]
fn new_refuses_wrong_names_and_what_is_there_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("there")).unwrap();
    for (name, more, expected) in [
        (
            "My-Attack",
            "",
            "error: the name `My-Attack` is not made of small letters, digits, `-` and `_` with a \
             letter first, such as `my-attack`\n",
        ),
        (
            "3d",
            "",
            "error: the name `3d` is not made of small letters, digits, `-` and `_` with a letter \
             first, such as `my-attack`\n",
        ),
        ("match", "", "error: the name `match` means something else already: choose another\n"),
        ("nudge", "", "error: `nudge` is built in, and a name is taken once: choose another\n"),
        ("there", "", "error: there is there already: choose another name, or move it away\n"),
        (
            "mine",
            "nowhere",
            "error: nowhere is not the source of Gauntlet: name it with `--gauntlet PATH`\n",
        ),
    ] {
        let mut arguments = vec!["plugins", "new", name, "--kind", "attack"];
        if !more.is_empty() {
            arguments.extend(["--gauntlet", more]);
        }
        assert_eq!(runner(place.path(), &arguments), (2, String::new(), expected.to_owned()));
    }
    let (code, _, error) =
        runner(place.path(), &["plugins", "new", "no/such/folder", "--kind", "attack"]);
    assert!(code == 2 && error.starts_with("error: no/such/folder cannot be written: "), "{error}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "something was left");
}

#[test]
fn a_program_is_written_too_and_packages_may_share_a_target_folder() {
    let place = tempfile::tempdir().unwrap();
    let new = |name: &str, more: &[&str]| {
        let arguments = [&["plugins", "new", name, "--gauntlet", ROOT][..], more].concat();
        runner(place.path(), &arguments)
    };
    let read = |path: &str| fs::read_to_string(place.path().join(path)).unwrap();
    let (code, out, error) = new("my-program", &["--kind", "program"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("\n  cargo run\n") && !out.contains("plugins check"), "{out}");
    // The source is compiled and run as an example of the workspace.
    let short = fs::read_to_string(format!("{ROOT}/examples/embed/src/bin/short.rs")).unwrap();
    let expected = short.replace("\"short\"", "\"my-program\"");
    assert!(read("my-program/src/main.rs").starts_with(expected.split("#[test]").next().unwrap()));
    let manifest: toml::Table = read("my-program/Cargo.toml").parse().unwrap();
    for (name, keys) in [("gauntlet-core", 1), ("gauntlet-plugins", 1), ("gauntlet-runner", 2)] {
        let dependency = manifest["dependencies"][name].as_table().unwrap();
        let folder = Path::new(dependency["path"].as_str().unwrap());
        assert!(folder.join("Cargo.toml").is_file() && dependency.len() == keys, "{dependency:?}");
    }

    let (code, out, _) = new("shared", &["--kind", "attack", "--target-dir", "all"]);
    let all = place.path().canonicalize().unwrap().join("all");
    assert!(code == 0 && out.contains(&format!("{}/debug/libshared.so", all.display())), "{out}");
    let config: toml::Table = read("shared/.cargo/config.toml").parse().unwrap();
    assert_eq!(config["build"]["target-dir"].as_str(), all.to_str());
    assert!(config["env"]["LIBTORCH"].as_str().unwrap().ends_with(".libtorch"));

    let (code, _, error) = new("other", &["--kind", "program", "--cpp"]);
    let expected = "error: `--cpp`: a program that runs a study is in Rust; plugins alone may be \
                    in C++\n";
    assert_eq!((code, error.as_str()), (2, expected));
}

#[test]
fn check_reports_what_fails_and_dies() {
    let unruly = library("unruly");
    let check = |more: &[&str]| {
        let mut arguments = vec!["plugins", "check", unruly.to_str().unwrap()];
        arguments.extend(more);
        runner(Path::new("."), &arguments)
    };
    let (code, out, _) = check(&["--set", "unruly.way=panic"]);
    assert_eq!(code, 1);
    let line = "FAILED   answers one by one, with C×H×W float32 pixels in [0, 1]: attack `unruly` \
                panicked at tests/plugins/unruly/src/lib.rs:_: out of order";
    assert!(without_lines(&out).contains(line) && out.contains("3 values, expected 4"), "{out}");

    // The system ends a process that has used up its processor time.
    let limited =
        "ulimit -S -t 3 && exec \"$0\" plugins check \"$1\" --set unruly.way=endless --json";
    let mut command = Command::new("sh");
    let output = command
        .args(["-c", limited, env!("CARGO_BIN_EXE_toy-runner")])
        .arg(&unruly)
        .output()
        .unwrap();
    let (code, out, _) = ended(output);
    assert_eq!(code, 1, "{out}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let reports = json["reports"].as_array().unwrap();
    let last = reports.last().unwrap()["checks"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&json["passed"], last["verdict"]["failed"].as_str()),
        (&false.into(), Some("the process died of SIGXCPU"))
    );

    let (code, out, _) = check(&["--set", "unruly.way=endless", "--time-limit", "2"]);
    assert!(code == 1 && out.contains("it takes longer than 2 s (`--time-limit`)"), "{out}");

    let (code, _, error) = check(&["--set", "unrully.way=panic"]);
    assert_eq!((code, error.lines().count()), (2, 1), "{error}");
    assert!(error.contains("the library brings no `unrully`, did you mean `unruly`?"), "{error}");
}

#[test]
fn a_plugin_s_parameters_are_described_and_checked_with_a_caret() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("images")).unwrap();
    gauntlet_tests::toys::save_pictures(4, &place.path().join("images"));
    let sample = library("sample");
    let (code, out, _) =
        runner(place.path(), &["list", "attacks", "--plugins", sample.to_str().unwrap()]);
    assert!(
        code == 0
            && out.contains("    # Greatest length, pixels in [0, 1].\n    epsilon = 0.1\n")
            && out.contains("One of: random, all_alike."),
        "{out}"
    );

    let study = |parameters: &str| {
        format!(
            "name = \"mine\"\n[plugins]\nfrom = [{sample:?}]\n[data]\nfolder \
             = \"images\"\n[[models]]\nname = \"toy_8\"\n\
             [[attacks]]\nname = \"noisy\"\nparams = {parameters}\n"
        )
    };
    for (parameters, expected) in [
        (
            "{ epsilom = 0.2 }",
            "unknown parameter `epsilom`, did you mean `epsilon`?; there are: epsilon, lengths, shy, note",
        ),
        ("{ epsilon = \"much\" }", "`epsilon`: invalid type: string \"much\", expected f64"),
        (
            "{ lengths = 5 }",
            "parameters of `noisy`: `lengths`: expected one of `random`, `all_alike`, found 5",
        ),
        ("{ epsilon = -1 }", "`epsilon` is -1, expected a positive number"),
    ] {
        fs::write(place.path().join("study.toml"), study(parameters)).unwrap();
        let (code, _, error) = runner(place.path(), &["run", "study.toml"]);
        let caret = format!(
            "   |\n10 | params = {parameters}\n   |          {}\n",
            "^".repeat(parameters.len())
        );
        assert!(code == 2 && error.contains(expected) && error.ends_with(&caret), "{error}");
    }
}

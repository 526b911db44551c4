//! `runner plugins new`: a plugin to start from. It is the example of its kind, under another name.
//! A program that embeds the engine is written in the same way.

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use gauntlet_core::registry::Registry;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Write a plugin to start from: it builds, has a test, and takes part in studies at once; or a
/// program that runs a study
#[derive(Args)]
#[command(after_help = "Examples:
  runner plugins new my-attack --kind attack
  runner plugins new my-metric --kind metric --cpp
  runner plugins new my-program --kind program
  runner plugins new second --kind attack --target-dir ~/gauntlet-target

The first build of a plugin compiles libtorch's bindings, which takes minutes. Plugins that share a \
                        folder
for what cargo builds (--target-dir) compile them once.")]
pub(super) struct NewArgs {
    /// The plugin's name, or a path whose last part that is
    #[arg(value_name = "NAME")]
    place: PathBuf,
    /// What it brings; or `program`, which is no plugin but runs a study itself
    #[arg(long)]
    kind: Kind,
    /// Write it in C++ instead of Rust
    #[arg(long)]
    cpp: bool,
    /// Gauntlet's source: a folder, or (for Rust) the URL of a git repository [default: the source
    /// that this program was built from]
    #[arg(long, value_name = "PATH")]
    gauntlet: Option<String>,
    /// The folder for what cargo builds, which several plugins may share [default: `target` in the
    /// plugin's own folder]
    #[arg(long, value_name = "DIR", conflicts_with = "cpp")]
    target_dir: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Attack,
    Model,
    Metric,
    Program,
}

/// A file of a plugin: its path below the folder, and its content.
type Content = (String, Vec<u8>);

macro_rules! example {
    ($path:literal) => {
        include_str!(concat!("../../../../examples/", $path))
    };
}

/// The weights of the example models in Rust and C++.
const WEIGHTS: &[u8] = include_bytes!("../../../../examples/plugin-model/lenet.safetensors");

impl Kind {
    /// The source of the example, in Rust or C++. A program is always in Rust.
    fn example(self, cpp: bool) -> &'static str {
        match (self, cpp) {
            (Self::Program, _) => example!("embed/src/bin/short.rs"),
            (Self::Attack, false) => example!("plugin-attack/src/lib.rs"),
            (Self::Model, false) => example!("plugin-model/src/lib.rs"),
            (Self::Metric, false) => example!("plugin-metric/src/lib.rs"),
            (Self::Attack, true) => example!("plugin-cpp/attack.cpp"),
            (Self::Model, true) => example!("plugin-cpp/model.cpp"),
            (Self::Metric, true) => example!("plugin-cpp/metric.cpp"),
        }
    }

    /// The example's names, in Rust or C++: its type, and its name in studies. A program has one
    /// name, that of its study.
    fn names(self, cpp: bool) -> (&'static str, &'static str) {
        match (self, cpp) {
            (Self::Program, _) => ("short", "short"),
            (Self::Attack, false) => ("MiFgsm", "mi_fgsm"),
            (Self::Model, false) => ("LeNet", "lenet"),
            (Self::Metric, false) => ("Psnr", "psnr"),
            (Self::Attack, true) => ("PgdL2", "pgd_l2"),
            (Self::Model, true) => ("LeNet", "lenet_cpp"),
            (Self::Metric, true) => ("Psnr", "psnr_cpp"),
        }
    }
}

/// Writes a plugin and prints what comes next.
pub(super) fn new(args: &NewArgs, registry: &Registry, out: &mut dyn Write) -> Result<ExitCode> {
    let name = check_name(args, registry)?;
    ensure!(
        !(args.cpp && args.kind == Kind::Program),
        "`--cpp`: a program that runs a study is in Rust; plugins alone may be in C++"
    );
    ensure!(
        !args.place.exists(),
        "{} is there already: choose another name, or move it away",
        args.place.display()
    );
    let files = if args.cpp { cpp(args, &name)? } else { rust(args, &name)? };
    write(&args.place, &files)?;

    let folder = args.place.display();
    writeln!(
        out,
        "{folder}: {}",
        files.iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>().join(", ")
    )?;
    writeln!(out, "\nWhat comes next:\n  cd {folder}")?;
    if args.kind == Kind::Program {
        writeln!(out, "  {:<42}  the first build takes minutes\n  cargo run", "cargo test")?;
        return Ok(ExitCode::SUCCESS);
    }
    let file = format!("lib{}.so", crate_name(&name));
    let (build, library) = if args.cpp {
        ("cmake -S . -B build && cmake --build build", PathBuf::from("build").join(file))
    } else {
        let target = target_dir(args)?.unwrap_or_else(|| PathBuf::from("target"));
        let note = "the conformance kit; the first build takes minutes";
        writeln!(out, "  {:<42}  {note}", "cargo test")?;
        ("cargo build", target.join("debug").join(file))
    };
    let program = std::env::current_exe().context("this program does not find itself")?;
    let (program, library) = (program.display(), library.display());
    writeln!(
        out,
        "  {build}\n  {program} plugins check {library}\n  {program} --plugins {library} run mini \
         --images 10"
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The plugin's name.
///
/// # Errors
/// When it is no name for a crate, or taken.
fn check_name(args: &NewArgs, registry: &Registry) -> Result<String> {
    /// Names that neither a crate nor an item in it can have.
    const TAKEN: [&str; 49] = [
        "abstract",
        "alloc",
        "as",
        "async",
        "await",
        "become",
        "box",
        "break",
        "const",
        "continue",
        "core",
        "crate",
        "do",
        "dyn",
        "else",
        "enum",
        "extern",
        "false",
        "final",
        "fn",
        "for",
        "gen",
        "if",
        "impl",
        "in",
        "let",
        "loop",
        "macro",
        "match",
        "mod",
        "move",
        "mut",
        "override",
        "priv",
        "proc_macro",
        "pub",
        "ref",
        "return",
        "self",
        "static",
        "std",
        "struct",
        "super",
        "test",
        "trait",
        "true",
        "type",
        "unsafe",
        "use",
    ];
    let name = args.place.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(plain)
            && name.len() <= 64,
        "the name `{name}` is not made of small letters, digits, `-` and `_` with a letter first, \
         such as `my-{}`",
        args.kind.to_possible_value().map_or_else(String::new, |kind| kind.get_name().to_owned())
    );
    ensure!(
        !TAKEN.contains(&name) && !name.starts_with("gauntlet"),
        "the name `{name}` means something else already: choose another"
    );
    let registered = crate_name(name);
    let taken = match args.kind {
        Kind::Attack => registry.find_attack(&registered).is_ok(),
        Kind::Model => registry.find_model(&registered).is_ok(),
        Kind::Metric => registry.find_metric(&registered).is_ok(),
        Kind::Program => false,
    };
    ensure!(!taken, "`{registered}` is built in, and a name is taken once: choose another");
    Ok(name.to_owned())
}

/// The plugin's name in studies and in Rust code.
fn crate_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The plugin's type: `my-attack` → `MyAttack`.
fn type_name(name: &str) -> String {
    let word = |word: &str| {
        word[..1.min(word.len())].to_ascii_uppercase() + word.get(1..).unwrap_or_default()
    };
    name.split(['-', '_']).map(word).collect()
}

/// The source of the example, with the plugin's names.
fn renamed(kind: Kind, cpp: bool, name: &str) -> String {
    let (type_before, name_before) = kind.names(cpp);
    if kind == Kind::Program {
        return word_replaced(kind.example(cpp), name_before, name);
    }
    let text = word_replaced(kind.example(cpp), type_before, &type_name(name));
    let text = word_replaced(
        &text,
        &format!("{type_before}Params"),
        &format!("{}Params", type_name(name)),
    );
    word_replaced(&text, name_before, &crate_name(name))
}

/// Replaces the word `before` by `after`. A hyphen belongs to a word: `LeNet-5` does not contain
/// the word `LeNet`.
fn word_replaced(text: &str, before: &str, after: &str) -> String {
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut made = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(before) {
        let (head, tail) = (&rest[..at], &rest[at + before.len()..]);
        let word = !head.ends_with(part) && !tail.starts_with(part);
        made.extend([head, if word { after } else { before }]);
        rest = tail;
    }
    made + rest
}

/// Gauntlet's source on this machine.
fn source(args: &NewArgs) -> Result<PathBuf> {
    let built_from = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("");
    let source = args.gauntlet.as_ref().map_or_else(built_from, PathBuf::from);
    ensure!(
        source.join("core/include/gauntlet.h").is_file(),
        "{} is not the source of Gauntlet: name it with `--gauntlet PATH`",
        source.display()
    );
    source.canonicalize().with_context(|| source.display().to_string())
}

/// A path as a quoted string of TOML.
fn quoted(path: &Path) -> Result<String> {
    Ok(toml::Value::from(
        path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?,
    )
    .to_string())
}

/// The folder of `--target-dir`, from the root.
fn target_dir(args: &NewArgs) -> Result<Option<PathBuf>> {
    let absolute = |folder: &PathBuf| {
        std::path::absolute(folder).with_context(|| format!("--target-dir {}", folder.display()))
    };
    args.target_dir.as_ref().map(absolute).transpose()
}

/// Where the crates of Gauntlet are that a package depends on.
enum Source {
    /// Gauntlet's source on this machine.
    Folder(PathBuf),
    /// The URL of a git repository.
    Git(String),
}

impl Source {
    fn of(args: &NewArgs) -> Result<Self> {
        let remote = |place: &&String| place.contains("://") || place.starts_with("git@");
        match args.gauntlet.as_ref().filter(remote) {
            Some(url) => Ok(Self::Git(url.clone())),
            None => Ok(Self::Folder(source(args)?)),
        }
    }

    /// The dependency on a crate, for a manifest; `more` are further keys.
    fn dependency(&self, folder: &str, more: &str) -> Result<String> {
        Ok(match self {
            Self::Folder(source) => format!("{{ path = {}{more} }}", quoted(&source.join(folder))?),
            Self::Git(url) => format!("{{ git = {}{more} }}", toml::Value::from(url.as_str())),
        })
    }

    /// Where libtorch is.
    fn libtorch(&self) -> Option<PathBuf> {
        match self {
            Self::Folder(source) => Some(source.join(".libtorch")),
            Self::Git(_) => std::env::var_os("LIBTORCH").map(PathBuf::from),
        }
    }
}

fn rust(args: &NewArgs, name: &str) -> Result<Vec<Content>> {
    let source = Source::of(args)?;
    let (manifest, main) = if args.kind == Kind::Program {
        let manifest = include_str!("../../../templates/program.toml")
            .replace("{core}", &source.dependency("core", "")?)
            .replace("{plugins}", &source.dependency("plugins", "")?)
            .replace("{runner}", &source.dependency("runner", ", default-features = false")?);
        (manifest, "src/main.rs")
    } else {
        let manifest = include_str!("../../../templates/Cargo.toml")
            .replace("{source}", &source.dependency("core", "")?);
        (manifest, "src/lib.rs")
    };
    let mut files = vec![
        ("Cargo.toml".to_owned(), manifest.replace("{package}", name).into_bytes()),
        // Gauntlet's own lock: the versions that it is tested with.
        ("Cargo.lock".to_owned(), include_bytes!("../../../../Cargo.lock").to_vec()),
        ("build.rs".to_owned(), include_bytes!("../../../../core/build.rs").to_vec()),
        (".gitignore".to_owned(), b"/target\n/results\n".to_vec()),
        (main.to_owned(), renamed(args.kind, false, name).into_bytes()),
    ];
    let mut config = String::new();
    if let Some(libtorch) = source.libtorch() {
        config += &include_str!("../../../templates/config.toml")
            .replace("\"{libtorch}\"", &quoted(&libtorch)?);
    }
    if let Some(folder) = target_dir(args)? {
        config.extend(["\n[build]\ntarget-dir = ", &quoted(&folder)?, "\n"]);
    }
    if !config.is_empty() {
        files.push((".cargo/config.toml".to_owned(), config.trim_start().as_bytes().to_vec()));
    }
    if args.kind == Kind::Model {
        files.push((format!("{}.safetensors", crate_name(name)), WEIGHTS.to_vec()));
    }
    Ok(files)
}

fn cpp(args: &NewArgs, name: &str) -> Result<Vec<Content>> {
    let source = source(args)?;
    let cmake = include_str!("../../../templates/CMakeLists.txt")
        .replace("{crate}", &crate_name(name))
        .replace("\"{include}\"", &quoted(&source.join("core/include"))?)
        .replace("\"{libtorch}\"", &quoted(&source.join(".libtorch"))?);
    let mut files = vec![
        ("CMakeLists.txt".to_owned(), cmake.into_bytes()),
        (".gitignore".to_owned(), b"/build\n".to_vec()),
        ("plugin.cpp".to_owned(), renamed(args.kind, true, name).into_bytes()),
    ];
    if args.kind == Kind::Model {
        files.push(("lenet.safetensors".to_owned(), WEIGHTS.to_vec()));
    }
    Ok(files)
}

/// Writes all files, or nothing: the folder has a temporary name until it is complete.
fn write(place: &Path, files: &[Content]) -> Result<()> {
    let above =
        place.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> Result<()> {
        let new = tempfile::Builder::new().prefix(".new-plugin-").tempdir_in(above)?;
        for (path, content) in files {
            let path = new.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(above))?;
            fs::write(path, content)?;
        }
        // `tempfile` gives its folders to the owner alone.
        fs::set_permissions(new.path(), fs::Permissions::from_mode(0o755))?;
        fs::rename(new.path(), place)?;
        let _ = new.keep();
        Ok(())
    };
    written().with_context(|| format!("{} cannot be written", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_an_example_s_names_is_left() {
        for kind in [Kind::Attack, Kind::Model, Kind::Metric] {
            for cpp in [false, true] {
                let (type_before, name_before) = kind.names(cpp);
                let before = kind.example(cpp);
                assert!(
                    before.contains(&format!("\"{name_before}\"")) && before.contains(type_before)
                );
                let after = renamed(kind, cpp, "of-mine").replace("LeNet-5", "");
                assert!(!after.contains(type_before) && !after.contains(name_before), "{after}");
                assert!(after.contains("\"of_mine\"") && after.contains("OfMine"));
            }
        }
        let program = renamed(Kind::Program, false, "of-mine");
        assert!(program.contains("\"of-mine\"") && !program.contains("\"short\""), "{program}");
    }

    #[test]
    fn a_word_is_replaced_and_no_part_of_one() {
        assert_eq!(
            word_replaced("LeNet, LeNet-5, TinyLeNet; LeNet", "LeNet", "Mine"),
            "Mine, LeNet-5, TinyLeNet; Mine"
        );
        assert_eq!(type_name("my-own_attack-2"), "MyOwnAttack2");
    }
}

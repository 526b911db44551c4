//! Locks, which admit the libraries that they list, and files that others can change.

use crate::{STUDY, command, hash, install, place, refusal, said, session};
use gauntlet_tests::libraries::library;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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
    // The command line's lock covers the study's own plugins, and a study may have a lock itself.
    let text = STUDY.replace("[data]", "[plugins]\nfrom = [\"plugins\"]\n[data]");
    fs::write(at.join("study.toml"), &text).unwrap();
    assert_eq!(refusal(at, &["run", "study.toml", "--plugins-lock", "plugins.lock"]), expected);
    fs::write(at.join("study.toml"), text.replace("[data]", "lock = \"plugins.lock\"\n[data]"))
        .unwrap();
    assert_eq!(
        refusal(at, &["run", "study.toml"]),
        expected.replace("lock plugins.lock", "lock ./plugins.lock")
    );
    // A study's lock covers plugins of the command line, and a lock covers what is checked.
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
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
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

//! What `make test` says when tests fail.

use gauntlet_tests::processes::ended;
use std::fs;
use std::process::Command;

/// What cargo prints, of a test that fails, a program that crashes, and an example that fails.
const FAILING: &str = r"cat <<'END'
     Running unittests src/lib.rs (target/debug/deps/one-1)
test first::good ... ok
test first::bad ... FAILED

failures:

---- first::bad stdout ----
thread panicked

failures:
    first::bad
error: test failed, to rerun pass `-p one --lib`
     Running tests/crash.rs (target/debug/deps/crash-2)
error: test failed, to rerun pass `-p one --test crash`
   Doc-tests one
test src/lib.rs - x (line 3) ... FAILED

---- src/lib.rs - x (line 3) stdout ----
error: doctest failed, to rerun pass `-p one --doc`
error: 3 targets failed:
    `-p one --lib`
    `-p one --test crash`
    `-p one --doc`
END
exit 101";

#[test]
fn failed_tests_are_named_last_and_the_exit_code_is_kept() {
    let place = tempfile::tempdir().unwrap();
    let log = place.path().join("logs/tests.log");
    let run = |script: &str| {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/tests"));
        command.env("LOG", &log).args(["bash", "-c", script]);
        ended(command.output().unwrap())
    };
    let (code, out, _) = run(FAILING);
    let at = log.display();
    let expected = format!(
        "
failed tests:
  unittests src/lib.rs: first::bad ({at}, line 7)
  Doc-tests one: src/lib.rs - x (line 3) ({at}, line 18)
  to run again: cargo test -p one --lib
  to run again: cargo test -p one --test crash
  to run again: cargo test -p one --doc
"
    );
    assert!(code == 101 && out.ends_with(&expected), "{out}");
    assert!(fs::read_to_string(&log).unwrap().starts_with("     Running unittests"));
    // What does not compile has no tests: the errors are named.
    let (code, out, _) = run("echo 'error[E0277]: the trait'; exit 101");
    let expected = format!("\nfailed tests:\n  error[E0277]: the trait ({at}, line 1)\n");
    assert!(code == 101 && out.ends_with(&expected), "{out}");
    assert_eq!(run("echo fine"), (0, "fine\n".to_owned(), String::new()));
}

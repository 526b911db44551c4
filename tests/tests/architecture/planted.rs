//! Small made-up trees, each with one fault that its rule must find at its file and line.

use crate::modules::Crate;
use crate::{Tree, circles, files, order, texts};

/// The order of the made-up crates.
const DOCUMENT: &str = "
# Map

```rooms runner
not, in, the, section
```

## Order of rooms

Text.

```rooms core
only
```

```rooms runner
report
study, store
errors
```

## Next
";

fn tree(files: &[(&str, &str)]) -> Tree {
    files.iter().map(|(file, text)| ((*file).into(), (*text).into())).collect()
}

/// The crate `runner` with four rooms, and with `more` in place of files or beside them.
fn runner(more: &[(&str, &str)]) -> Crate {
    let mut tree = tree(&[
        ("runner/src/lib.rs", "mod errors;\nmod report;\nmod store;\nmod study;\n"),
        ("runner/src/errors.rs", "pub fn first_line() {}\n"),
        ("runner/src/report.rs", "use crate::{errors, study::Study};\n"),
        ("runner/src/store.rs", "use crate::errors::first_line;\n"),
        ("runner/src/study/mod.rs", "mod reader;\npub use reader::Study;\n"),
        (
            "runner/src/study/reader.rs",
            "pub struct Study;\nfn f() { crate::errors::first_line() }\n",
        ),
    ]);
    tree.extend(self::tree(more));
    Crate::read(&tree, "runner", "gauntlet_runner").unwrap()
}

fn misplaced(more: &[(&str, &str)]) -> Vec<String> {
    order::faults(&runner(more), &order::ranks(DOCUMENT, "runner").unwrap())
}

fn in_circles(more: &[(&str, &str)]) -> Vec<String> {
    circles::faults(&runner(more))
}

#[track_caller]
fn check(found: &[String], expected: &[&str]) {
    let same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, start)| found.starts_with(start));
    assert!(same, "found {found:#?}, expected {expected:#?}");
}

#[test]
fn a_crate_in_order_has_no_fault() {
    check(&misplaced(&[]), &[]);
    check(&in_circles(&[]), &[]);
}

#[test]
fn the_order_is_read_from_its_section() {
    let ranks = order::ranks(DOCUMENT, "runner").unwrap();
    let mut ranks: Vec<(&str, usize)> = ranks.iter().map(|(r, &n)| (r.as_str(), n)).collect();
    ranks.sort_by_key(|&(_, rank)| rank);
    assert_eq!(ranks, [("report", 0), ("store", 1), ("study", 1), ("errors", 2)]);
    let refused = |document: &str| order::ranks(document, "runner").unwrap_err();
    let none = "ARCHITECTURE.md: no rooms are listed for runner; ";
    assert!(refused("").starts_with(none));
    assert!(refused(&DOCUMENT.replace("## Order", "## An order")).starts_with(none));
    assert_eq!(
        refused(&DOCUMENT.replace("errors", "errors, study")),
        "ARCHITECTURE.md:19: the room `study` is listed twice"
    );
    assert_eq!(
        refused(&DOCUMENT.replace("errors", "errors,")),
        "ARCHITECTURE.md:19: a comma without a room beside it"
    );
}

#[test]
fn every_room_is_listed_and_every_listed_room_exists() {
    check(
        &misplaced(&[
            ("runner/src/lib.rs", "mod errors;\nmod data;\nmod report;\nmod study;"),
            ("runner/src/data/mod.rs", ""),
        ]),
        &[
            "ARCHITECTURE.md: runner has no room `store`; ",
            "runner/src/data/mod.rs: the room `data` is not listed; ",
        ],
    );
}

#[test]
fn an_import_from_above_is_found() {
    let expected = "runner/src/errors.rs:2: room `errors` imports from `report` \
                    (crate::report::Page, in runner/src/report.rs), which stands above it";
    for line in [
        "use crate::report::Page;",
        "pub(crate) use crate::report::Page;",
        "use crate::{report::{Page}};",
        "fn f() -> crate::report::Page { todo() }",
        "fn f() { let _ = crate::report::Page; }",
        "fn f() { use crate::report::Page; }",
        "fn f() { println!(\"{}\", [crate::report::Page]); }",
        "macro_rules! page { () => { $crate::report::Page } }",
        "#[derive(Deserialize)] #[serde(with = \"crate::report::Page\")] struct Own;",
    ] {
        check(&misplaced(&[("runner/src/errors.rs", &format!("// Line 1.\n{line}"))]), &[expected]);
    }
    for (line, text) in [
        ("use super::report::*;", "super::report::*"),
        ("use gauntlet_runner::report::Page as P;", "gauntlet_runner::report::Page"),
        ("fn f() { super::report::print() }", "super::report::print"),
        ("mod inner { use super::super::report::Page; }", "super::super::report::Page"),
    ] {
        let expected = expected.replace("crate::report::Page", text);
        check(
            &misplaced(&[("runner/src/errors.rs", &format!("// Line 1.\n{line}"))]),
            &[&expected],
        );
    }
}

#[test]
fn an_import_from_above_is_found_behind_re_exports() {
    // Through the crate's root, and through a room that stands below.
    let root = "mod errors;\nmod report;\nmod store;\nmod study;\npub use study::Study;\n";
    let study = "room `errors` imports from `study` (crate::Study, in runner/src/study/reader.rs)";
    check(
        &misplaced(&[
            ("runner/src/lib.rs", root),
            ("runner/src/errors.rs", "\n\nuse crate::Study;"),
        ]),
        &[&format!("runner/src/errors.rs:3: {study}")],
    );
    let facade = format!("{root}pub mod prelude {{ pub use crate::study::*; }}\n");
    check(
        &misplaced(&[
            ("runner/src/lib.rs", &facade),
            ("runner/src/errors.rs", "use crate::prelude::Study;"),
        ]),
        &["runner/src/errors.rs:1: room `errors` imports from `study` (crate::prelude::Study, in \
           runner/src/study/reader.rs)"],
    );
    check(
        &misplaced(&[
            ("runner/src/lib.rs", &facade),
            ("runner/src/errors.rs", "use crate::prelude::*;"),
        ]),
        &["runner/src/errors.rs:1: room `errors` imports from `study` (crate::prelude::*"],
    );
}

#[test]
fn a_name_of_the_root_is_above_every_room() {
    check(
        &misplaced(&[
            (
                "runner/src/lib.rs",
                "mod errors;\nmod report;\nmod store;\nmod study;\nconst N: u8 = 1;",
            ),
            ("runner/src/errors.rs", "fn f() -> u8 { crate::N }"),
        ]),
        &["runner/src/errors.rs:1: room `errors` uses `crate::N` of the crate's root"],
    );
}

#[test]
fn an_import_from_the_same_rank_is_found() {
    check(
        &misplaced(&[("runner/src/study/mod.rs", "mod reader;\n\nuse crate::store;\n")]),
        &["runner/src/study/mod.rs:3: room `study` imports from `store` (crate::store, in \
           runner/src/store.rs), which stands beside it"],
    );
}

#[test]
fn a_crate_names_none_above() {
    let text = "pub struct Study;\nfn f() { gauntlet_runner::report::print() }";
    let core = tree(&[("core/src/lib.rs", "mod only;"), ("core/src/only.rs", text)]);
    let core = Crate::read(&core, "core", "gauntlet_core").unwrap();
    check(
        &order::faults(&core, &order::ranks(DOCUMENT, "core").unwrap()),
        &["core/src/only.rs:2: core names the crate gauntlet_runner"],
    );
}

#[test]
fn the_program_is_a_room_of_its_own() {
    let document = DOCUMENT.replace("report\n", "main\nreport\n");
    let ranks = order::ranks(&document, "runner").unwrap();
    let found = runner(&[("runner/src/main.rs", "fn main() { gauntlet_runner::report::print() }")]);
    check(&order::faults(&found, &ranks), &[]);
    let ranks = order::ranks(&document.replace("main\nreport\n", "report, main\n"), "runner");
    check(
        &order::faults(&found, &ranks.unwrap()),
        &["runner/src/main.rs:1: room `main` imports from `report`"],
    );
}

#[test]
fn tests_may_import_what_they_like() {
    let text = "
#[cfg(test)]
use crate::report::Page;
#[cfg(test)]
mod tests { use crate::report::Page; }
#[cfg(all(test, unix))]
mod more;
#[cfg(test)]
fn f() { crate::report::print() }
";
    check(&misplaced(&[("runner/src/errors.rs", text)]), &[]);
    let text = text.replace("(test)", "(not(test))").replace("(test, ", "(unix, ");
    check(
        &misplaced(&[("runner/src/errors.rs", &text), ("runner/src/errors/more.rs", "")]),
        &["runner/src/errors.rs:3:", "runner/src/errors.rs:5:", "runner/src/errors.rs:9:"],
    );
}

#[test]
fn a_circle_is_found_behind_a_re_export() {
    let facade = "mod reader;\nmod writer;\npub use self::{reader::Study, writer::write};\n";
    let reader = "\nuse super::write;\npub struct Study;\n";
    for writer in [
        "use super::Study;\npub fn write() {}\n",
        "use crate::study::Study;\npub fn write() {}\n",
        "pub fn write() { super::Study }\n",
        "pub fn write() { let _ = vec![super::Study]; }\n",
        "use super::*;\npub fn write() {}\n",
    ] {
        check(
            &in_circles(&[
                ("runner/src/study/mod.rs", facade),
                ("runner/src/study/reader.rs", reader),
                ("runner/src/study/writer.rs", writer),
            ]),
            &["files import each other in a circle: runner/src/study/reader.rs:2 → \
               runner/src/study/writer.rs, runner/src/study/writer.rs:1 → \
               runner/src/study/reader.rs; "],
        );
    }
}

#[test]
fn a_circle_between_a_folder_s_file_and_another_is_found() {
    let facade = "mod reader;\n\nfn open() { reader::read() }\npub struct Options;\n";
    let circle = "files import each other in a circle: runner/src/study/mod.rs:3 → \
                  runner/src/study/reader.rs, runner/src/study/reader.rs:1 → \
                  runner/src/study/mod.rs; ";
    for reader in [
        "use super::Options;\npub fn read() {}\n",
        "use crate::study;\npub fn read() { study::StudyOptions }\n",
    ] {
        let reader = reader.replace("study;\n", "study; ");
        check(
            &in_circles(&[
                ("runner/src/study/mod.rs", facade),
                ("runner/src/study/reader.rs", &reader),
            ]),
            &[circle],
        );
    }
    // A re-export that its own file uses is an import.
    let facade = "mod reader;\npub use reader::read;\nfn open() { read() }\npub struct Options;\n";
    check(
        &in_circles(&[
            ("runner/src/study/mod.rs", facade),
            ("runner/src/study/reader.rs", "use super::Options;\npub fn read() {}\n"),
        ]),
        &[circle],
    );
}

#[test]
fn a_circle_of_three_is_told_once() {
    let file = |next: &str| format!("pub struct S;\nfn f(_: super::{next}::S) {{}}\n");
    let (a, b, c) = (file("b"), file("c"), file("a"));
    let found = in_circles(&[
        ("runner/src/study/mod.rs", "mod a;\nmod b;\nmod c;\nmod d;\nmod reader;\n"),
        ("runner/src/study/a.rs", &a),
        ("runner/src/study/b.rs", &b),
        ("runner/src/study/c.rs", &c),
        ("runner/src/study/d.rs", "use super::a::S;\n"),
    ]);
    check(
        &found,
        &["files import each other in a circle: runner/src/study/a.rs:2 → runner/src/study/b.rs, \
           runner/src/study/b.rs:2 → runner/src/study/c.rs, runner/src/study/c.rs:2 → \
           runner/src/study/a.rs; move what both need"],
    );
}

#[test]
fn a_function_s_module_of_the_same_name_is_no_circle() {
    let facade = "mod reader;\nmod run;\npub use reader::Study;\npub use run::run;\n";
    check(
        &in_circles(&[
            ("runner/src/study/mod.rs", facade),
            ("runner/src/study/run.rs", "use super::Study;\npub fn run() {}\n"),
        ]),
        &[],
    );
}

#[test]
fn what_cannot_be_read_is_told() {
    let refused = |text: &str| {
        let tree = tree(&[("core/src/lib.rs", "mod only;"), ("core/src/only.rs", text)]);
        Crate::read(&tree, "core", "gauntlet_core").err().unwrap()
    };
    assert!(refused("\nfn f( {}").starts_with("core/src/only.rs:"));
    assert_eq!(
        refused("mod inner;"),
        "core/src/only/inner/mod.rs is missing, which a `mod` line names"
    );
}

#[test]
fn a_long_file_is_found() {
    let lines = |count: usize| "line\n".repeat(count);
    let tree = Tree::from([
        ("a.rs".into(), lines(500)),
        ("b.rs".into(), lines(501)),
        ("c.py".into(), lines(502)),
        ("generated.h".into(), lines(503)),
        ("Cargo.lock".into(), lines(504)),
    ]);
    check(
        &texts::too_long(&tree, &[("generated.h", "a program"), ("gone.h", "a program")]),
        &[
            "gone.h (a program) is missing; ",
            "b.rs has 501 lines, expected at most 500; ",
            "c.py has 502 lines, expected at most 500; ",
        ],
    );
}

#[test]
fn a_wide_line_is_found() {
    let exactly = "é".repeat(100);
    let wide = "é".repeat(101);
    let path = "x".repeat(100);
    let text = format!(
        "{exactly}\n{wide}\n| {wide} |\n    {wide}\nhttps://{path}\n- <https://{path}>\n[a b]: \
         https://{path}\n[the text]({path}.md)\n- [the text]({path}.md)\nSee [the text]({path}.md)\n\
         See https://{path}\n"
    );
    let tree = Tree::from([("a.md".into(), text), ("a.txt".into(), wide)]);
    check(
        &texts::too_wide(&tree),
        &[
            "a.md:2 is 101 characters wide, expected at most 100; ",
            "a.md:4 is 105 characters wide, ",
            "a.md:10 is 119 characters wide, ",
            "a.md:11 is 112 characters wide, ",
        ],
    );
}

#[test]
fn what_is_left_to_be_done_is_found() {
    let text = "
/// Says `todo!()` only, as \"dbg!(1)\" does.
fn f() { let x = dbg !(1); vec![todo!()] }
#[test]
#[ignore]
fn g() { unimplemented!(\"later\") }
#[test]
#[ignore = \"takes an hour\"]
fn h() { let todo = !true; }
";
    check(
        &texts::undone(&tree(&[("a.rs", text), ("b.py", text)])).unwrap(),
        &[
            "a.rs:3: `dbg!`; ",
            "a.rs:3: `todo!`; ",
            "a.rs:5: `#[ignore]` without a reason; ",
            "a.rs:6: `unimplemented!`; ",
        ],
    );
}

#[test]
fn a_file_beside_its_folder_is_found() {
    let tree = tree(&[
        ("src/a.rs", ""),
        ("src/a/b.rs", ""),
        ("src/c.rs", ""),
        ("src/c/data.csv", ""),
        ("src/d/mod.rs", ""),
    ]);
    check(
        &texts::beside_their_folder(&tree),
        &["src/a.rs stands beside its folder; move it to src/a/mod.rs"],
    );
}

#[test]
fn the_project_s_own_files_are_found() {
    let tree = files::read().unwrap();
    for file in ["ARCHITECTURE.md", "runner/src/lib.rs", "tests/tests/architecture/planted.rs"] {
        assert!(tree.contains_key(file), "{file}");
    }
    assert!(!tree.keys().any(|file| file.starts_with("target/")));
}

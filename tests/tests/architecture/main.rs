//! The order of the house: what imports what, and how long and wide files may be.
//!
//! ARCHITECTURE.md, section "Order of rooms", is the one place that states which modules may import
//! from which. Each rule is a function of a tree of files; `planted` holds small trees that break
//! one rule each.

mod circles;
mod files;
mod modules;
mod order;
mod planted;
mod texts;
mod tokens;

use modules::Crate;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Texts of files, by their paths from the project's folder.
type Tree = BTreeMap<String, String>;

static PROJECT: LazyLock<Tree> = LazyLock::new(|| files::read().unwrap());

fn read(folder: &str) -> Crate {
    let (_, name) = order::CRATES.iter().find(|(other, _)| *other == folder).unwrap();
    Crate::read(&PROJECT, folder, name).unwrap()
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn imports_go_down(folder: &str) {
    let ranks = order::ranks(&PROJECT["ARCHITECTURE.md"], folder).unwrap_or_else(|e| panic!("{e}"));
    none(&order::faults(&read(folder), &ranks));
}

#[test]
fn imports_go_down_the_order_of_rooms_in_runner() {
    imports_go_down("runner");
}

#[test]
fn imports_go_down_the_order_of_rooms_in_modern() {
    imports_go_down("plugins/modern");
}

#[test]
fn imports_go_down_the_order_of_rooms_in_plugins() {
    imports_go_down("plugins");
}

#[test]
fn imports_go_down_the_order_of_rooms_in_core() {
    imports_go_down("core");
}

#[test]
fn no_files_of_runner_import_each_other_in_a_circle() {
    none(&circles::faults(&read("runner")));
}

#[test]
fn no_files_of_modern_import_each_other_in_a_circle() {
    none(&circles::faults(&read("plugins/modern")));
}

#[test]
fn no_files_of_plugins_import_each_other_in_a_circle() {
    none(&circles::faults(&read("plugins")));
}

#[test]
fn no_files_of_core_import_each_other_in_a_circle() {
    none(&circles::faults(&read("core")));
}

#[test]
fn no_source_file_is_too_long() {
    none(&texts::too_long(&PROJECT, &texts::GENERATED));
}

#[test]
fn no_line_of_a_document_is_too_wide() {
    none(&texts::too_wide(&PROJECT));
}

#[test]
fn nothing_is_left_to_be_done() {
    none(&texts::undone(&PROJECT).unwrap());
}

#[test]
fn a_module_with_a_folder_has_its_file_in_it() {
    none(&texts::beside_their_folder(&PROJECT));
}

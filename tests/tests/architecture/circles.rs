//! Circles of imports between the files of a crate.

use crate::modules::{Crate, Found, Kind, ROOT};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// For each file the files that it imports from, with the line of the first import.
type Imports<'c> = BTreeMap<&'c str, BTreeMap<&'c str, usize>>;

/// A message for each group of files that import each other, with its shortest circle.
///
/// A file imports from the file that defines what it names. Re-exports and `mod` lines are no
/// imports, else every folder's `mod.rs` would stand in a circle with its files. To name a module
/// is no import either: what is used of it is.
pub fn faults(found: &Crate) -> Vec<String> {
    let imports = imports(found);
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for file in imports.keys() {
        if seen.contains(file) {
            continue;
        }
        if let Some(circle) = shortest(&imports, file) {
            let ahead = reached(&imports, file);
            let group: BTreeSet<&str> =
                ahead.into_iter().filter(|other| reached(&imports, other).contains(file)).collect();
            let steps: Vec<String> = circle
                .windows(2)
                .map(|pair| format!("{}:{} → {}", pair[0], imports[pair[0]][pair[1]], pair[1]))
                .collect();
            faults.push(format!(
                "files import each other in a circle: {}; move what both need into a file of its \
                 own (the shortest circle in a group of {} files)",
                steps.join(", "),
                group.len()
            ));
            seen.extend(group);
        }
    }
    faults
}

fn imports(found: &Crate) -> Imports<'_> {
    let mut imports = Imports::new();
    for (index, module) in found.modules.iter().enumerate() {
        let mut ends = Vec::new();
        for mention in &module.mentions {
            let end = found.resolve(index, &mention.path, &mut Vec::new());
            match (&mention.kind, end) {
                (Kind::Use { exported: true, .. } | Kind::Glob { exported: true }, _)
                | (Kind::Use { .. } | Kind::Body, Found::Module(_)) => {}
                (Kind::Glob { .. }, Found::Module(facade)) => {
                    ends.push((mention.line, facade));
                    for export in found.exports(facade) {
                        let end = found.resolve(facade, &export.path, &mut Vec::new());
                        ends.extend(end.module().map(|end| (mention.line, end)));
                    }
                }
                _ => ends.extend(end.module().map(|end| (mention.line, end))),
            }
        }
        for (line, end) in ends {
            let other = found.modules[end].file.as_str();
            let root = [&module.file, other].contains(&found.modules[ROOT].file.as_str());
            if other != module.file && !root {
                let first = imports.entry(module.file.as_str()).or_default();
                let first = first.entry(other).or_insert(line);
                *first = line.min(*first);
            }
        }
    }
    imports
}

/// The shortest way from a file back to itself.
fn shortest<'c>(imports: &Imports<'c>, file: &'c str) -> Option<Vec<&'c str>> {
    let mut ways = VecDeque::from([vec![file]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for &next in imports.get(way[way.len() - 1]).into_iter().flat_map(BTreeMap::keys) {
            let longer = [&way[..], &[next]].concat();
            if next == file {
                return Some(longer);
            }
            if seen.insert(next) {
                ways.push_back(longer);
            }
        }
    }
    None
}

fn reached<'c>(imports: &Imports<'c>, file: &'c str) -> BTreeSet<&'c str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![file];
    while let Some(file) = open.pop() {
        for &next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    reached
}

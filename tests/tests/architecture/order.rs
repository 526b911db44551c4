//! The order of rooms, as ARCHITECTURE.md states it, and the imports that break it.

use crate::modules::{Crate, Found, Kind, ROOT};
use std::collections::BTreeMap;

const HEADING: &str = "## Order of rooms";

/// The crates from top to bottom: each may name those after it.
pub const CRATES: [(&str, &str); 4] = [
    ("runner", "gauntlet_runner"),
    ("plugins/modern", "gauntlet_modern"),
    ("plugins", "gauntlet_plugins"),
    ("core", "gauntlet_core"),
];

/// The rank of each room of a crate, 0 at the top.
pub type Ranks = BTreeMap<String, usize>;

/// Reads the ranks of a crate's rooms from the block "```rooms `folder`" of the document's section
/// "Order of rooms": a line for each rank, from top to bottom, rooms of the same rank separated by
/// commas.
pub fn ranks(document: &str, folder: &str) -> Result<Ranks, String> {
    let none = || {
        format!(
            "ARCHITECTURE.md: no rooms are listed for {folder}; add a block ```rooms {folder} to \
             the section \"{}\", a line for each rank from top to bottom",
            HEADING.trim_start_matches("## ")
        )
    };
    let lines = document.lines().enumerate().map(|(n, line)| (n + 1, line.trim_end()));
    let section = lines.skip_while(|(_, line)| *line != HEADING).skip(1);
    let section = section.take_while(|(_, line)| !line.starts_with("## "));
    let fence = format!("```rooms {folder}");
    let block = section.skip_while(|(_, line)| *line != fence).skip(1);
    let block = block.take_while(|(_, line)| *line != "```");

    let mut ranks = Ranks::new();
    for (rank, (line, rooms)) in block.filter(|(_, line)| !line.is_empty()).enumerate() {
        for room in rooms.split(',').map(str::trim) {
            if room.is_empty() {
                return Err(format!("ARCHITECTURE.md:{line}: a comma without a room beside it"));
            }
            if ranks.insert(room.into(), rank).is_some() {
                return Err(format!("ARCHITECTURE.md:{line}: the room `{room}` is listed twice"));
            }
        }
    }
    if ranks.is_empty() { Err(none()) } else { Ok(ranks) }
}

/// What is wrong with the imports of `found`, line by line.
pub fn faults(found: &Crate, ranks: &Ranks) -> Vec<String> {
    let rooms = found.rooms();
    let mut faults = Vec::new();
    for (room, file) in rooms.iter().filter(|(room, _)| !ranks.contains_key(**room)) {
        faults.push(format!(
            "{file}: the room `{room}` is not listed; add it to ```rooms {} in ARCHITECTURE.md",
            found.folder
        ));
    }
    for room in ranks.keys().filter(|room| !rooms.contains_key(room.as_str())) {
        faults.push(format!(
            "ARCHITECTURE.md: {} has no room `{room}`; take it out of ```rooms {}",
            found.folder, found.folder
        ));
    }
    for (index, module) in found.modules.iter().enumerate() {
        for mention in &module.mentions {
            let place = format!("{}:{}", module.file, mention.line);
            let Some(room) = found.room(index) else {
                faults.extend(other_crate(found, &place, &mention.path));
                continue;
            };
            let mut through = Vec::new();
            let end = found.resolve(index, &mention.path, &mut through);
            if end == Found::Outside && through.is_empty() {
                faults.extend(other_crate(found, &place, &mention.path));
            }
            // A `use` line of the module itself leads there, and is looked at by itself.
            if through.first() == Some(&index) {
                continue;
            }
            if let Found::Item(ROOT) | Found::Unknown(ROOT) = end {
                faults.push(format!(
                    "{place}: room `{room}` uses `{}` of the crate's root, which stands above all \
                     rooms; move it into a room below",
                    mention.text()
                ));
            }
            // Every room on the way counts, but a room is named once, with the last file.
            let mut ends: Vec<usize> = through.into_iter().chain(end.module()).collect();
            if let (Kind::Glob { .. }, Found::Module(facade)) = (&mention.kind, end) {
                for export in found.exports(facade) {
                    ends.extend(found.resolve(facade, &export.path, &mut Vec::new()).module());
                }
            }
            let others: BTreeMap<&str, usize> =
                ends.into_iter().filter_map(|end| Some((found.room(end)?, end))).collect();
            for (other, end) in others {
                let (Some(own), Some(rank)) = (ranks.get(room), ranks.get(other)) else { continue };
                if other == room || rank > own {
                    continue;
                }
                let stands = if rank == own { "beside" } else { "above" };
                faults.push(format!(
                    "{place}: room `{room}` imports from `{other}` ({}, in {}), which stands \
                     {stands} it in the order of ARCHITECTURE.md; move what both need into a room \
                     below both, or state another order",
                    mention.text(),
                    found.modules[end].file
                ));
            }
        }
    }
    faults.sort();
    faults.dedup();
    faults
}

/// A path to a crate of the workspace that stands above.
fn other_crate(found: &Crate, place: &str, path: &[String]) -> Option<String> {
    let own = CRATES.iter().position(|(folder, _)| *folder == found.folder)?;
    let (_, name) = CRATES[..own].iter().find(|(_, name)| *name == path[0])?;
    Some(format!(
        "{place}: {} names the crate {name} ({}), which stands above it: imports go runner → \
         plugins → core",
        found.folder,
        path.join("::")
    ))
}

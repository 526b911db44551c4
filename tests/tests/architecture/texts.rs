//! Rules for single files: length, width, and what no file may hold.

use crate::{Tree, tokens};
use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::path::Path;

/// Greatest number of lines of a source file.
const LINES: usize = 500;

/// Greatest number of characters of a line of Markdown.
const WIDTH: usize = 100;

/// Endings of files that are sources.
const SOURCES: [&str; 6] = [".rs", ".py", ".h", ".cpp", ".js", ".css"];

/// Files that a program writes, each with that program.
pub const GENERATED: [(&str, &str); 1] = [("core/include/gauntlet.h", "cbindgen, from abi.rs")];

/// Source files that are too long.
pub fn too_long(tree: &Tree, generated: &[(&str, &str)]) -> Vec<String> {
    let gone = generated.iter().filter(|(file, _)| !tree.contains_key(*file));
    let gone = gone.map(|(file, by)| {
        format!("{file} ({by}) is missing; take it out of the list of generated files")
    });
    let written = tree.iter().filter(|(file, _)| generated.iter().all(|(other, _)| *file != other));
    let long = written.filter_map(|(file, text)| {
        let lines = text.lines().count();
        let source = SOURCES.iter().any(|ending| file.ends_with(ending));
        (source && lines > LINES).then(|| {
            format!("{file} has {lines} lines, expected at most {LINES}; cut it by subject")
        })
    });
    gone.chain(long).collect()
}

/// Lines of Markdown that are too wide. Rows of tables and lines that are a single link cannot be
/// broken.
pub fn too_wide(tree: &Tree) -> Vec<String> {
    let mut faults = Vec::new();
    for (file, text) in tree.iter().filter(|(file, _)| has_extension(file, "md")) {
        for (n, line) in text.lines().enumerate() {
            let width = line.chars().count();
            if width > WIDTH && !line.trim_start().starts_with('|') && !link(line) {
                let n = n + 1;
                faults.push(format!(
                    "{file}:{n} is {width} characters wide, expected at most {WIDTH}; break it"
                ));
            }
        }
    }
    faults
}

/// Whether the line is one address, alone, in brackets, as a list's item or as the target of a
/// reference.
fn link(line: &str) -> bool {
    let rest = line.trim_start().trim_start_matches("- ");
    let address = match rest.split_once("]: ") {
        Some((label, address)) if label.starts_with('[') => address,
        _ => rest.rsplit_once("](").map_or(rest, |(label, address)| match label {
            label if label.starts_with('[') && !label.contains("](") => address,
            _ => rest,
        }),
    };
    let address = address.trim_start_matches('<');
    (address.starts_with("http") || rest.starts_with('[')) && !address.contains(' ')
}

/// Macros that stand for work to be done, and ignored tests that do not say why.
pub fn undone(tree: &Tree) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for (file, text) in tree.iter().filter(|(file, _)| has_extension(file, "rs")) {
        let tokens: TokenStream =
            text.parse().map_err(|error| format!("{file} cannot be parsed: {error}"))?;
        look(file, tokens, &mut faults);
    }
    Ok(faults)
}

fn look(file: &str, tokens: TokenStream, faults: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (n, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(name) if tokens::is(tokens.get(n + 1), '!') => {
                let line = name.span().start().line;
                if ["todo", "unimplemented", "dbg"].iter().any(|banned| name == banned) {
                    faults.push(format!("{file}:{line}: `{name}!`; finish it, or take it out"));
                }
            }
            TokenTree::Group(group) => {
                let inner = group.stream();
                let attribute = group.delimiter() == Delimiter::Bracket
                    && n.checked_sub(1).is_some_and(|n| tokens::is(tokens.get(n), '#'));
                if attribute && inner.to_string() == "ignore" {
                    let line = group.span_open().start().line;
                    faults.push(format!(
                        "{file}:{line}: `#[ignore]` without a reason; write `#[ignore = \"…\"]`"
                    ));
                }
                look(file, inner, faults);
            }
            _ => {}
        }
    }
}

/// Modules whose own file stands beside their folder.
pub fn beside_their_folder(tree: &Tree) -> Vec<String> {
    let modules = tree.keys().filter_map(|file| Some((file, file.strip_suffix(".rs")?)));
    let outside = modules.filter(|(_, stem)| {
        let folder = format!("{stem}/");
        tree.keys().any(|other| other.starts_with(&folder) && has_extension(other, "rs"))
    });
    outside
        .map(|(file, stem)| format!("{file} stands beside its folder; move it to {stem}/mod.rs"))
        .collect()
}

fn has_extension(file: &str, extension: &str) -> bool {
    Path::new(file).extension().is_some_and(|found| found == extension)
}

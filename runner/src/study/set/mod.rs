//! `--set PATH=VALUE`: changes to a study's text before it is parsed, so that settings are checked,
//! shown and stored like everything else in the study.

#[cfg(test)]
mod tests;

use crate::study::part::MemberKind;
use anyhow::{Context, Result, bail, ensure};
use gauntlet_core::params::suggestion;
use std::borrow::Cow;
use std::collections::BTreeSet;
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// The keys of an entry of a list; every other key is one of its parameters.
const OWN: [&str; 6] = ["name", "label", "preset", "params", "goals", "weights"];

/// Further keys of a model, see [`crate::study::Samples`].
const DRAWS: [&str; 2] = ["samples", "judge_samples"];

/// Keys of `[data]` that exclude each other: setting the first removes the others.
const INSTEAD: [(&str, &[&str]); 2] =
    [("folder", &["source"]), ("source", &["folder", "labels", "first_label", "classes"])];

/// Keys whose values are paths. On the command line they are relative to the current folder, not to
/// the study's.
const PATHS: [&str; 4] = ["folder", "labels", "classes", "weights"];

/// The text of a study with the settings, each `PATH=VALUE`, applied: to what it names, and to the
/// members that join it. Text that is not TOML is returned as it is; parsing it gives the error.
///
/// # Errors
/// When a setting does not have that form, or its path leads nowhere. Unknown keys and values of
/// the wrong type are found when the study is parsed.
pub(super) fn apply<'a>(
    text: &'a str,
    settings: &[String],
    joining: &mut [JoiningEntry],
) -> Result<Cow<'a, str>> {
    let settings = settings.iter().map(|text| Setting::parse(text)).collect::<Result<Vec<_>>>()?;
    applied(text, &settings, joining)
}

/// The text with those settings applied that are no member's: they decide who joins the study, and
/// where its plugins are.
///
/// # Errors
/// See [`apply`].
pub(super) fn apply_without_members<'a>(
    text: &'a str,
    settings: &[String],
) -> Result<Cow<'a, str>> {
    let mut settings =
        settings.iter().map(|text| Setting::parse(text)).collect::<Result<Vec<_>>>()?;
    settings.retain(|setting| setting.kind.is_none());
    applied(text, &settings, &mut [])
}

/// A member that joins a study without being named in its text, as an entry that settings apply to.
pub(super) struct JoiningEntry {
    /// The member's kind.
    pub kind: MemberKind,
    /// The registered name.
    pub name: String,
    /// The entry that the study would have, if it named the member.
    document: DocumentMut,
}

impl JoiningEntry {
    /// A member of this registered name, with nothing set.
    pub fn new(kind: MemberKind, name: &str) -> Self {
        let mut document = DocumentMut::new();
        document.insert("name", toml_edit::value(name));
        Self { kind, name: name.to_owned(), document }
    }

    /// The entry's text, if anything is set. `goals` are the goals of an attack that has none set.
    pub fn text(&self, goals: &[&str]) -> Option<String> {
        if self.document.len() == 1 {
            return None;
        }
        let mut document = self.document.clone();
        if self.kind == MemberKind::Attack && !document.contains_key("goals") {
            document.insert(
                "goals",
                toml_edit::value(goals.iter().copied().collect::<toml_edit::Array>()),
            );
        }
        Some(document.to_string())
    }
}

/// A setting: `PATH=VALUE`.
struct Setting<'a> {
    text: &'a str,
    /// The kind of the members whose setting it is.
    kind: Option<MemberKind>,
    /// The path below that.
    path: &'a str,
    value: &'a str,
}

impl<'a> Setting<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let (path, value) = text
            .split_once('=')
            .context("PATH=VALUE is expected, such as `--set seed=7`")
            .with_context(|| format!("--set {text}"))?;
        let path = path.trim();
        let below = |kind: &MemberKind| {
            let rest = path.strip_prefix(kind.list()).or_else(|| path.strip_prefix(kind.name()))?;
            Some((*kind, rest.strip_prefix('.')?))
        };
        Ok(match MemberKind::ALL.iter().find_map(below) {
            Some((kind, path)) => Self { text, kind: Some(kind), path, value },
            None => Self { text, kind: None, path, value },
        })
    }
}

fn applied<'a>(
    text: &'a str,
    settings: &[Setting],
    joining: &mut [JoiningEntry],
) -> Result<Cow<'a, str>> {
    if settings.is_empty() {
        return Ok(text.into());
    }
    let Ok(mut document) = text.parse::<DocumentMut>() else { return Ok(text.into()) };
    for setting in settings {
        set(&mut document, setting, joining).with_context(|| format!("--set {}", setting.text))?;
    }
    Ok(document.to_string().into())
}

fn set(document: &mut DocumentMut, setting: &Setting, joining: &mut [JoiningEntry]) -> Result<()> {
    let Setting { kind, path, value, .. } = *setting;
    if let Some(kind) = kind {
        return set_in_list(document, kind, path, value, joining);
    }
    let keys = split(path)?;
    if let [section, key] = keys.as_slice()
        && section == "data"
        && let Some(data) = document.get_mut("data").and_then(Item::as_table_like_mut)
    {
        for other in INSTEAD.iter().filter(|(new, _)| new == key).flat_map(|(_, others)| *others) {
            data.remove(other);
        }
    }
    put(document.as_table_mut(), &keys, parse(&keys, value)?)
}

/// Sets a key of the members that a path selects: entries of the study's list, and those that join
/// them.
fn set_in_list(
    document: &mut DocumentMut,
    kind: MemberKind,
    path: &str,
    value: &str,
    joining: &mut [JoiningEntry],
) -> Result<()> {
    let list = kind.list();
    let mut entries = document.get_mut(list).map_or_else(|| Ok(Vec::new()), entries)?;
    let named = entries.len();
    let of_kind = joining.iter_mut().filter(|entry| entry.kind == kind);
    entries.extend(of_kind.map(|entry| entry.document.as_table_mut() as &mut dyn TableLike));
    ensure!(
        !entries.is_empty(),
        "the study has no `{list}` of its own, and none join it: name them in it"
    );
    let names: Vec<Names> = entries.iter().map(|entry| Names::of(*entry)).collect();
    let (chosen, rest) = choose(&names, path, kind)?;
    let mut keys = split(rest)?;
    let is_model = kind == MemberKind::Model;
    // A module has no parameters: all keys are its own.
    let is_module = chosen.iter().any(|&n| entries[n].contains_key("kind"));
    let own = OWN.contains(&keys[0].as_str()) || is_model && DRAWS.contains(&keys[0].as_str());
    if !own && !is_module {
        keys.insert(0, "params".to_owned());
    }
    if let Some(&joins) = chosen.iter().find(|&&n| n >= named && keys[0] == "name") {
        bail!(
            "`{}` joins the study by itself, under the name that it is registered by; `label` is \
             its name in tables",
            names[joins].name
        );
    }
    let value = parse(&keys, value)?;
    chosen.into_iter().try_for_each(|n| put(entries[n], &keys, value.clone()))
}

/// The entries of a list as tables; a name alone becomes a table with that name.
fn entries(list: &mut Item) -> Result<Vec<&mut dyn TableLike>> {
    match list {
        Item::ArrayOfTables(tables) => {
            Ok(tables.iter_mut().map(|table| table as &mut dyn TableLike).collect())
        }
        Item::Value(Value::Array(values)) => values.iter_mut().map(entry).collect(),
        _ => bail!("the study has something else than a list there"),
    }
}

fn entry(value: &mut Value) -> Result<&mut dyn TableLike> {
    if let Value::String(name) = value {
        let mut table = InlineTable::from_iter([("name", name.value().as_str())]);
        *table.decor_mut() = name.decor().clone();
        *value = Value::InlineTable(table);
    }
    Ok(value
        .as_inline_table_mut()
        .context("the study has something else than names and tables there")?)
}

/// The names of an entry.
struct Names {
    label: String,
    name: String,
}

impl Names {
    fn of(entry: &dyn TableLike) -> Self {
        let text = |key: &str| entry.get(key).and_then(Item::as_str).map(str::to_owned);
        let name = text("name").unwrap_or_default();
        Self { label: text("label").unwrap_or_else(|| name.clone()), name }
    }

    fn both(&self) -> [&str; 2] {
        [&self.label, &self.name]
    }
}

/// The entries that the beginning of a path selects, and the rest of the path. A full label or name
/// comes first, since it may have dots in it; then a pattern; then the beginning of names, if all
/// of these are of one kind.
fn choose<'a>(entries: &[Names], path: &'a str, kind: MemberKind) -> Result<(Vec<usize>, &'a str)> {
    let those = |wanted: &dyn Fn(&Names) -> bool| -> Vec<usize> {
        (0..entries.len()).filter(|&n| wanted(&entries[n])).collect()
    };
    let rest_after = |name: &str| path.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    let in_full = entries
        .iter()
        .flat_map(Names::both)
        .filter(|name| rest_after(name).is_some())
        .max_by_key(|name| name.len());
    if let Some(name) = in_full {
        let labelled = those(&|entry| entry.label == name);
        let chosen =
            if labelled.is_empty() { those(&|entry| entry.name == name) } else { labelled };
        return Ok((chosen, rest_after(name).unwrap_or_default()));
    }
    let first = split(path)?.swap_remove(0);
    let rest =
        path[first.len() + 2 * usize::from(path.starts_with(['"', '\'']))..].strip_prefix('.');
    let rest = rest.with_context(|| {
        format!("what of `{first}` is to be set? Such as `--set {kind}.{first}.label=mine`")
    })?;
    let pattern = glob::Pattern::new(&first).with_context(|| format!("`{first}` is no pattern"))?;
    let matching = those(&|entry| entry.both().iter().any(|name| pattern.matches(name)));
    if !matching.is_empty() {
        return Ok((matching, rest));
    }
    let beginning = those(&|entry| entry.both().iter().any(|name| name.starts_with(&first)));
    let kinds: BTreeSet<&str> = beginning.iter().map(|&n| entries[n].name.as_str()).collect();
    let labels: Vec<&str> = entries.iter().map(|entry| entry.label.as_str()).collect();
    match kinds.len() {
        1 => Ok((beginning, rest)),
        0 => {
            let known: Vec<&str> = entries.iter().flat_map(Names::both).collect();
            bail!(
                "the study has no {kind} `{first}`{}; there are: {}",
                suggestion(&first, &known),
                labels.join(", ")
            )
        }
        _ => {
            let meant: Vec<&str> = beginning.iter().map(|&n| labels[n]).collect();
            bail!("`{first}` may mean {}: `{first}*` sets all of them", meant.join(", "))
        }
    }
}

/// The keys of a path. A key with dots in it is quoted.
fn split(path: &str) -> Result<Vec<String>> {
    let mut keys = vec![String::new()];
    let mut quote = None;
    for c in path.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => quote = Some(c),
            ('.', None) => keys.push(String::new()),
            _ => keys.last_mut().expect("there is a first key").push(c),
        }
    }
    ensure!(quote.is_none(), "a quote is not closed in the path `{path}`");
    ensure!(
        keys.iter().all(|key| !key.is_empty()),
        "a key is missing in the path `{path}`: keys with dots between them are expected"
    );
    Ok(keys)
}

/// A value as TOML, or else as text. An empty value removes the setting.
fn parse(keys: &[String], text: &str) -> Result<Option<Value>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let value = text.parse().unwrap_or_else(|_| Value::from(text));
    let is_path = keys.len() <= 2 && keys.last().is_some_and(|key| PATHS.contains(&key.as_str()));
    Ok(Some(match value.as_str().filter(|_| is_path) {
        None => value,
        Some(path) => {
            let path = std::path::absolute(path).with_context(|| format!("`{path}` is no path"))?;
            Value::from(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?)
        }
    }))
}

fn put(table: &mut dyn TableLike, keys: &[String], value: Option<Value>) -> Result<()> {
    let (key, rest) = keys.split_first().expect("a path has a key");
    if rest.is_empty() {
        match value {
            Some(mut value) => match table.get_mut(key) {
                Some(Item::Value(old)) => {
                    *value.decor_mut() = old.decor().clone();
                    *old = value;
                }
                _ => drop(table.insert(key, Item::Value(value))),
            },
            None => drop(table.remove(key)),
        }
        return Ok(());
    }
    if table.get(key).is_none() {
        let Some(value) = value else { return Ok(()) };
        let mut new = Table::new();
        put(&mut new, rest, Some(value))?;
        table.insert(key, Item::Value(Value::InlineTable(new.into_inline_table())));
        return Ok(());
    }
    let below = table.get_mut(key).and_then(Item::as_table_like_mut);
    put(
        below.with_context(|| {
            format!("`{key}` has nothing below it: `{}` leads nowhere", rest.join("."))
        })?,
        rest,
        value,
    )
}

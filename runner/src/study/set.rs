//! `--set PATH=VALUE`: changes to a study's text before it is parsed, so that settings are checked,
//! shown and stored like everything else in the study.

use anyhow::{Context, Result, bail, ensure};
use gauntlet_core::params::suggestion;
use std::borrow::Cow;
use std::collections::BTreeSet;
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// The lists whose entries have names: the singular that a path uses, and the key in the study.
const LISTS: [(&str, &str); 3] =
    [("model", "models"), ("attack", "attacks"), ("metric", "metrics")];

/// The keys of an entry of a list; every other key is one of its parameters.
const OWN: [&str; 6] = ["name", "label", "preset", "params", "goals", "weights"];

/// Keys of `[data]` that exclude each other: setting the first removes the others.
const INSTEAD: [(&str, &[&str]); 2] =
    [("folder", &["source"]), ("source", &["folder", "labels", "first_label", "classes"])];

/// Keys whose values are paths. On the command line they are relative to the current folder, not to
/// the study's.
const PATHS: [&str; 4] = ["folder", "labels", "classes", "weights"];

/// The text of a study with the settings, each `PATH=VALUE`, applied. Text that is not TOML is
/// returned as it is; parsing it gives the error.
///
/// # Errors
/// When a setting does not have that form, or its path leads nowhere. Unknown keys and values of
/// the wrong type are found when the study is parsed.
pub(super) fn apply<'a>(text: &'a str, settings: &[String]) -> Result<Cow<'a, str>> {
    if settings.is_empty() {
        return Ok(text.into());
    }
    let Ok(mut document) = text.parse::<DocumentMut>() else { return Ok(text.into()) };
    for setting in settings {
        set(&mut document, setting).with_context(|| format!("--set {setting}"))?;
    }
    Ok(document.to_string().into())
}

fn set(document: &mut DocumentMut, setting: &str) -> Result<()> {
    let (path, value) =
        setting.split_once('=').context("PATH=VALUE is expected, such as `--set seed=7`")?;
    let path = path.trim();
    if let Some((list, rest)) = LISTS.iter().find_map(|(one, all)| {
        let rest = path.strip_prefix(all).or_else(|| path.strip_prefix(one))?.strip_prefix('.')?;
        Some((all, rest))
    }) {
        return set_in_list(document, list, rest, value);
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

/// Sets a key of the entries of a list that a path selects.
fn set_in_list(document: &mut DocumentMut, list: &str, path: &str, value: &str) -> Result<()> {
    let mut entries = entries(
        document
            .get_mut(list)
            .with_context(|| format!("the study has no `{list}` of its own: name them in it"))?,
    )?;
    let names: Vec<Names> = entries.iter().map(|entry| Names::of(*entry)).collect();
    let (chosen, rest) = choose(&names, path, list)?;
    let mut keys = split(rest)?;
    if !OWN.contains(&keys[0].as_str()) {
        keys.insert(0, "params".to_owned());
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
fn choose<'a>(entries: &[Names], path: &'a str, list: &str) -> Result<(Vec<usize>, &'a str)> {
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
        format!(
            "what of `{first}` is to be set? Such as `--set {}.{first}.label=mine`",
            list.trim_end_matches('s')
        )
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
                "the study has no {} `{first}`{}; there are: {}",
                list.trim_end_matches('s'),
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

#[cfg(test)]
mod tests {
    use super::*;

    const STUDY: &str = r#"name = "toy"
metrics = ["l2", { name = "ssim" }] # how large

[[attacks]]
name = "fgsm"
label = "fgsm_0.1" # one tenth
params = { epsilon = 0.1 }

[[attacks]]
name = "fgsm"
label = "fgsm_0.2"

[[attacks]]
name = "cw_l2"
[attacks.params]
kappa = 1

[data]
source = "fashion-mnist"
"#;

    fn with(settings: &[&str]) -> String {
        let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
        apply(STUDY, &settings).unwrap().into_owned()
    }

    fn refusal(setting: &str) -> String {
        format!("{:#}", apply(STUDY, &[setting.to_owned()]).unwrap_err())
    }

    /// What a setting changes: the lines that go, and those that come.
    fn changed(setting: &str) -> (Vec<String>, Vec<String>) {
        let after = with(&[setting]);
        let missing = |from: &str, to: &str| {
            from.lines()
                .filter(|line| !to.lines().any(|other| other == *line))
                .map(str::to_owned)
                .collect()
        };
        (missing(STUDY, &after), missing(&after, STUDY))
    }

    #[test]
    fn what_is_set_stands_where_it_belongs_and_the_rest_stays() {
        for (setting, gone, come) in [
            ("seed=7", &[][..], &["seed = 7"][..]),
            ("name = other", &["name = \"toy\""], &["name = \"other\""]),
            ("data.images=10", &[], &["images = 10"]),
            ("transfer.policy=resize", &[], &["transfer = { policy = \"resize\" }"]),
            (
                "attack.fgsm_0.1.epsilon=0.3",
                &["params = { epsilon = 0.1 }"],
                &["params = { epsilon = 0.3 }"],
            ),
            (
                "attacks.fgsm_0.1.params.epsilon=0.3",
                &["params = { epsilon = 0.1 }"],
                &["params = { epsilon = 0.3 }"],
            ),
            ("attack.fgsm_0.2.norm=l1", &[], &["params = { norm = \"l1\" }"]),
            ("attack.cw_l2.kappa=20", &["kappa = 1"], &["kappa = 20"]),
            ("attack.cw.kappa=20", &["kappa = 1"], &["kappa = 20"]),
            ("attack.cw.goals=[\"random\"]", &[], &["goals = [\"random\"]"]),
            ("attack.fgsm_0.1.label=", &["label = \"fgsm_0.1\" # one tenth"], &[]),
            (
                "attack.\"fgsm_0.1\".label=f",
                &["label = \"fgsm_0.1\" # one tenth"],
                &["label = \"f\" # one tenth"],
            ),
            (
                "metric.l2.label=far",
                &["metrics = [\"l2\", { name = \"ssim\" }] # how large"],
                &["metrics = [{ name = \"l2\", label = \"far\" }, { name = \"ssim\" }] # how \
                   large"],
            ),
            (
                "metrics=[]",
                &["metrics = [\"l2\", { name = \"ssim\" }] # how large"],
                &["metrics = [] # how large"],
            ),
        ] {
            let (went, came) = changed(setting);
            assert_eq!(
                (
                    went.iter().map(String::as_str).collect::<Vec<_>>(),
                    came.iter().map(String::as_str).collect::<Vec<_>>()
                ),
                (gone.to_vec(), come.to_vec()),
                "{setting}"
            );
        }
        assert_eq!(apply(STUDY, &[]).unwrap(), STUDY);
        assert_eq!(apply("no = = toml", &["seed=1".to_owned()]).unwrap(), "no = = toml");
    }

    #[test]
    fn several_entries_are_set_at_once() {
        for pattern in ["fgsm", "fgsm*", "fgsm_0", "\"fgsm_0.?\""] {
            let text = with(&[&format!("attack.{pattern}.epsilon=0.7")]);
            assert_eq!(text.matches("epsilon = 0.7").count(), 2, "{pattern}: {text}");
        }
        assert_eq!(
            with(&["attack.*.goals=[\"second\"]"]).matches("goals = [\"second\"]").count(),
            3
        );
    }

    #[test]
    fn a_folder_comes_in_the_place_of_a_source_and_starts_from_here() {
        let here = std::env::current_dir().unwrap();
        let (gone, come) = changed("data.folder=photos");
        assert_eq!(gone, ["source = \"fashion-mnist\""]);
        assert_eq!(come, [format!("folder = \"{}\"", here.join("photos").display())]);
        let back = apply(
            &with(&["data.folder=photos", "data.labels=/l.csv"]),
            &["data.source=eccv2018".to_owned()],
        )
        .unwrap()
        .into_owned();
        assert!(back.ends_with("[data]\nsource = \"eccv2018\"\n"), "{back}");
    }

    #[test]
    fn a_path_that_leads_nowhere_says_where_it_could() {
        for (setting, expected) in [
            ("seed", "--set seed: PATH=VALUE is expected, such as `--set seed=7`"),
            (
                "attack.cwl2.kappa=1",
                "--set attack.cwl2.kappa=1: the study has no attack `cwl2`, did you mean `cw_l2`?; \
                 there are: fgsm_0.1, fgsm_0.2, cw_l2",
            ),
            (
                "attack.cw_l2=1",
                "--set attack.cw_l2=1: what of `cw_l2` is to be set? Such as `--set \
                 attack.cw_l2.label=mine`",
            ),
            (
                "model.x.weights=w",
                "--set model.x.weights=w: the study has no `models` of its own: name them in it",
            ),
            (
                "attack..kappa=1",
                "--set attack..kappa=1: a key is missing in the path `.kappa`: keys with dots \
                 between them are expected",
            ),
            (
                "attack.\"cw.kappa=1",
                "--set attack.\"cw.kappa=1: a quote is not closed in the path `\"cw.kappa`",
            ),
            ("name.x=1", "--set name.x=1: `name` has nothing below it: `x` leads nowhere"),
        ] {
            assert_eq!(refusal(setting), expected);
        }
        let two = STUDY.replace("\"cw_l2\"", "\"fancy\"");
        let error = apply(&two, &["attack.f.kappa=1".to_owned()]).unwrap_err();
        assert_eq!(
            format!("{error:#}"),
            "--set attack.f.kappa=1: `f` may mean fgsm_0.1, fgsm_0.2, fancy: `f*` sets all of them"
        );
    }
}

//! Compares two results folders, outcome by outcome: outcomes that both have make pairs.

use crate::analysis::stats;
use crate::report::outcomes::{self, Outcome};
use crate::store::rows::OutcomeRow;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// What two results folders have in common, and how they differ.
#[derive(Debug)]
pub struct Comparison {
    /// Attacks on models: source and target are the same. In the first folder's order.
    pub attacks: Vec<Pairing>,
    /// Transfer: pairs of different models.
    pub transfer: Vec<Pairing>,
    /// Number of outcomes that both have.
    pub common: usize,
    /// Number of outcomes that the first folder alone has.
    pub first_only: usize,
    /// Number of outcomes that the second folder alone has.
    pub second_only: usize,
    /// Models, attacks and images that the first, and the second, alone has, such as `model
    /// vgg_16`.
    pub names: [BTreeSet<String>; 2],
    /// Settings that differ between models or attacks of the same label, in words.
    pub settings: Vec<String>,
    /// p of all tests, ascending.
    tests: Vec<f64>,
}

/// A source, target, attack and goal that both folders have.
#[derive(Clone, Debug, Default)]
pub struct Pairing {
    /// The model that was attacked.
    pub source: String,
    /// The model that was given the pixels.
    pub target: String,
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: String,
    /// Number of images that count in both: attacked, and classified correctly by the target
    /// without the attack.
    pub images: usize,
    /// Number of them on which the goal is met, in the first folder and in the second.
    pub successes: [usize; 2],
    /// Number of them on which it is met in the first alone, and in the second alone.
    pub changed: [usize; 2],
    /// p of McNemar's exact test: probability of changes at least as unequal by chance.
    pub p: f64,
    /// Distortions by metric, on the images on which both succeed. Empty for transfer.
    pub distortions: BTreeMap<String, Shift>,
    differences: BTreeMap<String, Vec<(f64, f64)>>,
}

/// Paired distortions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Number of pairs.
    pub images: usize,
    /// Mean distortion in the first folder and in the second.
    pub means: [f64; 2],
    /// p of Wilcoxon's signed-rank test: probability of differences as one-sided by chance.
    pub p: f64,
}

impl Comparison {
    /// A p corrected for the number of tests in the comparison, by Holm's method.
    pub fn corrected(&self, p: f64) -> f64 {
        stats::holm(&self.tests, p)
    }
}

/// Compares the outcomes of two results folders. Two outcomes are a pair when source, target,
/// attack and goal have the same labels, the goal aims at the same class, and the image has the
/// same content.
///
/// # Errors
/// When a folder has no outcomes, or they are damaged.
pub fn compare(first: &Path, second: &Path) -> Result<Comparison> {
    let mut names: [BTreeSet<String>; 2] = Default::default();
    let note = |names: &mut BTreeSet<String>, outcome: &Outcome| {
        let row = &outcome.row;
        for (kind, name) in [
            ("model", &row.source),
            ("model", &row.target),
            ("attack", &row.attack),
            ("image", &row.image),
        ] {
            names.insert(format!("{kind} {name}"));
        }
    };
    let mut before: HashMap<Key, Kept> = HashMap::new();
    let mut order: Vec<Group> = Vec::new();
    let mut seen: BTreeSet<Group> = BTreeSet::new();
    let mut keys = Keys::default();
    outcomes::read(first, |_, outcome| {
        note(&mut names[0], &outcome);
        let key = keys.of(&outcome.row);
        if seen.insert(key.0.clone()) {
            order.push(key.0.clone());
        }
        before.insert(key, kept(outcome));
        Ok(())
    })?;
    let mut pairings: HashMap<Group, Pairing> = HashMap::new();
    let mut keys = Keys::default();
    let (mut common, mut second_only) = (0, 0);
    outcomes::read(second, |_, outcome| {
        note(&mut names[1], &outcome);
        let key = keys.of(&outcome.row);
        let Some(old) = before.remove(&key) else {
            second_only += 1;
            return Ok(());
        };
        common += 1;
        let (source, target, attack, goal) = key.0.clone();
        let pairing = pairings.entry(key.0).or_insert_with(|| Pairing {
            source,
            target,
            attack,
            goal,
            ..Pairing::default()
        });
        pairing.add(&old, &kept(outcome));
        Ok(())
    })?;
    let pairings = order.iter().filter_map(|group| pairings.remove(group)).map(Pairing::tested);
    let (attacks, transfer): (Vec<Pairing>, Vec<Pairing>) =
        pairings.partition(|pairing| pairing.source == pairing.target);
    let of = |pairing: &Pairing| {
        std::iter::once(pairing.p)
            .chain(pairing.distortions.values().map(|shift| shift.p))
            .collect::<Vec<_>>()
    };
    let tests = stats::sorted(attacks.iter().chain(&transfer).flat_map(of).collect());
    let [a, b] = &names;
    let alone = [a - b, b - a];
    let settings = settings([first, second])?;
    Ok(Comparison {
        attacks,
        transfer,
        common,
        first_only: before.len(),
        second_only,
        names: alone,
        settings,
        tests,
    })
}

/// Source, target, attack and goal.
type Group = (String, String, String, String);
/// A group, the image's content, the class aimed at, and which of several such images it is.
type Key = (Group, String, Option<i64>, usize);

/// Gives every outcome of a folder a key of its own.
#[derive(Default)]
struct Keys(HashMap<(Group, String, Option<i64>), usize>);

impl Keys {
    fn of(&mut self, row: &OutcomeRow) -> Key {
        let group = (row.source.clone(), row.target.clone(), row.attack.clone(), row.goal.clone());
        let seen =
            self.0.entry((group.clone(), row.image_hash.clone(), row.target_class)).or_default();
        *seen += 1;
        (group, row.image_hash.clone(), row.target_class, *seen)
    }
}

/// What a comparison needs of an outcome.
struct Kept {
    counts: bool,
    success: bool,
    distortions: BTreeMap<String, f64>,
}

fn kept(outcome: Outcome) -> Kept {
    let own = outcome.row.source == outcome.row.target;
    let plain = |(name, value): (String, f64)| {
        Some((name.strip_prefix(outcomes::DISTORTION)?.to_owned(), value))
    };
    let distortions = if own {
        outcome.distortions.into_iter().filter_map(plain).collect()
    } else {
        BTreeMap::new()
    };
    Kept {
        counts: outcome.row.status.attempted() && outcome.row.target_correct,
        success: outcome.row.success,
        distortions,
    }
}

impl Pairing {
    fn add(&mut self, old: &Kept, new: &Kept) {
        if !(old.counts && new.counts) {
            return;
        }
        self.images += 1;
        for (n, (this, other)) in
            [(old.success, new.success), (new.success, old.success)].into_iter().enumerate()
        {
            self.successes[n] += usize::from(this);
            self.changed[n] += usize::from(this && !other);
        }
        if old.success && new.success {
            for (metric, value) in
                old.distortions.iter().filter(|(metric, _)| !metric.ends_with("_8bit"))
            {
                if let Some(other) = new.distortions.get(metric) {
                    self.differences.entry(metric.clone()).or_default().push((*value, *other));
                }
            }
        }
    }

    fn tested(mut self) -> Self {
        self.p = stats::mcnemar(self.changed[0], self.changed[1]);
        let shift = |pairs: &Vec<(f64, f64)>| {
            let mean =
                |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
            let differences: Vec<f64> = pairs.iter().map(|(a, b)| b - a).collect();
            Shift {
                images: pairs.len(),
                means: [mean(|pair| pair.0), mean(|pair| pair.1)],
                p: stats::wilcoxon(&differences),
            }
        };
        self.distortions =
            self.differences.iter().map(|(metric, pairs)| (metric.clone(), shift(pairs))).collect();
        self.differences.clear();
        self
    }
}

/// Settings that differ between models or attacks of the same label, in words.
fn settings(folders: [&Path; 2]) -> Result<Vec<String>> {
    let studies = folders.map(|folder| -> Result<Table> {
        let path = folder.join("study.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        text.parse().with_context(|| format!("{}", path.display()))
    });
    let [first, second] = studies;
    let [first, second] = [first?, second?];
    let members = |study: &Table, kind: &str| -> BTreeMap<String, Table> {
        let all = study
            .get(kind)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_table);
        let named = |member: &Table| {
            ["label", "name"].iter().find_map(|key| member.get(*key)?.as_str().map(str::to_owned))
        };
        all.filter_map(|member| Some((named(member)?, member.clone()))).collect()
    };
    let mut differences = Vec::new();
    for (kind, word) in [("models", "model"), ("attacks", "attack")] {
        let (before, after) = (members(&first, kind), members(&second, kind));
        for (name, member) in &before {
            let Some(other) = after.get(name) else { continue };
            let mut settings: Vec<String> = Vec::new();
            compare_tables("", member, other, &mut settings);
            if !settings.is_empty() {
                differences.push(format!("{word} {name} differs: {}", settings.join("; ")));
            }
        }
    }
    Ok(differences)
}

fn compare_tables(at: &str, a: &Table, b: &Table, differences: &mut Vec<String>) {
    for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
        match (a.get(key), b.get(key)) {
            (Some(Value::Table(a)), Some(Value::Table(b))) => {
                compare_tables(&format!("{at}{key}."), a, b, differences);
            }
            (a, b) if a == b => {}
            (a, b) => {
                let [a, b] = [a, b]
                    .map(|value| value.map_or_else(|| "nothing".to_owned(), ToString::to_string));
                differences.push(format!("{at}{key} is {a} in A, {b} in B"));
            }
        }
    }
}

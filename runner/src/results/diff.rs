//! Compares two results folders, outcome by outcome: outcomes that both have make pairs.

use crate::analysis::stats;
use crate::report::outcomes::{self, Batches, Outcome};
use crate::results::join::{Key, Stream, join};
use crate::store::table_rows::OutcomeRow;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;
use std::rc::Rc;
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

/// Compares the outcomes of two results folders. Both are read once, side by side: in memory is what
/// waits for its partner, and the paired distortions of successes, which the test needs. Two outcomes are a pair when source, target,
/// attack and goal have the same labels, the goal aims at the same class, and the image has the
/// same content.
///
/// # Errors
/// When a folder has no outcomes, or they are damaged.
pub fn compare(first: &Path, second: &Path) -> Result<Comparison> {
    let (mut names, mut metrics) = ([Names::default(), Names::default()], Metrics::default());
    let [of_first, of_second] = &mut names;
    let mut groups = Groups::default();
    let (first_rows, second_rows) = (Batches::open(first)?, Batches::open(second)?);
    let (length, second_length) = (first_rows.length, second_rows.length);
    let mut other_metrics = Metrics::default();
    let before = first_rows.map(|outcomes| {
        let item = |outcome: Outcome| {
            of_first.note(&outcome.row);
            let group = groups.of(&outcome.row);
            (key(&outcome.row), Kept::of(&outcome, group, &mut metrics))
        };
        Ok(outcomes?.into_iter().map(item).collect())
    });
    let after = second_rows.map(|outcomes| {
        let item = |outcome: Outcome| {
            of_second.note(&outcome.row);
            (key(&outcome.row), Kept::of(&outcome, 0, &mut other_metrics))
        };
        Ok(outcomes?.into_iter().map(item).collect())
    });
    let mut pairings: BTreeMap<usize, Pairing> = BTreeMap::new();
    let joined = join(
        Stream { batches: before, length },
        Stream { batches: after, length: second_length },
        |old: Kept, new: Kept| pairings.entry(old.group).or_default().add(&old, &new),
    )?;
    let pairings = pairings.into_iter().map(|(group, pairing)| {
        let (source, target, attack, goal) = groups.order[group].clone();
        Pairing { source, target, attack, goal, ..pairing }.tested()
    });
    let (attacks, transfer): (Vec<Pairing>, Vec<Pairing>) =
        pairings.partition(|pairing| pairing.source == pairing.target);
    let of = |pairing: &Pairing| {
        std::iter::once(pairing.p)
            .chain(pairing.distortions.values().map(|shift| shift.p))
            .collect::<Vec<_>>()
    };
    let tests = stats::sorted(attacks.iter().chain(&transfer).flat_map(of).collect());
    let [a, b] = names.map(Names::described);
    let alone = [&a - &b, &b - &a];
    let settings = settings([first, second])?;
    Ok(Comparison {
        attacks,
        transfer,
        common: joined.common,
        first_only: joined.alone[0],
        second_only: joined.alone[1],
        names: alone,
        settings,
        tests,
    })
}

/// Source, target, attack and goal.
type Group = (String, String, String, String);

/// Numbers groups in the order in which they come.
#[derive(Default)]
struct Groups {
    order: Vec<Group>,
    numbers: HashMap<Group, usize>,
}

impl Groups {
    fn of(&mut self, row: &OutcomeRow) -> usize {
        let group = (row.source.clone(), row.target.clone(), row.attack.clone(), row.goal.clone());
        *self.numbers.entry(group).or_insert_with_key(|group| {
            self.order.push(group.clone());
            self.order.len() - 1
        })
    }
}

/// The key that an outcome shares with its partner: of source, target, attack and goal, the image's
/// content, and the class aimed at.
fn key(row: &OutcomeRow) -> Key {
    let mut hasher = blake3::Hasher::new();
    for text in [&row.source, &row.target, &row.attack, &row.goal, &row.image_hash] {
        hasher.update(&text.len().to_le_bytes()).update(text.as_bytes());
    }
    hasher.update(&row.target_class.map_or([0; 9], |class| {
        let mut bytes = [1; 9];
        bytes[1..].copy_from_slice(&class.to_le_bytes());
        bytes
    }));
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

/// Models, attacks and images that outcomes are about.
#[derive(Default)]
struct Names([BTreeSet<String>; 3]);

impl Names {
    fn note(&mut self, row: &OutcomeRow) {
        let Self([models, attacks, images]) = self;
        let note = |names: &mut BTreeSet<String>, name: &String| {
            if !names.contains(name) {
                names.insert(name.clone());
            }
        };
        note(models, &row.source);
        note(models, &row.target);
        note(attacks, &row.attack);
        note(images, &row.image);
    }

    /// Kind and name: `model vgg_16`.
    fn described(self) -> BTreeSet<String> {
        let of = |(kind, names): (&str, BTreeSet<String>)| -> Vec<String> {
            names.iter().map(|name| format!("{kind} {name}")).collect()
        };
        ["model", "attack", "image"].into_iter().zip(self.0).flat_map(of).collect()
    }
}

/// The names of metrics, each in memory once.
#[derive(Default)]
struct Metrics(BTreeSet<Rc<str>>);

impl Metrics {
    fn name(&mut self, name: &str) -> Rc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let new: Rc<str> = name.into();
        self.0.insert(new.clone());
        new
    }
}

/// What a comparison needs of an outcome. Many wait for their partners at a time, so it is small.
struct Kept {
    /// The number of its group, of an outcome of the first folder.
    group: usize,
    counts: bool,
    success: bool,
    /// Distortions of successes on the source. Those of 8-bit images are left out.
    distortions: Vec<(Rc<str>, f64)>,
}

impl Kept {
    fn of(outcome: &Outcome, group: usize, metrics: &mut Metrics) -> Self {
        let row = &outcome.row;
        let counts = row.status.attempted() && row.target_correct;
        let mut distortions = Vec::new();
        if row.source == row.target && counts && row.success {
            for (column, value) in &outcome.distortions {
                if let Some(metric) = column.strip_prefix(outcomes::DISTORTION)
                    && !metric.ends_with("_8bit")
                {
                    distortions.push((metrics.name(metric), *value));
                }
            }
            distortions.shrink_to_fit();
        }
        Self { group, counts, success: row.success, distortions }
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
            for (metric, value) in &old.distortions {
                if let Some((_, other)) = new.distortions.iter().find(|(name, _)| name == metric) {
                    let pairs = match self.differences.get_mut(&**metric) {
                        Some(pairs) => pairs,
                        None => self.differences.entry(metric.to_string()).or_default(),
                    };
                    pairs.push((*value, *other));
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

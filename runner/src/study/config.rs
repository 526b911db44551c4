//! The study file's syntax, and errors that point at its lines.

use super::members::Named;
use super::{GoalKind, Policy, Study};
use crate::data::Source;
use crate::torchscript::{self, Preprocessing, Script};
use crate::weights::WeightsPlace;
use anyhow::{Context, Result, anyhow};
use gauntlet_core::params::{from_table, suggestion};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::{Spanned, Table, Value};

/// A study file. Of models, attacks and metrics, a list that is left out is everything registered
/// that fits; `include` and `exclude` choose, see [`super::members`]. `tie_tolerance` (0 unless
/// given) is when an attack on its source counts as a success: with 0 by the greatest logit alone;
/// above 0 a target also counts whose logit lies within the tolerance of the greatest, as in the
/// published study, where it is 0.001.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub name: Spanned<String>,
    #[serde(default)]
    pub seed: u64,
    pub tie_tolerance: Option<Spanned<f64>>,
    pub cell_timeout: Option<Spanned<f64>>,
    #[serde(default)]
    pub include: Vec<Spanned<String>>,
    #[serde(default)]
    pub exclude: Vec<Spanned<String>>,
    pub plugins: Option<PluginsChoice>,
    pub metrics: Option<Vec<Spanned<Choice>>>,
    pub data: Option<DataChoice>,
    pub models: Option<Vec<ModelChoice>>,
    pub attacks: Option<Vec<AttackChoice>>,
    pub transfer: Option<TransferChoice>,
    #[serde(default)]
    pub probe: ProbeChoice,
}

/// Folders and libraries, and a list of the hashes that may be loaded, see [`crate::libraries`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, as in `from = [\"plugins\"]` under [plugins]")]
pub(super) struct PluginsChoice {
    pub from: Vec<Spanned<PathBuf>>,
    pub lock: Option<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table, as in `source = \"fashion-mnist\"` under [data]"
)]
pub(super) struct DataChoice {
    pub source: Option<NamedSource>,
    pub folder: Option<Spanned<PathBuf>>,
    pub labels: Option<Spanned<PathBuf>>,
    pub first_label: Option<Spanned<i64>>,
    pub classes: Option<Spanned<PathBuf>>,
    pub images: Option<Spanned<usize>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NamedSource {
    FashionMnist,
    Eccv2018,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, as in `{ name = \"vgg_16\" }`")]
pub(super) struct ModelChoice {
    pub kind: Option<ModelKind>,
    pub name: Spanned<String>,
    pub label: Option<String>,
    // Of a registered model:
    pub weights: Option<Spanned<PathBuf>>,
    pub params: Option<Spanned<Table>>,
    // Of a TorchScript module, see [`Script`]:
    pub file: Option<Spanned<PathBuf>>,
    pub side: Option<Spanned<i64>>,
    pub classes: Option<Spanned<i64>>,
    pub label_offset: Option<Spanned<i64>>,
    pub family: Option<Spanned<String>>,
    pub preprocessing: Option<Spanned<Table>>,
}

/// What a model is that is not registered.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModelKind {
    TorchScript,
}

impl ModelChoice {
    /// The file and what it is to be told, if this is a TorchScript module.
    pub fn script(&self, refusal: &Refusal) -> Result<Option<(&Spanned<PathBuf>, Script)>> {
        fn there<T>(
            key: &'static str,
            value: Option<&Spanned<T>>,
        ) -> Option<(&'static str, Range<usize>)> {
            value.map(|value| (key, value.span()))
        }
        let registered =
            [there("weights", self.weights.as_ref()), there("params", self.params.as_ref())];
        let module = [
            there("file", self.file.as_ref()),
            there("side", self.side.as_ref()),
            there("classes", self.classes.as_ref()),
            there("label_offset", self.label_offset.as_ref()),
            there("family", self.family.as_ref()),
            there("preprocessing", self.preprocessing.as_ref()),
        ];
        if self.kind.is_none() {
            return module.into_iter().flatten().next().map_or(Ok(None), |(key, span)| {
                Err(refusal.at(
                    &span,
                    anyhow!(
                        "`{key}` goes with `kind = \"torchscript\"`; a \
                         registered model has `weights` and `params`"
                    ),
                ))
            });
        }
        if let Some((key, span)) = registered.into_iter().flatten().next() {
            return Err(refusal.at(
                &span,
                anyhow!(
                    "a TorchScript module has no `{key}`, but a \
                     `file`, `side`, `classes`, `preprocessing`"
                ),
            ));
        }
        let (Some(file), Some(side), Some(classes)) = (&self.file, &self.side, &self.classes)
        else {
            return Err(refusal.at(
                &self.name.span(),
                anyhow!("a TorchScript module needs `file`, `side` and `classes`"),
            ));
        };
        let preprocessing =
            self.preprocessing.as_ref().map_or(Ok(Preprocessing::default()), |given| {
                from_table(&Preprocessing::default(), given.get_ref())
                    .map_err(|error| refusal.at(&given.span(), error))
            })?;
        let script = Script {
            side: *side.get_ref(),
            classes: *classes.get_ref(),
            label_offset: self.label_offset.as_ref().map_or(0, |offset| *offset.get_ref()),
            family: self
                .family
                .as_ref()
                .map_or_else(torchscript::family, |family| family.get_ref().clone()),
            preprocessing,
        };
        script.check().map_err(|error| {
            // The message begins with the key that is wrong.
            let text = error.to_string();
            let wrong =
                module.into_iter().flatten().find(|(key, _)| text.starts_with(&format!("`{key}`")));
            refusal.at(&wrong.map_or_else(|| self.name.span(), |(_, span)| span), error)
        })?;
        Ok(Some((file, script)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, as in `{ name = \"fgsm\" }`")]
pub(super) struct AttackChoice {
    pub name: Spanned<String>,
    pub label: Option<String>,
    pub preset: Option<Spanned<String>>,
    pub params: Option<Spanned<Table>>,
    #[serde(default = "untargeted")]
    pub goals: Spanned<Vec<GoalKind>>,
}

fn untargeted() -> Spanned<Vec<GoalKind>> {
    Spanned::new(0..0, vec![GoalKind::Untargeted])
}

/// A metric: a table, or its name alone.
pub(super) struct Choice {
    pub name: String,
    pub label: Option<String>,
    pub preset: Option<String>,
    pub params: Option<Table>,
    pub goals: Option<Vec<GoalKind>>,
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            name: String,
            label: Option<String>,
            preset: Option<String>,
            params: Option<Table>,
            goals: Option<Vec<GoalKind>>,
        }

        // An untagged enum would swallow what is wrong and where.
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Choice;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a metric's name, or a table { name, label, preset, params, goals }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Choice, E> {
                Ok(Choice {
                    name: name.to_owned(),
                    label: None,
                    preset: None,
                    params: None,
                    goals: None,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Choice, A::Error> {
                let Full { name, label, preset, params, goals } =
                    Full::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Choice { name, label, preset, params, goals })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// How many images each model is probed with, from the first on, rounded up to slices; 0 for no
/// probe.
#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table, as in `{ images = 64 }`")]
pub(super) struct ProbeChoice {
    pub images: usize,
}

impl Default for ProbeChoice {
    fn default() -> Self {
        Self { images: 64 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table, as in `{ policy = \"native\" }`")]
pub(super) struct TransferChoice {
    pub policy: Policy,
}

impl Named for ModelChoice {
    fn label(&self) -> &str {
        self.label.as_ref().unwrap_or(self.name.get_ref())
    }

    fn name(&self) -> &str {
        self.name.get_ref()
    }
}

impl Named for AttackChoice {
    fn label(&self) -> &str {
        self.label.as_ref().unwrap_or(self.name.get_ref())
    }

    fn name(&self) -> &str {
        self.name.get_ref()
    }
}

impl Named for Spanned<Choice> {
    fn label(&self) -> &str {
        self.get_ref().label.as_ref().unwrap_or(&self.get_ref().name)
    }

    fn name(&self) -> &str {
        &self.get_ref().name
    }
}

/// Turns what is wrong into an error that points at the text.
pub(super) struct Refusal<'a> {
    pub text: &'a str,
    pub place: &'a str,
}

impl Refusal<'_> {
    pub fn parse(&self) -> Result<File> {
        toml::from_str(self.text).map_err(|error| {
            let message = anyhow!("{}", suggested(error.message()));
            error.span().map_or_else(
                || anyhow!("{}: {}", self.place, suggested(error.message())),
                |span| self.at(&span, message),
            )
        })
    }

    /// `place, line 3, column 8: what is wrong`, the line, and carets below it.
    pub fn at(&self, span: &Range<usize>, error: anyhow::Error) -> anyhow::Error {
        let start = span.start.min(self.text.len());
        let (before, after) = self.text.split_at(self.text.floor_char_boundary(start));
        let number = before.matches('\n').count() + 1;
        let head = before.rsplit('\n').next().unwrap_or_default();
        let line = format!("{head}{}", after.split('\n').next().unwrap_or_default());
        let width = self
            .text
            .get(span.clone())
            .map_or(1, |s| s.split('\n').next().unwrap_or_default().chars().count())
            .max(1);
        let column = head.chars().count();
        let gutter = number.to_string();
        let blank = " ".repeat(gutter.len());
        anyhow!(
            "{}, line {number}, column {}: {error:#}\n{blank} |\n{gutter} | {}\n{blank} | {}{}",
            self.place,
            column + 1,
            line.trim_end(),
            " ".repeat(column),
            "^".repeat(width)
        )
    }
}

/// Names what was probably meant instead of an unknown key.
fn suggested(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match names.as_slice() {
        [unknown, known @ ..] if message.starts_with("unknown field ") => {
            let at = "unknown field ``".len() + unknown.len();
            format!(
                "{}{}{}",
                &message[..at],
                suggestion(unknown, known).trim_end_matches('?'),
                &message[at..]
            )
        }
        _ => message.to_owned(),
    }
}

/// The file with everything spelled out.
#[derive(Serialize)]
struct Resolved<'a> {
    name: &'a str,
    seed: u64,
    tie_tolerance: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cell_timeout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugins: Option<Table>,
    metrics: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Table>,
    models: Vec<Table>,
    attacks: Vec<Table>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<Table>,
    probe: ProbeChoice,
}

/// `source` and `images` are those of the study's data, unless they are in memory.
pub(super) fn resolved(
    study: &Study,
    source: Option<&Source>,
    images: Option<usize>,
) -> Result<String> {
    let models = study.models.iter().map(|model| {
        let mut table = part_table(&model.part);
        match &model.weights {
            WeightsPlace::Embedded(_) | WeightsPlace::Absent(_) => {}
            WeightsPlace::File(path) => drop(table.insert("weights".into(), absolute(path)?)),
            WeightsPlace::TorchScript(path) => {
                table = model.part.parameters.clone();
                table.insert("kind".into(), "torchscript".into());
                table.insert("name".into(), model.part.label.clone().into());
                table.insert("file".into(), absolute(path)?);
            }
        }
        Ok(table)
    });
    let attacks = study.attacks.iter().map(|attack| {
        let mut table = part_table(&attack.part);
        table.insert("goals".into(), goal_names(&attack.goals));
        table
    });
    let metrics = study.metrics.iter().map(|metric| {
        let mut table = part_table(&metric.part);
        if !metric.goals.is_empty() {
            table.insert("goals".into(), goal_names(&metric.goals));
        }
        Value::Table(table)
    });
    let plugins =
        study.plugins.iter().map(|library| absolute(&library.path)).collect::<Result<Vec<_>>>()?;
    let resolved = Resolved {
        name: &study.name,
        seed: study.seed,
        tie_tolerance: study.tie_tolerance,
        cell_timeout: study.cell_timeout.map(|limit| limit.as_secs_f64()),
        plugins: (!plugins.is_empty())
            .then(|| Table::from_iter([("from".to_owned(), Value::from(plugins))])),
        metrics: metrics.collect(),
        data: source.map(|source| data_table(source, images)).transpose()?,
        models: models.collect::<Result<_>>()?,
        attacks: attacks.collect(),
        transfer: study
            .transfer
            .map(|policy| Table::from_iter([("policy".to_owned(), Value::from(policy.name()))])),
        probe: ProbeChoice { images: study.probe },
    };
    toml::to_string(&resolved).context("the study cannot be written as TOML")
}

fn goal_names(goals: &[GoalKind]) -> Value {
    goals.iter().map(|goal| Value::from(goal.name())).collect::<Vec<_>>().into()
}

fn part_table(part: &super::Part) -> Table {
    let mut table = Table::new();
    table.insert("name".into(), part.name.clone().into());
    table.insert("label".into(), part.label.clone().into());
    if !part.parameters.is_empty() {
        table.insert("params".into(), part.parameters.clone().into());
    }
    table
}

fn data_table(source: &Source, images: Option<usize>) -> Result<Table> {
    let mut table = Table::new();
    match source {
        Source::FashionMnist => drop(table.insert("source".into(), "fashion-mnist".into())),
        Source::Eccv2018 => drop(table.insert("source".into(), "eccv2018".into())),
        Source::Folder(folder) => {
            table.insert("folder".into(), absolute(&folder.path)?);
            if let Some(labels) = &folder.labels {
                table.insert("labels".into(), absolute(labels)?);
                table.insert("first_label".into(), folder.first_label.into());
            }
            if let Some(classes) = &folder.classes {
                table.insert("classes".into(), absolute(classes)?);
            }
        }
    }
    if let Some(images) = images {
        table.insert("images".into(), Value::Integer(images as i64));
    }
    Ok(table)
}

fn absolute(path: &Path) -> Result<Value> {
    let path = std::path::absolute(path)?;
    Ok(path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?.into())
}

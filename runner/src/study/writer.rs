//! Writing a study with everything spelled out.

use crate::data::Source;
use crate::study::definition::Study;
use crate::study::goal::GoalKind;
use crate::study::part::{Part, Samples};
use crate::study::syntax::ProbeChoice;
use crate::weights::WeightsPlace;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;
use toml::{Table, Value};

/// The study as TOML. `source` and `images` are where its images come from and how many are asked
/// for; `source` is `None` for images in memory.
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
        if let Some(Samples { attack, judge }) = model.samples {
            table.insert("samples".into(), Value::Integer(attack as i64));
            table.insert("judge_samples".into(), Value::Integer(judge as i64));
        }
        Ok(table)
    });
    let attacks = study.attacks.iter().map(|attack| {
        let mut table = part_table(&attack.part);
        table.insert("goals".into(), goal_names(&attack.goals));
        if let Some(samples) = attack.samples {
            table.insert("samples".into(), Value::Integer(samples as i64));
        }
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

/// A study file with everything spelled out.
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

fn goal_names(goals: &[GoalKind]) -> Value {
    goals.iter().map(|goal| Value::from(goal.name())).collect::<Vec<_>>().into()
}

fn part_table(part: &Part) -> Table {
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
            }
            if let Some(first) = folder.first_label {
                table.insert("first_label".into(), first.into());
            }
            if let Some(classes) = &folder.classes {
                table.insert("classes".into(), absolute(classes)?);
            }
            table.insert("greyscale".into(), folder.greyscale.name().into());
            if folder.cmyk {
                table.insert("cmyk".into(), true.into());
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

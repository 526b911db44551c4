//! The syntax of a study file.

use crate::data::Greyscale;
use crate::study::goal::{GoalKind, Policy};
use crate::study::refusal::Refusal;
use crate::study::torchscript::{Preprocessing, Script};
use anyhow::{Result, anyhow};
use gauntlet_core::params::from_table;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use toml::{Spanned, Table};

/// A member as a study names it.
pub(super) trait Named {
    /// The name in tables.
    fn label(&self) -> &str;
    /// The registered name.
    fn name(&self) -> &str;
}

/// A study file.
///
/// A list of models, attacks or metrics that is left out is everything registered that fits;
/// `include` and `exclude` choose, see [`crate::study::selection`].
///
/// `tie_tolerance` decides when an attack on its source counts as a success. With 0, the default,
/// the greatest logit alone decides. Above 0, a target also counts whose logit lies within the
/// tolerance of the greatest, as in the published study, where the tolerance is 0.001.
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

/// The plugins of a study: folders and libraries, and a lock with the hashes that may be loaded,
/// see [`crate::libraries`].
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
    pub cmyk: Option<bool>,
    pub images: Option<Spanned<usize>>,
    pub greyscale: Option<Greyscale>,
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
    // Of a model that answers at random:
    pub samples: Option<Spanned<usize>>,
    pub judge_samples: Option<Spanned<usize>>,
    // Of a TorchScript module, see [`Script`]:
    pub file: Option<Spanned<PathBuf>>,
    pub side: Option<Spanned<i64>>,
    pub height: Option<Spanned<i64>>,
    pub width: Option<Spanned<i64>>,
    pub channels: Option<Spanned<i64>>,
    pub classes: Option<Spanned<i64>>,
    pub label_offset: Option<Spanned<i64>>,
    pub family: Option<Spanned<String>>,
    pub preprocessing: Option<Spanned<Table>>,
}

/// The kinds of models that are not registered.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ModelKind {
    TorchScript,
}

impl ModelChoice {
    /// The file of a TorchScript module and its description; `None` for a registered model.
    ///
    /// # Errors
    /// When a key is missing, wrong, or belongs to the other kind of model.
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
            there("height", self.height.as_ref()),
            there("width", self.width.as_ref()),
            there("channels", self.channels.as_ref()),
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
        let number = |value: &Option<Spanned<i64>>| value.as_ref().map(|value| *value.get_ref());
        let sized = self.side.is_some() || self.height.is_some() || self.width.is_some();
        let (Some(file), true, Some(classes)) = (&self.file, sized, number(&self.classes)) else {
            return Err(refusal.at(
                &self.name.span(),
                anyhow!(
                    "a TorchScript module needs `file`, `side` (or `height` and `width`) and \
                     `classes`"
                ),
            ));
        };
        let preprocessing =
            self.preprocessing.as_ref().map_or(Ok(Preprocessing::default()), |given| {
                from_table(&Preprocessing::default(), given.get_ref())
                    .map_err(|error| refusal.at(&given.span(), error))
            })?;
        let default = Script::default();
        let script = Script {
            side: number(&self.side).unwrap_or(default.side),
            height: number(&self.height),
            width: number(&self.width),
            channels: number(&self.channels).unwrap_or(default.channels),
            classes,
            label_offset: number(&self.label_offset).unwrap_or(default.label_offset),
            family: self.family.as_ref().map_or(default.family, |family| family.get_ref().clone()),
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
    pub samples: Option<Spanned<usize>>,
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

        // An untagged enum would lose the message and the place of an error.
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

/// The number of images with which each model is probed, from the first on, rounded up to slices; 0
/// is no probe.
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

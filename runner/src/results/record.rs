//! What a results folder records of its study: enough to find the adversarials without the study's
//! images, weights and plugins.

use crate::engine::plan::SLICE;
use crate::engine::spec::{self, Common};
use crate::report::provenance;
use crate::store::{Address, CellKind};
use crate::study::GoalKind;
use anyhow::{Context, Result};
use gauntlet_core::model::ModelCard;
use serde::Deserialize;
use serde_json::Value;
use std::ops::Range;
use std::path::Path;
use toml::Table;

/// A finished study, from the `provenance.json` of its results folder.
#[derive(Debug, Deserialize)]
pub struct Record {
    /// `gauntlet` and its version.
    program: String,
    engine: String,
    libtorch: String,
    device: String,
    /// The study as TOML, with everything spelled out.
    study: String,
    models: Vec<RecordedModel>,
    attacks: Vec<RecordedPart>,
    images: Vec<RecordedImage>,
}

#[derive(Debug, Deserialize)]
struct RecordedPart {
    label: String,
    name: String,
    origin: String,
    parameters: String,
    plugin: Option<String>,
}

impl RecordedPart {
    fn spec(&self) -> Value {
        spec::part(&self.name, &self.origin, &self.parameters, self.plugin.as_deref())
    }
}

#[derive(Debug, Deserialize)]
struct RecordedModel {
    #[serde(flatten)]
    part: RecordedPart,
    card: ModelCard,
    weights: RecordedWeights,
}

#[derive(Debug, Deserialize)]
struct RecordedWeights {
    blake3: String,
}

#[derive(Debug, Deserialize)]
struct RecordedImage {
    name: String,
    label: i64,
    blake3: String,
    #[serde(default)]
    target: Option<i64>,
}

/// What else the study says of its cells.
#[derive(Deserialize)]
struct StudyText {
    seed: u64,
    tie_tolerance: f64,
    attacks: Vec<AttackText>,
}

#[derive(Deserialize)]
struct AttackText {
    goals: Vec<GoalKind>,
}

/// An attack with a goal on a model, at the model's own side.
#[derive(Debug)]
pub struct RecordedCampaign<'a> {
    /// The model's label.
    pub model: &'a str,
    /// The attack's label.
    pub attack: &'a str,
    /// The goal.
    pub goal: GoalKind,
    /// The cells, each with its images, by place among all images of the study.
    pub cells: Vec<(Address, Range<usize>)>,
}

impl Record {
    /// Reads what a results folder records.
    ///
    /// # Errors
    /// When its `provenance.json` is missing or no such document.
    pub fn open(folder: &Path) -> Result<Self> {
        provenance::read(folder)
    }

    /// The labels of the models.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|model| &*model.part.label)
    }

    /// The labels of the attacks.
    pub fn attacks(&self) -> impl Iterator<Item = &str> {
        self.attacks.iter().map(|attack| &*attack.label)
    }

    /// The names of the images, in the study's order.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.images.iter().map(|image| &*image.name)
    }

    /// Every attack with every goal on every model, with the addresses of their cells.
    ///
    /// # Errors
    /// When the recorded study cannot be read.
    pub fn campaigns(&self) -> Result<Vec<RecordedCampaign<'_>>> {
        let table: Table = self.study.parse().context("the recorded study cannot be read")?;
        let study: StudyText = table.try_into().context("the recorded study cannot be read")?;
        let mut campaigns = Vec::new();
        for model in &self.models {
            let clean: Vec<Address> =
                self.slices().map(|images| self.clean(model, images)).collect();
            for (attack, AttackText { goals }) in self.attacks.iter().zip(&study.attacks) {
                campaigns.extend(goals.iter().map(|&goal| {
                    let craft = |(clean, images): (&Address, Range<usize>)| {
                        let targets = self.targets(goal, images.clone());
                        let (seed, tie) = (study.seed, study.tie_tolerance);
                        let spec = spec::craft(
                            &clean.key,
                            &attack.spec(),
                            goal.name(),
                            seed,
                            tie,
                            targets,
                        );
                        (Address::new(CellKind::Craft, &spec), images)
                    };
                    RecordedCampaign {
                        model: &model.part.label,
                        attack: &attack.label,
                        goal,
                        cells: clean.iter().zip(self.slices()).map(craft).collect(),
                    }
                }));
            }
        }
        Ok(campaigns)
    }

    /// The images of each slice.
    fn slices(&self) -> impl Iterator<Item = Range<usize>> {
        let count = self.images.len();
        (0..count).step_by(SLICE).map(move |start| start..(start + SLICE).min(count))
    }

    fn clean(&self, model: &RecordedModel, images: Range<usize>) -> Address {
        let common = Common {
            engine: &self.engine,
            program: self.program.rsplit(' ').next().unwrap_or_default(),
            libtorch: &self.libtorch,
            device: &self.device,
        };
        let spec = spec::model(model.part.spec(), &model.weights.blake3, &model.card);
        let images = self.images[images].iter().map(|image| (&*image.blake3, image.label));
        Address::new(CellKind::Clean, &spec::clean(&common, &spec, images))
    }

    fn targets(&self, goal: GoalKind, images: Range<usize>) -> Option<Vec<Option<i64>>> {
        let targets = || self.images[images].iter().map(|image| image.target).collect();
        (goal == GoalKind::Given).then(targets)
    }
}

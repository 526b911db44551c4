//! What a results folder records of its study: enough to find the adversarials without the study's
//! images, weights and plugins.

use crate::engine::plan::SLICE;
use crate::report::provenance;
use crate::store::{Address, CellKind};
use anyhow::{Result, ensure};
use serde::Deserialize;
use std::ops::Range;
use std::path::Path;

/// A finished study, from the `provenance.json` of its results folder.
#[derive(Debug, Deserialize)]
pub struct Record {
    models: Vec<Part>,
    attacks: Vec<Part>,
    images: Vec<Image>,
    /// Every attack with every goal on every model.
    pub campaigns: Vec<RecordedCampaign>,
}

#[derive(Debug, Deserialize)]
struct Part {
    label: String,
}

#[derive(Debug, Deserialize)]
struct Image {
    name: String,
}

/// An attack with a goal on a model, at the model's own side.
#[derive(Debug, Deserialize)]
pub struct RecordedCampaign {
    /// The model's label.
    pub model: String,
    /// The attack's label.
    pub attack: String,
    /// The goal's name.
    pub goal: String,
    /// The keys of the cells, in the order of their images.
    cells: Vec<String>,
}

impl Record {
    /// Reads what a results folder records.
    ///
    /// # Errors
    /// When its `provenance.json` is missing or no such document.
    pub fn open(folder: &Path) -> Result<Self> {
        let record: Self = provenance::read(folder)?;
        let mut keys = record.campaigns.iter().flat_map(|campaign| &campaign.cells);
        // Keys become parts of paths.
        let odd = keys.find(|key| key.len() != 64 || !key.bytes().all(|c| c.is_ascii_hexdigit()));
        ensure!(odd.is_none(), "{}: the key of a cell is no hash", folder.display());
        Ok(record)
    }

    /// The labels of the models.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.models.iter().map(|model| &*model.label)
    }

    /// The labels of the attacks.
    pub fn attacks(&self) -> impl Iterator<Item = &str> {
        self.attacks.iter().map(|attack| &*attack.label)
    }

    /// The names of the images, in the study's order.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        self.images.iter().map(|image| &*image.name)
    }

    /// The cells of a campaign, each with its images, by place among all images of the study.
    pub fn cells(
        &self,
        campaign: &RecordedCampaign,
    ) -> impl Iterator<Item = (Address, Range<usize>)> {
        let count = self.images.len();
        campaign.cells.iter().enumerate().map(move |(slice, key)| {
            let start = (slice * SLICE).min(count);
            (Address::of_key(CellKind::Craft, key), start..(start + SLICE).min(count))
        })
    }
}

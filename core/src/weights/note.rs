//! The note in the metadata of a safetensors file.

use super::conventions::Dialect;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use toml::Table;

/// Where a weights file comes from, and what its tensors do not tell. It is the entry `gauntlet` of
/// a safetensors file's metadata, as TOML. All fields are optional.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Note {
    /// Name of the file that the weights were converted from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// SHA-256 of that file, in hexadecimal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_sha256: String,
    /// Whose conventions the tensors follow, whatever their names are.
    pub dialect: Dialect,
    /// Parameters of the model that the weights fit, where these are not the defaults.
    #[serde(skip_serializing_if = "Table::is_empty")]
    pub parameters: Table,
}

impl Note {
    const KEY: &'static str = "gauntlet";

    /// The metadata of a file with this note.
    pub fn metadata(&self) -> HashMap<String, String> {
        let text = toml::to_string(self).expect("texts and a table are TOML");
        HashMap::from([(Self::KEY.to_owned(), text)])
    }

    pub(super) fn read(metadata: Option<&HashMap<String, String>>) -> Result<Option<Self>> {
        let text = metadata.and_then(|metadata| metadata.get(Self::KEY));
        text.map(|text| {
            toml::from_str(text).context("its note (`gauntlet` in the metadata) is damaged")
        })
        .transpose()
    }
}

//! Addresses: where a cell is stored.

use serde::Serialize;

/// The end of the name of a cell's file.
pub(super) const ROWS: &str = ".parquet";

/// The folder of the cells, in the results folder.
pub(super) const CELLS: &str = "cells";

/// The kinds of cells, in the order in which they are computed. Each kind has a folder of its own,
/// with the same name.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    strum::Display,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum CellKind {
    /// A model's answers to the images as they are.
    Clean,
    /// A few passes that show whether success rates on a model can be trusted.
    Probe,
    /// A model's answers to the images of another side, brought to its own.
    Control,
    /// An attack on a model.
    Craft,
    /// A metric of a model.
    Score,
    /// A metric of a craft cell's pixels.
    Measure,
    /// Another model's answers to a craft cell's pixels.
    Transfer,
}

impl CellKind {
    /// All kinds.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name in paths, keys and tables.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Where a cell is stored. Its kind is the folder; its key, the hash of its specification, is the
/// file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The kind of the cell.
    pub kind: CellKind,
    /// BLAKE3 of the specification, in hexadecimal.
    pub key: String,
    /// Everything that determines the cell, as canonical JSON. Empty where only the key is known,
    /// which is enough to read the cell.
    pub spec: String,
}

impl Address {
    /// Kind and key, the name in lists of cells: `craft/2f0a…`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kind, self.key)
    }

    /// The cell's file, relative to the folder of the cells.
    pub(super) fn file(&self) -> String {
        format!("{}{ROWS}", self.name())
    }

    /// The file of the cell's pixels, relative to the folder of the cells. `hash`: BLAKE3 of the
    /// file, in hexadecimal.
    pub(super) fn pixel_file(&self, hash: &str) -> String {
        format!("{}-{}.safetensors", self.name(), hash.get(..16).unwrap_or(hash))
    }

    /// The address of a cell that was stored before, by its key.
    pub fn of_key(kind: CellKind, key: &str) -> Self {
        Self { kind, key: key.to_owned(), spec: String::new() }
    }

    /// The address of a specification.
    pub fn new(kind: CellKind, spec: &serde_json::Value) -> Self {
        let spec = canonical(spec);
        Self { kind, key: blake3::hash(spec.as_bytes()).to_string(), spec }
    }
}

/// JSON with sorted keys and no spaces.
pub fn canonical(value: &serde_json::Value) -> String {
    use serde_json::Value;
    let quoted = |text: &String| Value::String(text.clone()).to_string();
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let members: Vec<String> = keys
                .into_iter()
                .map(|key| format!("{}:{}", quoted(key), canonical(&map[key])))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn canonical_json_sorts_keys() {
        assert_eq!(canonical(&json!({"b": 1, "a": [0.1, "é\""]})), r#"{"a":[0.1,"é\""],"b":1}"#);
        assert_ne!(
            Address::new(CellKind::Craft, &json!({"a": 1})).key,
            Address::new(CellKind::Craft, &json!({"a": 2})).key
        );
    }
}

//! Where a cell is stored.

/// Ends the name of a cell's file.
pub(super) const ROWS: &str = ".parquet";

/// Where a cell stands: the kind is the folder, the key the hash of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `clean`, `craft`, …
    pub kind: &'static str,
    /// BLAKE3 of the specification, in hexadecimal.
    pub key: String,
    /// Everything that determines the cell, as canonical JSON.
    pub spec: String,
}

impl Address {
    /// Kind and key, by which lists of cells name it: `craft/2f0a…`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kind, self.key)
    }

    /// Its file, in the folder of the cells.
    pub(super) fn file(&self) -> String {
        format!("{}{ROWS}", self.name())
    }

    /// The file of its pixels, in the folder of the cells.
    pub(super) fn pixel_file(&self, hash: &str) -> String {
        format!("{}-{}.safetensors", self.name(), hash.get(..16).unwrap_or(hash))
    }

    /// The address that a specification has.
    pub fn new(kind: &'static str, spec: &serde_json::Value) -> Self {
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

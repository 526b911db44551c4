//! Parameters: plain structs that serde reads and writes, so that one definition gives the
//! parser, the defaults that `runner list` prints, and what a result records.

use anyhow::{Context, Result, bail};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use toml::{Table, Value};

/// What the parameters of a model, an attack or a metric must be. Implemented for every type
/// that fits; derive `Serialize`, `Deserialize` with `#[serde(default, deny_unknown_fields)]`,
/// `Clone`, `Debug` and give a `Default`.
pub trait Params: Serialize + DeserializeOwned + Default + Clone + Debug + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Default + Clone + Debug + Send + Sync + 'static> Params for T {}

/// The parameters of something that has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Writes parameters as a TOML table.
pub fn to_table<P: Params>(params: &P) -> Table {
    Table::try_from(params).expect("parameters are a struct of values that TOML can hold")
}

/// Reads parameters: `overrides` laid over `base`.
///
/// # Errors
/// Names an unknown key with the key that was probably meant, and says what a bad value should be.
pub fn from_table<P: Params>(base: &P, overrides: &Table) -> Result<P> {
    let mut table = to_table(base);
    for (key, value) in overrides {
        // A key that the base does not show may still be an option that is off; serde decides.
        table.insert(key.clone(), widen(table.get(key), value));
    }
    let known: Vec<String> = to_table(base).keys().cloned().collect();
    table.try_into().map_err(|error: toml::de::Error| {
        let message = error.message().to_owned();
        match overrides.keys().find(|key| message.contains(&format!("unknown field `{key}`"))) {
            Some(key) => anyhow::anyhow!("unknown parameter `{key}`{}; there are: {}", suggestion(key, &known), known.join(", ")),
            None => anyhow::anyhow!("{message}"),
        }
    })
}

/// An integer where the default is a float is meant as that float (`epsilon = 1`).
fn widen(default: Option<&Value>, value: &Value) -> Value {
    match (default, value) {
        (Some(Value::Float(_)), Value::Integer(i)) => Value::Float(*i as f64),
        _ => value.clone(),
    }
}

/// `, did you mean `x`?` when one of `known` is close to `name`, otherwise nothing.
pub fn suggestion<S: AsRef<str>>(name: &str, known: &[S]) -> String {
    let wanted = name.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&wanted, &k.as_ref().to_lowercase()), k.as_ref()))
        .min()
        .filter(|(distance, k)| *distance <= 2.max(k.len() / 3))
        .map_or_else(String::new, |(_, k)| format!(", did you mean `{k}`?"))
}

/// A named set of parameters, such as `eccv2018`.
#[derive(Clone, Debug)]
pub struct Preset<P> {
    /// The name that a study's `preset = "…"` gives.
    pub name: &'static str,
    /// One line: where the values come from.
    pub summary: &'static str,
    /// The values.
    pub params: P,
}

/// Finds a preset by name; `None` and `"default"` mean the type's defaults.
pub fn preset<P: Params>(presets: Vec<Preset<P>>, name: Option<&str>) -> Result<P> {
    let Some(name) = name.filter(|n| *n != "default") else {
        return Ok(P::default());
    };
    let mut known = vec!["default"];
    known.extend(presets.iter().map(|p| p.name));
    match presets.into_iter().find(|p| p.name == name) {
        Some(preset) => Ok(preset.params),
        None => bail!("unknown preset `{name}`{}; there are: {}", suggestion(name, &known), known.join(", ")),
    }
}

/// Reads a table from TOML text, for what crosses a boundary as text.
pub fn parse(text: &str) -> Result<Table> {
    text.parse::<Table>().context("not TOML")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct P {
        epsilon: f64,
        iterations: u32,
        stop: Option<u32>,
    }

    impl Default for P {
        fn default() -> Self {
            Self { epsilon: 0.1, iterations: 10, stop: None }
        }
    }

    fn read(text: &str) -> Result<P> {
        from_table(&P::default(), &parse(text).unwrap())
    }

    #[test]
    fn overrides_lie_over_the_base_and_integers_widen() {
        assert_eq!(read("epsilon = 1").unwrap(), P { epsilon: 1.0, ..P::default() });
        assert_eq!(read("stop = 3").unwrap(), P { stop: Some(3), ..P::default() });
    }

    #[test]
    fn an_unknown_key_names_the_one_that_was_meant() {
        let error = read("epsilom = 0.2").unwrap_err().to_string();
        assert_eq!(error, "unknown parameter `epsilom`, did you mean `epsilon`?; there are: epsilon, iterations");
        assert!(read("iterations = \"ten\"").unwrap_err().to_string().contains("invalid type"));
    }

    #[test]
    fn presets_are_found_by_name() {
        let presets = || vec![Preset { name: "eccv2018", summary: "", params: P { epsilon: 0.3, ..P::default() } }];
        assert_eq!(preset(presets(), Some("eccv2018")).unwrap().epsilon, 0.3);
        assert_eq!(preset(presets(), None).unwrap(), P::default());
        assert!(preset(presets(), Some("eccv2081")).unwrap_err().to_string().contains("did you mean `eccv2018`?"));
    }
}

//! Parameters: plain structs that serde reads and writes. One definition gives the parser, the
//! defaults that `runner list` prints, and what a result records.

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::de::value::MapDeserializer;
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::cell::Cell;
use std::fmt::Debug;
use toml::{Table, Value};

/// The parameters of a model, an attack or a metric.
///
/// [`params!`](crate::params!) writes the struct and everything that this trait needs. For a struct
/// written by hand, derive `Clone`, `Debug`, `Serialize` and `Deserialize` of the crate `serde` with
/// `#[serde(default, deny_unknown_fields)]`, and implement `Default`.
pub trait Params:
    Serialize + DeserializeOwned + Default + Clone + Debug + Send + Sync + 'static
{
    /// Name and description of each parameter, for `runner list`.
    fn docs() -> &'static [(&'static str, &'static str)] {
        &[]
    }
}

/// The parameters of something that has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

impl Params for NoParams {}

/// Defines parameters with their defaults and descriptions:
///
/// ```
/// gauntlet_core::params! {
///     /// Parameters of an attack.
///     pub struct Settings {
///         /// Radius of the ball, pixels in [0, 1].
///         pub epsilon: f64 = 8.0 / 255.0,
///         /// Steps.
///         pub iterations: u32 = 10,
///     }
/// }
///
/// assert_eq!(Settings::default().iterations, 10);
/// ```
///
/// This gives a struct with its `Default`. It is read from TOML, where unknown keys are refused,
/// and `runner list` shows the comments. A value that has one of a few names is an enum of
/// [`choices!`](crate::choices!).
#[macro_export]
macro_rules! params {
    (
        $(#[$about:meta])*
        $visibility:vis struct $name:ident $(<$(const $constant:ident: $of:ty),+>)? {
            $(
                $(#[doc = $doc:literal])+
                $field_visibility:vis $field:ident: $type:ty = $default:expr
            ),* $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, $crate::serde::Serialize, $crate::serde::Deserialize)]
        // Without the empty bound, serde cannot derive a default for a type with const parameters.
        #[serde(crate = "gauntlet_core::serde", default, deny_unknown_fields, bound = "")]
        $visibility struct $name $(<$(const $constant: $of),+>)? {
            $($(#[doc = $doc])+ $field_visibility $field: $type),*
        }

        impl $(<$(const $constant: $of),+>)? ::core::default::Default
            for $name $(<$($constant),+>)?
        {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl $(<$(const $constant: $of),+>)? $crate::params::Params
            for $name $(<$($constant),+>)?
        {
            fn docs() -> &'static [(&'static str, &'static str)] {
                &[$((stringify!($field), concat!($($doc),+))),*]
            }
        }
    };
}

/// Defines an enum whose values have names, as the type of a parameter:
///
/// ```
/// gauntlet_core::choices! {
///     /// What a step descends.
///     pub enum Loss {
///         /// The logit of the goal's class.
///         Logit,
///         /// Cross entropy.
///         CrossEntropy,
///     }
/// }
///
/// gauntlet_core::params! {
///     /// Parameters of an attack.
///     pub struct Settings {
///         /// What a step descends.
///         pub loss: Loss = Loss::CrossEntropy,
///     }
/// }
///
/// let table = "loss = \"logit\"".parse().unwrap();
/// let settings = gauntlet_core::params::from_table(&Settings::default(), &table).unwrap();
/// assert_eq!(settings.loss, Loss::Logit);
/// ```
///
/// In TOML a value is the variant's name in small letters, with `_` between words. `runner list`
/// shows all names. Another value is refused with an error that lists them.
#[macro_export]
macro_rules! choices {
    (
        $(#[$about:meta])*
        $visibility:vis enum $name:ident {
            $($(#[$meaning:meta])* $choice:ident),+ $(,)?
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[derive($crate::serde::Serialize, $crate::serde::Deserialize)]
        #[serde(crate = "gauntlet_core::serde", rename_all = "snake_case")]
        $visibility enum $name {
            $($(#[$meaning])* $choice),+
        }
    };
}

/// What `runner list` shows of a parameter beside its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The parameter's name.
    pub name: String,
    /// Its meaning, in one paragraph.
    pub text: String,
    /// Its possible values, where they have names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
}

/// The descriptions of all parameters that have one, in the order of [`Params::docs`].
pub fn describe<P: Params>() -> Vec<Description> {
    let describe = |&(name, text): &(&'static str, &str)| Description {
        name: name.to_owned(),
        text: text.trim().to_owned(),
        choices: choices::<P>(name).iter().map(|&choice| choice.to_owned()).collect(),
    };
    P::docs().iter().map(describe).collect()
}

/// The names that a field of `P` can have as its value, where it is an enum.
fn choices<P: Params>(field: &str) -> &'static [&'static str] {
    let variants = Cell::new([].as_slice());
    let fields = MapDeserializer::new(std::iter::once((field, VariantsProbe(&variants))));
    // Always an error, since the probe holds no value; it notes what serde asks for.
    let _: Result<P, de::value::Error> = P::deserialize(fields);
    variants.get()
}

/// A deserializer without a value. It notes the variants of the enum that is asked for.
struct VariantsProbe<'a>(&'a Cell<&'static [&'static str]>);

impl<'de> Deserializer<'de> for VariantsProbe<'_> {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("no value"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.set(variants);
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_> for VariantsProbe<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Writes parameters as a TOML table.
pub fn to_table<P: Params>(params: &P) -> Table {
    Table::try_from(params).expect("parameters are a struct of values that TOML can hold")
}

/// Reads parameters: those of `base`, replaced by those of `overrides`.
///
/// # Errors
/// For an unknown key, names it and the key that was probably meant. For a wrong value, names its
/// key, what was found and what is expected.
pub fn from_table<P: Params>(base: &P, overrides: &Table) -> Result<P> {
    let base = to_table(base);
    let read = |overrides: &mut dyn Iterator<Item = (&String, &Value)>| {
        let mut table = base.clone();
        // A key that the base lacks may be an `Option` that is `None`: serde decides.
        table.extend(overrides.map(|(key, value)| (key.clone(), widen(base.get(key), value))));
        table.try_into::<P>()
    };
    read(&mut overrides.iter()).map_err(|error| {
        // The error does not name its key. Each override is read alone to find the wrong one.
        let wrong = overrides
            .iter()
            .find_map(|entry| Some((entry, read(&mut std::iter::once(entry)).err()?)));
        let Some(((key, value), error)) = wrong else { return anyhow!("{}", error.message()) };
        if error.message().starts_with(&format!("unknown field `{key}`")) {
            let mut known: Vec<&str> = base.keys().map(String::as_str).collect();
            known.extend(
                P::docs().iter().map(|(name, _)| *name).filter(|&name| !base.contains_key(name)),
            );
            return unknown(key, &known);
        }
        check_choice(key, value, choices::<P>(key))
            .err()
            .unwrap_or_else(|| anyhow!("`{key}`: {}", error.message().trim_end()))
    })
}

/// Replaces parameters of `base` by those of `overrides`, where no type says what is allowed: each
/// key must be in `base`, and each value must have the type that it has there and be one of the
/// choices that the key's description names.
///
/// # Errors
/// The same as those of [`from_table`].
pub fn overlay(base: &Table, overrides: &Table, descriptions: &[Description]) -> Result<Table> {
    let mut table = base.clone();
    for (key, value) in overrides {
        let Some(default) = base.get(key) else {
            return Err(unknown(key, &base.keys().map(String::as_str).collect::<Vec<_>>()));
        };
        if let Some(described) = descriptions.iter().find(|described| described.name == *key) {
            check_choice(key, value, &described.choices)?;
        }
        let value = widen(Some(default), value);
        ensure!(
            value.same_type(default),
            "`{key}`: found {}, expected {}",
            value.type_str(),
            default.type_str()
        );
        table.insert(key.clone(), value);
    }
    Ok(table)
}

/// Refuses a value that is none of the choices. With no choices every value is allowed.
fn check_choice<S: AsRef<str>>(key: &str, value: &Value, choices: &[S]) -> Result<()> {
    let known = |name: &str| choices.iter().any(|choice| choice.as_ref() == name);
    let hint = match value {
        _ if choices.is_empty() => return Ok(()),
        Value::String(name) if known(name) => return Ok(()),
        // A choice that holds values is a table of one key.
        Value::Table(table) if table.keys().any(|name| known(name)) => return Ok(()),
        Value::String(name) => suggestion(name, choices),
        _ => String::new(),
    };
    let names: Vec<String> = choices.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    bail!("`{key}`: expected one of {}, found {value}{hint}", names.join(", "))
}

fn unknown(key: &str, known: &[&str]) -> anyhow::Error {
    anyhow!("unknown parameter `{key}`{}; there are: {}", suggestion(key, known), known.join(", "))
}

/// Turns an integer into a float where the default is a float, as in `epsilon = 1`.
fn widen(default: Option<&Value>, value: &Value) -> Value {
    match (default, value) {
        (Some(Value::Float(_)), Value::Integer(i)) => Value::Float(*i as f64),
        _ => value.clone(),
    }
}

/// The text ``, did you mean `x`?`` when `x`, one of `known`, is close to `name`; otherwise an
/// empty text.
pub fn suggestion<S: AsRef<str>>(name: &str, known: &[S]) -> String {
    let wanted = name.to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&wanted, &k.as_ref().to_lowercase()), k.as_ref()))
        .min()
        .filter(|(distance, k)| *distance <= 2.max(k.len() / 3).min(wanted.len().max(1) - 1))
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

/// A [`Preset`] whose parameters are a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PresetTable {
    /// The name that a study's `preset = "…"` gives.
    pub name: String,
    /// One line: where the values come from.
    #[serde(default)]
    pub summary: String,
    /// The values.
    #[serde(default)]
    pub parameters: Table,
}

impl<P: Params> From<&Preset<P>> for PresetTable {
    fn from(preset: &Preset<P>) -> Self {
        Self {
            name: preset.name.to_owned(),
            summary: preset.summary.to_owned(),
            parameters: to_table(&preset.params),
        }
    }
}

/// The parameters of the preset of that name; the defaults for `None` and `"default"`.
///
/// # Errors
/// When the name is unknown: suggests a similar one, and lists all.
pub fn preset<P: Params>(mut presets: Vec<Preset<P>>, name: Option<&str>) -> Result<P> {
    let names: Vec<&str> = presets.iter().map(|preset| preset.name).collect();
    let index = find_preset(&names, name)?;
    Ok(index.map_or_else(P::default, |index| presets.swap_remove(index).params))
}

/// The index of the preset of that name among `names`; `None` for `None` and `"default"`.
pub(crate) fn find_preset(names: &[&str], name: Option<&str>) -> Result<Option<usize>> {
    let Some(name) = name.filter(|name| *name != "default") else {
        return Ok(None);
    };
    if let Some(index) = names.iter().position(|known| *known == name) {
        return Ok(Some(index));
    }
    let known = [&["default"], names].concat();
    bail!("unknown preset `{name}`{}; there are: {}", suggestion(name, &known), known.join(", "))
}

/// Reads a table from TOML text: either lines of keys and values, or an inline table (`{ … }`).
pub fn parse(text: &str) -> Result<Table> {
    match text.trim() {
        inline if inline.starts_with('{') => {
            let whole = format!("table = {inline}").parse::<Table>().context("not TOML")?;
            whole.get("table").and_then(Value::as_table).cloned().context("not an inline table")
        }
        lines => lines.parse::<Table>().context("not TOML"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::slice::from_ref;

    crate::choices! {
        /// For tests.
        enum Order {
            First,
            LastOfAll,
        }
    }

    crate::params! {
        /// For tests.
        struct P {
            /// Radius of the ball,
            /// in pixels.
            epsilon: f64 = 0.1,
            /// Steps.
            iterations: u32 = 10,
            /// Step to stop at.
            stop: Option<u32> = None,
            /// Which comes first.
            order: Order = Order::First,
            /// Which comes second, if any.
            then: Option<Order> = None,
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
        assert_eq!(
            error,
            "unknown parameter `epsilom`, did you mean `epsilon`?; there are: epsilon, iterations, \
             order, stop, then"
        );
    }

    #[test]
    fn a_bad_value_names_its_key() {
        for (text, expected) in [
            (
                "epsilon = 0.2\niterations = \"ten\"",
                "`iterations`: invalid type: string \"ten\", expected u32",
            ),
            (
                "order = \"second\"",
                "`order`: expected one of `first`, `last_of_all`, found \"second\"",
            ),
            (
                "order = \"Last-of-al\"",
                "`order`: expected one of `first`, `last_of_all`, found \"Last-of-al\", did you \
                 mean `last_of_all`?",
            ),
            ("order = 5", "`order`: expected one of `first`, `last_of_all`, found 5"),
            ("then = 0.5", "`then`: expected one of `first`, `last_of_all`, found 0.5"),
            ("order = {}", "`order`: expected one of `first`, `last_of_all`, found {}"),
        ] {
            assert_eq!(read(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn descriptions_are_the_comments_and_the_names_that_a_value_can_have() {
        let described = describe::<P>();
        let names: Vec<&str> = described.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["epsilon", "iterations", "stop", "order", "then"]);
        assert_eq!(described[0].text, "Radius of the ball, in pixels.");
        assert_eq!(described[1].choices, [""; 0]);
        for described in &described[3..] {
            assert_eq!(described.choices, ["first", "last_of_all"]);
        }
    }

    #[test]
    fn without_a_type_the_defaults_say_what_may_be_overridden() {
        let base = parse("epsilon = 0.1\nname = \"x\"\norder = \"first\"").unwrap();
        let described = Description {
            name: "order".to_owned(),
            text: String::new(),
            choices: ["first", "last"].map(str::to_owned).to_vec(),
        };
        let over = |text: &str| overlay(&base, &parse(text).unwrap(), from_ref(&described));
        assert_eq!(over("epsilon = 1").unwrap()["epsilon"], Value::Float(1.0));
        assert_eq!(over("order = \"last\"").unwrap()["order"].as_str(), Some("last"));
        let error = |text: &str| over(text).unwrap_err().to_string();
        assert_eq!(
            error("epsilom = 1"),
            "unknown parameter `epsilom`, did you mean `epsilon`?; there are: epsilon, name, order"
        );
        assert_eq!(error("name = 1"), "`name`: found integer, expected string");
        assert_eq!(error("order = 5"), "`order`: expected one of `first`, `last`, found 5");
    }

    #[test]
    fn presets_are_found_by_name() {
        let presets = || {
            vec![Preset {
                name: "eccv2018",
                summary: "",
                params: P { epsilon: 0.3, ..P::default() },
            }]
        };
        assert_eq!(preset(presets(), Some("eccv2018")).unwrap().epsilon, 0.3);
        assert_eq!(preset(presets(), None).unwrap(), P::default());
        assert!(
            preset(presets(), Some("eccv2081"))
                .unwrap_err()
                .to_string()
                .contains("did you mean `eccv2018`?")
        );
    }
}

//! What a plugin's attack, model or metric says of itself, as a registry entry.

use crate::library::Library;
use crate::library::abi::{Head, Text};
use crate::params;
use crate::plugin::wire::{About, call_for_text, to_toml};
use crate::registry::{Entry, Resolve};
use anyhow::{Context, Result, ensure};
use std::sync::Arc;
use toml::Table;

/// A function that a table must have.
pub(super) fn needed<F>(function: Option<F>, name: &str) -> Result<F> {
    function.with_context(|| format!("its table has no `{name}`; build it again"))
}

/// Asks for the description, and makes an entry of it.
pub(super) fn describe(library: &Arc<Library>, head: &Head) -> Result<(Entry, About)> {
    let describe = needed(head.describe, "describe")?;
    // SAFETY: both sinks live during the call.
    let text = call_for_text("`describe`", |toml, error| unsafe { describe(toml, error) })?;
    let about: About = toml::from_str(&text)
        .with_context(|| format!("what it says of itself cannot be read:\n{text}"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = about.name.clone();
    ensure!(
        !name.is_empty() && name.chars().all(plain),
        "the name {name:?} is not made of letters, digits, `-`, `_` and `.`"
    );
    let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let mut presets = about.presets.clone();
    for preset in &mut presets {
        preset.summary = first_line(&preset.summary);
    }
    let entry = Entry {
        name,
        origin: library.stamp.to_string(),
        library: Some(Arc::clone(library)),
        summary: first_line(&about.summary),
        defaults: about.parameters.clone(),
        descriptions: about.descriptions.clone(),
        presets,
        resolve: resolver(head, &about),
    };
    Ok((entry, about))
}

/// Resolves parameters by the plugin's own function or, where it has none, by what it describes.
fn resolver(head: &Head, about: &About) -> Resolve {
    if let Some(resolve) = head.resolve {
        return Box::new(move |preset, overrides| {
            let (preset, overrides) = (preset.unwrap_or_default(), to_toml(overrides)?);
            let (preset, overrides) = (Text::of(preset), Text::of(&overrides));
            // SAFETY: texts and sinks live during the call.
            params::parse(&call_for_text("`resolve`", |toml, error| unsafe {
                resolve(preset, overrides, toml, error)
            })?)
        });
    }
    let (defaults, presets) = (about.parameters.clone(), about.presets.clone());
    let descriptions = about.descriptions.clone();
    Box::new(move |preset, overrides| {
        let names: Vec<&str> = presets.iter().map(|preset| preset.name.as_str()).collect();
        let base = match params::find_preset(&names, preset)? {
            Some(n) => params::overlay(&defaults, &presets[n].parameters, &descriptions)?,
            None => params::overlay(&defaults, &Table::new(), &descriptions)?,
        };
        params::overlay(&base, overrides, &descriptions)
    })
}

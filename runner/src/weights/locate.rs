//! Finding a model's weights.

use crate::home;
use crate::weights::archive::ECCV2018;
use crate::weights::place::{MissingWeights, WeightsPlace};
use gauntlet_core::registry::ModelEntry;
use gauntlet_core::weights::Weights;
use std::path::{Path, PathBuf};
use toml::Table;

/// Finds a model's weights. `given` is the user's own folder, which is searched first.
///
/// # Errors
/// When there are no weights in any of the places.
pub fn locate(entry: &ModelEntry, given: Option<&Path>) -> Result<WeightsPlace, MissingWeights> {
    let model = &entry.entry.name;
    if let Some(file) = given.and_then(|folder| find(model, folder)) {
        return Ok(WeightsPlace::File(file));
    }
    if let Some(bytes) = entry.embedded_weights {
        return Ok(WeightsPlace::Embedded(bytes));
    }
    let own = home::folder();
    if let Some(file) = own.as_deref().and_then(|folder| find(model, folder)) {
        return Ok(WeightsPlace::File(file));
    }
    let pull = ECCV2018.member(model).map(|_| format!("runner weights pull {model}"));
    Err(MissingWeights {
        model: model.clone(),
        folders: given.map(Path::to_owned).into_iter().chain(own).collect(),
        commands: pull
            .into_iter()
            .chain([format!("runner weights import FILE --model {model}")])
            .collect(),
    })
}

/// A model's parameters: those that a weights file notes, overridden by those that are `given`.
pub fn parameters(weights: &Weights, given: &Table) -> Table {
    let mut parameters = weights.note().map(|note| note.parameters.clone()).unwrap_or_default();
    parameters.extend(given.clone());
    parameters
}

/// The file names that a model's weights may have, the preferred one first.
pub(super) fn file_names(model: &str) -> impl Iterator<Item = String> {
    let member = ECCV2018.member(model).map(|member| member.file.to_owned());
    [format!("{model}.safetensors"), format!("{model}.pb")].into_iter().chain(member)
}

/// The file with a model's weights in a folder, if there is one.
pub fn find(model: &str, folder: &Path) -> Option<PathBuf> {
    file_names(model).map(|name| folder.join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::registry::Registry;
    use gauntlet_plugins as _;
    use std::fs;

    #[test]
    fn weights_are_found_under_each_name_and_preferred_in_order() {
        let registry = Registry::linked().unwrap();
        let entry = registry.find_model("vgg_16").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let error = locate(entry, Some(folder.path())).unwrap_err();
        assert_eq!(
            error.commands,
            ["runner weights pull vgg_16", "runner weights import FILE --model vgg_16"]
        );
        assert_eq!(error.folders[0], folder.path());
        let text = error.to_string();
        assert!(
            text.starts_with("model `vgg_16` has no weights in ")
                && text.contains("; get them with `runner weights pull vgg_16` or `runner")
        );
        for name in ["frozen_vgg_16.pb", "vgg_16.pb", "vgg_16.safetensors"] {
            let path = folder.path().join(name);
            fs::write(&path, "").unwrap();
            let located = locate(entry, Some(folder.path()));
            assert!(matches!(located, Ok(WeightsPlace::File(found)) if found == path));
        }
    }

    #[test]
    fn a_folder_comes_before_what_is_part_of_the_program() {
        let registry = Registry::linked().unwrap();
        let entry = registry.find_model("mini_vgg_16").unwrap();
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(locate(entry, Some(folder.path())), Ok(WeightsPlace::Embedded(_))));
        fs::write(folder.path().join("mini_vgg_16.pb"), "").unwrap();
        assert!(matches!(locate(entry, Some(folder.path())), Ok(WeightsPlace::File(_))));
    }
}

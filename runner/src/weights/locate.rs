//! Finding a model's weights.

use crate::home;
use crate::weights::archive::ECCV2018;
use crate::weights::place::{MissingWeights, WeightsPlace};
use anyhow::{Result, bail, ensure};
use gauntlet_core::registry::ModelEntry;
use gauntlet_core::weights::{FileFormat, NO_WEIGHTS, Purpose, Weights};
use std::fs;
use std::path::{Path, PathBuf};
use toml::Table;

/// Greatest number of files of a folder that an error names.
const NAMED_FILES: usize = 5;

/// The weights that a user names for one model: a file, or a folder that holds the model's file.
///
/// # Errors
/// When the path is a folder without that file: names the files looked for and those there.
pub fn named(model: &str, path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    if let Some(file) = find(model, path) {
        return Ok(file);
    }
    let place = format!("weights of model `{model}`: folder {}", path.display());
    match FileFormat::of(path)? {
        FileFormat::Folder => bail!(
            "{place} has no {} ({}): name the file itself, or rename it",
            file_names(model).collect::<Vec<_>>().join(", "),
            content(path)
        ),
        format => bail!("{place}: {}", format.refusal(Purpose::Weights)),
    }
}

/// What a folder holds, for an error.
fn content(folder: &Path) -> String {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort_unstable();
    match names.len() {
        0 => "it is empty".to_owned(),
        count => {
            let more = if count > NAMED_FILES { ", …" } else { "" };
            names.truncate(NAMED_FILES);
            format!("it holds {}{more}", names.join(", "))
        }
    }
}

/// Checks that a folder that is given for all models of a study holds the weights of one at least.
/// `places` are the models that might have their weights there, and where they have them.
///
/// # Errors
/// When none of these models has its weights in the folder: names the files looked for.
pub fn check_given(folder: &Path, places: &[(&str, &WeightsPlace)]) -> Result<()> {
    let elsewhere: Vec<String> = elsewhere(folder, places)
        .into_iter()
        .filter_map(|model| file_names(model).next())
        .take(NAMED_FILES)
        .collect();
    let inside = |place: &WeightsPlace| matches!(place, WeightsPlace::File(file) if file.starts_with(folder));
    ensure!(
        elsewhere.is_empty() || places.iter().any(|(_, place)| inside(place)),
        "weights folder {} has weights of no model of the study: looked for {} ({})",
        folder.display(),
        elsewhere.join(", "),
        content(folder)
    );
    Ok(())
}

/// The models among `places` that take their weights from the program or from Gauntlet's home,
/// since `folder` does not have them. A model without weights is none of them.
pub fn elsewhere<'a>(folder: &Path, places: &[(&'a str, &WeightsPlace)]) -> Vec<&'a str> {
    let home = home::folder().filter(|home| home != folder);
    let other = |place: &WeightsPlace| match place {
        WeightsPlace::Embedded(bytes) => *bytes != NO_WEIGHTS,
        WeightsPlace::File(file) => home.as_ref().is_some_and(|home| file.starts_with(home)),
        WeightsPlace::Absent(_) | WeightsPlace::TorchScript(_) => false,
    };
    places.iter().filter(|(_, place)| other(place)).map(|(model, _)| *model).collect()
}

/// Finds a model's weights. `given` is the user's own folder for all models, which is searched
/// first; [`check_given`] sees to it that it is of use.
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

    #[test]
    fn a_folder_that_is_named_is_the_only_place_looked_in() {
        let folder = tempfile::tempdir().unwrap();
        let error = || named("mini_vgg_16", folder.path()).unwrap_err().to_string();
        let start = format!(
            "weights of model `mini_vgg_16`: folder {} has no mini_vgg_16.safetensors, \
             mini_vgg_16.pb (",
            folder.path().display()
        );
        assert_eq!(error(), format!("{start}it is empty): name the file itself, or rename it"));
        fs::write(folder.path().join("model.safetensors"), "").unwrap();
        assert!(error().starts_with(&format!("{start}it holds model.safetensors)")));
        fs::write(folder.path().join("saved_model.pb"), "").unwrap();
        assert!(error().contains(": a TensorFlow SavedModel; a safetensors file or"));
        let file = folder.path().join("mini_vgg_16.pb");
        fs::write(&file, "").unwrap();
        assert_eq!(named("mini_vgg_16", folder.path()).unwrap(), file);
        assert_eq!(named("mini_vgg_16", Path::new("no/file")).unwrap(), Path::new("no/file"));
    }

    #[test]
    fn a_folder_for_all_models_must_serve_one() {
        let folder = tempfile::tempdir().unwrap();
        let own = WeightsPlace::File(folder.path().join("vgg_16.pb"));
        let program = WeightsPlace::Embedded(b"weights");
        let nothing = WeightsPlace::Embedded(NO_WEIGHTS);
        let (a, b, c) = (("vgg_16", &own), ("mini_vgg_16", &program), ("toy", &nothing));
        assert!(check_given(folder.path(), &[a, b, c]).is_ok());
        assert!(check_given(folder.path(), &[c]).is_ok());
        assert_eq!(elsewhere(folder.path(), &[a, b, c]), ["mini_vgg_16"]);
        let error = check_given(folder.path(), &[b, c]).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "weights folder {} has weights of no model of the study: looked for \
                 mini_vgg_16.safetensors (it is empty)",
                folder.path().display()
            )
        );
    }
}

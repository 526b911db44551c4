//! Where weights are, and where they come from.
//!
//! A model's weights are looked for in the folder that the user names, among those that are part of
//! the program, and in Gauntlet's own folder, in this order; [`locate`] says where they are, or
//! which commands get them. A file is called `<model>.safetensors` or `<model>.pb`, or as in the
//! study's archive of frozen graphs.

#[cfg(feature = "pull")]
mod check;
#[cfg(feature = "pull")]
mod download;
#[cfg(feature = "pull")]
mod folder;
#[cfg(feature = "pull")]
mod import;
mod place;
#[cfg(feature = "pull")]
mod pull;

use crate::home;
#[cfg(feature = "pull")]
pub use check::{PlainAnswer, WeightsReport, check};
#[cfg(feature = "pull")]
pub use download::{DownloadProgress, DownloadSettings, SilentDownload};
#[cfg(feature = "pull")]
pub use folder::{sum, sum_of};
use gauntlet_core::registry::ModelEntry;
use gauntlet_core::weights::Weights;
#[cfg(feature = "pull")]
pub use import::{Imported, import};
pub use place::{MissingWeights, WeightsPlace};
#[cfg(feature = "pull")]
pub use pull::{Pulled, pull};
use std::path::{Path, PathBuf};
use toml::Table;

/// An archive of frozen graphs.
#[derive(Debug)]
pub struct Archive {
    /// What `runner weights pull` calls it.
    pub name: &'static str,
    /// The folder that it is fetched from; a mirror takes its place.
    pub base: &'static str,
    /// Its file name there.
    pub file: &'static str,
    /// Bytes.
    pub size: u64,
    /// Of the whole file, in hexadecimal.
    pub sha256: &'static str,
    /// What is taken from it.
    pub members: &'static [Member],
}

/// A file of an [`Archive`].
#[derive(Debug)]
pub struct Member {
    /// The model whose weights it holds.
    pub model: &'static str,
    /// Its name.
    pub file: &'static str,
    /// The licence that is stated where the weights were first published; the archive states none.
    pub licence: &'static str,
}

const fn member(model: &'static str, file: &'static str, licence: &'static str) -> Member {
    Member { model, file, licence }
}

/// TensorFlow's models, TF-Slim among them.
const SLIM: &str = "Apache-2.0";
/// Of the University of Oxford.
const OXFORD: &str = "CC-BY-4.0";
/// Of the paper's authors, whose weights were converted.
const DENSENET: &str = "BSD-3-Clause";

/// The weights of the ECCV 2018 study, as its authors publish them.
pub const ECCV2018: Archive = Archive {
    name: "eccv2018",
    base: "http://download.huan-zhang.com/models/adv/imagenet/",
    file: "frozen_imagenet_models_v1.1.tar.gz",
    size: 2_828_941_127,
    sha256: "493533fb8c4ed957e5ea575833310e61512a177571fb352692dc4992dec891a7",
    members: &[
        member("alexnet", "alexnet_frozen.pb", "unrestricted"),
        member("densenet121_k32", "densenet121_k32_frozen.pb", DENSENET),
        member("densenet161_k48", "densenet161_k48_frozen.pb", DENSENET),
        member("densenet169_k32", "densenet169_k32_frozen.pb", DENSENET),
        member("inception_resnet_v2", "frozen_inception_resnet_v2.pb", SLIM),
        member("inception_v1", "frozen_inception_v1.pb", SLIM),
        member("inception_v2", "frozen_inception_v2.pb", SLIM),
        member("inception_v3", "frozen_inception_v3.pb", SLIM),
        member("inception_v4", "frozen_inception_v4.pb", SLIM),
        member("mobilenet_v1_025", "frozen_mobilenet_v1_025.pb", SLIM),
        member("mobilenet_v1_050", "frozen_mobilenet_v1_050.pb", SLIM),
        member("mobilenet_v1_100", "frozen_mobilenet_v1_100.pb", SLIM),
        member("nasnet_large", "frozen_nasnet_large.pb", SLIM),
        member("resnet_v2_101", "frozen_resnet_v2_101.pb", SLIM),
        member("resnet_v2_152", "frozen_resnet_v2_152.pb", SLIM),
        member("resnet_v2_50", "frozen_resnet_v2_50.pb", SLIM),
        member("vgg_16", "frozen_vgg_16.pb", OXFORD),
        member("vgg_19", "frozen_vgg_19.pb", OXFORD),
    ],
};

impl Archive {
    /// The member with the weights of a model, if there is one.
    pub fn member(&self, model: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.model == model)
    }
}

/// Where a model's weights are. `given` is the user's own folder, which comes first.
///
/// # Errors
/// When they are nowhere.
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

/// The parameters of a model that a weights file speaks of, below those that are `given`.
pub fn parameters(weights: &Weights, given: &Table) -> Table {
    let mut parameters = weights.note().map(|note| note.parameters.clone()).unwrap_or_default();
    parameters.extend(given.clone());
    parameters
}

/// The file names that a model's weights may have, the preferred one first.
fn file_names(model: &str) -> impl Iterator<Item = String> {
    let member = ECCV2018.member(model).map(|member| member.file.to_owned());
    [format!("{model}.safetensors"), format!("{model}.pb")].into_iter().chain(member)
}

/// A model's weights in a folder.
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
            assert!(
                matches!(locate(entry, Some(folder.path())), Ok(WeightsPlace::File(found)) if found == path)
            );
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

//! The published archive of frozen graphs.

/// An archive of frozen graphs.
#[derive(Debug)]
pub struct Archive {
    /// The archive's name for `runner weights pull`.
    pub name: &'static str,
    /// Address of the folder that the archive is fetched from, unless there is a mirror.
    pub base: &'static str,
    /// The archive's file name in that folder.
    pub file: &'static str,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the archive, in hexadecimal.
    pub sha256: &'static str,
    /// The files that are taken from the archive.
    pub members: &'static [Member],
}

/// A file of an [`Archive`].
#[derive(Debug)]
pub struct Member {
    /// The model whose weights the file holds.
    pub model: &'static str,
    /// The file's name in the archive.
    pub file: &'static str,
    /// Licence stated where the weights were first published; the archive states none.
    pub licence: &'static str,
}

/// Licence of TensorFlow's models, TF-Slim among them.
const SLIM: &str = "Apache-2.0";
/// Licence of the VGG networks of the University of Oxford.
const OXFORD: &str = "CC-BY-4.0";
/// Licence of DenseNet's authors, whose weights were converted.
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

const fn member(model: &'static str, file: &'static str, licence: &'static str) -> Member {
    Member { model, file, licence }
}

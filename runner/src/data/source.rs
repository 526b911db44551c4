//! Where images come from, and what to do when they are not there.

use crate::data::classes::Classes;
use crate::data::folder::Folder;
use std::fmt;
use std::path::PathBuf;

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The 1,000 embedded images.
    FashionMnist,
    /// The images of the ECCV 2018 study, in Gauntlet's own folder.
    Eccv2018,
    /// A folder of image files.
    Folder(Folder),
}

impl Source {
    /// Number of classes of the images; `None` for a folder, which tells only when it is read.
    pub fn classes(&self) -> Option<i64> {
        match self {
            Self::FashionMnist => Some(Classes::fashion_mnist().len() as i64),
            Self::Eccv2018 => Some(Classes::imagenet().len() as i64),
            Self::Folder(_) => None,
        }
    }
}

/// Why the images of a study cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such folder.
    #[error(transparent)]
    Missing(#[from] MissingImages),
    /// The folder or a label file cannot be read, a label is wrong, or no image is usable.
    #[error(transparent)]
    Unusable(#[from] anyhow::Error),
}

/// The images of the ECCV 2018 study, as its authors publish them: the validation set of ILSVRC
/// 2012, each file named by its label.
pub mod eccv2018 {
    /// Address of the archive.
    pub const URL: &str = "http://download.huan-zhang.com/datasets/adv/img.tar.gz";
    /// Size of the archive in bytes.
    pub const SIZE: u64 = 6_664_105_290;
    /// The archive's SHA-256, in hexadecimal.
    pub const SHA256: &str = "217c3776db6d53ffca5b232703def0c38221a899d7f1205b4eb5730c7d3a983e";
    /// Number of images in the archive.
    pub const IMAGES: usize = 50_000;
}

/// The folder of a study's images does not exist. The message names the commands that get the
/// images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingImages {
    /// Where the images were looked for.
    pub folder: PathBuf,
    /// Commands that get the images, to be run in this order; none for a user's own folder.
    pub commands: Vec<String>,
}

impl MissingImages {
    /// There is no `folder` of the user's own.
    pub(super) fn own(folder: PathBuf) -> Self {
        Self { folder, commands: Vec::new() }
    }

    /// The images of the ECCV 2018 study are not in `folder`.
    pub(super) fn eccv2018(folder: PathBuf) -> Self {
        let place = folder.display();
        let commands = vec![
            format!("mkdir -p '{place}' && cd '{place}'"),
            format!("curl -fLO -C - {}", eccv2018::URL),
            format!(
                "echo '{}  img.tar.gz' | sha256sum -c && tar xzf img.tar.gz --wildcards '*.jpg' \
                 --transform 's,.*/,,' && rm img.tar.gz",
                eccv2018::SHA256
            ),
        ];
        Self { folder, commands }
    }
}

impl fmt::Display for MissingImages {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let path = self.folder.display();
        if self.folder.exists() {
            write!(f, "{path} is a file, a folder is expected")
        } else {
            write!(f, "there is no folder {path}")
        }?;
        if !self.commands.is_empty() {
            let size = eccv2018::SIZE as f64 / 1e9;
            write!(
                f,
                "; these commands get the images ({size:.1} GB):\n  {}\n",
                self.commands.join("\n  ")
            )?;
            write!(f, "or use images of your own: `--set data.folder=DIR`")?;
        }
        Ok(())
    }
}

impl std::error::Error for MissingImages {}

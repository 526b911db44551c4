//! Where a model's weights are.

use std::fmt;
use std::path::PathBuf;

/// Where weights are.
#[derive(Clone, Debug)]
pub enum WeightsPlace {
    /// In the program: the bytes of a safetensors file.
    Embedded(&'static [u8]),
    /// A safetensors file or a frozen graph.
    File(PathBuf),
    /// Nowhere: the study can be planned, not run.
    Absent(MissingWeights),
    /// In the file of a TorchScript module, which is the model.
    TorchScript(PathBuf),
}

impl WeightsPlace {
    /// The model and the commands that get its weights, if they are nowhere.
    pub fn missing(&self) -> Option<&MissingWeights> {
        match self {
            Self::Absent(missing) => Some(missing),
            Self::Embedded(_) | Self::File(_) | Self::TorchScript(_) => None,
        }
    }
}

/// A model's weights are nowhere. The message names the commands that get them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingWeights {
    /// The model.
    pub model: String,
    /// Where the weights were looked for.
    pub folders: Vec<PathBuf>,
    /// Commands that get the weights; any one of them is enough.
    pub commands: Vec<String>,
}

impl fmt::Display for MissingWeights {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let folders: Vec<String> =
            self.folders.iter().map(|folder| folder.display().to_string()).collect();
        let places = if folders.is_empty() {
            String::new()
        } else {
            format!(" in {}", folders.join(" or "))
        };
        write!(f, "model `{}` has no weights{places}; get them with", self.model)?;
        for (n, command) in self.commands.iter().enumerate() {
            write!(f, "{} `{command}`", if n == 0 { "" } else { " or" })?;
        }
        write!(f, ", or name a file (`--weights FILE`, or `weights = \"…\"` in the study)")
    }
}

impl std::error::Error for MissingWeights {}

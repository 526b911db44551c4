//! Where weights are, and where they come from.
//!
//! A file or folder that the user names for a model is the only place of its weights (`named`).
//! Otherwise they are looked for in the folder that is given for all models, then among those that
//! are part of the program, then in Gauntlet's own folder. `locate` finds them, or names the
//! commands that get them. A file is called `<model>.safetensors` or `<model>.pb`, or as in the study's
//! archive of frozen graphs.

mod archive;
#[cfg(feature = "pull")]
mod check;
#[cfg(feature = "pull")]
mod download;
#[cfg(feature = "pull")]
mod folder;
#[cfg(feature = "pull")]
mod hash;
#[cfg(feature = "pull")]
mod http;
#[cfg(feature = "pull")]
mod import;
mod locate;
mod place;
mod plain;
#[cfg(feature = "pull")]
mod progress;
#[cfg(feature = "pull")]
mod pull;
#[cfg(feature = "pull")]
mod settings;

pub use archive::{Archive, ECCV2018, Member};
#[cfg(feature = "pull")]
pub use check::{WeightsReport, check};
#[cfg(feature = "pull")]
pub use folder::sum;
#[cfg(feature = "pull")]
pub use hash::sum_of;
#[cfg(feature = "pull")]
pub use import::{Imported, import};
pub use locate::{check_given, elsewhere, find, locate, named, parameters};
pub use place::{MissingWeights, WeightsPlace};
pub use plain::PlainAnswer;
#[cfg(feature = "pull")]
pub use progress::{DownloadProgress, SilentDownload};
#[cfg(feature = "pull")]
pub use pull::{Pulled, pull};
#[cfg(feature = "pull")]
pub use settings::DownloadSettings;

//! A study: which images, models, attacks and metrics, read from TOML and checked against the
//! registry before any work.

mod batch;
mod builder;
mod built_in;
mod checks;
mod definition;
mod goal;
mod images;
mod join;
mod module_file;
mod options;
mod part;
mod reader;
mod refusal;
mod resolve;
mod selection;
mod set;
mod syntax;
#[cfg(test)]
mod tests;
mod text;
pub mod torchscript;
mod writer;

pub use builder::{Member, StudyBuilder};
pub use built_in::{BUILT_IN, BuiltIn};
pub(crate) use definition::FoundInputs;
pub use definition::{MissingInputs, Study};
pub use goal::{GoalKind, Policy};
pub use options::StudyOptions;
pub use part::{
    LeftOut, MemberKind, ModelError, Part, Samples, StudyAttack, StudyMetric, StudyModel,
};

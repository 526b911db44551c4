//! Where the tensors of weights come from.

use super::conventions::{Dialect, Role};
use super::graph::Graph;
use super::note::Note;
use tch::Tensor;

/// Why a source cannot give a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The source has no tensor of that name.
    Missing,
    /// The tensor has another shape.
    Misshapen {
        /// Its shape.
        found: Vec<i64>,
        /// The shape that it should have.
        expected: Vec<i64>,
    },
    /// The tensor cannot be read, for this reason.
    Unreadable(String),
}

/// A source of tensors: a file, a formula, the variables of an optimiser.
pub trait Source {
    /// The tensor of that name and shape. A source that makes tensors may ignore the name.
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit>;

    /// All names, to find those that nobody asks for. Empty for a source that makes tensors.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Number of values in all tensors together, as the file's header has it. 0 for a source that
    /// makes tensors.
    fn values(&self) -> u64 {
        0
    }

    /// The name that the source itself uses for the tensor, where it differs.
    fn own_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Whose conventions the tensors follow.
    fn dialect(&self) -> Dialect {
        Dialect::TensorFlow
    }

    /// The graph that the tensors were frozen into, if any.
    fn graph(&self) -> Option<&Graph> {
        None
    }

    /// The note in the file's metadata, if any.
    fn note(&self) -> Option<&Note> {
        None
    }

    /// What kind of source this is, for people.
    fn description(&self) -> String {
        "tensors in memory".to_owned()
    }

    /// Whether batch norm shall use the statistics of the batch, as in training.
    fn training(&self) -> bool {
        false
    }

    /// Is told the beginning of names that nobody needs to ask for, see
    /// [`VariableScope::spare`](super::VariableScope::spare).
    fn spare(&self, _start: &str) {}
}

/// Number of values in a tensor of these sizes. It saturates, since a header can claim any size.
pub(super) fn count(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(1, u64::saturating_mul)
}

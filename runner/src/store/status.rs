//! How an attack on one image ended.

use crate::store::row::Value;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use std::fmt;

/// How an attack on one image ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The attack gave pixels that meet the goal.
    Adversarial,
    /// The attack gave pixels that do not meet the goal.
    NotAdversarial,
    /// The attack gave no pixels.
    NotFound,
    /// The attack's answer cannot be counted; says why.
    Invalid(String),
    /// The model misclassifies the original, so it was not attacked.
    Misclassified,
    /// A logit of the original is not finite, so it was not attacked.
    Unclassified,
}

impl Status {
    /// Whether the image was attacked.
    pub fn attempted(&self) -> bool {
        !matches!(self, Self::Misclassified | Self::Unclassified)
    }

    /// Whether the answer is invalid since the model's answer to the original changed.
    pub fn answers_changed(&self) -> bool {
        matches!(self, Self::Invalid(reason) if reason.starts_with(CHANGED))
    }

    /// Whether the answer is invalid since logits at the pixels are not finite.
    pub fn logits_not_finite(&self) -> bool {
        matches!(self, Self::Invalid(reason) if reason.starts_with(LOGITS))
    }
}

/// The beginning of the status of invalid pixels, before the reason.
const INVALID: &str = "invalid: ";
/// The beginning of the reason that the engine gives where a model's answer to the original changes.
pub(crate) const CHANGED: &str = "the model's answer to the original";
/// The beginning of a reason that the engine gives for logits that are not finite.
pub(crate) const LOGITS: &str = "the logits";
/// The reason of [`Status::Unclassified`].
const UNCLASSIFIED: &str = "the logits of the original are not finite";

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Adversarial => f.write_str("adversarial"),
            Self::NotAdversarial => f.write_str("not_adversarial"),
            Self::NotFound => f.write_str("not_found"),
            Self::Misclassified => f.write_str("misclassified"),
            Self::Invalid(reason) => write!(f, "{INVALID}{reason}"),
            Self::Unclassified => write!(f, "{INVALID}{UNCLASSIFIED}"),
        }
    }
}

impl Value for Status {
    fn data_type() -> DataType {
        DataType::Utf8
    }

    fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
        String::array(values.map(|status| status.to_string()))
    }

    fn get(array: &dyn Array, row: usize) -> Option<Self> {
        Some(match String::get(array, row)?.as_str() {
            "adversarial" => Self::Adversarial,
            "not_adversarial" => Self::NotAdversarial,
            "not_found" => Self::NotFound,
            "misclassified" => Self::Misclassified,
            other => match other.strip_prefix(INVALID)? {
                UNCLASSIFIED => Self::Unclassified,
                reason => Self::Invalid(reason.to_owned()),
            },
        })
    }
}

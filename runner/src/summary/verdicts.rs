//! What the study's claims come to.

use crate::analysis::Estimate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the data say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// They speak for it.
    Supported,
    /// They speak against it.
    NotSupported,
    /// They do not tell.
    Undecided,
}

/// A claim of the 2018 study, held against the data at hand.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Number of the claim, from 1.
    pub claim: u32,
    /// The claim in a sentence.
    pub statement: String,
    /// What the data say.
    pub finding: Finding,
    /// When the finding is which.
    pub rule: String,
    /// The finding in a sentence, with the numbers that decide it.
    pub reading: String,
    /// The numbers.
    pub evidence: Vec<Evidence>,
}

/// A number that a verdict rests on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What it is.
    pub what: String,
    /// The number.
    pub value: Estimate,
    /// What it says of the claim by itself.
    pub finding: Finding,
}

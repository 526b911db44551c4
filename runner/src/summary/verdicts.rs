//! Verdicts on the claims of the 2018 study.

use crate::analysis::Estimate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the data say about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The data support the claim.
    Supported,
    /// The data contradict the claim.
    NotSupported,
    /// The data decide neither way.
    Undecided,
}

/// A claim of the 2018 study, tested on this study's data.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Number of the claim, from 1.
    pub claim: u32,
    /// The claim in a sentence.
    pub statement: String,
    /// What the data say.
    pub finding: Finding,
    /// The rule that decides the finding.
    pub rule: String,
    /// The finding in a sentence, with the numbers that decide it.
    pub reading: String,
    /// The numbers that decide it.
    pub evidence: Vec<Evidence>,
}

/// A number that a verdict is based on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What the number is.
    pub what: String,
    /// The number.
    pub value: Estimate,
    /// What the number alone says about the claim.
    pub finding: Finding,
}

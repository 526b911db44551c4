//! Transfer between models.

use crate::analysis::{Estimate, Match, Pixels, Rate};
use crate::study::GoalKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How adversarials of every model do against every other. Rows are sources and columns targets, in
/// the order of the models; on the diagonal stands what the attack does to its own model (of top-5
/// matches that is not known: 0 of 0).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// Whether images are taken as they are or rounded to 8 bits.
    pub pixels: Pixels,
    /// What counts as meeting the goal.
    pub matching: Match,
    /// Counts under each denominator: `all` images; `source_correct`, those attacked;
    /// `source_success`, those that deceive the source; `target_correct`, those attacked that the
    /// target classifies correctly; `both`, those that deceive the source and that the target
    /// classifies correctly; `all_correct`, those that every model of the study classifies
    /// correctly.
    pub denominators: BTreeMap<String, Counts>,
    /// Which of them the 2018 study used: `target_correct`.
    pub published: String,
    /// What targets make of the images of `both`.
    pub split: Split,
}

/// A matrix of counts, `k[source][target]` of `n[source][target]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// How many meet the goal.
    pub k: Vec<Vec<usize>>,
    /// Of how many.
    pub n: Vec<Vec<usize>>,
}

impl Counts {
    /// An entry with its interval.
    pub fn rate(&self, source: usize, target: usize) -> Rate {
        Rate::new(self.k[source][target], self.n[source][target])
    }
}

/// What targets make of images that deceive the source and that they classify correctly as they
/// are: three matrices that add up to `both`. On the diagonal everything is the same mistake.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// They still see the true class.
    pub unfooled: Vec<Vec<usize>>,
    /// They see another class than the true one and the source's.
    pub different_mistake: Vec<Vec<usize>>,
    /// They see what the source sees.
    pub same_mistake: Vec<Vec<usize>>,
}

/// Transfer within and across families, under the published denominator, float images, top-1.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FamilyTransfer {
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// Pairs of different models of one family, pooled.
    pub within: Pooled,
    /// Pairs of models of different families, pooled.
    pub across: Pooled,
    /// Rate within less rate across.
    pub difference: Estimate,
    /// By the source's family.
    pub sources: Vec<SourceFamily>,
}

/// Outcomes of several pairs of models, pooled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pooled {
    /// How many meet the goal.
    pub k: usize,
    /// Of how many.
    pub n: usize,
    /// The rate; its interval is from a bootstrap over images, since an image's outcomes hang
    /// together.
    pub rate: Estimate,
}

/// How adversarials of a family's models carry over.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceFamily {
    /// The family.
    pub family: String,
    /// To other models of the family.
    pub within: Pooled,
    /// To models of other families.
    pub across: Pooled,
}

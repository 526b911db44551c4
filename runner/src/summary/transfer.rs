//! Transfer between models.

use crate::analysis::{Estimate, Match, Pixels, Rate};
use crate::study::GoalKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Transfer of every model's adversarials to every other model. Rows are sources and columns
/// targets, in the order of the models. The diagonal has the attack's success on its own model; for
/// top-5 matches that is unknown, 0 of 0.
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
    /// correctly; `control`, those attacked that the target classifies correctly when they are
    /// brought to it unperturbed.
    pub denominators: BTreeMap<String, Counts>,
    /// The denominator of the 2018 study: `target_correct`.
    pub published: String,
    /// The published denominator's images without the attack: brought to the target unperturbed, in
    /// the way in which the adversarials are.
    pub control: Counts,
    /// The published rate less that of `control`: by source and target. Its interval is Newcombe's,
    /// for rates on the same images.
    pub excess: Vec<Vec<Estimate>>,
    /// What targets answer to the images of `both`.
    pub split: Split,
}

/// A matrix of counts: `k[source][target]` of `n[source][target]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Number of images that meet the goal.
    pub k: Vec<Vec<usize>>,
    /// Number of images.
    pub n: Vec<Vec<usize>>,
}

impl Counts {
    /// The rate of an entry, with its interval.
    pub fn rate(&self, source: usize, target: usize) -> Rate {
        Rate::new(self.k[source][target], self.n[source][target])
    }
}

/// What targets answer to images that deceive the source and whose originals the target classifies
/// correctly: three matrices that add up to `both`. On the diagonal all are the same mistake.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// The target still sees the true class.
    pub unfooled: Vec<Vec<usize>>,
    /// The target sees another class than the true one and the source's answer.
    pub different_mistake: Vec<Vec<usize>>,
    /// The target sees what the source sees.
    pub same_mistake: Vec<Vec<usize>>,
}

/// Transfer within and across families, under the published denominator, for float images and top-1
/// matches.
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
    /// Rate within families minus rate across.
    pub difference: Estimate,
    /// One for every family of sources.
    pub sources: Vec<SourceFamily>,
}

/// Outcomes of several pairs of models, pooled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pooled {
    /// Number of outcomes that meet the goal.
    pub k: usize,
    /// Number of outcomes.
    pub n: usize,
    /// The rate. Its interval is from a bootstrap over images, since the outcomes of one image
    /// depend on each other; where all images have the same rate, it is Wilson's over the images.
    pub rate: Estimate,
}

/// Transfer of the adversarials of one family's models.
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

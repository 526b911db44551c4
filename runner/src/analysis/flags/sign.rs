//! The types of flags: signs, severities, findings.

use crate::analysis::rate::{Rate, number};
use crate::analysis::stats;
use crate::study::{GoalKind, Study};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Greatest probability that chance alone raises any flag of one kind in a study.
pub const LEVEL: f64 = 0.01;

/// What a flag is about.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Sign {
    /// Images have equal content under different names.
    EqualImages,
    /// Images have equal content and different labels.
    ContradictoryLabels,
    /// ImageNet's classes do not stand in the order of their WordNet ids.
    ClassesInAnotherOrder,
    /// An attack's bound allows every image.
    BoundBeyondPixels,
    /// Two models are one network with one set of weights.
    SameWeights,
    /// A channel's mean is outside the range of the model's inputs.
    MeanOutsideRange,
    /// The model is right no more often than by chance.
    AccuracyNotAboveChance,
    /// Logits are not finite.
    NonfiniteLogits,
    /// The gradient is exactly zero, or there is none.
    ZeroGradients,
    /// The gradient is not finite.
    NanGradients,
    /// The gradient of cross entropy is exactly zero, that of the margin is not.
    SaturatedCrossEntropy,
    /// The same batch has other logits the second time.
    NondeterministicLogits,
    /// An image has other logits by itself than in a batch.
    AnswerDependsOnBatch,
    /// The outputs are probabilities.
    ProbabilitiesNotLogits,
    /// The outputs are a probability for each class by itself.
    SigmoidsNotLogits,
    /// Random perturbations deceive the model more often than an attack by gradients.
    RandomBeatsGradient,
    /// Adversarials of another model deceive the model more often than those made for it.
    TransferBeatsWhiteBox,
    /// Unperturbed images of another side, brought to the model as adversarials are, make up more
    /// than half of a transfer rate.
    TransferIsControl,
    /// An attack of many steps succeeds less often than one of a single step within the same bound.
    IteratedWeakerThanSingleStep,
    /// An attack succeeds less often within a larger bound.
    SuccessFallsWithEpsilon,
    /// Answers of an attack are not images that the model takes.
    InvalidAnswers,
    /// An attack asks for a margin that the outputs do not reach.
    ConfidenceOutOfReach,
    /// An attack without a bound fails on too many images.
    UnboundedAttackFails,
    /// Adversarials are nearer than CLEVER estimates that any is.
    BelowClever,
}

impl Sign {
    /// All signs, in the order in which they are reported.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name in tables.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What the sign says of the numbers beside it, and what to do.
    #[expect(clippy::too_many_lines, reason = "it is a text for each sign")]
    pub fn advice(self) -> Advice {
        let (meaning, remedy) = match self {
            Self::EqualImages => (
                "An image that is there several times counts several times: intervals are \
                 narrower than the images justify.",
                "Keep one of each.",
            ),
            Self::ContradictoryLabels => (
                "At most one label of an image can be right: the other counts as a mistake of \
                 every model.",
                "Keep the right label, or leave the image out.",
            ),
            Self::ClassesInAnotherOrder => (
                "Labels that are numbers and the outputs of all models are taken to count in this \
                 order. Most models of ImageNet count in the order of the WordNet ids.",
                "If the models do, sort the lines of `classes` by WordNet id, or leave `classes` \
                 out.",
            ),
            Self::BoundBeyondPixels => (
                "The bound allows every image, so success within it says nothing of the model.",
                "Give the bound in units of pixels in [0, 1]: 8 of 255 grey levels are 8/255 = \
                 0.0314.",
            ),
            Self::SameWeights => (
                "Transfer between them is an attack's success on its own model, and what one \
                 shows is no second witness for the other.",
                "Leave one of them out, or give it the weights that it should have.",
            ),
            Self::MeanOutsideRange => (
                "The model sees inputs far from those that it was trained on.",
                "Give `mean` and `std` in units of `range`: for range = [0, 1] ImageNet's mean is \
                 [0.485, 0.456, 0.406]; for means of 8-bit levels say range = [0, 255].",
            ),
            Self::AccuracyNotAboveChance => (
                "Attacks start from images that the model knows: there are none, or those that \
                 it hits by chance.",
                "Check the model's preprocessing (`range`, `channels`, `mean`, `std`), its \
                 weights, and that labels and outputs count the classes in one order.",
            ),
            Self::NonfiniteLogits => (
                "The model has no answer there: such images are not attacked, and such \
                 adversarials count as invalid.",
                "Find what overflows or divides by 0 in the model (a logarithm of 0, an \
                 exponential of a large number, half precision), and keep it finite.",
            ),
            Self::ZeroGradients => (
                "An attack by gradients does nothing on these images: that it fails says nothing \
                 of the model.",
                "Find what rounds, quantises, clips or detaches in the model, and attack it with \
                 a differentiable stand-in for that (BPDA) or without gradients.",
            ),
            Self::NanGradients => (
                "An attack by gradients gives no image there: that it fails says nothing of the \
                 model.",
                "Find the square root, logarithm or division at 0 in preprocessing or network, \
                 and keep it away from 0.",
            ),
            Self::SaturatedCrossEntropy => (
                "The softmax is so sure that attacks on cross entropy do nothing on these images.",
                "Attack the logits: objective = \"margin\" or \"logit\" in FGSM and I-FGSM, or \
                 C&W.",
            ),
            Self::NondeterministicLogits => (
                "The model is random: answers do not repeat, and a single gradient is not the one \
                 to follow.",
                "Switch to evaluation mode (dropout, noise). Where the model is random on purpose (a \
                 defence), attack its expectation (EOT): `samples = 16` beside its name under \
                 [[models]]; its random numbers must come from libtorch's generator.",
            ),
            Self::AnswerDependsOnBatch => (
                "The answer to an image depends on its neighbours: rates change with the batch.",
                "Switch to evaluation mode (batch norm), and let nothing be computed over the \
                 batch.",
            ),
            Self::ProbabilitiesNotLogits => (
                "The model ends in a softmax: losses apply another, which flattens the gradient.",
                "Leave the softmax out of the model.",
            ),
            Self::SigmoidsNotLogits => (
                "The model ends in a sigmoid for each class: its gradient vanishes where an \
                 output is near 0 or 1, and margins are at most 1.",
                "Leave the sigmoid out of the model, so that it gives logits.",
            ),
            Self::RandomBeatsGradient => (
                "There are adversarials within the bound that the attack does not find: the \
                 gradient misleads it.",
                "Take the rate as a lower bound; look at the model's gradients, then try more \
                 iterations, restarts and another objective, an attack without gradients, BPDA or \
                 EOT.",
            ),
            Self::TransferBeatsWhiteBox => (
                "There are adversarials that the attack on the model itself does not find: the \
                 gradient misleads it.",
                "Take the transferred rate as the lower bound; try more iterations, restarts and \
                 another objective, then look at the model's gradients.",
            ),
            Self::TransferIsControl => (
                "Cropping, padding or resizing alone changes most of these answers: the rate says \
                 little of the attack.",
                "Read the excess over control, or the denominator \"control\"; or let every source \
                 attack at the target's side (policy = \"native\").",
            ),
            Self::IteratedWeakerThanSingleStep => (
                "Many small steps should do no worse than one: they get stuck, or are too short.",
                "Try longer steps, more iterations, random starts and the margin as objective; if \
                 that changes nothing, the gradient is masked around the images.",
            ),
            Self::SuccessFallsWithEpsilon => (
                "The larger bound allows all that the smaller does: the attack does not find it.",
                "Count an image as deceived within the larger bound if it is within the smaller; \
                 use an attack of several steps, with more of them for the larger bound.",
            ),
            Self::InvalidAnswers => (
                "An invalid answer counts as a failure of the attack: the success rate says \
                 nothing of the model.",
                "Mend the attack: an answer is a float32 image of the model's own shape with \
                 pixels in [0, 1] (`status` in outcomes.parquet has the reason for each image).",
            ),
            Self::ConfidenceOutOfReach => (
                "The attack asks for a greater margin than the outputs have, so nothing that it \
                 finds is enough: that it fails says nothing of the model.",
                "Set `kappa` well below the range of the outputs, or to its default; see that the \
                 outputs are logits, without softmax or sigmoid.",
            ),
            Self::UnboundedAttackFails => (
                "Without a bound nearly every image has an adversarial: the attack is cut short, \
                 or the gradient misleads it.",
                "Give it more iterations and search steps, or a larger first c. If it fails on \
                 this model alone, look at its gradients. An attack that has a bound must declare \
                 it.",
            ),
            Self::BelowClever => (
                "The score is too high there: it is an estimate, and these adversarials \
                 contradict it.",
                "Raise CLEVER's batches and samples, set rivals = 0, and see how many fits are \
                 good (good_fit); take the adversarials as the upper bound.",
            ),
        };
        Advice { meaning, remedy }
    }
}

/// What readers of a flag should know.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// What the sign says of the numbers beside it, in a sentence.
    pub meaning: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// How much a flag matters.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Severity {
    /// The numbers that the flag is about cannot be taken as the model's robustness.
    Error,
    /// The numbers may overstate the model's robustness.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A sign that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// Which sign.
    pub flag: Sign,
    /// How much the flag matters.
    pub severity: Severity,
    /// The model; null when the flag is about the study's images, or about an attack whatever the
    /// model.
    pub model: Option<String>,
    /// The attack; null when the flag is about the model itself.
    pub attack: Option<String>,
    /// The attack's goal.
    pub goal: Option<GoalKind>,
    /// What the attack is compared with: another attack, model or metric.
    pub against: Option<String>,
    /// Images with the sign, of those examined; 0 of 0 when the flag is not about images. In a
    /// comparison, those on which the attack succeeds. Of `accuracy_not_above_chance`, those that
    /// are classified correctly.
    pub found: Rate,
    /// In a comparison, those of the same images on which `against` succeeds.
    pub compared: Option<Rate>,
    /// Probability of such a difference by chance, corrected for all comparisons of this kind.
    pub p: Option<f64>,
    /// The finding in a sentence, with its numbers.
    pub reading: String,
    /// What the flag says of the numbers beside it, in a sentence.
    pub meaning: String,
    /// What to do.
    pub remedy: String,
}

/// A sign that was looked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Which sign.
    pub flag: Sign,
    /// Number of models or comparisons that were looked at. 0: the study has nothing that would
    /// show the sign.
    pub looked_at: usize,
    /// Number of these in which the sign was found.
    pub raised: usize,
    /// What the sign would mean, in a sentence.
    pub meaning: String,
}

/// All signs that were looked for and found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// The signs that were found, by model.
    pub flags: Vec<Flag>,
    /// The signs that were looked for; empty in results of a program that looked for none.
    pub checks: Vec<Check>,
}

/// A place where a sign was looked for, with the flag to raise there if it was found.
pub(super) struct Signal {
    /// Index of the model, if it is about one.
    pub(super) model: Option<usize>,
    pub(super) flag: Flag,
    pub(super) raised: bool,
}

impl Flag {
    /// What the flag is about, in words: attack, goal and model, as far as it has them.
    pub fn place(&self) -> String {
        let goal = self.goal.map_or_else(String::new, |goal| format!(" ({})", goal.name()));
        match (&self.attack, &self.model) {
            (Some(attack), Some(model)) => format!("{attack}{goal} on {model}"),
            (Some(attack), None) => format!("{attack}{goal}"),
            (None, Some(model)) => model.clone(),
            (None, None) => "the images".to_owned(),
        }
    }

    /// A warning about a model as a whole; without a model, about the study.
    pub(super) fn new(
        study: &Study,
        flag: Sign,
        model: Option<usize>,
        found: Rate,
        reading: String,
    ) -> Self {
        let Advice { meaning, remedy } = flag.advice();
        Self {
            flag,
            severity: Severity::Warning,
            model: model.map(|model| study.models[model].part.label.clone()),
            attack: None,
            goal: None,
            against: None,
            found,
            compared: None,
            p: None,
            reading,
            meaning: meaning.into(),
            remedy: remedy.into(),
        }
    }
}

/// Corrects the probabilities of one kind of comparison for their number (Holm). Lowers the flags
/// whose difference may be chance: only those stay raised whose corrected probability is below
/// [`LEVEL`].
pub(super) fn beyond_chance(signals: &mut [Signal]) {
    let tests = stats::sorted(signals.iter().filter_map(|signal| signal.flag.p).collect());
    for signal in signals {
        let corrected = signal.flag.p.map(|p| stats::holm(&tests, p));
        signal.raised &= corrected.is_some_and(|p| p < LEVEL);
        signal.flag.p = corrected.and_then(number);
    }
}

//! What a flag is: its kind, its severity, what it was raised on.

use crate::analysis::rate::{Rate, number};
use crate::analysis::stats;
use crate::study::{GoalKind, Study};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The probability of a false flag of one kind in a study, at the most.
pub const LEVEL: f64 = 0.01;

/// What a flag is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
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
    /// Perturbations drawn by lot deceive more often than an attack by gradients.
    RandomBeatsGradient,
    /// Adversarials of another model deceive more often than those made for the model itself.
    TransferBeatsWhiteBox,
    /// An attack of many steps succeeds less often than one of a single step within the same bound.
    IteratedWeakerThanSingleStep,
    /// An attack succeeds less often within a larger bound.
    SuccessFallsWithEpsilon,
    /// An attack without a bound fails on too many images.
    UnboundedAttackFails,
    /// Adversarials are nearer than CLEVER estimates that any is.
    BelowClever,
}

impl Sign {
    /// All, in the order in which they are reported.
    pub const ALL: [Self; 12] = [
        Self::ZeroGradients,
        Self::NanGradients,
        Self::SaturatedCrossEntropy,
        Self::NondeterministicLogits,
        Self::AnswerDependsOnBatch,
        Self::ProbabilitiesNotLogits,
        Self::RandomBeatsGradient,
        Self::TransferBeatsWhiteBox,
        Self::IteratedWeakerThanSingleStep,
        Self::SuccessFallsWithEpsilon,
        Self::UnboundedAttackFails,
        Self::BelowClever,
    ];

    /// As in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroGradients => "zero_gradients",
            Self::NanGradients => "nan_gradients",
            Self::SaturatedCrossEntropy => "saturated_cross_entropy",
            Self::NondeterministicLogits => "nondeterministic_logits",
            Self::AnswerDependsOnBatch => "answer_depends_on_batch",
            Self::ProbabilitiesNotLogits => "probabilities_not_logits",
            Self::RandomBeatsGradient => "random_beats_gradient",
            Self::TransferBeatsWhiteBox => "transfer_beats_white_box",
            Self::IteratedWeakerThanSingleStep => "iterated_weaker_than_single_step",
            Self::SuccessFallsWithEpsilon => "success_falls_with_epsilon",
            Self::UnboundedAttackFails => "unbounded_attack_fails",
            Self::BelowClever => "below_clever",
        }
    }

    /// What it says of the numbers beside it, in a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::ZeroGradients => {
                "An attack by gradients does nothing on these images: that it fails says nothing \
                 of the model."
            }
            Self::NanGradients => {
                "An attack by gradients gives no image there: that it fails says nothing of the \
                 model."
            }
            Self::SaturatedCrossEntropy => {
                "The softmax is so sure that attacks on cross entropy do nothing on these images."
            }
            Self::NondeterministicLogits => {
                "The model is random: answers do not repeat, and a single gradient is not the one \
                 to follow."
            }
            Self::AnswerDependsOnBatch => {
                "The answer to an image depends on its neighbours: rates change with the batch."
            }
            Self::ProbabilitiesNotLogits => {
                "The model ends in a softmax: losses apply another, which flattens the gradient."
            }
            Self::RandomBeatsGradient => {
                "There are adversarials within the bound that the attack does not find: the \
                 gradient misleads it."
            }
            Self::TransferBeatsWhiteBox => {
                "There are adversarials that the attack on the model itself does not find: the \
                 gradient misleads it."
            }
            Self::IteratedWeakerThanSingleStep => {
                "Many small steps should do no worse than one: they get stuck, or are too short."
            }
            Self::SuccessFallsWithEpsilon => {
                "The larger bound allows all that the smaller does: the attack does not find it."
            }
            Self::UnboundedAttackFails => {
                "Without a bound nearly every image has an adversarial: the attack is cut short, \
                 or the gradient misleads it."
            }
            Self::BelowClever => {
                "The score is too high there: it is an estimate, and these adversarials contradict \
                 it."
            }
        }
    }

    /// What to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::ZeroGradients => {
                "Find what rounds, quantises, clips or detaches in the model, and attack it with a \
                 differentiable stand-in for that (BPDA) \
                 or without gradients."
            }
            Self::NanGradients => {
                "Find the square root, logarithm or division at 0 in preprocessing or network, and \
                 keep it away from 0."
            }
            Self::SaturatedCrossEntropy => {
                "Attack the logits: objective = \"margin\" or \"logit\" in FGSM and I-FGSM, or C&W."
            }
            Self::NondeterministicLogits => {
                "Switch to evaluation mode (dropout, noise); a defence that is random on purpose \
                 needs an attack on its expectation (EOT)."
            }
            Self::AnswerDependsOnBatch => {
                "Switch to evaluation mode (batch norm), and let nothing be computed over the \
                 batch."
            }
            Self::ProbabilitiesNotLogits => "Leave the softmax out of the model.",
            Self::RandomBeatsGradient => {
                "Take the rate as a lower bound; look at the model's gradients, then try more \
                 iterations, restarts and another objective, an \
                 attack without gradients, BPDA or EOT."
            }
            Self::TransferBeatsWhiteBox => {
                "Take the transferred rate as the lower bound; try more iterations, restarts and \
                 another objective, then look at the model's \
                 gradients."
            }
            Self::IteratedWeakerThanSingleStep => {
                "Try longer steps, more iterations, random starts and the margin as objective; if \
                 that changes nothing, the gradient is masked \
                 around the images."
            }
            Self::SuccessFallsWithEpsilon => {
                "Count an image as deceived within the larger bound if it is within the smaller; \
                 use an attack of several steps, with more of \
                 them for the larger bound."
            }
            Self::UnboundedAttackFails => {
                "Give it more iterations and search steps, or a larger first c. If it fails on \
                 this model alone, look at its gradients. An \
                 attack that has a bound must declare it."
            }
            Self::BelowClever => {
                "Raise CLEVER's batches and samples, set rivals = 0, and see how many fits are \
                 good (good_fit); take the adversarials as the \
                 upper bound."
            }
        }
    }
}

/// How much a flag matters.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The numbers that it is about cannot be taken as the model's robustness.
    Error,
    /// They may overstate it.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// As in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// A sign that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flag {
    /// Which sign.
    pub flag: Sign,
    /// How much it matters.
    pub severity: Severity,
    /// The model.
    pub model: String,
    /// The attack; null when it is about the model itself.
    pub attack: Option<String>,
    /// The attack's goal.
    pub goal: Option<GoalKind>,
    /// What it is compared with: another attack, model or metric.
    pub against: Option<String>,
    /// On how many images, of how many: those with the sign, or those on which the attack succeeds.
    pub found: Rate,
    /// Of the same images, those on which what it is compared with succeeds.
    pub compared: Option<Rate>,
    /// The probability of such a difference by chance, corrected for all comparisons of this kind.
    pub p: Option<f64>,
    /// The finding in a sentence, with its numbers.
    pub reading: String,
    /// What it says of the numbers that it is about, in a sentence.
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
    /// In how many models, or comparisons. 0: the study has nothing to see it by.
    pub looked_at: usize,
    /// How often it was found.
    pub raised: usize,
    /// What it would mean, in a sentence.
    pub meaning: String,
}

/// All that was looked for and found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// What was found, by model.
    pub flags: Vec<Flag>,
    /// What was looked for; empty in results of a program that did not look.
    pub checks: Vec<Check>,
}

/// A place where a sign was looked for, and the flag that goes up there if it was found.
pub(super) struct Signal {
    pub(super) model: usize,
    pub(super) flag: Flag,
    pub(super) raised: bool,
}

impl Flag {
    pub(super) fn new(
        study: &Study,
        flag: Sign,
        model: usize,
        found: Rate,
        reading: String,
    ) -> Self {
        Self {
            flag,
            severity: Severity::Warning,
            model: study.models[model].part.label.clone(),
            attack: None,
            goal: None,
            against: None,
            found,
            compared: None,
            p: None,
            reading,
            meaning: flag.meaning().into(),
            remedy: flag.remedy().into(),
        }
    }
}

/// Corrects the probabilities of one kind of comparison for their number, and keeps up those flags
/// whose comparison points their way beyond chance.
pub(super) fn beyond_chance(signals: &mut [Signal]) {
    let tests = stats::sorted(signals.iter().filter_map(|signal| signal.flag.p).collect());
    for signal in signals {
        let corrected = signal.flag.p.map(|p| stats::holm(&tests, p));
        signal.raised &= corrected.is_some_and(|p| p < LEVEL);
        signal.flag.p = corrected.and_then(number);
    }
}

//! The rows of the merged tables of a results folder, with their columns in Parquet files.

use crate::store::row::row;
use crate::store::rows::{CraftRow, TransferRow};
use crate::store::status::Status;

row! {
    /// A row of `outcomes.parquet`: an image, an attack on one model with a goal, and the answer of
    /// a model, the same or another, to the attack's pixels. Where source and target are the same,
    /// the row is about the attack itself. Where the attack gave no pixels, columns about pixels
    /// are null or false.
    OutcomeRow {
        /// The model that was attacked.
        source: String,
        /// The model that was given the pixels.
        target: String,
        /// The attack.
        attack: String,
        /// The attack's goal.
        goal: String,
        /// The image's name.
        image: String,
        /// BLAKE3 of the image's content.
        image_hash: String,
        /// The true class.
        label: i64,
        /// The target class; none when untargeted.
        target_class: Option<i64>,
        /// How the attack ended.
        status: Status,
        /// The source's answer to the original; none where a logit is not finite.
        source_clean: Option<i64>,
        /// The source's answer to the pixels.
        source_prediction: Option<i64>,
        /// The source's answer to the rounded pixels.
        source_prediction_8bit: Option<i64>,
        /// Whether the pixels meet the goal on the source.
        source_success: bool,
        /// Whether the rounded pixels meet the goal on the source.
        source_success_8bit: bool,
        /// Whether the target classifies the original correctly.
        target_correct: bool,
        /// The target's answer to the unperturbed original, brought to its side as the pixels are;
        /// none where a logit is not finite.
        control_prediction: Option<i64>,
        /// Whether that answer is the true class.
        control_correct: bool,
        /// The target's answer to the rounded original, brought to its side as the pixels are; none
        /// where a logit is not finite.
        control_prediction_8bit: Option<i64>,
        /// Whether that answer is the true class.
        control_correct_8bit: bool,
        /// Whether all models of the study classify the original correctly.
        all_correct: bool,
        /// The target's answer to the pixels.
        prediction: Option<i64>,
        /// The target's answer to the rounded pixels.
        prediction_8bit: Option<i64>,
        /// Whether the pixels meet the goal on the target.
        success: bool,
        /// Whether the rounded pixels meet the goal on the target.
        success_8bit: bool,
        /// Of a target that answers at random, the share of its draws that meet the goal; null of a
        /// target whose answers repeat.
        success_rate: Option<f64>,
        /// The same for the rounded pixels.
        success_rate_8bit: Option<f64>,
        /// Whether the target class is among the target's first five; null when untargeted or on
        /// the source.
        top5: Option<bool>,
        /// Whether the target class is among the target's first five for the rounded pixels; null
        /// when untargeted or on the source.
        top5_8bit: Option<bool>,
        /// Forward passes that the attack took.
        forward: i64,
        /// Backward passes that the attack took.
        backward: i64,
    }
}

row! {
    /// A row of `timing.parquet`: the time of an outcome. Where source and target are the same it
    /// is the attack's time, elsewhere the time of the target's answer. A cell's time is divided
    /// equally among its images.
    TimeRow {
        /// The model that was attacked.
        source: String,
        /// The model that was given the pixels.
        target: String,
        /// The attack.
        attack: String,
        /// The attack's goal.
        goal: String,
        /// The image's name.
        image: String,
        /// Time in milliseconds.
        milliseconds: f64,
    }
}

impl OutcomeRow {
    /// The row of an attack's outcome and another model's answer to it (`seen`; none when source
    /// and target are the same). `names` are those of source, target, attack, goal and image.
    pub fn new(
        names: [String; 5],
        craft: &CraftRow,
        seen: Option<&TransferRow>,
        all_correct: bool,
    ) -> Self {
        let [source, target, attack, goal, image] = names;
        let targeted =
            |of: fn(&TransferRow) -> bool| seen.filter(|_| craft.target_class.is_some()).map(of);
        let control_prediction = seen.map_or(craft.clean, |seen| seen.control_prediction);
        let control_prediction_8bit =
            seen.map_or(craft.clean_8bit, |seen| seen.control_prediction_8bit);
        Self {
            source,
            target,
            attack,
            goal,
            image,
            image_hash: craft.image.clone(),
            label: craft.label,
            target_class: craft.target_class,
            status: craft.status.clone(),
            source_clean: craft.clean,
            source_prediction: craft.prediction,
            source_prediction_8bit: craft.prediction_8bit,
            source_success: craft.success,
            source_success_8bit: craft.success_8bit,
            target_correct: seen.map_or(craft.status.attempted(), |seen| seen.target_correct),
            control_prediction,
            control_correct: control_prediction == Some(craft.label),
            control_prediction_8bit,
            control_correct_8bit: control_prediction_8bit == Some(craft.label),
            all_correct,
            prediction: seen.map_or(craft.prediction, |seen| seen.prediction),
            prediction_8bit: seen.map_or(craft.prediction_8bit, |seen| seen.prediction_8bit),
            success: seen.map_or(craft.success, |seen| seen.success),
            success_8bit: seen.map_or(craft.success_8bit, |seen| seen.success_8bit),
            success_rate: seen.map_or(craft.success_rate, |seen| seen.success_rate),
            success_rate_8bit: seen.map_or(craft.success_rate_8bit, |seen| seen.success_rate_8bit),
            top5: targeted(|seen| seen.top5),
            top5_8bit: targeted(|seen| seen.top5_8bit),
            forward: craft.forward,
            backward: craft.backward,
        }
    }
}

row! {
    /// A row of `robustness.parquet`: the smallest distortion in a norm at which an image of a model
    /// is known to be misclassified, over all attacks of the study on that model.
    RobustnessRow {
        /// The model.
        model: String,
        /// The norm: the label of its metric.
        norm: String,
        /// The image's name.
        image: String,
        /// BLAKE3 of the image's content.
        image_hash: String,
        /// The true class.
        label: i64,
        /// The smallest known distortion; 0 where the image itself is misclassified, null where no
        /// misclassified image is known.
        distance: Option<f64>,
        /// The attack that found it; null without an attack.
        attack: Option<String>,
        /// The attack's goal; null without an attack.
        goal: Option<String>,
        /// The smallest known distortion of an 8-bit image, as `distance`.
        distance_8bit: Option<f64>,
        /// The attack that found it; null without an attack.
        attack_8bit: Option<String>,
        /// The attack's goal; null without an attack.
        goal_8bit: Option<String>,
    }
}

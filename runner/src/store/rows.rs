//! The rows of cells, with their columns in Parquet files.
//!
//! Classes are the dataset's own: real classes are counted from 0; a model's "background" is −1.
//! A cell has one row for every image of its slice, in the slice's order, also for images that were
//! not attacked, scored or probed. So every denominator can be counted from the rows. Columns that
//! end in `_8bit` are about the pixels rounded to 8 bits.

use crate::store::row::row;
pub use crate::store::status::Status;

row! {
    /// A model's answer to one image of the dataset.
    CleanRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// BLAKE3 of the pixels that the model is given: images of equal pixels in different files
        /// have the same.
        pixels: String,
        /// The true class.
        label: i64,
        /// The class with the greatest logit; none where a logit is not finite.
        prediction: Option<i64>,
        /// The same for the rounded pixels.
        prediction_8bit: Option<i64>,
        /// Whether the prediction is the true class.
        correct: bool,
        /// Of a model that answers at random, the share of its draws that give the true class.
        correct_rate: Option<f64>,
        /// Whether the true class is among the five with the greatest logits.
        top5: bool,
        /// The five classes with the greatest logits, the greatest first; empty where a logit is
        /// not finite.
        first_five: Vec<i64>,
        /// The same for the rounded pixels.
        first_five_8bit: Vec<i64>,
        /// The most likely real class other than the true one; none where a logit is not finite.
        second: Option<i64>,
        /// The least likely real class; none where a logit is not finite.
        least_likely: Option<i64>,
    }
}

row! {
    /// A model's answer to one image of another side, unperturbed and brought to the model's own
    /// side as adversarials are.
    ControlRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The true class.
        label: i64,
        /// The class with the greatest logit; none where a logit is not finite.
        prediction: Option<i64>,
        /// The same for the rounded pixels.
        prediction_8bit: Option<i64>,
        /// The five classes with the greatest logits, the greatest first; empty where a logit is
        /// not finite.
        first_five: Vec<i64>,
        /// The same for the rounded pixels.
        first_five_8bit: Vec<i64>,
    }
}

impl From<&CleanRow> for ControlRow {
    /// At the model's own side nothing is brought.
    fn from(row: &CleanRow) -> Self {
        let CleanRow { image, label, prediction, prediction_8bit, .. } = row.clone();
        let CleanRow { first_five, first_five_8bit, .. } = row.clone();
        Self { image, label, prediction, prediction_8bit, first_five, first_five_8bit }
    }
}

row! {
    /// The outcome of an attack on one image.
    CraftRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The true class.
        label: i64,
        /// The target class; none when untargeted.
        target_class: Option<i64>,
        /// The model's answer to the original; none where a logit is not finite.
        clean: Option<i64>,
        /// The model's answer to the rounded original; none where a logit is not finite.
        clean_8bit: Option<i64>,
        /// How the attack ended.
        status: Status,
        /// Index of the attack's pixels in the cell's pixel file; none without pixels.
        slot: Option<i64>,
        /// The model's answer to the attack's pixels; none without pixels.
        prediction: Option<i64>,
        /// The model's answer to the rounded pixels; none without pixels.
        prediction_8bit: Option<i64>,
        /// Whether the pixels meet the goal.
        success: bool,
        /// Whether the rounded pixels meet the goal.
        success_8bit: bool,
        /// Of a model that answers at random, the share of its draws that meet the goal.
        success_rate: Option<f64>,
        /// The same for the rounded pixels.
        success_rate_8bit: Option<f64>,
        /// Forward passes that the attack took.
        forward: i64,
        /// Backward passes that the attack took.
        backward: i64,
        /// Time in milliseconds: the cell's time, divided equally among the attacked images.
        milliseconds: f64,
    }
}

row! {
    /// Another model's answer to an attack's pixels.
    TransferRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The true class.
        label: i64,
        /// The target class; none when untargeted.
        target_class: Option<i64>,
        /// How the attack on the source ended.
        status: Status,
        /// Whether the pixels meet the goal on the source.
        source_success: bool,
        /// Whether the rounded pixels meet the goal on the source.
        source_success_8bit: bool,
        /// Whether the target classifies the original correctly.
        target_correct: bool,
        /// The target's answer to the original, brought to its side as the pixels are; none where a
        /// logit is not finite.
        control_prediction: Option<i64>,
        /// The same for the rounded original.
        control_prediction_8bit: Option<i64>,
        /// Whether the original, brought to the target's side, meets the goal there.
        control_success: bool,
        /// The same for the rounded original.
        control_success_8bit: bool,
        /// Whether the target class is among the target's first five for the original, brought to
        /// its side; false when untargeted.
        control_top5: bool,
        /// The same for the rounded original.
        control_top5_8bit: bool,
        /// The target's answer to the pixels; none without pixels.
        prediction: Option<i64>,
        /// The target's answer to the rounded pixels; none without pixels.
        prediction_8bit: Option<i64>,
        /// Whether the pixels meet the goal on the target.
        success: bool,
        /// Whether the rounded pixels meet the goal on the target.
        success_8bit: bool,
        /// Of a target that answers at random, the share of its draws that meet the goal.
        success_rate: Option<f64>,
        /// The same for the rounded pixels.
        success_rate_8bit: Option<f64>,
        /// Whether the target class is among the target's first five; false when untargeted.
        top5: bool,
        /// Whether the target class is among the target's first five for the rounded pixels; false
        /// when untargeted.
        top5_8bit: bool,
        /// Time in milliseconds: the cell's time, divided equally among the images given to the
        /// target.
        milliseconds: f64,
    }
}

row! {
    /// A metric of outcomes: the distance between an attack's pixels and the original.
    MeasureRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The value; none without pixels, or where it is not finite.
        value: Option<f64>,
        /// The value for the rounded pixels; none without pixels, or where it is not finite.
        value_8bit: Option<f64>,
        /// The metric's extra numbers.
        extras: Vec<f64>,
        /// The metric's extra numbers for the rounded pixels.
        extras_8bit: Vec<f64>,
    }
}

row! {
    /// A metric of a model at one image.
    ScoreRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The true class.
        label: i64,
        /// The target class that the metric was computed for; none when untargeted.
        target_class: Option<i64>,
        /// The value; none when the model misclassifies the image, or where it is not finite.
        value: Option<f64>,
        /// The metric's extra numbers.
        extras: Vec<f64>,
        /// Forward passes that the metric took.
        forward: i64,
        /// Backward passes that the metric took.
        backward: i64,
        /// Time in milliseconds: the cell's time, divided equally among the scored images.
        milliseconds: f64,
    }
}

row! {
    /// What the probe found at one image: gradients and logits there, and the effect of random
    /// perturbations. An image that the model misclassifies is not probed and has no numbers.
    ProbeRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The true class.
        label: i64,
        /// Whether the image was probed.
        probed: bool,
        /// Greatest absolute value in the gradient of the cross entropy; NaN where the gradient is
        /// not finite, none where the logits have no gradient.
        cross_entropy: Option<f64>,
        /// Greatest absolute value in the gradient of the margin between the true class and the
        /// next; NaN where the gradient is not finite, none where the logits have no gradient.
        margin: Option<f64>,
        /// Distance between the logits of two passes of the same batch, as a share of the logits'
        /// spread; none where a logit is not finite.
        again: Option<f64>,
        /// Whether the second pass gave another answer.
        again_differs: bool,
        /// Distance between the logits of the image by itself and in its batch, as a share of the
        /// logits' spread; none where the image was not classified by itself.
        alone: Option<f64>,
        /// Whether the model's outputs for the image could be probabilities.
        probabilities: bool,
        /// The least and the greatest output for the image; empty where an output is not finite.
        outputs: Vec<f64>,
        /// Least ℓ∞ radius, for pixels in [0, 1], at which a random perturbation deceives the
        /// model; none where none does.
        random_radius: Option<f64>,
        /// Forward passes that the probe took.
        forward: i64,
        /// Backward passes that the probe took.
        backward: i64,
        /// Time in milliseconds: the cell's time, divided equally among the probed images.
        milliseconds: f64,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::store::row::Row;

    /// Three rows that differ in every way a row can.
    pub(crate) fn craft_rows() -> Vec<CraftRow> {
        let first = CraftRow {
            image: "00ff".into(),
            label: 3,
            target_class: None,
            clean: Some(3),
            clean_8bit: Some(3),
            status: Status::Adversarial,
            slot: Some(0),
            prediction: Some(-1),
            prediction_8bit: Some(3),
            success: true,
            success_8bit: false,
            success_rate: Some(0.75),
            success_rate_8bit: None,
            forward: 10,
            backward: 9,
            milliseconds: 0.25,
        };
        let second = CraftRow {
            target_class: Some(4),
            status: Status::Invalid("a reason".into()),
            slot: None,
            ..first.clone()
        };
        let third = CraftRow {
            prediction: None,
            status: Status::Misclassified,
            milliseconds: f64::MIN_POSITIVE,
            ..first.clone()
        };
        vec![first, second, third]
    }

    #[test]
    fn rows_survive_the_way_to_columns_and_back() {
        let rows = craft_rows();
        assert_eq!(CraftRow::read(&CraftRow::batch(&rows).unwrap()).unwrap(), rows);
        let others = [Status::NotAdversarial, Status::NotFound, Status::Unclassified]
            .map(|status| CraftRow { status, ..rows[0].clone() });
        assert_eq!(CraftRow::read(&CraftRow::batch(&others).unwrap()).unwrap(), others);
    }

    #[test]
    fn differences_are_named_and_times_are_none() {
        let row = craft_rows().remove(0);
        assert!(row.differences(&CraftRow { milliseconds: 9.0, ..row.clone() }).is_empty());
        let other = CraftRow { prediction: None, success: false, ..row.clone() };
        assert_eq!(row.differences(&other), ["prediction: Some(-1), None", "success: true, false"]);
    }

    #[test]
    fn the_wrong_columns_are_an_error() {
        let batch = CraftRow::batch(&craft_rows()).unwrap();
        assert_eq!(MeasureRow::read(&batch).unwrap_err().to_string(), "no column `value`");
    }
}

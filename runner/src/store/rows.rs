//! The rows that cells store, and how each becomes columns of a Parquet file.
//!
//! Classes are the dataset's own: real classes counted from 0; a model's "background" is −1.
//! Every row stands for one image of the cell's slice, in the slice's order, whether anything was
//! done with it or not: so every denominator can be had from the rows. What ends in `_8bit` was
//! found for the pixels rounded to 8 bits.

use crate::store::row::{Row, TIME, Value, column, value};
use anyhow::Result;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, PrimitiveArray, RecordBatch};
use arrow_schema::{DataType, Field};
use std::sync::Arc;

macro_rules! row {
    ($(#[$about:meta])* $name:ident { $( $(#[$doc:meta])* $field:ident: $type:ty, )+ }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $( $(#[$doc])* pub $field: $type, )+ }

        impl Row for $name {
            fn fields() -> Vec<Field> {
                vec![$( Field::new(stringify!($field), <$type as Value>::data_type(), <$type as Value>::NULLABLE) ),+]
            }

            fn columns(rows: &[Self]) -> Vec<ArrayRef> {
                vec![$( <$type as Value>::array(rows.iter().map(|row| row.$field.clone())) ),+]
            }

            fn read(batch: &RecordBatch) -> Result<Vec<Self>> {
                $( let $field = column::<$type>(batch, stringify!($field))?; )+
                (0..batch.num_rows()).map(|n| Ok(Self { $( $field: value($field, n, stringify!($field))?, )+ })).collect()
            }

            fn differences(&self, other: &Self) -> Vec<String> {
                let all = [$( (stringify!($field), format!("{:?}", self.$field), format!("{:?}", other.$field)) ),+];
                let differ = all.into_iter().filter(|(name, this, that)| *name != TIME && this != that);
                differ.map(|(name, this, that)| format!("{name}: {this}, {that}")).collect()
            }
        }
    };
}

row! {
    /// What a model says of one image, of the dataset as it is.
    CleanRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The true class.
        label: i64,
        /// The class with the greatest logit.
        prediction: i64,
        /// Whether that is the true class.
        correct: bool,
        /// Whether the true class is among the five with the greatest logits.
        top5: bool,
        /// The most likely real class other than the true one.
        second: i64,
        /// The least likely real class.
        least_likely: i64,
    }
}

row! {
    /// What an attack made of one image.
    CraftRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The true class.
        label: i64,
        /// The class aimed at; none when untargeted.
        target_class: Option<i64>,
        /// The model's answer to the image as it is.
        clean: i64,
        /// How it ended.
        status: Status,
        /// Which image of the cell's pixel file this is.
        slot: Option<i64>,
        /// The model's answer to the attack's pixels.
        prediction: Option<i64>,
        /// The same, rounded to 8 bits.
        prediction_8bit: Option<i64>,
        /// Whether the goal is met.
        success: bool,
        /// The same, rounded to 8 bits.
        success_8bit: bool,
        /// Forward passes that the attack took.
        forward: i64,
        /// Backward passes that the attack took.
        backward: i64,
        /// The cell's time, shared equally by the images attacked in it.
        milliseconds: f64,
    }
}

row! {
    /// What another model says of an attack's pixels.
    TransferRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The true class.
        label: i64,
        /// The class aimed at; none when untargeted.
        target_class: Option<i64>,
        /// How the attack on the source ended.
        status: Status,
        /// Whether the source was deceived.
        source_success: bool,
        /// The same, rounded to 8 bits.
        source_success_8bit: bool,
        /// Whether the target knows the image as it is.
        target_correct: bool,
        /// The target's answer; none when the attack gave no pixels.
        prediction: Option<i64>,
        /// The same, rounded to 8 bits.
        prediction_8bit: Option<i64>,
        /// Whether the goal is met by the target.
        success: bool,
        /// The same, rounded to 8 bits.
        success_8bit: bool,
        /// Targeted: whether the class aimed at is among the target's first five.
        top5: bool,
        /// The same, rounded to 8 bits.
        top5_8bit: bool,
        /// The cell's time, shared equally by the images given to the target.
        milliseconds: f64,
    }
}

row! {
    /// A metric of an attack's pixels beside the original.
    MeasureRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The value; none when the attack gave no pixels.
        value: Option<f64>,
        /// The same, rounded to 8 bits.
        value_8bit: Option<f64>,
        /// The numbers that come with the value.
        extras: Vec<f64>,
        /// The same, rounded to 8 bits.
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
        /// The class that the metric asked about; none when untargeted.
        target_class: Option<i64>,
        /// The value; none when the model misclassifies the image.
        value: Option<f64>,
        /// The numbers that come with the value.
        extras: Vec<f64>,
        /// Forward passes that the metric took.
        forward: i64,
        /// Backward passes that the metric took.
        backward: i64,
        /// The cell's time, shared equally by the images scored in it.
        milliseconds: f64,
    }
}

row! {
    /// How a model behaves at one image, and what perturbations that are drawn by lot do to it
    /// there. An image that the model misclassifies is not probed: it has no numbers.
    ProbeRow {
        /// BLAKE3 of the image's content.
        image: String,
        /// The true class.
        label: i64,
        /// Whether it was probed.
        probed: bool,
        /// The greatest element of the gradient of the cross entropy, without its sign; NaN where
        /// the gradient is not finite, none where the logits have none.
        cross_entropy: Option<f64>,
        /// The same of the gradient of the margin between the true class and the next.
        margin: Option<f64>,
        /// How far the logits of the same batch, asked for twice, are apart, of their spread.
        again: Option<f64>,
        /// Whether the answer was another the second time.
        again_differs: bool,
        /// How far the logits of the image by itself are from those in its batch, of their spread;
        /// none where it was not asked for by itself.
        alone: Option<f64>,
        /// Whether its outputs could be probabilities.
        probabilities: bool,
        /// The least ℓ∞ radius at which a perturbation drawn by lot deceives the model, pixels in
        /// [0, 1].
        random_radius: Option<f64>,
        /// Forward passes that the probe took.
        forward: i64,
        /// Backward passes that the probe took.
        backward: i64,
        /// The cell's time, shared equally by the images probed in it.
        milliseconds: f64,
    }
}

row! {
    /// An outcome, as in `outcomes.parquet`: an image, an attack on one model with a goal, and what
    /// a model, the same or another, says of the attack's pixels. Where source and target are the
    /// same the row is about the attack itself; of pixels that there are not, all is null or false.
    OutcomeRow {
        /// The model that was attacked.
        source: String,
        /// The model that was given the pixels.
        target: String,
        /// The attack.
        attack: String,
        /// What it was asked for.
        goal: String,
        /// The image's name.
        image: String,
        /// BLAKE3 of its content.
        image_hash: String,
        /// The true class.
        label: i64,
        /// The class aimed at; none when untargeted.
        target_class: Option<i64>,
        /// How the attack ended.
        status: Status,
        /// The source's answer to the image as it is.
        source_clean: i64,
        /// The source's answer to the pixels.
        source_prediction: Option<i64>,
        /// The same, rounded to 8 bits.
        source_prediction_8bit: Option<i64>,
        /// Whether the goal is met on the source.
        source_success: bool,
        /// The same, rounded to 8 bits.
        source_success_8bit: bool,
        /// Whether the target knows the image as it is.
        target_correct: bool,
        /// Whether all models of the study do.
        all_correct: bool,
        /// The target's answer to the pixels.
        prediction: Option<i64>,
        /// The same, rounded to 8 bits.
        prediction_8bit: Option<i64>,
        /// Whether the goal is met on the target.
        success: bool,
        /// The same, rounded to 8 bits.
        success_8bit: bool,
        /// Targeted, of another model: whether the class aimed at is among the target's first five.
        top5: Option<bool>,
        /// The same, rounded to 8 bits.
        top5_8bit: Option<bool>,
        /// Forward passes that the attack took.
        forward: i64,
        /// Backward passes that the attack took.
        backward: i64,
    }
}

row! {
    /// What an outcome took, as in `timing.parquet`: on the diagonal the attack, elsewhere the
    /// target's look at the pixels. A cell's time is shared equally by its images.
    TimeRow {
        /// The model that was attacked.
        source: String,
        /// The model that was given the pixels.
        target: String,
        /// The attack.
        attack: String,
        /// What it was asked for.
        goal: String,
        /// The image's name.
        image: String,
        /// The time.
        milliseconds: f64,
    }
}

/// How an attack on one image ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Pixels that meet the goal.
    Adversarial,
    /// Pixels that do not.
    NotAdversarial,
    /// The attack gave up.
    NotFound,
    /// The attack's answer is no image of the model's domain; says why.
    Invalid(String),
    /// The model misclassifies the image as it is: it was not attacked.
    Misclassified,
}

impl Status {
    /// Whether the image was attacked.
    pub fn attempted(&self) -> bool {
        *self != Self::Misclassified
    }
}

const INVALID: &str = "invalid: ";

macro_rules! plain {
    ($type:ty, $data:expr, $array:ty) => {
        impl Value for $type {
            fn data_type() -> DataType {
                $data
            }

            fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
                Arc::new(values.map(Some).collect::<$array>())
            }

            fn get(array: &dyn Array, row: usize) -> Option<Self> {
                let array = array.as_any().downcast_ref::<$array>()?;
                (!array.is_null(row)).then(|| array.value(row).into())
            }
        }

        impl Value for Option<$type> {
            const NULLABLE: bool = true;

            fn data_type() -> DataType {
                $data
            }

            fn array(values: impl Iterator<Item = Self>) -> ArrayRef {
                Arc::new(values.collect::<$array>())
            }

            fn get(array: &dyn Array, row: usize) -> Option<Self> {
                if array.is_null(row) { Some(None) } else { <$type>::get(array, row).map(Some) }
            }
        }
    };
}

plain!(i64, DataType::Int64, PrimitiveArray<Int64Type>);
plain!(f64, DataType::Float64, PrimitiveArray<Float64Type>);
plain!(bool, DataType::Boolean, BooleanArray);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Adversarial => f.write_str("adversarial"),
            Self::NotAdversarial => f.write_str("not_adversarial"),
            Self::NotFound => f.write_str("not_found"),
            Self::Misclassified => f.write_str("misclassified"),
            Self::Invalid(reason) => write!(f, "{INVALID}{reason}"),
        }
    }
}

impl OutcomeRow {
    /// From what an attack gave and what another model says of it; none: source and target are the
    /// same. `names` are those of source, target, attack, goal and image.
    pub fn new(
        names: [String; 5],
        craft: &CraftRow,
        seen: Option<&TransferRow>,
        all_correct: bool,
    ) -> Self {
        let [source, target, attack, goal, image] = names;
        let targeted =
            |of: fn(&TransferRow) -> bool| seen.filter(|_| craft.target_class.is_some()).map(of);
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
            all_correct,
            prediction: seen.map_or(craft.prediction, |seen| seen.prediction),
            prediction_8bit: seen.map_or(craft.prediction_8bit, |seen| seen.prediction_8bit),
            success: seen.map_or(craft.success, |seen| seen.success),
            success_8bit: seen.map_or(craft.success_8bit, |seen| seen.success_8bit),
            top5: targeted(|seen| seen.top5),
            top5_8bit: targeted(|seen| seen.top5_8bit),
            forward: craft.forward,
            backward: craft.backward,
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
            other => Self::Invalid(other.strip_prefix(INVALID)?.to_owned()),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Three rows that differ in every way a row can.
    pub(crate) fn craft_rows() -> Vec<CraftRow> {
        let first = CraftRow {
            image: "00ff".into(),
            label: 3,
            target_class: None,
            clean: 3,
            status: Status::Adversarial,
            slot: Some(0),
            prediction: Some(-1),
            prediction_8bit: Some(3),
            success: true,
            success_8bit: false,
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
        for status in [Status::NotAdversarial, Status::NotFound] {
            let row = CraftRow { status, ..rows[0].clone() };
            assert_eq!(
                CraftRow::read(&CraftRow::batch(std::slice::from_ref(&row)).unwrap()).unwrap(),
                [row]
            );
        }
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

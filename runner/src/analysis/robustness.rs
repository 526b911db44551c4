//! Robustness of a model, whatever the attack: the smallest distortion known for each image, over
//! all attacks of the study on that model.
//!
//! An image's robustness ends with any misclassification. So a targeted attack counts where the
//! model's answer to its pixels is wrong, whether or not it is the target.

use crate::analysis::Rate;
use crate::engine::plan::Campaign;
use crate::store::rows::{CleanRow, CraftRow, MeasureRow};
use crate::study::{GoalKind, Study};
use gauntlet_core::metric::Scope;

/// The norms in which robustness is measured, by the names of their metrics.
pub const NORMS: [&str; 3] = ["linf", "l2", "l1"];

/// The smallest known distortions of a model's images in a norm.
#[derive(Clone, Debug)]
pub struct Robustness {
    /// Index of the model.
    pub model: usize,
    /// Index of the metric, one of [`NORMS`].
    pub metric: usize,
    /// Per image; none where the model's clean answer is missing.
    pub cases: Vec<Option<Nearest>>,
}

/// The nearest misclassified images that are known of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Nearest {
    /// Of all pixels.
    pub float: Known,
    /// Of 8-bit images.
    pub rounded: Known,
}

/// How near a misclassified image is known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Known {
    /// None is known.
    #[default]
    None,
    /// The image itself is misclassified.
    Clean,
    /// An attack found one.
    Attack {
        /// Its distortion.
        distance: f64,
        /// Index of the attack.
        attack: usize,
        /// The attack's goal.
        goal: GoalKind,
    },
}

/// Relative difference of distances that is float32's.
const ROUNDING: f64 = 1e-5;

impl Known {
    /// The distance; 0 for an image that is misclassified itself, infinite where none is known.
    pub fn distance(self) -> f64 {
        match self {
            Self::None => f64::INFINITY,
            Self::Clean => 0.0,
            Self::Attack { distance, .. } => distance,
        }
    }

    /// Whether the image is classified rightly, and no misclassified image is known within
    /// `epsilon`.
    pub fn is_robust(self, epsilon: f64) -> bool {
        self.distance() > epsilon * (1.0 + ROUNDING)
    }

    fn take(&mut self, distance: f64, attack: usize, goal: GoalKind) {
        if distance < self.distance() {
            *self = Self::Attack { distance, attack, goal };
        }
    }
}

impl Robustness {
    /// One for each model and norm that the study measures, before any attack.
    pub(super) fn all(study: &Study) -> Vec<Self> {
        let metrics = study.metrics.iter().enumerate();
        let norms: Vec<usize> = metrics
            .filter(|(_, metric)| metric.scope == Scope::Outcome)
            .filter(|(_, metric)| NORMS.contains(&metric.part.name.as_str()))
            .map(|(index, _)| index)
            .collect();
        let of_model = |model: usize| norms.iter().map(move |&metric| (model, metric));
        (0..study.models.len())
            .flat_map(of_model)
            .map(|(model, metric)| Self { model, metric, cases: Vec::new() })
            .collect()
    }

    /// Notes the model's answers to the next images as they are; none where they are missing.
    pub(super) fn note_clean(&mut self, rows: Option<&[CleanRow]>, images: usize) {
        let Some(rows) = rows else {
            self.cases.extend(std::iter::repeat_n(None, images));
            return;
        };
        let known = |answer: Option<i64>, label: i64| {
            if answer == Some(label) { Known::None } else { Known::Clean }
        };
        self.cases.extend(rows.iter().map(|row| {
            Some(Nearest {
                float: known(row.prediction, row.label),
                rounded: known(row.prediction_8bit, row.label),
            })
        }));
    }

    /// Notes an attack on the images from number `first` on, if it is on this model. `measures` are
    /// the distortions by each metric of the campaign.
    pub(super) fn note_attack(
        &mut self,
        campaign: &Campaign,
        first: usize,
        rows: &[CraftRow],
        measures: &[Option<Vec<MeasureRow>>],
    ) {
        let metric = campaign.measures.iter().position(|(metric, _)| *metric == self.metric);
        let Some(measured) = metric.and_then(|n| measures[n].as_ref()) else { return };
        if campaign.model != self.model {
            return;
        }
        let (attack, goal) = (campaign.attack, campaign.goal);
        for (case, (row, measured)) in self.cases[first..].iter_mut().zip(rows.iter().zip(measured))
        {
            let Some(nearest) = case else { continue };
            let wrong = |answer: Option<i64>| answer.is_some_and(|class| class != row.label);
            let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
            if let Some(distance) = finite(measured.value).filter(|_| wrong(row.prediction)) {
                nearest.float.take(distance, attack, goal);
            }
            if let Some(distance) =
                finite(measured.value_8bit).filter(|_| wrong(row.prediction_8bit))
            {
                nearest.rounded.take(distance, attack, goal);
            }
        }
    }

    /// The smallest known distances of the images with a clean answer, by `of`.
    pub fn distances(&self, of: impl Fn(&Nearest) -> Known) -> Vec<f64> {
        self.cases.iter().flatten().map(|nearest| of(nearest).distance()).collect()
    }

    /// The share of images that are robust within `epsilon`, by `of`: those that are classified
    /// rightly and of which no misclassified image is known that near.
    pub fn at(&self, epsilon: f64, of: impl Fn(&Nearest) -> Known) -> Rate {
        let known = || self.cases.iter().flatten().map(&of);
        Rate::new(known().filter(|known| known.is_robust(epsilon)).count(), known().count())
    }
}

/// A budget at which robust accuracy is quoted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotedBudget {
    /// Greatest distortion, in pixel values of [0, 1].
    pub epsilon: f64,
    /// As people write it, such as `8/255`.
    pub text: &'static str,
}

/// The budgets at which robust accuracy is quoted in a norm, ascending.
pub fn quoted_budgets(norm: &str) -> &'static [QuotedBudget] {
    const fn quoted(epsilon: f64, text: &'static str) -> QuotedBudget {
        QuotedBudget { epsilon, text }
    }
    const LINF: &[QuotedBudget] = &[
        quoted(1.0 / 255.0, "1/255"),
        quoted(2.0 / 255.0, "2/255"),
        quoted(4.0 / 255.0, "4/255"),
        quoted(8.0 / 255.0, "8/255"),
        quoted(0.1, "0.1"),
        quoted(0.3, "0.3"),
    ];
    const L2: &[QuotedBudget] = &[
        quoted(0.25, "0.25"),
        quoted(0.5, "0.5"),
        quoted(1.0, "1"),
        quoted(2.0, "2"),
        quoted(3.0, "3"),
    ];
    const L1: &[QuotedBudget] = &[quoted(12.0, "12")];
    match norm {
        "linf" => LINF,
        "l2" => L2,
        "l1" => L1,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attack(distance: f64) -> Known {
        Known::Attack { distance, attack: 0, goal: GoalKind::Untargeted }
    }

    #[test]
    fn an_image_is_robust_below_its_nearest_adversarial() {
        for (known, robust, broken) in [
            (Known::None, 1e300, f64::INFINITY),
            (attack(0.1), 0.0999, 0.1),
            // Float32's rounding does not make an image at the budget robust.
            (attack(0.1000005), 0.0999, 0.1),
        ] {
            assert!(known.is_robust(robust) && !known.is_robust(broken), "{known:?}");
        }
        assert!(!Known::Clean.is_robust(0.0));
        let mut known = attack(0.3);
        known.take(0.4, 1, GoalKind::Random);
        assert_eq!(known, attack(0.3));
        known.take(0.2, 1, GoalKind::Random);
        assert_eq!(known.distance(), 0.2);
        let mut clean = Known::Clean;
        clean.take(0.1, 0, GoalKind::Untargeted);
        assert_eq!(clean, Known::Clean);
    }

    #[test]
    fn robust_accuracy_is_over_all_images_with_a_clean_answer() {
        let nearest = |float| Some(Nearest { float, rounded: Known::None });
        let cases = vec![nearest(Known::Clean), nearest(attack(0.2)), nearest(Known::None), None];
        let robustness = Robustness { model: 0, metric: 0, cases };
        let at = |epsilon| robustness.at(epsilon, |nearest| nearest.float);
        assert_eq!((at(0.1).k, at(0.1).n, at(0.2).k), (2, 3, 1));
        assert_eq!(robustness.distances(|n| n.float), [0.0, 0.2, f64::INFINITY]);
    }
}

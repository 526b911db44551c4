//! Transfer beside its control: what bringing an image to another model does by itself.

use crate::analysis::rate::{Estimate, Rate, interval, number};
use crate::analysis::stats;

/// Whether adversarials meet a goal on a target, beside the unperturbed images brought to it in the
/// same way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Number of images that meet the goal with the attack and without.
    pub both: usize,
    /// Number of images that meet it with the attack alone.
    pub attack_alone: usize,
    /// Number of images that meet it without the attack alone.
    pub control_alone: usize,
    /// Number of images that meet it neither way.
    pub neither: usize,
}

impl Control {
    /// Adds an image.
    pub(super) fn add(&mut self, attack: bool, control: bool) {
        let count = match (attack, control) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.attack_alone,
            (false, true) => &mut self.control_alone,
            (false, false) => &mut self.neither,
        };
        *count += 1;
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.both + self.attack_alone + self.control_alone + self.neither
    }

    /// How often the goal is met with the attack.
    pub fn attack(&self) -> Rate {
        Rate::new(self.both + self.attack_alone, self.images())
    }

    /// How often the goal is met without the attack.
    pub fn control(&self) -> Rate {
        Rate::new(self.both + self.control_alone, self.images())
    }

    /// The rate with the attack less the rate without, on the same images.
    pub fn excess(&self) -> Estimate {
        let images = self.images();
        if images == 0 {
            return Estimate::default();
        }
        let difference = self.attack_alone as f64 - self.control_alone as f64;
        let Self { both, attack_alone, control_alone, neither } = *self;
        Estimate {
            value: number(difference / images as f64),
            interval: stats::paired_difference(both, attack_alone, control_alone, neither)
                .and_then(interval),
        }
    }

    /// Whether more than half of the rate with the attack is there without it.
    pub fn is_most(&self) -> bool {
        let with = self.both + self.attack_alone;
        with > 0 && 2 * (self.both + self.control_alone) > with
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excess_is_what_the_attack_adds() {
        let mut control = Control::default();
        for (attack, unperturbed) in [(true, true), (true, false), (false, false), (true, false)] {
            control.add(attack, unperturbed);
        }
        assert_eq!((control.attack().k, control.control().k, control.images()), (3, 1, 4));
        assert_eq!(control.excess().value, Some(0.5));
        let (low, high) = control.excess().interval.unwrap();
        assert!(low < 0.5 && 0.5 < high, "{low} to {high}");
        assert_eq!(Control::default().excess(), Estimate::default());
    }

    #[test]
    fn more_than_half_is_most() {
        let of = |both, attack_alone, control_alone| Control {
            both,
            attack_alone,
            control_alone,
            neither: 5,
        };
        assert!(of(2, 0, 0).is_most());
        assert!(of(0, 2, 2).is_most());
        assert!(!of(1, 1, 0).is_most());
        assert!(!of(0, 0, 3).is_most(), "there is no rate to explain");
    }
}

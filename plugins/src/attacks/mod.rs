//! The four attacks of the ECCV 2018 study. Each has the settings of the published experiments as
//! its preset `eccv2018`, and settings that one would choose today as its default.
//!
//! | attack | paper | nearest in | file |
//! |---|---|---|---|
//! | [`Fgsm`] | Goodfellow et al. 2015 | fixed ε | `fgsm.rs` |
//! | [`Ifgsm`] | Kurakin et al. 2016 | l∞, or fixed ε | `ifgsm.rs` |
//! | [`CwL2`] | Carlini and Wagner 2017 | l2 | `cw_l2.rs`, `adam.rs`, `penalty.rs` |
//! | [`EadL1`] | Chen et al. 2018 | l1 | `ead_l1.rs`, `at_image.rs`, `penalty.rs` |

mod adam;
mod at_image;
mod cw_l2;
mod ead_l1;
mod fgsm;
mod ifgsm;
mod objective;
mod penalty;

pub use cw_l2::{BiasCorrection, CwL2, CwL2Params, RateOf, Space};
pub use ead_l1::{Decay, EadL1, EadL1Params, Shrinkage};
pub use fgsm::{Fgsm, FgsmParams};
pub use ifgsm::{Ifgsm, IfgsmOutcome, IfgsmParams};
pub use objective::Objective;
pub use penalty::{PenaltyOutcome, Trace};

#[cfg(test)]
mod tests {
    use gauntlet_core::registry::Registry;

    #[test]
    fn a_value_that_is_none_of_the_choices_is_refused_with_all_of_them() {
        let registry = Registry::linked().unwrap();
        let mut refused = Vec::new();
        for attack in registry.attacks() {
            for described in attack.entry.descriptions.iter().filter(|d| !d.choices.is_empty()) {
                let table = [(described.name.clone(), 5.into())].into_iter().collect();
                let error = attack.entry.parameters(None, &table).unwrap_err();
                refused.push(error.root_cause().to_string());
            }
        }
        let space = "`space`: expected one of `tanh`, `pixels`, found 5";
        let norm = "`norm`: expected one of `linf`, `l1`, `l2`, found 5";
        assert!([space, norm].iter().all(|&text| refused.iter().any(|r| r == text)), "{refused:?}");
        let all_alike = refused.iter().all(|r| r.contains(": expected one of `"));
        assert!(refused.len() == 8 && all_alike, "{refused:?}");
    }
}

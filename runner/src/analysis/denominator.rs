//! Denominators of transfer rates: which images a rate is over.

use std::ops::{Index, IndexMut};

/// The images that a transfer rate is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Denominator {
    /// Every image.
    All,
    /// The images that were attacked: those that the source classifies correctly.
    SourceCorrect,
    /// The images whose adversarial deceives the source.
    SourceSuccess,
    /// The attacked images that the target classifies correctly.
    TargetCorrect,
    /// The images that deceive the source and that the target classifies correctly.
    Both,
    /// The images that every model of the study classifies correctly.
    AllCorrect,
    /// The attacked images that the target classifies correctly when they are brought to it
    /// unperturbed, in the way in which the adversarials are.
    Control,
}

impl Denominator {
    /// All denominators, in the order of the tables' columns.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The denominator of the 2018 study.
    pub const PUBLISHED: Self = Self::TargetCorrect;

    /// The name in tables and in `study.json`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A count for each [`Denominator`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerDenominator([usize; Denominator::ALL.len()]);

impl PerDenominator {
    /// The counts in the order of [`Denominator::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().copied()
    }
}

impl Index<Denominator> for PerDenominator {
    type Output = usize;

    fn index(&self, denominator: Denominator) -> &usize {
        &self.0[denominator as usize]
    }
}

impl IndexMut<Denominator> for PerDenominator {
    fn index_mut(&mut self, denominator: Denominator) -> &mut usize {
        &mut self.0[denominator as usize]
    }
}

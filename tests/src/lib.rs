//! What the cross-crate tests share.

pub mod golden;
pub mod tiny;
pub mod toys;

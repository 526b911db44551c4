//! What the cross-crate tests share.

pub mod benching;
pub mod golden;
pub mod libraries;
pub mod processes;
pub mod tiny;
pub mod toys;

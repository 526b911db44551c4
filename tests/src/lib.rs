//! What the cross-crate tests share.

#[cfg(target_os = "linux")]
pub mod allocator;
pub mod benching;
pub mod golden;
pub mod libraries;
pub mod processes;
pub mod tiny;
pub mod toys;

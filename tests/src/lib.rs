//! Code that the tests across the crates share.

#[cfg(target_os = "linux")]
pub mod allocator;
pub mod benching;
pub mod cluster;
pub mod golden;
pub mod libraries;
pub mod processes;
pub mod results;
pub mod tiny;
pub mod toys;

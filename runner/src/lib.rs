//! Skeleton.
pub mod data;
pub mod execute;
pub mod plan;
pub mod rows;
pub mod store;
pub mod study;

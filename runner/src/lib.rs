//! Skeleton.
pub mod data;
pub mod rows;
pub mod store;

//! One cell, from its inputs to what is stored: the same in every thread and process.

mod bring;
mod clean;
mod context;
mod control;
mod craft;
mod crafted;
mod eight_bit;
mod engine;
mod measure;
pub(super) mod probe;
mod provenance;
mod resized;
mod score;
mod transfer;
mod verify;

pub(crate) use engine::Engine;
pub(super) use engine::{CellOutcome, CellResult, Loaded};

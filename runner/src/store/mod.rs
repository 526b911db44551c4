//! Cells on disk: `OUT/cells/<kind>/<key>.parquet`, each complete or absent.
//!
//! A file is written under a temporary name, synced, and renamed. Its checksum covers all of its
//! bytes and is verified at every read before anything else. Two processes may share a folder: at
//! worst both compute the same cell. Pixels are in a file of their own, which is named after its
//! hash and written before the Parquet file that refers to it.
//!
//! A folder may have an object store behind it ([`attach`]), for machines that share no folder.
//! Files that the folder lacks are copied from the object store. Computed cells go to both.

mod address;
mod backing;
mod cells;
mod error;
mod files;
mod format;
mod pixels;
#[cfg(feature = "object-store")]
mod remote;
#[cfg(not(feature = "object-store"))]
#[path = "no_remote.rs"]
mod remote;
mod row;
pub mod rows;
pub(crate) mod status;
pub mod table_rows;

pub use address::{Address, CellKind, canonical};
pub(crate) use backing::begun;
pub use backing::{attach, names, names_behind};
pub use cells::Store;
pub use error::StoreError;
#[cfg(feature = "pull")]
pub(crate) use files::prepare;
pub use files::{Pending, write_atomically};
pub use format::{Lookup, Stored};
pub(crate) use format::{Packet, properties};
pub use pixels::Adversarials;
#[cfg(feature = "report")]
pub(crate) use pixels::levels;
pub(crate) use pixels::{WHITE, safetensors};
pub use row::Row;

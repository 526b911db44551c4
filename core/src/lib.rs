//! What a Gauntlet plugin needs, and nothing else.
//!
//! A plugin brings a [`Model`](model::Model), an [`Attack`](attack::Attack) or a
//! [`Metric`](metric::Metric) and names it in [`export_plugin!`]. An attack sees a model
//! through the [`Oracle`](oracle::Oracle) alone; an iterative attack describes one step and lets
//! [`lanes`] keep the batch full. Pixels are everywhere float32 RGB in [0, 1], laid out
//! N×3×H×W, and every norm and ε is measured in that domain.

pub mod attack;
pub mod device;
pub mod guard;
pub mod lanes;
pub mod logits;
pub mod metric;
pub mod model;
pub mod oracle;
pub mod params;
pub mod plugin;
pub mod registry;
pub mod testing;
pub mod weights;

/// The libtorch that this crate is built for.
pub const LIBTORCH: &str = "2.11.0";

/// One `use` for a plugin's source file.
pub mod prelude {
    pub use crate::attack::{Answer, Attack, Batch, Cases, Goal, Goals};
    pub use crate::lanes::{self, Lanes, Search};
    pub use crate::metric::{Direction, Metric, Scope};
    pub use crate::model::{Architecture, Model, ModelCard};
    pub use crate::oracle::Oracle;
    pub use crate::params::{NoParams, Preset};
    pub use crate::weights::Weights;
    pub use crate::{export_plugin, params, rows};
    pub use anyhow::{Context as _, Result, bail, ensure};
    pub use rand_chacha::rand_core::RngCore;
    pub use serde::{Deserialize, Serialize};
    pub use tch::{self, Kind, Tensor};
}

// Named by the macros in other people's crates, and in this one.
#[doc(hidden)]
pub use {inventory, serde};
extern crate self as gauntlet_core;

//! The plugin's side of the boundary: the tables that [`export_plugin!`](crate::export_plugin) puts
//! behind the entry function.

mod attack;
mod metric;
mod model;
mod object;
mod oracle;
mod weights;

use crate::attack::Attack;
use crate::library::abi::{self, Item, Text};
use crate::metric::Metric;
use crate::model::{Architecture, Model};
use crate::registry::{DynAttack, DynMetric};
use attack::OfAttack;
use metric::OfMetric;
use model::OfModel;

/// A plugin's table.
pub struct Exported(abi::Plugin);

// SAFETY: the table points to statics that nobody writes to.
unsafe impl Sync for Exported {}

impl Exported {
    /// The table of a crate with this stamp, which ends with a zero byte, and these items.
    pub const fn new(stamp: &'static [u8], items: &'static [Item]) -> Self {
        Self(abi::Plugin {
            size: size_of::<abi::Plugin>(),
            abi: abi::ABI,
            reserved: 0,
            stamp: Text { data: stamp.as_ptr().cast(), length: stamp.len() - 1 },
            items: items.as_ptr(),
            count: items.len(),
        })
    }

    /// What the entry function returns.
    pub const fn table(&'static self) -> *const abi::Plugin {
        &raw const self.0
    }
}

/// The item of an attack.
pub const fn attack<A: Attack>() -> Item {
    let table: &'static abi::Attack = &const {
        abi::Attack {
            head: object::head::<OfAttack<A>>(size_of::<abi::Attack>()),
            make: Some(object::make::<OfAttack<A>, dyn DynAttack>),
            budget: Some(attack::budget),
            run: Some(attack::run),
            release: Some(object::release::<dyn DynAttack>),
            cost: Some(attack::cost),
        }
    };
    Item { kind: abi::ITEM_ATTACK, reserved: 0, table: std::ptr::from_ref(table).cast() }
}

/// The item of a model.
pub const fn model<A: Architecture>() -> Item {
    let table: &'static abi::Model = &const {
        abi::Model {
            head: object::head::<OfModel<A>>(size_of::<abi::Model>()),
            card: Some(model::card::<A>),
            weights: Some(model::embedded::<A>),
            load: Some(model::load::<A>),
            logits: Some(model::logits),
            release: Some(object::release::<dyn Model>),
        }
    };
    Item { kind: abi::ITEM_MODEL, reserved: 0, table: std::ptr::from_ref(table).cast() }
}

/// The item of a metric.
pub const fn metric<M: Metric>() -> Item {
    let table: &'static abi::Metric = &const {
        abi::Metric {
            head: object::head::<OfMetric<M>>(size_of::<abi::Metric>()),
            make: Some(object::make::<OfMetric<M>, dyn DynMetric>),
            outcome: Some(metric::outcome),
            model: Some(metric::model),
            release: Some(object::release::<dyn DynMetric>),
            cost: Some(metric::cost),
        }
    };
    Item { kind: abi::ITEM_METRIC, reserved: 0, table: std::ptr::from_ref(table).cast() }
}

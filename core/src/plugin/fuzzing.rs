//! Entry points of the fuzz targets (`tests/fuzz`), in builds with `--cfg fuzzing` alone.

use super::{export, host, wire};
use crate::guard;
use crate::library::Library;
use crate::library::abi::{self, Head, Item, Sink, Text};
use crate::library::stamp::{self, Stamp};
use crate::params;
use crate::registry::Registry;
use crate::testing::{Affine, Nudge};
use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::Arc;

thread_local! {
    /// What the plugin below says of itself.
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Reads the stamp in a library's bytes, and checks it.
pub fn stamp(bytes: &[u8]) {
    if let Ok(stamp) = stamp::read(bytes, "sample") {
        let library = Library { path: "libsample.so".into(), hash: String::new(), stamp };
        let _ = library.check();
    }
}

/// Loads a plugin that describes itself, its card and its budget by `said`, and lays `overrides`
/// over its parameters. Then gives `said` as a preset and `overrides` as parameters to a real
/// plugin.
pub fn toml(said: &str, overrides: &str) {
    SAID.replace(said.to_owned());
    let library = Arc::new(Library {
        path: "libsample.so".into(),
        hash: String::new(),
        stamp: Stamp::default(),
    });
    let overridden = params::parse(overrides);
    for item in &ITEMS {
        let mut registry = Registry::empty();
        if host::register(&mut registry, &library, &item.0).is_err() {
            continue;
        }
        let Ok(overrides) = &overridden else { continue };
        for attack in registry.attacks() {
            if let Ok(all) = attack.entry.parameters(None, overrides) {
                let _ = attack.make(&all).map(|attack| guard::catch("it", || Ok(attack.budget())));
            }
            for preset in &attack.entry.presets {
                let _ = attack.entry.parameters(Some(&preset.name), overrides);
            }
        }
        for model in registry.models() {
            if let Ok(all) = model.entry.parameters(None, overrides) {
                let _ = model.card(&all);
            }
        }
    }
    exported(said, overrides);
}

/// Sends texts to plugins that this crate exports, as a program does.
fn exported(preset: &str, overrides: &str) {
    let (attack, model) = (export::attack::<Nudge>(), export::model::<Affine>());
    // SAFETY: both tables are of the kind that they are cast to; texts and sinks live during the
    // calls.
    unsafe {
        let (attack, model) =
            (&*attack.table.cast::<abi::Attack>(), &*model.table.cast::<abi::Model>());
        for head in [&attack.head, &model.head] {
            for preset in ["", preset] {
                let resolve = head.resolve.expect("it is exported");
                let _ = wire::call_for_text("it", |toml, error| {
                    resolve(Text::of(preset), Text::of(overrides), toml, error)
                });
            }
        }
        let card = model.card.expect("it is exported");
        let _ = wire::call_for_text("it", |toml, error| card(Text::of(overrides), toml, error));
        let (make, release) =
            (attack.make.expect("it is exported"), attack.release.expect("it is exported"));
        let mut object = std::ptr::null_mut();
        if wire::call("it", |error| make(Text::of(overrides), &raw mut object, error)).is_ok() {
            release(object);
        }
    }
}

unsafe extern "C" fn say(toml: Sink, _: Sink) -> i32 {
    SAID.with_borrow(|said| wire::put(toml, said));
    abi::OK
}

unsafe extern "C" fn card(_: Text, toml: Sink, error: Sink) -> i32 {
    // SAFETY: both sinks are the caller's.
    unsafe { say(toml, error) }
}

unsafe extern "C" fn budget(_: *const c_void, toml: Sink, error: Sink) -> i32 {
    // SAFETY: both sinks are the caller's.
    unsafe { say(toml, error) }
}

unsafe extern "C" fn make(_: Text, object: *mut *mut c_void, _: Sink) -> i32 {
    // SAFETY: the caller has a place for the pointer.
    unsafe { object.write(std::ptr::dangling_mut()) };
    abi::OK
}

unsafe extern "C" fn release(_: *mut c_void) {}

unsafe extern "C" fn run(
    _: *const c_void,
    _: *const abi::Oracle,
    _: *const abi::Cases,
    _: *mut abi::Answer,
    _: Sink,
) -> i32 {
    abi::FAILED
}

unsafe extern "C" fn load(_: Text, _: *const abi::Weights, _: *mut *mut c_void, _: Sink) -> i32 {
    abi::FAILED
}

unsafe extern "C" fn logits(
    _: *const c_void,
    _: abi::TensorRef,
    _: *mut abi::Tensor,
    _: Sink,
) -> i32 {
    abi::FAILED
}

unsafe extern "C" fn outcome(
    _: *const c_void,
    _: abi::TensorRef,
    _: abi::TensorRef,
    _: *mut f64,
    _: usize,
    _: Sink,
) -> i32 {
    abi::FAILED
}

unsafe extern "C" fn score(
    _: *const c_void,
    _: *const abi::Oracle,
    _: *const abi::Cases,
    _: *mut f64,
    _: usize,
    _: Sink,
) -> i32 {
    abi::FAILED
}

const fn head<T>() -> Head {
    Head { size: size_of::<T>(), describe: Some(say), resolve: None }
}

const fn item<T>(kind: u32, table: &'static T) -> Shared {
    Shared(Item { kind, reserved: 0, table: std::ptr::from_ref(table).cast() })
}

/// An item that can be a static.
struct Shared(Item);

// SAFETY: it points to constants.
unsafe impl Sync for Shared {}

static ITEMS: [Shared; 3] = [
    item(
        abi::ITEM_ATTACK,
        &abi::Attack {
            head: head::<abi::Attack>(),
            make: Some(make),
            budget: Some(budget),
            run: Some(run),
            release: Some(release),
            cost: None,
        },
    ),
    item(
        abi::ITEM_MODEL,
        &abi::Model {
            head: head::<abi::Model>(),
            card: Some(card),
            weights: None,
            load: Some(load),
            logits: Some(logits),
            release: Some(release),
        },
    ),
    item(
        abi::ITEM_METRIC,
        &abi::Metric {
            head: head::<abi::Metric>(),
            make: Some(make),
            outcome: Some(outcome),
            model: Some(score),
            release: Some(release),
            cost: None,
        },
    ),
];

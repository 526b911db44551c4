//! The boundary between a program and a plugin library: C, field by field.
//!
//! Rules that hold everywhere:
//!
//! - What comes in (texts, arrays, tables, tensor handles) is borrowed until the function returns.
//! - What goes out is owned by the receiver, who gives it back through its `release`: what a module
//!   allocated, that module frees. Texts go out through a [`Sink`], which copies.
//! - A function that can fail returns a status ([`OK`], …) and puts the reason into `error`. Where
//!   the status is not [`OK`], nothing else was given out.
//! - No panic and no exception leaves a function: whoever raises one catches it and returns
//!   [`PANICKED`]. This goes for the plugin's functions and for the functions that it is given.
//! - Parameters and cards are TOML text. Keys that the reader does not know are left alone.
//! - Tables begin with their own `size` in bytes, as their maker compiled them. Later versions
//!   append fields; what lies beyond `size` is absent. Whatever cannot be appended raises [`ABI`].
//! - Tables, names and embedded bytes of a plugin stay where they are for the life of the process:
//!   a library is never unloaded.
//!
//! The stamp. A library says in plain text what it is, so that a program knows before any of its
//! code runs: in a link section `.gauntlet` of the ELF file, TOML that ends with a zero byte. Keys:
//!
//! - `abi`: [`ABI`] as the library was compiled. The only key whose meaning never changes.
//! - `target`: the target triple, such as `x86_64-unknown-linux-gnu`. `libtorch`: its version, such
//!   as `2.11.0`. Both must be the program's own.
//! - `name`, `version`: of the plugin. The name is taken once among all that are loaded.
//! - `entry`: the name of the exported function of the type [`Entry`]; begins with
//!   `gauntlet_plugin_`.
//! - `with`, `compiler` (for people) and `panic`: `abort` where a panic or an exception ends the
//!   process, otherwise `unwind`, which may be left out.

// `include/gauntlet.h` is made from this file, see `tests/header.rs`.

use std::ffi::{c_char, c_void};

/// Number of this interface. A program loads the plugins that were built for its own number.
pub const ABI: u32 = 1;

/// The function has done its work.
pub const OK: i32 = 0;
/// It has not, for a reason that it knows.
pub const FAILED: i32 = 1;
/// A panic or an exception was caught. The object is not used again, but released.
pub const PANICKED: i32 = 2;
/// The work is to be given up: somebody cancelled it. Hand this on.
pub const CANCELLED: i32 = 3;
/// The work is to be given up: its time is over. Hand this on.
pub const OUT_OF_TIME: i32 = 4;

/// [`Item::table`] is an [`Attack`].
pub const ITEM_ATTACK: u32 = 1;
/// [`Item::table`] is a [`Model`].
pub const ITEM_MODEL: u32 = 2;
/// [`Item::table`] is a [`Metric`].
pub const ITEM_METRIC: u32 = 3;

/// [`Goal::kind`]: any class but this one.
pub const GOAL_AWAY: u32 = 0;
/// [`Goal::kind`]: this class.
pub const GOAL_TOWARDS: u32 = 1;

/// [`Answer::kind`]: the search ended without an adversarial. The array that the program hands out
/// is full of these.
pub const ANSWER_NOT_FOUND: u32 = 0;
/// [`Answer::kind`]: pixels that the attack stands by.
pub const ANSWER_PIXELS: u32 = 1;

/// Kernel of a convolution or a dense layer: H×W×in×out or in×out in the names of TensorFlow.
pub const ROLE_KERNEL: u32 = 0;
/// Depthwise kernel, H×W×in×multiplier.
pub const ROLE_DEPTHWISE: u32 = 1;
/// Bias.
pub const ROLE_BIAS: u32 = 2;
/// Scale of a batch norm.
pub const ROLE_GAMMA: u32 = 3;
/// Shift of a batch norm.
pub const ROLE_BETA: u32 = 4;
/// Moving mean of a batch norm.
pub const ROLE_MEAN: u32 = 5;
/// Moving variance of a batch norm.
pub const ROLE_VARIANCE: u32 = 6;

/// TensorFlow's, as in the reference checkpoints.
pub const DIALECT_TENSORFLOW: u32 = 0;
/// PyTorch's, as timm and torchvision have them.
pub const DIALECT_PYTORCH: u32 = 1;

/// UTF-8 text, borrowed. Not terminated; `data` may be null where `length` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    /// The first byte.
    pub data: *const c_char,
    /// Number of bytes.
    pub length: usize,
}

/// Where a text goes out: whoever made it copies what is put.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sink {
    /// Given back to `put`.
    pub context: *mut c_void,
    /// Appends `text`; may be called more than once.
    pub put: Option<unsafe extern "C" fn(context: *mut c_void, text: Text)>,
}

/// A tensor that is borrowed: an `at::Tensor *` that is neither written to nor deleted. Copy the
/// `at::Tensor` to keep the tensor (this shares the data).
pub type TensorRef = *const c_void;

/// A tensor that is handed over: the receiver copies the `at::Tensor`, then calls `release`.
#[repr(C)]
pub struct Tensor {
    /// An `at::Tensor *`.
    pub handle: *mut c_void,
    /// Deletes `handle`.
    pub release: Option<unsafe extern "C" fn(handle: *mut c_void)>,
}

/// The program, as a plugin sees it when it is loaded. Stays for the life of the process.
#[repr(C)]
pub struct Host {
    /// Size of this table in bytes.
    pub size: usize,
    /// The program's [`ABI`].
    pub abi: u32,
    /// Zero.
    pub reserved: u32,
    /// Name and version of the library that the program is made of, such as `gauntlet-core 0.1.0`.
    pub version: Text,
}

/// The function that the stamp's `entry` names: the only symbol of a plugin that is looked up.
/// Returns null when the plugin does not want to be loaded.
pub type Entry = unsafe extern "C" fn(host: *const Host) -> *const Plugin;

/// All that a plugin brings.
#[repr(C)]
pub struct Plugin {
    /// Size of this table in bytes.
    pub size: usize,
    /// The plugin's [`ABI`].
    pub abi: u32,
    /// Zero.
    pub reserved: u32,
    /// The stamp, as in the file.
    pub stamp: Text,
    /// What it brings.
    pub items: *const Item,
    /// Number of items.
    pub count: usize,
}

/// Something that a study can name.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Item {
    /// [`ITEM_ATTACK`], [`ITEM_MODEL`] or [`ITEM_METRIC`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The table of that kind.
    pub table: *const c_void,
}

/// How the table of an attack, a model or a metric begins. This part never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Head {
    /// Size of the whole table in bytes.
    pub size: usize,
    /// Tells about itself in TOML:
    ///
    /// - `name`: as studies name it; letters, digits, `_`, `-` and `.`.
    /// - `summary`: one line for `runner list`.
    /// - `[parameters]`: all parameters with their defaults. What has no value by default is not
    ///   shown.
    /// - `[[presets]]`: further named sets, each with `name`, `summary` and `[presets.parameters]`.
    /// - `[[descriptions]]`: what parameters mean, each with `name`, `text` and, for a choice among
    ///   names, `choices`.
    /// - of metrics also `scope` (`outcome` or `model`), `unit`, `direction`
    ///   (`higher_is_more_robust` or `lower_is_more_robust`), and where they hold `at_identity`
    ///   (the value of every image beside itself), `symmetric` (original and adversarial can change
    ///   places) and `extras` (an array: names of further numbers that come with every value).
    pub describe: Option<unsafe extern "C" fn(toml: Sink, error: Sink) -> i32>,
    /// Lays `overrides` (TOML) over a preset (empty: the defaults), checks them, and gives all
    /// parameters as TOML. May be null: then the program lays them over what `describe` shows; each
    /// key must be among those, each value of the same type.
    pub resolve:
        Option<unsafe extern "C" fn(preset: Text, overrides: Text, toml: Sink, error: Sink) -> i32>,
}

/// An attack. Its objects may be used by several threads at a time.
#[repr(C)]
pub struct Attack {
    /// Size, name, parameters.
    pub head: Head,
    /// Makes an object from full parameters (TOML). Refuses values out of range.
    pub make: Option<
        unsafe extern "C" fn(parameters: Text, object: *mut *mut c_void, error: Sink) -> i32,
    >,
    /// How far from its image an answer lies at the most, in TOML: `norm` (`linf`, `l1` or `l2`, of
    /// the whole image) and `radius`; nothing where the parameters do not limit that. May be null.
    pub budget: Option<unsafe extern "C" fn(object: *const c_void, toml: Sink, error: Sink) -> i32>,
    /// Attacks every case. `answers` has an element for each, set to [`ANSWER_NOT_FOUND`].
    /// An answer may depend neither on how many cases there are nor on which. The oracle
    /// may be asked until this returns, from this thread alone.
    pub run: Option<
        unsafe extern "C" fn(
            object: *const c_void,
            oracle: *const Oracle,
            cases: *const Cases,
            answers: *mut Answer,
            error: Sink,
        ) -> i32,
    >,
    /// Frees an object.
    pub release: Option<unsafe extern "C" fn(object: *mut c_void)>,
}

/// A kind of model. An object is used by one thread at a time, not always the same.
#[repr(C)]
pub struct Model {
    /// Size, name, parameters.
    pub head: Head,
    /// The card (TOML) of the model that full parameters would give: `name`, `family`, `side`,
    /// `classes` and, where they are known, `label_offset`, `top1`, `top5`, `source`.
    pub card: Option<unsafe extern "C" fn(parameters: Text, toml: Sink, error: Sink) -> i32>,
    /// The bytes of the weights' file that is part of the plugin (safetensors), for the life of the
    /// process; zero `length` when there is none. May be null: there is none.
    pub weights: Option<unsafe extern "C" fn() -> Bytes>,
    /// Makes an object from full parameters and weights. Asks `weights` for every tensor that it
    /// needs, in whatever order; what is missing, misshapen or never asked for is reported by the
    /// program. No weight may require a gradient.
    pub load: Option<
        unsafe extern "C" fn(
            parameters: Text,
            weights: *const Weights,
            object: *mut *mut c_void,
            error: Sink,
        ) -> i32,
    >,
    /// Logits of a batch. `pixels`: N×3×S×S float32 in [0, 1], S the card's `side`, on the device
    /// that the weights were on. The answer is N×`classes` and differentiable with respect to
    /// `pixels` where gradients are on. Row n depends on image n alone.
    pub logits: Option<
        unsafe extern "C" fn(
            object: *const c_void,
            pixels: TensorRef,
            logits: *mut Tensor,
            error: Sink,
        ) -> i32,
    >,
    /// Frees an object.
    pub release: Option<unsafe extern "C" fn(object: *mut c_void)>,
}

/// A metric. Its objects may be used by several threads at a time.
#[repr(C)]
pub struct Metric {
    /// Size, name, parameters.
    pub head: Head,
    /// Makes an object from full parameters (TOML). Refuses values out of range.
    pub make: Option<
        unsafe extern "C" fn(parameters: Text, object: *mut *mut c_void, error: Sink) -> i32,
    >,
    /// Scope `outcome`: writes one value per row of two N×3×S×S float32 batches in [0, 1], each
    /// followed by its `extras`. `values` has room for `count` numbers, N times one and the extras.
    /// May be null where the scope is `model`.
    pub outcome: Option<
        unsafe extern "C" fn(
            object: *const c_void,
            original: TensorRef,
            adversarial: TensorRef,
            values: *mut f64,
            count: usize,
            error: Sink,
        ) -> i32,
    >,
    /// Scope `model`: writes one value per case, each followed by its `extras`, `count` numbers in
    /// all. The model classifies every case correctly; the goal says from where, or to where, it is
    /// robust. The oracle may be asked until this returns, from this thread alone. May be null
    /// where the scope is `outcome`.
    pub model: Option<
        unsafe extern "C" fn(
            object: *const c_void,
            oracle: *const Oracle,
            cases: *const Cases,
            values: *mut f64,
            count: usize,
            error: Sink,
        ) -> i32,
    >,
    /// Frees an object.
    pub release: Option<unsafe extern "C" fn(object: *mut c_void)>,
}

/// Bytes that stay for the life of the process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    /// The first byte; may be null where `length` is 0.
    pub data: *const u8,
    /// Number of bytes.
    pub length: usize,
}

/// Images with a goal each.
#[repr(C)]
pub struct Cases {
    /// Size of this table in bytes.
    pub size: usize,
    /// N×3×S×S float32 in [0, 1].
    pub pixels: TensorRef,
    /// N goals.
    pub goals: *const Goal,
    /// N.
    pub count: usize,
}

/// What an attack shall bring about.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Goal {
    /// The class that the goal speaks of, as an index into the logits.
    pub class_index: i64,
    /// [`GOAL_AWAY`] or [`GOAL_TOWARDS`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

/// An attack's answer for one case.
#[repr(C)]
pub struct Answer {
    /// [`ANSWER_NOT_FOUND`] or [`ANSWER_PIXELS`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// 3×S×S float32 in [0, 1], where `kind` is [`ANSWER_PIXELS`].
    pub pixels: Tensor,
}

/// A loss: logits to one value per row.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Loss {
    /// Given back to `call`.
    pub context: *mut c_void,
    /// M×K logits with a graph behind them, to M losses. Called once, before `gradient` returns.
    pub call: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            logits: TensorRef,
            loss: *mut Tensor,
            error: Sink,
        ) -> i32,
    >,
}

/// Passes through the network that one case has cost.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Passes {
    /// Forward passes.
    pub forward: u64,
    /// Backward passes, to the input.
    pub backward: u64,
}

/// All that an attack or a metric gets to see of a model. In every call `cases` says, for each of
/// `count` rows of the batch, which case it belongs to: passes are counted per case.
#[repr(C)]
pub struct Oracle {
    /// Size of this table in bytes.
    pub size: usize,
    /// Given back to the functions.
    pub context: *mut c_void,
    /// The model's card (TOML).
    pub card: Text,
    /// How many rows a batch shall have at the most.
    pub lanes: usize,
    /// Number of cases.
    pub case_count: usize,
    /// The ChaCha8 key (64-bit counter and stream number, as in Bernstein's variant) of all random
    /// streams, 32 bytes. For those who have ChaCha8 of their own; the others call `random`.
    pub key: *const u8,
    /// The ChaCha8 stream number of each case.
    pub streams: *const u64,
    /// Logits: pixels M×3×S×S to M×K. One forward pass per row.
    pub logits: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            cases: *const usize,
            count: usize,
            pixels: TensorRef,
            logits: *mut Tensor,
            error: Sink,
        ) -> i32,
    >,
    /// Logits (M×K), losses (M) and the gradient of each row's loss with respect to its pixels
    /// (M×3×S×S). One forward and one backward pass per row.
    pub gradient: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            cases: *const usize,
            count: usize,
            pixels: TensorRef,
            loss: Loss,
            gradient: *mut Gradient,
            error: Sink,
        ) -> i32,
    >,
    /// Bytes `offset`, `offset + 1`, … of a case's random stream, `count` of them.
    pub random: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            case_index: usize,
            offset: u64,
            bytes: *mut u8,
            count: usize,
            error: Sink,
        ) -> i32,
    >,
    /// The passes so far; `passes` has room for `case_count`.
    pub passes:
        Option<unsafe extern "C" fn(context: *mut c_void, passes: *mut Passes, error: Sink) -> i32>,
    /// [`OK`] while there is time: for long work that does not ask the model.
    pub check_time: Option<unsafe extern "C" fn(context: *mut c_void, error: Sink) -> i32>,
}

/// What [`Oracle::gradient`] gives.
#[repr(C)]
pub struct Gradient {
    /// M×K.
    pub logits: Tensor,
    /// M.
    pub loss: Tensor,
    /// M×3×S×S.
    pub pixels: Tensor,
}

/// Named tensors, for a model that is being loaded.
#[repr(C)]
pub struct Weights {
    /// Size of this table in bytes.
    pub size: usize,
    /// Given back to the functions.
    pub context: *mut c_void,
    /// Where the model shall live: `cpu` or `cuda:N`. Tensors that `tensor` gives are there
    /// already.
    pub device: Text,
    /// Whether batch norm shall use the statistics of the batch, as in training: 0 or 1.
    pub training: u32,
    /// Whose names and conventions the tensors have: [`DIALECT_TENSORFLOW`] or [`DIALECT_PYTORCH`].
    pub dialect: u32,
    /// The float32 tensor of that name and shape. `role` ([`ROLE_KERNEL`], …) says what it is for.
    /// Of a tensor that is missing or has another shape the program takes note, and zeros stand in
    /// for it.
    pub tensor: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            name: Text,
            shape: *const i64,
            dimensions: usize,
            role: u32,
            tensor: *mut Tensor,
            error: Sink,
        ) -> i32,
    >,
    /// Lets the file have tensors that nobody asks for, whose names begin with `start`.
    pub spare: Option<unsafe extern "C" fn(context: *mut c_void, start: Text, error: Sink) -> i32>,
}

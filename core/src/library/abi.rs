//! The boundary between a program and a plugin library: a C interface.
//!
//! Rules that hold everywhere:
//!
//! - Arguments (texts, arrays, tables, tensor handles) are borrowed until the function returns.
//! - The receiver owns what a function gives out, and gives it back through its `release`: each
//!   module frees what it has allocated. Texts go out through a [`Sink`], which copies them.
//! - A function that can fail returns a status ([`OK`], …) and puts the reason into `error`. Where
//!   the status is not [`OK`], it has given nothing else out.
//! - No panic and no exception leaves a function. The side that raises one catches it and returns
//!   [`PANICKED`]. This holds for the plugin's functions and for those that the program lends it.
//! - Parameters and cards are TOML text. Readers ignore keys that they do not know. A text among the
//!   parameters that the program gives stands in one line, in `"`, with JSON's escapes.
//! - Tables begin with their own `size` in bytes, as their maker compiled them. Later versions
//!   append fields. A field beyond `size` is absent. A change that cannot be appended raises
//!   [`ABI`].
//! - A library is never unloaded. A plugin's tables, names and embedded bytes stay where they are
//!   for the life of the process.
//!
//! The stamp says in plain text what a library is, so that a program knows it before any of the
//! library's code runs. It is TOML that ends with a zero byte, in the section `.gauntlet` of the
//! ELF file. Its keys:
//!
//! - `abi`: the value of [`ABI`] when the library was compiled. Only this key never changes its
//!   meaning.
//! - `target`: the target triple, such as `x86_64-unknown-linux-gnu`. It must be the program's.
//! - `libtorch`: the version of libtorch, such as `2.11.0`. It must be the program's.
//! - `name`, `version`: those of the plugin. A program loads one plugin of each name.
//! - `entry`: the name of the exported function of the type [`Entry`]. It begins with
//!   `gauntlet_plugin_`.
//! - `panic`: `abort` where a panic or an exception ends the process, otherwise `unwind` or absent.
//! - `with`, `compiler`: what the library was built with, for people.

// `include/gauntlet.h` is generated from this file, see `tests/header.rs`.

use std::ffi::{c_char, c_void};

/// Number of this interface. A program loads only plugins that were built for its own number.
pub const ABI: u32 = 1;

/// Status: the function has done its work.
pub const OK: i32 = 0;
/// Status: the function has failed. `error` holds the reason.
pub const FAILED: i32 = 1;
/// Status: the function has caught a panic or an exception. The object is released and not used
/// again. `error` may begin with the place, `at FILE:LINE: `.
pub const PANICKED: i32 = 2;
/// Status: the work was cancelled and shall be given up. A plugin that gets it returns it.
pub const CANCELLED: i32 = 3;
/// Status: the work is out of time and shall be given up. A plugin that gets it returns it.
pub const OUT_OF_TIME: i32 = 4;

/// [`Item::kind`]: an attack, whose table is [`Attack`].
pub const ITEM_ATTACK: u32 = 1;
/// [`Item::kind`]: a model, whose table is [`Model`].
pub const ITEM_MODEL: u32 = 2;
/// [`Item::kind`]: a metric, whose table is [`Metric`].
pub const ITEM_METRIC: u32 = 3;

/// [`Goal::kind`], untargeted: any class but this one.
pub const GOAL_AWAY: u32 = 0;
/// [`Goal::kind`], targeted: this class.
pub const GOAL_TOWARDS: u32 = 1;

/// [`Answer::kind`]: the search ended without an adversarial. The program sets all answers to this
/// before it calls the attack.
pub const ANSWER_NOT_FOUND: u32 = 0;
/// [`Answer::kind`]: pixels that the attack gives as its result.
pub const ANSWER_PIXELS: u32 = 1;

/// Role: kernel of a convolution, H×W×in×out, or of a dense layer, in×out.
pub const ROLE_KERNEL: u32 = 0;
/// Role: depthwise kernel, H×W×in×multiplier.
pub const ROLE_DEPTHWISE: u32 = 1;
/// Role: bias.
pub const ROLE_BIAS: u32 = 2;
/// Role: scale of a batch norm.
pub const ROLE_GAMMA: u32 = 3;
/// Role: shift of a batch norm.
pub const ROLE_BETA: u32 = 4;
/// Role: moving mean of a batch norm.
pub const ROLE_MEAN: u32 = 5;
/// Role: moving variance of a batch norm.
pub const ROLE_VARIANCE: u32 = 6;

/// Dialect: TensorFlow's conventions, as in the reference checkpoints.
pub const DIALECT_TENSORFLOW: u32 = 0;
/// Dialect: PyTorch's conventions, as in timm and torchvision.
pub const DIALECT_PYTORCH: u32 = 1;

/// Borrowed UTF-8 text without a terminating zero. `data` may be null where `length` is 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Text {
    /// The first byte.
    pub data: *const c_char,
    /// Number of bytes.
    pub length: usize,
}

/// A receiver of texts. It copies what is put into it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Sink {
    /// First argument of `put`.
    pub context: *mut c_void,
    /// Appends `text`. It may be called more than once.
    pub put: Option<unsafe extern "C" fn(context: *mut c_void, text: Text)>,
}

/// A borrowed tensor: an `at::Tensor *`. The borrower neither writes to it nor deletes it. To keep
/// the tensor, copy the `at::Tensor`, which shares the data.
pub type TensorRef = *const c_void;

/// A tensor that is handed over. The receiver copies the `at::Tensor`, then calls `release`.
#[repr(C)]
pub struct Tensor {
    /// An `at::Tensor *`.
    pub handle: *mut c_void,
    /// Deletes `handle`.
    pub release: Option<unsafe extern "C" fn(handle: *mut c_void)>,
}

/// What a plugin is told of the program when it is loaded. It stays for the life of the process.
#[repr(C)]
pub struct Host {
    /// Size of this table in bytes.
    pub size: usize,
    /// The program's [`ABI`].
    pub abi: u32,
    /// Always 0.
    pub reserved: u32,
    /// Name and version of the library that implements the interface, such as
    /// `gauntlet-core 0.1.0`.
    pub version: Text,
}

/// The function that the stamp's `entry` names. A program looks up no other symbol. Returns null
/// when the plugin does not want to be loaded.
pub type Entry = unsafe extern "C" fn(host: *const Host) -> *const Plugin;

/// Everything that a plugin brings.
#[repr(C)]
pub struct Plugin {
    /// Size of this table in bytes.
    pub size: usize,
    /// The plugin's [`ABI`].
    pub abi: u32,
    /// Always 0.
    pub reserved: u32,
    /// The stamp, as in the file.
    pub stamp: Text,
    /// Its attacks, models and metrics.
    pub items: *const Item,
    /// Number of items.
    pub count: usize,
}

/// An attack, a model or a metric.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Item {
    /// [`ITEM_ATTACK`], [`ITEM_MODEL`] or [`ITEM_METRIC`].
    pub kind: u32,
    /// Always 0.
    pub reserved: u32,
    /// The table of that kind.
    pub table: *const c_void,
}

/// The beginning of the table of an attack, a model or a metric. It never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Head {
    /// Size of the whole table in bytes.
    pub size: usize,
    /// Gives a description in TOML:
    ///
    /// - `name`: the name in studies. Letters, digits, `_`, `-` and `.`.
    /// - `summary`: one line for `runner list`.
    /// - `[parameters]`: all parameters with their defaults, without those that have no value by
    ///   default.
    /// - `[[presets]]`: further named sets, each with `name`, `summary` and `[presets.parameters]`.
    /// - `[[descriptions]]`: the meaning of parameters, each with `name`, `text` and, where the
    ///   values have names, `choices`.
    ///
    /// The description of a metric also has:
    ///
    /// - `scope`: `outcome` or `model`.
    /// - `unit`: the unit of the values.
    /// - `direction`: `higher_is_more_robust` or `lower_is_more_robust`.
    /// - `at_identity`: the value of an image and itself, if it is the same for all images.
    /// - `symmetric`: true where exchanging original and adversarial leaves the value the same.
    /// - `extras`: an array with names of further numbers that come with every value.
    pub describe: Option<unsafe extern "C" fn(toml: Sink, error: Sink) -> i32>,
    /// Gives all parameters as TOML: those of a preset (empty: the defaults), replaced by
    /// `overrides` (TOML). Checks them. May be null. The program then replaces the parameters that
    /// `describe` shows; each key must be among them, and each value must have the same type.
    pub resolve:
        Option<unsafe extern "C" fn(preset: Text, overrides: Text, toml: Sink, error: Sink) -> i32>,
}

/// An attack. Several threads may use one of its objects at a time.
#[repr(C)]
pub struct Attack {
    /// Size, description and parameters.
    pub head: Head,
    /// Makes an object from all parameters (TOML). Refuses values out of range.
    pub make: Option<
        unsafe extern "C" fn(parameters: Text, object: *mut *mut c_void, error: Sink) -> i32,
    >,
    /// Gives the greatest distance between an answer and its image, in TOML: `norm` (`linf`, `l1`
    /// or `l2`, of the whole image) and `radius` (pixels in [0, 1]). Gives nothing where the
    /// parameters do not limit the distance. May be null.
    pub budget: Option<unsafe extern "C" fn(object: *const c_void, toml: Sink, error: Sink) -> i32>,
    /// Attacks every case. `answers` has an element for each, set to [`ANSWER_NOT_FOUND`]. An
    /// answer depends neither on the number of cases nor on other cases. The oracle may be called
    /// until this function returns, from this thread alone.
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
    /// Gives the passes that a case with this goal is expected to take, in TOML: `forward` and
    /// `backward`. Gives nothing where they are not known. May be null or absent.
    pub cost: Option<
        unsafe extern "C" fn(object: *const c_void, goal: Goal, toml: Sink, error: Sink) -> i32,
    >,
}

/// A kind of model. One thread uses an object at a time, but not always the same thread.
#[repr(C)]
pub struct Model {
    /// Size, description and parameters.
    pub head: Head,
    /// Gives the card (TOML) of the model that these parameters would give: `name`, `family`, `side`
    /// (or `height` and `width`), `classes`; optionally `channels`, `label_offset`, `source`, `top1`.
    pub card: Option<unsafe extern "C" fn(parameters: Text, toml: Sink, error: Sink) -> i32>,
    /// Gives the bytes of the weights that are part of the plugin, a safetensors file. They stay
    /// for the life of the process. Where there are none, `length` is 0 or this is null.
    pub weights: Option<unsafe extern "C" fn() -> Bytes>,
    /// Makes an object from all parameters and weights. Asks `weights` for every tensor that it
    /// needs, in any order. The program reports what is missing, misshapen or never asked for. No
    /// weight may require a gradient.
    pub load: Option<
        unsafe extern "C" fn(
            parameters: Text,
            weights: *const Weights,
            object: *mut *mut c_void,
            error: Sink,
        ) -> i32,
    >,
    /// Gives the logits of a batch. `pixels` are N×C×H×W float32 in [0, 1] with C, H and W those
    /// of the card, on the device of the weights. The logits are N×`classes` and differentiable with
    /// respect to `pixels` where gradients are on. Row n depends on image n alone.
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

/// A metric. Several threads may use one of its objects at a time.
#[repr(C)]
pub struct Metric {
    /// Size, description and parameters.
    pub head: Head,
    /// Makes an object from all parameters (TOML). Refuses values out of range.
    pub make: Option<
        unsafe extern "C" fn(parameters: Text, object: *mut *mut c_void, error: Sink) -> i32,
    >,
    /// For the scope `outcome`: writes one value per row of two N×C×H×W float32 batches in [0, 1],
    /// each followed by its `extras`. `values` has room for `count` numbers: N times (1 + the
    /// number of extras). May be null where the scope is `model`.
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
    /// For the scope `model`: writes one value per case, each followed by its `extras`, `count`
    /// numbers in all. The model classifies every case correctly. A case's goal says which change
    /// of the class is measured. The oracle may be called until this function returns, from this
    /// thread alone. May be null where the scope is `outcome`.
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
    /// For the scope `model`: the same as [`Attack`]'s, for a model with so many classes.
    pub cost: Option<
        unsafe extern "C" fn(
            object: *const c_void,
            goal: Goal,
            classes: i64,
            toml: Sink,
            error: Sink,
        ) -> i32,
    >,
}

/// Bytes that stay for the life of the process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bytes {
    /// The first byte. May be null where `length` is 0.
    pub data: *const u8,
    /// Number of bytes.
    pub length: usize,
}

/// N images with a goal each.
#[repr(C)]
pub struct Cases {
    /// Size of this table in bytes.
    pub size: usize,
    /// N×C×H×W float32 in [0, 1].
    pub pixels: TensorRef,
    /// N goals.
    pub goals: *const Goal,
    /// N.
    pub count: usize,
}

/// What an attack shall achieve.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Goal {
    /// The class to leave or to reach, as an index into the logits.
    pub class_index: i64,
    /// [`GOAL_AWAY`] or [`GOAL_TOWARDS`].
    pub kind: u32,
    /// Always 0.
    pub reserved: u32,
}

/// An attack's answer for one case.
#[repr(C)]
pub struct Answer {
    /// [`ANSWER_NOT_FOUND`] or [`ANSWER_PIXELS`].
    pub kind: u32,
    /// Always 0.
    pub reserved: u32,
    /// C×H×W float32 in [0, 1], where `kind` is [`ANSWER_PIXELS`].
    pub pixels: Tensor,
}

/// A loss: a function of logits that gives one value per row.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Loss {
    /// First argument of `call`.
    pub context: *mut c_void,
    /// Gives the M losses of M×K logits, as a function that libtorch can differentiate. It is
    /// called once, before `gradient` returns.
    pub call: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            logits: TensorRef,
            loss: *mut Tensor,
            error: Sink,
        ) -> i32,
    >,
}

/// Number of passes through the network that one case has cost.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Passes {
    /// Forward passes.
    pub forward: u64,
    /// Backward passes, to the input.
    pub backward: u64,
}

/// All that an attack or a metric gets to see of a model. In every call `cases` says for each of
/// the `count` rows of the batch which case it belongs to. Passes are counted per case.
#[repr(C)]
pub struct Oracle {
    /// Size of this table in bytes.
    pub size: usize,
    /// First argument of the functions.
    pub context: *mut c_void,
    /// The model's card (TOML).
    pub card: Text,
    /// Greatest number of rows that a batch shall have.
    pub lanes: usize,
    /// Number of cases.
    pub case_count: usize,
    /// The key of all random streams, 32 bytes. They are ChaCha8 with a 64-bit counter and a 64-bit
    /// stream number, as in Bernstein's variant. Plugins without ChaCha8 call `random`.
    pub key: *const u8,
    /// The ChaCha8 stream number of each case.
    pub streams: *const u64,
    /// Gives the M×K logits of M×C×H×W pixels. It costs a forward pass per row.
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
    /// Gives logits (M×K), losses (M) and the gradient of each row's loss with respect to its
    /// pixels (M×C×H×W). It costs a forward and a backward pass per row.
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
    /// Writes `count` bytes of a case's random stream, from byte `offset` on.
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
    /// Writes the passes so far. `passes` has room for `case_count` elements.
    pub passes:
        Option<unsafe extern "C" fn(context: *mut c_void, passes: *mut Passes, error: Sink) -> i32>,
    /// Returns [`OK`] while there is time. Long work that does not call the model calls this
    /// instead.
    pub check_time: Option<unsafe extern "C" fn(context: *mut c_void, error: Sink) -> i32>,
}

/// What [`Oracle::gradient`] gives.
#[repr(C)]
pub struct Gradient {
    /// Logits, M×K.
    pub logits: Tensor,
    /// Losses, M.
    pub loss: Tensor,
    /// Gradient of each row's loss with respect to its pixels, M×C×H×W.
    pub pixels: Tensor,
}

/// Named tensors, for a model that is being loaded.
#[repr(C)]
pub struct Weights {
    /// Size of this table in bytes.
    pub size: usize,
    /// First argument of the functions.
    pub context: *mut c_void,
    /// Device of the model: `cpu` or `cuda:N`. Tensors that `tensor` gives are on it already.
    pub device: Text,
    /// 1 where batch norm shall use the statistics of the batch, as in training; otherwise 0.
    pub training: u32,
    /// Whose conventions the tensors follow: [`DIALECT_TENSORFLOW`] or [`DIALECT_PYTORCH`].
    pub dialect: u32,
    /// Gives the float32 tensor of that name and shape. `role` ([`ROLE_KERNEL`], …) says what it is
    /// for. For a tensor that is missing or has another shape it gives zeros, and the program
    /// reports the tensor.
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
    /// Lets the file have tensors whose names begin with `start` and that nobody asks for.
    pub spare: Option<unsafe extern "C" fn(context: *mut c_void, start: Text, error: Sink) -> i32>,
}

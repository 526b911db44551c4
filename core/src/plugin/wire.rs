//! What both sides of the boundary share: texts, tensors and statuses in and out.

use crate::guard::{self, Caught, Panic};
use crate::library::abi::{self, Sink, Text};
use crate::metric::{Direction, Scope};
use crate::oracle::Stop;
use crate::params::{Description, PresetTable};
use crate::weights::Role;
use anyhow::{Context, Error, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use std::ffi::c_void;
use tch::Tensor;
use toml::Table;

/// Greatest length of a text that comes in through a [`Sink`], in bytes. The rest is dropped.
const MAX_TEXT: usize = 1 << 24;

/// What [`abi::Head::describe`] tells of an attack, a model or a metric.
#[derive(Serialize, Deserialize)]
pub(super) struct About {
    pub name: String,
    #[serde(default)]
    pub summary: String,
    #[serde(flatten)]
    pub measure: Option<Measure>,
    #[serde(default)]
    pub parameters: Table,
    #[serde(default)]
    pub descriptions: Vec<Description>,
    #[serde(default)]
    pub presets: Vec<PresetTable>,
}

/// What [`abi::Head::describe`] tells of metrics alone.
#[derive(Serialize, Deserialize)]
pub(super) struct Measure {
    pub unit: String,
    pub scope: Scope,
    pub direction: Direction,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_identity: Option<f64>,
    #[serde(default)]
    pub symmetric: bool,
    #[serde(default)]
    pub extras: Vec<String>,
}

impl Text {
    pub(super) const fn of(text: &str) -> Self {
        Self { data: text.as_ptr().cast(), length: text.len() }
    }

    /// # Safety
    /// `data` must point to `length` bytes that live as long as the caller uses the result.
    pub(super) unsafe fn read<'a>(self) -> Result<&'a str> {
        // SAFETY: promised by the caller.
        std::str::from_utf8(unsafe { slice(self.data.cast(), self.length) }?)
            .context("a text that is not UTF-8")
    }
}

/// # Safety
/// `data` must point to `length` elements that live as long as the caller uses the result, and that
/// nobody changes meanwhile.
pub(super) unsafe fn slice<'a, T>(data: *const T, length: usize) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    ensure!(
        !data.is_null() && data.is_aligned(),
        "a null or misaligned pointer to {length} elements"
    );
    let bytes = length.checked_mul(size_of::<T>()).and_then(|bytes| isize::try_from(bytes).ok());
    ensure!(bytes.is_some(), "{length} elements are too many");
    // SAFETY: promised by the caller; null, alignment and length are checked.
    Ok(unsafe { std::slice::from_raw_parts(data, length) })
}

/// A sink that appends to `into`.
pub(super) fn sink(into: &mut String) -> Sink {
    unsafe extern "C" fn put(context: *mut c_void, text: Text) {
        // Only memory can run out in here, and that ends the process whoever asked for it.
        // SAFETY: the context is the string below, which is borrowed for as long as the sink is
        // used; the text is borrowed from the caller.
        let (into, text) = unsafe { (&mut *context.cast::<String>(), text.read()) };
        let text = text.unwrap_or("(a text that is not UTF-8)");
        let room = MAX_TEXT.saturating_sub(into.len()).min(text.len());
        into.push_str(&text[..text.floor_char_boundary(room)]);
    }
    Sink { context: std::ptr::from_mut(into).cast(), put: Some(put) }
}

/// Puts a text into a sink.
pub(super) fn put(sink: Sink, text: &str) {
    if let Some(put) = sink.put {
        // SAFETY: the sink's maker made both fields for each other; the text outlives the call.
        unsafe { put(sink.context, Text::of(text)) }
    }
}

/// Parameters for a plugin, as TOML. Texts stand in one line, with JSON's escapes, so that a plugin
/// need not read all of TOML.
pub(super) fn to_toml(parameters: &Table) -> Result<String> {
    let (texts, others): (Table, Table) =
        parameters.clone().into_iter().partition(|(_, value)| value.is_str());
    let quoted = |text: &str| -> Result<String> {
        Ok(serde_json::to_string(text)?.replace('\u{7f}', "\\u007f"))
    };
    let is_bare = |key: &str| {
        !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
    };
    let mut toml = String::new();
    for (key, text) in &texts {
        let key = if is_bare(key) { key.clone() } else { quoted(key)? };
        toml.extend([&key, " = ", &quoted(text.as_str().unwrap_or_default())?, "\n"]);
    }
    // Tables come last: what follows the head of one belongs to it.
    Ok(toml + &toml::to_string(&others)?)
}

/// A place for a tensor that the other side will hand over.
pub(super) const NO_TENSOR: abi::Tensor =
    abi::Tensor { handle: std::ptr::null_mut(), release: None };

/// Hands a tensor over.
pub(super) fn give(mut tensor: Tensor) -> abi::Tensor {
    unsafe extern "C" fn release(handle: *mut c_void) {
        // SAFETY: the handle was made below, by this module, and is released once.
        drop(unsafe { Tensor::from_ptr(handle.cast()) });
    }
    let handle = tensor.as_mut_ptr().cast();
    std::mem::forget(tensor);
    abi::Tensor { handle, release: Some(release) }
}

/// Takes a tensor that was handed over.
///
/// # Safety
/// `tensor` must be empty or have been filled as the interface says.
pub(super) unsafe fn take(tensor: &mut abi::Tensor) -> Result<Tensor> {
    let abi::Tensor { handle, release } = std::mem::replace(tensor, NO_TENSOR);
    // SAFETY: promised by the caller; the copy shares the data, not the handle.
    let copy = unsafe { borrow(handle) };
    if let Some(release) = release.filter(|_| !handle.is_null()) {
        // SAFETY: the maker's own function for its own handle, which nobody uses any more.
        unsafe { release(handle) };
    }
    copy
}

/// Lends a tensor.
pub(super) fn lend(tensor: &Tensor) -> abi::TensorRef {
    tensor.as_ptr().cast()
}

/// Borrows a tensor that is lent.
///
/// # Safety
/// `handle` must be null or a living `at::Tensor *`.
pub(super) unsafe fn borrow(handle: abi::TensorRef) -> Result<Tensor> {
    ensure!(!handle.is_null(), "a tensor is missing");
    // SAFETY: promised by the caller; the copy shares the data and leaves the handle alone.
    Ok(unsafe { Tensor::clone_from_ptr(handle.cast_mut().cast()) })
}

/// Does the work of a function of the interface, and gives its status. No panic leaves it.
pub(super) fn serve(error: Sink, work: impl FnOnce() -> Result<()>) -> i32 {
    // Formatting an error runs other people's code, which may panic too: hence the outer attempt.
    let outcome = guard::attempt(|| {
        Ok(match guard::attempt(work) {
            Ok(()) => (abi::OK, String::new()),
            Err(Caught::Panic(panic)) => (abi::PANICKED, panic.to_string()),
            Err(Caught::Error(error)) => {
                let status = match error.downcast_ref() {
                    Some(Stop::Cancelled) => abi::CANCELLED,
                    Some(Stop::OutOfTime) => abi::OUT_OF_TIME,
                    None => abi::FAILED,
                };
                (status, format!("{error:#}"))
            }
        })
    });
    let (status, text) = outcome.unwrap_or_else(|caught| {
        let place = if let Caught::Panic(panic) = caught { panic.place } else { None };
        let message = "an error that cannot be put into words".to_owned();
        (abi::PANICKED, Panic { place, message }.to_string())
    });
    put(error, &text);
    status
}

/// Calls a function of the interface. `what` names the other side in errors; `function` is given
/// the sink for the reason of a failure.
pub(super) fn call(what: &str, function: impl FnOnce(Sink) -> i32) -> Result<(), FailedCall> {
    let mut text = String::new();
    let status = function(sink(&mut text));
    let reason = || if text.is_empty() { "no reason given" } else { text.as_str() };
    let error = match status {
        abi::OK => return Ok(()),
        abi::FAILED => anyhow!("{}", reason()),
        abi::PANICKED => guard::panicked(what, reason()),
        abi::CANCELLED => Stop::Cancelled.into(),
        abi::OUT_OF_TIME => Stop::OutOfTime.into(),
        _ => anyhow!("{what} gave the unknown status {status}: {}", reason()),
    };
    Err(FailedCall { panicked: status == abi::PANICKED, error })
}

/// A call whose status is not [`abi::OK`].
pub(super) struct FailedCall {
    /// Whether the object must not be used again.
    pub panicked: bool,
    pub error: Error,
}

impl From<FailedCall> for Error {
    fn from(failed: FailedCall) -> Self {
        failed.error
    }
}

/// Calls a function of the interface that gives a text, see [`call`].
pub(super) fn call_for_text(
    what: &str,
    function: impl FnOnce(Sink, Sink) -> i32,
) -> Result<String> {
    let mut text = String::new();
    call(what, |error| function(sink(&mut text), error))?;
    Ok(text)
}

const ROLES: [Role; 7] = [
    Role::Kernel,
    Role::Depthwise,
    Role::Bias,
    Role::Gamma,
    Role::Beta,
    Role::Mean,
    Role::Variance,
];

pub(super) const fn role_number(role: Role) -> u32 {
    match role {
        Role::Kernel => abi::ROLE_KERNEL,
        Role::Depthwise => abi::ROLE_DEPTHWISE,
        Role::Bias => abi::ROLE_BIAS,
        Role::Gamma => abi::ROLE_GAMMA,
        Role::Beta => abi::ROLE_BETA,
        Role::Mean => abi::ROLE_MEAN,
        Role::Variance => abi::ROLE_VARIANCE,
    }
}

pub(super) fn role(number: u32) -> Result<Role> {
    ROLES
        .into_iter()
        .find(|&role| role_number(role) == number)
        .with_context(|| format!("a tensor of the unknown role {number}"))
}

//! The program's side of the boundary: opens a library, and makes registry entries of what its
//! tables offer. No panic of a plugin's comes in here, and none of the program's goes out to it.

use super::Library;
use super::abi::{self, Head, Loss, Sink, TensorRef, Text};
use super::wire::{self, About, Measure, NO_TENSOR, Refusal, call, call_for_text, serve};
use crate::attack::{Answer, Budget, Cases, Goal};
use crate::device;
use crate::guard;
use crate::metric::Scope;
use crate::model::{Model, ModelCard};
use crate::oracle::Oracle;
use crate::params;
use crate::registry::{
    AttackEntry, DynAttack, DynMetric, Entry, MetricEntry, ModelEntry, Registry, Resolve,
};
use crate::weights::{Dialect, Weights};
use anyhow::{Context, Result, bail, ensure};
use rand_chacha::rand_core::RngCore;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use tch::Tensor;
use toml::Table;

/// Lets a table of pointers that nobody writes to be a static.
struct Still<T>(T);

// SAFETY: what it is used for below points to constants.
unsafe impl Sync for Still<abi::Host> {}

static HOST: Still<abi::Host> = Still(abi::Host {
    size: size_of::<abi::Host>(),
    abi: abi::ABI,
    reserved: 0,
    version: Text::of(super::VERSION),
});

/// Opens a library that has been checked, and registers all that it brings in a registry of its
/// own.
pub(crate) fn open(library: &Arc<Library>) -> Result<Registry> {
    let mut registry = Registry::empty();
    let found = enter(library)
        .and_then(|items| items.iter().try_for_each(|item| register(&mut registry, library, item)));
    found.with_context(|| format!("plugin {} cannot be loaded", library.describe()))?;
    Ok(registry)
}

#[cfg(unix)]
fn map(library: &Library) -> Result<abi::Entry> {
    use libloading::os::unix::{Library as Mapped, RTLD_LOCAL, RTLD_NOW};

    // SAFETY: opening a library runs its initialisers. That the user wants this one's code to be
    // run they have said by naming its folder; the stamp says that it is meant for this program.
    let mapped = unsafe { Mapped::open(Some(&library.path), RTLD_NOW | RTLD_LOCAL) }.context(
        "the dynamic linker refuses it; build it against the same libtorch, on this system",
    )?;
    let entry = &library.stamp.entry;
    // SAFETY: the stamp says that this symbol is the entry function of this interface.
    let symbol = unsafe { mapped.get::<abi::Entry>(entry.as_bytes()) }.with_context(|| {
        format!("it has no function `{entry}`, which its stamp names; build it again")
    })?;
    let function = *symbol;
    std::mem::forget(mapped); // never unloaded: its tables, code and thread-locals are in use from now on
    Ok(function)
}

#[cfg(not(unix))]
fn map(_: &Library) -> Result<abi::Entry> {
    bail!("plugin libraries are supported on Linux only")
}

fn enter(library: &Library) -> Result<&'static [abi::Item]> {
    let entry = map(library)?;
    // SAFETY: the entry function of a library with this program's stamp; the table stays for ever.
    let plugin = unsafe { table::<abi::Plugin>(entry(&raw const HOST.0), "plugin")? };
    ensure!(
        plugin.abi == abi::ABI,
        "its table is of ABI {}, expected {} as its stamp says; build it again",
        plugin.abi,
        abi::ABI
    );
    // SAFETY: the library's own array, which stays for ever.
    let items = unsafe { wire::slice(plugin.items, plugin.count)? };
    ensure!(!items.is_empty(), "it brings nothing: no attack, no model, no metric");
    Ok(items)
}

/// A table of a plugin's, which stays for the life of the process.
///
/// # Safety
/// The pointer must come from where the interface says that such a table stands.
unsafe fn table<T>(table: *const T, what: &str) -> Result<&'static T> {
    ensure!(!table.is_null() && table.is_aligned(), "its {what} table is missing");
    // SAFETY: promised by the caller. Every table begins with its size, and is not read beyond it.
    let (found, expected) = unsafe { (table.cast::<usize>().read(), size_of::<T>()) };
    ensure!(
        found >= expected,
        "its {what} table has {found} bytes, expected at least {expected}; build it again"
    );
    // SAFETY: promised by the caller.
    Ok(unsafe { &*table })
}

pub(super) fn register(
    registry: &mut Registry,
    library: &Arc<Library>,
    item: &abi::Item,
) -> Result<()> {
    // SAFETY: `kind` says which table this is.
    unsafe {
        match item.kind {
            abi::ITEM_ATTACK => {
                registry.add_attack(attack(library, table(item.table.cast(), "attack")?)?)
            }
            abi::ITEM_MODEL => {
                registry.add_model(model(library, table(item.table.cast(), "model")?)?)
            }
            abi::ITEM_METRIC => {
                registry.add_metric(metric(library, table(item.table.cast(), "metric")?)?)
            }
            other => bail!("it brings something of the unknown kind {other}; use a newer runner"),
        }
    }
}

/// A function that a table must have.
fn needed<F>(function: Option<F>, name: &str) -> Result<F> {
    function.with_context(|| format!("its table has no `{name}`; build it again"))
}

fn about(library: &Arc<Library>, head: &Head) -> Result<(Entry, About)> {
    let describe = needed(head.describe, "describe")?;
    // SAFETY: both sinks live during the call.
    let text = call_for_text("`describe`", |toml, error| unsafe { describe(toml, error) })?;
    let about: About = toml::from_str(&text)
        .with_context(|| format!("what it says of itself cannot be read:\n{text}"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = about.name.clone();
    ensure!(
        !name.is_empty() && name.chars().all(plain),
        "the name {name:?} is not made of letters, digits, `-`, `_` and `.`"
    );
    let own = |text: &str| text.lines().next().unwrap_or_default().to_owned();
    let resolve: Resolve = if let Some(resolve) = head.resolve {
        Box::new(move |preset, overrides| {
            let (preset, overrides) = (preset.unwrap_or_default(), toml::to_string(overrides)?);
            let (preset, overrides) = (Text::of(preset), Text::of(&overrides));
            // SAFETY: texts and sinks live during the call.
            params::parse(&call_for_text("`resolve`", |toml, error| unsafe {
                resolve(preset, overrides, toml, error)
            })?)
        })
    } else {
        let sets: Vec<(String, Table)> =
            about.presets.iter().map(|p| (p.name.clone(), p.parameters.clone())).collect();
        let defaults = about.parameters.clone();
        Box::new(move |preset, overrides| {
            let base =
                params::overlay(&defaults, params::named(&sets, preset)?.unwrap_or(&Table::new()))?;
            params::overlay(&base, overrides)
        })
    };
    let entry = Entry {
        name,
        origin: library.stamp.to_string(),
        library: Some(Arc::clone(library)),
        summary: own(&about.summary),
        defaults: about.parameters.clone(),
        descriptions: about.descriptions.clone(),
        presets: about
            .presets
            .iter()
            .map(|p| (p.name.clone(), own(&p.summary), p.parameters.clone()))
            .collect(),
        resolve,
    };
    Ok((entry, about))
}

type Release = unsafe extern "C" fn(*mut c_void);
type Make = unsafe extern "C" fn(Text, *mut *mut c_void, Sink) -> i32;

/// An object of a plugin's.
struct Object {
    pointer: *mut c_void,
    release: Release,
}

// SAFETY: the interface asks for objects that may go from thread to thread; those that are used by
// several at a time (attacks, metrics) must allow it.
unsafe impl Send for Object {}
unsafe impl Sync for Object {}

impl Object {
    fn new(
        what: &str,
        release: Release,
        make: impl FnOnce(*mut *mut c_void, Sink) -> i32,
    ) -> Result<Self> {
        let mut pointer = std::ptr::null_mut();
        call(what, |error| make(&raw mut pointer, error))?;
        ensure!(!pointer.is_null(), "{what} gave no object");
        Ok(Self { pointer, release })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the maker's own function for its own object, which nobody uses any more.
        unsafe { (self.release)(self.pointer) }
    }
}

/// An attack or a metric of a plugin's: an object that is replaced when it has panicked.
struct Renewed {
    /// `attack `x``.
    who: String,
    make: Make,
    release: Release,
    parameters: String,
    object: Mutex<Option<Arc<Object>>>,
}

impl Renewed {
    fn new(who: String, make: Make, release: Release, parameters: &Table) -> Result<Self> {
        let new = Self {
            who,
            make,
            release,
            parameters: toml::to_string(parameters)?,
            object: Mutex::default(),
        };
        new.object()?;
        Ok(new)
    }

    fn object(&self) -> Result<Arc<Object>> {
        let mut place = self.object.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = &*place {
            return Ok(Arc::clone(object));
        }
        // SAFETY: the text lives during the call, and there is a place for the object.
        let make = |object: *mut *mut c_void, error: Sink| unsafe {
            (self.make)(Text::of(&self.parameters), object, error)
        };
        Ok(Arc::clone(place.insert(Arc::new(Object::new(&self.who, self.release, make)?))))
    }

    fn call(&self, function: impl FnOnce(*const c_void, Sink) -> i32) -> Result<()> {
        let object = self.object()?;
        call(&self.who, |error| function(object.pointer, error)).map_err(
            |Refusal { panicked, error }| {
                if panicked {
                    self.object
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take_if(|now| Arc::ptr_eq(now, &object));
                }
                error
            },
        )
    }
}

fn attack(library: &Arc<Library>, table: &'static abi::Attack) -> Result<AttackEntry> {
    let (entry, _) = about(library, &table.head)?;
    let (make, run, release) =
        (needed(table.make, "make")?, needed(table.run, "run")?, needed(table.release, "release")?);
    let (who, budget) = (format!("attack `{}`", entry.name), table.budget);
    let make = move |parameters: &Table| -> Result<Box<dyn DynAttack>> {
        Ok(Box::new(Attack {
            part: Renewed::new(who.clone(), make, release, parameters)?,
            budget,
            run,
        }))
    };
    Ok(AttackEntry { entry, make: Box::new(make) })
}

struct Attack {
    part: Renewed,
    budget: Option<unsafe extern "C" fn(*const c_void, Sink, Sink) -> i32>,
    run: unsafe extern "C" fn(
        *const c_void,
        *const abi::Oracle,
        *const abi::Cases,
        *mut abi::Answer,
        Sink,
    ) -> i32,
}

impl DynAttack for Attack {
    fn budget(&self) -> Option<Budget> {
        let budget = self.budget?;
        let mut toml = String::new();
        let told = self
            .part
            // SAFETY: object and sinks live during the call.
            .call(|object, error| unsafe { budget(object, wire::sink(&mut toml), error) })
            .and_then(
                |()| if toml.is_empty() { Ok(None) } else { Ok(Some(toml::from_str(&toml)?)) },
            );
        told.unwrap_or_else(|error| {
            guard::throw(error.context(format!("the budget of {}", self.part.who)))
        })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let none = || abi::Answer { kind: abi::ANSWER_NOT_FOUND, reserved: 0, pixels: NO_TENSOR };
        let mut answers: Vec<abi::Answer> = (0..cases.len()).map(|_| none()).collect();
        lend(oracle, cases, |oracle, cases| {
            // SAFETY: everything is lent for the call, and there is a place for each answer.
            self.part.call(|object, error| unsafe {
                (self.run)(object, oracle, cases, answers.as_mut_ptr(), error)
            })
        })?;
        let answer = |mut answer: abi::Answer| match answer.kind {
            abi::ANSWER_NOT_FOUND => Ok(Answer::NotFound),
            // SAFETY: just filled by the plugin. No tensor is an answer too, for the engine to
            // refuse.
            abi::ANSWER_PIXELS => Ok(Answer::Pixels(
                unsafe { wire::take(&mut answer.pixels) }.unwrap_or_else(|_| Tensor::new()),
            )),
            other => bail!("{} gave an answer of the unknown kind {other}", self.part.who),
        };
        answers.into_iter().map(answer).collect()
    }
}

fn metric(library: &Arc<Library>, table: &'static abi::Metric) -> Result<MetricEntry> {
    let (entry, about) = about(library, &table.head)?;
    let (make, release) = (needed(table.make, "make")?, needed(table.release, "release")?);
    let measure = about.measure.with_context(|| {
        format!("metric `{}` says no `unit`, `scope` and `direction` of itself", entry.name)
    })?;
    match measure.scope {
        Scope::Outcome => drop(needed(table.outcome, "outcome")?),
        Scope::Model => drop(needed(table.model, "model")?),
    }
    let (who, per_row) = (format!("metric `{}`", entry.name), 1 + measure.extras.len());
    let make = move |parameters: &Table| -> Result<Box<dyn DynMetric>> {
        Ok(Box::new(Metric {
            part: Renewed::new(who.clone(), make, release, parameters)?,
            table,
            per_row,
        }))
    };
    let Measure { unit, scope, direction, at_identity, symmetric, extras } = measure;
    Ok(MetricEntry {
        entry,
        unit,
        scope,
        direction,
        at_identity,
        symmetric,
        extras,
        make: Box::new(make),
    })
}

struct Metric {
    part: Renewed,
    table: &'static abi::Metric,
    /// Numbers that it gives for a row or a case.
    per_row: usize,
}

// SAFETY: the table is constant.
unsafe impl Send for Metric {}
unsafe impl Sync for Metric {}

impl DynMetric for Metric {
    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        let outcome = needed(self.table.outcome, "outcome")?;
        let mut values =
            vec![f64::NAN; self.per_row * original.size().first().map_or(0, |&rows| rows as usize)];
        // SAFETY: everything is lent for the call, and there is a place for each value.
        self.part.call(|object, error| unsafe {
            outcome(
                object,
                wire::lend(original),
                wire::lend(adversarial),
                values.as_mut_ptr(),
                values.len(),
                error,
            )
        })?;
        Ok(values)
    }

    fn model(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        let model = needed(self.table.model, "model")?;
        let mut values = vec![f64::NAN; self.per_row * cases.len()];
        lend(oracle, cases, |oracle, cases| {
            // SAFETY: everything is lent for the call, and there is a place for each value.
            self.part.call(|object, error| unsafe {
                model(object, oracle, cases, values.as_mut_ptr(), values.len(), error)
            })
        })?;
        Ok(values)
    }
}

fn model(library: &Arc<Library>, table: &'static abi::Model) -> Result<ModelEntry> {
    let (entry, _) = about(library, &table.head)?;
    let (card, load) = (needed(table.card, "card")?, needed(table.load, "load")?);
    let (logits, release) = (needed(table.logits, "logits")?, needed(table.release, "release")?);
    let who = format!("model `{}`", entry.name);
    let embedded_weights = match table.weights {
        None => None,
        Some(weights) => {
            // SAFETY: it takes nothing; what it gives stays for the life of the process.
            let bytes = unsafe {
                let bytes = weights();
                wire::slice(bytes.data, bytes.length)?
            };
            Some(bytes).filter(|bytes| !bytes.is_empty())
        }
    };
    let describe = move |parameters: &Table| -> Result<ModelCard> {
        let parameters = toml::to_string(parameters)?;
        // SAFETY: the text and the sinks live during the call.
        let toml = call_for_text("`card`", |toml, error| unsafe {
            card(Text::of(&parameters), toml, error)
        })?;
        toml::from_str(&toml).with_context(|| format!("its card cannot be read:\n{toml}"))
    };
    let make = move |parameters: &Table, weights: &Weights| -> Result<Box<dyn Model>> {
        let (card, parameters) = (describe(parameters)?, toml::to_string(parameters)?);
        let device = device::name(weights.device());
        let weights = abi::Weights {
            size: size_of::<abi::Weights>(),
            context: std::ptr::from_ref(weights).cast_mut().cast(),
            device: Text::of(&device),
            training: u32::from(weights.root().training()),
            dialect: if weights.dialect() == Dialect::PyTorch {
                abi::DIALECT_PYTORCH
            } else {
                abi::DIALECT_TENSORFLOW
            },
            tensor: Some(tensor),
            spare: Some(spare),
        };
        // SAFETY: text and weights are lent for the call, and there is a place for the object.
        let object = Object::new(&who, release, |object, error| unsafe {
            load(Text::of(&parameters), &raw const weights, object, error)
        })?;
        Ok(Box::new(RemoteModel {
            who: who.clone(),
            card,
            object,
            logits,
            panicked: Cell::new(false),
        }))
    };
    Ok(ModelEntry {
        entry,
        embedded_weights,
        pytorch: None,
        describe: Box::new(describe),
        load: Box::new(make),
    })
}

unsafe extern "C" fn tensor(
    context: *mut c_void,
    name: Text,
    shape: *const i64,
    dimensions: usize,
    role: u32,
    tensor: *mut abi::Tensor,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the context is the weights that are lent; the plugin lends name and shape, and a
        // place for the tensor.
        unsafe {
            let weights = &*context.cast::<Weights>();
            let found = weights.root().tensor(
                name.read()?,
                wire::slice(shape, dimensions)?,
                wire::role(role)?,
            );
            tensor.write(wire::give(found));
        }
        Ok(())
    })
}

unsafe extern "C" fn spare(context: *mut c_void, start: Text, error: Sink) -> i32 {
    serve(error, || {
        // SAFETY: the context is the weights that are lent; the plugin lends the text.
        unsafe { (*context.cast::<Weights>()).spare(start.read()?) };
        Ok(())
    })
}

struct RemoteModel {
    who: String,
    card: ModelCard,
    object: Object,
    logits: unsafe extern "C" fn(*const c_void, TensorRef, *mut abi::Tensor, Sink) -> i32,
    /// It is given no more work then.
    panicked: Cell<bool>,
}

impl Model for RemoteModel {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let answer = || {
            ensure!(
                !self.panicked.get(),
                "{} has panicked before and is given no more work",
                self.who
            );
            let mut answer = NO_TENSOR;
            // SAFETY: object and pixels are lent for the call, and there is a place for the answer.
            call(&self.who, |error| unsafe {
                (self.logits)(self.object.pointer, wire::lend(pixels), &raw mut answer, error)
            })
            .map_err(|Refusal { panicked, error }| {
                self.panicked.set(panicked);
                if panicked { error } else { error.context(self.who.clone()) }
            })?;
            // SAFETY: just filled by the plugin.
            unsafe { wire::take(&mut answer) }
                .with_context(|| format!("{} gave no logits", self.who))
        };
        answer().unwrap_or_else(|error| guard::throw(error))
    }

    fn spoilt(&self) -> bool {
        self.panicked.get()
    }
}

/// What stands behind a lent oracle.
struct Lent<'a> {
    oracle: &'a Oracle<'a>,
    thread: ThreadId,
}

impl Lent<'_> {
    /// # Safety
    /// `context` must be that of a lent oracle, and the loan not over.
    unsafe fn of<'l>(context: *mut c_void) -> Result<&'l Self> {
        // SAFETY: promised by the caller.
        let lent = unsafe { &*context.cast::<Self>() };
        ensure!(
            lent.thread == thread::current().id(),
            "an oracle is asked from the thread that it was given to alone"
        );
        Ok(lent)
    }
}

/// Lends oracle and cases to a plugin for one call.
fn lend<T>(
    oracle: &Oracle,
    cases: &Cases,
    work: impl FnOnce(*const abi::Oracle, *const abi::Cases) -> Result<T>,
) -> Result<T> {
    let lent = Lent { oracle, thread: thread::current().id() };
    let access = oracle.access();
    let (card, key, streams) = (toml::to_string(oracle.card())?, access.key(), access.streams());
    let oracle = abi::Oracle {
        size: size_of::<abi::Oracle>(),
        context: std::ptr::from_ref(&lent).cast_mut().cast(),
        card: Text::of(&card),
        lanes: oracle.lanes(),
        case_count: streams.len(),
        key: key.as_ptr(),
        streams: streams.as_ptr(),
        logits: Some(logits),
        gradient: Some(gradient),
        random: Some(random),
        passes: Some(passes),
        check_time: Some(check_time),
    };
    let goal = |goal: &Goal| {
        let kind = if matches!(goal, Goal::Away(_)) { abi::GOAL_AWAY } else { abi::GOAL_TOWARDS };
        abi::Goal { class_index: goal.class(), kind, reserved: 0 }
    };
    let goals: Vec<abi::Goal> = cases.goals.iter().map(goal).collect();
    let cases = abi::Cases {
        size: size_of::<abi::Cases>(),
        pixels: wire::lend(&cases.pixels),
        goals: goals.as_ptr(),
        count: goals.len(),
    };
    work(&raw const oracle, &raw const cases)
}

unsafe extern "C" fn logits(
    context: *mut c_void,
    cases: *const usize,
    count: usize,
    pixels: TensorRef,
    logits: *mut abi::Tensor,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the oracle is lent; the plugin lends cases and pixels, and a place for the
        // answer.
        unsafe {
            let found = Lent::of(context)?
                .oracle
                .logits(wire::slice(cases, count)?, &wire::look(pixels)?)?;
            logits.write(wire::give(found));
        }
        Ok(())
    })
}

unsafe extern "C" fn gradient(
    context: *mut c_void,
    cases: *const usize,
    count: usize,
    pixels: TensorRef,
    loss: Loss,
    gradient: *mut abi::Gradient,
    error: Sink,
) -> i32 {
    serve(error, || {
        let function = loss.call.context("a loss is missing")?;
        let mut ask = |logits: &Tensor| {
            let mut answer = NO_TENSOR;
            // SAFETY: the plugin lends its loss for this call, in which this happens; logits and
            // answer are lent to it.
            call("the loss", |error| unsafe {
                function(loss.context, wire::lend(logits), &raw mut answer, error)
            })?;
            // SAFETY: just filled by the plugin.
            unsafe { wire::take(&mut answer) }.context("the loss gave no tensor")
        };
        // SAFETY: the oracle is lent; the plugin lends cases and pixels, and a place for the
        // answer.
        unsafe {
            let access = Lent::of(context)?.oracle.access();
            let found =
                access.gradient(wire::slice(cases, count)?, &wire::look(pixels)?, &mut ask)?;
            gradient.write(abi::Gradient {
                logits: wire::give(found.logits),
                loss: wire::give(found.loss),
                pixels: wire::give(found.pixels),
            });
        }
        Ok(())
    })
}

unsafe extern "C" fn random(
    context: *mut c_void,
    case_index: usize,
    offset: u64,
    bytes: *mut u8,
    count: usize,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the oracle is lent.
        let oracle = unsafe { Lent::of(context)? }.oracle;
        let cases = oracle.access().streams().len();
        ensure!(case_index < cases, "case {case_index} is beyond the {cases} cases");
        let mut rng = oracle.rng(case_index);
        rng.set_word_pos(u128::from(offset / 4));
        let skipped = (offset % 4) as usize;
        let mut found = vec![0; skipped + count];
        rng.fill_bytes(&mut found);
        // SAFETY: the plugin lends a place for `count` bytes.
        unsafe { bytes.copy_from_nonoverlapping(found[skipped..].as_ptr(), count) };
        Ok(())
    })
}

unsafe extern "C" fn passes(context: *mut c_void, passes: *mut abi::Passes, error: Sink) -> i32 {
    serve(error, || {
        // SAFETY: the oracle is lent; the plugin lends a place for each case.
        unsafe {
            for (n, found) in Lent::of(context)?.oracle.passes().into_iter().enumerate() {
                passes
                    .add(n)
                    .write(abi::Passes { forward: found.forward, backward: found.backward });
            }
        }
        Ok(())
    })
}

unsafe extern "C" fn check_time(context: *mut c_void, error: Sink) -> i32 {
    // SAFETY: the oracle is lent.
    serve(error, || unsafe { Lent::of(context)? }.oracle.check_time())
}

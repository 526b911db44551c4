//! The plugin's side of the boundary: what [`export_plugin!`](crate::export_plugin) puts behind the
//! entry function, and the host's oracle and weights as the traits want them.

use super::abi::{self, Head, Item, Sink, TensorRef, Text};
use super::wire::{self, About, Measure, NO_TENSOR, Preset, call, serve};
use crate::attack::{Answer, Attack, Cases, Goal};
use crate::device;
use crate::guard;
use crate::metric::Metric;
use crate::model::{Architecture, Model, ModelCard};
use crate::oracle::{Access, Gradient, Oracle, Passes, Stop};
use crate::params;
use crate::registry::{AttackEntry, DynAttack, DynMetric, Entry, MetricEntry, ModelEntry};
use crate::weights::{Dialect, Misfit, Role, Source, Weights};
use anyhow::{Context, Error, Result, bail, ensure};
use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;
use tch::Tensor;

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

    /// For the host.
    pub const fn table(&'static self) -> *const abi::Plugin {
        &raw const self.0
    }
}

/// The item of an attack.
pub const fn attack<A: Attack>() -> Item {
    let table: &'static abi::Attack = &const {
        abi::Attack {
            head: head::<OfAttack<A>>(size_of::<abi::Attack>()),
            make: Some(make::<OfAttack<A>, dyn DynAttack>),
            budget: Some(budget),
            run: Some(run),
            release: Some(release::<dyn DynAttack>),
        }
    };
    Item { kind: abi::ITEM_ATTACK, reserved: 0, table: std::ptr::from_ref(table).cast() }
}

/// The item of a model.
pub const fn model<A: Architecture>() -> Item {
    let table: &'static abi::Model = &const {
        abi::Model {
            head: head::<OfModel<A>>(size_of::<abi::Model>()),
            card: Some(card::<A>),
            weights: Some(embedded::<A>),
            load: Some(load::<A>),
            logits: Some(logits),
            release: Some(release::<dyn Model>),
        }
    };
    Item { kind: abi::ITEM_MODEL, reserved: 0, table: std::ptr::from_ref(table).cast() }
}

/// The item of a metric.
pub const fn metric<M: Metric>() -> Item {
    let table: &'static abi::Metric = &const {
        abi::Metric {
            head: head::<OfMetric<M>>(size_of::<abi::Metric>()),
            make: Some(make::<OfMetric<M>, dyn DynMetric>),
            outcome: Some(outcome),
            model: Some(score),
            release: Some(release::<dyn DynMetric>),
        }
    };
    Item { kind: abi::ITEM_METRIC, reserved: 0, table: std::ptr::from_ref(table).cast() }
}

/// What is known of an attack, a model or a metric without an object of it.
trait Part: 'static {
    fn entry() -> (Entry, Option<Measure>);
}

/// A part that parameters alone make.
trait Maker<T: ?Sized>: Part {
    fn make(parameters: &toml::Table) -> Result<Box<T>>;
}

struct OfAttack<A>(PhantomData<A>);
struct OfModel<A>(PhantomData<A>);
struct OfMetric<M>(PhantomData<M>);

impl<A: Attack> Part for OfAttack<A> {
    fn entry() -> (Entry, Option<Measure>) {
        (AttackEntry::of::<A>("").entry, None)
    }
}

impl<A: Attack> Maker<dyn DynAttack> for OfAttack<A> {
    fn make(parameters: &toml::Table) -> Result<Box<dyn DynAttack>> {
        (AttackEntry::of::<A>("").make)(parameters)
    }
}

impl<A: Architecture> Part for OfModel<A> {
    fn entry() -> (Entry, Option<Measure>) {
        (ModelEntry::of::<A>("").entry, None)
    }
}

impl<M: Metric> Part for OfMetric<M> {
    fn entry() -> (Entry, Option<Measure>) {
        let MetricEntry { entry, unit, scope, direction, at_identity, symmetric, extras, .. } =
            MetricEntry::of::<M>("");
        (entry, Some(Measure { unit, scope, direction, at_identity, symmetric, extras }))
    }
}

impl<M: Metric> Maker<dyn DynMetric> for OfMetric<M> {
    fn make(parameters: &toml::Table) -> Result<Box<dyn DynMetric>> {
        (MetricEntry::of::<M>("").make)(parameters)
    }
}

const fn head<P: Part>(size: usize) -> Head {
    Head { size, describe: Some(describe::<P>), resolve: Some(resolve::<P>) }
}

unsafe extern "C" fn describe<P: Part>(toml: Sink, error: Sink) -> i32 {
    serve(error, || {
        let (entry, measure) = P::entry();
        let presets = entry
            .presets
            .into_iter()
            .map(|(name, summary, parameters)| Preset { name, summary, parameters })
            .collect();
        let Entry { name, summary, defaults: parameters, descriptions, .. } = entry;
        let about = About { name, summary, measure, parameters, descriptions, presets };
        wire::put(toml, &toml::to_string(&about)?);
        Ok(())
    })
}

unsafe extern "C" fn resolve<P: Part>(
    preset: Text,
    overrides: Text,
    toml: Sink,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends both texts for this call.
        let (preset, overrides) = unsafe { (preset.read()?, overrides.read()?) };
        let preset = (!preset.is_empty()).then_some(preset);
        wire::put(
            toml,
            &toml::to_string(&(P::entry().0.resolve)(preset, &params::parse(overrides)?)?)?,
        );
        Ok(())
    })
}

/// Gives an object out: its pointer points to a box.
///
/// # Safety
/// `place` must be a place for a pointer.
unsafe fn hand_out<T: ?Sized>(part: Box<T>, place: *mut *mut c_void) {
    // SAFETY: promised by the caller.
    unsafe { place.write(Box::into_raw(Box::new(part)).cast()) }
}

/// # Safety
/// `object` must come from [`hand_out`] for the same type, and live as long as the answer is used.
unsafe fn part<'a, T: ?Sized>(object: *const c_void) -> Result<&'a T> {
    // SAFETY: promised by the caller.
    Ok(unsafe { object.cast::<Box<T>>().as_ref() }.context("an object is missing")?)
}

unsafe extern "C" fn release<T: ?Sized>(object: *mut c_void) {
    // Nobody is left to hear of a panic in here.
    let _ = guard::attempt(|| {
        if !object.is_null() {
            // SAFETY: the object comes from `hand_out` and is released once.
            drop(unsafe { Box::from_raw(object.cast::<Box<T>>()) });
        }
        Ok(())
    });
}

unsafe extern "C" fn make<M: Maker<T>, T: ?Sized>(
    parameters: Text,
    object: *mut *mut c_void,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the text, and a place for the object.
        unsafe {
            let part = M::make(&params::parse(parameters.read()?)?)?;
            hand_out(part, object);
        }
        Ok(())
    })
}

unsafe extern "C" fn budget(object: *const c_void, toml: Sink, error: Sink) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the object for this call.
        if let Some(budget) = unsafe { part::<dyn DynAttack>(object)? }.budget() {
            wire::put(toml, &toml::to_string(&budget)?);
        }
        Ok(())
    })
}

unsafe extern "C" fn run(
    object: *const c_void,
    oracle: *const abi::Oracle,
    cases: *const abi::Cases,
    answers: *mut abi::Answer,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends object, oracle and cases for this call.
        let (attack, oracle, cases) =
            unsafe { (part::<dyn DynAttack>(object)?, Remote::open(oracle)?, read_cases(cases)?) };
        let given = attack.run(&oracle, &cases)?;
        ensure!(given.len() == cases.len(), "{} answers for {} cases", given.len(), cases.len());
        for (n, answer) in given.into_iter().enumerate() {
            if let Answer::Pixels(pixels) = answer {
                let answer = abi::Answer {
                    kind: abi::ANSWER_PIXELS,
                    reserved: 0,
                    pixels: wire::give(pixels),
                };
                // SAFETY: there is a place for each case; what stands there owns nothing.
                unsafe { answers.add(n).write(answer) };
            }
        }
        Ok(())
    })
}

unsafe extern "C" fn card<A: Architecture>(parameters: Text, toml: Sink, error: Sink) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the text for this call.
        let parameters = params::parse(unsafe { parameters.read()? })?;
        wire::put(toml, &toml::to_string(&(ModelEntry::of::<A>("").describe)(&parameters)?)?);
        Ok(())
    })
}

unsafe extern "C" fn embedded<A: Architecture>() -> abi::Bytes {
    let bytes =
        guard::attempt(|| Ok(A::embedded_weights())).unwrap_or_default().unwrap_or_default();
    abi::Bytes { data: bytes.as_ptr(), length: bytes.len() }
}

unsafe extern "C" fn load<A: Architecture>(
    parameters: Text,
    weights: *const abi::Weights,
    object: *mut *mut c_void,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends text and weights for this call, and a place for the object.
        unsafe {
            let parameters = params::parse(parameters.read()?)?;
            let model = (ModelEntry::of::<A>("").load)(&parameters, &open_weights(weights)?)?;
            hand_out(model, object);
        }
        Ok(())
    })
}

unsafe extern "C" fn logits(
    object: *const c_void,
    pixels: TensorRef,
    logits: *mut abi::Tensor,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the object and the pixels for this call, and a place for the
        // tensor.
        unsafe {
            logits.write(wire::give(part::<dyn Model>(object)?.logits(&wire::look(pixels)?)))
        };
        Ok(())
    })
}

unsafe extern "C" fn outcome(
    object: *const c_void,
    original: TensorRef,
    adversarial: TensorRef,
    values: *mut f64,
    count: usize,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends object and tensors for this call, and a place for each value.
        unsafe {
            let found = part::<dyn DynMetric>(object)?
                .outcome(&wire::look(original)?, &wire::look(adversarial)?)?;
            write_values(&found, values, count)
        }
    })
}

unsafe extern "C" fn score(
    object: *const c_void,
    oracle: *const abi::Oracle,
    cases: *const abi::Cases,
    values: *mut f64,
    count: usize,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends object, oracle and cases for this call, and a place for each
        // value.
        unsafe {
            let found = part::<dyn DynMetric>(object)?
                .model(&Remote::open(oracle)?, &read_cases(cases)?)?;
            write_values(&found, values, count)
        }
    })
}

/// # Safety
/// There must be a place for `count` values.
unsafe fn write_values(found: &[f64], values: *mut f64, count: usize) -> Result<()> {
    ensure!(found.len() == count, "{} values, expected {count}", found.len());
    // SAFETY: promised by the caller.
    unsafe { values.copy_from_nonoverlapping(found.as_ptr(), count) };
    Ok(())
}

/// # Safety
/// `cases` must be null or as the interface says.
unsafe fn read_cases(cases: *const abi::Cases) -> Result<Cases> {
    // SAFETY: promised by the caller.
    let (pixels, goals) = unsafe {
        let cases = cases.as_ref().context("the cases are missing")?;
        (wire::look(cases.pixels)?, wire::slice(cases.goals, cases.count)?)
    };
    let goal = |goal: &abi::Goal| match goal.kind {
        abi::GOAL_AWAY => Ok(Goal::Away(goal.class_index)),
        abi::GOAL_TOWARDS => Ok(Goal::Towards(goal.class_index)),
        other => bail!("a goal of the unknown kind {other}"),
    };
    Cases::new(pixels, goals.iter().map(goal).collect::<Result<_>>()?)
}

/// The host's oracle.
struct Remote<'a> {
    table: &'a abi::Oracle,
    card: ModelCard,
    key: [u8; 32],
    streams: &'a [u64],
    stopped: Cell<Option<Stop>>,
}

impl<'a> Remote<'a> {
    /// # Safety
    /// `oracle` must be null or as the interface says, for as long as the answer is used.
    unsafe fn open(oracle: *const abi::Oracle) -> Result<Oracle<'a>> {
        // SAFETY: promised by the caller.
        let (table, card, key, streams) = unsafe {
            let table = oracle.as_ref().context("the oracle is missing")?;
            (
                table,
                table.card.read()?,
                wire::slice(table.key, 32)?,
                wire::slice(table.streams, table.case_count)?,
            )
        };
        let card = toml::from_str(card).context("the model's card cannot be read")?;
        Ok(Oracle::through(Self {
            table,
            card,
            key: key.try_into()?,
            streams,
            stopped: Cell::new(None),
        }))
    }

    fn ask(&self, what: &str, function: impl FnOnce(*mut c_void, Sink) -> i32) -> Result<()> {
        call(what, |error| function(self.table.context, error)).map_err(|refusal| {
            if let Some(stop) = refusal.error.downcast_ref() {
                self.stopped.set(Some(*stop));
            }
            Error::from(refusal)
        })
    }
}

impl Access for Remote<'_> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn lanes(&self) -> usize {
        self.table.lanes.max(1)
    }

    fn logits(&self, cases: &[usize], pixels: &Tensor) -> Result<Tensor> {
        let logits = self.table.logits.context("the oracle has no `logits`")?;
        let mut answer = NO_TENSOR;
        // SAFETY: everything is lent for the call, and there is a place for the answer.
        self.ask("the oracle", |context, error| unsafe {
            logits(context, cases.as_ptr(), cases.len(), wire::lend(pixels), &raw mut answer, error)
        })?;
        // SAFETY: just filled by the host.
        unsafe { wire::take(&mut answer) }
    }

    fn gradient(
        &self,
        cases: &[usize],
        pixels: &Tensor,
        loss: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Gradient> {
        type Given<'l> = &'l mut dyn FnMut(&Tensor) -> Result<Tensor>;

        unsafe extern "C" fn call(
            context: *mut c_void,
            logits: TensorRef,
            loss: *mut abi::Tensor,
            error: Sink,
        ) -> i32 {
            serve(error, || {
                // SAFETY: the context is the loss below, which nobody else uses meanwhile; the host
                // lends the logits and a place for the answer.
                unsafe {
                    let given = &mut *context.cast::<Given>();
                    loss.write(wire::give(given(&wire::look(logits)?)?));
                }
                Ok(())
            })
        }

        let gradient = self.table.gradient.context("the oracle has no `gradient`")?;
        let mut loss: Given = loss;
        let loss = abi::Loss { context: (&raw mut loss).cast(), call: Some(call) };
        let mut answer = abi::Gradient { logits: NO_TENSOR, loss: NO_TENSOR, pixels: NO_TENSOR };
        // SAFETY: everything is lent for the call, and there is a place for the answer.
        self.ask("the oracle", |context, error| unsafe {
            gradient(
                context,
                cases.as_ptr(),
                cases.len(),
                wire::lend(pixels),
                loss,
                &raw mut answer,
                error,
            )
        })?;
        // SAFETY: just filled by the host.
        let [logits, loss, pixels] = unsafe {
            [&mut answer.logits, &mut answer.loss, &mut answer.pixels]
                .map(|tensor| wire::take(tensor))
        };
        Ok(Gradient { logits: logits?, loss: loss?, pixels: pixels? })
    }

    fn key(&self) -> [u8; 32] {
        self.key
    }

    fn streams(&self) -> &[u64] {
        self.streams
    }

    fn passes(&self) -> Vec<Passes> {
        let mut found = vec![abi::Passes { forward: 0, backward: 0 }; self.streams.len()];
        let asked = self.table.passes.context("the oracle has no `passes`").and_then(|passes| {
            // SAFETY: there is a place for each case.
            self.ask("the oracle", |context, error| unsafe {
                passes(context, found.as_mut_ptr(), error)
            })
        });
        asked.unwrap_or_else(|error| guard::throw(error));
        found
            .into_iter()
            .map(|abi::Passes { forward, backward }| Passes { forward, backward })
            .collect()
    }

    fn check_time(&self) -> Result<()> {
        let check_time = self.table.check_time.context("the oracle has no `check_time`")?;
        // SAFETY: the context is the oracle's own.
        self.ask("the oracle", |context, error| unsafe { check_time(context, error) })
    }

    fn stopped(&self) -> Option<Stop> {
        self.stopped.get()
    }
}

/// The host's weights. It keeps the record of what is missing.
struct Lent(*const abi::Weights);

/// # Safety
/// `weights` must be null or as the interface says, for as long as the answer is used.
unsafe fn open_weights(weights: *const abi::Weights) -> Result<Weights> {
    // SAFETY: promised by the caller.
    let device = unsafe { weights.as_ref().context("the weights are missing")?.device.read()? };
    Ok(Weights::new(Lent(weights), device::parse(device)?))
}

impl Lent {
    fn table(&self) -> &abi::Weights {
        // SAFETY: `open_weights` has checked and been promised it.
        unsafe { &*self.0 }
    }
}

impl Source for Lent {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let table = self.table();
        let mut answer = NO_TENSOR;
        let asked = table.tensor.context("the weights have no `tensor`").and_then(|tensor| {
            let (name, role) = (Text::of(name), wire::role_number(role));
            // SAFETY: everything is lent for the call, and there is a place for the answer.
            call("reading weights", |error| unsafe {
                tensor(
                    table.context,
                    name,
                    shape.as_ptr(),
                    shape.len(),
                    role,
                    &raw mut answer,
                    error,
                )
            })?;
            // SAFETY: just filled by the host.
            unsafe { wire::take(&mut answer) }
        });
        // Misfits are the host's to report; this is something else.
        Ok(asked.unwrap_or_else(|error| guard::throw(error)))
    }

    fn dialect(&self) -> Dialect {
        if self.table().dialect == abi::DIALECT_PYTORCH {
            Dialect::PyTorch
        } else {
            Dialect::TensorFlow
        }
    }

    fn training(&self) -> bool {
        self.table().training != 0
    }

    fn spare(&self, start: &str) {
        let table = self.table();
        let told = table.spare.context("the weights have no `spare`").and_then(|spare| {
            // SAFETY: the text is lent for the call.
            Ok(call("reading weights", |error| unsafe {
                spare(table.context, Text::of(start), error)
            })?)
        });
        told.unwrap_or_else(|error| guard::throw(error));
    }
}

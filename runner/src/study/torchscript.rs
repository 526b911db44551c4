//! Models that are TorchScript modules, as `torch.jit.trace(model, example).save(file)` writes
//! them.
//!
//! A module runs as it is written, without libtorch's optimiser. The optimiser profiles the first
//! calls and then rewrites the module, so the bits of an answer would depend on earlier calls.

use crate::study::{batch, module_file};
use anyhow::{Context, Result, anyhow, bail, ensure};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::params;
use gauntlet_core::params::to_table;
use serde::{Deserialize, Serialize};
use tch::{CModule, IValue, Kind, Tensor, jit};
use toml::{Table, Value};

/// The properties of a module that its file does not tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Height and width of the images that the module takes, in pixels.
    pub side: i64,
    /// Number of the module's logits.
    pub classes: i64,
    /// Index of the first real class: 1 where class 0 is "background", otherwise 0.
    #[serde(default)]
    pub label_offset: i64,
    /// The model's family, which decides its colour in figures.
    #[serde(default = "family")]
    pub family: String,
    /// What is done to pixels before the module sees them.
    #[serde(default)]
    pub preprocessing: Preprocessing,
}

pub(crate) fn family() -> String {
    "TorchScript".to_owned()
}

params! {
    /// What is done to the pixels p, RGB in [0, 1], before a module sees them: they are spread over
    /// `range`, put into the order of `channels`, and of each channel `mean` is subtracted; the
    /// rest is divided by `std`.
    pub struct Preprocessing {
        /// What p = 0 and p = 1 become.
        pub range: [f64; 2] = [0.0, 1.0],
        /// The order of the channels.
        pub channels: Channels = Channels::Rgb,
        /// Subtracted from each channel.
        pub mean: [f64; 3] = [0.0; 3],
        /// What each channel is divided by.
        pub std: [f64; 3] = [1.0; 3],
    }
}

/// The order of the channels that a module expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
}

impl Script {
    /// Checks that all values are in range.
    ///
    /// # Errors
    /// When a value is out of range; the error begins with its key.
    pub fn check(&self) -> Result<()> {
        let Self {
            side,
            classes,
            label_offset,
            family,
            preprocessing: Preprocessing { range, mean, std, .. },
        } = self;
        ensure!(
            *side >= 1,
            "`side` is {side}, expected the height and width of the images that the module takes"
        );
        ensure!(
            [0, 1].contains(label_offset),
            "`label_offset` is {label_offset}, expected 0, or 1 where class 0 is \"background\""
        );
        ensure!(
            classes - label_offset >= 2,
            "`classes` is {classes}, expected the number of the module's logits, with 2 real \
             classes at least"
        );
        ensure!(!family.trim().is_empty(), "`family` is empty");
        ensure!(
            range.iter().chain(mean).all(|value| value.is_finite()),
            "`range` and `mean` must be finite numbers"
        );
        ensure!(range[0] != range[1], "`range` is {range:?}, expected what 0 and 1 become");
        ensure!(
            std.iter().all(|std| std.is_finite() && *std > 0.0),
            "`std` is {std:?}, expected positive numbers"
        );
        Ok(())
    }

    /// The same as keys of a study file.
    pub fn to_table(&self) -> Table {
        let Self { side, classes, label_offset, family, preprocessing } = self;
        Table::from_iter([
            ("side".to_owned(), Value::from(*side)),
            ("classes".to_owned(), (*classes).into()),
            ("label_offset".to_owned(), (*label_offset).into()),
            ("family".to_owned(), family.as_str().into()),
            ("preprocessing".to_owned(), to_table(preprocessing).into()),
        ])
    }

    /// The card of a module of this name.
    pub fn card(&self, name: &str) -> ModelCard {
        ModelCard {
            name: name.to_owned(),
            family: self.family.clone(),
            side: self.side,
            classes: self.classes,
            label_offset: self.label_offset,
            source: "TorchScript".to_owned(),
            ..ModelCard::default()
        }
    }
}

/// A module with frozen weights.
struct Module {
    card: ModelCard,
    code: CModule,
    /// The size of batch that the module is written for, if it takes no other.
    batch: Option<i64>,
    preprocessing: Preprocessing,
    /// The mean and the standard deviation of each channel, 1×3×1×1.
    mean: Tensor,
    std: Tensor,
}

/// Loads a module and tries it: it must take the images and give the logits that `script` says,
/// answer each image of a batch by itself, and have a gradient.
///
/// # Errors
/// When `bytes` are no module, or a trial fails; the error says what to change.
pub fn load(name: &str, script: &Script, bytes: &[u8], device: Device) -> Result<Box<dyn Model>> {
    script.check()?;
    let code = module_file::open(bytes, device)?;
    let per_channel = |values: [f64; 3]| {
        Tensor::from_slice(&values).to_kind(Kind::Float).view([1, 3, 1, 1]).to_device(device)
    };
    let Preprocessing { mean, std, .. } = script.preprocessing;
    let (mean, std) = (per_channel(mean), per_channel(std));
    let mut module = Module {
        card: script.card(name),
        code,
        batch: None,
        preprocessing: script.preprocessing.clone(),
        mean,
        std,
    };
    let tried = guard::catch("the module", || module.try_out(device));
    let tried = tried.or_else(|error| match module.fixed_batch(device) {
        None => Err(error),
        batch => {
            module.batch = batch;
            guard::catch("the module", || module.try_out(device))
        }
    });
    tried.map_err(module_file::explained)?;
    Ok(Box::new(module))
}

impl Module {
    fn prepare(&self, pixels: &Tensor) -> Tensor {
        let Preprocessing { range: [low, high], channels, mean, std } = self.preprocessing;
        let mut x = pixels.shallow_clone();
        if [low, high] != [0.0, 1.0] {
            x = x * (high - low) + low;
        }
        if channels == Channels::Bgr {
            x = x.flip([1]);
        }
        if mean != [0.0; 3] {
            x = &x - &self.mean;
        }
        if std != [1.0; 3] {
            x = &x / &self.std;
        }
        x
    }

    fn answer(&self, pixels: &Tensor) -> Result<Tensor> {
        match self.batch {
            None => self.answer_at_once(pixels),
            Some(size) => batch::in_parts(pixels, size, |part| self.answer_at_once(part)),
        }
    }

    /// The size of batch that the module is written for, if it takes one alone.
    fn fixed_batch(&self, device: Device) -> Option<i64> {
        let ModelCard { side, classes, .. } = self.card;
        batch::find(|size| {
            let pixels = Tensor::full([size, 3, side, side], 0.5, (Kind::Float, device));
            let logits = tch::no_grad(|| self.answer_at_once(&pixels));
            logits.is_ok_and(|logits| logits.size() == [size, classes])
        })
    }

    fn answer_at_once(&self, pixels: &Tensor) -> Result<Tensor> {
        jit::f_set_graph_executor_optimize(false)?; // a setting of the thread
        let found = match self.code.forward_is(&[IValue::Tensor(self.prepare(pixels))]) {
            Ok(IValue::Tensor(logits)) => return Ok(logits.to_kind(Kind::Float)),
            Ok(IValue::Tuple(values)) => format!("a tuple of {}", values.len()),
            Ok(IValue::TensorList(_) | IValue::GenericList(_)) => "a list".to_owned(),
            Ok(IValue::GenericDict(_)) => "a dictionary".to_owned(),
            Ok(_) => "no tensor".to_owned(),
            Err(error) => bail!(module_file::reason(&error)),
        };
        bail!(
            "it gives {found}, expected a tensor of logits: wrap it in a module whose `forward` \
             returns the logits alone, and save that"
        )
    }

    fn try_out(&self, device: Device) -> Result<()> {
        const COUNT: i64 = 3;
        let ModelCard { side, classes, .. } = self.card;
        let grid = Tensor::arange(COUNT * 3 * side * side, (Kind::Float, device))
            .view([COUNT, 3, side, side]);
        let pixels = ((grid * 0.37).sin() * 0.5 + 0.5).set_requires_grad(true);
        let logits = self
            .answer(&pixels)
            .with_context(|| format!("given {COUNT} images of `side = {side}`"))?;
        ensure!(
            logits.size() == [COUNT, classes],
            "for {COUNT} images it gives logits of shape {:?}, expected [{COUNT}, {classes}] by \
             `classes = {classes}`",
            logits.size()
        );
        // A model may give infinite logits; where it does, images have no answer and are flagged.
        let broken = logits.detach().isnan().any_dim(1, false);
        let broken = broken.sum(Kind::Int64).int64_value(&[]);
        ensure!(
            broken == 0,
            "it gives NaN for {broken} of {COUNT} made-up images in [0, 1]: see that `range`, `mean` \
             and `std` are those that it expects, and keep roots, logarithms and divisions in it \
             away from 0"
        );
        ensure!(
            logits.requires_grad(),
            "its logits have no gradient with respect to the pixels: attacks need one"
        );
        let gradient = Tensor::f_run_backward(&[logits.sum(Kind::Float)], &[&pixels], false, false);
        gradient.map_err(|error| {
            anyhow!(
                "its logits have no gradient with respect to the pixels: {}",
                module_file::reason(&error)
            )
        })?;
        let alone =
            tch::no_grad(|| self.answer(&pixels.narrow(0, 0, 1))).context("given one image")?;
        let (together, alone) = (logits.detach().narrow(0, 0, 1), alone);
        let greatest = logits.detach().nan_to_num(0.0, 0.0, 0.0).abs().max().double_value(&[]);
        let near = |a: &Tensor, b: &Tensor| a.allclose(b, 1e-3, 1e-3 * greatest, true);
        ensure!(
            near(&together, &alone),
            "it gives an image other logits beside other images, or each time: call `model.eval()` \
             before it is traced or scripted"
        );
        Ok(())
    }
}

impl Model for Module {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        self.answer(pixels).unwrap_or_else(|error| guard::throw(error))
    }
}

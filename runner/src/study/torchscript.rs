//! Models that are TorchScript modules, as `torch.jit.trace(model, example).save(file)` writes
//! them.
//!
//! A module runs as it is written, without libtorch's optimiser. The optimiser profiles the first
//! calls and then rewrites the module, so the bits of an answer would depend on earlier calls.

use crate::study::{batch, module_file};
use anyhow::{Context, Result, anyhow, bail, ensure};
use gauntlet_core::device::Device;
use gauntlet_core::generator;
use gauntlet_core::guard;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::params;
use serde::{Deserialize, Serialize};
use tch::{CModule, IValue, Kind, Tensor, jit};
use toml::Table;

/// The properties of a module that its file does not tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Height and width of the images that the module takes, in pixels. 0 where `height` and
    /// `width` say it.
    #[serde(default)]
    pub side: i64,
    /// Height of the images, in pixels, where they are not square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<i64>,
    /// Width of the images, in pixels, where they are not square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<i64>,
    /// Number of channels of the images: 3 for RGB, 1 for grey.
    #[serde(default = "rgb")]
    pub channels: i64,
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

fn rgb() -> i64 {
    ModelCard::default().channels
}

fn family() -> String {
    "TorchScript".to_owned()
}

impl Default for Script {
    fn default() -> Self {
        let ModelCard { side, height, width, channels, classes, label_offset, .. } =
            ModelCard::default();
        let (family, preprocessing) = (family(), Preprocessing::default());
        Self { side, height, width, channels, classes, label_offset, family, preprocessing }
    }
}

params! {
    /// What is done to the pixels p in [0, 1] before a module sees them: they are spread over
    /// `range`, put into the order of `channels`, and of each channel `mean` is subtracted; the
    /// rest is divided by `std`.
    pub struct Preprocessing {
        /// What p = 0 and p = 1 become.
        pub range: [f64; 2] = [0.0, 1.0],
        /// The order of the channels.
        pub channels: Channels = Channels::Rgb,
        /// Subtracted from each channel: one number for all, or one for each.
        pub mean: Vec<f64> = vec![0.0],
        /// What each channel is divided by: one number for all, or one for each.
        pub std: Vec<f64> = vec![1.0],
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
        let Self { channels, family, preprocessing, .. } = self;
        let Preprocessing { range, mean, std, channels: order } = preprocessing;
        self.card("module").check()?;
        ensure!(
            *channels != 1 || *order == Channels::Rgb,
            "`preprocessing` orders channels, and the images are grey: leave `channels` out of it"
        );
        for (key, values) in [("mean", mean), ("std", std)] {
            ensure!(
                [1, *channels].contains(&(values.len() as i64)),
                "`preprocessing` has {} values of `{key}` for images of {channels} channel{}: \
                 expected one for all, or one for each",
                values.len(),
                if *channels == 1 { "" } else { "s" }
            );
        }
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
        Table::try_from(self).expect("a module's description is TOML")
    }

    /// The card of a module of this name.
    pub fn card(&self, name: &str) -> ModelCard {
        ModelCard {
            name: name.to_owned(),
            family: self.family.clone(),
            side: self.side,
            height: self.height,
            width: self.width,
            channels: self.channels,
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
    /// The mean and the standard deviation of each channel, 1×C×1×1, or 1×1×1×1 of all.
    mean: Tensor,
    std: Tensor,
}

/// Loads a module and tries it: it must take the images and give the logits that `script` says,
/// answer each image of a batch by itself, and have a gradient.
///
/// A `randomised` module, which answers at random, must repeat its answer where libtorch's generator
/// has the same seed.
///
/// # Errors
/// When `bytes` are no module, or a trial fails; the error says what to change.
pub fn load(
    name: &str,
    script: &Script,
    bytes: &[u8],
    device: Device,
    randomised: bool,
) -> Result<Box<dyn Model>> {
    script.check()?;
    let code = module_file::open(bytes, device)?;
    let per_channel = |values: &[f64]| {
        Tensor::from_slice(values).to_kind(Kind::Float).view([1, -1, 1, 1]).to_device(device)
    };
    let Preprocessing { mean, std, .. } = &script.preprocessing;
    let (mean, std) = (per_channel(mean), per_channel(std));
    let mut module = Module {
        card: script.card(name),
        code,
        batch: None,
        preprocessing: script.preprocessing.clone(),
        mean,
        std,
    };
    if module.refuses_a_batch(device) {
        module.batch = module.fixed_batch(device);
    }
    guard::catch("the module", || module.try_out(device, randomised))
        .map_err(module_file::explained)?;
    Ok(Box::new(module))
}

impl Module {
    fn prepare(&self, pixels: &Tensor) -> Tensor {
        let Preprocessing { range: [low, high], channels, mean, std } = &self.preprocessing;
        let mut x = pixels.shallow_clone();
        if [*low, *high] != [0.0, 1.0] {
            x = x * (high - low) + *low;
        }
        if *channels == Channels::Bgr {
            x = x.flip([1]);
        }
        if mean.iter().any(|mean| *mean != 0.0) {
            x = &x - &self.mean;
        }
        if std.iter().any(|std| *std != 1.0) {
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

    /// Whether the module fails on three images, or gives another number of rows: it may be written
    /// for a batch of another size.
    fn refuses_a_batch(&self, device: Device) -> bool {
        const COUNT: usize = 3;
        let pixels = Tensor::full(self.card.shape().batch(COUNT), 0.5, (Kind::Float, device));
        let given = [IValue::Tensor(self.prepare(&pixels))];
        let answered = guard::catch("the module", || {
            jit::f_set_graph_executor_optimize(false)?;
            Ok(tch::no_grad(|| self.code.forward_is(&given)))
        });
        match answered {
            Ok(Ok(IValue::Tensor(logits))) => logits.size().first() != Some(&(COUNT as i64)),
            Ok(Ok(_)) => false,
            Ok(Err(_)) | Err(_) => true,
        }
    }

    /// The size of batch that the module is written for, if it takes one alone.
    fn fixed_batch(&self, device: Device) -> Option<i64> {
        let (shape, classes) = (self.card.shape(), self.card.classes);
        batch::find(|size| {
            let pixels = Tensor::full(shape.batch(size as usize), 0.5, (Kind::Float, device));
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

    /// What to say where the module takes images of another number of channels.
    fn other_channels(&self, pixels: &Tensor) -> String {
        let size = pixels.size();
        let other = 4 - self.card.channels;
        let images =
            Tensor::rand([size[0], other, size[2], size[3]], (Kind::Float, pixels.device()));
        let answered = guard::catch("the module", || {
            Ok(tch::no_grad(|| self.code.forward_is(&[IValue::Tensor(images)]))?)
        });
        if answered.is_err() {
            return String::new();
        }
        format!(
            " (it takes {other} channel{}: `channels = {other}`)",
            if other == 1 { "" } else { "s" }
        )
    }

    fn try_out(&self, device: Device, randomised: bool) -> Result<()> {
        const COUNT: i64 = 3;
        let (shape, classes) = (self.card.shape(), self.card.classes);
        let grid = Tensor::arange(COUNT * shape.values(), (Kind::Float, device))
            .view(shape.batch(COUNT as usize));
        let pixels = ((grid * 0.37).sin() * 0.5 + 0.5).set_requires_grad(true);
        let logits = self.answer(&pixels).with_context(|| {
            format!("given {COUNT} images of {shape}{}", self.other_channels(&pixels))
        })?;
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
        let greatest = logits.detach().nan_to_num(0.0, 0.0, 0.0).abs().max().double_value(&[]);
        let near = |a: &Tensor, b: &Tensor| a.allclose(b, 1e-3, 1e-3 * greatest, true);
        let seeded = |seed: u64, images: &Tensor| {
            generator::seeded(seed, || tch::no_grad(|| self.answer(images)))
        };
        let one = pixels.narrow(0, 0, 1);
        let alone = seeded(1, &one).context("given one image")?;
        if randomised {
            ensure!(
                near(&alone, &seeded(1, &one)?),
                "its answers do not follow from the seed of libtorch's generator: draw random \
                 numbers from that alone (`torch.rand…`), and keep no state from one call to the \
                 next"
            );
            return Ok(());
        }
        ensure!(
            near(&alone, &seeded(2, &one)?),
            "it gives an image other logits each time: call `model.eval()` before it is traced or \
             scripted; where it answers at random on purpose (a randomised defence), `samples = \
             16` beside its name in the study attacks its expectation"
        );
        ensure!(
            near(&logits.detach().narrow(0, 0, 1), &alone),
            "it gives an image other logits beside other images: call `model.eval()` before it is \
             traced or scripted"
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

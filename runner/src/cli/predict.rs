//! `runner predict`: the most likely classes of images, by one model.

use crate::cli::text::counted;
use crate::data::{Class, Classes, open_image};
use crate::engine::permit;
use crate::report::Grid;
use crate::store::{self, write_atomically};
use crate::study::torchscript::Script;
use crate::study::{Samples, StudyModel};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use gauntlet_core::device;
use gauntlet_core::guard;
use gauntlet_core::model::{ImageShape, ModelCard};
use gauntlet_core::oracle::{Draws, Oracle, Purpose, Settings};
use gauntlet_core::params;
use gauntlet_core::registry::Registry;
use gauntlet_core::weights::read_safetensors;
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tch::{Device, Kind, Tensor};
use toml::Table;

/// Number of images in a batch.
const BATCH: usize = 32;

/// Show the most likely classes of images
#[derive(Args)]
#[command(after_help = "Examples:
  runner predict --model mini_vgg_16 shoe.png shirt.png
  runner predict --model vgg_16 --weights vgg_16.safetensors photo.jpg --json
  runner predict --model vgg_16 --weights frozen_vgg_16.pb photo.jpg
  runner predict --model mini_vgg_16 batch.safetensors
  runner predict --torchscript resnet50.pt --params '{ side = 224, classes = 1000 }' photo.jpg

A photograph is resized (antialiased Lanczos) until it just covers the model's height and width, \
                        and the centre cut out. \
                        A safetensors file holds a tensor `pixels`, N×C×H×W in [0, 1].")]
pub(super) struct PredictArgs {
    /// The model, see `runner list models`
    #[arg(long, value_name = "NAME", required_unless_present = "torchscript")]
    model: Option<String>,
    /// A TorchScript module in place of a registered model; `--params` says its `side`, `classes`
    /// and so on
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "weights"])]
    torchscript: Option<PathBuf>,
    /// Its weights: a safetensors file, a frozen graph (.pb), or a folder with such files [default:
    /// those built in, or in the folder of `runner weights`]
    #[arg(long, value_name = "FILE|DIR")]
    weights: Option<PathBuf>,
    /// Its parameters, as TOML: 'classes = 10'
    #[arg(long, value_name = "TOML", default_value = "", hide_default_value = true)]
    params: String,
    /// For a model that answers at random: logits are the means of so many draws
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Names of the classes, one a line, background left out [default: the minis' are known, and
    /// ImageNet's where there are a thousand]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Where to compute: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    device: String,
    /// How many classes are shown
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    top: i64,
    /// Write all logits to a safetensors file: a tensor `logits`, N×classes
    #[arg(long, value_name = "FILE")]
    logits: Option<PathBuf>,
    /// Print JSON with all logits: {"model": …, "images": [{"name": …, "top": [[class, logit], …],
    /// "logits": […]}]}
    #[arg(long)]
    json: bool,
    /// Image files (PNG, JPEG, WebP, BMP) or safetensors files
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,
}

/// Predicts the classes of images. An image that cannot be used is skipped with a warning, and the
/// exit code is 1.
pub(super) fn predict(
    args: &PredictArgs,
    registry: &Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let device = device::open(&args.device)?;
    let parameters =
        params::parse(&args.params).with_context(|| format!("`--params '{}'`", args.params))?;
    let named = registry.models().find(|model| Some(&model.entry.name) == args.model.as_ref());
    let library = named.and_then(|model| model.entry.library.as_ref());
    permit(library, "it computes in processes of its own alone, in `runner run`; ")?;
    let mut chosen = match (&args.torchscript, &args.model) {
        (Some(file), _) => module(file, &parameters)?,
        (None, model) => StudyModel::new(
            registry,
            model.as_deref().unwrap_or_default(),
            &parameters,
            args.weights.as_deref(),
            None,
        )?,
    };
    chosen.samples = args.samples.map(|count| Samples::new(count, None)).transpose()?;
    let classes = class_names(args.classes.as_deref(), &chosen)?;
    let mut names = Vec::new();
    let mut pixels = Vec::new();
    let mut skipped = 0;
    for path in &args.images {
        match guard::catch("reading", || open(path, chosen.card.shape())) {
            Ok(images) => {
                for (name, image) in images {
                    names.push(name);
                    pixels.push(image);
                }
            }
            Err(error) => {
                skipped += 1;
                let _ = writeln!(io::stderr(), "warning: {error:#}");
            }
        }
    }
    ensure!(
        !pixels.is_empty(),
        "there is no image to predict: {} skipped",
        counted(skipped, "file")
    );
    let draws = args.samples.map(|count| Draws { count, purpose: Purpose::Judgement });
    let model = chosen.try_out(registry, device)?;
    if let Some(done) = chosen.conversion() {
        let _ = writeln!(io::stderr(), "note: the module's weights are {done}");
    }
    let mut answers = Vec::new();
    for images in pixels.chunks(BATCH) {
        let settings = Settings { draws, ..Settings::default() };
        let oracle = Oracle::new(model.as_ref(), vec![0; images.len()], settings);
        let rows: Vec<usize> = (0..images.len()).collect();
        let batch = Tensor::stack(images, 0).to_device(device);
        let logits = guard::catch("predicting", || oracle.logits(&rows, &batch))?
            .to_device(Device::Cpu)
            .to_kind(Kind::Float);
        answers.extend((0..images.len() as i64).map(|n| logits.get(n)));
    }
    skipped += leave_out(&mut names, &mut answers)?;
    if let Some(file) = &args.logits {
        let file =
            std::path::absolute(file).with_context(|| format!("logits {}", file.display()))?;
        write_atomically(
            &file,
            &store::safetensors(&[("logits".to_owned(), Tensor::stack(&answers, 0))])?,
        )?;
    }
    let top = |logits: &Tensor| top(logits, args.top);
    let card = &chosen.card;
    if args.json {
        let images: Vec<_> = names
            .iter()
            .zip(&answers)
            .map(|(name, logits)| {
                let values = Vec::<f32>::try_from(logits)?;
                Ok(json!({ "name": name, "top": top(logits)?, "logits": values }))
            })
            .collect::<Result<_>>()?;
        writeln!(out, "{}", json!({ "model": chosen.part.label, "images": images }))?;
        return conclude(skipped, out);
    }
    for (name, logits) in names.iter().zip(&answers) {
        let probabilities = logits.softmax(0, Kind::Double);
        writeln!(out, "{name}")?;
        let mut grid = Grid::new(["class", "", "", "logit", "probability"]);
        for (class, logit) in top(logits)? {
            let probability = probabilities.double_value(&[class]) * 100.0;
            let (id, name) = words(classes.as_ref(), card, class);
            grid.row([
                &class.to_string(),
                id,
                name,
                &format!("{logit:.3}"),
                &format!("{probability:.1}%"),
            ]);
        }
        grid.print(out, 3)?;
    }
    conclude(skipped, out)
}

/// A TorchScript module, named after its file.
fn module(file: &Path, parameters: &Table) -> Result<StudyModel> {
    let script: Script = parameters.clone().try_into().map_err(|error: toml::de::Error| {
        anyhow!(
            "`--params` of a TorchScript module: {}; it needs `side` (or `height` and `width`) and `classes`",
            error.message().trim_end()
        )
    })?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    StudyModel::torchscript(&name, file, &script)
}

fn conclude(skipped: usize, out: &mut dyn Write) -> Result<ExitCode> {
    out.flush()?;
    if skipped == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let _ = writeln!(io::stderr(), "{} skipped", counted(skipped, "image"));
    Ok(ExitCode::from(1))
}

/// Leaves out the images whose logits are not finite, with a warning each. Returns how many.
///
/// # Errors
/// When no image is left.
fn leave_out(names: &mut Vec<String>, answers: &mut Vec<Tensor>) -> Result<usize> {
    let all = names.len();
    let pairs = names.drain(..).zip(answers.drain(..)).collect::<Vec<_>>();
    for (name, logits) in pairs {
        if logits.isfinite().all().int64_value(&[]) == 1 {
            names.push(name);
            answers.push(logits);
        } else {
            let _ = writeln!(
                io::stderr(),
                "warning: image {name}: the model's logits are not finite, so it has no answer"
            );
        }
    }
    ensure!(
        !names.is_empty(),
        "the model's logits are NaN or infinite for every image: keep roots, logarithms, divisions \
         and exponentials in it in range, and see that `range`, `mean` and `std` are those that \
         it expects"
    );
    Ok(all - names.len())
}

/// The greatest logits with their classes, in falling order.
fn top(logits: &Tensor, count: i64) -> Result<Vec<(i64, f32)>> {
    let (values, classes) = logits.topk(count.min(logits.size()[0]), 0, true, true);
    Ok(Vec::<i64>::try_from(classes)?.into_iter().zip(Vec::<f32>::try_from(values)?).collect())
}

/// The names of the real classes; `None` where they are not known.
fn class_names(file: Option<&Path>, model: &StudyModel) -> Result<Option<Classes>> {
    let Some(file) = file else {
        let fashion = model.part.name.starts_with("mini_").then(Classes::fashion_mnist);
        return Classes::of_study(
            fashion.filter(|names| names.len() as i64 == model.classes()),
            model.classes(),
        );
    };
    let (names, classes) = (Classes::read(file)?, model.classes());
    ensure!(
        names.len() as i64 == classes,
        "class names {}: {} lines, the model has {classes} classes",
        file.display(),
        names.len()
    );
    Ok(Some(names))
}

/// WordNet id and name of a model's class; empty where they are not known.
fn words<'a>(classes: Option<&'a Classes>, card: &ModelCard, class: i64) -> (&'a str, &'a str) {
    let real = class - card.label_offset;
    if real < 0 {
        return ("", "background");
    }
    let known = classes.and_then(|classes| classes.get(real));
    known.map_or(("", ""), |Class { id, name, .. }| (id.as_deref().unwrap_or_default(), name))
}

/// The images of a file, with their names.
fn open(path: &Path, shape: ImageShape) -> Result<Vec<(String, Tensor)>> {
    let name = path.display().to_string();
    if path.extension().is_none_or(|extension| extension != "safetensors") {
        return Ok(vec![(name, open_image(path, shape)?)]);
    }
    let bytes = std::fs::read(path).with_context(|| format!("images {name}"))?;
    let mut tensors = read_safetensors(bytes).with_context(|| format!("images {name}"))?;
    let found = tensors.keys().cloned().collect::<Vec<_>>().join(", ");
    let pixels = tensors
        .remove("pixels")
        .with_context(|| format!("images {name}: a tensor `pixels` is expected, found: {found}"))?;
    let size = pixels.size();
    let ImageShape { channels, height, width } = shape;
    ensure!(
        size.len() == 4 && size[1..] == shape.batch(1)[1..],
        "images {name}: `pixels` has shape {size:?}, the model takes N×{channels}×{height}×{width}"
    );
    ensure!(size[0] > 0, "images {name}: `pixels` has shape {size:?}: there is no image in it");
    let pixels = pixels.to_kind(Kind::Float);
    let (low, high) = (pixels.min().double_value(&[]), pixels.max().double_value(&[]));
    ensure!(
        low >= 0.0 && high <= 1.0,
        "images {name}: `pixels` runs from {low} to {high}, expected within [0, 1]"
    );
    Ok((0..size[0]).map(|n| (format!("{name}[{n}]"), pixels.get(n))).collect())
}

//! Trains the mini zoo on Fashion-MNIST and writes its weights.

mod data;
mod variables;

use anyhow::{Result, ensure};
use clap::Parser;
use data::{Move, Set};
use gauntlet_core::model::Model;
use gauntlet_core::registry::{ModelEntry, Registry};
use gauntlet_core::weights::Weights;
use gauntlet_plugins as _;
use plugin_model as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::f64::consts::PI;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use tch::{Device, Kind, Tensor};
use toml::Table;
use variables::Variables;

/// Trains the mini zoo (`mini_vgg_16`, …), or the example `lenet`, on Fashion-MNIST and writes its
/// weights.
///
/// Each network is trained from scratch on the 60,000 training images, with AdamW, a rate that
/// rises over the first tenth of the steps and falls along a cosine to zero, label smoothing, and,
/// for all but the MobileNets, images moved by up to two pixels and mirrored at random. The last
/// epoch's weights are written in half precision as `<OUT>/<name>.safetensors`; accuracy on the
/// 10,000 test images is measured from that file. The same seed, device and number of threads give
/// the same weights.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Networks to train: names, or `all`.
    #[arg(long = "model", value_name = "NAME", required = true)]
    models: Vec<String>,

    /// Folder of Fashion-MNIST's four IDX files, plain or `.gz`.
    #[arg(long, value_name = "DIR", default_value = "/usr/share/datasets/fashion-mnist")]
    data: PathBuf,

    /// Folder for the weights.
    #[arg(long, value_name = "DIR", default_value = "plugins/mini")]
    out: PathBuf,

    /// Passes over the training images. Each network has its own default.
    #[arg(long)]
    epochs: Option<usize>,

    /// Highest learning rate. Each network has its own default.
    #[arg(long)]
    rate: Option<f64>,

    /// Images per step.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(2..=60000))]
    batch: u32,

    /// Seed of initial values, order and moves.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Measure on the last 5,000 training images, which are not trained on, instead of the test
    /// images. For the choice of a recipe.
    #[arg(long)]
    validate: bool,

    /// Train nothing: measure accuracy and speed of the weights in OUT.
    #[arg(long)]
    measure: bool,

    /// `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "cpu")]
    device: String,

    /// Threads of libtorch on the CPU [default: one per core].
    #[arg(long)]
    threads: Option<u16>,
}

/// How a network is trained.
#[derive(Clone, Copy)]
struct Recipe {
    epochs: usize,
    /// Highest learning rate.
    rate: f64,
    /// Multiplies the initial kernels.
    gain: f64,
    /// Whether images are moved and mirrored.
    moved: bool,
}

/// The recipe of a network, found by trial.
///
/// Narrower networks take more passes. MobileNets are too narrow to gain from moved images, and the
/// deepest networks see too few passes. VGG has no batch norm that would undo the scale of its input,
/// pixels of up to ±150, so a smaller gain spreads the scaling over its layers.
fn recipe(name: &str) -> Recipe {
    match name {
        "mini_mobilenet_v1_025" => Recipe { epochs: 20, rate: 1e-2, gain: 1.0, moved: false },
        "mini_mobilenet_v1_050" => Recipe { epochs: 10, rate: 1e-2, gain: 1.0, moved: false },
        "mini_mobilenet_v1_100" => Recipe { epochs: 8, rate: 1e-2, gain: 1.0, moved: false },
        "lenet" => Recipe { epochs: 8, rate: 4e-3, gain: 1.0, moved: true },
        "mini_alexnet" => Recipe { epochs: 8, rate: 1e-3, gain: 0.6, moved: true },
        "mini_resnet_v2_50" => Recipe { epochs: 5, rate: 4e-3, gain: 1.0, moved: true },
        "mini_vgg_16" => Recipe { epochs: 8, rate: 1e-3, gain: 0.74, moved: true },
        "mini_vgg_19" => Recipe { epochs: 8, rate: 1e-3, gain: 0.77, moved: true },
        "mini_inception_v1" => Recipe { epochs: 6, rate: 4e-3, gain: 1.0, moved: false },
        "mini_inception_v2" => Recipe { epochs: 9, rate: 4e-3, gain: 1.0, moved: false },
        "mini_inception_v3"
        | "mini_inception_v4"
        | "mini_inception_resnet_v2"
        | "mini_nasnet_large" => Recipe { epochs: 3, rate: 4e-3, gain: 1.0, moved: false },
        _ => Recipe { epochs: 4, rate: 4e-3, gain: 1.0, moved: false },
    }
}

/// Weight decay, per unit of rate.
const DECAY: f64 = 0.02;
/// Greatest norm of the gradient. Longer gradients are shortened.
const CLIP: f64 = 2.0;
const LABEL_SMOOTHING: f64 = 0.05;
/// Number of training images that `--validate` measures on.
const HELD_OUT: usize = 5000;
/// Greatest move of an image along an axis, in pixels.
const SHIFT: u32 = 2;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("train-mini: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let device = gauntlet_core::device::open(&arguments.device)?;
    if let Some(threads) = arguments.threads {
        tch::set_num_threads(i32::from(threads));
    }
    let registry = Registry::linked()?;
    let entries: Vec<&ModelEntry> = if arguments.models == ["all"] {
        registry.models().filter(|m| m.entry.name.starts_with("mini_")).collect()
    } else {
        arguments.models.iter().map(|name| registry.find_model(name)).collect::<Result<_>>()?
    };
    for entry in &entries {
        let card = entry.card(&Table::new())?;
        ensure!(
            (card.side, card.classes) == (data::SIDE as i64, 10),
            "`{}` takes {}×{1} pixels and has {} classes; Fashion-MNIST has 28×28 and 10",
            card.name,
            card.side,
            card.classes
        );
    }
    let [train, test] = ["train", "t10k"].map(|part| Set::read(&arguments.data, part));
    let (mut train, mut test) = (train?, test?);
    if arguments.validate {
        ensure!(
            train.len() > HELD_OUT,
            "{} training images are too few to hold out {HELD_OUT}",
            train.len()
        );
        test = train.split_off(HELD_OUT);
    }
    std::fs::create_dir_all(&arguments.out)?;
    for entry in entries {
        if arguments.measure {
            measure(entry, &test, arguments, device)?;
        } else {
            fit(entry, &train, &test, arguments, device)?;
        }
    }
    Ok(())
}

/// The rate after the part `done` of all steps, from 0 to 1.
fn schedule(highest: f64, done: f64) -> f64 {
    const RISE: f64 = 0.1;
    if done < RISE {
        highest * done / RISE
    } else {
        highest * (1.0 + (PI * (done - RISE) / (1.0 - RISE)).cos()) / 2.0
    }
}

fn fit(
    entry: &ModelEntry,
    train: &Set,
    test: &Set,
    arguments: &Arguments,
    device: Device,
) -> Result<()> {
    let name = &entry.entry.name;
    let path = arguments.out.join(format!("{name}.safetensors"));
    let recipe = recipe(name);
    let epochs = arguments.epochs.unwrap_or(recipe.epochs);
    let highest = arguments.rate.unwrap_or(recipe.rate);
    let mut random = ChaCha8Rng::seed_from_u64(arguments.seed);
    let mut variables = Variables::new(entry, recipe.gain, device, &mut random)?;
    println!(
        "{name}: {} values, {epochs} epochs, rate up to {highest}, seed {}",
        variables.count(),
        arguments.seed
    );

    let begun = Instant::now();
    let interactive = std::io::stderr().is_terminal();
    let batch = arguments.batch as usize;
    let steps = train.len() / batch; // an incomplete last batch is left out
    for epoch in 0..epochs {
        let order = shuffled(train.len(), &mut random);
        let mut sum = Tensor::zeros([], (Kind::Float, device));
        for (step, members) in order.chunks_exact(batch).enumerate() {
            let picks: Vec<(usize, Move)> = members
                .iter()
                .map(|&n| {
                    (n, if recipe.moved { random_move(&mut random) } else { Move::default() })
                })
                .collect();
            let (pixels, labels) = train.batch(&picks);
            // The network copies its kernels when it is built, so each step builds it anew.
            let model = entry.load(&Table::new(), variables.weights())?;
            let logits = model.logits(&pixels.to_device(device));
            let loss = logits.cross_entropy_loss::<Tensor>(
                &labels.to_device(device),
                None,
                tch::Reduction::Mean,
                -100,
                LABEL_SMOOTHING,
            );
            let done = (epoch * steps + step) as f64 / (epochs * steps) as f64;
            variables.step(&loss, schedule(highest, done), DECAY, CLIP);
            sum += loss.detach();
            if interactive && step % 20 == 0 {
                eprint!("\r{name}: epoch {}, step {step} of {steps} ", epoch + 1);
            }
        }
        if interactive {
            eprint!("\r\x1b[K");
        }
        variables.write(&path)?;
        let model = entry.load(&Table::new(), Weights::open(&path, device)?)?;
        let accuracy = accuracy(&*model, test, test.len(), device);
        println!(
            "{name}: epoch {} of {epochs}, loss {:.4}, {} accuracy {accuracy:.2} %, {:.0} s",
            epoch + 1,
            sum.double_value(&[]) / steps as f64,
            if arguments.validate { "validation" } else { "test" },
            begun.elapsed().as_secs_f64()
        );
    }
    Ok(())
}

/// Prints accuracy, and the time of a forward pass with the gradient of the input.
fn measure(entry: &ModelEntry, test: &Set, arguments: &Arguments, device: Device) -> Result<()> {
    const BATCH: usize = 32;
    const ROUNDS: usize = 50;
    let name = &entry.entry.name;
    let path = arguments.out.join(format!("{name}.safetensors"));
    let model = entry.load(&Table::new(), Weights::open(&path, device)?)?;
    let picks: Vec<(usize, Move)> = (0..BATCH).map(|n| (n, Move::default())).collect();
    let pixels = test.batch(&picks).0.to_device(device).set_requires_grad(true);
    let pass = || {
        let begun = Instant::now();
        let gradient = Tensor::run_backward(
            &[model.logits(&pixels).sum(Kind::Float)],
            &[&pixels],
            false,
            false,
        )
        .remove(0);
        let _ = gradient.to_device(Device::Cpu);
        begun.elapsed().as_secs_f64()
    };
    // The fastest pass counts, since other programs may use the machine.
    let best = (0..ROUNDS).map(|_| pass()).fold(f64::INFINITY, f64::min);
    println!(
        "{name}: test accuracy {:.2} %, {:.1} % on the first 1,000; {:.2} ms per image forward and \
         backward in batches of {BATCH}",
        accuracy(&*model, test, test.len(), device),
        accuracy(&*model, test, 1000, device),
        1e3 * best / BATCH as f64
    );
    Ok(())
}

/// Accuracy on the first `count` images of `set`, in per cent.
fn accuracy(model: &dyn Model, set: &Set, count: usize, device: Device) -> f64 {
    let picks: Vec<(usize, Move)> = (0..count).map(|n| (n, Move::default())).collect();
    let right: i64 = picks
        .chunks(250)
        .map(|picks| {
            let (pixels, labels) = set.batch(picks);
            let answers = tch::no_grad(|| model.logits(&pixels.to_device(device)))
                .argmax(1, false)
                .to_device(Device::Cpu);
            answers.eq_tensor(&labels).sum(Kind::Int64).int64_value(&[])
        })
        .sum();
    100.0 * right as f64 / count as f64
}

/// The numbers below `count` in random order (Fisher and Yates).
fn shuffled(count: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for n in (1..count).rev() {
        order.swap(n, random.next_u64() as usize % (n + 1));
    }
    order
}

fn random_move(random: &mut ChaCha8Rng) -> Move {
    let mut shift = || (random.next_u32() % (2 * SHIFT + 1)) as i32 - SHIFT as i32;
    Move { down: shift(), right: shift(), mirrored: random.next_u32() % 2 == 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_and_falls() {
        for (done, rate) in [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.5), (1.0, 0.0)] {
            assert!((schedule(1.0, done) - rate).abs() < 1e-12, "{done}");
        }
    }

    #[test]
    fn every_image_comes_once_in_an_order_that_the_seed_decides() {
        let order = |seed| shuffled(100, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(order(1), order(1));
        assert_ne!(order(1), order(2));
        let mut sorted = order(1);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }
}

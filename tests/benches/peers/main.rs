//! Gauntlet beside foolbox, torchattacks, ART and adv-lib: the same network, weights, images and
//! parameters, in turn. `cargo bench -p gauntlet-tests --bench peers`.
//!
//! The other libraries run in `peers.py`, in a virtual environment that the first run makes in
//! `target/peers`. This program judges all adversarials alike: with its own network, in float32,
//! and by their distance to the image. Variables of the environment, with their defaults:
//!
//! - `NETWORKS` (the three miniatures), `ATTACKS` (all), `PEERS` (all): names, separated by commas.
//! - `IMAGES` (16): number of images. `BATCH` (8): images at a time. `ROUNDS` (3).
//! - `THREADS` (all cores): threads on either side.
//! - `ITERATIONS` (1000) and `STEPS` (9): of the searches of C&W and EAD.
//! - `PATIENCE` (600): seconds that a library may take for a task.
//! - `WEIGHTS`, `PHOTOS`: folders for networks of full size. Without them, weights are made up and
//!   images are waves.

mod contest;
mod entrants;
mod hand;
mod inputs;
mod python;

use anyhow::{Result, ensure};
use contest::Contest;
use gauntlet_core::device::Device;
use gauntlet_core::registry::Registry;
use gauntlet_plugins as _;
use gauntlet_tests::benching::{self, MINI, setting};
use python::Python;
use std::fs;
use std::path::Path;
use std::thread;

const ATTACKS: [&str; 4] = ["fgsm", "ifgsm", "cw_l2", "ead_l1"];

fn main() -> Result<()> {
    ensure!(
        benching::device()? == Device::Cpu,
        "this bench measures the CPU, and DEVICE names another device"
    );
    let rounds = setting("ROUNDS", 3)?;
    let cores = setting("THREADS", thread::available_parallelism()?.get())?;
    let registry = Registry::linked()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    fs::create_dir_all(&folder)?;
    let mut python = Python::start(&folder)?;
    println!("{cores} threads on either side; times are medians of up to {rounds} rounds");
    for name in benching::list("NETWORKS", &MINI) {
        let contest = Contest::open(&registry, &folder, &name, cores, &mut python)?;
        for attack in benching::list("ATTACKS", &ATTACKS) {
            let goals: &[bool] = if attack.contains('_') { &[false, true] } else { &[false] };
            for &targeted in goals {
                contest.hold(&attack, targeted, rounds, &mut python)?;
            }
        }
    }
    Ok(())
}

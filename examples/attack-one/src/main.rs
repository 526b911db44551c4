//! One attack on one image of one model, without the engine. It needs `gauntlet-core`, and
//! `gauntlet-plugins` for the network and the attack.

use gauntlet_core::device::Device;
use gauntlet_core::oracle::Settings;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_plugins::attacks::{CwL2, CwL2Params};

/// An ankle boot of Fashion-MNIST: 28×28 grey samples.
const BOOT: &[u8; 28 * 28] = include_bytes!("../boot.gray");

/// The class before and after, and the l2 distance between the two images.
fn attack() -> Result<(i64, i64, f64)> {
    let network = Registry::linked()?;
    let network = network.find_model("mini_mobilenet_v1_050")?;
    let model = network.load_embedded(&network.entry.defaults, Device::Cpu)?;

    tch::set_num_threads(1); // the network is too small for several threads
    let grey = Tensor::from_slice(BOOT).to_kind(Kind::Float) / 255.0;
    let pixels = grey.view([1, 1, 28, 28]).repeat([1, 3, 1, 1]);
    let answer =
        |pixels: &Tensor| tch::no_grad(|| model.logits(pixels)).argmax(1, false).int64_value(&[0]);
    let before = answer(&pixels);

    let attack =
        CwL2::new(CwL2Params { iterations: 50, search_steps: 4, ..CwL2Params::default() })?;
    let cases = Cases::new(pixels.copy(), vec![Goal::Away(before)])?;
    let oracle = Oracle::new(model.as_ref(), vec![0], Settings::default());
    let Answer::Pixels(found) = attack.run(&oracle, &cases)?.remove(0) else {
        bail!("nothing found")
    };
    let passes = oracle.passes()[0];
    println!("{} forward and {} backward passes", passes.forward, passes.backward);
    Ok((before, answer(&found.unsqueeze(0)), (found - pixels.get(0)).norm().double_value(&[])))
}

fn main() -> Result<()> {
    let (before, after, distance) = attack()?;
    println!("class {before} became class {after}, at an l2 distance of {distance:.3}");
    Ok(())
}

#[test]
fn the_answer_changes() {
    let (before, after, distance) = attack().unwrap();
    assert!(
        before == 9 && after != 9 && (0.01..3.0).contains(&distance),
        "{before} {after} {distance}"
    );
}

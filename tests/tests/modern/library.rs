//! The library of `gauntlet-modern` beside the crate that is linked in.

use crate::golden::{tiny, untargeted};
use gauntlet_core::attack::{Answer, Cases, Goal};
use gauntlet_core::oracle::{Oracle, Passes, Settings};
use gauntlet_core::params::parse;
use gauntlet_core::registry::Registry;
use gauntlet_modern as _;
use gauntlet_tests::libraries::library;
use tch::Tensor;

/// Parameters with which each attack ends soon.
fn few(name: &str) -> &str {
    match name {
        "autoattack" => "iterations = 3\ntargets = 2\nfab_targets = 2\nqueries = 10",
        "square" => "queries = 20\nepsilon = 0.1",
        "transfer_fgsm" => "iterations = 2\ndiversity = 0.5\nresize = 1.5\nneighbours = 1",
        _ => "iterations = 5",
    }
}

fn run(registry: &Registry, name: &str, cases: &Cases) -> (Vec<Option<Tensor>>, Vec<Passes>) {
    let entry = registry.find_attack(name).unwrap();
    let parameters = entry.entry.parameters(None, &parse(few(name)).unwrap()).unwrap();
    let attack = entry.make(&parameters).unwrap();
    let model = tiny();
    let oracle = Oracle::new(&model, (0..cases.len() as u64).collect(), Settings::default());
    let answers = attack.run(&oracle, cases).unwrap().into_iter().map(|answer| match answer {
        Answer::Pixels(pixels) => Some(pixels),
        Answer::NotFound => None,
    });
    (answers.collect(), oracle.passes())
}

#[test]
fn the_library_gives_the_bits_and_passes_of_the_linked_crate() {
    let linked = Registry::linked().unwrap();
    let mut loaded = Registry::empty();
    loaded.load(&library("modern")).unwrap();
    let mut cases = untargeted();
    for n in [1, 4] {
        cases.goals[n] = Goal::Towards(6);
    }
    let mut compared = 0;
    for entry in loaded.attacks() {
        let name = &entry.entry.name;
        assert_eq!(run(&loaded, name, &cases), run(&linked, name, &cases), "{name}");
        compared += 1;
    }
    assert_eq!(compared, 10);
}

//! Plugins in C++: what `gauntlet.hpp` offers beyond the examples.

use gauntlet_core::attack::{Answer, Cases, Cost, Goal};
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_core::params::parse;
use gauntlet_core::registry::Registry;
use gauntlet_core::testing::{Affine, CheckOutcome, Report};
use gauntlet_core::weights::{NO_WEIGHTS, Weights};
use gauntlet_tests::libraries::{cpp_attacks, rogue};
use std::sync::LazyLock;
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

/// Where the attacks lie, which are compiled once.
static PLACE: LazyLock<TempDir> = LazyLock::new(|| {
    let place = tempfile::tempdir().unwrap();
    cpp_attacks(place.path());
    place
});

fn loaded() -> Registry {
    let mut registry = Registry::empty();
    registry.load(&PLACE.path().join("libattacks.so")).unwrap();
    registry
}

fn cases() -> Cases {
    let pixels = Tensor::full([2, 3, 6, 6], 0.5, (Kind::Float, Device::Cpu));
    Cases::new(pixels, vec![Goal::Away(0); 2]).unwrap()
}

/// What an attack with these parameters answers, or its error.
fn answers(
    name: &str,
    preset: Option<&str>,
    parameters: &str,
    settings: Settings,
) -> Result<Vec<Answer>, String> {
    let registry = loaded();
    let entry = registry.find_attack(name).unwrap();
    let table = entry.entry.parameters(preset, &parse(parameters).unwrap()).unwrap();
    let model = Affine::new(3, 6, 1);
    let oracle = Oracle::new(&model, vec![4, 2], settings);
    let attack = entry.make(&table).map_err(|error| format!("{error:#}"))?;
    let first = attack.run(&oracle, &cases());
    // After an exception the next call works on a new object.
    let second = attack.run(&oracle, &cases()).map_err(|error| format!("{error:#}"));
    let first = first.map_err(|error| format!("{error:#}"));
    assert_eq!(first.as_ref().err(), second.as_ref().err());
    first
}

fn images(preset: Option<&str>, parameters: &str, seed: u64) -> Tensor {
    let settings = Settings { seed, ..Settings::default() };
    let answers = answers("noise", preset, parameters, settings).unwrap();
    let pixels: Vec<Tensor> = answers
        .into_iter()
        .map(|answer| if let Answer::Pixels(pixels) = answer { pixels } else { panic!("none") })
        .collect();
    Tensor::stack(&pixels, 0)
}

#[test]
fn an_exception_comes_back_as_an_error() {
    for (what, expected) in [
        (-1, "attack `thrower`: `what` is negative"),
        (0, "I would rather not"),
        (1, "attack `thrower` panicked: out of order"),
        (2, "attack `thrower` panicked: an exception that is no std::exception"),
        (
            3,
            "attack `thrower` panicked: The size of tensor a (6) must match the size of tensor b \
             (7) at non-singleton dimension 3",
        ),
    ] {
        let said = answers("thrower", None, &format!("what = {what}"), Settings::default());
        assert_eq!(said.unwrap_err(), expected);
    }
}

#[test]
fn a_seed_gives_the_same_uniform_numbers_in_both_languages() {
    let (cases, model) = (cases(), Affine::new(3, 6, 1));
    for seed in [0, 7] {
        let settings = Settings { seed, ..Settings::default() };
        let oracle = Oracle::new(&model, vec![4, 2], settings);
        let drawn = [0, 1].map(|case| oracle.uniform(case, &cases.image(case)));
        assert_eq!(images(None, "", seed), Tensor::stack(&drawn, 0));
        // The stream goes on, where C++ leaves its first number out.
        let [whole, later] = [&drawn[0], &images(None, "skip = 1", seed).get(0)]
            .map(|numbers| Vec::<f32>::try_from(numbers.flatten(0, -1)).unwrap());
        assert_eq!(whole[1..], later[..later.len() - 1]);
        assert!(whole.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = whole.iter().sum::<f32>() / whole.len() as f32;
        assert!((mean - 0.5).abs() < 0.1, "{mean}");
    }
}

#[test]
fn texts_choices_and_presets_are_parameters() {
    let registry = loaded();
    let entry = &registry.find_attack("noise").unwrap().entry;
    let resolve = |preset, text: &str| {
        let table = entry.parameters(preset, &parse(text).unwrap());
        table.map(|table| table.to_string()).map_err(|error| format!("{error:#}"))
    };
    let choices: Vec<_> = entry.descriptions.iter().map(|d| d.choices.clone()).collect();
    assert_eq!(choices[3], ["uniform", "constant"]);
    assert_eq!(choices[4], [""; 0]);
    assert_eq!(entry.defaults["note"].as_str(), Some("say \"no\""));
    for (text, expected) in [
        (
            "shape = 5",
            "parameters of `noise`: `shape`: expected one of `uniform`, `constant`, found 5",
        ),
        (
            "shape = \"unifrom\"",
            "parameters of `noise`: `shape`: expected one of `uniform`, `constant`, found \
             \"unifrom\", did you mean `uniform`?",
        ),
        ("note = 5", "parameters of `noise`: `note`: found integer, expected string"),
    ] {
        assert_eq!(resolve(None, text).unwrap_err(), expected);
    }
    let grey = resolve(Some("grey"), "").unwrap();
    assert!(grey.contains("shape = \"constant\"") && grey.contains("scale = 0.5"), "{grey}");
    assert_eq!(images(Some("grey"), "", 0), Tensor::full_like(&cases().pixels, 0.5));

    let report = Report::of_attack(
        registry.find_attack("noise").unwrap(),
        &entry.defaults.clone(),
        &mut |_| (),
    );
    let parameters: Vec<_> = report.checks.iter().take(2).map(|check| &check.outcome).collect();
    assert_eq!(parameters, [&CheckOutcome::Passed; 2], "{report}");
}

#[test]
fn a_text_arrives_whatever_is_in_it() {
    for note in [
        "",
        "say \"no\"",
        "back\\slash \\n and 'quotes'",
        "two\nlines\r\n\tand a tab",
        "scale = 3\nloud = false",
        "\u{1}\u{8}\u{c}\u{1b}\u{7f}",
        "ε = 8/255, naïve, 猫",
    ] {
        let table: toml::Table =
            [("note".to_owned(), note.into()), ("loud".to_owned(), true.into())]
                .into_iter()
                .collect();
        let said = answers("noise", None, &table.to_string(), Settings::default()).unwrap_err();
        let expected = if note.is_empty() { "no reason given" } else { note };
        assert_eq!(said, expected);
    }
}

#[test]
fn an_attack_says_what_it_costs() {
    let registry = loaded();
    let entry = registry.find_attack("noise").unwrap();
    let attack = |text: &str| {
        entry.make(&entry.entry.parameters(None, &parse(text).unwrap()).unwrap()).unwrap()
    };
    let cost = |forward| Some(Cost { forward, backward: 0.25 });
    assert_eq!(attack("scale = 0.25").cost(Goal::Away(1)), cost(3.0));
    assert_eq!(attack("scale = 0.25").cost(Goal::Towards(1)), cost(5.0));
    assert_eq!(attack("loud = true").cost(Goal::Away(1)), None);
    let silent = registry.find_attack("thrower").unwrap();
    assert_eq!(silent.make(&silent.entry.defaults).unwrap().cost(Goal::Away(1)), None);
}

#[test]
fn a_table_of_an_earlier_version_lacks_what_came_later() {
    let place = tempfile::tempdir().unwrap();
    let mut registry = Registry::empty();
    registry.load(&rogue(place.path(), &["FAULT=EARLIER"])).unwrap();
    let attack = registry.find_attack("rogue").unwrap().make(&toml::Table::new()).unwrap();
    assert_eq!(attack.cost(Goal::Away(0)), None);
    let model = Affine::new(3, 6, 1);
    let answers =
        attack.run(&Oracle::new(&model, vec![0; 2], Settings::default()), &cases()).unwrap();
    assert!(matches!(answers[..], [Answer::NotFound, Answer::NotFound]));
}

#[test]
fn a_model_takes_grey_images_that_are_not_square() {
    let registry = loaded();
    let entry = registry.find_model("bands_cpp").unwrap();
    let shape = entry.card(&entry.entry.defaults).unwrap().shape();
    assert_eq!((shape.channels, shape.height, shape.width), (1, 8, 12));
    Report::of_model(entry, &entry.entry.defaults, None, &mut |_| ()).passed().unwrap();
    let model = entry
        .load(&entry.entry.defaults, Weights::from_bytes(NO_WEIGHTS, Device::Cpu).unwrap())
        .unwrap();
    let pixels = Tensor::zeros([1, 1, 8, 12], (Kind::Float, Device::Cpu));
    let _ = pixels.narrow(3, 4, 4).fill_(1.0);
    let logits = Vec::<f32>::try_from(model.logits(&pixels).view([-1])).unwrap();
    assert_eq!(logits, [-2.0, 2.0, -2.0]);
}

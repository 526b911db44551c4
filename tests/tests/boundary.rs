//! The boundary of plugin libraries: a loaded library gives what the same source gives when it is
//! linked in, and a failure on one side does not bring down the other.

use anyhow::Result;
use gauntlet_core::attack::{Answer, Budget, Cases, Goal, Norm};
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings, Stop};
use gauntlet_core::params::parse;
use gauntlet_core::registry::Registry;
use gauntlet_core::testing::Affine;
use gauntlet_core::weights::{Misfit, Role, Source, Weights};
use gauntlet_sample::{Margin, Mean, Noisy, Patch};
use gauntlet_tests::libraries::{library, without_lines};
use gauntlet_unruly as _;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

fn loaded() -> Registry {
    let mut registry = Registry::empty();
    registry.load(&library("sample")).unwrap();
    registry.load(&library("unruly")).unwrap();
    registry
}

fn linked() -> Registry {
    let mut registry = Registry::empty();
    registry.model::<Patch>("gauntlet-sample 1.2.3").unwrap();
    registry.attack::<Noisy>("gauntlet-sample 1.2.3").unwrap();
    registry.metric::<Mean>("gauntlet-sample 1.2.3").unwrap();
    registry.metric::<Margin>("gauntlet-sample 1.2.3").unwrap();
    registry
}

/// A source of weights by a formula, under the names of the model's weights file.
struct Formula {
    classes: i64,
}

impl Source for Formula {
    fn tensor(&self, name: &str, _: &[i64], _: Role) -> Result<Tensor, Misfit> {
        match name {
            "patch/weights" => Ok((Tensor::arange(12 * self.classes, (Kind::Float, Device::Cpu))
                * 0.7)
                .sin()
                .view([12, self.classes])),
            "patch/biases" => Ok(Tensor::zeros([self.classes], (Kind::Half, Device::Cpu))),
            _ => Err(Misfit::Missing),
        }
    }

    fn names(&self) -> Vec<String> {
        ["patch/weights", "patch/biases", "training/step"].map(String::from).to_vec()
    }
}

fn patch(registry: &Registry, parameters: &str, classes: i64) -> Result<Box<dyn Model>> {
    let entry = registry.find_model("patch")?;
    entry.load(
        &entry.entry.parameters(None, &parse(parameters)?)?,
        Weights::new(Formula { classes }, Device::Cpu),
    )
}

fn pixels(count: i64) -> Tensor {
    ((Tensor::arange(count * 108, (Kind::Float, Device::Cpu)) * 0.7).sin() * 0.45 + 0.5)
        .view([count, 3, 6, 6])
}

fn cases(count: i64) -> Cases {
    let goals =
        (0..count).map(|n| if n % 2 == 0 { Goal::Away(n % 3) } else { Goal::Towards(n % 3) });
    Cases::new(pixels(count), goals.collect()).unwrap()
}

/// The error of the attack `unruly` when it misbehaves in the given way on a model.
fn refusal_on(model: &dyn Model, way: &str, settings: Settings) -> anyhow::Error {
    let registry = loaded();
    let entry = registry.find_attack("unruly").unwrap();
    let attack = entry
        .make(&entry.entry.parameters(None, &parse(&format!("way = \"{way}\"")).unwrap()).unwrap())
        .unwrap();
    let cases = cases(4);
    attack.run(&Oracle::new(model, vec![0; 4], settings), &cases).err().unwrap()
}

fn refusal(way: &str) -> String {
    format!("{:#}", refusal_on(&Affine::new(3, 6, 1), way, Settings::default()))
}

#[test]
fn a_library_describes_itself_as_the_linked_crate_does() {
    let (loaded, linked) = (loaded(), linked());
    let entries = |registry: &Registry| {
        let (attack, model) = (
            &registry.find_attack("noisy").unwrap().entry,
            &registry.find_model("patch").unwrap().entry,
        );
        let about = [attack, model].map(|entry| {
            (
                entry.name.clone(),
                entry.origin.clone(),
                entry.summary.clone(),
                entry.defaults.clone(),
                entry.descriptions.clone(),
                entry.presets.clone(),
            )
        });
        let metrics = ["mean_change", "goal_margin"].map(|name| {
            let metric = registry.find_metric(name).unwrap();
            (
                metric.entry.summary.clone(),
                metric.unit.clone(),
                metric.scope,
                metric.direction,
                metric.at_identity,
                metric.symmetric,
                metric.extras.clone(),
            )
        });
        let card =
            registry.find_model("patch").unwrap().card(&parse("classes = 5").unwrap()).unwrap();
        (about, metrics, card)
    };
    assert_eq!(entries(&loaded), entries(&linked));
    let library = loaded.find_attack("noisy").unwrap().entry.library.clone().unwrap();
    assert_eq!(
        (library.stamp.to_string().as_str(), library.hash.len()),
        ("gauntlet-sample 1.2.3", 64)
    );
    assert!(library.stamp.compiler.starts_with("rustc 1.") && !library.aborts());
    assert!(linked.find_attack("noisy").unwrap().entry.library.is_none());
}

#[test]
fn parameters_are_checked_by_the_plugin() {
    let (loaded, linked) = (loaded(), linked());
    for (preset, overrides) in [
        (None, "epsilon = 1"),
        (None, "note = \"a\\nb\""),
        (Some("gentle"), "shy = true"),
        (Some("gentel"), ""),
        (None, "epsilom = 0.2"),
        (None, "epsilon = \"much\""),
        (None, "lengths = \"all_alike\""),
        (None, "lengths = \"all-alike\""),
        (None, "lengths = 5"),
    ] {
        let resolve = |registry: &Registry| {
            let entry = &registry.find_attack("noisy").unwrap().entry;
            entry
                .parameters(preset, &parse(overrides).unwrap())
                .map(|table| table.to_string())
                .map_err(|error| format!("{error:#}"))
        };
        assert_eq!(resolve(&loaded), resolve(&linked), "{preset:?} {overrides}");
    }
    let make = |registry: &Registry| {
        format!(
            "{:#}",
            registry
                .find_attack("noisy")
                .unwrap()
                .make(&parse("epsilon = -1.0").unwrap())
                .err()
                .unwrap()
        )
    };
    assert_eq!(make(&loaded), "attack `noisy`: `epsilon` is -1, expected a positive number");
    assert_eq!(make(&loaded), make(&linked));
}

#[test]
fn attacks_models_and_metrics_give_the_same_bits_either_way() {
    let outcome = |registry: &Registry| {
        let model = patch(registry, "classes = 5", 5).unwrap();
        let entry = registry.find_attack("noisy").unwrap();
        let attack = entry
            .make(&entry.entry.parameters(None, &parse("shy = true").unwrap()).unwrap())
            .unwrap();
        assert_eq!(attack.budget(), Some(Budget { norm: Norm::Linf, radius: 0.1 }));
        let cases = cases(5);
        let oracle = Oracle::new(
            model.as_ref(),
            vec![3, 1, 4, 1, 5],
            Settings { seed: 7, ..Settings::default() },
        );
        let answers = attack.run(&oracle, &cases).unwrap();
        assert_eq!(
            oracle.passes().iter().map(|p| (p.forward, p.backward)).collect::<Vec<_>>(),
            [(1, 1); 5]
        );
        assert!(matches!(answers[0], Answer::NotFound));
        let images: Vec<Tensor> = answers
            .into_iter()
            .enumerate()
            .map(
                |(n, answer)| {
                    if let Answer::Pixels(pixels) = answer { pixels } else { cases.image(n) }
                },
            )
            .collect();
        let images = Tensor::stack(&images, 0);
        let metric =
            |name: &str| registry.find_metric(name).unwrap().make(&parse("").unwrap()).unwrap();
        let oracle = Oracle::new(model.as_ref(), vec![0; 5], Settings::default());
        let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
        (
            Vec::<f32>::try_from(images.view([-1]))
                .unwrap()
                .into_iter()
                .map(f32::to_bits)
                .collect::<Vec<_>>(),
            Vec::<f32>::try_from(tch::no_grad(|| model.logits(&images)).view([-1])).unwrap(),
            bits(metric("mean_change").outcome(&cases.pixels, &images).unwrap()),
            bits(metric("goal_margin").model(&oracle, &cases).unwrap()),
        )
    };
    let (loaded, linked) = (outcome(&loaded()), outcome(&linked()));
    assert!(
        loaded.2.iter().filter(|&&bits| bits != 0).count() == 4,
        "all images but the first have changed"
    );
    assert_eq!(loaded, linked);
}

#[test]
fn a_plugin_s_weights_are_read_strictly() {
    let (loaded, linked) = (loaded(), linked());
    let fault =
        |registry: &Registry| format!("{:#}", patch(registry, "classes = 4", 5).err().unwrap());
    let expected = "weights of model `patch`: 2 tensors do not fit the network:\n  \
                    misshapen   patch/biases: found [5], expected \
                    [4]\n  misshapen   patch/weights: found [12, 5], expected [12, 4]";
    assert_eq!(fault(&loaded), expected);
    assert_eq!(fault(&loaded), fault(&linked));
}

#[test]
fn an_error_a_panic_and_a_failure_of_libtorch_come_back_as_errors() {
    for (way, expected) in [
        ("error", "I would rather not"),
        ("panic", "attack `unruly` panicked at tests/plugins/unruly/src/lib.rs:_: out of order"),
        (
            "panic_without_words",
            "attack `unruly` panicked at tests/plugins/unruly/src/lib.rs:_: a value that is not text",
        ),
        (
            "speechless_error",
            "attack `unruly` panicked at tests/plugins/unruly/src/lib.rs:_: an error that cannot be \
             put into words",
        ),
        ("loss_panics", "the loss panicked at tests/plugins/unruly/src/lib.rs:_: no idea"),
        ("loss_misshapen", "a loss must have one value per row, found shape [4, 3]"),
        ("unknown_case", "a case number is beyond the 4 cases"),
        ("wrong_side", "model `affine` takes pixels [4, 3, 6, 6], found [4, 3, 2, 6]"),
        ("other_thread", "an oracle is asked from the thread that it was given to alone"),
        ("forgetful", "3 answers for 4 cases"),
    ] {
        assert_eq!(without_lines(&refusal(way)), expected, "{way}");
    }
    let torch = without_lines(&refusal("torch"));
    assert!(
        torch.starts_with("attack `unruly` panicked at ")
            && torch.contains("unruly/src/lib.rs:_: The size of tensor a (2) must match"),
        "{torch}"
    );
}

#[test]
fn invalid_images_come_through_for_the_engine_to_refuse() {
    let registry = loaded();
    let attack =
        registry.find_attack("unruly").unwrap().make(&parse("way = \"sloppy\"").unwrap()).unwrap();
    let (model, cases) = (Affine::new(3, 6, 1), cases(6));
    let answers =
        attack.run(&Oracle::new(&model, vec![0; 6], Settings::default()), &cases).unwrap();
    let pixels: Vec<Tensor> = answers
        .into_iter()
        .map(|answer| if let Answer::Pixels(p) = answer { p } else { panic!("none") })
        .collect();
    assert!(pixels[0].isnan().all().int64_value(&[]) == 1 && pixels[1].size() == [3, 5, 6]);
    assert!(
        pixels[3].kind() == Kind::Double && !pixels[4].defined() && pixels[5] == cases.image(5)
    );
}

#[test]
fn a_metric_that_miscounts_is_an_error() {
    let metric = loaded().find_metric("miscounted").unwrap().make(&parse("").unwrap()).unwrap();
    assert_eq!(
        metric.outcome(&pixels(3), &pixels(3)).unwrap_err().to_string(),
        "2 values, expected 3"
    );
}

fn fragile(parameters: &str) -> Result<Box<dyn Model>> {
    let registry = loaded();
    let entry = registry.find_model("fragile")?;
    entry.load_embedded(&entry.entry.parameters(None, &parse(parameters)?)?, Device::Cpu)
}

#[test]
fn a_model_that_has_panicked_is_given_no_more_work() {
    let model = fragile("calls = 0").unwrap();
    let error = refusal_on(model.as_ref(), "stubborn", Settings::default()).to_string();
    assert_eq!(
        without_lines(&error),
        "first: model `fragile` panicked at tests/plugins/unruly/src/lib.rs:_: worn out; second: model `fragile` has panicked before \
         and is given no more work"
    );
    assert!(model.needs_reload());
    let model = fragile("calls = 5").unwrap();
    assert!(
        refusal_on(model.as_ref(), "stubborn", Settings::default())
            .to_string()
            .starts_with("first: fine; second: fine")
    );
    assert!(!model.needs_reload());
}

#[test]
fn misshapen_logits_and_a_panic_in_load_are_errors() {
    let model = fragile("calls = 1\nmisshapen = true").unwrap();
    let error = refusal_on(model.as_ref(), "stubborn", Settings::default()).to_string();
    assert!(
        error.starts_with("first: model `fragile` gave logits [4, 4], expected [4, 3]; "),
        "{error}"
    );
    let error = format!("{:#}", fragile("stillborn = true").err().unwrap());
    assert_eq!(
        without_lines(&error),
        "model `fragile`: model `fragile` panicked at tests/plugins/unruly/src/lib.rs:_: cannot be \
         loaded"
    );
}

#[test]
fn the_clock_and_the_user_stop_a_plugin() {
    let model = Affine::new(3, 6, 1);
    let settings = Settings {
        deadline: Some(Instant::now() + Duration::from_millis(20)),
        ..Settings::default()
    };
    assert_eq!(refusal_on(&model, "endless", settings).downcast_ref(), Some(&Stop::OutOfTime));
    let settings = Settings::default();
    settings.cancel.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(refusal_on(&model, "endless", settings).downcast_ref(), Some(&Stop::Cancelled));
}

#[test]
fn a_file_is_opened_once_whatever_its_path_and_a_name_is_taken_once() {
    let mut registry = loaded();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.so");
    std::fs::copy(library("sample"), &copy).unwrap();
    let again = registry.load(&copy).unwrap();
    assert_eq!(
        (registry.libraries().len(), again.path.clone()),
        (2, library("sample").canonicalize().unwrap())
    );

    // The same plugin built again is another file.
    let mut bytes = std::fs::read(&copy).unwrap();
    bytes.push(0);
    std::fs::write(&copy, bytes).unwrap();
    let error = registry.load(&copy).unwrap_err().to_string();
    let place = |path: &std::path::Path| path.canonicalize().unwrap().display().to_string();
    assert_eq!(
        error,
        format!(
            "plugin `gauntlet-sample` is there twice: gauntlet-sample 1.2.3 ({}) and \
             gauntlet-sample 1.2.3 ({}); remove one",
            place(&library("sample")),
            place(&copy)
        )
    );

    let mut registry = linked();
    let error = registry.load(&library("sample")).unwrap_err().to_string();
    let library = place(&library("sample"));
    assert_eq!(
        error,
        format!(
            "model `patch` is registered twice: by gauntlet-sample 1.2.3 and by gauntlet-sample 1.2.3 \
             ({library}); remove or rename one"
        )
    );
    assert!(registry.libraries().is_empty());
}

//! Flags: each fault raises its own, and models and attacks without fault raise none.

use anyhow::Result;
use gauntlet_core::attack::{Budget, Norm};
use gauntlet_core::device::Device;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::params::NoParams;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_plugins::attacks::{Fgsm, Ifgsm};
use gauntlet_plugins::metrics::Linf;
use gauntlet_runner::analysis::flags::{Flag, Severity, Sign};
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::study;
use gauntlet_runner::summary::Summary;
use gauntlet_runner::{Session, Study};
use gauntlet_tests::toys::{self, Toy};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use tch::CModule;

/// The model `toy_8` with one fault.
struct Ailing {
    toy: Toy<8, 0>,
    card: ModelCard,
    fault: Fault,
    asked: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// None. Logits are ten times as large.
    Sure,
    /// Pixels are rounded to 32 levels.
    Quantises,
    /// The pixels are detached from the graph of gradients.
    Detaches,
    /// A square root at 0, where its slope is infinite.
    Roots,
    /// Logits so large that the softmax is exactly 1.
    Saturates,
    /// Noise in the logits.
    Drops,
    /// Noise that is no more than that of float32.
    Trembles,
    /// The mean of the batch is mixed into every image.
    Mixes,
    /// Ends in a softmax.
    Softmaxes,
    /// The gradient points the other way.
    Misleads,
}

impl Model for Ailing {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let asked = f64::from(self.asked.fetch_add(1, Ordering::Relaxed));
        let toy = |pixels: &Tensor| self.toy.logits(pixels);
        match self.fault {
            Fault::Sure => toy(pixels) * 10.0,
            Fault::Quantises => toy(&((pixels * 31.0).round() / 31.0)),
            Fault::Detaches => toy(&pixels.detach()),
            Fault::Roots => toy(&(pixels + (pixels * 0.0).sqrt())),
            Fault::Saturates => toy(pixels) * 1e6,
            Fault::Drops => toy(pixels) * (1.0 + 0.2 * (asked * 2.7).sin()),
            Fault::Trembles => toy(pixels) * (1.0 + 1e-6 * (asked % 2.0)),
            Fault::Mixes => {
                toy(&(pixels - pixels.mean_dim([0].as_slice(), true, Kind::Float) * 0.05))
            }
            Fault::Softmaxes => (toy(pixels) * 3.0).softmax(1, Kind::Float),
            Fault::Misleads => toy(&(pixels.detach() * 2.0 - pixels)),
        }
    }
}

/// Takes one step along the gradient's sign, but none where `epsilon` is above 0.06 or `gradients`
/// above 1.
struct Timid(TimidParams);

params! {
    /// Settings of [`Timid`].
    pub struct TimidParams {
        /// Length of the step, pixels in [0, 1].
        pub epsilon: f64 = 0.05,
        /// Number of gradients that it asks for.
        pub gradients: u32 = 1,
    }
}

impl Attack for Timid {
    const NAME: &'static str = "timid";
    const SUMMARY: &'static str = "for tests";
    type Params = TimidParams;

    fn new(params: TimidParams) -> Result<Self> {
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: Norm::Linf, radius: self.0.epsilon })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let all: Vec<usize> = (0..cases.len()).collect();
        let goals = Goals::new(&cases.goals, &cases.pixels);
        let mut slope = cases.pixels.zeros_like();
        for _ in 0..self.0.gradients {
            slope = oracle.gradient(&all, &cases.pixels, |z| goals.margin(z))?.pixels;
        }
        let far = if self.0.epsilon > 0.06 || self.0.gradients > 1 { 0.0 } else { self.0.epsilon };
        let moved = (&cases.pixels - slope.sign() * far).clamp(0.0, 1.0);
        Ok(all.iter().map(|&n| Answer::Pixels(moved.get(n as i64))).collect())
    }
}

/// A score that puts the nearest adversarial of every image far away.
struct Boaster;

impl Metric for Boaster {
    const NAME: &'static str = "clever_linf";
    const SUMMARY: &'static str = "for tests";
    const UNIT: &'static str = "pixel range";
    const SCOPE: Scope = Scope::Model;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    const EXTRAS: &'static [&'static str] = &["low"];
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn model(&self, _: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        Ok((0..cases.len()).flat_map(|_| [0.9, 0.8]).collect())
    }
}

fn registry() -> Registry {
    let mut registry = toys::registry().unwrap();
    for fault in [
        Fault::Sure,
        Fault::Quantises,
        Fault::Detaches,
        Fault::Roots,
        Fault::Saturates,
        Fault::Drops,
        Fault::Trembles,
        Fault::Mixes,
        Fault::Softmaxes,
        Fault::Misleads,
    ] {
        let toy = || Toy::<8, 0>::new(5);
        let card = ModelCard { name: format!("{fault:?}").to_lowercase(), ..toy().card().clone() };
        let make = {
            let card = card.clone();
            move |_| -> Result<Box<dyn Model>> {
                Ok(Box::new(Ailing {
                    toy: toy(),
                    card: card.clone(),
                    fault,
                    asked: AtomicU32::new(0),
                }))
            }
        };
        registry.model_with(card, toys::ORIGIN, make).unwrap();
    }
    registry.attack::<Fgsm>(toys::ORIGIN).unwrap();
    registry.attack::<Ifgsm>(toys::ORIGIN).unwrap();
    registry.attack::<Timid>(toys::ORIGIN).unwrap();
    registry.metric::<Linf>(toys::ORIGIN).unwrap();
    registry.metric::<Boaster>(toys::ORIGIN).unwrap();
    registry
}

const GOOD_ATTACKS: &str = r#"
[[attacks]]
name = "fgsm"
params = { epsilon = 0.05 }
goals = ["untargeted", "random"]
[[attacks]]
name = "fgsm"
label = "fgsm_more"
params = { epsilon = 0.1 }
goals = ["untargeted", "random"]
[[attacks]]
name = "ifgsm"
preset = "fixed"
params = { epsilon = 0.05 }
goals = ["untargeted", "random"]
[[attacks]]
name = "ifgsm"
label = "search"
goals = ["untargeted", "random"]
"#;

fn study(models: &[&str], rest: &str) -> String {
    let models: Vec<String> =
        models.iter().map(|name| format!("{{ name = \"{name}\" }}")).collect();
    format!(
        "name = \"flags\"\nseed = 1\nmetrics = [\"linf\"]\nmodels = [{}]\n{rest}",
        models.join(", ")
    )
}

fn run(text: &str, images: usize, out: &Path) -> Summary {
    let registry = registry();
    let options = study::StudyOptions {
        pictures: Some(toys::pictures(images)),
        ..study::StudyOptions::default()
    };
    let study = Study::parse(text, "flags.toml", Path::new("."), &registry, options).unwrap();
    let session = Session::open(
        &study,
        &registry,
        out,
        RunOptions { workers: 1, ..RunOptions::on(Device::Cpu) },
        &Silent,
    )
    .unwrap();
    session.run().unwrap();
    session.report().unwrap();
    Summary::open(out).unwrap()
}

/// The flags of a study, and for each kind of flag how many models or comparisons were looked at.
fn flags(text: &str) -> (Vec<Flag>, impl Fn(Sign) -> usize + use<>) {
    let out = tempfile::tempdir().unwrap();
    let findings = run(text, 40, out.path()).findings;
    let checks = findings.checks;
    (findings.flags, move |sign| checks.iter().find(|check| check.flag == sign).unwrap().looked_at)
}

fn raised(flags: &[Flag], sign: Sign) -> Vec<&Flag> {
    flags.iter().filter(|flag| flag.flag == sign).collect()
}

#[test]
fn models_and_attacks_without_fault_raise_no_flag() {
    let (flags, looked_at) = flags(&study(
        &["toy_8", "sure", "toy_12"],
        &format!("{GOOD_ATTACKS}[transfer]\npolicy = \"resize\"\n"),
    ));
    assert_eq!(flags, []);
    for sign in [
        Sign::ZeroGradients,
        Sign::NanGradients,
        Sign::SaturatedCrossEntropy,
        Sign::NondeterministicLogits,
    ] {
        assert_eq!(looked_at(sign), 3, "{sign:?}");
    }
    assert_eq!(
        (looked_at(Sign::AnswerDependsOnBatch), looked_at(Sign::ProbabilitiesNotLogits)),
        (3, 3)
    );
    assert_eq!(
        looked_at(Sign::RandomBeatsGradient),
        3 * 3,
        "attacks with a bound, away from a class"
    );
    assert_eq!(looked_at(Sign::TransferBeatsWhiteBox), 2 * 4 * 2, "the models of one side");
    assert_eq!(looked_at(Sign::IteratedWeakerThanSingleStep), 3 * 2);
    assert_eq!(looked_at(Sign::SuccessFallsWithEpsilon), 3 * 2);
    assert_eq!(looked_at(Sign::UnboundedAttackFails), 3 * 2);
    assert_eq!(looked_at(Sign::BelowClever), 0, "there is no CLEVER");
}

#[test]
fn every_fault_of_a_model_raises_its_flag() {
    for (model, expected) in [
        ("quantises", vec![(Sign::ZeroGradients, Severity::Error)]),
        ("detaches", vec![(Sign::ZeroGradients, Severity::Error)]),
        ("roots", vec![(Sign::NanGradients, Severity::Error)]),
        ("saturates", vec![(Sign::SaturatedCrossEntropy, Severity::Warning)]),
        ("drops", vec![(Sign::NondeterministicLogits, Severity::Error)]),
        ("trembles", vec![(Sign::NondeterministicLogits, Severity::Note)]),
        ("mixes", vec![(Sign::AnswerDependsOnBatch, Severity::Error)]),
        ("softmaxes", vec![(Sign::ProbabilitiesNotLogits, Severity::Warning)]),
        ("misleads", vec![]),
    ] {
        let (flags, _) = flags(&study(&[model], "attacks = []\n"));
        let found: Vec<(Sign, Severity)> =
            flags.iter().map(|flag| (flag.flag, flag.severity)).collect();
        assert_eq!(found, expected, "{model}: {flags:?}");
        assert!(flags.iter().all(|flag| flag.model.as_deref() == Some(model)
            && flag.attack.is_none()
            && flag.found.k > 0
            && !flag.remedy.is_empty()));
    }
}

#[test]
fn an_attack_that_the_gradient_misleads_is_beaten_by_chance_and_by_other_models() {
    let bounded = "[[attacks]]\nname = \"fgsm\"\nparams = { epsilon = 0.15 }\n[transfer]\npolicy \
                   = \"resize\"\n";
    let (flags, _) = flags(&study(&["misleads", "toy_8"], bounded));
    let signs: Vec<Sign> = flags.iter().map(|flag| flag.flag).collect();
    assert_eq!(signs, [Sign::RandomBeatsGradient, Sign::TransferBeatsWhiteBox], "{flags:?}");
    for flag in &flags {
        assert_eq!(
            (flag.model.as_deref(), flag.attack.as_deref(), flag.severity),
            (Some("misleads"), Some("fgsm"), Severity::Error)
        );
        assert!(flag.compared.unwrap().k > flag.found.k && flag.p.unwrap() < 0.01, "{flag:?}");
    }
    assert_eq!(flags[1].against.as_deref(), Some("toy_8"));
}

#[test]
fn attacks_that_are_weaker_than_they_should_be_are_flagged() {
    let attack = |label: &str, epsilon: f64, gradients: u32| {
        format!(
            "[[attacks]]\nname = \"timid\"\nlabel = \"{label}\"\nparams = \
             {{ epsilon = {epsilon}, gradients = {gradients} }}\n"
        )
    };
    let attacks =
        [attack("one", 0.05, 1), attack("large", 0.5, 1), attack("many", 0.05, 3)].concat();
    let (flags, looked_at) =
        flags(&study(&["toy_8"], &format!("{attacks}[[attacks]]\nname = \"liar\"\n")));
    let weak = raised(&flags, Sign::IteratedWeakerThanSingleStep);
    assert_eq!(
        weak.iter()
            .map(|flag| (flag.attack.as_deref(), flag.against.as_deref()))
            .collect::<Vec<_>>(),
        [(Some("many"), Some("one"))]
    );
    let falls = raised(&flags, Sign::SuccessFallsWithEpsilon);
    assert_eq!(
        falls
            .iter()
            .map(|flag| (flag.attack.as_deref(), flag.against.as_deref()))
            .collect::<Vec<_>>(),
        [(Some("large"), Some("one"))]
    );
    assert_eq!(falls[0].severity, Severity::Note, "a single step only earns a note");
    let fails = raised(&flags, Sign::UnboundedAttackFails);
    assert_eq!(
        (fails.len(), fails[0].attack.as_deref(), fails[0].severity),
        (1, Some("liar"), Severity::Warning)
    );
    assert_eq!(looked_at(Sign::UnboundedAttackFails), 1, "the others have a bound");
}

#[test]
fn adversarials_nearer_than_clever_says_are_counted() {
    let text = study(&["toy_8"], GOOD_ATTACKS).replace("[\"linf\"]", "[\"linf\", \"clever_linf\"]");
    let (flags, looked_at) = flags(&text);
    assert_eq!(looked_at(Sign::BelowClever), 4, "an untargeted score goes with untargeted attacks");
    let below = raised(&flags, Sign::BelowClever);
    assert!(!below.is_empty() && below.len() == flags.len(), "{flags:?}");
    let search = below.iter().find(|flag| flag.attack.as_deref() == Some("search")).unwrap();
    assert_eq!(
        (search.found.k, search.against.as_deref(), search.goal),
        (search.found.n, Some("clever_linf"), Some(study::GoalKind::Untargeted))
    );
}

#[test]
fn few_images_and_no_image_to_attack_raise_nothing() {
    let misled = study(
        &["misleads", "toy_8"],
        "[[attacks]]\nname = \"fgsm\"\nparams = { epsilon = 0.15 }\n[[attacks]]\nname = \"liar\"\n",
    );
    let out = tempfile::tempdir().unwrap();
    let findings = run(&misled, 1, out.path()).findings;
    assert_eq!(findings.flags, [], "one image may be chance");
    // With wrong labels the model classifies no image correctly.
    let registry = registry();
    let mut pictures = toys::pictures(8);
    for picture in &mut pictures {
        picture.label = (picture.label + 1) % 4;
    }
    let options =
        study::StudyOptions { pictures: Some(pictures), ..study::StudyOptions::default() };
    let study = Study::parse(&misled, "flags.toml", Path::new("."), &registry, options).unwrap();
    let session =
        Session::open(&study, &registry, out.path(), RunOptions::on(Device::Cpu), &Silent).unwrap();
    assert!(session.run().unwrap().failures.is_empty());
    let tables = session.report().unwrap();
    assert!(tables.success.iter().all(|row| row.source_correct <= 1), "{:?}", tables.success);
    assert_eq!(tables.findings.flags, []);
}

#[test]
fn without_a_probe_there_are_no_cells_of_it_and_what_needs_it_is_not_looked_for() {
    let with = study(&["quantises"], "attacks = []\n");
    let without = with.clone() + "[probe]\nimages = 0\n";
    let parse = |text: &str| {
        let options = study::StudyOptions {
            pictures: Some(toys::pictures(100)),
            ..study::StudyOptions::default()
        };
        Study::parse(text, "flags.toml", Path::new("."), &registry(), options).unwrap()
    };
    let cells =
        |text: &str| gauntlet_runner::engine::plan::Plan::new(&parse(text), "cpu").cells.len();
    assert_eq!(
        [cells(&with), cells(&without), cells(&(with.clone() + "[probe]\nimages = 65\n"))],
        [4 + 2, 4, 4 + 3]
    );
    let keys = |text: &str| {
        let plan = gauntlet_runner::engine::plan::Plan::new(&parse(text), "cpu");
        plan.probes[0].iter().map(|&id| plan.cells[id].address.key.clone()).collect::<Vec<_>>()
    };
    let attacked = |attack: &str| {
        with.replace("attacks = []", &format!("attacks = [{{ name = \"{attack}\" }}]"))
    };
    assert_eq!(
        keys(&attacked("step")),
        keys(&with),
        "random changes are as large as the bounds of attacks, and `step` has none"
    );
    assert_ne!(keys(&attacked("timid")), keys(&with));
    assert!(parse(&without).to_toml().contains("[probe]\nimages = 0\n"));
    let (flags, looked_at) = flags(&without);
    assert_eq!((flags.len(), looked_at(Sign::ZeroGradients)), (0, 0));
}

#[test]
fn probes_that_are_lost_come_back_the_same() {
    let out = tempfile::tempdir().unwrap();
    let text = study(
        &["misleads", "quantises", "toy_8"],
        "[[attacks]]\nname = \"fgsm\"\n[transfer]\npolicy = \"resize\"\n",
    );
    run(&text, 40, out.path());
    let files = || ["study.json", "flags.csv"].map(|name| fs::read(out.path().join(name)).unwrap());
    let before = files();
    assert!(
        String::from_utf8_lossy(&before[1]).contains("\nzero_gradients,error,quantises,,,"),
        "{}",
        String::from_utf8_lossy(&before[1])
    );
    let probes: Vec<_> = fs::read_dir(out.path().join("cells/probe"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(probes.len(), 3 * 2);
    fs::remove_file(&probes[0]).unwrap();
    fs::write(&probes[1], "damaged").unwrap();
    run(&text, 40, out.path());
    assert_eq!(files(), before);
}

#[test]
fn a_torchscript_module_is_probed_like_any_model() {
    let place = tempfile::tempdir().unwrap();
    let toy = Toy::<8, 0>::new(5);
    let mut rounded = |inputs: &[Tensor]| {
        vec![toy.logits(&((&inputs[0] * 31.0).round() / 31.0)).softmax(1, Kind::Float)]
    };
    let example = Tensor::rand([2, 3, 8, 8], (Kind::Float, Device::Cpu));
    let file = place.path().join("rounded.pt");
    CModule::create_by_tracing("rounded", "forward", &[example], &mut rounded)
        .unwrap()
        .save(&file)
        .unwrap();
    let text = format!(
        "name = \"flags\"\nmetrics = []\nattacks = []\n[[models]]\nkind = \"torchscript\"\nname \
         = \"mine\"\nfile = \"{}\"\nside = 8\nclasses = 4\n",
        file.display()
    );
    let signs: Vec<Sign> = flags(&text).0.iter().map(|flag| flag.flag).collect();
    assert_eq!(signs, [Sign::ZeroGradients, Sign::ProbabilitiesNotLogits]);
}

#[test]
fn every_flag_is_documented() {
    let docs = include_str!("../../docs/flags.md");
    for sign in Sign::ALL {
        assert!(
            docs.contains(&format!("`{}`", sign.name())),
            "docs/flags.md does not say what `{}` is",
            sign.name()
        );
        assert_eq!(serde_json::to_value(sign).unwrap(), sign.name());
    }
}

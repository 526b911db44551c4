//! Models that answer at random: attacked in expectation, judged over fresh draws.

use gauntlet_core::device::Device;
use gauntlet_core::model::ModelCard;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_runner::analysis::Tables;
use gauntlet_runner::analysis::flags::Sign;
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::report::outcomes::{self, Outcome};
use gauntlet_runner::store::rows::Status;
use gauntlet_runner::study::StudyOptions;
use gauntlet_runner::{Session, Study};
use gauntlet_tests::toys::{self, Toy};
use std::fs;
use std::path::Path;
use tch::CModule;

const SIDE: i64 = 10;
/// Deviation of the noise.
const NOISE: f64 = 0.8;

/// A toy whose pixels have noise of libtorch's generator.
struct Noisy {
    toy: Toy<SIDE, 0>,
    card: ModelCard,
}

impl Model for Noisy {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        self.toy.logits(&(pixels + pixels.randn_like() * NOISE))
    }
}

fn registry() -> Registry {
    let mut registry = toys::registry().unwrap();
    registry.attack::<Step>(toys::ORIGIN).unwrap();
    let card = ModelCard { name: "noisy".into(), ..Toy::<SIDE, 0>::new(5).card().clone() };
    let make = card.clone();
    registry
        .model_with(card, toys::ORIGIN, move |_| {
            Ok(Box::new(Noisy { toy: Toy::new(5), card: make.clone() }))
        })
        .unwrap();
    registry
}

fn parse(models: &str, registry: &Registry) -> Result<Study> {
    let few = if models.contains("samples") { "samples = 2" } else { "" };
    let text = format!(
        "name = \"random\"\nmetrics = [\"largest\"]\nprobe = {{ images = 32 }}\n\
         transfer = {{ policy = \"crop_or_pad\" }}\n{models}\n\
         [[attacks]]\nname = \"nudge\"\n\
         [[attacks]]\nname = \"gradient\"\n\
         [[attacks]]\nname = \"gradient\"\nlabel = \"few\"\n{few}\n"
    );
    let options = StudyOptions { pictures: Some(toys::pictures(48)), ..StudyOptions::default() };
    Study::parse(&text, "random.toml", Path::new("."), registry, options)
}

const NOISY: &str = "[[models]]\nname = \"noisy\"\nsamples = 8\njudge_samples = 24\n";
const BOTH: &str = "[[models]]\nname = \"noisy\"\nsamples = 8\njudge_samples = 24\n\
                    [[models]]\nname = \"toy_8\"\n";

fn run(models: &str, workers: usize) -> (Tables, Vec<Outcome>, Vec<u8>) {
    let registry = registry();
    let study = parse(models, &registry).unwrap();
    let out = tempfile::tempdir().unwrap();
    let options = RunOptions { workers, ..RunOptions::on(Device::Cpu) };
    let session = Session::open(&study, &registry, out.path(), options, &Silent).unwrap();
    let failures = session.run().unwrap().failures;
    assert!(failures.is_empty(), "{failures:?}");
    let tables = session.report().unwrap();
    let mut all = Vec::new();
    outcomes::read(out.path(), |_, outcome| {
        all.push(outcome);
        Ok(())
    })
    .unwrap();
    (tables, all, fs::read(out.path().join("outcomes.parquet")).unwrap())
}

/// One step of 0.05 along the sign of the margin's gradient.
struct Step;

impl Attack for Step {
    const NAME: &'static str = "gradient";
    const SUMMARY: &'static str = "for tests";
    type Params = gauntlet_core::params::NoParams;

    fn new(_: Self::Params) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for batch in cases.batches(oracle.lanes()) {
            let slope =
                oracle.gradient(&batch.cases, &batch.pixels, |z| batch.goals.margin(z))?.pixels;
            answers.extend(Answer::rows(&(&batch.pixels - slope.sign() * 0.05).clamp(0.0, 1.0)));
        }
        Ok(answers)
    }
}

#[test]
fn draws_are_counted_seeded_and_judged_afresh() {
    let (tables, outcomes, bytes) = run(BOTH, 1);
    let attacked = |attack: &str, source: &str, target: &str| {
        let of = |row: &gauntlet_runner::report::outcomes::OutcomeRow| {
            (row.attack == attack && row.source == source && row.target == target)
                && row.status.attempted()
        };
        outcomes.iter().map(|outcome| &outcome.row).filter(|row| of(row)).collect::<Vec<_>>()
    };
    for (attack, draws) in [("gradient", 8), ("few", 2)] {
        let own = attacked(attack, "noisy", "noisy");
        assert!(own.len() > 20, "{}", own.len());
        for row in &own {
            assert_eq!((row.forward, row.backward), (draws, draws));
            let rate = row.success_rate.expect("each answer has its rate");
            // 24 draws were asked.
            assert!((rate * 24.0 - (rate * 24.0).round()).abs() < 1e-9 && rate <= 1.0, "{rate}");
            assert_eq!(row.success, row.status == Status::Adversarial);
        }
        let rates: Vec<f64> = own.iter().filter_map(|row| row.success_rate).collect();
        assert!(rates.iter().any(|rate| *rate > 0.0 && *rate < 1.0), "some answers waver");
        let high = own.iter().filter(|row| row.success_rate > Some(0.8));
        assert!(high.clone().count() > 3 && high.into_iter().all(|row| row.success));
        let low = own.iter().filter(|row| row.success_rate < Some(0.2));
        assert!(low.into_iter().all(|row| !row.success));
    }
    // Of a target that answers at random, the rate stands in the transfer's rows; elsewhere none.
    let given = attacked("gradient", "toy_8", "noisy");
    assert!(!given.is_empty() && given.iter().all(|row| row.success_rate.is_some()));
    assert!(attacked("gradient", "toy_8", "toy_8").iter().all(|row| row.success_rate.is_none()));
    // Draws depend neither on threads nor on what ran before.
    assert_eq!(run(BOTH, 2).2, bytes);
    let flags = &tables.findings.flags;
    assert!(!flags.iter().any(|flag| flag.flag == Sign::NondeterministicLogits), "{flags:?}");
    let alone = run(NOISY, 1).1;
    let rates = |all: &[Outcome]| {
        let own = all.iter().map(|outcome| &outcome.row);
        let own = own.filter(|row| row.source == "noisy" && row.target == "noisy");
        own.map(|row| (row.image.clone(), row.attack.clone(), row.success_rate)).collect::<Vec<_>>()
    };
    assert_eq!(rates(&alone), rates(&outcomes));
}

#[test]
fn without_the_setting_a_plugin_s_model_is_flagged_and_a_module_refused() {
    let (tables, outcomes, _) = run("[[models]]\nname = \"noisy\"\n", 1);
    assert!(outcomes.iter().any(|outcome| matches!(outcome.row.status, Status::Invalid(_))));
    let flag = tables.findings.flags.iter().find(|flag| flag.flag == Sign::NondeterministicLogits);
    assert!(flag.unwrap().remedy.contains("`samples = 16`"), "{flag:?}");

    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::<SIDE, 0>::new(5);
    let traced = CModule::create_by_tracing(
        "noisy",
        "forward",
        &[Tensor::zeros([1, 3, SIDE, SIDE], tch::kind::FLOAT_CPU)],
        &mut |inputs: &[Tensor]| vec![toy.logits(&(&inputs[0] + inputs[0].randn_like() * NOISE))],
    );
    let file = folder.path().join("noisy.pt");
    traced.unwrap().save(&file).unwrap();
    let module = |samples: &str| {
        let registry = registry();
        let models = format!(
            "[[models]]\nkind = \"torchscript\"\nname = \"mine\"\nfile = {file:?}\nside = {SIDE}\n\
             classes = 4\n{samples}"
        );
        let study = parse(&models, &registry).unwrap();
        study.models[0].load(&registry, Device::Cpu).map(drop)
    };
    let error = format!("{:#}", module("").unwrap_err());
    assert!(
        error.ends_with(
            "it gives an image other logits each time: call `model.eval()` before it is traced or \
             scripted; where it answers at random on purpose (a randomised defence), `samples = \
             16` beside its name in the study attacks its expectation"
        ),
        "{error}"
    );
    module("samples = 4").unwrap();
}

#[test]
fn numbers_of_draws_that_cannot_be_are_refused_at_their_key() {
    let registry = registry();
    for (models, expected) in [
        ("[[models]]\nname = \"noisy\"\nsamples = 0\n", "`samples` is 0, expected the number of"),
        (
            "[[models]]\nname = \"noisy\"\nsamples = 2\njudge_samples = 1000000\n",
            "`judge_samples` is 1000000, expected the number of draws of an answer, 1 to 100000",
        ),
        (
            "[[models]]\nname = \"noisy\"\njudge_samples = 4\n",
            "`judge_samples` goes with `samples`, of a model that answers at random",
        ),
    ] {
        let error = format!("{:#}", parse(models, &registry).err().unwrap());
        assert!(error.contains(expected), "{error}");
    }
    // Draws of an attack alone are about nothing; `--set` gives them to a model.
    let text = "name = \"x\"\nmodels = [{ name = \"noisy\" }]\n\
                attacks = [{ name = \"nudge\", samples = 2 }]\n";
    let open = |set: &[&str]| {
        let set = set.iter().map(|&set| set.to_owned()).collect();
        let pictures = Some(toys::pictures(4));
        let options = StudyOptions { pictures, set, ..StudyOptions::default() };
        Study::parse(text, "x.toml", Path::new("."), &registry, options)
    };
    let error = format!("{:#}", open(&[]).err().unwrap());
    assert!(error.contains("attack `nudge` has `samples`, which are about models that"), "{error}");
    let set = open(&["models.noisy.samples=3"]).unwrap();
    assert_eq!(set.models[0].samples.map(|samples| samples.attack), Some(3));
    let study = parse(NOISY, &registry).unwrap();
    let resolved = study.to_toml();
    assert!(resolved.contains("samples = 8\n") && resolved.contains("judge_samples = 24\n"));
}

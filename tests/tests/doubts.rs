//! Studies whose numbers mean little say so: wrong labels and weights, bounds in the wrong unit,
//! outputs that are no logits, answers that are no images, scores that are no numbers.

use anyhow::Result;
use gauntlet_core::device::Device;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::params::NoParams;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_plugins::attacks::{CwL2, Fgsm};
use gauntlet_runner::analysis::flags::{Flag, Severity, Sign, of_inputs};
use gauntlet_runner::data::Picture;
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::report::outcomes;
use gauntlet_runner::summary::Summary;
use gauntlet_runner::{Session, Study, study};
use gauntlet_tests::processes::ended;
use gauntlet_tests::toys::{self, Toy};
use std::fs;
use std::path::Path;
use std::process::Command;
use tch::CModule;

/// The model `toy_8` with a sigmoid at its end.
struct Sigmoid(ModelCard);

impl Model for Sigmoid {
    fn card(&self) -> &ModelCard {
        &self.0
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        Toy::<8, 0>::new(5).logits(pixels).sigmoid()
    }
}

/// The greatest change, and with it the least, which is NaN for the first image.
struct Ends;

impl Metric for Ends {
    const NAME: &'static str = "ends";
    const SUMMARY: &'static str = "for tests";
    const UNIT: &'static str = "pixel range";
    const SCOPE: Scope = Scope::Outcome;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    const EXTRAS: &'static [&'static str] = &["least"];
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        let change = (original - adversarial).abs().flatten(1, -1).to_kind(Kind::Double);
        let greatest = Vec::<f64>::try_from(change.amax([1], false))?;
        let least = Vec::<f64>::try_from(change.amin([1], false))?;
        let least = |n: usize| if n == 0 { f64::NAN } else { least[n] };
        Ok(greatest.iter().enumerate().flat_map(|(n, most)| [*most, least(n)]).collect())
    }
}

/// A score of 1 for the first image and 3 for the others; its limits are 2 away, but the second
/// image has none and the third has no score.
struct Holey;

impl Metric for Holey {
    const NAME: &'static str = "holey";
    const SUMMARY: &'static str = "for tests";
    const UNIT: &'static str = "";
    const SCOPE: Scope = Scope::Model;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    const EXTRAS: &'static [&'static str] = &["low", "high"];
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn model(&self, _: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        let value = |n: usize| match n {
            0 => [1.0, -1.0, 3.0],
            1 => [100.0, f64::NAN, f64::NAN],
            2 => [f64::INFINITY, 1.0, 5.0],
            _ => [3.0, 1.0, 5.0],
        };
        Ok((0..cases.len()).flat_map(value).collect())
    }
}

fn registry() -> Registry {
    let mut registry = toys::registry().unwrap();
    let card = ModelCard { name: "sigmoid".into(), ..Model::card(&Toy::<8, 0>::new(5)).clone() };
    let make = {
        let card = card.clone();
        move |_| -> Result<Box<dyn Model>> { Ok(Box::new(Sigmoid(card.clone()))) }
    };
    registry.model_with(card, toys::ORIGIN, make).unwrap();
    registry.attack::<Fgsm>(toys::ORIGIN).unwrap();
    registry.attack::<CwL2>(toys::ORIGIN).unwrap();
    registry.metric::<Ends>(toys::ORIGIN).unwrap();
    registry.metric::<Holey>(toys::ORIGIN).unwrap();
    registry
}

fn parse(text: &str, pictures: Vec<Picture>, registry: &Registry) -> Study {
    let options =
        study::StudyOptions { pictures: Some(pictures), ..study::StudyOptions::default() };
    let text = format!("name = \"doubts\"\nseed = 1\n{text}");
    Study::parse(&text, "doubts.toml", Path::new("."), registry, options).unwrap()
}

fn run(text: &str, pictures: Vec<Picture>, out: &Path) -> Summary {
    let registry = registry();
    let study = parse(text, pictures, &registry);
    let session =
        Session::open(&study, &registry, out, RunOptions::on(Device::Cpu), &Silent).unwrap();
    assert!(session.run().unwrap().failures.is_empty());
    session.report().unwrap();
    Summary::open(out).unwrap()
}

/// The raised flags of a study.
fn flags(text: &str, pictures: Vec<Picture>) -> Vec<Flag> {
    run(text, pictures, tempfile::tempdir().unwrap().path()).findings.flags
}

fn only(flags: Vec<Flag>, sign: Sign) -> Flag {
    assert_eq!(flags.iter().map(|flag| flag.flag).collect::<Vec<_>>(), [sign], "{flags:?}");
    flags.into_iter().next().unwrap()
}

const TOY: &str = "metrics = []\nattacks = []\nmodels = [{ name = \"toy_8\" }]\n";

/// 40 pictures with other labels; those without one are left out.
fn relabelled(label: impl Fn(usize, i64) -> Option<i64>) -> Vec<Picture> {
    let pictures = toys::pictures(40).into_iter().enumerate();
    pictures
        .filter_map(|(n, mut picture)| {
            picture.label = label(n, picture.label)?;
            Some(picture)
        })
        .collect()
}

#[test]
fn labels_in_another_order_are_told_with_the_order() {
    let up = relabelled(|_, label| (label < 3).then_some(label + 1));
    let flag = only(flags(TOY, up), Sign::AccuracyNotAboveChance);
    assert_eq!((flag.severity, flag.model.as_deref()), (Severity::Error, Some("toy_8")));
    assert!(flag.reading.contains("; the answer is the label − 1 on 30 of 30"), "{}", flag.reading);
    assert!(flag.remedy.contains("`first_label = 1`"), "{}", flag.remedy);

    let reversed = relabelled(|_, label| Some(3 - label));
    let flag = only(flags(TOY, reversed), Sign::AccuracyNotAboveChance);
    let expected = "; the answer is the label counted from the last class on 3";
    assert!(flag.reading.contains(expected), "{}", flag.reading);
    assert!(flag.remedy.contains("`classes` in [data]"), "{}", flag.remedy);

    let mixed = relabelled(|_, label| Some([2, 0, 3, 1][label as usize]));
    let flag = only(flags(TOY, mixed), Sign::AccuracyNotAboveChance);
    let expected = "; the answer follows from the label by another order (0 → 1, ";
    assert!(flag.reading.contains(expected), "{}", flag.reading);

    // Of no image that is right nothing can be attacked, however few there are.
    let mut few = relabelled(|_, label| (label < 3).then_some(label + 1));
    few.truncate(3);
    let flag = only(flags(TOY, few), Sign::AccuracyNotAboveChance);
    assert!(flag.reading.starts_with("0 of 3 images are right"), "{}", flag.reading);

    // Labels that have nothing to do with the pictures follow no order.
    let unrelated = relabelled(|n, _| Some((n / 4 % 4) as i64));
    let flag = only(flags(TOY, unrelated), Sign::AccuracyNotAboveChance);
    assert!(flag.reading.ends_with("not above chance (1 in 4)"), "{}", flag.reading);
}

#[test]
fn pictures_weights_and_bounds_that_cannot_be_meant_are_told_before_and_after_the_run() {
    let mut pictures = toys::pictures(12);
    let again = |n: usize, label: i64| {
        let mut picture = pictures[n].clone();
        (picture.name, picture.label) = (format!("again-{n}"), label);
        picture
    };
    let more = [again(3, pictures[3].label), again(4, 3)];
    pictures.extend(more);
    let text = "metrics = []\nmodels = [{ name = \"toy_8\" }, { name = \"toy_8\", label = \
                \"twin\" }, { name = \"toy_8\", label = \"other\", params = { seed = 6 } }]\n\
                attacks = [{ name = \"fgsm\", params = { epsilon = 8 } }]\n";
    let registry = registry();
    let before = of_inputs(&parse(text, pictures.clone(), &registry));
    let told: Vec<(Sign, String)> = before
        .iter()
        .map(|flag| (flag.flag, format!("{}: {}", flag.place(), flag.reading)))
        .collect();
    let expected = [
        (
            Sign::EqualImages,
            "the images: 1 of 14 images repeat an earlier one: `again-3` is `picture-03`",
        ),
        (
            Sign::ContradictoryLabels,
            "the images: 1 of 14 images repeat an earlier one under another label: `picture-04` has \
             the label 0, `again-4` the label 3",
        ),
        (
            Sign::BoundBeyondPixels,
            "fgsm: the bound is 8 in ℓ∞, but pixels are in [0, 1]: no two images are more than 1 \
             apart",
        ),
        (Sign::SameWeights, "twin: network, parameters and weights are those of toy_8"),
    ];
    assert_eq!(told, expected.map(|(sign, text)| (sign, text.to_owned())));
    let out = tempfile::tempdir().unwrap();
    let after = run(text, pictures, out.path()).findings.flags;
    assert!(before.iter().all(|flag| after.contains(flag)), "{after:?}");
    let table = fs::read_to_string(out.path().join("flags.csv")).unwrap();
    assert!(table.contains("\nequal_images,warning,,,,1,14,"), "{table}");
    let page = fs::read_to_string(gauntlet_runner::report::write_report(out.path()).unwrap());
    assert!(page.unwrap().contains("<summary>The study: 2 errors, 1 warning</summary>"));
}

#[test]
fn equal_pixels_in_another_file_are_told_after_the_run() {
    let mut pictures = toys::pictures(8);
    let again = |n: usize, name: &str, label: i64| {
        // The same pixels, as of a file that was saved again.
        let mut picture = pictures[n].clone();
        picture.hash = picture.hash.chars().rev().collect();
        (picture.name, picture.label) = (name.into(), label);
        picture
    };
    let more = [again(2, "again", pictures[2].label), again(3, "other", 0)];
    pictures.extend(more);
    assert!(of_inputs(&parse(TOY, pictures.clone(), &registry())).is_empty());
    let readings: Vec<String> = flags(TOY, pictures)
        .into_iter()
        .filter(|flag| [Sign::EqualImages, Sign::ContradictoryLabels].contains(&flag.flag))
        .map(|flag| flag.reading)
        .collect();
    let expected = [
        "1 of 10 images repeat an earlier one: `again` is `picture-02`",
        "1 of 10 images repeat an earlier one under another label: `picture-03` has the label 3, \
         `other` the label 0",
    ];
    assert_eq!(readings, expected);
}

#[test]
fn a_mean_in_another_unit_than_the_range_is_told() {
    let place = tempfile::tempdir().unwrap();
    let toy = Toy::<8, 0>::new(5);
    let mut code = |inputs: &[Tensor]| vec![toy.logits(&inputs[0])];
    let example = Tensor::rand([2, 3, 8, 8], (Kind::Float, Device::Cpu));
    let file = place.path().join("mean.pt");
    CModule::create_by_tracing("mean", "forward", &[example], &mut code)
        .unwrap()
        .save(&file)
        .unwrap();
    let raised = |mean: &str, range: &str| -> Vec<String> {
        let text = format!(
            "metrics = []\nattacks = []\n[[models]]\nkind = \"torchscript\"\nname = \"mine\"\nfile \
             = \"{}\"\nside = 8\nclasses = 4\npreprocessing = {{ mean = {mean}, range = {range} }}\n",
            file.display()
        );
        let flags = of_inputs(&parse(&text, toys::pictures(4), &registry()));
        flags.into_iter().map(|flag| flag.reading).collect()
    };
    assert_eq!(
        raised("[123.7, 116.3, 103.5]", "[0.0, 1.0]"),
        ["`mean` is [123.7, 116.3, 103.5], but `range` is [0.0, 1.0]"]
    );
    assert!(raised("[123.7, 116.3, 103.5]", "[0.0, 255.0]").is_empty());
    assert!(raised("[0.5, 0.5, 0.5]", "[0.0, 1.0]").is_empty());
    let imagenet = "[0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]";
    assert!(raised(imagenet, "[0.0, 1.0]").is_empty());
    assert_eq!(
        raised(imagenet, "[0.0, 255.0]"),
        ["`std` is [0.229, 0.224, 0.225], but `range` is [0.0, 255.0]: inputs span 1113.537 \
          standard deviations"]
    );
}

#[test]
fn a_label_is_read_by_one_rule_in_a_label_file_and_as_a_folder() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path();
    for folder in ["0", "1", "2", "3"] {
        fs::create_dir_all(at.join("images").join(folder)).unwrap();
    }
    toys::save_pictures(8, at);
    let files: Vec<String> = (0..8).map(|n| format!("{}.{n:02}.png", n % 4 + 1)).collect();
    for (n, file) in files.iter().enumerate() {
        let folder = at.join("images").join((3 - n % 4).to_string());
        fs::rename(at.join(file), folder.join(file)).unwrap();
    }
    let lines: Vec<String> = files
        .iter()
        .enumerate()
        .map(|(n, file)| format!("{}/{file},{}", 3 - n % 4, 3 - n % 4))
        .collect();
    fs::write(at.join("labels.csv"), format!("file,label\n{}\n", lines.join("\n"))).unwrap();
    let refusal = |names: &str, labels: &str| {
        fs::write(at.join("names.txt"), names).unwrap();
        let text = format!(
            "name = \"labels\"\n{TOY}[data]\nfolder = \"images\"\nclasses = \"names.txt\"\n{labels}"
        );
        let options = study::StudyOptions::default();
        Study::parse(&text, "study.toml", at, &registry(), options)
            .err()
            .map(|error| format!("{error:#}"))
    };
    let csv = "labels = \"labels.csv\"\n";
    let told = |text: &str, named: i64, numbered: i64| {
        format!("`{text}` is the name of class {named} and the number of class {numbered}")
    };
    for (labels, expected) in [(csv, told("3", 0, 3)), ("", told("0", 3, 0))] {
        let error = refusal("3\n2\n1\n0\n", labels).unwrap();
        assert!(error.contains(&expected), "{error}");
        assert_eq!(refusal("0\n1\n2\n3\n", labels), None);
    }
}

#[test]
fn a_margin_beyond_the_outputs_is_told_with_their_range() {
    let text = "metrics = []\nmodels = [{ name = \"sigmoid\" }, { name = \"toy_8\" }]\nattacks = \
                [{ name = \"cw_l2\", params = { kappa = 20, search_steps = 2, iterations = 5 } }]\n";
    let flags = flags(text, toys::pictures(8));
    let of = |model: &str| -> Vec<Sign> {
        let of = flags.iter().filter(|flag| flag.model.as_deref() == Some(model));
        of.map(|flag| flag.flag).collect()
    };
    assert_eq!(of("sigmoid"), [Sign::SigmoidsNotLogits, Sign::ConfidenceOutOfReach], "{flags:?}");
    let flag = flags.iter().find(|flag| flag.flag == Sign::ConfidenceOutOfReach).unwrap();
    assert!(
        flag.reading.starts_with("kappa = 20 is out of reach: the model's outputs are between 0."),
        "{}",
        flag.reading
    );
    assert!(!of("toy_8").contains(&Sign::UnboundedAttackFails), "{flags:?}");
    // Without a probe the range is not known.
    let found = self::flags(&format!("probe = {{ images = 0 }}\n{text}"), toys::pictures(40));
    let flag = found.iter().find(|flag| flag.flag == Sign::UnboundedAttackFails).unwrap();
    assert!(
        flag.remedy.starts_with("Try kappa = 0 first: a margin of 20 that the model's outputs"),
        "{}",
        flag.remedy
    );
}

#[test]
fn invalid_answers_are_flagged_shown_and_end_with_exit_code_1() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("images")).unwrap();
    toys::save_pictures(12, &place.path().join("images"));
    let text = "name = \"toys\"\nmetrics = []\nmodels = [{ name = \"toy_8\" }]\nattacks = [{ name \
                = \"sloppy\" }]\ndata = { folder = \"images\" }\n";
    fs::write(place.path().join("study.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
    command.current_dir(place.path()).args(["run", "study.toml"]);
    let (code, out, err) = ended(command.output().unwrap());
    assert_eq!(code, 1, "{out}{err}");
    let table = "  model   n  success  8-bit  forward  backward  invalid\n  toy_8  10     0.0%   \
                 0.0%        0         0        9\n";
    assert!(out.contains(table), "{out}");
    assert!(out.contains("error invalid_answers: 1 of 1\n"), "{out}");
    assert!(!out.contains("unbounded_attack_fails") && !out.contains("more iterations"), "{out}");
    assert!(err.contains("\n9 answers of attacks are invalid: each counts as a failure"), "{err}");
    assert!(
        err.contains("  sloppy (untargeted) on toy_8: 9 of 10 answers are invalid; the first, ")
    );
    let tex = fs::read_to_string(place.path().join("results/toys/tables.tex")).unwrap();
    assert!(tex.contains("model & n & success & 8-bit & invalid"), "{tex}");
}

#[test]
fn extra_numbers_of_a_metric_stand_in_the_outcomes() {
    let out = tempfile::tempdir().unwrap();
    let text = "metrics = [\"ends\"]\nmodels = [{ name = \"toy_8\" }]\nattacks = [{ name = \
                \"step\" }]\n";
    run(text, toys::pictures(12), out.path());
    let (mut whole, mut partial) = (0, 0);
    outcomes::read(out.path(), |_, outcome| {
        let value = |name: &str| outcome.distortions.get(name).copied();
        if let Some(greatest) = value("distortion_ends") {
            match value("distortion_ends_least") {
                Some(least) => {
                    assert!((0.0..=greatest).contains(&least));
                    assert!(value("distortion_ends_least_8bit").is_some());
                    whole += 1;
                }
                None => partial += 1, // NaN is no number
            }
        }
        Ok(())
    })
    .unwrap();
    assert_eq!((whole, partial), (9, 1));
}

#[test]
fn means_and_limits_of_scores_are_over_the_same_images() {
    let out = tempfile::tempdir().unwrap();
    let text = "metrics = [\"holey\"]\nmodels = [{ name = \"toy_8\" }]\nattacks = []\n";
    let summary = run(text, toys::pictures(12), out.path());
    let score = &summary.scores[0];
    assert_eq!((score.scored, score.invalid, score.missing), (8, 2, 0));
    let mean = (1.0 + 7.0 * 3.0) / 8.0;
    assert_eq!(score.mean.value, Some(mean));
    assert_eq!([score.extras["low"], score.extras["high"]], [Some(mean - 2.0), Some(mean + 2.0)]);
    let table = fs::read_to_string(out.path().join("scores.csv")).unwrap();
    assert!(table.contains("source_correct,scored,invalid,missing,"), "{table}");
    assert!(table.contains(",10,8,2,0,2.75,3,0.75,4.75\n"), "{table}");
    let page = gauntlet_runner::report::write_report(out.path()).unwrap();
    assert!(fs::read_to_string(page).unwrap().contains("on 2 of 10 images the score"));
}

#[test]
fn a_rate_of_nothing_has_an_interval() {
    let out = tempfile::tempdir().unwrap();
    let text = "metrics = []\nattacks = [{ name = \"liar\" }]\ntransfer = { policy = \"resize\" \
                }\nmodels = [{ name = \"toy_8\" }, { name = \"toy_8\", label = \"other\", params = \
                { seed = 6 } }]\n";
    let summary = run(text, toys::pictures(12), out.path());
    let within = summary.families[0].within;
    let (low, high) = within.rate.interval.unwrap();
    assert_eq!((within.k, within.rate.value, low), (0, Some(0.0), 0.0));
    assert!((0.2..0.4).contains(&high), "{high}: Wilson's interval of 0 in at most 12 images");
}

//! Studies built in code, and models made by a function.

use crate::{STUDY, folder, parse};
use gauntlet_core::device::Device;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_runner::engine::plan::Plan;
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::study::{self, GoalKind, Member, Policy, StudyBuilder};
use gauntlet_runner::{Session, Study};
use gauntlet_tests::toys::{self, Toy, ToyParams};

#[test]
fn a_study_built_in_code_is_the_same_as_its_file() {
    let other = Member::new("toy_8").label("other").params(&ToyParams { seed: 9 });
    let goals = [GoalKind::Untargeted, GoalKind::Random, GoalKind::LeastLikely, GoalKind::Second];
    let builder = Study::builder("toys")
        .seed(3)
        .model("toy_8")
        .model("toy_12")
        .model(other.clone())
        .attack(Member::new("step").goals(&goals))
        .metric("largest")
        .metric("margin")
        .transfer(Policy::CropOrPad);
    let open = |builder: StudyBuilder| {
        let options = study::StudyOptions {
            pictures: Some(toys::pictures(40)),
            ..study::StudyOptions::default()
        };
        builder.open(&toys::registry().unwrap(), options)
    };
    let fingerprint = |study: &Study| Plan::new(study, "cpu").fingerprint();
    assert_eq!(fingerprint(&open(builder.clone()).unwrap()), fingerprint(&parse(STUDY, 40)));

    let error = |builder: StudyBuilder| open(builder).err().unwrap().to_string();
    let twice = error(builder.clone().model(other));
    assert!(twice.contains("two models are called `other`: give one another `label"), "{twice}");
    assert!(
        error(builder.clone().attack("stepp"))
            .contains("unknown attack `stepp`, did you mean `step`?")
    );
    assert!(
        error(builder.clone().set("models", Vec::<String>::new()))
            .contains("a study needs at least one model")
    );
    assert!(
        error(builder.clone().attack(Member::new("nudge").goals(&[])))
            .contains("expected at least one goal")
    );
    assert!(error(builder.set("name", "a/b")).contains("`a/b` names a folder"));
    let none = study::StudyOptions { pictures: Some(Vec::new()), ..study::StudyOptions::default() };
    let error =
        Study::builder("toys").open(&toys::registry().unwrap(), none).err().unwrap().to_string();
    assert!(error.contains("a study needs at least one image"), "{error}");
}

#[test]
fn a_model_may_be_made_by_a_function() {
    let card = Toy::<8, 0>::new(5).card().clone();
    let open = |origin: &str, card: ModelCard| {
        let mut registry = toys::registry().unwrap();
        registry.model_with(ModelCard { name: "made".into(), ..card }, origin, |_| {
            Ok(Box::new(Toy::<8, 0>::new(5)))
        })?;
        let options = study::StudyOptions {
            pictures: Some(toys::pictures(10)),
            ..study::StudyOptions::default()
        };
        let study = Study::builder("toys")
            .model("toy_8")
            .model("made")
            .attack("step")
            .transfer(Policy::Resize)
            .open(&registry, options)?;
        anyhow::Ok((registry, study))
    };
    let (registry, study) = open("first", card.clone()).unwrap();
    let out = folder();
    let session =
        Session::open(&study, &registry, out.path(), RunOptions::on(Device::Cpu), &Silent).unwrap();
    assert_eq!(session.run().unwrap().failures.len(), 0);
    let tables = session.report().unwrap();
    assert_eq!(tables.success[0].success, tables.success[1].success, "it is the same model");
    assert!(tables.success[0].success > 0);
    let again = open("second", card.clone()).unwrap().1;
    assert_ne!(Plan::new(&again, "cpu").fingerprint(), session.plan().fingerprint());
    let mut registry = toys::registry().unwrap();
    let error =
        registry.model_with(card, "me", |_| anyhow::bail!("never")).unwrap_err().to_string();
    assert!(error.starts_with("model `toy_8` is registered twice"), "{error}");
}

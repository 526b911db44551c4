//! The attacks against the closed-form optimum of an affine model, |m|/‖w‖ in the dual norm. No
//! attack may leave the box or its budget.

use gauntlet_core::attack::{Answer, Attack, Cases, Goal, Norm};
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_core::params::preset;
use gauntlet_core::testing::Affine;
use gauntlet_plugins::attacks::{
    CwL2, CwL2Params, EadL1, EadL1Params, Fgsm, FgsmParams, Ifgsm, IfgsmParams, Objective,
};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

const SIDE: i64 = 6;

/// An image inside the box for which the two logits of `model` differ by `margin`, and its label.
fn image_at(model: &Affine, margin: f64) -> (Tensor, i64) {
    let grey = Tensor::full([3 * SIDE * SIDE], 0.5, (Kind::Float, Device::Cpu));
    let weight = model.weight();
    let logits = model.logits(&grey.view([1, 3, SIDE, SIDE])).squeeze_dim(0);
    let label = logits.argmax(0, false).int64_value(&[]);
    let w: Tensor = weight.get(label) - weight.get(1 - label);
    let now = logits.double_value(&[label]) - logits.double_value(&[1 - label]);
    let image = grey + &w * ((margin - now) / w.square().sum(Kind::Double).double_value(&[]));
    (image.view([3, SIDE, SIDE]), label)
}

fn attack<A: Attack>(
    params: A::Params,
    model: &Affine,
    images: &[Tensor],
    goals: &[Goal],
) -> Vec<Option<Tensor>> {
    let cases = Cases::new(Tensor::stack(images, 0), goals.to_vec()).unwrap();
    let oracle = Oracle::new(model, (0..images.len() as u64).collect(), Settings::default());
    let answers = A::new(params).unwrap().run(&oracle, &cases).unwrap();
    answers.into_iter().map(|a| if let Answer::Pixels(p) = a { Some(p) } else { None }).collect()
}

fn answer(model: &Affine, image: &Tensor) -> i64 {
    model.logits(&image.unsqueeze(0)).argmax(1, false).int64_value(&[0])
}

/// Models, images of margin `margin`, and both kinds of goal.
fn problems(margin: f64) -> impl Iterator<Item = (Affine, Tensor, Goal)> {
    tch::set_num_threads(1);
    (0..4).flat_map(move |seed| {
        [true, false].map(|away| {
            let model = Affine::new(2, SIDE, seed);
            let (image, label) = image_at(&model, margin);
            (model, image, if away { Goal::Away(label) } else { Goal::Towards(1 - label) })
        })
    })
}

#[test]
fn fgsm_just_crosses_at_the_analytic_distance() {
    for (model, image, goal) in problems(0.3) {
        let [linf, l2, _] = model.distances(&image, goal);
        for (norm, distance) in [(Norm::Linf, linf), (Norm::L2, l2)] {
            // Left out: the logit objective, which follows one class and not the difference of two.
            for objective in
                [Objective::CrossEntropy, Objective::CrossEntropyOfProbabilities, Objective::Margin]
            {
                for (factor, crosses) in [(0.999, false), (1.001, true)] {
                    let params = FgsmParams { epsilon: distance * factor, objective, norm };
                    let found =
                        attack::<Fgsm>(params, &model, &[image.copy()], &[goal]).remove(0).unwrap();
                    assert_eq!(
                        goal.met_by(answer(&model, &found)),
                        crosses,
                        "{norm:?} {objective:?} {goal:?} at {factor} of {distance}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_search_of_ifgsm_comes_within_two_per_cent_of_the_linf_optimum() {
    for (model, image, goal) in problems(0.3) {
        let [optimum, ..] = model.distances(&image, goal);
        let found = attack::<Ifgsm>(IfgsmParams::default(), &model, &[image.copy()], &[goal])
            .remove(0)
            .expect("an adversarial");
        let distance = (found - &image).abs().max().double_value(&[]);
        assert!(
            (0.999..1.02).contains(&(distance / optimum)),
            "{goal:?}: {distance} against {optimum}"
        );
    }
}

#[test]
fn cw_comes_within_two_per_cent_of_the_l2_optimum() {
    for params in both::<CwL2>() {
        for (model, image, goal) in problems(0.3) {
            let [_, optimum, _] = model.distances(&image, goal);
            let found = attack::<CwL2>(params.clone(), &model, &[image.copy()], &[goal])
                .remove(0)
                .expect("an adversarial");
            let distance = (found - &image).square().sum(Kind::Double).sqrt().double_value(&[]);
            assert!(
                (0.999..1.02).contains(&(distance / optimum)),
                "{goal:?}: {distance} against {optimum}, {params:?}"
            );
        }
    }
}

#[test]
fn ead_comes_within_five_per_cent_of_the_l1_optimum() {
    // One pixel can close a margin this small, so the closed form holds inside the box.
    for (model, image, goal) in problems(0.05) {
        let [.., optimum] = model.distances(&image, goal);
        let found = attack::<EadL1>(EadL1Params::default(), &model, &[image.copy()], &[goal])
            .remove(0)
            .expect("an adversarial");
        let distance = (found - &image).abs().sum(Kind::Double).double_value(&[]);
        assert!(
            (0.999..1.05).contains(&(distance / optimum)),
            "{goal:?}: {distance} against {optimum}"
        );
    }
}

/// Two images of a model, one for each kind of goal.
struct Pair {
    model: Affine,
    images: [Tensor; 2],
    goals: [Goal; 2],
}

impl Pair {
    /// Checks that an attack stays in the box and within `epsilon` of the images in l∞.
    fn check<A: Attack>(&self, params: A::Params, epsilon: f64) -> Result<(), TestCaseError> {
        let answers = attack::<A>(params, &self.model, &self.images, &self.goals);
        for (found, image) in answers.iter().zip(&self.images) {
            let Some(found) = found else { continue };
            let (low, high) = (found.min().double_value(&[]), found.max().double_value(&[]));
            prop_assert!(low >= 0.0 && high <= 1.0, "box: {low} to {high}");
            let change = (found - image).abs().max().double_value(&[]);
            prop_assert!(change <= epsilon + 1e-6, "budget {epsilon}: {change}");
        }
        Ok(())
    }
}

/// The default parameters of an attack, and those of the published study.
fn both<A: Attack>() -> [A::Params; 2] {
    [A::Params::default(), preset(A::presets(), Some("eccv2018")).unwrap()]
}

fn pixel() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0f32), Just(1f32), 0f32..=1f32]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn nothing_leaves_the_box_or_the_budget(
        seed in 0u64..1000,
        epsilon in 0.001f64..0.9,
        pixels in proptest::collection::vec(pixel(), 2 * 108),
        target in 0i64..3,
    ) {
        tch::set_num_threads(1);
        let model = Affine::new(3, SIDE, seed);
        let batch = Tensor::from_slice(&pixels).view([2, 3, SIDE, SIDE]);
        let images = [batch.get(0), batch.get(1)];
        let goals = [Goal::Away(answer(&model, &images[0])), Goal::Towards(target)];
        let pair = Pair { model, images, goals };
        for objective in [Objective::Logit, Objective::CrossEntropy, Objective::Margin] {
            pair.check::<Fgsm>(FgsmParams { epsilon, objective, norm: Norm::Linf }, epsilon)?;
            for base in both::<Ifgsm>() {
                let base = IfgsmParams { objective, iterations: 7, ..base };
                let fixed = IfgsmParams { epsilon, search_tries: 0, ..base.clone() };
                pair.check::<Ifgsm>(fixed, epsilon)?;
                pair.check::<Ifgsm>(IfgsmParams { search_tries: 5, ..base }, 1.0)?;
            }
        }
        for base in both::<CwL2>() {
            let params = CwL2Params { iterations: 25, search_steps: 5, ..base };
            pair.check::<CwL2>(params, 1.0)?;
        }
        for base in both::<EadL1>() {
            let params = EadL1Params { iterations: 25, search_steps: 5, ..base };
            pair.check::<EadL1>(params, 1.0)?;
        }
    }
}

#[test]
fn pixels_that_do_not_move_stay_as_they_are_to_the_bit() {
    // Pixels have values of 8-bit images, and the model does not see green and blue.
    let image = (Tensor::arange(3 * SIDE * SIDE, (Kind::Float, Device::Cpu)) * 7.0)
        .remainder(256.0)
        .view([3, SIDE, SIDE])
        / 255.0;
    let blind = |seed| {
        let model = Affine::new(2, SIDE, seed);
        let _ = model.weight().narrow(1, SIDE * SIDE, 2 * SIDE * SIDE).zero_();
        model
    };
    let margin = |model: &Affine| {
        let logits = model.logits(&image.unsqueeze(0));
        (logits.double_value(&[0, 0]) - logits.double_value(&[0, 1])).abs()
    };
    let model =
        (0..100).map(blind).find(|model| margin(model) < 0.2).expect("a model that is not sure");
    let goal = Goal::Away(answer(&model, &image));
    let images = [image.copy()];
    let found = [
        attack::<Fgsm>(
            FgsmParams { epsilon: 0.9, ..FgsmParams::default() },
            &model,
            &images,
            &[goal],
        ),
        attack::<Ifgsm>(IfgsmParams::default(), &model, &images, &[goal]),
        attack::<CwL2>(
            CwL2Params { iterations: 200, ..CwL2Params::default() },
            &model,
            &images,
            &[goal],
        ),
        attack::<EadL1>(
            EadL1Params { iterations: 200, ..EadL1Params::default() },
            &model,
            &images,
            &[goal],
        ),
    ];
    for (n, mut found) in found.into_iter().enumerate() {
        let found = found.remove(0).expect("an adversarial");
        assert_eq!(found.narrow(0, 1, 2), image.narrow(0, 1, 2), "attack {n}");
        assert_ne!(found.get(0), image.get(0), "attack {n}");
    }
}

//! Affine models, whose nearest adversarials are known in every norm.

use gauntlet_core::attack::{Answer, Attack, Cases, Goal, Norm};
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Passes, Settings};
use gauntlet_core::testing::Affine;
use gauntlet_modern::attacks::{
    Apgd, ApgdParams, AutoAttack, AutoAttackParams, Ddn, DdnParams, DeepFool, DeepFoolParams, Fab,
    FabParams, Fmn, FmnNorm, FmnParams, Pdpgd, PdpgdParams, Pgd, PgdParams, Square, SquareParams,
};
use gauntlet_modern::parts::Loss;
use tch::{Device, Kind, Tensor};

/// A model, a grey image, and the goal away from its class.
struct Case {
    model: Affine,
    cases: Cases,
}

impl Case {
    /// How far the nearest adversarial is.
    fn distance(&self, norm: Norm) -> f64 {
        let [linf, l2, l1] = self.model.distances(&self.cases.image(0), self.cases.goals[0]);
        match norm {
            Norm::Linf => linf,
            Norm::L2 => l2,
            Norm::L1 => l1,
        }
    }

    fn attack<A: Attack>(&self, params: A::Params) -> Option<Tensor> {
        let oracle = Oracle::new(&self.model, vec![1], Settings::default());
        let attack = A::new(params).unwrap();
        match attack.run(&oracle, &self.cases).unwrap().remove(0) {
            Answer::Pixels(pixels) => Some(pixels),
            Answer::NotFound => None,
        }
    }
}

/// Cases with a nearest adversarial inside the box in every norm: in ℓ1 it changes a single value.
fn cases(classes: i64) -> Vec<Case> {
    let image = Tensor::full([1, 3, 6, 6], 0.5, (Kind::Float, Device::Cpu));
    let cases = (1..).map(|seed| {
        let model = Affine::new(classes, 6, seed);
        let label = model.logits(&image).argmax(1, false).int64_value(&[0]);
        let cases = Cases::new(image.copy(), vec![Goal::Away(label)]).unwrap();
        Case { model, cases }
    });
    cases.filter(|case| (0.1..0.45).contains(&case.distance(Norm::L1))).take(4).collect()
}

/// Checks that an attack finds adversarials that are no farther than `slack` of the distance beyond
/// the nearest.
fn near<A: Attack>(name: &str, norm: Norm, slack: f64, params: A::Params) {
    for (n, case) in cases(4).iter().enumerate() {
        let pixels = case.attack::<A>(params.clone());
        let pixels = pixels.unwrap_or_else(|| panic!("{name} {norm:?} case {n}: not found"));
        let found =
            norm.of(&(pixels.unsqueeze(0) - &case.cases.pixels)).double_value(&[0, 0, 0, 0]);
        let nearest = case.distance(norm);
        assert!(
            (nearest * (1.0 - 1e-4)..=nearest * (1.0 + slack)).contains(&found),
            "{name} {norm:?} case {n}: {found}, nearest {nearest}"
        );
    }
}

const NORMS: [Norm; 3] = [Norm::Linf, Norm::L2, Norm::L1];

#[test]
fn smallest_norm_attacks_find_the_nearest_adversarials() {
    // The margins are a few hundredths; the default confidence would be seen.
    let confidence = 1e-5;
    for (norm, fmn) in NORMS.into_iter().zip([FmnNorm::Linf, FmnNorm::L2, FmnNorm::L1]) {
        near::<Fmn>("FMN", norm, 0.02, FmnParams { norm: fmn, confidence, ..FmnParams::default() });
        let params = PdpgdParams { norm, confidence, ..PdpgdParams::default() };
        // Its steps do not fall below 0.001, a third of the distance in ℓ∞.
        near::<Pdpgd>("PDPGD", norm, 0.2, params);
        near::<Fab>("FAB", norm, 0.06, FabParams { norm, ..FabParams::default() });
        let targeted = FabParams { norm, targets: 3, ..FabParams::default() };
        near::<Fab>("FAB-T", norm, 0.06, targeted);
        if norm != Norm::L1 {
            let params = DeepFoolParams { norm, ..DeepFoolParams::default() };
            near::<DeepFool>("DeepFool", norm, 0.06, params);
        }
    }
    // Its direction turns by steps of 0.01, a fifth of the distance.
    near::<Ddn>("DDN", Norm::L2, 0.25, DdnParams { confidence, ..DdnParams::default() });
    let pdgd =
        PdpgdParams { norm: Norm::L2, proximal: false, confidence, ..PdpgdParams::default() };
    near::<Pdpgd>("PDGD", Norm::L2, 0.2, pdgd);
}

#[test]
fn fmn_changes_as_few_values_as_need_be() {
    for case in cases(4) {
        let params = FmnParams { norm: FmnNorm::L0, ..FmnParams::default() };
        let pixels = case.attack::<Fmn>(params).expect("an adversarial that changes one value");
        let changed = pixels.unsqueeze(0).not_equal_tensor(&case.cases.pixels);
        assert_eq!(changed.sum(Kind::Int64).int64_value(&[]), 1);
    }
}

/// On a black image half of the values cannot follow the gradient.
#[test]
fn fmn_s_radius_grows_past_what_the_box_holds_back() {
    let (mut grown, mut estimated, mut possible) = (0, 0, 0);
    for seed in 1..=12 {
        let model = Affine::new(4, 6, seed);
        let image = Tensor::zeros([1, 3, 6, 6], (Kind::Float, Device::Cpu));
        let label = model.logits(&image).argmax(1, false).int64_value(&[0]);
        let case = Case { model, cases: Cases::new(image, vec![Goal::Away(label)]).unwrap() };
        let found = |growing| {
            let params = FmnParams { growing, iterations: 50, ..FmnParams::default() };
            usize::from(case.attack::<Fmn>(params).is_some())
        };
        grown += found(true);
        estimated += found(false);
        let params = FabParams { norm: Norm::L2, ..FabParams::default() };
        possible += usize::from(case.attack::<Fab>(params).is_some());
    }
    assert!(grown == possible && estimated < grown, "{grown}, {estimated} of {possible}");
}

#[test]
fn bounded_attacks_succeed_from_the_nearest_distance_on() {
    for (n, case) in cases(4).iter().enumerate() {
        for norm in NORMS {
            let enough = if norm == Norm::L1 { 1.2 } else { 1.05 };
            for (part, succeeds) in [(0.97, false), (enough, true)] {
                let epsilon = case.distance(norm) * part;
                let check = |name: &str, pixels: Option<Tensor>| {
                    let met = pixels.is_some_and(|pixels| {
                        let logits = case.model.logits(&pixels.unsqueeze(0));
                        case.cases.goals[0].met_by(logits.argmax(1, false).int64_value(&[0]))
                    });
                    assert_eq!(met, succeeds, "{name} {norm:?} case {n} at {part}");
                };
                let pgd = PgdParams { norm, epsilon, loss: Loss::Margin, ..PgdParams::default() };
                if norm != Norm::L1 {
                    check("PGD", case.attack::<Pgd>(pgd));
                    let square = SquareParams { norm, epsilon, ..SquareParams::default() };
                    // A random search reaches the corner of an l∞ ball, but no point of a sphere.
                    if norm == Norm::Linf || !succeeds {
                        check("Square", case.attack::<Square>(square));
                    }
                }
                let apgd = ApgdParams { norm, epsilon, targets: 3, ..ApgdParams::default() };
                check("APGD-T", case.attack::<Apgd>(apgd));
                let all = AutoAttackParams {
                    norm,
                    epsilon,
                    targets: 3,
                    queries: 200,
                    ..Default::default()
                };
                check("AutoAttack", case.attack::<AutoAttack>(all));
            }
        }
    }
}

#[test]
fn apgd_ascends_to_the_highest_loss_of_the_ball() {
    for case in cases(2) {
        for norm in NORMS {
            let distance = case.distance(norm);
            let params = ApgdParams {
                norm,
                epsilon: distance / 2.0,
                loss: Loss::Margin,
                ..ApgdParams::default()
            };
            let oracle = Oracle::new(&case.model, vec![1], Settings::default());
            let apgd = Apgd::new(params).unwrap();
            let outcome = apgd.trace(&oracle, &case.cases, None).unwrap().remove(0);
            // Half way to the boundary half of the margin is left.
            let logits = case.model.logits(&case.cases.pixels);
            let margin = (logits.max() - logits.min()).double_value(&[]);
            // In ℓ1 a step changes several values, where one would do.
            let slack = if norm == Norm::L1 { 3e-2 } else { 1e-3 };
            assert!(
                (outcome.best_loss + margin / 2.0).abs() < slack * margin,
                "{norm:?}: {} of −{margin}",
                outcome.best_loss
            );
        }
    }
}

#[test]
fn every_attack_of_autoattack_tries_a_case_that_stays_robust() {
    let case = &cases(4)[0];
    let params = AutoAttackParams {
        epsilon: case.distance(Norm::Linf) * 0.9,
        targets: 3,
        fab_targets: 2,
        queries: 50,
        ..AutoAttackParams::default()
    };
    let oracle = Oracle::new(&case.model, vec![1], Settings::default());
    let attack = AutoAttack::new(params).unwrap();
    let answers = attack.run(&oracle, &case.cases).unwrap();
    assert!(matches!(answers[..], [Answer::NotFound]));
    // The start and 100 steps of APGD-CE, the same for three targets, and 100 steps of FAB for two.
    let backward = 101 + 3 * 101 + 2 * 100;
    // Each looks at the image first; FAB looks at every point, Square at its start and 50 windows.
    let forward = backward + 4 + 2 * 100 + 51;
    assert_eq!(oracle.passes()[0], Passes { forward, backward });
}

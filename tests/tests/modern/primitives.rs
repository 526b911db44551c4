//! Projections, proximal operators and losses on small vectors.

use crate::golden::GOLDEN;
use gauntlet_core::attack::{Goal, Goals, Norm};
use gauntlet_modern::parts::{
    Kernel, Loss, l0_ball, l1_ball, l1_ball_in_box, noise_tile, proximal, to_hyperplane, toward,
};
use serde_json::Value;
use tch::Tensor;

const NORMS: [(&str, Norm); 3] = [("linf", Norm::Linf), ("l2", Norm::L2), ("l1", Norm::L1)];

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

/// A vector as an image: 1×P×1×1.
fn image(value: &Value) -> Tensor {
    Tensor::from_slice(&numbers(value)).view([1, -1, 1, 1])
}

fn number(value: &Value) -> Tensor {
    Tensor::from_slice(&[value.as_f64().unwrap() as f32])
}

fn close(what: &str, found: &Tensor, expected: &Value) {
    let apart = (found.view([-1]) - Tensor::from_slice(&numbers(expected))).abs().max();
    let apart = apart.double_value(&[]);
    assert!(apart <= 1e-5, "{what}: {found:?} deviates by {apart:.1e} from {expected}");
}

fn cases(section: &str) -> &'static Vec<Value> {
    GOLDEN.primitives[section]["cases"].as_array().unwrap()
}

#[test]
fn steps_to_a_hyperplane_are_the_authors() {
    for case in cases("fab_hyperplane") {
        let [t, w] = ["t", "w"].map(|key| image(&case[key]).view([1, -1]));
        for (key, norm) in NORMS {
            let found = to_hyperplane(norm, &t, &w, &number(&case["b"]));
            close(&format!("{} {key}", case["name"]), &found, &case[key]);
        }
    }
}

#[test]
fn projections_onto_balls_are_the_authors() {
    for case in cases("apgd_l1_projection") {
        let (x, y) = (image(&case["x"]), image(&case["y"]));
        let found = l1_ball_in_box(&x, &y, &number(&case["eps"])) - &y;
        close("ℓ1 ball and box", &found, &case["delta_autoattack"]);
    }
    for case in cases("l1_ball") {
        let found = l1_ball(&image(&case["x"]), &number(&case["eps"]));
        close("ℓ1 ball", &found, &case["l1_ball"]);
    }
    let x = image(&GOLDEN.primitives["l0_projection"]["x"]);
    for case in cases("l0_projection") {
        close("ℓ0 ball", &l0_ball(&x, &number(&case["eps"])), &case["y"]);
    }
}

#[test]
fn proximal_points_are_the_authors() {
    let x = image(&GOLDEN.primitives["proximal"]["x"]);
    for case in cases("proximal") {
        for (key, norm) in NORMS {
            close(
                &format!("λ {} {key}", case["lam"]),
                &proximal(norm, &x, &number(&case["lam"])),
                &case[key],
            );
        }
    }
}

#[test]
fn the_ratio_of_differences_is_the_authors_where_it_exists() {
    let cost = |logits: &Tensor, goal: Goal| {
        Loss::Dlr.cost(&Goals::new(&[goal], logits), logits).double_value(&[0])
    };
    for (classes, case) in GOLDEN.primitives["dlr_few_classes"].as_object().unwrap() {
        let logits = image(&case["logits"]).view([1, -1]);
        let classes: i64 = classes.parse().unwrap();
        for (goal, key) in [
            (Goal::Away(0), "advlib_dlr"),
            // The ratio of adversarial-library is that towards its label: high where it is met.
            (Goal::Towards(1), "advlib_dlr_targeted_label1"),
        ] {
            let checked = Loss::Dlr.check(classes, &[goal]);
            let Some(expected) = case[key].as_f64() else {
                let text = checked.unwrap_err().to_string();
                assert!(text.contains(&format!("the model has {classes}")), "{text}");
                continue;
            };
            checked.unwrap();
            let sign = if matches!(goal, Goal::Away(_)) { 1.0 } else { -1.0 };
            assert!((cost(&logits, goal) * sign - expected).abs() < 1e-5, "{classes} {goal:?}");
        }
        if let Some(expected) = case["autoattack_dlr_targeted_to_1"].as_f64() {
            let goals = Goals::new(&[Goal::Away(0)], &logits);
            let found = toward(&goals, &Tensor::from_slice(&[1i64]), &logits).double_value(&[0]);
            assert!((-found - expected).abs() < 1e-5, "{classes}: {found}");
        }
    }
    for case in GOLDEN.primitives["dlr_tie"].as_array().unwrap() {
        let logits = image(&case["logits"]).view([1, -1]);
        let found = -cost(&logits, Goal::Away(case["y"].as_i64().unwrap()));
        assert!((found - case["dlr"].as_f64().unwrap()).abs() < 1e-6, "{case}: {found}");
    }
    let equal = Tensor::from_slice(&[1f32; 5]).unsqueeze(0);
    assert_eq!(cost(&equal, Goal::Away(0)), 0.0);
}

#[test]
fn tiles_of_noise_are_the_authors() {
    for case in cases("square_eta") {
        let tile = noise_tile(case["s"].as_i64().unwrap());
        for (n, row) in case["eta"].as_array().unwrap().iter().enumerate() {
            close(&format!("side {} row {n}", case["s"]), &tile.get(n as i64), row);
        }
    }
}

#[test]
fn kernels_are_the_authors() {
    for case in GOLDEN.primitives["ti_kernel"].as_array().unwrap() {
        let kind = case["kernel_type"].as_str().unwrap();
        let kernel = match kind {
            "gaussian" => Kernel::Gaussian,
            "uniform" => Kernel::Uniform,
            _ => Kernel::Linear,
        };
        let size = case["size"].as_i64().unwrap();
        let weights = kernel.weights(size);
        close(&format!("{kind} {size}"), &weights.get(size / 2), &case["middle_row"]);
        let corner = case["corner"].as_f64().unwrap();
        assert!((weights.double_value(&[0, 0]) - corner).abs() < 1e-6, "{kind} {size}");
    }
}

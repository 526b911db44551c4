//! The form of `fixtures/golden/modern.json`, and comparisons with it.

use gauntlet_core::attack::{Answer, Attack, Cases, Goal, Goals, Norm};
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_tests::golden::{self, tiny_images};
use gauntlet_tests::tiny::TinyNet;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use tch::{Kind, Tensor};

#[derive(Deserialize)]
pub struct Golden {
    meta: Meta,
    pub primitives: serde_json::Value,
    pub pgd: Vec<Run>,
    pub apgd: Vec<Run>,
    pub apgd_t: Vec<Run>,
    pub apgd_advlib: Vec<Run>,
    pub fab: Vec<Run>,
    pub fab_t: Vec<Run>,
    pub square: Square,
    pub transfer: Vec<Run>,
    pub transfer_random: Vec<Run<Spread>>,
    pub apgd_random: Vec<Run<Spread>>,
    pub ddn: Vec<Run>,
    pub fmn: Vec<Run>,
    pub pdpgd: Vec<Run>,
    pub deepfool: Vec<Run>,
}

#[derive(Deserialize)]
pub struct Square {
    pub runs: Vec<Run<Spread>>,
}

#[derive(Deserialize)]
struct Meta {
    seed: String,
}

/// What the authors' code gave for a setting: an entry for each of the six images.
#[derive(Deserialize)]
pub struct Run<I = Image> {
    #[serde(default)]
    pub source: String,
    #[serde(default)]
    pub attack: String,
    #[serde(default)]
    pub norm: String,
    #[serde(default)]
    pub mode: String,
    #[serde(default)]
    pub loss: String,
    pub eps: Option<f64>,
    pub steps: Option<u32>,
    pub step_size: Option<f64>,
    pub alpha_init: Option<f64>,
    pub levels: Option<u32>,
    pub n_iter: Option<u32>,
    #[serde(default)]
    pub start: String,
    pub n_target_classes: Option<u32>,
    pub n_queries: Option<u32>,
    pub kernel_size: Option<u32>,
    pub num_scale: Option<u32>,
    pub num_neighbor: Option<u32>,
    pub beta: Option<f64>,
    pub resize_rate: Option<f64>,
    pub diversity_prob: Option<f64>,
    #[serde(default)]
    pub random_start: bool,
    #[serde(default)]
    pub resc_schedule: bool,
    #[serde(default)]
    pub use_largereps: bool,
    pub images: Vec<I>,
}

#[derive(Deserialize)]
pub struct Image {
    pub success: bool,
    pub pred: i64,
    pub logits: Vec<f64>,
    /// How far norm and logits moved under noise of 1e-6.
    pub dev: [Option<f64>; 2],
    #[serde(default)]
    pub unstable: bool,
    /// APGD: the highest loss, and step lengths with the first step of each.
    pub best_loss: Option<f64>,
    #[serde(default)]
    pub steps: Vec<(u32, f64)>,
    l0: Option<f64>,
    l1: Option<f64>,
    l2: Option<f64>,
    linf: Option<f64>,
}

/// What twenty seeds gave for an image.
#[derive(Deserialize)]
pub struct Spread {
    pub success_rate: f64,
    #[serde(default)]
    pub best_loss_mean: f64,
    #[serde(default)]
    pub best_loss_std: f64,
    pub queries_mean_of_successes: Option<f64>,
    pub queries_std_of_successes: Option<f64>,
    #[serde(default)]
    pub ce_mean: f64,
    #[serde(default)]
    pub ce_std: f64,
    #[serde(default)]
    pub margin_mean: f64,
    #[serde(default)]
    pub margin_std: f64,
    #[serde(default)]
    pub final_margin_mean: f64,
    #[serde(default)]
    pub final_margin_std: f64,
}

impl<I> Run<I> {
    pub fn name(&self) -> String {
        let Self { source, attack, norm, mode, loss, eps, .. } = self;
        let steps = self.steps.or(self.n_iter);
        let number = |name: &str, value: Option<f64>| {
            value.map(|value| format!(" {name} {value}")).unwrap_or_default()
        };
        format!(
            "{source} {attack} {norm} {loss}{}{} {mode}",
            number("eps", *eps),
            number("steps", steps.map(f64::from))
        )
    }

    /// The norm, unless it is ℓ0.
    pub fn norm(&self) -> Norm {
        match self.norm.as_str() {
            "linf" => Norm::Linf,
            "l2" => Norm::L2,
            "l1" => Norm::L1,
            other => panic!("the norm `{other}`"),
        }
    }

    pub fn targeted(&self) -> bool {
        !["", "untargeted"].contains(&self.mode.as_str())
    }

    /// The goals of the six images.
    pub fn goals(&self) -> Vec<Goal> {
        let goal = if self.targeted() { Goal::Towards } else { Goal::Away };
        self.classes().iter().copied().map(goal).collect()
    }

    /// The classes that the goals speak of.
    pub fn classes(&self) -> &'static [i64] {
        let mode = if self.mode.is_empty() { "untargeted" } else { &self.mode };
        &CLASSES[mode]
    }

    /// The six images, with goals of the run's mode.
    pub fn cases(&self) -> Cases {
        Cases::new(tiny_images(), self.goals()).unwrap()
    }
}

impl Run {
    fn distance(&self, image: &Image) -> f64 {
        match self.norm.as_str() {
            "l0" => image.l0,
            "l1" => image.l1,
            "l2" => image.l2,
            _ => image.linf,
        }
        .unwrap()
    }

    fn distance_of(&self, change: &Tensor) -> f64 {
        let change = change.to_kind(Kind::Double);
        match self.norm.as_str() {
            "l0" => change.not_equal(0.0).sum(Kind::Double),
            "l1" => change.abs().sum(Kind::Double),
            "l2" => change.square().sum(Kind::Double).sqrt(),
            _ => change.abs().max(),
        }
        .double_value(&[])
    }
}

/// Classes that the goals of the six images speak of, by mode: the label (`untargeted`), the least
/// likely class, the second, and the third after the label.
static CLASSES: LazyLock<BTreeMap<&str, Vec<i64>>> = LazyLock::new(|| {
    let logits = tch::no_grad(|| tiny().logits(&tiny_images()));
    let labels = logits.argmax(1, false);
    let classes = [
        ("untargeted", labels.shallow_clone()),
        ("least", logits.argmin(1, false)),
        ("top2", logits.argsort(1, true).select(1, 1)),
        ("random", (labels + 3).remainder(10)),
    ];
    classes.map(|(mode, classes)| (mode, Vec::try_from(classes).unwrap())).into()
});

pub static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    // The network is too small for several threads, and tests run in parallel.
    tch::set_num_threads(1);
    golden::read("modern.json")
});

/// The network; kernels and logits are scaled as in `attacks.json`.
pub fn tiny() -> TinyNet {
    TinyNet::new(&GOLDEN.meta.seed, 3.0, 10.0)
}

/// Cases twenty times over: case 6·s + n is image n under seed s.
pub fn twenty(cases: &Cases) -> Cases {
    let goals = cases.goals.repeat(20);
    Cases::new(cases.pixels.repeat([20, 1, 1, 1]), goals).unwrap()
}

/// An oracle for all of these cases at once, each with a random stream of its own.
pub fn oracle<'a>(model: &'a TinyNet, cases: &Cases) -> Oracle<'a> {
    let settings = Settings { lanes: cases.len(), ..Settings::default() };
    Oracle::new(model, (0..cases.len() as u64).collect(), settings)
}

/// The six images, with goals away from their labels.
pub fn untargeted() -> Cases {
    let goals = CLASSES["untargeted"].iter().copied().map(Goal::Away).collect();
    Cases::new(tiny_images(), goals).unwrap()
}

/// Runs an attack on the six images of a run.
pub fn answers<A: Attack, I>(params: A::Params, run: &Run<I>) -> Vec<Answer> {
    let (model, cases) = (tiny(), run.cases());
    A::new(params).unwrap().run(&oracle(&model, &cases), &cases).unwrap()
}

/// How far from the authors' code an answer may be.
#[derive(Clone, Copy)]
pub struct Tolerance {
    /// Relative deviation of the distance: of the median image, and of the worst.
    pub norm: [f64; 2],
    /// Absolute deviation of the logits: of the median image, and of the worst.
    pub logits: [f64; 2],
}

/// Margin below which the network's float32 noise decides on success.
const BOUNDARY: f64 = 1e-4;

/// Deviations of a section, reported together.
#[derive(Default)]
pub struct Faults(Vec<String>);

impl Faults {
    pub fn check(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.0.push(text());
        }
    }

    /// Compares answers with a run, image by image. The authors' code may give an image that is no
    /// adversarial; there `NotFound` is right too.
    pub fn compare(&mut self, run: &Run, answers: &[Answer], tolerance: Tolerance) {
        let model = tiny();
        let name = run.name();
        let (mut norms, mut logits_apart) = (Vec::new(), Vec::new());
        for (n, (image, answer)) in run.images.iter().zip(answers).enumerate() {
            if image.unstable {
                continue;
            }
            let Answer::Pixels(pixels) = answer else {
                self.check(!image.success, || format!("{name}: image {n}: not found"));
                continue;
            };
            let found = tch::no_grad(|| model.logits(&pixels.unsqueeze(0)));
            let goals = Goals::new(&[run.goals()[n]], &found);
            let met = goals.met(&found, 0.0).int64_value(&[0]) == 1;
            // On the boundary the order of a sum decides.
            let at_boundary = goals.margin(&found).abs().double_value(&[0]) < BOUNDARY;
            self.check(met == image.success || at_boundary, || {
                format!("{name}: image {n}: success {met}, expected {}", image.success)
            });
            let class = found.argmax(1, false).int64_value(&[0]);
            self.check(class == image.pred || at_boundary, || {
                format!("{name}: image {n}: class {class}, expected {}", image.pred)
            });
            let (distance, expected) =
                (run.distance_of(&(pixels - tiny_images().get(n as i64))), run.distance(image));
            // Goldens have six digits.
            let apart = ((distance - expected).abs() / expected.max(1e-9) - 5e-6).max(0.0);
            norms.push(apart);
            let limit = tolerance.norm[1].max(10.0 * image.dev[0].unwrap_or(0.0));
            self.check(apart <= limit, || {
                format!("{name}: image {n}: distance {distance}, expected {expected}")
            });
            let found = Vec::<f64>::try_from(found.to_kind(Kind::Double).view([-1])).unwrap();
            let apart =
                found.iter().zip(&image.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            logits_apart.push(apart);
            let limit = tolerance.logits[1].max(10.0 * image.dev[1].unwrap_or(0.0));
            self.check(apart <= limit, || {
                format!("{name}: image {n}: logits deviate by {apart:.1e}, limit {limit:.1e}")
            });
        }
        let noise = |of: usize| {
            let mut devs: Vec<f64> =
                run.images.iter().map(|image| image.dev[of].unwrap_or(0.0)).collect();
            median(&mut devs) * 10.0
        };
        for (what, values, limit) in [
            ("distances", &mut norms, tolerance.norm[0].max(noise(0))),
            ("logits", &mut logits_apart, tolerance.logits[0].max(noise(1))),
        ] {
            let middle = median(values);
            self.check(middle <= limit, || {
                format!("{name}: {what} deviate by {middle:.1e} (median), limit {limit:.1e}")
            });
        }
    }

    pub fn report(self) {
        assert!(self.0.is_empty(), "{} deviations:\n{}", self.0.len(), self.0.join("\n"));
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

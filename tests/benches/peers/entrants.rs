//! Who takes part, and with which parameters.

use anyhow::{Result, bail};
use gauntlet_tests::benching::setting;
use serde_json::{Value, json};

/// `pytorch` is FGSM written by hand: one pass there and back, and nothing else. Its variants show
/// what PyTorch gains by a means of its own, or loses without it.
pub const PEERS: [&str; 9] = [
    "pytorch",
    "pytorch weights_too",
    "pytorch folded",
    "pytorch channels_last",
    "pytorch folded+channels_last",
    "foolbox",
    "torchattacks",
    "art",
    "adv_lib",
];

const EPSILON: f64 = 8.0 / 255.0;

/// One of our attacks.
pub struct Ours {
    pub name: &'static str,
    pub preset: Option<&'static str>,
    /// As TOML, over those of the preset.
    pub parameters: String,
}

/// What every other library is asked for.
pub struct Theirs {
    /// What is put after a library's name, empty if it is asked for one thing only.
    pub variant: &'static str,
    pub parameters: Value,
}

pub struct Entrants {
    pub ours: Vec<Ours>,
    pub theirs: Vec<Theirs>,
}

impl Entrants {
    /// Those of an attack. The others are given our parameters; their searches may have a learning
    /// rate of their own too.
    pub fn of(attack: &str) -> Result<Self> {
        let (steps, iterations): (u32, u32) = (setting("STEPS", 9)?, setting("ITERATIONS", 1000)?);
        let sign = json!({
            "attack": attack, "epsilon": EPSILON, "step": EPSILON / 10.0, "iterations": 20,
        });
        let with_rate = |rate: f64| {
            json!({
                "attack": attack, "iterations": iterations, "search_steps": steps,
                "initial_c": 0.01, "beta": 0.002, "c": 1.0, "rate": rate,
            })
        };
        let ours = |name, parameters| Ours { name, preset: None, parameters };
        let theirs = |variant, parameters| Theirs { variant, parameters };
        Ok(match attack {
            "fgsm" => Self {
                ours: vec![ours("gauntlet", format!("epsilon = {EPSILON}"))],
                theirs: vec![theirs("", sign)],
            },
            "ifgsm" => {
                // `step` is a multiple of ε/iterations.
                let fixed = |more: &str| {
                    format!(
                        "epsilon = {EPSILON}\nstep = 2.0\nanneal = false\niterations = \
                         20\nsearch_tries = 0\n{more}"
                    )
                };
                Self {
                    ours: vec![
                        ours("gauntlet", fixed("stop_early = false")),
                        ours("gauntlet, until the goal is met", fixed("")),
                    ],
                    theirs: vec![theirs("", sign)],
                }
            }
            "cw_l2" => {
                let with_pixel_rate = |rate: &str| {
                    format!(
                        "{}\ngrowth = 1.0\nrate_of = \"pixel\"\nlearning_rate = {rate}",
                        search(iterations, steps)
                    )
                };
                let mut all = searches(iterations, steps);
                all.push(ours("gauntlet, rate 0.002", with_pixel_rate("0.002")));
                all.push(ours("gauntlet, rate 0.01", with_pixel_rate("0.01")));
                let theirs =
                    vec![theirs("", with_rate(2e-3)), theirs(", rate 0.01", with_rate(1e-2))];
                Self { ours: all, theirs }
            }
            "ead_l1" => Self {
                ours: searches(iterations, steps),
                theirs: vec![theirs("", with_rate(1e-2))],
            },
            other => bail!("no attack `{other}` is compared"),
        })
    }
}

fn search(iterations: u32, steps: u32) -> String {
    format!("iterations = {iterations}\nsearch_steps = {steps}")
}

fn searches(iterations: u32, steps: u32) -> Vec<Ours> {
    [
        ("gauntlet", None, iterations),
        ("gauntlet, half of the iterations", None, iterations.div_ceil(2)),
        ("gauntlet, a quarter of the iterations", None, iterations.div_ceil(4)),
        ("gauntlet, eccv2018", Some("eccv2018"), iterations),
    ]
    .map(|(name, preset, iterations)| Ours { name, preset, parameters: search(iterations, steps) })
    .into()
}

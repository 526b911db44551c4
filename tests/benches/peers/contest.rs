//! A network that everybody attacks, and what came of it.

use crate::entrants::{Entrants, Ours, PEERS, Theirs};
use crate::hand::Hand;
use crate::inputs::{export, images, read};
use crate::python::Python;
use anyhow::{Context, Result, ensure};
use gauntlet_core::attack::{Answer, Cases, Goal, Goals};
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Passes, Settings};
use gauntlet_core::registry::{DynAttack, Registry};
use gauntlet_tests::benching::{self, Origin, Ratio, median, setting};
use serde_json::{Value, json};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tch::{Kind, Tensor};
use toml::Table;

/// Reason why a library is left out that has not answered in time.
const TOO_LONG: &str = "takes longer than PATIENCE";

/// Times as many rounds for FGSM and I-FGSM, which are over in a moment.
const QUICK: usize = 5;

/// One network and its images.
pub struct Contest<'a> {
    registry: &'a Registry,
    folder: &'a Path,
    /// Judges all adversarials.
    model: Box<dyn Model>,
    /// One thread for each core.
    hands: Vec<Hand>,
    pixels: Tensor,
    labels: Vec<i64>,
    targets: Vec<i64>,
    batch: usize,
}

/// What an attack made of the images, and at what cost.
struct Attempt {
    seconds: f64,
    /// Mean number of forward passes of an image.
    forward: f64,
    /// Mean number of backward passes of an image.
    backward: f64,
    pixels: Tensor,
}

impl<'a> Contest<'a> {
    pub fn open(
        registry: &'a Registry,
        folder: &'a Path,
        name: &str,
        cores: usize,
        python: &mut Python,
    ) -> Result<Self> {
        let origin = Origin::find(registry, name, env::var_os("WEIGHTS").map(PathBuf::from))?;
        let load = || benching::load(registry, name, &origin);
        let hands = (0..cores).map(|_| Ok(Hand::new(load()?))).collect::<Result<Vec<_>>>()?;
        let model = load()?;
        let (pixels, labels) = images(&*model, setting("IMAGES", 16)?)?;
        let classes = model.card().classes;
        let targets: Vec<i64> = (0..)
            .zip(&labels)
            .map(|(n, label)| (label + 1 + n * 7 % (classes - 1)) % classes)
            .collect();

        let [weights, cases, logits] =
            ["weights", "cases", "logits"].map(|file| folder.join(format!("{file}.safetensors")));
        export(registry, name, &origin, &weights)?;
        let tensors = [
            ("pixels", &pixels),
            ("labels", &Tensor::from_slice(&labels)),
            ("targets", &Tensor::from_slice(&targets)),
        ];
        Tensor::write_safetensors(&tensors, &cases)?;
        let plain = name.strip_prefix("mini_");
        let enlarged = plain.map(|plain| if plain == "vgg_16" { 32 } else { 64 });
        let batch = setting("BATCH", 8)?;
        let request = json!({
            "do": "open",
            "network": plain.unwrap_or(name),
            "enlarged": enlarged,
            "threads": cores,
            "batch": batch,
            "peers": benching::list("PEERS", &PEERS),
            "weights": weights,
            "cases": cases,
            "out": logits,
        });
        let answer = python.ask(&request)?.context("opening a network takes too long")?;
        ensure!(answer.get("error").is_none(), "peers.py: {answer}");
        let (own, other) = (tch::no_grad(|| model.logits(&pixels)), read(&logits, "logits")?);
        let difference = ((&own - other).abs().max() / (own.max() - own.min())).double_value(&[]);
        ensure!(
            difference < 1e-4,
            "{name}: logits of the two networks differ by {difference:.1e} of their spread"
        );
        println!(
            "\n## {name}: {} images of side {}, batches of {batch}\n",
            labels.len(),
            model.card().side,
        );
        println!(
            "| attack | goal | by | time, s | ÷ ours | success | median distortion | ÷ ours, where \
             both succeed | forward, backward passes |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        Ok(Self { registry, folder, model, hands, pixels, labels, targets, batch })
    }

    fn cases(&self, targeted: bool) -> Result<Cases> {
        let goals = if targeted {
            self.targets.iter().map(|&c| Goal::Towards(c)).collect()
        } else {
            self.labels.iter().map(|&c| Goal::Away(c)).collect()
        };
        Cases::new(self.pixels.shallow_clone(), goals)
    }

    /// Gives everybody the same task in turn, and prints a line for each.
    pub fn hold(
        &self,
        attack: &str,
        targeted: bool,
        rounds: usize,
        python: &mut Python,
    ) -> Result<()> {
        let goal = if targeted { "random" } else { "untargeted" };
        let Entrants { ours, theirs } = Entrants::of(attack)?;
        let peers = benching::list("PEERS", &PEERS);
        let mut everybody: Vec<(String, Vec<Attempt>)> = Vec::new();
        let mut given_up: Vec<String> = Vec::new();
        // The first run of all is slow: libtorch prepares what later ones find ready.
        self.own("fgsm", None, "", targeted)?;
        for _ in 0..if attack.contains('_') { rounds } else { QUICK * rounds } {
            let mut note = |who: String, attempt: Attempt| match everybody
                .iter_mut()
                .find(|(known, _)| *known == who)
            {
                Some((_, attempts)) => attempts.push(attempt),
                None => everybody.push((who, vec![attempt])),
            };
            for Ours { name, preset, parameters } in &ours {
                note((*name).to_owned(), self.own(attack, *preset, parameters, targeted)?);
            }
            for peer in &peers {
                for Theirs { variant, parameters } in &theirs {
                    let who = format!("{peer}{variant}");
                    if given_up.contains(&who) {
                        continue;
                    }
                    match self.other(python, peer, parameters, targeted)? {
                        Ok(attempt) => note(who, attempt),
                        Err(reason) => {
                            if !reason.starts_with("NotImplementedError") {
                                println!("| {attack} | {goal} | {who} | {reason} |");
                            }
                            given_up.push(who);
                        }
                    }
                }
            }
        }
        self.judge(attack, targeted, goal, &everybody)
    }

    fn own(
        &self,
        attack: &str,
        preset: Option<&str>,
        parameters: &str,
        targeted: bool,
    ) -> Result<Attempt> {
        let entry = self.registry.find_attack(attack).context("a built-in attack is missing")?;
        let attack: Arc<dyn DynAttack> =
            Arc::from(entry.make(&entry.entry.parameters(preset, &parameters.parse::<Table>()?)?)?);
        let cases = self.cases(targeted)?;
        let share = cases.len().div_ceil(self.hands.len());
        let start = Instant::now();
        let mut parts = Vec::new();
        for (n, hand) in self.hands.iter().enumerate() {
            let range = (n * share).min(cases.len())..((n + 1) * share).min(cases.len());
            let pixels = cases.pixels.slice(0, range.start as i64, range.end as i64, 1);
            let own = Cases::new(pixels, cases.goals[range.clone()].to_vec())?;
            let (attack, settings) =
                (Arc::clone(&attack), Settings { lanes: self.batch, ..Settings::default() });
            parts.push(hand.give(move |model| {
                let oracle =
                    Oracle::new(model, (range.start as u64..range.end as u64).collect(), settings);
                let answers = attack.run(&oracle, &own)?;
                let images = (0..own.len()).zip(answers).map(|(n, answer)| match answer {
                    Answer::Pixels(pixels) => pixels,
                    Answer::NotFound => own.image(n),
                });
                Ok((Tensor::stack(&images.collect::<Vec<_>>(), 0), oracle.passes()))
            })?);
        }
        let parts = parts.into_iter().map(|part| part.recv()?).collect::<Result<Vec<_>>>()?;
        let seconds = start.elapsed().as_secs_f64();
        let sum = |of: fn(&Passes) -> u64| {
            parts.iter().flat_map(|(_, passes)| passes).map(of).sum::<u64>() as f64
                / cases.len() as f64
        };
        let pixels = Tensor::cat(&parts.iter().map(|(pixels, _)| pixels).collect::<Vec<_>>(), 0);
        Ok(Attempt { seconds, forward: sum(|p| p.forward), backward: sum(|p| p.backward), pixels })
    }

    fn other(
        &self,
        python: &mut Python,
        peer: &str,
        parameters: &Value,
        targeted: bool,
    ) -> Result<Result<Attempt, String>> {
        let out = self.folder.join("adversarials.safetensors");
        let request = json!({
            "do": "attack",
            "peer": peer,
            "parameters": parameters,
            "targeted": targeted,
            "batch": self.batch,
            "out": out,
        });
        let Some(answer) = python.ask(&request)? else { return Ok(Err(TOO_LONG.into())) };
        if let Some(error) = answer["error"].as_str() {
            return Ok(Err(error.to_owned()));
        }
        let number = |key: &str| {
            answer[key].as_f64().with_context(|| format!("peers.py: no `{key}` in {answer}"))
        };
        let images = self.labels.len() as f64;
        let (forward, backward) = (number("forward")? / images, number("backward")? / images);
        Ok(Ok(Attempt {
            seconds: number("seconds")?,
            forward,
            backward,
            pixels: read(&out, "pixels")?,
        }))
    }

    /// Judges what everybody has made, and prints it. Our first attack comes first: the others are
    /// compared with it.
    fn judge(
        &self,
        attack: &str,
        targeted: bool,
        goal: &str,
        everybody: &[(String, Vec<Attempt>)],
    ) -> Result<()> {
        let cases = self.cases(targeted)?;
        let goals = Goals::new(&cases.goals, &cases.pixels);
        let look = |pixels: &Tensor| -> Result<Vec<Option<f64>>> {
            let in_box = bool::try_from(pixels.ge(0.0).logical_and(&pixels.le(1.0)).all())?;
            ensure!(in_box && pixels.size() == cases.pixels.size(), "pixels are not in the box");
            let met =
                Vec::<bool>::try_from(goals.met(&tch::no_grad(|| self.model.logits(pixels)), 0.0))?;
            let change = (pixels - &cases.pixels).flatten(1, -1).to_kind(Kind::Double);
            let axis = [1i64].as_slice();
            let distance = match attack {
                "cw_l2" => change.square().sum_dim_intlist(axis, false, Kind::Double).sqrt(),
                "ead_l1" => change.abs().sum_dim_intlist(axis, false, Kind::Double),
                _ => change.abs().amax(axis, false),
            };
            let distances = Vec::<f64>::try_from(distance)?;
            Ok(met
                .into_iter()
                .zip(distances)
                .map(|(met, distance)| met.then_some(distance))
                .collect())
        };
        let Some((_, own)) = everybody.first() else { return Ok(()) };
        let best = look(&own[0].pixels)?;
        for (who, attempts) in everybody {
            let found = match look(&attempts[0].pixels) {
                Ok(found) => found,
                Err(reason) => {
                    println!("| {attack} | {goal} | {who} | {reason} |");
                    continue;
                }
            };
            let both: Vec<f64> = found
                .iter()
                .zip(&best)
                .filter_map(|(found, best)| Some((*found)? / (*best)?))
                .collect();
            let pairs: Vec<(f64, f64)> =
                attempts.iter().zip(own).map(|(this, own)| (this.seconds, own.seconds)).collect();
            let Ratio { median: slower, range: (least, greatest), .. } = Ratio::of(&pairs);
            println!(
                "| {attack} | {goal} | {who} | {:.3} | {slower:.2} ({least:.2} to {greatest:.2}) | \
                 {} of {} | {:.4} | {:.3} | {:.0}, {:.0} |",
                median(attempts.iter().map(|attempt| attempt.seconds).collect()),
                found.iter().flatten().count(),
                found.len(),
                median(found.iter().flatten().copied().collect()),
                median(both),
                attempts[0].forward,
                attempts[0].backward,
            );
        }
        Ok(())
    }
}

//! Gauntlet beside foolbox, torchattacks, ART and adv-lib: the same network, weights, images and
//! parameters, in turn. `cargo bench -p gauntlet-tests --bench peers`.
//!
//! The other libraries run in `peers.py`, in a virtual environment that the first run makes in
//! `target/peers`. Whoever made them, adversarials are judged here: by this program's network, in
//! float32, and by the distance to the image. In the environment:
//!
//! - `NETWORKS`, `ATTACKS`, `PEERS`: names, separated by commas; the three miniatures, all and all.
//! - `IMAGES` (16) and `BATCH` (8): so many images, so many at a time. `ROUNDS` (3). `THREADS`: all
//!   cores.
//! - `ITERATIONS` (1000) and `STEPS` (9): of the searches of C&W and EAD. `PATIENCE` (600): seconds
//!   that a library may take for a task.
//! - `WEIGHTS`, `PHOTOS`: folders for networks of full size; made-up weights and waves without.

use anyhow::{Context, Result, bail, ensure};
use gauntlet_core::attack::{Answer, Cases, Goal, Goals};
use gauntlet_core::device::Device;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Passes, Settings};
use gauntlet_core::registry::{DynAttack, Registry};
use gauntlet_core::weights::Weights;
use gauntlet_plugins as _;
use gauntlet_runner::data::{self, Data, Folder, Source};
use gauntlet_tests::benching::{self, MINI, Origin, Ratio, Recorder, made_up, median, setting};
use gauntlet_tests::golden::network_images;
use serde_json::{Value, json};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};
use toml::Table;

const PACKAGES: [&str; 8] = [
    "torch==2.11.0",
    "torchvision",
    "safetensors",
    // ART imports them.
    "packaging",
    "scikit-learn",
    "foolbox==3.3.4",
    "torchattacks==3.5.1",
    "adversarial-robustness-toolbox==1.20.1",
];
/// Without what it requires: it would draw pictures with visdom, which cannot be installed any
/// more.
const ALONE: &str = "adv-lib==0.2.8";
/// `pytorch` is FGSM written by hand: a bare pass there and back. The network's other forms are
/// what PyTorch itself gains by a means, or loses without it.
const PEERS: [&str; 9] = [
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
const ATTACKS: [&str; 4] = ["fgsm", "ifgsm", "cw_l2", "ead_l1"];
const TOO_LONG: &str = "takes longer than PATIENCE";
/// Attacks that are over in a moment have so many times as many rounds.
const QUICK: usize = 5;
const EPSILON: f64 = 8.0 / 255.0;

fn main() -> Result<()> {
    ensure!(benching::device()? == Device::Cpu, "this bench is of the CPU: DEVICE is another");
    let rounds = setting("ROUNDS", 3)?;
    let cores = setting("THREADS", thread::available_parallelism()?.get())?;
    let registry = Registry::linked()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    fs::create_dir_all(&folder)?;
    let mut python = Python::start(&folder)?;
    println!("{cores} threads on either side; times are medians of up to {rounds} rounds");
    for name in benching::list("NETWORKS", &MINI) {
        let contest = Contest::open(&registry, &folder, &name, cores, &mut python)?;
        for attack in benching::list("ATTACKS", &ATTACKS) {
            let goals: &[bool] = if attack.contains('_') { &[false, true] } else { &[false] };
            for &targeted in goals {
                contest.hold(&attack, targeted, rounds, &mut python)?;
            }
        }
    }
    Ok(())
}

/// The process with the other libraries.
struct Python {
    program: PathBuf,
    process: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    /// What it was last told to open.
    open: Option<Value>,
}

impl Python {
    fn start(folder: &Path) -> Result<Self> {
        let program = folder.join("bin/python");
        let ready = folder.join("ready");
        if !ready.exists() {
            eprintln!("installing {} and {ALONE} in {}", PACKAGES.join(", "), folder.display());
            let run = |program: &Path, arguments: &[&str]| -> Result<()> {
                let status = Command::new(program).args(arguments).stdout(Stdio::null()).status();
                ensure!(
                    status.with_context(|| program.display().to_string())?.success(),
                    "{} {arguments:?} fails",
                    program.display()
                );
                Ok(())
            };
            if !program.exists() {
                run(
                    Path::new("python3"),
                    &["-m", "venv", folder.to_str().context("the path is not UTF-8")?],
                )?;
            }
            run(&program, &[&["-m", "pip", "install"], &PACKAGES[..]].concat())?;
            run(&program, &["-m", "pip", "install", "--no-deps", ALONE])?;
            fs::write(ready, "")?;
        }
        Self::spawn(program)
    }

    fn spawn(program: PathBuf) -> Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers.py");
        let mut command = Command::new(&program);
        // It has a libtorch of its own.
        command
            .arg("-B")
            .arg(script)
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| program.display().to_string())?;
        let (requests, output) =
            (process.stdin.take().context("no pipe")?, process.stdout.take().context("no pipe")?);
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        Ok(Self { program, process, requests, answers, open: None })
    }

    /// The answer; none when it takes too long. The process is then another.
    fn ask(&mut self, request: &Value) -> Result<Option<Value>> {
        writeln!(self.requests, "{request}")?;
        if request["do"] == "open" {
            self.open = Some(request.clone());
        }
        match self.answers.recv_timeout(Duration::from_secs(setting("PATIENCE", 600)?)) {
            Ok(line) => Ok(Some(serde_json::from_str(&line)?)),
            Err(RecvTimeoutError::Disconnected) => bail!("peers.py has ended"),
            Err(RecvTimeoutError::Timeout) => {
                let open = self.open.take();
                *self = Self::spawn(self.program.clone())?;
                if let Some(open) = open {
                    self.ask(&open)?;
                }
                Ok(None)
            }
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // It fails for a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

type Part = (Tensor, Vec<Passes>);
type Work = Box<dyn FnOnce(&dyn Model) + Send>;

/// A thread with a network of its own, as the engine's workers are.
struct Hand(Sender<Work>);

impl Hand {
    fn new(model: Box<dyn Model>) -> Self {
        let (sender, work) = mpsc::channel::<Work>();
        thread::spawn(move || {
            tch::set_num_threads(1);
            for work in work {
                work(&*model);
            }
        });
        Self(sender)
    }

    fn give(
        &self,
        work: impl FnOnce(&dyn Model) -> Result<Part> + Send + 'static,
    ) -> Result<Receiver<Result<Part>>> {
        let (sender, result) = mpsc::channel();
        let work: Work = Box::new(move |model| drop(sender.send(work(model))));
        self.0.send(work).ok().context("the thread has ended")?;
        Ok(result)
    }
}

/// One network and its images.
struct Contest<'a> {
    registry: &'a Registry,
    folder: &'a Path,
    /// For looking at what everybody has made.
    model: Box<dyn Model>,
    /// One for each core.
    hands: Vec<Hand>,
    pixels: Tensor,
    labels: Vec<i64>,
    targets: Vec<i64>,
    batch: usize,
}

/// What somebody made of the images.
struct Attempt {
    seconds: f64,
    forward: f64,
    backward: f64,
    pixels: Tensor,
}

impl<'a> Contest<'a> {
    fn open(
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
        let request = json!({
            "do": "open", "network": plain.unwrap_or(name), "enlarged": enlarged, "threads": cores, "batch": setting("BATCH", 8)?,
            "peers": benching::list("PEERS", &PEERS), "weights": weights, "cases": cases, "out": logits,
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
            "\n## {name}: {} images of side {}, batches of {}\n",
            labels.len(),
            model.card().side,
            setting("BATCH", 8)?
        );
        println!(
            "| attack | goal | by | time, s | ÷ ours | success | median distortion | ÷ ours, where \
             both succeed | forward, backward passes |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        Ok(Self {
            registry,
            folder,
            model,
            hands,
            pixels,
            labels,
            targets,
            batch: setting("BATCH", 8)?,
        })
    }

    fn cases(&self, targeted: bool) -> Result<Cases> {
        let goals = if targeted {
            self.targets.iter().map(|&c| Goal::Towards(c)).collect()
        } else {
            self.labels.iter().map(|&c| Goal::Away(c)).collect()
        };
        Cases::new(self.pixels.shallow_clone(), goals)
    }

    /// The same task for everybody, in turn; prints a line each.
    fn hold(&self, attack: &str, targeted: bool, rounds: usize, python: &mut Python) -> Result<()> {
        let goal = if targeted { "random" } else { "untargeted" };
        let (steps, iterations): (u32, u32) = (setting("STEPS", 9)?, setting("ITERATIONS", 1000)?);
        let search = |iterations: u32| format!("iterations = {iterations}\nsearch_steps = {steps}");
        let searches = || {
            vec![
                ("gauntlet", None, search(iterations)),
                ("gauntlet, half of the iterations", None, search(iterations.div_ceil(2))),
                ("gauntlet, a quarter of the iterations", None, search(iterations.div_ceil(4))),
                ("gauntlet, eccv2018", Some("eccv2018"), search(iterations)),
            ]
        };
        let sign =
            json!({"attack": attack, "epsilon": EPSILON, "step": EPSILON / 10.0, "iterations": 20});
        let rate = |rate: f64| json!({"attack": attack, "iterations": iterations, "search_steps": steps, "initial_c": 0.01, "beta": 0.002, "c": 1.0, "rate": rate});
        // Ours, by name; and what the peers are given: our parameters, and for searches also a rate
        // of their own.
        let (ours, theirs) = match attack {
            "fgsm" => (vec![("gauntlet", None, format!("epsilon = {EPSILON}"))], vec![("", sign)]),
            "ifgsm" => {
                // `step` is a multiple of ε/iterations.
                let fixed = |more: &str| {
                    format!(
                        "epsilon = {EPSILON}\nstep = 2.0\nanneal = false\niterations = \
                         20\nsearch_tries = 0\n{more}"
                    )
                };
                (
                    vec![
                        ("gauntlet", None, fixed("stop_early = false")),
                        ("gauntlet, until the goal is met", None, fixed("")),
                    ],
                    vec![("", sign)],
                )
            }
            "cw_l2" => {
                let mut ours = searches();
                let pixel = |rate: &str| {
                    format!(
                        "{}\ngrowth = 1.0\nrate_of = \"pixel\"\nlearning_rate = {rate}",
                        search(iterations)
                    )
                };
                ours.extend([
                    ("gauntlet, rate 0.002", None, pixel("0.002")),
                    ("gauntlet, rate 0.01", None, pixel("0.01")),
                ]);
                (ours, vec![("", rate(2e-3)), (", rate 0.01", rate(1e-2))])
            }
            "ead_l1" => (searches(), vec![("", rate(1e-2))]),
            other => bail!("no attack `{other}` is compared"),
        };
        let peers = benching::list("PEERS", &PEERS);
        let mut everybody: Vec<(String, Vec<Attempt>)> = Vec::new();
        let mut given_up: Vec<String> = Vec::new();
        // What runs first, finds nothing ready.
        self.own("fgsm", None, "", targeted)?;
        for _ in 0..if attack.contains('_') { rounds } else { QUICK * rounds } {
            let mut note = |who: String, attempt: Attempt| match everybody
                .iter_mut()
                .find(|(known, _)| *known == who)
            {
                Some((_, attempts)) => attempts.push(attempt),
                None => everybody.push((who, vec![attempt])),
            };
            for (who, preset, parameters) in &ours {
                note((*who).to_owned(), self.own(attack, *preset, parameters, targeted)?);
            }
            for peer in &peers {
                for (variant, parameters) in &theirs {
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
        let request = json!({"do": "attack", "peer": peer, "parameters": parameters, "targeted": targeted, "batch": self.batch, "out": out});
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

    /// Looks at what everybody has made, and prints it. Ours comes first.
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

fn read(path: &Path, name: &str) -> Result<Tensor> {
    let tensors = Tensor::read_safetensors(path)?;
    tensors
        .into_iter()
        .find(|(found, _)| found == name)
        .map(|(_, tensor)| tensor)
        .with_context(|| format!("{}: no `{name}`", path.display()))
}

/// So many images that the network knows, and what it takes them for.
fn images(model: &dyn Model, count: usize) -> Result<(Tensor, Vec<i64>)> {
    let side = model.card().side;
    let source = match env::var_os("PHOTOS") {
        Some(photos) => Some(Source::Folder(Folder { path: photos.into(), ..Folder::default() })),
        None => (side == 28).then_some(Source::FashionMnist),
    };
    let Some(source) = source else {
        // Waves, taken for whatever the network makes of them.
        let waves = network_images(side);
        let rows: Vec<Tensor> =
            (0..count as i64).map(|n| waves.get(n % 2).roll([n * 5], [2])).collect();
        let pixels = Tensor::stack(&rows, 0);
        let labels = Vec::try_from(tch::no_grad(|| model.logits(&pixels)).argmax(1, false))?;
        return Ok((pixels, labels));
    };
    let found = Data::open(&source, Some(4 * count), 0)?;
    let offset = model.card().label_offset;
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for picture in &found.pictures {
        let pixels = data::batch(std::slice::from_ref(picture), side)?;
        let answer = tch::no_grad(|| model.logits(&pixels)).argmax(1, false).int64_value(&[0]);
        if answer == picture.label + offset && labels.len() < count {
            labels.push(answer);
            rows.push(pixels);
        }
    }
    ensure!(
        labels.len() == count,
        "the network knows {} of {} images only",
        labels.len(),
        found.pictures.len()
    );
    Ok((Tensor::cat(&rows, 0), labels))
}

/// Writes the weights under the names of the checkpoint.
fn export(registry: &Registry, name: &str, origin: &Origin, path: &Path) -> Result<()> {
    let entry = registry.find_model(name).with_context(|| format!("no model `{name}`"))?;
    match origin {
        Origin::Embedded => {
            fs::write(path, entry.embedded_weights.context("there are embedded weights")?)?
        }
        Origin::File(file) => drop(fs::copy(file, path)?),
        Origin::MadeUp => {
            let recorder = Recorder::new(made_up(name));
            entry.load(
                &entry.entry.parameters(None, &Table::new())?,
                Weights::new(recorder.clone(), Device::Cpu),
            )?;
            Tensor::write_safetensors(&recorder.kept(), path)?;
        }
    }
    Ok(())
}

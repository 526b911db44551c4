//! The plan: a study as cells, each with a key that says all that determines it.

use crate::data::Picture;
use crate::store::Address;
use crate::study::{GoalKind, Part, Policy, Study, StudyModel};
use gauntlet_core::LIBTORCH;
use gauntlet_core::metric::Scope;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::ops::Range;

/// Counts up whenever the engine would give other content for the same specification.
pub const ENGINE: &str = "4";

/// Images per slice. It is part of what determines a cell's bits, so it never depends on the
/// machine or the number of workers.
pub const SLICE: usize = 32;

/// Index of a cell in its plan.
pub type CellId = usize;

/// A unit of work: computed in one go, stored or absent.
#[derive(Debug)]
pub struct Cell {
    /// Where it is stored.
    pub address: Address,
    /// What is to be done.
    pub work: Work,
    /// Which of the study's images.
    pub slice: usize,
}

/// What a cell is about. Numbers are indices into the study's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A model's answers to the images as they are.
    Clean {
        /// The model.
        model: usize,
        /// Side of the images: the model's own, or that of another for which they are crafted.
        side: i64,
    },
    /// An attack on a model.
    Craft {
        /// The model.
        model: usize,
        /// The attack.
        attack: usize,
        /// What it is asked for.
        goal: GoalKind,
        /// The model's clean cell.
        clean: CellId,
    },
    /// A metric of a model.
    Score {
        /// The model.
        model: usize,
        /// The metric.
        metric: usize,
        /// What it is asked about.
        goal: GoalKind,
        /// The model's clean cell.
        clean: CellId,
    },
    /// A look at how a model behaves: its gradients, whether its answers repeat, what is deceived
    /// by lot.
    Probe {
        /// The model.
        model: usize,
        /// The model's clean cell.
        clean: CellId,
    },
    /// A metric of a craft cell's pixels.
    Measure {
        /// The craft cell.
        craft: CellId,
        /// The metric.
        metric: usize,
    },
    /// A craft cell's pixels before another model.
    Transfer {
        /// The craft cell.
        craft: CellId,
        /// The other model.
        target: usize,
        /// The other model's clean cell.
        clean: CellId,
    },
}

/// Phases come one after the other: a cell depends on cells of earlier phases alone.
pub const PHASES: [&str; 3] = ["clean answers", "attacks", "transfer and metrics"];

/// One attack on one model with one goal, over all images.
#[derive(Debug)]
pub struct Campaign {
    /// The model.
    pub model: usize,
    /// Side of the images: the model's own, or, under the policy `native`, that of the models it is
    /// for.
    pub side: i64,
    /// The attack.
    pub attack: usize,
    /// What it is asked for.
    pub goal: GoalKind,
    /// Craft cells, by slice.
    pub craft: Vec<CellId>,
    /// For every metric of scope outcome, its index and the measure cells by slice.
    pub measures: Vec<(usize, Vec<CellId>)>,
    /// For every other model that is given the pixels, its index and the transfer cells by slice.
    pub transfers: Vec<(usize, Vec<CellId>)>,
}

/// One metric of one model with one goal, over all images.
#[derive(Debug)]
pub struct Scoring {
    /// The metric.
    pub metric: usize,
    /// The model.
    pub model: usize,
    /// What it is asked about.
    pub goal: GoalKind,
    /// Score cells, by slice.
    pub cells: Vec<CellId>,
}

/// All cells of a study, and which of them belong together.
#[derive(Debug)]
pub struct Plan {
    /// The kind of device that it is for: `cpu` or `cuda`.
    pub device: String,
    /// The cells; two that are the same stand here once.
    pub cells: Vec<Cell>,
    /// Clean cells, by model and slice.
    pub clean: Vec<Vec<CellId>>,
    /// Probe cells, by model and slice: of the first slices alone.
    pub probes: Vec<Vec<CellId>>,
    /// The attacks, ordered by model, attack and goal as in the study; those at sides of other
    /// models come after all others.
    pub campaigns: Vec<Campaign>,
    /// The metrics of scope model, ordered by metric, goal and model as in the study.
    pub scores: Vec<Scoring>,
    images: usize,
}

impl Plan {
    /// Plans a study. `device` is `cpu` or `cuda`: their answers differ in the last bits.
    pub fn new(study: &Study, device: &str) -> Self {
        let images = study.data.pictures.len();
        let mut builder = Builder { study, device, cells: Vec::new(), known: HashMap::new() };
        let slices = images.div_ceil(SLICE);
        let models = 0..study.models.len();
        let clean: Vec<Vec<CellId>> = models
            .clone()
            .map(|m| (0..slices).map(|s| builder.clean(m, builder.side(m), s)).collect())
            .collect();

        let probed = study.probe.div_ceil(SLICE).min(slices);
        let radii = study.radii();
        let probes = clean
            .iter()
            .map(|clean| {
                clean[..probed].iter().map(|&clean| builder.probe(clean, &radii)).collect()
            })
            .collect();

        let of_scope = |scope: Scope| {
            study
                .metrics
                .iter()
                .enumerate()
                .filter(move |(_, metric)| metric.scope == scope)
                .map(|(index, _)| index)
        };
        // Who looks at images of which side.
        let mut views: Vec<(usize, i64)> =
            models.clone().map(|model| (model, builder.side(model))).collect();
        if study.transfer == Some(Policy::Native) {
            for model in models.clone() {
                let mut sides: Vec<i64> = models.clone().map(|other| builder.side(other)).collect();
                sides.sort_unstable();
                sides.dedup();
                views.extend(
                    sides
                        .into_iter()
                        .filter(|&side| side != builder.side(model))
                        .map(|side| (model, side)),
                );
            }
        }
        let mut campaigns = Vec::new();
        for (model, side) in views {
            let seen: Vec<CellId> =
                (0..slices).map(|slice| builder.clean(model, side, slice)).collect();
            for (attack, chosen) in study.attacks.iter().enumerate() {
                for &goal in &chosen.goals {
                    let craft: Vec<CellId> = seen
                        .iter()
                        .map(|&clean| builder.craft(model, attack, goal, clean))
                        .collect();
                    let measures = of_scope(Scope::Outcome)
                        .map(|metric| {
                            (
                                metric,
                                craft.iter().map(|&craft| builder.measure(craft, metric)).collect(),
                            )
                        })
                        .collect();
                    let transfers = study.transfer.map_or_else(Vec::new, |policy| {
                        let fits = |target: usize| {
                            policy != Policy::Native || builder.side(target) == side
                        };
                        let targets: Vec<usize> = models
                            .clone()
                            .filter(|&target| target != model && fits(target))
                            .collect();
                        let mut cells = |target: usize| {
                            craft
                                .iter()
                                .zip(&clean[target])
                                .map(|(&craft, &clean)| {
                                    builder.transfer(craft, side, target, clean, policy)
                                })
                                .collect()
                        };
                        targets.into_iter().map(|target| (target, cells(target))).collect()
                    });
                    campaigns.push(Campaign {
                        model,
                        side,
                        attack,
                        goal,
                        craft,
                        measures,
                        transfers,
                    });
                }
            }
        }
        let mut scores = Vec::new();
        for metric in of_scope(Scope::Model) {
            for &goal in &study.metrics[metric].goals {
                for model in models.clone() {
                    let cells = clean[model]
                        .iter()
                        .map(|&clean| builder.score(model, metric, goal, clean))
                        .collect();
                    scores.push(Scoring { metric, model, goal, cells });
                }
            }
        }
        Self {
            device: device.to_owned(),
            cells: builder.cells,
            clean,
            probes,
            campaigns,
            scores,
            images,
        }
    }

    /// The images of a slice.
    pub fn range(&self, slice: usize) -> Range<usize> {
        slice * SLICE..((slice + 1) * SLICE).min(self.images)
    }

    /// The slice of an image, and its place there.
    pub fn place(&self, image: usize) -> (usize, usize) {
        (image / SLICE, image % SLICE)
    }

    /// Side of the images that a cell is about; of a transfer cell, before they are fitted to its
    /// target.
    pub fn side(&self, cell: CellId) -> i64 {
        match self.cells[cell].work {
            Work::Clean { side, .. } => side,
            Work::Craft { clean, .. } | Work::Score { clean, .. } | Work::Probe { clean, .. } => {
                self.side(clean)
            }
            Work::Measure { craft, .. } | Work::Transfer { craft, .. } => self.side(craft),
        }
    }

    /// Number of images in a cell.
    pub fn cases(&self, cell: CellId) -> usize {
        self.range(self.cells[cell].slice).len()
    }

    /// Which of [`PHASES`] a cell belongs to.
    pub fn phase(&self, cell: CellId) -> usize {
        match self.cells[cell].work {
            Work::Clean { .. } => 0,
            Work::Craft { .. } | Work::Score { .. } | Work::Probe { .. } => 1,
            Work::Measure { .. } | Work::Transfer { .. } => 2,
        }
    }

    /// The model that must be loaded to compute a cell.
    pub fn model(&self, cell: CellId) -> Option<usize> {
        match self.cells[cell].work {
            Work::Clean { model, .. }
            | Work::Craft { model, .. }
            | Work::Score { model, .. }
            | Work::Probe { model, .. } => Some(model),
            Work::Transfer { target, .. } => Some(target),
            Work::Measure { .. } => None,
        }
    }

    /// Whose code runs when a cell is computed.
    pub fn parts<'a>(&self, study: &'a Study, cell: CellId) -> Vec<&'a Part> {
        let model = |index: usize| &study.models[index].part;
        match self.cells[cell].work {
            Work::Clean { model: index, .. }
            | Work::Probe { model: index, .. }
            | Work::Transfer { target: index, .. } => {
                vec![model(index)]
            }
            Work::Craft { model: index, attack, .. } => {
                vec![model(index), &study.attacks[attack].part]
            }
            Work::Score { model: index, metric, .. } => {
                vec![model(index), &study.metrics[metric].part]
            }
            Work::Measure { metric, .. } => vec![&study.metrics[metric].part],
        }
    }

    /// BLAKE3 of all keys: the same for the same cells in the same order.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for cell in &self.cells {
            hasher.update(cell.address.key.as_bytes());
        }
        hasher.finalize().to_string()
    }

    /// The cells whose rows a cell needs.
    pub fn needs(&self, cell: CellId) -> Vec<CellId> {
        match self.cells[cell].work {
            Work::Clean { .. } => vec![],
            Work::Craft { clean, .. } | Work::Score { clean, .. } | Work::Probe { clean, .. } => {
                vec![clean]
            }
            Work::Measure { craft, .. } => vec![craft],
            Work::Transfer { craft, clean, .. } => vec![craft, clean],
        }
    }

    /// A cell in words, such as `fgsm (untargeted) on vgg_16, images 1–32`.
    pub fn describe(&self, study: &Study, cell: CellId) -> String {
        let model = |index: usize| &study.models[index].part.label;
        let craft = |id: CellId| match self.cells[id].work {
            Work::Craft { model: source, attack, goal, .. } => {
                let side = self.side(id);
                let at = if side == study.models[source].card.side {
                    String::new()
                } else {
                    format!(" at {side}×{side}")
                };
                format!(
                    "{} ({}) on {}{at}",
                    study.attacks[attack].part.label,
                    goal.name(),
                    model(source)
                )
            }
            _ => unreachable!("a craft cell is named"),
        };
        let what = match self.cells[cell].work {
            Work::Clean { model: index, .. } => format!("clean answers of {}", model(index)),
            Work::Craft { .. } => craft(cell),
            Work::Probe { model: index, .. } => format!("probe of {}", model(index)),
            Work::Score { model: index, metric, goal, .. } => {
                format!(
                    "{} ({}) of {}",
                    study.metrics[metric].part.label,
                    goal.name(),
                    model(index)
                )
            }
            Work::Measure { craft: id, metric } => {
                format!("{} of {}", study.metrics[metric].part.label, craft(id))
            }
            Work::Transfer { craft: id, target, .. } => {
                format!("{}, given to {}", craft(id), model(target))
            }
        };
        let images = self.range(self.cells[cell].slice);
        format!("{what}, images {}–{}", images.start + 1, images.end)
    }
}

struct Builder<'a> {
    study: &'a Study,
    device: &'a str,
    cells: Vec<Cell>,
    known: HashMap<String, CellId>,
}

impl Builder<'_> {
    fn add(&mut self, kind: &'static str, spec: &Value, work: Work, slice: usize) -> CellId {
        let address = Address::new(kind, spec);
        *self.known.entry(address.key.clone()).or_insert_with(|| {
            self.cells.push(Cell { address, work, slice });
            self.cells.len() - 1
        })
    }

    fn key(&self, cell: CellId) -> &str {
        &self.cells[cell].address.key
    }

    fn side(&self, model: usize) -> i64 {
        self.study.models[model].card.side
    }

    fn pictures(&self, slice: usize) -> &[Picture] {
        let pictures = &self.study.data.pictures;
        &pictures[slice * SLICE..((slice + 1) * SLICE).min(pictures.len())]
    }

    /// The classes to aim at, where the images bring them.
    fn add_targets(&self, spec: &mut Value, goal: GoalKind, clean: CellId) {
        if goal == GoalKind::Given {
            let pictures = self.pictures(self.cells[clean].slice);
            spec["targets"] = pictures.iter().map(|picture| picture.target).collect();
        }
    }

    fn clean(&mut self, model: usize, side: i64, slice: usize) -> CellId {
        let pictures = self.pictures(slice);
        let images: Vec<Value> =
            pictures.iter().map(|picture| json!([picture.hash, picture.label])).collect();
        let mut spec = json!({
            "cell": "clean",
            "engine": ENGINE,
            "program": env!("CARGO_PKG_VERSION"),
            "libtorch": LIBTORCH,
            "device": self.device,
            "model": model_spec(&self.study.models[model]),
            "images": images,
        });
        if side != self.side(model) {
            spec["seen_at"] = json!(side);
        }
        self.add("clean", &spec, Work::Clean { model, side }, slice)
    }

    // A craft cell's classes to aim at follow from the clean cell and the seed, unless they are
    // given.
    fn craft(&mut self, model: usize, attack: usize, goal: GoalKind, clean: CellId) -> CellId {
        let mut spec = json!({
            "cell": "craft",
            "clean": self.key(clean),
            "attack": part_spec(&self.study.attacks[attack].part),
            "goal": goal.name(),
            "seed": self.study.seed,
        });
        self.add_targets(&mut spec, goal, clean);
        if self.study.tie_tolerance != 0.0 {
            spec["tie_tolerance"] = json!(self.study.tie_tolerance);
        }
        self.add(
            "craft",
            &spec,
            Work::Craft { model, attack, goal, clean },
            self.cells[clean].slice,
        )
    }

    fn score(&mut self, model: usize, metric: usize, goal: GoalKind, clean: CellId) -> CellId {
        let mut spec = json!({
            "cell": "score",
            "clean": self.key(clean),
            "metric": part_spec(&self.study.metrics[metric].part),
            "goal": goal.name(),
            "seed": self.study.seed,
        });
        self.add_targets(&mut spec, goal, clean);
        self.add(
            "score",
            &spec,
            Work::Score { model, metric, goal, clean },
            self.cells[clean].slice,
        )
    }

    fn probe(&mut self, clean: CellId, radii: &[f64]) -> CellId {
        let Work::Clean { model, .. } = self.cells[clean].work else {
            unreachable!("a clean cell is named")
        };
        let spec = json!({ "cell": "probe", "clean": self.key(clean), "radii": radii, "seed": self.study.seed });
        self.add("probe", &spec, Work::Probe { model, clean }, self.cells[clean].slice)
    }

    fn measure(&mut self, craft: CellId, metric: usize) -> CellId {
        let spec = json!({
            "cell": "measure",
            "craft": self.key(craft),
            "metric": part_spec(&self.study.metrics[metric].part),
        });
        self.add("measure", &spec, Work::Measure { craft, metric }, self.cells[craft].slice)
    }

    fn transfer(
        &mut self,
        craft: CellId,
        side: i64,
        target: usize,
        clean: CellId,
        policy: Policy,
    ) -> CellId {
        // Between images of one size nothing is fitted, whatever the policy.
        let fits = side == self.side(target);
        let spec = json!({
            "cell": "transfer",
            "craft": self.key(craft),
            "target": self.key(clean),
            "policy": if fits { "none" } else { policy.name() },
        });
        self.add(
            "transfer",
            &spec,
            Work::Transfer { craft, target, clean },
            self.cells[craft].slice,
        )
    }
}

// Parameters go in as TOML text, which keeps what JSON cannot say (infinity, NaN).
fn part_spec(part: &Part) -> Value {
    let mut spec = json!({ "name": part.name, "origin": part.origin, "parameters": part.parameters.to_string() });
    if let Some(hash) = &part.plugin {
        spec["plugin"] = json!(hash);
    }
    spec
}

fn model_spec(model: &StudyModel) -> Value {
    let card = &model.card;
    let mut spec = part_spec(&model.part);
    spec["weights"] = json!(model.weights_hash);
    spec["side"] = json!(card.side);
    spec["classes"] = json!(card.classes);
    spec["label_offset"] = json!(card.label_offset);
    spec
}

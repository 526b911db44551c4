//! From a study to its plan. A cell's specification says all that determines its content; its key
//! is the hash of that.

use crate::data::Picture;
use crate::engine::plan::{Campaign, Cell, CellId, ENGINE, Plan, SLICE, Scoring, Work};
use crate::store::Address;
use crate::study::{GoalKind, Part, Policy, Study, StudyModel};
use gauntlet_core::LIBTORCH;
use gauntlet_core::metric::Scope;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

impl Plan {
    /// Plans a study. `device` is `cpu` or `cuda`: their answers differ in the last bits.
    pub fn new(study: &Study, device: &str) -> Self {
        let mut planner =
            Planner { study, device, cells: Vec::new(), known: HashMap::new(), clean: Vec::new() };
        planner.clean = (0..study.models.len())
            .map(|model| planner.clean_cells(View { model, side: planner.side(model) }))
            .collect();
        let probes = planner.probes();
        let campaigns = planner.campaigns();
        let scores = planner.scores();
        Self {
            device: device.to_owned(),
            cells: planner.cells,
            clean: planner.clean,
            probes,
            campaigns,
            scores,
            images: study.data.pictures.len(),
        }
    }
}

/// A model that is given images of some side.
#[derive(Clone, Copy)]
struct View {
    model: usize,
    side: i64,
}

/// A plan in the making. The order in which cells are added is that of the plan.
struct Planner<'a> {
    study: &'a Study,
    device: &'a str,
    cells: Vec<Cell>,
    /// The cells by their keys: a cell that is added again is the same.
    known: HashMap<String, CellId>,
    /// Clean cells at each model's own side, by model and slice.
    clean: Vec<Vec<CellId>>,
}

/// Groups of cells.
impl Planner<'_> {
    fn clean_cells(&mut self, view: View) -> Vec<CellId> {
        let slices = self.study.data.pictures.len().div_ceil(SLICE);
        (0..slices).map(|slice| self.clean(view, slice)).collect()
    }

    fn probes(&mut self) -> Vec<Vec<CellId>> {
        let radii = self.study.radii();
        let probed = self.study.probe.div_ceil(SLICE);
        let clean = self.clean.clone();
        let probes_of = |clean: &Vec<CellId>| -> Vec<CellId> {
            clean.iter().take(probed).map(|&clean| self.probe(clean, &radii)).collect()
        };
        clean.iter().map(probes_of).collect()
    }

    fn campaigns(&mut self) -> Vec<Campaign> {
        let mut campaigns = Vec::new();
        for view in self.views() {
            let clean = self.clean_cells(view);
            for (attack, chosen) in self.study.attacks.iter().enumerate() {
                for &goal in &chosen.goals {
                    campaigns.push(self.campaign(view, attack, goal, &clean));
                }
            }
        }
        campaigns
    }

    /// Every model at its own side, then, where pixels are given to models of the same side alone,
    /// at the sides of the others.
    fn views(&self) -> Vec<View> {
        let models = 0..self.study.models.len();
        let own = |model: usize| View { model, side: self.side(model) };
        let mut views: Vec<View> = models.clone().map(own).collect();
        if self.study.transfer == Some(Policy::Native) {
            let sides: BTreeSet<i64> = models.clone().map(|model| self.side(model)).collect();
            for model in models {
                let others = sides.iter().filter(|&&side| side != self.side(model));
                views.extend(others.map(|&side| View { model, side }));
            }
        }
        views
    }

    fn campaign(
        &mut self,
        View { model, side }: View,
        attack: usize,
        goal: GoalKind,
        clean: &[CellId],
    ) -> Campaign {
        let craft: Vec<CellId> =
            clean.iter().map(|&clean| self.craft(model, attack, goal, clean)).collect();
        let measures = self
            .of_scope(Scope::Outcome)
            .into_iter()
            .map(|metric| {
                (metric, craft.iter().map(|&craft| self.measure(craft, metric)).collect())
            })
            .collect();
        let transfers = self.transfers(View { model, side }, &craft);
        Campaign { model, side, attack, goal, craft, measures, transfers }
    }

    /// The transfer cells of a campaign, by target and slice.
    fn transfers(&mut self, source: View, craft: &[CellId]) -> Vec<(usize, Vec<CellId>)> {
        let Some(policy) = self.study.transfer else { return Vec::new() };
        let fits = |target: usize| policy != Policy::Native || self.side(target) == source.side;
        let targets: Vec<usize> = (0..self.study.models.len())
            .filter(|&target| target != source.model && fits(target))
            .collect();
        let cells = |target: usize| {
            let clean = self.clean[target].clone();
            let pairs = craft.iter().zip(clean);
            let cells = pairs
                .map(|(&craft, clean)| self.transfer(craft, source.side, target, clean, policy));
            (target, cells.collect())
        };
        targets.into_iter().map(cells).collect()
    }

    fn scores(&mut self) -> Vec<Scoring> {
        let mut scores = Vec::new();
        for metric in self.of_scope(Scope::Model) {
            for &goal in &self.study.metrics[metric].goals {
                for model in 0..self.study.models.len() {
                    let clean = self.clean[model].clone();
                    let cells = clean
                        .into_iter()
                        .map(|clean| self.score(model, metric, goal, clean))
                        .collect();
                    scores.push(Scoring { metric, model, goal, cells });
                }
            }
        }
        scores
    }

    /// The metrics of a scope.
    fn of_scope(&self, scope: Scope) -> Vec<usize> {
        let metrics = self.study.metrics.iter().enumerate();
        metrics.filter(|(_, metric)| metric.scope == scope).map(|(index, _)| index).collect()
    }
}

/// Single cells: each with its specification.
impl Planner<'_> {
    fn add(&mut self, spec: &Value, work: Work, slice: usize) -> CellId {
        let address = Address::new(work.kind(), spec);
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

    /// Adds the target classes, where they come with the images.
    fn add_targets(&self, spec: &mut Value, goal: GoalKind, clean: CellId) {
        if goal == GoalKind::Given {
            let pictures = self.pictures(self.cells[clean].slice);
            spec["targets"] = pictures.iter().map(|picture| picture.target).collect();
        }
    }

    fn clean(&mut self, View { model, side }: View, slice: usize) -> CellId {
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
        self.add(&spec, Work::Clean { model, side }, slice)
    }

    // Target classes follow from the clean cell and the seed, unless they are given.
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
        self.add(&spec, Work::Craft { model, attack, goal, clean }, self.cells[clean].slice)
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
        self.add(&spec, Work::Score { model, metric, goal, clean }, self.cells[clean].slice)
    }

    fn probe(&mut self, clean: CellId, radii: &[f64]) -> CellId {
        let Work::Clean { model, .. } = self.cells[clean].work else {
            unreachable!("a clean cell is named")
        };
        let spec = json!({
            "cell": "probe",
            "clean": self.key(clean),
            "radii": radii,
            "seed": self.study.seed,
        });
        self.add(&spec, Work::Probe { model, clean }, self.cells[clean].slice)
    }

    fn measure(&mut self, craft: CellId, metric: usize) -> CellId {
        let spec = json!({
            "cell": "measure",
            "craft": self.key(craft),
            "metric": part_spec(&self.study.metrics[metric].part),
        });
        self.add(&spec, Work::Measure { craft, metric }, self.cells[craft].slice)
    }

    fn transfer(
        &mut self,
        craft: CellId,
        side: i64,
        target: usize,
        clean: CellId,
        policy: Policy,
    ) -> CellId {
        // Between models of one side nothing is fitted, whatever the policy.
        let fits = side == self.side(target);
        let control = (!fits).then(|| self.control(clean, target, side, policy));
        let spec = json!({
            "cell": "transfer",
            "craft": self.key(craft),
            "target": self.key(clean),
            "policy": if fits { "none" } else { policy.name() },
        });
        self.add(&spec, Work::Transfer { craft, target, clean, control }, self.cells[craft].slice)
    }

    /// `clean` is the target's clean cell at its own side, which names target and images.
    fn control(&mut self, clean: CellId, target: usize, side: i64, policy: Policy) -> CellId {
        let spec = json!({
            "cell": "control",
            "target": self.key(clean),
            "side": side,
            "policy": policy.name(),
        });
        self.add(&spec, Work::Control { target, clean, side, policy }, self.cells[clean].slice)
    }
}

// Parameters are TOML text, which can say what JSON cannot: infinity and NaN.
fn part_spec(part: &Part) -> Value {
    let mut spec = json!({
        "name": part.name,
        "origin": part.origin,
        "parameters": part.parameters.to_string(),
    });
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

//! From a study to its plan: every cell's specification, and with it its key.

use crate::data::Picture;
use crate::engine::plan::{Campaign, Plan, Scoring};
use crate::engine::plan::{Cell, CellId, ENGINE, SLICE, Work};
use crate::store::Address;
use crate::study::{GoalKind, Part, Policy, Study, StudyModel};
use gauntlet_core::LIBTORCH;
use gauntlet_core::metric::Scope;
use serde_json::{Value, json};
use std::collections::HashMap;

impl Plan {
    /// Plans a study. `device` is `cpu` or `cuda`: their answers differ in the last bits.
    pub fn new(study: &Study, device: &str) -> Self {
        let images = study.data.pictures.len();
        let mut builder = Planner { study, device, cells: Vec::new(), known: HashMap::new() };
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
}

pub(super) struct Planner<'a> {
    study: &'a Study,
    device: &'a str,
    cells: Vec<Cell>,
    known: HashMap<String, CellId>,
}

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
        self.add(&spec, Work::Clean { model, side }, slice)
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
        let spec = json!({ "cell": "probe", "clean": self.key(clean), "radii": radii, "seed": self.study.seed });
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
        // Between images of one size nothing is fitted, whatever the policy.
        let fits = side == self.side(target);
        let spec = json!({
            "cell": "transfer",
            "craft": self.key(craft),
            "target": self.key(clean),
            "policy": if fits { "none" } else { policy.name() },
        });
        self.add(&spec, Work::Transfer { craft, target, clean }, self.cells[craft].slice)
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

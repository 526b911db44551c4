//! The plan: a study as cells, each with a key that says all that determines it.

use crate::store::{Address, CellKind};
use crate::study::{GoalKind, Part, Study};
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

impl Work {
    /// The kind of the cell.
    pub fn kind(self) -> CellKind {
        match self {
            Self::Clean { .. } => CellKind::Clean,
            Self::Craft { .. } => CellKind::Craft,
            Self::Score { .. } => CellKind::Score,
            Self::Probe { .. } => CellKind::Probe,
            Self::Measure { .. } => CellKind::Measure,
            Self::Transfer { .. } => CellKind::Transfer,
        }
    }
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
    pub(super) images: usize,
}

impl Plan {
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
        match self.cells[cell].work.kind() {
            CellKind::Clean => 0,
            CellKind::Craft | CellKind::Score | CellKind::Probe => 1,
            CellKind::Measure | CellKind::Transfer => 2,
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

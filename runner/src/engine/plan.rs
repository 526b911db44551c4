//! The plan of a study: its cells. A cell's key is a hash of all that determines its content.

use crate::store::{Address, CellKind};
use crate::study::{GoalKind, Part, Policy, Study};
use gauntlet_core::model::ImageShape;
use std::ops::Range;

/// The engine's version. It counts up whenever the engine gives other content for the same
/// specification, so that cells of an older engine are not taken for those of this one.
pub const ENGINE: &str = "6";

/// Images per slice, and so the size of a batch. A cell's bits depend on it, so it never depends on
/// the machine or the number of workers.
pub const SLICE: usize = 32;

/// Index of a cell in its plan.
pub type CellId = usize;

/// A unit of work for one slice of the images. It is computed as a whole, and stored whole or not
/// at all.
#[derive(Debug)]
pub struct Cell {
    /// Where it is stored.
    pub address: Address,
    /// What is to be done.
    pub work: Work,
    /// Which slice of the study's images, from 0.
    pub slice: usize,
}

/// What a cell is about. Numbers are indices into the study's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A model's answers to the images, unchanged.
    Clean {
        /// The model.
        model: usize,
        /// Shape of the images: the model's own, or that of the models that the pixels
        /// are crafted for.
        shape: ImageShape,
    },
    /// A model's answers to the images of another shape, unperturbed and brought to its own shape in
    /// the way in which adversarials are.
    Control {
        /// The model.
        target: usize,
        /// The model's clean cell.
        clean: CellId,
        /// Shape of the images before they are brought.
        shape: ImageShape,
        /// How they are brought.
        policy: Policy,
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
    /// Whether attacks on a model can be believed: its gradients, whether its answers repeat, and
    /// what random perturbations do.
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
    /// Another model's answers to a craft cell's pixels.
    Transfer {
        /// The craft cell.
        craft: CellId,
        /// The other model.
        target: usize,
        /// The other model's clean cell.
        clean: CellId,
        /// The control of the other model for images of the craft cell's side; none where that is
        /// its own.
        control: Option<CellId>,
    },
}

impl Work {
    /// The kind of the cell.
    pub fn kind(self) -> CellKind {
        match self {
            Self::Clean { .. } => CellKind::Clean,
            Self::Control { .. } => CellKind::Control,
            Self::Craft { .. } => CellKind::Craft,
            Self::Score { .. } => CellKind::Score,
            Self::Probe { .. } => CellKind::Probe,
            Self::Measure { .. } => CellKind::Measure,
            Self::Transfer { .. } => CellKind::Transfer,
        }
    }
}

/// The phases of a run, in their order. A cell needs only cells of earlier phases.
pub const PHASES: [&str; 3] = ["clean answers", "attacks", "transfer and metrics"];

/// One attack on one model with one goal, over all images.
#[derive(Debug)]
pub struct Campaign {
    /// The model.
    pub model: usize,
    /// Shape of the images: the model's own, or, under the policy `native`, that of the
    /// models that the pixels are given to.
    pub shape: ImageShape,
    /// The attack.
    pub attack: usize,
    /// What it is asked for.
    pub goal: GoalKind,
    /// Craft cells, by slice.
    pub craft: Vec<CellId>,
    /// For every metric of scope outcome: its index, and the measure cells by slice.
    pub measures: Vec<(usize, Vec<CellId>)>,
    /// For every other model that is given the pixels: its index, and the transfer cells by slice.
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
    /// The kind of device that the plan is for: `cpu` or `cuda`.
    pub device: String,
    /// The cells. A cell that several campaigns need stands here once.
    pub cells: Vec<Cell>,
    /// Clean cells at each model's own side, by model and slice.
    pub clean: Vec<Vec<CellId>>,
    /// Probe cells, by model and slice. Only the first slices have them.
    pub probes: Vec<Vec<CellId>>,
    /// The campaigns, in the study's order of models, attacks and goals. Those at sides of other
    /// models come last.
    pub campaigns: Vec<Campaign>,
    /// The metrics of scope model, in the study's order of metrics, goals and models.
    pub scores: Vec<Scoring>,
    /// Number of the study's images.
    pub(super) images: usize,
}

impl Plan {
    /// The indices of a slice's images.
    pub fn range(&self, slice: usize) -> Range<usize> {
        slice * SLICE..((slice + 1) * SLICE).min(self.images)
    }

    /// The slice that an image is in, and its place there.
    pub fn place(&self, image: usize) -> (usize, usize) {
        (image / SLICE, image % SLICE)
    }

    /// Shape of a cell's images; of a control or transfer cell's before they are brought
    /// to its target.
    pub fn shape(&self, cell: CellId) -> ImageShape {
        match self.cells[cell].work {
            Work::Clean { shape, .. } | Work::Control { shape, .. } => shape,
            Work::Craft { clean, .. } | Work::Score { clean, .. } | Work::Probe { clean, .. } => {
                self.shape(clean)
            }
            Work::Measure { craft, .. } | Work::Transfer { craft, .. } => self.shape(craft),
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
            CellKind::Control | CellKind::Craft | CellKind::Score | CellKind::Probe => 1,
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
            Work::Control { target, .. } | Work::Transfer { target, .. } => Some(target),
            Work::Measure { .. } => None,
        }
    }

    /// The models, attacks and metrics whose code runs when a cell is computed.
    pub fn parts<'a>(&self, study: &'a Study, cell: CellId) -> Vec<&'a Part> {
        let model = |index: usize| &study.models[index].part;
        match self.cells[cell].work {
            Work::Clean { model: index, .. }
            | Work::Probe { model: index, .. }
            | Work::Control { target: index, .. }
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

    /// BLAKE3 of all keys. Plans with the same cells in the same order have the same.
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
            Work::Control { clean, .. }
            | Work::Craft { clean, .. }
            | Work::Score { clean, .. }
            | Work::Probe { clean, .. } => vec![clean],
            Work::Measure { craft, .. } => vec![craft],
            Work::Transfer { craft, clean, control, .. } => {
                [craft, clean].into_iter().chain(control).collect()
            }
        }
    }

    /// A cell in words, such as `fgsm (untargeted) on vgg_16, images 1–32`.
    pub fn describe(&self, study: &Study, cell: CellId) -> String {
        let model = |index: usize| &study.models[index].part.label;
        let craft = |id: CellId| match self.cells[id].work {
            Work::Craft { model: source, attack, goal, .. } => {
                let shape = self.shape(id);
                let at = if shape == study.models[source].card.shape() {
                    String::new()
                } else {
                    format!(" at {shape}")
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
            Work::Control { target, shape, .. } => {
                format!("answers of {} to images of {shape}", model(target))
            }
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

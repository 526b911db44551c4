//! Models with made-up weights: their passes take as long as those of real ones.

use crate::study::StudyModel;
use crate::weights::WeightsPlace;
use anyhow::Result;
use gauntlet_core::device::Device;
use gauntlet_core::model::Model;
use gauntlet_core::registry::Registry;
use gauntlet_core::weights::{Misfit, Role, Source, Weights};
use tch::{Kind, Tensor};

/// Loads a model, with made-up weights where it has none.
///
/// # Errors
/// When its weights or its parameters do not fit.
pub(super) fn load(
    model: &StudyModel,
    registry: &Registry,
    device: Device,
) -> Result<Box<dyn Model>> {
    match &model.weights {
        WeightsPlace::Absent(_) => registry
            .find_model(&model.part.name)?
            .load(&model.part.parameters, Weights::new(MadeUp, device)),
        WeightsPlace::Embedded(_) | WeightsPlace::File(_) | WeightsPlace::TorchScript(_) => {
            model.load(registry, device)
        }
    }
}

/// Weights as large as real ones are, so that no value overflows or vanishes.
struct MadeUp;

impl Source for MadeUp {
    fn tensor(&self, _: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let count: i64 = shape.iter().product();
        let wave = (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 1.7).sin().view(shape);
        Ok(match role {
            Role::Kernel => wave * 2.0 * (shape[shape.len() - 1] as f64 / count as f64).sqrt(),
            Role::Depthwise | Role::Bias | Role::Beta | Role::Mean => wave * 0.3,
            Role::Gamma | Role::Variance => wave * 0.2 + 1,
        })
    }
}

//! A network's variables under training: initialisation, AdamW, and writing them to a file.

use anyhow::{Context, Result};
use gauntlet_core::registry::ModelEntry;
use gauntlet_core::weights::{Misfit, Role, Source, Weights};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use tch::{Device, Kind, Tensor};
use toml::Table;

/// Decay of the two moments of AdamW.
const BETAS: [f64; 2] = [0.9, 0.99];
const EPSILON: f64 = 1e-8;

/// All variables of a network. One flat tensor holds those that are trained, so that a step of the
/// optimiser takes few operations. The named tensors are views of it.
pub struct Variables {
    named: Rc<BTreeMap<String, Tensor>>,
    /// The views that are trained, in the order of `flat`.
    trained: Vec<Tensor>,
    flat: Tensor,
    moments: [Tensor; 2],
    /// 1 for kernels, on which weight decay acts, and 0 for the rest.
    decays: Tensor,
    steps: i32,
}

/// A source of weights: the variables that are trained.
struct Training(Rc<BTreeMap<String, Tensor>>);

impl Source for Training {
    fn tensor(&self, name: &str, _: &[i64], _: Role) -> Result<Tensor, Misfit> {
        self.0.get(name).map(Tensor::shallow_clone).ok_or(Misfit::Missing)
    }

    fn training(&self) -> bool {
        true
    }
}

type Asked = Vec<(String, Vec<i64>, Role)>;

/// A source of zeros that notes what a network asks for.
struct Inventory(Rc<RefCell<Asked>>);

impl Source for Inventory {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        self.0.borrow_mut().push((name.to_owned(), shape.to_vec(), role));
        Ok(Tensor::zeros(shape, (Kind::Float, Device::Cpu)))
    }
}

/// Initial values. Kernels are uniform with variance 2·gain²/fan-in (with gain 1 as in He et al.
/// 2015, arXiv 1502.01852), scales and variances are one, and the rest is zero.
fn initial(shape: &[i64], role: Role, gain: f64, random: &mut ChaCha8Rng) -> Vec<f32> {
    let count: i64 = shape.iter().product();
    let fan_in = match role {
        Role::Kernel => count / shape[shape.len() - 1],
        Role::Depthwise => shape[0] * shape[1],
        Role::Gamma | Role::Variance => return vec![1.0; count as usize],
        Role::Bias | Role::Beta | Role::Mean => return vec![0.0; count as usize],
    };
    let bound = gain * (6.0 / fan_in as f64).sqrt();
    (0..count)
        .map(|_| (bound * (f64::from(random.next_u32()) / f64::from(1u32 << 31) - 1.0)) as f32)
        .collect()
}

impl Variables {
    /// Initial values of all variables of the network of `entry`. `gain` multiplies the kernels.
    pub fn new(
        entry: &ModelEntry,
        gain: f64,
        device: Device,
        random: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let asked = Rc::default();
        entry.load(&Table::new(), Weights::new(Inventory(Rc::clone(&asked)), Device::Cpu))?;
        let asked = asked.take();
        let is_trained = |role| !matches!(role, Role::Mean | Role::Variance);

        let mut values = Vec::new();
        let mut decays = Vec::new();
        for (_, shape, role) in asked.iter().filter(|(_, _, role)| is_trained(*role)) {
            values.extend(initial(shape, *role, gain, random));
            decays.resize(
                values.len(),
                if matches!(role, Role::Kernel | Role::Depthwise) { 1f32 } else { 0.0 },
            );
        }
        let flat = Tensor::from_slice(&values).to_device(device);
        let mut named = BTreeMap::new();
        let mut trained = Vec::new();
        let mut start = 0;
        for (name, shape, role) in &asked {
            let tensor = if is_trained(*role) {
                let count = shape.iter().product();
                let view = flat
                    .narrow(0, start, count)
                    .view(shape.as_slice())
                    .detach()
                    .set_requires_grad(true);
                start += count;
                trained.push(view.shallow_clone());
                view
            } else {
                Tensor::from_slice(&initial(shape, *role, gain, random)).to_device(device)
            };
            named.insert(name.clone(), tensor);
        }
        Ok(Self {
            named: Rc::new(named),
            trained,
            moments: [flat.zeros_like(), flat.zeros_like()],
            decays: Tensor::from_slice(&decays).to_device(device),
            flat,
            steps: 0,
        })
    }

    /// The variables as weights of a network that is in training.
    pub fn weights(&self) -> Weights {
        Weights::new(Training(Rc::clone(&self.named)), self.flat.device())
    }

    /// Number of values, moving statistics included.
    pub fn count(&self) -> usize {
        self.named.values().map(Tensor::numel).sum()
    }

    /// One step of AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) down the gradient of `loss`.
    /// A gradient longer than `clip` is first shortened to it.
    pub fn step(&mut self, loss: &Tensor, rate: f64, decay: f64, clip: f64) {
        let gradients = Tensor::run_backward(&[loss], &self.trained, false, false);
        tch::no_grad(|| {
            let gradient =
                Tensor::cat(&gradients.iter().map(|g| g.flatten(0, -1)).collect::<Vec<_>>(), 0);
            let gradient = &gradient * (clip / (gradient.norm() + 1e-6)).clamp_max(1.0);
            self.steps += 1;
            let [first, second] = &mut self.moments;
            let _ = first.lerp_(&gradient, 1.0 - BETAS[0]);
            let _ = second.lerp_(&gradient.square(), 1.0 - BETAS[1]);
            let [correction, correction2] = BETAS.map(|beta| 1.0 - beta.powi(self.steps));
            let direction = (&*first / correction) / ((&*second / correction2).sqrt() + EPSILON);
            self.flat -= (direction + &self.decays * decay * &self.flat) * rate;
        });
    }

    /// Writes everything in half precision, under a temporary name first.
    pub fn write(&self, path: &Path) -> Result<()> {
        let halves: Vec<(&String, Tensor)> = self
            .named
            .iter()
            .map(|(name, t)| {
                (name, t.detach().to_device(Device::Cpu).to_kind(Kind::Half).contiguous())
            })
            .collect();
        let temporary = path.with_extension("safetensors.part");
        Tensor::write_safetensors(&halves, &temporary)
            .map_err(anyhow::Error::from)
            .and_then(|()| Ok(std::fs::rename(&temporary, path)?))
            .with_context(|| format!("writing {}", path.display()))
    }
}

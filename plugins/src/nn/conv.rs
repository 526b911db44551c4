//! Convolutions, each with what follows it: bias or batch norm, then an activation.

use super::channels_last;
use super::frozen;
use super::norm::{BatchNorm, Normalization};
use super::padding::{Padding, split};
use gauntlet_core::weights::{Role, VariableScope};
use tch::{Device, Tensor};

/// Which inputs an output channel sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// The channels are split into this many groups; with 1, every output sees every input. Kernel
    /// `weights`: H×W×(in/groups)×out.
    Groups(i64),
    /// Every input channel has out/in kernels of its own. Kernel `depthwise_weights`:
    /// H×W×in×(out/in).
    Depthwise,
    /// What follows a depthwise convolution, 1×1. Kernel `pointwise_weights`: 1×1×in×out.
    Pointwise,
    /// A depthwise convolution with this many kernels per input channel, `depthwise_weights`:
    /// H×W×in×multiplier, followed by a 1×1 convolution, `pointwise_weights`:
    /// 1×1×(in·multiplier)×out. Nothing stands between the two, so their product is loaded as one
    /// kernel; that pays for few input channels.
    Separable(i64),
}

impl Connection {
    /// Names of the kernels.
    fn kernels(self) -> &'static [&'static str] {
        match self {
            Self::Groups(_) => &["weights"],
            Self::Depthwise => &["depthwise_weights"],
            Self::Pointwise => &["pointwise_weights"],
            Self::Separable(_) => &["depthwise_weights", "pointwise_weights"],
        }
    }
}

/// What follows the sum of products.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// Nothing.
    Nothing,
    /// `biases`.
    Bias,
    /// `biases`; the sum is multiplied by a number.
    Scaled(f64),
    /// A batch norm, by default under `BatchNorm/`, and no bias.
    BatchNorm(BatchNorm),
}

/// The nonlinearity at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Identity,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

impl Activation {
    /// TensorFlow's name of it, if it is one.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::Identity => None,
            Self::Relu => Some("Relu"),
            Self::Relu6 => Some("Relu6"),
        }
    }

    /// Applies it to `x`, in place: nothing else may use `x` afterwards.
    pub fn apply(self, mut x: Tensor) -> Tensor {
        match self {
            Self::Identity => x,
            Self::Relu => x.relu_(),
            Self::Relu6 => x.relu6_(), // its gradient costs a quarter of that of `clamp`
        }
    }
}

/// Description of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Height and width of the kernel.
    pub kernel: [i64; 2],
    /// Input channels.
    pub inputs: i64,
    /// Output channels.
    pub outputs: i64,
    /// Stride along both axes.
    pub stride: i64,
    /// Zeros around the input.
    pub padding: Padding,
    /// Which inputs an output sees.
    pub connection: Connection,
    /// Bias or batch norm.
    pub ending: Ending,
    /// What comes last.
    pub activation: Activation,
}

impl Conv {
    /// Asks for the tensors at `scope`, and folds a frozen batch norm into the kernel.
    pub fn load(self, scope: &VariableScope) -> Convolution {
        self.load_normed(scope, &scope.at("BatchNorm"))
    }

    /// As [`load`](Self::load), with the tensors of the batch norm at `norm`.
    pub fn load_normed(self, scope: &VariableScope, norm: &VariableScope) -> Convolution {
        let [height, width] = self.kernel;
        let layer = frozen::Layer {
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            separable: matches!(self.connection, Connection::Separable(_)),
            activation: self.activation.name(),
        };
        for variable in self.connection.kernels() {
            frozen::check_convolution(scope, variable, layer);
        }
        let (kernel, groups) = match self.connection {
            Connection::Groups(groups) => {
                let shape = [height, width, self.inputs / groups, self.outputs];
                (scope.tensor("weights", &shape, Role::Kernel).permute([3, 2, 0, 1]), groups)
            }
            Connection::Pointwise => {
                let kernel = scope.tensor(
                    "pointwise_weights",
                    &[height, width, self.inputs, self.outputs],
                    Role::Kernel,
                );
                (kernel.permute([3, 2, 0, 1]), 1)
            }
            Connection::Depthwise => {
                let shape = [height, width, self.inputs, self.outputs / self.inputs];
                let kernel = scope.tensor("depthwise_weights", &shape, Role::Depthwise);
                (
                    kernel.permute([2, 3, 0, 1]).reshape([self.outputs, 1, height, width]),
                    self.inputs,
                )
            }
            Connection::Separable(multiplier) => {
                let depthwise = scope.tensor(
                    "depthwise_weights",
                    &[height, width, self.inputs, multiplier],
                    Role::Depthwise,
                );
                let pointwise = scope.tensor(
                    "pointwise_weights",
                    &[1, 1, self.inputs * multiplier, self.outputs],
                    Role::Kernel,
                );
                // (in×H·W×multiplier)·(in×multiplier×out)
                let depthwise = depthwise.permute([2, 0, 1, 3]).reshape([
                    self.inputs,
                    height * width,
                    multiplier,
                ]);
                let kernel =
                    depthwise.bmm(&pointwise.view([self.inputs, multiplier, self.outputs]));
                (kernel.permute([2, 0, 1]).reshape([self.outputs, self.inputs, height, width]), 1)
            }
        };
        let biases = || scope.tensor("biases", &[self.outputs], Role::Bias);
        let (kernel, bias, norm) = match self.ending {
            Ending::Nothing => (kernel, None, None),
            Ending::Bias => (kernel, Some(biases()), None),
            Ending::Scaled(factor) => (kernel * factor, Some(biases() * factor), None),
            Ending::BatchNorm(description) => match description.load(norm, self.outputs) {
                Normalization::Affine { scale, shift } => {
                    (kernel * scale.view([-1, 1, 1, 1]), Some(shift), None)
                }
                norm @ Normalization::Batch { .. } => (kernel, None, Some(norm)),
            },
        };
        Convolution { kernel: channels_last(&kernel), groups, bias, norm, conv: self }
    }
}

/// A 1×1 convolution with fewer multiplications than this is computed as a matrix product, which
/// has less overhead per call.
const FEW: i64 = 1 << 21;

/// A loaded convolution.
pub struct Convolution {
    /// out×(in/groups)×H×W.
    kernel: Tensor,
    groups: i64,
    bias: Option<Tensor>,
    /// In training only; otherwise it is folded into kernel and bias.
    norm: Option<Normalization>,
    conv: Conv,
}

impl Convolution {
    /// N×in×H×W → N×out×H'×W'.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let Conv { stride, padding, activation, .. } = self.conv;
        let bias = self.bias.as_ref();
        // Before the product is viewed as a map: the gradient of an in-place operation on a view is
        // slow.
        let activate =
            |product| if self.norm.is_none() { activation.apply(product) } else { product };
        let x = if self.is_short(x) {
            let x = x.permute([0, 2, 3, 1]);
            let mut size = x.size();
            size[3] = self.conv.outputs;
            let (positions, matrix) =
                (x.reshape([-1, self.conv.inputs]), self.kernel.flatten(1, -1).tr());
            let product =
                bias.map_or_else(|| positions.mm(&matrix), |bias| bias.addmm(&positions, &matrix));
            activate(product).view(size.as_slice()).permute([0, 3, 1, 2])
        } else {
            let (x, kernel, symmetric) = split(x, &self.kernel, padding, stride);
            // Dilation changes nothing about a 1×1 kernel, but makes libtorch use oneDNN. Without
            // it, libtorch takes MKL's matrix product when it has one thread and fewer than 16
            // images, and oneDNN's is up to 2.6 times as fast.
            let dilation =
                if self.conv.kernel == [1, 1] && x.device() == Device::Cpu { 2 } else { 1 };
            activate(x.conv2d(
                &kernel,
                bias,
                [stride, stride],
                symmetric,
                [dilation, dilation],
                self.groups,
            ))
        };
        self.norm.iter().fold(x, |x, norm| activation.apply(norm.forward(&x)))
    }

    /// Whether this convolution is a small matrix product.
    fn is_short(&self, x: &Tensor) -> bool {
        let Conv { kernel, stride, inputs, outputs, .. } = self.conv;
        let (batch, _, height, width) = x.size4().expect("a batch of maps");
        kernel == [1, 1]
            && stride == 1
            && self.groups == 1
            && batch * height * width * inputs * outputs < FEW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::tests::{Waves, WavesInTraining, distance, pixels};
    use gauntlet_core::weights::{Misfit, Source, Weights};

    fn normed(kernel: i64, outputs: i64, connection: Connection, gamma: bool) -> Conv {
        Conv {
            kernel: [kernel, kernel],
            inputs: 3,
            outputs,
            stride: 2,
            padding: Padding::Same,
            connection,
            ending: Ending::BatchNorm(BatchNorm { epsilon: 1e-3, gamma }),
            activation: Activation::Relu6,
        }
    }

    #[test]
    fn a_folded_batch_norm_equals_the_batch_norm() {
        let x = pixels(2, 9);
        for (connection, name, shape) in [
            (Connection::Groups(1), "c/weights", [3, 3, 3, 6]),
            (Connection::Groups(3), "c/weights", [3, 3, 1, 6]),
            (Connection::Depthwise, "c/depthwise_weights", [3, 3, 3, 2]),
        ] {
            for gamma in [false, true] {
                let weights = Weights::new(Waves, Device::Cpu);
                let folded =
                    normed(3, 6, connection, gamma).load(&weights.root().at("c")).forward(&x);

                let kernel = Waves.tensor(name, &shape, Role::Kernel).unwrap();
                let (kernel, groups) = if let Connection::Groups(groups) = connection {
                    (kernel.permute([3, 2, 0, 1]), groups)
                } else {
                    // in×multiplier are the outputs, in that order
                    let kernel = Waves.tensor(name, &shape, Role::Depthwise).unwrap();
                    (kernel.view([3, 3, 6, 1]).permute([2, 3, 0, 1]), 3)
                };
                let of = |name: &str, role| {
                    Waves.tensor(&format!("c/BatchNorm/{name}"), &[6], role).ok()
                };
                let plain = x.conv2d::<Tensor>(&kernel, None, [2, 2], [1, 1], [1, 1], groups);
                let scale = if gamma { of("gamma", Role::Gamma) } else { None };
                let expected = plain
                    .batch_norm(
                        scale,
                        of("beta", Role::Beta),
                        of("moving_mean", Role::Mean),
                        of("moving_variance", Role::Variance),
                        false,
                        0.0,
                        1e-3,
                        false,
                    )
                    .clamp(0, 6);
                let distance = distance(&folded, &expected);
                assert!(distance < 1e-6, "{connection:?}, gamma {gamma}: {distance:.1e}");
            }
        }
    }

    #[test]
    fn small_and_large_1x1_convolutions_are_what_they_should_be() {
        // Multiplications: 1,200 and 2,764,800; FEW is 2,097,152.
        let sides = [5, 240]
            .into_iter()
            .flat_map(|side| [(side, Ending::Bias, 1.0), (side, Ending::Scaled(0.3), 0.3)]);
        for (side, ending, factor) in sides {
            let x = Tensor::cat(&[pixels(2, side), pixels(2, side) * 2 - 1], 1).contiguous();
            let conv = Conv {
                kernel: [1, 1],
                inputs: 6,
                stride: 1,
                ending,
                ..normed(1, 4, Connection::Groups(1), false)
            };
            let product = conv.load(&Weights::new(Waves, Device::Cpu).root().at("c")).forward(&x);
            let of = |name: &str, shape: &[i64], role| {
                Waves.tensor(&format!("c/{name}"), shape, role).unwrap()
            };
            let kernel = of("weights", &[1, 1, 6, 4], Role::Kernel).permute([3, 2, 0, 1]);
            let expected =
                x.conv2d(&kernel, Some(of("biases", &[4], Role::Bias)), [1, 1], [0, 0], [1, 1], 1)
                    * factor;
            assert_eq!(product.stride(), channels_last(&product).stride());
            let distance = distance(&product, &expected.clamp(0, 6));
            assert!(distance < 1e-6, "{ending:?}, side {side}: {distance:.1e}");
        }
    }

    #[test]
    fn a_separable_convolution_equals_its_two_in_turn() {
        let x = pixels(2, 9);
        let separable =
            Conv { ending: Ending::Bias, ..normed(3, 5, Connection::Separable(4), false) };
        let product = separable.load(&Weights::new(Waves, Device::Cpu).root().at("c")).forward(&x);
        let of = |name: &str, shape: &[i64], role| {
            Waves.tensor(&format!("c/{name}"), shape, role).unwrap()
        };
        let depthwise = of("depthwise_weights", &[3, 3, 3, 4], Role::Depthwise)
            .view([3, 3, 12, 1])
            .permute([2, 3, 0, 1]);
        let pointwise = of("pointwise_weights", &[1, 1, 12, 5], Role::Kernel).permute([3, 2, 0, 1]);
        let expected = x
            .conv2d::<Tensor>(&depthwise, None, [2, 2], [1, 1], [1, 1], 3)
            .conv2d(&pointwise, Some(of("biases", &[5], Role::Bias)), [1, 1], [0, 0], [1, 1], 1)
            .clamp(0, 6);
        let distance = distance(&product, &expected);
        assert!(distance < 1e-5, "{distance:.1e}");
    }

    #[test]
    fn in_training_the_statistics_are_the_batch_s() {
        let load = |source: Weights| {
            let conv = Conv {
                activation: Activation::Identity,
                ..normed(3, 6, Connection::Groups(1), false)
            };
            conv.load(&source.root().at("c")).forward(&pixels(8, 9))
        };
        let mean = |x: &Tensor| x.mean_dim([0i64, 2, 3].as_slice(), false, tch::Kind::Float);
        let beta = Waves.tensor("c/BatchNorm/beta", &[6], Role::Beta).unwrap();
        assert!(distance(&mean(&load(Weights::new(WavesInTraining, Device::Cpu))), &beta) < 1e-4);
        assert!(distance(&mean(&load(Weights::new(Waves, Device::Cpu))), &beta) > 1e-2);
    }

    #[test]
    fn same_padding_puts_the_odd_row_after() {
        // A 2×2 kernel that sees its last row and column alone picks position 1, 3, … of each axis.
        struct Last;
        impl Source for Last {
            fn tensor(&self, _: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
                let values: &[f32] =
                    if role == Role::Kernel { &[0.0, 0.0, 0.0, 1.0] } else { &[0.0] };
                Ok(Tensor::from_slice(values).view(shape))
            }
        }
        let x = Tensor::arange(9, (tch::Kind::Float, Device::Cpu)).view([1, 1, 3, 3]);
        let weights = Weights::new(Last, Device::Cpu);
        let conv = Conv {
            kernel: [2, 2],
            inputs: 1,
            outputs: 1,
            stride: 2,
            padding: Padding::Same,
            connection: Connection::Groups(1),
            ending: Ending::Bias,
            activation: Activation::Relu,
        };
        let y = conv.load(&weights.root()).forward(&x);
        assert_eq!(Vec::<f32>::try_from(y.flatten(0, -1)).unwrap(), [4.0, 0.0, 0.0, 0.0]);
    }
}

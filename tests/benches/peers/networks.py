"""Networks in PyTorch, with the weights of a TF-Slim checkpoint."""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def same(n, kernel, stride):
    """TensorFlow's SAME padding of an axis: before, after."""
    total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    return total // 2, total - total // 2


class Conv(nn.Module):
    """A convolution, then batch norm or a bias, then an activation.

    Where it is `symmetric` and strided, both sides of an axis get the same padding.
    """

    def __init__(self, tensors, scope, stride=1, activation=None, symmetric=False, epsilon=None):
        super().__init__()
        depthwise = f"{scope}/depthwise_weights" in tensors
        kernel = tensors[f"{scope}/{'depthwise_weights' if depthwise else 'weights'}"]
        kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
        self.size, self.stride, self.symmetric = kernel.shape[-1], stride, symmetric
        groups = kernel.shape[0] if depthwise else 1
        bias = tensors.get(f"{scope}/biases")
        self.conv = nn.Conv2d(
            kernel.shape[1] * groups,
            kernel.shape[0],
            self.size,
            stride,
            groups=groups,
            bias=bias is not None,
        )
        self.conv.weight.data = kernel.contiguous()
        if bias is not None:
            self.conv.bias.data = bias
        self.norm = None if epsilon is None else norm(tensors, f"{scope}/BatchNorm", epsilon)
        self.activation = activation or nn.Identity()

    def forward(self, x):
        alike = self.symmetric and self.stride > 1
        top, bottom = (
            ((self.size - 1) // 2, self.size // 2)
            if alike
            else same(x.shape[2], self.size, self.stride)
        )
        left, right = (
            ((self.size - 1) // 2, self.size // 2)
            if alike
            else same(x.shape[3], self.size, self.stride)
        )
        if (top, left) == (bottom, right):
            # Padding by the layer itself costs nothing.
            x = F.conv2d(
                x,
                self.conv.weight,
                self.conv.bias,
                self.stride,
                (top, left),
                groups=self.conv.groups,
            )
        else:
            x = self.conv(F.pad(x, (left, right, top, bottom)))
        return self.activation(x if self.norm is None else self.norm(x))


def norm(tensors, scope, epsilon):
    layer = nn.BatchNorm2d(len(tensors[f"{scope}/beta"]), eps=epsilon)
    layer.weight.data = tensors[f"{scope}/gamma"]
    layer.bias.data = tensors[f"{scope}/beta"]
    layer.running_mean = tensors[f"{scope}/moving_mean"]
    layer.running_var = tensors[f"{scope}/moving_variance"]
    return layer


def dense(tensors, scope):
    """A dense layer, which the checkpoints hold as a convolution over the whole image."""
    kernel = tensors[f"{scope}/weights"].permute(3, 2, 0, 1).flatten(1)
    layer = nn.Linear(kernel.shape[1], kernel.shape[0])
    layer.weight.data, layer.bias.data = kernel.contiguous(), tensors[f"{scope}/biases"]
    return layer


class Vgg16(nn.Module):
    def __init__(self, tensors):
        super().__init__()
        layers = []
        for group, count in enumerate([2, 2, 3, 3, 3], 1):
            layers += [
                Conv(
                    tensors, f"vgg_16/conv{group}/conv{group}_{n}", activation=nn.ReLU(inplace=True)
                )
                for n in range(1, count + 1)
            ]
            layers.append(nn.MaxPool2d(2, 2))
        head = [
            dense(tensors, "vgg_16/fc6"),
            nn.ReLU(inplace=True),
            dense(tensors, "vgg_16/fc7"),
            nn.ReLU(inplace=True),
            dense(tensors, "vgg_16/fc8"),
        ]
        self.layers = nn.Sequential(*layers, nn.Flatten(), *head)
        self.register_buffer("means", torch.tensor([123.68, 116.78, 103.94]).view(3, 1, 1))

    def forward(self, pixels):
        return self.layers(pixels * 255 - self.means)


class MobileNetV1(nn.Module):
    STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]

    def __init__(self, tensors):
        super().__init__()

        def conv(name, stride=1):
            return Conv(
                tensors, f"MobilenetV1/{name}", stride, nn.ReLU6(inplace=True), epsilon=1e-3
            )

        layers = [conv("Conv2d_0", 2)]
        for n, stride in enumerate(self.STRIDES, 1):
            layers += [conv(f"Conv2d_{n}_depthwise", stride), conv(f"Conv2d_{n}_pointwise")]
        self.layers = nn.Sequential(
            *layers,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            dense(tensors, "MobilenetV1/Logits/Conv2d_1c_1x1"),
        )

    def forward(self, pixels):
        return self.layers(pixels * 2 - 1)


class Unit(nn.Module):
    """A preactivated bottleneck of ResNet v2."""

    def __init__(self, tensors, scope, stride):
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.stride = stride
        self.preact = nn.Sequential(norm(tensors, f"{scope}/preact", 1e-5), relu)
        projected = f"{scope}/shortcut/weights" in tensors
        self.shortcut = (
            Conv(tensors, f"{scope}/shortcut", stride, symmetric=True) if projected else None
        )
        self.body = nn.Sequential(
            Conv(tensors, f"{scope}/conv1", 1, relu, epsilon=1e-5),
            Conv(tensors, f"{scope}/conv2", stride, relu, symmetric=True, epsilon=1e-5),
            Conv(tensors, f"{scope}/conv3"),
        )

    def forward(self, x):
        preact = self.preact(x)
        around = (
            x[:, :, :: self.stride, :: self.stride]
            if self.shortcut is None
            else self.shortcut(preact)
        )
        return self.body(preact) + around


class ResNetV2(nn.Module):
    def __init__(self, tensors):
        super().__init__()
        top = "resnet_v2_50"
        self.root = Conv(tensors, f"{top}/conv1", 2, symmetric=True)
        units = []
        for block, (count, stride) in enumerate([(3, 2), (4, 2), (6, 2), (3, 1)], 1):
            scopes = [f"{top}/block{block}/unit_{n}/bottleneck_v2" for n in range(1, count + 1)]
            units += [
                Unit(tensors, scope, stride if scope == scopes[-1] else 1) for scope in scopes
            ]
        self.units = nn.Sequential(*units)
        self.head = nn.Sequential(
            norm(tensors, f"{top}/postnorm", 1e-5),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            dense(tensors, f"{top}/logits"),
        )

    def forward(self, pixels):
        x = self.root(pixels * 2 - 1)
        (top, bottom), (left, right) = (same(n, 3, 2) for n in x.shape[2:])
        x = F.max_pool2d(F.pad(x, (left, right, top, bottom), value=-torch.inf), 3, 2)
        return self.head(self.units(x))


NETWORKS = {"vgg_16": Vgg16, "mobilenet_v1_100": MobileNetV1, "resnet_v2_50": ResNetV2}


class Counted(nn.Module):
    """A network that counts the images of its forward and backward passes.

    Small images are enlarged first.
    """

    def __init__(self, network, enlarged):
        super().__init__()
        self.network, self.enlarged, self.passes = network, enlarged, [0, 0]
        self.forms = {}

    def form(self, name):
        """The same network in another form, such as `folded` or `folded+channels_last`."""
        if name not in self.forms:
            form = Counted(copy.deepcopy(self.network), self.enlarged)
            for change in name.split("+"):
                FORMS[change](form)
            self.forms[name] = form
        return self.forms[name]

    def back(self, gradient):
        self.passes[1] += len(gradient)

    def forward(self, pixels):
        if self.enlarged:
            pixels = F.interpolate(pixels, size=self.enlarged, mode="bilinear", align_corners=False)
        logits = self.network(pixels)
        self.passes[0] += len(pixels)
        if logits.requires_grad:
            logits.register_hook(self.back)
        return logits


def fold(model):
    for module in model.modules():
        if isinstance(module, Conv) and module.norm is not None:
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), None


FORMS = {
    "folded": fold,
    "channels_last": lambda model: model.to(memory_format=torch.channels_last),
    "weights_too": lambda model: model.requires_grad_(True),
}

"""The Python side of `cargo bench -p gauntlet-tests --bench peers`.

Builds a network in PyTorch the way its users have it (batch norm as a layer, channels first), with the
same weights, and runs the attacks of other libraries on it. Reads requests, a line of JSON each, from
standard input; answers on standard output. Tensors travel in safetensors files.
"""

import copy
import json
import sys
import time
import types

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def same(n, kernel, stride):
    """TensorFlow's SAME padding of an axis: before, after."""
    total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
    return total // 2, total - total // 2


class Conv(nn.Module):
    """A convolution, then batch norm or a bias, then an activation. `symmetric`: strided ones are padded alike on both sides."""

    def __init__(self, tensors, scope, stride=1, activation=None, symmetric=False, epsilon=None):
        super().__init__()
        depthwise = f"{scope}/depthwise_weights" in tensors
        kernel = tensors[f"{scope}/{'depthwise_weights' if depthwise else 'weights'}"]
        kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
        self.size, self.stride, self.symmetric = kernel.shape[-1], stride, symmetric
        groups = kernel.shape[0] if depthwise else 1
        bias = tensors.get(f"{scope}/biases")
        self.conv = nn.Conv2d(kernel.shape[1] * groups, kernel.shape[0], self.size, stride, groups=groups, bias=bias is not None)
        self.conv.weight.data = kernel.contiguous()
        if bias is not None:
            self.conv.bias.data = bias
        self.norm = None if epsilon is None else norm(tensors, f"{scope}/BatchNorm", epsilon)
        self.activation = activation or nn.Identity()

    def forward(self, x):
        alike = self.symmetric and self.stride > 1
        top, bottom = ((self.size - 1) // 2, self.size // 2) if alike else same(x.shape[2], self.size, self.stride)
        left, right = ((self.size - 1) // 2, self.size // 2) if alike else same(x.shape[3], self.size, self.stride)
        if (top, left) == (bottom, right):
            # What a layer pads by itself costs nothing.
            x = F.conv2d(x, self.conv.weight, self.conv.bias, self.stride, (top, left), groups=self.conv.groups)
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
    """What the checkpoints have as a convolution over all that is left."""
    kernel = tensors[f"{scope}/weights"].permute(3, 2, 0, 1).flatten(1)
    layer = nn.Linear(kernel.shape[1], kernel.shape[0])
    layer.weight.data, layer.bias.data = kernel.contiguous(), tensors[f"{scope}/biases"]
    return layer


class Vgg16(nn.Module):
    def __init__(self, tensors):
        super().__init__()
        layers = []
        for group, count in enumerate([2, 2, 3, 3, 3], 1):
            layers += [Conv(tensors, f"vgg_16/conv{group}/conv{group}_{n}", activation=nn.ReLU(inplace=True)) for n in range(1, count + 1)]
            layers.append(nn.MaxPool2d(2, 2))
        head = [dense(tensors, "vgg_16/fc6"), nn.ReLU(inplace=True), dense(tensors, "vgg_16/fc7"), nn.ReLU(inplace=True), dense(tensors, "vgg_16/fc8")]
        self.layers = nn.Sequential(*layers, nn.Flatten(), *head)
        self.register_buffer("means", torch.tensor([123.68, 116.78, 103.94]).view(3, 1, 1))

    def forward(self, pixels):
        return self.layers(pixels * 255 - self.means)


class MobileNetV1(nn.Module):
    STRIDES = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]

    def __init__(self, tensors):
        super().__init__()

        def conv(name, stride=1):
            return Conv(tensors, f"MobilenetV1/{name}", stride, nn.ReLU6(inplace=True), epsilon=1e-3)

        layers = [conv("Conv2d_0", 2)]
        for n, stride in enumerate(self.STRIDES, 1):
            layers += [conv(f"Conv2d_{n}_depthwise", stride), conv(f"Conv2d_{n}_pointwise")]
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense(tensors, "MobilenetV1/Logits/Conv2d_1c_1x1"))

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
        self.shortcut = Conv(tensors, f"{scope}/shortcut", stride, symmetric=True) if projected else None
        self.body = nn.Sequential(
            Conv(tensors, f"{scope}/conv1", 1, relu, epsilon=1e-5),
            Conv(tensors, f"{scope}/conv2", stride, relu, symmetric=True, epsilon=1e-5),
            Conv(tensors, f"{scope}/conv3"),
        )

    def forward(self, x):
        preact = self.preact(x)
        around = x[:, :, :: self.stride, :: self.stride] if self.shortcut is None else self.shortcut(preact)
        return self.body(preact) + around


class ResNetV2(nn.Module):
    def __init__(self, tensors):
        super().__init__()
        top = "resnet_v2_50"
        self.root = Conv(tensors, f"{top}/conv1", 2, symmetric=True)
        units = []
        for block, (count, stride) in enumerate([(3, 2), (4, 2), (6, 2), (3, 1)], 1):
            scopes = [f"{top}/block{block}/unit_{n}/bottleneck_v2" for n in range(1, count + 1)]
            units += [Unit(tensors, scope, stride if scope == scopes[-1] else 1) for scope in scopes]
        self.units = nn.Sequential(*units)
        self.head = nn.Sequential(
            norm(tensors, f"{top}/postnorm", 1e-5), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense(tensors, f"{top}/logits")
        )

    def forward(self, pixels):
        x = self.root(pixels * 2 - 1)
        (top, bottom), (left, right) = (same(n, 3, 2) for n in x.shape[2:])
        x = F.max_pool2d(F.pad(x, (left, right, top, bottom), value=-torch.inf), 3, 2)
        return self.head(self.units(x))


NETWORKS = {"vgg_16": Vgg16, "mobilenet_v1_100": MobileNetV1, "resnet_v2_50": ResNetV2}


class Counted(nn.Module):
    """The network, and how many images have gone through it, there and back. Small images are enlarged first."""

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


# Each takes the model, a batch of pixels, labels, the classes aimed at (or None) and parameters, and gives adversarials.


def by_hand(model, pixels, labels, targets, p):
    if p["attack"] != "fgsm":
        raise NotImplementedError
    pixels = pixels.clone().requires_grad_()
    F.cross_entropy(model(pixels), labels, reduction="sum").backward()
    for weight in model.parameters():
        weight.grad = None
    return (pixels.detach() + p["epsilon"] * pixels.grad.sign()).clamp(0, 1)


def in_form(name):
    def attack(model, pixels, labels, targets, p):
        layout = torch.channels_last if "channels_last" in name else torch.contiguous_format
        return by_hand(model.form(name), pixels.contiguous(memory_format=layout), labels, targets, p).contiguous()

    return attack


def foolbox_attack(model, pixels, labels, targets, p):
    import foolbox as fb

    bounded = fb.PyTorchModel(model, bounds=(0, 1))
    goal = fb.criteria.Misclassification(labels) if targets is None else fb.criteria.TargetedMisclassification(targets)
    if p["attack"] == "fgsm":
        return fb.attacks.LinfFastGradientAttack(random_start=False).run(bounded, pixels, goal, epsilon=p["epsilon"])
    if p["attack"] == "ifgsm":
        attack = fb.attacks.LinfBasicIterativeAttack(abs_stepsize=p["step"], steps=p["iterations"], random_start=False)
        return attack.run(bounded, pixels, goal, epsilon=p["epsilon"])
    shared = {"binary_search_steps": p["search_steps"], "steps": p["iterations"], "confidence": 0.0, "initial_const": p["initial_c"], "abort_early": True}
    if p["attack"] == "cw_l2":
        attack = fb.attacks.L2CarliniWagnerAttack(stepsize=p["rate"], **shared)
    else:
        attack = fb.attacks.EADAttack(initial_stepsize=p["rate"], regularization=p["beta"], decision_rule="L1", **shared)
    found = attack.run(bounded, pixels, goal)
    # Where it finds nothing it gives a black image, which may happen to meet the goal.
    return torch.where(found.flatten(1).any(1).view(-1, 1, 1, 1), found, pixels)


def torchattacks_attack(model, pixels, labels, targets, p):
    import torchattacks as ta

    if p["attack"] == "fgsm":
        attack = ta.FGSM(model, eps=p["epsilon"])
    elif p["attack"] == "ifgsm":
        attack = ta.BIM(model, eps=p["epsilon"], alpha=p["step"], steps=p["iterations"])
    elif p["attack"] == "cw_l2":
        # It has no search over c. Pixels at 0 or 1 become infinite in it.
        pixels = pixels.clamp(1e-6, 1 - 1e-6)
        attack = ta.CW(model, c=p["c"], kappa=0, steps=p["iterations"], lr=p["rate"])
    else:
        pixels = pixels.clone()  # it writes into them
        attack = ta.EADL1(
            model, kappa=0, lr=p["rate"], binary_search_steps=p["search_steps"], max_iterations=p["iterations"], initial_const=p["initial_c"], beta=p["beta"]
        )
    if targets is not None:
        attack.set_mode_targeted_by_label(quiet=True)
    return attack(pixels, labels if targets is None else targets).clamp(0, 1)  # EADL1 leaves the box


def art_attack(model, pixels, labels, targets, p):
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    classes = model(pixels[:1]).shape[1]
    classifier = PyTorchClassifier(model, nn.CrossEntropyLoss(), tuple(pixels.shape[1:]), classes, clip_values=(0, 1), device_type="cpu")
    shared = {"targeted": targets is not None, "batch_size": len(pixels)}
    if p["attack"] == "fgsm":
        attack = evasion.FastGradientMethod(classifier, eps=p["epsilon"], **shared)
    elif p["attack"] == "ifgsm":
        attack = evasion.BasicIterativeMethod(classifier, eps=p["epsilon"], eps_step=p["step"], max_iter=p["iterations"], verbose=False, **shared)
    else:
        search = {"confidence": 0.0, "learning_rate": p["rate"], "binary_search_steps": p["search_steps"], "max_iter": p["iterations"]}
        search |= {"initial_const": p["initial_c"], "verbose": False}
        if p["attack"] == "cw_l2":
            attack = evasion.CarliniL2Method(classifier, **search, **shared)
        else:
            attack = evasion.ElasticNet(classifier, beta=p["beta"], decision_rule="L1", **search, **shared)
    aim = F.one_hot(labels if targets is None else targets, classes).float().numpy()
    return torch.from_numpy(attack.generate(pixels.numpy(), y=aim))


def adv_lib_attack(model, pixels, labels, targets, p):
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # for pictures that nobody asks for
    from adv_lib import attacks

    labels, targeted = (labels, False) if targets is None else (targets, True)
    if p["attack"] == "ifgsm":
        return attacks.pgd_linf(
            model, pixels, labels, p["epsilon"], targeted, steps=p["iterations"], random_init=False, restarts=1, absolute_step_size=p["step"]
        )
    if p["attack"] != "cw_l2":
        raise NotImplementedError
    return attacks.carlini_wagner_l2(
        model, pixels, labels, targeted, learning_rate=p["rate"], initial_const=p["initial_c"], binary_search_steps=p["search_steps"], max_iterations=p["iterations"]
    )


PEERS = {"pytorch": by_hand} | {f"pytorch {name}": in_form(name) for name in ["weights_too", "folded", "channels_last", "folded+channels_last"]}
PEERS |= {"foolbox": foolbox_attack, "torchattacks": torchattacks_attack, "art": art_attack, "adv_lib": adv_lib_attack}


def main():
    torch.manual_seed(0)
    answers = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    model = cases = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                torch.set_num_threads(request["threads"])
                tensors = {name: tensor.float() for name, tensor in load_file(request["weights"]).items()}
                model = Counted(NETWORKS[request["network"]](tensors), request["enlarged"]).eval().requires_grad_(False)
                cases = load_file(request["cases"])
                with torch.no_grad():
                    save_file({"logits": model(cases["pixels"])}, request["out"])
                # Importing a library, and its first run, count for nobody.
                first = slice(0, request["batch"])
                for peer in request["peers"]:
                    attack = PEERS[peer]
                    name = "fgsm" if peer.startswith("pytorch") else "ifgsm"
                    attack(model, cases["pixels"][first], cases["labels"][first], None, {"attack": name, "epsilon": 0.1, "step": 0.1, "iterations": 2})
                answer = {}
            else:
                model.passes = [0, 0]
                found, start = [], time.perf_counter()
                for n in range(0, len(cases["pixels"]), request["batch"]):
                    batch = slice(n, n + request["batch"])
                    targets = cases["targets"][batch] if request["targeted"] else None
                    found.append(PEERS[request["peer"]](model, cases["pixels"][batch], cases["labels"][batch], targets, request["parameters"]))
                seconds = time.perf_counter() - start
                save_file({"pixels": torch.cat(found).detach().float().contiguous()}, request["out"])
                answer = {"seconds": seconds, "forward": model.passes[0], "backward": model.passes[1]}
        except Exception as error:  # one attack that fails shall not end the others
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

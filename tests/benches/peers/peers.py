"""The Python side of `cargo bench -p gauntlet-tests --bench peers`.

Builds a network in PyTorch in its usual form (batch norm as a layer, channels first) with the same
weights, and runs the attacks of other libraries on it. Reads requests from standard input, each a
line of JSON, and answers on standard output. Tensors travel in safetensors files.
"""

import json
import sys
import time
import types

import torch
import torch.nn.functional as F
from networks import NETWORKS, Counted
from safetensors.torch import load_file, save_file
from torch import nn

# Each attack takes the model, a batch of pixels, labels, target classes (or None) and parameters. It
# returns adversarials.


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
        return by_hand(
            model.form(name), pixels.contiguous(memory_format=layout), labels, targets, p
        ).contiguous()

    return attack


def foolbox_attack(model, pixels, labels, targets, p):
    import foolbox as fb

    bounded = fb.PyTorchModel(model, bounds=(0, 1))
    goal = (
        fb.criteria.Misclassification(labels)
        if targets is None
        else fb.criteria.TargetedMisclassification(targets)
    )
    if p["attack"] == "fgsm":
        return fb.attacks.LinfFastGradientAttack(random_start=False).run(
            bounded, pixels, goal, epsilon=p["epsilon"]
        )
    if p["attack"] == "ifgsm":
        attack = fb.attacks.LinfBasicIterativeAttack(
            abs_stepsize=p["step"], steps=p["iterations"], random_start=False
        )
        return attack.run(bounded, pixels, goal, epsilon=p["epsilon"])
    shared = {
        "binary_search_steps": p["search_steps"],
        "steps": p["iterations"],
        "confidence": 0.0,
        "initial_const": p["initial_c"],
        "abort_early": True,
    }
    if p["attack"] == "cw_l2":
        attack = fb.attacks.L2CarliniWagnerAttack(stepsize=p["rate"], **shared)
    else:
        attack = fb.attacks.EADAttack(
            initial_stepsize=p["rate"], regularization=p["beta"], decision_rule="L1", **shared
        )
    found = attack.run(bounded, pixels, goal)
    # Where it finds nothing it returns a black image, which may meet the goal by chance.
    return torch.where(found.flatten(1).any(1).view(-1, 1, 1, 1), found, pixels)


def torchattacks_attack(model, pixels, labels, targets, p):
    import torchattacks as ta

    if p["attack"] == "fgsm":
        attack = ta.FGSM(model, eps=p["epsilon"])
    elif p["attack"] == "ifgsm":
        attack = ta.BIM(model, eps=p["epsilon"], alpha=p["step"], steps=p["iterations"])
    elif p["attack"] == "cw_l2":
        # This attack has no search over c, and pixels at 0 or 1 become infinite in it.
        pixels = pixels.clamp(1e-6, 1 - 1e-6)
        attack = ta.CW(model, c=p["c"], kappa=0, steps=p["iterations"], lr=p["rate"])
    else:
        pixels = pixels.clone()  # the attack writes into them
        attack = ta.EADL1(
            model,
            kappa=0,
            lr=p["rate"],
            binary_search_steps=p["search_steps"],
            max_iterations=p["iterations"],
            initial_const=p["initial_c"],
            beta=p["beta"],
        )
    if targets is not None:
        attack.set_mode_targeted_by_label(quiet=True)
    return attack(pixels, labels if targets is None else targets).clamp(
        0, 1
    )  # EADL1 leaves the box


def art_attack(model, pixels, labels, targets, p):
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    classes = model(pixels[:1]).shape[1]
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        tuple(pixels.shape[1:]),
        classes,
        clip_values=(0, 1),
        device_type="cpu",
    )
    shared = {"targeted": targets is not None, "batch_size": len(pixels)}
    if p["attack"] == "fgsm":
        attack = evasion.FastGradientMethod(classifier, eps=p["epsilon"], **shared)
    elif p["attack"] == "ifgsm":
        attack = evasion.BasicIterativeMethod(
            classifier,
            eps=p["epsilon"],
            eps_step=p["step"],
            max_iter=p["iterations"],
            verbose=False,
            **shared,
        )
    else:
        search = {
            "confidence": 0.0,
            "learning_rate": p["rate"],
            "binary_search_steps": p["search_steps"],
            "max_iter": p["iterations"],
        }
        search |= {"initial_const": p["initial_c"], "verbose": False}
        if p["attack"] == "cw_l2":
            attack = evasion.CarliniL2Method(classifier, **search, **shared)
        else:
            attack = evasion.ElasticNet(
                classifier, beta=p["beta"], decision_rule="L1", **search, **shared
            )
    aim = F.one_hot(labels if targets is None else targets, classes).float().numpy()
    return torch.from_numpy(attack.generate(pixels.numpy(), y=aim))


def adv_lib_attack(model, pixels, labels, targets, p):
    sys.modules.setdefault(
        "visdom", types.ModuleType("visdom")
    )  # imported for pictures, which are not asked for
    from adv_lib import attacks

    labels, targeted = (labels, False) if targets is None else (targets, True)
    if p["attack"] == "ifgsm":
        return attacks.pgd_linf(
            model,
            pixels,
            labels,
            p["epsilon"],
            targeted,
            steps=p["iterations"],
            random_init=False,
            restarts=1,
            absolute_step_size=p["step"],
        )
    if p["attack"] != "cw_l2":
        raise NotImplementedError
    return attacks.carlini_wagner_l2(
        model,
        pixels,
        labels,
        targeted,
        learning_rate=p["rate"],
        initial_const=p["initial_c"],
        binary_search_steps=p["search_steps"],
        max_iterations=p["iterations"],
    )


PEERS = {"pytorch": by_hand} | {
    f"pytorch {name}": in_form(name)
    for name in ["weights_too", "folded", "channels_last", "folded+channels_last"]
}
PEERS |= {
    "foolbox": foolbox_attack,
    "torchattacks": torchattacks_attack,
    "art": art_attack,
    "adv_lib": adv_lib_attack,
}


def main():
    torch.manual_seed(0)
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries print, and standard output is for answers
    model = cases = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "open":
                torch.set_num_threads(request["threads"])
                tensors = {
                    name: tensor.float() for name, tensor in load_file(request["weights"]).items()
                }
                model = (
                    Counted(NETWORKS[request["network"]](tensors), request["enlarged"])
                    .eval()
                    .requires_grad_(False)
                )
                cases = load_file(request["cases"])
                with torch.no_grad():
                    save_file({"logits": model(cases["pixels"])}, request["out"])
                # The import of a library and its first run are not timed.
                first = slice(0, request["batch"])
                for peer in request["peers"]:
                    attack = PEERS[peer]
                    name = "fgsm" if peer.startswith("pytorch") else "ifgsm"
                    attack(
                        model,
                        cases["pixels"][first],
                        cases["labels"][first],
                        None,
                        {"attack": name, "epsilon": 0.1, "step": 0.1, "iterations": 2},
                    )
                answer = {}
            else:
                model.passes = [0, 0]
                found, start = [], time.perf_counter()
                for n in range(0, len(cases["pixels"]), request["batch"]):
                    batch = slice(n, n + request["batch"])
                    targets = cases["targets"][batch] if request["targeted"] else None
                    found.append(
                        PEERS[request["peer"]](
                            model,
                            cases["pixels"][batch],
                            cases["labels"][batch],
                            targets,
                            request["parameters"],
                        )
                    )
                seconds = time.perf_counter() - start
                save_file(
                    {"pixels": torch.cat(found).detach().float().contiguous()}, request["out"]
                )
                answer = {
                    "seconds": seconds,
                    "forward": model.passes[0],
                    "backward": model.passes[1],
                }
        except Exception as error:  # an attack that fails must not end the others
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""What does each thing that makes a training step quick on a processor give by itself?

Run: OMP_NUM_THREADS=2 python benchmarks/training_step.py [--networks tiny_vgg,alexnet] [--rounds 3] [--steps 5]

A step is forward pass, backward pass and Adam on 32 images of the paper's size. Each row takes one thing away from
lentigo's step, or adds one that it does not use, in a process of its own; rows are run in turn, several rounds, and the
median step counts. Prints a table for RESULTS.md: the time of the step with the change over the time without.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time

import torch
from plain_loop import CONFIGS
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lentigo.config import TrainConfig, read_experiment
from lentigo.learn.arithmetic import arithmetic
from lentigo.models.registry import create_model, model_entry, resolve_preprocessing

CHANGES = {
    "as lentigo does it": "",
    "colours in planes, not side by side (no channels_last)": "planes",
    "ReLU before pooling, as the paper draws it": "relu_first",
    "ReLU not in place": "relu_copy",
    "the whole batch at once, not in pieces": "whole",
    "freed memory given back": "given_back",
    "Adam weight by weight (foreach), not fused": "foreach",
    "not used: gradients set to 0, not dropped": "zeroed",
    "not the default: bfloat16 (train.precision)": "bfloat16",
}


def main(networks: list[str], rounds: int, steps: int) -> None:
    """Print a table for each network."""
    for name in networks:
        seconds: dict[str, list[float]] = {row: [] for row in CHANGES}
        for _ in range(rounds):
            for row, change in CHANGES.items():
                if change == "whole" and not model_entry(name).micro_batch_size:
                    continue
                if change == "relu_first" and name != "tiny_vgg":
                    continue
                command = [sys.executable, __file__, "--one", name, change, "--steps", str(steps)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                seconds[row].append(float(done.stdout))
        print(f"\n| {model_entry(name).title} | ms a step | times |")
        print("|---|---|---|")
        first = statistics.median(seconds["as lentigo does it"])
        for row, found in seconds.items():
            if found:
                value = statistics.median(found)
                print(f"| {row} | {1000 * value:.0f} | {value / first:.2f} |", flush=True)


def step_s(name: str, change: str, steps: int) -> float:
    """The median time of a step."""
    experiment = read_experiment(CONFIGS / f"{name}.toml")
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    model = create_model(experiment.model, preprocessing, seed=0)
    if change == "relu_first":
        model.features = relu_first(model.features)  # type: ignore[arg-type]
    for layer in model.modules():
        if isinstance(layer, nn.ReLU) and change == "relu_copy":
            layer.inplace = False
    images = torch.rand(32, 3, preprocessing.output_px, preprocessing.output_px)
    if change != "planes":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = images.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(32).remainder(2).float()
    adam = torch.optim.Adam(model.parameters(), lr=1e-4, fused=change != "foreach", foreach=change == "foreach")
    piece = (model_entry(name).micro_batch_size if change != "whole" else 0) or 32
    kept = contextlib.nullcontext() if change == "given_back" else arithmetic(TrainConfig(), torch.device("cpu"))
    taken = []
    with kept:
        for _ in range(steps + 2):
            started = time.perf_counter()
            adam.zero_grad(set_to_none=change != "zeroed")
            for start in range(0, 32, piece):
                with torch.autocast("cpu", torch.bfloat16, enabled=change == "bfloat16"):
                    logits = model(images[start : start + piece]).float()
                loss = binary_cross_entropy_with_logits(logits, labels[start : start + piece], reduction="sum") / 32
                loss.backward()
            adam.step()
            taken.append(time.perf_counter() - started)
    return statistics.median(taken[2:])


def relu_first(features: nn.Module) -> nn.Sequential:
    """Every pooling with the ReLU behind it, the other way round; the same function."""
    layers = list(features.children())
    for place in range(len(layers) - 1):
        if isinstance(layers[place], nn.MaxPool2d) and isinstance(layers[place + 1], nn.ReLU):
            layers[place : place + 2] = [layers[place + 1], layers[place]]
    return nn.Sequential(*layers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="tiny_vgg,alexnet")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(step_s(*given.one, given.steps))
    else:
        main(given.networks.split(","), given.rounds, given.steps)

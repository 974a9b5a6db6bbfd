"""How fast does lentigo train, beside the loop that the field writes, and does it compute the same?

Run: OMP_NUM_THREADS=2 python benchmarks/plain_loop.py DATA [--batches 60] [--networks tiny_vgg,alexnet,vgg11]

DATA holds benign/ and malignant/ under train/ or test/, as the paper's images do. The plain loop: torchvision's
ImageFolder with PIL, transforms on the processor, a DataLoader with a worker a core, networks as torchvision and the
paper's figure have them, float32, eager, colours in planes, Adam, and `.item()` at every step. Both train on the same
images in the same order, from the same weights.

First both losses are compared over 20 steps, augmentation off (asked: within 1e-4); in float64 too, since Adam divides
by the size of a gradient and makes the rounding of gradients near 0 grow, which says nothing of either program. How far
that goes is seen from the plain loop beside itself, with the colours of a pixel side by side and nothing else changed.
Then each trains on so many batches with the paper's augmentation, lentigo from its pack, which is written before;
images a second without the first two batches, which start workers. Prints a table for RESULTS.md. Asked of the ratio,
on two cores: Tiny VGG 3.0, AlexNet 1.3, VGG11 1.15.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import ConcatDataset, DataLoader, Subset
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

from lentigo.config import Experiment, read_experiment
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.split import Split, make_split
from lentigo.data.table import ImageTable, read_table
from lentigo.learn.training import TrainingData, TrainProgress, train
from lentigo.models.contract import seeded_torch
from lentigo.models.registry import create_model, model_entry, resolve_preprocessing

ASKED = {"tiny_vgg": 3.0, "alexnet": 1.3, "vgg11": 1.15}
CONFIGS = Path("configs/paper")
STEPS, WARM_UP = 20, 2


def plain_network(name: str, experiment: Experiment) -> nn.Module:
    """As the paper's author would write it, with the weights that lentigo starts from."""
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    if name == "tiny_vgg":
        side = (preprocessing.output_px or 0) // 4
        blocks = [
            layer
            for colours in (3, 10)
            for layer in (
                nn.Conv2d(colours, 10, 3, padding=1), nn.ReLU(), nn.Conv2d(10, 10, 3, padding=1), nn.ReLU(),
                nn.MaxPool2d(2),
            )
        ]  # fmt: skip
        network: nn.Module = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(10 * side * side, 1))
    else:
        network = {"alexnet": models.alexnet, "vgg11": models.vgg11}[name](num_classes=1)
    start = create_model(experiment.model, preprocessing, seed=experiment.seed)
    with torch.no_grad():
        for mine, theirs in zip(network.parameters(), start.parameters(), strict=True):
            mine.copy_(theirs)
    return network


def plain_transforms(experiment: Experiment, *, augmented: bool) -> transforms.Compose:
    """The paper's, in its order."""
    config, preprocessing = experiment.augment, resolve_preprocessing(experiment.model, experiment.preprocessing)
    jitter = transforms.ColorJitter(brightness=config.jitter, saturation=config.jitter, hue=config.jitter)
    changes = [
        transforms.RandomHorizontalFlip(config.flip_probability),
        transforms.RandomApply([jitter], config.jitter_probability),
        transforms.RandomApply([transforms.RandomRotation(config.rotate_degrees)], config.rotate_probability),
    ]
    px = preprocessing.resize_px
    return transforms.Compose([
        transforms.Resize((experiment.data.image_px,) * 2),
        *(changes if augmented else []),
        transforms.Resize((px, px)),
        *([transforms.CenterCrop(preprocessing.crop_px)] if preprocessing.crop_px else []),
        transforms.ToTensor(),
        transforms.Normalize(preprocessing.mean, preprocessing.std),
    ])  # fmt: skip


def plain_loop(
    data: Path,
    table: ImageTable,
    order: np.ndarray,
    name: str,
    experiment: Experiment,
    *,
    augmented: bool,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.contiguous_format,
) -> Iterator[float]:
    """The loss of every step on the images at `order`."""
    folders = [ImageFolder(str(data / part)) for part in ("train", "test") if (data / part).is_dir()]
    folders = folders or [ImageFolder(str(data))]
    for folder in folders:
        folder.transform = plain_transforms(experiment, augmented=augmented)
    place = {Path(path): number for number, (path, _) in enumerate(pair for f in folders for pair in f.samples)}
    images = Subset(ConcatDataset(folders), [place[table.rows[index].path] for index in order])
    loader = DataLoader(images, batch_size=experiment.train.batch_size, num_workers=os.cpu_count() or 1)
    network = plain_network(name, experiment).train().to(device, dtype, memory_format=layout)  # type: ignore[call-overload]
    adam = torch.optim.Adam(network.parameters(), lr=experiment.train.learning_rate, betas=experiment.train.betas)
    for step, (loaded, known) in enumerate(loader):
        batch, labels = loaded.to(device, dtype, memory_format=layout), known.to(device, dtype)
        adam.zero_grad()
        with seeded_torch(experiment.seed, 0, step, 0xD809):  # lentigo's dropout, so that losses can be compared
            loss: Tensor = binary_cross_entropy_with_logits(network(batch)[:, 0], labels)
        loss.backward()
        adam.step()
        yield loss.item()


def of_batches(table: ImageTable, split: Split, count: int, experiment: Experiment) -> tuple[Split, np.ndarray]:
    """A split that trains on so many batches alone, and the order in which lentigo takes them in its first epoch."""
    chosen = np.random.default_rng(0).permutation(split.indices(table, "train"))[: count * experiment.train.batch_size]
    validation = split.indices(table, "validation")[:: max(1, len(split.indices(table, "validation")) // 32)]
    kept = {table.ids[index] for index in (*chosen, *validation)}  # lentigo validates at the end, which is not timed
    part = {image: was if was == "test" or image in kept else "exclude" for image, was in split.part.items()}
    small = Split(part)
    rng = np.random.default_rng(np.random.SeedSequence((experiment.seed, 0, 0x0DE8)))
    return small, rng.permutation(small.indices(table, "train"))


def lentigo_loop(data: TrainingData, experiment: Experiment, on_step: list[tuple[float, float]]) -> None:
    """Train one epoch in a folder that is thrown away; (seconds, summed loss) of every step."""

    images = len(data.split.indices(data.table, "train"))

    def told(progress: TrainProgress) -> None:
        if len(on_step) < progress.step:
            seen = min(progress.step * experiment.train.batch_size, images)
            on_step.append((time.perf_counter(), progress.loss * seen))

    with tempfile.TemporaryDirectory() as folder:
        train(Path(folder) / "run", experiment, data, on_progress=told)


def main(given: argparse.Namespace) -> None:
    """Print a row for each network."""
    table = read_table(given.data)
    print(f"| network | difference of the loss, {given.steps} steps | first step | of the plain loop in another layout "
          f"| in float64, {given.steps_64} steps | plain, images/s | lentigo, images/s | ratio | asked |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for name in given.networks.split(","):
        rates = {
            kind: [in_own_process(given, name, kind) for _ in range(given.rounds)] for kind in ("plain", "lentigo")
        }
        plain, ours = (statistics.median(found) for found in rates.values())
        experiment, split, pack = prepared(table, name, given.cache)
        (off, itself), (off_64, _) = (
            equality(given.data, table, pack, split, name, experiment, steps=steps, precision=precision)
            for precision, steps in (("32-true", given.steps), ("64-true", given.steps_64))
        )
        print(f"| {model_entry(name).title} | {off.max():.0e} | {off[0]:.0e} | {itself.max():.0e} | {off_64.max():.0e} "
              f"| {plain:.1f} | {ours:.1f} | {ours / plain:.2f} | {ASKED[name]} |", flush=True)  # fmt: skip


def prepared(table: ImageTable, name: str, cache: Path | None) -> tuple[Experiment, Split, ImagePack]:
    """The paper's experiment of one network for one epoch on the processor, its split and its pack."""
    experiment = read_experiment(CONFIGS / f"{name}.toml").changed(train={"epochs": 1, "device": "cpu"})
    protocol = "paper" if len(table) == 10_605 else "stratified"
    split = make_split(table, experiment.changed(split={"protocol": protocol}).split)
    return experiment, split, pack_images(table, image_px=experiment.data.image_px, cache=cache)


def in_own_process(given: argparse.Namespace, name: str, kind: str) -> float:
    """Images a second of one of the two, whose memory settings and warm caches are its own."""
    command = [sys.executable, __file__, str(given.data), "--networks", name, "--batches", str(given.batches)]
    cache = [] if given.cache is None else ["--cache", str(given.cache)]
    done = subprocess.run([*command, *cache, "--one", kind], capture_output=True, text=True, check=True)
    return float(done.stdout)


def one(given: argparse.Namespace) -> float:
    """Images a second of the plain loop or of lentigo."""
    name, table = given.networks, read_table(given.data)
    experiment, split, pack = prepared(table, name, given.cache)
    small, order = of_batches(table, split, given.batches, experiment)
    if given.one == "plain":
        loop = plain_loop(given.data, table, order, name, experiment, augmented=True)
        return rate([time.perf_counter() for _ in loop], experiment)
    steps: list[tuple[float, float]] = []
    lentigo_loop(TrainingData(table=table, pack=pack, split=small), experiment, steps)
    return rate([at for at, _ in steps], experiment)


def equality(
    path: Path,
    table: ImageTable,
    pack: ImagePack,
    split: Split,
    name: str,
    experiment: Experiment,
    *,
    steps: int,
    precision: str,
) -> tuple[np.ndarray, np.ndarray]:
    """How far two losses are apart at each step, without augmentation; NaN for no step.

    Returns: of the plain loop and lentigo; of the plain loop and itself in another layout, in float32 only.
    """
    nothing = np.array([math.nan])
    if not steps:
        return nothing, nothing
    off = {f"{change}_probability": 0.0 for change in ("flip", "jitter", "rotate")}
    plain = experiment.changed(augment=off, train={"precision": precision})
    small, order = of_batches(table, split, steps, plain)
    dtype = torch.float64 if precision == "64-true" else torch.float32
    looped = partial(plain_loop, path, table, order, name, plain, augmented=False, dtype=dtype)
    expected = np.array(list(looped()))
    other = nothing if dtype == torch.float64 else np.abs(list(looped(layout=torch.channels_last)) - expected)
    told: list[tuple[float, float]] = []
    lentigo_loop(TrainingData(table=table, pack=pack, split=small), plain, told)
    sums = np.diff([0.0, *(total for _, total in told)])
    sizes = [min(plain.train.batch_size, len(order) - k * plain.train.batch_size) for k in range(len(expected))]
    return np.abs(sums / sizes - expected), other


def rate(stamps: list[float], experiment: Experiment) -> float:
    """Images a second after the first batches."""
    return experiment.train.batch_size * (len(stamps) - 1 - WARM_UP) / (stamps[-1] - stamps[WARM_UP])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", default="tiny_vgg,alexnet,vgg11")
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--steps", type=int, default=STEPS, help="steps compared in float32")
    parser.add_argument("--steps-64", type=int, default=STEPS, help="steps compared in float64, which takes long")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--one", choices=["plain", "lentigo"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(one(arguments))
    else:
        main(arguments)

"""How fast do images reach a network, from lentigo's pack and from ImageFolder with its transforms?

Run: python benchmarks/input_pipeline.py DATA [--images 1500]

DATA: the paper's images. On one core, in one process, with the paper's augmentation and each network's preprocessing:
torchvision's ImageFolder (PIL, transforms on single images, a DataLoader without workers) against lentigo's first
epoch, for which the pack is decoded and written, and its second to tenth, which read the pack: the paper trains for
ten. The median of five rounds. Prints one run of the table in RESULTS.md.
Asked: 10 times the images a second from the second epoch on, and no fewer in the first.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from plain_loop import CONFIGS, plain_transforms
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder

from lentigo.config import Experiment, read_experiment
from lentigo.data.batches import Augmentation, batches
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.table import read_table
from lentigo.learn.arithmetic import arithmetic
from lentigo.models.registry import resolve_preprocessing

INPUTS = (  # network, what its input is, side of the packed images
    ("tiny_vgg", "300 px", 300),
    ("alexnet", "256 px, middle of 224 px", 300),
    ("alexnet", "the same, packed with 256 px", 256),
)
ROUNDS = 5
LATER = range(1, 10)  # epochs, counted from 0


def main(path: Path, count: int) -> None:
    """Print a row for each preprocessing."""
    print("| input | ImageFolder, images/s | first epoch | ratio | second to tenth | ratio |")
    print("|---|---|---|---|---|---|")
    for name, title, packed_px in INPUTS:
        rates = []
        for _ in range(ROUNDS):  # one after the other, so that a change of the machine's speed meets all
            # Each in a process of its own: lentigo's settings of memory outlast its training and quicken what follows.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                plain = process.submit(plain_rate, path, count, name).result()
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                rates.append((plain, *process.submit(lentigo_rates, path, count, name, packed_px).result()))
        plain, first, second = np.median(rates, axis=0)
        print(f"| {title} | {plain:.0f} | {first:.0f} | {first / plain:.1f} | {second:.0f} | {second / plain:.1f} |",
              flush=True)  # fmt: skip


def plain_rate(path: Path, count: int, name: str) -> float:
    """Images a second of ImageFolder, its transforms and a DataLoader."""
    torch.set_num_threads(1)
    folder, chosen = images_of(path, count)
    folder.transform = plain_transforms(read_experiment(CONFIGS / f"{name}.toml"), augmented=True)
    return rate(lambda: (images for images, _ in DataLoader(Subset(folder, chosen), batch_size=32)), count)


def lentigo_rates(path: Path, count: int, name: str, packed_px: int) -> tuple[float, float]:
    """Images a second of lentigo's first epoch and of those after it."""
    torch.set_num_threads(1)
    experiment = read_experiment(CONFIGS / f"{name}.toml").changed(data={"image_px": packed_px})
    folder, chosen = images_of(path, count)
    table = read_table(path)
    places = {Path(row.path): index for index, row in enumerate(table.rows)}
    part = table.subset(np.array([places[Path(folder.samples[index][0])] for index in chosen]))
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        pack = pack_images(part, image_px=packed_px, cache=Path(cache))
        packing_s = time.perf_counter() - started
        with arithmetic(experiment.train, torch.device("cpu")):  # as in a training, whose pack is made before
            first_s = count / rate(partial(from_pack, pack, experiment, epochs=[0]), count)
            later = rate(partial(from_pack, pack, experiment, epochs=LATER), count * len(LATER))
        return count / (packing_s + first_s), later


def images_of(path: Path, count: int) -> tuple[ImageFolder, list[int]]:
    """The training images and the positions of those that both sides read."""
    folder = ImageFolder(str(path / "train"))
    return folder, np.sort(np.random.default_rng(0).permutation(len(folder))[:count]).tolist()


def from_pack(pack: ImagePack, experiment: Experiment, *, epochs: Iterable[int]) -> Iterable[torch.Tensor]:
    """The batches of some epochs, one after the other."""
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    for epoch in epochs:
        augmentation = Augmentation(config=experiment.augment, seed=0, epoch=epoch)
        order = np.random.default_rng(epoch).permutation(len(pack))
        yield from batches(pack, order, preprocessing, batch_size=32, augmentation=augmentation)


def rate(source: Callable[[], Iterable[torch.Tensor]], count: int) -> float:
    """Images a second."""
    started = time.perf_counter()
    seen = sum(len(images) for images in source())
    if seen != count:
        raise SystemExit(f"{seen} images came, not {count}")
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=1500)
    given = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    main(given.data, given.images)

"""Does training stay linear in time and flat in memory as a data set grows?

Run: python benchmarks/training_scale.py DATA [--counts 5000,10000,20000,40000]

DATA: the paper's images, drawn at random; above their number they are taken again, each turned by a quarter, so that no
file is another's copy. For each size a fresh process with an empty cache decodes and packs the images and trains the
smallest Tiny VGG (32 px) for one epoch, so that what is measured is the way of the images and not the network. Prints a
table for RESULTS.md: seconds, milliseconds an image, and the peak of the process's memory.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from lentigo.config import Experiment
from lentigo.data.pack import pack_images
from lentigo.data.split import make_split
from lentigo.data.table import ImageRow, ImageTable, read_table
from lentigo.learn.training import TrainingData, train

SMALLEST = {"name": "tiny_vgg", "options": {"blocks": 1, "width": 1, "image_px": 32}}


def main(path: Path, counts: list[int]) -> None:
    """Print a row for each size."""
    print("| images | pack, s | ms an image | one epoch, s | ms an image | peak memory, MB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            place = Path(folder) / str(count)
            grow(path, place, count)
            done = subprocess.run(
                [sys.executable, __file__, str(place), "--one"], capture_output=True, text=True, check=True
            )
            pack_s, epoch_s, trained, peak = (float(number) for number in done.stdout.split())
            print(
                f"| {count:,} | {pack_s:.1f} | {1000 * pack_s / count:.2f} | {epoch_s:.1f} | "
                f"{1000 * epoch_s / trained:.2f} | {peak:.0f} |", flush=True,
            )  # fmt: skip


def grow(path: Path, place: Path, count: int) -> None:
    """So many images in two class folders: hard links to the files, then turned copies of them."""
    rows = read_table(path).rows
    order = np.random.default_rng(0).permutation(len(rows))
    for name in ("benign", "malignant"):
        (place / name).mkdir(parents=True)
    for number in range(count):
        row, turn = rows[order[number % len(rows)]], number // len(rows)
        target = place / ("benign", "malignant")[row.label] / f"{number}.jpg"
        if turn == 0:
            _link(row, target)
        else:
            with Image.open(row.path) as image:
                image.rotate(90 * turn).save(target, quality=95)


def _link(row: ImageRow, target: Path) -> None:
    try:
        os.link(row.path, target)
    except OSError:  # another disk
        target.symlink_to(Path(row.path).resolve())


def one(path: Path) -> None:
    """Pack and train; print seconds, seconds, training images and the peak in MB."""
    with tempfile.TemporaryDirectory() as folder:
        table: ImageTable = read_table(path)
        started = time.perf_counter()
        pack = pack_images(table, image_px=300, cache=Path(folder) / "cache")
        packed = time.perf_counter()
        experiment = Experiment().changed(model=SMALLEST, train={"epochs": 1, "device": "cpu"})
        split = make_split(table, experiment.split)
        begun = time.perf_counter()
        train(Path(folder) / "run", experiment, TrainingData(table=table, pack=pack, split=split))
        ended = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
        print(packed - started, ended - begun, len(split.indices(table, "train")), peak)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--counts", default="5000,10000,20000,40000")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one(given.data)
    else:
        main(given.data, [int(text) for text in given.counts.split(",")])

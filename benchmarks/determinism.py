"""Does --deterministic give equal bits twice, what does it cost, and by how much do processor and GPU differ?

Run: python benchmarks/determinism.py DATA [--batches 20] [--networks tiny_vgg,alexnet,vgg11] [--cpu-batches 5]

On each device of this machine every network is trained twice with `train.deterministic` and twice without, on the same
few batches of the paper's images, in float32. Where there is a GPU, the mean losses of short trainings of Tiny VGG are
compared with those of the processor (dropout, which the others have, is drawn by the device), and so are the logits
that one and the same network gives to 200 test images. Prints tables for RESULTS.md.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from plain_loop import CONFIGS

from lentigo.config import Experiment, SplitConfig, read_experiment
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.split import Split, make_split
from lentigo.data.table import ImageTable, read_table
from lentigo.files import read_csv, read_json
from lentigo.learn.checkpoint import run_checkpoint
from lentigo.learn.device import device_name
from lentigo.learn.prediction import predict_logits
from lentigo.learn.training import TrainingData, train
from lentigo.models.contract import multiplied_as
from lentigo.models.registry import model_entry

TEST_IMAGES, STEPS = 200, (1, 5)


def main(path: Path, networks: list[str], batches: int, cpu_batches: int, cache: Path | None) -> None:
    """Print a table for each device, then the differences between them."""
    table = read_table(path)
    pack = pack_images(table, image_px=300, cache=cache)
    gpu = torch.cuda.is_available()
    for device in ["cuda", "cpu"] if gpu else ["cpu"]:
        count = batches if device == "cuda" else cpu_batches
        print(f"\n{device_name(torch.device(device))}, torch {torch.__version__}, {count} batches of 32\n")
        print("| network | equal bits twice, deterministic | seconds | seconds without | equal bits without |")
        print("|---|---|---|---|---|")
        for name in networks:
            with tempfile.TemporaryDirectory() as folder:
                print_device(Path(folder), name, device, few_images(table, pack, count))
    if gpu:
        print(f"\n| network | {' | '.join(f'loss, {steps} steps' for steps in STEPS)} | logits of one network |")
        print(f"|---|{'---|' * len(STEPS)}---|")
        for name in networks:
            with tempfile.TemporaryDirectory() as folder:
                print_difference(Path(folder), name, table, pack)


def few_images(table: ImageTable, pack: ImagePack, batches: int) -> TrainingData:
    """So many batches to train on, one to validate, and some test images."""
    split = make_split(table, SplitConfig())
    kept = {"train": batches * 32, "validation": 32, "test": TEST_IMAGES}
    part = {
        table.ids[index]: name if place < kept[name] else "exclude"
        for name in kept
        for place, index in enumerate(np.random.default_rng(0).permutation(split.indices(table, name)))
    }
    return TrainingData(table=table, pack=pack, split=Split(part))


def recipe(name: str, device: str, *, deterministic: bool = False) -> Experiment:
    """The paper's, for one epoch in float32."""
    change = {"epochs": 1, "device": device, "deterministic": deterministic}
    return read_experiment(CONFIGS / f"{name}.toml").changed(train=change)


def print_device(folder: Path, name: str, device: str, data: TrainingData) -> None:
    """A row: two trainings with and two without."""
    same, seconds = [], []
    for kind in (True, False):
        weights = []
        for turn in range(2):
            run = folder / f"{kind}{turn}"
            train(run, recipe(name, device, deterministic=kind), data)
            weights.append(run_checkpoint(run).model.state_dict())
        seconds.append(read_json(run / "run.json")["seconds"])  # of the second: the first one warms up
        same.append(all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0]))
    print(
        f"| {model_entry(name).title} | {'yes' if same[0] else 'NO'} | {seconds[0]:.1f} | {seconds[1]:.1f} | "
        f"{'yes' if same[1] else 'no'} |", flush=True,
    )  # fmt: skip


def print_difference(folder: Path, name: str, table: ImageTable, pack: ImagePack) -> None:
    """A row: the mean loss of trainings of so many steps, and the logits of the last one's network."""
    off = []
    for steps in STEPS if name == "tiny_vgg" else STEPS[:1]:
        data = few_images(table, pack, steps)
        losses = []
        for device in ("cpu", "cuda"):
            run = folder / f"{device}{steps}"
            train(run, recipe(name, device), data)
            losses.append(float(read_csv(run / "history.csv")[0]["train_loss"]))
        off.append(abs(losses[0] - losses[1]))
    logits = same_network(folder / f"cpu{steps}", pack, data.split.indices(table, "test"))
    shown = [f"{value:.0e}" for value in off] if name == "tiny_vgg" else ["dropout"] * len(STEPS)
    print(f"| {model_entry(name).title} | {' | '.join(shown)} | {logits:.0e} |", flush=True)


def same_network(run: Path, pack: ImagePack, indices: np.ndarray) -> float:
    """The largest difference of the logits of one network on both devices."""
    found = []
    for device in ("cpu", "cuda"):
        checkpoint = run_checkpoint(run)
        model = checkpoint.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        with multiplied_as(tf32=False):
            found.append(predict_logits(model, pack, indices, checkpoint.preprocessing, device=torch.device(device)))
    return float(np.abs(found[0] - found[1]).max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", default="tiny_vgg,alexnet,vgg11")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--cpu-batches", type=int, default=5)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    main(given.data, given.networks.split(","), given.batches, given.cpu_batches, given.cache)

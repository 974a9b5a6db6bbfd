"""Trainings of seconds: noise images of which the malignant ones are darker, and the smallest networks.

Run as a program, `python -m tests.learn.small DATA CACHE OUT`, it trains in forked children and kills them: one start
of Python and torch, which takes seconds, serves all of these trainings.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lentigo.config import Experiment
from lentigo.data.pack import pack_images
from lentigo.data.split import make_split
from lentigo.data.table import read_table
from lentigo.learn.training import TrainingData, TrainingInterruptedError, TrainProgress, train

IMAGE_PX = 32
TINY: dict[str, Any] = {"name": "tiny_vgg", "options": {"image_px": 16, "width": 3}}
ALEXNET: dict[str, Any] = {"name": "alexnet", "options": {"width": 0.0625}}  # the smallest one with dropout
CROP = {"alexnet": {"resize_px": 72, "crop_px": 63}}
# High, so that flips, jitter and rotations happen in trainings this short.
AUGMENT = {"flip_probability": 0.5, "jitter_probability": 0.5, "rotate_probability": 0.5}


def write_noise(folder: Path, *, count: int = 62) -> Path:
    """Two class folders of noise; half of the images are malignant."""
    for index in range(count):
        rng = np.random.default_rng(index)
        name = ("benign", "malignant")[index % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256 - 100 * (index % 2), (IMAGE_PX, IMAGE_PX, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name / f"{index:03}.png")
    return folder


def read_noise(folder: Path, cache: Path) -> TrainingData:
    table = read_table(folder)
    split = make_split(table, small_experiment().split)
    return TrainingData(table=table, pack=pack_images(table, image_px=IMAGE_PX, cache=cache), split=split)


def small_experiment(model: dict[str, Any] | None = None, **train_config: Any) -> Experiment:
    """Two epochs of batches of 8; the 62 images leave 42 to train, so that the sixth batch holds two."""
    model = model or TINY
    recipe = {"epochs": 2, "batch_size": 8, "device": "cpu", "learning_rate": 1e-2} | train_config
    return Experiment().changed(
        data={"image_px": IMAGE_PX},
        split={"test_fraction": 0.2, "validation_fraction": 0.15},
        model=model,
        preprocessing=CROP.get(model["name"], {}),
        augment=AUGMENT,
        train=recipe,
    )


# Saved after every step, so that kills fall into the saving too: it takes most of the time.
KILLED = {
    model["name"]: small_experiment(model, epochs=epochs, save_every_s=1e-9)
    for model, epochs in ((TINY, 4), (ALEXNET, 3))
}


def train_in_child(run: Path, experiment: Experiment, data: TrainingData, *, until: int | None, number: int) -> int:
    """Train in a forked child, and send it signal `number` after `until` steps and a bit; returns its exit status."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # it may have been ignored from the start
        _train_and_exit(run, experiment, data, told)
    os.close(told)
    with os.fdopen(heard, "rb", buffering=0) as steps:
        if until is not None:
            for _ in range(until):
                steps.read(1)
            time.sleep(np.random.default_rng(until).uniform(0, 0.01))
            os.kill(child, number)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def _train_and_exit(run: Path, experiment: Experiment, data: TrainingData, told: int) -> None:
    """Exits with 0 when the training ended, 3 when it was interrupted, 1 after any other error."""
    code = 1

    def tell(now: TrainProgress) -> None:
        if now.step:
            os.write(told, b".")

    try:
        train(run, experiment, data, resume=True, on_progress=tell)
        code = 0
    except TrainingInterruptedError as error:
        (run.parent / f"{run.name}.message").write_text(str(error), encoding="utf-8")
        code = 3
    finally:
        os._exit(code)


def main(folder: str, cache: str, out: str) -> None:
    """Train both networks with three kills each, and one twice to a signal; prints the exit statuses as JSON."""
    data, statuses = read_noise(Path(folder), Path(cache)), {}
    for model in (TINY, ALEXNET):
        experiment, run = KILLED[model["name"]], Path(out, model["name"])
        moments = np.random.default_rng(len(model["name"])).integers(1, 6, size=3).tolist()  # steps within each life
        lives = [train_in_child(run, experiment, data, until=until, number=signal.SIGKILL) for until in moments]
        statuses[model["name"]] = [*lives, train_in_child(run, experiment, data, until=None, number=0)]
    for number in (signal.SIGINT, signal.SIGTERM):
        endless, run = small_experiment(epochs=1000), Path(out, number.name)
        statuses[number.name] = [train_in_child(run, endless, data, until=4, number=number)]
    sys.stdout.write(json.dumps(statuses))


if __name__ == "__main__":
    main(*sys.argv[1:])

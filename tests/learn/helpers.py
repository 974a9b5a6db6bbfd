"""What the tests of trainings share: looking at a run, and ending one early."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lentigo.config import Experiment
from lentigo.files import read_csv
from lentigo.learn.checkpoint import load_tensors
from lentigo.learn.training import TrainingData, TrainProgress, train


def weights(run: Path) -> dict[str, Tensor]:
    return load_tensors(run / "checkpoint.safetensors")[0]


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert list(first) == list(second)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def history(run: Path) -> list[dict[str, str]]:
    """The rows of history.csv without times."""
    return [
        {name: cell for name, cell in row.items() if name not in ("seconds", "images_per_s")}
        for row in read_csv(run / "history.csv")
    ]


class Stopper:
    """An on_progress that sends the process a signal, or raises, after so many steps."""

    def __init__(self, steps: int, action: Any) -> None:
        self.left, self.action = steps, action

    def __call__(self, now: TrainProgress) -> None:
        if now.step:
            self.left -= 1
            if self.left == 0:
                self.action()


class Killed(BaseException):
    """What nothing in the training catches, in place of a kill."""


def kill() -> None:
    raise Killed


def resumed(run: Path, experiment: Experiment, data: TrainingData, *deaths: int) -> None:
    """Train with deaths after so many steps each, then to the end."""
    for steps in deaths:
        with pytest.raises(Killed):
            train(run, experiment, data, resume=True, on_progress=Stopper(steps, kill))
    train(run, experiment, data, resume=True)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)

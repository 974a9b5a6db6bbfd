"""A small network on drawn lesions, trained for a moment, and its exported model; made once for all tests here."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lentigo.config import Experiment
from lentigo.data.pack import pack_images
from lentigo.data.split import make_split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import read_table
from lentigo.learn.run import TrainingData

CHANGES = {
    "data": {"image_px": 64},
    "split": {"protocol": "stratified", "validation_fraction": 0.5, "test_fraction": 0.1},
    "model": {"name": "tiny_vgg", "options": {"blocks": 3, "width": 12}},
    "preprocessing": {"resize_px": 48},
    "train": {"epochs": 40, "batch_size": 16, "learning_rate": 3e-3, "device": "cpu"},
}


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run, its data, and the folder of the drawn lesions."""

    run: Path
    data: TrainingData
    drawn: Path


def trained(drawn: Path, run: Path, cache: Path, **changes: dict[str, object]) -> Finished:
    """Train what `CHANGES` says, changed."""
    from lentigo.learn.training import train

    experiment = Experiment().changed(**CHANGES).changed(**changes)
    table = read_table(drawn)
    pack = pack_images(table, image_px=experiment.data.image_px, cache=cache)
    data = TrainingData(table=table, pack=pack, split=make_split(table, experiment.split))
    train(run, experiment, data)
    return Finished(run=run, data=data, drawn=drawn)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("deploy") / "drawn", count=160, size_px=64, seed=4, workers=1)


@pytest.fixture(scope="session")
def finished(drawn: Path) -> Finished:
    return trained(drawn, drawn.parent / "run", drawn.parent / "cache")


@pytest.fixture(scope="session")
def model(finished: Finished) -> Path:
    """The folder of the run's exported model."""
    from lentigo.deploy.export import export_run

    return export_run(finished.run, finished.data, finished.run / "exported").onnx.parent


@pytest.fixture
def train_other(drawn: Path, tmp_path: Path) -> Callable[..., Finished]:
    """Trains another network on the same images."""

    def other(**changes: dict[str, object]) -> Finished:
        return trained(drawn, tmp_path / "other", drawn.parent / "cache", **changes)

    return other

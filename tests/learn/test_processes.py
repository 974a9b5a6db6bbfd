"""Several processes, on the CPU with gloo: the losses and weights of one, every image once, one writer."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lentigo.data.synthetic import write_dataset

FAST = ["--set", "data.image_px=48", "--set", "preprocessing.resize_px=32", "--set", "split.validation_fraction=0.2"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "drawn", count=44, size_px=48, seed=2, workers=1)


def trained(drawn: Path, run: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lentigo.cli", "train", str(drawn), "--out", str(run), *FAST, *options]
    environment = os.environ | {"LENTIGO_CACHE": str(drawn.parent / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def losses(run: Path) -> list[float]:
    names = ("train_loss", "validation_loss", "validation_auc")
    with (run / "history.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) for name in names]


@pytest.mark.parametrize("batch_size", [5, 25])
def test_two_processes_train_as_one(drawn: Path, tmp_path: Path, batch_size: int) -> None:
    """26 images train, so the last batch has one image: the second process then has none."""
    options = ["--epochs", "2", "--set", f"train.batch_size={batch_size}", "--set", "train.micro_batch_size=2"]
    for name, devices in (("one", "1"), ("two", "2")):
        done = trained(drawn, tmp_path / name, "--devices", devices, *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("trained: ") == 1  # the second process is silent
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5, abs=1e-6)
    one, two = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4  # Adam's steps are 1e-4 in size
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


def test_a_folder_that_is_refused_is_told_once(drawn: Path, tmp_path: Path) -> None:
    options = ["--epochs", "1", "--set", "train.batch_size=8", "--devices", "2"]
    assert trained(drawn, tmp_path / "run", *options).returncode == 0
    again = trained(drawn, tmp_path / "run", *options)
    assert again.returncode == 2
    assert again.stderr.count("already holds a training") == 1
    assert "Traceback" not in again.stderr


def test_more_processes_than_images_in_a_batch_are_refused(drawn: Path, tmp_path: Path) -> None:
    done = trained(drawn, tmp_path / "run", "--devices", "8", "--set", "train.batch_size=4")
    assert done.returncode == 2
    assert "train.devices is 8, above train.batch_size 4, so a process would have no image" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_of_two_processes_fits_a_comparison(drawn: Path, tmp_path: Path) -> None:
    """The number of processes decides no result, so `compare` finds such a run finished and goes on with it."""
    run = tmp_path / "runs" / "tiny_vgg"
    options = ["--epochs", "1", "--set", "train.batch_size=8"]
    assert trained(drawn, run, "--devices", "2", *options).returncode == 0
    before = (run / "checkpoint.safetensors").read_bytes()
    command = ["compare", str(drawn), "--out", str(tmp_path), "--models", "tiny_vgg", *FAST, *options]
    environment = os.environ | {"LENTIGO_CACHE": str(drawn.parent / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "lentigo.cli", *command], env=environment, capture_output=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (run / "checkpoint.safetensors").read_bytes() == before
    assert (tmp_path / "report.html").is_file()

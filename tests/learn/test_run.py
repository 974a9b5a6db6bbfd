"""A run folder is one training's own, says what it holds, and names what is damaged."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lentigo.config import Experiment
from lentigo.data.split import Split
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.learn import device, training
from lentigo.learn.checkpoint import load_checkpoint, run_checkpoint
from lentigo.learn.run import run_about
from lentigo.learn.training import TrainingData, read_run, train
from tests.learn.helpers import Killed, Stopper, history, kill, weights
from tests.learn.small import IMAGE_PX, small_experiment


def test_run_folder_of_a_finished_training(tmp_path: Path, noise_data: TrainingData) -> None:
    run, experiment = tmp_path / "new" / "run", small_experiment()
    assert train(run, experiment, noise_data) == run / "checkpoint.safetensors"
    names = ["checkpoint.safetensors", "experiment.toml", "history.csv", "run.json", "split.csv"]
    assert sorted(path.name for path in run.iterdir()) == names
    assert read_run(run, noise_data.table) == (experiment, noise_data.split)
    assert load_checkpoint(run / "checkpoint.safetensors").pack_key == noise_data.pack.key
    about = run_about(run)
    assert about["data"]["root"] == noise_data.table.root.name
    assert about["data"]["path"] == str(noise_data.table.root)
    assert (about["data"]["images"], about["data"]["image_px"]) == (62, IMAGE_PX)
    assert about["counts"] == noise_data.split.counts(noise_data.table)
    assert (about["epochs"], about["epochs_asked"], about["complete"]) == (2, 2, True)
    assert about["steps"] == int(history(run)[-1]["steps"])
    assert about["seconds"] > 0
    assert about["parameters"] == sum(tensor.numel() for tensor in weights(run).values())
    assert about["device"].startswith("CPU (")
    assert set(about["versions"]) == {"python", "torch", "torchvision"}


def test_unfinished_run_says_so(tmp_path: Path, noise_data: TrainingData) -> None:
    with pytest.raises(Killed):
        train(tmp_path / "run", small_experiment(), noise_data, on_progress=Stopper(2, kill))
    assert run_about(tmp_path / "run")["complete"] is False
    with pytest.raises(RunError, match=r"has no checkpoint yet, .* with --resume"):
        run_checkpoint(tmp_path / "run")


def test_a_second_training_does_not_overwrite_the_first(tmp_path: Path, noise_data: TrainingData) -> None:
    run = tmp_path / "run"
    train(run, small_experiment(epochs=1), noise_data)
    message = r"run already holds a training \(experiment.toml, checkpoint.safetensors\); continue it with --resume"
    with pytest.raises(RunError, match=message):
        train(run, small_experiment(epochs=1), noise_data)
    (run / "experiment.toml").unlink()
    with pytest.raises(RunError, match=r"already holds a training \(checkpoint.safetensors\)"):
        train(run, small_experiment(epochs=1), noise_data)
    with pytest.raises(RunError, match=r"run is no run folder: it has no experiment.toml"):
        train(run, small_experiment(epochs=1), noise_data, resume=True)


def test_finished_run_is_returned_at_once(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    path = train(run, small_experiment(epochs=1), noise_data)
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    (run / "resume.safetensors").write_bytes(b"left by a kill just before the end")
    monkeypatch.setattr(training, "_Training", None)  # a call would fail
    assert train(run, small_experiment(epochs=1), noise_data, resume=True) == path
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


@pytest.mark.parametrize("ended", [False, True], ids=["interrupted", "ended"])
def test_folder_of_another_training_is_refused(tmp_path: Path, noise_data: TrainingData, ended: bool) -> None:
    run, experiment = tmp_path / "run", small_experiment(epochs=1)
    if ended:
        train(run, experiment, noise_data)
    else:
        with pytest.raises(Killed):
            train(run, experiment, noise_data, on_progress=Stopper(2, kill))
    rows = noise_data.table.rows
    relabelled = (replace(rows[0], label=1 - rows[0].label), *rows[1:])
    part = dict(noise_data.split.part)
    one, other = (next(name for name in part if part[name] == which) for which in ("train", "test"))
    swapped = Split(part | {one: "test", other: "train"})
    others: list[tuple[Experiment, TrainingData, str]] = [
        (experiment.changed(seed=3), noise_data, r"run holds another experiment \(seed is 0 there and 3 here\)"),
        (
            experiment.changed(train={"epochs": 2, "limit_s": 9.0}), noise_data,
            r"\(train.epochs is 1 there and 2 here; train.limit_s is not given there and 9.0 here\); resume with",
        ),
        (
            experiment, replace(noise_data, pack=replace(noise_data.pack, folder=noise_data.pack.folder.parent / "x")),
            "was trained on other images than",
        ),
        (
            experiment, replace(noise_data, table=replace(noise_data.table, rows=relabelled)),
            "was trained with other labels than",
        ),
        (experiment, replace(noise_data, split=swapped), r"was trained on another split .* resume with .*split.csv"),
    ]  # fmt: skip
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    for asked, data, message in others:
        with pytest.raises(RunError, match=message):
            train(run, asked, data, resume=True)
    assert {file.name: file.read_bytes() for file in run.iterdir()} == before


def test_run_json_of_the_first_lentigo_is_understood(tmp_path: Path, noise_data: TrainingData) -> None:
    run, experiment = tmp_path / "run", small_experiment(epochs=1)
    train(run, experiment, noise_data)
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    about["data"] = {key: about["data"][key] for key in ("root", "images", "pack_key")}
    (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
    train(run, experiment, noise_data, resume=True)
    assert run_about(run)["data"]["path"] == noise_data.table.root.name
    assert run_about(run)["data"]["image_px"] == IMAGE_PX


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", "{", "run.json cannot be read as JSON"),
        ("run.json", "{}", "run.json is damaged: it lacks 'data'"),
        ("run.json", '{"data": {"root": "x"}}', "run.json is damaged: it lacks 'pack_key'"),
        ("run.json", "[]", "run.json is damaged"),
        ("experiment.toml", "seed = ", "experiment.toml cannot be read as TOML"),
        ("split.csv", "image,split\n", "split.csv has no lines"),
    ],
)
def test_damaged_run_folder_is_named(
    tmp_path: Path, noise_data: TrainingData, name: str, text: str, message: str
) -> None:
    run = tmp_path / "run"
    with pytest.raises(Killed):
        train(run, small_experiment(), noise_data, on_progress=Stopper(1, kill))
    (run / name).write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=message):
        train(run, small_experiment(), noise_data, resume=True)


def test_folder_that_cannot_be_written_is_named(tmp_path: Path, noise_data: TrainingData) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(DataError, match=r"split.csv cannot be written .*; free space, or choose"):
        train(tmp_path / "file" / "run", small_experiment(), noise_data)


@pytest.mark.parametrize("wanted", ["cuda", "mps"])
def test_device_that_is_not_there_is_refused(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch, wanted: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    message = f"(--device or train.device) is '{wanted}', but this machine has no such device; use 'auto' or cpu"
    with pytest.raises(ConfigError, match=re.escape(message)):
        train(tmp_path / "run", small_experiment(device=wanted), noise_data)
    assert not (tmp_path / "run").exists()
    assert device.choose_device("auto") == torch.device("cpu")


def test_auto_prefers_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.choose_device("auto") == torch.device("cuda")


def test_precision_that_a_processor_lacks_is_refused(tmp_path: Path, noise_data: TrainingData) -> None:
    with pytest.raises(ConfigError, match=r'"16-mixed", which a processor cannot; use "bf16-mixed"'):
        train(tmp_path / "run", small_experiment(precision="16-mixed"), noise_data)

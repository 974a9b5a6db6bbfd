"""What is damaged or exchanged in a run folder is refused with what to do, and never goes into a result."""

import itertools
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lentigo.config import Experiment
from lentigo.data.split import Split
from lentigo.errors import RunError
from lentigo.learn import checkpoint
from lentigo.learn.run import run_about
from lentigo.learn.state import load_training
from lentigo.learn.training import TrainingData, read_run, train
from tests.learn.helpers import Killed, Stopper, kill
from tests.learn.small import small_experiment

EXPERIMENT = small_experiment(save_every_s=1e-9)
ADVICE = r"(restore it|train anew|train again|restore them|resume with|give a run's own file)"


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, noise_data: TrainingData) -> Path:
    """A run that was killed in its second epoch; nothing may change it."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Killed):
        train(run, EXPERIMENT, noise_data, on_progress=Stopper(8, kill))
    return run


@pytest.fixture
def run(tmp_path: Path, stopped: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def flipped(content: bytes, *, pieces: int = 64, head: int = 16) -> Iterator[bytes]:
    """One bit flipped in each of the first bytes, in every fifth of a safetensors header, and in each piece."""
    rng = np.random.default_rng(len(content))
    (length,) = struct.unpack("<Q", content[:8])
    header = range(head, 8 + length if length < len(content) else head, 5)
    ends = np.linspace(0, len(content), pieces + 1).astype(int)
    places = [*range(head), *header, *(int(rng.integers(a, b)) for a, b in itertools.pairwise(ends)), -1]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        yield bytes(changed)


def refused(run: Path, data: TrainingData, message: str = "", experiment: Experiment = EXPERIMENT) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(RunError, match=f"{message}.*{ADVICE}"):
        train(run, experiment, data, resume=True)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


# ---------------------------------------------------------------- the saved state


def test_every_region_of_the_saved_state_is_guarded(run: Path, noise_data: TrainingData) -> None:
    path = run / "resume.safetensors"
    content, whole = path.read_bytes(), checkpoint.load_tensors(path)
    unnoticed = []
    for number, changed in enumerate(flipped(content)):
        path.write_bytes(changed)
        try:
            tensors, about = checkpoint.load_tensors(path)
        except RunError as error:
            assert str(error).startswith(f"{path} "), number  # noqa: PT017  both outcomes are looked at
            continue
        unnoticed.append(number)  # 1e-5 may become 1E-5, and the last of 17 digits another one
        assert about == whole[1]
        assert list(tensors) == list(whole[0])
        assert all(torch.equal(tensors[name], whole[0][name]) for name in tensors)
    assert number > 500
    assert len(unnoticed) < 5
    path.write_bytes(content)
    assert load_training(path, experiment=EXPERIMENT, pack_key=noise_data.pack.key).state.epoch == 1


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_cut_state_is_refused(run: Path, noise_data: TrainingData, share: float) -> None:
    path = run / "resume.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(run, noise_data, "resume.safetensors is not a readable safetensors file")


@pytest.mark.parametrize("name", ["resume.safetensors", "checkpoint.safetensors"])
def test_a_pickle_in_a_run_is_refused_unread(run: Path, noise_data: TrainingData, tmp_path: Path, name: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "exploded",)

    torch.save(Bomb(), run / name)
    with pytest.raises(RunError, match=f"{name} is not a readable safetensors file .*; restore it or train again"):
        checkpoint.load_tensors(run / name)
    if name == "resume.safetensors":
        refused(run, noise_data, f"{name} is not a readable safetensors file")
    else:
        with pytest.raises(RunError, match=f"{name} is not a readable safetensors file"):
            checkpoint.run_checkpoint(run)
    assert not (tmp_path / "exploded").exists()


def test_a_state_of_another_version_is_refused(
    run: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run / "resume.safetensors"
    tensors, about = checkpoint.load_tensors(path)
    monkeypatch.setattr(checkpoint, "VERSION", 2)
    checkpoint.save_tensors(path, tensors, {key: value for key, value in about.items() if key != "version"})
    monkeypatch.undo()
    refused(run, noise_data, "resume.safetensors is of version 2, this lentigo reads 1")


def test_a_state_of_another_data_set_is_refused(run: Path, noise_data: TrainingData) -> None:
    path = run / "resume.safetensors"
    tensors, about = checkpoint.load_tensors(path)
    checkpoint.save_tensors(path, tensors, about | {"pack_key": "0" * 64})
    refused(run, noise_data, "resume.safetensors belongs to another experiment, data set or split")


# ---------------------------------------------------------------- the split


def test_no_flipped_bit_of_a_runs_split_gives_another_split(run: Path, noise_data: TrainingData) -> None:
    path, rng = run / "split.csv", np.random.default_rng(0)
    content, unnoticed, same = path.read_bytes(), 0, 0
    for place in range(0, len(content), 2):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            split = read_run(run, noise_data.table)[1]
        except RunError as error:
            assert str(path) in str(error)  # noqa: PT017  both outcomes are looked at
            continue
        same += 1
        unnoticed += split != noise_data.split
    assert unnoticed == 0
    assert same < 0.05 * len(content)  # a space or a line break that is taken for another


@pytest.mark.parametrize("before", ["test", "validation"])
def test_an_edited_split_in_a_run_is_refused(run: Path, noise_data: TrainingData, before: str) -> None:
    """Each edit is a valid split; with it, images would be scored that had trained the network, or train that test."""
    part = dict(noise_data.split.part)
    one, other = (next(name for name in part if part[name] == which) for which in (before, "train"))
    edited = Split(part | {one: "train", other: before})
    edited.write(run / "split.csv")
    message = "split.csv is not the split that this run was trained with; restore it, or train anew with the other one"
    with pytest.raises(RunError, match=message):
        read_run(run, noise_data.table)
    # As `lentigo train --resume` has it, which takes the split from the run folder.
    refused(run, TrainingData(table=noise_data.table, pack=noise_data.pack, split=edited), message.partition(";")[0])


def test_the_order_of_a_splits_lines_is_no_change(run: Path, noise_data: TrainingData) -> None:
    header, *lines = (run / "split.csv").read_text(encoding="utf-8").splitlines()
    (run / "split.csv").write_text("\n".join([header, *lines[::-1]]) + "\n\n", encoding="utf-8")
    assert read_run(run, noise_data.table)[1] == noise_data.split


def test_a_run_of_an_early_lentigo_notes_no_split_and_is_read(run: Path, noise_data: TrainingData) -> None:
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert about["data"].pop("split_sha256") == noise_data.split.sha256
    (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
    assert read_run(run, noise_data.table) == (EXPERIMENT, noise_data.split)


def test_the_split_is_noted_again_at_the_end(run: Path, noise_data: TrainingData) -> None:
    train(run, EXPERIMENT, noise_data, resume=True)
    assert run_about(run)["complete"] is True
    assert run_about(run)["data"]["split_sha256"] == noise_data.split.sha256

"""A full disk: a clear error, what was there untouched, nothing half written, and on it goes when space is freed."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lentigo import files
from lentigo.errors import LentigoError
from lentigo.learn.training import TrainingData, train
from tests.conftest import PROJECT
from tests.learn.helpers import assert_same_weights, history
from tests.learn.small import small_experiment

FULL = OSError(errno.ENOSPC, "No space left on device")


def in_a_small_file_system(command: list[str], work: Path) -> list[str]:
    """The command, with a tmpfs of 1 MB at `work` that only it sees and that goes with it."""
    mounted = f"mount -t tmpfs -o size=1m tmpfs {shlex.quote(str(work))} && exec {shlex.join(command)}"
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted]


def test_a_real_full_disk(tmp_path: Path, noise_folder: Path) -> None:
    work = tmp_path / "small"
    work.mkdir()
    if not shutil.which("unshare") or subprocess.run(in_a_small_file_system(["true"], work), check=False).returncode:
        pytest.skip("this system lets nobody mount a small file system of their own")
    command = [sys.executable, "-m", "tests.learn.full_disk", "tmpfs", str(noise_folder), str(work)]
    check(in_a_small_file_system(command, work), "No space left on device|os error 28")


@pytest.mark.slow
def test_files_above_a_real_limit(tmp_path: Path, noise_folder: Path) -> None:
    command = [sys.executable, "-m", "tests.learn.full_disk", "limit", str(noise_folder), str(tmp_path / "work")]
    (tmp_path / "work").mkdir()
    check(command, "File too large|os error 27")


def check(command: list[str], reason: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    result = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    messages = {
        "pack": r"DataError: the pack cannot be written to .*packs \(.*REASON.*\); free space, or set LENTIGO",
        "state": r"UnwrittenError: .*resume\.safetensors cannot be written \(.*REASON.*\); free space on the disk and",
        "report": r"DataError: .*report\.html cannot be written \(.*REASON.*\); free space, or choose a folder",
    }
    for stage, message in messages.items():
        assert re.match(message.replace("REASON", f"({reason})"), found[stage]["message"]), (stage, found)
        assert (found[stage]["kept"], found[stage]["left"], found[stage]["works"]) == (True, [], True), (stage, found)


class FullFor:
    """In place of the flush to the disk: fails once, at the n-th file of a name."""

    def __init__(self, name: str, count: int, run: Path) -> None:
        self.name, self.left, self.run, self.flush = name, count, run, files._flush_to_disk
        self.before: dict[str, bytes] = {}

    def __call__(self, path: Path) -> None:
        if path.name.startswith(f".{self.name}."):
            self.left -= 1
            if self.left == 0:
                self.before = whole_files(self.run)
                raise FULL
        self.flush(path)


def whole_files(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.iterdir() if not path.name.startswith(".")}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("split.csv", 1),
        ("run.json", 1),
        ("experiment.toml", 1),
        ("resume.safetensors", 1),
        ("resume.safetensors", 5),
        ("history.csv", 1),
        ("history.csv", 2),
        ("run.json", 2),
        ("checkpoint.safetensors", 1),
    ],
)
def test_every_file_of_a_training_may_meet_a_full_disk(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch, name: str, count: int
) -> None:
    run, experiment = tmp_path / "run", small_experiment(save_every_s=1e-9)
    with monkeypatch.context() as patch:
        disk = FullFor(name, count, run)
        patch.setattr(files, "_flush_to_disk", disk)
        message = f"{run / name} cannot be written ([Errno 28] No space left on device); free space"
        with pytest.raises(LentigoError, match=f"^{re.escape(message)}"):
            train(run, experiment, noise_data)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == disk.before  # nothing lost, nothing half written
    train(run, experiment, noise_data, resume=True)
    train(tmp_path / "whole", experiment, noise_data)
    assert_same_weights(tmp_path / "whole", run)
    assert history(tmp_path / "whole") == history(run)
    assert sorted(whole_files(run)) == sorted(path.name for path in run.iterdir())


def test_a_file_that_cannot_even_be_begun_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without an inode left, or with none for the folder."""
    path = tmp_path / "new" / "metrics.json"

    def full(*_: Any, **__: Any) -> None:
        raise FULL

    for method in ("touch", "mkdir", "write_bytes"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, method, full)
            with pytest.raises(LentigoError, match=r"metrics\.json cannot be written .*No space left.*; free space"):
                files.write_json(path, {})
        assert not list(tmp_path.rglob("*.*"))
    files.write_json(path, {})
    assert files.read_json(path) == {}

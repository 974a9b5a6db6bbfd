"""Several processes, on the CPU with gloo: the losses and weights of one, every image once, one writer, one message."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lentigo.config import Experiment
from lentigo.data.synthetic import write_dataset
from lentigo.errors import ConfigError
from lentigo.learn.fabric import make_fabric

LENTIGO = [sys.executable, "-m", "lentigo.cli"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
EPOCHS = 12
# 26 images train, so the last batch has one image: the second process then has none.
RECIPE = [
    "--epochs", str(EPOCHS), "--set", "data.image_px=48", "--set", "preprocessing.resize_px=32",
    "--set", "split.validation_fraction=0.2", "--set", "train.batch_size=5", "--set", "train.micro_batch_size=2",
    "--set", "train.save_every_s=0.02",
]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "drawn", count=44, size_px=48, seed=2, workers=1)


@pytest.fixture(scope="module")
def one(drawn: Path) -> Path:
    """The run of one process."""
    return trained(drawn, drawn.parent / "one")


@pytest.fixture(scope="module")
def two(drawn: Path) -> Path:
    """The run of two processes."""
    return trained(drawn, drawn.parent / "two", "--devices", "2")


def started(drawn: Path, *words: str | Path, program: list[str] = LENTIGO) -> subprocess.Popen[str]:
    environment = os.environ | {"LENTIGO_CACHE": str(drawn.parent / "cache"), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen([*program, *map(str, words)], env=environment, stdout=pipe, stderr=pipe, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def trained(drawn: Path, run: Path, *options: str) -> Path:
    code, out, err = ended(started(drawn, "train", drawn, "--out", run, *RECIPE, *options))
    assert code == 0, err
    assert out.count("trained: ") == 1  # the second process is silent
    assert err.count("epoch 1:") == 1
    return run


def losses(run: Path) -> list[float]:
    names = ("train_loss", "validation_loss", "validation_auc")
    with (run / "history.csv").open() as file:
        found = [float(row[name]) for row in csv.DictReader(file) for name in names]
    assert len(found) == EPOCHS * len(names)
    return found


def furthest_weights(one: Path, other: Path) -> float:
    first, second = (load_file(run / "checkpoint.safetensors") for run in (one, other))
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def files_of(run: Path) -> set[str]:
    return {path.name for path in run.iterdir()}


def test_two_processes_train_as_one(one: Path, two: Path) -> None:
    assert losses(two) == pytest.approx(losses(one), rel=1e-5, abs=1e-6)
    assert furthest_weights(one, two) < 1e-4  # Adam's steps are 1e-4 in size
    assert files_of(two) == files_of(one)


@pytest.mark.slow
def test_torchrun_trains_as_own_processes(drawn: Path, two: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    program = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "-m", "lentigo.cli"]
    code, out, err = ended(started(drawn, "train", drawn, "--out", run, *RECIPE, program=program))
    assert code == 0, err
    assert out.count("trained: ") == 1
    assert losses(run) == losses(two)
    assert furthest_weights(run, two) == 0
    assert files_of(run) == files_of(two)


@pytest.mark.slow
def test_a_group_of_one_trains_as_no_group(drawn: Path, one: Path, tmp_path: Path) -> None:
    run = trained(drawn, tmp_path / "run", "--strategy", "ddp")
    assert losses(run) == losses(one)
    assert furthest_weights(run, one) == 0


def until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not there():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def child_of_rank(process: subprocess.Popen[str], rank: int) -> int:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=True
    )
    for pid in map(int, listed.stdout.split()):
        if f"RANK={rank}" in Path(f"/proc/{pid}/environ").read_text().split("\0"):
            return pid
    raise AssertionError(f"no process of rank {rank}")


def finished_epochs(run: Path) -> int:
    history = run / "history.csv"
    return history.read_text().count("\n") - 1 if history.is_file() else 0


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux to find the second process")
def test_a_death_is_told_once_and_changes_no_weight(drawn: Path, two: Path, tmp_path: Path) -> None:
    """Killed in epoch 3 or later and gone on with: the weights of an unbroken training."""
    run = tmp_path / "run"
    process = started(drawn, "train", drawn, "--out", run, *RECIPE, "--devices", "2")
    until(lambda: finished_epochs(run) >= 2, process)
    os.kill(child_of_rank(process, 1), signal.SIGKILL)
    killed = time.monotonic()
    code, _, err = ended(process)
    assert time.monotonic() - killed < 10
    assert code == 2
    told = [line for line in err.splitlines() if "epoch" not in line]
    assert told == [
        "lentigo: process 2 of 2 was killed by signal 9 (SIGKILL), perhaps because memory ran out; the others are "
        f"stopped. The state saved last is in {run}; go on with `lentigo train DATA --out {run} --resume`"
    ]
    assert not subprocess.run(["pgrep", "-f", str(run)], capture_output=True, text=True, check=False).stdout
    assert 2 <= finished_epochs(run) < EPOCHS
    went_on_as(drawn, run, two)


def went_on_as(drawn: Path, run: Path, unbroken: Path) -> None:
    code, _, err = ended(started(drawn, "train", drawn, "--out", run, "--resume"))
    assert code == 0, err
    assert losses(run) == losses(unbroken)
    assert furthest_weights(run, unbroken) == 0


@pytest.mark.slow
def test_a_stop_saves_in_all_and_changes_no_weight(drawn: Path, two: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = started(drawn, "train", drawn, "--out", run, *RECIPE, "--devices", "2")
    until(lambda: finished_epochs(run) >= 2, process)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 130
    told = [line for line in err.splitlines() if "validation loss" not in line]
    assert len(told) == 1
    assert f"the state is saved in {run}; to go on, give `lentigo train {drawn} --out {run} --resume`" in told[0]
    went_on_as(drawn, run, two)


@pytest.mark.slow
def test_a_folder_that_is_refused_is_told_once(drawn: Path, two: Path) -> None:
    before = {path.name: path.read_bytes() for path in two.iterdir()}
    code, out, err = ended(started(drawn, "train", drawn, "--out", two, *RECIPE, "--devices", "2"))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "already holds a training" in err
    assert {path.name: path.read_bytes() for path in two.iterdir()} == before


def test_what_can_be_known_at_once_starts_no_process(lentigo: Callable[..., str], drawn: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    told = lentigo("train", drawn, "--out", run, *RECIPE, "--devices", "8", error=True)
    assert told == (
        "lentigo: 8 processes would share a train.batch_size of 5, so one would have no image; take fewer (--devices), "
        "or larger batches\n"
    )
    told = lentigo("train", drawn, "--out", run, "--set", "train.strategy=fsdp", error=True)
    assert told == "lentigo: --set train.strategy=fsdp: train.strategy is 'fsdp': input should be 'auto' or 'ddp'\n"
    assert not run.exists()


@pytest.mark.parametrize("train", [{"devices": 2}, {"strategy": "ddp"}])
def test_a_process_of_its_own_trains_alone(train: dict[str, Any]) -> None:
    """As a library, for instance: nobody has started the others."""
    experiment = Experiment().changed(train=train)
    assert experiment.recipe() == Experiment().recipe()
    with pytest.raises(ConfigError, match=r"but this is one process: several are started by `lentigo train` or by"):
        make_fabric(torch.device("cpu"), experiment)


def test_a_launcher_and_a_command_agree(
    lentigo: Callable[..., str], drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    for name, value in {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    told = lentigo("train", drawn, "--out", tmp_path / "run", "--devices", "4", error=True)
    assert told == "lentigo: --devices is 4, but a launcher has started 2 processes here; leave it out\n"
    told = lentigo("compare", drawn, "--out", tmp_path / "all", error=True)
    assert told == "lentigo: lentigo compare works in one process; start it without torchrun\n"
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_of_two_processes_fits_a_comparison(
    lentigo: Callable[..., str], drawn: Path, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of processes decides no result, so `compare` finds such a run finished and goes on with it."""
    monkeypatch.setenv("LENTIGO_CACHE", str(drawn.parent / "cache"))
    run = shutil.copytree(two, tmp_path / "runs" / "tiny_vgg")
    before = (run / "checkpoint.safetensors").read_bytes()
    lentigo("compare", drawn, "--out", tmp_path, "--models", "tiny_vgg", *RECIPE)
    assert (run / "checkpoint.safetensors").read_bytes() == before
    assert (tmp_path / "report.html").is_file()


@pytest.mark.slow
def test_two_processes_evaluate_and_explain_as_one(
    lentigo: Callable[..., str], drawn: Path, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENTIGO_CACHE", str(drawn.parent / "cache"))
    alone, shared = (shutil.copytree(two, tmp_path / name / "run") for name in ("alone", "shared"))
    options = ["--method", "occlusion", "--sample", "2"]
    told = [lentigo("evaluate", alone), lentigo("explain", alone, *options)]
    shutil.rmtree(drawn.parent / "cache" / "surveys")  # else the second command would find the first one's
    for number, words in enumerate((["evaluate"], ["explain", *options])):
        code, out, err = ended(started(drawn, words[0], shared, *words[1:], "--devices", "2"))
        assert (code, err) == (0, "")
        assert out == told[number].replace(str(alone), str(shared))  # each line once
    assert files_of(shared) == files_of(alone)
    for name in ("predictions.csv", "validation.csv", "localisation.csv"):
        assert_same_rows(shared / name, alone / name)
    for name in ("metrics.json", "decisions.json", "evidence.json", "explanation.json"):
        assert_same_values(json.loads((shared / name).read_text()), json.loads((alone / name).read_text()))
    for name in ("heatmaps.npy", "heatmaps-occlusion.npy"):
        np.testing.assert_allclose(np.load(shared / name), np.load(alone / name), rtol=0, atol=1e-6)


@pytest.mark.slow
def test_two_processes_score_other_data_as_one(
    lentigo: Callable[..., str], drawn: Path, two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies of training images among them, and the validation scores that neither run has yet."""
    monkeypatch.setenv("LENTIGO_CACHE", str(drawn.parent / "cache"))
    other = write_dataset(tmp_path / "other", count=15, size_px=48, seed=3, workers=1)
    with (two / "split.csv").open() as file:
        learned = [drawn / row["image"] for row in csv.DictReader(file) if row["split"] == "train"]
    replaced = sorted(other.rglob("*.jpg"))[:2]
    for mine, theirs in zip(learned, replaced, strict=False):
        shutil.copy(mine, theirs)
    alone, shared = (shutil.copytree(two, tmp_path / name / "run") for name in ("alone", "shared"))
    told = lentigo("evaluate", alone, "--data", other)
    assert told.startswith("2 of 15 images")
    lentigo("explain", alone, "--data", other, "--maps-only")
    shutil.rmtree(drawn.parent / "cache" / "surveys")
    code, out, err = ended(started(drawn, "evaluate", shared, "--data", other, "--devices", "2"))
    assert (code, err, out) == (0, "", told.replace(str(alone), str(shared)))
    assert ended(started(drawn, "explain", shared, "--data", other, "--maps-only", "--devices", "2"))[::2] == (0, "")
    (first,), (second,) = ((run / "evaluations").iterdir() for run in (alone, shared))
    assert files_of(second) == files_of(first)
    assert_same_rows(second / "predictions.csv", first / "predictions.csv")
    for name in ("metrics.json", "left_out.json", "explanation.json"):
        assert_same_values(json.loads((second / name).read_text()), json.loads((first / name).read_text()))
    np.testing.assert_allclose(np.load(second / "heatmaps.npy"), np.load(first / "heatmaps.npy"), rtol=0, atol=1e-6)


def assert_same_rows(one: Path, other: Path) -> None:
    rows, wanted = (list(csv.reader(path.read_text().splitlines())) for path in (one, other))
    assert rows[0] == wanted[0]
    assert [row[0] for row in rows] == [row[0] for row in wanted]  # the ids, in order
    assert_same_values([[number(cell) for cell in row] for row in rows], [[number(c) for c in row] for row in wanted])


def number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def assert_same_values(found: object, wanted: object) -> None:
    if isinstance(wanted, dict):
        assert isinstance(found, dict)
        assert list(found) == list(wanted)
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, list):
        assert isinstance(found, list)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same_values(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    else:
        assert found == wanted


@pytest.mark.slow
def test_two_machines_train_as_one_process(drawn: Path, one: Path, tmp_path: Path) -> None:
    """Two nodes of torchrun on this host, with one process each."""
    run, port = tmp_path / "run", "29517"
    nodes = [
        started(
            drawn, "train", drawn, "--out", run, *RECIPE,
            program=[
                *TORCHRUN, "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "lentigo",
                "--rdzv-endpoint", f"localhost:{port}", "-m", "lentigo.cli",
            ],
        )
        for _ in range(2)
    ]  # fmt: skip
    ends = [ended(node) for node in nodes]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert sum(out.count("trained: ") for _, out, _ in ends) == 1
    assert losses(run) == pytest.approx(losses(one), rel=1e-5, abs=1e-6)
    assert files_of(run) == files_of(one)


@pytest.mark.slow
def test_a_death_under_torchrun_is_told_once(drawn: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    program = [*TORCHRUN, "--standalone", "--nproc-per-node", "2", "-m", "lentigo.cli"]
    process = started(drawn, "train", drawn, "--out", run, *RECIPE, "--set", "train.epochs=2000", program=program)
    until(lambda: finished_epochs(run) >= 2, process)
    os.kill(child_of_rank(process, 1), signal.SIGKILL)
    _, err = process.communicate(timeout=60)  # torchrun itself adds a traceback of its own
    assert process.returncode != 0
    assert err.count("lentigo: ") == 1
    assert f"one of the 2 processes has ended, so the others stop; what was saved last is in {run}" in err

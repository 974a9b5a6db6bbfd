"""`lentigo tune` as a user meets it: its files, its messages, and processes stopped, killed or side by side."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lentigo.cli import main, tune_commands
from lentigo.config import read_experiment
from lentigo.data.synthetic import write_dataset
from lentigo.files import read_csv, read_json
from tests.report.page_parts import Page

FAST = [
    "--set", "data.image_px=48", "--set", "preprocessing.resize_px=32", "--set", "train.batch_size=8",
    "--set", "split.validation_fraction=0.3", "--device", "cpu", "--epochs", "2",
]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "drawn", count=64, size_px=48, seed=5, workers=1)


def started(*arguments: str | Path, cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "error::UserWarning", "-m", "lentigo.cli", "tune", *map(str, arguments)]
    environment = os.environ | {"LENTIGO_CACHE": str(cwd / "cache"), "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def trials_of(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_json(out / "tuning.json")["trials"]
    return found


def test_a_search_and_the_training_of_what_it_found(
    drawn: Path, tmp_path: Path, lentigo: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["--cache", tmp_path / "cache"]
    plain = [f"--set=augment.{kind}_probability=0" for kind in ("flip", "jitter", "rotate")]
    shown = lentigo("tune", drawn, "--out", "tuned", "--trials", "3", *FAST, *plain, *common).splitlines()
    trials = trials_of(tmp_path / "tuned")
    lines = [line for line in shown if line.startswith("trial ")]
    assert [line.split(":")[0] for line in lines] == ["trial 0", "trial 1", "trial 2"]
    assert lines[0].startswith(f"trial 0: AUC {trials[0]['auc']:.3f} after 2 epochs, blocks 2, width 10, learning rate")
    best = read_json(tmp_path / "tuned" / "tuning.json")["best"]
    assert shown[-3:] == [
        f"best: trial {best}, validation AUC {trials[best]['auc']:.3f}: tuned/best.toml",
        "page: tuned/tuning.html",
        "Research software, not a medical device.",
    ]
    # All images are in split.csv; a trial knows of no test image.
    whole = {row["image"]: row["split"] for row in read_csv(tmp_path / "tuned" / "split.csv")}
    of_trial = {row["image"]: row["split"] for row in read_csv(tmp_path / "tuned" / "trials" / "0000" / "split.csv")}
    assert len(whole) == 64
    assert of_trial == {name: part for name, part in whole.items() if part != "test"}
    page = Page((tmp_path / "tuned" / "tuning.html").read_text())
    assert "lentigo tune drawn --out tuned --trials 3" in page.text
    assert read_experiment(tmp_path / "tuned" / "best.toml") == read_experiment(
        tmp_path / "tuned" / "trials" / f"{best:04}" / "experiment.toml"
    )
    lentigo("train", drawn, "--config", "tuned/best.toml", "--split", "tuned/split.csv", "--out", "run", *common)
    assert (tmp_path / "run" / "split.csv").read_text() == (tmp_path / "tuned" / "split.csv").read_text()
    # Without augmentation, which is drawn by an image's place among all images, a training repeats the trial.
    first = ["--config", "tuned/trials/0000/experiment.toml", "--split", "tuned/split.csv"]
    lentigo("train", drawn, *first, "--out", "first", *common)
    aucs = [float(row["validation_auc"]) for row in read_csv(tmp_path / "first" / "history.csv")]
    assert aucs == trials[0]["aucs"]
    again = lentigo("tune", drawn, "--out", "tuned", "--trials", "4", *FAST, *plain, *common, "--resume")
    assert [line.split(":")[0] for line in again.splitlines() if line.startswith("trial ")] == ["trial 3"]
    assert trials_of(tmp_path / "tuned")[:3] == trials


def test_refusals_are_one_sentence(
    drawn: Path, tmp_path: Path, lentigo: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    common = ["tune", drawn, "--out", "tuned", *FAST, "--cache", tmp_path / "cache"]
    assert lentigo(*common, "--resume", error=True) == (
        "lentigo: sqlite:///study.db holds no study 'tuned' to go on with; check --out, --storage and --study, or "
        "leave out --resume\n"
    )
    lentigo(*common, "--trials", "1")
    assert lentigo(*common, error=True) == (
        "lentigo: tuned holds the trials of a search; go on with --resume, or give another folder\n"
    )
    assert lentigo(*common, "--resume", "--epochs", "3", error=True) == (
        "lentigo: the study 'tuned' in sqlite:///study.db is of another experiment (train.epochs is 2 there and 3 "
        "here); go on with its own, or give another --study\n"
    )
    assert lentigo(*common, "--resume", "--model", "lesion_unet", error=True).startswith(
        "lentigo: lesion_unet finds lesions and scores no image; use a classifier:"
    )


def test_the_page_shows_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgresql://me:secret@server/studies?sslpassword=other"
    for option in (["--storage", url], [f"--storage={url}"]):
        monkeypatch.setattr(sys, "argv", ["lentigo", "tune", "/home/me/data/mine", *option, "--out", "tuned"])
        command = tune_commands._command(url)
        assert "secret" not in command
        assert "other" not in command
        assert command.startswith("lentigo tune mine")
        assert "postgresql://me:***@server/studies" in command


def test_without_optuna_it_says_what_to_install(
    drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in [name for name in sys.modules if name.startswith(("lentigo.learn.tuning", "lentigo.report.tuning"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr(sys, "argv", ["lentigo", "tune", str(drawn), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        "lentigo: this command needs optuna; install it with: pip install 'lentigo[tune]'\n"
    )


def test_its_help_needs_neither_torch_nor_optuna() -> None:
    code = (
        "import sys; sys.argv = ['lentigo', 'tune', '--help']\nfrom lentigo.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'optuna', 'sqlalchemy'} & set(sys.modules), 'loaded'"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "lentigo tune" in shown.stdout[shown.stdout.index("Examples:") :]
    told = " ".join(shown.stdout.replace("│", " ").split())
    assert "test images are not touched" in told
    assert "weights are kept of the best alone" in told


def wait_for(what: Callable[[], bool], worker: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert worker.poll() is None, worker.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def at_work(out: Path, number: int) -> Callable[[], bool]:
    """Whether the trial has finished an epoch and not yet ended."""
    return (out / "trials" / f"{number:04}" / "history.csv").is_file


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_at_once(drawn: Path, tmp_path: Path) -> None:
    arguments = [drawn, "--out", "tuned", "--trials", "3", *FAST, "--epochs", "25"]
    out = tmp_path / "tuned"
    worker = started(*arguments, cwd=tmp_path)
    wait_for(at_work(out, 1), worker)
    worker.kill()
    worker.communicate()
    worker = started(*arguments, "--resume", cwd=tmp_path)
    shown, errors = worker.communicate(timeout=200)
    assert worker.returncode == 0, errors
    assert shown.startswith("trial 1 was left by a process that ended; it begins anew\n")
    trials = trials_of(out)
    assert [trial["state"] == "interrupted" for trial in trials] == [False, True, False, False]
    assert trials[2]["configuration"] == trials[1]["configuration"]
    assert trials[2]["aucs"][: len(trials[1]["aucs"])] == trials[1]["aucs"]
    assert errors == ""
    assert sorted(path.name for path in out.rglob("*.safetensors")) == ["checkpoint.safetensors"]
    assert list(out.rglob("*.lock")) == []


def test_ctrl_c_says_how_to_go_on(drawn: Path, tmp_path: Path) -> None:
    worker = started(drawn, "--out", "tuned", *FAST, "--epochs", "500", cwd=tmp_path)
    wait_for(at_work(tmp_path / "tuned", 0), worker)
    worker.send_signal(signal.SIGINT)
    shown, errors = worker.communicate(timeout=60)
    assert worker.returncode == 130
    assert errors == (
        "lentigo: stopped in trial 0, which waits to begin anew; the others are kept in tuned; to go on, give the same "
        "command with --resume\n"
    )
    assert shown == ""
    assert [trial["state"] for trial in trials_of(tmp_path / "tuned")] == ["interrupted", "waiting"]
    assert "No trial has been trained to its end yet" in (tmp_path / "tuned" / "tuning.html").read_text()


@pytest.mark.slow
def test_two_processes_work_on_one_study(drawn: Path, tmp_path: Path) -> None:
    """Each in a folder of its own, as on two machines."""
    arguments = [drawn, "--trials", "8", *FAST, "--epochs", "50", "--storage", "sqlite:///both.db", "--study", "ours"]
    first = started(*arguments, "--out", "one", cwd=tmp_path)
    wait_for(at_work(tmp_path / "one", 0), first)
    second = started(*arguments, "--out", "two", "--resume", cwd=tmp_path)
    for worker in (first, second):
        _, errors = worker.communicate(timeout=300)
        assert (worker.returncode, errors) == (0, "")
    folders = {out: {path.name for path in (tmp_path / out / "trials").iterdir()} for out in ("one", "two")}
    assert folders["one"]
    assert folders["two"]
    assert folders["one"] & folders["two"] == set()
    last = max(
        (trials_of(tmp_path / out) for out in ("one", "two")), key=lambda found: json.dumps(found).count("complete")
    )
    assert 8 <= len(last) <= 9  # both may begin the last one at once
    assert {f"{trial['number']:04}" for trial in last} == folders["one"] | folders["two"]
    assert len({json.dumps(trial["configuration"]) for trial in last}) == len(last)
    best = [read_experiment(tmp_path / out / "best.toml") for out in ("one", "two")]
    assert len(list(tmp_path.glob("*/trials/*/*.safetensors"))) == 1
    assert best[0].model.name == best[1].model.name == "tiny_vgg"

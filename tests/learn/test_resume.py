"""After a stop, a kill or a full disk a training goes on to the same weights, bit for bit."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lentigo.data.split import Split
from lentigo.errors import RunError
from lentigo.learn import checkpoint, state, tasks, training
from lentigo.learn.fabric import make_fabric
from lentigo.learn.prediction import predict_logits
from lentigo.learn.run import run_about
from lentigo.learn.training import TrainingData, TrainingInterruptedError, train
from tests.conftest import PROJECT
from tests.learn.helpers import Killed, Stopper, assert_same_weights, history, interrupt, kill, resumed
from tests.learn.small import ALEXNET, KILLED, TINY, small_experiment


@pytest.mark.parametrize("model", [TINY, ALEXNET], ids=lambda model: model["name"])
@pytest.mark.parametrize("save_every_s", [1e-9, 300.0], ids=["every-step", "every-epoch"])
def test_deaths_change_nothing(
    tmp_path: Path, noise_data: TrainingData, model: dict[str, Any], save_every_s: float
) -> None:
    experiment = small_experiment(model, epochs=3, save_every_s=save_every_s)
    train(tmp_path / "whole", experiment, noise_data)
    resumed(tmp_path / "died", experiment, noise_data, 1, 6, 8)
    assert_same_weights(tmp_path / "whole", tmp_path / "died")
    assert history(tmp_path / "whole") == history(tmp_path / "died")


@pytest.mark.parametrize(("parameters", "least_s"), [(1_000_000, 0.48), (57_000_000, 27.36)])
def test_an_epoch_is_saved_where_that_costs_a_twentieth_of_its_time(parameters: int, least_s: float) -> None:
    """Three tensors of 4 bytes a parameter at 0.5 GB/s, twenty times."""
    network = torch.nn.Linear(parameters, 1, bias=False, device="meta")
    assert state.worth_saving(network, since_s=least_s + 0.01)
    assert not state.worth_saving(network, since_s=least_s - 0.01)


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory, noise_folder: Path, noise_cache: Path) -> tuple[Path, Any]:
    """The folder and the exit statuses of trainings that were killed or sent a signal, in processes of their own."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork, by which the children start")
    out = tmp_path_factory.mktemp("children")
    command = [sys.executable, "-m", "tests.learn.small", str(noise_folder), str(noise_cache), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    result = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return out, json.loads(result.stdout)


@pytest.mark.parametrize("name", list(KILLED))
def test_kills_change_nothing(tmp_path: Path, children: tuple[Path, Any], noise_data: TrainingData, name: str) -> None:
    folder, statuses = children
    assert statuses[name] == [-9, -9, -9, 0]
    train(tmp_path / "whole", KILLED[name], noise_data)
    assert_same_weights(tmp_path / "whole", folder / name)
    assert history(tmp_path / "whole") == history(folder / name)
    one, other = (sorted(path.name for path in run.iterdir()) for run in (tmp_path / "whole", folder / name))
    assert one == other  # nothing half written is left


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signals_end_with_a_saved_state(children: tuple[Path, Any], name: str) -> None:
    folder, statuses = children
    assert statuses[name] == [3]
    message = (folder / f"{name}.message").read_text(encoding="utf-8")
    assert message.startswith("stopped in epoch ")
    assert message.endswith(f"is saved in {folder / name}")
    assert (folder / name / "resume.safetensors").is_file()
    assert not (folder / name / "checkpoint.safetensors").exists()


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path, noise_data: TrainingData) -> None:
    experiment, run = small_experiment(ALEXNET), tmp_path / "run"
    train(tmp_path / "whole", experiment, noise_data)
    with pytest.raises(TrainingInterruptedError, match="stopped in epoch 1 after step 3 of 6; the state is saved in"):
        train(run, experiment, noise_data, on_progress=Stopper(3, interrupt))
    train(run, experiment, noise_data, resume=True)
    assert_same_weights(tmp_path / "whole", run)
    assert history(tmp_path / "whole") == history(run)


def test_interrupt_during_validation_is_heard(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, run = small_experiment(epochs=1), tmp_path / "run"
    train(tmp_path / "whole", experiment, noise_data)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        interrupt()
        return predict_logits(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "predict_logits", interrupted)
        with pytest.raises(TrainingInterruptedError, match="after step 6 of 6"):
            train(run, experiment, noise_data)
    assert not (run / "history.csv").exists()
    train(run, experiment, noise_data, resume=True)
    assert_same_weights(tmp_path / "whole", run)
    assert history(tmp_path / "whole") == history(run)


def test_second_interrupt_acts_at_once(tmp_path: Path, noise_data: TrainingData) -> None:
    def twice() -> None:
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", small_experiment(), noise_data, on_progress=Stopper(2, twice))


def test_signal_handlers_are_given_back_and_ignored_signals_stay_ignored(
    tmp_path: Path, noise_data: TrainingData
) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        handler = signal.getsignal(signal.SIGINT)
        stopper = Stopper(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tmp_path / "run", small_experiment(epochs=1), noise_data, on_progress=stopper)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) == handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_kill_between_state_and_history_is_healed(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, run = small_experiment(), tmp_path / "run"
    train(tmp_path / "whole", experiment, noise_data)
    for _ in range(2):  # after the first epoch, and after the last
        with monkeypatch.context() as patch:
            patch.setattr(training, "write_history", _killed_at_an_epochs_end(training.write_history, run))
            with pytest.raises(Killed):
                train(run, experiment, noise_data, resume=True)
    train(run, experiment, noise_data, resume=True)
    assert history(run) == history(tmp_path / "whole")
    assert_same_weights(tmp_path / "whole", run)


def _killed_at_an_epochs_end(write: Any, run: Path) -> Any:
    """The first call of a resumed training restores the history; the one at an epoch's end is the one to die in."""
    restores = (run / "resume.safetensors").is_file()

    def killed(*arguments: Any) -> None:
        nonlocal restores
        if not restores:
            raise Killed
        restores = False
        write(*arguments)

    return killed


def _killed_at_the_state(path: Path, missing_ok: bool = False) -> None:
    if path.name == "resume.safetensors":
        raise Killed
    if not missing_ok or path.exists():
        os.unlink(path)


@pytest.mark.parametrize("last_written", ["run.json", "checkpoint.safetensors"])
def test_kill_while_the_results_are_written_is_healed(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch, last_written: str
) -> None:
    experiment, run = small_experiment(epochs=1), tmp_path / "run"
    with monkeypatch.context() as patch:
        if last_written == "run.json":
            patch.setattr(training, "save_checkpoint", lambda *_: kill())
        else:
            patch.setattr(Path, "unlink", _killed_at_the_state)
        with pytest.raises(Killed):
            train(run, experiment, noise_data)
    train(run, experiment, noise_data, resume=True)
    train(tmp_path / "whole", experiment, noise_data)
    assert_same_weights(tmp_path / "whole", run)
    assert run_about(run)["complete"] is True
    assert not (run / "resume.safetensors").exists()


def test_moments_lie_in_memory_as_their_weights_do(tmp_path: Path, noise_data: TrainingData) -> None:
    """The fused Adam pairs weights and moments by their place in memory, not by their index."""
    experiment = small_experiment(save_every_s=1e-9)
    with pytest.raises(Killed):
        train(tmp_path, experiment, noise_data, on_progress=Stopper(3, kill))
    loop = training._Training(tmp_path, experiment, noise_data, make_fabric(torch.device("cpu"), experiment), None)
    moments = loop.optimizer.optimizer.state
    assert len(moments) == len(list(loop.model.parameters()))
    for parameter, own in moments.items():
        assert own["exp_avg"].stride() == own["exp_avg_sq"].stride() == parameter.stride()
        assert own["step"] == loop.state.step
    assert any(not parameter.is_contiguous() for parameter in moments)


@pytest.mark.parametrize("damage", ["flip", "truncate", "foreign"])
def test_damaged_state_is_refused(tmp_path: Path, noise_data: TrainingData, damage: str) -> None:
    experiment, run = small_experiment(save_every_s=1e-9), tmp_path
    with pytest.raises(Killed):
        train(run, experiment, noise_data, on_progress=Stopper(3, kill))
    path = run / "resume.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    if damage == "foreign":
        train(run / "other", experiment, noise_data)
        content = bytearray((run / "other" / "checkpoint.safetensors").read_bytes())
    path.write_bytes(content[:-9] if damage == "truncate" else content)
    messages = {
        "flip": "is damaged: its checksum differs",
        "truncate": "is not a readable safetensors file",
        "foreign": "resume.safetensors holds no state of a training",
    }
    with pytest.raises(RunError, match=messages[damage]):
        train(run, experiment, noise_data, resume=True)


def test_double_precision_goes_on_to_the_same_weights(tmp_path: Path, noise_data: TrainingData) -> None:
    """Saved weights must come into a network that is double already."""
    experiment = small_experiment(TINY, epochs=2, precision="64-true", save_every_s=1e-9)
    train(tmp_path / "whole", experiment, noise_data)
    resumed(tmp_path / "died", experiment, noise_data, 3, 7)
    assert_same_weights(tmp_path / "whole", tmp_path / "died")
    assert history(tmp_path / "whole") == history(tmp_path / "died")


def test_state_of_another_split_is_refused(tmp_path: Path, noise_data: TrainingData) -> None:
    """The same images and recipe, but a training image of this run may be a test image of the other."""
    experiment, part = small_experiment(save_every_s=1e-9), dict(noise_data.split.part)
    first, second = (next(name for name in part if part[name] == kind) for kind in ("train", "test"))
    part[first], part[second] = part[second], part[first]
    other = TrainingData(table=noise_data.table, pack=noise_data.pack, split=Split(part))
    for run, data in ((tmp_path / "one", noise_data), (tmp_path / "other", other)):
        with pytest.raises(Killed):
            train(run, experiment, data, on_progress=Stopper(3, kill))
    (tmp_path / "other" / "resume.safetensors").replace(tmp_path / "one" / "resume.safetensors")
    with pytest.raises(RunError, match="belongs to another experiment, data set or split; resume with the ones"):
        train(tmp_path / "one", experiment, noise_data, resume=True)


def test_a_checkpoint_of_another_split_is_refused(tmp_path: Path, noise_data: TrainingData) -> None:
    experiment, part = small_experiment(epochs=1), dict(noise_data.split.part)
    first, second = (next(name for name in part if part[name] == kind) for kind in ("train", "test"))
    part[first], part[second] = part[second], part[first]
    other = TrainingData(table=noise_data.table, pack=noise_data.pack, split=Split(part))
    train(tmp_path / "one", experiment, noise_data)
    checkpoint.run_checkpoint(tmp_path / "one")
    path = train(tmp_path / "other", experiment, other)
    path.replace(tmp_path / "one" / path.name)
    with pytest.raises(RunError, match=r"learned from other images, labels or another split than .*run\.json says"):
        checkpoint.run_checkpoint(tmp_path / "one")


def test_state_of_another_experiment_is_refused(tmp_path: Path, noise_data: TrainingData) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        with pytest.raises(Killed):
            train(
                tmp_path / name, small_experiment(save_every_s=1e-9).changed(seed=seed), noise_data,
                on_progress=Stopper(3, kill),
            )  # fmt: skip
    (tmp_path / "two" / "resume.safetensors").replace(tmp_path / "one" / "resume.safetensors")
    with pytest.raises(
        RunError, match=r"resume.safetensors belongs to another experiment, data set or split; resume with"
    ):
        train(tmp_path / "one", small_experiment(save_every_s=1e-9), noise_data, resume=True)


def test_full_disk_leaves_the_earlier_state_to_go_on_from(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment, run = small_experiment(save_every_s=1e-9), tmp_path / "run"
    train(tmp_path / "whole", experiment, noise_data)
    calls = 0

    def full(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*arguments, **options)

    real = checkpoint.save_file
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(RunError, match=r"resume.safetensors cannot be written .*No space"):
            train(run, experiment, noise_data)
    saved = state.load_training(run / "resume.safetensors", experiment=experiment, pack_key=noise_data.pack.key)
    assert saved.state.step == 3
    assert list(run.glob(".*")) == []
    train(run, experiment, noise_data, resume=True)
    assert_same_weights(tmp_path / "whole", run)


@pytest.mark.slow
def test_deaths_change_nothing_with_batch_normalisation(tmp_path: Path, noise_data: TrainingData) -> None:
    experiment = small_experiment({"name": "resnet18"}, epochs=1, batch_size=16, save_every_s=1e-9)
    experiment = experiment.changed(preprocessing={"resize_px": 40, "crop_px": 33})
    train(tmp_path / "whole", experiment, noise_data)
    resumed(tmp_path / "died", experiment, noise_data, 2)
    assert_same_weights(tmp_path / "whole", tmp_path / "died")

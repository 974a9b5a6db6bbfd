"""Training is a plain loop over batches; after a stop, a kill or a full disk it goes on to the same weights exactly."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import BCEWithLogitsLoss
from torch.utils._python_dispatch import TorchDispatchMode

from lentigo.config import Experiment, TrainConfig
from lentigo.data.batches import Augmentation, batches
from lentigo.data.split import Split
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.files import read_csv
from lentigo.learn import checkpoint, device, state, training
from lentigo.learn.checkpoint import load_checkpoint, load_tensors, run_checkpoint
from lentigo.learn.prediction import predict_logits
from lentigo.learn.run import run_about
from lentigo.learn.training import TrainingData, TrainingInterruptedError, TrainProgress, read_run, train
from lentigo.models.contract import seeded_torch
from lentigo.models.registry import create_model, resolve_preprocessing
from tests.conftest import PROJECT
from tests.learn.small import ALEXNET, IMAGE_PX, KILLED, TINY, small_experiment

NO_AUGMENTATION = {"flip_probability": 0.0, "jitter_probability": 0.0, "rotate_probability": 0.0}


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


# ---------------------------------------------------------------- what is computed


def test_defaults_are_the_papers_recipe() -> None:
    config = TrainConfig()
    assert (config.epochs, config.batch_size, config.learning_rate) == (10, 32, 1e-4)
    assert (tuple(config.betas), config.precision) == ((0.9, 0.999), "32-true")
    assert Experiment().model.name == "tiny_vgg"


def plain_loop(experiment: Experiment, data: TrainingData) -> tuple[dict[str, Tensor], list[float]]:
    """The training as a tutorial would write it: whole batches, torch's plain Adam, mean loss; losses by epoch."""
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    model = create_model(experiment.model, preprocessing, seed=experiment.seed)
    adam = torch.optim.Adam(model.parameters(), lr=experiment.train.learning_rate)
    indices, losses = data.split.indices(data.table, "train"), []
    for epoch in range(experiment.train.epochs):
        order = np.random.default_rng(np.random.SeedSequence((experiment.seed, epoch, 0x0DE8))).permutation(indices)
        total = 0.0
        for step, start in enumerate(range(0, len(order), experiment.train.batch_size)):
            batch = order[start : start + experiment.train.batch_size]
            augmentation = Augmentation(config=experiment.augment, seed=experiment.seed, epoch=epoch)
            images = next(batches(data.pack, batch, preprocessing, batch_size=len(batch), augmentation=augmentation))
            labels = torch.tensor([float(data.table.rows[index].label) for index in batch])
            with seeded_torch(experiment.seed, epoch, step, 0xD809):
                loss = BCEWithLogitsLoss()(model(images), labels)
            adam.zero_grad()
            loss.backward()
            adam.step()
            total += loss.item() * len(batch)
        losses.append(total / len(order))
    return model.state_dict(), losses


@pytest.mark.parametrize("model", [TINY, ALEXNET], ids=lambda model: model["name"])
@pytest.mark.parametrize("augment", [NO_AUGMENTATION, {}], ids=["plain", "augmented"])
def test_training_equals_a_plain_loop(
    tmp_path: Path, noise_data: TrainingData, model: dict[str, Any], augment: dict[str, float]
) -> None:
    micro = {"micro_batch_size": 3} if model is TINY else {}  # dropout is drawn anew for each piece
    experiment = small_experiment(model, epochs=2, learning_rate=1e-3, **micro).changed(augment=augment)
    train(tmp_path / "run", experiment, noise_data)
    expected, losses = plain_loop(experiment, noise_data)
    trained = weights(tmp_path / "run")
    for name, tensor in expected.items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-5, atol=2e-6)
    found = [float(row["train_loss"]) for row in history(tmp_path / "run")]
    assert found == pytest.approx(losses, rel=1e-5)


def gradients(tmp_path: Path, data: TrainingData, piece: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """The gradient of the first step, with batches in pieces."""
    experiment = small_experiment(TINY, batch_size=13, micro_batch_size=piece)
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    loop = training._Training(tmp_path, experiment, data, torch.device("cpu"), None)
    monkeypatch.setattr(loop.optimizer, "step", lambda: None)
    order = data.split.indices(data.table, "train")[:13]
    (images,) = batches(data.pack, order, preprocessing, batch_size=13)
    loop._step(images, torch.from_numpy(data.table.labels[order]).float())
    return {name: parameter.grad for name, parameter in loop.model.named_parameters()}


@pytest.mark.parametrize("piece", [1, 4, 12])
def test_pieces_of_a_batch_have_the_gradient_of_the_whole(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    whole = gradients(tmp_path, noise_data, 13, monkeypatch)
    pieces = gradients(tmp_path, noise_data, piece, monkeypatch)
    for name, gradient in whole.items():
        assert gradient.any()
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-5, atol=1e-7)


def test_history_holds_what_the_network_scores(tmp_path: Path, noise_data: TrainingData) -> None:
    train(tmp_path / "run", small_experiment(epochs=3), noise_data)
    last = read_csv(tmp_path / "run" / "history.csv")[-1]
    found = run_checkpoint(tmp_path / "run")
    validation = noise_data.split.indices(noise_data.table, "validation")
    logits = predict_logits(found.model, noise_data.pack, validation, found.preprocessing).astype(float)
    labels = noise_data.table.labels[validation]
    loss = np.mean([math.log1p(math.exp(-x if y else x)) for x, y in zip(logits, labels, strict=True)])
    pairs = [(m > b) + 0.5 * (m == b) for m in logits[labels == 1] for b in logits[labels == 0]]
    assert float(last["validation_loss"]) == pytest.approx(loss, rel=1e-5)
    assert float(last["validation_accuracy"]) == pytest.approx(np.mean((logits >= 0) == labels))
    assert float(last["validation_auc"]) == pytest.approx(np.mean(pairs))
    assert list(last) == [
        "epoch", "steps", "train_loss", "validation_loss", "validation_accuracy", "validation_auc", "seconds",
        "images_per_s",
    ]  # fmt: skip
    train_images = len(noise_data.split.indices(noise_data.table, "train"))
    assert (last["epoch"], int(last["steps"])) == ("3", 3 * math.ceil(train_images / 8))


def test_a_network_learns(tmp_path: Path, noise_data: TrainingData) -> None:
    wide = {"name": "tiny_vgg", "options": {"image_px": 16, "width": 8}}
    experiment = small_experiment(wide, epochs=10, learning_rate=3e-3).changed(augment=NO_AUGMENTATION)
    train(tmp_path / "run", experiment, noise_data)
    rows = history(tmp_path / "run")
    assert float(rows[-1]["train_loss"]) < 0.5 * float(rows[0]["train_loss"])
    assert float(rows[-1]["validation_auc"]) > 0.95


def test_same_seed_same_weights(tmp_path: Path, noise_data: TrainingData) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        torch.rand(3)  # the global state is another one each time
        train(tmp_path / name, small_experiment(ALEXNET, epochs=1).changed(seed=seed), noise_data)
    assert_same_weights(tmp_path / "one", tmp_path / "two")
    assert not torch.equal(*(weights(tmp_path / name)["head.2.6.weight"] for name in ("one", "three")))


def test_no_global_random_state_is_touched(tmp_path: Path, noise_data: TrainingData) -> None:
    # Not the state of `random`: beartype draws from it which items of a list it checks.
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    train(tmp_path / "run", small_experiment(ALEXNET, epochs=1), noise_data)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_nothing_is_printed(
    tmp_path: Path, noise_data: TrainingData, capfd: pytest.CaptureFixture[str], precision: str
) -> None:
    train(tmp_path / "run", small_experiment(epochs=1, precision=precision), noise_data)
    assert capfd.readouterr() == ("", "")
    assert {tensor.dtype for tensor in weights(tmp_path / "run").values()} == {torch.float32}


def test_precision_reaches_the_convolutions(tmp_path: Path, noise_data: TrainingData) -> None:
    class Watch(TorchDispatchMode):
        seen: set[torch.dtype] = set()  # noqa: RUF012

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.convolution.default:
                self.seen.add(args[0].dtype)
            return func(*args, **(kwargs or {}))

    loop = training._Training(tmp_path, small_experiment(precision="bf16-mixed"), noise_data, torch.device("cpu"), None)
    with Watch() as watch:
        loop._step(torch.rand(2, 3, 16, 16), torch.tensor([0.0, 1.0]))
    assert watch.seen == {torch.bfloat16}


def test_progress_tells_every_step_and_epoch(tmp_path: Path, noise_data: TrainingData) -> None:
    told: list[TrainProgress] = []
    train(tmp_path / "run", small_experiment(epochs=2), noise_data, on_progress=told.append)
    steps = told[0].steps
    assert [(now.epoch, now.step) for now in told] == [
        *((1, step) for step in range(1, steps + 1)), (2, 0), *((2, step) for step in range(1, steps + 1)), (2, 0)
    ]  # fmt: skip
    assert [len(now.history) for now in told] == [0] * steps + [1] * (steps + 1) + [2]
    assert all(now.images_per_s > 0 and math.isfinite(now.remaining_s) for now in told)
    assert told[-1].remaining_s == 0
    assert told[steps - 1].loss == pytest.approx(told[steps].history[0].train_loss)


# ---------------------------------------------------------------- run folders


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
    assert (about["data"]["images"], about["data"]["image_px"]) == (60, IMAGE_PX)
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
            r"\(train.epochs is 1 there and 2 here; train.limit_s is None there and 9.0 here\); resume with its own",
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
    message = f"train.device is '{wanted}' but this machine has no such device; use 'auto' or cpu"
    with pytest.raises(ConfigError, match=message):
        train(tmp_path / "run", small_experiment(device=wanted), noise_data)
    assert not (tmp_path / "run").exists()
    assert device.choose_device("auto") == torch.device("cpu")


def test_auto_prefers_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.choose_device("auto") == torch.device("cuda")


def test_precision_that_a_processor_lacks_is_refused(tmp_path: Path, noise_data: TrainingData) -> None:
    with pytest.raises(ConfigError, match=r'"16-mixed", which a processor cannot; use "bf16-mixed"'):
        train(tmp_path / "run", small_experiment(precision="16-mixed"), noise_data)


# ---------------------------------------------------------------- going on


def resumed(run: Path, experiment: Experiment, data: TrainingData, *deaths: int) -> None:
    """Train with deaths after so many steps each, then to the end."""
    for steps in deaths:
        with pytest.raises(Killed):
            train(run, experiment, data, resume=True, on_progress=Stopper(steps, kill))
    train(run, experiment, data, resume=True)


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
    assert message.endswith(f"is saved in {folder / name}: give the same command with --resume to go on")
    assert (folder / name / "resume.safetensors").is_file()
    assert not (folder / name / "checkpoint.safetensors").exists()


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_training_goes_on_to_the_same_weights(tmp_path: Path, noise_data: TrainingData) -> None:
    experiment, run = small_experiment(ALEXNET), tmp_path / "run"
    train(tmp_path / "whole", experiment, noise_data)
    with pytest.raises(TrainingInterruptedError, match="stopped in epoch 1 after step 3 of 5; the state is saved in"):
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
        patch.setattr(training, "predict_logits", interrupted)
        with pytest.raises(TrainingInterruptedError, match="after step 5 of 5"):
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
    loop = training._Training(tmp_path, experiment, noise_data, torch.device("cpu"), None)
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


def test_state_of_another_experiment_is_refused(tmp_path: Path, noise_data: TrainingData) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        with pytest.raises(Killed):
            train(
                tmp_path / name, small_experiment(save_every_s=1e-9).changed(seed=seed), noise_data,
                on_progress=Stopper(3, kill),
            )  # fmt: skip
    (tmp_path / "two" / "resume.safetensors").replace(tmp_path / "one" / "resume.safetensors")
    with pytest.raises(RunError, match=r"resume.safetensors belongs to another experiment or data set; resume with"):
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


# ---------------------------------------------------------------- limits and divergence


def test_time_limit_ends_the_training_early_and_the_run_says_so(tmp_path: Path, noise_data: TrainingData) -> None:
    experiment, run = small_experiment(epochs=1000, limit_s=0.3), tmp_path / "run"
    path = train(run, experiment, noise_data)
    about = run_about(run)
    assert about["complete"] is False
    assert about["epochs"] < about["epochs_asked"] == 1000
    assert 0.3 <= about["seconds"] < 3
    assert about["steps"] // 5 == about["epochs"]
    assert train(run, experiment, noise_data, resume=True) == path  # it has ended; it does not go on


def test_time_counts_over_resumptions_and_with_saving(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*arguments: Any, **options: Any) -> None:
        time.sleep(0.05)
        real(*arguments, **options)

    real = training.save_training
    monkeypatch.setattr(training, "save_training", slow)
    experiment, run = small_experiment(epochs=2, save_every_s=1e-9), tmp_path / "run"
    resumed(run, experiment, noise_data, 4)
    assert (
        run_about(run)["seconds"] >= 11 * 0.05
    )  # 3 saves before the death, 7 steps and 2 epochs after it, less the last
    rows = read_csv(run / "history.csv")
    assert sum(float(row["seconds"]) for row in rows) <= run_about(run)["seconds"] - 0.4


def test_loss_that_is_not_finite_names_epoch_and_step(tmp_path: Path, noise_data: TrainingData) -> None:
    message = (
        r"run: the loss is (nan|inf) in epoch 1, step 2; lower train.learning_rate \(now 1e\+30\) "
        "and train again in a new folder"
    )
    with pytest.raises(RunError, match=message):
        train(tmp_path / "run", small_experiment(learning_rate=1e30), noise_data)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_logits_that_are_not_finite_after_an_epoch_are_named(tmp_path: Path, noise_data: TrainingData) -> None:
    with pytest.raises(RunError, match="the logits of the validation images are not finite after epoch 1; lower"):
        train(tmp_path / "run", small_experiment(learning_rate=1e30, batch_size=64), noise_data)


def test_error_in_on_progress_is_not_swallowed(tmp_path: Path, noise_data: TrainingData) -> None:
    def fail() -> None:
        raise ValueError("the screen is gone")

    with pytest.raises(ValueError, match="the screen is gone"):
        train(tmp_path / "run", small_experiment(), noise_data, on_progress=Stopper(1, fail))


@pytest.mark.slow
def test_deaths_change_nothing_with_batch_normalisation(tmp_path: Path, noise_data: TrainingData) -> None:
    experiment = small_experiment({"name": "resnet18"}, epochs=1, batch_size=16, save_every_s=1e-9)
    experiment = experiment.changed(preprocessing={"resize_px": 40, "crop_px": 33})
    train(tmp_path / "whole", experiment, noise_data)
    resumed(tmp_path / "died", experiment, noise_data, 2)
    assert_same_weights(tmp_path / "whole", tmp_path / "died")

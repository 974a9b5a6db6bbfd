"""Training is a plain loop over batches; it ends in time, and says where it diverged."""

import math
import time
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
from lentigo.errors import RunError
from lentigo.files import read_csv
from lentigo.learn import training
from lentigo.learn.checkpoint import run_checkpoint
from lentigo.learn.fabric import make_fabric
from lentigo.learn.prediction import predict_logits
from lentigo.learn.run import run_about
from lentigo.learn.training import TrainingData, TrainProgress, train
from lentigo.models.contract import seeded_torch
from lentigo.models.registry import create_model, resolve_preprocessing
from tests.learn.helpers import Stopper, assert_same_weights, history, resumed, weights
from tests.learn.small import ALEXNET, TINY, small_experiment

NO_AUGMENTATION = {"flip_probability": 0.0, "jitter_probability": 0.0, "rotate_probability": 0.0}


def test_defaults_are_the_papers_recipe() -> None:
    config = TrainConfig()
    assert (config.epochs, config.batch_size, config.learning_rate) == (10, 32, 1e-4)
    assert (tuple(config.betas), config.precision) == ((0.9, 0.999), "32-true")
    assert Experiment().model.name == "tiny_vgg"


def plain_loop(experiment: Experiment, data: TrainingData) -> tuple[dict[str, Tensor], list[float]]:
    """The training as a tutorial would write it: whole batches, torch's Adam, mean loss; losses by epoch.

    Adam in its fused form, as in the training: where a gradient is nearly 0, the two forms round apart by an amount
    that depends on the processor (2.7e-6 was seen on one, under 2e-6 on another).
    """
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    model = create_model(experiment.model, preprocessing, seed=experiment.seed)
    adam = torch.optim.Adam(model.parameters(), lr=experiment.train.learning_rate, fused=True)
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
    loop = training._Training(tmp_path, experiment, data, make_fabric(torch.device("cpu"), experiment), None)
    monkeypatch.setattr(loop.optimizer, "step", lambda: None)
    order = data.split.indices(data.table, "train")[:13]
    (images,) = batches(data.pack, order, preprocessing, batch_size=13)
    loop._step(images, torch.from_numpy(data.table.labels[order]).float(), count=13)
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

    experiment = small_experiment(precision="bf16-mixed")
    loop = training._Training(tmp_path, experiment, noise_data, make_fabric(torch.device("cpu"), experiment), None)
    with Watch() as watch:
        loop._step(torch.rand(2, 3, 16, 16), torch.tensor([0.0, 1.0]), count=2)
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


def test_time_limit_ends_the_training_early_and_the_run_says_so(tmp_path: Path, noise_data: TrainingData) -> None:
    experiment, run = small_experiment(epochs=1000, limit_s=0.3), tmp_path / "run"
    path = train(run, experiment, noise_data)
    about = run_about(run)
    assert about["complete"] is False
    assert about["epochs"] < about["epochs_asked"] == 1000
    assert 0.3 <= about["seconds"] < 60
    assert about["steps"] // 6 == about["epochs"]
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
    # Saves that count: 2 before the one that was gone on from, then 3 + 1 + 6 + 1.
    assert run_about(run)["seconds"] >= 13 * 0.05
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

"""What only a GPU can show: recorded steps, kept images and changes made there; skipped where there is none."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lentigo.config import AugmentConfig
from lentigo.data import resident
from lentigo.data.augment import apply_augmentation, draw_augmentation
from lentigo.data.augment_together import apply_together
from lentigo.learn import recorded
from lentigo.learn.checkpoint import run_checkpoint
from lentigo.learn.training import TrainingData, train
from tests.data.test_augment import noise
from tests.learn.small import ALEXNET, TINY, small_experiment

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
GPU = torch.device("cuda")


@pytest.mark.parametrize("model", [TINY, ALEXNET], ids=lambda model: model["name"])
def test_recorded_steps_train_as_steps_one_by_one(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any]
) -> None:
    """With dropout, a falling rate and a last batch of two images; deterministic, so that only recording differs."""
    options = {"epochs": 3, "device": "cuda", "schedule": "cosine", "deterministic": True, "learning_rate": 1e-3}
    train(tmp_path / "recorded", small_experiment(model, **options), noise_data)
    monkeypatch.setattr(recorded, "_BEFORE", 10**9)
    train(tmp_path / "single", small_experiment(model, **options), noise_data)
    one, other = (run_checkpoint(tmp_path / name).model.state_dict() for name in ("recorded", "single"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", [TINY, ALEXNET], ids=lambda model: model["name"])
def test_deterministic_trainings_have_the_same_bits(
    tmp_path: Path, noise_data: TrainingData, model: dict[str, Any]
) -> None:
    for name in ("one", "two"):
        train(tmp_path / name, small_experiment(model, device="cuda", deterministic=True), noise_data)
    one, two = (run_checkpoint(tmp_path / name).model.state_dict() for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_step_that_cannot_be_recorded_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = torch.ones(3, device=GPU)

    def step(images: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return (images * weight).sum() * float(weight.sum())  # waits for the device

    found = recorded.RecordedStep(step, count=2)
    losses = [float(found(torch.full((2, 3), float(k), device=GPU), torch.ones(2, device=GPU))) for k in range(6)]
    assert losses == [18.0 * k for k in range(6)]
    assert found.refused


def test_kept_images_are_the_packs(noise_data: TrainingData) -> None:
    with contextlib.ExitStack() as stack:
        stack.callback(resident.forget, GPU)
        assert resident.keep_on_device(noise_data.pack, GPU)
        rows = np.array([5, 0, 61])
        assert np.array_equal(
            resident.kept_images(noise_data.pack, rows, GPU).cpu().numpy(), noise_data.pack.read(rows)
        )


def test_changes_made_on_a_gpu_are_the_processor_s_but_for_rounding() -> None:
    images = noise(80, 64, 64)
    config = AugmentConfig(flip_probability=0.5, jitter_probability=0.5, rotate_probability=0.5, zoom_probability=0.3)
    draw = draw_augmentation(config, seed=0, epoch=0, indices=range(80))
    off = (apply_together(images.to(GPU), draw).cpu().int() - apply_augmentation(images, draw).int()).abs().amax(1)
    assert (off > 0).float().mean() < 0.02
    assert (off > 1).float().mean() < 0.002

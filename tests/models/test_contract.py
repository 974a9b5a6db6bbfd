"""Modes and random states that are borrowed are given back."""

import numpy as np
import pytest
import torch
from torch import nn

from lentigo.models.contract import evaluating, multiplied_as, seeded_torch


def fail() -> None:
    raise RuntimeError("halfway")


def test_evaluating_gives_each_module_its_own_mode_back() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(2), nn.Dropout()))
    model.train()
    model[1][0].eval()
    modes = [True, True, True, False, True]
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(RuntimeError, match="halfway"), evaluating(model):
        fail()
    assert [module.training for module in model.modules()] == modes


def test_evaluating_multiplies_float32_as_float32() -> None:
    with multiplied_as(tf32=True):
        with evaluating(torch.nn.Linear(2, 2)):
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.allow_tf32


def test_seeded_torch_is_a_function_of_its_key() -> None:
    def draw(*key: int) -> list[float]:
        with seeded_torch(*key):
            return torch.rand(3).tolist()

    assert draw(1, 2) == draw(1, 2)
    assert len({tuple(draw(*key)) for key in [(1, 2), (2, 1), (1,), (1, 2, 0xD809)]}) == 4
    seed = int(np.random.SeedSequence((1, 2)).generate_state(1, np.uint64)[0] >> 1)
    assert draw(1, 2) == torch.rand(3, generator=torch.Generator().manual_seed(seed)).tolist()


def test_seeded_torch_gives_the_global_state_back_also_nested_and_after_an_error() -> None:
    before = torch.get_rng_state()
    with seeded_torch(1):
        inner = torch.get_rng_state()
        with seeded_torch(2):
            torch.rand(5)
        assert torch.equal(torch.get_rng_state(), inner)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError, match="halfway"), seeded_torch(1):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_seeded_torch_leaves_devices_that_are_not_in_use_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("a device's generator was seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", touched)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with seeded_torch(1):
        pass

"""How torch computes inside a training, and that it is as before outside."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lentigo.config import TrainConfig
from lentigo.learn.arithmetic import arithmetic, fabric_precision
from lentigo.learn.checkpoint import run_checkpoint
from lentigo.learn.run import TrainingData
from lentigo.learn.training import train
from lentigo.models.contract import multiplied_as
from tests.learn.small import ALEXNET, TINY, small_experiment

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def state() -> tuple[Any, ...]:
    return (
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.mark.parametrize(("precision", "tf32"), [("32-true", False), ("tf32", True), ("bf16-mixed", True)])
def test_tf32_only_where_it_is_asked_for(precision: str, tf32: bool) -> None:
    before = state()
    with arithmetic(TrainConfig(precision=precision), GPU):
        assert state()[:2] == (tf32, tf32)
        with multiplied_as(tf32=False):
            assert state()[:2] == (False, False)
        assert state()[:2] == (tf32, tf32)
    assert state() == before


def test_deterministic_inside_and_given_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = state()

    def fail() -> None:
        with arithmetic(TrainConfig(deterministic=True), CPU):
            assert state()[2:] == (True, False)
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert state() == before


def test_fabric_s_names() -> None:
    names = {name: fabric_precision(TrainConfig(precision=name)) for name in ("32-true", "64-true", "tf32", "16-mixed")}
    assert names == {"32-true": "32-true", "64-true": "64-true", "tf32": "32-true", "16-mixed": "16-mixed"}


@pytest.mark.parametrize("model", [TINY, ALEXNET], ids=lambda model: model["name"])
def test_deterministic_trainings_have_the_same_bits_and_those_of_an_ordinary_one(
    tmp_path: Path, noise_data: TrainingData, model: dict[str, Any]
) -> None:
    """On a processor nothing else is nondeterministic; that no layer refuses is what the flag shows."""
    runs = [tmp_path / name for name in ("one", "two", "ordinary")]
    for run in runs:
        train(run, small_experiment(model, epochs=1, deterministic=run.name != "ordinary"), noise_data)
    one, two, ordinary = (run_checkpoint(run).model.state_dict() for run in runs)
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name])
        assert torch.equal(tensor, ordinary[name])


@pytest.mark.parametrize("largest", [2**31 - 1, 2**25], ids=["glibc", "an older one"])
def test_memory_is_kept_inside_and_given_back_outside(monkeypatch: pytest.MonkeyPatch, largest: int) -> None:
    """The calls of the C library, in order: keep all, then the limits that it has by itself, then give back."""
    calls: list[tuple[str, int, int]] = []

    class Library:
        def __init__(self, _: None) -> None: ...

        def mallopt(self, key: int, value: int) -> int:
            calls.append(("mallopt", key, value))
            return int(value <= largest)

        def malloc_trim(self, pad: int) -> None:
            calls.append(("malloc_trim", pad, 0))

    monkeypatch.setattr("lentigo.learn.arithmetic.ctypes.CDLL", Library)
    monkeypatch.setattr("lentigo.learn.arithmetic.sys.platform", "linux")
    with arithmetic(TrainConfig(), CPU):
        asked = [("mallopt", -3, 2**31 - 1)] + ([("mallopt", -3, 2**25)] if largest == 2**25 else [])
        # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX
        assert calls == [*asked, ("mallopt", -1, 2**31 - 1), ("mallopt", -8, 1)]
    assert calls[len(asked) + 2 :] == [("mallopt", -3, 2**25), ("mallopt", -1, 2**26), ("malloc_trim", 0, 0)]
    calls.clear()
    with arithmetic(TrainConfig(), GPU):
        pass
    assert calls == []


@pytest.mark.parametrize("platform", ["darwin", "win32", "linux"])
def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.setattr("lentigo.learn.arithmetic.ctypes.CDLL", lambda _: object())
    monkeypatch.setattr("lentigo.learn.arithmetic.sys.platform", platform)
    with arithmetic(TrainConfig(), CPU):
        assert torch.ones(2).sum() == 2


def test_double_precision_trains_and_scores(tmp_path: Path, noise_data: TrainingData) -> None:
    """64-true: the same training with other rounding; its checkpoint is read as any other."""
    weights = []
    for name, precision in (("single", "32-true"), ("double", "64-true")):
        train(tmp_path / name, small_experiment(TINY, epochs=1, precision=precision), noise_data)
        weights.append(run_checkpoint(tmp_path / name).model.state_dict())
    single, double = weights
    assert {tensor.dtype for tensor in double.values()} == {torch.float32}
    assert max(float((single[name] - double[name]).abs().max()) for name in single) < 1e-4
    assert not all(torch.equal(single[name], double[name]) for name in single)

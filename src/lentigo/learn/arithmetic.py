"""How exactly a training computes, and with which memory: settings of torch and of the C library."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

import torch

from lentigo.config import TrainConfig
from lentigo.errors import ConfigError
from lentigo.models.contract import multiplied_as

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's mallopt
_NO_SUCH_ALGORITHM = "does not have a deterministic implementation"
_LARGEST_INT, _GLIBC_LARGEST_MMAP_THRESHOLD = 2**31 - 1, 32 * 1024 * 1024
FabricPrecision = Literal["32-true", "64-true", "bf16-mixed", "16-mixed"]


def fabric_precision(config: TrainConfig) -> FabricPrecision:
    """What Fabric calls it: TF32 is how float32 is multiplied, and no type of its own."""
    return "32-true" if config.precision == "tf32" else config.precision


@contextlib.contextmanager
def arithmetic(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Torch as the experiment asks for it, inside; as it was, outside.

    `precision` "32-true" multiplies in float32 on a GPU too, where torch by itself would take TF32 for convolutions;
    all others take TF32 for what stays in float32. `deterministic` allows only algorithms that give equal bits twice.
    Letting cuDNN try which algorithm is quickest was measured: no step became quicker, and the first one took seconds.

    Raises: ConfigError: with `deterministic`, the network has a layer that has no such algorithm at its size.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(multiplied_as(tf32=config.precision != "32-true"))
        if config.deterministic:
            stack.enter_context(_deterministic())
        if device.type == "cpu":
            stack.enter_context(_freed_memory_kept())
        yield


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    # cuBLAS reads this once, when it starts, so it stays; set by hand, it is left as it is.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # nothing here reads what it has not written
    try:
        yield
    except RuntimeError as error:
        if _NO_SUCH_ALGORITHM not in str(error):
            raise
        raise ConfigError(
            f"train.deterministic cannot be kept here: {str(error).partition('.')[0]}; leave it out, or give the "
            "network images of its own size (preprocessing)"
        ) from error
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = filled


@contextlib.contextmanager
def _freed_memory_kept() -> Iterator[None]:
    """Memory that a step frees stays with the process for the next step, inside.

    The C library gives large blocks back to the system and asks for them again at every step, and the system fills them
    with zeros: 0.62 s against 0.39 s for 32 images of Tiny VGG, 0.91 s against 0.77 s of AlexNet, on two cores
    (benchmarks/training_step.py). Threads take theirs from the same heap from then on, until the process ends: from
    heaps of their own it would go back, 1,700 against 2,500 images a second (benchmarks/input_pipeline.py, whose next
    batch is made in one). Afterwards all is given back, and blocks above glibc's largest own limit go back at once
    again. Nothing is done where the C library is not glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    if not libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_INT):  # an older glibc refuses above 32 MiB
        libc.mallopt(_M_MMAP_THRESHOLD, _GLIBC_LARGEST_MMAP_THRESHOLD)
    libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
    libc.mallopt(_M_ARENA_MAX, 1)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _GLIBC_LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _GLIBC_LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)

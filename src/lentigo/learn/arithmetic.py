"""How exactly a training computes, and with which memory: settings of torch and of the C library, given back after."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from typing import Any, Literal

import torch

from lentigo.config import TrainConfig

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_LARGEST_INT, _GLIBC_LARGEST_MMAP_THRESHOLD = 2**31 - 1, 32 * 1024 * 1024
FabricPrecision = Literal["32-true", "64-true", "bf16-mixed", "16-mixed"]


def fabric_precision(config: TrainConfig) -> FabricPrecision:
    """What Fabric calls it: TF32 is how float32 is multiplied, and no type of its own."""
    return "32-true" if config.precision == "tf32" else config.precision


@contextlib.contextmanager
def arithmetic(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Torch as the experiment asks for it, inside; as it was, outside.

    `precision` "32-true" multiplies in float32 on a GPU too, where torch by itself would take TF32 for convolutions;
    all others take TF32 for what stays in float32. `deterministic` allows only algorithms that give equal bits twice;
    otherwise a GPU may try which is quickest.
    """
    tf32 = config.precision != "32-true"
    with contextlib.ExitStack() as stack:
        stack.enter_context(_multiplication(tf32))
        if config.deterministic:
            stack.enter_context(_deterministic())
        elif device.type == "cuda":
            stack.enter_context(_quickest())
        if device.type == "cpu":
            stack.enter_context(_freed_memory_kept())
        yield


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Float32 without TF32, inside: as a network is scored, whatever it was trained with."""
    with _multiplication(False):
        yield


@contextlib.contextmanager
def _multiplication(tf32: bool) -> Iterator[None]:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextlib.contextmanager
def _quickest() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    # cuBLAS reads this when it starts; set by hand, it stays as it is.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False  # nothing here reads what it has not written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = filled


@contextlib.contextmanager
def _freed_memory_kept() -> Iterator[None]:
    """Memory that a step frees stays with the process for the next step, inside.

    The C library gives large blocks back to the system and asks for them again at every step, and the system fills them
    with zeros: 0.50 s against 0.36 s for 32 images of Tiny VGG, 8.9 s against 7.7 s of VGG11, on two cores. Afterwards
    it is all given back. Nothing is done where the C library is not glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not (hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim")):
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_INT)
    libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_INT)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _GLIBC_LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _GLIBC_LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)

"""The device that a training runs on: chosen by name, named in words."""

import platform
from pathlib import Path

import torch

from lentigo.errors import ConfigError


def choose_device(wanted: str) -> torch.device:
    """The device for `train.device`; auto takes CUDA, else Apple's GPU, else the processor.

    Raises: ConfigError: this machine has no such device.
    """
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in usable.items() if there))
    if not usable[wanted]:
        here = " or ".join(name for name, there in usable.items() if there)
        raise ConfigError(
            f"the device asked for (--device or train.device) is {wanted!r}, but this machine has no such device; use "
            f"'auto' or {here}"
        )
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """The device in words a person knows: the GPU's name, or the processor's with the number of threads used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    return f"CPU ({_processor()}), {torch.get_num_threads()} threads"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()

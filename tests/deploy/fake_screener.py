"""A stand-in for the Screener that needs no model; the server makes it in its processes, so it can be imported."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from lentigo.errors import ModelError

DIE, SLEEP, HANG, FAIL = 251, 252, 253, 254  # red of the first pixel; of SLEEP, green says for how many hundredths


@dataclass
class FakeScreening:
    """Malignant as the picture is bright."""

    name: str
    brightness: float
    demo: bool
    heat: np.ndarray | None = None

    def to_dict(self) -> dict[str, Any]:
        answer = {"image": self.name, "band": "unclear", "probability": self.brightness, "logit": 0.0, "outlier": 0.5}
        return answer | {"findings": [], "model": "fake", "demo": self.demo, "notice": ""}


@dataclass
class FakeScreener:
    """Does what the first pixel says."""

    demo: bool = False
    about: SimpleNamespace = field(init=False)

    def __post_init__(self) -> None:
        content = {"name": "fake", "demo": self.demo, "card": "# Card", "format": 1}
        self.about = SimpleNamespace(content=content, demo=self.demo)

    def screen(self, image: np.ndarray, *, name: str, insist: bool = False) -> FakeScreening:
        red, green, _ = map(int, image[0, 0])
        if red == DIE:
            os._exit(7)
        if red == FAIL:
            raise RuntimeError("a fault in the screener")
        time.sleep({SLEEP: green / 100, HANG: 3600}.get(red, 0.0))
        return FakeScreening(name, float(image.mean() / 255), self.demo)


demo_screener = partial(FakeScreener, demo=True)


def echo(job: dict[str, Any], blob: bytes) -> tuple[dict[str, Any], bytes]:
    """An answer for the pool alone: does as it is told, then gives the job and the bytes back, with its number."""
    os.write(2, job.get("say", "").encode())
    if "fail" in job:
        raise ValueError(job["fail"])
    time.sleep(job.get("sleep_s", 0))
    return {**job, "pid": os.getpid()}, blob


def make_echo() -> Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]:
    return echo


def make_nothing() -> Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]:
    os._exit(5)


def make_refusal() -> Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]:
    raise ModelError("m.onnx is not the file it was")

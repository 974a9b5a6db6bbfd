"""What a process of the server does with one picture: screen it, draw its heat map, and make the copy that is kept.

In: a job {"name", "insist", "heatmap", "keep"} and the bytes that a client sent. Out: {"status": 200, "body": ...} or
{"status": 422, "error": sentence}, and the PNG to keep, or nothing. All that leaves is made from pixels, so that what a
camera writes into a file (place, time, owner) cannot.
"""

import base64
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lentigo.deploy.screen import Screener, heat_overlay
from lentigo.errors import ImageError, ModelError
from lentigo.files import sha256_of
from lentigo.imaging import read_image

HEATMAP_PX = 640  # longer side of the picture under a heat map
HEATMAP_OPACITY = 0.5
PNG_LEVEL = 1  # zlib's; a photograph comes out 5 % larger than at 6, in a quarter of the time

Image_ = UInt8[np.ndarray, "height width 3"]


def load_screener(model: Path, sha256: str) -> Screener:
    """The screener of a model.onnx.

    Raises: LentigoError: it cannot be read, or is not the file of that sum any more.
    """
    if sha256_of(model) != sha256:
        raise ModelError(f"{model} is not the file it was when the server started; start the server again")
    return Screener(model, threads=1)  # one process a CPU; more threads would only wait for each other


def make_answer(screener: Callable[[], Any]) -> Callable[[dict[str, Any], bytes], tuple[dict[str, Any], bytes]]:
    """What answers jobs in this process, with the screener loaded."""
    return partial(answer, screener())


def answer(screener: Any, job: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """The answer to one job; see the head of this file."""
    try:
        image = read_image(data, name=job["name"])
        screening = screener.screen(image, name=job["name"], insist=job["insist"])
    except ImageError as error:
        return {"status": 422, "error": _sentence(error)}, b""
    body = screening.to_dict()
    if job["heatmap"]:
        body["heatmap"] = _data_url(_overlay(image, screening, screener.about))
    return {"status": 200, "body": body}, _png(image) if job["keep"] else b""


def _overlay(image: Image_, screening: Any, about: Any) -> UInt8[np.ndarray, "small_height small_width 3"] | None:
    if screening.heat is None:
        return None
    return heat_overlay(image, screening.heat, about, HEATMAP_OPACITY, side_px=HEATMAP_PX)


def _data_url(image: Image_ | None) -> str | None:
    return None if image is None else "data:image/png;base64," + base64.b64encode(_png(image)).decode()


def _png(image: Image_) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=PNG_LEVEL)
    return file.getvalue()


def _sentence(error: ImageError) -> str:
    text = str(error)
    return text if text.endswith(".") else text + "."

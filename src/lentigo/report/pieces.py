"""What the pages of lentigo have in common: their templates, and photographs inside the file. Needs no torch."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from lentigo.report import texts

PHOTO_PX = 200  # width of the photographs in the file; they are shown at 90 to 170 CSS pixels
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Photograph:
    """An image for an `<img>` element."""

    uri: str
    width: int
    height: int


def page_environment() -> Environment:
    """Templates of this folder, with everything escaped that comes from data, and a name that is not given refused."""
    environment = Environment(
        loader=PackageLoader("lentigo", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= texts.FILTERS
    return environment


def photograph(image: UInt8[np.ndarray, "_ _ 3"], *, max_px: int = PHOTO_PX) -> Photograph:
    """An image as a JPEG inside a data URI, made smaller if it is wider than `max_px`."""
    picture = Image.fromarray(image)
    if picture.width > max_px:
        height = max(1, round(picture.height * max_px / picture.width))
        picture = picture.resize((max_px, height), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return Photograph(
        "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii"), picture.width, picture.height
    )

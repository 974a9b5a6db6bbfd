"""A decoded Pillow image in, upright RGB uint8 out; a tile at a time, so that no second or third whole copy is made.

An image of 50 megapixels takes 200 MB inside Pillow and 150 MB as RGB. Turned, laid over white and converted as a whole
it went through four more copies, and a WebP file of 38 bytes took 1.2 GB.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lentigo.errors import ImageError

TILE_PX = 512  # 1 MB in Pillow, which stays in the cache
BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # TIFF tags

# What shows an upright array as the file stores it, by EXIF orientation; 1 is upright, 5 to 8 exchange the sides.
AS_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: np.rot90,
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def rgb_pixels(image: Image.Image, name: str, *, orientation: int = 1) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of a decoded image: upright, transparency over white, grey of more than 8 bits scaled to 8.

    Args:
        name: what messages call the image.
        orientation: EXIF; what is not in `AS_STORED` is upright.
    Returns: a new array.
    Raises: ImageError: floating point, Lab or signed pixels, whose range is unknown.
    """
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})  # only TIFF has them; tiles have not
    if image.mode in ("F", "LAB"):
        raise ImageError(f"{name} has {image.mode} pixels (floating point or Lab); save it as RGB, 8 bits a channel")
    if image.mode.startswith("I") and tags.get(SAMPLE_FORMAT, (1,))[0] != 1:
        raise ImageError(f"{name} has signed grey values, whose range is unknown; save it with 8 bits a channel")
    sides = image.size if orientation in (5, 6, 7, 8) else image.size[::-1]
    upright = np.empty((*sides, 3), np.uint8)
    as_stored = AS_STORED.get(orientation)
    stored = upright if as_stored is None else as_stored(upright)  # a view: what is written here is upright there
    for top, left in itertools.product(range(0, image.height, TILE_PX), range(0, image.width, TILE_PX)):
        bottom, right = min(top + TILE_PX, image.height), min(left + TILE_PX, image.width)
        stored[top:bottom, left:right] = _tile(image.crop((left, top, right, bottom)), tags)
    return upright


def _tile(image: Image.Image, tags: Mapping[int, Any]) -> np.ndarray:
    """RGB, or a grey plane with a last axis of one, which stands for all three colours."""
    if image.mode.startswith("I"):
        return _grey_8bit(image, tags)[..., None]
    if image.has_transparency_data:
        rgba, white = image.convert("RGBA"), Image.new("RGB", image.size, "white")
        white.paste(
            rgba.convert("RGB"), mask=rgba.getchannel("A")
        )  # a third of alpha_composite's time, equal to the bit
        return np.asarray(white)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _grey_8bit(image: Image.Image, tags: Mapping[int, Any]) -> UInt8[np.ndarray, "height width"]:
    """Grey of 9 to 32 bits scaled by its range: convert("RGB") would clip all above 255 to white."""
    bits = int(tags.get(BITS_PER_SAMPLE, (16,))[0])
    top = 2 ** min(bits, 16) - 1
    values = np.asarray(image).astype(np.uint32) >> max(bits - 16, 0)
    grey = np.array((values * 255 + top // 2) // top, np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[values == transparent] = 255
    return 255 - grey if tags.get(PHOTOMETRIC) == 0 else grey

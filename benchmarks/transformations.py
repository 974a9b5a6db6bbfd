"""What a copy of a picture may have gone through: the transformations that the search for duplicates must survive.

In: RGB uint8 of any shape. Out: another picture, to be saved as JPEG of `quality`. Random places and angles come from
the generator that is handed in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Transformation:
    name: str
    change: Change
    least_recall: float  # what issue 3 asks for
    quality: int = 85  # of the JPEG file, 4:2:0

    def save(self, image: np.ndarray, path: Path, rng: np.random.Generator) -> None:
        Image.fromarray(np.ascontiguousarray(self.change(image, rng))).save(path, "JPEG", quality=self.quality)


def resized(
    image: np.ndarray, _: np.random.Generator | None = None, *, across: float = 1.0, down: float = 1.0
) -> np.ndarray:
    size = round(image.shape[1] * across), round(image.shape[0] * down)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def cut_to_its_middle(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A square out of the middle of a 4:3 picture that stands here squeezed to a square: 3/4 of its long side."""
    stretched = resized(image, across=4 / 3) if rng.random() < 0.5 else resized(image, down=4 / 3)
    height, width = stretched.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return stretched[top : top + side, left : left + side]


def cut_anywhere(image: np.ndarray, rng: np.random.Generator, *, share: float) -> np.ndarray:
    """Off either side so much that `share` of the height and of the width is gone in all."""
    height, width = image.shape[:2]
    rows, columns = round(height * (1 - share)), round(width * (1 - share))
    top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    return image[top : top + rows, left : left + columns]


def cut_each_side(image: np.ndarray, _: np.random.Generator | None = None, *, share: float) -> np.ndarray:
    height, width = image.shape[:2]
    top, left = round(height * share), round(width * share)
    return image[top : height - top, left : width - left]


def turned(image: np.ndarray, rng: np.random.Generator, *, border: int, whole: bool = False) -> np.ndarray:
    """By 5 to 10 degrees either way; `whole`: cut to the upright part that shows no border."""
    degrees = rng.choice([-1, 1]) * rng.uniform(5, 10)
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    other = np.asarray(cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=border))
    if not whole:
        return other
    angle = np.deg2rad(abs(degrees))
    return cut_each_side(other, share=(1 - 1 / (np.cos(angle) + np.sin(angle))) / 2)


def lit(image: np.ndarray, _: np.random.Generator, *, by: float) -> np.ndarray:
    return np.clip(image * by + 0.5, 0, 255).astype(np.uint8)


TRANSFORMATIONS = (
    Transformation(name="JPEG of quality 50", change=lambda image, _: image, quality=50, least_recall=0.99),
    Transformation(name="half the size", change=partial(resized, across=0.5, down=0.5), least_recall=0.99),
    Transformation(name="mirrored", change=lambda image, _: image[:, ::-1], least_recall=0.99),
    Transformation(name="upside down", change=lambda image, _: image[::-1], least_recall=0.99),
    Transformation(name="turned by 90°", change=lambda image, _: np.rot90(image, 1), least_recall=0.99),
    Transformation(name="turned by 180°", change=lambda image, _: np.rot90(image, 2), least_recall=0.99),
    Transformation(name="turned by 270°", change=lambda image, _: np.rot90(image, 3), least_recall=0.99),
    Transformation(name="saved as 4:3", change=partial(resized, across=4 / 3), least_recall=0.95),
    Transformation(name="middle of 4:3, not squeezed", change=cut_to_its_middle, least_recall=0.95),
    Transformation(name="5 % cut off, anywhere", change=partial(cut_anywhere, share=0.05), least_recall=0.95),
    Transformation(name="10 % cut off, anywhere", change=partial(cut_anywhere, share=0.1), least_recall=0.95),
    Transformation(name="5 % cut off each side", change=partial(cut_each_side, share=0.05), least_recall=0.95),
    Transformation(name="10 % cut off each side", change=partial(cut_each_side, share=0.1), least_recall=0.95),
    Transformation(
        name="turned by 5 to 10°, black corners",
        change=partial(turned, border=cv2.BORDER_CONSTANT),
        least_recall=0.95,
    ),
    Transformation(
        name="turned by 5 to 10°, reflected corners",
        change=partial(turned, border=cv2.BORDER_REFLECT),
        least_recall=0.95,
    ),
    Transformation(
        name="turned by 5 to 10°, corners cut off",
        change=partial(turned, border=cv2.BORDER_REFLECT, whole=True),
        least_recall=0.95,
    ),
    Transformation(name="brightness x 0.8", change=partial(lit, by=0.8), least_recall=0.95),
    Transformation(name="brightness x 1.2", change=partial(lit, by=1.2), least_recall=0.95),
)

"""Changes that an image meets on its way to a model: an RGB uint8 image and a strength in, a changed image out.

Each change has five strengths: 1 is hardly noticed, 5 is a poor photo by a layman that a physician would still
recognise. What is random (a direction, a place) derives from (seed, change, image index) and not from the strength, so
that strength 5 is strength 1 gone on. Lengths are percent of the image's shorter side; the size stays as it is.
After the idea of Hendrycks & Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR, with what dermoscopy and phones do to an image.
"""

import io
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image as PillowImage

from lentigo.data import artefacts
from lentigo.data.light import LIGHT, light_of, pixels_of
from lentigo.errors import ConfigError, DataError

Image = UInt8[np.ndarray, "height width 3"]

STRENGTHS = (1, 2, 3, 4, 5)
LEAST_PX = 16  # a side; below it there is no room for hairs, and OpenCV 5.0 never ends mirroring a single pixel
READ_NOISE = 3.0  # electrons, standard deviation; what a phone's sensor adds whatever the light


@dataclass(frozen=True, kw_only=True)
class Change:
    """One way in which an image may be worse than those a model was trained on."""

    name: str
    title: str  # for people
    what: str  # is changed, and why it matters
    unit: str  # of the strengths
    strengths: tuple[float, float, float, float, float]  # the amount at strength 1 to 5
    function: Callable[[Image, float, np.random.Generator], Image]  # of image, amount and what is random


def apply_change(image: Image, name: str, strength: int, *, seed: int, index: int) -> Image:
    """The image under one change: a pure function of its arguments.

    Args:
        image: of 16 pixels a side or more; it is left as it is.
        name: a key of `CHANGES`.
        strength: 1 to 5.
        seed: names the series of random places and directions.
        index: names the image in its data set, so that no two images get the same hairs.
    Returns: a new image of the same size.
    Raises:
        ConfigError: an unknown name or strength, or a seed or index below 0.
        DataError: the image is too small.
    """
    if name not in CHANGES:
        raise ConfigError(f"there is no change {name!r}; allowed are {', '.join(CHANGES)}")
    if strength not in STRENGTHS:
        raise ConfigError(f"strength is {strength}, not one of 1, 2, 3, 4, 5; 1 is hardly noticed, 5 is the worst")
    for key, value in (("seed", seed), ("index", index)):
        if value < 0:
            raise ConfigError(f"{key} is {value}; it must be 0 or more")
    if min(image.shape[:2]) < LEAST_PX:
        found = "x".join(map(str, image.shape[:2]))
        raise DataError(f"image {index} is {found} pixels; at least {LEAST_PX} a side are needed: leave it out")
    change = CHANGES[name]
    # A checksum and not the place in the list, so that a new change leaves the draws of the others as they are.
    rng = np.random.default_rng(np.random.SeedSequence((seed, zlib.crc32(name.encode()), index)))
    return change.function(np.ascontiguousarray(image), change.strengths[strength - 1], rng)


# ---------------------------------------------------------------- file, lens and sensor


def _jpeg(image: Image, quality: float, _: np.random.Generator) -> Image:
    file = io.BytesIO()
    PillowImage.fromarray(image).save(file, "JPEG", quality=round(quality))
    return np.array(PillowImage.open(file))


def _blur(image: Image, deviation_percent: float, _: np.random.Generator) -> Image:
    deviation = deviation_percent / 100 * min(image.shape[:2])
    return _uint8(cv2.GaussianBlur(image, (0, 0), deviation, borderType=cv2.BORDER_REFLECT_101))


def _defocus(image: Image, radius_percent: float, _: np.random.Generator) -> Image:
    return _filtered(image, _disc(radius_percent / 100 * min(image.shape[:2])))


def _motion(image: Image, length_percent: float, rng: np.random.Generator) -> Image:
    """Mean of the image at whole pixels along a line through each of them."""
    angle, reach = rng.uniform(0, math.pi), round(length_percent / 200 * min(image.shape[:2]))
    along = np.arange(-reach, reach + 1)
    down, right = (reach + np.rint(along * way).astype(int) for way in (math.sin(angle), math.cos(angle)))
    wide = cv2.copyMakeBorder(image, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    (height, width), total = image.shape[:2], np.zeros(image.shape, dtype=np.float32)
    for y, x in zip(down.tolist(), right.tolist(), strict=True):
        cv2.accumulate(wide[y : y + height, x : x + width], total)
    return _uint8(cv2.convertScaleAbs(total, alpha=1 / along.size))


def _noise(image: Image, electrons: float, rng: np.random.Generator) -> Image:
    """Shot noise, whose variance grows with the light, and read noise, with the same draws at every strength."""
    light = light_of(image)
    deviation = np.sqrt(light * np.float32(1 / electrons) + np.float32((READ_NOISE / electrons) ** 2))
    return pixels_of(light + deviation * rng.standard_normal(image.shape, dtype=np.float32))


def _downscaling(image: Image, factor: float, _: np.random.Generator) -> Image:
    height, width = image.shape[:2]
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    reduced = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return _uint8(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_CUBIC))


# ---------------------------------------------------------------- light


def _exposure(image: Image, stops: float, _: np.random.Generator) -> Image:
    return _lit(image, np.full(3, 2.0**stops))


def _white_balance(image: Image, stops: float, rng: np.random.Generator) -> Image:
    """Red by half of `stops` up and blue by half down, or the other way round; green stays."""
    warm = stops if rng.random() < 0.5 else -stops
    return _lit(image, 2.0 ** (np.array([0.5, 0.0, -0.5]) * warm))


def _contrast(image: Image, factor: float, _: np.random.Generator) -> Image:
    """All channels towards the picture's mean grey, as fog or a smeared lens does."""
    middle = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).mean()
    table = np.rint(middle + factor * (np.arange(256) - middle)).clip(0, 255).astype(np.uint8)
    return _uint8(cv2.LUT(image, table))


# ---------------------------------------------------------------- geometry: what comes in from outside is mirrored


def _rotation(image: Image, degrees: float, rng: np.random.Generator) -> Image:
    return _warped(image, degrees if rng.random() < 0.5 else -degrees, 1.0)


def _zoom(image: Image, factor: float, _: np.random.Generator) -> Image:
    return _warped(image, 0.0, factor)


def _shift(image: Image, percent: float, rng: np.random.Generator) -> Image:
    """By whole pixels, so that nothing is blurred."""
    towards, far = rng.uniform(0, math.tau), percent / 100 * min(image.shape[:2])
    right, down = round(far * math.cos(towards)), round(far * math.sin(towards))
    inner, cut = _inner(image)
    top, bottom, left, right_side = (cut + max(n, 0) for n in (down, -down, right, -right))
    wide = cv2.copyMakeBorder(inner, top, bottom, left, right_side, cv2.BORDER_REFLECT_101)
    height, width = image.shape[:2]
    return _uint8(wide[max(-down, 0) :][:height, max(-right, 0) :][:, :width].copy())


# ---------------------------------------------------------------- the list


def _listed(*changes: Change) -> Mapping[str, Change]:
    return MappingProxyType({change.name: change for change in changes})


CHANGES: Mapping[str, Change] = _listed(
    Change(
        name="jpeg",
        title="JPEG compression",
        what="Saved at a lower JPEG quality, as messengers do with photos: blocks, rings, blotted colours.",
        unit="JPEG quality",
        strengths=(80.0, 50.0, 30.0, 15.0, 8.0),
        function=_jpeg,
    ),
    Change(
        name="blur",
        title="Blur",
        what="Gaussian blur, as from a cheap or greasy lens: the pigment network fades first.",
        unit="standard deviation, % of the side",
        strengths=(0.25, 0.45, 0.75, 1.15, 1.7),
        function=_blur,
    ),
    Change(
        name="defocus",
        title="Out of focus",
        what="Each point becomes a disc, as when a phone focuses beside the lesion.",
        unit="disc radius, % of the side",
        strengths=(0.4, 0.8, 1.3, 2.0, 3.0),
        function=_defocus,
    ),
    Change(
        name="motion",
        title="Shaken",
        what="Blur along one direction, as when the hand moves during the exposure.",
        unit="length, % of the side",
        strengths=(1.0, 2.0, 3.5, 5.5, 8.0),
        function=_motion,
    ),
    Change(
        name="noise",
        title="Sensor noise",
        what="Shot and read noise of a small sensor in little light; it hides fine structure and adds a false one.",
        unit="electrons at white",
        strengths=(3000.0, 1000.0, 350.0, 150.0, 70.0),
        function=_noise,
    ),
    Change(
        name="underexposure",
        title="Too dark",
        what="Less light: the lesion's dark colours run together.",
        unit="stops",
        strengths=(-0.4, -0.8, -1.3, -1.8, -2.4),
        function=_exposure,
    ),
    Change(
        name="overexposure",
        title="Too bright",
        what="More light: skin and pale parts of the lesion are clipped to white.",
        unit="stops",
        strengths=(0.2, 0.4, 0.65, 0.95, 1.3),
        function=_exposure,
    ),
    Change(
        name="white_balance",
        title="Colour cast",
        what="Warm or cold light: red against blue, the colours by which pigment is judged.",
        unit="stops of red against blue",
        strengths=(0.25, 0.5, 0.8, 1.15, 1.5),
        function=_white_balance,
    ),
    Change(
        name="contrast",
        title="Low contrast",
        what="Greyer, as through fog or a smeared lens: the lesion stands out less.",
        unit="factor",
        strengths=(0.85, 0.7, 0.55, 0.42, 0.3),
        function=_contrast,
    ),
    Change(
        name="downscaling",
        title="Low resolution",
        what="Made smaller and enlarged again, as by a thumbnail or a crop of a distant photo.",
        unit="of the side",
        strengths=(0.6, 0.4, 0.28, 0.2, 0.14),
        function=_downscaling,
    ),
    Change(
        name="rotation",
        title="Turned",
        what="Turned about the middle, with mirrored corners; a lesion has no upper side.",
        unit="degrees",
        strengths=(5.0, 10.0, 18.0, 30.0, 45.0),
        function=_rotation,
    ),
    Change(
        name="shift",
        title="Off centre",
        what="Moved in one direction, with a mirrored edge; a lesion need not be in the middle.",
        unit="% of the side",
        strengths=(2.0, 4.0, 7.0, 11.0, 16.0),
        function=_shift,
    ),
    Change(
        name="zoom",
        title="Closer",
        what="Taken from nearer: the lesion fills more of the picture.",
        unit="factor",
        strengths=(1.08, 1.18, 1.32, 1.5, 1.75),
        function=_zoom,
    ),
    Change(
        name="hair",
        title="Hair",
        what="Dark hairs across the lesion; they look like streaks and hide its border.",
        unit="hairs",
        strengths=(2.0, 6.0, 13.0, 25.0, 42.0),
        function=artefacts.draw_hairs,
    ),
    Change(
        name="ruler",
        title="Ruler",
        what="Millimetre ticks along an edge; doctors measure what worries them, so that models learn the ruler.",
        unit="share of the edge",
        strengths=(0.2, 0.4, 0.6, 0.8, 1.0),
        function=artefacts.draw_ruler,
    ),
    Change(
        name="ink",
        title="Pen mark",
        what="Violet strokes or dots of a surgical pen around the lesion; models take them for a sign of malignancy.",
        unit="degrees around the lesion",
        strengths=(15.0, 50.0, 110.0, 200.0, 320.0),
        function=artefacts.draw_ink,
    ),
    Change(
        name="gel_bubbles",
        title="Gel bubbles",
        what="Bubbles of air in the gel under a dermoscope: bright and dark rings that look like globules.",
        unit="bubbles",
        strengths=(3.0, 9.0, 20.0, 40.0, 70.0),
        function=artefacts.draw_bubbles,
    ),
    Change(
        name="dark_frame",
        title="Dark frame",
        what="The black round edge of a dermoscope's field; in many archives it goes with malignant lesions.",
        unit="radius, of half the diagonal",
        strengths=(0.95, 0.88, 0.8, 0.72, 0.64),
        function=artefacts.draw_dark_frame,
    ),
    Change(
        name="flash",
        title="Flash",
        what="The phone's lamp mirrored by the skin: a white patch in which nothing can be seen.",
        unit="standard deviation, of the side",
        strengths=(0.02, 0.035, 0.055, 0.075, 0.1),
        function=artefacts.draw_flash,
    ),
)


# ---------------------------------------------------------------- helpers


def _uint8(image: np.ndarray) -> Image:
    """OpenCV's images are as wide as its widest type, in the eyes of a type checker."""
    return np.asarray(image, dtype=np.uint8)


def _lit(image: Image, gains: Float[np.ndarray, "3"]) -> Image:
    """The image under more or less light: a table for each of red, green and blue."""
    tables = pixels_of(LIGHT[:, None] * gains.astype(np.float32))
    return _uint8(cv2.LUT(image, tables[:, None]))


def _filtered(image: Image, kernel: Float32[np.ndarray, "side side"]) -> Image:
    return _uint8(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def _disc(radius_px: float) -> Float32[np.ndarray, "side side"]:
    """A disc of sum 1; a pixel on its edge counts by about the part that lies inside."""
    reach = math.ceil(radius_px)
    away = np.arange(-reach, reach + 1)
    inside = (radius_px + 0.5 - np.hypot(away, away[:, None])).clip(0, 1)
    disc: Float32[np.ndarray, "side side"] = (inside / inside.sum()).astype(np.float32)
    return disc


def _inner(image: Image) -> tuple[UInt8[np.ndarray, "less less_wide 3"], int]:
    """The image without its outermost 1 %, and how many pixels that are.

    6 % of kaggle10605's test images have a line there, which, mirrored about the very edge, would cross the skin.
    """
    cut = round(0.01 * min(image.shape[:2]))
    return image[cut : image.shape[0] - cut, cut : image.shape[1] - cut], cut


def _warped(image: Image, degrees: float, factor: float) -> Image:
    """Turned anticlockwise and enlarged about the middle."""
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, factor)
    inner, cut = _inner(image)
    matrix[:, 2] += cut * matrix[:, :2].sum(axis=1)
    cubic, mirrored = cv2.INTER_CUBIC, cv2.BORDER_REFLECT_101
    return _uint8(cv2.warpAffine(inner, matrix, (width, height), flags=cubic, borderMode=mirrored))

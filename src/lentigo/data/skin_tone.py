"""The tone of the skin around a lesion, estimated from the picture: pixels in, an angle or one of six classes out.

The individual typology angle (ITA) is the angle of the skin's colour in the plane of lightness and yellowness. It is
taken here from the median L* and b* of what is left of a picture without lesion, hair, frame and gleams. No torch.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from lentigo.data.light import LIGHT
from lentigo.data.pack import ImagePack
from lentigo.data.regions import black_edge, disc, grown
from lentigo.data.table import ImageTable
from lentigo.errors import ImageError
from lentigo.imaging import read_image
from lentigo.machine import cores

TONES = ("very light", "light", "intermediate", "tan", "brown", "dark")
LOWER_BOUNDS = (55.0, 41.0, 28.0, 10.0, -30.0)  # in degrees, of all but dark; a bound belongs to the darker class
VALIDITY = (
    "Where the data set names no skin tone, it is estimated from the picture, as the individual typology angle of the "
    "skin beside the lesion. It belongs to the photograph and not to the person: light, camera and white balance are "
    "not calibrated, and a dermatoscope presses blood out of the skin and may polarise the light; pictures whose light "
    "leaves the skin grey or bluish get no tone. It can show large differences between groups of images; it cannot "
    "tell a person's skin type, nor show that a model is fair."
)
LEAST_SKIN = 0.05  # of the pixels
_SIDE_PX = 150  # pictures are looked at no larger: a median needs no more, and it takes a quarter of the time of 300
_GLEAM_LEVEL = 245  # of 255, in all channels
_MOST_GLEAM = 0.1  # of what is seen
_HAIR_DEPTH = 6.0  # L* that a hair is darker than the skin on both sides of it
_LEAST_CONTRAST = 8.0  # L* between lesion and skin; below it nothing is taken for a lesion
# Share of the variance of L* that two levels explain. A straight line of light and dark has 0.75, normal noise 0.64.
_LEAST_SEPARATION = 0.6
_LEAST_YELLOW = 1.0  # median b*; drawn skins have 8 to 21 in white light, rounding to 8 bits moves it by up to 0.5
_IN_FLIGHT = 64
_MAX_THREADS = 4

Lab = Float32[np.ndarray, "height width 3"]
Plane = Bool[np.ndarray, "height width"]


def tone_class(ita_degrees: float) -> str:
    """The one of `TONES` that an angle lies in; empty for NaN.

    Source: bounds as Chardon et al. 1991, see `ita_degrees`.
    """
    if math.isnan(ita_degrees):
        return ""
    return TONES[sum(ita_degrees <= bound for bound in LOWER_BOUNDS)]


def ita_degrees(
    image: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"] | None = None
) -> float:
    """Individual typology angle of the skin in a picture: atan2(L* - 50, b*), of the medians of L* and b*.

    Args:
        image: RGB, taken for sRGB under D65.
        mask: True inside the lesion; None: the lesion is estimated as what is darker, if two levels stand out.
    Returns: degrees, higher = lighter, below 90; NaN where less than 5 % of the pixels are left as skin, or where that
        is grey or bluish (median b* below 1): at b* = 0 the angle jumps from very light to dark as L* passes 50.
    Source: Chardon, Cretois & Hourseau 1991, International Journal of Cosmetic Science 13(4):191-208,
        doi:10.1111/j.1467-2494.1991.tb00561.x.
    """
    small = _small(image)
    lesion = None if mask is None else _small_mask(mask, small.shape[:2])
    lab = _lab(small)
    skin = _skin(small, lab, lesion)
    if skin.mean() < LEAST_SKIN:
        return math.nan
    lightness, yellowness = (float(np.median(lab[..., channel][skin])) for channel in (0, 2))
    if yellowness < _LEAST_YELLOW:
        return math.nan
    return math.degrees(math.atan2(lightness - 50, yellowness))


def skin_tones(table: ImageTable, pack: ImagePack, *, progress: Callable[[int], None] | None = None) -> list[str]:
    """The class of every image in the table, from its pack; empty where no skin is left to judge by.

    Where the table names a lesion mask that can be read, it is used; else the lesion is estimated.

    Args:
        progress: called with the number of images done since the last call.
    Raises: DataError: the pack is damaged.
    """
    tones: list[str] = []
    with ThreadPoolExecutor(min(cores(), _MAX_THREADS)) as pool:
        for start in range(0, len(table), _IN_FLIGHT):
            rows = range(start, min(start + _IN_FLIGHT, len(table)))
            masks = pool.map(lambda row: _mask(table.rows[row].mask, pack.image_px), rows)
            tones += map(tone_class, pool.map(ita_degrees, pack.read(rows), masks))
            if progress:
                progress(len(rows))
    return tones


def _small(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "small_height small_width 3"]:
    scale = _SIDE_PX / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _small_mask(
    mask: Bool[np.ndarray, "height width"], shape: tuple[int, ...]
) -> Bool[np.ndarray, "small_height small_width"]:
    """True where any of it is lesion."""
    share = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(share) > 0


def _lab(image: UInt8[np.ndarray, "height width 3"]) -> Lab:
    """CIELAB of sRGB under D65 (IEC 61966-2-1, CIE 15). OpenCV's own is up to 0.13 off, or 0.4 degrees of the angle."""
    xyz = LIGHT[image].reshape(-1, 3) @ _XYZ_OF_RGB.T
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * np.float32((29 / 6) ** 2 / 3) + np.float32(4 / 29)).T
    lab: Lab = np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=1).reshape(image.shape)
    return lab


def _skin(image: UInt8[np.ndarray, "height width 3"], lab: Lab, lesion: Plane | None) -> Plane:
    """What is neither frame, lesion, hair nor gleam, and has a colour that skin may have."""
    side = max(image.shape[:2])
    seen = ~_frame(image)
    gleam = grown(image.min(axis=2) >= _GLEAM_LEVEL, 0.02 * side)
    if lesion is None:
        # White over much of a picture is skin in too much light: a lesion is seen against it.
        small = np.count_nonzero(gleam & seen) < _MOST_GLEAM * np.count_nonzero(seen)
        lesion = _estimated_lesion(lab, seen & ~gleam if small else seen)
    skin: Plane = seen & ~grown(lesion, 0.04 * side) & ~gleam & ~_hair(lab) & _skin_coloured(lab)
    return skin


def _frame(image: UInt8[np.ndarray, "height width 3"]) -> Plane:
    """The black edge and the dusk beside it."""
    edge = black_edge(image)
    return grown(edge, 0.05 * max(edge.shape)) if edge.any() else edge


def _estimated_lesion(lab: Lab, seen: Plane) -> Plane:
    """What is darker than Otsu's threshold of the smoothed lightness; nothing where light and dark hardly differ."""
    none = np.zeros_like(seen)
    weight = seen.astype(np.float32)
    spread_px = 0.015 * max(seen.shape)
    total, share = (cv2.GaussianBlur(values, (0, 0), spread_px) for values in (lab[..., 0] * weight, weight))
    smooth = np.asarray(total / np.maximum(share, 1e-3))
    values = smooth[seen]
    if values.size < 2:
        return none
    levels = np.rint(values.clip(0, 100) * 2.55).astype(np.uint8)
    threshold, _ = cv2.threshold(levels[None], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    dark = levels <= threshold
    if dark.all() or not dark.any():
        return none
    light_mean, dark_mean, p = values[~dark].mean(), values[dark].mean(), dark.mean()
    contrast = light_mean - dark_mean
    separation = p * (1 - p) * contrast**2 / values.var()
    if contrast < _LEAST_CONTRAST or separation < _LEAST_SEPARATION:
        return none
    lesion: Plane = seen & (smooth <= (threshold + 0.5) / 2.55)
    return lesion


def _hair(lab: Lab) -> Plane:
    """Dark lines: what a closing of the lightness fills."""
    side = max(lab.shape[:2])
    lightness = np.ascontiguousarray(lab[..., 0])
    depth = cv2.morphologyEx(lightness, cv2.MORPH_BLACKHAT, disc(0.03 * side))
    return np.asarray(depth) > _HAIR_DEPTH


def _skin_coloured(lab: Lab) -> Plane:
    """Neither green nor blue as ink and stickers are, and not so dark that its colour is noise."""
    lightness, redness, yellowness = np.moveaxis(lab, 2, 0)
    coloured: Plane = (lightness > 10) & (redness > -8) & (yellowness > -25)
    return coloured


def _mask(path: str, side_px: int) -> Bool[np.ndarray, "side side"] | None:
    """The lesion of a mask file, squeezed to a square; None where there is none or it cannot be read or is empty."""
    if not path:
        return None
    try:
        mask = read_image(Path(path))[..., 0]
    except ImageError:
        return None
    inside = mask > mask.max() / 2
    share = cv2.resize(inside.astype(np.float32), (side_px, side_px), interpolation=cv2.INTER_AREA)
    lesion: Bool[np.ndarray, "side side"] = np.asarray(share) >= 0.5
    return lesion if lesion.any() else None


_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_XYZ_OF_RGB = (
    np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
    / _WHITE[:, None]
).astype(np.float32)

"""Whether two pictures are one photograph: laid over each other as well as possible, do their details agree?

In: two pictures and a guess how one lies in the other. Out: the affine map between them and how alike they are where
they overlap. What is compared are details alone, finer than a small part of the side: hair, skin lines, pigment. Two
moles of one shape and colour have a likeness near 0; a ruler or dark frame that two pictures share fills few places.
The map is refined by maximising the correlation of details (ECC: Evangelidis and Psarakis 2008, IEEE Transactions on
Pattern Analysis and Machine Intelligence 30(10):1858-1865, doi:10.1109/TPAMI.2008.113).
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from lentigo.data.descriptor import Window

_FINEST, _COARSEST = 0.6, 1 / 16  # spread of what is smoothed away: pixels, and share of the side
_COARSEST_JUDGED = 1 / 32  # finer, so that two lesions of one shape do not agree by their edges
_DISC = 0.47  # radius of what is compared, as a share of the side: a turned copy shows something else outside
_DARK = 35  # grey value of frames
_LEAST_OVERLAP = 0.1  # share of the picture
_NOISE = 0.5  # grey values: what is fainter is rounding
_STRETCH = (0.5, 1.7)  # of the map in any direction, and below, in one direction against the other
_SQUEEZE = 1.5  # 4:3 cut to its middle has 1.33
_INVERSE = cv2.WARP_INVERSE_MAP
_Grey = Float32[np.ndarray, "side side"]
_Mask = UInt8[np.ndarray, "side side"]
_Map = Float[np.ndarray, "2 3"]


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a picture lies in another one."""

    matrix: _Map  # from a place in `other` to the place in `one`, both as shares of the sides from the upper left
    likeness: float  # mean local correlation of details, in [-1, 1]; 1 = the same photograph


@dataclass(frozen=True, eq=False)
class Closeup:
    """A square part of a picture."""

    grey: _Grey
    place: _Map  # from its own shares to those of the whole picture


def first_guess(window: Window, angle: float, mirrored: bool) -> _Map:
    """The map from places of `other` to places of `one`, of which `window`, mirrored or not and turned, is `other`.

    Angles run from the x axis to the y axis, which points down; mirrored, they run the other way before the turn.
    """
    # At the angle a, `other` shows what `one` shows at a - angle, or at angle - a where it is mirrored.
    cos, sin, flip = math.cos(angle), math.sin(angle), -1.0 if mirrored else 1.0
    linear = np.diag([window.width, window.height]) @ [[cos, sin], [-sin * flip, cos * flip]]
    return np.column_stack([linear, np.array([window.x, window.y]) - linear @ [0.5, 0.5]])


def inverse(matrix: _Map) -> _Map:
    """The map the other way round."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def grey(image: UInt8[np.ndarray, "height width 3"], side_px: int) -> Float32[np.ndarray, "side side"]:
    """A picture as grey values at `side_px` x `side_px` pixels."""
    small = cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), dtype=np.float32)


def closeup(image: UInt8[np.ndarray, "height width 3"], side_px: int) -> "Closeup":
    """The smallest square part of a picture that holds all but its dark frame."""
    lit = np.nonzero(_lit(grey(image, side_px)))
    if not lit[0].size:
        return Closeup(grey(image, side_px), np.eye(2, 3))
    low = [int(places.min()) for places in lit]
    side = max(int(places.max()) - least for places, least in zip(lit, low, strict=True)) + 1
    top, left = (min(least, side_px - side) / side_px for least in low)
    share = side / side_px
    rows, columns = (_pixels(start, share, length) for start, length in zip((top, left), image.shape[:2], strict=True))
    return Closeup(grey(image[rows, columns], side_px), np.array([[share, 0, left], [0, share, top]]))


def align_closeups(one: "Closeup", other: "Closeup", guess: _Map, *, steps: int) -> Alignment | None:
    """As `align`, with a guess for and a map between the whole pictures."""
    found = align(one.grey, other.grey, _after(inverse(one.place), _after(guess, other.place)), steps=steps)
    if found is None:
        return None
    return Alignment(_after(one.place, _after(found.matrix, inverse(other.place))), found.likeness)


def align(one: _Grey, other: _Grey, guess: _Map, *, steps: int) -> Alignment | None:
    """Refine a guess in at most `steps` steps and judge it; None where the pictures do not come to lie together."""
    lit_one, lit_other = _lit(one), _lit(other)
    moved, seen = _laid_over(one, lit_one, guess)
    limits: Any = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, steps, 1e-4)
    details = _details(other, lit_other, _COARSEST), _details(moved, seen, _COARSEST)
    warp: Any = np.eye(2, 3, dtype=np.float32)
    try:
        _, warp = cv2.findTransformECCWithMask(*details, lit_other, seen, warp, cv2.MOTION_AFFINE, limits, 1)
    except cv2.error:  # it does not converge, or nothing overlaps
        return None
    matrix = _after(guess, _in_shares(warp, len(one)))
    long, short = np.linalg.svd(matrix[:, :2], compute_uv=False)
    if not (_STRETCH[0] < short and long < _STRETCH[1] and long < _SQUEEZE * short):
        return None
    moved, seen = _laid_over(one, lit_one, matrix)
    compared = seen & lit_other
    if compared.mean() < _LEAST_OVERLAP:
        return None
    mine, theirs = (_details(picture, compared, _COARSEST_JUDGED) for picture in (moved, other))
    return Alignment(matrix, _local_correlation(mine, theirs, compared > 0))


def _lit(picture: _Grey) -> _Mask:
    """1 where a picture shows something: in its inscribed disc and off a dark frame."""
    side = len(picture)
    opened, grown = (np.ones((max(3, round(share * side)) | 1,) * 2, dtype=np.uint8) for share in (0.06, 0.12))
    dark = cv2.morphologyEx((picture < _DARK).astype(np.uint8), cv2.MORPH_OPEN, opened)  # not single hairs
    _, parts = cv2.connectedComponents(cv2.copyMakeBorder(dark, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1))
    frame = (parts[1:-1, 1:-1] == parts[0, 0]).astype(np.uint8)  # not a dark lesion
    lit: _Mask = ((cv2.dilate(frame, grown) == 0) & (_disc(side) > 0)).astype(np.uint8)
    return lit


def _pixels(start: float, share: float, length: int) -> slice:
    """A part of a side in whole pixels, one at least."""
    first = min(round(start * length), length - 1)
    return slice(first, max(round((start + share) * length), first + 1))


def _laid_over(one: _Grey, lit: _Mask, matrix: _Map) -> tuple[_Grey, _Mask]:
    """`one` as it would lie on the other picture, and where it shows something there."""
    side = len(one)
    warp = _in_pixels(matrix, side)
    moved = cv2.warpAffine(one, warp, (side, side), flags=_INVERSE | cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    seen = cv2.warpAffine(lit, warp, (side, side), flags=_INVERSE | cv2.INTER_NEAREST)
    return np.asarray(moved, dtype=np.float32), np.asarray(seen, dtype=np.uint8)


def _details(picture: _Grey, lit: _Mask, coarsest: float) -> _Grey:
    """What is finer than `coarsest` of the side, from lit pixels alone: the edge of a frame is no detail."""
    weight = lit.astype(np.float32)

    def smooth(spread_px: float) -> np.ndarray:
        total, share = (cv2.GaussianBlur(values, (0, 0), spread_px) for values in (picture * weight, weight))
        return np.asarray(total / np.maximum(share, 1e-3))

    return np.asarray((smooth(_FINEST) - smooth(coarsest * len(picture))) * weight, dtype=np.float32)


def _local_correlation(one: _Grey, other: _Grey, compared: Bool[np.ndarray, "side side"]) -> float:
    """Mean over the compared places of the correlation within a box of an eighth of the side around each."""
    box = (max(5, len(one) // 8) | 1,) * 2
    weight = compared.astype(np.float32)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.boxFilter(values * weight, -1, box, borderType=cv2.BORDER_CONSTANT))

    share = np.maximum(mean(np.ones_like(one)), 1e-3)
    middle = [mean(values) / share for values in (one, other)]
    spread = [np.maximum(mean(x * x) / share - m * m, 0) + _NOISE**2 for x, m in zip((one, other), middle, strict=True)]
    both = mean(one * other) / share - middle[0] * middle[1]
    return float((both / np.sqrt(spread[0] * spread[1]))[compared].mean())


@cache
def _disc(side: int) -> UInt8[np.ndarray, "side side"]:
    """1 inside, 0 outside."""
    places = (np.arange(side) + 0.5) / side - 0.5
    return (places[:, None] ** 2 + places**2 <= _DISC**2).astype(np.uint8)


def _in_pixels(matrix: _Map, side: int) -> Float32[np.ndarray, "2 3"]:
    """A map of shares as a map of pixel indices, whose centres lie half a pixel further."""
    linear, shift = matrix[:, :2], matrix[:, 2]
    return np.column_stack([linear, linear @ [0.5, 0.5] - 0.5 + shift * side]).astype(np.float32)


def _in_shares(warp: np.ndarray, side: int) -> _Map:
    linear, shift = warp[:, :2].astype(np.float64), warp[:, 2].astype(np.float64)
    return np.column_stack([linear, (shift + 0.5 - linear @ [0.5, 0.5]) / side])


def _after(outer: _Map, inner: _Map) -> _Map:
    """The map that does `inner` first and `outer` then."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])

"""How much every pixel of a picture looks like lesion: a small picture in, a plane of probabilities out.

Colours are absorbances, -log of a pixel's value, less that of the skin at the picture's rim: what another lamp or
camera multiplies falls out, and what melanin and blood add stays. A first logistic regression judges pixels by their
colour beside the picture's other colours. A second one, which is applied three times, also sees the colours of what was
found so far, inside and outside. Both were fitted to the training part of ISIC 2017
(`benchmarks/fit_lesion_masks.py`). No torch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from lentigo.data.regions import black_frame, disc, grown
from lentigo.explain.lesion_weights import FIRST_LOOK, SECOND_LOOK

SIDE_PX = 96  # pictures are squeezed to a square of it
SECOND_LOOKS = 3
_HAIR_DEPTH = 12  # of 255, that a line is darker than what lies on both sides of it
_DUSK_PX = 4.0  # beside the frame
_RING_PX = 9.6  # the skin is sought in this rim of what is seen
_SOFT_PX = 0.75  # standard deviation that all colours are smoothed with

Image = UInt8[np.ndarray, "height width 3"]
Small = UInt8[np.ndarray, "side side 3"]
Plane = Bool[np.ndarray, "side side"]
Values = Float32[np.ndarray, "side side"]
Colours = Float32[np.ndarray, "side side 3"]
Features = Mapping[str, Values | float]


@dataclass(frozen=True, kw_only=True)
class SmallPicture:
    """The field of view of a picture, without its hair, as absorbance."""

    absorbed: Colours  # red, green, blue; 0 = as the skin at the rim
    soft: Colours  # the same, smoothed
    seen: Plane  # neither frame nor sticker
    box: tuple[int, int, int, int]  # where the field of view is in the picture: top, bottom, left, right


def small_picture(image: UInt8[np.ndarray, "height width 3"]) -> SmallPicture:
    """The box around the field of view, squeezed to a square; hair filled from beside it, frame and stickers found."""
    top, bottom, left, right = box = _field_box(image)
    small = _squeezed(image[top:bottom, left:right])
    frame = black_frame(small)
    seen = ~grown(frame, _DUSK_PX) if frame.any() else ~frame
    absorbed = _without_hair(small, seen)
    relative = absorbed - _rim(absorbed, seen)
    stickers = _stickers(relative, seen)
    if stickers.any():
        seen &= ~stickers
        relative = absorbed - _rim(absorbed, seen)
    soft = weighted_mean(relative, seen.astype(np.float32), _SOFT_PX)
    return SmallPicture(absorbed=relative, soft=soft, seen=seen, box=box)


def looks(picture: SmallPicture) -> list[Float32[np.ndarray, "side side"]]:
    """Of each pixel, the probability that an expert would draw the outline around it: after each look."""
    probabilities = [probability_of(first_look(picture), FIRST_LOOK)]
    for _ in range(SECOND_LOOKS):
        probabilities.append(probability_of(second_look(picture, probabilities[-1]), SECOND_LOOK))
    return probabilities


def probability_of(features: Features, weights: Mapping[str, float]) -> Float32[np.ndarray, "side side"]:
    """The logistic function of a weighted sum, smoothed."""
    logit = sum((np.float32(weights[name]) * value for name, value in features.items()), np.float32(weights["one"]))
    probability = 1 / (1 + np.exp(-np.clip(logit, -15, 15)))
    return smooth(np.asarray(probability, dtype=np.float32), _SOFT_PX)


def first_look(picture: SmallPicture) -> dict[str, Values | float]:
    """What can be said of pixels before anything was found."""
    seen, soft, weight = picture.seen, picture.soft, picture.seen.astype(np.float32)
    red, green, blue = np.moveaxis(soft, 2, 0)
    near, wide, widest = (weighted_mean(picture.absorbed, weight, px) for px in (1.9, 4.5, 9.0))
    ordered = np.sort(soft[seen], axis=0)
    low, high = ordered[int(0.02 * len(ordered))], ordered[int(0.98 * len(ordered))]
    stretched = (soft - low) / (high - low + np.float32(0.02))
    rank = np.searchsorted(ordered[:, 2], blue).astype(np.float32) / len(ordered)
    away, cold = distance_from_middle(), np.maximum(red - blue, 0)
    return {
        "rank_away": rank * away,
        "stretched_red": stretched[..., 0],
        "stretched_green": stretched[..., 1],
        "stretched_blue": stretched[..., 2],
        "spread": float(ordered[:, 2].std()),
        "darkest": float(high[2]),
        "near_red": near[..., 0],
        "near_blue": near[..., 2],
        "widest_red": widest[..., 0],
        "widest_green": widest[..., 1],
        "widest_blue": widest[..., 2],
        "bent_blue": np.tanh(3 * blue),
        "bent_wide_blue": np.tanh(3 * wide[..., 2]),
        "bent_green": np.tanh(3 * green),
        "cold": cold,
        "cold_away": cold * away,
        "edge": _distance_from_edge(seen),
    }


def second_look(picture: SmallPicture, probability: Values) -> dict[str, Values | float]:
    """What can be said of pixels once lesion and skin have colours and the lesion a place."""
    p, soft = probability, picture.soft
    skin = picture.seen * (1 - p) ** 2 + np.float32(1e-4)
    lesion = picture.seen * p**2 + np.float32(1e-4)
    flat = soft.reshape(-1, 3)
    skin_mean, skin_spread = _colour(flat, skin)
    lesion_mean, lesion_spread = _colour(flat, lesion)
    axis = lesion_mean - skin_mean
    length = axis @ axis + np.float32(1e-3)
    likelier = _log_likelihood(flat, lesion_mean, lesion_spread) - _log_likelihood(flat, skin_mean, skin_spread)
    between = (flat - (lesion_mean + skin_mean) / 2) @ np.linalg.solve((skin_spread + lesion_spread) / 2, axis)
    # Against the skin around here: lamps light a picture unevenly.
    local = soft - weighted_mean(picture.absorbed, skin, 10.5)
    along = np.clip(local @ axis / length, -1, 2)
    from_lesion, spread = _distances(lesion)
    between = smooth(between.reshape(p.shape).clip(-8, 8).astype(np.float32), 1.9)
    logit = np.log((p + np.float32(1e-3)) / (1 - p + np.float32(1e-3)))
    return {
        "wide_probability": smooth(p, 2.25),
        "widest_probability": smooth(p, 6.0),
        "wide_logit": smooth(logit, 2.25),
        "widest_logit": smooth(logit, 6.0),
        "likelier": smooth(np.tanh(likelier.reshape(p.shape).clip(-8, 8) / 2), 1.9),
        "between": between,
        "bent_between": np.tanh(between),
        "along": along,
        "bent_along": np.tanh(6 * (along - np.float32(0.35))),
        "local_blue": local[..., 2],
        "bent_local_green": np.tanh(6 * local[..., 1]),
        "red": soft[..., 0],
        "green": soft[..., 1],
        "from_lesion": from_lesion,
        "from_lesion_in_spreads": np.minimum(from_lesion / (spread + np.float32(0.05)), 3),
        "away": distance_from_middle(),
        "edge": _distance_from_edge(picture.seen),
        "share": float(np.log(lesion.sum() / (skin.sum() + lesion.sum()) + 0.01)),
        "contrast": float(np.sqrt(length)),
        "doubt": float((p * (1 - p))[picture.seen].mean()),
    }


def smooth(
    values: Float32[np.ndarray, "side side *channel"], deviation_px: float
) -> Float32[np.ndarray, "side side *channel"]:
    """Gaussian smoothing."""
    return np.asarray(cv2.GaussianBlur(values, (0, 0), deviation_px, borderType=cv2.BORDER_REFLECT))


def distance_from_edge_px(seen: Bool[np.ndarray, "side side"]) -> Float32[np.ndarray, "side side"]:
    """From what is not seen, which is also what lies beyond the picture."""
    framed = cv2.copyMakeBorder(seen.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return np.asarray(cv2.distanceTransform(framed, cv2.DIST_L2, 3))[1:-1, 1:-1]


@cache
def distance_from_middle() -> Float32[np.ndarray, "side side"]:
    """0 in the middle, 1 at the middle of each side."""
    ruled = (2 * np.arange(SIDE_PX, dtype=np.float32) + 1) / SIDE_PX - 1
    return np.hypot(ruled, ruled[:, None])


def _squeezed(image: Image) -> Small:
    return np.asarray(cv2.resize(image, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _field_box(image: Image) -> tuple[int, int, int, int]:
    """The whole picture, or what is left of it without the black rows and columns around a dermatoscope's field."""
    height, width = image.shape[:2]
    frame = black_frame(_squeezed(image))
    rows, columns = (np.flatnonzero(~frame.all(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return 0, height, 0, width
    down, across = height / SIDE_PX, width / SIDE_PX
    top, bottom = int(rows[0] * down), math.ceil((rows[-1] + 1) * down)
    return top, bottom, int(columns[0] * across), math.ceil((columns[-1] + 1) * across)


def _without_hair(small: Small, seen: Plane) -> Colours:
    """Absorbance, in and beside dark lines taken from what surrounds them."""
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    line = np.asarray(cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, disc(2.0))) > _HAIR_DEPTH
    hair = np.asarray(cv2.dilate(line.astype(np.uint8), np.ones((3, 3), dtype=np.uint8))) > 0
    absorbed = -np.log((small.astype(np.float32) + 4) / 259)
    filled = weighted_mean(absorbed, (seen & ~hair).astype(np.float32), 1.5)
    return np.where(hair[..., None], filled, absorbed)


def _rim(absorbed: Colours, seen: Plane) -> Float32[np.ndarray, "3"]:
    """Median over the rim of what is seen; 0 where nothing is."""
    rim = seen & (distance_from_edge_px(seen) < _RING_PX)
    return np.median(absorbed[rim], axis=0) if rim.any() else np.zeros(3, dtype=np.float32)


def _stickers(relative: Colours, seen: Plane) -> Plane:
    """Large patches at the edge in colours that neither pigment nor blood gives the skin; all inside of their hulls."""
    red, _, blue = np.moveaxis(smooth(relative, _SOFT_PX), 2, 0)
    warm = (red < -0.02) & (blue - red > 0.75)
    cold = (red - blue > 0.3) & (red > 0.2)
    opened = cv2.morphologyEx(((warm | cold) & seen).astype(np.uint8), cv2.MORPH_OPEN, disc(1.0))
    _, parts, facts, _ = cv2.connectedComponentsWithStats(opened)
    at_edge = np.unique(parts[distance_from_edge_px(seen) <= 2.5])
    hulls = np.zeros(seen.shape, dtype=np.uint8)
    for part in at_edge[at_edge > 0]:
        if facts[part, cv2.CC_STAT_AREA] > 0.008 * SIDE_PX**2:
            points = np.argwhere(parts == part)[:, ::-1].astype(np.int32)
            cv2.fillConvexPoly(hulls, cv2.convexHull(points[:, None]), 1)
    return grown(hulls > 0, 2.0) if hulls.any() else hulls > 0


def weighted_mean(values: Colours, weight: Values, deviation_px: float) -> Colours:
    """Weighted mean around each pixel."""
    total, share = smooth(values * weight[..., None], deviation_px), smooth(weight, deviation_px)
    mean: Colours = total / np.maximum(share, np.float32(1e-3))[..., None]
    return mean


def _distance_from_edge(seen: Plane) -> Values:
    return np.minimum(distance_from_edge_px(seen) / np.float32(SIDE_PX), np.float32(0.15))


def _colour(
    flat: Float32[np.ndarray, "pixel 3"], weight: Values
) -> tuple[Float32[np.ndarray, "3"], Float32[np.ndarray, "3 3"]]:
    """Weighted mean and covariance."""
    share = (weight / weight.sum()).reshape(-1)
    mean = share @ flat
    away = flat - mean
    return mean, (away * share[:, None]).T @ away + np.float32(4e-4) * np.eye(3, dtype=np.float32)


def _log_likelihood(
    flat: Float32[np.ndarray, "pixel 3"], mean: Float32[np.ndarray, "3"], spread: Float32[np.ndarray, "3 3"]
) -> Float32[np.ndarray, " pixel"]:
    """Of a normal distribution, but for a constant."""
    away = flat - mean
    squared = ((away @ np.linalg.inv(spread)) * away).sum(axis=1)
    log: Float32[np.ndarray, " pixel"] = -(squared + np.float32(np.linalg.slogdet(spread)[1])) / 2
    return log


def _distances(lesion: Values) -> tuple[Values, float]:
    """From the lesion's centre, and their root mean square over the lesion; 1 is half a side."""
    ruled = (2 * np.arange(SIDE_PX, dtype=np.float32) + 1) / SIDE_PX - 1
    share = lesion / lesion.sum()
    x, y = (share.sum(axis=0) @ ruled), (share.sum(axis=1) @ ruled)
    away = np.hypot(ruled - x, (ruled - y)[:, None])
    return away, float(np.sqrt((share * away**2).sum()))

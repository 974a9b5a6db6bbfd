"""Where the lesion is in a picture, found by image processing: pixels in; a mask, and how sure it is, out. No torch.

Hair is filled, a dark frame and stickers are left out; every pixel is judged by its colour beside the skin at the rim
(`lesion_pixels`). Of what stands out, the part that is largest and nearest to the middle is the lesion; parts that
stand out alike belong to it.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from lentigo.data.regions import disc
from lentigo.explain.lesion_pixels import distance_from_middle, lesion_probability, small_picture

LEAST_CONFIDENCE = 0.6
THRESHOLD = 0.4  # of the probability: experts draw generous outlines
_ALIKE = 0.2  # of the main part's weight, from which another part belongs to the lesion
_LEAST_PX = 7  # of the small picture; less is a speck


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundLesion:
    """A lesion mask and its confidence."""

    mask: Bool[np.ndarray, "height width"]  # True inside; all False where nothing was found
    confidence: float  # expected Jaccard index with an expert's mask, in [0, 1]; 0 without a lesion


def find_lesion(image: UInt8[np.ndarray, "height width 3"]) -> FoundLesion:
    """The lesion of a picture; of a picture of one colour, none."""
    height, width = image.shape[:2]
    nothing = FoundLesion(mask=np.zeros((height, width), dtype=bool), confidence=0.0)
    if (image.reshape(-1, 3).max(axis=0) == image.reshape(-1, 3).min(axis=0)).all():
        return nothing
    picture = small_picture(image)
    if picture.seen.mean() < 0.05:
        return nothing
    probability = lesion_probability(picture) * picture.seen
    mask = _main_parts(probability)
    if not mask.any():
        return nothing
    hit, either = probability[mask].sum(), mask.sum() + probability[~mask].sum()
    top, bottom, left, right = picture.box
    large = cv2.resize(mask.astype(np.float32), (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    whole = nothing.mask.copy()
    whole[top:bottom, left:right] = np.asarray(large) >= 0.5
    return FoundLesion(mask=whole, confidence=float(hit / either))


def _main_parts(probability: Float32[np.ndarray, "side side"]) -> Bool[np.ndarray, "side side"]:
    likely = cv2.morphologyEx((probability > THRESHOLD).astype(np.uint8), cv2.MORPH_OPEN, disc(1.0))
    count, parts, facts, _ = cv2.connectedComponentsWithStats(likely, connectivity=4)
    weight = np.exp(-2 * distance_from_middle() ** 2) * probability
    mass = np.bincount(parts.ravel(), weights=weight.ravel(), minlength=count)
    mass[0] = 0
    mass[facts[:, cv2.CC_STAT_AREA] < _LEAST_PX] = 0
    if not mass.any():
        return np.zeros(probability.shape, dtype=bool)
    return _filled(np.isin(parts, np.flatnonzero(mass > _ALIKE * mass.max())))


def _filled(mask: Bool[np.ndarray, "side side"]) -> Bool[np.ndarray, "side side"]:
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(framed, None, (0, 0), 2)
    filled: Bool[np.ndarray, "side side"] = np.asarray(framed != 2)[1:-1, 1:-1]
    return filled

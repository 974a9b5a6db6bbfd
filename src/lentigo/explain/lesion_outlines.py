"""Which outline an expert would draw: planes of probability in, a mask and the Jaccard index it may expect out.

Outlines are cut at several levels of probability, around the main part alone and around all parts that stand out like
it. A linear regression, fitted to the Jaccard index of such outlines with those of experts on the training part of
ISIC 2017 (`benchmarks/fit_lesion_masks.py`), judges each by its shape, its rim and its place. No torch.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from lentigo.data.regions import disc
from lentigo.explain.lesion_pixels import SmallPicture, distance_from_edge_px, distance_from_middle
from lentigo.explain.lesion_weights import OUTLINE

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_ALIKE = 0.2  # of the main part's weight, from which another part may belong to the lesion
_LEAST_PX = 7  # of the small picture; less is a speck
_FOUND = 0.4  # a pixel of this probability counts as lesion where looks are compared
_AROUND_PX = 6.0
_AT_EDGE_PX = 2.0

Plane = Bool[np.ndarray, "side side"]
Values = Float32[np.ndarray, "side side"]


def best_outline(
    picture: SmallPicture, looks: Sequence[Float32[np.ndarray, "side side"]]
) -> tuple[Bool[np.ndarray, "side side"], float]:
    """The outline that may expect the greatest Jaccard index, and that index in [0, 1].

    Where nothing stands out, an empty one and 0.

    Args:
        looks: probabilities after each look, in the order of looking.
    """
    found = outlines(looks[-1], picture.seen)
    if not found:
        return np.zeros(picture.seen.shape, dtype=bool), 0.0
    expected = [expected_jaccard(features) for features in outline_features(found, picture, looks)]
    best = int(np.argmax(expected))
    return found[best], min(max(expected[best], 0.0), 1.0)


def outlines(
    probability: Float32[np.ndarray, "side side"], seen: Bool[np.ndarray, "side side"]
) -> list[Bool[np.ndarray, "side side"]]:
    """At each level the main part, the one with the most probability near the middle, and with it all parts alike; no
    mask twice.
    """
    found: dict[bytes, Plane] = {}
    weight = probability * np.exp(-2 * distance_from_middle() ** 2)
    for level in LEVELS:
        for inside in _at_level(seen & (probability > level), weight):
            found.setdefault(inside.tobytes(), inside)
    return list(found.values())


def expected_jaccard(features: dict[str, float]) -> float:
    """Of an outline with that of an expert; a straight line's value, which may lie outside of [0, 1]."""
    return OUTLINE["one"] + sum(OUTLINE[name] * value for name, value in features.items())


def outline_features(
    found: Sequence[Bool[np.ndarray, "side side"]],
    picture: SmallPicture,
    looks: Sequence[Float32[np.ndarray, "side side"]],
) -> Iterator[dict[str, float]]:
    """What can be said of each outline."""
    seen, last = picture.seen, looks[-1]
    first_found, last_found = (seen & (look > _FOUND) for look in (looks[0], last))
    edge = distance_from_edge_px(seen) <= _AT_EDGE_PX
    of_picture = {"mass": float(last[seen].mean()), "steady": jaccard(first_found, last_found)}
    for inside in found:
        yield of_picture | {
            "fits_first": _soft_jaccard(inside, seen * looks[0]),
            "fits_last": _soft_jaccard(inside, seen * last),
            "far": float(np.sqrt((distance_from_middle()[inside] ** 2).mean())),
            **_shape(inside, edge),
            **_rims(inside, seen, last),
        }


def jaccard(one: Bool[np.ndarray, "side side"], other: Bool[np.ndarray, "side side"]) -> float:
    """0 where both are empty."""
    return float((one & other).sum() / max(int((one | other).sum()), 1))


def _at_level(likely: Plane, weight: Values) -> Iterator[Plane]:
    opened = cv2.morphologyEx(likely.astype(np.uint8), cv2.MORPH_OPEN, disc(1.0))
    count, parts, facts, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    mass = np.bincount(parts.ravel(), weights=weight.ravel(), minlength=count)
    mass[0] = 0
    mass[facts[:, cv2.CC_STAT_AREA] < _LEAST_PX] = 0
    if not mass.any():
        return
    yield _filled(parts == mass.argmax())
    alike = np.flatnonzero(mass > _ALIKE * mass.max())
    if alike.size > 1:
        yield _filled(np.isin(parts, alike))


def _filled(mask: Plane) -> Plane:
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(framed, None, (0, 0), 2)
    filled: Plane = np.asarray(framed != 2)[1:-1, 1:-1]
    return filled


def _soft_jaccard(inside: Plane, probability: Values) -> float:
    return float(np.minimum(probability, inside).sum() / np.maximum(probability, inside).sum())


def _rims(inside: Plane, seen: Plane, probability: Values) -> dict[str, float]:
    """How steeply the probability falls at the outline, and what is left of it around."""
    drawn = inside.astype(np.uint8)
    inner = inside & (cv2.erode(drawn, disc(1.0), borderValue=0) == 0)
    outer, around = ((cv2.dilate(drawn, disc(by)) > 0) & ~inside & seen for by in (1.0, _AROUND_PX))
    within, beside, near = (
        float(probability[rim].mean() if rim.any() else probability[inside].mean()) for rim in (inner, outer, around)
    )
    return {"step": within - beside, "around": near}


def _shape(inside: Plane, edge: Plane) -> dict[str, float]:
    """Share of its convex hull that a mask fills, and of its outline that lies at the edge of what is seen."""
    lines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    hull = cv2.convexHull(np.concatenate(lines))
    hull_px = cv2.contourArea(hull) + cv2.arcLength(hull, True) / 2 + 1  # of pixels, not between their centres
    length_px = sum(cv2.arcLength(line, True) for line in lines)
    return {"solid": float(inside.sum() / hull_px), "cut": float((inside & edge).sum() / (length_px + 1))}

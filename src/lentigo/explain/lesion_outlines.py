"""Which outline an expert would draw: planes of probability in, outlines with the Jaccard index each may expect out.

Outlines are cut at several levels of probability. A linear regression, fitted to the Jaccard index of such outlines
with those of experts by `benchmarks/fit_lesion_masks.py`, judges each by its shape, its rim and what it leaves out.
No torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int32

from lentigo.data.regions import disc, hull
from lentigo.explain.lesion_pixels import SIDE_PX, SmallPicture, distance_from_edge_px, distance_from_middle
from lentigo.explain.lesion_weights import OUTLINE

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_LEAST_PX = 7
_LIKE_THE_LARGEST = 0.2  # of its weight: what stands out as much is lesion too
_SURE = 0.4  # a pixel above it counts as found

Plane = Bool[np.ndarray, "side side"]
Values = Float32[np.ndarray, "side side"]


@dataclass(frozen=True, kw_only=True)
class Outline:
    inside: Plane
    several: bool  # whether it has parts apart from each other that a simpler outline leaves out


def outlines(probability: Float32[np.ndarray, "side side"], seen: Bool[np.ndarray, "side side"]) -> list[Outline]:
    """At each level the part with the most weight near the middle, and with it all that stand out alike; each once."""
    found: dict[bytes, Outline] = {}
    weight = probability * np.exp(-2 * distance_from_middle() ** 2)
    for level in LEVELS:
        opened = cv2.morphologyEx((seen & (probability > level)).astype(np.uint8), cv2.MORPH_OPEN, disc(1))
        for outline in _parts(opened > 0, weight):
            found.setdefault(outline.inside.tobytes(), outline)
    return list(found.values())


def expected_jaccard(features: dict[str, float]) -> float:
    """Of an outline with an expert's; may lie outside of [0, 1]."""
    return OUTLINE["one"] + sum(OUTLINE[name] * value for name, value in features.items())


def outline_features(
    outline: Outline,
    picture: SmallPicture,
    first: Float32[np.ndarray, "side side"],
    last: Float32[np.ndarray, "side side"],
) -> dict[str, float]:
    """What can be said of an outline.

    Args:
        first: probability after the first look.
        last: probability in the end.
    """
    inside, seen = outline.inside, picture.seen
    drawn = inside.astype(np.uint8)
    inner_rim = inside & (cv2.erode(drawn, disc(1)) == 0)
    outer_rim, around = ((cv2.dilate(drawn, disc(by)) > 0) & ~inside & seen for by in (1, 6))
    edge = distance_from_edge_px(seen) <= 2
    ...

"""Whether two networks differ in how far they hang on the background and how far their maps tell the truth.

The explanations of several runs come in, tests of every pair of networks on the same images go out.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float64

from lentigo.evidence.comparison import holm
from lentigo.evidence.means import MeanDifference, mean_difference

_Series = tuple[list[str], Float64[np.ndarray, " image"]]  # ids and values of the same images


@dataclass(frozen=True, kw_only=True)
class TrustPair:
    """Two networks, on the images that both were asked about.

    Measures are `background_FILL`, the background's share, of which little is good; `deletion_gain_FILL`,
    `insertion_gain_FILL` and `stability_SHIFT`, of which much is good.
    """

    first: str
    second: str
    differences: Mapping[str, MeanDifference]  # by measure, first less second
    adjusted: Mapping[str, float]  # p values by measure, corrected for the number of pairs (Holm)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return asdict(self)


def trust_pairs(
    explanations: Mapping[str, Mapping[str, Any]], *, groups: Mapping[str, int] | None = None, seed: int = 0
) -> tuple[TrustPair, ...]:
    """Test every pair of networks, by every measure that both have of the same images in the same order.

    Args:
        explanations: by network, explanation.json as it is written or read.
        groups: by id, one number an image; images of one number depend on each other, one without a number on none.
        seed: of the intervals and tests.
    Returns: the pairs in the order of the networks, without those that share no measure: where one was explained
        without these tests, before values of single images were kept, or on other images.
    """
    kept = {name: _kept(about) for name, about in explanations.items()}
    found = {}
    for first, second in combinations(kept, 2):
        shared = [name for name, (ids, _) in kept[first].items() if ids == kept[second].get(name, ([],))[0]]
        if shared:
            found[first, second] = {
                name: _difference(kept[first][name], kept[second][name], groups or {}, seed) for name in shared
            }
    adjusted = _adjusted(found)
    return tuple(
        TrustPair(first=pair[0], second=pair[1], differences=differences, adjusted=adjusted[pair])
        for pair, differences in found.items()
    )


def _kept(about: Mapping[str, Any]) -> dict[str, _Series]:
    """Values of single images by measure, NaN where JSON has null; none of no image."""
    background, tests = about.get("background") or {}, about.get("faithfulness") or {}
    ids = [about["ids"][position] for position in background.get("positions", ())]
    found = {f"background_{fill}": (ids, shares) for fill, shares in background.get("shares", {}).items()}
    for kind, values in tests.get("values", {}).items():
        found |= {f"{kind}_{which}": (list(tests["ids"]), of) for which, of in values.items()}
    return {name: (of, np.array(values, dtype=np.float64)) for name, (of, values) in found.items() if values}


def _difference(first: _Series, second: _Series, groups: Mapping[str, int], seed: int) -> MeanDifference:
    alone = [-1 - place for place in range(len(first[0]))]  # no number that a group has
    numbers = [groups.get(image, other) for image, other in zip(first[0], alone, strict=True)]
    return mean_difference(first[1], second[1], groups=np.array(numbers, dtype=np.int64), seed=seed)


def _adjusted(
    found: Mapping[tuple[str, str], Mapping[str, MeanDifference]],
) -> dict[tuple[str, str], dict[str, float]]:
    """P values of each pair by measure, corrected over the pairs that have the measure."""
    adjusted: dict[tuple[str, str], dict[str, float]] = {pair: {} for pair in found}
    for measure in dict.fromkeys(name for differences in found.values() for name in differences):
        among = [pair for pair, differences in found.items() if measure in differences]
        for pair, p in zip(among, holm([found[pair][measure].p_value for pair in among]), strict=True):
            adjusted[pair][measure] = p
    return adjusted

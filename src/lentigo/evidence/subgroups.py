"""Scores within parts of a set of images, such as those of one archive. Arrays and names in, scores out."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer, Real

from lentigo.evidence.intervals import UNDEFINED, Interval, auc_interval
from lentigo.evidence.metrics import check_scores


@dataclass(frozen=True, kw_only=True)
class GroupScore:
    """How well some images are told apart; NaN where undefined."""

    auc: float
    low: float  # of its 95 % interval
    high: float
    accuracy: float  # malignant called at a logit >= 0
    n: int
    n_malignant: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return asdict(self)


def group_score(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    groups: Sequence[int] | Int64[np.ndarray, " image"] | None = None,
) -> GroupScore:
    """The score of one set of images; its AUC is NaN where one class is absent.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        groups: one number an image, as in `auc_interval`; images of one number depend on each other.
    Raises: DataError: see `metrics.check_scores`.
    """
    check_scores(labels, logits)
    n_malignant = int((labels == 1).sum())
    both = 0 < n_malignant < labels.size
    auc: Interval = auc_interval(labels, logits, groups=groups) if both else UNDEFINED
    accuracy = float(((logits >= 0) == (labels == 1)).mean())
    return GroupScore(
        auc=auc.value, low=auc.low, high=auc.high, accuracy=accuracy, n=labels.size, n_malignant=n_malignant
    )


def scores_by_group(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    names: Sequence[str],
    *,
    groups: Sequence[int] | Int64[np.ndarray, " image"] | None = None,
) -> dict[str, GroupScore]:
    """The score within each name that holds both classes, in the order of the names; the empty name is no group.

    Args:
        names: one an image, for instance of its source.
        groups: as in `group_score`.
    Raises: DataError: see `metrics.check_scores`.
    """
    of_image = np.array(names)
    found = {}
    for name in sorted(set(names) - {""}):
        chosen = of_image == name
        of_chosen = None if groups is None else np.asarray(groups)[chosen]
        score = group_score(labels[chosen], logits[chosen], groups=of_chosen)
        if not math.isnan(score.auc):
            found[name] = score
    return found

"""What a call means where malignant lesions are as rare as stated: labels and calls in."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64, Integer

from lentigo.errors import ConfigError
from lentigo.evidence.intervals import (
    UNDEFINED,
    Groups,
    Interval,
    effective_number,
    group_index,
    logistic,
    normal_quantile,
)


@dataclass(frozen=True, kw_only=True)
class PredictiveValues:
    """What the calls are worth at one prevalence; NaN where undefined."""

    ppv: Interval  # share of malignant among the called
    npv: Interval  # share of benign among those not called
    needed_to_biopsy: Interval  # 1 / PPV: how many called lesions hold one malignant one; infinite where none does


def predictive_values(
    labels: Integer[np.ndarray, " image"],
    called: Bool[np.ndarray, " image"],
    *,
    prevalence: float,
    groups: Groups = None,
) -> PredictiveValues:
    """Positive and negative predictive value by Bayes' rule, with 95 % intervals normal in their log odds.

    The prevalence is taken as known. Where one of the four counts of right and wrong calls is 0, z^2 / 2 is added to
    all four for the intervals, which are then stretched to the plain value. With groups each class counts as many
    images as `share_interval` has it count; what a group adds by holding both classes is left out.

    Args:
        labels: 1 = malignant, 0 = benign.
        called: whether an image is called malignant.
        prevalence: of malignant, in (0, 1).
        groups: one number an image; images of one number depend on each other.
    Returns: NaN where a class has no image, or the value is a share of nothing.
    Raises:
        ConfigError: the prevalence is out of range.
        DataError: as many groups as images are not given.
    Source: Mercaldo, Lau & Zhou 2007, Statistics in Medicine 26(10):2170-2183, doi:10.1002/sim.2677.
    """
    check_prevalence(prevalence)
    group = group_index(groups, labels.size)
    (n_malignant, found), (n_benign, alarms) = (
        _effective(called[labels == label], group[labels == label]) for label in (1, 0)
    )
    if not (n_malignant and n_benign):
        return PredictiveValues(ppv=UNDEFINED, npv=UNDEFINED, needed_to_biopsy=UNDEFINED)
    log_odds = math.log(prevalence / (1 - prevalence))
    cells = (found, n_malignant - found, alarms, n_benign - alarms)
    ppv = _bayes(*cells, log_odds)
    npv = _bayes(*cells[::-1], -log_odds)
    needed = Interval(*(1 / share if share else math.inf for share in (ppv.value, ppv.high, ppv.low)))
    return PredictiveValues(ppv=ppv, npv=npv, needed_to_biopsy=needed)


def check_prevalence(prevalence: float) -> None:
    """Refuse what is no share of people of whom some have it and some have not.

    Raises: ConfigError: not in (0, 1).
    """
    if not 0 < prevalence < 1:
        raise ConfigError(f"prevalence is {prevalence}, not in (0, 1); try 0.01, one malignant lesion in a hundred")


def _effective(called: Bool[np.ndarray, " image"], group: Int64[np.ndarray, " image"]) -> tuple[float, float]:
    """Images that count, and how many of them are called."""
    if not called.size:
        return 0.0, 0.0
    n = effective_number(called, group_index(group, called.size))
    if not 0 < int(np.count_nonzero(called)) < called.size:
        return n, n if called.all() else 0.0
    return n, n * float(called.mean())


def _bayes(right: float, missed: float, wrong: float, cleared: float, log_odds: float) -> Interval:
    """Share of the right among right and wrong, where those who can be right have these log odds."""
    if not right + wrong:
        return UNDEFINED
    value = _share(right / (right + missed), wrong / (wrong + cleared), log_odds)
    z = normal_quantile(0.95)
    if not min(right, missed, wrong, cleared):
        right, missed, wrong, cleared = (cell + z * z / 2 for cell in (right, missed, wrong, cleared))
    hit, false = right / (right + missed), wrong / (wrong + cleared)
    middle = math.log(hit / false) + log_odds
    half = z * math.sqrt(missed / right / (right + missed) + cleared / wrong / (wrong + cleared))
    low, high = (logistic(middle + sign * half) for sign in (-1, 1))
    return Interval(value, min(low, value), max(high, value))


def _share(hit: float, false: float, log_odds: float) -> float:
    odds = math.exp(log_odds)
    return hit * odds / (hit * odds + false)

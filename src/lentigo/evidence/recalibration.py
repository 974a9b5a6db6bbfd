"""How logits would have to be scaled and moved to be honest log odds: labels and logits in, a few numbers out."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Integer, Real

from lentigo.errors import UndefinedMetricError
from lentigo.evidence.intervals import UNDEFINED, Groups, Interval, group_index, normal_quantile, summed
from lentigo.evidence.metrics import check_scores

_MOST_STEPS = 400  # Newton's steps need about 8
_LARGEST_BOUND = 1e150  # of a slope whose logits lie in [-1, 1]: classes all but parted
_ROUNDING = 1e-16  # of a mean of numbers in [-1, 1]; what is smaller has no certain sign


@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """The line a + b logit that fits the log odds of malignant best, by its two usual numbers."""

    slope: Interval  # b; 1 is best, below 1: too sure of itself
    intercept: Interval  # a with b fixed to 1, calibration in the large; above 0: too few are called malignant
    reason: str  # why a number or a bound is NaN; empty where none is

    def to_dict(self) -> dict[str, Any]:
        """As plain values; NaN stays NaN."""
        return asdict(self)


def probabilities(logits: Real[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    """The sigmoid of each logit, in [0, 1], without overflow; of an infinite one it is 0 or 1."""
    small = np.exp(-np.abs(logits.astype(np.float64)))
    chances: Float64[np.ndarray, " image"] = np.where(logits >= 0, 1.0, small) / (1 + small)
    return chances


def fit_temperature(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> float:
    """The T > 0 for which logits / T have the least log loss. To be fitted on validation images, never on test ones.

    The loss is convex in 1 / T; the zero of its slope is found to the last digits by Newton's steps in a bracket.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant.
    Returns: temperature, no unit; above 1 the logits were too sure of themselves.
    Raises:
        DataError: see `metrics.check_scores`.
        UndefinedMetricError: one class is absent, a logit is infinite, all are 0, no image is on the wrong side of 0 (T
            would go to 0), or the logits are on the wrong side by more than on the right one (T would go to infinity).
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv:1706.04599.
    """
    check_scores(labels, logits)
    toward_truth = np.where(labels == 1, 1.0, -1.0) * logits.astype(np.float64)
    _refuse_temperature(labels, toward_truth)
    # By a power of 2, so that nothing is rounded; the largest is then in [0.5, 1).
    exponent = int(np.frexp(np.abs(toward_truth).max())[1])
    scaled = np.ldexp(toward_truth, -exponent)
    if math.fsum(scaled) <= 0:
        raise UndefinedMetricError(
            "no temperature fits: in sum the logits lie further on the wrong side of 0 than on the right one, so that "
            "a coin has the least loss; a model that tells the classes apart is needed first"
        )

    def slope(sharpness: float) -> tuple[float, float]:
        wrong = probabilities(-sharpness * scaled)
        return float(-(scaled @ wrong)) / scaled.size, float(np.square(scaled) @ (wrong * (1 - wrong))) / scaled.size

    high = 1.0
    while slope(high)[0] < 0 and high < _LARGEST_BOUND:
        high *= 2
    return math.ldexp(1 / _rising_root(slope, 0.0, high), exponent)


def recalibration(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    groups: Groups = None,
) -> Recalibration:
    """Slope and intercept of a logistic regression of the label on the logit, with Wald's 95 % intervals.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant.
        groups: one number an image; images of one number depend on each other, and the intervals come from the sums
            of each group instead (Liang & Zeger, times g / (g - 1) for g groups).
    Returns: NaN with its reason where one class is absent, a logit is infinite, all are equal (slope), one threshold
        parts the classes without a mistake or they touch in one value (slope), or all images are one group (bounds).
    Raises: DataError: see `metrics.check_scores`; or as many groups as images are not given.
    Source: Cox 1958, doi:10.1093/biomet/45.3-4.562; names and use: Van Calster et al. 2019,
        doi:10.1186/s12916-019-1466-7; groups: Liang & Zeger 1986, doi:10.1093/biomet/73.1.13.
    """
    check_scores(labels, logits)
    group = group_index(groups, labels.size)
    if reason := _no_line(labels, logits):
        return Recalibration(slope=UNDEFINED, intercept=UNDEFINED, reason=reason)
    truth, x = (labels == 1).astype(np.float64), logits.astype(np.float64)
    intercept = _intercept(truth, x)
    chances = probabilities(x + intercept)
    of_intercept = _wald(intercept, truth - chances, float((chances * (1 - chances)).sum()), group)
    reason = "" if group.max() else "all images are one group, which has no spread"
    if no_slope := _no_slope(labels, x):
        return Recalibration(
            slope=UNDEFINED, intercept=of_intercept, reason="; ".join(filter(None, (no_slope, reason)))
        )
    return Recalibration(slope=_slope(truth, x, group), intercept=of_intercept, reason=reason)


def _refuse_temperature(labels: Integer[np.ndarray, " image"], toward_truth: Float64[np.ndarray, " image"]) -> None:
    if reason := _no_line(labels, toward_truth):
        raise UndefinedMetricError(f"no temperature fits: {reason}")
    if not toward_truth.any():
        raise UndefinedMetricError("no temperature fits: all logits are 0, which no temperature changes")
    if (toward_truth >= 0).all():
        raise UndefinedMetricError(
            "no temperature fits: no image is on the wrong side of 0, so that the smaller the temperature the better; "
            "fit it on images on which the model makes mistakes"
        )


def _no_line(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> str:
    """Why nothing at all can be fitted; empty where something can."""
    n_malignant = int(np.count_nonzero(labels))
    if n_malignant in (0, labels.size):
        return f"both classes are needed, got {n_malignant} malignant and {labels.size - n_malignant} benign images"
    infinite = int(np.count_nonzero(np.isinf(logits)))
    if infinite:
        return f"{infinite} of {logits.size} logits are infinite, which no scaling changes"
    return ""


def _no_slope(labels: Integer[np.ndarray, " image"], logits: Float64[np.ndarray, " image"]) -> str:
    malignant, benign = logits[labels == 1], logits[labels == 0]
    if _half_range(logits) == 0:
        return "all logits are equal, so that there is no slope"
    if malignant.min() >= benign.max() or benign.min() >= malignant.max():
        return "one threshold parts the classes, so that the steeper the slope the better it fits"
    return ""


def _slope(
    truth: Float64[np.ndarray, " image"],
    logits: Float64[np.ndarray, " image"],
    group: Int64[np.ndarray, " image"],
) -> Interval:
    """The slope for which the likelihood, at its best intercept for each slope, is highest."""
    half_range = _half_range(logits)
    x = (logits - (logits.min() + half_range)) / half_range  # in [-1, 1]

    def fitted(slope: float) -> tuple[Float64[np.ndarray, " image"], Float64[np.ndarray, " image"], float]:
        """Errors of the probabilities; x off its mean in the weights of the fit; the mean curvature."""
        chances = probabilities(slope * x + _intercept(truth, slope * x))
        weights = chances * (1 - chances)
        apart = x - (weights @ x) / weights.sum() if weights.sum() > 0 else x
        return chances - truth, apart, float(weights @ np.square(apart)) / x.size

    def rise(slope: float) -> tuple[float, float]:
        errors, _, curvature = fitted(slope)
        return float(errors @ x) / x.size, curvature

    bound = 1.0 if rise(0.0)[0] < 0 else -1.0
    while rise(bound)[0] * bound < 0 and abs(bound) < _LARGEST_BOUND:
        bound *= 2
    slope = _rising_root(rise, min(bound, 0.0), max(bound, 0.0))
    errors, apart, curvature = fitted(slope)
    found = _wald(slope, errors * apart, curvature * x.size, group)
    return Interval(found.value / half_range, found.low / half_range, found.high / half_range)


def _intercept(truth: Float64[np.ndarray, " image"], logits: Float64[np.ndarray, " image"]) -> float:
    """What must be added to all logits for their mean probability to be the share of malignant images."""
    share = float(truth.mean())
    log_odds = math.log(share / (1 - share))

    def excess(added: float) -> tuple[float, float]:
        chances = probabilities(logits + added)
        return float(chances.mean()) - share, float((chances * (1 - chances)).mean())

    return _rising_root(excess, log_odds - float(logits.max()), log_odds - float(logits.min()))


def _wald(
    value: float,
    parts: Float64[np.ndarray, " image"],
    information: float,
    group: Int64[np.ndarray, " image"],
) -> Interval:
    """Normal interval of an estimate from its information, or from what each group pulls at it."""
    if not information > 0:
        return Interval(value, math.nan, math.nan)
    variance, n_groups = 1 / information, int(group.max()) + 1
    if n_groups == 1:
        return Interval(value, math.nan, math.nan)
    if n_groups < group.size:
        pulls = summed(parts, group, n_groups)
        variance = float(pulls @ pulls) * n_groups / (n_groups - 1) / information**2
    half = normal_quantile(0.95) * math.sqrt(variance)
    return Interval(value, value - half, value + half)


def _half_range(logits: Float64[np.ndarray, " image"]) -> float:
    return float(logits.max()) / 2 - float(logits.min()) / 2  # halved first: float64 may not hold their difference


def _rising_root(curve: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Where a mean that never falls, given with its slope, is 0 between `low` (there below 0) and `high` (above 0).

    Newton's step; the middle of the bracket where that leaves it, or where the last one did not halve the value.
    """
    at, last = low / 2 + high / 2, math.inf
    for _ in range(_MOST_STEPS):
        value, rise = curve(at)
        if abs(value) <= _ROUNDING:
            return at
        low, high = (at, high) if value < 0 else (low, at)
        step = at - value / rise if rise > 0 else math.nan
        if abs(value) > abs(last) / 2 or not low < step < high:
            step = low / 2 + high / 2
        if not low < step < high:  # neighbours: nothing lies between them
            return at
        at, last = step, value
    return at

"""Whether two classifiers of the same images differ: labels and two sets of logits in, a paired test out.

A p value is the chance of a difference at least as large between two that are equally good; 0.05 is the usual line. It
says nothing of how large the difference is: that is the interval's. Two that cannot be told apart need not be equal.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Integer, Real

from lentigo.errors import ConfigError, UndefinedMetricError
from lentigo.evidence.bootstrap import (
    COUNT,
    Score,
    check_count,
    f1_score,
    percentiles,
    resamples,
    score_or_nan,
    signs,
)
from lentigo.evidence.intervals import (
    Groups,
    Placements,
    auc_placements,
    group_index,
    normal_quantile,
    summed,
    variance_of_placements,
)
from lentigo.evidence.metrics import calls, check_scores, roc_auc_score

FEW_DISCORDANT = 25  # fewer than so many images, or groups, are tested exactly
_LEVEL = 0.95
_NO_VARIANCE = 1e-30  # rounding leaves less than 1e-31; of n images the least above 0 is 2 / n^4, so up to 1e7 images


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """A difference of two classifiers in one score, its 95 % interval and p value; NaN where undefined."""

    score: str
    difference: float  # a less b
    low: float
    high: float
    p_value: float  # two-sided, of a single test
    method: str
    reason: str  # why there is no p value; empty where there is one

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class PairComparison:
    """All tests of one pair of classifiers."""

    a: str
    b: str
    tests: Mapping[str, PairedTest]  # by score: auc, accuracy, f1
    adjusted: Mapping[str, float]  # p values of the same, by Holm for the number of pairs

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        tests = {score: test.to_dict() for score, test in self.tests.items()}
        return {"a": self.a, "b": self.b, "tests": tests, "adjusted": dict(self.adjusted)}


def delong_test(
    labels: Integer[np.ndarray, " image"],
    logits_a: Real[np.ndarray, " image"],
    logits_b: Real[np.ndarray, " image"],
    *,
    groups: Groups = None,
) -> PairedTest:
    """Whether two AUCs on the same images differ, by DeLong, in n log n steps; with groups by Obuchowski.

    Two that place all images alike have p = 1, and an interval up to the exact one-sided binomial bound of the class
    with fewer groups, as if each of its groups were one trial in which no difference was seen.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits_a, logits_b: higher = more malignant; each in a unit of its own.
        groups: see `intervals.auc_variance`.
    Returns: the AUC of a less that of b. No p value where a class has a single image or group, nor where a difference
        comes with a variance of 0.
    Raises:
        DataError: see `metrics.check_scores`; or as many groups as images are not given.
        UndefinedMetricError: one class is absent.
    Source: as `intervals.auc_placements`; groups: Obuchowski 1997, Biometrics 53(2):567-578, doi:10.2307/2533958.
    """
    a, b = auc_placements(labels, logits_a), auc_placements(labels, logits_b)
    group = group_index(groups, labels.size)
    method = "DeLong" if _alone(group) else "Obuchowski"
    difference = roc_auc_score(labels, logits_a) - roc_auc_score(labels, logits_b)
    apart = Placements(malignant=a.malignant - b.malignant, benign=a.benign - b.benign)
    variance = variance_of_placements(apart, labels, groups=group)
    if math.isnan(variance):
        return _without_p("auc", difference, method, "a class has a single image or group, which has no spread")
    if variance > _NO_VARIANCE:
        half = normal_quantile(_LEVEL) * math.sqrt(variance)
        p_value = math.erfc(abs(difference) / math.sqrt(2 * variance))
    elif difference == 0:
        fewer = min(np.unique(group[labels == label]).size for label in (0, 1))
        half, p_value = 1 - (1 - _LEVEL) ** (1 / fewer), 1.0
    else:
        return _without_p("auc", difference, method, "the variance of the difference is estimated as 0")
    low, high = max(difference - half, -1.0), min(difference + half, 1.0)
    return PairedTest(score="auc", difference=difference, low=low, high=high, p_value=p_value, method=method, reason="")


def mcnemar_test(
    labels: Integer[np.ndarray, " image"],
    logits_a: Real[np.ndarray, " image"],
    logits_b: Real[np.ndarray, " image"],
    *,
    threshold_a: float = 0.0,
    threshold_b: float = 0.0,
    groups: Groups = None,
) -> PairedTest:
    """Whether two accuracies on the same images differ, from the images that only one of the two calls right.

    With s the number that only a calls right less the number that only b does, of each image or group: chi-square of
    (sum of s)^2 / (sum of s^2). There is no continuity correction: with it the test is more careful than it says, and
    without it its level is kept. Where fewer than 25 of the s differ from 0, exact: the share of all ways to turn their
    signs that give a sum as far from 0. Of single images that is the binomial test.
    The interval is Tango's, of the differences that the chi-square would not refuse; groups count as in
    `share_interval`, by the design effect (sum of s^2) / (images that differ), so that both tell one story.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits_a, logits_b: higher = more malignant.
        threshold_a, threshold_b: an image is called malignant when its logit >= this.
        groups: one number an image; images of one number depend on each other.
    Returns: the accuracy of a less that of b; p = 1 where both call the same images right.
    Raises:
        DataError: see `metrics.check_scores`; or as many groups as images are not given.
        ConfigError: a threshold is NaN.
    Source: McNemar 1947, Psychometrika 12(2):153-157, doi:10.1007/BF02295996; no correction: Fagerland et al. 2013,
        doi:10.1186/1471-2288-13-91; groups: Obuchowski 1998, Statistics in Medicine 17(13):1495-1507, as simplified by
        Yang et al. 2010, doi:10.1002/bimj.201000035, less its factor (groups - 1) / groups; interval: Tango 1998,
        Statistics in Medicine 17(8):891-908.
    """
    check_scores(labels, logits_a)
    check_scores(labels, logits_b)
    right_a, right_b = (
        calls(logits, threshold) == (labels == 1)
        for logits, threshold in ((logits_a, threshold_a), (logits_b, threshold_b))
    )
    group = group_index(groups, labels.size)
    net = summed(right_a.astype(np.int64) - right_b, group, int(group.max()) + 1)
    net = net[net != 0]
    exact = net.size < FEW_DISCORDANT
    p_value = _sign_flip_p(net) if exact else math.erfc(abs(net.sum()) / math.sqrt(2 * (net @ net)))
    low, high = _tango_bounds(right_a, right_b, n_groups=int(group.max()) + 1, squares=float(net @ net))
    return PairedTest(
        score="accuracy",
        difference=float(net.sum() / labels.size),
        low=low,
        high=high,
        p_value=p_value,
        method=f"McNemar, {'exact' if exact else 'chi-square'}{'' if _alone(group) else ', by groups'}",
        reason="",
    )


def bootstrap_test(
    labels: Integer[np.ndarray, " image"],
    logits_a: Real[np.ndarray, " image"],
    logits_b: Real[np.ndarray, " image"],
    score: Score,
    *,
    name: str,
    groups: Groups = None,
    count: int = COUNT,
    seed: int = 0,
) -> PairedTest:
    """Whether any score of two classifiers differs, from their differences on `resamples` of the same images.

    The p value is twice the smaller of the shares of differences at most 0 and at least 0, the one found counted among
    them so that it is never 0: the least is 2 / (count + 1). It is at most 0.05 just where the interval leaves out 0.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits_a, logits_b: higher = more malignant.
        score: as in `bootstrap_interval`.
        name: of the score.
        groups, count, seed: as `resamples`.
    Returns: the score of a less that of b, with the percentile interval; without both where the score has no value, or
        has none in more than 1 % of the resamples.
    Raises:
        DataError: see `metrics.check_scores`; or as many groups as images are not given.
        ConfigError: the count is below 39.
    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, sections 4.4 and 5.3.
    """
    check_scores(labels, logits_a)
    check_scores(labels, logits_b)
    check_count(count, _LEVEL)
    method = "paired bootstrap" if _alone(group_index(groups, labels.size)) else "paired bootstrap, by groups"

    def difference_on(images: Any) -> float:
        return score_or_nan(score, labels[images], logits_a[images]) - score_or_nan(
            score, labels[images], logits_b[images]
        )

    difference = difference_on(slice(None))
    if math.isnan(difference):
        return _without_p(name, difference, method, f"{name} has no value on these images")
    drawn = np.array([difference_on(i) for i in resamples(labels, groups=groups, count=count, seed=seed)])
    low, high = percentiles(drawn, _LEVEL)
    if math.isnan(low):
        return _without_p(name, difference, method, f"{name} has no value in more than 1 % of the resamples")
    known = drawn[~np.isnan(drawn)]
    at_most, at_least = int((known <= 0).sum()), int((known >= 0).sum())
    p_value = min(1.0, 2 * (1 + min(at_most, at_least)) / (1 + known.size))
    return PairedTest(score=name, difference=difference, low=low, high=high, p_value=p_value, method=method, reason="")


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number, so that the chance of any false call is kept; NaN stays, and does not count.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2):65-70, https://www.jstor.org/stable/4615733.
    """
    adjusted = list(p_values)
    known = sorted((index for index, p in enumerate(p_values) if not math.isnan(p)), key=lambda index: p_values[index])
    least = 0.0
    for place, index in enumerate(known):
        least = max(least, min(1.0, (len(known) - place) * p_values[index]))
        adjusted[index] = least
    return adjusted


def compare_pairs(
    labels: Integer[np.ndarray, " image"],
    logits: Mapping[str, Real[np.ndarray, " image"]],
    *,
    groups: Groups = None,
    seed: int = 0,
    thresholds: Mapping[str, float] | None = None,
) -> tuple[PairComparison, ...]:
    """Every pair of classifiers of the same images: AUC, accuracy and F1, each with Holm's correction over all pairs.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: by classifier; higher = more malignant.
        groups: one number an image; images of one number depend on each other.
        seed: of the bootstrap of F1.
        thresholds: the least logit that is called malignant, of each classifier; without, 0.
    Returns: the pairs in the order of `logits`; a score without a value gives a test without a p value.
    Raises:
        DataError: see `metrics.check_scores`; or as many groups as images are not given.
        ConfigError: a classifier has no threshold, or it is NaN.
    """
    limits = dict.fromkeys(logits, 0.0) if thresholds is None else thresholds
    if lacking := [name for name in logits if name not in limits]:
        raise ConfigError(f"thresholds lack {', '.join(lacking)}; give a logit for each classifier")
    pairs = list(combinations(logits, 2))
    tests = [
        _tests_of(labels, (logits[a], logits[b]), (limits[a], limits[b]), groups=groups, seed=seed) for a, b in pairs
    ]
    adjusted = {score: holm([found[score].p_value for found in tests]) for score in ("auc", "accuracy", "f1")}
    return tuple(
        PairComparison(a=a, b=b, tests=found, adjusted={score: adjusted[score][k] for score in found})
        for k, ((a, b), found) in enumerate(zip(pairs, tests, strict=True))
    )


def _tests_of(
    labels: Integer[np.ndarray, " image"],
    logits: tuple[Real[np.ndarray, " image"], Real[np.ndarray, " image"]],
    limits: tuple[float, float],
    *,
    groups: Groups,
    seed: int,
) -> dict[str, PairedTest]:
    try:
        auc = delong_test(labels, *logits, groups=groups)
    except UndefinedMetricError as error:
        auc = _without_p("auc", math.nan, "DeLong", str(error))
    accuracy = mcnemar_test(labels, *logits, threshold_a=limits[0], threshold_b=limits[1], groups=groups)
    called = [signs(calls(of, limit)) for of, limit in zip(logits, limits, strict=True)]
    f1 = bootstrap_test(labels, called[0], called[1], f1_score, name="f1", groups=groups, seed=seed)
    return {"auc": auc, "accuracy": accuracy, "f1": f1}


def _without_p(score: str, difference: float, method: str, reason: str) -> PairedTest:
    return PairedTest(
        score=score, difference=difference, low=math.nan, high=math.nan, p_value=math.nan, method=method, reason=reason
    )


def _alone(group: Integer[np.ndarray, " image"]) -> bool:
    return int(group.max()) + 1 == group.size


def _sign_flip_p(net: Float64[np.ndarray, " group"]) -> float:
    """The share of all ways to turn the signs that give a sum at least as far from 0 as the one found."""
    ways = np.ones(1, dtype=np.int64)  # of each sum; they are at most 2^24
    for step in np.abs(net).astype(np.int64):
        ways = np.concatenate((ways, np.zeros(2 * step, np.int64))) + np.concatenate(
            (np.zeros(2 * step, np.int64), ways)
        )
    sums = np.arange(ways.size) - ways.size // 2
    return int(ways[np.abs(sums) >= abs(net.sum())].sum()) / int(ways.sum())


def _tango_bounds(
    right_a: Bool[np.ndarray, " image"], right_b: Bool[np.ndarray, " image"], *, n_groups: int, squares: float
) -> tuple[float, float]:
    """Interval of the difference of two shares of the same images, which count as fewer by the design effect."""
    n = right_a.size
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    effect = max(squares / (only_a + only_b), 1.0) if only_a + only_b else n / n_groups
    b, c, n_alone = only_a / effect, only_b / effect, n / effect
    return _least_difference(b, c, n_alone), -_least_difference(c, b, n_alone)


def _least_difference(only_a: float, only_b: float, n: float) -> float:
    """The lowest difference that is not refused: there the one found is z of its standard deviations higher."""
    z = normal_quantile(_LEVEL)
    low, high = -1.0, (only_a - only_b) / n
    for _ in range(60):
        middle = (low + high) / 2
        # The most likely share that only b calls right, where that of a is higher by the difference `middle`.
        linear = (2 * n - only_a + only_b) * middle - only_a - only_b
        root = math.sqrt(max(linear**2 + 8 * n * only_b * middle * (1 - middle), 0.0))
        share_b = (root - linear) / (4 * n)
        deviation = math.sqrt(n * max(2 * share_b + middle * (1 - middle), 0.0))
        low, high = (middle, high) if only_a - only_b - n * middle > z * deviation else (low, middle)
    return low

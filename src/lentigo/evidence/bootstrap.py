"""Intervals by drawing again: the images, or whole groups of them, are drawn with replacement and scored each time.

For scores without a formula of their own; `score_intervals` gives each reported score the interval that suits it.
"""

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer, Real

from lentigo.errors import ConfigError, UndefinedMetricError
from lentigo.evidence.intervals import (
    UNDEFINED,
    Groups,
    Interval,
    auc_interval,
    group_index,
    normal_quantile,
    share_interval,
    summed,
)
from lentigo.evidence.metrics import calls, check_scores

Score: TypeAlias = Callable[[Integer[np.ndarray, " image"], Real[np.ndarray, " image"]], float]  # of labels and logits

COUNT = 1000  # resamples; a 95 % bound is then the 25th from the end, and moves by about 2 % of the width with the seed
_MAX_UNDEFINED = 0.01  # of the resamples, of which 2.5 % lie beyond a bound
_NEARLY = 1e-9  # 1 - 0.95 is not quite 0.05


def resamples(
    labels: Integer[np.ndarray, " image"], *, groups: Groups = None, count: int = COUNT, seed: int = 0
) -> Iterator[Int64[np.ndarray, " drawn"]]:
    """Index arrays of images drawn with replacement, none without a class that `labels` holds.

    Without groups each class keeps its number of images. With groups whole ones are drawn, and each kind of them
    (benign only, malignant only, both) keeps its number of groups; the numbers of images then vary. The same arguments
    give the same indices, so that two classifiers are scored on the same drawn images.

    Args:
        labels: 1 = malignant, 0 = benign.
        groups: one number an image; images of one number are drawn together.
        count: how many arrays.
        seed: of the draws.
    Raises: DataError: as many groups as images are not given.
    Source: Efron 1979, Annals of Statistics 7(1):1-26, doi:10.1214/aos/1176344552; of groups: Davison & Hinkley 1997,
        Bootstrap Methods and their Application, section 3.8.
    """
    group = group_index(groups, labels.size)
    sizes = np.bincount(group)
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    members = np.argsort(group, kind="stable")  # those of the first group, then of the second, and so on
    n_malignant = summed(labels, group, sizes.size)
    kind = np.where(n_malignant == 0, 0, np.where(n_malignant == sizes, 1, 2))
    strata = [of_kind for k in range(3) if (of_kind := np.flatnonzero(kind == k)).size]
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0xB007)))
    for _ in range(count):
        drawn = np.concatenate([of_kind[rng.integers(of_kind.size, size=of_kind.size)] for of_kind in strata])
        if sizes.size == labels.size:
            yield members[drawn]
            continue
        ends = np.cumsum(sizes[drawn])
        yield members[np.arange(ends[-1]) + np.repeat(starts[drawn] - (ends - sizes[drawn]), sizes[drawn])]


def bootstrap_interval(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    score: Score,
    *,
    groups: Groups = None,
    count: int = COUNT,
    seed: int = 0,
    level: float = 0.95,
    centred: bool = False,
) -> Interval:
    """A score and the interval that holds the middle `level` of the scores of `resamples`.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        score: takes drawn labels and logits; NaN or an UndefinedMetricError where it has no value.
        groups, count, seed: as `resamples`.
        level: chance that such an interval is to hold the true score, in (0, 1).
        centred: turn the interval over the score: from value - (upper - value) to value + (value - lower). For a score
            that drawing again pushes one way, as a calibration error, which grows since copies of images look like
            confirmation; it may reach beyond the score's range.
    Returns: bounds are NaN where the score has no value, or has none in more than 1 % of the resamples; in fewer, these
        are left out.
    Raises:
        DataError: see `metrics.check_scores`; or as many groups as images are not given.
        ConfigError: the level is out of range, or the count is too small for it.
    Source: percentile and basic intervals: Davison & Hinkley 1997, Bootstrap Methods and their Application, sections
        5.2 and 5.3; why centred: Kumar et al. 2019, Verified Uncertainty Calibration, NeurIPS 32.
    """
    check_scores(labels, logits)
    check_count(count, level)
    value = score_or_nan(score, labels, logits)
    if math.isnan(value):
        return UNDEFINED
    drawn = resamples(labels, groups=groups, count=count, seed=seed)
    low, high = percentiles(np.array([score_or_nan(score, labels[i], logits[i]) for i in drawn]), level)
    return Interval(value, 2 * value - high, 2 * value - low) if centred else Interval(value, low, high)


def score_intervals(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    threshold_logit: float = 0.0,
    groups: Groups = None,
    seed: int = 0,
) -> dict[str, Interval]:
    """95 % intervals of `metrics.REPORTED_SCORES`, in their order; `UNDEFINED` where a score has no value.

    AUC by `auc_interval`, shares by `share_interval`, F1 by `bootstrap_interval`. No drawing again changes an F1 of 0
    or 1: that has the interval of J = TP / (TP + FP + FN), a share, of which F1 is 2 J / (1 + J). Nor does it where all
    images are called malignant: there the bounds of recall and specificity give those of F1.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        threshold_logit: an image is called malignant when its logit >= this; it does not touch the AUC.
        groups: one number an image; images of one number depend on each other.
        seed: of the bootstrap.
    Raises: DataError: see `metrics.check_scores`; or as many groups as images are not given.
    """
    check_scores(labels, logits)
    group = group_index(groups, labels.size)
    malignant, called = labels == 1, calls(logits, threshold_logit)

    def share(hits: Bool[np.ndarray, " image"], among: Bool[np.ndarray, " image"]) -> Interval:
        return share_interval(hits[among], groups=group[among])

    f1 = bootstrap_interval(labels, signs(called), f1_score, groups=group, seed=seed)
    if f1.value in (0.0, 1.0):
        j = share(malignant & called, malignant | called)
        f1 = Interval(f1.value, 2 * j.low / (1 + j.low), 2 * j.high / (1 + j.high))
    recall, specificity = share(called, malignant), share(~called, ~malignant)
    if f1.low == f1.high:
        n_malignant, n_benign = int(malignant.sum()), int((~malignant).sum())
        low, high = (
            _f1_of(getattr(recall, end), getattr(specificity, end), n_malignant, n_benign) for end in ("low", "high")
        )
        f1 = Interval(f1.value, low, high)
    return {
        "accuracy": share(malignant == called, np.ones_like(called)),
        "precision": share(malignant, called),
        "recall": recall,
        "f1": f1,
        "specificity": specificity,
        "auc": UNDEFINED if malignant.all() or not malignant.any() else auc_interval(labels, logits, groups=group),
    }


def _f1_of(recall: float, specificity: float, n_malignant: int, n_benign: int) -> float:
    """F1 at such shares; without benign images the specificity does not matter."""
    found = recall * n_malignant
    alarms = (1 - specificity) * n_benign if n_benign else 0.0
    return 2 * found / (found + alarms + n_malignant)


def f1_score(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> float:
    """`Confusion.f1` at a logit of 0, unchecked: for the thousands of times that a bootstrap asks.

    Returns: in [0, 1]; NaN where no image is malignant or called so.
    """
    called = logits >= 0
    either = int(np.count_nonzero(labels)) + int(np.count_nonzero(called))
    return 2 * int(np.count_nonzero(called & (labels == 1))) / either if either else math.nan


def signs(called: Bool[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    """Logits that keep these calls at a threshold of 0."""
    return np.where(called, 1.0, -1.0)


def score_or_nan(score: Score, labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> float:
    """The score, NaN where it has no value."""
    try:
        return float(score(labels, logits))
    except UndefinedMetricError:
        return math.nan


def percentiles(scores: Float64[np.ndarray, " resample"], level: float) -> tuple[float, float]:
    """The bounds between which the middle `level` of the scores lies; NaN where too many have no value.

    Both are scores that were seen, as far from either end: infinite ones need no difference of infinities.
    """
    known = np.sort(scores[~np.isnan(scores)])
    if known.size < (1 - _MAX_UNDEFINED) * scores.size:
        return math.nan, math.nan
    place = max(_place(known.size, level), 1)
    return float(known[place - 1]), float(known[-place])


def check_count(count: int, level: float) -> None:
    """Refuse a level out of range, or one that is too high for so few resamples.

    Raises: ConfigError
    """
    normal_quantile(level)
    if _place(count, level) < 1:
        least = math.ceil(2 / (1 - level) - 1 - _NEARLY)
        raise ConfigError(f"count is {count}, too few resamples for a level of {level}; at least {least} are needed")


def _place(count: int, level: float) -> int:
    """Which of `count` sorted scores is the lower bound, from 1 on; the upper one stands as far from the other end."""
    return math.floor((count + 1) * (1 - level) / 2 + _NEARLY)

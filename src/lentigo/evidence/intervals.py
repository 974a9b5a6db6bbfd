"""Intervals around scores: labels and logits, or counts, in; a value with its lower and upper bound out.

An interval says how far a score may lie from the value that endless images of the same kind would give. It knows
nothing of another clinic, another archive or another training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float64, Int64, Integer, Real

from lentigo.errors import ConfigError, DataError
from lentigo.evidence.metrics import roc_auc_score

# One number an image, for instance of its patient or lesion: images of one number depend on each other. None: none do.
Groups: TypeAlias = Sequence[int] | Integer[np.ndarray, " image"] | None

_CANCELLED = 1e-12  # of the terms of a variance: what is left of them by rounding, where they cancel


@dataclass(frozen=True)
class Interval:
    """A score and the bounds of its interval, in the score's unit; NaN where undefined."""

    value: float
    low: float
    high: float


UNDEFINED = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Placements:
    """DeLong's structural components: where each image stands among the images of the other class.

    The mean of either array is the AUC. Two classifiers of the same images have placements in the same order, so that
    their covariance is that of the AUCs.
    """

    malignant: Float64[np.ndarray, " malignant"]  # share of the benign images that rank below it; a tie counts one half
    benign: Float64[np.ndarray, " benign"]  # share of the malignant images that rank above it; a tie counts one half


def auc_placements(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> Placements:
    """Placements of all images, malignant and benign ones each in the order of the input.

    By ranks, in n log n steps: the rank of an image among all, less its rank within its class, counts the images of the
    other class below it.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
    Raises:
        DataError: see `metrics.check_scores`.
        UndefinedMetricError: one class is absent.
    Source: DeLong et al. 1988, Biometrics 44(3):837-845, doi:10.2307/2531595; by ranks: Sun & Xu 2014, IEEE Signal
        Processing Letters 21(11):1389-1393, doi:10.1109/LSP.2014.2337313.
    """
    roc_auc_score(labels, logits)  # refuses what has no AUC
    malignant, benign = labels == 1, labels == 0
    among_all = _midranks(logits)
    below_malignant = among_all[malignant] - _midranks(logits[malignant])
    below_benign = among_all[benign] - _midranks(logits[benign])
    n_malignant, n_benign = below_malignant.size, below_benign.size
    return Placements(malignant=below_malignant / n_benign, benign=1 - below_benign / n_malignant)


def auc_variance(
    labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"], *, groups: Groups = None
) -> float:
    """Variance of the AUC by DeLong; with `groups` by Obuchowski, who lets the images of a group depend on each other.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        groups: one number an image, for instance of its patient; None, or all different: every image stands alone, and
            both formulas agree.
    Returns: the variance, at least 0; NaN where a class has a single image or group, which has no spread.
    Raises:
        DataError: see `metrics.check_scores`; or as many groups as images are not given.
        UndefinedMetricError: one class is absent.
    Source: as `auc_placements`; groups: Obuchowski 1997, Biometrics 53(2):567-578, doi:10.2307/2533958.
    """
    return variance_of_placements(auc_placements(labels, logits), labels, groups=groups)


def variance_of_placements(
    placements: Placements, labels: Integer[np.ndarray, " image"], *, groups: Groups = None
) -> float:
    """`auc_variance` from placements; from differences of two classifiers' placements, that of the AUCs' difference.

    For it is a sum of squares and products of placements: of differences it is V(a) + V(b) - 2 Cov(a, b), with no like
    numbers subtracted.

    Returns: as `auc_variance`; what is left by rounding where all cancels is 0.
    """
    group = group_index(groups, labels.size)
    of_class = (placements.malignant, group[labels == 1]), (placements.benign, group[labels == 0])
    n_all, n_malignant, n_benign = (np.unique(members).size for members in (group, of_class[0][1], of_class[1][1]))
    if min(n_malignant, n_benign) < 2:
        return math.nan
    malignant, benign = (
        summed(values - values.mean(), members, int(group.max()) + 1) / values.size for values, members in of_class
    )
    alone = malignant @ malignant * n_malignant / (n_malignant - 1) + benign @ benign * n_benign / (n_benign - 1)
    variance = alone + 2 * (malignant @ benign) * n_all / (n_all - 1)
    return float(variance) if variance > _CANCELLED * alone else 0.0


def auc_interval(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    groups: Groups = None,
    level: float = 0.95,
) -> Interval:
    """AUC with the interval of `auc_variance`, normal on the scale of log(AUC / (1 - AUC)), so that it stays in [0, 1].

    It has a width also where the variance has no value or says 0. An AUC of 0 or 1 gets the exact one-sided binomial
    bound of the class with fewer groups, as if each of its n groups were one trial: 1 is followed down to
    (1 - level)^(1 / n). Any other AUC gets the largest variance it can have, AUC (1 - AUC) / n.

    Of 20 malignant images and an AUC of 0.95 it holds the truth in 92 % of studies instead of 95 %; from 100 on, and at
    an AUC of 0.80 from 20 on, in 94 to 95 % (benchmarks/coverage.py).

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        groups: see `auc_variance`.
        level: chance that such an interval holds the true AUC, in (0, 1).
    Raises:
        ConfigError: the level is out of range.
        DataError: see `auc_variance`.
        UndefinedMetricError: one class is absent.
    Source: as `auc_variance`; scale: Qin & Hotilovac 2008, doi:10.1177/0962280207087173; largest variance: Birnbaum &
        Klose 1957, doi:10.1214/aoms/1177706794; bound: Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404.
    """
    z = normal_quantile(level)
    auc = roc_auc_score(labels, logits)
    group = group_index(groups, labels.size)
    fewer = min(np.unique(group[labels == label]).size for label in (0, 1))
    if auc in (0.0, 1.0):
        bound = (1 - level) ** (1 / fewer)
        return Interval(auc, bound, 1.0) if auc else Interval(auc, 0.0, 1 - bound)
    variance = auc_variance(labels, logits, groups=group)
    if not variance > 0:  # NaN too
        variance = auc * (1 - auc) / fewer
    middle = math.log(auc / (1 - auc))
    half = z * math.sqrt(variance) / (auc * (1 - auc))
    return Interval(auc, logistic(middle - half), logistic(middle + half))


def wilson_interval(right: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share, which stays inside [0, 1] and has a width even where all images are right.

    Returns: lower and upper bound; NaN without images.
    Raises: ConfigError: the level is out of range.
    Source: Wilson 1927, Journal of the American Statistical Association 22(158):209-212,
        doi:10.1080/01621459.1927.10502953.
    """
    return _wilson(right / n, n, level) if n else (math.nan, math.nan)


def share_interval(hits: Bool[np.ndarray, " image"], *, groups: Groups = None, level: float = 0.95) -> Interval:
    """Share of the images that are hits, with Wilson's interval; groups count as fewer images, as alike as theirs are.

    With `groups` the interval is that of n / d images, where the design effect d is the variance of the share between
    groups over that between images. A d below 1 is taken as 1: images of one group are not less alike than those of
    two, so it is the chance of few groups. Where all images or none are hits, d has no value and each group counts as
    one image, as if its images were all alike.

    Args:
        hits: of the images that the share is of; for the sensitivity whether each malignant one was found.
        groups: one number for each of these images.
        level: chance that such an interval holds the true share, in (0, 1).
    Returns: the share in [0, 1]; `UNDEFINED` without images.
    Raises:
        ConfigError: the level is out of range.
        DataError: as many groups as images are not given.
    Source: as `wilson_interval`; groups: Rao & Scott 1992, Biometrics 48(2):577-585, doi:10.2307/2532311.
    """
    group = group_index(groups, hits.size)
    if hits.size == 0:
        return UNDEFINED
    share = float(hits.mean())
    return Interval(share, *_wilson(share, effective_number(hits, group), level))


def normal_quantile(level: float) -> float:
    """How many standard deviations either way hold `level` of a normal distribution; 1.96 for 0.95.

    Raises: ConfigError: the level is out of range.
    """
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}, not in (0, 1); try 0.95")
    return NormalDist().inv_cdf((1 + level) / 2)


def group_index(groups: Groups, n: int) -> Int64[np.ndarray, " image"]:
    """Group numbers from 0 on without gaps; without groups every image has its own.

    Raises: DataError: there are not n of them.
    """
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise DataError(f"there are {len(groups)} group numbers for {n} images; give one an image")
    index: Int64[np.ndarray, " image"] = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    return index


def summed(
    values: Real[np.ndarray, " member"], members: Int64[np.ndarray, " member"], n_groups: int
) -> Float64[np.ndarray, " group"]:
    """The sum of the values of each group; 0 for a group that has none here."""
    return np.bincount(members, weights=values, minlength=n_groups)


def _wilson(share: float, n: float | int, level: float) -> tuple[float, float]:
    z2 = normal_quantile(level) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 / n * (share * (1 - share) + z2 / (4 * n))) / (1 + z2 / n)
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)  # rounding apart, they are so


def effective_number(hits: Bool[np.ndarray, " image"], group: Int64[np.ndarray, " image"]) -> float:
    """How many images that stand alone would tell the share as well: at most as many as there are."""
    n, n_groups = hits.size, int(group.max()) + 1
    if n_groups == n:
        return float(n)
    if n_groups == 1 or hits.all() or not hits.any():
        return float(n_groups)
    between = summed(hits - hits.mean(), group, n_groups)
    # Both sums are divided by one less than their number of terms, so that groups of one have a design effect of 1.
    effect = between @ between * n_groups / (n_groups - 1) / (n * hits.var() * n / (n - 1))
    return n / max(float(effect), 1.0)


def _midranks(values: Real[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    """Rank of each value from 1 on; equal values share the mean of theirs, infinite ones too."""
    ordered = np.sort(values)
    lower, upper = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    ranks: Float64[np.ndarray, " image"] = (lower + upper + 1) / 2
    return ranks


def logistic(z: float) -> float:
    """1 / (1 + exp(-z)) without overflow."""
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))

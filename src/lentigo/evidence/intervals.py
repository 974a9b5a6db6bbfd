"""Intervals around scores: labels and logits, or counts, in; a value with its lower and upper bound out.

An interval says how far a score may lie from the value that endless images of the same kind would give. It knows
nothing of another clinic, another archive or another training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64, Int64, Integer, Real

from lentigo.errors import ConfigError, DataError
from lentigo.evidence.metrics import roc_auc_score


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
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    groups: Sequence[int] | Int64[np.ndarray, " image"] | None = None,
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
    placements = auc_placements(labels, logits)
    group = _group_index(groups, labels.size)
    auc = placements.malignant.mean()
    malignant, benign = labels == 1, labels == 0
    of_malignant = _summed(placements.malignant - auc, group[malignant], group) / placements.malignant.size
    of_benign = _summed(placements.benign - auc, group[benign], group) / placements.benign.size
    n_malignant, n_benign, n_all = (np.unique(members).size for members in (group[malignant], group[benign], group))
    if min(n_malignant, n_benign) < 2:
        return math.nan
    variance = of_malignant @ of_malignant * n_malignant / (n_malignant - 1)
    variance += of_benign @ of_benign * n_benign / (n_benign - 1)
    variance += 2 * (of_malignant @ of_benign) * n_all / (n_all - 1)
    return max(float(variance), 0.0)


def auc_interval(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    groups: Sequence[int] | Int64[np.ndarray, " image"] | None = None,
    level: float = 0.95,
) -> Interval:
    """AUC with the interval of `auc_variance`, normal on the scale of log(AUC / (1 - AUC)), so that it stays in [0, 1].

    It has a width also where the variance has no value or says 0. An AUC of 0 or 1 gets the exact one-sided binomial
    bound of the class with fewer groups, as if each of its n groups were one trial: 1 is followed down to
    (1 - level)^(1 / n). Any other AUC gets the largest variance it can have, AUC (1 - AUC) / n.

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
    if not 0 < level < 1:
        raise ConfigError(f"level is {level}, not in (0, 1); try 0.95")
    auc = roc_auc_score(labels, logits)
    group = _group_index(groups, labels.size)
    fewer = min(np.unique(group[labels == label]).size for label in (0, 1))
    if auc in (0.0, 1.0):
        bound = (1 - level) ** (1 / fewer)
        return Interval(auc, bound, 1.0) if auc else Interval(auc, 0.0, 1 - bound)
    variance = auc_variance(labels, logits, groups=group)
    if not variance > 0:  # NaN too
        variance = auc * (1 - auc) / fewer
    middle = math.log(auc / (1 - auc))
    half = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(variance) / (auc * (1 - auc))
    return Interval(auc, _logistic(middle - half), _logistic(middle + half))


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share, which stays inside [0, 1] and has a width even where all images are right.

    Returns: lower and upper bound; NaN without images.
    Source: Wilson 1927, Journal of the American Statistical Association 22(158):209-212,
        doi:10.1080/01621459.1927.10502953.
    """
    if n == 0:
        return math.nan, math.nan
    z = 1.959963984540054
    middle = (right + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(right * (n - right) / n + z * z / 4)
    return middle - half, middle + half


def _midranks(values: Real[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    """Rank of each value from 1 on; equal values share the mean of theirs, infinite ones too."""
    ordered = np.sort(values)
    lower, upper = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    ranks: Float64[np.ndarray, " image"] = (lower + upper + 1) / 2
    return ranks


def _group_index(groups: Sequence[int] | Int64[np.ndarray, " image"] | None, n: int) -> Int64[np.ndarray, " image"]:
    """Group numbers from 0 on without gaps."""
    if groups is None:
        return np.arange(n)
    if len(groups) != n:
        raise DataError(f"there are {len(groups)} group numbers for {n} images; give one an image")
    index: Int64[np.ndarray, " image"] = np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int64)
    return index


def _summed(
    values: Float64[np.ndarray, " member"], members: Int64[np.ndarray, " member"], groups: Int64[np.ndarray, " image"]
) -> Float64[np.ndarray, " group"]:
    """The sum of the values of each group; 0 for a group that has none here."""
    return np.bincount(members, weights=values, minlength=int(groups.max()) + 1)


def _logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))

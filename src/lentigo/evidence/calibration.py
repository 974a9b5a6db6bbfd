"""Whether a probability means what it says: labels and logits in; bins, errors and Brier's score out.

A logit is read as log odds, so that its probability is the sigmoid, in float64 and without overflow; an infinite logit
is a probability of 0 or 1. How to mend what is found here: `recalibration`.
"""

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Integer, Real

from lentigo.errors import ConfigError
from lentigo.evidence.bootstrap import bootstrap_interval
from lentigo.evidence.intervals import Groups, Interval, group_index, normal_quantile, share_interval, summed
from lentigo.evidence.metrics import check_scores, log_loss
from lentigo.evidence.recalibration import probabilities, recalibration

BINS = 15


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Images of like probability: what was said of them, and what they are."""

    n: int
    malignant: int
    predicted: float  # mean probability
    observed: Interval  # share of malignant images, with Wilson's interval
    low_p: float  # smallest probability in the bin
    high_p: float  # largest


@dataclass(frozen=True, kw_only=True)
class BrierParts:
    """Brier's score = reliability - resolution + uncertainty, up to rounding."""

    score: float
    reliability: float  # mean square of predicted - observed over bins; at least 0, lower is better
    resolution: float  # how far the probabilities part the images; higher is better, below 0 where they mislead
    uncertainty: float  # p (1 - p) with p the share of malignant images: the score of always saying p


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How far probabilities can be taken at their word on one set of images; NaN where undefined."""

    n: int
    bins: tuple[ReliabilityBin, ...]
    ece: Interval  # expected calibration error, debiased; 0 is best
    ece_plain: float  # the same as most papers print it, biased upwards
    brier: Interval
    brier_parts: BrierParts
    log_loss: float
    slope: Interval  # 1 is best; below 1: too sure of itself
    intercept: Interval  # 0 is best; above 0: too few are called malignant
    reason: str  # why slope or intercept, or their bounds, are NaN; empty where they are not

    def to_dict(self) -> dict[str, Any]:
        """As plain values; NaN stays NaN."""
        return asdict(self)


def reliability_bins(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    bins: int = BINS,
    groups: Groups = None,
) -> tuple[ReliabilityBin, ...]:
    """Bins of as equal a number of images as ties allow, of rising probability.

    Each edge lies where it would without ties, or at the nearest change of logit, of two equally near ones at the
    lower. So equal logits are never parted, and there are fewer bins than asked for where edges fall together.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant.
        bins: how many at most; at least 1.
        groups: one number an image; images of one number depend on each other, which widens the bins' intervals.
    Raises:
        ConfigError: fewer than one bin.
        DataError: see `metrics.check_scores`.
    Source: bins of equal mass: Nixon et al. 2019, "Measuring Calibration in Deep Learning", arXiv:1904.01685.
    """
    order, edges = _equal_mass(labels, logits, bins)
    chances = probabilities(logits)
    group = group_index(groups, labels.size)
    found = []
    for start, end in pairwise(edges):
        members = order[start:end]
        found.append(
            ReliabilityBin(
                n=members.size,
                malignant=int(np.count_nonzero(labels[members])),
                predicted=float(chances[members].mean()),
                observed=share_interval(labels[members] == 1, groups=group[members]),
                low_p=float(chances[members[0]]),
                high_p=float(chances[members[-1]]),
            )
        )
    return tuple(found)


def expected_calibration_error(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    bins: int = BINS,
    debiased: bool = True,
) -> float:
    """Mean of |predicted - observed| over the bins of `reliability_bins`, each weighing as many images as it holds.

    The plain value is above 0 even for perfect probabilities, for the observed share of a bin scatters. Debiased is
    2 plain - E, with E what the plain value would be on average if each observed share o of n images were drawn anew
    from a normal law of mean o and variance o (1 - o) / n; E has a closed form, the mean of a folded normal. Where
    that is below 0, 0 is given. A bias remains, for E is taken at the share seen: with perfect probabilities the plain
    value is 0.081 on average for 200 images and 0.026 for 2,000, the debiased one 0.050 and 0.015.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant.
        bins: how many at most; at least 1.
        debiased: False gives the plain value.
    Returns: error in [0, 1], lower is better.
    Raises: see `reliability_bins`.
    Source: Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602; equal mass: as `reliability_bins`; debiased after Kumar,
        Liang & Ma 2019, "Verified Uncertainty Calibration", arXiv:1909.10155, who draw E instead.
    """
    sizes, predicted, observed = _bin_means(labels, logits, bins)
    weights, gaps = sizes / labels.size, np.abs(predicted - observed)
    plain = float(weights @ gaps)
    if not debiased:
        return plain
    expected = _folded_normal_mean(gaps, np.sqrt(observed * (1 - observed) / sizes))
    return max(2 * plain - float(weights @ expected), 0.0)


def calibration_error_interval(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    bins: int = BINS,
    groups: Groups = None,
) -> Interval:
    """The debiased calibration error with a 95 % interval that holds 0 where perfect probabilities may look like this.

    Drawing again does not give one: copies of images look like confirmation. So a true share is supposed for each bin,
    c times as far from the predicted one as the observed share is, cut to [0, 1]. The errors of those c are kept under
    which the plain error seen is no more than 1.96 deviations off its mean, by folded normal laws whose variance is
    that of the supposed or of the predicted share, whichever is larger. In simulated studies of 200 and 2,000 images,
    perfect, too sharp and moved, it held the truth in 91 to 98 %; a bootstrap in 64 to 90 %.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant.
        bins: how many at most; at least 1.
        groups: one number an image; images of one number depend on each other. All bins then count as fewer images, by
            the variance of the sum of label - probability between groups over that between images.
    Returns: value and bounds in [0, 1].
    Raises: see `reliability_bins`; DataError: as many groups as images are not given.
    """
    sizes, predicted, observed = _bin_means(labels, logits, bins)
    group = group_index(groups, labels.size)
    weights = sizes / labels.size
    value, plain = expected_calibration_error(labels, logits, bins=bins), float(weights @ np.abs(predicted - observed))
    if plain < 1e-12:  # no bin says which way
        return Interval(value, 0.0, share_interval(np.zeros(labels.size, dtype=np.bool_), groups=group).high)
    counted = sizes / _design_effect((labels == 1) - probabilities(logits), group)
    scatter = float(weights @ np.sqrt(np.maximum(predicted * (1 - predicted), observed * (1 - observed)) / counted))
    times = np.linspace(0, 1 + 6 * scatter / plain, 400)[:, np.newaxis]
    supposed = np.clip(predicted + times * (observed - predicted), 0, 1)
    gaps = np.abs(supposed - predicted)
    deviation = np.sqrt(np.maximum(supposed * (1 - supposed), predicted * (1 - predicted)) / counted)
    folded = _folded_normal_mean(gaps, deviation)
    reach = normal_quantile(0.95) * np.sqrt(np.maximum(gaps**2 + deviation**2 - folded**2, 0) @ weights**2)
    errors, mean = gaps @ weights, folded @ weights
    low = float(errors[np.argmax(mean + reach >= plain)])
    high = max(errors[mean - reach <= plain], default=0.0)  # none: it is seen smaller than chance would have it
    return Interval(value, min(low, value), max(float(high), value))


def brier_score(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> float:
    """Mean square of probability - label.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant.
    Returns: score in [0, 1], lower is better in spite of its name; 0.25 is a coin.
    Raises: DataError: see `metrics.check_scores`.
    Source: Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2, half of his score for two classes.
    """
    check_scores(labels, logits)
    return float(np.square(probabilities(logits) - (labels == 1)).mean())


def brier_parts(
    labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"], *, bins: int = BINS
) -> BrierParts:
    """Brier's score and its three parts over the bins of `reliability_bins`.

    A bin's images differ in probability. What that adds to Murphy's parts, the variance within bins less twice the
    covariance with the labels, is taken into the resolution, so that the parts add up.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant.
        bins: how many at most; at least 1.
    Raises: see `reliability_bins`.
    Source: Murphy 1973, doi:10.1175/1520-0450(1973)012<0595:ANVPOT>2.0.CO;2; within bins: Stephenson et al. 2008,
        doi:10.1175/2007WAF2006116.1.
    """
    order, edges = _equal_mass(labels, logits, bins)
    chances, truth = probabilities(logits)[order], (labels[order] == 1).astype(np.float64)
    sizes = np.diff(edges)
    predicted, observed = (np.add.reduceat(values, edges[:-1]) / sizes for values in (chances, truth))
    share = float(truth.mean())
    apart = chances - np.repeat(predicted, sizes)
    within = float((apart @ apart - 2 * (apart @ (truth - np.repeat(observed, sizes)))) / labels.size)
    return BrierParts(
        score=brier_score(labels, logits),
        reliability=float(sizes @ np.square(predicted - observed)) / labels.size,
        resolution=float(sizes @ np.square(observed - share)) / labels.size - within,
        uncertainty=share * (1 - share),
    )


def assess_calibration(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    groups: Groups = None,
    seed: int = 0,
) -> Calibration:
    """All that is said of calibration, with 95 % intervals.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant; to show what a temperature does, call again with logits / temperature.
        groups: one number an image; images of one number depend on each other.
        seed: of the bootstrap behind the interval of Brier's score.
    Raises: DataError: see `metrics.check_scores`; or as many groups as images are not given.
    """
    line = recalibration(labels, logits, groups=groups)
    return Calibration(
        n=labels.size,
        bins=reliability_bins(labels, logits, groups=groups),
        ece=calibration_error_interval(labels, logits, groups=groups),
        ece_plain=expected_calibration_error(labels, logits, debiased=False),
        brier=bootstrap_interval(labels, logits, brier_score, groups=groups, seed=seed),
        brier_parts=brier_parts(labels, logits),
        log_loss=log_loss(labels, logits),
        slope=line.slope,
        intercept=line.intercept,
        reason=line.reason,
    )


def _equal_mass(
    labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"], bins: int
) -> tuple[Int64[np.ndarray, " image"], Int64[np.ndarray, " edge"]]:
    """The images by rising logit, and where among them the bins begin and end."""
    check_scores(labels, logits)
    if bins < 1:
        raise ConfigError(f"bins is {bins}; at least 1 is needed: try {BINS}")
    order = np.argsort(logits, kind="stable")
    rising = logits[order]
    changes = np.concatenate(([0], np.flatnonzero(rising[1:] != rising[:-1]) + 1, [rising.size]))
    wanted = np.arange(bins + 1) * rising.size / bins
    above = np.searchsorted(changes, wanted)
    below = np.maximum(above - 1, 0)
    nearest = np.where(wanted - changes[below] <= changes[above] - wanted, below, above)
    return order, changes[np.unique(nearest)]


def _bin_means(
    labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"], bins: int
) -> tuple[Int64[np.ndarray, " bin"], Float64[np.ndarray, " bin"], Float64[np.ndarray, " bin"]]:
    """Of each bin the number of images, the mean probability and the share of malignant ones."""
    order, edges = _equal_mass(labels, logits, bins)
    sizes = np.diff(edges)
    both = (values[order].astype(np.float64) for values in (probabilities(logits), labels))
    predicted, observed = (np.add.reduceat(values, edges[:-1]) / sizes for values in both)
    return sizes, predicted, observed


def _design_effect(errors: Float64[np.ndarray, " image"], group: Int64[np.ndarray, " image"]) -> float:
    """How many images of these groups tell as much as one that stands alone; at least 1."""
    n, n_groups = errors.size, int(group.max()) + 1
    spread = float(errors.var()) * n * n
    if n_groups in (1, n) or not spread:
        return n / n_groups
    between = summed(errors - errors.mean(), group, n_groups)
    return max(float(between @ between) * n_groups / (n_groups - 1) * (n - 1) / spread, 1.0)


def _folded_normal_mean(
    mean: Float64[np.ndarray, "*bin"], deviation: Float64[np.ndarray, "*bin"]
) -> Float64[np.ndarray, "*bin"]:
    """Mean of |x| of a normal x; |mean| where the deviation is 0."""
    ratio = np.divide(mean, deviation, out=np.full_like(mean, 40.0), where=deviation > 0).clip(-40, 40)
    inside = np.vectorize(math.erf)(ratio / math.sqrt(2))
    folded: Float64[np.ndarray, "*bin"] = deviation * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2) + mean * inside
    return np.where(deviation > 0, folded, np.abs(mean))

"""Scores of a two-class classifier: labels and logits in, numbers out.

A label is 1 for malignant and 0 for benign; malignant is the positive class. A logit is any real number that grows
with the belief in malignant; a probability p is logit log(p / (1 - p)), so that p >= 0.5 is logit >= 0.
What is undefined is NaN (a ratio over no images) or an UndefinedMetricError (a ranking of one class), never 0 or 1.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float64, Integer, Real

from lentigo.errors import ConfigError, DataError, UndefinedMetricError

REPORTED_SCORES: tuple[str, ...] = ("accuracy", "precision", "recall", "f1", "specificity", "auc")

# Two steps of a ROC curve that turn have a cross product of at least 1 / (n_malignant * n_benign); two that do not turn
# have 0, off by less than 1e-15 since rates lie in [0, 1]. So this tells them apart up to 2e7 images of each class.
_COLLINEAR_CROSS_PRODUCT = 2e-15


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """Counts of images by true class and by decision; malignant is positive. Ratios lie in [0, 1], higher is better.

    A ratio whose denominator is 0 is NaN: no image was there to judge it by.
    Source: Fawcett 2006, Pattern Recognition Letters 27(8):861-874, doi:10.1016/j.patrec.2005.10.010, figure 1.
    """

    true_positive: int  # malignant, called malignant
    false_positive: int  # benign, called malignant
    true_negative: int  # benign, called benign
    false_negative: int  # malignant, called benign

    @property
    def accuracy(self) -> float:
        """Share of all images that are called right: (TP + TN) / n; NaN without images."""
        right = self.true_positive + self.true_negative
        return _ratio(right, right + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """Share of malignant among the images called malignant: TP / (TP + FP); NaN when none is called so."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Sensitivity, the share of malignant images that are found: TP / (TP + FN); NaN without malignant images."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float:
        """Share of benign images that are called benign: TN / (TN + FP); NaN without benign images."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN); NaN only when TP + FP + FN = 0.

        It is 0 where images are malignant or called so and none is both, though precision or recall may be NaN there.
        """
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    def to_dict(self) -> dict[str, int]:
        """The four counts by name; `Confusion(**counts)` reads them back."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class RocCurve:
    """The trade of false against true alarms, from (0, 0) to (1, 1), with one point for each distinct logit.

    At a point, the images whose logit >= threshold_logit are called malignant; thresholds fall, both rates never do.
    Before the points of the logits stands (0, 0), where no image is called malignant; its threshold is +inf, even
    where an image has a logit of +inf.
    Source: Fawcett 2006, Pattern Recognition Letters 27(8):861-874, doi:10.1016/j.patrec.2005.10.010, algorithm 1.
    """

    false_positive_rate: Float64[np.ndarray, " point"]  # 1 - specificity, in [0, 1]
    true_positive_rate: Float64[np.ndarray, " point"]  # recall, in [0, 1]
    threshold_logit: Float64[np.ndarray, " point"]

    @property
    def auc(self) -> float:
        """Area under the curve by trapezoids, in [0, 1]; equals `roc_auc_score` up to rounding."""
        heights = (self.true_positive_rate[1:] + self.true_positive_rate[:-1]) / 2
        return float(np.diff(self.false_positive_rate) @ heights)

    def simplified(self) -> "RocCurve":
        """The same line with fewer points, for drawing: a point at which the line does not turn is dropped."""
        right, up = np.diff(self.false_positive_rate), np.diff(self.true_positive_rate)
        turns = np.abs(right[:-1] * up[1:] - right[1:] * up[:-1]) > _COLLINEAR_CROSS_PRODUCT
        kept = np.concatenate(([True], turns, [True]))
        return RocCurve(self.false_positive_rate[kept], self.true_positive_rate[kept], self.threshold_logit[kept])


def check_scores(labels: np.ndarray, logits: np.ndarray) -> None:
    """Refuse arrays that no metric can be computed from; every metric here calls it. Infinite logits are allowed.

    Raises:
        DataError: not one-dimensional, different lengths, empty, a label other than the integers 0 and 1, or a logit
            that is NaN or no real number.
    """
    if labels.ndim != 1 or labels.shape != logits.shape:
        raise DataError(
            f"labels have shape {labels.shape} and logits {logits.shape}; both must be one-dimensional and of one "
            "length: pass one label and one logit an image"
        )
    if labels.size == 0:
        raise DataError("there are no images to score; at least one is needed: check that the split is not empty")
    if labels.dtype.kind not in "iu":
        raise DataError(f"labels are {labels.dtype}, not integers; pass 1 for malignant and 0 for benign")
    strange = labels[(labels != 0) & (labels != 1)]
    if strange.size:
        found = ", ".join(str(label) for label in np.unique(strange)[:5])
        raise DataError(f"labels hold {found}; only 1 (malignant) and 0 (benign) are allowed: map the classes first")
    if logits.dtype.kind not in "fiu":
        raise DataError(f"logits are {logits.dtype}, not real numbers; pass one float an image")
    missing = np.flatnonzero(np.isnan(logits))
    if missing.size:
        raise DataError(
            f"the logit in row {missing[0]} is NaN ({missing.size} of {logits.size} rows are); numbers and infinities "
            "are allowed: look at that image, or whether the training diverged, and predict again"
        )


def calls(logits: Real[np.ndarray, " image"], threshold_logit: float) -> Bool[np.ndarray, " image"]:
    """Which images are called malignant: those whose logit >= threshold.

    In float64, for numpy would round the threshold to float32 logits, and a threshold between two of them onto one.

    Raises: ConfigError: the threshold is NaN.
    """
    if math.isnan(threshold_logit):
        raise ConfigError("a threshold is NaN; any number or infinity is allowed: 0.0 is a probability of 0.5")
    called: Bool[np.ndarray, " image"] = logits.astype(np.float64) >= threshold_logit
    return called


def confusion(
    labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"], *, threshold_logit: float = 0.0
) -> Confusion:
    """Count right and wrong decisions, where an image is called malignant when its logit >= threshold.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        threshold_logit: 0 is a probability of 0.5; +inf calls malignant only what has a logit of +inf.
    Raises:
        DataError: see `check_scores`.
        ConfigError: the threshold is NaN.
    """
    check_scores(labels, logits)
    if math.isnan(threshold_logit):
        raise ConfigError("threshold_logit is NaN; any number or infinity is allowed: 0.0 is a probability of 0.5")
    called_malignant = calls(logits, threshold_logit)
    malignant = labels == 1
    return Confusion(
        true_positive=int(np.count_nonzero(called_malignant & malignant)),
        false_positive=int(np.count_nonzero(called_malignant & ~malignant)),
        true_negative=int(np.count_nonzero(~called_malignant & ~malignant)),
        false_negative=int(np.count_nonzero(~called_malignant & malignant)),
    )


def roc_auc_score(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> float:
    """Chance that a malignant image, drawn at random, has a higher logit than a benign one; a tie counts one half.

    It is the Mann-Whitney statistic over the number of pairs. Counts are integers and divided once, so that the result
    is the closest float64. No threshold enters, and any strictly increasing map of the logits leaves it as it is;
    float32 probabilities are not such a map, since sigmoid rounds to 1 above 17 and makes false ties.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant; two of +inf are a tie.
    Returns: area under the ROC curve in [0, 1]; 0.5 is chance.
    Raises:
        DataError: see `check_scores`.
        UndefinedMetricError: one class is absent.
    Source: Hanley & McNeil 1982, Radiology 143(1):29-36, doi:10.1148/radiology.143.1.7063747.
    """
    check_scores(labels, logits)
    _require_both_classes(labels, "AUC")
    malignant, benign = np.sort(logits[labels == 1]), np.sort(logits[labels == 0])
    benign_lower = np.searchsorted(benign, malignant, side="left")
    benign_not_higher = np.searchsorted(benign, malignant, side="right")
    half_wins = int(benign_lower.sum()) + int(benign_not_higher.sum())
    return half_wins / (2 * malignant.size * benign.size)


def roc_curve(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> RocCurve:
    """Rates of false and true alarms at every threshold that makes a difference.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
    Returns: the curve with all its points; images of one logit share one point.
    Raises:
        DataError: see `check_scores`.
        UndefinedMetricError: one class is absent, so that one of the rates has no value.
    Source: Fawcett 2006, Pattern Recognition Letters 27(8):861-874, doi:10.1016/j.patrec.2005.10.010, algorithm 1.
    """
    check_scores(labels, logits)
    n_malignant, n_benign = _require_both_classes(labels, "a ROC curve")
    falling = np.argsort(logits, kind="stable")[::-1]
    sorted_logits = logits[falling]
    # Compared, not subtracted: inf - inf is NaN.
    last_of_ties = np.append(np.flatnonzero(sorted_logits[1:] != sorted_logits[:-1]), logits.size - 1)
    true_positives = np.cumsum(labels[falling] == 1)[last_of_ties]
    false_positives = last_of_ties + 1 - true_positives
    return RocCurve(
        false_positive_rate=np.concatenate(([0.0], false_positives / n_benign)),
        true_positive_rate=np.concatenate(([0.0], true_positives / n_malignant)),
        threshold_logit=np.concatenate(([np.inf], sorted_logits[last_of_ties].astype(np.float64))),
    )


def scores(
    labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"], *, threshold_logit: float = 0.0
) -> dict[str, float | int]:
    """Every number that a report shows of one set of images.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        threshold_logit: an image is called malignant when its logit >= this; it does not touch the AUC.
    Returns: `REPORTED_SCORES` in [0, 1] or NaN where undefined (AUC too), then n, n_malignant, n_benign and the four
        counts of `Confusion`.
    Raises:
        DataError: see `check_scores`.
        ConfigError: the threshold is NaN.
    """
    counts = confusion(labels, logits, threshold_logit=threshold_logit)
    n_malignant = counts.true_positive + counts.false_negative
    n_benign = counts.true_negative + counts.false_positive
    return {
        "accuracy": counts.accuracy,
        "precision": counts.precision,
        "recall": counts.recall,
        "f1": counts.f1,
        "specificity": counts.specificity,
        "auc": roc_auc_score(labels, logits) if n_malignant and n_benign else math.nan,
        "n": n_malignant + n_benign,
        "n_malignant": n_malignant,
        "n_benign": n_benign,
        **counts.to_dict(),
    }


def log_loss(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> float:
    """Mean of -log(probability given to the true class), with the logit as log odds; binary cross-entropy.

    Computed from the logit, log(1 + exp(-logit)) for a malignant image and log(1 + exp(logit)) for a benign one, in
    float64 and without overflow. It judges probabilities, so unlike the AUC it changes with the scale of the logits.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant.
    Returns: loss in nats, in [0, inf], lower is better; log 2 = 0.693 is a coin, inf is a certainty that was wrong.
    Raises: DataError: see `check_scores`.
    Source: Good 1952, Journal of the Royal Statistical Society B 14(1):107-114, doi:10.1111/j.2517-6161.1952.tb00104.x.
    """
    check_scores(labels, logits)
    against_truth = np.where(labels == 1, -1.0, 1.0) * logits
    return float(np.logaddexp(0.0, against_truth).mean())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _require_both_classes(labels: Integer[np.ndarray, " image"], metric: str) -> tuple[int, int]:
    """The numbers of malignant and benign images, both at least 1."""
    n_malignant = int(np.count_nonzero(labels))
    n_benign = labels.size - n_malignant
    if not (n_malignant and n_benign):
        raise UndefinedMetricError(
            f"{metric} needs both classes, got {n_malignant} malignant and {n_benign} benign images; "
            "score a split that holds both: check split.csv"
        )
    return n_malignant, n_benign

"""Whether calls do more good than harm, and the part of the ROC curve where a screening may stand. Arrays in."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Integer, Real

from lentigo.errors import ConfigError, UndefinedMetricError
from lentigo.evidence.bootstrap import bootstrap_interval
from lentigo.evidence.intervals import Groups, Interval
from lentigo.evidence.metrics import check_scores, roc_curve
from lentigo.evidence.predictive_values import check_prevalence

LEAST_SENSITIVITY = 0.80  # the ISIC 2024 challenge's


@dataclass(frozen=True, eq=False)
class DecisionCurve:
    """Net benefit at each threshold: malignant lesions found, less false alarms at the price the threshold sets."""

    threshold: Float64[np.ndarray, " threshold"]  # probability at and above which one would treat, in (0, 1)
    model: Float64[np.ndarray, " threshold"]  # net benefit per person of treating whom the model calls; at most pi
    treat_all: Float64[np.ndarray, " threshold"]
    treat_none: Float64[np.ndarray, " threshold"]  # 0
    prevalence: float  # pi: share of malignant among the people
    fitted_prevalence: float  # among the images for which the probabilities are meant

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(self).items()}


def decision_curve(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    thresholds: Float64[np.ndarray, " threshold"],
    *,
    prevalence: float | None = None,
    fitted_prevalence: float | None = None,
) -> DecisionCurve:
    """Net benefit of the model, of treating all and of treating none.

    At a threshold t it is se pi - (1 - sp) (1 - pi) t / (1 - t). The probabilities are first moved by Bayes' rule from
    the share of malignant for which they are meant to pi: the logit by the difference of the log odds of both.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: log odds of malignant, calibrated.
        thresholds: probabilities in (0, 1): 0.1 is for whom ten needless operations are worth one melanoma found.
        prevalence: pi, in (0, 1); None: the share of malignant among these images.
        fitted_prevalence: the share of malignant among the images on which the model was fitted or calibrated, in
            (0, 1); None: among these images.
    Raises:
        DataError: see `metrics.check_scores`.
        ConfigError: a threshold or a prevalence is out of range.
        UndefinedMetricError: one class is absent.
    Source: Vickers & Elkin 2006, Medical Decision Making 26(6):565-574, doi:10.1177/0272989X06295361.
    """
    check_scores(labels, logits)
    out_of_range = thresholds[~((thresholds > 0) & (thresholds < 1))]
    if out_of_range.size:
        raise ConfigError(f"a threshold of the decision curve is {out_of_range[0]}, not in (0, 1); try 0.01 to 0.2")
    share = float((labels == 1).mean())
    if share in (0.0, 1.0):
        raise UndefinedMetricError(
            f"a decision curve needs both classes, got {labels.size} images of one; score a split that holds both"
        )
    prevalence, fitted_prevalence = (share if given is None else given for given in (prevalence, fitted_prevalence))
    for given in (prevalence, fitted_prevalence):
        check_prevalence(given)
    moved = math.log(prevalence / (1 - prevalence)) - math.log(fitted_prevalence / (1 - fitted_prevalence))
    price = thresholds / (1 - thresholds)
    lines = np.log(price) - moved
    sensitivity, alarm_rate = (_share_at_or_above(logits[labels == label], lines) for label in (1, 0))
    return DecisionCurve(
        threshold=thresholds,
        model=sensitivity * prevalence - alarm_rate * (1 - prevalence) * price,
        treat_all=prevalence - (1 - prevalence) * price,
        treat_none=np.zeros_like(thresholds),
        prevalence=prevalence,
        fitted_prevalence=fitted_prevalence,
    )


def partial_auc(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    least_sensitivity: float = LEAST_SENSITIVITY,
) -> float:
    """Area under the ROC curve and above a sensitivity, as the ISIC 2024 challenge scores it.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        least_sensitivity: in [0, 1); 0 gives the AUC.
    Returns: area in [0, 1 - least_sensitivity], higher is better; (1 - least_sensitivity)^2 / 2 is chance.
    Raises:
        DataError: see `metrics.check_scores`.
        ConfigError: the sensitivity is out of range.
        UndefinedMetricError: one class is absent.
    Source: Jiang, Metz & Nishikawa 1996, Radiology 201(3):745-750, doi:10.1148/radiology.201.3.8939225 (who divide by
        1 - least_sensitivity); the challenge: Kurtansky et al. 2024, doi:10.1038/s41597-024-03743-w.
    """
    if not 0 <= least_sensitivity < 1:
        raise ConfigError(f"least_sensitivity is {least_sensitivity}, not in [0, 1); try 0.8")
    curve = roc_curve(labels, logits)
    sensitivity, specificity = curve.true_positive_rate, 1 - curve.false_positive_rate
    # The last point at or below the line: where the curve runs along it, the area above begins at that run's end.
    last = int(np.searchsorted(sensitivity, least_sensitivity, side="right")) - 1
    part = (least_sensitivity - sensitivity[last]) / (sensitivity[last + 1] - sensitivity[last])
    on_line = specificity[last] + part * (specificity[last + 1] - specificity[last])
    heights = np.concatenate(([least_sensitivity], sensitivity[last + 1 :]))
    widths = np.concatenate(([on_line], specificity[last + 1 :]))
    return float(np.diff(heights) @ (widths[1:] + widths[:-1]) / 2)


def partial_auc_interval(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    least_sensitivity: float = LEAST_SENSITIVITY,
    groups: Groups = None,
    seed: int = 0,
) -> Interval:
    """`partial_auc` with its 95 % interval by `bootstrap_interval`.

    Args:
        groups: one number an image; images of one number depend on each other.
        seed: of the draws.
    Raises: see `partial_auc`; DataError: as many groups as images are not given.
    """

    def score(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> float:
        return partial_auc(labels, logits, least_sensitivity=least_sensitivity)

    score(labels, logits)  # refuses what has none
    return bootstrap_interval(labels, logits, score, groups=groups, seed=seed)


def _share_at_or_above(
    logits: Real[np.ndarray, " image"], lines: Float64[np.ndarray, " threshold"]
) -> Float64[np.ndarray, " threshold"]:
    below: Int64[np.ndarray, " threshold"] = np.searchsorted(np.sort(logits.astype(np.float64)), lines)
    shares: Float64[np.ndarray, " threshold"] = 1 - below / logits.size
    return shares

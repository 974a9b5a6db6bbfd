"""Where to draw the line: thresholds from validation images, and what they do on others. Labels and logits in.

An image is called malignant when its logit >= the threshold; a threshold is the logit of an image, in float64.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer, Real

from lentigo.errors import ConfigError, UndefinedMetricError
from lentigo.evidence.intervals import Groups, Interval, group_index, share_interval
from lentigo.evidence.metrics import Confusion, calls, check_scores, confusion, roc_curve
from lentigo.evidence.predictive_values import check_prevalence, predictive_values

PAPER, YOUDEN = "0.5", "youden"
SENSITIVITIES = (0.90, 0.95, 0.99)

_LEAST_PEOPLE, _LEAST_MALIGNANT = 1000, 10  # of whom a sentence speaks


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A line between benign and malignant, chosen on validation."""

    name: str  # for files and options
    title: str  # for a reader
    logit: float  # at and above it an image is called malignant; NaN where none could be chosen
    reason: str  # why none could be chosen, or what speaks against the one that was; empty without

    def to_dict(self) -> dict[str, Any]:
        """As plain values; `Threshold(**values)` reads them back."""
        return asdict(self)


PAPER_THRESHOLD = Threshold(name=PAPER, title="probability 0.5", logit=0.0, reason="")


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """What a threshold does on one set of images, and what that would mean for people; NaN where undefined."""

    threshold: Threshold
    counts: Confusion
    sensitivity: Interval
    specificity: Interval
    accuracy: Interval
    prevalence: float  # of malignant among the people; stated, not measured
    ppv: Interval  # share of malignant among the called, at that prevalence
    npv: Interval  # share of benign among those not called
    needed_to_biopsy: Interval  # 1 / PPV: how many called lesions hold one malignant one
    people: int  # with one mole each: 1,000, or ten times as many until 10 of the moles are malignant
    malignant_people: float  # of them, with a malignant mole; this and the next two are expected numbers, not rounded
    sent: float  # called malignant
    missed: float  # malignant and not called

    def to_dict(self) -> dict[str, Any]:
        """As plain values; NaN stays NaN."""
        return asdict(self)


def choose_thresholds(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    sensitivities: Sequence[float] = SENSITIVITIES,
) -> tuple[Threshold, ...]:
    """The paper's probability of 0.5, Youden's threshold, and one for each sensitivity. On validation, never on test.

    Youden's has the largest sensitivity + specificity - 1, of equal ones the highest. That for a sensitivity is the
    largest logit at or above which at least this share of the malignant images lies.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        sensitivities: each in (0, 1].
    Returns: a threshold has no logit, and says why, where a class that it needs is absent, no line does better than
        chance (Youden), or it falls on an infinite logit.
    Raises:
        DataError: see `metrics.check_scores`.
        ConfigError: a sensitivity is out of range.
    Source: Youden 1950, Cancer 3(1):32-35, doi:10.1002/1097-0142(1950)3:1<32::AID-CNCR2820030106>3.0.CO;2-3.
    """
    check_scores(labels, logits)
    for sensitivity in sensitivities:
        if not 0 < sensitivity <= 1:
            raise ConfigError(f"a sensitivity is {sensitivity}, not in (0, 1]; try 0.95")
    falling = np.sort(logits[labels == 1].astype(np.float64))[::-1]
    return (PAPER_THRESHOLD, _youden(labels, logits), *(_at_sensitivity(falling, wanted) for wanted in sensitivities))


def operating_point(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    threshold: Threshold,
    *,
    prevalence: float = 0.01,
    groups: Groups = None,
) -> OperatingPoint:
    """What a threshold does on these images, with 95 % intervals.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        threshold: chosen on other images.
        prevalence: of malignant among the people of whom the predictive values and `sentence` speak, in (0, 1).
        groups: one number an image; images of one number depend on each other.
    Raises:
        DataError: see `metrics.check_scores`; or as many groups as images are not given.
        ConfigError: the prevalence is out of range.
        UndefinedMetricError: the threshold has no logit.
    Source: intervals: `share_interval`, `predictive_values`.
    """
    check_scores(labels, logits)
    check_prevalence(prevalence)
    if math.isnan(threshold.logit):
        raise UndefinedMetricError(f"there is no threshold for {threshold.title}: {threshold.reason}")
    group = group_index(groups, labels.size)
    malignant, called = labels == 1, calls(logits, threshold.logit)
    sensitivity = share_interval(called[malignant], groups=group[malignant])
    specificity = share_interval(~called[~malignant], groups=group[~malignant])
    values = predictive_values(labels, called, prevalence=prevalence, groups=group)
    people = _people(prevalence)
    ill = people * prevalence
    return OperatingPoint(
        threshold=threshold,
        counts=confusion(labels, logits, threshold_logit=threshold.logit),
        sensitivity=sensitivity,
        specificity=specificity,
        accuracy=share_interval(called == malignant, groups=group),
        prevalence=prevalence,
        ppv=values.ppv,
        npv=values.npv,
        needed_to_biopsy=values.needed_to_biopsy,
        people=people,
        malignant_people=ill,
        sent=sensitivity.value * ill + (1 - specificity.value) * (people - ill),
        missed=(1 - sensitivity.value) * ill,
    )


def sentence(point: OperatingPoint) -> str:
    """What the threshold would do to people with one mole each, in plain words and whole numbers that add up."""
    ill = round(point.malignant_people)
    of_whom = f"Of {point.people:,} people with {_count(ill, 'malignant mole')}"
    if math.isnan(point.sent):
        lacking = "malignant" if math.isnan(point.sensitivity.value) else "benign"
        return f"{of_whom}, it cannot be said how many it would send to the doctor: there is no {lacking} image."
    missed = round(point.missed)
    alarms = (1 - point.specificity.value) * (point.people - point.malignant_people)
    sent = ill - missed + round(alarms)
    misses = _roughly(point.missed)
    if not sent:
        nobody = "nobody" if not point.sent else "fewer than 1"
        return f"{of_whom}, it would send {nobody} to the doctor and miss {misses}."
    for_nothing = f"{_roughly(alarms)} of them for nothing"
    return f"{of_whom}, it would send {sent:,} to the doctor, {for_nothing}, and miss {misses}."


def _youden(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> Threshold:
    def threshold(logit: float, reason: str = "") -> Threshold:
        return _named(YOUDEN, "Youden's", logit, reason)

    n_malignant = int(np.count_nonzero(labels))
    n_benign = labels.size - n_malignant
    if not (n_malignant and n_benign):
        return threshold(math.nan, f"it needs both classes, got {n_malignant} malignant and {n_benign} benign images")
    curve = roc_curve(labels, logits)
    # In whole numbers, so that equal ones are equal; the first point is that of no image.
    found = np.rint(curve.true_positive_rate[1:] * n_malignant).astype(np.int64)
    alarms = np.rint(curve.false_positive_rate[1:] * n_benign).astype(np.int64)
    gain = found * n_benign - alarms * n_malignant
    best = int(gain.argmax())
    if gain[best] <= 0:
        return threshold(math.nan, "no line through these logits does better than chance")
    return threshold(float(curve.threshold_logit[1:][best]))


def _at_sensitivity(falling: Float64[np.ndarray, " malignant"], wanted: float) -> Threshold:
    """The logit of the malignant image with which the wanted share of them, given by falling logit, is reached."""
    shown = f"{wanted:.2f}" if float(f"{wanted:.2f}") == wanted else repr(float(wanted))
    name, title = f"sensitivity_{shown}", f"sensitivity {shown}"
    n = falling.size
    if not n:
        return _named(name, title, math.nan, "it needs malignant images, got none")
    # As shares, for a product such as 0.07 * 100 may lie above the whole number that it is.
    place = int(np.argmax(np.arange(1, n + 1) / n >= wanted))
    reason = ""
    if place == n - 1 and wanted < 1:
        reason = f"of {n} malignant images it takes all to reach {shown}; the lowest of them alone decides"
    return _named(name, title, float(falling[place]), reason)


def _named(name: str, title: str, logit: float, reason: str) -> Threshold:
    if math.isinf(logit):
        logit, reason = math.nan, "it falls on an infinite logit, which draws no line"
    return Threshold(name=name, title=title, logit=logit, reason=reason)


def _people(prevalence: float) -> int:
    people = _LEAST_PEOPLE
    while _LEAST_MALIGNANT / people > prevalence:
        people *= 10
    return people


def _roughly(number: float) -> str:
    """As a whole number; words where that is 0."""
    if round(number):
        return f"{round(number):,}"
    return "fewer than 1" if number else "none"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

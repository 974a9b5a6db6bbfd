"""What is said of one classifier on one set of images, from arrays: scores, calibration, calls, subgroups."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int64, Integer, Real

from lentigo.errors import UndefinedMetricError
from lentigo.evidence.bootstrap import score_intervals
from lentigo.evidence.calibration import Calibration, assess_calibration
from lentigo.evidence.decisions import Decisions
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.evidence.metrics import check_scores
from lentigo.evidence.net_benefit import DecisionCurve, decision_curve, partial_auc_interval
from lentigo.evidence.operating_points import OperatingPoint, operating_point
from lentigo.evidence.subgroups import Subgroups, subgroup_scores

PREVALENCE = 0.01  # of malignant among those who are screened; stated, not measured
# Probabilities at which a person would have a mole removed: from one malignant in 200 to one in five.
_THRESHOLDS = np.geomspace(0.005, 0.2, 40)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What is known of the images besides their labels; one name an image, empty where it is not known."""

    names: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by column: source, age band, sex ...
    orders: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by column: its names as a reader wants them
    groups: Int64[np.ndarray, " image"] | None = None  # images of one number depend on each other; None: none do


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """One classifier on one set of images. Intervals are of 95 %; what is undefined is NaN."""

    n: int
    n_malignant: int
    scores: Mapping[str, Interval]  # of REPORTED_SCORES, at a probability of 0.5 where one is needed
    partial_auc: Interval  # above a sensitivity of 0.80, in [0, 0.2]
    decisions: Decisions
    before: Calibration | None  # of the probabilities as the network gives them; None: not looked at
    after: Calibration | None  # at the temperature chosen on validation; None: there is none
    points: tuple[OperatingPoint, ...]  # at the thresholds chosen on validation
    curve: DecisionCurve | None  # None: one class is absent, or the share of malignant in validation is not known
    subgroups: tuple[Subgroups, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return {
            "n": self.n,
            "n_malignant": self.n_malignant,
            "scores": {name: asdict(interval) for name, interval in self.scores.items()},
            "partial_auc": asdict(self.partial_auc),
            "decisions": self.decisions.to_dict(),
            "calibration": {
                "before": None if self.before is None else self.before.to_dict(),
                "after": None if self.after is None else self.after.to_dict(),
            },
            "operating_points": [point.to_dict() for point in self.points],
            "decision_curve": None if self.curve is None else self.curve.to_dict(),
            "subgroups": [subgroups.to_dict() for subgroups in self.subgroups],
        }


def assess(
    labels: Integer[np.ndarray, " image"],
    logits: Real[np.ndarray, " image"],
    *,
    decisions: Decisions,
    columns: Columns | None = None,
    prevalence: float = PREVALENCE,
    seed: int = 0,
) -> Assessment:
    """All scores of one classifier on one set of images.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
        decisions: chosen on other images.
        prevalence: of malignant among those who would be screened, in (0, 1); predictive values are for it.
        seed: of the bootstrap.
    Raises:
        DataError: see `metrics.check_scores`.
        ConfigError: the prevalence is out of range.
    """
    check_scores(labels, logits)
    columns = columns or Columns()
    groups, n_malignant = columns.groups, int((labels == 1).sum())
    both = 0 < n_malignant < labels.size
    calibrated = decisions.calibrated(logits)
    scaled = not math.isnan(decisions.temperature)
    return Assessment(
        n=labels.size,
        n_malignant=n_malignant,
        scores=score_intervals(labels, logits, groups=groups, seed=seed),
        partial_auc=partial_auc_interval(labels, logits, groups=groups, seed=seed) if both else UNDEFINED,
        decisions=decisions,
        before=assess_calibration(labels, logits, groups=groups, seed=seed),
        after=assess_calibration(labels, calibrated, groups=groups, seed=seed) if scaled else None,
        points=tuple(
            operating_point(labels, logits, threshold, prevalence=prevalence, groups=groups)
            for threshold in decisions.thresholds
            if not math.isnan(threshold.logit)
        ),
        curve=_curve(labels, calibrated, decisions, prevalence) if both else None,
        subgroups=tuple(
            subgroup_scores(
                labels, logits, names, column=column, groups=groups, order=columns.orders.get(column, ())
            )
            for column, names in columns.names.items()
        ),
    )  # fmt: skip


def _curve(
    labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"], decisions: Decisions, prevalence: float
) -> DecisionCurve | None:
    if not 0 < decisions.malignant_share < 1:
        return None
    try:
        return decision_curve(
            labels, logits, _THRESHOLDS, prevalence=prevalence, fitted_prevalence=decisions.malignant_share
        )
    except UndefinedMetricError:
        return None

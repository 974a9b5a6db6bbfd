"""What is decided on validation images and carried to all others unchanged: a temperature and thresholds."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Integer, Real

from lentigo.errors import DataError, UndefinedMetricError
from lentigo.evidence.metrics import check_scores
from lentigo.evidence.operating_points import PAPER_THRESHOLD, Threshold, choose_thresholds
from lentigo.evidence.recalibration import fit_temperature


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """How logits become probabilities and calls."""

    temperature: float  # probability = sigmoid(logit / temperature); NaN where none could be fitted
    reason: str  # why there is no temperature; empty where there is one
    thresholds: tuple[Threshold, ...]  # on the logit as the network gives it; the first is a probability of 0.5
    malignant_share: float  # among the images decided on: what the calibrated probabilities take for granted
    n: int  # images decided on
    n_malignant: int

    def calibrated(self, logits: Real[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
        """The logits over the temperature; as they are where there is none."""
        scale = 1.0 if math.isnan(self.temperature) else self.temperature
        return logits.astype(np.float64) / scale

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values; `from_dict` reads them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, file: str = "decisions.json") -> "Decisions":
        """Read back what `to_dict` gave; null is a number that is not defined.

        Args:
            file: where the values stand, for a refusal to name.
        Raises: DataError: a value is missing, or is no number where one is needed.
        """
        try:
            return cls(
                temperature=_number(values["temperature"]),
                reason=str(values["reason"]),
                thresholds=tuple(
                    Threshold(name=t["name"], title=t["title"], logit=_number(t["logit"]), reason=t["reason"])
                    for t in values["thresholds"]
                ),
                malignant_share=_number(values["malignant_share"]),
                n=int(values["n"]),
                n_malignant=int(values["n_malignant"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{file} is damaged ({error!r}); evaluate the run again") from error


def decide(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"]) -> Decisions:
    """Temperature and thresholds from validation images, never from those that are scored.

    Args:
        labels: 1 = malignant, 0 = benign.
        logits: higher = more malignant.
    Raises: DataError: see `metrics.check_scores`.
    """
    check_scores(labels, logits)
    temperature, reason = math.nan, ""
    try:
        temperature = fit_temperature(labels, logits)
    except UndefinedMetricError as error:
        reason = str(error)
    n_malignant = int((labels == 1).sum())
    return Decisions(
        temperature=temperature,
        reason=reason,
        thresholds=choose_thresholds(labels, logits),
        malignant_share=n_malignant / labels.size,
        n=labels.size,
        n_malignant=n_malignant,
    )


def undecided(reason: str) -> Decisions:
    """Where there are no validation images: the threshold of the paper alone, no temperature."""
    return Decisions(
        temperature=math.nan, reason=reason, thresholds=(PAPER_THRESHOLD,), malignant_share=math.nan, n=0, n_malignant=0
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)

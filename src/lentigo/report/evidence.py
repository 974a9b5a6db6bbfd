"""What the report holds as evidence beside the networks' own results: plain values, made of arrays by `evidence_of`."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

from lentigo.errors import DataError
from lentigo.evidence.assessment import PREVALENCE, Assessment, Columns, assess
from lentigo.evidence.comparison import PairComparison, compare_pairs
from lentigo.evidence.decisions import Decisions
from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.evidence.stress import StressResult


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """One classifier's logits on the images that are compared, and what it decides by."""

    title: str
    logits: Float[np.ndarray, " image"]
    decisions: Decisions


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """The scores of one network trained several times, with nothing but the seed changed."""

    seeds: tuple[int, ...]
    scores: Mapping[str, tuple[float, ...]]  # by score, one value a seed

    def mean(self, score: str) -> float:
        """Mean over the trainings; NaN where one of them has no value."""
        return statistics.fmean(self.scores[score])

    def deviation(self, score: str) -> float:
        """Standard deviation over the trainings, with n - 1 below the line; NaN where one of them has no value."""
        values = self.scores[score]
        return math.nan if any(map(math.isnan, values)) else statistics.stdev(values)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        spread = {key: {"mean": self.mean(key), "standard_deviation": self.deviation(key)} for key in self.scores}
        return {"seeds": list(self.seeds), "scores": {key: list(v) for key, v in self.scores.items()}, "spread": spread}


@dataclass(frozen=True, kw_only=True)
class ExternalSet:
    """Images of another place, scored by the same networks with the same decisions."""

    name: str
    data: str  # name of the data set
    n: int  # before copies were left out
    left_out: Mapping[str, tuple[int, int]]  # by model: copies of images that it has seen, benign and malignant
    of_test: Mapping[str, int]  # by model: copies of its own test images, which are scored again
    unchecked: Mapping[str, str]  # by model: why no copies were looked for; empty where they were
    assessments: Mapping[str, Assessment]  # by model

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return {
            "data": self.data,
            "images": self.n,
            "left_out": {
                name: {"benign": benign, "malignant": malignant}
                for name, (benign, malignant) in self.left_out.items()
            },
            "copies_of_test_images": dict(self.of_test),
            "unchecked": dict(self.unchecked),
            "models": {name: assessment.to_dict() for name, assessment in self.assessments.items()},
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stressed:
    """A network's stress test."""

    ids: tuple[str, ...]  # of the images
    seed: int
    result: StressResult

    @property
    def images(self) -> int:
        return len(self.ids)

    @property
    def test(self) -> tuple[tuple[str, ...], int, tuple[str, ...]]:
        """What was tested: only networks for which it is the same can be ranked."""
        return self.ids, self.seed, tuple(self.result.by_change)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Intervals, tests, calibration, calls, subgroups, other data and changed images, for each network."""

    prevalence: float
    titles: Mapping[str, str]  # by model
    assessments: Mapping[str, Assessment]  # by model, on the test images
    pairs: tuple[PairComparison, ...]
    grouped: bool  # images of one lesion or patient are known, and the intervals heed them
    tones_estimated: bool  # the subgroups of skin tone are by the images' own colours
    repeats: Mapping[str, Repeats] = field(default_factory=dict)  # by model; none with a single seed
    externals: tuple[ExternalSet, ...] = ()
    stress: Mapping[str, Stressed] = field(default_factory=dict)  # by model; of those that were tested

    def to_dict(self) -> dict[str, Any]:
        """The content of evidence.json."""
        return {
            "prevalence": self.prevalence,
            "grouped": self.grouped,
            "skin_tone_estimated": self.tones_estimated,
            "models": {name: assessment.to_dict() for name, assessment in self.assessments.items()},
            "pairs": [pair.to_dict() for pair in self.pairs],
            "seeds": {name: repeats.to_dict() for name, repeats in self.repeats.items()},
            "external": {external.name: external.to_dict() for external in self.externals},
            "stress": {
                name: {"images": stressed.images, "result": stressed.result.to_dict()}
                for name, stressed in self.stress.items()
            },
        }


def evidence_of(
    labels: Int64[np.ndarray, " image"],
    models: Mapping[str, Scored],
    columns: Columns,
    *,
    prevalence: float = PREVALENCE,
    tones_estimated: bool = False,
    seed: int = 0,
    repeats: Mapping[str, Repeats] | None = None,
    externals: tuple[ExternalSet, ...] = (),
    stress: Mapping[str, Stressed] | None = None,
) -> Evidence:
    """All evidence on the same images.

    Args:
        models: by name, in the order of the report.
    Raises:
        DataError: no model, or see `metrics.check_scores`.
        ConfigError: the prevalence is out of range.
    """
    if not models:
        raise DataError("there is no model to assess; give the predictions of one or more")
    groups = columns.groups
    return Evidence(
        prevalence=prevalence,
        titles={name: model.title for name, model in models.items()},
        assessments={
            name: assess(
                labels, model.logits, decisions=model.decisions, columns=columns, prevalence=prevalence, seed=seed
            )
            for name, model in models.items()
        },
        pairs=compare_pairs(labels, {name: m.logits for name, m in models.items()}, groups=groups, seed=seed),
        grouped=groups is not None and np.unique(groups).size < groups.size,
        tones_estimated=tones_estimated,
        repeats=repeats or {},
        externals=externals,
        stress=stress or {},
    )  # fmt: skip


def repeats_of(runs: Mapping[int, Mapping[str, float | int]]) -> Repeats:
    """The scores of the trainings of one network, by seed."""
    return Repeats(
        seeds=tuple(runs),
        scores={key: tuple(float(scores[key]) for scores in runs.values()) for key in REPORTED_SCORES},
    )

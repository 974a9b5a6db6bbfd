"""All that is said of one classifier: each part is what its own function says, and none crashes where it has none."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lentigo.errors import ConfigError, DataError
from lentigo.evidence.assessment import PREVALENCE, Assessment, Columns, assess
from lentigo.evidence.bootstrap import score_intervals
from lentigo.evidence.calibration import assess_calibration
from lentigo.evidence.decisions import Decisions, decide, undecided
from lentigo.evidence.intervals import UNDEFINED
from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.evidence.net_benefit import decision_curve, partial_auc_interval
from lentigo.evidence.operating_points import operating_point
from lentigo.evidence.subgroups import subgroup_scores
from lentigo.files import read_json, write_json

relaxed = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def images(n: int, seed: int, *, apart: float = 1.5) -> tuple[np.ndarray, np.ndarray]:
    """Both classes in every run, and logits that overlap."""
    rng = np.random.default_rng(seed)
    labels = rng.permuted(np.arange(n) % 2)
    return labels, rng.normal(apart * (2 * labels - 1), 2).astype(np.float32)


def columns_for(n: int, seed: int) -> Columns:
    rng = np.random.default_rng(seed)
    return Columns(
        names={"Sex": rng.choice(["male", "female", ""], n).tolist(), "Age": rng.choice(["old", "young"], n).tolist()},
        orders={"Age": ["young", "old"]},
        groups=rng.integers(max(2 * n // 3, 1), size=n),
    )


DECISIONS = decide(*images(60, 1))
LABELS, LOGITS = images(80, 2)
COLUMNS = columns_for(80, 3)


@pytest.fixture(scope="module")
def found() -> Assessment:
    return assess(LABELS, LOGITS, decisions=DECISIONS, columns=COLUMNS, prevalence=0.02, seed=4)


def told(value: Any) -> str:
    """For comparing what may hold NaN and arrays."""
    return repr(value.to_dict() if hasattr(value, "to_dict") else value)


# ---------------------------------------------------------------- the parts


def test_each_part_is_what_its_function_gives(found: Assessment) -> None:
    groups, options = COLUMNS.groups, {"groups": COLUMNS.groups, "seed": 4}
    assert (found.n, found.n_malignant, found.decisions) == (80, 40, DECISIONS)
    assert found.scores == score_intervals(LABELS, LOGITS, **options)
    assert tuple(found.scores) == REPORTED_SCORES
    assert found.partial_auc == partial_auc_interval(LABELS, LOGITS, **options)
    assert found.before == assess_calibration(LABELS, LOGITS, **options)
    scaled = LOGITS.astype(np.float64) / DECISIONS.temperature
    assert found.after == assess_calibration(LABELS, scaled, **options)
    assert found.after != found.before
    assert found.points == tuple(
        operating_point(LABELS, LOGITS, threshold, prevalence=0.02, groups=groups) for threshold in DECISIONS.thresholds
    )
    assert found.curve is not None
    curve = decision_curve(
        LABELS, scaled, found.curve.threshold, prevalence=0.02, fitted_prevalence=DECISIONS.malignant_share
    )
    assert told(found.curve) == told(curve)
    assert (found.curve.threshold.min(), found.curve.threshold.max()) == pytest.approx((0.005, 0.2))
    assert found.subgroups == (
        subgroup_scores(LABELS, LOGITS, COLUMNS.names["Sex"], column="Sex", groups=groups),
        subgroup_scores(LABELS, LOGITS, COLUMNS.names["Age"], column="Age", groups=groups, order=["young", "old"]),
    )


def test_subgroups_stand_in_the_order_that_was_asked_for(found: Assessment) -> None:
    assert [subgroups.column for subgroups in found.subgroups] == ["Sex", "Age"]
    assert [score.name for score in found.subgroups[0].scores] == ["female", "male"]
    assert [score.name for score in found.subgroups[1].scores] == ["young", "old"]
    assert found.subgroups[0].unknown == COLUMNS.names["Sex"].count("")


def test_groups_widen_and_the_seed_moves_only_what_is_drawn(found: Assessment) -> None:
    alone = assess(LABELS, LOGITS, decisions=DECISIONS, prevalence=0.02, seed=4)
    assert alone.scores["auc"].value == found.scores["auc"].value
    assert alone.scores["auc"] != found.scores["auc"]
    assert alone.subgroups == ()
    other = assess(LABELS, LOGITS, decisions=DECISIONS, prevalence=0.02, seed=5)
    drawn = {key for key in alone.scores if other.scores[key] != alone.scores[key]}
    assert drawn == {"f1"}
    assert other.partial_auc.value == alone.partial_auc.value
    assert other.points == alone.points


def test_the_default_prevalence_is_one_in_a_hundred() -> None:
    point = assess(LABELS, LOGITS, decisions=DECISIONS).points[0]
    assert point.prevalence == PREVALENCE == 0.01


@pytest.mark.parametrize("prevalence", [0.0, 1.0, math.nan])
def test_a_prevalence_out_of_range_is_refused(prevalence: float) -> None:
    with pytest.raises(ConfigError, match="prevalence"):
        assess(LABELS, LOGITS, decisions=DECISIONS, prevalence=prevalence)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(DataError, match="is NaN"):
        assess(LABELS, np.full(80, math.nan), decisions=DECISIONS)
    with pytest.raises(DataError, match="names of subgroups for 80 images"):
        assess(LABELS, LOGITS, decisions=DECISIONS, columns=Columns(names={"Sex": ["male"]}))


@relaxed
@given(st.integers(0, 2**32 - 1), st.integers(6, 40))
def test_the_order_of_the_images_changes_only_what_is_drawn(seed: int, n: int) -> None:
    labels, logits = images(n, seed)
    logits = logits.round()  # ties
    order = np.random.default_rng(seed + 1).permutation(n)
    columns = columns_for(n, seed)
    assert columns.groups is not None
    turned = Columns(
        names={key: [names[place] for place in order] for key, names in columns.names.items()},
        orders=columns.orders,
        groups=columns.groups[order],
    )
    one, other = (
        without_draws(assess(labels[rows], logits[rows], decisions=DECISIONS, columns=given).to_dict())
        for rows, given in ((np.arange(n), columns), (order, turned))
    )
    assert_close(one, other)


def without_draws(values: dict[str, Any]) -> dict[str, Any]:
    """Less the bounds that come from drawing the images again, which begins at the first of them."""
    values["scores"]["f1"] = values["scores"]["f1"]["value"]
    values["partial_auc"] = values["partial_auc"]["value"]
    for calibration in values["calibration"].values():
        calibration["brier"] = calibration["brier"]["value"]
    return values


def assert_close(one: Any, other: Any, where: str = "") -> None:
    """Equal but for the rounding of sums of another order; NaN equals NaN."""
    if isinstance(one, Mapping):
        assert list(one) == list(other), where
        for key in one:
            assert_close(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_close(a, b, f"{where}[{index}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-7, abs=1e-9, nan_ok=True), where
    else:
        assert one == other, where


# ---------------------------------------------------------------- where something is not there


def with_thresholds(*logits: float) -> Decisions:
    made = zip(DECISIONS.thresholds, logits, strict=False)
    return replace(DECISIONS, thresholds=tuple(replace(t, logit=logit, reason="r") for t, logit in made))


def test_a_threshold_that_was_not_found_has_no_point() -> None:
    found = assess(LABELS, LOGITS, decisions=with_thresholds(0.0, math.nan, 1.5, math.nan))
    assert [point.threshold.logit for point in found.points] == [0.0, 1.5]
    assert [point.threshold.name for point in found.points] == ["0.5", "sensitivity_0.90"]
    assert len(found.decisions.thresholds) == 4
    assert assess(LABELS, LOGITS, decisions=with_thresholds(math.nan)).points == ()


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("n", [1, 5])
def test_images_of_one_class(label: int, n: int) -> None:
    labels, logits = np.full(n, label), np.linspace(-1, 3, n)
    found = assess(labels, logits, decisions=DECISIONS, columns=columns_for(n, 0))
    assert (found.n, found.n_malignant) == (n, n * label)
    for interval in (found.scores["auc"], found.partial_auc):
        assert told(interval) == told(UNDEFINED)
    assert found.curve is None
    absent, there = ("recall", "specificity") if label == 0 else ("specificity", "recall")
    assert math.isnan(found.scores[absent].value)
    assert 0 <= found.scores[there].low <= found.scores[there].value <= found.scores[there].high <= 1
    assert len(found.points) == 5
    for point in found.points:
        assert math.isnan(point.sensitivity.value) is (label == 0)
        assert math.isnan(point.specificity.value) is (label == 1)
        assert math.isnan(point.sent)
    assert found.before is not None
    assert "both classes are needed" in found.before.reason
    json.dumps(found.to_dict())


def test_without_validation_there_is_one_point_no_curve_and_nothing_after() -> None:
    found = assess(LABELS, LOGITS, decisions=undecided("none"))
    assert found.after is None
    assert found.curve is None
    assert [point.threshold.name for point in found.points] == ["0.5"]


@pytest.mark.parametrize("n_malignant", [0, 60])
def test_a_validation_of_one_class_has_no_curve(n_malignant: int) -> None:
    decisions = decide(np.full(60, n_malignant // 60), images(60, 1)[1])
    found = assess(LABELS, LOGITS, decisions=decisions)
    assert found.curve is None
    assert found.after is None


def test_infinite_logits_have_scores_and_a_reason_for_what_they_have_not() -> None:
    """As the probabilities 0 and 1 of another program become them."""
    logits = LOGITS.copy()
    logits[:5], logits[5:9] = np.inf, -np.inf
    found = assess(LABELS, logits, decisions=DECISIONS, columns=COLUMNS)
    assert 0 < found.scores["auc"].low < found.scores["auc"].value < found.scores["auc"].high < 1
    finite = np.clip(logits, -1e6, 1e6)
    assert found.scores == assess(LABELS, finite, decisions=DECISIONS, columns=COLUMNS).scores
    for calibration in (found.before, found.after):
        assert calibration is not None
        assert math.isnan(calibration.slope.value)
        assert calibration.reason == "9 of 80 logits are infinite, which no scaling changes"
    assert found.curve is not None
    assert np.isfinite(found.curve.model).all()
    assert len(found.points) == 5


# ---------------------------------------------------------------- as values


def test_values_are_complete_and_safe_for_json(found: Assessment, tmp_path: Any) -> None:
    values = found.to_dict()
    calibration = {"before", "after"}
    renamed = {"points": "operating_points", "curve": "decision_curve"}
    names = {renamed.get(item.name, item.name) for item in fields(Assessment)} - calibration | {"calibration"}
    assert set(values) == names
    assert set(values["calibration"]) == calibration
    assert values["n"] == 80
    assert values["scores"]["auc"]["low"] == found.scores["auc"].low
    assert len(values["operating_points"]) == len(found.points) == 5
    assert len(values["decision_curve"]["model"]) == 40
    assert [part["column"] for part in values["subgroups"]] == ["Sex", "Age"]
    write_json(tmp_path / "evidence.json", values)
    read = read_json(tmp_path / "evidence.json")
    assert_close(read, json.loads(json.dumps(values).replace("NaN", "null").replace("Infinity", "null")))
    assert repr(Decisions.from_dict(read["decisions"])) == repr(DECISIONS)


def test_what_is_not_there_is_null(tmp_path: Any) -> None:
    values = assess(np.array([1, 1]), np.array([0.0, 2.0]), decisions=undecided("none")).to_dict()
    write_json(tmp_path / "evidence.json", values)
    read = read_json(tmp_path / "evidence.json")
    assert read["decision_curve"] is None
    assert read["calibration"]["after"] is None
    assert read["scores"]["auc"] == {"value": None, "low": None, "high": None}
    assert read["subgroups"] == []
    assert read["decisions"]["reason"] == "none"

"""What is decided on validation images: by hand, against the functions that decide, and to a file and back."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from lentigo.errors import DataError, UndefinedMetricError
from lentigo.evidence.decisions import Decisions, decide, undecided
from lentigo.evidence.operating_points import PAPER_THRESHOLD, choose_thresholds
from lentigo.evidence.recalibration import fit_temperature
from lentigo.files import read_json, write_json

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Three of four images are on the right side of 0, all equally far: 3 / 4 is the best probability, and 4 / T = log 3.
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0])
LOGITS = np.array([4.0, 4.0, 4.0, -4.0, -4.0, -4.0, -4.0, 4.0])


def written_and_read(decisions: Decisions, folder: Path) -> Decisions:
    write_json(folder / "decisions.json", decisions.to_dict())
    return Decisions.from_dict(read_json(folder / "decisions.json"))


def same(one: Decisions, other: Decisions) -> bool:
    """Equal, with NaN equal to NaN."""
    return repr(one) == repr(other)


def test_decided_by_hand() -> None:
    found = decide(LABELS, LOGITS)
    assert found.temperature == pytest.approx(4 / math.log(3), rel=1e-12)
    assert found.reason == ""
    assert (found.malignant_share, found.n, found.n_malignant) == (0.5, 8, 4)
    # Youden: at 4 it is 3/4 - 1/4, at -4 it is 1 - 1. A sensitivity of 0.90 takes all four.
    assert [threshold.logit for threshold in found.thresholds] == [0, 4, -4, -4, -4]
    assert [threshold.name for threshold in found.thresholds] == [
        "0.5", "youden", "sensitivity_0.90", "sensitivity_0.95", "sensitivity_0.99"
    ]  # fmt: skip
    assert decide(LABELS[:7], LOGITS[:7]).malignant_share == 4 / 7


@relaxed
@given(st.integers(0, 2**32 - 1), st.integers(4, 60))
def test_decided_by_the_functions_that_do_it_alone(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=n)
    logits = rng.normal(labels, 2).astype(np.float32).round(1)
    found = decide(labels, logits)
    assert repr(found.thresholds) == repr(choose_thresholds(labels, logits))
    temperature, reason = math.nan, ""
    try:
        temperature = fit_temperature(labels, logits)
    except UndefinedMetricError as error:
        reason = str(error)
    assert (repr(found.temperature), found.reason) == (repr(temperature), reason)


def test_one_class_has_the_paper_s_threshold_and_reasons() -> None:
    found = decide(np.array([0, 0, 0]), np.array([-1.0, 0.5, -3.0]))
    assert math.isnan(found.temperature)
    assert "both classes are needed, got 0 malignant and 3 benign images" in found.reason
    assert (found.malignant_share, found.n, found.n_malignant) == (0.0, 3, 0)
    assert found.thresholds[0] == PAPER_THRESHOLD
    for threshold in found.thresholds[1:]:
        assert math.isnan(threshold.logit)
        assert threshold.reason.startswith("it needs ")


def test_separated_validation_has_thresholds_but_no_temperature() -> None:
    found = decide(np.array([0, 0, 1, 1]), np.array([-2.0, -1.0, 1.0, 2.0]))
    assert math.isnan(found.temperature)
    assert "no image is on the wrong side of 0" in found.reason
    assert [threshold.logit for threshold in found.thresholds] == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("logits", "message"),
    [([0.0] * 4, "all logits are 0"), ([math.inf, 1, -1, 0], "1 of 4 logits are infinite"), ([3.0, 4, 1, 2], "a coin")],
)
def test_logits_that_no_temperature_fits_are_told(logits: list[float], message: str) -> None:
    found = decide(np.array([0, 0, 1, 1]), np.array(logits))
    assert math.isnan(found.temperature)
    assert message in found.reason


def test_logits_that_cannot_be_scored_are_refused() -> None:
    with pytest.raises(DataError, match="is NaN"):
        decide(np.array([0, 1]), np.array([0.0, math.nan]))
    with pytest.raises(DataError, match="there are no images to score"):
        decide(np.array([], dtype=np.int64), np.array([]))


def test_calibrated_is_the_logit_over_the_temperature() -> None:
    found = decide(LABELS, LOGITS)
    np.testing.assert_allclose(found.calibrated(LOGITS) / math.log(3), np.sign(LOGITS), rtol=1e-12)
    infinite = np.array([np.inf, -np.inf, 0], dtype=np.float32)
    np.testing.assert_array_equal(found.calibrated(infinite), infinite)
    # In float64, where a float32 would be off in the 8th digit.
    logits = np.array([0.1, 7.3], dtype=np.float32)
    np.testing.assert_allclose(found.calibrated(logits), logits.astype(np.float64) / found.temperature, rtol=1e-15)


def test_undecided_leaves_logits_and_has_one_threshold() -> None:
    found = undecided("nothing was kept for validation")
    assert found.thresholds == (PAPER_THRESHOLD,)
    assert (found.n, found.n_malignant, found.reason) == (0, 0, "nothing was kept for validation")
    assert math.isnan(found.temperature)
    assert math.isnan(found.malignant_share)
    logits = np.array([1, -2, 3], dtype=np.float32)
    np.testing.assert_array_equal(found.calibrated(logits), logits)
    assert found.calibrated(logits).dtype == np.float64


# ---------------------------------------------------------------- to a file and back


@relaxed
@given(
    stn.arrays(np.int64, 12, elements=st.integers(0, 1)),
    stn.arrays(np.float32, 12, elements=st.floats(-50, 50, width=32)),
)
def test_a_file_gives_back_every_digit(tmp_path_factory: Any, labels: np.ndarray, logits: np.ndarray) -> None:
    found = decide(labels, logits)
    read = written_and_read(found, tmp_path_factory.getbasetemp())
    assert same(read, found)
    np.testing.assert_array_equal(read.calibrated(logits), found.calibrated(logits))


def test_what_is_not_defined_is_null_in_the_file_and_nan_again(tmp_path: Path) -> None:
    for decisions in (undecided("none"), decide(np.array([1, 1]), np.array([0.5, 2.0]))):
        assert same(written_and_read(decisions, tmp_path), decisions)
        assert json.loads((tmp_path / "decisions.json").read_text())["temperature"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": "hot"},
        {"thresholds": None},
        {"thresholds": [{"name": "0.5"}]},
        {"thresholds": [1]},
        {"n": None},
        *({key: ...} for key in ("temperature", "reason", "thresholds", "malignant_share", "n", "n_malignant")),
    ],
    ids=str,
)
def test_damaged_decisions_are_refused(change: dict[str, Any]) -> None:
    values = {key: value for key, value in (decide(LABELS, LOGITS).to_dict() | change).items() if value is not ...}
    with pytest.raises(DataError, match=r"(?s)^run/x\.json is damaged \(.*\); evaluate the run again$"):
        Decisions.from_dict(values, file="run/x.json")

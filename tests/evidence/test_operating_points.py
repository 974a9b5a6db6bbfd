"""Thresholds and what they do, by hand, against tests/reference.py, and by the properties that define them."""

import json
import math
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve as peer_roc_curve

from lentigo.errors import ConfigError, DataError, UndefinedMetricError
from lentigo.evidence.intervals import share_interval
from lentigo.evidence.metrics import confusion
from lentigo.evidence.operating_points import (
    PAPER_THRESHOLD,
    SENSITIVITIES,
    OperatingPoint,
    Threshold,
    choose_thresholds,
    operating_point,
    sentence,
)
from lentigo.evidence.predictive_values import predictive_values
from tests import reference

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# logit     3   1   1   0  -1  -2
# label     1   1   0   0   1   0
LABELS = np.array([1, 1, 0, 0, 1, 0])
LOGITS = np.array([3.0, 1.0, 1.0, 0.0, -1.0, -2.0])


@st.composite
def scored_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Both classes, and whole-numbered logits with many ties, some as float32."""
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=30))]
    logits = draw(st.lists(st.integers(-6, 6), min_size=len(labels), max_size=len(labels)))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    return np.array(labels), (np.array(logits) / 10).astype(kind)


def a_point(found: int, missed: int, alarms: int, cleared: int, prevalence: float = 0.01) -> OperatingPoint:
    labels = np.repeat([1, 0], [found + missed, alarms + cleared])
    logits = np.repeat([1.0, -1.0, 1.0, -1.0], [found, missed, alarms, cleared])
    return operating_point(labels, logits, PAPER_THRESHOLD, prevalence=prevalence)


# ---------------------------------------------------------------- thresholds


def test_thresholds_by_hand() -> None:
    found = choose_thresholds(LABELS, LOGITS, sensitivities=(0.3, 0.5, 2 / 3, 0.95, 1.0))
    assert [one.name for one in found] == [
        "0.5",
        "youden",
        "sensitivity_0.30",
        "sensitivity_0.50",
        "sensitivity_0.6666666666666666",
        "sensitivity_0.95",
        "sensitivity_1.00",
    ]
    # Youden, in thirds: at 3 it is 1 - 0, at 1 2 - 1, at -1 3 - 2. All equal: the highest.
    assert [one.logit for one in found] == [0, 3, 3, 1, 1, -1, -1]
    assert [one.title for one in found[:3]] == ["probability 0.5", "Youden's", "sensitivity 0.30"]
    assert found[5].reason == "of 3 malignant images it takes all to reach 0.95; the lowest of them alone decides"
    assert [one.reason for one in (*found[:5], found[6])] == [""] * 6
    assert [one.name for one in choose_thresholds(LABELS, LOGITS)[2:]] == [
        f"sensitivity_{s:.2f}" for s in SENSITIVITIES
    ]
    assert Threshold(**found[1].to_dict()) == found[1]


@relaxed
@given(scored_images(), st.sampled_from([0.07, 0.29, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_thresholds_equal_trying_all(images: tuple[np.ndarray, np.ndarray], wanted: float) -> None:
    labels, logits = images
    _, youden, fixed = choose_thresholds(labels, logits, sensitivities=(wanted,))
    assert fixed.logit == reference.threshold_at_sensitivity(labels, logits, wanted)
    assert youden.logit == pytest.approx(reference.youden_threshold(labels, logits), abs=0, nan_ok=True)
    assert math.isnan(youden.logit) is bool(youden.reason)


@relaxed
@given(scored_images(), st.floats(0.01, 1))
def test_threshold_reaches_the_sensitivity_and_the_next_does_not(
    images: tuple[np.ndarray, np.ndarray], wanted: float
) -> None:
    labels, logits = images
    fixed = choose_thresholds(labels, logits, sensitivities=(wanted,))[-1]
    assert fixed.logit in logits.astype(np.float64)
    assert confusion(labels, logits, threshold_logit=fixed.logit).recall >= wanted
    assert confusion(labels, logits, threshold_logit=np.nextafter(fixed.logit, np.inf)).recall < wanted


@pytest.mark.parametrize("n", [10, 20, 100, 1000])
def test_shares_are_not_lost_to_rounding(n: int) -> None:
    """0.07 * 100 is above 7 in float64; the 7th malignant image still makes 7 %."""
    logits = np.arange(n, 0, -1.0)
    for count in range(1, n + 1):
        wanted = float(f"{count / n:.3f}")
        assert choose_thresholds(np.ones(n, dtype=np.int64), logits, sensitivities=(wanted,))[-1].logit == n + 1 - count


def test_youden_equals_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(2, size=500)
    logits = rng.normal(labels, 1.0)
    false_rate, true_rate, thresholds = peer_roc_curve(labels, logits, drop_intermediate=False)
    assert choose_thresholds(labels, logits)[1].logit == thresholds[np.argmax(true_rate - false_rate)]


@pytest.mark.parametrize(
    ("labels", "logits", "place", "reason"),
    [
        ([1, 1], [0.0, 1.0], 1, "it needs both classes, got 2 malignant and 0 benign images"),
        ([0, 0], [0.0, 1.0], 1, "it needs both classes, got 0 malignant and 2 benign images"),
        ([0, 0], [0.0, 1.0], 2, "it needs malignant images, got none"),
        ([0, 1], [2.0, 2.0], 1, "no line through these logits does better than chance"),
        ([0, 1], [2.0, 1.0], 1, "no line through these logits does better than chance"),
        ([0, 1, 1], [2.0, -np.inf, 3.0], 2, "it falls on an infinite logit, which draws no line"),
        ([0, 1], [2.0, np.inf], 1, "it falls on an infinite logit, which draws no line"),
    ],
)
def test_no_threshold(labels: list[int], logits: list[float], place: int, reason: str) -> None:
    found = choose_thresholds(np.array(labels), np.array(logits), sensitivities=(0.9,))[place]
    assert math.isnan(found.logit)
    assert found.reason == reason
    assert choose_thresholds(np.array(labels), np.array(logits))[0] == PAPER_THRESHOLD
    with pytest.raises(UndefinedMetricError, match=f"there is no threshold for .*: {re.escape(reason)}"):
        operating_point(LABELS, LOGITS, found)


def test_a_sensitivity_needs_no_benign_image_and_one_is_enough() -> None:
    assert choose_thresholds(np.array([1]), np.array([0.25]))[2].logit == 0.25


# ---------------------------------------------------------------- operating points


def test_operating_point_by_hand() -> None:
    found = operating_point(LABELS, LOGITS, PAPER_THRESHOLD, prevalence=0.02)
    assert found.counts == confusion(LABELS, LOGITS)  # TP 2, FP 2, TN 1, FN 1
    assert found.sensitivity == share_interval(np.array([True, True, False]))
    assert found.specificity == share_interval(np.array([False, False, True]))
    assert found.accuracy == share_interval(np.array([True] * 3 + [False] * 3))
    assert (found.people, found.malignant_people) == (1000, 20)
    assert found.missed == pytest.approx(20 / 3)
    assert found.sent == pytest.approx(40 / 3 + 980 * 2 / 3)
    assert found.ppv.value == pytest.approx((40 / 3) / (40 / 3 + 980 * 2 / 3))
    assert found.npv.value == pytest.approx((980 / 3) / (980 / 3 + 20 / 3))
    assert found.needed_to_biopsy.value == pytest.approx(found.sent / (20 - found.missed))
    assert json.loads(json.dumps(found.to_dict()))["counts"]["true_positive"] == 2


def test_threshold_of_float32_logits_calls_its_own_image() -> None:
    logits = np.array([0.1, 0.2, 0.3], dtype=np.float32)
    labels = np.array([1, 0, 1])
    lowest = choose_thresholds(labels, logits)[-1]
    assert lowest.logit == float(logits[0]) != 0.1
    assert operating_point(labels, logits, lowest).sensitivity.value == 1
    above = Threshold(name="x", title="x", logit=float(np.nextafter(lowest.logit, 1)), reason="")
    assert operating_point(labels, logits, above).sensitivity.value == 0.5


def test_groups_reach_every_interval() -> None:
    rng = np.random.default_rng(3)
    labels, logits = np.repeat([1, 0], [60, 120]), np.repeat(rng.normal(size=60), 3)
    groups = np.repeat(np.arange(60), 3)
    found = operating_point(labels, logits, PAPER_THRESHOLD, groups=groups)
    called = logits >= 0
    assert found.sensitivity == share_interval(called[:60], groups=groups[:60])
    assert found.specificity == share_interval(~called[60:], groups=groups[60:])
    assert found.accuracy == share_interval(called == (labels == 1), groups=groups)
    values = predictive_values(labels, called, prevalence=0.01, groups=groups)
    assert (found.ppv, found.npv, found.needed_to_biopsy) == (values.ppv, values.npv, values.needed_to_biopsy)
    alone = operating_point(labels, logits, PAPER_THRESHOLD)
    assert found.ppv.high - found.ppv.low > 1.4 * (alone.ppv.high - alone.ppv.low)


@relaxed
@given(scored_images(), st.integers(-7, 7), st.floats(1e-6, 0.999))
def test_what_is_sent_and_missed_adds_up(images: tuple[np.ndarray, np.ndarray], tenths: int, prevalence: float) -> None:
    labels, logits = images
    threshold = Threshold(name="x", title="x", logit=tenths / 10, reason="")
    found = operating_point(labels, logits, threshold, prevalence=prevalence)
    assert found.counts.to_dict() == reference.counts(labels, logits, tenths / 10)
    assert found.people >= 1000
    assert found.malignant_people >= 10 or found.people == 1000
    assert found.people == 1000 or found.people / 10 * prevalence < 10
    right = found.malignant_people - found.missed
    if found.counts.true_positive + found.counts.false_positive:
        assert found.ppv.value * found.sent == pytest.approx(right, rel=1e-9, abs=1e-9)
    if found.counts.true_negative + found.counts.false_negative:
        left = found.people - found.sent
        assert (1 - found.npv.value) * left == pytest.approx(found.missed, rel=1e-6, abs=1e-6)
    words = sentence(found)
    assert "safe" not in words
    assert words.startswith(f"Of {found.people:,} people with ")


def test_one_class_leaves_the_other_share() -> None:
    benign = operating_point(np.array([0, 0]), np.array([1.0, -1.0]), PAPER_THRESHOLD)
    assert (benign.specificity.value, benign.accuracy.value) == (0.5, 0.5)
    undefined = (benign.sensitivity.value, benign.ppv.value, benign.npv.low, benign.sent, benign.missed)
    assert all(map(math.isnan, undefined))
    assert sentence(benign) == (
        "Of 1,000 people with 10 malignant moles, it cannot be said how many it would send to the doctor: "
        "there is no malignant image."
    )
    malignant = operating_point(np.array([1]), np.array([1.0]), PAPER_THRESHOLD)
    assert malignant.sensitivity.value == 1
    assert "there is no benign image." in sentence(malignant)


def test_refusals() -> None:
    for wanted in (0.0, 1.01, math.nan):
        with pytest.raises(ConfigError, match=r"a sensitivity is .*, not in \(0, 1\]; try 0.95"):
            choose_thresholds(LABELS, LOGITS, sensitivities=(wanted,))
    with pytest.raises(DataError, match="the logit in row 0 is NaN"):
        choose_thresholds(np.array([0, 1]), np.array([np.nan, 1.0]))
    with pytest.raises(ConfigError, match=r"prevalence is 1.0, not in \(0, 1\); try 0.01"):
        operating_point(LABELS, LOGITS, PAPER_THRESHOLD, prevalence=1.0)
    with pytest.raises(DataError, match="there are 2 group numbers for 6 images"):
        operating_point(LABELS, LOGITS, PAPER_THRESHOLD, groups=[1, 2])


# ---------------------------------------------------------------- sentences


@pytest.mark.parametrize(
    ("counts", "prevalence", "expected"),
    [
        # 9.1 found and 158.4 alarms.
        ((91, 9, 160, 840), 0.01, "1,000 people with 10 malignant moles, it would send 167 to the doctor, 158 of them "
         "for nothing, and miss 1."),
        ((1, 0, 16, 84), 0.001, "10,000 people with 10 malignant moles, it would send 1,608 to the doctor, 1,598 of "
         "them for nothing, and miss none."),
        ((98, 2, 0, 9), 0.01, "1,000 people with 10 malignant moles, it would send 10 to the doctor, none of them for "
         "nothing, and miss fewer than 1."),
        ((1, 1, 1, 9999), 0.035, "1,000 people with 35 malignant moles, it would send 17 to the doctor, fewer than 1 "
         "of them for nothing, and miss 18."),
        ((0, 7, 0, 9), 0.01, "1,000 people with 10 malignant moles, it would send nobody to the doctor and miss 10."),
        ((1, 99, 0, 9), 0.01, "1,000 people with 10 malignant moles, it would send fewer than 1 to the doctor and miss "
         "10."),
        ((1, 0, 1, 0), 0.9996, "1,000 people with 1,000 malignant moles, it would send 1,000 to the doctor, fewer than "
         "1 of them for nothing, and miss none."),
    ],
)  # fmt: skip
def test_sentence(counts: tuple[int, int, int, int], prevalence: float, expected: str) -> None:
    assert sentence(a_point(*counts, prevalence)) == "Of " + expected

"""Predictive values by hand, from a published table, by simulation, and by properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lentigo.errors import ConfigError, DataError
from lentigo.evidence.intervals import Interval
from lentigo.evidence.predictive_values import PredictiveValues, predictive_values


def of_counts(found: int, missed: int, alarms: int, cleared: int, prevalence: float) -> PredictiveValues:
    labels = np.repeat([1, 0], [found + missed, alarms + cleared])
    called = np.repeat([True, False, True, False], [found, missed, alarms, cleared])
    return predictive_values(labels, called, prevalence=prevalence)


def ends(interval: Interval) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def in_log_odds(middle: float, deviation: float) -> tuple[float, float, float]:
    at = (middle, middle - 1.959964 * deviation, middle + 1.959964 * deviation)
    return tuple(1 / (1 + math.exp(-z)) for z in at)  # type: ignore[return-value]


def test_counts_of_mercaldo_and_others() -> None:
    """Their table VIII, ApoE e4 and Alzheimer's disease: 240 of 418 cases and 87 of 375 controls are positive."""
    found = of_counts(240, 178, 87, 288, 0.03)
    odds = (240 / 418) / (87 / 375) * 3 / 97
    assert found.ppv.value == pytest.approx(odds / (1 + odds), abs=1e-12)
    assert found.ppv.value == pytest.approx(0.0711, abs=5e-5)
    # Their equations: variances (1 - se) / se / n1 + sp / (1 - sp) / n0 and se / (1 - se) / n1 + (1 - sp) / sp / n0.
    deviation = math.sqrt(178 / 240 / 418 + 288 / 87 / 375)
    assert ends(found.ppv) == pytest.approx(in_log_odds(math.log(odds), deviation), abs=1e-7)
    odds = (288 / 375) / (178 / 418) * 97 / 3
    deviation = math.sqrt(240 / 178 / 418 + 87 / 288 / 375)
    assert ends(found.npv) == pytest.approx(in_log_odds(math.log(odds), deviation), abs=1e-7)
    needed = found.needed_to_biopsy
    assert ends(needed) == (1 / found.ppv.value, 1 / found.ppv.high, 1 / found.ppv.low)


def test_a_count_of_0_by_hand() -> None:
    """9 of 9 found, 5 of 20 alarms: 1.920729 is added, to 10.920729 of 12.841459 and 6.920729 of 23.841459."""
    found = of_counts(9, 0, 5, 15, 0.5)
    assert found.ppv.value == pytest.approx(0.8)  # 1 / (1 + 1/4)
    hit, false = 10.920729 / 12.841459, 6.920729 / 23.841459
    deviation = math.sqrt(1.920729 / 10.920729 / 12.841459 + 16.920729 / 6.920729 / 23.841459)
    middle = math.log(hit / false)
    assert ends(found.ppv)[1:] == pytest.approx(in_log_odds(middle, deviation)[1:], abs=1e-6)
    assert found.npv.value == found.npv.high == 1  # none of those cleared is malignant
    deviation = math.sqrt(6.920729 / 16.920729 / 23.841459 + 10.920729 / 1.920729 / 12.841459)
    low = in_log_odds(math.log((1 - false) / (1 - hit)), deviation)[1]
    assert found.npv.low == pytest.approx(low, abs=1e-6)


def test_no_malignant_image_among_the_called() -> None:
    found = of_counts(0, 4, 3, 9, 0.1)
    assert (found.ppv.value, found.ppv.low) == (0, 0)
    assert 0 < found.ppv.high < 1
    needed = found.needed_to_biopsy
    assert ends(needed) == (math.inf, 1 / found.ppv.high, math.inf)


@pytest.mark.parametrize(
    ("counts", "known"),
    [((0, 0, 2, 3), ()), ((2, 3, 0, 0), ()), ((0, 3, 0, 4), ("npv",)), ((3, 0, 4, 0), ("ppv", "needed_to_biopsy"))],
)
def test_undefined(counts: tuple[int, int, int, int], known: tuple[str, ...]) -> None:
    found = of_counts(*counts, 0.01)
    for name in ("ppv", "npv", "needed_to_biopsy"):
        assert any(map(math.isnan, ends(getattr(found, name)))) is (name not in known), name


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
def test_at_the_images_own_prevalence_they_are_plain_shares(tp: int, fn: int, fp: int, tn: int) -> None:
    if not (tp + fn and fp + tn):
        return
    found = of_counts(tp, fn, fp, tn, (tp + fn) / (tp + fn + fp + tn))
    if tp + fp:
        assert found.ppv.value == pytest.approx(tp / (tp + fp), abs=1e-12)
        assert 0 <= found.ppv.low <= found.ppv.value <= found.ppv.high <= 1
        assert found.ppv.low < found.ppv.high
    if tn + fn:
        assert found.npv.value == pytest.approx(tn / (tn + fn), abs=1e-12)
        assert found.npv.low <= found.npv.value <= found.npv.high
    turned = of_counts(tn, fp, fn, tp, (fp + tn) / (tp + fn + fp + tn))
    assert ends(turned.ppv) == pytest.approx(ends(found.npv), abs=1e-12, nan_ok=True)


@settings(deadline=None)
@given(st.floats(0.001, 0.5), st.floats(1.1, 1.9))
def test_more_malignant_people_more_ppv_and_less_npv(prevalence: float, times: float) -> None:
    rare, common = (of_counts(9, 1, 20, 80, p) for p in (prevalence, prevalence * times))
    assert rare.ppv.value < common.ppv.value
    assert rare.npv.value > common.npv.value
    assert rare.needed_to_biopsy.value > common.needed_to_biopsy.value


@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.9, 0.8), (0.99, 0.7)])
def test_intervals_hold_the_truth(sensitivity: float, specificity: float) -> None:
    rng = np.random.default_rng(5)
    ppv = sensitivity * 0.01 / (sensitivity * 0.01 + (1 - specificity) * 0.99)
    npv = specificity * 0.99 / (specificity * 0.99 + (1 - sensitivity) * 0.01)
    held = np.zeros(2)
    labels = np.repeat([1, 0], [84, 500])
    for _ in range(1000):
        called = rng.random(584) < np.where(labels == 1, sensitivity, 1 - specificity)
        found = predictive_values(labels, called, prevalence=0.01)
        held += [found.ppv.low < ppv < found.ppv.high, found.npv.low < npv < found.npv.high]
    assert held / 1000 == pytest.approx([0.95, 0.95], abs=0.02)


def test_copies_of_images_in_groups_tell_nothing_new() -> None:
    rng = np.random.default_rng(6)
    labels = np.repeat([1, 0], [60, 90])
    called = rng.random(150) < np.where(labels == 1, 0.9, 0.3)
    alone = predictive_values(labels, called, prevalence=0.01)
    copies, groups = [np.repeat(values, 3) for values in (labels, called)], np.repeat(np.arange(150), 3)
    grouped = predictive_values(*copies, prevalence=0.01, groups=groups)
    assert ends(grouped.ppv) == pytest.approx(ends(alone.ppv), rel=0.01)
    single = predictive_values(*copies, prevalence=0.01)
    assert single.ppv.high - single.ppv.low < 0.7 * (alone.ppv.high - alone.ppv.low)
    # All malignant images found: 60 in groups of three count as 20.
    called = (labels == 1) | called
    threes = np.where(labels == 1, np.arange(150) // 3, np.arange(150))
    of_twenty = predictive_values(labels[40:], called[40:], prevalence=0.01)
    assert ends(predictive_values(labels, called, prevalence=0.01, groups=threes).npv) == ends(of_twenty.npv)


def test_refusals() -> None:
    for prevalence in (0.0, 1.0, -0.1, math.nan):
        with pytest.raises(ConfigError, match=r"prevalence is .*, not in \(0, 1\); try 0.01"):
            of_counts(1, 1, 1, 1, prevalence)
    with pytest.raises(DataError, match="there are 1 group numbers for 2 images"):
        predictive_values(np.array([0, 1]), np.array([True, False]), prevalence=0.1, groups=[1])

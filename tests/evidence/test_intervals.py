"""Intervals by hand, against tests/reference.py and scipy, by simulation, and by properties of their definitions."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from lentigo.errors import ConfigError, DataError, UndefinedMetricError
from lentigo.evidence.intervals import (
    Interval,
    auc_interval,
    auc_placements,
    auc_variance,
    share_interval,
    wilson_interval,
)
from lentigo.evidence.metrics import roc_auc_score
from tests import reference

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# logit     3   1   1   0  -1  -2
# label     1   1   0   0   1   0
LABELS = np.array([1, 1, 0, 0, 1, 0])
LOGITS = np.array([3.0, 1.0, 1.0, 0.0, -1.0, -2.0])


@st.composite
def scored_images(draw: st.DrawFn, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Labels with `least` images of each class, and whole-numbered logits with many ties."""
    labels = [0, 1] * least + draw(st.lists(st.integers(0, 1), max_size=24))
    logits = draw(st.lists(st.integers(-6, 6), min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(logits, dtype=np.float64)


# ---------------------------------------------------------------- by hand


def test_placements_and_variance_by_hand() -> None:
    found = auc_placements(LABELS, LOGITS)
    # Malignant 3 beats all three; 1 ties one and beats two; -1 beats -2. Benign 1 loses to 3, ties 1; and so on.
    assert found.malignant == pytest.approx([1, 5 / 6, 1 / 3], abs=1e-15)
    assert found.benign == pytest.approx([1.5 / 3, 2 / 3, 1], abs=1e-15)
    # The mean is 13/18. Off it, in 18ths: 5, 2, -7 and -4, -1, 5. Squares 78 and 42, over 18^2 * 2 * 3.
    assert auc_variance(LABELS, LOGITS) == pytest.approx((78 + 42) / (324 * 6), abs=1e-15)


def test_grouped_variance_by_hand() -> None:
    # Groups a = malignant 3 and benign 1; b = malignant 1 and benign 0; c = malignant -1 and benign -2.
    # Sums in 18ths are 5, 2, -7 and -4, -1, 5, their products -20, -2, -35. Each of three groups: factor 3/2.
    s10, s01, s11 = 78 / 324 / 2, 42 / 324 / 2, -57 / 324 * 3 / 2
    found = auc_variance(LABELS, LOGITS, groups=[7, -1, 7, -1, 3, 3])
    assert found == pytest.approx(max(s10 / 3 + s01 / 3 + 2 * s11 / 9, 0), abs=1e-15)
    # Two groups, {3, 1 | 1, 0} and {-1 | -2}: sums 7, -7 and -5, 5 in 18ths, factor 2/1; to hand 98*2 + 50*2 - 4*70.
    assert auc_variance(LABELS, LOGITS, groups=[0, 0, 0, 0, 1, 1]) == pytest.approx(16 / 324 / 9, abs=1e-15)


def test_interval_by_hand() -> None:
    found = auc_interval(LABELS, LOGITS)
    assert found.value == 13 / 18
    # log odds log(13/5); its deviation sqrt(120/1944) / (65/324) = 1.238437
    assert found.low == pytest.approx(1 / (1 + 5 / 13 * math.exp(1.959964 * 1.238437)), abs=1e-6)
    assert found.high == pytest.approx(1 / (1 + 5 / 13 * math.exp(-1.959964 * 1.238437)), abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "logits", "expected"),
    [
        # Two of the smaller class: 0.05 ** (1/2).
        ([0, 0, 0, 1, 1], [0.0, 1, 2, 3, 4], Interval(1.0, 0.22360680, 1.0)),
        ([1, 1, 1, 0, 0], [0.0, 1, 2, 3, 4], Interval(0.0, 0.0, 1 - 0.22360680)),
        ([0, 1], [0.0, 1.0], Interval(1.0, 0.05, 1.0)),
        # All tie: the largest variance 0.25 / 2 is 1.4142 of deviation in log odds; e ** -2.771808 = 0.06254882.
        ([0, 0, 1, 1], [7.0, 7, 7, 7], Interval(0.5, 0.06254882 / 1.06254882, 1 / 1.06254882)),
        # One malignant image, 1 of 2 wins: 0.25 / 1, a deviation of 2; e ** -3.919928 = 0.019843.
        ([0, 0, 1], [0.0, 2.0, 1.0], Interval(0.5, 0.019843 / 1.019843, 1 / 1.019843)),
    ],
)
def test_interval_has_a_width_without_a_variance(labels: list[int], logits: list[float], expected: Interval) -> None:
    found = auc_interval(np.array(labels), np.array(logits))
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high), abs=1e-6
    )


def test_perfect_auc_counts_groups_not_images() -> None:
    labels, logits = np.repeat([0, 1], 20), np.arange(40.0)
    assert auc_interval(labels, logits).low == pytest.approx(0.05 ** (1 / 20), abs=1e-15)
    of_two_patients = np.concatenate((np.arange(20), np.repeat([100, 101], 10)))
    assert auc_interval(labels, logits, groups=of_two_patients).low == pytest.approx(0.05**0.5, abs=1e-15)


# ---------------------------------------------------------------- against the reference and scipy


@relaxed
@given(scored_images())
def test_variance_equals_the_definition(images: tuple[np.ndarray, np.ndarray]) -> None:
    placements = auc_placements(*images)
    malignant, benign = reference.auc_components(*images)
    np.testing.assert_allclose(placements.malignant, np.array(malignant, dtype=float), atol=1e-14)
    np.testing.assert_allclose(placements.benign, np.array(benign, dtype=float), atol=1e-14)
    assert auc_variance(*images) == pytest.approx(float(reference.auc_variance(*images)), abs=1e-14)


@relaxed
@given(scored_images(), st.data())
def test_grouped_variance_equals_the_definition(images: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    labels, logits = images
    groups = data.draw(st.lists(st.integers(0, 8), min_size=labels.size, max_size=labels.size))
    assume(all(len({g for g, x in zip(groups, labels, strict=True) if x == label}) > 1 for label in (0, 1)))
    expected = max(float(reference.clustered_auc_variance(labels, logits, groups)), 0.0)
    assert auc_variance(labels, logits, groups=groups) == pytest.approx(expected, abs=1e-14)


@relaxed
@given(scored_images(), st.floats(0.5, 0.999))
def test_interval_is_normal_in_log_odds(images: tuple[np.ndarray, np.ndarray], level: float) -> None:
    labels, logits = images
    auc, variance = roc_auc_score(labels, logits), float(reference.auc_variance(labels, logits))
    assume(variance > 0 and 0 < auc < 1)
    found = auc_interval(labels, logits, level=level)
    half = norm.isf((1 - level) / 2) * math.sqrt(variance) / (auc * (1 - auc))
    edges = [1 / (1 + (1 - auc) / auc * math.exp(-sign * half)) for sign in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(tuple(edges), abs=1e-12)


@pytest.mark.parametrize("n", [1, 4, 50])
def test_bound_of_a_perfect_auc_equals_clopper_and_pearson(n: int) -> None:
    labels, logits = np.repeat([0, 1], [n + 3, n]), np.arange(2.0 * n + 3)
    exact = binomtest(n, n, alternative="greater").proportion_ci(confidence_level=0.9, method="exact")
    assert auc_interval(labels, logits, level=0.9).low == pytest.approx(exact.low, rel=1e-9)


def test_variance_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [60, 40])
    drawn = [rng.normal(size=100) + labels for _ in range(1500)]
    aucs = [roc_auc_score(labels, logits) for logits in drawn]
    mean = float(np.mean([auc_variance(labels, logits) for logits in drawn]))
    assert mean == pytest.approx(np.var(aucs, ddof=1), rel=0.12)  # the variance of 1500 is known to 4 %


@pytest.mark.parametrize("grouped", [False, True])
def test_interval_holds_the_truth_as_often_as_it_says(grouped: bool) -> None:
    """Pairs of like images of one label: 95 % with their groups, and about 82 % where they pass for single ones."""
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(60), 2)
    labels = (groups % 2).astype(np.int64)
    truth = norm.cdf(1 / math.sqrt(2))
    held = 0
    for _ in range(600):
        logits = np.repeat(rng.normal(size=60), 2) + labels + 1e-3 * rng.normal(size=120)
        found = auc_interval(labels, logits, groups=groups if grouped else None)
        held += found.low < truth < found.high
    assert held / 600 == pytest.approx(0.95 if grouped else 0.83, abs=0.035)


# ---------------------------------------------------------------- properties


@relaxed
@given(scored_images(least=1))
def test_interval_lies_around_the_auc_and_turns_with_the_labels(images: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = images
    found, turned = auc_interval(labels, logits), auc_interval(1 - labels, logits)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    assert (1 - turned.high, 1 - turned.low) == pytest.approx((found.low, found.high), abs=1e-9)
    widths = [auc_interval(labels, logits, level=level) for level in (0.5, 0.9, 0.99)]
    assert all(wide.high - wide.low > narrow.high - narrow.low for narrow, wide in pairwise(widths))


@relaxed
@given(scored_images())
def test_variance_depends_on_order_alone(images: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = images
    expected = auc_variance(labels, logits)
    assert auc_variance(labels, np.exp(logits)) == expected
    assert auc_variance(labels, logits.astype(np.int64)) == expected
    assert auc_variance(labels, logits, groups=np.arange(labels.size)[::-1] * 3) == pytest.approx(expected, abs=1e-15)


def test_infinite_logits_tie_with_themselves() -> None:
    labels, logits = np.array([1, 0, 1, 0]), np.array([np.inf, np.inf, 2.0, -np.inf])
    assert auc_placements(labels, logits).malignant.tolist() == [0.75, 0.5]


def test_one_image_or_group_of_a_class_has_no_variance() -> None:
    assert math.isnan(auc_variance(np.array([0, 0, 1]), np.array([0.0, 2.0, 1.0])))
    assert math.isnan(auc_variance(LABELS, LOGITS, groups=[5, 5, 1, 2, 5, 3]))


# ---------------------------------------------------------------- refusals


def test_refusals() -> None:
    with pytest.raises(UndefinedMetricError, match="AUC needs both classes, got 2 malignant and 0 benign"):
        auc_interval(np.array([1, 1]), np.array([0.0, 1.0]))
    with pytest.raises(UndefinedMetricError, match="AUC needs both classes"):
        auc_placements(np.array([0, 0]), np.array([0.0, 1.0]))
    with pytest.raises(DataError, match="the logit in row 0 is NaN"):
        auc_interval(np.array([1, 0]), np.array([np.nan, 1.0]))
    with pytest.raises(DataError, match="there are 3 group numbers for 6 images; give one an image"):
        auc_interval(LABELS, LOGITS, groups=[1, 2, 3])
    for level in (0.0, 1.0, math.nan):
        with pytest.raises(ConfigError, match=r"level is .*, not in \(0, 1\); try 0.95"):
            auc_interval(LABELS, LOGITS, level=level)


# ---------------------------------------------------------------- shares


def test_wilson_interval_of_the_papers_best_accuracy() -> None:
    low, high = wilson_interval(1816, 2000)  # PAPER.md: 0.908 +- about 0.013
    assert (low, high) == (pytest.approx(0.8945, abs=2e-4), pytest.approx(0.9199, abs=2e-4))


@settings(deadline=None)  # the machine may be busy
@given(st.integers(1, 5000), st.data())
def test_wilson_interval_equals_scipy_and_mirrors(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    low, high = wilson_interval(right, n)
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert (low, high) == (pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12))
    mirrored = wilson_interval(n - right, n)
    assert (1 - high, 1 - low) == (pytest.approx(mirrored[0], abs=1e-12), pytest.approx(mirrored[1], abs=1e-12))


def test_wilson_interval_of_nothing_is_nan() -> None:
    assert all(map(math.isnan, wilson_interval(0, 0)))


@settings(deadline=None)
@given(st.integers(1, 5000), st.floats(0.5, 0.999), st.data())
def test_wilson_interval_of_any_level_holds_the_share(n: int, level: float, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    low, high = wilson_interval(right, n, level=level)
    expected = binomtest(right, n).proportion_ci(method="wilson", confidence_level=level)
    assert (low, high) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))
    assert 0 <= low <= right / n <= high <= 1


def test_share_interval_of_newcombes_examples() -> None:
    """Newcombe 1998, Statistics in Medicine 17(8):857-872, table I, method 3 (Wilson's)."""
    for right, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611)):
        found = share_interval(np.arange(n) < right)
        assert (found.value, found.low, found.high) == (right / n, approx4(low), approx4(high))
    found = share_interval(np.arange(29) < 1)
    assert (found.low, found.high) == (approx4(0.0061), approx4(0.1718))


def test_share_interval_by_hand_with_groups() -> None:
    # Three groups of two, all alike: right, right, wrong. Share 2/3; sums off it 2/3, 2/3, -4/3: squares 8/3, times 3/2
    # is 4; between images 6 * 2/9 * 6/5 = 8/5. So d = 2.5 and six images count as 2.4.
    hits, groups = np.array([True, True, True, True, False, False]), [4, 4, 9, 9, 1, 1]
    found = share_interval(hits, groups=groups)
    n, z = 2.4, 1.959963984540054
    middle, half = 2 / 3 + z * z / (2 * n), z * math.sqrt(2 / 9 / n + z * z / (4 * n * n))
    assert found.value == pytest.approx(2 / 3)
    assert found.low == pytest.approx((middle - half) / (1 + z * z / n), abs=1e-12)
    assert found.high == pytest.approx((middle + half) / (1 + z * z / n), abs=1e-12)


@relaxed
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40))
def test_share_interval_is_wilsons_of_fewer_images(images: list[tuple[bool, int]]) -> None:
    hits, groups = [hit for hit, _ in images], [group for _, group in images]
    found = share_interval(np.array(hits), groups=groups)
    n, n_groups = len(hits), len(set(groups))
    if n_groups == n:
        n_alone: float = n
    elif n_groups == 1 or len(set(hits)) == 1:
        n_alone = n_groups
    else:
        n_alone = n / max(float(reference.design_effect(hits, groups)), 1.0)
    share, z = sum(hits) / n, norm.isf(0.025)
    root = math.sqrt(share * (1 - share) / n_alone + z * z / (4 * n_alone**2))
    edges = [(share + z * z / (2 * n_alone) + sign * z * root) / (1 + z * z / n_alone) for sign in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(tuple(edges), abs=1e-12)
    alone = share_interval(np.array(hits))
    assert found.value == alone.value
    assert found.high - found.low >= alone.high - alone.low - 1e-12


def test_share_interval_counts_copies_once() -> None:
    """Ten copies of each image say no more than the image; the design effect is 10 but for (n - 1) / (10 n - 1)."""
    hits = np.arange(200) % 3 == 0
    alone, copied = share_interval(hits), share_interval(np.repeat(hits, 10), groups=np.repeat(np.arange(200), 10))
    assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high), abs=2e-4)
    for all_right in (True, False):
        of_copies = share_interval(np.full(60, all_right), groups=np.repeat(np.arange(6), 10))
        assert of_copies == share_interval(np.full(6, all_right))


def test_share_interval_of_one_group_or_nothing() -> None:
    assert share_interval(np.array([True, False] * 50), groups=[3] * 100).low < 0.1  # as of a single image
    empty = share_interval(np.array([], dtype=bool))
    assert all(map(math.isnan, (empty.value, empty.low, empty.high)))
    with pytest.raises(DataError, match="there are 1 group numbers for 2 images"):
        share_interval(np.array([True, False]), groups=[0])
    with pytest.raises(ConfigError, match=r"level is 95.0, not in \(0, 1\)"):
        share_interval(np.array([True]), level=95.0)


def approx4(value: float) -> object:
    """As printed with four decimals."""
    return pytest.approx(value, abs=5.1e-5)

"""Calibration by hand, against tests/reference.py and scikit-learn, by simulation, and by properties."""

import json
import math
from itertools import pairwise

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import foldnorm
from sklearn.calibration import calibration_curve

from lentigo.errors import ConfigError, DataError
from lentigo.evidence.calibration import (
    Calibration,
    assess_calibration,
    brier_parts,
    brier_score,
    calibration_error_interval,
    expected_calibration_error,
    reliability_bins,
)
from lentigo.evidence.intervals import Interval, share_interval
from lentigo.evidence.metrics import log_loss
from lentigo.evidence.recalibration import probabilities, recalibration
from tests import reference

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# probability 1/4  1/4  1/2  3/4  3/4  9/10
# label        0    1    0    1    1    1
LABELS = np.array([0, 1, 0, 1, 1, 1])
LOGITS = np.log(np.array([1 / 3, 1 / 3, 1, 3, 3, 9]))


@st.composite
def scored_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels, possibly of one class, and logits in halves within [-4, 4]: many ties."""
    labels = draw(st.lists(st.integers(0, 1), min_size=1, max_size=40))
    logits = draw(st.lists(st.integers(-8, 8), min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(logits) / 2


def drawn_images(n: int, seed: int, *, sharpened: float = 1.0, moved: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn at log odds x, and logits that say sharpened * x + moved."""
    rng = np.random.default_rng(seed)
    truth = 2 * rng.normal(size=n)
    return (rng.random(n) < probabilities(truth)).astype(np.int64), sharpened * truth + moved


# ---------------------------------------------------------------- by hand


def test_bins_by_hand() -> None:
    low, middle, high = reliability_bins(LABELS, LOGITS, bins=3)
    assert (low.n, low.malignant, low.low_p, low.high_p) == (2, 1, pytest.approx(0.25), pytest.approx(0.25))
    assert low.predicted == pytest.approx(0.25, abs=1e-15)
    # An edge is wanted between the two of 3/4, as near to the one before as to the one after: the lower is taken.
    assert (middle.n, middle.malignant, middle.predicted) == (1, 0, pytest.approx(0.5))
    assert (high.n, high.malignant, high.predicted) == (3, 3, pytest.approx(0.8, abs=1e-15))
    assert (high.low_p, high.high_p) == (pytest.approx(0.75), pytest.approx(0.9))
    assert high.observed == share_interval(np.array([True, True, True]))


def test_expected_calibration_error_by_hand() -> None:
    # Gaps 1/4, 1/2, 1/5 in bins of 2, 1, 3.
    plain = (2 * 0.25 + 1 * 0.5 + 3 * 0.2) / 6
    assert expected_calibration_error(LABELS, LOGITS, bins=3, debiased=False) == pytest.approx(plain, abs=1e-15)
    # Only the first bin scatters, sqrt(1/2 * 1/2 / 2) = 0.353553, its gap 0.707107 of that. A folded normal has mean
    # 0.353553 (0.797885 e^-0.25 + 0.707107 erf(0.5)) = 0.353553 (0.621393 + 0.368050) = 0.349820.
    expected = (2 * 0.349820 + 1 * 0.5 + 3 * 0.2) / 6
    found = expected_calibration_error(LABELS, LOGITS, bins=3)
    assert found == pytest.approx(2 * plain - expected, abs=1e-6)
    # One bin: half of six is said and seen, so less than nothing is left.
    assert expected_calibration_error(np.array([0, 1, 0, 1, 0, 1]), np.zeros(6), bins=1) == 0


def test_brier_by_hand() -> None:
    found = brier_parts(LABELS, LOGITS, bins=3)
    # Squares 1/16, 9/16, 1/4, 1/16, 1/16, 1/100.
    assert found.score == brier_score(LABELS, LOGITS) == pytest.approx(1.01 / 6, abs=1e-15)
    assert found.reliability == pytest.approx((2 / 16 + 1 / 4 + 3 / 25) / 6, abs=1e-15)
    assert found.uncertainty == pytest.approx(2 / 9, abs=1e-15)
    # Seen less 2/3: -1/6, -2/3, 1/3. Within the last bin -0.05, -0.05, 0.1, variance 0.015; no label differs there.
    assert found.resolution == pytest.approx((2 / 36 + 4 / 9 + 3 / 9 - 0.015) / 6, abs=1e-15)


def test_assessment_by_hand() -> None:
    """Two images, each wrong at a probability of 3/4."""
    found = assess_calibration(np.array([0, 1]), np.array([math.log(3), -math.log(3)]))
    assert (found.n, len(found.bins), found.ece_plain) == (2, 2, pytest.approx(0.75))
    assert found.ece.value == pytest.approx(0.75)
    assert found.brier.value == found.brier_parts.score == pytest.approx(9 / 16)
    assert found.log_loss == pytest.approx(math.log(4))
    assert math.isnan(found.slope.value)
    assert found.intercept.value == pytest.approx(0, abs=1e-12)
    assert "one threshold parts the classes" in found.reason


# ---------------------------------------------------------------- against the reference and scikit-learn


@relaxed
@given(scored_images(), st.integers(1, 20))
def test_all_equals_the_definition(images: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    labels, logits = images
    chances = [1 / (1 + math.exp(-logit)) for logit in logits]
    rows_of = reference.equal_mass_bins(logits, bins)
    found = reliability_bins(labels, logits, bins=bins)
    plain = debiased = 0.0
    for one, rows in zip(found, rows_of, strict=True):
        assert (one.n, one.malignant) == (len(rows), sum(labels[rows]))
        assert one.predicted == pytest.approx(np.mean([chances[row] for row in rows]), abs=1e-12)
        assert (one.low_p, one.high_p) == pytest.approx((chances[rows[0]], chances[rows[-1]]), abs=1e-12)
        assert one.observed == share_interval(labels[rows] == 1)
        gap = abs(one.predicted - one.observed.value)
        scatter = math.sqrt(one.observed.value * (1 - one.observed.value) / one.n)
        folded = foldnorm.mean(gap / scatter, scale=scatter) if scatter else gap
        plain += gap * one.n / labels.size
        debiased += (2 * gap - folded) * one.n / labels.size
    assert expected_calibration_error(labels, logits, bins=bins, debiased=False) == pytest.approx(plain, abs=1e-12)
    assert expected_calibration_error(labels, logits, bins=bins) == pytest.approx(max(debiased, 0), abs=1e-12)
    parts = brier_parts(labels, logits, bins=bins)
    for name, expected in reference.brier_parts(labels, chances, rows_of).items():
        assert getattr(parts, name) == pytest.approx(expected, abs=1e-12), name


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_bins_and_brier_equal_scikit_learn(bins: int) -> None:
    labels, logits = drawn_images(400, bins, sharpened=1.5, moved=0.3)
    chances = probabilities(logits)
    observed, predicted = calibration_curve(labels, chances, n_bins=bins, strategy="quantile")
    found = reliability_bins(labels, logits, bins=bins)
    assert [one.observed.value for one in found] == pytest.approx(observed, abs=1e-12)
    assert [one.predicted for one in found] == pytest.approx(predicted, abs=1e-12)
    expected = sklearn.metrics.brier_score_loss(labels, chances)
    assert brier_score(labels, logits) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow  # imports torch
def test_error_equals_torchmetrics_where_its_equal_widths_are_equal_masses() -> None:
    torch = pytest.importorskip("torch")
    classification = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(4)
    chances = np.concatenate([rng.uniform(k / 5 + 0.01, k / 5 + 0.19, size=60) for k in range(5)])
    labels = rng.integers(2, size=300)
    expected = classification.binary_calibration_error(
        torch.tensor(chances, dtype=torch.float64), torch.tensor(labels), n_bins=5, norm="l1"
    )
    logits = np.log(chances / (1 - chances))
    found = expected_calibration_error(labels, logits, bins=5, debiased=False)
    assert found == pytest.approx(float(expected), abs=1e-6)


# ---------------------------------------------------------------- by simulation


@pytest.mark.parametrize(
    ("sharpened", "moved", "truth"),
    [
        (1.0, 0.0, 0.0),
        (2.0, 0.0, 0.092),  # the error in 15 bins of endless images
        (1.0, 0.5, 0.075),
    ],
)
def test_debiased_error_is_nearer_the_truth(sharpened: float, moved: float, truth: float) -> None:
    endless = drawn_images(400_000, 0, sharpened=sharpened, moved=moved)
    if truth:
        assert expected_calibration_error(*endless, debiased=False) == pytest.approx(truth, abs=0.002)
    plain, debiased = [], []
    for seed in range(1, 201):
        images = drawn_images(200, seed, sharpened=sharpened, moved=moved)
        plain.append(expected_calibration_error(*images, debiased=False))
        debiased.append(expected_calibration_error(*images))
    off = [abs(np.mean(values) - truth) for values in (plain, debiased)]
    assert off[1] < 0.7 * off[0]
    errors = [np.sqrt(np.mean((np.array(values) - truth) ** 2)) for values in (plain, debiased)]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize(
    ("sharpened", "moved", "truth", "grouped"),
    [(1.0, 0.0, 0.0, False), (2.0, 0.0, 0.092, False), (1.0, 0.5, 0.075, False), (2.0, 0.0, 0.092, True)],
)
def test_interval_of_the_error_holds_the_truth(sharpened: float, moved: float, truth: float, grouped: bool) -> None:
    """In 91 to 98 % of studies; where pairs of like images pass for single ones, in fewer."""
    held = np.zeros(2)
    for seed in range(200):
        labels, logits = drawn_images(300, seed, sharpened=sharpened, moved=moved)
        groups = np.arange(300)
        if grouped:
            labels, logits, groups = np.repeat(labels, 4), np.repeat(logits, 4), np.repeat(groups, 4)
        found = calibration_error_interval(labels, logits, groups=groups), calibration_error_interval(labels, logits)
        held += [one.low <= truth <= one.high for one in found]
    assert 0.90 <= held[0] / 200 <= 0.99
    assert (held[1] < 0.8 * held[0]) if grouped else (held[1] == held[0])


def test_interval_of_the_error_lies_in_its_range() -> None:
    sharp = assess_calibration(*drawn_images(1000, 5, sharpened=2.0))
    assert 0 < sharp.ece.low < 0.092 < sharp.ece.high < 0.15
    assert sharp.slope.high < 1
    honest = assess_calibration(*drawn_images(1000, 5))
    assert honest.ece.low == 0
    assert honest.ece.value < honest.ece_plain
    assert honest.slope.low < 1 < honest.slope.high
    assert honest.intercept.low < 0 < honest.intercept.high
    assert honest.brier.low < honest.brier.value < honest.brier.high


def test_interval_of_the_error_by_hand() -> None:
    """One bin of 100 images at 1/2, of which 60 are malignant: z = 2, so that 0 is just left out."""
    labels, logits = np.repeat([1, 0], [60, 40]), np.zeros(100)
    found = calibration_error_interval(labels, logits)
    # Folded normal with deviation 0.05: the error e for which 0.1 is 1.96 deviations above the mean is small but not
    # 0 (at 0 the mean is 0.0399 and the deviation 0.0301), and the other end is 0.1 + 1.96 * 0.05.
    assert 0 < found.low < 0.02
    assert found.high == pytest.approx(0.198, abs=0.002)
    at_low = foldnorm(found.low / 0.05, scale=0.05)
    assert at_low.mean() + 1.96 * at_low.std() == pytest.approx(0.1, abs=0.001)
    # Where said and seen are equal, the share of wrong ones among as many images bounds it.
    even = calibration_error_interval(np.repeat([1, 0], 50), logits)
    assert even == Interval(0.0, 0.0, share_interval(np.zeros(100, dtype=np.bool_)).high)
    alike = calibration_error_interval(labels, logits, groups=np.repeat(np.arange(10), 10))  # counts as 10 images
    assert (alike.low, alike.high > 0.3) == (0, True)


# ---------------------------------------------------------------- properties


@relaxed
@given(scored_images(), st.integers(1, 20), st.randoms(use_true_random=False))
def test_bins_hold_all_images_once_and_no_order_matters(
    images: tuple[np.ndarray, np.ndarray], bins: int, random: object
) -> None:
    labels, logits = images
    found = reliability_bins(labels, logits, bins=bins)
    assert 1 <= len(found) <= bins
    assert sum(one.n for one in found) == labels.size
    assert sum(one.malignant for one in found) == labels.sum()
    assert all(one.high_p < other.low_p for one, other in pairwise(found))
    shuffled = np.array(random.sample(range(labels.size), labels.size))  # type: ignore[attr-defined]
    for debiased in (False, True):
        expected = expected_calibration_error(labels, logits, bins=bins, debiased=debiased)
        again = expected_calibration_error(labels[shuffled], logits[shuffled], bins=bins, debiased=debiased)
        assert again == pytest.approx(expected, abs=1e-12)
        turned = expected_calibration_error(1 - labels, -logits, bins=1, debiased=debiased)
        assert turned == pytest.approx(expected_calibration_error(labels, logits, bins=1, debiased=debiased), abs=1e-12)


@relaxed
@given(scored_images(), st.integers(1, 20))
def test_brier_parts_add_up(images: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    labels, logits = images
    parts = brier_parts(labels, logits, bins=bins)
    assert parts.reliability - parts.resolution + parts.uncertainty == pytest.approx(parts.score, abs=1e-14)
    assert parts.score == brier_score(labels, logits)
    assert parts.reliability >= 0
    assert 0 <= parts.score <= 1


@pytest.mark.parametrize(("n", "bins"), [(30, 15), (31, 15), (7, 3), (5, 15), (1, 15)])
def test_bins_without_ties_differ_by_one_at_most(n: int, bins: int) -> None:
    sizes = [one.n for one in reliability_bins(np.arange(n) % 2, np.arange(n) / 10, bins=bins)]
    assert len(sizes) == min(n, bins)
    assert max(sizes) - min(sizes) <= 1


# ---------------------------------------------------------------- edges


def test_a_bin_of_groups_has_a_wider_interval() -> None:
    labels, logits = np.tile(np.repeat([0, 1], 10), 3), np.zeros(60)
    (alone,) = reliability_bins(labels, logits)
    groups = np.repeat(np.arange(6), 10)
    (grouped,) = reliability_bins(labels, logits, groups=groups)
    assert grouped.observed == share_interval(labels == 1, groups=groups)
    assert grouped.observed.high - grouped.observed.low > 2 * (alone.observed.high - alone.observed.low)


def test_infinite_and_huge_logits_are_certain() -> None:
    labels, logits = np.array([1, 0, 1, 0]), np.array([np.inf, -np.inf, 1e4, 5e3], dtype=np.float64)
    assert brier_score(labels, logits) == 0.25
    assert expected_calibration_error(labels, logits, debiased=False) == 0.25
    found = assess_calibration(labels, logits)
    assert found.log_loss == log_loss(labels, logits) == 1250
    assert (math.isnan(found.slope.value), math.isnan(found.intercept.value)) == (True, True)
    assert found.reason == "2 of 4 logits are infinite, which no scaling changes"
    assert [(one.low_p, one.high_p) for one in found.bins] == [(0, 0), (1, 1), (1, 1), (1, 1)]


def test_constant_scores_and_one_class() -> None:
    constant = assess_calibration(np.array([0, 1, 1, 1]), np.zeros(4))
    assert (len(constant.bins), constant.ece_plain) == (1, 0.25)
    assert constant.intercept.value == pytest.approx(math.log(3))
    assert constant.reason == "all logits are equal, so that there is no slope"
    benign = assess_calibration(np.zeros(3, dtype=np.int64), np.zeros(3))
    assert (benign.ece.value, benign.brier.value, benign.brier_parts.uncertainty) == (0.5, 0.25, 0)
    assert benign.reason == "both classes are needed, got 0 malignant and 3 benign images"


def test_one_image() -> None:
    found = assess_calibration(np.array([1]), np.array([0.0]))
    assert (found.n, found.bins[0].n, found.ece_plain, found.brier.value) == (1, 1, 0.5, 0.25)


def test_to_dict_is_plain() -> None:
    found = assess_calibration(*drawn_images(40, 1), groups=np.arange(40) // 2)
    again = json.loads(json.dumps(found.to_dict()))
    assert again["ece"]["value"] == found.ece.value
    assert again["bins"][0]["observed"]["low"] == found.bins[0].observed.low
    assert list(again) == list(Calibration.__dataclass_fields__)
    line = recalibration(*drawn_images(40, 1), groups=np.arange(40) // 2)
    assert (found.slope, found.intercept) == (line.slope, line.intercept)


def test_float32_logits_count_as_float64() -> None:
    labels, logits = drawn_images(50, 2)
    single = logits.astype(np.float32)
    assert brier_score(labels, single) == brier_score(labels, single.astype(np.float64))
    assert expected_calibration_error(labels, single) == expected_calibration_error(labels, single.astype(np.float64))


def test_refusals() -> None:
    with pytest.raises(ConfigError, match="bins is 0; at least 1 is needed: try 15"):
        reliability_bins(LABELS, LOGITS, bins=0)
    with pytest.raises(DataError, match="the logit in row 1 is NaN"):
        brier_score(np.array([0, 1]), np.array([0.0, np.nan]))
    with pytest.raises(DataError, match="there are no images"):
        expected_calibration_error(np.array([], dtype=np.int64), np.array([]))
    with pytest.raises(DataError, match="there are 2 group numbers for 6 images"):
        assess_calibration(LABELS, LOGITS, groups=[1, 2])

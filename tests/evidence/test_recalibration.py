"""Temperature, slope and intercept by hand, against scipy, scikit-learn and statsmodels, and by properties."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from lentigo.errors import DataError, UndefinedMetricError
from lentigo.evidence.metrics import log_loss
from lentigo.evidence.recalibration import fit_temperature, probabilities, recalibration

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def drawn_images(n: int, seed: int, *, slope: float = 0.6, intercept: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=n)
    return (rng.random(n) < expit(intercept + slope * logits)).astype(np.int64), logits


@st.composite
def mixed_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Both classes, each with a logit above and one below those of the other, so that all has a value."""
    n = draw(st.integers(0, 30))
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n))
    logits = draw(st.lists(st.integers(-8, 8), min_size=n, max_size=n))
    return np.array([*labels, 1, 0, 1, 0]), np.array([*logits, 9, 9, -9, -9]) / 2


# ---------------------------------------------------------------- probabilities


def test_probabilities_by_hand_and_without_overflow() -> None:
    logits = np.array([-np.inf, -1e308, -800.0, math.log(1 / 3), 0.0, math.log(3), 40.0, 1e308, np.inf])
    found = probabilities(logits)
    assert found == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1], abs=1e-15)
    assert probabilities(np.array([20], dtype=np.float32)).dtype == np.float64
    assert 1 - probabilities(np.array([20.0], dtype=np.float32))[0] == pytest.approx(math.exp(-20), rel=1e-6)


@settings(deadline=None)
@given(st.floats(-700, 700))
def test_probabilities_equal_scipy(logit: float) -> None:
    assert probabilities(np.array([logit]))[0] == pytest.approx(expit(logit), rel=1e-14)


# ---------------------------------------------------------------- temperature


def test_temperature_by_hand() -> None:
    # All say 4 or -4; three of four are right, and log odds of 3/4 are log 3. So T = 4 / log 3.
    labels, logits = np.array([1, 1, 1, 0, 0, 0, 0, 1]), np.array([4.0, 4, 4, 4, -4, -4, -4, -4])
    assert fit_temperature(labels, logits) == pytest.approx(4 / math.log(3), rel=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_temperature_equals_scipy(seed: int) -> None:
    labels, logits = drawn_images(100 * 3**seed, seed, slope=0.4 * (seed + 1))
    best = minimize_scalar(
        lambda sharpness: log_loss(labels, logits * sharpness), bounds=(0.01, 20), options={"xatol": 1e-11}
    )
    assert fit_temperature(labels, logits) == pytest.approx(1 / best.x, rel=1e-6)


@relaxed
@given(mixed_images(), st.floats(0.01, 100))
def test_temperature_has_the_least_loss_and_scales(images: tuple[np.ndarray, np.ndarray], times: float) -> None:
    labels, logits = images
    toward_truth = np.where(labels == 1, logits, -logits)
    assume(toward_truth.sum() > 0)
    found = fit_temperature(labels, logits)
    least = log_loss(labels, logits / found)
    assert all(log_loss(labels, logits / (found * off)) > least for off in (0.99, 1.01))
    # No slope is left: the loss's derivative is 0 at the minimum.
    assert (toward_truth * expit(-toward_truth / found)).mean() == pytest.approx(0, abs=1e-14)
    assert fit_temperature(labels, logits * times) == pytest.approx(found * times, rel=1e-9)
    assert fit_temperature(labels, logits * 4) == found * 4
    assert fit_temperature(1 - labels, -logits) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-5, 1e5, 1e300])
def test_temperature_of_extreme_scales(scale: float) -> None:
    labels, logits = drawn_images(200, 1)
    assert fit_temperature(labels, logits * scale) == pytest.approx(fit_temperature(labels, logits) * scale, rel=1e-12)


def test_temperature_where_one_image_is_just_wrong() -> None:
    labels, logits = np.array([0, 1, 1, 0]), np.array([-1, 5, -1e-9, -3])
    found = fit_temperature(labels, logits)
    assert 0 < found < 0.1
    assert log_loss(labels, logits / found) < min(log_loss(labels, logits / (found * off)) for off in (0.9, 1.1))


@pytest.mark.parametrize(
    ("labels", "logits", "reason"),
    [
        ([1, 1], [1.0, -1.0], "both classes are needed, got 2 malignant and 0 benign images"),
        ([0], [1.0], "both classes are needed, got 0 malignant and 1 benign images"),
        ([0, 1, 1], [-1.0, 2.0, 0.0], "no image is on the wrong side of 0"),
        ([0, 1, 1], [1.0, -2.0, 0.5], "a coin has the least loss"),
        ([0, 1], [3.0, 3.0], "a coin has the least loss"),  # constant: as much wrong as right
        ([0, 1, 1], [0.0, 0.0, 0.0], "all logits are 0, which no temperature changes"),
        ([0, 1, 1], [0.0, np.inf, -1.0], "1 of 3 logits are infinite"),
    ],
)
def test_no_temperature(labels: list[int], logits: list[float], reason: str) -> None:
    with pytest.raises(UndefinedMetricError, match=f"no temperature fits: .*{reason}"):
        fit_temperature(np.array(labels), np.array(logits))


# ---------------------------------------------------------------- slope and intercept


def test_recalibration_by_hand() -> None:
    # At -1 one of four is malignant, at 1 three of four: log odds -log 3 and log 3, a slope of log 3.
    labels, logits = np.array([1, 0, 0, 0, 1, 1, 1, 0]), np.array([-1.0, -1, -1, -1, 1, 1, 1, 1])
    found = recalibration(labels, logits)
    assert found.slope.value == pytest.approx(math.log(3), rel=1e-14)
    # Information: eight images of weight 3/16 at distance 1.
    assert found.slope.high - found.slope.value == pytest.approx(1.959964 / math.sqrt(1.5), rel=1e-6)
    assert found.intercept.value == pytest.approx(0, abs=1e-14)
    weight = expit(1.0) * expit(-1.0)
    assert found.intercept.high == pytest.approx(1.959964 / math.sqrt(8 * weight), rel=1e-6)
    assert found.reason == ""
    moved = recalibration(labels, logits + 3)
    assert moved.intercept.value == pytest.approx(-3, abs=1e-12)
    assert moved.slope.value == pytest.approx(math.log(3), rel=1e-12)


@pytest.mark.parametrize("n", [40, 500, 20_000])
def test_recalibration_equals_statsmodels_and_scikit_learn(n: int) -> None:
    labels, logits = drawn_images(n, n)
    found = recalibration(labels, logits)
    free = sm.GLM(labels, sm.add_constant(logits), family=sm.families.Binomial()).fit(tol=1e-14)
    assert found.slope.value == pytest.approx(free.params[1], rel=1e-9)
    assert (found.slope.low, found.slope.high) == pytest.approx(tuple(free.conf_int()[1]), rel=1e-6)
    fixed = sm.GLM(labels, np.ones(n), offset=logits, family=sm.families.Binomial()).fit(tol=1e-14)
    assert found.intercept.value == pytest.approx(fixed.params[0], rel=1e-9)
    assert (found.intercept.low, found.intercept.high) == pytest.approx(tuple(fixed.conf_int()[0]), rel=1e-6)
    peer = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky").fit(logits[:, None], labels)
    assert found.slope.value == pytest.approx(peer.coef_[0, 0], rel=1e-6)


def test_grouped_intervals_equal_statsmodels() -> None:
    labels, logits = drawn_images(300, 1)
    groups = np.random.default_rng(1).integers(60, size=300)
    found = recalibration(labels, logits, groups=groups)
    kinds = {"cov_type": "cluster", "cov_kwds": {"groups": groups}}
    free = sm.GLM(labels, sm.add_constant(logits), family=sm.families.Binomial()).fit(tol=1e-14, **kinds)
    # statsmodels multiplies the variance by (n - 1) / (n - parameters) too.
    expected = 1.959963984540054 * free.bse[1] / math.sqrt(299 / 298)
    assert found.slope.high - found.slope.value == pytest.approx(expected, rel=1e-8)
    fixed = sm.GLM(labels, np.ones(300), offset=logits, family=sm.families.Binomial()).fit(tol=1e-14, **kinds)
    assert found.intercept.high - found.intercept.value == pytest.approx(1.959963984540054 * fixed.bse[0], rel=1e-8)


def test_copies_of_images_in_groups_tell_nothing_new() -> None:
    labels, logits = drawn_images(200, 2)
    alone = recalibration(labels, logits)
    copied = [np.repeat(values, 4) for values in (labels, logits)]
    grouped = recalibration(*copied, groups=np.repeat(np.arange(200), 4))
    single = recalibration(*copied)
    width, of_groups, of_copies = (one.slope.high - one.slope.low for one in (alone, grouped, single))
    assert of_copies == pytest.approx(width / 2, rel=1e-9)
    assert of_groups == pytest.approx(width, rel=0.15)  # by the scatter, not by the model
    assert recalibration(labels, logits, groups=np.arange(200)[::-1]) == alone


def test_intervals_hold_the_truth() -> None:
    held = np.zeros(2)
    for seed in range(200):
        labels, logits = drawn_images(200, seed, slope=0.6, intercept=0.0)
        found = recalibration(labels, logits)
        held += [found.slope.low < 0.6 < found.slope.high, found.intercept.low < 0 < found.intercept.high]
    assert held / 200 == pytest.approx([0.95, 0.95], abs=0.04)


@settings(relaxed, max_examples=25)
@given(mixed_images(), st.floats(0.1, 10), st.floats(-3, 3))
def test_recalibration_follows_scale_and_shift(
    images: tuple[np.ndarray, np.ndarray], times: float, added: float
) -> None:
    labels, logits = images
    found, scaled = recalibration(labels, logits), recalibration(labels, logits * times)
    assert scaled.slope.value * times == pytest.approx(found.slope.value, abs=1e-9)
    assert (scaled.slope.high - scaled.slope.low) * times == pytest.approx(found.slope.high - found.slope.low, rel=1e-7)
    moved = recalibration(labels, logits + added)
    assert moved.intercept.value + added == pytest.approx(found.intercept.value, abs=1e-9)
    assert moved.slope.value == pytest.approx(found.slope.value, abs=1e-9)
    turned = recalibration(1 - labels, -logits)
    assert turned.intercept.value == pytest.approx(-found.intercept.value, abs=1e-9)
    # At the fit the probabilities' mean is the share of malignant.
    assert expit(logits + found.intercept.value).mean() == pytest.approx(labels.mean(), abs=1e-12)


def test_a_slope_may_be_steep_or_negative() -> None:
    found = recalibration(np.array([0, 0, 0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 3, 4 + 1e-6, 4, 5, 6.0]))
    assert found.slope.value > 10
    assert found.slope.high - found.slope.low > 100
    labels, logits = drawn_images(300, 3)
    assert recalibration(labels, -logits).slope.value == pytest.approx(-recalibration(labels, logits).slope.value)


@pytest.mark.parametrize(
    ("labels", "logits", "has_intercept", "reason"),
    [
        ([1, 1], [0.0, 1.0], False, "both classes are needed, got 2 malignant and 0 benign images"),
        ([1], [0.0], False, "both classes are needed"),
        ([0, 1], [0.0, -np.inf], False, "1 of 2 logits are infinite, which no scaling changes"),
        ([0, 0, 1], [0.0, 1.0, 2.0], True, "one threshold parts the classes"),
        ([0, 0, 1, 1], [0.0, 1.0, 1.0, 2.0], True, "one threshold parts the classes"),  # they touch
        ([1, 0, 0], [0.0, 1.0, 2.0], True, "one threshold parts the classes"),  # the wrong way
        ([1, 0, 0], [7.0, 7.0, 7.0], True, "all logits are equal, so that there is no slope"),
    ],
)
def test_what_has_no_slope(labels: list[int], logits: list[float], has_intercept: bool, reason: str) -> None:
    found = recalibration(np.array(labels), np.array(logits))
    assert all(map(math.isnan, (found.slope.value, found.slope.low, found.slope.high)))
    assert math.isnan(found.intercept.value) is not has_intercept
    assert reason in found.reason
    assert list(found.to_dict()) == ["slope", "intercept", "reason"]


def test_one_group_has_values_without_bounds() -> None:
    labels, logits = drawn_images(50, 4)
    found = recalibration(labels, logits, groups=np.zeros(50, dtype=np.int64))
    assert found.slope.value == recalibration(labels, logits).slope.value
    assert all(map(math.isnan, (found.slope.low, found.slope.high, found.intercept.low)))
    assert found.reason == "all images are one group, which has no spread"


def test_refusals() -> None:
    for function in (fit_temperature, recalibration):
        with pytest.raises(DataError, match="the logit in row 0 is NaN"):
            function(np.array([0, 1]), np.array([np.nan, 0.0]))
    with pytest.raises(DataError, match="there are 1 group numbers for 2 images"):
        recalibration(np.array([0, 1]), np.array([0.0, 1.0]), groups=[1])

"""Decision curves and the partial AUC by hand, against tests/reference.py and scikit-learn, and by properties."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import expit

from lentigo.errors import ConfigError, DataError, UndefinedMetricError
from lentigo.evidence.metrics import roc_auc_score
from lentigo.evidence.net_benefit import decision_curve, partial_auc, partial_auc_interval
from tests import reference

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# logit     3   1   1   0  -1  -2
# label     1   1   0   0   1   0
LABELS = np.array([1, 1, 0, 0, 1, 0])
LOGITS = np.array([3.0, 1.0, 1.0, 0.0, -1.0, -2.0])


@st.composite
def scored_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Both classes, and whole-numbered logits with many ties."""
    labels = [0, 1, *draw(st.lists(st.integers(0, 1), max_size=30))]
    logits = draw(st.lists(st.integers(-6, 6), min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(logits, dtype=np.float64)


# ---------------------------------------------------------------- decision curve


def test_decision_curve_by_hand() -> None:
    found = decision_curve(LABELS, LOGITS, np.array([0.5, 0.2]))
    # At 1/2 a false alarm costs one malignant lesion: 2 found, 2 alarms. At 1/5 a quarter, and the line is -log 4.
    assert found.model == pytest.approx([(2 - 2) / 6, (3 - 2 / 4) / 6], abs=1e-15)
    assert found.treat_all == pytest.approx([0, (3 - 3 / 4) / 6], abs=1e-15)
    assert found.treat_none.tolist() == [0, 0]
    assert (found.prevalence, found.fitted_prevalence) == (0.5, 0.5)


def test_decision_curve_at_another_prevalence_by_hand() -> None:
    # From 1/2 to 1/10: all logits fall by log 9. At 1/4, log odds -log 3, the line among the old logits is log 3.
    found = decision_curve(LABELS, LOGITS, np.array([0.25]), prevalence=0.1)
    assert found.model == pytest.approx([0.1 * 1 / 3], abs=1e-15)  # 3 alone is above 1.0986
    assert found.treat_all == pytest.approx([0.1 - 0.9 / 3], abs=1e-15)
    # Fitted where one in ten is malignant already: nothing moves, and 3, 1, 1, 0, -1 lie above -log 3.
    fitted = decision_curve(LABELS, LOGITS, np.array([0.25]), prevalence=0.1, fitted_prevalence=0.1)
    assert fitted.model == pytest.approx([0.1 * 1 - 0.9 * (2 / 3) / 3], abs=1e-15)


@relaxed
@given(scored_images(), st.lists(st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.7, 0.99]), max_size=4))
def test_decision_curve_equals_counting(images: tuple[np.ndarray, np.ndarray], thresholds: list[float]) -> None:
    labels, logits = images
    found = decision_curve(labels, logits, np.array(thresholds, dtype=np.float64))
    for place, threshold in enumerate(thresholds):
        called = logits >= math.log(threshold / (1 - threshold))
        assert found.model[place] == pytest.approx(reference.net_benefit(labels, called, threshold), abs=1e-12)
        everyone = np.ones(labels.size, dtype=bool)
        assert found.treat_all[place] == pytest.approx(reference.net_benefit(labels, everyone, threshold), abs=1e-12)


@relaxed
@given(scored_images(), st.floats(0.01, 0.99), st.floats(0.01, 0.9), st.floats(0.01, 0.9))
def test_decision_curve_properties(
    images: tuple[np.ndarray, np.ndarray], threshold: float, prevalence: float, fitted: float
) -> None:
    labels, logits = images
    lines = np.array([threshold])
    found = decision_curve(labels, logits, lines, prevalence=prevalence, fitted_prevalence=fitted)
    assert found.model[0] <= prevalence
    certain = decision_curve(labels, np.where(labels == 1, np.inf, -np.inf), lines, prevalence=prevalence)
    assert certain.model[0] == pytest.approx(prevalence)
    everyone = decision_curve(labels, np.full(labels.size, 1e6), lines, prevalence=prevalence, fitted_prevalence=fitted)
    assert everyone.model[0] == pytest.approx(everyone.treat_all[0], abs=1e-12)
    nobody = decision_curve(labels, np.full(labels.size, -1e6), lines, prevalence=prevalence, fitted_prevalence=fitted)
    assert nobody.model[0] == 0
    # Treating all breaks even where the threshold is the prevalence.
    even = decision_curve(labels, logits, np.array([prevalence]), prevalence=prevalence)
    assert even.treat_all[0] == pytest.approx(0, abs=1e-12)


def test_honest_probabilities_do_no_harm_and_moved_ones_stay_honest() -> None:
    """Images are drawn at 1 malignant in 2 and weighed to 1 in 100, as sampling weights in scikit-learn would."""
    rng = np.random.default_rng(2)
    truth = 2 * rng.normal(size=60_000)
    labels = (rng.random(60_000) < expit(truth)).astype(np.int64)
    lines = np.array([0.005, 0.01, 0.05, 0.2])
    found = decision_curve(labels, truth, lines, prevalence=0.01)
    assert (found.model >= np.maximum(found.treat_all, 0) - 1e-4).all()
    share = labels.mean()
    weights = np.where(labels == 1, 0.01 / share, 0.99 / (1 - share))
    moved = expit(truth + math.log(0.01 / 0.99) - math.log(share / (1 - share)))
    for place, line in enumerate(lines):
        tn, fp, fn, tp = sklearn.metrics.confusion_matrix(labels, moved >= line, sample_weight=weights).ravel()
        assert found.model[place] == pytest.approx((tp - fp * line / (1 - line)) / (tn + fp + fn + tp), abs=1e-12)


def test_decision_curve_to_dict() -> None:
    found = decision_curve(LABELS, LOGITS, np.array([0.5, 0.2]), prevalence=0.01, fitted_prevalence=0.5)
    again = json.loads(json.dumps(found.to_dict()))
    assert again["threshold"] == [0.5, 0.2]
    assert again["prevalence"] == 0.01
    assert list(again) == ["threshold", "model", "treat_all", "treat_none", "prevalence", "fitted_prevalence"]


def test_decision_curve_refusals() -> None:
    for threshold in (0.0, 1.0, math.nan):
        with pytest.raises(ConfigError, match=r"a threshold of the decision curve is .*, not in \(0, 1\)"):
            decision_curve(LABELS, LOGITS, np.array([0.5, threshold]))
    for name in ("prevalence", "fitted_prevalence"):
        with pytest.raises(ConfigError, match=r"prevalence is 0.0, not in \(0, 1\)"):
            decision_curve(LABELS, LOGITS, np.array([0.5]), **{name: 0.0})
    with pytest.raises(UndefinedMetricError, match="a decision curve needs both classes, got 2 images of one"):
        decision_curve(np.array([1, 1]), np.array([0.0, 1.0]), np.array([0.5]))
    with pytest.raises(DataError, match="the logit in row 0 is NaN"):
        decision_curve(np.array([0, 1]), np.array([np.nan, 1.0]), np.array([0.5]))


# ---------------------------------------------------------------- partial AUC


def test_partial_auc_by_hand() -> None:
    # Points (0, 1/3), (1/3, 2/3), (2/3, 2/3), (2/3, 1), (1, 1): above 2/3, a strip of 1/3 by 1/3.
    assert partial_auc(LABELS, LOGITS, least_sensitivity=2 / 3) == pytest.approx(1 / 9, abs=1e-15)
    assert partial_auc(LABELS, LOGITS, least_sensitivity=0.8) == pytest.approx(0.2 / 3, abs=1e-15)
    # Above 1/2 also half of the slanted piece, from (1/6, 1/2): 1/6 high, 5/6 and 2/3 wide.
    expected = 1 / 9 + (5 / 6 + 2 / 3) / 2 / 6
    assert partial_auc(LABELS, LOGITS, least_sensitivity=0.5) == pytest.approx(expected, abs=1e-15)
    assert partial_auc(LABELS, LOGITS, least_sensitivity=0.0) == pytest.approx(13 / 18, abs=1e-15)


@pytest.mark.parametrize("levels", [2, 5, 40, 10_000])
@pytest.mark.parametrize("least", [0.8, 0.5, 0.95])
def test_partial_auc_equals_the_challenge(levels: int, least: float) -> None:
    """scikit-learn's is of the turned curve and scaled by McClish; the challenge scales it back."""
    rng = np.random.default_rng(levels)
    labels = rng.permuted(np.repeat([0, 1], [150, 50]))
    logits = np.floor(levels * expit(rng.normal(labels * 1.5)))
    most = abs(least - 1)
    scaled = sklearn.metrics.roc_auc_score(1 - labels, -logits, max_fpr=most)
    chance = most**2 / 2
    expected = chance + (most - chance) / (1 - 0.5) * (scaled - 0.5)
    assert partial_auc(labels, logits, least_sensitivity=least) == pytest.approx(expected, abs=1e-12)


@relaxed
@given(scored_images(), st.integers(0, 19))
def test_partial_auc_equals_the_definition(images: tuple[np.ndarray, np.ndarray], twentieths: int) -> None:
    labels, logits = images
    found = partial_auc(labels, logits, least_sensitivity=twentieths / 20)
    assert found == pytest.approx(float(reference.partial_auc(labels, logits, Fraction(twentieths, 20))), abs=1e-12)
    assert -1e-15 <= found <= 1 - twentieths / 20 + 1e-15
    assert partial_auc(labels, logits**3, least_sensitivity=twentieths / 20) == found
    assert partial_auc(labels, logits, least_sensitivity=0.0) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)


def test_partial_auc_at_its_ends() -> None:
    labels = np.array([0, 0, 1, 1])
    assert partial_auc(labels, np.array([0.0, 1, 2, np.inf])) == pytest.approx(0.2, abs=1e-15)
    assert partial_auc(labels, np.array([2.0, 3, 0, 1])) == pytest.approx(0, abs=1e-15)
    assert partial_auc(labels, np.zeros(4)) == pytest.approx(0.02, abs=1e-15)  # chance


def test_partial_auc_interval() -> None:
    rng = np.random.default_rng(7)
    labels = rng.integers(2, size=120)
    logits = rng.normal(labels * 2.0)
    found = partial_auc_interval(labels, logits)
    assert found.value == partial_auc(labels, logits)
    assert 0 <= found.low < found.value < found.high <= 0.2
    assert found == partial_auc_interval(labels, logits) != partial_auc_interval(labels, logits, seed=1)
    halves = partial_auc_interval(labels, logits, least_sensitivity=0.5)
    assert halves.value == partial_auc(labels, logits, least_sensitivity=0.5)
    copies = [np.repeat(values, 4) for values in (labels, logits)]
    grouped = partial_auc_interval(*copies, groups=np.repeat(np.arange(120), 4))
    single = partial_auc_interval(*copies)
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)


def test_partial_auc_refusals() -> None:
    for least in (-0.1, 1.0, math.nan):
        with pytest.raises(ConfigError, match=r"least_sensitivity is .*, not in \[0, 1\); try 0.8"):
            partial_auc(LABELS, LOGITS, least_sensitivity=least)
    for function in (partial_auc, partial_auc_interval):
        with pytest.raises(UndefinedMetricError, match="needs both classes, got 0 malignant and 1 benign"):
            function(np.array([0]), np.array([1.0]))
        with pytest.raises(DataError, match="the logit in row 0 is NaN"):
            function(np.array([0, 1]), np.array([np.nan, 1.0]))

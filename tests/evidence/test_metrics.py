"""Metrics by hand, against tests/reference.py and scikit-learn, and by properties that their definitions imply."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lentigo.errors import ConfigError, DataError, UndefinedMetricError
from lentigo.evidence import metrics
from lentigo.evidence.metrics import REPORTED_SCORES, Confusion, RocCurve
from tests import reference

# The machine may be busy with a training: a slow example is no failure.
relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# logit     3   1   1   0  -1  -2   a tie at 1 between the classes, and a benign image exactly on the threshold 0
# label     1   1   0   0   1   0
# called    1   1   1   1   0   0   so TP 2, FP 2, FN 1, TN 1
LABELS = np.array([1, 1, 0, 0, 1, 0])
LOGITS = np.array([3.0, 1.0, 1.0, 0.0, -1.0, -2.0])

ALL_METRICS = [metrics.confusion, metrics.roc_auc_score, metrics.roc_curve, metrics.scores, metrics.log_loss]


@st.composite
def scored_images(draw: st.DrawFn, both_classes: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Labels and whole-numbered logits in [-6, 6]: many ties, and no rounding under the maps used below."""
    labels = draw(st.lists(st.integers(0, 1), min_size=1, max_size=30)) + ([0, 1] if both_classes else [])
    logits = draw(st.lists(st.integers(-6, 6), min_size=len(labels), max_size=len(labels)))
    return np.array(labels), np.array(logits, dtype=np.float64)


def random_images(seed: int, n: int = 80, step: float = 1e-6) -> tuple[np.ndarray, np.ndarray]:
    """A third is malignant, and the logits know a little of it; rounded to `step`, so that a large one makes ties."""
    rng = np.random.default_rng(seed)
    labels = rng.permuted((np.arange(n) % 3 == 0).astype(np.int64))
    return labels, np.round((rng.normal(size=n) + labels) / step) * step


# ---------------------------------------------------------------- by hand


def test_confusion_by_hand() -> None:
    found = metrics.confusion(LABELS, LOGITS)
    assert found == Confusion(true_positive=2, false_positive=2, true_negative=1, false_negative=1)
    assert found.accuracy == 0.5  # (2 + 1) / 6
    assert found.precision == 0.5  # 2 / (2 + 2)
    assert found.recall == 2 / 3  # 2 / (2 + 1)
    assert found.specificity == 1 / 3  # 1 / (1 + 2)
    assert found.f1 == 4 / 7  # 2*2 / (2*2 + 2 + 1); as a harmonic mean, 2 * 1/2 * 2/3 / (1/2 + 2/3) = 2/3 / (7/6)


@pytest.mark.parametrize(
    ("threshold", "expected"),  # expected: TP, FP, TN, FN
    [
        (0.5, (2, 1, 2, 1)),  # the benign image at 0 is no longer called
        (1.0, (2, 1, 2, 1)),  # an image on the threshold is called
        (np.nextafter(1.0, 2.0), (1, 0, 3, 2)),
        (-math.inf, (3, 3, 0, 0)),
        (math.inf, (0, 0, 3, 3)),
    ],
)
def test_confusion_at_thresholds_by_hand(threshold: float, expected: tuple[int, int, int, int]) -> None:
    found = metrics.confusion(LABELS, LOGITS, threshold_logit=threshold)
    assert (found.true_positive, found.false_positive, found.true_negative, found.false_negative) == expected


def test_roc_auc_score_by_hand() -> None:
    # Malignant 3 beats 1, 0, -2: 3 wins. Malignant 1 ties 1, beats 0, -2: 2.5. Malignant -1 beats -2: 1. 6.5 of 9.
    assert metrics.roc_auc_score(LABELS, LOGITS) == 13 / 18


def test_roc_curve_by_hand() -> None:
    curve = metrics.roc_curve(LABELS, LOGITS)
    # Thirds. At or above 3: one malignant. 1: one of each more, a slanted step. 0: benign. -1: malignant. -2: benign.
    assert curve.threshold_logit.tolist() == [math.inf, 3, 1, 0, -1, -2]
    assert curve.false_positive_rate.tolist() == [0, 0, 1 / 3, 2 / 3, 2 / 3, 1]
    assert curve.true_positive_rate.tolist() == [0, 1 / 3, 2 / 3, 2 / 3, 1, 1]
    # Trapezoids in ninths: 1 * (1 + 2) / 2 + 1 * 2 + 1 * 3 = 6.5.
    assert curve.auc == pytest.approx(6.5 / 9, abs=1e-15)


def test_roc_curve_simplified_by_hand() -> None:
    curve = metrics.roc_curve(np.array([1, 1, 0, 0, 1, 0, 1, 0]), np.array([9.0, 8, 7, 6, 3, 3, 2, 2]))
    # Quarters, (x, y): up to (0, 1), (0, 2); right to (1, 2), (2, 2); slanted to (3, 3), (4, 4).
    assert curve.threshold_logit.tolist() == [math.inf, 9, 8, 7, 6, 3, 2]
    simple = curve.simplified()
    assert simple.threshold_logit.tolist() == [math.inf, 8, 6, 2]  # both ends, and the two turns
    assert (simple.false_positive_rate * 4).tolist() == [0, 0, 2, 4]
    assert (simple.true_positive_rate * 4).tolist() == [0, 2, 2, 4]
    assert simple.auc == curve.auc == 0.625  # sixteenths: 2 * 2 + 2 * (2 + 4) / 2 = 10
    stairs = metrics.roc_curve(np.arange(100_000) % 2, np.arange(100_000.0))  # every point is a corner, if a small one
    np.testing.assert_array_equal(stairs.simplified().threshold_logit, stairs.threshold_logit)


def test_log_loss_by_hand() -> None:
    # Logit log 3 is p = 3/4. Malignant costs -log 3/4, benign -log 1/4; the coin costs log 2.
    labels, logits = np.array([1, 0, 1]), np.array([math.log(3), math.log(3), 0.0])
    expected = (math.log(4 / 3) + math.log(4) + math.log(2)) / 3
    assert metrics.log_loss(labels, logits) == pytest.approx(expected, abs=1e-15)


def test_scores_by_hand() -> None:
    found = metrics.scores(LABELS, LOGITS, threshold_logit=0.5)
    assert found == {  # TP 2, FP 1, TN 2, FN 1
        "accuracy": 4 / 6,
        "precision": 2 / 3,
        "recall": 2 / 3,
        "f1": 4 / 6,  # 2*2 / (2*2 + 1 + 1)
        "specificity": 2 / 3,
        "auc": 13 / 18,  # of no threshold
        "n": 6,
        "n_malignant": 3,
        "n_benign": 3,
        "true_positive": 2,
        "false_positive": 1,
        "true_negative": 2,
        "false_negative": 1,
    }
    assert tuple(found)[: len(REPORTED_SCORES)] == ("accuracy", "precision", "recall", "f1", "specificity", "auc")
    assert {type(value) for value in found.values()} == {int, float}  # no numpy scalar: JSON takes it


def test_confusion_reads_back_from_its_counts() -> None:
    found = metrics.confusion(LABELS, LOGITS)
    assert found.to_dict() == {"true_positive": 2, "false_positive": 2, "true_negative": 1, "false_negative": 1}
    assert Confusion(**found.to_dict()) == found


# ---------------------------------------------------------------- against the reference and scikit-learn


@relaxed
@given(scored_images(both_classes=False), st.integers(-13, 13))
def test_confusion_equals_counting_one_by_one(images: tuple[np.ndarray, np.ndarray], half_threshold: int) -> None:
    labels, logits = images
    found = metrics.confusion(labels, logits, threshold_logit=half_threshold / 2)
    assert found.to_dict() == reference.counts(labels, logits, half_threshold / 2)
    for name, expected in reference.ratios(labels, logits, half_threshold / 2).items():
        assert getattr(found, name) == pytest.approx(expected, abs=1e-15, nan_ok=True), name


@relaxed
@given(scored_images())
def test_roc_equals_counting_pairs_and_thresholds(images: tuple[np.ndarray, np.ndarray]) -> None:
    curve, points = metrics.roc_curve(*images), reference.roc_points(*images)
    assert metrics.roc_auc_score(*images) == float(reference.auc(*images))  # to the last bit
    assert curve.auc == pytest.approx(float(reference.auc(*images)), abs=1e-14)
    np.testing.assert_array_equal(as_points(curve), np.array(points, dtype=float))
    np.testing.assert_array_equal(as_points(curve.simplified()), np.array(reference.corners(points), dtype=float))


def as_points(curve: RocCurve) -> np.ndarray:
    return np.stack([curve.false_positive_rate, curve.true_positive_rate], axis=1)


@relaxed
@given(scored_images(both_classes=False))
def test_log_loss_equals_the_reference(images: tuple[np.ndarray, np.ndarray]) -> None:
    assert metrics.log_loss(*images) == pytest.approx(reference.log_loss(*images), rel=1e-13)


@pytest.mark.parametrize("step", [1e-6, 0.25, 2.0])  # none, some, mostly ties
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_equal_scikit_learn(step: float, dtype: type[np.floating]) -> None:
    labels, logits = random_images(seed=3, n=400, step=step)
    logits = logits.astype(dtype)
    called = (logits >= 0.25).astype(np.int64)
    (tn, fp), (fn, tp) = sklearn.metrics.confusion_matrix(labels, called)
    expected = {
        "accuracy": sklearn.metrics.accuracy_score(labels, called),
        "precision": sklearn.metrics.precision_score(labels, called),
        "recall": sklearn.metrics.recall_score(labels, called),
        "f1": sklearn.metrics.f1_score(labels, called),
        "specificity": sklearn.metrics.recall_score(labels, called, pos_label=0),
        "auc": sklearn.metrics.roc_auc_score(labels, logits),
        "n": 400,
        "n_malignant": 134,  # of 0..399, 134 are multiples of 3
        "n_benign": 266,
        **{"true_positive": tp, "false_positive": fp, "true_negative": tn, "false_negative": fn},
    }
    assert metrics.scores(labels, logits, threshold_logit=0.25) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("step", [1e-6, 0.25, 2.0])
def test_roc_curve_and_log_loss_equal_scikit_learn(step: float) -> None:
    labels, logits = random_images(seed=4, n=400, step=step)
    false_rate, true_rate, thresholds = sklearn.metrics.roc_curve(labels, logits, drop_intermediate=False)
    curve = metrics.roc_curve(labels, logits)
    np.testing.assert_array_equal(curve.threshold_logit, thresholds)
    np.testing.assert_allclose(curve.false_positive_rate, false_rate, atol=1e-15)
    np.testing.assert_allclose(curve.true_positive_rate, true_rate, atol=1e-15)
    probabilities = 1 / (1 + np.exp(-logits))
    expected = sklearn.metrics.log_loss(labels, probabilities)
    assert metrics.log_loss(labels, logits) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("labels", "called"), [([0, 0], [0, 0]), ([0, 0], [0, 1]), ([1, 1], [0, 0]), ([1, 0], [0, 0])])
def test_undefined_ratios_are_nan_where_scikit_learn_says_undefined(labels: list[int], called: list[int]) -> None:
    found = metrics.confusion(np.array(labels), np.array(called) - 0.5)
    for name in ("precision", "recall", "f1"):
        expected = getattr(sklearn.metrics, f"{name}_score")(labels, called, zero_division=np.nan)
        assert getattr(found, name) == pytest.approx(expected, nan_ok=True), name


# ---------------------------------------------------------------- properties


@relaxed
@given(scored_images())
def test_auc_depends_on_the_order_alone(images: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = images
    expected = metrics.roc_auc_score(labels, logits)
    increasing = (lambda x: 2 * x - 7, lambda x: x**3, np.exp, np.arctan, np.float32, lambda x: x.astype(np.int16))
    assert [metrics.roc_auc_score(labels, increase(logits)) for increase in increasing] == [expected] * len(increasing)


@relaxed
@given(scored_images())
def test_turning_the_logits_or_the_labels_turns_the_auc(images: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = images
    auc = metrics.roc_auc_score(labels, logits)
    assert metrics.roc_auc_score(labels, -logits) == pytest.approx(1 - auc, abs=1e-15)
    assert metrics.roc_auc_score(1 - labels, logits) == pytest.approx(1 - auc, abs=1e-15)
    assert metrics.roc_auc_score(1 - labels, -logits) == auc
    assert metrics.log_loss(1 - labels, -logits) == metrics.log_loss(labels, logits)


@relaxed
@given(scored_images(both_classes=False))
def test_turning_labels_and_logits_swaps_the_classes(images: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = images
    found = metrics.confusion(labels, logits, threshold_logit=0.5)  # no logit lies on it
    turned = metrics.confusion(1 - labels, -logits, threshold_logit=-0.5)
    assert (turned.true_positive, turned.false_positive) == (found.true_negative, found.false_negative)
    assert (turned.true_negative, turned.false_negative) == (found.true_positive, found.false_positive)
    assert sum(found.to_dict().values()) == labels.size


@relaxed
@given(scored_images())
def test_roc_curve_rises_and_agrees_with_confusion(images: tuple[np.ndarray, np.ndarray]) -> None:
    labels, logits = images
    curve = metrics.roc_curve(labels, logits)
    points = as_points(curve)
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert (np.diff(points, axis=0) >= 0).all()
    assert (np.diff(points, axis=0).sum(axis=1) > 0).all()  # no point twice
    assert curve.threshold_logit.tolist() == [math.inf, *sorted(set(logits.tolist()), reverse=True)]
    for (false_rate, true_rate), threshold in zip(points, curve.threshold_logit, strict=True):
        at_point = metrics.confusion(labels, logits, threshold_logit=float(threshold))
        assert at_point.recall == true_rate
        assert at_point.specificity == pytest.approx(1 - false_rate, abs=1e-15)


@relaxed
@given(scored_images(both_classes=False), st.integers(2, 4), st.randoms(use_true_random=False))
def test_copies_and_order_change_nothing(images: tuple[np.ndarray, np.ndarray], copies: int, random: Any) -> None:
    rows = np.repeat(np.arange(images[0].size), copies)
    random.shuffle(rows)
    once, often = metrics.scores(*images), metrics.scores(images[0][rows], images[1][rows])
    for name, value in once.items():
        assert often[name] == pytest.approx(value if name in REPORTED_SCORES else value * copies, rel=0, nan_ok=True)


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize("value", [-1.0, 0.0, math.inf, -math.inf])
def test_constant_logits_are_chance(value: float) -> None:
    logits = np.full(6, value)
    assert metrics.roc_auc_score(LABELS, logits) == 0.5
    curve = metrics.roc_curve(LABELS, logits)
    assert curve.false_positive_rate.tolist() == curve.true_positive_rate.tolist() == [0, 1]
    assert curve.threshold_logit.tolist() == [math.inf, value]
    assert curve.simplified().threshold_logit.tolist() == [math.inf, value]


def test_infinite_logits_rank_at_the_ends_and_tie_with_themselves() -> None:
    labels, logits = np.array([1, 0, 1, 0, 0]), np.array([np.inf, np.inf, 2, 0, -np.inf])
    # Malignant +inf ties one, beats two: 2.5. Malignant 2 loses to +inf, beats two: 2. 4.5 of 6.
    assert metrics.roc_auc_score(labels, logits) == 4.5 / 6
    curve = metrics.roc_curve(labels, logits)
    assert curve.auc == pytest.approx(4.5 / 6, abs=1e-15)
    assert curve.threshold_logit.tolist() == [math.inf, math.inf, 2, 0, -math.inf]  # first "none", then both at +inf
    assert metrics.confusion(labels, logits, threshold_logit=math.inf).true_positive == 1


def test_float32_logits_above_17_stay_apart() -> None:
    labels, logits = np.array([0, 0, 1, 1]), np.array([17.5, 18, 18.5, 30], dtype=np.float32)
    probabilities = 1 / (1 + np.exp(-logits))
    assert probabilities.dtype == np.float32
    assert metrics.roc_auc_score(labels, probabilities) < 1  # the trap: sigmoid in float32 makes ties
    assert metrics.roc_auc_score(labels, logits) == 1


def test_large_integer_scores_are_not_rounded() -> None:
    assert metrics.roc_auc_score(np.array([0, 1]), np.array([2**53, 2**53 + 1])) == 1


def test_threshold_is_not_rounded_to_float32() -> None:
    logits = np.array([0.1], dtype=np.float32)  # 0.100000001490116
    just_above = 0.1000000015  # in float32 the same number as the logit
    assert metrics.confusion(np.array([1]), logits, threshold_logit=just_above).false_negative == 1
    assert metrics.confusion(np.array([1]), logits, threshold_logit=1e300).false_negative == 1


@pytest.mark.parametrize(
    ("label", "logit", "expected"),  # expected: accuracy, precision, recall, f1, specificity
    [
        (1, 2.0, (1, 1, 1, 1, math.nan)),
        (1, -2.0, (0, math.nan, 0, 0, math.nan)),
        (0, 2.0, (0, 0, math.nan, 0, 0)),
        (0, -2.0, (1, math.nan, math.nan, math.nan, 1)),
    ],
)
def test_scores_of_one_image(label: int, logit: float, expected: tuple[float, ...]) -> None:
    found = metrics.scores(np.array([label]), np.array([logit]))
    assert [found[name] for name in REPORTED_SCORES] == pytest.approx([*expected, math.nan], rel=0, nan_ok=True)
    assert (found["n"], found["n_malignant"], found["n_benign"]) == (1, label, 1 - label)


def test_confusion_of_nothing_is_nan_throughout() -> None:
    empty = Confusion(true_positive=0, false_positive=0, true_negative=0, false_negative=0)
    assert all(math.isnan(getattr(empty, name)) for name in REPORTED_SCORES if name != "auc")


@pytest.mark.parametrize(("label", "found"), [(1, "6 malignant and 0 benign"), (0, "0 malignant and 6 benign")])
def test_ranking_of_one_class_is_refused(label: int, found: str) -> None:
    labels = np.full(6, label)
    advice = f"needs both classes, got {found} images; score a split that holds both: check split.csv"
    with pytest.raises(UndefinedMetricError, match=f"^AUC {advice}$"):
        metrics.roc_auc_score(labels, LOGITS)
    with pytest.raises(UndefinedMetricError, match=f"^a ROC curve {advice}$"):
        metrics.roc_curve(labels, LOGITS)


def test_log_loss_of_extreme_logits() -> None:
    labels = np.array([1, 0])
    assert metrics.log_loss(labels, np.array([1000.0, -1000.0])) == 0
    assert metrics.log_loss(labels, np.array([-1000.0, -1000.0], dtype=np.float32)) == 500  # (1000 + 0) / 2
    assert metrics.log_loss(labels, np.array([np.inf, -np.inf])) == 0
    assert metrics.log_loss(labels, np.array([-np.inf, 0])) == math.inf
    assert metrics.log_loss(np.array([1]), np.array([40.0])) == pytest.approx(math.exp(-40), rel=1e-12)  # not 0


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        (np.zeros(3, int), np.zeros(2), r"labels have shape \(3,\) and logits \(2,\).*one label and one logit"),
        (np.zeros((3, 1), int), np.zeros((3, 1)), r"labels have shape \(3, 1\) and logits \(3, 1\).*one-dimensional"),
        (np.zeros((), int), np.zeros(()), r"labels have shape \(\)"),
        (np.zeros(0, int), np.zeros(0), "no images to score; at least one is needed: check that the split"),
        (np.array([0.0, 1.0]), np.zeros(2), "labels are float64, not integers; pass 1 for malignant and 0 for benign"),
        (np.array([False, True]), np.zeros(2), "labels are bool, not integers"),
        (np.array([0, -1, 2, 1, 2]), np.zeros(5), r"labels hold -1, 2; only 1 \(malignant\) and 0 \(benign\)"),
        (np.arange(100), np.zeros(100), "labels hold 2, 3, 4, 5, 6; only"),
        (np.array([0, 1]), np.array(["1", "2"]), "logits are <U1, not real numbers; pass one float an image"),
        (np.array([0, 1]), np.array([1, 2j]), "logits are complex128, not real numbers"),
        (np.array([0, 1, 1]), np.array([0, np.nan, np.nan]), r"row 1 is NaN \(2 of 3 rows are\).*predict again"),
    ],
)
def test_check_scores_refuses(labels: np.ndarray, logits: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        metrics.check_scores(labels, logits)


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_every_metric_refuses_what_it_cannot_score(metric: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match="the logit in row 2 is NaN"):
        metric(np.array([0, 1, 1]), np.array([1, 0, np.nan]))
    with pytest.raises(DataError, match="labels hold 2;"):
        metric(np.array([0, 1, 2]), np.array([1.0, 0, 0]))
    with pytest.raises(DataError, match="no images to score"):
        metric(np.zeros(0, int), np.zeros(0))


@pytest.mark.parametrize("metric", [metrics.confusion, metrics.scores])
def test_threshold_of_nan_is_refused(metric: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="threshold_logit is NaN; any number or infinity is allowed"):
        metric(LABELS, LOGITS, threshold_logit=math.nan)


@pytest.mark.parametrize("metric", ALL_METRICS)
def test_metrics_leave_their_arguments_alone(metric: Callable[..., Any]) -> None:
    labels, logits = LABELS.copy(), LOGITS.copy()
    labels.flags.writeable = logits.flags.writeable = False
    metric(labels, logits)
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(logits, LOGITS)

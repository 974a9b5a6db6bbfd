"""Resamples by their properties; intervals against scipy, against theory, by simulation, and in the corners."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import f1_score as sklearn_f1

from lentigo.errors import ConfigError, DataError, UndefinedMetricError
from lentigo.evidence.bootstrap import bootstrap_interval, f1_score, resamples, score_intervals
from lentigo.evidence.intervals import UNDEFINED, auc_interval, share_interval, wilson_interval
from lentigo.evidence.metrics import REPORTED_SCORES, confusion, log_loss, roc_auc_score, scores

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def images(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return labels, rng.normal(labels - 0.5)


def mean_logit(labels: np.ndarray, logits: np.ndarray) -> float:
    return float(logits.mean())


def has_no_nan(low: float, high: float) -> bool:
    return not (math.isnan(low) or math.isnan(high))


# ---------------------------------------------------------------- resamples


@relaxed
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=40), st.integers(0, 3))
def test_resamples_draw_whole_groups_and_keep_their_kinds(rows: list[tuple[int, int]], seed: int) -> None:
    labels, groups = (np.array(column) for column in zip(*rows, strict=True))
    kind = {g: frozenset(labels[groups == g].tolist()) for g in set(groups.tolist())}
    drawn = list(resamples(labels, groups=groups, count=5, seed=seed))
    assert len(drawn) == 5
    for indices in drawn:
        assert set(labels[indices]) == set(labels)
        counts = np.bincount(indices, minlength=labels.size)
        times = {g: set(counts[groups == g].tolist()) for g in kind}
        assert all(len(of_group) == 1 for of_group in times.values())  # each image of a group as often as the others
        for wanted in set(kind.values()):
            of_kind = [g for g in kind if kind[g] == wanted]
            assert sum(times[g].copy().pop() for g in of_kind) == len(of_kind)


@relaxed
@given(st.lists(st.integers(0, 1), min_size=1, max_size=40))
def test_resamples_without_groups_keep_both_classes(rows: list[int]) -> None:
    labels = np.array(rows)
    for indices in resamples(labels, count=5):
        assert np.bincount(labels[indices], minlength=2).tolist() == np.bincount(labels, minlength=2).tolist()
    alone = [i.tolist() for i in resamples(labels, count=5)]
    assert alone == [i.tolist() for i in resamples(labels, groups=np.arange(labels.size) * 7, count=5)]


def test_resamples_are_the_same_again_and_others_with_another_seed() -> None:
    labels, _ = images()
    first, again, other = (np.array(list(resamples(labels, count=3, seed=seed))) for seed in (4, 4, 5))
    assert (first == again).all()
    assert not (first == other).all()
    assert not (first[0] == first[1]).all()


def test_every_image_of_a_class_is_as_likely_as_the_others() -> None:
    labels = np.array([0] * 5 + [1] * 10)
    drawn = np.concatenate(list(resamples(labels, count=4000)))
    assert stats.chisquare(np.bincount(drawn)[:5]).pvalue > 1e-3
    assert stats.chisquare(np.bincount(drawn)[5:]).pvalue > 1e-3


# ---------------------------------------------------------------- intervals


def test_interval_is_about_that_of_scipy() -> None:
    _, values = images(80)
    ones = np.ones(80, dtype=np.int64)  # one class: images are drawn as scipy draws
    found = bootstrap_interval(ones, values, mean_logit, count=20_000)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    )
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.02 * width)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.02 * width)


def test_interval_of_the_auc_is_about_delongs() -> None:
    labels, logits = images(400)
    found, expected = bootstrap_interval(labels, logits, roc_auc_score), auc_interval(labels, logits)
    assert found.value == expected.value
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_groups_widen_the_interval_as_much_as_copies_do() -> None:
    labels, logits = images(100)
    of_copies = np.repeat(labels, 9), np.repeat(logits, 9)
    alone = bootstrap_interval(labels, logits, mean_logit)
    grouped = bootstrap_interval(*of_copies, mean_logit, groups=np.repeat(np.arange(100), 9))
    assert (grouped.low, grouped.high) == pytest.approx((alone.low, alone.high), abs=1e-12)
    blind = bootstrap_interval(*of_copies, mean_logit)
    assert blind.high - blind.low == pytest.approx((alone.high - alone.low) / 3, rel=0.1)


def test_bounds_are_the_25th_from_either_end() -> None:
    labels, logits = images(30)
    seen = sorted(mean_logit(labels[i], logits[i]) for i in resamples(labels, count=999, seed=3))
    found = bootstrap_interval(labels, logits, mean_logit, count=999, seed=3)
    assert (found.low, found.high) == (seen[24], seen[-25])
    wide = bootstrap_interval(labels, logits, mean_logit, count=999, seed=3, level=0.99)
    assert (wide.low, wide.high) == (seen[4], seen[-5])
    least = bootstrap_interval(labels, logits, mean_logit, count=39, seed=3)
    of_39 = [mean_logit(labels[i], logits[i]) for i in resamples(labels, count=39, seed=3)]
    assert (least.low, least.high) == (min(of_39), max(of_39))


def test_centred_interval_turns_over_the_value() -> None:
    labels, logits = images()
    plain = bootstrap_interval(labels, logits, log_loss)
    centred = bootstrap_interval(labels, logits, log_loss, centred=True)
    assert centred.low == pytest.approx(2 * plain.value - plain.high)
    assert centred.high == pytest.approx(2 * plain.value - plain.low)


def test_centred_interval_holds_the_truth_of_a_biased_score() -> None:
    """A sum of squared means grows by their variance with each drawing: twice in a percentile, not if turned over."""
    rng = np.random.default_rng(5)
    held = {True: 0, False: 0}
    for _ in range(30):
        points = rng.normal(0.25, 1, size=(50, 30))

        def square(labels: np.ndarray, rows: np.ndarray, points: np.ndarray = points) -> float:
            return float((points[rows.astype(int)].mean(axis=0) ** 2).sum())

        for centred in held:
            found = bootstrap_interval(np.ones(50, dtype=int), np.arange(50.0), square, count=199, centred=centred)
            held[centred] += found.low <= 30 * 0.25**2 <= found.high
    assert held[True] >= 25
    assert held[False] <= 5


def test_a_score_without_a_value_has_no_interval() -> None:
    labels, logits = np.array([1, 1, 1]), np.array([0.0, 1.0, 2.0])
    assert_undefined(bootstrap_interval(labels, logits, roc_auc_score))  # raises
    assert_undefined(bootstrap_interval(labels, logits, lambda *_: math.nan))
    assert_undefined(bootstrap_interval(np.zeros(3, dtype=int), -1 - logits, f1_score))


@pytest.mark.parametrize(("every", "has_bounds"), [(200, True), (100, True), (50, False), (2, False)])
def test_few_resamples_without_a_value_are_left_out(every: int, has_bounds: bool) -> None:
    labels, logits = images(20)
    calls = iter(range(10_000))

    def now_and_then(labels: np.ndarray, logits: np.ndarray) -> float:
        if next(calls) % every == every - 1:
            raise UndefinedMetricError("not this time")
        return mean_logit(labels, logits)

    found = bootstrap_interval(labels, logits, now_and_then)
    assert found.value == logits.mean()
    assert has_no_nan(found.low, found.high) == has_bounds


def test_infinite_scores_have_bounds() -> None:
    labels, logits = np.array([1, 0, 1, 0]), np.array([-np.inf, -1.0, 1.0, -1.0])
    found = bootstrap_interval(labels, logits, log_loss)
    assert (found.value, found.high) == (math.inf, math.inf)
    assert 0 < found.low < 1


def test_refusals() -> None:
    labels, logits = images(10)
    with pytest.raises(DataError, match="the logit in row 0 is NaN"):
        bootstrap_interval(labels, np.full(10, np.nan), mean_logit)
    with pytest.raises(DataError, match="there are 2 group numbers for 10 images"):
        bootstrap_interval(labels, logits, mean_logit, groups=[1, 2])
    with pytest.raises(ConfigError, match=r"level is 1.0, not in \(0, 1\)"):
        bootstrap_interval(labels, logits, mean_logit, level=1.0)
    with pytest.raises(ConfigError, match=r"count is 38, too few resamples for a level of 0.95; at least 39 are"):
        bootstrap_interval(labels, logits, mean_logit, count=38)
    with pytest.raises(ConfigError, match="a threshold is NaN"):
        score_intervals(labels, logits, threshold_logit=math.nan)


# ---------------------------------------------------------------- the reported scores


@settings(relaxed, max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=30), st.integers(-2, 2))
def test_score_intervals_have_the_values_of_the_metrics(rows: list[tuple[int, int]], threshold: int) -> None:
    labels, logits = np.array([label for label, _ in rows]), np.array([float(logit) for _, logit in rows])
    found = score_intervals(labels, logits, threshold_logit=float(threshold))
    assert tuple(found) == REPORTED_SCORES
    expected = scores(labels, logits, threshold_logit=float(threshold))
    for name, interval in found.items():
        assert interval.value == pytest.approx(expected[name], abs=1e-15, nan_ok=True)
        if math.isnan(interval.value):
            assert_undefined(interval)
        else:
            assert 0 <= interval.low <= interval.value <= interval.high <= 1
            assert interval.low < interval.high or name == "f1"


def test_shares_have_wilsons_interval() -> None:
    labels, logits = images()
    found, counts = (
        score_intervals(labels, logits, threshold_logit=0.25),
        confusion(labels, logits, threshold_logit=0.25),
    )
    tp, fp, tn, fn = counts.true_positive, counts.false_positive, counts.true_negative, counts.false_negative
    for name, right, wrong in (
        ("accuracy", tp + tn, fp + fn),
        ("precision", tp, fp),
        ("recall", tp, fn),
        ("specificity", tn, fp),
    ):
        assert (found[name].low, found[name].high) == pytest.approx(wilson_interval(right, right + wrong))
    assert found["auc"] == auc_interval(labels, logits)
    called = np.where(logits >= 0.25, 1.0, -1.0)
    assert found["f1"] == bootstrap_interval(labels, called, f1_score)


def test_groups_reach_every_score() -> None:
    labels, logits = images(60)
    copied = np.repeat(labels, 4), np.repeat(logits, 4)
    groups = np.repeat(np.arange(60), 4)
    alone, blind = score_intervals(labels, logits), score_intervals(*copied)
    grouped = score_intervals(*copied, groups=groups)
    for name in REPORTED_SCORES:
        width = alone[name].high - alone[name].low
        assert grouped[name].high - grouped[name].low == pytest.approx(width, rel=0.03)
        assert blind[name].high - blind[name].low < 0.6 * width
    malignant = copied[0] == 1
    assert grouped["recall"] == share_interval(copied[1][malignant] >= 0, groups=groups[malignant])


def test_f1_of_0_or_1_has_the_interval_of_a_share() -> None:
    labels = np.array([1] * 30 + [0] * 50)
    perfect = score_intervals(labels, labels - 0.5)["f1"]
    low, _ = wilson_interval(30, 30)
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(2 * low / (1 + low))
    reversed_ = score_intervals(labels, 0.5 - labels)["f1"]  # no hit, 80 malignant or called so
    _, high = wilson_interval(0, 80)
    assert (reversed_.value, reversed_.low, reversed_.high) == (0.0, 0.0, pytest.approx(2 * high / (1 + high)))


def test_one_class_one_image_constant_and_infinite_logits() -> None:
    of_malignant = score_intervals(np.array([1, 1]), np.array([np.inf, -np.inf]))
    assert of_malignant["recall"].value == 0.5
    assert_undefined(of_malignant["auc"])
    assert_undefined(of_malignant["specificity"])
    single = score_intervals(np.array([0]), np.array([-1.0]))
    assert (single["accuracy"].value, single["accuracy"].high) == (1.0, 1.0)
    assert single["accuracy"].low == pytest.approx(wilson_interval(1, 1)[0])
    assert all(single[name] == UNDEFINED or math.isnan(single[name].value) for name in ("precision", "recall", "f1"))
    constant = score_intervals(np.array([0, 1, 0, 1]), np.zeros(4))
    assert (constant["auc"].value, constant["specificity"].value, constant["recall"].value) == (0.5, 0.0, 1.0)
    assert_undefined(score_intervals(np.array([0, 1]), np.zeros(2), threshold_logit=1.0)["precision"])


@relaxed
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(-2, 2)), min_size=1, max_size=30))
def test_f1_equals_scikit_learn(rows: list[tuple[int, int]]) -> None:
    labels, logits = (np.array(column) for column in zip(*rows, strict=True))
    found = f1_score(labels, logits)
    assert found == pytest.approx(sklearn_f1(labels, logits >= 0, zero_division=np.nan), nan_ok=True)
    assert found == pytest.approx(confusion(labels, logits).f1, nan_ok=True)


def test_f1_bounds_leave_out_what_they_should_of_all_resamples() -> None:
    """Hits and false alarms of a resample are binomial: the chance of each F1 is a sum over all pairs of counts."""
    labels, logits = images(120, seed=8)
    found, counts = score_intervals(labels, logits)["f1"], confusion(labels, logits)
    hits, alarms = np.meshgrid(np.arange(61), np.arange(61), indexing="ij")
    chances = stats.binom.pmf(hits, 60, counts.recall) * stats.binom.pmf(alarms, 60, 1 - counts.specificity)
    f1 = 2 * hits / (60 + hits + alarms)
    assert chances[f1 < found.low].sum() == pytest.approx(0.025, abs=0.016)  # 1,000 resamples tell it to 0.005
    assert chances[f1 > found.high].sum() == pytest.approx(0.025, abs=0.016)


def assert_undefined(interval: object) -> None:
    assert all(math.isnan(getattr(interval, name)) for name in ("value", "low", "high"))


def test_f1_has_a_width_where_everything_is_called_malignant() -> None:
    """No drawing within the classes changes TP = 20, FP = 20, FN = 0, but other images could."""
    labels, logits = np.repeat([1, 0], 20), np.full(40, 0.5)
    found = score_intervals(labels, logits)
    recall, specificity = found["recall"], found["specificity"]
    assert found["f1"].value == pytest.approx(2 / 3)
    assert found["f1"].low == pytest.approx(2 * recall.low * 20 / (recall.low * 20 + 40), abs=1e-12)
    assert found["f1"].high == pytest.approx(40 / (40 + (1 - specificity.high) * 20), abs=1e-12)
    assert found["f1"].low < 0.65
    assert found["f1"].high > 0.7

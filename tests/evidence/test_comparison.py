"""Paired tests against the quadratic definition, statsmodels and scipy, published examples, and what they promise."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from lentigo.errors import ConfigError, DataError, UndefinedMetricError
from lentigo.evidence.bootstrap import f1_score, resamples
from lentigo.evidence.comparison import (
    PairedTest,
    bootstrap_test,
    compare_pairs,
    delong_test,
    holm,
    mcnemar_test,
)
from lentigo.evidence.intervals import auc_interval
from lentigo.evidence.metrics import confusion, roc_auc_score
from tests import reference

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# label    1   1   0   0   1   0; a has ties, b has others
LABELS = np.array([1, 1, 0, 0, 1, 0])
A = np.array([3.0, 1.0, 1.0, 0.0, -1.0, -2.0])
B = np.array([1.0, 1.0, 2.0, 0.0, 2.0, 1.0])

Two = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def two_models(draw: st.DrawFn, least: int = 2) -> Two:
    """Labels with `least` images of each class, and two sets of whole-numbered logits with many ties."""
    labels = [0, 1] * least + draw(st.lists(st.integers(0, 1), max_size=20))
    logits = [draw(st.lists(st.integers(-4, 4), min_size=len(labels), max_size=len(labels))) for _ in "ab"]
    return np.array(labels), np.array(logits[0], dtype=np.float64), np.array(logits[1])


def table(both: int, only_a: int, only_b: int, neither: int) -> Two:
    """Malignant images of which so many are called right."""
    counts = [both, only_a, only_b, neither]
    a, b = np.repeat([1.0, 1.0, -1.0, -1.0], counts), np.repeat([1.0, -1.0, 1.0, -1.0], counts)
    return np.ones(sum(counts), dtype=np.int64), a, b


# ---------------------------------------------------------------- DeLong


def test_delong_by_hand() -> None:
    # Placements in 18ths: a 18, 15, 6 and 9, 12, 18; b 9, 9, 15 and 3, 18, 12.
    # Differences 9, 6, -9 and 6, -6, 6 have the mean 2; off it 7, 4, -11 and 4, -8, 4: squares 186 and 96.
    found = delong_test(LABELS, A, B)
    assert found.difference == pytest.approx(2 / 18, abs=1e-15)
    deviation = math.sqrt((186 + 96) / (324 * 6))
    assert found.high - found.difference == pytest.approx(1.959964 * deviation, abs=1e-6)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(2 / 18 / deviation), abs=1e-14)
    assert (found.score, found.method, found.reason) == ("auc", "DeLong", "")


@relaxed
@given(two_models())
def test_delong_equals_the_definition(models: Two) -> None:
    variance = float(reference.auc_difference_variance(*models))
    assert_normal_test(delong_test(*models), models, variance)


@relaxed
@given(two_models(), st.data())
def test_delong_with_groups_equals_obuchowskis_definition(models: Two, data: st.DataObject) -> None:
    labels = models[0]
    groups = data.draw(st.lists(st.integers(0, 8), min_size=labels.size, max_size=labels.size))
    assume(all(len({g for g, x in zip(groups, labels, strict=True) if x == label}) > 1 for label in (0, 1)))
    variance = float(reference.clustered_auc_difference_variance(*models, groups))
    assert_normal_test(delong_test(*models, groups=groups), models, max(variance, 0.0))


def test_delong_equals_the_definition_on_many_images_with_ties() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=160)
    a = np.round(rng.normal(labels), 1)
    b = np.round(a + rng.normal(size=160), 1)
    assert np.unique(a).size < 80
    assert_normal_test(
        delong_test(labels, a, b), (labels, a, b), float(reference.auc_difference_variance(labels, a, b))
    )


def assert_normal_test(found: PairedTest, models: Two, variance: float) -> None:
    """To 1e-12: interval and p value of a normal difference with this variance."""
    labels, a, b = models
    difference = float(reference.auc(labels, a) - reference.auc(labels, b))
    assert found.difference == pytest.approx(difference, abs=1e-12)
    if variance < 1e-15:
        assert found.p_value == 1.0 if difference == 0 else math.isnan(found.p_value)
        return
    half = 1.959963984540054 * math.sqrt(variance)
    assert found.low == pytest.approx(max(difference - half, -1), abs=1e-12)
    assert found.high == pytest.approx(min(difference + half, 1), abs=1e-12)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(difference) / math.sqrt(variance)), abs=1e-12)


@relaxed
@given(two_models(least=1))
def test_delong_turns_with_its_models_and_knows_order_alone(models: Two) -> None:
    labels, a, b = models
    found, turned, bent = (
        delong_test(labels, a, b),
        delong_test(labels, b, a),
        delong_test(labels, np.exp(a), 3 * b - 7),
    )
    assert (turned.difference, turned.low, turned.high) == pytest.approx(
        (-found.difference, -found.high, -found.low), abs=1e-12, nan_ok=True
    )
    assert turned.p_value == pytest.approx(found.p_value, abs=1e-12, nan_ok=True)
    assert bent.to_dict() == pytest.approx(found.to_dict(), nan_ok=True)
    same = delong_test(labels, a, np.exp(a))
    assert (same.difference, same.p_value) == (0.0, 1.0) if min(np.bincount(labels)) > 1 else math.isnan(same.p_value)


def test_delong_without_a_variance() -> None:
    labels = np.repeat([0, 1], [30, 20])
    perfect, reverse = np.arange(50.0), -np.arange(50.0)
    same = delong_test(labels, perfect, perfect**3)
    assert (same.difference, same.p_value, same.reason) == (0.0, 1.0, "")
    assert (same.low, same.high) == pytest.approx((0.05 ** (1 / 20) - 1, 1 - 0.05 ** (1 / 20)))
    assert same.high == pytest.approx(1 - auc_interval(labels, perfect).low)  # the same bound
    opposite = delong_test(labels, perfect, reverse)
    assert opposite.difference == 1.0
    assert_no_p(opposite, "the variance of the difference is estimated as 0")
    constant = delong_test(labels, np.zeros(50), perfect)
    assert constant.difference == -0.5
    assert_no_p(constant, "the variance of the difference is estimated as 0")
    single = delong_test(np.array([1, 0, 0]), np.array([1.0, 0.0, 2.0]), np.array([0.0, 1.0, 2.0]))
    assert single.difference == 0.5
    assert_no_p(single, "a class has a single image or group, which has no spread")
    assert_no_p(delong_test(LABELS, A, B, groups=[1, 1, 1, 2, 1, 3]), "a class has a single image or group")


def test_constant_differences_are_no_variance_though_they_round_differently() -> None:
    """Of both classes each image stands one third higher with a, but 1 - 2/3 is not 1/3 - 0 in float64."""
    labels = np.array([1, 1, 1, 0, 0, 0])
    apart = delong_test(labels, np.array([1.0, 3, 5, 0, 2, 4]), np.array([1.0, 3, 5, 2, 4, 6]))
    assert apart.difference == pytest.approx(1 / 3)
    assert_no_p(apart, "the variance of the difference is estimated as 0")


def test_delong_allows_infinite_logits() -> None:
    found = delong_test(LABELS, np.array([np.inf, 1, 1, 0, -1, -np.inf]), B)
    assert found == delong_test(LABELS, A, B)


@pytest.mark.parametrize("grouped", [False, True])
def test_delong_keeps_its_level(grouped: bool) -> None:
    """Two equally good models of lesions with two photos: 5 % of p values below 0.05, more if groups are ignored."""
    rng = np.random.default_rng(11)
    groups = np.repeat(np.arange(80), 2)
    labels = groups % 2
    below = 0
    for _ in range(400):
        models = [np.repeat(rng.normal(size=80), 2) + labels + 0.1 * rng.normal(size=160) for _ in "ab"]
        below += delong_test(labels, *models, groups=groups if grouped else None).p_value < 0.05
    assert below / 400 == pytest.approx(0.05, abs=0.035) if grouped else below / 400 > 0.11


def test_delong_refuses() -> None:
    with pytest.raises(UndefinedMetricError, match="AUC needs both classes, got 2 malignant and 0 benign"):
        delong_test(np.array([1, 1]), np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match="the logit in row 1 is NaN"):
        delong_test(np.array([1, 0]), np.zeros(2), np.array([0.0, np.nan]))
    with pytest.raises(DataError, match="there are 1 group numbers for 6 images"):
        delong_test(LABELS, A, B, groups=[1])


# ---------------------------------------------------------------- McNemar


def test_mcnemar_on_agrestis_approval_ratings() -> None:
    """Agresti, Categorical Data Analysis, table 10.1: z^2 = 17.36, and Wald's interval 0.040 +- 1.96 (0.0095)."""
    found = mcnemar_test(*table(794, 150, 86, 570))
    assert found.p_value == pytest.approx(stats.chi2.sf((150 - 86) ** 2 / (150 + 86), df=1), rel=1e-12)
    assert found.p_value == pytest.approx(3.1e-5, rel=0.01)
    assert found.method == "McNemar, chi-square"
    assert found.difference == pytest.approx(0.04)
    assert (found.low, found.high) == pytest.approx((0.04 - 1.96 * 0.0095, 0.04 + 1.96 * 0.0095), abs=5e-4)


def test_tangos_interval_of_a_published_example() -> None:
    """Bentur et al. 2009, airways of 21 children, in Fagerland et al. 2014, Statistics in Medicine 33(16):2850-2875."""
    found = mcnemar_test(*table(1, 1, 7, 12))
    assert (round(found.low, 3), round(found.high, 3)) == (-0.517, -0.026)
    assert found.p_value == pytest.approx(0.0703, abs=5e-5)
    assert found.method == "McNemar, exact"


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_equals_statsmodels(only_a: int, only_b: int, both: int, neither: int) -> None:
    assume(only_a + only_b + both + neither)
    exact = only_a + only_b < 25
    found = mcnemar_test(*table(both, only_a, only_b, neither))
    if only_a + only_b:
        expected = mcnemar([[both, only_a], [only_b, neither]], exact=exact, correction=False)
        assert found.p_value == pytest.approx(expected.pvalue, abs=1e-12)
    else:
        assert found.p_value == 1.0
    assert found.method == f"McNemar, {'exact' if exact else 'chi-square'}"
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert found.low < found.high
    if not exact:
        assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)


@pytest.mark.parametrize(
    "counts", [(40, 9, 3, 10), (0, 5, 0, 1), (200, 30, 41, 20), (3, 0, 0, 4), (0, 0, 6, 0), (50, 1, 0, 0)]
)
def test_interval_holds_the_differences_that_a_score_test_would_not_refuse(counts: tuple[int, int, int, int]) -> None:
    """The likelihood under each difference is maximised by search; only what differs by less than 1.96 is inside."""
    _, only_a, only_b, _ = counts
    n = sum(counts)

    def z(difference: float) -> float:
        def loss(share_b: float) -> float:
            shares = [share_b + difference, share_b, 1 - 2 * share_b - difference]
            if min(shares) < 0:
                return math.inf
            terms = zip((only_a, only_b, n - only_a - only_b), shares, strict=True)
            return -sum(k * math.log(max(share, 1e-300)) for k, share in terms if k)

        bounds = max(0.0, -difference), (1 - difference) / 2
        share_b = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x
        variance = n * (2 * share_b + difference - difference**2)
        return (only_a - only_b - n * difference) / math.sqrt(variance)

    found = mcnemar_test(*table(*counts))
    for bound, inside in ((found.low, 1), (found.high, -1)):
        if abs(bound) < 1 - 1e-9:
            assert abs(z(bound + inside * 1e-4)) < 1.959964 < abs(z(bound - inside * 1e-4))


def test_nothing_discordant_still_has_a_width() -> None:
    found = mcnemar_test(*table(30, 0, 0, 10))
    bound = 1.959963984540054**2 / (40 + 1.959963984540054**2)
    assert (found.difference, found.p_value) == (0.0, 1.0)
    assert (found.low, found.high) == (pytest.approx(-bound), pytest.approx(bound))
    of_groups = mcnemar_test(*table(30, 0, 0, 10), groups=np.arange(40) // 4)
    assert of_groups.high == pytest.approx(1.959963984540054**2 / (10 + 1.959963984540054**2))


def test_mcnemar_by_hand_with_groups() -> None:
    # Groups of net 2, 1, -1, 0 (one each way). Of 8 turns of 2, 1, 1 the sum is 2 or further off 0 in 6.
    labels, a, b = table(0, 4, 2, 0)
    found = mcnemar_test(labels, a, b, groups=[5, 5, 6, 8, 7, 8])
    assert found.p_value == 6 / 8
    assert found.method == "McNemar, exact, by groups"
    assert found.difference == pytest.approx(2 / 6)


@relaxed
@given(st.lists(st.tuples(st.integers(-1, 1), st.integers(0, 11)), min_size=1, max_size=30))
def test_mcnemar_with_groups_equals_turning_all_signs(rows: list[tuple[int, int]]) -> None:
    groups = [group for _, group in rows]
    a, b = (np.array([1.0 if net == sign else -1.0 for net, _ in rows]) for sign in (1, -1))
    found = mcnemar_test(np.ones(len(rows), dtype=int), a, b, groups=groups)
    net = [sum(s for s, of in rows if of == group) for group in set(groups)]
    assert found.p_value == pytest.approx(float(reference.sign_flip_p(net)), abs=1e-14)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    turned = mcnemar_test(np.ones(len(rows), dtype=int), b, a, groups=groups)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low), abs=1e-12)


def test_copies_in_groups_change_nothing() -> None:
    models = table(60, 40, 22, 30)
    alone = mcnemar_test(*models)
    copied = mcnemar_test(*(np.repeat(of, 5) for of in models), groups=np.repeat(np.arange(152), 5))
    assert (copied.p_value, copied.low, copied.high) == pytest.approx((alone.p_value, alone.low, alone.high), abs=1e-9)
    assert copied.method == "McNemar, chi-square, by groups"
    singles = mcnemar_test(*models, groups=np.arange(152) * 3)
    assert singles == alone


def test_mcnemar_takes_each_models_threshold_and_both_classes() -> None:
    labels = np.array([1, 0, 1, 0])
    a, b = np.array([5.0, 5.0, 3.0, 1.0]), np.array([-3.0, -3.0, -3.0, -3.0])
    found = mcnemar_test(labels, a, b, threshold_a=2.0, threshold_b=-3.0)
    assert found.difference == confusion(labels, a, threshold_logit=2.0).accuracy - 0.5  # b calls all malignant
    same = mcnemar_test(labels, a, np.array([np.inf, np.inf, np.inf, -np.inf]), threshold_a=2.0, threshold_b=np.inf)
    assert (same.difference, same.p_value) == (0.0, 1.0)


def test_mcnemar_of_one_image() -> None:
    found = mcnemar_test(np.array([0]), np.array([1.0]), np.array([-1.0]))
    assert (found.difference, found.p_value) == (-1.0, 1.0)
    # The share that only b calls right is most likely (1 + d) / 2, so that 1 + d = z root((1 + d) (1 - d)), turned.
    z2 = 1.959963984540054**2
    assert (found.low, found.high) == (-1.0, pytest.approx((z2 - 1) / (z2 + 1)))


def test_mcnemar_refuses() -> None:
    with pytest.raises(ConfigError, match="a threshold is NaN"):
        mcnemar_test(LABELS, A, B, threshold_b=math.nan)
    with pytest.raises(DataError, match="the logit in row 0 is NaN"):
        mcnemar_test(LABELS, A, np.full(6, np.nan))
    with pytest.raises(DataError, match="there are 2 group numbers"):
        mcnemar_test(LABELS, A, B, groups=[1, 2])


# ---------------------------------------------------------------- bootstrap


def close_models(n: int = 150, seed: int = 0) -> Two:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    a = rng.normal(labels)
    return labels, a, a + rng.normal(0.2, 1, size=n)


def test_bootstrap_test_counts_differences() -> None:
    labels, a, b = close_models()
    found = bootstrap_test(labels, a, b, roc_auc_score, name="auc", count=199, seed=4)
    drawn = sorted(
        roc_auc_score(labels[i], a[i]) - roc_auc_score(labels[i], b[i]) for i in resamples(labels, count=199, seed=4)
    )
    assert found.difference == roc_auc_score(labels, a) - roc_auc_score(labels, b)
    assert (found.low, found.high) == (drawn[4], drawn[-5])
    smaller = min(sum(d <= 0 for d in drawn), sum(d >= 0 for d in drawn))
    assert found.p_value == pytest.approx(min(1, 2 * (1 + smaller) / 200))
    assert (found.score, found.method, found.reason) == ("auc", "paired bootstrap", "")


@pytest.mark.parametrize("seed", range(12))
def test_bootstrap_p_value_and_interval_agree(seed: int) -> None:
    found = bootstrap_test(*close_models(seed=seed), f1_score, name="f1", count=99)
    assert (found.p_value <= 0.05) == (found.low > 0 or found.high < 0)


def test_bootstrap_test_is_about_delongs() -> None:
    models = close_models(400)
    found, expected = bootstrap_test(*models, roc_auc_score, name="auc"), delong_test(*models)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)


def test_bootstrap_test_by_groups_equals_that_of_single_images() -> None:
    labels, a, b = close_models(60)
    alone = bootstrap_test(labels, a, b, f1_score, name="f1", count=199)
    copied = bootstrap_test(
        *(np.repeat(of, 3) for of in (labels, a, b)), f1_score, name="f1", count=199, groups=np.repeat(np.arange(60), 3)
    )
    assert copied.method == "paired bootstrap, by groups"
    assert (copied.p_value, copied.low, copied.high) == pytest.approx((alone.p_value, alone.low, alone.high), abs=1e-12)


def test_bootstrap_test_of_twins_and_of_strangers() -> None:
    labels, a, _ = close_models()
    same = bootstrap_test(labels, a, a, f1_score, name="f1")
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)
    sure = bootstrap_test(labels, labels - 0.5, 0.5 - labels, f1_score, name="f1")
    assert sure.p_value == pytest.approx(2 / 1001)  # never 0


def test_bootstrap_test_without_a_value() -> None:
    benign = np.zeros(5, dtype=np.int64)
    assert_no_p(
        bootstrap_test(benign, benign - 1.0, benign - 1.0, f1_score, name="f1"), "f1 has no value on these images"
    )
    assert_no_p(
        bootstrap_test(benign, benign + 1.0, benign + 0.0, roc_auc_score, name="auc"), "auc has no value on these"
    )
    rare = bootstrap_test(benign, np.array([1.0, -1, -1, -1, -1]), np.array([1.0, 1, -1, -1, -1]), f1_score, name="f1")
    assert rare.difference == 0.0
    assert_no_p(rare, "f1 has no value in more than 1 % of the resamples")
    with pytest.raises(ConfigError, match="count is 20, too few resamples"):
        bootstrap_test(LABELS, A, B, f1_score, name="f1", count=20)


# ---------------------------------------------------------------- Holm


def test_holm_by_hand() -> None:
    # In order 0.01, 0.02, 0.04, 0.3 of four: times 4, 3, 2, 1, never falling.
    assert holm([0.04, 0.3, 0.01, 0.02]) == pytest.approx([0.08, 0.3, 0.04, 0.06])
    assert holm([0.02, 0.019, 0.9]) == pytest.approx([0.057, 0.057, 0.9])
    assert holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert holm([]) == []


@relaxed
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_testing_step_by_step(p_values: list[float]) -> None:
    """Holm's own words: reject the smallest while it is at most level / (number left); the level at which that ends."""
    for index, adjusted in enumerate(holm(p_values)):
        expected = max(min(1.0, sum(other >= p for other in p_values) * p) for p in p_values if p <= p_values[index])
        assert adjusted == pytest.approx(expected)


def test_holm_leaves_out_what_was_not_run() -> None:
    adjusted = holm([math.nan, 0.01, math.nan, 0.02])
    assert adjusted[1::2] == pytest.approx([0.02, 0.02])
    assert math.isnan(adjusted[0])


@settings(relaxed, max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist(), abs=1e-12)


# ---------------------------------------------------------------- all pairs


def test_compare_pairs_is_every_test_of_every_pair_with_holm_over_them() -> None:
    labels, a, b = close_models(300)
    logits = {"alexnet": a, "vgg11": b, "tiny_vgg": np.round(b)}
    limits = {"tiny_vgg": 0.5, "alexnet": 0.1, "vgg11": -0.2}
    groups = np.arange(300) // 2
    found = compare_pairs(labels, logits, groups=groups, seed=3, thresholds=limits)
    assert [(pair.a, pair.b) for pair in found] == [
        ("alexnet", "vgg11"),
        ("alexnet", "tiny_vgg"),
        ("vgg11", "tiny_vgg"),
    ]
    for pair in found:
        one, other = logits[pair.a], logits[pair.b]
        assert pair.tests["auc"] == delong_test(labels, one, other, groups=groups)
        assert pair.tests["accuracy"] == mcnemar_test(
            labels, one, other, threshold_a=limits[pair.a], threshold_b=limits[pair.b], groups=groups
        )
        f1 = bootstrap_test(
            labels, one - limits[pair.a], other - limits[pair.b], f1_score, name="f1", groups=groups, seed=3
        )
        assert pair.tests["f1"] == f1
    for score in ("auc", "accuracy", "f1"):
        adjusted = holm([pair.tests[score].p_value for pair in found])
        assert [pair.adjusted[score] for pair in found] == adjusted
    values = found[0].to_dict()
    assert list(values) == ["a", "b", "tests", "adjusted"]
    assert values["tests"]["auc"]["p_value"] == found[0].tests["auc"].p_value
    assert list(values["adjusted"]) == ["auc", "accuracy", "f1"]


def test_compare_pairs_states_what_is_undefined() -> None:
    benign = np.zeros(6, dtype=np.int64)
    (pair,) = compare_pairs(benign, {"a": benign - 1.0, "b": np.array([1.0, -1, -1, -1, -1, -1])})
    assert_no_p(pair.tests["auc"], "AUC needs both classes, got 0 malignant and 6 benign images")
    assert_no_p(pair.tests["f1"], "f1 has no value on these images")
    assert pair.tests["accuracy"].p_value == 1.0
    assert math.isnan(pair.adjusted["auc"])
    assert pair.adjusted["accuracy"] == 1.0


def test_compare_pairs_of_fewer_than_two_and_without_thresholds() -> None:
    assert compare_pairs(LABELS, {}) == ()
    assert compare_pairs(LABELS, {"a": A}) == ()
    assert compare_pairs(LABELS, {"a": A, "b": B}) == compare_pairs(
        LABELS, {"a": A, "b": B}, thresholds={"a": 0.0, "b": 0.0}
    )
    with pytest.raises(ConfigError, match="thresholds lack b; give a logit for each classifier"):
        compare_pairs(LABELS, {"a": A, "b": B}, thresholds={"a": 0.0})


def assert_no_p(test: PairedTest, reason: str) -> None:
    assert test.reason.startswith(reason)
    assert all(map(math.isnan, (test.p_value, test.low, test.high)))

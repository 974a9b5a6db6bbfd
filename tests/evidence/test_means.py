"""Means and their differences: by hand, against every resample and every sign, by simulation, and by properties."""

import math
from dataclasses import astuple
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats

from lentigo.errors import ConfigError, DataError
from lentigo.evidence import means as means_module
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.evidence.means import EXACT_GROUPS, FLIPS, mean_difference, mean_interval
from tests import reference

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAN = math.nan
FEW = 39  # the least number of resamples that a level of 0.95 allows, where bounds do not matter


@st.composite
def grouped_values(draw: st.DrawFn, most_groups: int) -> tuple[list[int], list[int]]:
    """Whole numbers, and the group of each; numbers of groups have gaps."""
    groups = draw(st.lists(st.integers(0, most_groups - 1), min_size=1, max_size=16))
    values = draw(st.lists(st.integers(-5, 5), min_size=len(groups), max_size=len(groups)))
    return values, [7 * group - 3 for group in groups]


def sums_of(values: list[int], groups: list[int]) -> list[int]:
    return [sum(v for v, g in zip(values, groups, strict=True) if g == group) for group in sorted(set(groups))]


# ---------------------------------------------------------------- mean_interval by hand


def test_mean_by_hand() -> None:
    # Two images are drawn four ways: both are the lower one in a quarter of the resamples, both the higher in another.
    assert mean_interval(np.array([0.0, 1.0])) == Interval(0.5, 0.0, 1.0)
    # Groups of 1 and 3, and of 8: drawn twice each they give 4/2 and 16/2, and one of each the mean 12/3.
    assert mean_interval(np.array([1, 8, 3]), groups=[9, 2, 9]) == Interval(4.0, 2.0, 8.0)
    # Half of the resamples have one of each, so the middle 40 % of them are all alike.
    assert mean_interval(np.array([1, 8, 3]), groups=[9, 2, 9], level=0.4) == Interval(4.0, 4.0, 4.0)


def test_nan_is_left_out() -> None:
    values = np.array([NAN, 0.25, 0.5, NAN, 0.75])
    assert mean_interval(values) == mean_interval(values[[1, 2, 4]])
    assert mean_interval(values).value == 0.5
    # A group without a value is none; one that has some left stays whole.
    assert mean_interval(values, groups=[4, 1, 1, 3, 3]) == mean_interval(values[[1, 2, 4]], groups=[1, 1, 3])


def test_no_value_and_one_group_have_no_bounds() -> None:
    for nothing in (np.array([]), np.array([NAN, NAN])):
        assert mean_interval(nothing) == UNDEFINED
    for found in (mean_interval(np.array([3, 5]), groups=[1, 1]), mean_interval(np.array([4.0, NAN]))):
        assert found.value == 4
        assert math.isnan(found.low)
        assert math.isnan(found.high)


# ---------------------------------------------------------------- against all resamples


@relaxed
@given(grouped_values(most_groups=5))
def test_bounds_are_quantiles_of_all_resamples(drawn: tuple[list[int], list[int]]) -> None:
    values, groups = drawn
    if len(set(groups)) < 2:
        return
    everything = reference.resampled_means(values, groups)
    found = mean_interval(np.array(values), groups=groups)
    assert found.value == pytest.approx(sum(values) / len(values), abs=1e-12)
    # The 50th of 2,000 resamples has 2.5 % of all below it, give or take 0.35 %; five times that is allowed.
    for bound, shares in ((found.low, (0.0075, 0.0425)), (found.high, (0.9575, 0.9925))):
        least, most = (everything[int(share * len(everything))] for share in shares)
        assert float(least) - 1e-9 <= bound <= float(most) + 1e-9


def test_bounds_of_many_resamples_are_those_of_all() -> None:
    values, groups = [3, -1, 4, 1, -5, 9, 2, 6], [0, 0, 1, 2, 2, 3, 4, 5]
    everything = reference.resampled_means(values, groups)  # 6 ** 6
    found = mean_interval(np.array(values), groups=groups, count=40_000)
    for bound, shares in ((found.low, (0.022, 0.028)), (found.high, (0.972, 0.978))):  # four standard deviations
        least, most = (float(everything[int(share * len(everything))]) for share in shares)
        assert least - 1e-9 <= bound <= most + 1e-9


@pytest.mark.parametrize("n", [30, 300])
def test_interval_of_many_images_is_that_of_the_normal_mean(n: int) -> None:
    values = np.random.default_rng(n).beta(2, 5, size=n)
    found, half = mean_interval(values, count=8000), stats.norm.isf(0.025) * values.std() / math.sqrt(n)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.08 * half)


@pytest.mark.parametrize(
    ("n", "studies", "least", "most"),
    [
        (30, 1000, 0.90, 0.955),  # 0.927 of 3,000: skewed shares of few images are held a little too rarely
        (300, 400, 0.915, 0.985),  # 0.949 of 1,500
    ],
)
def test_interval_holds_the_true_mean_of_shares(n: int, studies: int, least: float, most: float) -> None:
    rng, held = np.random.default_rng(7), 0
    for seed in range(studies):
        found = mean_interval(rng.beta(2, 5, size=n), seed=seed, count=399)
        held += found.low <= 2 / 7 <= found.high
    assert least < held / studies < most


@pytest.mark.parametrize(("told", "least", "most"), [(True, 0.91, 0.97), (False, 0.66, 0.8)])  # of 1,500: 0.943, 0.734
def test_interval_holds_the_true_mean_of_alike_images_if_told(told: bool, least: float, most: float) -> None:
    rng, held = np.random.default_rng(8), 0
    for seed in range(500):
        groups = np.repeat(np.arange(30), rng.integers(1, 5, size=30))
        values = 0.8 * rng.beta(2, 5, size=30)[groups] + 0.2 * rng.beta(2, 5, size=groups.size)
        found = mean_interval(values, groups=groups if told else None, seed=seed, count=399)
        held += found.low <= 2 / 7 <= found.high
    assert least < held / 500 < most


# ---------------------------------------------------------------- properties of mean_interval


@relaxed
@given(grouped_values(most_groups=12), st.integers(0, 5))
def test_copies_of_one_group_say_nothing_more(drawn: tuple[list[int], list[int]], seed: int) -> None:
    values, groups = np.array(drawn[0], dtype=np.float64), np.array(drawn[1])
    alone = mean_interval(values, groups=groups, seed=seed, count=FEW)
    copied = mean_interval(np.tile(values, 3), groups=np.tile(groups, 3), seed=seed, count=FEW)
    assert astuple(copied) == pytest.approx(astuple(alone), abs=1e-12, nan_ok=True)


def test_interval_moves_and_grows_with_the_values() -> None:
    values = np.random.default_rng(1).beta(2, 5, size=50)
    found, moved = mean_interval(values), mean_interval(3 * values - 2)
    assert astuple(moved) == pytest.approx(tuple(3 * x - 2 for x in astuple(found)), abs=1e-12)
    turned = np.random.default_rng(2).permutation(50)
    groups = np.arange(50) // 2
    assert mean_interval(values[turned], groups=groups[turned]).low == pytest.approx(
        mean_interval(values, groups=groups).low, abs=1e-12
    )
    widths = [mean_interval(values, level=level) for level in (0.5, 0.9, 0.99)]
    assert all(wide.low < narrow.low < narrow.high < wide.high for narrow, wide in pairwise(widths))
    assert astuple(mean_interval(np.full(9, 0.3))) == pytest.approx((0.3, 0.3, 0.3), abs=1e-15)


def test_seed_alone_decides_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).beta(2, 5, size=50)
    found = mean_interval(values, seed=4)
    state = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    assert mean_interval(values, seed=4) == found
    assert mean_interval(values, seed=5) != found
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]  # noqa: NPY002
    monkeypatch.setattr(means_module, "_CHUNK", 170)  # three resamples at once
    assert mean_interval(values, seed=4) == found


# ---------------------------------------------------------------- mean_difference by hand


def test_difference_by_hand() -> None:
    # Differences 2 and 1: of the sums 3, 1, -1, -3 two lie as far from 0 as 3.
    found = mean_difference(np.array([3, 1]), np.array([1, 0]))
    assert (found.difference, found.p_value, found.n) == (Interval(1.5, 1.0, 2.0), 0.5, 2)
    # Differences 5, -1, -1: of the sums 7, 5, 5, 3 and their opposites all but one pair's lie as far from 0 as 3.
    assert mean_difference(np.array([5, 0, 0]), np.array([0, 1, 1])).p_value == 1.0
    assert mean_difference(np.array([5, 0, 1]), np.array([0, 1, 0])).p_value == 0.75  # 5, -1, 1: as far as 5
    # Groups {5, -1} and {1} have the sums 4 and 1.
    found = mean_difference(np.array([5, 0, 1]), np.array([0, 1, 0]), groups=[2, 2, 0])
    assert (found.difference.value, found.p_value, found.n) == (5 / 3, 0.5, 3)


def test_difference_is_of_images_that_have_both_values() -> None:
    first, second = np.array([3, NAN, 1, 2, NAN]), np.array([1, 5, 0, NAN, NAN])
    assert mean_difference(first, second) == mean_difference(first[[0, 2]], second[[0, 2]])
    assert mean_difference(first, second).n == 2
    found = mean_difference(first, second, groups=[1, 2, 1, 3, 4])
    assert (found.difference.value, found.p_value, found.n) == (1.5, 1.0, 2)  # one group: either sign is as far
    assert math.isnan(found.difference.low)


def test_no_pair_has_no_p_value() -> None:
    found = mean_difference(np.array([1.0, NAN]), np.array([NAN, 2.0]))
    assert (found.difference, found.n) == (UNDEFINED, 0)
    assert math.isnan(found.p_value)


def test_rounding_makes_no_difference_to_ties() -> None:
    # 0.1 + 0.2 - 0.3 is 5.6e-17 in one order of adding and not in another; in tenths all sums are exact.
    for tenths in ([1, 2, -3], [1, 2, -3, 4, -4], [3, 3, -1, -2, 5]):
        expected = float(reference.sign_flip_p(tenths))
        for unit in (0.1, 1e-9 / 3, 1e15 / 7):
            values = np.array(tenths) * unit
            assert mean_difference(values, np.zeros(len(tenths)), count=FEW).p_value == expected


# ---------------------------------------------------------------- mean_difference against all signs, and scipy


@relaxed
@given(grouped_values(most_groups=EXACT_GROUPS))
def test_p_of_few_groups_is_that_of_all_signs(drawn: tuple[list[int], list[int]]) -> None:
    values, groups = drawn
    found = mean_difference(np.array(values), np.zeros(len(values)), groups=groups, count=FEW)
    assert found.p_value == float(reference.sign_flip_p(sums_of(values, groups)))


@pytest.mark.parametrize("n", [2, 7, EXACT_GROUPS])
def test_p_without_groups_equals_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.beta(2, 5, size=n), rng.beta(2, 4, size=n)
    theirs = stats.permutation_test(
        (first, second), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    found = mean_difference(first, second, count=FEW)
    assert found.difference.value == pytest.approx(theirs.statistic, abs=1e-12)
    assert found.p_value == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_random_signs_come_near_to_all_of_them(shift: float) -> None:
    values = np.random.default_rng(5).integers(-8, 9, size=EXACT_GROUPS + 1) + round(shift)
    exact = float(reference.sign_flip_p(values.tolist()))
    found = mean_difference(values, np.zeros(values.size), count=FEW, seed=1).p_value
    assert found != exact  # 9,999 of 16,384 are tried
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / FLIPS) + 1 / FLIPS)


# ---------------------------------------------------------------- properties of mean_difference


@pytest.mark.parametrize("n", [5, 40])
def test_equal_measures_do_not_differ(n: int) -> None:
    values = np.random.default_rng(6).beta(2, 5, size=n)
    found = mean_difference(values, values)
    assert (found.difference, found.p_value, found.n) == (Interval(0.0, 0.0, 0.0), 1.0, n)


def test_p_is_never_0() -> None:
    for n, least in ((1, 1.0), (EXACT_GROUPS, 2 / 2**EXACT_GROUPS), (300, 1 / (FLIPS + 1))):
        values = np.linspace(1, 2, n)
        assert mean_difference(values, np.zeros(n), count=FEW).p_value == least


def test_exchange_turns_the_sign_alone() -> None:
    rng = np.random.default_rng(9)
    first, second, groups = rng.beta(2, 5, size=60), rng.beta(2, 4, size=60), np.arange(60) // 3
    one, other = (mean_difference(*pair, groups=groups, seed=3) for pair in ((first, second), (second, first)))
    assert one.p_value == other.p_value
    assert other.difference.value == -one.difference.value
    assert (-other.difference.high, -other.difference.low) == pytest.approx((one.difference.low, one.difference.high))
    assert one.difference == mean_interval(first - second, groups=groups, seed=3)


def test_p_counts_groups_not_images() -> None:
    rng = np.random.default_rng(10)
    values, none = rng.normal(0.5, 1, size=20), np.zeros(20)
    alone = mean_difference(values, none, seed=1)
    copied = mean_difference(np.repeat(values, 4), np.zeros(80), groups=np.repeat(np.arange(20), 4), seed=1)
    blind = mean_difference(np.repeat(values, 4), np.zeros(80), seed=1)
    assert copied.p_value == alone.p_value > 5 * blind.p_value


@pytest.mark.parametrize(("groups", "least", "most"), [(None, 0.025, 0.08), ("pairs", 0.025, 0.08), ("blind", 0.1, 1)])
def test_false_alarms_are_as_rare_as_promised(
    groups: str | None, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two measures of one distribution: 5 % of studies have p <= 0.05, and more where copies pass for single images."""
    monkeypatch.setattr(means_module, "FLIPS", 999)
    rng, alarms = np.random.default_rng(11), 0
    for seed in range(600):
        first, second = rng.beta(2, 5, size=(2, 24))
        if groups:
            first, second = np.repeat(first, 2), np.repeat(second, 2)
        told = np.repeat(np.arange(24), 2) if groups == "pairs" else None
        alarms += mean_difference(first, second, groups=told, seed=seed, count=FEW).p_value <= 0.05
    assert least < alarms / 600 < most


def test_pieces_of_signs_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(12).normal(0.3, 1, size=40)
    whole = mean_difference(values, np.zeros(40)).p_value
    monkeypatch.setattr(means_module, "_CHUNK", 999)  # 24 ways at once, and 15 at last
    assert mean_difference(values, np.zeros(40)).p_value == pytest.approx(
        whole, abs=5 * math.sqrt(2 * whole * (1 - whole) / FLIPS)
    )


# ---------------------------------------------------------------- refusals


def test_refusals() -> None:
    with pytest.raises(DataError, match="1 of 3 values are infinite; a mean needs finite ones, or NaN for none"):
        mean_interval(np.array([0.0, math.inf, NAN]))
    infinite = np.array([1.0, -math.inf])
    for first, second in ((infinite, np.zeros(2)), (np.zeros(2), infinite), (infinite, infinite)):
        with pytest.raises(DataError, match="1 of 2 values are infinite"):
            mean_difference(first, second)
    with pytest.raises(DataError, match="3 and 2 values cannot be paired; give both of the same images"):
        mean_difference(np.zeros(3), np.zeros(2))
    with pytest.raises(DataError, match="there are 2 group numbers for 3 images; give one an image"):
        mean_interval(np.zeros(3), groups=[1, 2])
    with pytest.raises(ConfigError, match=r"level is 1.0, not in \(0, 1\)"):
        mean_interval(np.zeros(3), level=1.0)
    with pytest.raises(ConfigError, match=r"count is 38, too few resamples for a level of 0\.95; at least 39 are"):
        mean_difference(np.zeros(3), np.ones(3), count=38)

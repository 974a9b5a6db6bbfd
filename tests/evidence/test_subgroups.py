"""Scores within groups: against scikit-learn and statsmodels, by hand, by simulation and by properties."""

import json
import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint, proportions_ztest

from lentigo.errors import ConfigError, DataError
from lentigo.evidence.intervals import UNDEFINED, auc_interval, auc_variance, share_interval
from lentigo.evidence.subgroups import Gap, Subgroups, group_score, scores_by_group, subgroup_scores

relaxed = settings(max_examples=25, deadline=None)


def test_scores_by_group_equal_those_of_each_group_alone() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(2, size=300)
    logits = rng.normal(labels, 1.5)
    names = rng.choice(["", "b", "a"], size=300).tolist()
    found = scores_by_group(labels, logits, names)
    assert list(found) == ["a", "b"]
    for name, score in found.items():
        chosen = np.array(names) == name
        assert score.auc == pytest.approx(roc_auc_score(labels[chosen], logits[chosen]), abs=1e-12)
        assert score.accuracy == pytest.approx(accuracy_score(labels[chosen], logits[chosen] >= 0))
        assert (score.n, score.n_malignant) == (chosen.sum(), labels[chosen].sum())
        interval = auc_interval(labels[chosen], logits[chosen])
        assert (score.low, score.high) == (interval.low, interval.high)


def test_a_group_of_one_class_is_left_out() -> None:
    found = scores_by_group(np.array([1, 1, 0, 1]), np.array([1.0, -1.0, 0.0, 2.0]), ["one", "one", "both", "both"])
    assert list(found) == ["both"]
    assert (found["both"].auc, found["both"].accuracy, found["both"].n_malignant) == (1.0, 0.5, 1)


def test_one_class_has_an_accuracy_but_no_auc() -> None:
    score = group_score(np.array([1, 1]), np.array([0.0, -1.0]))
    assert math.isnan(score.auc)
    assert math.isnan(score.low)
    assert score.accuracy == 0.5
    with pytest.raises(DataError):
        group_score(np.array([], dtype=np.int64), np.array([]))


def test_by_hand_with_groups_of_images() -> None:
    # Malignant 3, 1, -1 and benign 2, -2: right pairs are 3 over both, 1 and -1 over -2: four of six. Right at 0: 3.
    labels, logits = np.array([1, 0, 1, 1, 0]), np.array([3.0, 2.0, 1.0, -1.0, -2.0])
    score = group_score(labels, logits)
    assert score.auc == pytest.approx(4 / 6)
    assert score.accuracy == 3 / 5
    alone, patients = score, group_score(labels, logits, groups=[0, 1, 0, 2, 2])
    assert (patients.auc, patients.accuracy) == (alone.auc, alone.accuracy)
    expected = auc_interval(labels, logits, groups=[0, 1, 0, 2, 2])
    assert (patients.low, patients.high) == (expected.low, expected.high)
    assert (patients.low, patients.high) != (alone.low, alone.high)
    assert list(score.to_dict()) == ["auc", "low", "high", "accuracy", "n", "n_malignant"]


def test_no_names_are_no_groups() -> None:
    assert scores_by_group(np.array([0, 1]), np.array([0.0, 1.0]), ["", ""]) == {}


# ---------------------------------------------------------------- subgroups of a column


def parts(*counts: tuple[str, int, int, int, int]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Labels, logits and names of subgroups given by name, found of malignant ones, and cleared of benign ones."""
    labels: list[int] = []
    logits: list[float] = []
    names: list[str] = []
    for name, found, malignant, cleared, benign in counts:
        labels += [1] * malignant + [0] * benign
        logits += [1.0] * found + [-1.0] * (malignant - found) + [-1.0] * cleared + [1.0] * (benign - cleared)
        names += [name] * (malignant + benign)
    return np.array(labels), np.array(logits), names


def gap_of(found: Subgroups, score: str) -> Gap:
    return next(gap for gap in found.gaps if gap.score == score)


def test_each_score_equals_that_of_its_images_alone() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(2, size=400)
    logits = rng.normal(labels, 1.2)
    names = rng.choice(["", "b", "a", "c"], size=400)
    found = subgroup_scores(labels, logits, names.tolist(), column="Sex", threshold_logit=0.4, order=["c", "z"])
    assert [score.name for score in found.scores] == ["c", "a", "b"]
    assert (found.column, found.unknown) == ("Sex", (names == "").sum())
    for score in found.scores:
        y, x = labels[names == score.name], logits[names == score.name]
        assert (score.n, score.n_malignant) == (y.size, y.sum())
        assert score.auc == auc_interval(y, x)
        assert score.auc.value == pytest.approx(roc_auc_score(y, x), abs=1e-12)
        for share, label in ((score.sensitivity, 1), (score.specificity, 0)):
            hits = ((x >= 0.4) == (y == 1))[y == label]
            expected = proportion_confint(hits.sum(), hits.size, method="wilson")
            assert share.value == pytest.approx(recall_score(y, x >= 0.4, pos_label=label), abs=1e-12)
            assert (share.low, share.high) == pytest.approx(expected, abs=1e-12)


def test_newcombes_example_of_two_shares() -> None:
    """His table II, method 10, (a): 56 of 70 against 48 of 80, 0.0524 to 0.3339."""
    found = subgroup_scores(*parts(("one", 56, 70, 0, 0), ("two", 48, 80, 0, 0)), column="Site")
    gap = gap_of(found, "sensitivity")
    assert (gap.high, gap.low, gap.n_pairs) == ("one", "two", 1)
    assert gap.difference.value == pytest.approx(0.2)
    assert (gap.difference.low, gap.difference.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert [gap.score for gap in found.gaps] == ["sensitivity"]  # there is no benign image


@relaxed
@given(st.lists(st.tuples(st.integers(10, 300), st.floats(0, 1)), min_size=2, max_size=4))
def test_widest_gap_of_shares_equals_statsmodels(drawn: list[tuple[int, float]]) -> None:
    counts = [(f"{i}", 0, 0, round(n * share), n) for i, (n, share) in enumerate(drawn)]
    gap = gap_of(subgroup_scores(*parts(*counts), column="Age"), "specificity")
    share = {name: cleared / n for name, _, _, cleared, n in counts}
    of = {name: (cleared, n) for name, _, _, cleared, n in counts}
    pairs = list(combinations(share, 2))
    assert gap.n_pairs == len(pairs)
    assert gap.difference.value == pytest.approx(max(abs(share[a] - share[b]) for a, b in pairs), abs=1e-12)
    assert gap.difference.value == pytest.approx(share[gap.high] - share[gap.low], abs=1e-12)
    (x, n), (y, m) = of[gap.high], of[gap.low]
    alpha = 0.05 / len(pairs)
    expected = confint_proportions_2indep(x, n, y, m, method="newcomb", compare="diff", alpha=alpha)
    assert (gap.difference.low, gap.difference.high) == pytest.approx(expected, abs=1e-9)
    p_values = []
    for a, b in pairs:
        (one, of_one), (two, of_two) = of[a], of[b]
        alike = one / of_one == two / of_two  # statsmodels has 0 / 0 where all or none are hits
        p_values.append(1.0 if alike else proportions_ztest([one, two], [of_one, of_two])[1])
    at = next(i for i, pair in enumerate(pairs) if set(pair) == {gap.high, gap.low})
    assert gap.p_value == pytest.approx(multipletests(p_values, method="holm")[1][at], abs=1e-9)


def test_gap_of_aucs_is_the_normal_one_where_images_are_many() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(2, size=20_000)
    names = np.repeat(["a", "b"], 10_000)
    logits = rng.normal(labels * np.where(names == "a", 1.0, 1.03))
    gap = gap_of(subgroup_scores(labels, logits, names.tolist(), column="Sex"), "auc")
    aucs, variances = zip(
        *(
            (roc_auc_score(labels[k], logits[k]), auc_variance(labels[k], logits[k]))
            for k in (names == "a", names == "b")
        ),
        strict=True,
    )
    deviation = math.sqrt(sum(variances))
    assert gap.difference.value == pytest.approx(abs(aucs[0] - aucs[1]), abs=1e-12)
    assert gap.difference.low == pytest.approx(gap.difference.value - 1.959964 * deviation, abs=1e-4)
    assert gap.difference.high == pytest.approx(gap.difference.value + 1.959964 * deviation, abs=1e-4)
    assert gap.p_value == pytest.approx(2 * norm.sf(gap.difference.value / deviation), abs=5e-3)


def test_gap_of_aucs_by_hand_from_two_intervals() -> None:
    labels = np.tile(np.repeat([0, 1], 12), 2)
    logits = np.concatenate((np.arange(24.0), np.arange(24.0) * np.tile([1, -1], 12)))
    names = ["perfect"] * 24 + ["chance"] * 24
    gap = gap_of(subgroup_scores(labels, logits, names, column="Source"), "auc")
    high, low = auc_interval(labels[:24], logits[:24]), auc_interval(labels[24:], logits[24:])
    assert (gap.high, gap.low, high.value) == ("perfect", "chance", 1.0)
    below = math.sqrt((1 - high.low) ** 2 + (low.high - low.value) ** 2)
    assert gap.difference.low == pytest.approx(1 - low.value - below, abs=1e-12)
    assert gap.difference.high == pytest.approx(1 - low.value + (low.value - low.low), abs=1e-12)
    assert gap.p_value == pytest.approx(2 * norm.sf((1 - low.value) / below * 1.959964), rel=1e-4)


def test_two_like_subgroups_are_seldom_told_apart() -> None:
    """Of a true AUC of 0.95, one small: in 2 % of 1,000 studies; the plain normal test errs in 15 % of them."""
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1, 0, 1], [12, 12, 60, 60])
    names = ["a"] * 24 + ["b"] * 120
    wrong = 0
    for _ in range(150):
        logits = rng.normal(labels * norm.ppf(0.95) * math.sqrt(2))
        gap = gap_of(subgroup_scores(labels, logits, names, column="Sex"), "auc")
        wrong += gap.p_value < 0.05
        assert (gap.p_value < 0.05) == (gap.difference.low > 0)
    assert wrong / 150 <= 0.06


def test_images_of_one_group_count_as_fewer() -> None:
    """30 patients with 10 like images each: the gap of the shares is that of 30 images, whatever their number."""
    hits = {"one": [1] * 14 + [0] * 1, "two": [1] * 9 + [0] * 6}
    labels = np.ones(300, dtype=np.int64)
    logits = np.repeat([2.0 * hit - 1 for hit in hits["one"] + hits["two"]], 10)
    names, groups = ["one"] * 150 + ["two"] * 150, np.repeat(np.arange(30), 10)
    grouped = gap_of(subgroup_scores(labels, logits, names, column="Site", groups=groups), "sensitivity")
    alone = gap_of(subgroup_scores(labels, logits, names, column="Site"), "sensitivity")
    of_patients = gap_of(subgroup_scores(labels[::10], logits[::10], names[::10], column="Site"), "sensitivity")
    assert grouped.difference.value == pytest.approx(alone.difference.value)
    assert alone.p_value == pytest.approx(proportions_ztest([140, 90], [150, 150])[1], rel=1e-9)
    assert alone.p_value < 1e-9
    assert grouped.p_value > 0.01
    assert grouped.p_value == pytest.approx(of_patients.p_value, abs=0.02)
    found = subgroup_scores(labels, logits, names, column="Site", groups=groups).scores[0]
    assert found.sensitivity == share_interval(logits[:150] > 0, groups=groups[:150])


@pytest.mark.parametrize(
    ("malignant", "benign", "warning"),
    [
        (100, 100, ""),
        (99, 250, "imprecise: 99 malignant images; fewer than 100"),
        (10, 99, "imprecise: 10 malignant images, 99 benign images; fewer than 100"),
        (9, 100, "too small to say anything: 9 malignant images"),
        (1, 50, "too small to say anything: 1 malignant image; imprecise: 50 benign images; fewer than 100"),
        (100, 0, "no benign image: no AUC, no specificity"),
        (0, 3, "no malignant image: no AUC, no sensitivity; too small to say anything: 3 benign images"),
    ],
)
def test_warnings(malignant: int, benign: int, warning: str) -> None:
    found = subgroup_scores(*parts(("x", 0, malignant, 0, benign)), column="Age")
    assert [score.warning for score in found.scores] == [warning]
    assert found.gaps == ()


@pytest.mark.parametrize(
    ("malignant", "benign", "unjudged"),
    [
        (10, 10, ()),
        (9, 100, ("auc", "sensitivity")),
        (100, 9, ("auc", "specificity")),
        (100, 0, ("auc", "specificity")),
        (1, 1, ("auc", "sensitivity", "specificity")),
    ],
)
def test_scores_that_say_nothing(malignant: int, benign: int, unjudged: tuple[str, ...]) -> None:
    found = subgroup_scores(*parts(("x", 0, malignant, 0, benign)), column="Age")
    assert found.scores[0].unjudged == unjudged


def test_warnings_count_groups_and_small_ones_are_in_no_gap() -> None:
    labels, logits, names = parts(("a", 20, 20, 9, 9), ("b", 5, 20, 20, 20), ("c", 0, 9, 0, 40))
    groups = np.where(np.arange(labels.size) < 20, np.arange(labels.size) // 4, np.arange(labels.size))
    found = subgroup_scores(labels, logits, names, column="Age", groups=groups)
    small = "too small to say anything: 20 malignant images of 5 independent groups, 9 benign images"
    assert found.scores[0].warning == small
    assert [gap.score for gap in found.gaps] == ["specificity"]  # b and c; a has 5 groups, c 9 malignant images
    assert (found.gaps[0].high, found.gaps[0].low) == ("b", "c")
    alone = subgroup_scores(labels, logits, names, column="Age")
    assert [(gap.score, gap.high, gap.low) for gap in alone.gaps] == [
        ("sensitivity", "a", "b"),
        ("specificity", "b", "c"),
    ]


def test_one_class_has_the_score_of_its_own() -> None:
    found = subgroup_scores(*parts(("nevus", 0, 0, 15, 20), ("melanoma", 12, 16, 0, 0)), column="Diagnosis")
    melanoma, nevus = found.scores
    assert (nevus.auc, nevus.sensitivity, nevus.specificity.value) == (UNDEFINED, UNDEFINED, 0.75)
    assert (melanoma.auc, melanoma.specificity, melanoma.sensitivity.value) == (UNDEFINED, UNDEFINED, 0.75)
    about = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert about["scores"][1]["auc"] == {"value": None, "low": None, "high": None}
    assert about["scores"][1]["specificity"]["value"] == 0.75
    assert (about["column"], about["gaps"], about["unknown"]) == ("Diagnosis", [], 0)


def test_like_scores_have_a_gap_of_zero_and_infinite_logits_count() -> None:
    labels, names = np.tile([0, 1], 24), ["a"] * 24 + ["b"] * 24
    for logits in (np.zeros(48), np.where(labels == 1, np.inf, -np.inf)):
        for gap in subgroup_scores(labels, logits, names, column="Sex").gaps:
            assert (gap.high, gap.low, gap.difference.value, gap.p_value) == ("a", "b", 0.0, 1.0)
            assert gap.difference.low < 0 < gap.difference.high
    assert gap.difference.low == -gap.difference.high  # of the last, specificity


def test_one_image_and_no_name() -> None:
    found = subgroup_scores(np.array([1]), np.array([0.0]), ["x"], column="Sex")
    assert found.scores[0].sensitivity.value == 1.0
    assert subgroup_scores(np.array([1]), np.array([0.0]), [""], column="Sex") == Subgroups(
        column="Sex", scores=(), gaps=(), clearest=(), unknown=1
    )


def test_a_clear_gap_is_not_hidden_by_a_wider_one_of_few_images() -> None:
    """Sensitivities 0.95 of 1,000, 0.88 of 1,000 and 0.80 of 10: the widest gap is of the ten, the clearest is not."""
    hits = [(950, 50), (880, 120), (8, 2)]
    logits = np.concatenate([np.repeat([1.0, -1.0], counts) for counts in hits])
    names = [name for name, counts in zip("abc", hits, strict=True) for _ in range(sum(counts))]
    found = subgroup_scores(np.ones(logits.size, dtype=np.int64), logits, names, column="Site")
    (widest,), (clearest,) = found.gaps, found.clearest
    assert (widest.high, widest.low) == ("a", "c")
    assert (clearest.high, clearest.low) == ("a", "b")
    z = 0.07 / math.sqrt(0.915 * 0.085 * 2 / 1000)
    assert clearest.p_alone == pytest.approx(2 * norm.sf(z), rel=1e-6)
    assert clearest.p_value == pytest.approx(3 * clearest.p_alone, rel=1e-12)  # the smallest of three
    assert widest.p_value > 0.05


@relaxed
@given(st.integers(0, 10_000))
def test_names_do_not_matter_nor_the_order_of_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, names = rng.integers(2, size=120), rng.choice(["p", "q", "r"], size=120)
    logits = rng.integers(-3, 4, size=120) + labels
    shuffled = rng.permutation(120)
    one = subgroup_scores(labels, logits, names.tolist(), column="Sex")
    renamed = np.array([{"p": "z", "q": "y", "r": "x"}[name] for name in names])
    other = subgroup_scores(labels[shuffled], logits[shuffled], renamed[shuffled].tolist(), column="Sex")
    for gap, same in zip(one.gaps, other.gaps, strict=True):
        assert same.difference.value == pytest.approx(gap.difference.value, abs=1e-12)
        assert 0 <= gap.p_value <= 1
        assert -1 <= gap.difference.low <= gap.difference.value <= gap.difference.high <= 1
    assert sum(score.n for score in one.scores) == 120


def test_refusals_of_subgroups() -> None:
    labels, logits = np.array([0, 1]), np.array([0.0, 1.0])
    with pytest.raises(DataError, match="there are 1 names of subgroups for 2 images; give one an image"):
        subgroup_scores(labels, logits, ["a"], column="Sex")
    with pytest.raises(DataError, match="there are 3 group numbers for 2 images; give one an image"):
        subgroup_scores(labels, logits, ["a", "b"], column="Sex", groups=[1, 2, 3])
    with pytest.raises(DataError, match="the logit in row 1 is NaN"):
        subgroup_scores(labels, np.array([0.0, math.nan]), ["a", "b"], column="Sex")
    with pytest.raises(ConfigError, match="threshold_logit is NaN"):
        subgroup_scores(labels, logits, ["a", "b"], column="Sex", threshold_logit=math.nan)

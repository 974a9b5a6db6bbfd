"""The evidence in sentences: each by hand, for made-up numbers."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lentigo.evidence.assessment import Assessment
from lentigo.evidence.calibration import Calibration
from lentigo.evidence.comparison import PairComparison, PairedTest, compare_pairs
from lentigo.evidence.decisions import decide, undecided
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.evidence.stress import ChangeScore, StressResult, StressScore
from lentigo.evidence.subgroups import Gap, Subgroups
from lentigo.report import evidence_words as words
from lentigo.report.evidence import ExternalSet, Repeats, Stressed
from tests.report.made_up import assessment, evidence, evidence_with


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "p < 0.001"),
        (0.00099999, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0324, "p = 0.032"),
        (0.9994, "p = 0.999"),
        (0.9996, "p = 1.000"),
        (1.0, "p = 1.000"),
        (math.nan, "p undefined"),
    ],
)
def test_p_values_as_text(p: float, text: str) -> None:
    assert words.p_text(p) == text


# ---------------------------------------------------------------- pairs


def paired(score: str, difference: float, low: float, high: float, *, reason: str = "") -> PairedTest:
    return PairedTest(
        score=score, difference=difference, low=low, high=high, p_value=0.5, method="by hand", reason=reason
    )


def pair(auc: PairedTest, p_auc: float, accuracy: PairedTest, p_accuracy: float, *, b: str = "b") -> PairComparison:
    return PairComparison(
        a="a", b=b, tests={"auc": auc, "accuracy": accuracy}, adjusted={"auc": p_auc, "accuracy": p_accuracy}
    )


def said_of(*comparison: Any) -> str:
    whole = evidence_with({name: assessment(n=2000) for name in ("a", "b")})
    return words.pair_sentence(pair(*comparison), whole)


AUC, ACCURACY = paired("auc", 0.02, 0.01, 0.03), paired("accuracy", -0.04, -0.06, -0.02)
NO_AUC = paired("auc", math.nan, math.nan, math.nan, reason="AUC needs both classes, got 4 malignant; check split.csv")


def test_pairs_that_cannot_be_told_apart() -> None:
    assert said_of(AUC, 0.05, ACCURACY, 0.9999) == (
        "A and B cannot be told apart on these 2,000 images, p = 0.050 for the AUC and p = 1.000 for the accuracy."
    )


def test_pairs_that_differ() -> None:
    assert said_of(AUC, 0.0499, ACCURACY, 0.0001) == (
        "On these 2,000 images A has a higher AUC than B, by 0.020 (0.010 to 0.030), p = 0.050; B has a higher "
        "accuracy than A, by 0.040 (0.020 to 0.060), p < 0.001."
    )
    assert said_of(AUC, 0.02, ACCURACY, 0.3) == (
        "On these 2,000 images A has a higher AUC than B, by 0.020 (0.010 to 0.030), p = 0.020; by accuracy they "
        "cannot be told apart, p = 0.300."
    )
    assert said_of(AUC, 0.2, ACCURACY, 0.03) == (
        "On these 2,000 images B has a higher accuracy than A, by 0.040 (0.020 to 0.060), p = 0.030; by AUC they "
        "cannot be told apart, p = 0.200."
    )


def test_pairs_without_a_test() -> None:
    nan = math.nan
    assert said_of(NO_AUC, nan, ACCURACY, 0.3) == (
        "A and B, on these 2,000 images: by AUC they cannot be compared (AUC needs both classes, got 4 malignant); by "
        "accuracy they cannot be told apart, p = 0.300."
    )
    assert said_of(NO_AUC, nan, ACCURACY, 0.03).endswith("; they differ by accuracy, p = 0.030.")
    neither = said_of(NO_AUC, nan, replace(ACCURACY, reason="there is none"), nan)
    assert neither.endswith("; by accuracy they cannot be compared (there is none).")


def test_the_sentence_of_a_real_pair_has_its_numbers() -> None:
    labels = np.array([0, 1] * 50)
    logits = {"a": labels + 0.0, "b": np.random.default_rng(0).normal(size=100)}
    (found,) = compare_pairs(labels, logits)
    text = words.pair_sentence(found, evidence_with({name: assessment(n=100) for name in logits}))
    assert text.startswith(f"On these 100 images A has a higher AUC than B, by {found.tests['auc'].difference:.3f} (")


# ---------------------------------------------------------------- best, chance


def with_auc(value: float, low: float = 0.6, high: float = 1.0) -> Assessment:
    return assessment(scores={**assessment().scores, "auc": Interval(value, low, high)}, n=2000)


def best_of(aucs: Sequence[float], p_values: dict[tuple[str, str], float]) -> str:
    models = {name: with_auc(auc) for name, auc in zip("abc", aucs, strict=False)}
    pairs = tuple(replace(pair(AUC, p, ACCURACY, 1.0, b=b), a=a) for (a, b), p in p_values.items())
    return words.best_sentence(evidence_with(models, pairs=pairs))


def test_the_best_and_who_cannot_be_told_from_it() -> None:
    both = {("a", "b"): 0.01, ("a", "c"): 0.02, ("b", "c"): 0.001}
    assert best_of((0.8, 0.9, 0.7), both) == (
        "On these images B's AUC is above that of A and C by more than chance explains (DeLong, Holm)."
    )
    assert best_of((0.8, 0.9, 0.7), both | {("a", "b"): 0.2}) == (
        "By AUC B cannot be told apart from A on these images, and lies above C by more than chance explains (DeLong, "
        "Holm)."
    )
    assert (
        best_of((0.8, 0.9), {("a", "b"): 0.2}) == "By AUC B cannot be told apart from A on these images (DeLong, Holm)."
    )
    assert best_of((0.9,), {}) == ""
    assert best_of((math.nan, 0.9), {("a", "b"): math.nan}) == ""


def test_who_is_no_better_than_chance() -> None:
    models = {
        "a": with_auc(0.52, 0.5, 0.54),
        "b": with_auc(0.52, 0.501, 0.54),
        "c": assessment(scores={**assessment().scores, "auc": UNDEFINED}),
    }
    assert words.chance_sentences(evidence_with(models)) == [
        "A is not clearly better than chance: its AUC is 0.520 (0.500 to 0.540), and a coin has 0.5."
    ]
    (coin,) = words.chance_sentences(evidence())
    assert coin.startswith("Coin is not clearly better than chance")


# ---------------------------------------------------------------- calibration


def calibrated(ece: Interval, slope: Interval) -> Calibration:
    before = assessment().before
    assert before is not None
    return replace(before, ece=ece, slope=slope)


def test_calibration_by_hand() -> None:
    decisions = replace(assessment().decisions, temperature=1.25, n=860)
    off, less = Interval(0.05, 0.04, 0.061), Interval(0.01, 0.0, 0.02)
    sure, timid, fair = Interval(0.8, 0.7, 0.9), Interval(1.2, 1.1, 1.3), Interval(1.0, 0.9, 1.1)
    found = assessment(decisions=decisions, before=calibrated(off, sure), after=calibrated(less, fair))
    assert words.calibration_sentence(found) == (
        "the probabilities are off by 0.050 (0.040 to 0.061) on average; they are too sure of themselves (slope 0.800 "
        "(0.700 to 0.900), 1 is best). At the temperature 1.25, which was fitted on 860 validation images, they are "
        "off by 0.010 (0.000 to 0.020)."
    )
    slow = replace(found, before=calibrated(off, timid))
    assert "; they are too timid (slope 1.200 (1.100 to 1.300), 1 is best). At" in words.calibration_sentence(slow)
    for slope in (fair, UNDEFINED):
        assert "on average. At the temp" in words.calibration_sentence(replace(found, before=calibrated(off, slope)))


def test_calibration_without_a_temperature_or_a_value() -> None:
    off = calibrated(Interval(0.05, 0.04, 0.06), UNDEFINED)
    bare = assessment(before=off, after=None, decisions=undecided("no validation scores are given"))
    assert words.calibration_sentence(bare) == (
        "the probabilities are off by 0.050 (0.040 to 0.060) on average. There is no temperature: no validation scores "
        "are given."
    )
    labels, logits = np.array([0, 1, 1]), np.zeros(3)
    unfit = replace(bare, decisions=decide(labels, logits))
    assert words.calibration_sentence(unfit).endswith("no temperature: all logits are 0, which no temperature changes.")
    assert words.calibration_sentence(replace(bare, before=None)) == "no calibration can be given."
    assert words.calibration_sentence(replace(bare, before=calibrated(UNDEFINED, UNDEFINED))) == (
        "no calibration can be given."
    )


# ---------------------------------------------------------------- subgroups


def test_gaps_that_chance_does_not_explain() -> None:
    def gap(score: str, p_alone: float, n_pairs: int) -> Gap:
        difference = Interval(0.3, -0.01, 0.5)
        return Gap(
            score=score, high="old", low="young", difference=difference, p_value=1.0, p_alone=p_alone, n_pairs=n_pairs
        )

    # 25 pairs in all: p values of 0.0019 and more are no news.
    gaps = (gap("auc", 0.0019, 10), gap("sensitivity", 0.0021, 10), gap("specificity", 0.00001, 1))
    ages = Subgroups(column="Age", scores=(), gaps=(), clearest=gaps, unknown=0)
    sexes = Subgroups(column="Sex", scores=(), gaps=(), clearest=(gap("auc", 0.5, 4),), unknown=0)
    assert words.subgroup_pairs(found := assessment(subgroups=(ages, sexes))) == 25
    assert words.subgroup_sentences(evidence_with({"a": found})) == [
        "A, age: AUC is 0.300 (−0.010 to 0.500) higher for old than for young (p = 0.048).",
        "A, age: specificity is 0.300 (−0.010 to 0.500) higher for old than for young (p < 0.001).",
    ]


# ---------------------------------------------------------------- other data


def elsewhere(there: Assessment, **changes: Any) -> ExternalSet:
    settings: dict[str, Any] = {
        "name": "ham", "data": "ham10000", "n": 1200, "left_out": {"a": (0, 0)}, "of_test": {"a": 0},
        "unchecked": {"a": ""},
        "assessments": {"a": there},
    }  # fmt: skip
    return ExternalSet(**{**settings, **changes})


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ((0.75, 0.7, 0.849), "falls from 0.900 (0.850 to 0.940) to 0.750 (0.700 to 0.849)."),
        ((0.75, 0.7, 0.85), "goes from 0.900 (0.850 to 0.940) to 0.750 (0.700 to 0.850)."),
        ((0.96, 0.941, 0.98), "rises from 0.900 (0.850 to 0.940) to 0.960 (0.941 to 0.980)."),
        (
            (0.55, 0.5, 0.6),
            "falls from 0.900 (0.850 to 0.940) to 0.550 (0.500 to 0.600), not clearly better than a coin.",
        ),
        ((0.4, 0.3, 0.49), "falls from 0.900 (0.850 to 0.940) to 0.400 (0.300 to 0.490), worse than a coin."),
    ],
)
def test_what_becomes_of_the_auc(new: tuple[float, float, float], text: str) -> None:
    whole = evidence_with({"a": with_auc(0.9, 0.85, 0.94)})
    assert words.external_sentences(elsewhere(with_auc(*new)), whole) == [f"A: the AUC {text}"]


@pytest.mark.parametrize(
    ("n_malignant", "key", "called"), [(0, "specificity", "specificity"), (30, "recall", "sensitivity")]
)
def test_other_data_of_one_class(n_malignant: int, key: str, called: str) -> None:
    def scored(share: Interval, **changes: Any) -> Assessment:
        return assessment(scores={**assessment().scores, key: share, **changes}, n=30, n_malignant=n_malignant)

    here, there = scored(Interval(0.9, 0.8, 1.0)), scored(Interval(0.5, 0.4, 0.6), auc=UNDEFINED)
    assert words.external_sentences(elsewhere(there), evidence_with({"a": here})) == [
        f"A: the images left are of one class, so there is no AUC; at a probability of 0.5 its {called} is 0.500 "
        "(0.400 to 0.600) there, and 0.900 (0.800 to 1.000) on its own test images."
    ]


@pytest.mark.parametrize(
    ("again", "text"),
    [
        (1, "1 more is a copy of one of their own test images; it stayed."),
        (1104, "1,104 more are copies of their own test images; they stayed."),
    ],
)
def test_copies_of_test_images_are_told(again: int, text: str) -> None:
    set_ = elsewhere(assessment(), of_test={"a": again})
    told = words.left_out_sentence(set_, evidence_with({"a": assessment()}))
    assert told == f"None of the 1,200 images is a copy of one that the networks had seen. {text}"
    assert words.left_out_line(9, [1], "", of_test=2).endswith("; 2 are copies of its own test images, and stayed")


@pytest.mark.parametrize(
    ("left_out", "text"),
    [
        ({"a": (0, 0), "b": (0, 0)}, "None of the 1,200 images is a copy of one that the networks had seen."),
        (
            {"a": (1, 0), "b": (1, 0)},
            "1 of 1,200 images (0 malignant) is a copy of an image that the networks were trained on or their "
            "thresholds chosen on, by the audit's search; it was left out.",
        ),
        (
            {"a": (1000, 113), "b": (1000, 113)},
            "1,113 of 1,200 images (113 malignant) are copies of images that the networks were trained on or their "
            "thresholds chosen on, by the audit's search; they were left out.",
        ),
        (
            {"a": (3, 4), "b": (0, 0)},
            "Left out as copies of images that a network had seen before, by the audit's search: A 7, B 0.",
        ),
    ],
)
def test_what_was_left_out(left_out: dict[str, tuple[int, int]], text: str) -> None:
    whole = evidence_with({"a": assessment(), "b": assessment()})
    given = elsewhere(assessment(), left_out=left_out, unchecked=dict.fromkeys(left_out, ""))
    assert words.left_out_sentence(given, whole) == text


def test_what_was_not_checked() -> None:
    given = elsewhere(assessment(), unchecked={"a": "the data are gone", "b": "", "c": "the data are gone"})
    assert words.left_out_sentence(given, evidence()) == (
        "Whether the networks had seen some of these images before was not checked: the data are gone."
    )


@pytest.mark.parametrize(
    ("left_out", "unchecked", "text"),
    [
        ([], "no data", "whether the network has seen some of these images was not checked: no data"),
        ([], "", "none of 1,200 images is a copy of one of the run's training or validation"),
        (
            [1],
            "",
            "1 of 1,200 images (1 malignant) is a copy of an image of the run's training or validation; left out, and "
            "named in left_out.json",
        ),
        (
            [0, 1, 1],
            "",
            "3 of 1,200 images (2 malignant) are copies of images of the run's training or validation; left out, and "
            "named in left_out.json",
        ),
    ],
)
def test_what_was_left_out_on_the_terminal(left_out: list[int], unchecked: str, text: str) -> None:
    assert words.left_out_line(1200, left_out, unchecked) == text


# ---------------------------------------------------------------- changed images


def stress_result(clean_auc: float = 0.9, worst: str | None = "white_balance") -> StressResult:
    nan = math.nan
    scores = tuple(
        StressScore(
            change=change, strength=s, auc=clean_auc - s / 100, accuracy=0.8, flip_rate=0.1, mean_shift=0.0, n=5
        )
        for change in ("jpeg", "white_balance")
        for s in range(1, 6)
    )
    return StressResult(
        clean_auc=clean_auc,
        clean_accuracy=0.8,
        n=5,
        scores=scores,
        relative_auc=Interval(0.967, 0.95, 0.98) if worst else UNDEFINED,
        mean_flip_rate=0.1234,
        by_change={
            "jpeg": ChangeScore(relative_auc=1.0 if worst else nan, flip_rate=0.1),
            "white_balance": ChangeScore(relative_auc=0.91 if worst else nan, flip_rate=0.1),
        },
        worst=worst,
        reason="",
    )


def test_a_stress_test_by_hand() -> None:
    assert words.stress_sentence("A", stress_result()) == (
        "A keeps 96.7 % (95.0 to 98.0) of its AUC over all changes and strengths; the decision flips for 12.3 % of "
        "changed images. Worst: white balance (91.0 % of the AUC left)."
    )
    assert words.stress_sentence("A", stress_result(math.nan, worst=None)) == (
        "A: there is no AUC; the decision flips for 12.3 % of changed images."
    )
    without = replace(stress_result(), relative_auc=Interval(0.967, math.nan, math.nan))
    assert words.stress_sentence("A", without).startswith("A keeps 96.7 % (no interval) of its AUC")


def test_a_stress_test_on_the_terminal() -> None:
    head, jpeg, _, images, said = words.stress_lines(stress_result(), 1200)
    assert jpeg.split() == ["jpeg", "0.890", "0.880", "0.870", "0.860", "0.850", *["10.0", "%"] * 5]
    assert jpeg[head.index("flips") :].startswith(" 10.0 %  10.0 %")
    assert images == "on 1,200 images; AUC without a change 0.900"
    assert said.startswith("the network keeps 96.7 %")
    lines = "\n".join(words.stress_lines(stress_result(math.nan, worst=None), 5))
    assert "nan" not in lines
    assert "AUC without a change undefined" in lines


# ---------------------------------------------------------------- the terminal


def test_everything_that_is_said_of_a_comparison() -> None:
    repeats = {
        "a": Repeats(seeds=(0, 7), scores={"auc": (0.9, 0.92)}),
        "b": Repeats(seeds=(0, 7), scores={"auc": (math.nan, 0.9)}),
    }
    models = {"a": with_auc(0.9, 0.85, 0.94), "b": with_auc(0.52, 0.45, 0.6)}
    both = elsewhere(models["b"], left_out=dict.fromkeys("ab", (0, 0)), unchecked={}, assessments=models)
    whole = evidence_with(
        models,
        pairs=(pair(AUC, 0.5, ACCURACY, 0.5),),
        repeats=repeats,
        externals=(both,),
        stress={"a": Stressed(ids=tuple("vwxyz"), seed=0, result=stress_result())},
    )
    lines = words.spoken(whole)
    assert [line.split(":")[0].split(" cannot")[0] for line in lines] == [
        "A and B", "B is not clearly better than chance", "A over seeds 0, 7", "on ham", "  A", "  B",
        "A keeps 96.7 % (95.0 to 98.0) of its AUC over all changes and strengths; the decision flips for 12.3 % of "
        "changed images. Worst",
    ]  # fmt: skip
    # (0.90 + 0.92) / 2, and the root of (0.01^2 + 0.01^2) / 1
    assert lines[2] == "A over seeds 0, 7: AUC 0.910, standard deviation 0.014"


def test_what_evaluate_says() -> None:
    found = assessment()
    lines = words.assessment_lines(found)
    auc = found.scores["auc"]
    assert f"auc         {auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})" in lines
    assert "on 160 images, 80 malignant; 95 % intervals" in lines
    assert sum(": sensitivity " in line for line in lines) == len(found.points) == 5
    bare = words.assessment_lines(replace(found, points=(), after=None, decisions=undecided("nobody gave any")))
    assert bare[-1] == "no other threshold: nobody gave any"
    unfound = replace(found.decisions.thresholds[1], logit=math.nan, reason="it needs both classes")
    told = words.assessment_lines(replace(found, decisions=replace(found.decisions, thresholds=(unfound,))))
    assert told[-1] == "Youden's: it needs both classes"

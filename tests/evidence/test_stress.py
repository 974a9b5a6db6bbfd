"""Scores under change: by hand, against scikit-learn and a resample at a time, and by properties."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lentigo.errors import ConfigError, DataError
from lentigo.evidence.bootstrap import resamples
from lentigo.evidence.intervals import UNDEFINED
from lentigo.evidence.stress import ChangeScore, StressResult, StressScore, stress_scores
from lentigo.files import read_json, write_json

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

LABELS = np.array([1, 1, 0, 0])
CLEAN = np.array([2.0, 1.0, -1.0, 0.5])
CHANGED = {
    ("blur", 1): np.array([2.0, 1.0, -1.0, -0.5]),  # AUC 1, all right; image 3 flips; shift -1 / 4
    ("blur", 2): np.array([2.0, 0.0, 0.0, 3.0]),  # pairs 2>0, 2<3, 0=0, 0<3: 1.5 of 4; image 2 flips; shift 2.5 / 4
    ("hair", 1): np.array([-1.0, -1.0, -1.0, -1.0]),  # all ties: 1/2; 0, 1 and 3 flip; shift -6.5 / 4
}


@st.composite
def stressed(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, dict[tuple[str, int], np.ndarray]]:
    """Labels with two images of each class at least, and whole-numbered logits with many ties."""
    labels = [0, 1] * 2 + draw(st.lists(st.integers(0, 1), max_size=12))

    def logits() -> np.ndarray:
        values = draw(st.lists(st.integers(-4, 4), min_size=len(labels), max_size=len(labels)))
        return np.array(values, dtype=np.float64)

    clean = logits()
    return np.array(labels), clean, {("a", 1): logits(), ("a", 2): logits(), ("b", 1): logits()}


def normal_case(n: int = 120, seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict[tuple[str, int], np.ndarray]]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation([0, 1, 1] * (n // 3))
    clean = rng.normal(labels, 1.0)
    changed = {(c, s): np.round(clean + rng.normal(0, s, n), 1) for c in ("jpeg", "noise") for s in (1, 2, 3)}
    return labels, clean, changed


# ---------------------------------------------------------------- by hand


def test_by_hand() -> None:
    found = stress_scores(LABELS, CLEAN, CHANGED)
    assert (found.clean_auc, found.clean_accuracy, found.n) == (1.0, 0.75, 4)
    assert found.scores == (
        StressScore(change="blur", strength=1, auc=1.0, accuracy=1.0, flip_rate=0.25, mean_shift=-0.25, n=4),
        StressScore(change="blur", strength=2, auc=0.375, accuracy=0.5, flip_rate=0.25, mean_shift=0.625, n=4),
        StressScore(change="hair", strength=1, auc=0.5, accuracy=0.5, flip_rate=0.75, mean_shift=-1.625, n=4),
    )
    # Each pair of change and strength counts alike, not each change.
    assert found.relative_auc.value == pytest.approx((1 + 0.375 + 0.5) / 3, abs=1e-15)
    assert found.mean_flip_rate == pytest.approx(1.25 / 3, abs=1e-15)
    assert found.by_change == {
        "blur": ChangeScore(relative_auc=0.6875, flip_rate=0.25),
        "hair": ChangeScore(relative_auc=0.5, flip_rate=0.75),
    }
    assert (found.worst, found.reason) == ("hair", "")


def test_relative_to_a_clean_auc_below_one() -> None:
    clean = np.array([2.0, 0.0, 1.0, -1.0])  # 3 of 4 pairs
    found = stress_scores(LABELS, clean, {("blur", 1): CLEAN, ("ink", 4): CHANGED["hair", 1]})
    assert found.clean_auc == 0.75
    assert found.by_change["blur"].relative_auc == pytest.approx(4 / 3, abs=1e-15)  # better than clean is said so
    assert found.relative_auc.value == pytest.approx(1.5 / 2 / 0.75, abs=1e-15)
    assert found.worst == "ink"


@pytest.mark.parametrize(("threshold", "flipped"), [(0.5, 1), (0.75, 0), (math.inf, 0), (-math.inf, 0), (-0.5, 0)])
def test_flips_depend_on_the_threshold(threshold: float, flipped: int) -> None:
    """Clean and changed differ in image 3, from 0.5 to -0.5: a decision at >= 0.5 sees it, at >= -0.5 it does not."""
    found = stress_scores(LABELS, CLEAN, {("blur", 1): CHANGED["blur", 1]}, threshold_logit=threshold)
    assert found.scores[0].flip_rate == flipped / 4
    assert found.clean_auc == 1.0


def test_infinite_logits() -> None:
    """Equal infinities are no shift; opposite ones cancel to NaN; the AUC ranks them."""
    clean = np.array([math.inf, 1.0, -math.inf, 0.0])
    same, worse = np.array([math.inf, 2.0, -math.inf, 1.0]), np.array([-math.inf, 1.0, math.inf, 0.0])
    found = stress_scores(LABELS, clean, {("a", 1): same, ("b", 1): worse, ("c", 1): np.abs(clean)})
    assert [score.mean_shift for score in found.scores if score.change != "b"] == [0.5, math.inf]
    assert math.isnan(found.scores[1].mean_shift)
    assert [score.auc for score in found.scores] == [1.0, 0.25, 0.625]


def test_float32_decisions_are_not_rounded() -> None:
    """0.1 in float32 lies above 0.1 in float64, so it is called, whatever numpy would make of the threshold."""
    low = np.array([0.1, 1.0, 0.0, -1.0], dtype=np.float32)
    high = np.array([1.0, 1.0, 0.0, -1.0])
    assert stress_scores(LABELS, high, {("a", 1): low}, threshold_logit=0.1).mean_flip_rate == 0
    assert stress_scores(LABELS, high, {("a", 1): low}, threshold_logit=0.1000001).mean_flip_rate == 0.25


# ---------------------------------------------------------------- against scikit-learn, one resample at a time


@pytest.mark.parametrize("grouped", [False, True])
def test_equals_scikit_learn_on_every_resample(grouped: bool) -> None:
    labels, clean, changed = normal_case()
    groups = np.random.default_rng(5).integers(40, size=labels.size) if grouped else None
    found = stress_scores(labels, clean, changed, groups=groups, seed=3, count=60)
    for score, logits in zip(found.scores, changed.values(), strict=True):
        assert score.auc == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    relative = np.sort([
        np.mean([roc_auc_score(labels[i], logits[i]) for logits in changed.values()])
        / roc_auc_score(labels[i], clean[i])
        for i in resamples(labels, groups=groups, count=60, seed=3)
    ])  # fmt: skip
    # 2.5 % of 61 is 1.5: the lowest and the highest of 60.
    assert (found.relative_auc.low, found.relative_auc.high) == pytest.approx((relative[0], relative[-1]), abs=1e-12)
    assert found.relative_auc.low < found.relative_auc.value < found.relative_auc.high


def test_pieces_of_the_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, clean, changed = normal_case()
    whole = stress_scores(labels, clean, changed, count=50)
    for cells in (1, 7 * labels.size, 50 * labels.size):
        monkeypatch.setattr("lentigo.evidence.stress._CELLS", cells)
        assert stress_scores(labels, clean, changed, count=50) == whole


# ---------------------------------------------------------------- properties


@relaxed
@given(case=stressed(), threshold=st.sampled_from([0.0, -2.0, 1.5]))
def test_unchanged_logits_are_unharmed(case: tuple, threshold: float) -> None:
    labels, clean, _ = case
    found = stress_scores(labels, clean, {("a", 1): clean, ("b", 2): clean.copy()}, threshold_logit=threshold, count=40)
    assert found.mean_flip_rate == 0
    assert all(score.mean_shift == 0 and score.auc == found.clean_auc for score in found.scores)
    assert all(score.accuracy == found.clean_accuracy for score in found.scores)
    if found.clean_auc:
        assert found.relative_auc.value == 1
        bounds = [found.relative_auc.low, found.relative_auc.high]
        assert bounds == [1, 1] or (np.isnan(bounds).all() and found.reason.endswith("there is no interval"))
        assert found.worst == "a"


@relaxed
@given(case=stressed(), data=st.data())
def test_the_order_of_images_changes_no_score(case: tuple, data: st.DataObject) -> None:
    labels, clean, changed = case
    order = np.array(data.draw(st.permutations(range(labels.size))))
    found = stress_scores(labels, clean, changed, count=40)
    again = stress_scores(labels[order], clean[order], {key: x[order] for key, x in changed.items()}, count=40)
    assert (again.scores, again.by_change) == (found.scores, found.by_change)
    assert again.relative_auc.value == pytest.approx(found.relative_auc.value, nan_ok=True)


@relaxed
@given(case=stressed())
def test_the_order_of_changes_moves_only_the_list(case: tuple) -> None:
    labels, clean, changed = case
    found = stress_scores(labels, clean, changed, count=40)
    again = stress_scores(labels, clean, dict(reversed(changed.items())), count=40)
    assert again.scores == found.scores[::-1]
    assert again.by_change["b"].flip_rate == found.by_change["b"].flip_rate
    assert again.relative_auc.low == pytest.approx(found.relative_auc.low, abs=1e-12, nan_ok=True)
    assert again.mean_flip_rate == pytest.approx(found.mean_flip_rate)


@relaxed
@given(case=stressed())
def test_turned_over_and_stretched(case: tuple) -> None:
    """Other labels and signs: the same AUC. An increasing map of all logits: the same AUC."""
    labels, clean, changed = case
    found = stress_scores(labels, clean, changed, count=40)
    turned = stress_scores(1 - labels, -clean, {key: -x for key, x in changed.items()}, count=40)
    grown = stress_scores(labels, np.exp(clean), {key: np.exp(x) for key, x in changed.items()}, count=40)
    for other in (turned, grown):
        assert [score.auc for score in other.scores] == pytest.approx([score.auc for score in found.scores], abs=1e-12)
    assert grown.relative_auc == found.relative_auc


def test_same_seed_same_interval_and_another_seed_another() -> None:
    labels, clean, changed = normal_case()
    assert stress_scores(labels, clean, changed, seed=1) == stress_scores(labels, clean, changed, seed=1)
    bounds = {stress_scores(labels, clean, changed, seed=seed).relative_auc.low for seed in range(4)}
    assert len(bounds) == 4


# ---------------------------------------------------------------- what is undefined, files, refusals


@pytest.mark.parametrize(("label", "word"), [(0, "benign"), (1, "malignant")])
def test_one_class_has_flips_but_no_auc(label: int, word: str) -> None:
    found = stress_scores(np.full(3, label), np.array([1.0, 2.0, -1.0]), {("a", 1): np.array([1.0, -2.0, -1.0])})
    assert math.isnan(found.clean_auc)
    assert math.isnan(found.scores[0].auc)
    assert math.isnan(found.by_change["a"].relative_auc)
    assert found.relative_auc is UNDEFINED
    assert found.worst is None
    assert found.reason == f"all 3 images are {word}, and an AUC needs both classes"
    assert found.mean_flip_rate == found.by_change["a"].flip_rate == pytest.approx(1 / 3)
    assert found.clean_accuracy == (1 / 3, 2 / 3)[label]


def test_a_clean_auc_of_zero_has_no_shares() -> None:
    found = stress_scores(LABELS, -CLEAN, CHANGED)
    assert found.clean_auc == 0
    assert found.relative_auc is UNDEFINED
    assert found.worst is None
    assert found.reason == "the AUC of the clean images is 0, of which nothing can be a share"
    assert [score.auc for score in found.scores] == [1.0, 0.375, 0.5]


def test_no_interval_where_drawing_again_leaves_no_clean_auc() -> None:
    """One of four pairs is right: of the resamples, 7 in 16 hold only the malignant or only the benign image that
    loses to all, and the clean AUC is 0."""
    found = stress_scores(np.array([1, 1, 0, 0]), np.array([1.0, -1.0, 0.0, 2.0]), {("a", 1): CLEAN})
    assert found.relative_auc.value == 4
    assert math.isnan(found.relative_auc.low)
    assert math.isnan(found.relative_auc.high)
    assert found.reason == "the AUC of the clean images is 0 in many resamples, so that there is no interval"
    assert found.worst == "a"


def test_one_image() -> None:
    found = stress_scores(np.array([1]), np.array([1.0]), {("a", 1): np.array([-1.0])})
    assert (found.mean_flip_rate, found.scores[0].mean_shift, found.n) == (1.0, -2.0, 1)
    assert math.isnan(found.clean_auc)


@pytest.mark.parametrize("labels", [LABELS, np.ones(4, dtype=np.int64)])
def test_to_dict_and_back(tmp_path: Path, labels: np.ndarray) -> None:
    found = stress_scores(labels, CLEAN, CHANGED)
    write_json(tmp_path / "stress.json", found.to_dict())
    again = StressResult.from_dict(read_json(tmp_path / "stress.json"))
    assert repr(again) == repr(found)  # NaN is not equal to itself
    assert repr(StressResult.from_dict(found.to_dict())) == repr(found)
    assert json.loads(json.dumps(found.to_dict()))["scores"][1]["strength"] == 2


@pytest.mark.parametrize("broken", [{}, {"scores": 3}, {"by_change": {}, "scores": [{"x": 1}]}, {"by_change": [1]}])
def test_other_files_are_refused(broken: dict) -> None:
    with pytest.raises(DataError, match=r"not the scores of a stress test .*; run lentigo stress again"):
        StressResult.from_dict(broken)
    whole = stress_scores(LABELS, CLEAN, CHANGED).to_dict()
    with pytest.raises(DataError, match="unexpected keyword argument 'more'"):
        StressResult.from_dict(whole | {"more": 1})


def test_refusals() -> None:
    with pytest.raises(DataError, match="no changed images to score"):
        stress_scores(LABELS, CLEAN, {})
    with pytest.raises(DataError, match="under ink at strength 3, the logit in row 1 is NaN"):
        stress_scores(LABELS, CLEAN, CHANGED | {("ink", 3): np.array([0.0, math.nan, 1.0, 1.0])})
    with pytest.raises(DataError, match="the logit in row 0 is NaN"):
        stress_scores(LABELS, CLEAN * math.nan, CHANGED)
    with pytest.raises(ConfigError, match="threshold is NaN"):
        stress_scores(LABELS, CLEAN, CHANGED, threshold_logit=math.nan)
    with pytest.raises(ConfigError, match="count is 20, too few"):
        stress_scores(LABELS, CLEAN, CHANGED, count=20)
    with pytest.raises(DataError, match="3 group numbers for 4 images"):
        stress_scores(LABELS, CLEAN, CHANGED, groups=[1, 2, 3])

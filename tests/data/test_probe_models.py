"""Folds by their properties; smoother and AUCs against scikit-learn; the permutation test by what it promises."""

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from lentigo.data import probe_models
from lentigo.data.probe_models import FOLDS, deal_folds, fit_and_score, out_of_fold, permutation_p_value
from lentigo.evidence.metrics import roc_auc_score
from tests import reference

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# ---------------------------------------------------------------- folds


@relaxed
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30)), min_size=2, max_size=80), st.integers(0, 5))
def test_folds_keep_groups_whole_and_learn_from_both_classes(images: list[tuple[int, int]], seed: int) -> None:
    labels, groups = (np.array(column, dtype=np.int64) for column in zip(*images, strict=True))
    fold = deal_folds(labels, groups, seed)
    of_class = [len({g for x, g in images if x == label}) for label in (0, 1)]
    if isinstance(fold, str):
        # Where each class has groups of its own, two of them are enough.
        pure = [len({g for x, g in images if x == label and (1 - label, g) not in images}) for label in (0, 1)]
        assert min(of_class) < 2 or min(pure) < 2
        return
    folds_of = defaultdict(set)
    for group, k in zip(groups, fold, strict=True):
        folds_of[group].add(k)
    assert all(len(found) == 1 for found in folds_of.values())
    assert set(fold.tolist()) <= set(range(min(FOLDS, *of_class)))
    assert all({0, 1} <= set(labels[fold != k].tolist()) for k in set(fold.tolist()))
    np.testing.assert_array_equal(fold, deal_folds(labels, groups, seed))


@pytest.mark.parametrize("malignant", [5, 17, 50])
def test_folds_of_single_images_are_even(malignant: int) -> None:
    labels = np.array([1] * malignant + [0] * (103 - malignant))
    fold = deal_folds(labels, np.arange(103), 0)
    for label in (0, 1):
        counts = np.bincount(np.asarray(fold)[labels == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


def test_folds_by_hand() -> None:
    # A patient with 4 of 6 malignant images goes first; the others then fill the other fold.
    labels, groups = np.array([1, 1, 1, 1, 1, 1, 0, 0]), np.array([9, 9, 9, 9, 2, 2, 3, 4])
    fold = np.asarray(deal_folds(labels, groups, 0))
    assert len(set(fold.tolist())) == 2
    assert fold[0] == fold[3] != fold[4] == fold[5]
    assert fold[6] != fold[7]


def test_folds_that_cannot_be_say_why() -> None:
    one_patient = deal_folds(np.array([1, 1, 0, 0]), np.array([5, 5, 1, 2]), 0)
    assert one_patient == (
        "groups of like images with benign ones: 2, with malignant ones: 1; at least 2 of either are needed, "
        "to learn from one and score the other"
    )
    assert "with malignant ones: 0; at least 2" in str(deal_folds(np.zeros(4, dtype=np.int64), np.arange(4), 0))


def test_a_huge_group_of_both_classes_is_one_fold() -> None:
    labels, groups = np.arange(100) % 2, np.minimum(np.arange(100), 10)  # ten single images and one of ninety
    fold = np.asarray(deal_folds(labels, groups, 0))
    assert set(fold[10:].tolist()) == {fold[10]}
    assert set(np.unique(fold[:10])) == set(range(FOLDS)) - {fold[10]}


# ---------------------------------------------------------------- models


def test_out_of_fold_finds_what_is_there_and_only_that() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 150)
    noise = rng.normal(size=(300, 4)).astype(np.float32)
    told = noise.copy()
    told[:, 2] += 2 * labels
    fold = np.asarray(deal_folds(labels, np.arange(300), 0))
    assert roc_auc_score(labels, out_of_fold(told, labels, fold)) > 0.85  # Phi(2 / sqrt 2) = 0.92
    assert roc_auc_score(labels, out_of_fold(noise, labels, fold)) == pytest.approx(0.5, abs=0.1)


def test_out_of_fold_leaves_the_fold_out() -> None:
    """Each fold's logits are those of a model fitted to the others, less the log odds of these."""
    rng = np.random.default_rng(1)
    labels, features = (rng.random(90) < 0.3).astype(np.int64), rng.normal(size=(90, 2)).astype(np.float32)
    fold = np.arange(90) % 3
    found = out_of_fold(features, labels, fold)
    for k in range(3):
        others = fold != k
        expected = fit_and_score(features[others], labels[others], features[~others])
        odds = labels[others].mean() / (1 - labels[others].mean())
        np.testing.assert_allclose(found[~others], expected - math.log(odds), atol=2e-6)


def test_a_view_that_tells_nothing_ties_all_images_over_all_folds() -> None:
    labels, fold = np.array([0] * 13 + [1] * 8), np.arange(21) % 4  # folds with other shares of malignant images
    assert out_of_fold(np.ones((21, 3), dtype=np.float32), labels, fold).tolist() == [0] * 21


# ---------------------------------------------------------------- permutation test


def test_smoother_equals_scikit_learn_fold_by_fold() -> None:
    rng = np.random.default_rng(2)
    waves, targets = (rng.normal(size=(83, many)).astype(np.float32) for many in (12, 7))
    found = probe_models._smooth_out_of_fold(waves, targets)
    for k in range(FOLDS):
        held = np.arange(83) % FOLDS == k
        model = Ridge(alpha=1, fit_intercept=False).fit(waves[~held].astype(np.float64), targets[~held])
        np.testing.assert_allclose(found[held], model.predict(waves[held]), atol=1e-4)


def test_aucs_of_columns_equal_counting_pairs() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(25, 6)).astype(np.float32)
    malignant = np.stack([rng.permutation(np.arange(25) < 9) for _ in range(6)], axis=1)
    expected = [float(reference.auc(malignant[:, k].astype(int), scores[:, k])) for k in range(6)]
    np.testing.assert_allclose(probe_models._aucs(scores, malignant), expected, atol=1e-12)


def test_waves_are_the_features_and_a_gaussian_kernel() -> None:
    scaled = np.random.default_rng(4).normal(size=(1000, 3))
    waves = probe_models._waves(scaled, np.random.default_rng(0)).astype(np.float64)
    np.testing.assert_allclose(waves[:, :3], scaled / math.sqrt(3), rtol=1e-6)
    kernel = waves[:40, 3:] @ waves[:40, 3:].T
    squared = ((scaled[:40, None] - scaled[None, :40]) ** 2).sum(axis=2)
    np.testing.assert_allclose(kernel, np.exp(-squared / (2 * 3)), atol=0.3)  # 200 waves know it to 1 / sqrt 200


def test_p_values_of_noise_are_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_models, "PERMUTATIONS", 99)
    rng = np.random.default_rng(5)
    labels, groups = np.repeat([0, 1], [60, 30]), np.arange(90)
    drawn = [rng.normal(size=(90, 3)).astype(np.float32) for _ in range(300)]
    found = np.array([permutation_p_value(x, labels, groups, seed=seed) for seed, x in enumerate(drawn)])
    for level in (0.05, 0.2, 0.5, 0.8):
        assert (found <= level).mean() == pytest.approx(level, abs=3.5 * math.sqrt(level * (1 - level) / 300))


def test_p_value_counts_the_shuffles_that_do_as_well() -> None:
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1], 40)
    features = (rng.normal(size=(80, 2)) + 2 * labels[:, None]).astype(np.float32)
    assert permutation_p_value(features, labels, np.arange(80), seed=0) == 1 / 2001  # nothing does as well
    # A curved edge that no straight line follows: the cosines do.
    ring = (rng.normal(size=(200, 2)) * np.where(np.arange(200) % 2, 1.0, 0.15)[:, None]).astype(np.float32)
    assert permutation_p_value(ring, np.arange(200) % 2, np.arange(200), seed=0) == 1 / 2001


def test_images_of_one_group_count_once() -> None:
    """Ten patients with ten like images each: a hundred images would swear to what ten patients do not."""
    rng = np.random.default_rng(7)
    groups, labels = np.repeat(np.arange(10), 10), np.repeat(np.arange(10) % 2, 10)
    smallest = min(
        permutation_p_value(
            (np.repeat(rng.normal(size=(10, 2)), 10, axis=0) + rng.normal(0, 0.01, (100, 2))).astype(np.float32),
            labels,
            groups,
            seed=seed,
        )
        for seed in range(5)
    )
    assert smallest > 1 / 252  # 5 of 10 patients can be chosen in 252 ways


def test_p_value_without_a_difference_or_a_class() -> None:
    flat, labels = np.ones((30, 2), dtype=np.float32), np.arange(30) % 2
    assert permutation_p_value(flat, labels, np.arange(30), seed=0) == 1.0
    assert permutation_p_value(np.zeros((30, 0), dtype=np.float32), labels, np.arange(30), seed=0) == 1.0
    assert math.isnan(permutation_p_value(flat, np.zeros(30, dtype=np.int64), np.arange(30), seed=0))

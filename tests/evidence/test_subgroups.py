"""Scores within groups: against scikit-learn and by hand."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from lentigo.errors import DataError
from lentigo.evidence.intervals import auc_interval
from lentigo.evidence.subgroups import group_score, scores_by_group


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

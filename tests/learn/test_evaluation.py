"""What stands beside a network's scores in metrics.json: the AUC's interval, and the scores within each source."""

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from lentigo.data.predictions import Predictions
from lentigo.data.table import ImageRow, ImageTable
from lentigo.evidence.intervals import auc_interval
from lentigo.files import read_json, write_json
from lentigo.learn.evaluation import standing


def made(labels: list[int], logits: list[float], sources: list[str]) -> tuple[Predictions, ImageTable]:
    """Predictions, and a table of their images in another order with one more image of each source."""
    ids = tuple(f"{index:03}.jpg" for index in range(len(labels)))
    cells = [*zip(ids, labels, sources, strict=True), *((f"x{name}.jpg", 0, name) for name in set(sources))]
    rows = (ImageRow(id=name, path=Path(name), label=label, source=source) for name, label, source in cells[::-1])
    predictions = Predictions(ids, np.array(labels), np.array(logits, dtype=np.float32))
    return predictions, ImageTable(root=Path("data"), rows=tuple(rows))


def test_standing_by_hand() -> None:
    # a: 2 > 1, 2 > -1, -2 < 1, -2 < -1: two pairs of four; right at 0: 2 and -1. b: one class. No name: no source.
    found = standing(*made([1, 0, 1, 0, 1, 1, 0], [2, 1, -2, -1, 3, 4, 9], ["a", "a", "a", "a", "b", "b", ""]))
    assert list(found) == ["auc_low", "auc_high", "within_sources"]
    assert list(found["within_sources"]) == ["a"]
    within = found["within_sources"]["a"]
    assert within | {"low": 0, "high": 0} == {
        "auc": 0.5, "low": 0, "high": 0, "accuracy": 0.5, "n": 4, "n_malignant": 2
    }  # fmt: skip
    assert 0 < within["low"] < 0.5 < within["high"] < 1


def test_standing_equals_the_scores_of_each_source_alone() -> None:
    rng = np.random.default_rng(8)
    labels = rng.integers(2, size=200)
    logits = rng.normal(labels, 1).astype(np.float32)
    sources = rng.choice(["", "clinic", "archive"], size=200)
    found = standing(*made(labels.tolist(), logits.tolist(), sources.tolist()))
    whole = auc_interval(labels, logits)
    assert (found["auc_low"], found["auc_high"]) == (whole.low, whole.high)
    assert list(found["within_sources"]) == ["archive", "clinic"]
    for source, score in found["within_sources"].items():
        of = sources == source
        interval = auc_interval(labels[of], logits[of])
        assert (score["low"], score["high"]) == (interval.low, interval.high)
        assert score["auc"] == pytest.approx(roc_auc_score(labels[of], logits[of]), abs=1e-12)
        assert score["accuracy"] == pytest.approx(accuracy_score(labels[of], logits[of] >= 0))
        assert (score["n"], score["n_malignant"]) == (of.sum(), labels[of].sum())


def test_one_class_has_no_interval_and_is_null_on_disk(tmp_path: Path) -> None:
    found = standing(*made([1, 1], [0.5, -0.5], ["a", "a"]))
    assert math.isnan(found["auc_low"])
    assert found["within_sources"] == {}
    write_json(tmp_path / "metrics.json", found)
    assert read_json(tmp_path / "metrics.json") == {"auc_low": None, "auc_high": None, "within_sources": {}}


def test_without_sources_only_the_interval_stands() -> None:
    found = standing(*made([0, 1, 0, 1], [0.1, 0.4, 0.3, 0.2], [""] * 4))
    assert found["within_sources"] == {}
    # Three of four pairs are right.
    assert 0 < found["auc_low"] < 0.75 < found["auc_high"] < 1

"""What stands beside a network's scores in metrics.json (the AUC's interval, the scores within each source), and what
is decided on its validation images.
"""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from lentigo.data.predictions import Predictions, read_predictions
from lentigo.data.table import ImageRow, ImageTable
from lentigo.errors import DataError
from lentigo.evidence.decisions import Decisions, decide, undecided
from lentigo.evidence.intervals import auc_interval
from lentigo.files import read_json, write_json
from lentigo.learn.checkpoint import run_checkpoint
from lentigo.learn.evaluation import Evaluation, decisions_of, evaluate_run, read_evaluation, standing
from lentigo.learn.prediction import predict_logits
from lentigo.learn.training import TrainingData, train
from tests.learn.small import small_experiment


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


# ---------------------------------------------------------------- decisions


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, noise_data: TrainingData) -> Path:
    run = tmp_path_factory.mktemp("evaluation") / "run"
    train(run, small_experiment(epochs=1), noise_data)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def evaluated(run: Path, data: TrainingData) -> Evaluation:
    return evaluate_run(run, data.table, data.pack, data.split)


def same(one: Decisions, other: Decisions) -> bool:
    return repr(one) == repr(other)  # NaN equals NaN


def write_validation(run: Path, labels: list[int], logits: list[float]) -> Decisions:
    ids = tuple(f"{index}.jpg" for index in range(len(labels)))
    written = Predictions(ids, np.array(labels, dtype=np.int64), np.array(logits, dtype=np.float32))
    written.write(run / "validation.csv")
    return decide(written.labels, written.logits) if labels else undecided("")


def test_evaluating_decides_on_the_validation_images(run: Path, noise_data: TrainingData) -> None:
    told: list[int] = []
    found = evaluate_run(run, noise_data.table, noise_data.pack, noise_data.split, on_progress=told.append)
    checkpoint = run_checkpoint(run)
    for part, predictions in (("test", found.predictions), ("validation", read_predictions(run / "validation.csv"))):
        indices = noise_data.split.indices(noise_data.table, part)
        assert predictions.ids == tuple(noise_data.table.ids[index] for index in indices)
        logits = predict_logits(checkpoint.model, noise_data.pack, indices, checkpoint.preprocessing)
        np.testing.assert_array_equal(predictions.logits, logits)
    validation = read_predictions(run / "validation.csv")
    written = Decisions.from_dict(read_json(run / "decisions.json"))
    assert same(written, decide(validation.labels, validation.logits))
    assert same(decisions_of(run), decide(validation.labels, validation.logits))
    assert sum(told) == len(found.predictions.ids) + len(validation.ids)
    assert repr(read_evaluation(run).metrics) == repr(found.metrics)


def test_decisions_are_read_where_they_are_and_made_where_they_are_not(run: Path, noise_data: TrainingData) -> None:
    evaluated(run, noise_data)
    first, file = decisions_of(run), run / "decisions.json"
    written = file.read_bytes()
    file.unlink()  # as a run of an earlier lentigo has none
    assert same(decisions_of(run), first)
    assert file.read_bytes() == written
    other = write_validation(run, [0, 1, 0, 1], [1, 2, 3, -1])
    assert same(decisions_of(run), first)  # those that were made stay ...
    file.unlink()
    assert same(decisions_of(run), other)
    assert not same(other, first)


def test_evaluating_anew_decides_anew(run: Path, noise_data: TrainingData) -> None:
    evaluated(run, noise_data)
    first = decisions_of(run)
    write_json(run / "decisions.json", write_validation(run, [0, 1, 0, 1], [1, 2, 3, -1]).to_dict())
    assert not same(decisions_of(run), first)
    evaluated(run, noise_data)
    assert same(decisions_of(run), first)


def test_scoring_other_images_decides_nothing(run: Path, noise_data: TrainingData, tmp_path: Path) -> None:
    evaluated(run, noise_data)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    found = evaluate_run(run, noise_data.table, noise_data.pack, None, folder=tmp_path / "all")
    assert list(found.predictions.ids) == noise_data.table.ids
    assert {path.name for path in (tmp_path / "all").iterdir()} == {"predictions.csv", "metrics.json"}
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_without_validation_scores_nothing_is_decided_or_written(run: Path) -> None:
    found = decisions_of(run)
    assert same(found, undecided("the run has no validation.csv; evaluate it on its own images first"))
    assert not (run / "decisions.json").exists()


def test_an_empty_validation_decides_nothing_and_says_so(run: Path) -> None:
    write_validation(run, [], [])
    found = decisions_of(run)
    assert [threshold.name for threshold in found.thresholds] == ["0.5"]
    assert found.reason == "no image was kept for validation"
    assert found.n == 0
    assert same(decisions_of(run), found)  # from the file


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("decisions.json", "{}"),
        ("decisions.json", "{"),
        ("validation.csv", "image,label,logit\na,1,high\n"),
        ("validation.csv", "image,label\na,1\n"),
        ("validation.csv", ""),
    ],
)
def test_damaged_files_are_refused_by_name(run: Path, name: str, content: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(DataError) as refusal:
        decisions_of(run)
    assert str(run / name) in str(refusal.value)

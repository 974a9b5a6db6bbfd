"""The stress test of a run: logits are the network's on the changed images, each is computed once, and it goes on."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lentigo.config import Experiment
from lentigo.data.changes import CHANGES, STRENGTHS, apply_change
from lentigo.data.predictions import read_predictions
from lentigo.data.split import Split
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.evidence.stress import StressResult, stress_scores
from lentigo.files import read_json
from lentigo.imaging import preprocess
from lentigo.learn import stress as stress_module
from lentigo.learn.checkpoint import run_checkpoint
from lentigo.learn.evaluation import evaluate_run
from lentigo.learn.stress import StressTest, read_stress, stress_run, stress_total
from lentigo.learn.training import TrainingData, train
from tests.learn.helpers import Killed
from tests.learn.small import small_experiment

TWO = ("jpeg", "noise")  # the second is drawn at random


def experiment(seed: int = 0) -> Experiment:
    return small_experiment(epochs=1).changed(seed=seed)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, noise_data: TrainingData) -> Path:
    run = tmp_path_factory.mktemp("stress") / "run"
    train(run, experiment(), noise_data)
    evaluate_run(run, noise_data.table, noise_data.pack, noise_data.split)
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def stressed(run: Path, data: TrainingData, changes: tuple[str, ...] | None = TWO, **options: Any) -> StressTest:
    return stress_run(run, data.table, data.pack, data.split, changes=changes, **options)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The changes that images were given, one entry a batch and strength."""
    names: list[str] = []
    real = stress_module._changed

    def counted(images: np.ndarray, name: str, strength: int, **options: Any) -> np.ndarray:
        names.append(name)
        return real(images, name, strength, **options)

    monkeypatch.setattr(stress_module, "_changed", counted)
    return names


def rows_of(run: Path, name: str) -> Path:
    """The file of one kind; there must be one test's alone."""
    (file,) = (run / "stress").glob(f"*/{name}.npy")
    return file


def same(one: StressTest, other: StressTest) -> bool:
    return (one.ids, one.seed, repr(one.result)) == (other.ids, other.seed, repr(other.result))


# ---------------------------------------------------------------- what is computed


def test_clean_logits_are_those_of_the_predictions(run: Path, noise_data: TrainingData) -> None:
    found = stressed(run, noise_data)
    predictions = read_predictions(run / "predictions.csv")
    assert found.ids == predictions.ids
    clean = np.load(rows_of(run, "clean"))
    np.testing.assert_array_equal(clean, predictions.logits[None])
    assert found.result.clean_auc == pytest.approx(
        stress_scores(predictions.labels, predictions.logits, {("x", 1): predictions.logits}).clean_auc
    )


def test_each_row_is_the_network_on_the_changed_images(run: Path, noise_data: TrainingData) -> None:
    """Changed one by one, preprocessed by the one `preprocess`, in another batch."""
    stressed(run, noise_data, ("hair", "noise"), seed=3)
    checkpoint, indices = run_checkpoint(run), noise_data.split.indices(noise_data.table, "test")
    for name in ("hair", "noise"):
        kept = np.load(rows_of(run, name))
        assert kept.shape == (5, len(indices))
        for row, strength in zip(kept, STRENGTHS, strict=True):
            inputs = [
                preprocess(
                    apply_change(noise_data.pack.read([int(index)])[0], name, strength, seed=3, index=int(index)),
                    checkpoint.preprocessing,
                )
                for index in indices
            ]
            with torch.inference_mode():
                logits = checkpoint.model(torch.from_numpy(np.stack(inputs)))
            np.testing.assert_allclose(row, logits.numpy(), atol=1e-5)
        assert len(np.unique(kept, axis=0)) == 5


def test_the_result_is_the_scores_of_what_is_kept(run: Path, noise_data: TrainingData) -> None:
    found = stressed(run, noise_data, seed=2)
    indices = noise_data.split.indices(noise_data.table, "test")
    rows = {name: np.load(rows_of(run, name)) for name in TWO}
    changed = {(name, strength): rows[name][strength - 1] for name in TWO for strength in STRENGTHS}
    clean = np.load(rows_of(run, "clean"))[0]
    expected = stress_scores(noise_data.table.labels[indices], clean, changed, seed=2)
    assert repr(found.result) == repr(expected)
    assert [(score.change, score.strength) for score in found.result.scores] == list(changed)


def test_images_of_one_lesion_are_drawn_together(
    run: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups: list[list[int]] = []

    def seen(*args: Any, **options: Any) -> StressResult:
        groups.append(options["groups"].tolist())
        return stress_scores(*args, **options)

    monkeypatch.setattr(stress_module, "stress_scores", seen)
    indices = noise_data.split.indices(noise_data.table, "test")
    lesions = {int(index): f"lesion {number // 3}" for number, index in enumerate(indices)}
    rows = tuple(replace(row, lesion=lesions.get(index, "")) for index, row in enumerate(noise_data.table.rows))
    stressed(run, replace(noise_data, table=replace(noise_data.table, rows=rows)), ("jpeg",))
    (found,) = groups
    assert len(set(found)) == 4
    assert found == np.repeat(found[::3], 3).tolist()


def test_progress_counts_every_image_of_every_row(run: Path, noise_data: TrainingData) -> None:
    n = len(noise_data.split.indices(noise_data.table, "test"))
    assert stress_total(n, TWO) == 11 * n
    assert stress_total(n, None) == n * (1 + 5 * len(CHANGES))
    for _ in range(2):  # computed, and from the files
        told: list[int] = []
        stressed(run, noise_data, on_progress=told.append)
        assert sum(told) == 11 * n


def test_all_changes_are_made_unless_some_are_named(run: Path, noise_data: TrainingData) -> None:
    found = stressed(run, noise_data, None, count=4)
    assert list(found.result.by_change) == list(CHANGES)
    assert {path.stem for path in (run / "stress").glob("*/*.npy")} == {"clean", *CHANGES}


# ---------------------------------------------------------------- some of the images


@pytest.mark.parametrize(("count", "malignant"), [(2, 1), (3, 2), (4, 2), (5, 2), (6, 3), (8, 4)])
def test_a_count_keeps_the_shares_of_the_classes(
    run: Path, noise_data: TrainingData, count: int, malignant: int
) -> None:
    """12 test images, half of them malignant: of 3 and of 5 it would be 1.5 and 2.5, both rounded to 2."""
    assert noise_data.split.counts(noise_data.table)["test"] == {"benign": 6, "malignant": 6}
    found = stressed(run, noise_data, ("jpeg",), count=count)
    labels = [noise_data.table.labels[noise_data.table.ids.index(name)] for name in found.ids]
    assert (len(labels), sum(labels)) == (count, malignant)
    assert list(found.ids) == sorted(found.ids)  # in the table's order
    assert set(found.ids) <= set(read_predictions(run / "predictions.csv").ids)
    assert found.result.n == count
    assert same(stressed(run, noise_data, ("jpeg",), count=count), found)


def test_few_of_a_class_are_never_none(run: Path, noise_data: TrainingData) -> None:
    """One malignant test image among seven: two of them are one of each class."""
    test = [noise_data.table.rows[index] for index in noise_data.split.indices(noise_data.table, "test")]
    spare = [row.id for row in test if row.label == 1][1:]
    split = Split(noise_data.split.part | dict.fromkeys(spare, "exclude"))
    for count in (2, 3, 6, 7):
        found = stress_run(run, noise_data.table, noise_data.pack, split, changes=("jpeg",), count=count)
        assert sum(name.startswith("malignant") for name in found.ids) == 1
        assert len(found.ids) == count


def test_another_seed_draws_others_and_a_large_count_is_all(run: Path, noise_data: TrainingData) -> None:
    drawn = {stressed(run, noise_data, ("jpeg",), count=6, seed=seed).ids for seed in range(4)}
    assert len(drawn) > 1
    everyone = read_predictions(run / "predictions.csv").ids
    for count in (None, 12, 500):
        assert stressed(run, noise_data, ("jpeg",), count=count).ids == everyone


# ---------------------------------------------------------------- kept


def test_a_second_call_computes_nothing(run: Path, noise_data: TrainingData, forwards: list[str]) -> None:
    first = stressed(run, noise_data)
    assert forwards == ["clean", *["jpeg"] * 5, *["noise"] * 5]
    assert same(stressed(run, noise_data), first)
    assert len(forwards) == 11
    more = stressed(run, noise_data, ("noise", "blur"))
    assert forwards[11:] == ["blur"] * 5
    assert list(more.result.by_change) == ["noise", "blur"]
    assert more.result.by_change["noise"] == first.result.by_change["noise"]


@pytest.mark.parametrize("options", [{"seed": 1}, {"count": 6}], ids=str)
def test_rows_of_another_seed_or_other_images_stand_beside_the_first(
    run: Path, noise_data: TrainingData, forwards: list[str], options: dict[str, int]
) -> None:
    first = stressed(run, noise_data, ("jpeg", "blur"))
    stressed(run, noise_data, ("jpeg",), **options)
    assert forwards[11:] == ["clean", *["jpeg"] * 5]
    assert same(stressed(run, noise_data, ("jpeg", "blur")), first)
    assert len(forwards) == 17  # nothing was lost
    assert len(list((run / "stress").iterdir())) == 2


def test_a_choice_of_changes_leaves_the_result_of_all(run: Path, noise_data: TrainingData) -> None:
    every = stressed(run, noise_data, None, count=4)
    assert every.file == run / "stress.json"
    some = stressed(run, noise_data, ("jpeg",), count=4)
    assert some.file == rows_of(run, "jpeg").parent / "stress.json"
    kept = read_stress(run)
    assert kept is not None
    assert same(kept, every)


def test_rows_of_another_network_are_not_used(
    run: Path, noise_data: TrainingData, forwards: list[str], tmp_path: Path
) -> None:
    stressed(run, noise_data, ("jpeg",))
    first = rows_of(run, "jpeg")
    before = np.load(first)
    train(tmp_path / "other", experiment(seed=4), noise_data)
    for name in ("checkpoint.safetensors", "experiment.toml"):
        shutil.copy(tmp_path / "other" / name, run)
    stressed(run, noise_data, ("jpeg",))
    assert len(forwards) == 12
    first.unlink()
    assert not np.array_equal(np.load(rows_of(run, "jpeg")), before)


@pytest.mark.parametrize("content", [b"", b"x", b"\x93NUMPY\x01\x00", None])
def test_a_damaged_row_is_made_anew(
    run: Path, noise_data: TrainingData, forwards: list[str], content: bytes | None
) -> None:
    first = stressed(run, noise_data)
    file = rows_of(run, "jpeg")
    good = file.read_bytes()
    file.write_bytes(good[:-3] if content is None else content)
    assert same(stressed(run, noise_data), first)
    assert file.read_bytes() == good
    assert forwards[11:] == ["jpeg"] * 5


def test_an_interrupted_test_goes_on_behind_the_last_kind(
    run: Path, noise_data: TrainingData, forwards: list[str], tmp_path: Path
) -> None:
    whole = stressed(Path(shutil.copytree(run, tmp_path / "whole")), noise_data)
    forwards.clear()
    with killed_in("noise", forwards), pytest.raises(Killed):
        stressed(run, noise_data)
    assert {path.name for path in (run / "stress").glob("*/*")} == {"clean.npy", "jpeg.npy"}
    forwards.clear()
    found = stressed(run, noise_data)
    assert same(found, whole)
    assert forwards == ["noise"] * 5
    assert found.file.read_bytes() == whole.file.read_bytes()


@contextmanager
def killed_in(name: str, forwards: list[str]) -> Iterator[None]:
    """A kill in the third strength of one kind."""
    counting = stress_module._changed

    def killing(images: np.ndarray, kind: str, strength: int, **options: Any) -> np.ndarray:
        if (kind, strength) == (name, 3):
            raise Killed
        return counting(images, kind, strength, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stress_module, "_changed", killing)
        yield


# ---------------------------------------------------------------- refused, and read back


def test_an_unknown_change_is_refused_before_anything_is_written(run: Path, noise_data: TrainingData) -> None:
    with pytest.raises(ConfigError, match=r"^no change is called jpg, fog; choose from jpeg, blur, "):
        stressed(run, noise_data, ("jpg", "noise", "fog"))
    for count in (1, 0, -3):
        with pytest.raises(ConfigError, match=f"^count is {count}; a stress test needs 2 images or more$"):
            stressed(run, noise_data, count=count)
    assert not (run / "stress").exists()
    (run / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match="has no checkpoint yet"):
        stressed(run, noise_data)


def test_what_was_written_is_read_back(run: Path, noise_data: TrainingData) -> None:
    assert read_stress(run) is None
    found = stressed(run, noise_data, None, count=6, seed=7)
    read = read_stress(run)
    assert read is not None
    assert same(read, found)
    assert read.seed == 7
    about = read_json(run / "stress.json")
    assert (about["images"], about["ids"]) == (6, list(found.ids))
    (run / "stress.json").write_text((run / "stress.json").read_text().replace(about["checkpoint"], "0" * 64))
    assert read_stress(run) is None  # of other weights


def test_undefined_scores_are_read_back_as_nan(run: Path, noise_data: TrainingData) -> None:
    test = noise_data.split.indices(noise_data.table, "test")
    malignant = {noise_data.table.ids[index]: "exclude" for index in test if noise_data.table.labels[index]}
    found = stress_run(run, noise_data.table, noise_data.pack, Split(noise_data.split.part | malignant), count=2)
    assert np.isnan(found.result.clean_auc)
    read = read_stress(run)
    assert read is not None
    assert same(read, found)


@pytest.mark.parametrize("content", ["{}", "[]", '{"ids": [], "seed": 0, "result": {}}', '{"ids": 3}', "{"])
def test_a_damaged_result_is_refused(run: Path, content: str) -> None:
    (run / "stress.json").write_text(content)
    with pytest.raises(DataError):
        read_stress(run)

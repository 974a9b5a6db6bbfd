"""A run on other data: exactly the copies of what it learned from are left out, and nothing of the run changes.

Drawn lesions, since the search for copies needs details that noise of a few pixels has not.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from lentigo.data.pack import pack_images
from lentigo.data.predictions import Predictions, read_predictions
from lentigo.data.split import make_split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import ImageTable, read_table
from lentigo.errors import DataError, RunError
from lentigo.evidence.metrics import scores
from lentigo.files import read_json, sha256_of
from lentigo.learn import elsewhere as elsewhere_module
from lentigo.learn.checkpoint import run_checkpoint
from lentigo.learn.elsewhere import Elsewhere, evaluate_elsewhere
from lentigo.learn.evaluation import evaluate_run
from lentigo.learn.prediction import predict_logits
from lentigo.learn.training import TrainingData, train
from tests.learn.small import IMAGE_PX, small_experiment

SIZE_PX = 128
QUALITY = 85  # of JPEG; pictures as small as these are no longer all found at 60


@dataclass(frozen=True)
class Finished:
    """A run with the data that it was trained on."""

    folder: Path
    data: TrainingData
    cache: Path

    def some(self, part: str, label: int) -> list[Path]:
        """The run's own images of one part and class."""
        table = self.data.table
        rows = (table.rows[index] for index in self.data.split.indices(table, part))
        return [row.path for row in rows if row.label == label]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("elsewhere")
    table = read_table(write_dataset(folder / "own", count=40, size_px=SIZE_PX, seed=1, workers=1))
    experiment = small_experiment().changed(split={"protocol": "folders", "validation_fraction": 0.25})
    pack = pack_images(table, image_px=IMAGE_PX, cache=folder / "cache")
    data = TrainingData(table=table, pack=pack, split=make_split(table, experiment.split))
    train(folder / "run", experiment, data)
    evaluate_run(folder / "run", table, pack, data.split)
    return Finished(folder / "run", data, folder / "cache")


@pytest.fixture
def run(made: Finished, tmp_path: Path) -> Finished:
    """A copy, so that a test may spoil it; the cache is shared."""
    return Finished(Path(shutil.copytree(made.folder, tmp_path / "run")), made.data, made.cache)


def saved(image: Path, to: Path, change: Callable[[Image.Image], Image.Image] | None = None) -> Path:
    """A file of the same picture: the same bytes, or encoded anew."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if change is None:
        shutil.copy(image, to)
    else:
        change(Image.open(image)).save(to, quality=QUALITY)
    return to


def as_it_is(image: Image.Image) -> Image.Image:
    return image


@pytest.fixture(scope="module")
def other(made: Finished, tmp_path_factory: pytest.TempPathFactory) -> ImageTable:
    """Copies of images of each part under other names, and eight new images."""
    folder = tmp_path_factory.mktemp("other") / "archive"
    new = write_dataset(tmp_path_factory.mktemp("new") / "drawn", count=8, size_px=SIZE_PX, seed=2, workers=1)
    for number, path in enumerate(sorted(new.rglob("*.jpg"))):
        saved(path, folder / path.parent.name / f"new{number}.jpg")
    saved(made.some("train", 0)[0], folder / "benign" / "bytes_of_train.jpg")
    saved(made.some("train", 1)[1], folder / "malignant" / "jpeg_of_train.jpg", as_it_is)
    saved(made.some("validation", 0)[0], folder / "benign" / "bytes_of_validation.jpg")
    saved(made.some("validation", 1)[0], folder / "malignant" / "mirrored_of_validation.jpg", ImageOps.mirror)
    saved(made.some("test", 0)[0], folder / "benign" / "bytes_of_test.jpg")
    saved(made.some("test", 1)[0], folder / "malignant" / "jpeg_of_test.jpg", as_it_is)
    return read_table(folder)


SEEN = (
    "benign/bytes_of_train.jpg", "benign/bytes_of_validation.jpg", "malignant/jpeg_of_train.jpg",
    "malignant/mirrored_of_validation.jpg",
)  # fmt: skip


def scored(run: Finished, table: ImageTable, **options: Any) -> Elsewhere:
    return evaluate_elsewhere(run.folder, table, cache=run.cache, **options)


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each scoring was of."""
    sizes: list[int] = []

    def counted(run: Path, table: ImageTable, *args: Any, **options: Any) -> Any:
        sizes.append(len(table))
        return evaluate_run(run, table, *args, **options)

    monkeypatch.setattr(elsewhere_module, "evaluate_run", counted)
    return sizes


# ---------------------------------------------------------------- what is left out


def test_copies_of_train_and_validation_are_left_out_and_no_others(run: Finished, other: ImageTable) -> None:
    found = scored(run, other, name="the archive")
    assert (found.unchecked, found.of_test) == ("", 2)
    assert tuple(image.id for image in found.left_out) == SEEN
    assert found.table.ids == [name for name in other.ids if name not in SEEN]
    assert {"benign/bytes_of_test.jpg", "malignant/jpeg_of_test.jpg"} < set(found.table.ids)
    assert len(found.table) == len(other) - 4 == 10
    assert list(found.pack.ids) == found.table.ids == list(found.evaluation.predictions.ids)
    own = run.data.table
    name_of = {row.path: row.id for row in own.rows}
    originals = [run.some(part, label)[place] for part, label, place in (
        ("train", 0, 0), ("validation", 0, 0), ("train", 1, 1), ("validation", 1, 0)
    )]  # fmt: skip
    assert [image.copy_of for image in found.left_out] == [name_of[path] for path in originals]
    assert [image.part for image in found.left_out] == ["train", "validation", "train", "validation"]
    assert [image.label for image in found.left_out] == [0, 0, 1, 1]
    assert [image.change for image in found.left_out] == ["in place", "in place", "in place", "mirrored"]
    assert all(image.likeness > (0.95 if "bytes" in image.id else 0.8) for image in found.left_out)
    assert found.name == "the archive"
    assert found.folder == run.folder / "evaluations" / f"archive-{pack_key(other, run)[:8]}"
    assert read_json(found.folder / "left_out.json") == {
        "checkpoint": sha256_of(run.folder / "checkpoint.safetensors"),
        "images_of_test": 2,
        "unchecked": "",
        "images": [
            {
                "id": image.id, "label": image.label, "copy_of": image.copy_of, "part": image.part,
                "likeness": image.likeness, "change": image.change,
            }
            for image in found.left_out
        ],
    }  # fmt: skip


def pack_key(table: ImageTable, run: Finished) -> str:
    return pack_images(table, image_px=IMAGE_PX, cache=run.cache).key


def test_scores_are_the_network_s_on_the_images_that_are_kept(run: Finished, other: ImageTable) -> None:
    found = scored(run, other)
    checkpoint = run_checkpoint(run.folder)
    pack = pack_images(other, image_px=IMAGE_PX, cache=run.cache)
    kept = [index for index, name in enumerate(other.ids) if name not in SEEN]
    logits = predict_logits(checkpoint.model, pack, kept, checkpoint.preprocessing)
    predictions = found.evaluation.predictions
    np.testing.assert_array_equal(predictions.logits, logits)
    np.testing.assert_array_equal(predictions.labels, other.labels[kept])
    assert read_predictions(found.folder / "predictions.csv").ids == predictions.ids
    assert repr(found.evaluation.metrics) == repr(dict(scores(other.labels[kept], logits)))
    assert read_json(found.folder / "metrics.json")["n"] == 10
    assert found.name == "archive"


def test_nothing_of_the_run_itself_changes(run: Finished, other: ImageTable) -> None:
    before = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    assert {"decisions.json", "validation.csv", "predictions.csv"} <= set(before)
    found = scored(run, other)
    assert {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()} == before
    assert {path.name for path in found.folder.iterdir()} == {"predictions.csv", "metrics.json", "left_out.json"}


def test_a_run_that_was_never_scored_chooses_its_decisions_first(run: Finished, other: ImageTable) -> None:
    expected = (run.folder / "decisions.json").read_bytes()
    for name in ("decisions.json", "validation.csv", "predictions.csv", "metrics.json"):
        (run.folder / name).unlink()
    scored(run, other)
    assert (run.folder / "decisions.json").read_bytes() == expected
    assert not (run.folder / "predictions.csv").exists()


def test_new_images_are_all_kept(run: Finished, other: ImageTable) -> None:
    new = other.subset(index for index, name in enumerate(other.ids) if "/new" in name)
    found = scored(run, new)
    assert (found.left_out, found.unchecked) == ((), "")
    assert found.table.ids == new.ids
    assert len(found.evaluation.predictions.ids) == 8


def test_images_of_one_class_will_do(run: Finished, other: ImageTable) -> None:
    benign = other.subset(np.flatnonzero(other.labels == 0))
    found = scored(run, benign)
    assert [image.id for image in found.left_out] == [name for name in SEEN if name.startswith("benign/")]
    assert (found.evaluation.metrics["n"], found.evaluation.metrics["n_malignant"]) == (5, 0)
    assert np.isnan(found.evaluation.metrics["auc"])
    assert read_json(found.folder / "metrics.json")["auc"] is None


def test_where_every_image_has_been_seen_there_is_nothing_to_score(run: Finished, other: ImageTable) -> None:
    seen = other.subset(index for index, name in enumerate(other.ids) if name in SEEN)
    with pytest.raises(DataError) as refusal:
        scored(run, seen, name="the archive")
    assert str(refusal.value) == (
        f"all 4 images of the archive are copies of images that {run.folder} was trained on; nothing is left to "
        "score: give other data"
    )
    assert not (run.folder / "evaluations").exists()


def test_the_run_s_own_images_under_other_names_leave_its_test_images(run: Finished, tmp_path: Path) -> None:
    rows = [(row.path, row.label) for row in run.data.table.rows]
    for number, (path, label) in enumerate(rows):
        saved(path, tmp_path / "again" / ("benign", "malignant")[label] / f"{number:02}.jpg")
    found = scored(run, read_table(tmp_path / "again"))
    test = run.data.split.indices(run.data.table, "test")
    assert {Path(name).stem for name in found.table.ids} == {f"{index:02}" for index in test}
    own = read_predictions(run.folder / "predictions.csv")
    place = {Path(name).stem: number for number, name in enumerate(found.table.ids)}
    logits = [found.evaluation.predictions.logits[place[f"{index:02}"]] for index in test]
    np.testing.assert_allclose(own.logits, logits, atol=1e-6)


# ---------------------------------------------------------------- where the run's own images are not there


def edited(run: Finished, **changes: Any) -> None:
    about = read_json(run.folder / "run.json")
    about["data"] |= changes
    (run.folder / "run.json").write_text(json.dumps(about))


def test_own_images_that_are_gone_are_told_and_nothing_is_left_out(run: Finished, other: ImageTable) -> None:
    edited(run, path="/nowhere/own")
    found = scored(run, other)
    assert found.unchecked == "the images that run was trained on cannot be read where they were"
    assert found.left_out == ()
    assert found.table.ids == other.ids
    told = read_json(found.folder / "left_out.json")
    assert (told["unchecked"], told["images"]) == (found.unchecked, [])


def test_own_images_that_have_changed_are_told(run: Finished, other: ImageTable, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(run.data.table.root, tmp_path / "own"))
    edited(run, path=str(moved))
    assert len(scored(run, other).left_out) == 4  # at another place: the same images
    first, second = sorted((moved / "test" / "benign").iterdir())[:2]
    first.write_bytes(second.read_bytes())
    found = scored(run, other)
    assert (found.unchecked, found.left_out) == ("own has changed since run was trained on it", ())
    first.write_bytes(b"no image")
    assert scored(run, other).unchecked == "the images that run was trained on cannot be read where they were"


def test_a_run_without_a_checkpoint_is_refused(run: Finished, other: ImageTable) -> None:
    (run.folder / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match=r"has no checkpoint|does not exist"):
        scored(run, other)


# ---------------------------------------------------------------- once is enough


def test_scores_that_are_there_are_used_again(run: Finished, other: ImageTable, forwards: list[int]) -> None:
    first = scored(run, other, again=False)
    second = scored(run, other, again=False, name="by another name")
    assert forwards == [10]
    assert same(first, second)
    assert second.name == "by another name"
    third = scored(run, other)
    assert forwards == [10, 10]
    assert same(first, third)


def same(one: Elsewhere, other: Elsewhere) -> bool:
    a, b = one.evaluation.predictions, other.evaluation.predictions
    assert repr(one.evaluation.metrics) == repr(other.evaluation.metrics)
    return a.ids == b.ids and bool((a.logits == b.logits).all()) and one.left_out == other.left_out


def test_other_images_labels_or_copies_are_scored_anew(
    run: Finished, other: ImageTable, tmp_path: Path, forwards: list[int]
) -> None:
    scored(run, other, again=False)
    scored(run, other.subset(range(9)), again=False)
    assert len(forwards) == 2
    flipped = ImageTable(
        root=other.root,
        rows=tuple(type(row)(id=row.id, path=row.path, label=1 - row.label) for row in other.rows),
        source=other.source,
    )
    found = scored(run, flipped, again=False)  # the same pixels: the same folder
    assert len(forwards) == 3
    np.testing.assert_array_equal(found.evaluation.predictions.labels, found.table.labels)
    scored(run, flipped, again=False)
    assert len(forwards) == 3
    edited(run, path="/nowhere/own")  # now nothing is left out
    assert len(scored(run, flipped, again=False).evaluation.predictions.ids) == 14
    assert forwards[3:] == [14]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, content) for name in ("predictions.csv", "left_out.json") for content in (None, b"", b"[]")),
        ("metrics.json", None),
    ],
)
def test_files_that_are_damaged_or_gone_are_made_anew(
    run: Finished, other: ImageTable, forwards: list[int], name: str, content: bytes | None
) -> None:
    file = scored(run, other, again=False).folder / name
    good = file.read_bytes()
    file.unlink() if content is None else file.write_bytes(content)
    scored(run, other, again=False)
    assert file.read_bytes() == good
    assert forwards == [10, 10]


def test_a_run_trained_anew_is_scored_anew(run: Finished, other: ImageTable, forwards: list[int]) -> None:
    """Its folder emptied of the training, but not of the evaluations."""
    first = scored(run, other, again=False)
    for name in ("checkpoint.safetensors", "experiment.toml"):
        (run.folder / name).unlink()
    experiment = small_experiment().changed(seed=5, split={"protocol": "folders", "validation_fraction": 0.25})
    train(run.folder, experiment, run.data)
    second = scored(run, other, again=False)
    assert forwards == [10, 10]
    assert not np.array_equal(logits_of(first), logits_of(second))


def logits_of(found: Elsewhere) -> np.ndarray:
    predictions: Predictions = found.evaluation.predictions
    return predictions.logits

"""A segmenter scored by experts' masks, through the command: the files, the words, and what is left out."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lentigo.data.masks import pack_masks
from lentigo.data.pack import pack_images
from lentigo.data.split import read_split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import read_table
from lentigo.files import read_csv, read_json, sha256_of
from lentigo.learn.segmentation import segment_images
from lentigo.learn.tasks import jaccard
from tests.command import called

SIDE_PX = 64
SETTINGS = [
    "--model", "lesion_unet", "--epochs", "12", "--seed", "3", "--set", "model.options.width=4",
    "--set", "model.options.stages=3", "--set", f"data.image_px={SIDE_PX}",
    "--set", f"preprocessing.resize_px={SIDE_PX}", "--set", "train.batch_size=8", "--set", "train.learning_rate=1e-2",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 drawn lesions, 12 of them to test on, and a segmenter trained on the others."""
    folder = tmp_path_factory.mktemp("segmenter")
    write_dataset(folder / "drawn", count=48, size_px=128, seed=4, workers=1)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LENTIGO_CACHE", str(folder / "cache"))
        assert called("train", folder / "drawn", "--out", folder / "run", *SETTINGS) == 0
    return folder


@pytest.fixture(autouse=True)
def cache(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENTIGO_CACHE", str(place / "cache"))


def test_the_test_part_by_hand(place: Path, lentigo: Callable[..., str]) -> None:
    run = place / "run"
    shown = lentigo("evaluate", run)
    table = read_table(place / "drawn")
    pack, test = pack_images(table, image_px=SIDE_PX), read_split(run / "split.csv", table).indices(table, "test")
    found, confidence = segment_images(run, pack, test, size_px=256)
    expected = jaccard(found, pack_masks(table, test, size_px=256).read(test))
    rows = read_csv(run / "segmentation.csv")
    assert [row["image"] for row in rows] == [table.ids[index] for index in test]
    assert [float(row["jaccard"]) for row in rows] == pytest.approx(expected, rel=1e-5)
    assert [float(row["confidence"]) for row in rows] == pytest.approx(confidence, rel=1e-5)
    about = read_json(run / "segmentation.json")
    assert about["jaccard"] == pytest.approx(expected.mean())
    assert (about["n_images"], about["n_left_out"]) == (12, 0)
    assert about["checkpoint"] == sha256_of(run / "checkpoint.safetensors")
    assert expected.mean() > 0.5  # else nothing was learned that could be scored
    low, high = about["jaccard_low"], about["jaccard_high"]
    assert f"masks {expected.mean():.3f} ({low:.3f} to {high:.3f}), 95 % interval, on 12 images" in shown
    assert f"{100 * np.mean(expected < 0.5):.1f} % less than 0.5" in shown
    assert "not a medical device" in shown


def test_other_images_without_copies_of_what_was_learned(
    place: Path, lentigo: Callable[..., str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "run", run, ignore=shutil.ignore_patterns("segmentation.*"))
    own = read_table(place / "drawn")
    learned = own.rows[read_split(run / "split.csv", own).indices(own, "train")[0]]
    other = write_dataset(tmp_path / "other", count=6, size_px=128, seed=11, workers=1)
    Image.open(learned.path).save(other / "train" / "copy.png")
    shutil.copy(learned.mask, other / "masks" / "copy.png")
    table = (other / "metadata.csv").read_text().splitlines()
    columns = table[0].split(",")
    copied = {"image": "train/copy.png", "label": "benign", "mask": "masks/copy.png", "split": "train"}
    table.append(",".join(copied.get(name, "") for name in columns))
    (other / "metadata.csv").write_text("\n".join(table) + "\n")
    shown = lentigo("evaluate", run, "--data", other)
    (folder,) = (run / "evaluations").iterdir()
    assert [image["copy_of"] for image in read_json(folder / "left_out.json")["images"]] == [learned.id]
    assert "1 of 7 images (0 malignant) is a copy of an image" in shown
    assert len(read_csv(folder / "segmentation.csv")) == read_json(folder / "segmentation.json")["n_images"] == 6
    assert not (run / "segmentation.csv").exists()
    assert not (run / "validation.csv").exists()


def test_the_same_images_with_other_masks_stand_apart(place: Path, lentigo: Callable[..., str], tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "drawn"
    shutil.copytree(place / "run", run, ignore=shutil.ignore_patterns("segmentation.*"))
    shutil.copytree(place / "drawn", other)
    table = read_table(other)
    test = read_split(run / "split.csv", table).indices(table, "test")
    Image.new("L", (128, 128)).save(table.rows[test[0]].mask)  # no lesion in it
    shown = lentigo("evaluate", run, "--data", other)
    (folder,) = (run / "evaluations").iterdir()
    assert [row["image"] for row in read_csv(folder / "segmentation.csv")] == [table.ids[index] for index in test[1:]]
    assert "12 are copies of its own test images, and stayed" in shown
    assert "1 more without a mask, or with an empty one, were left out" in shown
    assert not (run / "segmentation.csv").exists()


def test_what_cannot_be_scored(place: Path, lentigo: Callable[..., str], tmp_path: Path) -> None:
    run = place / "run"
    assert "--prevalence is for scores of malignancy" in lentigo("evaluate", run, "--prevalence", "0.1", error=True)
    made = write_dataset(tmp_path / "made", count=6, size_px=128, seed=12, workers=1)
    for part in ("train", "test"):  # without metadata.csv, which names the masks
        shutil.copytree(made / part, tmp_path / "bare" / part)
    shown = lentigo("evaluate", run, "--data", tmp_path / "bare", error=True)
    assert "bare: none of the 6 images has a lesion mask with a lesion in it to compare with; name some" in shown


@pytest.mark.slow
def test_two_processes_score_as_one(place: Path, lentigo: Callable[..., str], tmp_path: Path) -> None:
    """One image of the first share has no lesion in its mask."""
    run, other = tmp_path / "run", tmp_path / "drawn"
    shutil.copytree(place / "run", run, ignore=shutil.ignore_patterns("segmentation.*"))
    shutil.copytree(place / "drawn", other)
    table = read_table(other)
    test = read_split(run / "split.csv", table).indices(table, "test")
    Image.new("L", (128, 128)).save(table.rows[test[2]].mask)
    alone = lentigo("evaluate", run, "--data", other)
    (folder,) = (run / "evaluations").iterdir()
    names = ("segmentation.csv", "left_out.json", "segmentation.json")
    wanted = {name: (folder / name).read_text() for name in names}
    assert wanted["segmentation.csv"].count("\n") == 12
    shutil.rmtree(run / "evaluations")
    command = [sys.executable, "-m", "lentigo.cli", "evaluate", run, "--data", other, "--devices", "2"]
    told = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=240, check=False)
    assert (told.returncode, told.stderr, told.stdout) == (0, "", alone)
    assert {name: (folder / name).read_text() for name in names} == wanted

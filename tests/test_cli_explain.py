"""`explain` as a user meets it: measuring a run on many images, drawing over a few, and what does not go together."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lentigo.data.synthetic import write_dataset
from lentigo.explain.trust import SAMPLE
from lentigo.files import read_csv, read_json, sha256_of
from tests.command import called
from tests.explain.runs import write_run, write_segmenter

FAST = [
    "--epochs", "1", "--set", "data.image_px=64", "--set", "preprocessing.resize_px=32", "--set", "train.batch_size=8",
    "--set", "split.validation_fraction=0.2",
]  # fmt: skip


@contextlib.contextmanager
def cache_of(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LENTIGO_CACHE", str(folder / "cache"))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 40 drawn lesions, ten of them test images, and six lesions from elsewhere."""
    folder = tmp_path_factory.mktemp("cli")
    data = write_dataset(folder / "drawn", count=40, size_px=64, seed=5, workers=1)
    write_dataset(folder / "elsewhere", count=6, size_px=64, seed=9, workers=1)
    with cache_of(folder):
        assert called("train", data, "--out", folder / "run", *FAST) == 0
    return folder


@pytest.fixture(autouse=True)
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENTIGO_CACHE", str(place / "cache"))
    monkeypatch.chdir(tmp_path)


# ---------------------------------------------------------------- measuring


def test_a_run_s_own_test_images(place: Path, lentigo: Callable[..., str]) -> None:
    run = place / "run"
    shown = lentigo("explain", run, "--sample", "2", "--seed", "3", "--method", "hires_cam", "--method", "grad_cam")
    about = read_json(run / "explanation.json")
    own, centre = (about["look"]["looks"]["tiny_vgg"][key]["inside"] for key in ("own", "own_centre"))
    assert "Measured on 10 images with a lesion mask: 10 by an expert." in shown
    assert f"Tiny VGG has {100 * own['value']:.1f} % (" in shown
    assert f"knows nothing of it, has {100 * centre['value']:.1f} % (" in shown
    flips = about["background"]["fills"]["common"]["flips_without_background"]
    assert f"outside the lesion, {100 * flips['value']:.1f} % (" in shown
    assert f"10 maps of 8x8 cells: {run / 'heatmaps.npy'}" in shown
    assert "not a medical device" in shown
    assert (about["faithfulness"]["images"], about["faithfulness"]["seed"]) == (2, 3)
    assert about["other_methods"] == ["hires_cam"]
    assert np.load(run / "heatmaps-hires-cam.npy").shape == np.load(run / "heatmaps.npy").shape == (10, 8, 8)
    assert len(read_csv(run / "localisation.csv")) == 10


def test_other_data_are_explained_into_their_own_folder(place: Path, lentigo: Callable[..., str]) -> None:
    shown = lentigo("explain", place / "run", "--data", place / "elsewhere", "--sample", "0")
    (folder,) = (place / "run" / "evaluations").iterdir()
    assert folder.name.startswith("elsewhere-")
    about = read_json(folder / "explanation.json")
    assert (about["images"], len(read_csv(folder / "localisation.csv"))) == (6, 6)
    assert "faithfulness" not in about
    assert f"6 maps of 8x8 cells: {folder / 'heatmaps.npy'}" in shown
    assert (folder / "predictions.csv").is_file()


def test_a_segmenter_finds_what_no_mask_is_given_for(place: Path, lentigo: Callable[..., str], tmp_path: Path) -> None:
    for part in ("train", "test"):  # without metadata.csv, which names the masks
        shutil.copytree(place / "elsewhere" / part, tmp_path / "bare" / part)
    segmenter, run = write_segmenter(tmp_path / "segmenter"), tmp_path / "run"
    shutil.copytree(place / "run", run)
    lentigo("explain", run, "--data", "bare", "--segmenter", segmenter, "--maps-only")
    (folder,) = (path for path in (run / "evaluations").iterdir() if path.name.startswith("bare-"))
    about = read_json(folder / "explanation.json")
    assert about["segmenter"] == sha256_of(segmenter / "checkpoint.safetensors")
    assert {state.split(",")[0] for state in about["look"]["masks"]} == {"segmenter"}
    assert sum(about["look"]["masks"].values()) == 6


def test_a_comparison_asks_for_a_run_of_a_segmenter(place: Path, lentigo: Callable[..., str], tmp_path: Path) -> None:
    error = lentigo(
        "compare", place / "drawn", "--models", "tiny_vgg", "--out", "out", "--segmenter", place / "run", error=True
    )  # fmt: skip
    assert "is of tiny_vgg, which finds no lesion; give a run of lesion_unet" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_only_maps_are_made_and_measured_on_request(place: Path, lentigo: Callable[..., str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "run", run, ignore=shutil.ignore_patterns("explanation.json", "heatmaps*"))
    shown = lentigo("explain", run, "--maps-only")
    about = read_json(run / "explanation.json")
    assert not {"background", "faithfulness"} & set(about)
    assert about["images"] == len(read_csv(run / "localisation.csv")) == 10
    assert "Tiny VGG has " in shown
    assert "one skin colour" not in shown


def test_what_was_measured_before_stays_while_weights_and_masks_do(
    place: Path, lentigo: Callable[..., str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(place / "run", run, ignore=shutil.ignore_patterns("explanation.json", "heatmaps*"))
    shown = lentigo("explain", run, "--sample", "2", "--method", "hires_cam")
    assert f"{run / 'heatmaps.npy'}, {run / 'heatmaps-hires-cam.npy'}" in shown
    before = read_json(run / "explanation.json")
    lentigo("explain", run, "--maps-only", "--method", "layer_cam")
    after = read_json(run / "explanation.json")
    assert (after["background"], after["faithfulness"]) == (before["background"], before["faithfulness"])
    assert after["other_methods"] == ["layer_cam", "hires_cam"]
    (run / "heatmaps-hires-cam.npy").unlink()
    lentigo("explain", run, "--maps-only")
    assert read_json(run / "explanation.json")["other_methods"] == ["layer_cam"]


def test_by_default_a_few_images_are_tested_and_the_device_is_asked_for(
    place: Path, lentigo: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the command asks for; nothing is computed, which spares seconds."""
    asked = {}

    class AskedError(OSError):
        pass

    def ask(run: Path, *_: object, **given: object) -> None:
        asked.update(given)
        raise AskedError("enough")

    monkeypatch.setattr("lentigo.explain.stage.explain_run", ask)
    lentigo("explain", place / "run", "--device", "cpu", error=True)
    options = asked["options"]
    assert (options.methods, options.sample, options.background) == ((), SAMPLE, True)
    assert (options.seed, options.segmenter) == (0, None)
    assert (str(asked["device"]), asked["folder"]) == ("cpu", place / "run")


# ---------------------------------------------------------------- drawing


def test_pictures_of_image_files(place: Path, lentigo: Callable[..., str], tmp_path: Path) -> None:
    files = sorted((place / "elsewhere").rglob("*.jpg"))[:2]
    Image.new("RGB", (50, 40), (180, 140, 130)).save(tmp_path / "skin.png")
    shown = lentigo("explain", place / "run", *files, "skin.png")
    rows = read_json(tmp_path / "overlays" / "pictures.json")["images"]
    lines = shown.splitlines()
    for line, row, file in zip(lines, rows, [*map(str, files), "skin.png"], strict=False):
        assert line.startswith(f"{file}: p(malignant) {row['probability']:.3f}")
        assert line.endswith(f": overlays/{row['picture']}")
        for decision in ("malignant", "benign"):
            assert (f"nothing speaks for {decision}" in line) == row["empty"][decision]
        assert (tmp_path / "overlays" / row["picture"]).is_file()
    assert "the image is of one colour, so no heat is drawn" in lines[2]
    assert "one colour" not in lines[0] + lines[1]
    about = read_json(tmp_path / "overlays" / "pictures.json")
    told = [f"full red at {about['full_red_at']:.3g} logits: {about['scale']}", about["caution"]]
    assert lines[3 : lines.index("written to overlays")] == [line for line in told if line]
    assert "not a medical device" in shown
    assert not list((tmp_path / "overlays").glob("*.npy"))


def test_pictures_with_every_option(place: Path, lentigo: Callable[..., str], tmp_path: Path) -> None:
    file = next((place / "elsewhere").rglob("*.jpg"))
    lentigo(
        "explain", place / "run", file, "--out", "mine", "--method", "layer_cam", "--layer", "features.0", "--npy",
        "--device", "cpu",
    )  # fmt: skip
    about = read_json(tmp_path / "mine" / "pictures.json")
    assert about["method"].startswith("LayerCAM")
    assert about["layer"] == "features.0"
    assert np.load(tmp_path / "mine" / f"{file.stem}.npy").shape == (32, 32)


# ---------------------------------------------------------------- refusals

OF_DATA = "is for measuring on many images; leave it out, or leave out the image files"
OF_FILES = "is for pictures of image files; name the files, or leave it out"
REFUSED: list[tuple[list[str], str]] = [
    (["a.png", "--data", "d"], f"--data {OF_DATA}"),
    (["a.png", "--segmenter", "s"], f"--segmenter {OF_DATA}"),
    (["a.png", "--sample", "0"], f"--sample {OF_DATA}"),
    (["a.png", "--seed", "0"], f"--seed {OF_DATA}"),
    (["a.png", "--positive", "mel"], f"--positive {OF_DATA}"),
    (["a.png", "--cache", "c"], f"--cache {OF_DATA}"),
    (["a.png", "--maps-only"], f"--maps-only {OF_DATA}"),
    (["--maps-only", "--sample", "4"], "--sample is of no use beside --maps-only; leave one of them out"),
    (["--layer", "features"], f"--layer {OF_FILES}"),
    (["--npy"], f"--npy {OF_FILES}"),
    (["--out", "o"], f"--out {OF_FILES}"),
    (
        ["a.png", "--method", "grad_cam", "--method", "occlusion"],
        "--method is given 2 times; pictures of image files show one method, give one",
    ),
    (["a.png", "b/a.png"], "a is the name of more than one image, so one picture would overwrite the other"),
    (["a.png", "--out", "."], "the picture of a.png would overwrite an image; give another folder with --out"),
    (["a.png", "--method", "cam"], "method is 'cam'; known are grad_cam, "),
    (["--method", "cam"], "method is 'cam'; known are grad_cam, "),
    (["a.png", "--layer", "nine"], "LesionClassifier has no layer 'nine'; layers that give maps: features, "),
    (["a.png", "missing.png"], "missing.png"),
    (["text.png"], "text.png"),
    (["--data", "missing"], "missing does not exist"),
    (["--segmenter", "missing"], "missing does not exist; give a folder that `lentigo train` wrote"),
    (["--segmenter", "RUN"], "is of tiny_vgg, which finds no lesion; give a run of lesion_unet"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: None if isinstance(value, str) else "")
def test_what_does_not_go_together_is_one_sentence(
    place: Path, lentigo: Callable[..., str], tmp_path: Path, options: list[str], message: str
) -> None:
    Image.new("RGB", (50, 40), (180, 140, 130)).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no picture")
    error = lentigo("explain", place / "run", *[str(place / "run") if o == "RUN" else o for o in options], error=True)
    assert error.startswith("lentigo: ")
    assert message in error
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "text.png"}


def test_what_is_no_run_of_a_classifier_is_refused(lentigo: Callable[..., str], tmp_path: Path) -> None:
    for options in ([], ["a.png"]):
        assert "no run folder" in lentigo("explain", tmp_path, *options, error=True)


def test_a_damaged_checkpoint_is_refused(lentigo: Callable[..., str], tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    (run / "checkpoint.safetensors").write_bytes((run / "checkpoint.safetensors").read_bytes()[:-9])
    assert "restore it or train again" in lentigo("explain", run, "a.png", error=True)

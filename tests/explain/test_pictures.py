"""Heat maps over anyone's images: where they lie, under which scale, and what is said of images that show nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from torch import nn

from lentigo.data.batches import preprocess_batch
from lentigo.errors import ConfigError, DataError, ImageError, RunError
from lentigo.explain import pictures as module
from lentigo.explain.cam import grad_cam
from lentigo.explain.layer import score_images
from lentigo.explain.pictures import DECISIONS, PANEL_PX, Explained, explain_pictures
from lentigo.files import read_json, write_json
from lentigo.imaging import Preprocessing, squeeze
from lentigo.learn.checkpoint import Checkpoint, run_checkpoint
from lentigo.learn.evaluation import network_of
from lentigo.models.contract import LesionClassifier
from tests.data.pictures import SIDE_PX
from tests.explain.runs import experiment, moles, write_run

GAP, LINE = module._GAP_PX, module._LINE_PX
CELLS, HOT = 4, (1, 2)  # rows and columns of the hot network's map, and the one cell that is hot


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("pictures") / "run")


def write_image(path: Path, width: int = SIDE_PX, height: int = SIDE_PX, seed: int = 0) -> Path:
    """A mole squeezed to this size."""
    Image.fromarray(moles(1, seed)[0][0]).resize((width, height)).save(path)
    return path


def hot(head_weight: float = 3.0) -> LesionClassifier:
    """The logit is the weight times the mean brightness of one cell."""
    features = nn.AvgPool2d(SIDE_PX // CELLS)
    head = nn.Sequential(nn.Flatten(), nn.Linear(3 * CELLS**2, 1))
    with torch.no_grad():
        head[1].weight.zero_()
        head[1].weight[0, HOT[0] * CELLS + HOT[1]] = head_weight
        head[1].bias.zero_()
    return LesionClassifier(features, head)


@pytest.fixture
def with_network(monkeypatch: pytest.MonkeyPatch) -> object:
    """Puts a network in place of the run's own; it sees the image as it is packed."""

    def put(model: LesionClassifier) -> None:
        settings = Preprocessing(resize_px=None, crop_px=None)
        made = Checkpoint(model=model, experiment=experiment(), preprocessing=settings, pack_key="")
        monkeypatch.setattr(module, "run_checkpoint", lambda _: made)

    return put


def panels(path: Path, size: tuple[int, int]) -> list[np.ndarray]:
    """Photograph, malignant and benign, cut out of a sheet."""
    sheet = np.asarray(Image.open(path)).astype(int)
    assert sheet.ndim == 3
    (width, height), top = size, GAP + LINE
    step = max(width, module._LEAST_PX) + GAP
    return [sheet[top : top + height, GAP + k * step : GAP + k * step + width] for k in range(3)]


def changed(panel: np.ndarray, photograph: np.ndarray) -> np.ndarray:
    where: np.ndarray = (panel != photograph).any(axis=2)
    return where


def inputs(run: Path, files: Sequence[Path]) -> torch.Tensor:
    """The images as the network gets them, squeezed as a pack squeezes them."""
    checkpoint = run_checkpoint(run)
    packed = np.stack([squeeze(np.asarray(Image.open(path).convert("RGB")), SIDE_PX) for path in files])
    return preprocess_batch(torch.from_numpy(packed).permute(0, 3, 1, 2), checkpoint.preprocessing)


# ---------------------------------------------------------------- the sheet


@pytest.mark.parametrize(
    ("size", "shown", "sheet"),
    [
        ((48, 48), (360, 360), (1128, 456)),
        ((800, 600), (360, 270), (1128, 366)),
        ((600, 800), (270, 360), (858, 456)),
        ((100, 800), (45, 360), (738, 456)),  # columns wide enough for the words
        ((3000, 10), (360, 1), (1128, 97)),
    ],
)
def test_a_sheet_holds_the_photograph_three_times(
    run: Path, tmp_path: Path, size: tuple[int, int], shown: tuple[int, int], sheet: tuple[int, int]
) -> None:
    file = write_image(tmp_path / "mole.png", *size)
    explain_pictures(run, [file], tmp_path / "out")
    with Image.open(tmp_path / "out" / "mole.png") as written:
        assert (written.mode, written.size, written.format) == ("RGB", sheet, "PNG")
    photograph, *overlays = panels(tmp_path / "out" / "mole.png", shown)
    resized = Image.open(file).convert("RGB").resize(shown, Image.Resampling.LANCZOS)
    assert_array_equal(photograph, np.asarray(resized))
    assert [panel.shape for panel in overlays] == [photograph.shape] * 2


@pytest.mark.parametrize("size", [(48, 48), (64, 48), (300, 400)])
def test_colour_lies_where_the_map_is(with_network: object, tmp_path: Path, size: tuple[int, int]) -> None:
    """Between the centres of its neighbours the hot cell fades; beyond them, and for benign, nothing is coloured."""
    with_network(hot())
    file = write_image(tmp_path / "mole.png", *size)
    (row,) = explain_pictures(tmp_path, [file], tmp_path / "out", method="hires_cam")
    width, height = (round(side * PANEL_PX / max(size)) for side in size)
    photograph, malignant, benign = panels(tmp_path / "out" / "mole.png", (width, height))
    assert_array_equal(benign, photograph)
    where = changed(malignant, photograph)
    down, across = (np.flatnonzero(where.any(axis=axis)) / side for axis, side in ((1, height), (0, width)))
    for found, cell in ((down, HOT[0]), (across, HOT[1])):
        assert (cell - 0.5) / CELLS - 0.01 < found.min() < cell / CELLS
        assert (cell + 1) / CELLS < found.max() < (cell + 1.5) / CELLS + 0.01
    redder = (malignant - photograph)[..., 0] - (malignant - photograph)[..., 1]
    y, x = np.unravel_index(redder.argmax(), redder.shape)
    assert (int(y / height * CELLS), int(x / width * CELLS)) == HOT
    assert row.empty == {"malignant": False, "benign": True}
    assert row.strongest["malignant"] == pytest.approx(row.logit, rel=1e-5)  # that cell alone makes the logit
    assert row.strongest["benign"] == 0


def test_what_speaks_for_benign_is_in_the_third_picture(with_network: object, tmp_path: Path) -> None:
    with_network(hot(-3.0))
    explain_pictures(tmp_path, [write_image(tmp_path / "mole.png")], tmp_path / "out", method="hires_cam")
    photograph, malignant, benign = panels(tmp_path / "out" / "mole.png", (PANEL_PX, PANEL_PX))
    assert_array_equal(malignant, photograph)
    assert changed(benign, photograph).any()


def test_outside_of_what_the_network_sees_nothing_is_coloured(tmp_path: Path) -> None:
    """AlexNet sees pixels 4 to 66 of 72 a side; its one cell covers that, and a line shows where it ends."""
    run = write_run(tmp_path / "alexnet", "alexnet")
    (row,) = explain_pictures(run, [write_image(tmp_path / "mole.png")], tmp_path / "out")
    photograph, *overlays = panels(tmp_path / "out" / "mole.png", (PANEL_PX, PANEL_PX))
    first, end = 4 * PANEL_PX // 72, 67 * PANEL_PX // 72
    for name, panel in zip(DECISIONS, overlays, strict=True):
        where = changed(panel, photograph)
        assert where[first + 1 : end - 1, first + 1 : end - 1].any() != row.empty[name]
        for edge in (panel[first, first:end], panel[first:end, first], panel[end - 1, first:end]):
            assert (edge == 255).all()
        where[first:end, first:end] = False
        assert not where.any()
    assert sorted(row.empty.values()) == [False, True]


# ---------------------------------------------------------------- the scale


def full_red(out: Path) -> tuple[float, str]:
    about = read_json(out / "pictures.json")
    return about["full_red_at"], about["scale"]


def test_the_scale_is_the_run_s_own_where_its_maps_are_of_these_weights(run: Path, tmp_path: Path) -> None:
    file, out = write_image(tmp_path / "mole.png"), tmp_path / "out"
    (row,) = explain_pictures(run, [file], out)
    assert full_red(out) == (max(row.strongest.values()), "the largest value of these images")
    loud = panels(out / "mole.png", (PANEL_PX, PANEL_PX))
    try:
        scale = 4 * max(row.strongest.values())
        write_json(run / "explanation.json", {"scale": scale, "checkpoint": network_of(run)})
        explain_pictures(run, [file], out)
        assert full_red(out) == (scale, "what one test image of the run in twenty reaches")
        faint = panels(out / "mole.png", (PANEL_PX, PANEL_PX))
        strength = [[abs(p - of[0]).sum() for p in of[1:]] for of in (loud, faint)]
        assert sum(strength[1]) < sum(strength[0]) / 2
        explain_pictures(run, [file], out, layer="features")
        assert full_red(out)[0] == scale
        for options in ({"method": "hires_cam"}, {"layer": "features.0"}):
            explain_pictures(run, [file], out, **options)
            assert full_red(out)[1] == "the largest value of these images"
        for other in ({"scale": scale, "checkpoint": "other weights"}, {"scale": 0, "checkpoint": network_of(run)}):
            write_json(run / "explanation.json", other)
            explain_pictures(run, [file], out)
            assert full_red(out) == (max(row.strongest.values()), "the largest value of these images")
    finally:
        (run / "explanation.json").unlink()


def test_all_images_have_one_scale(run: Path, tmp_path: Path) -> None:
    files = [write_image(tmp_path / f"{seed}.png", seed=seed) for seed in range(3)]
    rows = explain_pictures(run, files, tmp_path / "out")
    assert full_red(tmp_path / "out")[0] == max(max(row.strongest.values()) for row in rows)
    assert len({max(row.strongest.values()) for row in rows}) == 3


# ---------------------------------------------------------------- what is told


def test_rows_and_json_tell_the_network_s_own_numbers(run: Path, tmp_path: Path) -> None:
    files = [write_image(tmp_path / f"{seed}.jpg", 60, 40, seed) for seed in range(3)]
    done: list[int] = []
    rows = explain_pictures(run, files, tmp_path / "out", keep_maps=True, on_progress=done.append)
    model, batch = run_checkpoint(run).model, inputs(run, files)
    maps, logits = grad_cam(model, batch).signed().numpy(), score_images(model, batch).numpy()
    for place, (row, file) in enumerate(zip(rows, files, strict=True)):
        assert (row.image, row.picture) == (str(file), f"{place}.png")
        assert row.logit == pytest.approx(logits[place], abs=1e-5)
        assert row.probability == pytest.approx(1 / (1 + np.exp(-row.logit)))
        kept = np.load(tmp_path / "out" / f"{place}.npy")
        assert kept.dtype == np.float32
        assert_allclose(kept, maps[place], atol=1e-6)
        for sign, name in ((1, "malignant"), (-1, "benign")):
            assert row.strongest[name] == max(0, (sign * kept).max())
            assert row.empty[name] == (row.strongest[name] == 0)
    about = read_json(tmp_path / "out" / "pictures.json")
    assert about["images"] == [asdict(row) for row in rows]
    assert (about["run"], about["model"], about["layer"], about["unit"]) == ("run", "tiny_vgg", "features", "logits")
    assert about["method"].startswith("Grad-CAM (Selvaraju")
    assert sum(done) == 3
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".png", ".npy", ".json"}


@pytest.mark.parametrize(
    ("method", "layer", "told", "unit"),
    [
        ("layer_cam", "features.0", "features.0", "logits"),
        ("score_cam", None, "features", "activation"),
        ("occlusion", None, None, "logits"),
    ],
)
def test_other_methods_and_layers(
    run: Path, tmp_path: Path, method: str, layer: str | None, told: str | None, unit: str
) -> None:
    explain_pictures(run, [write_image(tmp_path / "mole.png")], tmp_path / "out", method=method, layer=layer)
    about = read_json(tmp_path / "out" / "pictures.json")
    assert (about["layer"], about["unit"]) == (told, unit)
    assert not list((tmp_path / "out").glob("*.npy"))


def test_an_image_of_one_colour_is_flagged(run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (70, 50), (200, 150, 140)).save(tmp_path / "skin.png")
    nearly = np.full((50, 70, 3), 128, np.uint8)
    nearly[::2] += 4  # 2 grey levels to either side
    Image.fromarray(nearly).save(tmp_path / "nearly.png")
    files = [tmp_path / "skin.png", tmp_path / "nearly.png", write_image(tmp_path / "mole.png")]
    rows = explain_pictures(run, files, tmp_path / "out")
    assert [row.one_colour for row in rows] == [True, True, False]


def test_a_map_without_a_value_is_told_as_empty_and_not_stretched(with_network: object, tmp_path: Path) -> None:
    with_network(hot(0.0))
    (row,) = explain_pictures(tmp_path, [write_image(tmp_path / "mole.png")], tmp_path / "out")
    assert row == Explained(
        image=str(tmp_path / "mole.png"), picture="mole.png", logit=0.0, probability=0.5, one_colour=False,
        strongest={"malignant": 0.0, "benign": 0.0}, empty={"malignant": True, "benign": True},
    )  # fmt: skip
    photograph, *overlays = panels(tmp_path / "out" / "mole.png", (PANEL_PX, PANEL_PX))
    for panel in overlays:
        assert_array_equal(panel, photograph)
    text = (tmp_path / "out" / "pictures.json").read_text()
    assert json.loads(text)["full_red_at"] == 0
    assert "NaN" not in text


def test_a_logit_of_any_size_has_a_probability(with_network: object, tmp_path: Path) -> None:
    with_network(hot(-3000.0))
    (row,) = explain_pictures(tmp_path, [write_image(tmp_path / "mole.png")], tmp_path / "out")
    assert row.logit < -800
    assert row.probability == 0


# ---------------------------------------------------------------- refusals


def test_two_images_of_one_name_are_refused(run: Path, tmp_path: Path) -> None:
    files = [write_image(tmp_path / name) for name in ("a.png", "b.png", "a.jpg")]
    with pytest.raises(ConfigError, match=r"^1 names are of more than one image, first a; explain them into different"):
        explain_pictures(run, files, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"^there is no image to explain; give one file or more$"):
        explain_pictures(run, [], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_image_is_overwritten_by_its_picture(run: Path, tmp_path: Path) -> None:
    file = write_image(tmp_path / "mole.png")
    before = file.read_bytes()
    other = write_image(tmp_path / "out.jpg")
    with pytest.raises(ConfigError, match=r"^the picture of .*mole.png would overwrite an image; give another folder"):
        explain_pictures(run, [other, file], tmp_path / "x" / "..")
    assert file.read_bytes() == before
    assert not (tmp_path / "out.png").exists()
    explain_pictures(run, [other], tmp_path)  # a JPEG's picture has another name
    assert file.read_bytes() == before


def test_an_image_that_cannot_be_read_is_named_and_nothing_is_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no image")
    for name in ("broken.jpg", "absent.jpg"):
        with pytest.raises(ImageError, match=name):
            explain_pictures(run, [write_image(tmp_path / "mole.png"), tmp_path / name], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_methods_layers_and_runs_are_refused(run: Path, tmp_path: Path) -> None:
    files, out = [write_image(tmp_path / "mole.png")], tmp_path / "out"
    with pytest.raises(ConfigError, match=r"^method is 'cam'; known are grad_cam, grad_cam_plus_plus, hires_cam, "):
        explain_pictures(run, files, out, method="cam")
    with pytest.raises(ConfigError, match=r"has no layer 'conv9'; layers that give maps: features, "):
        explain_pictures(run, files, out, layer="conv9")
    with pytest.raises(ConfigError, match=r"no map to explain; layers that give maps: features, "):
        explain_pictures(run, files, out, layer="head.1")
    with pytest.raises(ConfigError, match=r"occlusion covers pixels and explains no layer, but layer is 'features'"):
        explain_pictures(run, files, out, method="occlusion", layer="features")
    with pytest.raises(RunError, match="is no run folder"):
        explain_pictures(tmp_path, files, out)
    assert not out.exists()


def test_a_full_disk_is_told(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    file = write_image(tmp_path / "mole.jpg")
    monkeypatch.setattr("lentigo.files.os.replace", full)
    with pytest.raises(
        DataError, match=r"mole.png cannot be written \(disk full\); free space, or give another folder"
    ):
        explain_pictures(run, [file], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []

"""Heat maps over anyone's images: where they lie, under which scale, and what is said of images that show nothing."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from lentigo.data.batches import preprocess_batch
from lentigo.errors import ConfigError, DataError, ImageError, RunError
from lentigo.explain import pictures as module
from lentigo.explain.cam import grad_cam
from lentigo.explain.layer import score_images
from lentigo.explain.methods import METHODS
from lentigo.explain.pictures import DECISIONS, PANEL_PX, Explained, Scale, explain_pictures
from lentigo.files import read_json, write_json
from lentigo.imaging import Preprocessing, squeeze
from lentigo.learn.checkpoint import Checkpoint, run_checkpoint
from lentigo.learn.evaluation import network_of
from lentigo.models.contract import LesionClassifier
from lentigo.models.registry import MODELS
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
        ((48, 48), (360, 360), (1128, 496)),
        ((800, 600), (360, 270), (1128, 406)),
        ((600, 800), (270, 360), (858, 496)),
        ((100, 800), (45, 360), (738, 496)),  # columns wide enough for the words
        ((3000, 10), (360, 1), (1128, 137)),
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
    (row,) = explain_pictures(tmp_path, [file], tmp_path / "out", method="hires_cam").images
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
    (row,) = explain_pictures(run, [write_image(tmp_path / "mole.png")], tmp_path / "out").images
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


WHOSE = (
    "what one test image of the run in twenty reaches",
    "the largest value of these images",
    "the largest value of one image alone",
)
OF_RUN, OF_IMAGES, OF_ONE = WHOSE
WHY = (
    "the run's scale is of Grad-CAM at its own layer",
    "no scale for these weights yet (lentigo explain RUN gives one)",
    "most test images of the run have empty maps",
)
AS_STRONG = ": here a faint map looks as strong as a sure one"


def full_red(out: Path) -> tuple[float, str]:
    about = read_json(out / "pictures.json")
    return about["full_red_at"], about["scale"]


def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All that is drawn as text from now on."""
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, xy: tuple[float, float], line: str, **options: Any) -> None:
        texts.append(line)
        draw(self, xy, line, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts


def test_the_scale_is_the_run_s_own_where_its_maps_are_of_these_weights(run: Path, tmp_path: Path) -> None:
    file, out = write_image(tmp_path / "mole.png"), tmp_path / "out"
    (row,) = explain_pictures(run, [file], out).images
    assert full_red(out) == (max(row.strongest.values()), OF_ONE)
    loud = panels(out / "mole.png", (PANEL_PX, PANEL_PX))
    try:
        scale = 4 * max(row.strongest.values())
        write_json(run / "explanation.json", {"scale": scale, "checkpoint": network_of(run)})
        found = explain_pictures(run, [file], out).scale
        assert full_red(out) == (found.full_red_at, found.whose) == (scale, OF_RUN)
        assert found.caution == read_json(out / "pictures.json")["caution"] == ""
        faint = panels(out / "mole.png", (PANEL_PX, PANEL_PX))
        strength = [[abs(p - of[0]).sum() for p in of[1:]] for of in (loud, faint)]
        assert sum(strength[1]) < sum(strength[0]) / 2
        explain_pictures(run, [file], out, layer="features")
        assert full_red(out)[0] == scale
    finally:
        (run / "explanation.json").unlink()


def test_without_a_scale_of_the_run_it_is_said_why_and_what_colours_do_not_tell(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out, texts = write_image(tmp_path / "mole.png"), tmp_path / "out", written(monkeypatch)
    own, other, unmeasured = {"scale": 9.0, "checkpoint": network_of(run)}, {"scale": 9.0, "checkpoint": "other"}, {}
    cases: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        (own, {"method": "hires_cam"}, WHY[0]),
        (own, {"layer": "features.0"}, WHY[0]),
        (other, {}, WHY[1]),
        (unmeasured, {}, WHY[1]),
        (own | {"scale": 0}, {}, WHY[2]),
    ]
    try:
        for about, options, why in cases:
            (run / "explanation.json").unlink(missing_ok=True)
            if about:
                write_json(run / "explanation.json", about)
            texts.clear()
            found = explain_pictures(run, [file], out, **options)
            largest = max(found.images[0].strongest.values())
            assert full_red(out) == (found.scale.full_red_at, found.scale.whose) == (largest, OF_ONE)
            assert found.scale.caution == read_json(out / "pictures.json")["caution"] == why + AS_STRONG
            assert texts[-3:] == [
                f"Full red at {largest:.3g} logits: {OF_ONE}; no colour at 0",
                why[0].upper() + why[1:] + AS_STRONG,
                module._NOTICE,
            ]
    finally:
        (run / "explanation.json").unlink(missing_ok=True)


def test_a_scale_of_the_run_needs_no_warning(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = written(monkeypatch)
    try:
        write_json(run / "explanation.json", {"scale": 2.5, "checkpoint": network_of(run)})
        explain_pictures(run, [write_image(tmp_path / "mole.png")], tmp_path / "out")
    finally:
        (run / "explanation.json").unlink()
    told = f"Full red at 2.5 logits: {OF_RUN}; no colour at 0"
    assert texts[-3:] == ["Tiny VGG, Grad-CAM, 6 x 6 cells", told, module._NOTICE]


def test_all_images_have_one_scale(run: Path, tmp_path: Path) -> None:
    files = [write_image(tmp_path / f"{seed}.png", seed=seed) for seed in range(3)]
    rows = explain_pictures(run, files, tmp_path / "out").images
    assert full_red(tmp_path / "out") == (max(max(row.strongest.values()) for row in rows), OF_IMAGES)
    assert len({max(row.strongest.values()) for row in rows}) == 3


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("full_red_at", [0.0, 1.23e-5])
def test_no_line_is_wider_than_the_narrowest_sheet(name: str, full_red_at: float) -> None:
    font, sheet = ImageFont.load_default(module._FONT_PX), 3 * (module._LEAST_PX + GAP) + GAP
    made = Checkpoint(
        model=hot(), experiment=experiment().changed(model={"name": name, "options": {}}), pack_key="",
        preprocessing=Preprocessing(resize_px=256, crop_px=224),
    )  # fmt: skip
    photograph = np.zeros((1, 360, 3), np.uint8)
    for method, whose, one_colour, value in product(METHODS.values(), WHOSE, (False, True), (0, 1)):
        scale = Scale(full_red_at=full_red_at, unit="logit x activation", whose=whose, caution=WHY[1] + AS_STRONG)
        drawing = module._Drawing(checkpoint=made, method=method, layer="features.7.2.conv3", scale=scale)
        image = module._Mapped(
            path=Path("a.png"), photograph=photograph, one_colour=one_colour, logit=0.0,
            values=np.full((2, 150, 150), value, np.float32),
        )  # fmt: skip
        lengths = [font.getlength(line) for line, _ in module._lines(image, drawing)]
        assert max(lengths) <= sheet - 2 * GAP
        assert lengths[0] <= sheet - 3 * GAP - module._BAR_PX[0]  # the colour bar stands beside it
        assert max(font.getlength(module._title(image, place)) for place in (0, 1)) <= module._LEAST_PX


# ---------------------------------------------------------------- what is told


def test_rows_and_json_tell_the_network_s_own_numbers(run: Path, tmp_path: Path) -> None:
    files = [write_image(tmp_path / f"{seed}.jpg", 60, 40, seed) for seed in range(3)]
    done: list[int] = []
    rows = explain_pictures(run, files, tmp_path / "out", keep_maps=True, on_progress=done.append).images
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


def test_an_image_of_one_colour_gets_no_heat_and_the_sheet_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its map is not empty: without a word it would be drawn in red."""
    texts = written(monkeypatch)
    Image.new("RGB", (70, 50), (200, 150, 140)).save(tmp_path / "skin.png")
    nearly = np.full((50, 70, 3), 128, np.uint8)
    nearly[::2] += 4  # 2 grey levels to either side
    Image.fromarray(nearly).save(tmp_path / "nearly.png")
    files = [tmp_path / "skin.png", tmp_path / "nearly.png", write_image(tmp_path / "mole.png")]
    rows = explain_pictures(run, files, tmp_path / "out").images
    assert [row.one_colour for row in rows] == [True, True, False]
    assert all(max(row.strongest.values()) > 0 for row in rows)
    per_sheet = [texts[:6], texts[6:12], texts[12:]]
    for sheet, row in zip(per_sheet[:2], rows, strict=False):
        photograph, *overlays = panels(tmp_path / "out" / row.picture, (PANEL_PX, PANEL_PX * 5 // 7))
        for panel in overlays:
            assert_array_equal(panel, photograph)
        assert sheet[1:] == [
            "for malignant: not drawn (one colour)",
            "for benign: not drawn (one colour)",
            "Tiny VGG, Grad-CAM, 6 x 6 cells",
            "The image is of one colour: no heat is drawn, for no map of it would mean anything",
            module._NOTICE,
        ]
    photograph, *overlays = panels(tmp_path / "out" / "mole.png", (PANEL_PX, PANEL_PX))
    assert any(changed(panel, photograph).any() for panel in overlays)
    assert full_red(tmp_path / "out") == (max(rows[2].strongest.values()), OF_ONE)  # of what is drawn
    assert not any("one colour" in line for line in per_sheet[2])


def test_with_one_colour_alone_there_is_no_scale(run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (70, 50), (200, 150, 140)).save(tmp_path / "skin.png")
    found = explain_pictures(run, [tmp_path / "skin.png"], tmp_path / "out").scale
    assert (found.full_red_at, found.caution) == (0, "")
    assert found.words == "no heat is drawn: every map is empty, or its image of one colour"


def test_a_map_without_a_value_is_told_as_empty_and_not_stretched(with_network: object, tmp_path: Path) -> None:
    with_network(hot(0.0))
    (row,) = explain_pictures(tmp_path, [write_image(tmp_path / "mole.png")], tmp_path / "out").images
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
    (row,) = explain_pictures(tmp_path, [write_image(tmp_path / "mole.png")], tmp_path / "out").images
    assert row.logit < -800
    assert row.probability == 0


# ---------------------------------------------------------------- refusals


def test_two_images_of_one_name_are_refused(run: Path, tmp_path: Path) -> None:
    files = [write_image(tmp_path / name) for name in ("a.png", "b.png", "a.jpg")]
    with pytest.raises(
        ConfigError,
        match=r"^a is the name of more than one image, so one picture would overwrite the other; explain them into",
    ):
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

"""Drawn lesions: the picture is what its parameters say, the label acts by ABCD alone, files are whole or absent."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.stats import binomtest, spearmanr

from lentigo.data import synthetic
from lentigo.data.drawing import COLOURS, LesionParameters, draw_picture
from lentigo.data.synthetic import DrawnLesion, draw_lesion, draw_parameters, write_dataset
from lentigo.data.table import read_table
from lentigo.errors import ConfigError, DataError
from lentigo.files import read_csv

ABCD = ("asymmetry", "border_irregularity", "colour_count", "diameter_fraction")
SIZE_PX = 96


def many(
    count: int, *, malignant: bool, seed: int = 0, shortcut: float = 0.0, kind: str = "frame"
) -> list[LesionParameters]:
    return [draw_parameters(seed, i, malignant=malignant, shortcut=shortcut, shortcut_kind=kind) for i in range(count)]


def auc(benign: list[float], malignant: list[float]) -> float:
    b, m = np.array(benign)[:, None], np.array(malignant)[None]
    return float(np.mean((m > b) + 0.5 * (m == b)))


def abcd_score(p: LesionParameters) -> float:
    """A dermatologist's sum: each of the four in units of its own range."""
    return p.asymmetry + p.border_irregularity + (p.colour_count - 1) / 5 + (p.diameter_fraction - 0.15) / 0.42


def measured_asymmetry(mask: np.ndarray) -> float:
    """The part of the lesion that its half turn around the centre of mass does not cover."""
    rows, columns = np.nonzero(mask)
    turned = [np.clip(np.round(2 * c.mean() - c).astype(int), 0, len(mask) - 1) for c in (rows, columns)]
    return 1 - float(mask[turned[0], turned[1]].mean())


def measured_irregularity(mask: np.ndarray) -> float:
    """Squared length of the edge by area: least for a disc."""
    return float((mask & ~ndimage.binary_erosion(mask)).sum() ** 2 / mask.sum())


@pytest.fixture(scope="module")
def drawn() -> list[DrawnLesion]:
    return [draw_lesion(7, index, malignant=index % 2 == 1, size_px=SIZE_PX) for index in range(60)]


@pytest.mark.parametrize("malignant", [False, True])
def test_the_same_arguments_give_the_same_bits(malignant: bool) -> None:
    first, again = (draw_lesion(3, 5, malignant=malignant, size_px=SIZE_PX) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.parameters == again.parameters == draw_parameters(3, 5, malignant=malignant)


@pytest.mark.parametrize(("seed", "index"), [(3, 6), (4, 5), (5, 3)])
def test_another_seed_or_index_gives_another_picture(seed: int, index: int) -> None:
    here, there = draw_lesion(3, 5, malignant=True, size_px=32), draw_lesion(seed, index, malignant=True, size_px=32)
    assert not np.array_equal(here.image, there.image)
    assert here.parameters != there.parameters


def test_a_picture_depends_neither_on_what_was_drawn_before_nor_on_the_global_generator(
    drawn: list[DrawnLesion],
) -> None:
    alone = draw_lesion(7, 41, malignant=True, size_px=SIZE_PX)
    np.testing.assert_array_equal(alone.image, drawn[41].image)


def test_another_size_shows_the_same_scene() -> None:
    small, large = (draw_lesion(1, 2, malignant=True, size_px=size_px) for size_px in (75, 300))
    assert small.parameters == large.parameters
    reduced = np.asarray(Image.fromarray(large.image).reduce(4), dtype=float)
    assert np.abs(ndimage.gaussian_filter(small.image - reduced, (2, 2, 0))).mean() < 6  # of 255
    assert (small.mask == large.mask[2::4, 2::4]).mean() > 0.97


def test_the_mask_has_the_drawn_area_and_lies_inside_the_picture(drawn: list[DrawnLesion]) -> None:
    for lesion in drawn:
        diameter_px = lesion.parameters.diameter_fraction * SIZE_PX
        assert lesion.mask.sum() == pytest.approx(np.pi * diameter_px**2 / 4, abs=1)
        assert not np.concatenate([lesion.mask[[0, -1]].ravel(), lesion.mask[:, [0, -1]].ravel()]).any()


def test_the_lesion_is_darker_than_the_skin_around_it_on_every_skin(drawn: list[DrawnLesion]) -> None:
    for lesion in drawn:
        grey = lesion.image.mean(axis=2)
        near, far = (ndimage.binary_dilation(lesion.mask, iterations=n) for n in (3, 8))
        assert grey[lesion.mask].mean() + 10 < grey[far & ~near].mean()
    assert {lesion.parameters.skin_tone for lesion in drawn} == {1, 2, 3, 4, 5, 6}


def test_darker_tones_are_drawn_darker(drawn: list[DrawnLesion]) -> None:
    grey = [float(np.median(lesion.image)) for lesion in drawn if not lesion.parameters.frame]
    tone = [lesion.parameters.skin_tone for lesion in drawn if not lesion.parameters.frame]
    assert spearmanr(tone, grey).statistic < -0.9


def test_asymmetry_and_border_are_seen_in_the_mask(drawn: list[DrawnLesion]) -> None:
    for measure, name, least in (
        (measured_asymmetry, "asymmetry", 0.45),
        (measured_irregularity, "border_irregularity", 0.75),
    ):
        seen, true = zip(*((measure(d.mask), getattr(d.parameters, name)) for d in drawn), strict=True)
        assert spearmanr(seen, true).statistic > least, name


@pytest.mark.parametrize("skin_tone", [1, 4])
@pytest.mark.parametrize("colour", COLOURS[1:])
def test_a_named_colour_is_seen_in_the_pixels(colour: str, skin_tone: int) -> None:
    """The same lesion with one colour more, compared where that changes it most: each colour in its own words."""
    plain = dataclasses.replace(
        draw_parameters(0, 3, malignant=True), colours=COLOURS[:1], skin_tone=skin_tone, hair_count=0, bubbles=0,
        cast_warm=0.0, cast_pink=0.0, exposure=0.0, asymmetry=0.1, border_irregularity=0.1,
    )  # fmt: skip
    coloured = dataclasses.replace(plain, colours=(COLOURS[0], colour))
    (before, mask), (after, _) = (
        draw_picture(p, SIZE_PX, np.random.default_rng(1), np.random.default_rng(2)) for p in (plain, coloured)
    )
    change = np.abs(after.astype(float) - before).sum(axis=2)
    there = mask & (change >= np.percentile(change[mask], 90))
    (r0, g0, b0), (r1, g1, b1) = (image[there].mean(axis=0) for image in (before, after))
    is_seen = {
        "dark-brown": r0 - 20 > r1 > 1.3 * g1 > 1.3 * b1,
        "black": max(r1, g1, b1) < min(70, 0.4 * r0),
        "blue-grey": g1 < b1 < r0 and b1 / r1 > max(0.9, 1.4 * b0 / r0),
        "red": g1 / r1 < 0.9 * g0 / r0 and b1 / g1 > b0 / g0,
        "white": g1 > g0 + 10 and b1 > b0 + 20 and r1 / b1 < 0.85 * r0 / b0,
    }
    assert is_seen[colour], ((r0, g0, b0), (r1, g1, b1))


def test_abcd_is_learnable_and_not_trivial() -> None:
    benign, malignant = many(200, malignant=False), many(200, malignant=True, seed=1)
    assert 0.93 <= auc([abcd_score(p) for p in benign], [abcd_score(p) for p in malignant]) <= 0.97
    for name in ABCD:  # each alone is a weak sign
        assert 0.7 < auc([getattr(p, name) for p in benign], [getattr(p, name) for p in malignant]) < 0.88, name


def test_parameters_stay_in_their_ranges() -> None:
    for p in many(300, malignant=False) + many(300, malignant=True):
        assert 0 < p.asymmetry < 1
        assert 0 < p.border_irregularity < 1
        assert 1 <= p.colour_count <= 6
        assert 0.15 < p.diameter_fraction < 0.57
        assert 1 <= p.skin_tone <= 6
        assert len(p.colours) == len(set(p.colours)) == p.colour_count
        assert p.colours[:2] == COLOURS[:2][: p.colour_count]


def test_the_label_moves_the_four_abcd_numbers_and_nothing_else() -> None:
    moved = {*ABCD, "colours"}
    for benign, malignant in zip(many(200, malignant=False), many(200, malignant=True), strict=True):
        for field in dataclasses.fields(LesionParameters):
            if field.name not in moved:
                assert getattr(benign, field.name) == getattr(malignant, field.name), field.name
        assert all(getattr(benign, name) <= getattr(malignant, name) for name in ABCD)


def test_far_from_the_lesion_both_labels_show_the_same_pixels() -> None:
    benign, malignant = (draw_lesion(2, 11, malignant=label, size_px=SIZE_PX) for label in (False, True))
    far = ~ndimage.binary_dilation(benign.mask | malignant.mask, iterations=SIZE_PX // 5)
    assert far.sum() > 1000
    difference = np.abs(benign.image.astype(int) - malignant.image.astype(int)).max(axis=2)
    assert difference[far].max() <= 3
    assert difference[malignant.mask & ~benign.mask].mean() > 10


def frame_rates(shortcut: float, count: int = 400) -> list[tuple[int, int]]:
    return [
        (sum(p.frame for p in many(count, malignant=label, seed=10 + label, shortcut=shortcut)), count)
        for label in (False, True)
    ]


@pytest.mark.parametrize("shortcut", [0.0, 0.3, 0.8, 1.0])
def test_a_frame_shortcut_has_the_rates_of_its_formula(shortcut: float) -> None:
    benign, malignant = frame_rates(shortcut)
    for (framed, count), rate in ((benign, 0.25 * (1 - shortcut)), (malignant, shortcut + 0.25 * (1 - shortcut))):
        assert binomtest(framed, count, min(rate, 1.0)).pvalue > 1e-3
    if shortcut == 1.0:
        assert (benign[0], malignant[0]) == (0, malignant[1])


@pytest.mark.parametrize("shortcut", [0.0, 0.8, 1.0])
def test_a_skin_shortcut_has_the_rates_of_its_formula(shortcut: float) -> None:
    for label in (False, True):
        tones = [p.skin_tone for p in many(1000, malignant=label, seed=20 + label, shortcut=shortcut, kind="skin")]
        dark = sum(tone >= 5 for tone in tones)
        rate = (1 - shortcut) / 3 + shortcut * label
        assert binomtest(dark, len(tones), min(rate, 1.0)).pvalue > 1e-3
        allowed = {1, 2, 3, 4, 5, 6} if shortcut < 1 else ({5, 6} if label else {1, 2, 3, 4})
        assert set(tones) == allowed


@pytest.mark.parametrize(("kind", "moved"), [("frame", "frame"), ("skin", "skin_tone")])
def test_a_shortcut_moves_its_nuisance_alone(kind: str, moved: str) -> None:
    for free, tied in zip(many(50, malignant=True), many(50, malignant=True, shortcut=1.0, kind=kind), strict=True):
        assert dataclasses.replace(tied, **{moved: getattr(free, moved)}) == free


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"index": -2}, "index is -2; it must be 0 or more"),
        ({"size_px": -300}, "size_px is -300, not in 16 to 4096; the real images have 300"),
        ({"shortcut": 1.5}, "shortcut is 1.5, not in [0, 1]; 0 ties nothing to the label"),
        ({"shortcut": float("nan")}, "shortcut is nan, not in [0, 1]; 0 ties nothing to the label"),
        ({"shortcut_kind": "hair"}, "shortcut_kind is 'hair'; allowed are frame and skin"),
    ],
)
def test_wrong_options_are_refused(arguments: dict[str, object], message: str) -> None:
    options = {"seed": 0, "index": 0, "malignant": True, **arguments}
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        draw_lesion(options.pop("seed"), options.pop("index"), **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 1}, "count is 1; at least 2 images are needed, one of each class"),
        ({"test_fraction": 1.0}, "test_fraction is 1.0, not in [0, 1); try 0.25"),
        ({"workers": 0}, "workers is 0; it must be 1 or more, or None for one a core"),
        ({"shortcut": -0.1}, "shortcut is -0.1, not in [0, 1]; 0 ties nothing to the label"),
    ],
)
def test_wrong_dataset_options_are_refused(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        write_dataset(tmp_path / "drawn", **{"count": 4, **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("in_use", ["folder", "file"])
def test_a_folder_in_use_is_refused_and_left_as_it_is(tmp_path: Path, in_use: str) -> None:
    folder = tmp_path / "drawn"
    kept = folder / "notes.txt" if in_use == "folder" else folder
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    message = f"{folder} exists and is not an empty folder; name a new folder or delete this one"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        write_dataset(folder, count=4, size_px=16)
    assert kept.read_text() == "mine"
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [kept.name]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "drawn"
    folder.mkdir()  # an empty folder may be written into
    seen: list[int] = []
    assert write_dataset(folder, count=21, seed=4, size_px=48, workers=2, progress=seen.append) == folder
    assert seen == [1] * 21  # images done since the last call
    return folder


def test_a_dataset_is_whole(dataset: Path) -> None:
    assert [path.name for path in dataset.parent.iterdir()] == ["drawn"]
    assert sorted(path.name for path in dataset.iterdir()) == ["masks", "metadata.csv", "test", "train"]
    counts = {f"{part}/{label}": len(list((dataset / part / label).iterdir()))
              for part in ("train", "test") for label in ("benign", "malignant")}  # fmt: skip
    # 21 images: 11 benign and 10 malignant, of which round(2.75) = 3 and round(2.5) = 2 are for testing
    assert counts == {"train/benign": 8, "test/benign": 3, "train/malignant": 8, "test/malignant": 2}
    assert len(list((dataset / "masks").iterdir())) == 21


def test_a_dataset_holds_the_pictures_that_draw_lesion_draws(dataset: Path) -> None:
    rows = read_csv(dataset / "metadata.csv")
    assert [Path(row["image"]).stem for row in rows] == [f"{index:05d}" for index in range(21)]
    for index, row in enumerate(rows):
        lesion = draw_lesion(4, index, malignant=row["label"] == "malignant", size_px=48)
        with Image.open(dataset / row["image"]) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (48, 48))
            assert np.abs(np.asarray(image, dtype=float) - lesion.image).mean() < 4  # what JPEG loses
        with Image.open(dataset / row["mask"]) as mask:
            assert (mask.format, mask.mode) == ("PNG", "1")
            np.testing.assert_array_equal(np.asarray(mask), lesion.mask)
        assert row["image"].split("/")[:2] == [row["split"], row["label"]]
        assert row["label"] == ("benign", "malignant")[index % 2]
        for name, value in dataclasses.asdict(lesion.parameters).items():
            written = row[f"drawn_{name}"]
            if name == "colours":
                assert tuple(written.split("+")) == value
            else:
                assert float(written) == pytest.approx(float(value), rel=1e-5)
        assert int(row["skin_tone"]) == lesion.parameters.skin_tone


def test_a_mask_takes_one_bit_a_pixel(dataset: Path) -> None:
    header = (dataset / "masks" / "00000.png").read_bytes()[:26]
    assert header[24:26] == bytes([1, 0])  # IHDR: bit depth 1, grey


def test_a_dataset_is_read_as_an_image_table(dataset: Path) -> None:
    table = read_table(dataset)
    assert len(table) == 21
    assert table.labels.sum() == 10
    assert set(table.column("split")) == {"train", "test"}
    assert all(Path(mask).is_file() for mask in table.column("mask"))


def test_an_image_does_not_depend_on_the_count_or_the_processes(dataset: Path, tmp_path: Path) -> None:
    fewer = write_dataset(tmp_path / "fewer", count=4, seed=4, size_px=48, workers=1)
    for image in fewer.rglob("*.jpg"):
        (twin,) = dataset.rglob(image.name)
        assert image.read_bytes() == twin.read_bytes()


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_is_left_of_a_dataset_that_fails_midway(tmp_path: Path, workers: int) -> None:
    done: list[int] = []

    def stop(count: int) -> None:
        done.append(count)
        if sum(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "drawn", count=40, size_px=16, workers=workers, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_an_empty_folder_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *_: object) -> None:
        assert len(list(path.parent.rglob("*.jpg"))) == 4
        raise OSError("no space left on device")

    monkeypatch.setattr(synthetic, "write_csv", full)
    (tmp_path / "drawn").mkdir()
    with pytest.raises(OSError, match="no space left"):
        write_dataset(tmp_path / "drawn", count=4, size_px=16)
    assert list(tmp_path.rglob("*")) == [tmp_path / "drawn"]

"""What probes see of pixels: by hand on drawn squares and discs, against numpy and scipy, and blind to the lesion."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.fft import dctn

from lentigo.data.probe_models import deal_folds, out_of_fold
from lentigo.data.probe_views import (
    CELLS,
    QUANTILES,
    View,
    outside_view,
    pixel_views,
    with_lesion_shares,
)
from lentigo.errors import DataError
from lentigo.evidence.metrics import roc_auc_score
from tests.data.pictures import noise, packed, write_mask


def by_name(views: tuple[View, ...]) -> dict[str, View]:
    return {view.name: view for view in views}


def seen(folder: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    table, pack = packed(folder, images, [0] * len(images))
    return {view.name: view.features for view in pixel_views(pack, np.arange(len(table)))}


def disc(side_px: int, radius: float, right: float = 0.0, below: float = 0.0) -> np.ndarray:
    """True inside a disc; lengths are fractions of the side."""
    away = (np.arange(side_px) + 0.5) / side_px - 0.5
    return np.hypot(away[:, None] - below, away[None] - right) < radius


# ---------------------------------------------------------------- the views, by hand


def test_frame_and_corners_by_hand(tmp_path: Path) -> None:
    image = np.full((1, 300, 300, 3), 100, dtype=np.uint8)
    image[0, :8] = (10, 20, 30)
    image[0, -4:] = (200, 100, 0)  # half of the lower frame
    image[0, :24, -24:, 0] = 50  # the upper right corner, red; it takes 24 of 300 from the upper frame
    image[0, 8:292, 8:292] = np.random.default_rng(0).integers(0, 255, (284, 284, 3))  # seen by the corners alone
    found = seen(tmp_path, image)
    top, bottom = found["frame"][0, :6], found["frame"][0, 6:12]
    assert top[:3] == pytest.approx([10 + 40 * 24 / 300, 20, 30], rel=1e-6)
    assert top[3:] == pytest.approx([40 * math.sqrt(0.08 * 0.92), 0, 0], rel=1e-6)
    assert bottom == pytest.approx([150, 100, 50, 50, 0, 50], rel=1e-6)
    left = image[0, :, :8].reshape(-1, 3).astype(float)
    assert found["frame"][0, 12:18] == pytest.approx([*left.mean(0), *left.std(0)], rel=1e-5)
    for place, corner in enumerate(
        (image[0, :24, :24], image[0, :24, -24:], image[0, -24:, :24], image[0, -24:, -24:])
    ):
        pixels = corner.reshape(-1, 3).astype(float)
        expected = [*pixels.mean(0), *pixels.std(0)]
        assert found["corners"][0, 6 * place : 6 * place + 6] == pytest.approx(expected, rel=1e-5)


def test_frame_sees_nothing_of_the_middle(tmp_path: Path) -> None:
    images = np.repeat(noise(1, side_px=300), 3, axis=0)
    images[1, 8:292, 8:292] = 0
    images[2, 8:292, 8:292] = 255
    found = seen(tmp_path, images)
    assert (found["frame"] == found["frame"][0]).all()
    assert (found["dark_corners"][0] == found["dark_corners"][2]).all()
    assert not (found["colour"][1] == found["colour"][0]).all()


def test_dark_corners_of_a_disc_by_hand(tmp_path: Path) -> None:
    # A black disc of lesion in the middle and any colour outside are no matter of this view.
    images = np.full((5, 144, 144, 3), (180, 120, 100), dtype=np.uint8)
    images[1][~disc(144, 0.5)] = 20
    images[2][~disc(144, 0.5, right=0.05, below=-0.1)] = 0
    images[3] = 0
    images[4][disc(144, 0.2)] = 0
    none, centred, moved, black, lesion = seen(tmp_path, images)["dark_corners"]
    assert none.tolist() == lesion.tolist() == [0] * 9 + [36, 0, 0]
    # A diagonal enters the disc of 36 cells after 36 - 36 / sqrt(2) = 10.5 cells; the triangles of 12 lie outside it
    # but for the middle of their long side.
    assert centred[:4] == pytest.approx([10.5] * 4, abs=0.5)
    assert (centred[4:8] > 0.9).all()
    assert centred[8:] == pytest.approx([4, 25.5, 0, 0], abs=0.5)
    # A corner lies a cells across and b down from the disc's centre: its run t solves (a-t)^2 + (b-t)^2 = 36^2.
    x, y = 36 + 0.05 * 72, 36 - 0.1 * 72
    pairs = [(x, y), (72 - x, y), (x, 72 - y), (72 - x, 72 - y)]
    runs = [(a + b) / 2 - math.sqrt(36**2 / 2 - (a - b) ** 2 / 4) for a, b in pairs]
    assert moved[:4] == pytest.approx(runs, abs=1)
    assert moved[9] == pytest.approx(36 - np.mean(runs), abs=0.6)
    assert moved[10] == pytest.approx((runs[0] + runs[2] - runs[1] - runs[3]) / 4, abs=0.6)
    assert moved[11] == pytest.approx((runs[0] + runs[1] - runs[2] - runs[3]) / 4, abs=0.6)
    assert moved[10] > 1
    assert moved[11] < -2
    assert black.tolist() == [24] * 4 + [1] * 4 + [4, 12, 0, 0]


def test_a_dark_corner_needs_every_channel_to_be_dark(tmp_path: Path) -> None:
    images = np.full((2, 72, 72, 3), 20, dtype=np.uint8)
    images[1, :, :, 0] = 45  # as of dark red skin
    assert seen(tmp_path, images)["dark_corners"][:, 8].tolist() == [4, 0]


def test_colour_equals_numpy(tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (3, CELLS, CELLS, 3), dtype=np.uint8)  # a cell is a pixel
    for found, image in zip(seen(tmp_path, images)["colour"], images, strict=True):
        pixels = image.reshape(-1, 3).astype(np.float64)
        quantiles = np.quantile(pixels, QUANTILES, axis=0, method="nearest").T
        expected = np.concatenate((pixels.mean(0)[:, None], pixels.std(0)[:, None], quantiles), axis=1)
        np.testing.assert_allclose(found.reshape(3, 7), expected, rtol=1e-5)


def test_thumbnail_equals_scipy(tmp_path: Path) -> None:
    images = np.random.default_rng(2).integers(0, 256, (2, CELLS, CELLS, 3), dtype=np.uint8)
    small = images.reshape(2, 24, 3, 24, 3, 3).mean(axis=(2, 4))
    expected = dctn(small, axes=(1, 2), norm="ortho")[:, :6, :6].reshape(2, -1)
    np.testing.assert_allclose(seen(tmp_path, images)["thumbnail"], expected, atol=1e-2)


@pytest.mark.parametrize("side_px", [16, 48, 72, 131])
@pytest.mark.parametrize("level", [0, 255])
def test_views_of_flat_pictures_are_numbers_at_any_size(tmp_path: Path, side_px: int, level: int) -> None:
    found = seen(tmp_path, np.full((2, side_px, side_px, 3), level, dtype=np.uint8))
    assert {name: values.shape for name, values in found.items()} == {
        "frame": (2, 24),
        "corners": (2, 24),
        "dark_corners": (2, 12),
        "colour": (2, 21),
        "thumbnail": (2, 108),
    }
    for values in found.values():
        assert np.isfinite(values).all()
        assert (values[0] == values[1]).all()


def test_pieces_rows_and_progress(tmp_path: Path) -> None:
    pack = packed(tmp_path, noise(150), [0] * 150)[1]
    whole = by_name(pixel_views(pack, np.arange(150)))
    rows = np.array([149, 3, *range(10, 80)])
    done: list[int] = []
    part = by_name(pixel_views(pack, rows, progress=done.append))
    assert done == [64, 8]
    for name, view in part.items():
        np.testing.assert_array_equal(view.features, whole[name].features[rows])
        assert view.known.all()
    broken = (pack.folder / "images.npy").read_bytes()
    (pack.folder / "images.npy").write_bytes(broken[:-1] + bytes([broken[-1] ^ 1]))
    with pytest.raises(DataError, match=r"0149\.png has another checksum"):
        pixel_views(pack, np.arange(150))


# ---------------------------------------------------------------- beside the lesion


def test_outside_view_by_hand(tmp_path: Path) -> None:
    n, side = 42, 144
    images = np.full((n, side, side, 3), (180, 120, 100), dtype=np.uint8)
    images[:, disc(side, 0.3)] = (60, 30, 30)
    images[3, 0, 0] = 0  # one pixel of 4 in a cell of the corner
    masks = [write_mask(tmp_path / "masks" / f"{index}.png", disc(side, 0.3)) for index in range(n)]
    masks[7] = write_mask(tmp_path / "masks" / "7.png", disc(side, 0.3), inside=1)  # 1 for lesion, not 255
    write_mask(tmp_path / "masks" / "8.png", np.zeros((side, side)))  # empty: nobody marked the lesion
    write_mask(tmp_path / "masks" / "9.png", disc(side, 0.67))  # 11 % of the picture is free, half of it in the margin
    (tmp_path / "masks" / "10.png").write_bytes(b"no picture")
    table, pack = packed(tmp_path, images, [index % 2 for index in range(n)], mask=masks)
    rows = np.arange(n)
    view = outside_view(table, pack, rows)
    assert view.not_run == "19 benign and 20 malignant images have usable masks, and 20 of either class are needed"
    table, pack = packed(tmp_path / "more", np.concatenate((images, images)), [0, 1] * n, mask=masks * 2)
    view = outside_view(table, pack, np.arange(2 * n))
    assert not view.not_run
    assert np.flatnonzero(~view.known).tolist() == [8, 9, 10, 50, 51, 52]
    assert not view.features[~view.known].any()
    assert view.features[0] == pytest.approx([180, 0, *[180] * 5, 120, 0, *[120] * 5, 100, 0, *[100] * 5])
    assert (view.features[7] == view.features[0]).all()
    assert (view.features[3] != view.features[0]).any()


def test_outside_view_needs_masks_of_both_classes(tmp_path: Path) -> None:
    table, pack = packed(tmp_path, noise(6), [0, 1] * 3)
    assert outside_view(table, pack, np.arange(6)).not_run == "no image has a lesion mask"
    mask = write_mask(tmp_path / "mask.png", disc(48, 0.2))
    table, pack = packed(tmp_path / "one", noise(60), [0, 1] * 30, mask=["", mask] * 30)
    view = outside_view(table, pack, np.arange(60))
    assert view.not_run == "0 benign and 30 malignant images have masks, and 20 of either class are needed"
    assert view.features.shape == (60, 0)
    assert not view.known.any()


def test_outside_view_does_not_see_how_large_the_lesion_is(tmp_path: Path) -> None:
    """Unevenly lit skin, the same for both classes, with lesions twice as wide in one: what a naive view would tell."""
    rng = np.random.default_rng(5)
    n, side = 400, CELLS
    labels = np.arange(n) % 2
    away = (np.arange(side) + 0.5) / side - 0.5
    images, masks, naive = np.empty((n, side, side, 3), dtype=np.uint8), [], []
    for index, label in enumerate(labels):
        mask = disc(side, rng.uniform(0.34, 0.46) if label else rng.uniform(0.15, 0.25))
        fall = rng.uniform(1, 3) * (away[:, None] ** 2 + away[None] ** 2) + rng.uniform(-0.3, 0.3, 2) @ [0.3, 0.1]
        skin = np.array([200, 150, 120]) * rng.uniform(0.8, 1.2) * np.exp(-fall)[..., None]
        images[index] = (skin * np.where(mask, 0.5, 1)[..., None] + rng.normal(0, 4, skin.shape)).clip(0, 255)
        masks.append(write_mask(tmp_path / "masks" / f"{index}.png", mask))
        naive.append(images[index][~mask].std(axis=0) / images[index][~mask].mean(axis=0))
    table, pack = packed(tmp_path, images, labels.tolist(), mask=masks)
    view = outside_view(table, pack, np.arange(n))
    assert view.known.all()

    def auc(features: np.ndarray) -> float:
        fold = deal_folds(labels, np.arange(n), 0)
        assert isinstance(fold, np.ndarray)
        return roc_auc_score(labels, out_of_fold(features.astype(np.float32), labels, fold))

    assert auc(np.array(naive)) > 0.65  # the trap is there
    assert auc(view.features) == pytest.approx(0.5, abs=0.09)  # three times the deviation of 0.03


# ---------------------------------------------------------------- how much of a view is lesion


def test_lesion_shares_by_hand(tmp_path: Path) -> None:
    table, pack = packed(tmp_path, noise(3), [0, 1, 1], mask=["", "", ""])
    views = by_name(with_lesion_shares(pixel_views(pack, np.arange(3)), table, np.arange(3)))
    assert all(math.isnan(view.lesion_share) for view in views.values())
    half = np.zeros((72, 72), dtype=np.bool_)
    half[:, :36] = True
    inner = disc(72, 0.3)
    paths = [write_mask(tmp_path / f"{name}.png", mask) for name, mask in (("half", half), ("inner", inner))]
    table, pack = packed(tmp_path / "b", noise(3), [0, 1, 1], mask=["", *paths])
    views = by_name(with_lesion_shares(pixel_views(pack, np.arange(3)), table, np.arange(3)))
    for name in ("frame", "corners", "dark_corners"):  # the left half of one picture of two
        assert views[name].lesion_share == pytest.approx(0.25)
    assert math.isnan(views["colour"].lesion_share)

"""A heat map on the full image, and its colours: by hand, against slow references, and by mirrors and scales."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from lentigo.errors import ConfigError, DataError
from lentigo.explain.on_image import blue_to_red, overlay, seen, to_image_size
from lentigo.imaging import Preprocessing, preprocess
from lentigo.models.registry import IMAGENET
from tests import reference

# ---------------------------------------------------------------- where a map lies on the image


def one_hot_map(rows: int, columns: int, row: int, column: int) -> np.ndarray:
    maps = np.zeros((1, rows, columns), np.float32)
    maps[0, row, column] = 1
    return maps


def test_hot_cell_lands_at_its_place_by_hand() -> None:
    # The image has 16 px, is resized to 8 and cropped to 4: the crop is pixels 4 to 11. Two cells of 4 px each have
    # their centres at 6 and 10 px. The pixels' centres 4.5 and 5.5 lie before the first: 1; then 1/4 less each pixel.
    settings = Preprocessing(resize_px=8, crop_px=4)
    line = [0] * 4 + [1, 1, 7 / 8, 5 / 8, 3 / 8, 1 / 8, 0, 0] + [0] * 4
    found = to_image_size(one_hot_map(2, 2, 0, 1), settings, size_px=16)
    assert_allclose(found[0], np.outer(line, line[::-1]), atol=1e-7)
    assert_array_equal(seen(settings, 16).any(axis=0), [False] * 4 + [True] * 8 + [False] * 4)


SETTINGS = [
    IMAGENET,
    Preprocessing(resize_px=64, crop_px=None),
    Preprocessing(resize_px=None, crop_px=None),
    Preprocessing(resize_px=50, crop_px=37),  # 6.5 px at the side, rounded to 6
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("rows", "columns", "size_px"), [(1, 1, 9), (6, 6, 31), (3, 5, 26)])
def test_map_on_image_equals_asking_every_pixel(settings: Preprocessing, rows: int, columns: int, size_px: int) -> None:
    maps = np.random.default_rng(rows).normal(size=(2, rows, columns)).astype(np.float32)
    resize = settings.resize_px or 1
    crop = settings.crop_px or resize
    found, inside = to_image_size(maps, settings, size_px=size_px), seen(settings, size_px)
    for heat, picture in zip(maps, found, strict=True):
        expected = reference.heat_on_image(
            heat.tolist(), size_px=size_px, resize_px=resize, crop_px=crop, left_px=round((resize - crop) / 2)
        )
        assert_array_equal(inside, [[pixel is not None for pixel in line] for line in expected])
        assert_allclose(picture, [[pixel or 0.0 for pixel in line] for line in expected], atol=1e-6)


def test_map_without_crop_equals_torch_interpolate() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 7, 7)).astype(np.float32)
    for size_px in (7, 100):
        found = to_image_size(maps, Preprocessing(resize_px=300, crop_px=None), size_px=size_px)
        theirs = nn.functional.interpolate(torch.from_numpy(maps)[:, None], size=(size_px, size_px), mode="bilinear")
        assert_allclose(found, theirs[:, 0], atol=1e-5)  # torch's positions are float32


@pytest.mark.parametrize("settings", [IMAGENET, Preprocessing(resize_px=50, crop_px=37)], ids=str)
def test_seen_is_what_preprocess_keeps(settings: Preprocessing) -> None:
    size_px, crop_px = settings.resize_px or 0, settings.crop_px or 0
    image = np.random.default_rng(1).integers(256, size=(size_px, size_px, 3), dtype=np.uint8)
    plain = Preprocessing(resize_px=size_px, crop_px=crop_px)
    kept = image[seen(settings, size_px)].reshape(crop_px, crop_px, 3)
    assert_allclose(preprocess(image, plain), kept.transpose(2, 0, 1) / 255, atol=1e-6)


@pytest.mark.parametrize(("row", "column"), [(40, 75), (90, 30), (60, 60)])
def test_map_of_a_spot_lies_on_the_spot(row: int, column: int) -> None:
    # A white spot of 10 px goes the whole way: preprocess, cells that average the network's input, back onto the image.
    image = np.zeros((120, 120, 3), np.uint8)
    image[row - 5 : row + 5, column - 5 : column + 5] = 255
    settings = Preprocessing(resize_px=80, crop_px=64)
    cells = preprocess(image, settings)[0].reshape(16, 4, 16, 4).mean(axis=(1, 3))
    heat = to_image_size(cells[None], settings, size_px=120)[0].astype(np.float64)
    assert heat @ (np.arange(120) + 0.5) @ np.ones(120) / heat.sum() == pytest.approx(column, abs=0.3)
    assert heat.T @ (np.arange(120) + 0.5) @ np.ones(120) / heat.sum() == pytest.approx(row, abs=0.3)


def test_map_that_is_larger_than_the_picture_is_averaged() -> None:
    everything = Preprocessing(resize_px=300, crop_px=None)
    stripes = np.tile(np.array([0, 2], np.float32), (1, 74, 37))  # picking single cells would give only 0 or only 2
    assert_allclose(to_image_size(stripes, everything, size_px=18), 1, atol=0.1)
    flat = np.full((1, 74, 74), 3, np.float32)
    for settings in SETTINGS:
        assert_allclose(to_image_size(flat, settings, size_px=18)[0], 3 * seen(settings, 18), atol=1e-5)


def test_mirrored_map_gives_the_mirrored_picture() -> None:
    maps = np.random.default_rng(2).normal(size=(1, 6, 6)).astype(np.float32)
    found = to_image_size(maps, IMAGENET, size_px=33)
    assert_allclose(to_image_size(maps[:, ::-1], IMAGENET, size_px=33), found[:, ::-1], atol=1e-6)
    assert_allclose(to_image_size(maps.transpose(0, 2, 1), IMAGENET, size_px=33), found.transpose(0, 2, 1), atol=1e-6)


def test_refuses_a_place_that_is_not_known() -> None:
    with pytest.raises(ConfigError, match=r"crop_px = 224 and no resize_px.*set resize_px"):
        seen(Preprocessing(resize_px=None, crop_px=224), 100)
    with pytest.raises(ConfigError, match="size_px is 0, not 1 or more"):
        to_image_size(one_hot_map(2, 2, 0, 0), IMAGENET, size_px=0)


# ---------------------------------------------------------------- colours


def test_overlay_by_hand() -> None:
    image = np.full((1, 5, 3), 100, np.uint8)
    heat = np.array([[0, 1, 2, 4, 9]], np.float32)
    # Maximum 4. Heat 1 is cyan at opacity 1/8: 100 * 7/8 = 87.5, + 255/8 = 119.4. Heat 2 is green at 1/4: 75, + 63.75.
    # Heat 4 is red at 1/2: 50, + 127.5; heat 9 too. Halves go to even.
    expected = [[[100, 100, 100], [88, 119, 119], [75, 139, 75], [178, 50, 50], [178, 50, 50]]]
    assert overlay(image, heat, maximum=4.0).tolist() == expected
    assert_array_equal(image, 100)


def test_overlay_equals_painting_every_pixel() -> None:
    rng = np.random.default_rng(4)
    image = rng.integers(256, size=(9, 7, 3), dtype=np.uint8)
    heat = rng.exponential(size=(9, 7)).astype(np.float32)
    found = overlay(image, heat, maximum=1.7, opacity=0.8)
    for y in range(9):
        for x in range(7):
            expected = reference.overlaid_pixel(image[y, x].tolist(), float(heat[y, x]), 1.7, 0.8)
            assert_allclose(found[y, x], expected, atol=0.5 + 1e-6)


def test_overlay_is_never_stretched_by_the_image() -> None:
    image = np.random.default_rng(6).integers(256, size=(4, 4, 3), dtype=np.uint8)
    heat = np.linspace(0, 1, 16, dtype=np.float32).reshape(4, 4)
    assert_array_equal(overlay(image, heat, maximum=1.0), overlay(image, heat * 8, maximum=8.0))
    faint = overlay(image, heat, maximum=1000.0).astype(int)
    assert np.abs(faint - image).max() <= 1
    assert np.abs(overlay(image, heat, maximum=1.0).astype(int) - image).max() > 50


@pytest.mark.parametrize("maximum", [0.0, 3.0])
def test_overlay_of_an_empty_map_has_no_colour(maximum: float) -> None:
    image = np.random.default_rng(6).integers(256, size=(4, 4, 3), dtype=np.uint8)
    assert_array_equal(overlay(image, np.zeros((4, 4), np.float32), maximum=maximum, opacity=1.0), image)


def test_colours_go_from_blue_to_red() -> None:
    five = blue_to_red(np.array([0, 0.25, 0.5, 0.75, 1]))
    assert five.tolist() == [[0, 0, 1], [0, 1, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("bad", [-1e-3, np.nan, np.inf])
def test_overlay_refuses_heat_that_is_no_heat(bad: float) -> None:
    image, heat = np.zeros((2, 2, 3), np.uint8), np.array([[0, 1], [0, bad]], np.float32)
    with pytest.raises(DataError, match="heat holds NaN, infinite or negative values"):
        overlay(image, heat, maximum=1.0)


def test_overlay_refuses_a_scale_that_is_no_scale() -> None:
    image, heat = np.zeros((2, 2, 3), np.uint8), np.ones((2, 2), np.float32)
    with pytest.raises(DataError, match="maximum is 0 but heat reaches 1"):
        overlay(image, heat, maximum=0.0)
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ConfigError, match=r"^maximum is .* not a finite number of 0 or more"):
            overlay(image, heat, maximum=bad)
    with pytest.raises(ConfigError, match=r"^opacity is 1\.5, not in \[0, 1\]"):
        overlay(image, heat, maximum=1.0, opacity=1.5)

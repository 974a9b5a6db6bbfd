"""Frame, hair and ruler against drawings whose hairs, ticks and frames have a known place.

Found is counted in shares of pixels: recall, of the drawn ones that are found; precision, of the found ones that are
within some pixels of drawn ones. The thresholds stand just below what the drawings of 20 seeds gave.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from skimage.morphology import convex_hull_image

from lentigo.data.artefacts import draw_dark_frame, draw_hairs, draw_ruler
from lentigo.data.drawing import draw_picture
from lentigo.data.regions import (
    black_edge,
    black_frame,
    disc,
    frame_region,
    grown,
    hair_region,
    hull,
    ruler_region,
)
from lentigo.data.synthetic import draw_parameters

SEEDS = range(20)
SKIN = np.full((300, 300, 3), (215, 165, 140), dtype=np.uint8)
DARK, LIGHT, BLACK = (60, 45, 40), (250, 235, 225), (20, 15, 12)
FINDERS = {"frame": frame_region, "hair": hair_region, "ruler": ruler_region, "edge": black_edge, "field": black_frame}
SHAPES = [(1, 1), (1, 500), (3, 500), (500, 3), (40, 1000), (300, 300), (450, 600)]


@cache
def plain(seed: int, network: float | None = None) -> np.ndarray:
    """A drawn lesion of 300 pixels on bare skin; `network` sets how strong its pigment network is."""
    bare = {"hair_count": 0, "ruler": False, "bubbles": 0, "frame": False}
    drawn = replace(draw_parameters(5, seed, malignant=seed % 2 == 1), **bare)
    drawn = drawn if network is None else replace(drawn, network=network)
    return draw_picture(drawn, 300, *np.random.default_rng(np.random.SeedSequence((5, seed))).spawn(2))[0]


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(after.astype(int) - before).max(axis=2) > 25


def recall(found: np.ndarray, drawn: np.ndarray) -> float:
    return float((found & drawn).sum() / drawn.sum())


def precision(found: np.ndarray, drawn: np.ndarray, near_px: float) -> float:
    return float((found & grown(drawn, near_px)).sum() / found.sum())


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def lines(colour: tuple[int, int, int], seed: int, shape: tuple[int, int] = (300, 300)) -> tuple[np.ndarray, ...]:
    """Bare skin with five straight soft-edged lines, 2 pixels wide and 80 to 240 long, and where they are."""
    rng, height, width = np.random.default_rng(seed), *shape
    fine = np.zeros((4 * height, 4 * width), dtype=np.uint8)
    for angle, half, x, y in zip(rng.uniform(0, math.pi, 5), rng.uniform(40, 120, 5), *rng.random((2, 5)), strict=True):
        middle, away = np.array((x * width, y * height)), half * np.array((math.cos(angle), math.sin(angle)))
        ends = [tuple(map(int, 4 * (middle + way * away))) for way in (-1, 1)]
        cv2.line(fine, ends[0], ends[1], 255, 8)
    share = np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA))[..., None] / 255
    image = np.broadcast_to(SKIN[0, 0], (height, width, 3)) * (1 - share) + np.array(colour) * share
    return np.rint(image).astype(np.uint8), share[..., 0] > 0.5


def ticks(places: np.ndarray, colour: tuple[int, int, int] = DARK) -> tuple[np.ndarray, np.ndarray]:
    """Bare skin with upright ticks of 2 x 12 pixels, whose left sides are at these columns."""
    drawn = np.zeros((300, 300), dtype=bool)
    for left in places:
        drawn[30:42, int(left) : int(left) + 2] = True
    image = SKIN.copy()
    image[drawn] = colour
    return image, drawn


def blot(centre: tuple[int, int], axes: tuple[int, int]) -> np.ndarray:
    """Bare skin with a black lesion."""
    image = SKIN.copy()
    cv2.ellipse(image, centre, axes, 0, 0, 360, BLACK, cv2.FILLED)
    return image


# ---------------------------------------------------------------- nothing there


@pytest.mark.parametrize("name", FINDERS)
def test_nothing_is_found_on_bare_skin_with_a_lesion(name: str) -> None:
    for seed in SEEDS:
        assert not FINDERS[name](plain(seed)).any()


def test_a_strong_network_is_no_ruler_and_hardly_hair() -> None:
    for seed in range(5):
        image = plain(seed, 0.7)
        assert hair_region(image).mean() < 0.012
        assert not ruler_region(image).any()


@pytest.mark.parametrize("name", FINDERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_one_colour_shows_nothing(name: str, shape: tuple[int, int]) -> None:
    for colour in ((255, 255, 255), (215, 165, 140), (60, 45, 40)):
        found = FINDERS[name](np.full((*shape, 3), colour, dtype=np.uint8))
        assert (found.shape, found.dtype) == (shape, np.dtype(bool))
        assert not found.any()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_black_picture_is_all_frame(shape: tuple[int, int]) -> None:
    black = np.zeros((*shape, 3), dtype=np.uint8)
    assert all(FINDERS[name](black).all() for name in ("frame", "edge", "field"))
    assert not hair_region(black).any()
    assert not ruler_region(black).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 500), (500, 3)])
def test_nothing_is_found_in_the_noise_of_a_sliver(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for find in FINDERS.values():
        found = find(image)
        assert found.shape == shape
        assert not found.any()


# ---------------------------------------------------------------- hair


def test_hairs_over_lesions_are_found() -> None:
    """Dark hairs on skin of all tones; on the darkest few pixels of one are 10 steps darker than what is beside it."""
    recalls, precisions = [], []
    for seed in SEEDS:
        image = draw_hairs(plain(seed), 8.0, np.random.default_rng(seed))
        found, drawn = hair_region(image), changed(plain(seed), image)
        recalls.append(recall(found, drawn))
        precisions.append(precision(found, drawn, 3.0))
        assert ruler_region(image).mean() < 0.035
    assert np.mean(recalls) > 0.88
    assert min(recalls) > 0.55
    assert np.mean(precisions) > 0.97
    assert min(precisions) > 0.9


def test_hairs_on_bare_skin_are_found() -> None:
    for seed in range(10):
        image = draw_hairs(SKIN, 8.0, np.random.default_rng(seed))
        found, drawn = hair_region(image), changed(SKIN, image)
        assert recall(found, drawn) > 0.87
        assert precision(found, drawn, 2.0) > 0.99


@pytest.mark.parametrize(("colour", "least_precision"), [(DARK, 0.999), (LIGHT, 0.93)])
@pytest.mark.parametrize("shape", [(300, 300), (180, 300)])
def test_dark_and_light_lines_are_hair(
    colour: tuple[int, int, int], least_precision: float, shape: tuple[int, int]
) -> None:
    """Where a few of them lie side by side in even steps, what is between may be taken for a ruler's ticks."""
    pairs = [(hair_region(image), drawn) for image, drawn in (lines(colour, seed, shape) for seed in range(10))]
    assert np.mean([recall(*pair) for pair in pairs]) > 0.74
    assert min(precision(*pair, 2.0) for pair in pairs) > least_precision


def test_short_dashes_and_a_broad_bar_are_no_hair() -> None:
    for seed in range(4):
        rng, image = np.random.default_rng(seed), SKIN.copy()
        for angle, x, y in zip(rng.uniform(0, math.pi, 12), *rng.uniform(20, 280, (2, 12)), strict=True):
            dx, dy = 6 * math.cos(angle), 6 * math.sin(angle)
            cv2.line(image, (int(x - dx), int(y - dy)), (int(x + dx), int(y + dy)), DARK, 2)
        assert not hair_region(image).any()
        assert not ruler_region(image).any()
    image = SKIN.copy()
    image[40:260, 140:160] = DARK
    assert not hair_region(image).any()


# ---------------------------------------------------------------- ruler


def test_a_ruler_is_found_and_is_no_hair() -> None:
    recalls, precisions = [], []
    for seed in SEEDS:
        image = draw_ruler(plain(seed), 1.0, np.random.default_rng(seed))
        found, drawn = ruler_region(image), changed(plain(seed), image)
        recalls.append(recall(found, drawn))
        precisions.append(precision(found, drawn, 10.0))
        assert not hair_region(image).any()
        assert not frame_region(image).any()
    assert np.mean(recalls) > 0.91
    assert min(recalls) > 0.58
    assert np.mean(precisions) > 0.9
    assert min(precisions) > 0.84


def test_hairs_across_a_ruler() -> None:
    """No pixel is both. A hair across ticks cuts the row, so that part of it is missed, and little of it is hair."""
    of_ruler, ticks_as_hair, of_hair = [], [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        haired = draw_hairs(plain(seed), 6.0, rng)
        image = draw_ruler(haired, 0.8, rng)
        hair, ruler, drawn = hair_region(image), ruler_region(image), changed(haired, image)
        assert not (hair & ruler).any()
        of_ruler.append(recall(ruler, drawn))
        ticks_as_hair.append(recall(hair, drawn))
        of_hair.append(recall(hair, changed(plain(seed), haired) & ~grown(drawn, 10.0)))
    assert np.mean(of_ruler) > 0.7
    assert np.mean(ticks_as_hair) < 0.06
    assert np.mean(of_hair) > 0.85


@pytest.mark.parametrize("spacing", [8, 12, 20])
def test_five_even_ticks_are_a_ruler_and_four_are_not(spacing: int) -> None:
    assert not ruler_region(ticks(60 + spacing * np.arange(4))[0]).any()
    image, drawn = ticks(60 + spacing * np.arange(5))
    found = ruler_region(image)
    assert (found & drawn).sum() == drawn.sum()
    strip = np.zeros_like(drawn)  # from the first tick to the last, with a rim of 6 pixels and a step for blur
    strip[30 - 8 : 42 + 8, 60 - 8 : 62 + 4 * spacing + 8] = True
    assert not (found & ~strip).any()
    assert found[30:42, 60 : 62 + 4 * spacing].all()
    assert not hair_region(image).any()


def test_light_ticks_are_a_ruler() -> None:
    image, drawn = ticks(60 + 20 * np.arange(8), LIGHT)
    assert recall(ruler_region(image), drawn) == 1
    assert not hair_region(image).any()


def test_uneven_ticks_are_no_ruler() -> None:
    for seed in SEEDS:
        places = 20 + np.cumsum(np.random.default_rng(seed).uniform(6, 40, 6))
        assert not ruler_region(ticks(places)[0]).any()


@pytest.mark.parametrize("pitch", [4, 6])
@pytest.mark.parametrize("colour", [DARK, LIGHT])
def test_a_line_with_fine_ticks_is_a_ruler_and_without_them_a_hair(pitch: int, colour: tuple[int, int, int]) -> None:
    bar, comb = SKIN.copy(), SKIN.copy()
    end = 40 + 24 * pitch
    bar[150:152, 40:end] = comb[150:152, 40:end] = colour
    comb[144:150, 40:end:pitch] = colour
    drawn = (comb != SKIN).any(axis=2)
    assert recall(ruler_region(comb), drawn) == 1
    assert precision(ruler_region(comb), drawn, 8.0) == 1
    assert not hair_region(comb).any()
    assert not ruler_region(bar).any()
    assert recall(hair_region(bar), (bar != SKIN).any(axis=2)) > 0.9


# ---------------------------------------------------------------- frame


@pytest.mark.parametrize("radius", [0.7, 0.8, 0.9])
def test_a_round_frame_is_found(radius: float) -> None:
    """All of it, and no pixel further than the light takes to fade. Its rim is no hair, and no ruler."""
    for seed in range(5):
        image = draw_dark_frame(plain(seed), radius, np.random.default_rng(seed))
        found, dark = frame_region(image), image.max(axis=2) < 40
        assert recall(found, dark) > 0.998
        assert precision(found, dark, 8.0) == 1
        assert hair_region(image).mean() < 0.003
        assert not ruler_region(image).any()


def test_hairs_that_run_into_the_frame() -> None:
    """They are not taken for it; a pixel or so is both, since each plane is enlarged by itself."""
    dark = draw_dark_frame(SKIN, 0.75, np.random.default_rng(0)).max(axis=2) < 40
    for seed in range(5):
        haired = draw_hairs(plain(seed), 6.0, np.random.default_rng(seed))
        image = draw_dark_frame(haired, 0.75, np.random.default_rng(0))
        frame = frame_region(image)
        assert recall(frame, dark) > 0.998
        assert precision(frame, dark, 8.0) == 1
        assert (hair_region(image) & frame).sum() <= 5


@pytest.mark.parametrize("centre", [(0, 150), (299, 150), (150, 0), (150, 299), (150, 20)])
@pytest.mark.parametrize("axes", [(120, 70)])
def test_a_black_lesion_that_reaches_one_side_is_no_frame(centre: tuple[int, int], axes: tuple[int, int]) -> None:
    image = blot(centre, axes)
    lesion = (image != SKIN).any(axis=2)
    assert np.array_equal(black_edge(image), lesion)
    assert not black_frame(image).any()
    assert not frame_region(image).any()
    assert not hair_region(image).any()
    assert not ruler_region(image).any()


def test_a_black_lesion_in_a_framed_field_is_no_frame() -> None:
    """Also one that touches the frame: it makes a dent, which is not of a round field."""
    for centre in ((150, 150), (250, 150)):
        image = draw_dark_frame(blot(centre, (60, 40)), 0.72, np.random.default_rng(0))
        bare = draw_dark_frame(SKIN, 0.72, np.random.default_rng(0))
        assert iou(black_frame(image), black_frame(bare)) > 0.98


def test_the_black_edge_by_hand() -> None:
    """A border of 4 pixels and a bar that hangs on it; neither a hair of 2 pixels that does, nor what lies apart."""
    image = np.full((60, 80, 3), 200, dtype=np.uint8)
    expected = np.zeros((60, 80), dtype=bool)
    expected[:, :4] = expected[20:26, 4:30] = True
    image[expected] = (44, 10, 10)
    image[40:42, 4:50] = 0  # a hair
    image[30:36, 40:50] = 0  # apart
    image[50:, 70:] = (44, 45, 10)  # not dark in all channels
    assert np.array_equal(black_edge(image), expected)


def test_a_straight_black_strip_is_frame_to_the_pixel() -> None:
    image = SKIN[:, :120].copy()
    image[:, :12] = 0
    expected = np.zeros((300, 120), dtype=bool)
    expected[:, :12] = True
    assert np.array_equal(black_frame(image), expected)


# ---------------------------------------------------------------- size


DRAWN: dict[str, tuple[Callable[..., np.ndarray], float, float]] = {
    "hair": (draw_hairs, 8.0, 0.83),
    "ruler": (draw_ruler, 0.8, 0.97),
    "frame": (draw_dark_frame, 0.75, 0.98),
}


@pytest.mark.parametrize("name", DRAWN)
def test_twice_the_size_shows_about_the_same(name: str) -> None:
    """The same scene, drawn anew at 600 pixels: hairs of 2 pixels differ along their sides. IoU."""
    draw, amount, least = DRAWN[name]
    for seed in range(4):
        small = plain(seed)
        large = np.asarray(cv2.resize(small, (600, 600), interpolation=cv2.INTER_CUBIC))
        one, other = (FINDERS[name](draw(image, amount, np.random.default_rng(seed))) for image in (small, large))
        assert other.shape == (600, 600)
        assert iou(one, other[::2, ::2]) > least


# ---------------------------------------------------------------- planes


def test_disc_by_hand() -> None:
    cross = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    for radius in (0.0, 0.3, 1.0, 1.4):
        assert disc(radius).tolist() == cross
    assert disc(2.0).shape == disc(2.5).shape == (5, 5)  # halves go to even


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 9, 15])
def test_disc_is_round_to_half_a_pixel(radius: int) -> None:
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    away, inside = np.hypot(down, right), disc(float(radius)) == 1
    assert inside[away <= radius].all()
    assert away[inside].max() < radius + 0.5


def test_grown_by_hand() -> None:
    plane = np.zeros((5, 6), dtype=bool)
    plane[0, 0] = plane[3, 3] = True
    expected = [[1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 0, 0]]
    assert grown(plane, 1.0).astype(int).tolist() == expected
    assert np.array_equal(grown(plane, 0.2), grown(plane, 1.0))  # at least a pixel
    assert not grown(np.zeros((5, 6), dtype=bool), 3.0).any()
    assert grown(~plane, 1.0).all()


def test_hull_by_hand() -> None:
    plane = np.zeros((5, 5), dtype=bool)
    plane[0, 0] = plane[4, 0] = plane[4, 4] = True
    assert np.array_equal(hull(plane), np.tri(5, dtype=bool))
    for count in (0, 1):  # nothing, and a single pixel
        few = np.zeros((3, 4), dtype=bool)
        few.flat[[6][:count]] = True
        assert np.array_equal(hull(few), few)


def test_hull_equals_scikit_image() -> None:
    for seed in SEEDS:
        plane = np.random.default_rng(seed).random((40, 50)) < 0.01
        found, expected = hull(plane), convex_hull_image(plane, offset_coordinates=False)
        assert found[plane].all()
        assert not (expected & ~found).any()
        assert not (found & ~grown(expected, 1.0)).any()  # pixels that the outline crosses

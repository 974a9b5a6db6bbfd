"""Where heat lies: by hand, by loops over pixels and pairs, beside scikit-learn, and by what must not change it."""

from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import roc_auc_score

from lentigo.errors import ConfigError, DataError
from lentigo.explain import localisation as localisation_module
from lentigo.explain.localisation import (
    MEASURES,
    Localisation,
    at_common_cells,
    centre_gaussian,
    common_cells,
    common_region,
    common_view,
    joined,
    localise,
    maps_at_common_cells,
    uniform,
)
from lentigo.explain.on_image import seen, to_image_size
from lentigo.imaging import Preprocessing
from lentigo.models.registry import IMAGENET
from tests import reference

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WHOLE = Preprocessing(resize_px=64, crop_px=None)
ODD = Preprocessing(resize_px=50, crop_px=37)  # 6.5 px at the side, rounded to 6
EVERYWHERE = np.ones((4, 4), dtype=bool)
MIDDLE = np.zeros((4, 4), dtype=bool)
MIDDLE[1:3, 1:3] = True


def values(found: Localisation, image: int = 0) -> dict[str, float]:
    return {name: float(getattr(found, name)[image]) for name in MEASURES}


def window(size: int, margin: int) -> np.ndarray:
    region = np.zeros((size, size), dtype=bool)
    region[margin : size - margin, margin : size - margin] = True
    return region


def discs(n: int, size: int, seed: int = 0) -> np.ndarray:
    """Round lesions near the middle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] + 0.5
    centres, radii = size * rng.uniform(0.4, 0.6, size=(n, 2)), size * rng.uniform(0.12, 0.35, size=n)
    masks: np.ndarray = np.array([(y - cy) ** 2 + (x - cx) ** 2 < r**2 for (cy, cx), r in zip(centres, radii)])  # noqa: B905
    return masks


def blobs(n: int, cells: int, seed: int = 0) -> np.ndarray:
    """Smooth heat, two spots an image."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:cells, :cells] + 0.5) / cells
    spots = rng.uniform(0.2, 0.8, size=(n, 2, 2))
    heat = [sum(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 0.02) for cy, cx in of_image) for of_image in spots]
    return np.array(heat, dtype=np.float32)


# ---------------------------------------------------------------- measures by hand


def test_measures_by_hand() -> None:
    heat = np.array([[[0, 0, 0, 0], [0, 4, 2, 0], [0, 2, 0, 0], [0, 0, 0, 2]]], np.float32)
    ends = np.zeros((1, 4, 4), dtype=bool)
    ends[0, [0, 3]] = True
    found = localise(heat, MIDDLE[None], EVERYWHERE, artefacts={"frame": ends})
    # From 2 on four pixels are hot, three of them of the lesion's four. Against one 2 and eleven 0 outside, the
    # lesion's 4 wins 12 times, each 2 wins 11.5 times and the 0 wins 5.5 times, of 48.
    expected = {"inside": 0.8, "density": 3.2, "pointing": 1, "best_iou": 0.6, "fixed_iou": 0.6, "pixel_auc": 40.5 / 48}
    assert values(found) == pytest.approx(expected, abs=1e-15)
    assert found.state == ("measured",)
    assert (found.on["frame"][0], found.area_on["frame"][0]) == (0.2, 0.5)


def test_thresholds_by_hand() -> None:
    # 10 and 9 are of the lesion, 3 and 2 are not, 1 is below a fifth of 10: best cut above 3, the fixed one is at 2.
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 1, 1:3], heat[0, 0, :3] = (10, 9), (3, 2, 1)
    lesion = heat > 5
    found = values(localise(heat, lesion, EVERYWHERE))
    assert (found["best_iou"], found["fixed_iou"], found["pointing"], found["pixel_auc"]) == (1, 0.5, 1, 1)
    # A lesion without heat: no threshold above 0 reaches it.
    found = values(localise(heat, heat == 0, EVERYWHERE))
    assert (found["best_iou"], found["inside"], found["pointing"]) == (0, 0, 0)


def test_a_fifth_of_the_maximum_is_highlighted_in_any_unit() -> None:
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 1, 1:3] = 65, 13  # a fifth; of 65/7 in float32, 13/7 is a little less than that
    for unit in (1, 7, 9):
        assert localise(heat / np.float32(unit), heat > 0, EVERYWHERE).fixed_iou[0] == 1
    heat[0, 1, 2] = 12.99
    assert localise(heat, heat > 0, EVERYWHERE).fixed_iou[0] == 0.5


def test_pointing_shares_ties() -> None:
    heat = np.zeros((1, 4, 4), np.float32)
    heat[0, 1] = 7
    assert localise(heat, MIDDLE[None], EVERYWHERE).pointing[0] == 0.5


# ---------------------------------------------------------------- against loops, and scikit-learn


@st.composite
def measurable(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps with many ties, masks, and a region in which each lesion is and ends."""
    size, margin = draw(st.integers(3, 7)), draw(st.integers(0, 1))
    rng, levels = np.random.default_rng(draw(st.integers(0, 10**6))), draw(st.sampled_from([1, 3, 1000]))
    heat = rng.integers(0, levels + 1, size=(3, size, size)).astype(np.float32)
    lesions, region = rng.random((3, size, size)) < draw(st.sampled_from([0.2, 0.5, 0.8])), window(size, margin)
    for image, lesion in zip(heat, lesions, strict=True):
        assume(image[region].any() and lesion[region].any() and not lesion[region].all())
    return heat, lesions, region


@relaxed
@given(measurable())
def test_measures_equal_the_definitions(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    heat, lesions, region = drawn
    found = localise(heat, lesions, region)
    assert found.state == ("measured",) * 3
    for image in range(3):
        expected = reference.heat_in_lesion(heat[image].tolist(), lesions[image].tolist(), region.tolist())
        assert values(found, image) == pytest.approx(
            {name: float(value) for name, value in expected.items()}, abs=1e-12
        )


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_pixel_auc_equals_scikit_learns(scale: float) -> None:
    rng = np.random.default_rng(3)
    heat = (scale * rng.gamma(0.5, size=(4, 30, 30)) * (rng.random((4, 30, 30)) < 0.7)).astype(np.float32)
    lesions = discs(4, 30)
    found = localise(heat, lesions, np.ones((30, 30), dtype=bool)).pixel_auc
    expected = [roc_auc_score(lesion.ravel(), image.ravel()) for image, lesion in zip(heat, lesions, strict=True)]
    assert_allclose(found, expected, atol=1e-6)  # some of 900 random values are near enough to be ties


# ---------------------------------------------------------------- what must not change a measure, or what it must be


@relaxed
@given(measurable(), st.floats(1e-20, 1e20))
def test_scale_of_the_heat_does_not_matter(drawn: tuple[np.ndarray, np.ndarray, np.ndarray], factor: float) -> None:
    heat, lesions, region = drawn
    plain, scaled = localise(heat, lesions, region), localise((heat * np.float32(factor)), lesions, region)
    for image in range(3):
        assert values(scaled, image) == pytest.approx(values(plain, image), rel=1e-6)


@relaxed
@given(measurable(), st.randoms(use_true_random=False))
def test_place_of_a_pixel_does_not_matter(drawn: tuple[np.ndarray, np.ndarray, np.ndarray], random: Random) -> None:
    """Mirrored, or with the region's pixels in any other order: each keeps its heat and its side of the lesion."""
    heat, lesions, region = drawn
    plain = localise(heat, lesions, region)
    order = random.sample(range(int(region.sum())), int(region.sum()))
    mixed = heat.copy(), lesions.copy()
    for planes, of in zip(mixed, (heat, lesions), strict=True):
        planes[:, region] = of[:, region][:, order]
    for changed in (mixed, (heat[:, ::-1], lesions[:, ::-1]), (heat.swapaxes(1, 2), lesions.swapaxes(1, 2))):
        found = localise(*changed, region)
        for image in range(3):
            assert values(found, image) == pytest.approx(values(plain, image), abs=1e-12)


@relaxed
@given(measurable())
def test_measures_by_rank_know_the_order_alone(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    heat, lesions, region = drawn
    found, squared, beside = (
        localise(*of, region) for of in ((heat, lesions), (heat**2, lesions), (heat, lesions ^ region))
    )
    turned = localise(heat[:, region].max() + np.float32(1) - np.where(region, heat, 0), lesions, region)
    for name in ("pointing", "best_iou", "pixel_auc"):
        assert_array_equal(getattr(squared, name), getattr(found, name), err_msg=name)
    assert_allclose(turned.pixel_auc, 1 - found.pixel_auc, atol=1e-12)
    assert_allclose(beside.pixel_auc, 1 - found.pixel_auc, atol=1e-12)
    assert_allclose(beside.inside, 1 - found.inside, atol=1e-12)
    assert (found.fixed_iou <= found.best_iou + 1e-12).all()


@relaxed
@given(measurable())
def test_what_lies_outside_the_region_does_not_matter(drawn: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    heat, lesions, region = drawn
    expected = localise(heat, lesions, region, artefacts={"hair": lesions})
    changed = localise(np.where(region, heat, 1e6), lesions | ~region, region, artefacts={"hair": lesions | ~region})
    for name in MEASURES:
        assert_array_equal(getattr(changed, name), getattr(expected, name))
    assert_array_equal(changed.on["hair"], expected.inside)
    assert_array_equal(changed.area_on["hair"], expected.area_on["hair"])


@pytest.mark.parametrize("preprocessing", [WHOLE, IMAGENET, ODD], ids=str)
def test_uniform_map_finds_what_chance_finds(preprocessing: Preprocessing) -> None:
    """Also where it comes out of a map of equal cells, or out of averaging, both of which round."""
    region, lesions = seen(preprocessing, 50), discs(3, 50)
    area = lesions[:, region].mean(axis=1)
    flat = to_image_size(np.full((3, 7, 7), 0.3, np.float32), preprocessing, size_px=50)
    drawn = np.repeat(uniform(region)[None], 3, axis=0)
    for heat in (drawn, flat, at_common_cells(drawn, region, 7), at_common_cells(flat, region, 6)):
        found = localise(heat, lesions, region)
        for name in ("inside", "pointing", "best_iou", "fixed_iou"):
            assert_allclose(getattr(found, name), area, atol=1e-7, err_msg=name)
        assert_allclose(found.density, 1, atol=1e-6)
        assert_array_equal(found.pixel_auc, 0.5)


def test_heat_that_is_the_lesion_is_perfect() -> None:
    lesions = discs(3, 30)
    found = localise(lesions.astype(np.float32), lesions, np.ones((30, 30), dtype=bool))
    for name in ("inside", "pointing", "best_iou", "fixed_iou", "pixel_auc"):
        assert_array_equal(getattr(found, name), 1, err_msg=name)
    assert_allclose(found.density, 1 / lesions.mean(axis=(1, 2)))


def test_negative_zero_is_zero() -> None:
    heat = blobs(1, 4)
    heat[0, :2] = 0
    assert values(localise(np.where(heat == 0, np.float32(-0.0), heat), MIDDLE[None], EVERYWHERE)) == values(
        localise(heat, MIDDLE[None], EVERYWHERE)
    )


def test_pieces_and_parts_come_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    heat, lesions, marks = blobs(7, 12), discs(7, 12), {"ruler": discs(7, 12, seed=9)}
    region = window(12, 1)
    whole, common = localise(heat, lesions, region, artefacts=marks), at_common_cells(heat, region, 4)
    monkeypatch.setattr(localisation_module, "_PIECE", 3)
    parts = [
        localise(heat[rows], lesions[rows], region, artefacts={"ruler": marks["ruler"][rows]})
        for rows in (slice(0, 5), slice(5, 7))
    ]
    for found in (localise(heat, lesions, region, artefacts=marks), joined(parts)):
        assert found.state == whole.state
        for name in MEASURES:
            assert_array_equal(getattr(found, name), getattr(whole, name))
        assert_array_equal(found.on["ruler"], whole.on["ruler"])
        assert_array_equal(found.area_on["ruler"], whole.area_on["ruler"])
    assert_allclose(at_common_cells(heat, region, 4), common, rtol=1e-6)


# ---------------------------------------------------------------- what cannot be measured


def test_states_say_why_nothing_is_measured() -> None:
    region = window(4, 1)
    heat = np.array([region, region, region, ~region, ~region, region], np.float32)  # the fourth and fifth are empty
    lesions = np.zeros((6, 4, 4), dtype=bool)
    lesions[0] = ~region  # outside what counts
    lesions[1] = lesions[4] = region
    lesions[2, 1, 1] = lesions[3, 1, 1] = lesions[5, 1, 1] = True
    marks = np.repeat(np.eye(4, dtype=bool)[None], 6, axis=0)
    found = localise(heat, lesions, region, artefacts={"hair": marks})
    assert found.state == ("no lesion", "all lesion", "measured", "empty map", "all lesion", "measured")
    for name in MEASURES:
        assert_array_equal(np.isnan(getattr(found, name)), [True, True, False, True, True, False], err_msg=name)
    assert_array_equal(found.on["hair"], [0.5, 0.5, 0.5, np.nan, np.nan, 0.5])  # needs heat, but no lesion
    assert_array_equal(found.area_on["hair"], 0.5)


def test_no_image_has_no_measures() -> None:
    found = localise(np.zeros((0, 4, 4), np.float32), np.zeros((0, 4, 4), dtype=bool), EVERYWHERE)
    assert found.state == ()
    assert found.inside.shape == found.pixel_auc.shape == (0,)


def test_refusals() -> None:
    heat, lesions = np.ones((2, 4, 4), np.float32), np.repeat(MIDDLE[None], 2, axis=0)
    for bad in (-1.0, np.nan, np.inf):
        wrong = heat.copy()
        wrong[1, 2, 2] = bad
        with pytest.raises(DataError, match="heat holds NaN, infinite or negative values; give the positive part"):
            localise(wrong, lesions, EVERYWHERE)
    for mask in (lesions[:1], np.ones((2, 5, 5), dtype=bool), np.ones((2, 4, 5), dtype=bool)):
        with pytest.raises(DataError, match=r"masks \(lesion\) have shape \(.*\) and maps \(2, 4, 4\); give one mask"):
            localise(heat, mask, EVERYWHERE)
        with pytest.raises(DataError, match=r"masks \(hair\) have shape"):
            localise(heat, lesions, EVERYWHERE, artefacts={"hair": mask})
    with pytest.raises(DataError, match="the region that counts has no pixel"):
        localise(heat, lesions, ~EVERYWHERE)
    with pytest.raises(DataError, match="found no image to measure a map on"):
        joined([])


# ---------------------------------------------------------------- baselines


def test_gaussian_by_hand() -> None:
    # Pixels lie 0.5 and 1.5 px off the middle; the deviation is a quarter of 4 px, then of 2 px.
    line = np.exp([-1.125, -0.125, -0.125, -1.125])
    assert_allclose(centre_gaussian(EVERYWHERE), np.outer(line, line), rtol=1e-6)
    inner = np.array([0, np.exp(-0.5), np.exp(-0.5), 0])
    assert_allclose(centre_gaussian(MIDDLE), np.outer(inner, inner), rtol=1e-6)
    assert_allclose(centre_gaussian(EVERYWHERE, sigma=0.125)[1, 1], np.exp(-1), rtol=1e-6)


def test_gaussian_is_as_wide_as_it_says() -> None:
    heat = centre_gaussian(np.ones((200, 200), dtype=bool), sigma=0.1).astype(np.float64)
    assert_array_equal(heat, heat[::-1])
    assert_array_equal(heat, heat.T)
    off = (np.arange(200) - 99.5) / 200
    assert np.sqrt((heat.sum(axis=0) * off**2).sum() / heat.sum()) == pytest.approx(0.1, rel=1e-3)


def test_baselines_refuse_what_they_cannot_fill() -> None:
    for sigma in (0.0, -1.0, np.nan):
        with pytest.raises(ConfigError, match=r"sigma is .*, not above 0; try 0\.25"):
            centre_gaussian(EVERYWHERE, sigma=sigma)
    holed, oblong = EVERYWHERE.copy(), EVERYWHERE.copy()
    holed[1, 1], oblong[0] = False, False
    for region in (holed, oblong, ~EVERYWHERE):
        with pytest.raises(DataError, match=r"the region has \d+ pixels in \d rows and \d columns, which is no filled"):
            centre_gaussian(region)
        with pytest.raises(DataError, match="no filled square"):
            at_common_cells(np.ones((1, 4, 4), np.float32), region, 2)


# ---------------------------------------------------------------- the common cells


def test_common_region_and_view() -> None:
    settings_of = [WHOLE, IMAGENET, ODD]  # they see all, 0.875 and 0.74 of the side
    assert common_view(settings_of) == ODD
    assert_array_equal(common_region(settings_of, 50), seen(IMAGENET, 50) & seen(ODD, 50))
    assert common_region([WHOLE], 5).all()
    assert common_view([WHOLE]) == WHOLE


@pytest.mark.parametrize(
    ("cells", "settings_of", "expected"),
    [
        ([(75, 75), (7, 7), (6, 6)], [WHOLE, WHOLE, WHOLE], 6),  # the paper's
        ([(75, 75), (7, 7), (6, 6)], [WHOLE, IMAGENET, IMAGENET], 6),
        ([(7, 7), (6, 6)], [IMAGENET, WHOLE], 5),  # 0.875 at 1/6 a cell: 5.25
        ([(9, 3)], [WHOLE], 3),  # the longer side of a cell
        ([(1, 1), (7, 7)], [WHOLE, Preprocessing(resize_px=100, crop_px=25)], 1),  # a quarter of a cell
    ],
)
def test_common_cells_are_as_large_as_the_largest(
    cells: list[tuple[int, int]], settings_of: list[Preprocessing], expected: int
) -> None:
    assert common_cells(cells, settings_of) == expected


def test_averaging_by_hand() -> None:
    # 3 pixels in 2 cells: the hot one has two thirds of the first. Pixels' centres lie before, between and after the
    # cells' centres.
    heat = np.zeros((1, 5, 5), np.float32)
    heat[0, 1] = 1
    heat[0, 0] = 99  # outside
    line = [0, 2 / 3, 1 / 3, 0, 0]
    assert_allclose(at_common_cells(heat, window(5, 1), 2)[0], np.outer(line, [0, 1, 1, 1, 0]), atol=1e-6)


@pytest.mark.parametrize("cells", [1, 2, 3, 5, 8])
def test_averaging_equals_asking_every_pixel(cells: int) -> None:
    heat = np.random.default_rng(cells).gamma(0.5, size=(2, 9, 9)).astype(np.float32)
    found = at_common_cells(heat, window(9, 1), cells)
    sevenths, parts = ([Fraction(k, n) for k in range(n + 1)] for n in (7, cells))
    for image, picture in zip(heat, found, strict=True):
        averaged = reference.means_over_cells(image[1:8, 1:8].tolist(), (sevenths, sevenths), parts, lean=False)
        if cells > 7:  # heat_on_image takes single points, so that a pixel of several cells is not for it
            assert picture.sum() == pytest.approx(image[1:8, 1:8].sum(), rel=0.01)
            continue
        coarse = [[float(value) for value in row] for row in averaged]
        expected = reference.heat_on_image(coarse, size_px=7, resize_px=7, crop_px=7, left_px=0)
        assert_allclose(picture[1:8, 1:8], np.array(expected, dtype=float), rtol=2e-6)
        assert not picture[~window(9, 1)].any()


def test_maps_at_common_cells_by_hand() -> None:
    # Two common cells over 1/8 to 7/8 of the side: half of cell 0 and all of cell 1, and so on. Down, the cell of 2
    # rises by (8 - 2) / 2, so the half of it that counts has 2 + 3/4: (11/8 + 8) / 1.5 / 1.5 = 25/6.
    maps = np.zeros((1, 4, 4), np.float32)
    maps[0, :2, 2] = [2, 8]
    common = Preprocessing(resize_px=8, crop_px=6)
    found = maps_at_common_cells(maps, WHOLE, common=common, cells=2, size_px=8)
    # Cells of three pixels, 1 to 3 and 4 to 6, with their centres on pixels 2 and 5.
    down, across = [0, 1, 1, 2 / 3, 1 / 3, 0, 0, 0], [0, 0, 0, 1 / 3, 2 / 3, 1, 1, 0]
    assert_allclose(found[0], 25 / 6 * np.outer(down, across), atol=1e-6)


def test_map_of_hardly_any_heat_is_not_empty() -> None:
    maps = np.zeros((2, 7, 7), np.float32)
    maps[1, 3, 3] = 1e-30
    found = maps_at_common_cells(maps, WHOLE, common=ODD, cells=5, size_px=40)
    assert not found[0].any()
    assert found[1].max() > 0


@pytest.mark.parametrize("preprocessing", [WHOLE, IMAGENET, ODD], ids=str)
@pytest.mark.parametrize(("shape", "cells"), [((7, 7), 6), ((6, 6), 6), ((8, 5), 3), ((1, 2), 2), ((3, 3), 5)])
def test_maps_at_common_cells_equal_the_definition(
    preprocessing: Preprocessing, shape: tuple[int, int], cells: int
) -> None:
    rng = np.random.default_rng(cells)
    maps = (rng.integers(0, 9, size=(2, *shape)) * (rng.random((2, *shape)) < 0.6)).astype(np.float32)
    common = ODD
    found = maps_at_common_cells(maps, preprocessing, common=common, cells=cells, size_px=30)
    resize, crop = preprocessing.resize_px or 1, preprocessing.crop_px or preprocessing.resize_px or 1
    rows, columns = (
        [(round((resize - crop) / 2) + Fraction(crop * k, n)) / resize for k in range(n + 1)] for n in shape
    )
    target = [(6 + Fraction(37 * k, cells)) / 50 for k in range(cells + 1)]
    for heat, picture in zip(maps, found, strict=True):
        averaged = reference.means_over_cells(heat.tolist(), (rows, columns), target, lean=True)
        coarse = [[float(value) for value in row] for row in averaged]
        expected = reference.heat_on_image(coarse, size_px=30, resize_px=50, crop_px=37, left_px=6)
        assert_allclose(picture, np.array([[v or 0.0 for v in row] for row in expected]), atol=1e-5)


def test_map_of_the_common_cells_stays_what_it_is() -> None:
    maps = np.random.default_rng(0).gamma(0.3, size=(5, 6, 6)).astype(np.float32)
    maps[:, 2:4] = 0
    for settings_of in (WHOLE, IMAGENET, ODD):
        found = maps_at_common_cells(maps, settings_of, common=settings_of, cells=6, size_px=40)
        assert_array_equal(found, to_image_size(maps, settings_of, size_px=40))


@pytest.mark.parametrize("common", [WHOLE, IMAGENET, ODD], ids=str)
def test_no_heat_leaks_over_an_edge_that_is_shared(common: Preprocessing) -> None:
    """By as little as rounding: cells without heat must tie with each other."""
    for cells in range(2, 14):
        coarse = np.eye(cells, dtype=np.float32)[None]
        fine = coarse.repeat(cells, axis=1).repeat(cells, axis=2)
        found = maps_at_common_cells(fine, common, common=common, cells=cells, size_px=50)
        assert_array_equal(found > 0, to_image_size(coarse, common, size_px=50) > 0)


@pytest.mark.parametrize("fine", [12, 18, 66])
def test_finer_map_wins_nothing(fine: int) -> None:
    """A network with the means of another's cells comes to the same measures; at their own cells it does not."""
    maps, lesions, region = blobs(8, fine), discs(8, 60), np.ones((60, 60), dtype=bool)
    coarse = maps.reshape(8, 6, fine // 6, 6, fine // 6).mean(axis=(2, 4))
    ours, theirs = (
        localise(maps_at_common_cells(of, WHOLE, common=WHOLE, cells=6, size_px=60), lesions, region)
        for of in (maps, coarse)
    )
    own = [localise(to_image_size(of, WHOLE, size_px=60), lesions, region) for of in (maps, coarse)]
    for name in MEASURES:
        assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-4, err_msg=name)
    assert own[0].inside.mean() > own[1].inside.mean() + 0.01
    assert_allclose(theirs.inside, own[1].inside, atol=1e-6)


def test_cells_that_straddle_lose_little() -> None:
    """Seven cells in six: the means of one and the same heat over either, within 2 points of `inside`."""
    heat, lesions, region = blobs(40, 84), discs(40, 60), np.ones((60, 60), dtype=bool)
    sevens, sixes = (heat.reshape(40, n, 84 // n, n, 84 // n).mean(axis=(2, 4)) for n in (7, 6))
    inside = [
        localise(maps_at_common_cells(maps, WHOLE, common=WHOLE, cells=6, size_px=60), lesions, region).inside.mean()
        for maps in (sevens, sixes, heat)
    ]
    assert inside[0] == pytest.approx(inside[1], abs=0.02)
    assert inside[2] == pytest.approx(inside[1], abs=1e-3)


@relaxed
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 1000))
def test_averaged_maps_keep_their_heat_and_turn_with_it(rows: int, columns: int, cells: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = (rng.gamma(0.3, size=(3, rows, columns)) * (rng.random((3, rows, columns)) < 0.5)).astype(np.float32)

    def averaged(of: np.ndarray) -> np.ndarray:
        return maps_at_common_cells(of, WHOLE, common=WHOLE, cells=cells, size_px=60)

    found = averaged(maps)
    assert found.min() >= 0
    whole = maps.mean(axis=(1, 2))
    assert_allclose(found.mean(axis=(1, 2)), whole, rtol=0.01)
    assert_array_equal(found.any(axis=(1, 2)), maps.any(axis=(1, 2)))
    for turn in (np.s_[:, ::-1], np.s_[:, :, ::-1]):
        assert_allclose(averaged(maps[turn].copy()), found[turn], atol=1e-5 * (1 + maps.max()))
    assert_allclose(averaged(maps.swapaxes(1, 2).copy()), found.swapaxes(1, 2), atol=1e-5 * (1 + maps.max()))


def test_common_cells_refuse_what_has_no_meaning() -> None:
    maps, unknown = np.ones((1, 2, 2), np.float32), Preprocessing(resize_px=None, crop_px=20)
    for call in (
        lambda: maps_at_common_cells(maps, WHOLE, common=WHOLE, cells=0, size_px=9),
        lambda: at_common_cells(np.ones((1, 4, 4), np.float32), EVERYWHERE, 0),
    ):
        with pytest.raises(ConfigError, match=r"cells is 0, not 1 or more; take localisation\.common_cells"):
            call()
    with pytest.raises(DataError, match=r"a network sees .*crop_px=37.*, less than the common view"):
        maps_at_common_cells(maps, ODD, common=WHOLE, cells=2, size_px=9)
    for call in (
        lambda: common_view([WHOLE, unknown]),
        lambda: common_cells([(2, 2)], [unknown]),
        lambda: maps_at_common_cells(maps, unknown, common=WHOLE, cells=2, size_px=9),
        lambda: common_region([unknown], 9),
    ):
        with pytest.raises(ConfigError, match="crop_px = 20 and no resize_px"):
            call()

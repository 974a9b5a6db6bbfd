"""What is drawn over an image: where, how much of it, in which colour, and that more of it is the same and more."""

import math
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from lentigo.data import artefacts
from lentigo.data.changes import CHANGES, STRENGTHS, apply_change
from lentigo.data.light import LIGHT
from lentigo.data.synthetic import draw_lesion

SKIN = np.full((200, 260, 3), (215, 165, 140), dtype=np.uint8)
# The largest share of the pixels that strength 1 and strength 5 may change, of eight images the most.
MOST = {"hair": (0.03, 0.3), "ruler": (0.01, 0.035), "ink": (0.01, 0.11), "gel_bubbles": (0.015, 0.16)}
SHARES = {**MOST, "dark_frame": (0.015, 0.45), "flash": (0.08, 0.92)}


@cache
def lesion(index: int) -> np.ndarray:
    return draw_lesion(9, index, malignant=index % 2 == 1, size_px=150).image


def drawn(image: np.ndarray, name: str, strength: int, index: int = 0) -> np.ndarray:
    return apply_change(image, name, strength, seed=1, index=index)


def touched(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return (before != after).any(axis=2)


@pytest.mark.parametrize("name", SHARES)
def test_a_bounded_share_that_grows(name: str) -> None:
    shares = np.array([
        [touched(image, drawn(image, name, s, index)).mean() for s in STRENGTHS]
        for index, image in enumerate([SKIN, *(lesion(i) for i in range(7))])
    ])  # fmt: skip
    assert (shares[:, 0] > 0).all()
    assert (np.diff(shares) > 0).all(), shares
    assert shares[:, 0].max() < SHARES[name][0]
    assert shares[:, 4].max() < SHARES[name][1]


@pytest.mark.parametrize("name", MOST)
@pytest.mark.parametrize("index", range(5))
def test_what_is_drawn_stays_and_more_comes(name: str, index: int) -> None:
    """A pixel deep under a hair, a tick, ink or a bubble at one strength is as dark or bright at the next.

    Of a stroke of ink the very end is still open, and further bubbles may lie against the rim of one.
    """
    before = drawn(SKIN, name, 1, index).astype(int)
    for strength in STRENGTHS[1:]:
        after = drawn(SKIN, name, strength, index).astype(int)
        deep = np.abs(before - SKIN).max(axis=2) > 8
        assert (np.abs(after - before).max(axis=2) <= 12)[deep].mean() > 0.93
        before = after


@pytest.mark.parametrize("name", ["hair", "ruler", "ink", "dark_frame"])
def test_dark_things_only_darken(name: str) -> None:
    """Also over black: a hair over a dermoscope's black frame is not seen."""
    image = lesion(3).copy()
    image[:40] //= 40
    for index in range(4):
        assert (drawn(image, name, 5, index) <= image).all()


@pytest.mark.parametrize("name", ["gel_bubbles", "flash"])
def test_no_lamp_shines_outside_the_field(name: str) -> None:
    image = SKIN.copy()
    image[:, 130:] = 11
    for index in range(4):
        assert (drawn(image, name, 5, index)[:, 130:] <= 11).all()


# ---------------------------------------------------------------- one by one


def test_hairs_are_thin_dark_and_many() -> None:
    """At 300 pixels: a few pixels wide and much longer, near black; strength 1 has 2, which may cross."""
    image = np.full((300, 300, 3), (215, 165, 140), dtype=np.uint8)
    for index in range(4):
        dark = touched(image, drawn(image, "hair", 1, index)).astype(int)
        pieces, count = ndimage.label(dark, structure=np.ones((3, 3)))
        assert 1 <= count <= 2
        assert drawn(image, "hair", 1, index).max(axis=2).min() < 100
        widths = ndimage.distance_transform_edt(dark)
        assert widths.max() <= 3
        assert max(np.hypot(*np.ptp(np.nonzero(pieces == n), axis=1)) for n in range(1, count + 1)) > 60
    assert CHANGES["hair"].strengths[-1] <= artefacts.MOST_HAIRS
    assert CHANGES["gel_bubbles"].strengths[-1] <= artefacts.MOST_BUBBLES


@pytest.mark.parametrize("index", range(6))
def test_ruler_has_even_ticks_along_one_edge(index: int) -> None:
    """Ticks lie within a sixth of one edge, and their starts are as far apart from one to the next."""
    image = np.full((300, 300, 3), (215, 165, 140), dtype=np.uint8)
    dark = drawn(image, "ruler", 5, index).max(axis=2) < 110
    sides = {"top": dark, "left": dark.T, "bottom": dark[::-1], "right": dark.T[::-1]}
    inside = {side: turned[:55].sum() / dark.sum() for side, turned in sides.items()}
    side = max(inside, key=inside.__getitem__)
    assert inside[side] == 1
    rows = sides[side]
    found = []
    for depth in range(5, 40):
        starts = np.flatnonzero(np.diff(rows[depth].astype(int)) == 1)
        if starts.size >= 15:
            found.append(np.diff(starts))
    assert found
    spacing = np.median(np.concatenate(found))
    assert 0.03 * 300 - 1 <= spacing <= 0.05 * 300 + 1
    assert all(np.abs(steps / spacing - np.rint(steps / spacing)).max() < 0.25 for steps in found)


def test_ink_is_violet_and_lets_the_skin_through() -> None:
    """Blue is taken least away, green most; what was darker below stays darker: light is multiplied."""
    striped = SKIN.copy()
    striped[::2] = (150, 110, 90)
    for index in range(6):
        plain, over = drawn(SKIN, "ink", 4, index), drawn(striped, "ink", 4, index)
        inked = touched(SKIN, plain)
        kept = (LIGHT[plain] / LIGHT[SKIN])[inked]
        assert (kept[:, 2] >= kept[:, 0] - 0.01).all()
        assert kept[:, 2].mean() > 1.15 * kept[:, 1].mean()
        assert kept.min() < 0.5
        through = (LIGHT[over] / LIGHT[striped])[inked]
        assert np.abs(through - kept).max() < 0.02


def test_ink_lies_on_a_ring_around_the_middle() -> None:
    for index in range(6):
        y, x = np.nonzero(touched(SKIN, drawn(SKIN, "ink", 5, index)))
        away = np.hypot(x - 129.5, y - 99.5) / 200
        assert away.min() > 0.2
        # 320 degrees of 360 and the pen's width; the canvas may cut off a part of it.
        turned = np.unique(np.round(np.degrees(np.arctan2(y - 99.5, x - 129.5)) / 10))
        assert turned.size > 25


def test_bubbles_have_dark_rims_and_bright_insides() -> None:
    for index in range(4):
        found = drawn(SKIN, "gel_bubbles", 4, index).astype(int) - SKIN
        assert found.max() > 35
        assert found.min() < -35


@pytest.mark.parametrize("shape", [(120, 120), (90, 120), (131, 77)])
def test_dark_frame_darkens_exactly_outside_its_circle(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(60, 256, (*shape, 3), dtype=np.uint8)

    class Middle(np.random.Generator):
        def uniform(self, low: float = 0, high: float = 1, size: int | None = None) -> np.ndarray:  # type: ignore[override]
            assert (low, high, size) == (-0.03, 0.03, 2)
            return np.zeros(2)

    found = artefacts.draw_dark_frame(image, 0.7, Middle(np.random.PCG64(0)))
    y, x = np.mgrid[: shape[0], : shape[1]]
    away = np.hypot(x - (shape[1] - 1) / 2, y - (shape[0] - 1) / 2) - 0.35 * math.hypot(*shape)
    fade = max(0.012 * min(shape), 1)
    assert np.array_equal(found[away <= -1e-3], image[away <= -1e-3])
    assert np.array_equal(found[away >= fade], np.rint(0.02 * image[away >= fade].astype(float)))
    between = (away > 0.02 * fade) & (away < fade)
    assert between.any()
    assert (found[between] < image[between]).all()


def test_flash_is_white_in_its_middle_and_fades() -> None:
    """It lies where the draws put it, at every strength, and is white for as many deviations as the sum exceeds 1."""
    for index in range(4):
        centres = []
        for strength in STRENGTHS:
            found = drawn(SKIN, "flash", strength, index)
            white = (found == 255).all(axis=2)
            y, x = np.nonzero(white)
            centres.append((y.mean(), x.mean()))
            sigma = CHANGES["flash"].strengths[strength - 1] * 200
            assert 0.5 * sigma < math.sqrt(white.sum() / math.pi) < 2.2 * sigma
            assert (found >= SKIN).all()
        assert np.abs(np.array(centres) - centres[0]).max() < 6

"""Laying one picture over another: maps by hand, known warps recovered, different pictures told apart."""

import itertools
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lentigo.data.alignment import (
    _DISC,
    _NOISE,
    Alignment,
    _after,
    _details,
    _in_pixels,
    _in_shares,
    _laid_over,
    _lit,
    _local_correlation,
    align,
    align_closeups,
    closeup,
    first_guess,
    grey,
    inverse,
)
from lentigo.data.descriptor import Window
from lentigo.data.synthetic import draw_lesion
from tests import reference

relaxed = settings(max_examples=60, deadline=None, derandomize=True, database=None)
SIDE = 160
IDENTITY = np.eye(2, 3)


def lesion(index: int, size_px: int = 320) -> np.ndarray:
    """Without a black frame; with the hair, skin and pigment that a lesion is known by."""
    for number in range(index * 100, index * 100 + 100):
        drawn = draw_lesion(8, number, malignant=index % 2 == 1, size_px=size_px)
        if not drawn.parameters.frame:
            return drawn.image
    raise AssertionError("a hundred frames in a row")


def framed(image: np.ndarray, radius: float) -> np.ndarray:
    """Black outside a circle of this radius, a share of the side."""
    places = (np.arange(len(image)) + 0.5) / len(image) - 0.5
    inside = places[:, None] ** 2 + places**2 <= radius**2
    return np.ascontiguousarray(image * inside[..., None].astype(np.uint8))


def warped(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The picture whose place p shows what `image` shows at matrix(p), both as shares of the sides."""
    warp = _in_pixels(matrix, len(image))
    flags = cv2.WARP_INVERSE_MAP | cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(image, warp, image.shape[:2], flags=flags, borderMode=cv2.BORDER_REFLECT))


def turn_and_size(degrees: float, size: float, right: float = 0.0, down: float = 0.0) -> np.ndarray:
    """About the middle, then shifted."""
    cos, sin = (size * way(math.radians(degrees)) for way in (math.cos, math.sin))
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, np.array([0.5 + right, 0.5 + down]) - linear @ [0.5, 0.5]])


def at(matrix: np.ndarray, *place: float) -> list[float]:
    return list(matrix[:, :2] @ place + matrix[:, 2])


def off_px(found: np.ndarray, true: np.ndarray, side_px: int) -> float:
    """The largest distance between two maps' images of places in the inner half of the picture."""
    places = np.stack(np.meshgrid(*[np.linspace(0.25, 0.75, 5)] * 2)).reshape(2, -1)
    moved = [matrix[:, :2] @ places + matrix[:, 2:] for matrix in (found, true)]
    return float(np.linalg.norm(moved[0] - moved[1], axis=0).max() * side_px)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [lesion(index) for index in range(8)]


# ---------------------------------------------------------------- maps


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_first_guess_names_the_pixel_that_moved(quarters: int, mirrored: bool) -> None:
    """Upside down where mirrored, then turned by quarters from right to below; by numpy, pixel by pixel."""
    one = np.arange(25).reshape(5, 5)
    other = np.rot90(one[::-1] if mirrored else one, -quarters)
    guess = first_guess(Window(), quarters * math.pi / 2, mirrored)
    for row in range(5):
        for column in range(5):
            x, y = at(guess, (column + 0.5) / 5, (row + 0.5) / 5)
            assert one[int(y * 5), int(x * 5)] == other[row, column]


@pytest.mark.parametrize(
    ("window", "degrees", "mirrored", "place", "expected"),
    [
        (Window(), 0, False, (0.2, 0.7), (0.2, 0.7)),
        (Window(), 90, False, (0.5, 1.0), (1.0, 0.5)),  # what is on the right comes to lie below
        (Window(), 90, True, (0.5, 1.0), (1.0, 0.5)),  # the right stays in place as the picture is put upside down
        (Window(), 90, True, (0.0, 0.5), (0.5, 0.0)),  # what is above goes below, then to the left
        (Window(), 0, True, (0.2, 0.7), (0.2, 0.3)),
        (Window(), 180, False, (0.2, 0.7), (0.8, 0.3)),
        (Window(), 180, True, (0.2, 0.7), (0.8, 0.7)),
        (Window(x=0.45, y=0.55, width=0.9, height=0.9), 0, False, (0.0, 0.0), (0.0, 0.1)),
        (Window(x=0.45, y=0.55, width=0.9, height=0.9), 0, False, (1.0, 1.0), (0.9, 1.0)),
        (Window(x=0.45, y=0.55, width=0.9, height=0.9), 270, False, (0.0, 0.0), (0.9, 0.1)),
        (Window(width=0.75), 0, False, (0.0, 0.3), (0.125, 0.3)),
        (Window(width=0.75), 90, False, (0.5, 1.0), (0.875, 0.5)),  # cut first, then turned
        (Window(width=0.75), 45, False, (0.5, 0.5), (0.5, 0.5)),
        (Window(gain=1.2), 0, False, (0.2, 0.7), (0.2, 0.7)),
    ],
)
def test_first_guess_by_hand(
    window: Window, degrees: float, mirrored: bool, place: tuple[float, float], expected: tuple[float, float]
) -> None:
    guess = first_guess(window, math.radians(degrees), mirrored)
    assert at(guess, *place) == pytest.approx(list(expected), abs=1e-12)


def test_maps_in_pixels_by_hand() -> None:
    assert np.array_equal(_in_pixels(IDENTITY, 100), IDENTITY)
    shifted = np.array([[1.0, 0, 0.1], [0, 1, -0.02]])
    assert _in_pixels(shifted, 100) == pytest.approx(np.array([[1, 0, 10], [0, 1, -2]]), abs=1e-5)
    half = np.array([[0.5, 0, 0], [0, 0.5, 0]])  # pixel 0, centre 0.5, is at 0.25 pixels: index -0.25
    assert _in_pixels(half, 100) == pytest.approx(np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]]), abs=1e-6)
    about_the_middle = turn_and_size(90, 1)  # of 4 pixels a side, index 1.5
    assert _in_pixels(about_the_middle, 4) @ [1.5, 1.5, 1] == pytest.approx([1.5, 1.5], abs=1e-6)


maps = st.builds(
    lambda linear, shift: np.column_stack([np.array(linear).reshape(2, 2) + np.eye(2) * 2, shift]),
    st.lists(st.floats(-0.9, 0.9), min_size=4, max_size=4),
    st.lists(st.floats(-1, 1), min_size=2, max_size=2),
)


@relaxed
@given(outer=maps, inner=maps, x=st.floats(-1, 1), y=st.floats(-1, 1))
def test_maps_compose_and_invert(outer: np.ndarray, inner: np.ndarray, x: float, y: float) -> None:
    assert at(_after(outer, inner), x, y) == pytest.approx(at(outer, *at(inner, x, y)), abs=1e-9)
    assert at(inverse(outer), *at(outer, x, y)) == pytest.approx([x, y], abs=1e-8)
    assert _in_shares(_in_pixels(outer, 48), 48) == pytest.approx(outer, abs=1e-5)


# ---------------------------------------------------------------- grey values and closeups


def test_grey_by_hand() -> None:
    """0.299 red, 0.587 green, 0.114 blue, after the mean over each area."""
    image = np.zeros((4, 8, 3), dtype=np.uint8)
    image[:2, :4] = [100, 150, 200]
    image[2:, 4:, 1] = [[0, 40, 80, 120], [0, 40, 80, 120]]
    expected = [[29.9 + 88.05 + 22.8, 0], [0, 60 * 0.587]]
    assert grey(image, 2) == pytest.approx(np.array(expected), abs=0.51)


@pytest.mark.parametrize("downwards", [False, True])
@pytest.mark.parametrize(("top", "bottom", "left", "right"), [(0, 300, 0, 300), (60, 270, 30, 285), (0, 300, 120, 300)])
def test_a_closeup_knows_where_it_is(top: int, bottom: int, left: int, right: int, downwards: bool) -> None:
    """Grey rises from 60 to 240 over the whole picture: each closeup's grey value tells its place."""
    ramp = np.tile(60 + 180 * (np.arange(300) + 0.5) / 300, (300, 1))
    image = np.zeros((300, 300, 3), dtype=np.uint8)
    image[top:bottom, left:right] = (ramp.T if downwards else ramp)[top:bottom, left:right, None]
    close = closeup(image, SIDE)
    shown = close.grey > 55
    assert shown.mean() > 0.5
    places = (np.arange(SIDE) + 0.5) / SIDE
    across, down = np.meshgrid(places, places)
    there = close.place[:, :2] @ np.stack([across[shown], down[shown]]) + close.place[:, 2:]
    level = 60 + 180 * there[int(downwards)]
    inner = cv2.erode(shown.astype(np.uint8), np.ones((7, 7), np.uint8))[shown] > 0
    assert np.abs(close.grey[shown] - level)[inner].max() < 2


def test_a_closeup_holds_all_but_the_frame() -> None:
    image = np.zeros((320, 320, 3), dtype=np.uint8)
    image[80:240, 96:256] = 180  # lit 0.25 to 0.75 of the height, 0.3 to 0.8 of the width
    close = closeup(image, SIDE)
    left_top, right_bottom = at(close.place, 0, 0), at(close.place, 1, 1)
    # The border of 6 % of the side around a frame counts as frame.
    assert left_top == pytest.approx([0.36, 0.31], abs=0.02)
    assert right_bottom == pytest.approx([0.74, 0.69], abs=0.02)
    assert close.place[0, 0] == close.place[1, 1]  # square


@pytest.mark.parametrize("level", [0, 34])
def test_nothing_lit_is_shown_whole(level: int) -> None:
    close = closeup(np.full((50, 50, 3), level, dtype=np.uint8), 32)
    assert np.array_equal(close.place, IDENTITY)
    assert np.array_equal(close.grey, np.full((32, 32), level))


@pytest.mark.parametrize("size", [1, 4, 10, 11, 15, 37])
def test_any_lit_part_of_a_small_picture_has_a_closeup(size: int) -> None:
    """Also one that is smaller than a pixel once the border of the frame is off."""
    for reach in range(1, size + 1):
        for start in {0, size // 3, (size - reach) // 2}:
            image = np.zeros((size, size, 3), dtype=np.uint8)
            image[start : start + reach, start : start + reach] = 200
            close = closeup(image, SIDE)
            assert close.grey.shape == (SIDE, SIDE)
            assert 0 < close.place[0, 0] <= 1


# ---------------------------------------------------------------- frames


def disc(side: int) -> np.ndarray:
    places = (np.arange(side) + 0.5) / side - 0.5
    return places[:, None] ** 2 + places**2 <= _DISC**2


def test_all_of_a_bright_picture_is_lit() -> None:
    assert np.array_equal(_lit(np.full((SIDE, SIDE), 120, np.float32)), disc(SIDE).astype(np.uint8))


def test_a_frame_and_its_border_are_not_lit() -> None:
    picture = np.full((100, 100), 150, np.float32)
    picture[:, :30] = 10
    lit = _lit(picture)
    assert not lit[:, :34].any()  # grown by 0.12 of the side over two: 6 pixels
    assert np.array_equal(lit[:, 38:] > 0, disc(100)[:, 38:])


def test_a_dark_lesion_in_the_middle_is_lit() -> None:
    picture = np.full((100, 100), 150, np.float32)
    picture[35:65, 30:70] = 5
    assert np.array_equal(_lit(picture) > 0, disc(100))


def test_a_hair_from_the_edge_is_lit_and_so_is_the_lesion_it_leads_to() -> None:
    picture = np.full((100, 100), 150, np.float32)
    picture[48:51] = 5
    picture[35:65, 30:70] = 5
    assert np.array_equal(_lit(picture) > 0, disc(100))


def test_a_lesion_that_reaches_the_edge_counts_as_frame() -> None:
    picture = np.full((100, 100), 150, np.float32)
    picture[30:70, :60] = 5
    lit = _lit(picture)
    assert not lit[30:70, :60].any()
    assert lit[50, 80] == 1


@pytest.mark.parametrize("radius", [0.3, 0.4])
def test_two_lesions_in_one_frame_are_not_alike(pictures: list[np.ndarray], radius: float) -> None:
    """Nor is their frame taken for a detail that both have; one lesion in two frames is alike."""
    close = [closeup(framed(image, radius), SIDE) for image in pictures]
    for one, other in itertools.pairwise(close):
        found = align_closeups(one, other, IDENTITY, steps=30)
        assert found is None or found.likeness < 0.3
    for image in pictures:
        found = align(grey(image, SIDE), grey(framed(image, radius), SIDE), IDENTITY, steps=30)
        assert found is not None
        assert found.likeness > 0.9


# ---------------------------------------------------------------- details and their correlation


def test_details_are_of_lit_pixels_alone() -> None:
    rng = np.random.default_rng(0)
    picture = rng.uniform(50, 200, (48, 48)).astype(np.float32)
    lit = disc(48).astype(np.uint8)
    painted = np.where(lit > 0, picture, np.float32(9))
    assert _details(painted, lit, 1 / 16) == pytest.approx(_details(picture, lit, 1 / 16), abs=1e-3)
    assert not _details(picture, lit, 1 / 16)[lit == 0].any()
    assert np.abs(_details(np.full((48, 48), 80, np.float32), lit, 1 / 16)).max() < 1e-3


@pytest.mark.parametrize("side", [16, 24])
def test_local_correlation_is_that_of_the_definition(side: int) -> None:
    rng = np.random.default_rng(side)
    one = rng.normal(size=(side, side)).astype(np.float32) * 5
    other = (one + rng.normal(size=(side, side)) * 5).astype(np.float32)
    other[:, : side // 3] = 0
    compared = rng.random((side, side)) < 0.7
    expected = reference.local_correlation(one.tolist(), other.tolist(), compared.tolist(), 2, _NOISE)
    assert _local_correlation(one, other, compared) == pytest.approx(expected, abs=1e-4)


def test_local_correlation_by_hand() -> None:
    """A chess board of 1 and -1 in boxes of 5 x 5 at 16 x 16: what is opposite has -1, but for the noise of 0.5."""
    board = np.where(np.add.outer(np.arange(16), np.arange(16)) % 2, 1, -1).astype(np.float32)
    inner = np.zeros((16, 16), dtype=bool)
    inner[4:9, 4:9] = True
    inner_only = np.zeros((16, 16), dtype=bool)
    inner_only[6, 6] = True
    assert _local_correlation(board, board, inner_only) == 0  # a single pixel has no variance
    # Of 25 pixels 13 are alike: mean 1 / 25, variance 1 - 1 / 625. At the rim fewer: the definition's test has those.
    whole = np.ones((16, 16), dtype=bool)
    for sign in (1, -1):
        found = _local_correlation(board * 100, sign * board * 100, whole)
        assert found == pytest.approx(sign, abs=1e-3)
    variance = 1 - 1 / 625
    assert _local_correlation(board, board, whole) == pytest.approx(variance / (variance + 0.25), abs=2e-3)


# ---------------------------------------------------------------- align


@pytest.mark.parametrize(
    "true",
    [
        turn_and_size(3, 0.97, 0.02, -0.01),
        turn_and_size(-3, 1.03, -0.015, 0.02),
        turn_and_size(0, 1),
        np.array([[0.97, 0.02, 0.01], [-0.03, 1.02, 0.0]]),
    ],
)
def test_a_known_map_is_found_again(pictures: list[np.ndarray], true: np.ndarray) -> None:
    for image in pictures:
        found = align(grey(image, SIDE), grey(warped(image, true), SIDE), IDENTITY, steps=60)
        assert found is not None
        assert off_px(found.matrix, true, SIDE) < 0.5
        assert found.likeness > 0.8


def test_the_same_picture_lies_in_place(pictures: list[np.ndarray]) -> None:
    for image in pictures:
        found = align(grey(image, SIDE), grey(image, SIDE), IDENTITY, steps=30)
        assert found is not None
        assert 0.85 < found.likeness <= 1  # below 1 where the skin is as smooth as the noise allowed for
        assert off_px(found.matrix, IDENTITY, SIDE) < 0.1


@pytest.mark.parametrize(("contrast", "brightness"), [(0.8, 0.0), (1.1, 0.0), (1.0, 20.0), (0.7, 30.0)])
def test_light_and_contrast_do_not_matter(pictures: list[np.ndarray], contrast: float, brightness: float) -> None:
    for image in pictures[:4]:
        one = grey(image, SIDE)
        found = align(one, one * np.float32(contrast) + np.float32(brightness), IDENTITY, steps=30)
        assert found is not None
        assert found.likeness > 0.8


def test_two_pictures_are_not_alike(pictures: list[np.ndarray]) -> None:
    """Whatever the guess; and most of them can be laid over each other at all, so that this says something."""
    close = [grey(image, SIDE) for image in pictures[:6]]
    guesses = [first_guess(Window(), 0.0, False), first_guess(Window(), 1.0, True)]
    pairs = list(itertools.permutations(close, 2))
    found = [align(*pair, guess, steps=15) for pair in pairs for guess in guesses]
    laid = [alignment.likeness for alignment in found if alignment is not None]
    assert len(laid) > len(found) / 4
    assert max(laid) < 0.3
    assert np.mean(laid) < 0.1


def flat(level: int) -> np.ndarray:
    return np.full((SIDE, SIDE), level, np.float32)


@pytest.mark.parametrize("level", [0, 20, 120, 255])
def test_one_colour_is_like_nothing(pictures: list[np.ndarray], level: int) -> None:
    """Neither a number that is none, nor a warning (which would fail the test)."""
    for other in (flat(level), flat(100), grey(pictures[0], SIDE)):
        for one, two in ((flat(level), other), (other, flat(level))):
            found = align(one, two, IDENTITY, steps=20)
            assert found is None or (np.isfinite(found.likeness) and found.likeness < 0.1)


@pytest.mark.parametrize(
    "guess",
    [
        turn_and_size(0, 1, right=5),  # nothing overlaps
        turn_and_size(0, 0.3),  # enlarged more than any copy is
        turn_and_size(0, 2.5),
        np.array([[1.6, 0, -0.3], [0, 0.8, 0.1]]),  # squeezed to half its width
    ],
)
def test_a_guess_that_no_copy_has_is_refused(pictures: list[np.ndarray], guess: np.ndarray) -> None:
    assert align(grey(pictures[0], SIDE), grey(warped(pictures[0], guess), SIDE), guess, steps=5) is None


def test_closeups_give_the_map_between_whole_pictures(pictures: list[np.ndarray]) -> None:
    """Frames of two sizes off the middle: each closeup shows another part."""
    true = turn_and_size(2, 0.95, 0.01, 0.01)
    for image in pictures[:4]:
        one, other = image.copy(), warped(image, true)
        one[:60], one[:, :40] = 0, 0
        other[280:], other[:, :60] = 0, 0
        close = closeup(one, SIDE), closeup(other, SIDE)
        assert np.abs(close[0].place - close[1].place).max() > 0.05
        found = align_closeups(*close, turn_and_size(1, 0.96), steps=60)
        assert isinstance(found, Alignment)
        assert off_px(found.matrix, true, SIDE) < 0.5
        assert found.likeness > 0.8


def test_closeups_that_do_not_meet_are_refused(pictures: list[np.ndarray]) -> None:
    close = closeup(pictures[0], SIDE)
    assert align_closeups(close, close, turn_and_size(0, 1, right=5), steps=5) is None


def test_laid_over_takes_pixels_from_where_the_map_says() -> None:
    one = np.arange(64, dtype=np.float32).reshape(8, 8)
    lit = np.ones((8, 8), dtype=np.uint8)
    lit[:, 0] = 0
    moved, seen = _laid_over(one, lit, np.array([[1, 0, 0.25], [0, 1, 0]]))  # two pixels further right
    assert np.array_equal(moved[:, :6], one[:, 2:])
    assert np.array_equal(moved[:, 6:], np.repeat(one[:, 7:], 2, axis=1))  # the edge goes on
    assert seen.tolist() == [[1] * 6 + [0] * 2] * 8
    moved, seen = _laid_over(one, lit, first_guess(Window(), math.pi / 2, False))
    assert moved == pytest.approx(np.rot90(one, -1), abs=1e-3)
    assert np.array_equal(seen, np.rot90(lit, -1))

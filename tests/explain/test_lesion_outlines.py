"""Outlines around planes of probability: which there are, what is said of them and which is chosen, all by hand."""

import math

import numpy as np
import pytest

from lentigo.explain import lesion_outlines as module
from lentigo.explain.lesion_outlines import (
    LEVELS,
    best_outline,
    expected_jaccard,
    jaccard,
    outline_features,
    outlines,
)
from lentigo.explain.lesion_pixels import SIDE_PX, SmallPicture
from lentigo.explain.lesion_weights import OUTLINE

ALL = np.ones((SIDE_PX, SIDE_PX), dtype=bool)


def plane(**squares: tuple[float, int, int, int]) -> np.ndarray:
    """Squares of a probability, at a row and a column, of a side; later ones over earlier ones."""
    values = np.zeros((SIDE_PX, SIDE_PX), dtype=np.float32)
    for probability, row, column, side in squares.values():
        values[row : row + side, column : column + side] = probability
    return values


def picture(seen: np.ndarray = ALL) -> SmallPicture:
    nothing = np.zeros((SIDE_PX, SIDE_PX, 3), dtype=np.float32)
    return SmallPicture(absorbed=nothing, soft=nothing, seen=seen, box=(0, SIDE_PX, 0, SIDE_PX))


def areas(probability: np.ndarray, seen: np.ndarray = ALL) -> list[int]:
    return [int(inside.sum()) for inside in outlines(probability, seen)]


def test_every_level_that_differs_gives_an_outline() -> None:
    """Squares lose the four pixels of their corners."""
    assert areas(plane(wide=(0.35, 30, 30, 36), core=(0.95, 40, 40, 16))) == [36**2 - 4, 16**2 - 4]


def test_parts_that_stand_out_alike_are_outlined_alone_and_together() -> None:
    assert areas(plane(main=(0.95, 40, 30, 16), other=(0.95, 40, 56, 12))) == [252, 252 + 140]


def test_a_part_that_stands_out_less_is_left_out() -> None:
    assert areas(plane(main=(0.95, 38, 38, 20), other=(0.95, 45, 62, 6))) == [396]


def test_of_parts_of_one_size_the_one_nearer_to_the_middle_is_the_main_one() -> None:
    main = outlines(plane(far=(0.95, 4, 4, 16), near=(0.95, 40, 40, 16)), ALL)[0]
    assert main[48, 48]
    assert not main[10, 10]


def test_holes_belong_to_an_outline() -> None:
    assert areas(plane(ring=(0.95, 30, 30, 30), hole=(0.0, 40, 40, 10))) == [896]


def test_what_is_not_seen_is_not_outlined() -> None:
    seen = ALL.copy()
    seen[:, :48] = False
    (inside,) = outlines(plane(square=(0.95, 38, 38, 20)), seen)
    assert not inside[:, :48].any()
    assert inside.sum() == 10 * 20 - 4


def test_specks_and_nothing_have_no_outline() -> None:
    for probability in (plane(), plane(speck=(0.95, 48, 48, 3))):
        assert outlines(probability, ALL) == []
        inside, confidence = best_outline(picture(), [probability])
        assert not inside.any()
        assert confidence == 0


def test_what_is_said_of_an_outline_is_as_by_hand() -> None:
    """The left half of the picture: 0.75 inside, 0.25 outside, after a first look that saw 0.75 everywhere."""
    inside = np.zeros_like(ALL)
    inside[:, :48] = True
    last = np.where(inside, np.float32(0.75), np.float32(0.25))
    (told,) = outline_features([inside], picture(), [np.full_like(last, 0.75), last])
    assert told == pytest.approx(
        {
            "mass": 0.5,
            "steady": 0.5,  # more likely than not: first everywhere, then in one half
            "fits_first": 0.75 / 1.75,
            "fits_last": 0.75 / 1.25,
            "far": math.sqrt(2 / 3 * (1 - 1 / 96**2)),  # mean square of both coordinates, each a third
            "solid": 1.0,
            "cut": (2 * 96 + 4 * 46) / (2 * (47 + 95) + 1),  # two pixels deep along three sides
            "step": 0.5,
            "around": 0.25,
        }
    )


def test_rims_are_a_pixel_deep_and_what_is_around_six() -> None:
    """The picture's own edge is a rim as well: 0.5 along its left side, 0.9 along the others."""
    inside = np.zeros_like(ALL)
    inside[:, :48] = True
    last = np.where(inside, np.float32(0.9), np.float32(0.0))
    last[:, 0], last[:, 48], last[:, 49:54] = 0.5, 0.2, 0.4
    (told,) = outline_features([inside], picture(), [last])
    assert told["step"] == pytest.approx((96 * 0.5 + 188 * 0.9) / 284 - 0.2)
    assert told["around"] == pytest.approx((0.2 + 5 * 0.4) / 6)


def test_of_the_whole_picture_nothing_is_around() -> None:
    (told,) = outline_features([ALL], picture(), [np.full(ALL.shape, 0.5, dtype=np.float32)] * 2)
    assert (told["step"], told["around"], told["fits_last"]) == pytest.approx((0.0, 0.5, 0.5))


def test_two_squares_fill_half_of_their_hull() -> None:
    inside = plane(one=(1.0, 40, 20, 10), other=(1.0, 40, 40, 10)) > 0
    (told,) = outline_features([inside], picture(), [inside.astype(np.float32)])
    assert told["solid"] == pytest.approx(200 / 300)
    assert told["cut"] == 0


def test_the_expected_index_is_a_weighted_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTLINE", {"one": 0.5, "a": 2.0, "b": -1.0})
    assert expected_jaccard({"a": 0.1, "b": 0.3}) == pytest.approx(0.4)


def test_all_that_is_said_has_a_weight() -> None:
    (told,) = outline_features([ALL], picture(), [np.full(ALL.shape, 0.5, dtype=np.float32)])
    assert {*told, "one"} == set(OUTLINE)


@pytest.mark.parametrize(("far", "side"), [(1.0, 36), (-1.0, 16)])
def test_the_outline_with_the_greatest_expectation_is_chosen(
    monkeypatch: pytest.MonkeyPatch, far: float, side: int
) -> None:
    monkeypatch.setattr(module, "OUTLINE", dict.fromkeys(OUTLINE, 0.0) | {"one": 0.5, "far": far})
    probability = plane(wide=(0.35, 30, 30, 36), core=(0.95, 40, 40, 16))
    inside, confidence = best_outline(picture(), [probability])
    assert inside.sum() == side**2 - 4
    (told,) = outline_features([inside], picture(), [probability])
    assert confidence == pytest.approx(0.5 + far * told["far"])


@pytest.mark.parametrize(("one", "confidence"), [(7.0, 1.0), (-7.0, 0.0)])
def test_confidence_stays_in_range(monkeypatch: pytest.MonkeyPatch, one: float, confidence: float) -> None:
    monkeypatch.setattr(module, "OUTLINE", dict.fromkeys(OUTLINE, 0.0) | {"one": one})
    inside, found = best_outline(picture(), [plane(square=(0.95, 38, 38, 20))])
    assert found == confidence
    assert inside.any()


def test_jaccard_of_halves_and_of_nothing() -> None:
    left, top = np.zeros_like(ALL), np.zeros_like(ALL)
    left[:, :48], top[:48] = True, True
    assert jaccard(left, top) == pytest.approx(1 / 3)
    assert jaccard(~ALL, ~ALL) == 0


def test_levels_rise_within_probabilities() -> None:
    assert list(LEVELS) == sorted(set(LEVELS))
    assert 0 < LEVELS[0] < LEVELS[-1] < 1

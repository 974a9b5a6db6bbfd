"""Windows and parts against slow, obvious versions; spots on made pictures whose numbers are known."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from lentigo.deploy import lesion_spot
from lentigo.deploy.lesion_spot import (
    CENTRE_WEIGHT,
    box_sums,
    described,
    field_of_view,
    filled,
    find_spot,
    grown,
    highest,
    light_of,
    lowest,
    parts,
    shrunk,
    spot_depth,
)

SKIN, LESION = (200, 150, 130), (90, 60, 50)
ALL_SEEN = np.ones((128, 128), dtype=bool)


def picture(*discs: tuple[float, float, float], colour: tuple[int, int, int] = LESION) -> np.ndarray:
    """Skin with discs on it: row, column, radius in pixels of 128."""
    image = np.full((128, 128, 3), SKIN, dtype=np.uint8)
    for row, column, radius in discs:
        image[disc(row, column, radius)] = colour
    return image


def disc(row: float, column: float, radius: float, side: int = 128) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return (y - row) ** 2 + (x - column) ** 2 <= radius**2


def over_windows(plane: np.ndarray, reach: int, function: Callable[..., int]) -> np.ndarray:
    """The definition: each pixel's square, as far as it lies in the plane."""
    height, width = plane.shape
    result = np.zeros_like(plane)
    for y in range(height):
        for x in range(width):
            result[y, x] = function(
                plane[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].ravel().tolist()
            )
    return result


def flood(mask: np.ndarray) -> np.ndarray:
    """Parts by flood fill from each pixel that has no number yet, row by row."""
    labels, count = np.zeros(mask.shape, dtype=np.int64), 0
    for seed in np.argwhere(mask).tolist():
        if labels[tuple(seed)]:
            continue
        count += 1
        todo = [seed]
        while todo:
            y, x = todo.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and mask[y, x] and not labels[y, x]:
                labels[y, x] = count
                todo += [[y + 1, x], [y - 1, x], [y, x + 1], [y, x - 1]]
    return labels


# ---------------------------------------------------------------- windows and parts


@pytest.mark.parametrize("reach", [0, 1, 2, 5])
@pytest.mark.parametrize("shape", [(9, 9), (6, 13)])
def test_windows_equal_their_definition(reach: int, shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(reach).integers(-50, 50, shape)
    assert np.array_equal(box_sums(plane, reach), over_windows(plane, reach, sum))
    assert np.array_equal(highest(plane, reach), over_windows(plane, reach, max))
    assert np.array_equal(lowest(plane, reach), over_windows(plane, reach, min))


def test_a_mask_grows_by_a_square_and_shrinks_by_it() -> None:
    mask = np.zeros((7, 7), dtype=bool)
    mask[3, 3] = True
    square = np.zeros((7, 7), dtype=bool)
    square[1:6, 1:6] = True
    assert np.array_equal(grown(mask, 2), square)
    assert np.array_equal(shrunk(square, 2), mask)
    full = np.ones((7, 7), dtype=bool)
    assert shrunk(full, 1).all()  # the mask goes on beyond the picture
    assert np.array_equal(shrunk(full, 1, beyond=False), square)


def test_parts_are_counted_as_one_reads() -> None:
    mask = np.array([[0, 1, 0, 1, 0], [1, 1, 0, 1, 1], [0, 0, 1, 0, 0], [1, 0, 1, 1, 0]], dtype=bool)
    want = [[0, 1, 0, 2, 0], [1, 1, 0, 2, 2], [0, 0, 3, 0, 0], [4, 0, 3, 3, 0]]  # corners alone do not join
    assert parts(mask).tolist() == want


@pytest.mark.parametrize("share", [0.3, 0.5, 0.6, 0.75])  # about 0.6 the parts are largest and most tangled
def test_parts_equal_a_flood_fill(share: float) -> None:
    for seed in range(8):
        mask = np.random.default_rng(seed).random((17, 23)) < share
        assert np.array_equal(parts(mask), flood(mask))


def test_parts_of_all_and_of_nothing() -> None:
    assert parts(np.ones((4, 5), dtype=bool)).tolist() == [[1] * 5] * 4
    assert parts(np.zeros((4, 5), dtype=bool)).tolist() == [[0] * 5] * 4


def test_holes_are_filled_and_bays_are_not() -> None:
    ring = disc(10, 10, 8, side=24) & ~disc(10, 10, 4, side=24)
    assert np.array_equal(filled(ring), disc(10, 10, 8, side=24))
    ring[10, 14:] = False  # a way out
    assert np.array_equal(filled(ring), ring)
    for place in ((0, 5), (10, 5), (5, 0), (5, 10)):  # each edge is open air
        notched = np.ones((11, 11), dtype=bool)
        notched[place] = False
        assert np.array_equal(filled(notched), notched)
    assert filled(np.ones((3, 3), dtype=bool)).all()
    assert not filled(np.zeros((3, 3), dtype=bool)).any()


# ---------------------------------------------------------------- light, frame and depth


def test_light_is_two_parts_red_five_green_one_blue() -> None:
    small = np.array([[[10, 20, 30], [255, 255, 255]], [[0, 0, 1], [1, 0, 0]]], dtype=np.uint8)
    assert light_of(small).tolist() == [[150, 2040], [1, 2]]


def test_a_black_corner_is_frame_with_its_dusk() -> None:
    light = np.full((128, 128), 1000)
    light[:10, :10] = 319
    seen = field_of_view(light)
    assert not seen[:13, :13].any()
    assert seen[13:, :].all()
    assert seen[:, 13:].all()
    light[:10, :10] = 320  # not black enough
    assert field_of_view(light).all()


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 127), (127, 0), (127, 127)])
def test_every_corner_counts(row: int, column: int) -> None:
    light = np.full((128, 128), 1000)
    light[row, column] = 0
    assert (~field_of_view(light)).sum() == 16


def test_a_dark_spot_is_no_frame_even_at_the_edge() -> None:
    light = np.full((128, 128), 1000)
    light[40:80, :30] = 0
    light[90:100, 90:100] = 0
    assert field_of_view(light).all()


def test_a_dark_picture_has_no_frame() -> None:
    assert field_of_view(np.zeros((128, 128), dtype=np.int64)).all()
    light = np.zeros((128, 128), dtype=np.int64)
    light[30:85, 30:85] = 1000  # 49 x 49 pixels are left of it, 14.7 %
    assert field_of_view(light).all()
    light[30:86, 30:86] = 1000  # 50 x 50, 15.3 %
    assert field_of_view(light).sum() == 2500


def test_depth_by_hand_and_without_what_is_not_seen() -> None:
    small = picture()  # (150 + 2 * 130 - 200 + 128) // 4 = 84
    seen = ALL_SEEN.copy()
    seen[:, :64], small[:, :64] = False, 0
    depth, half = spot_depth(small, seen)
    assert half[:, 32:].all()
    assert not half[:, :32].any()
    assert (depth[:, 34:] == 171).all()
    assert (depth[:, :32] == 0).all()


@pytest.mark.parametrize(("width", "left"), [(2, False), (4, False), (6, True)])
def test_hair_is_gone_from_depth_and_spots_are_not(width: int, left: bool) -> None:
    small = picture()
    small[:, 60 : 60 + width] = LESION
    depth, _ = spot_depth(small, ALL_SEEN)
    assert bool(depth.max() > depth.min()) == left


# ---------------------------------------------------------------- spots


def test_a_disc_in_the_middle() -> None:
    spot = find_spot(picture((63.5, 63.5, 30)), ALL_SEEN)
    assert spot.count == 1
    assert spot.share == pytest.approx(math.pi * 30**2 / 128**2, rel=0.06)
    assert spot.solidity == pytest.approx(math.pi / 4, abs=0.03)
    assert spot.border_share == 0
    assert spot.contrast == pytest.approx(206 - 171, abs=4)  # 255 - (60 + 100 - 90 + 128) // 4 = 206, less at the rim
    assert 0.6 * spot.contrast < spot.step < spot.contrast  # the rim is smoothed
    assert spot.clearness == spot.step


def test_numbers_of_a_part_by_hand() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[20:40, 0:10] = True  # 200 pixels at the left edge
    depth = np.where(mask, 100, 60)
    spot = described(mask, depth, np.ones((64, 64), dtype=bool))
    assert (spot.step, spot.contrast, spot.solidity, spot.count) == (40, 40, 1, 0)
    assert spot.share == 200 / 4096
    assert spot.border_share == 20 / (2 * 10 + 2 * 20 - 4)
    assert spot.clearness == 40 * (1 - 20 / 56)
    middle = CENTRE_WEIGHT[mask].mean() / 64
    assert spot.score == pytest.approx((spot.clearness - 3) * 200 / 4096 * middle**3, rel=1e-12)


def test_the_step_is_taken_over_two_pixels_on_each_side() -> None:
    depth = np.zeros((64, 64), dtype=np.int64)
    for inset, value in ((-2, 2), (-1, 4), (0, 10), (1, 20), (2, 90)):  # squares in each other, the first of 24 pixels
        depth[22 + inset : 42 - inset, 22 + inset : 42 - inset] = value
    spot = described(depth >= 10, depth, np.ones((64, 64), dtype=bool))
    assert spot.step == (76 * 10 + 68 * 20) / (76 + 68) - (84 * 4 + 92 * 2) / (84 + 92)
    assert spot.contrast == (76 * 10 + 68 * 20 + 256 * 90) / 400 - (84 * 4 + 92 * 2) / (4096 - 400)


def test_specks_and_planes_without_outside_are_no_spots() -> None:
    seen = np.ones((64, 64), dtype=bool)
    depth = np.arange(4096).reshape(64, 64) // 16
    mask = np.zeros((64, 64), dtype=bool)
    mask[30, 20:27] = True  # 7 pixels
    assert described(mask, depth, seen).score == described(mask, depth, seen).share == 0
    mask[30, 27] = True
    assert described(mask, depth, seen).share == 8 / 4096
    assert described(seen, depth, seen).share == 0


def test_the_centre_weighs_most() -> None:
    assert CENTRE_WEIGHT.max() == CENTRE_WEIGHT[31, 31] == CENTRE_WEIGHT[32, 32] == 64
    assert CENTRE_WEIGHT[0, 0] == 0
    assert CENTRE_WEIGHT[0, 31] == 32  # 64 - floor(64 * (63**2 + 1) / (2 * 63**2))
    spot = find_spot(picture((30, 30, 14), (63, 63, 14)), ALL_SEEN)
    assert spot.mask[31, 31]
    assert not spot.mask[15, 15]


def test_a_faint_spot_is_none() -> None:
    pale = tuple(value - 8 for value in SKIN)  # 4 deeper: (142 + 2 * 122 - 192 + 128) // 4 = 80
    spot = find_spot(picture((63.5, 63.5, 30), colour=pale), ALL_SEEN)
    assert spot.score == spot.share == spot.count == 0
    assert not spot.mask.any()
    assert find_spot(picture((63.5, 63.5, 30), colour=(180, 130, 110)), ALL_SEEN).count == 1  # 10 deeper


def test_even_skin_has_no_spot() -> None:
    none = find_spot(picture(), ALL_SEEN)
    assert none.count == none.step == none.contrast == none.share == none.border_share == none.solidity == 0
    assert find_spot(picture(), np.zeros((128, 128), dtype=bool)).count == 0


@pytest.mark.parametrize(
    ("second", "count"),
    [
        ((64, 98, 16), 2),
        ((64, 98, 10), 2),  # a quarter of the first one's area
        ((64, 98, 6), 1),  # 0.09 of it
        ((64, 70, 16), 1),  # one figure of two discs
        ((64, 127, 16), 1),  # at the edge: a finger, a sticker, a shade
    ],
)
def test_two_discs(second: tuple[float, float, float], count: int) -> None:
    assert find_spot(picture((64, 44, 20), second), ALL_SEEN).count == count


def test_a_paler_second_disc_and_a_line_do_not_count() -> None:
    small = picture((64, 44, 20))
    for colour, count in (((90, 60, 50), 2), ((110, 80, 68), 2), ((150, 110, 95), 1)):
        small[disc(64, 98, 14)] = colour
        assert find_spot(small, ALL_SEEN).count == count
    small = picture((64, 40, 20))
    for t in range(70):  # a slanting line, 8 pixels wide, fills little of its upright box
        small[25 + t : 33 + t, 45 + t : 53 + t] = LESION
    small[25:45] = np.array(SKIN, dtype=np.uint8)
    assert find_spot(small, ALL_SEEN).count == 1


def test_a_disc_at_the_edge_of_the_picture_or_of_the_frame() -> None:
    whole = find_spot(picture((64, 40, 30)), ALL_SEEN)
    assert whole.border_share == 0
    cut = find_spot(picture((64, 0, 30)), ALL_SEEN)
    assert cut.border_share == pytest.approx(60 / (60 + math.pi * 30), abs=0.06)
    small = picture((64, 64, 30))
    small[:, :60] = 0
    framed = find_spot(small, field_of_view(light_of(small)))
    assert framed.border_share > 0.25
    assert not framed.mask[:, :30].any()


def test_all_three_constants_of_the_levels_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    small = picture((64, 64, 30))
    small[disc(64, 64, 12)] = (40, 20, 20)
    want = find_spot(small, ALL_SEEN)
    assert want.share == pytest.approx(math.pi * 30**2 / 128**2, rel=0.08)  # the whole, not its dark middle
    monkeypatch.setattr(lesion_spot, "SKIN_SHARE", 0.9)
    assert find_spot(small, ALL_SEEN).share < want.share / 2


def beside(*others: tuple[slice, slice], depth_there: int = 50) -> int:
    """How many others count beside a spot of 20 x 10 pixels in columns 10 to 19 that is 50 deeper than the skin."""
    depth = np.zeros((64, 64), dtype=np.int64)
    for other in others:
        depth[other] = depth_there
    depth[20:40, 10:20] = 50
    seen, first = np.ones((64, 64), dtype=bool), np.zeros((64, 64), dtype=bool)
    first[20:40, 10:20] = True
    return lesion_spot._others(described(first, depth, seen), depth > 0, depth, seen)


def test_each_limit_of_further_spots() -> None:
    assert beside() == 0
    assert beside(np.s_[50:56, 40:45]) == 1  # 30 pixels, 0.15 of 200
    assert beside(np.s_[50:57, 40:44]) == 0  # 28
    assert beside(np.s_[50:56, 40:45], np.s_[5:11, 40:45]) == 2
    assert beside(np.s_[25:31, 22:27]) == 1  # two columns between them
    assert beside(np.s_[25:31, 21:26]) == 0  # one, so that what is far enough has 24 pixels
    assert beside(np.s_[50:56, 40:46], depth_there=30) == 1  # 0.6 of the first one's step
    assert beside(np.s_[50:56, 40:46], depth_there=29) == 0
    assert beside(np.s_[50:54, 56:64]) == 1  # 4 of its outline's 20 pixels are at the edge, 0.2
    assert beside(np.s_[50:55, 56:64]) == 0  # 5 of 22
    bent = (np.s_[57:60, 40:50], np.s_[50:60, 40:42])  # 44 pixels in a box of 10 x 10
    assert beside(*bent) == 0
    assert beside(*bent, np.s_[56:57, 42:43]) == 1


def test_depth_is_smoothed_twice_and_counts_what_is_seen() -> None:
    small = picture()
    small[40:60, 40:60] = LESION  # a square of 20 pixels, 10 x 10 of depth
    depth, _ = spot_depth(small, ALL_SEEN)
    once = over_windows(np.pad(np.full((10, 10), 206 - 171), 8), 1, sum) // 9  # above the skin's depth, away from edges
    assert abs(depth[12:38, 12:38] - 171 - over_windows(once, 1, sum) // 9).max() <= 1  # rounded in other places
    for lost, kept in ((1, True), (2, False)):  # of each four pixels three must be seen
        seen = ALL_SEEN.copy()
        seen[0, :lost] = False
        assert spot_depth(small, seen)[1][0, 0] == kept
    bright = np.full((128, 128, 3), (255, 0, 0), dtype=np.uint8)
    assert (spot_depth(bright, ALL_SEEN)[0] == 255).all()
    grey = np.full((128, 128, 3), (0, 3, 0), dtype=np.uint8)  # (3 + 128) // 4 = 32
    assert (spot_depth(grey, ALL_SEEN)[0] == 223).all()


def test_levels_by_hand() -> None:
    depth = np.repeat([10, 20, 110, 200], [29, 1, 65, 5]).reshape(10, 10)  # ranks 0.3 and 0.995: 20 and 200
    assert lesion_spot._levels(depth, np.ones((10, 10), dtype=bool)) == [38, 56, 74, 92, 110, 128, 146, 164, 182]
    exact = np.repeat([20, 120, 250], [120, 278, 2]).reshape(20, 20)  # both ranks are reached just so
    assert lesion_spot._levels(exact, np.ones((20, 20), dtype=bool)) == [30, 40, 50, 60, 70, 80, 90, 100, 110]
    assert lesion_spot._levels(exact, exact == 20) == [20]


def test_the_middle_part_is_judged_by_the_fourth_power() -> None:
    # Four pixels of weight 64 against some of 46 to 48: eleven win by the third power, fifteen lose by the fifth.
    for columns, power, by_power, by_fourth in ((slice(26, 37), 3, 2, 1), (slice(24, 39), 5, 1, 2)):
        labels = np.zeros((64, 64), dtype=np.int64)
        labels[31:33, 31:33], labels[9, columns] = 1, 2
        mass = [(CENTRE_WEIGHT[labels == label].astype(float) ** power).sum() for label in (1, 2)]
        assert 1 + int(np.argmax(mass)) == by_power
        assert lesion_spot._middle_part(labels) == by_fourth

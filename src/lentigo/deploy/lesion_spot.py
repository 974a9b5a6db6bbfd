"""Where the spot is that a picture shows: a small picture in, the spot's mask and what can be said of it out.

Whole numbers as far as they go, and plain loops over windows, levels and parts, so that the page in TypeScript does the
same arithmetic and finds the same spot. Lesions stand out most in blue less red light: melanin and blood take the blue,
and what another lamp does to all three colours partly falls out. No network, no OpenCV, no torch.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64, UInt8

WORK_PX = 128  # pictures are squeezed to a square of it
SPOT_PX = 64  # spots are sought on a square of it: half the resolution, a quarter of the time
BLACK = 320  # of 2040: what is darker and hangs together with a corner is the dermoscope's frame
LEAST_SEEN = 0.15  # of the picture; what leaves less is no frame but a dark picture
FRAME_DUSK_PX = 3  # beside the frame
HAIR_PX = 2  # of WORK_PX: dark lines up to twice as wide are filled from beside them before a spot is sought
SKIN_SHARE, TOP_SHARE = 0.3, 0.995  # of the pixels: the levels lie between these two ranks of depth
LEVELS = 10
LEAST_SPOT_PX = 8  # of SPOT_PX squared; less is a speck
FAINT = 3.0  # clearness of what shades and speckles of bare skin have; no spot is less clear
RIM_PX = 2  # inside and outside of the outline, where the step of depth is measured
FULL_WEIGHT = 64
# A further spot counts where it is so far from the first, and where its size and its step are such shares of the first
# one's, its outline lies at the edge no more than this and it fills so much of its upright box.
APART_PX, OTHER_SHARE, OTHER_STEP, OTHER_BORDER, OTHER_SOLID = 2, 0.15, 0.6, 0.2, 0.45

Plane = Bool[np.ndarray, "side side"]
Whole = Int64[np.ndarray, "side side"]


@dataclass(frozen=True)
class Spot:
    """The part of a picture that stands out most; all but the mask is 0 where nothing does."""

    mask: Bool[np.ndarray, "side side"]  # SPOT_PX square
    step: float = 0.0  # how much deeper the colour is just inside of the outline than just outside, -255 to 255
    contrast: float = 0.0  # how much deeper it is on the spot than on all the rest
    share: float = 0.0  # of the field of view
    border_share: float = 0.0  # of the outline, that lies at the edge of what is seen
    solidity: float = 0.0  # share of its upright box that it fills
    score: float = 0.0  # what the spot was chosen for
    count: int = 0  # of spots that stand out like it, itself included

    @property
    def clearness(self) -> float:
        """The step, less what of the outline nobody sees."""
        return self.step * (1 - self.border_share)


def light_of(small: UInt8[np.ndarray, "side side 3"]) -> Int64[np.ndarray, "side side"]:
    """Eight times the grey value, 0 to 2040: two parts of red, five of green, one of blue."""
    red, green, blue = _channels(small)
    light: Whole = 2 * red + 5 * green + blue
    return light


def field_of_view(light: Int64[np.ndarray, "side side"]) -> Bool[np.ndarray, "side side"]:
    """All but the dermoscope's black frame, that is, dark parts which hang together with a corner, and their dusk."""
    labels = parts(light < BLACK)
    corners = np.unique(labels[[0, 0, -1, -1], [0, -1, 0, -1]])
    frame = np.isin(labels, corners[corners > 0])
    seen = ~grown(frame, FRAME_DUSK_PX)
    return seen if seen.sum() >= LEAST_SEEN * seen.size else np.ones(light.shape, dtype=bool)


def find_spot(small: UInt8[np.ndarray, "side side 3"], seen: Bool[np.ndarray, "side side"]) -> Spot:
    """Of the parts above each level of depth the middle one; of those the one with the best step, size and place.

    Args:
        small: WORK_PX square.
        seen: its field of view.
    """
    depth, seen = spot_depth(small, seen)
    best, best_level = Spot(np.zeros(seen.shape, dtype=bool)), 0
    for level in _levels(depth, seen) if seen.any() else ():
        labels = parts((depth > level) & seen)
        if labels.max() == 0:
            break
        spot = described(filled(labels == _middle_part(labels)), depth, seen)
        if spot.score > best.score:
            best, best_level = spot, level
    if best.score == 0:
        return best
    return replace(best, count=1 + _others(best, (depth > best_level) & seen, depth, seen))


def spot_depth(
    small: UInt8[np.ndarray, "side side 3"], seen: Bool[np.ndarray, "side side"]
) -> tuple[Int64[np.ndarray, "half half"], Bool[np.ndarray, "half half"]]:
    """How deep the colour is, 0 to 255, without hair and smoothed, and what is seen of it; SPOT_PX square.

    Depth is 255 - (green + 2 * blue - red + 128) / 4, rounded up, and 255 at most.
    """
    red, green, blue = _channels(small)
    depth = 255 - np.maximum(green + 2 * blue - red + 128, 0) // 4
    depth = highest(lowest(depth, HAIR_PX), HAIR_PX)
    number = _fours(seen.astype(np.int64))
    depth, half_seen = _fours(depth * seen) // np.maximum(number, 1), number >= 3
    for _ in range(2):
        around = np.maximum(box_sums(half_seen.astype(np.int64), 1), 1)
        depth = box_sums(depth * half_seen, 1) // around
    return depth * half_seen, half_seen


def described(
    mask: Bool[np.ndarray, "side side"], depth: Int64[np.ndarray, "side side"], seen: Bool[np.ndarray, "side side"]
) -> Spot:
    """All about a part but the count; zeros where it is a speck or nothing is beside it."""
    mask = mask & seen
    inner, rim = mask & ~shrunk(mask, RIM_PX), mask & ~shrunk(mask, 1, beyond=False)
    outer, rest = grown(mask, RIM_PX) & ~mask & seen, seen & ~mask
    size = int(mask.sum())
    if size < LEAST_SPOT_PX or not outer.any():
        return Spot(mask)
    middle = int(CENTRE_WEIGHT[mask].sum()) / (size * FULL_WEIGHT)
    spot = Spot(
        mask,
        step=_mean(depth, inner) - _mean(depth, outer),
        contrast=_mean(depth, mask) - _mean(depth, rest),
        share=size / int(seen.sum()),
        border_share=int((rim & ~shrunk(seen, 1, beyond=False)).sum()) / int(rim.sum()),
        solidity=_solidity(mask),
    )
    return replace(spot, score=max(spot.clearness - FAINT, 0.0) * spot.share * middle * middle * middle)


# ---------------------------------------------------------------- windows and parts


def box_sums(plane: Int64[np.ndarray, "height width"], reach_px: int) -> Int64[np.ndarray, "height width"]:
    """Sum over the square of 2 * reach + 1 pixels around each; beyond the plane all is 0."""
    wide, start = 2 * reach_px + 1, reach_px + 1
    height, width = plane.shape
    sums = np.zeros((height + wide, width + wide), dtype=np.int64)  # np.pad takes longer than all the rest
    sums[start : start + height, start : start + width] = plane
    sums = sums.cumsum(0).cumsum(1)
    around: Whole = sums[wide:, wide:] - sums[:-wide, wide:] - sums[wide:, :-wide] + sums[:-wide, :-wide]
    return around


def highest(plane: Int64[np.ndarray, "height width"], reach_px: int) -> Int64[np.ndarray, "height width"]:
    """Greatest value in the square of 2 * reach + 1 pixels around each, as far as it lies in the plane."""
    for _ in range(2):  # along the rows, then along the columns
        padded = np.pad(plane, ((0, 0), (reach_px, reach_px)), mode="edge")
        side = plane.shape[1]
        plane = padded[:, :side]
        for shift in range(1, 2 * reach_px + 1):
            plane = np.maximum(plane, padded[:, shift : shift + side])
        plane = plane.T
    return plane


def lowest(plane: Int64[np.ndarray, "height width"], reach_px: int) -> Int64[np.ndarray, "height width"]:
    """Least value in the square of 2 * reach + 1 pixels around each, as far as it lies in the plane."""
    return -highest(-plane, reach_px)


def grown(mask: Bool[np.ndarray, "height width"], by_px: int) -> Bool[np.ndarray, "height width"]:
    """With all pixels of which it reaches the square of 2 * by + 1 pixels."""
    larger: Plane = box_sums(mask.astype(np.int64), by_px) > 0
    return larger


def shrunk(
    mask: Bool[np.ndarray, "height width"], by_px: int, *, beyond: bool = True
) -> Bool[np.ndarray, "height width"]:
    """Without all pixels of which its outside reaches the square of 2 * by + 1 pixels.

    Args:
        beyond: whether the mask goes on beyond the picture's edge.
    """
    smaller: Plane = box_sums(mask.astype(np.int64), by_px) == (2 * by_px + 1) ** 2
    return ~grown(~mask, by_px) if beyond else smaller


def parts(mask: Bool[np.ndarray, "height width"]) -> Int64[np.ndarray, "height width"]:
    """0 outside; 1, 2, ... in the parts that hang together by pixels' sides, counted as one reads: row by row.

    A flood fill gives the same numbers; this one joins the runs of each row with those of the row above.
    """
    height, width = mask.shape
    framed = np.zeros((height, width + 2), dtype=np.int8)
    framed[:, 1:-1] = mask
    steps = framed[:, 1:] - framed[:, :-1]
    row, start = np.nonzero(steps == 1)
    stop = np.nonzero(steps == -1)[1]
    joined = _joined_runs(np.searchsorted(row, np.arange(height + 1)).tolist(), start.tolist(), stop.tolist())
    number = np.unique(joined, return_inverse=True)[1] + 1
    labels: Whole = np.zeros((height, width), dtype=np.int64)
    labels[mask] = np.repeat(number, stop - start)  # runs and the pixels of a mask stand in the same order
    return labels


def filled(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """With its holes: what does not hang together with the picture's edge outside of it."""
    outside = parts(~mask)
    at_edge = np.concatenate((outside[0], outside[-1], outside[:, 0], outside[:, -1]))
    open_air = np.zeros(int(outside.max()) + 1, dtype=bool)
    open_air[at_edge] = True
    open_air[0] = False
    solid: Plane = ~open_air[outside]
    return solid


def _joined_runs(first: list[int], start: list[int], stop: list[int]) -> Int64[np.ndarray, " run"]:
    """The first run of each run's part. The runs of row y are first[y] to first[y + 1]."""
    parent = list(range(len(start)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    for y in range(1, len(first) - 1):
        above, here = first[y - 1], first[y]
        while above < first[y] and here < first[y + 1]:
            if start[above] < stop[here] and start[here] < stop[above]:
                one, other = sorted((root(above), root(here)))
                parent[other] = one
            if stop[above] < stop[here]:
                above += 1
            else:
                here += 1
    return np.array([root(run) for run in range(len(start))], dtype=np.int64)


# ---------------------------------------------------------------- the search


def _channels(small: UInt8[np.ndarray, "side side 3"]) -> tuple[Whole, Whole, Whole]:
    red, green, blue = np.moveaxis(small.astype(np.int64), 2, 0)
    return red, green, blue


def _fours(plane: Whole) -> Int64[np.ndarray, "half half"]:
    sums: Int64[np.ndarray, "half half"] = plane[::2, ::2] + plane[::2, 1::2] + plane[1::2, ::2] + plane[1::2, 1::2]
    return sums


def _centre_weight() -> Int64[np.ndarray, "side side"]:
    """FULL_WEIGHT in the middle, half of it in the middle of each side, 0 in the corners."""
    ruled = 2 * np.arange(SPOT_PX) + 1 - SPOT_PX
    away = ruled**2 + ruled[:, None] ** 2
    weight: Whole = FULL_WEIGHT - FULL_WEIGHT * away // (2 * (SPOT_PX - 1) ** 2)
    return weight


CENTRE_WEIGHT = _centre_weight()


def _levels(depth: Whole, seen: Plane) -> list[int]:
    """Rising, none twice."""
    counts = np.bincount(depth[seen], minlength=256).cumsum()
    low, high = (int(np.argmax(counts >= share * counts[-1])) for share in (SKIN_SHARE, TOP_SHARE))
    levels = [low + (high - low) * k // LEVELS for k in range(1, LEVELS)]
    return sorted(set(levels))


def _middle_part(labels: Whole) -> int:
    """The one with the most weight, the fourth power of the pixels' centre weights; of equal ones the first."""
    mass = np.bincount(labels.ravel(), weights=(CENTRE_WEIGHT**4).ravel())
    return 1 + int(mass[1:].argmax())


def _others(best: Spot, deep: Plane, depth: Whole, seen: Plane) -> int:
    """How many further parts at the best spot's level look like lesions beside it."""
    labels = parts(deep & ~grown(best.mask, APART_PX))
    sizes = np.bincount(labels.ravel())
    count = 0
    for label in range(1, len(sizes)):
        if sizes[label] >= OTHER_SHARE * best.mask.sum():
            other = described(filled(labels == label), depth, seen)
            whole = other.border_share <= OTHER_BORDER and other.solidity >= OTHER_SOLID
            count += int(whole and other.step >= OTHER_STEP * best.step)
    return count


def _mean(depth: Whole, mask: Plane) -> float:
    return int(depth[mask].sum()) / int(mask.sum())


def _solidity(mask: Plane) -> float:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(mask.sum()) / (int(rows[-1] - rows[0] + 1) * int(columns[-1] - columns[0] + 1))

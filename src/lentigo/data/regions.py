"""What lies beside the lesion in a picture: the dermatoscope's dark frame, hair, a ruler. Pixels in, planes out.

Everything is looked for at most 300 pixels wide, where hairs and ticks are one to four pixels thick, and told at the
picture's own size. Lengths are fractions of the longer side. No torch.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, UInt8

_SIDE_PX = 300
_FRAME_SIDE_PX = 150  # a frame is large
_FRAME_LEVEL = 45  # of 255, in all channels: the black around a dermatoscope's disc is 0 to 30
_DUSK = 0.02  # the fading light beside the frame is counted as frame
_THICK = 0.018  # half the width of what is still a line
# Steps of 255 that a line is darker or lighter than both of its sides: all along, and in one place.
_LEVELS = {"dark": (10, 15), "light": (10, 18)}
# How much deeper a hair is than the picture around it is on average: in the meshes of a network, where lines also run
# straight for a while, everything is deep.
_OVER_MEAN = {"dark": 1.25, "light": 1.6}
_AROUND = 0.05  # standard deviation
_STRAIGHT = 0.06  # of a hair, everywhere
_STRAIGHTEST = 0.13  # somewhere near
_NEAR = 0.06
_HAIR_LENGTH = 0.17
_TICK_DEPTH = 12
_TICK_LENGTH = (0.014, 0.12)
_TICK_SPACING = (0.012, 0.14)
_LEAST_TICKS = 5
_COMB_DEPTH = 9
_COMB_LENGTH = 0.18  # of a ruler whose ticks stand on one line
_COMB_WIDTH = 0.03  # half of it
_COMB_TICKS = 15  # digital overlays have 20
_COMB_PITCH_PX = 3.3  # and more; finer ticks are lost in a picture of this size
_COMB_SHARE = 0.42  # of the power along the comb that one frequency has; on 400 real pictures hairs had at most 0.4
_COMB_SWING = 2.0  # standard deviation, in steps of 255
_BESIDE = 0.02  # a tick's numbers and rim

Image = UInt8[np.ndarray, "height width 3"]
Plane = Bool[np.ndarray, "height width"]
Depth = UInt8[np.ndarray, "height width"]
Parts = Int32[np.ndarray, "height width"]


class Ticks(NamedTuple):
    """Short lines, one a row."""

    x: Float64[np.ndarray, " tick"]
    y: Float64[np.ndarray, " tick"]
    angle: Float64[np.ndarray, " tick"]
    length: Float64[np.ndarray, " tick"]


def frame_region(image: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """The black around a dermatoscope's round field.

    A dark lesion that reaches over one side makes no dent in a round field and is not taken for it; of a black one over
    a corner, what lies beyond the chord is.
    """
    return _at_size(image, _FRAME_SIDE_PX, _frame)


def hair_region(image: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Dark and light hairs: long thin lines, straight over a piece, that are neither a ruler's nor the frame's rim."""
    return _at_size(image, _SIDE_PX, lambda small: _hairs(small) & ~_rulers(small) & ~_frame(small))


def ruler_region(image: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """The strip of a scale: five or more parallel dark or light ticks in even steps, or a straight line with
    15 of them.

    Numbers beside the ticks are part of it as far as they lie within a tick's rim. Light ticks less than 5 % of the
    side apart may be missed: they are like the skin between dark hairs.
    """
    return _at_size(image, _SIDE_PX, _rulers)


def black_edge(image: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Dark pixels that hang together with the picture's edge, but not as thin as hair."""
    dark = (image.max(axis=2) < _FRAME_LEVEL).astype(np.uint8)
    around = cv2.copyMakeBorder(dark, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    opened = cv2.morphologyEx(around, cv2.MORPH_OPEN, np.ones((3, 3), dtype=np.uint8), borderValue=1)
    opened[[0, -1]] = opened[:, [0, -1]] = 1  # what touches the edge is of one part
    _, parts = cv2.connectedComponents(opened)
    edge: Plane = np.asarray(parts == parts[0, 0])[1:-1, 1:-1]
    return edge


def black_frame(image: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """The black edge outside of the convex hull of what is seen: a field of view is round, a lesion need not be."""
    edge = black_edge(image)
    if not edge.any() or edge.all():
        return edge
    count, parts, facts, _ = cv2.connectedComponentsWithStats((~edge).astype(np.uint8))
    largest = 1 + int(facts[1:count, cv2.CC_STAT_AREA].argmax())
    frame: Plane = edge & ~hull(parts == largest)
    return frame


def grown(plane: Bool[np.ndarray, "height width"], by_px: float) -> Bool[np.ndarray, "height width"]:
    """The plane and what lies within `by_px` of it, at least one pixel."""
    return np.asarray(cv2.dilate(plane.astype(np.uint8), disc(by_px))) > 0


def hull(plane: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The convex hull of what is True; nothing where nothing is."""
    filled = np.zeros(plane.shape, dtype=np.uint8)
    if plane.any():
        points = np.argwhere(plane)[:, ::-1].astype(np.int32)
        cv2.fillConvexPoly(filled, cv2.convexHull(points[:, None]), 1)
    return filled > 0


def disc(radius_px: float) -> UInt8[np.ndarray, "size size"]:
    """A round structuring element, of radius 1 or more: all pixels that near, and a few up to half a pixel further."""
    size = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)


def _at_size(image: Image, most_px: int, find: Callable[[Image], Plane]) -> Plane:
    height, width = image.shape[:2]
    scale = most_px / max(height, width)
    if scale >= 1:
        return find(image)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    found = find(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8))
    enlarged = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(enlarged) >= 0.5


def _frame(image: Image) -> Plane:
    frame = black_frame(image)
    return grown(frame, _DUSK * max(frame.shape)) if frame.any() else frame


def _depth(image: Image, kind: str) -> Depth:
    """How much darker, or lighter, than both of its sides whatever is not wider than a line is.

    Skin between two dark hairs is lighter than both of its sides too: to see light lines, dark ones are filled first.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 0.6)
    wide = disc(_THICK * max(image.shape[:2]))
    filled = cv2.morphologyEx(grey, cv2.MORPH_CLOSE, wide)
    found = filled - grey if kind == "dark" else cv2.morphologyEx(filled, cv2.MORPH_TOPHAT, wide)
    return np.asarray(found, dtype=np.uint8)


def _straight(depth: Depth, length_px: float, directions: int) -> Depth:
    """The depth that holds along a straight piece of that length, in the best direction."""
    angles = [math.pi * step / directions for step in range(directions)]
    opened = [cv2.morphologyEx(depth, cv2.MORPH_OPEN, _stroke(length_px, angle)) for angle in angles]
    return np.asarray(np.max(opened, axis=0), dtype=np.uint8)


def _stroke(length_px: float, angle: float) -> UInt8[np.ndarray, "size size"]:
    half = max(1, round(length_px / 2))
    stroke = np.zeros((2 * half + 1, 2 * half + 1), dtype=np.uint8)
    dx, dy = round(half * math.cos(angle)), round(half * math.sin(angle))
    cv2.line(stroke, (half - dx, half - dy), (half + dx, half + dy), 1, 1)
    return stroke


def _hairs(image: Image) -> Plane:
    hairs: Plane = _long_lines(image, "dark") | _long_lines(image, "light")
    return hairs


def _long_lines(image: Image, kind: str) -> Plane:
    """Lines that stand out all along, run straight in some place, are deep in some, and are long."""
    side, (low, high) = max(image.shape[:2]), _LEVELS[kind]
    depth = _depth(image, kind)
    around = cv2.GaussianBlur(depth.astype(np.float32), (0, 0), _AROUND * side) * _OVER_MEAN[kind]
    line = _straight(depth, _STRAIGHT * side, 12)
    straightest = _straight(depth, _STRAIGHTEST * side, 18) >= np.maximum(low, around)
    kept = (line >= np.maximum(low, 0.7 * around)) & grown(straightest, _NEAR * side)
    count, parts, facts, _ = cv2.connectedComponentsWithStats(kept.astype(np.uint8))
    deep = np.zeros(count, dtype=bool)
    deep[parts[kept & straightest & (line >= high)]] = True
    extent = np.hypot(facts[:, cv2.CC_STAT_WIDTH], facts[:, cv2.CC_STAT_HEIGHT])
    hairs = deep & (extent >= _HAIR_LENGTH * side)
    hairs[0] = False
    lines: Plane = hairs[parts]
    return lines


def _rulers(image: Image) -> Plane:
    found = np.zeros(image.shape[:2], dtype=bool)
    for kind in ("dark", "light"):
        depth = _depth(image, kind)
        found |= _row_of_ticks(depth) | _combs(image, depth)
    return found


def _row_of_ticks(depth: Depth) -> Plane:
    """The hull of the longest row of ticks, with its rim."""
    side = max(depth.shape)
    ticks, parts, numbers = _ticks(depth)
    row = _longest_row(ticks, side)
    if row is None:
        return np.zeros(depth.shape, dtype=bool)
    return grown(hull(np.isin(parts, numbers[row])), _BESIDE * side)


def _ticks(depth: Depth) -> tuple[Ticks, Parts, Int32[np.ndarray, " tick"]]:
    """Short straight lines; the connected parts, and which of them each is."""
    side = max(depth.shape)
    straight = _straight(depth, _TICK_LENGTH[0] * side, 12)
    count, parts, facts, _ = cv2.connectedComponentsWithStats((straight >= _TICK_DEPTH).astype(np.uint8))
    short = facts[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]].max(axis=1) < _TICK_LENGTH[1] * side
    short[0] = False
    rows, columns = np.nonzero(short[parts])
    part = parts[rows, columns]
    size = np.maximum(np.bincount(part, minlength=count), 1)

    def mean(values: Float64[np.ndarray, " pixel"]) -> Float64[np.ndarray, " part"]:
        return np.bincount(part, weights=values, minlength=count) / size

    x, y = mean(columns.astype(float)), mean(rows.astype(float))
    dx, dy = columns - x[part], rows - y[part]
    xx, yy, xy = mean(dx**2) + 1 / 12, mean(dy**2) + 1 / 12, mean(dx * dy)
    half, apart = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    length, width = np.sqrt(12 * (half + apart)), np.sqrt(12 * np.maximum(half - apart, 0))  # of an even bar
    low, high = (limit * side for limit in _TICK_LENGTH)
    numbers = np.flatnonzero(
        short & (length > low) & (length < high) & (length > 1.6 * width) & (width < 1.4 * _THICK * side)
    )
    angle = np.arctan2(2 * xy, xx - yy) / 2
    return Ticks(x[numbers], y[numbers], angle[numbers], length[numbers]), parts, numbers.astype(np.int32)


def _longest_row(ticks: Ticks, side: int) -> Bool[np.ndarray, " tick"] | None:
    """Which ticks form the best row; None: there is none."""
    best: tuple[float, Bool[np.ndarray, " tick"] | None] = (_LEAST_TICKS - 0.1, None)
    for seed in range(len(ticks.x)):
        cos, sin, length = math.cos(ticks.angle[seed]), math.sin(ticks.angle[seed]), ticks.length[seed]
        dx, dy = ticks.x - ticks.x[seed], ticks.y - ticks.y[seed]
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        turned = np.abs((ticks.angle - ticks.angle[seed] + math.pi / 2) % math.pi - math.pi / 2)
        beside = np.abs(along) < (ticks.length + length) / 4 + 0.1 * np.abs(across)
        alike = (turned < 0.26) & beside & (ticks.length < 2.6 * length) & (ticks.length > length / 2.6)
        if np.count_nonzero(alike) < _LEAST_TICKS:
            continue
        for spacing in _spacings(across[alike], side):
            score, members = _even(across[alike], spacing)
            if score > best[0]:
                row = alike.copy()
                row[alike] = members
                best = (score, row)
    return best[1]


def _spacings(across: Float64[np.ndarray, " tick"], side: int) -> set[float]:
    """Steps that the nearest neighbours suggest, of which one may have been missed."""
    low, high = (limit * side for limit in _TICK_SPACING)
    away = np.unique(np.abs(across))
    nearest = away[away > low][:6]
    return {round(float(gap) / n, 2) for gap in nearest for n in (1, 2) if low < gap / n < high}


def _even(across: Float64[np.ndarray, " tick"], spacing: float) -> tuple[float, Bool[np.ndarray, " tick"]]:
    """How many places of a lattice through 0 are taken, less what speaks against it; and which ticks lie on it.

    A place may be empty; a tick between two places counts against the row one and a half times.
    """
    place = across / spacing
    nearest = np.rint(place)
    slack = np.maximum(np.minimum(0.18, 0.06 + 0.02 * np.abs(nearest)), 1.2 / spacing)
    hit = np.abs(place - nearest) < slack
    taken = np.unique(nearest[hit])
    breaks = np.flatnonzero(np.diff(taken) > 2)
    zero = int(np.searchsorted(taken, 0))
    first = taken[max((b + 1 for b in breaks if b < zero), default=0)]
    last = taken[min((b for b in breaks if b >= zero), default=len(taken) - 1)]
    run = np.count_nonzero((taken >= first) & (taken <= last))
    against = np.count_nonzero(~hit & (place >= first) & (place <= last))
    members = hit & (nearest >= first) & (nearest <= last)
    if run < _LEAST_TICKS:
        return 0.0, members
    return run - 1.5 * against - 0.5 * (last - first + 1 - run), members


def _combs(image: Image, depth: Depth) -> Plane:
    """Straight lines along which one frequency stands out: ticks so close that they run together."""
    side = max(depth.shape)
    lines = _straight(depth, _STRAIGHT * side, 12) >= _COMB_DEPTH
    _, parts, facts, _ = cv2.connectedComponentsWithStats(lines.astype(np.uint8))
    extent = np.hypot(facts[:, cv2.CC_STAT_WIDTH], facts[:, cv2.CC_STAT_HEIGHT])
    found = np.zeros(depth.shape, dtype=bool)
    for number in np.flatnonzero(extent > _COMB_LENGTH * side):
        left, top, width, height, area = facts[number]
        if number == 0 or area > 2 * _COMB_WIDTH * side * extent[number]:
            continue
        rows, columns = np.nonzero(parts[top : top + height, left : left + width] == number)
        points = np.stack((columns + left, rows + top), axis=1).astype(np.float64)
        if _is_comb(image, points, side):
            found |= parts == number
    return grown(found, _BESIDE * side) if found.any() else found


def _is_comb(image: Image, points: Float64[np.ndarray, "pixel 2"], side: int) -> bool:
    middle = points.mean(axis=0)
    axis = np.linalg.eigh(np.cov(points.T))[1][:, 1]
    along, across = (points - middle) @ axis, (points - middle) @ np.array([-axis[1], axis[0]])
    if np.abs(across).max() > _COMB_WIDTH * side or np.ptp(along) < _COMB_LENGTH * side:
        return False
    step = 0.5  # pixels
    t, off = np.arange(along.min(), along.max(), step), np.arange(-_COMB_WIDTH * side, _COMB_WIDTH * side, step)
    x = (middle[0] + t * axis[0] - off[:, None] * axis[1]).astype(np.float32)
    y = (middle[1] + t * axis[1] + off[:, None] * axis[0]).astype(np.float32)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    strip = np.asarray(cv2.remap(grey, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return _beats(strip, least=_COMB_TICKS / (len(t) * step), step=step)


def _beats(strip: Float32[np.ndarray, "across along"], *, least: float, step: float) -> bool:
    """Whether along some lines one frequency of `least` or more, in 1/px, has a large share of the power."""
    size = 2048
    window = 2 * round(1 / (least * step)) + 1
    swing = (strip - cv2.blur(strip, (window, 1))) * np.hanning(strip.shape[1]).astype(np.float32)
    power = np.abs(np.fft.rfft(swing, size, axis=1)) ** 2
    frequency = np.fft.rfftfreq(size, step)
    lobe = 2 * (2 * size // strip.shape[1]) + 1  # what the window makes of one frequency
    peak = np.asarray(cv2.blur(power, (lobe, 1))) * lobe
    allowed = (frequency > least) & (frequency < 1 / _COMB_PITCH_PX)
    if not allowed.any():
        return False
    share = peak[:, allowed].max(axis=1) / (power.sum(axis=1) + 1e-9)
    beating = (share > _COMB_SHARE) & (swing.std(axis=1) > _COMB_SWING)
    return bool(np.count_nonzero(beating) * step >= 2)  # a tick is no shorter

"""Copies in a data set: images of the same pixels, and near copies that were encoded anew, turned, mirrored, cut, lit.

In: a pack. Out: pairs of images that are one photograph, each checked by laying one over the other. Two steps, so that
the work grows with the number of images and not with its square: `descriptor` turns every image, and the cuts that a
copy may be, into points, and a tree finds the few points that lie close together; `alignment` looks at those pairs.
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

import cv2
import numpy as np
from jaxtyping import Float32, Int64, UInt8
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # scikit-learn needs and brings it

from lentigo.data import descriptor
from lentigo.data.alignment import Alignment, Closeup, align, align_closeups, closeup, first_guess, grey, inverse
from lentigo.data.descriptor import THUMBNAIL_PX, WINDOWS, Projection
from lentigo.data.pack import ImagePack
from lentigo.machine import cores

VERSION = 2
ALIKE = 0.4  # likeness from which two images are one photograph
SEARCH_UNITS = 3  # of progress for each image: described, searched for, its pairs looked at
_REACH = 14.0  # distance of points, in units of the spread of copies in one dimension
# The tree looks at the dimensions that tell most, which takes a third of the time; all dimensions decide.
_TREE_DIMENSIONS, _TREE_REACH, _NEIGHBOURS = 16, 10.0, 8
_CLOSER_LOOKS = 6  # pairs that an image is the first of at most, so that the work grows with the number of images
_COARSE_PX, _COARSE_STEPS, _COARSE_ALIKE = 48, 8, 0.36
_FINE_PX, _FINE_STEPS = 160, 30
_PIECE = 16
_SAMPLE, _SAMPLE_OF_ALL = 256, 2000  # images that are copied to fit the projection, and images that stand for all
_COPIES = 8


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Two images that are one photograph."""

    one: int  # position in the table or pack
    other: int
    likeness: float  # correlation of details, 1 for the same pixels
    change: str  # what makes the second of the first, in words


def exact_groups(pack: ImagePack) -> list[list[int]]:
    """Images whose packed pixels are the same, in groups of two or more, in order."""
    by_sum: dict[int, list[int]] = defaultdict(list)
    for index, sum32 in enumerate(pack.crc32):
        by_sum[sum32].append(index)
    groups: list[list[int]] = []
    for alike in by_sum.values():
        if len(alike) > 1:
            by_pixels: dict[bytes, list[int]] = defaultdict(list)
            for index in alike:  # a checksum of 32 bits may be shared by chance
                by_pixels[pack.read([index]).tobytes()].append(index)
            groups += [members for members in by_pixels.values() if len(members) > 1]
    return sorted(groups)


def near_twins(pack: ImagePack, *, progress: Callable[[int], None] | None = None) -> tuple[Twins, ...]:
    """Pairs of near copies within a data set; of images with the same pixels only the first takes part.

    Args:
        progress: called with units done since the last call; `SEARCH_UNITS` an image in all.
    Returns: pairs with one < other, in order.
    """
    told = progress or (lambda _: None)
    spare = {index for group in exact_groups(pack) for index in group[1:]}
    kept = [index for index in range(len(pack)) if index not in spare]
    told(SEARCH_UNITS * len(spare))
    if len(kept) < 2:
        told(SEARCH_UNITS * len(kept))
        return ()
    with _one_thread_each(), _thumbnails(pack, kept) as thumbnails:
        projection = _fitted([thumbnails])
        points = _points(thumbnails, projection, told)
        candidates = _candidates(thumbnails, points, projection, told, same=True)
        return _looked_at(thumbnails, thumbnails, candidates, told)


def twins_between(
    pack: ImagePack, other: ImagePack, *, progress: Callable[[int], None] | None = None
) -> tuple[Twins, ...]:
    """Pairs of an image of `pack` and an image of `other` that are one photograph, the same pixels included.

    Args:
        progress: as in `near_twins`, over the images of both.
    """
    told = progress or (lambda _: None)
    if not (len(pack) and len(other)):
        told(SEARCH_UNITS * (len(pack) + len(other)))
        return ()
    with (
        _one_thread_each(),
        _thumbnails(pack, range(len(pack))) as ours,
        _thumbnails(other, range(len(other))) as theirs,
    ):
        projection = _fitted([ours, theirs])
        our_points, their_points = (_points(part, projection, told) for part in (ours, theirs))
        found = _looked_at(ours, theirs, _candidates(ours, their_points, projection, told, same=False), told)
        candidates = _candidates(theirs, our_points, projection, told, same=False)
        back = _looked_at(theirs, ours, candidates, told, backwards=True)
    best: dict[tuple[int, int], Twins] = {}
    for pair in (*found, *back):
        key = (pair.one, pair.other)
        if key not in best or best[key].likeness < pair.likeness:
            best[key] = pair
    return tuple(best[key] for key in sorted(best))


# ---------------------------------------------------------------- thumbnails and points


class _Thumbnails:
    """Thumbnails of some of a pack's images in a temporary file, so that memory stays flat."""

    def __init__(self, pack: ImagePack, indices: Sequence[int], file: IO[bytes]) -> None:
        self.pack, self.indices, self.file = pack, list(indices), file
        self.bytes = THUMBNAIL_PX * THUMBNAIL_PX * 3

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, places: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "picture 64 64 3"]:
        images = np.empty((len(places), THUMBNAIL_PX, THUMBNAIL_PX, 3), dtype=np.uint8)
        for image, place in zip(images, places, strict=True):
            read = os.pread(self.file.fileno(), self.bytes, int(place) * self.bytes)  # of many threads at once
            image[:] = np.frombuffer(read, dtype=np.uint8).reshape(image.shape)
        return images


@contextmanager
def _thumbnails(pack: ImagePack, indices: Sequence[int]) -> Iterator[_Thumbnails]:
    with tempfile.TemporaryFile() as file, _threads() as pool:

        def small(places: range) -> bytes:
            return b"".join(descriptor.thumbnail(image).tobytes() for image in pack.read([indices[p] for p in places]))

        for written in pool.map(small, _pieces(len(indices))):
            file.write(written)
        file.flush()
        yield _Thumbnails(pack, indices, file)


def _fitted(parts: Sequence[_Thumbnails]) -> Projection:
    """The projection for these images, from copies made of some of them."""
    rng = np.random.default_rng(np.random.SeedSequence(0xD0B1E))
    numbers, originals, copies = [], [], []
    for part in parts:
        share = len(part) / sum(map(len, parts))
        order = rng.permutation(len(part))
        everyone, some = order[: int(np.ceil(share * _SAMPLE_OF_ALL))], order[: int(np.ceil(share * _SAMPLE))]
        numbers += [_numbers(part.read(everyone[start : start + 256])) for start in range(0, len(everyone), 256)]
        for place in some:
            image = part.pack.read([part.indices[place]])[0]
            made = np.stack([descriptor.thumbnail(picture) for picture in (image, *_copies_of(image, rng))])
            described = _numbers(made)
            originals.append(described[0])
            copies.append(described[1:])
    return descriptor.fit_projection(np.concatenate(numbers), np.stack(originals), np.stack(copies, axis=1))


def _copies_of(image: UInt8[np.ndarray, "height width 3"], rng: np.random.Generator) -> list[np.ndarray]:
    """What a copy may look like within one window: off by a little in place, size and turn; relit; encoded anew."""
    side = image.shape[0]
    copies = []
    for number in range(_COPIES):
        copy: np.ndarray = image
        if number < 6:
            turn = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, rng.uniform(-180, 180), rng.uniform(0.975, 1.025))
            turn[:, 2] += rng.uniform(-0.01, 0.01, 2) * side
            copy = np.asarray(cv2.warpAffine(copy, turn, (side, side), borderMode=cv2.BORDER_REFLECT))
        if number % 3 == 1:
            copy = np.minimum(copy * np.float32(rng.uniform(0.8, 1.2)) + 0.5, 255).astype(np.uint8)
        if number in (2, 5, 7):
            copy = np.asarray(cv2.resize(copy, (max(side // 2, 1),) * 2, interpolation=cv2.INTER_AREA))
        if number in (2, 5, 6, 7):
            _, encoded = cv2.imencode(".jpg", copy, [cv2.IMWRITE_JPEG_QUALITY, 50])
            copy = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
        copies.append(copy)
    return copies


def _numbers(thumbnails: UInt8[np.ndarray, "picture 64 64 3"]) -> Float32[np.ndarray, "picture number"]:
    return descriptor.invariants(descriptor.circles(thumbnails, WINDOWS[:1])[0])


def _points(
    thumbnails: _Thumbnails, projection: Projection, told: Callable[[int], None]
) -> Float32[np.ndarray, "picture dimension"]:
    def described(places: range) -> np.ndarray:
        return projection(_numbers(thumbnails.read(places)))

    points = []
    with _threads() as pool:
        for piece in pool.map(described, _pieces(len(thumbnails))):
            points.append(piece)
            told(len(piece))
    return np.concatenate(points)


# ---------------------------------------------------------------- candidates


@dataclass(frozen=True, kw_only=True)
class _Candidates:
    """Pairs of places whose points lie close together, each once, with the window of the first that is closest."""

    one: Int64[np.ndarray, " pair"]
    other: Int64[np.ndarray, " pair"]
    window: Int64[np.ndarray, " pair"]


def _candidates(
    thumbnails: _Thumbnails,
    points: Float32[np.ndarray, "picture dimension"],
    projection: Projection,
    told: Callable[[int], None],
    *,
    same: bool,
) -> _Candidates:
    """For every window of every image, the nearest of `points` within reach.

    Args:
        same: `points` are of these images themselves, which are not to be found as their own neighbours.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(points[:, :_TREE_DIMENSIONS])

    def close(places: range) -> np.ndarray:
        read = descriptor.circles(thumbnails.read(places), WINDOWS)
        asked = np.concatenate([projection(descriptor.invariants(window)) for window in read])
        _, found = tree.query(asked[:, :_TREE_DIMENSIONS], k=_NEIGHBOURS, distance_upper_bound=_TREE_REACH)
        number, rank = np.nonzero(found < len(points))  # a missing neighbour is len(points)
        other = found[number, rank]
        distance = np.linalg.norm(asked[number] - points[other], axis=1)
        window, one = np.divmod(number, len(places))
        rows = np.column_stack([one + places.start, other, window, distance])
        kept: np.ndarray = rows[(distance < _REACH) & ~(same & (rows[:, 0] == other))]
        return kept

    rows = []
    with _threads() as pool:
        for places, found in zip(_pieces(len(thumbnails)), pool.map(close, _pieces(len(thumbnails))), strict=True):
            rows.append(_closest(found, unordered=False))
            told(len(places))
    kept = _few_an_image(_closest(np.concatenate(rows), unordered=same))
    one, other, window = kept[:, :3].astype(np.int64).T
    return _Candidates(one=one, other=other, window=window)


def _closest(rows: np.ndarray, *, unordered: bool) -> np.ndarray:
    """Of the rows (one, other, window, distance) of a pair only the closest; `unordered`: (1, 2) is as (2, 1)."""
    pairs = np.sort(rows[:, :2], axis=1) if unordered else rows[:, :2]
    order = np.lexsort((rows[:, 2], rows[:, 3], pairs[:, 1], pairs[:, 0]))
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (np.diff(pairs[order], axis=0) != 0).any(axis=1)
    kept: np.ndarray = rows[order[new]]
    return kept


def _few_an_image(rows: np.ndarray) -> np.ndarray:
    """Of the pairs of one first image only the closest few."""
    rows = rows[np.lexsort((rows[:, 3], rows[:, 0]))]
    place = np.arange(len(rows)) - np.searchsorted(rows[:, 0], rows[:, 0])
    kept: np.ndarray = rows[place < _CLOSER_LOOKS]
    return kept


# ---------------------------------------------------------------- a closer look


def _looked_at(
    ours: _Thumbnails,
    theirs: _Thumbnails,
    candidates: _Candidates,
    told: Callable[[int], None],
    *,
    backwards: bool = False,
) -> tuple[Twins, ...]:
    """The candidates that are one photograph; `backwards`: with the image of `theirs` first."""

    @lru_cache(maxsize=64)
    def fine(part: _Thumbnails, place: int) -> Closeup:
        return closeup(part.pack.read([part.indices[place]])[0], _FINE_PX)

    def looked(row: tuple[int, int, int]) -> Alignment | None:
        rough = _rough(ours, theirs, row)
        if rough is None:
            return None
        return align_closeups(fine(ours, row[0]), fine(theirs, row[1]), rough.matrix, steps=_FINE_STEPS)

    found = []
    rows = list(zip(candidates.one.tolist(), candidates.other.tolist(), candidates.window.tolist(), strict=True))
    units = len(ours)
    with _threads() as pool:
        for number, (row, close) in enumerate(zip(rows, pool.map(looked, rows), strict=True), start=1):
            told(units * number // len(rows) - units * (number - 1) // len(rows))
            if close is not None and close.likeness >= ALIKE:
                one, other = ours.indices[row[0]], theirs.indices[row[1]]
                found.append(_twins(one, other, close, backwards=backwards or (ours is theirs and one > other)))
    if not rows:
        told(units)
    return tuple(sorted(found, key=lambda pair: (pair.one, pair.other)))


def _rough(ours: _Thumbnails, theirs: _Thumbnails, row: tuple[int, int, int]) -> Alignment | None:
    """A first look at 48 pixels a side; None where it suffices to tell two images apart."""
    one, other = ours.read([row[0]]), theirs.read([row[1]])
    window = WINDOWS[row[2]]
    read = descriptor.circles(one, [window])[0, 0], descriptor.circles(other, WINDOWS[:1])[0, 0]
    best = None
    for angle, mirrored in descriptor.turns_between(*read, most=1):
        guess = first_guess(window, angle, mirrored)
        best = align(grey(one[0], _COARSE_PX), grey(other[0], _COARSE_PX), guess, steps=_COARSE_STEPS)
    return best if best is not None and best.likeness >= _COARSE_ALIKE else None


def _twins(one: int, other: int, found: Alignment, *, backwards: bool) -> Twins:
    matrix = found.matrix
    if backwards:
        one, other, matrix = other, one, inverse(matrix)
    return Twins(one=one, other=other, likeness=round(min(found.likeness, 1.0), 3), change=in_words(matrix))


def in_words(matrix: np.ndarray) -> str:
    """What a map between two images does: mirrored, turned, of another size; in words."""
    linear = matrix[:, :2].astype(np.float64)
    mirrored = bool(np.linalg.det(linear) < 0)
    upright = linear @ np.diag([-1.0, 1.0]) if mirrored else linear
    angle = float(np.degrees(np.arctan2(upright[1, 0] - upright[0, 1], upright[0, 0] + upright[1, 1])))
    long, short = np.linalg.svd(linear, compute_uv=False)
    words = ["mirrored"] if mirrored else []
    if abs(angle) >= 1.5:
        words.append(f"turned by {abs(angle):.0f}°")
    size = float(np.sqrt(long * short))
    if abs(size - 1) >= 0.02:
        words.append(f"{'cut to' if size < 1 else 'cut from'} {min(size, 1 / size):.0%} of the side")
    if long / short >= 1.03:
        words.append("squeezed")
    return ", ".join(words) or "in place"


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Threads of OpenCV and of matrix products would only wait for ours: on two busy cores a minute became seven."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(before)


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(cores(), 16))


def _pieces(size: int) -> list[range]:
    return [range(start, min(start + _PIECE, size)) for start in range(0, size, _PIECE)]

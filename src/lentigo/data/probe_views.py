"""What a probe may see of a picture's pixels: a few numbers of its frame, corners, colours, a thumbnail, or beside the
lesion. In: a table, its pack, the rows wanted. Out: one `View` each. The pack goes through in pieces: memory is flat.

Most numbers are taken from 72x72 cells, each the mean of the pixels in it; frame and corners from the pixels.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from PIL import Image
from scipy import ndimage
from scipy.fft import dct

from lentigo.data.pack import ImagePack
from lentigo.data.table import LABEL_NAMES, ImageTable
from lentigo.errors import ImageError
from lentigo.imaging import read_image
from lentigo.machine import cores

CELLS = 72  # a side; 3 x 24, so that a thumbnail is a mean of whole cells
FRAME_FRACTION, CORNER_FRACTION = 8 / 300, 24 / 300  # of the side
DARK_LEVEL = 45  # of 255; the black around a dermatoscope's disc is 0 to 30, dark skin in bad light 60 and more
TRIANGLE_CELLS = 12  # legs of the corner triangles; a disc as wide as the picture leaves legs of 21 cells dark
RUN_CELLS = 24  # how far a corner is followed along its diagonal
THUMBNAIL_PX = 24
FREQUENCIES = 6  # a side, of the thumbnail's cosine transform; 6, 8, 10 and 12 score alike on kaggle10605
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LEAST_MASKED = 20  # images of either class
HALO_CELLS = 3  # around the mask, where a lesion's colour fades out
_MAX_MASKS_FOR_SHARES = 500
_IN_FLIGHT = 64  # images a thread, and no more than so many bytes
_IN_FLIGHT_BYTES = 64_000_000
_MAX_THREADS = 4

Rows = Int64[np.ndarray, " image"]  # positions in the table
Numbers = Float32[np.ndarray, "image feature"]
Cells = UInt8[np.ndarray, "72 72 3"]
Plane = Bool[np.ndarray, "72 72"]


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """What one probe sees of every image, as numbers, and how to speak of it."""

    name: str
    title: str
    seen: str  # goes on after "an AUC of 0.94 can be had from"
    sees_lesion: bool
    features: Numbers  # 0 where not known; no column where nothing can be seen
    known: Bool[np.ndarray, " image"]
    not_run: str = ""  # why nothing can be seen; else empty
    lesion_share: float = math.nan  # of what is seen, in [0, 1]; NaN where no mask tells, or none is needed
    given: Bool[np.ndarray, " image"] | None = None  # of a column: where the table holds a value; None: everywhere


def missing_view(name: str, title: str, seen: str, *, sees_lesion: bool, n: int, not_run: str) -> View:
    """A view of `n` images that cannot be had, with the reason."""
    features, known = np.zeros((n, 0), dtype=np.float32), np.zeros(n, dtype=np.bool_)
    return View(
        name=name, title=title, seen=seen, sees_lesion=sees_lesion, features=features, known=known, not_run=not_run
    )


def pixel_views(pack: ImagePack, rows: Rows, *, progress: Callable[[int], None] | None = None) -> tuple[View, ...]:
    """Frame, corners, dark corners, colour and thumbnail of the images at `rows`.

    * frame, corners: mean and deviation of each channel for each side of the outer 8 of 300 pixels, and for each corner
      of 24 of 300.
    * dark corners: geometry alone, whatever the colours: see `_dark_corners`.
    * colour: mean, deviation and quantiles of each channel over all cells.
    * thumbnail: 24x24 pixels as the lowest 6x6 frequencies of each channel (cosine transform).

    Args:
        progress: called with the number of images done since the last call.
    Raises: DataError: the pack is damaged.
    """
    parts: list[dict[str, Numbers]] = []
    with ThreadPoolExecutor(min(cores(), _MAX_THREADS)) as pool:
        for found in pool.map(lambda piece: _numbers(pack.read(piece)), _pieces(rows, pack.image_px)):
            parts.append(found)
            if progress:
                progress(len(found["frame"]))
    frame_px, corner_px = (_pixels(part, pack.image_px) for part in (FRAME_FRACTION, CORNER_FRACTION))
    about = {
        "frame": ("Frame", f"the outer {frame_px} pixels of the picture", False),
        "corners": ("Corners", f"the four corners of {corner_px} x {corner_px} pixels", False),
        "dark_corners": ("Dark corners", "the shape of the black corners", False),
        "colour": ("Colours", "the colours of the whole picture", True),
        "thumbnail": ("Thumbnail", f"a thumbnail of {THUMBNAIL_PX} x {THUMBNAIL_PX} pixels", True),
    }
    known = np.ones(rows.size, dtype=np.bool_)
    return tuple(
        View(
            name=name,
            title=title,
            seen=seen,
            sees_lesion=sees_lesion,
            features=np.concatenate([part[name] for part in parts]),
            known=known,
        )
        for name, (title, seen, sees_lesion) in about.items()
    )


def outside_view(table: ImageTable, pack: ImagePack, rows: Rows) -> View:
    """Mean, deviation and quantiles of each channel beside the lesion, where a mask tells where that is.

    Only what lies outside the largest circle that fits into the picture counts, less the mask and a margin of 3 cells.
    A large lesion would else leave but the far, darker skin in view, and its size would show in the colours: with discs
    on unevenly lit skin, large for one class and small for the other, everything outside the mask in the outer quarter
    scored an AUC of 0.66, what lies outside the circle 0.50. An image of which less than half of that is free is left
    out, and so is one whose mask is empty or cannot be read.

    Raises: DataError: the pack is damaged.
    """
    about = ("outside_mask", "Beside the lesion", "the picture's colours beside the lesion mask")
    masked = np.array([position for position, row in enumerate(rows) if table.rows[row].mask], dtype=np.int64)
    if reason := _masks_refusal(table, rows[masked]):
        return missing_view(*about, sees_lesion=False, n=rows.size, not_run=reason)
    features = np.zeros((rows.size, 6 + 3 * len(QUANTILES)), dtype=np.float32)
    known = np.zeros(rows.size, dtype=np.bool_)
    for piece in _pieces(masked, pack.image_px):
        beside = [cells_beside(table.rows[row].mask) for row in rows[piece]]
        for position, image, free in zip(piece, pack.read(rows[piece]), beside, strict=True):
            if free is not None:
                features[position] = _colours(_cells(image)[free])
                known[position] = True
    name, title, seen = about
    if reason := _too_few(table.labels[rows[known]], "usable masks"):
        return missing_view(*about, sees_lesion=False, n=rows.size, not_run=reason)
    return View(name=name, title=title, seen=seen, sees_lesion=False, features=features, known=known, lesion_share=0.0)


def with_lesion_shares(views: tuple[View, ...], table: ImageTable, rows: Rows) -> tuple[View, ...]:
    """Views of frame and corners with how much of what they see is lesion on average, by up to 500 masks."""
    masked = [table.rows[row].mask for row in rows if table.rows[row].mask]
    step = max(1, math.ceil(len(masked) / _MAX_MASKS_FOR_SHARES))
    masks = [mask for mask in map(_mask_cells, masked[::step]) if mask.any()]
    if not masks:
        return views
    mean = np.mean(masks, axis=0)
    regions = {"frame": _edge_distance() < 2, "corners": _corner_squares(6), "dark_corners": _TRIANGLES.any(axis=0)}
    shares = {name: float(mean[region].mean()) for name, region in regions.items()}
    return tuple(replace(view, lesion_share=shares.get(view.name, view.lesion_share)) for view in views)


def frame_and_corners(side_px: int) -> dict[str, Bool[np.ndarray, "side side"]]:
    """Which pixels of a picture the probes of frame and corners see."""
    frame_px, corner_px = (_pixels(part, side_px) for part in (FRAME_FRACTION, CORNER_FRACTION))
    near = np.minimum(np.arange(side_px), np.arange(side_px)[::-1])
    at_end = near < corner_px
    return {"frame": np.minimum(near[:, None], near[None]) < frame_px, "corners": at_end[:, None] & at_end[None]}


def corner_cells(image: UInt8[np.ndarray, "height width 3"]) -> tuple[Plane, Plane]:
    """Which cells of a picture the probe of dark corners looks at, and which cells are black for it."""
    run = np.minimum(np.arange(CELLS), np.arange(CELLS)[::-1]) < RUN_CELLS
    diagonals = (np.eye(CELLS, dtype=np.bool_) | np.eye(CELLS, dtype=np.bool_)[::-1]) & run
    return diagonals | _TRIANGLES.any(axis=0), _dark(_cells(image))


def cells_beside(mask: str) -> Plane | None:
    """Which cells lie beside the lesion of a mask file, see `outside_view`; None: too few, or the mask is of no use."""
    lesion = _mask_cells(mask) > 0
    free: Plane = _OUTSIDE_CIRCLE & ~ndimage.binary_dilation(lesion, np.ones((3, 3)), iterations=HALO_CELLS)
    return free if lesion.any() and 2 * free.sum() >= _OUTSIDE_CIRCLE.sum() else None


def thumbnail_as_seen(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "24 24 3"]:
    """What the lowest frequencies of a picture's thumbnail, all that its probe gets, show."""
    waves = dct(np.eye(THUMBNAIL_PX), axis=0, norm="ortho")[:FREQUENCIES]
    spectrum = _thumbnail(_cells(image)).reshape(FREQUENCIES, FREQUENCIES, 3)
    shown = np.einsum("fy,fgc,gx->yxc", waves, spectrum, waves)
    return np.asarray(np.rint(shown).clip(0, 255), dtype=np.uint8)


def _pieces(rows: Rows, image_px: int) -> Iterator[Rows]:
    size = min(_IN_FLIGHT, max(1, _IN_FLIGHT_BYTES // (3 * image_px**2)))
    for start in range(0, rows.size, size):
        yield rows[start : start + size]


def _pixels(fraction: float, image_px: int) -> int:
    return max(2, round(fraction * image_px))


def _numbers(images: UInt8[np.ndarray, "image height width 3"]) -> dict[str, Numbers]:
    """The features of each view of a piece of the pack."""
    frame, corner = (_pixels(part, images.shape[1]) for part in (FRAME_FRACTION, CORNER_FRACTION))
    found: dict[str, list[np.ndarray]] = {"frame": [], "corners": [], "dark_corners": [], "colour": [], "thumbnail": []}
    for image in images:
        sides = (image[:frame], image[-frame:], image[:, :frame], image[:, -frame:])
        ends = (slice(None, corner), slice(-corner, None))
        cells = _cells(image)
        found["frame"].append(np.concatenate([_moments(side) for side in sides]))
        found["corners"].append(np.concatenate([_moments(image[y, x]) for y in ends for x in ends]))
        found["dark_corners"].append(_dark_corners(cells))
        found["colour"].append(_colours(cells.reshape(-1, 3)))
        found["thumbnail"].append(_thumbnail(cells))
    return {name: np.stack(values).astype(np.float32) for name, values in found.items()}


def _cells(image: UInt8[np.ndarray, "height width 3"]) -> Cells:
    return np.asarray(Image.fromarray(image).resize((CELLS, CELLS), Image.Resampling.BOX))


def _moments(region: UInt8[np.ndarray, "height width 3"]) -> Float64[np.ndarray, "6"]:
    """Mean and deviation of each channel; sums of float64 are exact here, so that like regions give like numbers."""
    values = region.reshape(-1, 3).astype(np.float64)
    mean = values.mean(axis=0)
    variance = np.einsum("pc,pc->c", values, values) / len(values) - mean * mean
    return np.concatenate((mean, np.sqrt(variance.clip(0))))


def _colours(pixels: UInt8[np.ndarray, "pixel 3"]) -> Float64[np.ndarray, "21"]:
    """Mean, deviation and quantiles of each channel, from its histogram: four times faster than sorting."""
    places = [round(quantile * (len(pixels) - 1)) for quantile in QUANTILES]
    numbers = []
    for channel in pixels.T:
        counts = np.bincount(channel, minlength=256)
        mean = float(counts @ _LEVELS) / len(pixels)
        variance = float(counts @ (_LEVELS * _LEVELS)) / len(pixels) - mean * mean
        numbers.append([mean, math.sqrt(max(variance, 0.0)), *np.searchsorted(counts.cumsum(), places, side="right")])
    return np.concatenate(numbers)


def _thumbnail(cells: Cells) -> Float32[np.ndarray, "108"]:
    along_rows = _WAVES @ cells.reshape(CELLS, -1).astype(np.float32)
    spectrum: Float32[np.ndarray, "6 6 3"] = np.matmul(_WAVES, along_rows.reshape(FREQUENCIES, CELLS, 3))
    return spectrum.ravel()


def _dark_corners(cells: Cells) -> Float64[np.ndarray, "12"]:
    """Where the cells are black in every channel, seen from the corners; lengths are in cells along the diagonal.

    Four runs from the corners (top left, top right, bottom left, bottom right), at most `RUN_CELLS`; the share of black
    cells in each corner's triangle; how many triangles are more than half black; then the bright disc that ends where
    the runs end: its radius, and how far its centre lies to the right and below.
    """
    dark = _dark(cells)
    corners = (dark, dark[:, ::-1], dark[::-1], dark[::-1, ::-1])
    diagonals = np.array([corner.diagonal()[:RUN_CELLS] for corner in corners])
    runs = np.cumprod(diagonals, axis=1).sum(axis=1).astype(np.float64)
    shares = np.array([dark[triangle].mean() for triangle in _TRIANGLES])
    top_left, top_right, bottom_left, bottom_right = runs
    right = (top_left + bottom_left - top_right - bottom_right) / 4
    below = (top_left + top_right - bottom_left - bottom_right) / 4
    return np.concatenate((runs, shares, [(shares > 0.5).sum(), CELLS / 2 - runs.mean(), right, below]))


def _dark(cells: Cells) -> Plane:
    red, green, blue = np.moveaxis(cells < DARK_LEVEL, 2, 0)
    dark: Plane = red & green & blue
    return dark


def _masks_refusal(table: ImageTable, rows: Rows) -> str:
    if not rows.size:
        return "no image has a lesion mask"
    return _too_few(table.labels[rows], "masks")


def _too_few(labels: Int64[np.ndarray, " masked"], what: str) -> str:
    counts = np.bincount(labels, minlength=2)
    if counts.min() >= LEAST_MASKED:
        return ""
    found = " and ".join(f"{count} {name}" for count, name in zip(counts, LABEL_NAMES, strict=True))
    return f"{found} images have {what}, and {LEAST_MASKED} of either class are needed"


def _mask_cells(path: str) -> Float32[np.ndarray, "72 72"]:
    """Share of each cell that is lesion, whatever number stands for it; 0 throughout where the mask cannot be read."""
    try:
        mask = read_image(Path(path))[..., 0]
    except ImageError:
        return np.zeros((CELLS, CELLS), dtype=np.float32)
    inside = np.where(mask > mask.max() / 2, np.float32(1), np.float32(0))
    return np.asarray(Image.fromarray(inside).resize((CELLS, CELLS), Image.Resampling.BOX))


def _edge_distance() -> Int64[np.ndarray, "72 72"]:
    """Cells between a cell and the nearest edge of the picture."""
    near = np.minimum(np.arange(CELLS), np.arange(CELLS)[::-1])
    return np.minimum(near[:, None], near[None])


def _corner_squares(side: int) -> Plane:
    ends = np.minimum(np.arange(CELLS), np.arange(CELLS)[::-1]) < side
    return ends[:, None] & ends[None]


def _triangles() -> Bool[np.ndarray, "4 72 72"]:
    i = np.arange(CELLS)
    top_left = i[:, None] + i[None] < TRIANGLE_CELLS
    return np.stack((top_left, top_left[:, ::-1], top_left[::-1], top_left[::-1, ::-1]))


def _outside_circle() -> Plane:
    """Cells whose centre is farther from the picture's centre than its sides are."""
    away = np.arange(CELLS) + 0.5 - CELLS / 2
    outside: Plane = np.hypot(away[:, None], away[None]) > CELLS / 2
    return outside


def _low_waves() -> Float32[np.ndarray, "6 72"]:
    """From a line of cells to the lowest frequencies of its thumbnail, orthonormal."""
    thumbnail = np.repeat(np.eye(THUMBNAIL_PX), CELLS // THUMBNAIL_PX, axis=1) * THUMBNAIL_PX / CELLS
    low: Float32[np.ndarray, "6 72"] = dct(thumbnail, axis=0, norm="ortho")[:FREQUENCIES].astype(np.float32)
    return low


_LEVELS = np.arange(256)
_WAVES = _low_waves()
_TRIANGLES = _triangles()
_OUTSIDE_CIRCLE = _outside_circle()

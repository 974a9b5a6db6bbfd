"""A few dozen numbers of a picture that stay where they are when it is turned, mirrored, encoded again or made smaller.

In: 64 px thumbnails. Out: points in a space where a copy lies within about one unit a dimension of its original and
other pictures lie far off, so that a tree finds the few pairs that are worth a closer look.

Each picture is read along circles. How a circle's colours run around is told by its Fourier coefficients; turning the
picture moves their phases, mirroring conjugates them, and the real part of a product of two circles' coefficients of
one frequency does not feel either. Which mixtures of these numbers survive copying, and which tell pictures apart, is
fitted on the data set at hand: copies of some of its own pictures are made, and Fisher's linear discriminants of
picture against copies are kept. A cut moves the circles' centre, which no mixture survives: so each picture is also
described through the windows that a cut would leave, and each window is looked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

THUMBNAIL_PX = 64
CIRCLES = 12
ANGLES = 64
FREQUENCIES = 8  # of the course around a circle; 0 is the circle's mean
DIMENSIONS = 48
_RADII = (np.arange(CIRCLES) + 0.7) / CIRCLES * 0.49  # shares of the picture's side: the corners do not take part
_LEAST_SPREAD = 0.02  # of log colours: a picture of one colour stays finite
_PRINCIPAL = 400  # components kept before the discriminants, most of the variance of the numbers
_RIDGE = 0.05  # of the mean variance, added to the scatter of copies: few pictures do not make a direction look quiet
_UPPER = np.triu_indices(CIRCLES)


@dataclass(frozen=True)
class Window:
    """A part of a picture: centre and size as shares of its sides; looked at brighter by a factor."""

    x: float = 0.5
    y: float = 0.5
    width: float = 1.0
    height: float = 1.0
    gain: float = 1.0


def _cut(side: float, steps: int) -> list[Window]:
    """A square cut at `steps` x `steps` places from edge to edge."""
    places = np.linspace(side / 2, 1 - side / 2, steps)
    return [Window(float(x), float(y), side, side) for x in places for y in places]


# Whole; brighter until it clips; cut to its middle by up to a fifth; cut anywhere to 0.95 or 0.9 of the side, in steps
# small enough that the circles' centre is off by less than 1 %; 4:3 cut to its middle and squeezed.
WINDOWS: tuple[Window, ...] = (
    Window(),
    Window(gain=1.2),
    Window(width=0.85, height=0.85),
    Window(width=0.8, height=0.8),
    *_cut(0.95, 5),
    *_cut(0.9, 7),
    Window(width=0.75),
    Window(height=0.75),
)


@dataclass(frozen=True, eq=False)
class Projection:
    """From raw numbers to the space in which copies lie close together."""

    matrix: Float32[np.ndarray, "number dimension"]
    offset: Float32[np.ndarray, " dimension"]

    def __call__(self, numbers: Float32[np.ndarray, "picture number"]) -> Float32[np.ndarray, "picture dimension"]:
        points: Float32[np.ndarray, "picture dimension"] = numbers @ self.matrix - self.offset
        return points


def thumbnail(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "64 64 3"]:
    """The picture at 64 x 64 pixels, each the mean of its area."""
    side = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(cv2.resize(image, side, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def circles(
    thumbnails: UInt8[np.ndarray, "picture 64 64 3"], windows: Sequence[Window]
) -> Float32[np.ndarray, "window picture 3 circle angle"]:
    """Log brightness and two log colour ratios along the circles of each window."""
    found = np.empty((len(windows), len(thumbnails), 3, CIRCLES, ANGLES), dtype=np.float32)
    for gain in {window.gain for window in windows}:
        chosen = [index for index, window in enumerate(windows) if window.gain == gain]
        across, down = _places(tuple(windows[index] for index in chosen))
        for picture, image in enumerate(thumbnails):
            read = cv2.remap(_log_colours(image, gain), across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            found[chosen, picture] = np.moveaxis(read.reshape(len(chosen), CIRCLES, ANGLES, 3), -1, 1)
    return found


def invariants(read: Float32[np.ndarray, "picture 3 circle angle"]) -> Float32[np.ndarray, "picture number"]:
    """The numbers that neither turning nor mirroring changes, of pictures read along circles."""
    count = len(read)
    waves = (read.reshape(-1, ANGLES) @ _fourier()).reshape(count, 3, CIRCLES, 2, FREQUENCIES)
    mean = waves[:, :, :, 0, 0].mean(2)
    power = np.einsum("pcra,pcra->pc", read, read) / (CIRCLES * ANGLES)
    spread = np.sqrt(np.maximum(power - mean**2, 0)) + _LEAST_SPREAD
    waves[:, :, :, 0, 0] -= mean[:, :, None]
    real, imaginary = np.moveaxis(waves / spread[:, :, None, None, None], 3, 0)
    numbers = [mean[:, 1:], np.log(spread), real[..., 0].reshape(count, -1)]
    for frequency in range(1, FREQUENCIES):
        a, b = real[..., frequency], imaginary[..., frequency]
        products = (a[..., :, None] * a[..., None, :] + b[..., :, None] * b[..., None, :])[..., _UPPER[0], _UPPER[1]]
        numbers.append(_signed_root(products).reshape(count, -1))
    for one, other in ((0, 1), (0, 2), (1, 2)):  # the same of two colours, of the slowest waves
        across = real[:, one] * real[:, other] + imaginary[:, one] * imaginary[:, other]
        numbers.append(_signed_root(across[..., 1:4]).reshape(count, -1))
    return np.concatenate(numbers, axis=1)


def fit_projection(
    pictures: Float32[np.ndarray, "picture number"],
    originals: Float32[np.ndarray, "original number"],
    copies: Float32[np.ndarray, "copy original number"],
) -> Projection:
    """Fisher's linear discriminants of pictures against copies, scaled so that copies scatter by one unit.

    Args:
        pictures: two or more, which stand for all.
        originals: some pictures, of which `copies` were made.
    Source: Fisher 1936, Annals of Eugenics 7(2):179-188, doi:10.1111/j.1469-1809.1936.tb02137.x.
    """
    import scipy.linalg

    mean, spread = pictures.mean(0), pictures.std(0) + 1e-3
    scaled = (pictures - mean) / spread
    axes = np.linalg.svd(scaled, full_matrices=False)[2][:_PRINCIPAL].T
    moved = ((copies - originals) / spread @ axes).reshape(-1, axes.shape[1]).astype(np.float64)
    of_copies = moved.T @ moved / len(moved)
    of_copies += (_RIDGE * np.trace(of_copies) / len(of_copies) + 1e-9) * np.eye(len(of_copies))
    of_pictures = np.cov((scaled @ axes).astype(np.float64).T)
    vectors = scipy.linalg.eigh(of_pictures, of_copies)[1][:, ::-1][:, :DIMENSIONS]
    matrix = ((axes @ vectors) / spread[:, None]).astype(np.float32)
    return Projection(matrix, (mean @ matrix).astype(np.float32))


def turns_between(
    one: Float32[np.ndarray, "3 circle angle"], other: Float32[np.ndarray, "3 circle angle"], *, most: int
) -> list[tuple[float, bool]]:
    """How `one` may have to be turned to lie on `other`, the likeliest first.

    Args:
        most: how many guesses at most.
    Returns: angles in radians, counted as the circles run, each with whether `one` must be mirrored first, after which
        its circles run the other way round.
    """
    # Slow waves are alike in many turns: faster ones weigh more.
    weight = np.sqrt(np.arange(ANGLES // 2 + 1))
    waves = [np.fft.rfft(_standard(read), axis=-1) * weight for read in (one, other)]
    found = []
    for mirrored in (False, True):
        turned = waves[0].conj() if mirrored else waves[0]
        likeness = np.fft.irfft((waves[1] * turned.conj()).sum((0, 1)), ANGLES)
        before, after = np.roll(likeness, 1), np.roll(likeness, -1)
        for step in np.flatnonzero((likeness > before) & (likeness >= after)):
            bend = before[step] - 2 * likeness[step] + after[step]
            between = (before[step] - after[step]) / (2 * bend)  # the top of a parabola through three points
            found.append((float(likeness[step]), float((step + between) * 2 * np.pi / ANGLES), mirrored))
    return [(angle, mirrored) for _, angle, mirrored in sorted(found, reverse=True)[:most]]


def _standard(read: Float32[np.ndarray, "3 circle angle"]) -> Float32[np.ndarray, "3 circle angle"]:
    """Without each colour's mean and spread; an outer circle, which stands for more of the picture, weighs more."""
    centred = read - read.mean((1, 2), keepdims=True)
    weight = np.sqrt(_RADII)[:, None].astype(np.float32)
    return np.asarray(centred / (centred.std((1, 2), keepdims=True) + _LEAST_SPREAD) * weight)


def _log_colours(image: UInt8[np.ndarray, "64 64 3"], gain: float) -> Float32[np.ndarray, "64 64 3"]:
    """Log brightness, and how far log red and log blue lie from it; a change of exposure only shifts the first."""
    logs = np.log(np.minimum(image.astype(np.float32) * np.float32(gain), 255) + 16)
    brightness = logs.mean(-1)
    return np.stack([brightness, logs[..., 0] - brightness, logs[..., 2] - brightness], axis=-1)


@cache
def _places(windows: tuple[Window, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Pixel columns and rows of all circles of all windows, each (window * circle, angle)."""
    angles = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    across = [w.x + w.width * _RADII[:, None] * np.cos(angles) for w in windows]
    down = [w.y + w.height * _RADII[:, None] * np.sin(angles) for w in windows]
    both = (np.concatenate(part) * THUMBNAIL_PX - 0.5 for part in (across, down))
    x, y = (np.ascontiguousarray(part, dtype=np.float32) for part in both)
    return x, y


@cache
def _fourier() -> Float32[np.ndarray, "angle wave"]:
    """Cosines, then sines, of the first frequencies, over the number of angles."""
    turns = np.outer(np.arange(ANGLES), np.arange(FREQUENCIES)) * (2 * np.pi / ANGLES)
    return (np.concatenate([np.cos(turns), -np.sin(turns)], axis=1) / ANGLES).astype(np.float32)


def _signed_root(products: np.ndarray) -> np.ndarray:
    return np.asarray(np.sign(products) * np.sqrt(np.abs(products)))

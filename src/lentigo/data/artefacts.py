"""What lies on the skin or before the lens, drawn over an image: hair, ruler, ink, gel bubbles, dark frame, flash.

In: an RGB uint8 image, an amount in the unit that `data.changes` states, a generator. Out: a new image of the same
size. All draws are made before the amount is looked at, so that of one generator a greater amount is the smaller one
with more: the same hairs and further ones. Lengths are fractions of the image's shorter side.
"""

import math

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from lentigo.data.light import LIGHT, pixels_of

Image = UInt8[np.ndarray, "height width 3"]
Layer = UInt8[np.ndarray, "height width"]  # how much of a pixel is covered, 0 to 255
Canvas = UInt8[np.ndarray, "large_height large_width"]  # a layer as it is drawn, `_FINE` times as large

MOST_HAIRS, MOST_BUBBLES = 60, 80
# Absorbance of red, green and blue light by gentian violet, the dye of surgical pens: it lets blue through.
GENTIAN_VIOLET = np.array([1.55, 1.75, 0.5], dtype=np.float32)
_FINE = 4  # times as large are layers drawn, and reduced
_SHIFT = 4  # OpenCV takes points in 1 / 2^4 of a pixel


def draw_hairs(image: Image, count: float, rng: np.random.Generator) -> Image:
    """Dark hairs that grow in one direction, more or less, bend and thin out towards the tip."""
    n, t = MOST_HAIRS, np.linspace(0, 1, 14)[:, None]
    strayed = rng.random(n) < 0.15
    angle = rng.uniform(0, math.tau) + np.where(strayed, rng.uniform(0, math.tau, n), rng.normal(0, 0.3, n))
    length, middle = rng.uniform(0.35, 1.1, n), rng.uniform(0, 1, (n, 2))
    bend, wave = rng.normal(0, 0.12, n) * length, rng.normal(0, 0.03, n) * length
    thick = rng.uniform(0.005, 0.009) * rng.uniform(0.6, 1.2, n) / 2
    covers = rng.integers(225, 256, n)
    colour = np.array([0.030, 0.018, 0.011], dtype=np.float32) * np.float32(rng.uniform(0.3, 2.2))

    forward = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    sideways = forward[:, ::-1] * (-1, 1)
    off = bend * np.sin(np.pi * t) + wave * np.sin(2 * np.pi * t)
    curve = ((t - 0.5) * length)[..., None] * forward + off[..., None] * sideways
    half_width = (thick * (1 - 0.65 * t**2))[..., None] * sideways
    ribbon = np.concatenate((curve + half_width, (curve - half_width)[::-1])).transpose(1, 0, 2)
    height, width = image.shape[:2]
    points = _fixed(ribbon * min(height, width) + (middle * (width, height))[:, None])
    layer = _canvas(image)
    for hair in reversed(range(min(round(count), n))):  # the first on top, so that a further one hides none
        cv2.fillPoly(layer, [points[hair]], int(covers[hair]), shift=_SHIFT)
    return _painted(image, _reduced(layer, image), colour)


def draw_ruler(image: Image, share: float, rng: np.random.Generator) -> Image:
    """Millimetre ticks along `share` of one edge, every fifth longer, every tenth with its number."""
    height, width = image.shape[:2]
    side = min(height, width)
    edge, spacing, margin = int(rng.integers(4)), rng.uniform(0.03, 0.05), rng.uniform(0.015, 0.05)
    tilt, first, size = rng.uniform(-0.04, 0.04), int(rng.integers(10)), rng.uniform(0.028, 0.04)
    thickness, colour = rng.uniform(0.0035, 0.006), np.full(3, rng.uniform(0.005, 0.03), dtype=np.float32)
    long_px, deep_px = (height, width) if edge % 2 else (width, height)
    layer, pen = _canvas(image), max(1, round(thickness * side * _FINE))
    for tick in range(math.ceil(share * long_px / (spacing * side))):
        along, mark = (tick + 0.5) * spacing * side, first + tick
        tall = size * (2.0 if mark % 10 == 0 else 1.5 if mark % 5 == 0 else 1.0)
        near = margin * side + tilt * along + (0.04 * side if tilt < 0 else 0.0)
        ends = np.array([[along, near], [along + tilt * tall * side, near + tall * side]])
        cv2.line(layer, _to_edge(ends[0], edge, deep_px), _to_edge(ends[1], edge, deep_px), 225, pen)
        if mark % 10 == 0:
            at = _to_edge(ends[1] + (0.25 * spacing * side, 0.01 * side), edge, deep_px)
            cv2.putText(layer, str(mark // 10), at, cv2.FONT_HERSHEY_SIMPLEX, 0.0016 * side * _FINE, 225, pen)
    return _painted(image, _reduced(layer, image), colour)


def draw_ink(image: Image, sweep_degrees: float, rng: np.random.Generator) -> Image:
    """A pen's stroke or dots on a ring around the middle, `sweep_degrees` long: violet, ragged, with skin seen through.

    Light goes through ink as Beer and Lambert have it, so that what lies below stays visible.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    start, way, dotted = rng.uniform(0, math.tau), rng.choice([-1, 1]), rng.random() < 0.4
    radius, wobble, phase = (
        rng.uniform(0.34, 0.44),
        rng.normal(0, (0.018, 0.018, 0.018, 0.006)),
        rng.uniform(0, math.tau, 4),
    )
    pen, density = rng.uniform(0.022, 0.042), rng.uniform(0.8, 1.3)
    tint = (GENTIAN_VIOLET * rng.uniform(0.85, 1.15, 3)).astype(np.float32)
    patches, grain = (rng.random((n, n), dtype=np.float32) for n in (9, 75))

    step = 3 * pen / radius if dotted else math.radians(3)
    turned = np.arange(0, math.radians(sweep_degrees) + step / 2, step)
    reach = radius + (wobble * np.sin(np.outer(turned, (1, 2, 3, 7)) + phase)).sum(axis=1)
    ring = np.stack((np.cos(start + way * turned), np.sin(start + way * turned)), axis=1) * reach[:, None]
    points = _fixed(ring * side + (width / 2, height / 2))
    layer, thickness = _canvas(image), max(2, round(pen * side * _FINE))
    if dotted:
        for x, y in points.tolist():
            cv2.circle(layer, (x, y), round(0.6 * thickness) << _SHIFT, 255, cv2.FILLED, shift=_SHIFT)
    else:
        cv2.polylines(layer, [points], False, 255, thickness, shift=_SHIFT)
    soft = cv2.GaussianBlur(_reduced(layer, image), (0, 0), max(0.006 * side, 0.3))
    inked = np.flatnonzero(soft)
    fine, coarse = (
        cv2.resize(g, (width, height), interpolation=cv2.INTER_CUBIC).ravel()[inked] for g in (grain, patches)
    )
    cover = (soft.ravel()[inked] / np.float32(85) - 1 + 0.9 * (fine - 0.5)).clip(0, 1)  # a ragged edge
    absorbance = np.float32(density) * cover * (0.55 + 0.6 * coarse) * (0.8 + 0.4 * fine)
    drawn, pixels = image.copy(), image.reshape(-1, 3)[inked]
    drawn.reshape(-1, 3)[inked] = pixels_of(LIGHT[pixels] * np.exp(-absorbance[:, None] * tint))
    return drawn


def draw_bubbles(image: Image, count: float, rng: np.random.Generator) -> Image:
    """Air in the gel: rings, dark outside and bright inside, with the lamp mirrored in each of them."""
    height, width = image.shape[:2]
    side = min(height, width) * _FINE
    at = rng.uniform(0, 1, (MOST_BUBBLES, 2)) * (width * _FINE, height * _FINE)
    radius = side * np.minimum(0.006 * np.exp(rng.exponential(0.75, MOST_BUBBLES)), 0.045)
    lamp = rng.uniform(0, 360)
    dark, bright = _canvas(image), _canvas(image)
    for bubble in reversed(range(min(round(count), MOST_BUBBLES))):
        centre, r = (round(at[bubble, 0]), round(at[bubble, 1])), radius[bubble]
        rim = max(1, round(0.0035 * side))
        for layer, fill in ((dark, 0), (bright, 14)):  # what lies below it is hidden
            cv2.circle(layer, centre, round(r), fill, cv2.FILLED)
        cv2.circle(dark, centre, round(r), 120, rim)
        inner = max(1, round(r - rim))
        cv2.circle(bright, centre, inner, 60, max(1, round(0.6 * rim)))
        cv2.ellipse(bright, centre, (max(1, round(0.8 * inner)),) * 2, lamp, -28, 28, 235, max(1, round(0.22 * r)))
        cv2.ellipse(bright, centre, (max(1, round(0.85 * inner)),) * 2, lamp, 150, 210, 90, max(1, round(0.1 * r)))
    return _painted(image, _reduced(dark, image), np.full(3, 0.02, dtype=np.float32), _reduced(bright, image))


def draw_dark_frame(image: Image, radius: float, rng: np.random.Generator) -> Image:
    """The black round edge of a dermoscope's field; inside the circle no pixel is changed.

    Args:
        radius: of the circle, as a fraction of half the diagonal: from 1 on nearly nothing is covered.
    """
    height, width = image.shape[:2]
    aside_x, aside_y = rng.uniform(-0.03, 0.03, 2) * min(height, width)
    x = np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2 + aside_x)
    y = np.arange(height, dtype=np.float32) - np.float32((height - 1) / 2 + aside_y)
    outside = np.sqrt(x**2 + y[:, None] ** 2) - np.float32(radius * math.hypot(width, height) / 2)
    kept = (1 - outside / np.float32(max(0.012 * min(height, width), 1.0))).clip(0.02, 1)
    framed: Image = np.rint(image * kept[..., None]).astype(np.uint8)
    return framed


def draw_flash(image: Image, spread: float, rng: np.random.Generator) -> Image:
    """A phone's lamp mirrored by the skin: a white patch, broken up by the skin's relief, in a halo.

    Args:
        spread: standard deviation of the patch, as a fraction of the shorter side.
    """
    height, width = image.shape[:2]
    side = min(height, width)
    away, towards = rng.uniform(0.08, 0.3), rng.uniform(0, math.tau)
    turn, oval = rng.uniform(0, math.pi), rng.uniform(1.0, 1.5)
    relief = rng.uniform(0.4, 1.3, (110, 110)).astype(np.float32)
    x = np.arange(width, dtype=np.float32) - np.float32(width / 2 + away * side * math.cos(towards))
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(height / 2 + away * side * math.sin(towards))
    along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    squared = ((along / math.sqrt(oval)) ** 2 + across**2 * math.sqrt(oval)) / np.float32((spread * side) ** 2)
    lit = np.flatnonzero(squared < 40)  # beyond, it adds less than one step to a black pixel
    uneven = cv2.resize(relief, (width, height), interpolation=cv2.INTER_CUBIC).ravel()[lit]
    gleam = 1.4 * np.exp(-squared.ravel()[lit] / 2) * uneven + 0.25 * np.exp(-squared.ravel()[lit] / 6)
    drawn, pixels = image.copy(), image.reshape(-1, 3)[lit]
    drawn.reshape(-1, 3)[lit] = pixels_of(LIGHT[pixels] + (gleam * _in_view(pixels))[:, None])
    return drawn


def _canvas(image: Image) -> Canvas:
    return np.zeros((image.shape[0] * _FINE, image.shape[1] * _FINE), dtype=np.uint8)


def _reduced(layer: Canvas, image: Image) -> Layer:
    return np.asarray(cv2.resize(layer, image.shape[1::-1], interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _fixed(points: Float[np.ndarray, "*shape 2"]) -> Int32[np.ndarray, "*shape 2"]:
    """Points of the image on the canvas, in OpenCV's fractions of a pixel."""
    fixed: Int32[np.ndarray, "*shape 2"] = np.rint(points * (_FINE << _SHIFT)).astype(np.int32, order="C")
    return fixed


def _to_edge(point: Float[np.ndarray, "2"], edge: int, deep_px: int) -> tuple[int, int]:
    """From (along, away from the edge) to x and y on the canvas; edges: top, left, bottom, right."""
    along, away = float(point[0]), float(point[1])
    away = away if edge < 2 else deep_px - away
    x, y = (away, along) if edge % 2 else (along, away)
    return round(x * _FINE), round(y * _FINE)


def _painted(image: Image, shade: Layer, colour: Float32[np.ndarray, "3"], gleam: Layer | None = None) -> Image:
    """The image where `shade` covers it with light of `colour`, if that is darker, and `gleam` adds white light."""
    touched = np.flatnonzero(shade if gleam is None else cv2.max(shade, gleam))
    pixels = image.reshape(-1, 3)[touched]
    light = LIGHT[pixels]
    light -= (shade.ravel()[touched] / np.float32(255))[:, None] * (light - colour).clip(0)
    if gleam is not None:
        light += (gleam.ravel()[touched] / np.float32(255) * _in_view(pixels))[:, None]
    drawn = image.copy()
    drawn.reshape(-1, 3)[touched] = pixels_of(light)
    return drawn


def _in_view(pixels: UInt8[np.ndarray, "pixel 3"]) -> Float32[np.ndarray, " pixel"]:
    """0 in the black outside of a dermoscope's field, where no lamp shines; 1 on skin and lesion."""
    seen: Float32[np.ndarray, " pixel"] = ((pixels.max(axis=1) - np.float32(12)) / np.float32(28)).clip(0, 1)
    return seen

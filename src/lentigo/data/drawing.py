"""The picture of a drawn lesion: its parameters in, pixels and mask out.

Light goes through pigments as Beer and Lambert have it: linear light times exp(-absorbance), so that more melanin goes
from tan over brown to black on any skin. Random grids have a size of their own, in cells a picture: another `size`
shows the same scene.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image, ImageDraw
from scipy import ndimage

COLOURS = ("light-brown", "dark-brown", "black", "blue-grey", "red", "white")  # the six of dermoscopy's ABCD rule
SKIN_SRGB = ((243, 216, 207), (236, 201, 182), (221, 179, 154), (192, 145, 118), (148, 104, 82), (104, 73, 60))
# Absorbance of red, green, blue light per unit of pigment: what makes more melanin go from tan over brown to black on
# any skin, and more blood go red.
MELANIN = np.array([0.52, 0.98, 1.42], dtype=np.float32)
BLOOD = np.array([0.06, 0.50, 0.40], dtype=np.float32)
# What covers the skin instead of filtering its light, in units of the light that the bare skin reflects.
BLACK = np.array([0.05, 0.035, 0.03], dtype=np.float32)
BLUE_GREY = np.array([0.13, 0.19, 0.27], dtype=np.float32)
WHITE = np.array([1.15, 0.84, 0.75], dtype=np.float32)
# How far each colour fades into the next, in lesion radii. Light brown is the ground that the others lie on.
PATCH_SOFTNESS = {"dark-brown": 0.3, "black": 0.2, "blue-grey": 0.35, "red": 0.35, "white": 0.3}

Plane = Float32[np.ndarray, "size size"]


@dataclass(frozen=True, kw_only=True)
class LesionParameters:
    """What a picture is drawn from. Lengths are fractions of the picture's side, angles are in radians."""

    asymmetry: float  # 0 = outline and colours are symmetric, 1 = lopsided
    border_irregularity: float  # 0 = smooth, 1 = notched
    colour_count: int  # 1 to 6
    diameter_fraction: float  # of the circle with the lesion's area
    colours: tuple[str, ...]  # the first colour_count of this picture's order of COLOURS
    centre_x: float  # 0 is the picture's middle
    centre_y: float
    angle: float  # of the longer axis
    elongation: float  # longer by shorter axis, before asymmetry acts
    pigment: float  # absorbance of the lesion in units of MELANIN
    redness: float  # absorbance of the lesion in units of BLOOD
    border_softness: float  # width in which the pigment fades, as a fraction of the lesion's radius
    network: float  # contrast of the pigment network
    network_period: float
    globules: int
    streaks: int
    skin_tone: int  # 1 very light to 6 dark
    mottling: float  # contrast of the skin's patches
    cast_warm: float  # the camera's white balance: log gain of red against blue
    cast_pink: float  # log gain of red and blue against green
    exposure: float  # log gain
    light_tilt: float  # log of the light's fall from one side to the other
    light_angle: float
    vignette: float  # log of the light's fall in the corners
    blur: float  # standard deviation
    noise: float  # standard deviation, as a fraction of white
    hair_count: int
    hair_width: float
    ruler: bool
    bubbles: int
    frame: bool
    frame_radius: float


def draw_picture(
    p: LesionParameters, size: int, scene: np.random.Generator, lesion: np.random.Generator
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """Light through the skin (Beer and Lambert), then the lens and what lies on the skin, then the camera."""
    ruled = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = np.meshgrid(ruled, ruled)
    skin = (np.array(SKIN_SRGB[p.skin_tone - 1], dtype=np.float32) / 255) ** 2.2
    melanin, blood, gleam = _skin_pigments(p, x, y, scene)
    mask, cover = _outline(p, x, y, lesion)
    added_melanin, added_blood, coverings = _lesion_pigments(p, x, y, cover, lesion)
    melanin, blood = melanin * (1 - 0.7 * cover) + added_melanin, blood + added_blood
    light = skin * np.exp(gleam[..., None] - melanin[..., None] * MELANIN - blood[..., None] * BLOOD)
    for weight, colour in coverings:
        light += weight[..., None] * (skin.mean() * colour - light)
    light = _put_on_skin(p, light, size, scene)
    light *= np.exp(_lens(p, x, y))[..., None] * _white_balance(p)
    if p.frame:
        dx, dy = scene.uniform(-0.02, 0.02), scene.uniform(-0.02, 0.02)
        inside = _soft_step(p.frame_radius - np.hypot(x - dx, y - dy), 0.006)
        light = 0.001 + inside[..., None] * (light - 0.001)
    return _photograph(p, light, size, scene), mask


def _noise(rng: np.random.Generator, size: int, cells: int, octaves: int = 1) -> Plane:
    """Smooth noise of mean 0 and deviation about 1: random grids of `cells` a side and finer, enlarged."""
    total = np.zeros((size, size), dtype=np.float32)
    for octave in range(octaves):
        grid = rng.standard_normal((cells * 2**octave,) * 2, dtype=np.float32)
        total += np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)) * 0.6**octave
    return total * np.float32(1.25 / math.sqrt(sum(0.36**octave for octave in range(octaves))))


def _soft_step(distance: Plane, width: float | Plane) -> Plane:
    """From 0 to 1 where `distance` passes 0."""
    step: Plane = (0.5 + 0.5 * np.tanh(distance / width)).astype(np.float32)
    return step


def _mesh(x: Plane, y: Plane, period: float, angle: float) -> Plane:
    """A honeycomb: 1 on the lines, 0 in the holes. Three waves at 120 degrees; the caller bends x and y."""
    lines: Plane = np.full(x.shape, 1.4 / 2.4, dtype=np.float32)
    for a in (angle, angle + math.tau / 3, angle - math.tau / 3):
        phase = np.float32(math.tau / period) * (x * np.float32(math.cos(a)) + y * np.float32(math.sin(a)))
        lines -= np.cos(phase) / 2.4
    return lines.clip(0, 1)


def _skin_pigments(p: LesionParameters, x: Plane, y: Plane, rng: np.random.Generator) -> tuple[Plane, Plane, Plane]:
    """Melanin, blood and log reflection of the skin around, in which tone 0 is `SKIN_SRGB`."""
    size = x.shape[0]
    patches, flush, bend_x, bend_y = (
        _noise(rng, size, cells, octaves) for cells, octaves in ((5, 5), (4, 4), (12, 3), (12, 3))
    )
    angle, period = rng.uniform(0, math.tau), rng.uniform(0.022, 0.04)
    furrows = _mesh(x + 0.018 * bend_x, y + 0.018 * bend_y, period, angle) * np.clip(0.6 + 0.4 * flush, 0, 1)
    pores = _noise(rng, size, 110)
    freckles = np.clip(_noise(rng, size, 20) - 1.1, 0, None) * np.clip(patches, 0, None)
    melanin = p.mottling * (patches + 2.2 * freckles + 0.5 * pores) + 0.06 * furrows
    blood = 1.3 * p.mottling * flush + 0.5 * p.mottling * pores
    gleam = 0.03 * np.clip(_noise(rng, size, 90) - 0.8, 0, None) - 0.02 * furrows
    return melanin.astype(np.float32), blood.astype(np.float32), gleam.astype(np.float32)


def _polar(p: LesionParameters, x: Plane, y: Plane) -> tuple[Plane, Plane]:
    """Distance from the lesion's middle in units of its radius, stretched along its axis, and the angle."""
    dx, dy = x - p.centre_x, y - p.centre_y
    along = (dx * math.cos(p.angle) + dy * math.sin(p.angle)) / math.sqrt(p.elongation)
    across = (dy * math.cos(p.angle) - dx * math.sin(p.angle)) * math.sqrt(p.elongation)
    radius = p.diameter_fraction / 2
    return (np.hypot(along, across) / radius).astype(np.float32), np.arctan2(across, along).astype(np.float32)


def _outline(
    p: LesionParameters, x: Plane, y: Plane, rng: np.random.Generator
) -> tuple[Bool[np.ndarray, "size size"], Plane]:
    """The mask, and how far the pigment covers the skin (0.5 on the mask's edge).

    The edge is a level line of a bent cone, at the level that encloses the area of `diameter_fraction` to the pixel.
    """
    size = x.shape[0]
    rho, theta = _polar(p, x, y)
    lobes, notches = rng.standard_normal((2, 3)), rng.standard_normal((2, 9))
    reach = np.ones_like(rho)
    lobes *= 0.55 * p.asymmetry / np.hypot(*lobes).sum()
    notches *= 0.04 * p.border_irregularity
    for waves, (sine, cosine) in enumerate((*lobes.T, *notches.T), start=1):  # three lobes, then finer notches
        reach += (sine * np.sin(waves * theta) + cosine * np.cos(waves * theta)).astype(np.float32)
    rough = _noise(rng, size, round(3 / p.diameter_fraction), 4)
    ragged = (0.03 + 0.17 * p.border_irregularity) * rough
    bent = rho * (0.8 + 0.2 * rho) / np.clip(reach, 0.4, None)  # the square keeps arms short
    outside = np.clip(np.hypot(x, y) - 0.42, 0, None)  # no lesion leaves the picture, so that its area is the drawn one
    cone = ragged * np.clip(rho, 0, 1) - bent - 20 * outside
    inside = round(math.pi * (p.diameter_fraction * size / 2) ** 2)
    level = np.partition(cone, cone.size - inside, axis=None)[cone.size - inside]
    softness = p.border_softness * (1.3 - 0.8 * p.border_irregularity) * (1 + 0.5 * np.tanh(_noise(rng, size, 6)))
    return cone >= level, _soft_step(cone - level, softness.astype(np.float32))


def _lesion_pigments(
    p: LesionParameters, x: Plane, y: Plane, cover: Plane, rng: np.random.Generator
) -> tuple[Plane, Plane, list[tuple[Plane, Float32[np.ndarray, "3"]]]]:
    """Melanin, blood, and what covers them: weight and colour of each covering, the lowest first."""
    size = x.shape[0]
    rho, _ = _polar(p, x, y)
    patch = {colour: _patch(p, x, y, PATCH_SOFTNESS[colour], rng) * cover for colour in PATCH_SOFTNESS}
    weight = {colour: patch[colour] if colour in p.colours else np.zeros_like(cover) for colour in PATCH_SOFTNESS}
    bend_x, bend_y = _noise(rng, size, 14, 3), _noise(rng, size, 14, 3)
    mesh = _mesh(x + 0.012 * bend_x, y + 0.012 * bend_y, p.network_period, p.angle)
    clouds, grain = _noise(rng, size, 9, 4), _noise(rng, size, 90)
    fading = np.clip(0.7 + 0.5 * _noise(rng, size, 5), 0, 1)
    texture = 1 + 0.16 * clouds + 0.06 * grain + p.network * fading * (mesh - 0.4)
    depth = p.pigment * (1 + 0.25 * np.clip(1 - rho, 0, 1)) + 1.5 * weight["dark-brown"] + 2.5 * weight["black"]
    melanin = cover * np.clip(texture, 0.15, None) * depth + _dots_and_streaks(p, size, rng) * np.clip(cover, 0.15, 1)
    blood = cover * p.redness * (1 + 0.3 * clouds) + 2.2 * weight["red"]
    melanin *= 1 - 0.75 * weight["red"]
    opacity = (0.92 + 0.12 * clouds - 0.15 * p.network * mesh).clip(0, 1)  # what lies below shows through
    coverings = [(0.95 * weight["black"], BLACK), (opacity * weight["blue-grey"], BLUE_GREY)]
    return melanin, blood, [*coverings, (0.72 * weight["white"], WHITE)]


def _patch(p: LesionParameters, x: Plane, y: Plane, softness: float, rng: np.random.Generator) -> Plane:
    """Where one colour lies: a ragged blob, in the middle of a symmetric lesion and to one side of a lopsided one."""
    radius = p.diameter_fraction / 2
    away, angle = radius * math.sqrt(p.asymmetry) * rng.uniform(0.15, 0.75), rng.uniform(0, math.tau)
    extent = rng.uniform(0.4, 0.65)
    dx, dy = x - p.centre_x - away * math.cos(angle), y - p.centre_y - away * math.sin(angle)
    bent = np.hypot(dx, dy) / radius + 0.22 * _noise(rng, x.shape[0], 12, 4)
    return (1.18 * _soft_step((extent - bent).astype(np.float32), softness)).clip(0, 1)  # whole in its middle


def _dots_and_streaks(p: LesionParameters, size: int, rng: np.random.Generator) -> Plane:
    """Melanin of globules (anywhere in the lesion) and of streaks (fingers across the edge)."""
    layer = Image.new("L", (2 * size, 2 * size))
    pen, side, radius = ImageDraw.Draw(layer), 2 * size, p.diameter_fraction / 2
    for _ in range(p.globules):
        away, angle, dot = radius * math.sqrt(rng.uniform(0, 0.8)), rng.uniform(0, math.tau), rng.uniform(0.003, 0.009)
        x, y = 0.5 + p.centre_x + away * math.cos(angle), 0.5 + p.centre_y + away * math.sin(angle)
        box = [(x - dot) * side, (y - dot) * side, (x + dot) * side, (y + dot) * side]
        pen.ellipse(box, fill=int(rng.integers(60, 200)))
    sector = rng.uniform(0, math.tau)
    for _ in range(p.streaks):
        angle = sector + rng.uniform(0, 2.4)
        ends = [radius * rng.uniform(low, low + 0.25) for low in (0.6, 0.95)]
        line = [
            ((0.5 + p.centre_x + e * math.cos(angle)) * side, (0.5 + p.centre_y + e * math.sin(angle)) * side)
            for e in ends
        ]
        pen.line(line, fill=int(rng.integers(60, 160)), width=max(1, round(rng.uniform(0.004, 0.01) * side)))
    soft: Plane = ndimage.gaussian_filter(np.asarray(layer.reduce(2), dtype=np.float32), 0.004 * size)
    soft *= 1.5 / 255
    return soft


def _put_on_skin(
    p: LesionParameters, light: Float32[np.ndarray, "size size 3"], size: int, rng: np.random.Generator
) -> Float32[np.ndarray, "size size 3"]:
    """Hair, ruler and gel bubbles, drawn at twice the size and reduced."""
    dark, bright = (Image.new("L", (2 * size, 2 * size)) for _ in range(2))
    _draw_hairs(p, ImageDraw.Draw(dark), 2 * size, rng)
    _draw_bubbles(p, ImageDraw.Draw(dark), ImageDraw.Draw(bright), 2 * size, rng)
    if p.ruler:
        _draw_ruler(ImageDraw.Draw(dark), 2 * size, rng)
    shade, glint = (np.asarray(layer.reduce(2), dtype=np.float32)[..., None] / 255 for layer in (dark, bright))
    ink = np.array([0.03, 0.016, 0.01], dtype=np.float32) * np.float32(rng.uniform(0.3, 2.0))
    light = light + shade * (ink - light)
    light += glint * (1.0 - light)
    return light


def _draw_hairs(p: LesionParameters, pen: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Bezier curves, most of them in one direction, that thin out towards the tip."""
    t = np.linspace(0, 1, 20)[:, None]
    growth = rng.uniform(0, math.tau)
    for _ in range(p.hair_count):
        angle, length = growth + rng.normal(0, 0.5), rng.uniform(0.4, 1.3)
        step = length * np.array([math.cos(angle), math.sin(angle)])
        start = rng.uniform(0, 1, 2) - step / 2
        bend = rng.normal(0, 0.13, 2)
        curve = start + t * step + 2 * t * (1 - t) * bend
        along = step + 2 * (1 - 2 * t) * bend
        across = along[:, ::-1] * (1, -1) / np.hypot(*along.T)[:, None]
        half_width = p.hair_width * rng.uniform(0.3, 0.65) * (1 - 0.6 * t)
        ribbon = np.concatenate((curve + half_width * across, (curve - half_width * across)[::-1])) * side
        pen.polygon([(float(x), float(y)) for x, y in ribbon], fill=int(rng.integers(205, 256)))


def _draw_bubbles(
    p: LesionParameters, dark: ImageDraw.ImageDraw, bright: ImageDraw.ImageDraw, side: int, rng: np.random.Generator
) -> None:
    """Rings, darker outside, brighter inside, with the lamp mirrored in them."""
    for _ in range(p.bubbles):
        (x, y), r = rng.uniform(0, side, 2), side * rng.uniform(0.006, 0.035)
        dark.ellipse([x - r, y - r, x + r, y + r], outline=60, width=max(1, side // 250))
        r *= 0.88
        bright.ellipse([x - r, y - r, x + r, y + r], fill=8, outline=45, width=max(1, side // 300))
        bright.arc([x - 0.8 * r, y - 0.8 * r, x + 0.8 * r, y + 0.8 * r], 200, 260, fill=190, width=max(1, side // 200))


def _draw_ruler(pen: ImageDraw.ImageDraw, side: int, rng: np.random.Generator) -> None:
    """Millimetre ticks along one of the four edges, every fifth one longer."""
    spacing, margin, edge = rng.uniform(0.03, 0.06), rng.uniform(0.03, 0.08), int(rng.integers(4))
    first, ticks = rng.uniform(0, 0.3), int(rng.integers(8, 22))
    for tick in range(ticks):
        along, length = first + tick * spacing, 0.04 if tick % 5 == 0 else 0.022
        near, far = (margin, margin + length) if edge < 2 else (1 - margin, 1 - margin - length)
        line = [(along, near), (along, far)] if edge % 2 else [(near, along), (far, along)]
        pen.line([(a * side, b * side) for a, b in line], fill=190, width=max(1, round(0.003 * side)))


def _lens(p: LesionParameters, x: Plane, y: Plane) -> Plane:
    """Log gain of the light that falls from one side and fades to the corners."""
    log_gain: Plane = p.exposure - 2 * p.vignette * (x**2 + y**2)
    log_gain += p.light_tilt * (x * math.cos(p.light_angle) + y * math.sin(p.light_angle))
    return log_gain


def _white_balance(p: LesionParameters) -> Float32[np.ndarray, "3"]:
    log_gains = (p.cast_warm + p.cast_pink / 2, -p.cast_pink, p.cast_pink / 2 - p.cast_warm)
    return np.array([math.exp(gain) for gain in log_gains], dtype=np.float32)


def _photograph(
    p: LesionParameters, light: Float32[np.ndarray, "size size 3"], size: int, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """Blur, the camera's curve, grain, 8 bits."""
    light = ndimage.gaussian_filter(light, (p.blur * size, p.blur * size, 0), truncate=2.5)
    grain = p.noise * rng.standard_normal((size, size, 3), dtype=np.float32)
    grey = np.clip(light, 0, None) ** np.float32(1 / 2.2) + grain
    image: UInt8[np.ndarray, "size size 3"] = (255 * np.clip(grey, 0, 1) + 0.5).astype(np.uint8)
    return image

"""What lies beside the skin in a picture: the dermatoscope's dark frame, hair, the ruler. Pixels in, planes out.

No torch.
"""

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

_FRAME_LEVEL = 45  # of 255, in all channels: the black around a dermatoscope's disc is 0 to 30

Plane = Bool[np.ndarray, "height width"]


_HAIR_DEPTH = 14  # of 255, that a hair is darker or lighter than the skin on both sides of it
_LEAST_LENGTH = 0.12  # of the side: shorter lines are pigment network or globules
_RULER_BAND = 0.15  # of the side, along an edge, in which a ruler lies
_LEAST_TICKS = 6


def frame_region(image: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """The black around a dermatoscope's disc, and the dusk beside it."""
    edge = black_edge(image)
    return grown(edge, 0.02 * max(edge.shape)) if edge.any() else edge


def hair_region(image: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Long thin lines, dark or light."""
    side = max(image.shape[:2])
    hair = np.zeros(image.shape[:2], dtype=bool)
    for line in _lines(image):
        count, parts, facts, _ = cv2.connectedComponentsWithStats(line.astype(np.uint8), connectivity=8)
        length = np.hypot(facts[:, cv2.CC_STAT_WIDTH], facts[:, cv2.CC_STAT_HEIGHT])
        thin = facts[:, cv2.CC_STAT_AREA] < 0.03 * side * length
        kept = np.flatnonzero((length > _LEAST_LENGTH * side) & thin & (np.arange(count) > 0))
        hair |= np.isin(parts, kept)
    return hair & ~frame_region(image)


def ruler_region(image: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Ticks along an edge: short thin lines across it, many of them, evenly spaced."""
    dark, _ = _lines(image)
    dark &= ~frame_region(image)
    found = np.zeros(dark.shape, dtype=bool)
    for turns in range(4):  # the edge in question is on top
        band = np.rot90(dark, turns)
        found |= np.rot90(_ticks_on_top(band), -turns)
    return found


def _ticks_on_top(dark: Plane) -> Plane:
    side = max(dark.shape)
    depth = max(3, round(_RULER_BAND * side))
    count, parts, facts, centres = cv2.connectedComponentsWithStats(dark[:depth].astype(np.uint8), connectivity=8)
    high, wide = facts[:, cv2.CC_STAT_HEIGHT], facts[:, cv2.CC_STAT_WIDTH]
    ticks = np.flatnonzero((high >= 2 * wide) & (high > 0.015 * side) & (wide < 0.03 * side) & (np.arange(count) > 0))
    ticks = ticks[np.argsort(centres[ticks, 0])]
    found = np.zeros(dark.shape, dtype=bool)
    if len(ticks) >= _LEAST_TICKS:
        gaps = np.diff(centres[ticks, 0])
        if np.median(np.abs(gaps - np.median(gaps))) < 0.15 * np.median(gaps):
            found[:depth] = np.isin(parts, ticks)
    return found


def _lines(image: UInt8[np.ndarray, "height width 3"]) -> tuple[Plane, Plane]:
    """Thin dark lines, and thin light ones."""
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)
    across = disc(0.015 * max(grey.shape))
    dark, light = (
        np.asarray(cv2.morphologyEx(grey, kind, across)) > _HAIR_DEPTH
        for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)
    )
    return dark, light


def black_edge(image: UInt8[np.ndarray, "height width 3"]) -> Bool[np.ndarray, "height width"]:
    """Dark pixels that hang together with the picture's edge, but not as thin as hair."""
    dark = (image.max(axis=2) < _FRAME_LEVEL).astype(np.uint8)
    around = cv2.copyMakeBorder(dark, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    opened = cv2.morphologyEx(around, cv2.MORPH_OPEN, np.ones((3, 3), dtype=np.uint8), borderValue=1)
    opened[[0, -1]] = opened[:, [0, -1]] = 1  # what touches the edge is of one part
    _, parts = cv2.connectedComponents(opened)
    edge: Plane = np.asarray(parts == parts[0, 0])[1:-1, 1:-1]
    return edge


def grown(plane: Bool[np.ndarray, "height width"], by_px: float) -> Bool[np.ndarray, "height width"]:
    """The plane and what lies within `by_px` of it, at least one pixel."""
    return np.asarray(cv2.dilate(plane.astype(np.uint8), disc(by_px))) > 0


def disc(radius_px: float) -> UInt8[np.ndarray, "size size"]:
    """A round structuring element, of radius 1 or more."""
    size = 2 * max(1, round(radius_px)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)), dtype=np.uint8)

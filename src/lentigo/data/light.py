"""Pixels to light and back: sRGB values in, light in proportion to photons out.

What a lamp, a sensor or an ink does is a sum or a product of light; of pixel values, which follow the eye, it is none.
Source: IEC 61966-2-1:1999 (sRGB).
"""

import cv2
import numpy as np
from jaxtyping import Float32, Shaped, UInt8

_PIXEL_OF = 16383  # steps of light in the table back to pixels; the darkest pixel value spans 5 of them


def _decoded() -> Float32[np.ndarray, "256"]:
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _encoded() -> UInt8[np.ndarray, "16384"]:
    light = np.arange(_PIXEL_OF + 1) / _PIXEL_OF
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    pixels: UInt8[np.ndarray, " level"] = np.rint(255 * value).astype(np.uint8)
    return pixels


LIGHT = _decoded()  # of each of the 256 pixel values, in [0, 1]
_PIXELS = _encoded()


def light_of(image: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
    """Light of each pixel and channel; 1 is white."""
    return np.asarray(cv2.LUT(image, LIGHT), dtype=np.float32)


def pixels_of(light: Shaped[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Pixel values of light of any float type, off by less than half a step; what is above 1 or below 0 is clipped."""
    return _PIXELS[(light.clip(0, 1) * _PIXEL_OF + 0.5).astype(np.uint16)]

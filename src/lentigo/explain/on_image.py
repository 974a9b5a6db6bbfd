"""A heat map on its image: cells enlarged over what the network saw of it, and their colours.

Maps stay raw: in logits, with their sign, unstretched. Only `overlay` scales, for the eye; its caller says how much.
"""

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from lentigo.errors import ConfigError, DataError
from lentigo.imaging import Preprocessing


def to_image_size(
    maps: Float32[np.ndarray, "image rows columns"], preprocessing: Preprocessing, *, size_px: int
) -> Float32[np.ndarray, "image size size"]:
    """Maps laid over the full image, squeezed to `size_px` x `size_px`: bilinear inside the crop, 0 outside it.

    The cells divide the crop evenly, as Grad-CAM tools have it. The centres of the receptive fields do so too in Tiny
    VGG and VGG11; in AlexNet the outermost lie 13 px of 224 further in, in ResNet all lie 15.5 px up and left. A map
    with more cells than there are pixels is averaged, with a triangle filter.

    Raises: ConfigError: as `seen`.
    """
    inside = _pixels_seen(preprocessing, size_px)
    down, across = (_cell_weights(cells, preprocessing, size_px, inside) for cells in maps.shape[1:])
    enlarged: Float32[np.ndarray, "image size size"] = down @ maps @ across.T
    return enlarged


def seen(preprocessing: Preprocessing, size_px: int) -> Bool[np.ndarray, "size size"]:
    """The pixels of the full image, squeezed to `size_px` x `size_px`, that have their centre inside the crop.

    Raises: ConfigError: `size_px` is below 1, or the preprocessing crops without a resize.
    """
    inside = _pixels_seen(preprocessing, size_px)
    both: Bool[np.ndarray, "size size"] = inside[:, None] & inside
    return both


def overlay(
    image: UInt8[np.ndarray, "height width 3"],
    heat: Float32[np.ndarray, "height width"],
    *,
    maximum: float,
    opacity: float = 0.5,
) -> UInt8[np.ndarray, "height width 3"]:
    """Heat over an image, from blue to red. Where it is 0 the image is unchanged, so that an empty map has no colour.

    Colour and opacity both grow with heat / maximum; heat above the maximum looks like the maximum.

    Args:
        heat: 0 or more.
        maximum: heat drawn in full red, in the unit of `heat`. The caller's choice, to be said beside the picture: the
            largest heat over all pictures that are compared. An image's own maximum would make noise look sure. 0 is
            allowed where the heat is 0 everywhere.
        opacity: of full red, in [0, 1].
    Raises:
        DataError: heat is negative, infinite or NaN, or positive while the maximum is 0.
        ConfigError: `maximum` or `opacity` is out of range.
    """
    level = _level(heat, maximum)
    if not 0 <= opacity <= 1:
        raise ConfigError(f"opacity is {opacity}, not in [0, 1]; try 0.5")
    weight = opacity * level[..., None]
    blended: UInt8[np.ndarray, "height width 3"] = np.rint(
        (1 - weight) * image + weight * 255 * blue_to_red(level)
    ).astype(np.uint8)
    return blended


def blue_to_red(level: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape 3"]:
    """RGB in [0, 1] of levels in [0, 1], for `overlay` and its legend.

    Blue at 0, cyan at 1/4, green at 1/2, yellow at 3/4, red at 1; linear between them.
    """
    red, green, blue = 4 * level - 2, np.minimum(4 * level, 4 - 4 * level), 2 - 4 * level
    colours: Float64[np.ndarray, "*shape 3"] = np.clip(np.stack([red, green, blue], axis=-1), 0, 1)
    return colours


def _crop(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """First pixel and length of the crop along one side, and that side's length, in pixels after the resize."""
    resize_px, crop_px = preprocessing.resize_px, preprocessing.crop_px
    if crop_px is None:
        return 0, 1, 1  # the whole side, however long
    if resize_px is None:
        raise ConfigError(
            f"preprocessing has crop_px = {crop_px} and no resize_px, so the share of an image that was seen depends "
            "on the image's size; set resize_px"
        )
    return round((resize_px - crop_px) / 2), crop_px, resize_px  # halves to even, as `preprocess`


def _pixels_seen(preprocessing: Preprocessing, size_px: int) -> Bool[np.ndarray, " size"]:
    if size_px < 1:
        raise ConfigError(f"size_px is {size_px}, not 1 or more; try 224")
    first, length, side = _crop(preprocessing)
    centre = (2 * np.arange(size_px) + 1) * side  # in 1 / (2 size_px) pixels: whole numbers, so that no edge is rounded
    inside: Bool[np.ndarray, " size"] = (2 * size_px * first <= centre) & (centre <= 2 * size_px * (first + length))
    return inside


def _cell_weights(
    cells: int, preprocessing: Preprocessing, size_px: int, inside: Bool[np.ndarray, " size"]
) -> Float32[np.ndarray, "size cells"]:
    """What every cell gives to every pixel along one side: rows sum to 1 inside the crop, and are 0 outside."""
    first, length, side = _crop(preprocessing)
    centre = (np.arange(size_px) + 0.5) * side / size_px
    position = (centre - first) / length * cells - 0.5  # cell k has its centre at k
    support = max(cells * side / (length * size_px), 1.0)  # cells per pixel, where a pixel is wider than a cell
    triangle = np.maximum(1 - np.abs(position[:, None] - np.arange(cells)) / support, 0) * inside[:, None]
    # Beyond the centres of the first and last cell one tap is left; the division makes it count in full.
    weights: Float64[np.ndarray, "size cells"] = triangle / np.where(inside, triangle.sum(axis=1), 1)[:, None]
    return weights.astype(np.float32)


def _level(heat: Float32[np.ndarray, "height width"], maximum: float) -> Float64[np.ndarray, "height width"]:
    """Heat as a share of the maximum, in [0, 1]."""
    if not (np.isfinite(maximum) and maximum >= 0):
        raise ConfigError(f"maximum is {maximum}, not a finite number of 0 or more; give the largest heat to be drawn")
    if not (np.isfinite(heat).all() and (heat >= 0).all()):
        raise DataError("heat holds NaN, infinite or negative values; give the positive part of a map for one decision")
    if maximum == 0 and heat.any():
        raise DataError(
            f"maximum is 0 but heat reaches {heat.max():g}; give the largest heat over the pictures compared"
        )
    level: Float64[np.ndarray, "height width"] = np.minimum(heat.astype(np.float64) / (maximum or 1.0), 1.0)
    return level

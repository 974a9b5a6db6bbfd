"""What `augment.apply_augmentation` and `apply_to_masks` do, for many images at once.

They go image by image, which is quickest on a processor, where few images are drawn. On a GPU a call costs more than
its pixels, so here each change is one call for all images that it was drawn for.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from lentigo.data.augment import AugmentDraw

_AT_ONCE = 64  # images whose floats are held at once: 64 of 300 px take 69 MB, a few times over
Factor = Float32[Tensor, "image 1 1"]


def apply_together(
    images: UInt8[Tensor, "image 3 height width"], draw: AugmentDraw
) -> UInt8[Tensor, "image 3 height width"]:
    """As `augment.apply_augmentation`, but for rounding, with the input left as it was.

    A grey level may differ by one, and where two pixels are equally near, rotation may take the other one.
    """
    images, device = images.clone(memory_format=torch.preserve_format), images.device
    _flip(images, draw)
    for rows in _pieces(draw.jitter):
        factors = np.stack([draw.brightness[rows], draw.saturation[rows], draw.hue[rows]]).astype(np.float32)
        brightness, saturation, hue = to_device(factors, device)[..., None, None]
        where = to_device(rows, device)
        images[where] = _jittered(images[where], brightness, saturation, hue)
    for moved, between in ((draw.zoom, "bilinear"), (draw.rotate & ~draw.zoom, "nearest")):
        _move(images, draw, moved, between)
    return images


def apply_to_masks_together(
    masks: Bool[Tensor, "image height width"], draw: AugmentDraw
) -> Bool[Tensor, "image height width"]:
    """As `augment.apply_to_masks`, but for pixels that are equally near."""
    moved = masks[:, None].to(torch.uint8)  # a copy
    _flip(moved, draw)
    _move(moved, draw, draw.rotate | draw.zoom, "nearest")
    return moved[:, 0] > 0


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """The array on a device; a GPU goes on with its work meanwhile."""
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def _pieces(drawn: Bool[np.ndarray, " image"]) -> Iterator[Int64[np.ndarray, " row"]]:
    rows = np.flatnonzero(drawn)
    yield from (rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE))


def _flip(pixels: UInt8[Tensor, "image channel height width"], draw: AugmentDraw) -> None:
    for drawn, axis in ((draw.flip, 3), (draw.vertical_flip, 2)):
        for rows in _pieces(drawn):
            where = to_device(rows, pixels.device)
            pixels[where] = pixels[where].flip(axis)


def _jittered(
    pixels: UInt8[Tensor, "image 3 height width"], brightness: Factor, saturation: Factor, hue: Factor
) -> UInt8[Tensor, "image 3 height width"]:
    """Brightness, saturation, hue, each cut to whole grey levels before the next, as torchvision does."""
    pixels = _whole(pixels * brightness[:, None])
    red, green, blue = pixels.unbind(1)
    grey = _whole(0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]
    pixels = _whole(pixels * saturation[:, None] + grey * (1 - saturation[:, None]))
    return _hue_turned(pixels, hue)


def _whole(values: Float32[Tensor, "..."]) -> UInt8[Tensor, "..."]:
    return values.clamp_(0, 255).to(torch.uint8)


def _hue_turned(pixels: UInt8[Tensor, "image 3 height width"], turns: Factor) -> UInt8[Tensor, "image 3 height width"]:
    """Hue moved along the circle; the largest channel (HSV's value) and the smallest stay.

    Source: Smith 1978, Color gamut transform pairs, doi:10.1145/965139.807361.
    """
    colours = pixels.to(torch.float32) / 255
    red, green, blue = colours.unbind(1)
    low, high = torch.aminmax(colours, dim=1)
    chroma = high - low
    divisor = torch.where(chroma > 0, chroma, 1)
    sixth = torch.where(  # of the circle: 0 = red, 2 = green, 4 = blue
        high == red,
        (green - blue) / divisor,
        torch.where(high == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    sixth += 6 * turns
    channels = []
    for offset in (5.0, 3.0, 1.0):  # red, green, blue: a channel lies low where its distance on the circle is large
        place = (sixth + offset).remainder_(6)
        channels.append(high - chroma * torch.minimum(place, 4 - place).clamp_(0, 1))
    return (torch.stack(channels, dim=1) * 255.999).to(torch.uint8)


def _move(
    pixels: UInt8[Tensor, "image channel height width"],
    draw: AugmentDraw,
    moved: Bool[np.ndarray, " image"],
    between: str,
) -> None:
    """Turn and enlarge the images in `moved` about their middle; what comes in from outside is 0."""
    for rows in _pieces(moved):
        where = to_device(rows, pixels.device)
        grid = _grid(draw, rows, height=pixels.shape[2], width=pixels.shape[3], device=pixels.device)
        found = pixels[where].to(torch.float32)
        found = grid_sample(found, grid, mode=between, padding_mode="zeros", align_corners=False)
        pixels[where] = found.round_().to(torch.uint8)


def _grid(
    draw: AugmentDraw, rows: Int64[np.ndarray, " image"], *, height: int, width: int, device: torch.device
) -> Float32[Tensor, "image height width 2"]:
    """Where each pixel comes from: x and y, each -1 at one edge of the image and 1 at the other."""
    turn = np.radians(np.where(draw.rotate[rows], draw.angle_degrees[rows], 0.0))
    factor = np.where(draw.zoom[rows], draw.factor[rows], 1.0)
    cosine, sine = np.cos(turn) / factor, np.sin(turn) / factor
    inverse = np.array([[cosine, sine], [-sine, cosine]]).transpose(2, 0, 1)  # anticlockwise, with y downwards
    y, x = (torch.arange(side, dtype=torch.float32, device=device) - (side - 1) / 2 for side in (height, width))
    places = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(1, -1, 2)
    size = torch.tensor([width / 2, height / 2], device=device)
    moved = places @ (to_device(inverse.astype(np.float32), device) / size)
    return moved.reshape(len(rows), height, width, 2)

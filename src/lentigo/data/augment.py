"""The paper's three augmentations, horizontal flip, colour jitter and rotation, and two more for lesion masks, vertical
flip and zoom: first drawn, then applied.

The draw of an image derives from (seed, epoch, image index) alone, so neither batch size, order, workers nor a resumed
run changes it. Applying works on uint8 batches and equals torchvision's functional operations but for rounding; here
image by image on a processor, in `augment_together` for many images at once on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from lentigo.config import AugmentConfig

_GREY = np.array([[0.2989, 0.587, 0.114]], dtype=np.float32)  # of red, green and blue, as torchvision weighs them


@dataclass(frozen=True)
class AugmentDraw:
    """What is done to each image of a batch."""

    flip: Bool[np.ndarray, " image"]
    jitter: Bool[np.ndarray, " image"]
    rotate: Bool[np.ndarray, " image"]
    brightness: Float64[np.ndarray, " image"]  # factor, 1 = unchanged
    saturation: Float64[np.ndarray, " image"]  # factor, 1 = unchanged
    hue: Float64[np.ndarray, " image"]  # shift in turns of the colour circle, 0 = unchanged
    angle_degrees: Float64[np.ndarray, " image"]  # anticlockwise
    vertical_flip: Bool[np.ndarray, " image"]
    zoom: Bool[np.ndarray, " image"]
    factor: Float64[np.ndarray, " image"]  # above 1 = enlarged about the middle


def draw_augmentation(
    config: AugmentConfig, *, seed: int, epoch: int, indices: Sequence[int] | np.ndarray
) -> AugmentDraw:
    """Draw the changes of the images at `indices` (their positions in the table) for one epoch.

    The paper gives one range, 0.8 to 1.2, as a factor for brightness, saturation and hue. A factor has no meaning on a
    circle, where red is 0 and 1 at once; hue is therefore shifted by up to 0.2 turns, as torchvision's ColorJitter
    reads the same figure.
    """
    rows = np.empty(
        (len(indices), 10)
    )  # what a change is drawn from keeps its place: a recipe without it stays as it is
    for row, index in zip(rows, indices, strict=True):
        row[:] = np.random.default_rng(np.random.SeedSequence((seed, epoch, int(index)))).random(10)
    spread = 2 * rows[:, 3:] - 1  # uniform in [-1, 1)
    return AugmentDraw(
        flip=rows[:, 0] < config.flip_probability,
        jitter=rows[:, 1] < config.jitter_probability,
        rotate=rows[:, 2] < config.rotate_probability,
        brightness=1 + config.jitter * spread[:, 0],
        saturation=1 + config.jitter * spread[:, 1],
        hue=config.jitter * spread[:, 2],
        angle_degrees=config.rotate_degrees * spread[:, 3],
        vertical_flip=rows[:, 7] < config.vertical_flip_probability,
        zoom=rows[:, 8] < config.zoom_probability,
        factor=1 + config.zoom * spread[:, 6],
    )


def apply_augmentation(
    images: UInt8[Tensor, "image 3 height width"], draw: AugmentDraw, *, in_place: bool = False
) -> UInt8[Tensor, "image 3 height width"]:
    """Apply a draw: flips, then brightness, saturation and hue, then rotation (nearest pixel, black corners) and zoom.

    Only the drawn images are touched, one by one: at p = 0.05 they are a handful of a batch. An image that is zoomed is
    turned in the same step, between pixels. The input is left as it was, unless `in_place` says that nobody needs it;
    where nothing is drawn it is also what comes back.
    """
    drawn = np.flatnonzero(draw.jitter | _moved(draw))
    if not drawn.size:
        return images
    images = images if in_place else images.clone(memory_format=torch.preserve_format)
    for row in drawn.tolist():
        image = _flipped(images[row], draw, row)
        if draw.jitter[row]:
            image = _as_tensor(_jittered(_as_pixels(image), draw, row))
        if draw.zoom[row]:
            image = _turned(image, draw, row, InterpolationMode.BILINEAR)
        elif draw.rotate[row]:
            image = _as_tensor(_rotated(_as_pixels(image), float(draw.angle_degrees[row])))
        images[row] = image
    return images


def _as_pixels(image: UInt8[Tensor, "3 height width"]) -> UInt8[np.ndarray, "height width 3"]:
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def _as_tensor(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[Tensor, "3 height width"]:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _jittered(
    pixels: UInt8[np.ndarray, "height width 3"], draw: AugmentDraw, row: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Brightness, saturation, hue, each cut to whole grey levels; 0.6 ms for 300 x 300 px, torchvision's take 4.7."""
    saturation, shift = np.float32(draw.saturation[row]), np.float32(360 * draw.hue[row])
    pixels = cv2.LUT(pixels, np.clip(np.arange(256) * np.float32(draw.brightness[row]), 0, 255).astype(np.uint8))
    colours = pixels.astype(np.float32)
    grey = np.floor(cv2.transform(colours, _GREY)) * (1 - saturation)
    colours *= saturation
    colours += cv2.merge([grey, grey, grey])  # numpy adds a plane to three colours side by side four times as slowly
    np.clip(colours, 0, 255, out=colours)
    np.floor(colours, out=colours)
    colours /= np.float32(255)
    hsv = cv2.cvtColor(colours, cv2.COLOR_RGB2HSV)
    hue = cv2.extractChannel(hsv, 0) + shift
    hue += np.float32(360) * (hue < 0) if shift < 0 else np.float32(-360) * (hue >= 360)
    cv2.insertChannel(hue, hsv, 0)
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=colours)  # written there: it is of the result's size and type
    colours *= np.float32(255.999)
    return colours.astype(np.uint8)


def _rotated(pixels: UInt8[np.ndarray, "height width 3"], angle_degrees: float) -> UInt8[np.ndarray, "height width 3"]:
    """Anticlockwise about the middle, the nearest pixel, black from outside; 0.1 ms where torchvision takes 2.5."""
    height, width = pixels.shape[:2]
    turn = np.radians(angle_degrees)
    inverse = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])  # with y downwards
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    came_from = np.column_stack([inverse, middle - inverse @ middle])
    turned: np.ndarray = cv2.warpAffine(
        pixels, came_from, (width, height), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    return turned


def apply_to_masks(masks: Bool[Tensor, "image height width"], draw: AugmentDraw) -> Bool[Tensor, "image height width"]:
    """Move lesion masks as `apply_augmentation` moves their images; what comes in from outside is no lesion."""
    if not _moved(draw).any():
        return masks
    moved = [
        _turned(_flipped(mask[None].to(torch.uint8), draw, row), draw, row, InterpolationMode.NEAREST)
        for row, mask in enumerate(masks)
    ]
    return torch.cat(moved) > 0


def _moved(draw: AugmentDraw) -> Bool[np.ndarray, " image"]:
    moved: Bool[np.ndarray, " image"] = draw.flip | draw.vertical_flip | draw.rotate | draw.zoom
    return moved


def _flipped(image: Tensor, draw: AugmentDraw, row: int) -> Tensor:
    if draw.flip[row]:
        image = functional.horizontal_flip(image)
    return functional.vertical_flip(image) if draw.vertical_flip[row] else image


def _turned(image: Tensor, draw: AugmentDraw, row: int, between: InterpolationMode) -> Tensor:
    angle, factor = float(draw.angle_degrees[row]) if draw.rotate[row] else 0.0, float(draw.factor[row])
    turned = image
    if draw.zoom[row]:  # torchvision's affine turns clockwise, its rotate anticlockwise
        turned = functional.affine(image, -angle, translate=[0, 0], scale=factor, shear=[0.0], interpolation=between)
    elif draw.rotate[row]:
        turned = functional.rotate(image, angle)
    return turned

"""The paper's three augmentations, horizontal flip, colour jitter and rotation, and two more for lesion masks, vertical
flip and zoom: first drawn, then applied.

The draw of an image derives from (seed, epoch, image index) alone, so neither batch size, order, workers nor a resumed
run changes it. Applying works on uint8 batches on any device and equals torchvision's functional operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from lentigo.config import AugmentConfig


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
    images: UInt8[Tensor, "image 3 height width"], draw: AugmentDraw
) -> UInt8[Tensor, "image 3 height width"]:
    """Apply a draw: flips, then brightness, saturation and hue, then rotation (nearest pixel, black corners) and zoom.

    Only the drawn images are touched, one by one: at p = 0.05 they are a handful of a batch. An image that is zoomed is
    turned in the same step, between pixels. The input is left as it was; where nothing is drawn it is also what comes
    back.
    """
    drawn = np.flatnonzero(draw.jitter | _moved(draw))
    if not drawn.size:
        return images
    images = images.clone(memory_format=torch.preserve_format)
    for row in drawn.tolist():
        image = _flipped(images[row], draw, row)
        if draw.jitter[row]:
            image = functional.adjust_brightness(image, float(draw.brightness[row]))
            image = functional.adjust_saturation(image, float(draw.saturation[row]))
            image = functional.adjust_hue(image, float(draw.hue[row]))
        images[row] = _turned(image, draw, row, InterpolationMode.BILINEAR)
    return images


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

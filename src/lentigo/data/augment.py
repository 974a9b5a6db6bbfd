"""The paper's three augmentations, horizontal flip, colour jitter and rotation: first drawn, then applied.

The draw of an image derives from (seed, epoch, image index) alone, so neither batch size, order, workers nor a resumed
run changes it. Applying works on uint8 batches on any device and equals torchvision's functional operations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, UInt8
from torch import Tensor
from torchvision.transforms.v2 import functional

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


def draw_augmentation(
    config: AugmentConfig, *, seed: int, epoch: int, indices: Sequence[int] | np.ndarray
) -> AugmentDraw:
    """Draw the changes of the images at `indices` (their positions in the table) for one epoch.

    The paper gives one range, 0.8 to 1.2, as a factor for brightness, saturation and hue. A factor has no meaning on a
    circle, where red is 0 and 1 at once; hue is therefore shifted by up to 0.2 turns, as torchvision's ColorJitter
    reads the same figure.
    """
    rows = np.empty((len(indices), 7))
    for row, index in zip(rows, indices, strict=True):
        row[:] = np.random.default_rng(np.random.SeedSequence((seed, epoch, int(index)))).random(7)
    spread = 2 * rows[:, 3:] - 1  # uniform in [-1, 1)
    return AugmentDraw(
        flip=rows[:, 0] < config.flip_probability,
        jitter=rows[:, 1] < config.jitter_probability,
        rotate=rows[:, 2] < config.rotate_probability,
        brightness=1 + config.jitter * spread[:, 0],
        saturation=1 + config.jitter * spread[:, 1],
        hue=config.jitter * spread[:, 2],
        angle_degrees=config.rotate_degrees * spread[:, 3],
    )


def apply_augmentation(
    images: UInt8[Tensor, "image 3 height width"], draw: AugmentDraw
) -> UInt8[Tensor, "image 3 height width"]:
    """Apply a draw: flip, then brightness, saturation and hue, then rotation (nearest pixel, black corners).

    Only the drawn images are touched, one by one: at p = 0.05 they are a handful of a batch. The input is left as it
    was; where nothing is drawn it is also what comes back.
    """
    if not (draw.flip | draw.jitter | draw.rotate).any():
        return images
    images = images.clone(memory_format=torch.preserve_format)
    for row in np.flatnonzero(draw.flip):
        images[row] = functional.horizontal_flip(images[row])
    for row in np.flatnonzero(draw.jitter):
        image = functional.adjust_brightness(images[row], float(draw.brightness[row]))
        image = functional.adjust_saturation(image, float(draw.saturation[row]))
        images[row] = functional.adjust_hue(image, float(draw.hue[row]))
    for row in np.flatnonzero(draw.rotate):
        images[row] = functional.rotate(images[row], float(draw.angle_degrees[row]))
    return images

"""Changes made to many images at once: what the changes one by one give, but for rounding."""

import dataclasses

import numpy as np
import pytest
import torch

from lentigo.config import AugmentConfig
from lentigo.data.augment import apply_augmentation, apply_to_masks, draw_augmentation
from lentigo.data.augment_together import apply_to_masks_together, apply_together
from tests.data.test_augment import draw_of, jittered_by_colorsys, noise, smooth

EVERYTHING = AugmentConfig(
    flip_probability=0.5, vertical_flip_probability=0.5, jitter_probability=0.5, rotate_probability=0.5,
    rotate_degrees=180.0, zoom_probability=0.4, zoom=0.3,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["noise", "smooth"])
def test_together_equals_one_by_one_but_for_rounding(seed: int, kind: str) -> None:
    """80 images, so that more than one piece of 64 is made; a pixel in 200 may differ, by one level nearly always."""
    images = noise(80, 33, 31, seed=seed) if kind == "noise" else torch.cat([smooth(32, seed=k) for k in range(80)])
    draw = draw_augmentation(EVERYTHING, seed=seed, epoch=1, indices=range(80))
    assert draw.jitter.sum() > 20
    off = (apply_together(images, draw).int() - apply_augmentation(images, draw).int()).abs().amax(1)
    assert (off > 0).float().mean() < 0.005
    assert (off > 1).float().mean() < 0.0001


def test_more_than_one_piece_of_drawn_images() -> None:
    images = noise(150, 8, 8)
    draw = draw_of(150, flip=True)
    assert torch.equal(apply_together(images, draw), images.flip(3))


def test_what_is_not_drawn_stays_and_so_does_the_input() -> None:
    images = noise(4, 20, 20)
    before = images.clone()
    draw = draw_of(4)
    draw.jitter[2] = True
    draw.brightness[:] = 1.2
    changed = apply_together(images, draw)
    assert torch.equal(images, before)
    assert [torch.equal(one, other) for one, other in zip(changed, images, strict=True)] == [True, True, False, True]


def test_jitter_equals_colorsys() -> None:
    image = noise(1, 12, 12)
    draw = draw_of(jitter=True, brightness=1.1, saturation=0.85, hue=-0.17)
    found = apply_together(image, draw)[0].permute(1, 2, 0).reshape(-1, 3).tolist()
    for pixel, changed in zip(image[0].permute(1, 2, 0).reshape(-1, 3).tolist(), found, strict=True):
        assert np.abs(np.array(changed) - jittered_by_colorsys(tuple(pixel), 1.1, 0.85, -0.17)).max() <= 5


def test_grey_has_no_hue() -> None:
    image = torch.full((1, 3, 2, 2), 77, dtype=torch.uint8)
    assert torch.equal(apply_together(image, draw_of(jitter=True, hue=0.2)), image)


def test_rotation_by_hand() -> None:
    image = torch.full((1, 3, 41, 41), 100, dtype=torch.uint8)
    image[:, :, 20, 38] = 255  # a dot to the right of the centre goes up
    turned = apply_together(image, draw_of(rotate=True, angle_degrees=90.0))
    assert torch.nonzero(turned[0, 0] == 255).tolist() == [[2, 20]]
    turned = apply_together(image, draw_of(zoom=True, factor=0.5, rotate=True, angle_degrees=90.0))
    assert torch.nonzero(turned[0, 0] == turned.max()).tolist() == [[11, 20]]
    assert turned[0, 0, 0].max() == 0  # black from outside


def test_an_image_that_is_not_square_keeps_its_shape() -> None:
    image = noise(1, 20, 50)
    draw = draw_of(rotate=True, angle_degrees=20.0)
    off = (apply_together(image, draw).int() - apply_augmentation(image, draw).int()).abs().amax(1)
    assert (off > 0).float().mean() < 0.005


@pytest.mark.parametrize("seed", range(3))
def test_masks_move_as_one_by_one(seed: int) -> None:
    masks = torch.rand(80, 30, 31, generator=torch.Generator().manual_seed(seed)) < 0.5
    before = masks.clone()
    draw = draw_augmentation(EVERYTHING, seed=seed, epoch=0, indices=range(80))
    moved = apply_to_masks_together(masks, draw)
    assert (moved != apply_to_masks(masks, draw)).float().mean() < 0.001
    assert torch.equal(masks, before)
    still = dataclasses.replace(draw_of(80), jitter=np.ones(80, dtype=bool))
    assert torch.equal(apply_to_masks_together(masks, still), masks)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_result_is_uint8_in_the_inputs_layout(memory_format: torch.memory_format) -> None:
    images = noise(3, 20, 24).contiguous(memory_format=memory_format)
    changed = apply_together(images, draw_augmentation(EVERYTHING, seed=1, epoch=0, indices=range(3)))
    assert (changed.dtype, changed.shape) == (torch.uint8, images.shape)
    assert changed.is_contiguous(memory_format=memory_format)

"""Augmentation: its draws, and what they do to pixels and masks by hand, by colorsys, and by torchvision."""

import colorsys
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional

from lentigo.config import AugmentConfig
from lentigo.data.augment import AugmentDraw, apply_augmentation, apply_to_masks, draw_augmentation

relaxed = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NEVER = AugmentConfig(flip_probability=0.0, jitter_probability=0.0, rotate_probability=0.0)
ALWAYS = AugmentConfig(flip_probability=1.0, jitter_probability=1.0, rotate_probability=1.0)
FIELDS = (
    "flip", "jitter", "rotate", "brightness", "saturation", "hue", "angle_degrees", "vertical_flip", "zoom", "factor"
)  # fmt: skip
MOVES = AugmentConfig(
    flip_probability=0.5, vertical_flip_probability=0.5, rotate_probability=0.5, rotate_degrees=180.0,
    zoom_probability=0.5, zoom=0.3,
)  # fmt: skip


def draw_of(count: int = 1, **values: Any) -> AugmentDraw:
    """A draw that changes nothing but what is named, the same for `count` images."""
    still = {"flip": False, "jitter": False, "rotate": False, "brightness": 1.0, "saturation": 1.0, "hue": 0.0}
    still |= {"angle_degrees": 0.0, "vertical_flip": False, "zoom": False, "factor": 1.0}
    return AugmentDraw(**{name: np.full(count, value) for name, value in {**still, **values}.items()})


def noise(count: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    shape = (count, height, width, 3)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).permute(0, 3, 1, 2)


def smooth(size_px: int, *, seed: int = 0) -> Tensor:
    """One image with colours that change slowly, as skin's do."""
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return torch.from_numpy(np.array(small.resize((size_px, size_px), Image.Resampling.BICUBIC))).permute(2, 0, 1)[None]


def as_pil(image: Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def difference(one: Tensor, other: Tensor | Image.Image) -> np.ndarray:
    pixels = other.numpy() if isinstance(other, Tensor) else np.asarray(other).transpose(2, 0, 1)
    return np.abs(one.numpy().astype(int) - pixels.astype(int))


# ---------------------------------------------------------------- draws


def test_draw_is_pinned() -> None:
    """The first numbers of seed 0, epoch 0: a run that is resumed or repeated later draws the same."""
    rows = [np.random.default_rng(np.random.SeedSequence((0, 0, index))).random(7) for index in (0, 1)]
    draw = draw_augmentation(AugmentConfig(flip_probability=0.5), seed=0, epoch=0, indices=[0, 1])
    assert draw.flip.tolist() == [row[0] < 0.5 for row in rows]
    assert draw.brightness.tolist() == [1 + 0.2 * (2 * row[3] - 1) for row in rows]
    assert draw.angle_degrees.tolist() == [10 * (2 * row[6] - 1) for row in rows]
    assert draw.hue.tolist() == pytest.approx([0.1651022309110887, -0.12655837189920086], abs=1e-15)


@relaxed
@given(
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 500),
    indices=st.lists(st.integers(0, 20_000), min_size=1, max_size=12),
    data=st.data(),
)
def test_draw_of_an_image_is_its_own(seed: int, epoch: int, indices: list[int], data: st.DataObject) -> None:
    """Order, batch and neighbours change nothing."""
    together = draw_augmentation(ALWAYS, seed=seed, epoch=epoch, indices=indices)
    order = data.draw(st.permutations(range(len(indices))))
    shuffled = draw_augmentation(ALWAYS, seed=seed, epoch=epoch, indices=np.array(indices)[order])
    alone = draw_augmentation(ALWAYS, seed=seed, epoch=epoch, indices=[indices[order[0]]])
    for name in FIELDS:
        assert np.array_equal(getattr(together, name)[order], getattr(shuffled, name))
        assert getattr(alone, name)[0] == getattr(shuffled, name)[0]


def test_draws_differ_by_seed_epoch_and_image() -> None:
    keys = [(seed, epoch, index) for seed in range(4) for epoch in range(4) for index in range(40)]
    hues = {
        float(draw_augmentation(ALWAYS, seed=seed, epoch=epoch, indices=[index]).hue[0]) for seed, epoch, index in keys
    }
    assert len(hues) == len(keys)


def test_draw_of_no_image_is_empty() -> None:
    assert all(len(getattr(draw_augmentation(ALWAYS, seed=0, epoch=0, indices=[]), name)) == 0 for name in FIELDS)


def test_frequencies_at_the_papers_probability() -> None:
    """Within 4 standard deviations of the binomial; each of the three independent of the others."""
    count = 20_000
    draw = draw_augmentation(AugmentConfig(), seed=1, epoch=0, indices=range(count))
    deviation = 4 * (0.05 * 0.95 / count) ** 0.5
    for changed in (draw.flip, draw.jitter, draw.rotate):
        assert changed.mean() == pytest.approx(0.05, abs=deviation)
    for one, other in ((draw.flip, draw.jitter), (draw.flip, draw.rotate), (draw.jitter, draw.rotate)):
        assert (one & other).mean() == pytest.approx(0.05**2, abs=4 * (0.05**2 / count) ** 0.5)


def test_parameters_fill_their_ranges_evenly() -> None:
    count = 4000
    draw = draw_augmentation(ALWAYS, seed=2, epoch=3, indices=range(count))
    for values, low, high in (
        (draw.brightness, 0.8, 1.2), (draw.saturation, 0.8, 1.2), (draw.hue, -0.2, 0.2), (draw.angle_degrees, -10, 10),
    ):  # fmt: skip
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
        even = (np.sort(values) - low) / (high - low) - (np.arange(count) + 0.5) / count
        assert np.abs(even).max() < 1.95 / count**0.5  # Kolmogorov and Smirnov, p = 0.001
    assert (
        np.abs(np.corrcoef([draw.brightness, draw.saturation, draw.hue, draw.angle_degrees]) - np.eye(4)).max() < 0.07
    )


def test_ranges_follow_the_config() -> None:
    draw = draw_augmentation(AugmentConfig(jitter=0.0, rotate_degrees=0.0), seed=0, epoch=0, indices=range(50))
    assert set(draw.brightness) == set(draw.saturation) == {1.0}
    assert (np.abs(draw.hue).max(), np.abs(draw.angle_degrees).max()) == (0.0, 0.0)


@pytest.mark.parametrize(("config", "changed"), [(NEVER, 0), (ALWAYS, 300)])
def test_never_and_always(config: AugmentConfig, changed: int) -> None:
    draw = draw_augmentation(config, seed=0, epoch=0, indices=range(300))
    assert (draw.flip.sum(), draw.jitter.sum(), draw.rotate.sum()) == (changed,) * 3


def test_the_paper_s_recipe_never_flips_upside_down_nor_zooms() -> None:
    draw = draw_augmentation(AugmentConfig(), seed=0, epoch=0, indices=range(2000))
    assert not (draw.vertical_flip | draw.zoom).any()


def test_further_changes_leave_the_paper_s_draws_as_they_are() -> None:
    paper = draw_augmentation(AugmentConfig(), seed=5, epoch=2, indices=range(50))
    more = AugmentConfig(vertical_flip_probability=0.5, zoom_probability=0.5, zoom=0.4)
    draw = draw_augmentation(more, seed=5, epoch=2, indices=range(50))
    for name in FIELDS[:7]:
        assert np.array_equal(getattr(draw, name), getattr(paper, name))


def test_vertical_flip_and_zoom_have_their_probability_and_range() -> None:
    count = 4000
    config = AugmentConfig(vertical_flip_probability=0.3, zoom_probability=0.6, zoom=0.25)
    draw = draw_augmentation(config, seed=1, epoch=1, indices=range(count))
    for changed, probability in ((draw.vertical_flip, 0.3), (draw.zoom, 0.6)):
        assert changed.mean() == pytest.approx(probability, abs=4 * (0.25 / count) ** 0.5)
    even = (np.sort(draw.factor) - 0.75) / 0.5 - (np.arange(count) + 0.5) / count
    assert np.abs(even).max() < 1.95 / count**0.5  # Kolmogorov and Smirnov, p = 0.001


# ---------------------------------------------------------------- pixels by hand


def test_flip_by_hand() -> None:
    image = torch.tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]], dtype=torch.uint8)
    flipped = apply_augmentation(image[None], draw_of(flip=True))
    assert flipped[0].tolist() == [[[2, 1], [4, 3]], [[6, 5], [8, 7]], [[10, 9], [12, 11]]]


def test_vertical_flip_by_hand() -> None:
    image = torch.tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]], [[9, 10], [11, 12]]], dtype=torch.uint8)
    flipped = apply_augmentation(image[None], draw_of(vertical_flip=True))
    assert flipped[0].tolist() == [[[3, 4], [1, 2]], [[7, 8], [5, 6]], [[11, 12], [9, 10]]]


def test_zoom_enlarges_about_the_middle() -> None:
    image = torch.full((1, 3, 41, 41), 50, dtype=torch.uint8)
    image[:, :, 20, 28:31] = 250  # a bar 8 to 10 pixels to the right of the middle
    larger = apply_augmentation(image, draw_of(zoom=True, factor=2.0))
    assert torch.nonzero(larger[0, 0] == 250).float().mean(0).tolist() == [20, 20 + 2 * 9]
    assert larger.min() == 50
    smaller = apply_augmentation(image, draw_of(zoom=True, factor=0.5))
    assert [smaller[0, 0, y, x].item() for y in (0, 40) for x in (0, 40)] == [0, 0, 0, 0]
    assert smaller[0, 0, 20].argmax() == 20 + 4


def test_a_zoomed_image_is_turned_anticlockwise_too() -> None:
    image = torch.full((1, 3, 41, 41), 100, dtype=torch.uint8)
    image[:, :, 20, 29] = 255
    turned = apply_augmentation(image, draw_of(zoom=True, factor=2.0, rotate=True, angle_degrees=90.0))
    assert torch.nonzero(turned[0, 0] == turned.max()).tolist() == [[2, 20]]
    still = apply_augmentation(image, draw_of(zoom=True, factor=2.0, rotate=False, angle_degrees=90.0))
    assert torch.nonzero(still[0, 0] == still.max()).tolist() == [[20, 38]]


def test_rotation_is_anticlockwise_with_black_corners() -> None:
    image = torch.full((1, 3, 41, 41), 100, dtype=torch.uint8)
    image[:, :, 20, 38] = 255  # a dot to the right of the centre goes up
    turned = apply_augmentation(image, draw_of(rotate=True, angle_degrees=90.0))
    assert torch.nonzero(turned[0, 0] == 255).tolist() == [[2, 20]]
    turned = apply_augmentation(image, draw_of(rotate=True, angle_degrees=10.0))
    assert torch.nonzero(turned[0, 0] == 255).float().mean(0).tolist() == pytest.approx([20 - 18 * 0.174, 38], abs=1)
    assert [turned[0, 0, y, x].item() for y in (0, 40) for x in (0, 40)] == [0, 0, 0, 0]


def test_brightness_by_hand() -> None:
    image = torch.tensor([0, 10, 100, 200, 250], dtype=torch.uint8).expand(1, 3, 1, 5)
    brighter = apply_augmentation(image, draw_of(jitter=True, brightness=1.2))
    assert difference(brighter[0, :, 0], torch.tensor([[0, 12, 120, 240, 255]] * 3)).max() <= 1


def test_saturation_by_hand() -> None:
    """Grey stays; the grey of (200, 100, 50) is 0.2989, 0.587 and 0.114 of it: 124.2; 0.8 goes a fifth of the way."""
    image = torch.tensor([[80, 200], [80, 100], [80, 50]], dtype=torch.uint8)[None, :, None]
    paler = apply_augmentation(image, draw_of(jitter=True, saturation=0.8))[0, :, 0]
    assert difference(paler, torch.tensor([[80, 185], [80, 105], [80, 65]])).max() <= 1


def test_hue_by_hand() -> None:
    """A third of a turn makes red green, green blue and blue red; grey has no hue."""
    image = torch.tensor([[255, 0, 0, 77], [0, 255, 0, 77], [0, 0, 255, 77]], dtype=torch.uint8)[None, :, None]
    turned = apply_augmentation(image, draw_of(jitter=True, hue=1 / 3))[0, :, 0]
    assert difference(turned, torch.tensor([[0, 0, 255, 77], [255, 0, 0, 77], [0, 255, 0, 77]])).max() <= 1


def test_order_is_flip_jitter_rotate() -> None:
    image = smooth(40)
    every = {"flip": True, "jitter": True, "rotate": True}
    values = {"brightness": 1.15, "saturation": 0.85, "hue": 0.1, "angle_degrees": 8.0}
    together = apply_augmentation(image, draw_of(**every, **values))
    steps = image
    for name in every:
        steps = apply_augmentation(steps, draw_of(**{name: True}, **values))
    assert torch.equal(together, steps)


# ---------------------------------------------------------------- pixels against references


def jittered_by_colorsys(pixel: tuple[int, ...], brightness: float, saturation: float, hue: float) -> list[float]:
    """From the definitions, in floating point: scale and clip, mix with grey and clip, turn the hue."""
    red, green, blue = (min(value / 255 * brightness, 1.0) for value in pixel)
    grey = 0.2989 * red + 0.587 * green + 0.114 * blue
    red, green, blue = (min(max(grey + saturation * (value - grey), 0.0), 1.0) for value in (red, green, blue))
    h, s, v = colorsys.rgb_to_hsv(red, green, blue)
    return [255 * value for value in colorsys.hsv_to_rgb((h + hue) % 1.0, s, v)]


@relaxed
@given(
    pixels=st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=6),
    brightness=st.floats(0.8, 1.2),
    saturation=st.floats(0.8, 1.2),
    hue=st.floats(-0.2, 0.2),
)
def test_jitter_equals_colorsys(
    pixels: list[tuple[int, ...]], brightness: float, saturation: float, hue: float
) -> None:
    image = torch.tensor(pixels, dtype=torch.uint8).T[None, :, None]
    draw = draw_of(jitter=True, brightness=brightness, saturation=saturation, hue=hue)
    found = apply_augmentation(image, draw)[0, :, 0].T.tolist()
    for pixel, changed in zip(pixels, found, strict=True):
        for one, other in zip(changed, jittered_by_colorsys(pixel, brightness, saturation, hue), strict=True):
            # Each of three steps cuts to whole numbers, which also turns the hue: 4.01 in 18,000 pixels at the most.
            assert abs(one - other) <= 5


def test_hue_alone_equals_colorsys_within_rounding() -> None:
    image = noise(1, 16, 16)
    turned = apply_augmentation(image, draw_of(jitter=True, hue=0.13))
    for y in range(16):
        for x in range(16):
            expected = jittered_by_colorsys(tuple(image[0, :, y, x].tolist()), 1.0, 1.0, 0.13)
            assert np.abs(turned[0, :, y, x].numpy() - np.array(expected)).max() <= 1


def test_in_place_the_input_itself_is_changed_and_else_left_as_it_was() -> None:
    images = noise(6, 20, 20, seed=1)
    before = images.clone()
    draw = AugmentConfig(flip_probability=0.5, jitter_probability=0.5, rotate_probability=0.5)
    draws = draw_augmentation(draw, seed=3, epoch=0, indices=range(6))
    changed = apply_augmentation(images, draws)
    assert torch.equal(images, before)
    assert not torch.equal(changed, before)
    assert apply_augmentation(images, draws, in_place=True) is images
    assert torch.equal(images, changed)


@pytest.mark.parametrize("seed", range(6))
def test_apply_equals_torchvision_on_the_same_image(seed: int) -> None:
    """But for rounding, and for two pixels that are equally near: the other one of them in noise is another grey."""
    images = noise(5, 60, 60, seed=seed)
    config = AugmentConfig(flip_probability=0.5, jitter_probability=0.5, rotate_probability=0.5)
    draw = draw_augmentation(config, seed=seed, epoch=0, indices=range(5))
    found = apply_augmentation(images, draw)
    for row in range(5):
        expected = images[row].contiguous()
        if draw.flip[row]:
            expected = functional.horizontal_flip(expected)
        if draw.jitter[row]:
            expected = functional.adjust_brightness(expected, draw.brightness[row])
            expected = functional.adjust_saturation(expected, draw.saturation[row])
            expected = functional.adjust_hue(expected, draw.hue[row])
        if draw.rotate[row]:
            expected = functional.rotate(expected, draw.angle_degrees[row])
        off = difference(found[row], expected).max(0)
        assert (off > 0).mean() <= 0.02
        assert (off > 1).mean() <= 0.002
        if not (draw.jitter[row] or draw.rotate[row]):
            assert torch.equal(found[row], expected)


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.07, 1.2])
def test_brightness_and_saturation_equal_torchvision_on_pil(factor: float) -> None:
    image = noise(1, 30, 30)
    brighter = apply_augmentation(image, draw_of(jitter=True, brightness=factor))
    assert difference(brighter[0], functional.adjust_brightness(as_pil(image[0]), factor)).max() <= 1
    paler = apply_augmentation(image, draw_of(jitter=True, saturation=factor))
    assert difference(paler[0], functional.adjust_saturation(as_pil(image[0]), factor)).max() <= 1


@pytest.mark.parametrize("hue", [-0.2, -0.05, 0.11, 0.2])
def test_hue_equals_torchvision_on_pil_but_for_pils_own_rounding(hue: float) -> None:
    """Pillow cuts hue and shift to 255ths of a turn, each worth up to 6 levels."""
    image = smooth(30)
    turned = apply_augmentation(image, draw_of(jitter=True, hue=hue))
    off = difference(turned[0], functional.adjust_hue(as_pil(image[0]), hue))
    assert off.max() <= 12
    assert off.mean() < 1.5


@pytest.mark.parametrize("angle_degrees", [-10.0, -3.3, 0.7, 10.0])
def test_rotation_equals_torchvision_on_pil(angle_degrees: float) -> None:
    """The nearest pixel; where two are equally near, one of 500 may be the other."""
    image = noise(1, 60, 60)
    turned = apply_augmentation(image, draw_of(rotate=True, angle_degrees=angle_degrees))
    off = difference(turned[0], functional.rotate(as_pil(image[0]), angle_degrees)).max(0)
    assert (off > 0).mean() <= 0.002


# ---------------------------------------------------------------- masks


def test_masks_move_by_hand() -> None:
    mask = torch.tensor([[[True, False, False], [False, False, False], [False, True, False]]])
    assert apply_to_masks(mask, draw_of(flip=True)).int().tolist() == [[[0, 0, 1], [0, 0, 0], [0, 1, 0]]]
    assert apply_to_masks(mask, draw_of(vertical_flip=True)).int().tolist() == [[[0, 1, 0], [0, 0, 0], [1, 0, 0]]]
    turned = apply_to_masks(mask, draw_of(rotate=True, angle_degrees=90.0))
    assert turned.int().tolist() == [[[0, 0, 0], [0, 0, 1], [1, 0, 0]]]
    assert torch.equal(apply_to_masks(mask, draw_of(jitter=True, brightness=1.2)), mask)


def test_what_comes_in_from_outside_is_no_lesion() -> None:
    mask = torch.ones(1, 20, 20, dtype=torch.bool)
    assert apply_to_masks(mask, draw_of(zoom=True, factor=0.5)).sum() == 100
    assert apply_to_masks(mask, draw_of(zoom=True, factor=2.0)).all()
    assert not apply_to_masks(mask, draw_of(rotate=True, angle_degrees=45.0))[0, [0, 0, -1, -1], [0, -1, 0, -1]].any()


@relaxed
@given(seed=st.integers(0, 999))
def test_a_mask_moves_as_its_image_does(seed: int) -> None:
    """A lesion painted white on black: where the image is bright afterwards, there is the mask, but for its border."""
    y, x = np.mgrid[:40, :40]
    lesion = torch.from_numpy(np.hypot((y - 14) / 1.4, x - 24) < 8)
    images = (lesion.to(torch.uint8) * 255).expand(4, 3, 40, 40)
    draw = draw_augmentation(MOVES, seed=seed, epoch=0, indices=range(4))
    moved = apply_augmentation(images, dataclasses.replace(draw, jitter=np.zeros(4, dtype=bool)))
    masks = apply_to_masks(lesion.expand(4, 40, 40), draw)
    assert ((moved[:, 0] > 127) != masks).sum(dim=(1, 2)).max() <= 0.02 * 40 * 40
    assert masks.any(dim=2).any(dim=1).all()


def test_zoom_equals_torchvision_s_affine() -> None:
    image, mask = noise(1, 30, 30), torch.rand(1, 30, 30, generator=torch.Generator().manual_seed(0)) < 0.5
    draw = draw_of(zoom=True, factor=1.2, rotate=True, angle_degrees=33.0)
    own = {"angle": -33.0, "translate": [0, 0], "scale": 1.2, "shear": [0.0]}
    expected = functional.affine(image[0], **own, interpolation=InterpolationMode.BILINEAR)
    assert torch.equal(apply_augmentation(image, draw)[0], expected)
    assert torch.equal(apply_to_masks(mask, draw), functional.affine(mask.to(torch.uint8), **own) > 0)


def test_masks_are_left_as_they_were() -> None:
    masks = torch.rand(4, 20, 20, generator=torch.Generator().manual_seed(1)) < 0.5
    before = masks.clone()
    assert not torch.equal(apply_to_masks(masks, draw_of(4, flip=True)), before)
    assert torch.equal(masks, before)


# ---------------------------------------------------------------- batches


def test_the_input_is_left_as_it_was() -> None:
    images = noise(4, 20, 20)
    before = images.clone()
    draw = draw_augmentation(ALWAYS, seed=0, epoch=0, indices=range(4))
    assert not torch.equal(apply_augmentation(images, draw), before)
    assert torch.equal(images, before)


def test_images_that_are_not_drawn_stay() -> None:
    images = noise(3, 20, 20)
    draw = draw_of(3)
    assert torch.equal(apply_augmentation(images, draw), images)
    draw.flip[1] = draw.rotate[1] = draw.jitter[1] = True
    draw.brightness[:] = 1.2
    changed = apply_augmentation(images, draw)
    assert [torch.equal(one, other) for one, other in zip(changed, images, strict=True)] == [True, False, True]


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_result_is_uint8_in_the_inputs_layout(memory_format: torch.memory_format) -> None:
    images = noise(2, 20, 24).contiguous(memory_format=memory_format)
    changed = apply_augmentation(images, draw_augmentation(ALWAYS, seed=0, epoch=0, indices=[0, 1]))
    assert (changed.dtype, changed.shape) == (torch.uint8, images.shape)
    assert changed.is_contiguous(memory_format=memory_format)


@relaxed
@given(count=st.integers(1, 6), seed=st.integers(0, 99), data=st.data())
def test_batch_equals_its_images_one_by_one(count: int, seed: int, data: st.DataObject) -> None:
    images = noise(count, 12, 12, seed=seed)
    indices = data.draw(st.lists(st.integers(0, 10_000), min_size=count, max_size=count))
    config = AugmentConfig(flip_probability=0.5, jitter_probability=0.5, rotate_probability=0.5)
    together = apply_augmentation(images, draw_augmentation(config, seed=seed, epoch=1, indices=indices))
    for row, index in enumerate(indices):
        alone = apply_augmentation(
            images[row : row + 1], draw_augmentation(config, seed=seed, epoch=1, indices=[index])
        )
        assert torch.equal(together[row], alone[0])


def test_no_random_state_of_torch_or_numpy_is_touched() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    apply_augmentation(noise(2, 9, 9), draw_augmentation(ALWAYS, seed=0, epoch=0, indices=[0, 1]))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002

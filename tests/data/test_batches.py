"""Batches: the same input as `imaging.preprocess`, in order, ahead of time, with no thread left behind."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from lentigo.config import AugmentConfig
from lentigo.data import batches as batches_module
from lentigo.data.augment import apply_augmentation, apply_to_masks, draw_augmentation
from lentigo.data.batches import Augmentation, batches, masked_batches, preprocess_batch
from lentigo.data.masks import MaskPack
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.table import read_table
from lentigo.errors import DataError, ImageError
from lentigo.imaging import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, preprocess

relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PLAIN = Preprocessing(resize_px=None, crop_px=None)
IMAGENET = Preprocessing(resize_px=24, crop_px=20, mean=IMAGENET_MEAN, std=IMAGENET_STD)
IMAGENET_SQUARE = Preprocessing(resize_px=24, crop_px=None, mean=IMAGENET_MEAN, std=IMAGENET_STD)
EVERYTHING = AugmentConfig(flip_probability=0.5, jitter_probability=0.5, rotate_probability=0.5)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def as_batch(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def noise_pack(root: Path) -> ImagePack:
    """Ten images of noise, 32 pixels a side."""
    for number, image in enumerate(noise(10, 32, 32)):
        path = root / "data" / ("benign", "malignant")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    return pack_images(read_table(root / "data"), image_px=32, cache=root / "cache")


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> ImagePack:
    return noise_pack(tmp_path_factory.mktemp("batches"))


# ---------------------------------------------------------------- preprocessing


@pytest.mark.parametrize(
    "settings_",
    [PLAIN, IMAGENET, Preprocessing(resize_px=40, crop_px=None), Preprocessing(resize_px=None, crop_px=15)],
    ids=["plain", "imagenet", "larger", "crop"],
)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 20), (90, 22), (20, 61)])
def test_preprocess_batch_equals_preprocess_bit_for_bit(settings_: Preprocessing, height: int, width: int) -> None:
    images = noise(3, height, width)
    found = preprocess_batch(as_batch(images), settings_)
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(np.stack([preprocess(image, settings_) for image in images])))


def test_preprocess_batch_by_hand() -> None:
    images = torch.tensor([0, 51, 102, 255], dtype=torch.uint8).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    found = preprocess_batch(
        images, Preprocessing(resize_px=None, crop_px=None, mean=(0.0, 0.2, 0.0), std=(1.0, 0.5, 2.0))
    )
    expected = [[[0, 0.2], [0.4, 1]], [[-0.4, 0], [0.4, 1.6]], [[0, 0.1], [0.2, 0.5]]]
    assert found[0].numpy() == pytest.approx(np.array(expected), abs=1e-7)


@pytest.mark.parametrize(("size_px", "crop_px", "top"), [(4, 2, 1), (5, 2, 2), (7, 2, 2), (3, 3, 0)])
def test_crop_is_centred_with_halves_to_even(size_px: int, crop_px: int, top: int) -> None:
    """(5 - 2) / 2 = 1.5 and (7 - 2) / 2 = 2.5 both become 2, as in torchvision's CenterCrop."""
    rows = torch.arange(size_px, dtype=torch.uint8).reshape(1, 1, size_px, 1).expand(1, 3, size_px, size_px)
    found = preprocess_batch(rows, Preprocessing(resize_px=None, crop_px=crop_px))
    assert (found[0, 0, :, 0] * 255).round().int().tolist() == list(range(top, top + crop_px))


def test_a_crop_larger_than_the_images_is_refused() -> None:
    message = (
        r"^the images have 30 x 20 pixels, fewer than crop_px = 24 on a side; set resize_px, a smaller crop_px or a "
    )
    with pytest.raises(ImageError, match=message):
        preprocess_batch(as_batch(noise(2, 20, 30)), Preprocessing(resize_px=None, crop_px=24))


def test_the_input_is_left_as_it_was() -> None:
    images = as_batch(noise(2, 32, 32))
    before = images.clone()
    for settings_ in (PLAIN, IMAGENET):
        preprocess_batch(images, settings_)
        assert torch.equal(images, before)


def resized_by_pillow(image: np.ndarray, out_px: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((out_px, out_px), Image.Resampling.BILINEAR))


@relaxed
@given(in_px=st.integers(1, 90), out_px=st.integers(1, 90), seed=st.integers(0, 9), hard=st.booleans())
def test_resize_on_a_device_equals_pillow_bit_for_bit(in_px: int, out_px: int, seed: int, hard: bool) -> None:
    image = noise(in_px, in_px, seed=seed)
    if hard:  # only 0 and 255: the largest sums, and the edges of clipping
        image = np.where(image > 127, 255, 0).astype(np.uint8)
    expected = resized_by_pillow(image, out_px)
    for resize in (batches_module._resize_on_device, batches_module._resize_with_pillow):
        assert np.array_equal(resize(as_batch(image[None]), out_px)[0].permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    ("in_px", "out_px", "crop_px", "exact"),
    [
        (300, 256, 224, True), (300, 256, 223, True), (600, 256, 224, True), (257, 128, 64, True), (75, 64, 64, True),
        (90, 60, 40, True), (50, 60, 30, True), (300, 250, 224, False), (300, 232, 224, False), (91, 90, 1, False),
    ],
)  # fmt: skip
def test_only_the_middle_is_resized_where_that_changes_no_bit(
    in_px: int, out_px: int, crop_px: int, exact: bool
) -> None:
    """Edges such as 13 * 300 / 250 = 15.6 have no float32, in which Pillow keeps them."""
    images = np.where(noise(2, in_px, in_px, seed=in_px) > 127, 255, 0).astype(np.uint8)
    assert (batches_module._exact_box((in_px, in_px), out_px, crop_px) is not None) == exact
    found = preprocess_batch(as_batch(images), settings := Preprocessing(resize_px=out_px, crop_px=crop_px))
    assert torch.equal(found, torch.from_numpy(np.stack([preprocess(image, settings) for image in images])))


@relaxed
@given(in_px=st.integers(1, 12), out_power=st.integers(0, 6), crop_px=st.integers(1, 64), seed=st.integers(0, 9))
def test_the_middle_alone_is_the_middle(in_px: int, out_power: int, crop_px: int, seed: int) -> None:
    """To a power of two every edge is exact."""
    out_px = 2**out_power
    settings = Preprocessing(resize_px=out_px, crop_px=min(crop_px, out_px))
    image = noise(7 * in_px, 7 * in_px, seed=seed)
    found = preprocess_batch(as_batch(image[None]), settings)[0].numpy()
    assert np.array_equal(found, preprocess(image, settings))


@relaxed
@given(height=st.integers(1, 90), width=st.integers(1, 90), out_px=st.integers(1, 90))
def test_resize_of_other_shapes_is_within_one_level(height: int, width: int, out_px: int) -> None:
    """Pillow, from version 13 on, resizes the columns of a tall image first, and rounds in between."""
    image = noise(height, width)
    found = batches_module._resize_on_device(as_batch(image[None]), out_px)[0].permute(1, 2, 0).numpy()
    assert np.abs(found.astype(int) - resized_by_pillow(image, out_px).astype(int)).max() <= 1


@pytest.mark.parametrize(("in_px", "out_px"), [(300, 256), (300, 64), (224, 300), (256, 224)])
def test_resize_at_the_sizes_in_use(in_px: int, out_px: int) -> None:
    images = noise(2, in_px, in_px)
    found = batches_module._resize_on_device(as_batch(images), out_px).permute(0, 2, 3, 1).numpy()
    for image, one in zip(images, found, strict=True):
        assert np.array_equal(one, resized_by_pillow(image, out_px))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_preprocess_on_a_gpu_equals_the_cpu() -> None:
    images = as_batch(noise(4, 70, 70))
    on_cpu = preprocess_batch(images, IMAGENET)
    assert (preprocess_batch(images.cuda(), IMAGENET).cpu() - on_cpu).abs().max() <= 1e-6


# ---------------------------------------------------------------- batches


def test_batches_by_hand(pack: ImagePack) -> None:
    indices = [7, 2, 2, 9, 0]
    found = list(batches(pack, indices, PLAIN, batch_size=2))
    assert [len(batch) for batch in found] == [2, 2, 1]
    expected = pack.read(indices).transpose(0, 3, 1, 2).astype(np.float32) / 255
    assert np.array_equal(torch.cat(found).numpy(), expected)


@relaxed
@given(indices=st.lists(st.integers(0, 9), max_size=12), batch_size=st.integers(1, 13), skip=st.integers(0, 5))
def test_batch_size_and_skip_change_only_the_cuts(
    pack: ImagePack, indices: list[int], batch_size: int, skip: int
) -> None:
    augmentation = Augmentation(config=EVERYTHING, seed=3, epoch=1)
    found = list(batches(pack, indices, IMAGENET, batch_size=batch_size, augmentation=augmentation, skip=skip))
    left = indices[skip * batch_size :]
    assert [len(batch) for batch in found] == [len(left[i : i + batch_size]) for i in range(0, len(left), batch_size)]
    one_by_one = [next(batches(pack, [index], IMAGENET, batch_size=1, augmentation=augmentation)) for index in left]
    assert all(
        torch.equal(a, b)
        for a, b in zip((row for batch in found for row in batch), (b[0] for b in one_by_one), strict=True)
    )


def test_augmentation_is_drawn_by_seed_epoch_and_index(pack: ImagePack) -> None:
    indices = np.array([5, 1, 8])
    augmentation = Augmentation(config=EVERYTHING, seed=2, epoch=4)
    (found,) = batches(pack, indices, IMAGENET, batch_size=3, augmentation=augmentation)
    draw = draw_augmentation(EVERYTHING, seed=2, epoch=4, indices=indices)
    assert torch.equal(found, preprocess_batch(apply_augmentation(as_batch(pack.read(indices)), draw), IMAGENET))
    for other in (
        Augmentation(config=EVERYTHING, seed=2, epoch=5),
        Augmentation(config=EVERYTHING, seed=3, epoch=4),
        None,
    ):
        (differs,) = batches(pack, indices, IMAGENET, batch_size=3, augmentation=other)
        assert not torch.equal(found, differs)


def test_device_is_where_the_batches_are(pack: ImagePack) -> None:
    (found,) = batches(pack, [0, 1], PLAIN, batch_size=2, device=torch.device("cpu"))
    assert found.device.type == "cpu"


def making_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def until_no_thread_is_left() -> bool:
    stop = time.monotonic() + 5
    while making_threads() and time.monotonic() < stop:
        time.sleep(0.01)
    return not making_threads()


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_a_generator_that_is_closed_early_leaves_no_thread(pack: ImagePack, taken: int) -> None:
    assert until_no_thread_is_left()
    source: Iterator[Tensor] = batches(pack, range(10), PLAIN, batch_size=2)
    for _ in range(taken):
        next(source)
    assert bool(making_threads()) == bool(taken)
    del source  # as when a training stops
    assert not making_threads()


def test_the_next_batch_is_made_while_one_is_used(pack: ImagePack, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    second = threading.Event()

    def read(self: ImagePack, indices: Any) -> np.ndarray:
        made.append(int(indices[0]))
        if len(made) == 2:
            second.set()
        return np.zeros((len(indices), 32, 32, 3), dtype=np.uint8)

    monkeypatch.setattr(ImagePack, "read", read)
    source = batches(pack, range(10), PLAIN, batch_size=2)
    next(source)
    assert second.wait(timeout=5)
    time.sleep(0.05)
    assert made == [0, 2]  # one ahead and no more: memory stays flat
    list(source)
    assert made == [0, 2, 4, 6, 8]


def test_an_error_in_the_making_thread_surfaces(pack: ImagePack, monkeypatch: pytest.MonkeyPatch) -> None:
    read = ImagePack.read

    def fail_at_4(self: ImagePack, indices: Any) -> np.ndarray:
        if 4 in indices:
            raise DataError("the pack is damaged")
        return read(self, indices)

    monkeypatch.setattr(ImagePack, "read", fail_at_4)
    source = batches(pack, range(10), PLAIN, batch_size=2)
    assert [len(next(source)), len(next(source))] == [2, 2]
    with pytest.raises(DataError, match=r"^the pack is damaged$"):
        next(source)
    assert until_no_thread_is_left()


def test_a_crop_that_does_not_fit_surfaces(pack: ImagePack) -> None:
    with pytest.raises(ImageError, match=r"^the images have 32 x 32 pixels, fewer than crop_px = 64 on a side"):
        next(batches(pack, [0], Preprocessing(resize_px=None, crop_px=64), batch_size=1))


def test_no_image_gives_no_batch(pack: ImagePack) -> None:
    assert list(batches(pack, [], PLAIN, batch_size=4)) == []
    assert list(batches(pack, range(10), PLAIN, batch_size=4, skip=3)) == []


# ---------------------------------------------------------------- with masks


@pytest.fixture(scope="module")
def masks() -> MaskPack:
    """A mask for each image of the pack but the last: noise of blocks of 4 pixels."""
    blocks = np.random.default_rng(5).random((10, 8, 8)) < 0.5
    blocks[9] = False
    planes = blocks.repeat(4, axis=1).repeat(4, axis=2)
    bits = np.stack([np.packbits(plane) for plane in planes])
    return MaskPack(size_px=32, bits=bits, there=bits.any(axis=1), without=(), empty=())


def test_masked_batches_by_hand(pack: ImagePack, masks: MaskPack) -> None:
    found = list(masked_batches(pack, masks, [7, 2, 2, 8, 0], PLAIN, batch_size=2))
    (alone,) = batches(pack, [7, 2, 2, 8, 0], PLAIN, batch_size=5)
    assert torch.equal(torch.cat([images for images, _ in found]), alone)
    assert [lesions.dtype for _, lesions in found] == [torch.float32] * 3
    assert torch.equal(torch.cat([lesions for _, lesions in found]) > 0, torch.from_numpy(masks.read([7, 2, 2, 8, 0])))


def test_masks_are_moved_as_their_images(pack: ImagePack, masks: MaskPack) -> None:
    config = AugmentConfig(
        flip_probability=0.5, vertical_flip_probability=0.5, zoom_probability=0.5, rotate_probability=0.5
    )
    augmentation, indices = Augmentation(config=config, seed=2, epoch=4), np.array([5, 1, 8])
    ((images, lesions),) = masked_batches(pack, masks, indices, PLAIN, batch_size=3, augmentation=augmentation)
    (alone,) = batches(pack, indices, PLAIN, batch_size=3, augmentation=augmentation)
    assert torch.equal(images, alone)
    draw = draw_augmentation(config, seed=2, epoch=4, indices=indices)
    assert torch.equal(lesions > 0, apply_to_masks(torch.from_numpy(masks.read(indices)), draw))


def test_masks_are_of_the_size_of_the_input(pack: ImagePack, masks: MaskPack) -> None:
    """At 8 pixels each is one block; at 64 each pixel is four."""
    blocks = masks.read([3])[:, ::4, ::4]
    for size_px, expected in ((8, blocks), (64, blocks.repeat(8, axis=1).repeat(8, axis=2))):
        settings_ = Preprocessing(resize_px=size_px, crop_px=None)
        ((images, lesions),) = masked_batches(pack, masks, [3], settings_, batch_size=1)
        assert lesions.shape == images.shape[:1] + images.shape[2:]
        assert np.array_equal(lesions.numpy() > 0, expected)


def test_skipping_changes_only_where_it_begins(pack: ImagePack, masks: MaskPack) -> None:
    whole = list(masked_batches(pack, masks, range(9), IMAGENET_SQUARE, batch_size=2))
    rest = list(masked_batches(pack, masks, range(9), IMAGENET_SQUARE, batch_size=2, skip=3))
    assert len(rest) == 2
    for (images, lesions), (again, lesions_again) in zip(whole[3:], rest, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(lesions, lesions_again)


def test_an_image_without_a_mask_is_refused(pack: ImagePack, masks: MaskPack) -> None:
    with pytest.raises(DataError, match=r"^image 9 of the table has no mask; leave it out$"):
        list(masked_batches(pack, masks, [1, 9], PLAIN, batch_size=2))


@pytest.mark.real
def test_real_images_come_through_unchanged(real_data: Path, tmp_path: Path) -> None:
    table = read_table(real_data / "ham10000")
    few = table.subset([0, 1, 2, 3])
    real_pack = pack_images(few, image_px=300, cache=tmp_path)
    settings_ = Preprocessing(resize_px=256, crop_px=224, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    (found,) = batches(real_pack, range(4), settings_, batch_size=4)
    for image, one in zip(real_pack.read(range(4)), found, strict=True):
        assert np.array_equal(one.numpy(), preprocess(image, settings_))

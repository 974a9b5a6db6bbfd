"""Images kept on a device: those of the pack, whole or a subset, and only where there is room."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from lentigo.config import AugmentConfig
from lentigo.data import batches as batches_module
from lentigo.data import resident
from lentigo.data.batches import Augmentation, batches, masked_batches
from lentigo.data.masks import MaskPack
from lentigo.data.pack import ImagePack
from lentigo.errors import DataError
from lentigo.imaging import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from tests.data.test_batches import noise_pack

CPU = torch.device("cpu")
IMAGENET = Preprocessing(resize_px=24, crop_px=20, mean=IMAGENET_MEAN, std=IMAGENET_STD)
CHANGED = AugmentConfig(flip_probability=0.5, jitter_probability=0.0, rotate_probability=0.0)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> ImagePack:
    return noise_pack(tmp_path_factory.mktemp("resident"))


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The processor plays the GPU, with 100 kB free: the pack of ten images has 30,720 bytes."""
    monkeypatch.setattr(resident, "_free_bytes", lambda _: 100_000)
    yield
    resident.forget(CPU)


def test_kept_images_are_the_packs(pack: ImagePack) -> None:
    assert not resident.is_kept(pack, CPU)
    assert resident.keep_on_device(pack, CPU)
    assert resident.is_kept(pack, CPU)
    rows = np.array([7, 0, 7, 3])
    assert np.array_equal(resident.kept_images(pack, rows, CPU).numpy(), pack.read(rows))


def test_a_subset_is_found_in_the_whole(pack: ImagePack) -> None:
    part = pack.subset([8, 2, 5])
    resident.keep_on_device(pack, CPU)
    assert resident.is_kept(part, CPU)
    assert np.array_equal(resident.kept_images(part, np.array([2, 0]), CPU).numpy(), pack.read([5, 8]))


def test_the_whole_is_not_in_a_subset(pack: ImagePack) -> None:
    part = pack.subset([8, 2, 5])
    assert resident.keep_on_device(part, CPU)
    assert resident.is_kept(part, CPU)
    assert np.array_equal(resident.kept_images(part, np.array([1]), CPU).numpy(), pack.read([2]))
    assert not resident.is_kept(pack, CPU)
    assert not resident.is_kept(pack.subset([8]), CPU)


def test_one_pack_a_device(pack: ImagePack) -> None:
    resident.keep_on_device(pack.subset([1]), CPU)
    resident.keep_on_device(pack.subset([2]), CPU)
    assert not resident.is_kept(pack.subset([1]), CPU)
    resident.forget(CPU)
    assert not resident.is_kept(pack.subset([2]), CPU)


def test_too_little_room_keeps_nothing(pack: ImagePack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "_free_bytes", lambda _: 76_000)  # 40 % of it are 30,400 bytes
    assert not resident.keep_on_device(pack, CPU)
    assert not resident.is_kept(pack, CPU)
    monkeypatch.setattr(resident, "_free_bytes", lambda _: 76_801)
    assert resident.keep_on_device(pack, CPU)


def test_a_damaged_image_is_noticed(pack: ImagePack) -> None:
    wrong = ImagePack(folder=pack.folder, ids=pack.ids, image_px=pack.image_px, crc32=(*pack.crc32[:-1], 0))
    with pytest.raises(DataError, match="another checksum"):
        resident.keep_on_device(wrong, CPU)
    assert not resident.is_kept(pack, CPU)


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "read"])
@pytest.mark.parametrize("skip", [0, 2])
def test_batches_of_a_device_equal_the_processor_s(
    pack: ImagePack, kept: bool, skip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches a group, so that groups begin and end inside; the last batch is smaller."""
    monkeypatch.setattr(batches_module, "_GROUP_BYTES", 2 * 3 * 32 * 32 * 3)
    if kept:
        resident.keep_on_device(pack, CPU)
    order, augmentation = np.array([4, 9, 1, 0, 7, 3, 8, 2, 5, 6]), Augmentation(config=CHANGED, seed=1, epoch=2)
    options = {"batch_size": 3, "augmentation": augmentation, "skip": skip}
    expected = list(batches(pack, order, IMAGENET, **options))
    found = list(batches(pack, order, IMAGENET, **options, device=_as_if_gpu(monkeypatch)))
    assert [len(batch) for batch in found] == [3, 3, 3, 1][skip:]
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("augmented", [True, False])
def test_masked_batches_of_a_device_equal_the_processor_s(
    pack: ImagePack, augmented: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    planes = (np.random.default_rng(5).random((10, 8, 8)) < 0.5).repeat(4, axis=1).repeat(4, axis=2)
    bits = np.stack([np.packbits(plane) for plane in planes])
    masks = MaskPack(size_px=32, bits=bits, there=np.ones(10, dtype=bool), without=(), empty=())
    augmentation = Augmentation(config=CHANGED, seed=3, epoch=0) if augmented else None
    settings = Preprocessing(resize_px=16, crop_px=None)
    expected = list(masked_batches(pack, masks, np.arange(10), settings, batch_size=4, augmentation=augmentation))
    found = list(
        masked_batches(
            pack, masks, np.arange(10), settings, batch_size=4, augmentation=augmentation,
            device=_as_if_gpu(monkeypatch),
        )
    )  # fmt: skip
    assert [len(images) for images, _ in found] == [4, 4, 2]
    for (images, lesions), (expected_images, expected_lesions) in zip(found, expected, strict=True):
        assert torch.allclose(images, expected_images, atol=1e-6)
        assert torch.equal(lesions, expected_lesions)


def test_no_batch_of_no_image(pack: ImagePack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(batches(pack, [], IMAGENET, batch_size=3, device=_as_if_gpu(monkeypatch))) == []


def _as_if_gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """The processor, which `batches` takes for another device."""
    monkeypatch.setattr(batches_module, "_is_processor", lambda _: False)
    return CPU

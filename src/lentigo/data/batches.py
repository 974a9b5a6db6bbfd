"""From a pack to a network's input, in batches: read, augment, preprocess; the next batch is made while one trains."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from lentigo.config import AugmentConfig
from lentigo.data.augment import AugmentDraw, apply_augmentation, apply_to_masks, draw_augmentation
from lentigo.data.augment_together import apply_to_masks_together, apply_together
from lentigo.data.masks import MaskPack
from lentigo.data.pack import ImagePack
from lentigo.data.resident import is_kept, kept_images
from lentigo.errors import ImageError
from lentigo.imaging import Preprocessing, resize_weights, squeeze

Piece = TypeVar("Piece")
Made = TypeVar("Made")
_GROUP_BYTES = 64_000_000  # of uint8 pixels that a GPU changes at once: 7 batches of 32 images of 300 px


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What to draw a training batch's changes from."""

    config: AugmentConfig
    seed: int
    epoch: int

    def draw(self, indices: np.ndarray) -> AugmentDraw:
        """The changes of the images at `indices`."""
        return draw_augmentation(self.config, seed=self.seed, epoch=self.epoch, indices=indices)


def preprocess_batch(
    images: UInt8[Tensor, "image 3 height width"], settings: Preprocessing
) -> Float32[Tensor, "image 3 out_height out_width"]:
    """`imaging.preprocess` for a batch: the same resize, crop and scaling, bit for bit on the CPU.

    On another device a resize of square images, the only ones in a pack, is the same bit for bit; the scaling may
    differ in the last bit.

    Raises: ImageError: the images are smaller than the crop and no resize was asked for.
    """
    if settings.resize_px is not None and images.shape[2:] != (settings.resize_px, settings.resize_px):
        if images.device.type == "cpu":
            images = _resize_with_pillow(images, settings.resize_px, settings.crop_px)
        else:
            images = _resize_on_device(images, settings.resize_px)
    if settings.crop_px is not None:
        images = _centre_crop(images, settings.crop_px)
    return _scaled_one_by_one(images, settings) if images.device.type == "cpu" else _scaled(images, settings)


def _scaled_one_by_one(
    images: UInt8[Tensor, "image 3 height width"], settings: Preprocessing
) -> Float32[Tensor, "image 3 height width"]:
    """As `_scaled`, but an image stays in the cache: 0.07 ms for one of 300 px, where all at once take 0.57 each."""
    sources = images.permute(0, 2, 3, 1)
    scaled = torch.empty(sources.shape, dtype=torch.float32)
    # Repeated over a line, so that a line is subtracted at once; three numbers would be taken pixel by pixel.
    mean, std = (
        torch.tensor(values, dtype=torch.float32).repeat(sources.shape[2]) for values in (settings.mean, settings.std)
    )
    for source, target in zip(sources, scaled, strict=True):
        torch.div(source, 255, out=target)
        if not _is_plain(settings):
            target.flatten(1).sub_(mean).div_(std)
    return scaled.permute(0, 3, 1, 2)


def _scaled(
    images: UInt8[Tensor, "image 3 height width"], settings: Preprocessing
) -> Float32[Tensor, "image 3 height width"]:
    scaled = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
    if _is_plain(settings):
        return scaled
    mean, std = (
        torch.tensor(values, dtype=torch.float32, device=scaled.device).reshape(1, 3, 1, 1)
        for values in (settings.mean, settings.std)
    )
    return scaled.sub_(mean).div_(std)


def _is_plain(settings: Preprocessing) -> bool:
    """Whether values from 0 to 1 stay as they are."""
    return settings.mean == (0.0, 0.0, 0.0) and settings.std == (1.0, 1.0, 1.0)


def batches(
    pack: ImagePack,
    indices: Sequence[int] | np.ndarray,
    settings: Preprocessing,
    *,
    batch_size: int,
    augmentation: Augmentation | None = None,
    device: torch.device | None = None,
    skip: int = 0,
) -> Iterator[Float32[Tensor, "image 3 height width"]]:
    """Network inputs for the images at `indices`, in that order; the last batch may be smaller.

    Args:
        augmentation: None: the images as they are.
        device: where the batches are made and stay; None: the CPU.
        skip: batches left out at the start, where a resumed epoch goes on.
    Raises: DataError: the pack is damaged. ImageError: as `preprocess_batch`.
    """

    pieces = _pieces(indices, batch_size, skip)
    if device is not None and not _is_processor(device):
        for group, images, _ in _groups(pack, None, pieces, augmentation, device):
            yield from torch.split(preprocess_batch(images, settings), group.sizes)
        return

    def make(piece: np.ndarray) -> Tensor:
        images = _read(pack, piece)
        if augmentation is not None:
            images = apply_augmentation(images, augmentation.draw(piece), in_place=True)
        return preprocess_batch(images, settings)

    yield from _one_ahead(make, pieces)


def masked_batches(
    pack: ImagePack,
    masks: MaskPack,
    indices: Sequence[int] | np.ndarray,
    settings: Preprocessing,
    *,
    batch_size: int,
    augmentation: Augmentation | None = None,
    device: torch.device | None = None,
    skip: int = 0,
) -> Iterator[tuple[Float32[Tensor, "image 3 height width"], Float32[Tensor, "image height width"]]]:
    """As `batches`, each with the lesion masks of its images, moved as they are and of the size of the network's input.

    Args:
        masks: of the pack's size; 1 inside the lesion.
    Raises: DataError: the pack is damaged, or an image has no mask.
    """

    pieces = _pieces(indices, batch_size, skip)
    if device is not None and not _is_processor(device):
        for group, images, moved in _groups(pack, masks, pieces, augmentation, device):
            inputs = preprocess_batch(images, settings)
            shares = _shares(moved, inputs)
            yield from zip(torch.split(inputs, group.sizes), torch.split(shares, group.sizes), strict=True)
        return

    def make(piece: np.ndarray) -> tuple[Tensor, Tensor]:
        images, lesions = _read(pack, piece), torch.from_numpy(masks.read(piece))
        if augmentation is not None:
            draw = augmentation.draw(piece)
            images, lesions = apply_augmentation(images, draw, in_place=True), apply_to_masks(lesions, draw)
        images = preprocess_batch(images, settings)
        return images, _shares(lesions, images)

    yield from _one_ahead(make, pieces)


@dataclass(frozen=True)
class _Group:
    """Several batches before they go to a device."""

    pieces: list[np.ndarray]
    draw: AugmentDraw | None
    images: UInt8[Tensor, "image height width 3"] | None  # None: they are kept on the device
    lesions: Bool[Tensor, "mask mask_height mask_width"]  # no mask where the batches have none

    @property
    def sizes(self) -> list[int]:
        return [len(piece) for piece in self.pieces]


def _groups(
    pack: ImagePack,
    masks: MaskPack | None,
    pieces: list[np.ndarray],
    augmentation: Augmentation | None,
    device: torch.device,
) -> Iterator[tuple[_Group, UInt8[Tensor, "image 3 height width"], Bool[Tensor, "mask mask_height mask_width"]]]:
    """As many batches as a GPU changes quickly at once, on the device, with their masks; none without `masks`.

    What the processor does is done one group ahead in a thread: drawing, and reading where the pack is not kept on the
    device. All work on the device stays with the caller's thread, which may be recording it.
    """
    count = max(1, _GROUP_BYTES // (len(pieces[0]) * pack.image_px**2 * 3)) if pieces else 1

    def prepare(group: list[np.ndarray]) -> _Group:
        rows = np.concatenate(group)
        return _Group(
            pieces=group,
            draw=None if augmentation is None else augmentation.draw(rows),
            images=None if is_kept(pack, device) else torch.from_numpy(pack.read(rows)),
            lesions=torch.empty(0, 0, 0, dtype=torch.bool) if masks is None else torch.from_numpy(masks.read(rows)),
        )

    for group in _one_ahead(prepare, [pieces[start : start + count] for start in range(0, len(pieces), count)]):
        if group.images is None:
            images = kept_images(pack, np.concatenate(group.pieces), device)
        else:
            images = group.images.to(device)
        images, lesions = images.permute(0, 3, 1, 2), group.lesions.to(device)
        if group.draw is not None:
            images = apply_together(images, group.draw)
            lesions = lesions if masks is None else apply_to_masks_together(lesions, group.draw)
        yield group, images, lesions


def _shares(
    lesions: Bool[Tensor, "image height width"], inputs: Float32[Tensor, "image 3 out_height out_width"]
) -> Float32[Tensor, "image out_height out_width"]:
    """Masks of the size of a network's input."""
    shares = lesions.to(torch.float32)
    if shares.shape[1:] != inputs.shape[2:]:
        shares = (adaptive_avg_pool2d(shares, inputs.shape[2]) >= 0.5).to(torch.float32)
    return shares


def _is_processor(device: torch.device) -> bool:
    return device.type == "cpu"


def _pieces(indices: Sequence[int] | np.ndarray, batch_size: int, skip: int) -> list[np.ndarray]:
    starts = range(skip * batch_size, len(indices), batch_size)
    return [np.asarray(indices[start : start + batch_size]) for start in starts]


def _read(pack: ImagePack, piece: np.ndarray) -> Tensor:
    return torch.from_numpy(pack.read(piece)).permute(0, 3, 1, 2)


def _one_ahead(make: Callable[[Piece], Made], pieces: list[Piece]) -> Iterator[Made]:
    """What is made of each piece, in order; the next one is made in a thread while one is used."""
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(make, pieces[0]) if pieces else None
        for following in [*pieces[1:], None]:
            if ahead is None:
                return
            ready = ahead.result()
            ahead = pool.submit(make, following) if following is not None else None
            yield ready


def _resize_with_pillow(images: Tensor, out_px: int, crop_px: int | None = None) -> Tensor:
    """Pillow itself: 20 ms for 32 images from 300 to 256 px on one core, where `_resize_on_device` takes 300 ms.

    Of what is cropped afterwards, only the middle where that changes no bit.
    """
    sources = images.permute(0, 2, 3, 1).contiguous().numpy()
    box = None if crop_px is None else _exact_box(sources.shape[1:3], out_px, crop_px)
    made_px = out_px if crop_px is None or box is None else crop_px
    resized = np.empty((len(sources), made_px, made_px, 3), dtype=np.uint8)
    for source, target in zip(sources, resized, strict=True):
        target[:] = squeeze(source, made_px, box=box)
    return torch.from_numpy(resized).permute(0, 3, 1, 2)


def _exact_box(shape: tuple[int, int], out_px: int, crop_px: int) -> tuple[float, float, float, float] | None:
    """What of a square image becomes the middle `crop_px` of `out_px`; None where Pillow, in float32, would round it.

    Rounded edges would move all weights a little. Exact ones leave them as they are: a weight is k / K with K below
    (2 in / out + 2) 2 in, so that it lies 1 / 2K or more of a unit of 2**-22 from being rounded the other way, which no
    error of a float64 reaches at the sizes in use. No bit changed in 700 random pairs of sizes up to 400 px.
    """
    height, width = shape
    start = round((out_px - crop_px) / 2)
    edges = [Fraction(edge * width, out_px) for edge in (start, start + crop_px)]
    if height != width or start < 0 or any(Fraction(float(np.float32(edge))) != edge for edge in edges):
        return None
    low, high = map(float, edges)
    return low, low, high, high


def _resize_on_device(images: Tensor, out_px: int) -> Tensor:
    """As Pillow resizes a square image: the rows first."""
    return _resize_pass(_resize_pass(images, out_px, dim=3), out_px, dim=2)


def _resize_pass(images: Tensor, out_px: int, *, dim: int) -> Tensor:
    """One pass of Pillow's 8-bit bilinear resampling, in its own fixed-point arithmetic, along one axis."""
    if images.shape[dim] == out_px:
        return images
    source, weight = (torch.from_numpy(part).to(images.device) for part in resize_weights(images.shape[dim], out_px))
    shape = [1, 1, 1, 1]
    shape[dim] = out_px
    total = torch.full((), 1 << 21, dtype=torch.int32, device=images.device)
    for tap in range(len(source)):
        total = total + images.index_select(dim, source[tap]).to(torch.int32) * weight[tap].reshape(shape)
    return (total >> 22).clamp_(0, 255).to(torch.uint8)


def _centre_crop(images: Tensor, crop_px: int) -> Tensor:
    height, width = images.shape[2:]
    if min(height, width) < crop_px:
        raise ImageError(
            f"the images have {width} x {height} pixels, fewer than crop_px = {crop_px} on a side; "
            "set resize_px, a smaller crop_px or a larger data.image_px"
        )
    top, left = round((height - crop_px) / 2), round((width - crop_px) / 2)
    return images[:, :, top : top + crop_px, left : left + crop_px]

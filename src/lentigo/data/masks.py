"""Lesion masks: the files that a table names in, planes of one size out, packed to one bit a pixel and read in pieces.

10,000 masks of 300 x 300 take 112 MB. A mask that holds no lesion is left out and counted; one that cannot be read or
is of another size than its image is refused.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from lentigo.data.table import ImageRow, ImageTable
from lentigo.errors import DataError, ImageError
from lentigo.files import sha256_of
from lentigo.imaging import image_header, read_image, squeeze
from lentigo.machine import cores

_LEAST_BRIGHT = 32  # of 255; below, a mask is black with noise: JPEG leaves one or two levels in an empty one
_LOSSY = ("JPEG", "WEBP")  # a WebP does not say whether it is
_IN_FLIGHT = 64
_MAX_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class MaskPack:
    """The masks of a table's images, squeezed to squares."""

    size_px: int
    bits: UInt8[np.ndarray, "image byte"]  # all zero where there is no mask
    there: Bool[np.ndarray, " image"]  # whether an image has a mask that holds a lesion
    without: tuple[str, ...]  # ids of the images asked for that name no mask
    empty: tuple[str, ...]  # ids of the images asked for whose mask holds no lesion

    def read(self, indices: Sequence[int] | Int64[np.ndarray, " mask"]) -> Bool[np.ndarray, "mask size size"]:
        """The masks at `indices`, True inside the lesion.

        Raises: DataError: one of them has none.
        """
        rows = np.asarray(indices, dtype=np.int64)
        if not self.there[rows].all():
            raise DataError(f"image {rows[~self.there[rows]][0]} of the table has no mask; leave it out")
        side = self.size_px
        planes = np.unpackbits(self.bits[rows], axis=1, count=side * side)
        masks: Bool[np.ndarray, "mask size size"] = planes.reshape(-1, side, side).astype(bool)
        return masks

    def among(self, indices: Int64[np.ndarray, " image"]) -> Int64[np.ndarray, " kept"]:
        """Those of `indices` that have a mask, in their order."""
        kept: Int64[np.ndarray, " kept"] = indices[self.there[indices]]
        return kept


def pack_masks(
    table: ImageTable,
    indices: Sequence[int] | Int64[np.ndarray, " image"],
    *,
    size_px: int,
    progress: Callable[[int], None] | None = None,
) -> MaskPack:
    """Read the masks of the images at `indices`.

    Args:
        size_px: height and width; a mask of another size is squeezed as its image is.
        progress: called with the number of masks done since the last call.
    Raises: DataError: a mask cannot be read, or is of another size than its image.
    """
    rows = [int(index) for index in indices]
    named = [row for row in rows if table.rows[row].mask]
    bits = np.zeros((len(table), -(-size_px * size_px // 8)), dtype=np.uint8)
    with ThreadPoolExecutor(min(cores(), _MAX_THREADS)) as pool:
        for start in range(0, len(named), _IN_FLIGHT):
            piece = named[start : start + _IN_FLIGHT]
            masks = pool.map(lambda row: _squared(table.rows[row], size_px), piece)
            for row, mask in zip(piece, masks, strict=True):
                bits[row] = np.packbits(mask)
            if progress:
                progress(len(piece))
    there = np.asarray(bits.any(axis=1))
    return MaskPack(
        size_px=size_px,
        bits=bits,
        there=there,
        without=tuple(table.rows[row].id for row in rows if not table.rows[row].mask),
        empty=tuple(table.rows[row].id for row in named if not there[row]),
    )


def read_mask(path: Path, *, image: Path | None = None) -> Bool[np.ndarray, "height width"]:
    """A lesion mask, True inside: whatever is brighter, in its brightest channel, than half of the brightest pixel.

    Where no pixel reaches 32 of 255 there is no lesion, unless the file keeps pixels exactly, unlike JPEG, and they are
    0 and one other number: then these are labels.

    Args:
        image: the file of the image that it is the mask of; None: its size is not compared.
    Raises: DataError: the mask cannot be read, or is of another size than its image.
    """
    try:
        mask = read_image(path).max(axis=-1)
        size = mask.shape if image is None else image_header(image).size
    except ImageError as error:
        raise DataError(f"a lesion mask or its image cannot be read: {error}") from error
    if mask.shape != size:
        found, wanted = (" x ".join(map(str, shape[::-1])) for shape in (mask.shape, size))
        raise DataError(
            f"the mask {path} is {found} pixels, its image {image} {wanted}; give the mask of that very image, or "
            "clear the cell that names it"
        )
    top = mask.max()
    if top < _LEAST_BRIGHT and not (_labels(mask) and image_header(path).format not in _LOSSY):
        return np.zeros(mask.shape, dtype=bool)
    inside: Bool[np.ndarray, "height width"] = mask > top / 2
    return inside


def squeeze_mask(mask: Bool[np.ndarray, "height width"], side_px: int) -> Bool[np.ndarray, "side side"]:
    """The mask at `side_px` x `side_px` pixels, as `imaging.squeeze` makes the image; at least half a pixel counts."""
    if mask.shape == (side_px, side_px):
        return mask
    grey = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    squeezed: Bool[np.ndarray, "side side"] = squeeze(grey, side_px)[..., 0] >= 128
    return squeezed


def mask_digests(table: ImageTable) -> list[str]:
    """The SHA-256 of each image's mask file; empty where none is given.

    Raises: DataError: a mask cannot be read.
    """
    return [_digest(Path(row.mask)) if row.mask else "" for row in table.rows]


def _labels(mask: UInt8[np.ndarray, "height width"]) -> bool:
    """Whether the pixels are 0 and at most one other number."""
    return bool(((mask == 0) | (mask == mask.max())).all())


def _squared(row: ImageRow, size_px: int) -> Bool[np.ndarray, "side side"]:
    return squeeze_mask(read_mask(Path(row.mask), image=row.path), size_px)


def _digest(mask: Path) -> str:
    try:
        return sha256_of(mask)
    except OSError as error:
        raise DataError(
            f"the lesion mask {mask} cannot be read ({error}); restore it, or clear the cell that names it"
        ) from error

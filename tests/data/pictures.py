"""Small tables of made-up pictures, written to files and packed, for the tests of what reads a pack."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.table import ImageRow, ImageTable

SIDE_PX = 48


def packed(
    folder: Path, images: np.ndarray, labels: Sequence[int], **columns: Sequence[str]
) -> tuple[ImageTable, ImagePack]:
    """A table of `images` (image, side, side, 3) uint8 with these labels and metadata columns, and its pack."""
    rows = []
    (folder / "images").mkdir(parents=True)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / "images" / f"{index:04d}.png"
        Image.fromarray(image).save(path, compress_level=1)
        cells = {name: values[index] for name, values in columns.items()}
        rows.append(ImageRow(id=path.name, path=path, label=int(label), **cells))
    table = ImageTable(root=folder, rows=tuple(rows))
    return table, pack_images(table, image_px=images.shape[1], cache=folder / "cache")


def noise(n: int, seed: int = 0, side_px: int = SIDE_PX) -> np.ndarray:
    """Pictures of one random colour each with a little grain: nothing in them knows a label."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(60, 200, (n, 1, 1, 3))
    return (colour + rng.normal(0, 8, (n, side_px, side_px, 3))).clip(0, 255).astype(np.uint8)


def write_mask(path: Path, mask: np.ndarray, inside: int = 255) -> str:
    """A mask file; `inside` stands for the lesion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(mask, np.uint8(inside), np.uint8(0))).save(path)
    return str(path)

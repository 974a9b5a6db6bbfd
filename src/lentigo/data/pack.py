"""The pack: every image of a table decoded once to one height and width, in one uint8 file that later runs reuse.

A pack is a folder `CACHE/<key>/` with `images.npy`, uint8 (image, height, width, 3), and `pack.json`. The key is a SHA-256
over the contents of the image files in order and the size, so a changed data set gets another pack and an unchanged one
is found again. Memory stays flat: images go through in pieces and are read back row by row, never mapped.
"""

import hashlib
import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lentigo.data.table import ImageTable
from lentigo.errors import DataError, ImageError
from lentigo.files import read_json
from lentigo.imaging import read_image

VERSION = 1
_PIECE = 64  # images in flight at once: 17 MB at 300x300
_MAX_LISTED = 5


@dataclass(frozen=True)
class ImagePack:
    """Packed images, opened; `read` gives them back checked."""

    folder: Path
    ids: tuple[str, ...]
    image_px: int
    crc32: tuple[int, ...]
    data_offset: int  # bytes before the first image in images.npy

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def key(self) -> str:
        """The SHA-256 that names the images' contents and size."""
        return self.folder.name

    def read(self, indices: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "image height width 3"]:
        """The images at `indices`, RGB.

        Raises: DataError: the file is damaged: an image's checksum differs.
        """
        shape = (self.image_px, self.image_px, 3)
        images = np.empty((len(indices), *shape), dtype=np.uint8)
        with (self.folder / "images.npy").open("rb", buffering=0) as file:
            for row, index in enumerate(indices):
                file.seek(self.data_offset + int(index) * images[row].nbytes)
                file.readinto(images[row].data)
                if zlib.crc32(images[row].data) != self.crc32[int(index)]:
                    raise _damaged(self.folder, f"image {self.ids[int(index)]} has another checksum")
        return images


def default_cache() -> Path:
    """Where packs are kept: $LENTIGO_CACHE, else lentigo in the user's cache folder."""
    if place := os.environ.get("LENTIGO_CACHE"):
        return Path(place)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lentigo"


def pack_images(
    table: ImageTable, *, image_px: int, cache: Path | None = None, progress: Callable[[int], None] | None = None
) -> ImagePack:
    """Open the table's pack, decoding the images first if no earlier run left it.

    Args:
        image_px: height and width; an image of another size is squeezed to it (bilinear, antialiased).
        cache: folder of packs; None: `default_cache()`.
        progress: called with the number of images done since the last call.
    Raises: DataError: images cannot be read (the first are named), or the disk is full.
    """
    place = (cache or default_cache()) / "packs"
    digests = _digests(table)
    key = _key(digests, image_px)
    if not (place / key).is_dir():
        _write(table, digests, image_px=image_px, folder=place / key, progress=progress)
    elif progress:
        progress(len(table))
    return open_pack(place / key, table.ids)


def open_pack(folder: Path, ids: Sequence[str]) -> ImagePack:
    """Open a pack folder whose images are called `ids`.

    Raises: DataError: the folder is missing, damaged, of another version or of another number of images.
    """
    about = read_json(folder / "pack.json")
    file = folder / "images.npy"
    try:
        if about["version"] != VERSION:
            raise _damaged(folder, f"it is of version {about['version']}, this lentigo reads {VERSION}")
        digests, crc32, image_px = about["sha256"], about["crc32"], about["image_px"]
        if about["checksum"] != _checksum(digests, crc32) or _key(digests, image_px) != folder.name:
            raise _damaged(folder, "pack.json does not match its checksum")
        with file.open("rb") as opened:
            np.lib.format.read_magic(opened)
            shape, _, dtype = np.lib.format.read_array_header_1_0(opened)
            offset = opened.tell()
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise _damaged(folder, str(error)) from error
    expected = (len(ids), image_px, image_px, 3)
    if shape != expected or dtype != np.uint8 or file.stat().st_size != offset + int(np.prod(expected)):
        raise _damaged(folder, f"images.npy holds {dtype} {shape}, not uint8 {expected}")
    return ImagePack(folder=folder, ids=tuple(ids), image_px=image_px, crc32=tuple(crc32), data_offset=offset)


def _write(
    table: ImageTable,
    digests: list[str],
    *,
    image_px: int,
    folder: Path,
    progress: Callable[[int], None] | None,
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:12]}.", suffix=".part", dir=folder.parent))
    try:
        crc32 = _write_images(table, image_px=image_px, path=temporary / "images.npy", progress=progress)
        about = {
            "version": VERSION, "image_px": image_px, "sha256": digests, "crc32": crc32,
            "checksum": _checksum(digests, crc32),
        }  # fmt: skip
        (temporary / "pack.json").write_text(json.dumps(about), encoding="utf-8")
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process finished the same pack first: its folder is as good
                raise
    except OSError as error:
        raise DataError(f"the pack cannot be written to {folder.parent}: {error}; free space or set LENTIGO_CACHE") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_images(
    table: ImageTable, *, image_px: int, path: Path, progress: Callable[[int], None] | None
) -> list[int]:
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(table), image_px, image_px, 3)}
    crc32: list[int] = []
    failures: list[ImageError] = []
    with path.open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call]
        for piece in _pieces(table):
            for image in pool.map(lambda source: _decoded(source, image_px), piece):
                if isinstance(image, ImageError):
                    failures.append(image)
                    continue
                file.write(image.data)
                crc32.append(zlib.crc32(image.data))
            if progress:
                progress(len(piece))
        file.flush()
        os.fsync(file.fileno())
    if failures:
        raise DataError(_unreadable(failures, table))
    return crc32


def _decoded(path: Path, image_px: int) -> np.ndarray | ImageError:
    try:
        image = read_image(path)
    except ImageError as error:
        return error
    if image.shape[:2] != (image_px, image_px):
        image = np.asarray(Image.fromarray(image).resize((image_px, image_px), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(image)


def _unreadable(failures: list[ImageError], table: ImageTable) -> str:
    first = "; ".join(str(error) for error in failures[:_MAX_LISTED])
    more = f"; and {len(failures) - _MAX_LISTED} more" if len(failures) > _MAX_LISTED else ""
    return f"{len(failures)} of {len(table)} images cannot be read: {first}{more}; repair or remove these files"


def _digests(table: ImageTable) -> list[str]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [digest for piece in _pieces(table) for digest in pool.map(_digest, piece)]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; restore the file or remove it from the table") from error


def _pieces(table: ImageTable) -> Iterator[list[Path]]:
    for start in range(0, len(table), _PIECE):
        yield [row.path for row in table.rows[start : start + _PIECE]]


def _key(digests: list[str], image_px: int) -> str:
    return hashlib.sha256("\n".join([f"pack {VERSION} {image_px}", *digests]).encode()).hexdigest()


def _checksum(digests: list[str], crc32: list[int]) -> int:
    return zlib.crc32(json.dumps([digests, crc32]).encode())


def _damaged(folder: Path, found: str) -> DataError:
    return DataError(f"the pack {folder} is damaged: {found}; delete this folder, it is made again on the next run")

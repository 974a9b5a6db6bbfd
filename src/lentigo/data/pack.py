"""The pack: every image of a table decoded once to one height and width, in one uint8 file that later runs reuse.

A pack is a folder `CACHE/packs/<key>/` with `images.npy`, uint8 (image, height, width, 3), and `pack.json`. The key is
a SHA-256 over the contents of the image files in order and the size, so a changed data set gets another pack and an
unchanged one is found again. Memory stays flat: images go through in pieces and are read back one by one, never mapped.

Training refuses a data set with broken files (`pack_images`); an audit leaves them out and says why (`pack_readable`).
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from lentigo.data.table import ImageTable
from lentigo.errors import DataError, ImageError
from lentigo.files import sha256_of, write_text
from lentigo.imaging import file_bytes, read_image, squeeze
from lentigo.machine import cores

try:
    from isal.isal_zlib import crc32 as checksum_of  # zlib's sum, twelve times as fast: 0.005 ms an image of 300 px
except ImportError:  # a processor that it has no wheel for
    from zlib import crc32 as checksum_of

VERSION = 1
_IN_FLIGHT = 64  # images at once, and no more than so many bytes: 64 images of 300x300 are 17 MB
_IN_FLIGHT_BYTES = 64_000_000
_DIGESTS_IN_FLIGHT = 1024
_MAX_THREADS = 16  # each may hold a whole photograph, 150 MB at imaging's limit of 50 megapixels
_MAX_LISTED = 5
_HEADER_BYTES = 128
_ABANDONED_S = 3600.0  # a folder into which nothing was written for so long; a pack of 10,605 images takes minutes
_Failures = dict[int, ImageError | DataError]  # by position in the table


@dataclass(frozen=True)
class ImagePack:
    """Packed images, opened; `read` gives them back checked."""

    folder: Path
    ids: tuple[str, ...]
    image_px: int
    crc32: tuple[int, ...]
    places: tuple[int, ...] | None = None  # of the images in the file; None: all of it, in order

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def key(self) -> str:
        """The SHA-256 that names the images' contents and size."""
        if self.places is None:
            return self.folder.name
        return hashlib.sha256(f"{self.folder.name} {self.places}".encode()).hexdigest()

    def subset(self, indices: Sequence[int] | np.ndarray) -> "ImagePack":
        """The images at `indices`, in that order, read from the same file."""
        rows = [int(index) for index in indices]
        return ImagePack(
            folder=self.folder,
            ids=tuple(self.ids[row] for row in rows),
            image_px=self.image_px,
            crc32=tuple(self.crc32[row] for row in rows),
            places=tuple(rows if self.places is None else (self.places[row] for row in rows)),
        )

    def read(self, indices: Sequence[int] | np.ndarray) -> UInt8[np.ndarray, "image height width 3"]:
        """The images at `indices`, RGB.

        Raises: DataError: the file is damaged: an image's checksum differs.
        """
        images = np.empty((len(indices), self.image_px, self.image_px, 3), dtype=np.uint8)
        try:
            with (self.folder / "images.npy").open("rb") as file:
                for image, index in zip(images, indices, strict=True):
                    place = int(index) if self.places is None else self.places[int(index)]
                    file.seek(_HEADER_BYTES + place * image.nbytes)
                    file.readinto(image.data)
                    if checksum_of(image.data) != self.crc32[int(index)]:
                        raise _damaged(self.folder, f"image {self.ids[int(index)]} has another checksum")
        except OSError as error:
            raise _damaged(self.folder, str(error)) from error
        return images


@dataclass(frozen=True, kw_only=True)
class ReadablePack:
    """The pack of the images that could be read, and why the others could not."""

    pack: ImagePack
    table: ImageTable  # the rows in the pack, in order; may hold one class only
    failures: dict[str, str]  # by image id, in the table's order: one sentence that begins with the file's path


def default_cache() -> Path:
    """Where packs are kept: $LENTIGO_CACHE, else lentigo in the user's cache folder."""
    if place := os.environ.get("LENTIGO_CACHE"):
        return Path(place).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lentigo"


def pack_images(
    table: ImageTable, *, image_px: int, cache: Path | None = None, progress: Callable[[int], None] | None = None
) -> ImagePack:
    """Open the table's pack, decoding the images first if no earlier run left it.

    Args:
        image_px: height and width; an image of another size is squeezed to it (bilinear, antialiased).
        cache: folder of packs; None: `default_cache()`.
        progress: called with the number of images done since the last call.
    Raises: DataError: images cannot be read (the first are named) or change meanwhile, the pack that an earlier run
        left is damaged, or the disk is full.
    """
    place = (cache or default_cache()) / "packs"
    digests = _digests(table)
    if lost := next((digest for digest in digests if isinstance(digest, DataError)), None):
        raise lost
    folder = place / _key(_kept(digests, {}), image_px)
    if not folder.is_dir():
        _write(table, digests, image_px=image_px, place=place, progress=progress, refuse_any=True)
    elif progress:
        progress(len(table))
    return open_pack(folder, table.ids)


def pack_readable(
    table: ImageTable, *, image_px: int, cache: Path | None = None, progress: Callable[[int], None] | None = None
) -> ReadablePack:
    """As `pack_images`, but images that cannot be read are left out and named.

    The pack is the one that `pack_images` makes of, or finds for, the table without them. Broken contents are noted in
    the cache by their SHA-256: a second call decodes those again, to see whether they still are broken, and no others.

    Raises: DataError: no image at all can be read (the first are named), one changes meanwhile, the pack that an
        earlier run left is damaged, or the disk is full.
    """
    cache = cache or default_cache()
    place, notes = cache / "packs", cache / "broken"
    digests = _digests(table)
    failures = _broken_before(table, digests, image_px=image_px, notes=notes)
    folder = place / _key(_kept(digests, failures), image_px)
    if len(failures) == len(table) or not folder.is_dir():
        failures = _write(table, digests, image_px=image_px, place=place, progress=progress, refuse_any=False)
        folder = place / _key(_kept(digests, failures), image_px)
        _note({str(digests[row]) for row, error in failures.items() if isinstance(error, ImageError)}, notes)
    elif progress:
        progress(len(table))
    rest = table.subset(row for row in range(len(table)) if row not in failures)
    return ReadablePack(
        pack=open_pack(folder, rest.ids),
        table=rest,
        failures={table.rows[row].id: str(failures[row]) for row in sorted(failures)},
    )


def open_pack(folder: Path, ids: Sequence[str]) -> ImagePack:
    """Open a pack folder whose images are called `ids`.

    Raises: DataError: the folder is missing, damaged, of another version or of another number of images.
    """
    try:
        text = (folder / "pack.json").read_text(encoding="utf-8")
        about = json.loads(text)
        if about["version"] != VERSION:
            raise _damaged(folder, f"it is of version {about['version']}, this lentigo reads {VERSION}")
        digests, crc32, image_px = about["sha256"], about["crc32"], about["image_px"]
        # Compared as text, byte for byte: JSON would take 1.0 for 1 and any space for any other.
        if text != _about(digests, crc32, image_px) or _key(digests, image_px) != folder.name:
            raise _damaged(folder, "pack.json does not match its checksum")
        header = _header(len(crc32), image_px)
        expected_bytes = len(header) + len(crc32) * image_px * image_px * 3
        with (folder / "images.npy").open("rb") as file:
            if file.read(len(header)) != header or file.seek(0, os.SEEK_END) != expected_bytes:
                raise _damaged(folder, f"images.npy is not {expected_bytes} bytes with the header of a pack")
    except (KeyError, TypeError, ValueError, OSError, RecursionError) as error:
        raise _damaged(folder, str(error)) from error
    if len(ids) != len(crc32):
        raise DataError(f"the pack {folder} holds {len(crc32)} images, not {len(ids)}; open it with the table it is of")
    return ImagePack(folder=folder, ids=tuple(ids), image_px=image_px, crc32=tuple(crc32))


def _write(
    table: ImageTable,
    digests: list[str | DataError],
    *,
    image_px: int,
    place: Path,
    progress: Callable[[int], None] | None,
    refuse_any: bool,
) -> _Failures:
    """Write the pack of the images that can be read; return the others, unless any, or all, are a refusal."""
    _sweep(place)
    temporary = place / f".{secrets.token_hex(10)}.part"
    try:
        temporary.mkdir(parents=True)
        path = temporary / "images.npy"
        crc32, failures = _write_images(table, digests, image_px=image_px, path=path, progress=progress)
        if failures and (refuse_any or not crc32):
            raise DataError(_unreadable(list(failures.values()), table))
        kept = _kept(digests, failures)
        folder = place / _key(kept, image_px)
        write_text(temporary / "pack.json", _about(kept, crc32, image_px))
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process finished the same pack first: its folder is as good
                raise
    except OSError as error:
        raise DataError(
            f"the pack cannot be written to {place} ({error}); free space, or set LENTIGO_CACHE or --cache"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return failures


def _sweep(place: Path) -> None:
    """Remove what a kill left of packs half written, which nothing reads and which may be gigabytes.

    What another process may still be writing is young, and stays.
    """
    for leftover in place.glob(".*.part"):
        with contextlib.suppress(OSError):  # another process may be sweeping too
            written = max(path.stat().st_mtime for path in (leftover, *leftover.iterdir()))
            if time.time() - written > _ABANDONED_S:
                shutil.rmtree(leftover, ignore_errors=True)


def _write_images(
    table: ImageTable,
    digests: list[str | DataError],
    *,
    image_px: int,
    path: Path,
    progress: Callable[[int], None] | None,
) -> tuple[list[int], _Failures]:
    crc32: list[int] = []
    failures: _Failures = {}
    in_flight = min(_IN_FLIGHT, max(1, _IN_FLIGHT_BYTES // (3 * image_px**2)))
    with path.open("wb") as file, _threads() as pool:
        file.write(bytes(_HEADER_BYTES))
        for rows in _pieces(table, in_flight):
            paths, sums = [table.rows[row].path for row in rows], [digests[row] for row in rows]
            for row, image in zip(rows, pool.map(_decoded, paths, sums, [image_px] * len(rows)), strict=True):
                if isinstance(image, ImageError | DataError):
                    failures[row] = image
                    continue
                file.write(image.data)
                crc32.append(checksum_of(image.data))
            if progress:
                progress(len(rows))
        file.seek(0)
        file.write(_header(len(crc32), image_px))
        file.flush()
        os.fsync(file.fileno())
    return crc32, failures


def _header(count: int, image_px: int) -> bytes:
    """What numpy writes before uint8 (count, image_px, image_px, 3); spelled out here so that any change is noticed."""
    about = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, {image_px}, {image_px}, 3), }}"
    magic = b"\x93NUMPY\x01\x00"
    length = _HEADER_BYTES - len(magic) - 2
    return magic + length.to_bytes(2, "little") + about.encode().ljust(length - 1) + b"\n"


def _about(digests: list[str], crc32: list[int], image_px: int) -> str:
    """The text of pack.json."""
    checksum = checksum_of(json.dumps([digests, crc32]).encode())
    return json.dumps(
        {"version": VERSION, "image_px": image_px, "sha256": digests, "crc32": crc32, "checksum": checksum}
    )


def _decoded(path: Path, sha256: str | DataError, image_px: int) -> np.ndarray | ImageError | DataError:
    if isinstance(sha256, DataError):
        return sha256
    try:
        data = file_bytes(path)
        if hashlib.sha256(data).hexdigest() != sha256:  # else the key would lie about what is in the pack, for ever
            raise DataError(f"{path} has changed while it was packed; start again when nothing writes to it")
        image = read_image(data, name=str(path))
    except ImageError as error:
        return error
    return np.ascontiguousarray(squeeze(image, image_px))


def _broken_before(table: ImageTable, digests: list[str | DataError], *, image_px: int, notes: Path) -> _Failures:
    """The files that cannot be read at all, and those of contents noted as broken that still cannot be decoded."""
    try:
        noted = {path.name for path in notes.iterdir()}
    except OSError:  # no note yet, or none that may be read
        noted = set()
    suspects = [row for row, digest in enumerate(digests) if isinstance(digest, DataError) or digest in noted]
    results = {row: _decoded(table.rows[row].path, digests[row], image_px) for row in suspects}
    return {row: result for row, result in results.items() if not isinstance(result, np.ndarray)}


def _note(broken: set[str], notes: Path) -> None:
    with contextlib.suppress(OSError):  # without notes the next call only takes longer
        for sha256 in broken:
            notes.mkdir(parents=True, exist_ok=True)
            (notes / sha256).touch()


def _unreadable(failures: Sequence[Exception], table: ImageTable) -> str:
    first = "; ".join(str(error) for error in failures[:_MAX_LISTED])
    more = f"; and {len(failures) - _MAX_LISTED} more" if len(failures) > _MAX_LISTED else ""
    return f"{len(failures)} of {len(table)} images cannot be read: {first}{more}; repair or remove these files"


def _digests(table: ImageTable) -> list[str | DataError]:
    """SHA-256 of every file, or why it cannot be had."""
    with _threads() as pool:
        pieces = _pieces(table, _DIGESTS_IN_FLIGHT)
        return [digest for rows in pieces for digest in pool.map(_digest, [table.rows[row].path for row in rows])]


def _digest(path: Path) -> str | DataError:
    try:
        return sha256_of(path)
    except OSError as error:
        return DataError(f"{path} cannot be read ({error}); restore the file or remove it from the table")


def _kept(digests: list[str | DataError], failures: _Failures) -> list[str]:
    return [digest for row, digest in enumerate(digests) if isinstance(digest, str) and row not in failures]


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(cores(), _MAX_THREADS))


def _pieces(table: ImageTable, size: int) -> Iterator[range]:
    for start in range(0, len(table), size):
        yield range(start, min(start + size, len(table)))


def _key(digests: list[str], image_px: int) -> str:
    return hashlib.sha256("\n".join([f"pack {VERSION} {image_px}", *digests]).encode()).hexdigest()


def _damaged(folder: Path, found: str) -> DataError:
    return DataError(f"the pack {folder} is damaged: {found}; delete this folder, it is made again on the next run")

"""Every file of an image table looked at once: what its header says, and what is wrong with it, in rows.

No bytes make it stop: a file that cannot be read is a row like any other. Damage behind a good header shows only when
the pixels are decoded, so `file_findings` is handed what `pack_readable` left out, and which packed images are blank.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from lentigo.data.pack import ImagePack
from lentigo.data.table import ImageRow, ImageTable
from lentigo.errors import DataError, ImageError
from lentigo.imaging import file_bytes, image_header
from lentigo.machine import cores

KINDS = ("unreadable", "wrong_suffix", "odd_size", "odd_mode", "orientation", "blank")
SMALLEST_PX = 64  # of the shorter side; below it a lesion's structures are gone
LONGEST_ASPECT = 3.0  # longer side by shorter side
USUAL_SHARE = 0.9  # of the files: a size or aspect that so many have is the data set's own, and another one is odd
ASPECT_TOLERANCE = 0.05  # relative; cameras and crops round to whole pixels
BLANK_STD = 3.0  # grey levels; of the 10,605 real images the flattest has 8.6
_FORMAT_OF = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP", ".bmp": "BMP",
    ".tif": "TIFF", ".tiff": "TIFF", ".gif": "GIF", ".heic": "HEIC", ".avif": "AVIF", ".dcm": "DICOM",
}  # fmt: skip
_MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "a palette of at most 256 colours",
    "PA": "a palette with transparency",
    "RGBA": "RGB with transparency",
    "CMYK": "CMYK, the inks of a printer",
    "RGB;16": "RGB with 16 bits a channel",
    "RGBA;16": "16 bits a channel with transparency",
}
_IN_FLIGHT = 256
_MAX_THREADS = 16  # each may hold a whole file, 50 MB at imaging's limit
_PIECE_BYTES = 8_000_000
_BLANK_GRID_PX = 32  # so many rows and columns of pixels are enough to see that an image is blank


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a file says about itself before its pixels are decoded; zeros and empty strings where it is unreadable."""

    id: str  # of the image's row in the table
    bytes: int
    sha256: str  # hexadecimal; empty where there is nothing to read, or more than imaging.MAX_BYTES
    width: int  # pixels, upright: after EXIF orientation
    height: int
    format: str  # one of imaging.FORMATS
    mode: str  # Pillow's, of the file; with ";16" behind it where more than 8 bits a channel are stored
    orientation: int  # EXIF, 2 to 8 where the pixels must be turned or mirrored, else 1
    has_exif: bool
    quantisation: tuple[int, ...]  # all values of a JPEG's quantisation tables, in order; empty for other formats
    problem: str = ""  # why the file is unreadable, one sentence that begins with its path; empty: the header is good


@dataclass(frozen=True, kw_only=True)
class FileFinding:
    """One thing that is wrong, or unusual, with one file."""

    id: str
    kind: str  # one of KINDS
    message: str  # reads on after the file's name: "is a PNG file, though its name ends in .jpg; rename it"


def inspect_files(table: ImageTable, *, progress: Callable[[int], None] | None = None) -> tuple[FileFacts, ...]:
    """Header and SHA-256 of each image's file, in the table's order; every file is read once and none is decoded.

    Args:
        progress: called with the number of files done since the last call.
    """
    facts: list[FileFacts] = []
    with _threads() as pool:
        for start in range(0, len(table), _IN_FLIGHT):
            facts += pool.map(_facts, table.rows[start : start + _IN_FLIGHT])
            if progress:
                progress(len(facts) - start)
    return tuple(facts)


def blank_images(pack: ImagePack, *, progress: Callable[[int], None] | None = None) -> tuple[str, ...]:
    """Ids of the images of nearly one colour: in each channel a standard deviation below `BLANK_STD` grey levels.

    Raises: DataError: the pack is damaged.
    """
    size = max(1, _PIECE_BYTES // (3 * pack.image_px**2))
    pieces = [range(start, min(start + size, len(pack))) for start in range(0, len(pack), size)]
    blank: list[str] = []
    with _threads() as pool:
        for piece, spread in zip(pieces, pool.map(lambda piece: _spread(pack, piece), pieces), strict=True):
            blank += [pack.ids[index] for index in piece if spread[index - piece.start] < BLANK_STD]
            if progress:
                progress(len(piece))
    return tuple(blank)


def file_findings(
    table: ImageTable, facts: Sequence[FileFacts], failures: Mapping[str, str], blank: Collection[str]
) -> tuple[FileFinding, ...]:
    """What is wrong with the files of a table: at most one row for each file and kind, sorted by id and kind.

    Of an unreadable file nothing else is said. A size is odd below `SMALLEST_PX`, beyond `LONGEST_ASPECT`, or where
    `USUAL_SHARE` of the readable files have another one (else: another aspect); portrait and landscape are the same.

    Args:
        facts: of the same table, see `inspect_files`.
        failures: why images could not be decoded, by id, see `pack_readable`.
        blank: ids, see `blank_images`.
    Raises: DataError: these are not of the same table.
    """
    ids = table.ids
    if [fact.id for fact in facts] != ids or not {*failures, *blank} <= set(ids):
        raise DataError(f"facts, failures or blank images are not of the table of {table.root}; make them again of it")
    found: list[FileFinding] = []
    good: list[FileFacts] = []
    for row, fact in zip(table.rows, facts, strict=True):
        if problem := fact.problem or failures.get(fact.id, ""):
            message = problem.removeprefix(f"{row.path} ")
            found.append(FileFinding(id=fact.id, kind="unreadable", message=message))
        else:
            good.append(fact)
    checks = (_wrong_suffixes, _odd_sizes, _odd_modes, _orientations)
    found += [finding for check in checks for finding in check(good)]
    one_colour = set(blank)
    found += [_blank(fact) for fact in good if fact.id in one_colour]
    return tuple(sorted(found, key=lambda finding: (finding.id, finding.kind)))


def _facts(row: ImageRow) -> FileFacts:
    try:
        data = file_bytes(row.path)
    except ImageError as error:
        return _unreadable(row, error, size=_size(row), sha256="")
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        header = image_header(data, name=str(row.path))
    except ImageError as error:
        return _unreadable(row, error, size=len(data), sha256=sha256)
    return FileFacts(
        id=row.id,
        bytes=len(data),
        sha256=sha256,
        width=header.size[1],
        height=header.size[0],
        format=header.format,
        mode=header.mode,
        orientation=header.orientation,
        has_exif=header.has_exif,
        quantisation=header.quantisation,
    )


def _unreadable(row: ImageRow, error: ImageError, *, size: int, sha256: str) -> FileFacts:
    return FileFacts(
        id=row.id,
        bytes=size,
        sha256=sha256,
        width=0,
        height=0,
        format="",
        mode="",
        orientation=1,
        has_exif=False,
        quantisation=(),
        problem=str(error),
    )


def _size(row: ImageRow) -> int:
    try:
        return row.path.stat().st_size if row.path.is_file() else 0
    except (OSError, ValueError):  # ValueError: a NUL inside the path
        return 0


def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(cores(), _MAX_THREADS))


def _spread(pack: ImagePack, piece: range) -> np.ndarray:
    """For each image the largest standard deviation of its channels, over a grid of its pixels."""
    step = max(1, pack.image_px // _BLANK_GRID_PX)
    grid = pack.read(piece)[:, ::step, ::step].transpose(0, 3, 1, 2)
    pixels = np.array(grid.reshape(len(piece), 3, -1), np.float32, order="C")  # numpy sums along the last axis fastest
    return np.asarray(pixels.std(axis=-1).max(axis=-1))


def _wrong_suffixes(facts: Sequence[FileFacts]) -> Iterator[FileFinding]:
    for fact in facts:
        suffix = os.path.splitext(fact.id)[1].lower()
        if _FORMAT_OF.get(suffix, fact.format) != fact.format:
            right = next(name for name, kind in _FORMAT_OF.items() if kind == fact.format)
            found = f"is a {fact.format} file, though its name ends in {suffix}"
            message = f"{found}; rename it to end in {right}"
            yield FileFinding(id=fact.id, kind="wrong_suffix", message=message)


def _odd_sizes(facts: Sequence[FileFacts]) -> Iterator[FileFinding]:
    unusual, usual = _unusual_sizes(facts)
    for fact in facts:
        size = f"has {fact.width} x {fact.height} pixels"
        if _sides(fact)[1] < SMALLEST_PX:
            message = f"{size}, fewer than {SMALLEST_PX} on a side; get a larger one, or leave it out"
        elif _aspect(fact) > LONGEST_ASPECT:
            message = f"{size}, one side {_aspect(fact):.1f} times the other; crop it to the lesion, or leave it out"
        elif fact.id in unusual:
            message = f"{size}, where {usual}; check where it is from, for its size alone may tell its label"
        else:
            continue
        yield FileFinding(id=fact.id, kind="odd_size", message=message)


def _unusual_sizes(facts: Sequence[FileFacts]) -> tuple[set[str], str]:
    """The files without the size, or else the aspect, that nearly all have, and a clause that says what that is."""
    if not facts:
        return set(), ""
    enough = USUAL_SHARE * len(facts)
    ((long, short), count), *_ = Counter(_sides(fact) for fact in facts).most_common(1)
    if count >= enough:
        others = {fact.id for fact in facts if _sides(fact) != (long, short)}
        return others, f"{count} of {len(facts)} files have {long} x {short}"
    middle = float(np.median([_aspect(fact) for fact in facts]))
    others = {fact.id for fact in facts if abs(_aspect(fact) / middle - 1) > ASPECT_TOLERANCE}
    if len(facts) - len(others) >= enough:
        return others, f"{len(facts) - len(others)} of {len(facts)} files have sides of about {middle:.2f} to 1"
    return set(), ""


def _sides(fact: FileFacts) -> tuple[int, int]:
    return max(fact.width, fact.height), min(fact.width, fact.height)


def _aspect(fact: FileFacts) -> float:
    longer, shorter = _sides(fact)
    return longer / shorter


def _odd_modes(facts: Sequence[FileFacts]) -> Iterator[FileFinding]:
    for fact in facts:
        if fact.mode != "RGB":
            grey = "grey with more than 8 bits" if fact.mode.startswith("I") else f"Pillow's mode {fact.mode}"
            message = f"is stored as {_MODES.get(fact.mode, grey)}, not as RGB with 8 bits a channel; it is converted "
            message += "when it is read, so check its colours, or save it as RGB"
            yield FileFinding(id=fact.id, kind="odd_mode", message=message)


def _orientations(facts: Sequence[FileFacts]) -> Iterator[FileFinding]:
    for fact in facts:
        if fact.orientation != 1:
            message = f"has EXIF orientation {fact.orientation}; lentigo turns it upright, masks and other programs "
            message += "may not: save it upright"
            yield FileFinding(id=fact.id, kind="orientation", message=message)


def _blank(fact: FileFacts) -> FileFinding:
    message = "is blank: its pixels have nearly one colour; get it again, or leave it out"
    return FileFinding(id=fact.id, kind="blank", message=message)

"""Image files to damage, and ways to damage them: what `fuzz_images.py` and `tests/test_imaging_fuzz.py` feed in.

`seeds` draws small whole files of every format and kind that lentigo reads; `mutant` changes one, by a generator of
random numbers alone: bits and bytes, blocks cut out, put in, doubled or exchanged, a file cut off or joined to another,
numbers of one to four bytes set to ones that break arithmetic, and the fields that say how large the image is, with the
checksums that belong to them.
"""

import functools
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from lentigo.data.synthetic import draw_lesion

SIDE = 48
NUMBERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
SIDES = (0, 1, 2, SIDE - 1, SIDE + 1, 255, 4096, 7071, 7072, 9459, 16384, 65535, 0x7FFFFFFF, 0xFFFFFFFF)  # 7071² < 50 M
ORIENTATION = 274


@functools.cache
def seeds() -> dict[str, bytes]:
    """Whole files by name, the same in every process."""
    return _jpegs() | _pngs() | _webps() | _tiffs() | {
        "bmp": _saved(_drawn(), "BMP"),
        "bmp palette": _saved(_drawn().quantize(16), "BMP"),
        "bmp 1 bit": _saved(_drawn().convert("1"), "BMP"),
        "jpeg of 2 pictures": _saved(_drawn(), "MPO", save_all=True, append_images=[_drawn(1)]),
    }  # fmt: skip


def mutant(rng: np.random.Generator) -> tuple[str, bytes]:
    """A file with one to four changes, and the name of the seed that it was made of."""
    names = sorted(seeds())
    name = names[rng.integers(len(names))]
    data = bytearray(seeds()[name])
    for _ in range(rng.integers(1, 5)):
        change = CHANGES[rng.integers(len(CHANGES))]
        changed = change(data, rng)
        data = changed if changed else data  # an empty file is refused before anything is parsed: no test of parsers
    return name, bytes(data)


# ---------------------------------------------------------------- whole files


def _drawn(index: int = 0) -> Image.Image:
    return Image.fromarray(draw_lesion(5, index, malignant=bool(index % 2), size_px=SIDE).image)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def _with_alpha() -> Image.Image:
    image = _drawn().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def _wide_grey() -> Image.Image:
    return Image.fromarray(np.asarray(_drawn().convert("L")).astype(np.uint16) * 257)


def _jpegs() -> dict[str, bytes]:
    image = _drawn()
    return {
        "jpeg": _saved(image, "JPEG"),
        "jpeg progressive": _saved(image, "JPEG", progressive=True),
        "jpeg, other tables": _saved(image, "JPEG", quality=30, optimize=True, subsampling=0),
        "jpeg with restarts": _saved(image, "JPEG", restart_marker_blocks=2),
        "jpeg cmyk": _saved(image.convert("CMYK"), "JPEG"),
        "jpeg grey": _saved(image.convert("L"), "JPEG"),
        "jpeg turned": _saved(image, "JPEG", exif=_turned(6)),
    }


def _pngs() -> dict[str, bytes]:
    image = _drawn()
    wide = np.asarray(image).astype(">u2") * 257
    interlaced = np.asarray(image)
    return {
        "png": _saved(image, "PNG"),
        "png stored": _saved(image, "PNG", compress_level=0),
        "png palette": _saved(image.quantize(32), "PNG"),
        "png palette, transparent": _saved(image.quantize(32), "PNG", transparency=bytes(range(32))),
        "png alpha": _saved(_with_alpha(), "PNG"),
        "png grey and alpha": _saved(_with_alpha().convert("LA"), "PNG"),
        "png grey 16 bit": _saved(_wide_grey(), "PNG"),
        "png colour 16 bit": _png(16, 2, [row.tobytes() for row in wide]),
        "png interlaced": _png(8, 2, _interlaced(interlaced), interlace=1),
        "png 1 bit": _saved(image.convert("1"), "PNG"),
        "png turned": _saved(image, "PNG", exif=_turned(5)),
        "png animated": _saved(image, "PNG", save_all=True, append_images=[_drawn(1)]),
    }


def _webps() -> dict[str, bytes]:
    image = _drawn()
    return {
        "webp lossy": _saved(image, "WEBP", quality=80),
        "webp lossless": _saved(image, "WEBP", lossless=True),
        "webp alpha": _saved(_with_alpha(), "WEBP", quality=80),
        "webp turned": _saved(image, "WEBP", exif=_turned(8)),
        "webp animated": _saved(image, "WEBP", save_all=True, append_images=[_drawn(1)]),
    }


def _tiffs() -> dict[str, bytes]:
    image = _drawn()
    reals = Image.fromarray(np.asarray(image.convert("L")).astype(np.float32))
    packed = {
        f"tiff {name}": _saved(image, "TIFF", compression=name)
        for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
    }
    return packed | {
        "tiff": _saved(image, "TIFF"),
        "tiff of narrow strips": _saved(image, "TIFF", tiffinfo={278: 7}, compression="tiff_lzw"),
        "tiff of tiles": _tiles(np.asarray(image)),
        "tiff 1 bit": _saved(image.convert("1"), "TIFF", compression="group4"),
        "tiff 16 bit": _saved(_wide_grey(), "TIFF"),
        "tiff float": _saved(reals, "TIFF"),
        "tiff alpha": _saved(_with_alpha(), "TIFF", compression="tiff_lzw"),
        "tiff cmyk": _saved(image.convert("CMYK"), "TIFF"),
        "tiff palette": _saved(image.quantize(32), "TIFF"),
        "tiff of 2 pages": _saved(image, "TIFF", save_all=True, append_images=[_drawn(1)]),
        "tiff turned": _saved(image, "TIFF", exif=_turned(3)),
    }


def _png(depth: int, colour: int, rows: list[bytes], *, interlace: int = 0) -> bytes:
    """What Pillow does not write: 16-bit colour, and rows interlaced."""
    head = struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, interlace)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _interlaced(image: np.ndarray) -> list[bytes]:
    """The rows of the seven passes of Adam7, each of its columns."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    return [row.tobytes() for top, left, down, right in passes for row in image[top::down, left::right]]


def _tiles(image: np.ndarray, side: int = 16) -> bytes:
    """A TIFF of tiles, uncompressed, which Pillow reads and does not write."""
    corners = [(top, left) for top in range(0, SIDE, side) for left in range(0, SIDE, side)]
    pixels = [image[top : top + side, left : left + side].tobytes() for top, left in corners]
    count, size = len(pixels), len(pixels[0])
    values = {256: [SIDE], 257: [SIDE], 258: [8, 8, 8], 259: [1], 262: [2], 277: [3], 322: [side], 323: [side]}
    lists = 8 + 2 + 12 * (len(values) + 2) + 4  # where the values stand that an entry is too short for
    first = lists + 12 + 8 * count
    values |= {324: [first + size * k for k in range(count)], 325: [size] * count}
    entries, behind = b"", b""
    for tag, numbers in sorted(values.items()):
        content = b"".join(struct.pack("<I", number) for number in numbers)
        short = len(content) == 4
        entries += struct.pack("<HHI", tag, 4, len(numbers))
        entries += content if short else struct.pack("<I", lists + len(behind))
        behind += b"" if short else content
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + entries + bytes(4) + behind + b"".join(pixels)


# ---------------------------------------------------------------- changes


def _flip_bits(data: bytearray, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(len(data), size=rng.integers(1, 9)):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def _flip_early(data: bytearray, rng: np.random.Generator) -> bytearray:
    """In the head of the file, where its structure stands."""
    for place in rng.integers(min(len(data), 200), size=rng.integers(1, 5)):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def _set_bytes(data: bytearray, rng: np.random.Generator) -> bytearray:
    for place in rng.integers(len(data), size=rng.integers(1, 9)):
        data[place] = int(rng.integers(256))
    return data


def _set_number(data: bytearray, rng: np.random.Generator) -> bytearray:
    size, order = int(rng.choice([1, 2, 4])), str(rng.choice(["little", "big"]))
    within = min(len(data), int(rng.choice([64, 512, len(data)])))
    place, number = int(rng.integers(within)), NUMBERS[rng.integers(len(NUMBERS))]
    data[place : place + size] = (number % 256**size).to_bytes(size, order)  # type: ignore[arg-type]
    return data


def _block(data: bytearray, rng: np.random.Generator) -> slice:
    start = int(rng.integers(len(data)))
    return slice(start, start + int(rng.integers(1, max(2, len(data) // 4))))


def _delete(data: bytearray, rng: np.random.Generator) -> bytearray:
    del data[_block(data, rng)]
    return data


def _insert(data: bytearray, rng: np.random.Generator) -> bytearray:
    place = int(rng.integers(len(data)))
    data[place:place] = rng.bytes(int(rng.integers(1, 65)))
    return data


def _repeat(data: bytearray, rng: np.random.Generator) -> bytearray:
    block = data[_block(data, rng)]
    place = int(rng.integers(len(data)))
    data[place:place] = block * int(rng.integers(1, 4))
    return data


def _exchange(data: bytearray, rng: np.random.Generator) -> bytearray:
    first, second = sorted(rng.integers(len(data), size=2).tolist())
    size = int(rng.integers(1, 65))
    data[first : first + size], data[second : second + size] = (
        data[second : second + size],
        data[first : first + size],
    )
    return data


def _cut(data: bytearray, rng: np.random.Generator) -> bytearray:
    return data[: int(rng.integers(1, len(data) + 1))]


def _splice(data: bytearray, rng: np.random.Generator) -> bytearray:
    """The head of this file and the tail of another."""
    names = sorted(seeds())
    other = seeds()[names[rng.integers(len(names))]]
    return data[: int(rng.integers(1, len(data) + 1))] + other[int(rng.integers(len(other))) :]


def _png_field(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Size, depth, colours or interlacing of a PNG, under a right checksum."""
    head = data.find(b"IHDR")
    if head < 0 or len(data) < head + 21:
        return _set_number(data, rng)
    if rng.random() < 0.6:
        place = head + 4 + 4 * int(rng.integers(2))
        data[place : place + 4] = _side(rng).to_bytes(4, "big")
    else:
        data[head + 12 + int(rng.integers(5))] = int(rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 255]))
    data[head + 17 : head + 21] = zlib.crc32(data[head : head + 17]).to_bytes(4, "big")
    return data


def _png_chunk(data: bytearray, rng: np.random.Generator) -> bytearray:
    """A byte within a chunk of a PNG, under a right checksum, so that what is behind it is parsed; or a chunk twice."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        if place + 12 + size > len(data):
            break
        chunks.append((place, size))
        place += 12 + size
    if not chunks or not data.startswith(b"\x89PNG"):
        return _set_bytes(data, rng)
    place, size = chunks[rng.integers(len(chunks))]
    if rng.random() < 0.3:
        return (
            data + data[place : place + 12 + size] if rng.random() < 0.5 else data[:place] + data[place + 12 + size :]
        )
    if size:
        data[place + 8 + int(rng.integers(size))] ^= 1 << int(rng.integers(8))
        data[place + 8 + size : place + 12 + size] = zlib.crc32(data[place + 4 : place + 8 + size]).to_bytes(4, "big")
    return data


def _jpeg_segment(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Size, sampling or length in a JPEG's marker segment."""
    places = [k for k in range(len(data) - 10) if data[k] == 0xFF and 0xC0 <= data[k + 1] <= 0xEF]
    if not places or data[:2] != b"\xff\xd8":
        return _set_number(data, rng)
    place = places[rng.integers(len(places))]
    if data[place + 1] in (0xC0, 0xC1, 0xC2) and rng.random() < 0.7:
        side = place + 5 + 2 * int(rng.integers(2))
        data[side : side + 2] = (_side(rng) % 65536).to_bytes(2, "big")
    elif rng.random() < 0.5:
        data[place + 2 : place + 4] = (NUMBERS[rng.integers(len(NUMBERS))] % 65536).to_bytes(2, "big")
    else:
        data[place + 1] = int(rng.integers(0xC0, 0xF0))
    return data


def _tiff_entry(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Tag, type, count or value of an entry in a TIFF's directory."""
    if len(data) < 10 or data[:2] not in (b"II", b"MM"):
        return _set_number(data, rng)
    order = "little" if data[:2] == b"II" else "big"
    start = int.from_bytes(data[4:8], order)
    count = int.from_bytes(data[start : start + 2], order)
    if not 0 < count < 100 or start + 2 + 12 * count > len(data):
        return _set_number(data, rng)
    entry = start + 2 + 12 * int(rng.integers(count))
    offset, size = ((0, 2), (2, 2), (4, 4), (8, 4))[rng.integers(4)]
    number = _side(rng) if rng.random() < 0.5 else NUMBERS[rng.integers(len(NUMBERS))]
    if offset == 2:
        number = int(rng.integers(14))
    data[entry + offset : entry + offset + size] = (number % 256**size).to_bytes(size, order)
    return data


def _riff_chunk(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Length, kind or first bytes, where the size stands, of a WebP's chunk."""
    kinds = (b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF")
    places = [place for kind in kinds if (place := data.find(kind)) >= 0]
    if not places:
        return _set_number(data, rng)
    place = places[rng.integers(len(places))]
    if rng.random() < 0.5:
        data[place + 4 : place + 8] = NUMBERS[rng.integers(len(NUMBERS))].to_bytes(4, "little")
    else:
        for k in rng.integers(8, 24, size=2):
            if place + k < len(data):
                data[place + k] = int(rng.integers(256))
    return data


def _bmp_field(data: bytearray, rng: np.random.Generator) -> bytearray:
    if data[:2] != b"BM" or len(data) < 54:
        return _set_number(data, rng)
    place = int(rng.choice([10, 14, 18, 22, 28, 30, 34, 46]))
    number = _side(rng) if rng.random() < 0.5 else NUMBERS[rng.integers(len(NUMBERS))]
    data[place : place + 4] = number.to_bytes(4, "little")
    return data


def _side(rng: np.random.Generator) -> int:
    return SIDES[rng.integers(len(SIDES))] if rng.random() < 0.7 else int(rng.integers(1, 20_000))


_STRUCTURE = (_png_field, _png_chunk, _jpeg_segment, _tiff_entry, _riff_chunk, _bmp_field)
_PLAIN = (_flip_bits, _flip_early, _set_bytes, _set_number, _delete, _insert, _repeat, _exchange, _cut, _splice)
CHANGES: tuple[Callable[[bytearray, np.random.Generator], bytearray], ...] = (*_PLAIN, *_STRUCTURE, *_STRUCTURE)

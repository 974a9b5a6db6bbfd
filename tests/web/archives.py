"""ZIP archives as programs other than the page pack them, and damaged ones."""

import io
import struct
import unicodedata
import zipfile
from collections.abc import Callable
from typing import Any

LOCAL, CENTRAL = b"PK\3\4", b"PK\1\2"


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    place = io.BytesIO()
    with zipfile.ZipFile(place, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return place.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def renamed(files: dict[str, bytes], name: Callable[[str], str]) -> dict[str, bytes]:
    return {name(path): data for path, data in files.items()}


def without_utf8_sign(archive: bytes) -> bytes:
    """As macOS packs: names are UTF-8 but are not announced so."""
    out = bytearray(archive)
    for at, found in record_places(archive):
        place = at + (6 if found == LOCAL else 8)
        struct.pack_into("<H", out, place, struct.unpack_from("<H", out, place)[0] & ~0x0800)
    return bytes(out)


def record_places(archive: bytes) -> list[tuple[int, bytes]]:
    """Where the records of files begin, as Python reads them."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        places = [(info.header_offset, LOCAL) for info in opened.infolist()]
        at = opened.start_dir
        for _ in opened.infolist():
            places.append((at, CENTRAL))
            at += 46 + sum(struct.unpack_from("<HHH", archive, at + 28))
        assert len(places) == 2 * len(opened.infolist())
        return places


def as_macos(files: dict[str, bytes]) -> bytes:
    """A folder packed by a program that writes sizes and sums behind the data, with what macOS adds."""
    place = io.BytesIO()

    class Pipe(io.RawIOBase):  # not seekable, so Python writes as to a pipe
        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            return place.write(data)

    with zipfile.ZipFile(Pipe(), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("lentigo – Kopie")
        archive.writestr(".DS_Store", b"a")
        archive.writestr("__MACOSX/lentigo – Kopie/._history.json", b"b")
        archive.mkdir("lentigo – Kopie/photos")
        for name, data in files.items():
            archive.writestr(f"lentigo – Kopie/{unicodedata.normalize('NFD', name)}", data)
    return without_utf8_sign(place.getvalue())


def as_windows(files: dict[str, bytes]) -> bytes:
    """With names in a code page of old: one byte for a letter that is not ASCII."""
    archive = packed(renamed(files, lambda name: name.replace("ü", "§")), zipfile.ZIP_DEFLATED)
    return without_utf8_sign(archive).replace("R§cken".encode(), b"R\x81\x9acken")


def patched(archive: bytes, name: str, at: int, value: int, layout: str = "<I") -> bytes:
    """Another value in the directory's record of a file."""
    out = bytearray(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        index = opened.namelist().index(name)
        count = len(opened.namelist())
    struct.pack_into(layout, out, record_places(archive)[count + index][0] + at, value)
    return bytes(out)


def deflated(data: bytes) -> bytes:
    return packed(unpacked(data), zipfile.ZIP_DEFLATED)

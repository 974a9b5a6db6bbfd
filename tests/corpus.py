"""Image files made at test time: good ones with the pixels they must decode to, bad ones with what a refusal must say.

Expected pixels come from the arrays that were written, never from the code under test. TIFF and PNG variants that
Pillow cannot write are put together byte by byte.
"""

import functools
import io
import itertools
import pickle
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

HEIGHT, WIDTH = 16, 24
ORIENTATION = 274
# What a viewer must do with the stored array, by EXIF orientation (Exif 2.32, section 4.6.4 A).
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@dataclass(frozen=True)
class Good:
    """A file and the RGB pixels that it must decode to, each within `tolerance` grey levels."""

    name: str
    data: bytes
    pixels: np.ndarray
    tolerance: int = 0


@dataclass(frozen=True)
class Bad:
    """A file and a regular expression that its refusal must match."""

    name: str
    data: bytes
    message: str


def picture() -> np.ndarray:
    """A smooth picture with four different corners, so that lossy formats stay close and every turn shows."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([40 + 7 * x, 60 + 9 * y, 200 - 3 * x - 4 * y], axis=-1).astype(np.uint8)


def grey16() -> np.ndarray:
    """16-bit grey that fills its range, so that clipping at 255 would make nearly all of it white."""
    return np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(
    depth: int,
    colour: int,
    rows: np.ndarray,
    *,
    size: tuple[int, int] | None = None,
    before: Sequence[tuple[bytes, bytes]] = (),
    after: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """A PNG of the raw bytes in `rows`; `before` and `after` are further chunks around the pixels."""
    height, width = size or rows.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [(b"IHDR", head), *before, (b"IDAT", zlib.compress(raw)), *after, (b"IEND", b"")]
    body = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff(pixels: bytes, tags: dict[int, int], *, order: str = "<", width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """An uncompressed one-strip TIFF; `tags` adds to or replaces the baseline ones."""
    entries = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: len(pixels)} | tags
    entries[273] = 8 + 2 + 12 * len(entries) + 4
    ifd = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", len(entries)) + ifd + bytes(4) + pixels


def good_files() -> list[Good]:
    return [*_colour(), *_grey(), *_palette(), *_alpha(), *_cmyk(), *_orientations(), *_odd()]


def bad_files() -> list[Bad]:
    return [*_not_images(), *_truncated(), *_damaged(), *_too_large(), *_unknown_range()]


def _colour() -> list[Good]:
    rgb, image = picture(), Image.fromarray(picture())
    wide = rgb.astype(">u2") * 257
    saved = [
        ("jpeg", "JPEG", {"quality": 95, "subsampling": 0}, 4),
        ("jpeg progressive", "JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 4),
        ("jpeg subsampled", "JPEG", {"quality": 90}, 12),
        ("png", "PNG", {}, 0),
        ("png stored", "PNG", {"compress_level": 0}, 0),
        ("webp lossless", "WEBP", {"lossless": True}, 0),
        ("webp lossy", "WEBP", {"quality": 95}, 12),
        ("bmp", "BMP", {}, 0),
        ("tiff", "TIFF", {}, 0),
        ("tiff lzw", "TIFF", {"compression": "tiff_lzw"}, 0),
        ("tiff deflate", "TIFF", {"compression": "tiff_adobe_deflate"}, 0),
        ("tiff packbits", "TIFF", {"compression": "packbits"}, 0),
        ("tiff jpeg", "TIFF", {"compression": "jpeg", "quality": 95}, 12),
    ]
    files = [Good(name, encode(image, kind, **options), rgb, tol) for name, kind, options, tol in saved]
    return [*files, Good("png rgb 16 bit", png(16, 2, wide), rgb)]


def _grey() -> list[Good]:
    eight, wide = picture()[..., 0], grey16()
    bits = (np.indices((HEIGHT, WIDTH)).sum(0) % 3 == 0).astype(np.uint8) * 255
    bilevel = Image.fromarray(bits).convert("1", dither=Image.Dither.NONE)
    scaled = np.rint(wide / 257).astype(np.uint8)
    twelve = np.linspace(0, 4095, HEIGHT * WIDTH).astype(np.uint16)
    packed = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in twelve.reshape(-1, 2).tolist())
    files = [
        ("grey jpeg", encode(Image.fromarray(eight), "JPEG", quality=95), eight, 3),
        *((f"grey {kind}", encode(Image.fromarray(eight), kind), eight, 0) for kind in ("PNG", "BMP", "TIFF")),
        *((f"1 bit {kind}", encode(bilevel, kind), bits, 0) for kind in ("PNG", "BMP", "TIFF")),
        ("1 bit TIFF group4", encode(bilevel, "TIFF", compression="group4"), bits, 0),
        ("grey 16 bit png", encode(Image.fromarray(wide), "PNG"), scaled, 0),
        ("grey 16 bit tiff", encode(Image.fromarray(wide), "TIFF"), scaled, 0),
        ("grey 16 bit tiff lzw", encode(Image.fromarray(wide), "TIFF", compression="tiff_lzw"), scaled, 0),
        ("grey 16 bit tiff MM", tiff(wide.astype(">u2").tobytes(), {258: 16}, order=">"), scaled, 0),
        ("grey 16 bit tiff white is 0", tiff(wide.tobytes(), {258: 16, 262: 0}), 255 - scaled, 0),
        ("grey 8 bit tiff white is 0", tiff(eight.tobytes(), {262: 0}), 255 - eight, 0),
        ("grey 12 bit tiff", tiff(packed, {258: 12}), np.rint(twelve / 4095 * 255).reshape(wide.shape), 0),
        ("grey 32 bit tiff", tiff((wide.astype("<u4") * 65537).tobytes(), {258: 32}), scaled, 0),
    ]
    return [Good(name, data, np.repeat(grey[..., None], 3, axis=-1), tol) for name, data, grey, tol in files]


def _palette() -> list[Good]:
    colours = np.array([[250, 10, 20], [10, 240, 30], [20, 30, 230], [90, 80, 70]], np.uint8)
    index = (np.indices((HEIGHT, WIDTH)).sum(0) // 3 % 4).astype(np.uint8)
    image = Image.fromarray(index, mode="P")
    image.putpalette(colours.tobytes())
    on_white = colours.copy()
    on_white[1] = 255
    half = np.array([255, 0, 128, 255])[:, None]  # opaque, clear, half, opaque
    blended = np.rint((colours * half + 255.0 * (255 - half)) / 255)
    return [
        *(Good(f"palette {kind}", encode(image, kind), colours[index]) for kind in ("PNG", "BMP", "TIFF")),
        Good("palette PNG, one colour clear", encode(image, "PNG", transparency=1), on_white[index]),
        Good("palette PNG, alpha", encode(image, "PNG", transparency=bytes([255, 0, 128, 255])), blended[index], 1),
    ]


def _alpha() -> list[Good]:
    rgb = picture()
    alpha = np.linspace(0, 255, HEIGHT * WIDTH).astype(np.uint8).reshape(HEIGHT, WIDTH, 1)
    rgba, la = np.concatenate([rgb, alpha], -1), np.concatenate([rgb[..., :1], alpha], -1)
    over = np.rint((rgb * (alpha / 255.0)) + 255 * (1 - alpha / 255.0))
    grey_over = np.repeat(over[..., :1], 3, axis=-1)
    keyed = rgb.copy()
    keyed[3, 5] = 255
    key = struct.pack(">HHH", *rgb[3, 5])
    wide = grey16()
    wide_keyed = np.rint(wide / 257)
    wide_keyed[2, 2] = 255
    return [
        Good("rgba png", encode(Image.fromarray(rgba), "PNG"), over, 1),
        Good("rgba png 16 bit", png(16, 6, rgba.astype(">u2") * 257), over, 1),
        Good("rgba tiff", encode(Image.fromarray(rgba), "TIFF"), over, 1),
        Good("rgba webp", encode(Image.fromarray(rgba), "WEBP", lossless=True, exact=True), over, 1),
        Good("la png", encode(Image.fromarray(la), "PNG"), grey_over, 1),
        Good("la png 16 bit", png(16, 4, la.astype(">u2") * 257), grey_over, 1),
        Good("rgb png, one colour clear", png(8, 2, rgb, before=[(b"tRNS", key)]), keyed),
        Good(
            "grey 16 bit png, one grey clear",
            png(16, 0, wide.astype(">u2"), before=[(b"tRNS", struct.pack(">H", wide[2, 2]))]),
            np.repeat(wide_keyed[..., None], 3, axis=-1),
        ),
    ]


def _cmyk() -> list[Good]:
    ink = np.concatenate([255 - picture(), np.full((HEIGHT, WIDTH, 1), 51, np.uint8)], -1)
    image = Image.fromarray(ink, mode="CMYK")
    rgb = np.rint((255.0 - ink[..., :3]) * (255 - 51) / 255)
    return [
        Good("cmyk tiff", encode(image, "TIFF"), rgb, 1),
        Good("cmyk jpeg", encode(image, "JPEG", quality=95), rgb, 12),
    ]


def _orientations() -> list[Good]:
    image = Image.fromarray(picture())
    jpeg, webp = {"quality": 95, "subsampling": 0}, {"lossless": True}
    options = {"JPEG": (jpeg, 4), "PNG": ({}, 0), "TIFF": ({}, 0), "WEBP": (webp, 0)}
    files = []
    for (kind, (extra, tolerance)), orientation in itertools.product(options.items(), UPRIGHT):
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        data = encode(image, kind, exif=exif, **extra)
        files.append(Good(f"{kind} orientation {orientation}", data, UPRIGHT[orientation](picture()), tolerance))
    return files


def _odd() -> list[Good]:
    rgb, image = picture(), Image.fromarray(picture())
    other = [Image.fromarray(255 - rgb)]
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    jpeg, lossless = encode(image, "JPEG", quality=95, subsampling=0), {"lossless": True}
    app1 = b"Exif\0\0MM\0*\xff\xff\xff\xf0garbage"
    broken = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 + jpeg[2:]
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="8"/>')
    wide = grey16().astype(">u2")
    turned = np.repeat(np.rot90(np.rint(grey16() / 257), -1)[..., None], 3, axis=-1)
    return [
        Good("tiff of 2 pages", encode(image, "TIFF", save_all=True, append_images=other), rgb),
        Good("animated webp", encode(image, "WEBP", save_all=True, append_images=other, **lossless), rgb),
        Good("animated png", encode(image, "PNG", save_all=True, append_images=other), rgb),
        Good("jpeg of 2 pictures", encode(image, "MPO", save_all=True, append_images=other, quality=95), rgb, 12),
        Good("jpeg with bytes behind its end", jpeg + b"\0trailing\xff", rgb, 4),
        Good("jpeg with broken exif", broken, rgb, 4),
        Good("png with broken exif", png(8, 2, rgb, before=[(b"eXIf", b"MM\0*\xff\xff\xff\xf0")]), rgb),
        Good("png with exif of no sense", encode(image, "PNG", exif=b"\x01\x02\x03"), rgb),
        Good("png with exif behind its pixels", png(8, 2, rgb, after=[(b"eXIf", exif.tobytes()[6:])]), UPRIGHT[6](rgb)),
        Good("png turned by xmp", encode(image, "PNG", pnginfo=xmp), UPRIGHT[8](rgb)),
        Good("grey 16 bit png, turned", png(16, 0, wide, before=[(b"eXIf", exif.tobytes()[6:])]), turned),
        Good("one pixel", encode(image.crop((0, 0, 1, 1)), "PNG"), rgb[:1, :1]),
    ]


def _not_images() -> list[Bad]:
    image = Image.fromarray(picture())
    kinds = [
        ("text", b"patient,label\n1,0\n", r"a file that starts with b'patient,'"),
        ("one byte", b"\xff", r"a file that starts with b'\\xff'"),
        ("html", b"<!DOCTYPE html><html>404</html>", "is HTML, SVG or other XML text"),
        ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is HTML, SVG or other XML text"),
        ("gif", encode(image, "GIF"), "is a GIF"),
        ("pdf", encode(image, "PDF"), "is a PDF"),
        ("zip", b"PK\3\4" + bytes(40), "is a ZIP archive"),
        ("pickle", pickle.dumps({"weights": list(range(99))}), "is a Python pickle"),
        ("heic", b"\0\0\0\x18ftypheic" + bytes(40), "is a HEIC, AVIF or video file"),
        ("dicom", bytes(128) + b"DICM" + bytes(40), "is a DICOM file"),
        ("postscript", encode(image, "EPS"), r"a file that starts with b'%!PS-Ado'"),
        ("portable pixmap", encode(image, "PPM"), r"a file that starts with b'P6"),
        ("icon", encode(image, "ICO"), "a file that starts with"),
        ("wave sound", b"RIFF\x24\0\0\0WAVEfmt ", "a damaged WebP or another RIFF file"),
    ]
    advice = ", not an image that lentigo reads; give a whole JPEG, PNG, WebP, BMP or TIFF, or leave it out"
    return [Bad(name, data, message + ".*" + advice) for name, data, message in kinds]


@functools.cache
def whole_files() -> dict[str, bytes]:
    """One file a codec; each of them cut anywhere must be refused."""
    names = ("jpeg", "jpeg progressive", "png", "webp lossless", "webp lossy", "bmp", "tiff", "tiff lzw", "tiff jpeg")
    return {file.name: file.data for file in good_files() if file.name in names}


def _truncated() -> list[Bad]:
    message = "(not an image that lentigo reads|truncated or damaged, get it again)"
    return [
        Bad(f"{name} cut after {length} of {len(data)} bytes", data[:length], message)
        for name, data in whole_files().items()
        for length in sorted({2, 8, 12, 30, *(len(data) * part // 8 for part in range(1, 8)), len(data) - 5})
    ]


def _damaged() -> list[Bad]:
    data, stored = (whole_files()["png"], encode(Image.fromarray(picture()), "PNG", compress_level=0))
    at = stored.index(b"IDAT") + 200  # inside the pixels, where only the sum tells
    flipped = stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :]
    start = data.index(b"IDAT") - 4
    jpeg = whole_files()["jpeg"]
    tables = jpeg.index(b"\xff\xc4")
    return [
        Bad("png with one bit flipped", flipped, "is a PNG file whose pixels cannot be decoded.*truncated or damaged"),
        Bad("png without pixels", data[:start] + data[-12:], "is a PNG file whose pixels cannot be decoded"),
        Bad("png of no width", png(8, 2, picture(), size=(HEIGHT, 0)), "(none at all|a damaged PNG)"),
        Bad("png signature", data[:8], "is a damaged PNG.*not an image that lentigo reads"),
        Bad(
            "jpeg whose Huffman table is broken",
            jpeg[: tables + 5] + b"\xff" * 16 + jpeg[tables + 21 :],
            "is a JPEG file whose",
        ),
        Bad("jpeg signature", b"\xff\xd8\xff\xe0", "is a damaged JPEG.*not an image that lentigo reads"),
        Bad("webp signature", b"RIFF\x0c\0\0\0WEBPVP8 ", "is a damaged WebP or another RIFF file"),
        Bad("bmp header", whole_files()["bmp"][:54], "is a BMP file whose pixels cannot be decoded"),
        Bad("bmp without width", b"BM" + bytes(60), "is a damaged BMP"),
        Bad("tiff header", b"II*\0\x08\0\0\0", "is a damaged TIFF"),
        Bad("tiff whose pixels are missing", tiff(b"", {279: HEIGHT * WIDTH}), "is a TIFF file whose pixels cannot be"),
    ]


def _too_large() -> list[Bad]:
    jpeg, bmp = whole_files()["jpeg"], whole_files()["bmp"]
    frame = jpeg.index(b"\xff\xc0") + 5
    webp_head = struct.pack("<I", 7999)[:3] * 2  # 8000 x 8000 as VP8X stores it, one less each
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes(4) + webp_head + whole_files()["webp lossless"][12:]
    limit = "the limit is 50 megapixels; save it smaller"
    size = (7000, 7300)  # 51.1 megapixels
    found = rf"7300 x 7000 = 51\.1 megapixels, {limit}"
    return [
        Bad("png of 51 megapixels", png(8, 2, picture(), size=size), found),
        Bad("jpeg of 51 megapixels", jpeg[:frame] + struct.pack(">HH", *size) + jpeg[frame + 4 :], found),
        Bad("bmp of 51 megapixels", bmp[:18] + struct.pack("<ii", 7300, 7000) + bmp[26:], found),
        Bad("tiff of 51 megapixels", tiff(bytes(9), {}, width=7300, height=7000), found),
        Bad("webp of 64 megapixels", b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x, "(megapixels|WebP)"),
        Bad("png of 100 megapixels", png(8, 2, picture(), size=(10_000, 10_000)), rf"100\.0 megapixels, {limit}"),
        Bad(
            "png of absurd size",
            png(8, 2, picture(), size=(2**31 - 1, 2**31 - 1)),
            f"has more than 179 megapixels, {limit}",
        ),
    ]


def _unknown_range() -> list[Bad]:
    real = np.linspace(0, 1, HEIGHT * WIDTH, dtype=np.float32)
    signed = np.arange(HEIGHT * WIDTH, dtype=np.int16)
    lab = Image.fromarray(picture(), mode="LAB")
    return [
        Bad("tiff of floats", tiff(real.tobytes(), {258: 32, 339: 3}), "has F pixels.*save it as RGB"),
        Bad("tiff of signed numbers", tiff(signed.tobytes(), {258: 16, 339: 2}), "has signed grey values.*8 bits"),
        Bad("tiff in Lab", encode(lab, "TIFF"), "has LAB pixels.*save it as RGB"),
    ]

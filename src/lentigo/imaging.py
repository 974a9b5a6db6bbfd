"""Bytes or a path in, RGB uint8 out, safely; and the one `preprocess` that turns such an image into a network's input.

Whatever the bytes are, the result is an image or an `ImageError`. Of a file with several frames (animated WebP or PNG,
multi-page TIFF) the first is used. Colour profiles are ignored. No torch here: the deployed model uses this file too.
"""

import io
import math
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8
from PIL import Image, ImageFile, UnidentifiedImageError

from lentigo.errors import ConfigError, ImageError
from lentigo.pixels import AS_STORED, BITS_PER_SAMPLE, rgb_pixels

MAX_PIXELS = 50_000_000
MAX_BYTES = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
WEIGHT_BITS = 22  # Pillow's PRECISION_BITS for 8-bit images: 32 - 8 - 2

# What Pillow's parsers were seen to raise, or could, on damaged bytes; KeyboardInterrupt and SystemExit pass through.
_PYTHON_ERRORS = (ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError)
_PARSER_ERRORS = (RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error)
_PILLOW_ERRORS = (*_PYTHON_ERRORS, *_PARSER_ERRORS, Image.DecompressionBombError)
_SIGNATURES = (  # offset, bytes, what a file that has them there is called
    (0, b"\xff\xd8\xff", "a damaged JPEG"),
    (0, b"\x89PNG", "a damaged PNG"),
    (0, b"RIFF", "a damaged WebP or another RIFF file"),
    (0, b"BM", "a damaged BMP"),
    (0, b"II*\0", "a damaged TIFF"),
    (0, b"MM\0*", "a damaged TIFF"),
    (0, b"GIF8", "a GIF"),
    (0, b"%PDF", "a PDF"),
    (0, b"PK\3\4", "a ZIP archive"),
    (0, b"\x80\4\x95", "a Python pickle"),
    (0, b"<", "HTML, SVG or other XML text"),
    (4, b"ftyp", "a HEIC, AVIF or video file"),
    (128, b"DICM", "a DICOM file"),
)
_ORIENTATION, _EXIF = 274, 34665  # EXIF and TIFF tags


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How an RGB image becomes a network's input; it travels inside checkpoints and exported models."""

    resize_px: int | None  # both sides, squeezed to a square; None keeps the image's size
    crop_px: int | None  # centre crop after the resize; None keeps everything
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # per channel, of values in [0, 1]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for key in ("resize_px", "crop_px"):
            _check_pixels(f"preprocessing.{key}", getattr(self, key))
        for key in ("mean", "std"):
            _check_channels(f"preprocessing.{key}", getattr(self, key))
        if min(self.std) <= 0:
            raise ConfigError(f"preprocessing.std is {self.std}, not above 0 everywhere; try {IMAGENET_STD}")
        if self.resize_px is not None and self.crop_px is not None and self.crop_px > self.resize_px:
            found = f"{self.crop_px}, above resize_px = {self.resize_px}"
            raise ConfigError(f"preprocessing.crop_px is {found}; lower it to {self.resize_px} or less")

    @property
    def output_px(self) -> int | None:
        """Side of the square that comes out, in pixels; None where the image's own size is kept."""
        return self.resize_px if self.crop_px is None else self.crop_px

    def to_dict(self) -> dict[str, Any]:
        """The settings as JSON-safe values; `from_dict` reads them."""
        return {"resize_px": self.resize_px, "crop_px": self.crop_px, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """The settings that `to_dict` wrote, or a ConfigError where a key or a value is not allowed or missing."""
        allowed = {"resize_px", "crop_px", "mean", "std"}
        if set(values) != allowed:
            unknown, missing = sorted(set(values) - allowed), sorted(allowed - set(values))
            found = f"the unknown keys {unknown} and lacks the keys {missing}"
            raise ConfigError(f"preprocessing has {found}; give exactly {sorted(allowed)}")
        mean, std = (_check_channels(f"preprocessing.{key}", values[key]) for key in ("mean", "std"))
        resize, crop = (_check_pixels(f"preprocessing.{key}", values[key]) for key in ("resize_px", "crop_px"))
        return cls(resize_px=resize, crop_px=crop, mean=mean, std=std)


@dataclass(frozen=True, kw_only=True)
class ImageHeader:
    """What an image file says about itself before its pixels are decoded."""

    size: tuple[int, int]  # height and width in pixels, upright: after EXIF orientation
    format: str  # one of FORMATS
    mode: str  # Pillow's; with ";16" behind it where more than 8 bits a channel are stored, as in I;16
    orientation: int  # EXIF, 2 to 8 where the pixels must be turned or mirrored, else 1
    has_exif: bool
    quantisation: tuple[int, ...]  # a JPEG's tables, one after the other; empty for other formats


def read_image(source: Path | str | bytes, *, name: str | None = None) -> UInt8[np.ndarray, "height width 3"]:
    """Pixels of an image file, upright, as RGB.

    EXIF orientation is applied, transparency is laid over white, 16-bit grey is scaled to 8 bits.

    Args:
        source: a path, or the bytes of a file.
        name: what messages call the image; default the path, or "image" for bytes.
    Returns: a new array, 0 to 255.
    Raises: ImageError: no such file, in none of `FORMATS`, damaged, or above `MAX_BYTES` or `MAX_PIXELS`.
    """
    name = name or _name_of(source)
    data = file_bytes(source, name=name)
    if ImageFile.LOAD_TRUNCATED_IMAGES:  # Pillow would paint what is missing grey, and say nothing
        raise ImageError(
            f"{name} is not read while PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, since damaged images would pass as "
            "whole ones; set it to False"
        )
    with _without_pillow_warnings():
        image = _open(data, name)
        try:
            if image.format == "PNG":
                _check_png_sums(data)
            image.load()
            # Asked after decoding: TIFF images are turned by Pillow itself, which then forgets the tag.
            return rgb_pixels(image, name, orientation=_orientation(image))
        except _PILLOW_ERRORS as error:
            raise ImageError(
                f"{name} is a {image.format} file whose pixels cannot be decoded ({_reason(error)}); "
                "it is truncated or damaged, get it again or leave it out"
            ) from error


def image_header(source: Path | str | bytes, *, name: str | None = None) -> ImageHeader:
    """Size, format, mode and the like of an image file; `source` and `name` as in `read_image`.

    Raises: ImageError: as `read_image`, except for damage that only decoding finds.
    """
    name = name or _name_of(source)
    data = file_bytes(source, name=name)
    with _without_pillow_warnings():
        image = _open(data, name)
        mode, orientation = _stored_mode(image, data), _stored_orientation(image, data)  # in this order: PNG may decode
        tables: Mapping[int, list[int]] = getattr(image, "quantization", {})  # only JPEG has them
        tags: Mapping[int, Any] = getattr(image, "tag_v2", {})  # only TIFF; whose size Pillow may turn, or not yet
        sides = (tags.get(257, image.height), tags.get(256, image.width))
        return ImageHeader(
            size=sides if orientation < 5 else sides[::-1],
            format="JPEG" if image.format == "MPO" else str(image.format),  # MPO: a JPEG with more pictures behind it
            mode=mode,
            orientation=orientation,
            has_exif=_EXIF in tags or any(image.info.get(key) for key in ("exif", "Raw profile type exif")),
            quantisation=tuple(int(value) for key in sorted(tables) for value in tables[key]),
        )


def file_bytes(source: Path | str | bytes, *, name: str | None = None) -> bytes:
    """The bytes of a file, read once and whole.

    Raises: ImageError: no such file, a folder or device, empty, or above `MAX_BYTES`.
    """
    name = name or _name_of(source)
    if isinstance(source, bytes):
        _check_bytes(len(source), name)
        return source
    try:
        path = Path(source)
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "is a device or pipe" if path.exists() else "does not exist"
            raise ImageError(f"{name} {found}; give the path of an image file")
        _check_bytes(path.stat().st_size, name)
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # the file may have grown since
    except (OSError, ValueError) as error:  # ValueError: a NUL inside the path
        raise ImageError(f"{name} cannot be read ({_reason(error)}); check the path and its permissions") from error
    _check_bytes(len(data), name)
    return data


def preprocess(
    image: UInt8[np.ndarray, "height width 3"], settings: Preprocessing
) -> Float32[np.ndarray, "3 out_height out_width"]:
    """A network's input from an image: squeeze to a square, crop its centre, scale to [0, 1], normalise.

    Equals torchvision's Resize((s, s)), CenterCrop(c), ToTensor(), Normalize(mean, std) on a PIL image.

    Raises: ImageError: the image is smaller than the crop and no resize was asked for.
    """
    if settings.resize_px is not None:
        image = squeeze(image, settings.resize_px)
    if settings.crop_px is not None:
        image = _centre_crop(image, settings.crop_px)
    scaled = image.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (settings.mean, settings.std))
    return np.ascontiguousarray((scaled - mean) / std)


def squeeze(
    image: UInt8[np.ndarray, "height width 3"], side_px: int, *, box: tuple[float, float, float, float] | None = None
) -> UInt8[np.ndarray, "side side 3"]:
    """The image at `side_px` x `side_px` pixels, whatever its shape was: Pillow's bilinear resize with antialias.

    Pillow rounds to 8 bits between the two directions. Of square images it resizes the rows first; from Pillow 13 on
    the columns where height > side and height - side > 2 (width - side), as measured with 13.0.0, so that between
    versions such an image may differ by one grey level.

    Args:
        box: what becomes the square: left, top, right and bottom in pixels; None: all of the image.
    """
    if box is None and image.shape[:2] == (side_px, side_px):
        return image
    return np.asarray(Image.fromarray(image).resize((side_px, side_px), Image.Resampling.BILINEAR, box))


def resize_weights(in_px: int, out_px: int) -> tuple[Int32[np.ndarray, "tap out"], Int32[np.ndarray, "tap out"]]:
    """Source index and weight of every tap of Pillow's antialiased bilinear resize of 8-bit images, in one direction.

    An output pixel is clip((sum of weight * pixel + 2**21) >> 22, 0, 255) over its taps; the sum fits a signed 32-bit
    integer. Of square images the rows are resized first, rounded to uint8, then the columns, see `squeeze`.

    Returns: (index, weight); taps that an output pixel does not use have weight 0 and an index inside the image.
    Raises: ConfigError: a size is below 1.
    """
    if in_px < 1 or out_px < 1:
        raise ConfigError(f"cannot resize {in_px} to {out_px} pixels; both must be 1 or more")
    scale = in_px / out_px
    support = max(scale, 1.0)  # of the triangle filter, stretched when the image shrinks
    centre = (np.arange(out_px) + 0.5) * scale
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + support + 0.5).astype(np.int64), in_px)
    index = first + np.arange(int((stop - first).max()))[:, None]
    triangle = np.maximum(1.0 - np.abs((index - centre + 0.5) / support), 0.0)
    triangle[index >= stop] = 0.0
    # Pillow divides and adds in another order: no weight of 288,000 random pairs (1500 px in, 600 out at most) changed.
    weight = np.floor(triangle / triangle.sum(0) * (1 << WEIGHT_BITS) + 0.5)
    return np.minimum(index, in_px - 1).astype(np.int32), weight.astype(np.int32)


def _check_pixels(key: str, value: object) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ConfigError(f"{key} is {value!r}, not a whole number above 0; try 224, or None to leave it out")


def _check_channels(key: str, values: Any) -> tuple[float, float, float]:
    good = isinstance(values, tuple | list) and len(values) == 3
    if not good or not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise ConfigError(f"{key} is {values!r}, not three finite numbers, for R, G and B")
    return (float(values[0]), float(values[1]), float(values[2]))


def _centre_crop(
    image: UInt8[np.ndarray, "height width 3"], crop_px: int
) -> UInt8[np.ndarray, "crop_height crop_width 3"]:
    height, width = image.shape[:2]
    if min(height, width) < crop_px:
        found = f"{width} x {height} pixels, fewer than crop_px = {crop_px} on a side"
        raise ImageError(f"the image has {found}; set resize_px or a smaller crop_px")
    top, left = round((height - crop_px) / 2), round((width - crop_px) / 2)  # halves to even, as torchvision
    return image[top : top + crop_px, left : left + crop_px]


def _name_of(source: Path | str | bytes) -> str:
    return "image" if isinstance(source, bytes) else str(source)


def _check_bytes(size: int, name: str) -> None:
    if size == 0:
        raise ImageError(f"{name} is empty (0 bytes); get the file again, or leave it out")
    if size > MAX_BYTES:
        found, limit = f"{size / 1e6:.1f} MB", f"{MAX_BYTES / 1e6:.0f} MB"
        raise ImageError(f"{name} has {found}, the limit is {limit}; save it smaller, for instance as JPEG")


def _open(data: bytes, name: str) -> ImageFile.ImageFile:
    """The image with only its header read."""
    too_large = f"the limit is {MAX_PIXELS / 1e6:.0f} megapixels; save it smaller"
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        found = f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} megapixels"
        raise ImageError(f"{name} has {found}, {too_large}") from error
    except _PILLOW_ERRORS as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({_reason(error)})"
        raise ImageError(
            f"{name} is {_describe(data)}{reason}, not an image that lentigo reads; "
            "give a whole JPEG, PNG, WebP, BMP or TIFF, or leave it out"
        ) from error
    width, height = image.size
    if height * width > MAX_PIXELS:
        raise ImageError(f"{name} has {width} x {height} = {height * width / 1e6:.1f} megapixels, {too_large}")
    if height * width == 0:
        raise ImageError(f"{name} has {width} x {height} pixels, none at all; get it again or leave it out")
    return image


def _describe(data: bytes) -> str:
    kinds = (kind for offset, signature, kind in _SIGNATURES if data.startswith(signature, offset))
    return next(kinds, f"a file that starts with {data[:8]!r}")


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__


def _check_png_sums(data: bytes) -> None:
    """Raise where a chunk's sum is wrong; Pillow leaves out the pixels' sums, where one bit may change the picture."""
    kind, start = b"", 8
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", data[start : start + 8].ljust(8, b"\xff"))
        stop = start + 8 + length
        if len(data) < stop + 4:
            raise OSError("the file ends too early")
        if int.from_bytes(data[stop : stop + 4]) != zlib.crc32(memoryview(data)[start + 4 : stop]):
            raise OSError(f"the check sum of chunk {kind!r} is wrong")
        start = stop + 4


_warnings_lock = threading.Lock()
_warnings_users: list["warnings.catch_warnings[None]"] = []  # one entry a thread inside, all the same object


@contextmanager
def _without_pillow_warnings() -> Iterator[None]:
    """Silence warnings that come from inside Pillow; several threads may be in here at once.

    catch_warnings alone restores a stale list of filters when two threads leave in the order in which they came.
    """
    with _warnings_lock:
        if not _warnings_users:
            _warnings_users.append(warnings.catch_warnings())
            _warnings_users[0].__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\b")
        else:
            _warnings_users.append(_warnings_users[0])
    try:
        yield
    finally:
        with _warnings_lock:
            saved = _warnings_users.pop()
            if not _warnings_users:
                saved.__exit__(None, None, None)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _PILLOW_ERRORS:  # broken EXIF is no reason to refuse good pixels
        return 1
    return value if isinstance(value, int) else 1


def _stored_orientation(image: Image.Image, data: bytes) -> int:
    # Pillow decodes a PNG to look for EXIF behind its pixels, where it hardly ever is: ask only where there is some.
    exif_keys = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
    if image.format == "PNG" and not any(key in data for key in exif_keys):
        return 1
    orientation = _orientation(image)
    return orientation if orientation in AS_STORED else 1


def _stored_mode(image: Image.Image, data: bytes) -> str:
    """Pillow calls 16-bit colour RGB too; the PNG header's byte 24 and a TIFF tag tell the bits a channel."""
    tags: Mapping[int, Any] = getattr(image, "tag_v2", {})
    bits = data[24] if image.format == "PNG" else int(tags.get(BITS_PER_SAMPLE, (8,))[0])
    return f"{image.mode};16" if bits > 8 and image.mode[0] not in "FI" else image.mode

"""Damaged files of every kind give an image or an ImageError, and nothing else, quickly; large ones take little memory.

`benchmarks/fuzz_images.py` does the same with 20,000 files in processes that it watches.
"""

import io
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.mutations import SIDE, mutant, seeds
from PIL import Image

from lentigo.errors import ImageError
from lentigo.imaging import MAX_PIXELS, image_header, read_image
from lentigo.pixels import AS_STORED, TILE_PX, rgb_pixels


def test_the_whole_files_are_images() -> None:
    assert len(seeds()) >= 40
    for name, data in seeds().items():
        if name == "tiff float":
            with pytest.raises(ImageError, match="has F pixels"):
                read_image(data)
        else:
            assert read_image(data).shape == (SIDE, SIDE, 3), name


def test_mutants_follow_from_their_number_and_differ_from_whole_files() -> None:
    made = [mutant(np.random.default_rng((0, number))) for number in range(200)]
    assert made == [mutant(np.random.default_rng((0, number))) for number in range(200)]
    assert sum(data != seeds()[name] for name, data in made) > 190
    assert len({name for name, _ in made}) > 30


@pytest.mark.filterwarnings("default")  # a warning of Pillow's must not stand in for its error
def test_500_damaged_files_give_an_image_or_an_image_error(capfd: pytest.CaptureFixture[str]) -> None:
    kinds = {"image": 0, "refused": 0}
    for number in range(500):
        name, data = mutant(np.random.default_rng((1, number)))
        started = time.perf_counter()
        try:
            image = read_image(data)
        except ImageError as error:
            assert str(error).startswith("image "), (number, name)  # noqa: PT017  both outcomes are looked at
            kinds["refused"] += 1
        else:
            assert (image.dtype, image.ndim, image.shape[2]) == (np.uint8, 3, 3), (number, name)
            assert image_header(data).size == image.shape[:2], (number, name)
            kinds["image"] += 1
        assert time.perf_counter() - started < 2, (number, name)
    assert min(kinds.values()) > 50, kinds
    capfd.readouterr()  # libtiff tells each fault on the standard error


def _largest(kind: str, mode: str, **options: Any) -> bytes:
    side = int(MAX_PIXELS**0.5)
    exif = Image.Exif()
    exif[274] = 6
    file = io.BytesIO()
    Image.new(mode, (side, side), (9,) * len(mode)).save(file, kind, exif=exif, **options)
    return file.getvalue()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell the memory of a process")
@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "method": 0})], ids=["PNG", "WebP"]
)
def test_the_largest_images_take_less_than_1_gb(kind: str, options: dict[str, Any]) -> None:
    """They are 200 MB inside Pillow and 150 MB as RGB; converted as a whole these took 1.0 and 1.2 GB."""
    data = _largest(kind, "RGBA", **options)
    assert len(data) < 1_000_000
    code = (
        "import sys; from lentigo.imaging import read_image; read_image(sys.stdin.buffer.read()); "
        "print(open('/proc/self/status').read())"
    )
    result = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, timeout=60, check=True)
    # getrusage would tell the peak of the process that started this one, if that was higher.
    peak = re.search(rb"VmHWM:\s+(\d+) kB", result.stdout)
    assert peak is not None
    assert int(peak[1]) * 1024 < 1_000_000_000


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiles_make_no_difference(orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of several tiles, none of them whole, and the same in one piece."""
    rng = np.random.default_rng(orientation)
    image = Image.fromarray(rng.integers(256, size=(37, 53, 4), dtype=np.uint8))
    assert max(image.size) < TILE_PX
    whole = rgb_pixels(image, "image", orientation=orientation)
    monkeypatch.setattr("lentigo.pixels.TILE_PX", 8)
    assert (rgb_pixels(image, "image", orientation=orientation) == whole).all()
    assert whole.flags.c_contiguous
    stored = AS_STORED.get(orientation, lambda array: array)(whole)
    assert (stored == rgb_pixels(image, "image")).all()


def test_white_shows_through_as_alpha_composite_has_it() -> None:
    """Every level under every alpha."""
    level, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    image = Image.fromarray(np.stack([level, level, level, alpha], axis=-1))
    expected = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    assert (rgb_pixels(image, "image") == np.asarray(expected)).all()

"""Copies: every transformation is found and nothing else is, the pixels decide what is exact, edges of all kinds."""

import os
import tempfile
import zlib
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from benchmarks.transformations import TRANSFORMATIONS
from lentigo.data import alignment, duplicates, pack as pack_module
from lentigo.data.duplicates import (
    SEARCH_UNITS,
    Twins,
    exact_groups,
    in_words,
    joined,
    near_twins,
    twins_between,
)
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.synthetic import draw_lesion
from lentigo.data.table import ImageRow, ImageTable, read_table
from tests import reference

SIZE_PX = 240
COPIES_EACH = 2  # of every transformation, of a lesion each
relaxed = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def lesion(index: int, size_px: int = SIZE_PX) -> np.ndarray:
    return draw_lesion(3, index, malignant=index % 2 == 1, size_px=size_px).image


def pack_of(folder: Path, files: Sequence[np.ndarray | Path], image_px: int = SIZE_PX) -> ImagePack:
    """Pictures, written as PNG, and files, packed in order."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, file in enumerate(files):
        path = file
        if isinstance(file, np.ndarray):
            path = folder / f"{number:04}.png"
            Image.fromarray(file).save(path)
        rows.append(ImageRow(id=f"{number:04}", path=path, label=0))
    return pack_images(ImageTable(root=folder, rows=tuple(rows)), image_px=image_px, cache=folder / "cache")


def numbers(pairs: Sequence[Twins]) -> list[tuple[int, int]]:
    return [(pair.one, pair.other) for pair in pairs]


@pytest.fixture(scope="module")
def lesions() -> list[np.ndarray]:
    return [lesion(index) for index in range(4 + COPIES_EACH * len(TRANSFORMATIONS))]


@pytest.fixture(scope="module")
def copies(lesions: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Copy k of every `COPIES_EACH` is of lesion k."""
    folder, rng, paths = tmp_path_factory.mktemp("copies"), np.random.default_rng(0), []
    for number, image in enumerate(lesions[: COPIES_EACH * len(TRANSFORMATIONS)]):
        paths.append(folder / f"{number:02}.jpg")
        TRANSFORMATIONS[number // COPIES_EACH].save(image, paths[-1], rng)
    return paths


@pytest.fixture(scope="module")
def mixed(lesions: list[np.ndarray], copies: list[Path], tmp_path_factory: pytest.TempPathFactory) -> ImagePack:
    """All lesions, then the copies."""
    return pack_of(tmp_path_factory.mktemp("mixed"), [*lesions, *copies])


@pytest.fixture(scope="module")
def found(mixed: ImagePack) -> tuple[Twins, ...]:
    return near_twins(mixed)


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize("which", range(len(TRANSFORMATIONS)), ids=[t.name for t in TRANSFORMATIONS])
def test_a_copy_is_found(lesions: list[np.ndarray], found: tuple[Twins, ...], which: int) -> None:
    for copy in range(which * COPIES_EACH, (which + 1) * COPIES_EACH):
        assert (copy, len(lesions) + copy) in numbers(found)


def test_nothing_else_is_found(lesions: list[np.ndarray], copies: list[Path], found: tuple[Twins, ...]) -> None:
    assert set(numbers(found)) <= {(copy, len(lesions) + copy) for copy in range(len(copies))}


def test_pairs_are_in_order_and_alike(found: tuple[Twins, ...]) -> None:
    assert numbers(found) == sorted(set(numbers(found)))
    for pair in found:
        assert pair.one < pair.other
        assert duplicates.ALIKE <= pair.likeness <= 1
        assert pair.likeness == round(pair.likeness, 3)


CHANGES = {
    "JPEG of quality 50": "in place",
    "half the size": "in place",
    "mirrored": "mirrored, turned by 180°",
    "upside down": "mirrored",
}

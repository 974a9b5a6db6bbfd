"""Columns for the evidence: groups from lesion and patient, and skin tones that are estimated once and then kept."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lentigo.data import columns as columns_module
from lentigo.data.columns import columns_of, find_skin_tones
from lentigo.data.pack import ImagePack
from lentigo.data.skin_tone import skin_tones
from lentigo.data.subgroup_columns import ESTIMATED_TONE
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from tests.data.pictures import packed, write_mask

SIDE_PX = 48
LIGHT, DARK, GREEN = (230, 195, 175), (90, 60, 45), (20, 160, 20)  # the last is no skin
TONES = ["very light", "dark", "", "very light", "dark", ""]


def painted(folder: Path, **columns: list[str]) -> tuple[ImageTable, ImagePack]:
    """Six pictures of one colour each."""
    images = np.array([LIGHT, DARK, GREEN] * 2, dtype=np.uint8)[:, None, None].repeat(SIDE_PX, 1).repeat(SIDE_PX, 2)
    return packed(folder, np.ascontiguousarray(images), [0, 1, 0, 1, 0, 1], **columns)


@pytest.fixture
def estimated(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each estimate was of."""
    sizes: list[int] = []

    def counted(table: ImageTable, pack: ImagePack, **options: Any) -> list[str]:
        sizes.append(len(table))
        return skin_tones(table, pack, **options)

    monkeypatch.setattr(columns_module, "skin_tones", counted)
    return sizes


def kept_file(cache: Path) -> Path:
    (path,) = (cache / "skin_tones").iterdir()
    return path


# ---------------------------------------------------------------- estimates, kept


def test_tones_are_estimated_once_and_kept(tmp_path: Path, estimated: list[int]) -> None:
    table, pack = painted(tmp_path)
    told: list[int] = []
    assert find_skin_tones(table, pack, cache=tmp_path, progress=told.append) == TONES
    assert find_skin_tones(table, pack, cache=tmp_path, progress=told.append) == TONES
    assert estimated == [6]
    assert sum(told) == 12
    assert json.loads(kept_file(tmp_path).read_text())["tones"] == TONES


def test_without_a_cache_the_default_one_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, pack = painted(tmp_path)
    monkeypatch.setenv("LENTIGO_CACHE", str(tmp_path / "default"))
    assert find_skin_tones(table, pack) == TONES
    assert kept_file(tmp_path / "default").is_file()


def test_some_of_the_images_or_another_order_is_another_answer(tmp_path: Path, estimated: list[int]) -> None:
    table, pack = painted(tmp_path)
    find_skin_tones(table, pack, cache=tmp_path)
    for rows in ([4, 0], [0, 4], [5, 4, 3, 2, 1, 0]):
        found = find_skin_tones(table.subset(rows), pack.subset(rows), cache=tmp_path)
        assert found == [TONES[row] for row in rows]
    assert estimated == [6, 2, 2, 6]


def test_another_mask_is_another_estimate(tmp_path: Path, estimated: list[int]) -> None:
    """Beside the lesion the first picture is dark; a mask of that part leaves the light one."""
    table, _ = painted(tmp_path)
    half = np.zeros((SIDE_PX, SIDE_PX), dtype=bool)
    half[:, : SIDE_PX // 2] = True
    images = np.where(half[..., None], np.uint8(DARK), np.uint8(LIGHT))[None]
    table, pack = packed(tmp_path / "halves", images.astype(np.uint8), [1])
    mask = tmp_path / "mask.png"

    def with_mask(inside: np.ndarray) -> list[str]:
        row = replace(table.rows[0], mask=write_mask(mask, inside))
        return find_skin_tones(replace(table, rows=(row,)), pack, cache=tmp_path)

    assert with_mask(half) == ["very light"]
    assert with_mask(~half) == ["dark"]  # another content under the same name
    assert with_mask(half) == ["very light"]
    assert estimated == [1, 1]
    find_skin_tones(table, pack, cache=tmp_path)
    assert estimated == [1, 1, 1]  # no mask at all


@pytest.mark.parametrize(
    "damage",
    [
        lambda about: about | {"version": 0},
        lambda about: about | {"tones": about["tones"][:-1]},
        lambda about: about | {"tones": ["pale", *about["tones"][1:]]},
        lambda about: about | {"tones": None},
        lambda about: {"version": about["version"]},
        lambda about: [about],
        lambda _: None,
    ],
)
def test_a_damaged_answer_is_made_anew(tmp_path: Path, estimated: list[int], damage: Callable[[Any], Any]) -> None:
    table, pack = painted(tmp_path)
    find_skin_tones(table, pack, cache=tmp_path)
    file = kept_file(tmp_path)
    good = file.read_bytes()
    file.write_text(json.dumps(damage(json.loads(good))))
    assert find_skin_tones(table, pack, cache=tmp_path) == TONES
    assert file.read_bytes() == good
    file.write_bytes(good[:20])
    assert find_skin_tones(table, pack, cache=tmp_path) == TONES
    assert estimated == [6, 6, 6]


def test_a_damaged_pack_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    table, pack = painted(tmp_path)
    pixels = pack.folder / "images.npy"
    pixels.write_bytes(pixels.read_bytes()[:-1] + b"\0")
    with pytest.raises(DataError, match="is damaged"):
        find_skin_tones(table, pack, cache=tmp_path)
    assert not (tmp_path / "skin_tones").exists()


# ---------------------------------------------------------------- columns


class Bars:
    """A `bar` that keeps what it was told."""

    def __init__(self) -> None:
        self.told: dict[str, list[int]] = {}

    @contextmanager
    def __call__(self, text: str, total: int) -> Iterator[Callable[[int], None]]:
        seen = self.told[text] = [total, 0]

        def advance(done: int) -> None:
            seen[1] += done

        yield advance


def test_estimated_tones_are_a_column_in_the_order_of_tones(tmp_path: Path) -> None:
    table, pack = painted(tmp_path, sex=["male", "female", "female", "", "male", "male"])
    bars = Bars()
    found, were_estimated = columns_of(table, pack, cache=tmp_path, bar=bars)
    assert were_estimated
    assert found.names == {"Sex": ["male", "female", "female", "", "male", "male"], ESTIMATED_TONE: TONES}
    assert found.orders == {"Sex": ["female", "male"], ESTIMATED_TONE: ["very light", "dark"]}
    assert bars.told == {"estimating skin tones": [6, 6]}


def test_without_a_pack_nothing_is_estimated(tmp_path: Path, estimated: list[int]) -> None:
    table, _ = painted(tmp_path, age=["30", "80", "30", "80", "", "31"])
    found, were_estimated = columns_of(table, cache=tmp_path)
    assert not were_estimated
    assert list(found.names) == ["Age"]
    assert found.orders["Age"] == ["30 to 44", "75 and over"]
    assert estimated == []


def test_tones_of_the_table_stand_alone(tmp_path: Path, estimated: list[int]) -> None:
    table, pack = painted(tmp_path, skin_tone=["", "2", "1", "2", "1", ""])
    bars = Bars()
    found, were_estimated = columns_of(table, pack, cache=tmp_path, bar=bars)
    assert not were_estimated
    assert found.names == {"Skin tone": ["", "2", "1", "2", "1", ""]}
    assert (estimated, bars.told) == ([], {})
    assert not (tmp_path / "skin_tones").exists()


def test_a_column_of_unknown_tones_is_none(tmp_path: Path, estimated: list[int]) -> None:
    table, pack = painted(tmp_path, skin_tone=["unknown", "", "NA", "not reported", "", "unknown"])
    found, were_estimated = columns_of(table, pack, cache=tmp_path)
    assert were_estimated
    assert list(found.names) == [ESTIMATED_TONE]
    assert estimated == [6]


def test_pictures_without_any_skin_are_not_called_estimated(tmp_path: Path) -> None:
    table, pack = painted(tmp_path)
    rows = [2, 5]
    found, were_estimated = columns_of(table.subset(rows), pack.subset(rows), cache=tmp_path)
    assert not were_estimated
    assert found.names == {}


def test_images_of_one_lesion_or_patient_are_one_group(tmp_path: Path) -> None:
    """1 and 2 share a patient, 2 and 4 a lesion: all three hang together."""
    table, _ = painted(tmp_path, patient=["", "p", "p", "", "q", ""], lesion=["", "", "l", "m", "l", ""])
    groups = columns_of(table)[0].groups
    assert groups is not None
    assert groups.dtype == np.int64
    assert groups.tolist() == [0, 1, 1, 2, 1, 3]
    alone = columns_of(painted(tmp_path / "alone")[0])[0].groups
    assert alone is not None
    assert alone.tolist() == [0, 1, 2, 3, 4, 5]

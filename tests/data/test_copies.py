"""Copies, kept and heeded: groups by hand, the kept answer used or thrown away, splits that search and splits that do
not.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lentigo.config import SplitConfig
from lentigo.data import copies as copies_module
from lentigo.data.copies import AUDIT_PX, Copies, find_copies, find_copies_between, split_apart
from lentigo.data.duplicates import SEARCH_UNITS, VERSION, Twins, twins_between
from lentigo.data.pack import ImagePack
from lentigo.data.split import make_split
from lentigo.data.synthetic import draw_lesion
from lentigo.data.table import ImageTable
from tests.data.pictures import noise, packed

FOUND = (Twins(one=1, other=4, likeness=0.9, change="mirrored"),)


@pytest.fixture
def pack(tmp_path: Path) -> ImagePack:
    """Six pictures, the first and the last of the same pixels."""
    images = noise(6)
    images[5] = images[0]
    return packed(tmp_path, images, [0, 1] * 3)[1]


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A search that finds `FOUND`, and the size of each pack that it was called with."""
    sizes: list[int] = []

    def near_twins(pack: ImagePack, *, progress: Callable[[int], None] | None = None) -> tuple[Twins, ...]:
        sizes.append(len(pack))
        if progress:
            progress(SEARCH_UNITS * len(pack))
        return FOUND

    monkeypatch.setattr(copies_module, "near_twins", near_twins)
    return sizes


# ---------------------------------------------------------------- groups


def test_groups_by_hand() -> None:
    """0, 4 and 7 have the same pixels, as have 1 and 2; 0 is near 5, and 5 near 6; 3 is alone."""
    pairs = ((0, 5), (5, 6))
    near = tuple(Twins(one=one, other=other, likeness=0.5, change="in place") for one, other in pairs)
    copies = Copies(ids=tuple("abcdefgh"), exact=((0, 4, 7), (1, 2)), near=near)
    assert copies.groups == ((0, 4, 5, 6, 7), (1, 2))
    assert copies.near_groups == ((0, 4, 5, 6, 7),)  # with the exact copies of 0, which the search did not look at
    assert copies.named() == (("a", "e", "f", "g", "h"), ("b", "c"))


def test_no_copies_are_no_groups() -> None:
    copies = Copies(ids=("a", "b"), exact=(), near=())
    assert copies.groups == copies.near_groups == copies.named() == ()


# ---------------------------------------------------------------- kept


def test_an_answer_is_kept_under_the_packs_contents(pack: ImagePack, searched: list[int], tmp_path: Path) -> None:
    first = find_copies(pack, cache=tmp_path)
    assert first == Copies(ids=pack.ids, exact=((0, 5),), near=FOUND)
    assert [file.name for file in (tmp_path / "copies").iterdir()] == [f"{pack.key}.json"]
    told: list[int] = []
    assert find_copies(pack, cache=tmp_path, progress=told.append) == first
    assert sum(told) == SEARCH_UNITS * 6
    assert searched == [6]


def test_a_pack_of_other_contents_is_searched(pack: ImagePack, searched: list[int], tmp_path: Path) -> None:
    find_copies(pack, cache=tmp_path)
    find_copies(packed(tmp_path / "other", noise(5, seed=1), [0, 1, 0, 1, 0])[1], cache=tmp_path)
    assert searched == [6, 5]


def test_renamed_images_are_found_under_their_new_names(pack: ImagePack, searched: list[int], tmp_path: Path) -> None:
    find_copies(pack, cache=tmp_path)
    renamed = replace(pack, ids=tuple("abcdef"))
    assert find_copies(renamed, cache=tmp_path).named() == (("a", "f"), ("b", "e"))
    assert searched == [6]


def test_without_a_cache_the_default_one_is_used(
    pack: ImagePack, searched: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENTIGO_CACHE", str(tmp_path / "default"))
    find_copies(pack)
    assert (tmp_path / "default" / "copies" / f"{pack.key}.json").is_file()


PAIR = {"one": 1, "other": 4, "likeness": 0.9, "change": "mirrored"}


@pytest.mark.parametrize(
    "change",
    [
        {"version": VERSION + 1},
        {"exact": [[0, 6]]},  # the pack has six images
        {"exact": [[0, -1]]},
        {"exact": [["first"]]},
        {"exact": None},
        {"near": [PAIR | {"other": 6}]},
        {"near": [PAIR | {"one": -1}]},
        {"near": [PAIR | {"angle": 3}]},
        {"near": [[1, 4]]},
        {"near": 7},
    ],
    ids=str,
)
def test_a_damaged_answer_is_made_again(
    pack: ImagePack, searched: list[int], tmp_path: Path, change: dict[str, Any]
) -> None:
    first = find_copies(pack, cache=tmp_path)
    file = tmp_path / "copies" / f"{pack.key}.json"
    good = file.read_bytes()
    file.write_text(json.dumps(json.loads(good) | change))
    assert find_copies(pack, cache=tmp_path) == first
    assert file.read_bytes() == good
    assert searched == [6, 6]


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"version": 1}', b"\xff\xfe", b'{"version": 1, "near": ['])
def test_a_file_that_is_no_answer_is_made_again(
    pack: ImagePack, searched: list[int], tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "copies" / f"{pack.key}.json"
    file.parent.mkdir()
    file.write_bytes(content)
    assert find_copies(pack, cache=tmp_path).near == FOUND
    assert json.loads(file.read_bytes())["near"] == [PAIR]


# ---------------------------------------------------------------- between two packs


@pytest.fixture(scope="module")
def two_packs(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImagePack, ImagePack]:
    """Twelve drawn lesions, and eight of which the first three are copies: as it is, mirrored, darker."""
    folder, size_px = tmp_path_factory.mktemp("between"), 128
    ours = np.stack([draw_lesion(3, i, malignant=i % 2 == 1, size_px=size_px).image for i in range(12)])
    theirs = np.stack([draw_lesion(4, i, malignant=i % 2 == 1, size_px=size_px).image for i in range(8)])
    theirs[:3] = ours[5], ours[7][:, ::-1], (ours[9] * 0.8).astype(np.uint8)
    packs = (packed(folder / name, images, [0] * len(images))[1] for name, images in (("a", ours), ("b", theirs)))
    one, other = packs
    return one, other


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The sizes of the packs of each search."""
    sizes: list[tuple[int, int]] = []

    def counted(pack: ImagePack, other: ImagePack, **options: Any) -> tuple[Twins, ...]:
        sizes.append((len(pack), len(other)))
        return twins_between(pack, other, **options)

    monkeypatch.setattr(copies_module, "twins_between", counted)
    return sizes


def test_copies_between_are_searched_for_once(
    two_packs: tuple[ImagePack, ImagePack], compared: list[tuple[int, int]], tmp_path: Path
) -> None:
    told: list[int] = []
    first = find_copies_between(*two_packs, cache=tmp_path, progress=told.append)
    assert [(pair.one, pair.other) for pair in first] == [(5, 0), (7, 1), (9, 2)]
    assert first[1].change == "mirrored"
    assert first == twins_between(*two_packs)
    assert find_copies_between(*two_packs, cache=tmp_path, progress=told.append) == first
    assert sum(told) == 2 * SEARCH_UNITS * 20
    assert compared == [(12, 8)]
    assert len(list((tmp_path / "copies").iterdir())) == 1


def test_copies_between_the_other_way_round_and_of_a_part_are_other_answers(
    two_packs: tuple[ImagePack, ImagePack], compared: list[tuple[int, int]], tmp_path: Path
) -> None:
    one, other = two_packs
    find_copies_between(one, other, cache=tmp_path)
    back = find_copies_between(other, one, cache=tmp_path)
    assert [(pair.one, pair.other) for pair in back] == [(0, 5), (1, 7), (2, 9)]
    part = find_copies_between(one.subset([9, 7, 0, 1, 2, 3]), other, cache=tmp_path)
    assert [(pair.one, pair.other) for pair in part] == [(0, 2), (1, 1)]
    assert compared == [(12, 8), (8, 12), (6, 8)]


@pytest.mark.parametrize(
    "change",
    [
        {"version": VERSION + 1},
        {"pairs": None},
        {"pairs": [PAIR | {"one": 12}]},  # the packs have twelve and eight images
        {"pairs": [PAIR | {"other": 8}]},
        {"pairs": [PAIR | {"other": -1}]},
        {"pairs": [PAIR | {"angle": 3}]},
        {"pairs": [[1, 4]]},
        {"pairs": [PAIR | {"one": "first"}]},
    ],
    ids=str,
)
def test_a_damaged_answer_between_is_made_anew(
    two_packs: tuple[ImagePack, ImagePack], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, Any]
) -> None:
    monkeypatch.setattr(copies_module, "twins_between", lambda *_, **__: FOUND)
    assert find_copies_between(*two_packs, cache=tmp_path) == FOUND
    (file,) = (tmp_path / "copies").iterdir()
    good = file.read_bytes()
    file.write_text(json.dumps(json.loads(good) | change))
    assert find_copies_between(*two_packs, cache=tmp_path) == FOUND
    assert file.read_bytes() == good
    file.write_bytes(good[:-9])
    assert find_copies_between(*two_packs, cache=tmp_path) == FOUND
    assert file.read_bytes() == good


# ---------------------------------------------------------------- splits


@pytest.fixture
def many(tmp_path: Path) -> ImageTable:
    """Forty pictures with a file among them that is broken."""
    table, _ = packed(tmp_path, noise(40), [0, 1] * 20)
    table.rows[7].path.write_bytes(b"broken")
    return table


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


def test_grouped_keeps_copies_on_one_side(many: ImageTable, searched: list[int], tmp_path: Path) -> None:
    config, bars = SplitConfig(protocol="grouped", seed=1), Bars()
    split = split_apart(many, config, cache=tmp_path, bar=bars)
    assert split == make_split(many, config, twins=[[many.ids[1], many.ids[4]]])
    apart = [
        seed
        for seed in range(20)
        if (part := make_split(many, SplitConfig(protocol="grouped", seed=seed)).part)[many.ids[1]] != part[many.ids[4]]
    ]
    assert apart  # it does part them where it does not know
    for seed in apart:
        part = split_apart(many, SplitConfig(protocol="grouped", seed=seed), cache=tmp_path).part
        assert part[many.ids[1]] == part[many.ids[4]]
    assert bars.told == {"decoding images": [40, 40], "looking for copies": [SEARCH_UNITS * 39] * 2}
    assert searched == [39]  # once, without the broken file
    assert split.part[many.ids[7]] in ("train", "validation", "test")  # it is for others to refuse


@pytest.mark.parametrize("protocol", ["stratified", "folders"])
def test_a_protocol_that_ignores_copies_reads_no_image(
    many: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    def refuse(*_args: Any, **_options: Any) -> None:
        raise AssertionError("nothing should be decoded or searched")

    for name in ("find_copies", "pack_readable", "near_twins"):
        monkeypatch.setattr(copies_module, name, refuse)
    config, bars = SplitConfig(protocol=protocol, seed=2), Bars()
    cells = np.where(np.arange(40) % 5 == 0, "test", "train").tolist()
    rows = tuple(replace(row, split=cell) for row, cell in zip(many.rows, cells, strict=True))
    table = replace(many, rows=rows)
    assert split_apart(table, config, cache=tmp_path / "unused", bar=bars) == make_split(table, config)
    assert bars.told == {}
    assert not (tmp_path / "unused").exists()


def test_copies_are_looked_for_at_one_size(many: ImageTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a network sees, so that audit and split agree."""
    sizes: list[int] = []

    def near_twins(pack: ImagePack, **_options: Any) -> tuple[Twins, ...]:
        sizes.append(pack.image_px)
        return ()

    monkeypatch.setattr(copies_module, "near_twins", near_twins)
    split_apart(many, SplitConfig(protocol="grouped"), cache=tmp_path)
    assert sizes == [AUDIT_PX] == [300]


def test_blank_pictures_of_two_data_sets_are_no_copies(tmp_path: Path) -> None:
    grey = np.random.default_rng(7).integers(125, 132, (1, 48, 48, 3), dtype=np.uint8)  # as good as blank
    pictures = [noise(4), noise(4)]
    one, other = (
        packed(tmp_path / name, np.concatenate((images, grey)), [0, 1, 0, 1, 0])[1]
        for name, images in zip("ab", pictures, strict=True)
    )
    found = find_copies_between(one, other, cache=tmp_path)
    assert {(pair.one, pair.other) for pair in found} == {(place, place) for place in range(4)}

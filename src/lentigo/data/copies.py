"""The copies of a data set, found once and kept: exact and near duplicates in groups, and splits that heed them.

In: a pack. Out: groups of positions, also in `CACHE/copies/<key>.json`, named by the pack's contents: the search takes
a minute for ten thousand images, and audit, split and comparison ask for the same answer.
"""

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from lentigo.config import SplitConfig
from lentigo.data.duplicates import SEARCH_UNITS, VERSION, Twins, exact_groups, near_twins, twins_between
from lentigo.data.groups import joined
from lentigo.data.inspection import blank_images
from lentigo.data.pack import ImagePack, default_cache, pack_readable
from lentigo.data.split import Split, make_split, uses_twins
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.files import read_json, write_json

AUDIT_PX = 300  # height and width at which copies are looked for, whatever a network sees: one data set, one answer
Bar: TypeAlias = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Which images of a pack are one photograph."""

    ids: tuple[str, ...]  # of the pack's images
    exact: tuple[tuple[int, ...], ...]  # groups with the same packed pixels, by position
    near: tuple[Twins, ...]  # pairs; of an exact group only the first image takes part

    @property
    def near_groups(self) -> tuple[tuple[int, ...], ...]:
        """Groups that near pairs connect, with the exact copies of their images."""
        near = {index for pair in self.near for index in (pair.one, pair.other)}
        return tuple(group for group in self.groups if near & set(group))

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """All groups, exact or near, of two images or more."""
        links: list[Sequence[int]] = [*self.exact, *((pair.one, pair.other) for pair in self.near)]
        return tuple(tuple(group) for group in joined(len(self.ids), links))

    def named(self) -> tuple[tuple[str, ...], ...]:
        """All groups, by image id."""
        return tuple(tuple(self.ids[index] for index in group) for group in self.groups)


def find_copies(pack: ImagePack, *, cache: Path | None = None, progress: Callable[[int], None] | None = None) -> Copies:
    """Exact and near duplicates among a pack's images, searched for unless an earlier call has.

    Args:
        cache: as for packs; None: `default_cache()`.
        progress: called with units done since the last call; `SEARCH_UNITS` an image in all.
    Raises: DataError: the pack is damaged, or the disk is full.
    """
    path = (cache or default_cache()) / "copies" / f"{pack.key}.json"
    if (kept := _kept(path, pack)) is not None:
        if progress:
            progress(SEARCH_UNITS * len(pack))
        return kept
    blank = set(blank_images(pack))  # all alike, and photographs of nothing: no copies

    def shown(index: int) -> bool:
        return pack.ids[index] not in blank

    exact = tuple(tuple(group) for group in exact_groups(pack) if shown(group[0]))
    found = near_twins(pack, progress=progress)
    copies = Copies(ids=pack.ids, exact=exact, near=tuple(p for p in found if shown(p.one) and shown(p.other)))
    write_json(path, {"version": VERSION, "exact": exact, "near": [asdict(pair) for pair in copies.near]})
    return copies


def find_copies_between(
    pack: ImagePack, other: ImagePack, *, cache: Path | None = None, progress: Callable[[int], None] | None = None
) -> tuple[Twins, ...]:
    """Pairs of an image of `pack` and an image of `other` that are one photograph, searched for unless they have been.

    Args:
        cache: see `find_copies`.
        progress: called with units done since the last call; `SEARCH_UNITS` an image of both in all.
    Raises: DataError: a pack is damaged, or the disk is full.
    """
    path = (cache or default_cache()) / "copies" / f"{pack.key[:32]}-{other.key[:32]}.json"
    with contextlib.suppress(DataError, KeyError, TypeError, ValueError):  # none yet, or damaged: it is made
        about = read_json(path)
        kept = tuple(Twins(**pair) for pair in about["pairs"])
        inside = all(0 <= pair.one < len(pack) and 0 <= pair.other < len(other) for pair in kept)
        if about["version"] == VERSION and inside:
            if progress:
                progress(SEARCH_UNITS * (len(pack) + len(other)))
            return kept
    blank, theirs = set(blank_images(pack)), set(blank_images(other))  # all alike, and photographs of nothing
    found = tuple(
        pair
        for pair in twins_between(pack, other, progress=progress)
        if pack.ids[pair.one] not in blank and other.ids[pair.other] not in theirs
    )
    write_json(path, {"version": VERSION, "pairs": [asdict(pair) for pair in found]})
    return found


def split_apart(table: ImageTable, config: SplitConfig, *, cache: Path | None = None, bar: Bar | None = None) -> Split:
    """`make_split` with the copies of the data kept on one side where its protocol heeds them.

    Args:
        bar: shows progress: a text and a total to a context that takes the number done.
    Raises: DataError: as `make_split`, `pack_readable` and `find_copies`.
    """
    bar = bar or silent
    if not uses_twins(config.protocol):
        return make_split(table, config)
    with bar("decoding images", len(table)) as told:
        pack = pack_readable(table, image_px=AUDIT_PX, cache=cache, progress=told).pack
    with bar("looking for copies", SEARCH_UNITS * len(pack)) as told:
        copies = find_copies(pack, cache=cache, progress=told)
    return make_split(table, config, twins=copies.named())


def silent(_text: str, _total: int) -> AbstractContextManager[Callable[[int], None]]:
    """A bar that shows nothing."""
    return contextlib.nullcontext(lambda _: None)


def _kept(path: Path, pack: ImagePack) -> Copies | None:
    """The answer of an earlier call; None where there is none, or it is damaged or of another version."""
    try:
        about = read_json(path)
        near = tuple(Twins(**pair) for pair in about["near"])
        exact = tuple(tuple(int(index) for index in group) for group in about["exact"])
        groups = [*exact, *((pair.one, pair.other) for pair in near)]
        inside = all(0 <= index < len(pack) for group in groups for index in group)
        if about["version"] != VERSION or not inside:
            return None
        return Copies(ids=pack.ids, exact=exact, near=near)
    except (DataError, KeyError, TypeError, ValueError):
        return None

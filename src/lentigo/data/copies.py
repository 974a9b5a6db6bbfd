"""The copies of a data set, found once and kept: exact and near duplicates in groups.

In: a pack. Out: groups of positions, also in `CACHE/copies/<key>.json`, named by the pack's contents: the search takes
a minute for ten thousand images, and audit, split and comparison ask for the same answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lentigo.data.duplicates import SEARCH_UNITS, VERSION, Twins, exact_groups, joined, near_twins
from lentigo.data.pack import ImagePack, default_cache
from lentigo.errors import DataError
from lentigo.files import read_json, write_json


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
    exact = tuple(tuple(group) for group in exact_groups(pack))
    copies = Copies(ids=pack.ids, exact=exact, near=near_twins(pack, progress=progress))
    write_json(path, {"version": VERSION, "exact": exact, "near": [asdict(pair) for pair in copies.near]})
    return copies


def _kept(path: Path, pack: ImagePack) -> Copies | None:
    """The answer of an earlier call; None where there is none, or it is damaged or of another version."""
    try:
        about = read_json(path)
        near = tuple(Twins(**pair) for pair in about["near"])
        exact = tuple(tuple(int(index) for index in group) for group in about["exact"])
        inside = all(0 <= index < len(pack) for pair in near for index in (pair.one, pair.other))
        if about["version"] != VERSION or not inside:
            return None
        return Copies(ids=pack.ids, exact=exact, near=near)
    except (DataError, KeyError, TypeError, ValueError):
        return None

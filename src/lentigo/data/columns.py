"""What a table says of its images, as columns for `evidence`: subgroups, and which images depend on each other."""

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lentigo.data.copies import Bar, silent
from lentigo.data.pack import ImagePack, default_cache
from lentigo.data.skin_tone import TONES, skin_tones
from lentigo.data.split import groups_of
from lentigo.data.subgroup_columns import names_tones, ordered_names, subgroup_columns
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.evidence.assessment import Columns
from lentigo.files import read_json, sha256_of, write_json

_VERSION = 1  # of the estimate of skin tones; another one makes earlier files void


def columns_of(
    table: ImageTable, pack: ImagePack | None = None, *, cache: Path | None = None, bar: Bar | None = None
) -> tuple[Columns, bool]:
    """The subgroups of a table's images, and whether their skin tones were estimated from the pixels.

    Args:
        pack: of the table's images; None, or a table that knows skin tones: nothing is estimated.
        cache: where estimates are kept; None: `pack.default_cache()`.
        bar: shows progress: a text and a total to a context that takes the number done.
    Raises: DataError: the pack is damaged, or the disk is full.
    """
    tones = None
    if pack is not None and not names_tones(table):
        with (bar or silent)("estimating skin tones", len(table)) as told:
            tones = find_skin_tones(table, pack, cache=cache, progress=told)
    names = subgroup_columns(table, skin_tones=tones)
    orders = {column: ordered_names(found) for column, found in names.items()}
    groups = np.array(groups_of(table), dtype=np.int64)
    return Columns(names=names, orders=orders, groups=groups), tones is not None and any(tones)


def find_skin_tones(
    table: ImageTable, pack: ImagePack, *, cache: Path | None = None, progress: Callable[[int], None] | None = None
) -> list[str]:
    """`skin_tone.skin_tones`, from `CACHE/skin_tones/KEY.json` where an earlier call has estimated them.

    Raises: DataError: the pack is damaged, or the disk is full.
    """
    masks = [sha256_of(Path(row.mask)) if row.mask else "" for row in table.rows]
    key = hashlib.sha256("\n".join([pack.key, *masks]).encode()).hexdigest()
    path = (cache or default_cache()) / "skin_tones" / f"{key}.json"
    with contextlib.suppress(DataError, KeyError, TypeError):  # none yet, or damaged: they are estimated
        about = read_json(path)
        kept = [str(tone) for tone in about["tones"]]
        if about["version"] == _VERSION and len(kept) == len(table) and set(kept) <= {"", *TONES}:
            if progress:
                progress(len(table))
            return kept
    found = skin_tones(table, pack, progress=progress)
    write_json(path, {"version": _VERSION, "tones": found})
    return found

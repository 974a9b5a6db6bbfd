"""Splits: which images train, validate and test. Pure functions of table, seed and counts.

A split is a mapping from image id to one of train, validation, test, exclude; on disk it is `split.csv`
(columns image, split), which a person may edit and hand back.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from lentigo.config import SplitConfig
from lentigo.data.table import LABEL_NAMES, PARTS, ImageTable
from lentigo.errors import DataError
from lentigo.files import read_numbered_csv, write_csv

ALLOWED = (*PARTS, "exclude")
# The paper, section 4.1: (benign, malignant) of each part; what is left of the 10,605 images trains.
PAPER_TOTAL = (5500, 5105)
PAPER_TEST = (1000, 1000)
PAPER_VALIDATION = (468, 392)


@dataclass(frozen=True)
class Split:
    """The part of every image, by id."""

    part: dict[str, str]

    def indices(self, table: ImageTable, part: str) -> Int64[np.ndarray, " image"]:
        """Positions in the table of the images of one part, in the table's order."""
        return np.array([index for index, name in enumerate(table.ids) if self.part[name] == part], dtype=np.int64)

    def counts(self, table: ImageTable) -> dict[str, dict[str, int]]:
        """For each part the number of images of each class."""
        found = Counter((self.part[row.id], row.label) for row in table.rows)
        return {part: {name: found[part, label] for label, name in enumerate(LABEL_NAMES)} for part in ALLOWED}

    def write(self, path: Path) -> None:
        write_csv(path, ("image", "split"), sorted(self.part.items()))


def read_split(path: Path, table: ImageTable) -> Split:
    """Read a split made by lentigo or by a person, and check it against the table.

    Raises: DataError: unknown image or part, an image twice or left out, a part without both classes.
    """
    lines = read_numbered_csv(path)
    if not lines or not {"image", "split"} <= set(lines[0][1]):
        raise DataError(f"{path} has no lines with the columns image and split; write it with `lentigo split`")
    part: dict[str, str] = {}
    known = set(table.ids)
    for number, line in lines:
        if line["image"] not in known:
            raise DataError(f"{path} line {number}: no image {line['image']!r} in {table.root}; delete the line")
        if line["image"] in part:
            raise DataError(f"{path} line {number}: {line['image']} stands twice; keep one of the lines")
        if line["split"] not in ALLOWED:
            raise DataError(f"{path} line {number}: split is {line['split']!r}; allowed are {', '.join(ALLOWED)}")
        part[line["image"]] = line["split"]
    if left_out := sorted(known - set(part)):
        raise DataError(
            f"{path} leaves out {len(left_out)} images, first {left_out[0]}; to drop one, give it the split exclude"
        )
    return _checked(Split(part), table, str(path))


def make_split(table: ImageTable, config: SplitConfig) -> Split:
    """The split that a [split] table asks for; the order of the table's rows changes nothing.

    Raises: DataError: the table cannot be split in that way; the message says why.
    """
    table = table.subset(sorted(range(len(table)), key=table.ids.__getitem__))
    rng = np.random.default_rng(np.random.SeedSequence((config.seed, 0x5917)))
    if config.protocol == "paper":
        _check_paper(table)
        parts = _by_counts(table, PAPER_TEST, PAPER_VALIDATION, rng)
    elif config.protocol == "paper-grouped":
        _check_paper(table)
        parts = _by_groups(table, PAPER_TEST, PAPER_VALIDATION, rng)
    elif config.protocol == "folders":
        parts = _by_folders(table, config.validation_fraction, rng)
    else:
        counts = [int(n) for n in np.bincount(table.labels, minlength=2)]
        test = _shares(counts, config.test_fraction)
        rest = [total - taken for total, taken in zip(counts, test, strict=True)]
        split_by = _by_groups if config.protocol == "grouped" else _by_counts
        parts = split_by(table, test, _shares(rest, config.validation_fraction), rng)
    return _checked(Split(dict(zip(table.ids, parts, strict=True))), table, f"protocol {config.protocol}")


def groups_of(table: ImageTable) -> list[int]:
    """A group number for every image: images that share a known lesion or patient, directly or in a chain, share it.

    Groups are numbered in the order of their first image; an image of unknown lesion and patient is a group alone.
    """
    parent = list(range(len(table)))
    first: dict[tuple[str, str], int] = {}
    for index, row in enumerate(table.rows):
        for key in (("lesion", row.lesion), ("patient", row.patient)):
            if key[1]:
                _join(parent, index, first.setdefault(key, index))
    roots = [_root(parent, index) for index in range(len(table))]
    number = {root: position for position, root in enumerate(dict.fromkeys(roots))}
    return [number[root] for root in roots]


def _by_counts(
    table: ImageTable, test: Sequence[int], validation: Sequence[int], rng: np.random.Generator
) -> list[str]:
    parts = np.full(len(table), "train", dtype=object)
    for label in (0, 1):
        order = rng.permutation(np.flatnonzero(table.labels == label))
        parts[order[: test[label]]] = "test"
        parts[order[test[label] : test[label] + validation[label]]] = "validation"
    return [str(part) for part in parts]


def _by_groups(
    table: ImageTable, test: Sequence[int], validation: Sequence[int], rng: np.random.Generator
) -> list[str]:
    """Deal whole groups, the largest first, so that the groups of one image, mostly many, fill the counts exactly.

    Where every group is of one class, each count is off by less than the largest group of that class.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups_of(table)):
        members[group].append(index)
    labels = table.labels
    missing = {"test": np.array(test), "validation": np.array(validation)}
    missing["train"] = np.bincount(labels, minlength=2) - missing["test"] - missing["validation"]
    shuffled = rng.permutation(np.array(list(members))).tolist()
    parts = [""] * len(table)
    for group in sorted(shuffled, key=lambda number: -len(members[number])):
        holds = np.bincount(labels[members[group]], minlength=2)
        chosen = _part_for(holds, missing, rng)
        missing[chosen] -= holds
        for index in members[group]:
            parts[index] = chosen
    return parts


def _part_for(
    holds: Int64[np.ndarray, "2"], missing: dict[str, Int64[np.ndarray, "2"]], rng: np.random.Generator
) -> str:
    """The part for a group with so many images of each class.

    Drawn with the chances of their missing images among the parts that the group does not overfill; where it overfills
    all, the part that leaves the smallest sum of squares of missing and surplus images.
    """
    held = holds > 0  # a part with too many of the other class still takes this one
    fitting = [part for part, count in missing.items() if (count >= holds)[held].all()]
    if fitting:
        chances = np.array([missing[part][held].sum() for part in fitting])
        return str(rng.choice(fitting, p=chances / chances.sum()))
    return max(missing, key=lambda part: int(missing[part] @ holds))


def _by_folders(table: ImageTable, validation_fraction: float, rng: np.random.Generator) -> list[str]:
    given = table.column("split")
    found = Counter(part or "neither" for part in given)
    if not (found["train"] and found["test"]) or found["neither"]:
        raise DataError(
            f"{table.root}: protocol folders needs every image in train or test, found "
            f"{', '.join(f'{count} in {part}' for part, count in found.items())}; use protocol stratified"
        )
    if found["validation"]:
        return given
    parts = np.array(given, dtype=object)
    for label in (0, 1):
        pool = np.flatnonzero((parts == "train") & (table.labels == label))
        parts[rng.permutation(pool)[: round(validation_fraction * len(pool))]] = "validation"
    return [str(part) for part in parts]


def _shares(counts: Sequence[int], fraction: float) -> list[int]:
    return [round(fraction * count) for count in counts]


def _check_paper(table: ImageTable) -> None:
    found = tuple(int(count) for count in np.bincount(table.labels, minlength=2))
    if found != PAPER_TOTAL:
        raise DataError(
            f"{table.root} holds {found[0]} benign and {found[1]} malignant images; the paper's protocols need its "
            f"{PAPER_TOTAL[0]} and {PAPER_TOTAL[1]}; use protocol stratified, grouped or folders"
        )


def _checked(split: Split, table: ImageTable, name: str) -> Split:
    for part, counts in split.counts(table).items():
        absent = [label for label, count in counts.items() if not count]
        if part != "exclude" and absent:
            raise DataError(
                f"{name}: the {part} part has no {' and no '.join(absent)} image ({counts}); "
                "every part needs both classes: change the fractions or add images"
            )
    return split


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index


def _join(parent: list[int], one: int, other: int) -> None:
    low, high = sorted((_root(parent, one), _root(parent, other)))
    parent[high] = low

"""Splits: which images train, validate and test. Pure functions of table, seed, counts and known duplicates.

A split is a mapping from image id to one of train, validation, test, exclude; on disk it is `split.csv`
(columns image, split), which a person may edit and hand back.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from lentigo.config import SOURCE_PROTOCOLS, SplitConfig
from lentigo.data.groups import numbered
from lentigo.data.table import LABEL_NAMES, PARTS, ImageTable
from lentigo.errors import DataError
from lentigo.files import read_numbered_csv, write_csv

ALLOWED = (*PARTS, "exclude")
# The paper, section 4.1: (benign, malignant) of each part; what is left of the 10,605 images trains.
PAPER_TOTAL = (5500, 5105)
PAPER_TEST = (1000, 1000)
PAPER_VALIDATION = (468, 392)
_MAX_LISTED = 8


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

    @property
    def sha256(self) -> str:
        """A fingerprint of which image has which part."""
        lines = "\n".join(f"{part},{name}" for name, part in sorted(self.part.items()))
        return hashlib.sha256(lines.encode()).hexdigest()

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
            raise DataError(
                f"{path} line {number}: no image {line['image']!r} in {table.root}; restore it, or delete the line"
            )
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


def make_split(table: ImageTable, config: SplitConfig, *, twins: Sequence[Sequence[str]] = ()) -> Split:
    """The split that a [split] table asks for; the order of the table's rows changes nothing.

    Args:
        twins: groups of ids of images that are copies of one another, exact or near. A protocol for which `uses_twins`
            holds keeps them on one side; the others ignore them. Ids that the table does not have are ignored.
    Raises: DataError: the table cannot be split in that way; the message says why.
    """
    table = table.subset(sorted(range(len(table)), key=table.ids.__getitem__))
    rng = np.random.default_rng(np.random.SeedSequence((config.seed, 0x5917)))
    groups = np.array(groups_of(table, twins if uses_twins(config.protocol) else ()), dtype=np.int64)
    settled, wanted = _plan(table, config, groups)
    parts = np.array(settled, dtype=object)
    dealt = np.flatnonzero(parts == "")
    # Where no group has two images, folders goes on dealing as it did before it knew groups.
    one_by_one = config.kind == "folders" and len(np.unique(groups[dealt])) == len(dealt)
    if one_by_one or config.kind in ("paper", "stratified"):
        parts[dealt] = _by_counts(table.labels[dealt], wanted, rng)
    else:
        parts[dealt] = _by_groups(table.labels[dealt], groups[dealt], wanted, rng)
    return _checked(Split(dict(zip(table.ids, parts.tolist(), strict=True))), table, f"protocol {config.protocol}")


def uses_twins(protocol: str) -> bool:
    """Whether `make_split` heeds duplicates under this protocol, so that they should be searched for first."""
    return protocol.partition("=")[0] in ("grouped", "paper-grouped", *SOURCE_PROTOCOLS)


def groups_of(table: ImageTable, twins: Sequence[Sequence[str]] = ()) -> list[int]:
    """A group number for every image: images that share a lesion, a patient or a group of twins, also in a chain.

    Groups are numbered in the order of their first image; an image of unknown lesion and patient that has no twin is a
    group alone.
    """
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, row in enumerate(table.rows):
        for key in (("lesion", row.lesion), ("patient", row.patient)):
            if key[1]:
                alike[key].append(index)
    place = {name: index for index, name in enumerate(table.ids)}
    known = [[place[name] for name in group if name in place] for group in twins]
    return numbered(len(table), [*alike.values(), *known])


def straddling(groups: Sequence[int], split: Split, table: ImageTable) -> list[list[int]]:
    """The groups that stand in more than one of train, validation and test, in the order of their first image.

    Args:
        groups: a group number for every image of the table, as `groups_of` gives it.
    Returns: for each such group the positions in the table of its images, in order, without the excluded ones.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, (name, group) in enumerate(zip(table.ids, groups, strict=True)):
        if split.part[name] != "exclude":
            members[group].append(index)
    return [found for found in members.values() if len({split.part[table.ids[index]] for index in found}) > 1]


def sources_of(table: ImageTable) -> dict[str, tuple[int, int]]:
    """For each known source, in the order of their names, the number of benign and of malignant images."""
    found = Counter((row.source, row.label) for row in table.rows if row.source)
    return {source: (found[source, 0], found[source, 1]) for source in sorted({source for source, _ in found})}


def _plan(
    table: ImageTable, config: SplitConfig, groups: Int64[np.ndarray, " image"]
) -> tuple[list[str], dict[str, list[int]]]:
    """What is settled before anything is drawn.

    Returns: the part of every image, empty where it is still to be dealt; and how many benign and malignant ones of
        these go to test and to validation, the others going to train.
    """
    settled = [""] * len(table)
    if config.kind in ("paper", "paper-grouped"):
        _check_paper(table)
        return settled, {"test": [*PAPER_TEST], "validation": [*PAPER_VALIDATION]}
    if config.kind == "folders":
        settled = _given_parts(table)
    elif config.kind == "hold-out-source":
        settled = _held_out(table, config, groups)
    elif config.kind == "within-source":
        settled = _within(table, config)
    labels = table.labels[[part == "" for part in settled]]
    rest = [int(count) for count in np.bincount(labels, minlength=2)]
    wanted = {}
    if config.kind not in ("folders", "hold-out-source"):  # these have their test images
        wanted["test"] = _shares(rest, config.test_fraction)
        rest = [total - taken for total, taken in zip(rest, wanted["test"], strict=True)]
    return settled, wanted | {"validation": _shares(rest, config.validation_fraction)}


def _given_parts(table: ImageTable) -> list[str]:
    """The data's own parts; without a validation part among them, train is still to be dealt."""
    given = table.column("split")
    found = Counter(part or "neither" for part in given)
    if not (found["train"] and found["test"]) or found["neither"]:
        raise DataError(
            f"{table.root}: protocol folders needs every image in train or test, found "
            f"{', '.join(f'{count} in {part}' for part, count in found.items())}; use protocol stratified"
        )
    return given if found["validation"] else [part if part == "test" else "" for part in given]


def _held_out(table: ImageTable, config: SplitConfig, groups: Int64[np.ndarray, " image"]) -> list[str]:
    """Test for the source's images; exclude for what shares a group with one, or may be of it, its source unknown."""
    in_test = _counts_of(table, config)
    sources = np.array(table.column("source"), dtype=object)
    held = sources == config.source
    out = ~held & (np.isin(groups, groups[held]) | (sources == ""))
    left = [int(count) for count in np.bincount(table.labels[~held & ~out], minlength=2)]
    if not (all(in_test) and all(left)):
        why = f" ({out.sum()} excluded: of unknown source, or in a group with images that test)" if out.any() else ""
        raise DataError(
            f"protocol {config.protocol}: {_told(in_test)} images would test, {_told(left)} would be left to train on"
            f"{why}; both need both classes. {_advice(table, config)}"
        )
    return [str(part) for part in np.where(held, "test", np.where(out, "exclude", ""))]


def _within(table: ImageTable, config: SplitConfig) -> list[str]:
    counts = _counts_of(table, config)
    if not all(counts):
        raise DataError(
            f"protocol {config.protocol}: {config.source} holds {_told(counts)} images; every part needs both classes. "
            + _advice(table, config)
        )
    return ["" if source == config.source else "exclude" for source in table.column("source")]


def _counts_of(table: ImageTable, config: SplitConfig) -> tuple[int, int]:
    """The number of benign and of malignant images of the protocol's source.

    Raises: DataError: the table knows no sources, or not this one.
    """
    sources = sources_of(table)
    if not sources:
        raise DataError(
            f"{table.root} does not say where its images are from, which protocol {config.protocol} needs; "
            "give a table with the column source, or use protocol grouped"
        )
    if config.source not in sources:
        raise DataError(
            f"protocol {config.protocol}: {table.root} has no source {config.source!r}; it has {_listed(sources)}"
        )
    return sources[config.source]


def _advice(table: ImageTable, config: SplitConfig) -> str:
    """What to do where the protocol's source does not do."""
    sources = sources_of(table)
    both = {source: counts for source, counts in sources.items() if all(counts)}
    if not both:
        return (
            f"No source of {table.root} holds both: {_listed(sources)}; "
            "use protocol grouped, and know that its score may tell sources apart, not lesions"
        )
    found = f"Both are found within {_listed(both)}: use within-source={max(both, key=lambda name: min(both[name]))}"
    if config.kind == "within-source":
        return found
    total = np.sum(list(sources.values()), axis=0)
    others = {name: counts for name, counts in both.items() if name != config.source and (total > counts).all()}
    return f"Hold out one of {_listed(others)}" if others else f"No source of {table.root} can be held out. {found}"


def _listed(sources: Mapping[str, Sequence[int]]) -> str:
    shown = [f"{source} ({_told(counts)})" for source, counts in sources.items()]
    return ", ".join(shown[:_MAX_LISTED]) + (f" and {len(shown) - _MAX_LISTED} more" if shown[_MAX_LISTED:] else "")


def _told(counts: Sequence[int]) -> str:
    return " and ".join(f"{count} {name}" for count, name in zip(counts, LABEL_NAMES, strict=True))


def _by_counts(
    labels: Int64[np.ndarray, " image"], wanted: Mapping[str, Sequence[int]], rng: np.random.Generator
) -> list[str]:
    parts = np.full(len(labels), "train", dtype=object)
    for label in (0, 1):
        order = rng.permutation(np.flatnonzero(labels == label))
        for part, counts in wanted.items():
            parts[order[: counts[label]]] = part
            order = order[counts[label] :]
    return [str(part) for part in parts]


def _by_groups(
    labels: Int64[np.ndarray, " image"],
    groups: Int64[np.ndarray, " image"],
    wanted: Mapping[str, Sequence[int]],
    rng: np.random.Generator,
) -> list[str]:
    """Deal whole groups, the largest first, so that the groups of one image, mostly many, fill the counts exactly.

    Where every group is of one class, each count is off by less than the largest group of that class.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, group in enumerate(groups.tolist()):
        members[group].append(index)
    missing = {part: np.array(counts, dtype=np.int64) for part, counts in wanted.items()}
    missing["train"] = np.bincount(labels, minlength=2) - sum(missing.values())
    shuffled = rng.permutation(np.array(list(members))).tolist()
    parts = [""] * len(labels)
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

"""The audit: what would make a score on a data set worthless, found before anyone trains on it.

In: an image table, and optionally a split and another data set. Out: an `Audit` of broken files, copies, leaks between
the parts of the split, one picture with two labels, shortcut probes, the spread of labels over sources, and a verdict;
on disk `audit.json`. No network is trained, and nothing of the data is changed.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from lentigo.data.copies import AUDIT_PX, Bar, Copies, find_copies, find_copies_between, silent
from lentigo.data.duplicates import SEARCH_UNITS, Twins
from lentigo.data.groups import numbered
from lentigo.data.inspection import FileFacts, FileFinding, blank_images, file_findings, inspect_files
from lentigo.data.pack import ImagePack, ReadablePack, pack_readable
from lentigo.data.shortcuts import Probe, run_probes
from lentigo.data.split import Split, groups_of, straddling
from lentigo.data.table import LABEL_NAMES, ImageRow, ImageTable
from lentigo.files import sha256_of, write_json

VERSION = 2


@dataclass(frozen=True, kw_only=True)
class Leak:
    """Images that belong together and stand in different parts of the split."""

    kind: str  # duplicate, lesion or patient
    images: tuple[str, ...]
    parts: tuple[str, ...]  # of each image

    @property
    def reaches_test(self) -> bool:
        return "test" in self.parts


@dataclass(frozen=True, kw_only=True)
class LabelConflict:
    """Copies of one photograph, or photos of one lesion, with two labels."""

    kind: str  # duplicate or lesion
    images: tuple[str, ...]
    labels: tuple[int, ...]  # of each image; 1 = malignant


@dataclass(frozen=True, kw_only=True)
class SourceCount:
    """The images of one source."""

    name: str  # empty: not known
    benign: int
    malignant: int
    test_benign: int
    test_malignant: int

    @property
    def has_both(self) -> bool:
        return bool(self.benign and self.malignant)


@dataclass(frozen=True, kw_only=True)
class Against:
    """Images that are also in another data set."""

    data: str
    n_images: int  # in the other data set
    shared: int  # images of ours that have a copy there
    conflicts: int  # of these, with another label there
    pairs: tuple[tuple[str, str, float, str], ...]  # our id, their id, likeness, what was changed


@dataclass(frozen=True, kw_only=True)
class Audit:
    """Everything that was found in one data set."""

    data: str
    n_images: int  # rows of the table, readable or not
    counts: dict[str, int]  # by class
    split: str  # what the split is called; empty: none was given
    n_test: int
    files: tuple[FileFinding, ...]
    exact_groups: tuple[tuple[str, ...], ...]
    byte_groups: int  # groups of files that are identical to the byte
    near_groups: tuple[tuple[str, ...], ...]
    near_pairs: tuple[Twins, ...]  # by position among the readable images
    leaks: tuple[Leak, ...]
    label_conflicts: tuple[LabelConflict, ...]
    probes: tuple[Probe, ...]
    sources: tuple[SourceCount, ...]  # none where no source is known
    source_accuracy: float  # of calling each image what most training images of its source are, on test; NaN: unknown
    against: Against | None
    fingerprint: str
    readable: ReadablePack  # not in the JSON

    def named(self, name: str) -> Probe | None:
        """The probe of that name; None where it was not made."""
        return next((probe for probe in self.probes if probe.name == name), None)


def audit_data(
    table: ImageTable,
    *,
    split: Split | None = None,
    split_name: str = "",
    against: ImageTable | None = None,
    cache: Path | None = None,
    seed: int = 0,
    bar: Bar | None = None,
) -> Audit:
    """Look at every file, pair, part and probe of a data set.

    Args:
        split: of the table's images; leaks and test scores are of it.
        split_name: what a reader calls it; empty: "given".
        against: another data set, whose copies among ours are looked for.
        seed: of the probes' folds and permutations.
        bar: shows progress: a text and a total to a context that takes the number done.
    Raises: DataError: no image can be read, or the disk is full.
    """
    bar = bar or silent
    with bar("reading files", len(table)) as told:
        facts = inspect_files(table, progress=told)
    with bar("decoding images", len(table)) as told:
        readable = pack_readable(table, image_px=AUDIT_PX, cache=cache, progress=told)
    pack, seen = readable.pack, readable.table
    with bar("looking for copies", SEARCH_UNITS * len(pack)) as told:
        copies = find_copies(pack, cache=cache, progress=told)
    with bar("probing for shortcuts", len(seen)) as told:
        probes = run_probes(
            seen, pack, facts=_of_readable(facts, seen), groups=groups_of(seen, copies.named()), split=split, seed=seed,
            progress=told,
        )  # fmt: skip
    files = file_findings(table, facts, readable.failures, blank_images(pack))
    other = None if against is None else _against(readable, against, cache=cache, bar=bar)
    return Audit(
        data=table.name,
        n_images=len(table),
        counts={name: int((table.labels == label).sum()) for label, name in enumerate(LABEL_NAMES)},
        split="" if split is None else split_name or "given",
        n_test=0 if split is None else len(split.indices(table, "test")),
        files=files,
        exact_groups=_named(pack, copies.exact),
        byte_groups=_byte_groups(copies, {fact.id: fact.sha256 for fact in facts}),
        near_groups=_named(pack, copies.near_groups),
        near_pairs=copies.near,
        leaks=_leaks(seen, copies, split),
        label_conflicts=_label_conflicts(seen, copies),
        probes=probes,
        sources=_sources(table, split),
        source_accuracy=_source_accuracy(table, split),
        against=other,
        fingerprint=fingerprint(table, pack, split),
        readable=readable,
    )


def write_audit(path: Path, audit: Audit, verdict: dict[str, Any]) -> None:
    """Write `audit.json`.

    Raises: DataError: the disk refuses.
    """
    write_json(path, to_dict(audit) | {"verdict": verdict})


def to_dict(audit: Audit) -> dict[str, Any]:
    """The audit as plain values, all but the verdict; ids instead of positions."""
    ids = audit.readable.pack.ids
    return {
        "version": VERSION,
        "fingerprint": audit.fingerprint,
        "data": audit.data,
        "n_images": audit.n_images,
        "counts": audit.counts,
        "split": audit.split,
        "n_test": audit.n_test,
        "unreadable": [asdict(found) for found in audit.files if found.kind == "unreadable"],
        "files": [asdict(found) for found in audit.files if found.kind != "unreadable"],
        "exact_groups": audit.exact_groups,
        "byte_identical_groups": audit.byte_groups,
        "near_groups": audit.near_groups,
        "near_pairs": [
            {"images": [ids[pair.one], ids[pair.other]], "likeness": pair.likeness, "change": pair.change}
            for pair in audit.near_pairs
        ],
        "leaks": [asdict(leak) for leak in audit.leaks],
        "label_conflicts": [asdict(conflict) for conflict in audit.label_conflicts],
        "probes": {probe.name: probe.to_dict() for probe in audit.probes},
        "sources": {
            "counts": [asdict(source) for source in audit.sources],
            "with_both_classes": [source.name for source in audit.sources if source.has_both and source.name],
            "test_accuracy_of_source_alone": audit.source_accuracy,
        },
        "against": None if audit.against is None else asdict(audit.against),
    }


def fingerprint(table: ImageTable, pack: ImagePack, split: Split | None) -> str:
    """SHA-256 of all that an audit depends on: pixels, masks, columns, the split, the audit's version."""
    names = [item.name for item in fields(ImageRow) if item.name not in ("path", "mask")]
    lines = [f"audit {VERSION} {pack.key}"]
    for row in table.rows:
        part = "" if split is None else split.part[row.id]
        mask = _mask_digest(row.mask)
        lines.append("\t".join([part, mask, *(str(getattr(row, name)) for name in names)]))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _mask_digest(path: str) -> str:
    """SHA-256 of a mask file; empty without a mask or where it cannot be read."""
    try:
        return sha256_of(Path(path)) if path else ""
    except OSError:
        return ""


def _of_readable(facts: Sequence[FileFacts], seen: ImageTable) -> list[FileFacts]:
    kept = set(seen.ids)
    return [fact for fact in facts if fact.id in kept]


def _named(pack: ImagePack, groups: Sequence[Sequence[int]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(pack.ids[index] for index in group) for group in groups)


def _byte_groups(copies: Copies, sha256: dict[str, str]) -> int:
    """Files of one content have one set of pixels: how many contents stand twice or more."""
    counts = Counter(sha256[copies.ids[index]] for group in copies.exact for index in group)
    return sum(count > 1 for count in counts.values())


def _leaks(seen: ImageTable, copies: Copies, split: Split | None) -> tuple[Leak, ...]:
    """Of each kind on its own; an image that is a copy and of the same lesion stands in both."""
    if split is None:
        return ()
    found = []
    for kind, groups in _kinds_of_groups(seen, copies):
        for group in straddling(numbered(len(seen), groups), split, seen):
            images = tuple(seen.ids[index] for index in group)
            found.append(Leak(kind=kind, images=images, parts=tuple(split.part[name] for name in images)))
    return tuple(found)


def _label_conflicts(seen: ImageTable, copies: Copies) -> tuple[LabelConflict, ...]:
    found = []
    for kind, groups in _kinds_of_groups(seen, copies)[:2]:  # a patient may well have moles of both kinds
        for group in groups:
            labels = tuple(seen.rows[index].label for index in group)
            if len(set(labels)) > 1:
                images = tuple(seen.ids[index] for index in group)
                found.append(LabelConflict(kind=kind, images=images, labels=labels))
    return tuple(found)


def _kinds_of_groups(seen: ImageTable, copies: Copies) -> list[tuple[str, list[list[int]]]]:
    kinds = [("duplicate", [list(group) for group in copies.groups])]
    for kind in ("lesion", "patient"):
        members: dict[str, list[int]] = {}
        for index, value in enumerate(seen.column(kind)):
            if value:
                members.setdefault(value, []).append(index)
        kinds.append((kind, [group for group in members.values() if len(group) > 1]))
    return kinds


def _sources(table: ImageTable, split: Split | None) -> tuple[SourceCount, ...]:
    used = [row for row in table.rows if split is None or split.part[row.id] != "exclude"]
    if not any(row.source for row in used):
        return ()
    counts: dict[str, list[int]] = {name: [0, 0, 0, 0] for name in sorted({row.source for row in used})}
    for row in used:
        counts[row.source][row.label] += 1
        if split is not None and split.part[row.id] == "test":
            counts[row.source][2 + row.label] += 1
    return tuple(
        SourceCount(name=name, benign=n[0], malignant=n[1], test_benign=n[2], test_malignant=n[3])
        for name, n in counts.items()
    )


def _source_accuracy(table: ImageTable, split: Split | None) -> float:
    """Accuracy on test of the class that most training images of the same source have; a tie counts one half.

    Without a split it is that on all images, of the class that most of them have.
    """
    names = np.array(table.column("source"))
    if not (names != "").any():
        return float("nan")
    parts = np.array(["both" if split is None else split.part[name] for name in table.ids])
    learn, judge = np.isin(parts, ("both", "train")), np.isin(parts, ("both", "test"))
    if not learn.any() or not judge.any():
        return float("nan")
    everywhere = float(table.labels[learn].mean())
    right = 0.0
    for name in set(names[judge].tolist()):
        of_source = names == name
        share = float(table.labels[learn & of_source].mean()) if (learn & of_source).any() else everywhere
        labels = table.labels[judge & of_source]
        right += 0.5 * labels.size if share == 0.5 else float((labels == int(share > 0.5)).sum())
    return right / int(judge.sum())


def _against(readable: ReadablePack, other: ImageTable, *, cache: Path | None, bar: Bar) -> Against:
    with bar(f"decoding {other.name}", len(other)) as told:
        theirs = pack_readable(other, image_px=AUDIT_PX, cache=cache, progress=told)
    total = SEARCH_UNITS * (len(readable.pack) + len(theirs.pack))
    with bar(f"looking for copies in {other.name}", total) as told:
        twins = find_copies_between(readable.pack, theirs.pack, cache=cache, progress=told)
    ours, labels = readable.table, theirs.table.labels
    return Against(
        data=other.name,
        n_images=len(other),
        shared=len({pair.one for pair in twins}),
        conflicts=len({pair.one for pair in twins if ours.rows[pair.one].label != labels[pair.other]}),
        pairs=tuple((ours.ids[pair.one], theirs.table.ids[pair.other], pair.likeness, pair.change) for pair in twins),
    )

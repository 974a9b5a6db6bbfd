"""What an audit's findings mean for a reader: sentences in order of weight, and one verdict. In: an `Audit`."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lentigo.data.audit import Audit, Leak
from lentigo.data.beside import PIXEL_PROBES
from lentigo.data.probe_words import MATTERS, NO_LESION
from lentigo.data.shortcuts import Probe
from lentigo.data.table import ImageRow

SEVERITIES = ("serious", "warning", "note")
STRONG = 0.65  # the lower bound of a shortcut's AUC above which any score on the data is in doubt
# Probes that stand for what a network sees without the lesion, or for how the data were put together. The other columns
# (age, sex, site) may well belong to the disease.
DOUBT = (*PIXEL_PROBES, "file_header", "source")
_FILES = {
    "wrong_suffix": "have a name that claims another format than the file's",
    "odd_size": "have an unusual size or shape",
    "odd_mode": "are not stored as 8-bit RGB",
    "orientation": "are stored turned or mirrored, with a note to undo it (EXIF orientation)",
    "blank": "are of one colour all over",
}
_BELONG = {
    "duplicate": "a copy of the same photograph",
    "lesion": "another photo of the same lesion",
    "patient": "a photo of the same patient",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a reader of scores on these data must know."""

    severity: str  # one of SEVERITIES
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What all findings come to."""

    level: str  # the gravest severity, "note" where nothing worse was found
    sentence: str
    findings: tuple[Finding, ...]  # the gravest first

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return {"level": self.level, "sentence": self.sentence, "findings": [asdict(item) for item in self.findings]}


def verdict_on(audit: Audit) -> Verdict:
    """The findings of an audit in order of weight, and what they come to."""
    parts = (_shortcuts, _sources, _leaks, _conflicts, _files, _copies, _against)
    found = [finding for part in parts for finding in part(audit)]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    level = found[0].severity if found else "note"
    return Verdict(level=level, sentence=_sentence(audit, level, found), findings=tuple(found))


def _sentence(audit: Audit, level: str, found: list[Finding]) -> str:
    kinds = {finding.kind for finding in found if finding.severity == "serious"}
    if "shortcut" in kinds:
        strongest = max((p for p in audit.probes if _in_doubt(p)), key=lambda p: p.low)
        looking = "with next to nothing of one in view" if strongest.lesion_share > NO_LESION else "without one in view"
        return (
            f"A score on these data is no evidence about moles by itself: an AUC of {strongest.auc:.2f} can be had "
            f"{looking} ({strongest.title.lower()})."
        )
    if "file" in kinds:
        return "Too few images can be read to say anything of a score on these data."
    if "leak" in kinds:
        return "A score on these data is too good by what the test images share with the training images."
    if level != "serious" and any(finding.kind == "unprobed" for finding in found):
        return "No shortcut could be looked for, so this audit cannot say what a score on these data is worth."
    return {
        "serious": "A score on these data rests on labels that contradict each other.",
        "warning": "Nothing was found that makes a score worthless; the warnings should be read first.",
        "note": "Nothing was found that would make a score on these data worthless. What was not looked for may still "
        "be there.",
    }[level]


def _in_doubt(probe: Probe) -> bool:
    """Whether the probe alone puts any score in doubt."""
    return probe.called and probe.name in DOUBT and probe.low > STRONG


def _shortcuts(audit: Audit) -> Iterator[Finding]:
    for probe in audit.probes:
        likely = probe.low > MATTERS and not probe.sees_lesion  # if not beyond doubt
        if probe.called or likely:
            severity = "note" if probe.sees_lesion else "serious" if _in_doubt(probe) else "warning"
            yield Finding(severity=severity, kind="shortcut", text=f"{probe.title}. {probe.meaning}")
    around = [probe for probe in audit.probes if probe.name in PIXEL_PROBES]
    if around and all(probe.not_run for probe in around):
        text = f"Shortcuts. Nothing could be probed: {around[0].not_run}."
        yield Finding(severity="warning", kind="unprobed", text=text)


def _sources(audit: Audit) -> Iterator[Finding]:
    if not audit.sources:
        return
    both = [source.name for source in audit.sources if source.has_both and source.name]
    alone = "" if math.isnan(audit.source_accuracy) else f"{audit.source_accuracy:.3f}"
    one_class = [source.name or "unknown" for source in audit.sources if not source.has_both]
    if one_class:
        where = "on the test images" if audit.split else "on all images"
        knows = f"; knowing the source alone is right in {alone} of the cases {where}" if alone else ""
        believe = (
            f"a score across sources is a score on sources, and only within {' or '.join(both)} can it be about moles, "
            "where it is clearly above the probes'"
            if both
            else "no source holds both, so no score here can be about moles"
        )
        yield Finding(
            severity="warning",
            kind="source",
            text=f"Sources. {', '.join(one_class)} {'holds' if len(one_class) == 1 else 'hold'} one class only{knows}: "
            f"{believe}.",
        )


def _leaks(audit: Audit) -> Iterator[Finding]:
    if not audit.split:
        text = "Leaks. No split was given and the data has none of its own, so nothing was compared across parts."
        rows = audit.readable.table.rows
        if any(sum(count > 1 for count in Counter(map(of, rows)).values()) for of in (_lesion, _patient)):
            text += " Images share lesions or patients: deal them with --protocol grouped."
        yield Finding(severity="note", kind="leak", text=text)
    for kind, words in _BELONG.items():
        groups = [leak for leak in audit.leaks if leak.kind == kind]
        for severity, chosen in (("serious", _test_leaks(groups)), ("warning", _other_leaks(groups))):
            if not chosen:
                continue
            if severity == "serious":
                count = sum(part == "test" for leak in chosen for part in leak.parts)
                text = (
                    f"{_images(count, 'test image')} of {audit.n_test:,} {_have(count)} {words} outside the test part"
                )
            else:
                count = sum(part == "validation" for leak in chosen for part in leak.parts)
                text = f"{_images(count, 'validation image')} {_have(count)} {words} among the training images"
            yield Finding(severity=severity, kind="leak", text=f"Leaks. {text}.")


def _lesion(row: ImageRow) -> str:
    return row.lesion or row.id


def _patient(row: ImageRow) -> str:
    return row.patient or row.id


def _test_leaks(leaks: list[Leak]) -> list[Leak]:
    return [leak for leak in leaks if leak.reaches_test]


def _other_leaks(leaks: list[Leak]) -> list[Leak]:
    return [leak for leak in leaks if not leak.reaches_test]


def _conflicts(audit: Audit) -> Iterator[Finding]:
    for kind, words in (("duplicate", "one photograph"), ("lesion", "one lesion")):
        groups = [conflict for conflict in audit.label_conflicts if conflict.kind == kind]
        if groups:
            many = f"{len(groups)} groups of images are" if len(groups) > 1 else "1 group of images is"
            first = " and ".join(groups[0].images[groups[0].labels.index(label)] for label in (0, 1))
            text = f"Labels. {many} of {words} and called both benign and malignant, first {first}."
            yield Finding(severity="serious", kind="label", text=text)


def _files(audit: Audit) -> Iterator[Finding]:
    counts = Counter(finding.kind for finding in audit.files)
    first = {finding.kind: finding.id for finding in reversed(audit.files)}
    if count := counts["unreadable"]:
        text = f"Files. {_images(count, 'image')} cannot be read and took no part in what follows, first "
        one_class = len(set(audit.readable.table.labels.tolist())) < 2
        severity = "serious" if one_class or 2 * count >= audit.n_images else "warning"
        yield Finding(severity=severity, kind="file", text=text + f"{first['unreadable']}.")
    for kind, words in _FILES.items():
        if count := counts[kind]:
            verb = words if count > 1 else _singular(words)
            text = f"Files. {_images(count, 'image')} {verb}, first {first[kind]}."
            yield Finding(severity="warning", kind="file", text=text)


def _copies(audit: Audit) -> Iterator[Finding]:
    exact = sum(len(group) - 1 for group in audit.exact_groups)
    near = sum(len(group) for group in audit.near_groups)
    if exact or near:
        text = (
            f"Copies. {_images(exact, 'image')} {'repeats' if exact == 1 else 'repeat'} the pixels of another one; "
            f"{_images(near, 'image')} stand in {_images(len(audit.near_groups), 'group')} of near copies (encoded "
            "anew, cut, turned, or photographed a second time)."
        )
        yield Finding(severity="note", kind="copy", text=text)


def _against(audit: Audit) -> Iterator[Finding]:
    other = audit.against
    if other is None:
        return
    if not other.shared:
        yield Finding(severity="note", kind="against", text=f"Other data. No image is also in {other.data}.")
        return
    one = other.shared == 1
    text = (
        f"Other data. {_images(other.shared, 'image')} of {audit.n_images:,} {_be(other.shared)} also in {other.data}"
    )
    if other.conflicts:
        text += f", {'' if one else f'{other.conflicts:,} of them '}with another label there"
    text += f": whoever trains on one and tests on the other must leave {'it' if one else 'them'} out."
    yield Finding(severity="warning", kind="against", text=text)


def _images(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _be(count: int) -> str:
    return "is" if count == 1 else "are"


def _singular(words: str) -> str:
    verb, _, rest = words.partition(" ")
    return f"{'has' if verb == 'have' else 'is'} {rest}"

"""Numbers and findings of an audit as text for its page. Every sentence is computed from the audit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lentigo.data.audit import Audit
from lentigo.data.inspection import KINDS
from lentigo.data.probe_words import MATTERS, SIGNIFICANT
from lentigo.data.shortcuts import Probe
from lentigo.data.verdict import Verdict

# A sign and a word each, so that colour is not needed.
SEVERITY_WORDS = {"serious": "■ Serious", "warning": "▲ Warning", "note": "● Note"}
LEVEL_WORDS = SEVERITY_WORDS | {"note": "● Nothing serious found"}
FILE_WORDS = {
    "unreadable": "Cannot be read",
    "wrong_suffix": "Of another format than the name says",
    "odd_size": "Of unusual size or shape",
    "odd_mode": "Not stored as 8-bit RGB",
    "orientation": "Stored turned or mirrored (EXIF)",
    "blank": "Of one colour all over",
}
BELONG_WORDS = {"duplicate": "one photograph", "lesion": "one lesion", "patient": "one patient"}
CALLED = (
    f"A probe is called when its whole 95 % interval lies above {MATTERS:g} and its p value below {SIGNIFICANT:g}: the "
    "chance of doing as well with shuffled labels, allowing for the number of probes (Holm)."
)


@dataclass(frozen=True)
class KeyNumber:
    """A row of the small table beside the verdict."""

    what: str
    value: str
    aside: str = ""


def key_numbers(audit: Audit) -> list[KeyNumber]:
    """The numbers to know first."""
    unreadable = sum(found.kind == "unreadable" for found in audit.files)
    classes = ", ".join(f"{count:,} {name}" for name, count in audit.counts.items())
    in_bytes = f"{audit.byte_groups:,} of identical files" if audit.exact_groups else ""
    leaked = leaked_test_images(audit)
    of_test = f"of {audit.n_test:,} have a relative outside the test part"
    strongest = strongest_shortcut(audit)
    return [
        KeyNumber("Images", f"{audit.n_images:,}", classes),
        KeyNumber("Split", audit.split, f"{audit.n_test:,} test images") if audit.split else KeyNumber("Split", "none"),
        KeyNumber("Cannot be read", f"{unreadable:,}"),
        KeyNumber("Exact copies", _groups(len(audit.exact_groups)), in_bytes),
        KeyNumber("Near copies", _groups(len(audit.near_groups))),
        KeyNumber("Leaks into test", f"{leaked:,}", of_test)
        if audit.split
        else KeyNumber("Leaks into test", "no split"),
        KeyNumber("Two labels", _groups(len(audit.label_conflicts))),
        KeyNumber("Strongest shortcut", "none called")
        if strongest is None
        else KeyNumber("Strongest shortcut", f"AUC {strongest.auc:.2f}", strongest.title),
    ]


def strongest_shortcut(audit: Audit) -> Probe | None:
    """The called probe without a lesion in view whose AUC is surely highest: the one that the verdict names."""
    called = [probe for probe in audit.probes if probe.called and not probe.sees_lesion]
    return max(called, key=lambda probe: probe.low, default=None)


def leaked_test_images(audit: Audit) -> int:
    """Test images with a copy, or a photo of the same lesion or patient, in another part; each counted once."""
    pairs = [pair for leak in audit.leaks for pair in zip(leak.images, leak.parts, strict=True)]
    return len({name for name, part in pairs if part == "test"})


def findings_by_severity(verdict: Verdict) -> list[tuple[str, list[tuple[str, str]]]]:
    """For each severity that was found, the gravest first: its findings, cut into what it is about and the rest."""
    groups = []
    for severity in SEVERITY_WORDS:
        texts = [finding.text.partition(". ") for finding in verdict.findings if finding.severity == severity]
        if texts:
            groups.append((severity, [(f"{head}." if rest else "", rest or head) for head, _, rest in texts]))
    return groups


def sources_text(audit: Audit) -> str:
    """What the spread of classes over sources means for a score."""
    if not audit.sources:
        return (
            "The table names no source (archive, clinic or camera), so nothing can be said of where the images come "
            "from. Where that is known, a column “source” in the table lets lentigo look."
        )
    both = [source.name for source in audit.sources if source.has_both and source.name]
    if not both:
        text = "No source holds both classes: to tell the sources apart is to tell the label. No score can be believed."
    elif all(source.has_both for source in audit.sources):
        text = "Every source holds both classes."
    else:
        text = (
            f"Only {_listed(both)} {'holds' if len(both) == 1 else 'hold'} both classes: a score within "
            f"{'it' if len(both) == 1 else 'one of them'} can be about moles, where it is clearly above the probes’; "
            "one across sources cannot."
        )
    return text + _source_alone(audit)


def limits(audit: Audit) -> list[tuple[str, str]]:
    """What the audit does not look for: a heading and a sentence or two each."""
    rows = audit.readable.table.rows
    unknown = [name for name in ("patient", "lesion") if not any(getattr(row, name) for row in rows)]
    again = (
        f" No {' or '.join(unknown)} is named in the table, so that several photos of one {' or '.join(unknown)} are "
        "found only where they are copies of one photograph."
        if unknown
        else ""
    )
    found = [
        (
            "Whether a label is right",
            "Labels are compared among copies and lesions only. A mole that is wrongly called benign throughout is not "
            "noticed.",
        ),
        (
            "Every copy",
            "Found are copies that were encoded anew, resized, squeezed, mirrored, turned, cut by little or lit "
            f"otherwise. A deeper cut, or another photo of the same mole, may be missed.{again}",
        ),
        (
            "Every shortcut",
            "Probes are small models that see a few numbers. Rulers, pen marks, hair, bubbles or sharpness have no "
            "probe of their own. A network may find what no probe finds, and a shortcut that is there need not be the "
            "one that a network takes.",
        ),
        (
            "Other places",
            "AUCs and intervals hold for images of this kind. Whether these are like the images of your clinic, and "
            "show all skin tones and ages, is not asked.",
        ),
        ("A clean bill", "That nothing was found does not show that nothing is there."),
    ]
    if not audit.split:
        found.insert(2, ("Leaks", "No split was given, so nothing was compared across training, validation and test."))
    return found


def file_groups(audit: Audit) -> list[tuple[str, list[tuple[str, str]]]]:
    """For each kind that was found: its words, and the id and message of every file."""
    kinds = dict.fromkeys((*KINDS, *(found.kind for found in audit.files)))
    groups = [
        (FILE_WORDS.get(kind, kind), [(found.id, found.message) for found in audit.files if found.kind == kind])
        for kind in kinds
    ]
    return [group for group in groups if group[1]]


def number_text(value: float) -> str:
    """A score; an undefined one is a dash."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def p_text(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.2g}"


def _source_alone(audit: Audit) -> str:
    if math.isnan(audit.source_accuracy):
        return ""
    where = "test image" if audit.split else "image"
    counts = [
        (source.test_benign, source.test_malignant) if audit.split else (source.benign, source.malignant)
        for source in audit.sources
    ]
    classes = [sum(column) for column in zip(*counts, strict=True)]
    share = max(classes) / sum(classes) if sum(classes) else math.nan
    most = "training images" if audit.split else "images"
    return (
        f" Whoever knows nothing but the source of each {where}, and calls it what most "
        f"{most} of that source are, is right in {number_text(audit.source_accuracy)} "
        f"of cases; whoever calls all of them alike, in {number_text(share)}."
    )


def _groups(count: int) -> str:
    return f"{count:,} group{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

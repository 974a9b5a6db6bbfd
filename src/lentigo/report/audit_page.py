"""The audit as one HTML file that loads nothing: photographs as data URIs, a chart as inline SVG, style inside."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from lentigo.data.audit import Against, Audit, LabelConflict, Leak
from lentigo.data.duplicates import ALIKE
from lentigo.data.shortcuts import Probe
from lentigo.data.table import LABEL_NAMES, PARTS
from lentigo.data.verdict import Verdict
from lentigo.files import write_text
from lentigo.report import audit_copies, audit_figures, audit_words, words
from lentigo.report.pieces import page_environment, photograph
from lentigo.report.probe_pictures import IMAGES_A_CLASS, TAKEN, SeenImage, images_as_seen

MAX_ROWS = 20  # of a table of groups, pairs
MAX_IDS = 4  # of one cell
SEEN_PX = 192
SECTIONS = (
    ("findings", "Findings"),
    ("shortcuts", "Shortcuts"),
    ("seen", "What each probe sees"),
    ("copies", "Copies"),
    ("leaks", "Leaks and labels"),
    ("sources", "Sources"),
    ("files", "Files"),
    ("other", "Another data set"),
    ("limits", "Limits"),
    ("repeat", "Repeat it"),
)


def write_audit_page(
    path: Path, audit: Audit, verdict: Verdict, *, created: str, command: str, versions: Mapping[str, str]
) -> None:
    """Write `audit.html`, whole or not at all. The same input gives the same bytes.

    Raises: DataError: the disk refuses, or the pack is damaged.
    """
    write_text(path, render_audit_page(audit, verdict, created=created, command=command, versions=versions))


def render_audit_page(
    audit: Audit, verdict: Verdict, *, created: str, command: str, versions: Mapping[str, str]
) -> str:
    """The audit as HTML text.

    Args:
        created: when, as a reader writes it.
        command: that repeats the audit.
        versions: by program.
    Raises: DataError: the pack is damaged.
    """
    environment = page_environment()
    environment.filters |= {"number": audit_words.number_text, "p": audit_words.p_text, "path": _path}
    return environment.get_template("audit.html").render(
        audit=audit,
        verdict=verdict,
        created=created,
        command=command,
        versions=versions,
        sections=SECTIONS,
        disclaimer=words.DISCLAIMER,
        severity_words=audit_words.SEVERITY_WORDS,
        level_words=audit_words.LEVEL_WORDS,
        keys=audit_words.key_numbers(audit),
        findings=audit_words.findings_by_severity(verdict),
        limits=audit_words.limits(audit),
        **_probe_view(audit),
        **_seen_view(audit),
        **_copies_view(audit),
        **_table_view(audit),
    )


def _probe_view(audit: Audit) -> dict[str, Any]:
    run = [probe for probe in audit.probes if not probe.not_run]
    groups = (("No lesion in view", False), ("Lesion in view", True))
    tested = any(probe.n_test for probe in run)
    shown = (audit_figures.FOLDS, *((audit_figures.TEST,) if tested else ()))
    return {
        "probe_chart": Markup(audit_figures.probe_chart(run, name="probes")),
        "probe_legend": [
            (Markup(audit_figures.probe_swatch(what, name=f"probe-legend{index}")), what)
            for index, what in enumerate(shown)
        ],
        "probe_groups": [(title, [probe for probe in run if probe.sees_lesion == sees]) for title, sees in groups],
        "not_run": [probe for probe in audit.probes if probe.not_run],
        "tested": tested,
        "within": any(probe.within for probe in run),
        "called": audit_words.CALLED,
        "marks": {probe.name: _mark(probe) for probe in run},
    }


def _mark(probe: Probe) -> str:
    if not probe.called:
        return ""
    return "tells the label" if probe.sees_lesion else "called a shortcut"


def _seen_view(audit: Audit) -> dict[str, Any]:
    images = images_as_seen(audit)
    titles = {probe.name: probe.title for probe in audit.probes}
    views = list(images[0].views) if images else []
    return {
        "seen": [
            (name, [_seen_row(image) for image in images if image.label == at]) for at, name in enumerate(LABEL_NAMES)
        ],
        "views": [(titles[view], TAKEN[view]) for view in views],
        "view_titles": [titles[view] for view in views],
        "images_a_class": IMAGES_A_CLASS,
    }


def _seen_row(image: SeenImage) -> dict[str, Any]:
    pictures = [None if seen is None else photograph(seen, max_px=SEEN_PX) for seen in image.views.values()]
    return {"id": image.id, "photograph": photograph(image.image, max_px=SEEN_PX), "views": pictures}


def _copies_view(audit: Audit) -> dict[str, Any]:
    exact, near = audit_copies.exact_pairs(audit), audit_copies.near_pairs(audit)
    return {
        "exact": exact,
        "near": near,
        "exact_hidden": len(audit.exact_groups) - len(exact),
        "alike": ALIKE,
        "near_hidden": len(audit.near_pairs) - len(near),
    }


def _table_view(audit: Audit) -> dict[str, Any]:
    leaks = sorted(audit.leaks, key=lambda leak: not leak.reaches_test)
    return {
        "leak_rows": [_leak_row(leak) for leak in leaks[:MAX_ROWS]],
        "leaks_hidden": max(0, len(leaks) - MAX_ROWS),
        "conflict_rows": [_conflict_row(conflict) for conflict in audit.label_conflicts[:MAX_ROWS]],
        "conflicts_hidden": max(0, len(audit.label_conflicts) - MAX_ROWS),
        "sources_text": audit_words.sources_text(audit),
        "file_rows": [(kind, len(found), *_capped(found)) for kind, found in audit_words.file_groups(audit)],
        "other_rows": [] if audit.against is None else _other_rows(audit.against),
        "others_hidden": 0 if audit.against is None else max(0, len(audit.against.pairs) - MAX_ROWS),
    }


def _leak_row(leak: Leak) -> dict[str, Any]:
    members = list(zip(leak.images, leak.parts, strict=True))
    cells = [_capped([name for name, part in members if part == wanted]) for wanted in PARTS]
    return {"kind": audit_words.BELONG_WORDS[leak.kind], "serious": leak.reaches_test, "cells": cells}


def _conflict_row(conflict: LabelConflict) -> dict[str, Any]:
    members = list(zip(conflict.images, conflict.labels, strict=True))
    cells = [_capped([name for name, label in members if label == wanted]) for wanted in (0, 1)]
    return {"kind": audit_words.BELONG_WORDS[conflict.kind], "cells": cells}


def _other_rows(against: Against) -> list[tuple[str, str, str, str]]:
    return [(ours, theirs, f"{likeness:.2f}", change) for ours, theirs, likeness, change in against.pairs[:MAX_ROWS]]


def _path(name: str) -> Markup:
    """An image's id, which may be broken into lines after a slash."""
    return Markup("/<wbr>").join(escape(part) for part in name.split("/"))


def _capped(found: Sequence[Any]) -> tuple[Sequence[Any], int]:
    """The first few, and how many more there are."""
    return found[:MAX_IDS], max(0, len(found) - MAX_IDS)

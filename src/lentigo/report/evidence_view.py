"""The evidence as the template shows it: tables of text, charts, sentences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lentigo.data.changes import CHANGES
from lentigo.data.skin_tone import VALIDITY
from lentigo.data.subgroup_columns import ESTIMATED_TONE
from lentigo.evidence.assessment import Assessment
from lentigo.evidence.calibration import Calibration
from lentigo.evidence.comparison import PairComparison, PairedTest
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.evidence.operating_points import PAPER, OperatingPoint, sentence
from lentigo.evidence.subgroups import Subgroups
from lentigo.report import evidence_words as words
from lentigo.report import figures
from lentigo.report.card import Card
from lentigo.report.checklist import Item, counts
from lentigo.report.evidence import Evidence, ExternalSet
from lentigo.report.evidence_figures import ForestRow, decision_curves, forest, reliability_diagram, stress_panels
from lentigo.report.texts import count_text, interval_text, probability_text, score_text

_MARKS = {"answered": "✓ answered", "partly": "◐ partly", "person": "authors", "absent": "✗ not yet"}
_SCORES = {"auc": "AUC", "sensitivity": "Sensitivity", "specificity": "Specificity"}


@dataclass(frozen=True, kw_only=True)
class TestCell:
    """One test of a pair, as text."""

    value: str
    interval: str
    p: str
    apart: bool  # p is below 0.05, corrected
    reason: str


def evidence_view(evidence: Evidence, cards: Sequence[Card], items: Sequence[Item]) -> dict[str, Any]:
    """Everything that the macros of evidence_sections.html ask for."""
    first = next(iter(evidence.assessments.values()))
    return {
        "evidence": evidence,
        "n": first.n,
        "titles": list(evidence.titles.values()),
        "legend": [
            (Markup(figures.line_swatch(figures.model_style(index), name=f"evidence-legend{index}")), title)
            for index, title in enumerate(evidence.titles.values())
        ],
        "prevalence": share_text(evidence.prevalence),
        "test_share": share_text(first.n_malignant / first.n),
        "score_titles": list(figures.SCORE_TITLES.values()),
        **_pairs(evidence),
        **_calibration(evidence),
        **_points(evidence),
        **_subgroups(evidence),
        "externals": [_external(external, evidence) for external in evidence.externals],
        **_stress(evidence),
        "cards": cards,
        "checklists": _checklists(items),
    }


def share_text(share: float) -> str:
    """A share in percent, with as many digits as it needs: 0.01 is 1 %, 0.0025 is 0.25 %."""
    return f"{100 * share:.3g} %"


def short(interval: Interval) -> tuple[str, str]:
    """A value and its bounds, for two lines of a cell."""
    if math.isnan(interval.value):
        return "undefined", ""
    if math.isnan(interval.low):
        return f"{interval.value:.3f}", ""
    return f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"


def _pairs(evidence: Evidence) -> dict[str, Any]:
    by_names = {(pair.a, pair.b): pair for pair in evidence.pairs}

    def cell(row: str, column: str) -> TestCell | None:
        if (row, column) in by_names:
            return _test_cell(by_names[row, column], "auc")
        return _test_cell(by_names[column, row], "auc", turned=True) if (column, row) in by_names else None

    return {
        "pairs": [
            (
                f"{evidence.titles[pair.a]} less {evidence.titles[pair.b]}",
                [_test_cell(pair, score) for score in pair.tests],
            )
            for pair in evidence.pairs
        ],
        "pair_sentences": [words.pair_sentence(pair, evidence) for pair in evidence.pairs],
        "matrix": [
            (title, [cell(row, column) for column in evidence.titles]) for row, title in evidence.titles.items()
        ],
        "seeds": _seeds(evidence),
    }


def _test_cell(pair: PairComparison, score: str, *, turned: bool = False) -> TestCell:
    test: PairedTest = pair.tests[score]
    sign = -1 if turned else 1
    low, high = sorted((sign * test.low, sign * test.high))
    p = pair.adjusted[score]
    known = not math.isnan(test.difference)
    return TestCell(
        value=_signed(sign * test.difference) if known else "undefined",
        interval="" if math.isnan(test.low) else f"{_signed(low)} to {_signed(high)}",
        p=words.p_text(p),
        apart=p < words.LEVEL,
        reason=test.reason,
    )


def _seeds(evidence: Evidence) -> list[tuple[str, str, list[str], bool]]:
    rows = []
    for name, repeats in evidence.repeats.items():
        title = evidence.titles[name]
        for place, seed in enumerate(repeats.seeds):
            rows.append((title, str(seed), [score_text(repeats.scores[key][place]) for key in REPORTED_SCORES], False))
        spread = [f"{score_text(repeats.mean(key))} ± {score_text(repeats.deviation(key))}" for key in REPORTED_SCORES]
        rows.append((title, "mean ± standard deviation", spread, True))
    return rows


def _calibration(evidence: Evidence) -> dict[str, Any]:
    rows = []
    for name, found in evidence.assessments.items():
        title, temperature = evidence.titles[name], found.decisions.temperature
        for what, calibration in (("as given", found.before), (f"at temperature {temperature:.2f}", found.after)):
            if calibration is not None:
                rows.append((title, what, _calibration_cells(calibration)))
    return {
        "reliability": [
            (
                evidence.titles[name],
                Markup(reliability_diagram(found, index, evidence.titles[name], name=f"rel{index}")),
            )
            for index, (name, found) in enumerate(evidence.assessments.items())
        ],
        "calibration_sentences": [
            words.calibration_sentence(evidence.titles[name], found) for name, found in evidence.assessments.items()
        ],
        "calibration_rows": rows,
    }


def _calibration_cells(calibration: Calibration) -> list[tuple[str, str]]:
    parts = calibration.brier_parts
    return [
        *(short(i) for i in (calibration.ece, calibration.slope, calibration.intercept, calibration.brier)),
        *((score_text(part), "") for part in (parts.reliability, parts.resolution, parts.uncertainty)),
    ]


def _points(evidence: Evidence) -> dict[str, Any]:
    tables = []
    for name, found in evidence.assessments.items():
        unchosen = [t for t in found.decisions.thresholds if math.isnan(t.logit)]
        notes = [f"{_capital(t.title)} could not be chosen: {t.reason}." for t in unchosen]
        if found.decisions.n == 0:
            notes.append(f"No other threshold: {found.decisions.reason}.")
        tables.append((evidence.titles[name], [_point_row(point) for point in found.points], notes))
    chart = decision_curves(evidence, name="decision")
    return {
        "points": tables,
        "partial_aucs": [
            (evidence.titles[name], interval_text(found.partial_auc)) for name, found in evidence.assessments.items()
        ],
        "curve_chart": Markup(chart) if chart else "",
    }


def _point_row(point: OperatingPoint) -> dict[str, Any]:
    needed = point.needed_to_biopsy
    biopsies = ("undefined", "") if math.isnan(needed.value) else (
        _number(needed.value), f"{_number(needed.low)} to {_number(needed.high)}"
    )  # fmt: skip
    return {
        "title": _capital(point.threshold.title),
        "at": "as in the paper"
        if point.threshold.name == PAPER
        else f"probability {probability_text(point.threshold.logit)}",
        "cells": [
            *(short(i) for i in (point.sensitivity, point.specificity)),
            _percent(point.ppv),
            _percent(point.npv),
            biopsies,
        ],
        "sentence": sentence(point),
        "reason": _full_stop(point.threshold.reason),
    }


def _percent(interval: Interval) -> tuple[str, str]:
    """A share in percent; near 100 more digits are needed than near 0."""
    if math.isnan(interval.value):
        return "undefined", ""
    return f"{100 * interval.value:.2f} %", f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"


def _number(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.1f}" if value < 100 else count_text(round(value))


def _subgroups(evidence: Evidence) -> dict[str, Any]:
    columns = [subgroups.column for subgroups in next(iter(evidence.assessments.values())).subgroups]
    return {
        "subgroups": [_subgroup(evidence, place, column) for place, column in enumerate(columns)],
        "subgroup_sentences": words.subgroup_sentences(evidence),
    }


def _subgroup(evidence: Evidence, place: int, column: str) -> dict[str, Any]:
    by_model = {name: found.subgroups[place] for name, found in evidence.assessments.items()}
    first = next(iter(by_model.values()))
    rows = []
    for index, score in enumerate(first.scores):
        for name, subgroups in by_model.items():
            mine, is_first = subgroups.scores[index], subgroups is first
            rows.append(
                {
                    "name": score.name if is_first else "",
                    "warning": score.warning if is_first else "",
                    "n": count_text(score.n) if is_first else "",
                    "malignant": count_text(score.n_malignant) if is_first else "",
                    "model": evidence.titles[name],
                    "cells": [interval_text(getattr(mine, key)) for key in _SCORES],
                }
            )
    charts = []
    for key, title in _SCORES.items():
        lines = [
            ForestRow(
                name=f"{score.name} ({count_text(score.n)})",
                intervals=tuple(getattr(subgroups.scores[index], key) for subgroups in by_model.values()),
                faint=score.warning.startswith("too small"),
            )
            for index, score in enumerate(first.scores)
        ]
        if any(not math.isnan(i.value) for line in lines for i in line.intervals):
            reference = 0.5 if key == "auc" else None
            charts.append(Markup(forest(lines, label=title, name=f"group{place}{key}", reference=reference, left=0.5)))
    return {
        "column": column,
        "notes": _subgroup_notes(column, first),
        "charts": charts,
        "rows": rows,
    }


def _subgroup_notes(column: str, subgroups: Subgroups) -> list[str]:
    """What a reader must know of a column before its charts."""
    n, n_malignant = sum(score.n for score in subgroups.scores), sum(score.n_malignant for score in subgroups.scores)
    notes = [VALIDITY] if column == ESTIMATED_TONE else []
    if subgroups.unknown:
        have = "image has" if subgroups.unknown == 1 else "images have"
        notes.append(f"{count_text(subgroups.unknown)} of {count_text(n + subgroups.unknown)} {have} no value here.")
    if n_malignant == n:
        notes.append("All images with a value are malignant, so only the sensitivity can be given.")
    elif not n_malignant:
        notes.append("All images with a value are benign, so only the specificity can be given.")
    return notes


def _external(external: ExternalSet, evidence: Evidence) -> dict[str, Any]:
    rows = []
    thresholds = next(iter(external.assessments.values())).decisions.thresholds
    names = [t.name for t in thresholds]
    for name, there in external.assessments.items():
        for where, found in (("own test images", evidence.assessments[name]), (external.name, there)):
            rows.append(
                {
                    "model": evidence.titles[name] if found is not there else "",
                    "images": f"{where}: {count_text(found.n)}, {count_text(found.n_malignant)} malignant",
                    "cells": _external_cells(found, names),
                }
            )
    return {
        "name": external.name,
        "data": external.data,
        "left_out": words.left_out_sentence(external, evidence),
        "sentences": words.external_sentences(external, evidence),
        "thresholds": [_capital(t.title) for t in thresholds],
        "rows": rows,
    }


def _external_cells(found: Assessment, thresholds: Sequence[str]) -> list[tuple[str, str]]:
    cells = [short(found.scores[key]) for key in ("auc", "accuracy")]
    at = {point.threshold.name: point for point in found.points}
    for name in thresholds:
        point = at.get(name)
        if point is None:
            cells.append(("–", ""))
        else:
            cells.append((score_text(point.sensitivity.value), score_text(1 - point.specificity.value)))
    best = found.after or found.before
    return [*cells, short(UNDEFINED if best is None else best.ece)]


def _stress(evidence: Evidence) -> dict[str, Any]:
    if not evidence.stress:
        return {"stress_panels": [], "stress_rows": []}
    places = {name: place for place, name in enumerate(evidence.titles)}
    ranked = sorted(evidence.stress.items(), key=lambda item: -_or_zero(item[1].result.relative_auc.value))
    rows = []
    for name, kept in ranked:
        result = kept.result
        worst = "–" if result.worst is None else (
            f"{_change_title(result.worst)}: {100 * result.by_change[result.worst].relative_auc:.1f} % left"
        )  # fmt: skip
        left, clean = words.percent_text(result.relative_auc), result.clean_auc
        aucs = score_text(clean), score_text(clean * result.relative_auc.value)
        flips = f"{100 * result.mean_flip_rate:.1f} %"
        rows.append((evidence.titles[name], *aucs, left, flips, worst, kept.images))
    panels = [
        (_change_title(change), _change_what(change), Markup(chart))
        for change, chart in stress_panels(evidence.stress, places, name="stress")
    ]
    return {"stress_panels": panels, "stress_rows": rows}


def _checklists(items: Sequence[Item]) -> list[tuple[str, str, list[Mapping[str, str]]]]:
    found: list[tuple[str, str, list[Mapping[str, str]]]] = []
    for guideline, of_status in counts(items).items():
        told = {"answered": "answered", "partly": "in part", "person": "left to the authors", "absent": "not yet"}
        summary = ", ".join(f"{of_status[status]} {text}" for status, text in told.items() if of_status[status])  # type: ignore[index]
        rows: list[Mapping[str, str]] = [
            {"number": item.number, "name": item.name, "mark": _MARKS[item.status], "where": item.where}
            for item in items
            if item.guideline == guideline
        ]
        found.append((guideline, summary, rows))
    return found


def _change_title(change: str) -> str:
    return CHANGES[change].title if change in CHANGES else change.replace("_", " ")


def _change_what(change: str) -> str:
    return CHANGES[change].what if change in CHANGES else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _full_stop(text: str) -> str:
    return f"{_capital(text)}." if text else ""


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _signed(value: float) -> str:
    text = f"{abs(value):.3f}"
    return f"−{text}" if value < 0 and text != "0.000" else f"+{text}" if text != "0.000" else text

"""The evidence as the template shows it: tables of text, charts, sentences."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from lentigo.data.skin_tone import VALIDITY
from lentigo.data.subgroup_columns import ESTIMATED_TONE
from lentigo.evidence.calibration import Calibration
from lentigo.evidence.comparison import PairComparison, PairedTest
from lentigo.evidence.intervals import Interval
from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.evidence.operating_points import PAPER, OperatingPoint, sentence
from lentigo.evidence.subgroups import Subgroups
from lentigo.report import evidence_words as words
from lentigo.report import figures
from lentigo.report.card import Card
from lentigo.report.checklist import Item, counts
from lentigo.report.evidence import Evidence
from lentigo.report.evidence_figures import ForestRow, decision_curves, forest, reliability_diagram
from lentigo.report.texts import (
    capital,
    count_text,
    interval_text,
    probability_text,
    score_text,
)
from lentigo.report.trials_view import external_view, legend_of, short, stress_view

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
        "legend": partial(legend_of, evidence),
        "prevalence": share_text(evidence.prevalence),
        "test_share": share_text(first.n_malignant / first.n),
        "score_titles": list(figures.SCORE_TITLES.values()),
        **_pairs(evidence),
        **_calibration(evidence),
        **_points(evidence),
        **_subgroups(evidence),
        "externals": [external_view(external, evidence) for external in evidence.externals],
        **stress_view(evidence),
        "cards": cards,
        "checklists": _checklists(items),
    }


def share_text(share: float) -> str:
    """A share in percent, with as many digits as it needs: 0.01 is 1 %, 0.0025 is 0.25 %."""
    return f"{100 * share:.3g} %"


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
        reason=words.short_reason(test.reason),
    )


def _seeds(evidence: Evidence) -> list[tuple[str, str, list[str], bool]]:
    rows = []
    for name, repeats in evidence.repeats.items():
        title = evidence.titles[name]
        for place, seed in enumerate(repeats.seeds):
            rows.append((title, str(seed), [score_text(repeats.scores[key][place]) for key in REPORTED_SCORES], False))
        spread = [_spread(repeats.mean(key), repeats.deviation(key)) for key in REPORTED_SCORES]
        rows.append((title, "mean ± SD", spread, True))
    return rows


def _spread(mean: float, deviation: float) -> str:
    return "undefined" if math.isnan(mean) else f"{score_text(mean)} ± {score_text(deviation)}"


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
            f"{evidence.titles[name]}: {words.calibration_sentence(found)}"
            for name, found in evidence.assessments.items()
        ],
        "calibration_rows": rows,
        "tempered": any(found.after is not None for found in evidence.assessments.values()),
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
        notes = [f"{capital(t.title)} could not be chosen: {t.reason}." for t in unchosen]
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
    return {
        "title": capital(point.threshold.title),
        "at": "fixed, not chosen"
        if point.threshold.name == PAPER
        else f"probability {probability_text(point.threshold.logit)}",
        "cells": [
            *(short(i) for i in (point.sensitivity, point.specificity)),
            _percent(point.ppv),
            _percent(point.npv),
            (
                _number(needed.value),
                "" if math.isnan(needed.low) else f"{_number(needed.low)} to {_number(needed.high)}",
            ),
        ],
        "sentence": sentence(point),
        "reason": _full_stop(point.threshold.reason),
    }


def _percent(interval: Interval) -> tuple[str, str]:
    """A share in percent; near 100 more digits are needed than near 0."""
    if math.isnan(interval.value):
        return "undefined", ""
    bounds = "" if math.isnan(interval.low) else f"{100 * interval.low:.2f} to {100 * interval.high:.2f}"
    return f"{100 * interval.value:.2f} %", bounds


def _number(value: float) -> str:
    if math.isnan(value):
        return "undefined"
    return "∞" if math.isinf(value) else f"{value:.1f}" if value < 100 else count_text(round(value))


def _subgroups(evidence: Evidence) -> dict[str, Any]:
    columns = [subgroups.column for subgroups in next(iter(evidence.assessments.values())).subgroups]
    return {
        "subgroups": [_subgroup(evidence, place, column) for place, column in enumerate(columns)],
        "subgroup_sentences": words.subgroup_sentences(evidence),
        "subgroup_note": _gap_note(evidence),
    }


def _subgroup(evidence: Evidence, place: int, column: str) -> dict[str, Any]:
    by_model = {name: found.subgroups[place] for name, found in evidence.assessments.items()}
    first = next(iter(by_model.values()))
    rows = [
        {
            "name": score.name,
            "warning": score.warning,
            "n": count_text(score.n),
            "malignant": count_text(score.n_malignant),
            "models": [
                (evidence.titles[name], [interval_text(getattr(subgroups.scores[index], key)) for key in _SCORES])
                for name, subgroups in by_model.items()
            ],
        }
        for index, score in enumerate(first.scores)
    ]
    charts = []
    for key, title in _SCORES.items():
        lines = [
            ForestRow(
                name=f"{score.name} ({count_text(score.n)})",
                intervals=tuple(getattr(subgroups.scores[index], key) for subgroups in by_model.values()),
                faint=key in score.unjudged,
            )
            for index, score in enumerate(first.scores)
        ]
        if any(not math.isnan(i.value) for line in lines for i in line.intervals):
            reference = 0.5 if key == "auc" else None
            charts.append(Markup(forest(lines, label=title, name=f"group{place}{key}", reference=reference, left=0.5)))
    return {
        "id": f"group{place}",
        "column": column,
        "notes": _subgroup_notes(column, first),
        "charts": charts,
        "rows": rows,
        "gaps": [
            (
                evidence.titles[name],
                _SCORES[gap.score],
                f"{gap.high} over {gap.low}",
                short(gap.difference),
                words.p_text(words.gap_p(gap, evidence.assessments[name])),
            )
            for name, subgroups in by_model.items()
            for gap in subgroups.gaps
        ],
    }


def _subgroup_notes(column: str, subgroups: Subgroups) -> list[str]:
    """What a reader must know of a column before its charts."""
    n, n_malignant = sum(score.n for score in subgroups.scores), sum(score.n_malignant for score in subgroups.scores)
    notes = [VALIDITY] if column == ESTIMATED_TONE else []
    if subgroups.unknown:
        have = "has" if subgroups.unknown == 1 else "have"
        notes.append(
            f"{count_text(subgroups.unknown)} of {count_text(n + subgroups.unknown)} images {have} no value here."
        )
    if n_malignant == n:
        notes.append("All images with a value are malignant, so only the sensitivity can be given.")
    elif not n_malignant:
        notes.append("All images with a value are benign, so only the specificity can be given.")
    return notes


def _gap_note(evidence: Evidence) -> str:
    pairs = words.subgroup_pairs(next(iter(evidence.assessments.values())))
    if pairs < 2:
        return ""
    return (
        f"For each model {count_text(pairs)} pairs of subgroups are compared, by AUC, sensitivity and specificity; a p "
        "value below is corrected for all of them, the interval of a gap for the pairs of its column."
    )


def _checklists(items: Sequence[Item]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    found = []
    for guideline, of_status in counts(items).items():
        told = {"answered": "answered", "partly": "in part", "person": "left to the authors", "absent": "not yet"}
        summary = ", ".join(f"{of_status[status]} {text}" for status, text in told.items() if of_status[status])  # type: ignore[index]
        rows = [
            {
                "number": item.number,
                "name": item.name,
                "mark": _MARKS[item.status],
                "sections": item.sections,
                "text": item.text,
            }
            for item in items
            if item.guideline == guideline
        ]
        found.append((guideline, summary, rows))
    return found


def _full_stop(text: str) -> str:
    return f"{capital(text)}." if text else ""


def _signed(value: float) -> str:
    text = f"{abs(value):.3f}"
    return f"−{text}" if value < 0 and text != "0.000" else f"+{text}" if text != "0.000" else text

"""Other data and changed images as the template shows them: tables of text, charts, sentences."""

import math
from collections.abc import Collection
from typing import Any

from markupsafe import Markup

from lentigo.data.changes import CHANGES
from lentigo.evidence.assessment import Assessment
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.report import evidence_words as words
from lentigo.report import figures
from lentigo.report.evidence import Evidence, ExternalSet
from lentigo.report.evidence_figures import stress_panels
from lentigo.report.texts import bounds_text, capital, count_text, percent_text, score_text


def external_view(external: ExternalSet, evidence: Evidence) -> dict[str, Any]:
    """One data set: what was left out, and each network's scores here and there."""
    rows = [
        (
            evidence.titles[name],
            [
                (
                    f"{where}: {count_text(found.n)}, {count_text(found.n_malignant)} malignant",
                    _external_cells(found),
                )
                for where, found in (("own test images", evidence.assessments[name]), (external.name, there))
            ],
        )
        for name, there in external.assessments.items()
    ]
    return {
        "name": external.name,
        "data": external.data,
        "left_out": words.left_out_sentence(external, evidence),
        "sentences": words.external_sentences(external, evidence),
        "rows": rows,
        "points": [
            (evidence.titles[name], _external_points(evidence.assessments[name], there))
            for name, there in external.assessments.items()
        ],
    }


def stress_view(evidence: Evidence) -> dict[str, Any]:
    """Each network's stress test, the most robust first where the tests are of the same."""
    if not evidence.stress:
        return {"stress_panels": []}
    places = {name: place for place, name in enumerate(evidence.titles)}
    ranked = list(evidence.stress.items())
    same = len({kept.test for _, kept in ranked}) == 1
    if same:
        ranked.sort(key=lambda item: -_or_zero(item[1].result.relative_auc.value))
    rows = []
    for name, kept in ranked:
        result = kept.result
        worst = "–" if result.worst is None else (
            f"{_change_title(result.worst)}: {100 * result.by_change[result.worst].relative_auc:.1f} % left"
        )  # fmt: skip
        left, clean = percent_text(result.relative_auc), result.clean_auc
        aucs = score_text(clean), score_text(clean * result.relative_auc.value)
        flips = f"{100 * result.mean_flip_rate:.1f} %"
        rows.append((evidence.titles[name], *aucs, left, flips, worst, kept.images))
    panels = [
        (_change_title(change), _change_what(change), Markup(chart))
        for change, chart in stress_panels(evidence.stress, places, name="stress")
    ]
    return {
        "stress_panels": panels,
        "stress_rows": rows,
        "stress_ranked": same,
        "stress_legend": legend_of(evidence, "stress", evidence.stress),
    }


def short(interval: Interval) -> tuple[str, str]:
    """A value and its bounds, for two lines of a cell."""
    return score_text(interval.value), bounds_text(interval)


def legend_of(evidence: Evidence, name: str, models: Collection[str] | None = None) -> list[tuple[Markup, str]]:
    """A piece of line for each model, or for those named; `name` keeps their ids apart from other legends'."""
    return [
        (Markup(figures.line_swatch(figures.model_style(index), name=f"{name}-legend{index}")), title)
        for index, (model, title) in enumerate(evidence.titles.items())
        if models is None or model in models
    ]


def _external_cells(found: Assessment) -> list[tuple[str, str]]:
    best = found.after or found.before
    calibration = (UNDEFINED, UNDEFINED) if best is None else (best.ece, best.slope)
    return [
        short(interval) for interval in (found.scores["auc"], found.scores["accuracy"], found.partial_auc, *calibration)
    ]


def _external_points(here: Assessment, there: Assessment) -> list[tuple[str, list[tuple[str, str]]]]:
    """Sensitivity and specificity here and there at the thresholds of one network."""
    others = {point.threshold.name: point for point in there.points}
    return [
        (
            capital(own.threshold.title),
            [short(i) for i in (own.sensitivity, other.sensitivity, own.specificity, other.specificity)],
        )
        for own in here.points
        if (other := others.get(own.threshold.name)) is not None
    ]


def _change_title(change: str) -> str:
    return CHANGES[change].title if change in CHANGES else change.replace("_", " ")


def _change_what(change: str) -> str:
    return CHANGES[change].what if change in CHANGES else ""


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value

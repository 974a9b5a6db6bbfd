"""Where networks look, as the template shows it: tables of text, charts, sentences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from lentigo.evidence.intervals import Interval
from lentigo.explain.looks import CLASSES, LEVEL, MEASURES, PRIMARY, Look, LookPair, Looks
from lentigo.explain.trust_pairs import TrustPair
from lentigo.report import figures
from lentigo.report import look_words as words
from lentigo.report.evidence_figures import ForestRow, forest
from lentigo.report.evidence_words import p_text
from lentigo.report.look import LookReport
from lentigo.report.look_figures import curve_panels, layer_chart
from lentigo.report.look_words import read_interval
from lentigo.report.texts import bounds_text, capital, count_text, minus_text, score_text

# Shares are printed in percent; a density and an AUC are not.
_FILLED = {"blur": "blurred", "mean": "mean colour"}
_STATES = {
    "empty map": "with an empty map",
    "no lesion": "without lesion in what the network sees",
    "all lesion": "in which it sees lesion alone",
}
_PERCENT = ("inside", "pointing", "best_iou", "fixed_iou")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value with its interval, on two lines."""

    value: str
    bounds: str = ""
    note: str = ""
    strong: bool = False


def look_view(report: LookReport) -> dict[str, Any]:
    """Everything that look_sections.html asks for."""
    looks = report.looks
    networks = {name: look for name, look in looks.looks.items() if not look.baseline}
    return {
        "looks": looks,
        "measured": looks.images > 0,
        "masks": words.masks_sentence(looks),
        "sentences": words.look_sentences(looks),
        "ranking": " ".join(
            filter(None, [words.own_cells_sentence(looks), words.ranking_sentence(looks), words.orders_sentence(looks)])
        ),
        "paper": words.paper_sentence(looks),
        "titles": [look.title for look in networks.values()],
        "measure_titles": [capital(title) for title in MEASURES.values()],
        "orders": _orders(looks, networks),
        "unfit": any(look.cells != (looks.cells, looks.cells) for look in networks.values()),
        "rows": [(look.title, look.baseline, _measure_cells(look.common)) for look in looks.looks.values()],
        "own_rows": [
            (look.title, "{} × {}".format(*(look.cells or ("", ""))), _beside(look)) for look in networks.values()
        ],
        "class_chart": _class_chart(looks, networks),
        "legend": _legend(networks, "look"),
        "curve_legend": _legend(networks, "curves"),
        "pairs": [_pair_row(looks, pair) for pair in (*looks.pairs, *looks.against_centre)],
        "artefacts": _artefact_rows(networks),
        "states": [(look.title, _states(look)) for look in networks.values()],
        **_second(report),
        **_background(report, networks),
        **_faithfulness(report, networks),
        **_trust(report, networks),
    }


def _second(report: LookReport) -> dict[str, Any]:
    """The same by HiResCAM: does the answer hang on the method?"""
    second = report.second
    if second is None:
        return {"second_rows": []}
    return {
        "second_rows": [(look.title, look.baseline, _measure_cells(look.common)) for look in second.looks.values()],
        "second_sentence": words.second_sentence(report.looks, second),
        "second": second,
    }


def _measure_cells(found: Mapping[str, Interval]) -> list[Cell]:
    return [_cell(name, found[name]) for name in MEASURES]


def _cell(measure: str, interval: Interval) -> Cell:
    if math.isnan(interval.value):
        return Cell(value="undefined")
    if measure in _PERCENT:
        bounds = "" if math.isnan(interval.low) else f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
        return Cell(value=f"{100 * interval.value:.1f} %", bounds=bounds)
    return Cell(value=score_text(interval.value), bounds=bounds_text(interval))


def _beside(look: Look) -> list[Cell]:
    """At the network's own cells, beside the centre Gaussian within what the network sees."""
    cells = []
    for name in MEASURES:
        own, centre = _cell(name, look.own[name]), _cell(name, look.own_centre[name])
        cells.append(Cell(value=own.value, bounds=own.bounds, note=f"centre {centre.value}"))
    return cells


def _class_chart(looks: Looks, networks: Mapping[str, Look]) -> Markup | None:
    if not looks.images:
        return None
    means = {name: {"all images": look.common, **look.by_class} for name, look in looks.looks.items()}
    rows = [
        ForestRow(
            name=capital(kind),
            intervals=tuple(means[name][kind][PRIMARY] for name in networks),
            reference=means["centre"][kind][PRIMARY].value,  # lesions of one class are larger than the other's
        )
        for kind in ("all images", *CLASSES)
    ]
    return Markup(forest(rows, label="Share of evidence inside the lesion", name="look"))


def _orders(looks: Looks, networks: Mapping[str, Look]) -> list[tuple[str, list[str], str]]:
    """A row a measure: the networks, the best first, and what it says of the paper's choice; none for one network."""
    if len(networks) < 2 or not looks.together:
        return []
    return [
        (capital(MEASURES[measure]), [looks.looks[name].title for name in names], _said(looks.verdicts[measure]))
        for measure, names in looks.rankings.items()
    ]


def _said(verdict: str) -> str:
    return words.VERDICTS.get(verdict, verdict)


def _legend(networks: Mapping[str, Look], chart: str) -> list[tuple[Markup, str]]:
    return [
        (Markup(figures.line_swatch(figures.model_style(place), name=f"{chart}-legend{place}")), look.title)
        for place, look in enumerate(networks.values())
    ]


def _pair_row(looks: Looks, pair: LookPair) -> tuple[str, str, list[Cell]]:
    first, second = looks.looks[pair.first].title, looks.looks[pair.second].title
    cells = []
    for name in MEASURES:
        difference, p = pair.differences[name].difference, pair.adjusted[name]
        if math.isnan(difference.value):
            cells.append(Cell(value="undefined"))
            continue
        factor, digits = (100, 1) if name in _PERCENT else (1, 3)
        value, low, high = (
            minus_text(f"{factor * number:+.{digits}f}")
            for number in (difference.value, difference.low, difference.high)
        )
        bounds = "" if math.isnan(difference.low) else f"{low} to {high}"
        cells.append(Cell(value=value, bounds=bounds, note=p_text(p), strong=p < LEVEL))
    return first, second, cells


def _artefact_rows(networks: Mapping[str, Look]) -> list[tuple[str, list[Cell]]]:
    """Share of the evidence on frame, hair and ruler, beside their share of the picture."""
    return [
        (look.title, [_artefact_cell(share, area) for share, area in look.artefacts.values()])
        for look in networks.values()
    ]


def _artefact_cell(share: Interval, area: Interval) -> Cell:
    if math.isnan(share.value):
        return Cell(value="–")
    shown = _cell(PRIMARY, share)
    return Cell(value=shown.value, bounds=shown.bounds, note=f"area {100 * area.value:.1f} %")


def _states(look: Look) -> str:
    return ", ".join(f"{count_text(n)} {_STATES.get(state, state)}" for state, n in look.states.items())


def _background(report: LookReport, networks: Mapping[str, Look]) -> dict[str, Any]:
    """A row a network and fill: what happens to decisions and AUC without the background, and without the lesion."""
    rows, sentences = [], []
    for name, look in networks.items():
        background = report.runs.get(name, {}).get("background") or {}
        rows += [
            (look.title, words.FILLS[fill], _background_cells(found))
            for fill, found in background.get("fills", {}).items()
        ]
        rows += [
            (look.title, f"{words.FILLS['common']}; {source} alone", _background_cells(fills["common"]))
            for source, fills in background.get("within", {}).items()
            if "common" in fills
        ]
        if sentence := words.background_sentence(look.title, background):
            sentences.append(sentence)
    return {"background_rows": rows, "background_sentences": sentences}


def _background_cells(found: Mapping[str, Any]) -> list[Cell]:
    shares = [read_interval(found[key]) for key in ("mean_share", "flips_without_background", "flips_without_lesion")]
    aucs = [read_interval(found[key]) for key in ("auc", "auc_without_background", "auc_without_lesion")]
    return [_cell("inside", share) for share in shares] + [_cell("pixel_auc", auc) for auc in aucs]


def _faithfulness(report: LookReport, networks: Mapping[str, Look]) -> dict[str, Any]:
    found = {name: told for name in networks if (told := report.runs.get(name, {}).get("faithfulness"))}
    titles = {name: networks[name].title for name in found}
    places = {name: place for place, name in enumerate(networks)}
    asked = [told["agreement"] for told in found.values()]  # an earlier version of lentigo asked other methods
    methods = [method for method in asked[0] if all(method in of for of in asked)] if asked else []
    return {
        "faithful": bool(found),
        "sample": max((told["images"] for told in found.values()), default=0),
        "corrected": bool(found) and all(map(_corrected, found.values())),
        "draws": min((layer.get("draws", 1) for told in found.values() for layer in told["layers"]), default=1),
        "curve_rows": [
            (titles[name], _FILLED[fill], [_curve_cell(curves[kind]) for kind in ("deletion", "insertion")])
            for name, told in found.items()
            for fill, curves in told["curves"].items()
        ],
        "curve_panels": curve_panels(found, titles, places, name="curves"),
        "layer_charts": [
            (title, Markup(layer_chart(found[name]["layers"], places[name], title, name=f"layers{places[name]}")))
            for name, title in titles.items()
        ],
        "methods": methods,
        "alike": [(titles[name], _alike(told, methods)) for name, told in found.items()],
    }


def _alike(told: Mapping[str, Any], methods: Sequence[str]) -> list[Cell]:
    """How alike the maps stay under a small and a larger shift, and how alike those of other methods are."""
    cells = [
        replace(_cell("pixel_auc", read_interval(value)), note=f"{shift} px")
        for shift, value in told["stability"].items()
    ]
    return cells + [_cell("pixel_auc", read_interval(told["agreement"][method])) for method in methods]


def _curve_cell(curve: Mapping[str, Any]) -> Cell:
    area, random = read_interval(curve["area"]), read_interval(curve["random"])
    kept = curve.get("adjusted", curve["p_value"])  # files of before have p values as they are tested
    p = math.nan if kept is None else float(kept)
    return Cell(
        value=score_text(area.value),
        bounds=bounds_text(area),
        note=f"moved {score_text(random.value)}, {p_text(p)}",
        strong=p < LEVEL,
    )


def _corrected(told: Mapping[str, Any]) -> bool:
    """Whether all p values of the curves are corrected for their number."""
    return all("adjusted" in curves[kind] for curves in told["curves"].values() for kind in ("deletion", "insertion"))


def _trust(report: LookReport, networks: Mapping[str, Look]) -> dict[str, Any]:
    """A row a pair of networks, a column a measure; none where the runs keep no values of single images.

    Of the shifts the largest alone: they say the same, and the table is as wide as a page.
    """
    measures = list(dict.fromkeys(name for pair in report.trust for name in pair.differences))
    smaller = sorted(name for name in measures if name.startswith("stability"))[:-1]
    measures = [name for name in measures if name not in smaller]
    return {
        "trust_titles": [_trust_title(name) for name in measures],
        "trust_rows": [
            (networks[pair.first].title, networks[pair.second].title, [_trust_cell(pair, name) for name in measures])
            for pair in report.trust
        ],
    }


def _trust_title(measure: str) -> tuple[str, str]:
    """Of a column: the measure, and below it the fill or the shift."""
    kind, which = measure.rsplit("_", 1)
    if kind == "background":
        return "Background’s share", words.FILLS[which].replace("'", "’")
    if kind == "stability":
        return "Stability", f"shift by {100 * float(which):.0f} % of the side"
    return capital(kind.replace("_", " ")), _FILLED[which]


def _trust_cell(pair: TrustPair, measure: str) -> Cell:
    found = pair.differences.get(measure)
    if found is None:
        return Cell(value="–")
    difference, p = found.difference, pair.adjusted[measure]
    if math.isnan(difference.value):
        return Cell(value="undefined")
    share = measure.startswith("background")
    value, low, high = (
        minus_text(f"{100 * number:+.1f}" if share else f"{number:+.3f}")
        for number in (difference.value, difference.low, difference.high)
    )
    bounds = "" if math.isnan(difference.low) else f"{low} to {high}"
    return Cell(value=value, bounds=bounds, note=p_text(p), strong=p < LEVEL)

"""The charts of the evidence in a report: assessments in, SVG text out, see `figures`. None needs colour to be read."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lentigo.evidence.assessment import Assessment
from lentigo.evidence.calibration import Calibration
from lentigo.evidence.intervals import Interval
from lentigo.report.evidence import Evidence, Stressed
from lentigo.report.figures import CARD, INK, MUTED, Style, draw, model_style

AFTER, BEFORE = "at its temperature", "as the network gives them"
_CHART_PX = (360, 340)
_ROW_PX, _AROUND_PX, _WIDTH_PX = 24, 52, 360
_PANEL_PX = (210, 178)


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One line of a forest chart: a name and an interval for each network; NaN where a network has none."""

    name: str
    intervals: tuple[Interval, ...]
    faint: bool = False  # too small a group to say anything
    reference: float = math.nan  # where a dashed line crosses this row alone


def reliability_diagram(assessment: Assessment, index: int, title: str, *, name: str) -> str:
    """Share of malignant images against the probability that was given, in bins of equally many images.

    Args:
        index: the network's place in the report, which gives its look.
        name: see `figures.score_bars`.
    Returns: empty where there is nothing to draw.
    """
    style = model_style(index)
    shown = [(calibration, filled) for calibration, filled in _curves(assessment) if calibration is not None]
    if not shown:
        return ""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, dashes=(2, 3))
        for calibration, filled in shown:
            _reliability(axes, calibration, style, filled=filled)
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6), aspect="equal")
        axes.set(xlabel="Probability given", ylabel="Share that is malignant")

    spoken = "; ".join(
        f"{AFTER if filled else BEFORE}: "
        + ", ".join(f"{b.observed.value:.2f} at {b.predicted:.2f}" for b in calibration.bins)
        for calibration, filled in shown
    )
    return draw(paint, name=name, size_px=_CHART_PX, description=f"Reliability diagram of {title}. {spoken}.")


def decision_curves(evidence: Evidence, *, name: str) -> str:
    """Net benefit per 1,000 people against the probability from which one would treat, beside treating all or none.

    Args:
        name: see `figures.score_bars`.
    Returns: empty where no network has a curve.
    """
    curves = {key: found.curve for key, found in evidence.assessments.items() if found.curve is not None}
    if not curves:
        return ""
    first = next(iter(curves.values()))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        at = 100 * first.threshold
        axes.plot(at, 1000 * first.treat_all, color=MUTED, dashes=(8, 3), linewidth=1.4)
        axes.plot(at, 1000 * first.treat_none, color=INK, linewidth=1.2)
        for index, key in enumerate(evidence.assessments):
            if key in curves:
                style = model_style(index)
                look: dict[str, Any] = {"color": style.colour, "dashes": style.dashes or (None, None)}
                axes.plot(at, 1000 * curves[key].model, marker=style.marker, markevery=8, markersize=5, **look)
        top = 1000 * first.prevalence
        axes.set_xscale("log")
        ticks = [tick for tick in (0.5, 1, 2, 5, 10, 20) if at[0] - 1e-9 <= tick <= at[-1] + 1e-9]
        axes.set_xticks(ticks, [f"{tick:g} %" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlim=(at[0], at[-1]), ylim=(-0.45 * top, 1.05 * top))
        axes.set(xlabel="Treated from this probability on", ylabel="Net benefit per 1,000 people")

    spoken = "; ".join(
        f"{evidence.titles[key]}: {1000 * float(np.interp(0.02, curve.threshold, curve.model)):.1f} at 2 percent"
        for key, curve in curves.items()
    )
    return draw(paint, name=name, size_px=(440, 340), description=f"Decision curves. {spoken}.")


def forest(
    rows: Sequence[ForestRow], *, label: str, name: str, reference: float | None = None, left: float = 0.0
) -> str:
    """Values with their intervals, one row a name and one mark a network.

    Args:
        label: of the axis.
        reference: where a dashed line stands.
        left: end of the axis, unless an interval reaches farther down.
        name: see `figures.score_bars`.
    """
    known = [i for row in rows for i in row.intervals if not math.isnan(i.value)]
    lows = [bound for i in known for bound in (i.low, i.value) if not math.isnan(bound)]
    start = max(0.0, math.floor(10 * min([left, *lows])) / 10) if lows else left

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            _forest_marks(axes, row, float(place))
            if row.reference >= start:
                axes.plot([row.reference] * 2, [place - 0.42, place + 0.42], color=INK, dashes=(4, 2), linewidth=1.2)
            if all(math.isnan(interval.value) for interval in row.intervals):
                axes.text(0.02, place, "undefined", transform=axes.get_yaxis_transform(), color=MUTED, va="center")
        if reference is not None and reference >= start:
            axes.axvline(reference, color=INK, linewidth=1.2, dashes=(4, 2), zorder=1)
        axes.set(xlim=(start, 1), ylim=(len(rows) - 0.45, -0.55), xlabel=label)
        axes.set_yticks(range(len(rows)), [row.name for row in rows], parse_math=False)
        axes.tick_params(axis="y", length=0, pad=9)  # a mark at the start of the axis stays clear of the names
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, min_n_ticks=3))
        axes.grid(visible=False, axis="y")
        for row, tick in zip(rows, axes.get_yticklabels(), strict=True):
            if row.faint:
                tick.set_color(MUTED)

    spoken = "; ".join(_row_spoken(row) for row in rows)
    marks = max((len(row.intervals) for row in rows), default=1)
    size_px = (_WIDTH_PX, _AROUND_PX + max(_ROW_PX, 9 * marks + 8) * len(rows))
    return draw(paint, name=name, size_px=size_px, description=f"{label}, by row. {spoken}.")


def stress_panels(stress: Mapping[str, Stressed], places: Mapping[str, int], *, name: str) -> list[tuple[str, str]]:
    """For each change its name and a small chart: AUC against strength, one line a network; strength 0 is no change.

    Args:
        places: of each network in the report, which gives its look.
        name: see `figures.score_bars`.
    """
    changes = list(dict.fromkeys(score.change for kept in stress.values() for score in kept.result.scores))
    values = {
        change: {
            key: {0: kept.result.clean_auc}
            | {score.strength: score.auc for score in kept.result.scores if score.change == change}
            for key, kept in stress.items()
        }
        for change in changes
    }
    known = [v for lines in values.values() for line in lines.values() for v in line.values() if not math.isnan(v)]
    floor = math.floor(10 * min([0.5, *known])) / 10

    def panel(change: str, place: int) -> str:
        def paint(figure: Figure) -> None:
            axes = figure.add_subplot()
            axes.axhline(0.5, color=INK, linewidth=1, dashes=(4, 2), zorder=1)
            for key, line in values[change].items():
                style = model_style(places[key])
                look: dict[str, Any] = {"color": style.colour, "dashes": style.dashes or (None, None)}
                axes.plot(list(line), list(line.values()), marker=style.marker, markersize=4.5, clip_on=False, **look)
            axes.set(xlim=(-0.1, 5.1), ylim=(floor, 1), xticks=range(6))
            axes.tick_params(labelsize=11)

        spoken = "; ".join(
            f"{key}: {', '.join(_spoken(v) for v in line.values())}" for key, line in values[change].items()
        )
        description = f"AUC under {change.replace('_', ' ')} from strength 0 to 5. {spoken}."
        return draw(paint, name=f"{name}{place}", size_px=_PANEL_PX, description=description)

    return [(change, panel(change, place)) for place, change in enumerate(changes)]


def _row_spoken(row: ForestRow) -> str:
    text = f"{row.name}: {', '.join(_spoken(interval.value) for interval in row.intervals)}"
    return text if math.isnan(row.reference) else f"{text}, dashed line {_spoken(row.reference)}"


def _spoken(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.2f}"


def _curves(assessment: Assessment) -> list[tuple[Calibration | None, bool]]:
    return [(assessment.before, False), (assessment.after, True)]


def _reliability(axes: Axes, calibration: Calibration, style: Style, *, filled: bool) -> None:
    """Bins as marks with their intervals; hollow: as the network gives them, filled: at the temperature."""
    at = [b.predicted for b in calibration.bins]
    values = [b.observed.value for b in calibration.bins]
    colour, dashes = (style.colour, (None, None)) if filled else (MUTED, (3, 2))
    for b in calibration.bins:
        axes.plot([b.predicted] * 2, [b.observed.low, b.observed.high], color=colour, linewidth=1.2, zorder=2)
    face = colour if filled else CARD
    look: dict[str, Any] = {"color": colour, "dashes": dashes, "markerfacecolor": face, "markeredgewidth": 1.4}
    axes.plot(at, values, marker=style.marker, markersize=6, linewidth=1.4, zorder=3, clip_on=False, **look)


def _forest_marks(axes: Axes, row: ForestRow, place: float) -> None:
    apart = min(0.26, 0.7 / max(len(row.intervals), 1))
    for index, interval in enumerate(row.intervals):
        if math.isnan(interval.value):
            continue
        style, y = model_style(index), place + apart * (index - (len(row.intervals) - 1) / 2)
        colour = MUTED if row.faint else style.colour
        if not math.isnan(interval.low):
            axes.plot([interval.low, interval.high], [y, y], color=colour, linewidth=1.8, clip_on=False, zorder=3)
        look: dict[str, Any] = {"markerfacecolor": CARD if row.faint else colour, "markeredgewidth": 1.2}
        axes.plot([interval.value], [y], style.marker, color=colour, markersize=6, clip_on=False, zorder=4, **look)

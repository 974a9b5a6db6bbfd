"""The charts of the audit's page: probes in, SVG text out, see `figures`."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lentigo.data.shortcuts import Probe
from lentigo.report.figures import CARD, INK, MUTED, STYLES, bare, draw

FOLDS, TEST = "out of folds", "on the test part"
CHANCE = 0.5
_LEFT = 0.4  # the axis starts here unless an interval reaches farther down
_ROW_PX, _AROUND_PX, _WIDTH_PX = 32, 46, 360  # on a phone it shrinks by little
# Told apart by shape, filling and line, not by colour alone.
_LOOKS: dict[str, dict[str, Any]] = {
    FOLDS: {"color": STYLES[0].colour, "marker": "o", "markersize": 6, "linewidth": 2.4},
    TEST: {"color": STYLES[1].colour, "marker": "D", "markersize": 6, "linewidth": 1.2, "markerfacecolor": CARD},
}


def probe_chart(probes: Sequence[Probe], *, name: str) -> str:
    """A row for each probe that was run: AUC and 95 % interval out of folds, below it those on the test part.

    Probes that see no lesion stand above those that do, each under a heading; the names of called ones are bold.

    Args:
        name: starts every id in the SVG, and must be the only one of its kind on the page.
    Returns: empty where no probe was run.
    """
    run = [probe for probe in probes if not probe.not_run]
    rows: list[Probe | str] = []
    for heading, sees in (("No lesion in view", False), ("Lesion in view", True)):
        group = [probe for probe in run if probe.sees_lesion == sees]
        rows += [heading, *group] if group else []
    if not rows:
        return ""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            if isinstance(row, Probe):
                _probe_marks(axes, row, float(place))
            elif place:
                axes.axhline(place - 0.5, color=MUTED, linewidth=1)
        axes.axvline(CHANCE, color=INK, linewidth=1.4, dashes=(4, 2), zorder=1)
        axes.text(CHANCE, -0.55, "chance", color=INK, ha="center", va="bottom")
        axes.set(xlim=(_left_end(run), 1), ylim=(len(rows) - 0.45, -0.55), xlabel="AUC")
        _name_rows(axes, rows)

    spoken = "; ".join(_spoken(probe) for probe in run)
    size_px = (_WIDTH_PX, _AROUND_PX + _ROW_PX * len(rows))
    return draw(paint, name=name, size_px=size_px, description=f"AUC of each probe, where 0.5 is chance. {spoken}.")


def probe_swatch(what: str, *, name: str) -> str:
    """A marker on its interval for a legend; `what` is FOLDS or TEST."""

    def paint(figure: Figure) -> None:
        axes = bare(figure)
        _mark(axes, what, 0.5, 0.05, 0.95, 0.0)
        axes.set(xlim=(0, 1), ylim=(-1, 1))

    return draw(paint, name=name, size_px=(48, 16), description="")


def _left_end(run: Sequence[Probe]) -> float:
    bounds = [bound for probe in run for bound in (probe.low, probe.test_low) if not math.isnan(bound)]
    return max(0.0, math.floor(10 * min([_LEFT, *bounds])) / 10)


def _probe_marks(axes: Axes, probe: Probe, place: float) -> None:
    apart = 0 if math.isnan(probe.test_auc) else 0.17
    _mark(axes, FOLDS, probe.auc, probe.low, probe.high, place - apart)
    if apart:
        _mark(axes, TEST, probe.test_auc, probe.test_low, probe.test_high, place + apart)


def _mark(axes: Axes, what: str, value: float, low: float, high: float, place: float) -> None:
    look = _LOOKS[what]
    line = {"color": look["color"], "linewidth": look["linewidth"], "clip_on": False, "zorder": 3}
    point = {key: look[key] for key in look if key != "linewidth"}
    axes.plot([low, high], [place, place], **line)
    axes.plot([value], [place], **point, markeredgewidth=1.4, clip_on=False, zorder=4)


def _name_rows(axes: Axes, rows: Sequence[Probe | str]) -> None:
    names = [row.title if isinstance(row, Probe) else row for row in rows]
    axes.set_yticks(range(len(rows)), names, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    for row, label in zip(rows, axes.get_yticklabels(), strict=True):
        if isinstance(row, str):
            label.set(color=MUTED, style="italic")
        elif row.called:
            label.set(weight="bold")


def _spoken(probe: Probe) -> str:
    test = "" if math.isnan(probe.test_auc) else f", {probe.test_auc:.3f} {TEST}"
    called = ", called a shortcut" if probe.called and not probe.sees_lesion else ""
    return f"{probe.title}: {probe.auc:.3f}, interval {probe.low:.3f} to {probe.high:.3f}{test}{called}"

"""The charts of a search's page: trials in, SVG text out, see `figures`. None needs colour to be read."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lentigo.learn.tuning_result import TrialRecord, TuningResult
from lentigo.learn.tuning_space import Dimension
from lentigo.report.figures import CARD, INK, MUTED, STYLES, bare, draw

BEST, GIVEN, COMPLETE, PRUNED = "the best", "the experiment as given", "trained to the end", "pruned"
SO_FAR = "best so far"
_ROW_PX, _WIDTH_PX = 50, 390
_LOOKS: dict[str, dict[str, Any]] = {
    BEST: {"color": STYLES[1].colour, "linewidth": 3, "marker": "D", "markersize": 7, "zorder": 5},
    GIVEN: {"color": INK, "linewidth": 1.8, "marker": "s", "markersize": 6, "zorder": 4, "dashes": (3, 1.5)},
    COMPLETE: {"color": STYLES[0].colour, "linewidth": 1, "marker": "o", "markersize": 3.5, "zorder": 3},
    PRUNED: {"color": MUTED, "linewidth": 0.8, "marker": "x", "markersize": 4, "zorder": 2, "dashes": (1, 2)},
    SO_FAR: {"color": STYLES[1].colour, "linewidth": 2, "zorder": 1},
}


def parallel_coordinates(result: TuningResult, *, name: str) -> str:
    """An axis for each thing that is searched, the AUC below them, and a line down through all for each trial.

    Args:
        name: see `figures.score_bars`.
    Returns: empty without a trial that has an AUC.
    """
    shown = _scored(result)
    if not shown:
        return ""
    aucs = [trial.auc for trial in shown]
    ends = (min(aucs), max(aucs))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        rows = range(len(result.space) + 1)
        for place in rows:
            axes.plot([0, 1], [place, place], color=MUTED, linewidth=1, zorder=1)
        for trial in sorted(shown, key=lambda trial: _LOOKS[_kind(result, trial)]["zorder"]):
            values = [_share(d.low, d.high, trial.configuration[d.key], log=d.log) for d in result.space]
            line = [*values, _share(*ends, trial.auc, log=False)]
            look = {"alpha": 0.75} if _kind(result, trial) in (COMPLETE, PRUNED) else {"markeredgecolor": CARD}
            axes.plot(line, list(rows), clip_on=False, **_LOOKS[_kind(result, trial)], **look)
        for place, dimension in enumerate(result.space):
            _axis_ends(axes, place, value_text(dimension, dimension.low), value_text(dimension, dimension.high))
        _axis_ends(axes, len(result.space), *(f"{end:.3f}" for end in ends), bold=True)
        axes.set_yticks(list(rows), [*(_axis_title(d) for d in result.space), "validation AUC"], parse_math=False)
        axes.set(xlim=(0, 1), ylim=(len(result.space) + 0.5, -0.5))
        _without_frame(axes)

    best = result.best
    spoken = "" if best is None else f" The best has {configuration_text(result, best)}."
    size_px = (_WIDTH_PX, 20 + _ROW_PX * (len(result.space) + 1))
    description = f"Parallel coordinates of {len(shown)} trials, validation AUC {ends[0]:.3f} to {ends[1]:.3f}.{spoken}"
    return draw(paint, name=name, size_px=size_px, description=description)


def importance_bars(result: TuningResult, *, name: str) -> str:
    """How much of the spread of the AUCs each thing explains, the most first; empty where that is undefined."""
    if result.importances is None:
        return ""
    titles = {dimension.key: dimension.title for dimension in result.space}
    found = sorted(result.importances.items(), key=lambda item: -item[1])

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        shares = [100 * share for _, share in found]
        axes.barh(range(len(found)), shares, 0.62, facecolor=STYLES[0].colour)
        for place, share in enumerate(shares):
            axes.text(share + 1, place, f"{share:.0f} %", va="center", color=INK)
        axes.set_yticks(range(len(found)), [titles[key] for key, _ in found], parse_math=False)
        axes.set(xlim=(0, max(shares) * 1.14), ylim=(len(found) - 0.45, -0.55), xticks=[])
        _without_frame(axes)

    spoken = "; ".join(f"{titles[key]}: {100 * share:.0f} percent" for key, share in found)
    size_px = (_WIDTH_PX, 20 + 30 * len(found))
    return draw(paint, name=name, size_px=size_px, description=f"Importance of what was searched. {spoken}.")


def history_chart(result: TuningResult, *, name: str) -> str:
    """Each trial's AUC in the order of the trials, and the best so far of those trained to the end; empty without."""
    shown = _scored(result)
    if not shown:
        return ""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for trial in shown:
            look = {key: value for key, value in _LOOKS[_kind(result, trial)].items() if key != "dashes"}
            axes.plot([trial.number], [trial.auc], clip_on=False, **look)
        numbers, best = best_so_far(result)
        if numbers:
            ends = [*numbers, shown[-1].number]
            axes.step(ends, [*best, best[-1]], where="post", **_LOOKS[SO_FAR])
        axes.set(xlabel="Trial", ylabel="Validation AUC", xlim=(-0.5, max(shown[-1].number, 1) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))

    _, best = best_so_far(result)
    spoken = (
        f"The best so far goes from {best[0]:.3f} to {best[-1]:.3f}." if best else "No trial was trained to its end."
    )
    return draw(paint, name=name, size_px=(_WIDTH_PX, 300), description=f"AUC of {len(shown)} trials. {spoken}")


def best_so_far(result: TuningResult) -> tuple[list[int], list[float]]:
    """The numbers of the trials that were trained to the end, and the highest AUC up to each."""
    done = sorted(result.complete, key=lambda trial: trial.number)
    return [trial.number for trial in done], np.maximum.accumulate([trial.auc for trial in done]).tolist()


def trial_swatch(what: str, *, name: str) -> str:
    """A piece of a trial's line for a legend."""

    def paint(figure: Figure) -> None:
        axes = bare(figure)
        look = dict(_LOOKS[what])
        marker = look.pop("marker", "")
        axes.plot([0, 1], [0, 0], **{key: value for key, value in look.items() if key != "markersize"})
        if marker:
            axes.plot([0.5], [0], marker, color=look["color"], markersize=look["markersize"])
        axes.set(xlim=(-0.02, 1.02), ylim=(-1, 1))

    return draw(paint, name=name, size_px=(48, 16), description="")


def value_text(dimension: Dimension, value: int | float) -> str:
    """A value with three digits, as a person would write it."""
    return str(int(value)) if dimension.whole else f"{value:.3g}".replace("e-0", "e−")


def configuration_text(result: TuningResult, trial: TrialRecord) -> str:
    """The trial's values with their names."""
    return ", ".join(f"{d.title} {value_text(d, trial.configuration[d.key])}" for d in result.space)


def _scored(result: TuningResult) -> list[TrialRecord]:
    whole = [t for t in result.trials if all(d.key in t.configuration for d in result.space)]
    return [t for t in whole if t.state in ("complete", "pruned") and not math.isnan(t.auc)]


def _kind(result: TuningResult, trial: TrialRecord) -> str:
    if trial is result.best:
        return BEST
    if trial.given and trial.state == "complete":
        return GIVEN
    return COMPLETE if trial.state == "complete" else PRUNED


def _share(low: int | float, high: int | float, value: int | float, *, log: bool) -> float:
    """Where between both ends the value lies, in [0, 1]."""
    if log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else 0.5


def _axis_title(dimension: Dimension) -> str:
    return f"{dimension.title} (log)" if dimension.log else dimension.title


def _axis_ends(axes: Axes, place: int, low: str, high: str, *, bold: bool = False) -> None:
    look: dict[str, Any] = {"color": INK if bold else MUTED, "va": "bottom", "fontsize": 10.5, "zorder": 6}
    look["bbox"] = {"facecolor": CARD, "edgecolor": "none", "pad": 0.8}  # on the lines, which all end at both ends
    axes.text(0, place - 0.16, low, ha="left", **look)
    axes.text(1, place - 0.16, high, ha="right", **look)


def _without_frame(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="both", length=0, pad=10)
    axes.set_xticks([])

"""The charts of the report: results in, SVG text out, to be placed inside an HTML page.

The page decides on colours and font: a chart names CSS variables (--ink, --grid, --card, --series-1 ...), so that it
follows light, dark and print. Each model keeps one colour, dash pattern, marker and hatch through the whole report,
and is told apart without colour. The colours are Okabe and Ito's, orange and purple darkened for a white ground.
"""

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import matplotlib
import numpy as np
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lentigo.errors import UndefinedMetricError
from lentigo.evidence.intervals import Interval
from lentigo.evidence.metrics import roc_curve
from lentigo.report.content import ModelResult, Numbers

SCORE_TITLES = {
    "accuracy": "Accuracy",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "specificity": "Specificity",
    "auc": "AUC",
}
Dashes: TypeAlias = tuple[float | int, ...]
ROC_ZOOM = 0.3  # the second ROC panel shows false alarms up to this, and recall from 1 minus this

# Matplotlib knows no CSS variables: it draws in colours that occur nowhere else, which are then replaced.
INK, MUTED, GRID, CARD = "#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04"
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", CARD: "var(--card)"}
_VARIABLES |= {f"#0a0c{index:02x}": f"var(--series-{index})" for index in range(1, 8)}
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "lentigo",
    "font.size": 12,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 1,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 2,
    "hatch.linewidth": 1.6,
    "hatch.color": CARD,
}


@dataclass(frozen=True)
class Style:
    """How one model is drawn, in every chart."""

    colour: str
    dashes: Dashes  # line and gap in turn, in line widths; empty: solid
    marker: str
    hatch: str


@dataclass(frozen=True, kw_only=True)
class TrainingAxes:
    """Ends of the axes of every model's training curves."""

    epochs: int
    loss_top: float
    score_floor: float


_LOOKS: tuple[tuple[Dashes, str, str], ...] = (
    ((), "o", ""),
    ((5, 1.6), "s", "///"),
    ((1.2, 1.2), "^", "..."),
    ((6, 1.5, 1.2, 1.5), "D", "xxx"),
    ((10, 2.5), "v", "---"),
    ((3, 1, 1, 1, 1, 1), "P", "\\\\\\"),
    ((2, 3), "X", "|||"),
)
STYLES = tuple(Style(f"#0a0c{index:02x}", *look) for index, look in enumerate(_LOOKS, 1))


def model_style(index: int) -> Style:
    """The look of the model at that place; from the eighth on looks come again."""
    return STYLES[index % len(STYLES)]


def score_bars(
    models: Sequence[ModelResult],
    keys: Sequence[str],
    *,
    paper_scores: Mapping[str, Numbers] | None,
    intervals: Mapping[str, Mapping[str, Interval]] | None = None,
    name: str,
) -> str:
    """Bars from 0 to 1 in groups, one group a score and one bar a model; the paper's figures as diamonds on them.

    Args:
        intervals: by model and score, drawn as error bars.
        keys: the scores to show, out of SCORE_TITLES. An undefined one has no bar.
        name: starts every id in the SVG, and must be the only one of its kind on the page.
    """
    width = 0.8 / len(models)

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for index, model in enumerate(models):
            style = model_style(index)
            places = np.arange(len(keys)) + (index - (len(models) - 1) / 2) * width
            heights = [float(model.scores[key]) for key in keys]
            axes.bar(places, heights, width * 0.9, **_bar_look(style))
            if intervals and model.name in intervals:
                _error_bars(axes, places, [intervals[model.name][key] for key in keys])
            figures = (paper_scores or {}).get(model.name, {})
            shown = [(place, figures[key]) for place, key in zip(places, keys, strict=True) if key in figures]
            if shown:
                axes.plot(*zip(*shown, strict=True), "D", markersize=7, color=INK, markeredgecolor=CARD, clip_on=False)
        axes.set_xticks(range(len(keys)), [SCORE_TITLES[key] for key in keys])
        axes.tick_params(axis="x", length=0, labelsize=13)
        axes.set(ylim=(0, 1), yticks=np.linspace(0, 1, 6), xlim=(-0.5, len(keys) - 0.5))
        axes.grid(visible=False, axis="x")

    spoken = "; ".join(
        f"{model.title}: " + ", ".join(f"{SCORE_TITLES[key]} {_spoken(model.scores[key])}" for key in keys)
        for model in models
    )
    return draw(paint, name=name, size_px=(440, 300), description=f"Bar chart of scores from 0 to 1. {spoken}.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What a ROC curve is drawn of."""

    title: str
    logits: Float[np.ndarray, " image"]
    auc: float
    recall: float  # at a probability of 0.5
    specificity: float


def scores_of(model: ModelResult) -> Scores:
    """The part of a network's results that its ROC curve shows."""
    auc, recall, specificity = (float(model.scores[key]) for key in ("auc", "recall", "specificity"))
    return Scores(title=model.title, logits=model.logits, auc=auc, recall=recall, specificity=specificity)


def roc_panels(models: Sequence[Scores], labels: Int64[np.ndarray, " image"], *, name: str) -> list[str]:
    """ROC curves, and beside them their upper left corner where it holds most of every curve; none for one class."""
    defined = [model.auc for model in models if not np.isnan(model.auc)]
    # The corner alone would miss most of a curve of a lower AUC, and could stay empty.
    panels = (False, True) if defined and min(defined) >= 0.85 else (False,)
    return [
        roc_curves(models, labels, zoom=zoom, name=f"{name}{place}") for place, zoom in enumerate(panels) if defined
    ]


def roc_curves(models: Sequence[Scores], labels: Int64[np.ndarray, " image"], *, zoom: bool = False, name: str) -> str:
    """ROC curves with the random diagonal and the perfect classifier; a marker stands where the threshold is 0.5.

    Args:
        zoom: show the upper left corner alone, see ROC_ZOOM.
        name: see `score_bars`.
    Returns: SVG, without a curve where the test images hold one class alone.
    """

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1.2, dashes=(2, 3))
        axes.plot([0, 0, 1], [0, 1, 1], color=MUTED, linewidth=1.2, dashes=(8, 3), clip_on=zoom)
        for index, model in enumerate(models):
            _roc_line(axes, model, labels, index, points=not zoom or _inside_zoom(model))
        if zoom:
            axes.set(xlim=(0, ROC_ZOOM), ylim=(1 - ROC_ZOOM, 1))
            axes.set(xticks=np.linspace(0, ROC_ZOOM, 4), yticks=np.linspace(1 - ROC_ZOOM, 1, 4))
        else:
            axes.set(xlim=(0, 1), ylim=(0, 1), xticks=np.linspace(0, 1, 6), yticks=np.linspace(0, 1, 6))
            axes.text(0.55, 0.5, "random", color=MUTED, rotation=45, rotation_mode="anchor", ha="center", va="top")
        # Both panels have a word above the frame, so that their frames are of one size.
        above: dict[str, Any] = {"transform": axes.transAxes, "color": MUTED, "ha": "right", "va": "bottom"}
        axes.text(1, 1.012, "enlarged" if zoom else "perfect", **above)
        axes.set(xlabel="False alarms (1 − specificity)", ylabel="Recall (sensitivity)", aspect="equal")

    spoken = "; ".join(f"{model.title}: AUC {_spoken(model.auc)}" for model in models)
    part = f"upper left corner, false alarms up to {ROC_ZOOM}" if zoom else "with those of chance and of no mistake"
    return draw(paint, name=name, size_px=(440, 430), description=f"ROC curves, {part}. {spoken}.")


def training_curves(model: ModelResult, index: int, ends: TrainingAxes, *, name: str) -> str:
    """Loss above, validation accuracy and AUC below, over the epochs of one model.

    Args:
        index: the model's place in the report, which gives its look.
        ends: the axes of all models of the report, see `shared_axes`.
        name: see `score_bars`.
    """
    looks = training_styles(index)

    def paint(figure: Figure) -> None:
        panels = figure.subplots(2, 1, sharex=True)
        for column, style in looks.items():
            values = [row[column] for row in model.history]
            look = {"color": style.colour, "dashes": style.dashes or (None, None), "marker": style.marker}
            panel = panels[0] if column.endswith("loss") else panels[1]
            panel.plot([row["epoch"] for row in model.history], values, markersize=5, **look)
        panels[0].set(ylabel="Loss", ylim=(0, ends.loss_top), xlim=(0.7, max(ends.epochs, 2) + 0.3))
        panels[1].set(ylabel="Validation score", ylim=(ends.score_floor, 1.005), xlabel="Epoch")
        panels[1].xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
        panels[0].tick_params(axis="x", length=0)
        figure.align_ylabels()

    last = model.history[-1] if model.history else {}
    spoken = ", ".join(f"{column.replace('_', ' ')} {_spoken(last[column])}" for column in looks if last)
    description = f"Training of {model.title} over {len(model.history)} epochs. At the end: {spoken or 'nothing yet'}."
    return draw(paint, name=name, size_px=(340, 400), description=description)


def training_styles(index: int | None) -> dict[str, Style]:
    """How the four lines of `training_curves` are drawn, by column of history.csv; None: for a legend of all models."""
    own = INK if index is None else model_style(index).colour
    return {
        "train_loss": Style(MUTED, (4, 1.5), ".", ""),
        "validation_loss": Style(own, (), "o", ""),
        "validation_accuracy": Style(own, (), "o", ""),
        "validation_auc": Style(own, (1.2, 1.2), "s", ""),
    }


def shared_axes(models: Sequence[ModelResult]) -> TrainingAxes:
    """Axes in which the finite values of every model's history fit."""
    rows = [row for model in models for row in model.history]
    losses = [float(row[column]) for row in rows for column in ("train_loss", "validation_loss")]
    scores = [float(row[column]) for row in rows for column in ("validation_accuracy", "validation_auc")]
    top = max([value for value in losses if np.isfinite(value)], default=1.0)
    floor = min([value for value in scores if np.isfinite(value)], default=0.5)
    return TrainingAxes(
        epochs=int(max([row["epoch"] for row in rows], default=1)),
        loss_top=top * 1.06 if top > 0 else 1.0,
        score_floor=float(np.floor(min(floor, 0.95) * 10) / 10),
    )


def line_swatch(style: Style, *, name: str) -> str:
    """A piece of line for a legend."""

    def paint(figure: Figure) -> None:
        axes = bare(figure)
        axes.plot([0, 1], [0, 0], color=style.colour, dashes=style.dashes or (None, None))
        if style.marker:
            axes.plot([0.5], [0], style.marker, color=style.colour, markersize=7, markeredgecolor=CARD)
        axes.set(xlim=(-0.02, 1.02), ylim=(-1, 1))

    return draw(paint, name=name, size_px=(48, 16), description="")


def bar_swatch(style: Style, *, name: str) -> str:
    """A piece of a bar for a legend."""

    def paint(figure: Figure) -> None:
        axes = bare(figure)
        axes.bar([0], [1], 1, **_bar_look(style))
        axes.set(xlim=(-0.5, 0.5), ylim=(0, 1))

    return draw(paint, name=name, size_px=(28, 16), description="")


def _error_bars(axes: Axes, places: np.ndarray, intervals: Sequence[Interval]) -> None:
    for place, interval in zip(places, intervals, strict=True):
        if not np.isnan(interval.low):
            axes.plot([place, place], [interval.low, interval.high], color=CARD, linewidth=4.5, zorder=3)
            axes.plot([place, place], [interval.low, interval.high], color=INK, linewidth=1.6, zorder=4)


def _inside_zoom(model: Scores) -> bool:
    """Whether the model's operating point lies in the zoomed panel, so that no marker is cut at its edge."""
    return model.recall >= 1 - ROC_ZOOM and model.specificity >= 1 - ROC_ZOOM


def _roc_line(axes: Axes, model: Scores, labels: Int64[np.ndarray, " image"], index: int, *, points: bool) -> None:
    style = model_style(index)
    try:
        curve = roc_curve(labels, model.logits).simplified()
    except UndefinedMetricError:
        return  # the score table says why there is none
    look: dict[str, Any] = {"color": style.colour, "zorder": 3}
    axes.plot(curve.false_positive_rate, curve.true_positive_rate, dashes=style.dashes or (None, None), **look)
    if points:
        place = [1 - model.specificity], [model.recall]
        axes.plot(*place, style.marker, markersize=9, markeredgecolor=CARD, clip_on=False, **{**look, "zorder": 4})


def _bar_look(style: Style) -> dict[str, Any]:
    return {"facecolor": style.colour, "edgecolor": CARD, "linewidth": 0, "hatch": style.hatch}


def bare(figure: Figure) -> Axes:
    """Axes that fill the figure and show nothing but what is drawn in them."""
    figure.set_layout_engine("none")
    axes: Axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    return axes


def _spoken(value: float | int) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"


def draw(paint: Callable[[Figure], None], *, name: str, size_px: tuple[int, int], description: str) -> str:
    """SVG of what `paint` draws: outside pyplot, whose figures are global, and whatever matplotlibrc a user has.

    Args:
        name: see `score_bars`.
        description: what is read aloud; empty: an ornament.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        figure = Figure(figsize=(size_px[0] / 72, size_px[1] / 72), layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        paint(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _for_the_page(text.getvalue(), name=name, size_px=size_px, description=description)


def _for_the_page(svg: str, *, name: str, size_px: tuple[int, int], description: str) -> str:
    """Take what only a file of its own needs away, make ids the figure's own, and let the page's CSS colour it."""
    body = svg[svg.index(">", svg.index("<svg")) + 1 :]
    # This style sheet would hold for the whole page, which has the same rule for charts alone.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r' fill="(#0a0[bc]0\d)"', r' style="fill: \1"', body)  # var() works in a style, not in an attribute
    body = re.sub(r"#0a0[bc]0\d", lambda found: _VARIABLES[found[0]], body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: inherit", body)
    body = re.sub(r"\s*\n\s*", " ", body).replace("> <", "><").strip()
    spoken = f'role="img" aria-label="{html.escape(description)}"' if description else 'aria-hidden="true"'
    return f'<svg class="chart" {spoken} viewBox="0 0 {size_px[0]} {size_px[1]}" focusable="false">{body}'

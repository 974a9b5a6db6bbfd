"""Charts of how far heat maps tell the truth about their network: plain values in, SVG text out, see `figures`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lentigo.report.figures import INK, MUTED, draw, model_style

_PANEL_PX = (340, 280)
_MARKED = 30  # layers; of more the marks run together, and a spoken list of them helps nobody
_KINDS = {"deletion": "Deletion", "insertion": "Insertion"}


def curve_panels(
    found: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], places: Mapping[str, int], *, name: str
) -> list[tuple[str, Markup]]:
    """Deletion and insertion, each a chart: the decision's probability against the share of pixels that is replaced.

    Solid lines with marks: the map's order; thin dotted ones: the same map moved to random places.

    Args:
        found: by network, the faithfulness part of explanation.json.
        places: of each network in the report, which gives its look.
        name: see `figures.score_bars`.
    """
    return [
        (title, Markup(_curves(found, titles, places, kind, name=f"{name}-{kind}")))
        for kind, title in _KINDS.items()
        if found
    ]


def layer_chart(layers: Sequence[Mapping[str, Any]], place: int, title: str, *, name: str) -> str:
    """Rank correlation with the trained network's maps, as its layers are given random weights from the last one on.

    Args:
        layers: of explanation.json, in the order of randomisation.
        place: of the network in the report, which gives its look.
        name: see `figures.score_bars`.
    """
    style = model_style(place)
    values = [_number(layer["correlation"]["value"]) for layer in layers]
    absolute = [_number(layer["absolute"]["value"]) for layer in layers]
    at = np.arange(1, len(layers) + 1)
    few = len(layers) <= _MARKED

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0, color=INK, linewidth=1, dashes=(4, 2), zorder=1)
        look: dict[str, Any] = {"marker": style.marker if few else "", "markersize": 5, "clip_on": False}
        axes.plot([0, *at], [1, *values], color=style.colour, dashes=style.dashes or (None, None), **look)
        axes.plot(
            [0, *at],
            [1, *absolute],
            color=MUTED,
            linewidth=1.3,
            dashes=(2, 2),
            marker="." if few else "",
            clip_on=False,
        )
        axes.set(xlim=(-0.2, max(len(layers), 1) + 0.2), ylim=(-1, 1), xlabel="Layers with random weights")
        axes.set(ylabel="Rank correlation")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))

    told = list(zip(layers, values, strict=True))[:: max(1, len(layers) // _MARKED)]
    spoken = ", ".join(f"{layer['name']} {_spoken(value)}" for layer, value in told)
    description = (
        f"Weights of {title} made random from the last layer on; correlation of maps with the trained ones: {spoken}."
    )
    return draw(paint, name=name, size_px=_PANEL_PX, description=description)


def _curves(
    found: Mapping[str, Mapping[str, Any]],
    titles: Mapping[str, str],
    places: Mapping[str, int],
    kind: str,
    *,
    name: str,
) -> str:
    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for model, told in found.items():
            curve = told["curves"]["blur"][kind]
            style = model_style(places[model])
            at = 100 * np.linspace(0, 1, len(curve["curve"]))
            look: dict[str, Any] = {"color": style.colour, "dashes": style.dashes or (None, None)}
            axes.plot(at, curve["curve"], marker=style.marker, markersize=4.5, clip_on=False, **look)
            axes.plot(at, curve["random_curve"], color=style.colour, linewidth=1.2, dashes=(1, 2))
        axes.set(xlim=(0, 100), ylim=(0, 1))
        axes.set(xlabel="Pixels replaced, %" if kind == "deletion" else "Pixels put back, %")
        axes.set(ylabel="Probability of its decision")

    spoken = "; ".join(
        f"{titles[model]}: {', '.join(map(_spoken, told['curves']['blur'][kind]['curve'])) or 'undefined'}"
        for model, told in found.items()
    )
    return draw(paint, name=name, size_px=_PANEL_PX, description=f"{_KINDS[kind]} curves. {spoken}.")


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _spoken(value: float | None) -> str:
    return "undefined" if value is None or math.isnan(value) else f"{value:.2f}"

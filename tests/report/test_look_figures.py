"""The charts of faithfulness, by their geometry: pixels in the SVG against the numbers they stand for."""

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from lentigo.report.figures import model_style
from lentigo.report.look_figures import curve_panels, layer_chart
from tests.report.made_up import explanation
from tests.report.test_evidence_figures import described, frame
from tests.report.test_figures import points

NAMES = ("tiny_vgg", "vgg11", "alexnet")
TITLES = {"tiny_vgg": "Tiny VGG", "vgg11": "VGG11", "alexnet": "Alex & <Net>"}
PLACES = {name: place for place, name in enumerate(NAMES)}


def curves(scale: float = 1.0) -> dict[str, Any]:
    """The faithfulness part of three networks; the curves of each lie lower than the one's before."""
    found = {}
    for place, name in enumerate(NAMES):
        told = explanation(place)["faithfulness"]
        for kind in ("deletion", "insertion"):
            one = dict(told["curves"]["blur"][kind])
            one |= {key: [scale * value / (1 + place) for value in one[key]] for key in ("curve", "random_curve")}
            told["curves"]["blur"] = told["curves"]["blur"] | {kind: one}
        found[name] = told
    return found


def drawn(svg: str, start: tuple[float, float], end: tuple[float, float], style: str) -> list[np.ndarray]:
    """The lines of a style, in the units of axes that go from `start` to `end`."""
    lower, upper = frame(svg)
    found = []
    for d, written in re.findall(r'<path d="([^"]+)"[^>]*? style="([^"]+)"', svg):
        if style in written and "fill: none" in written:
            share = (points(d) - lower) / (upper - lower)
            found.append(share * (np.array(end) - start) + start)
    return found


def series(place: int) -> str:
    return f"stroke: var(--series-{place + 1})"


def is_whole(svg: str) -> None:
    root = ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    assert root.tag == "svg"
    assert root.get("role") == "img"
    assert "nan" not in svg


# ---------------------------------------------------------------- deletion and insertion


def test_each_kind_is_a_chart_whose_lines_are_the_curves() -> None:
    found = curves()
    panels = curve_panels(found, TITLES, PLACES, name="c")
    assert [title for title, _ in panels] == ["Deletion", "Insertion"]
    for kind, (_, svg) in zip(("deletion", "insertion"), panels, strict=True):
        is_whole(svg)
        for name, place in PLACES.items():
            map_s, moved = drawn(svg, (0, 0), (100, 1), series(place))[:2]
            told = found[name]["curves"]["blur"][kind]
            for line, values in ((map_s, told["curve"]), (moved, told["random_curve"])):
                np.testing.assert_allclose(line[:, 0], np.linspace(0, 100, 11), atol=0.1)
                np.testing.assert_allclose(line[:, 1], values, atol=0.002)


def test_charts_are_read_aloud() -> None:
    (_, deletion), (_, insertion) = curve_panels(curves(), TITLES, PLACES, name="c")
    text = described(deletion)
    assert text.startswith("Deletion curves. Tiny VGG: 0.90, 0.85, 0.80, ")
    assert "VGG11: 0.45, 0.42, 0.40, " in text
    assert "Alex & <Net>: 0.30, " in text
    assert described(insertion).startswith("Insertion curves. ")


def test_ids_of_two_charts_differ() -> None:
    ids = [re.findall(r' id="([^"]+)"', svg) for _, svg in curve_panels(curves(), TITLES, PLACES, name="c")]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    assert all(name.startswith("c-deletion") for name in ids[0])


def test_each_network_keeps_its_look_where_another_is_left_out() -> None:
    found = curves()
    del found["tiny_vgg"]
    (_, svg), _ = curve_panels(found, TITLES, PLACES, name="c")
    assert drawn(svg, (0, 0), (100, 1), series(0)) == []
    assert len(drawn(svg, (0, 0), (100, 1), series(1))) == 2
    assert model_style(1).colour != model_style(0).colour


def test_without_curves_there_is_no_chart_and_without_values_no_line() -> None:
    assert curve_panels({}, TITLES, PLACES, name="c") == []
    found = {"tiny_vgg": explanation(0)["faithfulness"]}
    empty = found["tiny_vgg"]["curves"]["blur"]["deletion"] | {"curve": [], "random_curve": []}
    found["tiny_vgg"]["curves"]["blur"] = found["tiny_vgg"]["curves"]["blur"] | {"deletion": empty}
    (_, svg), _ = curve_panels(found, TITLES, PLACES, name="c")
    is_whole(svg)
    assert drawn(svg, (0, 0), (100, 1), series(0)) == []
    assert described(svg) == "Deletion curves. Tiny VGG: undefined."


# ---------------------------------------------------------------- random weights


def layers(*values: float | None, absolute: float | None = 0.5) -> list[dict[str, Any]]:
    return [
        {"name": f"layer{place}", "correlation": {"value": value}, "absolute": {"value": absolute}}
        for place, value in enumerate(values)
    ]


def test_the_line_starts_at_1_and_falls_with_each_layer() -> None:
    svg = layer_chart(layers(0.6, 0.2, -0.4), 1, "VGG11", name="l")
    is_whole(svg)
    (line,) = drawn(svg, (-0.2, -1), (3.2, 1), series(1))
    np.testing.assert_allclose(line, [[0, 1], [1, 0.6], [2, 0.2], [3, -0.4]], atol=0.01)
    (grey,) = [line for line in drawn(svg, (-0.2, -1), (3.2, 1), "stroke: var(--muted)") if len(line) == 4]
    np.testing.assert_allclose(grey[:, 1], [1, 0.5, 0.5, 0.5], atol=0.01)
    assert described(svg) == (
        "Weights of VGG11 made random from the last layer on; correlation of maps with the trained ones: layer0 0.60, "
        "layer1 0.20, layer2 -0.40."
    )


def test_a_correlation_far_below_0_stays_on_the_chart() -> None:
    svg = layer_chart(layers(-0.9), 0, "Tiny VGG", name="l")
    (line,) = drawn(svg, (-0.2, -1), (1.2, 1), series(0))
    np.testing.assert_allclose(line, [[0, 1], [1, -0.9]], atol=0.01)


@pytest.mark.parametrize("undefined", [None, float("nan")])
def test_an_undefined_layer_is_a_gap_and_told(undefined: float | None) -> None:
    svg = layer_chart(layers(0.5, undefined, 0.1, absolute=undefined), 0, "Tiny VGG", name="l")
    is_whole(svg)
    (line,) = drawn(svg, (-0.2, -1), (3.2, 1), series(0))
    assert line[:, 0] == pytest.approx([0, 1, 3], abs=0.01)  # the third layer's mark stands alone
    assert "layer1 undefined, layer2 0.10." in described(svg)


def test_a_network_without_layers_is_a_chart_without_a_line() -> None:
    is_whole(layer_chart([], 0, "Tiny VGG", name="l"))

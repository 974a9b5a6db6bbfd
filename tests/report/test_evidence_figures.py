"""The charts of the evidence, by their geometry: one mark a number, where the number says; none needs colour."""

import html
import math
import re

import numpy as np
import pytest

from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.report.evidence import Stressed
from lentigo.report.evidence_figures import (
    ForestRow,
    decision_curves,
    forest,
    reliability_diagram,
    stress_panels,
)
from tests.report.made_up import LABELS, assessment, evidence, evidence_with, logits_of, stressed
from tests.report.test_figures import points

NAN = math.nan


def marks(svg: str) -> list[tuple[float, float, str]]:
    """Place in pixels and style of each mark that is not a tick of an axis."""
    found = re.findall(r'<use href="[^"]+" x="([-\d.]+)" y="([-\d.]+)" style="([^"]+)"', svg)
    return [(float(x), float(y), style) for x, y, style in found if "stroke-width: 0.8" not in style]


def shapes(svg: str) -> set[str]:
    """The outlines of the marks."""
    return {d for d, style in re.findall(r'<path id="[^"]+" d="([^"]+)" style="([^"]+)"', svg) if "0.8" not in style}


def lines(svg: str, style: str) -> list[np.ndarray]:
    return [points(d) for d, found in re.findall(r'<path d="([^"]+)"[^>]*? style="([^"]+)"', svg) if style in found]


def described(svg: str) -> str:
    (text,) = re.findall(r'aria-label="([^"]*)"', svg)
    return html.unescape(text)


def frame(svg: str) -> tuple[np.ndarray, np.ndarray]:
    """Lower left and upper right corner of the axes, in pixels."""
    corners = [points(d) for d in re.findall(r'<path d="([^"]+)" style="fill: none"/>', svg)][-1]
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    return np.array([left, bottom]), np.array([right, top])


# ---------------------------------------------------------------- forest

ROWS = (
    ForestRow(name="very light (992)", intervals=(Interval(0.8, 0.7, 0.9), Interval(0.6, 0.45, 0.75))),
    ForestRow(name="dark (5)", intervals=(Interval(1.0, 0.3, 1.0), UNDEFINED), faint=True),
    ForestRow(name="""<b>&"$x$ (3)""", intervals=(UNDEFINED, UNDEFINED)),
    ForestRow(name="bare (2)", intervals=(Interval(0.5, NAN, NAN), UNDEFINED)),
)


def test_a_forest_has_a_mark_and_a_line_for_each_interval_in_its_place() -> None:
    svg = forest(ROWS, label="AUC", name="x", reference=0.5, left=0.5)
    (left, _), (right, _) = frame(svg)
    at = [0.3 + 0.7 * (x - left) / (right - left) for x, _, _ in marks(svg)]  # the axis starts where 1.0 reaches down
    assert at == pytest.approx([0.8, 0.6, 1.0, 0.5], abs=1e-4)
    colours = [re.findall(r"(?:fill|stroke): var\(--([\w-]+)\)", style) for _, _, style in marks(svg)]
    assert colours == [["series-1"] * 2, ["series-2"] * 2, ["card", "muted"], ["series-1"] * 2]
    assert len(shapes(svg)) == 2  # a circle and a square, filled or hollow
    bars = [0.3 + 0.7 * (line[:, 0] - left) / (right - left) for line in lines(svg, "stroke-width: 1.8")]
    assert np.array(bars) == pytest.approx(np.array([[0.7, 0.9], [0.45, 0.75], [0.3, 1.0]]), abs=1e-4)
    (reference,) = lines(svg, "stroke: var(--ink); stroke-width: 1.2")
    assert 0.3 + 0.7 * (reference[0, 0] - left) / (right - left) == pytest.approx(0.5, abs=1e-4)
    heights = [y for _, y, _ in marks(svg)]
    assert heights == sorted(heights)


def test_a_forest_says_its_numbers_and_what_is_undefined() -> None:
    svg = forest(ROWS, label="AUC", name="x")
    assert described(svg) == (
        "AUC, by row. very light (992): 0.80, 0.60; dark (5): 1.00, undefined; "
        """<b>&"$x$ (3): undefined, undefined; bare (2): 0.50, undefined."""
    )
    assert svg.count(">undefined<") == 1  # the row without any mark
    assert """&lt;b&gt;&amp;"$x$ (3)""" in svg  # text, neither markup nor a formula
    assert "nan" not in svg


def test_a_forest_s_row_may_have_a_line_of_its_own() -> None:
    rows = [
        ForestRow(name="a", intervals=(Interval(0.5, 0.4, 0.6),), reference=0.25),
        ForestRow(name="b", intervals=(Interval(0.5, 0.4, 0.6),)),
        ForestRow(name="c", intervals=(Interval(0.5, 0.4, 0.6),), reference=0.75),
    ]
    svg = forest(rows, label="Share", name="x")
    (left, _), (right, _) = frame(svg)
    drawn = lines(svg, "stroke: var(--ink); stroke-width: 1.2")
    at = [[(x - left) / (right - left) for x in line[:, 0]] for line in drawn]
    assert np.array(at) == pytest.approx(np.array([[0.25, 0.25], [0.75, 0.75]]), abs=1e-4)
    heights = [y for _, y, _ in marks(svg)]
    for line, own in zip(drawn, (heights[0], heights[2]), strict=True):
        assert [min(line[:, 1]) < height < max(line[:, 1]) for height in heights] == [
            height == own for height in heights
        ]
    assert described(svg) == "Share, by row. a: 0.50, dashed line 0.25; b: 0.50; c: 0.50, dashed line 0.75."


def test_a_forest_of_nothing_is_still_a_chart() -> None:
    svg = forest((ForestRow(name="a", intervals=(UNDEFINED,)),), label="AUC", name="x", left=0.5)
    assert marks(svg) == []
    assert ">undefined<" in svg
    assert re.findall(r">(0\.\d|1\.0)<", svg)[0] == "0.5"


def test_a_forest_grows_with_its_rows() -> None:
    def height(n: int) -> int:
        return int(re.findall(r'viewBox="0 0 \d+ (\d+)"', forest(ROWS[:1] * n, label="AUC", name="x"))[0])

    assert height(10) - height(2) == 8 * (height(2) - height(1))


# ---------------------------------------------------------------- calibration


def test_a_reliability_diagram_has_a_mark_a_bin_before_and_after() -> None:
    found = assessment()
    before, after = found.before, found.after
    assert before is not None
    assert after is not None
    svg = reliability_diagram(found, 1, "Vgg11", name="x")
    (left, bottom), (right, top) = frame(svg)
    hollow = [mark for mark in marks(svg) if "fill: var(--card)" in mark[2]]
    filled = [mark for mark in marks(svg) if "fill: var(--series-2)" in mark[2]]
    assert len(hollow) + len(filled) == len(marks(svg))
    for drawn, calibration in ((hollow, before), (filled, after)):
        shown = [((x - left) / (right - left), (y - bottom) / (top - bottom)) for x, y, _ in drawn]
        wanted = [(b.predicted, b.observed.value) for b in calibration.bins]
        assert np.array(shown) == pytest.approx(np.array(wanted), abs=1e-4)
        assert " ".join(f"{b.observed.value:.2f} at {b.predicted:.2f}," for b in calibration.bins)[:-1] in described(
            svg
        )
    assert described(svg).startswith("Reliability diagram of Vgg11. as the network gives them: ")
    # Told apart without colour: hollow on dashes, filled on a solid line.
    assert len(lines(svg, "stroke: var(--series-2); stroke-width: 1.4")) == 1
    assert "stroke-dasharray" in re.findall(r'style="([^"]*stroke: var\(--muted\); stroke-width: 1.4[^"]*)"', svg)[0]


def test_a_reliability_diagram_without_a_temperature_or_without_anything() -> None:
    svg = reliability_diagram(assessment(after=None), 0, "A", name="x")
    before = assessment().before
    assert before is not None
    assert len(marks(svg)) == len(before.bins)
    assert "at its temperature" not in described(svg)
    assert reliability_diagram(assessment(before=None, after=None), 0, "A", name="x") == ""


# ---------------------------------------------------------------- decision curves


def test_decision_curves_pass_where_the_net_benefit_is() -> None:
    whole = evidence()
    svg = decision_curves(whole, name="x")
    curve = whole.assessments["vgg11"].curve
    assert curve is not None
    (left, bottom), (right, top) = frame(svg)
    (drawn,) = [line for line in lines(svg, "stroke: var(--series-2)") if len(line) > 10]
    low, high = -0.45 * 10, 1.05 * 10  # per 1,000 people, of whom 10 have a malignant mole
    wanted = 1000 * curve.model
    shown = low + (high - low) * (drawn[:, 1] - bottom) / (top - bottom)
    assert shown[0] == pytest.approx(wanted[0], abs=1e-3)
    assert shown[-1] == pytest.approx(wanted[-1], abs=1e-3)
    assert drawn[[0, -1], 0] == pytest.approx([left, right], abs=1e-3)
    curves = re.findall(r'<path d="[^"]*" clip-path="[^"]*" style="([^"]*var\(--series-[^"]*)"', svg)
    assert len({tuple(re.findall(r"stroke-dasharray: [\d.,]+", style)) for style in curves}) == len(curves) == 3
    at_2 = [1000 * np.interp(0.02, found.curve.threshold, found.curve.model) for found in whole.assessments.values()]
    assert (
        described(svg)
        == "Decision curves. "
        + "; ".join(
            f"{title}: {value:.1f} at 2 percent" for title, value in zip(whole.titles.values(), at_2, strict=True)
        )
        + "."
    )


def test_without_a_curve_there_is_no_chart_and_looks_stay() -> None:
    assert decision_curves(evidence_with({"a": assessment(curve=None)}), name="x") == ""
    half = decision_curves(evidence_with({"a": assessment(curve=None), "b": assessment()}), name="x")
    assert "--series-1" not in half
    assert "--series-2" in half


# ---------------------------------------------------------------- stress


def test_a_panel_a_change_a_line_a_network_a_mark_a_strength() -> None:
    stress = evidence().stress
    places = {name: place for place, name in enumerate(evidence().titles)}
    panels = dict(stress_panels(stress, places, name="x"))
    assert list(panels) == ["blur", "hair"]
    ids = re.findall(r'\bid="([^"]+)"', "".join(panels.values()))
    assert len(ids) == len(set(ids))
    for change, svg in panels.items():
        (_, bottom), (_, top) = frame(svg)
        floor = math.floor(10 * min(s.auc for kept in stress.values() for s in kept.result.scores)) / 10
        for name, series in (("tiny_vgg", 1), ("coin", 3)):
            result = stress[name].result
            wanted = [result.clean_auc, *(s.auc for s in result.scores if s.change == change)]
            shown = [
                floor + (1 - floor) * (y - bottom) / (top - bottom)
                for _, y, style in marks(svg)
                if f"fill: var(--series-{series})" in style
            ]
            assert shown == pytest.approx(wanted, abs=1e-4)
            assert f"{name}: {', '.join(f'{value:.2f}' for value in wanted)}" in described(svg)
        assert len(marks(svg)) == 12
        assert len(shapes(svg)) == 2


def test_a_stress_test_of_one_class_says_undefined() -> None:
    benign = np.zeros(8, dtype=np.int64)
    test: Stressed = stressed(benign, np.linspace(-1, 1, 8))
    ((_, svg), _) = stress_panels({"a": test}, {"a": 0}, name="x")
    assert marks(svg) == []
    assert described(svg) == f"AUC under blur from strength 0 to 5. a: {', '.join(['undefined'] * 6)}."


def test_seven_networks_are_told_apart_by_their_marks() -> None:
    rows = (ForestRow(name="all (9)", intervals=tuple(Interval(0.1 * i, 0.0, 1.0) for i in range(1, 8))),)
    assert len(shapes(forest(rows, label="AUC", name="x"))) == 7
    logits = logits_of(LABELS)["coin"]
    changed = stressed(LABELS, logits)
    looks = [stress_panels({"a": changed}, {"a": place}, name="x")[0][1] for place in range(7)]
    assert len({frozenset(shapes(svg)) for svg in looks}) == 7

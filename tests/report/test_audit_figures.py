"""The chart of probes, by its geometry: pixels in the SVG against the numbers they stand for."""

import math
import re

import pytest

from lentigo.data.shortcuts import Probe
from lentigo.report import audit_figures
from lentigo.report.audit_figures import FOLDS, TEST, probe_chart, probe_swatch
from tests.report.made_up_audit import probe, without_test

FOLDS_COLOUR, TEST_COLOUR = "var(--series-1)", "var(--series-2)"


def lines(svg: str, colour: str) -> list[tuple[float, float, float]]:
    """Left end, right end and height of every interval of that colour."""
    found = re.findall(rf'<path d="M (\S+) (\S+) L (\S+) (\S+)[^"]*"[^>]*stroke: {re.escape(colour)}', svg)
    return [(float(left), float(right), float(up)) for left, up, right, _ in found]


def marks(svg: str, colour: str) -> list[tuple[float, float]]:
    found = re.findall(rf'<use href="[^"]*" x="(\S+)" y="(\S+)"[^>]*stroke: {re.escape(colour)}', svg)
    return [(float(x), float(y)) for x, y in found]


def scale(svg: str, value: float) -> float:
    """Pixels from the left of that AUC, by the grid at 0.6 and 0.8."""
    grid = {
        float(found[2]): float(found[0])
        for found in re.findall(r'<path d="M (\S+) \S+ L (\S+) [^>]*stroke: var\(--grid\).*?>([\d.]+)</text>', svg)
    }
    return grid[0.6] + (value - 0.6) * (grid[0.8] - grid[0.6]) / 0.2


def two() -> list[Probe]:
    return [
        probe("colour", 0.7, sees_lesion=True),
        probe("frame", 0.92, low=0.88, high=0.95, test_auc=0.9, test_low=0.8, test_high=0.97, called=True),
    ]


def test_marks_and_intervals_stand_where_the_numbers_are() -> None:
    svg = probe_chart(two(), name="x")
    frame, colour = lines(svg, FOLDS_COLOUR)  # what sees no lesion comes first
    assert frame[:2] == pytest.approx([scale(svg, 0.88), scale(svg, 0.95)], abs=0.02)
    assert colour[:2] == pytest.approx([scale(svg, 0.65), scale(svg, 0.75)], abs=0.02)
    assert [x for x, _ in marks(svg, FOLDS_COLOUR)] == pytest.approx([scale(svg, 0.92), scale(svg, 0.7)], abs=0.02)
    on_test = lines(svg, TEST_COLOUR)
    assert on_test[0][:2] == pytest.approx([scale(svg, 0.8), scale(svg, 0.97)], abs=0.02)
    assert [x for x, _ in marks(svg, TEST_COLOUR)] == pytest.approx([scale(svg, 0.9), scale(svg, 0.6)], abs=0.02)
    assert frame[2] < on_test[0][2] < colour[2] < on_test[1][2]  # test below folds, row below row
    chance = re.findall(r'<path d="M (\S+) \S+ L (\S+) \S+[^"]*"[^>]*stroke: var\(--ink\)', svg)
    assert [float(x) for x in chance[0]] == pytest.approx([scale(svg, 0.5)] * 2, abs=0.02)


def test_probes_are_told_apart_without_colour() -> None:
    svg = probe_chart(two(), name="x")
    looks = [audit_figures._LOOKS[what] for what in (FOLDS, TEST)]
    for what in ("marker", "linewidth"):
        assert looks[0][what] != looks[1][what]
    assert "markerfacecolor" in looks[1]  # open
    assert "markerfacecolor" not in looks[0]  # filled
    words = re.findall(r'<text style="([^"]*)"[^>]*>([^<]*)</text>', svg)
    bold = {text for style, text in words if re.search(r"font-weight: (700|bold)|font: [^;]*700", style)}
    assert bold == {"Frame"}  # called
    order = [text for _, text in words if text in ("No lesion in view", "Frame", "Lesion in view", "Colour")]
    assert order == ["No lesion in view", "Frame", "Lesion in view", "Colour"]


def test_the_chart_is_read_aloud_with_its_numbers() -> None:
    svg = probe_chart(two(), name="x")
    assert 'role="img"' in svg
    assert "Frame: 0.920, interval 0.880 to 0.950, 0.900 on the test part, called a shortcut" in svg
    assert "Colour: 0.700, interval 0.650 to 0.750, 0.600 on the test part" in svg


def test_without_a_test_part_there_is_one_mark_in_the_middle_of_the_row() -> None:
    with_test = probe_chart([probe("frame")], name="x")
    bare = probe_chart([probe("frame", **without_test())], name="x")
    assert not marks(bare, TEST_COLOUR)
    above, below = marks(with_test, FOLDS_COLOUR)[0][1], marks(with_test, TEST_COLOUR)[0][1]
    assert marks(bare, FOLDS_COLOUR)[0][1] == pytest.approx((above + below) / 2, abs=0.02)


def test_the_axis_reaches_every_interval() -> None:
    svg = probe_chart([probe("frame", 0.2, low=0.13, high=0.3, **without_test())], name="x")
    ((left, _, _),) = lines(svg, FOLDS_COLOUR)
    assert left == pytest.approx(scale(svg, 0.13), abs=0.02)
    axis = re.findall(r'<path d="M (\S+) (\S+) L (\S+) (\S+)[^"]*"[^>]*stroke: var\(--muted\)', svg)
    assert min(float(x) for line in axis for x in (line[0], line[2])) < left


def test_what_was_not_run_is_not_drawn() -> None:
    lost = probe("frame", math.nan, not_run="no image has a lesion mask")
    assert probe_chart([lost], name="x") == ""
    assert probe_chart([], name="x") == ""
    assert "Frame" not in probe_chart([lost, probe("corners")], name="x")


def test_a_title_is_text_whatever_it_holds() -> None:
    svg = probe_chart([probe("frame", title="<b>$x$</b> & co")], name="x")
    assert "&lt;b&gt;$x$&lt;/b&gt; &amp; co" in svg
    assert "<b>" not in svg


def test_swatches_differ_and_say_nothing() -> None:
    folds, test = (probe_swatch(what, name="x") for what in (FOLDS, TEST))
    assert folds != test
    assert 'aria-hidden="true"' in folds

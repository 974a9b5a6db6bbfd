"""The report's charts, by their geometry: pixels in the SVG against the numbers they stand for."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.report import figures
from tests.report.made_up import content


def points(d: str) -> np.ndarray:
    return np.array(re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", d), dtype=float)


def test_bars_are_as_high_as_the_scores() -> None:
    whole = content()
    keys = ("accuracy", "precision", "recall")
    svg = figures.score_bars(whole.models, keys, paper_scores=None, name="x")
    bars = re.findall(r'<path d="([^"]+)"[^>]*style="fill: var\(--series-1\)', svg)
    heights = [float(np.ptp(points(bar)[:, 1])) for bar in bars]
    grid = [points(d)[0, 1] for d in re.findall(r'<path d="([^"]+)"[^>]*stroke: var\(--grid\)', svg)]
    assert len(heights) == 3
    unit_px = max(grid) - min(grid)  # the grid goes from 0 to 1
    assert [height / unit_px for height in heights] == pytest.approx(
        [whole.models[0].scores[key] for key in keys], abs=1e-4
    )


def test_area_under_the_drawn_roc_curve_is_the_auc() -> None:
    whole = content()
    svg = figures.roc_curves([figures.scores_of(model) for model in whole.models], whole.labels, name="x")
    diagonal = points(re.findall(r'<path d="([^"]+)"[^>]*stroke: var\(--muted\); stroke-width: 1.2', svg)[0])
    curve = points(re.findall(r'<path d="([^"]+)"[^>]*stroke: var\(--series-1\)', svg)[0])
    across, up = ((curve - diagonal[0]) / (diagonal[1] - diagonal[0])).T  # pixels to rates
    area = np.sum(np.diff(across) * (up[1:] + up[:-1]) / 2)
    assert area == pytest.approx(whole.models[0].scores["auc"], abs=1e-4)


def test_models_differ_without_colour() -> None:
    assert len({style.dashes for style in figures.STYLES}) == len(figures.STYLES)
    assert len({style.marker for style in figures.STYLES}) == len(figures.STYLES)
    assert len({style.hatch for style in figures.STYLES}) == len(figures.STYLES)
    assert figures.model_style(len(figures.STYLES)) == figures.model_style(0)


def test_shared_axes_hold_every_finite_value() -> None:
    whole = content()
    wild = {"epoch": 7.0, "train_loss": math.nan, "validation_loss": 3.0, "validation_accuracy": 0.43}
    other = replace(whole.models[0], history=({**wild, "validation_auc": math.nan},))
    ends = figures.shared_axes([*whole.models, other])
    assert (ends.epochs, ends.score_floor) == (7, 0.4)
    assert 3.0 < ends.loss_top < 3.5
    assert figures.shared_axes([replace(whole.models[0], history=())]).epochs == 1


# ---------------------------------------------------------------- intervals and panels


def test_error_bars_reach_from_bound_to_bound_and_an_unknown_one_is_left_out() -> None:
    whole = content()
    keys = ("accuracy", "precision", "recall")
    bounds = {"accuracy": Interval(0.8, 0.7, 0.9), "precision": UNDEFINED, "recall": Interval(1.0, 0.25, 1.0)}
    svg = figures.score_bars(whole.models, keys, paper_scores=None, intervals={"tiny_vgg": bounds}, name="x")
    grid = [points(d)[0, 1] for d in re.findall(r'<path d="([^"]+)"[^>]*stroke: var\(--grid\)', svg)]
    zero, one = max(grid), min(grid)
    bars = [points(d) for d in re.findall(r'<path d="([^"]+)"[^>]*stroke: var\(--ink\); stroke-width: 1.6', svg)]
    reached = [sorted((zero - bar[:, 1]) / (zero - one)) for bar in bars]
    assert np.array(reached) == pytest.approx(np.array([[0.7, 0.9], [0.25, 1.0]]), abs=1e-4)
    assert "nan" not in svg
    plain = figures.score_bars(whole.models, keys, paper_scores=None, intervals={"other": bounds}, name="x")
    assert "stroke-width: 1.6" not in plain


@pytest.mark.parametrize(
    ("aucs", "panels"), [((0.9, 0.85), 2), ((0.95, 0.849), 1), ((0.95, math.nan), 2), ((math.nan,), 0)]
)
def test_the_corner_is_enlarged_where_it_holds_most_of_every_curve(aucs: tuple[float, ...], panels: int) -> None:
    whole = content()
    models = [replace(figures.scores_of(whole.models[0]), auc=auc) for auc in aucs]
    found = figures.roc_panels(models, whole.labels, name="x")
    assert len(found) == panels
    assert [("upper left corner" in svg) for svg in found] == [False, True][:panels]
    ids = re.findall(r'\bid="([^"]+)"', "".join(found))
    assert len(ids) == len(set(ids))


def test_what_a_curve_is_drawn_of() -> None:
    (model,) = content().models
    found = figures.scores_of(model)
    assert (found.title, found.auc, found.recall, found.specificity) == (
        model.title, model.scores["auc"], model.scores["recall"], model.scores["specificity"]
    )  # fmt: skip

"""The evidence as the page shows it: cells against the numbers of the assessment, and the sections on the page."""

import html
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lentigo.evidence.decisions import undecided
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.evidence.operating_points import sentence
from lentigo.report.checklist import checklist
from lentigo.report.evidence import Repeats
from lentigo.report.evidence_view import evidence_view, share_text
from lentigo.report.page import render_report
from lentigo.report.trials_view import short
from tests.report.made_up import (
    SHARPNESS,
    assessment,
    card_facts,
    content_with_evidence,
    evidence,
    evidence_with,
    facts,
    stressed,
)
from tests.report.page_parts import Page, assert_no_python, section

NAN = math.nan
TITLES = ["Tiny_Vgg", "Vgg11", "Coin"]


@pytest.fixture(scope="module")
def view() -> dict[str, Any]:
    return evidence_view(evidence(), (), checklist(facts()))


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(content_with_evidence())


def rows_of(text: str) -> list[list[str]]:
    """The cells of each row of the tables in a piece of a page, as text."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", text)
    return [
        [
            " ".join(html.unescape(re.sub(r"<[^>]+>", " ", cell)).split())
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)
        ]
        for row in rows
    ]


def three(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}".replace("-", "−")


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("interval", "cell"),
    [
        (Interval(0.95, 0.94, 0.9604), ("0.950", "0.940 to 0.960")),
        (Interval(-0.31, -0.5144, -0.0001), ("−0.310", "−0.514 to 0.000")),
        (Interval(0.5, NAN, NAN), ("0.500", "")),
        (UNDEFINED, ("undefined", "")),
    ],
)
def test_a_cell_holds_a_value_and_its_bounds(interval: Interval, cell: tuple[str, str]) -> None:
    assert short(interval) == cell


@pytest.mark.parametrize(
    ("share", "text"), [(0.01, "1 %"), (0.0025, "0.25 %"), (0.5, "50 %"), (1 / 3, "33.3 %"), (1.0, "100 %")]
)
def test_shares_in_percent(share: float, text: str) -> None:
    assert share_text(share) == text


# ---------------------------------------------------------------- pairs


def test_the_matrix_is_antisymmetric_and_holds_the_tests(view: dict[str, Any]) -> None:
    assert [title for title, _ in view["matrix"]] == TITLES
    cells = [row for _, row in view["matrix"]]
    assert all((cells[i][j] is None) == (i == j) for i in range(3) for j in range(3))
    for pair in evidence().pairs:
        i, j = (list(SHARPNESS).index(name) for name in (pair.a, pair.b))
        one, other, test = cells[i][j], cells[j][i], pair.tests["auc"]
        assert float(one.value.replace("−", "-")) == pytest.approx(test.difference, abs=5e-4)
        assert float(other.value.replace("−", "-")) == -float(one.value.replace("−", "-"))
        bounds = [float(bound.replace("−", "-")) for bound in one.interval.split(" to ")]
        assert bounds == pytest.approx([test.low, test.high], abs=5e-4)
        turned = [float(bound.replace("−", "-")) for bound in other.interval.split(" to ")]
        assert turned == [-bounds[1], -bounds[0]]
        assert (one.p, one.apart, one.reason) == (other.p, other.apart, other.reason)
        assert one.apart == (pair.adjusted["auc"] < 0.05)
    assert cells[0][2].value.startswith("+")
    assert cells[2][0].value.startswith("−")


def test_every_test_of_every_pair_is_in_the_table(view: dict[str, Any], page: str) -> None:
    assert [title for title, _ in view["pairs"]] == ["Tiny_Vgg less Vgg11", "Tiny_Vgg less Coin", "Vgg11 less Coin"]
    assert all(len(cells) == 3 for _, cells in view["pairs"])
    shown = rows_of(section(page, "pairs"))
    for title, cells in view["pairs"]:
        (row,) = [row for row in shown if row[0] == title]
        assert row[1:] == [f"{cell.value} {cell.interval} {cell.p}" for cell in cells]


def test_a_pair_without_a_test_says_why() -> None:
    pair = evidence().pairs[0]
    reason = "AUC needs both classes; check split.csv"
    lost = replace(pair.tests["auc"], difference=NAN, low=NAN, high=NAN, p_value=NAN, reason=reason)
    found = replace(pair, tests={**pair.tests, "auc": lost}, adjusted={**pair.adjusted, "auc": NAN})
    view = evidence_view(replace(evidence(), pairs=(found,)), (), ())
    cell = view["pairs"][0][1][0]
    assert (cell.value, cell.interval, cell.p, cell.apart) == ("undefined", "", "p undefined", False)
    assert cell.reason == "AUC needs both classes"
    assert view["matrix"][0][1][2] is None  # that pair was not compared


def test_seeds_each_with_its_row_then_mean_and_deviation(view: dict[str, Any]) -> None:
    kept = evidence().repeats["tiny_vgg"]
    first, second, last = view["seeds"]
    assert first == ("Tiny_Vgg", "0", [three(kept.scores[key][0]) for key in REPORTED_SCORES], False)
    assert second == ("Tiny_Vgg", "7", [three(kept.scores[key][1]) for key in REPORTED_SCORES], False)
    assert last[2] == [f"{three(kept.mean(key))} ± {three(kept.deviation(key))}" for key in REPORTED_SCORES]
    lost = Repeats(seeds=(0, 1), scores=dict.fromkeys(REPORTED_SCORES, (0.5, NAN)))
    rows = evidence_view(replace(evidence(), repeats={"coin": lost}), (), ())["seeds"]
    assert [row[2][0] for row in rows] == ["0.500", "undefined", "undefined"]


# ---------------------------------------------------------------- calibration, operating points


def test_calibration_rows_hold_the_numbers_before_and_after(view: dict[str, Any]) -> None:
    rows = view["calibration_rows"]
    temperature = evidence().assessments["tiny_vgg"].decisions.temperature
    assert [(title, what) for title, what, _ in rows[:2]] == [
        ("Tiny_Vgg", "as given"), ("Tiny_Vgg", f"at temperature {temperature:.2f}")
    ]  # fmt: skip
    assert [title for title, what, _ in rows if what == "as given"] == TITLES
    before = evidence().assessments["tiny_vgg"].before
    assert before is not None
    cells = [value for value, _ in rows[0][2]]
    parts = before.brier_parts
    assert cells == [
        three(value)
        for value in (
            before.ece.value, before.slope.value, before.intercept.value, before.brier.value, parts.reliability,
            parts.resolution, parts.uncertainty,
        )
    ]  # fmt: skip
    assert parts.reliability - parts.resolution + parts.uncertainty == pytest.approx(parts.score, abs=1e-12)


def test_hollow_and_filled_marks_are_explained_only_where_there_are_both(page: str) -> None:
    bare = replace(evidence(), assessments={n: replace(a, after=None) for n, a in evidence().assessments.items()})
    assert "Hollow marks: probabilities" in section(page, "calibration")
    assert "Hollow marks" not in section(render_report(content_with_evidence(evidence=bare)), "calibration")


def test_operating_points_hold_their_numbers_and_sentences(view: dict[str, Any], page: str) -> None:
    shown = section(page, "operating")
    for (title, rows, notes), found in zip(view["points"], evidence().assessments.values(), strict=True):
        assert title in shown
        assert len(rows) + len(notes) == 5
        for row, point in zip(rows, found.points, strict=True):
            assert row["cells"][:2] == [short(point.sensitivity), short(point.specificity)]
            assert row["cells"][2][0] == f"{100 * point.ppv.value:.2f} %"
            assert row["cells"][3][1] == f"{100 * point.npv.low:.2f} to {100 * point.npv.high:.2f}"
            assert float(row["cells"][4][0]) == pytest.approx(1 / point.ppv.value, rel=0.02)
            assert row["sentence"] == sentence(point)
            assert f"<li><b>{html.escape(row['title'])}:</b> {row['sentence']}" in shown.replace("&#39;", "&#x27;")
    assert view["points"][0][1][0]["at"] == "fixed, not chosen"
    assert re.fullmatch(r"probability 0\.\d{3}", view["points"][0][1][1]["at"])
    assert (view["prevalence"], view["test_share"]) == ("1 %", "50 %")


def test_operating_points_without_a_value() -> None:
    point = assessment().points[0]
    endless = replace(point, needed_to_biopsy=Interval(250.4, 12.34, math.inf), ppv=Interval(0.004, NAN, NAN))
    nothing = replace(point, ppv=UNDEFINED, npv=UNDEFINED, needed_to_biopsy=UNDEFINED, sensitivity=UNDEFINED)
    unbounded = replace(point, needed_to_biopsy=Interval(math.inf, NAN, NAN))
    view = evidence_view(evidence_with({"a": assessment(points=(endless, nothing, unbounded))}), (), ())
    first, second, third = (row["cells"] for row in view["points"][0][1])
    assert (first[4], first[2]) == (("250", "12.3 to ∞"), ("0.40 %", ""))
    assert [second[place] for place in (0, 2, 3, 4)] == [("undefined", "")] * 4
    assert third[4] == ("∞", "")


def test_thresholds_that_could_not_be_chosen_are_named() -> None:
    chosen = assessment().decisions
    lost = replace(chosen.thresholds[1], logit=NAN, reason="it needs both classes")
    some = assessment(decisions=replace(chosen, thresholds=(chosen.thresholds[0], lost)))
    none = assessment(decisions=undecided("nobody gave validation scores"))
    view = evidence_view(evidence_with({"a": some, "b": none}), (), ())
    assert view["points"][0][2] == ["Youden's could not be chosen: it needs both classes."]
    assert view["points"][1][2] == ["No other threshold: nobody gave validation scores."]


# ---------------------------------------------------------------- subgroups


def test_subgroup_tables_hold_the_scores_of_every_classifier(view: dict[str, Any], page: str) -> None:
    assert [group["column"] for group in view["subgroups"]] == ["Source", "Skin tone (estimated)"]
    for place, group in enumerate(view["subgroups"]):
        for index, row in enumerate(group["rows"]):
            for (title, cells), (name, found) in zip(row["models"], evidence().assessments.items(), strict=True):
                score = found.subgroups[place].scores[index]
                assert title == name.title()
                assert (row["name"], row["n"], row["malignant"]) == (score.name, str(score.n), str(score.n_malignant))
                auc = score.auc
                assert cells[0] == f"{three(auc.value)} ({three(auc.low)} to {three(auc.high)})"
                assert cells[2].startswith(three(score.specificity.value))
                assert all(text in section(page, "subgroups") for text in cells)
        assert len(group["charts"]) == 3
    assert view["subgroups"][0]["notes"] == []
    validity, unknown = view["subgroups"][1]["notes"]
    assert "it cannot tell a person's skin type, nor show that a model is fair" in validity
    assert unknown == "56 of 160 images have no value here."


def test_small_subgroups_are_faint_for_the_score_that_lacks_images_only() -> None:
    columns = assessment().subgroups[0]
    # 3 malignant and 900 benign images: the specificity says something, the AUC and the sensitivity do not.
    few = replace(columns.scores[0], name="few", n=903, n_malignant=3, unjudged=("auc", "sensitivity"))
    one = replace(few, name="one", auc=UNDEFINED, sensitivity=UNDEFINED, unjudged=("auc", "sensitivity"))
    view = evidence_view(evidence_with({"a": assessment(subgroups=(replace(columns, scores=(few, one)),))}), (), ())
    auc, sensitivity, specificity = view["subgroups"][0]["charts"]
    for chart in (auc, sensitivity):
        assert chart.count("fill: var(--card); stroke: var(--muted)") == 1
        assert chart.count(">undefined<") == 1
        assert "fill: var(--series-1)" not in chart
    assert len(re.findall(r"<use[^>]*fill: var\(--series-1\)", specificity)) == 2
    assert "fill: var(--card)" not in specificity


@pytest.mark.parametrize(
    ("n_malignant", "word", "score"), [(10, "malignant", "sensitivity"), (0, "benign", "specificity")]
)
def test_a_column_of_one_class_says_so_and_has_no_other_chart(n_malignant: int, word: str, score: str) -> None:
    columns = assessment().subgroups[0]
    lost = {name: UNDEFINED for name in ("auc", "sensitivity", "specificity") if name != score}
    scores = (replace(columns.scores[0], n=10, n_malignant=n_malignant, **lost),)
    found = replace(columns, scores=scores, unknown=1)
    (group,) = evidence_view(evidence_with({"a": assessment(subgroups=(found,))}), (), ())["subgroups"]
    assert group["notes"] == [
        "1 of 11 images has no value here.",
        f"All images with a value are {word}, so only the {score} can be given.",
    ]
    assert len(group["charts"]) == 1


def test_nothing_known_of_the_images_is_said() -> None:
    bare = replace(evidence(), assessments={n: replace(a, subgroups=()) for n, a in evidence().assessments.items()})
    page = render_report(content_with_evidence(evidence=bare))
    assert "Nothing is known of the images by which they could be grouped" in section(page, "subgroups")


# ---------------------------------------------------------------- other data, changed images


def test_own_and_other_data_stand_side_by_side(view: dict[str, Any], page: str) -> None:
    first, second = view["externals"]
    assert (first["name"], first["data"]) == ("elsewhere", "archive")
    for (title, lines), name in zip(first["rows"], SHARPNESS, strict=True):
        own, there = evidence().assessments[name], evidence().externals[0].assessments[name]
        assert title == name.title()
        assert [images for images, _ in lines] == ["own test images: 160, 80 malignant", "elsewhere: 60, 20 malignant"]
        for (_, cells), found in zip(lines, (own, there), strict=True):
            assert cells[0] == short(found.scores["auc"])
            assert cells[2] == short(found.partial_auc)
            assert len(cells) == 5
    assert "elsewhere (archive)" in page
    assert ">benign (benign)<" not in page
    assert second["rows"][0][1][1][1][0] == ("undefined", "")  # the AUC of images of one class


def test_thresholds_stand_side_by_side_here_and_there(view: dict[str, Any]) -> None:
    for (title, lines), name in zip(view["externals"][0]["points"], SHARPNESS, strict=True):
        own, there = evidence().assessments[name], evidence().externals[0].assessments[name]
        assert title == name.title()
        assert [line[0] for line in lines] == [
            point.threshold.title[0].upper() + point.threshold.title[1:] for point in own.points
        ]
        for (_, cells), here, other in zip(lines, own.points, there.points, strict=True):
            assert cells == [
                short(here.sensitivity), short(other.sensitivity), short(here.specificity), short(other.specificity)
            ]  # fmt: skip


def test_widest_gaps_stand_below_the_scores(view: dict[str, Any], page: str) -> None:
    for place, group in enumerate(view["subgroups"]):
        expected = [
            (name.title(), gap, found) for name, found in evidence().assessments.items()
            for gap in found.subgroups[place].gaps
        ]  # fmt: skip
        assert len(group["gaps"]) == len(expected) > 0
        pairs = sum(gap.n_pairs for subgroups in expected[0][2].subgroups for gap in subgroups.gaps)
        for (title, score, names, difference, p), (name, gap, _) in zip(group["gaps"], expected, strict=True):
            assert (title, names) == (name, f"{gap.high} over {gap.low}")
            assert score.lower() == gap.score
            assert difference == short(gap.difference)
            corrected = min(1.0, gap.p_alone * pairs)
            assert p == ("p < 0.001" if corrected < 0.001 else f"p = {corrected:.3f}")
        assert f"Widest gaps by {group['column'].lower()}" in page


def test_stress_tests_of_different_images_are_not_ranked() -> None:
    kept = dict(evidence().stress)
    order = list(kept)
    worse_first = sorted(order, key=lambda name: kept[name].result.relative_auc.value)
    kept = {name: kept[name] for name in worse_first}
    first = next(iter(kept))
    kept[first] = replace(kept[first], seed=9)
    view = evidence_view(replace(evidence(), stress=kept), (), ())
    assert view["stress_ranked"] is False
    assert [row[0] for row in view["stress_rows"]] == [name.title() for name in worse_first]


def test_the_most_robust_comes_first(view: dict[str, Any], page: str) -> None:
    rows = view["stress_rows"]
    results = {name.title(): kept.result for name, kept in evidence().stress.items()}
    left = [results[title].relative_auc.value for title, *_ in rows]
    assert left == sorted(left, reverse=True)
    for title, clean, changed, of_it, flips, worst, images in rows:
        result = results[title]
        assert clean == three(result.clean_auc)
        assert changed == three(sum(score.auc for score in result.scores) / 10)
        assert of_it.startswith(f"{100 * result.relative_auc.value:.1f} % (")
        assert flips == f"{100 * sum(score.flip_rate for score in result.scores) / 10:.1f} %"
        assert worst.startswith("Blur: " if result.worst == "blur" else "Hair: ")
        assert images == 160
    assert [title for _, title in view["stress_legend"]] == ["Tiny_Vgg", "Coin"]  # Vgg11 was not tested
    assert [title for title, _, _ in view["stress_panels"]] == ["Blur", "Hair"]
    assert "Gaussian blur" in section(page, "robustness")


def test_a_stress_test_without_an_auc() -> None:
    kept = stressed(np.zeros(6, dtype=np.int64), np.linspace(-1, 1, 6))
    view = evidence_view(replace(evidence(), stress={"coin": kept}), (), ())
    (row,) = view["stress_rows"]
    assert row[1:4] == ("undefined", "undefined", "undefined")
    assert row[5] == "–"
    assert evidence_view(replace(evidence(), stress={}), (), ())["stress_panels"] == []


# ---------------------------------------------------------------- checklists, the page


def test_checklists_count_and_link(view: dict[str, Any], page: str) -> None:
    items = checklist(facts())
    shown = section(page, "checklist")
    for (guideline, summary, rows), size in zip(view["checklists"], (52, 44), strict=True):
        of_list = [item for item in items if item.guideline == guideline]
        assert len(rows) == len(of_list) == size
        counted = sum(int(part.split()[0]) for part in summary.split(", "))
        assert counted == size
        answered = sum(item.status == "answered" for item in of_list)
        assert summary.startswith(f"{answered} answered, ")
        assert f"<summary>{guideline}: {summary}</summary>" in shown
    linked = set(re.findall(r'<a href="#([^"]+)">', shown))
    assert linked == {name for item in items for name in item.sections}


def test_cards_are_on_the_page(page: str) -> None:
    shown = section(page, "card")
    assert re.findall(r"<summary>(.*?)</summary>", shown) == TITLES
    assert shown.count("<details") == 3
    assert shown.count(" open>") == 1
    assert html.escape(card_facts().audit_sentence) in shown


def test_names_of_data_are_text_not_markup() -> None:
    evil = """<b>&"'$x$"""
    titles = dict.fromkeys(SHARPNESS, evil)
    columns = tuple(
        replace(group, column=evil, scores=tuple(replace(score, name=evil) for score in group.scores))
        for group in assessment().subgroups
    )
    found = {name: replace(a, subgroups=columns) for name, a in evidence().assessments.items()}
    externals = tuple(replace(external, name=evil, data=evil + evil) for external in evidence().externals)
    whole = replace(evidence(), titles=titles, assessments=found, externals=externals)
    page = render_report(content_with_evidence(evidence=whole))
    parts = Page(page)
    assert "<b>&" not in page
    assert "&amp;lt;" not in page
    assert parts.text.count(evil) > 100
    assert any(evil in (attributes.get("aria-label") or "") for attributes in parts.all("svg"))
    assert_no_python(page)


def test_sections_without_other_data_stress_pairs_and_seeds_say_what_to_do() -> None:
    bare = replace(evidence(), externals=(), stress={}, pairs=(), repeats={})
    page = render_report(content_with_evidence(evidence=bare))
    assert "<code>--external NAME=PATH</code>" in section(page, "external")
    assert "<code>lentigo stress RUN</code>" in section(page, "robustness")
    assert "nobody to be tested against" in section(page, "pairs")
    assert "trained anew" not in section(page, "pairs")

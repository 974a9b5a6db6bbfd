"""Where the networks look, as the page shows it: every cell against the number it stands for."""

import html
import math
import re
from dataclasses import astuple, replace
from typing import Any

import pytest

from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.evidence.means import MeanDifference
from lentigo.explain.looks import MEASURES, PRIMARY, Look, LookPair
from lentigo.explain.trust_pairs import TrustPair, trust_pairs
from lentigo.report import look_words as words
from lentigo.report.look import LookReport
from lentigo.report.look_figures import layer_chart
from lentigo.report.look_view import Cell, look_view
from lentigo.report.pieces import page_environment
from tests.report.made_up import SHARPNESS, explanation, look_report, looks, looks_of, survey, unmeasured
from tests.report.page_parts import Page, assert_all_is_named, assert_no_python
from tests.report.test_evidence_view import rows_of

NAN = math.nan
TITLES = ["Tiny_Vgg", "Vgg11", "Coin"]
PERCENT = ("inside", "pointing", "best_iou", "fixed_iou")
MAPS = [*TITLES, "Centre Gaussian", "Uniform map"]


@pytest.fixture(scope="module")
def view() -> dict[str, Any]:
    return look_view(look_report())


def shown(report: LookReport) -> str:
    """The section as the page has it, with single spaces."""
    macros: Any = page_environment().get_template("look_sections.html").module
    return " ".join(str(macros.look(look_view(report))).split())


@pytest.fixture(scope="module")
def page() -> str:
    return shown(look_report())


def tables(text: str) -> dict[str, list[list[str]]]:
    """The rows of each table by the name of its region, without the heads of columns."""
    found = {}
    for name, inner in re.findall(r'aria-label="([^"]+)" tabindex="0">(.*?)</table>', text):
        found[html.unescape(name)] = rows_of(inner[inner.index("<tbody>") :])
    return found


def cell_of(measure: str, interval: Interval) -> tuple[str, str]:
    """Value and bounds by hand."""
    if math.isnan(interval.value):
        return "undefined", ""
    if measure in PERCENT:
        value, bounds = f"{100 * interval.value:.1f} %", f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
    else:
        value, bounds = f"{interval.value:.3f}", f"{interval.low:.3f} to {interval.high:.3f}"
    return value, "" if math.isnan(interval.low) else bounds


# ---------------------------------------------------------------- at the common cells


def test_the_table_holds_every_map_s_measures(view: dict[str, Any], page: str) -> None:
    assert [(title, baseline) for title, baseline, _ in view["rows"]] == [
        *((title, False) for title in TITLES), ("Centre Gaussian", True), ("Uniform map", True)
    ]  # fmt: skip
    table = tables(page)["Localisation at common cells"]
    for look, (_, _, cells), written in zip(looks().looks.values(), view["rows"], table, strict=True):
        wanted = [cell_of(name, look.common[name]) for name in MEASURES]
        assert [(cell.value, cell.bounds) for cell in cells] == wanted
        assert written[1:] == [f"{value} {bounds}".strip() for value, bounds in wanted]
    assert [row[0] for row in table] == MAPS
    assert view["measure_titles"][0] == "Evidence inside the lesion"
    assert "All maps at 6 × 6 cells" in page


def test_the_second_method_s_table_is_of_its_own_numbers() -> None:
    other = looks_of(survey(), seed=3)
    report = look_report(second=other)
    table = tables(shown(report))["Localisation by HiResCAM"]
    assert [row[0] for row in table] == MAPS
    for look, written in zip(other.looks.values(), table, strict=True):
        assert written[1] == " ".join(cell_of(PRIMARY, look.common[PRIMARY]))
    assert look_view(report)["second_sentence"] == words.second_sentence(looks(), other)
    assert "Localisation by HiResCAM" not in tables(shown(look_report(second=None)))


def test_each_map_s_own_cells_stand_beside_the_centre_there(view: dict[str, Any], page: str) -> None:
    networks = [look for look in looks().looks.values() if not look.baseline]
    for look, (title, size, cells) in zip(networks, view["own_rows"], strict=True):
        assert (title, size) == (look.title, "{} × {}".format(*look.cells))
        for name, cell in zip(MEASURES, cells, strict=True):
            assert (cell.value, cell.bounds) == cell_of(name, look.own[name])
            assert cell.note == f"centre {cell_of(name, look.own_centre[name])[0]}"
    table = tables(page)["Localisation of each network’s own map"]
    assert [row[:2] for row in table] == [["Tiny_Vgg", "12 × 12"], ["Vgg11", "12 × 12"], ["Coin", "6 × 6"]]


def test_differences_have_signs_bounds_and_tests(view: dict[str, Any], page: str) -> None:
    pairs = [*looks().pairs, *looks().against_centre]
    assert [(first, second) for first, second, _ in view["pairs"]] == [
        ("Tiny_Vgg", "Vgg11"), ("Tiny_Vgg", "Coin"), ("Vgg11", "Coin"),
        *((title, "Centre Gaussian") for title in TITLES),
    ]  # fmt: skip
    for pair, (_, _, cells) in zip(pairs, view["pairs"], strict=True):
        for name, cell in zip(MEASURES, cells, strict=True):
            found, p = pair.differences[name].difference, pair.adjusted[name]
            digits, factor = (1, 100) if name in PERCENT else (3, 1)
            value, low, high = (
                f"{factor * number:+.{digits}f}".replace("-", "−") for number in (found.value, found.low, found.high)
            )
            assert cell.value == value
            assert cell.bounds == f"{low} to {high}"
            assert cell.strong == (p < 0.05)
            assert cell.note == ("p < 0.001" if p < 0.001 else f"p = {p:.3f}")
    written = tables(page)["Tests of the differences"]
    first = view["pairs"][0][2][0]
    assert [row[0] for row in written] == [f"{one} less {other}" for one, other, _ in view["pairs"]]
    assert written[0][1] == f"{first.value} {first.bounds} {first.note}"
    assert f"<strong>{first.value}</strong><small>{first.bounds}</small>" in page
    assert any(not cell.strong for *_, cells in view["pairs"] for cell in cells)


def test_classes_are_a_chart(view: dict[str, Any]) -> None:
    chart = view["class_chart"]
    for row, of in (("All images", "common"), ("Benign", "benign"), ("Malignant", "malignant")):
        values = [
            (look.common if of == "common" else look.by_class[of])[PRIMARY].value
            for name, look in looks().looks.items()
            if name != "uniform"
        ]
        *shares, centre = (f"{value:.2f}" for value in values)
        assert f"{row}: {', '.join(shares)}, dashed line {centre}" in html.unescape(chart)
    assert looks().looks["centre"].by_class["benign"] != looks().looks["centre"].by_class["malignant"]


def test_each_measure_s_order_and_verdict_are_a_row(page: str) -> None:
    rows = tables(page)["Order by each measure"]
    assert [row[0].lower() for row in rows] == [title.lower() for title in MEASURES.values()]
    for measure, (_, *titles, said) in zip(MEASURES, rows, strict=True):
        assert titles == [looks().looks[name].title for name in looks().rankings[measure]]
        assert said == {"holds": "holds", "undecided": "cannot be told"}[looks().verdicts[measure]]


def test_a_measure_that_contradicts_is_seen_in_the_table_and_in_the_verdict() -> None:
    def turned(pair: LookPair) -> LookPair:
        found = pair.differences["pixel_auc"]
        other = replace(found, difference=Interval(*(-number for number in astuple(found.difference))))
        return replace(pair, differences={**pair.differences, "pixel_auc": other})

    pairs = tuple(map(turned, looks().pairs))
    report = look_report(
        looks=replace(
            looks(), pairs=pairs, rankings={**looks().rankings, "pixel_auc": tuple(SHARPNESS)[::-1]},
            verdicts={**looks().verdicts, "pixel_auc": "refuted"},
        )
    )  # fmt: skip
    text = shown(report)
    assert tables(text)["Order by each measure"][-1] == ["Ranking of pixels, AUC", *TITLES[::-1], "is refuted"]
    assert "; but it is refuted by the AUC of pixels (Vgg11 and Coin are clearly ahead)." in text
    assert "by the AUC of pixels: Coin, Vgg11 and Tiny_Vgg" in text


def test_without_tiny_vgg_measures_have_orders_and_no_verdict() -> None:
    others = looks_of(survey(), ("vgg11", "coin"))
    text = shown(look_report(looks=others, second=others))
    rows = tables(text)["Order by each measure"]
    assert rows[0] == ["Evidence inside the lesion", *(others.looks[name].title for name in others.ranking)]
    assert "The paper’s verdict" not in text


def test_what_averaging_costs_is_said_where_cells_do_not_fit(page: str) -> None:
    assert "Averaging a map whose cells do not fit costs it up to 3.5 points" in page
    fitting = {name: replace(look, cells=look.cells and (6, 6)) for name, look in looks().looks.items()}
    assert "whose cells do not fit" not in shown(look_report(looks=replace(looks(), looks=fitting)))


def test_differences_name_the_images_they_are_of() -> None:
    assert "on the 31 images that every network’s map can be measured on" in shown(
        look_report(looks=replace(looks(), together=31, dropped={"empty map": 8}, empty={"coin": 8}))
    )


def test_artefacts_stand_beside_their_area(view: dict[str, Any], page: str) -> None:
    for look, (_, cells) in zip(looks().looks.values(), view["artefacts"], strict=False):
        share, area = look.artefacts["frame"]
        assert (cells[0].value, cells[0].bounds) == cell_of(PRIMARY, share)
        assert cells[0].note == f"area {100 * area.value:.1f} %"
        assert cells[1:] == [Cell(value="–")] * 2  # no image shows hair or a ruler
    assert tables(page)["Evidence on artefacts"][0][2:] == ["–", "–"]


def test_images_are_counted_by_state(view: dict[str, Any]) -> None:
    assert view["states"] == [(title, "39 measured") for title in TITLES]


def test_every_sentence_is_on_the_page(page: str) -> None:
    text = html.unescape(re.sub(r"\s+", " ", Page(page).text))
    for sentence in (*words.look_lines(looks()), words.second_sentence(looks(), look_report().second)):
        assert sentence in text
    for place, title in enumerate(TITLES):
        assert words.background_sentence(title, explanation(place)["background"]) in text


# ---------------------------------------------------------------- background and faithfulness


def test_background_rows_hold_shares_flips_and_aucs(view: dict[str, Any], page: str) -> None:
    assert len(view["background_rows"]) == 9
    title, fill, cells = view["background_rows"][4]
    assert (title, fill) == ("Vgg11", "one skin colour for all images")
    assert [cell.value for cell in cells] == ["40.0 %", "12.0 %", "40.0 %", "0.900", "0.850", "0.620"]
    assert [cell.bounds for cell in cells][:2] == ["35.0 to 45.0", "7.0 to 17.0"]
    assert cells[5].bounds == "0.570 to 0.670"
    table = tables(page)["Background and lesion replaced"]
    assert table[4][:2] == ["Vgg11 one skin colour for all images", "40.0 % 35.0 to 45.0"]
    assert [row[0] for row in table] == [f"{title} {fill}" for title in TITLES for fill in words.FILLS.values()]


def test_an_undefined_share_is_a_word() -> None:
    told = explanation(0)
    told["background"]["fills"]["own"] = told["background"]["fills"]["own"] | {
        "mean_share": dict.fromkeys(("value", "low", "high")),
        "auc_without_lesion": {"value": 0.5, "low": None, "high": None},
    }
    cells = look_view(look_report(runs={"tiny_vgg": told}))["background_rows"][0][2]
    assert cells[0] == Cell(value="undefined")
    assert cells[5] == Cell(value="0.500")


def test_curves_stand_beside_the_moved_map(view: dict[str, Any], page: str) -> None:
    assert view["sample"] == 32
    title, fill, (deletion, insertion) = view["curve_rows"][1]
    assert (title, fill) == ("Tiny_Vgg", "mean colour")
    assert deletion == Cell(
        value="0.600", bounds="0.550 to 0.650", note="moved 0.700, p = 0.010", strong=True
    )  # fmt: skip
    assert insertion == Cell(value="0.720", bounds="0.670 to 0.770", note="moved 0.700, p = 0.400")
    table = tables(page)["Deletion and insertion"]
    assert len(table) == 6
    assert table[0] == [
        "Tiny_Vgg blurred", "0.600 0.550 to 0.650 moved 0.700, p = 0.010", "0.720 0.670 to 0.770 moved 0.700, p = 0.400"
    ]  # fmt: skip
    assert [title for title, _ in view["curve_panels"]] == ["Deletion", "Insertion"]
    assert [title for title, _ in view["layer_charts"]] == TITLES


def test_curves_without_a_value_are_words() -> None:
    told = explanation(0)
    none = dict.fromkeys(("value", "low", "high"))
    nothing = {"area": none, "random": none, "difference": none, "p_value": None, "curve": [], "random_curve": []}
    told["faithfulness"]["curves"]["blur"] = {"deletion": nothing, "insertion": nothing, "undefined": 32}
    report = look_report(runs={"tiny_vgg": told})
    cells = look_view(report)["curve_rows"][0][2]
    assert cells[0] == Cell(value="undefined", note="moved undefined, p undefined")
    assert_no_python(shown(report))


def test_curves_are_bold_by_the_corrected_p_value_where_there_is_one() -> None:
    told = explanation(0)
    before = "bold where the two differ (p below 0.05)"
    assert before in shown(look_report(runs={"tiny_vgg": told}))  # files of before have none
    told["faithfulness"]["curves"] = {
        fill: {
            kind: {**curves[kind], "adjusted": adjusted} for kind, adjusted in (("deletion", 0.07), ("insertion", None))
        }
        for fill, curves in told["faithfulness"]["curves"].items()
    }
    report = look_report(runs={"tiny_vgg": told})
    deletion, insertion = look_view(report)["curve_rows"][0][2]
    assert (deletion.note, deletion.strong) == ("moved 0.700, p = 0.070", False)  # 0.01 as it was tested
    assert (insertion.note, insertion.strong) == ("moved 0.700, p undefined", False)
    text = shown(report)
    assert before not in text
    assert "(p below 0.05, corrected for the number of tests of a network by Holm)" in text
    mixed = look_report(runs={"tiny_vgg": told, "vgg11": explanation(1)})
    assert before in shown(mixed)


def test_draws_of_random_weights_are_told_where_all_networks_have_several() -> None:
    told = [explanation(place) for place in range(2)]
    runs = dict(zip(("tiny_vgg", "vgg11"), told, strict=True))
    for place, said in enumerate((False, True)):
        for layer in told[place]["faithfulness"]["layers"]:
            layer["draws"] = 5
        assert ("both are means over 5 draws of random weights." in shown(look_report(runs=runs))) == said


def test_methods_that_some_network_was_not_asked_by_have_no_column() -> None:
    told = [explanation(place) for place in range(2)]
    del told[1]["faithfulness"]["agreement"]["HiResCAM"]
    found = look_view(look_report(runs=dict(zip(("tiny_vgg", "vgg11"), told, strict=True))))
    assert found["methods"] == ["Occlusion"]
    assert [len(cells) for _, cells in found["alike"]] == [3, 3]


def single(shares: list[float | None], gains: list[float], stable: list[float] | None = None) -> dict[str, Any]:
    """What a run keeps of single images."""
    ids = [f"{k}.png" for k in range(8)]
    values = {"deletion_gain": {"mean": gains}} | ({"stability": {"0.03": stable}} if stable else {})
    return {
        "ids": ids,
        "background": {"positions": list(range(8)), "shares": {"common": shares}},
        "faithfulness": {"ids": ids[: len(gains)], "values": values},
    }


@pytest.fixture(scope="module")
def tested() -> tuple[TrustPair, ...]:
    """The first hangs less on the background, on all images; the gains differ on one; two have a stability."""
    low, high = [0.1, 0.2, 0.15, 0.1, 0.2, 0.1, 0.2, 0.1], [0.6, 0.7, 0.6, 0.7, 0.6, 0.7, 0.6, 0.7]
    runs = {
        "tiny_vgg": single(low, [0.25, 0.0, 0.0], [0.9, 0.8, 0.7]),
        "vgg11": single(high, [0.0] * 3),
        "coin": single([None] * 8, [0.0] * 3, [0.8, 0.7, 0.6]),
    }
    return trust_pairs(runs)


def test_networks_stand_beside_each_other_with_signs_bounds_and_corrected_p(tested: tuple[TrustPair, ...]) -> None:
    report = look_report(trust=tested)
    found, text = look_view(report), shown(report)
    assert found["trust_titles"] == [
        ("Background’s share", "one skin colour for all images"), ("Deletion gain", "mean colour"),
        ("Stability", "shift by 3 % of the side"),
    ]  # fmt: skip
    (first, second, cells), *others = found["trust_rows"]
    assert (first, second) == ("Tiny_Vgg", "Vgg11")
    share, gain = tested[0].differences["background_common"], tested[0].differences["deletion_gain_mean"]
    assert (share.p_value, tested[0].adjusted["background_common"]) == (2 / 256, 2 / 256)  # the other pairs have none
    assert cells[0] == Cell(
        value="−50.6",  # 14.375 % less 65 %
        bounds=f"−{-100 * share.difference.low:.1f} to −{-100 * share.difference.high:.1f}",
        note="p = 0.008",
        strong=True,
    )
    assert (cells[1].value, cells[1].note, cells[1].strong) == ("+0.083", "p = 1.000", False)
    assert cells[1].bounds == f"+{gain.difference.low:.3f} to +{gain.difference.high:.3f}"
    assert cells[2] == Cell(value="–")  # one of the two has no value at all
    assert [cell.value for cell in others[0][2]] == ["undefined", "+0.083", "+0.100"]
    table = tables(text)["Networks tested against each other"]
    assert [row[0] for row in table] == ["Tiny_Vgg less Vgg11", "Tiny_Vgg less Coin", "Vgg11 less Coin"]
    assert table[0][1] == f"{cells[0].value} {cells[0].bounds} {cells[0].note}"
    assert table[0][3] == "–"
    assert f"<strong>{cells[0].value}</strong>" in text
    assert "Background’s share<small>one skin colour for all images</small>" in text
    assert_no_python(text)


def test_p_values_of_the_table_are_the_corrected_ones(tested: tuple[TrustPair, ...]) -> None:
    name = "background_common"
    corrected = replace(tested[0], adjusted=tested[0].adjusted | {name: 0.2})
    cell = look_view(look_report(trust=(corrected,)))["trust_rows"][0][2][0]
    assert (cell.note, cell.strong) == ("p = 0.200", False)


def test_without_values_of_single_images_there_is_no_table_of_pairs(page: str) -> None:
    assert "Networks tested against each other" not in tables(page)
    assert "The networks beside each other" not in page


def test_of_the_shifts_the_largest_is_shown() -> None:
    difference = MeanDifference(difference=Interval(0.1, 0.0, 0.2), p_value=0.2, n=3)
    names = ("background_own", "stability_0.01", "stability_0.03")
    pair = TrustPair(
        first="tiny_vgg",
        second="vgg11",
        differences=dict.fromkeys(names, difference),
        adjusted=dict.fromkeys(names, 0.2),
    )
    found = look_view(look_report(trust=(pair,)))
    assert [title for title, _ in found["trust_titles"]] == ["Background’s share", "Stability"]
    assert found["trust_titles"][1][1] == "shift by 3 % of the side"
    assert [len(cells) for _, _, cells in found["trust_rows"]] == [2]


def test_stability_and_agreement(view: dict[str, Any], page: str) -> None:
    assert view["methods"] == ["HiResCAM", "Occlusion"]
    title, cells = view["alike"][0]
    assert title == "Tiny_Vgg"
    assert [(cell.value, cell.note) for cell in cells] == [
        ("0.900", "1 px"), ("0.700", "3 px"), ("0.800", ""), ("undefined", "")
    ]  # fmt: skip
    assert tables(page)["Other maps of the same image"] == [
        [title, "0.900 0.850 to 0.950 1 px", "0.700 0.650 to 0.750 3 px", "0.800 0.750 to 0.850", "undefined"]
        for title in TITLES
    ]


def test_the_background_within_a_source_has_its_own_row() -> None:
    told = explanation(0)
    told["background"]["within"] = {"isic2020": told["background"]["fills"]}
    rows = look_view(look_report(runs={"tiny_vgg": told}))["background_rows"]
    assert [fill for _, fill, _ in rows][3:] == ["one skin colour for all images; isic2020 alone"]
    assert rows[3][2] == rows[1][2]


def test_a_deep_network_s_layers_are_told_in_part_and_drawn_without_marks() -> None:
    of = {"value": 0.1, "low": 0.0, "high": 0.2}
    layers = [{"name": f"layer{n}", "correlation": of, "absolute": of} for n in range(90)]
    deep, shallow = (layer_chart(layers[:count], 0, "Deep", name="deep") for count in (90, 9))
    assert [f"layer{n} 0.10" in deep for n in (0, 1, 2, 3, 87)] == [True, False, False, True, True]
    assert all(f"layer{n} 0.10" in shallow for n in range(9))
    assert "<use" in shallow
    assert deep.count("<use") < shallow.count("<use")


def test_a_network_that_was_not_tested_is_left_out_and_the_others_keep_their_look() -> None:
    told = {name: explanation(place) for place, name in enumerate(SHARPNESS)}
    del told["tiny_vgg"]["faithfulness"]
    found = look_view(look_report(runs=told))
    assert [title for title, _ in found["layer_charts"]] == TITLES[1:]
    assert "var(--series-2)" in found["layer_charts"][0][1]
    assert "var(--series-1)" not in found["curve_panels"][0][1]


def test_without_background_and_tests_their_parts_are_not_there() -> None:
    report = look_report(runs={})
    found, text = look_view(report), shown(report)
    assert (found["background_rows"], found["faithful"], found["methods"]) == ([], False, [])
    assert "How much hangs on the background" not in text
    assert "Whether the maps tell the truth" not in text
    assert "Localisation at common cells" in text


# ---------------------------------------------------------------- nothing to show, and text that is no markup


def test_where_no_lesion_is_known_the_page_says_so() -> None:
    report = unmeasured(*SHARPNESS)
    found, text = look_view(report), shown(report)
    assert (found["measured"], found["class_chart"], found["second_sentence"]) == (False, None, "")
    assert "No lesion’s place is known, so nothing could be measured." in text
    assert "1 in which no lesion was found and 41 in which the lesion was found with too little confidence." in text
    assert tables(text) == {}
    assert_no_python(text)


def test_where_all_maps_are_empty_numbers_are_words() -> None:
    """The lesions are known, but no network has anything to say of any image."""
    whole = looks()

    def nothing(look: Look) -> Look:
        undefined = dict.fromkeys(MEASURES, UNDEFINED)
        return replace(
            look, common=undefined, own=undefined, own_centre=undefined,
            by_class=dict.fromkeys(look.by_class, undefined),
            artefacts=dict.fromkeys(look.artefacts, (UNDEFINED, UNDEFINED)), states={"empty map": 39},
        )  # fmt: skip

    pairs = tuple(
        replace(
            pair,
            differences={m: replace(d, difference=UNDEFINED, p_value=NAN, n=0) for m, d in pair.differences.items()},
            adjusted=dict.fromkeys(MEASURES, NAN),
        )
        for pair in whole.pairs
    )
    empty = replace(
        whole, looks={name: nothing(look) for name, look in whole.looks.items()}, pairs=pairs, against_centre=(),
        together=0, paper="not asked", dropped={"empty map": 39}, empty=dict.fromkeys(SHARPNESS, 39),
    )  # fmt: skip
    report = look_report(looks=empty, second=empty)
    text = shown(report)
    assert {cell for row in tables(text)["Localisation at common cells"] for cell in row[1:]} == {"undefined"}
    assert {cell for row in tables(text)["Tests of the differences"] for cell in row[1:]} == {"undefined"}
    assert tables(text)["Images measured"] == [[title, "39 with an empty map"] for title in TITLES]
    assert_no_python(text)


def test_one_network_has_nobody_to_be_compared_with() -> None:
    one = looks_of(survey(), ("vgg11",))
    report = LookReport(looks=one, second=one, runs={"vgg11": explanation(0)})
    found = look_view(report)
    assert (found["ranking"], found["paper"], found["second_sentence"]) == ("", "", "")
    assert [(first, second) for first, second, _ in found["pairs"]] == [("Vgg11", "Centre Gaussian")]
    assert "Order by each measure" not in tables(shown(report))
    assert_no_python(shown(report))


def test_titles_are_text_not_markup() -> None:
    title = """<b>x</b> & '$y$'"""
    named = {
        name: replace(look, title=title) if name == "coin" else look for name, look in looks().looks.items()
    }  # fmt: skip
    report = look_report(looks=replace(looks(), looks=named), second=replace(looks(), looks=named))
    text = shown(report)
    assert title not in text
    assert html.escape(title, quote=False).replace("'", "&#39;") in text
    assert_all_is_named(text)

"""What is said of where networks look: each sentence in each of its cases, by hand."""

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.evidence.means import MeanDifference
from lentigo.explain import background
from lentigo.explain.looks import MEASURES, PRIMARY, Look, LookPair, Looks, paper_verdict
from lentigo.report.look_words import (
    BY,
    FILLS,
    background_sentence,
    explanation_lines,
    look_lines,
    look_sentences,
    masks_sentence,
    orders_sentence,
    own_cells_sentence,
    paper_sentence,
    ranking_sentence,
    read_interval,
    second_sentence,
)
from tests.report.made_up import explanation, looks, unmeasured

NAN = math.nan
TITLES = {"tiny_vgg": "Tiny VGG", "vgg11": "VGG11", "alexnet": "AlexNet", "centre": "Centre Gaussian"}
SHARES = {"tiny_vgg": 0.4, "vgg11": 0.25, "alexnet": 0.301}
CENTRE = 0.3


def around(value: float) -> Interval:
    return Interval(value, value - 0.05, value + 0.05)


def look_of(name: str, values: Mapping[str, float]) -> Look:
    """A network of which nothing is known but its means."""
    measures = {measure: UNDEFINED if math.isnan(value) else around(value) for measure, value in values.items()}
    return Look(
        title=TITLES[name], baseline=name == "centre", cells=None, common=measures, own=measures, own_centre=measures,
        by_class={}, artefacts={}, states={},
    )  # fmt: skip


def pair_of(first: str, second: str, values: Mapping[str, Mapping[str, float]], p: Mapping[str, float]) -> LookPair:
    """`values` by measure and name, `p` by measure."""
    gaps = {measure: of[first] - of[second] for measure, of in values.items()}
    return LookPair(
        first=first,
        second=second,
        differences={
            measure: MeanDifference(difference=UNDEFINED if math.isnan(gap) else around(gap), p_value=p[measure], n=20)
            for measure, gap in gaps.items()
        },
        adjusted=p,
    )


Known = tuple[Mapping[str, float], Mapping[str, float]]


def looks_with(
    shares: Mapping[str, float] = SHARES,
    p: Mapping[str, float] | None = None,
    centre_p: float = 0.0005,
    *,
    others: Mapping[str, Known] | None = None,
    **changes: Any,
) -> Looks:
    """Networks with these means of every measure; `p` of Tiny VGG against each other one, 0.2 between the others.

    Args:
        others: by measure, means and p that differ.
    """
    known: dict[str, Known] = dict.fromkeys(MEASURES, (shares, p or {})) | dict(others or {})
    values = {measure: {**of, "centre": CENTRE} for measure, (of, _) in known.items()}
    found = {name: look_of(name, {measure: of[name] for measure, of in values.items()}) for name in (*shares, "centre")}
    pairs = tuple(
        pair_of(
            first, second, values,
            {m: of.get(second, 0.2) if first == "tiny_vgg" else 0.2 for m, (_, of) in known.items()},
        )
        for first, second in combinations(shares, 2)
    )  # fmt: skip
    rankings = {
        measure: tuple(sorted(shares, key=lambda name: -of[name] if of[name] == of[name] else 0))
        for measure, of in values.items()
    }
    verdicts = {measure: paper_verdict(pairs, rankings[measure], found, measure=measure) for measure in MEASURES}
    settings: dict[str, Any] = {
        "looks": found,
        "pairs": pairs,
        "against_centre": tuple(pair_of(name, "centre", values, dict.fromkeys(MEASURES, centre_p)) for name in shares),
        "ranking": rankings[PRIMARY],
        "rankings": rankings,
        "cells": 6,
        "images": 1234,
        "together": 1234,
        "dropped": {},
        "empty": dict.fromkeys(shares, 0),
        "masks": {"expert": 1234},
        "paper": verdicts[PRIMARY],
        "verdicts": verdicts,
        "inside": {},
    }
    return Looks(**{**settings, **changes})


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize(
    ("masks", "images", "text"),
    [
        ({"expert": 1234}, 1234, "Measured on 1,234 images with a lesion mask: 1,234 by an expert."),
        (
            {"automatic": 3, "expert": 5, "segmenter": 1},
            9,
            "Measured on 9 images with a lesion mask: 3 found automatically, 5 by an expert and 1 found by a trained "
            "segmenter.",
        ),
        (
            {"automatic": 3, "automatic, empty": 2, "automatic, low confidence": 1, "expert, empty": 4},
            3,
            "Measured on 3 images with a lesion mask: 3 found automatically; left out: 2 in which no lesion was found, "
            "1 in which the lesion was found with too little confidence and 4 with an empty mask.",
        ),
        (
            {"segmenter": 1, "segmenter, empty": 2, "segmenter, low confidence": 3},
            1,
            "Measured on 1 image with a lesion mask: 1 found by a trained segmenter; left out: 2 in which the "
            "segmenter found no lesion and 3 in which the segmenter had too little confidence.",
        ),
        (
            {"expert, empty": 2},
            0,
            "No lesion's place is known well enough to measure where the networks look: 2 with an empty mask.",
        ),
    ],
)
def test_masks_are_counted(masks: dict[str, int], images: int, text: str) -> None:
    assert masks_sentence(looks_with(masks=masks, images=images, together=images)) == text


@pytest.mark.parametrize(
    ("dropped", "empty", "text"),
    [
        (
            {"empty map": 1130}, {"tiny_vgg": 1100, "vgg11": 0, "alexnet": 50},
            "1,130 on which a network has no evidence for what the image is (Tiny VGG on 1,100 and AlexNet on 50).",
        ),
        (
            {"no lesion": 2, "all lesion": 1}, dict.fromkeys(SHARES, 0),
            "3 whose lesion is none, or all, of what every network sees.",
        ),
        (
            {"no lesion": 2, "empty map": 4}, {"tiny_vgg": 0, "vgg11": 4, "alexnet": 0},
            "4 on which a network has no evidence for what the image is (VGG11 on 4) and 2 whose lesion is none, or "
            "all, of what every network sees.",
        ),
    ],
)  # fmt: skip
def test_images_that_drop_out_are_counted(dropped: dict[str, int], empty: dict[str, int], text: str) -> None:
    together = 1234 - sum(dropped.values())
    whole = looks_with(together=together, dropped=dropped, empty=empty)
    assert masks_sentence(whole) == (
        "Measured on 1,234 images with a lesion mask: 1,234 by an expert. Networks are compared on "
        f"{together:,} of them, without {text}"
    )


# ---------------------------------------------------------------- beside the centre


@pytest.mark.parametrize(
    ("share", "p", "text"),
    [
        (0.4, 0.0004, "; a blot in the middle of every image, which knows nothing of it, has 30.0 % (p < 0.001)."),
        (0.1, 0.012, ", less than a blot in the middle of every image, which has 30.0 % (p = 0.012)."),
        (0.31, 0.3, "; that is not clearly more than a blot in the middle of every image has, 30.0 % (p = 0.300)."),
        (0.1, 0.05, "; that is not clearly more than a blot in the middle of every image has, 30.0 % (p = 0.050)."),
        (0.4, NAN, "; that is not clearly more than a blot in the middle of every image has, 30.0 % (p undefined)."),
    ],
)
def test_beside_a_blot_in_the_middle(share: float, p: float, text: str) -> None:
    (sentence,) = look_sentences(looks_with({"vgg11": share}, centre_p=p))
    low, high = 100 * (share - 0.05), 100 * (share + 0.05)
    assert sentence == f"VGG11 has {100 * share:.1f} % ({low:.1f} to {high:.1f}) of its evidence in the lesion{text}"


def test_a_network_that_could_not_be_measured_has_no_sentence() -> None:
    assert len(look_sentences(looks_with({"vgg11": NAN, "alexnet": 0.2}))) == 1
    assert look_sentences(unmeasured("tiny_vgg", "vgg11").looks) == []


# ---------------------------------------------------------------- the ranking


def test_ranking_names_each_step() -> None:
    assert ranking_sentence(looks_with(p={"alexnet": 0.0314, "vgg11": 0.0001})) == (
        "By the share of evidence inside the lesion, at 6 × 6 cells: Tiny VGG is 9.9 points above AlexNet (p = 0.031); "
        "AlexNet is 5.1 points above VGG11 (p = 0.200)."
    )


def test_equal_networks_are_nothing_apart() -> None:
    assert "Tiny VGG is 0.0 points above VGG11 (p = 1.000)" in ranking_sentence(
        looks_with({"tiny_vgg": 0.3, "vgg11": 0.3}, p={"vgg11": 1.0})
    )


def test_what_could_not_be_measured_is_not_ranked() -> None:
    assert ranking_sentence(looks_with({"vgg11": 0.3})) == ""
    assert ranking_sentence(looks_with({"tiny_vgg": NAN, "vgg11": 0.3})) == ""
    some = ranking_sentence(looks_with({"tiny_vgg": 0.4, "vgg11": 0.3, "alexnet": NAN}))
    assert some.endswith("cells: Tiny VGG is 10.0 points above VGG11 (p = 0.200).")


def test_other_measures_may_give_other_orders() -> None:
    assert orders_sentence(looks_with(p=SURE)) == "All measures give this order."
    others = {"pixel_auc": (WORST, SURE), "fixed_iou": (WORST, {}), "pointing": (SHARES | {"alexnet": 0.2}, {})}
    assert orders_sentence(looks_with(p=SURE, others=others)) == (
        "Other orders, by the strongest point: Tiny VGG, VGG11 and AlexNet; by the overlap at 20 % of the maximum and "
        "the AUC of pixels: AlexNet, VGG11 and Tiny VGG; the same by the evidence inside by area and the best overlap. "
        "Clearly the other way round: AlexNet is above Tiny VGG by the AUC of pixels; VGG11 is above Tiny VGG by the "
        "AUC of pixels."
    )
    del others["pixel_auc"]
    assert orders_sentence(looks_with(p=SURE, others=others)).endswith(
        "the AUC of pixels. None of them clearly turns two networks round."
    )
    assert orders_sentence(looks_with({"vgg11": 0.3})) == ""
    assert (
        orders_sentence(looks_with({"tiny_vgg": 0.4, "vgg11": 0.3, "alexnet": NAN})) == "All measures give this order."
    )


def test_every_measure_has_words() -> None:
    assert list(BY) == list(MEASURES)


# ---------------------------------------------------------------- the paper's choice

BEST = "On these images, against AlexNet and VGG11, the paper's verdict, that Tiny VGG looks at the mole best, "
SURE, UNSURE = {"vgg11": 0.001, "alexnet": 0.001}, {"vgg11": 0.001, "alexnet": 0.3}
WORST = SHARES | {"tiny_vgg": 0.2}
BELOW = "Tiny VGG is still clearly below a blot in the middle of every image, which knows nothing."


@pytest.mark.parametrize(
    ("shares", "p", "verdict", "text"),
    [
        (SHARES, SURE, "holds", "holds by all measures."),
        (SHARES, UNSURE, "undecided", "cannot be told by any measure."),
        (
            WORST, SURE, "refuted",
            f"is refuted by all measures (AlexNet and VGG11 are clearly ahead). By all measures {BELOW}",
        ),
        (  # the first of the ranking is not the one that is clearly above
            WORST, UNSURE, "refuted", f"is refuted by all measures (VGG11 is clearly ahead). By all measures {BELOW}",
        ),
    ],
)  # fmt: skip
def test_the_paper_s_choice(shares: dict[str, float], p: dict[str, float], verdict: str, text: str) -> None:
    found = looks_with(shares, p)
    assert found.paper == verdict
    assert paper_sentence(found) == BEST + text


def test_the_paper_s_choice_where_measures_contradict_each_other() -> None:
    others = {
        "pixel_auc": (SHARES | {"tiny_vgg": 0.29}, {"alexnet": 0.0001, "vgg11": 0.0001}),
        "pointing": (WORST, SURE),
        "fixed_iou": (SHARES, UNSURE),
    }
    found = looks_with(p=SURE, others=others)
    assert found.paper == "holds"
    assert paper_sentence(found) == (
        f"{BEST}holds by the share of evidence inside, the evidence inside by area and the best overlap; but it is "
        "refuted by the strongest point (AlexNet and VGG11 are clearly ahead) and by the AUC of pixels (AlexNet is "
        "clearly ahead); it cannot be told by the overlap at 20 % of the maximum. By the strongest point and the AUC "
        f"of pixels {BELOW}"
    )
    turned = paper_sentence(looks_with(WORST, SURE, centre_p=0.2, others={"pixel_auc": (SHARES, SURE)}))
    assert turned.startswith(f"{BEST}is refuted by the share of evidence inside, ")
    assert turned.endswith(" (AlexNet and VGG11 are clearly ahead); but it holds by the AUC of pixels.")
    open_ = paper_sentence(looks_with(p=UNSURE, others={"pixel_auc": (WORST, UNSURE), "pointing": (SHARES, SURE)}))
    assert open_.startswith(f"{BEST}cannot be told by the share of evidence inside, ")
    assert "; it holds by the strongest point; it is refuted by the AUC of pixels (VGG11 is clearly ahead)." in open_


def test_a_choice_that_holds_may_still_be_less_than_a_blot() -> None:
    low = {name: share / 2 for name, share in SHARES.items()}
    found = looks_with(low, SURE, others={"best_iou": (SHARES, SURE)})
    assert found.paper == "holds"
    assert paper_sentence(found) == (
        f"{BEST}holds by all measures. By the share of evidence inside, the evidence inside by area, the strongest "
        f"point, the overlap at 20 % of the maximum and the AUC of pixels {BELOW}"
    )
    assert paper_sentence(looks_with(low, SURE, centre_p=0.05)) == f"{BEST}holds by all measures."


def test_the_pair_may_stand_the_other_way_round() -> None:
    turned = looks_with({"vgg11": 0.3, "tiny_vgg": 0.2}, centre_p=0.2)
    pair = replace(turned.pairs[0], adjusted=dict.fromkeys(MEASURES, 0.01))
    verdict = paper_verdict((pair,), turned.ranking, turned.looks)
    turned = replace(turned, pairs=(pair,), paper=verdict, verdicts=dict.fromkeys(MEASURES, verdict))
    assert (pair.first, pair.second) == ("vgg11", "tiny_vgg")
    assert paper_sentence(turned).endswith("is refuted by all measures (VGG11 is clearly ahead).")
    assert "VGG11 is 10.0 points above Tiny VGG (p = 0.010)" in ranking_sentence(turned)


@pytest.mark.parametrize("shares", [{"tiny_vgg": 0.4}, {"vgg11": 0.4, "alexnet": 0.3}, {"tiny_vgg": NAN, "vgg11": 0.3}])
def test_the_paper_s_choice_is_not_asked_without_tiny_vgg_or_another(shares: dict[str, float]) -> None:
    assert paper_sentence(looks_with(shares)) == ""


# ---------------------------------------------------------------- by another method


START = "By the share of evidence inside HiResCAM ranks the networks in"


def test_another_method_s_ranking() -> None:
    first = looks_with(p=SURE)
    assert second_sentence(first, first) == (
        f"{START} the same order: Tiny VGG, AlexNet and VGG11. With its maps the paper's verdict holds by all measures."
    )
    assert second_sentence(first, looks_with(WORST, SURE)) == (
        f"{START} another order: AlexNet, VGG11 and Tiny VGG. The ranking hangs on the method: clearly turned round "
        "are Tiny VGG against AlexNet and Tiny VGG against VGG11. With its maps the paper's verdict is refuted by all "
        "measures (AlexNet and VGG11 are clearly ahead)."
    )
    assert second_sentence(first, looks_with(p=SURE, others={"pixel_auc": (SHARES, UNSURE)})).endswith(
        "and the overlap at 20 % of the maximum; it cannot be told by the AUC of pixels."
    )
    without = looks_with({"vgg11": 0.3, "alexnet": 0.2})
    assert second_sentence(without, without) == f"{START} the same order: VGG11 and AlexNet."


def test_an_order_that_turns_no_clear_pair_does_not_hang_on_the_method() -> None:
    unsure = {"vgg11": 0.3, "alexnet": 0.3}
    text = second_sentence(looks_with(p=unsure), looks_with(WORST, SURE))
    assert (
        "another order: AlexNet, VGG11 and Tiny VGG. No pair that Grad-CAM's maps tell apart is clearly turned" in text
    )


def test_a_network_on_the_other_side_of_the_blot_at_its_own_cells_is_told() -> None:
    plain = looks_with({"tiny_vgg": 0.41, "vgg11": 0.3})
    assert own_cells_sentence(plain) == ""
    tiny = plain.looks["tiny_vgg"]
    above = tiny.common[PRIMARY].value > plain.looks["centre"].common[PRIMARY].value
    blot = replace(tiny.own[PRIMARY], value=0.9 if above else 0.1)
    turned = replace(tiny, cells=(24, 24), own_centre={**tiny.own_centre, PRIMARY: blot})
    found = replace(plain, looks={**plain.looks, "tiny_vgg": turned})
    text = own_cells_sentence(found)
    assert text.startswith(
        "But Tiny VGG at its own 24 × 24 cells, on all images that it can be measured on, has 41.0 % ("
    )
    assert text.endswith(f"{'less' if above else 'more'} than the blot's {90 if above else 10}.0 % there.")


FEW: list[dict[str, float]] = [{"tiny_vgg": 0.3}, {"tiny_vgg": NAN, "vgg11": NAN}, {"tiny_vgg": 0.3, "vgg11": NAN}]


@pytest.mark.parametrize("shares", FEW)
def test_nothing_is_said_of_a_ranking_of_one(shares: dict[str, float]) -> None:
    few, many = looks_with(shares), looks_with()
    assert second_sentence(few, few) == second_sentence(many, few) == second_sentence(few, many) == ""


# ---------------------------------------------------------------- the background


def told(**changes: Any) -> dict[str, Any]:
    fill = explanation(0)["background"]["fills"]["common"] | changes
    return {"fills": {"own": explanation(0)["background"]["fills"]["own"], "common": fill}}


def test_background_in_words() -> None:
    start = (
        "AlexNet: with one skin colour in place of all that lies outside the lesion, 12.0 % (7.0 to 17.0) of its "
        "decisions turn"
    )
    whole = "with the same colour in place of the lesion its AUC is"
    assert background_sentence("AlexNet", told()) == (
        f"{start}; {whole} 0.520 (0.470 to 0.570), where it has 0.900 (0.850 to 0.950) on the whole images: without "
        "the lesion it is not clearly better than chance."
    )
    seeing = {"value": 0.62, "low": 0.57, "high": 0.67}
    assert background_sentence("AlexNet", told(auc_without_lesion=seeing)).endswith(
        "whole images: it tells malignant from benign without seeing the lesion, its place and outline apart."
    )
    edge = {"value": 0.55, "low": 0.5, "high": 0.6}
    assert "not clearly better" in background_sentence("AlexNet", told(auc_without_lesion=edge))
    one_class = {"value": None, "low": None, "high": None}
    assert background_sentence("AlexNet", told(auc_without_lesion=one_class)) == f"{start}."


@pytest.mark.parametrize("undefined", [None, NAN])
def test_a_background_that_was_not_measured_has_no_sentence(undefined: float | None) -> None:
    share = dict.fromkeys(("value", "low", "high"), undefined)
    assert background_sentence("AlexNet", told(mean_share=share)) == ""
    assert background_sentence("AlexNet", {}) == ""
    assert background_sentence("AlexNet", {"fills": {}}) == ""


def test_every_fill_has_words() -> None:
    assert set(FILLS) == set(background.FILLS)


# ---------------------------------------------------------------- for the terminal


def test_lines_of_a_comparison() -> None:
    whole = looks()
    lines = look_lines(whole)
    assert lines == [
        masks_sentence(whole), *look_sentences(whole), ranking_sentence(whole), orders_sentence(whole),
        paper_sentence(whole),
    ]  # fmt: skip
    assert len(lines) == 7
    for name in ("tiny_vgg", "vgg11", "coin"):
        share = whole.looks[name].common[PRIMARY]
        assert f"{100 * share.value:.1f} % ({100 * share.low:.1f} to {100 * share.high:.1f})" in " ".join(lines)
    alone = looks_with({"vgg11": 0.3})
    assert look_lines(alone) == [masks_sentence(alone), *look_sentences(alone)]
    nothing = look_lines(unmeasured("tiny_vgg", "vgg11").looks)
    assert nothing[0].startswith("No lesion's place is known well enough")
    assert len(nothing) == 1


def about_of(share: Any, **changes: Any) -> dict[str, Any]:
    """As explanation.json has it, or as it is before it is written."""
    centre = {PRIMARY: {"value": 0.2, "low": 0.1, "high": 0.3}}
    found = {"title": "VGG11", "own": {PRIMARY: share}, "own_centre": centre}
    look = {"ranking": ["vgg11"], "looks": {"vgg11": found}, "masks": {"expert": 7}, "images": 7}
    return {"look": look, **changes}


def test_lines_of_one_run() -> None:
    lines = explanation_lines(about_of({"value": 0.25, "low": 0.2, "high": 0.3}, background=told()))
    assert lines == [
        "Measured on 7 images with a lesion mask: 7 by an expert.",
        "VGG11 has 25.0 % (20.0 to 30.0) of its evidence in the lesion; a blot in the middle of every image, which "
        "knows nothing of it, has 20.0 % (10.0 to 30.0).",
        background_sentence("VGG11", told()),
    ]


@pytest.mark.parametrize("undefined", [None, NAN])
def test_lines_of_a_run_without_a_measure_or_a_background(undefined: float | None) -> None:
    share = dict.fromkeys(("value", "low", "high"), undefined)
    assert explanation_lines(about_of(share)) == ["Measured on 7 images with a lesion mask: 7 by an expert."]


def test_empty_maps_of_one_run_are_counted() -> None:
    about = about_of({"value": 0.25, "low": 0.2, "high": 0.3})
    assert len(explanation_lines(about)) == 2  # a file that does not count them
    about["look"]["looks"]["vgg11"]["states"] = {"measured": 4, "empty map": 3}
    assert explanation_lines(about)[1] == "VGG11 has no evidence for what the image is on 3 of them."


def test_intervals_come_back_from_json() -> None:
    assert read_interval({"value": 0.5, "low": 0.4, "high": 0.6}) == Interval(0.5, 0.4, 0.6)
    found = read_interval({"value": 0.5, "low": None, "high": None})
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)

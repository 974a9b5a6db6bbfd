"""Where networks look, in sentences, for the report and the terminal. Each is computed from the numbers."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from lentigo.evidence.intervals import Interval
from lentigo.explain.looks import LEVEL, PRIMARY, Look, LookPair, Looks
from lentigo.report.evidence_words import CHANCE, p_text
from lentigo.report.texts import count_text, interval_text, listed, minus_text, percent_text, score_text

FILLS = {
    "own": "the colour of the image's own skin",
    "common": "one skin colour for all images",
    "blur": "a blur of itself",
}


def look_lines(looks: Looks) -> list[str]:
    """For the terminal: what was measured, each network's share, and what becomes of the paper's choice."""
    return [
        masks_sentence(looks),
        *look_sentences(looks),
        *filter(None, [ranking_sentence(looks), paper_sentence(looks)]),
    ]


def explanation_lines(about: Mapping[str, Any]) -> list[str]:
    """For the terminal, from one run's explanation.json."""
    look = about["look"]
    (name,) = look["ranking"]
    found = look["looks"][name]
    lines = [_masks_sentence(look["masks"], look["images"])]
    share, blot = read_interval(found["own"][PRIMARY]), read_interval(found["own_centre"][PRIMARY])
    if not math.isnan(share.value):
        lines.append(
            f"{found['title']} has {percent_text(share)} of its evidence in the lesion; a blot in the middle of every "
            f"image, which knows nothing of it, has {percent_text(blot)}."
        )
    if sentence := background_sentence(found["title"], about.get("background", {})):
        lines.append(sentence)
    return lines


def segmenter_lines(score: Mapping[str, Any]) -> list[str]:
    """For the terminal, from a segmenter's segmentation.json."""
    mean = Interval(score["jaccard"], score["jaccard_low"], score["jaccard_high"])
    images, unsure, below = score["n_images"], score["n_low_confidence"], score["share_below_half"]
    half = score_text(score["quantiles"]["0.5"])
    lines = [
        f"mean Jaccard index with the experts' masks {interval_text(mean)} on {count_text(images)} images; half of "
        f"them have {half} or more, {100 * below:.1f} % less than 0.5"
    ]
    if unsure < images:
        confident, ranks = score_text(score["jaccard_confident"]), score_text(score["rank_correlation"])
        lines.append(
            f"{count_text(unsure)} of them lie below the confidence asked for; the others have {confident} on average; "
            f"rank correlation of confidence and index: {ranks}"
        )
    if score["n_left_out"]:
        lines.append(f"{count_text(score['n_left_out'])} more images have no mask, or an empty one")
    return lines


def masks_sentence(looks: Looks) -> str:
    """How many images were measured, by whose masks, and how many were left out."""
    text = _masks_sentence(looks.masks, looks.images)
    if looks.together == looks.images:
        return text
    return (
        f"{text} Networks are compared on the {count_text(looks.together)} of them on which each has something to say "
        "for what the image is; an empty map has no place."
    )


def look_sentences(looks: Looks) -> list[str]:
    """Each network beside the centre Gaussian, at the common cells."""
    return [
        _beside_centre(looks.looks[pair.first], looks.looks["centre"], pair)
        for pair in looks.against_centre
        if not math.isnan(looks.looks[pair.first].common[PRIMARY].value)
    ]


def ranking_sentence(looks: Looks) -> str:
    """Which network has more of its evidence in the lesion than which; empty where there is nothing to rank."""
    known = _known(looks)
    if len(known) < 2:
        return ""
    titles = {name: looks.looks[name].title for name in known}
    steps = [
        f"{titles[better]} is {_points(difference)} above {titles[worse]} ({p_text(p)})"
        for better, worse in pairwise(known)
        for difference, p in [_between(looks, better, worse)]
    ]
    return f"By the share of evidence inside the lesion, at {looks.cells} × {looks.cells} cells: {'; '.join(steps)}."


def paper_sentence(looks: Looks) -> str:
    """What becomes of the paper's choice; empty where it is not asked."""
    if looks.paper == "not asked":
        return ""
    others = [name for name in looks.ranking if name != "tiny_vgg"]
    against = listed([looks.looks[name].title for name in others])
    verdict = "The paper's verdict, that Tiny VGG looks at the mole best,"
    if looks.paper == "holds":
        return (
            f"{verdict} holds on these images against {against}: a larger share of its evidence lies in the lesion, by "
            "more than chance explains."
        )
    if looks.paper == "refuted":
        ahead = [looks.looks[name].title for name in others if _clearly_above(looks, name, "tiny_vgg")]
        have = "has" if len(ahead) == 1 else "have"
        return (
            f"{verdict} does not hold on these images: {listed(ahead)} {have} a larger share of evidence in the "
            "lesion, by more than chance explains."
        )
    each = {1: "", 2: "both "}.get(len(others), "all of ")
    return (
        f"{verdict} is neither confirmed nor refuted on these images: its share of evidence in the lesion is not above "
        f"that of {each}{against} by more than chance explains."
    )


def second_sentence(looks: Looks, second: Looks) -> str:
    """Whether HiResCAM ranks the networks as Grad-CAM does, and what it makes of the paper's choice."""
    if any(len(_known(each)) < 2 for each in (looks, second)):
        return ""
    ranked = listed([second.looks[name].title for name in second.ranking])
    if second.ranking == looks.ranking:
        text = f"HiResCAM ranks the networks in the same order: {ranked}."
    else:
        text = f"HiResCAM ranks the networks in another order: {ranked}. The ranking hangs on the method."
    if second.paper == "not asked":
        return text
    said = {"holds": "holds", "refuted": "does not hold", "undecided": "is neither confirmed nor refuted"}[second.paper]
    return f"{text} By its maps the paper's verdict {said}."


def background_sentence(title: str, background: Mapping[str, Any]) -> str:
    """How much of a network's decisions hangs on what is around the lesion; empty where it was not measured."""
    told = background.get("fills", {}).get("common")
    if not told or math.isnan(read_interval(told["mean_share"]).value):
        return ""
    flips = read_interval(told["flips_without_background"])
    auc, without = read_interval(told["auc"]), read_interval(told["auc_without_lesion"])
    text = (
        f"{title}: with one skin colour in place of all that lies outside the lesion, {percent_text(flips)} of its "
        "decisions turn"
    )
    if math.isnan(without.value):
        return f"{text}."
    text += f"; with the same colour in place of the lesion its AUC is {interval_text(without)}, where it has "
    text += f"{interval_text(auc)} on the whole images"
    if without.low > CHANCE:
        return f"{text}: it tells malignant from benign without seeing the lesion."
    return f"{text}: without the lesion it is not clearly better than chance."


def read_interval(found: Mapping[str, float | None]) -> Interval:
    """An interval out of a JSON file, where null stands for NaN."""
    value, low, high = (math.nan if (number := found[key]) is None else number for key in ("value", "low", "high"))
    return Interval(value, low, high)


def _masks_sentence(masks: Mapping[str, int], images: int) -> str:
    used = {state: n for state, n in masks.items() if ", " not in state}
    out = {state: n for state, n in masks.items() if ", " in state}
    if not used:
        return f"No lesion's place is known well enough to measure where the networks look: {_counted(out)}."
    noun = "image" if images == 1 else "images"
    text = f"Measured on {count_text(images)} {noun} with a lesion mask: {_counted(used)}"
    return f"{text}; left out: {_counted(out)}." if out else f"{text}."


def _beside_centre(look: Look, centre: Look, pair: LookPair) -> str:
    share, difference, p = look.common[PRIMARY], pair.differences[PRIMARY].difference, pair.adjusted[PRIMARY]
    text = f"{look.title} has {percent_text(share)} of its evidence in the lesion"
    whole = f"{100 * centre.common[PRIMARY].value:.1f} %"
    if math.isnan(p) or p >= LEVEL:
        return f"{text}; that is not clearly more than a blot in the middle of every image has, {whole} ({p_text(p)})."
    if difference.value > 0:
        return f"{text}; a blot in the middle of every image, which knows nothing of it, has {whole} ({p_text(p)})."
    return f"{text}, less than a blot in the middle of every image, which has {whole} ({p_text(p)})."


def _known(looks: Looks) -> list[str]:
    """The networks that could be measured, in the order of the ranking."""
    return [name for name in looks.ranking if not math.isnan(looks.looks[name].common[PRIMARY].value)]


def _clearly_above(looks: Looks, name: str, other: str) -> bool:
    difference, p = _between(looks, name, other)
    return difference > 0 and p < LEVEL


def _between(looks: Looks, name: str, other: str) -> tuple[float, float]:
    """By how much the first network's share inside is above the other's, and the corrected p value."""
    (pair,) = [pair for pair in looks.pairs if {pair.first, pair.second} == {name, other}]
    difference = pair.differences[PRIMARY].difference.value
    return difference if pair.first == name else -difference, pair.adjusted[PRIMARY]


def _points(difference: float) -> str:
    return minus_text(f"{100 * difference:.1f}") + " points"


def _counted(states: Mapping[str, int]) -> str:
    names = {
        "expert": "by an expert",
        "automatic": "found automatically",
        "segmenter": "found by a trained segmenter",
        "expert, empty": "with an empty mask",
        "automatic, empty": "in which no lesion was found",
        "segmenter, empty": "in which the segmenter found no lesion",
        "automatic, low confidence": "in which the lesion was found with too little confidence",
        "segmenter, low confidence": "in which the segmenter had too little confidence",
    }
    return listed([f"{count_text(n)} {names[state]}" for state, n in states.items()])

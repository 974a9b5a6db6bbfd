"""Where networks look, in sentences, for the report and the terminal. Each is computed from the numbers."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

from lentigo.evidence.intervals import Interval
from lentigo.explain.localisation import EMPTY_MAP
from lentigo.explain.looks import LEVEL, MEASURES, PRIMARY, Look, LookPair, Looks
from lentigo.report.evidence_words import CHANCE, p_text
from lentigo.report.texts import count_text, interval_text, listed, minus_text, percent_text, score_text

BY = {  # measures within a sentence
    "inside": "the share of evidence inside",
    "density": "the evidence inside by area",
    "pointing": "the strongest point",
    "best_iou": "the best overlap",
    "fixed_iou": "the overlap at 20 % of the maximum",
    "pixel_auc": "the AUC of pixels",
}
VERDICTS = {"holds": "holds", "refuted": "is refuted", "undecided": "cannot be told"}
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
        *filter(
            None, [own_cells_sentence(looks), ranking_sentence(looks), orders_sentence(looks), paper_sentence(looks)]
        ),
    ]


def explanation_lines(about: Mapping[str, Any]) -> list[str]:
    """For the terminal, from one run's explanation.json."""
    look = about["look"]
    (name,) = look["ranking"]
    found = look["looks"][name]
    lines = [_masks_sentence(look["masks"], look["images"])]
    if empty := found.get("states", {}).get(EMPTY_MAP):  # files of before need not count them
        lines.append(f"{found['title']} has no evidence for what the image is on {count_text(empty)} of them.")
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
        f"mean Jaccard index with the experts' masks {interval_text(mean)}, 95 % interval, on {count_text(images)} "
        f"images; half of them have {half} or more, {100 * below:.1f} % less than 0.5"
    ]
    if unsure == images:
        lines.append("all of them lie below the confidence asked for: `lentigo explain --segmenter` would use no mask")
    else:
        confident, ranks = score_text(score["jaccard_confident"]), score_text(score["rank_correlation"])
        lines.append(
            f"{count_text(unsure)} of them lie below the confidence asked for; the others have {confident} on average; "
            f"rank correlation of confidence and index: {ranks}"
        )
    if score["n_left_out"]:
        lines.append(f"{count_text(score['n_left_out'])} more without a mask, or with an empty one, were left out")
    return lines


def masks_sentence(looks: Looks) -> str:
    """How many images were measured, by whose masks, and how many were left out."""
    text = _masks_sentence(looks.masks, looks.images)
    if looks.together == looks.images:
        return text
    out = []
    if empty := looks.dropped.get(EMPTY_MAP):
        of = listed([f"{looks.looks[name].title} on {count_text(n)}" for name, n in looks.empty.items() if n])
        out.append(f"{count_text(empty)} on which a network has no evidence for what the image is ({of})")
    if unseen := sum(looks.dropped.values()) - (empty or 0):
        out.append(f"{count_text(unseen)} whose lesion is none, or all, of what every network sees")
    return f"{text} Networks are compared on {count_text(looks.together)} of them, without {listed(out)}."


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


def orders_sentence(looks: Looks) -> str:
    """Whether other measures rank as the share inside does, and which clearly say otherwise; empty: nothing to rank."""
    known = _known(looks)
    if len(known) < 2:
        return ""
    others: dict[tuple[str, ...], list[str]] = {}
    for measure, names in looks.rankings.items():
        others.setdefault(tuple(name for name in names if name in known), []).append(measure)
    same = others.pop(tuple(known), [PRIMARY])
    if not others:
        return "All measures give this order."
    orders = [f"by {_by(of)}: {_titles(looks, names)}" for names, of in others.items()]
    also = f"; the same by {_by(same[1:])}" if same[1:] else ""
    return f"Other orders, {'; '.join(orders)}{also}. {_turned(looks, known)}"


def paper_sentence(looks: Looks) -> str:
    """What becomes of the paper's choice, by which measures; empty where it is not asked."""
    if looks.paper == "not asked":
        return ""
    against = _titles(looks, [name for name in looks.ranking if name != "tiny_vgg"])
    verdict = "the paper's verdict, that Tiny VGG looks at the mole best,"
    text = f"On these images, against {against}, {verdict} {_verdicts(looks)}."
    below = [measure for measure in MEASURES if _clearly_below_centre(looks, "tiny_vgg", measure)]
    if not below:
        return text
    blot = "a blot in the middle of every image, which knows nothing"
    return f"{text} By {_by(below)} Tiny VGG is still clearly below {blot}."


def second_sentence(looks: Looks, second: Looks) -> str:
    """Whether HiResCAM ranks the networks as Grad-CAM does, and what it makes of the paper's choice."""
    if any(len(_known(each)) < 2 for each in (looks, second)):
        return ""
    ranked = _titles(second, second.ranking)
    start = "By the share of evidence inside HiResCAM ranks the networks in"
    if second.ranking == looks.ranking:
        text = f"{start} the same order: {ranked}."
    else:
        text = f"{start} another order: {ranked}. {_turned_by_method(looks, second)}"
    return text if second.paper == "not asked" else f"{text} With its maps the paper's verdict {_verdicts(second)}."


def own_cells_sentence(looks: Looks) -> str:
    """Of networks that lie on the other side of the blot at their own cells; empty where there is none."""
    told = []
    for name in _known(looks):
        look, centre = looks.looks[name], looks.looks["centre"]
        own, blot = look.own[PRIMARY], look.own_centre[PRIMARY]
        if (own.value - blot.value) * (look.common[PRIMARY].value - centre.common[PRIMARY].value) < 0:
            cells = " × ".join(map(str, look.cells or ()))
            told.append(
                f"{look.title} at its own {cells} cells, on all images that it can be measured on, has "
                f"{percent_text(own)}, {'more' if own.value > blot.value else 'less'} than the blot's "
                f"{100 * blot.value:.1f} % there"
            )
    return f"But {'; '.join(told)}." if told else ""


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
        return f"{text}: it tells malignant from benign without seeing the lesion, its place and outline apart."
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


def _turned_by_method(looks: Looks, second: Looks) -> str:
    pairs = [(a, b) for a in _known(looks) for b in _known(looks) if b in _known(second) and a in _known(second)]
    turned = [
        (a, b)
        for a, b in pairs
        if a != b and _clearly_above(looks, a, b, PRIMARY) and _clearly_above(second, b, a, PRIMARY)
    ]
    if not turned:
        return "No pair that Grad-CAM's maps tell apart is clearly turned round."
    named = [f"{looks.looks[a].title} against {looks.looks[b].title}" for a, b in turned]
    return f"The ranking hangs on the method: clearly turned round are {listed(named)}."


def _known(looks: Looks) -> list[str]:
    """The networks that could be measured, in the order of the ranking."""
    return [name for name in looks.ranking if not math.isnan(looks.looks[name].common[PRIMARY].value)]


def _verdicts(looks: Looks) -> str:
    """By which measures the paper's verdict holds, by which not; that of the share inside comes first."""
    first = looks.verdicts[PRIMARY]
    text = ""
    for verdict in sorted(VERDICTS, key=lambda verdict: verdict != first):
        if of := [measure for measure, said in looks.verdicts.items() if said == verdict]:
            contrary = {first, verdict} == {"holds", "refuted"}
            text += ("; but it " if contrary else "; it ") if text else ""
            text += f"{VERDICTS[verdict]} {_verdict_by(looks, verdict, of)}"
    return text


def _verdict_by(looks: Looks, verdict: str, measures: list[str]) -> str:
    """The measures; where they refute, with the networks that are clearly above Tiny VGG."""
    if verdict != "refuted":
        whole = "all measures" if verdict == "holds" else "any measure"
        return f"by {_by(measures, whole)}"
    by: dict[tuple[str, ...], list[str]] = {}
    for measure in measures:
        ahead = tuple(name for name in looks.ranking if _clearly_above(looks, name, "tiny_vgg", measure))
        by.setdefault(ahead, []).append(measure)
    parts = []
    for ahead, of in by.items():
        are = "is" if len(ahead) == 1 else "are"
        parts.append(f"by {_by(of)} ({_titles(looks, ahead)} {are} clearly ahead)")
    return listed(parts)


def _turned(looks: Looks, known: Sequence[str]) -> str:
    """Pairs whose order another measure clearly turns round."""
    turned = []
    for better, worse in combinations(known, 2):
        if of := [measure for measure in MEASURES if _clearly_above(looks, worse, better, measure)]:
            turned.append(f"{looks.looks[worse].title} is above {looks.looks[better].title} by {_by(of)}")
    if not turned:
        return "None of them clearly turns two networks round."
    return f"Clearly the other way round: {'; '.join(turned)}."


def _by(measures: Sequence[str], whole: str = "all measures") -> str:
    return whole if len(measures) == len(MEASURES) else listed([BY[measure] for measure in measures])


def _titles(looks: Looks, names: Sequence[str]) -> str:
    return listed([looks.looks[name].title for name in names])


def _clearly_above(looks: Looks, name: str, other: str, measure: str) -> bool:
    if name == other:
        return False
    difference, p = _between(looks, name, other, measure)
    return difference > 0 and p < LEVEL


def _clearly_below_centre(looks: Looks, name: str, measure: str) -> bool:
    return any(
        pair.first == name and pair.differences[measure].difference.value < 0 and pair.adjusted[measure] < LEVEL
        for pair in looks.against_centre
    )


def _between(looks: Looks, name: str, other: str, measure: str = PRIMARY) -> tuple[float, float]:
    """By how much the first network is above the other, and the corrected p value."""
    (pair,) = [pair for pair in looks.pairs if {pair.first, pair.second} == {name, other}]
    difference = pair.differences[measure].difference.value
    return difference if pair.first == name else -difference, pair.adjusted[measure]


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

"""What a probe's numbers mean, in a sentence or two for a reader who has never seen one. Computed, never more than
the numbers carry.
"""

import math

from lentigo.data.probe_views import View
from lentigo.evidence.intervals import Interval

SIGNIFICANT = 0.01  # of the p value, after Holm
MATTERS = 0.55  # the AUC's lower bound must lie above: below, too few pairs are ranked right to carry a high score
WIDE = 0.6  # an upper bound above it is worth a word where nothing was found
NO_LESION = 0.0005  # a share below it is shown as none
_REACHED = ("frame", "corners", "dark_corners")  # seen there: skin, and of a large lesion a part
_WITHOUT_LESION = "a score of this size says nothing about moles."
_IF_CALLED = {
    "colour": "a network that scores no higher may have learned colours and nothing else.",
    "thumbnail": "a network that scores no higher may have used no detail finer than that.",
    "file_size": "it grows with the picture's detail, so lesion and camera both have a part in it.",
    **dict.fromkeys(
        ("age", "sex", "site", "skin_tone"),
        "the classes differ in it, and a network may read it off the skin, so compare scores where it is the same.",
    ),
    "mask_given": "the classes were not gathered in the same way.",
}


def meaning_of(
    view: View, *, auc: Interval, test_auc: float, n_images: int, p_value: float, called: bool, not_run: str
) -> str:
    """Args:
    auc: out of folds, with its 95 % interval.
    test_auc: on the split's test images, or NaN.
    p_value: adjusted.
    not_run: why there are no numbers; else empty.
    """
    if not_run:
        return f"{view.title} was not probed: {not_run}."
    aside = _apart_from_lesion(view)
    seen = view.seen + aside
    found = f"AUC {auc.value:.2f}, 95 % interval {auc.low:.2f} to {auc.high:.2f}, adjusted p = {p_value:.2g}"
    if called:
        on_test = "" if math.isnan(test_auc) else f" ({test_auc:.2f} on the test images)"
        says = _IF_CALLED.get(view.name, _WITHOUT_LESION)
        return f"An AUC of {auc.value:.2f}{on_test} can be had from {seen}: {says}"
    if p_value < SIGNIFICANT and auc.value > 0.5:
        return f"A trace of the label can be had from {seen} ({found}): too little to explain a high score."
    if auc.low > MATTERS:
        return (
            f"The label may be told from {seen} ({found}), but not beyond doubt: "
            "of the models on shuffled labels, too many do as well."
        )
    text = f"The label cannot be told from {seen}{',' * bool(aside)} better than by chance ({found})."
    if auc.high > WIDE:
        text += f" With {n_images:,} images an AUC of up to {auc.high:.2f} is not ruled out."
    return text


def _apart_from_lesion(view: View) -> str:
    if view.name in _REACHED:
        if math.isnan(view.lesion_share):
            return ", where a lesion seldom reaches"
        if view.lesion_share < NO_LESION:
            return ", with no lesion in them"
        return f", of which {100 * view.lesion_share:.1f} % is lesion where a mask tells"
    if view.name in ("colour", "thumbnail"):
        return ", lesion included"
    return "" if view.name in ("outside_mask", "file_size") else ", without a look at the picture"

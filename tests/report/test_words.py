"""The report's sentences and numbers as text, by hand."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lentigo.errors import DataError
from lentigo.evidence.intervals import Interval
from lentigo.report import texts, words
from lentigo.report.content import GALLERY_SECTIONS, ReportContent
from tests.report.made_up import content, content_with_evidence, evidence, model, worth


@pytest.mark.parametrize(
    ("function", "value", "text"),
    [
        (texts.score_text, 0.8785, "0.878"),  # the float64 lies below
        (texts.score_text, math.nan, "undefined"),
        (texts.duration_text, 4.26, "4.3 s"),
        (texts.duration_text, 59.6, "60 s"),
        (texts.duration_text, 61.0, "1 min 01 s"),
        (texts.duration_text, 3725.0, "1 h 02 min"),
        (texts.duration_text, math.nan, "unknown"),
        (texts.large_text, 7_609_090_048, "7.61 billion"),
        (texts.large_text, 620_000_000, "620 million"),
        (texts.large_text, 1_234, "1,234"),
        (texts.rate_text, 99.4, "99"),
        (texts.rate_text, 1234.5, "1,234"),
        (texts.rate_text, 0.56, "0.56"),
        (texts.rate_text, math.nan, "unknown"),
        (texts.probability_text, 0.0, "0.500"),
        (texts.probability_text, 800.0, ">0.999"),
        (texts.probability_text, -800.0, "<0.001"),
    ],
)
def test_numbers_as_text(function: Any, value: float, text: str) -> None:
    assert function(value) == text


LABELS = np.array([1, 1, 0, 0], dtype=np.int64)
#                      right in: 0, 2, 3               right in: 0, 3                    right in: 3
LOGITS = {"a": [1.0, -1.0, -1.0, -2.0], "b": [2.0, -1.0, 0.0, -2.0], "c": [-2.0, -1.0, 0.5, -2.0]}


def three_by_hand() -> ReportContent:
    made = tuple(
        model(n, LABELS, len(GALLERY_SECTIONS), logits=np.array(values, dtype=np.float32))
        for n, values in LOGITS.items()
    )
    return content(("a", "b", "c"), labels=LABELS, models=made)


def test_disagreements_by_hand() -> None:
    whole = three_by_hand()
    # Image 0 is right in a and b, image 1 in none, image 2 in a, image 3 in all.
    assert words.disagreement_counts(whole) == [
        ("Every model right", 0, 1, 1),
        ("Models disagree", 1, 1, 2),
        ("No model right", 1, 0, 1),
    ]
    assert words.only_row_right(whole) == [[0, 1, 2], [0, 0, 1], [0, 0, 0]]


def test_summary_by_hand() -> None:
    # AUC by pairs of (1, 0), ties one half: a 4 - 0.5 of 4; b 4 - 1 of 4; c 0.5 + 1 of 4
    assert words.summary(three_by_hand()) == [
        "Three models were trained on 7,745 images of kaggle10605 and scored on 4 test images that were kept out of "
        "training.",
        "A has the highest AUC, 0.875, followed by B (0.750) and C (0.375).",
        "Best and worst lie 0.500 apart; whether that is more than chance is not tested here.",
        "At a probability of 0.5, of 2 malignant test images A misses 1 and C 2.",
        "The models disagree on 2 of 4 test images.",
    ]


def test_summary_of_one_model_and_of_one_class() -> None:
    one = content(drawn=True, counts={"test": {"benign": 30, "malignant": 30}})
    assert words.summary(one)[0] == ("One model was scored on 60 test images that were kept out of training.")
    benign = np.zeros(4, dtype=np.int64)
    harmless = content(labels=benign, models=(model("tiny_vgg", benign, len(GALLERY_SECTIONS)),))
    assert words.summary(harmless)[1:] == ["The AUC is undefined, since the test images are of one class."]


def test_limits_say_drawn_and_audited_only_where_true() -> None:
    plain, drawn = content(), content(drawn=True)
    assert [what for what, _ in words.limits(drawn)][1:] == [what for what, _ in words.limits(plain)]
    assert "were not audited for that" in dict(words.limits(plain))["The origin of the images"]
    audited = dict(words.limits(content(worth=worth())))["The origin of the images"]
    assert "not audited" not in audited
    assert "a shortcut that no probe was made for is not found" in audited


def test_the_summary_ends_with_what_the_audit_found() -> None:
    assert words.summary(content(worth=worth()))[-1] == "A score on these data is no evidence."
    assert words.summary(content())[-1] != "A score on these data is no evidence."


NAN = math.nan


@pytest.mark.parametrize(
    ("function", "interval", "text"),
    [
        (texts.interval_text, Interval(0.95, 0.94, 0.9604), "0.950 (0.940 to 0.960)"),
        (texts.interval_text, Interval(-0.2, -0.31, 0.0001), "−0.200 (−0.310 to 0.000)"),
        (texts.interval_text, Interval(0.95, NAN, NAN), "0.950 (no interval)"),
        (texts.interval_text, Interval(NAN, NAN, NAN), "undefined"),
        (texts.bounds_text, Interval(0.95, 0.94, 0.9604), "0.940 to 0.960"),
        (texts.bounds_text, Interval(0.95, NAN, NAN), ""),
        (texts.percent_text, Interval(0.9914, 0.98, 1.0), "99.1 % (98.0 to 100.0)"),
        (texts.percent_text, Interval(0.9914, NAN, NAN), "99.1 % (no interval)"),
        (texts.percent_text, Interval(NAN, NAN, NAN), "undefined"),
    ],
)
def test_intervals_as_text(function: Any, interval: Interval, text: str) -> None:
    assert function(interval) == text


@pytest.mark.parametrize(("number", "text"), [("-0.310", "−0.310"), ("-0.000", "0.000"), ("0.5", "0.5"), ("-0", "0")])
def test_a_minus_is_a_minus_and_zero_has_none(number: str, text: str) -> None:
    assert texts.minus_text(number) == text


@pytest.mark.parametrize(("parts", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_lists_in_words(parts: list[str], text: str) -> None:
    assert texts.listed(parts) == text
    assert texts.capital(text) == "A" + text[1:]


@pytest.mark.parametrize(
    ("benign", "malignant", "text"),
    [
        (100, 100, ""),
        (1000, 99, "There are only 99 malignant test images: "),
        (5, 0, "There are only 0 malignant and 5 benign"),
    ],
)
def test_few_images_are_a_warning(benign: int, malignant: int, text: str) -> None:
    labels = np.repeat([0, 1], [benign, malignant]).astype(np.int64)
    assert texts.few_images(labels).startswith(text)
    assert bool(texts.few_images(labels)) == bool(text)


# ---------------------------------------------------------------- with evidence


def test_the_summary_tells_whether_the_best_is_more_than_chance() -> None:
    whole = content_with_evidence()
    told = words.summary(whole)
    assert told[1].startswith("Vgg11 has the highest AUC, 0.922, followed by Tiny_Vgg (0.905) and Coin (0.458).")
    assert told[2] == (
        "By AUC Vgg11 cannot be told apart from Tiny_Vgg on these images, and lies above Coin by more than chance "
        "explains (DeLong, Holm)."
    )
    assert told[3].startswith("Coin is not clearly better than chance: its AUC is 0.458 (")
    assert not any("not tested here" in sentence for sentence in told)
    assert told[-1] == "A score on these data is no evidence."


def test_the_limits_know_seeds_subgroups_and_other_data() -> None:
    whole = content_with_evidence()
    limits = dict(words.limits(whole))
    assert "One data set, one split" in limits
    assert "Another seed" not in limits["One data set, one split"]
    assert "not made here" not in limits["One data set, one split"]
    assert limits["Whom it was tried on"].startswith("Subgroups are scored by source and skin tone (estimated).")
    assert "on images from elsewhere the models" in limits["Whom it was tried on"]
    assert "not calibrated" not in limits["The threshold"]
    alone = dict(words.limits(replace(whole, evidence=replace(evidence(), repeats={}, externals=()))))
    assert "Another seed" in alone["One data set, one split, one training"]
    assert "on photographs from phones the models" in alone["Whom it was tried on"]


def test_evidence_must_be_of_the_same_models() -> None:
    with pytest.raises(DataError, match=r"^the evidence is of tiny_vgg, vgg11, coin, the report of tiny_vgg, vgg11$"):
        content(("tiny_vgg", "vgg11"), evidence=evidence())

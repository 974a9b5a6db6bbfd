"""The checklists: whole by the published numbering, and every status a consequence of what the report holds."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lentigo.report.checklist import STATUSES, Facts, Item, checklist, counts
from lentigo.report.checklist_items import CLAIM, RECORDS, SOURCES, TRIPOD_AI

# Items without letters, and how many letters the others have: 27 items, 52 with their parts.
TRIPOD_LETTERS = {3: 3, 5: 2, 6: 3, 8: 3, 9: 3, 12: 7, 18: 6, 20: 3, 23: 2, 27: 3}
TRIPOD_NUMBERS = [
    f"{number}{letter}" for number in range(1, 28) for letter in ("abcdefg"[: TRIPOD_LETTERS.get(number, 0)] or ("",))
]

# Sections that every report has; the others come with what they show.
ALWAYS = {"run", "scores", "roc", "confusion", "disagreements", "limits", "card", "reproduce"}
SECTION_NEEDS = {
    "pairs": lambda facts: facts.paired_tests,
    "calibration": lambda facts: facts.calibration,
    "operating": lambda facts: facts.operating_points or facts.decision_curve,
    "worth": lambda facts: facts.audit,
    "training": lambda facts: facts.network_known,
    "examples": lambda facts: facts.network_known,
    "augmentations": lambda facts: facts.network_known,
    "costs": lambda facts: facts.network_known,
    "subgroups": lambda facts: bool(facts.subgroups),
    "external": lambda facts: bool(facts.external),
    "robustness": lambda facts: facts.robustness,
    "look": lambda facts: facts.heat_maps,
    "gallery": lambda facts: facts.heat_maps,
}

BARE = Facts(
    internal_test=False,
    intervals=False,
    paired_tests=False,
    calibration=False,
    operating_points=False,
    decision_curve=False,
    subgroups=(),
    external=(),
    robustness=False,
    heat_maps=False,
    audit=False,
    leaks=None,
    grouped_split=False,
    source_known=False,
    demographics=(),
    masks=False,
    seeds=1,
    published_weights=False,
    several_models=False,
    predictions_kept=False,
    drawn=False,
    network_known=False,
)
FULL = Facts(
    internal_test=True,
    intervals=True,
    paired_tests=True,
    calibration=True,
    operating_points=True,
    decision_curve=True,
    subgroups=("source", "age", "sex", "site", "skin_tone"),
    external=("ham10000",),
    robustness=True,
    heat_maps=True,
    audit=True,
    leaks=False,
    grouped_split=True,
    source_known=True,
    demographics=("age", "sex", "site", "skin tone"),
    masks=True,
    seeds=3,
    published_weights=True,
    several_models=True,
    predictions_kept=True,
    drawn=False,
    network_known=True,
)
# What only authors know, whatever lentigo measures.
PERSON = {
    TRIPOD_AI: "1 2 3a 3c 4 5b 6a 6b 6c 8a 8b 8c 9c 10 17 18a 18b 18c 18d 18e 19 27b 27c",
    CLAIM: "1 2 3 4 5 6 8 10 11 13 14 15 16 17 18 21 34 42 44",
}
ANSWERED = {
    TRIPOD_AI: "12a 12d 12e 12f 12g 13 15 18f 23a 23b 24",
    CLAIM: "19 20 23 24 27 28 29 30 31 32 33 37 38",
}


def numbers_of(facts: Facts, guideline: str, status: str) -> str:
    return " ".join(i.number for i in checklist(facts) if (i.guideline, i.status) == (guideline, status))


def item_of(facts: Facts, guideline: str, number: str) -> Item:
    (found,) = [item for item in checklist(facts) if (item.guideline, item.number) == (guideline, number)]
    return found


def some_of(*names: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True)


# Plain values: Facts are made in the tests, since the run-time check of their types draws random numbers of its own.
values = st.fixed_dictionaries(
    {name: st.booleans() for name, value in vars(BARE).items() if value is False}
    | {
        "subgroups": some_of("source", "age", "age band", "sex", "site", "diagnosis", "skin_tone"),
        "external": some_of("ham10000", "isic2017"),
        "leaks": st.booleans(),
        "demographics": some_of("age", "sex", "site", "skin tone"),
        "seeds": st.integers(1, 3),
    }
)


def possible(values: dict[str, Any], **fixed: bool) -> Facts:
    """Facts of a report that can be: copies are looked for by the audit, pairs take two models, maps the network."""
    found = {name: tuple(value) if isinstance(value, list) else value for name, value in (values | fixed).items()}
    found["leaks"] = found["leaks"] if found["audit"] else None
    found["paired_tests"] &= found["several_models"]
    found["heat_maps"] &= found["network_known"]
    return Facts(**found)


def test_items_are_those_of_the_published_lists() -> None:
    assert TRIPOD_NUMBERS[:9] == ["1", "2", "3a", "3b", "3c", "4", "5a", "5b", "6a"]
    assert len(TRIPOD_NUMBERS) == 52
    of = {name: [record.number for record in RECORDS if record.guideline == name] for name in SOURCES}
    assert of == {TRIPOD_AI: TRIPOD_NUMBERS, CLAIM: [str(number) for number in range(1, 45)]}


def test_names_are_a_few_words_and_no_two_items_of_a_list_share_one() -> None:
    for guideline in SOURCES:
        names = [record.name for record in RECORDS if record.guideline == guideline]
        assert len(set(names)) == len(names)
        assert all(1 <= len(name.split()) <= 10 and not name.endswith(".") for name in names)


def test_full_report_by_hand() -> None:
    for guideline in SOURCES:
        assert numbers_of(FULL, guideline, "person") == PERSON[guideline]
        assert numbers_of(FULL, guideline, "answered") == ANSWERED[guideline]
        assert numbers_of(FULL, guideline, "absent") == ""


def test_bare_report_answers_nothing() -> None:
    found = counts(checklist(BARE))
    assert [found[name]["answered"] for name in SOURCES] == [0, 0]
    assert numbers_of(BARE, TRIPOD_AI, "absent") == "5a 7 11 12d 12f 14 16 20b 20c 23b 24"
    assert numbers_of(BARE, CLAIM, "absent") == "7 12 29 32 33 36"


def test_counts_by_hand() -> None:
    whole = counts(checklist(FULL))
    assert list(whole) == [TRIPOD_AI, CLAIM]
    assert list(whole[CLAIM]) == list(STATUSES)
    assert whole[TRIPOD_AI] == {"answered": 11, "partly": 18, "person": 23, "absent": 0}
    assert whole[CLAIM] == {"answered": 13, "partly": 12, "person": 19, "absent": 0}
    assert counts(()) == {}


@pytest.mark.parametrize(
    ("facts", "change", "guideline", "number", "before", "after"),
    [
        (FULL, {"intervals": False}, TRIPOD_AI, "23a", "answered", "partly"),
        (FULL, {"intervals": False}, CLAIM, "38", "answered", "partly"),
        (FULL, {"intervals": False}, CLAIM, "29", "answered", "partly"),
        (FULL, {"paired_tests": False}, CLAIM, "29", "answered", "partly"),
        (FULL, {"paired_tests": False}, TRIPOD_AI, "12e", "answered", "partly"),
        (FULL, {"calibration": False}, TRIPOD_AI, "12e", "answered", "partly"),
        (FULL, {"calibration": False}, TRIPOD_AI, "12f", "answered", "absent"),
        (FULL, {"calibration": False}, TRIPOD_AI, "24", "answered", "absent"),
        (FULL, {"operating_points": False}, TRIPOD_AI, "15", "answered", "partly"),
        (FULL, {"operating_points": False, "decision_curve": False}, CLAIM, "28", "answered", "partly"),
        (FULL, {"operating_points": False, "decision_curve": False}, CLAIM, "41", "partly", "person"),
        (FULL, {"subgroups": ("source",)}, TRIPOD_AI, "23a", "answered", "partly"),
        (FULL, {"subgroups": ("source",)}, TRIPOD_AI, "14", "partly", "absent"),
        (FULL, {"subgroups": ("age",)}, TRIPOD_AI, "12d", "answered", "partly"),
        (FULL, {"subgroups": ("age",), "external": ()}, TRIPOD_AI, "23b", "answered", "absent"),
        (FULL, {"external": ()}, CLAIM, "33", "answered", "absent"),
        (FULL, {"robustness": False}, CLAIM, "30", "answered", "partly"),  # the seeds are left
        (FULL, {"robustness": False, "seeds": 1}, CLAIM, "30", "answered", "absent"),
        (FULL, {"robustness": False}, TRIPOD_AI, "27a", "partly", "absent"),
        (FULL, {"heat_maps": False}, CLAIM, "31", "answered", "absent"),
        (FULL, {"masks": False}, CLAIM, "31", "answered", "partly"),
        (FULL, {"audit": False, "leaks": None}, TRIPOD_AI, "11", "partly", "absent"),
        (FULL, {"audit": False, "leaks": None}, TRIPOD_AI, "25", "partly", "person"),
        (FULL, {"audit": False, "leaks": None}, CLAIM, "20", "answered", "partly"),
        (FULL, {"audit": False, "leaks": None, "grouped_split": False}, CLAIM, "20", "answered", "absent"),
        (FULL, {"leaks": True}, CLAIM, "20", "answered", "partly"),
        (FULL, {"leaks": True}, CLAIM, "32", "answered", "partly"),
        (FULL, {"grouped_split": False}, CLAIM, "20", "answered", "partly"),
        (FULL, {"source_known": False}, TRIPOD_AI, "5a", "partly", "absent"),
        (FULL, {"predictions_kept": False}, TRIPOD_AI, "12g", "answered", "partly"),
        (FULL, {"internal_test": False}, CLAIM, "32", "answered", "absent"),
        (FULL, {"internal_test": False}, CLAIM, "19", "answered", "partly"),
        (FULL, {"drawn": True}, TRIPOD_AI, "18e", "person", "answered"),
        (FULL, {"drawn": True}, TRIPOD_AI, "20a", "partly", "answered"),
        (FULL, {"drawn": True}, TRIPOD_AI, "20b", "partly", "person"),
        (FULL, {"network_known": False}, CLAIM, "24", "answered", "person"),
        (FULL, {"network_known": False}, CLAIM, "23", "answered", "partly"),
        (FULL, {"network_known": False}, CLAIM, "32", "answered", "partly"),
        (FULL, {"network_known": False}, TRIPOD_AI, "13", "answered", "person"),
        (BARE, {"demographics": ("age",)}, TRIPOD_AI, "20b", "absent", "partly"),
        (BARE, {"intervals": True}, CLAIM, "29", "absent", "answered"),  # one model has nobody to be tested against
        (BARE, {"intervals": True, "several_models": True}, CLAIM, "29", "absent", "partly"),
        (BARE, {"external": ("clinic",)}, CLAIM, "33", "absent", "answered"),
    ],
)
def test_status_follows_the_facts(
    facts: Facts, change: dict[str, Any], guideline: str, number: str, before: str, after: str
) -> None:
    statuses = [item_of(held, guideline, number).status for held in (facts, replace(facts, **change))]
    assert statuses == [before, after]


@pytest.mark.parametrize("name", [field.name for field in fields(Facts)])
def test_every_fact_shows_in_some_item(name: str) -> None:
    start = replace(FULL, subgroups=("source",)) if name == "demographics" else FULL
    other = True if name == "drawn" else getattr(BARE, name)
    assert checklist(start) != checklist(replace(start, **{name: other}))


@given(values=values)
def test_where_names_sections_that_the_report_has(values: dict[str, Any]) -> None:
    facts = possible(values)
    shown = ALWAYS | {name for name, needs in SECTION_NEEDS.items() if needs(facts)}
    for item in checklist(facts):
        assert set(item.sections) <= shown, item
        assert bool(item.sections) == (item.status in ("answered", "partly"))
        assert len(set(item.sections)) == len(item.sections)
        assert item.text
        assert item.where == (", ".join(item.sections) + ": " if item.sections else "") + item.text


@given(values=values)
def test_what_only_authors_know_is_never_answered_for_photographs(values: dict[str, Any]) -> None:
    facts = possible(values, drawn=False)
    for guideline, known in PERSON.items():
        found = numbers_of(facts, guideline, "person").split()
        assert set(known.split()) <= set(found)


@given(values=values)
def test_nothing_is_said_of_how_a_foreign_model_was_made(values: dict[str, Any]) -> None:
    facts = possible(values, network_known=False)
    of_making = {TRIPOD_AI: "9a 9b 12a 12b 12c 12g 13 22", CLAIM: "9 19 20 22 24 25 26 27 31"}
    found = {(item.guideline, item.number): item for item in checklist(facts)}
    for guideline, numbers in of_making.items():
        for number in numbers.split():
            assert found[guideline, number].where.startswith("those who made the predictions: ")


def test_names_of_columns_are_read_in_either_spelling() -> None:
    for age, tone in (("age", "skin_tone"), ("age band", "skin tone")):
        facts = replace(FULL, subgroups=(tone, age))
        assert item_of(facts, TRIPOD_AI, "23a").where == (
            "scores, subgroups: scores with intervals, also by age, skin tone"
        )


def test_words_of_what_is_missing() -> None:
    assert item_of(replace(FULL, external=()), CLAIM, "33").where == (
        "add --external NAME=PATH, or say why there is no such test"
    )
    assert item_of(replace(FULL, calibration=False, paired_tests=False), CLAIM, "28").where == (
        "scores, roc, operating: each measure and plot, with what it says; "
        "still open: calibration; tests between the models, on the same images"
    )
    assert item_of(replace(FULL, drawn=True), TRIPOD_AI, "17").where == (
        "lesions drawn by lentigo have no patients: say that it does not apply"
    )
    assert (
        item_of(FULL, CLAIM, "29").where
        == "scores, pairs: 95 % intervals and paired tests, and the spread of 3 trainings"
    )
    assert item_of(FULL, CLAIM, "33").where == (
        "external: scores on ham10000 beside the development score, thresholds carried over unchanged"
    )
    assert "copies among them were not looked for" in item_of(replace(FULL, leaks=None), CLAIM, "32").text

"""Model cards: every text by hand, from made-up files of a run."""

import re
from dataclasses import replace

from lentigo.config import Experiment
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.evidence.operating_points import sentence
from lentigo.report import card
from lentigo.report.card import model_card
from tests.report.made_up import assessment, card_facts, evidence, evidence_with

HEADINGS = [
    "Intended use", "Not for", "The network", "Training", "Data", "Scores on its test images", "Probabilities",
    "Thresholds", "Subgroups", "On other data", "On changed images", "Known limits",
]  # fmt: skip


def texts_of(name: str = "tiny_vgg", whole: object = None, **changes: object) -> dict[str, str]:
    found = model_card(card_facts(name=name, **changes), whole or evidence())  # type: ignore[arg-type]
    return dict(found.facts)


def test_a_card_has_every_heading_in_order_and_the_networks_title() -> None:
    found = model_card(card_facts(name="vgg11"), evidence())
    assert found.title == "Vgg11"
    assert [heading for heading, _ in found.facts] == HEADINGS
    assert all(text for _, text in found.facts)
    assert not any(re.search(r"\b(nan|None|inf)\b", text) for _, text in found.facts)


def test_intended_use_is_research_alone() -> None:
    found = texts_of()
    assert found["Intended use"].startswith("Research on how well networks tell malignant from benign")
    assert "no medical device" in found["Not for"]
    assert "A low probability does not rule out melanoma" in found["Not for"]


def test_network_and_training_by_hand() -> None:
    found = texts_of()
    assert found["The network"] == "Tiny_Vgg, 56,251 trainable parameters, trained from random weights."
    assert found["Training"] == (
        "2 of 10 epochs, 484 steps, Adam at 0.0001, batches of 32, seed 0, 1 h 02 min on CPU, 2 threads."
    )
    tuned = Experiment().changed(
        seed=3,
        model={"name": "resnet18", "weights": "imagenet", "options": {"width": 16.0}},
        train={"batch_size": 8, "learning_rate": 0.001},
    )
    about = dict(card_facts().about) | {"complete": False, "parameters": 1}
    other = texts_of(experiment=tuned, about=about)
    assert other["The network"] == (
        "Tiny_Vgg with width 16, 1 trainable parameters, trained from published ImageNet weights."
    )
    assert "Adam at 0.001, batches of 8, seed 3," in other["Training"]
    assert other["Training"].endswith(" on CPU, 2 threads. The training was stopped early.")


def test_data_names_the_parts_that_hold_images() -> None:
    assert texts_of()["Data"] == (
        "kaggle10605, split by the protocol paper: train 4,032 benign and 3,713 malignant; validation 468 benign and "
        "392 malignant; test 80 benign and 80 malignant."
    )
    none = {"train": {"benign": 2, "malignant": 1}, "validation": {"benign": 0, "malignant": 0}}
    assert texts_of(counts=none)["Data"].endswith("paper: train 2 benign and 1 malignant.")


def test_scores_with_intervals() -> None:
    bounds = Interval(0.9, 0.85, 0.94)
    found = assessment(n=2000, n_malignant=1000, scores={"accuracy": bounds, "f1": UNDEFINED, "auc": bounds})
    assert texts_of(whole=evidence_with({"tiny_vgg": found}))["Scores on its test images"] == (
        "2,000 images, 1,000 malignant; malignant is called from a probability of 0.5 on: accuracy 0.900 (0.850 to "
        "0.940), F1 undefined, AUC 0.900 (0.850 to 0.940). In brackets 95 % intervals."
    )


def test_probabilities_and_thresholds() -> None:
    found = texts_of()
    assert found["Probabilities"].startswith("The probabilities are off by ")
    points = evidence().assessments["tiny_vgg"].points
    assert found["Thresholds"].startswith(f"Probability 0.5: {sentence(points[0])} Youden's: {sentence(points[1])} ")
    assert texts_of(whole=evidence_with({"tiny_vgg": assessment(points=())}))["Thresholds"] == "None."


def test_subgroups_that_can_be_judged() -> None:
    (columns, _) = assessment().subgroups
    good = replace(columns.scores[0], name="here", auc=Interval(0.9, 0.85, 0.94), unjudged=())
    small = replace(good, name="there", unjudged=("auc",))
    both = assessment(
        subgroups=(replace(columns, scores=(good, small)), replace(columns, column="Sex", scores=(small,)))
    )
    assert texts_of(whole=evidence_with({"tiny_vgg": both}))["Subgroups"] == (
        "AUC by source: here 0.900 (0.850 to 0.940); by sex: no subgroup with enough images of both classes."
    )
    none = evidence_with({"tiny_vgg": assessment(subgroups=())})
    assert texts_of(whole=none)["Subgroups"].startswith("Unknown: nothing is known of the images")


def test_other_data_and_changed_images_are_this_networks_own() -> None:
    coin, vgg = texts_of("coin"), texts_of("vgg11")
    new = evidence().externals[0].assessments["coin"].scores["auc"]
    assert coin["On other data"].startswith("On elsewhere the AUC goes from 0.")
    assert (
        f"to {new.value:.3f} ({new.low:.3f} to {new.high:.3f}), not clearly better than a coin. On "
        "benign the" in coin["On other data"]
    )
    assert coin["On changed images"].startswith("Coin keeps ")
    assert vgg["On changed images"] == "Unknown: it was not tested."
    bare = evidence_with({"tiny_vgg": assessment()})
    assert texts_of(whole=bare)["On other data"] == "Unknown: it was scored on no other data."


def test_limits_hold_what_the_audit_found_serious() -> None:
    assert texts_of()["Known limits"] == f"A score on these data is no evidence. The frame tells. {card.UNKNOWN}"
    unaudited = texts_of(audit_sentence="", findings=())
    assert unaudited["Known limits"] == f"The data were not audited. {card.UNKNOWN}"


def test_a_card_as_markdown() -> None:
    found = model_card(card_facts(), evidence())
    lines = found.markdown().splitlines()
    assert lines[0] == "# Model card: Tiny_Vgg"
    assert [line[3:] for line in lines if line.startswith("## ")] == HEADINGS
    assert lines[lines.index("## Training") + 2] == dict(found.facts)["Training"]

"""The evidence as values: that each number is the one that its function gives, and that it survives a file."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lentigo.errors import ConfigError, DataError
from lentigo.evidence.assessment import Columns, assess
from lentigo.evidence.decisions import undecided
from lentigo.evidence.intervals import auc_interval
from lentigo.evidence.metrics import REPORTED_SCORES, roc_auc_score, scores
from lentigo.files import read_json, write_json
from lentigo.report.evidence import Repeats, Scored, evidence_of, repeats_of
from tests.report.made_up import LABELS, SHARPNESS, evidence, logits_of


def scored(name: str, logits: np.ndarray) -> Scored:
    return Scored(title=name.title(), logits=logits, decisions=undecided("there is no validation"))


def test_each_classifier_is_assessed_on_the_same_images() -> None:
    whole, logits = evidence(), logits_of(LABELS)
    assert list(whole.assessments) == list(whole.titles) == list(SHARPNESS)
    assert list(whole.titles.values()) == ["Tiny_Vgg", "Vgg11", "Coin"]
    for name, found in whole.assessments.items():
        assert (found.n, found.n_malignant) == (160, 80)
        assert found.scores["auc"].value == roc_auc_score(LABELS, logits[name])
        assert found.scores["accuracy"].value == pytest.approx(scores(LABELS, logits[name])["accuracy"])
        assert [subgroups.column for subgroups in found.subgroups] == ["Source", "Skin tone (estimated)"]


def test_every_pair_is_there_once_and_in_order() -> None:
    whole = evidence()
    assert [(pair.a, pair.b) for pair in whole.pairs] == [
        ("tiny_vgg", "vgg11"), ("tiny_vgg", "coin"), ("vgg11", "coin")
    ]  # fmt: skip
    for pair in whole.pairs:
        apart = whole.assessments[pair.a].scores["auc"].value - whole.assessments[pair.b].scores["auc"].value
        assert pair.tests["auc"].difference == pytest.approx(apart, abs=1e-12)


def test_groups_widen_the_intervals_and_are_told() -> None:
    logits = logits_of(LABELS)["tiny_vgg"]
    twice, groups = np.repeat(LABELS, 2), np.repeat(np.arange(160), 2)
    models = {"a": scored("a", np.repeat(logits, 2))}
    grouped = evidence_of(twice, models, Columns(groups=groups))
    alone = evidence_of(twice, models, Columns(groups=np.arange(320)))
    assert grouped.grouped
    assert not alone.grouped
    assert not evidence_of(twice, models, Columns()).grouped
    # Each image counted twice tells as much as once.
    once = auc_interval(LABELS, logits)
    found = grouped.assessments["a"].scores["auc"]
    assert (found.low, found.high) == pytest.approx((once.low, once.high), abs=0.002)
    assert alone.assessments["a"].scores["auc"].low > found.low


def test_prevalence_reaches_the_operating_points() -> None:
    models = {"a": scored("a", logits_of(LABELS)["tiny_vgg"])}
    whole = evidence_of(LABELS, models, Columns(), prevalence=0.2)
    (point,) = whole.assessments["a"].points
    assert whole.prevalence == point.prevalence == 0.2
    with pytest.raises(ConfigError, match=r"^prevalence is 1\.0, not in \(0, 1\)"):
        evidence_of(LABELS, models, Columns(), prevalence=1.0)


def test_without_a_model_there_is_nothing_to_assess() -> None:
    with pytest.raises(DataError, match=r"^there is no model to assess; give the predictions of one or more$"):
        evidence_of(LABELS, {}, Columns())


# ---------------------------------------------------------------- seeds


def test_mean_and_deviation_over_seeds_by_hand() -> None:
    repeats = Repeats(seeds=(0, 1, 2), scores={"auc": (0.8, 0.9, 1.0), "precision": (0.5, math.nan, 0.5)})
    assert repeats.mean("auc") == pytest.approx(0.9)
    assert repeats.deviation("auc") == pytest.approx(0.1)  # the root of (0.01 + 0 + 0.01) / 2
    assert math.isnan(repeats.mean("precision"))
    assert math.isnan(repeats.deviation("precision"))
    assert repeats.to_dict()["spread"]["auc"] == pytest.approx({"mean": 0.9, "standard_deviation": 0.1})


def test_repeats_keep_the_reported_scores_by_seed() -> None:
    logits = logits_of(LABELS)
    runs = {5: scores(LABELS, logits["tiny_vgg"]), 3: scores(LABELS, logits["vgg11"])}
    repeats = repeats_of(runs)
    assert repeats.seeds == (5, 3)
    assert tuple(repeats.scores) == tuple(REPORTED_SCORES)
    assert repeats.scores["auc"] == (runs[5]["auc"], runs[3]["auc"])


# ---------------------------------------------------------------- as a file


def test_evidence_as_a_file(tmp_path: Path) -> None:
    write_json(tmp_path / "evidence.json", evidence().to_dict())
    found = read_json(tmp_path / "evidence.json")
    assert list(found) == [
        "prevalence", "grouped", "skin_tone_estimated", "models", "pairs", "seeds", "external", "stress"
    ]  # fmt: skip
    assert (found["grouped"], found["skin_tone_estimated"], found["prevalence"]) == (True, True, 0.01)
    auc = evidence().assessments["vgg11"].scores["auc"]
    assert found["models"]["vgg11"]["scores"]["auc"] == {"value": auc.value, "low": auc.low, "high": auc.high}
    assert [pair["a"] + " " + pair["b"] for pair in found["pairs"]] == ["tiny_vgg vgg11", "tiny_vgg coin", "vgg11 coin"]
    assert found["seeds"]["tiny_vgg"]["seeds"] == [0, 7]
    assert found["external"]["elsewhere"]["left_out"]["coin"] == {"benign": 1, "malignant": 1}
    assert found["external"]["benign"]["models"]["coin"]["scores"]["auc"]["value"] is None  # of one class
    assert list(found["stress"]) == ["tiny_vgg", "coin"]
    assert len(found["stress"]["coin"]["result"]["scores"]) == 10


def test_undefined_numbers_and_infinite_logits_survive_a_file(tmp_path: Path) -> None:
    labels, logits = np.array([1, 1]), np.array([np.inf, -np.inf])
    whole = evidence_of(labels, {"a": scored("a", logits)}, Columns())
    lost = replace(whole, repeats={"a": Repeats(seeds=(0, 1), scores={"precision": (math.nan, 0.5)})})
    write_json(tmp_path / "evidence.json", lost.to_dict())
    found = json.loads((tmp_path / "evidence.json").read_text(), parse_constant=pytest.fail)
    assert found["models"]["a"]["scores"]["auc"]["value"] is None
    assert found["models"]["a"]["scores"]["recall"]["value"] == 0.5
    assert found["seeds"]["a"]["spread"]["precision"] == {"mean": None, "standard_deviation": None}


def test_assessments_are_those_of_assess() -> None:
    logits = logits_of(LABELS)["coin"]
    whole = evidence_of(LABELS, {"coin": scored("coin", logits)}, Columns(), seed=4)
    alone = assess(LABELS, logits, decisions=undecided("there is no validation"), seed=4)
    assert json.dumps(whole.assessments["coin"].to_dict()) == json.dumps(alone.to_dict())

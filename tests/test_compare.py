"""The whole comparison on 64 drawn lesions: its files, its report, and what happens when it is run again."""

import contextlib
import dataclasses
import json
import re
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from lentigo import compare as job
from lentigo.compare import looking
from lentigo.config import Experiment
from lentigo.data.predictions import read_predictions
from lentigo.data.split import make_split, read_split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import ImageTable, read_table
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.files import read_json, write_json
from lentigo.models.registry import MODELS
from lentigo.report.gather import paper_scores_for
from lentigo.report.page import SECTIONS
from tests.data.pictures import write_mask

SMALL = {
    "tiny_vgg": {"preprocessing": {"resize_px": 32}, "model": {"name": "tiny_vgg"}},
    "vgg11": {"preprocessing": {"resize_px": 32}, "model": {"name": "vgg11", "options": {"width": 0.03125}}},
    "alexnet": {
        "preprocessing": {"resize_px": 72, "crop_px": 64},
        "model": {"name": "alexnet", "options": {"width": 0.125}},
    },
}


def small(name: str, **train: float) -> Experiment:
    tables = {"data": {"image_px": 64}, "split": {"protocol": "folders", "validation_fraction": 0.2}}
    return Experiment().changed(**tables, train={"epochs": 2, "batch_size": 8, **train}, **SMALL[name])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "drawn", count=64, size_px=64, seed=3, workers=1)


def comparison(drawn: Path, out: Path, *names: str, **changes: object) -> job.Comparison:
    given = {
        "table": read_table(drawn),
        "experiments": tuple(small(name) for name in names),
        "out": out,
        "command": "lentigo compare drawn",
        "drawn": True,
        "cache": out / "cache",
    }
    return job.Comparison(**given | changes)


@pytest.fixture(scope="module")
def finished(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared")
    assert job.compare(comparison(drawn, out, *SMALL)) == out / "report.html"
    return out


def test_every_file_of_every_stage_is_there(finished: Path) -> None:
    results = {
        "audit.html",
        "audit.json",
        "cache",
        "comparison.json",
        "evidence.json",
        "explanation.json",
        "report.html",
        "runs",
        "split.csv",
    }
    assert {path.name for path in finished.iterdir()} == results
    files = {"experiment.toml", "split.csv", "run.json", "history.csv", "checkpoint.safetensors", "predictions.csv",
             "validation.csv", "decisions.json", "metrics.json", "heatmaps.npy", "heatmaps-hires-cam.npy",
             "localisation.csv", "explanation.json", "MODEL_CARD.md", "evidence.json"}  # fmt: skip
    for name in SMALL:
        assert {path.name for path in (finished / "runs" / name).iterdir()} == files


def test_the_scores_are_those_of_the_predictions(finished: Path, drawn: Path) -> None:
    told = read_json(finished / "comparison.json")["models"]
    table = read_table(drawn)
    test = [table.ids[index] for index in read_split(finished / "split.csv", table).indices(table, "test")]
    assert set(told) == set(SMALL)
    for name, model in told.items():
        predictions = read_predictions(finished / "runs" / name / "predictions.csv")
        assert list(predictions.ids) == test
        assert [label == "malignant" for label in (i.split("/")[1] for i in test)] == list(predictions.labels == 1)
        assert model["auc"] == pytest.approx(roc_auc_score(predictions.labels, predictions.logits))
        assert model["accuracy"] == pytest.approx(accuracy_score(predictions.labels, predictions.logits >= 0))
        assert (model["n"], model["epochs"], model["complete"]) == (16, 2, True)
        assert model["seconds"] > 0
        assert "CPU" in model["device"]
        assert {"precision", "recall", "f1", "specificity"} <= set(model)


def test_the_files_hold_no_path_of_the_machine(finished: Path, drawn: Path) -> None:
    for name in ("comparison.json", "audit.json", "audit.html", "explanation.json", "report.html"):
        text = (finished / name).read_text()
        assert str(finished) not in text, name
        assert str(drawn) not in text, name
        assert name not in ("comparison.json", "audit.json") or json.loads(text)["data"] == "drawn"
    for name in SMALL:
        assert str(finished) not in (finished / "runs" / name / "explanation.json").read_text()


def test_every_score_stands_beside_the_audit(finished: Path) -> None:
    told, audit = read_json(finished / "comparison.json"), read_json(finished / "audit.json")
    assert told["audit"] == audit["verdict"]
    assert audit["split"] == "folders"
    assert (audit["n_images"], audit["n_test"]) == (64, 16)
    shortcut, probes = told["shortcut"], audit["probes"]
    assert shortcut["auc"]["value"] == probes[shortcut["name"]]["test_auc"]
    assert shortcut["name"] in ("frame", "corners", "dark_corners", "outside_mask")
    html = " ".join((finished / "report.html").read_text().split())
    assert f"{shortcut['auc']['value']:.3f} ({shortcut['auc']['low']:.3f} to" in html
    for model in told["models"].values():
        assert 0 <= model["auc_low"] <= model["auc"] <= model["auc_high"] <= 1
        assert f"{model['auc']:.3f} ({model['auc_low']:.3f} to {model['auc_high']:.3f})" in html


def test_an_audit_is_reused_until_its_images_split_or_columns_change(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = read_table(drawn)
    pack = job.pack_images(table, image_px=300, cache=tmp_path / "cache")
    split = make_split(table, small("tiny_vgg").split)
    given = comparison(drawn, tmp_path, "tiny_vgg", cache=tmp_path / "cache")
    made = job._audited(given, pack, split, "folders", job.Silent())
    calls = []
    real = job.audit_data
    monkeypatch.setattr(job, "audit_data", lambda *args, **options: (calls.append(1), real(*args, **options))[1])
    assert job._audited(given, pack, split, "folders", job.Silent()) == made
    assert not calls
    other = type(split)(split.part | {table.ids[0]: "exclude"})
    assert job._audited(given, pack, other, "folders", job.Silent())["fingerprint"] != made["fingerprint"]
    (tmp_path / "audit.json").write_text("{")  # damaged: made again
    assert job._audited(given, pack, split, "folders", job.Silent()) == made
    assert len(calls) == 2


def test_the_report_has_every_section_and_every_score(finished: Path) -> None:
    html = (finished / "report.html").read_text()
    for section, _ in SECTIONS:
        assert len(re.findall(rf'id="{section}"', html)) == 1, section
    for title in ("Tiny VGG", "VGG11", "AlexNet"):
        assert title in html
    for model in read_json(finished / "comparison.json")["models"].values():
        assert f"{model['auc']:.3f}" in html
    assert "not a medical device" in html
    assert not re.search(r'(src|href)="https?:', html)


def test_heat_maps_are_of_the_last_feature_layer(finished: Path) -> None:
    """32 px through two poolings: 8 x 8; through VGG11's five: 1 x 1; 64 px through AlexNet: 15, 7, 3, 1."""
    for name, cells in (("tiny_vgg", 8), ("vgg11", 1), ("alexnet", 1)):
        for file in ("heatmaps.npy", "heatmaps-hires-cam.npy"):
            maps = np.load(finished / "runs" / name / file)
            assert maps.shape == (16, cells, cells)
            assert maps.dtype == np.float32
            assert np.isfinite(maps).all()


def test_the_networks_looks_are_compared_on_the_same_images(finished: Path) -> None:
    told = read_json(finished / "explanation.json")
    assert set(told["ranking"]) == set(told["hires_cam"]["ranking"]) == set(SMALL)
    assert list(told["looks"]) == [*SMALL, "centre", "uniform"]
    assert (told["cells"], told["images"], told["masks"]) == (1, 16, {"expert": 16})
    assert len(told["pairs"]) == 3
    html = " ".join((finished / "report.html").read_text().split())
    centre = told["looks"]["centre"]["common"]["inside"]["value"]
    assert f"<td>{100 * centre:.1f} %<small>" in html
    for name in SMALL:
        about = read_json(finished / "runs" / name / "explanation.json")
        own = told["looks"][name]["own"]["inside"]
        assert about["look"]["looks"][name]["own"]["inside"] == own  # on the same images by the same masks
        if own["value"] is not None:
            assert f"{100 * own['value']:.1f} %" in html
        auc = about["background"]["fills"]["common"]["auc_without_lesion"]["value"]
        assert f"<td>{auc:.3f}" in html
        assert about["faithfulness"]["images"] == 16


def test_every_pair_is_tested_on_the_background_s_share_and_on_the_maps_truth(finished: Path) -> None:
    told = read_json(finished / "explanation.json")
    runs = {name: read_json(finished / "runs" / name / "explanation.json") for name in SMALL}
    pairs = told["trust"]["pairs"]
    assert [(pair["first"], pair["second"]) for pair in pairs] == list(combinations(SMALL, 2))
    measures = [
        *("background_own", "background_common", "background_blur", "deletion_gain_blur", "deletion_gain_mean"),
        *("insertion_gain_blur", "insertion_gain_mean", "stability_0.01", "stability_0.03"),
    ]
    for pair in pairs:
        assert list(pair["differences"]) == list(pair["adjusted"]) == measures
        first, second = runs[pair["first"]], runs[pair["second"]]
        for fill in ("own", "common", "blur"):
            means = [run["background"]["fills"][fill]["mean_share"]["value"] for run in (first, second)]
            found = pair["differences"][f"background_{fill}"]
            assert found["n"] == len(first["background"]["positions"]) == first["background"]["images"]
            assert found["difference"]["value"] == pytest.approx(means[0] - means[1], abs=1e-4)
        for measure, p in pair["adjusted"].items():
            assert p is None or p >= pair["differences"][measure]["p_value"]
    text = (finished / "report.html").read_text()
    difference = pairs[0]["differences"]["background_own"]["difference"]["value"]
    assert f"<td>{100 * difference:+.1f}<small>".replace("-", "−") in text.replace("<strong>", "")
    assert "Tiny VGG<small>less VGG11</small>" in text


def test_a_run_explained_before_its_images_values_were_kept_is_left_out_of_the_pairs(
    finished: Path, drawn: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(finished, copied)
    about = read_json(copied / "runs" / "vgg11" / "explanation.json")
    for part, keys in (("background", ("positions", "shares")), ("faithfulness", ("values",))):
        about[part] = {key: value for key, value in about[part].items() if key not in keys}
    write_json(copied / "runs" / "vgg11" / "explanation.json", about)
    job.compare(comparison(drawn, copied, *SMALL))
    (pair,) = read_json(copied / "explanation.json")["trust"]["pairs"]
    assert (pair["first"], pair["second"]) == ("tiny_vgg", "alexnet")
    assert pair["adjusted"] == {measure: found["p_value"] for measure, found in pair["differences"].items()}


def test_a_second_run_computes_nothing_again(finished: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = ("MODEL_CARD.md", "evidence.json")  # of what is there, every time
    files = [path for path in (finished / "runs").rglob("*.*") if path.name not in written]
    before = {path: path.stat().st_mtime_ns for path in files}
    for module, stage in ((job, "evaluate_run"), (looking, "explain_run")):
        monkeypatch.setattr(module, stage, lambda *_, **__: pytest.fail("a finished stage was run again"))
    summary = (finished / "comparison.json").read_text()
    job.compare(comparison(drawn, finished, *SMALL))
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert (finished / "comparison.json").read_text() == summary


def test_a_missing_stage_is_made_up_for(drawn: Path, tmp_path: Path) -> None:
    job.compare(comparison(drawn, tmp_path, "tiny_vgg"))
    run = tmp_path / "runs" / "tiny_vgg"
    files = ("predictions.csv", "heatmaps.npy", "heatmaps-hires-cam.npy", "localisation.csv", "explanation.json")
    first = {name: (run / name).read_bytes() for name in files}
    for name in ("metrics.json", "predictions.csv", "heatmaps.npy", "explanation.json"):
        (run / name).unlink()
    job.compare(comparison(drawn, tmp_path, "tiny_vgg"))
    assert {name: (run / name).read_bytes() for name in first} == first


@pytest.mark.parametrize(
    "change",
    [
        "none",
        "weights",
        "masks",
        "images",
        "damaged",
        "maps of another method",
        "no table",
        "maps only",
        "no tests",
        "one method",
    ],
)
def test_an_explanation_is_reused_only_where_it_is_of_these_weights_images_and_masks(
    finished: Path, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    data, folder = tmp_path / "drawn", tmp_path / "run"
    shutil.copytree(drawn, data)
    shutil.copytree(finished / "runs" / "tiny_vgg", folder)
    table = read_table(data)
    split = make_split(table, small("tiny_vgg").split)
    if change == "weights":
        shutil.copy(finished / "runs" / "vgg11" / "checkpoint.safetensors", folder)
    elif change == "masks":
        write_mask(Path(table.rows[split.indices(table, "test")[0]].mask), np.zeros((64, 64), bool))
    elif change == "images":
        split.part[table.ids[split.indices(table, "test")[0]]] = "exclude"
    elif change == "damaged":
        (folder / "heatmaps.npy").write_bytes((folder / "heatmaps.npy").read_bytes()[:-4])
    elif change == "maps of another method":
        np.save(folder / "heatmaps-hires-cam.npy", np.zeros((3, 8, 8), np.float32))
    elif change == "no table":
        (folder / "localisation.csv").unlink()
    elif change == "maps only":
        about = read_json(folder / "explanation.json")
        write_json(folder / "explanation.json", {key: about[key] for key in about if key != "background"})
    elif change == "no tests":
        about = read_json(folder / "explanation.json")
        write_json(folder / "explanation.json", {key: about[key] for key in about if key != "faithfulness"})
    elif change == "one method":  # the other's maps may then be of an earlier network
        write_json(folder / "explanation.json", read_json(folder / "explanation.json") | {"other_methods": []})
    pack = job.pack_images(table, image_px=64, cache=finished / "cache")
    prepared = job.TrainingData(table=table, pack=pack, split=split)
    asked: list[Any] = []
    monkeypatch.setattr(looking, "explain_run", lambda *_, **given: asked.append(given["options"]))
    given = comparison(data, tmp_path, "tiny_vgg")
    looking.explain(given, small("tiny_vgg").changed(seed=4), prepared, folder, lambda *_: contextlib.nullcontext())
    assert len(asked) == (change != "none")
    if asked:
        assert (asked[0].methods, asked[0].seed, asked[0].segmenter) == (("hires_cam",), 4, None)


def edited(drawn: Path, out: Path) -> Path:
    """The comparison's own split with one training image taken out by hand."""
    table = read_table(drawn)
    split = make_split(table, small("tiny_vgg").split)
    split.part[table.ids[split.indices(table, "train")[0]]] = "exclude"
    split.write(out)
    return out


def test_a_split_that_is_handed_in_is_used_and_told(drawn: Path, tmp_path: Path) -> None:
    given = edited(drawn, tmp_path / "mine.csv")
    job.compare(comparison(drawn, tmp_path / "out", "tiny_vgg", split_file=given))
    told = read_json(tmp_path / "out" / "comparison.json")
    assert told["protocol"] == "given as mine.csv"
    assert sum(told["counts"]["exclude"].values()) == 1
    assert (tmp_path / "out" / "split.csv").read_bytes() == given.read_bytes()


def test_a_folder_begun_with_another_split_is_refused_and_stays(drawn: Path, tmp_path: Path) -> None:
    job.compare(comparison(drawn, tmp_path, "tiny_vgg"))
    before = (tmp_path / "split.csv").read_bytes()
    given = edited(drawn, tmp_path / "mine.csv")
    with pytest.raises(RunError, match=r"split.csv differs from the split asked for \(given as mine.csv, seed 0\)"):
        job.compare(comparison(drawn, tmp_path, "tiny_vgg", split_file=given))
    with pytest.raises(RunError, match=r"differs from the split asked for \(folders, seed 5\); go on with --split"):
        job.compare(comparison(drawn, tmp_path, experiments=(small("tiny_vgg").changed(split={"seed": 5}),)))
    assert (tmp_path / "split.csv").read_bytes() == before


def test_a_folder_of_other_images_is_refused(drawn: Path, tmp_path: Path) -> None:
    job.compare(comparison(drawn, tmp_path, "tiny_vgg"))
    other = write_dataset(tmp_path / "other", count=40, size_px=48, seed=8, workers=1)
    with pytest.raises(RunError, match=r"holds a comparison of other images .* give another folder with --out"):
        job.compare(comparison(other, tmp_path, "tiny_vgg"))


def test_nothing_is_written_where_images_cannot_be_read(drawn: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(drawn, broken)
    next((broken / "train" / "benign").iterdir()).write_bytes(b"no image")
    with pytest.raises(DataError, match="1 of 64 images cannot be read"):
        job.compare(comparison(broken, tmp_path / "out", "tiny_vgg"))
    assert not (tmp_path / "out" / "split.csv").exists()


def test_scores_of_other_labels_are_made_again(drawn: Path, tmp_path: Path) -> None:
    job.compare(comparison(drawn, tmp_path, "tiny_vgg"))
    file = tmp_path / "runs" / "tiny_vgg" / "predictions.csv"
    before = file.read_text()
    flipped = [line.replace(",0,", ",x,").replace(",1,", ",0,").replace(",x,", ",1,") for line in before.splitlines()]
    file.write_text("\n".join(flipped) + "\n")
    job.compare(comparison(drawn, tmp_path, "tiny_vgg"))
    assert file.read_text() == before


def test_a_score_of_zero_is_shown_as_zero_and_an_undefined_one_as_undefined(finished: Path) -> None:
    run = job.read_finished_run(finished / "runs" / "tiny_vgg")
    metrics = run.evaluation.metrics | {"recall": 0.0, "precision": float("nan")}
    line = job._line("tiny_vgg", dataclasses.replace(run.evaluation, metrics=metrics))
    assert "recall 0.000" in line
    assert "precision undefined" in line


@pytest.mark.parametrize(
    ("experiments", "message"),
    [
        ((), "no model to compare; registered are tiny_vgg"),
        ((small("vgg11"), small("vgg11")), "vgg11 would be trained twice into one folder"),
        ((small("vgg11"), small("tiny_vgg").changed(data={"image_px": 80})), r"differ in \[data\] or \[split\]"),
        ((Experiment().changed(model={"name": "lenet"}),), "model.name is 'lenet'; registered are"),
        (
            (small("tiny_vgg", devices=2),),
            "train.devices is 2 and train.strategy 'auto', and a comparison runs in one process",
        ),
        (
            (small("tiny_vgg").changed(model={"weights": "imagenet"}),),
            "tiny_vgg has no published weights; leave it out",
        ),
    ],
)
def test_experiments_that_cannot_be_compared_are_refused(
    drawn: Path, tmp_path: Path, experiments: tuple[Experiment, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        job.compare(comparison(drawn, tmp_path / "out", experiments=experiments))
    assert not (tmp_path / "out").exists()


def test_a_stopped_training_is_noted_in_the_report(drawn: Path, tmp_path: Path) -> None:
    experiment = small("tiny_vgg", epochs=500, limit_s=0.5)
    job.compare(comparison(drawn, tmp_path, experiments=(experiment,)))
    told = read_json(tmp_path / "comparison.json")["models"]["tiny_vgg"]
    assert told["complete"] is False
    assert told["epochs"] < 500
    html = (tmp_path / "report.html").read_text()
    assert f"Tiny VGG was stopped after 0 minutes and {told['steps']} steps" in " ".join(html.split())


def test_the_paper_s_figures_stand_beside_ours_only_on_its_data(drawn: Path) -> None:
    assert paper_scores_for(read_table(drawn)) is None
    rows = read_table(drawn).rows
    paper = [rows[0]] * 5500 + [next(row for row in rows if row.label == 1)] * 5105
    figures = paper_scores_for(ImageTable(root=drawn, rows=tuple(paper)))
    assert figures is not None
    assert (figures["alexnet"]["accuracy"], figures["tiny_vgg"]["recall"]) == (0.908, 0.907)
    assert figures["vgg11"]["auc"] == 0.966


def test_the_demo_s_experiments_are_small_versions_of_the_paper_s_models() -> None:
    for name in MODELS:
        assert job.demo_experiment(name).model.name == name
    with pytest.raises(ConfigError, match="lenet has no small size for drawn lesions; choose from tiny_vgg"):
        job.demo_experiment("lenet")

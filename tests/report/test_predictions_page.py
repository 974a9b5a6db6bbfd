"""The page on predictions alone: what it holds, what it refuses, and its edges."""

import contextlib
import html
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lentigo.data.predictions import Predictions, described_by, read_predictions
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import ImageRow, read_table
from lentigo.errors import ConfigError, DataError
from lentigo.evidence.decisions import Decisions, decide, undecided
from lentigo.evidence.intervals import auc_interval
from lentigo.evidence.metrics import confusion
from lentigo.files import read_json
from lentigo.report.predictions_page import SECTIONS, PredictionsReport, write_predictions_report
from tests.report.made_up import LABELS, SHARPNESS, logits_of
from tests.report.page_parts import (
    Page,
    assert_all_is_named,
    assert_fits_a_phone,
    assert_loads_nothing,
    assert_no_python,
    assert_whole,
    section,
)

NONE = undecided("no validation scores are given; name them with --validation")


def scored(logits: np.ndarray, labels: np.ndarray = LABELS, **columns: list[str]) -> Predictions:
    ids = tuple(f"{index}.jpg" for index in range(labels.size))
    rows = tuple(
        ImageRow(id=name, path=Path(name), label=int(label), **{key: cells[index] for key, cells in columns.items()})
        for index, (name, label) in enumerate(zip(ids, labels, strict=True))
    )
    return Predictions(ids, labels.astype(np.int64), logits.astype(np.float32), rows if columns else ())


def given(
    models: dict[str, Predictions], decisions: dict[str, Decisions] | None = None, **changes: Any
) -> PredictionsReport:
    settings: dict[str, Any] = {
        "names": tuple(models),
        "predictions": tuple(models.values()),
        "decisions": tuple((decisions or {}).get(name, NONE) for name in models),
        "table": None,
        "command": "lentigo report --predictions a.csv",
    }
    return PredictionsReport(**{**settings, **changes})


def three() -> PredictionsReport:
    validation = (np.arange(80) % 2).astype(np.int64)
    decisions = {name: decide(validation, logits) for name, logits in logits_of(validation, seed=50).items()}
    sources = {"source": ["here" if index % 5 else "there" for index in range(LABELS.size)]}
    models = {name: scored(logits, **sources) for name, logits in logits_of(LABELS).items()}
    return given(models, decisions, seed=3, prevalence=0.002)


def one_class(label: int) -> PredictionsReport:
    logits = np.linspace(-2, 1, 30)
    same = np.full(30, label, dtype=np.int64)
    return given({"a": scored(logits, same), "b": scored(-logits, same)})


def endless() -> PredictionsReport:
    """Probabilities of 0 and 1 in the file: infinite logits, two of them wrong."""
    logits = np.where(np.arange(40) % 2, np.inf, -np.inf) * np.where(np.arange(40) < 2, -1, 1)
    return given({"sure": scored(logits, LABELS[:40]), "unsure": scored(logits_of(LABELS)["coin"][:40], LABELS[:40])})


REPORTS = {
    "one": lambda: given({"alone": scored(logits_of(LABELS)["vgg11"])}),
    "three": three,
    "benign": lambda: one_class(0),
    "malignant": lambda: one_class(1),
    "infinite": endless,
    "two images": lambda: given({"a": scored(np.array([-1.0, 2.0]), LABELS[:2])}),
    "one image": lambda: given({"a": scored(np.array([-1.0]), LABELS[:1]), "b": scored(np.array([0.0]), LABELS[:1])}),
    "constant": lambda: given({"a": scored(np.zeros(40), LABELS[:40]), "b": scored(np.ones(40), LABELS[:40])}),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Any, list[str]]]:
    """By kind: the page, evidence.json, and what is said on the terminal."""
    found = {}
    for kind, report in REPORTS.items():
        out = tmp_path_factory.mktemp("out")
        lines = write_predictions_report(out, report())
        found[kind] = (out / "report.html").read_text(encoding="utf-8"), read_json(out / "evidence.json"), lines
        assert sorted(path.name for path in out.iterdir()) == ["evidence.json", "report.html"]
    return found


@pytest.mark.parametrize("kind", REPORTS)
def test_every_page_is_whole_and_readable(written: dict[str, Any], kind: str) -> None:
    page, _, lines = written[kind]
    assert_whole(page, [name for name, _ in SECTIONS])
    assert_loads_nothing(page)
    assert_all_is_named(page)
    assert_no_python(page)
    assert not any(re.search(r"\b(nan|inf|None)\b(?! of)", line) for line in lines)
    text = Page(page).text
    assert text.index("not a medical device") < text.index("What was given") < text.rindex("not a medical device")


@pytest.mark.parametrize("kind", ["three", "infinite"])
def test_the_page_fits_a_phone(written: dict[str, Any], tmp_path: Path, kind: str) -> None:
    assert_fits_a_phone(written[kind][0], tmp_path / "page.html")


# ---------------------------------------------------------------- numbers


def test_scores_and_counts_on_the_page_are_those_of_the_logits(written: dict[str, Any]) -> None:
    page, found, lines = written["three"]
    scores, counts = section(page, "scores"), section(page, "confusion")
    for name, logits in logits_of(LABELS).items():
        auc = auc_interval(LABELS, logits)
        assert f"<td>{auc.value:.3f}<small>{auc.low:.3f} to {auc.high:.3f}</small></td><td>160</td>" in scores
        right = confusion(LABELS, logits)
        cells = (right.true_positive, right.false_negative, right.false_positive, right.true_negative)
        assert f'<th scope="row">{name}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) in counts
        assert found["models"][name]["scores"]["auc"]["value"] == auc.value
        assert any(line.startswith(f"{name}: auc {auc.value:.3f} (") for line in lines)
    assert found["prevalence"] == 0.002
    assert "0.2 % of the moles are malignant" in section(page, "operating")
    assert "Of 10,000 people with 20 malignant moles" in section(page, "operating")
    assert "80 benign, 80 malignant" in page
    assert "3, of the bootstrap" in page


def test_the_summary_says_what_was_compared(written: dict[str, Any]) -> None:
    def summary(kind: str) -> str:
        page = written[kind][0]
        return html.unescape(page[page.index('<p class="lead">') + 16 :].partition("</p>")[0])

    assert summary("three").startswith(
        "3 classifiers on 160 images, 80 of them malignant. AUC with its 95 % interval: "
    )
    assert "By AUC vgg11 cannot be told apart from tiny_vgg on these images, and lies above coin" in summary("three")
    assert "coin is not clearly better than chance" in summary("three")
    assert summary("one").startswith(
        "1 classifier on 160 images, 80 of them malignant. AUC with its 95 % interval: alone 0."
    )
    assert summary("malignant").startswith(
        "2 classifiers on 30 images, 30 of them malignant. The AUC is undefined, since the images are of one class."
    )
    assert "There are only 1 malignant and 1 benign test images" in summary("two images")


def test_validation_brings_thresholds_temperature_and_curves(written: dict[str, Any]) -> None:
    page = written["three"][0]
    assert '<th scope="row">vgg11</th><td>80</td><td>40</td>' in section(page, "run")
    assert "Sensitivity 0.95" in section(page, "operating")
    assert "Decision curves at a prevalence of 0.2 %" in section(page, "operating")
    assert "at temperature 0." in section(page, "calibration")
    assert "One threshold" not in section(page, "limits")


def test_without_validation_there_is_one_threshold_and_it_is_said(written: dict[str, Any]) -> None:
    page = written["one"][0]
    assert '<th scope="row">alone</th><td>none given</td><td>–</td>' in section(page, "run")
    assert "No other threshold: no validation scores are given; name them with --validation." in section(
        page, "operating"
    )
    assert "Sensitivity 0.95" not in section(page, "operating")
    assert "There is no temperature: no validation scores are given" in section(page, "calibration")
    assert "Hollow marks" not in section(page, "calibration")
    assert "<dt>One threshold</dt>" in section(page, "limits")
    assert "nobody to be tested against" in section(page, "pairs")


def test_columns_of_the_file_make_subgroups(written: dict[str, Any]) -> None:
    assert "<h3>Source</h3>" in section(written["three"][0], "subgroups")
    assert "Nothing is known of the images" in section(written["one"][0], "subgroups")


def test_images_of_one_class(written: dict[str, Any]) -> None:
    page, found, _ = written["malignant"]
    assert "There is no curve: the images are of one class." in section(page, "roc")
    assert found["models"]["a"]["scores"]["auc"]["value"] is None
    assert found["models"]["a"]["scores"]["recall"]["value"] == pytest.approx(
        10 / 30
    )  # -2 to 1 in 29 steps: 20 below 0
    assert "by AUC they cannot be compared (AUC needs both classes, got 30 malignant and 0 benign images)" in page
    assert "there is no benign image" in section(page, "operating")
    assert "there is no malignant image" in section(written["benign"][0], "operating")


def test_probabilities_of_0_and_1(written: dict[str, Any], tmp_path: Path) -> None:
    page, found, _ = written["infinite"]
    # Of 20 images a class one is wrong and sure. Each of the 19 right malignant ones beats 19 benign and ties with one;
    # the wrong one ties with 19 and loses to one.
    assert found["models"]["sure"]["scores"]["auc"]["value"] == pytest.approx((19 * 19.5 + 9.5) / 400)
    assert "sure" in section(page, "calibration")
    path = tmp_path / "sure.csv"
    path.write_text("image,label,probability\na.jpg,1,1\nb.jpg,0,0\nc.jpg,1,0.25\nd.jpg,0,0.5\n")
    read = read_predictions(path)
    assert list(read.logits[:2]) == [math.inf, -math.inf]
    write_predictions_report(tmp_path / "out", given({"sure": read}))
    assert_no_python((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert read_json(tmp_path / "out" / "evidence.json")["models"]["sure"]["scores"]["accuracy"]["value"] == 0.5


def test_two_images(written: dict[str, Any]) -> None:
    auc = written["two images"][1]["models"]["a"]["scores"]["auc"]
    assert (auc["value"], auc["high"]) == (1.0, 1.0)
    assert auc["low"] == pytest.approx(0.05)  # one trial, won: at 0.05 that is still 5 % likely


# ---------------------------------------------------------------- pairing


def test_another_order_of_the_images_is_the_same(tmp_path: Path) -> None:
    logits = logits_of(LABELS)
    first, second = scored(logits["tiny_vgg"]), scored(logits["vgg11"])
    order = np.random.default_rng(0).permutation(LABELS.size)
    turned = Predictions(tuple(second.ids[i] for i in order), second.labels[order], second.logits[order])
    for name, other in (("straight", second), ("turned", turned)):
        write_predictions_report(tmp_path / name, given({"a": first, "b": other}))
    straight, mixed = (read_json(tmp_path / name / "evidence.json") for name in ("straight", "turned"))
    assert straight == mixed


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (("0", "1"), r"^b lacks 1 image that a has, first 2\.jpg; classifiers are compared on the same images only: "),
        (
            ("0", "1", "2", "3", "4"),
            r"^a lacks 2 images that b has, first 3\.jpg; classifiers are compared on the same ",
        ),
    ],
)
def test_other_images_are_refused(tmp_path: Path, others: tuple[str, ...], message: str) -> None:
    def of(names: tuple[str, ...]) -> Predictions:
        labels = np.array([int(name) % 2 for name in names], dtype=np.int64)
        return Predictions(tuple(f"{name}.jpg" for name in names), labels, np.zeros(len(names), np.float32))

    with pytest.raises(DataError, match=message):
        write_predictions_report(tmp_path / "out", given({"a": of(("0", "1", "2")), "b": of(others)}))
    assert not (tmp_path / "out").exists()


def test_other_labels_and_equal_names_are_refused(tmp_path: Path) -> None:
    logits = np.zeros(4)
    one, other = scored(logits, np.array([0, 1, 0, 1])), scored(logits, np.array([0, 1, 1, 1]))
    with pytest.raises(DataError, match=r"^2\.jpg is labelled differently in a and b; correct one of them$"):
        write_predictions_report(tmp_path / "out", given({"a": one, "b": other}))
    twice = given({"a": one, "b": one}, names=("a", "a"))
    with pytest.raises(ConfigError, match=r"^a names two classifiers; write NAME=FILE to tell them apart$"):
        write_predictions_report(tmp_path / "out", twice)


def test_names_are_text_not_markup(tmp_path: Path) -> None:
    evil = """<b>&"'$x$"""
    models = {evil: scored(logits_of(LABELS)["coin"]), f"{evil}2": scored(logits_of(LABELS)["vgg11"])}
    write_predictions_report(tmp_path, given(models, command=evil))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<b>&" not in page
    assert "&amp;lt;" not in page
    assert Page(page).text.count(evil) > 20


# ---------------------------------------------------------------- with the data


@pytest.mark.parametrize("described", [True, False])
def test_the_data_bring_columns_or_estimated_skin_tones(tmp_path: Path, described: bool) -> None:
    folder = write_dataset(tmp_path / "drawn", count=32, size_px=96, seed=1, test_fraction=0.0, workers=1)
    if not described:
        (folder / "metadata.csv").unlink()
    table, steps = read_table(folder), list[str]()
    logits = (table.labels * 2 - 1 + np.random.default_rng(0).normal(size=32)).astype(np.float32)
    read = described_by(Predictions(tuple(table.ids), table.labels, logits), table)

    def bar(text: str, total: int) -> Any:
        steps.append(text)
        return contextlib.nullcontext(lambda done: None)

    report = given({"a": read}, table=table)
    write_predictions_report(tmp_path / "out", report, cache=tmp_path / "cache", bar=bar)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<dd>drawn</dd>" in section(page, "run")
    found = read_json(tmp_path / "out" / "evidence.json")
    columns = [group["column"] for group in found["models"]["a"]["subgroups"]]
    assert [part.partition("</h3>")[0] for part in section(page, "subgroups").split("<h3>")[1:]] == columns
    assert steps == ([] if described else ["decoding images", "estimating skin tones"])
    assert ("Skin tone" in columns) == described
    assert found["skin_tone_estimated"] == ("Skin tone (estimated)" in columns) == (not described)


def test_the_checklist_leaves_to_the_authors_what_the_page_does_not_hold(written: dict[str, Any]) -> None:
    shown = section(written["three"][0], "checklist")
    linked = set(re.findall(r'<a href="#([^"]+)">', shown))
    assert linked
    assert linked <= {name for name, _ in SECTIONS}
    assert "costs" not in shown
    assert "gallery" not in shown
    assert not re.search(r'<td class="words">: ', shown)


def test_names_of_classifiers_stay_in_order(written: dict[str, Any]) -> None:
    page, found, _ = written["three"]
    assert list(found["models"]) == list(SHARPNESS)
    heads = section(page, "pairs")
    assert heads.index(">tiny_vgg<") < heads.index(">vgg11<") < heads.index(">coin<")

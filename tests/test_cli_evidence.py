"""`report`, `evaluate --data`, `stress`, `compare --seeds --external` as a user meets them: what they say and write."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from lentigo.cli import evidence_commands, main
from lentigo.cli.options import command_line, table_of
from lentigo.data.predictions import Predictions, read_predictions
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import read_table
from lentigo.evidence.decisions import Decisions, decide
from lentigo.files import read_json, write_json
from lentigo.learn import elsewhere, evaluation
from lentigo.report.page import SECTIONS
from lentigo.report.predictions_page import PredictionsReport

FAST = [
    "--epochs", "1", "--set", "data.image_px=64", "--set", "preprocessing.resize_px=32", "--set", "train.batch_size=8",
    "--set", "split.validation_fraction=0.2",
]  # fmt: skip
SIZE_PX = 128


@pytest.fixture
def lentigo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command in this process; what it printed, or its error where that is expected."""

    def run(*arguments: str | Path, error: bool = False) -> str:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["lentigo", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        assert (caught.value.code or 0) == (2 if error else 0), err
        return err if error else out

    return run


# ---------------------------------------------------------------- report


def write_scores(
    path: Path, seed: int, *, labels: np.ndarray | None = None, first: int = 0, n: int = 80
) -> Predictions:
    """Scores of images called first, first + 1, ... in an order of their own."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 if labels is None else labels
    order = rng.permutation(n)
    logits = rng.normal(2 * labels - 1, 2).astype(np.float32)
    written = Predictions(tuple(f"{first + i:03}.jpg" for i in order), labels[order], logits[order])
    written.write(path)
    return written


def auc_of(predictions: Predictions) -> float:
    return float(roc_auc_score(predictions.labels, predictions.logits))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LENTIGO_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_report_on_two_files_of_scores(here: Path, lentigo: Callable[..., str]) -> None:
    scores = {name: write_scores(here / f"{name}.csv", seed) for seed, name in enumerate("ab")}
    shown = lentigo("report", "--predictions", "a.csv", "b.csv")
    found = read_json(here / "evidence" / "evidence.json")
    assert list(found["models"]) == ["a", "b"]
    for name, predictions in scores.items():
        assert found["models"][name]["n"] == 80
        auc = found["models"][name]["scores"]["auc"]
        assert auc["value"] == pytest.approx(auc_of(predictions), abs=1e-12)
        assert f"{name}: AUC {auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})" in shown.replace("auc", "AUC")
        assert len(found["models"][name]["operating_points"]) == 1
        assert f"no validation scores of {name}" in found["models"][name]["decisions"]["reason"]
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("a", "b")]
    html = (here / "evidence" / "report.html").read_text()
    assert "lentigo report --predictions a.csv b.csv" in html
    assert str(here) not in html
    assert "report: evidence/report.html" in shown
    assert "not a medical device" in shown


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[PredictionsReport]:
    """What reports were asked for; none is made, which spares seconds."""
    given: list[PredictionsReport] = []

    def kept(_out: Path, report: PredictionsReport, **_options: Any) -> list[str]:
        given.append(report)
        return []

    monkeypatch.setattr("lentigo.report.predictions_page.write_predictions_report", kept)
    return given


def test_files_are_named_by_the_file_the_run_folder_or_the_user(
    here: Path, lentigo: Callable[..., str], reported: list[PredictionsReport]
) -> None:
    files = ["vgg11/predictions.csv", "mine.csv", "other.csv", "odd=name.csv"]
    written = [write_scores(here / file, seed) for seed, file in enumerate(files)]
    lentigo(
        "report", "--predictions", files[0], "--predictions", files[1], "--predictions", f"Théo's={files[2]}", files[3]
    )
    assert reported[0].names == ("vgg11", "mine", "Théo's", "odd=name")
    for read, expected in zip(reported[0].predictions, written, strict=True):
        assert read.ids == expected.ids
        np.testing.assert_array_equal(read.logits, expected.logits)


def test_the_order_of_lines_is_no_matter(here: Path, lentigo: Callable[..., str]) -> None:
    a = write_scores(here / "a.csv", 1)
    order = np.argsort(a.ids)
    Predictions(tuple(a.ids[i] for i in order), a.labels[order], a.logits[order]).write(here / "sorted.csv")
    lentigo("report", "a.csv", "sorted.csv")
    models = read_json(here / "evidence" / "evidence.json")["models"]
    assert models["a"] == models["sorted"] | {"decisions": models["a"]["decisions"]}


def test_thresholds_come_from_the_validation_files_in_their_order(here: Path, lentigo: Callable[..., str]) -> None:
    validation = []
    for seed, name in enumerate("ab"):
        write_scores(here / f"{name}.csv", seed)
        validation.append(write_scores(here / f"{name}v.csv", seed + 5, first=500))
    lentigo("report", "a.csv", "b.csv", "--validation", "av.csv", "--validation", "bv.csv", "--prevalence", "0.05")
    found = read_json(here / "evidence" / "evidence.json")
    assert found["prevalence"] == 0.05
    for name, chosen_on in zip("ab", validation, strict=True):
        decisions = decide(chosen_on.labels, chosen_on.logits)
        model = found["models"][name]
        assert repr(Decisions.from_dict(model["decisions"])) == repr(decisions)
        assert len(model["operating_points"]) == 5
        assert {point["prevalence"] for point in model["operating_points"]} == {0.05}
        assert model["calibration"]["after"] is not None


def test_a_run_folder_s_own_decisions_are_used_unless_others_are_given(
    here: Path, lentigo: Callable[..., str], reported: list[PredictionsReport]
) -> None:
    write_scores(here / "run" / "predictions.csv", 1)
    own = write_scores(here / "run" / "validation.csv", 2, first=500)
    other = write_scores(here / "other.csv", 3, first=700)

    def decided(*options: str) -> Decisions:
        lentigo("report", "run/predictions.csv", *options)
        return reported[-1].decisions[0]

    of_own, of_other = (decide(scores.labels, scores.logits) for scores in (own, other))
    assert decided() == of_own
    write_json(here / "run" / "decisions.json", of_other.to_dict())
    assert decided() == of_other
    assert decided("--validation", "run/validation.csv") == of_own
    (here / "run" / "decisions.json").write_text("{}")
    error = lentigo("report", "run/predictions.csv", error=True)
    assert error.startswith("lentigo: run/decisions.json is damaged (")
    shutil.copy(here / "run" / "predictions.csv", here / "run" / "mine.csv")  # not the run's own, as far as one knows
    lentigo("report", "run/mine.csv")
    assert reported[-1].decisions[0].n == 0


def test_the_data_s_columns_make_groups_and_subgroups(here: Path, lentigo: Callable[..., str]) -> None:
    """Two images a lesion; half of the lesions are of women; tones are estimated from the pictures."""
    (here / "data").mkdir()
    rng = np.random.default_rng(0)
    lines = ["image,label,lesion,sex"]
    for index in range(80):
        skin = ((230, 195, 175), (90, 60, 45))[index % 3 == 0]
        pixels = (np.array(skin) + rng.normal(0, 3, (32, 32, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(here / "data" / f"{index:03}.png")
        lines.append(f"{index:03}.png,{index % 2},L{index // 2 // 2 * 2 + index % 2},{'fm'[index // 40]}")
    (here / "data" / "metadata.csv").write_text("\n".join(lines) + "\n")
    a = write_scores(here / "a.csv", 1)
    Predictions(tuple(name.replace("jpg", "png") for name in a.ids), a.labels, a.logits).write(here / "a.csv")
    lentigo("report", "a.csv", "--data", "data", "--out", "with")
    lentigo("report", "a.csv", "--out", "without")
    found, alone = (read_json(here / out / "evidence.json") for out in ("with", "without"))
    assert (found["grouped"], alone["grouped"]) == (True, False)
    assert (found["skin_tone_estimated"], alone["skin_tone_estimated"]) == (True, False)
    columns = {part["column"]: part for part in found["models"]["a"]["subgroups"]}
    assert set(columns) == {"Sex", "Skin tone (estimated)"}
    assert [(part["name"], part["n"]) for part in columns["Sex"]["scores"]] == [("f", 40), ("m", 40)]
    assert [part["n"] for part in columns["Skin tone (estimated)"]["scores"]] == [53, 27]
    assert alone["models"]["a"]["subgroups"] == []
    assert found["models"]["a"]["scores"]["auc"]["value"] == alone["models"]["a"]["scores"]["auc"]["value"]
    assert found["models"]["a"]["scores"]["auc"]["low"] != alone["models"]["a"]["scores"]["auc"]["low"]


REFUSED: list[tuple[list[str], str]] = [
    ([], "no predictions are given; name one file or more after --predictions"),
    (["a.csv", "a.csv"], "a names two classifiers; write NAME=FILE to tell them apart"),
    (["x=a.csv", "x=b.csv"], "x names two classifiers"),
    (["a.csv", "fewer.csv"], "fewer lacks 10 images that a has, first 070.jpg; "),
    (["fewer.csv", "a.csv"], "fewer lacks 10 images that a has, first 070.jpg; "),
    (["a.csv", "flipped.csv"], " is labelled differently in a and flipped; correct one of them"),
    (["a.csv", "b.csv", "--validation", "av.csv"], "--validation names 1 files for 2 predictions; give one for each"),
    (["a.csv", "--validation", "b.csv"], "b.csv and a.csv share 80 images, first 000.jpg; thresholds are chosen on"),
    (["a.csv", "--data", "nowhere"], "nowhere does not exist"),
    (["a.csv", "--prevalence", "0"], "prevalence"),
    (["a.csv", "--prevalence", "1"], "prevalence"),
    (["missing.csv"], "missing.csv does not exist; check the path"),
    (["mine=missing.csv"], "missing.csv does not exist; check the path"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: "" if isinstance(value, str) else None)
def test_scores_that_are_refused(here: Path, lentigo: Callable[..., str], options: list[str], message: str) -> None:
    write_scores(here / "a.csv", 1)
    write_scores(here / "b.csv", 2)
    write_scores(here / "av.csv", 3, first=500)
    write_scores(here / "fewer.csv", 4, n=70)
    write_scores(here / "flipped.csv", 5, labels=np.arange(80) // 2 % 2)
    error = lentigo("report", *options, error=True)
    assert message in error
    assert error.startswith("lentigo: ")
    assert error.count("\n") == 1
    assert not (here / "evidence").exists()


def test_images_that_the_data_do_not_hold_are_refused(here: Path, lentigo: Callable[..., str]) -> None:
    write_scores(here / "a.csv", 1)
    (here / "000.jpg").touch()
    (here / "data.csv").write_text("image,label\n000.jpg,0\n")
    assert " is not in data; give the data that the predictions were made on" in lentigo(
        "report", "a.csv", "--data", "data.csv", error=True
    )


def test_a_report_needs_no_torch(here: Path) -> None:
    write_scores(here / "a.csv", 1)
    write_scores(here / "av.csv", 2, first=500)
    without = (
        "import sys; sys.modules['torch'] = sys.modules['torchvision'] = None; "
        "sys.argv = ['lentigo', 'report', '--predictions', 'a.csv', '--validation', 'av.csv']; "
        "from lentigo.cli import main; main()"
    )
    shown = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False, cwd=here)
    assert shown.returncode == 0, shown.stderr
    assert (here / "evidence" / "report.html").is_file()


# ---------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "own", count=40, size_px=SIZE_PX, seed=5, workers=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def trained(own: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "runs" / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        for command in (["train", own, "--out", run, *FAST], ["evaluate", run]):
            patch.setattr(sys, "argv", ["lentigo", *map(str, command), "--cache", str(cache)])
            with pytest.raises(SystemExit) as caught:
                main()
            assert not caught.value.code
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """In a folder named `tiny` below one that holds no audit."""
    return Path(shutil.copytree(trained, tmp_path / "runs" / "tiny"))


def part_of(run: Path, own: Path, part: str) -> list[Path]:
    split = dict(line.rsplit(",", 1) for line in (run / "split.csv").read_text().splitlines()[1:])
    return [own / name for name, found in sorted(split.items()) if found == part]


def test_evaluate_leaves_out_what_the_run_has_seen_and_says_how_many(
    run: Path, own: Path, cache: Path, tmp_path: Path, lentigo: Callable[..., str]
) -> None:
    other = write_dataset(tmp_path / "archive", count=10, size_px=SIZE_PX, seed=8, workers=1)
    (other / "metadata.csv").unlink()  # its folders speak
    for part, count in (("train", 3), ("validation", 1), ("test", 2)):
        for path in part_of(run, own, part)[:count]:
            shutil.copy(path, other / "test" / path.parent.name / f"{part}_{path.name}")
    decisions = (run / "decisions.json").read_bytes()
    shown = lentigo("evaluate", run, "--data", other, "--cache", cache, "--prevalence", "0.02")
    (folder,) = (run / "evaluations").iterdir()
    left_out = read_json(folder / "left_out.json")["images"]
    assert len(left_out) == 4
    assert {image["part"] for image in left_out} == {"train", "validation"}
    malignant = sum(image["label"] for image in left_out)
    assert f"4 of 16 images ({malignant} malignant) are copies of images of the run's training or validation" in shown
    found = read_json(folder / "evidence.json")
    assert found["n"] == len(read_predictions(folder / "predictions.csv").ids) == 12
    assert found["decisions"] == json.loads(decisions)
    assert {point["prevalence"] for point in found["operating_points"]} == {0.02}
    assert "on 12 images" in shown
    assert f"written to {folder}" in shown
    assert (run / "decisions.json").read_bytes() == decisions


def test_a_run_s_own_images_under_other_names_are_copies_and_no_error(
    run: Path, own: Path, cache: Path, tmp_path: Path, lentigo: Callable[..., str]
) -> None:
    """In the same order, so that the pack is the run's own."""
    lines = ["image,label"]
    for number, row in enumerate(read_table(own).rows):
        shutil.copy(row.path, tmp_path / f"{number:02}.jpg")
        lines.append(f"{number:02}.jpg,{row.label}")
    (tmp_path / "again.csv").write_text("\n".join(lines) + "\n")
    shown = lentigo("evaluate", run, "--data", tmp_path / "again.csv", "--cache", cache)
    test = len(part_of(run, own, "test"))
    assert f"{40 - test} of 40 images" in shown
    (folder,) = (run / "evaluations").iterdir()
    found, before = read_json(folder / "evidence.json"), read_json(run / "evidence.json")
    assert found["n"] == before["n"] == test
    assert found["scores"] == before["scores"]


def test_evaluate_of_benign_images_alone(run: Path, cache: Path, tmp_path: Path, lentigo: Callable[..., str]) -> None:
    other = write_dataset(tmp_path / "drawn", count=12, size_px=SIZE_PX, seed=9, workers=1)
    for part in ("train", "test"):
        shutil.rmtree(other / part / "malignant")
    (other / "metadata.csv").unlink()
    shown = lentigo("evaluate", run, "--data", other, "--cache", cache)
    assert "none of 6 images is a copy" in shown
    assert "auc         undefined" in shown
    assert "on 6 images, 0 malignant" in shown
    (folder,) = (run / "evaluations").iterdir()
    assert read_json(folder / "evidence.json")["scores"]["auc"]["value"] is None


def test_stress_of_some_images_under_some_changes(
    run: Path, cache: Path, lentigo: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["stress", run, "--count", "8", "--change", "jpeg", "--change", "hair", "--cache", cache]
    shown = lentigo(*command)
    (file,) = (run / "stress").glob("*/stress.json")  # of some changes: not the run's own
    assert not (run / "stress.json").exists()
    about = read_json(file)
    assert (about["images"], about["seed"], len(about["ids"])) == (8, 0, 8)
    scores = about["result"]["scores"]
    assert [(score["change"], score["strength"]) for score in scores] == [
        (change, strength) for change in ("jpeg", "hair") for strength in range(1, 6)
    ]
    lines = shown.splitlines()
    for change in ("jpeg", "hair"):
        (line,) = [line for line in lines if line.startswith(f"{change} ")]
        for score in scores:
            assert score["change"] != change or f"{score['auc']:.3f}" in line
    assert f"on 8 images; AUC without a change {about['result']['clean_auc']:.3f}" in lines
    assert f"written to {file}" in lines
    before = file.read_bytes()
    monkeypatch.setattr("lentigo.learn.stress._changed", None)  # a call would fail
    assert lentigo(*command) == shown
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--change", "fog"], "no change is called fog; choose from jpeg, "), (["--count", "1"], "--count")],
)
def test_a_stress_test_that_is_refused(
    run: Path, cache: Path, lentigo: Callable[..., str], options: list[str], message: str
) -> None:
    assert message in lentigo("stress", run, *options, "--cache", cache, error=True)
    assert not (run / "stress.json").exists()


# ---------------------------------------------------------------- a comparison


@pytest.fixture(scope="module")
def clinic(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten new images and a copy of two of the comparison's own, one of its training part and one of its test part."""
    folder = write_dataset(tmp_path_factory.mktemp("other") / "clinic", count=10, size_px=SIZE_PX, seed=8, workers=1)
    (folder / "metadata.csv").unlink()
    for part in ("train", "test"):
        shutil.copy(sorted((own / part / "benign").iterdir())[0], folder / "test" / "benign" / f"{part}.jpg")
    return folder


def test_seeds_external_data_and_stress_in_one_comparison(
    own: Path, clinic: Path, cache: Path, tmp_path: Path, lentigo: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    command = [
        "compare", own, "--out", out, "--models", "tiny_vgg", "--seeds", "2", "--external", f"the clinic={clinic}",
        *FAST, "--cache", cache,
    ]  # fmt: skip
    shown = lentigo(*command)
    found = read_json(out / "evidence.json")
    assert set(found) == {
        "prevalence", "grouped", "skin_tone_estimated", "models", "pairs", "seeds", "external", "stress"
    }  # fmt: skip
    assert list(found["models"]) == ["tiny_vgg"]
    check_seeds(out, found)
    check_external(out, found, shown)
    html = (out / "report.html").read_text()
    for section, _ in SECTIONS:
        there = section not in ("pairs", "robustness")  # of one network, and of none that was stressed
        assert (f'id="{section}"' in html) or not there, section
    assert "the clinic" in html
    assert str(tmp_path) not in html
    assert str(clinic) not in (out / "evidence.json").read_text()
    written = ("MODEL_CARD.md", "evidence.json")  # of what is there, every time
    kept = {
        path: path.stat().st_mtime_ns
        for path in (out / "runs").rglob("*")
        if path.is_file() and path.name not in written
    }
    computes_nothing(monkeypatch)
    lentigo(*command)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert read_json(out / "evidence.json") == found


def check_seeds(out: Path, found: dict[str, Any]) -> None:
    """Two trainings, each with the scores of its own predictions."""
    repeats = found["seeds"]["tiny_vgg"]
    assert repeats["seeds"] == [0, 1]
    aucs = [
        auc_of(read_predictions(out / "runs" / name / "predictions.csv")) for name in ("tiny_vgg", "tiny_vgg-seed1")
    ]
    assert repeats["scores"]["auc"] == pytest.approx(aucs)
    assert repeats["spread"]["auc"]["mean"] == pytest.approx(np.mean(aucs))
    assert repeats["spread"]["auc"]["standard_deviation"] == pytest.approx(np.std(aucs, ddof=1))
    weights = [(out / "runs" / name / "checkpoint.safetensors").read_bytes() for name in ("tiny_vgg", "tiny_vgg-seed1")]
    assert weights[0] != weights[1]


def check_external(out: Path, found: dict[str, Any], shown: str) -> None:
    """Eleven images, without the copy of a training image; the decisions are those of the run."""
    external = found["external"]["the clinic"]
    split = dict(line.rsplit(",", 1) for line in (out / "split.csv").read_text().splitlines()[1:])
    seen = [
        name for name, part in split.items() if name.startswith("train/benign/") and part in ("train", "validation")
    ]
    assert sorted(name for name in split if name.startswith("train/benign/"))[0] in seen
    assert (external["data"], external["images"]) == ("clinic", 12)
    assert external["left_out"] == {"tiny_vgg": {"benign": 1, "malignant": 0}}
    assert external["unchecked"] == {"tiny_vgg": ""}
    model = external["models"]["tiny_vgg"]
    assert (model["n"], model["n_malignant"]) == (11, 5)
    assert model["decisions"] == found["models"]["tiny_vgg"]["decisions"]
    assert model["decisions"] == read_json(out / "runs" / "tiny_vgg" / "decisions.json")
    assert "the clinic" in shown


def computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any forward pass, search or estimate fails from now on."""

    def fail(*_: Any, **__: Any) -> None:
        pytest.fail("something was computed again")

    monkeypatch.setattr(evaluation, "predict_logits", fail)
    monkeypatch.setattr(elsewhere, "evaluate_run", fail)
    monkeypatch.setattr("lentigo.compare.evaluate_run", fail)
    monkeypatch.setattr("lentigo.compare.looking.explain_run", fail)
    monkeypatch.setattr("lentigo.compare.audit_data", fail)
    monkeypatch.setattr("lentigo.data.copies.twins_between", fail)
    monkeypatch.setattr("lentigo.data.columns.skin_tones", fail)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--external", "clinic"], "--external clinic: give NAME=PATH, for instance clinic=data/clinic"),
        (["--external", "=x"], "--external =x: give NAME=PATH"),
        (["--external", "a=nowhere"], "nowhere does not exist"),
        (["--external", "a={clinic}", "--external", "a={clinic}"], "--external a is given twice"),
        (["--seeds", "0"], "--seeds"),
    ],
)
def test_other_data_and_seeds_that_are_refused(
    own: Path, clinic: Path, cache: Path, tmp_path: Path, lentigo: Callable[..., str], options: list[str], message: str
) -> None:
    given = [option.replace("{clinic}", str(clinic)) for option in options]
    error = lentigo("compare", own, "--out", tmp_path / "out", "--models", "tiny_vgg", *given, *FAST, error=True)
    assert message in error
    assert not (tmp_path / "out").exists()


def test_data_of_one_class_without_the_positive_label_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "nevi.csv").write_text("image,label\na.jpg,nevus\n")
    table = table_of(tmp_path / "nevi.csv", ["melanoma"], one_class=True)
    assert table.labels.tolist() == [0]
    assert "nevi has no label melanoma: all its images are benign" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("/home/me/secret/clinic", "clinic"), ("clinic=/home/me/clinic", "clinic=clinic"),
        ("--out=/tmp/x/out", "--out=out"),
        ("data/mine", "data/mine"), ("train.epochs=5", "train.epochs=5"),
        ("a=b=/c/d.csv", "a=b=d.csv"),
    ],
)  # fmt: skip
def test_the_command_line_in_a_report_holds_no_folders(word: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["lentigo", "compare", word])
    assert command_line() == f"lentigo compare {shown}"


def test_files_stand_in_the_order_in_which_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options come before arguments where the command line is read, but --validation follows the command line."""
    monkeypatch.setattr(
        "sys.argv", ["lentigo", "report", "a.csv", "--predictions", "b.csv", "c.csv", "--predictions=d.csv"]
    )
    assert evidence_commands._as_given(["b.csv", "d.csv", "a.csv", "c.csv"]) == ["a.csv", "b.csv", "c.csv", "d.csv"]

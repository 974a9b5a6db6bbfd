"""`lentigo predict`: many files, in order, in three forms; a bad one stops nothing and is counted."""

import csv
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lentigo import cli
from lentigo.cli.use_commands import _say_of_model
from lentigo.deploy.files import Picture, _free, pictures, screen_files
from lentigo.deploy.screen import Screener, Screening
from lentigo.errors import ModelError


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    """Three pictures, one of them deeper, one broken, and a text."""
    moles = sorted(drawn.rglob("*.jpg"))[:3]
    (tmp_path / "moles" / "old").mkdir(parents=True)
    shutil.copy(moles[0], tmp_path / "moles" / "b.jpg")
    shutil.copy(moles[1], tmp_path / "moles" / "a.JPG")
    shutil.copy(moles[2], tmp_path / "moles" / "old" / "b.jpg")
    (tmp_path / "moles" / "c.png").write_bytes(b"\x89PNG broken")
    (tmp_path / "moles" / "notes.txt").write_text("no picture")
    return tmp_path / "moles"


@pytest.fixture
def predict(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `lentigo predict MODEL ...`; what it printed."""

    def run(*words: str | Path, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["lentigo", "predict", str(model), *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        assert (caught.value.code or 0) == code, err
        return out if code != 2 else err

    return run


def test_folders_and_patterns_are_looked_through_by_name(folder: Path) -> None:
    def named(*given: str | Path) -> list[str]:
        return [str(picture.path) for picture in pictures(map(str, given))]

    below = [folder / "a.JPG", folder / "b.jpg", folder / "c.png", folder / "old" / "b.jpg"]
    assert named(folder) == [str(path) for path in below]
    assert named(folder / "*.jpg", folder / "notes.txt") == [str(folder / "b.jpg"), str(folder / "notes.txt")]
    assert named(folder / "**" / "b.jpg") == [str(folder / "b.jpg"), str(folder / "old" / "b.jpg")]
    assert named(folder / "x*.jpg", folder / "gone.png") == [str(folder / "x*.jpg"), str(folder / "gone.png")]
    odd = folder / "a[1].png"
    odd.write_bytes(b"")
    assert named(odd) == [str(odd)]  # a name, where there is a file of that name


def test_results_keep_the_order_and_a_bad_file_stops_nothing(folder: Path, model: Path) -> None:
    found = list(screen_files(model, pictures([str(folder)]), insist=True, threads=2))
    assert [result.path.name for result in found] == ["a.JPG", "b.jpg", "c.png", "b.jpg"]
    assert [result.screening is None for result in found] == [False, False, True, False]
    assert "c.png is a damaged PNG" in found[2].error
    alone = Screener(model).screen(folder / "b.jpg", insist=True)
    assert found[1].screening is not None
    assert found[1].screening.logit == pytest.approx(alone.logit, abs=1e-6)


def test_files_may_be_without_end(folder: Path, model: Path) -> None:
    taken = 0

    def endless() -> Iterator[Picture]:
        nonlocal taken
        for _ in itertools.count():
            taken += 1
            yield Picture(path=folder / "b.jpg", place=Path("b.jpg"))

    results = screen_files(model, endless(), threads=2)
    assert len(list(itertools.islice(results, 5))) == 5
    results.close()  # type: ignore[attr-defined]
    assert taken < 20


def test_heat_maps_have_a_place_each(folder: Path, model: Path, tmp_path: Path) -> None:
    given = [str(folder), str(folder / "b.jpg"), str(folder / "old" / "b.jpg")]
    list(screen_files(model, pictures(given), heatmaps=tmp_path / "maps", insist=True))
    found = {str(path.relative_to(tmp_path / "maps")) for path in (tmp_path / "maps").rglob("*") if path.is_file()}
    assert found == {"a.heat.png", "b.heat.png", "old/b.heat.png", "b-2.heat.png", "b-3.heat.png"}
    first, again = (np.asarray(Image.open(tmp_path / "maps" / name)) for name in ("b.heat.png", "b-2.heat.png"))
    assert first.shape == (64, 64, 3)
    assert np.array_equal(first, again)


def test_a_large_picture_has_a_smaller_heat_map(folder: Path, model: Path, tmp_path: Path) -> None:
    with Image.open(folder / "b.jpg") as picture:
        picture.resize((2048, 1536)).save(tmp_path / "large.png")
    list(screen_files(model, pictures([str(tmp_path / "large.png")]), heatmaps=tmp_path / "maps", insist=True))
    with Image.open(tmp_path / "maps" / "large.heat.png") as drawn:
        assert drawn.size == (1024, 768)


def test_no_picture_is_written_over_and_no_heat_map_is_a_picture(folder: Path, model: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for _ in range(2):
        found = list(screen_files(model, pictures([str(folder)]), heatmaps=folder, insist=True))
        assert [result.path.name for result in found] == ["a.JPG", "b.jpg", "c.png", "b.jpg"]
    assert {path: path.read_bytes() for path in before} == before
    assert (folder / "b.heat.png").is_file()


def test_whatever_is_wrong_with_one_file_is_told_of_it(
    predict: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = folder / "d\udcff.jpg"
    shutil.copy(folder / "b.jpg", odd)
    screen = Screener.screen

    def fails(self: Screener, image: Any, *, name: str, insist: bool) -> Any:
        if name.endswith("a.JPG"):
            raise ModelError("no finite logit")
        if name.endswith("old/b.jpg"):
            raise MemoryError
        return screen(self, image, name=name, insist=insist)

    monkeypatch.setattr(Screener, "screen", fails)
    long = "x" * 300 + ".jpg"
    for form in ("table", "csv", "json"):
        told = predict(long, folder, "--insist", "--format", form, code=1)
        assert "File name too long" in told
        assert "no finite logit" in told
        assert "cannot be judged (MemoryError())" in told
        assert "udcff.jpg" in told
        if form == "json":
            assert len(json.loads(told)) == 6


def test_a_folder_that_cannot_be_read_is_told(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if Path(path).name == "old":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr("lentigo.deploy.files.os.scandir", closed)
    found = list(screen_files(model, pictures([str(folder)]), insist=True))
    assert [result.screening is None for result in found] == [False, False, True, True]
    assert f"{folder / 'old'} cannot be looked through" in found[3].error


def test_the_table(predict: Callable[..., str], folder: Path) -> None:
    lines = predict(folder, "--insist", code=1).splitlines()
    assert lines[0].split() == ["band", "p", "image"]
    assert [line.split()[0] in ("low", "unclear", "high") for line in lines[1:]] == [True, True, False, True]
    assert lines[3].startswith("failed")
    assert "c.png is a damaged PNG" in lines[3]
    assert predict(folder / "b.jpg", "--insist")


def test_json_and_csv_say_the_same(predict: Callable[..., str], folder: Path) -> None:
    told = json.loads(predict(folder, "--format", "json", "--insist", code=1))
    rows = list(csv.DictReader(io.StringIO(predict(folder, "--format", "csv", "--insist", code=1))))
    assert [entry["image"] for entry in told] == [row["image"] for row in rows]
    for entry, row in zip(told, rows, strict=True):
        assert entry.get("error", "") == row["error"]
        if "error" not in entry:
            assert float(row["probability"]) == pytest.approx(entry["probability"], rel=1e-5)
            assert row["band"] == entry["band"]
            assert row["calibrated"] == str(entry["calibrated"]).lower()
            assert row["band_reason"] == entry["band_reason"]
            findings = [f"{finding['name']}:{finding['severity']}" for finding in entry["findings"]]
            assert row["findings"] == ";".join(findings)


def test_many_files_of_one_name_are_told_apart_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number once, also where a file has such a name itself; not in n * n steps."""
    taken: dict[Path, int] = {}
    names = ["b.jpg", "b-2.jpg", "b.png", "b.jpg", "b-2.jpg"]
    assert [_free(Path(name), taken).name for name in names] == [
        "b.heat.png", "b-2.heat.png", "b-3.heat.png", "b-4.heat.png", "b-2-2.heat.png",
    ]  # fmt: skip
    looked: list[str] = []
    monkeypatch.setattr(Path, "with_name", lambda self, name: (looked.append(name), Path("d", name))[1])
    many = {_free(Path("d/b.jpg"), taken) for _ in range(2_000)}
    assert len(many) == 2_000
    assert len(looked) < 3 * 2_000


def test_what_holds_for_all_results_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    one = Screening(
        name="a", band="unclear", probability=0.5, calibrated=False, band_reason="too few images", logit=0.0,
        outlier=1.0, findings=(), heat=None, model="Tiny VGG", demo=True,
    )  # fmt: skip
    _say_of_model(one)
    assert capsys.readouterr().err == (
        "DEMO: this model was trained on drawn lesions; its numbers say nothing of real ones.\n"
        "p is not calibrated: it orders pictures, and is no share of cases.\n"
        "bands: too few images\n"
    )


def test_names_come_out_as_they_are(predict: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    """What is made for the eye would turn one into an emoji and the other's tab into blanks."""
    names = ["a:dog:.jpg", "t\tb.jpg", "[red]x.jpg", 'q",\n.jpg']
    for name in names:
        shutil.copy(folder / "b.jpg", tmp_path / name)
    given = [tmp_path / name for name in names]
    assert [entry["image"] for entry in json.loads(predict(*given, "--format", "json"))] == [*map(str, given)]
    rows = csv.DictReader(io.StringIO(predict(*given, "--format", "csv"), newline=""))
    assert [row["image"] for row in rows] == [*map(str, given)]
    assert "a:dog:.jpg" in predict(*given)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_results_go_to_a_file_while_the_bar_is_on_the_terminal(
    model: Path, folder: Path, tmp_path: Path, form: str
) -> None:
    import pty

    ours, theirs = pty.openpty()
    out = tmp_path / "out"
    command = [sys.executable, "-m", "lentigo.cli", "predict", str(model), str(folder / "b.jpg"), "--format", form]
    with out.open("wb") as file:
        ended = subprocess.run(command, stdout=file, stderr=theirs, check=False, timeout=60)
    os.close(theirs)
    os.close(ours)
    assert ended.returncode == 0
    assert out.read_text().count(str(folder / "b.jpg")) == 1


def test_nothing_to_screen(predict: Callable[..., str], tmp_path: Path) -> None:
    assert "no image was found; give files, or folders that hold" in predict(tmp_path, code=2)
    for form in ("json", "csv"):
        assert "no image was found" in predict(tmp_path, "--format", form, code=2)
    assert "an empty name" in predict("", code=2)
    (tmp_path / "file").write_text("")
    told = predict(tmp_path, "--heatmaps", tmp_path / "file", code=2)
    assert told == f"lentigo: --heatmaps {tmp_path / 'file'} is a file; give a folder\n"
    assert predict(tmp_path / "*.jpg", code=1).splitlines()[1].startswith("failed")


def test_a_wrong_model_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["lentigo", "predict", str(tmp_path), "a.jpg"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"lentigo: {tmp_path}/model.onnx does not exist; give the model.onnx that `lentigo export RUN` wrote, or its "
        "folder\n"
    )

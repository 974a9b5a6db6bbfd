"""`lentigo export` and `lentigo serve` as commands: what they print, and what they refuse."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.deploy.conftest import Finished


def test_export_says_what_it_wrote_and_how_near_it_is(
    lentigo: Callable[..., str], finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENTIGO_CACHE", str(finished.drawn.parent / "cache"))
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html>")
    monkeypatch.setattr("lentigo.deploy.site.PAGE", page)
    lines = lentigo("export", finished.run, "--out", tmp_path / "out", "--web", tmp_path / "web").splitlines()
    about = json.loads((tmp_path / "out" / "model.json").read_text())
    size = about["onnx"]["bytes"] / 1e6
    assert lines[0] == f"Tiny VGG, float32, {size:.2f} MB: {tmp_path / 'out' / 'model.onnx'}"
    assert lines[1].startswith("on 64 images its logits differ from the checkpoint's by at most ")
    assert lines[2] == f"the page, ready for any static host: {tmp_path / 'web'}"
    assert lines[3] == "Research software, not a medical device."
    assert (tmp_path / "web" / "model" / "model.onnx").read_bytes() == (tmp_path / "out" / "model.onnx").read_bytes()


def test_two_forms_at_once_are_refused(lentigo: Callable[..., str], finished: Finished) -> None:
    told = lentigo("export", finished.run, "--fp16", "--quantize", "int8", error=True)
    assert told == "lentigo: --quantize and --fp16 are both given; give one of them\n"


def test_a_page_that_cannot_be_written_is_told_before_anything_is_done(
    lentigo: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the run is looked at, which does not exist here."""
    page, run, web = tmp_path / "page", tmp_path / "run", tmp_path / "web"
    monkeypatch.setattr("lentigo.deploy.site.PAGE", page)
    told = lentigo("export", run, "--web", web, error=True)
    assert told == f"lentigo: {page} holds no page; build it with `make web`, or install a released lentigo\n"
    page.mkdir()
    (page / "index.html").touch()
    web.mkdir()
    (web / "notes.txt").touch()
    told = lentigo("export", run, "--web", web, error=True)
    assert told.startswith(f"lentigo: {web} holds no page that lentigo wrote, but notes.txt; give --web a new or empty")
    told = lentigo("export", run, "--out", web / "model", "--web", web, error=True)
    assert told.startswith(
        f"lentigo: the model goes to {web / 'model'}, inside the page's folder {web}, which gets its"
    )


def test_serve_without_a_model_says_how_to_get_one(
    lentigo: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = lentigo("serve", error=True)
    assert told == (
        "lentigo: demo/model/model.onnx does not exist; `make demo` trains and exports it, or give the model.onnx of "
        "`lentigo export RUN`\n"
    )

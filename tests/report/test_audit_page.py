"""The audit's page: whole, true to the audit, safe against hostile names, and fit for a phone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from lentigo.data.audit import Against, Audit, audit_data
from lentigo.data.inspection import FileFinding
from lentigo.data.split import Split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import read_table
from lentigo.data.verdict import verdict_on
from lentigo.report.audit_page import SECTIONS, render_audit_page, write_audit_page
from tests.report.test_report import CHROMIUM, Page


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = write_dataset(tmp_path_factory.mktemp("data") / "drawn", count=64, size_px=96, seed=6, shortcut=0.9)
    (folder / "metadata.csv").unlink()
    first, second = sorted((folder / "train" / "benign").iterdir())[:2]
    shutil.copy(first, folder / "test" / "benign" / "exact.jpg")
    with Image.open(second) as image:
        ImageOps.mirror(image).save(folder / "test" / "malignant" / "mirrored.jpg")
    table = read_table(folder)
    split = Split({row.id: row.split for row in table.rows})
    return audit_data(table, split=split, split_name="folders", cache=tmp_path_factory.mktemp("cache"))


def rendered(audit: Audit) -> str:
    return render_audit_page(
        audit,
        verdict_on(audit),
        created="2026-01-02 03:04 UTC",
        command="lentigo audit drawn",
        versions={"numpy": "2.0"},
    )


def test_every_section_stands_once_and_in_order(audit: Audit) -> None:
    page = Page(rendered(audit))
    assert [attributes["id"] for attributes in page.all("section")] == [name for name, _ in SECTIONS]
    assert not page.open


def test_the_page_says_what_the_audit_found(audit: Audit) -> None:
    text = " ".join(rendered(audit).split())
    verdict = verdict_on(audit)
    assert verdict.sentence in text
    assert "Serious" in text
    for probe in audit.probes:
        assert probe.title in text
        if probe.not_run:
            assert probe.not_run in text
        else:
            assert f"{probe.auc:.3f}" in text
    for name in ("test/benign/exact.jpg", "test/malignant/mirrored.jpg"):
        assert name in text
    assert "mirrored" in text
    assert "not a medical device" in text
    assert "lentigo audit drawn" in text


def test_the_same_input_gives_the_same_bytes(audit: Audit, tmp_path: Path) -> None:
    verdict, about = verdict_on(audit), {"created": "now", "command": "c", "versions": {"numpy": "2.0"}}
    write_audit_page(tmp_path / "a.html", audit, verdict, **about)
    write_audit_page(tmp_path / "b.html", audit, verdict, **about)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_hostile_name_stays_text(audit: Audit) -> None:
    hostile = "<script>alert(1)</script>.jpg"
    finding = FileFinding(id=hostile, kind="unreadable", message="is <b>broken</b>")
    html = rendered(replace(audit, files=(finding,), data=hostile))
    assert "<script>alert" not in html
    assert "<b>broken" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.jpg" in html


def test_nothing_found_is_said_in_words(audit: Audit) -> None:
    bare = replace(
        audit, files=(), exact_groups=(), near_groups=(), near_pairs=(), leaks=(), label_conflicts=(), probes=(),
        sources=(), split="", n_test=0, byte_groups=0,
    )  # fmt: skip
    page = Page(rendered(bare))
    assert [attributes["id"] for attributes in page.all("section")] == [name for name, _ in SECTIONS]
    text = " ".join(rendered(bare).split())
    assert "Nothing was found that would make a score on these data worthless" in text
    assert "The table names no source" in text


def test_shared_images_are_counted_and_capped(audit: Audit) -> None:
    pairs = tuple((f"ours{i}.jpg", f"theirs{i}.jpg", 0.9, "in place") for i in range(50))
    html = rendered(replace(audit, against=Against(data="elsewhere", n_images=90, shared=50, conflicts=2, pairs=pairs)))
    assert "elsewhere" in html
    assert html.count("theirs") == 20
    assert "30 more" in html


def test_the_page_fits_a_phone_and_asks_for_nothing(audit: Audit, tmp_path: Path) -> None:
    if not CHROMIUM.is_file():
        pytest.skip(f"no {CHROMIUM}; install Debian's chromium to see the page in a browser")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is in the dev extra")
    path = tmp_path / "audit.html"
    path.write_text(rendered(audit), encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        requests: list[str] = []
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(path.as_uri())
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390
        assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
        browser.close()

"""The report's page: the numbers in it, by hand, and that it is one whole page which loads nothing."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image

from lentigo.errors import DataError
from lentigo.report import page
from lentigo.report.content import GALLERY_SECTIONS, GalleryImage
from lentigo.report.page import render_report, score_rows, write_report
from tests.report.made_up import (
    FIVE,
    PAPER,
    content,
    content_with_evidence,
    evidence,
    model,
    picture,
    unmeasured,
    without_gallery,
    worth,
)
from tests.report.page_parts import (
    Page,
    assert_all_is_named,
    assert_fits_a_phone,
    assert_loads_nothing,
    assert_no_python,
    assert_whole,
)

SECTIONS = [
    *("run", "scores", "worth", "roc", "training", "confusion", "examples", "augmentations"),
    *("gallery", "disagreements", "costs", "limits", "reproduce"),
]
SHOWN = len(GALLERY_SECTIONS)  # images in the made-up gallery


# ---------------------------------------------------------------- a whole page


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    """Rendered once for all tests that only read."""
    benign = np.zeros(60, dtype=np.int64)
    harmless = model("tiny_vgg", benign, SHOWN, logits=np.full(60, -2.0, dtype=np.float32), history=())
    return {
        "one": render_report(without_gallery(content())),
        "three": render_report(content(FIVE[:3], paper_scores=PAPER, notes=("VGG11 was stopped after 20 minutes",))),
        "five": render_report(content(FIVE, drawn=True)),
        "one class": render_report(
            content(labels=benign, models=(harmless,), heat_scale={"tiny_vgg": 0.0}, look=unmeasured("tiny_vgg"))
        ),
        "evidence": render_report(content_with_evidence()),
    }


KINDS = ["one", "three", "five", "one class", "evidence"]


@pytest.mark.parametrize("kind", KINDS)
def test_page_is_whole_and_in_order(pages: dict[str, str], kind: str) -> None:
    whole = [name for name, _ in page.SECTIONS]
    looked = [name for name in whole if name in {*SECTIONS, "look"}]
    assert_whole(pages[kind], {"evidence": whole, "one class": looked}.get(kind, SECTIONS))
    assert set(whole) - set(looked) == set(page.EVIDENCE_SECTIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_page_loads_nothing(pages: dict[str, str], kind: str) -> None:
    assert_loads_nothing(pages[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_and_table_says_what_it_is(pages: dict[str, str], kind: str) -> None:
    assert_all_is_named(pages[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_no_number_is_shown_as_python_writes_it(pages: dict[str, str], kind: str) -> None:
    assert_no_python(pages[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_page_warns_at_top_and_bottom_and_never_reassures(pages: dict[str, str], kind: str) -> None:
    text = Page(pages[kind]).text
    first, last = text.index("not a medical device"), text.rindex("not a medical device")
    assert first < text.index("What was run") < text.index("Limits") < last
    assert not re.search(r"benign,? (and )?(so|thus|therefore)|\bsafe\b|no need to", text)


# ---------------------------------------------------------------- numbers in the table


def test_score_rows_by_hand() -> None:
    labels = np.array([1, 1, 1, 0, 0], dtype=np.int64)
    # Called malignant: tiny_vgg the first two and one benign; vgg11 all malignant and no benign.
    tiny = model("tiny_vgg", labels, SHOWN, logits=np.array([2, 1, -1, 0, -3], dtype=np.float32))
    vgg = model("vgg11", labels, SHOWN, logits=np.array([2, 1, 1, -1, -3], dtype=np.float32))
    names = ("tiny_vgg", "vgg11")
    paper = {"tiny_vgg": {"accuracy": 0.879, "recall": 0.6}}
    rows = score_rows(content(names, labels=labels, models=(tiny, vgg), paper_scores=paper))
    # accuracy 3/5, precision 2/3, recall 2/3, F1 4/6, specificity 1/2, AUC 5/6: of 6 pairs only (-1, 0) is wrong
    assert [cell.text for cell in rows[0]] == ["0.600", "0.667", "0.667", "0.667", "0.500", "0.833"]
    assert [cell.text for cell in rows[1]] == ["1.000"] * 6
    assert [cell.best for cell in rows[0] + rows[1]] == [False] * 6 + [True] * 6
    assert [cell.paper for cell in rows[0]] == ["0.879", "", "0.600", "", "", ""]
    assert [cell.difference for cell in rows[0]] == ["−0.279", "", "+0.067", "", "", ""]
    assert not any(cell.paper for cell in rows[1])


def test_table_on_the_page_has_the_numbers_and_bold(pages: dict[str, str]) -> None:
    whole = content(FIVE[:3], paper_scores=PAPER)
    text = Page(pages["three"]).text
    for row in score_rows(whole):
        for cell in row:
            wanted = f"<strong>{cell.text}</strong>" if cell.best else f">{cell.text}<"
            assert wanted in pages["three"]
    assert "paper 0.951" in text
    assert "paper 0.966" in text
    assert "4,032" in text
    assert "7,745" in text


@pytest.mark.parametrize("kind", ["one", "five", "one class"])
def test_paper_figures_stand_only_where_given(pages: dict[str, str], kind: str) -> None:
    assert "paper 0." not in Page(pages[kind]).text
    assert "0.954" not in pages[kind]  # known of the paper's data alone


def test_undefined_scores_say_why(pages: dict[str, str]) -> None:
    text = Page(pages["one class"]).text
    assert "undefined the test images are of one class" in text
    assert "undefined no image is called malignant" in text
    assert "undefined no test image is malignant" in text
    assert "There is no curve" in text
    assert "No epoch was finished." in text
    assert "none: all maps are empty" in text
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)


def test_intervals_stand_below_the_scores_where_there_is_evidence(pages: dict[str, str]) -> None:
    whole = content_with_evidence()
    for row, found in zip(score_rows(whole), evidence().assessments.values(), strict=True):
        assert [cell.interval for cell in row] == [f"{i.low:.3f} to {i.high:.3f}" for i in found.scores.values()]
        assert [cell.text for cell in row] == [f"{i.value:.3f}" for i in found.scores.values()]
        assert all(f"</strong><small>{c.interval}" in pages["evidence"] for c in row if c.best)
    assert not any(cell.interval for row in score_rows(content()) for cell in row)
    assert "95 % interval: by DeLong" in pages["evidence"]
    assert "95 % interval: by DeLong" not in pages["five"]


def test_equal_models_have_no_best() -> None:
    labels = (np.arange(10) % 2).astype(np.int64)
    same = tuple(model(name, labels, SHOWN, logits=labels.astype(np.float32) - 0.5) for name in ("a", "b"))
    assert not any(cell.best for row in score_rows(content(("a", "b"), labels=labels, models=same)) for cell in row)


def test_gallery_says_probability_verdict_and_emptiness(pages: dict[str, str]) -> None:
    text = Page(pages["three"]).text
    assert "p 0.731 ✓ right" in text  # 1 / (1 + exp(-1)), a malignant image
    assert "p 0.731 ✗ wrong" in text  # the benign image
    assert text.count("map empty") == 3  # the first image, by three models
    assert "75 × 75" in text
    assert "1.25" in text


def test_empty_gallery_and_notes(pages: dict[str, str]) -> None:
    one = Page(pages["one"]).text
    assert "There is no malignant test image to show." in one
    assert "One model alone has nobody to disagree with." in one
    assert "Before you read the numbers" not in one
    assert "Before you read the numbers VGG11 was stopped after 20 minutes" in Page(pages["three"]).text


def test_titles_are_text_not_markup() -> None:
    title = """<script>alert(1)</script> & "x" '$y$'"""
    whole = without_gallery(content())
    named = replace(whole, title=title, models=(replace(whole.models[0], title=title),), command=title, notes=(title,))
    text = render_report(named)
    found = Page(text)
    assert not found.all("script")
    assert found.text.count(title) >= 6
    assert any(title in (attributes.get("aria-label") or "") for attributes in found.all("svg"))


# ---------------------------------------------------------------- files


def test_same_content_same_bytes_whatever_the_users_matplotlib(pages: dict[str, str], tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        write_report(tmp_path / "new" / "report.html", without_gallery(content()))
        assert dict(matplotlib.rcParams) == before
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8") == pages["one"]


def test_failed_report_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr("lentigo.files.os.replace", _refuse)
    monkeypatch.setattr(page, "render_report", lambda _: "new")
    with pytest.raises(DataError, match="disk full"):
        write_report(path, content())
    assert path.read_text(encoding="utf-8") == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["report.html"]


def _refuse(*_: object) -> None:
    raise OSError("disk full")


@pytest.mark.parametrize(("width", "shown"), [(24, 24), (200, 200), (640, 200)])
def test_photograph_keeps_colour_and_is_small(width: int, shown: int) -> None:
    image = np.empty((width // 2, width, 3), dtype=np.uint8)
    image[:] = (200, 120, 90)
    found = page.photograph(image)
    decoded = Image.open(io.BytesIO(base64.b64decode(found.uri.removeprefix("data:image/jpeg;base64,"))))
    assert (found.width, found.height) == decoded.size == (shown, shown // 2)
    assert np.asarray(decoded).mean(axis=(0, 1)) == pytest.approx([200, 120, 90], abs=2)


# ---------------------------------------------------------------- refusals


def test_content_refuses_what_does_not_fit() -> None:
    whole = content(("a", "b"))
    short = replace(whole.models[0], logits=np.zeros(3, dtype=np.float32))
    with pytest.raises(DataError, match=r"^a has 3 logits, not 60; evaluate and explain it on the same images$"):
        replace(whole, models=(short,))
    with pytest.raises(DataError, match=r"^a has 7 overlays, not 0; "):
        replace(whole, gallery=())
    with pytest.raises(DataError, match=r"^a report needs models of different names, got none; "):
        replace(whole, models=())
    with pytest.raises(DataError, match=r"of different names, got \['a', 'a'\]; name each run once$"):
        replace(whole, models=(whole.models[0], whole.models[0]))
    with pytest.raises(DataError, match=r"^heat_scale or cells lack b; "):
        replace(whole, cells={"a": (7, 7)})
    with pytest.raises(DataError, match=r"^gallery image x is in section 'good'; allowed are malignant, benign, "):
        GalleryImage(id="x", label=1, image=picture(0), section="good")


# ---------------------------------------------------------------- in a browser


@pytest.mark.parametrize("kind", ["five", "one class", "evidence"])
def test_page_fits_a_phone_and_asks_for_nothing(pages: dict[str, str], tmp_path: Path, kind: str) -> None:
    assert_fits_a_phone(pages[kind], tmp_path / "page.html")


def test_scores_stand_beside_the_best_shortcut_and_within_a_source() -> None:
    page = " ".join(render_report(content(worth=worth())).split())
    section = page[page.index('<section id="worth"') : page.index('<section id="roc"')]
    for text in ("0.950 (0.940 to 0.960)", "0.760 (0.710 to 0.810)", "0.961 (0.951 to 0.969)", "sees only the outer 8"):
        assert text in section
    assert "within isic2020<small>1,107 images, 107 malignant</small>" in section
    assert "Tiny VGG: the frame does as well." in section
    assert '<li class="serious"><b>serious</b> Frame. It tells.</li>' in section
    assert "Copies. &lt;b&gt;2&lt;/b&gt; images." in section  # text of the data stays text
    alone = " ".join(render_report(content(worth=worth(sources=(), standings=worth().standings[:1]))).split())
    assert "No source is known that holds both classes among the test images" in alone
    assert "The data were not audited." in render_report(content())

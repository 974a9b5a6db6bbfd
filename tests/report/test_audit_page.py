"""The audit's page: whole, true to the audit, safe against hostile names, and fit for a phone."""

import re
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from lentigo.data.audit import Against, Audit, LabelConflict, SourceCount, audit_data
from lentigo.data.duplicates import Twins
from lentigo.data.inspection import FileFinding
from lentigo.data.shortcuts import WithinSource
from lentigo.data.split import Split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import read_table
from lentigo.data.verdict import Verdict, verdict_on
from lentigo.errors import DataError
from lentigo.report import audit_page
from lentigo.report.audit_page import SECTIONS, render_audit_page, write_audit_page
from tests.report.made_up_audit import audit_of, leak, name, probe, without_test
from tests.report.page_parts import CHROMIUM, Page
from tests.test_imports import house, way_to_torch

ABOUT: dict[str, Any] = {"created": "now", "command": "c", "versions": {"numpy": "2.0"}}


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    folder = write_dataset(tmp_path_factory.mktemp("data") / "drawn", count=48, size_px=96, seed=6, shortcut=0.9)
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


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Twelve pictures, and one thing or more in every section."""
    return audit_of(
        tmp_path_factory.mktemp("made-up"),
        [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1],
        source=["isic", "<i>here</i>"] * 6,
        counts={"benign": 7, "malignant": 1_006},
        n_images=1_013,
        files=tuple(FileFinding(id=f"lost{i}.jpg", kind="unreadable", message=f"is lost {i}") for i in range(7)),
        exact_groups=((name(0), name(1)),),
        byte_groups=1,
        near_pairs=(
            Twins(one=2, other=3, likeness=0.437, change="turned by 8°"),
            Twins(one=5, other=6, likeness=0.9, change="in place"),
        ),
        near_groups=((name(2), name(3)), (name(5), name(6))),
        leaks=(
            leak((0, "train"), (1, "validation")),
            leak((2, "test"), (3, "train")),
            leak((4, "test"), (7, "train"), (8, "train"), (9, "train"), (10, "train"), (11, "train"), kind="lesion"),
        ),
        label_conflicts=(LabelConflict(kind="duplicate", images=(name(5), name(6)), labels=(0, 1)),),
        probes=(
            probe(
                "frame",
                0.912,
                called=True,
                within={"isic": WithinSource(auc=0.723, low=0.6, high=0.8, n=9, n_malignant=4)},
            ),
            probe("corners", 0.95, called=False),
            probe("colour", 0.987, called=True, sees_lesion=True),
            probe("outside_mask", title="Beside the lesion", not_run="no image has a lesion mask"),
        ),
        sources=(
            SourceCount(name="<i>here</i>", benign=4, malignant=0, test_benign=3, test_malignant=0),
            SourceCount(name="isic", benign=1_234, malignant=2, test_benign=1, test_malignant=1),
        ),
        source_accuracy=0.875,
        against=Against(
            data="elsewhere", n_images=90, shared=1, conflicts=1, pairs=(("a.jpg", "b.jpg", 0.61, "mirrored"),)
        ),
    )


@pytest.fixture(scope="module")
def pages(audit: Audit, made_up: Audit) -> dict[str, str]:
    """Rendered once for all tests that only read."""
    return {"drawn": rendered(audit), "made up": rendered(made_up), "bare": rendered(bare(audit))}


def bare(audit: Audit) -> Audit:
    """The audit as if nothing had been found, looked for or given."""
    return replace(
        audit, files=(), exact_groups=(), near_groups=(), near_pairs=(), leaks=(), label_conflicts=(), probes=(),
        sources=(), split="", n_test=0, byte_groups=0,
    )  # fmt: skip


def words(html: str) -> str:
    """The page's text, with ids put together again that may break after a slash."""
    return Page(html.replace("<wbr>", "")).text


def section(html: str, wanted: str) -> str:
    found = re.search(rf'<section id="{wanted}".*?</section>', html, re.DOTALL)
    assert found is not None
    return words(found[0])


KINDS = ["drawn", "made up", "bare"]


@pytest.mark.parametrize("kind", KINDS)
def test_page_is_whole_and_in_order(pages: dict[str, str], kind: str) -> None:
    page = Page(pages[kind].replace("<wbr>", ""))
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert [attributes["id"] for attributes in page.all("section")] == [wanted for wanted, _ in SECTIONS]
    assert len(page.all("title")) == len(page.all("h1")) == len(page.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for attributes in page.all("section"):
        assert attributes["aria-labelledby"] in ids
    for reference in re.findall(r"url\(#([^)]+)\)", pages[kind]):
        assert reference in ids


@pytest.mark.parametrize("kind", KINDS)
def test_page_loads_nothing(pages: dict[str, str], kind: str) -> None:
    page = Page(pages[kind].replace("<wbr>", ""))
    loading = ("src", "href", "xlink:href", "srcset", "action", "poster", "data")
    targets = [value or "" for _, found in page.elements for name, value in found.items() if name in loading]
    assert targets
    assert all(re.match("#|data:", target) for target in targets), targets
    assert not re.search(r"https?://|@import|url\((?!#)", pages[kind])
    assert not page.all("script")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert policy in [found.get("content") for found in page.all("meta")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_picture_and_table_says_what_it_is(pages: dict[str, str], kind: str) -> None:
    page = Page(pages[kind].replace("<wbr>", ""))
    assert all(attributes["alt"] for attributes in page.all("img"))
    for attributes in page.all("svg"):
        assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"])
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(attributes["scope"] in ("col", "row", "rowgroup") for attributes in page.all("th"))


@pytest.mark.parametrize("kind", KINDS)
def test_page_warns_at_top_and_bottom_and_never_reassures(pages: dict[str, str], kind: str) -> None:
    text = words(pages[kind])
    first, last = text.index("not a medical device"), text.rindex("not a medical device")
    assert first < text.index("Key numbers" if "Key numbers" in text else "Images") < text.index("Limits") < last
    assert not re.search(r"benign,? (and )?(so|thus|therefore)|\bsafe\b|no need to", text)
    assert not re.search(r"\b(nan|None|inf)\b", text)


# ---------------------------------------------------------------- what stands in each section


def test_key_numbers_by_hand(pages: dict[str, str]) -> None:
    header = re.search(r'<dl class="keys".*?</dl>', pages["made up"], re.DOTALL)
    assert header is not None
    cells = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", header[0])
    assert [(what, words(f"<p>{value}</p>").strip()) for what, value in cells] == [
        ("Images", "1,013 7 benign, 1,006 malignant"),
        ("Split", "folders 4 test images"),
        ("Cannot be read", "7"),
        ("Exact copies", "1 group 1 of identical files"),
        ("Near copies", "2 groups"),
        ("Leaks into test", "2 of 4 have a relative outside the test part"),
        ("Two labels", "1 group"),
        ("Strongest shortcut", "AUC 0.91 Frame"),  # corners are not called, colours see the lesion
    ]


@pytest.mark.parametrize("level", ["serious", "warning", "note"])
def test_severity_is_a_word_and_a_sign_too(made_up: Audit, level: str) -> None:
    html = render_audit_page(made_up, Verdict(level=level, sentence="So it is.", findings=()), **ABOUT)
    shown = {"serious": "■ Serious", "warning": "▲ Warning", "note": "● Nothing serious found"}[level]
    assert f"{shown} So it is." in words(html)
    assert section(html, "findings").strip() == "Findings Nothing was found."


def test_findings_stand_by_severity(made_up: Audit, pages: dict[str, str]) -> None:
    verdict, text = verdict_on(made_up), section(pages["made up"], "findings")
    severities = [finding.severity for finding in verdict.findings]
    for severity, shown in (("serious", "■ Serious"), ("warning", "▲ Warning"), ("note", "● Note")):
        assert f"{shown} ({severities.count(severity)})" in text
    places = [text.index(finding.text.split(". ", 1)[1]) for finding in verdict.findings]
    assert places == sorted(places)


def test_probe_table_by_hand(pages: dict[str, str]) -> None:
    text = section(pages["made up"], "shortcuts")
    assert (
        "Frame called a shortcut 0.912 0.862 to 0.962 0.004 0.812 0.712 to 0.912 0.625 of 4 "
        "0.723 0.600 to 0.800 isic: 4 of 9 malignant What frame means."
    ) in text
    assert "Corners 0.950 0.900 to 1.000 0.004 0.850 0.750 to 0.950 0.625 of 4 – What corners means." in text
    assert text.rindex("Lesion in view") < text.index("Colour tells the label 0.987")
    assert "Not probed Beside the lesion : no image has a lesion mask." in text
    assert "AUC on the test part" in text


def test_without_test_numbers_the_table_has_no_columns_for_them(made_up: Audit) -> None:
    alone = probe("frame", 0.7, **without_test())
    for split, said in (("", "No split was given"), ("folders", "No probe has a number on the test part")):
        text = section(rendered(replace(made_up, probes=(alone,), split=split)), "shortcuts")
        assert "Frame 0.700 0.650 to 0.750 0.004 What frame means." in text
        assert said in text
        assert "Test AUC" not in text
        assert "on the test part”" not in text


def test_pairs_say_how_alike_and_which(pages: dict[str, str]) -> None:
    text = section(pages["made up"], "copies")
    assert "1 group of images has the same pixels; in 1 of them the files are identical to the byte." in text
    assert f"Likeness 0.44 : turned by 8° ■ leak into test {name(2)} benign · test · isic" in text
    assert f"Likeness 0.90 : in place ■ two labels {name(5)} benign · <i>here</i> {name(6)} malignant · isic" in text
    assert text.index("0.90") < text.index("0.44")
    assert "more" not in text


def test_pairs_that_are_not_shown_are_counted(made_up: Audit) -> None:
    pairs = tuple(Twins(one=0, other=1 + i % 5, likeness=0.5, change="in place") for i in range(1_030))
    html = rendered(replace(made_up, near_pairs=pairs))
    assert section(html, "copies").count("Likeness") == 24
    assert "And 1,006 more pairs, not shown here but named in audit.json." in section(html, "copies")


def test_leaks_and_conflicts_by_hand(made_up: Audit, pages: dict[str, str]) -> None:
    text = section(pages["made up"], "leaks")
    assert f"one photograph reaches test {name(3)} – {name(2)}" in text
    assert (
        f"one lesion reaches test {name(7)} {name(8)} {name(9)} {name(10)} and 1 more – {name(4)} "
        f"one photograph {name(0)} {name(1)} –"
    ) in text
    assert f"one photograph {name(5)} {name(6)}" in text
    many = replace(made_up, leaks=(leak((0, "train"), (1, "test")),) * 25)
    assert section(rendered(many), "leaks").count("reaches test") == 20
    assert "And 5 more groups" in section(rendered(many), "leaks")


def test_sources_by_hand(made_up: Audit, pages: dict[str, str]) -> None:
    text = section(pages["made up"], "sources")
    assert "Only isic holds both classes: a score within it can be about moles" in text
    assert "is right in 0.875 of cases; whoever calls all of them alike, in 0.800." in text  # 4 of 5 are benign
    assert "isic 1,234 2 1 1 both" in text
    assert "<i>here</i> 4 0 3 0 ▲ one only" in text
    one, both = made_up.sources
    assert "No source holds both classes" in section(rendered(replace(made_up, sources=(one,))), "sources")
    assert "Every source holds both classes" in section(rendered(replace(made_up, sources=(both,))), "sources")
    other = replace(both, name="ham")
    text = section(rendered(replace(made_up, sources=(other, one, both), split="")), "sources")
    assert "Only ham and isic hold both classes: a score within one of them" in text
    assert "Benign in test" not in text


def test_files_are_counted_and_capped(pages: dict[str, str]) -> None:
    text = section(pages["made up"], "files")
    assert "Findings in 1,013 files" in text
    assert "Cannot be read 7 lost0.jpg is lost 0" in text
    assert "lost3.jpg is lost 3 and 3 more" in text
    assert "lost4" not in text


def test_other_data_set_by_hand(made_up: Audit, pages: dict[str, str]) -> None:
    text = section(pages["made up"], "other")
    assert "1 of 1,013 images is also in elsewhere (90 images), 1 of them with another label there." in text
    assert "a.jpg b.jpg 0.61 mirrored" in text
    none = replace(made_up, against=Against(data="elsewhere", n_images=90, shared=0, conflicts=0, pairs=()))
    assert "No image is also in elsewhere (90 images)." in section(rendered(none), "other")


def test_limits_say_what_the_table_does_not_hold(tmp_path: Path, pages: dict[str, str]) -> None:
    assert "No patient or lesion is named in the table" in section(pages["made up"], "limits")
    told = audit_of(tmp_path, [0, 1], lesion=["a", "b"], patient=["x", "y"])
    assert "is named in the table" not in section(rendered(told), "limits")
    assert "No split was given" in section(pages["bare"], "limits")
    assert "No split was given" not in section(pages["made up"], "limits")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("shortcuts", ["No probe was run."]),
        ("seen", ["No probe of pixels was run."]),
        ("copies", ["No two images have the same pixels.", "No near copies were found."]),
        ("leaks", ["No split was given, so nothing was compared across parts.", "have two labels."]),
        ("sources", ["The table names no source"]),
        ("files", ["can be read, is what its name says"]),
        ("other", ["No other data set was given"]),
    ],
)
def test_an_empty_section_says_so(pages: dict[str, str], where: str, said: list[str]) -> None:
    for sentence in said:
        assert sentence in section(pages["bare"], where)


def test_a_class_of_which_nothing_can_be_read(tmp_path: Path) -> None:
    text = section(rendered(audit_of(tmp_path, [0, 0])), "seen")
    assert "No malignant image could be read." in text
    assert "nothing: no usable mask" in text


# ---------------------------------------------------------------- the page of a whole audit


def test_the_page_says_what_the_audit_found(audit: Audit) -> None:
    text = " ".join(rendered(audit).split())
    verdict = verdict_on(audit)
    assert verdict.sentence in text
    assert "Serious" in text
    for found in audit.probes:
        assert found.title in text
        assert (found.not_run or f"{found.auc:.3f}") in text
    for image in ("test/benign/exact.jpg", "test/malignant/mirrored.jpg"):
        assert image in text
    assert "mirrored" in text
    assert "not a medical device" in text
    assert "lentigo audit drawn" in text


def test_the_same_input_gives_the_same_bytes(audit: Audit, tmp_path: Path) -> None:
    verdict = verdict_on(audit)
    write_audit_page(tmp_path / "a.html", audit, verdict, **ABOUT)
    write_audit_page(tmp_path / "b.html", audit, verdict, **ABOUT)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_failed_page_leaves_the_old_one(made_up: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "audit.html"
    path.write_text("old", encoding="utf-8")
    monkeypatch.setattr("lentigo.files.os.replace", _refuse)
    monkeypatch.setattr(audit_page, "render_audit_page", lambda *_, **__: "new")
    with pytest.raises(DataError, match="disk full"):
        write_audit_page(path, made_up, verdict_on(made_up), **ABOUT)
    assert path.read_text(encoding="utf-8") == "old"
    assert [found.name for found in tmp_path.iterdir()] == ["audit.html"]


def _refuse(*_: object) -> None:
    raise OSError("disk full")


def test_the_page_needs_no_torch() -> None:
    assert way_to_torch("report/audit_page.py", house()) == []


def test_hostile_names_stay_text_everywhere(made_up: Audit) -> None:
    hostile = "a/<script>alert(1)</script>&\"'{{ 7 * 7 }}.jpg"

    rows = tuple(replace(row, id=hostile, source=hostile) for row in made_up.readable.table.rows)
    table = replace(made_up.readable.table, rows=rows)
    changes: dict[str, Any] = {
        "data": hostile,
        "split": hostile,
        "readable": replace(made_up.readable, table=table),
        "leaks": (replace(made_up.leaks[1], images=(hostile, hostile)),),
        "label_conflicts": (replace(made_up.label_conflicts[0], images=(hostile, hostile)),),
        "sources": (made_up.sources[0], replace(made_up.sources[1], name=hostile)),
        "files": (FileFinding(id=hostile, kind="unreadable", message=hostile),),
        "against": Against(data=hostile, n_images=1, shared=1, conflicts=0, pairs=((hostile, hostile, 1.0, hostile),)),
        "probes": (probe("frame", title=hostile, meaning=hostile), probe("corners", title=hostile, not_run=hostile)),
    }
    html = render_audit_page(
        replace(made_up, **changes), verdict_on(made_up), created=hostile, command=hostile, versions={hostile: hostile}
    )
    page = Page(html.replace("<wbr>", ""))
    assert not page.all("script")
    assert "49.jpg" not in html
    assert any(hostile in (found.get("alt") or "") for found in page.all("img"))
    for where, least in {
        "shortcuts": 4,
        "seen": 3,
        "copies": 6,
        "leaks": 4,
        "sources": 2,
        "files": 2,
        "other": 4,
    }.items():
        assert section(html, where).count(hostile) >= least, where
    assert section(html, "repeat").count(hostile) == 3
    assert words(html).count(hostile) > 30


def test_shared_images_are_counted_and_capped(audit: Audit) -> None:
    pairs = tuple((f"ours{i}.jpg", f"theirs{i}.jpg", 0.9, "in place") for i in range(50))
    html = rendered(replace(audit, against=Against(data="elsewhere", n_images=90, shared=50, conflicts=2, pairs=pairs)))
    assert "elsewhere" in html
    assert html.count("theirs") == 20
    assert "30 more" in html


def test_the_page_fits_a_phone_and_asks_for_nothing(pages: dict[str, str], made_up: Audit, tmp_path: Path) -> None:
    if not CHROMIUM.is_file():
        pytest.skip(f"no {CHROMIUM}; install Debian's chromium to see the page in a browser")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is in the dev extra")
    long_name = "one_very_long_name_without_any_place_to_break_it" * 3
    twice = (long_name, long_name)
    pairs = ((*twice, 0.5, "in place"), ("train/malignant/0001.jpg", "images/0001.jpg", 0.5, "in place"))
    wide = replace(
        made_up,
        data=long_name,
        split=long_name,
        leaks=(replace(made_up.leaks[1], images=twice),),
        against=Against(data=long_name, n_images=9, shared=2, conflicts=0, pairs=pairs),
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        for kind, html in (*pages.items(), ("wide", rendered(wide))):
            path = tmp_path / f"{kind.replace(' ', '-')}.html"
            path.write_text(html, encoding="utf-8")
            for scheme in ("light", "dark"):
                tab = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)
                messages: list[str] = []
                requests: list[str] = []
                tab.on("console", lambda message, found=messages: found.append(message.text))
                tab.on("pageerror", lambda error, found=messages: found.append(str(error)))
                tab.on("request", lambda request, found=requests: found.append(request.url))
                tab.goto(path.as_uri())
                assert tab.evaluate("document.scrollingElement.scrollWidth") <= 390, kind
                cells = "[...document.querySelectorAll('.groups td:not(.figure), .groups .id')].map(x => x.offsetWidth)"
                assert min(tab.evaluate(cells), default=99) >= 99, kind  # no name is squeezed to a column of letters
                assert messages == []
                assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
                tab.close()
        browser.close()

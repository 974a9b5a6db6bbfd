"""A page taken apart, and what holds for every page of lentigo."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}
CHROMIUM = Path("/usr/bin/chromium")


class Page(HTMLParser):
    """Elements, headings and text of a page; complains of what is opened and not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def section(text: str, name: str) -> str:
    """One section of a page, with single spaces."""
    start = text.index(f'<section id="{name}"')
    return " ".join(text[start : text.index("</section>", start)].split())


def assert_whole(text: str, sections: Sequence[str]) -> None:
    """The sections are there in this order, each in the list at the top; ids are unique, and links find theirs."""
    found = Page(text)
    ids = [attributes["id"] for _, attributes in found.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    assert [attributes["id"] for attributes in found.all("section")] == list(sections)
    links = [attributes["href"] for attributes in found.all("a")]
    assert links[: len(sections)] == [f"#{name}" for name in sections]
    assert {link[1:] for link in links if link} <= set(ids)
    assert found.all("html")[0]["lang"] == "en"
    assert len(found.all("title")) == len(found.all("h1")) == len(found.all("main")) == 1
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for attributes in found.all("section"):
        assert attributes["aria-labelledby"] in ids
    for reference in re.findall(r"url\(#([^)]+)\)", text):
        assert reference in ids


def assert_loads_nothing(text: str) -> None:
    found = Page(text)
    targets = [
        value or ""
        for _, attributes in found.elements
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "action", "poster", "data")
    ]
    assert targets
    assert all(re.match("#|data:", target) for target in targets), targets
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert not found.all("script")


def assert_all_is_named(text: str) -> None:
    """Every picture, chart, table and head of a row or column says what it is."""
    found = Page(text)
    assert all(attributes["alt"] for attributes in found.all("img"))
    for attributes in found.all("svg"):
        assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"])
    assert len(found.all("caption")) == len(found.all("table"))
    assert all(attributes["scope"] in ("col", "row") for attributes in found.all("th"))
    assert '<th scope="row"></th>' not in text


def assert_no_python(text: str) -> None:
    """Neither in the text nor in what is read aloud stands a nan, inf, None, True or an object of Python."""
    found = Page(text)
    spoken = [
        value or "" for _, held in found.elements for name, value in held.items() if name in ("aria-label", "alt")
    ]
    for words in (found.text, *spoken):
        python = re.findall(
            r".{0,40}(?:\b(?:nan|inf|None(?! of)|True|False)\b(?! alarms)|\bobject at 0x|\{\{).{0,40}", words
        )
        assert python == []


def assert_fits_a_phone(text: str, path: Path) -> None:
    """In Chromium, 390 pixels wide: nothing sticks out, no error is reported, nothing is asked for."""
    if not CHROMIUM.is_file():
        pytest.skip(f"no {CHROMIUM}; install Debian's chromium to see the page in a browser")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is in the dev extra")
    path.write_text(text, encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 390, "height": 844})
        messages, requests = [], []
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("pageerror", lambda error: messages.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(path.as_uri())
        tab.evaluate("document.querySelectorAll('details').forEach(found => found.open = true)")
        width_px = tab.evaluate("document.scrollingElement.scrollWidth")
        browser.close()
    assert width_px <= 390
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]

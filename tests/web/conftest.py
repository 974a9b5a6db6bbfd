"""The built page in Debian's Chromium. Every tab that a test opens is watched: its requests and its console."""

import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.web.site import BUILT, copy_page, served
from tests.web.small_model import write_model

CHROMIUM = Path("/usr/bin/chromium")
PHONE = {"width": 390, "height": 844}
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@dataclass
class Visit:
    """A tab with the page, and what it asked for and complained about."""

    tab: Any
    url: str
    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)  # patterns of messages that the test expects

    def open(self, view: str = "") -> None:
        """Returns when the view is on show: when only the part after # changes, the last one stays for a while."""
        address = f"{self.url}#/{view}"
        self.call(
            """(address) => {
                 if (location.href === address) return;  // then the page is loaded anew
                 for (const old of document.querySelectorAll("main > *")) old.dataset.before = "";
               }""",
            address,
        )
        self.tab.goto(address)
        self.tab.wait_for_selector("main > :not([data-before])")

    def choose(self, data: bytes, name: str = "spot.png", kind: str = "image/png") -> None:
        """A file chosen on the start view; the crop view follows."""
        self.open()
        self.tab.set_input_files("input[type=file]", {"name": name, "mimeType": kind, "buffer": data})
        self.tab.wait_for_selector(".stage")

    def check(self, data: bytes) -> str:
        """The largest frame of a picture, checked; what the result's heading says."""
        self.choose(data)
        self.press("Check this spot")
        self.tab.wait_for_selector(".verdict")
        return str(self.tab.inner_text(".verdict h1"))

    def press(self, name: str) -> None:
        self.tab.get_by_role("button", name=name, exact=True).click()

    def follow(self, name: str) -> None:
        self.tab.get_by_role("link", name=name, exact=True).click()

    def call(self, script: str, argument: Any = None) -> Any:
        return self.tab.evaluate(script, argument)

    def save(self, mole: str) -> None:
        """The result on show, under a new mole's name or a known one's."""
        self.tab.wait_for_selector("#mole option", state="attached")
        known = self.tab.locator("#mole option").all_inner_texts()
        if mole in known:
            self.tab.select_option("#mole", label=mole)
        else:
            if len(known) > 1:
                self.tab.select_option("#mole", value="new")
            self.tab.fill("#mole-name", mole)
        self.press("Save to history")
        self.tab.wait_for_selector(".done")

    def complaints(self) -> list[str]:
        return [text for text in self.messages if not any(re.search(pattern, text) for pattern in self.allowed)]


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    missing = pytest.fail if os.environ.get("LENTIGO_WEB_REQUIRED") else pytest.skip  # `make test-web` requires it
    if not CHROMIUM.exists():
        missing("no chromium; install Debian's")
    if not (BUILT / "index.html").is_file():
        missing("the page is not built; run make web")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is in the dev extra")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", *FAKE_CAMERA])
        yield browser
        browser.close()


@dataclass(frozen=True)
class Site:
    folder: Path
    url: str
    about: dict[str, Any]


@pytest.fixture(scope="package")
def site(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    copy_page(folder)
    about = write_model(folder / "model")
    with served(folder) as url:
        yield Site(folder, url, about)


@pytest.fixture
def visit(chromium: Any, site: Site) -> Iterator[Callable[..., Visit]]:
    """Opens watched tabs; each has a storage of its own, as in another browser."""
    opened: list[tuple[Any, Visit]] = []

    def new(url: str = site.url, **options: Any) -> Visit:
        context = chromium.new_context(**({"viewport": PHONE, "has_touch": True, "is_mobile": True} | options))
        context.set_default_timeout(20_000)
        visit = Visit(context.new_page(), url)
        # Of the context, not the tab: the service worker's requests count too.
        context.on("request", lambda request: visit.requests.append(request.url))
        context.on("console", lambda message: visit.messages.append(f"{message.type}: {message.text}"))
        visit.tab.on("pageerror", lambda error: visit.messages.append(f"thrown: {error}"))
        opened.append((context, visit))
        return visit

    yield new
    for context, found in opened:
        context.close()
        assert found.requests, "the tab asked for nothing, so nothing was watched"
        foreign = [url for url in found.requests if not url.startswith((found.url, "blob:" + found.url, "data:"))]
        assert foreign == [], "a request left the page's origin"
        assert found.complaints() == []


@pytest.fixture
def page(visit: Callable[..., Visit]) -> Visit:
    """The page on a phone, with its small model."""
    opened = visit()
    opened.open()
    return opened

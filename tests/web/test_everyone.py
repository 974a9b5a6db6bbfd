"""The page on every screen and for everyone: axe, narrow and wide, light and dark, installed, under a strict policy."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.web.conftest import Site, Visit
from tests.web.pictures import HAIRY, LOW, bare_skin, drawn, wide_picture

pytestmark = pytest.mark.web
AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
DOCTOR = "See a doctor when in doubt."


def each_view(page: Visit) -> Any:
    """Name by name, each view with something in it."""
    page.open()
    page.tab.get_by_text("Model ready").wait_for()
    yield "start"
    page.open("history")
    page.tab.wait_for_selector(".empty")
    yield "history"
    page.choose(wide_picture())
    yield "crop"
    page.check(bare_skin())
    yield "refused"
    for index in (HAIRY, LOW):
        page.check(drawn(index))
        yield "result"
        page.save("Left shoulder")
    page.follow("History")
    page.tab.wait_for_selector(".mole-list")
    yield "history"
    page.tab.get_by_role("link", name="Left shoulder").click()
    page.tab.wait_for_selector(".visits")
    yield "mole"
    for box in page.tab.locator(".visits input").all():
        box.check()
    page.press("Compare the two photos")
    page.tab.wait_for_selector(".pair")
    yield "compare"
    page.follow("About")
    page.tab.wait_for_selector(".about")
    yield "about"
    page.open("camera")
    page.tab.wait_for_selector("button:has-text('Take the photo'):enabled")
    yield "camera"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation_in_any_view(visit: Callable[..., Visit], scheme: str) -> None:
    page = visit(color_scheme=scheme, permissions=["camera"], bypass_csp=True)  # axe comes from outside the page
    for name in each_view(page):
        page.call(AXE.read_text(encoding="utf-8") + "; undefined")
        found = page.call("async () => (await axe.run()).violations")
        assert [(name, one["id"], [node["html"][:90] for node in one["nodes"]]) for one in found] == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_every_view_fits_and_the_doctor_line_is_always_seen(visit: Callable[..., Visit], width: int) -> None:
    page = visit(viewport={"width": width, "height": 700}, permissions=["camera"])
    seen = set()
    for name in each_view(page):
        seen.add(name)
        assert page.call("() => document.scrollingElement.scrollWidth") <= width, name
        small = page.call(
            """() => [...document.querySelectorAll("button, nav a, select, input[type=text]")]
                 .map((found) => [found.textContent, found.getBoundingClientRect()])
                 .filter(([, box]) => box.width > 0 && box.height < 44).map(([text]) => text)"""
        )
        assert small == [], f"{name}: too low for a finger"
        for share in (0, 0.5, 1):
            page.call("(share) => scrollTo(0, share * document.scrollingElement.scrollHeight)", share)
            box = page.tab.get_by_text(DOCTOR, exact=True).bounding_box()
            assert box["y"] >= 0, name
            assert box["y"] + box["height"] <= 700, name
    assert len(seen) == 9


def test_dark_and_light_follow_the_device(visit: Callable[..., Visit]) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        page.check(drawn(LOW))
        shot = Image.open(io.BytesIO(page.tab.screenshot())).convert("L")
        brightness[scheme] = np.median(np.asarray(shot))
    assert brightness["light"] > 220
    assert brightness["dark"] < 50


def test_it_can_be_installed(page: Visit, site: Site) -> None:
    manifest = page.call("async () => await (await fetch(document.querySelector('link[rel=manifest]').href)).json()")
    assert (manifest["display"], manifest["start_url"], manifest["scope"]) == ("standalone", "./", "./")
    sizes = set()
    for icon in manifest["icons"]:
        if icon["type"] == "image/png":
            with Image.open(site.folder / icon["src"]) as picture:
                assert f"{picture.width}x{picture.height}" == icon["sizes"]
            sizes.add((icon["sizes"], icon.get("purpose", "any")))
    assert sizes == {("192x192", "any"), ("512x512", "any"), ("512x512", "maskable")}
    page.call("() => navigator.serviceWorker.ready")


def test_the_content_policy_allows_nothing_from_elsewhere_and_nothing_inline(site: Site) -> None:
    html = (site.folder / "index.html").read_text()
    policy = re.findall(r'http-equiv="Content-Security-Policy"\s+content="([^"]*)"', html)[0]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert rules["connect-src"] == rules["style-src"] == "'self'"
    assert "unsafe-inline" not in policy
    assert "<style" not in html
    assert "style=" not in html
    assert html.count("<script") == html.count('<script type="module" crossorigin src="./')
    assert "http://" not in html
    assert "https://" not in html

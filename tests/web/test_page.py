"""The page as a person uses it: a photo in, a result or a refusal out, by finger, mouse, keyboard or camera."""

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lentigo.data.synthetic import draw_lesion
from tests.web.conftest import Site, Visit, png
from tests.web.site import copy_page, served
from tests.web.small_model import model_bytes, write_model

pytestmark = pytest.mark.web
AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
DOCTOR = "See a doctor when in doubt."
LOW, HIGH, UNCLEAR, HAIRY = 1, 2, 7, 5  # pictures of series 3 that the small model and the gate judge so


def drawn(index: int, size_px: int = 300) -> bytes:
    return png(draw_lesion(3, index, malignant=index % 2 == 0, size_px=size_px).image)


def bare_skin() -> bytes:
    grain = np.random.default_rng(1).normal(0, 9, (300, 300, 1))
    return png(np.clip(np.array([205, 160, 140]) + grain, 0, 255).astype(np.uint8))


def blue_spot() -> bytes:
    spot = draw_lesion(3, LOW, malignant=False).image[..., ::-1]
    return png((spot * np.array([0.4, 0.7, 1])).astype(np.uint8))


def square(page: Visit) -> dict[str, float]:
    found: dict[str, float] = page.call("() => lentigo.work.square")
    return found


def heat_pixels(page: Visit) -> np.ndarray:
    """Red, green, blue and opacity of the heat map on show."""
    values = page.call(
        """() => { const canvas = document.querySelector(".over");
                   return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]; }"""
    )
    side = int((len(values) / 4) ** 0.5)
    return np.array(values, np.uint8).reshape(side, side, 4)


# ---------------------------------------------------------------- from a picture to a result


@pytest.mark.parametrize(("index", "band"), [(LOW, "Low"), (UNCLEAR, "Unclear"), (HIGH, "High")])
def test_upload_crop_result(page: Visit, site: Site, index: int, band: str) -> None:
    assert page.check(drawn(index)) == band
    logit = page.call("() => lentigo.work.screening.logit")
    low, high = (site.about["bands"][key] for key in ("low_below_logit", "high_from_logit"))
    assert band == ("Low" if logit < low else "High" if logit >= high else "Unclear")
    share = 1 / (1 + np.exp(-logit / site.about["temperature"]))
    assert page.tab.inner_text(".probability strong") == f"{np.floor(100 * share + 0.5):.0f} %"
    text = page.tab.inner_text("main").lower()
    assert "no diagnosis" in text
    assert "does not rule cancer out" in text
    assert not any(word in text for word in ("benign", " safe", "healthy", "nothing to worry"))
    mark = page.call("() => parseFloat(document.querySelector('.mark').style.left)")
    assert mark == pytest.approx(100 * share, abs=0.01)


def test_heat_map_has_colour_and_the_slider_sets_its_strength(page: Visit) -> None:
    page.check(drawn(HIGH))
    pixels = heat_pixels(page)
    opacity = pixels[..., 3]
    assert opacity.max() > 200
    assert opacity.min() < 20
    strong = opacity > 250
    assert strong.any()
    assert (pixels[strong][:, 0] > 200).all(), "full heat is red"
    assert (pixels[strong][:, 2] == 0).all()
    slider = page.tab.get_by_label("Heat map strength")
    shown = "() => getComputedStyle(document.querySelector('.over')).opacity"
    assert page.call(shown) == "0.6"
    slider.fill("0")
    assert page.call(shown) == "0"
    slider.press("ArrowRight")
    assert page.call(shown) == "0.05"
    assert "Full red is the same strength for every photo" in page.tab.inner_text("main")


@pytest.mark.parametrize("kind", ["no spot", "no skin"])
def test_a_refused_photo_gets_reasons_and_advice_and_no_number(page: Visit, kind: str) -> None:
    assert page.check(bare_skin() if kind == "no spot" else blue_spot()) == "No result for this photo"
    text = page.tab.inner_text("main")
    assert (
        "No spot was found" in text if kind == "no spot" else "does not look like the pictures of spots on skin" in text
    )
    assert "Refused" in text
    assert "This says nothing about your spot" in text
    assert "%" not in text
    assert page.tab.locator(".over, .scale, .save").count() == 0
    screening = page.call("() => lentigo.work.screening")
    assert (screening["band"], screening["probability"], screening["logit"], screening["heat"]) == (
        "refused",
        *[None] * 3,
    )


def test_a_warning_stands_above_the_heat_map(page: Visit) -> None:
    page.check(drawn(HAIRY))
    note, heat = (page.tab.locator(place).bounding_box() for place in (".findings", ".heat"))
    assert note["y"] < heat["y"]
    assert "Hair or other dark lines" in page.tab.inner_text(".findings")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "This file is empty"),
        (b"hello, this is text", "not a picture"),
        (drawn(LOW)[:900], "not a picture"),
        (png(np.zeros((7200, 7200), np.uint8)), "more than 50 megapixels"),
    ],
    ids=["empty", "text", "cut off", "too many pixels"],
)
def test_bad_files_are_named_and_the_page_goes_on(page: Visit, data: bytes, words: str) -> None:
    page.tab.set_input_files("input[type=file]", {"name": "x.png", "mimeType": "image/png", "buffer": data})
    alarm = page.tab.get_by_role("alert")
    alarm.filter(has_text=words).wait_for()
    assert page.tab.inner_text("h1") == "Check a skin spot"
    assert page.check(drawn(LOW)) == "Low"
    assert alarm.inner_text() == ""


def test_a_file_above_50_mb_is_refused_unread(page: Visit, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(50_000_001)
    page.tab.set_input_files("input[type=file]", large)
    page.tab.get_by_role("alert").filter(has_text="larger than 50 MB").wait_for()


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_a_picture_may_be_pasted_or_dropped(page: Visit, event: str) -> None:
    page.call(
        """async ([event, bytes]) => {
             const data = new DataTransfer();
             data.items.add(new File([new Uint8Array(bytes)], "spot.png", {type: "image/png"}));
             document.body.dispatchEvent(event === "paste"
               ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
               : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
           }""",
        [event, list(drawn(LOW, 100))],
    )
    page.tab.wait_for_selector(".stage")
    assert square(page) == {"left": 0, "top": 0, "side": 100}


# ---------------------------------------------------------------- the frame


def wide_picture() -> bytes:
    """300 x 500 pixels with the spot in the right half."""
    spot = draw_lesion(3, LOW, malignant=False).image
    return png(np.concatenate([np.full((300, 200, 3), spot[0, 0], np.uint8), spot], axis=1))


def drag(page: Visit, start: tuple[float, float], stop: tuple[float, float]) -> None:
    mouse = page.tab.mouse
    mouse.move(*start)
    mouse.down()
    mouse.move((start[0] + stop[0]) / 2, (start[1] + stop[1]) / 2)
    mouse.move(*stop)
    mouse.up()


def test_the_frame_is_dragged_and_pulled_by_its_corners(page: Visit) -> None:
    page.choose(wide_picture())
    assert square(page) == {"left": 100, "top": 0, "side": 300}
    stage = page.tab.locator(".stage").bounding_box()
    scale = stage["width"] / 500
    at = lambda x, y: (stage["x"] + x * scale, stage["y"] + y * scale)  # noqa: E731
    drag(page, at(250, 150), at(350, 150))
    assert square(page) == {"left": 200, "top": 0, "side": 300}
    drag(page, at(201, 299), at(300, 200))  # the lower left corner, inwards
    assert square(page)["side"] == pytest.approx(200, abs=3)
    assert square(page)["left"] + square(page)["side"] == 500
    assert square(page)["top"] == 0
    drag(page, at(400, 100), at(-900, 900))  # never beyond the picture
    assert square(page) | {"side": 0} == {"left": 0, "top": 300 - square(page)["side"], "side": 0}


def test_two_fingers_pinch_the_frame(page: Visit) -> None:
    page.choose(wide_picture())
    stage = page.tab.locator(".stage").bounding_box()
    finger = """([id, type, x, y]) => document.querySelector(".stage").dispatchEvent(new PointerEvent(type,
                {pointerId: id, clientX: x, clientY: y, button: 0, bubbles: true, pointerType: "touch"}))"""
    page.call("() => { Element.prototype.setPointerCapture = () => undefined; }")  # it refuses fingers made by a script
    middle, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    for identity, kind, x in [
        (1, "down", -80),
        (2, "down", 80),
        (1, "move", -40),
        (2, "move", 40),
        (1, "up", -40),
        (2, "up", 40),
    ]:
        page.call(finger, [identity, f"pointer{kind}", middle + x, y])
    assert square(page)["side"] == pytest.approx(150, abs=1)
    assert square(page)["left"] == pytest.approx(175, abs=1)


def test_the_model_sees_the_framed_square(page: Visit) -> None:
    page.choose(wide_picture())
    page.tab.get_by_role("application").press("Shift+ArrowRight")
    for _ in range(4):
        page.tab.keyboard.press("Shift+ArrowRight")
    assert square(page) == {"left": 200, "top": 0, "side": 300}
    page.press("Check this spot")
    page.tab.wait_for_selector(".verdict")
    framed = page.call("() => lentigo.work.screening.logit")
    page.check(drawn(LOW))
    assert framed == page.call("() => lentigo.work.screening.logit")


def test_keyboard_alone_leads_from_a_picture_to_a_result(visit: Callable[..., Visit]) -> None:
    page = visit(viewport={"width": 1100, "height": 800}, has_touch=False, is_mobile=False)
    spot = {"name": "spot.png", "mimeType": "image/png", "buffer": wide_picture()}
    # From the start: asked for only now, Chromium may miss a dialog that opens within the same moment.
    page.tab.on("filechooser", lambda chooser: chooser.set_files(spot))
    page.open()
    keys = page.tab.keyboard
    focused = "() => document.activeElement.textContent"
    keys.press("Tab")
    assert page.call(focused) == "Skip to content"
    keys.press("Enter")
    for _ in range(2):  # past "Take a photo"
        keys.press("Tab")
    assert page.call(focused) == "Choose a picture"
    keys.press("Enter")
    page.tab.wait_for_selector(".stage")
    assert page.call(focused) == "Frame the spot", "the new view's heading has the focus"
    keys.press("Tab")
    assert page.call("() => document.activeElement.getAttribute('aria-label')") == "Crop frame"
    keys.press("-")
    assert square(page) == {"left": 106, "top": 6, "side": 288}
    keys.press("ArrowLeft")
    keys.press("ArrowUp")
    assert square(page) == {"left": 100, "top": 0, "side": 288}
    keys.press("+")
    assert square(page)["side"] == 300
    for _ in range(3):
        keys.press("Tab")
    assert page.call(focused) == "Check this spot"
    keys.press("Enter")
    page.tab.wait_for_selector(".verdict")
    assert page.call(focused) in ("Low", "Unclear", "High", "No result for this photo")


# ---------------------------------------------------------------- the camera


def test_camera_takes_a_photo_and_is_let_go(visit: Callable[..., Visit]) -> None:
    page = visit(permissions=["camera"])
    page.tab.add_init_script(
        """const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
           window.asked = [];
           navigator.mediaDevices.getUserMedia = async (wishes) => {
             const stream = await ask(wishes); window.asked.push([wishes, stream]); return stream; };"""
    )
    page.open()
    page.press("Take a photo")
    page.tab.wait_for_selector("button:has-text('Take the photo'):enabled")
    assert page.call("() => asked[0][0].video.facingMode.ideal") == "environment"
    assert page.call("() => asked[0][0].audio") is False
    assert page.call("() => asked[0][1].getTracks().map((track) => track.readyState)") == ["live"]
    page.press("Take the photo")
    page.tab.wait_for_selector(".stage")
    assert page.call("() => asked[0][1].getTracks().map((track) => track.readyState)") == ["ended"]
    values = page.call(
        "() => { const c = document.querySelector('.stage canvas');"
        " return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data.slice(0, 40000)]; }"
    )
    assert np.ptp(np.array(values).reshape(-1, 4)[:, :3]) > 0, "Chromium's moving picture is not of one colour"
    page.press("Check this spot")
    page.tab.wait_for_selector(".verdict")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (
            "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'))",
            "blocked",
        ),
        ("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})", "shows no camera"),
    ],
    ids=["denied", "missing"],
)
def test_without_a_camera_the_phones_camera_app_is_offered(
    visit: Callable[..., Visit], script: str, words: str
) -> None:
    page = visit()
    page.tab.add_init_script(script)
    page.open()
    page.press("Take a photo")
    page.tab.get_by_text(words).wait_for()
    assert page.tab.locator("video").count() == 0
    fallback = page.tab.locator("input[type=file][capture=environment]")
    assert fallback.get_attribute("accept") == "image/*"
    fallback.set_input_files({"name": "spot.png", "mimeType": "image/png", "buffer": drawn(LOW)})
    page.tab.wait_for_selector(".stage")


# ---------------------------------------------------------------- offline, other hosts, other models


@pytest.fixture
def own_site(chromium: Any, tmp_path: Path) -> Path:
    """A site that the test may change; the page lies in a folder of it, as on a shared host."""
    copy_page(tmp_path / "clinic" / "spots")
    write_model(tmp_path / "clinic" / "spots" / "model", title="First model")
    return tmp_path


def installed(page: Visit) -> None:
    page.call("() => navigator.serviceWorker.ready")
    page.tab.wait_for_function("() => navigator.serviceWorker.controller !== null")


def test_works_offline_after_one_visit(visit: Callable[..., Visit], own_site: Path) -> None:
    with served(own_site) as url:
        page = visit(f"{url}clinic/spots/")
        page.open()
        page.tab.get_by_text("Model ready").wait_for()
        installed(page)
    page.allowed.append("Failed to load resource: net::ERR_CONNECTION_REFUSED")  # model.json is asked for anew
    page.tab.reload()
    page.tab.get_by_text("Model ready: First model").wait_for()
    assert page.check(drawn(HIGH)) == "High"
    assert heat_pixels(page)[..., 3].max() > 200
    names = page.call("() => caches.keys()")
    assert len(names) == 2
    assert all(name.startswith("lentigo /clinic/spots/ ") for name in names)


def test_a_new_model_is_used_at_the_next_visit_and_the_old_one_dropped(
    visit: Callable[..., Visit], own_site: Path
) -> None:
    model = own_site / "clinic" / "spots" / "model"
    with served(own_site) as url:
        page = visit(f"{url}clinic/spots/")
        page.open()
        page.tab.get_by_text("Model ready: First model").wait_for()
        installed(page)
        write_model(model, title="Second model", onnx_bytes=model_bytes(bias=-3.0))
        page.tab.reload()
        page.tab.get_by_text("Model ready: Second model").wait_for()
        assert page.check(drawn(UNCLEAR)) == "Low"
        kept = page.call(
            "async () => (await (await caches.open('lentigo /clinic/spots/ model')).keys()).map((r) => r.url)"
        )
    assert sorted(name.rsplit("/", 1)[1].split("?")[0] for name in kept) == ["model.json", "model.onnx"]


def test_a_new_page_replaces_the_old_one(visit: Callable[..., Visit], own_site: Path) -> None:
    folder = own_site / "clinic" / "spots"
    with served(own_site) as url:
        page = visit(f"{url}clinic/spots/")
        page.open()
        installed(page)
        index, worker = folder / "index.html", folder / "sw.js"
        index.write_text(index.read_text().replace("<title>", "<title>New "))
        code = worker.read_text()
        version = page.call("async () => (await caches.keys()).find((name) => name.includes(' page '))").split()[-1]
        worker.write_text(code.replace(version, "0123456789ab"))
        page.tab.reload()
        page.tab.get_by_text("A newer version of this page is ready").wait_for()
        page.tab.goto("about:blank")  # the last tab is closed
        page.requests.remove("about:blank") if "about:blank" in page.requests else None
        page.tab.wait_for_timeout(300)
        page.open()
        assert "New lentigo" in page.call("async () => await (await fetch('./index.html')).text()")
        names = page.call("() => caches.keys()")
    assert [name for name in names if " page " in name] == ["lentigo /clinic/spots/ page 0123456789ab"]


@pytest.mark.parametrize("damage", ["missing", "another file", "other format"])
def test_a_model_that_cannot_be_used_is_named(visit: Callable[..., Visit], own_site: Path, damage: str) -> None:
    model = own_site / "clinic" / "spots" / "model"
    if damage == "missing":
        shutil.rmtree(model)
    elif damage == "another file":
        (model / "model.onnx").write_bytes(model_bytes()[:-9])
    else:
        write_model(model, format=2)
    with served(own_site) as url:
        page = visit(f"{url}clinic/spots/")
        page.allowed.append("404")
        page.open()
        problem = page.tab.locator(".problem")
        problem.wait_for()
        words = {"missing": "model/model.json: 404", "another file": "not the file that", "other format": "format 2"}
        assert words[damage] in problem.inner_text()
        write_model(model, title="Mended model")
        page.press("Try again")
        page.tab.get_by_text("Model ready: Mended model").wait_for()


def test_a_demo_model_is_marked_everywhere(visit: Callable[..., Visit], own_site: Path) -> None:
    write_model(
        own_site / "clinic" / "spots" / "model",
        demo=True,
        bands={"low_below_logit": None, "high_from_logit": None, "reason": "Too few images."},
    )
    with served(own_site) as url:
        page = visit(f"{url}clinic/spots/")
        assert page.check(drawn(HIGH)) == "Unclear", "without bands every result is unclear"
        assert "Too few images." in page.tab.inner_text(".verdict")
        assert "DEMO" in page.tab.inner_text(".verdict")
        for view in ("", "history", "about"):
            page.open(view)
            assert "DEMO model" in page.tab.inner_text(".demo")
            assert page.tab.locator(".demo").bounding_box()["y"] < 200


# ---------------------------------------------------------------- for everyone


def each_view(page: Visit) -> Any:
    """Name by name, each view with something in it."""
    page.open()
    page.tab.get_by_text("Model ready").wait_for()
    yield "start"
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

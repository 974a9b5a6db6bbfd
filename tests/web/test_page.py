"""The page as a person uses it: a photo in, a result or a refusal out, by finger, mouse, keyboard or camera."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.web.conftest import Site, Visit, png
from tests.web.pictures import HAIRY, HIGH, LOW, UNCLEAR, bare_skin, blue_spot, drawn, heat_pixels, wide_picture
from tests.web.site import served
from tests.web.small_model import write_model

pytestmark = pytest.mark.web


def square(page: Visit) -> dict[str, float]:
    found: dict[str, float] = page.call("() => lentigo.work.square")
    return found


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


def test_a_model_without_an_auc_gives_results_too(visit: Callable[..., Visit], site: Site, tmp_path: Path) -> None:
    """Export writes null where the validation images are of one class."""
    shutil.copytree(site.folder, tmp_path / "site")
    place = tmp_path / "site" / "model" / "model.json"
    about = json.loads(place.read_text())
    about["validation"] |= {"auc": None, "auc_low": None, "auc_high": None}
    place.write_text(json.dumps(about))
    with served(tmp_path / "site") as url:
        page = visit(url)
        assert page.check(drawn(HIGH)) == "High"
        page.tab.click("summary")
        assert "AUC ? (95 % interval ? to ?)" in page.tab.inner_text("main")


@pytest.mark.parametrize(
    ("shares", "one_in", "below", "above"),
    [
        ({"low_sensitivity": 0.95, "high_sensitivity": 0.80}, "up to 1 in 20 cancers", "95 %", "80 %"),
        ({"low_sensitivity": 0.995, "high_sensitivity": 0.85}, "up to 1 in 200 cancers", "99.5 %", "85 %"),
        ({"low_sensitivity": 1, "high_sensitivity": 0.9}, "harmless: cancers unlike those among", "100 %", "90 %"),
        ({}, "up to 1 in 100 cancers", "99 %", "90 %"),  # an earlier export
    ],
)
def test_the_bands_are_explained_by_the_models_own_shares(
    visit: Callable[..., Visit],
    site: Site,
    tmp_path: Path,
    shares: dict[str, float],
    one_in: str,
    below: str,
    above: str,
) -> None:
    shutil.copytree(site.folder, tmp_path / "site")
    limits = {"low_below_logit": -0.5, "high_from_logit": 2.0, "reason": ""}
    write_model(tmp_path / "site" / "model", bands=limits | shares)
    with served(tmp_path / "site") as url:
        page = visit(url)
        assert page.check(drawn(LOW)) == "Low"
        assert one_in in page.tab.inner_text(".meaning")
        page.follow("About")
        page.tab.wait_for_selector(".about")
        text = page.tab.inner_text("main")
        assert (
            f"below a limit that {below} of the cancers there exceeded, “high” above one that {above} exceeded" in text
        )


def test_without_bands_no_limits_are_explained(visit: Callable[..., Visit], site: Site, tmp_path: Path) -> None:
    shutil.copytree(site.folder, tmp_path / "site")
    bands = {"low_below_logit": None, "high_from_logit": None, "reason": "Too few images."}
    write_model(tmp_path / "site" / "model", bands=bands)
    with served(tmp_path / "site") as url:
        page = visit(url)
        page.open()
        page.tab.get_by_text("Model ready").wait_for()
        page.follow("About")
        page.tab.wait_for_selector(".about")
        text = page.tab.inner_text("main")
    assert "one of three bands. Before that" in text
    assert "exceeded" not in text


def test_an_address_that_is_none_is_told(page: Visit) -> None:
    page.open("%E0%A4%A")
    assert page.tab.inner_text("main") == "This page does not exist."


def test_a_view_that_fails_says_so(page: Visit) -> None:
    """As in a private window, where there may be no store."""
    page.open()
    page.call("() => { indexedDB.open = () => { throw new Error('no store here'); }; }")
    page.call("() => { location.hash = '#/mole/one'; }")
    page.tab.wait_for_selector("main h1")
    page.tab.wait_for_function("() => document.querySelector('main').innerText.includes('no store here')")
    assert page.tab.inner_text("main h1") == "This cannot be shown here."

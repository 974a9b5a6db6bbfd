"""The history of a mole: kept in the browser alone, seen over time, exported whole, deleted for good."""

import io
import json
import re
import zipfile
from collections.abc import Callable

import pytest
from PIL import Image

from tests.web.conftest import Site, Visit
from tests.web.pictures import HIGH, LOW, UNCLEAR, bare_skin, drawn, wide_picture

pytestmark = pytest.mark.web


@pytest.fixture
def kept(page: Visit) -> Visit:
    """Two photos of one mole and one of another, the history on show."""
    for index, mole in ((LOW, "Left shoulder"), (UNCLEAR, "Left shoulder"), (HIGH, "Back / spine")):
        page.check(drawn(index))
        page.save(mole)
    page.follow("History")
    page.tab.wait_for_selector(".mole-list")
    return page


def names(page: Visit) -> list[str]:
    return [str(name) for name in page.tab.locator(".mole-list strong").all_inner_texts()]


def open_mole(page: Visit, name: str) -> None:
    page.tab.get_by_role("link", name=name).click()
    page.tab.wait_for_selector(".visits")


def stored(page: Visit) -> list[str]:
    """What the browser's databases hold, read past the page's own code."""
    found: list[str] = page.call(
        """async () => {
             const all = [];
             for (const {name} of await indexedDB.databases()) {
               const answer = (ask) => new Promise((done) => { ask.onsuccess = () => done(ask.result); });
               const base = await answer(indexedDB.open(name));
               for (const store of base.objectStoreNames) {
                 const rows = await answer(base.transaction(store).objectStore(store).getAll());
                 all.push(...rows.map((row) => `${store} ${row.name ?? row.screening.band}`));
               }
               base.close();
             }
             return all.sort();
           }"""
    )
    return found


def test_moles_and_photos_survive_a_reload(kept: Visit) -> None:
    everything = ["moles Back / spine", "moles Left shoulder", "visits high", "visits low", "visits unclear"]
    assert stored(kept) == everything
    kept.tab.reload()
    kept.tab.wait_for_selector(".mole-list")
    assert names(kept) == ["Back / spine", "Left shoulder"]
    assert kept.tab.locator(".mole-list a").nth(1).inner_text().split("\n")[1].startswith("2 photos")
    open_mole(kept, "Left shoulder")
    lines = kept.tab.locator(".visits .band").all_inner_texts()
    assert [line.split(",")[0] for line in lines] == ["Unclear", "Low"], "newest first"
    widths = kept.tab.eval_on_selector_all(".visits img", "found => found.map((image) => image.naturalWidth)")
    assert widths == [300, 300]


def test_a_known_name_is_no_second_mole(page: Visit) -> None:
    for _ in range(2):
        page.check(drawn(LOW))
        page.tab.wait_for_selector("#mole option", state="attached")
        if page.tab.locator("#mole").is_visible():
            page.tab.select_option("#mole", value="new")
        page.tab.fill("#mole-name", " Left shoulder ")
        page.tab.keyboard.press("Enter")
        page.tab.wait_for_selector(".done")
    assert stored(page) == ["moles Left shoulder", "visits low", "visits low"]


def test_a_mole_needs_a_name(page: Visit) -> None:
    page.check(drawn(LOW))
    page.press("Save to history")
    page.tab.get_by_role("alert").filter(has_text="Give the mole a name").wait_for()
    assert page.call("() => document.activeElement.id") == "mole-name"
    assert stored(page) == []


def test_a_refused_photo_is_not_kept(page: Visit) -> None:
    page.check(bare_skin())
    assert page.tab.get_by_role("button", name="Save to history").count() == 0


def test_the_kept_photo_is_the_framed_square(page: Visit) -> None:
    page.check(wide_picture())
    page.save("Arm")
    page.follow("Open its history")
    page.tab.wait_for_selector(".visits img")
    size = page.call(
        "() => { const i = document.querySelector('.visits img'); return [i.naturalWidth, i.naturalHeight]; }"
    )
    assert size == [300, 300]


def test_two_photos_side_by_side(kept: Visit) -> None:
    open_mole(kept, "Left shoulder")
    kept.press("Compare the two photos")
    kept.tab.get_by_role("alert").filter(has_text="Choose two photos first").wait_for()
    for box in kept.tab.locator(".visits input").all():
        box.check()
    kept.press("Compare the two photos")
    kept.tab.wait_for_selector(".pair")
    left, right = (figure.bounding_box() for figure in kept.tab.locator(".pair figure").all())
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] < right["x"]
    bands = [text.split(",")[0] for text in kept.tab.locator(".pair .band").all_inner_texts()]
    assert bands == ["Low", "Unclear"], "the older one first"
    assert "seen by a doctor" in kept.tab.inner_text("main")
    assert kept.tab.locator(".pair .over").first.is_hidden()
    kept.tab.get_by_label("Show the heat maps").check()
    opaque = """() => [...document.querySelectorAll(".pair .over")].map((canvas) => {
        const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.filter((_, at) => at % 4 === 3).reduce((most, value) => Math.max(most, value)); })"""
    assert min(kept.call(opaque)) > 20
    kept.tab.go_back()
    kept.tab.wait_for_selector(".visits")


def test_export_holds_everything(kept: Visit, site: Site) -> None:
    with kept.tab.expect_download() as download:
        kept.press("Export everything")
    assert re.fullmatch(r"lentigo-\d{4}-\d\d-\d\d\.zip", download.value.suggested_filename)
    with zipfile.ZipFile(download.value.path()) as archive:
        assert archive.testzip() is None
        history = json.loads(archive.read("history.json"))
        assert [mole["name"] for mole in history["moles"]] == ["Back / spine", "Left shoulder"]
        assert [record["band"] for record in history["visits"]] == ["high", "unclear", "low"]
        for record in history["visits"]:
            assert 0 < record["probability"] < 1
            assert len(record["heat"]["values"]) == 75 * 75
            assert record["model"]["sha256"] == site.about["onnx"]["sha256"]
            photo = Image.open(io.BytesIO(archive.read(record["photo"])))
            assert (photo.format, photo.size, dict(photo.getexif())) == ("JPEG", (300, 300), {})
        photos = sorted(name for name in archive.namelist() if name != "history.json")
        assert photos == sorted(record["photo"] for record in history["visits"])
        assert [name.split("-")[0] for name in photos] == ["photos/Back", "photos/Left", "photos/Left"]


def test_one_photo_and_one_mole_can_be_deleted(kept: Visit) -> None:
    open_mole(kept, "Left shoulder")
    kept.tab.get_by_role("button", name="Delete the photo of").first.click()
    kept.press("Keep")
    assert len(stored(kept)) == 5
    kept.tab.get_by_role("button", name="Delete the photo of").first.click()
    kept.press("Delete")
    kept.tab.get_by_text("The photo was deleted").wait_for()
    assert stored(kept) == ["moles Back / spine", "moles Left shoulder", "visits high", "visits low"]
    kept.press("Delete this mole")
    kept.press("Delete")
    kept.tab.wait_for_selector(".mole-list")
    assert stored(kept) == ["moles Back / spine", "visits high"]


def test_delete_everything_asks_first_and_leaves_nothing(kept: Visit) -> None:
    kept.press("Delete everything")
    kept.tab.keyboard.press("Escape")
    assert len(stored(kept)) == 5
    kept.press("Delete everything")
    assert kept.call("() => document.activeElement.textContent") == "Keep", "the harmless answer has the focus"
    kept.tab.get_by_role("button", name="Delete", exact=True).click()
    kept.tab.get_by_text("Everything was deleted").wait_for()
    assert stored(kept) == []
    assert "Nothing is saved yet" in kept.tab.inner_text("main")


def test_a_browser_without_storage_says_so(visit: Callable[..., Visit]) -> None:
    page = visit()
    page.tab.add_init_script("IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError'); }")
    page.open("history")
    page.tab.get_by_text("storage cannot be read").wait_for()
    page.check(drawn(LOW))
    page.tab.fill("#mole-name", "Arm")
    page.press("Save to history")
    page.tab.get_by_role("alert").filter(has_text="did not store it").wait_for()

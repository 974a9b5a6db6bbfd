"""The history taken along: what one browser exported is read by another, all of it or nothing."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.web.archives import as_macos, as_windows, deflated, packed, patched, renamed, unpacked
from tests.web.conftest import Visit
from tests.web.pictures import HIGH, LOW, UNCLEAR, drawn

pytestmark = pytest.mark.web
EMPTY = '{"moles":[],"visits":[]}'
HISTORY = "history.json"


def everything(page: Visit) -> str:
    """What the browser keeps, to the last byte of a photo and the last digit of a map, past the page's own code."""
    found: str = page.call(
        """async () => {
             const answer = (ask) => new Promise((done) => { ask.onsuccess = () => done(ask.result); });
             const [{name}] = await indexedDB.databases();
             const base = await answer(indexedDB.open(name));
             const all = {};
             for (const store of base.objectStoreNames)
               all[store] = await answer(base.transaction(store).objectStore(store).getAll());
             base.close();
             return JSON.stringify(all, (_, value) =>
               value instanceof ArrayBuffer ? [...new Uint8Array(value)] :
               value instanceof Float32Array ? [...value].map(String) :
               value && value.constructor === Object ? Object.fromEntries(Object.entries(value).sort()) : value);
           }"""
    )
    return found


def keep(page: Visit, *photos: tuple[int, str]) -> None:
    for index, mole in photos:
        page.check(drawn(index))
        page.save(mole)
    page.follow("History")
    page.tab.wait_for_selector(".mole-list")


def export(page: Visit) -> bytes:
    with page.tab.expect_download() as download:
        page.press("Export everything")
    return Path(download.value.path()).read_bytes()


def choose(page: Visit, data: bytes) -> None:
    file = {"name": "lentigo-2026-01-01.zip", "mimeType": "application/zip", "buffer": data}
    page.tab.set_input_files("input[type=file][accept*=zip]", file)


def import_(page: Visit, data: bytes, says: str) -> None:
    choose(page, data)
    page.tab.get_by_role("status").filter(has_text=says).wait_for()


def delete_everything(page: Visit) -> None:
    page.press("Delete everything")
    page.press("Delete")
    page.tab.get_by_text("Everything was deleted").wait_for()


@pytest.fixture
def kept(page: Visit) -> Visit:
    keep(page, (LOW, "Left shoulder"), (UNCLEAR, "Left shoulder"), (HIGH, "Rücken / Mitte"))
    return page


def test_after_deletion_an_import_brings_the_same_history_back(kept: Visit) -> None:
    before = everything(kept)
    data = export(kept)
    delete_everything(kept)
    assert everything(kept) == EMPTY
    import_(kept, data, "Added: 3 photos, 2 new moles.")
    assert everything(kept) == before
    assert kept.tab.locator(".mole-list strong").all_inner_texts() == ["Left shoulder", "Rücken / Mitte"]
    kept.tab.get_by_role("link", name="Left shoulder").click()
    kept.tab.wait_for_selector(".visits img")
    for box in kept.tab.locator(".visits input").all():
        box.check()
    kept.press("Compare the two photos")
    kept.tab.wait_for_selector(".pair")
    kept.tab.get_by_label("Show the heat maps").check()
    assert kept.tab.locator(".pair .over").count() == 2


def test_importing_twice_doubles_nothing(kept: Visit) -> None:
    before = everything(kept)
    data = export(kept)
    for _ in range(2):
        import_(kept, data, "Everything in this export is here already. Nothing was added.")
        assert everything(kept) == before
        kept.press("Export everything")  # another message in between
        kept.tab.get_by_text("handed to your downloads").wait_for()


def test_only_what_is_missing_is_added(kept: Visit) -> None:
    before = everything(kept)
    data = export(kept)
    kept.tab.get_by_role("link", name="Left shoulder").click()
    kept.tab.get_by_role("button", name="Delete the photo of").first.click()
    kept.press("Delete")
    kept.tab.get_by_text("The photo was deleted").wait_for()
    kept.follow("All moles")
    kept.tab.wait_for_selector(".mole-list")
    assert everything(kept) != before
    import_(kept, data, "Added: 1 photo.")
    assert everything(kept) == before


def test_on_another_device_a_mole_of_the_same_name_is_the_same_mole(kept: Visit, visit: Callable[..., Visit]) -> None:
    data = export(kept)
    other = visit()
    keep(other, (HIGH, "Left shoulder"))
    import_(other, data, "Added: 3 photos, 1 new mole.")
    lines = [text.split("\n")[:2] for text in other.tab.locator(".mole-list a").all_inner_texts()]
    assert [(name, line.split(",")[0]) for name, line in lines] == [
        ("Left shoulder", "3 photos"),
        ("Rücken / Mitte", "1 photo"),
    ]
    import_(other, data, "Nothing was added")
    assert len(json.loads(everything(other))["visits"]) == 4


def test_import_by_keyboard_from_an_empty_history(kept: Visit, visit: Callable[..., Visit]) -> None:
    data = export(kept)
    other = visit()
    other.tab.on("filechooser", lambda _: None)  # watched from here on: Enter is quicker than the tool
    other.open("history")
    other.tab.get_by_role("button", name="Import an export").focus()
    with other.tab.expect_file_chooser() as chooser:
        other.tab.keyboard.press("Enter")
    chooser.value.set_files({"name": "lentigo.zip", "mimeType": "application/zip", "buffer": data})
    other.tab.get_by_role("status").filter(has_text="Added: 3 photos, 2 new moles.").wait_for()
    assert other.call("() => document.activeElement.tagName") == "H1", "the button was drawn anew"
    assert everything(other) == everything(kept)


# ---------------------------------------------------------------- unpacked and packed again


REPACKED: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "stored": packed,
    "deflated": lambda files: packed(files, zipfile.ZIP_DEFLATED),
    "in a folder": lambda files: packed(renamed(files, lambda name: f"lentigo-2026/{name}"), zipfile.ZIP_DEFLATED),
    "as macOS": as_macos,
    "as Windows": as_windows,
}


def test_an_export_unpacked_and_packed_again_is_the_same(kept: Visit) -> None:
    """All in one tab: Safari, for one, unpacks what it downloads."""
    before = everything(kept)
    files = unpacked(export(kept))
    assert any("ü" in name for name in files)
    for name, pack in REPACKED.items():
        delete_everything(kept)
        import_(kept, pack(files), "Added: 3 photos, 2 new moles.")
        assert everything(kept) == before, name


# ---------------------------------------------------------------- what is no export


def changed(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """The export with another history.json."""
    files = unpacked(data)
    history = json.loads(files["history.json"])
    change(history)
    return packed(files | {"history.json": json.dumps(history).encode()})


def with_wrong_byte(data: bytes) -> bytes:
    place = data.index(b"\xff\xd8\xff") + 500
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def visit_with(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda history: history["visits"][-1].update(changes)


ID = "0123456789abcdef01234567"
NO_EXPORT = "not an export of this page"
DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", NO_EXPORT),
    "a picture": (lambda data: drawn(LOW), NO_EXPORT),
    "text": (lambda data: b"PK and nothing else that a ZIP archive has in it", NO_EXPORT),
    "half": (lambda data: data[: len(data) // 2], NO_EXPORT),
    "without its end": (lambda data: data[:-1], NO_EXPORT),
    "without its beginning": (lambda data: data[1:], NO_EXPORT),
    "one wrong bit": (with_wrong_byte, NO_EXPORT),
    "encrypted": (lambda data: patched(deflated(data), HISTORY, 8, 1, "<H"), NO_EXPORT),
    "packed in another way": (lambda data: packed(unpacked(data), zipfile.ZIP_BZIP2), NO_EXPORT),
    "wrong sum": (lambda data: patched(deflated(data), HISTORY, 16, 7), NO_EXPORT),
    "unpacks to more than it says": (lambda data: patched(deflated(data), HISTORY, 24, 100), NO_EXPORT),
    "unpacks to less than it says": (lambda data: patched(deflated(data), HISTORY, 24, 400_000_000), NO_EXPORT),
    "unpacks to too much": (lambda data: patched(deflated(data), HISTORY, 24, 500_000_001), "unpacks to more"),
    "two folders": (
        lambda data: packed(renamed(unpacked(data), lambda name: f"{name[0]}/{name}")),
        NO_EXPORT,
    ),
    "another archive": (lambda data: packed({"notes.txt": b"nothing"}), NO_EXPORT),
    "no JSON": (lambda data: packed(unpacked(data) | {"history.json": b"{"}), NO_EXPORT),
    "a list": (lambda data: packed(unpacked(data) | {"history.json": b"[]"}), NO_EXPORT),
    "no format": (lambda data: changed(data, lambda history: history.pop("format")), NO_EXPORT),
    "newer": (lambda data: changed(data, lambda history: history.update(format=2)), "newer version of this page"),
    "mole twice": (lambda data: changed(data, lambda h: h["moles"].append(h["moles"][0])), NO_EXPORT),
    "visit twice": (lambda data: changed(data, lambda h: h["visits"].append(h["visits"][0])), NO_EXPORT),
    "no such mole": (lambda data: changed(data, visit_with(mole=ID)), NO_EXPORT),
    "no such photo": (lambda data: changed(data, visit_with(photo="photos/none.jpg")), NO_EXPORT),
    "no JPEG": (lambda data: changed(data, visit_with(photo="history.json")), NO_EXPORT),
    "odd identity": (lambda data: changed(data, visit_with(id="../about")), NO_EXPORT),
    "odd date": (lambda data: changed(data, visit_with(taken="yesterday")), NO_EXPORT),
    "odd band": (lambda data: changed(data, visit_with(band="harmless")), NO_EXPORT),
    "probability": (lambda data: changed(data, visit_with(probability=1.5)), NO_EXPORT),
    "no map": (lambda data: changed(data, visit_with(heat=None)), NO_EXPORT),
    "map of another size": (lambda data: changed(data, lambda h: h["visits"][-1]["heat"].update(rows=74)), NO_EXPORT),
    "unknown finding": (
        lambda data: changed(data, visit_with(findings=[{"name": "tattoo", "severity": "warn"}])),
        "newer version of this page",
    ),
}


def test_what_is_no_export_is_refused_and_changes_nothing(kept: Visit) -> None:
    """All in one tab, after half of the history was deleted: each file would have had something to add."""
    data = export(kept)
    kept.tab.get_by_role("link", name="Left shoulder").click()
    kept.press("Delete this mole")
    kept.press("Delete")
    kept.tab.wait_for_selector(".mole-list")
    before = everything(kept)
    for name, (damage, says) in DAMAGES.items():
        choose(kept, damage(data))
        alert = kept.tab.get_by_role("alert")
        alert.filter(has_text=says).wait_for()
        assert "Nothing was changed" in alert.inner_text(), name
        assert everything(kept) == before, name
        kept.press("Export everything")  # clears the message
        kept.tab.get_by_text("handed to your downloads").wait_for()
    import_(kept, packed(unpacked(data)), "Added: 2 photos, 1 new mole.")  # the same without a damage


@pytest.mark.parametrize("failure", ["throws", "aborts"])
def test_a_store_that_fails_halfway_keeps_nothing(kept: Visit, failure: str) -> None:
    data = export(kept)
    delete_everything(kept)
    kept.call(
        """(failure) => {
             let written = 0;
             for (const name of ["add", "put"]) {
               const write = IDBObjectStore.prototype[name];
               IDBObjectStore.prototype[name] = function (value) {
                 if (++written === 4 && failure === "throws") throw new DOMException("full", "QuotaExceededError");
                 const request = write.call(this, value);
                 if (written === 4) this.transaction.abort();
                 return request;
               };
             }
           }""",
        failure,
    )
    choose(kept, data)
    kept.tab.get_by_role("alert").filter(has_text="did not store it").wait_for()
    assert everything(kept) == EMPTY


DELETE_MOLE = """
  const deleteMole = (transaction, name, withPhotos) => {
    const moles = transaction.objectStore("moles");
    moles.getAll().onsuccess = ({target}) => {
      const {id} = target.result.find((mole) => mole.name === name);
      moles.delete(id);
      const photos = transaction.objectStore("visits");
      if (withPhotos) photos.index("mole").getAllKeys(id).onsuccess = ({target}) =>
        target.result.forEach((key) => photos.delete(key));
    };
  };
"""


def test_a_mole_that_another_tab_deletes_meanwhile_is_added_anew(kept: Visit) -> None:
    """The deletion comes right before the import's own transaction that writes."""
    before = everything(kept)
    data = export(kept)
    kept.call(
        "() => {"
        + DELETE_MOLE
        + """const begin = IDBDatabase.prototype.transaction;
             IDBDatabase.prototype.transaction = function (names, mode) {
               if (mode === "readwrite") {
                 IDBDatabase.prototype.transaction = begin;
                 deleteMole(begin.call(this, ["moles", "visits"], mode), "Left shoulder", true);
               }
               return begin.call(this, names, mode);
             };
           }"""
    )
    import_(kept, data, "Added: 2 photos, 1 new mole.")
    assert everything(kept) == before


def test_a_photo_whose_mole_is_gone_counts_as_missing(kept: Visit) -> None:
    """As another tab leaves it that saves a photo while the mole is deleted here."""
    before = everything(kept)
    data = export(kept)
    kept.call(
        "async () => {"
        + DELETE_MOLE
        + """const done = (ask, event) => new Promise((go) => { ask[event] = () => go(ask.result); });
             const [{name}] = await indexedDB.databases();
             const base = await done(indexedDB.open(name), "onsuccess");
             const transaction = base.transaction(["moles", "visits"], "readwrite");
             deleteMole(transaction, "Left shoulder", false);
             await done(transaction, "oncomplete");
             base.close();
           }"""
    )
    assert len(json.loads(everything(kept))["visits"]) == 3
    import_(kept, data, "Added: 2 photos, 1 new mole.")
    assert everything(kept) == before


def test_an_import_whose_result_cannot_be_shown_was_done_all_the_same(kept: Visit) -> None:
    before = everything(kept)
    data = export(kept)
    delete_everything(kept)
    kept.call(
        """() => {
             const begin = IDBDatabase.prototype.transaction;
             let written = false;
             IDBDatabase.prototype.transaction = function (names, mode) {
               written ||= mode === "readwrite";
               if (written && mode !== "readwrite") throw new DOMException("no", "InvalidStateError");
               return begin.call(this, names, mode);
             };
           }"""
    )
    import_(kept, data, "Added: 3 photos, 2 new moles.")
    assert "storage cannot be read" in kept.tab.inner_text(".moles")
    kept.tab.reload()
    kept.tab.wait_for_selector(".mole-list")
    assert everything(kept) == before


# ---------------------------------------------------------------- more than an import takes


def test_an_export_of_too_many_bytes_is_refused(kept: Visit) -> None:
    kept.call(
        """() => Object.defineProperty(Blob.prototype, "size", {
             get() { return this.type === "application/zip" ? 500_000_001 : 0; } })"""
    )
    kept.press("Export everything")
    kept.tab.get_by_role("alert").filter(has_text="Nothing was exported: an export holds at most 500 MB").wait_for()


@pytest.mark.parametrize("photos", [65_534, 65_535])
def test_an_export_counts_its_files_in_two_bytes(page: Visit, photos: int) -> None:
    page.open("history")
    page.call(
        """async (count) => {
             const done = (ask, event) => new Promise((go) => { ask[event] = () => go(ask.result); });
             const [{name}] = await indexedDB.databases();
             const base = await done(indexedDB.open(name), "onsuccess");
             const transaction = base.transaction(["moles", "visits"], "readwrite");
             const id = (number) => number.toString(16).padStart(6, "0").padEnd(24, "0");
             const [mole, taken] = [id(0), new Date().toISOString()];
             transaction.objectStore("moles").add({id: mole, name: "Arm", created: taken});
             const screening = {band: "low", probability: 0.1, logit: -1, outlier: 0, findings: [],
               heat: {data: new Float32Array(1), rows: 1, columns: 1}};
             const model = {name: "small", title: "Small", sha256: "0", demo: false};
             const preprocessing = {resize_px: 300, crop_px: null, mean: [0, 0, 0], std: [1, 1, 1]};
             for (let number = 0; number < count; number++)
               transaction.objectStore("visits").add({id: id(number), mole, taken, screening, model,
                 photo: new Uint8Array([255, 216, 255]).buffer, heat: {preprocessing, cam_maximum: 1}});
             await done(transaction, "oncomplete");
             base.close();
           }""",
        photos,
    )
    page.tab.reload()
    page.tab.get_by_text(f"{photos} photos").wait_for()
    if photos == 65_534:
        data = export(page)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert len(archive.namelist()) == 65_535
    else:
        page.press("Export everything")
        page.tab.get_by_role("alert").filter(has_text="at most 500 MB and 65,534 photos").wait_for()

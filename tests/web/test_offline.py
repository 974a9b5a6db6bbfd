"""The page without a network, in a folder of a shared host, and with models and pages that change under it."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.web.conftest import Visit
from tests.web.pictures import HIGH, UNCLEAR, drawn, heat_pixels
from tests.web.site import Trouble, copy_page, served
from tests.web.small_model import model_bytes, write_model

pytestmark = pytest.mark.web


@pytest.fixture
def own_site(chromium: Any, tmp_path: Path) -> Path:
    """A site that the test may change; the page lies in a folder of it, as on a shared host."""
    copy_page(tmp_path / "clinic" / "spots")
    write_model(tmp_path / "clinic" / "spots" / "model", title="First model")
    return tmp_path


def installed(page: Visit, *, with_model: bool = True) -> None:
    """Once the page is kept for offline; the model follows by itself."""
    page.tab.wait_for_function("() => navigator.serviceWorker.controller?.state === 'activated'")
    if with_model:
        kept_once(page, lambda found: len(found) == 2)


def kept_model(page: Visit) -> list[str]:
    """The title of the description kept for offline, and the last digits of the sum of each file kept with it."""
    found: list[str] = page.call(
        """async () => {
             const cache = await caches.open('lentigo /clinic/spots/ model');
             const files = (await cache.keys()).map(({url}) => url).filter((url) => url.includes('?sha256='));
             const about = files.length ? await cache.match('model/model.json') : null;
             return [about ? (await about.json()).title : "", ...files.map((url) => url.slice(-8))];
           }"""
    )
    return found


def kept_once(page: Visit, holds: Callable[[list[str]], bool], limit_s: float = 20) -> None:
    """Waits until what is kept in the background is as it should be."""
    end = time.monotonic() + limit_s
    while not (kept_model(page)[0] and holds(kept_model(page))):
        assert time.monotonic() < end, f"still {kept_model(page)}"
        page.tab.wait_for_timeout(100)


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


@pytest.mark.parametrize("answer", ["login page", "gone"])
def test_what_is_no_model_does_not_take_the_kept_ones_place(
    visit: Callable[..., Visit], own_site: Path, answer: str
) -> None:
    place = own_site / "clinic" / "spots" / "model" / "model.json"
    with served(own_site) as url:
        page = visit(f"{url}clinic/spots/")
        page.open()
        page.tab.get_by_text("Model ready: First model").wait_for()
        installed(page)
        if answer == "gone":
            page.allowed.append("404")
            place.unlink()
        else:
            place.write_text("<!doctype html><title>Log in</title>")
        page.tab.reload()
        page.tab.get_by_text("Model ready: First model").wait_for()
        assert page.check(drawn(HIGH)) == "High"
    page.allowed.append("Failed to load resource: net::ERR_CONNECTION_REFUSED")
    page.tab.reload()
    page.tab.get_by_text("Model ready: First model").wait_for()


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


@pytest.mark.parametrize("trouble", ["missing", "damaged", "cut", "stalled halfway"])
def test_a_new_description_without_its_file_leaves_the_old_pair_whole(
    visit: Callable[..., Visit], own_site: Path, trouble: Any
) -> None:
    model = own_site / "clinic" / "spots" / "model"
    troubles: dict[str, Trouble] = {}
    with served(own_site, troubles) as url:
        page = visit(f"{url}clinic/spots/")
        page.allowed.append("Failed to load resource")
        page.open()
        page.tab.get_by_text("Model ready: First model").wait_for()
        installed(page)
        before = kept_model(page)
        assert (len(before), before[0]) == (2, "First model")
        new = model_bytes(bias=-3.0)
        write_model(model, title="Second model", onnx_bytes=new)
        if trouble == "missing":
            (model / "model.onnx").unlink()
        elif trouble == "damaged":
            (model / "model.onnx").write_bytes(new[:-9])
        else:
            troubles["model.onnx"] = trouble
        page.tab.reload()
        page.tab.get_by_text("Model ready: First model").wait_for()
        assert kept_model(page) == before
    page.tab.reload()  # nothing answers any more
    page.tab.get_by_text("Model ready: First model").wait_for()
    assert page.check(drawn(HIGH)) == "High"
    assert kept_model(page) == before


def test_a_new_model_is_kept_once_its_file_arrives(visit: Callable[..., Visit], own_site: Path) -> None:
    troubles: dict[str, Trouble] = {}
    with served(own_site, troubles) as url:
        page = visit(f"{url}clinic/spots/")
        page.allowed.append("Failed to load resource")
        page.open()
        page.tab.get_by_text("Model ready: First model").wait_for()
        installed(page)
        about = write_model(
            own_site / "clinic" / "spots" / "model", title="Second model", onnx_bytes=model_bytes(bias=-3.0)
        )
        troubles["model.onnx"] = "cut"
        page.tab.reload()
        page.tab.get_by_text("Model ready: First model").wait_for()
        troubles.clear()
        page.tab.reload()
        page.tab.get_by_text("Model ready: Second model").wait_for()
        assert kept_model(page) == ["Second model", about["onnx"]["sha256"][-8:]]
    page.tab.reload()
    page.tab.get_by_text("Model ready: Second model").wait_for()
    assert page.check(drawn(UNCLEAR)) == "Low"


@pytest.mark.parametrize("slow", ["model.json", "model.onnx"])
def test_a_slow_new_model_comes_in_the_background_for_the_next_visit(
    visit: Callable[..., Visit], own_site: Path, slow: str
) -> None:
    troubles: dict[str, Trouble] = {}
    with served(own_site, troubles) as url:
        page = visit(f"{url}clinic/spots/")
        page.open()
        page.tab.get_by_text("Model ready: First model").wait_for()
        installed(page)
        about = write_model(
            own_site / "clinic" / "spots" / "model", title="Second model", onnx_bytes=model_bytes(bias=-3.0)
        )
        sum_ = about["onnx"]["sha256"]
        troubles[slow] = "slow"
        before = kept_model(page)
        page.tab.reload()
        page.tab.get_by_text("Model ready: First model").wait_for()
        assert kept_model(page) == before, "the new model was here before the old one was shown"
        page.tab.reload()  # a visit meanwhile shares what is coming, and gets it where it comes in time
        page.check(drawn(HIGH))  # by the one or by the other
        kept_once(page, lambda found: found == ["Second model", sum_[-8:]])
        assert len([address for address in page.requests if address.endswith(sum_)]) <= 2, "the worker's, the page's"
        entries = page.call("async () => (await (await caches.open('lentigo /clinic/spots/ model')).keys()).length")
        assert entries == 2
    page.allowed.append("Failed to load resource: net::ERR_CONNECTION_REFUSED")
    page.tab.reload()  # nothing answers any more
    page.tab.get_by_text("Model ready: Second model").wait_for()
    assert page.check(drawn(UNCLEAR)) == "Low"


def test_at_the_first_visit_a_stalled_model_does_not_keep_the_page_from_being_kept(
    visit: Callable[..., Visit], own_site: Path
) -> None:
    with served(own_site, {"model.json": "stalled"}) as url:
        page = visit(f"{url}clinic/spots/")
        page.allowed.append("Failed to load resource")
        page.open()
        page.tab.get_by_text("Loading the model").wait_for()
        page.tab.wait_for_function("() => navigator.serviceWorker.controller !== null")
        assert kept_model(page) == [""]
    page.tab.reload()  # nothing answers any more
    page.tab.get_by_text("The model could not be loaded").wait_for()


def test_a_worker_that_waits_for_the_model_is_installed_all_the_same(
    visit: Callable[..., Visit], own_site: Path
) -> None:
    """The page has its model; then the host falls silent before the worker asks for it."""
    troubles: dict[str, Trouble] = {}
    with served(own_site, troubles) as url:
        page = visit(f"{url}clinic/spots/")
        page.allowed.append("Failed to load resource")
        page.tab.add_init_script(
            """const register = ServiceWorkerContainer.prototype.register;
               ServiceWorkerContainer.prototype.register = async function (...all) {
                 await new Promise((go) => { window.installNow = go; });
                 return register.apply(this, all);
               };"""
        )
        page.open()
        page.tab.get_by_text("Model ready: First model").wait_for()
        troubles["model.json"] = "stalled"
        page.tab.wait_for_function("() => window.installNow")
        page.call("() => window.installNow()")
        installed(page, with_model=False)
        troubles.clear()
        page.tab.reload()
        page.call("() => window.installNow?.()")
        page.tab.get_by_text("Model ready: First model").wait_for()
        installed(page)


def test_a_model_replaced_between_its_description_and_its_file_is_asked_for_anew(
    visit: Callable[..., Visit], own_site: Path
) -> None:
    with served(own_site) as url:
        page = visit(f"{url}clinic/spots/")

        def replaced(route: Any) -> None:
            write_model(
                own_site / "clinic" / "spots" / "model", title="Second model", onnx_bytes=model_bytes(bias=-3.0)
            )
            route.continue_()

        page.tab.context.route("**/model.onnx?sha256=*", replaced, times=1)
        page.open()
        page.tab.get_by_text("Model ready: Second model").wait_for()
        assert page.check(drawn(UNCLEAR)) == "Low"


@pytest.mark.parametrize("trouble", ["stalled", "stalled halfway"])
def test_a_stalled_network_does_not_hold_the_kept_model_up(
    visit: Callable[..., Visit], own_site: Path, trouble: Trouble
) -> None:
    troubles: dict[str, Trouble] = {}
    with served(own_site, troubles) as url:
        page = visit(f"{url}clinic/spots/")
        page.open()
        page.tab.get_by_text("Model ready: First model").wait_for()
        installed(page)
        troubles["model.json"] = trouble
        page.tab.reload()
        began = time.monotonic()
        page.tab.get_by_text("Loading the model").wait_for()
        assert page.check(drawn(HIGH)) == "High"
        assert time.monotonic() - began < 20, "the stall never ends; the page waits 4 s, the rest is a busy machine's"


def test_without_a_kept_model_a_slow_network_is_waited_for(visit: Callable[..., Visit], own_site: Path) -> None:
    troubles: dict[str, Trouble] = {}
    with served(own_site, troubles) as url:
        page = visit(f"{url}clinic/spots/")
        page.open()
        page.tab.get_by_text("Model ready: First model").wait_for()
        installed(page)
        page.call("() => caches.delete('lentigo /clinic/spots/ model')")
        troubles["model.json"] = "stalled"
        page.tab.reload()
        page.tab.wait_for_timeout(5_000)
        assert page.tab.get_by_text("Loading the model").is_visible()
        assert page.tab.locator(".problem").count() == 0


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

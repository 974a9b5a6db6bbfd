"""The server as its clients see it: over HTTP, with a screener that does what a picture's first pixel says."""

import base64
import gzip
import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from benchmarks.loopback import server
from PIL import Image

from lentigo.deploy import answering
from lentigo.deploy.model_file import AboutModel, Bands
from lentigo.deploy.server import create_app
from lentigo.deploy.uploads import shown_name
from lentigo.imaging import Preprocessing
from tests.deploy.fake_screener import SLEEP, FakeScreener, FakeScreening, demo_screener
from tests.deploy.running import NOTICE, form, is_refusal, picture, running

PROJECT = Path(__file__).resolve().parents[2]
KIND = {"Content-Type": "multipart/form-data; boundary=b"}
FAKE = "__import__('tests.deploy.fake_screener', fromlist=['x']).FakeScreener"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built page: three files."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>page</title>")
    (folder / "assets" / "main-1f.js").write_text("let answer = 42;\n" * 100)
    (folder / ".secret").write_text("hidden")
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "any-name.onnx"
    path.write_bytes(b"not read by the fake screener" * 100)
    return path


@pytest.fixture(scope="module")
def client(page: Path, model: Path) -> Iterator[httpx.Client]:
    """A server of a model with a page."""
    with running(create_app(model, screener=FakeScreener, workers=1, page=page)) as client:
        yield client


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parent") / "kept"


@pytest.fixture(scope="module")
def keeper(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A server that stores pictures, of a demo model and without a built page."""
    empty = tmp_path_factory.mktemp("no_page")
    with running(create_app(None, screener=demo_screener, keep=kept, workers=1, page=empty)) as client:
        yield client


# ---------------------------------------------------------------- answers


def test_screen_answers_with_what_the_screener_says(client: httpx.Client) -> None:
    answer = client.post("/api/screen", **form(picture((51, 51, 51)), "C:\\photos\\mole.png"))
    assert answer.status_code == 200
    assert answer.json() == {
        "image": "mole.png",
        "band": "unclear",
        "probability": pytest.approx(51 / 255),
        "logit": 0.0,
        "outlier": 0.5,
        "findings": [],
        "model": "fake",
        "demo": False,
        "notice": NOTICE,
        "kept": False,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert "x-lentigo-demo" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),  # another port of this machine
        ({"origin": "https://elsewhere.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "http://[evil]/"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
    ],
)
def test_another_sites_page_cannot_send_pictures(client: httpx.Client, headers: dict, status: int) -> None:
    answer = client.post("/api/screen", headers=headers, **form(picture()))
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"].startswith("Another site's page sent this request")


def test_this_page_can(client: httpx.Client) -> None:
    origin = f"http://{client.base_url.host}:{client.base_url.port}"
    assert client.post("/api/screen", headers={"origin": origin}, **form(picture())).status_code == 200


def test_heatmap_is_null_where_the_picture_has_none(client: httpx.Client) -> None:
    assert client.post("/api/screen?heatmap=png&insist=true", **form(picture())).json()["heatmap"] is None


def test_model_and_health(client: httpx.Client) -> None:
    about = client.get("/api/model").json()
    assert about == {"name": "fake", "demo": False, "card": "# Card", "format": 1, "notice": NOTICE}
    assert client.get("/healthz").json() == {"status": "ok", "model": "fake", "demo": False, "keeps": False}


def test_model_file_and_its_metadata(client: httpx.Client, model: Path) -> None:
    content = model.read_bytes()
    file = client.get("/model/model.onnx")
    assert file.content == content
    sha256 = hashlib.sha256(content).hexdigest()
    onnx = {"file": "model.onnx", "bytes": len(content), "sha256": sha256}
    assert client.get("/model/model.json").json() == {
        "name": "fake",
        "demo": False,
        "card": "# Card",
        "format": 1,
        "onnx": onnx,
    }
    assert client.get("/model/model.onnx", headers={"If-None-Match": file.headers["etag"]}).status_code == 304
    assert client.head("/model/model.onnx").headers["content-length"] == str(len(content))


def test_demo_is_told_in_every_answer(keeper: httpx.Client) -> None:
    for answer in (
        keeper.post("/api/screen", **form(picture())),
        keeper.post("/api/screen", **form(b"no picture")),
        keeper.get("/api/model"),
        keeper.get("/healthz"),
        keeper.get("/nothing"),
    ):
        assert answer.json()["demo"] is True
        assert answer.headers["x-lentigo-demo"] == "true"
    assert keeper.get("/").headers["x-lentigo-demo"] == "true"


# ---------------------------------------------------------------- the page


def test_page_and_its_files(client: httpx.Client) -> None:
    first = client.get("/")
    assert first.text == client.get("/index.html").text == "<!doctype html><title>page</title>"
    assert first.headers["content-type"] == "text/html; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    script = client.get("/assets/main-1f.js")
    assert script.text == "let answer = 42;\n" * 100
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["content-encoding"] == "gzip"
    assert int(script.headers["content-length"]) == len(gzip.compress(script.content, 6)) < 100
    assert "immutable" in script.headers["cache-control"]
    plain = client.get("/assets/main-1f.js", headers={"Accept-Encoding": "identity"})
    assert (plain.text, "content-encoding" in plain.headers) == (script.text, False)
    assert client.get("/", headers={"If-None-Match": first.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/.secret", "/../server.py", "/%2e%2e/server.py", "/assets", "/model/x.onnx", "/x"])
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    is_refusal(client.get(path), 404, "Nothing is at this address")


def test_without_a_built_page_it_says_how_to_build_it(keeper: httpx.Client) -> None:
    text = keeper.get("/").text
    assert "<code>make web</code>" in text
    assert NOTICE[:-1] in text


def test_model_routes_without_a_model_file(keeper: httpx.Client) -> None:
    is_refusal(keeper.get("/model/model.onnx"), 404, "no model file")
    assert keeper.get("/model/model.json").json()["onnx"] is None


# ---------------------------------------------------------------- headers


@pytest.mark.parametrize("path", ["/", "/api/docs", "/api/openapi.json", "/healthz", "/model/model.onnx", "/nothing"])
def test_security_headers_are_on_every_answer(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-embedder-policy"] == "require-corp"
    assert "camera=(self)" in headers["permissions-policy"]
    policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self' 'wasm-unsafe-eval'",
        "connect-src": "'self'",
        "img-src": "'self' blob: data:",
        "style-src": "'self'",
        "worker-src": "'self' blob:",
        "manifest-src": "'self'",
        "media-src": "'self' blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_documentation_needs_nothing_that_the_policy_forbids(client: httpx.Client) -> None:
    text = client.get("/api/docs").text
    assert "POST /api/screen" in text
    assert "GET /healthz" in text
    assert "<script" not in text
    assert "style=" not in text
    assert "//" not in text.replace("http://127.0.0.1:8000/", "")  # the example's
    assert client.get("/api/docs.css").headers["content-type"] == "text/css; charset=utf-8"


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        ({"files": {"image": ("a.gif", b"GIF89a....")}}, 422, "a.gif is a GIF"),
        ({"files": {"image": ("{name}%s", picture()[:-30])}}, 422, "{name}%s is a PNG file whose pixels"),
        ({"files": {"image": ("a.png", b"")}}, 422, "a.png is empty"),
        ({"files": {"picture": ("a.png", picture())}}, 422, "0 parts named image (its parts: 'picture')"),
        ({"files": [("image", ("a.png", picture())), ("image", ("b.png", picture()))]}, 422, "2 parts named image"),
        ({"files": {"other": ("a.txt", b"a")}, "data": {"image": "text"}}, 422, "no file name, so it is text"),
        ({"json": {"image": "file:///etc/passwd"}}, 415, "application/json"),
        ({"data": {"image": "x"}}, 415, "application/x-www-form-urlencoded"),
        ({"files": [(f"f{number}", ("a", b"")) for number in range(9)]}, 400, "more than 8 parts"),
        ({}, 415, "no Content-Type"),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, 400, "names no boundary"),
        ({"content": b"x", "headers": KIND}, 400, "boundary"),
        ({"content": b"", "headers": KIND}, 400, "ends before its last boundary"),
        ({"params": {"heatmap": "gif"}, **form(picture())}, 422, "heatmap is 'gif'"),
        ({"params": {"insist": "perhaps"}, **form(picture())}, 422, "insist is 'perhaps'"),
    ],
)
def test_bad_requests_are_refused(client: httpx.Client, request_: dict, status: int, words: str) -> None:
    is_refusal(client.post("/api/screen", **request_), status, words)


def test_too_many_pixels_are_refused(client: httpx.Client) -> None:
    file = io.BytesIO()
    Image.new("L", (7072, 7072)).save(file, "PNG")
    is_refusal(client.post("/api/screen", **form(file.getvalue())), 422, "7072 x 7072 = 50.0 megapixels")


def test_other_methods_are_told_which_there_are(client: httpx.Client) -> None:
    for method, path, allowed in (("GET", "/api/screen", "POST"), ("DELETE", "/healthz", "GET"), ("POST", "/", "GET")):
        answer = client.request(method, path)
        is_refusal(answer, 405, f"{method} is not possible")
        assert allowed in answer.headers["allow"]


def test_no_model_by_url_or_path(client: httpx.Client) -> None:
    answer = client.post("/api/screen", params={"model": "http://127.0.0.1/x.onnx"}, **form(picture()))
    assert answer.json()["model"] == "fake"


# ---------------------------------------------------------------- what is stored


def photograph() -> bytes:
    """A JPEG as a camera writes it, lying on its side, with the place it was taken at."""
    exif = Image.Exif()
    exif[274] = 6
    exif[271] = "SECRET CAMERA"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 14.0)
    return picture((10, 200, 90), "JPEG", exif=exif, comment=b"SECRET WORDS")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks for open files in /proc")
def test_nothing_is_stored_without_keep(tmp_path: Path) -> None:
    """No file appears, and while a large picture is worked on, not even a temporary one without a name is open."""
    pixels = np.random.default_rng(0).integers(256, size=(1000, 1000, 3), dtype=np.uint8)
    pixels[0, 0] = (SLEEP, 150, 0)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    places = {"TMPDIR": str(tmp_path), "HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    app = f"create_app(None, screener={FAKE})"
    with server(app=app, cwd=tmp_path, environment=os.environ | places) as process, ThreadPoolExecutor(1) as thread:
        before, opened = sorted(tmp_path.rglob("*")), open_files(process.process.pid)
        url = f"http://127.0.0.1:{process.port}/api/screen"
        answer = thread.submit(httpx.post, url, **form(file.getvalue()), timeout=30)
        time.sleep(0.7)
        assert not answer.done()
        assert [name for name in open_files(process.process.pid) - opened if name.startswith("/")] == []
        assert answer.result().status_code == 200
        assert sorted(tmp_path.rglob("*")) == before == []


def open_files(number: int) -> set[str]:
    """What a process has open; of sockets and pipes the name does not start with a slash."""
    return {os.readlink(link) for link in Path(f"/proc/{number}/fd").iterdir()}


def test_kept_picture_has_the_pixels_and_nothing_else(keeper: httpx.Client, kept: Path) -> None:
    for old in kept.iterdir():
        old.unlink()
    sent = photograph()
    assert b"SECRET CAMERA" in sent
    answer = keeper.post("/api/screen?heatmap=png", **form(sent, "Mrs Smith.jpg"))
    assert answer.json()["kept"] is True
    assert "SECRET" not in answer.text
    image, result = sorted(kept.iterdir(), key=lambda path: path.suffix, reverse=True)
    assert (image.suffix, result.suffix) == (".png", ".json")
    sha256 = hashlib.sha256(sent).hexdigest()
    assert image.stem == result.stem
    assert image.stem.endswith(f"Z-{sha256[:16]}")
    stored = Image.open(image)
    assert stored.size == (48, 64)  # upright
    assert (dict(stored.getexif()), set(stored.info)) == ({}, set())
    assert b"SECRET" not in image.read_bytes()
    content = json.loads(result.read_text())
    assert content["image"] == image.name
    assert content["received_sha256"] == sha256
    assert content["probability"] == answer.json()["probability"]
    assert content["demo"] is True
    assert "heatmap" not in content
    assert "Smith" not in result.read_text()


def test_refused_uploads_are_not_kept(keeper: httpx.Client, kept: Path) -> None:
    before = sorted(kept.iterdir())
    keeper.post("/api/screen", **form(b"no picture"))
    assert sorted(kept.iterdir()) == before


def test_kept_folder_is_for_its_owner_alone(keeper: httpx.Client, kept: Path) -> None:
    assert kept.stat().st_mode & 0o077 == 0


def test_failure_to_keep_is_told(keeper: httpx.Client, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.rename(kept.with_name("away"))
    kept.write_text("a file where the folder was")
    try:
        is_refusal(keeper.post("/api/screen", **form(picture())), 503, "cannot be stored")
    finally:
        kept.unlink()
        kept.with_name("away").rename(kept)


# ---------------------------------------------------------------- in a worker


def test_heatmap_is_a_png_over_a_small_picture() -> None:
    """By hand: heat as strong as the model has any, so half of full red and half of the picture."""
    about = AboutModel(
        preprocessing=Preprocessing(resize_px=8, crop_px=None),
        bands=Bands(low_below=None, high_from=None, reason=""),
        temperature=1.0,
        cam_maximum=1.0,
        demo=False,
        title="fake",
        content={},
    )

    class Heated(FakeScreener):
        def __post_init__(self) -> None:
            self.about = about

        def screen(self, image: np.ndarray, *, name: str, insist: bool = False) -> FakeScreening:
            return FakeScreening(name, 0.5, demo=False, heat=np.ones((2, 2), np.float32))

    job = {"name": "a", "insist": False, "heatmap": True, "keep": False}
    file = io.BytesIO()
    Image.new("RGB", (1600, 800), (10, 20, 30)).save(file, "PNG")
    reply, kept = answering.answer(Heated(), job, file.getvalue())
    head, _, data = reply["body"]["heatmap"].partition(",")
    assert head == "data:image/png;base64"
    drawn = Image.open(io.BytesIO(base64.b64decode(data)))
    assert drawn.size == (640, 320)
    assert drawn.getpixel((5, 5)) == (132, 10, 15)
    assert kept == b""


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("mole.jpg", "mole.jpg"),
        ("/etc/../mole.jpg", "mole.jpg"),
        ("C:\\a\\b.png", "b.png"),
        ("a\x00\r\n\x1b[31mb", "a[31mb"),
        ("", "image"),
        ("..///", "image"),
        ("ü" * 200, "ü" * 80),
    ],
)
def test_shown_name(given: str, shown: str) -> None:
    assert shown_name(given) == shown

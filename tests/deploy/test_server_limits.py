"""The server's limits, what hostile clients meet, and how it starts and stops."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from benchmarks.bad_requests import BadRequest, bad_request, status_of
from benchmarks.loopback import post_form, server
from benchmarks.mutations import mutant

from lentigo.deploy.server import MAX_BODY_BYTES, create_app, serve
from lentigo.errors import ConfigError
from tests.deploy.fake_screener import DIE, FAIL, HANG, SLEEP, FakeScreener
from tests.deploy.running import PROC, children_of, form, is_refusal, picture, running

PROJECT = Path(__file__).resolve().parents[2]
KIND = {"Content-Type": "multipart/form-data; boundary=b"}
HEAD = "POST /api/screen HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
LIMIT_S = 2.0
QUEUE = 2
FAKE_APP = "create_app(None, screener=__import__('tests.deploy.fake_screener', fromlist=['x']).FakeScreener, workers=1)"


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """One worker, a queue of two, and a time limit of two seconds."""
    app = create_app(None, screener=FakeScreener, workers=1, queue=QUEUE, limit_s=LIMIT_S, body_limit_s=3.0)
    with running(app) as client:
        yield client


# ---------------------------------------------------------------- the size of a body


def pieces(size: int) -> Iterator[bytes]:
    """A form's body in pieces, so that it is sent without a length."""
    yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    for _ in range(size // 250_000):
        yield bytes(250_000)


def body_of(size: int) -> bytes:
    """A form of so many bytes with a good picture in it, that zeros follow."""
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + picture()
    tail = b"\r\n--b--\r\n"
    return head + bytes(size - len(head) - len(tail)) + tail


def test_body_at_the_limit_is_read(client: httpx.Client) -> None:
    assert client.post("/api/screen", content=body_of(MAX_BODY_BYTES), headers=KIND).status_code == 200
    is_refusal(client.post("/api/screen", content=body_of(MAX_BODY_BYTES + 1), headers=KIND), 413, "larger than 20 MB")


def test_body_above_the_limit_is_refused_by_its_length(client: httpx.Client) -> None:
    is_refusal(client.post("/api/screen", **form(bytes(MAX_BODY_BYTES))), 413, "larger than 20 MB")


def test_body_above_the_limit_is_refused_while_it_is_read(client: httpx.Client) -> None:
    answer = client.post("/api/screen", content=pieces(22_000_000), headers=KIND)
    is_refusal(answer, 413, "larger than 20 MB")


def test_endless_body_is_refused(client: httpx.Client) -> None:
    """What is read and thrown away has an end; then the client may see the connection end instead of the answer."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for piece in itertools.chain(pieces(0), itertools.repeat(bytes(250_000))):
            sent += len(piece)
            yield piece

    with contextlib.suppress(httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        assert client.post("/api/screen", content=endless(), headers=KIND).status_code == 413
    assert MAX_BODY_BYTES < sent < 5 * MAX_BODY_BYTES  # twice the limit, and up to 40 MB in buffers of the system
    assert client.get("/healthz").status_code == 200


def raw_answer(client: httpx.Client, raw: bytes) -> str:
    """The first answer, up to the end of its JSON or of the connection."""
    answer = b""
    with socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=20) as connection:
        connection.sendall(raw)
        while b"}" not in answer and (more := connection.recv(65536)):
            answer += more
    return answer.decode()


def test_lying_lengths(client: httpx.Client) -> None:
    too_long = f"{HEAD}Content-Length: 30000000\r\nExpect: 100-continue\r\n\r\n"
    assert raw_answer(client, too_long.encode()).startswith("HTTP/1.1 413 ")  # before anything is sent
    short = f"{HEAD}Content-Length: 20\r\n\r\n".encode() + b"--b\r\n" + bytes(500)
    assert raw_answer(client, short).startswith("HTTP/1.1 4")
    both = f"{HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + b"5\r\nhello\r\n0\r\n\r\n"
    assert raw_answer(client, both).startswith("HTTP/1.1 4")


def test_slow_body_is_refused(client: httpx.Client) -> None:
    started = time.monotonic()
    answer = raw_answer(client, f"{HEAD}Content-Length: 1000\r\n\r\n".encode() + b"--b\r\n")
    assert answer.startswith("HTTP/1.1 408 ")
    assert "within 3 s" in answer
    assert time.monotonic() - started < 15


def test_bodies_together_are_bounded() -> None:
    app = create_app(None, screener=FakeScreener, workers=1)
    limits = next(layer for layer in app.user_middleware if "limits" in layer.kwargs).kwargs["limits"]
    with running(app) as client:
        limits.held.now = limits.held.limit - 1000  # as if others were uploading
        answer = client.post("/api/screen", **form(picture() + bytes(2000)))
        is_refusal(answer, 429, "Too many pictures come in at once")
        assert answer.headers["retry-after"] == "2"
        assert limits.held.now == limits.held.limit - 1000
        limits.held.now = 0
        assert client.post("/api/screen", **form(picture())).status_code == 200
        assert limits.held.now == 0


# ---------------------------------------------------------------- time and queue


def test_stuck_picture_is_stopped_and_the_next_is_answered(client: httpx.Client) -> None:
    started = time.monotonic()
    is_refusal(client.post("/api/screen", **form(picture((HANG, 0, 0)))), 503, "took more than 2 s")
    assert LIMIT_S <= time.monotonic() - started < LIMIT_S + 5
    assert client.post("/api/screen", **form(picture())).status_code == 200


@pytest.mark.parametrize(("colour", "code"), [(DIE, 7), (FAIL, 1)])
def test_dead_process_is_replaced(client: httpx.Client, colour: int, code: int) -> None:
    is_refusal(client.post("/api/screen", **form(picture((colour, 0, 0)))), 503, f"ended with code {code}")
    assert client.post("/api/screen", **form(picture())).status_code == 200


def test_fault_of_the_server_is_told_without_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(None, screener=FakeScreener, workers=1)

    async def fault(*_: object) -> None:
        raise RuntimeError("secret words")

    monkeypatch.setattr(app.state.service.pool, "run", fault)
    with running(app) as client:
        answer = client.post("/api/screen", **form(picture()))
        is_refusal(answer, 500, "The server failed on this request")
        assert "secret" not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_full_queue_is_told_and_empties(client: httpx.Client) -> None:
    slow = form(picture((SLEEP, 60, 0)))
    client.post("/api/screen", **form(picture()))  # the process is ready
    with ThreadPoolExecutor(9) as threads:
        answers = list(threads.map(lambda _: client.post("/api/screen", **slow), range(9)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 1 + QUEUE  # more where the machine is slow to send
    refused = next(answer for answer in answers if answer.status_code == 429)
    is_refusal(refused, 429, "The queue is full")
    assert int(refused.headers["retry-after"]) >= 1
    assert client.post("/api/screen", **form(picture())).status_code == 200


# ---------------------------------------------------------------- hostile clients


def test_malformed_uploads_are_refused_and_the_server_lives(client: httpx.Client) -> None:
    wrong, refused = [], 0
    for number in range(80):
        bad = bad_request(np.random.default_rng((7, number)), mutant)
        status = status_of(client.base_url.port or 0, bad)
        refused += 400 <= status < 500
        if not 400 <= status < 500 and not (status == 0 and bad.cut):
            wrong.append((number, bad.name, status))
    assert wrong == []
    assert refused >= 45
    assert client.post("/api/screen", **form(picture())).status_code == 200


def test_schemathesis_finds_nothing(client: httpx.Client, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{client.base_url}/api/openapi.json"]
    result = subprocess.run(
        [*command, "--max-examples", "15", "--seed", "1", "--no-color", "--generation-database", ":memory:"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=tmp_path,  # it keeps notes there
        env=os.environ | {"SCHEMATHESIS_HOOKS": "tests.deploy.schemathesis_pictures", "PYTHONPATH": str(PROJECT)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "3 selected / 3 total" in result.stdout


# ---------------------------------------------------------------- start and stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_finishes_what_runs_and_refuses_what_is_new(number: int) -> None:
    with server(app=FAKE_APP, cwd=PROJECT) as process:
        url = f"http://127.0.0.1:{process.port}"
        answers = []

        def ask() -> None:
            answers.append(httpx.post(f"{url}/api/screen", **form(picture((SLEEP, 250, 0))), timeout=30))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(1.0)
        children = children_of(process.process.pid)
        for child in (*children, process.process.pid):  # as a terminal or a service manager does
            os.kill(child, number)
        assert is_refused_soon(f"{url}/healthz")
        assert answers == []  # it still works on the picture
        asking.join(30)
        assert process.process.wait(20) == 0
        assert [answer.status_code for answer in answers] == [200]
        assert not any(Path(f"/proc/{child}").exists() for child in children)


def is_refused_soon(url: str) -> bool:
    """Whether new connections are refused within a second."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        try:
            httpx.get(url, timeout=5)
        except httpx.TransportError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not PROC.exists(), reason="looks for processes in /proc")
def test_children_end_with_a_killed_server() -> None:
    with server(app=FAKE_APP, cwd=PROJECT) as process:
        assert "server" not in httpx.get(f"http://127.0.0.1:{process.port}/healthz").headers
        children = children_of(process.process.pid)
        assert children
        process.process.kill()
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(Path(f"/proc/{child}").exists() for child in children)


def test_raw_form_of_the_benchmarks_is_good(client: httpx.Client) -> None:
    assert status_of(client.base_url.port or 0, BadRequest("good", post_form(picture()))) == 200


def test_taken_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen at 127.0.0.1 port {port} .*--port"):
            serve(create_app(None, screener=FakeScreener, workers=1), port=port)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers is 0; give 1 or more"),
        ({"queue": -1}, "queue is -1; give 0 or more"),
        ({"limit_s": 0.0}, "limit_s is 0.0; give 0.001 or more"),
        ({"keep": Path("/proc/no/such")}, "keep is /proc/no/such, which cannot be made"),
        ({"allow_hosts": ["https://x.org"]}, "--allow-host is 'https://x.org', which is no host name; give the name"),
        ({"allow_hosts": ["x.org:80"]}, "--allow-host is 'x.org:80', which is no host name; give the name alone"),
        ({"screener": None}, "no model was given"),
    ],
)
def test_options_that_are_not_allowed(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_app(None, **({"screener": FakeScreener} | options))

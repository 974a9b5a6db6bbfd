"""Who may ask the server, by which name; connections that say nothing; a model that is exchanged; what is kept."""

import os
import shutil
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from benchmarks.loopback import post_form
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from lentigo.deploy import server, serving
from lentigo.deploy.guard import is_known
from lentigo.deploy.server import create_app
from tests.deploy.fake_screener import FakeScreener
from tests.deploy.running import children_of, form, is_refusal, picture, running


def app(**options: object) -> FastAPI:
    return create_app(None, **({"screener": FakeScreener, "workers": 1} | options))


# ---------------------------------------------------------------- the server's name


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8000", "192.168.1.7", "[::1]:8000", "[fe80::1]", "localhost", "LOCALHOST:80", "mole.localhost", "",
     "screening.example.org", "screening.example.org.:443", "Screening.Example.org"],
)  # fmt: skip
def test_known_names(host: str) -> None:
    assert is_known(host, frozenset({"screening.example.org"}))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "evillocalhost", "[::1",
     "x.screening.example.org", "[evil.example]", "127.0.0.1x", "/", "@", "a b"],
)  # fmt: skip
def test_unknown_names(host: str) -> None:
    assert not is_known(host, frozenset({"screening.example.org"}))


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_any_host_header_is_judged(host: str) -> None:
    assert is_known(host, frozenset()) in (True, False)


def test_page_of_another_name_learns_nothing() -> None:
    """DNS rebinding: the browser believes that evil.example is here, and that its page may read what it fetches."""
    with running(app(allow_hosts=["Screening.example.org"])) as client:
        for method, path in (("GET", "/"), ("GET", "/api/model"), ("GET", "/healthz"), ("GET", "/model/model.json")):
            answer = client.request(method, path, headers={"Host": "evil.example:8000"})
            is_refusal(answer, 421, "This server is not known as 'evil.example:8000'")
            assert "--allow-host NAME" in answer.text
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        answer = client.post("/api/screen", headers={"Host": "evil.example"}, **form(picture()))
        is_refusal(answer, 421, "not known as")
        good = {"Host": "screening.example.org"}
        assert client.post("/api/screen", headers=good, **form(picture())).status_code == 200
        assert client.post("/api/screen", **form(picture())).status_code == 200


# ---------------------------------------------------------------- connections


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that waits half a second for a head and takes five connections."""
    monkeypatch.setattr(serving, "HEAD_LIMIT_S", 0.5)
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 5)
    with served_by(app(), monkeypatch) as (_, port):
        yield port


@contextmanager
def served_by(made: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, int]]:
    """Uvicorn's server as `serve` runs it, and its port."""
    ready = threading.Event()
    servers: list[serving._Server] = []
    run = serving._Server.run
    monkeypatch.setattr(serving._Server, "run", lambda self, **named: (servers.append(self), run(self, **named)))
    urls: list[str] = []

    def told(url: str) -> None:
        urls.append(url)
        ready.set()

    thread = threading.Thread(target=serving.serve, args=(made,), kwargs={"port": 0, "ready": told})
    thread.start()
    assert ready.wait(60)
    try:
        yield servers[0], int(urls[0].rsplit(":", 1)[1].strip("/"))
    finally:
        servers[0].should_exit = True
        thread.join(30)


def ended_after(connection: socket.socket) -> float:
    """Seconds until the server closes it."""
    began = time.monotonic()
    connection.settimeout(10)
    while connection.recv(4096):
        pass
    return time.monotonic() - began


def test_silent_and_slow_connections_are_closed(served: int) -> None:
    with socket.create_connection(("127.0.0.1", served)) as silent:
        assert 0.3 < ended_after(silent) < 3
    with socket.create_connection(("127.0.0.1", served)) as slow:
        began = time.monotonic()
        try:
            for letter in "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + "a" * 1000:
                slow.sendall(letter.encode())
                time.sleep(0.02)
        except OSError:
            pass
        assert 0.3 < time.monotonic() - began < 3
    with socket.create_connection(("127.0.0.1", served)) as second:  # the same for a request after another
        second.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he")
        second.settimeout(10)
        assert second.recv(4096).startswith(b"HTTP/1.1 200")
        second.sendall(b"alt")
        assert 0.3 < ended_after(second) < 3


def test_a_slow_answer_is_no_slow_head(served: int) -> None:
    """A picture that takes longer than a head may, and a connection that is used again behind its time."""
    ask = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served), timeout=10) as connection:
        for request in (post_form(picture((252, 120, 0))), ask):  # the first takes 1.2 s
            connection.sendall(request)
            answer = connection.recv(65536)
            while b"}" not in answer:
                answer += connection.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.7)


def test_connections_have_a_limit(served: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_LIMIT_S", 60.0)
    held = [socket.create_connection(("127.0.0.1", served)) for _ in range(5)]
    with socket.create_connection(("127.0.0.1", served)) as more:
        assert ended_after(more) < 5
    for connection in held:
        connection.close()
    wait_for(lambda: is_served(f"http://127.0.0.1:{served}/healthz"))


@pytest.mark.parametrize("ends", [False, True])
def test_a_client_that_takes_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool) -> None:
    """While the answer waits for it, and when the server has ended and only the system's buffer is left."""
    page = tmp_path / "page"
    (page / "assets").mkdir(parents=True)
    (page / "index.html").write_text("page")
    (page / "assets" / "large-1.bin").write_bytes(os.urandom(60_000_000))
    monkeypatch.setattr(serving, "STALL_LIMIT_S", 0.5)
    with served_by(app(page=page), monkeypatch) as (server, port):
        last = "Connection: close\r\n" if ends else ""
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", port))
            client.sendall(f"GET /assets/large-1.bin HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode())
            wait_for(lambda: len(server.server_state.connections) == 1)
            held = min(connection.transport.get_write_buffer_size() for connection in server.server_state.connections)
            assert held < 1_000_000  # not the 60 MB
            wait_for(lambda: not server.server_state.connections)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:  # a little, again and again, is enough
            slow.sendall(f"GET /assets/large-1.bin HTTP/1.1\r\nHost: localhost\r\n{last}\r\n".encode())
            for _ in range(15):
                time.sleep(0.1)
                assert slow.recv(1_000_000)


@pytest.mark.skipif(sys.platform != "linux", reason="the size of the system's buffers is Linux's")
def test_the_last_bytes_of_an_answer_may_be_the_ones_nobody_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has ended the connection while writing was paused, and it is no longer: a little is left."""
    made = app()
    made.add_route("/whole", lambda _: Response(os.urandom(200_000)), methods=["GET"])
    listen = serving._listen

    def with_small_buffers(host: str, port: int) -> socket.socket:
        listener = listen(host, port)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return listener

    monkeypatch.setattr(serving, "_listen", with_small_buffers)
    monkeypatch.setattr(serving, "STALL_LIMIT_S", 0.5)
    with served_by(made, monkeypatch) as (server, port), socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(b"GET /whole HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        wait_for(lambda: len(server.server_state.connections) == 1)
        (connection,) = server.server_state.connections
        left = connection.transport.get_write_buffer_size
        while not connection.transport.is_closing() or left() > 16_384:  # at which writing goes on
            assert client.recv(200)
        time.sleep(0.2)
        assert 0 < left() <= 16_384  # more than the system's own buffers take
        wait_for(lambda: not server.server_state.connections)


def is_served(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---------------------------------------------------------------- an exchanged model, and what is kept


def test_exchanged_model_is_not_used(model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What /api/model says is of the old one; a process that starts again must not judge by the new one either."""
    path = tmp_path / "model.onnx"
    shutil.copy(model / "model.onnx", path)
    made = create_app(path, workers=1)
    with running(made) as client:
        assert client.get("/model/model.onnx").content == path.read_bytes()
        path.write_bytes(path.read_bytes() + b"x")
        is_refusal(client.get("/model/model.onnx"), 503, "The model is being changed")
        assert client.post("/api/screen", **form(picture())).status_code == 200  # by the process that has the old one
        (child,) = children_of(os.getpid())
        os.kill(child, signal.SIGKILL)
        client.post("/api/screen", **form(picture()))  # may still find the pipe of the dead one
        is_refusal(client.post("/api/screen", **form(picture())), 503, "The server cannot work on pictures now")
    assert caplog.text.count(f"{path} is not the file it was when the server started; start the server again") >= 2


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX modes")
def test_kept_pictures_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir(mode=0o755)
    with running(app(keep=folder)) as client:
        assert client.post("/api/screen", **form(picture())).status_code == 200
    kept = list(folder.iterdir())
    assert {path.suffix for path in kept} == {".png", ".json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}


def test_a_full_disk_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server.shutil, "disk_usage", lambda _: SimpleNamespace(free=499_999_999))
    with running(app(keep=tmp_path / "kept")) as client:
        is_refusal(client.post("/api/screen", **form(picture())), 503, "cannot be stored")
    assert "less than 500 MB of free space" in caplog.text
    assert list((tmp_path / "kept").iterdir()) == []

"""A server on a free port of this machine, in a thread, for the tests; and pictures to send it."""

import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from PIL import Image

PROC = Path("/proc")
NOTICE = "Research software, not a medical device."


@contextmanager
def running(app: FastAPI) -> Iterator[httpx.Client]:
    """A client of the running app."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=5)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        try:
            port = listener.getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(60)


def picture(colour: tuple[int, int, int] = (100, 100, 100), kind: str = "PNG", **options: Any) -> bytes:
    """A file of 64 x 48 pixels of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, kind, **options)
    return file.getvalue()


def form(data: bytes, name: str = "mole.png") -> dict[str, Any]:
    """The arguments of a good request with these bytes."""
    return {"files": {"image": (name, data)}}


def is_refusal(answer: httpx.Response, status: int, words: str) -> None:
    """One sentence as JSON, with the notice and all security headers."""
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) - {"demo"} == {"error", "notice"}
    assert words in content["error"]
    assert content["error"].endswith(".")
    assert content["notice"] == NOTICE
    assert answer.headers["x-content-type-options"] == "nosniff"


def children_of(number: int) -> list[int]:
    """The processes that a process has spawned to screen, by their command line; none where there is no /proc."""
    found = []
    for entry in PROC.iterdir() if PROC.exists() else ():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_text()
            except OSError:
                continue
            if parent == number and "spawn_main" in words:
                found.append(int(entry.name))
    return found

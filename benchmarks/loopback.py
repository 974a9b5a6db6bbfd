"""A lentigo server in a process of its own on this machine, and raw HTTP/1.1 to it: for benchmarks and tests."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

START_LIMIT_S = 60.0
SERVE = """
import sys
from pathlib import Path
from lentigo.deploy.server import create_app, serve
serve({app}, port=0, ready=lambda url: print(url, flush=True))
"""
OF_MODEL = "create_app(Path(sys.argv[1]))"


class Server:
    """A running server and what it holds of the machine."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process, self.port = process, int(urlsplit(url).port or 0)

    def memory_mb(self) -> float:
        """Resident memory of the server and its processes; NaN where there is no /proc."""
        if not Path("/proc/self/statm").exists():
            return float("nan")
        page = os.sysconf("SC_PAGE_SIZE")
        return sum(_pages(number) for number in _family(self.process.pid)) * page / 1e6

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@contextmanager
def server(
    *arguments: str | Path, app: str = OF_MODEL, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Start one, and kill it at the end where it still runs.

    Args:
        arguments: of the process; by default the path of a model.
        app: Python that makes the app.
        cwd: folder to run in.
        environment: variables; default those of this process.
    """
    command = [sys.executable, "-c", SERVE.format(app=app), *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd, env=environment)
    assert process.stdout
    try:
        if not select.select([process.stdout], [], [], START_LIMIT_S)[0]:
            raise TimeoutError(f"the server did not start within {START_LIMIT_S:g} s")
        url = process.stdout.readline()
        if not url.startswith("http"):
            raise RuntimeError(f"the server ended with code {process.wait(5)}")
        yield Server(process, url.strip())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def post_form(data: bytes, *, path: str = "/api/screen", name: str = "mole.jpg") -> bytes:
    """A whole HTTP request that sends one picture."""
    boundary = "lentigo-7d1f5a"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
    body = head.encode() + b"Content-Type: image/jpeg\r\n\r\n" + data + f"\r\n--{boundary}--\r\n".encode()
    return request("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


def request(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """A whole HTTP request; Content-Length is added where it is not given."""
    lines = {"Host": "127.0.0.1", "Content-Length": str(len(body))} | (headers or {})
    head = "".join(f"{key}: {value}\r\n" for key, value in lines.items() if value is not None)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def _family(number: int) -> list[int]:
    """A process and all below it."""
    found, parents = [number], {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # ended meanwhile
                continue
    for parent in found:  # grows while it is walked
        found += [child for child, of in parents.items() if of == parent]
    return found


def _pages(number: int) -> int:
    try:
        return int(Path(f"/proc/{number}/statm").read_text().split()[1])
    except OSError:
        return 0

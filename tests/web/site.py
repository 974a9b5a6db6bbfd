"""The built page on a free port of this machine, from any folder, as a plain static host would serve it."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

BUILT = Path(__file__).resolve().parents[2] / "src" / "lentigo" / "deploy" / "web"
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}
Trouble = Literal["stalled", "cut", "stalled halfway", "slow"]
SLOW_S, SLOW_PIECES = 6.0, 12  # longer than a visit waits for a newer model than the kept one


class _Handler(SimpleHTTPRequestHandler):
    """Files named in `troubles` are never answered, end halfway, stop there without end, or come slowly but whole."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES | {".webmanifest": "application/manifest+json"}

    def __init__(self, *args: Any, troubles: dict[str, Trouble], ended: threading.Event, **options: Any) -> None:
        self.troubles, self.ended = troubles, ended
        super().__init__(*args, **options)

    def do_GET(self) -> None:
        trouble = self.troubles.get(Path(self.translate_path(self.path)).name)
        if trouble is None:
            super().do_GET()
            return
        self.close_connection = True
        if trouble != "stalled" and (file := self.send_head()):
            with file:
                data = file.read()
            self._send(data, trouble)
        if trouble.startswith("stalled"):
            self.ended.wait()

    def _send(self, data: bytes, trouble: Trouble) -> None:
        if trouble != "slow":
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            return
        step = -(-len(data) // SLOW_PIECES)
        for at in range(0, len(data), step):
            self.wfile.write(data[at : at + step])
            self.wfile.flush()
            self.ended.wait(SLOW_S / SLOW_PIECES)

    def send_head(self) -> Any:
        """Without "not modified", which this server tells by whole seconds: tests change files faster than that."""
        del self.headers["If-Modified-Since"]
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: what was asked for is seen in the browser."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Quiet: a tab that is closed hangs up, and what goes wrong otherwise is seen in the browser."""


def copy_page(folder: Path) -> None:
    shutil.copytree(BUILT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model"))


@contextmanager
def served(folder: Path, troubles: dict[str, Trouble] | None = None) -> Iterator[str]:
    """The address of `folder`, until the block ends. `troubles`, by the files' names, may change meanwhile."""
    ended = threading.Event()
    handler = partial(_Handler, directory=str(folder), troubles={} if troubles is None else troubles, ended=ended)
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()

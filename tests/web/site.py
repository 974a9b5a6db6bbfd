"""The built page on a free port of this machine, from any folder, as a plain static host would serve it."""

import functools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUILT = Path(__file__).resolve().parents[2] / "src" / "lentigo" / "deploy" / "web"
TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES | {".webmanifest": "application/manifest+json"}

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
def served(folder: Path) -> Iterator[str]:
    """The address of `folder`, until the block ends."""
    server = _Server(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

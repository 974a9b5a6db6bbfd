"""The page's files over HTTP: each has a route of its own, so that no path of a client's reaches the disk.

Files are read when the app is made and compressed when they are first asked for; a browser that has one asks whether it
has changed and is told so in a few bytes.
"""

import gzip
import hashlib
import mimetypes
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse

PAGE_MISSING = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>lentigo</title>
<h1>lentigo</h1>
<p>The page has not been built. Build it with <code>make web</code> and start the server again.</p>
<p>What programs can ask of this server stands in <a href="/api/docs">/api/docs</a>.</p>
<p><strong>Research software, not a medical device. See a doctor when in doubt.</strong></p>
</html>
"""
TYPES = {  # mimetypes asks the machine, and machines differ
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".mjs": "text/javascript",
    ".onnx": "application/octet-stream",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
PACKED = {".gz", ".png", ".woff2", ".ico", ".onnx"}  # hardly smaller when compressed again
_PIECE = 64 * 1024
FOREVER = "public, max-age=31536000, immutable"  # for names that hold a hash of what is in the file


@dataclass(frozen=True)
class Asset:
    """One file of the page."""

    content: bytes
    suffix: str
    hashed_name: bool = False

    async def answer(self, request: Request) -> Response:
        """The file, compressed where the client can take it, or only that it has not changed."""
        headers = {"ETag": self.etag, "Cache-Control": FOREVER if self.hashed_name else "no-cache"}
        if self.suffix not in PACKED:
            headers["Vary"] = "Accept-Encoding"
        if unchanged(request, self.etag):
            return Response(status_code=304, headers=headers)
        content = self.content
        if self.suffix not in PACKED and "gzip" in request.headers.get("accept-encoding", ""):
            content = await run_in_threadpool(lambda: self.compressed)
            headers["Content-Encoding"] = "gzip"
        if len(content) <= _PIECE:
            return Response(content, headers=headers, media_type=media_type(self.suffix))
        headers["Content-Length"] = str(len(content))
        return StreamingResponse(_pieces(content), headers=headers, media_type=media_type(self.suffix))

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes:
        return gzip.compress(self.content, 6, mtime=0)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    """So that a client which reads slowly holds no copy of the whole in the server."""
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]


def page_assets(folder: Path) -> dict[str, Asset]:
    """The files of a built page by their path in URLs, `/` for index.html; or a page that says how to build it."""
    if not (folder / "index.html").is_file():
        return {"/": Asset(PAGE_MISSING.encode(), ".html")}
    assets = {f"/{name}": Asset(path.read_bytes(), path.suffix, _is_hashed(name)) for name, path in _files(folder)}
    return assets | {"/": assets["/index.html"]}


def file_answer(request: Request, path: Path, sha256: str) -> Response:
    """A large file from the disk, or only that it has not changed."""
    headers = {"ETag": f'"{sha256[:32]}"', "Cache-Control": "no-cache"}
    if unchanged(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type=media_type(path.suffix))


def unchanged(request: Request, etag: str) -> bool:
    """Whether the client has this version of a file."""
    return etag in (known.strip().removeprefix("W/") for known in request.headers.get("if-none-match", "").split(","))


def media_type(suffix: str) -> str:
    """The media type of a file name's ending."""
    return TYPES.get(suffix) or mimetypes.types_map.get(suffix, "application/octet-stream")


def _files(folder: Path) -> Iterable[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in name.split("/")):
            yield name, path


def _is_hashed(name: str) -> bool:
    """Vite puts a hash into the names of what it writes to assets/."""
    return name.startswith("assets/")

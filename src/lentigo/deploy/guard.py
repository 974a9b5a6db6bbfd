"""What stands between the network and every route: limits on what comes in, and headers on all that goes out.

A body is counted while it is read, so that a Content-Length that is absent or wrong changes nothing. It is refused
above `max_body_bytes` (413), when it takes longer than `body_limit_s` (408), and when the bodies of all requests
together would be more than `HELD_BODIES` of the largest (429): that bounds the server's memory, however many come.

A request must name the server by an address, as localhost, or by a name that its owner allowed (421): another site's
page can have its own name lead here (DNS rebinding), and a browser would then take that page for one of this server's.

An answer to a request whose body nobody has read waits until that body is in, within limits, and throws it away: a
client that is still sending, a browser for one, would otherwise see a broken connection and not the answer. Where more
comes than that, the connection ends with the answer, or it would be read for ever.
"""

import asyncio
import ipaddress
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HELD_BODIES = 8
DRAIN_LIMIT_S = 5.0

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "style-src 'self'",
        "worker-src 'self' blob:",
        "manifest-src 'self'",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",  # these two let the page's WebAssembly use threads
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
}


@dataclass
class Held:
    """Bytes of bodies that the server holds now."""

    limit: int
    now: int = 0


@dataclass(frozen=True)
class Limits:
    """What a body may be."""

    max_body_bytes: int
    body_limit_s: float
    held: Held = field(repr=False)


class Guard:
    """ASGI middleware; see the head of this file."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        headers: Mapping[str, str],
        names: frozenset[str],
        refusal: Callable[[int, str], Response],
    ) -> None:
        """
        Args:
            names: of this server, beside addresses and localhost.
            refusal: makes the answer to a request that no route sees, of a status and a sentence.
        """
        self.app, self.limits, self.headers = app, limits, headers
        self.names, self.refusal = names, refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(scope, receive, self.limits)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                await body.drain()
                body.release()
                headers = MutableHeaders(raw=message["headers"])
                add_headers(headers, self.headers, scope["path"])
                if body.unread:
                    headers["Connection"] = "close"
            await send(message)

        app = self.app
        host = Headers(scope=scope).get("host", "")
        if not is_known(host, self.names):
            app = self.refusal(421, _unknown(host))
        try:
            await app(scope, body.receive, guarded)
        finally:
            body.release()


def is_known(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header names this server: an address, which no other site's name can be; localhost; or a name.

    A request without one is no browser's.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:  # half an IPv6 address
        return False
    if not host or name in names or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _unknown(host: str) -> str:
    shown = "".join(letter for letter in host if letter.isprintable())[:80]
    return (
        f"This server is not known as {shown!r}; ask it by its address, or have its owner start it with "
        "`--allow-host NAME`."
    )


def add_headers(headers: MutableHeaders, more: Mapping[str, str], path: str) -> None:
    """Put security headers into an answer's; answers of the API are never stored by browsers or proxies."""
    headers.update(more)
    if path.startswith("/api/"):
        headers["Cache-Control"] = "no-store"


class _Body:
    """The body of one request while it comes in."""

    def __init__(self, scope: Scope, receive: Receive, limits: Limits) -> None:
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        self._declared = int(length) if length.isascii() and length.isdigit() else None
        self._announced = bool(self._declared) or "transfer-encoding" in headers
        self._waits = "expect" in headers  # the client sends nothing until the server reads
        self._finished, self._slow = False, False
        self._receive, self._limits = receive, limits
        self._read, self._held = 0, 0
        self._until = time.monotonic() + limits.body_limit_s

    @property
    def unread(self) -> bool:
        """Whether more of it will come."""
        return self._announced and not self._finished

    async def receive(self) -> Message:
        """The next piece, or HTTPException where it is too much."""
        if self._finished:
            return await self._receive()  # waits until the client has gone
        if (self._declared or 0) > self._limits.max_body_bytes:
            raise self._too_large()
        message = await self._next(self._until)
        if self._read > self._limits.max_body_bytes:
            raise self._too_large()
        self._hold(len(message.get("body", b"")))
        return message

    async def drain(self) -> None:
        """Read and throw away what is left, at most as much as a body may be and a few seconds long."""
        until, most = time.monotonic() + DRAIN_LIMIT_S, self._read + self._limits.max_body_bytes
        if not self._announced or self._slow or (self._waits and not self._read):
            return
        while not self._finished and self._read < most:
            try:
                await self._next(until)
            except HTTPException:  # too slow; the answer goes out all the same
                return

    def release(self) -> None:
        """The request is over, or answered, and with it what it held."""
        self._limits.held.now -= self._held
        self._held = 0

    async def _next(self, until: float) -> Message:
        try:
            async with asyncio.timeout(max(until - time.monotonic(), 0)):
                message = await self._receive()
        except TimeoutError as error:
            self._slow = True
            limit = f"{self._limits.body_limit_s:g} s"
            raise HTTPException(408, f"The request did not come in within {limit}; send a smaller picture.") from error
        self._read += len(message.get("body", b""))
        self._finished = not message.get("more_body", False)  # also when the client has gone
        return message

    def _hold(self, size: int) -> None:
        held = self._limits.held
        if held.now + size > held.limit:
            raise HTTPException(429, "Too many pictures come in at once; try again.", headers={"Retry-After": "2"})
        held.now += size
        self._held += size

    def _too_large(self) -> HTTPException:
        limit = f"{math.floor(self._limits.max_body_bytes / 1e4) / 100:g} MB"
        return HTTPException(413, f"The request is larger than {limit}, the limit; save the picture smaller.")

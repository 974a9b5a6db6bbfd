"""Run an app with uvicorn until it is told to stop; then what runs is finished and what is new is refused.

Uvicorn waits for ever for the head of a request and for a client to read its answer, and takes as many connections as
come; here all three have limits, so that clients who say nothing or take nothing do not keep others out.
"""

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from lentigo.errors import ConfigError

KEEP_ALIVE_S = 30  # of a connection that nobody uses
HEAD_LIMIT_S = 15.0  # from a connection, or from the first byte of its next request, to the end of the request's head
STALL_LIMIT_S = 20.0  # in which a client takes nothing of an answer that waits for it
UNSENT_BYTES = 65536  # of one connection that wait in the system
MAX_CONNECTIONS = 400  # each may hold a file open besides, and a process may usually have 1,024
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    app: FastAPI, *, host: str = "127.0.0.1", port: int = 8000, ready: Callable[[str], None] | None = None
) -> None:
    """Serve `app` until SIGINT or SIGTERM; a second SIGINT stops at once.

    Args:
        app: from `create_app`.
        host: address to listen at; 127.0.0.1 is reached from this machine only.
        port: 0 takes a free one.
        ready: called with the page's URL when requests are answered.
    Raises: ConfigError: there is no such address here, or the port is taken.
    """
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # else a line for every malformed form
    # A picture may wait and work for limit_s each; then the connection is cut.
    patience_s = int(2 * app.state.service.pool.limit_s) + 5
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_level="error",  # not a line for every malformed request
        access_log=False,  # who asked for what is nobody's business
        server_header=False,
        proxy_headers=False,  # the client's address is not used
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=patience_s,
    )
    with closing(_listen(host, port)) as listener:
        _Server(config, ready or (lambda _: None)).run(sockets=[listener])


class Connection(H11Protocol):
    """One connection, closed where a head takes too long, nobody takes the answer, or there are too many."""

    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self.cycle
        idle = before is None or before.response_complete
        if idle and self._head_timer is None:
            self._wait_for_head()
        super().data_received(data)
        if self.cycle is not before:
            self._stop_head_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_timer()
        self._watch_end()  # its last bytes may be the ones that nobody takes

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_end()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch_end()

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_LIMIT_S, self._no_head)

    def _no_head(self) -> None:
        self.transport.close()
        self._watch_end()

    def _watch_end(self) -> None:
        """A transport that closes sends first what it still has, however long nobody takes it."""
        if self.transport.is_closing():
            self._watch_writing()

    def _watch_writing(self) -> None:
        self._stop_write_timer()
        left = self.transport.get_write_buffer_size()
        if left:
            self._write_timer = self.loop.call_later(STALL_LIMIT_S, self._check_writing, left)

    def _check_writing(self, before: int) -> None:
        if self.transport.get_write_buffer_size() >= before:  # nothing is added meanwhile, since writing is paused
            self.transport.abort()
        else:
            self._watch_writing()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if sockets and not self.should_exit:
            self._ready(_url(sockets[0]))

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, which raises the signal again at the end; here a stop that was asked for is a success."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may listen to signals
            return
        before = {number: signal.signal(number, self.handle_exit) for number in STOP_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # else megabytes wait in the system, and slow looks like stalled
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        return listener
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot listen at {host} port {port} ({error}); choose another --host or --port") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"

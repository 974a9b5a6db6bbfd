"""A bounded pool of processes: jobs in, replies out, and none of it can hang, pile up or take the server with it.

Why processes and not threads: a decoder or a network that hangs, or eats the memory, inside C code cannot be stopped in
a thread. A process can: each job has a time limit, after which its process is killed and a new one takes its place.
A thread of the pool talks to each process, and at most `workers` + `queue` jobs are inside; one more is refused at
once. A job that waited in the queue for longer than the time limit is refused and never begun, so that a server that
fell behind does not work for clients that have gone.

Messages are bytes: JSON and one blob each way. The processes are spawned, not forked: a fork would copy the locks of
the server's threads. They ignore SIGINT and SIGTERM, which a terminal or a service manager sends to the whole group,
since the server lets them finish; they end when the server does, however it ends, because their pipe closes. They are
mute unless asked otherwise: decoders write to standard error what they please, and a traceback may name a file.
"""

import asyncio
import atexit
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from queue import SimpleQueue
from typing import Any

from lentigo.errors import LentigoError

START_LIMIT_S = 60.0  # to import numpy and onnxruntime and to read a model; 0.5 s were seen
STOP_LIMIT_S = 2.0  # for a process whose pipe is closed to end by itself

_LOG = logging.getLogger(__name__)
Blob = bytes | bytearray
Reply = tuple[dict[str, Any], bytes]
Answer = Callable[[dict[str, Any], bytes], Reply]


class QueueFullError(LentigoError):
    """All workers are busy and the queue is full, or a job waited in it for too long."""


class TimeLimitError(LentigoError):
    """A job was stopped at its time limit."""


class WorkerError(LentigoError):
    """A worker could not be started, or ended in the middle of a job."""


class Pool:
    """Processes that answer jobs; it starts with `start`, or by itself with the first job."""

    def __init__(
        self, make_answer: Callable[[], Answer], *, workers: int, queue: int, limit_s: float, quiet: bool = True
    ) -> None:
        """
        Args:
            make_answer: called once in every process, in which its modules are imported anew; makes what answers jobs.
            workers: number of processes.
            queue: jobs that may wait while all processes work.
            limit_s: seconds that a job may wait, and that it may then take; a process that must be started first has
                `START_LIMIT_S` for that.
            quiet: what the processes write to standard error is lost.
        """
        self.limit_s, self.size = limit_s, workers
        self._most = workers + queue
        self._inside = 0
        self._lock = threading.Lock()
        self._workers = [_Worker(make_answer, quiet=quiet) for _ in range(workers)]
        self._idle: SimpleQueue[_Worker] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="screen")

    @property
    def full(self) -> bool:
        """Whether a job would be refused now."""
        return self._inside >= self._most

    def start(self) -> None:
        """Start all processes at once and wait until they are ready.

        Raises: WorkerError: one did not get so far.
        """
        atexit.register(self._kill)  # before multiprocessing's own, which waits for children that ignore SIGTERM
        for done in [self._threads.submit(worker.ensure) for worker in self._workers]:
            done.result()

    def stop(self) -> None:
        """Let what is inside finish, then end the processes; further jobs are refused."""
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.end()
        atexit.unregister(self._kill)

    async def run(self, job: dict[str, Any], blob: Blob) -> Reply:
        """What a process answers to the job.

        Raises: QueueFullError, TimeLimitError, WorkerError.
        """
        with self._lock:
            if self.full:
                raise QueueFullError("The queue is full; try again in a moment.")
            self._inside += 1
        try:
            future = self._threads.submit(self._work, job, blob, time.monotonic())
        except RuntimeError as error:  # after `stop`
            self._leave(None)
            raise QueueFullError("The server is stopping; try again when it has started again.") from error
        future.add_done_callback(self._leave)  # also where the client has gone and the job is called off
        return await asyncio.wrap_future(future)

    def _leave(self, _: Future[Reply] | None) -> None:
        with self._lock:
            self._inside -= 1

    def _work(self, job: dict[str, Any], blob: Blob, came: float) -> Reply:
        if time.monotonic() - came > self.limit_s:
            raise QueueFullError(f"The picture waited for more than {self.limit_s:g} s; try again in a moment.")
        worker = self._idle.get()
        try:
            return worker.ask(job, blob, self.limit_s)
        finally:
            self._idle.put(worker)

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill()


class _Worker:
    """One process, started again when it is needed and gone; used by one thread at a time."""

    def __init__(self, make_answer: Callable[[], Answer], *, quiet: bool) -> None:
        self._make_answer, self._quiet = make_answer, quiet
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None

    def ask(self, job: dict[str, Any], blob: Blob, limit_s: float) -> Reply:
        pipe = self.ensure()
        with _Alarm(limit_s, self._signal_kill) as alarm:
            try:
                pipe.send_bytes(json.dumps(job).encode())
                pipe.send_bytes(blob)
                reply = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
            except (EOFError, OSError) as error:
                alarm.stop()
                code = self.kill(patience_s=STOP_LIMIT_S)
                if alarm.rang:
                    raise TimeLimitError(f"The picture took more than {limit_s:g} s; send a smaller one.") from error
                _LOG.error("a process ended with code %s at its work; `--debug` shows what it says", code)
                raise WorkerError(f"The process that worked on the picture ended with code {code}.") from error
        if alarm.rang:  # just behind the reply, which counts
            self.kill()
        return reply

    def ensure(self) -> Connection:
        """The pipe to a living process, that has made what answers."""
        if self._pipe is not None and self._process is not None and self._process.is_alive():
            return self._pipe
        self.kill()
        pipe = self._spawn()
        with _Alarm(START_LIMIT_S, self._signal_kill):
            try:
                wrong = pipe.recv_bytes().decode()
            except (EOFError, OSError):
                code = self.kill(patience_s=STOP_LIMIT_S)
                wrong = f"it ended with code {code}; `--debug` shows what it says"
        if wrong:
            self.kill(patience_s=STOP_LIMIT_S)
            raise _no_process(wrong)
        return pipe

    def _spawn(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        try:
            ours, theirs = context.Pipe()
        except OSError as error:  # no more descriptors
            raise _no_process(str(error)) from error
        self._pipe = ours
        self._process = context.Process(target=_live, args=(theirs, self._make_answer, self._quiet), daemon=True)
        try:
            self._process.start()
        except OSError as error:  # no memory, or no more processes
            self._process = None
            self.kill()
            raise _no_process(str(error)) from error
        finally:
            theirs.close()
        return ours

    def end(self) -> None:
        """Close the pipe, upon which an idle process ends."""
        self.kill(patience_s=STOP_LIMIT_S)

    def kill(self, patience_s: float = 0.0) -> int | None:
        """End the process, if there is one, and if it has not ended by itself by then; its exit code."""
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()
        if process is None:
            return None
        process.join(patience_s)
        process.kill()
        process.join()
        code = process.exitcode
        process.close()
        return code

    def _signal_kill(self) -> None:
        """From the alarm's thread: the pipe breaks, and the thread that waits at it cleans up."""
        if (process := self._process) is not None:
            process.kill()


class _Alarm:
    """Calls `ring` from another thread after some seconds, unless the block ends before."""

    def __init__(self, seconds: float, ring: Callable[[], None]) -> None:
        self.rang = False
        self._ring = ring
        self._timer = threading.Timer(seconds, self._call)
        self._timer.daemon = True

    def __enter__(self) -> "_Alarm":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """When this returns, `ring` has been called or never will be."""
        self._timer.cancel()
        self._timer.join()

    def _call(self) -> None:
        self.rang = True
        self._ring()


def _no_process(why: str) -> WorkerError:
    """The reason is for the log: it may name paths of this machine."""
    _LOG.error("a process that works on pictures cannot be started: %s", why)
    return WorkerError("The server cannot work on pictures now; its log says why.")


def _live(pipe: Connection, make_answer: Callable[[], Answer], quiet: bool) -> None:
    """What a process does: answer until the pipe closes. Its first message is empty, or says why there is no other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if quiet:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)  # C code's words too
        os.close(nowhere)
    try:
        answer = make_answer()
    except LentigoError as error:
        pipe.send_bytes(str(error).encode())
        return
    try:
        pipe.send_bytes(b"")
        while True:
            job, blob = json.loads(pipe.recv_bytes()), pipe.recv_bytes()
            reply, result = answer(job, blob)
            del blob  # up to 20 MB that would be held until the next job
            pipe.send_bytes(json.dumps(reply).encode())
            pipe.send_bytes(result)
    except (EOFError, ConnectionError):  # the server has gone, or wants no more
        return

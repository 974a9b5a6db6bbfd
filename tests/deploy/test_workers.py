"""The pool alone: order, limits and what becomes of its processes."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from lentigo.deploy.workers import Pool, QueueFullError, TimeLimitError, WorkerError
from tests.deploy.fake_screener import make_echo, make_nothing, make_refusal


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool(make_echo, workers=1, queue=3, limit_s=1.0)
    pool.start()
    yield pool
    pool.stop()


def outcomes(pool: Pool, *sleeps_s: float) -> list[object]:
    """What becomes of jobs that come at once."""

    async def together() -> list[object]:
        jobs = [pool.run({"sleep_s": seconds}, b"") for seconds in sleeps_s]
        return await asyncio.gather(*jobs, return_exceptions=True)

    return asyncio.run(together())


def test_reply_holds_what_was_sent(pool: Pool) -> None:
    blob = os.urandom(3_000_000)
    reply, back = asyncio.run(pool.run({"name": "ü"}, blob))
    assert reply["name"] == "ü"
    assert back == blob


def test_no_more_than_workers_and_queue_are_inside(pool: Pool) -> None:
    found = outcomes(pool, *[0.1] * 6)
    assert [isinstance(one, tuple) for one in found] == [True] * 4 + [False] * 2
    assert all(isinstance(one, QueueFullError) for one in found[4:])
    assert not pool.full


def test_job_that_waited_too_long_is_not_begun(pool: Pool) -> None:
    found = outcomes(pool, 0.6, 0.6, 0.1)  # the third would begin after 1.2 s
    assert isinstance(found[0], tuple)
    assert isinstance(found[2], QueueFullError)
    assert "waited for more than 1 s" in str(found[2])


def test_process_is_replaced_after_its_time_limit(pool: Pool) -> None:
    first = asyncio.run(pool.run({}, b""))[0]["pid"]
    started = time.monotonic()
    assert isinstance(outcomes(pool, 60.0)[0], TimeLimitError)
    assert time.monotonic() - started < 3
    assert not Path(f"/proc/{first}").exists() or not Path("/proc/self").exists()
    assert asyncio.run(pool.run({}, b""))[0]["pid"] != first


def test_cancelled_job_leaves_the_queue(pool: Pool) -> None:
    async def cancel() -> None:
        running = asyncio.ensure_future(pool.run({"sleep_s": 0.3}, b""))
        waiting = asyncio.ensure_future(pool.run({"sleep_s": 30.0}, b""))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await running

    asyncio.run(cancel())
    assert isinstance(outcomes(pool, *[0.0] * 4)[3], tuple)


@pytest.mark.parametrize(
    ("make", "why"), [(make_nothing, "it ended with code 5"), (make_refusal, "m.onnx is not the file it was")]
)
def test_processes_that_cannot_start_are_told(
    make: Callable[[], Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The client hears nothing of this machine; the log has it all."""
    pool = Pool(make, workers=2, queue=1, limit_s=1.0)
    with pytest.raises(WorkerError, match=r"^The server cannot work on pictures now; its log says why\.$"):
        pool.start()
    pool.stop()
    assert f"cannot be started: {why}" in caplog.text


@pytest.mark.parametrize("refused", ["Pipe", "start"])
def test_a_machine_without_room_for_a_process_is_told(
    refused: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    pool = Pool(make_echo, workers=1, queue=1, limit_s=1.0)
    with monkeypatch.context() as patched:
        patched.setattr(SpawnContext if refused == "Pipe" else SpawnProcess, refused, no_room)
        assert isinstance(outcomes(pool, 0.0)[0], WorkerError)
    assert "cannot be started: [Errno 24] Too many open files" in caplog.text
    assert isinstance(outcomes(pool, 0.0)[0], tuple)  # there is room again
    pool.stop()


def test_processes_are_mute_unless_asked(capfd: pytest.CaptureFixture[str]) -> None:
    """What is written to the descriptor, as C code does, and Python's own tracebacks."""
    for quiet in (True, False):
        pool = Pool(make_echo, workers=1, queue=1, limit_s=1.0, quiet=quiet)
        assert asyncio.run(pool.run({"say": "anna.jpg: bad tag"}, b""))[1] == b""
        assert isinstance(asyncio.run(caught(pool.run({"fail": "anna.jpg"}, b""))), WorkerError)
        pool.stop()
        told = capfd.readouterr().err
        assert (told.count("anna.jpg") == 0) == quiet


async def caught(coming: Awaitable[object]) -> BaseException | None:
    return (await asyncio.gather(coming, return_exceptions=True))[0]


def test_stopped_pool_refuses() -> None:
    pool = Pool(make_echo, workers=1, queue=1, limit_s=1.0)
    pool.stop()
    assert isinstance(outcomes(pool, 0.0)[0], QueueFullError)

"""The pool alone: order, limits and what becomes of its processes."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lentigo.deploy.workers import Pool, QueueFullError, TimeLimitError, WorkerError
from tests.deploy.fake_screener import make_echo, make_nothing


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


def test_processes_that_cannot_start_are_told() -> None:
    pool = Pool(make_nothing, workers=2, queue=1, limit_s=1.0)
    with pytest.raises(WorkerError, match="ended with code 5"):
        pool.start()
    pool.stop()


def test_stopped_pool_refuses() -> None:
    pool = Pool(make_echo, workers=1, queue=1, limit_s=1.0)
    pool.stop()
    assert isinstance(outcomes(pool, 0.0)[0], QueueFullError)

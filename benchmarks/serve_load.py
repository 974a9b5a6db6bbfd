"""The server under load: is it quick when there is room, and polite when there is none?

    python benchmarks/serve_load.py MODEL [--rate 20] [--seconds 60] [--overload-seconds 30] [--size 600]

The server runs in a process of its own on this machine, with one worker a CPU; the load comes from this process and
takes part of the same CPUs. First it gets `--rate` pictures a second, each at its time whether or not those before it
are answered (open loop); a latency counts from that time, so that what waits because the server is late counts too.
Then its capacity is measured (twice as many clients as CPUs, each sends its next picture after its last answer), and it
gets twice that. Asked: 99 of 100 within 150 ms at 20 a second and no error; at twice the capacity only 200 and 429;
memory flat. Pictures are JPEGs of drawn lesions. Prints rows for RESULTS.md.
"""

import argparse
import asyncio
import io
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from loopback import Server, post_form, server
from PIL import Image

from lentigo.data.synthetic import draw_lesion

PICTURES = 8
CAPACITY_S = 10.0
MOST_OPEN = 400  # connections; a request beyond them counts as an error
ANSWER_LIMIT_S = 30.0


@dataclass
class Load:
    """What became of the requests of one phase."""

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)  # of those answered with 200

    def add(self, status: int, latency_s: float) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.latencies_ms.append(latency_s * 1000)

    def row(self, name: str, rate: float, before_mb: float, after_mb: float) -> str:
        quantiles = np.quantile(self.latencies_ms or [float("nan")], (0.5, 0.99, 1.0))
        errors = sum(many for status, many in self.statuses.items() if status not in (200, 429))
        counts = (sum(self.statuses.values()), self.statuses[200], self.statuses[429], errors)
        cells = [name, f"{rate:.0f}", *map(str, counts), *(f"{value:.0f}" for value in quantiles)]
        return f"| {' | '.join(cells)} | {before_mb:.0f} | {after_mb:.0f} |"


class Client:
    """Connections that are kept open; each carries one request at a time."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self.port, self.requests, self.sent, self.open = port, requests, 0, 0
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self) -> int:
        """The status of the next picture; 0 where there is no answer."""
        self.sent += 1
        if self.open >= MOST_OPEN:
            return 0
        self.open += 1
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await self._send(self.requests[self.sent % len(self.requests)])
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return 0
        finally:
            self.open -= 1

    async def _send(self, request: bytes) -> int:
        pair = self._kept() or await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = pair
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
            await reader.readexactly(int(length.partition(":")[2]))
        except BaseException:
            writer.close()
            raise
        self.idle.append(pair)
        return int(head.split()[1])

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The connection that was used last, but none that the server has closed since, as it may."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    def close(self) -> None:
        for _, writer in self.idle:
            writer.close()
        self.idle.clear()


async def open_loop(client: Client, rate: float, seconds: float) -> Load:
    """`rate` requests a second, each at its own time."""
    load, started, tasks = Load(), time.perf_counter(), set[asyncio.Task[None]]()

    async def one(due: float) -> None:
        load.add(await client.send(), time.perf_counter() - due)

    for number in range(round(rate * seconds)):
        due = started + number / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        tasks.add(task := asyncio.create_task(one(due)))
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    load.seconds = time.perf_counter() - started
    return load


async def closed_loop(client: Client, clients: int, seconds: float) -> Load:
    """As many requests as the server answers."""
    load, started = Load(), time.perf_counter()

    async def one() -> None:
        while (sent := time.perf_counter()) - started < seconds:
            load.add(await client.send(), time.perf_counter() - sent)

    await asyncio.gather(*(one() for _ in range(clients)))
    load.seconds = time.perf_counter() - started
    return load


def pictures(size_px: int) -> list[bytes]:
    """Requests with JPEGs of drawn lesions."""
    made = []
    for index in range(PICTURES):
        file = io.BytesIO()
        image = draw_lesion(seed=0, index=index, malignant=index % 2 == 0, size_px=size_px).image
        Image.fromarray(image).save(file, "JPEG", quality=92)
        made.append(post_form(file.getvalue(), path="/api/screen?insist=true"))
    return made


async def phases(running: Server, options: argparse.Namespace) -> bool:
    client, good = Client(running.port, pictures(options.size)), True
    try:
        await closed_loop(client, 2, 2.0)  # until all is loaded
        before = running.memory_mb()
        load = await open_loop(client, options.rate, options.seconds)
        after = running.memory_mb()
        print(load.row(f"{options.rate:g} a second", options.rate, before, after), flush=True)
        good &= set(load.statuses) == {200} and float(np.quantile(load.latencies_ms, 0.99)) < 150
        load = await closed_loop(client, 2 * (os.cpu_count() or 1), CAPACITY_S)
        capacity = load.statuses[200] / load.seconds
        print(load.row("capacity, closed loop", capacity, after, after := running.memory_mb()), flush=True)
        load = await open_loop(client, 2 * capacity, options.overload_seconds)
        print(load.row("twice the capacity", 2 * capacity, after, running.memory_mb()), flush=True)
        return good and set(load.statuses) <= {200, 429}
    finally:
        client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--overload-seconds", type=float, default=30.0)
    parser.add_argument("--size", type=int, default=600, help="side of the pictures in pixels")
    options = parser.parse_args()
    requests = pictures(options.size)
    size_kb = np.mean([len(request) for request in requests]) / 1e3
    print(f"{PICTURES} JPEGs of {options.size} x {options.size} pixels, {size_kb:.0f} KB each\n")
    print("| load | a second | sent | 200 | 429 | errors | p50 (ms) | p99 (ms) | most (ms) | MB before | MB after |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    with server(options.model) as running:
        good = asyncio.run(phases(running, options))
        code = running.stop()
    print(f"\nstopped with code {code}; {'as asked' if good else 'NOT as asked'}")
    raise SystemExit(not good or code != 0)


if __name__ == "__main__":
    main()

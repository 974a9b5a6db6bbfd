"""Damaged image files: does `read_image` give an image or an ImageError and nothing else, in time and in memory?

    OMP_NUM_THREADS=1 python benchmarks/fuzz_images.py [--count 20000] [--seed 0] [--workers 2] [--keep FOLDER]

Files come from `mutations.py`. They are read in processes of their own, which are watched: one that dies or is silent
for ten seconds counts as a failure of the file that it was at. So do anything but an RGB image or an ImageError, 2
seconds of the processor for one file (other work on the machine does not count), and 1 GB of memory in a process. The
largest images that are allowed come last: whole files of 50 megapixels, in a process of their own each. `--keep` writes
the files that fail. Prints rows for RESULTS.md.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from mutations import mutant
from PIL import Image

from lentigo.errors import ImageError
from lentigo.imaging import MAX_PIXELS, read_image

LIMIT_S, LIMIT_MB, SILENCE_S, PIECE = 2.0, 1000, 10.0, 500
SIDE = int(MAX_PIXELS**0.5)


@dataclass
class Found:
    """What became of the files."""

    kinds: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    most: tuple[float, str] = (0.0, "")  # MB of a process
    failures: list[tuple[str, str, bytes]] = field(default_factory=list)

    def add(self, name: str, data: bytes, kind: str, seconds: float, peak_mb: float) -> None:
        self.kinds[kind if kind in ("image", "ImageError") else "failure"] += 1
        self.slowest = max(self.slowest, (seconds, name))
        self.most = max(self.most, (peak_mb, name))
        if kind not in ("image", "ImageError"):
            self.failures.append((name, kind, data))
        elif seconds > LIMIT_S or peak_mb > LIMIT_MB:
            self.failures.append((name, f"{kind}, {seconds:.1f} s, {peak_mb:.0f} MB", data))


def outcome(data: bytes) -> str:
    try:
        image = read_image(data)
    except ImageError:
        return "ImageError"
    except BaseException as error:  # whatever else there is, is what this looks for
        return f"{type(error).__name__}: {error}"[:200]
    good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0
    return "image" if good else f"an array of {image.dtype} {image.shape}"


def work(seed: int, pipe: Connection) -> None:
    """Read the files whose numbers come through the pipe, and answer for each."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)  # libtiff tells each fault
    while (numbers := pipe.recv()) is not None:
        for number in numbers:
            _, data = mutant(np.random.default_rng((seed, number)))
            started = time.process_time()
            kind = outcome(data)
            pipe.send((kind, time.process_time() - started, _peak_mb()))


def _peak_mb() -> float:
    """The most memory that this process held; getrusage would tell its parent's, if that was more."""
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(found[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


class Worker:
    """A process that reads files, and what it is at."""

    def __init__(self, seed: int) -> None:
        self.seed, self.left = seed, list[int]()
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=work, args=(self.seed, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.heard = time.monotonic()

    def give(self, numbers: list[int]) -> None:
        self.left, self.heard = numbers, time.monotonic()
        self.pipe.send(numbers)

    def answers(self) -> Iterator[tuple[int, str, float, float]]:
        """What it has told since the last call; a dead or silent process is replaced, which goes on behind the file."""
        told = True
        with contextlib.suppress(EOFError, OSError):
            while self.left and self.pipe.poll():
                yield self.left.pop(0), *self.pipe.recv()
                self.heard = time.monotonic()
            told = self.process.is_alive() and time.monotonic() - self.heard < SILENCE_S
        if not told or not self.process.is_alive():
            self.process.kill()
            self.process.join()
            if self.left:
                yield self.left.pop(0), f"ended the process ({self.process.exitcode})", SILENCE_S, 0.0
            self._start()
            if self.left:
                self.give(self.left)

    def end(self) -> None:
        self.pipe.send(None)
        self.process.join()


def fuzzed(count: int, seed: int, workers: int) -> Found:
    found, waiting = Found(), [list(range(k, min(k + PIECE, count))) for k in range(0, count, PIECE)][::-1]
    team = [Worker(seed) for _ in range(workers)]
    while waiting or any(worker.left for worker in team):
        for worker in team:
            if not worker.left and waiting:
                worker.give(waiting.pop())
            for number, kind, seconds, peak_mb in worker.answers():
                name, data = mutant(np.random.default_rng((seed, number)))
                found.add(f"{number} ({name})", data, kind, seconds, peak_mb)
        time.sleep(0.01)
    for worker in team:
        worker.end()
    return found


# ---------------------------------------------------------------- the largest images


def largest() -> Iterator[tuple[str, bytes]]:
    """Whole files of one colour, as large as images may be."""
    turned = Image.Exif()
    turned[274] = 6
    clear = (9, 9, 9, 9)
    files = (
        ("PNG, RGB", "RGB", 0, "PNG", {}),
        ("PNG, alpha, turned", "RGBA", clear, "PNG", {"exif": turned}),
        ("PNG, palette, transparent", "P", 0, "PNG", {"transparency": 0}),
        ("PNG, grey of 16 bits", "I;16", 0, "PNG", {}),
        ("JPEG, progressive, turned", "RGB", 0, "JPEG", {"progressive": True, "exif": turned}),
        ("JPEG, CMYK", "CMYK", 0, "JPEG", {}),
        ("WebP, alpha", "RGBA", clear, "WEBP", {"lossless": True, "method": 0}),
        ("TIFF, alpha", "RGBA", clear, "TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF, grey of 16 bits", "I;16", 0, "TIFF", {"compression": "tiff_adobe_deflate"}),
    )
    for name, mode, colour, kind, options in files:
        file = io.BytesIO()
        Image.new(mode, (SIDE, SIDE), colour).save(file, kind, **options)
        yield name, file.getvalue()


def _read_once(data: bytes, pipe: Connection) -> None:
    started = time.process_time()
    kind = outcome(data)
    pipe.send((kind, time.process_time() - started, _peak_mb()))


def of_the_largest() -> Found:
    """Each in a new process, so that its memory is its own."""
    found, context = Found(), multiprocessing.get_context("spawn")
    print(f"| whole file of {SIDE} x {SIDE} pixels | file (MB) | seconds | memory (MB) |\n|---|---|---|---|")
    for name, data in largest():
        ours, theirs = context.Pipe()
        process = context.Process(target=_read_once, args=(data, theirs))
        process.start()
        kind, seconds, peak_mb = ours.recv()
        process.join()
        found.add(name, data, kind, seconds, peak_mb)
        print(f"| {name} | {len(data) / 1e6:.1f} | {seconds:.2f} | {peak_mb:.0f} |", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder for files that fail")
    options = parser.parse_args()
    started = time.monotonic()
    found = fuzzed(options.count, options.seed, options.workers)
    rate = options.count / (time.monotonic() - started)
    print("| files | images | ImageErrors | failures | slowest (s) | memory (MB) | files/s |")
    print("|---|---|---|---|---|---|---|")
    kinds = " | ".join(f"{found.kinds[kind]:,}" for kind in ("image", "ImageError", "failure"))
    print(f"| {options.count:,} | {kinds} | {found.slowest[0]:.2f} | {found.most[0]:.0f} | {rate:.0f} |\n")
    print(f"slowest: {found.slowest[1]}; most memory: {found.most[1]}\n", flush=True)
    failures = found.failures + of_the_largest().failures
    for place, (name, kind, data) in enumerate(failures):
        print(f"FAILED: {name}: {kind}")
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"{place:04}").write_bytes(data)
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()

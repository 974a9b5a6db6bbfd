"""Malformed uploads: does the server refuse each with 4xx, and live?

    python benchmarks/malformed_uploads.py MODEL [--count 500] [--seed 0]

Requests come from `bad_requests.py`: damaged images, forms, headers, lengths, chunks, queries and paths. Each goes over
a connection of its own to a server in its own process. A client that hangs up early need not get an answer; no other
may be left without. Then the server must still screen a good picture. Prints rows for RESULTS.md.
"""

import argparse
import io
import time
from collections import Counter
from pathlib import Path

import numpy as np
from bad_requests import BadRequest, bad_request, status_of
from loopback import Server, post_form, server
from mutations import mutant
from PIL import Image

from lentigo.data.synthetic import draw_lesion


def good_picture() -> bytes:
    """A JPEG of a drawn lesion."""
    file = io.BytesIO()
    Image.fromarray(draw_lesion(seed=0, index=0, malignant=True, size_px=224).image).save(file, "JPEG", quality=92)
    return file.getvalue()


def sent(running: Server, count: int, seed: int) -> tuple[Counter[tuple[str, int]], list[str]]:
    """Statuses by kind, and what went wrong."""
    found, failures = Counter[tuple[str, int]](), []
    for number in range(count):
        bad = bad_request(np.random.default_rng((seed, number)), mutant)
        try:
            status = status_of(running.port, bad)
        except TimeoutError:
            status = -1
        found[bad.name.partition(" (")[0], status] += 1
        if not 400 <= status < 500 and not (status == 0 and bad.cut):
            failures.append(f"{number} ({bad.name}): {status}")
    return found, failures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    good = BadRequest("good", post_form(good_picture()))
    with server(options.model) as running:
        status_of(running.port, good)
        before, started = running.memory_mb(), time.monotonic()
        found, failures = sent(running, options.count, options.seed)
        seconds = time.monotonic() - started
        alive, after = status_of(running.port, good), running.memory_mb()
    print("| request | answers (status: how many; 0 = the client hung up) |\n|---|---|")
    for kind in sorted({kind for kind, _ in found}):
        row = ", ".join(f"{status}: {many}" for (of, status), many in sorted(found.items()) if of == kind)
        print(f"| {kind} | {row} |")
    print(f"\n{options.count} requests in {seconds:.1f} s, {len(failures)} not refused; a good picture afterwards:")
    print(f"{alive}; memory {before:.0f} to {after:.0f} MB")
    for failure in failures:
        print(f"FAILED: {failure}")
    raise SystemExit(bool(failures) or alive != 200)


if __name__ == "__main__":
    main()

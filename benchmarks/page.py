"""How soon does the page give a first result in Chromium, and how much goes over the wire for it?

Run: python benchmarks/page.py MODEL [--rounds 5]

MODEL: the folder of an exported model. `lentigo serve` serves the built page (`make web`) with it, as it would to a
person; Debian's Chromium, without anything kept, opens it, chooses a drawn picture, and presses the button. Times
include those clicks. Bytes are what the server sent, packed as it sent them. Prints a table for RESULTS.md. Asked:
below 5 MB.
"""

import argparse
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from lentigo.data.synthetic import draw_lesion

CHROMIUM = "/usr/bin/chromium"


def main(model: Path, rounds: int) -> None:
    """Print the medians."""
    pictures = {"300 px": picture(300), "12 megapixels": picture(3464)}
    found: dict[str, list[float]] = {}
    with serving(model) as url, sync_playwright() as playwright:
        for _ in range(rounds):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            for name, value in visit(browser.new_context(), url, pictures).items():
                found.setdefault(name, []).append(value)
            browser.close()
    print("| what | median | least | most |\n|---|---|---|---|")
    for name, values in found.items():
        print(f"| {name} | {statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f} |")


def visit(context: Any, url: str, pictures: dict[str, bytes]) -> dict[str, float]:
    """One person's first visit, and one without a network."""
    tab, sent = context.new_page(), Counter(context)

    def result(name: str, *, opened: bool = True) -> float:
        started = time.perf_counter()
        if not opened:
            tab.goto(url)
        judge(tab, pictures[name])
        return time.perf_counter() - started

    found = {"cold browser to the first result, s": result("300 px", opened=False)}
    found["next result, s"] = result("300 px")
    found["sent until then, MB"] = sent.bytes / 1e6
    found["a JPEG of 12 megapixels, s"] = result("12 megapixels")
    tab.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
    time.sleep(2)  # until it has put everything away
    context.set_offline(True)
    found["offline, new visit to a result, s"] = result("300 px", opened=False)
    return found


class Counter:
    """Bytes of the answers that a browser's context got from the network."""

    def __init__(self, context: Any) -> None:
        self.bytes = 0
        context.on("requestfinished", self._add)

    def _add(self, request: Any) -> None:
        if request.response() is not None and not request.response().from_service_worker:
            self.bytes += request.sizes()["responseBodySize"] + request.sizes()["responseHeadersSize"]


def judge(tab: Any, data: bytes) -> None:
    """From the start view to a result."""
    tab.evaluate("() => { location.hash = '#/'; }")
    tab.wait_for_selector("input[type=file]", state="attached")
    tab.set_input_files("input[type=file]", {"name": "mole.jpg", "mimeType": "image/jpeg", "buffer": data})
    tab.wait_for_selector(".stage")
    tab.get_by_role("button", name="Check this spot", exact=True).click()
    tab.wait_for_selector(".verdict")


def picture(side_px: int) -> bytes:
    """A drawn mole as a JPEG."""
    file, image = io.BytesIO(), Image.fromarray(draw_lesion(1, 1, malignant=True, size_px=300).image)
    image.resize((side_px, side_px), Image.Resampling.BICUBIC).save(file, "JPEG", quality=92)
    return file.getvalue()


@contextmanager
def serving(model: Path) -> Iterator[str]:
    """`lentigo serve` on a free port."""
    command = [Path(sys.executable).with_name("lentigo"), "serve", model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            yield next(word for word in line.split() if word.startswith("http://"))
        finally:
            process.terminate()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    main(given.model, given.rounds)

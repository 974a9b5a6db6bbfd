"""Time and memory of `lentigo audit` as a data set grows: is it close to linear, and does memory stay flat?

Run: python benchmarks/audit_scale.py ../shared/data/kaggle10605 [--sizes 10000 20000 40000] [--work FOLDER]

The images are those of DATA; where more are wanted, quarters of them: a quarter shares no pixel with another one of the
same image, and is less than a copy cut to three quarters, so that it is a picture of its own. Each size is a fresh
process with an empty cache, decoding included. Prints a table; the parts' times come from the audit's own progress.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from lentigo.data.table import LABEL_NAMES, ImageTable, read_table

# What the child runs: an audit without a page, telling how long each part took.
CHILD = """
import contextlib, sys, time
from pathlib import Path
from lentigo.data.audit import audit_data
from lentigo.data.table import read_table

@contextlib.contextmanager
def bar(text, total):
    started = time.monotonic()
    yield lambda done: None
    print(f"{text}={time.monotonic() - started:.1f}", flush=True)

found = audit_data(read_table(Path(sys.argv[1])), cache=Path(sys.argv[2]), bar=bar)
print(f"near groups={len(found.near_groups)}")
"""


def write_images(table: ImageTable, size: int, folder: Path) -> None:
    """The first images whole, then the first, second, third and fourth quarters, in class folders."""
    for label in LABEL_NAMES:
        (folder / label).mkdir(parents=True)
    for number in range(size):
        turn, index = divmod(number, len(table))
        row = table.rows[index]
        target = folder / LABEL_NAMES[row.label] / f"{number:06d}.jpg"
        if turn == 0:
            target.write_bytes(row.path.read_bytes())
            continue
        with Image.open(row.path) as image:
            width, height = image.width // 2, image.height // 2
            left, top = (turn - 1) % 2 * width, (turn - 1) // 2 * height
            image.convert("RGB").crop((left, top, left + width, top + height)).save(target, quality=90)


def measure(folder: Path, cache: Path) -> tuple[float, float, dict[str, str]]:
    """Seconds, peak resident memory in MB, and what the child told."""
    started = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", CHILD, folder, cache], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told = dict(line.strip().rsplit("=", 1) for line in child.stdout)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"the audit of {folder} failed with status {status}")
    return time.monotonic() - started, usage.ru_maxrss / 1024, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 20_000, 40_000])
    parser.add_argument("--work", type=Path, help="folder for images and cache (0.3 MB an image); default: temporary")
    options = parser.parse_args()
    table = read_table(options.data)
    if max(options.sizes) > 5 * len(table):
        sys.exit(f"{options.data} gives at most {5 * len(table)} images; lower --sizes")
    for number, size in enumerate(options.sizes):
        with tempfile.TemporaryDirectory(dir=options.work) as place:
            write_images(table, size, Path(place) / "images")
            seconds, peak_mb, told = measure(Path(place) / "images", Path(place) / "cache")
        if number == 0:
            print("| images | seconds | ms an image | peak memory (MB) | " + " | ".join(told) + " |")
            print("|" + "---|" * (4 + len(told)))
        cells = [f"{size:,}", f"{seconds:.0f}", f"{1000 * seconds / size:.1f}", f"{peak_mb:.0f}", *told.values()]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

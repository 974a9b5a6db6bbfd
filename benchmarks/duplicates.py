"""Are copies found, whatever they have gone through, and nothing else? How long does it take?

    python benchmarks/duplicates.py ../shared/data/kaggle10605 [--count 500] [--seed 0] [--cache DIR] [--same-images]

Copies of random images, transformed in every way, are hidden among all images of the data set and searched for.
Without DATA 720 lesions are drawn. Prints a table for RESULTS.md; copies are written to a temporary folder only.
"""

import argparse
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from transformations import TRANSFORMATIONS, Transformation

from lentigo.data.duplicates import Twins, exact_groups, near_twins
from lentigo.data.groups import joined
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import ImageRow, ImageTable, read_table
from lentigo.imaging import read_image

IMAGE_PX = 300
DRAWN = 720


@dataclass(frozen=True)
class Copy:
    """What became of an image of the data set."""

    original: int
    by: Transformation


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="lentigo-duplicates-") as scratch:
        place = Path(scratch)
        data = options.data or write_dataset(place / "drawn", count=DRAWN, size_px=IMAGE_PX)
        table = read_table(data)
        pack = pack_images(table, image_px=IMAGE_PX, cache=options.cache or place)
        heading(options, len(table))
        groups, pairs = search_whole(pack)
        count = min(options.count, len(table) if options.same_images else len(table) // len(TRANSFORMATIONS))
        results: dict[str, list[int]] = {t.name: [0, 0, 0] for t in TRANSFORMATIONS}  # found, copies, other pairs
        for number, copies in enumerate(searches(len(table), count, options)):
            folder = place / f"copies{number}"
            hidden = hide(copies, table, folder, np.random.default_rng((options.seed, number)))
            tally(near_twins(hidden), copies, len(table), groups, results)
            shutil.rmtree(folder)
            print(f"search {number + 1} done", file=sys.stderr, flush=True)
    report(results, pairs)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", metavar="DATA", help="a data set as lentigo reads it")
    parser.add_argument("--count", type=int, default=500, help="copies of every transformation (default 500)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="folder of packs (default: a temporary one)")
    parser.add_argument(
        "--same-images",
        action="store_true",
        help="the same images in every way, a search for each way; otherwise other images for each, in one search",
    )
    return parser.parse_args()


def heading(options: argparse.Namespace, images: int) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "opencv-python-headless", "scipy"))
    command = " ".join([f"--count {options.count} --seed {options.seed}", *["--same-images"] * options.same_images])
    print(f"`python benchmarks/duplicates.py {options.data or ''} {command}`: {images:,} images.")
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {packages}.\n")


def search_whole(pack: ImagePack) -> tuple[list[int], tuple[Twins, ...]]:
    """Search the data set itself, say how long it takes; the first image of each image's group, and the near pairs."""
    start = time.perf_counter()
    exact = exact_groups(pack)
    middle = time.perf_counter()
    near = near_twins(pack)
    stop = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"- exact copies: {len(exact)} groups in {middle - start:.1f} s")
    print(f"- near copies: {len(near)} pairs in {stop - middle:.0f} s; peak memory of the process {peak / 1e6:.0f} MB")
    first = list(range(len(pack)))
    for group in joined(len(pack), [*exact, *((pair.one, pair.other) for pair in near)]):
        for index in group:
            first[index] = group[0]
    return first, near


def searches(images: int, count: int, options: argparse.Namespace) -> Iterator[list[Copy]]:
    """The copies of each search. With `--same-images` no image has two in one search, as they would hide each other."""
    order = np.random.default_rng(options.seed).permutation(images).tolist()
    if options.same_images:
        for transformation in TRANSFORMATIONS:
            yield [Copy(original, transformation) for original in order[:count]]
    else:
        yield [Copy(order[t * count + n], by) for t, by in enumerate(TRANSFORMATIONS) for n in range(count)]


def hide(copies: list[Copy], table: ImageTable, folder: Path, rng: np.random.Generator) -> ImagePack:
    """Write the copies as files of their own shape, and pack them behind all images of the data set."""
    folder.mkdir()
    rows = list(table.rows)
    for number, copy in enumerate(copies):
        path = folder / f"{number:05}.jpg"
        copy.by.save(read_image(table.rows[copy.original].path), path, rng)
        rows.append(ImageRow(id=f"copies/{path.name}", path=path, label=0))
    return pack_images(ImageTable(root=folder, rows=tuple(rows)), image_px=IMAGE_PX, cache=folder)


def tally(
    found: tuple[Twins, ...], copies: list[Copy], images: int, first: list[int], results: dict[str, list[int]]
) -> None:
    """Count copies paired with their original, and pairs of a copy with an image that is no relative of that.

    An original whose pixels another image has too is searched for under the first of them, so a relative counts.
    """
    right = set()
    for pair in found:
        if pair.other < images:
            continue  # two images of the data set
        copy = copies[pair.other - images]
        other = pair.one if pair.one < images else copies[pair.one - images].original
        if first[other] == first[copy.original]:
            right |= {index - images for index in (pair.one, pair.other) if pair.one < images and index >= images}
        else:
            results[copy.by.name][2] += 1
            print(f"- look at {copy.original} and {other}: {copy.by.name}, likeness {pair.likeness}")
    for number, copy in enumerate(copies):
        results[copy.by.name][0] += number in right
        results[copy.by.name][1] += 1


def report(results: dict[str, list[int]], pairs: tuple[Twins, ...]) -> None:
    print("\n| copy | found | recall | to reach | other pairs | per 10,000 copies |\n|---|---|---|---|---|---|")
    for transformation in TRANSFORMATIONS:
        found, copies, others = results[transformation.name]
        recall, rate = found / copies, others / copies * 10_000
        cells = [transformation.name, f"{found} of {copies}", f"{recall:.3f}", f"{transformation.least_recall}"]
        print("| " + " | ".join([*cells, f"{others}", f"{rate:.0f}"]) + " |")
    found, copies, others = (sum(column) for column in zip(*results.values(), strict=True))
    print(f"| all | {found} of {copies} | {found / copies:.3f} | | {others} | {others / copies * 10_000:.1f} |\n")
    levels = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.01]
    histogram = np.histogram([pair.likeness for pair in pairs], levels)[0]
    counted = ", ".join(f"{count} from {low}" for count, low in zip(histogram, levels, strict=False))
    print(f"Likeness of the near pairs of the data set itself: {counted}.")


if __name__ == "__main__":
    main()

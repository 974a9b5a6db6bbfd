"""How often pictures are refused or warned of, real ones and the same ones spoilt on purpose.

Run: OMP_NUM_THREADS=1 python benchmarks/quality.py DATA [--count 500] [--spoilt 100] [--drawn 200] [--seed 0]

DATA is the folder that holds kaggle10605, isic2017 and ham10000. Prints tables for RESULTS.md: findings on real
pictures as they are, on drawn lesions, and how often each kind of spoiling is found. Real pictures have faults too,
which nobody has noted: their rates are upper bounds of false alarms.
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from lentigo.data.artefacts import draw_hairs
from lentigo.data.drawing import draw_picture
from lentigo.data.masks import read_mask
from lentigo.data.synthetic import draw_lesion, draw_parameters
from lentigo.data.table import ImageRow, read_table
from lentigo.deploy.quality import Quality, check_quality
from lentigo.imaging import read_image, squeeze

SETS = ("kaggle10605", "isic2017", "ham10000")
NAMES = ("too_small", "blurred", "too_dark", "too_bright", "no_lesion", "lesion_cut", "several_lesions", "hair")
LEAST_PATCH_PX = 64
Example = tuple[np.ndarray, np.ndarray]  # an image and its lesion's mask


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of kaggle10605, isic2017 and ham10000")
    parser.add_argument("--count", type=int, default=500, help="real images of each set")
    parser.add_argument("--spoilt", type=int, default=100, help="images with masks of each set that are spoilt")
    parser.add_argument("--drawn", type=int, default=200, help="drawn lesions, and drawn skin")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    tell_head("| pictures | images | refused | warned only |", NAMES)
    seconds = []
    for name in SETS:
        qualities = []
        for row in sample(given.data / name, given.count, given.seed, masked=False):
            image = read_image(row.path)
            started = time.process_time()
            qualities.append(check_quality(image))
            seconds.append(time.process_time() - started)
        tell(name, qualities)
    tell(
        "drawn lesions",
        [check_quality(draw_lesion(given.seed, i, malignant=i % 2 == 1).image) for i in range(given.drawn)],
    )
    print(
        f"\n{1000 * np.median(seconds):.1f} ms of one core an image, median; 95 % below "
        f"{1000 * np.quantile(seconds, 0.95):.1f} ms\n"
    )

    examples = [e for name in SETS for e in masked(given.data / name, given.spoilt, given.seed)]
    print("| spoilt by | images | what should be found | refused for it | refused or warned for it | refused at all |")
    print("|---|---|---|---|---|---|")
    for title, (finding, spoil) in SPOILT.items():
        rng = np.random.default_rng(given.seed)
        spoilt = [image for example in examples if (image := spoil(*example, rng)) is not None]
        tell_spoilt(title, finding, [check_quality(image) for image in spoilt])
    tell_spoilt(
        "drawn skin without a lesion",
        "no_lesion",
        [check_quality(bare_skin(given.seed, i)) for i in range(given.drawn)],
    )


def sample(folder: Path, count: int, seed: int, *, masked: bool) -> list[ImageRow]:
    """So many rows at random."""
    rows = [row for row in read_table(folder).rows if row.mask or not masked]
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    return [rows[index] for index in sorted(chosen.tolist())]


def masked(folder: Path, count: int, seed: int) -> Iterator[Example]:
    """Images with their masks."""
    for row in sample(folder, count, seed + 1, masked=True):
        yield read_image(row.path), read_mask(Path(row.mask), image=row.path)


def tell_head(first: str, names: tuple[str, ...]) -> None:
    columns = [*first.strip("| ").split(" | "), *names]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def tell(title: str, qualities: list[Quality]) -> None:
    """A row: shares in percent; of each finding refused + warned."""
    counts = Counter((f.name, f.severity) for q in qualities for f in q.findings)
    percent = [
        f"{100 * share(counts[n, 'refuse'], qualities):.1f} + {100 * share(counts[n, 'warn'], qualities):.1f}"
        for n in NAMES
    ]
    refused = sum(q.refused for q in qualities)
    # Smallness is a fact of the file, not of the judgement, and all of HAM10000 is stored at 200 x 150.
    warned = sum(not q.refused and any(f.name != "too_small" for f in q.findings) for q in qualities)
    cells = [title, str(len(qualities)), *(f"{100 * share(n, qualities):.1f}" for n in (refused, warned)), *percent]
    print(f"| {' | '.join(cells)} |", flush=True)


def tell_spoilt(title: str, finding: str, qualities: list[Quality]) -> None:
    """A row: shares in percent."""
    severities = [{f.severity for f in q.findings if f.name == finding} for q in qualities]
    hard, any_, refused = (
        sum(found)
        for found in (
            ["refuse" in s for s in severities],
            [bool(s) for s in severities],
            [q.refused for q in qualities],
        )
    )
    cells = (f"{100 * share(n, qualities):.1f}" for n in (hard, any_, refused))
    print(f"| {title} | {len(qualities)} | {finding} | {' | '.join(cells)} |", flush=True)


def share(count: int, qualities: list[Quality]) -> float:
    return count / len(qualities) if qualities else float("nan")


# ---------------------------------------------------------------- how pictures are spoilt


def blurred(sigma: float) -> Callable[..., np.ndarray]:
    """Gaussian blur; sigma in pixels of a picture of 300."""

    def spoil(image: np.ndarray, *_: object) -> np.ndarray:
        height, width = image.shape[:2]
        return cv2.GaussianBlur(image, (0, 0), sigmaX=sigma * width / 300, sigmaY=sigma * height / 300)

    return spoil


def scaled(factor: float) -> Callable[..., np.ndarray]:
    """All pixels times a factor."""
    return lambda image, *_: np.clip(np.rint(image.astype(np.float32) * factor), 0, 255).astype(np.uint8)


def bent(gamma: float) -> Callable[..., np.ndarray]:
    """Gamma above 1: darker."""
    return lambda image, *_: np.rint(255 * (image / 255) ** gamma).astype(np.uint8)


def cut(kept: float) -> Callable[..., np.ndarray | None]:
    """Cropped from one side so that so much of the lesion's extent in that direction is left."""

    def spoil(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
        turns = int(rng.integers(4))
        if not 0.02 < mask.mean() < 0.5 or at_edge(mask):
            return None
        image, mask = np.rot90(image, turns), np.rot90(mask, turns)
        columns = np.flatnonzero(mask.any(axis=0))
        end = round(columns[0] + kept * (columns[-1] + 1 - columns[0]))
        return np.ascontiguousarray(np.rot90(image[:, :end], -turns)) if end >= LEAST_PATCH_PX else None

    return spoil


def with_second(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """The lesion, mirrored, once more, with a soft edge, where it touches neither the first nor the picture's edge."""
    if not 0.01 < mask.mean() < 0.15 or at_edge(mask):
        return None
    mirrored, area = image[:, ::-1], cv2.dilate(mask[:, ::-1].astype(np.uint8), np.ones((9, 9), np.uint8))
    clear = cv2.dilate(mask.astype(np.uint8), np.ones((25, 25), np.uint8)) > 0
    rows, columns = (np.flatnonzero(area.any(axis=axis)) for axis in (1, 0))
    height, width = mask.shape
    for _ in range(60):
        down = int(rng.integers(-rows[0] + 6, height - rows[-1] - 6)) if rows[0] - rows[-1] + height > 14 else 0
        right = (
            int(rng.integers(-columns[0] + 6, width - columns[-1] - 6))
            if (columns[0] - columns[-1] + width > 14)
            else 0
        )
        moved = np.roll(area, (down, right), axis=(0, 1))
        if not (moved.astype(bool) & clear).any():
            soft = cv2.GaussianBlur(moved.astype(np.float32), (0, 0), 3)[..., None]
            return (
                np.rint(image + soft * (np.roll(mirrored, (down, right), (0, 1)).astype(np.float32) - image))
                .clip(0, 255)
                .astype(np.uint8)
            )
    return None


def hairy(count: int) -> Callable[..., np.ndarray]:
    """Drawn hairs all over."""
    return lambda image, _, rng: draw_hairs(image, count, rng)


def skin_patch(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """The largest square far from the lesion and without black."""
    free = cv2.erode((~mask).astype(np.uint8), np.ones((31, 31), np.uint8)) * (image.max(axis=2) > 60)
    height, width = free.shape
    sums = np.pad(free.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    for side in range(min(height, width), LEAST_PATCH_PX - 1, -4):
        inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
        found = np.argwhere(inside == side * side)
        if found.size:
            y, x = found[rng.integers(len(found))]
            return image[y : y + side, x : x + side]
    return None


def bare_skin(seed: int, index: int) -> np.ndarray:
    """A drawn picture without its lesion."""
    drawn = draw_parameters(seed, index, malignant=False)
    bare = replace(drawn, pigment=0.0, redness=0.0, globules=0, streaks=0, colour_count=1, colours=drawn.colours[:1])
    return draw_picture(bare, 300, *np.random.default_rng((seed, index)).spawn(2))[0]


def at_edge(mask: np.ndarray) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


SPOILT: dict[str, tuple[str, Callable[..., np.ndarray | None]]] = {
    "blur, 3 px of 300": ("blurred", blurred(3)),
    "blur, 6 px of 300": ("blurred", blurred(6)),
    "half the light": ("too_dark", scaled(0.5)),
    "a quarter of the light": ("too_dark", scaled(0.25)),
    "0.15 of the light": ("too_dark", scaled(0.15)),
    "gamma 3": ("too_dark", bent(3)),
    "1.5 times the light": ("too_bright", scaled(1.5)),
    "twice the light": ("too_bright", scaled(2)),
    "2.5 times the light": ("too_bright", scaled(2.5)),
    "half of the lesion cut off": ("lesion_cut", cut(0.5)),
    "a quarter of the lesion cut off": ("lesion_cut", cut(0.75)),
    "a second lesion": ("several_lesions", with_second),
    "25 hairs drawn": ("hair", hairy(25)),
    "50 hairs drawn": ("hair", hairy(50)),
    "skin beside the lesion": ("no_lesion", skin_patch),
    "squeezed to 48 px": ("too_small", lambda image, *_: squeeze(image, 48)),
}

if __name__ == "__main__":
    main()

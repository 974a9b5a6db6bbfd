"""How well lesions are found without a network: Jaccard index with the masks of experts, or of drawn lesions.

Run: python benchmarks/lesion_masks.py [DATA...] [--part test] [--count 200]

DATA has a column `mask`. Without DATA lesions are drawn, whose outline is known. Prints mean, quantiles, the share
below 0.5, how well the confidence ranks the images, and what is left at `LEAST_CONFIDENCE`.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from scipy.stats import spearmanr

from lentigo.data.masks import read_mask
from lentigo.data.synthetic import draw_lesion
from lentigo.data.table import read_table
from lentigo.explain.lesion import LEAST_CONFIDENCE, find_lesion
from lentigo.imaging import read_image

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def main() -> None:
    """Measure on every data set, or on drawn lesions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="*", type=Path)
    parser.add_argument("--part", default="", help="only the images of this part of the data's own split")
    parser.add_argument("--count", type=int, default=0, help="so many images, evenly taken; default all")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    for data in given.data:
        tell(f"{data.name} {given.part}".strip(), list(of_experts(data, given.part, given.count)))
    if not given.data:
        tell("drawn lesions", list(of_drawings(given.count or 200)))


def of_experts(data: Path, part: str, count: int) -> Iterator[tuple[float, float, float]]:
    """Jaccard index, confidence and seconds of each image that has a mask."""
    rows = [row for row in read_table(data, one_class=True).rows if row.mask and part in ("", row.split)]
    for row in rows[:: max(1, len(rows) // count) if count else 1]:
        yield scored(read_image(row.path), read_mask(Path(row.mask), image=row.path))


def of_drawings(count: int) -> Iterator[tuple[float, float, float]]:
    """The same of drawn lesions."""
    for index in range(count):
        drawn = draw_lesion(0, index, malignant=bool(index % 2))
        yield scored(drawn.image, drawn.mask)


def scored(image: np.ndarray, mask: np.ndarray) -> tuple[float, float, float]:
    started = time.perf_counter()
    found = find_lesion(image)
    seconds = time.perf_counter() - started
    either = (found.mask | mask).sum()
    return float((found.mask & mask).sum() / either) if either else float("nan"), found.confidence, seconds


def tell(name: str, rows: list[tuple[float, float, float]]) -> None:
    jaccard, confidence, seconds = np.array(rows).T
    kept = confidence >= LEAST_CONFIDENCE
    quantiles = ", ".join(f"{value:.2f}" for value in np.quantile(jaccard, QUANTILES))
    print(f"{name}: {jaccard.size} images, mean Jaccard index {jaccard.mean():.4f}")
    print(f"  quantiles {QUANTILES}: {quantiles}; below 0.5: {100 * (jaccard < 0.5).mean():.1f} %")
    print(f"  rank correlation with the confidence: {spearmanr(jaccard, confidence).statistic:.3f}")
    print(f"  confidence of {LEAST_CONFIDENCE} or more: {100 * kept.mean():.1f} %, mean {jaccard[kept].mean():.4f}")
    print(f"  {1000 * seconds.mean():.0f} ms an image")


if __name__ == "__main__":
    main()

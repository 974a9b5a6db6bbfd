"""How long does a paired DeLong test take, and how does it compare with the definition, which counts all pairs?

    OMP_NUM_THREADS=1 python benchmarks/delong.py [--images 100000] [--images-of-pairs 10000] [--repeats 5]

The opponent is the definition in numpy: a matrix of all pairs of a malignant and a benign image, for each model. It
needs memory and time by the square of the images, so that it runs on fewer, the test of lentigo on both. Logits are
normal and rounded, with many ties. Both must give one p value. Prints rows for RESULTS.md: the best of the repeats.
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np

from lentigo.evidence.comparison import delong_test


def drawn(images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(images)
    labels = np.arange(images) % 2
    first = np.round(rng.normal(labels), 3)
    return labels, first, np.round(first + rng.normal(0, 0.3, size=images), 3)


def by_all_pairs(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """The p value, from wins of each malignant over each benign image."""
    wins = [
        (m[:, None] > b) + 0.5 * (m[:, None] == b)
        for m, b in ((logits[labels == 1], logits[labels == 0]) for logits in (first, second))
    ]
    apart = wins[0] - wins[1]
    variance = sum(apart.mean(axis=k).var(ddof=1) / apart.shape[1 - k] for k in (0, 1))
    return math.erfc(abs(apart.mean()) / math.sqrt(2 * variance))


def best_of(repeats: int, run: Callable[[], object]) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--images-of-pairs", type=int, default=10_000, help="8 MB for a million pairs (default 10,000)")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    few, many = drawn(options.images_of_pairs), drawn(options.images)
    p_values = delong_test(*few).p_value, by_all_pairs(*few)
    if not math.isclose(*p_values, rel_tol=1e-6):
        raise SystemExit(f"p values differ: by ranks {p_values[0]}, by all pairs {p_values[1]}")
    ranks = best_of(options.repeats, lambda: delong_test(*few))
    pairs = best_of(options.repeats, lambda: by_all_pairs(*few))
    groups = np.arange(options.images) // 3
    print("| images | test | seconds | ratio |\n|---|---|---|---|")
    print(f"| {options.images_of_pairs:,} | all pairs | {pairs:.3f} | {pairs / ranks:.0f} |")
    print(f"| {options.images_of_pairs:,} | lentigo, by ranks | {ranks:.4f} | 1 |")
    print(f"| {options.images:,} | lentigo, by ranks | {best_of(options.repeats, lambda: delong_test(*many)):.3f} | |")
    by_groups = best_of(options.repeats, lambda: delong_test(*many, groups=groups))
    print(f"| {options.images:,} | lentigo, by ranks, groups of three | {by_groups:.3f} | |")


if __name__ == "__main__":
    main()

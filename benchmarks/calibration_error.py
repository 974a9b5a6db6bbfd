"""Does the interval of the calibration error hold the truth, and does the debiased error come nearer to it?

    OMP_NUM_THREADS=1 python benchmarks/calibration_error.py [--studies 500] [--seed 0]

Logits are normal with deviation 2; labels are drawn from sigmoid(slope * logit + shift), so that slope 1 and shift 0
are perfect probabilities, a slope below 1 belongs to a model that is too sure of itself, and a shift to one that calls
too few. The true error is that of a million images in the same 15 bins, with the true shares instead of labels. The
opponent is the centred bootstrap of the debiased error. Prints a table for RESULTS.md.
"""

import argparse

import numpy as np

from lentigo.evidence.bootstrap import bootstrap_interval
from lentigo.evidence.calibration import BINS, calibration_error_interval, expected_calibration_error
from lentigo.evidence.recalibration import probabilities

CASES = ((1.0, 0.0), (0.7, 0.0), (1.0, -0.7), (1.5, 0.0))
SIZES = (200, 2000)
SPREAD = 2.0
RESAMPLES = 100  # of the opponent; enough to see how far off it is


def true_error(slope: float, shift: float) -> float:
    """Mean over bins of |given - true share| in a very large sample."""
    logits = np.sort(np.random.default_rng(1).normal(0, SPREAD, 1_000_000))
    given, true = probabilities(logits), probabilities(slope * logits + shift)
    return float(np.mean([abs(g.mean() - t.mean()) for g, t in zip(
        np.array_split(given, BINS), np.array_split(true, BINS), strict=True
    )]))  # fmt: skip


def study(rng: np.random.Generator, n: int, slope: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of n images."""
    logits = rng.normal(0, SPREAD, n)
    return (rng.random(n) < probabilities(slope * logits + shift)).astype(np.int64), logits


def main(studies: int, seed: int) -> None:
    """Print a row for each case and size."""
    print("| images | slope, shift | true error | mean, plain | mean, debiased | interval holds it | bootstrap |")
    print("|---|---|---|---|---|---|---|")
    for n in SIZES:
        for case, (slope, shift) in enumerate(CASES):
            truth = true_error(slope, shift)
            rng = np.random.default_rng((seed, n, case))
            plain, debiased, held, drawn = [], [], [], []
            for number in range(studies):
                labels, logits = study(rng, n, slope, shift)
                found = calibration_error_interval(labels, logits)
                plain.append(expected_calibration_error(labels, logits, debiased=False))
                debiased.append(found.value)
                held.append(found.low <= truth <= found.high)
                if number < studies // 5:
                    other = bootstrap_interval(
                        labels, logits, expected_calibration_error, count=RESAMPLES, seed=number, centred=True
                    )
                    drawn.append(max(other.low, 0.0) <= truth <= other.high)
            print(
                f"| {n:,} | {slope}, {shift} | {truth:.3f} | {np.mean(plain):.3f} | {np.mean(debiased):.3f} "
                f"| {100 * np.mean(held):.1f} % | {100 * np.mean(drawn):.0f} % |", flush=True
            )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    main(arguments.studies, arguments.seed)

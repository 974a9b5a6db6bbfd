"""Do the 95 % intervals hold the truth in 95 % of studies? Simulated studies whose truth is known.

    OMP_NUM_THREADS=1 python benchmarks/coverage.py [--studies 2000] [--f1-studies 500] [--seed 0]

Logits are normal with deviation 1, those of malignant images higher by the step that gives the true AUC; the threshold
lies half way. Class sizes are fixed, as in a test set that is made. In grouped studies groups have 1 to 4 images, which
share half of their variance: lesions (a group has one label) and patients (each image has its own). Beside each
interval stands the plain form: DeLong without a transform, Wald for shares; in grouped studies lentigo's own without
the groups. Prints a table for RESULTS.md; asked is 93.5 to 96.5 %, and 2,000 studies tell the coverage to 0.5 points.
"""

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from lentigo.evidence.bootstrap import bootstrap_interval, f1_score
from lentigo.evidence.intervals import Interval, auc_interval, auc_variance, share_interval

NORMAL = NormalDist()
Z = NORMAL.inv_cdf(0.975)
COLUMNS = ("AUC", "AUC, plain", "sensitivity", "sensitivity, plain", "F1")


@dataclass(frozen=True)
class Scenario:
    images: int
    malignant: float  # share
    auc: float
    groups: str = ""  # "", "lesions" or "patients"

    @property
    def step(self) -> float:
        return math.sqrt(2) * NORMAL.inv_cdf(self.auc)

    @property
    def truth(self) -> dict[str, float]:
        found = NORMAL.cdf(self.step / 2)  # the share of either class that is called right
        f1 = 2 * self.malignant * found / (2 * self.malignant * found + 1 - found)
        return {"AUC": self.auc, "sensitivity": found, "F1": f1}

    def study(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Labels, logits (the threshold is 0) and groups of one test set."""
        if not self.groups:
            labels = (np.arange(self.images) < round(self.images * self.malignant)).astype(np.int64)
            return labels, rng.normal(self.step * (labels - 0.5)), None
        sizes = rng.integers(1, 5, size=round(self.images / 2.5))
        groups = np.repeat(np.arange(sizes.size), sizes)
        own = rng.random(groups.size) < self.malignant
        shared = (np.arange(sizes.size) < round(sizes.size * self.malignant))[groups]
        labels = (shared if self.groups == "lesions" else own).astype(np.int64)
        noise = math.sqrt(0.5) * (rng.normal(size=sizes.size)[groups] + rng.normal(size=groups.size))
        return labels, self.step * (labels - 0.5) + noise, groups


SCENARIOS = [
    *(Scenario(n, share, auc) for n in (200, 2000) for share in (0.5, 0.1) for auc in (0.80, 0.95)),
    *(Scenario(n, 0.5, auc, kind) for kind in ("lesions", "patients") for n in (200, 2000) for auc in (0.80, 0.95)),
]


def plain_auc(labels: np.ndarray, logits: np.ndarray) -> Interval:
    auc = auc_interval(labels, logits).value
    half = Z * math.sqrt(auc_variance(labels, logits))
    return Interval(auc, auc - half, auc + half)


def plain_share(hits: np.ndarray) -> Interval:
    share = float(hits.mean())
    half = Z * math.sqrt(share * (1 - share) / hits.size)
    return Interval(share, share - half, share + half)


def intervals(scenario: Scenario, rng: np.random.Generator, with_f1: bool) -> dict[str, Interval]:
    labels, logits, groups = scenario.study(rng)
    malignant = labels == 1
    hits = logits[malignant] >= 0
    if groups is None:
        found = {
            "AUC": auc_interval(labels, logits),
            "AUC, plain": plain_auc(labels, logits),
            "sensitivity": share_interval(hits),
            "sensitivity, plain": plain_share(hits),
        }
        seed = int(rng.integers(2**32))
        return found | ({"F1": bootstrap_interval(labels, logits, f1_score, seed=seed)} if with_f1 else {})
    return {
        "AUC": auc_interval(labels, logits, groups=groups),
        "AUC, plain": auc_interval(labels, logits),
        "sensitivity": share_interval(hits, groups=groups[malignant]),
        "sensitivity, plain": share_interval(hits),
    }


def coverage(scenario: Scenario, studies: int, f1_studies: int, seed: int) -> dict[str, float]:
    """Share of the studies whose interval holds the truth."""
    held: dict[str, list[bool]] = {}
    for study in range(studies):
        rng = np.random.default_rng((seed, SCENARIOS.index(scenario), study))
        for name, interval in intervals(scenario, rng, study < f1_studies).items():
            truth = scenario.truth[name.split(",")[0]]
            held.setdefault(name, []).append(interval.low <= truth <= interval.high)
    return {name: float(np.mean(of)) for name, of in held.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--f1-studies", type=int, default=500, help="F1 needs 1,000 resamples a study (default 500)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    row: Callable[..., str] = lambda *cells: "| " + " | ".join(cells) + " |"  # noqa: E731
    print(row("images", "malignant", "groups", "true AUC", *COLUMNS))
    print("|" + "---|" * (4 + len(COLUMNS)))
    started = time.monotonic()
    for scenario in SCENARIOS:
        found = coverage(scenario, options.studies, options.f1_studies, options.seed)
        cells = [f"{found[name]:.1%}".replace("%", " %") if name in found else "" for name in COLUMNS]
        share = f"{scenario.malignant:.0%}".replace("%", " %")
        print(row(f"{scenario.images:,}", share, scenario.groups, f"{scenario.auc:.2f}", *cells), flush=True)
    print(f"\n{options.studies} studies ({options.f1_studies} for F1), {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()

"""Fit the weights of the image processing that finds lesions: masks of experts in, `lesion_weights.py` out.

Run: OMP_NUM_THREADS=1 python benchmarks/fit_lesion_masks.py ../shared/data/isic2017 > weights.py
     mv weights.py src/lentigo/explain/lesion_weights.py

Only the training part of DATA is fitted to. A first logistic regression judges pixels by their colour; a second one is
fitted to what it sees after the first look, then twice to what its own looks showed; a linear regression judges
outlines, also those of a random piece of every second picture, where lesions are large or cut by the edge. Pieces do
not teach the looks: with them these did better on pieces and worse on whole pictures. Takes 2 minutes and 1 GB.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from lentigo.data.masks import read_mask
from lentigo.data.table import read_table
from lentigo.explain.lesion_outlines import jaccard, outline_features, outlines
from lentigo.explain.lesion_pixels import (
    SECOND_LOOKS,
    SIDE_PX,
    SmallPicture,
    first_look,
    probability_of,
    second_look,
    small_picture,
)
from lentigo.imaging import read_image

PIXELS = 150  # of a picture in a fit
LEAST_SHARE = 0.02  # of a picture; a lesion below it counts no more than one of it
FITS = 3  # of the second look
NEWTON_STEPS = 12
SHRINK = 3.0  # a ridge, beside sums over a hundred thousand rows
PIECE = (0.55, 1.0)  # sides of a piece, of the picture's

Example = tuple[SmallPicture, np.ndarray]
Weights = dict[str, float]
Sample = tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]  # values, whether lesion, how much each counts


def main() -> None:
    """Fit, and print the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(np.random.SeedSequence((given.seed, 1702)))
    pictures, pieces = read_examples(given.data, rng)
    first, second = fit_looks(pictures, rng)
    outline = fit_outlines(pictures + pieces, first, second)
    weights = {"FIRST_LOOK": first, "SECOND_LOOK": second, "OUTLINE": outline}
    print('"""Weights of `lesion_pixels` and `lesion_outlines`, fitted to the training part of ISIC 2017.\n')
    print('Printed by `benchmarks/fit_lesion_masks.py`.\n"""\n')
    for name, given_to in weights.items():
        print(f"{name} = {{\n" + "".join(f'    "{key}": {value},\n' for key, value in given_to.items()) + "}")


def read_examples(data: Path, rng: np.random.Generator) -> tuple[list[Example], list[Example]]:
    """Small pictures and masks of the training part, and of a piece of every second picture."""
    pictures, pieces = [], []
    rows = [row for row in read_table(data, one_class=True).rows if row.mask and row.split == "train"]
    for index, row in enumerate(rows):
        image, mask = read_image(row.path), read_mask(Path(row.mask), image=row.path)
        pictures.append((small_picture(image), squeezed(mask)))
        if index % 2 == 0:
            part = piece_with(mask, rng)
            pieces.append((small_picture(np.ascontiguousarray(image[part])), squeezed(mask[part])))
    return pictures, pieces


def piece_with(mask: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """A random piece of the picture's proportions that the middle of the lesion lies well inside of."""
    share, middle = rng.uniform(*PIECE), np.argwhere(mask).mean(axis=0)
    part = []
    for length, at in zip(mask.shape, middle, strict=True):
        size = int(length * share)
        low, high = (min(max(int(at - size * before), 0), length - size) for before in (0.8, 0.2))
        start = int(rng.integers(low, high + 1))
        part.append(slice(start, start + size))
    return part[0], part[1]


def squeezed(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask.astype(np.float32), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) >= 0.5


def fit_looks(examples: Sequence[Example], rng: np.random.Generator) -> tuple[Weights, Weights]:
    """Weights of the first look, and of the second, which learns from what its own looks show."""
    first = logistic([sampled(first_look(picture), mask, rng) for picture, mask in examples])
    start = [probability_of(first_look(picture), first) for picture, _ in examples]
    second: Weights = {}
    for _ in range(FITS):
        samples, planes = [], start
        for _ in range(SECOND_LOOKS if second else 1):
            shown = []
            for (picture, mask), plane in zip(examples, planes, strict=True):
                features = second_look(picture, plane)
                samples.append(sampled(features, mask, rng))
                shown.append(probability_of(features, second) if second else plane)
            planes = shown
        second = logistic(samples)
    return first, second


def sampled(features: Mapping[str, np.ndarray | float], mask: np.ndarray, rng: np.random.Generator) -> Sample:
    """Random pixels of a picture. Small lesions count more: a pixel that is missed costs their Jaccard index more."""
    at = rng.choice(mask.size, PIXELS, replace=False)
    values = {name: np.broadcast_to(value, mask.shape).reshape(-1)[at] for name, value in features.items()}
    return values, mask.reshape(-1)[at], np.full(PIXELS, max(mask.mean(), LEAST_SHARE) ** -0.5)


def logistic(samples: Sequence[Sample]) -> Weights:
    """Weights of a logistic regression, by Newton's method."""
    labels, counts = (np.concatenate([sample[part] for sample in samples]) for part in (1, 2))
    table, mean, spread = standardised([sample[0] for sample in samples])
    weights = np.zeros(table.shape[1])
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(table @ weights, -15, 15)))
        slope = table.T @ (counts * (labels - probability)) - SHRINK * weights
        bend = (table * (counts * probability * (1 - probability))[:, None]).T @ table
        weights += np.linalg.solve(bend + SHRINK * np.eye(len(weights)), slope)
    return named(list(samples[0][0]), weights, mean, spread)


def fit_outlines(examples: Sequence[Example], first: Weights, second: Weights) -> Weights:
    """Weights of a linear regression on the Jaccard index of outlines with the masks of experts."""
    told, scores = [], []
    for picture, mask in examples:
        looks = [probability_of(first_look(picture), first)]
        for _ in range(SECOND_LOOKS):
            looks.append(probability_of(second_look(picture, looks[-1]), second))
        found = outlines(looks[-1], picture.seen)
        told += outline_features(found, picture, looks)
        scores += [jaccard(inside, mask) for inside in found]
    table, mean, spread = standardised(told)
    weights = np.linalg.solve(table.T @ table + SHRINK * np.eye(table.shape[1]), table.T @ np.array(scores))
    return named(list(told[0]), weights, mean, spread)


def standardised(rows: Sequence[Mapping[str, np.ndarray | float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A column for each name, of mean 0 and spread 1, and one of ones; the means and spreads they had."""
    columns = np.stack([np.hstack([row[name] for row in rows]) for name in rows[0]], axis=1).astype(np.float64)
    mean, spread = columns.mean(axis=0), columns.std(axis=0) + 1e-9
    return np.hstack([(columns - mean) / spread, np.ones((len(columns), 1))]), mean, spread


def named(names: Sequence[str], weights: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> Weights:
    """Weights of the values as they were, to four digits."""
    plain = weights[:-1] / spread
    given = dict(zip(names, plain, strict=True)) | {"one": weights[-1] - plain @ mean}
    return {name: float(f"{value:.4g}") for name, value in given.items()}


if __name__ == "__main__":
    main()

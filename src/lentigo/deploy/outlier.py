"""How unlike its training images a picture is: a Mahalanobis distance on colours and textures, part of the graph.

The numbers are the same for every network: mean colours of the four quarters, the spread of each colour, and how much
brightness and two colour differences change from one cell to the next, at four sizes of cell. They are fitted on the
validation images of a run. The network's own pooled features were tried: they refuse three in four of the pictures
without a mole of which these refuse 99 in 100 (results/deploy).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from sklearn.covariance import LedoitWolf
from torch import Tensor, nn

from lentigo.errors import ModelError
from lentigo.imaging import Preprocessing

LEAST_IMAGES = 20
WARNED, REFUSED = 0.10, 0.05  # shares of the validation images that are further away
_FOLDS = 5
_LEVELS, _LEAST_CELLS = 4, 4
_FLOOR = 1e-3  # a fourth of a grey level: below it a change is noise


@dataclass(frozen=True)
class Limits:
    """Distances from which on an image is doubted and refused, and how many images said so."""

    warn_above: float
    refuse_above: float
    fitted_on: int


class Describe(nn.Module):
    """Network inputs to colours and textures, one row an image."""

    mean: Tensor
    std: Tensor
    contrasts: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        for name in ("mean", "std"):
            values = torch.tensor(getattr(preprocessing, name), dtype=torch.float32)
            self.register_buffer(name, values.reshape(1, 3, 1, 1))
        brightness, red_green, yellow_blue = [0.299, 0.587, 0.114], [1.0, -1.0, 0.0], [0.5, 0.5, -1.0]
        contrasts = torch.tensor([brightness, red_green, yellow_blue])
        self.register_buffer("contrasts", contrasts.reshape(3, 3, 1, 1))

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch number"]:
        """The numbers that describe each image."""
        colours = images * self.std + self.mean
        middle_row, middle_column = colours.shape[2] // 2, colours.shape[3] // 2
        rows = (colours[:, :, :middle_row], colours[:, :, middle_row:])
        quarters = [part for row in rows for part in (row[..., :middle_column], row[..., middle_column:])]
        found = [_mean(quarter) for quarter in quarters]
        spread = _mean((colours - _mean(colours)[:, :, None, None]) ** 2).sqrt()
        found.append((spread + _FLOOR).log())
        cells = nn.functional.conv2d(colours, self.contrasts)
        for _ in range(_LEVELS):
            if min(cells.shape[2:]) < 2 * _LEAST_CELLS:
                break
            cells = nn.functional.avg_pool2d(cells, 2)
            down, across = cells[:, :, 1:] - cells[:, :, :-1], cells[..., 1:] - cells[..., :-1]
            found += [(_mean(change.abs()) + _FLOOR).log() for change in (down, across)]
        return torch.cat(found, dim=1)


def _mean(maps: Float[Tensor, "batch map row column"]) -> Float[Tensor, "batch map"]:
    """Over columns, then over rows: onnxruntime adds cells one by one, which over a whole photo costs 4e-5 of a score.

    In two steps it costs 4e-6, as in torch (300 photos of 300 px against float64).
    """
    return maps.mean(dim=3).mean(dim=2)


class OutlierScore(nn.Module):
    """Network inputs to distances from the images it was fitted on: about 1 for one of them, larger for others."""

    centre: Tensor
    whiten: Tensor

    def __init__(self, describe: Describe, centre: Float32[Tensor, " number"], whiten: Float32[Tensor, "a b"]) -> None:
        super().__init__()
        self.describe = describe
        self.register_buffer("centre", centre)
        self.register_buffer("whiten", whiten)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, " batch"]:
        """The root of the mean squared whitened number."""
        whitened: Tensor = (self.describe(images) - self.centre) @ self.whiten
        return (whitened**2).mean(dim=1).sqrt()


def fit_outlier_score(
    batches: Callable[[], Iterable[Float32[Tensor, "batch 3 height width"]]], preprocessing: Preprocessing
) -> tuple[OutlierScore, Limits]:
    """The distance from some images, and the limits by which nineteen in twenty such images are accepted.

    Limits are taken from distances to a fit without the image's own fifth: an image is close to a fit that knows it.

    Args:
        batches: gives the images, preprocessed, in any order.
    Raises: ModelError: fewer than `LEAST_IMAGES`.
    Source: Lee et al. 2018, arXiv:1807.03888 (Mahalanobis distance); Ledoit & Wolf 2004,
        doi:10.1016/S0047-259X(03)00096-4 (its covariance).
    """
    describe = Describe(preprocessing)
    with torch.no_grad():
        described = [describe(images).double().numpy() for images in batches()]
    count = sum(len(numbers) for numbers in described)
    if count < LEAST_IMAGES:
        raise ModelError(
            f"there are {count} validation images, too few to tell what such images look like: {LEAST_IMAGES} are "
            "needed; train again with a larger split.validation_fraction"
        )
    numbers = np.concatenate(described)
    distances = np.concatenate([_distances(numbers[others], numbers[own]) for others, own in _folds(len(numbers))])
    warn, refuse = np.quantile(distances, [1 - WARNED, 1 - REFUSED])
    centre, whiten = (torch.from_numpy(part.astype(np.float32)) for part in _fit(numbers))
    limits = Limits(warn_above=float(warn), refuse_above=float(refuse), fitted_on=len(numbers))
    return OutlierScore(describe, centre, whiten), limits


def _fit(numbers: Float64[np.ndarray, "image number"]) -> tuple[np.ndarray, np.ndarray]:
    """Centre and whitening matrix; each number is brought to the same spread before the covariance is shrunk."""
    centre, spread = numbers.mean(axis=0), np.maximum(numbers.std(axis=0), _FLOOR)
    covariance = LedoitWolf(assume_centered=True).fit((numbers - centre) / spread).covariance_
    lower = np.linalg.cholesky(np.linalg.inv(covariance))
    return centre, lower / spread[:, None]


def _distances(fitted: Float64[np.ndarray, "one number"], others: Float64[np.ndarray, "other number"]) -> np.ndarray:
    centre, whiten = _fit(fitted)
    distances: np.ndarray = np.sqrt((((others - centre) @ whiten) ** 2).mean(axis=1))
    return distances


def _folds(count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions to fit on and positions to judge."""
    fold = np.arange(count) % _FOLDS
    for number in range(_FOLDS):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)

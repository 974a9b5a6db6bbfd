"""Whether maps hang on what they must, and not on what they must not: a network, images and an explainer in.

A map that explains a network changes when the network's weights do: `randomised_layers`, which `over_draws` sums up. It
goes with the image when that is shifted by a few pixels: `stability`. Neither says that a map is right; a map that
fails either is not believed.
"""

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64
from scipy.special import stdtrit
from torch import Tensor, nn
from torch.nn.functional import pad

from lentigo.errors import ConfigError
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.explain.agreement import Explainer, enlarged, explained, rank_correlation
from lentigo.models.contract import LesionClassifier, seeded_torch

DIRECTIONS = {"right": (0, 1), "down": (1, 0), "left": (0, -1), "up": (-1, 0)}  # rows and columns that things move by

_BATCH = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerCheck:
    """How like the trained network's maps those are after one more layer has lost its weights; near 0 is good.

    A row a draw of random weights.

    Spearman's correlation over a map's cells, in [-1, 1]; NaN where one of the two maps is the same everywhere.
    """

    layer: str  # the last one that lost its weights, as `named_modules` has it; those after it have lost theirs too
    signed: Float64[np.ndarray, "draw image"]  # of the maps as they are
    absolute: Float64[np.ndarray, "draw image"]  # of their absolute values, which a change of all signs leaves

    @property
    def undefined(self) -> int:
        """Images without a correlation of one kind or the other in some draw."""
        return int((np.isnan(self.signed) | np.isnan(self.absolute)).any(axis=0).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Stability:
    """How like a map of a shifted image the shifted map is; near 1 is good.

    Spearman's correlation over the pixels that both cover, in [-1, 1]; NaN where one of the two is the same everywhere.
    """

    shift_px: int
    correlation: Float64[np.ndarray, "direction image"]  # in the order of `DIRECTIONS`

    @property
    def mean(self) -> Float64[np.ndarray, " image"]:
        """Of each image over the directions; NaN where one of them has no correlation."""
        mean: Float64[np.ndarray, " image"] = self.correlation.mean(axis=0)
        return mean

    @property
    def undefined(self) -> int:
        """Images without a mean."""
        return int(np.isnan(self.mean).sum())


def randomised_layers(
    model: LesionClassifier,
    images: Float32[Tensor, "batch 3 height width"],
    explain: Explainer,
    *,
    seed: int,
    draws: int = 5,
) -> tuple[LayerCheck, ...]:
    """Maps of the trained network beside those of a copy that loses its weights layer by layer, from the head down.

    A layer that has parameters of its own gets those that its class draws at first; batch normalisation forgets its
    running statistics too. The random weights depend on the seed, the draw and the network alone, so that the images of
    many calls are compared with the same networks. The model is left as it was.

    A draw is one network for all images: it may happen to like what is dark or what is bright, so that signed
    correlations lie on either side of 0 together (-0.62 to 0.36 for Tiny VGG's Grad-CAM). So more images of one draw
    are no surer; more draws are.

    Args:
        draws: of random weights, each for all layers.
    Returns: one check for each layer, the last layer's first.
    Raises:
        ConfigError: a layer has parameters and no `reset_parameters`, or draws is below 1.
        RunError: a map is not finite.
    Source: Adebayo et al. 2018, "Sanity checks for saliency maps", NeurIPS 31, arXiv:1810.03292, section 3.1.
    """
    if draws < 1:
        raise ConfigError(f"draws is {draws}, not 1 or more; try 5")
    names = [name for name, _ in _layers(model)]
    trained = _cells(explained(model, images, explain))
    found = np.array([_one_draw(model, images, explain, trained, seed=seed, draw=draw) for draw in range(draws)])
    return tuple(
        LayerCheck(layer=name, signed=found[:, number, 0], absolute=found[:, number, 1])
        for number, name in enumerate(names)
    )


def over_draws(values: Float64[np.ndarray, "draw image"], *, level: float = 0.95) -> Interval:
    """The mean of the draws' means over images, with Student's t interval over these means.

    It says what other random weights would give on these images; how far other images differ is not in it. An image
    without a value is left out of its draw's mean, a draw without any out of all.

    Args:
        values: correlations, so the bounds are cut to [-1, 1]; NaN: none.
        level: chance that such an interval is to hold the mean over all draws, in (0, 1).
    Returns: `UNDEFINED` without a value; without bounds where a single draw has any.
    Source: Student 1908, Biometrika 6(1):1-25, doi:10.1093/biomet/6.1.1.
    """
    known = ~np.isnan(values)
    some = known.any(axis=1)
    if not some.any():
        return UNDEFINED
    means = np.where(known, values, 0)[some].sum(axis=1) / known[some].sum(axis=1)
    mean = float(means.mean())
    if means.size == 1:
        return Interval(mean, math.nan, math.nan)
    half = float(stdtrit(means.size - 1, (1 + level) / 2) * means.std(ddof=1) / math.sqrt(means.size))
    return Interval(mean, max(mean - half, -1.0), min(mean + half, 1.0))


def stability(
    model: LesionClassifier, images: Float32[Tensor, "batch 3 height width"], explain: Explainer, *, shift_px: int
) -> Stability:
    """Maps of images moved right, down, left and up, beside the maps of the images, moved as much.

    They are compared on the input's grid, where both are known. The edge pixels of an image are repeated where nothing
    comes in. A network that pools moves in its own steps: a shift by a multiple of them is the easier test.

    Args:
        shift_px: of the network's input.
    Raises:
        ConfigError: the shift is not in [1, half the shorter side].
        RunError: a map is not finite.
    """
    height, width = images.shape[2:]
    if not 1 <= shift_px <= min(height, width) // 2:
        raise ConfigError(
            f"shift_px is {shift_px}, not a whole number in [1, {min(height, width) // 2}], which is half of the "
            f"input's shorter side; try {max(1, min(height, width) // 50)}"
        )
    still = explained(model, images, explain)
    rows = []
    for down, right in DIRECTIONS.values():
        dy, dx = shift_px * down, shift_px * right
        moved = explained(model, _shifted(images, dy, dx), explain)
        rows.append(_alike(still, moved, dy, dx, size=(height, width)))
    return Stability(shift_px=shift_px, correlation=np.array(rows, dtype=np.float64))


def _one_draw(
    model: LesionClassifier,
    images: Tensor,
    explain: Explainer,
    trained: Float32[np.ndarray, "image cell"],
    *,
    seed: int,
    draw: int,
) -> Float64[np.ndarray, "layer kind image"]:
    """Correlations of the maps as they are and of their absolute values, after each layer."""
    with torch.inference_mode(False):
        broken = copy.deepcopy(model)
    found = []
    for number, (_, layer) in enumerate(_layers(broken)):
        with torch.inference_mode(False), seeded_torch(seed, 0x5A17, draw, number):
            layer.reset_parameters()  # type: ignore[operator]
        maps = _cells(explained(broken, images, explain))
        found.append([rank_correlation(trained, maps), rank_correlation(np.abs(trained), np.abs(maps))])
    return np.array(found)


def _layers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers that have parameters of their own, the last one first."""
    layers = [(name, layer) for name, layer in model.named_modules() if any(True for _ in layer.parameters(False))]
    fixed = [name or "the network itself" for name, layer in layers if not hasattr(layer, "reset_parameters")]
    if fixed:
        raise ConfigError(
            f"{', '.join(fixed)} of {type(model).__name__} has parameters and no reset_parameters, so that random "
            "weights cannot be drawn for it; give its class that method"
        )
    return layers[::-1]


def _cells(maps: Float32[Tensor, "batch rows columns"]) -> Float32[np.ndarray, "batch cell"]:
    cells: Float32[np.ndarray, "batch cell"] = maps.flatten(1).numpy()
    return cells


def _shifted(images: Tensor, dy: int, dx: int) -> Float32[Tensor, "batch 3 height width"]:
    """What is at (y, x) comes to (y + dy, x + dx); edge pixels are repeated."""
    height, width = images.shape[2:]
    wide = pad(images, (max(dx, 0), max(-dx, 0), max(dy, 0), max(-dy, 0)), mode="replicate")
    top, left = max(-dy, 0), max(-dx, 0)
    return wide[:, :, top : top + height, left : left + width]


def _alike(still: Tensor, moved: Tensor, dy: int, dx: int, *, size: tuple[int, int]) -> list[float]:
    """Correlation of each pair of maps where both images show the same; 32 are on the input's grid at once."""
    height, width = size
    of_still = np.s_[:, max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
    of_moved = np.s_[:, max(dy, 0) : height - max(-dy, 0), max(dx, 0) : width - max(-dx, 0)]
    found: list[float] = []
    for start in range(0, len(still), _BATCH):
        first, second = (enlarged(maps[start : start + _BATCH], height, width) for maps in (still, moved))
        pieces = first[of_still], second[of_moved]
        found += rank_correlation(*(piece.flatten(1).numpy() for piece in pieces)).tolist()
    return found

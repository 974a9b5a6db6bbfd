"""How alike two heat maps of one image are: maps in, a rank correlation an image out.

Ranks, since maps of different methods, layers or networks have different units and spreads, and all that they claim in
common is an order of places. A map that is the same everywhere has no order: its correlation is NaN, never 0 or 1.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float32, Float64, Real
from torch import Tensor
from torch.nn.functional import interpolate

from lentigo.errors import DataError, RunError
from lentigo.models.contract import LesionClassifier

# From a network and its inputs (batch, 3, height, width) to signed maps (batch, rows, columns), float32; above 0 speaks
# for malignant. It leaves the network as it was.
Explainer: TypeAlias = Callable[[LesionClassifier, Tensor], Tensor]

_BATCH = 32


def agreement(
    first: Float32[np.ndarray, "image rows columns"], second: Float32[np.ndarray, "image other_rows other_columns"]
) -> Float64[np.ndarray, " image"]:
    """Spearman's rank correlation of two methods' or networks' maps, over the cells of the coarser grid.

    Both are averaged to as many rows as the one with fewer has, and columns alike, so that a finer map is not blamed
    for what the other cannot show.

    Returns: in [-1, 1] for each image; NaN where one of the two is the same everywhere on that grid.
    Raises: DataError: a map holds NaN or infinity.
    """
    rows, columns = (min(sides) for sides in zip(first.shape[1:], second.shape[1:], strict=True))
    coarse = [averaged(maps, rows, columns).reshape(len(maps), -1) for maps in (first, second)]
    return rank_correlation(coarse[0], coarse[1])


def rank_correlation(
    first: Real[np.ndarray, "image cell"], second: Real[np.ndarray, "image cell"]
) -> Float64[np.ndarray, " image"]:
    """Spearman's correlation of each row of `first` with that row of `second`; ties have the mean of their ranks.

    Returns: in [-1, 1]; NaN where all values of one of the two are equal.
    Raises: DataError: a value is NaN or infinite.
    Source: Spearman 1904, American Journal of Psychology 15(1):72-101, doi:10.2307/1412159.
    """
    for values in (first, second):
        if not np.isfinite(values).all():
            wrong = np.flatnonzero(~np.isfinite(values).all(axis=1)).tolist()
            raise DataError(f"the maps of images {wrong[:5]} hold NaN or infinity; only finite maps have ranks")
    centred = [ranks - ranks.mean(axis=1, keepdims=True) for ranks in (average_ranks(first), average_ranks(second))]
    together = (centred[0] * centred[1]).sum(axis=1)
    apart = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    # Ranks are halves, so that rounding leaves nothing of the spread of equal values, and a spread is at least 1/2.
    correlation = np.divide(together, apart, out=np.full(len(first), np.nan), where=apart > 0)
    bounded: Float64[np.ndarray, " image"] = correlation.clip(-1, 1)
    return bounded


def average_ranks(values: Real[np.ndarray, "image cell"]) -> Float64[np.ndarray, "image cell"]:
    """Rank of each value in its row from 1 on; equal values share the mean of theirs."""
    images, cells = values.shape
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    starts = np.ones((images, cells), dtype=bool)  # of runs of equal values; each row starts one
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.flatnonzero(starts)
    length = np.diff(first, append=values.size)
    mean = first % max(cells, 1) + (length + 1) / 2
    ranks = np.empty((images, cells))
    np.put_along_axis(ranks, order, np.repeat(mean, length).reshape(images, cells), axis=1)
    return ranks


def averaged(
    maps: Float32[np.ndarray, "image rows columns"], rows: int, columns: int
) -> Float32[np.ndarray, "image fewer_rows fewer_columns"]:
    """Maps on a coarser grid: each of its cells is the mean over its area, cells that it cuts counting in part.

    Raises: DataError: the grid has more rows or columns than the maps, or none.
    """
    if not (1 <= rows <= maps.shape[1] and 1 <= columns <= maps.shape[2]):
        raise DataError(
            f"maps of {maps.shape[1]} x {maps.shape[2]} cells cannot be averaged to {rows} x {columns}; "
            "ask for a grid as coarse or coarser"
        )
    exact = _shares(maps.shape[1], rows) @ maps @ _shares(maps.shape[2], columns).T  # float64: equal means stay equal
    coarse: Float32[np.ndarray, "image fewer_rows fewer_columns"] = exact.astype(np.float32)
    return coarse


def enlarged(
    maps: Float32[Tensor, "batch rows columns"], height_px: int, width_px: int
) -> Float32[Tensor, "batch height width"]:
    """Maps laid over the network's input: bilinear between the centres of cells that divide it evenly.

    A map with more cells than there are pixels is averaged, with a triangle filter. The result is on the processor.
    """
    exact, size = maps.cpu().double(), (height_px, width_px)  # double, so that where a map is flat it stays so
    larger: Tensor = interpolate(exact[:, None], size=size, mode="bilinear", align_corners=False, antialias=True)
    return larger[:, 0].float()


def explained(
    model: LesionClassifier, images: Float32[Tensor, "batch 3 height width"], explain: Explainer
) -> Float32[Tensor, "batch rows columns"]:
    """Maps of any number of images, 32 at a time, on the processor.

    Raises: RunError: what comes back is not one finite map an image.
    """
    pieces = [images[start : start + _BATCH] for start in range(0, len(images), _BATCH)]
    maps = torch.cat([explain(model, piece).detach().float().cpu() for piece in pieces])
    if maps.ndim != 3 or len(maps) != len(images) or not maps.isfinite().all():
        raise RunError(
            f"the explanation of {len(images)} images has the shape {tuple(maps.shape)}, or is not finite; "
            "one finite map (rows, columns) an image is needed"
        )
    return maps


def _shares(cells: int, fewer: int) -> Float64[np.ndarray, "fewer cells"]:
    """What every cell gives to the mean of each coarser cell, along one side; rows sum to 1."""
    # In units of 1 / (cells * fewer) of the side, in which all edges are whole numbers.
    fine, coarse = np.arange(cells) * fewer, np.arange(fewer)[:, None] * cells
    overlap = np.minimum(fine + fewer, coarse + cells) - np.maximum(fine, coarse)
    shares: Float64[np.ndarray, "fewer cells"] = np.maximum(overlap, 0) / cells
    return shares

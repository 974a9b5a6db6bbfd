"""Deletion and insertion: does the network decide by what a heat map calls relevant? Images, maps in; curves out.

The pixels of an image are replaced, those first that the map calls most relevant for the network's own decision. The
score of that decision should fall soon (deletion: from the image to a fill) and rise soon (insertion: from the fill to
the image). How soon is compared with the same map out of place: moved by a random number of rows and columns, what
leaves on one side coming in on the other. So its values and its smoothness stay, and only the knowledge of the place is
lost. Pixels in random order, or the small cells of a fine map, would be another kind of picture: noise, which may upset
a network by itself, so that a map could win by being smooth. (Tiny VGG is calm: smooth maps of 75 x 75 cells that knew
nothing gained at most 0.04 of a logit, with a standard error of 0.07, from either opponent. Others need not be.)

Source: Petsiuk et al. 2018, "RISE", arXiv:1806.07421, section 4.1; moving a pattern round a torus:
Lotwick & Silverman 1982, Journal of the Royal Statistical Society B 44(3):406-413.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from torch import Tensor, nn

from lentigo.errors import ConfigError, DataError, RunError
from lentigo.explain.agreement import enlarged
from lentigo.explain.background import blur_weights
from lentigo.models.contract import evaluating

Fill = Literal["blur", "mean"]  # the image blurred until no structure of a lesion is left, or its mean colour
Unit = Literal["logit", "probability"]

_BATCH = 32
_PATCHES = 7  # along a side, in which pixels of equal relevance are taken


@dataclass(frozen=True, kw_only=True, eq=False)
class Areas:
    """Areas under the curves over the share of pixels in [0, 1], so each is a mean score; NaN where undefined."""

    deletion: Float64[np.ndarray, " image"]  # low is good
    insertion: Float64[np.ndarray, " image"]  # high is good
    random_deletion: Float64[np.ndarray, " image"]  # mean over the draws
    random_insertion: Float64[np.ndarray, " image"]

    @property
    def deletion_gain(self) -> Float64[np.ndarray, " image"]:
        """By how much further the score falls than with the map out of place; above 0 the map knows something."""
        gain: Float64[np.ndarray, " image"] = self.random_deletion - self.deletion
        return gain

    @property
    def insertion_gain(self) -> Float64[np.ndarray, " image"]:
        """By how much higher the score rises than with the map out of place; above 0 the map knows something."""
        gain: Float64[np.ndarray, " image"] = self.insertion - self.random_insertion
        return gain


@dataclass(frozen=True, kw_only=True, eq=False)
class Curves:
    """Scores of each image's own decision (the sign of its logit times the logit) while its pixels are replaced.

    A curve is NaN throughout where it says nothing: where the map has no order, or the image one colour, which no fill
    changes.
    """

    fractions: Float64[np.ndarray, " point"]  # of the pixels replaced: 0 to 1
    deletion: Float32[np.ndarray, "image point"]  # from the image to the fill
    insertion: Float32[np.ndarray, "image point"]  # from the fill to the image
    random_deletion: Float32[np.ndarray, "image draw point"]
    random_insertion: Float32[np.ndarray, "image draw point"]
    constant_map: Bool[np.ndarray, " image"]  # the map is the same everywhere
    one_colour: Bool[np.ndarray, " image"]  # the image is

    @property
    def undefined(self) -> int:
        """Images whose curves are NaN."""
        return int((self.constant_map | self.one_colour).sum())

    def areas(self, unit: Unit) -> Areas:
        """Areas under the curves of the logit, or of the probability of the decision, of each image."""

        def area(curve: Float32[np.ndarray, "*curves point"]) -> Float64[np.ndarray, "*curves"]:
            scores = curve.astype(np.float64)
            found = np.trapezoid(probability(scores) if unit == "probability" else scores, self.fractions, axis=-1)
            return np.asarray(found, dtype=np.float64)

        return Areas(
            deletion=area(self.deletion),
            insertion=area(self.insertion),
            random_deletion=area(self.random_deletion).mean(axis=1),
            random_insertion=area(self.random_insertion).mean(axis=1),
        )


def deletion_and_insertion(
    model: nn.Module,
    images: Float32[Tensor, "batch 3 height width"],
    maps: Float32[Tensor, "batch rows columns"],
    *,
    fill: Fill,
    seed: int,
    steps: int = 10,
    draws: int = 3,
    first: int = 0,
) -> Curves:
    """Curves of deletion and insertion for a map, and for the same map moved to random places.

    Maps are enlarged to the input, bilinearly between the cells' centres. Pixels of equal relevance are taken patch by
    patch, in an order drawn at random. The model is left as it was. It costs 2 + 2 (steps - 1) (1 + draws) forward
    passes an image and holds 32 images at a time beside those given.

    Args:
        model: from images to logits (batch,).
        images: the network's inputs.
        maps: signed; above 0 speaks for malignant. They are turned to the decision that the model makes; a logit of 0
            is malignant.
        fill: what pixels are replaced with.
        seed: of the random places.
        steps: into how many equal parts the pixels are divided.
        draws: how many random places.
        first: the number of the first image in its data set: with it the draws do not depend on how the images are
            batched.
    Raises:
        ConfigError: steps or draws below 1.
        DataError: there is not one map an image, or a map holds NaN or infinity.
        RunError: a logit is not finite.
    """
    _check(images, maps, steps=steps, draws=draws)
    parts = []
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(images), _BATCH):
            piece, of_piece = images[start : start + _BATCH], maps[start : start + _BATCH].cpu()
            rngs = [
                np.random.default_rng(np.random.SeedSequence((seed, 0xDE1E7E, first + start + index)))
                for index in range(len(piece))
            ]
            parts.append(_curves(model, piece, of_piece, fill=fill, steps=steps, draws=draws, rngs=rngs))
    return joined(parts)


def joined(parts: Sequence[Curves]) -> Curves:
    """The curves of many batches as one, in their order.

    Raises: DataError: there is none, or they have other steps or draws.
    """
    shapes = {(*part.fractions.tolist(), part.random_deletion.shape[1]) for part in parts}
    if len(shapes) != 1:
        found = "other steps or draws in some of them" if shapes else "no image"
        raise DataError(f"found {found}; give curves of at least one image, all of the same steps and draws")
    return Curves(
        fractions=parts[0].fractions,
        deletion=np.concatenate([part.deletion for part in parts]),
        insertion=np.concatenate([part.insertion for part in parts]),
        random_deletion=np.concatenate([part.random_deletion for part in parts]),
        random_insertion=np.concatenate([part.random_insertion for part in parts]),
        constant_map=np.concatenate([part.constant_map for part in parts]),
        one_colour=np.concatenate([part.one_colour for part in parts]),
    )


def filled(images: Float32[Tensor, "batch 3 height width"], fill: Fill) -> Float32[Tensor, "batch 3 height width"]:
    """What the pixels of each image are replaced with.

    "blur" is a Gaussian whose standard deviation is `background.BLUR`, 0.1, of the shorter side. Stripes as wide as a
    tenth of the side keep 1 % of their contrast, so a lesion's border, network and dots are gone; it stays as a dark
    cloud, its colour included. Beyond the edge nothing is made up: there the mean is over fewer pixels.
    "mean" is the image's mean colour.
    """
    if fill == "mean":
        return images.mean(dim=(2, 3), keepdim=True).expand_as(images)
    height, width = images.shape[2:]
    down, across = (
        torch.from_numpy(blur_weights(side, min(height, width))).to(images.device) for side in (height, width)
    )
    blurred: Tensor = (down / down.sum(dim=1, keepdim=True)) @ images @ (across / across.sum(dim=1, keepdim=True)).T
    return blurred


def probability(scores: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The logistic function of logits of any size, without overflow; NaN stays NaN."""
    found: Float64[np.ndarray, "*shape"] = (1 + np.tanh(scores / 2)) / 2
    return found


def _curves(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    *,
    fill: Fill,
    steps: int,
    draws: int,
    rngs: list[np.random.Generator],
) -> Curves:
    """The curves of one batch."""
    fills, ends = filled(images, fill), np.linspace(0, 1, steps + 1)
    logits = _logits(model, images)
    sign = np.where(logits >= 0, np.float32(1), np.float32(-1))
    relevance = maps * torch.from_numpy(sign)[:, None, None]
    curves = np.empty((2, len(images), 1 + draws, steps + 1), dtype=np.float32)
    curves[0, :, :, 0] = curves[1, :, :, -1] = (sign * logits)[:, None]
    curves[0, :, :, -1] = curves[1, :, :, 0] = (sign * _logits(model, fills))[:, None]
    for order in range(1 + draws):
        shown = relevance if order == 0 else _moved(relevance, rngs)
        place = _places(shown, rngs, images.shape[2:]).to(images.device)
        for point, replaced in _replacements(images, fills, place, steps):
            curves[0, :, order, point] = sign * _logits(model, replaced[0])
            curves[1, :, order, point] = sign * _logits(model, replaced[1])
    constant, one_colour = _same(maps).all(dim=1).numpy(), _same(images).all(dim=1).cpu().numpy()
    curves[:, constant | one_colour] = math.nan
    return Curves(
        fractions=ends,
        deletion=curves[0, :, 0],
        insertion=curves[1, :, 0],
        random_deletion=curves[0, :, 1:],
        random_insertion=curves[1, :, 1:],
        constant_map=constant,
        one_colour=one_colour,
    )


def _replacements(
    images: Tensor, fills: Tensor, place: Int64[Tensor, "batch height width"], steps: int
) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """For each point between the ends: its number, and the images after deletion and after insertion up to it."""
    pixels = place[0].numel()
    for point in range(1, steps):
        gone = (place < round(pixels * point / steps))[:, None]
        yield point, (torch.where(gone, fills, images), torch.where(gone, images, fills))


def _places(
    relevance: Float32[Tensor, "batch rows columns"], rngs: list[np.random.Generator], size: Sequence[int]
) -> Int64[Tensor, "batch height width"]:
    """When each pixel's turn comes: 0 for the most relevant one."""
    # Ties are common: where a ReLU is dead whole regions are 0. Row by row they would be taken from the top, and in
    # random order as noise; so a second map of a few random cells decides.
    drawn = np.stack([rng.random((_PATCHES, _PATCHES), dtype=np.float32) for rng in rngs])
    chance = torch.from_numpy(drawn)
    by_chance = enlarged(chance, size[0], size[1]).flatten(1).argsort(dim=1, stable=True)
    shown = enlarged(relevance, size[0], size[1]).flatten(1).gather(1, by_chance)
    order = by_chance.gather(1, shown.argsort(dim=1, descending=True, stable=True))
    place = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    return place.reshape(-1, size[0], size[1])


def _moved(maps: Tensor, rngs: list[np.random.Generator]) -> Float32[Tensor, "batch rows columns"]:
    """Each map moved round the torus, to any place but its own."""
    _, rows, columns = maps.shape
    moved = []
    for values, rng in zip(maps, rngs, strict=True):
        by = int(rng.integers(1, max(rows * columns, 2)))
        moved.append(values.roll((by // columns, by % columns), dims=(0, 1)))
    return torch.stack(moved)


def _logits(model: nn.Module, images: Tensor) -> Float32[np.ndarray, " batch"]:
    logits: Float32[np.ndarray, " batch"] = model(images).float().cpu().numpy()
    if not np.isfinite(logits).all():
        raise RunError(
            f"the logits of images {np.flatnonzero(~np.isfinite(logits)).tolist()[:5]} of a batch of {len(logits)} are "
            "not finite; check the images, and that the training of this network did not diverge"
        )
    return logits


def _same(values: Tensor) -> Bool[Tensor, "batch plane"]:
    """Whether each plane (row, column) of values has one value; maps have one plane."""
    planes = values.reshape(len(values), -1, values.shape[-2] * values.shape[-1])
    same: Bool[Tensor, "batch plane"] = planes.amax(dim=2) == planes.amin(dim=2)
    return same


def _check(images: Tensor, maps: Tensor, *, steps: int, draws: int) -> None:
    for name, value in (("steps", steps), ("draws", draws)):
        if value < 1:
            raise ConfigError(f"{name} is {value}, not 1 or more; try {10 if name == 'steps' else 3}")
    if len(images) != len(maps):
        raise DataError(f"there are {len(maps)} maps for {len(images)} images; give one an image")
    finite = maps.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        wrong = (~finite).nonzero().flatten().tolist()
        raise DataError(f"the maps of images {wrong[:5]} hold NaN or infinity; only finite maps can be ranked")

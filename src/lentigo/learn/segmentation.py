"""Lesions found by a trained segmenter: packed images in; masks, and how sure each is, out.

Each image is looked at in all eight ways in which a square lies on itself, and the probabilities are averaged: a lesion
has no upper side.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.functional import interpolate

from lentigo.data.batches import batches
from lentigo.data.masks import pack_masks
from lentigo.data.pack import ImagePack
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.evidence.bootstrap import percentiles, resamples
from lentigo.files import sha256_of
from lentigo.learn.checkpoint import SegmenterCheckpoint, run_segmenter
from lentigo.learn.shards import gather, shard, told_of_all
from lentigo.learn.tasks import jaccard
from lentigo.models.contract import evaluating

# Of ISIC 2017's 150 validation images, 13 lie below it, of a mean Jaccard index of 0.40; 12 have an index below 0.5.
LEAST_CONFIDENCE = 0.7
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
_BATCH = 32
_MOST_CUTS = 50  # five are enough for ISIC 2017's images; more only where rounding would go to and fro

Masks = Bool[np.ndarray, "image size size"]


@dataclass(frozen=True, kw_only=True)
class RunSegmenter:
    """The segmenter of a run, to be called with a pack and indices."""

    checkpoint: SegmenterCheckpoint
    key: str  # the SHA-256 of its weights' file
    least_confidence: float = LEAST_CONFIDENCE  # masks below it are best left out
    device: torch.device | None = None

    def __call__(
        self,
        pack: ImagePack,
        indices: Sequence[int] | np.ndarray,
        *,
        size_px: int,
        on_progress: Callable[[int], None] | None = None,
    ) -> tuple[Masks, Float64[np.ndarray, " image"]]:
        """As `segment_images`."""
        return segment_images(
            self.checkpoint, pack, indices, size_px=size_px, device=self.device, on_progress=on_progress
        )


@dataclass(frozen=True, kw_only=True)
class SegmenterScore:
    """How well a segmenter finds the lesions of images that have expert masks."""

    ids: tuple[str, ...]
    jaccard: Float64[np.ndarray, " image"]  # of the mask found and the expert's
    confidence: Float64[np.ndarray, " image"]
    left_out: tuple[str, ...]  # ids of images without a mask, or with an empty one, in the images' order

    def to_dict(self) -> dict[str, Any]:
        """The mean with its 95 % bootstrap interval, the distribution, and how well the confidence ranks the images.

        Those of low confidence count too; `jaccard_confident` is the mean of the others, NaN where there is none.
        """
        confident = self.jaccard[self.confidence >= LEAST_CONFIDENCE]
        means = [self.jaccard[drawn].mean() for drawn in resamples(np.zeros(len(self.ids), dtype=np.int64))]
        low, high = percentiles(np.array(means), 0.95)
        return {
            "n_images": len(self.ids),
            "n_left_out": len(self.left_out),
            "jaccard": float(self.jaccard.mean()),
            "jaccard_low": low,
            "jaccard_high": high,
            "quantiles": {f"{q:g}": float(np.quantile(self.jaccard, q)) for q in QUANTILES},
            "share_below_half": float((self.jaccard < 0.5).mean()),
            "n_low_confidence": len(self.jaccard) - len(confident),
            "jaccard_confident": float(confident.mean()) if confident.size else math.nan,
            "rank_correlation": _rank_correlation(self.confidence, self.jaccard),
        }


def open_segmenter(run: Path, *, device: torch.device | None = None) -> RunSegmenter:
    """The segmenter of a run folder, or of its `checkpoint.safetensors`.

    Raises: RunError: it is no run, its training has not ended, the file is damaged, or it is a classifier's.
    """
    path = run if run.is_file() else run / "checkpoint.safetensors"
    checkpoint = run_segmenter(run)
    return RunSegmenter(checkpoint=checkpoint, key=sha256_of(path), device=device)


def segment_images(
    segmenter: Path | SegmenterCheckpoint,
    pack: ImagePack,
    indices: Sequence[int] | np.ndarray,
    *,
    size_px: int,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Masks, Float64[np.ndarray, " image"]]:
    """Lesion masks of the images at `indices`, all held at once; `segmented` gives them piece by piece.

    Args:
        segmenter: a run folder, its checkpoint file, or what was read of one.
        size_px: height and width of the masks.
        device: where to compute; None: the CPU.
        on_progress: called after every batch with the number of its images.
    Returns: the masks, and the confidence of each in [0, 1], see `best_masks`; 0 for an empty one.
    Raises: RunError: as `open_segmenter`. DataError: the pack is damaged.
    """
    masks, confidence = np.zeros((len(indices), size_px, size_px), dtype=bool), np.zeros(len(indices))
    done = 0
    for found, sure in segmented(segmenter, pack, indices, size_px=size_px, device=device):
        masks[done : done + len(found)], confidence[done : done + len(found)] = found, sure
        done += len(found)
        if on_progress:
            on_progress(len(found))
    return masks, confidence


def segmented(
    segmenter: Path | SegmenterCheckpoint,
    pack: ImagePack,
    indices: Sequence[int] | np.ndarray,
    *,
    size_px: int,
    device: torch.device | None = None,
) -> Iterator[tuple[Masks, Float64[np.ndarray, " image"]]]:
    """As `segment_images`, in pieces of at most 32 images."""
    checkpoint = run_segmenter(segmenter) if isinstance(segmenter, Path) else segmenter
    model = checkpoint.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    source = batches(pack, indices, checkpoint.preprocessing, batch_size=_BATCH, device=device)
    with evaluating(model), torch.inference_mode():
        for images in source:
            shares = interpolate(lesion_probability(model, images)[:, None], size=(size_px, size_px), mode="bilinear")
            yield best_masks(shares[:, 0].cpu().numpy())


def lesion_probability(
    model: torch.nn.Module, images: Float32[Tensor, "image 3 size size"]
) -> Float32[Tensor, "image size size"]:
    """The mean of a segmenter's probabilities over the eight turns and mirrorings of each image."""
    total = torch.zeros_like(images[:, 0])
    for turns in range(4):
        for mirrored in (False, True):
            seen = torch.rot90(images, turns, (2, 3))
            seen = (seen.flip(3) if mirrored else seen).contiguous(memory_format=torch.channels_last)
            found = torch.sigmoid(model(seen).float())
            total += torch.rot90(found.flip(2) if mirrored else found, -turns, (1, 2))
    return total / 8


def best_masks(
    probability: Float32[np.ndarray, "image size size"],
) -> tuple[Masks, Float64[np.ndarray, " image"]]:
    """The mask of each image that can expect the greatest Jaccard index, and how great, if the probabilities are right.

    What a mask expects is J = the probability inside it, over its pixels and the probability outside it. A pixel raises
    J where its own probability is above J / (1 + J): at most 0.5, and the lower, the less sure the image. From the mask
    of all pixels above 0.5 on, the cut follows J until nothing changes, which is the greatest J there is.

    Returns: masks, and J in [0, 1], the confidence: it falls where the border is unsure and where something else may be
        the lesion. Where no pixel is above 0.5, an empty mask and 0.
    Source: the search is that of Dinkelbach 1967, Management Science 13(7):492-498, doi:10.1287/mnsc.13.7.492.
    """
    masks = probability > 0.5
    found = np.asarray(masks.any(axis=(1, 2)))
    expected = _expected_jaccard(masks, probability)
    for _ in range(_MOST_CUTS):
        better = (probability > (expected / (1 + expected))[:, None, None]) & found[:, None, None]
        if np.array_equal(better, masks):
            break
        masks, expected = better, _expected_jaccard(better, probability)
    return masks, expected


def _expected_jaccard(
    masks: Masks, probability: Float32[np.ndarray, "image size size"]
) -> Float64[np.ndarray, " image"]:
    hit = np.where(masks, probability, 0).sum(axis=(1, 2), dtype=np.float64)
    either = np.where(masks, 1, probability).sum(axis=(1, 2), dtype=np.float64)
    return np.where(masks.any(axis=(1, 2)), hit / np.maximum(either, 1), 0.0)


def score_segmenter(
    segmenter: Path | SegmenterCheckpoint,
    table: ImageTable,
    pack: ImagePack,
    indices: np.ndarray,
    *,
    size_px: int = 256,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> SegmenterScore:
    """The Jaccard index of each image's mask with the expert's, as in the ISIC 2017 challenge.

    Several processes share the images; all call it with the same ones and get the same back.

    Args:
        indices: of the images to score, which training has not seen; those without a mask are left out.
        size_px: at which masks are compared; 256 is the size of ISIC 2017's masks here.
    Raises: RunError: as `open_segmenter`. DataError: no image has a mask, or one cannot be used.
    """
    mine = np.asarray(shard(indices))
    experts = pack_masks(table, mine, size_px=size_px)
    kept, found = experts.among(mine), np.zeros((len(mine), 2))
    rows = np.flatnonzero(experts.there[mine])  # positions in this process's share
    tell = told_of_all(on_progress)
    for masks, confidence in segmented(segmenter, pack, kept, size_px=size_px, device=device):
        these, rows = rows[: len(masks)], rows[len(masks) :]
        found[these] = np.column_stack([jaccard(masks, experts.read(mine[these])), confidence])
        if tell:
            tell(len(masks))
    scored, values = gather(experts.there[mine], len(indices)), gather(found, len(indices))
    if not scored.any():
        raise DataError(
            f"{table.root}: none of the {len(indices)} images has a lesion mask with a lesion in it to compare with; "
            "name some"
        )
    return SegmenterScore(
        ids=tuple(table.ids[index] for index in indices[scored]),
        jaccard=values[scored, 0],
        confidence=values[scored, 1],
        left_out=tuple(table.ids[index] for index in indices[~scored]),
    )


def _rank_correlation(one: Float64[np.ndarray, " image"], other: Float64[np.ndarray, " image"]) -> float:
    """Spearman's; NaN where one of the two does not vary."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(spearmanr(one, other).statistic)

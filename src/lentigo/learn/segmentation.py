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
from lentigo.learn.tasks import jaccard
from lentigo.models.contract import evaluating

THRESHOLD = 0.5  # of the probability; 0.4 and 0.6 change the mean Jaccard index on ISIC 2017 by less than 0.005
QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
_BATCH = 32

Masks = Bool[np.ndarray, "image size size"]


@dataclass(frozen=True, kw_only=True)
class RunSegmenter:
    """The segmenter of a run, to be called with a pack and indices."""

    checkpoint: SegmenterCheckpoint
    key: str  # the SHA-256 of its weights' file
    least_confidence: float = 0.0  # masks below it are left out
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
    left_out: tuple[str, ...]  # ids of images without a mask, or with an empty one

    def to_dict(self) -> dict[str, Any]:
        """The mean with its 95 % bootstrap interval, the distribution, and how well the confidence ranks the images."""
        means = [self.jaccard[drawn].mean() for drawn in resamples(np.zeros(len(self.ids), dtype=np.int64))]
        low, high = percentiles(np.array(means), 0.95)
        return {
            "n_images": len(self.ids),
            "n_left_out": len(self.left_out),
            "threshold": THRESHOLD,
            "jaccard": float(self.jaccard.mean()),
            "jaccard_low": low,
            "jaccard_high": high,
            "quantiles": {f"{q:g}": float(np.quantile(self.jaccard, q)) for q in QUANTILES},
            "share_below_half": float((self.jaccard < 0.5).mean()),
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
    Returns: the masks, and the confidence of each in [0, 1], see `expected_jaccard`; 0 for an empty one.
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
            probability = shares[:, 0].cpu().numpy()
            yield probability > THRESHOLD, expected_jaccard(probability)


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


def expected_jaccard(probability: Float32[np.ndarray, "image height width"]) -> Float64[np.ndarray, " image"]:
    """What a mask cut at `THRESHOLD` can expect of its Jaccard index, if the probabilities are right.

    The expected intersection over the expected union: the probability inside the mask, over the mask's pixels and the
    probability outside it. It falls where the border is unsure and where something else may be the lesion.

    Returns: in [0, 1]; 0 where the mask is empty.
    """
    inside = probability > THRESHOLD
    hit = np.where(inside, probability, 0).sum(axis=(1, 2), dtype=np.float64)
    either = np.where(inside, 1, probability).sum(axis=(1, 2), dtype=np.float64)
    return np.where(inside.any(axis=(1, 2)), hit / np.maximum(either, 1), 0.0)


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

    Args:
        indices: of the images to score, which training has not seen; those without a mask are left out.
        size_px: at which masks are compared; 256 is the size of ISIC 2017's masks here.
    Raises: RunError: as `open_segmenter`. DataError: no image has a mask, or one cannot be used.
    """
    experts = pack_masks(table, indices, size_px=size_px)
    kept = experts.among(indices)
    if not kept.size:
        raise DataError(f"{table.root}: none of the {len(indices)} images has a lesion mask to compare with; name some")
    scores, sure = np.zeros(len(kept)), np.zeros(len(kept))
    done = 0
    for found, confidence in segmented(segmenter, pack, kept, size_px=size_px, device=device):
        piece = slice(done, done + len(found))
        scores[piece], sure[piece] = jaccard(found, experts.read(kept[piece])), confidence
        done += len(found)
        if on_progress:
            on_progress(len(found))
    return SegmenterScore(
        ids=tuple(table.ids[index] for index in kept),
        jaccard=scores,
        confidence=sure,
        left_out=experts.without + experts.empty,
    )


def _rank_correlation(one: Float64[np.ndarray, " image"], other: Float64[np.ndarray, " image"]) -> float:
    """Spearman's; NaN where one of the two does not vary."""
    if len(one) < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(spearmanr(one, other).statistic)

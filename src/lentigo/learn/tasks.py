"""What a network is trained for: its targets, its loss and its validation, which is all that the loop asks for.

A classifier learns one label an image, a segmenter one a pixel.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from lentigo.config import Experiment
from lentigo.data.batches import Augmentation, batches, masked_batches
from lentigo.data.masks import pack_masks
from lentigo.errors import DataError, UndefinedMetricError
from lentigo.evidence.metrics import confusion, log_loss, roc_auc_score
from lentigo.imaging import Preprocessing
from lentigo.learn.prediction import predict_logits
from lentigo.learn.run import AnyEpochRow, EpochRow, SegmenterEpochRow, TrainingData
from lentigo.learn.shards import gather, shard
from lentigo.models.contract import evaluating
from lentigo.models.registry import model_entry

_SMOOTH_PX = 1.0  # added to intersection and union, so that an empty mask has a loss too
_BATCH = 32

Indices = Int64[np.ndarray, " image"]


@runtime_checkable
class Task(Protocol):
    """What the loop asks for."""

    indices: Indices  # of the images to train on

    @property
    def row(self) -> type[AnyEpochRow]:
        """The kind of an epoch's row."""

    def batches(
        self, indices: np.ndarray, *, batch_size: int, augmentation: Augmentation, device: torch.device, skip: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Network inputs with their targets, as `data.batches.batches` makes them."""

    def summed_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The sum over the images of their losses."""

    def validate(self, model: nn.Module, *, on_progress: Callable[[int], None]) -> dict[str, float] | None:
        """Loss and scores on the validation images, as an epoch's row has them; None: the outputs are not finite."""

    def about(self) -> dict[str, Any]:
        """What `run.json` says of it."""


def check_targets(experiment: Experiment, data: TrainingData) -> None:
    """Refuse data that do not have what the experiment's network is to learn, before anything is read or written.

    Raises: DataError: a segmenter is to be trained, and no training image names a mask.
    """
    train = data.split.indices(data.table, "train")
    if model_entry(experiment.model.name).task == "segmentation" and not any(data.table.rows[i].mask for i in train):
        raise _without_masks(data, len(train))


def task_of(experiment: Experiment, data: TrainingData, preprocessing: Preprocessing) -> Task:
    """The task that the experiment's network is for.

    Raises: DataError: a segmenter is to be trained, and no training image has a mask that holds a lesion, or a mask
        cannot be used.
    """
    if model_entry(experiment.model.name).task == "segmentation":
        return Segmentation(data, preprocessing)
    return Classification(data, preprocessing)


class Classification:
    """Malignant or benign, by the logit of each image."""

    row = EpochRow

    def __init__(self, data: TrainingData, preprocessing: Preprocessing) -> None:
        self.data, self.preprocessing = data, preprocessing
        self.labels = data.table.labels
        self.indices = data.split.indices(data.table, "train")
        self.validation = data.split.indices(data.table, "validation")

    def batches(
        self, indices: np.ndarray, *, batch_size: int, augmentation: Augmentation, device: torch.device, skip: int
    ) -> Iterator[tuple[Float32[Tensor, "image 3 height width"], Float32[Tensor, " image"]]]:
        source = batches(
            self.data.pack, indices, self.preprocessing, batch_size=batch_size, augmentation=augmentation,
            device=device, skip=skip,
        )  # fmt: skip
        labels = torch.from_numpy(self.labels[indices]).to(
            device, torch.float32
        )  # once: a GPU would wait at every batch
        for step, images in enumerate(source, start=skip):
            yield images, labels[step * batch_size : (step + 1) * batch_size]

    def summed_loss(self, outputs: Float[Tensor, " image"], targets: Float[Tensor, " image"]) -> Float[Tensor, ""]:
        return binary_cross_entropy_with_logits(outputs, targets, reduction="sum")

    def validate(self, model: nn.Module, *, on_progress: Callable[[int], None]) -> dict[str, float] | None:
        labels = self.labels[self.validation]
        share = shard(self.validation)
        here = predict_logits(model, self.data.pack, share, self.preprocessing, on_progress=on_progress)
        logits = gather(here, len(labels))
        if not np.isfinite(logits).all():
            return None
        return {
            "validation_loss": log_loss(labels, logits),
            "validation_accuracy": confusion(labels, logits).accuracy,
            "validation_auc": _auc_or_nan(labels, logits),
        }

    def about(self) -> dict[str, Any]:
        return {}


class Segmentation:
    """Lesion or not, by the logit of each pixel; images without a lesion mask are left out and counted."""

    row = SegmenterEpochRow

    def __init__(self, data: TrainingData, preprocessing: Preprocessing) -> None:
        self.data, self.preprocessing = data, preprocessing
        parts = [data.split.indices(data.table, part) for part in ("train", "validation")]
        self.masks = pack_masks(data.table, np.concatenate(parts), size_px=data.pack.image_px)
        self.indices, self.validation = (self.masks.among(part) for part in parts)
        if not self.indices.size:
            raise _without_masks(data, len(parts[0]))

    def batches(
        self, indices: np.ndarray, *, batch_size: int, augmentation: Augmentation, device: torch.device, skip: int
    ) -> Iterator[tuple[Float32[Tensor, "image 3 height width"], Float32[Tensor, "image height width"]]]:
        return masked_batches(
            self.data.pack, self.masks, indices, self.preprocessing, batch_size=batch_size, augmentation=augmentation,
            device=device, skip=skip,
        )  # fmt: skip

    def summed_loss(
        self, outputs: Float[Tensor, "image height width"], targets: Float[Tensor, "image height width"]
    ) -> Float[Tensor, ""]:
        return mask_losses(outputs, targets).sum()

    def validate(self, model: nn.Module, *, on_progress: Callable[[int], None]) -> dict[str, float] | None:
        losses, jaccards, device = [np.empty(0)], [np.empty(0)], next(model.parameters()).device
        with evaluating(model), torch.inference_mode():
            for images, lesions in masked_batches(
                self.data.pack, self.masks, shard(self.validation), self.preprocessing, batch_size=_BATCH, device=device
            ):
                logits = model(images.to(next(model.parameters()).dtype)).float()
                losses.append(mask_losses(logits, lesions).cpu().numpy())
                jaccards.append(jaccard((logits > 0).cpu().numpy(), (lesions > 0).cpu().numpy()))
                on_progress(len(images))
        loss, score = (gather(np.concatenate(parts), len(self.validation)) for parts in (losses, jaccards))
        if not np.isfinite(loss).all():
            return None
        return {
            "validation_loss": float(loss.mean()) if loss.size else math.nan,
            "validation_jaccard": float(score.mean()) if score.size else math.nan,
        }

    def about(self) -> dict[str, Any]:
        trained = {"train": len(self.indices), "validation": len(self.validation)}
        return {"masks": trained | {"without": len(self.masks.without), "empty": len(self.masks.empty)}}


def mask_losses(
    logits: Float[Tensor, "image height width"], lesions: Float[Tensor, "image height width"]
) -> Float[Tensor, " image"]:
    """Mean cross entropy of an image's pixels, plus 1 minus the Jaccard index of the probabilities.

    The second part is what is scored, and weighs small lesions as large ones; the first has a gradient everywhere.

    Source: Yuan, Chao & Lo 2017, IEEE Transactions on Medical Imaging 36(9):1876-1886, doi:10.1109/TMI.2017.2695227.
    """
    entropy = binary_cross_entropy_with_logits(logits, lesions, reduction="none").mean(dim=(1, 2))
    shares = torch.sigmoid(logits)
    both = (shares * lesions).sum(dim=(1, 2))
    either = (shares + lesions).sum(dim=(1, 2)) - both
    return entropy + 1 - (both + _SMOOTH_PX) / (either + _SMOOTH_PX)


def jaccard(
    found: Bool[np.ndarray, "image height width"], lesions: Bool[np.ndarray, "image height width"]
) -> Float[np.ndarray, " image"]:
    """Pixels in both masks over pixels in either, of each image; NaN where both are empty.

    Source: Jaccard 1901, Bulletin de la Societe Vaudoise des Sciences Naturelles 37:547-579.
    """
    both, either = ((found & lesions).sum(axis=(1, 2)), (found | lesions).sum(axis=(1, 2)))
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def _without_masks(data: TrainingData, count: int) -> DataError:
    return DataError(
        f"{data.table.root}: none of the {count} training images has a lesion mask, from which a segmenter learns; "
        "give a table whose column mask names some"
    )


def _auc_or_nan(labels: np.ndarray, logits: np.ndarray) -> float:
    try:
        return roc_auc_score(labels, logits)
    except UndefinedMetricError:
        return math.nan

"""Logits of a network over packed images, in a fixed order; written to and read from `predictions.csv`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import nn

from lentigo.data.batches import batches
from lentigo.data.pack import ImagePack
from lentigo.errors import DataError
from lentigo.files import read_csv, write_csv
from lentigo.imaging import Preprocessing
from lentigo.models.contract import evaluating


@dataclass(frozen=True)
class Predictions:
    """Scores of one network on one set of images."""

    ids: tuple[str, ...]
    labels: Int64[np.ndarray, " image"]  # 1 = malignant
    logits: Float32[np.ndarray, " image"]  # higher = more malignant

    def write(self, path: Path) -> None:
        """Write `predictions.csv` (image, label, logit); the nine digits name a float32 exactly."""
        rows = zip(self.ids, self.labels, (f"{logit:.9g}" for logit in self.logits), strict=True)
        write_csv(path, ("image", "label", "logit"), rows)


def read_predictions(path: Path) -> Predictions:
    """Read a `predictions.csv`.

    Raises: DataError: a column is missing, an image stands twice, a label is not 0 or 1, or a logit is not finite.
    """
    lines = read_csv(path)
    if not lines or not {"image", "label", "logit"} <= set(lines[0]):
        raise DataError(
            f"{path} has no lines with the columns image, label and logit; write it with `lentigo evaluate`"
        )
    seen: set[str] = set()
    for number, line in enumerate(lines, start=2):
        if line["image"] in seen:
            raise DataError(f"{path} line {number}: {line['image']} stands twice; keep one of the lines")
        if line["label"] not in ("0", "1"):
            raise DataError(f"{path} line {number}: label is {line['label']!r}; it must be 0 or 1")
        if not _is_finite(line["logit"]):
            raise DataError(f"{path} line {number}: logit is {line['logit']!r}; it must be a finite number")
        seen.add(line["image"])
    return Predictions(
        ids=tuple(line["image"] for line in lines),
        labels=np.array([int(line["label"]) for line in lines], dtype=np.int64),
        logits=np.array([float(line["logit"]) for line in lines], dtype=np.float32),
    )


def predict_logits(
    model: nn.Module,
    pack: ImagePack,
    indices: Sequence[int] | np.ndarray,
    preprocessing: Preprocessing,
    *,
    batch_size: int = 32,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Float32[np.ndarray, " image"]:
    """Logits of the images at `indices`, in that order; no augmentation, no dropout, the model left as it was.

    Args:
        device: where the model is; None: found from its parameters.
        on_progress: called after every batch with the number of its images.
    """
    device = device or next(model.parameters()).device
    logits: list[np.ndarray] = []
    with evaluating(model), torch.inference_mode():
        for images in batches(pack, indices, preprocessing, batch_size=batch_size, device=device):
            logits.append(model(images).float().cpu().numpy())
            if on_progress:
                on_progress(len(images))
    return np.concatenate(logits) if logits else np.empty(0, dtype=np.float32)


def _is_finite(cell: str) -> bool:
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(np.float32(cell)))
    except ValueError:
        return False

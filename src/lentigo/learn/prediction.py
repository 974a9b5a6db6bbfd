"""Logits of a network over packed images, in a fixed order."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float32
from torch import nn

from lentigo.data.batches import batches
from lentigo.data.pack import ImagePack
from lentigo.imaging import Preprocessing
from lentigo.models.contract import evaluating


def predict_logits(
    model: nn.Module,
    pack: ImagePack,
    indices: Sequence[int] | np.ndarray,
    preprocessing: Preprocessing,
    *,
    batch_size: int | None = None,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Float32[np.ndarray, " image"]:
    """Logits of the images at `indices`, in that order; no augmentation, no dropout, the model left as it was.

    Args:
        batch_size: None: 32 on the processor, 256 on a GPU.
        device: where the model is; None: found from its parameters.
        on_progress: called after every batch with the number of its images.
    """
    parameter = next(model.parameters())
    device, dtype = device or parameter.device, parameter.dtype
    batch_size = batch_size or (32 if device.type == "cpu" else 256)
    logits: list[np.ndarray] = []
    with evaluating(model), torch.inference_mode():
        for images in batches(pack, indices, preprocessing, batch_size=batch_size, device=device):
            logits.append(model(images.to(dtype)).float().cpu().numpy())
            if on_progress:
                on_progress(len(images))
    return np.concatenate(logits) if logits else np.empty(0, dtype=np.float32)

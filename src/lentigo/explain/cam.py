"""Grad-CAM: images in, one coarse heat map an image out, in logits, with its sign, unstretched.

Source: Selvaraju et al. 2017, "Grad-CAM", doi:10.1109/ICCV.2017.74, equations 1 and 2.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor, nn

from lentigo.errors import ConfigError, DataError, RunError
from lentigo.models.contract import LesionClassifier, evaluating, split_at_cam

Decision = Literal["malignant", "benign"]
DECISION_SIGN: dict[Decision, int] = {"malignant": 1, "benign": -1}


@dataclass(frozen=True, eq=False)
class GradCam:
    """Signed heat maps of a batch, and the logits that they explain.

    There is one logit, so the score of "malignant" is logit and that of "benign" is -logit. The gradient of -logit is
    the negative gradient, so its map before the ReLU is the negative map: one signed map serves both decisions.
    """

    maps: Float32[Tensor, "batch rows columns"]  # above 0: speaks for malignant; below 0: for benign; unit: logit
    logits: Float32[Tensor, " batch"]  # higher = more malignant

    def positive(self, decision: Decision) -> Float32[Tensor, "batch rows columns"]:
        """The Grad-CAM map of a decision: what speaks for it, 0 elsewhere, never NaN."""
        return torch.relu(self.maps * DECISION_SIGN[decision])

    def empty(self, decision: Decision) -> Bool[Tensor, " batch"]:
        """True where the map of the decision has no positive value: nothing in the image speaks for it.

        Both decisions can be empty, where the head has no gradient (a dead ReLU).
        """
        return ~(self.maps * DECISION_SIGN[decision] > 0).flatten(1).any(dim=1)


def signed_grad_cam(model: nn.Module, images: Float32[Tensor, "batch 3 height width"]) -> GradCam:
    """Grad-CAM at the output of the model's features (in the paper: the last max-pooling layer), before the ReLU.

    map = sum over channels k of alpha_k * A_k, where A_k is a feature map and alpha_k the mean of d logit / d A_k over
    its cells. Dropout is off. The model is left as it was, also after an exception: the modes of its modules, its
    gradients, buffers and hooks. It works under no_grad and inference_mode too.

    Raises:
        ConfigError: the model is no LesionClassifier, or its features are no maps.
        RunError: a map or logit is not finite.
    """
    if not isinstance(model, LesionClassifier):
        raise ConfigError(
            f"{type(model).__name__} is not a LesionClassifier, so the layer to explain is not known; "
            "wrap it as LesionClassifier(features, head)"
        )
    features, head = split_at_cam(model)
    with evaluating(model), torch.inference_mode(False):
        # Only the head is differentiated, and only with respect to the maps: no graph of the features is kept, and no
        # parameter's .grad is touched.
        with torch.no_grad():
            activations = features(images)
        _check_spatial(model, activations)
        with torch.enable_grad():
            leaf = activations.detach().requires_grad_()
            logits = head(leaf.clone())[:, 0]  # a copy: a head may start with an in-place layer
            (gradient,) = torch.autograd.grad(logits.sum(), leaf)  # images do not mix, so the sum keeps them apart
        maps = torch.einsum("bkrc,bk->brc", activations.float(), gradient.float().mean(dim=(2, 3)))
        logits = logits.detach().float()
    _check_finite(maps, logits)
    return GradCam(maps=maps, logits=logits)


def explain_images(
    model: nn.Module, batches: Iterable[Tensor], *, on_progress: Callable[[int], None] | None = None
) -> tuple[Float32[np.ndarray, "image rows columns"], Float32[np.ndarray, " image"]]:
    """Signed maps and logits of many batches of network inputs, in their order; one batch is held at a time.

    Args:
        on_progress: told the number of images of every batch that is done.
    Raises:
        ConfigError, RunError: as `signed_grad_cam`.
        DataError: there is no image, or maps differ in size.
    """
    maps: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    for images in batches:
        explained = signed_grad_cam(model, images)
        maps.append(explained.maps.cpu().numpy())
        logits.append(explained.logits.cpu().numpy())
        if on_progress:
            on_progress(len(images))
    sizes = sorted({batch.shape[1:] for batch in maps})
    if len(sizes) != 1:
        found = f"maps of the sizes {sizes}" if sizes else "no image"
        raise DataError(f"found {found} to explain; give at least one image, and all in one size")
    return np.concatenate(maps), np.concatenate(logits)


def _check_spatial(model: nn.Module, activations: Tensor) -> None:
    if activations.ndim != 4:
        raise ConfigError(
            f"the features of {type(model).__name__} have shape {tuple(activations.shape)}, not (batch, channels, "
            "rows, columns), so there is no map to explain; split the network before it flattens them"
        )


def _check_finite(maps: Tensor, logits: Tensor) -> None:
    good = maps.isfinite().flatten(1).all(dim=1) & logits.isfinite()
    if not good.all():
        wrong = (~good).nonzero().flatten().tolist()
        raise RunError(
            f"the heat maps or logits of images {wrong[:5]} of a batch of {len(good)} are not finite; "
            "check the images, and that the training of this network did not diverge"
        )

"""Grad-CAM: images in, one coarse heat map an image out; then the map on the full image, and its colours.

Maps stay raw: in logits, with their sign, unstretched. Only `overlay` scales, for the eye; its caller says how much.
Source: Selvaraju et al. 2017, "Grad-CAM", doi:10.1109/ICCV.2017.74, equations 1 and 2.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor, nn

from lentigo.errors import ConfigError, DataError, RunError
from lentigo.imaging import Preprocessing
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


def to_image_size(
    maps: Float32[np.ndarray, "image rows columns"], preprocessing: Preprocessing, *, size_px: int
) -> Float32[np.ndarray, "image size size"]:
    """Maps laid over the full image, squeezed to `size_px` x `size_px`: bilinear inside the crop, 0 outside it.

    The cells divide the crop evenly, as Grad-CAM tools have it. The centres of the receptive fields do so too in Tiny
    VGG and VGG11; in AlexNet the outermost lie 13 px of 224 further in, in ResNet all lie 15.5 px up and left. A map
    with more cells than there are pixels is averaged, with a triangle filter.

    Raises: ConfigError: as `seen`.
    """
    inside = _pixels_seen(preprocessing, size_px)
    down, across = (_cell_weights(cells, preprocessing, size_px, inside) for cells in maps.shape[1:])
    enlarged: Float32[np.ndarray, "image size size"] = down @ maps @ across.T
    return enlarged


def seen(preprocessing: Preprocessing, size_px: int) -> Bool[np.ndarray, "size size"]:
    """The pixels of the full image, squeezed to `size_px` x `size_px`, that have their centre inside the crop.

    Raises: ConfigError: `size_px` is below 1, or the preprocessing crops without a resize.
    """
    inside = _pixels_seen(preprocessing, size_px)
    both: Bool[np.ndarray, "size size"] = inside[:, None] & inside
    return both


def overlay(
    image: UInt8[np.ndarray, "height width 3"],
    heat: Float32[np.ndarray, "height width"],
    *,
    maximum: float,
    opacity: float = 0.5,
) -> UInt8[np.ndarray, "height width 3"]:
    """Heat over an image, from blue to red. Where it is 0 the image is unchanged, so that an empty map has no colour.

    Colour and opacity both grow with heat / maximum; heat above the maximum looks like the maximum.

    Args:
        heat: 0 or more.
        maximum: heat drawn in full red, in the unit of `heat`. The caller's choice, to be said beside the picture: the
            largest heat over all pictures that are compared. An image's own maximum would make noise look sure. 0 is
            allowed where the heat is 0 everywhere.
        opacity: of full red, in [0, 1].
    Raises:
        DataError: heat is negative, infinite or NaN, or positive while the maximum is 0.
        ConfigError: `maximum` or `opacity` is out of range.
    """
    level = _level(heat, maximum)
    if not 0 <= opacity <= 1:
        raise ConfigError(f"opacity is {opacity}, not in [0, 1]; try 0.5")
    weight = opacity * level[..., None]
    blended: UInt8[np.ndarray, "height width 3"] = np.rint(
        (1 - weight) * image + weight * 255 * blue_to_red(level)
    ).astype(np.uint8)
    return blended


def blue_to_red(level: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape 3"]:
    """RGB in [0, 1] of levels in [0, 1], for `overlay` and its legend.

    Blue at 0, cyan at 1/4, green at 1/2, yellow at 3/4, red at 1; linear between them.
    """
    red, green, blue = 4 * level - 2, np.minimum(4 * level, 4 - 4 * level), 2 - 4 * level
    colours: Float64[np.ndarray, "*shape 3"] = np.clip(np.stack([red, green, blue], axis=-1), 0, 1)
    return colours


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


def _crop(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """First pixel and length of the crop along one side, and that side's length, in pixels after the resize."""
    resize_px, crop_px = preprocessing.resize_px, preprocessing.crop_px
    if crop_px is None:
        return 0, 1, 1  # the whole side, however long
    if resize_px is None:
        raise ConfigError(
            f"preprocessing has crop_px = {crop_px} and no resize_px, so the share of an image that was seen depends "
            "on the image's size; set resize_px"
        )
    return round((resize_px - crop_px) / 2), crop_px, resize_px  # halves to even, as `preprocess`


def _pixels_seen(preprocessing: Preprocessing, size_px: int) -> Bool[np.ndarray, " size"]:
    if size_px < 1:
        raise ConfigError(f"size_px is {size_px}, not 1 or more; try 224")
    first, length, side = _crop(preprocessing)
    centre = (2 * np.arange(size_px) + 1) * side  # in 1 / (2 size_px) pixels: whole numbers, so that no edge is rounded
    inside: Bool[np.ndarray, " size"] = (2 * size_px * first <= centre) & (centre <= 2 * size_px * (first + length))
    return inside


def _cell_weights(
    cells: int, preprocessing: Preprocessing, size_px: int, inside: Bool[np.ndarray, " size"]
) -> Float32[np.ndarray, "size cells"]:
    """What every cell gives to every pixel along one side: rows sum to 1 inside the crop, and are 0 outside."""
    first, length, side = _crop(preprocessing)
    centre = (np.arange(size_px) + 0.5) * side / size_px
    position = (centre - first) / length * cells - 0.5  # cell k has its centre at k
    support = max(cells * side / (length * size_px), 1.0)  # cells per pixel, where a pixel is wider than a cell
    triangle = np.maximum(1 - np.abs(position[:, None] - np.arange(cells)) / support, 0) * inside[:, None]
    # Beyond the centres of the first and last cell one tap is left; the division makes it count in full.
    weights: Float64[np.ndarray, "size cells"] = triangle / np.where(inside, triangle.sum(axis=1), 1)[:, None]
    return weights.astype(np.float32)


def _level(heat: Float32[np.ndarray, "height width"], maximum: float) -> Float64[np.ndarray, "height width"]:
    """Heat as a share of the maximum, in [0, 1]."""
    if not (np.isfinite(maximum) and maximum >= 0):
        raise ConfigError(f"maximum is {maximum}, not a finite number of 0 or more; give the largest heat to be drawn")
    if not (np.isfinite(heat).all() and (heat >= 0).all()):
        raise DataError("heat holds NaN, infinite or negative values; give the positive part of a map for one decision")
    if maximum == 0 and heat.any():
        raise DataError(
            f"maximum is 0 but heat reaches {heat.max():g}; give the largest heat over the pictures compared"
        )
    level: Float64[np.ndarray, "height width"] = np.minimum(heat.astype(np.float64) / (maximum or 1.0), 1.0)
    return level

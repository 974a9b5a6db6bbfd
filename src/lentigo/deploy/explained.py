"""A classifier whose forward pass gives its own Grad-CAM: the gradient of the head, written as forward operations.

An exported graph cannot differentiate. The head is small and of few kinds of layers, and the gradient of each is known,
so that every runtime which can run the network can explain it too: one pass, no hooks, no second copy of the weights.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lentigo.errors import ConfigError
from lentigo.models.contract import LesionClassifier, split_at_cam

Back = Callable[[Tensor], Tensor]  # gradient with respect to a layer's output -> with respect to its input


class ExplainedNetwork(nn.Module):
    """Images to logits and raw Grad-CAM maps of "malignant".

    Raises: ConfigError: the head has a layer whose gradient is not known here.
    """

    def __init__(self, model: LesionClassifier) -> None:
        super().__init__()
        self.features, self.head = split_at_cam(model)
        _check_head(self.head)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch rows columns"]]:
        """Logits, and maps in the same unit.

        Source: Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74, equations 1 and 2.
        """
        maps = self.features(images)
        logits, back = with_gradient(self.head, maps)
        weights = back(torch.ones_like(logits)).mean(dim=(2, 3))
        cam = (maps * weights[:, :, None, None]).sum(dim=1)
        return logits[:, 0], cam


def with_gradient(layer: nn.Module, inputs: Tensor) -> tuple[Tensor, Back]:
    """A layer's output as in evaluation, and its vector-Jacobian product as forward operations.

    Raises: ConfigError: the layer is of a kind whose gradient is not known here.
    """
    if isinstance(layer, nn.Sequential):
        return _chain(list(layer), inputs)
    if isinstance(layer, nn.Linear):
        return layer(inputs), lambda gradient: gradient @ layer.weight
    if isinstance(layer, nn.ReLU):
        return inputs.relu(), lambda gradient: gradient * (inputs > 0)
    if isinstance(layer, nn.Dropout | nn.Identity):
        return inputs, lambda gradient: gradient
    if isinstance(layer, nn.Flatten):
        return inputs.flatten(1), lambda gradient: gradient.reshape(-1, *inputs.shape[1:])
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return _pooled(layer, inputs)
    raise ConfigError(_unknown(layer))


def _chain(layers: list[nn.Module], inputs: Tensor) -> tuple[Tensor, Back]:
    backs: list[Back] = []
    for layer in layers:
        inputs, back = with_gradient(layer, inputs)
        backs.append(back)

    def all_back(gradient: Tensor) -> Tensor:
        for back in reversed(backs):
            gradient = back(gradient)
        return gradient

    return inputs, all_back


def _pooled(layer: nn.AdaptiveAvgPool2d, inputs: Tensor) -> tuple[Tensor, Back]:
    """Adaptive pooling is linear along each axis: down @ maps @ across, and the gradient by the matrices transposed."""
    rows, columns = inputs.shape[2:]
    size: Any = layer.output_size
    wanted = (size, size) if isinstance(size, int) else tuple(size)
    if wanted == (rows, columns):
        return inputs, lambda gradient: gradient
    down, across = (
        _pool_matrix(length, out or length).to(inputs) for length, out in zip((rows, columns), wanted, strict=True)
    )
    return down @ inputs @ across.T, lambda gradient: down.T @ gradient @ across


def _pool_matrix(length: int, out: int) -> Float[Tensor, "out length"]:
    """Row k averages cells floor(k * length / out) up to ceil((k + 1) * length / out)."""
    matrix = torch.zeros(out, length)
    for cell in range(out):
        first, last = cell * length // out, -(-(cell + 1) * length // out)
        matrix[cell, first:last] = 1 / (last - first)
    return matrix


def _check_head(head: nn.Module) -> None:
    known = (nn.Sequential, nn.Linear, nn.ReLU, nn.Dropout, nn.Identity, nn.Flatten, nn.AdaptiveAvgPool2d)
    for layer in head.modules():
        if not isinstance(layer, known):
            raise ConfigError(_unknown(layer))


def _unknown(layer: nn.Module) -> str:
    return (
        f"the head has a {type(layer).__name__}, whose gradient lentigo.deploy.explained does not know; build the head "
        "of Linear, ReLU, Dropout, Flatten and AdaptiveAvgPool2d"
    )

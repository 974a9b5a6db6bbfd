"""What a network costs to use: the multiply-adds of one image."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lentigo.errors import ConfigError
from lentigo.imaging import Preprocessing
from lentigo.models.contract import evaluating


def multiply_adds(model: nn.Module, preprocessing: Preprocessing) -> int:
    """Multiply-adds of the convolutions and linear layers for one image; biases, activations and pooling are left out.

    One image of shapes without values goes through, so that nothing is computed; the model is left as it was.

    Raises: ConfigError: the preprocessing has no fixed size.
    """
    size_px = preprocessing.output_px
    if size_px is None:
        raise ConfigError("the cost of a network depends on its input's size; set preprocessing.resize_px or crop_px")
    counts: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        weights_of_one_output = next(layer.parameters())[0].numel()  # (in / groups) x rows x columns, or in
        counts.append(output.numel() * weights_of_one_output)

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    shapes = {name: tensor.to("meta") for name, tensor in model.state_dict().items()}
    try:
        with evaluating(model), torch.no_grad():
            functional_call(model, shapes, torch.empty(1, 3, size_px, size_px, device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(counts)

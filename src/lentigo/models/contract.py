"""What every network here is: features, whose output the heat map explains, and a head that makes one logit of them."""

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LesionClassifier(nn.Module):
    """A network in two halves: images -> `features` -> `head` -> one logit per image.

    The output of `features` is the layer that Grad-CAM explains (in the paper: the last max-pooling layer). Explaining and
    exporting therefore need no hooks.
    """

    cam_layer = "features"

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features
        self.head = head

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, " batch"]:
        """Logits; higher = more malignant."""
        logits: Tensor = self.head(self.features(images))
        return logits[:, 0]


def split_at_cam(model: LesionClassifier) -> tuple[nn.Module, nn.Module]:
    """The two halves of a network: images to feature maps, feature maps to logits (batch, 1)."""
    return model.features, model.head


def trainable_parameters(model: nn.Module) -> int:
    """The number of parameters that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put every module into evaluation mode, and each back into its own mode afterwards, also after an exception."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def seeded_torch(*key: int) -> Iterator[None]:
    """Torch's random numbers (initial weights, dropout) from `key` inside, its global state untouched outside.

    Layers of torch and torchvision take no generator, so the state is borrowed and given back.
    """
    import numpy as np

    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() and torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield

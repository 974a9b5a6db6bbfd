"""What every network here is: features, whose output the heat map explains, and a head that makes one logit of them."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


class LesionClassifier(nn.Module):
    """A network in two halves: images -> `features` -> `head` -> one logit per image.

    The output of `features` is the layer that Grad-CAM explains (in the paper: the last max-pooling layer). Explaining
    and exporting therefore need no hooks.
    """

    cam_layer = "features"

    def __init__(self, features: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.features = features  # images to maps (batch, channel, row, column)
        self.head = head  # maps to logits (batch, 1)

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
    """Put every module into evaluation mode, and each back into its own mode afterwards, also after an exception.

    Inside, a GPU multiplies float32 as float32, whatever a training around it allows.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with multiplied_as(tf32=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextlib.contextmanager
def multiplied_as(*, tf32: bool) -> Iterator[None]:
    """Whether a GPU may round the factors of float32 products to TF32, inside; outside as before."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextlib.contextmanager
def seeded_torch(*key: int) -> Iterator[None]:
    """Torch's random numbers (initial weights, dropout) from `key` inside, its global state untouched outside.

    Layers of torch and torchvision take no generator, so the global ones are borrowed and given back. They are those of
    the processor and of every device in use; `torch.manual_seed` would also seed devices that start later.
    """
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    give_back = _seed_global_generators(seed)
    try:
        yield
    finally:
        for restore in give_back:
            restore()


def _seed_global_generators(seed: int) -> list[Callable[[], object]]:
    """Seed them; calling what comes back restores each."""
    generators = [torch.default_generator]
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        generators += torch.cuda.default_generators
    give_back: list[Callable[[], object]] = []
    for generator in generators:
        give_back.append(partial(generator.set_state, generator.get_state()))
        generator.manual_seed(seed)
    if torch.backends.mps.is_available():
        give_back.append(partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
        torch.mps.manual_seed(seed)
    return give_back

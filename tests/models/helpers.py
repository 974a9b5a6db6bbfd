"""Networks for tests: every registered one small, and the paper's size without values."""

import torch
from torch import Tensor

from lentigo.config import ModelConfig, PreprocessingConfig
from lentigo.imaging import Preprocessing
from lentigo.models.contract import LesionClassifier
from lentigo.models.registry import create_model, resolve_preprocessing

# The smallest input and width that are still the same network, to keep the tests quick.
SMALL: dict[str, tuple[ModelConfig, PreprocessingConfig]] = {
    "tiny_vgg": (ModelConfig(name="tiny_vgg", options={"image_px": 20}), PreprocessingConfig()),
    "vgg11": (ModelConfig(name="vgg11", options={"width": 0.0625}), PreprocessingConfig(resize_px=40, crop_px=32)),
    "alexnet": (ModelConfig(name="alexnet", options={"width": 0.0625}), PreprocessingConfig(resize_px=72, crop_px=63)),
    "resnet18": (ModelConfig(name="resnet18"), PreprocessingConfig(resize_px=40, crop_px=33)),
    "resnet101": (ModelConfig(name="resnet101"), PreprocessingConfig(resize_px=40, crop_px=33)),
}


def small_model(name: str, seed: int = 0) -> tuple[LesionClassifier, Preprocessing]:
    config, override = SMALL[name]
    preprocessing = resolve_preprocessing(config, override)
    return create_model(config, preprocessing, seed=seed), preprocessing


def noise(count: int, size_px: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))


def full_size_on_meta(name: str) -> tuple[LesionClassifier, Preprocessing]:
    """The network of the paper's size, with shapes and no values."""
    config = ModelConfig(name=name)
    preprocessing = resolve_preprocessing(config, PreprocessingConfig())
    with torch.device("meta"):
        return create_model(config, preprocessing, seed=0), preprocessing

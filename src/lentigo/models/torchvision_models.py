"""AlexNet, VGG11 and ResNet from torchvision, each with one logit instead of a thousand classes."""

from collections.abc import Callable
from typing import Any
from urllib.error import URLError

import torch
import torchvision
from torch import nn

from lentigo.errors import ConfigError
from lentigo.models.contract import LesionClassifier


def build_alexnet(*, width: float, weights: str) -> LesionClassifier:
    """AlexNet as torchvision has it (Krizhevsky 2014, arXiv:1404.5997), last layer 4096 to 1; the paper's Fig. 12."""
    return _features_and_classifier("alexnet", width=width, weights=weights)


def build_vgg11(*, width: float, weights: str) -> LesionClassifier:
    """VGG11 without batch normalisation (Simonyan & Zisserman 2014, arXiv:1409.1556), last layer 4096 to 1; Fig. 11."""
    return _features_and_classifier("vgg11", width=width, weights=weights)


def build_resnet(name: str, *, weights: str) -> LesionClassifier:
    """ResNet-18 or ResNet-101 (He et al. 2016, doi:10.1109/CVPR.2016.90), last layer to 1; explained at its last stage."""
    network = _torchvision(name, weights)
    network.fc = nn.Linear(network.fc.in_features, 1)
    stages = [network.layer1, network.layer2, network.layer3, network.layer4]
    features = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool, *stages)
    return LesionClassifier(features, nn.Sequential(network.avgpool, nn.Flatten(), network.fc))


def _features_and_classifier(name: str, *, width: float, weights: str) -> LesionClassifier:
    if width != 1 and weights != "none":
        raise ConfigError(f"{name} with width {width} has no published weights; use weights = \"none\" or width = 1")
    if width == 1:
        network = _torchvision(name, weights)
    else:
        with torch.device("meta"):
            template = _torchvision(name, weights)
        network = _narrowed(template, width)
    network.classifier[-1] = nn.Linear(network.classifier[-1].in_features, 1)
    if name == "vgg11":  # torchvision's own initial values for the layer that is replaced
        nn.init.normal_(network.classifier[-1].weight, 0, 0.01)
        nn.init.zeros_(network.classifier[-1].bias)
    return LesionClassifier(network.features, nn.Sequential(network.avgpool, nn.Flatten(), network.classifier))


def _torchvision(name: str, weights: str) -> Any:
    try:
        return torchvision.models.get_model(name, weights="IMAGENET1K_V1" if weights == "imagenet" else None)
    except (URLError, OSError) as error:
        raise ConfigError(
            f"the published weights of {name} cannot be downloaded ({error}); connect once, or use weights = \"none\""
        ) from error


def _narrowed(template: Any, width: float) -> Any:
    """The same layers with every inner number of channels times `width`, and torchvision's initial values."""
    image_channels, outputs = 3, template.classifier[-1].out_features

    def scaled(count: int) -> int:
        return count if count in (image_channels, outputs) else max(1, round(count * width))

    copies: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
        nn.Conv2d: lambda old: nn.Conv2d(
            scaled(old.in_channels), scaled(old.out_channels), old.kernel_size, old.stride, old.padding
        ),
        nn.Linear: lambda old: nn.Linear(_flat(old.in_features, template, scaled), scaled(old.out_features)),
    }
    for part in (template.features, template.classifier):
        for position, layer in enumerate(part):
            if type(layer) in copies:
                part[position] = copies[type(layer)](layer)
                if isinstance(template, torchvision.models.VGG):
                    _initialize_as_vgg(part[position])
    return template


def _flat(in_features: int, template: Any, scaled: Callable[[int], int]) -> int:
    """Inputs of a linear layer: after the flattening, the scaled channels times the cells of the pooled map."""
    rows, columns = template.avgpool.output_size
    last = [layer for layer in template.features if isinstance(layer, nn.Conv2d)][-1].out_channels
    return last * rows * columns if in_features > 4096 else scaled(in_features)


def _initialize_as_vgg(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, 0, 0.01)
    if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
        nn.init.zeros_(layer.bias)

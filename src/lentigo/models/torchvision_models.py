"""AlexNet, VGG11 and ResNet from torchvision, each with one logit instead of a thousand classes."""

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from lentigo.errors import ConfigError
from lentigo.files import sha256_of
from lentigo.models.contract import LesionClassifier


def build_alexnet(*, width: float, weights: str) -> LesionClassifier:
    """AlexNet as torchvision has it (Krizhevsky 2014, arXiv:1404.5997), last layer 4096 to 1; the paper's Fig. 12."""
    return _features_and_classifier("alexnet", width=width, weights=weights)


def build_vgg11(*, width: float, weights: str) -> LesionClassifier:
    """VGG11 without batch normalisation (Simonyan & Zisserman 2014, arXiv:1409.1556), last layer 4096 to 1; Fig. 11."""
    return _features_and_classifier("vgg11", width=width, weights=weights)


def build_resnet(name: str, *, weights: str) -> LesionClassifier:
    """ResNet-18 or -101 (He et al. 2016, doi:10.1109/CVPR.2016.90), last layer to 1; explained at its last stage."""
    network = _torchvision(name, weights)
    network.fc = nn.Linear(network.fc.in_features, 1)
    stages = [network.layer1, network.layer2, network.layer3, network.layer4]
    features = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool, *stages)
    return LesionClassifier(features, nn.Sequential(network.avgpool, nn.Flatten(), network.fc))


def _features_and_classifier(name: str, *, width: float, weights: str) -> LesionClassifier:
    if width != 1 and weights != "none":
        raise ConfigError(f'{name} with width {width} has no published weights; use weights = "none" or width = 1')
    if width == 1:
        network = _torchvision(name, weights)
    else:
        with torch.device("meta"):
            network = _torchvision(name, "none")
        _narrow(network, width)
    network.classifier[-1] = nn.Linear(network.classifier[-1].in_features, 1)
    if isinstance(network, torchvision.models.VGG):
        _initialize_as_vgg(network.classifier[-1])
    pool = _PooledTo(network.avgpool.output_size)
    return LesionClassifier(network.features, nn.Sequential(pool, nn.Flatten(), network.classifier))


class _PooledTo(nn.AdaptiveAvgPool2d):
    """Maps that have the size asked for already go through as they are.

    So they do with torchvision's layer, the same numbers, but its backward pass on a GPU has no deterministic form.
    """

    def forward(self, maps: Tensor) -> Tensor:
        return maps if tuple(maps.shape[2:]) == tuple(self.output_size) else super().forward(maps)  # type: ignore[arg-type]


def _torchvision(name: str, weights: str) -> Any:
    network = torchvision.models.get_model(name, weights=None)
    if weights == "imagenet":
        network.load_state_dict(_published_weights(name))
    return network


def _published_weights(name: str) -> dict[str, Any]:
    """torchvision's ImageNet weights, downloaded once into torch.hub's folder.

    They are published as pickles. `weights_only` reads tensors from one and runs no code; the SHA-256 in the file's
    name is checked on every use, where torch.hub checks it at the download alone.
    """
    published = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    file = Path(torch.hub.get_dir(), "checkpoints", published.url.rsplit("/", 1)[1])
    if file.is_file() and not sha256_of(file).startswith(file.stem.rsplit("-", 1)[1]):
        raise ConfigError(f"{file} is damaged: its SHA-256 is not the one in its name; delete it to download it again")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # torch.hub prints where it downloads to
            state: dict[str, Any] = published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:  # no connection, no room; another hash
        raise ConfigError(
            f"the published weights of {name} cannot be downloaded from {published.url} ({error}); "
            f'connect once, put the file into {file.parent}, or use weights = "none"'
        ) from error
    return state


def _narrow(network: Any, width: float) -> None:
    """Give every inner layer `width` times the channels; weights are drawn as torchvision draws them."""
    inputs = 3
    for position, layer in enumerate(network.features):
        if isinstance(layer, nn.Conv2d):
            outputs = max(1, round(layer.out_channels * width))
            geometry = {"stride": layer.stride, "padding": layer.padding}
            network.features[position] = nn.Conv2d(inputs, outputs, layer.kernel_size, **geometry)  # type: ignore[arg-type]
            inputs = outputs
    rows, columns = network.avgpool.output_size
    inputs *= rows * columns
    for position, layer in enumerate(network.classifier):
        if isinstance(layer, nn.Linear):
            outputs = max(1, round(layer.out_features * width))
            network.classifier[position] = nn.Linear(inputs, outputs)
            inputs = outputs
    if isinstance(network, torchvision.models.VGG):
        network.apply(_initialize_as_vgg)


def _initialize_as_vgg(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, 0, 0.01)
    if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
        nn.init.zeros_(layer.bias)

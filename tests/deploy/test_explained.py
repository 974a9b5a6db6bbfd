"""The gradient of the head as forward operations: against autograd, against `explain.cam`, and by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lentigo.config import ModelConfig, PreprocessingConfig
from lentigo.deploy.explained import ExplainedNetwork, with_gradient
from lentigo.errors import ConfigError
from lentigo.explain.cam import grad_cam
from lentigo.models.contract import LesionClassifier, evaluating
from lentigo.models.registry import create_model, resolve_preprocessing

HEADS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 3), (6,)),
    "relu": (nn.ReLU, (7,)),
    "relu in place": (lambda: nn.Sequential(nn.Linear(5, 9), nn.ReLU(inplace=True), nn.Linear(9, 2)), (5,)),
    "flatten": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(24, 2)), (2, 3, 4)),
    "pooled to fewer": (lambda: nn.AdaptiveAvgPool2d(2), (3, 5, 7)),
    "pooled to more": (lambda: nn.AdaptiveAvgPool2d((6, 4)), (2, 1, 3)),
    "one side kept": (lambda: nn.AdaptiveAvgPool2d((None, 2)), (2, 3, 4)),
    "pooled to the same": (lambda: nn.AdaptiveAvgPool2d(4), (2, 4, 4)),
    "dropout and identity": (lambda: nn.Sequential(nn.Dropout(0.5), nn.Identity(), nn.Linear(4, 2)), (4,)),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 1)), (4,)),
}


@pytest.mark.parametrize("name", HEADS)
def test_the_gradient_is_that_of_autograd(name: str) -> None:
    build, shape = HEADS[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        head = build().double().eval()
        inputs = torch.randn(4, *shape, dtype=torch.float64, requires_grad=True)
        expected = head(inputs.clone())
        gradient = torch.randn_like(expected)
    found, back = with_gradient(head, inputs)
    torch.testing.assert_close(found, expected)
    (wanted,) = torch.autograd.grad(expected, inputs, gradient)
    torch.testing.assert_close(back(gradient), wanted)


def test_by_hand() -> None:
    """Two maps of two cells; logit = 1 a + 2 b + 3 c - 4 d. Mean gradients: 1.5 and -0.5."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False))
    nn.init.constant_(head[1].weight, 0)
    head[1].weight.data[0] = torch.tensor([1.0, 2.0, 3.0, -4.0])
    network = ExplainedNetwork(LesionClassifier(nn.Conv2d(3, 2, 1, bias=False), head)).eval()
    network.features.weight.data[:] = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[..., None, None]
    image = torch.tensor([[[1.0, 2.0]], [[5.0, 7.0]], [[9.0, 9.0]]])[None]
    with torch.no_grad():
        logits, cam = network(image)
    assert logits.tolist() == [1 + 4 + 15 - 28]
    assert cam.tolist() == [[[1.5 - 2.5, 3.0 - 3.5]]]


@pytest.mark.parametrize(
    ("name", "options", "preprocessing"),
    [
        ("tiny_vgg", {"blocks": 3, "width": 4}, {"resize_px": 36}),
        ("alexnet", {"width": 0.125}, {"resize_px": 64, "crop_px": 64}),  # maps of one cell, pooled to 6 x 6
        ("alexnet", {"width": 0.0625}, {}),
        ("vgg11", {"width": 0.0625}, {"resize_px": 96, "crop_px": 96}),
        ("resnet18", {}, {"resize_px": 80, "crop_px": 64}),
    ],
)
def test_logits_and_maps_are_those_of_grad_cam(
    name: str, options: dict[str, float], preprocessing: dict[str, int]
) -> None:
    config = ModelConfig(name=name, options=options)
    settings = resolve_preprocessing(config, PreprocessingConfig(**preprocessing))
    model = create_model(config, settings, seed=1)
    images = torch.rand(3, 3, settings.output_px, settings.output_px, generator=torch.Generator().manual_seed(5))
    expected = grad_cam(model, images)
    with evaluating(model), torch.no_grad():
        logits, maps = ExplainedNetwork(model)(images)
    torch.testing.assert_close(logits, expected.logits, rtol=1e-5, atol=1e-6)
    largest = float(expected.malignant.abs().max())
    assert largest > 0
    torch.testing.assert_close(maps, expected.malignant, rtol=0, atol=1e-5 * largest)


def test_a_layer_of_unknown_gradient_is_named() -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Sigmoid(), nn.Linear(4, 1))
    with pytest.raises(ConfigError, match=r"the head has a Sigmoid, whose gradient .* does not know; build the head"):
        ExplainedNetwork(LesionClassifier(nn.Identity(), head))
    with pytest.raises(ConfigError, match="Tanh"):
        with_gradient(nn.Tanh(), torch.zeros(1, 1))

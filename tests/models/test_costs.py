"""Multiply-adds, by hand and against torch's own counter."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lentigo.errors import ConfigError
from lentigo.imaging import Preprocessing
from lentigo.models.contract import LesionClassifier, evaluating
from lentigo.models.costs import multiply_adds
from tests.models.helpers import full_size_on_meta, small_model


def test_multiply_adds_of_tiny_vgg_by_hand() -> None:
    model, preprocessing = full_size_on_meta("tiny_vgg")
    first = 300 * 300 * 10 * (3 * 9) + 300 * 300 * 10 * (10 * 9)
    second = 2 * 150 * 150 * 10 * (10 * 9)
    assert multiply_adds(model, preprocessing) == first + second + 75 * 75 * 10


@pytest.mark.parametrize(
    ("name", "about"), [("alexnet", 0.71e9), ("vgg11", 7.6e9), ("resnet18", 1.82e9), ("resnet101", 7.8e9)]
)
def test_multiply_adds_are_half_of_torchs_flops(name: str, about: float) -> None:
    model, preprocessing = full_size_on_meta(name)
    counted = multiply_adds(model, preprocessing)
    with evaluating(model), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert counted == counter.get_total_flops() / 2
    assert counted == pytest.approx(about, rel=0.01)


def test_multiply_adds_of_grouped_convolution() -> None:
    features = nn.Conv2d(3, 6, kernel_size=(1, 2), groups=3)
    model = LesionClassifier(features, nn.Sequential(nn.Flatten(), nn.Linear(6 * 4 * 3, 1)))
    assert multiply_adds(model, Preprocessing(resize_px=4, crop_px=None)) == (6 * 4 * 3) * (1 * 1 * 2) + 6 * 4 * 3


def test_counting_leaves_the_model_as_it_was() -> None:
    model, preprocessing = small_model("resnet18")
    model.train()
    model.head.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    multiply_adds(model, preprocessing)
    assert model.features.training
    assert not model.head.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_counting_needs_a_size() -> None:
    with pytest.raises(ConfigError, match=r"set preprocessing.resize_px or crop_px"):
        multiply_adds(small_model("tiny_vgg")[0], Preprocessing(resize_px=None, crop_px=None))

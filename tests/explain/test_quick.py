"""A quick copy gives a network's own numbers, whatever the size of its maps, and leaves the network alone."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from torch import Tensor, nn

from lentigo.explain import quick as quick_module
from lentigo.explain.cam import grad_cam
from lentigo.explain.quick import _suits, _Winograd, quick_copy
from lentigo.models.contract import LesionClassifier
from tests.explain.nets import bent_net, random_images, state_of, untrained, used_net


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).abs().max() / exact.abs().max())


# ---------------------------------------------------------------- one convolution


def test_convolution_worked_out_by_hand() -> None:
    """A kernel of ones adds up the nine values around each; at the edges there are four or six."""
    convolution = nn.Conv2d(1, 1, 3, padding=1)
    with torch.no_grad():
        convolution.weight.fill_(1)
        convolution.bias.fill_(0.5)
        found = _Winograd(convolution)(torch.ones(1, 1, 3, 3))
    assert found[0, 0] == pytest.approx(torch.tensor([[4.5, 6.5, 4.5], [6.5, 9.5, 6.5], [4.5, 6.5, 4.5]]), abs=1e-6)


@settings(max_examples=40, deadline=None)  # the machine may be busy
@given(
    sizes=st.tuples(st.integers(1, 4), st.integers(3, 23), st.integers(3, 40)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
def test_convolution_equals_the_plain_one(sizes: Any, padding: Any, channels: Any, bias: bool, seed: int) -> None:
    plain = nn.Conv2d(*channels, 3, padding=padding, bias=bias)
    with torch.no_grad():
        plain.weight.copy_(normal(*plain.weight.shape, seed=seed))
        images = normal(sizes[0], channels[0], *sizes[1:], seed=seed + 100)
        found = _Winograd(plain)(images)
        exact = plain.double()(images.double())
    assert found.shape == exact.shape
    assert relative_error(found, exact) < 2e-5


@pytest.mark.parametrize(("count", "rows", "columns"), [(40, 5, 5), (3, 70, 90), (1, 4, 1100), (20, 13, 13)])
def test_many_tiles_are_worked_off_in_strips_and_in_groups_of_images(count: int, rows: int, columns: int) -> None:
    plain = nn.Conv2d(64, 64, 3, padding=1)
    with torch.no_grad():
        plain.weight.copy_(normal(*plain.weight.shape, seed=1) / 24)
        images = normal(count, 64, rows, columns, seed=2).relu()
        assert relative_error(_Winograd(plain)(images), plain(images)) < 1e-5


def test_what_is_not_finite_stays_in_its_image() -> None:
    images = normal(3, 8, 9, 9, seed=0)
    images[1, 0, 4, 4] = torch.nan
    with torch.no_grad():
        found = _Winograd(nn.Conv2d(8, 8, 3, padding=1))(images)
    assert found.isfinite().flatten(1).all(dim=1).tolist() == [True, False, True]


def test_other_convolutions_are_left_alone() -> None:
    assert _suits(nn.Conv2d(64, 64, 3))
    others: list[dict[str, Any]] = [
        {"stride": 2},
        {"dilation": 2},
        {"groups": 2},
        {"padding": "same"},
        {"padding_mode": "reflect"},
        {"in_channels": 63},
        {"out_channels": 63},
        {"kernel_size": 5},
        {"kernel_size": (3, 1)},
    ]
    for other in others:
        assert not _suits(nn.Conv2d(**({"in_channels": 64, "out_channels": 64, "kernel_size": 3} | other)))
    assert not _suits(nn.ConvTranspose2d(64, 64, 3))


# ---------------------------------------------------------------- a network


NETWORKS: dict[str, Any] = {
    "tiny_vgg": lambda: (untrained("tiny_vgg", 64), 64),
    "alexnet": lambda: (untrained("alexnet", 100, width=0.5), 100),
    "vgg11": lambda: (untrained("vgg11", 64, width=0.25), 64),
    "resnet18": lambda: (untrained("resnet18", 72), 72),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_copy_gives_the_networks_own_numbers(name: str) -> None:
    model, size_px = NETWORKS[name]()
    images = random_images(9, size_px)
    quick = quick_copy(model.eval())
    with torch.no_grad():
        assert relative_error(quick.features(images), model.features(images)) < 2e-5
    ours, own = grad_cam(quick, images), grad_cam(model, images)
    assert relative_error(ours.malignant, own.malignant) < 1e-4
    assert relative_error(ours.logits, own.logits) < 1e-4
    if name != "tiny_vgg":
        assert any(isinstance(module, _Winograd) for module in quick.modules())
    assert not any(isinstance(module, _Winograd) for module in model.modules())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["alexnet", "vgg11"])
def test_copy_of_a_full_size_network_gives_its_own_numbers(name: str) -> None:
    model, images = untrained(name, 224), random_images(3, 224)
    ours, own = grad_cam(quick_copy(model), images), grad_cam(model, images)
    assert relative_error(ours.malignant, own.malignant) < 2e-5


@pytest.mark.parametrize(("pixels", "pieces"), [(1, [1] * 5), (64 * 2 + 63, [2, 2, 1]), (64 * 5, [5]), (10**6, [5])])
def test_a_batch_goes_through_in_pieces(pixels: int, pieces: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    model, images, sizes = bent_net(), random_images(5, 8), []
    model.features[0].register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    quick = quick_copy(model)
    monkeypatch.setattr(quick_module, "_PIECE_PX", pixels)
    found = grad_cam(quick, images).malignant
    assert sizes == pieces
    assert relative_error(found, grad_cam(model, images).malignant) < 1e-5


def test_copy_shares_the_head_and_holds_the_features_as_they_were() -> None:
    model, images = bent_net(), random_images(2, 8)
    quick = quick_copy(model)
    assert quick.head is model.head
    before = grad_cam(model, images)
    with torch.no_grad():
        model.features[0].weight.zero_()
    assert_array_equal(grad_cam(quick, images).malignant, before.malignant)


def test_network_is_left_as_it_was() -> None:
    model = used_net()
    before = state_of(model)
    grad_cam(quick_copy(model), random_images(2, 8))
    assert state_of(model) == before


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_has_no_effect(surrounding: Any) -> None:
    model, images = untrained("resnet18", 40), random_images(2, 40)
    expected = grad_cam(quick_copy(model), images).malignant
    with surrounding():
        quick = quick_copy(model)
        assert_array_equal(grad_cam(quick, images.clone()).malignant, expected)
    assert_array_equal(grad_cam(quick, images).malignant, expected)


def test_a_network_of_another_precision_or_device_is_not_copied() -> None:
    model: LesionClassifier = bent_net().double()
    assert quick_copy(model) is model
    elsewhere = bent_net().to("meta")
    assert quick_copy(elsewhere) is elsewhere

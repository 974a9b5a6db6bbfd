"""Heat maps from gradients: by hand, against two public tools and slow references, and by what must not change them."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from torch import nn

from lentigo.errors import ConfigError, DataError, RunError
from lentigo.explain.cam import grad_cam, grad_cam_plus_plus, hires_cam, layer_cam
from lentigo.explain.layer import Target
from lentigo.explain.maps import HeatMaps, in_memory, joined
from lentigo.models.contract import LesionClassifier
from tests import reference
from tests.explain.nets import (
    TwoClasses,
    bent_net,
    dead_net,
    hand_images,
    hand_net,
    malignant_less_benign,
    random_images,
    state_of,
    tiny_vgg,
    untrained,
    used_net,
)
from tests.explain.packages import captum_grad_cam, grad_cam_package

METHODS = (grad_cam, grad_cam_plus_plus, hires_cam, layer_cam)
LINEAR = (grad_cam, hires_cam)  # the map of benign is the negative of that of malignant
PACKAGE = {grad_cam: GradCAM, grad_cam_plus_plus: GradCAMPlusPlus, hires_cam: HiResCAM, layer_cam: LayerCAM}

# ---------------------------------------------------------------- by hand


def test_grad_cam_worked_out_by_hand() -> None:
    # Image 0: hidden = (1*1 + 3*2) - (3 + 1) = 3, above 0, so the ReLU lets the gradient through and it is the weights:
    # alpha_1 = (1 + 2 + 3 + 2) / 4 = 2, alpha_2 = -1, map = 2 [[1, 0], [2, 0]] - [[0, 3], [1, 0]] = [[2, -3], [3, 0]].
    # Image 1: hidden = -3, the ReLU is dead, the gradient 0. Image 2: hidden = 1, map = 2 [[1, 0], [0, 0]].
    found = grad_cam(hand_net(), hand_images())
    assert found.malignant.tolist() == [[[2, -3], [3, 0]], [[0, 0], [0, 0]], [[2, 0], [0, 0]]]
    assert found.logits.tolist() == [3.25, 0.25, 1.25]
    assert found.positive("malignant").tolist() == [[[2, 0], [3, 0]], [[0, 0], [0, 0]], [[2, 0], [0, 0]]]
    assert found.positive("benign").tolist() == [[[0, 3], [0, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    assert found.empty("malignant").tolist() == [False, True, False]
    assert found.empty("benign").tolist() == [False, True, True]
    assert found.signed().tolist() == found.malignant.tolist()


def test_hires_cam_worked_out_by_hand() -> None:
    # [[1, 2], [3, 2]] * [[1, 0], [2, 0]] - [[0, 3], [1, 0]]; dead; [[1, 2], [3, 2]] * [[1, 0], [0, 0]].
    found = hires_cam(hand_net(), hand_images())
    assert found.malignant.tolist() == [[[1, -3], [5, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]]
    assert found.benign.tolist() == [[[-1, 3], [-5, 0]], [[0, 0], [0, 0]], [[-1, 0], [0, 0]]]


def test_layer_cam_worked_out_by_hand() -> None:
    # The first channel's slopes are positive, so it speaks for malignant; the second's negative: for benign.
    found = layer_cam(hand_net(), hand_images())
    assert found.malignant.tolist() == [[[1, 0], [6, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]]
    assert found.benign.tolist() == [[[0, 3], [1, 0]], [[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    assert found.signed().tolist() == [[[1, -3], [5, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]]


def test_grad_cam_plus_plus_worked_out_by_hand() -> None:
    # Image 0: A1 sums to 3 and its slopes are 1 2 3 2: 1/5 + 2/8 + 3/11 + 2/8 = 107/110. A2 sums to 4 and its slopes
    # for benign are 1: 4 / (2 + 4) = 2/3. Image 2: A1 sums to 1: 1/3 + 2/4 + 3/5 + 2/4 = 29/15.
    found = grad_cam_plus_plus(hand_net(), hand_images())
    w = 107 / 110
    assert_allclose(found.malignant, [[[w, 0], [2 * w, 0]], np.zeros((2, 2)), [[29 / 15, 0], [0, 0]]], rtol=1e-6)
    assert_allclose(found.benign, [[[0, 2], [2 / 3, 0]], np.zeros((2, 2)), np.zeros((2, 2))], rtol=1e-6)


# ---------------------------------------------------------------- against references


@pytest.mark.parametrize(("make", "size_px"), [(hand_net, 2), (bent_net, 8), (tiny_vgg, 24)])
def test_maps_equal_nudging_every_cell(make: Any, size_px: int) -> None:
    model, images = make(), random_images(2, size_px, seed=7)
    exact = copy.deepcopy(model).double().eval()

    def logit(features: list[list[list[float]]]) -> float:
        with torch.no_grad():
            return exact.head(torch.tensor([features], dtype=torch.float64)).item()

    found = {method: method(model, images) for method in METHODS}
    for place, image in enumerate(images):
        with torch.no_grad():
            features = exact.features(image.double()[None])[0].tolist()
        slopes = reference.slopes(features, logit)
        against = [[[-g for g in row] for row in channel] for channel in slopes]
        expected = {
            grad_cam: (reference.grad_cam(features, logit), reference.grad_cam(features, lambda f: -logit(f))),
            hires_cam: [reference.cell_by_cell(features, g, positive_only=False) for g in (slopes, against)],
            layer_cam: [reference.cell_by_cell(features, g, positive_only=True) for g in (slopes, against)],
            grad_cam_plus_plus: [reference.grad_cam_plus_plus(features, g) for g in (slopes, against)],
        }
        for method, (malignant, benign) in expected.items():
            assert_allclose(found[method].malignant[place], malignant, rtol=1e-4, atol=2e-6)
            assert_allclose(found[method].benign[place], benign, rtol=1e-4, atol=2e-6)


NETWORKS: dict[str, Any] = {
    "tiny_vgg": lambda: (untrained("tiny_vgg", 64), 64, {}),
    "alexnet": lambda: (untrained("alexnet", 100, width=0.25), 100, {}),
    "vgg11": lambda: (untrained("vgg11", 96, width=0.125), 96, {}),
    "resnet18": lambda: (untrained("resnet18", 64), 64, {}),
    "resnet18, inner layer": lambda: (untrained("resnet18", 64), 64, {"layer": "features.5.1"}),
    "of someone else": lambda: (TwoClasses(), 12, {"layer": "block", "target": malignant_less_benign}),
}


def enlarged(target: Target | None) -> Target:
    return lambda output: 1e6 * (output if target is None else target(output))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", METHODS)
def test_maps_equal_public_tools(name: str, method: Any) -> None:
    model, size_px, options = NETWORKS[name]()
    images = random_images(2, size_px, seed=1)
    if method is grad_cam_plus_plus:  # the package adds 1e-6 to squared gradients, so these must be large
        options |= {"target": enlarged(options.get("target"))}
    found = method(model, images, **options)
    for decision in ("malignant", "benign"):
        package = grad_cam_package(PACKAGE[method], model, images, decision=decision, **options)
        scale = np.abs(package).max()  # untrained maps are small: "within 1e-4" of the largest value, not of 1
        assert scale > 0
        assert_allclose(getattr(found, decision).numpy() / scale, package / scale, rtol=0, atol=1e-4)
        if method is grad_cam:
            captum = captum_grad_cam(model, images, decision=decision, **options)
            assert_allclose(found.positive(decision).numpy() / scale, captum.clip(min=0) / scale, rtol=0, atol=1e-4)
            assert_array_equal(found.empty(decision), (captum <= 0).all(axis=(1, 2)))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size_px"), [("tiny_vgg", 300), ("alexnet", 224), ("vgg11", 224)])
def test_maps_of_full_size_networks_equal_public_tools(name: str, size_px: int) -> None:
    model, images = untrained(name, size_px), random_images(2, size_px, seed=1)
    for method in (grad_cam, hires_cam, layer_cam):
        found = method(model, images)
        for decision in ("malignant", "benign"):
            package = grad_cam_package(PACKAGE[method], model, images, decision=decision)
            scale = np.abs(package).max()
            assert scale > 0
            assert_allclose(getattr(found, decision).numpy() / scale, package / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("size_px", "blocks"), [(64, 2), (40, 3), (300, 2)])
def test_cells_of_hires_cam_and_the_bias_add_up_to_the_logit_of_tiny_vgg(size_px: int, blocks: int) -> None:
    model, images = untrained("tiny_vgg", size_px, blocks=blocks), random_images(3, size_px)
    bias = model.head[1].bias.item()
    found = hires_cam(model, images)
    with torch.no_grad():
        assert_allclose(found.malignant.sum(dim=(1, 2)) + bias, model(images), rtol=0, atol=1e-4)
    assert_allclose(found.benign.sum(dim=(1, 2)) - bias, -found.logits, rtol=0, atol=1e-4)


# ---------------------------------------------------------------- properties


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [0.5, 3.0, -1.0, -2.0])
def test_scaling_the_last_layer_scales_the_map_and_a_flip_swaps_the_decisions(method: Any, factor: float) -> None:
    model, images = bent_net(), random_images(4, 8)
    before = method(model, images)
    with torch.no_grad():
        for parameter in model.head[-1].parameters():
            parameter.mul_(factor)
    after = method(model, images)
    assert_allclose(after.logits, factor * before.logits, rtol=1e-5, atol=1e-7)
    same, other = (before.malignant, before.benign) if factor > 0 else (before.benign, before.malignant)
    if method is not grad_cam_plus_plus or factor == -1:  # its weights are no multiples of the score
        assert_allclose(after.malignant, abs(factor) * same, rtol=1e-5, atol=1e-7)
        assert_allclose(after.benign, abs(factor) * other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_signed_map_is_the_difference_of_the_two_decisions(method: Any) -> None:
    found = method(tiny_vgg(), random_images(5, 24))
    assert_array_equal(found.positive("malignant") - found.positive("benign"), found.signed())
    if method in LINEAR:
        assert_array_equal(found.signed(), found.malignant)
        assert_array_equal(found.benign, -found.malignant)
        assert not ((found.positive("malignant") > 0) & (found.positive("benign") > 0)).any()


def test_layer_cam_splits_hires_cam_into_what_speaks_for_and_against() -> None:
    model, images = tiny_vgg(), random_images(3, 24)
    split, whole = layer_cam(model, images), hires_cam(model, images)
    assert_allclose(split.malignant - split.benign, whole.malignant, rtol=1e-4, atol=1e-7)
    assert (split.malignant >= 0).all()  # the features end in a ReLU
    assert (split.benign >= 0).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("make", "size_px"), [(bent_net, 8), (tiny_vgg, 24)])
def test_map_does_not_depend_on_the_batch(method: Any, make: Any, size_px: int) -> None:
    model, images = make(), random_images(5, size_px)
    whole = method(model, images)
    for index in range(5):
        alone = method(model, images[index : index + 1])
        assert_allclose(alone.malignant[0], whole.malignant[index], rtol=1e-5, atol=1e-7)
        assert_allclose(alone.benign[0], whole.benign[index], rtol=1e-5, atol=1e-7)
        assert_allclose(alone.logits[0], whole.logits[index], rtol=1e-5, atol=1e-7)


def test_memory_layout_has_no_effect() -> None:
    model, images = tiny_vgg(), random_images(3, 24)
    expected = grad_cam(model, images).malignant
    last = grad_cam(model.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)).malignant
    assert_allclose(last, expected, rtol=1e-4, atol=1e-7)


def test_dropout_and_batch_statistics_have_no_effect() -> None:
    model, images = bent_net().train(), random_images(3, 8)
    training = grad_cam(model, images)
    model.head[2] = nn.Identity()
    assert_array_equal(training.malignant, grad_cam(model.eval(), images).malignant)
    with torch.no_grad():
        assert_array_equal(training.logits, model(images))


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_gradient_mode_has_no_effect(surrounding: Any) -> None:
    model, images = bent_net(), random_images(3, 8)
    expected = grad_cam(model, images)
    with surrounding():
        found = grad_cam(model, images.clone())
    assert_array_equal(found.malignant, expected.malignant)
    assert not found.malignant.requires_grad
    assert not found.logits.requires_grad


def test_a_head_that_starts_in_place_changes_nothing() -> None:
    model, images = hand_net(), hand_images() - 0.5  # negative features, which the ReLU would overwrite
    expected = []
    for in_place in (False, True):
        head = nn.Sequential(nn.ReLU(inplace=in_place), *hand_net().head)
        expected.append(grad_cam(LesionClassifier(model.features, head), images).malignant)
    assert_array_equal(*expected)
    assert (expected[0] != 0).any()


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_head_speaks_for_nothing(method: Any) -> None:
    found = method(dead_net(), random_images(3, 8))
    assert found.logits.tolist() == [0.5] * 3
    assert found.empty("malignant").all()
    assert found.empty("benign").all()
    assert not found.signed().any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_an_image_of_one_colour_gives_numbers(method: Any, value: float) -> None:
    for model, size_px in ((bent_net(), 8), (tiny_vgg(), 24)):
        found = method(model, torch.full((2, 3, size_px, size_px), value))
        assert found.malignant.isfinite().all()
        assert found.benign.isfinite().all()
        assert_allclose(found.malignant[0], found.malignant[1], rtol=1e-6)


# ---------------------------------------------------------------- the network is left as it was


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layer", [None, "features.2"])
def test_network_is_left_as_it_was(method: Any, layer: str | None) -> None:
    model = used_net()
    before = state_of(model)
    method(model, random_images(2, 8), layer=layer)
    with pytest.raises(RunError):
        method(model, random_images(2, 8) * torch.nan, layer=layer)
    assert state_of(model) == before


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("method", METHODS)
def test_refuses_networks_and_layers_that_give_no_map(method: Any) -> None:
    with pytest.raises(ConfigError, match="Linear is not a LesionClassifier, so the layer to explain is not known"):
        method(nn.Linear(3, 1), random_images(1, 8))
    with pytest.raises(ConfigError, match="LesionClassifier has no layer 'conv5'; layers that give maps: features,"):
        method(bent_net(), random_images(1, 8), layer="conv5")
    with pytest.raises(ConfigError, match=r"has shape \(1, 192\), not \(batch, channels, rows, columns\)"):
        method(LesionClassifier(nn.Flatten(), nn.Linear(192, 1)), random_images(1, 8))


def test_refuses_maps_that_are_not_finite() -> None:
    images = random_images(4, 8)
    images[2, 0, 0, 0] = torch.nan
    with pytest.raises(RunError, match=r"images \[2\] of a batch of 4 are not finite"):
        grad_cam(bent_net(), images)


# ---------------------------------------------------------------- pieces


def test_joined_pieces_are_the_whole() -> None:
    model, images = bent_net(), random_images(7, 8)
    whole = layer_cam(model, images)
    found: HeatMaps[np.ndarray] = joined(in_memory(layer_cam(model, images[start : start + 3])) for start in (0, 3, 6))
    for name in ("malignant", "benign", "logits"):
        assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-5, atol=1e-7)
    assert_allclose(found.signed(), whole.signed(), rtol=1e-5, atol=1e-7)
    assert_array_equal(found.empty("benign"), whole.empty("benign"))


def test_joining_nothing_or_mixed_sizes_is_refused() -> None:
    with pytest.raises(DataError, match="found no image to explain"):
        joined([])
    any_size = TwoClasses()
    pieces = [
        in_memory(grad_cam(any_size, random_images(1, side), layer="block", target=malignant_less_benign))
        for side in (4, 5)
    ]
    with pytest.raises(DataError, match=r"maps of the sizes .*4, 4.*5, 5.*all in one size"):
        joined(pieces)

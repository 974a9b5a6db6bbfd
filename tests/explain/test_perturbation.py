"""Heat maps without gradients: by hand, against two public tools and slow references, and by what changes nothing."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from numpy.testing import assert_allclose, assert_array_equal
from pytorch_grad_cam import AblationCAM, ScoreCAM
from torch import Tensor, nn

from lentigo.errors import ConfigError, RunError
from lentigo.explain.perturbation import ablation_cam, occlusion, score_cam
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
from tests.explain.packages import CATEGORY, Scored, grad_cam_package

METHODS = (score_cam, ablation_cam, occlusion)
SMALL: dict[Any, dict[str, Any]] = {score_cam: {}, ablation_cam: {}, occlusion: {"window_px": 4, "stride_px": 2}}

# ---------------------------------------------------------------- by hand


def test_score_cam_worked_out_by_hand() -> None:
    # Image 0, seen through A1 / 2: red [[1/2, 0], [2, 0]], blue [[0, 0], [1, 0]], hidden = 1/2 + 6 - 1 = 5.5. Through
    # A2 / 3: red [[0, 0], [2/3, 0]], blue [[0, 3], [1/3, 0]], hidden = 2 - 10/3, below 0. Scores 5.75 and 0.25.
    first = 1 / (1 + math.exp(-5.5))
    found = score_cam(hand_net(), hand_images())
    a1, a2 = np.array([[1, 0], [2, 0]]), np.array([[0, 3], [1, 0]])
    assert_allclose(found.malignant[0], first * a1 + (1 - first) * a2, rtol=1e-6)
    assert_allclose(found.benign[0], (1 - first) * a1 + first * a2, rtol=1e-6)
    # Image 1: its first channel is 0 throughout and hides all, through the second hidden = -3: both score 0.25.
    assert_allclose(found.malignant[1], [[0, 1.5], [0, 0]], rtol=1e-6)
    assert not found.signed()[1].any()
    assert found.logits.tolist() == [3.25, 0.25, 1.25]


def test_ablation_cam_worked_out_by_hand() -> None:
    # Image 0: score 3.25; without A1 hidden = -4, score 0.25; without A2 hidden = 7, score 7.25: weights 3 and -4.
    found = ablation_cam(hand_net(), hand_images())
    assert found.malignant.tolist() == [[[3, -12], [2, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]]
    assert found.benign.tolist() == [[[-3, 12], [-2, 0]], [[0, 0], [0, 0]], [[-1, 0], [0, 0]]]
    assert found.logits.tolist() == [3.25, 0.25, 1.25]


def test_occlusion_worked_out_by_hand() -> None:
    # Image 0 has the mean 3/4 in red and 1 in blue. Upper left covered: hidden 3 - 1/4 - 1; upper right: 3 + 3/2 + 2;
    # lower left: 3 - 15/4, below 0; lower right: 3 + 3/2 - 1.
    images = hand_images()[:1]
    found = occlusion(hand_net(), images, window_px=1, stride_px=1)
    assert found.malignant.tolist() == [[[1.25, -3.5], [3, -0.5]]]
    assert found.benign.tolist() == [[[-1.25, 3.5], [-3, 0.5]]]
    # In black: hidden 2; 6; -3 + 0; 3.
    assert occlusion(hand_net(), images, window_px=1, stride_px=1, fill=[0.0, 0.0, 0.0]).malignant.tolist() == [
        [[1, -3], [3, 0]]
    ]
    # One window over all: hidden = 8 * 3/4 - 4 = 2, so every cell lost 1.
    assert occlusion(hand_net(), images, window_px=2, stride_px=1).malignant.tolist() == [[[1, 1], [1, 1]]]


def test_a_cell_is_the_mean_of_the_windows_that_cover_it() -> None:
    class Sum(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.sum(dim=(1, 2, 3))

    image = torch.zeros(1, 1, 3, 3)
    image[0, 0] = torch.arange(9.0).reshape(3, 3)
    # The four windows of 2 x 2 hold 0 + 1 + 3 + 4 = 8, 12, 20 and 24.
    found = occlusion(Sum(), image, window_px=2, stride_px=1, fill=[0.0])
    assert found.malignant.tolist() == [[[8, 10, 12], [14, 16, 18], [20, 22, 24]]]


# ---------------------------------------------------------------- against references


@pytest.mark.parametrize(("make", "size_px", "window_px", "stride_px"), [(bent_net, 8, 4, 2), (tiny_vgg, 24, 12, 6)])
def test_maps_equal_the_definitions(make: Any, size_px: int, window_px: int, stride_px: int) -> None:
    model, images = make(), random_images(2, size_px, seed=7)
    exact = copy.deepcopy(model).double().eval()

    def run(part: Any, numbers: list[Any]) -> Tensor:
        with torch.no_grad():
            return part(torch.tensor([numbers], dtype=torch.float64))[0]

    def logit(image: list[Any]) -> float:
        return run(exact, image).item()

    def head(features: list[Any]) -> float:
        return run(exact.head, features).item()

    through, without = score_cam(model, images), ablation_cam(model, images)
    hidden = occlusion(model, images, window_px=window_px, stride_px=stride_px)
    for place in range(2):
        image = images[place].double().tolist()
        features = run(exact.features, image).tolist()
        expected = reference.score_cam(features, image, logit, size_px)
        assert_allclose(through.malignant[place], expected, rtol=1e-4, atol=1e-6)
        expected = reference.score_cam(features, image, lambda some: -logit(some), size_px)
        assert_allclose(through.benign[place], expected, rtol=1e-4, atol=1e-6)
        assert_allclose(without.malignant[place], reference.ablation_cam(features, head), rtol=1e-4, atol=1e-6)
        expected = reference.occlusion(image, logit, window_px, stride_px)
        assert_allclose(hidden.malignant[place], expected, rtol=1e-3, atol=1e-6)


NETWORKS: dict[str, Any] = {
    "tiny_vgg": lambda: (untrained("tiny_vgg", 64), 64, {}),
    "alexnet": lambda: (untrained("alexnet", 80, width=0.125), 80, {}),
    "vgg11": lambda: (untrained("vgg11", 64, width=0.0625), 64, {}),
    "resnet18, inner layer": lambda: (untrained("resnet18", 40), 40, {"layer": "features.4"}),
    "of someone else": lambda: (TwoClasses(), 12, {"layer": "block", "target": malignant_less_benign}),
}


def assert_same(found: Tensor, theirs: np.ndarray) -> None:
    scale = np.abs(theirs).max()  # untrained maps are small: "within 1e-4" of the largest value, not of 1
    assert scale > 0
    assert_allclose(found.numpy() / scale, theirs / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_score_cam_equals_the_package(name: str) -> None:
    model, size_px, options = NETWORKS[name]()
    images = random_images(2, size_px, seed=1)
    found = score_cam(model, images, aligned_corners=True, **options)
    for decision in ("malignant", "benign"):
        assert_same(getattr(found, decision), grad_cam_package(ScoreCAM, model, images, decision=decision, **options))


@pytest.mark.parametrize(
    "name", [name for name in NETWORKS if name != "of someone else"]
)  # the package's 0 is -1e7 there
def test_ablation_cam_equals_the_package_times_its_score(name: str) -> None:
    model, size_px, options = NETWORKS[name]()
    images = random_images(2, size_px, seed=1)
    found = ablation_cam(model, images, **options)
    for decision, sign in (("malignant", 1), ("benign", -1)):
        score = sign * found.logits.numpy()[:, None, None]
        theirs = grad_cam_package(AblationCAM, model, images, decision=decision, **options)
        assert_same(getattr(found, decision), theirs * score)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("across", [1, 2])
def test_occlusion_equals_captum(name: str, across: int) -> None:
    model, size_px, options = NETWORKS[name]()
    images, stride_px = random_images(2, size_px, seed=1), size_px // 4
    target = options.get("target")
    found = occlusion(model, images, window_px=across * stride_px, stride_px=stride_px, target=target)
    scored = Scored(model, target)
    for decision in ("malignant", "benign"):
        sign = 2 * CATEGORY[decision] - 1
        theirs = Occlusion(lambda some, sign=sign: sign * scored(some)).attribute(
            images,
            sliding_window_shapes=(3, across * stride_px, across * stride_px),
            strides=(3, stride_px, stride_px),
            baselines=images.mean(dim=(2, 3), keepdim=True).expand_as(images),
        )
        assert_array_equal(theirs[:, 0], theirs[:, 2])
        cells = theirs[:, 0].detach().numpy().reshape(2, 4, stride_px, 4, stride_px)
        assert_allclose(cells, np.broadcast_to(cells[:, :, :1, :, :1], cells.shape), atol=1e-6)
        assert_same(getattr(found, decision), cells[:, :, 0, :, 0])


# ---------------------------------------------------------------- properties


@pytest.mark.parametrize("method", METHODS)
def test_pieces_do_not_matter_and_are_kept_to(method: Any) -> None:
    model, images, sizes = bent_net(), random_images(3, 8), []
    model.head.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    expected = method(model, images, **SMALL[method])
    sizes.clear()
    for at_once in (1, 5):
        found = method(model, images, at_once=at_once, **SMALL[method])
        assert_allclose(found.malignant, expected.malignant, rtol=1e-4, atol=1e-6)
        assert max(sizes) <= max(at_once, len(images))
    with pytest.raises(ConfigError, match="at_once is 0, not 1 or more; try 32"):
        method(model, images, at_once=0, **SMALL[method])


@pytest.mark.parametrize("method", METHODS)
def test_map_does_not_depend_on_the_batch(method: Any) -> None:
    model, images = bent_net(), random_images(4, 8)
    whole = method(model, images, **SMALL[method])
    for index in range(4):
        alone = method(model, images[index : index + 1], **SMALL[method])
        for name in ("malignant", "benign", "logits"):
            assert_allclose(getattr(alone, name)[0], getattr(whole, name)[index], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [ablation_cam, occlusion])
def test_benign_is_the_negative_of_malignant(method: Any) -> None:
    found = method(bent_net(), random_images(3, 8), **SMALL[method])
    assert_array_equal(found.benign, -found.malignant)
    assert_array_equal(found.signed(), found.malignant)


def test_weights_of_score_cam_add_up_to_one() -> None:
    """So where all channels are alike the map is the channel."""
    model = hand_net()
    with torch.no_grad():
        model.features.weight[1] = model.features.weight[0]
    found = score_cam(model, hand_images())
    expected = hand_images()[:, 0]
    assert_allclose(found.malignant, expected, rtol=1e-6)
    assert_allclose(found.benign, expected, rtol=1e-6)
    assert not found.signed().any()


def test_a_channel_of_one_value_but_for_rounding_hides_all() -> None:
    """It is not stretched to noise in [0, 1]."""
    model, images = hand_net(), hand_images()[:1]
    images[0, 2] = 0.7 + 1e-7 * torch.tensor([[0.0, 1], [1, 0]])
    assert len(images[0, 2].unique()) == 2
    found = score_cam(model, images)
    # Through A1 / 2 hidden = 1/2 + 6 - 0.7 / 2 - 0.7; black leaves 0.
    first = 1 / (1 + math.exp(-(6.5 - 1.5 * 0.7)))
    expected = first * images[0, 0] + (1 - first) * 0.7
    assert_allclose(found.malignant[0], expected, rtol=1e-5)


def test_score_cam_enlarges_as_maps_are_drawn() -> None:
    """Aligned corners give another mask, and so another map."""
    model, images = bent_net(), random_images(2, 8)
    ours, aligned = score_cam(model, images), score_cam(model, images, aligned_corners=True)
    assert (ours.malignant - aligned.malignant).abs().max() > 1e-6


@pytest.mark.parametrize(("size_px", "cells"), [(300, 19), (224, 14), (32, 2), (40, 2)])
def test_cells_of_occlusion_divide_the_image_evenly(size_px: int, cells: int) -> None:
    class Corner(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, 0, -1, -1]

    image = torch.zeros(1, 3, size_px, size_px)
    image[0, 0, -1, -1] = 1
    found = occlusion(Corner(), image, window_px=32, stride_px=16, fill=[0.0, 0.0, 0.0], at_once=64)
    assert found.malignant.shape == (1, cells, cells)
    assert found.malignant[0, -1, -1] == 1  # covered by the last window alone
    assert (found.malignant[0] > 0).sum() == 4  # and so are the three cells that it shares with others


def test_oblong_images_are_covered_in_cells_of_either_side() -> None:
    class Place(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images[:, 0, 1, 5]

    image = torch.zeros(1, 3, 4, 8)
    image[0, 0, 1, 5] = 2
    found = occlusion(Place(), image, window_px=2, stride_px=2, fill=[1.0, 0.0, 0.0])
    assert found.malignant.tolist() == [[[0, 0, 1, 0], [0, 0, 0, 0]]]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
def test_an_image_of_one_colour_gives_numbers(value: float) -> None:
    images = torch.full((2, 3, 24, 24), value)
    for method in (score_cam, ablation_cam):
        found = method(tiny_vgg(), images)
        assert found.malignant.isfinite().all()
        assert found.benign.isfinite().all()
    found = occlusion(tiny_vgg(), images, window_px=8, stride_px=4)  # the mean colour hides nothing
    assert found.empty("malignant").all()
    assert found.empty("benign").all()
    assert not found.signed().any()


def test_a_dead_head_speaks_for_nothing() -> None:
    images = random_images(3, 8)
    for found in (ablation_cam(dead_net(), images), occlusion(dead_net(), images, window_px=4, stride_px=2)):
        assert found.logits.tolist() == [0.5] * 3
        assert found.empty("malignant").all()
        assert found.empty("benign").all()
    assert not score_cam(dead_net(), images).signed().any()  # its weights are shares, so they are alike, not 0


# ---------------------------------------------------------------- the network is left as it was


@pytest.mark.parametrize("method", METHODS)
def test_network_and_images_are_left_as_they_were(method: Any) -> None:
    model, images = used_net(), random_images(2, 8)
    before, pixels = state_of(model), images.clone()
    method(model, images, **SMALL[method])
    assert_array_equal(images, pixels)
    with pytest.raises(RunError, match=r"images \[0, 1\] of a batch of 2 are not finite"):
        method(model, images * torch.nan, **SMALL[method])
    assert state_of(model) == before


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("method", METHODS)
def test_the_callers_gradient_mode_has_no_effect(method: Any, surrounding: Any) -> None:
    model, images = bent_net(), random_images(2, 8)
    expected = method(model, images, **SMALL[method])
    with surrounding():
        found = method(model, images.clone(), **SMALL[method])
    assert_array_equal(found.malignant, expected.malignant)
    assert not found.malignant.requires_grad
    assert not found.logits.requires_grad


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_px": 5, "stride_px": 2}, "window_px is 5 and stride_px 2; the window must be a multiple"),
        ({"window_px": 2, "stride_px": 4}, "window_px is 2 and stride_px 4; the window must be a multiple"),
        ({"window_px": 0, "stride_px": 0}, "window_px is 0 and stride_px 0; .* try 32 and 16"),
        ({}, "window_px is 32, too large for images of 8 x 8 px; lower it and stride_px"),
        ({"window_px": 4, "stride_px": 2, "fill": [0.0]}, "fill has 1 values, the images 3 colours; give one value a"),
    ],
)
def test_occlusion_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        occlusion(bent_net(), random_images(1, 8), **options)


@pytest.mark.parametrize("method", [score_cam, ablation_cam])
def test_refuses_networks_and_layers_that_give_no_map(method: Any) -> None:
    with pytest.raises(ConfigError, match="Linear is not a LesionClassifier, so the layer to explain is not known"):
        method(nn.Linear(3, 1), random_images(1, 8))
    with pytest.raises(ConfigError, match="LesionClassifier has no layer 'conv5'; layers that give maps: features,"):
        method(bent_net(), random_images(1, 8), layer="conv5")

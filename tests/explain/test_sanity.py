"""Randomised weights and small shifts: explainers that pass and that fail by construction, and networks by hand."""

import copy
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.stats import spearmanr, ttest_1samp
from torch import Tensor, nn

from lentigo.errors import ConfigError, RunError
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.explain.agreement import enlarged
from lentigo.explain.sanity import DIRECTIONS, over_draws, randomised_layers, stability
from lentigo.models.contract import LesionClassifier, evaluating
from tests.models.helpers import small_model


def random_images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def net() -> LesionClassifier:
    """Two convolutions, one with batch norm that has seen images, and two linear layers; for images of 12 px."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        features = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.AvgPool2d(2)
        )
        head = nn.Sequential(nn.Flatten(), nn.Linear(96, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 1))
        model = LesionClassifier(features, head)
        model(random_images(8, 12, 12, seed=9))
    return model


LAYERS = ["head.4", "head.1", "features.3", "features.1", "features.0"]


def edges(_: LesionClassifier, images: Tensor) -> Tensor:
    """An edge detector: it asks the network nothing."""
    return images.mean(dim=1).diff(dim=2)


def gradient(model: LesionClassifier, images: Tensor) -> Tensor:
    """Gradient of the logit by the red channel."""
    leaf = images.clone().requires_grad_()
    with torch.enable_grad():
        model(leaf).sum().backward(inputs=[leaf])
    assert leaf.grad is not None
    return leaf.grad[:, 0]


def cam(model: LesionClassifier, images: Tensor) -> Tensor:
    """Features times the gradient of the logit by them, summed over the channels."""
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        leaf = model.features(images.clone()).detach().requires_grad_()
        (slope,) = torch.autograd.grad(model.head(leaf).sum(), leaf)
    return (leaf * slope).sum(dim=1).detach()


# ---------------------------------------------------------------- randomised weights


def test_an_edge_detector_fails_and_gradients_of_a_linear_network_pass() -> None:
    linear = LesionClassifier(nn.Flatten(), nn.Linear(3 * 30 * 30, 1))
    images = random_images(3, 30, 30)
    (failed,) = randomised_layers(linear, images, edges, seed=0)
    assert failed.layer == "head"
    assert failed.signed == pytest.approx(np.ones((5, 3)), abs=1e-12)
    assert failed.absolute == pytest.approx(np.ones((5, 3)), abs=1e-12)
    (passed,) = randomised_layers(linear, images, gradient, seed=0)
    assert np.abs(passed.signed).max() < 0.15  # the deviation over 900 pixels is 0.03
    assert np.abs(passed.absolute).max() < 0.15
    assert np.ptp(passed.signed, axis=1).max() < 1e-12  # the gradient is the weights, for all images
    assert np.ptp(passed.signed, axis=0).min() > 1e-3  # and each draw's are others


def test_layers_lose_their_weights_one_after_the_other_from_the_head_down() -> None:
    model, seen = net(), []

    def note(asked: LesionClassifier, images: Tensor) -> Tensor:
        seen.append(copy.deepcopy(asked.state_dict()))
        return edges(asked, images)

    checks = randomised_layers(model, random_images(1, 12, 12), note, seed=3, draws=2)
    assert [check.layer for check in checks] == LAYERS
    trained = model.state_dict()
    assert len(seen) == 1 + 2 * len(LAYERS)
    first, second = seen[: 1 + len(LAYERS)], [seen[0], *seen[1 + len(LAYERS) :]]  # the second draw starts as trained
    for step, state in [*enumerate(first), *enumerate(second)]:
        for name in LAYERS:
            changed = not torch.equal(state[f"{name}.bias"], trained[f"{name}.bias"])
            # An initial batch norm has a bias of 0, as this one has; its running mean tells.
            if name == "features.1":
                changed = not torch.equal(state[f"{name}.running_mean"], trained[f"{name}.running_mean"])
                assert changed == bool((state[f"{name}.running_mean"] == 0).all())
            assert changed == (name in LAYERS[:step]), (step, name)
    for draw in (first, second):
        for earlier, later in pairwise(draw[1:]):  # what is drawn once stays
            assert torch.equal(earlier["head.4.weight"], later["head.4.weight"])
    assert not torch.equal(first[1]["head.4.weight"], second[1]["head.4.weight"])


def test_correlations_are_those_of_the_maps() -> None:
    model, images, maps = net().eval(), random_images(4, 12, 12), []

    def note(asked: LesionClassifier, images: Tensor) -> Tensor:
        maps.append(cam(asked, images).flatten(1).numpy())
        return cam(asked, images)

    for step, check in enumerate(randomised_layers(model, images, note, seed=0, draws=2), start=1):
        assert check.signed.shape == check.absolute.shape == (2, 4)
        for draw in range(2):
            broken = maps[step + draw * len(LAYERS)]
            for image in range(4):
                signed = spearmanr(maps[0][image], broken[image]).statistic
                absolute = spearmanr(abs(maps[0][image]), abs(broken[image])).statistic
                found = check.signed[draw, image], check.absolute[draw, image]
                assert found == pytest.approx((signed, absolute), abs=1e-12)


def test_turned_signs_show_in_the_signed_maps_alone() -> None:
    class Turning(nn.Linear):
        def reset_parameters(self) -> None:
            with torch.no_grad():
                self.weight.copy_(-self.weight if self.weight.abs().sum() > 0 else self.weight)

    linear = LesionClassifier(nn.Flatten(), Turning(3 * 4 * 4, 1))
    with torch.no_grad():
        linear.head.weight.copy_(torch.linspace(-1, 2, 48))
    (check,) = randomised_layers(linear, random_images(2, 4, 4), gradient, seed=0, draws=2)
    assert check.signed == pytest.approx(-np.ones((2, 2)), abs=1e-12)  # the second draw turns the trained weights too
    assert check.absolute == pytest.approx(np.ones((2, 2)), abs=1e-12)


def test_seed_decides_and_batches_do_not() -> None:
    model, images = net().eval(), random_images(5, 12, 12)
    found = randomised_layers(model, images, cam, seed=1, draws=2)
    again = randomised_layers(model, images, cam, seed=1, draws=2)
    other = randomised_layers(model, images, cam, seed=2, draws=2)
    one = randomised_layers(model, images, cam, seed=1, draws=1)
    parts = [randomised_layers(model, piece, cam, seed=1, draws=2) for piece in (images[:2], images[2:])]
    for step, check in enumerate(found):
        assert_array_equal(check.signed, again[step].signed)
        assert_array_equal(check.signed, np.concatenate([part[step].signed for part in parts], axis=1))
        assert (check.signed != other[step].signed).any()
        assert_array_equal(check.signed[:1], one[step].signed)  # further draws leave the first as it is


def test_flat_maps_are_undefined_and_counted() -> None:
    def flat_once_broken(model: LesionClassifier, images: Tensor) -> Tensor:
        maps = edges(model, images)
        if not torch.equal(model.head[4].weight, trained.head[4].weight):
            maps[1] = 0.25
            maps[2] = torch.where(maps[2] > 0, 0.5, -0.5)  # flat without its sign
        return maps

    trained = net()
    for check in randomised_layers(trained, random_images(4, 12, 12), flat_once_broken, seed=0, draws=3):
        assert np.isnan(check.signed).tolist() == [[False, True, False, False]] * 3
        assert np.isnan(check.absolute).tolist() == [[False, True, True, False]] * 3
        assert check.undefined == 2  # images, not images and draws


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("task", ["randomised", "shifted"])
def test_the_model_is_left_as_it_was(surrounding: Any, task: str) -> None:
    model = net().train()
    model.features[1].eval()
    before = copy.deepcopy(model.state_dict())
    modes, state = [module.training for module in model.modules()], torch.random.get_rng_state()
    with surrounding():
        if task == "randomised":
            randomised_layers(model, random_images(2, 12, 12), cam, seed=0)
        else:
            stability(model, random_images(2, 12, 12), cam, shift_px=1)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["tiny_vgg", "vgg11", "alexnet", "resnet18"])
def test_registered_networks_can_be_randomised(name: str) -> None:
    model, preprocessing = small_model(name)
    size_px = preprocessing.output_px or 0
    checks = randomised_layers(model, random_images(1, size_px, size_px), edges, seed=0, draws=1)
    with_weights = {key.removesuffix(".weight") for key in model.state_dict() if key.endswith(".weight")}
    assert {check.layer for check in checks} == with_weights
    assert checks[0].layer.startswith("head")
    assert checks[-1].layer == "features.0"


def test_refuses_a_layer_that_cannot_be_drawn_anew() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.ones(1))

    model = LesionClassifier(Scale(), nn.Linear(3, 1))
    with pytest.raises(ConfigError, match=r"^features of LesionClassifier has parameters and no reset_parameters"):
        randomised_layers(model, random_images(1, 4, 4), edges, seed=0)


@pytest.mark.parametrize("draws", [0, -1])
def test_refuses_to_draw_nothing(draws: int) -> None:
    with pytest.raises(ConfigError, match=rf"^draws is {draws}, not 1 or more; try 5$"):
        randomised_layers(net(), random_images(1, 12, 12), edges, seed=0, draws=draws)


# ---------------------------------------------------------------- the mean over draws


def test_the_interval_over_draws_by_hand() -> None:
    """Means 0.1, 0.3 and 0.5: a deviation of 0.2, so Student's t of 2 degrees at 97.5 %, 4.303, times 0.2 / sqrt(3)."""
    found = over_draws(np.array([[0.0, 0.2], [0.3, math.nan], [0.4, 0.6], [math.nan, math.nan]]))
    half = 0.95 * math.sqrt(2 / (1 - 0.95**2)) * 0.2 / math.sqrt(3)
    assert (found.value, found.low, found.high) == pytest.approx((0.3, 0.3 - half, 0.3 + half), abs=1e-9)


def test_what_is_undefined_over_draws_has_no_number() -> None:
    assert over_draws(np.full((5, 3), math.nan)) is UNDEFINED
    one = over_draws(np.array([[0.2, 0.4], [math.nan, math.nan]]))
    assert one.value == pytest.approx(0.3)
    assert math.isnan(one.low) and math.isnan(one.high)  # noqa: PT018
    assert over_draws(np.ones((5, 8))) == Interval(1.0, 1.0, 1.0)
    wide = over_draws(np.array([[-1.0], [1.0]]))  # t of one degree is 12.7: no correlation is that large
    assert (wide.value, wide.low, wide.high) == (0, -1, 1)


@settings(deadline=None)
@given(st.integers(2, 8), st.integers(1, 6), st.integers(0, 1000))
def test_the_interval_is_scipy_s_and_images_of_one_draw_make_it_no_surer(draws: int, images: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-0.02, 0.02, size=(draws, images))
    found, peer = over_draws(values), ttest_1samp(values.mean(axis=1), 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=1e-9)
    repeated = over_draws(np.tile(values, 4))
    assert (repeated.low, repeated.high) == pytest.approx((found.low, found.high), abs=1e-12)


# ---------------------------------------------------------------- shifts


def brightness(_: LesionClassifier, images: Tensor) -> Tensor:
    return images.sum(dim=1)


@pytest.mark.parametrize("shift_px", [1, 3])
def test_an_explainer_that_goes_with_the_image_is_stable(shift_px: int) -> None:
    found = stability(net(), random_images(3, 12, 15), brightness, shift_px=shift_px)
    assert found.correlation.shape == (4, 3)
    assert found.correlation == pytest.approx(np.ones((4, 3)), abs=1e-12)
    assert found.mean == pytest.approx([1, 1, 1], abs=1e-12)


def test_coarse_maps_are_compared_on_the_inputs_grid() -> None:
    # Cells of 4 px: shifted by a cell, all but the border's cells are the same. On the grid the middle is compared.
    def pooled(_: LesionClassifier, images: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(images.mean(dim=1), 4)

    images = random_images(1, 40, 40)
    by_cell = stability(net(), images, pooled, shift_px=4)
    by_half = stability(net(), images, pooled, shift_px=2)
    assert (by_cell.correlation > 0.95).all()
    assert (by_half.correlation < by_cell.correlation).all()


def test_correlations_are_over_the_pixels_that_both_show() -> None:
    images, shift = random_images(1, 6, 7), 2
    frozen = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    found = stability(net(), images, lambda *_: frozen, shift_px=shift)  # a map that stays where it is
    still = enlarged(frozen, 6, 7)[0].numpy()
    assert list(DIRECTIONS) == ["right", "down", "left", "up"]
    right = spearmanr(still[:, :-2].ravel(), still[:, 2:].ravel()).statistic
    down = spearmanr(still[:-2].ravel(), still[2:].ravel()).statistic
    assert found.correlation[:, 0] == pytest.approx([right, down, right, down], abs=1e-12)


def test_shifted_images_repeat_their_edge_pixels() -> None:
    asked = []

    def note(_: LesionClassifier, images: Tensor) -> Tensor:
        asked.append(images.clone())
        return images[:, 0]

    image = torch.arange(12.0).reshape(1, 1, 3, 4).expand(1, 3, 3, 4)
    stability(net(), image, note, shift_px=1)
    shown = [images[0, 1].tolist() for images in asked]
    assert shown[1] == [[0, 0, 1, 2], [4, 4, 5, 6], [8, 8, 9, 10]]  # right
    assert shown[2] == [[0, 1, 2, 3], [0, 1, 2, 3], [4, 5, 6, 7]]  # down
    assert shown[3] == [[1, 2, 3, 3], [5, 6, 7, 7], [9, 10, 11, 11]]  # left
    assert shown[4] == [[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]]  # up


def test_an_image_of_one_colour_has_a_flat_map_which_is_undefined() -> None:
    images = random_images(40, 8, 8)
    images[33] = 0.3
    found = stability(net(), images, brightness, shift_px=1)
    assert np.flatnonzero(np.isnan(found.mean)).tolist() == [33]
    assert found.undefined == 1
    assert np.isnan(found.correlation[:, 33]).all()


@pytest.mark.parametrize("shift_px", [0, -1, 5])
def test_refuses_a_shift_out_of_range(shift_px: int) -> None:
    with pytest.raises(ConfigError, match=rf"shift_px is {shift_px}, not a whole number in \[1, 4\]"):
        stability(net(), random_images(1, 8, 9), brightness, shift_px=shift_px)


def test_refuses_maps_that_are_not_finite() -> None:
    with pytest.raises(RunError, match="is not finite"):
        stability(net(), random_images(1, 8, 8), lambda _, images: images[:, 0] * torch.nan, shift_px=1)

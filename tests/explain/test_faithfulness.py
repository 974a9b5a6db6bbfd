"""Deletion and insertion: curves worked out by hand, against all orders there are, and by what must not change them."""

import copy
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from lentigo.errors import ConfigError, DataError, RunError
from lentigo.explain.faithfulness import Curves, Fill, deletion_and_insertion, filled, joined


class Linear(nn.Module):
    """The logit is the sum of weights times the red pixels; it keeps the images that it was asked about."""

    def __init__(self, weights: Any, bias: float = 0.0) -> None:
        super().__init__()
        self.weights, self.bias, self.asked = torch.as_tensor(weights, dtype=torch.float32), bias, []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(images.clone())
        return (images[:, 0] * self.weights).sum(dim=(1, 2)) + self.bias


def red(values: Any) -> Tensor:
    """One image, whose green and blue are 0."""
    values = torch.as_tensor(values, dtype=torch.float32)
    return torch.stack([values, values * 0, values * 0])[None]


def random_images(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def random_maps(count: int, rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(count, rows, columns, generator=torch.Generator().manual_seed(seed))


def curves(model: nn.Module, images: Tensor, maps: Tensor, **options: Any) -> Curves:
    options = {"fill": "mean", "seed": 0} | options
    return deletion_and_insertion(model, images, maps, **options)


def assert_same(one: Curves, other: Curves) -> None:
    for name, values in vars(one).items():
        assert_array_equal(values, getattr(other, name), err_msg=name)


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize("sign", [1, -1])
def test_a_perfect_map_by_hand(sign: int) -> None:
    # The mean colour is 1. Only the upper left pixel counts, and it goes first: 4, then 1; for the benign decision the
    # logit is -4 and the map turned, so that the score is the same.
    weights = torch.tensor([[sign, 0.0], [0, 0]])
    found = curves(Linear(weights), red([[4, 0], [0, 0]]), weights[None], steps=4)
    assert found.fractions.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found.deletion.tolist() == [[4, 1, 1, 1, 1]]
    assert found.insertion.tolist() == [[1, 4, 4, 4, 4]]
    areas = found.areas("logit")
    assert areas.deletion.tolist() == [(2.5 + 1 + 1 + 1) / 4]
    assert areas.insertion.tolist() == [(2.5 + 4 + 4 + 4) / 4]
    four, one = 1 / (1 + np.exp([-4, -1]))
    found_in = found.areas("probability")
    assert found_in.deletion == pytest.approx([((four + one) / 2 + 3 * one) / 4], abs=1e-7)
    assert found_in.insertion == pytest.approx([((four + one) / 2 + 3 * four) / 4], abs=1e-7)


def test_random_places_by_hand() -> None:
    # Out of place the map has its hot cell on another pixel, so that the one that counts goes second, third or last.
    weights = torch.tensor([[1.0, 0], [0, 0]])
    found = curves(Linear(weights), red([[4, 0], [0, 0]]), weights[None], steps=4, draws=100)
    turns = {tuple(curve) for curve in found.random_deletion[0].tolist()}
    assert turns == {(4, 4, 1, 1, 1), (4, 4, 4, 1, 1), (4, 4, 4, 4, 1)}
    assert_array_equal(found.random_insertion, 5 - found.random_deletion)
    areas = found.areas("logit")
    by_draw = np.trapezoid(found.random_deletion[0].astype(np.float64), dx=0.25, axis=1)
    assert areas.random_deletion == pytest.approx([by_draw.mean()], abs=1e-12)
    assert areas.deletion_gain == pytest.approx(areas.random_deletion - 1.375, abs=1e-12)
    assert areas.insertion_gain == pytest.approx(3.625 - areas.random_insertion, abs=1e-12)
    # Probabilities are averaged over the draws, not taken of a mean score.
    chance = np.trapezoid(1 / (1 + np.exp(-found.random_deletion[0].astype(np.float64))), dx=0.25, axis=1)
    assert found.areas("probability").random_deletion == pytest.approx([chance.mean()], abs=1e-12)


def test_a_logit_of_0_is_malignant() -> None:
    weights = torch.tensor([[1.0, -1], [0, 0]])
    found = curves(Linear(weights), red([[2, 2], [0, 4]]), weights[None], steps=4)
    # Taken away first is the pixel that speaks for malignant (of 2, mean 2: no change); all else leaves 0 as well.
    assert found.deletion.tolist() == [[0] * 5]
    lit = curves(Linear(weights), red([[3, 3], [0, 2]]), weights[None], steps=4)
    assert lit.deletion.tolist() == [[0, -1, -1, -1, 0]]  # mean 2: first 2 - 3; the one that speaks against goes last


def test_coarse_maps_are_enlarged_between_the_centres_of_cells() -> None:
    # Two cells over four pixels: 3, 2.5, 1.5, 1; the order is left to right.
    model = Linear([[1.0, 0, 0, 0]])
    curves(model, red([[5, 1, 1, 1]]), torch.tensor([[[3.0, 1.0]]]), steps=4, draws=1)
    deleted = [int(images[0, 0].eq(2).sum()) for images in model.asked[2:8:2]]
    assert deleted == [1, 2, 3]
    assert [images[0, 0, 0].tolist() for images in model.asked[2:8:2]] == [[2, 1, 1, 1], [2, 2, 1, 1], [2, 2, 2, 1]]
    assert [images[0, 0, 0].tolist() for images in model.asked[3:8:2]] == [[5, 2, 2, 2], [5, 1, 2, 2], [5, 1, 1, 2]]


# ---------------------------------------------------------------- against all orders there are


@pytest.mark.parametrize("fill", ["mean", "blur"])
@pytest.mark.parametrize("seed", range(4))
def test_the_contributions_of_a_linear_network_are_the_best_map(seed: int, fill: Fill) -> None:
    images, weights = random_images(1, 2, 3, seed), random_maps(1, 2, 3, seed)
    change = (images - filled(images, fill))[:, 0] * weights
    found = curves(Linear(weights[0]), images, change, fill=fill, steps=6)
    sign = 1 if float((images[0, 0] * weights).sum()) >= 0 else -1
    scores = []
    for order in permutations(range(6)):
        left = [sign * float((images[0, 0] * weights).sum())]
        for pixel in order:
            left.append(left[-1] - sign * float(change.flatten()[pixel]))
        scores.append(np.trapezoid(left, dx=1 / 6))
    areas = found.areas("logit")
    assert areas.deletion == pytest.approx([min(scores)], abs=1e-5)
    # Put in by the same order, the pixels bring what they took.
    whole = found.deletion[0, 0] + found.deletion[0, -1]
    assert_allclose(found.insertion[0], whole - found.deletion[0], atol=1e-5)
    assert areas.insertion == pytest.approx([float(whole) - min(scores)], abs=1e-5)


# ---------------------------------------------------------------- the opponent


def test_the_opponent_is_the_map_moved_whole() -> None:
    # Of a map that falls from column to column, the half that goes first are neighbours, round the torus too.
    model, images = Linear(torch.ones(8, 8)), random_images(1, 8, 8)
    maps = torch.arange(8.0).flip(0).expand(1, 8, 8)
    curves(model, images, maps, steps=2, draws=20)
    runs = set()
    for deleted in model.asked[2::2]:
        columns = (deleted != images)[0, 0]
        assert columns.all(dim=0).sum() == 4
        assert columns.any(dim=0).sum() == 4
        gone = columns.all(dim=0).tolist()
        assert sum(gone[column] != gone[column - 1] for column in range(8)) == 2
        runs.add(tuple(gone))
    assert len(runs) > 3


def test_the_opponent_is_never_the_map_itself() -> None:
    model, weights = Linear([[0.0, 1, 0]]), torch.tensor([[[1.0, 3.0, 2.0]]])
    found = curves(model, red([[0, 6, 0]]), weights, steps=3, draws=60)
    assert found.deletion.tolist() == [[6, 2, 2, 2]]
    assert {tuple(curve) for curve in found.random_deletion[0].tolist()} == {(6, 6, 2, 2), (6, 6, 6, 2)}


def test_a_map_that_knows_nothing_gains_nothing_on_average() -> None:
    images, maps = random_images(300, 6, 6), random_maps(300, 3, 3, seed=1)
    model = Linear(random_maps(1, 6, 6, seed=2)[0])
    areas = curves(model, images, maps, draws=4).areas("logit")
    for gain in (areas.deletion_gain, areas.insertion_gain):
        assert abs(gain.mean()) < 3 * gain.std() / np.sqrt(300)
        assert gain.std() > 0.01


def test_pixels_of_equal_relevance_go_in_an_order_drawn_patch_by_patch() -> None:
    images, maps = random_images(1, 14, 14), torch.zeros(1, 14, 14)
    maps[0, 5, 5] = 1.0
    halves = []
    for seed in range(12):
        model = Linear(torch.ones(14, 14))
        curves(model, images, maps, seed=seed, steps=2, draws=1)
        gone = (model.asked[2] != images)[0, 0]
        assert gone[5, 5]
        halves.append(gone)
    share = torch.stack(halves).float().mean(dim=0)
    assert 0.3 < share[:7].mean() < 0.7  # from the top it would be 1
    # Neighbours go together in far more than the half of cases that noise would give.
    together = torch.stack([(gone[1:] == gone[:-1]).float().mean() for gone in halves]).mean()
    assert together > 0.7


# ---------------------------------------------------------------- fills


def test_fills_by_hand() -> None:
    images = random_images(2, 5, 4)
    for channel in range(3):
        assert_allclose(filled(images, "mean")[1, channel], images[1, channel].mean().expand(5, 4), rtol=1e-6)
    deviation = 0.1 * 4
    for y, x in ((0, 0), (2, 1), (4, 3)):
        weights = np.array(
            [[np.exp(-((y - j) ** 2 + (x - i) ** 2) / 2 / deviation**2) for i in range(4)] for j in range(5)]
        )
        expected = (images.numpy() * weights).sum(axis=(2, 3)) / weights.sum()
        assert_allclose(filled(images, "blur")[:, :, y, x], expected, rtol=1e-5)


def test_blur_leaves_nothing_of_stripes_as_wide_as_a_tenth() -> None:
    stripes = (torch.arange(100) // 10 % 2).float().expand(1, 3, 100, 100)
    contrast = [float(np.ptp(filled(stripes, "blur")[0, 0, :, 35:65].numpy()))]
    assert contrast[0] == pytest.approx(4 / np.pi * np.exp(-2 * (np.pi / 2) ** 2), rel=0.05)  # first wave of a square
    assert contrast[0] < 0.01


# ---------------------------------------------------------------- what says nothing


def test_a_flat_map_and_an_image_of_one_colour_are_undefined_and_counted() -> None:
    images, maps = random_images(4, 6, 6), random_maps(4, 3, 3)
    maps[1] = 0.1
    images[2] = torch.tensor([0.2, 0.5, 0.7])[:, None, None]
    model = Linear(random_maps(1, 6, 6)[0])
    found = curves(model, images, maps)
    assert found.constant_map.tolist() == [False, True, False, False]
    assert found.one_colour.tolist() == [False, False, True, False]
    assert found.undefined == 2
    for unit in ("logit", "probability"):
        for name, values in vars(found.areas(unit)).items():
            assert np.isnan(values).tolist() == [False, True, True, False], (unit, name)
    alone = curves(model, images[3:], maps[3:], first=3)
    assert_allclose(alone.random_insertion[0], found.random_insertion[3], atol=1e-6)


# ---------------------------------------------------------------- determinism, batches, the model


def small_net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5))
        return nn.Sequential(layers, nn.Linear(64, 1), nn.Flatten(0))


def test_seed_decides_and_batches_do_not() -> None:
    model, images, maps = small_net(), random_images(37, 6, 6), random_maps(37, 3, 3)
    whole = curves(model, images, maps, seed=5)
    assert_same(curves(model, images, maps, seed=5), whole)
    assert (curves(model, images, maps, seed=6).random_deletion != whole.random_deletion).any()
    parts = [curves(model, images[a:b], maps[a:b], seed=5, first=a) for a, b in ((0, 10), (10, 36), (36, 37))]
    for name, values in vars(joined(parts)).items():
        assert_allclose(values, getattr(whole, name), atol=1e-5, err_msg=name)


def test_few_images_are_held_at_once() -> None:
    model = Linear(torch.ones(2, 2))
    curves(model, random_images(70, 2, 2), random_maps(70, 2, 2), steps=3, draws=2)
    sizes = [len(images) for images in model.asked]
    assert max(sizes) == 32
    assert sum(sizes) == 70 * (2 + 2 * 2 * 3)


@pytest.mark.parametrize("surrounding", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_model_is_left_as_it_was(surrounding: Any) -> None:
    model = small_net().train()
    model[0][1].eval()
    before, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    state = torch.random.get_rng_state()
    with surrounding():
        curves(model, random_images(2, 6, 6), random_maps(2, 3, 3))
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [({"steps": 0}, "steps is 0, not 1 or more; try 10"), ({"draws": 0}, "draws is 0, not 1 or more; try 3")],
)
def test_refuses_numbers_out_of_range(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        curves(Linear(torch.ones(2, 2)), random_images(1, 2, 2), random_maps(1, 2, 2), **options)


def test_refuses_maps_that_cannot_be_ranked_or_logits_that_are_not_finite() -> None:
    maps = random_maps(3, 2, 2)
    maps[1, 0, 0] = torch.nan
    with pytest.raises(DataError, match=r"the maps of images \[1\] hold NaN or infinity"):
        curves(Linear(torch.ones(2, 2)), random_images(3, 2, 2), maps)
    with pytest.raises(RunError, match=r"the logits of images \[0\] of a batch of 1 are not finite"):
        curves(Linear(torch.ones(2, 2), bias=np.inf), random_images(1, 2, 2), random_maps(1, 2, 2))


def test_joined_refuses_nothing_and_other_curves() -> None:
    with pytest.raises(DataError, match="found no image"):
        joined([])
    parts = [curves(Linear(torch.ones(2, 2)), random_images(1, 2, 2), random_maps(1, 2, 2), draws=n) for n in (1, 2)]
    with pytest.raises(DataError, match="found other steps or draws in some of them"):
        joined(parts)

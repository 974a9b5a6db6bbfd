"""Rank correlation of maps: by hand, against scipy, and by what must not change it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata, spearmanr
from torch import Tensor, nn

from lentigo.errors import DataError, RunError
from lentigo.explain.agreement import agreement, average_ranks, averaged, enlarged, explained, rank_correlation
from lentigo.explain.cam import hires_cam, layer_cam
from lentigo.explain.on_image import to_image_size
from lentigo.imaging import Preprocessing
from lentigo.models.contract import LesionClassifier


def maps_of(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# ---------------------------------------------------------------- ranks


def test_ranks_and_correlation_by_hand() -> None:
    first = np.array([[3.0, 1.0, 3.0, -2.0], [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]])
    assert average_ranks(first).tolist() == [[3.5, 2, 3.5, 1], [1, 2, 3, 4], [4, 3, 2, 1]]
    # Off the mean 2.5: 1, -1/2, 1, -3/2 beside -3/2, -1/2, 1/2, 3/2. Products -3; squares 4.5 and 5.
    second = np.array([[1.0, 2.0, 3.0, 4.0]] * 3)
    assert rank_correlation(first, second) == pytest.approx([-3 / np.sqrt(22.5), 1, -1], abs=1e-15)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(2, 30), st.integers(1, 40), st.integers(0, 1000))
def test_ranks_and_correlation_equal_scipy(images: int, cells: int, levels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)  # few levels make many ties, and maps that are the same everywhere
    first, second = rng.integers(-levels, levels, size=(2, images, cells)) / 8
    assert_array_equal(average_ranks(first), rankdata(first, axis=1))
    found = rank_correlation(first, second)
    for a, b, correlation in zip(first, second, found, strict=True):
        if np.ptp(a) and np.ptp(b):
            assert correlation == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
        else:
            assert np.isnan(correlation)


def test_a_map_that_is_the_same_everywhere_has_no_correlation() -> None:
    rising = np.arange(7.0)[None]
    for value in (0.0, 0.1, -3.7e5):
        assert np.isnan(rank_correlation(np.full((1, 7), value), rising))[0]
    assert np.isnan(rank_correlation(np.zeros((1, 1)), np.ones((1, 1))))[0]
    assert rank_correlation(np.zeros((0, 5)), np.zeros((0, 5))).shape == (0,)


def test_correlation_of_maps_that_are_not_finite_is_refused() -> None:
    values = np.zeros((3, 2))
    values[1, 1] = np.inf
    with pytest.raises(DataError, match=r"the maps of images \[1\] hold NaN or infinity"):
        rank_correlation(np.zeros((3, 2)), values)


# ---------------------------------------------------------------- grids


def test_averaged_by_hand() -> None:
    # Three cells to two: each coarse cell is one and a half cells wide.
    maps = np.array([[[3.0, 6.0, 0.0]]], dtype=np.float32)
    assert_allclose(averaged(maps, 1, 2), [[[4.0, 2.0]]], rtol=1e-6)
    assert_allclose(averaged(maps, 1, 1), [[[3.0]]], rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "columns", "fewer_rows", "fewer_columns"), [(75, 7, 6, 7), (7, 5, 3, 2), (4, 6, 4, 3)]
)
def test_averaged_equals_cutting_every_cell_small(rows: int, columns: int, fewer_rows: int, fewer_columns: int) -> None:
    maps = maps_of(2, rows, columns)
    small = np.repeat(np.repeat(maps.astype(np.float64), fewer_rows, axis=1), fewer_columns, axis=2)
    expected = small.reshape(2, fewer_rows, rows, fewer_columns, columns).mean(axis=(2, 4))
    assert_allclose(averaged(maps, fewer_rows, fewer_columns), expected, atol=1e-6)


@pytest.mark.parametrize(("rows", "columns"), [(4, 2), (3, 3), (0, 1)])
def test_averaged_refuses_a_finer_grid(rows: int, columns: int) -> None:
    with pytest.raises(DataError, match=rf"maps of 3 x 2 cells cannot be averaged to {rows} x {columns}"):
        averaged(maps_of(1, 3, 2), rows, columns)


def test_enlarged_equals_the_map_on_an_image_and_keeps_what_is_flat() -> None:
    maps = maps_of(2, 5, 5)
    expected = to_image_size(maps, Preprocessing(resize_px=None, crop_px=None), size_px=31)
    assert_allclose(enlarged(torch.from_numpy(maps), 31, 31), expected, atol=1e-6)
    assert_array_equal(enlarged(torch.from_numpy(maps), 5, 5), maps)
    assert enlarged(torch.full((1, 3, 2), 0.1), 20, 17).unique().tolist() == [np.float32(0.1)]
    fine = maps_of(2, 12, 12)
    expected = to_image_size(fine, Preprocessing(resize_px=None, crop_px=None), size_px=5)
    assert_allclose(enlarged(torch.from_numpy(fine), 5, 5), expected, atol=1e-6)


# ---------------------------------------------------------------- agreement of two methods


def test_agreement_does_not_see_what_the_coarser_map_cannot_show() -> None:
    coarse = maps_of(3, 4, 3)
    fine = np.repeat(np.repeat(coarse, 5, axis=1), 4, axis=2)
    ripple = np.where(np.arange(12) % 2, 9, -9).astype(np.float32)  # averages to 0 in every coarse cell
    assert agreement(coarse, fine + ripple) == pytest.approx([1, 1, 1], abs=1e-12)
    assert agreement(-(fine + ripple), coarse) == pytest.approx([-1, -1, -1], abs=1e-12)
    assert agreement(np.exp(coarse), coarse) == pytest.approx([1, 1, 1], abs=1e-12)
    # Rows from one, columns from the other: the grid is 4 x 3.
    assert agreement(np.repeat(coarse, 2, axis=1), np.repeat(coarse, 3, axis=2)) == pytest.approx([1, 1, 1], abs=1e-12)


def test_agreement_of_independent_maps_is_near_0() -> None:
    found = agreement(maps_of(200, 7, 7), maps_of(200, 7, 7, seed=1))
    assert abs(found.mean()) < 0.03  # its deviation is 1 / sqrt(48 * 200) = 0.010
    assert found.std() == pytest.approx(1 / np.sqrt(48), rel=0.15)


def test_agreement_with_a_flat_map_is_undefined() -> None:
    ripple = np.tile(np.float32([0.3, 0.1]), (1, 6, 3))  # flat on the grid of the other
    for flat in (np.full((1, 6, 6), 0.1, dtype=np.float32), ripple):
        assert np.isnan(agreement(flat, maps_of(1, 3, 3))).all()


# ---------------------------------------------------------------- maps of many images


def any_net() -> LesionClassifier:
    return LesionClassifier(nn.Identity(), nn.Identity())


def test_explained_asks_for_few_at_once_and_keeps_the_order() -> None:
    sizes = []

    def red(_: LesionClassifier, images: Tensor) -> Tensor:
        sizes.append(len(images))
        return images[:, 0].requires_grad_() * 2

    images = torch.from_numpy(maps_of(70, 3, 2, 4))
    found = explained(any_net(), images, red)
    assert_array_equal(found, images[:, 0] * 2)
    assert not found.requires_grad
    assert sizes == [32, 32, 6]


@pytest.mark.parametrize("wrong", [torch.zeros(2, 9), torch.zeros(1, 3, 3), torch.full((2, 3, 3), torch.nan)])
def test_explained_refuses_what_is_no_map_of_each_image(wrong: Tensor) -> None:
    with pytest.raises(RunError, match=r"the explanation of 2 images has the shape .*, or is not finite"):
        explained(any_net(), torch.zeros(2, 3, 4, 4), lambda *_: wrong)


# ---------------------------------------------------------------- two names of one map


class Below(nn.Module):
    """A ReLU, moved so that features lie below 0."""

    def forward(self, images: Tensor) -> Tensor:
        return images.relu() - 0.5


@pytest.mark.parametrize(("last", "same"), [(nn.ReLU(), True), (Below(), False)])
def test_layer_cam_s_signed_map_is_hires_cam_s_where_no_feature_is_below_0(last: nn.Module, same: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        head = nn.Sequential(nn.Flatten(), nn.Linear(5 * 36, 4), nn.Tanh(), nn.Linear(4, 1))
        model = LesionClassifier(nn.Sequential(nn.Conv2d(3, 5, 3), last), head).eval()
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    layer, hires = (method(model, images).signed().numpy() for method in (layer_cam, hires_cam))
    assert np.ptp(hires, axis=(1, 2)).min() > 1e-4
    assert np.allclose(layer, hires, atol=1e-6) == same
    assert (agreement(layer, hires) > 0.9999).all() == same

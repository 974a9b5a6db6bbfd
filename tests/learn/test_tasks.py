"""What networks are trained for: the losses and scores of masks by hand and from their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lentigo.learn.tasks import jaccard, mask_losses
from tests import reference

relaxed = settings(max_examples=30, deadline=None)


def masks(count: int, seed: int, share: float = 0.4, side_px: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).random((count, side_px, side_px)) < share


def test_jaccard_by_hand() -> None:
    lesion = np.array([[1, 1, 0], [1, 1, 0]], dtype=bool)
    found = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)
    assert jaccard(found[None], lesion[None]).tolist() == [2 / 5]
    assert jaccard(lesion[None], lesion[None]).tolist() == [1]
    assert jaccard(~lesion[None], lesion[None]).tolist() == [0]


def test_jaccard_of_nothing_is_undefined_and_of_nothing_found_is_zero() -> None:
    none, some = np.zeros((1, 3, 3), dtype=bool), np.ones((1, 3, 3), dtype=bool)
    assert math.isnan(jaccard(none, none)[0])
    assert jaccard(none, some).tolist() == jaccard(some, none).tolist() == [0]


@relaxed
@given(seed=st.integers(0, 999), share=st.floats(0.1, 0.9))
def test_jaccard_equals_counting(seed: int, share: float) -> None:
    found, lesions = masks(3, seed, share), masks(3, seed + 1000)
    lesions[:, 0, 0] = True
    expected = [float(reference.jaccard(one, other)) for one, other in zip(found, lesions, strict=True)]
    assert jaccard(found, lesions).tolist() == pytest.approx(expected, abs=1e-15)
    assert np.array_equal(jaccard(found, lesions), jaccard(lesions, found))


def test_mask_loss_by_hand() -> None:
    """Everywhere one half: log 2, and (2 + 1) / (4 + 2 + 1) with 4 of 8 pixels in the lesion."""
    lesion = torch.tensor([[[1.0, 1, 1, 1], [0, 0, 0, 0]]])
    assert float(mask_losses(torch.zeros(1, 2, 4), lesion)) == pytest.approx(math.log(2) + 1 - 3 / 7)
    assert float(mask_losses(lesion * 200 - 100, lesion)) == pytest.approx(0, abs=1e-6)
    assert float(mask_losses(100 - lesion * 200, lesion)) == pytest.approx(100 + 1 - 1 / 9)


def test_nothing_where_nothing_is_has_no_loss() -> None:
    assert float(mask_losses(torch.full((1, 3, 3), -50.0), torch.zeros(1, 3, 3))) == pytest.approx(0, abs=1e-6)


@relaxed
@given(seed=st.integers(0, 999))
def test_mask_loss_equals_its_definition(seed: int) -> None:
    lesions = masks(3, seed)
    logits = np.random.default_rng(seed).normal(0, 2, lesions.shape)
    found = mask_losses(torch.from_numpy(logits), torch.from_numpy(lesions.astype(float)))
    expected = [reference.mask_loss(one, other) for one, other in zip(logits, lesions, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-12)


def test_mask_loss_has_a_gradient_where_everything_is_wrong() -> None:
    logits = torch.full((1, 4, 4), -30.0, dtype=torch.float64, requires_grad=True)
    mask_losses(logits, torch.ones(1, 4, 4, dtype=torch.float64)).sum().backward()
    assert logits.grad is not None
    assert (logits.grad < -0.9 / 16).all()  # of the cross entropy; that of the Jaccard index has all but vanished

"""Distances from the training images: by hand, against a plain reference, and by what they must tell apart."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor

from lentigo.data.batches import preprocess_batch
from lentigo.data.synthetic import draw_lesion
from lentigo.deploy.outlier import LEAST_IMAGES, Describe, fit_outlier_score
from lentigo.errors import ModelError
from lentigo.imaging import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

PLAIN = Preprocessing(resize_px=64, crop_px=None)
SCALED = Preprocessing(resize_px=64, crop_px=None, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def drawn(indices: range, settings: Preprocessing = PLAIN) -> Tensor:
    pixels = np.stack([draw_lesion(7, k, malignant=bool(k % 2), size_px=64).image for k in indices])
    return preprocess_batch(torch.from_numpy(pixels).permute(0, 3, 1, 2), settings)


def test_the_numbers_by_hand() -> None:
    """Left half red 1, right half 0; so one change a row, which every size of cell sees until 4 cells are left."""
    image = torch.zeros(1, 3, 16, 16)
    image[:, 0, :, :8] = 1.0
    found = Describe(Preprocessing(resize_px=16, crop_px=None))(image)[0].tolist()
    assert found[:12] == pytest.approx([1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])  # quarters: two of the left are red
    assert found[12:15] == pytest.approx([math.log(0.501), math.log(0.001), math.log(0.001)])
    floor = math.log(0.001)
    rest = found[15:]
    assert len(rest) == 2 * 6  # cells of 2 and 4 px; of 8 px there would be 2 x 2 cells
    for cells, start in ((8, 0), (4, 6)):
        assert rest[start : start + 3] == pytest.approx([floor] * 3)  # downwards nothing changes
        share = 1 / (cells - 1)
        wanted = [math.log(height * share + 0.001) for height in (0.299, 1.0, 0.5)]
        assert rest[start + 3 : start + 6] == pytest.approx(wanted, rel=1e-5)


def test_the_scaling_of_the_input_changes_nothing() -> None:
    plain, scaled = Describe(PLAIN)(drawn(range(4))), Describe(SCALED)(drawn(range(4), SCALED))
    torch.testing.assert_close(plain, scaled, rtol=0, atol=2e-4)


def test_distances_are_mahalanobis() -> None:
    images = drawn(range(60))
    score, limits = fit_outlier_score(lambda: iter(images.split(7)), PLAIN)
    numbers = Describe(PLAIN)(images).double().numpy()
    assert limits.fitted_on == 60
    standard = (numbers - numbers.mean(axis=0)) / numbers.std(axis=0)
    sample = standard.T @ standard / 60
    shrinkage = ledoit_wolf_shrinkage(standard, assume_centered=True)
    assert 0 < shrinkage < 0.5
    covariance = (1 - shrinkage) * sample + shrinkage * np.trace(sample) / len(sample) * np.eye(len(sample))
    squared = np.einsum("in,ni->i", standard, np.linalg.solve(covariance, standard.T))
    np.testing.assert_allclose(score(images).numpy(), np.sqrt(squared / len(sample)), rtol=2e-4)


def test_limits_leave_out_a_twentieth_of_images_that_the_fit_does_not_know() -> None:
    known, others = drawn(range(200)), drawn(range(200, 400))
    score, limits = fit_outlier_score(lambda: iter(known.split(50)), PLAIN)
    distances = score(others).numpy()
    assert 0.01 <= (distances > limits.refuse_above).mean() <= 0.12
    assert (distances > limits.warn_above).mean() >= (distances > limits.refuse_above).mean()
    assert limits.warn_above < limits.refuse_above
    own = score(known).numpy()
    assert (own > limits.refuse_above).mean() < 0.05  # an image is closer to a fit that knows it


def test_what_is_no_skin_is_far_away() -> None:
    score, limits = fit_outlier_score(lambda: iter([drawn(range(120))]), PLAIN)
    generator = torch.Generator().manual_seed(0)
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::4] = 1
    others = torch.cat([torch.rand(4, 3, 64, 64, generator=generator), stripes, torch.zeros(1, 3, 64, 64)])
    assert (score(others) > limits.refuse_above).all()


@pytest.mark.parametrize("count", [0, LEAST_IMAGES - 1])
def test_too_few_images_are_refused(count: int) -> None:
    def batches() -> Iterator[Tensor]:
        if count:
            yield drawn(range(count))

    with pytest.raises(
        ModelError, match=rf"there are {count} validation images, too few .*: 20 are needed; train again"
    ):
        fit_outlier_score(batches, PLAIN)

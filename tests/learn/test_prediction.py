"""Logits of every image asked for, in that order, however they are batched."""

import numpy as np
import pytest
import torch

from lentigo.data.batches import preprocess_batch
from lentigo.imaging import Preprocessing
from lentigo.learn.prediction import predict_logits
from lentigo.learn.training import TrainingData
from lentigo.models.contract import LesionClassifier
from lentigo.models.registry import create_model, resolve_preprocessing
from tests.learn.small import ALEXNET, small_experiment


@pytest.fixture(scope="module")
def network() -> tuple[LesionClassifier, Preprocessing]:
    """An AlexNet, whose dropout would show."""
    experiment = small_experiment(ALEXNET)
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    return create_model(experiment.model, preprocessing, seed=0), preprocessing


Network = tuple[LesionClassifier, Preprocessing]


def test_each_logit_is_the_networks_for_that_image_alone(network: Network, noise_data: TrainingData) -> None:
    model, preprocessing = network
    indices = np.array([5, 0, 17, 5])
    logits = predict_logits(model, noise_data.pack, indices, preprocessing)
    model.eval()
    with torch.no_grad():
        for index, logit in zip(indices, logits, strict=True):
            image = torch.from_numpy(noise_data.pack.read(np.array([index]))).permute(0, 3, 1, 2)
            assert float(model(preprocess_batch(image, preprocessing))) == pytest.approx(logit, abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 32, 33, 64])
def test_batch_size_does_not_matter(network: Network, noise_data: TrainingData, batch_size: int) -> None:
    model, preprocessing = network
    indices = np.random.default_rng(0).permutation(33)  # with 32 a last batch of one image
    expected = predict_logits(model, noise_data.pack, indices, preprocessing, batch_size=11)
    sizes: list[int] = []
    logits = predict_logits(
        model, noise_data.pack, indices, preprocessing, batch_size=batch_size, on_progress=sizes.append
    )
    assert logits.dtype == np.float32
    assert logits.shape == (33,)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5)
    assert sum(sizes) == 33
    assert sizes[-1] == 33 % batch_size or batch_size


def test_no_images_have_no_logits(network: Network, noise_data: TrainingData) -> None:
    logits = predict_logits(network[0], noise_data.pack, [], network[1])
    assert logits.shape == (0,)
    assert logits.dtype == np.float32


@pytest.mark.parametrize("training", [True, False])
def test_the_models_modes_and_gradients_are_left(network: Network, noise_data: TrainingData, training: bool) -> None:
    model, preprocessing = network
    model.train(training)
    model.head[1].train(not training)
    modes = [module.training for module in model.modules()]
    grad_was_on = torch.is_grad_enabled()
    predict_logits(model, noise_data.pack, [1, 2], preprocessing)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled() == grad_was_on

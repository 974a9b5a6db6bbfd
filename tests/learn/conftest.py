"""The images of the small trainings, made once."""

from pathlib import Path

import pytest

from lentigo.learn.training import TrainingData
from tests.learn.small import read_noise, write_noise


@pytest.fixture(scope="session")
def noise_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_noise(tmp_path_factory.mktemp("noise"))


@pytest.fixture(scope="session")
def noise_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def noise_data(noise_folder: Path, noise_cache: Path) -> TrainingData:
    """62 images of noise with pack and split; nothing may change them."""
    return read_noise(noise_folder, noise_cache)

"""sRGB pixels to light and back: by hand from the standard, against scikit-image's Lab, and there and back."""

import numpy as np
import pytest
from skimage.color import rgb2xyz

from lentigo.data.light import LIGHT, light_of, pixels_of


def test_light_by_hand() -> None:
    """Black, white, the end of the straight part (10 / 255 < 0.04045 < 11 / 255), and a middle value."""
    assert LIGHT[[0, 255]].tolist() == [0, 1]
    assert LIGHT[10] == pytest.approx(10 / 255 / 12.92, rel=1e-6)
    assert LIGHT[11] == pytest.approx(((11 / 255 + 0.055) / 1.055) ** 2.4, rel=1e-6)
    assert LIGHT[188] == pytest.approx(0.5029, abs=1e-4)


def test_light_equals_scikit_image() -> None:
    """The light of a grey is its luminance Y."""
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
    assert light_of(grey)[:, 0, 1] == pytest.approx(rgb2xyz(grey)[:, 0, 1], abs=1e-6)


def test_there_and_back_is_the_same_pixel() -> None:
    image = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    assert np.array_equal(pixels_of(light_of(image)), image)
    assert np.array_equal(pixels_of(light_of(image).astype(np.float64)), image)


def test_the_table_is_off_by_less_than_a_step_in_ten() -> None:
    """Beside the standard's own curve, over all light, before rounding to whole pixels."""
    light = np.linspace(0, 1, 100_001)
    exact = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(pixels_of(light) - exact).max() < 0.6


def test_light_out_of_range_is_clipped() -> None:
    assert pixels_of(np.array([-1.0, -1e-9, 1.0001, 50.0, np.inf, -np.inf])).tolist() == [0, 0, 255, 255, 255, 0]

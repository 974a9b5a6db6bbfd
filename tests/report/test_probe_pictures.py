"""The pictures of what a probe sees show all that it sees: what is grey there may change, and no number moves."""

from pathlib import Path

import numpy as np
import pytest

from lentigo.data.probe_views import FREQUENCIES, THUMBNAIL_PX, pixel_views
from lentigo.data.synthetic import draw_lesion
from lentigo.report.probe_pictures import OUT_OF_VIEW, as_seen
from tests.data.pictures import packed

SIDE_PX = 216  # 3 pixels a cell, as cells are drawn


def features(images: np.ndarray, tmp_path: Path) -> dict[str, np.ndarray]:
    """The numbers that every pixel probe gets of each image."""
    _, pack = packed(tmp_path, images, [0, 1])
    return {view.name: view.features for view in pixel_views(pack, np.arange(len(images)))}


@pytest.fixture
def lesion() -> np.ndarray:
    return draw_lesion(3, 1, malignant=True, size_px=SIDE_PX).image


@pytest.mark.parametrize("view", ["frame", "corners", "dark_corners"])
def test_what_is_grey_moves_no_number(view: str, lesion: np.ndarray, tmp_path: Path) -> None:
    shown = as_seen(view, lesion)
    assert shown is not None
    grey = (shown == OUT_OF_VIEW).all(axis=-1)
    assert 0.3 < grey.mean() < 0.99
    other = lesion.copy()
    other[grey] = np.random.default_rng(0).integers(0, 256, (int(grey.sum()), 3), dtype=np.uint8)
    before, after = features(np.stack([lesion, other]), tmp_path)[view]
    np.testing.assert_array_equal(before, after)
    seen = lesion.copy()
    seen[~grey] = 255 - seen[~grey]
    before, after = features(np.stack([lesion, seen]), tmp_path / "seen")[view]
    assert not np.array_equal(before, after)


def test_pixels_in_view_are_shown_as_they_are(lesion: np.ndarray) -> None:
    shown = as_seen("frame", lesion)
    assert shown is not None
    assert np.array_equal(shown[0], lesion[0])
    assert (shown[108, 108] == OUT_OF_VIEW).all()


def test_the_thumbnail_shows_the_slow_waves_alone(lesion: np.ndarray) -> None:
    """Its cosine transform is that of the plain thumbnail in the lowest frequencies, and nearly nothing elsewhere."""
    from scipy.fft import dctn

    shown = as_seen("thumbnail", lesion)
    assert shown is not None
    assert shown.shape == (8 * THUMBNAIL_PX, 8 * THUMBNAIL_PX, 3)
    small = shown[::8, ::8].astype(np.float64)
    plain = lesion.reshape(24, 9, 24, 9, 3).mean((1, 3))
    waves, whole = (dctn(picture, axes=(0, 1), norm="ortho") for picture in (small, plain))
    fast = np.ones((THUMBNAIL_PX, THUMBNAIL_PX), dtype=bool)
    fast[:FREQUENCIES, :FREQUENCIES] = False
    assert np.abs(waves[fast]).max() < 8  # of rounding and clipping; the mean's wave has some thousands
    assert np.abs(waves[~fast] - whole[~fast]).max() < 8


def test_beside_the_lesion_needs_a_mask(lesion: np.ndarray) -> None:
    assert as_seen("outside_mask", lesion) is None

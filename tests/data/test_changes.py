"""Image changes: exact values by hand and by other libraries, and what must hold for every change."""

import io
import math
import zlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from lentigo.data import changes
from lentigo.data.changes import CHANGES, STRENGTHS, apply_change
from lentigo.data.synthetic import draw_lesion
from lentigo.errors import ConfigError, DataError

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = tuple(CHANGES)
DRAWN = 6  # lesions
RNG = np.random.default_rng(0)  # for what draws nothing
# What moves the picture or covers a part of it may by chance look more like the clean one at the next strength.
PLACED = ("rotation", "shift", "zoom")


@cache
def lesion(index: int, size_px: int = 160) -> np.ndarray:
    image = draw_lesion(5, index, malignant=index % 2 == 1, size_px=size_px).image
    image.setflags(write=False)
    return image


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(*values: float, height: int = 16, times: int = 1) -> np.ndarray:
    """Columns of these grey levels, each `times` wide."""
    levels = np.repeat(np.array(values, dtype=np.uint8), times)
    return np.broadcast_to(levels[None, :, None], (height, levels.size, 3)).copy()


class Fixed(np.random.Generator):
    """Draws one and the same number."""

    def __init__(self, value: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.value = value

    def uniform(self, low: float = 0.0, high: float = 1.0, size: None = None) -> float:  # type: ignore[override]
        assert low <= self.value < high
        return self.value

    def random(self, *_: None) -> float:  # type: ignore[override]
        return self.value


def changed(image: np.ndarray, name: str, strength: int, *, seed: int = 0, index: int = 0) -> np.ndarray:
    return apply_change(image, name, strength, seed=seed, index=index)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


# ---------------------------------------------------------------- what holds for every change


def test_the_list() -> None:
    named = """jpeg blur defocus motion noise underexposure overexposure white_balance contrast downscaling
        rotation shift zoom hair ruler ink gel_bubbles dark_frame flash"""
    assert list(CHANGES) == named.split()
    for name, change in CHANGES.items():
        assert change.name == name
        steps = np.diff(change.strengths)
        assert (steps > 0).all() or (steps < 0).all()
        assert min(len(change.title), len(change.unit)) > 0
        assert change.what.endswith(".")
        assert "\n" not in change.what
    assert len({zlib.crc32(name.encode()) for name in CHANGES}) == len({change.title for change in CHANGES.values()})
    with pytest.raises(TypeError):
        CHANGES["more"] = CHANGES["jpeg"]  # type: ignore[index]


@pytest.mark.parametrize("name", NAMES)
def test_a_pure_function_of_its_arguments(name: str) -> None:
    image = lesion(1).copy()
    before = image.copy()
    first = changed(image, name, 3, seed=2, index=7)
    assert np.array_equal(image, before)
    assert not np.shares_memory(first, image)
    assert first.flags.writeable
    assert first.flags.c_contiguous
    np.random.default_rng(0).random(5)
    cv2.setRNGSeed(4)
    assert np.array_equal(changed(image, name, 3, seed=2, index=7), first)
    read_only = image.copy()
    read_only.setflags(write=False)
    assert np.array_equal(changed(read_only, name, 3, seed=2, index=7), first)
    assert np.array_equal(changed(np.asfortranarray(image), name, 3, seed=2, index=7), first)
    assert np.array_equal(changed(np.flip(np.flip(image).copy()), name, 3, seed=2, index=7), first)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"jpeg", "blur", "defocus", "contrast", "downscaling", "zoom"}))
def test_another_image_or_seed_another_picture(name: str) -> None:
    """Not so for what has no place or direction. A direction with two ends is one of two: eight images see both."""
    image = lesion(0)
    if name in ("underexposure", "overexposure"):
        return
    ends = 2 if name in ("white_balance", "rotation") else 8
    of_index = {changed(image, name, 4, index=index).tobytes() for index in range(8)}
    of_seed = {changed(image, name, 4, seed=seed).tobytes() for seed in range(8)}
    # Two directions may round to one and the same shift.
    assert ends - (ends > 2) <= min(len(of_index), len(of_seed)) <= max(len(of_index), len(of_seed)) <= ends


def test_two_changes_draw_on_their_own() -> None:
    """The draws come from a checksum of the name: what is added to the list moves no hair."""
    seeds = [np.random.SeedSequence((3, zlib.crc32(name.encode()), 5)) for name in ("rotation", "shift")]
    turned, moved = (np.random.default_rng(seed) for seed in seeds)
    assert np.array_equal(
        changed(lesion(0), "rotation", 5, seed=3, index=5), changes._rotation(lesion(0), 45.0, turned)
    )
    assert np.array_equal(changed(lesion(0), "shift", 5, seed=3, index=5), changes._shift(lesion(0), 16.0, moved))


@pytest.mark.parametrize("name", NAMES)
def test_harder_is_farther_from_the_clean_image(name: str) -> None:
    """On every drawn lesion; for what moves the picture on their mean, and from the second step to the last on each."""
    far = np.array([
        [distance(changed(lesion(i), name, s, index=i), lesion(i)) for s in STRENGTHS] for i in range(DRAWN)
    ])  # fmt: skip
    assert (far[:, 0] > 0).all()
    assert (far[:, 4] > far[:, 0]).all()
    steps = np.diff(far.mean(axis=0, keepdims=True) if name in PLACED else far)
    assert (steps > 0).all(), far


@pytest.mark.real
@pytest.mark.parametrize("name", sorted(set(NAMES) - set(PLACED)))
def test_harder_is_farther_on_real_images(name: str, real_data: Path) -> None:
    for label in ("benign", "malignant"):
        for index, path in enumerate(sorted((real_data / "kaggle10605" / "test" / label).iterdir())[::200]):
            image = np.asarray(Image.open(path).convert("RGB"))
            far = [distance(changed(image, name, strength, index=index), image) for strength in STRENGTHS]
            assert far == sorted(far)
            assert far[-1] > far[0]


@relaxed
@given(
    name=st.sampled_from(NAMES),
    strength=st.sampled_from(STRENGTHS),
    height=st.integers(16, 75),
    width=st.integers(16, 75),
    index=st.integers(0, 50_000),
)
def test_any_size(name: str, strength: int, height: int, width: int, index: int) -> None:
    image = noise(height, width, seed=index)
    found = changed(image, name, strength, index=index)
    assert found.shape == image.shape
    assert found.dtype == np.uint8


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"jpeg", "noise", "downscaling"}))  # these go by pixels
def test_the_same_scene_at_another_size(name: str) -> None:
    """Lengths go with the picture: at twice the size the change is the same, up to what lies between pixels."""
    large = cv2.resize(lesion(2), (320, 320), interpolation=cv2.INTER_CUBIC)
    small = cv2.resize(large, (160, 160), interpolation=cv2.INTER_AREA)
    of_large = cv2.resize(changed(large, name, 5), (160, 160), interpolation=cv2.INTER_AREA)
    of_small = changed(small, name, 5)
    assert distance(of_large, of_small) < 0.42 * distance(small, of_small)


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"no change 'snow'; allowed are jpeg, blur, .*, flash") as caught:
        changed(lesion(0), "snow", 1)
    assert all(name in str(caught.value) for name in NAMES)
    for strength in (0, 6, -1):
        with pytest.raises(ConfigError, match=f"strength is {strength}, not one of 1, 2, 3, 4, 5"):
            changed(lesion(0), "jpeg", strength)
    with pytest.raises(ConfigError, match="index is -1; it must be 0 or more"):
        changed(lesion(0), "hair", 1, index=-1)
    with pytest.raises(ConfigError, match="seed is -4; it must be 0 or more"):
        changed(lesion(0), "hair", 1, seed=-4)
    with pytest.raises(DataError, match="image 3 is 40x15 pixels; at least 16 a side are needed"):
        changed(noise(40, 15), "rotation", 1, index=3)


# ---------------------------------------------------------------- file, lens and sensor


@pytest.mark.parametrize("strength", STRENGTHS)
def test_jpeg_is_pillows_own(strength: int) -> None:
    quality = (80, 50, 30, 15, 8)[strength - 1]
    file = io.BytesIO()
    Image.fromarray(lesion(0)).save(file, "JPEG", quality=quality)
    assert np.array_equal(changed(lesion(0), "jpeg", strength), np.asarray(Image.open(file)))


def test_blur_equals_scipy() -> None:
    """OpenCV rounds the weights to 1 / 256, and what comes out."""
    image = noise(90, 120)
    found = changed(image, "blur", 5).astype(int)
    exact = ndimage.gaussian_filter(image.astype(float), (0.017 * 90, 0.017 * 90, 0), mode="mirror", truncate=3)
    assert np.abs(found - exact).max() < 2.01
    assert np.abs(found - exact).mean() < 0.6


def test_defocus_of_a_point_is_a_disc() -> None:
    """A radius of 1.5: a 3 x 3 square whole, and the pixels 2 and sqrt 5 away by hand; all of it is 255."""
    point = np.zeros((9, 9, 3), dtype=np.uint8)
    point[4, 4] = 255
    found = changes._defocus(point, 100 * 1.5 / 9, RNG)[..., 0]
    away = np.hypot(*(np.mgrid[:9, :9] - 4))
    disc = np.where(away <= 1, 1.0, np.where(away < 1.5, 2 - math.sqrt(2), 0.0))
    assert found.tolist() == np.rint(255 * disc / disc.sum()).tolist()
    assert changes._disc(0.2).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    for radius in (0.7, 3.2, 9.0):
        disc = changes._disc(radius)
        assert disc.sum() == pytest.approx(1, abs=1e-6)
        assert 1 / disc.max() == pytest.approx(math.pi * radius**2, rel=0.02, abs=0.4)


def test_motion_by_hand() -> None:
    """Over five pixels of one row or column: the mean of what lies there, mirrored at the edge."""

    image = grey(0, 50, 100, 0, 0, 250, 0, 0, height=8)
    along = changes._motion(image, 50.0, Fixed(0.0))
    # 8 pixels, 50 %: two to each side. Column 0 sees 100 50 0 50 100, column 3 sees 50 100 0 0 250.
    assert along[3, [0, 3], 1].tolist() == [60, 80]
    assert np.array_equal(changes._motion(image, 50.0, Fixed(math.pi / 2)), image)


@pytest.mark.parametrize(("level", "electrons"), [(188, 3000.0), (188, 70.0), (100, 150.0)])
def test_noise_has_the_deviation_that_is_asked(level: int, electrons: float) -> None:
    """In light: sqrt(light / electrons + (3 / electrons)^2); and the mean light stays."""
    image = np.full((200, 200, 3), level, dtype=np.uint8)
    light = ((level / 255 + 0.055) / 1.055) ** 2.4
    found = changes._noise(image, electrons, np.random.default_rng(1)) / 255
    seen = np.where(found <= 0.04045, found / 12.92, ((found + 0.055) / 1.055) ** 2.4)
    assert seen.std() == pytest.approx(math.sqrt(light / electrons + 9 / electrons**2), rel=0.02)
    assert seen.mean() == pytest.approx(light, rel=0.01)


def test_noise_at_one_strength_is_that_at_another_grown() -> None:
    image = np.full((60, 60, 3), 150, dtype=np.uint8)
    weak, strong = (changed(image, "noise", strength).astype(float).ravel() for strength in (2, 4))
    assert np.corrcoef(weak, strong)[0, 1] > 0.98


@pytest.mark.parametrize("strength", STRENGTHS)
def test_downscaling_is_two_resizes(strength: int) -> None:
    image = noise(100, 150)
    factor = (0.6, 0.4, 0.28, 0.2, 0.14)[strength - 1]
    small = cv2.resize(image, (round(150 * factor), round(100 * factor)), interpolation=cv2.INTER_AREA)
    assert np.array_equal(
        changed(image, "downscaling", strength), cv2.resize(small, (150, 100), interpolation=cv2.INTER_CUBIC)
    )


def test_downscaling_by_half_is_pillows_box() -> None:
    image = noise(8, 12)
    small = np.asarray(Image.fromarray(image).reduce(2))
    large = cv2.resize(small, (12, 8), interpolation=cv2.INTER_CUBIC)
    assert np.abs(changes._downscaling(image, 0.5, RNG).astype(int) - large).max() <= 2


# ---------------------------------------------------------------- light


def test_exposure_by_hand() -> None:
    """One stop is half or twice the light. 188 has light 0.5029: half of it is pixel 137, twice is white."""
    image = grey(0, 10, 137, 188, 255)
    assert changes._exposure(image, -1.0, RNG)[0, :, 0].tolist() == [0, 5, 99, 137, 188]
    assert changes._exposure(image, 1.0, RNG)[0, :, 0].tolist() == [0, 18, 188, 255, 255]
    assert np.array_equal(changes._exposure(image, 0.0, RNG), image)
    image = np.repeat(image, 4, axis=1)
    assert changed(image, "underexposure", 5)[0, -1, 0] == round(255 * (1.055 * 2 ** (-2.4 / 2.4) - 0.055))
    assert changed(image, "overexposure", 1)[0, 12, 0] == round(255 * (1.055 * (0.5029 * 2**0.2) ** (1 / 2.4) - 0.055))


def test_white_balance_by_hand() -> None:
    """1.5 stops: red and blue move 0.75 up and down, one way or the other, and green stays."""
    image = np.full((16, 16, 3), 137, dtype=np.uint8)
    light = ((137 / 255 + 0.055) / 1.055) ** 2.4
    up, down = (round(255 * (1.055 * (light * 2**stops) ** (1 / 2.4) - 0.055)) for stops in (0.75, -0.75))
    seen = {tuple(changed(image, "white_balance", 5, index=index)[0, 0].tolist()) for index in range(10)}
    assert seen == {(up, 137, down), (down, 137, up)}


def test_contrast_by_hand() -> None:
    """100 and 200, mean 150: at 0.3 they are 135 and 165. A colour goes to the grey of the whole picture, 150 too."""
    assert changed(grey(100, 200, times=8), "contrast", 5)[0, [0, 8], 0].tolist() == [135, 165]
    assert changed(grey(100, 200, times=8), "contrast", 2)[0, [0, 8], 2].tolist() == [115, 185]
    image = np.full((16, 16, 3), 150, dtype=np.uint8)
    image[:8, :8] = (250, 150, 50)
    mean = (3 * 150 + round(0.299 * 250 + 0.587 * 150 + 0.114 * 50)) / 4
    expected = [round(mean + 0.3 * (value - mean)) for value in (250, 150, 50)]
    assert changed(image, "contrast", 5)[0, 0].tolist() == expected


# ---------------------------------------------------------------- geometry


def test_rotation_by_nothing_and_by_a_quarter() -> None:
    """Of a picture too small to lose its edge. A right angle moves whole pixels."""
    image = noise(33, 33)

    assert np.array_equal(changes._rotation(image, 0.0, RNG), image)
    assert np.array_equal(changes._rotation(image, 90.0, Fixed(0.0)), np.rot90(image))
    assert np.array_equal(changes._zoom(noise(20, 49), 1.0, RNG), noise(20, 49))


def test_rotation_goes_on_in_one_direction() -> None:
    """The centre stays; a mark to its right moves by the stated angle, anticlockwise or clockwise for all strengths."""
    image = np.zeros((201, 201, 3), dtype=np.uint8)
    image[97:104, 157:164] = 255
    for index in range(4):
        angles = []
        for strength in STRENGTHS:
            y, x = ndimage.center_of_mass(changed(image, "rotation", strength, index=index)[..., 0])
            angles.append(math.degrees(math.atan2(100 - y, x - 100)))
        assert np.abs(angles) == pytest.approx([5, 10, 18, 30, 45], abs=0.3)
        assert len(set(np.sign(angles))) == 1


@pytest.mark.parametrize("index", range(4))
def test_shift_moves_whole_pixels_in_one_direction(index: int) -> None:
    image = noise(100, 140)
    image[50, 70] = 255
    angles = []
    for strength, far in zip(STRENGTHS, (2, 4, 7, 11, 16), strict=True):
        found = changed(image, "shift", strength, index=index)
        moves = [(d, r) for d in range(-17, 18) for r in range(-17, 18)]
        hits = [
            (d, r) for d, r in moves if np.array_equal(found[20 + d : 80 + d, 20 + r : 120 + r], image[20:80, 20:120])
        ]
        assert len(hits) == 1
        assert math.hypot(*hits[0]) == pytest.approx(far, abs=0.75)
        angles.append(math.atan2(*hits[0]))
    turned = (np.array(angles[1:]) - angles[-1] + math.pi) % math.tau - math.pi
    assert np.abs(turned).max() < 0.25


def test_what_comes_in_is_mirrored_inside_the_outermost_pixels() -> None:
    """A line along the edge, as scanners leave it, is neither kept nor mirrored into the picture: no black comes in."""
    image = np.full((200, 200, 3), 180, dtype=np.uint8)
    image[0], image[:, 0], image[-1], image[:, -1] = 0, 0, 0, 0
    for name in ("rotation", "shift", "zoom"):
        for strength in STRENGTHS:
            assert (changed(image, name, strength, index=strength) == 180).all()


def test_shift_mirrors_by_hand() -> None:
    """Ten columns, the outermost 1 % is none: two to the right brings columns 2 and 1 in."""

    image = grey(*range(10, 20), height=10)
    found = changes._shift(image, 20.0, Fixed(0.0))
    assert found[5, :, 0].tolist() == [12, 11, 10, 11, 12, 13, 14, 15, 16, 17]


def test_zoom_enlarges_about_the_middle() -> None:
    """A disc of radius 40 gets 1.75 times as large, and stays where it is."""
    y, x = np.mgrid[:201, :201] - 100
    image = np.repeat(np.where(np.hypot(x, y) < 40, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    found = changed(image, "zoom", 5)[..., 0] > 127
    assert math.sqrt(found.sum() / math.pi) == pytest.approx(70, abs=0.5)
    assert ndimage.center_of_mass(found) == pytest.approx((100, 100), abs=0.1)

"""Lesions found without a network: where they are by hand, what must not disturb it, and what is told of nothing."""

import numpy as np
import pytest

from lentigo.data.artefacts import draw_dark_frame
from lentigo.data.masks import read_mask
from lentigo.data.synthetic import draw_lesion
from lentigo.data.table import read_table
from lentigo.explain.lesion import LEAST_CONFIDENCE, find_lesion
from lentigo.explain.lesion_pixels import first_look, looks, second_look, small_picture
from lentigo.explain.lesion_weights import FIRST_LOOK, SECOND_LOOK
from lentigo.imaging import read_image
from tests.conftest import REAL_DATA

SKIN, PIGMENT = (224, 182, 160), (120, 72, 52)


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def disc(size: int, x: float, y: float, radius: float) -> np.ndarray:
    across, down = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    return np.hypot(across - x * size, down - y * size) < radius * size


def picture(mask: np.ndarray, *, pigment: tuple[int, int, int] = PIGMENT, noise: float = 3.0) -> np.ndarray:
    image = np.where(mask[..., None], pigment, SKIN).astype(float)
    return (image + np.random.default_rng(0).normal(0, noise, image.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [150, 300])
@pytest.mark.parametrize(("x", "y", "radius"), [(0.5, 0.5, 0.2), (0.4, 0.6, 0.15), (0.55, 0.45, 0.3)])
def test_a_dark_disc_on_skin_is_found(size: int, x: float, y: float, radius: float) -> None:
    mask = disc(size, x, y, radius)
    found = find_lesion(picture(mask))
    assert jaccard(found.mask, mask) > 0.85  # experts draw around a lesion, not on its edge: so does the mask
    assert found.confidence > LEAST_CONFIDENCE
    assert found.mask.shape == mask.shape


def test_a_faint_disc_is_found_with_less_confidence() -> None:
    mask = disc(200, 0.5, 0.5, 0.2)
    clear, faint = find_lesion(picture(mask)), find_lesion(picture(mask, pigment=(204, 160, 138)))
    assert jaccard(faint.mask, mask) > 0.7
    assert faint.confidence < clear.confidence


def test_a_dark_frame_is_no_lesion() -> None:
    mask = disc(300, 0.5, 0.5, 0.15)
    framed = draw_dark_frame(picture(mask), 0.7, np.random.default_rng(1))
    assert jaccard(find_lesion(framed).mask, mask) > 0.85


@pytest.mark.parametrize("radius", [0.06, 0.15, 0.28])
def test_a_mask_never_lies_on_the_frame(radius: float) -> None:
    """Nor does it where the lesion reaches the frame, but for a pixel of the small picture: three of these."""
    field = disc(300, 0.5, 0.5, 0.45)
    image = picture(disc(300, 0.7, 0.5, radius) & field)
    image[~field] = 0
    found = find_lesion(image)
    assert found.mask.any()
    assert not (found.mask & ~disc(300, 0.5, 0.5, 0.46)).any()


def test_a_frame_around_nothing_gives_no_confident_lesion() -> None:
    image = picture(np.zeros((300, 300), dtype=bool))
    image[~disc(300, 0.5, 0.5, 0.45)] = 0
    assert find_lesion(image).confidence < LEAST_CONFIDENCE


def test_hairs_across_it_change_little() -> None:
    mask = disc(300, 0.5, 0.5, 0.2)
    image = picture(mask)
    for row in (90, 140, 190):
        image[row : row + 2] = (40, 30, 25)
    assert jaccard(find_lesion(image).mask, mask) > 0.85


def test_two_lesions_that_stand_out_alike_are_both_found() -> None:
    mask = disc(300, 0.36, 0.5, 0.1) | disc(300, 0.66, 0.5, 0.1)
    assert jaccard(find_lesion(picture(mask)).mask, mask) > 0.8


def test_a_mirrored_picture_has_the_mirrored_mask() -> None:
    drawn = draw_lesion(3, 4, malignant=False, size_px=192)
    there = find_lesion(drawn.image)
    for axis in (0, 1):
        mirrored = find_lesion(np.ascontiguousarray(np.flip(drawn.image, axis)))
        assert jaccard(there.mask, np.flip(mirrored.mask, axis)) > 0.97
        assert mirrored.confidence == pytest.approx(there.confidence, abs=0.02)


def test_all_that_is_said_of_pixels_has_a_weight_and_looks_are_probabilities() -> None:
    small = small_picture(picture(disc(200, 0.5, 0.5, 0.2)))
    first, *later = looks(small)
    assert {*first_look(small), "one"} == set(FIRST_LOOK)
    assert {*second_look(small, first), "one"} == set(SECOND_LOOK)
    assert len(later) == 3
    for plane in (first, *later):
        assert plane.min() >= 0
        assert plane.max() <= 1
        assert plane[48, 48] > 0.5 > plane[4, 4]


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), SKIN])
def test_in_one_colour_nothing_is_found(colour: tuple[int, int, int]) -> None:
    found = find_lesion(np.full((120, 90, 3), colour, dtype=np.uint8))
    assert not found.mask.any()
    assert (found.mask.shape, found.confidence) == ((120, 90), 0.0)


def test_skin_alone_gives_no_confident_lesion() -> None:
    assert find_lesion(picture(np.zeros((200, 200), dtype=bool))).confidence < LEAST_CONFIDENCE


def test_noise_gives_no_warning_and_a_confidence_in_range() -> None:
    found = find_lesion(np.random.default_rng(2).integers(0, 256, (64, 80, 3), dtype=np.uint8))
    assert 0 <= found.confidence <= 1


def test_drawn_lesions_are_found() -> None:
    """Hair, rulers, frames and gleams lie over them; their outline is known."""
    scores = []
    for index in range(24):
        drawn = draw_lesion(5, index, malignant=bool(index % 2), size_px=192)
        scores.append(jaccard(find_lesion(drawn.image).mask, drawn.mask))
    assert np.mean(scores) > 0.7


@pytest.mark.real
def test_on_real_images_it_agrees_with_experts(real_data: object) -> None:
    """Measured: 0.733 on these 150 images, and 0.817 where it is sure."""
    rows = [row for row in read_table(REAL_DATA / "isic2017").rows if row.mask and row.split == "validation"]
    assert len(rows) == 150
    found = [
        (find_lesion(read_image(row.path)), read_mask(row.path.parent.parent / "masks" / f"{row.path.stem}.png"))
        for row in rows
    ]
    scores, sure = np.array([jaccard(f.mask, m) for f, m in found]), np.array([f.confidence for f, _ in found])
    assert scores.mean() >= 0.70
    assert scores[sure >= LEAST_CONFIDENCE].mean() > scores.mean() + 0.03
    assert sure.mean() == pytest.approx(scores.mean(), abs=0.1)  # an expectation

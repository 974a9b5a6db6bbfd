"""Background and lesion replaced: by hand on small images, with networks that see one part alone, and on packs."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from lentigo.data.batches import preprocess_batch
from lentigo.data.pack import ImagePack
from lentigo.errors import ConfigError, DataError
from lentigo.evidence.intervals import auc_interval, share_interval
from lentigo.evidence.means import mean_interval
from lentigo.explain.background import (
    FILLS,
    SKIN,
    BackgroundDependence,
    Fill,
    ReplacedLogits,
    background_dependence,
    replace_inside,
    replace_outside,
    replaced_logits,
    usable,
)
from lentigo.imaging import Preprocessing
from lentigo.models.contract import LesionClassifier
from tests.data.pictures import SIDE_PX, noise, packed

AS_THEY_ARE = Preprocessing(resize_px=None, crop_px=None)


def disc(radius_px: float, side_px: int = 50, *, at: tuple[float, float] | None = None) -> np.ndarray:
    y, x = at or ((side_px - 1) / 2,) * 2
    down, right = np.mgrid[:side_px, :side_px]
    mask: np.ndarray = np.hypot(down - y, right - x) <= radius_px
    return mask


def away_from(lesion: np.ndarray) -> np.ndarray:
    """Distance of each pixel to the nearest one of the lesion, asking all of them."""
    places = np.argwhere(lesion)
    down, right = np.mgrid[: lesion.shape[0], : lesion.shape[1]]
    distance: np.ndarray = np.sqrt(
        ((down[..., None] - places[:, 0]) ** 2 + (right[..., None] - places[:, 1]) ** 2).min(axis=2)
    )
    return distance


def mole(skin: tuple[int, int, int], lesion: tuple[int, int, int], mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], np.uint8(lesion), np.uint8(skin))


# ---------------------------------------------------------------- what is replaced


@pytest.mark.parametrize("fill", FILLS)
def test_up_to_4_percent_nothing_and_from_6_percent_all_is_background(fill: Fill) -> None:
    images, lesion = noise(2, side_px=100), disc(20, 100, at=(40, 55))
    lesions, distance = np.stack([lesion] * 2), away_from(lesion)
    before = images.copy()
    outside, inside = (f(images, lesions, fill) for f in (replace_outside, replace_inside))
    assert_array_equal(images, before)
    assert_array_equal(outside[:, distance <= 4], images[:, distance <= 4])
    assert_array_equal(inside[:, distance >= 6], images[:, distance >= 6])
    assert (outside[:, distance >= 6] != images[:, distance >= 6]).mean() > 0.5
    assert (inside[:, distance <= 4] != images[:, distance <= 4]).mean() > 0.5


def test_a_slope_joins_the_parts() -> None:
    image, lesion = np.full((100, 100, 3), 200, np.uint8), np.zeros((100, 100), bool)
    lesion[:, :30] = True  # column 29 + d lies d px away: d = 5 is half way from 4 to 6
    outside = replace_outside(image[None], lesion[None], "common", colour=(0.0, 0.0, 0.0))[0]
    inside = replace_inside(image[None], lesion[None], "common", colour=(0.0, 0.0, 0.0))[0]
    assert outside[50, 32:37, 0].tolist() == [200, 200, 100, 0, 0]
    assert inside[50, 32:37, 0].tolist() == [0, 0, 100, 200, 200]


def test_own_takes_the_skin_of_the_image_itself() -> None:
    lesion = disc(10)
    images = np.stack([mole((190, 150, 140), (60, 40, 30), lesion), mole((120, 80, 60), (60, 40, 30), lesion)])
    lesions = np.stack([lesion] * 2)
    outside, inside = replace_outside(images, lesions, "own"), replace_inside(images, lesions, "own")
    assert_array_equal(outside, images)  # one skin all over
    for index, skin in enumerate(((190, 150, 140), (120, 80, 60))):
        assert_array_equal(inside[index], np.broadcast_to(np.uint8(skin), (50, 50, 3)))


def test_own_leaves_frame_and_hair_and_far_colours_out() -> None:
    lesion = disc(8, 100)
    image = mole((190, 150, 140), (60, 40, 30), lesion)
    image[away_from(lesion) > 25] = (90, 200, 90)  # a sticker further off than the ring of 6 % to 17 %
    image[40:46] = (5, 5, 5)  # a band of the frame, right through the ring
    image[56, :] = (70, 50, 40)  # a hair
    found = replace_outside(image[None], lesion[None], "own")[0]
    assert_array_equal(found[0], np.broadcast_to(np.uint8((190, 150, 140)), (100, 3)))


def test_own_takes_a_frame_where_nothing_else_is_left() -> None:
    lesion = disc(10)
    image = mole((20, 10, 15), (200, 100, 100), lesion)
    assert_array_equal(replace_outside(image[None], lesion[None], "own")[0], image)
    assert_array_equal(replace_inside(image[None], lesion[None], "own")[0], np.broadcast_to(image[0], (50, 50, 3)))


def test_own_inside_goes_over_from_one_skin_to_the_other() -> None:
    lesion = disc(30, 100)
    image = np.repeat(np.linspace(100, 200, 100).astype(np.uint8)[None, :, None], 100, axis=0).repeat(3, axis=2)
    image[lesion] = 0
    row = replace_inside(image[None], lesion[None], "own")[0][50, :, 0].astype(int)
    assert np.diff(row).min() >= -2  # rising, as the skin does, but for the two borders; no dark is left of the lesion
    assert row.min() >= 100
    assert abs(np.diff(row)).max() <= 12
    assert abs(row[50] - 150) <= 5


def test_common_is_one_colour_for_all_images() -> None:
    lesion = disc(10)
    images, lesions = noise(3, side_px=50), np.stack([lesion] * 3)
    outside = replace_outside(images, lesions, "common")
    assert_array_equal(outside[:, 0, 0], np.broadcast_to(np.rint(SKIN), (3, 3)))
    inside = replace_inside(images, lesions, "common", colour=(1.0, 2.0, 3.0))
    assert_array_equal(inside[:, lesion], np.broadcast_to([1, 2, 3], (3, lesion.sum(), 3)))


def test_blur_keeps_each_parts_colour_to_itself() -> None:
    lesion = disc(10)
    image = mole((190, 150, 140), (60, 40, 30), lesion)
    image[away_from(lesion) <= 2.5] = (60, 40, 30)  # the middle of the slope
    for replace in (replace_outside, replace_inside):
        found = replace(image[None], lesion[None], "blur")[0].astype(int)
        far, near = away_from(lesion) >= 3, away_from(lesion) <= 2
        # A blur of the whole image would be 55 off beside the border.
        assert np.abs(found[far] - (190, 150, 140)).max() <= 12
        assert np.abs(found[near] - (60, 40, 30)).max() <= 12


def test_blur_equals_its_definition() -> None:
    image, lesion = noise(1, side_px=20)[0], disc(5, 20)
    distance = away_from(lesion)
    away = 1 - np.clip(1 - (distance - 0.8) / 1, 0, 1)  # 4 % of 20 px, and a slope of 1 px at least
    down, right = np.mgrid[:20, :20]
    found = replace_outside(image[None], lesion[None], "blur")[0]
    everywhere = (image * away[..., None]).mean(axis=(0, 1)) / away.mean()
    for y, x in ((0, 0), (3, 12), (10, 17)):
        weights = away * np.exp(-((down - y) ** 2 + (right - x) ** 2) / 2 / 2**2)
        whole = 0.01 * 2 * np.pi * 2**2
        mean = ((image * weights[..., None]).sum(axis=(0, 1)) + whole * everywhere) / (weights.sum() + whole)
        assert_allclose(found[y, x], image[y, x] * (1 - away[y, x]) + mean * away[y, x], atol=0.51)


def test_blur_takes_stripes_away() -> None:
    image = np.where(np.arange(100)[:, None] // 5 % 2, np.uint8(220), np.uint8(120))
    image, lesion = np.broadcast_to(image[..., None], (100, 100, 3)), disc(20, 100)
    outside = replace_outside(np.ascontiguousarray(image)[None], lesion[None], "blur")[0]
    assert np.ptp(outside[:, :15].astype(int)) < 40
    assert np.ptp(outside[20:80, :15].astype(int)) < 10


# ---------------------------------------------------------------- masks that do not divide an image


def test_usable_masks() -> None:
    nearly_all = ~disc(5, 100, at=(99, 99))  # what is left lies within 6 % of the lesion
    corner = np.zeros((100, 100), bool)
    corner[:5, :4] = True  # 20 of 10,000 pixels
    fewer = corner.copy()
    fewer[0, 0] = False
    masks = np.stack([corner, fewer, disc(20, 100), np.zeros_like(corner), np.ones_like(corner), nearly_all])
    assert usable(masks).tolist() == [True, False, True, False, False, False]
    assert usable(masks[:0]).shape == (0,)


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("replace", [replace_inside, replace_outside])
def test_refuses_masks_that_are_not_usable(replace: Any, fill: Fill) -> None:
    masks = np.stack([disc(10), np.zeros((50, 50), bool), np.ones((50, 50), bool)])
    with pytest.raises(
        DataError, match=r"the masks of images \[1, 2\] of 3 leave less than 0.2% .* lesion or 1% to the"
    ):
        replace(noise(3, side_px=50), masks, fill)


@pytest.mark.parametrize("colour", [(-1.0, 0.0, 0.0), (0.0, 256.0, 0.0), (0.0, 0.0, math.nan)])
def test_refuses_a_colour_out_of_range(colour: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="not three numbers from 0 to 255"):
        replace_outside(noise(1, side_px=50), disc(10)[None], "common", colour=colour)


@pytest.mark.parametrize("fill", FILLS)
def test_an_image_of_one_colour_stays_it_but_for_the_common_fill(fill: Fill) -> None:
    image, lesion = np.full((1, 37, 52, 3), (150, 90, 200), np.uint8), np.zeros((1, 37, 52), bool)
    lesion[0, 10:20, 15:30] = True
    for replace in (replace_outside, replace_inside):
        changed = replace(image, lesion, fill)
        assert (changed == image).all() == (fill != "common")


# ---------------------------------------------------------------- how far decisions hang on the background


def test_dependence_by_hand() -> None:
    labels = np.array([1, 1, 0, 0, 0])
    logits = np.array([3.0, 1, -1, -2, -3])
    without_background = np.array([2.0, 1, 2, -2, -2])  # changes 1, 0, 3, 0, 1
    without_lesion = np.array([0.0, -1, -2, -2, -3])  # changes 3, 2, 1, 0, 0
    found = background_dependence(logits, without_background, without_lesion, labels=labels)
    assert_array_equal(found.share, [1 / 4, 0, 3 / 4, np.nan, 1])
    assert found.undefined == 1
    assert found.mean_share.value == 0.5
    assert 0 < found.mean_share.low < 0.5 < found.mean_share.high < 1
    # Malignant at a logit of 0: the third image flips without its background, the second without its lesion.
    flipped = np.arange(5)
    assert found.flips_without_background == share_interval(flipped == 2)
    assert found.flips_without_lesion == share_interval(flipped == 1)
    assert found.auc == auc_interval(labels, logits)
    assert found.auc_without_background == auc_interval(labels, without_background)
    assert found.auc_without_background.value == pytest.approx((2.5 + 2) / 6)
    assert found.auc_without_lesion == auc_interval(labels, without_lesion)


def test_dependence_passes_threshold_and_groups_on() -> None:
    rng = np.random.default_rng(0)
    logits, other, third = rng.normal(size=(3, 40))
    labels, groups = np.tile([0, 1], 20), np.repeat(np.arange(20), 2)
    found = background_dependence(logits, other, third, labels=labels, groups=groups, threshold_logit=0.7)
    assert found.flips_without_lesion == share_interval((logits >= 0.7) != (third >= 0.7), groups=groups)
    assert found.auc == auc_interval(labels, logits, groups=groups)
    assert found.mean_share == mean_interval(found.share, groups=groups)
    seeded = background_dependence(logits, other, third, labels=labels, seed=5)
    assert seeded.mean_share == mean_interval(found.share, seed=5) != found.mean_share


def test_dependence_is_undefined_where_nothing_changes_and_with_one_class() -> None:
    logits = np.array([1.0, 2.0])
    found = background_dependence(logits, logits, logits, labels=np.array([1, 1]))
    assert np.isnan(found.share).all()
    assert found.undefined == 2
    for interval in (found.mean_share, found.auc, found.auc_without_background, found.auc_without_lesion):
        assert math.isnan(interval.value)
    assert found.flips_without_background.value == 0
    about = found.to_dict()
    assert (about["n"], about["undefined"]) == (2, 2)
    assert about["flips_without_lesion"] == {
        "value": 0,
        "low": 0,
        "high": pytest.approx(share_interval(np.array([False, False])).high),
    }


def test_dependence_refuses_logits_that_are_not_finite() -> None:
    labels, logits = np.array([0, 1]), np.array([0.0, 1.0])
    with pytest.raises(DataError, match="the logit in row 1 is NaN"):
        background_dependence(logits, np.array([0.0, np.nan]), logits, labels=labels)
    with pytest.raises(DataError, match="a logit is infinite"):
        background_dependence(logits, logits, np.array([0.0, np.inf]), labels=labels)


# ---------------------------------------------------------------- networks on packs


class Seeing(nn.Module):
    """The logit is the mean red of some pixels, less 0.5."""

    def __init__(self, seen: np.ndarray) -> None:
        super().__init__()
        self.seen = nn.Parameter(torch.from_numpy(seen / seen.sum()).float())

    def forward(self, images: Tensor) -> Tensor:
        return (images[:, :1] * self.seen).sum(dim=(2, 3)) - 0.5


def network(seen: np.ndarray) -> LesionClassifier:
    return LesionClassifier(nn.Identity(), Seeing(seen))


@pytest.fixture
def pack(tmp_path: Path) -> ImagePack:
    return packed(tmp_path, noise(7), [0, 1, 0, 1, 0, 1, 1])[1]


def ask(model: LesionClassifier, pack: ImagePack, lesion: np.ndarray | None, **options: Any) -> ReplacedLogits:
    given = {"lesion_of": lambda _: lesion, "preprocessing": AS_THEY_ARE} | options
    return replaced_logits(model, pack, given.pop("indices", range(len(pack))), **given)


def dependence(found: ReplacedLogits, fill: Fill) -> BackgroundDependence:
    labels = np.arange(len(found.logits)) % 2
    return background_dependence(
        found.logits, found.without_background[fill], found.without_lesion[fill], labels=labels
    )


@pytest.mark.parametrize("fill", FILLS)
def test_a_network_that_sees_one_part_alone_hangs_on_it_wholly(pack: ImagePack, fill: Fill) -> None:
    lesion = disc(12, SIDE_PX)
    of_lesion = ask(network(disc(10, SIDE_PX)), pack, lesion)
    assert_array_equal(of_lesion.logits, of_lesion.without_background[fill])
    assert dependence(of_lesion, fill).share.tolist() == [0] * 7
    assert dependence(of_lesion, fill).flips_without_background.value == 0
    of_background = ask(network(~disc(17, SIDE_PX)), pack, lesion)
    assert_array_equal(of_background.logits, of_background.without_lesion[fill])
    assert dependence(of_background, fill).share.tolist() == [1] * 7
    assert (dependence(of_background, fill).auc == dependence(of_background, fill).auc_without_lesion) is True


def test_logits_are_those_of_the_replaced_images(pack: ImagePack) -> None:
    model, lesion = network(np.random.default_rng(0).uniform(size=(40, 40))), disc(12, SIDE_PX)
    settings = Preprocessing(resize_px=44, crop_px=40, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    colour, indices = (10.0, 200.0, 30.0), np.array([5, 0, 3, 0])
    found = ask(model, pack, lesion, preprocessing=settings, fills=("common", "own"), colour=colour, indices=indices)
    images, lesions = pack.read(indices), np.stack([lesion] * 4)
    assert found.indices.tolist() == [5, 0, 3, 0]
    assert list(found.without_background) == list(found.without_lesion) == ["common", "own"]

    def logits(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(preprocess_batch(torch.from_numpy(images).permute(0, 3, 1, 2), settings)).numpy()

    assert_allclose(found.logits, logits(images), atol=1e-6)
    for fill in ("common", "own"):
        outside, inside = (f(images, lesions, fill, colour=colour) for f in (replace_outside, replace_inside))
        assert_allclose(found.without_background[fill], logits(outside), atol=1e-6)
        assert_allclose(found.without_lesion[fill], logits(inside), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_images_without_a_usable_mask_are_left_out_and_counted(pack: ImagePack, batch_size: int) -> None:
    masks = {index: disc(8 + index, SIDE_PX) for index in range(7)}
    masks |= {1: None, 2: np.zeros((SIDE_PX, SIDE_PX), bool), 3: np.ones((SIDE_PX, SIDE_PX), bool)}
    model, done = network(np.random.default_rng(1).uniform(size=(SIDE_PX, SIDE_PX))), []
    found = ask(
        model, pack, None, lesion_of=masks.__getitem__, batch_size=batch_size, fills=("blur",), on_progress=done.append
    )
    assert found.indices.tolist() == [0, 4, 5, 6]
    assert found.left_out.tolist() == [1, 2, 3]
    assert sum(done) == 7
    assert max(done) <= batch_size
    alone = [ask(model, pack, masks[index], indices=[index], fills=("blur",)) for index in (0, 4, 5, 6)]
    assert_allclose(found.without_lesion["blur"], [one.without_lesion["blur"][0] for one in alone], atol=1e-6)


@pytest.mark.parametrize("indices", [[], [2, 4]])
def test_no_usable_image_is_an_empty_result(pack: ImagePack, indices: list[int]) -> None:
    found = ask(network(disc(5, SIDE_PX)), pack, None, indices=indices)
    assert found.left_out.tolist() == indices
    for values in (found.logits, *found.without_background.values(), *found.without_lesion.values()):
        assert values.shape == (0,)
        assert values.dtype == np.float32


def test_refuses_a_mask_of_another_size(pack: ImagePack) -> None:
    with pytest.raises(DataError, match=r"the mask of 0000.png has 30 x 30 pixels, the pack 48 x 48; resize the mask"):
        ask(network(disc(5, SIDE_PX)), pack, disc(5, 30))


def test_the_model_is_left_as_it_was(pack: ImagePack) -> None:
    model = network(disc(5, SIDE_PX)).train()
    model.features.eval()
    ask(model, pack, disc(12, SIDE_PX))
    assert (model.training, model.features.training, model.head.training) == (True, False, True)
    assert model.head.seen.grad is None
    assert torch.is_grad_enabled()

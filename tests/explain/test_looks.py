"""Which network looks at the lesion, on made-up maps: by hand on 4x4 pixels, and by where the maps lie."""

import json
import math
from dataclasses import astuple, replace
from functools import cache
from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lentigo.errors import DataError
from lentigo.evidence.comparison import holm
from lentigo.evidence.intervals import UNDEFINED, Interval
from lentigo.evidence.means import MeanDifference, mean_difference, mean_interval
from lentigo.explain import looks as looks_module
from lentigo.explain.localisation import at_common_cells, centre_gaussian, localise, uniform
from lentigo.explain.looks import (
    BASELINES,
    MEASURES,
    Look,
    LookPair,
    Looks,
    Maps,
    compare_looks,
    heat_for_truth,
    measure,
    paper_verdict,
)
from lentigo.explain.on_image import seen, to_image_size
from lentigo.explain.survey import ARTEFACTS, Survey
from lentigo.imaging import Preprocessing

WHOLE = Preprocessing(resize_px=96, crop_px=None)
CROP = Preprocessing(resize_px=64, crop_px=48)  # of 24 pixels a side it leaves 3 to 20
SIZE_PX = 24


def survey_of(
    lesions: np.ndarray,
    *,
    origins: tuple[str, ...] | None = None,
    confidences: np.ndarray | None = None,
    **artefacts: np.ndarray,
) -> Survey:
    n = len(lesions)
    return Survey(
        ids=tuple(f"image {k}" for k in range(n)),
        lesions=lesions,
        origins=origins or ("expert",) * n,
        confidences=np.ones(n) if confidences is None else confidences,
        least_confidence={"expert": 0.0, "automatic": 0.5, "segmenter": 0.5},
        artefacts={name: artefacts.get(name, np.zeros_like(lesions)) for name in ARTEFACTS},
    )


def discs(n: int, seed: int = 0) -> np.ndarray:
    """Lesions off the centre, inside the crop, of 5 to 17 % of the image."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
    radius = rng.uniform(3, 5.5, size=(n, 1, 1))
    y, x = rng.uniform(9, 15, size=(2, n, 1, 1)) + rng.choice([-1, 1], size=(2, n, 1, 1))
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def cells_of(pixels: np.ndarray, cells: int) -> np.ndarray:
    """Averages over squares, `cells` a side."""
    n, size, _ = pixels.shape
    return pixels.reshape(n, cells, size // cells, cells, size // cells).mean(axis=(2, 4), dtype=np.float32)


def for_truth(maps: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Signed, so that they speak for what each image is."""
    return maps * np.where(labels == 1, 1, -1).astype(np.float32)[:, None, None]


def border(n: int, cells: int) -> np.ndarray:
    maps = np.ones((n, cells, cells), np.float32)
    maps[:, 1:-1, 1:-1] = 0.01  # never quite empty inside
    return maps


LESIONS, LABELS = discs(40), np.arange(40) % 2
CROPPED = LESIONS[:, 3:21, 3:21]


def three_networks(on_lesion: str, at_border: str, flat: str) -> dict[str, Maps]:
    """One sees the whole image in 12x12 cells, two the crop in 9x9 and 6x6; in the order of their names."""
    made = {
        on_lesion: Maps(title="On it", maps=for_truth(cells_of(LESIONS, 12), LABELS), preprocessing=WHOLE),
        at_border: Maps(title="Beside it", maps=for_truth(border(40, 9), LABELS), preprocessing=CROP),
        flat: Maps(title="Anywhere", maps=for_truth(np.ones((40, 6, 6), np.float32), LABELS), preprocessing=CROP),
    }
    return {name: made[name] for name in sorted(made)}


def usual_networks() -> dict[str, Maps]:
    return three_networks(on_lesion="a", at_border="b", flat="c")


@cache
def usual_looks(seed: int = 0) -> Looks:
    return compare_looks(usual_networks(), survey_of(LESIONS), LABELS, seed=seed)


def dumped(looks: Looks) -> str:
    return json.dumps(looks.to_dict(), sort_keys=True)


# ---------------------------------------------------------------- by hand


def four_images() -> tuple[dict[str, Maps], Survey, np.ndarray]:
    """4x4 pixels, as many cells, and the four in the middle are the lesion: maps lie on the image as they are."""
    lesions = np.zeros((4, 4, 4), bool)
    lesions[:, 1:3, 1:3] = True
    one, other = np.zeros((2, 4, 4, 4), np.float32)
    one[0, 1, 1], one[0, 0, 0] = 3, 1  # malignant: 3 of 4 inside
    other[0, 1, 1], other[0, 0, 0], other[0, 2, 2] = 1, 3, -9  # 1 of 4; what speaks for benign does not count
    one[1, 1, 1], one[1, 3, 3], one[1, 0, 3] = -2, -2, 9  # benign: 2 of 4
    other[1, 3, 3] = -1  # 0 of 1
    one[2, 2, 2], other[2] = 1, -1  # malignant: 1 of 1, and an empty map
    one[3, 0, 0], other[3, 0, 0] = -1, -1
    hair = np.zeros((4, 4, 4), bool)
    hair[:2, 0] = True  # the uppermost row of two images
    models = {
        "one": Maps(title="One", maps=one, preprocessing=WHOLE),
        "other": Maps(title="Other", maps=other, preprocessing=WHOLE),
    }
    survey = survey_of(
        lesions,
        origins=("expert", "expert", "expert", "automatic"),
        confidences=np.array([1, 1, 1, 0.4]),
        hair=hair,
    )
    return models, survey, np.array([1, 0, 1, 0])


def test_looks_by_hand() -> None:
    found = compare_looks(*four_images())
    assert (found.cells, found.images, found.together) == (4, 3, 2)
    assert found.masks == {"expert": 3, "automatic, low confidence": 1}
    assert found.ranking == ("one", "other")
    assert found.paper == "not asked"  # neither is Tiny VGG
    assert (found.dropped, found.empty) == ({"empty map": 1}, {"one": 0, "other": 1})
    one, other = found.looks["one"], found.looks["other"]
    assert (one.title, one.baseline, one.cells) == ("One", False, (4, 4))
    # The bounds of two images are the images: drawn four ways, each of them twice comes up once in four.
    assert one.common["inside"] == Interval(0.625, 0.5, 0.75)
    assert other.common["inside"] == Interval(0.125, 0.0, 0.25)
    assert one.common["density"] == Interval(2.5, 2.0, 3.0)  # the lesion has a quarter of the area
    assert one.common["pointing"].value == 0.75  # once, and a tie of which one half is inside
    assert one.own["inside"].value == 0.75  # of three images: where the other has no map this one still has
    assert other.own["inside"].value == 0.125
    assert {kind: of["inside"].value for kind, of in one.by_class.items()} == {"benign": 0.5, "malignant": 0.75}
    assert math.isnan(one.by_class["benign"]["inside"].low)  # one image
    assert one.states == {"measured": 3}
    assert other.states == {"empty map": 1, "measured": 2}
    assert_array_equal(found.inside["one"], [0.75, 0.5, 1, np.nan])
    assert_array_equal(found.inside["other"], [0.25, 0, np.nan, np.nan])


def test_pairs_by_hand() -> None:
    found = compare_looks(*four_images())
    (pair,) = found.pairs
    assert (pair.first, pair.second) == ("one", "other")
    # Both images have one half more; of the four ways to turn two signs, two give a sum as far from 0.
    assert pair.differences["inside"] == MeanDifference(difference=Interval(0.5, 0.5, 0.5), p_value=0.5, n=2)
    assert pair.adjusted["inside"] == 0.5
    # Sigma is one pixel, and pixels lie 1/2 and 3/2 off the middle: exp(-1/8) of exp(-1/8) + exp(-9/8) along a side.
    centre = 1 / (1 + math.exp(-1)) ** 2
    assert found.looks["centre"].common["inside"].value == pytest.approx(centre, abs=1e-6)
    first, second = found.against_centre
    assert (first.first, first.second, second.first, second.second) == ("one", "centre", "other", "centre")
    assert first.differences["inside"].difference.value == pytest.approx(0.625 - centre, abs=1e-6)
    assert second.differences["inside"].difference.value == pytest.approx(0.125 - centre, abs=1e-6)
    # 3/4 and 1/2 lie on both sides of it, 0.216 and 0.034 off, so that no way to turn the signs comes nearer to 0.
    assert (first.differences["inside"].p_value, second.differences["inside"].p_value) == (1.0, 0.5)
    assert (first.adjusted["inside"], second.adjusted["inside"]) == (1.0, 1.0)  # the smaller one times two


def test_baselines_by_hand() -> None:
    found = compare_looks(*four_images())
    assert list(found.looks) == ["one", "other", *BASELINES]
    uniform, centre = found.looks["uniform"], found.looks["centre"]
    assert (uniform.title, uniform.baseline, uniform.cells) == ("Uniform map", True, None)
    for means in (uniform.common, uniform.own):
        values = {name: means[name].value for name in MEASURES}
        expected = {"inside": 0.25, "density": 1, "pointing": 0.25, "best_iou": 0.25, "fixed_iou": 0.25}
        assert values == pytest.approx(expected | {"pixel_auc": 0.5}, abs=1e-6)
    assert {name: centre.common[name].value for name in ("pointing", "best_iou", "pixel_auc")} == pytest.approx(
        {"pointing": 1, "best_iou": 1, "pixel_auc": 1}
    )
    assert centre.states == {"measured": 3}
    assert uniform.own_centre == centre.own_centre == centre.own


def test_artefacts_by_hand() -> None:
    found = compare_looks(*four_images())
    # Of the two images with hair: 1 of 4 and 0 of 4 of the evidence for one, 3 of 4 and 0 of 1 for the other.
    for name, share in (("one", 0.125), ("other", 0.375), ("uniform", 0.25)):
        on, area = found.looks[name].artefacts["hair"]
        assert (on.value, area) == (share, Interval(0.25, 0.25, 0.25))
        assert found.looks[name].artefacts["ruler"] == (UNDEFINED, UNDEFINED)


# ---------------------------------------------------------------- networks that look where their names say


def test_ranking_and_verdict_follow_the_place_of_the_evidence() -> None:
    models = three_networks(on_lesion="tiny_vgg", at_border="alexnet", flat="vgg11")
    found = compare_looks(models, survey_of(LESIONS), LABELS)
    assert found.ranking == ("tiny_vgg", "vgg11", "alexnet")
    assert list(found.looks) == ["alexnet", "tiny_vgg", "vgg11", *BASELINES]
    assert found.paper == "holds"
    assert (found.cells, found.images, found.together) == (6, 40, 40)
    area = CROPPED.mean(axis=(1, 2))
    assert found.looks["vgg11"].common["inside"].value == pytest.approx(area.mean(), abs=1e-6)
    assert astuple(found.looks["vgg11"].common["density"]) == pytest.approx((1, 1, 1), abs=1e-5)
    assert found.looks["tiny_vgg"].own["inside"].value > 0.7 > 2 * found.looks["vgg11"].own["inside"].high
    assert found.looks["alexnet"].common["inside"].high < 0.1
    for look in found.looks.values():
        for interval in (*look.common.values(), *look.own.values(), *look.own_centre.values()):
            assert interval.low <= interval.value <= interval.high


def test_every_verdict_from_maps() -> None:
    survey = survey_of(LESIONS)
    worst = three_networks(on_lesion="vgg11", at_border="tiny_vgg", flat="alexnet")
    assert compare_looks(worst, survey, LABELS).paper == "refuted"
    middle = three_networks(on_lesion="vgg11", at_border="alexnet", flat="tiny_vgg")
    assert compare_looks(middle, survey, LABELS).paper == "refuted"
    best = three_networks(on_lesion="tiny_vgg", at_border="vgg11", flat="alexnet")
    rng = np.random.default_rng(0)
    twin = best["tiny_vgg"].maps * rng.uniform(0.5, 2, size=(40, 12, 12)).astype(np.float32)
    alike = best | {"vgg11": Maps(title="Twin", maps=twin, preprocessing=WHOLE)}
    assert compare_looks(alike, survey, LABELS).paper == "undecided"
    assert compare_looks({"tiny_vgg": best["tiny_vgg"]}, survey, LABELS).paper == "not asked"
    others = {name: best[name] for name in ("vgg11", "alexnet")}
    assert compare_looks(others, survey, LABELS).paper == "not asked"


def test_measures_may_contradict_each_other() -> None:
    """One map is half on the lesion and hottest outside; the other covers it whole, faintly, with as faint an edge."""
    lesions = np.zeros((8, 4, 4), bool)
    lesions[:, 1:3, 1:3] = True
    sharp, broad = np.zeros((2, 8, 4, 4), np.float32)
    sharp[:, 1, 1], sharp[:, 0, 0] = 9, 10  # 9 of 19 inside; three cells of the lesion are as cold as the rest
    broad[:], broad[:, 1:3, 1:3] = 1, 1.5  # 6 of 18 inside; every cell of the lesion is hotter than every other
    labels = np.ones(8, np.int64)
    models = {
        "tiny_vgg": Maps(title="Sharp", maps=sharp, preprocessing=WHOLE),
        "vgg11": Maps(title="Broad", maps=broad, preprocessing=WHOLE),
    }
    found = compare_looks(models, survey_of(lesions), labels)
    assert found.ranking == found.rankings["inside"] == found.rankings["density"] == ("tiny_vgg", "vgg11")
    for name, ranking in found.rankings.items():
        first, second = (found.looks[network].common[name].value for network in ranking)
        assert first > second
    assert found.rankings["pixel_auc"] == found.rankings["pointing"] == ("vgg11", "tiny_vgg")
    assert found.paper == found.verdicts["inside"] == found.verdicts["density"] == "holds"
    assert found.verdicts["pixel_auc"] == found.verdicts["pointing"] == found.verdicts["best_iou"] == "refuted"
    # At a fifth of the maximum: 1 cell of 5, and the whole image, 4 of 16.
    assert [found.looks[name].common["fixed_iou"].value for name in models] == [0.2, 0.25]


def test_images_that_drop_out_are_counted_by_why_and_by_network() -> None:
    lesions = LESIONS.copy()
    lesions[:2] = False
    lesions[:2, 0, 0] = True  # out of the crop, so that no network is compared on it
    models = usual_networks()
    for name, rows in (("a", slice(1, 6)), ("b", slice(4, 10))):
        models[name].maps[rows] *= -1  # speak for the other class alone
    found = compare_looks(models, survey_of(lesions), LABELS)
    assert found.together == 30
    assert found.dropped == {"no lesion": 2, "empty map": 8}
    assert found.empty == {"a": 4, "b": 6, "c": 0}
    assert (usual_looks().dropped, usual_looks().empty) == ({}, {"a": 0, "b": 0, "c": 0})


def test_pairs_are_the_tests_of_each_image_with_holms_correction() -> None:
    found = usual_looks(seed=5)
    assert [(pair.first, pair.second) for pair in found.pairs] == list(combinations("abc", 2))
    for pair in found.pairs:
        expected = mean_difference(found.inside[pair.first], found.inside[pair.second], seed=5)
        assert pair.differences["inside"] == expected
        assert 0 < expected.p_value <= 0.001
    for pairs in (found.pairs, found.against_centre):
        for name in MEASURES:
            adjusted = holm([pair.differences[name].p_value for pair in pairs])
            assert [pair.adjusted[name] for pair in pairs] == adjusted
    assert [(pair.first, pair.second) for pair in found.against_centre] == [(name, "centre") for name in "abc"]
    for pair in found.against_centre:
        both = [found.looks[name].common["pixel_auc"].value for name in (pair.first, "centre")]
        assert pair.differences["pixel_auc"].difference.value == pytest.approx(both[0] - both[1], abs=1e-12)


def test_means_are_of_the_images_that_all_networks_have_a_map_of() -> None:
    models, full = usual_networks(), usual_looks()
    maps = models["b"].maps.copy()
    maps[:10] *= -1  # speak for the other class
    hair = np.zeros_like(LESIONS)
    hair[:, 3] = True
    hair[:10, :12] = True
    survey = survey_of(LESIONS, hair=hair)
    cut = compare_looks(models | {"b": Maps(title="", maps=maps, preprocessing=CROP)}, survey, LABELS)
    assert (cut.images, cut.together) == (40, 30)
    assert cut.looks["b"].states == {"empty map": 10, "measured": 30}
    assert np.isnan(cut.inside["b"][:10]).all()
    for name in "ac":
        assert_array_equal(cut.inside[name], full.inside[name])
        assert cut.looks[name].common["inside"] == mean_interval(full.inside[name][10:])
        assert cut.looks[name].own == full.looks[name].own
    assert cut.looks["centre"].common["inside"].value != full.looks["centre"].common["inside"].value
    # The centre beside a network's own map is measured on the images of that map, and so is what lies on hair.
    region = seen(CROP, SIZE_PX)
    centre = localise(np.repeat(centre_gaussian(region)[None], 40, axis=0), LESIONS, region).inside
    assert cut.looks["b"].own_centre["inside"] == mean_interval(centre[10:])
    assert full.looks["b"].own_centre["inside"] == mean_interval(centre)
    on, area = cut.looks["b"].artefacts["hair"]
    assert astuple(area) == pytest.approx((1 / 18, 1 / 18, 1 / 18))  # of the ten images that show much of it, none
    assert on.value > area.value
    assert {pair.differences["inside"].n for pair in (*cut.pairs, *cut.against_centre)} == {30}


def test_classes_apart() -> None:
    maps = cells_of(LESIONS, 12)
    maps[LABELS == 0] = border(20, 12)  # on the lesion in malignant images alone
    models = {"a": Maps(title="", maps=for_truth(maps, LABELS), preprocessing=WHOLE)}
    found = compare_looks(models, survey_of(LESIONS), LABELS)
    by_class = found.looks["a"].by_class
    assert by_class["malignant"]["inside"].low > 0.6
    assert by_class["benign"]["inside"].high < 0.1
    for label, kind in enumerate(("benign", "malignant")):
        assert by_class[kind]["inside"] == mean_interval(found.inside["a"][label == LABELS])


# ---------------------------------------------------------------- the same cells for all


def spots(n: int, seed: int) -> np.ndarray:
    """Few hot pixels, most of them on the lesion."""
    rng = np.random.default_rng(seed)
    heat = np.zeros((n, SIZE_PX, SIZE_PX), np.float32)
    for image, lesion in zip(heat, discs(n), strict=True):
        inside = np.argwhere(lesion)
        for _ in range(6):
            place = inside[rng.integers(len(inside))] if rng.random() < 0.8 else rng.integers(3, 21, size=2)
            image[tuple(place)] += rng.gamma(1)
    return heat


@pytest.mark.parametrize("coarse", [WHOLE, CROP], ids=["whole", "crop"])
def test_a_finer_map_of_the_same_content_wins_nothing(coarse: Preprocessing) -> None:
    heat = spots(40, seed=1)
    part = heat if coarse == WHOLE else heat[:, 3:21, 3:21]
    models = {
        "fine": Maps(title="", maps=for_truth(heat, LABELS), preprocessing=WHOLE),
        "coarse": Maps(title="", maps=for_truth(cells_of(part, 6), LABELS), preprocessing=coarse),
    }
    found = compare_looks(models, survey_of(LESIONS), LABELS)
    assert found.cells == 6
    fine, rough = found.looks["fine"], found.looks["coarse"]
    assert fine.own["inside"].low > rough.own["inside"].high  # as they are, the fine one has it
    for name in MEASURES:
        assert fine.common[name].value == pytest.approx(rough.common[name].value, abs=1e-5)
    for name in MEASURES:  # and the coarsest stays what it is, or else being fine would pay again
        assert rough.common[name].value == pytest.approx(rough.own[name].value, abs=1e-5)


def test_common_measures_count_what_all_networks_see() -> None:
    # What lies outside the crop of the other networks is no evidence on either side, but it is the network's own.
    maps = cells_of(LESIONS, 12)
    maps[:, 0] = 5
    maps[30:, 1:] = 0  # nothing else in ten images
    frame = np.tile(~seen(CROP, SIZE_PX), (40, 1, 1))
    loud = usual_networks() | {"a": Maps(title="", maps=for_truth(maps, LABELS), preprocessing=WHOLE)}
    quiet, noisy = usual_looks(), compare_looks(loud, survey_of(LESIONS, frame=frame), LABELS)
    assert noisy.looks["a"].states == {"measured": 40}
    assert noisy.together == 30
    assert_allclose(noisy.inside["a"], np.where(np.arange(40) < 30, quiet.inside["a"], np.nan), atol=1e-6)
    assert noisy.looks["a"].own["inside"].value < 0.5 * quiet.looks["a"].own["inside"].value
    on, area = noisy.looks["a"].artefacts["frame"]
    assert on.value > 0.5 > area.value == 1 - (18 / 24) ** 2
    assert noisy.looks["b"].artefacts["frame"] == (UNDEFINED, UNDEFINED)  # which it does not see


def test_own_measures_are_within_what_the_network_sees() -> None:
    models, found = usual_networks(), usual_looks()
    for name, settings in (("a", WHOLE), ("b", CROP)):
        region = seen(settings, SIZE_PX)
        heat = to_image_size(np.abs(models[name].maps), settings, size_px=SIZE_PX)
        centre = np.repeat(centre_gaussian(region)[None], 40, axis=0)
        own, own_centre = localise(heat, LESIONS, region), localise(centre, LESIONS, region)
        for key in MEASURES:
            assert found.looks[name].own[key].value == pytest.approx(getattr(own, key).mean(), abs=1e-6)
            assert found.looks[name].own_centre[key].value == pytest.approx(getattr(own_centre, key).mean(), abs=1e-6)


def test_baselines_are_averaged_to_the_common_cells_too() -> None:
    found, region = usual_looks(), seen(CROP, SIZE_PX)
    for name, heat in (("centre", centre_gaussian(region)), ("uniform", uniform(region))):
        at_six = np.repeat(at_common_cells(heat[None], region, 6), 40, axis=0)
        expected = localise(at_six, LESIONS, region)
        for key in MEASURES:
            assert found.looks[name].common[key].value == pytest.approx(getattr(expected, key).mean(), abs=1e-6)
    assert found.looks["centre"].common["inside"].value < found.looks["centre"].own["inside"].value - 0.01


# ---------------------------------------------------------------- properties


def test_order_of_networks_changes_signs_alone() -> None:
    models, one = usual_networks(), usual_looks()
    other = compare_looks(dict(reversed(models.items())), survey_of(LESIONS), LABELS)
    assert one.ranking == other.ranking == ("a", "c", "b")
    assert dict(one.looks) == dict(other.looks)
    turned = {(pair.second, pair.first): pair for pair in other.pairs}
    for pair in one.pairs:
        back = turned[pair.first, pair.second]
        for name in MEASURES:
            assert back.differences[name].difference.value == pytest.approx(-pair.differences[name].difference.value)
            assert back.differences[name].p_value == pair.differences[name].p_value


def test_mirrored_images_and_louder_maps_change_nothing() -> None:
    models, found = usual_networks(), usual_looks()
    turned = {
        name: Maps(title="", maps=model.maps[:, :, ::-1] * np.float32(64), preprocessing=model.preprocessing)
        for name, model in models.items()
    }
    mirrored = compare_looks(turned, survey_of(LESIONS[:, :, ::-1]), LABELS)
    for name, look in found.looks.items():
        for key in MEASURES:
            assert mirrored.looks[name].common[key].value == pytest.approx(look.common[key].value, abs=1e-5)


def test_images_of_one_lesion_count_once() -> None:
    models = usual_networks()
    twice = np.repeat(np.arange(40), 2)
    doubled = {
        name: Maps(title=model.title, maps=model.maps[twice], preprocessing=model.preprocessing)
        for name, model in models.items()
    }
    found = compare_looks(models, survey_of(LESIONS), LABELS)
    copies = compare_looks(doubled, survey_of(LESIONS[twice]), LABELS[twice], groups=twice)
    blind = compare_looks(doubled, survey_of(LESIONS[twice]), LABELS[twice])
    for name, look in found.looks.items():
        for key in MEASURES:
            wanted = look.common[key]
            assert astuple(copies.looks[name].common[key]) == pytest.approx(astuple(wanted), abs=1e-12)
    for pair, again in zip(found.pairs, copies.pairs, strict=True):
        for key in MEASURES:
            wanted = astuple(pair.differences[key].difference)
            assert astuple(again.differences[key].difference) == pytest.approx(wanted, abs=1e-12)
            assert again.differences[key].n == 2 * pair.differences[key].n
    width, too_small = (of.looks["a"].common["inside"] for of in (copies, blind))
    assert too_small.high - too_small.low == pytest.approx((width.high - width.low) / math.sqrt(2), rel=0.1)


def test_the_same_seed_gives_the_same_looks() -> None:
    models = usual_networks()
    first, again, other = compare_looks(models, survey_of(LESIONS), LABELS, seed=5), usual_looks(seed=5), usual_looks()
    assert dumped(first) == dumped(again)
    assert dumped(first) != dumped(other)
    assert first.looks["a"].common["inside"].value == other.looks["a"].common["inside"].value


def test_pieces_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    models, whole = usual_networks(), usual_looks()
    monkeypatch.setattr(looks_module, "_PIECE", 7)
    pieces = compare_looks(models, survey_of(LESIONS), LABELS)
    for name in models:
        assert_allclose(pieces.inside[name], whole.inside[name], atol=1e-6)
        assert pieces.looks[name].states == whole.looks[name].states


def test_no_usable_lesion_is_an_explicit_state() -> None:
    models = three_networks(on_lesion="tiny_vgg", at_border="b", flat="c")
    unsure = survey_of(LESIONS, origins=("automatic",) * 40, confidences=np.full(40, 0.1))
    found = compare_looks(models, unsure, LABELS)
    assert (found.images, found.together, found.paper) == (0, 0, "not asked")
    assert found.masks == {"automatic, low confidence": 40}
    assert found.ranking == tuple(models)
    for look in found.looks.values():
        assert (look.common["inside"], look.own["inside"], look.states) == (UNDEFINED, UNDEFINED, {})
    assert all(math.isnan(pair.adjusted["inside"]) for pair in found.pairs)


def test_to_dict_is_json_without_single_images() -> None:
    found = compare_looks(*four_images())
    kept = json.loads(dumped(found))
    assert "inside" not in kept
    assert set(kept) == {
        *("looks", "pairs", "against_centre", "ranking", "rankings", "cells", "images", "together", "dropped", "empty"),
        *("masks", "paper", "verdicts"),
    }
    assert kept["looks"]["one"]["common"]["inside"] == {"value": 0.625, "low": 0.5, "high": 0.75}
    assert kept["rankings"]["pixel_auc"] == ["one", "other"]
    assert kept["verdicts"] == dict.fromkeys(MEASURES, "not asked")
    assert kept["looks"]["one"]["cells"] == [4, 4]
    assert kept["looks"]["one"]["artefacts"]["hair"][1] == {"value": 0.25, "low": 0.25, "high": 0.25}
    assert kept["looks"]["centre"]["cells"] is None
    assert kept["pairs"][0]["differences"]["inside"]["p_value"] == 0.5
    assert found.looks["one"].to_dict()["states"] == {"measured": 3}
    assert found.pairs[0].to_dict()["adjusted"]["inside"] == 0.5


# ---------------------------------------------------------------- heat and single measures


def test_heat_speaks_for_what_the_image_is() -> None:
    maps = np.array([[[2, -1], [0, -3]]] * 2, np.float32)
    model = Maps(title="", maps=maps, preprocessing=WHOLE)
    heat = heat_for_truth(model, np.array([1, 0]), 2, slice(0, 2))
    assert heat.tolist() == [[[2, 0], [0, 0]], [[0, 1], [0, 3]]]
    assert heat_for_truth(model, np.array([1, 0]), 2, slice(1, 2)).tolist() == heat[1:].tolist()
    cropped = heat_for_truth(Maps(title="", maps=maps, preprocessing=CROP), np.array([1, 0]), 24, slice(0, 2))
    assert not cropped[:, ~seen(CROP, 24)].any()
    assert cropped[0].max() == 2


def test_measure_is_of_the_networks_own_cells() -> None:
    models = usual_networks()
    frame = np.zeros_like(LESIONS)
    frame[:, :4] = True
    survey = survey_of(LESIONS, frame=frame)
    for model in models.values():
        found = measure(model, survey, LABELS)
        region = seen(model.preprocessing, SIZE_PX)
        heat = to_image_size(np.abs(model.maps), model.preprocessing, size_px=SIZE_PX)
        expected = localise(heat, LESIONS, region, artefacts={"frame": frame})
        assert found.state == expected.state == ("measured",) * 40
        for name in MEASURES:
            assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-6)
        assert_allclose(found.on["frame"], expected.on["frame"], atol=1e-6)


# ---------------------------------------------------------------- the paper's verdict, of made-up pairs


def pair_of(first: str, second: str, difference: float, p: float) -> LookPair:
    tested = MeanDifference(difference=Interval(difference, math.nan, math.nan), p_value=p, n=9)
    return LookPair(first=first, second=second, differences={"inside": tested}, adjusted={"inside": p})


def look_of(value: float) -> Look:
    means = {"inside": Interval(value, math.nan, math.nan)}
    return Look(
        title="", baseline=False, cells=(2, 2), common=means, own=means, own_centre=means, by_class={}, artefacts={},
        states={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [
        ([("tiny_vgg", "vgg11", 0.1, 0.01), ("tiny_vgg", "alexnet", 0.2, 0.01)], "holds"),
        ([("vgg11", "tiny_vgg", -0.1, 0.01), ("tiny_vgg", "alexnet", 0.2, 0.049)], "holds"),
        ([("tiny_vgg", "vgg11", 0.1, 0.01), ("tiny_vgg", "alexnet", 0.2, 0.05)], "undecided"),  # not below
        ([("tiny_vgg", "vgg11", -0.1, 0.3), ("tiny_vgg", "alexnet", 0.2, 0.01)], "undecided"),
        ([("tiny_vgg", "vgg11", 0.1, math.nan)], "undecided"),
        ([("tiny_vgg", "vgg11", -0.1, 0.01), ("tiny_vgg", "alexnet", 0.2, 0.01)], "refuted"),
        ([("vgg11", "tiny_vgg", 0.1, 0.01), ("tiny_vgg", "alexnet", 0.2, 0.6)], "refuted"),
        ([("vgg11", "alexnet", 0.1, 0.01)], "not asked"),
        ([], "not asked"),
    ],
)
def test_paper_verdict(pairs: list[tuple[str, str, float, float]], verdict: str) -> None:
    looks = {name: look_of(0.5) for name in ("tiny_vgg", "vgg11", "alexnet")}
    assert paper_verdict([pair_of(*pair) for pair in pairs], list(looks), looks) == verdict


def test_paper_verdict_by_another_measure() -> None:
    ahead, behind = (pair_of("tiny_vgg", "vgg11", gap, 0.01) for gap in (0.1, -0.1))
    pair = LookPair(
        first="tiny_vgg", second="vgg11", adjusted={"inside": 0.01, "pixel_auc": 0.01},
        differences=dict(ahead.differences) | {"pixel_auc": behind.differences["inside"]},
    )  # fmt: skip
    common = {"inside": Interval(0.5, math.nan, math.nan), "pixel_auc": Interval(0.7, math.nan, math.nan)}
    looks = {name: replace(look_of(0.5), common=common) for name in ("tiny_vgg", "vgg11")}
    assert paper_verdict([pair], list(looks), looks) == "holds"
    assert paper_verdict([pair], list(looks), looks, measure="pixel_auc") == "refuted"


def test_paper_verdict_needs_a_mean_of_each() -> None:
    looks = {"tiny_vgg": look_of(0.5), "vgg11": look_of(math.nan)}
    assert paper_verdict([pair_of("tiny_vgg", "vgg11", math.nan, math.nan)], list(looks), looks) == "not asked"


# ---------------------------------------------------------------- refusals


def test_refusals() -> None:
    models = usual_networks()
    with pytest.raises(DataError, match="there is no heat map to measure; explain one network or more"):
        compare_looks({}, survey_of(LESIONS), LABELS)
    with pytest.raises(DataError, match="a has 40 maps and 40 labels for 39 images; explain it on the same images"):
        compare_looks(models, survey_of(LESIONS[1:]), LABELS)
    with pytest.raises(DataError, match="a has 40 maps and 39 labels for 40 images"):
        compare_looks(models, survey_of(LESIONS), LABELS[1:])
    broken = models["b"].maps.copy()
    broken[3, 0, 0] = np.nan
    with pytest.raises(DataError, match="heat holds NaN, infinite or negative values"):
        compare_looks(models | {"b": Maps(title="", maps=broken, preprocessing=CROP)}, survey_of(LESIONS), LABELS)

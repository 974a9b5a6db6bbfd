"""Each measure by hand, each limit from both sides, whole pictures that are fine and that are spoilt."""

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lentigo.data.synthetic import draw_lesion
from lentigo.deploy.lesion_spot import field_of_view, light_of
from lentigo.deploy.quality import (
    WORDS,
    Finding,
    Quality,
    brightness,
    check_quality,
    clipped_share,
    dark_lines,
    findings_of,
    hair_share,
    outlier_findings,
    sharpness,
)
from lentigo.errors import ConfigError
from lentigo.imaging import squeeze
from tests.deploy.test_lesion_spot import ALL_SEEN, disc, picture

GOOD = {  # measures without a finding
    "shorter_side_px": 300.0,
    "sharpness": 0.6,
    "brightness": 180.0,
    "clipped_share": 0.0,
    "lesion_clearness": 30.0,
    "lesion_contrast": 40.0,
    "lesion_solidity": 0.75,
    "lesion_share": 0.2,
    "lesion_border_share": 0.0,
    "lesion_count": 1.0,
    "hair_share": 0.0,
}
LIMITS = {"warn_above": 1.4, "refuse_above": 2.0}
ABOVE = math.nextafter(1, 2) - 1  # relative distance to the next number


def photographed(small: np.ndarray, seed: int = 0) -> np.ndarray:
    """A made picture at 256 px with the grain of skin and camera."""
    large = np.asarray(Image.fromarray(small).resize((256, 256), Image.Resampling.BICUBIC)).astype(np.float64)
    grain = np.random.default_rng(seed).normal(0, 6, large.shape[:2])
    return np.rint(large + grain[..., None]).clip(0, 255).astype(np.uint8)


def severities(quality: Quality) -> dict[str, str]:
    return {finding.name: finding.severity for finding in quality.findings}


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("name", "measure", "last_good", "first_bad", "severity"),
    [
        ("too_small", "shorter_side_px", 200, 199, "warn"),
        ("too_small", "shorter_side_px", None, 64, "warn"),
        ("too_small", "shorter_side_px", None, 63, "refuse"),
        ("blurred", "sharpness", 0.285, 0.2849, "warn"),
        ("blurred", "sharpness", None, 0.23, "warn"),
        ("blurred", "sharpness", None, 0.2299, "refuse"),
        ("too_dark", "brightness", 70, 69.9, "warn"),
        ("too_dark", "brightness", None, 50, "warn"),
        ("too_dark", "brightness", None, 49.9, "refuse"),
        ("too_bright", "clipped_share", 0.08, 0.0801, "warn"),
        ("too_bright", "clipped_share", None, 0.4, "warn"),
        ("too_bright", "clipped_share", None, 0.4001, "refuse"),
        ("no_lesion", "lesion_clearness", 5.0, 4.99, "warn"),
        ("no_lesion", "lesion_clearness", None, 4.0, "warn"),
        ("no_lesion", "lesion_clearness", None, 3.99, "refuse"),
        ("lesion_cut", "lesion_border_share", 0.12, 0.1201, "warn"),
        ("lesion_cut", "lesion_border_share", None, 1, "warn"),
        ("several_lesions", "lesion_count", 1, 2, "warn"),
        ("several_lesions", "lesion_count", 0, 9, "warn"),
        ("hair", "hair_share", 0.13, 0.1301, "warn"),
        ("hair", "hair_share", None, 1, "warn"),
    ],
)
def test_each_limit(name: str, measure: str, last_good: float | None, first_bad: float, severity: str) -> None:
    if last_good is not None:
        assert findings_of(GOOD | {measure: float(last_good)}) == ()
    (finding,) = findings_of(GOOD | {measure: float(first_bad)})
    assert (finding.name, finding.severity) == (name, severity)


@pytest.mark.parametrize(
    ("contrast", "solidity", "cut"), [(20, 0.6, True), (19.9, 0.6, False), (20, 0.599, False), (0, 0, False)]
)
def test_only_a_compact_spot_that_stands_out_can_be_cut(contrast: float, solidity: float, cut: bool) -> None:
    shape = {"lesion_border_share": 0.3, "lesion_contrast": float(contrast), "lesion_solidity": solidity}
    assert bool(findings_of(GOOD | shape)) == cut


def test_findings_come_in_one_order_and_a_warning_does_not_refuse() -> None:
    bad = dict.fromkeys(("clipped_share", "lesion_border_share", "lesion_count", "hair_share"), math.inf)
    bad |= dict.fromkeys(("shorter_side_px", "sharpness", "brightness", "lesion_clearness"), 0.0)
    found = findings_of(GOOD | bad)
    assert [finding.name for finding in found] == [
        "too_small",
        "blurred",
        "too_dark",
        "too_bright",
        "no_lesion",
        "lesion_cut",
        "several_lesions",
        "hair",
    ]
    assert [finding.severity for finding in found] == ["refuse"] * 5 + ["warn"] * 3
    assert Quality(found, {}).refused
    assert not Quality(found[5:], {}).refused
    assert not Quality((), {}).refused


@pytest.mark.parametrize(
    ("outlier", "severity"),
    [
        (0.0, None),
        (1.4, None),
        (1.4 + 2 * ABOVE, "warn"),
        (2.0, "warn"),
        (2.0 + 2 * ABOVE, "refuse"),
        (math.nan, "refuse"),
        (math.inf, "refuse"),
        (-math.inf, "refuse"),
    ],
)
def test_outliers(outlier: float, severity: str | None) -> None:
    found = [(finding.name, finding.severity) for finding in outlier_findings(outlier, LIMITS)]
    assert found == ([] if severity is None else [("not_dermoscopy", severity)])


@pytest.mark.parametrize("wrong", [None, "2", math.nan, True])
def test_outlier_limits_must_be_numbers(wrong: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"^outlier\.refuse_above is .*, not a finite number; export the model again$"
    ):
        outlier_findings(0.1, LIMITS | {"refuse_above": wrong})
    with pytest.raises(ConfigError, match=r"^outlier\.warn_above is None"):
        outlier_findings(0.1, {"refuse_above": 2.0})


def test_words_are_sentences_and_promise_nothing() -> None:
    both = {"too_small", "blurred", "too_dark", "too_bright", "no_lesion", "not_dermoscopy"}
    want = {(name, severity) for name in both for severity in ("refuse", "warn")}
    assert set(WORDS) == want | {(name, "warn") for name in ("lesion_cut", "several_lesions", "hair")}
    for sentences in WORDS.values():
        for sentence in sentences:
            assert sentence[0].isupper()
            assert sentence.endswith(".")
            assert not {"benign", "safe", "harmless", "healthy", "malignant"} & set(sentence.lower().split())
    assert len({text for text, _ in WORDS.values()}) == len(WORDS)


# ---------------------------------------------------------------- measures by hand


def test_sharpness_of_a_checkerboard() -> None:
    y, x = np.mgrid[:128, :128]
    light = 1000 + 80 * (-1) ** (y + x)  # 3 x 3 pixels hold one more of the middle's colour, so do 5 x 5, 11 x 11
    want = (80 * 8 / 9 - 4) / (80 / 25 - 80 / 121)
    assert sharpness(light, ALL_SEEN) == pytest.approx(want, rel=1e-12)
    coarser = 1000 + 80 * (-1) ** (y // 8 + x // 8)
    assert 0 < sharpness(coarser, ALL_SEEN) < want / 5


def test_nothing_fine_is_no_sharpness() -> None:
    assert sharpness(np.full((128, 128), 700), ALL_SEEN) == 0
    ramp = np.tile(np.arange(128), (128, 1))
    assert sharpness(8 * ramp, ALL_SEEN) == 0
    rounding = np.full((128, 128), 1000) + np.random.default_rng(0).integers(-2, 3, (128, 128))
    assert sharpness(rounding, ALL_SEEN) == 0  # finer than whole grey values
    assert sharpness(16 * rounding, ALL_SEEN) > 1


def test_sharpness_leaves_out_edges_and_most_of_the_plain_skin() -> None:
    light = np.full((128, 128), 1000)
    inside = (128 - 12) ** 2
    light[:5] = light[-5:] = np.random.default_rng(0).integers(0, 2000, 128)
    assert sharpness(light, ALL_SEEN) == 0  # 3 x 3 pixels do not reach it from 6 pixels inside
    light[30:90, 30:90] = np.random.default_rng(0).integers(0, 2000, (60, 60))
    seen = ALL_SEEN.copy()
    seen[:, :84] = False
    assert sharpness(light, seen) == 0
    seen[:, 82] = seen[:, 83] = True
    assert sharpness(light, seen) > 0
    for width, left in ((12, False), (13, True)):  # one column is 6 pixels inside of 13
        seen = np.zeros((128, 128), dtype=bool)
        seen[:, 60 : 60 + width] = True
        assert (sharpness(light, seen) > 0) == left
    plain = np.full((128, 128), 1000)
    few = plain.copy()
    few[20:36:4, 20:36:4] = 2000  # 16 dots, each seen by 9 pixels: 144, 1.1 % of what is inside
    assert 0.02 * inside > 16 * 9
    assert sharpness(few, ALL_SEEN) == 0
    many = plain.copy()
    many[20:100:4, 20:100:4] = 2000
    assert sharpness(many, ALL_SEEN) > 1


def test_brightness_is_what_nine_tenths_do_not_exceed() -> None:
    light = np.full((128, 128), 8 * 40)
    seen = np.zeros((128, 128), dtype=bool)
    seen[0, :10] = True
    light[0, :10] = 8 * np.arange(10, 110, 10)
    assert brightness(light, seen) == 100  # the tenth of ten
    seen[0, 10] = True
    light[0, 10] = 8 * 5  # 5, 10, ..., 100: of eleven number floor(9.9) = 9, counted from 0
    assert brightness(light, seen) == 90


def test_clipped_is_what_lost_two_colours() -> None:
    small = np.full((128, 128, 3), 100, dtype=np.uint8)
    small[0, :64] = (254, 254, 0)
    small[1, :32] = (255, 100, 255)
    small[2] = (255, 253, 253)
    small[3:5] = 255
    assert clipped_share(small, ALL_SEEN) == (64 + 32 + 256) / 128**2
    seen = np.zeros((128, 128), dtype=bool)
    seen[:2] = True
    assert clipped_share(small, seen) == 96 / 256


STEPS = {  # a direction of a line, and the same line drawn by hand: (row, column) at t
    "across": lambda t: (64, t),
    "half down": lambda t: (32 + t // 2, t),
    "down right": lambda t: (t, t),
    "steep down": lambda t: (t, 32 + t // 2),
    "down": lambda t: (t, 64),
    "steep down left": lambda t: (t, 96 - t // 2),
    "down left": lambda t: (t, 127 - t),
    "half up": lambda t: (96 - t // 2, t),
}


@pytest.mark.parametrize("direction", STEPS)
def test_lines_in_eight_directions(direction: str) -> None:
    light = np.full((128, 128), 1000)
    points = [STEPS[direction](t) for t in range(128)]
    for row, column in points:
        light[row, column] = 1000 - 8 * 60
    found = dark_lines(light)
    on_line = [found[row, column] for row, column in points[10:-10]]
    assert np.mean(on_line) > 0.9
    assert found.sum() < 4.5 * 128  # and little beside it


HALF = [-3, -3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3]  # t / 2 rounded down, t from -6 to 6
ALONG = list(range(-6, 7))
LINES = [  # rows and columns of a line's pixels, and where the line on one side begins
    ([0] * 13, ALONG, 3, 0),
    (HALF, ALONG, 3, -1),
    (ALONG, ALONG, 2, -2),
    (ALONG, HALF, -1, 3),
    (ALONG, [0] * 13, 0, 3),
    (ALONG, [3, 2, 2, 1, 1, 0, 0, -1, -1, -2, -2, -3, -3], 1, 3),
    (ALONG, ALONG[::-1], 2, 2),
    ([3, 2, 2, 1, 1, 0, 0, -1, -1, -2, -2, -3, -3], ALONG, 3, 1),
]


def test_dark_lines_equal_their_definition() -> None:
    rng = np.random.default_rng(3)
    light = rng.integers(600, 1000, (128, 128))
    found = dark_lines(light)
    assert 0.02 < found.mean() < 0.5

    def line(rows: list[int], columns: list[int], down: int, right: int) -> np.ndarray:
        y, x = np.mgrid[:128, :128]
        y, x = y + down, x + right
        pairs = zip(rows, columns, strict=True)
        return sum(light[np.clip(y + row, 0, 127), np.clip(x + column, 0, 127)] for row, column in pairs)

    want = np.zeros((128, 128), dtype=bool)
    for rows, columns, down, right in LINES:
        sides = np.minimum(line(rows, columns, down, right), line(rows, columns, -down, -right))
        want |= sides - line(rows, columns, 0, 0) > 8 * 12 * 13
    assert np.array_equal(found, want)


def test_a_line_must_be_twelve_grey_values_deep_and_narrow() -> None:
    for depth, found in ((12, False), (13, True)):
        light = np.full((128, 128), 1000)
        light[:, 60] -= 8 * depth
        assert dark_lines(light)[:, 60].all() == found
        assert not dark_lines(light)[:, :58].any()
    for width, found in ((5, True), (12, False)):
        light = np.full((128, 128), 1000)
        light[:, 60 : 60 + width] = 200
        assert dark_lines(light)[20:-20, 62].any() == found
    edge = np.full((128, 128), 1000)
    edge[:, 60:] = 200
    assert not dark_lines(edge).any()
    assert not dark_lines(2000 - light).any()  # bright lines


def test_hair_is_counted_in_a_ring_around_the_spot() -> None:
    spot = np.zeros((64, 64), dtype=bool)
    spot[30:34, 30:34] = True  # the ring: rows and columns 25 to 38, less 29 to 34; twice that in pixels
    ring_px = 4 * (14**2 - 6**2)
    light = np.full((128, 128), 1000)
    light[:, 61] = 500
    lines = dark_lines(light)
    ring = np.zeros((128, 128), dtype=bool)
    ring[50:78, 50:78] = True
    ring[58:70, 58:70] = False
    assert ring.sum() == ring_px
    assert hair_share(light, ALL_SEEN, spot) == (lines & ring).sum() / ring_px > 0.02
    inside_only = np.full((128, 128), 1000)
    inside_only[62:66, 62:66] = 0
    assert hair_share(inside_only, ALL_SEEN, np.zeros((64, 64), dtype=bool)) == 0
    seen = ALL_SEEN.copy()
    seen[:64] = False
    assert hair_share(light, seen, spot) == (lines & ring & seen).sum() / (ring & seen).sum()
    assert hair_share(light, ~ALL_SEEN, spot) == 0


# ---------------------------------------------------------------- whole pictures


def test_a_good_picture_has_no_finding_and_all_measures() -> None:
    image = photographed(picture((64, 60, 24)))
    before = image.copy()
    quality = check_quality(image)
    assert quality.findings == ()
    assert set(quality.measures) == set(GOOD)
    assert all(type(value) is float for value in quality.measures.values())
    assert quality.measures["shorter_side_px"] == 256
    assert quality.measures["brightness"] == pytest.approx((2 * 200 + 5 * 150 + 130) / 8, abs=5)
    assert quality.measures["lesion_share"] == pytest.approx(math.pi * 24**2 / 128**2, rel=0.1)
    assert np.array_equal(image, before)


def test_all_but_the_size_is_measured_on_128_pixels() -> None:
    image = photographed(picture((64, 60, 24)))
    whole, squeezed = check_quality(image), check_quality(squeeze(image, 128))
    assert severities(squeezed) == {"too_small": "warn"}
    assert squeezed.measures == whole.measures | {"shorter_side_px": 128.0}


@pytest.mark.parametrize(
    ("small", "found"),
    [
        (picture(), {"no_lesion": "refuse"}),
        (picture((64, 0, 30)), {"lesion_cut": "warn"}),
        (picture((64, 40, 20), (64, 96, 18)), {"several_lesions": "warn"}),
    ],
)
def test_what_lies_on_the_skin(small: np.ndarray, found: dict[str, str]) -> None:
    assert severities(check_quality(photographed(small))) == found


def test_a_round_frame_is_neither_lesion_nor_darkness() -> None:
    small = picture((64, 60, 20))
    small[~disc(63.5, 63.5, 62)] = 4
    quality = check_quality(photographed(small))
    assert quality.findings == ()
    bare = picture()
    bare[~disc(63.5, 63.5, 62)] = 4
    assert severities(check_quality(photographed(bare))) == {"no_lesion": "refuse"}


def test_hair_lines() -> None:
    small = picture((64, 64, 20))
    for column in range(6, 128, 9):
        small[:, column] = (40, 30, 25)
    assert severities(check_quality(photographed(small))).get("hair") == "warn"


def test_light_and_blur() -> None:
    image = photographed(picture((64, 60, 24)))
    for factor, want in ((0.15, {"too_dark": "refuse"}), (0.4, {"too_dark": "warn"}), (2.5, {"too_bright": "refuse"})):
        changed = np.rint(image * factor).clip(0, 255).astype(np.uint8)
        assert want.items() <= severities(check_quality(changed)).items(), factor
    for radius_px in (3, 6, 15):
        changed = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius_px)))
        assert severities(check_quality(changed))["blurred"] == "refuse"


@pytest.mark.parametrize(("shape", "found"), [((63, 400), "refuse"), ((400, 64), "warn"), ((199, 900), "warn")])
def test_small_pictures(shape: tuple[int, int], found: str) -> None:
    image = np.asarray(Image.fromarray(photographed(picture((64, 60, 24)))).resize(shape[::-1]))
    assert severities(check_quality(image))["too_small"] == found


def test_any_pixels_give_finite_measures() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (90, 70, 3), dtype=np.uint8)
    speckled = np.where(rng.random((128, 128, 1)) < 0.03, 255, 0).astype(np.uint8).repeat(3, axis=2)
    striped = np.zeros((128, 128, 3), dtype=np.uint8)
    striped[:, 4::9] = striped[:, 5::9] = 200
    one = np.full((1, 1, 3), 77, dtype=np.uint8)
    for image in (noise, noise[:, :1], noise[:1], speckled, striped, one, one * 0, one.repeat(3000, axis=0)):
        quality = check_quality(image)
        assert all(math.isfinite(value) for value in quality.measures.values())
    black, white = (check_quality(np.full((300, 300, 3), value, dtype=np.uint8)) for value in (0, 255))
    assert severities(black) == {"blurred": "refuse", "too_dark": "refuse", "no_lesion": "refuse"}
    assert severities(white) == {"blurred": "refuse", "too_bright": "refuse", "no_lesion": "refuse"}


def test_drawn_lesions_are_accepted_on_all_skins() -> None:
    tones: dict[int, list[dict[str, str]]] = {}
    for index in range(30):
        drawn = draw_lesion(11, index, malignant=index % 2 == 1, size_px=200)
        tones.setdefault(drawn.parameters.skin_tone, []).append(severities(check_quality(drawn.image)))
    found = [severity for of_tone in tones.values() for severity in of_tone]
    assert len(tones) == 6
    assert sum("refuse" in one.values() for one in found) <= 1
    assert sum(bool(one) for one in found) <= 0.25 * len(found)
    assert not any("too_dark" in one or "too_bright" in one for of_tone in (tones[5], tones[6]) for one in of_tone)


def test_drawn_lesions_that_are_spoilt_are_found() -> None:
    cut = blurred = 0
    for index in range(12):
        drawn = draw_lesion(12, index, malignant=True, size_px=200)
        soft = Image.fromarray(drawn.image).filter(ImageFilter.GaussianBlur(3))
        blurred += severities(check_quality(np.asarray(soft))).get("blurred") == "refuse"
        columns = np.flatnonzero(drawn.mask.any(axis=0))
        half = np.ascontiguousarray(drawn.image[:, : int(columns[0] + columns[-1]) // 2])
        cut += "lesion_cut" in severities(check_quality(half))
    assert blurred >= 11
    assert cut >= 8


def test_findings_are_plain_values() -> None:
    (finding,) = findings_of(GOOD | {"brightness": 10.0})
    assert finding == Finding("too_dark", "refuse", *WORDS["too_dark", "refuse"])
    assert field_of_view(light_of(picture())).all()

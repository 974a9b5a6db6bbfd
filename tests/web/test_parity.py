"""What the page computes equals what Python computes: pixels, preprocessing, quality, logit, map, colours and words."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lentigo.data.synthetic import draw_lesion
from lentigo.deploy import quality
from lentigo.deploy.quality import WORDS, check_quality
from lentigo.explain.on_image import blue_to_red, to_image_size
from lentigo.imaging import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, preprocess, read_image
from tests.web.conftest import Site, Visit, png
from tests.web.small_model import run_model

pytestmark = pytest.mark.web
LEVEL = 1 / 255

# Heights and widths: small, large, square, wide, tall, equal to the target on one side or both, and both sides of the
# point from where on Pillow resizes the columns first.
SIZES = [
    *[(300, 300), (64, 64), (1, 1), (1, 300), (300, 1), (2, 3), (31, 32), (32, 31), (33, 64), (64, 33)],
    *[(64, 200), (200, 64), (300, 64), (64, 300), (450, 600), (600, 450), (767, 1022), (1022, 767), (128, 129)],
    *[(129, 128), (500, 100), (100, 500), (110, 90), (109, 90), (90, 110), (299, 301), (301, 299), (224, 224)],
    *[(225, 225), (223, 223), (1000, 40), (40, 1000), (512, 384), (384, 512), (400, 100), (100, 400), (97, 89)],
    *[(640, 480), (480, 640), (1200, 1600)],
]
SETTINGS = [
    Preprocessing(resize_px=300, crop_px=None),
    Preprocessing(resize_px=64, crop_px=None, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    Preprocessing(resize_px=256, crop_px=224, mean=IMAGENET_MEAN, std=IMAGENET_STD),
    Preprocessing(resize_px=127, crop_px=100, mean=IMAGENET_MEAN, std=IMAGENET_STD),
]
IN_PAGE = """async ({file, kind, settings}) => {
  const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
  const pixels = await lentigo.pixelsOf(new Blob([bytes], {type: kind}));
  const input = lentigo.preprocess(pixels, settings);
  const plain = (data) => {
    const all = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    let text = "";
    for (let at = 0; at < all.length; at += 32768) text += String.fromCharCode(...all.subarray(at, at + 32768));
    return btoa(text);
  };
  return {pixels: plain(pixels.data), height: pixels.height, width: pixels.width,
          input: plain(input.data), rows: input.height, columns: input.width};
}"""


def in_page(page: Visit, file: bytes, settings: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that the browser decoded, and the network's input that the page made of them."""
    kind = "image/png" if file.startswith(b"\x89PNG") else "image/jpeg"
    argument = {"file": base64.b64encode(file).decode(), "kind": kind, "settings": settings.to_dict()}
    got = page.call(IN_PAGE, argument)
    pixels = np.frombuffer(base64.b64decode(got["pixels"]), np.uint8).reshape(got["height"], got["width"], 3)
    numbers = np.frombuffer(base64.b64decode(got["input"]), np.float32).reshape(3, got["rows"], got["columns"])
    return pixels, numbers


def noise(height: int, width: int) -> np.ndarray:
    """Uniform noise, where every rounding shows; over it a slope, where a shift shows."""
    rng = np.random.default_rng([height, width])
    slope = np.linspace(0, 128, height)[:, None, None] + np.linspace(0, 60, width)[None, :, None]
    return (rng.integers(0, 68, (height, width, 3)) + slope).astype(np.uint8)


def test_preprocess_equals_pythons_on_forty_images_bit_for_bit(page: Visit) -> None:
    assert len(set(SIZES)) == 40
    for number, (height, width) in enumerate(SIZES):
        image, settings = noise(height, width), SETTINGS[number % len(SETTINGS)]
        pixels, numbers = in_page(page, png(image), settings)
        np.testing.assert_array_equal(pixels, image)
        expected = preprocess(image, settings)
        assert numbers.shape == expected.shape
        np.testing.assert_array_equal(numbers, expected, err_msg=f"{height} x {width}, {settings}")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_as_in_python(page: Visit, orientation: int) -> None:
    """JPEG decoders may round differently: the largest difference seen here is 1 of 255, after the resize too."""
    drawn = draw_lesion(5, orientation, malignant=False, size_px=200).image
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    Image.fromarray(drawn[:, :150]).save(file, "JPEG", quality=95, exif=exif)
    expected = read_image(file.getvalue())
    assert expected.shape[:2] == ((200, 150) if orientation < 5 else (150, 200))
    pixels, numbers = in_page(page, file.getvalue(), SETTINGS[1])
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= 2
    assert np.abs(numbers - preprocess(expected, SETTINGS[1])).max() * 0.25 <= 2 * LEVEL


def test_transparency_is_laid_over_white(page: Visit) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (40, 50, 4), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(image, "RGBA").save(file, "PNG")
    pixels, _ = in_page(page, file.getvalue(), SETTINGS[1])
    # The browser multiplies by the opacity in 8 bits before it lays the picture over white.
    assert np.abs(pixels.astype(int) - read_image(file.getvalue())).max() <= 2


def quality_cases() -> list[np.ndarray]:
    drawn = [draw_lesion(11, index, malignant=index % 2 == 0).image for index in range(24)]
    small = [draw_lesion(11, 30, malignant=True, size_px=side).image for side in (40, 64, 150, 200, 420)]
    plain = [np.full((300, 300, 3), grey, np.uint8) for grey in (0, 20, 128, 255)]
    blurred = [np.asarray(Image.fromarray(drawn[0]).resize((12, 12)).resize((300, 300)))]
    cut, pair = np.roll(drawn[1], 130, axis=1), np.concatenate([drawn[1], drawn[3]], axis=1)
    stretched = [drawn[5][:, 60:200], drawn[7][100:200]]
    return [*drawn, *small, *plain, *blurred, cut, pair, *stretched, noise(300, 300), 255 - drawn[9]]


def test_quality_findings_and_measures_equal_pythons(page: Visit) -> None:
    seen: set[tuple[str, str]] = set()
    for number, image in enumerate(quality_cases()):
        expected = check_quality(image)
        got = page.call(
            """async ({file}) => lentigo.checkQuality(await lentigo.pixelsOf(
                 new Blob([Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0))])))""",
            {"file": base64.b64encode(png(image)).decode()},
        )
        assert set(got["measures"]) == set(expected.measures)
        for name, value in expected.measures.items():
            assert got["measures"][name] == pytest.approx(value, rel=1e-12, abs=1e-12), (number, name)
        found = [(finding["name"], finding["severity"]) for finding in got["findings"]]
        assert found == [(finding.name, finding.severity) for finding in expected.findings], number
        seen |= set(found)
    names = {name for name, _ in seen}
    assert names == {name for name, _ in WORDS} - {"not_dermoscopy"}, "a finding was never made, so never compared"


def test_limits_of_quality_are_pythons(page: Visit) -> None:
    limits = page.call("() => lentigo.LIMITS")
    assert limits == {name: getattr(quality, name) for name in limits}
    named = {name for name in vars(quality) if name.startswith(("REFUSE_", "WARN_", "CUT_"))}
    assert set(limits) == named


def test_findings_have_pythons_words() -> None:
    source = (Path(__file__).resolve().parents[2] / "web" / "src" / "strings.ts").read_text(encoding="utf-8")
    words = re.findall(r'"((?:[^"\\]|\\.)*)"', source)
    missing = [text for pair in WORDS.values() for text in pair if text not in words]
    assert missing == []
    findings = source[source.index("findings: {") :]
    for name, severity in WORDS:
        part = findings[findings.index(f"{name}: {{") :]
        first, second = re.findall(r'"((?:[^"\\]|\\.)*)"', part[part.index(f"{severity}: [") :])[:2]
        assert (first, second) == WORDS[name, severity]


SCREENED = "() => ({...lentigo.work.screening, heat: [...(lentigo.work.screening.heat?.data ?? [])]})"


def screened(page: Visit) -> dict[str, Any]:
    found: dict[str, Any] = page.call(SCREENED)
    return found


@pytest.mark.parametrize("index", [0, 1, 2, 3, 10])
def test_logit_map_and_outlier_equal_python_onnxruntimes(page: Visit, site: Site, index: int) -> None:
    """The largest difference seen is below 1e-5; the contract asks for 1e-3."""
    image = draw_lesion(3, index, malignant=index % 2 == 0).image
    page.check(png(image))
    got, expected = screened(page), run_model(site.folder / "model", image, site.about)
    assert got["logit"] == pytest.approx(float(expected["logit"]), abs=1e-4)
    assert got["outlier"] == pytest.approx(float(expected["outlier"]), abs=1e-4)
    assert got["probability"] == pytest.approx(1 / (1 + np.exp(-float(expected["logit"]) / 2.5)), abs=1e-5)
    np.testing.assert_allclose(np.array(got["heat"]).reshape(75, 75), expected["cam"], atol=1e-6)


@pytest.mark.parametrize(
    "preprocessing", [Preprocessing(resize_px=64, crop_px=None), SETTINGS[2]], ids=["whole", "crop"]
)
@pytest.mark.parametrize("cells", [(4, 4), (7, 5), (75, 75)])
def test_heat_picture_equals_on_image(page: Visit, preprocessing: Preprocessing, cells: tuple[int, int]) -> None:
    side, maximum = 60, 1.4
    heat = np.random.default_rng(cells).normal(0, 1, cells).astype(np.float32)
    argument = {"rows": cells[0], "columns": cells[1], "data": heat.ravel().tolist(), "side": side, "maximum": maximum}
    got = page.call(
        """({rows, columns, data, side, maximum, preprocessing}) =>
             [...lentigo.heatPicture({rows, columns, data: Float32Array.from(data)}, preprocessing, maximum, side)]""",
        argument | {"preprocessing": preprocessing.to_dict()},
    )
    positive = np.maximum(heat, 0)[None]
    level = np.minimum(to_image_size(positive, preprocessing, size_px=side)[0].astype(np.float64) / maximum, 1)
    expected = 255 * np.concatenate([blue_to_red(level), level[..., None]], axis=2)
    assert (level > 0).mean() > 0.5
    assert np.abs(np.array(got).reshape(side, side, 4) - expected).max() <= 0.51  # rounded to 8 bits

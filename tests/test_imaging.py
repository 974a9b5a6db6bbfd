"""Images in, `preprocess` out: a corpus of good and bad files, mutated files, torchvision and Pillow as references."""

import io
import json
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from lentigo import imaging
from lentigo.errors import ConfigError, ImageError
from lentigo.imaging import IMAGENET_MEAN as MEAN
from lentigo.imaging import IMAGENET_STD as STD
from lentigo.imaging import Preprocessing, image_header, preprocess, read_image, resize_weights
from tests.corpus import Bad, Good, bad_files, encode, good_files, grey16, picture, png, tiff, whole_files

GOOD, BAD = good_files(), bad_files()
# To be mutated: one file a kind; not TIFF's JPEG, for libtiff writes about its errors to stderr.
SEEDS = [file.data for file in GOOD if "orientation" not in file.name and "tiff jpeg" not in file.name]


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def integer_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Rows first, then columns, with nothing but integers; a direction whose size stays is left out."""
    for axis, size in ((1, width), (0, height)):
        if image.shape[axis] != size:
            index, weight = resize_weights(image.shape[axis], size)
            taps = np.moveaxis(image, axis, 0)[index].astype(np.int32)  # tap, out, other side, channel
            total = (taps * weight[..., None, None]).sum(0, dtype=np.int32) + (1 << 21)
            image = np.moveaxis(np.clip(total >> 22, 0, 255).astype(np.uint8), 0, axis)
    return image


# ---------------------------------------------------------------- reading: the corpus


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.name)
def test_read_image_gives_the_pixels_that_were_written(file: Good, tmp_path: Path) -> None:
    path = tmp_path / "lesion.bin"  # the content decides, not the ending
    path.write_bytes(file.data)
    pixels = read_image(path)
    assert pixels.shape == file.pixels.shape
    assert np.abs(pixels - file.pixels.astype(float)).max() <= file.tolerance
    np.testing.assert_array_equal(read_image(file.data), pixels)
    assert image_header(file.data).size == image_header(str(path)).size == pixels.shape[:2]


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.name)
def test_read_image_refuses_bad_files(file: Bad) -> None:
    with pytest.raises(ImageError, match=f"^lesion 7 .*{file.message}") as caught:
        read_image(file.data, name="lesion 7")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_nothing_is_read_while_pillow_is_told_to_hide_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(ImageError, match=r"LOAD_TRUNCATED_IMAGES is set.*set it to False$"):
        read_image(GOOD[0].data, name="lesion 7")


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len(GOOD) >= 40
    assert len({file.name for file in GOOD + BAD}) == len(GOOD + BAD) >= 200


@pytest.mark.parametrize("name", ["png", "bmp", "tiff", "jpeg", "webp lossless"])
def test_read_image_refuses_a_file_cut_at_any_byte(name: str) -> None:
    data = whole_files()[name]
    for length in range(1, len(data), max(1, len(data) // 200)):
        with pytest.raises(ImageError, match=r"^image is "):
            read_image(data[:length])


def test_read_image_returns_an_array_of_ones_own() -> None:
    data = whole_files()["png"]
    read_image(data)[:] = 0
    assert read_image(data).any()
    assert read_image(data).flags.c_contiguous


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    """By hand: 65535 -> 255, 257 -> 1, and 128 -> 0 but 129 -> 1, for 129 / 257 > 0.5."""
    stored = np.array([[0, 65535], [257, 128], [129, 32768]], np.uint16)
    data = png(16, 0, stored.astype(">u2"))
    assert read_image(data)[..., 0].tolist() == [[0, 255], [1, 0], [1, 128]]
    assert len(np.unique(read_image(png(16, 0, grey16().astype(">u2"))))) == 256


# ---------------------------------------------------------------- reading: files, limits, Pillow's globals


@pytest.mark.parametrize("function", [read_image, image_header])
def test_what_is_not_a_file_is_refused_by_name(function, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    cases = {
        tmp_path / "missing.jpg": r"missing\.jpg does not exist; give the path of an image file$",
        tmp_path: r" is a folder; give the path of an image file$",
        tmp_path / "empty.png": r"empty\.png is empty \(0 bytes\); get the file again, or leave it out$",
        Path("a\0b.jpg"): r"(does not exist; give the path|cannot be read)",
        Path("/dev/null"): "^/dev/null is a device or pipe; give the path of an image file$",
        tmp_path / ("x" * 300): r" cannot be read \(.*File name too long.*\); check the path and its permissions$",
    }
    for path, message in cases.items():
        for source in (path, str(path)):
            with pytest.raises(ImageError, match=message):
                function(source)
    with pytest.raises(ImageError, match=r"^image is empty"):
        function(b"")


def test_a_file_above_50_mb_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scan.tiff"
    with path.open("wb") as file:
        file.truncate(51_000_000)
    monkeypatch.setattr(Path, "open", lambda *args: pytest.fail("the file was opened"))
    for function in (read_image, image_header):
        with pytest.raises(ImageError, match=r"scan\.tiff has 51\.0 MB, the limit is 50 MB; save it smaller"):
            function(path)
    with pytest.raises(ImageError, match=r"^image has 50\.0 MB, the limit"):
        read_image(bytes(50_000_001))


def test_the_limits_themselves_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    data = whole_files()["png"]
    monkeypatch.setattr(imaging, "MAX_PIXELS", 16 * 24)
    monkeypatch.setattr(imaging, "MAX_BYTES", len(data))
    assert read_image(data).shape == (16, 24, 3)
    monkeypatch.setattr(imaging, "MAX_PIXELS", 16 * 24 - 1)
    with pytest.raises(ImageError, match=r"has 24 x 16 = 0\.0 megapixels"):
        image_header(data)


def test_too_large_images_are_refused_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("pixels were decoded"))
    for file in BAD:
        if "megapixels" in file.name or "absurd" in file.name:
            for function in (read_image, image_header):
                with pytest.raises(ImageError, match=file.message):
                    function(file.data)


@pytest.mark.parametrize(
    ("name", "format_", "mode"),
    [
        ("jpeg", "JPEG", "RGB"),
        ("jpeg of 2 pictures", "JPEG", "RGB"),
        ("webp lossy", "WEBP", "RGB"),
        ("bmp", "BMP", "RGB"),
        ("tiff lzw", "TIFF", "RGB"),
        ("png rgb 16 bit", "PNG", "RGB;16"),
        ("grey jpeg", "JPEG", "L"),
        ("1 bit PNG", "PNG", "1"),
        ("1 bit TIFF", "TIFF", "1"),
        ("grey 16 bit png", "PNG", "I;16"),
        ("grey 12 bit tiff", "TIFF", "I;16"),
        ("grey 16 bit tiff MM", "TIFF", "I;16B"),
        ("palette PNG", "PNG", "P"),
        ("rgba png", "PNG", "RGBA"),
        ("rgba png 16 bit", "PNG", "RGBA;16"),
        ("la png 16 bit", "PNG", "RGBA;16"),  # Pillow widens it
        ("cmyk tiff", "TIFF", "CMYK"),
        ("cmyk jpeg", "JPEG", "CMYK"),
    ],
)
def test_image_header_tells_format_and_mode(name: str, format_: str, mode: str) -> None:
    header = image_header(next(file.data for file in GOOD if file.name == name))
    assert (header.format, header.mode, header.orientation, header.has_exif) == (format_, mode, 1, False)


def test_image_header_of_16_bit_colour_tiff() -> None:
    colour = np.arange(16 * 24 * 3, dtype="<u2").tobytes()
    data = tiff(colour, {262: 2, 277: 3, 279: len(colour)})
    at = data.index(struct.pack("<HHII", 258, 4, 1, 8))  # bits: one value would mean one channel
    header = image_header(data[:at] + struct.pack("<HHII", 258, 3, 3, len(data)) + data[at + 12 :] + b"\x10\0" * 3)
    assert (header.size, header.mode) == ((16, 24), "RGB;16")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_header_tells_orientation(kind: str, orientation: int) -> None:
    file = next(file for file in GOOD if file.name == f"{kind} orientation {orientation}")
    header = image_header(file.data)
    assert (header.orientation, header.size) == (orientation, (24, 16) if orientation >= 5 else (16, 24))
    assert header.has_exif == (kind != "TIFF")  # there the tag stands among the image's own


def test_image_header_takes_an_orientation_of_no_sense_for_upright() -> None:
    for orientation in (0, 9, 4711):
        exif = Image.Exif()
        exif[274] = orientation
        header = image_header(encode(Image.fromarray(picture()), "JPEG", exif=exif))
        assert (header.orientation, header.size, header.has_exif) == (1, (16, 24), True)


def test_image_header_finds_exif_behind_the_pixels_and_in_tiff() -> None:
    assert image_header(next(f.data for f in GOOD if f.name == "png with exif behind its pixels")).has_exif
    assert image_header(tiff(picture()[..., 0].tobytes(), {34665: 8})).has_exif  # the tag that points to it


def test_image_header_gives_quantisation_tables_in_order() -> None:
    """Annex K of ITU T.81: at quality 50 its luminance table begins 16 11 10 16, its chrominance table 17 18 24 47."""
    tables = image_header(encode(Image.fromarray(picture()), "JPEG", quality=50)).quantisation
    assert len(tables) == 128
    assert (tables[:4], tables[63], tables[64:68], tables[127]) == ((16, 11, 10, 16), 99, (17, 18, 24, 47), 99)
    own = [list(range(1, 65)), list(range(65, 129))]
    assert image_header(encode(Image.fromarray(picture()), "JPEG", qtables=own)).quantisation == tuple(range(1, 129))
    assert image_header(whole_files()["tiff jpeg"]).quantisation == ()


def test_image_header_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("pixels were decoded"))
    for file in GOOD:
        if file.name not in ("png with exif behind its pixels", "png turned by xmp", "png with broken exif"):
            assert image_header(file.data).size == file.pixels.shape[:2], file.name


def test_only_the_named_formats_are_ever_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    for kind in Image.OPEN:
        factory, accept = Image.OPEN[kind]
        monkeypatch.setitem(
            Image.OPEN,
            kind,
            (factory, lambda prefix, kind=kind, accept=accept: tried.append(kind) or not accept or accept(prefix)),
        )
    for file in BAD:
        with pytest.raises(ImageError):
            read_image(file.data)
    assert set(tried) == set(imaging.FORMATS)


def test_an_interruption_is_not_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    filters = list(warnings.filters)
    monkeypatch.setattr(ImageFile.ImageFile, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_image(whole_files()["png"])
    assert warnings.filters == filters


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    filters, failures = list(warnings.filters), []

    def read_often() -> None:
        for file in GOOD:
            if np.abs(read_image(file.data) - file.pixels.astype(float)).max() > file.tolerance:
                failures.append(file.name)

    threads = [threading.Thread(target=read_often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert warnings.filters == filters


def test_a_warning_of_pillow_stays_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    data = whole_files()["png"]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16 * 24 - 1)  # a little above: Pillow warns, does not refuse
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        assert read_image(data).shape == (16, 24, 3)
    assert leaked == []


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_bytes_give_an_image_or_an_image_error(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from(SEEDS)))
    edits = st.tuples(st.integers(0, len(file) - 1), st.binary(min_size=0, max_size=6), st.integers(0, 6))
    for start, inserted, removed in data.draw(st.lists(edits, min_size=1, max_size=4)):
        file[start : start + removed] = inserted
    try:
        header = image_header(bytes(file))
        image = read_image(bytes(file))
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.size > 0
    assert header.size == image.shape[:2]


# ---------------------------------------------------------------- preprocessing


def test_preprocess_by_hand() -> None:
    """Two columns shrink to one: (0 + 255) / 2 rounds to 128; the green channel keeps its 51 = 0.2 * 255."""
    image = np.array([[[0, 51, 255], [255, 51, 255]]], np.uint8)
    out = preprocess(image, Preprocessing(resize_px=1, crop_px=None, mean=(0.0, 0.2, 0.5), std=(1.0, 1.0, 0.25)))
    assert out.shape == (3, 1, 1)
    assert out.ravel().tolist() == pytest.approx([128 / 255, 0.0, 2.0], abs=1e-6)


SIZES = [(300, 300), (450, 600), (600, 450), (37, 91), (91, 37), (1, 1), (5, 333), (256, 255), (64, 63), (223, 224)]
TALL = [(333, 5), (300, 20), (1000, 300)]


def torchvision_input(image: Image.Image, settings: Preprocessing) -> np.ndarray:
    transforms = pytest.importorskip("torchvision.transforms")
    side = settings.resize_px
    steps = (
        [] if side is None else [transforms.Resize((side, side), transforms.InterpolationMode.BILINEAR, antialias=True)]
    )
    if settings.crop_px is not None:
        steps.append(transforms.CenterCrop(settings.crop_px))
    steps += [transforms.ToTensor(), transforms.Normalize(settings.mean, settings.std)]
    return transforms.Compose(steps)(image).numpy()


@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (64, None), (225, 224), (63, 32), (1, 1), (33, 33)])
def test_preprocess_equals_torchvision(resize: int, crop: int | None) -> None:
    settings = Preprocessing(resize_px=resize, crop_px=crop, mean=MEAN, std=STD)
    for height, width in SIZES + TALL:
        image = random_image(height, width)
        expected = torchvision_input(Image.fromarray(image), settings)
        np.testing.assert_allclose(preprocess(image, settings), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(224, 224), (224, 301), (225, 226), (300, 224)])
def test_crop_without_resize_equals_torchvision(size: tuple[int, int]) -> None:
    settings, image = Preprocessing(resize_px=None, crop_px=224), random_image(*size)
    expected = torchvision_input(Image.fromarray(image), settings)
    np.testing.assert_allclose(preprocess(image, settings), expected, rtol=0, atol=1e-6)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 80), st.integers(0, 255))
def test_a_flat_image_stays_flat_and_nothing_changes_where_the_size_stays(h: int, w: int, side: int, grey: int) -> None:
    flat = preprocess(np.full((h, w, 3), grey, np.uint8), Preprocessing(resize_px=side, crop_px=None))
    assert flat.shape == (3, side, side)
    np.testing.assert_allclose(flat, grey / 255, rtol=1e-6)
    image = random_image(side, side)
    same = preprocess(image, Preprocessing(resize_px=side, crop_px=side))
    np.testing.assert_array_equal(np.rint(same.transpose(1, 2, 0) * 255), image)


def test_preprocess_leaves_its_input_alone() -> None:
    image = random_image(8, 9)
    before = image.copy()
    preprocess(image, Preprocessing(resize_px=None, crop_px=None))[:] = 7
    np.testing.assert_array_equal(image, before)


def test_an_image_below_the_crop_is_refused() -> None:
    message = (
        r"^the image has 300 x 200 pixels, fewer than crop_px = 224 on a side; set resize_px or a smaller crop_px$"
    )
    with pytest.raises(ImageError, match=message):
        preprocess(random_image(200, 300), Preprocessing(resize_px=None, crop_px=224))


def test_preprocessing_survives_json() -> None:
    settings = Preprocessing(resize_px=256, crop_px=224, mean=MEAN, std=STD)
    assert Preprocessing.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert Preprocessing.from_dict(json.loads('{"resize_px": null, "crop_px": null, "mean": [0,0,0], "std": [1,1,1]}'))
    assert settings.output_px == 224
    assert Preprocessing(resize_px=64, crop_px=None).output_px == 64
    assert Preprocessing(resize_px=None, crop_px=None).output_px is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resize_px": 0}, r"preprocessing\.resize_px is 0, not a whole number above 0"),
        ({"crop_px": -4}, r"preprocessing\.crop_px is -4, not a whole number"),
        ({"resize_px": 64.0}, r"preprocessing\.resize_px is 64\.0, not a whole number"),
        ({"resize_px": True}, r"preprocessing\.resize_px is True, not a whole number"),
        ({"crop_px": "224"}, r"preprocessing\.crop_px is '224', not a whole number"),
        ({"crop_px": 257}, r"preprocessing\.crop_px is 257, above resize_px = 256; lower it to 256 or less"),
        ({"mean": [0.5, 0.5]}, r"preprocessing\.mean is \[0\.5, 0\.5\], not three finite numbers"),
        ({"mean": 0.5}, r"preprocessing\.mean is 0\.5, not three"),
        ({"mean": [0, 0, float("nan")]}, r"preprocessing\.mean is .*nan.*, not three finite"),
        ({"std": [1, 1, float("inf")]}, r"preprocessing\.std is .*inf.*, not three finite"),
        ({"std": [1, "1", 1]}, r"preprocessing\.std is \[1, '1', 1\], not three finite"),
        ({"std": [1, 0, 1]}, r"preprocessing\.std is \(1\.0, 0\.0, 1\.0\), not above 0 everywhere; try"),
        ({"resize": 3}, r"the unknown keys \['resize'\] and lacks the keys \[\]; give exactly \['crop_px', 'mean'"),
    ],
)
def test_preprocessing_refuses_what_is_not_allowed(change: dict[str, object], message: str) -> None:
    values = Preprocessing(resize_px=256, crop_px=224).to_dict() | change
    with pytest.raises(ConfigError, match=message):
        Preprocessing.from_dict(values)


def test_preprocessing_refuses_missing_keys() -> None:
    with pytest.raises(ConfigError, match=r"lacks the keys \['crop_px', 'mean', 'std'\]"):
        Preprocessing.from_dict({"resize_px": 64})


# ---------------------------------------------------------------- resize weights


def test_resize_weights_by_hand() -> None:
    """4 -> 2: support 2, centres 1 and 3; the triangle gives 3/4, 3/4, 1/4 at pixels 0, 1, 2, of sum 7/4."""
    index, weight = resize_weights(4, 2)
    one = 1 << 22
    assert index.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert weight.T.tolist() == [[round(one * n / 7) for n in (3, 3, 1)], [round(one * n / 7) for n in (1, 3, 3)]]
    assert [part.tolist() for part in resize_weights(2, 1)] == [[[0], [1]], [[one // 2], [one // 2]]]
    assert [part.tolist() for part in resize_weights(1, 2)] == [[[0, 0]], [[one, one]]]


ONE_WAY = [
    (300, 256),
    (256, 224),
    (300, 64),
    (37, 91),
    (91, 37),
    (450, 300),
    (600, 224),
    (1, 5),
    (5, 1),
    (7, 7),
    (2, 1000),
]


@pytest.mark.parametrize(("in_px", "out_px"), ONE_WAY)
def test_integer_resize_is_pillow_bit_by_bit(in_px: int, out_px: int) -> None:
    for height, width, to in ((in_px, 40, (out_px, 40)), (40, in_px, (40, out_px)), (in_px, in_px, (out_px, out_px))):
        image = random_image(height, width)
        pillow = Image.fromarray(image).resize(to[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(integer_resize(image, *to), np.asarray(pillow))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 200), st.integers(1, 150))
def test_integer_resize_of_square_images_is_preprocess_bit_by_bit(size: int, side: int) -> None:
    image = random_image(size, size)
    out = preprocess(image, Preprocessing(resize_px=side, crop_px=None))
    np.testing.assert_array_equal(integer_resize(image, side, side), np.rint(out.transpose(1, 2, 0) * 255))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(1, 500), st.integers(1, 500))
def test_resize_weights_are_shares_of_pixels_inside(in_px: int, out_px: int) -> None:
    index, weight = resize_weights(in_px, out_px)
    assert index.min() >= 0
    assert index.max() < in_px
    assert weight.min() >= 0
    assert np.abs(weight.sum(0) - (1 << 22)).max() <= len(weight)  # each tap rounds by half a unit at most
    assert 255 * weight.sum(0, dtype=np.int64).max() + (1 << 21) < 1 << 31


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (-1, 3)])
def test_resize_weights_refuses_sizes_below_one(sizes: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"cannot resize .* pixels; both must be 1 or more"):
        resize_weights(*sizes)

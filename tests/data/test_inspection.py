"""Files inspected: every kind of finding on files made here, every bad file of the corpus, and any bytes at all."""

import hashlib
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lentigo.data.inspection import (
    BLANK_STD,
    KINDS,
    FileFacts,
    FileFinding,
    blank_images,
    file_findings,
    inspect_files,
)
from lentigo.data.pack import pack_images, pack_readable
from lentigo.data.table import ImageRow, ImageTable, read_table
from lentigo.errors import DataError, ImageError
from lentigo.imaging import read_image
from tests.corpus import bad_files, encode, good_files, png, whole_files

NOISE = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
SIZE = (100, 80)  # width, height


def lesion(width: int = SIZE[0], height: int = SIZE[1]) -> Image.Image:
    return Image.fromarray(NOISE[:height, :width])


def table_of(root: Path, files: dict[str, bytes]) -> ImageTable:
    """A table of these files as they are, every second one malignant."""
    rows = []
    for number, (name, data) in enumerate(files.items()):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        rows.append(ImageRow(id=name, path=root / name, label=number % 2))
    return ImageTable(root=root, rows=tuple(rows))


def usual(count: int) -> dict[str, bytes]:
    return {f"usual_{number:02}.jpg": encode(lesion(), "JPEG") for number in range(count)}


def findings_of(table: ImageTable, cache: Path) -> tuple[FileFinding, ...]:
    readable = pack_readable(table, image_px=32, cache=cache)
    return file_findings(table, inspect_files(table), readable.failures, blank_images(readable.pack))


def said(root: Path, name: str, data: bytes) -> list[tuple[str, str]]:
    """Kind and message of what is found about one file among twelve that nothing is wrong with."""
    table = table_of(root / "data", usual(12) | {name: data})
    found = findings_of(table, root / "cache")
    assert {finding.id for finding in found} <= {name}
    return [(finding.kind, finding.message) for finding in found]


# ---------------------------------------------------------------- facts


def test_facts_of_a_jpeg(tmp_path: Path) -> None:
    data = encode(lesion(), "JPEG", qtables=[list(range(1, 65)), list(range(65, 129))])
    table = table_of(tmp_path, {"a/lesion.jpg": data})
    assert inspect_files(table) == (
        FileFacts(
            id="a/lesion.jpg",
            bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            width=100,
            height=80,
            format="JPEG",
            mode="RGB",
            orientation=1,
            has_exif=False,
            quantisation=tuple(range(1, 129)),
            problem="",
        ),
    )


def test_facts_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    (fact,) = inspect_files(table_of(tmp_path, {"turned.jpg": encode(lesion(), "JPEG", exif=exif)}))
    assert (fact.width, fact.height, fact.orientation, fact.has_exif) == (80, 100, 6, True)


def test_facts_agree_with_the_pixels_of_every_good_file(tmp_path: Path) -> None:
    files = {f"{file.name}.bin": file.data for file in good_files()}
    facts = inspect_files(table_of(tmp_path, files))
    assert [fact.id for fact in facts] == list(files)
    for file, fact in zip(good_files(), facts, strict=True):
        assert (fact.height, fact.width) == file.pixels.shape[:2], file.name
        assert (fact.bytes, fact.problem) == (len(file.data), ""), file.name
        assert fact.format in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
        assert fact.mode != ""


def test_every_bad_file_of_the_corpus_gives_one_finding(tmp_path: Path) -> None:
    bad = bad_files()
    table = table_of(tmp_path / "data", {f"{n:03}.jpg": file.data for n, file in enumerate(bad)} | usual(2))
    found = findings_of(table, tmp_path / "cache")
    assert [(finding.id, finding.kind) for finding in found] == [(f"{n:03}.jpg", "unreadable") for n in range(len(bad))]
    for file, finding in zip(bad, found, strict=True):
        assert re.search(file.message, f"{finding.id} {finding.message}"), (file.name, finding.message)
        assert str(tmp_path) not in finding.message


def test_what_is_no_file_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [
        "missing.jpg",
        "folder.jpg",
        "empty.jpg",
        "pipe.jpg",
        f"{'x' * 300}.jpg",
        "huge.jpg",
        "locked.jpg",
        "good.jpg",
    ]
    table = ImageTable(root=tmp_path, rows=tuple(ImageRow(id=n, path=tmp_path / n, label=0) for n in names))
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(51_000_000)
    for name in ("locked.jpg", "good.jpg"):
        lesion().save(tmp_path / name)
    opened = Path.open

    def open_or_refuse(path: Path, *args: object) -> object:  # a test may run as root, whom no mode stops
        if path.name == "locked.jpg":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", open_or_refuse)
    facts = inspect_files(table)
    words = ["does not exist", "is a folder", r"is empty \(0 bytes\)", "is a device or pipe", "File name too long"]
    for fact, word in zip(facts, [*words, "has 51.0 MB, the limit is 50 MB", "Permission denied", "^$"], strict=True):
        assert re.search(word, fact.problem), fact
    assert [fact.bytes for fact in facts[:6]] == [0, 0, 0, 0, 0, 51_000_000]
    assert [bool(fact.sha256) for fact in facts] == [False] * 7 + [True]
    good = (facts[-1].width, facts[-1].height, facts[-1].format)
    assert ([(f.width, f.height, f.format) for f in facts[:7]], good) == ([(0, 0, "")] * 7, (100, 80, "JPEG"))
    found = file_findings(table, facts, {}, names[:-1])  # whatever else is said of them
    assert {(finding.id, finding.kind) for finding in found} == {(name, "unreadable") for name in names[:-1]}


def test_progress_counts_every_file(tmp_path: Path) -> None:
    table = table_of(tmp_path, {f"{number}.jpg": b"no image" for number in range(300)})
    done: list[int] = []
    assert len(inspect_files(table, progress=done.append)) == 300
    assert done == [256, 44]


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 40)), min_size=5, max_size=5))
def test_mutated_files_are_facts_or_findings(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[float, bytes, int]]
) -> None:
    """What a table of damaged files is said to be unreadable is what `read_image` refuses."""
    files = {}
    for name, (place, inserted, removed) in zip(("jpeg", "png", "bmp", "tiff", "webp lossless"), edits, strict=True):
        data = whole_files()[name]
        start = int(place * len(data))
        files[f"{name}.jpg"] = data[:start] + inserted + data[start + removed :]
    root = tmp_path_factory.mktemp("mutated")
    table = table_of(root / "data", files | usual(1))
    found = findings_of(table, root / "cache")
    unreadable = {finding.id for finding in found if finding.kind == "unreadable"}
    for row in table.rows:
        if row.id in unreadable:
            with pytest.raises(ImageError, match=re.escape(str(row.path))):
                read_image(row.path)
        else:
            assert read_image(row.path).size


# ---------------------------------------------------------------- findings, one kind after the other


def test_nothing_is_found_where_nothing_is_wrong(tmp_path: Path) -> None:
    assert findings_of(table_of(tmp_path / "data", usual(3)), tmp_path / "cache") == ()


def test_a_jpeg_cut_behind_its_header_is_unreadable(tmp_path: Path) -> None:
    data = encode(lesion(), "JPEG")
    name = "cut.jpg"
    cut = table_of(tmp_path / "alone", {name: data[: len(data) // 2]})
    assert inspect_files(cut)[0].problem == ""  # only decoding finds it
    ((kind, message),) = said(tmp_path, name, data[: len(data) // 2])
    assert kind == "unreadable"
    assert message.startswith("is a JPEG file whose pixels cannot be decoded (")
    assert message.endswith("); it is truncated or damaged, get it again or leave it out")


def test_a_png_called_jpg(tmp_path: Path) -> None:
    message = "is a PNG file, though its name ends in .jpg; rename it to end in .png"
    assert said(tmp_path, "x.JPG", encode(lesion(), "PNG")) == [("wrong_suffix", message)]


@pytest.mark.parametrize(
    ("name", "kind", "wrong"),
    [
        ("x.jpeg", "JPEG", False),
        ("x.jfif", "JPEG", False),
        ("x.tif", "TIFF", False),
        ("x.webp", "WEBP", False),
        ("x.bmp", "BMP", False),
        ("x", "PNG", False),  # a name that claims nothing
        ("ISIC.0012345", "PNG", False),
        ("x.png", "JPEG", True),
        ("x.tiff", "WEBP", True),
        ("x.dcm", "JPEG", True),
        ("x.gif", "PNG", True),
    ],
)
def test_suffixes(tmp_path: Path, name: str, kind: str, wrong: bool) -> None:
    assert [found for found, _ in said(tmp_path, name, encode(lesion(), kind))] == ["wrong_suffix"] * wrong


def test_a_phone_jpeg_with_more_pictures_behind_is_a_jpeg(tmp_path: Path) -> None:
    data = encode(lesion(), "MPO", save_all=True, append_images=[lesion()])
    assert said(tmp_path, "x.jpg", data) == []


def test_embedded_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    ((kind, message),) = said(tmp_path, "x.jpg", encode(lesion(*SIZE[::-1]), "JPEG", exif=exif))
    assert kind == "orientation"
    assert message.startswith("has EXIF orientation 6; ")
    exif[274] = 1
    assert said(tmp_path, "x.jpg", encode(lesion(), "JPEG", exif=exif)) == []


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (encode(lesion().convert("CMYK"), "TIFF"), "CMYK, the inks of a printer"),
        (encode(lesion().convert("CMYK"), "JPEG"), "CMYK, the inks of a printer"),
        (encode(lesion().convert("L"), "JPEG"), "grey"),
        (encode(lesion().convert("1"), "PNG"), "black and white"),
        (encode(lesion().convert("P"), "PNG"), "a palette of at most 256 colours"),
        (encode(lesion().convert("LA"), "PNG"), "grey with transparency"),
        (encode(lesion().convert("RGBA"), "PNG"), "RGB with transparency"),
        (encode(Image.fromarray(NOISE[:80, :100, 0].astype(np.uint16) * 257), "PNG"), "grey with more than 8 bits"),
        (png(16, 2, NOISE[:80, :100].astype(">u2") * 257), "RGB with 16 bits a channel"),
        (encode(lesion().convert("YCbCr"), "TIFF"), "Pillow's mode YCbCr"),
    ],
)
def test_modes(tmp_path: Path, data: bytes, mode: str) -> None:
    ((kind, message),) = said(tmp_path, "no suffix", data)
    assert kind == "odd_mode"
    assert message.startswith(f"is stored as {mode}, not as RGB with 8 bits a channel; ")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((63, 64), "has 63 x 64 pixels, fewer than 64 on a side"),
        ((64, 193), "has 64 x 193 pixels, one side 3.0 times the other"),
        ((400, 100), "has 400 x 100 pixels, one side 4.0 times the other"),
        ((101, 80), "has 101 x 80 pixels, where 12 of 13 files have 100 x 80; check where it is from"),
        ((64, 64), "has 64 x 64 pixels, where 12 of 13 files have 100 x 80"),
    ],
)
def test_sizes(tmp_path: Path, size: tuple[int, int], message: str) -> None:
    ((kind, found),) = said(tmp_path, "x.jpg", encode(lesion(*size), "JPEG"))
    assert kind == "odd_size"
    assert found.startswith(message)


def test_portrait_and_landscape_are_one_size(tmp_path: Path) -> None:
    assert said(tmp_path, "x.jpg", encode(lesion(80, 100), "JPEG")) == []


def fact_of(number: int, width: int, height: int, **other: object) -> FileFacts:
    values: dict[str, object] = {
        "bytes": 1, "sha256": "", "format": "JPEG", "mode": "RGB", "orientation": 1, "has_exif": False,
        "quantisation": (),
    }  # fmt: skip
    return FileFacts(id=f"{number:02}", width=width, height=height, **(values | other))  # type: ignore[arg-type]


def odd_sizes(sizes: list[tuple[int, int]]) -> list[int]:
    """Positions of the files of these sizes that are called odd."""
    facts = [fact_of(number, *size) for number, size in enumerate(sizes)]
    rows = tuple(ImageRow(id=fact.id, path=Path(fact.id), label=0) for fact in facts)
    found = file_findings(ImageTable(root=Path(), rows=rows), facts, {}, ())
    assert {finding.kind for finding in found} <= {"odd_size"}
    return [int(finding.id) for finding in found]


def test_a_size_is_usual_from_nine_in_ten() -> None:
    assert odd_sizes([(300, 300)] * 9 + [(300, 310)]) == [9]
    assert odd_sizes([(300, 300)] * 8 + [(300, 310)] * 2) == []  # 0.8 have one size, and all about one aspect
    assert odd_sizes([(300, 300)] * 8 + [(400, 300)] * 2) == []


def test_an_aspect_is_usual_where_no_size_is() -> None:
    four_by_three = [(400 + 40 * step, 300 + 30 * step) for step in range(18)]
    assert odd_sizes([*four_by_three, (500, 500), (810, 600)]) == [18]  # 810 / 600 is within 5 % of 4 / 3
    assert odd_sizes([*four_by_three, (500, 500), (700, 700)]) == [18, 19]
    assert odd_sizes([*four_by_three, (500, 500), (600, 400), (700, 700)]) == []  # 18 of 21 are not nine in ten


def test_any_sizes_are_allowed_where_all_differ() -> None:
    assert odd_sizes([(100 + 20 * step, 100 + step) for step in range(10)]) == []


def test_unreadable_files_have_no_say_in_what_is_usual() -> None:
    facts = [fact_of(number, 0, 0, problem="broken") for number in range(30)]
    facts += [fact_of(30 + number, 300, 300) for number in range(9)] + [fact_of(39, 300, 200)]
    rows = tuple(ImageRow(id=fact.id, path=Path(fact.id), label=0) for fact in facts)
    found = file_findings(ImageTable(root=Path(), rows=rows), facts, {}, ())
    assert [finding.id for finding in found if finding.kind == "odd_size"] == ["39"]


@pytest.mark.parametrize("colour", ["black", "white", (200, 10, 90)])
def test_blank_images(tmp_path: Path, colour: str | tuple[int, int, int]) -> None:
    found = said(tmp_path, "x.jpg", encode(Image.new("RGB", SIZE, colour), "JPEG"))
    assert found == [("blank", "is blank: its pixels have nearly one colour; get it again, or leave it out")]


def test_blank_means_a_spread_below_the_threshold_in_every_channel(tmp_path: Path) -> None:
    """Two greys in equal parts, d apart, have a standard deviation of d / 2."""
    files = {}
    for apart in (4, 5, 6, 7):
        for channel in range(3):
            pixels = np.full((64, 64, 3), 90, np.uint8)
            pixels[:32, :, channel] += apart
            files[f"{apart} {channel}.png"] = encode(Image.fromarray(pixels), "PNG")
    left_and_right = np.zeros((64, 64, 3), np.uint8)
    left_and_right[:, 32:] = 255
    files["flat rows.png"] = encode(Image.fromarray(left_and_right.swapaxes(0, 1)), "PNG")
    files["flat columns.png"] = encode(Image.fromarray(left_and_right), "PNG")
    pack = pack_images(table_of(tmp_path / "data", files), image_px=64, cache=tmp_path / "cache")
    assert BLANK_STD == 3.0
    assert blank_images(pack) == tuple(f"{apart} {channel}.png" for apart in (4, 5) for channel in range(3))


def test_blank_images_of_a_pack_in_several_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lentigo.data.inspection._PIECE_BYTES", 3 * 3 * 200**2)  # three images
    files = {f"{n}.png": encode(Image.new("RGB", (80, 80)) if n in (0, 5, 7) else lesion(), "PNG") for n in range(8)}
    pack = pack_images(table_of(tmp_path / "data", files), image_px=200, cache=tmp_path / "cache")
    done: list[int] = []
    assert blank_images(pack, progress=done.append) == ("0.png", "5.png", "7.png")
    assert done == [3, 3, 2]


def test_a_damaged_pack_is_an_error(tmp_path: Path) -> None:
    pack = pack_images(table_of(tmp_path / "data", usual(3)), image_px=32, cache=tmp_path / "cache")
    path = pack.folder / "images.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"is damaged: image usual_02\.jpg has another checksum"):
        blank_images(pack)


def test_findings_are_sorted_and_one_for_each_file_and_kind(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 3
    everything = encode(Image.new("L", (40, 30)), "PNG", exif=exif)
    files = {"z.jpg": everything, **usual(8), "a.jpg": b"text", "b.jpg": everything}
    found = findings_of(table_of(tmp_path / "data", files), tmp_path / "cache")
    kinds = ["blank", "odd_mode", "odd_size", "orientation", "wrong_suffix"]
    expected = [("a.jpg", "unreadable"), *(("b.jpg", kind) for kind in kinds), *(("z.jpg", kind) for kind in kinds)]
    assert [(finding.id, finding.kind) for finding in found] == expected
    assert set(KINDS) == {kind for _, kind in expected}


def test_findings_refuse_another_tables_facts(tmp_path: Path) -> None:
    table = table_of(tmp_path, usual(3))
    facts = inspect_files(table)
    for wrong in (
        lambda: file_findings(table, facts[:2], {}, ()),
        lambda: file_findings(table, facts[::-1], {}, ()),
        lambda: file_findings(table, facts, {"x.jpg": "x.jpg is broken"}, ()),
        lambda: file_findings(table, facts, {}, ("x.jpg",)),
    ):
        with pytest.raises(DataError, match=r"are not of the table of .*; make them again of it$"):
            wrong()


def test_mixed_good_and_bad_files(tmp_path: Path) -> None:
    """Every good file of the corpus, every bad one: what is unreadable is what is bad."""
    files = {f"good {file.name}": file.data for file in good_files()} | {f"bad {f.name}": f.data for f in bad_files()}
    names = {name: name.replace("/", "_") for name in files}
    table = table_of(tmp_path / "data", {names[name]: data for name, data in files.items()})
    counts = Counter(finding.id for finding in findings_of(table, tmp_path / "cache") if finding.kind == "unreadable")
    assert counts == {name: 1 for name in names.values() if name.startswith("bad ")}


# ---------------------------------------------------------------- the real images


@pytest.mark.real
def test_real_files_are_clean_and_hold_22_byte_identical_pairs(real_data: Path) -> None:
    table = read_table(real_data / "kaggle10605")
    facts = inspect_files(table)
    assert {(f.width, f.height, f.format, f.mode, f.has_exif) for f in facts} == {(300, 300, "JPEG", "RGB", False)}
    assert len({fact.quantisation for fact in facts}) == 1
    assert sorted(Counter(fact.sha256 for fact in facts).values())[-23:] == [1] + [2] * 22
    assert file_findings(table, facts, {}, ()) == ()

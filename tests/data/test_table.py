"""The image table: what is read from folders and CSV files, and every refusal. The files need not be images."""

import csv
import os
import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lentigo.data.table import COLUMNS, IMAGE_SUFFIXES, ImageRow, ImageTable, label_of, read_table
from lentigo.errors import DataError

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def make_files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def make_csv(root: Path, text: str, *images: str) -> Path:
    make_files(root, *images)
    (root / "table.csv").write_text(text, encoding="utf-8")
    return root / "table.csv"


def seen(table: ImageTable) -> list[tuple[str, int, str]]:
    return [(row.id, row.label, row.split) for row in table.rows]


# ---------------------------------------------------------------- folders


def test_class_folders(tmp_path: Path) -> None:
    make_files(tmp_path, "malignant/a.jpg", "benign/b.PNG", "benign/deep/er/c.tiff", "benign/notes.txt")
    table = read_table(tmp_path)
    assert seen(table) == [("benign/b.PNG", 0, ""), ("benign/deep/er/c.tiff", 0, ""), ("malignant/a.jpg", 1, "")]
    assert [row.path for row in table.rows] == [tmp_path / name for name in table.ids]
    assert (table.root, table.ignored, len(table)) == (tmp_path, ("benign/notes.txt",), 3)
    assert table.labels.dtype == np.int64
    assert table.labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        ("train", "train"), ("TRAIN", "train"), ("Training", "train"), ("val", "validation"),
        ("Validation", "validation"), ("valid", "validation"), ("test", "test"), ("Test_v2", "test"),
        ("testing", "test"),
    ],
)  # fmt: skip
def test_part_folders_in_any_letter_case(tmp_path: Path, folder: str, part: str) -> None:
    make_files(tmp_path, f"{folder}/Benign/a.jpg", f"{folder}/MALIGNANT/b.jpg")
    assert seen(read_table(tmp_path)) == [(f"{folder}/Benign/a.jpg", 0, part), (f"{folder}/MALIGNANT/b.jpg", 1, part)]


def test_ids_stay_apart_where_names_repeat(tmp_path: Path) -> None:
    names = [f"{part}/{label}/1.jpg" for part in ("train", "test") for label in ("benign", "malignant")]
    assert read_table(make_files(tmp_path, *names)).ids == sorted(names)


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_image_suffix_in_either_case(tmp_path: Path, suffix: str) -> None:
    make_files(tmp_path, f"benign/a{suffix}", f"malignant/b{suffix.upper()}")
    assert len(read_table(tmp_path)) == 2


def test_hidden_files_and_masks_are_no_images(tmp_path: Path) -> None:
    make_files(
        tmp_path, "benign/a.jpg", "malignant/b.jpg", "masks/a.png", ".cache/x.jpg", "__MACOSX/benign/._a.jpg",
        "benign/.ipynb_checkpoints/a-checkpoint.jpg", "benign/._a.jpg", "malignant/Masks/b.png", "benign/.DS_Store",
    )  # fmt: skip
    table = read_table(tmp_path)
    assert (table.ids, table.ignored) == (["benign/a.jpg", "malignant/b.jpg"], ())


def test_other_class_names_with_positive(tmp_path: Path) -> None:
    make_files(tmp_path, "Melanoma/a.jpg", "nevus/b.jpg", "wart/c.jpg")
    rows = [("Melanoma/a.jpg", 1, ""), ("nevus/b.jpg", 0, ""), ("wart/c.jpg", 0, "")]
    assert seen(read_table(tmp_path, positive=["melanoma"])) == rows


# ---------------------------------------------------------------- CSV


def test_csv_with_every_column(tmp_path: Path) -> None:
    path = make_csv(
        tmp_path,
        "image,label,split,source,patient,lesion,age,sex,site,diagnosis,skin_tone,mask,other\n"
        "i/b.jpg,malignant,Training,isic,p1,l1,45.0,male,back,mel,3,m/b.png,x\n"
        "i/a.jpg,benign,,,,,,,,,,,\n",
        "i/a.jpg", "i/b.jpg", "m/b.png",
    )  # fmt: skip
    assert read_table(path).rows == (
        ImageRow(id="i/a.jpg", path=tmp_path / "i/a.jpg", label=0),
        ImageRow(
            id="i/b.jpg", path=tmp_path / "i/b.jpg", label=1, split="train", source="isic", patient="p1", lesion="l1",
            age="45.0", sex="male", site="back", diagnosis="mel", skin_tone="3", mask=str(tmp_path / "m/b.png"),
        ),
    )  # fmt: skip


def test_metadata_csv_stands_before_folders(tmp_path: Path) -> None:
    make_files(tmp_path, "benign/a.jpg", "malignant/b.jpg", "malignant/c.jpg")
    (tmp_path / "metadata.csv").write_text("image,label\nbenign/a.jpg,0\nmalignant/c.jpg,1\n")
    assert read_table(tmp_path).ids == ["benign/a.jpg", "malignant/c.jpg"]


@pytest.mark.parametrize("column", COLUMNS)
def test_every_spelling_of_a_column(tmp_path: Path, column: str) -> None:
    cells = {"image": ("a.jpg", "b.jpg"), "label": ("0", "1")}
    if column not in cells:
        cells[column] = ("", {"split": "test", "mask": "b.jpg"}.get(column, "x"))
    for spelling in COLUMNS[column]:
        header = [spelling.upper() if name == column else name for name in cells]
        lines = [",".join(line) for line in (header, *zip(*cells.values(), strict=True))]
        table = read_table(make_csv(tmp_path, "\n".join(lines), "a.jpg", "b.jpg"))
        assert (table.ids, table.labels.tolist()) == (["a.jpg", "b.jpg"], [0, 1])
        if column not in ("image", "label"):
            assert table.column(column) == ["", str(tmp_path / "b.jpg") if column == "mask" else cells[column][1]]


def test_a_name_without_suffix_finds_its_file(tmp_path: Path) -> None:
    path = make_csv(
        tmp_path, "isic_id,target\nISIC_1,0\nISIC_2,1\nsub/3.x,1\n", "ISIC_1.jpg", "ISIC_2.JPG", "sub/3.x.png"
    )
    assert read_table(path).ids == ["ISIC_1.jpg", "ISIC_2.JPG", "sub/3.x.png"]


def test_images_outside_the_folder_of_the_csv(tmp_path: Path) -> None:
    make_files(tmp_path, "images/a.jpg", "images/b.jpg")
    (tmp_path / "tables").mkdir()
    path = make_csv(tmp_path / "tables", f"image,label\n../images/a.jpg,0\n{tmp_path}/images/b.jpg,1\n")
    assert read_table(path).ids == ["../images/a.jpg", "../images/b.jpg"]


@pytest.mark.parametrize(
    ("spelling", "label"),
    [
        ("benign", 0), ("Benign", 0), (" BENIGN ", 0), ("0", 0), ("0.0", 0), ("false", 0), ("b", 0),
        ("non-malignant", 0), ("malignant", 1), ("Malignant", 1), ("1", 1), ("1.0", 1), ("TRUE", 1), ("m", 1),
        ("", None), ("2", None), ("-1", None), ("nevus", None), ("melanoma", None), ("indeterminate", None),
    ],
)  # fmt: skip
def test_label_of(spelling: str, label: int | None) -> None:
    assert label_of(spelling) == label


def test_label_of_with_positive() -> None:
    assert [label_of(name, positive=["Melanoma", "bcc"]) for name in ("melanoma ", "BCC", "nevus", "1", "")] == [
        1, 1, 0, 0, None,
    ]  # fmt: skip


@relaxed
@given(order=st.permutations(range(12)))
def test_order_of_the_lines_changes_nothing(tmp_path_factory: pytest.TempPathFactory, order: list[int]) -> None:
    root = tmp_path_factory.getbasetemp() / "order"
    names = [f"{label}/{number}.jpg" for label in ("benign", "malignant") for number in range(6)]
    make_files(root, *names)
    lines = [f"{name},{name.split('/')[0]},p{number % 5}" for number, name in enumerate(names)]
    path = make_csv(root, "\n".join(["image,label,patient", *(lines[index] for index in order)]) + "\n")
    table = read_table(path)
    assert table.ids == sorted(names)
    assert dict(zip(table.ids, table.column("patient"), strict=True)) == {
        name: f"p{number % 5}" for number, name in enumerate(names)
    }


def test_folders_and_csv_give_the_same_table(tmp_path: Path) -> None:
    names = [f"{part}/{label}/{number}.jpg" for part in ("train", "test") for label in ("benign", "malignant")
             for number in range(3)]  # fmt: skip
    folders = read_table(make_files(tmp_path, *names))
    random.Random(0).shuffle(names)
    lines = [f"{name},{name.split('/')[1]},{name.split('/')[0]}" for name in names]
    assert read_table(make_csv(tmp_path, "\n".join(["image,label,split", *lines]))) == folders


# ---------------------------------------------------------------- the table


def test_column_and_subset(tmp_path: Path) -> None:
    table = read_table(make_files(tmp_path, "train/benign/a.jpg", "train/malignant/b.jpg", "test/benign/c.jpg"))
    assert table.column("split") == ["test", "train", "train"]
    assert table.subset([2, 0]).ids == ["train/malignant/b.jpg", "test/benign/c.jpg"]
    with pytest.raises(
        DataError, match=r"^no column 'colour' in an image table; it has id, path, label, split, source, "
    ):
        table.column("colour")


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            [],
            " holds no images; give a folder with benign/ and malignant/ (also under train/ and test/), or a CSV with ",
        ),
        (["benign/a.jpg"], " holds 1 images, all benign; both benign and malignant images are needed"),
        (["benign/a.jpg", "malignant/b.txt"], "/malignant holds no image; put images (.jpg .jpeg "),
        (
            ["benign/a.jpg", "nevus/b.jpg"],
            ": folder: the label 'nevus' is unknown; allowed are benign/malignant or 0/1, or name the malignant ones "
            "with --positive, for instance --positive melanoma",
        ),
        (
            ["a.jpg", "b.jpg"],
            " holds 2 images outside the class folders, first a.jpg; move them into benign/ and malignant/ or out of "
            "the data, or name them in a CSV with image and label columns",
        ),
        (["benign/a.jpg", "malignant/b.jpg", "c.jpg"], " holds 1 images outside the class folders, first c.jpg; "),
        (["train/benign/a.jpg", "train/c.jpg"], "/train holds 1 images outside the class folders, first c.jpg; "),
        (
            ["train/benign/a.jpg", "train/malignant/b.jpg", "test/notes.txt"],
            "/test is empty; put benign/ and malignant/ into it or delete it",
        ),
        (
            [
                "train/benign/a.jpg",
                "train/malignant/b.jpg",
                "test/benign/a.jpg",
                "malignant/x/b.jpg",
                "malignant/c.jpg",
            ],
            "/malignant holds 2 images, first c.jpg, beside test and train; move it into one of these folders or out ",
        ),
        (
            ["benign/a.jpg", "malignant/a\nb.jpg", "malignant/ok.jpg"],
            " holds 1 images whose name has a line break, another control character, bytes that are not UTF-8, or a "
            "space at its start or end, first 'malignant/a\\nb.jpg'; rename them",
        ),
    ],
)
def test_folders_refused(tmp_path: Path, files: list[str], message: str) -> None:
    make_files(tmp_path, *files)
    with pytest.raises(DataError, match="^" + re.escape(f"{tmp_path}{message}")):
        read_table(tmp_path)


def test_a_name_in_latin_1_is_refused(tmp_path: Path) -> None:
    make_files(tmp_path, "benign/a.jpg", "malignant/b.jpg")
    try:
        (tmp_path / "malignant" / os.fsdecode(b"n\xe6vus.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(DataError, match=re.escape(r"first 'malignant/n\udce6vus.jpg'; rename them")):
        read_table(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\n", " has a header but no image; one line per image is needed"),
        (
            "picture,label\na.jpg,0\n",
            " has no image column, only picture, label; name one of them image or image_path or ",
        ),
        ("image;label\na.jpg;0\n", " has no image column, only image;label; name one of them "),
        (
            "image,truth\na.jpg,0\n",
            " has no label column, only image, truth; name one of them label or target or class ",
        ),
        ("image,label\na.jpg,0\n\n,1\n", " line 4 names no image; fill the cell or delete the line"),
        (
            "image,label\nc.jpg,0\n",
            " line 2: the image c.jpg does not exist under {}; correct the path or delete the ",
        ),
        ("image,label\nc,0\n", " line 2: the image c does not exist under "),
        ("image,label\n/,0\n", " line 2: the image / does not exist under "),
        (
            "image,label\na.jpg,0\nb.jpg,2\n",
            " line 3: the label '2' is unknown; allowed are benign/malignant or 0/1, or ",
        ),
        ("image,label\na.jpg,\n", " line 2: the label '' is unknown; allowed are "),
        (
            "image,label,split\na.jpg,0,dev\n",
            " line 2: split is 'dev'; allowed are train, validation, test or nothing",
        ),
        (
            "image,label,mask\na.jpg,0,m.png\n",
            " line 2: the mask {}/m.png does not exist; correct the path or leave the cell empty",
        ),
        (
            "image,label\na.jpg,0\na.jpg,1\n",
            " names 1 files more than once, first {}/a.jpg; keep one row for each file",
        ),
        ("image,label\na.jpg,0\n./a,1\n", " names 1 files more than once, first {}/a.jpg; keep one row for each file"),
        (
            "image,label\na.jpg,1\nb.jpg,1\n",
            " holds 2 images, all malignant; both benign and malignant images are needed",
        ),
        ("", " is empty; a CSV with a header line is needed"),
    ],
)
def test_csv_refused(tmp_path: Path, text: str, message: str) -> None:
    path = make_csv(tmp_path, text, "a.jpg", "b.jpg")
    with pytest.raises(DataError, match="^" + re.escape(f"{path}{message.replace('{}', str(tmp_path.resolve()))}")):
        read_table(path)


def test_two_names_of_one_file_are_refused(tmp_path: Path) -> None:
    make_files(tmp_path, "benign/a.jpg", "malignant/b.jpg")
    (tmp_path / "malignant/same.jpg").symlink_to(tmp_path / "benign/a.jpg")
    with pytest.raises(DataError, match=r"names 1 files more than once, first .*/benign/a\.jpg; keep one row"):
        read_table(tmp_path)


@pytest.mark.parametrize("as_csv", [False, True])
def test_a_positive_name_that_no_image_has_is_refused(tmp_path: Path, as_csv: bool) -> None:
    """Otherwise a typing error would make cancers benign."""
    data = make_files(tmp_path, "melanoma/a.jpg", "nevus/b.jpg", "bcc/c.jpg")
    if as_csv:
        data = make_csv(tmp_path, "image,label\nmelanoma/a.jpg,melanoma\nnevus/b.jpg,nevus\nbcc/c.jpg,BCC\n")
    assert read_table(data, positive=["Melanoma", "bcc"]).labels.sum() == 2
    message = "has no label melanomaa and no label bbc; --positive takes some of bcc, melanoma, nevus"
    with pytest.raises(DataError, match="^" + re.escape(f"{data} {message}") + "$"):
        read_table(data, positive=["melanomaa", "bcc", "bbc"])


def test_a_missing_data_set_is_refused(tmp_path: Path) -> None:
    message = "does not exist; give a folder with benign/ and malignant/, or a CSV file"
    with pytest.raises(DataError, match="^" + re.escape(f"{tmp_path / 'x'} {message}") + "$"):
        read_table(tmp_path / "x")


def test_an_image_in_place_of_a_csv_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DataError, match=r"a\.jpg cannot be read as UTF-8 text \(.*\); save it as a UTF-8 CSV$"):
        read_table(tmp_path / "a.jpg")


def test_a_name_too_long_for_the_file_system_is_refused(tmp_path: Path) -> None:
    path = make_csv(tmp_path, f"image,label\n{'a' * 5000}.jpg,0\n")
    with pytest.raises(DataError, match=r"table\.csv cannot be read \(.*\); check its permissions and names$"):
        read_table(path)


# ---------------------------------------------------------------- images of one class


@pytest.mark.parametrize(("name", "label"), [("benign", 0), ("malignant", 1)])
@pytest.mark.parametrize("as_csv", [False, True])
def test_one_class_is_read_where_it_will_do(tmp_path: Path, name: str, label: int, as_csv: bool) -> None:
    data = make_files(tmp_path, f"{name}/a.jpg", f"{name}/b.jpg")
    if as_csv:
        data = make_csv(tmp_path, f"image,label\n{name}/a.jpg,{name}\n{name}/b.jpg,{label}\n")
    rows = [(f"{name}/a.jpg", label, ""), (f"{name}/b.jpg", label, "")]
    assert seen(read_table(data, one_class=True)) == rows
    with pytest.raises(DataError, match=f"holds 2 images, all {name}; both benign and malignant images are needed"):
        read_table(data)


def test_one_class_or_both_are_the_same_table(tmp_path: Path) -> None:
    make_files(tmp_path, "benign/a.jpg", "malignant/b.jpg")
    assert read_table(tmp_path, one_class=True) == read_table(tmp_path)


def test_one_class_excuses_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images"):
        read_table(tmp_path, one_class=True)
    twice = make_csv(tmp_path, "image,label\na.jpg,1\n./a.jpg,1\n", "a.jpg")
    with pytest.raises(DataError, match="names 1 files more than once"):
        read_table(twice, one_class=True)
    unknown = make_csv(tmp_path, "image,label\na.jpg,melanoma\n")
    with pytest.raises(DataError, match="the label 'melanoma' is unknown"):
        read_table(unknown, one_class=True)
    assert read_table(unknown, positive=["melanoma"], one_class=True).labels.tolist() == [1]


def test_one_class_may_lack_the_positive_label(tmp_path: Path) -> None:
    """As benign images of a data set do whose malignant ones are called melanoma."""
    nevi = make_csv(tmp_path, "image,label\na.jpg,nevus\nb.jpg,nevus\n", "a.jpg", "b.jpg")
    assert read_table(nevi, positive=["melanoma"], one_class=True).labels.tolist() == [0, 0]
    with pytest.raises(DataError, match="has no label melanoma; --positive takes some of nevus"):
        read_table(nevi, positive=["melanoma"])


# ---------------------------------------------------------------- real images


@pytest.mark.real
def test_the_papers_data_set(real_data: Path) -> None:
    table = read_table(real_data / "kaggle10605")
    assert np.bincount(table.labels).tolist() == [5500, 5105]
    parts = [(row.split, row.label) for row in table.rows]
    assert [parts.count((part, label)) for part in ("train", "test") for label in (0, 1)] == [5000, 4605, 500, 500]
    sources = table.column("source")
    assert {name: sources.count(name) for name in set(sources)}.keys() == {"isic2020", "ham10000", "isic2019_other"}
    assert sources.count("ham10000") == 1113
    assert sum(mask != "" for mask in table.column("mask")) == 1632


@pytest.mark.real
def test_folders_and_metadata_of_the_real_data_agree(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "kaggle10605"
    for part in ("train", "test"):
        (tmp_path / part).symlink_to(root / part)
    folders, metadata = read_table(tmp_path), read_table(root / "metadata.csv")
    assert seen(folders) == seen(metadata)


@pytest.mark.real
@pytest.mark.parametrize(("name", "counts"), [("ham10000", [1740, 841]), ("isic2017", [2229, 521])])
def test_the_other_data_sets(real_data: Path, name: str, counts: list[int]) -> None:
    assert np.bincount(read_table(real_data / name).labels).tolist() == counts
    with (real_data / name / "metadata.csv").open(newline="") as file:
        assert sum(1 for _ in csv.DictReader(file)) == sum(counts)

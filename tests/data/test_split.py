"""Splits: the paper's counts, whole groups, given folders, and the file that a person may edit."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lentigo.config import SplitConfig
from lentigo.data.split import ALLOWED, Split, groups_of, make_split, read_split
from lentigo.data.table import LABEL_NAMES, ImageRow, ImageTable, read_table
from lentigo.errors import DataError

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

PAPER = {"train": (4032, 3713), "validation": (468, 392), "test": (1000, 1000), "exclude": (0, 0)}
PROTOCOLS = ("stratified", "grouped", "folders")


def table_of(labels: list[int], **columns: list[str]) -> ImageTable:
    rows = [
        ImageRow(
            id=f"{index:05d}.jpg",
            path=Path("x"),
            label=label,
            **{name: cells[index] for name, cells in columns.items()},
        )
        for index, label in enumerate(labels)
    ]
    return ImageTable(root=Path("data"), rows=tuple(rows))


def config(protocol: str, **more: Any) -> SplitConfig:
    return SplitConfig(protocol=protocol, **more)


def counts(split: Split, table: ImageTable) -> dict[str, tuple[int, int]]:
    return {part: (of["benign"], of["malignant"]) for part, of in split.counts(table).items()}


@pytest.fixture(scope="module")
def paper_table() -> ImageTable:
    """10,605 rows; 1,113 of the malignant ones are photos of 600 lesions, as HAM10000's in the real data."""
    labels = np.random.default_rng(0).permutation([0] * 5500 + [1] * 5105).tolist()
    lesions = [""] * len(labels)
    ham = [index for index, label in enumerate(labels) if label][:1113]
    for number, index in enumerate(ham):
        lesions[index] = f"HAM_{number % 600}"
    return table_of(labels, lesion=lesions)


@pytest.fixture(scope="module")
def small() -> ImageTable:
    """100 benign and 60 malignant images in given folders, with 40 patients."""
    return table_of(
        [0] * 100 + [1] * 60,
        split=(["train"] * 4 + ["test"]) * 32,
        patient=[f"p{index % 40}" for index in range(160)],
    )


# ---------------------------------------------------------------- the paper's counts


@pytest.mark.parametrize("protocol", ["paper", "paper-grouped"])
@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_papers_counts_for_any_seed(paper_table: ImageTable, protocol: str, seed: int) -> None:
    assert counts(make_split(paper_table, config(protocol, seed=seed)), paper_table) == PAPER


def test_paper_split_changes_with_the_seed_and_nothing_else(paper_table: ImageTable) -> None:
    first, same, other = (make_split(paper_table, config("paper", seed=seed)) for seed in (0, 0, 1))
    assert first == same
    moved = sum(first.part[name] != other.part[name] for name in paper_table.ids)
    # Two independent draws agree where both train, validate or test: 0.730**2 + 0.081**2 + 0.189**2 = 0.576.
    assert moved / len(paper_table) == pytest.approx(1 - 0.576, abs=0.02)


def test_paper_grouped_keeps_lesions_together(paper_table: ImageTable) -> None:
    assert_no_group_is_cut(make_split(paper_table, config("paper-grouped")), paper_table, ["lesion"])
    cut = make_split(paper_table, config("paper"))
    with pytest.raises(AssertionError):  # so the check can fail
        assert_no_group_is_cut(cut, paper_table, ["lesion"])


@pytest.mark.parametrize("protocol", ["paper", "paper-grouped"])
def test_the_papers_protocols_need_the_papers_images(small: ImageTable, protocol: str) -> None:
    message = (
        "data holds 100 benign and 60 malignant images; the paper's protocols need its 5500 and 5105; "
        "use protocol stratified, grouped or folders"
    )
    with pytest.raises(DataError, match=f"^{message}$"):
        make_split(small, config(protocol))


# ---------------------------------------------------------------- fractions, folders


def test_stratified_by_hand(small: ImageTable) -> None:
    split = make_split(small, config("stratified", test_fraction=0.25, validation_fraction=0.2))
    # 25 % of 100 and of 60; of the 75 and 45 that are left, 20 %
    assert counts(split, small) == {"train": (60, 36), "validation": (15, 9), "test": (25, 15), "exclude": (0, 0)}


def test_folders_keeps_what_is_given(small: ImageTable) -> None:
    split = make_split(small, config("folders", validation_fraction=0.25))
    assert counts(split, small) == {"train": (60, 36), "validation": (20, 12), "test": (20, 12), "exclude": (0, 0)}
    for row in small.rows:
        assert split.part[row.id] in {"test": ("test",), "train": ("train", "validation")}[row.split]


def test_folders_keeps_a_given_validation_part() -> None:
    given_parts = ["train", "train", "validation", "validation", "test", "test"]
    table = table_of([0, 1] * 3, split=given_parts)
    assert list(make_split(table, config("folders")).part.values()) == given_parts


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        (["", "", ""], "3 in neither"),
        (["train", "train", "validation"], "2 in train, 1 in validation"),
        (["train", "test", ""], "1 in train, 1 in test, 1 in neither"),
    ],
)
def test_folders_needs_train_and_test(parts: list[str], found: str) -> None:
    message = f"data: protocol folders needs every image in train or test, found {found}; use protocol stratified"
    with pytest.raises(DataError, match=f"^{message}$"):
        make_split(table_of([0, 1, 1], split=parts), config("folders"))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", [0, 5])
def test_order_of_the_rows_changes_nothing(small: ImageTable, protocol: str, seed: int) -> None:
    shuffled = small.subset(np.random.default_rng(1).permutation(len(small)).tolist())
    assert make_split(shuffled, config(protocol, seed=seed)) == make_split(small, config(protocol, seed=seed))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpys_global_state_is_neither_read_nor_changed(small: ImageTable, protocol: str) -> None:
    np.random.seed(0)  # noqa: NPY002
    first = make_split(small, config(protocol))
    after = np.random.random()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    assert np.random.random() == after  # noqa: NPY002
    assert make_split(small, config(protocol)) == first


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_part_that_would_be_empty_is_refused(protocol: str) -> None:
    table = table_of([0] * 20 + [1] * 2, split=["train", "test"] * 11)
    message = (
        rf"^protocol {protocol}: the validation part has no malignant image \(\{{'benign': \d, 'malignant': 0\}}\); "
        "every part needs both classes: change the fractions or add images$"
    )
    with pytest.raises(DataError, match=message):
        make_split(table, config(protocol, test_fraction=0.5, validation_fraction=0.1))


@relaxed
@given(
    sizes=st.tuples(st.integers(8, 60), st.integers(8, 60)),
    fractions=st.tuples(st.floats(0.1, 0.6), st.floats(0.1, 0.6)),
    seed=st.integers(0, 2**63 - 1),
)
def test_stratified_is_within_half_an_image(sizes: tuple[int, int], fractions: tuple[float, float], seed: int) -> None:
    test_fraction, validation_fraction = fractions
    table = table_of([0] * sizes[0] + [1] * sizes[1])
    asked = config("stratified", seed=seed, test_fraction=test_fraction, validation_fraction=validation_fraction)
    found = split_or_skip(table, asked)
    for label, size in enumerate(sizes):
        in_test = counts(found, table)["test"][label]
        assert abs(in_test - test_fraction * size) <= 0.5
        assert abs(counts(found, table)["validation"][label] - validation_fraction * (size - in_test)) <= 0.5
    assert set(found.part) == set(table.ids)


def split_or_skip(table: ImageTable, asked: SplitConfig) -> Split:
    """The split; an example whose parts cannot all have both classes is none."""
    try:
        return make_split(table, asked)
    except DataError as error:
        assume("every part needs both classes" not in str(error))
        raise


# ---------------------------------------------------------------- groups


def assert_no_group_is_cut(split: Split, table: ImageTable, columns: list[str]) -> None:
    for column in columns:
        parts: dict[str, set[str]] = {}
        for name, value in zip(table.ids, table.column(column), strict=True):
            if value:
                parts.setdefault(value, set()).add(split.part[name])
        assert all(len(found) == 1 for found in parts.values())


def test_groups_of_by_hand() -> None:
    table = table_of(
        [0, 1] * 4,
        lesion=["", "a", "", "b", "b", "", "c", ""],
        patient=["1", "1", "", "2", "", "c", "2", ""],
    )
    # a patient is no lesion even where they are called the same: image 5 stays alone
    assert groups_of(table) == [0, 0, 1, 2, 2, 3, 2, 4]


IMAGES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["", "", "a", "b", "c", "d"]), st.sampled_from(["", "1", "2", "3"])),
    min_size=1,
    max_size=25,
)


@relaxed
@given(images=IMAGES)
def test_groups_of_equals_the_transitive_closure(images: list[tuple[int, str, str]]) -> None:
    table = table_of(
        [image[0] for image in images], lesion=[image[1] for image in images], patient=[image[2] for image in images]
    )
    keys = [{(column, image[column]) for column in (1, 2) if image[column]} for image in images]
    joined = np.array([[i == j or bool(keys[i] & keys[j]) for j in range(len(keys))] for i in range(len(keys))])
    for _ in images:
        joined = joined @ joined
    numbers = groups_of(table)
    assert joined.tolist() == [[one == other for other in numbers] for one in numbers]
    assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))  # numbered by their first image


@st.composite
def labels_and_patients(draw: st.DrawFn, mixed: bool) -> tuple[list[int], list[str]]:
    """Patients with 1 to 12 images; with `mixed`, of both classes."""
    labels: list[int] = []
    patients: list[str] = []
    for patient in range(draw(st.integers(4, 30))):
        size, label = draw(st.integers(1, 12)), draw(st.integers(0, 1))
        labels += draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)) if mixed else [label] * size
        patients += [f"p{patient}"] * size
    return labels, patients


@pytest.mark.parametrize("mixed", [False, True])
@relaxed
@given(data=st.data(), seed=st.integers(0, 99), fractions=st.tuples(st.floats(0.1, 0.5), st.floats(0.1, 0.5)))
def test_grouped_keeps_groups_and_counts(
    mixed: bool, data: st.DataObject, seed: int, fractions: tuple[float, float]
) -> None:
    labels, patients = data.draw(labels_and_patients(mixed))
    table = table_of(labels, patient=patients)
    asked = config("grouped", seed=seed, test_fraction=fractions[0], validation_fraction=fractions[1])
    split = split_or_skip(table, asked)
    assert_no_group_is_cut(split, table, ["patient"])
    largest = max(Counter(patients).values())
    total = np.bincount(table.labels, minlength=2)
    test = np.round(fractions[0] * total)
    validation = np.round(fractions[1] * (total - test))
    wanted = {"test": test, "validation": validation, "train": total - test - validation}
    for part, of_part in wanted.items():
        difference = np.abs(np.array(counts(split, table)[part]) - of_part)
        if mixed:
            assert difference.max() <= largest
        else:
            assert difference.max() < largest


def test_grouped_fills_up_with_single_images(small: ImageTable) -> None:
    table = table_of([0] * 100 + [1] * 60, lesion=["a"] * 9 + ["b"] * 5 + [""] * 86 + ["c"] * 11 + [""] * 49)
    split = make_split(table, config("grouped", test_fraction=0.25, validation_fraction=0.2))
    assert counts(split, table) == {"train": (60, 36), "validation": (15, 9), "test": (25, 15), "exclude": (0, 0)}


def test_every_part_gets_large_groups_too() -> None:
    """Otherwise a test part of single images alone would be another kind of data than the training part."""
    table = table_of([0] * 120 + [1] * 120, patient=[f"p{index // 4}" for index in range(120)] + [""] * 120)
    found = Counter[str]()
    for seed in range(20):
        split = make_split(table, config("grouped", seed=seed))
        found += Counter(split.part[row.id] for row in table.rows if row.patient)
    assert found["test"] / found.total() == pytest.approx(0.2, abs=0.02)


# ---------------------------------------------------------------- split.csv


def test_split_file_by_hand(tmp_path: Path) -> None:
    table = table_of([0, 1] * 3)
    split = Split(dict(zip(table.ids, ["test", "test", "train", "train", "validation", "validation"], strict=True)))
    split.write(tmp_path / "split.csv")
    assert (tmp_path / "split.csv").read_text() == (
        "image,split\n00000.jpg,test\n00001.jpg,test\n00002.jpg,train\n00003.jpg,train\n"
        "00004.jpg,validation\n00005.jpg,validation\n"
    )
    assert read_split(tmp_path / "split.csv", table) == split
    assert split.indices(table, "train").tolist() == [2, 3]
    assert split.indices(table.subset([3, 0, 2]), "train").tolist() == [0, 2]
    assert split.counts(table)["validation"] == dict.fromkeys(LABEL_NAMES, 1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_split_file_comes_back(small: ImageTable, tmp_path: Path, protocol: str) -> None:
    split = make_split(small, config(protocol))
    split.write(tmp_path / "split.csv")
    assert read_split(tmp_path / "split.csv", small) == split
    everywhere = np.concatenate([split.indices(small, part) for part in ALLOWED])
    assert sorted(everywhere.tolist()) == list(range(len(small)))


GOOD = [
    "image,split", "00000.jpg,test", "00001.jpg,test", "00002.jpg,train", "00003.jpg,train", "00004.jpg,validation",
    "00005.jpg,validation", "00006.jpg,train",
]  # fmt: skip


def test_a_person_may_edit_the_file(tmp_path: Path) -> None:
    """Lines in another order, a further column, an empty line, spaces, an image left out on purpose."""
    lines = [GOOD[0] + ",note", *reversed(GOOD[1:7]), "", " 00006.jpg , exclude,blurred"]
    (tmp_path / "split.csv").write_text("\r\n".join(lines))
    split = read_split(tmp_path / "split.csv", table_of([0, 1] * 3 + [0]))
    assert split.part["00006.jpg"] == "exclude"
    assert {name: split.part[name] for name in ("00000.jpg", "00003.jpg")} == {
        "00000.jpg": "test",
        "00003.jpg": "train",
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["image,split"], " has no lines with the columns image and split; write it with `lentigo split`"),
        (
            ["image,part", "00000.jpg,test"],
            " has no lines with the columns image and split; write it with `lentigo split`",
        ),
        ([*GOOD, "x.jpg,train"], " line 9: no image 'x.jpg' in data; delete the line"),
        ([*GOOD[:3], "", "x.jpg,train"], " line 5: no image 'x.jpg' in data; delete the line"),
        ([*GOOD, GOOD[1]], " line 9: 00000.jpg stands twice; keep one of the lines"),
        (
            [*GOOD[:7], "00006.jpg,Train"],
            " line 8: split is 'Train'; allowed are train, validation, test, exclude",
        ),
        ([*GOOD[:7], "00006.jpg"], " line 8: split is ''; allowed are train, validation, test, exclude"),
        (GOOD[:7], " leaves out 1 images, first 00006.jpg; to drop one, give it the split exclude"),
        (
            [*GOOD[:6], "00005.jpg,train", GOOD[7]],
            ": the validation part has no malignant image ({'benign': 1, 'malignant': 0}); every part needs both ",
        ),
    ],
)
def test_read_split_refuses(tmp_path: Path, lines: list[str], message: str) -> None:
    path = tmp_path / "split.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match="^" + re.escape(f"{path}{message}")):
        read_split(path, table_of([0, 1] * 3 + [0]))


# ---------------------------------------------------------------- real images


@pytest.mark.real
def test_papers_counts_on_the_real_table(real_data: Path) -> None:
    table = read_table(real_data / "kaggle10605")
    for seed in (0, 1):
        assert counts(make_split(table, config("paper", seed=seed)), table) == PAPER
    grouped = make_split(table, config("paper-grouped"))
    assert counts(grouped, table) == PAPER
    assert_no_group_is_cut(grouped, table, ["lesion"])
    folders = make_split(table, config("folders"))
    assert counts(folders, table) == {
        "train": (4500, 4145), "validation": (500, 460), "test": (500, 500), "exclude": (0, 0),
    }  # fmt: skip
    grouped = make_split(table, config("grouped", test_fraction=0.2, validation_fraction=0.1))
    assert counts(grouped, table)["test"] == (1100, 1021)

"""Splits: the paper's counts, whole groups, given folders, and the file that a person may edit."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lentigo.config import SplitConfig
from lentigo.data.split import (
    ALLOWED,
    Split,
    groups_of,
    make_split,
    read_split,
    sources_of,
    straddling,
    uses_twins,
)
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


SMALL = {"labels": [0] * 100 + [1] * 60, "split": (["train"] * 4 + ["test"]) * 32}


@pytest.fixture(scope="module")
def small() -> ImageTable:
    """100 benign and 60 malignant images in given folders, with 40 patients."""
    return table_of(**SMALL, patient=[f"p{index % 40}" for index in range(160)])


@pytest.fixture(scope="module")
def single() -> ImageTable:
    """The same, and nothing is known of patients."""
    return table_of(**SMALL)


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


def test_folders_keeps_what_is_given(single: ImageTable) -> None:
    split = make_split(single, config("folders", validation_fraction=0.25))
    assert counts(split, single) == {"train": (60, 36), "validation": (20, 12), "test": (20, 12), "exclude": (0, 0)}
    for row in single.rows:
        assert split.part[row.id] in {"test": ("test",), "train": ("train", "validation")}[row.split]


@pytest.mark.parametrize("seed", range(5))
def test_folders_takes_whole_patients_for_validation(small: ImageTable, single: ImageTable, seed: int) -> None:
    split = make_split(small, config("folders", validation_fraction=0.25, seed=seed))
    assert_no_group_is_cut(split, small, ["patient"])
    assert [split.part[row.id] == "test" for row in small.rows] == [row.split == "test" for row in small.rows]
    # 25 % of 80 and of 48 that are given to train; a patient has at most 3 and 2 images of a class
    assert np.abs(np.array(counts(split, small)["validation"]) - (20, 12)).max() <= 3
    cut = make_split(single, config("folders", validation_fraction=0.25, seed=seed))
    with pytest.raises(AssertionError):  # so the check can fail
        assert_no_group_is_cut(cut, small, ["patient"])


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


def split_or_skip(table: ImageTable, asked: SplitConfig, twins: Sequence[Sequence[str]] = ()) -> Split:
    """The split; an example whose parts cannot all have both classes is none."""
    try:
        return make_split(table, asked, twins=twins)
    except DataError as error:
        assume(not re.search("needs? both classes|has no source|needs every image in train or test", str(error)))
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


def closure(table: ImageTable, twins: Sequence[Sequence[str]] = ()) -> np.ndarray:
    """Whether two images share a lesion, a patient or a group of twins, or a chain of images does."""
    keys = [
        {(name, cell) for name, cell in (("lesion", row.lesion), ("patient", row.patient)) if cell}
        | {("twins", str(number)) for number, group in enumerate(twins) if row.id in group}
        for row in table.rows
    ]
    joined = np.array([[i == j or bool(keys[i] & keys[j]) for j in range(len(keys))] for i in range(len(keys))])
    for _ in keys:
        joined = joined @ joined
    return joined


@relaxed
@given(images=IMAGES)
def test_groups_of_equals_the_transitive_closure(images: list[tuple[int, str, str]]) -> None:
    table = table_of(
        [image[0] for image in images], lesion=[image[1] for image in images], patient=[image[2] for image in images]
    )
    numbers = groups_of(table)
    assert closure(table).tolist() == [[one == other for other in numbers] for one in numbers]
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


# ---------------------------------------------------------------- what was, stays


def digest(split: Split) -> str:
    return hashlib.sha256("".join(f"{name},{part}\n" for name, part in sorted(split.part.items())).encode()).hexdigest()


@pytest.mark.parametrize(
    ("of", "protocol", "seed", "known"),
    [
        ("paper_table", "paper", 0, "ff872e79d42561a0"),
        ("paper_table", "paper", 7, "49df969a23b2aa0c"),
        ("paper_table", "paper-grouped", 0, "f1eaaa9a1a82f6d2"),
        ("paper_table", "paper-grouped", 7, "4f11d34e1a5b809c"),
        ("small", "stratified", 0, "53c8b917346b0ff3"),
        ("small", "stratified", 7, "e858a108e2bb078b"),
        ("small", "grouped", 0, "8928fb0c465d778e"),
        ("small", "grouped", 7, "755fa06b8a499dab"),
        ("single", "stratified", 0, "53c8b917346b0ff3"),
        ("single", "grouped", 0, "b33bada447712a11"),
        ("single", "grouped", 7, "9aa8a783d0890f7e"),
        ("single", "folders", 0, "69501fc8065aec0b"),
        ("single", "folders", 7, "19be8006bc25595d"),
    ],
)
def test_splits_of_the_first_version_stay(
    request: pytest.FixtureRequest, of: str, protocol: str, seed: int, known: str
) -> None:
    """Results that stand in the repository rest on these; they were drawn before there were twins and sources."""
    split = make_split(request.getfixturevalue(of), config(protocol, seed=seed))
    assert digest(split)[:16] == known


# ---------------------------------------------------------------- twins


def test_groups_of_joins_twins_by_hand() -> None:
    table = table_of([0, 1] * 4, lesion=["", "a", "", "a", "b", "b", "", ""])
    names = table.ids
    twins = [(names[6], "unknown.jpg", names[0]), [names[3], names[4]], ["unknown.jpg", names[7]], [], [names[2]]]
    assert groups_of(table, twins) == [0, 1, 2, 1, 1, 1, 0, 3]
    assert groups_of(table, twins[::-1]) == groups_of(table, twins)
    assert groups_of(table) == [0, 1, 2, 1, 3, 3, 4, 5]


@pytest.mark.parametrize("protocol", ["paper", "stratified", "folders"])
def test_protocols_that_ignore_twins(request: pytest.FixtureRequest, protocol: str) -> None:
    assert not uses_twins(protocol)
    table = request.getfixturevalue("paper_table" if protocol == "paper" else "small")
    assert make_split(table, config(protocol), twins=[table.ids]) == make_split(table, config(protocol))


@pytest.mark.parametrize("protocol", ["grouped", "paper-grouped", "hold-out-source=a", "within-source=grouped"])
def test_protocols_that_heed_twins(protocol: str) -> None:
    assert uses_twins(protocol)


@pytest.mark.parametrize("seed", [0, 1])
def test_paper_grouped_keeps_twins_of_both_labels_together(paper_table: ImageTable, seed: int) -> None:
    """500 groups of 2 to 4 copies, of any label: the single images still fill the paper's counts."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(paper_table)).tolist()
    twins = [[paper_table.ids[order.pop()] for _ in range(rng.integers(2, 5))] for _ in range(500)]
    label = dict(zip(paper_table.ids, paper_table.labels.tolist(), strict=True))
    assert sum(len({label[name] for name in group}) == 2 for group in twins) > 200
    split = make_split(paper_table, config("paper-grouped", seed=seed), twins=twins)
    assert counts(split, paper_table) == PAPER
    assert all(len({split.part[name] for name in group}) == 1 for group in twins)
    assert_no_group_is_cut(split, paper_table, ["lesion"])
    assert {split.part[group[0]] for group in twins} == {"train", "validation", "test"}


def test_straddling_by_hand() -> None:
    table = table_of([0, 1] * 4)
    parts = ["train", "test", "exclude", "test", "validation", "train", "exclude", "test"]
    split = Split(dict(zip(table.ids, parts, strict=True)))
    # 5: train, test and one excluded; 2: one part and one excluded; 7: validation and train; 1: excluded alone
    assert straddling([5, 2, 2, 5, 7, 7, 5, 2], split, table) == [[0, 3], [4, 5]]
    assert straddling([5, 2, 2, 2, 7, 8, 1, 2], split, table) == []
    assert straddling([0] * 8, split, table) == [[0, 1, 3, 4, 5, 7]]


# ---------------------------------------------------------------- sources


def test_sources_of_by_hand() -> None:
    table = table_of([0, 1, 1, 0, 1], source=["b", "b", "a", "", "b"])
    assert sources_of(table) == {"a": (0, 1), "b": (1, 2)}
    assert list(sources_of(table)) == ["a", "b"]
    assert sources_of(table_of([0, 1])) == {}


def test_hold_out_source_by_hand() -> None:
    """Held out: 4 images of "a b". Excluded: their patient's image in c, its chain by lesion, a twin, one unknown."""
    labels = [0, 1, 0, 1, *[0] * 20, *[1] * 10, 0, 1, 1, 0]
    source = ["a b"] * 4 + ["c"] * 15 + ["d"] * 15 + ["c", "d", "c", ""]
    patient, lesion = [""] * 38, [""] * 38
    patient[0] = patient[34] = "p"
    lesion[34] = lesion[35] = "l"
    table = table_of(labels, source=source, patient=patient, lesion=lesion)
    twins = [[table.ids[1], table.ids[36]], [table.ids[10], table.ids[11]]]
    split = make_split(table, config("hold-out-source=a b", validation_fraction=0.25), twins=twins)
    assert [split.part[name] for name in table.ids[:4]] == ["test"] * 4
    assert [split.part[name] for name in table.ids[34:]] == ["exclude"] * 4
    # 25 % of 20 and of 10 are 5 and 2.5, which Python rounds to 2
    assert counts(split, table) == {"train": (15, 8), "validation": (5, 2), "test": (2, 2), "exclude": (2, 2)}
    assert split.part[table.ids[10]] == split.part[table.ids[11]]


def test_within_source_by_hand() -> None:
    table = table_of([0, 1] * 30, source=["a=b"] * 40 + ["c"] * 18 + [""] * 2)
    split = make_split(table, config("within-source=a=b", test_fraction=0.25, validation_fraction=0.2))
    # 25 % of 20 and of 20; of the 15 and 15 that are left, 20 %
    assert counts(split, table) == {"train": (12, 12), "validation": (3, 3), "test": (5, 5), "exclude": (10, 10)}
    assert all((split.part[row.id] == "exclude") == (row.source != "a=b") for row in table.rows)


def test_within_source_keeps_a_chain_through_another_source_together() -> None:
    """Images 0 and 1 of a are each a twin of image 40 of b, which is excluded: they are still of one group."""
    table = table_of([0, 1] * 21, source=["a"] * 40 + ["b"] * 2)
    twins = [[table.ids[0], table.ids[40]], [table.ids[40], table.ids[1]]]
    alone = [make_split(table, config("within-source=a", seed=seed)).part for seed in range(20)]
    assert any(part[table.ids[0]] != part[table.ids[1]] for part in alone)
    for seed in range(20):
        part = make_split(table, config("within-source=a", seed=seed), twins=twins).part
        assert part[table.ids[0]] == part[table.ids[1]] != "exclude"


def sources_table(sources: dict[str, tuple[int, int]], **columns: list[str]) -> ImageTable:
    labels = [label for held in sources.values() for label in (0, 1) for _ in range(held[label])]
    return table_of(labels, source=[name for name, held in sources.items() for _ in range(sum(held))], **columns)


LIKE_THE_PAPER = {"x": (8, 3), "y": (0, 4), "z": (0, 5)}


@pytest.mark.parametrize(
    ("sources", "protocol", "message"),
    [
        (
            LIKE_THE_PAPER,
            "hold-out-source=x",
            "protocol hold-out-source=x: 8 benign and 3 malignant images would test, 0 benign and 9 malignant would be "
            "left to train on; both need both classes. No source of data can be held out. Both are found within "
            "x (8 benign and 3 malignant): use within-source=x",
        ),
        (
            LIKE_THE_PAPER,
            "hold-out-source=y",
            "protocol hold-out-source=y: 0 benign and 4 malignant images would test, 8 benign and 8 malignant would be "
            "left to train on; both need both classes. No source of data can be held out. Both are found within "
            "x (8 benign and 3 malignant): use within-source=x",
        ),
        (
            LIKE_THE_PAPER | {"v": (2, 2), "w": (4, 3)},
            "hold-out-source=z",
            "protocol hold-out-source=z: 0 benign and 5 malignant images would test, 14 benign and 12 malignant would "
            "be left to train on; both need both classes. Hold out one of v (2 benign and 2 malignant), w (4 benign "
            "and 3 malignant), x (8 benign and 3 malignant)",
        ),
        (
            {"v": (4, 0), "": (3, 3)},
            "hold-out-source=v",
            "protocol hold-out-source=v: 4 benign and 0 malignant images would test, 0 benign and 0 malignant would be "
            "left to train on (6 excluded: of unknown source, or in a group with images that test); both need both "
            "classes. No source of data holds both: v (4 benign and 0 malignant); use protocol grouped, and know that "
            "its score may tell sources apart, not lesions",
        ),
        (
            LIKE_THE_PAPER | {"w": (9, 2)},
            "within-source=y",
            "protocol within-source=y: y holds 0 benign and 4 malignant images; every part needs both classes. Both "
            "are found within w (9 benign and 2 malignant), x (8 benign and 3 malignant): use within-source=x",
        ),
        (
            {"y": (0, 4), "z": (5, 0)},
            "within-source=z",
            "protocol within-source=z: z holds 5 benign and 0 malignant images; every part needs both classes. No "
            "source of data holds both: y (0 benign and 4 malignant), z (5 benign and 0 malignant); use protocol "
            "grouped, and know that its score may tell sources apart, not lesions",
        ),
        (
            LIKE_THE_PAPER,
            "within-source=X",
            "protocol within-source=X: data has no source 'X'; it has x (8 benign and 3 malignant), y (0 benign and 4 "
            "malignant), z (0 benign and 5 malignant)",
        ),
        (
            {f"s{number}": (1, 2) for number in range(10)},
            "hold-out-source=s",
            "protocol hold-out-source=s: data has no source 's'; it has "
            + ", ".join(f"s{number} (1 benign and 2 malignant)" for number in range(8))
            + " and 2 more",
        ),
        (
            {"": (5, 5)},
            "hold-out-source=x",
            "data does not say where its images are from, which protocol hold-out-source=x needs; give a table with "
            "the column source, or use protocol grouped",
        ),
        (
            {"x": (20, 1), "y": (9, 9)},
            "within-source=x",
            "protocol within-source=x: the validation part has no malignant image ({'benign': 2, 'malignant': 0}); "
            "every part needs both classes: change the fractions or add images",
        ),
    ],
)
def test_a_source_that_does_not_do_is_refused(sources: dict[str, tuple[int, int]], protocol: str, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        make_split(sources_table(sources), config(protocol))


def test_a_group_across_the_held_out_source_may_take_a_class_away() -> None:
    table = sources_table({"a": (3, 3), "b": (8, 2)}, patient=[""] * 5 + ["p"] + [""] * 8 + ["p", "p"])
    message = (
        "protocol hold-out-source=a: 3 benign and 3 malignant images would test, 8 benign and 0 malignant would be "
        "left to train on (2 excluded: of unknown source, or in a group with images that test); both need both "
        "classes. Hold out one of b (8 benign and 2 malignant)"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        make_split(table, config("hold-out-source=a"))


@st.composite
def columns_and_twins(draw: st.DrawFn) -> tuple[dict[str, Any], list[list[str]]]:
    """12 to 50 images of two sources, some of none, with lesions and patients in either, and copies among them."""
    size = draw(st.integers(12, 50))

    def cells(prefix: str, kinds: int, empty: int) -> list[str]:
        """One cell in `empty` or so is filled, with one of so many values."""
        numbers = draw(st.lists(st.integers(0, kinds * empty), min_size=size, max_size=size))
        return [f"{prefix}{number}" if number < kinds else "" for number in numbers]

    def one_of(*values: Any) -> list[Any]:
        return draw(st.lists(st.sampled_from(values), min_size=size, max_size=size))

    columns = {
        "labels": one_of(0, 1),
        "source": one_of("a", "b", "b", "b", "b", ""),
        "split": one_of("train", "train", "test"),
        "lesion": cells("l", 4, 4),
        "patient": cells("p", 3, 5),
    }
    names = st.sampled_from([*(f"{index:05d}.jpg" for index in range(size)), "unknown.jpg"])
    return columns, draw(st.lists(st.lists(names, max_size=3), max_size=5))


@pytest.mark.parametrize("protocol", ["grouped", "hold-out-source=a", "within-source=b", "folders"])
@relaxed
@given(example=columns_and_twins(), seed=st.integers(0, 99), data=st.data())
def test_no_group_stands_on_two_sides(
    protocol: str, example: tuple[dict[str, Any], list[list[str]]], seed: int, data: st.DataObject
) -> None:
    table, twins = table_of(**example[0]), example[1]
    asked = config(protocol, seed=seed, validation_fraction=0.3, test_fraction=0.3)
    split = split_or_skip(table, asked, twins)
    if protocol == "folders":
        table = table.subset([index for index, row in enumerate(table.rows) if row.split == "train"])
    parts = np.array([split.part[name] for name in table.ids])
    used = parts != "exclude"
    apart = (parts[:, None] != parts) & used[:, None] & used
    joined = closure(table, twins if uses_twins(protocol) else ())
    assert not (joined & apart).any()
    assert straddling(groups_of(table, twins if uses_twins(protocol) else ()), split, table) == []
    held = np.array([row.source == asked.source for row in table.rows])
    if protocol.startswith("hold-out"):
        assert ((parts == "test") == held).all()
        known = np.array([row.source != "" for row in table.rows])
        assert (used == held | (known & ~joined[held].any(axis=0))).all()
    elif protocol.startswith("within"):
        assert (used == held).all()
    else:
        assert used.all()
    mixed = [data.draw(st.permutations(group)) for group in data.draw(st.permutations(twins))]
    if protocol != "folders":
        shuffled = table.subset(data.draw(st.permutations(range(len(table)))))
        assert make_split(shuffled, asked, twins=mixed) == split


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
        ([*GOOD, "x.jpg,train"], " line 9: no image 'x.jpg' in data; restore it, or delete the line"),
        ([*GOOD[:3], "", "x.jpg,train"], " line 5: no image 'x.jpg' in data; restore it, or delete the line"),
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


@pytest.mark.real
def test_splits_of_the_first_version_stay_on_the_real_table(real_data: Path) -> None:
    table = read_table(real_data / "kaggle10605")
    known = {
        ("paper", 0): "aaec7306bc3dc07a",
        ("paper", 7): "3eb440d5f7153c1a",
        ("paper-grouped", 0): "4c38f70100492c5c",
        ("stratified", 0): "20ea1542942f066b",
        ("grouped", 0): "299bdb67ce5b01b7",
    }
    assert {key: digest(make_split(table, config(key[0], seed=key[1])))[:16] for key in known} == known


@pytest.mark.real
def test_only_isic2020_of_the_real_table_can_be_split_honestly(real_data: Path) -> None:
    table = read_table(real_data / "kaggle10605")
    inside = make_split(table, config("within-source=isic2020"))
    # 20 % of 5500 and of 591; of the 4400 and 473 that are left, 10 %
    assert counts(inside, table) == {
        "train": (3960, 426), "validation": (440, 47), "test": (1100, 118), "exclude": (0, 4514),
    }  # fmt: skip
    assert all((inside.part[row.id] == "exclude") == (row.source != "isic2020") for row in table.rows)
    held = {
        "isic2020": ("5500 benign and 591", "0 benign and 4514"),
        "ham10000": ("0 benign and 1113", "5500 benign and 3992"),
    }
    for source, (in_test, left) in held.items():
        message = (
            f"protocol hold-out-source={source}: {in_test} malignant images would test, {left} malignant would be left "
            f"to train on; both need both classes. No source of {table.root} can be held out. Both are found within "
            "isic2020 (5500 benign and 591 malignant): use within-source=isic2020"
        )
        with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
            make_split(table, config(f"hold-out-source={source}"))

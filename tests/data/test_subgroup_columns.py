"""Subgroups from a table's columns: by hand, and on drawn lesions."""

from pathlib import Path

import pytest

from lentigo.data.skin_tone import TONES
from lentigo.data.subgroup_columns import AGE_BANDS, ESTIMATED_TONE, age_band, ordered_names, subgroup_columns
from lentigo.data.table import ImageRow, ImageTable, read_table
from lentigo.errors import DataError


def table_of(n: int, **columns: list[str]) -> ImageTable:
    rows = [
        ImageRow(id=f"{i}.jpg", path=Path("x"), label=i % 2, **{name: cells[i] for name, cells in columns.items()})
        for i in range(n)
    ]
    return ImageTable(root=Path("data"), rows=tuple(rows))


@pytest.mark.parametrize(
    ("cell", "band"),
    [
        ("0", "under 30"), ("0.0", "under 30"), ("29.9", "under 30"), ("30", "30 to 44"), ("44.5", "30 to 44"),
        ("45.0", "45 to 59"), (" 50 ", "45 to 59"), ("60.", "60 to 74"), ("74", "60 to 74"), ("75", "75 and over"),
        ("104", "75 and over"), ("", ""), ("unknown", ""), ("nan", ""), ("inf", ""), ("-1", ""), ("85+", ""),
        ("999", ""), ("1e1", ""), ("٥٠", "45 to 59"),
    ],
)  # fmt: skip
def test_age_bands(cell: str, band: str) -> None:
    assert age_band(cell) == band


def test_columns_by_hand() -> None:
    table = table_of(
        4,
        source=["ISIC", "ham", "ISIC", "unknown"],
        age=["50", "50.0", "unknown", "80"],
        sex=["Male", "female", "MALE", "Unknown"],
        site=["Lower extremity", "unknown", "lower extremity", "face"],
        diagnosis=["MEL", "nv", "nv", ""],
        skin_tone=["3", "ii", "3.0", "II"],
    )
    found = subgroup_columns(table)
    assert found == {
        "Source": ["ISIC", "ham", "ISIC", ""],
        "Age": ["45 to 59", "45 to 59", "", "75 and over"],
        "Sex": ["male", "female", "male", ""],
        "Body site": ["lower extremity", "", "lower extremity", "face"],
        "Diagnosis": ["MEL", "nv", "nv", ""],
        "Skin tone": ["3", "II", "3", "II"],
    }


def test_columns_that_make_no_subgroups_are_left_out() -> None:
    ids = [f"scanner {i}" for i in range(82)]
    known_for_some = ["f", "f"] + [""] * 80
    found = subgroup_columns(table_of(82, age=["unknown"] * 82, sex=known_for_some, source=ids, site=["back"] * 82))
    assert found == {"Sex": known_for_some}  # nothing known; kept; each its own; all one
    assert subgroup_columns(table_of(82, source=[f"{i // 2}" for i in range(82)])) == {}  # 41 names
    assert len(subgroup_columns(table_of(80, source=[f"{i // 2}" for i in range(80)]))) == 1  # 40


def test_estimated_tones_stand_in_where_the_table_has_none() -> None:
    tones = ["light", "dark", "", "light"]
    assert subgroup_columns(table_of(4), skin_tones=tones) == {ESTIMATED_TONE: tones}
    given = table_of(4, skin_tone=["1", "1", "", "2"])
    assert subgroup_columns(given, skin_tones=tones) == {"Skin tone": ["1", "1", "", "2"]}
    unknown = table_of(4, skin_tone=["unknown"] * 4)
    assert list(subgroup_columns(unknown, skin_tones=tones)) == [ESTIMATED_TONE]
    with pytest.raises(DataError, match="there are 1 skin tones for 4 images; give one an image"):
        subgroup_columns(table_of(4), skin_tones=["light"])


def test_names_are_read_in_their_order() -> None:
    assert ordered_names(["75 and over", "", "30 to 44", "under 30", "30 to 44"]) == [
        "under 30",
        "30 to 44",
        "75 and over",
    ]
    assert ordered_names(reversed(AGE_BANDS)) == list(AGE_BANDS)
    assert ordered_names(sorted(TONES)) == list(TONES)
    assert ordered_names(["VI", "V", "IV", "I"]) == ["I", "IV", "V", "VI"]
    assert ordered_names(["torso", "back", "6", "1"]) == ["1", "6", "back", "torso"]


@pytest.mark.real
def test_subgroups_of_real_tables(real_data: Path) -> None:
    found = subgroup_columns(read_table(real_data / "ham10000"))
    assert list(found) == ["Age", "Sex", "Body site", "Diagnosis"]
    assert found["Sex"].count("") == 18
    assert {"nv", "bcc"} < set(found["Diagnosis"])
    assert list(subgroup_columns(read_table(real_data / "kaggle10605"))) == ["Source", "Age", "Sex", "Body site"]

"""What probes see of files and columns, by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lentigo.data.inspection import FileFacts
from lentigo.data.probe_columns import MAX_LEVELS, column_views, file_views
from lentigo.data.table import ImageRow, ImageTable


def table_of(n: int, **columns: list[str]) -> ImageTable:
    rows = [
        ImageRow(id=f"{i}.jpg", path=Path("x"), label=i % 2, **{name: cells[i] for name, cells in columns.items()})
        for i in range(n)
    ]
    return ImageTable(root=Path("data"), rows=tuple(rows))


def facts(index: int, **more: Any) -> FileFacts:
    usual = {
        "id": f"{index}.jpg", "bytes": 9000, "sha256": "", "width": 300, "height": 200, "format": "JPEG", "mode": "RGB",
        "orientation": 1, "has_exif": False, "quantisation": (2, 4),
    }  # fmt: skip
    return FileFacts(**(usual | more))


def test_file_views_by_hand() -> None:
    odd = {"width": 100, "height": 100, "bytes": 500, "format": "PNG", "mode": "L", "quantisation": ()}
    given = [facts(2, has_exif=True, orientation=6), facts(0), facts(1, **odd)]  # in another order than the table's
    header, size = file_views(table_of(3), given, np.array([0, 1, 2]))
    assert (header.name, header.sees_lesion) == ("file_header", False)
    assert (size.name, size.sees_lesion) == ("file_size", True)
    assert header.features[:, :4].tolist() == [[300, 200, 1.5, 3], [100, 100, 1, 0], [300, 200, 1.5, 3]]
    jpeg, png, exif = header.features[:, 4:].tolist()
    # JPEG PNG | RGB L | 1 6 | no EXIF, EXIF | tables "2 4", none: the more frequent first
    assert jpeg == [1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert png == [0, 1, 0, 1, 1, 0, 1, 0, 0, 1]
    assert exif == [1, 0, 1, 0, 0, 1, 0, 1, 1, 0]
    assert size.features.tolist() == [
        [9000, pytest.approx(0.15)],
        [500, pytest.approx(0.05)],
        [9000, pytest.approx(0.15)],
    ]
    assert header.known.all()
    assert size.known.all()


def test_file_views_of_a_file_without_pixels_are_numbers() -> None:
    header, size = file_views(table_of(1), [facts(0, width=0, height=0, bytes=0)], np.array([0]))
    assert np.isfinite(header.features).all()
    assert size.features.tolist() == [[0, 0]]


def test_file_views_without_facts_are_not_run() -> None:
    for view in file_views(table_of(2), [], np.array([0, 1])):
        assert view.not_run == "no file was inspected"
        assert view.features.shape == (2, 0)
    for view in file_views(table_of(3), [facts(1)], np.array([0, 1, 2])):
        assert view.not_run == "the facts of 2 files were not given"
    for view in file_views(table_of(3), [facts(1)], np.array([1])):  # of the others nothing is asked
        assert not view.not_run


def test_columns_by_hand() -> None:
    table = table_of(
        4,
        source=["isic", "ISIC ", "ham", "isic"],
        age=["50", "", "40.0", "unknown"],
        sex=["", "", "", ""],
        diagnosis=["nv", "mel", "nv", "mel"],
        lesion=["a", "b", "c", "d"],
        patient=["a", "b", "c", "d"],
        mask=["m.png", "", "", "m.png"],
    )
    views = {view.name: view for view in column_views(table, np.arange(4))}
    assert list(views) == ["source", "age", "mask_given"]  # never the diagnosis or a number of lesion or patient
    assert views["source"].features.tolist() == [[1, 0], [1, 0], [0, 1], [1, 0]]
    assert views["age"].features.tolist() == [[50, 0], [45, 1], [40, 0], [45, 1]]  # missing: the mean, and said so
    assert views["mask_given"].features.tolist() == [[1], [0], [0], [1]]
    assert not any(view.sees_lesion or view.not_run for view in views.values())
    later = {view.name: view for view in column_views(table, np.array([3, 1]))}
    assert list(later) == ["source", "age", "mask_given"]
    assert later["age"].features.tolist() == [[0, 1], [0, 1]]  # no number at all in these rows
    assert [view.name for view in column_views(table, np.array([1]))] == ["source"]


def test_missing_is_a_value_and_rare_values_count_as_one() -> None:
    names = [f"site {i}" for i in range(MAX_LEVELS + 3) for _ in range(2)] + [""] * 3
    view = column_views(table_of(len(names), site=names), np.arange(len(names)))[0]
    assert view.features.shape == (len(names), MAX_LEVELS)
    assert view.features[-3:, 0].tolist() == [1, 1, 1]  # the most frequent stands first
    assert view.features.sum(axis=1).tolist().count(0) == 2 * 4  # 34 values, 30 of them told apart


def test_columns_without_values_or_with_masks_for_all_give_no_view() -> None:
    assert column_views(table_of(3, source=["", " ", ""]), np.arange(3)) == ()
    assert column_views(table_of(2, mask=["a.png", "b.png"]), np.arange(2)) == ()

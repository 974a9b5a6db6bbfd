"""Files whole or not at all, and the readers of JSON and CSV with their refusals."""

import csv
import errno
import json
import os
import re
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lentigo import files
from lentigo.errors import DataError
from lentigo.files import (
    read_csv,
    read_json,
    read_numbered_csv,
    sha256_of,
    whole_file,
    write_bytes,
    write_csv,
    write_json,
    write_text,
)

relaxed = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property."""
    return tmp_path_factory.mktemp("files")


# ---------------------------------------------------------------- whole or not at all


def test_whole_file_replaces_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.parent == path.parent  # a rename across file systems would not be one step
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_whole_file_leaves_nothing_after_an_exception(tmp_path: Path, exception: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise exception

    with pytest.raises(exception):
        write_half()
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["a.txt"])


def test_whole_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    plain.touch()
    with whole_file(whole) as temporary:
        temporary.chmod(0o600)  # as writers do that go through a temporary file of their own
    assert whole.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    path = tmp_path / "a.json"
    write_json(path, [1])

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, broken, full)
    advice = "free space, or choose a folder you may write to"
    message = f"{path} cannot be written ([Errno 28] No space left on device); {advice}"
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        write_json(path, [2])
    assert (read_json(path), os.listdir(tmp_path)) == ([1], ["a.json"])


def test_write_bytes_refuses_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match=r"taken cannot be written \(.*irectory.*\); free space, or choose a folder"):
        write_bytes(tmp_path / "taken", b"x")
    assert os.listdir(tmp_path) == ["taken"]


def test_sha256_of_abc(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the first example of FIPS 180-2
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# ---------------------------------------------------------------- JSON


def test_write_json_by_hand(tmp_path: Path) -> None:
    values = {"a": np.float32(0.5), 1: (float("nan"), np.inf, -np.inf), "é": Path("x") / "y", "n": np.array([[1, 2]])}
    write_json(tmp_path / "a.json", {**values, "b": np.bool_(True), "none": None})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == (
        '{\n "a": 0.5,\n "1": [\n  null,\n  null,\n  null\n ],\n "é": "x/y",\n'
        ' "n": [\n  [\n   1,\n   2\n  ]\n ],\n "b": true,\n "none": null\n}\n'
    )


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aé☃\n"\\'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@relaxed
@given(value=JSON_VALUES)
def test_json_comes_back(scratch: Path, value: Any) -> None:
    write_json(scratch / "a.json", value)
    assert read_json(scratch / "a.json") == value


def test_read_json_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json does not exist; run the stage that writes it, or check the path$"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize(
    "content", [b"{", b"", b"\xff\xfe", b"[" * 100_000], ids=["cut", "empty", "not UTF-8", "too deep"]
)
def test_read_json_refuses_what_is_not_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(
        DataError, match=r"a\.json cannot be read as JSON \(.+\); write it again with the stage it is fr"
    ):
        read_json(tmp_path / "a.json")


# ---------------------------------------------------------------- CSV


def test_read_csv_by_hand(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('\ufeffimage , note,\r\na.jpg,"one, ""two"""\r\n\r\n b.jpg ,,\r\n'.encode())
    rows = [{"image": "a.jpg", "note": 'one, "two"'}, {"image": "b.jpg", "note": ""}]
    assert read_csv(tmp_path / "a.csv") == rows
    assert read_numbered_csv(tmp_path / "a.csv") == [(2, rows[0]), (4, rows[1])]


def test_line_numbers_count_line_breaks_in_cells(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('a\n"1\n2\n3"\n4\n')
    assert read_numbered_csv(tmp_path / "a.csv") == [(4, {"a": "1\n2\n3"}), (5, {"a": "4"})]


NAMES = st.text(string.ascii_letters + "_é", min_size=1, max_size=4)
CELLS = st.text(string.ascii_letters + " ,;\"'\n\té☃", max_size=6).map(str.strip)


@relaxed
@given(data=st.data(), header=st.lists(NAMES, min_size=1, max_size=4, unique=True))
def test_csv_comes_back(scratch: Path, data: st.DataObject, header: list[str]) -> None:
    cells = data.draw(st.lists(st.tuples(*[CELLS] * len(header)), max_size=4))
    write_csv(scratch / "a.csv", header, cells)
    assert read_csv(scratch / "a.csv") == [dict(zip(header, row, strict=True)) for row in cells]
    with (scratch / "a.csv").open(newline="", encoding="utf-8") as file:  # and it is what others read
        assert list(csv.reader(file)) == [header, *map(list, cells)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; check the path"),
        (b"", "is empty; a CSV with a header line is needed"),
        (b",,\n1,2,3\n", "is empty; a CSV with a header line is needed"),
        ("a,b\n".encode("utf-16"), "cannot be read as UTF-8 text ('utf-8' codec can't decode byte 0xff"),
        (b"a, b,a,b\n", "has the column a and b more than once; rename or delete one"),
        (
            b"a,b\n1,2\n1,2,3\n",
            "line 3 has 3 cells, the header 2; delete the others, or put quotes around a cell that holds a comma",
        ),
        (b'a,b\n1,"2\n3,4\n5,6\n', "line 4 is not CSV (unexpected end of data); mend its quotes"),
        (b'a,b\n1,2\n"1"x,2\n', "line 3 is not CSV (',' expected after '\"'); mend its quotes"),
    ],
)
def test_read_csv_refuses(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="^" + re.escape(f"{path} {message}")):
        read_csv(path)


def test_write_json_never_writes_what_is_not_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"score": float("nan")})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert json.loads((tmp_path / "a.json").read_text(), parse_constant=refuse) == {"score": None}

"""The files of an explanation: damaged or of different parts, they are refused with what to do."""

import json
from pathlib import Path

import numpy as np
import pytest

from lentigo.errors import DataError
from lentigo.explain.stage import read_explanation


@pytest.fixture
def run(tmp_path: Path) -> Path:
    maps = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    np.save(tmp_path / "heatmaps.npy", maps)
    (tmp_path / "explanation.json").write_text(json.dumps({"ids": ["a", "b"], "rows": 3, "columns": 4}))
    return tmp_path


def test_it_is_read_as_it_was_written(run: Path) -> None:
    explanation = read_explanation(run)
    assert explanation.ids == ("a", "b")
    assert explanation.maps[1, 2, 3] == 23
    assert explanation.maps.dtype == np.float32


def test_truncated_maps_are_refused(run: Path) -> None:
    data = (run / "heatmaps.npy").read_bytes()
    (run / "heatmaps.npy").write_bytes(data[:-8])
    with pytest.raises(DataError, match=r"heatmaps.npy cannot be read .*write it again with `lentigo explain`"):
        read_explanation(run)


def test_pickled_maps_are_refused_unread(run: Path) -> None:
    np.save(run / "heatmaps.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"heatmaps.npy cannot be read"):
        read_explanation(run)


@pytest.mark.parametrize("maps", [np.zeros((3, 3, 4), np.float32), np.zeros((2, 3, 4), np.float64)])
def test_maps_of_another_explanation_are_refused(run: Path, maps: np.ndarray) -> None:
    np.save(run / "heatmaps.npy", maps)
    with pytest.raises(DataError, match=r"does not fit explanation.json; write both again"):
        read_explanation(run)


def test_an_absent_explanation_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"explanation.json does not exist; run the stage that writes it"):
        read_explanation(tmp_path)

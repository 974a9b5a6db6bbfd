"""Fetching, with a kagglehub that is made up: what is downloaded, laid out, refused and left behind."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
import requests

from lentigo.data import fetch as module
from lentigo.data.fetch import DATA_SETS, PublicDataSet, fetch
from lentigo.data.table import read_table
from lentigo.errors import DataError


def download(folder: Path, *, images: int) -> Path:
    """A download as Kaggle lays it: the class folders below a folder of the data set's own, with strangers beside."""
    for part in ("train", "test"):
        for label in ("benign", "malignant"):
            place = folder / "melanoma_cancer_dataset" / part / label
            place.mkdir(parents=True)
            for number in range(images):
                (place / f"{number}.jpg").write_bytes(f"{part} {label} {number}".encode())
            (place / "Thumbs.db").write_bytes(b"no image")
    return folder


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A kagglehub that hands out 8 images; the handles it was asked for."""
    asked: list[str] = []
    kagglehub = ModuleType("kagglehub")

    def dataset_download(handle: str) -> str:
        asked.append(handle)
        return str(download(tmp_path / f"kaggle{len(asked)}", images=2))

    kagglehub.dataset_download = dataset_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kagglehub", kagglehub)
    monkeypatch.setitem(module.DATA_SETS, "kaggle-10k", PublicDataSet(handle="owner/name", images=8, about="made up"))
    return asked


def test_the_paper_s_data_set_is_the_one_it_names() -> None:
    assert DATA_SETS["kaggle-10k"].handle == "hasnainjaved/melanoma-skin-cancer-dataset-of-10000-images"
    assert DATA_SETS["kaggle-10k"].images == 10_605


def test_a_data_set_is_laid_out_and_not_fetched_twice(kaggle: list[str], tmp_path: Path) -> None:
    folder = fetch("kaggle-10k", tmp_path / "data")
    assert folder == tmp_path / "data" / "kaggle-10k"
    assert {path.name for path in folder.iterdir()} == {"train", "test"}
    table = read_table(folder)
    assert (len(table), table.labels.sum(), table.column("split").count("test")) == (8, 4, 4)
    assert table.ignored == ()  # Thumbs.db stayed behind
    assert (folder / "test" / "malignant" / "1.jpg").read_bytes() == b"test malignant 1"
    assert [path.name for path in folder.parent.iterdir()] == ["kaggle-10k"]
    assert fetch("kaggle-10k", tmp_path / "data") == folder
    assert kaggle == ["owner/name"]


def test_an_unknown_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set is called 'isic'; known are kaggle-10k"):
        fetch("isic", tmp_path)


def test_a_folder_with_other_images_is_refused(kaggle: list[str], tmp_path: Path) -> None:
    folder = fetch("kaggle-10k", tmp_path)
    (folder / "test" / "benign" / "0.jpg").unlink()
    with pytest.raises(DataError, match="holds 7 images, kaggle-10k has 8; delete the folder and fetch it again"):
        fetch("kaggle-10k", tmp_path)


@pytest.mark.parametrize("error", [requests.ConnectionError("no route"), OSError("disk full"), ValueError("401")])
def test_a_failed_download_is_told_and_leaves_nothing(
    kaggle: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(_: str) -> str:
        raise error

    monkeypatch.setattr(sys.modules["kagglehub"], "dataset_download", fail)
    with pytest.raises(DataError, match=f"could not be downloaded from Kaggle.*{error}.*check the connection"):
        fetch("kaggle-10k", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_a_download_of_another_layout_is_refused(
    kaggle: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setattr(sys.modules["kagglehub"], "dataset_download", lambda _: str(empty))
    with pytest.raises(DataError, match="holds 0 folders with train/ and test/, not one"):
        fetch("kaggle-10k", tmp_path / "data")


def test_a_full_disk_leaves_nothing(kaggle: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[Path] = []

    def copy(source: Path, target: Path) -> None:
        copied.append(source)
        if len(copied) == 5:
            raise OSError(28, "No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(module.shutil, "copyfile", copy)
    with pytest.raises(DataError, match=r"cannot be written.*No space left.*free space"):
        fetch("kaggle-10k", tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_without_kagglehub_the_command_to_install_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(DataError, match=r"fetching needs kagglehub; install it with: pip install 'lentigo\[fetch\]'"):
        fetch("kaggle-10k", tmp_path)

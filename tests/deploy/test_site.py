"""The page with its model is one folder, whole or not at all; an old one is replaced, its owner's files are kept."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lentigo.deploy import site as site_module
from lentigo.deploy.site import check_site, export_page
from lentigo.errors import DataError, ModelError

Tree = dict[str, str]


def tree(folder: Path) -> Tree:
    """Every file below a folder, and what is in it."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def put(folder: Path, files: Tree) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


ACCOUNT = json.dumps({"format": 1, "lentigo": "0.1", "onnx": {}})
OLD = {
    "index.html": "old",
    "sw.js": "old",
    "assets/a-1.js": "1",
    "model/model.onnx": "old",
    "model/model.json": ACCOUNT,
}
NEW = {"index.html": "new", "sw.js": "new", "assets/a-2.js": "2"}
NEW_MODEL = {"model/model.onnx": "graph", "model/model.json": ACCOUNT}
OWN = {"CNAME": "moles.example", ".htaccess": "x", "robots.txt": "y", ".git/HEAD": "main", ".well-known/a/b": "z"}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    return put(tmp_path / "page", NEW)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return put(tmp_path / "exported", {"model.onnx": "graph", "model.json": ACCOUNT}) / "model.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sites" / "public"


@pytest.mark.parametrize("before", [None, {}, {".git": "gitdir: elsewhere"}])
def test_the_page_takes_the_model_along(page: Path, model: Path, folder: Path, before: Tree | None) -> None:
    if before is not None:
        folder.mkdir(parents=True)
        put(folder, before)
    export_page(model, page, folder)
    assert tree(folder) == NEW | NEW_MODEL | (before or {})
    assert os.listdir(folder.parent) == ["public"]


def test_an_old_page_goes_and_its_owners_files_stay(page: Path, model: Path, folder: Path) -> None:
    put(folder, OLD | OWN)
    (folder / "latest").symlink_to("CNAME")
    (folder / "robots.txt").chmod(0o640)
    os.utime(folder / "robots.txt", (1000, 1000))
    folder.chmod(0o750)
    export_page(model, page, folder)
    assert tree(folder) == NEW | NEW_MODEL | OWN | {"latest": "moles.example"}
    assert os.readlink(folder / "latest") == "CNAME"
    told = (folder / "robots.txt").stat()
    assert (told.st_mode & 0o777, told.st_mtime, folder.stat().st_mode & 0o777) == (0o640, 1000, 0o750)
    assert os.listdir(folder.parent) == ["public"]
    export_page(model, page, folder)
    assert tree(folder) == NEW | NEW_MODEL | OWN | {"latest": "moles.example"}


def test_a_link_stays_and_what_it_points_to_is_replaced(page: Path, model: Path, folder: Path, tmp_path: Path) -> None:
    put(folder, OLD)
    (tmp_path / "link").symlink_to(folder)
    export_page(model, page, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert tree(folder) == NEW | NEW_MODEL


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"index.html": "mine"}, "index.html"),
        ({"thesis.tex": "1", "b": "2", "c": "3", "d/e": "4", "f": "5"}, "b, c, d and 2 more"),
        ({"index.html": "mine", "model/model.json": "{}"}, "index.html, model"),
        ({"index.html": "mine", "model/model.json": "[1]"}, "index.html, model"),
        ({"index.html": "mine", "model/model.json": "{"}, "index.html, model"),
        ({"model/model.json": ACCOUNT}, "model"),
    ],
)
def test_a_foreign_folder_is_refused_untouched(page: Path, model: Path, folder: Path, files: Tree, found: str) -> None:
    put(folder, files)
    with pytest.raises(ModelError) as refusal:
        export_page(model, page, folder)
    assert str(refusal.value) == (
        f"{folder} holds no page that lentigo wrote, but {found}; give --web a new or empty folder, or the folder of "
        "an earlier page"
    )
    assert tree(folder) == files
    assert os.listdir(folder.parent) == ["public"]


def fails_at(name: str) -> Callable[..., object]:
    """A copy that writes half of one file and then finds the disk full."""
    copy = shutil.copyfile

    def failing(source: Path, target: Path, **options: bool) -> object:
        if Path(source).name != name:
            return copy(source, target, **options)
        Path(target).write_text(Path(source).read_text()[:1])
        raise OSError(28, "No space left on device")

    return failing


@pytest.mark.parametrize("name", ["CNAME", "index.html", "a-2.js", "model.onnx", "model.json"])
def test_a_full_disk_leaves_the_old_page(
    page: Path, model: Path, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, OLD | OWN)
    monkeypatch.setattr(shutil, "copyfile", fails_at(name))
    with pytest.raises(
        DataError, match=r"public cannot be written \(.*No space left.*\) and is as it was; free space,"
    ):
        export_page(model, page, folder)
    assert tree(folder) == OLD | OWN
    assert os.listdir(folder.parent) == ["public"]


@pytest.mark.parametrize("error", [OSError(16, "Device or resource busy"), KeyboardInterrupt()])
def test_a_failed_exchange_is_undone(
    page: Path, model: Path, folder: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, OLD)
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if source.suffix == ".part":
            raise error
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(DataError if isinstance(error, OSError) else KeyboardInterrupt):
        export_page(model, page, folder)
    assert tree(folder) == OLD
    assert os.listdir(folder.parent) == ["public"]


def test_what_is_refused_is_refused_at_once(
    page: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="nothing holds no page; build it with `make web`, or install a released"):
        check_site(tmp_path / "nothing", folder)
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="file is a file; give --web a folder"):
        check_site(page, tmp_path / "file")
    for inside in (folder, folder / "model"):
        with pytest.raises(
            ModelError, match=r"the model goes to .*, inside the page's folder .*; give --out and --web t"
        ):
            check_site(page, folder, model=inside)
    check_site(page, folder, model=folder.parent / "public2")
    put(folder, OLD)
    check_site(page, folder)
    monkeypatch.chdir(folder / "assets")
    with pytest.raises(
        ModelError, match=r"\.\. is replaced as a whole, and you are in it; go elsewhere and name it fro"
    ):
        check_site(page, Path(".."))

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(site_module, "_check_replaceable", denied)
    with pytest.raises(
        DataError, match=r"public cannot be read \(.*Permission denied.*\); give --web a folder of yours"
    ):
        check_site(page, folder)

"""The page with its model is one folder, renewed in place; it works at every moment, and its owner's files stay."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    own = {name: (folder / name).stat() for name in OWN}
    export_page(model, page, folder)
    assert tree(folder) == NEW | NEW_MODEL | OWN | {"latest": "moles.example"}
    assert os.readlink(folder / "latest") == "CNAME"
    for name, told in own.items():  # the same files, so with owner, times and rights
        now = (folder / name).stat()
        assert (now.st_ino, now.st_uid, now.st_mode, now.st_mtime_ns, now.st_ctime_ns) == (
            *(told.st_ino, told.st_uid, told.st_mode, told.st_mtime_ns),
            told.st_ctime_ns,
        )
    assert folder.stat().st_mode & 0o777 == 0o750
    assert os.listdir(folder.parent) == ["public"]
    export_page(model, page, folder)
    assert tree(folder) == NEW | NEW_MODEL | OWN | {"latest": "moles.example"}


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_what_it_points_to_is_renewed(
    page: Path, model: Path, folder: Path, tmp_path: Path, there: bool
) -> None:
    if there:
        put(folder, OLD)
    link = tmp_path / "link"
    link.symlink_to(folder)
    with pytest.raises(ModelError, match="inside the page's folder"):
        check_site(page, link, model=folder / "model")
    export_page(model, page, link)
    assert link.is_symlink()
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


@pytest.mark.parametrize("name", ["sw.js", "index.html", "a-2.js", "model.onnx", "model.json"])
def test_a_full_disk_leaves_the_old_page(
    page: Path, model: Path, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, OLD | OWN)
    before = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr(shutil, "copyfile", fails_at(name))
    with pytest.raises(
        DataError, match=r"public cannot be written \(.*No space left.*\) and is as it was; free space,"
    ):
        export_page(model, page, folder)
    assert tree(folder) == OLD | OWN
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in before} == before
    assert sorted(os.listdir(folder)) == sorted({Path(name).parts[0] for name in OLD | OWN})


def refuse(monkeypatch: pytest.MonkeyPatch, refused: Callable[[str, tuple[Path, ...]], BaseException | None]) -> None:
    """Let what changes names and folders fail where `refused`, of the call's name and its paths, returns an error."""

    def failing(of: str, whole: Callable[..., None]) -> Callable[..., None]:
        def call(*paths: Any, **more: Any) -> None:
            if error := refused(of, tuple(Path(path) for path in paths if isinstance(path, str | Path))):
                raise error
            whole(*paths, **more)

        return call

    for name in ("rename", "replace", "mkdir", "rmdir", "unlink"):
        monkeypatch.setattr(os, name, failing(name, getattr(os, name)))


@pytest.mark.parametrize("before", [{}, OLD | OWN])
def test_a_mount_point_is_written_to(
    page: Path, model: Path, folder: Path, before: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can move one, nor make anything beside it where the parent is another's."""
    folder.mkdir(parents=True)
    put(folder, before)
    (folder / "lost+found").mkdir()
    inode = folder.stat().st_ino

    def refused(of: str, paths: tuple[Path, ...]) -> OSError | None:
        if of in {"rename", "replace"} and folder in paths:
            return OSError(16, "Device or resource busy")
        beside = any(path.parent == folder.parent and path != folder for path in paths)
        return PermissionError(13, "Permission denied") if beside else None

    refuse(monkeypatch, refused)
    check_site(page, folder)
    export_page(model, page, folder)
    assert tree(folder) == NEW | NEW_MODEL | {name: text for name, text in before.items() if name in OWN}
    assert folder.stat().st_ino == inode  # what a container has mounted is this folder


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_ones_own_in_that_of_another(page: Path, model: Path, folder: Path) -> None:
    put(folder, OLD)
    folder.parent.chmod(0o555)
    try:
        check_site(page, folder)
        export_page(model, page, folder)
        with pytest.raises(DataError, match=r"other cannot be read or written to \(.*Permission denied"):
            check_site(page, folder.parent / "other")
    finally:
        folder.parent.chmod(0o755)
    assert tree(folder) == NEW | NEW_MODEL


LINKED = {
    "old": OLD | {"index.html": "assets/a-1.js", "sw.js": "index.html assets/a-1.js", "icon.svg": "old"},
    "new": NEW | {"index.html": "assets/a-2.js", "sw.js": "index.html assets/a-2.js", "icon.svg": "new"},
}
ORDER = ["assets/a-2.js", "icon.svg", "model/model.onnx", "model/model.json", "index.html", "sw.js"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("done", range(len(ORDER)))
def test_a_failure_between_moves_leaves_a_page_with_its_files(
    model: Path, folder: Path, done: int, fresh: bool, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next export finds it to be lentigo's, and completes it."""
    page = put(folder.parent.parent / "linked", LINKED["new"])
    old = {} if fresh else LINKED["old"] | OWN
    folder.mkdir(parents=True)
    put(folder, old)
    told = NEW_MODEL | {"model/model.json": ACCOUNT.replace("0.1", "0.2")}
    put(model.parent, {"model.json": told["model/model.json"]})

    def refused(of: str, paths: tuple[Path, ...]) -> BaseException | None:
        placed = of == "replace" and ".part" in str(paths[0].parent) and ".part" not in str(paths[1])
        return error if placed and paths[1] == folder / ORDER[done] else None

    with monkeypatch.context() as patch:
        refuse(patch, refused)
        with pytest.raises((DataError, KeyboardInterrupt)) as failure:
            export_page(model, page, folder)
    if isinstance(error, OSError):
        assert str(failure.value) == (f"{folder} is renewed only in part ({error}); mend that and export again")
    (hidden,) = folder.glob(".lentigo-*.part")
    assert hidden.stat().st_mode & 0o777 == 0o700
    found = {name: text for name, text in tree(folder).items() if not name.startswith(".lentigo-")}
    new = LINKED["new"] | told
    assert found == old | {name: new[name] for name in ORDER[:done]}
    for name in {"index.html", "sw.js"} & set(found):
        assert set(found[name].split()) <= set(found)
    if found.get("sw.js") == new["sw.js"]:
        assert found["index.html"] == new["index.html"]  # the worker would keep an old one for good
    export_page(model, page, folder)
    assert tree(folder) == new | ({} if fresh else OWN)
    assert not list(folder.glob(".lentigo-*"))


def test_what_cannot_be_removed_stays(
    page: Path, model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old assets, and what an older page had at its top; the page is whole all the same."""
    shared = put(tmp_path / "shared", {"theirs.js": "3"})
    put(folder, OLD | {"assets/deep/er/b.js": "4", "older.svg": "5"})
    with monkeypatch.context() as patch:
        refuse(patch, lambda of, paths: PermissionError(13, "no") if paths[-1].name == "a-1.js" else None)
        export_page(model, page, folder)
    assert tree(folder) == NEW | NEW_MODEL | {"assets/a-1.js": "1", "older.svg": "5"}
    assert not (folder / "assets" / "deep").exists()
    shutil.rmtree(folder / "assets")
    (folder / "assets").symlink_to(shared)
    export_page(model, page, folder)
    assert tree(shared) == {"theirs.js": "3", "a-2.js": "2"}


@pytest.mark.parametrize("place", [".", "assets", "model"])
def test_where_nothing_can_be_written_is_told_at_once(
    page: Path, model: Path, folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a model/ that another user made, or a disk that is mounted there."""
    put(folder, OLD | OWN)

    def refused(of: str, paths: tuple[Path, ...]) -> OSError | None:
        return OSError(18, "Invalid cross-device link") if paths[-1].parent == folder / place else None

    with monkeypatch.context() as patch:
        refuse(patch, lambda of, paths: refused(of, paths) if of == "replace" else None)
        with pytest.raises(
            DataError, match=r"public cannot be read or written to \(.*cross-device.*\); give --web a folder of yours,"
        ):
            check_site(page, folder)
    assert tree(folder) == OLD | OWN


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
    check_site(page, Path(".."))
    assert tree(folder) == OLD  # and nothing of the attempt to write
    with pytest.raises(ModelError, match=r"index\.html is no folder; give --web a folder"):
        check_site(page, folder / "index.html" / "a" / "b")
    (tmp_path / "around").symlink_to("around")
    with pytest.raises(ModelError, match="around is no folder; give --web a folder"):
        check_site(page, tmp_path / "around")

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for step, place in [("iterdir", folder), ("touch", folder), ("touch", tmp_path / "new" / "er")]:
        with monkeypatch.context() as patch:
            patch.setattr(Path, step, denied)
            with pytest.raises(
                DataError, match=r" cannot be read or written to \(.*denied.*\); give --web a folder of"
            ):
                check_site(page, place)
    assert not (tmp_path / "new").exists()


def test_what_a_killed_check_left_is_nothing(tmp_path: Path) -> None:
    page, model, folder = tmp_path / "page", tmp_path / "model.onnx", tmp_path / "site"
    page.mkdir()
    (page / "index.html").write_text("page")
    model.write_bytes(b"model")
    model.with_name("model.json").write_text("{}")
    folder.mkdir()
    (folder / ".lentigo-00000000.part").touch()
    export_page(model, page, folder)
    assert sorted(os.listdir(folder)) == ["index.html", "model"]


def test_a_trial_file_that_stays_does_not_undo_a_whole_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that several share, such as one with a sticky bit, it may be another's."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "old.js").touch()
    (tmp_path / ".lentigo-0000.part").touch()
    unlink = Path.unlink

    def refused(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".part":
            raise PermissionError(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    site_module._tidy(tmp_path, set())
    assert [path.name for path in sorted(tmp_path.rglob("*"))] == [".lentigo-0000.part", "assets"]

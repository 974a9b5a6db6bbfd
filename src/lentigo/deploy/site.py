"""`lentigo export --web DIR`: the built page and a model as one folder that any static host can serve.

The folder is written whole or not at all. It may be that of an earlier export, with its owner's files in it: lentigo's
are `assets/`, `model/` and what the page brings at its top; everything else stays.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from lentigo.errors import DataError, LentigoError, ModelError
from lentigo.files import read_json, whole_file

PAGE = Path(__file__).parent / "web"  # built by `make web`, and part of a released package
_OWN = {"assets", "model"}
_SHOWN = 3  # names of found files in a refusal


def check_site(page: Path, folder: Path, *, model: Path | None = None) -> None:
    """Refuse what `export_page` would refuse; for before a model is made.

    Args:
        page: the built page.
        folder: where the site goes: new, empty, or a site of lentigo.
        model: the folder that the model is written to, if that is still to come.
    Raises:
        ModelError: the page was not built, or the folder holds something else.
        DataError: the folder cannot be read.
    """
    if not (page / "index.html").is_file():
        raise ModelError(f"{page} holds no page; build it with `make web`, or install a released lentigo")
    if model is not None and model.resolve().is_relative_to(folder.resolve()):
        raise ModelError(
            f"the model goes to {model}, inside the page's folder {folder}, which gets its own copy under model/; give "
            "--out and --web two folders"
        )
    try:
        _check_replaceable(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error}); give --web a folder of yours") from error


def export_page(model: Path, page: Path, folder: Path) -> None:
    """Write the built page and a model to a folder, in place of an earlier page.

    The site is made beside the folder and takes its place by two renames. Between these, for less than a millisecond,
    there is no such folder; if the second fails, the first is undone.

    Args:
        model: a model.onnx, with its model.json beside it.
        page: the built page.
        folder: see `check_site`.
    Raises:
        ModelError: as `check_site`.
        DataError: it cannot be written; what was there is as it was.
    """
    check_site(page, folder)
    target = folder.resolve()  # of a link: what it points to
    try:
        with _beside(target) as made:
            if target.is_dir():
                _carry(target, made, _OWN | {path.name for path in page.iterdir()})
            sources = {path.relative_to(page): path for path in sorted(page.rglob("*")) if path.is_file()}
            sources |= {Path("model", name): model.with_name(name) for name in ("model.onnx", "model.json")}
            for name, source in sources.items():
                with whole_file(made / name) as temporary:
                    shutil.copyfile(source, temporary)
            _exchange(made, target)
    except OSError as error:  # shutil.Error is one
        raise DataError(
            f"{folder} cannot be written ({error}) and is as it was; free space, or give --web another folder"
        ) from error


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file; give --web a folder")
    if not folder.is_dir():
        return
    if Path.cwd().is_relative_to(folder.resolve()):
        raise ModelError(f"{folder} is replaced as a whole, and you are in it; go elsewhere and name it from there")
    found = sorted(path.name for path in folder.iterdir() if path.name != ".git")
    if found and not _is_site(folder):
        names = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        raise ModelError(
            f"{folder} holds no page that lentigo wrote, but {names}; give --web a new or empty folder, or the folder "
            "of an earlier page"
        )


def _is_site(folder: Path) -> bool:
    try:
        told = read_json(folder / "model" / "model.json")
    except LentigoError:
        return False
    return (folder / "index.html").is_file() and isinstance(told, dict) and {"format", "lentigo", "onnx"} <= set(told)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A new folder beside another; nothing is left of it unless it was moved away."""
    target.parent.mkdir(parents=True, exist_ok=True)
    made = _hidden(target, "part")
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _carry(old: Path, new: Path, own: set[str]) -> None:
    """Copy all but our own, with times, rights and links."""

    def ours(folder: str, names: list[str]) -> set[str]:
        return own & set(names) if Path(folder) == old else set()

    shutil.copytree(old, new, symlinks=True, ignore=ours, dirs_exist_ok=True)


def _exchange(made: Path, target: Path) -> None:
    if not target.is_dir():
        os.rename(made, target)
        return
    old = _hidden(target, "old")
    os.rename(target, old)
    try:
        os.rename(made, target)
    except BaseException:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _hidden(target: Path, ending: str) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.{ending}")

"""`lentigo export --web DIR`: the built page and a model as one folder that any static host can serve.

The folder is new, empty, or that of an earlier export, with its owner's files in it. It is renewed in place: its own
name is never changed, so that it may be a mount point, a link, or lie where one may not write. Its owner's files are
neither read nor moved. lentigo's are `assets/`, the pair in `model/`, and what the page brings at its top. Of these,
only old files in `assets/` are removed: what an older page had at its top, and a newer has not, stays.
"""

import contextlib
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from lentigo.errors import DataError, LentigoError, ModelError
from lentigo.files import read_json, whole_file

PAGE = Path(__file__).parent / "web"  # built by `make web`, and part of a released package
_LAST = ("model/model.onnx", "model/model.json", "index.html", "sw.js")
_NOTHING = {".git", "lost+found"}  # a folder with these alone is empty; the second is in every new ext4 volume
_SHOWN = 3  # names of found files in a refusal


def check_site(page: Path, folder: Path, *, model: Path | None = None) -> None:
    """Refuse what `export_page` would refuse; for before a model is made.

    Args:
        page: the built page.
        folder: where the site goes: new, empty, or a site of lentigo.
        model: the folder that the model is written to, if that is still to come.
    Raises:
        ModelError: the page was not built, or the folder holds something else.
        DataError: the folder cannot be read, made, or written to; this is tried with an empty file.
    """
    if not (page / "index.html").is_file():
        raise ModelError(f"{page} holds no page; build it with `make web`, or install a released lentigo")
    target = _target(folder)
    if model is not None and _target(model).is_relative_to(target):
        raise ModelError(
            f"the model goes to {model}, inside the page's folder {folder}, which gets its own copy under model/; give "
            "--out and --web two folders"
        )
    try:
        _check_ours(folder)
        _check_writable(target)
    except OSError as error:
        raise DataError(
            f"{folder} cannot be read or written to ({error}); give --web a folder of yours, or change its rights"
        ) from error


def export_page(model: Path, page: Path, folder: Path) -> None:
    """Write the built page and a model to a folder, in place of an earlier page.

    All files are first written to a hidden folder inside it, `.lentigo-….part`; a full disk is noticed then, and the
    site is as it was. Then each file is moved to its place, after those that it names: assets, icons and manifest;
    model.onnx, model.json; index.html; sw.js, the service worker, which keeps all of the page's files as it finds them
    and so must find the new ones. Old assets go last.

    So index.html has its assets at every moment. A visit between two moves may get the old page with the new model,
    which those who have kept the old page get anyway, or the new page with the old worker, for that one visit.
    Between the moves of model.onnx and model.json, which take less than a millisecond, the old description stands
    beside the new file; the page sees by its sum that they do not fit, and asks for the description anew.

    A command that is killed while it moves files leaves one of these states, and the hidden folder; a new site has no
    index.html yet. A renewed one is broken only between the pair: new visitors are told that the model's file is not
    the described one (on plain http, where browsers compute no sums, it is used with the old one's limits), while a
    visitor's kept model goes on working. The next export puts all of it right. Two at once are not kept apart.

    Args:
        model: a model.onnx, with its model.json beside it.
        page: the built page.
        folder: see `check_site`.
    Raises:
        ModelError: as `check_site`.
        DataError: as `check_site`; or a file cannot be written, and the site is as it was; or cannot be moved, and the
            site is in one of the states above.
    """
    check_site(page, folder)
    target = _target(folder)
    sources = {path.relative_to(page): path for path in page.rglob("*") if path.is_file()}
    sources |= {Path("model", name): model.with_name(name) for name in ("model.onnx", "model.json")}
    try:
        made = _write(sources, target)
    except OSError as error:  # shutil.Error is one
        raise DataError(
            f"{folder} cannot be written ({error}) and is as it was; free space, or give --web another folder"
        ) from error
    try:
        for name in sorted(sources, key=_turn):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(made / name, target / name)
    except OSError as error:  # what is left of `made` tells the next export that this was a site in the making
        raise DataError(f"{folder} is renewed only in part ({error}); mend that and export again") from error
    _tidy(target, set(sources))


def _target(folder: Path) -> Path:
    """Of a link: what it points to, which need not be there yet."""
    return Path(os.path.realpath(folder))


def _check_ours(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ModelError(f"{folder} is a file; give --web a folder")
    nothing = _NOTHING | {path.name for path in _leftovers(folder)}
    found = sorted(path.name for path in folder.iterdir() if path.name not in nothing) if folder.is_dir() else []
    if found and not _is_site(folder):
        names = ", ".join(found[:_SHOWN]) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
        raise ModelError(
            f"{folder} holds no page that lentigo wrote, but {names}; give --web a new or empty folder, or the folder "
            "of an earlier page"
        )


def _is_site(folder: Path) -> bool:
    if any(path.is_dir() for path in _leftovers(folder)):
        return True  # an export was interrupted, perhaps the first
    try:
        told = read_json(folder / "model" / "model.json")
    except LentigoError:
        return False
    return (folder / "index.html").is_file() and isinstance(told, dict) and {"format", "lentigo", "onnx"} <= set(told)


def _check_writable(target: Path) -> None:
    """By doing it: rights do not tell of a read-only disk, nor of a folder that is mounted inside the other."""
    base = target
    while not os.path.lexists(base):
        base = base.parent
    if not base.is_dir():  # or a link that leads back to itself
        raise ModelError(f"{base} is no folder; give --web a folder")
    places = [target / "assets", target / "model"]  # an earlier export by another user may have made them
    for place in [base, *(place for place in places if place.is_dir())]:
        probe = _hidden(base)
        moved = place / probe.name
        probe.touch(exist_ok=False)
        try:
            os.replace(probe, moved)
        finally:
            probe.unlink(missing_ok=True)
            moved.unlink(missing_ok=True)


def _write(sources: Mapping[Path, Path], target: Path) -> Path:
    """All files in a new hidden folder; if one fails, nothing is left of it, but for an empty `target`."""
    target.mkdir(parents=True, exist_ok=True)
    made = _hidden(target)
    made.mkdir(mode=0o700)  # no host serves it
    try:
        for name, source in sources.items():
            with whole_file(made / name) as temporary:
                shutil.copyfile(source, temporary)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return made


def _turn(name: Path) -> tuple[int, str]:
    """A file's turn comes after those of the files that it names."""
    text = name.as_posix()
    return _LAST.index(text) + 1 if text in _LAST else 0, text


def _tidy(target: Path, kept: set[Path]) -> None:
    """Remove hidden folders and old assets. The site is whole: what cannot be removed is left to the next export."""
    for made in _leftovers(target):
        if made.is_dir():
            shutil.rmtree(made, ignore_errors=True)
        else:  # what `_check_writable` tried with
            with contextlib.suppress(OSError):  # in a shared folder perhaps another's
                made.unlink()
    assets = target / "assets"
    if assets.is_symlink():  # other sites may share what it points to
        return
    for path in sorted(assets.rglob("*"), reverse=True):  # a folder after what is in it
        if path.relative_to(target) not in kept:
            with contextlib.suppress(OSError):  # such as a folder that still holds something
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _hidden(folder: Path) -> Path:
    return folder / f".lentigo-{secrets.token_hex(4)}.part"


def _leftovers(folder: Path) -> list[Path]:
    return sorted(folder.glob(".lentigo-*.part"))

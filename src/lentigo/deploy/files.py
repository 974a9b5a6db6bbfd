"""Any number of picture files through a model, in order, a few at once; a bad one stops nothing."""

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from lentigo.deploy.model_file import RUNTIME_ERRORS
from lentigo.deploy.screen import Screener, Screening, heat_overlay
from lentigo.errors import ConfigError, LentigoError, ModelError
from lentigo.files import whole_file
from lentigo.imaging import read_image
from lentigo.machine import cores

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
HEATMAP_SUFFIX = ".heat.png"  # so that no heat map takes the place of a picture
HEATMAP_PX = 1024  # of the longer side, at most
_WILD = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file to screen, and where its heat map goes below the folder of heat maps."""

    path: Path
    place: Path
    error: str = ""  # why it cannot be read, where that is known already


@dataclass(frozen=True, kw_only=True)
class Screened:
    """One file's result, or why there is none."""

    path: Path
    screening: Screening | None
    error: str  # empty where there is a result


def pictures(given: Iterable[str]) -> Iterator[Picture]:
    """The files that paths, folders and patterns name, in that order; of a folder all images below it, by name.

    Heat maps of an earlier call are no pictures of a folder. A name that is no folder comes through as it is, and so
    does a pattern that matches nothing: screening says what is wrong with it.

    Raises: ConfigError: a name is empty, which would mean the folder that one is in.
    """
    for text in given:
        path = Path(text)
        if not text:
            raise ConfigError("one of the images has an empty name; give files, folders or patterns")
        if _exists(path, Path.is_dir):
            yield from _below(path, path)
        elif _WILD & set(text) and not _exists(path, Path.exists):
            found = sorted(name for name in glob.iglob(text, recursive=True) if Path(name).is_file())
            for name in found or [text]:
                yield Picture(path=Path(name), place=Path(Path(name).name))
        else:
            yield Picture(path=path, place=Path(path.name))


def screen_files(
    model: Path, sources: Iterable[Picture], *, heatmaps: Path | None = None, insist: bool = False, threads: int = 0
) -> Iterator[Screened]:
    """Screen files in order; as many at once as there are cores.

    Args:
        model: a model.onnx, or its folder.
        sources: may be endless; a few are taken ahead of the results.
        heatmaps: folder for a PNG of each judged picture with its heat map; two of one name are told apart by a number.
        insist: see `Screener.screen`.
        threads: pictures at once; 0: one a core.
    Raises:
        ModelError: the model cannot be used.
        ConfigError: `heatmaps` is a file.
    """
    if heatmaps is not None and heatmaps.exists() and not heatmaps.is_dir():
        raise ConfigError(f"--heatmaps {heatmaps} is a file; give a folder")
    count = threads or cores()
    sources = iter(sources)
    first = [picture for _, picture in zip(range(2), sources, strict=False)]
    screener = Screener(model, threads=0 if len(first) < 2 or count == 1 else 1)
    taken: dict[Path, int] = {}

    def job(picture: Picture, place: Path | None) -> Screened:
        return _screened(screener, picture, place, insist)

    def chained() -> Iterator[Picture]:
        yield from first
        yield from sources

    waiting: deque[Future[Screened]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for picture in chained():
                place = None if heatmaps is None else heatmaps / _free(picture.place, taken)
                waiting.append(pool.submit(job, picture, place))
                if len(waiting) > 2 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def findings_words(screening: Screening) -> str:
    """The findings in a few words, the refusing ones first."""
    ordered = sorted(screening.findings, key=lambda finding: finding.severity != "refuse")
    return ", ".join(f"{finding.name}{'!' if finding.severity == 'refuse' else ''}" for finding in ordered)


def _screened(screener: Screener, picture: Picture, place: Path | None, insist: bool) -> Screened:
    """What goes wrong with one file is told of that file, whatever it is."""
    path = picture.path
    if picture.error:
        return Screened(path=path, screening=None, error=picture.error)
    try:
        image = read_image(path)
        screening = screener.screen(image, name=str(path), insist=insist)
        if place is not None and screening.heat is not None:
            drawn = heat_overlay(image, screening.heat, screener.about, side_px=HEATMAP_PX)
            _write_picture(place, Image.fromarray(drawn))
    except (LentigoError, MemoryError, *RUNTIME_ERRORS) as error:
        told = str(error) if isinstance(error, LentigoError) else f"{path} cannot be judged ({error!r})"
        return Screened(path=path, screening=None, error=told)
    return Screened(path=path, screening=screening, error="")


def _write_picture(path: Path, picture: Image.Image) -> None:
    try:
        with whole_file(path) as temporary:
            picture.save(temporary, format="PNG")
    except OSError as error:
        raise ModelError(
            f"{path} cannot be written ({error}); free space, or give --heatmaps another folder"
        ) from error


def _below(folder: Path, root: Path) -> Iterator[Picture]:
    """Images in a folder and those in it, without reading more than one folder's names at a time."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        why = f"{folder} cannot be looked through ({error}); check its permissions, or leave it out"
        yield Picture(path=folder, place=folder.relative_to(root), error=why)
        return
    for entry in entries:
        path = Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _below(path, root)
        elif path.suffix.lower() in SUFFIXES and not path.name.endswith(HEATMAP_SUFFIX) and entry.is_file():
            yield Picture(path=path, place=path.relative_to(root))


def _exists(path: Path, how: Callable[[Path], bool]) -> bool:
    try:
        return how(path)
    except (OSError, ValueError):  # a name that is too long, or holds a NUL: reading it says so
        return False


def _free(place: Path, taken: dict[Path, int]) -> Path:
    """A name that is not taken, and takes it; `taken` notes from which number on to look for the next of a name."""
    first = place.with_name(place.stem + HEATMAP_SUFFIX)
    found, number = first, taken.get(first, 2)
    while found in taken:
        found, number = place.with_name(f"{place.stem}-{number}{HEATMAP_SUFFIX}"), number + 1
    taken[found] = 2
    taken[first] = number
    return found


CSV_HEADER: Sequence[str] = (
    "image", "band", "probability", "calibrated", "band_reason", "logit", "outlier", "findings", "model", "demo",
    "error",
)  # fmt: skip


def csv_row(result: Screened) -> list[str]:
    """One line of the CSV form: an empty cell where there is no value."""
    found = result.screening
    if found is None:
        return [str(result.path), *[""] * (len(CSV_HEADER) - 2), result.error]
    names = ";".join(f"{finding.name}:{finding.severity}" for finding in found.findings)
    return [
        str(result.path), found.band, _cell(found.probability), _cell(found.calibrated), found.band_reason,
        _cell(found.logit), _cell(found.outlier), names, found.model, _cell(found.demo), "",
    ]  # fmt: skip


def _cell(value: float | bool | None) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:.6g}"

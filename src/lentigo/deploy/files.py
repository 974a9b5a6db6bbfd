"""Any number of picture files through a model, in order, a few at once; a bad one stops nothing."""

import glob
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lentigo.deploy.screen import Screener, Screening, heat_overlay
from lentigo.errors import ImageError, ModelError
from lentigo.files import whole_file
from lentigo.imaging import read_image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
HEATMAP_PX = 1024  # of the longer side, at most: a map has 75 cells, and 50 megapixels of colours would take gigabytes
_WILD = frozenset("*?[")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A file to screen, and where its heat map goes below the folder of heat maps."""

    path: Path
    place: Path


@dataclass(frozen=True, kw_only=True)
class Screened:
    """One file's result, or why there is none."""

    path: Path
    screening: Screening | None
    error: str  # empty where there is a result


def pictures(given: Iterable[str]) -> Iterator[Picture]:
    """The files that paths, folders and patterns name, in that order; of a folder all images below it, by name.

    A name that is no folder comes through as it is, and so does a pattern that matches nothing: screening says what is
    wrong with it.
    """
    for text in given:
        path = Path(text)
        if path.is_dir():
            for file in _below(path):
                yield Picture(path=file, place=file.relative_to(path))
        elif _WILD & set(text) and not path.exists():
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
    Raises: ModelError: the model cannot be used, or heat maps cannot be written.
    """
    count = threads or _cores()
    sources = iter(sources)
    first = [picture for _, picture in zip(range(2), sources, strict=False)]
    screener = Screener(model, threads=0 if len(first) < 2 or count == 1 else 1)
    taken: set[Path] = set()

    def job(picture: Picture, place: Path | None) -> Screened:
        return _screened(screener, picture.path, place, insist)

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


def _screened(screener: Screener, path: Path, place: Path | None, insist: bool) -> Screened:
    try:
        image = read_image(path)
        screening = screener.screen(image, name=str(path), insist=insist)
    except ImageError as error:
        return Screened(path=path, screening=None, error=str(error))
    if place is not None and screening.heat is not None:
        small = _at_most(image, HEATMAP_PX)
        _write_picture(place, Image.fromarray(heat_overlay(small, screening.heat, screener.about)))
    return Screened(path=path, screening=screening, error="")


def _at_most(
    image: UInt8[np.ndarray, "height width 3"], side_px: int
) -> UInt8[np.ndarray, "small_height small_width 3"]:
    """The image, made smaller where its longer side is longer."""
    if max(image.shape[:2]) <= side_px:
        return image
    picture = Image.fromarray(image)
    picture.thumbnail((side_px, side_px))
    return np.asarray(picture)


def _write_picture(path: Path, picture: Image.Image) -> None:
    try:
        with whole_file(path) as temporary:
            picture.save(temporary, format="PNG")
    except OSError as error:
        raise ModelError(
            f"{path} cannot be written ({error}); free space, or give --heatmaps another folder"
        ) from error


def _below(folder: Path) -> Iterator[Path]:
    """Images in a folder and those in it, without reading more than one folder's names at a time."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # not ours to read: what can be read goes on
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(Path(entry.path))
        elif Path(entry.name).suffix.lower() in SUFFIXES and entry.is_file():
            yield Path(entry.path)


def _free(place: Path, taken: set[Path]) -> Path:
    wanted, number = place.with_suffix(".png"), 2
    found = wanted
    while found in taken:
        found, number = wanted.with_name(f"{wanted.stem}-{number}.png"), number + 1
    taken.add(found)
    return found


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


CSV_HEADER: Sequence[str] = (
    "image", "band", "probability", "logit", "outlier", "findings", "model", "demo", "error",
)  # fmt: skip


def csv_row(result: Screened) -> list[str]:
    """One line of the CSV form: an empty cell where there is no value."""
    found = result.screening
    if found is None:
        return [str(result.path), "", "", "", "", "", "", "", result.error]
    numbers = ["" if value is None else f"{value:.6g}" for value in (found.probability, found.logit, found.outlier)]
    names = ";".join(f"{finding.name}:{finding.severity}" for finding in found.findings)
    return [str(result.path), found.band, *numbers, names, found.model, str(found.demo).lower(), ""]

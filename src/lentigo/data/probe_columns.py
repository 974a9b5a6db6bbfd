"""What a probe may see without the pixels: the file's header and size, and the columns of the image table.

In: facts of the files, or the table's rows. Out: one `View` each. A missing value is a value of its own.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32, Int64

from lentigo.data.inspection import FileFacts
from lentigo.data.probe_views import View, missing_view
from lentigo.data.table import ImageTable

MAX_LEVELS = 30  # values of a column that are told apart, the most frequent ones; the others count as one
# The diagnosis is the label; a lesion's or patient's number is that of a group, which no fold knows from another.
COLUMN_TITLES = {
    "source": "Source",
    "age": "Age",
    "sex": "Sex",
    "site": "Body site",
    "skin_tone": "Skin tone",
}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def file_views(table: ImageTable, facts: Sequence[FileFacts], rows: Int64[np.ndarray, " image"]) -> tuple[View, View]:
    """Header (width, height, aspect, format, mode, orientation, EXIF, JPEG tables) and size of the files at `rows`.

    The size (bytes, and bytes a pixel) grows with the detail in the picture, so it sees the lesion, if indirectly.

    Args:
        facts: of every image of the table, in any order; fewer: neither is run.
    """
    by_id = {fact.id: fact for fact in facts}
    wanted = [by_id.get(table.rows[row].id) for row in rows]
    found = [fact for fact in wanted if fact is not None]
    header = ("file_header", "File header", "the file's header alone")
    size = ("file_size", "File size", "the file's size alone")
    if len(found) < len(wanted):
        reason = f"the facts of {len(wanted) - len(found)} files were not given" if facts else "no file was inspected"
        return (
            missing_view(*header, sees_lesion=False, n=rows.size, not_run=reason),
            missing_view(*size, sees_lesion=True, n=rows.size, not_run=reason),
        )
    pixels = [max(1, fact.width * fact.height) for fact in found]
    sizes = [(fact.bytes, fact.bytes / n) for fact, n in zip(found, pixels, strict=True)]
    return (
        _view(*header, features=_header_numbers(found)),
        _view(*size, features=np.array(sizes, dtype=np.float32).reshape(-1, 2), sees_lesion=True),
    )


def column_views(table: ImageTable, rows: Int64[np.ndarray, " image"]) -> tuple[View, ...]:
    """A view of each metadata column that holds a value at `rows`, and of whether a mask is given if only some have."""
    views = []
    for name, title in COLUMN_TITLES.items():
        cells = [getattr(table.rows[row], name).strip() for row in rows]
        if any(cells):
            features = _years(cells) if name == "age" else _levels([cell.casefold() for cell in cells])
            given = np.array([bool(cell) for cell in cells])
            seen = f"the column {name} alone{_how_often(given, table.labels[rows])}"
            views.append(replace(_view(name, title, seen, features=features), given=given))
    masked = [bool(table.rows[row].mask) for row in rows]
    if any(masked) and not all(masked):
        given = np.array(masked, dtype=np.float32)[:, None]
        views.append(_view("mask_given", "Mask given", "whether a lesion mask is given", features=given))
    return tuple(views)


def _how_often(given: Bool[np.ndarray, " image"], labels: Int64[np.ndarray, " image"]) -> str:
    """In how many images of each class a value is given: where classes differ in that, it tells more than the value."""
    if given.all() or np.unique(labels).size < 2:
        return ""
    benign, malignant = (100 * given[labels == label].mean() for label in (0, 1))
    return f" (given for {benign:.0f} % of the benign and {malignant:.0f} % of the malignant images)"


def _view(
    name: str, title: str, seen: str, *, features: Float32[np.ndarray, "image feature"], sees_lesion: bool = False
) -> View:
    known: Bool[np.ndarray, " image"] = np.ones(len(features), dtype=np.bool_)
    return View(name=name, title=title, seen=seen, sees_lesion=sees_lesion, features=features, known=known)


def _header_numbers(facts: Sequence[FileFacts]) -> Float32[np.ndarray, "image feature"]:
    sides = [(f.width, f.height, f.width / max(1, f.height), np.mean(f.quantisation or (0,))) for f in facts]
    texts = (
        [fact.format for fact in facts],
        [fact.mode for fact in facts],
        [str(fact.orientation) for fact in facts],
        [str(fact.has_exif) for fact in facts],
        [" ".join(map(str, fact.quantisation)) for fact in facts],
    )
    return np.concatenate([np.array(sides, dtype=np.float32).reshape(-1, 4), *map(_levels, texts)], axis=1)


def _levels(cells: Sequence[str]) -> Float32[np.ndarray, "image level"]:
    """One column a value, 1 where an image has it. An image with a value that is rare has 0 in all of them."""
    counts = sorted(Counter(cells).items(), key=lambda item: (-item[1], item[0]))
    index = {value: place for place, (value, _) in enumerate(counts[:MAX_LEVELS])}
    features = np.zeros((len(cells), len(index)), dtype=np.float32)
    for row, cell in enumerate(cells):
        if cell in index:
            features[row, index[cell]] = 1
    return features


def _years(cells: Sequence[str]) -> Float32[np.ndarray, "image 2"]:
    """The first number in each cell, the mean of all where there is none, and whether there is none."""
    matches = [_NUMBER.search(cell) for cell in cells]
    numbers = np.array([float(match[0]) if match else np.nan for match in matches], dtype=np.float32)
    none = np.isnan(numbers)
    numbers[none] = 0 if none.all() else numbers[~none].mean()
    return np.stack((numbers, none.astype(np.float32)), axis=1)

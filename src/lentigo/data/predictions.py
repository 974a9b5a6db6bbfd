"""Scores of one classifier on a set of images, as a CSV file: lentigo's own `predictions.csv`, or another program's.

A file has a line an image, with its name, its label and either a logit or a probability of malignant. Any column of an
image table (source, patient, lesion, age, sex, site, diagnosis, skin tone) may stand beside them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from lentigo.data.table import COLUMNS, ImageRow, ImageTable, label_of
from lentigo.errors import DataError
from lentigo.files import read_numbered_csv, write_csv

LOGIT = ("logit", "logits")
PROBABILITY = ("probability", "prob", "p", "p_malignant")
DESCRIBING = ("source", "patient", "lesion", "age", "sex", "site", "diagnosis", "skin_tone")


@dataclass(frozen=True)
class Predictions:
    """Scores of one classifier on one set of images."""

    ids: tuple[str, ...]
    labels: Int64[np.ndarray, " image"]  # 1 = malignant
    logits: Float32[np.ndarray, " image"]  # higher = more malignant
    rows: tuple[ImageRow, ...] = field(default=(), compare=False)  # what the file says of each image; none: nothing

    def write(self, path: Path) -> None:
        """Write `predictions.csv` (image, label, logit); the nine digits name a float32 exactly."""
        rows = zip(self.ids, self.labels, (f"{logit:.9g}" for logit in self.logits), strict=True)
        write_csv(path, ("image", "label", "logit"), rows)


def read_predictions(path: Path, *, positive: Sequence[str] = ()) -> Predictions:
    """Read the scores of one classifier.

    A probability p becomes the logit log(p / (1 - p)), infinite at 0 and 1.

    Args:
        positive: label spellings that count as malignant, as `read_table` has them; labels 0 and 1 need none.
    Raises: DataError: a column is missing, an image stands twice, a label is unknown, `positive` names one that is not
        there, a logit is not finite, or a probability is outside [0, 1].
    """
    lines = read_numbered_csv(path)
    if not lines:
        raise DataError(f"{path} has no line below its header; one line an image is needed")
    names = _columns(path, list(lines[0][1]))
    written = {line[names["label"]].strip().lower() for _, line in lines}
    if written <= {"0", "1"}:
        positive = ()  # as lentigo writes them, whatever the data's own labels are called
    elif absent := [name for name in positive if name.strip().lower() not in written]:
        raise DataError(
            f"{path} has no label {' and no label '.join(absent)}; --positive takes some of "
            f"{', '.join(sorted(written)[:8])}"
        )
    read = _logit if "logit" in names else _logit_of_probability
    rows, logits, seen = [], [], set[str]()
    for number, line in lines:
        where, image = f"{path} line {number}", line[names["image"]]
        if not image or image in seen:
            found = f"{image} stands twice; keep one of the lines" if image else "names no image; fill the cell"
            raise DataError(f"{where}: {found}")
        label = label_of(line[names["label"]], positive=positive)
        if label is None:
            raise DataError(
                f"{where}: label is {line[names['label']]!r}; it must be 0 or 1, benign or malignant, or one of those "
                "that --positive names"
            )
        seen.add(image)
        logits.append(read(line, names, where))
        described = {column: line[names[column]] for column in DESCRIBING if column in names}
        rows.append(ImageRow(id=image, path=Path(image), label=label, **described))
    return Predictions(
        ids=tuple(row.id for row in rows),
        labels=np.array([row.label for row in rows], dtype=np.int64),
        logits=np.array(logits, dtype=np.float32),
        rows=tuple(rows),
    )


def described_by(predictions: Predictions, table: ImageTable) -> Predictions:
    """The same scores, with the table's rows; what the table does not say is kept from the predictions' own file.

    Raises: DataError: an image is not in the table, or has another label there.
    """
    place = {row.id: row for row in table.rows}
    own = predictions.rows or tuple(ImageRow(id=name, path=Path(name), label=0) for name in predictions.ids)
    rows = []
    for name, label, old in zip(predictions.ids, predictions.labels, own, strict=True):
        row = place.get(name)
        if row is None:
            raise DataError(f"{name} is not in {table.name}; give the data that the predictions were made on")
        if row.label != label:
            raise DataError(
                f"{name} is {label} in the predictions and {row.label} in {table.name}; correct one of the labels, or "
                "name the malignant ones with --positive"
            )
        kept = {column: getattr(row, column) or getattr(old, column) for column in DESCRIBING}
        rows.append(replace(row, **kept))
    return replace(predictions, rows=tuple(rows))


def _columns(path: Path, header: list[str]) -> dict[str, str]:
    lower = {name.lower(): name for name in header}
    wanted = {column: COLUMNS[column] for column in ("image", "label", *DESCRIBING)}
    wanted |= {"logit": LOGIT, "probability": PROBABILITY}
    found = {column: next((lower[name] for name in names if name in lower), "") for column, names in wanted.items()}
    missing = [column for column in ("image", "label") if not found[column]]
    if not (found["logit"] or found["probability"]):
        missing.append("logit or probability")
    if missing:
        hint = "; save it with commas between the columns" if len(header) == 1 and ";" in header[0] else ""
        raise DataError(
            f"{path} has no column {' and no column '.join(missing)}, only {', '.join(header)}; give one image a line, "
            f"with the columns image, label and logit, as `lentigo evaluate` writes them{hint}"
        )
    return {column: name for column, name in found.items() if name}


def _logit(line: dict[str, str], names: dict[str, str], where: str) -> float:
    cell = line[names["logit"]]
    value = _number(cell)
    with np.errstate(over="ignore"):
        if not np.isfinite(np.float32(value)):
            raise DataError(f"{where}: logit is {cell!r}; it must be a finite number")
    return value


def _logit_of_probability(line: dict[str, str], names: dict[str, str], where: str) -> float:
    cell = line[names["probability"]]
    p = _number(cell)
    if not 0 <= p <= 1:
        raise DataError(f"{where}: {names['probability']} is {cell!r}; it must be a number in [0, 1]")
    return math.copysign(math.inf, p - 0.5) if p in (0, 1) else math.log(p / (1 - p))


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan

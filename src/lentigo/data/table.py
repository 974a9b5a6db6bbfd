"""The image table: class folders or a CSV in, one checked row per image out. No pixel is read here.

Three layouts are read:

* class folders `benign/` and `malignant/`, also under `train/`, `validation/` and `test/`, in any letter case;
* a CSV file with an image column and a label column;
* a folder that holds such a CSV under the name `metadata.csv`.
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from lentigo.errors import DataError
from lentigo.files import read_numbered_csv

LABEL_NAMES = ("benign", "malignant")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
SPELLINGS = {
    "benign": 0, "0": 0, "0.0": 0, "b": 0, "ben": 0, "non-malignant": 0, "nonmalignant": 0, "false": 0,
    "malignant": 1, "1": 1, "1.0": 1, "m": 1, "mal": 1, "malign": 1, "true": 1,
}  # fmt: skip
PARTS = ("train", "validation", "test")
METADATA = "metadata.csv"  # the table of the folder that holds it
_PART_PATTERN = re.compile(r"^(train|val|test)", re.IGNORECASE)
_PART_OF = {"train": "train", "val": "validation", "test": "test"}
_IGNORED_FOLDERS = {"masks", "mask", "segmentations", "__macosx"}
_MAX_LISTED = 8
# A name with one of these does not come back the same from a CSV file, or cannot be written to it at all.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]|^\s|\s$")
# The first name found is the column; what stands first is lentigo's own name for it.
COLUMNS: dict[str, tuple[str, ...]] = {
    "image": ("image", "image_path", "path", "file", "filename", "file_name", "image_name", "image_id", "isic_id"),
    "label": ("label", "target", "class", "benign_malignant", "malignant", "diagnosis", "dx"),
    "split": ("split", "part", "partition", "kaggle_split", "isic_split"),
    "source": ("source", "archive", "origin"),
    "patient": ("patient", "patient_id"),
    "lesion": ("lesion", "lesion_id"),
    "age": ("age", "age_approx"),
    "sex": ("sex", "gender"),
    "site": ("site", "anatom_site_general", "anatom_site_general_challenge", "localization"),
    "diagnosis": ("diagnosis", "dx"),
    "skin_tone": ("skin_tone", "fitzpatrick", "fitzpatrick_skin_type"),
    "mask": ("mask", "mask_path"),
}


@dataclass(frozen=True, kw_only=True)
class ImageRow:
    """One image of a data set. What is not known is an empty string."""

    id: str  # path relative to the data set's root, with forward slashes: unique within a table
    path: Path
    label: int  # 1 = malignant, 0 = benign
    split: str = ""  # the part that the data set itself puts it in: train, validation, test
    source: str = ""
    patient: str = ""
    lesion: str = ""
    age: str = ""  # years
    sex: str = ""
    site: str = ""
    diagnosis: str = ""
    skin_tone: str = ""
    mask: str = ""  # path of the lesion mask


@dataclass(frozen=True, kw_only=True)
class ImageTable:
    """A checked table: no file twice, in the order of ids; `read_table` sees to it that it has both classes."""

    root: Path
    rows: tuple[ImageRow, ...]
    ignored: tuple[str, ...] = field(default=())  # files in class folders that have no image suffix
    source: Path | None = field(default=None, compare=False)  # the folder or CSV file that `read_table` was given
    positive: tuple[str, ...] = ()  # the label spellings that were said to mean malignant

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def name(self) -> str:
        """What people call the data set: the name of its CSV file, or of its folder."""
        if self.source is not None and self.source.is_file() and self.source.name != METADATA:
            return self.source.stem
        return self.root.resolve().name

    @property
    def ids(self) -> list[str]:
        return [row.id for row in self.rows]

    @property
    def labels(self) -> Int64[np.ndarray, " image"]:
        """1 = malignant, 0 = benign."""
        return np.array([row.label for row in self.rows], dtype=np.int64)

    def column(self, name: str) -> list[str]:
        """The values of one column of the table.

        Raises: DataError: there is no such column.
        """
        allowed = [item.name for item in fields(ImageRow)]
        if name not in allowed:
            raise DataError(f"no column {name!r} in an image table; it has {', '.join(allowed)}")
        return [str(getattr(row, name)) for row in self.rows]

    def subset(self, indices: Iterable[int] | Int64[np.ndarray, " row"]) -> "ImageTable":
        """The rows at `indices`, in that order; may hold one class only."""
        return replace(self, rows=tuple(self.rows[index] for index in indices))


def read_table(data: Path, *, positive: Sequence[str] = (), one_class: bool = False) -> ImageTable:
    """Read a data set's table from class folders or a CSV.

    Args:
        data: the folder or the CSV file.
        positive: label spellings that count as malignant, every other label then being benign; empty: the common
            spellings (0/1, benign/malignant).
        one_class: whether images of a single class will do, as where a finished network is only scored; a name in
            `positive` may then be absent.
    Raises: DataError: nothing found, unknown label, missing file, a file twice, one class only, an image outside the
        class folders, or a name in `positive` that no image has.
    """
    if not data.exists():
        raise DataError(f"{data} does not exist; give a folder with benign/ and malignant/, or a CSV file")
    try:
        if data.is_file():
            table = _from_csv(data, positive, one_class=one_class)
        elif (data / METADATA).is_file():
            table = _from_csv(data / METADATA, positive, one_class=one_class)
        else:
            table = _from_folders(data, positive, one_class=one_class)
        _check(table, data, one_class=one_class)
    except OSError as error:
        raise DataError(f"{data} cannot be read ({error}); check its permissions and names") from error
    return replace(table, source=data, positive=tuple(positive))


def label_of(spelling: str, *, positive: Sequence[str] = ()) -> int | None:
    """1 or 0 for a label as people write it, None where it is unknown."""
    known = spelling.strip().lower()
    if positive:
        return int(known in {name.strip().lower() for name in positive}) if known else None
    return SPELLINGS.get(known)


def _from_csv(path: Path, positive: Sequence[str], *, one_class: bool) -> ImageTable:
    lines = read_numbered_csv(path)
    if not lines:
        raise DataError(f"{path} has a header but no image; one line per image is needed")
    names = _find_columns(path, list(lines[0][1]))
    rows = [_csv_row(path, number, line, names, positive) for number, line in lines]
    if not one_class:
        _check_positive(path, positive, {line[names["label"]] for _, line in lines})
    return ImageTable(root=path.parent, rows=tuple(sorted(rows, key=lambda row: row.id)))


def _find_columns(path: Path, header: list[str]) -> dict[str, str]:
    lower = {name.lower(): name for name in header}
    found = {column: next((lower[alias] for alias in names if alias in lower), "") for column, names in COLUMNS.items()}
    for column in ("image", "label"):
        if not found[column]:
            raise DataError(
                f"{path} has no {column} column, only {', '.join(header)}; "
                f"name one of them {' or '.join(COLUMNS[column])}"
            )
    return {column: name for column, name in found.items() if name}


def _csv_row(path: Path, number: int, line: dict[str, str], names: dict[str, str], positive: Sequence[str]) -> ImageRow:
    where = f"{path} line {number}"
    cells = {column: line[name] for column, name in names.items()}
    file = _existing_file(path.parent, cells["image"], where)
    label = label_of(cells["label"], positive=positive)
    if label is None:
        raise DataError(_unknown_label(where, cells["label"]))
    cells["split"] = _part_of(cells.get("split", ""), where)
    if cells.get("mask"):
        mask = path.parent / cells["mask"]
        if not mask.is_file():
            raise DataError(f"{where}: the mask {mask} does not exist; correct the path or leave the cell empty")
        cells["mask"] = str(mask)
    kept = {column: cell for column, cell in cells.items() if column not in ("image", "label")}
    return ImageRow(id=Path(os.path.relpath(file, path.parent)).as_posix(), path=file, label=label, **kept)


def _existing_file(folder: Path, name: str, where: str) -> Path:
    if not name:
        raise DataError(f"{where} names no image; fill the cell or delete the line")
    candidate = folder / name
    if candidate.is_file():
        return candidate
    for suffix in IMAGE_SUFFIXES if candidate.suffix.lower() not in IMAGE_SUFFIXES else ():
        for spelling in (suffix, suffix.upper()):
            if (found := Path(f"{candidate}{spelling}")).is_file():
                return found
    raise DataError(f"{where}: the image {name} does not exist under {folder}; correct the path or delete the line")


def _part_of(cell: str, where: str) -> str:
    if not cell:
        return ""
    match = _PART_PATTERN.match(cell)
    if not match:
        raise DataError(f"{where}: split is {cell!r}; allowed are {', '.join(PARTS)} or nothing")
    return _PART_OF[match[1].lower()]


def _unknown_label(where: str, found: str) -> str:
    return (
        f"{where}: the label {found!r} is unknown; allowed are benign/malignant or 0/1, "
        "or name the malignant ones with --positive, for instance --positive melanoma"
    )


def _from_folders(root: Path, positive: Sequence[str], *, one_class: bool) -> ImageTable:
    folders = _folders(root)
    parts = {child: _part_of(child.name, str(child)) for child in folders if _PART_PATTERN.match(child.name)}
    _refuse_loose(root)
    if parts:
        _refuse_beside(parts, [child for child in folders if child not in parts])
    rows: list[ImageRow] = []
    ignored: list[str] = []
    labels: set[str] = set()
    for holder, part in (parts or {root: ""}).items():
        _refuse_loose(holder)
        for child in _folders(holder):
            label = _folder_label(child, positive)
            found, other = _class_files(child)
            if not found:
                raise DataError(f"{child} holds no image; put images ({' '.join(IMAGE_SUFFIXES)}) in it or delete it")
            labels.add(child.name)
            ignored += [file.relative_to(root).as_posix() for file in other]
            rows += [
                ImageRow(id=file.relative_to(root).as_posix(), path=file, label=label, split=part) for file in found
            ]
        if parts and not _folders(holder):
            raise DataError(f"{holder} is empty; put benign/ and malignant/ into it or delete it")
    if not one_class:
        _check_positive(root, positive, labels)
    return ImageTable(root=root, rows=tuple(sorted(rows, key=lambda row: row.id)), ignored=tuple(ignored))


def _folders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not _is_ignored(child.name))


def _is_ignored(folder_name: str) -> bool:
    return folder_name.startswith(".") or folder_name.lower() in _IGNORED_FOLDERS


def _folder_label(folder: Path, positive: Sequence[str]) -> int:
    label = label_of(folder.name, positive=positive)
    if label is None:
        raise DataError(_unknown_label(f"{folder.parent}: folder", folder.name))
    return label


def _class_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images below a folder and the other files; hidden ones, such as .ipynb_checkpoints, and masks are neither."""
    images: list[Path] = []
    other: list[Path] = []
    for file in sorted(folder.rglob("*")):
        folders = file.relative_to(folder).parts[:-1]
        if file.is_file() and not file.name.startswith(".") and not any(map(_is_ignored, folders)):
            (images if _is_image(file) else other).append(file)
    return images, other


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()


def _refuse_loose(folder: Path) -> None:
    """An image in no class folder has no label; to leave it out in silence would be to lose data."""
    loose = sorted(child.name for child in folder.iterdir() if _is_image(child))
    if loose:
        raise DataError(
            f"{folder} holds {len(loose)} images outside the class folders, first {loose[0]}; move them into benign/ "
            "and malignant/ or out of the data, or name them in a CSV with image and label columns"
        )


def _refuse_beside(parts: Iterable[Path], others: Iterable[Path]) -> None:
    """As `_refuse_loose`, for images in a folder beside train/ and test/."""
    for folder in others:
        images, _ = _class_files(folder)
        if images:
            raise DataError(
                f"{folder} holds {len(images)} images, first {images[0].name}, beside "
                f"{' and '.join(part.name for part in parts)}; move it into one of these folders or out of the data"
            )


def _check_positive(data: Path, positive: Sequence[str], found: Collection[str]) -> None:
    """A misspelt name would make its images benign without a word."""
    known = sorted({label.strip().lower() for label in found})
    absent = [name for name in positive if name.strip().lower() not in known]
    if known and absent:
        listed = ", ".join(known[:_MAX_LISTED]) + (", ..." if len(known) > _MAX_LISTED else "")
        raise DataError(f"{data} has no label {' and no label '.join(absent)}; --positive takes some of {listed}")


def _check(table: ImageTable, data: Path, *, one_class: bool) -> None:
    if not table.rows:
        raise DataError(
            f"{data} holds no images; give a folder with benign/ and malignant/ (also under train/ and test/), "
            "or a CSV with image and label columns"
        )
    unwritable = [name for name in table.ids if _UNWRITABLE.search(name)]
    if unwritable:
        raise DataError(
            f"{data} holds {len(unwritable)} images whose name has a line break, another control character, bytes that "
            f"are not UTF-8, or a space at its start or end, first {unwritable[0]!r}; rename them"
        )
    twice = [file for file, count in Counter(row.path.resolve() for row in table.rows).items() if count > 1]
    if twice:
        raise DataError(f"{data} names {len(twice)} files more than once, first {twice[0]}; keep one row for each file")
    counts = Counter(row.label for row in table.rows)
    if len(counts) < 2 and not one_class:
        only = LABEL_NAMES[next(iter(counts))]
        raise DataError(f"{data} holds {len(table)} images, all {only}; both benign and malignant images are needed")

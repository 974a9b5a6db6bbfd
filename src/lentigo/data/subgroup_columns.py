"""The subgroups that a table's columns make: an image table in, the name of each image's subgroup out.

Names are for people to read: "45 to 59", "female", "lower extremity". What is not known is an empty name.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from lentigo.data.skin_tone import TONES
from lentigo.data.table import ImageTable
from lentigo.errors import DataError

AGE_BANDS = {"under 30": 0, "30 to 44": 30, "45 to 59": 45, "60 to 74": 60, "75 and over": 75}  # from which age, years
ESTIMATED_TONE = "Skin tone (estimated)"
MAX_NAMES = 40  # more are names of single images, lesions or people rather than subgroups
_OLDEST = 130  # years; 999 and the like stand for unknown
_UNKNOWN = {
    "",
    "unknown",
    "unspecified",
    "not reported",
    "not available",
    "missing",
    "none",
    "nan",
    "na",
    "n/a",
    "null",
}
_UNKNOWN |= {"-", "?"}
_NUMBER = re.compile(r"\d+(\.\d*)?")
_ROMAN = ("I", "II", "III", "IV", "V", "VI")  # as Fitzpatrick's skin types are written


def subgroup_columns(table: ImageTable, *, skin_tones: Sequence[str] | None = None) -> dict[str, list[str]]:
    """For each column of which subgroups can be made, its title and a name for each image; "" where it is not known.

    Left out is a column without a known value, one that puts all images into one subgroup, one in which no name comes
    twice, and one of more than 40 names.

    Args:
        skin_tones: one an image, as `skin_tone.skin_tones` estimates them; used where the table has no tone at all.
    Raises: DataError: there are not as many skin tones as images.
    """
    if skin_tones is not None and len(skin_tones) != len(table):
        raise DataError(f"there are {len(skin_tones)} skin tones for {len(table)} images; give one an image")
    namings: dict[str, tuple[str, Callable[[str], str]]] = {
        "Source": ("source", _as_written),
        "Age": ("age", age_band),
        "Sex": ("sex", _lower),
        "Body site": ("site", _lower),
        "Diagnosis": ("diagnosis", _as_written),
        "Skin tone": ("skin_tone", _tone),
    }
    columns = {title: [naming(cell) for cell in table.column(name)] for title, (name, naming) in namings.items()}
    if skin_tones is not None and not any(columns["Skin tone"]):
        columns[ESTIMATED_TONE] = list(skin_tones)
    return {title: names for title, names in columns.items() if _makes_subgroups(names)}


def names_tones(table: ImageTable) -> bool:
    """Whether the table knows the skin tone of any image; "unknown" and the like are none."""
    return any(map(_tone, table.column("skin_tone")))


def age_band(cell: str) -> str:
    """The band that an age in years lies in; empty for what is no number or no age of a person."""
    cell = cell.strip()
    if not _NUMBER.fullmatch(cell) or float(cell) > _OLDEST:
        return ""
    return [name for name, youngest in AGE_BANDS.items() if youngest <= float(cell)][-1]


def ordered_names(names: Iterable[str]) -> list[str]:
    """Each name once, without the empty one: ages from young to old, tones from light to dark, others by alphabet."""
    place = {name: number for number, name in enumerate((*AGE_BANDS, *TONES, *_ROMAN))}
    return sorted(set(names) - {""}, key=lambda name: (place.get(name, len(place)), name))


def _as_written(cell: str) -> str:
    return "" if cell.strip().lower() in _UNKNOWN else cell.strip()


def _lower(cell: str) -> str:
    return _as_written(cell).lower()


def _tone(cell: str) -> str:
    """Lower case, but Roman numerals as they are; "3.0", as a table with gaps may have it, is 3."""
    cell = _as_written(cell)
    if cell.upper() in _ROMAN:
        return cell.upper()
    return cell.lower().removesuffix(".0")


def _makes_subgroups(names: Sequence[str]) -> bool:
    known = [name for name in names if name]
    several = len(set(names)) > 1  # the unknown ones are no subgroup, but one subgroup beside them is not all images
    return bool(known) and several and len(set(known)) <= MAX_NAMES and len(set(known)) < len(known)

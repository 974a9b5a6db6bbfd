"""What a checklist is computed from, and what an answer is made of."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Status = Literal["answered", "partly", "person", "absent"]
STATUSES: tuple[Status, ...] = ("answered", "partly", "person", "absent")
PEOPLE = ("age", "sex", "skin tone")  # columns that part people; a body site or an archive does not
_ALSO = {"age band": "age", "body site": "site"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a report holds, computed from its files; columns by their names in `data.table`, or as `named` reads."""

    internal_test: bool  # test images of the development data are scored
    intervals: bool  # around the scores
    paired_tests: bool  # between models on the same images
    calibration: bool
    operating_points: bool  # chosen on validation images
    decision_curve: bool
    subgroups: tuple[str, ...]  # columns by which images are scored apart, such as "source" or "skin tone"
    external: tuple[str, ...]  # names of the external data sets scored
    robustness: bool  # scored under changes of the images
    heat_maps: bool
    audit: bool
    leaks: bool | None  # copies across the parts of the split; None: not looked for
    grouped_split: bool  # images of one patient or lesion are kept in one part
    source_known: bool  # the table has the archive of each image
    demographics: tuple[str, ...]  # those of age, sex, site, skin tone that the table has
    masks: bool  # the table has lesion masks
    seeds: int  # trainings of each network
    published_weights: bool  # a network starts from them
    several_models: bool
    predictions_kept: bool  # as files beside the report
    drawn: bool  # lesions drawn by lentigo
    network_known: bool  # False: predictions of another program, which says nothing of how they were made


@dataclass(frozen=True)
class Answer:
    """How far an item is answered, in which sections, and what stands there or is to be done."""

    status: Status
    sections: tuple[str, ...]
    text: str


def answered(sections: tuple[str, ...], text: str) -> Answer:
    """The sections give a reader all that the item asks for."""
    return Answer("answered", sections, text)


def partly(sections: tuple[str, ...], there: str, left: str) -> Answer:
    """The sections give a part; what is left falls to the authors, or takes more columns or another command."""
    return Answer("partly", sections, f"{there}; still open: {left}")


def person(what: str) -> Answer:
    """Only the authors can say it."""
    return Answer("person", (), f"authors: {what}")


def makers(what: str) -> Answer:
    """Only those can say it whose program made the predictions."""
    return Answer("person", (), f"those who made the predictions: {what}")


def absent(to_do: str) -> Answer:
    """The report could hold it, and does not."""
    return Answer("absent", (), to_do)


def when(there: object, *names: str) -> tuple[str, ...]:
    """The names if it is there, otherwise none."""
    return names if there else ()


def named(columns: Iterable[str]) -> tuple[str, ...]:
    """Names of columns, each written in one way: "skin_tone" as "skin tone", "age band" as "age"."""
    plain = [name.replace("_", " ") for name in columns]
    return tuple(_ALSO.get(name, name) for name in plain)

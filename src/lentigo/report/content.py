"""What a comparison report says, as plain values: `lentigo compare` fills it, `page.write_report` shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from lentigo.errors import DataError
from lentigo.evidence.intervals import Interval
from lentigo.report.card import Card
from lentigo.report.checklist import Item
from lentigo.report.evidence import Evidence
from lentigo.report.look import LookReport

GALLERY_SECTIONS = ("malignant", "benign", "all_right", "best", "worst", "disagree", "all_wrong")

# Height and width are anonymous, since photographs of one report may differ in size.
Photo: TypeAlias = UInt8[np.ndarray, "_ _ 3"]
Numbers: TypeAlias = Mapping[str, float | int]


@dataclass(frozen=True, kw_only=True, eq=False)
class GalleryImage:
    """A test image that every model explains."""

    id: str
    label: int  # 1 = malignant, 0 = benign
    image: Photo
    section: str  # one of GALLERY_SECTIONS

    def __post_init__(self) -> None:
        if self.section not in GALLERY_SECTIONS:
            raise DataError(
                f"gallery image {self.id} is in section {self.section!r}; allowed are {', '.join(GALLERY_SECTIONS)}"
            )


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelResult:
    """One network: how it was trained, what it scored, and what it looks at."""

    name: str
    title: str
    history: tuple[Numbers, ...]  # the rows of history.csv, by column
    scores: Numbers  # as `lentigo.evidence.metrics.scores` gives them
    logits: Float32[np.ndarray, " image"]  # of all test images, in the order of ReportContent.labels
    parameters: int
    multiply_adds: int  # for one image
    train_seconds: float
    images_per_s: float  # in training
    device: str
    epochs: int  # finished
    epochs_asked: int
    complete: bool
    steps: int
    # In the gallery's order. A map shows what speaks for that which the image is: malignant or benign.
    overlays: tuple[Photo, ...]  # the heat map over the image
    empty: tuple[bool, ...]  # the map has nothing for it, see above
    gallery_logits: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One row of the table that sets networks beside probes, on the same test images."""

    title: str
    sees: str  # what a probe may see; empty for a network, which sees all
    auc: Interval
    accuracy: float
    within: Mapping[str, Interval]  # by source, those with both classes


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What the audit found about the data behind the scores."""

    level: str  # the gravest finding: serious, warning or note
    sentence: str
    findings: tuple[tuple[str, str], ...]  # severity and text, the gravest first
    standings: tuple[Standing, ...]
    sources: tuple[tuple[str, int, int], ...]  # with both classes among the test images: name, images, malignant ones
    follows: tuple[str, ...]  # what a reader may conclude, a sentence a network


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportContent:
    """All that the report shows.

    Raises: DataError: no model, two of one name, or arrays and galleries whose lengths do not fit together.
    """

    title: str
    data_name: str
    drawn: bool  # the lesions are drawn, not photographed
    created: str
    command: str
    seed: int
    protocol: str
    counts: Mapping[str, Mapping[str, int]]  # part of the split -> {"benign": n, "malignant": n}
    versions: Mapping[str, str]
    seconds: float
    labels: Int64[np.ndarray, " image"]
    models: tuple[ModelResult, ...]
    gallery: tuple[GalleryImage, ...]
    examples: Mapping[str, tuple[Photo, ...]]  # "benign", "malignant"
    augmentations: tuple[tuple[str, tuple[Photo, ...]], ...]  # what is done, then the original and its draws
    paper_scores: Mapping[str, Numbers] | None  # model name -> score -> the paper's figure; None: other data
    heat_scale: Mapping[str, float]  # model name -> map value shown as full red
    cells: Mapping[str, tuple[int, int]]  # model name -> rows and columns of its map
    notes: tuple[str, ...]  # warnings, shown at the top
    worth: Worth | None = None  # None: the data were not audited
    look: LookReport | None = None  # None: nothing was measured on the maps
    evidence: Evidence | None = None  # of the same models and test images
    cards: tuple[Card, ...] = ()
    checklist: tuple[Item, ...] = ()

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        if not names or len(set(names)) < len(names):
            raise DataError(f"a report needs models of different names, got {names or 'none'}; name each run once")
        if self.evidence is not None and list(self.evidence.assessments) != names:
            raise DataError(
                f"the evidence is of {', '.join(self.evidence.assessments)}, the report of {', '.join(names)}"
            )
        for model in self.models:
            _check_lengths(model, images=self.labels.size, gallery=len(self.gallery))
            if model.name not in self.heat_scale or model.name not in self.cells:
                raise DataError(f"heat_scale or cells lack {model.name}; explain it before the report is written")


def _check_lengths(model: ModelResult, *, images: int, gallery: int) -> None:
    found = {
        "logits": (model.logits.size, images),
        "overlays": (len(model.overlays), gallery),
        "empty": (len(model.empty), gallery),
        "gallery_logits": (len(model.gallery_logits), gallery),
    }
    for what, (got, wanted) in found.items():
        if got != wanted:
            raise DataError(f"{model.name} has {got} {what}, not {wanted}; evaluate and explain it on the same images")

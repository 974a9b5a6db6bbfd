"""The report on predictions alone, of whatever program: `report.html` and `evidence.json`, without any network."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version

import numpy as np
from markupsafe import Markup

from lentigo import __version__
from lentigo.data.columns import columns_of
from lentigo.data.copies import AUDIT_PX, Bar, silent
from lentigo.data.pack import pack_images
from lentigo.data.predictions import Predictions
from lentigo.data.subgroup_columns import names_tones
from lentigo.data.table import LABEL_NAMES, ImageRow, ImageTable
from lentigo.errors import ConfigError, DataError
from lentigo.evidence.assessment import PREVALENCE, Columns
from lentigo.evidence.decisions import Decisions
from lentigo.evidence.metrics import REPORTED_SCORES, confusion
from lentigo.files import write_json, write_text
from lentigo.report import figures, texts, words
from lentigo.report.checklist import Facts, checklist, on_page
from lentigo.report.evidence import Evidence, Scored, evidence_of
from lentigo.report.evidence_view import evidence_view
from lentigo.report.evidence_words import best_sentence, chance_sentences, spoken
from lentigo.report.pieces import page_environment
from lentigo.report.trials_view import short

SECTIONS = (
    ("run", "What was given"),
    ("scores", "Scores"),
    ("pairs", "One against another"),
    ("roc", "ROC curves"),
    ("confusion", "Right and wrong"),
    ("operating", "Whom it would send to the doctor"),
    ("calibration", "Calibration"),
    ("subgroups", "Whom it fails"),
    ("checklist", "Reporting checklists"),
    ("limits", "Limits"),
    ("reproduce", "Repeat it"),
)


@dataclass(frozen=True, kw_only=True)
class PredictionsReport:
    """Predictions of several classifiers on the same images."""

    names: tuple[str, ...]
    predictions: tuple[Predictions, ...]
    decisions: tuple[Decisions, ...]
    table: ImageTable | None  # the data that they are of; None: their own columns are all that is known
    command: str
    prevalence: float | None = None  # None: PREVALENCE
    seed: int = 0


def write_predictions_report(
    out: Path, given: PredictionsReport, *, cache: Path | None = None, bar: Bar | None = None
) -> list[str]:
    """Write `evidence.json` and `report.html`; returns what a person is told on the terminal.

    Args:
        bar: shows progress: a text and a total to a context that takes the number done.
    Raises:
        ConfigError: two classifiers of one name.
        DataError: predictions of different images or labels, or an image that cannot be read.
    """
    _check_names(given.names)
    first, aligned = given.predictions[0], _aligned(given)
    columns, estimated = _columns(given, cache=cache, bar=bar or silent)
    evidence = evidence_of(
        first.labels,
        {
            name: Scored(title=name, logits=logits, decisions=decisions)
            for name, logits, decisions in zip(given.names, aligned, given.decisions, strict=True)
        },
        columns,
        prevalence=PREVALENCE if given.prevalence is None else given.prevalence,
        tones_estimated=estimated,
        seed=given.seed,
    )
    write_json(out / "evidence.json", evidence.to_dict())
    logits = dict(zip(given.names, aligned, strict=True))
    write_text(out / "report.html", _page(given, evidence, first.labels, logits, columns.groups))
    scores = [
        f"{name}: "
        + ", ".join(f"{key} {texts.interval_text(found.scores[key])}" for key in ("auc", "accuracy"))
        + f" on {texts.count_text(found.n)} images"
        for name, found in evidence.assessments.items()
    ]
    return [*scores, *spoken(evidence)]


def _check_names(names: tuple[str, ...]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{', '.join(twice)} names two classifiers; write NAME=FILE to tell them apart")


def _aligned(given: PredictionsReport) -> list[np.ndarray]:
    """The logits of all classifiers in the order of the first one's images."""
    first, found = given.predictions[0], []
    for name, predictions in zip(given.names, given.predictions, strict=True):
        place = {image: index for index, image in enumerate(predictions.ids)}
        if missing := [image for image in first.ids if image not in place] or sorted(set(place) - set(first.ids)):
            lacks, has = (name, given.names[0]) if missing[0] not in place else (given.names[0], name)
            images = "image" if len(missing) == 1 else "images"
            raise DataError(
                f"{lacks} lacks {len(missing)} {images} that {has} has, first {missing[0]}; classifiers are compared "
                "on the same images only: leave the others out of both files"
            )
        order = [place[image] for image in first.ids]
        different = np.flatnonzero(predictions.labels[order] != first.labels)
        if different.size:
            raise DataError(
                f"{first.ids[different[0]]} is labelled differently in {given.names[0]} and {name}; correct one of them"
            )
        found.append(predictions.logits[order])
    return found


def _columns(given: PredictionsReport, *, cache: Path | None, bar: Bar) -> tuple[Columns, bool]:
    first, table = given.predictions[0], given.table
    rows = first.rows or tuple(ImageRow(id=name, path=Path(name), label=0) for name in first.ids)
    described = ImageTable(root=Path(), rows=rows)
    if table is None or names_tones(described):
        return columns_of(described)
    with bar("decoding images", len(table)) as told:
        pack = pack_images(table, image_px=AUDIT_PX, cache=cache, progress=told)
    place = {name: index for index, name in enumerate(table.ids)}
    return columns_of(described, pack.subset([place[name] for name in first.ids]), cache=cache, bar=bar)


def _page(
    given: PredictionsReport,
    evidence: Evidence,
    labels: np.ndarray,
    logits: Mapping[str, np.ndarray],
    groups: np.ndarray | None,
) -> str:
    rows = [
        (name, [short(found.scores[key]) for key in REPORTED_SCORES], found.n)
        for name, found in evidence.assessments.items()
    ]
    scored = [
        figures.Scores(
            title=name,
            logits=logits[name],
            auc=found.scores["auc"].value,
            recall=found.scores["recall"].value,
            specificity=found.scores["specificity"].value,
        )
        for name, found in evidence.assessments.items()
    ]
    return (
        page_environment()
        .get_template("evidence.html")
        .render(
            sections=SECTIONS,
            disclaimer=words.DISCLAIMER,
            title="What the scores are worth: " + ", ".join(given.names),
            created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            data_name="" if given.table is None else given.table.name,
            summary=_summary(evidence, labels, groups),
            rows=rows,
            roc_charts=[Markup(chart) for chart in figures.roc_panels(scored, labels, name="roc")],
            counts={name: int((labels == label).sum()) for label, name in enumerate(LABEL_NAMES)},
            confusions=[
                (name, confusion(labels, logits[name]), found.decisions) for name, found in evidence.assessments.items()
            ],
            view=evidence_view(evidence, (), on_page(checklist(_facts(given, evidence)), dict(SECTIONS))),
            limits=_limits(given, evidence),
            command=given.command,
            versions={
                "lentigo": __version__, "python": python_version(), "numpy": version("numpy"),
            },
            seed=given.seed,
        )
    )  # fmt: skip


def _summary(evidence: Evidence, labels: np.ndarray, groups: np.ndarray | None) -> list[str]:
    found = next(iter(evidence.assessments.values()))
    start = (
        f"{len(evidence.assessments)} {'classifier' if len(evidence.assessments) == 1 else 'classifiers'} on "
        f"{texts.count_text(found.n)} images, {texts.count_text(found.n_malignant)} of them malignant."
    )
    few = [text] if (text := texts.few_images(labels, groups)) else []
    if found.n_malignant in (0, found.n):
        return [start, "The AUC is undefined, since the images are of one class.", *few]
    aucs = [f"{name} {texts.interval_text(item.scores['auc'])}" for name, item in evidence.assessments.items()]
    best = best_sentence(evidence)
    return [
        start,
        f"AUC with its 95 % interval: {'; '.join(aucs)}.",
        *([best] if best else []),
        *chance_sentences(evidence),
        *few,
    ]


def _limits(given: PredictionsReport, evidence: Evidence) -> list[tuple[str, str]]:
    found = [
        (
            "How the predictions were made",
            "This page sees labels and scores alone. Whether the images were kept out of training, and whether the "
            "classifiers look at the lesion, it cannot know.",
        ),
        (
            "Where the images come from",
            "If benign and malignant images come from different archives, a score can be high without any look at a "
            "mole. lentigo audit tries that on the images themselves.",
        ),
        (
            "The intervals",
            "They say how far the scores may lie from those on endless images of the same kind"
            + (
                ", with images of one lesion or patient taken as one piece of evidence."
                if evidence.grouped
                else ". Images of one lesion or patient are not known here; if there are any, the intervals are too "
                "narrow."
            ),
        ),
    ]
    if all(decisions.n == 0 for decisions in given.decisions):
        found.append(
            (
                "One threshold",
                "Without scores on validation images no other threshold than a probability of 0.5 can be tried fairly, "
                "and no temperature fitted.",
            )
        )
    return found


def _facts(given: PredictionsReport, evidence: Evidence) -> Facts:
    first = next(iter(evidence.assessments.values()))
    rows = given.predictions[0].rows
    known = [column for column in ("age", "sex", "site", "skin_tone") if any(getattr(row, column) for row in rows)]
    return Facts(
        internal_test=True,
        intervals=True,
        paired_tests=bool(evidence.pairs),
        calibration=any(item.after is not None for item in evidence.assessments.values()),
        operating_points=any(len(item.points) > 1 for item in evidence.assessments.values()),
        decision_curve=any(item.curve is not None for item in evidence.assessments.values()),
        subgroups=tuple(subgroups.column.lower() for subgroups in first.subgroups),
        external=(),
        robustness=False,
        heat_maps=False,
        audit=False,
        leaks=None,
        grouped_split=False,
        source_known=any(row.source for row in rows),
        demographics=tuple(known),
        masks=False,
        seeds=1,
        published_weights=False,
        several_models=len(given.names) > 1,
        predictions_kept=True,
        drawn=False,
        network_known=False,
    )

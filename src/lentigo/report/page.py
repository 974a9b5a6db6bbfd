"""The report as one HTML file that loads nothing: photographs as data URIs, charts as inline SVG, style inside."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.explain.on_image import overlay
from lentigo.files import write_text
from lentigo.report import figures, texts, words
from lentigo.report.content import GALLERY_SECTIONS, GalleryImage, ModelResult, ReportContent
from lentigo.report.evidence_view import evidence_view
from lentigo.report.look_view import look_view
from lentigo.report.pieces import PHOTO_PX, page_environment, photograph

SECTIONS = (
    ("run", "What was run"),
    ("scores", "Scores"),
    ("worth", "What they are worth"),
    ("external", "On other data"),
    ("pairs", "One against another"),
    ("roc", "ROC curves"),
    ("operating", "Whom it would send to the doctor"),
    ("calibration", "Calibration"),
    ("subgroups", "Whom it fails"),
    ("robustness", "On changed images"),
    ("training", "Training"),
    ("confusion", "Right and wrong"),
    ("examples", "Training images"),
    ("augmentations", "Augmentation"),
    ("look", "Where the networks look"),
    ("gallery", "Heat maps"),
    ("disagreements", "Disagreements"),
    ("costs", "Costs"),
    ("card", "Model cards"),
    ("checklist", "Reporting checklists"),
    ("limits", "Limits"),
    ("reproduce", "Repeat it"),
)
# These are shown where there is evidence: always, but for content put together without it.
EVIDENCE_SECTIONS = (
    "external", "pairs", "operating", "calibration", "subgroups", "robustness", "card", "checklist"
)  # fmt: skip


@dataclass(frozen=True)
class ScoreCell:
    """One cell of the score table."""

    text: str
    best: bool
    interval: str  # 95 %; empty where there is none
    reason: str  # why it is undefined; empty where it is not
    paper: str  # the paper's figure; empty without one
    difference: str  # ours less the paper's


def write_report(path: Path, content: ReportContent) -> None:
    """Write the report, whole or not at all. The same content gives the same bytes."""
    write_text(path, render_report(content))


def render_report(content: ReportContent) -> str:
    """The report as HTML text."""
    return (
        page_environment()
        .get_template("template.html")
        .render(
            content=content,
            sections=_sections(content),
            look=None if content.look is None else look_view(content.look),
            view=None
            if content.evidence is None
            else evidence_view(content.evidence, content.cards, content.checklist),
            disclaimer=words.DISCLAIMER,
            summary=words.summary(content),
            limits=words.limits(content),
            score_titles=figures.SCORE_TITLES,
            models_and_rows=list(zip(content.models, score_rows(content), strict=True)),
            **_score_view(content),
            **_curve_view(content),
            **_picture_view(content),
            disagreement_counts=words.disagreement_counts(content),
            only_row_right=words.only_row_right(content),
        )
    )


def _sections(content: ReportContent) -> list[tuple[str, str]]:
    left_out = {
        *(() if content.evidence is not None else EVIDENCE_SECTIONS),
        *(() if content.look is not None else ("look",)),
    }
    return [item for item in SECTIONS if item[0] not in left_out]


def score_rows(content: ReportContent) -> list[list[ScoreCell]]:
    """A row for each model, a cell for each of REPORTED_SCORES; the best by what is printed, if there is a choice."""
    printed = {key: [texts.score_text(model.scores[key]) for model in content.models] for key in REPORTED_SCORES}
    best = {key: max((text for text in column if text != "undefined"), default="") for key, column in printed.items()}
    rows = []
    for model in content.models:
        paper = (content.paper_scores or {}).get(model.name, {})
        row = []
        for key in REPORTED_SCORES:
            text = texts.score_text(model.scores[key])
            undefined = text == "undefined"
            row.append(
                ScoreCell(
                    text=text,
                    best=len(content.models) > 1 and text == best[key] and len(set(printed[key])) > 1,
                    interval=_interval(content, model.name, key),
                    reason=words.undefined_reason(key, model.scores) if undefined else "",
                    paper=f"{paper[key]:.3f}" if key in paper else "",
                    difference="" if undefined or key not in paper else _signed(float(model.scores[key]) - paper[key]),
                )
            )
        rows.append(row)
    return rows


def _intervals(content: ReportContent) -> dict[str, Any]:
    found = {} if content.evidence is None else content.evidence.assessments
    return {name: assessment.scores for name, assessment in found.items()}


def _interval(content: ReportContent, model: str, key: str) -> str:
    if content.evidence is None:
        return ""
    return texts.bounds_text(content.evidence.assessments[model].scores[key])


def _score_view(content: ReportContent) -> dict[str, Any]:
    models, half = content.models, len(REPORTED_SCORES) // 2
    charts = [
        figures.score_bars(
            models, keys, paper_scores=content.paper_scores, intervals=_intervals(content), name=f"bars{part}"
        )
        for part, keys in enumerate((REPORTED_SCORES[:half], REPORTED_SCORES[half:]))
    ]
    legend = [
        (Markup(figures.bar_swatch(figures.model_style(index), name=f"bar-legend{index}")), model.title)
        for index, model in enumerate(models)
    ]
    return {
        "score_charts": [Markup(chart) for chart in charts],
        "score_legend": legend,
        "confusions": [_confusion(model) for model in models],
    }


def _curve_view(content: ReportContent) -> dict[str, Any]:
    models = content.models
    ends = figures.shared_axes(models)
    return {
        "roc_charts": [
            Markup(chart)
            for chart in figures.roc_panels([figures.scores_of(m) for m in models], content.labels, name="roc")
        ],
        "roc_legend": [
            (
                _swatch(figures.model_style(index), f"roc-legend{index}"),
                model.title,
                texts.score_text(model.scores["auc"]),
            )
            for index, model in enumerate(models)
        ],
        "training_charts": [
            Markup(figures.training_curves(model, index, ends, name=f"training{index}")) if model.history else None
            for index, model in enumerate(models)
        ],
        "training_legend": [
            (_swatch(style, f"training-legend-{column}"), column.replace("_", " ").replace("auc", "AUC"))
            for column, style in figures.training_styles(None).items()
        ],
    }


def _picture_view(content: ReportContent) -> dict[str, Any]:
    ramp = np.repeat(np.linspace(0, 1, PHOTO_PX, dtype=np.float32)[None], 20, axis=0)
    grey = np.full((*ramp.shape, 3), 200, dtype=np.uint8)
    return {
        "examples": {name: [photograph(image) for image in images] for name, images in content.examples.items()},
        "augmentations": [(kind, [photograph(image) for image in images]) for kind, images in content.augmentations],
        "colour_bar": photograph(overlay(grey, ramp, maximum=1.0)),
        "gallery": {
            section: [_gallery_row(content, i) for i, image in enumerate(content.gallery) if image.section == section]
            for section in GALLERY_SECTIONS
        },
    }


def _gallery_row(content: ReportContent, index: int) -> dict[str, Any]:
    image = content.gallery[index]
    return {
        "id": image.id,
        "truth": "malignant" if image.label == 1 else "benign",
        "photograph": photograph(image.image),
        "maps": [_map_cell(model, image, index) for model in content.models],
    }


def _map_cell(model: ModelResult, image: GalleryImage, index: int) -> dict[str, Any]:
    logit = model.gallery_logits[index]
    return {
        "title": model.title,
        "photograph": photograph(model.overlays[index]),
        "probability": texts.probability_text(logit),
        "right": (logit >= 0) == (image.label == 1),
        "empty": model.empty[index],
    }


def _confusion(model: ModelResult) -> list[tuple[str, list[tuple[str, int, float]]]]:
    """Rows by truth, cells by decision: what, count, share of the row (NaN of an empty row)."""
    rows = []
    for truth, called_malignant, called_benign in (
        ("malignant", "true_positive", "false_negative"),
        ("benign", "false_positive", "true_negative"),
    ):
        counts = [int(model.scores[called_malignant]), int(model.scores[called_benign])]
        whole = sum(counts)
        cells = [
            ("right" if key.startswith("true") else "wrong", count, count / whole if whole else float("nan"))
            for key, count in zip((called_malignant, called_benign), counts, strict=True)
        ]
        rows.append((truth, cells))
    return rows


def _swatch(style: figures.Style, name: str) -> Markup:
    return Markup(figures.line_swatch(style, name=name))


def _signed(difference: float) -> str:
    return f"{difference:+.3f}".replace("-", "−")

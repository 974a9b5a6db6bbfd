"""From the files of finished runs to the content of a report: which images are shown is decided here, by rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64

from lentigo.config import AugmentConfig
from lentigo.data.augment import apply_augmentation, draw_augmentation
from lentigo.data.pack import ImagePack
from lentigo.data.split import PAPER_TOTAL, Split
from lentigo.data.table import LABEL_NAMES, ImageTable
from lentigo.errors import DataError
from lentigo.explain.on_image import overlay, to_image_size
from lentigo.explain.stage import Explanation, read_explanation
from lentigo.files import read_csv, read_json
from lentigo.imaging import Preprocessing
from lentigo.learn.checkpoint import Checkpoint, run_checkpoint
from lentigo.learn.evaluation import Evaluation, read_evaluation
from lentigo.models.costs import multiply_adds
from lentigo.models.registry import model_entry
from lentigo.report.content import GalleryImage, ModelResult, Photo

# Figures printed in the paper, sections 5 and 6; one training each, no interval.
PAPER_SCORES = {
    "tiny_vgg": {"accuracy": 0.879, "recall": 0.907, "f1": 0.89, "auc": 0.951},
    "vgg11": {"accuracy": 0.906, "f1": 0.90, "auc": 0.966},
    "alexnet": {"accuracy": 0.908, "f1": 0.90, "auc": 0.971},
}
_EXAMPLES = 4


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run folder with every stage done, read back."""

    name: str
    folder: Path
    about: dict[str, Any]  # run.json
    history: tuple[dict[str, float], ...]
    evaluation: Evaluation
    explanation: Explanation
    preprocessing: Preprocessing
    batch_size: int
    multiply_adds: int


def read_finished_run(folder: Path) -> FinishedRun:
    """Read a run that was trained, evaluated and explained.

    Raises: DataError, RunError: a stage is missing, or two stages do not fit together.
    """
    checkpoint: Checkpoint = run_checkpoint(folder)
    evaluation, explanation = read_evaluation(folder), read_explanation(folder)
    if evaluation.predictions.ids != explanation.ids:
        raise DataError(f"{folder}: predictions.csv and heatmaps.npy are of other images; delete both and run again")
    return FinishedRun(
        name=checkpoint.experiment.model.name,
        folder=folder,
        about=read_json(folder / "run.json"),
        history=_history(folder / "history.csv"),
        evaluation=evaluation,
        explanation=explanation,
        preprocessing=checkpoint.preprocessing,
        batch_size=checkpoint.experiment.train.batch_size,
        multiply_adds=multiply_adds(checkpoint.model, checkpoint.preprocessing),
    )


def paper_scores_for(table: ImageTable) -> dict[str, dict[str, float]] | None:
    """The paper's own figures, where the table has the paper's 5,500 benign and 5,105 malignant images."""
    counts = tuple(int(count) for count in np.bincount(table.labels, minlength=2))
    return PAPER_SCORES if counts == PAPER_TOTAL else None


def choose_gallery(
    labels: np.ndarray,
    logits: Float32[np.ndarray, "model image"],
    *,
    inside: Float64[np.ndarray, "model image"],
    seed: int,
    per_section: int = 4,
) -> dict[str, list[int]]:
    """Positions among the test images of what the gallery shows, by rule and never by hand.

    malignant, benign: drawn at random from the class, whatever the models say; all_right, the paper's kind: malignant
    ones that every model calls so, at random. Then best and worst: by the models' mean share of evidence inside the
    lesion; disagree: models decide differently at probability 0.5, widest range of probabilities first; all_wrong:
    every model decides wrongly, surest first. An image is shown once, and each section is chosen from those that no
    section before it shows.

    Args:
        inside: share of each model's evidence inside the lesion; NaN where it was not measured.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0x6A11)))
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    decisions = logits >= 0
    wrong = decisions != (labels == 1)
    known, mean_inside = ~np.isnan(inside).any(axis=0), inside.mean(axis=0)
    ranked = {
        "malignant": [int(i) for i in rng.permutation(np.flatnonzero(labels == 1))],
        "benign": [int(i) for i in rng.permutation(np.flatnonzero(labels == 0))],
        "all_right": [int(i) for i in rng.permutation(np.flatnonzero((labels == 1) & ~wrong.any(axis=0)))],
        "best": _ranked(mean_inside, known),
        "worst": _ranked(-mean_inside, known),
        "disagree": _ranked(np.ptp(probabilities, axis=0), decisions.any(axis=0) & ~decisions.all(axis=0)),
        "all_wrong": _ranked(np.abs(probabilities - labels).min(axis=0), wrong.all(axis=0)),
    }
    chosen: dict[str, list[int]] = {}
    for section, order in ranked.items():
        shown = {index for indices in chosen.values() for index in indices}
        chosen[section] = [index for index in order if index not in shown][:per_section]
    return chosen


def gallery_images(
    chosen: dict[str, list[int]], ids: Sequence[str], table: ImageTable, pack: ImagePack
) -> tuple[GalleryImage, ...]:
    """The chosen test images with their pixels."""
    position = {name: index for index, name in enumerate(table.ids)}
    images = []
    for section, indices in chosen.items():
        for index in indices:
            where = position[ids[index]]
            images.append(
                GalleryImage(id=ids[index], label=table.rows[where].label, image=pack.read([where])[0], section=section)
            )
    return tuple(images)


def model_result(run: FinishedRun, gallery: tuple[GalleryImage, ...], indices: list[int]) -> tuple[ModelResult, float]:
    """One model's part of the report, and the map value that its overlays show as full red.

    In every section overlays of malignant images show evidence for malignant, those of benign images for benign.
    """
    signs = np.array([1.0 if image.label == 1 else -1.0 for image in gallery], dtype=np.float32)
    heat = np.maximum(run.explanation.maps[indices] * signs[:, None, None], 0)
    scale = float(heat.max()) if heat.size else 0.0
    about = run.about
    result = ModelResult(
        name=run.name,
        title=model_entry(run.name).title,
        history=run.history,
        scores={name: float("nan") if value is None else value for name, value in run.evaluation.metrics.items()},
        logits=run.evaluation.predictions.logits,
        parameters=about["parameters"],
        multiply_adds=run.multiply_adds,
        train_seconds=about["seconds"],
        images_per_s=_images_per_s(run),
        device=about["device"],
        epochs=about["epochs"],
        epochs_asked=about["epochs_asked"],
        complete=about["complete"],
        steps=about["steps"],
        overlays=_overlays(heat, gallery, run.preprocessing, scale),
        empty=tuple(not layer.any() for layer in heat),
        gallery_logits=tuple(float(run.evaluation.predictions.logits[index]) for index in indices),
    )
    return result, scale


def examples_by_class(table: ImageTable, pack: ImagePack, split: Split, *, seed: int) -> dict[str, tuple[Photo, ...]]:
    """Training images of each class, drawn at random."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0xE8A)))
    train = split.indices(table, "train")
    return {
        name: tuple(pack.read(rng.permutation(train[table.labels[train] == label])[:_EXAMPLES]))
        for label, name in enumerate(LABEL_NAMES)
    }


def augmentation_examples(
    image: Photo, config: AugmentConfig, *, seed: int
) -> tuple[tuple[str, tuple[Photo, ...]], ...]:
    """The original and four draws of each of the paper's three augmentations, each made certain."""
    kinds = {
        "Horizontal flip": "flip_probability",
        "Colour jitter": "jitter_probability",
        "Rotation": "rotate_probability",
    }
    never = dict.fromkeys(kinds.values(), 0.0)
    batch = torch.from_numpy(np.stack([image] * 4)).permute(0, 3, 1, 2)
    rows = []
    for title, key in kinds.items():
        certain = config.model_copy(update={**never, key: 1.0})
        draw = draw_augmentation(certain, seed=seed, epoch=0, indices=range(4))
        changed = apply_augmentation(batch, draw).permute(0, 2, 3, 1).contiguous().numpy()
        rows.append((title, (image, *changed)))
    return tuple(rows)


def _history(path: Path) -> tuple[dict[str, float], ...]:
    """The rows of history.csv; none where the training ended within its first epoch."""
    if not path.is_file():
        return ()
    try:
        return tuple({name: float(cell) for name, cell in row.items()} for row in read_csv(path))
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}; restore it, or train the run again") from error


def _ranked(value: Any, allowed: Any) -> list[int]:
    order = np.argsort(-value, kind="stable")
    return [int(index) for index in order if allowed[index]]


def _overlays(
    heat: np.ndarray, gallery: tuple[GalleryImage, ...], preprocessing: Preprocessing, scale: float
) -> tuple[np.ndarray, ...]:
    if not gallery:
        return ()
    large = to_image_size(heat, preprocessing, size_px=gallery[0].image.shape[0])
    return tuple(
        overlay(image.image, layer, maximum=scale) if scale > 0 else image.image
        for image, layer in zip(gallery, large, strict=True)
    )


def _images_per_s(run: FinishedRun) -> float:
    """In training: the middle epoch's; without a whole epoch, all trained images over the whole time."""
    if run.history:
        return float(np.median([row["images_per_s"] for row in run.history]))
    return float(run.about["steps"] * run.batch_size / run.about["seconds"])

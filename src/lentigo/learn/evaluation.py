"""Evaluation: a finished run's logits on every test image, in the table's order, and the scores made of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lentigo.data.pack import ImagePack
from lentigo.data.predictions import Predictions, read_predictions
from lentigo.data.split import Split, groups_of
from lentigo.data.table import ImageTable
from lentigo.evidence.decisions import Decisions, decide, undecided
from lentigo.evidence.metrics import scores
from lentigo.evidence.subgroups import group_score, scores_by_group
from lentigo.files import read_csv, read_json, sha256_of, write_json
from lentigo.learn.checkpoint import Checkpoint, run_checkpoint
from lentigo.learn.prediction import predict_logits
from lentigo.learn.shards import gather, rank, shard, told_of_all


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Logits and scores of one run on one set of images."""

    predictions: Predictions
    metrics: dict[str, Any]  # the scores of evidence.metrics.scores


def evaluate_run(
    run: Path,
    table: ImageTable,
    pack: ImagePack,
    split: Split | None,
    *,
    folder: Path | None = None,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Score a run and write `predictions.csv` and `metrics.json`, in which also stand the scores within each source.

    Several processes share the images; all return the same, and the first one writes.

    Args:
        split: the test part is scored; the validation part's logits go to `validation.csv`, and what is chosen on them,
            a temperature and thresholds, to `decisions.json`; None: every image of the table is scored.
        folder: where to write; None: the run folder.
    Raises: RunError: the run has no whole checkpoint.
    """
    folder, checkpoint = folder or run, run_checkpoint(run)
    if split is not None:
        _score_validation(checkpoint, table, pack, split, folder=folder, device=device, on_progress=on_progress)
    indices = np.arange(len(table)) if split is None else split.indices(table, "test")
    predictions = _predictions(checkpoint, table, pack, indices, device=device, on_progress=on_progress)
    metrics = dict(scores(predictions.labels, predictions.logits))
    if rank() == 0:
        predictions.write(folder / "predictions.csv")
        write_json(folder / "metrics.json", metrics | standing(predictions, table) | {"checkpoint": network_of(run)})
    return Evaluation(predictions=predictions, metrics=metrics)


def score_validation(
    run: Path,
    table: ImageTable,
    pack: ImagePack,
    split: Split,
    *,
    folder: Path | None = None,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Decisions:
    """Write `validation.csv` and what is chosen on it, `decisions.json`; see `evaluate_run`."""
    return _score_validation(
        run_checkpoint(run), table, pack, split, folder=folder or run, device=device, on_progress=on_progress
    )


def _score_validation(
    checkpoint: Checkpoint,
    table: ImageTable,
    pack: ImagePack,
    split: Split,
    *,
    folder: Path,
    device: torch.device | None,
    on_progress: Callable[[int], None] | None,
) -> Decisions:
    if rank() == 0:
        (folder / "decisions.json").unlink(missing_ok=True)  # first: it is of an earlier scoring
    indices = split.indices(table, "validation")
    predictions = _predictions(checkpoint, table, pack, indices, device=device, on_progress=on_progress)
    if rank() != 0:
        return _decided(predictions)
    predictions.write(folder / "validation.csv")
    return decisions_of(folder)


def network_of(run: Path) -> str:
    """The SHA-256 of a run's weights, by which what is made of them is known again; empty without any."""
    path = run / "checkpoint.safetensors"
    return sha256_of(path) if path.is_file() else ""


def _predictions(
    checkpoint: Checkpoint,
    table: ImageTable,
    pack: ImagePack,
    indices: np.ndarray,
    *,
    device: torch.device | None,
    on_progress: Callable[[int], None] | None,
) -> Predictions:
    model = checkpoint.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    here = predict_logits(
        model, pack, shard(indices), checkpoint.preprocessing, device=device, on_progress=told_of_all(on_progress)
    )
    logits = gather(here, len(indices))
    return Predictions(tuple(table.ids[index] for index in indices), table.labels[indices], logits)


def standing(predictions: Predictions, table: ImageTable) -> dict[str, Any]:
    """The AUC's interval, and the scores within each source that holds both classes, as JSON-safe values.

    Images of one lesion or patient depend on each other, and the intervals heed that.
    """
    place = {name: index for index, name in enumerate(table.ids)}
    rows = [place[name] for name in predictions.ids]
    groups = np.array(groups_of(table), dtype=np.int64)[rows]
    whole = group_score(predictions.labels, predictions.logits, groups=groups)
    names = [table.rows[row].source for row in rows]
    within = scores_by_group(predictions.labels, predictions.logits, names, groups=groups)
    return {
        "auc_low": whole.low,
        "auc_high": whole.high,
        "within_sources": {name: score.to_dict() for name, score in within.items()},
    }


def decisions_of(run: Path) -> Decisions:
    """What a run decides by: from `decisions.json`, else chosen on `validation.csv`, and kept.

    Raises: DataError: a file is damaged.
    """
    path = run / "decisions.json"
    if path.is_file():
        return Decisions.from_dict(read_json(path), file=str(path))
    if not (run / "validation.csv").is_file():
        return undecided("the run has no validation.csv; evaluate it on its own images first")
    found = read_predictions(run / "validation.csv") if read_csv(run / "validation.csv") else None
    decisions = _decided(found)
    write_json(path, decisions.to_dict())
    return decisions


def _decided(validation: Predictions | None) -> Decisions:
    if validation is None or not len(validation.ids):
        return undecided("no image was kept for validation")
    return decide(validation.labels, validation.logits)


def read_evaluation(folder: Path) -> Evaluation:
    """Read the predictions that `evaluate_run` wrote; the scores are made of them again.

    Raises: DataError: the file is missing or damaged.
    """
    predictions = read_predictions(folder / "predictions.csv")
    return Evaluation(predictions=predictions, metrics=dict(scores(predictions.labels, predictions.logits)))

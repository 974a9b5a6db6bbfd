"""A finished segmenter's score against experts' masks, as files: a row an image, and what they come to."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lentigo.data.copies import Bar, silent
from lentigo.data.masks import mask_digests
from lentigo.data.pack import ImagePack
from lentigo.data.split import Split
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.files import write_csv, write_json
from lentigo.learn.elsewhere import Seen, seen_before
from lentigo.learn.evaluation import network_of
from lentigo.learn.segmentation import SegmenterScore, score_segmenter
from lentigo.learn.shards import rank


@dataclass(frozen=True, kw_only=True)
class SegmenterEvaluation:
    """A segmenter's score, where it is written, and which images were left out as copies."""

    score: SegmenterScore
    folder: Path
    seen: Seen  # empty on the run's own images


def evaluate_segmenter(
    run: Path,
    table: ImageTable,
    pack: ImagePack,
    split: Split | None,
    *,
    device: torch.device | None = None,
    cache: Path | None = None,
    bar: Bar | None = None,
) -> SegmenterEvaluation:
    """Score a segmenter; write `segmentation.csv` and `segmentation.json` into the run or RUN/evaluations/NAME-KEY.

    Several processes share the images; all return the same, and the first one writes.

    Args:
        split: of the run's own images, whose test part is scored; None: other images, of which copies of what the run
            was trained on are left out.
        bar: shows progress: a text and a total to a context that takes the number done.
    Raises:
        RunError: it is no finished run of a segmenter.
        DataError: no image that is left has a mask, a mask cannot be used, or the disk is full.
    """
    bar, folder, seen = bar or silent, run, Seen()
    if split is not None:
        indices = split.indices(table, "test")
        if not len(indices):
            raise DataError(f"{run} has no test image; split the data with a test part, or give --data")
    else:
        folder = run / "evaluations" / f"{table.name}-{_key(table, pack)}"
        seen = seen_before(run, table, pack, cache=cache, bar=bar)
        gone = {image.id for image in seen.left_out}
        indices = np.array([place for place, image in enumerate(table.ids) if image not in gone], dtype=np.int64)
        if not indices.size:
            raise DataError(
                f"all {len(table)} images of {table.name} are copies of what {run} learned; give other data"
            )
    with bar("finding lesions", len(indices)) as told:
        score = score_segmenter(run, table, pack, indices, device=device, on_progress=told)
    if rank() == 0:
        _write(run, folder, score, None if split is not None else seen)
    return SegmenterEvaluation(score=score, folder=folder, seen=seen)


def _write(run: Path, folder: Path, score: SegmenterScore, seen: Seen | None) -> None:
    rows = zip(score.ids, score.jaccard, score.confidence, strict=True)
    header = ["image", "jaccard", "confidence"]
    write_csv(folder / "segmentation.csv", header, [[image, f"{j:.6g}", f"{c:.6g}"] for image, j, c in rows])
    if seen is not None:
        write_json(folder / "left_out.json", seen.note(network_of(run)))
    write_json(folder / "segmentation.json", {"checkpoint": network_of(run), **score.to_dict()})


def _key(table: ImageTable, pack: ImagePack) -> str:
    """Of the images and their masks."""
    return hashlib.sha256("\n".join([pack.key, *mask_digests(table)]).encode()).hexdigest()[:8]

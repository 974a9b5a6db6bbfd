"""Explanation of a finished run: raw signed Grad-CAM maps of every test image, and what they are, as files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from lentigo.data.batches import batches
from lentigo.data.pack import ImagePack
from lentigo.data.split import Split
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.explain.cam import explain_images
from lentigo.files import read_json, whole_file, write_json
from lentigo.learn.checkpoint import run_checkpoint


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Heat maps of a run, in the order of `ids`."""

    ids: tuple[str, ...]
    maps: Float32[np.ndarray, "image rows columns"]  # before the ReLU: above 0 for malignant, below 0 for benign


def explain_run(
    run: Path,
    table: ImageTable,
    pack: ImagePack,
    split: Split,
    *,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Explanation:
    """Grad-CAM of every test image; writes `heatmaps.npy` (raw float32) and `explanation.json`.

    Raises: RunError: the run has no whole checkpoint.
    """
    checkpoint = run_checkpoint(run)
    model = checkpoint.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    indices = split.indices(table, "test")
    source = batches(pack, indices, checkpoint.preprocessing, batch_size=32, device=device)
    maps, _ = explain_images(model, source, on_progress=on_progress)
    ids = tuple(table.ids[index] for index in indices)
    with whole_file(run / "heatmaps.npy") as temporary, temporary.open("wb") as file:
        np.save(file, maps, allow_pickle=False)
    about = {
        "method": "Grad-CAM (Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74), before its ReLU",
        "layer": checkpoint.model.cam_layer,
        "meaning": "above 0 speaks for malignant, below 0 for benign",
        "rows": maps.shape[1],
        "columns": maps.shape[2],
        "images": len(ids),
        "empty_for_malignant": int((maps <= 0).all(axis=(1, 2)).sum()),
        "empty_for_benign": int((maps >= 0).all(axis=(1, 2)).sum()),
        "ids": ids,
    }
    write_json(run / "explanation.json", about)
    return Explanation(ids=ids, maps=maps)


def read_explanation(run: Path) -> Explanation:
    """Read what `explain_run` wrote.

    Raises: DataError: a file is missing or damaged.
    """
    about = read_json(run / "explanation.json")
    if not isinstance(about, dict) or not {"ids", "rows", "columns"} <= set(about):
        raise DataError(f"{run}/explanation.json lacks ids, rows or columns; write it again with `lentigo explain`")
    try:
        maps = np.load(run / "heatmaps.npy", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{run / 'heatmaps.npy'} cannot be read ({error}); write it again with `lentigo explain`"
        ) from error
    if maps.shape != (len(about["ids"]), about["rows"], about["columns"]) or maps.dtype != np.float32:
        raise DataError(
            f"{run / 'heatmaps.npy'} does not fit explanation.json; write both again with `lentigo explain`"
        )
    return Explanation(ids=tuple(about["ids"]), maps=maps)

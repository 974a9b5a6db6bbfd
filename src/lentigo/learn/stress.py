"""The stress test of a finished run: its test images under changes of many kinds and strengths, scored again.

Logits of each kind go to `RUN/stress/KEY/KIND.npy` as soon as they are there, so that an interrupted test goes on; KEY
names weights, images and seed. The scores of all kinds go to `RUN/stress.json`, those of a choice of them beside their
logits.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from lentigo.data.batches import preprocess_batch
from lentigo.data.changes import CHANGES, STRENGTHS, apply_change
from lentigo.data.pack import ImagePack
from lentigo.data.split import Split, groups_of
from lentigo.data.table import ImageTable
from lentigo.errors import ConfigError, DataError
from lentigo.evidence.stress import StressResult, stress_scores
from lentigo.files import read_json, whole_file, write_json
from lentigo.learn.checkpoint import Checkpoint, run_checkpoint
from lentigo.learn.evaluation import network_of
from lentigo.machine import cores
from lentigo.models.contract import evaluating

_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class StressTest:
    """What a run's stress test found, and on which images."""

    ids: tuple[str, ...]
    result: StressResult
    seed: int
    file: Path  # that holds it


def stress_run(
    run: Path,
    table: ImageTable,
    pack: ImagePack,
    split: Split,
    *,
    changes: Sequence[str] | None = None,
    count: int | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> StressTest:
    """Score a run's test images under every change at five strengths, beside the images as they are.

    Args:
        changes: names out of `CHANGES`; None: all.
        count: test images to take, drawn at random with the classes' shares kept; None: all.
        seed: of the draw, of what is random in the changes, and of the interval.
        on_progress: called with the number of images changed and scored since the last call; in all
            `stress_total(images, changes)`.
    Raises:
        ConfigError: an unknown change, or fewer than two images.
        RunError: the run has no whole checkpoint.
    """
    names = tuple(CHANGES) if changes is None else tuple(changes)
    if unknown := [name for name in names if name not in CHANGES]:
        raise ConfigError(f"no change is called {', '.join(unknown)}; choose from {', '.join(CHANGES)}")
    checkpoint = run_checkpoint(run)
    indices = _chosen(table, split, count, seed)
    ids = tuple(table.ids[index] for index in indices)
    folder = run / "stress" / _fingerprint(run, pack, ids, seed)[:16]
    checkpoint.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    told = on_progress or (lambda _: None)
    clean = _logits(folder, "clean", (0,), checkpoint, pack, indices, seed=seed, device=device, told=told)[0]
    changed: dict[tuple[str, int], np.ndarray] = {}
    for name in names:
        rows = _logits(folder, name, STRENGTHS, checkpoint, pack, indices, seed=seed, device=device, told=told)
        changed |= {(name, strength): row for strength, row in zip(STRENGTHS, rows, strict=True)}
    labels, groups = table.labels[indices], np.array(groups_of(table), dtype=np.int64)[indices]
    result = stress_scores(labels, clean, changed, groups=groups, seed=seed)
    file = (run if set(names) == set(CHANGES) else folder) / "stress.json"
    about = {"images": len(ids), "seed": seed, "checkpoint": network_of(run), "ids": ids}
    write_json(file, about | {"result": result.to_dict()})
    return StressTest(ids=ids, result=result, seed=seed, file=file)


def stress_total(images: int, changes: Sequence[str] | None) -> int:
    """Images that a stress test scores in all."""
    return images * (1 + len(STRENGTHS) * len(CHANGES if changes is None else changes))


def read_stress(run: Path) -> StressTest | None:
    """The last stress test of a run under all changes; None without one, or where the run has other weights since.

    Raises: DataError: the file is damaged.
    """
    path = run / "stress.json"
    if not path.is_file():
        return None
    about: dict[str, Any] = read_json(path)
    try:
        if about["checkpoint"] != network_of(run):
            return None
        result = StressResult.from_dict(about["result"])
        return StressTest(ids=tuple(about["ids"]), result=result, seed=int(about["seed"]), file=path)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged: it lacks {error}; give `lentigo stress {run}` again") from error


def _chosen(table: ImageTable, split: Split, count: int | None, seed: int) -> np.ndarray:
    """The test images, or some of each class as its share is."""
    test = split.indices(table, "test")
    if count is None or count >= len(test):
        return test
    if count < 2:
        raise ConfigError(f"count is {count}; a stress test needs 2 images or more")
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0x57E5)))
    of_class = [rng.permutation(test[table.labels[test] == label]) for label in (0, 1)]
    malignant = min(max(round(count * len(of_class[1]) / len(test)), 1), count - 1)
    return np.sort(np.concatenate([of_class[0][: count - malignant], of_class[1][:malignant]]))


def _fingerprint(run: Path, pack: ImagePack, ids: Sequence[str], seed: int) -> str:
    strengths = [f"{name} {change.strengths}" for name, change in CHANGES.items()]
    text = "\n".join([network_of(run), pack.key, str(seed), *strengths, *ids])
    return hashlib.sha256(text.encode()).hexdigest()


def _logits(
    folder: Path,
    name: str,
    strengths: Sequence[int],
    checkpoint: Checkpoint,
    pack: ImagePack,
    indices: np.ndarray,
    *,
    seed: int,
    device: torch.device | None,
    told: Callable[[int], None],
) -> Float32[np.ndarray, "strength image"]:
    """One kind of change at all strengths, from its file if it is there."""
    path = folder / f"{name}.npy"
    shape = (len(strengths), len(indices))
    if (kept := _kept(path, shape)) is not None:
        told(kept.size)
        return kept
    found = np.empty(shape, dtype=np.float32)
    with evaluating(checkpoint.model), torch.inference_mode(), ThreadPoolExecutor(cores()) as pool:
        for start, images in _pieces(pack, indices):
            of_piece = indices[start : start + len(images)]
            for row, strength in enumerate(strengths):
                changed = _changed(images, name, strength, seed=seed, indices=of_piece, pool=pool)
                batch = torch.from_numpy(changed).to(device).permute(0, 3, 1, 2)
                logits = checkpoint.model(preprocess_batch(batch, checkpoint.preprocessing))
                found[row, start : start + len(images)] = logits.float().cpu().numpy()
                told(len(images))
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, found, allow_pickle=False)
    return found


def _kept(path: Path, shape: tuple[int, int]) -> Float32[np.ndarray, "strength image"] | None:
    """Logits of an earlier call; None where there are none, or they are damaged or of another shape."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if isinstance(found, np.ndarray) and found.shape == shape and found.dtype == np.float32 else None


def _pieces(pack: ImagePack, indices: np.ndarray) -> Iterator[tuple[int, UInt8[np.ndarray, "image height width 3"]]]:
    for start in range(0, len(indices), _BATCH):
        yield start, pack.read(indices[start : start + _BATCH])


def _changed(
    images: UInt8[np.ndarray, "image height width 3"],
    name: str,
    strength: int,
    *,
    seed: int,
    indices: np.ndarray,
    pool: ThreadPoolExecutor,
) -> UInt8[np.ndarray, "image height width 3"]:
    """The images under one change; strength 0 leaves them. OpenCV and numpy work on several at once."""
    if strength == 0:
        return images
    made = pool.map(
        lambda image, index: apply_change(image, name, strength, seed=seed, index=int(index)), images, indices
    )
    return np.stack(list(made))

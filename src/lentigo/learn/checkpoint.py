"""Checkpoints: weights and everything needed to use them, in safetensors with a checksum. No pickle is ever read.

`checkpoint.safetensors` holds a trained network; `resume.safetensors` also the optimizer's state and the place in the
training. Both carry one JSON text under the metadata key `lentigo`.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lentigo.config import Experiment, experiment_from
from lentigo.errors import RunError
from lentigo.files import whole_file
from lentigo.imaging import Preprocessing
from lentigo.models.contract import LesionClassifier
from lentigo.models.registry import create_model

VERSION = 1
Tensors = dict[str, Shaped[Tensor, "..."]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A trained network and what its user must know."""

    model: LesionClassifier
    experiment: Experiment
    preprocessing: Preprocessing
    pack_key: str  # the training data's fingerprint


def save_tensors(path: Path, tensors: Tensors, about: dict[str, Any]) -> None:
    """Write tensors and a JSON text to one safetensors file, whole or not at all.

    Raises: RunError: the disk refuses, for instance because it is full; an older file is then untouched.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({"version": VERSION, "checksum": _checksum(tensors), **about})
    try:
        with whole_file(path) as temporary:
            save_file(tensors, temporary, metadata={"lentigo": text})
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be written: {error}; free space on the disk and resume") from error


def load_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what `save_tensors` wrote, verified.

    Raises: RunError: missing, not safetensors, damaged, or of another version.
    """
    if not path.is_file():
        raise RunError(f"{path} does not exist; train the run first, or check the path")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("lentigo")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  a handle, not a dict
        about: dict[str, Any] = json.loads(text) if text else {}
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is not a readable safetensors file ({error}); restore it or train again") from error
    if about.get("version") != VERSION:
        raise RunError(f"{path} is of version {about.get('version')}, this lentigo reads {VERSION}; train again")
    if about.get("checksum") != _checksum(tensors):
        raise RunError(f"{path} is damaged: its checksum differs; restore it from a copy or train again")
    return tensors, about


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    about = {
        "experiment": checkpoint.experiment.model_dump(exclude_none=True),
        "preprocessing": checkpoint.preprocessing.to_dict(),
        "pack_key": checkpoint.pack_key,
    }
    save_tensors(path, checkpoint.model.state_dict(), about)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a trained network, in evaluation mode, on the CPU.

    Raises: RunError: missing, damaged, of another version, or its weights do not fit its network.
    """
    tensors, about = load_tensors(path)
    try:
        experiment = experiment_from(about["experiment"], str(path))
        preprocessing = Preprocessing.from_dict(about["preprocessing"])
        pack_key = str(about["pack_key"])
    except KeyError as error:
        raise RunError(f"{path} lacks {error} in its metadata; train again") from error
    model = create_model(_without_weights(experiment).model, preprocessing, seed=0)
    load_weights(model, tensors, path)
    model.eval()
    return Checkpoint(model=model, experiment=experiment, preprocessing=preprocessing, pack_key=pack_key)


def load_weights(model: LesionClassifier, tensors: Tensors, path: Path) -> None:
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise RunError(f"{path}: its weights do not fit the network that its experiment names ({error})") from error


def run_checkpoint(run: Path) -> Checkpoint:
    """The trained network of a run folder.

    Raises: RunError: the folder is no run, or its training has not ended.
    """
    if not (run / "experiment.toml").is_file():
        raise RunError(f"{run} is not a run folder: it has no experiment.toml; give a folder that `lentigo train` wrote")
    if not (run / "checkpoint.safetensors").is_file():
        raise RunError(f"{run} has no checkpoint yet: its training was interrupted; go on with `lentigo train --resume {run}`")
    return load_checkpoint(run / "checkpoint.safetensors")


def _without_weights(experiment: Experiment) -> Experiment:
    """The same network without a download of published weights, which the checkpoint's own replace anyway."""
    return experiment.changed(model={"weights": "none"})


def _checksum(tensors: Tensors) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        digest.update(memoryview(tensor.reshape(-1).numpy()).cast("B") if tensor.numel() else b"")
    return digest.hexdigest()



"""Checkpoints: weights and everything needed to use them, in safetensors with a checksum. No pickle is ever read.

`checkpoint.safetensors` holds a trained network; `resume.safetensors` also the optimizer's state and the place in the
training. Both carry one JSON text under the metadata key `lentigo`.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lentigo.config import Experiment, experiment_from
from lentigo.errors import ConfigError, RunError
from lentigo.files import whole_file
from lentigo.imaging import Preprocessing
from lentigo.learn.run import check_run, noted_learned_from, run_about, run_experiment
from lentigo.models.contract import LesionClassifier
from lentigo.models.lesion_unet import LesionUNet
from lentigo.models.registry import Network, create_model

VERSION = 1
Tensors = dict[str, Shaped[Tensor, "..."]]


class UnwrittenError(RunError):
    """A file of a run cannot be written, which says nothing against the run."""


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A trained network and what its user must know."""

    model: Network
    experiment: Experiment
    preprocessing: Preprocessing
    pack_key: str  # the training images' fingerprint
    learned_from: str = ""  # that of images, labels and split, see `run.learned_from`; empty: of an early lentigo


@dataclass(frozen=True, kw_only=True)
class Checkpoint(TrainedNetwork):
    """A trained classifier."""

    model: LesionClassifier


@dataclass(frozen=True, kw_only=True)
class SegmenterCheckpoint(TrainedNetwork):
    """A trained segmenter."""

    model: LesionUNet


def run_checkpoint(run: Path) -> Checkpoint:
    """The trained classifier of a run folder.

    Raises: RunError: the folder is no run, its training has not ended, the file is damaged or of another training, or
        it is a segmenter's.
    """
    found = load_checkpoint(_checkpoint_file(run))
    _check_own(run, found)
    return found


def run_segmenter(run: Path) -> SegmenterCheckpoint:
    """The trained segmenter of a run folder, or of its `checkpoint.safetensors`.

    Raises: RunError: as `run_checkpoint`, and where it is a classifier's.
    """
    path = run if run.is_file() else _checkpoint_file(run)
    found = _load(path)
    if path != run:
        _check_own(run, found)
    if not isinstance(found.model, LesionUNet):
        raise RunError(
            f"{path} is of {found.experiment.model.name}, which finds no lesion; give a run of lesion_unet, trained "
            "with configs/lesion_unet.toml"
        )
    return SegmenterCheckpoint(**vars(found))


def _checkpoint_file(run: Path) -> Path:
    check_run(run)
    if not (run / "checkpoint.safetensors").is_file():
        raise RunError(f"{run} has no checkpoint yet, its training has not ended; give its command again with --resume")
    return run / "checkpoint.safetensors"


def _check_own(run: Path, found: TrainedNetwork) -> None:
    """Another training's network may have learned from this run's test images."""
    path, told = run / "checkpoint.safetensors", run / "run.json"
    if found.experiment.recipe() != run_experiment(run).recipe():
        raise RunError(f"{path} is of another experiment than {run / 'experiment.toml'}; restore it or train again")
    if not told.is_file():
        return
    data = run_about(run)["data"]
    own = noted_learned_from(data)
    others = bool(found.learned_from and own) and found.learned_from != own
    if others or found.pack_key != data["pack_key"]:
        raise RunError(
            f"{path} learned from other images, labels or another split than {told} says; restore it or train again"
        )


def save_checkpoint(path: Path, checkpoint: TrainedNetwork) -> None:
    """Write a trained network, whole or not at all.

    Raises: RunError: the disk refuses.
    """
    about = {
        "experiment": checkpoint.experiment.model_dump(exclude_none=True),
        "preprocessing": checkpoint.preprocessing.to_dict(),
        "pack_key": checkpoint.pack_key,
        "learned_from": checkpoint.learned_from,
    }
    save_tensors(path, checkpoint.model.state_dict(), about)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a trained classifier, in evaluation mode, on the CPU.

    Raises: RunError: missing, damaged, of another version, its weights do not fit its network, or that is a segmenter.
    """
    found = _load(path)
    if not isinstance(found.model, LesionClassifier):
        raise RunError(
            f"{path} is of {found.experiment.model.name}, which finds lesions and scores no image; give the run of a "
            "classifier"
        )
    return Checkpoint(**vars(found))


def _load(path: Path) -> TrainedNetwork:
    tensors, about = load_tensors(path)
    try:
        experiment = experiment_from(about["experiment"], str(path))
        preprocessing = Preprocessing.from_dict(about["preprocessing"])
        with torch.device("meta"):  # shapes alone: the first weights of VGG11 take longer to draw than to read
            model = create_model(without_download(experiment).model, preprocessing, seed=0)
        pack_key = str(about["pack_key"])
    except KeyError as error:
        raise RunError(f"{path} is no checkpoint: it lacks {error}; give a checkpoint.safetensors") from error
    except ConfigError as error:
        raise RunError(f"{path} is of another lentigo: {error}; train again") from error
    single = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    load_weights(model, single, path, assign=True)
    model.eval()
    return TrainedNetwork(
        model=model, experiment=experiment, preprocessing=preprocessing, pack_key=pack_key,
        learned_from=str(about.get("learned_from", "")),
    )  # fmt: skip


def save_tensors(path: Path, tensors: Tensors, about: dict[str, Any]) -> None:
    """Write tensors and a JSON text to one safetensors file, whole or not at all.

    Raises: UnwrittenError: the disk refuses, for instance because it is full; an older file is then untouched.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    about = {"version": VERSION, **about}
    text = json.dumps({**about, "checksum": _checksum(tensors, about)})
    try:
        with whole_file(path) as temporary:
            save_file(tensors, temporary, metadata={"lentigo": text})
    except (OSError, SafetensorError) as error:
        raise UnwrittenError(f"{path} cannot be written ({error}); free space on the disk and resume") from error


def load_tensors(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read what `save_tensors` wrote, verified.

    Raises: RunError: missing, not safetensors, not lentigo's, damaged, or of another version.
    """
    if not path.is_file():
        raise RunError(f"{path} does not exist; train the run first, or check the path")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("lentigo")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  a handle, not a dict
        about = json.loads(text or "null")
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is not a readable safetensors file ({error}); restore it or train again") from error
    if not isinstance(about, dict):
        raise RunError(f"{path} was not written by lentigo: it has no metadata under `lentigo`; give a run's own file")
    checksum = about.pop("checksum", None)
    # The first files of version 1 have a checksum of their tensors alone.
    if checksum not in (_checksum(tensors, about), _checksum(tensors)):
        raise RunError(f"{path} is damaged: its checksum differs; restore it from a copy or train again")
    if about.get("version") != VERSION:
        raise RunError(f"{path} is of version {about.get('version')}, this lentigo reads {VERSION}; train again")
    return tensors, about


def load_weights(model: nn.Module, tensors: Tensors, path: Path, *, assign: bool = False) -> None:
    """Put the tensors into the model; `path` is where they came from.

    Args:
        assign: the model's parameters become these tensors, for a model of shapes alone.
    Raises: RunError: names or shapes differ.
    """
    try:
        model.load_state_dict(tensors, strict=True, assign=assign)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(
            f"{path} holds weights that do not fit its experiment's network; restore it or train again ({reason})"
        ) from error


def without_download(experiment: Experiment) -> Experiment:
    """The same experiment without published weights, where a file's own replace them anyway."""
    return experiment.changed(model={"weights": "none"})


def _checksum(tensors: Tensors, about: dict[str, Any] | None = None) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    if about is not None:
        digest.update(json.dumps(about, sort_keys=True).encode())
    return digest.hexdigest()

"""Where a training stands, in `resume.safetensors`: weights, the optimizer's moments and the place in the training.

No random state is kept: every random number derives from (seed, epoch, step or image).
"""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from lentigo.config import Experiment, experiment_from
from lentigo.errors import RunError
from lentigo.learn.checkpoint import Tensors, load_tensors, load_weights, save_tensors
from lentigo.learn.run import AnyEpochRow, epoch_row

_TENSORS = 3  # weights and two moments each
_BYTES_A_SECOND = 5e8  # of checksum and writing, on an ordinary machine


@dataclass
class TrainingState:
    """The place in a training."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of this epoch
    loss_sum: float = 0.0  # over the images of this epoch so far
    train_s: float = 0.0  # spent on the steps of this epoch so far
    total_s: float = 0.0  # since the start, with validation and saving, over all resumptions
    history: list[AnyEpochRow] = field(default_factory=list)


@dataclass(frozen=True)
class SavedTraining:
    """What `load_training` read."""

    path: Path
    state: TrainingState
    tensors: Tensors
    scaler: dict[str, Any]

    def restore_weights(self, model: nn.Module) -> None:
        """Put the saved weights into the model.

        Raises: RunError: they do not fit.
        """
        load_weights(model, _under("model.", self.tensors), self.path)

    def restore_optimizer(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Put the saved moments into the optimizer of the model's parameters."""
        parameters = list(model.parameters())
        content = optimizer.state_dict()
        for name, tensor in _under("optimizer.", self.tensors).items():
            index, moment = name.split(".")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:
                # The fused Adam walks through memory: moments must lie there as their weights do (channels last), or
                # each weight silently gets another one's moments.
                tensor = torch.empty_like(parameter).copy_(tensor)  # noqa: PLW2901
            content["state"].setdefault(int(index), {})[moment] = tensor
        optimizer.load_state_dict(content)


def save_training(
    path: Path,
    state: TrainingState,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    experiment: Experiment,
    pack_key: str,
    learned_from: str,
    scaler: dict[str, Any],
) -> None:
    """Write all that the training needs to go on, whole or not at all.

    Args:
        learned_from: of images, labels and split, see `run.learned_from`.
        scaler: the state of the loss scaling of 16-bit floats; empty where there is none.
    Raises: RunError: the disk refuses; the state saved before is then untouched.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    place = {**vars(state), "history": [vars(row) for row in state.history]}
    about = {"state": place, "experiment": experiment.to_toml(), "pack_key": pack_key, "learned_from": learned_from}
    save_tensors(path, tensors, about | ({"scaler": scaler} if scaler else {}))


def worth_saving(model: nn.Module, *, since_s: float) -> bool:
    """Whether saving costs at most a twentieth of the time since the last save: a GPU's epoch may take a second."""
    parameters = sum(parameter.nbytes for parameter in model.parameters())
    return since_s > 20 * _TENSORS * parameters / _BYTES_A_SECOND


def load_training(path: Path, *, experiment: Experiment, pack_key: str, learned_from: str = "") -> SavedTraining:
    """Read what `save_training` wrote.

    Raises: RunError: the file is damaged, or of another experiment or data set.
    """
    tensors, about = load_tensors(path)
    try:
        place, of = about["state"], experiment_from(tomllib.loads(about["experiment"]), str(path))
        others = learned_from and about.get("learned_from", learned_from) != learned_from
        if others or of.recipe() != experiment.recipe() or about["pack_key"] != pack_key:
            raise RunError(
                f"{path} belongs to another experiment, data set or split; resume with the ones it was started with"
            )
        history = [epoch_row(row) for row in place["history"]]
        state = TrainingState(**{**place, "history": history})
    except (KeyError, TypeError) as error:
        raise RunError(f"{path} holds no state of a training ({error}); restore it or train again") from error
    return SavedTraining(path, state, tensors, about.get("scaler", {}))


def _under(prefix: str, tensors: Tensors) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

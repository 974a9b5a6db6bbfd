"""How far a training is, for a progress bar."""

import math
from dataclasses import dataclass

from lentigo.config import TrainConfig
from lentigo.learn.run import AnyEpochRow
from lentigo.learn.state import TrainingState


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """What a progress bar may show; sent after every epoch and every step, on a GPU a few times a second."""

    epoch: int  # 1 = first
    epochs: int
    step: int  # finished steps of the epoch
    steps: int  # of the epoch
    loss: float  # mean over the epoch so far
    images_per_s: float
    remaining_s: float
    history: tuple[AnyEpochRow, ...]


def progress_of(state: TrainingState, config: TrainConfig, *, images: int, steps: int) -> TrainProgress:
    """Where a training stands.

    Args:
        images, steps: of an epoch.
    """
    done = min(state.step * config.batch_size, images)
    rate = done / state.train_s if state.train_s else (state.history[-1].images_per_s if state.history else 0.0)
    left = (config.epochs - state.epoch) * images - done
    remaining_s = left / rate if rate else math.inf
    if config.limit_s is not None:
        remaining_s = min(remaining_s, max(config.limit_s - state.total_s, 0.0))
    return TrainProgress(
        epoch=min(state.epoch + 1, config.epochs), epochs=config.epochs, step=state.step, steps=steps,
        loss=state.loss_sum / done if done else math.nan, images_per_s=rate, remaining_s=remaining_s,
        history=tuple(state.history),
    )  # fmt: skip

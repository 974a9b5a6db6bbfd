"""Training: a pack, a split and an experiment in; a run folder out.

A run folder holds `experiment.toml`, `split.csv`, `run.json` (data, versions, costs), `history.csv` (one row an epoch),
`checkpoint.safetensors` at the end, and until then `resume.safetensors`, from which the training continues to the same
weights bit for bit on the CPU: every random number derives from (seed, epoch, step or image), and none is kept.
"""

import platform
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
import torchvision
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from lentigo import __version__
from lentigo.config import Experiment, TrainConfig, read_experiment
from lentigo.data.batches import Augmentation, batches
from lentigo.data.pack import ImagePack
from lentigo.data.split import Split, read_split
from lentigo.data.table import ImageTable
from lentigo.errors import ConfigError, LentigoError, RunError, UndefinedMetricError
from lentigo.evidence.metrics import confusion, log_loss, roc_auc_score
from lentigo.files import read_json, write_csv, write_json, write_text
from lentigo.imaging import Preprocessing
from lentigo.learn.checkpoint import Checkpoint, load_tensors, load_weights, save_checkpoint, save_tensors
from lentigo.learn.prediction import predict_logits
from lentigo.models.contract import LesionClassifier, seeded_torch, trainable_parameters
from lentigo.models.registry import create_model, model_entry, resolve_preprocessing


class TrainingInterruptedError(LentigoError):
    """Somebody stopped the training; its state is saved."""


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One line of history.csv."""

    epoch: int  # 1 = first
    steps: int  # since the start of the training
    train_loss: float  # mean over the epoch's images, augmented and with dropout, as they were trained on
    validation_loss: float
    validation_accuracy: float
    validation_auc: float
    seconds: float  # training and validation of this epoch
    images_per_s: float  # training alone


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """What a progress bar may show; sent after every step and every epoch."""

    epoch: int
    epochs: int
    step: int  # within the epoch, 1 = first
    steps: int  # of the epoch
    loss: float  # mean over the epoch so far
    images_per_s: float
    remaining_s: float
    history: tuple[EpochRow, ...]


@dataclass
class _State:
    """Where a training stands; all of it travels through resume.safetensors."""

    epoch: int = 0
    step: int = 0  # finished steps of this epoch
    loss_sum: float = 0.0  # over the images of this epoch so far
    train_s: float = 0.0  # of this epoch so far
    total_s: float = 0.0
    history: list[EpochRow] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """A table with its pack and split."""

    table: ImageTable
    pack: ImagePack
    split: Split


def train(
    run: Path,
    experiment: Experiment,
    data: TrainingData,
    *,
    resume: bool = False,
    on_progress: Callable[[TrainProgress], None] | None = None,
) -> Path:
    """Train one network; returns the path of its checkpoint.

    Args:
        run: folder to write; must not hold a training yet, unless `resume`.
        resume: go on from the run's last saved state; a finished run is returned as it is.
    Raises:
        RunError: the folder holds another training, the loss is no longer finite, or a file cannot be written or read.
        TrainingInterruptedError: Ctrl-C or SIGTERM; the state is saved.
    """
    if (run / "checkpoint.safetensors").is_file() and resume:
        return run / "checkpoint.safetensors"
    _claim(run, experiment, data, resume=resume)
    return _Training(run, experiment, data, on_progress).finish()


def read_run(run: Path, table: ImageTable) -> tuple[Experiment, Split]:
    """The experiment and the split of a run folder.

    Raises: RunError: the folder is no run.
    """
    if not (run / "experiment.toml").is_file():
        raise RunError(f"{run} is not a run folder: it has no experiment.toml; give a folder that `lentigo train` wrote")
    return read_experiment(run / "experiment.toml"), read_split(run / "split.csv", table)


class _Training:
    """The loop, with what it needs at every step."""

    def __init__(
        self,
        run: Path,
        experiment: Experiment,
        data: TrainingData,
        on_progress: Callable[[TrainProgress], None] | None,
    ) -> None:
        self.run, self.experiment, self.data = run, experiment, data
        self.config: TrainConfig = experiment.train
        self.on_progress = on_progress
        self.preprocessing: Preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
        self.indices = data.split.indices(data.table, "train")
        self.steps = -(-len(self.indices) // self.config.batch_size)
        self.labels = data.table.labels
        self.state = _State()
        self.fabric = Fabric(accelerator=_accelerator(self.config.device), devices=1, precision=self.config.precision)
        self.raw: LesionClassifier = create_model(experiment.model, self.preprocessing, seed=experiment.seed)
        if (run / "resume.safetensors").is_file():
            self._load_weights()
        optimizer = torch.optim.Adam(
            self.raw.parameters(), lr=self.config.learning_rate, betas=self.config.betas, fused=True
        )
        self.model, self.optimizer = self.fabric.setup(self.raw.to(memory_format=torch.channels_last), optimizer)
        if (run / "resume.safetensors").is_file():
            self._load_optimizer()

    def finish(self) -> Path:
        with _stop_requested() as stop:
            while self.state.epoch < self.config.epochs and not self._out_of_time():
                if not self._train_epoch(stop):
                    break
                self._end_epoch()
        path = self.run / "checkpoint.safetensors"
        checkpoint = Checkpoint(
            model=self.raw, experiment=self.experiment, preprocessing=self.preprocessing, pack_key=self.data.pack.key
        )
        self._write_about()
        save_checkpoint(path, checkpoint)
        (self.run / "resume.safetensors").unlink(missing_ok=True)
        return path

    def _train_epoch(self, stop: threading.Event) -> bool:
        """Train to the end of the epoch; False if the time limit ended it before."""
        state, size = self.state, self.config.batch_size
        rng = np.random.default_rng(np.random.SeedSequence((self.experiment.seed, state.epoch, 0x0DE8)))
        order = rng.permutation(self.indices)
        augmentation = Augmentation(config=self.experiment.augment, seed=self.experiment.seed, epoch=state.epoch)
        source = batches(
            self.data.pack, order, self.preprocessing, batch_size=size, augmentation=augmentation,
            device=self.fabric.device, skip=state.step,
        )  # fmt: skip
        self.model.train()
        started = saved = time.monotonic()
        for images in source:
            labels = torch.from_numpy(self.labels[order[state.step * size : (state.step + 1) * size]])
            loss = self._step(images, labels.to(images.device, torch.float32))
            state.step += 1
            state.loss_sum += loss * len(images)
            now = time.monotonic()
            state.train_s, state.total_s, started = state.train_s + now - started, state.total_s + now - started, now
            self._report()
            if stop.is_set():
                self._save()
                raise TrainingInterruptedError(
                    f"stopped in epoch {state.epoch + 1} after step {state.step} of {self.steps}; the state is saved: "
                    f"go on with `lentigo train --resume {self.run}`"
                )
            if now - saved > self.config.save_every_s:
                self._save()
                saved = started = time.monotonic()
            if self._out_of_time():
                return state.step == self.steps
        return True

    def _step(self, images: Tensor, labels: Tensor) -> float:
        """One step of the optimizer on one batch; the mean loss of the batch, before the step."""
        self.optimizer.zero_grad(set_to_none=True)
        piece = self.config.micro_batch_size or model_entry(self.experiment.model.name).micro_batch_size or len(images)
        total = torch.zeros((), device=images.device)
        with seeded_torch(self.experiment.seed, self.state.epoch, self.state.step, 0xD809):
            for start in range(0, len(images), piece):
                logits = self.model(images[start : start + piece])
                summed = binary_cross_entropy_with_logits(logits, labels[start : start + piece], reduction="sum")
                loss = summed / len(images)
                self.fabric.backward(loss)
                total += loss.detach()
        value = float(total)
        if not np.isfinite(value):
            raise RunError(
                f"{self.run}: the loss is {value} in epoch {self.state.epoch + 1}, step {self.state.step + 1}; "
                f"lower train.learning_rate (now {self.config.learning_rate:g}) and train again in a new folder"
            )
        self.optimizer.step()
        return value

    def _end_epoch(self) -> None:
        state, started = self.state, time.monotonic()
        validation = self.data.split.indices(self.data.table, "validation")
        logits = predict_logits(self.model, self.data.pack, validation, self.preprocessing, device=self.fabric.device)
        labels = self.labels[validation]
        seconds = time.monotonic() - started
        state.total_s += seconds
        row = EpochRow(
            epoch=state.epoch + 1,
            steps=(state.epoch + 1) * self.steps,
            train_loss=state.loss_sum / len(self.indices),
            validation_loss=log_loss(labels, logits),
            validation_accuracy=confusion(labels, logits).accuracy,
            validation_auc=_auc_or_nan(labels, logits),
            seconds=state.train_s + seconds,
            images_per_s=len(self.indices) / state.train_s,
        )
        state.history.append(row)
        state.epoch, state.step, state.loss_sum, state.train_s = state.epoch + 1, 0, 0.0, 0.0
        self._save()
        write_history(self.run / "history.csv", state.history)
        self._report()

    def _out_of_time(self) -> bool:
        return self.config.limit_s is not None and self.state.total_s >= self.config.limit_s

    def _report(self) -> None:
        if self.on_progress is None:
            return
        state, size = self.state, self.config.batch_size
        images = min(state.step * size, len(self.indices))
        rate = images / state.train_s if state.train_s else (state.history[-1].images_per_s if state.history else 0.0)
        left = (self.config.epochs - state.epoch) * len(self.indices) - images
        remaining = left / rate if rate else float("inf")
        if self.config.limit_s is not None:
            remaining = min(remaining, max(self.config.limit_s - state.total_s, 0.0))
        self.on_progress(
            TrainProgress(
                epoch=min(state.epoch + 1, self.config.epochs), epochs=self.config.epochs, step=state.step,
                steps=self.steps, loss=state.loss_sum / images if images else float("nan"), images_per_s=rate,
                remaining_s=remaining, history=tuple(state.history),
            )
        )  # fmt: skip

    def _save(self) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self.raw.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
        state = {**vars(self.state), "history": [vars(row) for row in self.state.history]}
        about = {"state": state, "experiment": self.experiment.to_toml(), "pack_key": self.data.pack.key}
        save_tensors(self.run / "resume.safetensors", tensors, about)

    def _load_weights(self) -> None:
        path = self.run / "resume.safetensors"
        tensors, about = load_tensors(path)
        if about["experiment"] != self.experiment.to_toml() or about["pack_key"] != self.data.pack.key:
            raise RunError(f"{path} belongs to another experiment or data set; resume with the ones it was started with")
        history = [EpochRow(**row) for row in about["state"].pop("history")]
        self.state = _State(**about["state"], history=history)
        weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
        load_weights(self.raw, weights, path)
        self._moments = {name: tensor for name, tensor in tensors.items() if name.startswith("optimizer.")}

    def _load_optimizer(self) -> None:
        content = self.optimizer.state_dict()
        for name, tensor in self._moments.items():
            _, index, moment = name.split(".")
            content["state"].setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict(content)
        del self._moments

    def _write_about(self) -> None:
        state = self.state
        write_json(
            self.run / "run.json",
            {
                "lentigo": __version__,
                "data": {"root": self.data.table.root.name, "images": len(self.data.table), "pack_key": self.data.pack.key},
                "counts": self.data.split.counts(self.data.table),
                "parameters": trainable_parameters(self.raw),
                "epochs": state.epoch,
                "epochs_asked": self.config.epochs,
                "steps": state.epoch * self.steps + state.step,
                "complete": state.epoch == self.config.epochs,
                "seconds": state.total_s,
                "device": device_name(self.fabric.device),
                "threads": torch.get_num_threads(),
                "versions": {
                    "python": platform.python_version(),
                    "torch": torch.__version__,
                    "torchvision": torchvision.__version__,
                },
            },
        )


def write_history(path: Path, history: list[EpochRow]) -> None:
    names = [item.name for item in fields(EpochRow)]
    write_csv(path, names, [[getattr(row, name) for name in names] for row in history])


def device_name(device: torch.device) -> str:
    """The device in words a person knows: the GPU's name, or the processor's with the number of threads used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU"
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0] if names else model
    return f"CPU ({model}), {torch.get_num_threads()} threads"


def _claim(run: Path, experiment: Experiment, data: TrainingData, *, resume: bool) -> None:
    """Make the run folder this training's own, or see that it is."""
    started = (run / "experiment.toml").is_file()
    if started and not resume:
        raise RunError(f"{run} already holds a training; continue it with --resume, or give another folder with --out")
    if started:
        found = read_json(run / "run.json")
        if found["data"]["pack_key"] != data.pack.key:
            raise RunError(f"{run} was trained on other images than {data.table.root} holds now; restore them or train anew")
        if read_experiment(run / "experiment.toml") != experiment:
            raise RunError(f"{run}/experiment.toml differs from the experiment asked for; resume with its own")
        return
    data.split.write(run / "split.csv")
    about = {"root": data.table.root.name, "images": len(data.table), "pack_key": data.pack.key}
    write_json(run / "run.json", {"lentigo": __version__, "data": about, "complete": False})
    write_text(run / "experiment.toml", experiment.to_toml())


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets, so that the step at hand ends whole; a second one acts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous: dict[int, Any] = {}

    def handle(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, previous[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _accelerator(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("train.device is 'cuda' but this machine has no usable CUDA device; use 'auto' or 'cpu'")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("train.device is 'mps' but this machine has no Apple GPU; use 'auto' or 'cpu'")
    return device


def _auc_or_nan(labels: np.ndarray, logits: np.ndarray) -> float:
    try:
        return roc_auc_score(labels, logits)
    except UndefinedMetricError:
        return float("nan")

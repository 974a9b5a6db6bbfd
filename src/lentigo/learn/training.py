"""Training: a pack, a split and an experiment in; a run folder (see `lentigo.learn.run`) out.

A training that was stopped or killed goes on from its last saved state; on the processor, with as many threads, it
comes to the same weights bit for bit: every random number derives from (seed, epoch, step or image), and none is kept.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from lightning_fabric import Fabric
from torch import Tensor

from lentigo.config import Experiment
from lentigo.data.batches import Augmentation
from lentigo.data.resident import keep_on_device
from lentigo.errors import RunError, StoppedError
from lentigo.learn.arithmetic import arithmetic
from lentigo.learn.checkpoint import TrainedNetwork, save_checkpoint, without_download
from lentigo.learn.device import choose_device, device_name
from lentigo.learn.fabric import make_fabric
from lentigo.learn.processes import launched
from lentigo.learn.progress import TrainProgress, progress_of
from lentigo.learn.recorded import RecordedStep
from lentigo.learn.run import (
    TrainingData,
    claim_run,
    data_learned_from,
    read_run,
    write_about,
    write_history,
)
from lentigo.learn.shards import largest, missing_none, same_buffers, same_in_all
from lentigo.learn.signals import stop_signals
from lentigo.learn.state import TrainingState, load_training, save_training, worth_saving
from lentigo.learn.tasks import check_targets, task_of
from lentigo.models.contract import seeded_torch, trainable_parameters
from lentigo.models.registry import create_model, model_entry, resolve_preprocessing

__all__ = ["TrainProgress", "TrainingData", "TrainingInterruptedError", "read_run", "train"]

_LOOK_EVERY_S = 0.2  # on a GPU, which works through some hundred steps meanwhile


class TrainingInterruptedError(StoppedError):
    """Somebody stopped the training; its state is saved."""


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
        ConfigError: the model or the device asked for does not exist.
        RunError: the folder holds another training or a damaged one, or the loss is no longer finite.
        RunError, DataError: a file cannot be written.
        DataError: a segmenter is to be trained, and the images have no masks, or one that cannot be used.
        TrainingInterruptedError: Ctrl-C or SIGTERM; the state is saved.
        LostProcessError: of several processes, which share every batch, another one has ended.
    """
    checkpoint = run / "checkpoint.safetensors"
    resolve_preprocessing(experiment.model, experiment.preprocessing)  # refused before anything is written
    fabric = make_fabric(choose_device(experiment.train.device), experiment)
    check_targets(experiment, data)
    if fabric.is_global_zero:  # only the first process writes
        claim_run(run, experiment, data, resume=resume)
    go_on = f"what was saved last is in {run}; go on with --resume"
    if launched():
        with missing_none(go_on):
            fabric.launch()
            fabric.barrier()
    if not checkpoint.is_file():
        with arithmetic(experiment.train, fabric.device), missing_none(go_on):
            training = _Training(run, experiment, data, fabric, on_progress)
            try:
                training.to_the_end()
            finally:
                training.recorded = None  # it holds the training, and with it the GPU's memory, in a circle
    if not fabric.is_global_zero:
        return checkpoint
    if not checkpoint.is_file():
        # The checkpoint comes last: where it is, the training has ended, and all else is written.
        training.write_about()
        save_checkpoint(checkpoint, training.trained())
    (run / "resume.safetensors").unlink(missing_ok=True)
    return checkpoint


class _Training:
    """The loop, with what it needs at every step."""

    def __init__(
        self,
        run: Path,
        experiment: Experiment,
        data: TrainingData,
        fabric: Fabric,
        on_progress: Callable[[TrainProgress], None] | None,
    ) -> None:
        self.run, self.experiment, self.data = run, experiment, data
        self.on_progress = on_progress if fabric.is_global_zero else None
        self.config = experiment.train
        self.learned_from = data_learned_from(data)
        self.preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
        self.task = task_of(experiment, data, self.preprocessing)
        self.indices = self.task.indices
        self.steps = -(-len(self.indices) // self.config.batch_size)  # of an epoch
        self.stop = threading.Event()
        self.lap_started = self.saved = self.looked = time.monotonic()
        self.fabric, self.rank, self.processes = fabric, fabric.global_rank, fabric.world_size
        self.on_gpu = fabric.device.type == "cuda"
        own_piece = 0 if self.on_gpu else model_entry(experiment.model.name).micro_batch_size
        self.piece = self.config.micro_batch_size or own_piece
        self.unread: list[tuple[Tensor, int]] = []  # losses of finished steps that are still on the device
        if self.on_gpu:
            keep_on_device(data.pack, fabric.device)
        self._build()
        # Fabric scales losses of 16-bit floats by what the last step came to, and processes wait for each other.
        recordable = self.on_gpu and self.processes == 1 and self.config.precision != "16-mixed"
        self.recorded = RecordedStep(self._whole_step, count=self.config.batch_size) if recordable else None

    def _build(self) -> None:
        """The network and its optimizer, new or from the saved state."""
        path, saved = self.run / "resume.safetensors", None
        if path.is_file():
            saved = load_training(
                path, experiment=self.experiment, pack_key=self.data.pack.key, learned_from=self.learned_from
            )
        source = self.experiment if saved is None else without_download(self.experiment)
        self.state = TrainingState() if saved is None else saved.state
        self.model = create_model(source.model, self.preprocessing, seed=self.experiment.seed)
        if self.config.precision == "64-true":
            self.model.double()  # before saved weights come in, which Fabric's conversion would find rounded
        if saved is not None:
            saved.restore_weights(self.model)
        self.model.to(memory_format=torch.channels_last)
        if self.on_gpu:
            self.model.to(self.fabric.device)
        rate = torch.tensor(self.config.learning_rate, device=self.fabric.device)  # a recorded step reads it anew
        adam = torch.optim.Adam(
            self.model.parameters(), lr=rate if self.on_gpu else self.config.learning_rate, betas=self.config.betas,
            fused=True, capturable=self.on_gpu,
        )  # fmt: skip
        self.wrapped, self.optimizer = self.fabric.setup(self.model, adam)
        self.adam = adam  # its own groups of parameters, which the wrapped one loses sight of when a state is restored
        if saved is not None:
            saved.restore_optimizer(adam, self.model)
            self.fabric.strategy.precision.load_state_dict(saved.scaler)
        if not same_in_all(f"{self.learned_from} {self.state.epoch} {self.state.step} {self.state.loss_sum}"):
            raise RunError(
                f"the processes do not see the same images, labels, split and saved state of {self.run}; all machines "
                "need the same files, in a shared folder"
            )
        if saved is not None and self.fabric.is_global_zero:  # a kill may have come between the state and the history
            write_history(self.run, self.state.history, self.task.row)

    def to_the_end(self) -> None:
        """Train all epochs, or until the time limit."""
        with stop_signals(self.stop):
            while self.state.epoch < self.config.epochs and not self._out_of_time():
                self._train_epoch()
                if self.state.step < self.steps:
                    return
                self._end_epoch()

    def write_about(self) -> None:
        """Write what the training came to into `run.json`."""
        state = self.state
        result = {
            "parameters": trainable_parameters(self.model),
            "epochs": state.epoch,
            "epochs_asked": self.config.epochs,
            "steps": state.epoch * self.steps + state.step,
            "complete": state.epoch == self.config.epochs,
            "seconds": state.total_s,
            "device": device_name(self.fabric.device),
            "processes": self.processes,
            "threads": torch.get_num_threads(),
            **self.task.about(),
        }
        write_about(self.run, self.data, result)

    def trained(self) -> TrainedNetwork:
        """The network as it is now, with what its user must know."""
        return TrainedNetwork(
            model=self.model, experiment=self.experiment, preprocessing=self.preprocessing,
            pack_key=self.data.pack.key, learned_from=self.learned_from,
        )  # fmt: skip

    def _train_epoch(self) -> None:
        """Train the rest of the epoch, or until the time limit."""
        state, size = self.state, self.config.batch_size
        rng = np.random.default_rng(np.random.SeedSequence((self.experiment.seed, state.epoch, 0x0DE8)))
        order = rng.permutation(self.indices)
        augmentation = Augmentation(config=self.experiment.augment, seed=self.experiment.seed, epoch=state.epoch)
        # Each process takes every n-th image of every batch: all images, none twice, the same batches as one process.
        shares = [order[start : start + size][self.rank :: self.processes] for start in range(0, len(order), size)]
        source = self.task.batches(
            np.concatenate(shares), batch_size=len(shares[0]), augmentation=augmentation, device=self.fabric.device,
            skip=state.step,
        )  # fmt: skip
        none = torch.empty(0, 3, 1, 1, device=self.fabric.device)
        self.wrapped.train()
        for share in shares[state.step :]:
            count = min(size, len(order) - state.step * size)
            # The last batch may be too small for every process to have a share.
            images, targets = next(source) if len(share) else (none, none[:, 0])
            self.unread.append((self._step(images, targets, count=count), count))
            state.step += 1
            if not self.on_gpu or time.monotonic() - self.looked > _LOOK_EVERY_S:
                self._read_losses()
                state.train_s += self._lap()
                self._report()
            stop, late = self._any(self.stop.is_set()), self._any(self._out_of_time())
            if stop:
                self._stop()
            if time.monotonic() - self.saved > self.config.save_every_s:
                self._read_losses()
                state.train_s += self._lap()
                self._save()
            if late:
                break
        self._read_losses()
        state.train_s += self._lap()

    def _step(
        self, images: Float32[Tensor, "image 3 height width"], targets: Float32[Tensor, "image ..."], *, count: int
    ) -> Float[Tensor, ""]:
        """One step of the optimizer on this process's share of `count` images; their mean loss, before the step."""
        self._schedule()
        key = (self.experiment.seed, self.state.epoch, self.state.step, 0xD809)
        with seeded_torch(*key, *([self.rank] if self.rank else [])):
            if self.recorded is not None:
                return self.recorded(images, targets)
            return self._whole_step(images, targets, count=count)

    def _whole_step(
        self,
        images: Float32[Tensor, "image 3 height width"],
        targets: Float32[Tensor, "image ..."],
        *,
        count: int | None = None,
    ) -> Float[Tensor, ""]:
        """What a step does on the device; `count` None: all of the batch's images are here."""
        self.optimizer.zero_grad(set_to_none=True)
        piece, count = self.piece or max(len(images), 1), count or len(images)
        total = torch.zeros((), device=images.device)
        with self._apart():
            for start in range(0, len(images), piece):
                outputs = self.wrapped(images[start : start + piece])
                loss = self.task.summed_loss(outputs, targets[start : start + piece]) / count
                self.fabric.backward(loss)
                total += loss.detach()
        self._sum_over_processes(total)
        self.optimizer.step()
        return total

    def _read_losses(self) -> None:
        """Wait for the losses of the steps so far, which a GPU has still at work, and see that they are finite."""
        state = self.state
        if self.unread:
            losses = torch.stack([loss for loss, _ in self.unread]).tolist()
            first = state.step - len(losses) + 1
            for step, (loss, (_, count)) in enumerate(zip(losses, self.unread, strict=True), start=first):
                if not math.isfinite(loss):
                    raise self._diverged(f"the loss is {loss} in epoch {state.epoch + 1}, step {step}")
                state.loss_sum += loss * count
            self.unread.clear()
        self.looked = time.monotonic()

    def _schedule(self) -> None:
        if self.config.schedule == "cosine":
            done = (self.state.epoch + self.state.step / self.steps) / self.config.epochs
            rate = self.config.learning_rate * (1 + math.cos(math.pi * done)) / 2
            for group in self.adam.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(rate)
                else:
                    group["lr"] = rate

    def _apart(self) -> contextlib.AbstractContextManager[None]:
        """Gradients are added up once a step, after all pieces, and by `_sum_over_processes`: shares differ in size."""
        if self.processes == 1:
            return contextlib.nullcontext()
        apart: contextlib.AbstractContextManager[None] = self.fabric.no_backward_sync(self.wrapped)
        return apart

    def _sum_over_processes(self, loss: Tensor) -> None:
        """The loss becomes that of the whole batch, and so does every parameter's gradient."""
        if self.processes > 1:
            sums = [loss]
            for parameter in self.model.parameters():
                if parameter.grad is None:  # no image for this process
                    parameter.grad = torch.zeros_like(parameter)
                sums.append(parameter.grad)
            for under_way in [torch.distributed.all_reduce(value, async_op=True) for value in sums]:
                under_way.wait()

    def _any(self, here: bool) -> bool:
        """Whether it is so in any process: all of them stop after the same step, or they would wait for each other."""
        if self.processes == 1:
            return here
        found = torch.tensor(float(here), device=self.fabric.device)
        torch.distributed.all_reduce(found)
        return bool(found > 0)

    def _end_epoch(self) -> None:
        """Validate and begin the next epoch, all processes together; the first one writes."""
        state = self.state
        self._validate()
        state.epoch, state.step, state.loss_sum, state.train_s = state.epoch + 1, 0, 0.0, 0.0
        if self.fabric.is_global_zero:
            if worth_saving(self.model, since_s=time.monotonic() - self.saved):
                self._save()
            write_history(self.run, state.history, self.task.row)
        self._report()
        state.total_s = largest(state.total_s)  # clocks differ, and all must begin the next epoch or none
        if self._any(self.stop.is_set()):
            self._stop()

    def _validate(self) -> None:
        state = self.state
        same_buffers(self.model)
        # The bare network, not the wrapped one: as it will be evaluated, in float32 whatever the training's precision.
        scores = self.task.validate(self.model, on_progress=lambda _: self._stop_in_validation())
        if scores is None:
            raise self._diverged(f"the logits of the validation images are not finite after epoch {state.epoch + 1}")
        row = self.task.row(
            epoch=state.epoch + 1,
            steps=(state.epoch + 1) * self.steps,
            train_loss=state.loss_sum / len(self.indices),
            seconds=state.train_s + self._lap(),
            images_per_s=len(self.indices) / state.train_s,
            **scores,
        )
        state.history.append(row)

    def _diverged(self, what: str) -> RunError:
        return RunError(
            f"{self.run}: {what}; lower train.learning_rate (now {self.config.learning_rate:g}) "
            "and train again in a new folder"
        )

    def _out_of_time(self) -> bool:
        return self.config.limit_s is not None and self.state.total_s >= self.config.limit_s

    def _lap(self) -> float:
        """Seconds since the last lap; they all count for the time limit."""
        now = time.monotonic()
        seconds, self.lap_started = now - self.lap_started, now
        self.state.total_s += seconds
        return seconds

    def _stop_in_validation(self) -> None:
        if self.processes == 1 and self.stop.is_set():  # several processes stop together, after it
            self._stop()

    def _stop(self) -> None:
        self._save()
        raise TrainingInterruptedError(
            f"stopped in epoch {self.state.epoch + 1} after step {self.state.step} of {self.steps}; the state is saved "
            f"in {self.run}"
        )

    def _save(self) -> None:
        self._read_losses()
        if not self.fabric.is_global_zero:
            self.saved = time.monotonic()
            return
        save_training(
            self.run / "resume.safetensors", self.state, self.model, self.optimizer, experiment=self.experiment,
            pack_key=self.data.pack.key, learned_from=self.learned_from,
            scaler=self.fabric.strategy.precision.state_dict(),
        )  # fmt: skip
        self._lap()
        self.saved = time.monotonic()

    def _report(self) -> None:
        if self.on_progress is not None:
            self.on_progress(progress_of(self.state, self.config, images=len(self.indices), steps=self.steps))

"""The run folder of one training: made, recognised again, and read by later stages.

It holds `experiment.toml`, `split.csv`, `run.json` (data, versions, costs), `history.csv` (one row an epoch), at the
end `checkpoint.safetensors`, and until then `resume.safetensors` (see `lentigo.learn.state`).
"""

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torchvision

from lentigo import __version__
from lentigo.config import Experiment, read_experiment
from lentigo.data.pack import ImagePack
from lentigo.data.split import Split, read_split
from lentigo.data.table import ImageTable
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.files import read_json, write_csv, write_json, write_text


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """A table with its pack and split."""

    table: ImageTable
    pack: ImagePack
    split: Split


@dataclass(frozen=True, kw_only=True)
class EpochRow:
    """One line of a classifier's history.csv."""

    epoch: int  # 1 = first
    steps: int  # since the start of the training
    train_loss: float  # mean over the epoch's images, augmented and with dropout, as they were trained on
    validation_loss: float
    validation_accuracy: float
    validation_auc: float
    seconds: float  # training and validation of this epoch
    images_per_s: float  # training alone

    @property
    def scores(self) -> dict[str, float]:
        """What was reached on the validation images, by its name for people."""
        return {"accuracy": self.validation_accuracy, "AUC": self.validation_auc}


@dataclass(frozen=True, kw_only=True)
class SegmenterEpochRow:
    """One line of a segmenter's history.csv; see `EpochRow`."""

    epoch: int
    steps: int
    train_loss: float
    validation_loss: float
    validation_jaccard: float  # mean over the images, at the size of the network's input
    seconds: float
    images_per_s: float

    @property
    def scores(self) -> dict[str, float]:
        """As `EpochRow.scores`."""
        return {"Jaccard": self.validation_jaccard}


AnyEpochRow = EpochRow | SegmenterEpochRow


def epoch_row(content: dict[str, Any]) -> AnyEpochRow:
    """The row with these fields.

    Raises: TypeError: they are neither a classifier's nor a segmenter's.
    """
    return SegmenterEpochRow(**content) if "validation_jaccard" in content else EpochRow(**content)


def claim_run(run: Path, experiment: Experiment, data: TrainingData, *, resume: bool) -> None:
    """Make a folder this training's own, or see that it is.

    Raises:
        RunError: it holds a training and `resume` is false, or it holds another one.
        DataError: it cannot be written.
    """
    started = [
        name for name in ("experiment.toml", "resume.safetensors", "checkpoint.safetensors") if (run / name).exists()
    ]
    if started and not resume:
        raise RunError(
            f"{run} already holds a training ({', '.join(started)}); continue it with --resume, or give another folder"
        )
    if started:
        _check_same(run, experiment, data)
        # What a kill leaves of files half written, under lentigo's names and those of safetensors.
        _unlink([*run.glob(".*.part"), *run.glob(".tmp*")])
        return
    # A kill may have come before this was a run; the folder may also be one that holds other programs' files.
    _unlink([path for name in ("split.csv", "run.json", "experiment.toml") for path in run.glob(f".{name}.*.part")])
    data.split.write(run / "split.csv")
    write_json(run / "run.json", {"lentigo": __version__, "data": _about_data(data), "complete": False})
    write_text(run / "experiment.toml", experiment.to_toml())  # last: a folder with it has the other two


def check_run(run: Path) -> None:
    """Raises: RunError: the folder does not exist, or is no run."""
    if (run / "experiment.toml").is_file():
        return
    runs = sorted(path.parent.name for path in run.glob("runs/*/experiment.toml"))
    if runs:  # of a comparison
        raise RunError(f"{run} holds the runs {', '.join(runs)} and is none itself; give {run / 'runs' / runs[0]}")
    found = "is no run folder: it has no experiment.toml" if run.exists() else "does not exist"
    raise RunError(f"{run} {found}; give a folder that `lentigo train` wrote")


def read_run(run: Path, table: ImageTable) -> tuple[Experiment, Split]:
    """The experiment and the split of a run folder.

    Raises: RunError: the folder is no run, its files are damaged, or its split is not the one that it was trained with,
        so that images which trained it might be scored as if it had never seen them.
    """
    experiment = run_experiment(run)
    try:
        split = read_split(run / "split.csv", table)
    except DataError as error:
        raise RunError(f"{run} does not fit the images: {error}") from error
    if run_about(run)["data"].get("split_sha256", split.sha256) != split.sha256:  # an early lentigo noted none
        raise RunError(
            f"{run / 'split.csv'} is not the split that this run was trained with; restore it, or train anew with the "
            "other one in a new folder"
        )
    return experiment, split


def run_about(run: Path) -> dict[str, Any]:
    """The content of `run.json`, with `data.path` and `data.image_px` also where an early lentigo left them out.

    Raises: RunError: the folder is no run, or the file is damaged.
    """
    experiment = run_experiment(run)
    try:
        about: dict[str, Any] = read_json(run / "run.json")
        about["data"] = {"path": about["data"]["root"], "image_px": experiment.data.image_px} | about["data"]
        about["data"]["pack_key"]
    except DataError as error:
        raise RunError(str(error)) from error
    except (KeyError, TypeError) as error:
        raise RunError(f"{run / 'run.json'} is damaged: it lacks {error}; restore it or train again") from error
    return about


def run_experiment(run: Path) -> Experiment:
    """The experiment of a run folder.

    Raises: RunError: the folder is no run, or its experiment is damaged.
    """
    check_run(run)
    try:
        return read_experiment(run / "experiment.toml")
    except ConfigError as error:
        raise RunError(f"{error}; restore the file or train again") from error


def run_model(run: Path) -> str:
    """The name of the network that a run trains.

    Raises: RunError: the folder is no run, or its experiment is damaged.
    """
    return run_experiment(run).model.name


def write_history(run: Path, history: Sequence[AnyEpochRow], kind: type[AnyEpochRow] = EpochRow) -> None:
    """Write `history.csv`; `kind` names the columns.

    Raises: DataError: the disk refuses.
    """
    names = [item.name for item in fields(kind)]
    write_csv(run / "history.csv", names, [[getattr(row, name) for name in names] for row in history])


def write_about(run: Path, data: TrainingData, result: dict[str, Any]) -> None:
    """Write `run.json` of a training that has ended: its data, `result` and the versions.

    Raises: DataError: the disk refuses.
    """
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    counts = data.split.counts(data.table)
    about = {"lentigo": __version__, "data": _about_data(data), "counts": counts, **result, "versions": versions}
    write_json(run / "run.json", about)


def _unlink(leftovers: Sequence[Path]) -> None:
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)


def _about_data(data: TrainingData) -> dict[str, Any]:
    return {
        "root": data.table.name,
        "path": str((data.table.source or data.table.root).resolve()),
        "positive": list(data.table.positive),
        "images": len(data.table),
        "image_px": data.pack.image_px,
        "pack_key": data.pack.key,
        "labels_sha256": labels_sha256(data.table),
        "split_sha256": data.split.sha256,
    }


def learned_from(pack_key: str, labels: str, split: str) -> str:
    """One fingerprint of what a training is given: of its images, labels and split."""
    return hashlib.sha256(f"{pack_key} {labels} {split}".encode()).hexdigest()


def data_learned_from(data: TrainingData) -> str:
    """`learned_from` of these data."""
    return learned_from(data.pack.key, labels_sha256(data.table), data.split.sha256)


def noted_learned_from(data: Mapping[str, Any]) -> str:
    """`learned_from` of what `run.json` notes of the data; empty where an early lentigo did not note enough."""
    keys = ("pack_key", "labels_sha256", "split_sha256")
    return learned_from(*(str(data[key]) for key in keys)) if set(keys) <= set(data) else ""


def labels_sha256(table: ImageTable) -> str:
    """A fingerprint of which image has which label."""
    return hashlib.sha256("\n".join(f"{row.id},{row.label}" for row in table.rows).encode()).hexdigest()


def _check_same(run: Path, experiment: Experiment, data: TrainingData) -> None:
    if changed := differences(run_experiment(run).recipe().model_dump(), experiment.recipe().model_dump()):
        raise RunError(f"{run} holds another experiment ({'; '.join(changed)}); resume with its own, or train anew")
    found = run_about(run)["data"]
    if found["pack_key"] != data.pack.key:
        raise RunError(
            f"{run} was trained on other images than {data.table.root} holds now; restore them or train anew"
        )
    labels = labels_sha256(data.table)
    if found.get("labels_sha256", labels) != labels:
        raise RunError(
            f"{run} was trained with other labels than {data.table.root} has now; restore them or train anew"
        )
    if read_run(run, data.table)[1] != data.split:
        raise RunError(f"{run} was trained on another split than the one given; resume with {run / 'split.csv'}")


def differences(there: dict[str, Any], here: dict[str, Any], table: str = "") -> list[str]:
    """The keys in which two experiments differ, each with both values."""
    found = []
    for key in sorted({*there, *here}):
        one, other = there.get(key), here.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, f"{table}{key}.")
        elif one != other:
            there_is, here_is = ("not given" if value is None else repr(value) for value in (one, other))
            found.append(f"{table}{key} is {there_is} there and {here_is} here")
    return found

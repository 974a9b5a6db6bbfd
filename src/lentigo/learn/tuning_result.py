"""What a search has come to: its trials as records, the best of them, and the files `tuning.json` and `best.toml`."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from lentigo.config import Experiment
from lentigo.data.predictions import read_predictions
from lentigo.evidence.comparison import PairedTest, delong_test
from lentigo.files import write_json, write_text
from lentigo.learn.tuning_space import Configuration, Dimension, configured

State: TypeAlias = Literal["complete", "pruned", "failed", "running", "waiting", "interrupted", "doubled"]
# Neither counts as a trial of its own: another one stands for it.
STOOD_FOR: tuple[State, ...] = ("interrupted", "doubled", "waiting")


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial of a search."""

    number: int
    state: State
    configuration: Configuration
    aucs: tuple[float, ...] = ()  # on the validation images, after each epoch
    low: float = math.nan  # 95 % interval of the last of them; of complete trials only
    high: float = math.nan
    seconds: float = math.nan
    given: bool = False  # whether it is the experiment as it was given
    reason: str = ""  # why it failed

    @property
    def auc(self) -> float:
        """After the last epoch; NaN without any."""
        return self.aucs[-1] if self.aucs else math.nan

    @property
    def counts(self) -> bool:
        return self.state not in STOOD_FOR


@dataclass(frozen=True, kw_only=True)
class TuningResult:
    """A search, as far as it has come."""

    study: str
    search: str  # a random name, the study's own
    storage: str  # without a password
    data: str  # name of the data set
    experiment: Experiment  # as given
    space: tuple[Dimension, ...]
    trials: tuple[TrialRecord, ...]  # by number
    n_train: int
    n_validation: int
    n_malignant: int  # of the validation images
    versions: dict[str, str]
    asked: int  # trials
    # Share of the spread of the complete trials' AUCs that each key explains, in the order of the space.
    importances: dict[str, float] | None = None
    difference: PairedTest | None = None  # of the best and the given experiment, on the same validation images

    @property
    def complete(self) -> list[TrialRecord]:
        """The trials that were trained to their end, the best first; of equals the earlier."""
        found = [trial for trial in self.trials if trial.state == "complete"]
        return sorted(found, key=lambda trial: (-trial.auc, trial.number))

    @property
    def best(self) -> TrialRecord | None:
        return next(iter(self.complete), None)

    @property
    def given(self) -> TrialRecord | None:
        """The trial of the experiment as given, where it was trained to its end."""
        return next((trial for trial in self.complete if trial.given), None)

    def to_dict(self) -> dict[str, Any]:
        """The content of `tuning.json`."""
        best = self.best
        return {
            "study": self.study,
            "search": self.search,
            "storage": self.storage,
            "data": self.data,
            "model": self.experiment.model.name,
            "objective": "AUC on the validation images after the last epoch, as high as can be",
            "images": {"train": self.n_train, "validation": self.n_validation, "malignant": self.n_malignant},
            "space": [{"key": d.key, "low": d.low, "high": d.high, "whole": d.whole, "log": d.log} for d in self.space],
            "trials_asked": self.asked,
            "best": None if best is None else best.number,
            "difference_from_given": None if self.difference is None else vars(self.difference),
            "importances": self.importances,
            "trials": [_trial_dict(trial) for trial in self.trials],
            "experiment": self.experiment.model_dump(exclude_none=True),
            "versions": self.versions,
        }

    def write(self, folder: Path) -> None:
        """Write `tuning.json`, and `best.toml` once a trial is complete.

        Raises: DataError: the disk refuses.
        """
        if self.best is not None:
            write_text(folder / "best.toml", self.best_toml(self.best))
        write_json(folder / "tuning.json", self.to_dict())

    def best_toml(self, best: TrialRecord) -> str:
        """The best trial's experiment, with where it is from and what to do with it."""
        bounds = "" if math.isnan(best.low) else f" ({best.low:.3f} to {best.high:.3f})"
        trained = len(self.complete)
        head = (
            f"Made by lentigo tune: trial {best.number}, the best of {trained} trained to the end in the study "
            f"{_on_one_line(self.study)}.",
            f"Validation AUC {best.auc:.3f}{bounds} on {self.n_validation} images of {_on_one_line(self.data)}. The "
            "best of many is too kind: tell the",
            "score on test images, which the search has not seen:",
            "  lentigo train DATA --config best.toml --split split.csv --out RUN",
            "  lentigo evaluate RUN",
        )
        return (
            "".join(f"# {line}\n" for line in head) + "\n" + configured(self.experiment, best.configuration).to_toml()
        )


def paired_difference(folder: Path, result: TuningResult, groups: list[int]) -> PairedTest | None:
    """The best trial's AUC less that of the given experiment; None where this folder does not hold both.

    Args:
        folder: with `trials/NNNN/validation.csv`.
        groups: a number for each validation image, for instance of its patient.
    """
    best, given = result.best, result.given
    if best is None or given is None or best.number == given.number:
        return None
    files = [trial_folder(folder, trial.number) / "validation.csv" for trial in (best, given)]
    if not all(file.is_file() for file in files):
        return None  # trained on another machine
    one, other = (read_predictions(file) for file in files)
    return delong_test(one.labels, one.logits, other.logits, groups=np.array(groups, dtype=np.int64))


def trial_folder(folder: Path, number: int) -> Path:
    """The run folder of a trial."""
    return folder / "trials" / f"{number:04}"


def _trial_dict(trial: TrialRecord) -> dict[str, Any]:
    content = {**vars(trial), "aucs": list(trial.aucs), "auc": trial.auc, "epochs": len(trial.aucs)}
    return {key: content[key] for key in ("number", "state", "auc", "epochs", *content)}


def _on_one_line(text: str) -> str:
    """Fit for a comment in a file, whatever a folder or study is called."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())

"""The search of hyperparameters: an experiment, images without test images and a study in; the best configuration out.

Every trial is an ordinary training in `FOLDER/trials/NNNN`. Its score is the AUC on the validation images after the
last epoch; a trial whose best AUC so far is below the median of the earlier ones at that epoch is stopped (pruned). The
first trial is the experiment as given, so that the search is always compared with it.
"""

import contextlib
import gc
import importlib.metadata
import math
import platform
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import optuna
import torch
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from sqlalchemy.exc import SQLAlchemyError

from lentigo import __version__
from lentigo.config import Experiment
from lentigo.data.copies import Bar, silent
from lentigo.data.pack import pack_images
from lentigo.data.predictions import read_predictions
from lentigo.data.split import Split, groups_of
from lentigo.data.table import ImageTable
from lentigo.errors import ConfigError, RunError, StoppedError
from lentigo.evidence.intervals import auc_interval
from lentigo.files import read_csv
from lentigo.learn import tuning_study, tuning_trials
from lentigo.learn.checkpoint import UnwrittenError
from lentigo.learn.device import choose_device
from lentigo.learn.evaluation import score_validation
from lentigo.learn.run import TrainingData
from lentigo.learn.training import TrainProgress, train
from lentigo.learn.tuning_result import TrialRecord, TuningResult, paired_difference, trial_folder
from lentigo.learn.tuning_space import Dimension, configured, given_configuration, search_space

__all__ = ["Dimension", "Search", "search_space", "tune", "tuning_data"]

LEAST_FOR_IMPORTANCE = 10  # complete trials; a forest on fewer explains its own noise
_MOST_FAILURES = 10  # in a row, of this process: what fails then is not the configuration
_WEIGHTS = ("checkpoint.safetensors", "resume.safetensors")


class SearchStoppedError(StoppedError):
    """Somebody stopped the search; what was finished is kept, and the trial at hand waits to begin anew."""

    again = "the same command with --resume"


class _FailedTrialError(Exception):
    """A trial that failed by its own configuration; its reason is kept in the study."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is to be searched, where and how long."""

    out: Path
    experiment: Experiment  # where the search starts
    data: TrainingData  # see `tuning_data`
    trials: int = 50  # of the study in all, whatever process they are of
    minutes: float | None = None  # no trial begins later
    storage: str | None = None  # URL of a database; None: SQLite in `out`
    study: str | None = None  # None: called as `out`
    resume: bool = False


def tuning_data(
    table: ImageTable,
    split: Split,
    *,
    image_px: int,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> TrainingData:
    """The train and validation images alone: no test image stands in the table, the split or the pack.

    Raises: DataError: an image cannot be read.
    """
    kept = table.subset([at for at, name in enumerate(table.ids) if split.part[name] in ("train", "validation")])
    pack = pack_images(kept, image_px=image_px, cache=cache, progress=progress)
    return TrainingData(table=kept, pack=pack, split=Split({name: split.part[name] for name in kept.ids}))


def tune(
    search: Search,
    *,
    say: Callable[[str], None] = lambda _: None,
    bar: Bar = silent,
    on_begin: Callable[[], None] = lambda: None,
    on_end: Callable[[TuningResult], None] = lambda _: None,
) -> TuningResult:
    """Search until the study has its trials or the time is over; writes `tuning.json` and `best.toml` after each trial.

    Args:
        say: takes one line a trial.
        bar: shows a trial's epochs, see `data.copies.split_apart`.
        on_begin: called once the study is open and the folder is known to be the search's own.
        on_end: takes the result, also when the search is interrupted.
    Raises:
        ConfigError: the network, the device or the storage does not exist, or several processes are to share a trial.
        RunError: the study or the folder is another search's, or trial after trial fails.
        RunError, DataError: a file cannot be written, or an image is damaged.
        SearchStoppedError: Ctrl-C or SIGTERM; the trial at hand begins anew with `resume`.
    """
    _check(search.experiment)
    place = tuning_study.study_place(search.out, search.storage, search.study)
    try:
        with tuning_study.opened(place) as storage:
            worker = _Worker(search, place, storage, say, bar)
            on_begin()
            try:
                worker.work()
            finally:
                result = worker.write(last=True)
                on_end(result)
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise RunError(
            f"the storage of the search failed ({_cause(error)}); when it can be reached again, go on with --resume"
        ) from error
    return result


class _Worker:
    """One process at work on a study."""

    def __init__(
        self,
        search: Search,
        place: tuning_study.StudyPlace,
        storage: optuna.storages.RDBStorage,
        say: Callable[[str], None],
        bar: Bar,
    ) -> None:
        self.search, self.place, self.say, self.bar = search, place, say, bar
        self.folder, self.experiment, self.data = search.out, search.experiment, search.data
        self.space = search_space(self.experiment.model.name, self.experiment)
        given = given_configuration(self.experiment, self.space)
        self.study = tuning_study.open_study(storage, place, self.experiment, self.data, given, resume=search.resume)
        self.validation = self.data.split.indices(self.data.table, "validation")
        groups = np.array(groups_of(self.data.table), dtype=np.int64)
        self.groups: list[int] = groups[self.validation].tolist()
        self.number = -1  # of the trial at hand
        self.held = contextlib.ExitStack()  # the lock of the trial at hand
        self.write()

    def work(self) -> None:
        """Trial after trial.

        Raises: SearchStoppedError: somebody stopped it.
        """
        try:
            self._work()
        except StoppedError as error:
            raise SearchStoppedError(
                f"stopped in trial {self.number}, which waits to begin anew; the others are kept in {self.folder}"
            ) from error

    def _work(self) -> None:
        begun, failures = time.monotonic(), 0
        while True:
            for number in tuning_trials.take_up(self.study, self.folder):
                self.say(f"trial {number} was left by a process that ended; it begins anew")
            if sum(record.counts for record in tuning_trials.records(self.study)) >= self.search.trials:
                return
            if self.search.minutes is not None and time.monotonic() - begun >= 60 * self.search.minutes:
                self.say(f"the time of {self.search.minutes:g} minutes is over")
                return
            record = self._one_trial()
            self.write()
            failures = failures + 1 if record is not None and record.state == "failed" else 0
            if record is not None and failures == _MOST_FAILURES:
                raise RunError(
                    f"{failures} trials in a row failed, the last because {record.reason}; mend that, then go on with "
                    "--resume"
                )

    def _one_trial(self) -> TrialRecord | None:
        """Ask for a configuration and try it; None where another process has taken the trial over meanwhile."""
        self.number = -1
        try:
            with self.held:
                self.study.optimize(self._objective, n_trials=1, catch=(_FailedTrialError,))
        except ValueError as error:
            # Optuna's answer to the end of a trial that others gave up: this process was asleep for too long.
            if not str(error).startswith("Cannot tell"):
                raise
            self.say(f"trial {self.number} was taken over by another process")
            return None
        except BaseException:
            tuning_trials.take_up(self.study, self.folder)  # the trial at hand waits for --resume
            raise
        finally:
            self._tidy()
        record = tuning_trials.records(self.study)[self.number]
        if record.state == "doubled":
            return None
        self.say(_line(record, self.space))
        return record

    def _objective(self, trial: optuna.Trial) -> float:
        """Train the trial's configuration; its validation AUC after the last epoch."""
        self.number = trial.number
        self.held.enter_context(tuning_trials.holding(self.folder, trial.number))
        trial.set_user_attr("machine", tuning_trials.this_machine())
        again_for = trial.user_attrs.get("again_for")
        if again_for is not None:
            twin = tuning_trials.is_doubled(self.study, trial.number, again_for)
            if twin is not None:
                trial.set_user_attr("same_as", twin)
                raise _FailedTrialError
        run = trial_folder(self.folder, trial.number)
        try:
            return self._trained(trial, run)
        except UnwrittenError:  # a full disk is no fault of the configuration
            raise
        except (ConfigError, RunError, MemoryError, torch.OutOfMemoryError) as error:
            trial.set_user_attr("reason", _reason(error, run))
        except (StoppedError, KeyboardInterrupt):
            trial.set_user_attr("stopped", True)
            raise
        gc.collect()  # after the error, which holds the network
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise _FailedTrialError

    def _trained(self, trial: optuna.Trial, run: Path) -> float:
        configuration = {d.key: _suggested(trial, d) for d in self.space}
        experiment = configured(self.experiment, configuration)
        with self.bar(f"trial {trial.number}", experiment.train.epochs) as advance:
            train(run, experiment, self.data, on_progress=_Watch(trial, advance))
        rows = read_csv(run / "history.csv") if (run / "history.csv").is_file() else []
        if not rows:
            raise RunError("train.limit_s was over before the end of its first epoch")
        score_validation(
            run, self.data.table, self.data.pack, self.data.split, device=choose_device(experiment.train.device)
        )
        found = read_predictions(run / "validation.csv")
        interval = auc_interval(found.labels, found.logits, groups=self.groups)
        trial.set_user_attr("auc_low", interval.low)
        trial.set_user_attr("auc_high", interval.high)
        return float(rows[-1]["validation_auc"])

    def write(self, *, last: bool = False) -> TuningResult:
        """Write what the search has come to; `last`: with what takes a moment to compute."""
        result = self.result(last=last)
        result.write(self.folder)
        return result

    def result(self, *, last: bool = False) -> TuningResult:
        """What the search has come to."""
        labels = self.data.table.labels
        result = TuningResult(
            study=self.place.name,
            search=tuning_study.search_name(self.study),
            storage=self.place.shown,
            data=self.data.table.name,
            experiment=self.experiment,
            space=self.space,
            trials=tuning_trials.records(self.study),
            n_train=len(labels) - len(self.validation),
            n_validation=len(self.validation),
            n_malignant=int(labels[self.validation].sum()),
            versions=_versions(),
            asked=self.search.trials,
        )
        if not last:
            return result
        difference = paired_difference(self.folder, result, self.groups)
        return replace(result, importances=_importances(self.study, result), difference=difference)

    def _tidy(self) -> None:
        """Delete the weights of the trials that have ended, but for the best."""
        trials = tuning_trials.records(self.study)
        complete = [trial for trial in trials if trial.state == "complete"]
        best = min(complete, key=lambda trial: (-trial.auc, trial.number), default=None)
        for trial in trials:
            if trial.state not in ("running", "waiting") and trial is not best:
                for name in _WEIGHTS:
                    (trial_folder(self.folder, trial.number) / name).unlink(missing_ok=True)


class _Watch:
    """Tells the study each epoch's AUC, and stops the training where it is not worth going on."""

    def __init__(self, trial: optuna.Trial, advance: Callable[[int], None]) -> None:
        self.trial, self.advance, self.told = trial, advance, 0
        # The experiment as given is trained to its end even where it comes late, begun anew: all is compared with it.
        self.may_prune = not trial.user_attrs.get("given")

    def __call__(self, now: TrainProgress) -> None:
        new = now.history[self.told :]
        for row in new:
            self.trial.report(row.scores["AUC"], row.epoch)
            self.advance(1)
        self.told = len(now.history)
        if new and self.may_prune and self.told < now.epochs and self.trial.should_prune():
            raise optuna.TrialPruned  # between two epochs: all files are whole


def _check(experiment: Experiment) -> None:
    if experiment.train.together:
        raise ConfigError(
            f"train.devices is {experiment.train.devices} and train.strategy {experiment.train.strategy!r}, but a "
            "search trains each trial in one process; leave both out, and start the same command with --resume beside "
            "the first to have several trials at once"
        )
    choose_device(experiment.train.device)


def _suggested(trial: optuna.Trial, dimension: Dimension) -> int | float:
    if dimension.whole:
        return trial.suggest_int(dimension.key, int(dimension.low), int(dimension.high), log=dimension.log)
    return trial.suggest_float(dimension.key, dimension.low, dimension.high, log=dimension.log)


def _reason(error: Exception, run: Path) -> str:
    """Why a trial failed, without the advice for a single training and without folders."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "the memory was not enough"
    text = str(error).removeprefix(f"{run}: ").replace(str(run), run.name).partition(";")[0]
    return text.replace(" is nan ", " is not a number ").replace(" is inf ", " is infinite ")


def _cause(error: Exception) -> str:
    """What a database complains of, on one line; its message names no password."""
    found: object = error
    while isinstance(found, SQLAlchemyError | optuna.exceptions.StorageInternalError):
        deeper = getattr(found, "orig", None) or found.__cause__
        if deeper is None:
            break
        found = deeper
    return " ".join(str(found).split())


def _line(record: TrialRecord, space: tuple[Dimension, ...]) -> str:
    """One line of a trial for the terminal."""
    values = ", ".join(f"{d.title} {record.configuration[d.key]:.3g}" for d in space if d.key in record.configuration)
    epochs = f"{len(record.aucs)} {'epoch' if len(record.aucs) == 1 else 'epochs'}"
    score = f"AUC {record.auc:.3f} after {epochs}" if record.aucs else "no score"
    about = {"pruned": " (pruned)", "failed": f" (failed: {record.reason})"}.get(record.state, "")
    return f"trial {record.number}: {score}{about}, {values}"


def _importances(study: optuna.Study, result: TuningResult) -> dict[str, float] | None:
    """Each key's share of what explains the complete trials' AUCs, by fANOVA; None of too few trials or equal AUCs."""
    scores = {trial.auc for trial in result.complete}
    if len(result.complete) < LEAST_FOR_IMPORTANCE or len(scores) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    shares = {d.key: float(found.get(d.key, 0.0)) for d in result.space}
    return shares if all(math.isfinite(share) for share in shares.values()) else None


def _versions() -> dict[str, str]:
    names = ("optuna", "torch", "torchvision")
    own = {"lentigo": __version__, "python": platform.python_version()}
    return own | {name: importlib.metadata.version(name) for name in names}

"""The trials of a study as records, and the trials of a process that ended, which are taken up again.

Several processes, also on several machines, may work on one study. While a trial runs, its process tells the storage
every few seconds that it lives (a heartbeat), and holds a lock on a file beside the trial's folder. A trial left
running by a process that was killed is known by either, and a copy of it is put in the queue.
"""

import contextlib
import hashlib
import math
import platform
import uuid
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from lentigo.learn.tuning_result import State, TrialRecord
from lentigo.learn.tuning_space import Configuration

try:
    import fcntl
except ImportError:  # Windows: a trial left running is then known by its heartbeat alone
    fcntl = None  # type: ignore[assignment]

MOST_DEATHS = 3  # of processes under one configuration, which may be what ends them
_UNKNOWN_AFTER = timedelta(minutes=10)  # a trial that has not even told its machine after so long has no process


def records(study: optuna.Study) -> tuple[TrialRecord, ...]:
    """All trials of the study, by number."""
    trials = study.get_trials(deepcopy=False)
    again = _taken_up(trials)
    return tuple(_record(trial, again) for trial in trials)


def _record(trial: FrozenTrial, again: set[int]) -> TrialRecord:
    attributes = trial.user_attrs
    begun, ended = trial.datetime_start, trial.datetime_complete
    return TrialRecord(
        number=trial.number,
        state=_state(trial, again),
        configuration=_configuration(trial),
        aucs=tuple(value for _, value in sorted(trial.intermediate_values.items())),
        low=attributes.get("auc_low", math.nan),
        high=attributes.get("auc_high", math.nan),
        seconds=math.nan if begun is None or ended is None else (ended - begun).total_seconds(),
        given=bool(attributes.get("given")),
        reason=_reason(trial),
    )


def _state(trial: FrozenTrial, again: set[int]) -> State:
    if trial.state != TrialState.FAIL:
        states: dict[TrialState, State] = {
            TrialState.COMPLETE: "complete",
            TrialState.PRUNED: "pruned",
            TrialState.RUNNING: "running",
            TrialState.WAITING: "waiting",
        }
        return states[trial.state]
    if "same_as" in trial.user_attrs:
        return "doubled"
    if trial.number in again or not ("reason" in trial.user_attrs or _is_hopeless(trial)):
        return "interrupted"
    return "failed"


@contextlib.contextmanager
def holding(folder: Path, number: int) -> Iterator[None]:
    """Hold the lock of a trial of this folder; the system lets go of it when the process ends, however it ends."""
    path = _lock_file(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def this_machine() -> str:
    """A name of this machine that tells nothing of it."""
    return hashlib.sha256(f"{uuid.getnode()} {platform.node()}".encode()).hexdigest()[:12]


def take_up(study: optuna.Study, folder: Path) -> list[int]:
    """Put a copy of every trial whose process ended into the queue; returns the numbers of these trials.

    Two processes that do so at once may both make a copy; `is_doubled` then says which is left out.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _is_dead(trial, folder):
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    trials = study.get_trials(deepcopy=False)
    again = _taken_up(trials)
    left = [trial for trial in trials if _state(trial, again) == "interrupted" and trial.number not in again]
    for trial in left:
        kept = {key: value for key, value in trial.user_attrs.items() if key == "given"}
        study.enqueue_trial(
            _configuration(trial), user_attrs=kept | {"again_for": trial.number, "deaths": _deaths(trial)}
        )
    return [trial.number for trial in left]


def is_doubled(study: optuna.Study, number: int, again_for: int) -> int | None:
    """The earlier copy of the same trial, where there is one."""
    trials = study.get_trials(deepcopy=False)
    same = [t.number for t in trials if t.user_attrs.get("again_for") == again_for and t.number < number]
    return same[0] if same else None


def _configuration(trial: FrozenTrial) -> Configuration:
    """What was drawn, and what was settled before for a trial from the queue."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _reason(trial: FrozenTrial) -> str:
    hopeless = f"its process ended {MOST_DEATHS} times; was the memory full?" if _is_hopeless(trial) else ""
    return str(trial.user_attrs.get("reason", hopeless))


def _deaths(trial: FrozenTrial) -> int:
    before = int(trial.user_attrs.get("deaths", 0))
    return before if trial.user_attrs.get("stopped") else before + 1  # stopped by a person


def _is_hopeless(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and "reason" not in trial.user_attrs and _deaths(trial) >= MOST_DEATHS


def _taken_up(trials: list[FrozenTrial]) -> set[int]:
    return {trial.user_attrs["again_for"] for trial in trials if "again_for" in trial.user_attrs}


def _is_dead(trial: FrozenTrial, folder: Path) -> bool:
    """Whether no process can be at a trial that is said to run."""
    machine = trial.user_attrs.get("machine")
    if machine is None:
        return trial.datetime_start is not None and datetime.now() - trial.datetime_start > _UNKNOWN_AFTER
    path = _lock_file(folder, trial.number)
    if machine != this_machine() or fcntl is None or not path.is_file():
        return False  # its heartbeat will tell
    try:
        with path.open("r+", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody holds it, or has just let go of it
        return False
    path.unlink(missing_ok=True)
    return True


def _lock_file(folder: Path, number: int) -> Path:
    return folder / "trials" / f".{number:04}.lock"

"""The study of a search in its storage: made, or opened again and known by its experiment, images, labels and split.

In: a URL of a database, by default SQLite in the search's folder. Out: an Optuna study that asks for what to try next.
"""

import contextlib
import json
import secrets
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from lentigo.config import Experiment
from lentigo.errors import ConfigError, RunError
from lentigo.files import read_json
from lentigo.learn.run import TrainingData, differences, labels_sha256
from lentigo.learn.tuning_space import Configuration, Dimension

HEARTBEAT_S, GRACE_S = 15, 90
STARTUP_TRIALS = 10  # drawn at random before the sampler learns from them
_BUSY_S = 60  # how long SQLite waits for another process
_ATTRIBUTES = ("experiment", "pack_key", "labels_sha256", "split_sha256")


class Sampler(BaseSampler):
    """TPE whose random numbers derive from the seed and the trial's number: no two workers or resumptions share any."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._tpe = self._of(0)

    def _of(self, number: int) -> TPESampler:
        seed = int(np.random.SeedSequence((self.seed, number, 0x70E5)).generate_state(1)[0])
        return TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:  # noqa: ARG002
        self._tpe = self._of(trial.number)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)


@dataclass(frozen=True, kw_only=True)
class StudyPlace:
    """Which study, where."""

    folder: Path
    url: str
    name: str

    @property
    def shown(self) -> str:
        """The storage's URL without what is secret in it."""
        return masked(self.url)


def study_place(folder: Path, storage: str | None, name: str | None) -> StudyPlace:
    """The study that a command means; without a storage `study.db` in the folder, without a name the folder's own."""
    file = sqlalchemy.URL.create("sqlite", database=str(folder / "study.db"))
    url = file.render_as_string(hide_password=False) if storage is None else storage
    return StudyPlace(folder=folder, url=url, name=name or folder.resolve().name or "lentigo")


def masked(url: str) -> str:
    """A storage's URL without its password and its query, which may hold another; of a file only the name."""
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        return "a storage"
    if parsed.drivername.partition("+")[0] == "sqlite" and parsed.database:
        return f"sqlite:///{Path(parsed.database).name}"
    return parsed.set(query={}).render_as_string(hide_password=True)


@contextlib.contextmanager
def opened(place: StudyPlace) -> Iterator[optuna.storages.RDBStorage]:
    """The storage, connected, until the end of the block.

    Raises: ConfigError: it cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # only the command line prints
    storage = _storage(place)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def open_study(
    storage: optuna.storages.RDBStorage,
    place: StudyPlace,
    experiment: Experiment,
    data: TrainingData,
    given: Configuration,
    *,
    resume: bool,
) -> optuna.Study:
    """The study, made or, with `resume`, found again; `given` is the first trial of a new one.

    Raises: RunError: the study is there and `resume` is false, or it is not there, or it is of something else.
    """
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
    common: dict[str, Any] = {"study_name": place.name, "storage": storage, "pruner": pruner}
    common["sampler"] = Sampler(experiment.seed)
    about = _about(experiment, data)
    if resume:
        try:
            study = optuna.load_study(**common)
        except KeyError:
            raise RunError(
                f"{place.shown} holds no study {place.name!r} to go on with; check --out, --storage and --study, or "
                "leave out --resume"
            ) from None
        return _same(study, place, about, given)
    if any((place.folder / "trials").glob("*")):
        raise RunError(f"{place.folder} holds the trials of a search; go on with --resume, or give another folder")
    try:
        study = optuna.create_study(direction="maximize", **common)
    except optuna.exceptions.DuplicatedStudyError:
        raise RunError(
            f"{place.shown} already holds a study {place.name!r}; go on with it, or help with it, with --resume, or "
            "give another --study"
        ) from None
    _begin(study, about, given)
    return study


def search_name(study: optuna.Study) -> str:
    """A name that the study alone has, whatever it is called."""
    return str(study.user_attrs.get("search", ""))


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """The dimension as Optuna has it."""
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(float(dimension.low), float(dimension.high), log=dimension.log)


def _storage(place: StudyPlace) -> optuna.storages.RDBStorage:
    shown, sqlite = place.shown, place.url.startswith("sqlite")
    try:
        place.folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():  # the heartbeat is called experimental
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.storages.RDBStorage(
                place.url,
                engine_kwargs={"connect_args": {"timeout": _BUSY_S}} if sqlite else {"pool_pre_ping": True},
                heartbeat_interval=HEARTBEAT_S,
                grace_period=GRACE_S,
            )
    except sqlalchemy.exc.NoSuchModuleError:
        raise ConfigError(
            f"--storage {shown} is of a kind of database that is not known here; give for instance "
            "sqlite:///study.db or postgresql://USER@HOST/NAME"
        ) from None
    except sqlalchemy.exc.ArgumentError:
        raise ConfigError(
            "--storage is no URL of a database; give for instance sqlite:///study.db or postgresql://USER@HOST/NAME"
        ) from None
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or "its driver"
        raise ConfigError(
            f"--storage {shown} needs the Python package {missing}, which is not installed; install it, or leave out "
            "--storage"
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"--storage {shown} cannot be opened ({_without_secrets(error, place)}); check that it is there and that "
            "you may write to it"
        ) from None


def _without_secrets(error: Exception, place: StudyPlace) -> str:
    """What a database complains of, on one line."""
    cause = getattr(error, "orig", None) or error
    text = " ".join(str(cause).split())
    with contextlib.suppress(sqlalchemy.exc.ArgumentError):
        parsed = sqlalchemy.make_url(place.url)
        secret = [str(parsed.password)] if parsed.password else []
        secret += [part for value in parsed.query.values() for part in ((value,) if isinstance(value, str) else value)]
        for word in (place.url, *secret):
            text = text.replace(word, "***")
    return text


def _about(experiment: Experiment, data: TrainingData) -> dict[str, Any]:
    return {
        # As it comes back from the storage, which keeps JSON: lists for tuples.
        "experiment": json.loads(json.dumps(experiment.recipe().model_dump(exclude_none=True))),
        "pack_key": data.pack.key,
        "labels_sha256": labels_sha256(data.table),
        "split_sha256": data.split.sha256,
    }


def _begin(study: optuna.Study, about: dict[str, Any], given: Configuration) -> None:
    study.enqueue_trial(given, user_attrs={"given": True}, skip_if_exists=True)
    for key, value in about.items():
        study.set_user_attr(key, value)
    study.set_user_attr("search", secrets.token_hex(8))  # last: a study with it has all the others


def _same(study: optuna.Study, place: StudyPlace, about: dict[str, Any], given: Configuration) -> optuna.Study:
    """The study, if it was begun with the same.

    Raises: RunError: it was not; the message says in what it differs.
    """
    for _ in range(50):  # another process may be about to begin it
        if search_name(study):
            break
        time.sleep(0.1)
    there = study.user_attrs
    if not search_name(study):
        if set(there) - set(_ATTRIBUTES) or len(study.get_trials(deepcopy=False)) > 1:
            raise RunError(f"the study {place.name!r} in {place.shown} is not of lentigo tune; give another --study")
        _begin(study, about, given)  # its first process was killed at that
        return study
    if changed := differences(there["experiment"], about["experiment"]):
        raise RunError(
            f"the study {place.name!r} in {place.shown} is of another experiment ({'; '.join(changed)}); go on with "
            "its own, or give another --study"
        )
    parts = (("pack_key", "other images"), ("labels_sha256", "other labels"), ("split_sha256", "another split"))
    for key, what in parts:
        if there[key] != about[key]:
            raise RunError(
                f"the study {place.name!r} in {place.shown} is of {what} than given now (of train and validation); "
                "restore them, or give another --study"
            )
    _check_folder(study, place)
    return study


def _check_folder(study: optuna.Study, place: StudyPlace) -> None:
    """Raises: RunError: the folder holds another search, whose trials have the same numbers."""
    told = place.folder / "tuning.json"
    if told.is_file() and (found := read_json(told)).get("search") != search_name(study):
        raise RunError(
            f"{place.folder} holds another search than the study {place.name!r} in {place.shown} "
            f"({found.get('study')!r}); give another folder"
        )

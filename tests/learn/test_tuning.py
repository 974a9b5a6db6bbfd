"""The search of hyperparameters: what it tries, what it keeps, how it goes on, and that test images play no part."""

import json
import math
import os
import signal
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch

from lentigo.config import Experiment, read_experiment
from lentigo.data.predictions import read_predictions
from lentigo.data.split import Split, make_split
from lentigo.data.table import ImageTable, read_table
from lentigo.errors import ConfigError, RunError
from lentigo.evidence.comparison import delong_test
from lentigo.evidence.intervals import auc_interval
from lentigo.files import read_csv, read_json
from lentigo.learn import tuning, tuning_study
from lentigo.learn.checkpoint import UnwrittenError
from lentigo.learn.training import TrainProgress, train
from lentigo.learn.tuning import Search, SearchStoppedError, search_space, tune, tuning_data
from lentigo.learn.tuning_result import TuningResult, trial_folder
from lentigo.learn.tuning_space import configured, given_configuration, value_of
from lentigo.learn.tuning_study import masked, study_place
from tests.learn.helpers import Killed
from tests.learn.small import IMAGE_PX, small_experiment, write_noise

BASE = small_experiment({"name": "tiny_vgg", "options": {"image_px": 16, "width": 4}}, epochs=3, learning_rate=1e-4)
TRIALS = 9


def search_of(out: Path, folder: Path, cache: Path, **changes: Any) -> Search:
    table = read_table(folder)
    data = tuning_data(table, make_split(table, BASE.split), image_px=IMAGE_PX, cache=cache)
    return Search(**({"out": out, "experiment": BASE, "data": data, "trials": TRIALS} | changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, noise_folder: Path, noise_cache: Path) -> tuple[Path, TuningResult]:
    """A finished search; nothing may change its folder."""
    out = tmp_path_factory.mktemp("tuned") / "whole"
    return out, tune(search_of(out, noise_folder, noise_cache))


def configurations(result: TuningResult) -> list[dict[str, Any]]:
    return [trial.configuration for trial in result.trials]


# ---------------------------------------------------------------- what is searched


def test_the_space_of_each_network() -> None:
    sizes = {
        name: [(d.key, d.low, d.high, d.log, d.whole) for d in search_space(name)] for name in ("vgg11", "alexnet")
    }
    assert sizes["vgg11"] == sizes["alexnet"]
    assert sizes["vgg11"][:2] == [
        ("model.options.width", 0.125, 1.0, True, False),
        ("train.learning_rate", 1e-5, 1e-2, True, False),
    ]
    tiny = {d.key: (d.low, d.high, d.log, d.whole) for d in search_space("tiny_vgg")}
    assert tiny["model.options.blocks"] == (1, 6, False, True)
    assert tiny["model.options.width"] == (4, 64, True, True)
    assert list(tiny)[2:] == [d.key for d in search_space("resnet18")]
    assert [d.high for d in search_space("resnet18")] == [1e-2, 0.5, 0.5, 0.5, 0.4, 180.0]


def test_a_segmenter_is_not_searched() -> None:
    with pytest.raises(ConfigError, match="lesion_unet finds lesions and scores no image"):
        search_space("lesion_unet")


def test_a_range_holds_what_was_given_and_no_more_than_fits() -> None:
    wide = Experiment().changed(
        model={"options": {"width": 100}}, preprocessing={"resize_px": 20}, train={"learning_rate": 0.5}
    )
    space = {d.key: d for d in search_space("tiny_vgg", wide)}
    assert (space["model.options.width"].low, space["model.options.width"].high) == (4, 100)
    assert space["train.learning_rate"].high == 0.5
    assert space["model.options.blocks"].high == 4  # 20 px are halved four times: 10, 5, 2, 1
    published = Experiment().changed(model={"name": "alexnet", "weights": "imagenet"})
    assert "model.options.width" not in {d.key for d in search_space("alexnet", published)}


@pytest.mark.parametrize("name", ["tiny_vgg", "alexnet", "vgg11", "resnet18"])
def test_every_corner_of_the_space_is_an_experiment(name: str) -> None:
    experiment = Experiment().changed(model={"name": name})
    space = search_space(name, experiment)
    for ends in product((False, True), repeat=2):
        values = {d.key: (d.low, d.high)[ends[place % 2]] for place, d in enumerate(space)}
        made = configured(experiment, values)
        assert {key: value_of(made, key) for key in values} == values
        assert made.changed(model={"options": {}}, train={"learning_rate": 1e-4}, augment={}).data == experiment.data


def test_the_given_values_give_the_given_experiment() -> None:
    for experiment in (BASE, Experiment(), Experiment().changed(model={"name": "alexnet", "options": {"width": 1}})):
        space = search_space(experiment.model.name, experiment)
        assert configured(experiment, given_configuration(experiment, space)) == experiment


# ---------------------------------------------------------------- what a search makes


def test_the_first_trial_is_the_experiment_as_given(whole: tuple[Path, TuningResult]) -> None:
    out, result = whole
    assert [trial.number for trial in result.trials] == list(range(TRIALS))
    assert [trial.given for trial in result.trials] == [True] + [False] * (TRIALS - 1)
    assert read_experiment(trial_folder(out, 0) / "experiment.toml") == BASE
    assert result.given is result.trials[0]


def test_a_trial_is_an_ordinary_training_and_its_score_that_of_the_last_epoch(
    whole: tuple[Path, TuningResult], tmp_path: Path, noise_folder: Path, noise_cache: Path
) -> None:
    out, result = whole
    for trial in result.trials:
        folder = trial_folder(out, trial.number)
        assert read_experiment(folder / "experiment.toml") == configured(BASE, trial.configuration)
        aucs = [float(row["validation_auc"]) for row in read_csv(folder / "history.csv")]
        assert list(trial.aucs) == aucs
    best = result.best
    assert best is not None
    assert best.auc == max(trial.auc for trial in result.complete)
    again = tmp_path / "again"  # of the best experiment, without any search
    train(again, read_experiment(out / "best.toml"), search_of(again, noise_folder, noise_cache).data)
    assert [float(row["validation_auc"]) for row in read_csv(again / "history.csv")] == list(best.aucs)


def test_best_toml_is_the_best_trials_experiment(whole: tuple[Path, TuningResult]) -> None:
    out, result = whole
    assert result.best is not None
    assert read_experiment(out / "best.toml") == configured(BASE, result.best.configuration)
    head = [line for line in (out / "best.toml").read_text().splitlines() if line.startswith("#")]
    assert head[0].startswith(f"# Made by lentigo tune: trial {result.best.number}, the best of {len(result.complete)}")
    assert f"Validation AUC {result.best.auc:.3f} ({result.best.low:.3f} to {result.best.high:.3f}) on 8" in head[1]


def test_the_interval_is_that_of_the_validation_images(whole: tuple[Path, TuningResult]) -> None:
    out, result = whole
    for trial in result.complete:
        found = read_predictions(trial_folder(out, trial.number) / "validation.csv")
        expected = auc_interval(found.labels, found.logits)
        assert (trial.auc, trial.low, trial.high) == pytest.approx((expected.value, expected.low, expected.high))
        assert len(found.ids) == result.n_validation == 8
    assert (result.n_train, result.n_malignant) == (42, 4)
    assert math.isnan(next(trial for trial in result.trials if trial.state == "pruned").low)


def test_the_difference_from_the_given_experiment_is_paired(whole: tuple[Path, TuningResult]) -> None:
    out, result = whole
    assert result.best is not None
    assert result.best.number != 0
    one, other = (read_predictions(trial_folder(out, n) / "validation.csv") for n in (result.best.number, 0))
    assert result.difference == delong_test(one.labels, one.logits, other.logits)
    assert result.difference is not None
    assert result.difference.difference == pytest.approx(result.best.auc - result.trials[0].auc)


def test_pruned_trials_have_fewer_epochs(whole: tuple[Path, TuningResult]) -> None:
    _, result = whole
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert {trial.number for trial in pruned} <= set(range(5, TRIALS))  # the first five are never pruned
    assert {len(trial.aucs) for trial in pruned} == {2}
    assert {len(trial.aucs) for trial in result.complete} == {3}
    for trial in pruned:  # below the median of the earlier complete trials at that epoch
        earlier = sorted(t.aucs[1] for t in result.trials[: trial.number] if t.state == "complete")
        middle = (earlier[(len(earlier) - 1) // 2] + earlier[len(earlier) // 2]) / 2
        assert max(trial.aucs) < middle


def test_the_given_experiment_is_never_pruned_and_nothing_is_at_its_last_epoch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, noise_folder: Path, noise_cache: Path
) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda _: True)
    result = tune(search_of(tmp_path / "out", noise_folder, noise_cache, trials=2))
    assert [(trial.state, len(trial.aucs)) for trial in result.trials] == [("complete", 3), ("pruned", 1)]
    short = BASE.changed(train={"epochs": 1})
    result = tune(replace(search_of(tmp_path / "short", noise_folder, noise_cache, trials=2), experiment=short))
    assert [(trial.state, len(trial.aucs)) for trial in result.trials] == [("complete", 1), ("complete", 1)]


def test_only_the_best_keeps_its_weights(whole: tuple[Path, TuningResult]) -> None:
    out, result = whole
    assert result.best is not None
    assert [path.parent.name for path in out.rglob("*.safetensors")] == [f"{result.best.number:04}"]
    assert list(out.rglob("*.lock")) == []
    assert list(out.rglob("*.part")) == []


def test_tuning_json_holds_every_trial(whole: tuple[Path, TuningResult]) -> None:
    out, result = whole
    told = read_json(out / "tuning.json")
    assert told["best"] == (result.best.number if result.best else None)
    assert told["trials"] == json.loads(json.dumps(result.to_dict()["trials"]).replace("NaN", "null"))
    assert [trial["configuration"] for trial in told["trials"]] == configurations(result)
    assert [trial["epochs"] for trial in told["trials"]] == [len(trial.aucs) for trial in result.trials]
    assert told["images"] == {"train": 42, "validation": 8, "malignant": 4}
    assert told["importances"] is None  # of fewer than ten complete trials
    assert told["storage"] == "sqlite:///study.db"
    assert Experiment.model_validate(told["experiment"] | {"train": {**told["experiment"]["train"]}}) == BASE


def test_importances_are_shares_of_a_whole(
    monkeypatch: pytest.MonkeyPatch, whole: tuple[Path, TuningResult], noise_folder: Path, noise_cache: Path
) -> None:
    out, _ = whole
    monkeypatch.setattr(tuning, "LEAST_FOR_IMPORTANCE", 3)
    result = tune(search_of(out, noise_folder, noise_cache, resume=True))
    assert result.importances is not None
    assert list(result.importances) == [d.key for d in result.space]
    assert sum(result.importances.values()) == pytest.approx(1)
    monkeypatch.undo()
    tune(search_of(out, noise_folder, noise_cache, resume=True))


# ---------------------------------------------------------------- the same again, and on


def test_the_same_seed_tries_the_same_and_a_resumed_search_goes_on_as_if_never_ended(
    tmp_path: Path, whole: tuple[Path, TuningResult], noise_folder: Path, noise_cache: Path
) -> None:
    first = tune(search_of(tmp_path / "again", noise_folder, noise_cache, trials=4))
    assert configurations(first) == configurations(whole[1])[:4]
    both = tune(search_of(tmp_path / "again", noise_folder, noise_cache, resume=True))
    assert configurations(both) == configurations(whole[1])
    assert [trial.aucs for trial in both.trials] == [trial.aucs for trial in whole[1].trials]
    assert both.best is not None
    assert read_experiment(tmp_path / "again" / "best.toml") == read_experiment(whole[0] / "best.toml")


def test_another_seed_tries_something_else(tmp_path: Path, noise_folder: Path, noise_cache: Path) -> None:
    search = search_of(tmp_path / "other", noise_folder, noise_cache, trials=2)
    one = tune(search)
    other = tune(replace(search, out=tmp_path / "more", experiment=BASE.changed(seed=1)))
    assert one.trials[0].configuration == other.trials[0].configuration
    assert all(one.trials[1].configuration[d.key] != other.trials[1].configuration[d.key] for d in one.space[2:])


def test_no_trial_begins_after_the_time(tmp_path: Path, noise_folder: Path, noise_cache: Path) -> None:
    said: list[str] = []
    result = tune(search_of(tmp_path / "short", noise_folder, noise_cache, minutes=1e-9), say=said.append)
    assert [trial.state for trial in result.trials] == ["waiting"]
    assert said == ["the time of 1e-09 minutes is over"]
    assert result.best is None
    assert not (tmp_path / "short" / "best.toml").exists()


def test_a_study_that_is_there_needs_resume_and_one_that_is_not_refuses_it(
    tmp_path: Path, whole: tuple[Path, TuningResult], noise_folder: Path, noise_cache: Path
) -> None:
    out, _ = whole
    before = (out / "tuning.json").read_bytes()
    with pytest.raises(RunError, match="holds the trials of a search; go on with --resume, or give another folder"):
        tune(search_of(out, noise_folder, noise_cache))
    with pytest.raises(RunError, match=r"sqlite:///study\.db already holds a study 'whole'; go on with it, or help"):
        tune(search_of(tmp_path / "whole", noise_folder, noise_cache, storage=study_place(out, None, None).url))
    with pytest.raises(RunError, match=r"sqlite:///study\.db holds no study 'nothing' to go on with; check --out"):
        tune(search_of(tmp_path / "nothing", noise_folder, noise_cache, resume=True))
    with pytest.raises(RunError, match="holds no study 'other' to go on with"):
        tune(search_of(out, noise_folder, noise_cache, study="other", resume=True))
    assert (out / "tuning.json").read_bytes() == before


def test_a_study_of_something_else_is_refused_by_name(
    tmp_path: Path, whole: tuple[Path, TuningResult], noise_folder: Path, noise_cache: Path
) -> None:
    search = search_of(whole[0], noise_folder, noise_cache, resume=True)
    table, split = search.data.table, search.data.split
    others = {"train.epochs is 3 there and 4 here": replace(search, experiment=BASE.changed(train={"epochs": 4}))}
    labels = replace(table, rows=tuple(replace(row, label=1 - row.label) for row in table.rows))
    others["is of other labels than given now"] = replace(search, data=replace(search.data, table=labels))
    swapped = {"train": "validation", "validation": "train"}
    parts = Split({name: swapped[part] for name, part in split.part.items()})
    others["is of another split than given now"] = replace(search, data=replace(search.data, split=parts))
    shrunk = tuning_data(table, split, image_px=IMAGE_PX // 2, cache=noise_cache)
    others["is of other images than given now"] = replace(search, data=shrunk)
    for message, other in others.items():
        with pytest.raises(RunError, match=message):
            tune(other)
    where = replace(search, experiment=BASE.changed(train={"save_every_s": 7.0}))  # changes no result
    assert configurations(tune(where)) == configurations(whole[1])


def test_a_folder_of_another_search_is_refused(
    tmp_path: Path, whole: tuple[Path, TuningResult], noise_folder: Path, noise_cache: Path
) -> None:
    tune(search_of(tmp_path / "mine", noise_folder, noise_cache, trials=1))
    url = study_place(whole[0], None, None).url
    with pytest.raises(RunError, match=r"mine holds another search than the study 'whole' in sqlite:///study.db"):
        tune(search_of(tmp_path / "mine", noise_folder, noise_cache, storage=url, study="whole", resume=True))


# ---------------------------------------------------------------- what goes wrong


def test_a_trial_that_diverges_fails_and_the_search_goes_on(
    tmp_path: Path, noise_folder: Path, noise_cache: Path
) -> None:
    search = search_of(tmp_path / "out", noise_folder, noise_cache, trials=3)
    said: list[str] = []
    result = tune(replace(search, experiment=BASE.changed(train={"learning_rate": 1e30})), say=said.append)
    assert result.trials[0].state == "failed"
    assert result.trials[0].reason in (
        "the logits of the validation images are not finite after epoch 1",
        "the loss is not a number in epoch 1, step 2",
        "the loss is infinite in epoch 1, step 2",
    )
    assert str(tmp_path) not in result.trials[0].reason
    assert said[0].startswith("trial 0: no score (failed: the lo")
    assert len(result.trials) == 3
    assert list(tmp_path.rglob("resume.safetensors")) == []


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory: 3 GiB")])
def test_a_trial_without_enough_memory_fails_and_the_search_goes_on(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_folder: Path, noise_cache: Path
) -> None:
    def cramped(run: Path, *arguments: Any, **options: Any) -> Path:
        if run.name == "0001":
            raise error
        return train(run, *arguments, **options)

    monkeypatch.setattr(tuning, "train", cramped)
    result = tune(search_of(tmp_path / "out", noise_folder, noise_cache, trials=3))
    assert [trial.state for trial in result.trials] == ["complete", "failed", "complete"]
    assert result.trials[1].reason == "the memory was not enough"


def test_a_full_disk_ends_the_search_and_blames_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_folder: Path, noise_cache: Path
) -> None:
    def full(run: Path, *arguments: Any, **options: Any) -> Path:
        if run.name == "0001":
            raise UnwrittenError(f"{run}/checkpoint.safetensors cannot be written (No space left on device)")
        return train(run, *arguments, **options)

    search = search_of(tmp_path / "out", noise_folder, noise_cache, trials=3)
    monkeypatch.setattr(tuning, "train", full)
    with pytest.raises(UnwrittenError, match="No space left"):
        tune(search)
    monkeypatch.setattr(tuning, "train", train)
    result = tune(replace(search, resume=True))
    assert [trial.state for trial in result.trials if trial.counts] == ["complete"] * 3


@pytest.mark.slow
def test_when_trial_after_trial_fails_the_search_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_folder: Path, noise_cache: Path
) -> None:
    def full(run: Path, *_: Any, **__: Any) -> Path:
        raise RunError(f"{run}: no space left; free some")

    monkeypatch.setattr(tuning, "train", full)
    seen: list[TuningResult] = []
    with pytest.raises(RunError, match="10 trials in a row failed, the last because no space left; mend that"):
        tune(search_of(tmp_path / "out", noise_folder, noise_cache, trials=50), on_end=seen.append)
    assert [len(result.trials) for result in seen] == [10]


def at_second_trial(action: Any) -> Any:
    """A `train` that calls `action` in the first epoch of trial 1, and in no other."""

    def trained(run: Path, *arguments: Any, on_progress: Any, **options: Any) -> Path:
        def tell(now: TrainProgress) -> None:
            on_progress(now)
            if run.name == "0001" and len(now.history) == 1:
                action()

        return train(run, *arguments, on_progress=tell, **options)

    return trained


def test_an_interrupted_trial_waits_and_begins_anew(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: tuple[Path, TuningResult],
    noise_folder: Path,
    noise_cache: Path,
) -> None:
    out, seen = tmp_path / "out", []
    search = search_of(out, noise_folder, noise_cache, trials=3)
    monkeypatch.setattr(tuning, "train", at_second_trial(lambda: os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(SearchStoppedError, match=r"stopped in trial 1, which waits to begin anew; the others are kept"):
        tune(search, on_end=seen.append)
    assert [trial.state for trial in seen[0].trials] == ["complete", "interrupted", "waiting"]
    assert read_json(out / "tuning.json")["best"] == 0
    monkeypatch.setattr(tuning, "train", train)
    result = tune(replace(search, resume=True))
    assert [trial.state for trial in result.trials][:2] == ["complete", "interrupted"]
    assert result.trials[2].configuration == result.trials[1].configuration == whole[1].trials[1].configuration
    assert result.trials[2].aucs == whole[1].trials[1].aucs
    assert sum(trial.counts for trial in result.trials) == 3
    assert [path.parent.name for path in out.rglob("*.safetensors")] == [f"{result.best.number:04}"]  # type: ignore[union-attr]


def kill() -> None:
    raise Killed


def test_a_trial_of_a_machine_that_went_away_is_taken_up_once_its_heart_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_folder: Path, noise_cache: Path
) -> None:
    """As on another machine, there is no lock to look at."""
    monkeypatch.setattr(tuning_study, "HEARTBEAT_S", 1)
    monkeypatch.setattr(tuning_study, "GRACE_S", 1)
    search = search_of(tmp_path / "out", noise_folder, noise_cache, trials=3)
    monkeypatch.setattr(tuning, "train", at_second_trial(kill))
    with pytest.raises(Killed):
        tune(search)
    monkeypatch.setattr(tuning, "train", train)
    said: list[str] = []
    time.sleep(3)
    url = study_place(search.out, None, None).url
    result = tune(replace(search, out=tmp_path / "second", storage=url, study="out", resume=True), say=said.append)
    assert said[0] == "trial 1 was left by a process that ended; it begins anew"
    assert [trial.state for trial in result.trials][:3] == ["complete", "interrupted", "complete"]
    assert result.trials[2].configuration == result.trials[1].configuration
    assert sum(trial.counts for trial in result.trials) == 3


def test_a_configuration_that_ends_its_process_three_times_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_folder: Path, noise_cache: Path
) -> None:
    search = search_of(tmp_path / "out", noise_folder, noise_cache, trials=2)

    def broken(*_: Any, **__: Any) -> Path:
        raise OSError("the disk is gone")  # of no configuration, so that the search ends with it

    monkeypatch.setattr(tuning, "train", broken)
    for death in range(3):
        with pytest.raises(OSError, match="the disk is gone"):
            tune(replace(search, resume=death > 0))
    monkeypatch.setattr(tuning, "train", train)
    result = tune(replace(search, resume=True))
    assert [trial.state for trial in result.trials] == ["interrupted", "interrupted", "failed", "complete"]
    assert result.trials[2].reason == "its process ended 3 times; was the memory full?"
    assert result.trials[2].given


def test_a_trial_given_up_by_others_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_folder: Path, noise_cache: Path
) -> None:
    """A laptop that slept: meanwhile another process has put a copy of its trial into the queue."""
    search = search_of(tmp_path / "out", noise_folder, noise_cache, trials=3)
    url = study_place(search.out, None, None).url

    def give_up() -> None:
        study = optuna.load_study(study_name="out", storage=url)
        study.tell(1, state=optuna.trial.TrialState.FAIL)

    monkeypatch.setattr(tuning, "train", at_second_trial(give_up))
    said: list[str] = []
    result = tune(search, say=said.append)
    assert said[1] == "trial 1 was taken over by another process"
    assert [trial.state for trial in result.trials] == ["complete", "interrupted", "complete", result.trials[3].state]
    assert result.trials[2].configuration == result.trials[1].configuration


# ---------------------------------------------------------------- test images


def relabelled(table: ImageTable, split: Split) -> ImageTable:
    rows = tuple(replace(row, label=1 - row.label) if split.part[row.id] == "test" else row for row in table.rows)
    return replace(table, rows=rows)


def test_test_images_are_not_opened_and_their_labels_change_nothing(
    tmp_path: Path, whole: tuple[Path, TuningResult], noise_cache: Path
) -> None:
    folder = write_noise(tmp_path / "noise")
    table = read_table(folder)
    split = make_split(table, BASE.split)
    tests = [row for row in table.rows if split.part[row.id] == "test"]
    assert len(tests) == 12
    for place, row in enumerate(tests):
        if place % 2:
            row.path.unlink()
        else:
            row.path.write_bytes(b"no image")
    data = tuning_data(relabelled(table, split), split, image_px=IMAGE_PX, cache=tmp_path / "cache")
    assert not {row.id for row in tests} & {*data.table.ids, *data.split.part, *data.pack.ids}
    result = tune(Search(out=tmp_path / "out", experiment=BASE, data=data, trials=3))
    assert [trial.aucs for trial in result.trials] == [trial.aucs for trial in whole[1].trials[:3]]
    # And the finished search knows them again as its own.
    again = tune(Search(out=whole[0], experiment=BASE, data=data, trials=TRIALS, resume=True))
    assert configurations(again) == configurations(whole[1])


# ---------------------------------------------------------------- the storage


def test_a_storages_secrets_are_not_told() -> None:
    assert masked("postgresql://me:secret@server:5432/studies?sslpassword=other") == (
        "postgresql://me:***@server:5432/studies"
    )
    assert masked("sqlite:////home/me/tuned/study.db") == "sqlite:///study.db"
    assert masked("me:secret") == "a storage"


def test_a_storage_that_cannot_be_opened_is_said_without_its_password(
    tmp_path: Path, noise_folder: Path, noise_cache: Path
) -> None:
    cases = {
        "nonsense:secret": "--storage is no URL of a database; give for instance sqlite:///study.db",
        "postgresql+x://me:secret@server/x": r"--storage postgresql\+x://me:\*\*\*@server/x is of a kind of database",
        f"sqlite:///{tmp_path}/secret/study.db": "--storage sqlite:///study.db cannot be opened .unable to open data",
        "oracle+cx_oracle://me:secret@server/x": "needs the Python package cx_Oracle, which is not installed",
    }
    for url, message in cases.items():
        with pytest.raises(ConfigError, match=message) as caught:
            tune(search_of(tmp_path / "out", noise_folder, noise_cache, storage=url))
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["plain", "a b#c%20d?e=f"])
def test_a_folder_may_be_called_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_folder: Path, noise_cache: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    search = search_of(Path(name), noise_folder, noise_cache, trials=1)
    assert tune(search).study == name
    assert (tmp_path / name / "study.db").is_file()
    both = tune(replace(search, out=tmp_path / name, trials=2, resume=True))  # the same by its whole path
    assert [trial.number for trial in both.trials] == [0, 1]


def test_several_processes_for_a_trial_are_refused(tmp_path: Path, noise_folder: Path, noise_cache: Path) -> None:
    search = search_of(tmp_path / "out", noise_folder, noise_cache)
    with pytest.raises(ConfigError, match=r"train.devices is 2 and train.strategy 'auto', but a search trains"):
        tune(replace(search, experiment=BASE.changed(train={"devices": 2})))
    assert not (tmp_path / "out").exists()

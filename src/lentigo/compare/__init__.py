"""The main job: every stage that is missing for every model, in order, then the evidence, and `report.html`.

The folder it writes holds `split.csv`, the audit, a run folder for each training under `runs/`, and at the end
`evidence.json`, `comparison.json` and the report. Whatever is there already and fits is kept, so an interrupted
comparison goes on where it stopped.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from lentigo import __version__
from lentigo.compare.content import Comparison as Comparison
from lentigo.compare.content import Found, cards_of, now, report_content, versions
from lentigo.compare.evidence import check_externals, check_names, gather
from lentigo.compare.looking import SECOND, explain, look, trust
from lentigo.config import Experiment
from lentigo.data.audit import audit_data, fingerprint, write_audit
from lentigo.data.beside import best_shortcut, shortcut_line
from lentigo.data.copies import AUDIT_PX, silent, split_apart
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.predictions import read_predictions
from lentigo.data.split import Split, read_split
from lentigo.data.table import ImageTable, read_table
from lentigo.data.verdict import verdict_on
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.evidence.assessment import PREVALENCE as PREVALENCE
from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.files import read_json, write_json, write_text
from lentigo.learn.device import choose_device
from lentigo.learn.evaluation import Evaluation, evaluate_run, network_of, read_evaluation, standing
from lentigo.learn.stress import read_stress
from lentigo.learn.training import TrainingData, TrainProgress, train
from lentigo.models.registry import MODELS, classifier_entry, model_entry
from lentigo.report.audit_page import write_audit_page
from lentigo.report.evidence_words import spoken
from lentigo.report.gather import FinishedRun, read_finished_run
from lentigo.report.look_words import look_lines
from lentigo.report.page import write_report

PAPER_MODELS = ("tiny_vgg", "vgg11", "alexnet")
DRAWN_IMAGES = 512
# Drawn lesions show the whole path in minutes on two cores: small images, narrow networks, few images.
_DEMO: dict[str, dict[str, Any]] = {
    "tiny_vgg": {
        "preprocessing": {"resize_px": 96},
        "train": {"epochs": 20, "batch_size": 16, "learning_rate": 1e-3},
    },
    "vgg11": {
        "model": {"options": {"width": 0.25}},
        "preprocessing": {"resize_px": 108, "crop_px": 96},
        "train": {"epochs": 12, "batch_size": 16, "learning_rate": 5e-4},
    },
    "alexnet": {
        "model": {"options": {"width": 0.25}},
        "preprocessing": {"resize_px": 144, "crop_px": 128},
        "train": {"epochs": 12, "batch_size": 16, "learning_rate": 5e-4},
    },
    "resnet18": {
        "preprocessing": {"resize_px": 108, "crop_px": 96},
        "train": {"epochs": 5, "batch_size": 16, "learning_rate": 5e-4},
    },
    "resnet101": {
        "preprocessing": {"resize_px": 72, "crop_px": 64},
        "train": {"epochs": 3, "batch_size": 16, "learning_rate": 5e-4},
    },
}


@runtime_checkable
class Display(Protocol):
    """What shows a person how far the work is."""

    def say(self, text: str, /) -> None: ...
    def verdict(self, verdict: dict[str, Any], /) -> None: ...
    def bar(self, text: str, total: int, /) -> AbstractContextManager[Callable[[int], None]]: ...
    def training(self, name: str, /) -> AbstractContextManager[Callable[[TrainProgress], None]]: ...


class Silent:
    """A display that shows nothing."""

    def say(self, _text: str) -> None: ...

    def verdict(self, _verdict: dict[str, Any]) -> None: ...

    def bar(self, text: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        return silent(text, total)

    def training(self, _name: str) -> AbstractContextManager[Callable[[TrainProgress], None]]:
        return contextlib.nullcontext(lambda _: None)


def demo_experiment(name: str) -> Experiment:
    """A model at the small size in which `lentigo compare` without data shows it."""
    if name not in _DEMO:
        raise ConfigError(f"{name} has no small size for drawn lesions; choose from {', '.join(_DEMO)}")
    tables: dict[str, Any] = {
        "model": {"name": name},
        "train": {"epochs": 6, "learning_rate": 1e-3},
        "split": {"protocol": "folders"},
    }
    return Experiment().changed(**tables).changed(**_DEMO[name])


def draw_data(out: Path, *, seed: int, display: Display) -> ImageTable:
    """The drawn lesions of a comparison without data; drawn once, then reused."""
    from lentigo.data.synthetic import write_dataset

    folder = out / "drawn"
    if not folder.is_dir():
        with display.bar("drawing lesions", DRAWN_IMAGES) as advance:
            write_dataset(folder, count=DRAWN_IMAGES, seed=seed, progress=advance)
    return read_table(folder)


def compare(comparison: Comparison, *, display: Display | None = None) -> Path:
    """Run what is missing and write the report; returns its path.

    Raises: LentigoError of the stage that cannot go on; everything finished before stays and is reused.
    """
    display, started = display or Silent(), time.monotonic()
    _check_models(comparison.experiments)
    check_names(comparison.externals)
    for experiment in comparison.experiments:
        read_stress(comparison.out / "runs" / experiment.model.name)  # a damaged one is told before anything is trained
    table = comparison.table
    with display.bar("decoding images", len(table)) as advance:
        image_px = comparison.experiments[0].data.image_px
        pack = pack_images(table, image_px=image_px, cache=comparison.cache, progress=advance)
    split, protocol = _split(comparison, display)
    data = TrainingData(table=table, pack=pack, split=split)
    check_externals(comparison, data, display.bar)
    audit = _audited(comparison, pack, split, protocol, display)
    display.verdict(audit["verdict"])
    runs = [_run(comparison, experiment, data, display) for experiment in comparison.experiments]
    repeated = {
        run.name: _repeated(comparison, experiment, run, data, display)
        for run, experiment in zip(runs, comparison.experiments, strict=True)
    }
    looks, second = look(comparison, runs, data, display.bar)
    pairs = trust(comparison, runs, data)
    told = {**looks.to_dict(), SECOND: second.to_dict(), "trust": {"pairs": [pair.to_dict() for pair in pairs]}}
    write_json(comparison.out / "explanation.json", told)
    evidence = gather(comparison, runs, repeated, data, display.bar)
    write_json(comparison.out / "evidence.json", evidence.to_dict())
    for run in runs:
        write_json(run.folder / "evidence.json", evidence.assessments[run.name].to_dict())
    write_json(comparison.out / "comparison.json", _summary(comparison, runs, split, protocol, audit))
    if (shortcut := best_shortcut(audit["probes"])) is not None:
        display.say(f"beside them: {shortcut_line(shortcut)}")
    for line in (*spoken(evidence), *look_lines(looks)):
        display.say(line)
    display.say("writing the report")
    report = comparison.out / "report.html"
    found = Found(
        runs=runs, pack=pack, split=split, protocol=protocol, audit=audit, evidence=evidence, looks=looks,
        second=second, trust=pairs,
    )  # fmt: skip
    for name, card in cards_of(comparison, found).items():
        write_text(comparison.out / "runs" / name / "MODEL_CARD.md", card.markdown())
    write_report(report, replace(report_content(comparison, found), seconds=time.monotonic() - started))
    return report


def _check_models(experiments: Sequence[Experiment]) -> None:
    if not experiments:
        raise ConfigError(f"no model to compare; registered are {', '.join(MODELS)}")
    names = [experiment.model.name for experiment in experiments]
    for experiment in experiments:
        entry = classifier_entry(experiment.model.name)
        if experiment.model.weights == "imagenet" and not entry.published_weights:
            raise ConfigError(f'{experiment.model.name} has no published weights; leave it out, or use weights "none"')
        choose_device(experiment.train.device)
        if experiment.train.together:
            raise ConfigError(
                f"train.devices is {experiment.train.devices} and train.strategy {experiment.train.strategy!r}, and a "
                "comparison runs in one process; train each network with `lentigo train --devices` into the "
                "comparison's runs/NAME"
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)} would be trained twice into one folder; name every model once")
    if len({(experiment.data, experiment.split) for experiment in experiments}) > 1:
        raise ConfigError("the experiments differ in [data] or [split]; models are compared on the same images only")


def _split(comparison: Comparison, display: Display) -> tuple[Split, str]:
    """The split that was asked for, and what it is called; it must be the one of what is there already.

    Raises: RunError: the folder was begun with another split or other images.
    """
    table, config, path = comparison.table, comparison.experiments[0].split, comparison.out / "split.csv"
    if comparison.split_file is not None:
        split, name = read_split(comparison.split_file, table), f"given as {comparison.split_file.name}"
    else:
        split, name = split_apart(table, config, cache=comparison.cache, bar=display.bar), config.protocol
    if (comparison.out / "runs").is_dir() and path.is_file():
        try:
            same = read_split(path, table) == split
        except DataError as error:
            raise RunError(
                f"{comparison.out} holds a comparison of other images ({error}); give another folder with --out"
            ) from error
        if not same:
            raise RunError(
                f"{path} differs from the split asked for ({name}, seed {config.seed}); go on with --split {path}, "
                "or give another folder with --out"
            )
    split.write(path)
    return split, name


def _audited(comparison: Comparison, pack: ImagePack, split: Split, protocol: str, display: Display) -> dict[str, Any]:
    """The content of `audit.json`: that of an earlier run if it is of the same images, columns and split."""
    path, table = comparison.out / "audit.json", comparison.table
    if pack.image_px != AUDIT_PX:
        with display.bar("decoding images", len(table)) as advance:
            pack = pack_images(table, image_px=AUDIT_PX, cache=comparison.cache, progress=advance)
    with contextlib.suppress(DataError):  # none yet, or damaged: it is made
        kept: dict[str, Any] = read_json(path)
        if kept.get("fingerprint") == fingerprint(table, pack, split) and path.with_suffix(".html").is_file():
            return kept
    seed = comparison.experiments[0].seed
    found = audit_data(table, split=split, split_name=protocol, cache=comparison.cache, seed=seed, bar=display.bar)
    verdict = verdict_on(found)
    write_audit_page(
        path.with_suffix(".html"), found, verdict, created=now(), command=comparison.command, versions=versions()
    )
    write_audit(path, found, verdict.to_dict())  # last: it vouches for the page
    made: dict[str, Any] = read_json(path)
    return made


def _run(comparison: Comparison, experiment: Experiment, data: TrainingData, display: Display) -> FinishedRun:
    name, table = experiment.model.name, data.table
    folder = comparison.out / "runs" / name
    with display.training(name) as on_progress:
        train(folder, experiment, data, resume=True, on_progress=on_progress)
    if not _scored(folder, table, data.split.indices(table, "test")):
        _score(folder, name, experiment, data, display)
    explain(comparison, experiment, data, folder, display.bar)
    run = read_finished_run(folder)
    display.say(_line(name, run.evaluation))
    for source, score in standing(run.evaluation.predictions, table)["within_sources"].items():
        display.say(f"  within {source}: AUC {score['auc']:.3f} ({score['low']:.3f} to {score['high']:.3f})")
    return run


def _repeated(
    comparison: Comparison, experiment: Experiment, first: FinishedRun, data: TrainingData, display: Display
) -> dict[int, Evaluation]:
    """The scores of every training of one network, by seed: the first, and those with the seeds that follow."""
    found, name = {experiment.seed: first.evaluation}, experiment.model.name
    test = data.split.indices(data.table, "test")
    for seed in range(experiment.seed + 1, experiment.seed + comparison.seeds):
        folder = comparison.out / "runs" / f"{name}-seed{seed}"
        with display.training(f"{name}, seed {seed}") as on_progress:
            train(folder, experiment.changed(seed=seed), data, resume=True, on_progress=on_progress)
        if not _scored(folder, data.table, test):
            _score(folder, f"{name}, seed {seed}", experiment, data, display)
        found[seed] = read_evaluation(folder)
        display.say(f"seed {seed}: {_line(name, found[seed])}")
    return found


def _score(folder: Path, name: str, experiment: Experiment, data: TrainingData, display: Display) -> None:
    table, split = data.table, data.split
    scored = len(split.indices(table, "test")) + len(split.indices(table, "validation"))
    with display.bar(f"{name}: scoring", scored) as advance:
        evaluate_run(
            folder, table, data.pack, split, device=choose_device(experiment.train.device), on_progress=advance
        )


def _scored(folder: Path, table: ImageTable, test: Int64[np.ndarray, " image"]) -> bool:
    """Whether the scores are there, of these images with these labels."""
    if not all((folder / name).is_file() for name in ("predictions.csv", "validation.csv", "metrics.json")):
        return False
    if read_json(folder / "metrics.json").get("checkpoint") != network_of(folder):
        return False  # of other weights
    found = read_predictions(folder / "predictions.csv")
    return found.ids == tuple(table.ids[i] for i in test) and bool((found.labels == table.labels[test]).all())


def _line(name: str, evaluation: Evaluation) -> str:
    values = {key: evaluation.metrics[key] for key in REPORTED_SCORES}
    shown = [f"{key} undefined" if math.isnan(value) else f"{key} {value:.3f}" for key, value in values.items()]
    return f"{model_entry(name).title}: {', '.join(shown)} on {evaluation.metrics['n']} test images"


def _summary(
    comparison: Comparison, runs: list[FinishedRun], split: Split, protocol: str, audit: dict[str, Any]
) -> dict[str, Any]:
    """comparison.json; holds no path of this machine."""
    first = comparison.experiments[0]
    shortcut = best_shortcut(audit["probes"])
    return {
        "lentigo": __version__,
        "command": comparison.command,
        "data": comparison.table.name,
        "images": len(comparison.table),
        "protocol": protocol,
        "seed": first.seed,
        "counts": split.counts(comparison.table),
        "versions": versions(),
        "audit": audit["verdict"],
        "shortcut": None if shortcut is None else asdict(shortcut),
        "models": {run.name: _model_summary(run, comparison.table) for run in runs},
    }


def _model_summary(run: FinishedRun, table: ImageTable) -> dict[str, Any]:
    kept = ("epochs", "epochs_asked", "steps", "complete", "device", "seconds", "parameters")
    scores = run.evaluation.metrics | standing(run.evaluation.predictions, table)
    return {**scores, **{key: run.about[key] for key in kept}, "multiply_adds": run.multiply_adds}

"""The main job: every stage that is missing for every model, in order, then `comparison.json` and `report.html`.

The folder it writes holds `split.csv`, one run folder a model under `runs/`, and at the end
the two results. Whatever is there already and fits is kept, so an interrupted comparison goes on where it stopped.
"""

import contextlib
import math
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
import torchvision
from jaxtyping import Int64

from lentigo import __version__
from lentigo.config import Experiment
from lentigo.data.audit import audit_data, fingerprint, write_audit
from lentigo.data.beside import best_shortcut, shortcut_line
from lentigo.data.copies import AUDIT_PX, silent, split_apart
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.split import Split, read_split
from lentigo.data.table import ImageTable, read_table
from lentigo.data.verdict import verdict_on
from lentigo.errors import ConfigError, DataError, RunError
from lentigo.evidence.metrics import REPORTED_SCORES
from lentigo.explain.stage import explain_run, read_explanation
from lentigo.files import read_json, write_json
from lentigo.learn.device import choose_device
from lentigo.learn.evaluation import evaluate_run, standing
from lentigo.learn.prediction import read_predictions
from lentigo.learn.training import TrainingData, TrainProgress, train
from lentigo.models.registry import MODELS, model_entry
from lentigo.report.audit_page import write_audit_page
from lentigo.report.content import ReportContent
from lentigo.report.gather import (
    FinishedRun,
    augmentation_examples,
    choose_gallery,
    examples_by_class,
    gallery_images,
    model_result,
    paper_scores_for,
    read_finished_run,
)
from lentigo.report.page import write_report
from lentigo.report.worth import worth_of

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


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One comparison: the data, one experiment for each model, and how it is to be told in the report."""

    table: ImageTable
    experiments: tuple[Experiment, ...]
    out: Path
    command: str
    drawn: bool = False
    cache: Path | None = None
    split_file: Path | None = None


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
    table = comparison.table
    with display.bar("decoding images", len(table)) as advance:
        image_px = comparison.experiments[0].data.image_px
        pack = pack_images(table, image_px=image_px, cache=comparison.cache, progress=advance)
    split, protocol = _split(comparison, display)
    audit = _audited(comparison, pack, split, protocol, display)
    display.verdict(audit["verdict"])
    data = TrainingData(table=table, pack=pack, split=split)
    runs = [_run(comparison.out, experiment, data, display) for experiment in comparison.experiments]
    write_json(comparison.out / "comparison.json", _summary(comparison, runs, split, protocol, audit))
    if (shortcut := best_shortcut(audit["probes"])) is not None:
        display.say(f"beside them: {shortcut_line(shortcut)}")
    display.say("writing the report")
    report = comparison.out / "report.html"
    content = _content(comparison, runs, pack, split, protocol=protocol, audit=audit)
    write_report(report, replace(content, seconds=time.monotonic() - started))
    return report


def _check_models(experiments: Sequence[Experiment]) -> None:
    if not experiments:
        raise ConfigError(f"no model to compare; registered are {', '.join(MODELS)}")
    names = [experiment.model.name for experiment in experiments]
    for experiment in experiments:
        entry = model_entry(experiment.model.name)
        if experiment.model.weights == "imagenet" and not entry.published_weights:
            raise ConfigError(f'{experiment.model.name} has no published weights; leave it out, or use weights "none"')
        choose_device(experiment.train.device)
        if experiment.train.devices > 1:
            raise ConfigError(
                f"train.devices is {experiment.train.devices}, and a comparison runs in one process; train each "
                "network with `lentigo train --devices` into the comparison's runs/NAME"
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
        path.with_suffix(".html"), found, verdict, created=_now(), command=comparison.command, versions=_versions()
    )
    write_audit(path, found, verdict.to_dict())  # last: it vouches for the page
    made: dict[str, Any] = read_json(path)
    return made


def _run(out: Path, experiment: Experiment, data: TrainingData, display: Display) -> FinishedRun:
    name, table, pack, split = experiment.model.name, data.table, data.pack, data.split
    folder = out / "runs" / name
    with display.training(name) as on_progress:
        train(folder, experiment, data, resume=True, on_progress=on_progress)
    device, test = choose_device(experiment.train.device), split.indices(table, "test")
    if not _scored(folder, table, test):
        scored = len(test) + len(split.indices(table, "validation"))
        with display.bar(f"{name}: scoring", scored) as advance:
            evaluate_run(folder, table, pack, split, device=device, on_progress=advance)
    if not _explained(folder, table, test):
        with display.bar(f"{name}: explaining", len(test)) as advance:
            explain_run(folder, table, pack, split, device=device, on_progress=advance)
    run = read_finished_run(folder)
    display.say(_line(run))
    for source, score in standing(run.evaluation.predictions, table)["within_sources"].items():
        display.say(f"  within {source}: AUC {score['auc']:.3f} ({score['low']:.3f} to {score['high']:.3f})")
    return run


def _scored(folder: Path, table: ImageTable, test: Int64[np.ndarray, " image"]) -> bool:
    """Whether the scores are there, of these images with these labels."""
    if not all((folder / name).is_file() for name in ("predictions.csv", "validation.csv", "metrics.json")):
        return False
    found = read_predictions(folder / "predictions.csv")
    return found.ids == tuple(table.ids[i] for i in test) and bool((found.labels == table.labels[test]).all())


def _explained(folder: Path, table: ImageTable, test: Int64[np.ndarray, " image"]) -> bool:
    if not all((folder / name).is_file() for name in ("heatmaps.npy", "explanation.json")):
        return False
    return read_explanation(folder).ids == tuple(table.ids[i] for i in test)


def _line(run: FinishedRun) -> str:
    values = {name: run.evaluation.metrics[name] for name in REPORTED_SCORES}
    shown = [f"{name} undefined" if math.isnan(value) else f"{name} {value:.3f}" for name, value in values.items()]
    return f"{model_entry(run.name).title}: {', '.join(shown)} on {run.evaluation.metrics['n']} test images"


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
        "versions": _versions(),
        "audit": audit["verdict"],
        "shortcut": None if shortcut is None else asdict(shortcut),
        "models": {run.name: _model_summary(run, comparison.table) for run in runs},
    }


def _model_summary(run: FinishedRun, table: ImageTable) -> dict[str, Any]:
    kept = ("epochs", "epochs_asked", "steps", "complete", "device", "seconds", "parameters")
    scores = run.evaluation.metrics | standing(run.evaluation.predictions, table)
    return {**scores, **{key: run.about[key] for key in kept}, "multiply_adds": run.multiply_adds}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _versions() -> dict[str, str]:
    return {
        "lentigo": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def _content(
    comparison: Comparison,
    runs: list[FinishedRun],
    pack: ImagePack,
    split: Split,
    *,
    protocol: str,
    audit: dict[str, Any],
) -> ReportContent:
    table, seed = comparison.table, comparison.experiments[0].seed
    predictions = runs[0].evaluation.predictions
    chosen = choose_gallery(
        predictions.labels, np.stack([run.evaluation.predictions.logits for run in runs]), seed=seed
    )
    gallery = gallery_images(chosen, predictions.ids, table, pack)
    indices = [index for section in chosen.values() for index in section]
    results = [model_result(run, gallery, indices) for run in runs]
    examples = examples_by_class(table, pack, split, seed=seed)
    return ReportContent(
        title="Benign or malignant: " + ", ".join(result.title for result, _ in results),
        data_name=comparison.table.name,
        drawn=comparison.drawn,
        created=_now(),
        command=comparison.command,
        seed=seed,
        protocol=protocol,
        counts=split.counts(table),
        versions=_versions(),
        seconds=0.0,  # known at the end
        labels=predictions.labels,
        models=tuple(result for result, _ in results),
        gallery=gallery,
        examples=examples,
        augmentations=augmentation_examples(examples["malignant"][0], comparison.experiments[0].augment, seed=seed),
        paper_scores=paper_scores_for(table),
        heat_scale={run.name: scale for run, (_, scale) in zip(runs, results, strict=True)},
        cells={run.name: (run.explanation.maps.shape[1], run.explanation.maps.shape[2]) for run in runs},
        notes=_notes(comparison, runs, protocol),
        worth=worth_of(audit, runs, table),
    )


def _notes(comparison: Comparison, runs: list[FinishedRun], protocol: str) -> tuple[str, ...]:
    notes = []
    if comparison.drawn:
        notes.append(
            "These are drawn lesions, small networks and short trainings: this page shows how lentigo works, not how "
            "well any network tells real lesions apart."
        )
    if comparison.table.ignored:
        left_out = comparison.table.ignored
        notes.append(
            f"{len(left_out)} files are no images that lentigo reads; they were left out: first {left_out[0]}."
        )
    if paper_scores_for(comparison.table) and protocol != "paper":
        notes.append(
            "The paper's figures are of a random split; these test images were dealt in another way, so the figures "
            "are not of like tests."
        )
    for run in runs:
        about = run.about
        if not about["complete"]:
            notes.append(
                f"{model_entry(run.name).title} was stopped after {about['seconds'] / 60:.0f} minutes and "
                f"{about['steps']} steps ({about['epochs']} whole epochs of {about['epochs_asked']}): its scores are "
                "not the recipe's."
            )
    return tuple(notes)

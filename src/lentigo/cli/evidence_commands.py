"""The commands that say what a score is worth: evaluate, stress, report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lentigo.cli.options import (
    CacheOpt,
    DeviceOpt,
    DevicesOpt,
    DrawSeedOpt,
    OtherDataOpt,
    PositiveOpt,
    PrevalenceOpt,
    RunArg,
    again,
    command_line,
    data_of_run,
    in_processes,
    table_of,
)
from lentigo.deploy import NOTICE
from lentigo.errors import ConfigError
from lentigo.terminal import Display, say

if TYPE_CHECKING:
    import torch

    from lentigo.data.predictions import Predictions
    from lentigo.data.table import ImageTable
    from lentigo.evidence.decisions import Decisions

app = typer.Typer()


@app.command(
    epilog="Examples:\n\nlentigo evaluate runs/alexnet\n\nlentigo evaluate runs/alexnet --data data/other-archive"
)
def evaluate(
    run: RunArg,
    data: OtherDataOpt = None,
    positive: PositiveOpt = None,
    prevalence: PrevalenceOpt = None,
    device: DeviceOpt = None,
    devices: DevicesOpt = None,
    cache: CacheOpt = None,
) -> None:
    """Score a run on its test images, or on other data without copies of what it learned from; with intervals.

    A segmenter is scored by the masks of experts.
    """
    in_processes(devices, again)
    from lentigo.learn.device import choose_device
    from lentigo.learn.run import run_model
    from lentigo.learn.shards import device_here, together
    from lentigo.models.registry import SEGMENTERS

    where = device_here(choose_device(device or "auto"))
    with together():
        score = _evaluate_segmenter if run_model(run) in SEGMENTERS else _evaluate_classifier
        score(run, data, positive, prevalence, where, cache)


def _evaluate_classifier(
    run: Path,
    data: Path | None,
    positive: list[str] | None,
    prevalence: float | None,
    device: "torch.device",
    cache: Path | None,
) -> None:
    from lentigo.data.beside import lines_beside, probes_beside
    from lentigo.data.columns import columns_of
    from lentigo.evidence.assessment import PREVALENCE, assess
    from lentigo.files import read_json, write_json
    from lentigo.learn.elsewhere import evaluate_elsewhere
    from lentigo.learn.evaluation import decisions_of, evaluate_run
    from lentigo.learn.shards import first_here_first, rank
    from lentigo.report.evidence_words import assessment_lines, left_out_line

    display = Display()
    with first_here_first():  # to decode the images
        prepared = data_of_run(run, data, positive, cache)
    if prepared.own:
        table, pack, split, folder = prepared.table, prepared.pack, prepared.split, run
        with display.bar("scoring", len(table)) as advance:
            predictions = evaluate_run(run, table, pack, split, device=device, on_progress=advance).predictions
        scored = split.indices(table, "test")
        of_scored = table.subset(scored), pack.subset(scored)
    else:
        found = evaluate_elsewhere(run, prepared.table, cache=cache, device=device, bar=display.bar)
        table, pack, split, folder = found.table, found.pack, None, found.folder
        predictions, of_scored = found.evaluation.predictions, (table, pack)
    if rank() != 0:  # its share is done
        return
    if not prepared.own:
        labels = [image.label for image in found.left_out]
        say(left_out_line(len(prepared.table), labels, found.unchecked, of_test=found.of_test))
    columns, _ = columns_of(*of_scored, cache=cache, bar=display.bar)
    result = assess(
        predictions.labels,
        predictions.logits,
        decisions=decisions_of(run),
        columns=columns,
        prevalence=PREVALENCE if prevalence is None else prevalence,
    )
    write_json(folder / "evidence.json", result.to_dict())
    for line in assessment_lines(result):
        say(line)
    with display.bar("probing for shortcuts", len(table)) as advance:
        probes = probes_beside(folder, table, pack, split, audit=run.parent.parent / "audit.json", progress=advance)
    for line in lines_beside(read_json(folder / "metrics.json"), probes):
        say(line)
    say(f"written to {folder}\n{NOTICE}")


def _evaluate_segmenter(
    run: Path,
    data: Path | None,
    positive: list[str] | None,
    prevalence: float | None,
    device: "torch.device",
    cache: Path | None,
) -> None:
    from lentigo.learn.run import run_about
    from lentigo.learn.segmenter_score import evaluate_segmenter
    from lentigo.learn.shards import first_here_first, rank
    from lentigo.report.evidence_words import left_out_line
    from lentigo.report.look_words import segmenter_lines

    if prevalence is not None:
        raise ConfigError(f"--prevalence is for scores of malignancy, and {run} is a segmenter's; leave it out")
    display = Display()
    with first_here_first():  # to decode the images
        prepared = data_of_run(run, data, positive, cache)
    # The same images elsewhere may have other masks.
    own = prepared.own and (data is None or data.resolve() == Path(run_about(run)["data"]["path"]))
    split = prepared.split if own else None
    found = evaluate_segmenter(run, prepared.table, prepared.pack, split, device=device, cache=cache, bar=display.bar)
    if rank() != 0:  # its share is done
        return
    if split is None:
        labels = [image.label for image in found.seen.left_out]
        say(left_out_line(len(prepared.table), labels, found.seen.unchecked, of_test=found.seen.of_test))
    for line in segmenter_lines(found.score.to_dict()):
        say(line)
    say(f"written to {found.folder}\n{NOTICE}")


@app.command(
    epilog="Examples:\n\nlentigo stress runs/alexnet\n\n"
    "lentigo stress runs/alexnet --count 300 --change jpeg --change hair"
)
def stress(
    run: RunArg,
    count: Annotated[int | None, typer.Option(min=2, help="Test images to take; default all.")] = None,
    change: Annotated[list[str] | None, typer.Option(help="A change to make; repeatable; default all.")] = None,
    seed: DrawSeedOpt = None,
    device: DeviceOpt = None,
    positive: PositiveOpt = None,
    cache: CacheOpt = None,
) -> None:
    """Score a run on its test images under blur, noise, hair, flash and more, each at five strengths."""
    from lentigo.learn.device import choose_device
    from lentigo.learn.stress import stress_run, stress_total
    from lentigo.report.evidence_words import stress_lines

    prepared = data_of_run(run, None, positive, cache)
    images = len(prepared.split.indices(prepared.table, "test"))
    total = stress_total(images if count is None else min(count, images), change)
    with Display().bar("changing and scoring", total) as advance:
        test = stress_run(
            run,
            prepared.table,
            prepared.pack,
            prepared.split,
            changes=change,
            count=count,
            seed=seed or 0,
            device=choose_device(device or "auto"),
            on_progress=advance,
        )
    for line in stress_lines(test.result, len(test.ids)):
        say(line)
    say(f"written to {test.file}\n{NOTICE}")


@app.command(
    epilog="Examples:\n\nlentigo report --predictions a.csv b.csv\n\n"
    "lentigo report --predictions runs/vgg11/predictions.csv --predictions mine=other.csv --data data/mine\n\n"
    "lentigo report a.csv b.csv --validation a-validation.csv --validation b-validation.csv --prevalence 0.002"
)
def report(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE...", help="More predictions.")] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            "--predictions",
            metavar="FILE",
            help="Scores of one classifier, CSV with image, label and logit or probability; NAME=FILE names it. "
            "Repeatable, or several files one after the other.",
        ),
    ] = None,
    validation: Annotated[
        list[Path] | None,
        typer.Option(
            help="Scores of the same classifiers on validation images, in the same order: thresholds and temperature "
            "are chosen there. Default: what stands in the run folder of the predictions."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data set with what is known of the images: lesion, source, age, sex ...")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write report.html and evidence.json to.")] = Path("evidence"),
    prevalence: PrevalenceOpt = None,
    seed: DrawSeedOpt = None,
    positive: PositiveOpt = None,
    cache: CacheOpt = None,
) -> None:
    """Intervals, tests, calibration, calls and subgroups of any classifiers' predictions on the same images."""
    named = _as_given([*(predictions or []), *map(str, files or [])])
    if not named:
        raise ConfigError("no predictions are given; name one file or more after --predictions")
    table = None if data is None else table_of(data, positive, one_class=True)
    from lentigo.report.predictions_page import PredictionsReport, write_predictions_report

    scores = [_scores_of(text, positive, table) for text in named]
    given = PredictionsReport(
        names=tuple(name for name, _, _ in scores),
        predictions=tuple(found for _, found, _ in scores),
        decisions=tuple(_decisions(scores, validation, positive)),
        table=table,
        command=command_line(),
        prevalence=prevalence,
        seed=seed or 0,
    )
    for line in write_predictions_report(out, given, cache=cache, bar=Display().bar):
        say(line)
    say(f"report: {out / 'report.html'}\n{NOTICE}")


def _as_given(files: list[str]) -> list[str]:
    """In the order of the command line, which options and arguments share; --validation counts on it."""
    words = [word.removeprefix("--predictions=") for word in sys.argv[1:]]
    return sorted(files, key=lambda file: words.index(file) if file in words else len(words))


def _scores_of(
    text: str, positive: list[str] | None, table: "ImageTable | None"
) -> "tuple[str, Predictions, Path]":  # fmt: skip
    """One classifier's name and scores; `NAME=FILE`, or the name of the file, or of the run folder that it lies in."""
    from lentigo.data.predictions import described_by, read_predictions

    name, equals, rest = text.partition("=")
    if not equals or Path(text).is_file():
        path = Path(text)
        name = path.resolve().parent.name if path.stem == "predictions" else path.stem
    else:
        path = Path(rest)
    found = read_predictions(path, positive=positive or ())
    return name, found if table is None else described_by(found, table), path


def _decisions(
    scores: "list[tuple[str, Predictions, Path]]", validation: list[Path] | None, positive: list[str] | None
) -> "list[Decisions]":
    from lentigo.data.predictions import read_predictions
    from lentigo.evidence.decisions import Decisions, decide, undecided
    from lentigo.files import read_json

    if validation and len(validation) != len(scores):
        raise ConfigError(
            f"--validation names {len(validation)} files for {len(scores)} predictions; give one for each, in the same "
            "order, or none"
        )
    found = []
    for place, (name, predictions, path) in enumerate(scores):
        own, beside = path.parent / "decisions.json", path.parent / "validation.csv"
        if validation:
            chosen_on = read_predictions(validation[place], positive=positive or ())
            if both := sorted(set(chosen_on.ids) & set(predictions.ids)):
                raise ConfigError(
                    f"{validation[place]} and {path} share {len(both)} images, first {both[0]}; thresholds are chosen "
                    "on other images than those that are scored"
                )
            found.append(decide(chosen_on.labels, chosen_on.logits))
        elif path.name == "predictions.csv" and own.is_file():
            found.append(Decisions.from_dict(read_json(own), file=str(own)))
        elif path.name == "predictions.csv" and beside.is_file():
            chosen_on = read_predictions(beside)
            found.append(decide(chosen_on.labels, chosen_on.logits))
        else:
            found.append(undecided(f"no validation scores of {name} are given; name them with --validation"))
    return found

"""The command that searches hyperparameters."""

import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lentigo.cli.options import (
    CacheOpt,
    DataArg,
    DeviceOpt,
    EpochsOpt,
    PositiveOpt,
    ProtocolOpt,
    SeedOpt,
    SetOpt,
    SplitOpt,
    command_line,
    experiment_of,
    split_of,
    table_of,
)
from lentigo.deploy import NOTICE
from lentigo.terminal import Display, say

if TYPE_CHECKING:
    from lentigo.config import Experiment
    from lentigo.data.split import Split
    from lentigo.data.table import ImageTable
    from lentigo.learn.run import TrainingData
    from lentigo.learn.tuning_result import TuningResult

app = typer.Typer()
StorageOpt = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Database of the study, for several machines, such as postgresql://USER@HOST/NAME; default: a SQLite "
        "file, OUT/study.db.",
    ),
]
StudyOpt = Annotated[
    str | None, typer.Option("--study", metavar="NAME", help="Name of the study in it; default: that of OUT.")
]


@app.command(
    epilog="Examples:\n\n"
    "lentigo tune data/kaggle-10k --model tiny_vgg --protocol paper --out tuned\n\n"
    "lentigo tune data/mine --config configs/paper/alexnet.toml --trials 30 --minutes 600 --out tuned\n\n"
    "lentigo tune data/mine --storage postgresql://me@server/studies --out tuned --resume   [dim]on a second "
    "machine[/dim]\n\nlentigo train data/mine --config tuned/best.toml --split tuned/split.csv --out runs/tuned"
)
def tune(
    data: DataArg,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    model: Annotated[str | None, typer.Option(help="Registered model, see `lentigo models`; default tiny_vgg.")] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment file (TOML) that the search starts from.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of the study in all, of whatever process.")] = 50,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Begin no trial after so long; the one that runs is finished.")
    ] = None,
    epochs: EpochsOpt = None,
    protocol: ProtocolOpt = None,
    split: SplitOpt = None,
    seed: SeedOpt = None,
    device: DeviceOpt = None,
    changes: SetOpt = None,
    storage: StorageOpt = None,
    study: StudyOpt = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study that is there, or help another process with it.")
    ] = False,
    positive: PositiveOpt = None,
    cache: CacheOpt = None,
) -> None:
    """Search size, learning rate and augmentation by the AUC on the validation images; test images are not touched.

    The first trial is the experiment as given. Unpromising trials are stopped early. Every trial keeps its experiment
    and history in OUT/trials; weights are kept of the best alone. Ends with tuning.html and best.toml.
    """
    table = table_of(data, positive)
    experiment = experiment_of(
        table, config, changes, protocol=protocol, seed=seed, model={"name": model},
        train={"epochs": epochs, "device": device},
    )  # fmt: skip
    from lentigo.learn.tuning import Search
    from lentigo.learn.tuning import tune as search_for

    chosen, images = _images(table, experiment, split, cache)
    result = search_for(
        Search(
            out=out, experiment=experiment, data=images, trials=trials, minutes=minutes, storage=storage, study=study,
            resume=resume,
        ),
        say=say,
        bar=Display().bar,
        on_begin=lambda: chosen.write(out / "split.csv"),
        on_end=partial(_write_page, out / "tuning.html", _command(storage)),
    )  # fmt: skip
    if result.best is None:
        say("no trial was trained to the end")
    else:
        say(f"best: trial {result.best.number}, validation AUC {result.best.auc:.3f}: {out / 'best.toml'}")
    say(f"page: {out / 'tuning.html'}\n{NOTICE}")


def _images(
    table: "ImageTable", experiment: "Experiment", split: Path | None, cache: Path | None
) -> "tuple[Split, TrainingData]":
    """The split, and the images that the search may see: those to train on and to validate with."""
    from lentigo.learn.tuning import tuning_data

    chosen = split_of(table, experiment, split, cache)
    used = sum(part in ("train", "validation") for part in chosen.part.values())
    with Display().bar("decoding images", used) as advance:
        return chosen, tuning_data(table, chosen, image_px=experiment.data.image_px, cache=cache, progress=advance)


def _write_page(path: Path, command: str, found: "TuningResult") -> None:
    from lentigo.report.tuning_page import write_tuning_page

    write_tuning_page(path, found, created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), command=command)


def _command(storage: str | None) -> str:
    """As `options.command_line`, without what is secret in the storage's URL."""
    if storage is None:
        return command_line()
    from lentigo.learn.tuning_study import masked

    return command_line([word.replace(storage, masked(storage)) for word in sys.argv[1:]])

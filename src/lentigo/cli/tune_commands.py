"""The command that searches hyperparameters."""

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from lentigo.cli.options import (
    NOTICE,
    CacheOpt,
    DataArg,
    DeviceOpt,
    EpochsOpt,
    PositiveOpt,
    ProtocolOpt,
    SeedOpt,
    SetOpt,
    SplitOpt,
    _without_folders,
    default_protocol,
    table_of,
)
from lentigo.terminal import Display, say

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
    from lentigo.cli import _changed, _sets_protocol
    from lentigo.config import Experiment, read_experiment
    from lentigo.data.copies import split_apart
    from lentigo.data.split import read_split
    from lentigo.learn.tuning import Search, tuning_data
    from lentigo.learn.tuning import tune as search_for
    from lentigo.report.tuning_page import write_tuning_page

    experiment = read_experiment(config) if config else Experiment()
    if protocol is None and not _sets_protocol(experiment):
        protocol = default_protocol(table)
    experiment = _changed(
        experiment, changes, seed=seed, model={"name": model}, split={"protocol": protocol, "seed": seed},
        train={"epochs": epochs, "device": device},
    )  # fmt: skip
    display = Display()
    chosen = read_split(split, table) if split else split_apart(table, experiment.split, cache=cache, bar=display.bar)
    used = sum(part in ("train", "validation") for part in chosen.part.values())
    with display.bar("decoding images", used) as advance:
        prepared = tuning_data(table, chosen, image_px=experiment.data.image_px, cache=cache, progress=advance)
    command = _command(storage)
    result = search_for(
        Search(
            out=out, experiment=experiment, data=prepared, trials=trials, minutes=minutes, storage=storage,
            study=study, resume=resume,
        ),
        say=say,
        bar=display.bar,
        on_begin=lambda: chosen.write(out / "split.csv"),
        on_end=lambda found: write_tuning_page(
            out / "tuning.html", found, created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), command=command
        ),
    )  # fmt: skip
    if result.best is None:
        say("no trial was trained to the end")
    else:
        say(f"best: trial {result.best.number}, validation AUC {result.best.auc:.3f}: {out / 'best.toml'}")
    say(f"page: {out / 'tuning.html'}\n{NOTICE}")


def _command(storage: str | None) -> str:
    """As `options.command_line`, without what is secret in the storage's URL."""
    words = sys.argv[1:]
    if storage is not None:
        from lentigo.learn.tuning_study import masked

        words = [word.replace(storage, masked(storage)) for word in words]
    return shlex.join(["lentigo", *map(_without_folders, words)])

"""What several commands share: their options, and how they read what these name."""

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lentigo.errors import ConfigError
from lentigo.learn import processes
from lentigo.terminal import Display, console, say

if TYPE_CHECKING:
    from lentigo.config import Experiment
    from lentigo.data.pack import ImagePack
    from lentigo.data.split import Split
    from lentigo.data.table import ImageTable


def _protocol(protocol: str | None) -> str | None:
    """Refused before any image is read or torch is imported."""
    if protocol is None:
        return None
    from lentigo.config import ALLOWED_PROTOCOLS, is_protocol

    if not is_protocol(protocol):
        raise ConfigError(f"--protocol {protocol}: give {ALLOWED_PROTOCOLS}")
    return protocol


def _prevalence(prevalence: float | None) -> float | None:
    """Refused before anything is trained."""
    if prevalence is not None and not 0 < prevalence < 1:
        raise ConfigError(
            f"--prevalence {prevalence:g}: give a share above 0 and below 1, such as 0.01 for one malignant mole in 100"
        )
    return prevalence


DATA_HELP = "Folder with benign/ and malignant/ (also under train/ and test/) or with metadata.csv, or a CSV file."
DataArg = Annotated[Path, typer.Argument(help=DATA_HELP)]
RunArg = Annotated[Path, typer.Argument(help="Run folder that `lentigo train` or `lentigo compare` wrote.")]
OtherDataOpt = Annotated[Path | None, typer.Option("--data", help="Images to use; default: the run's own.")]
PositiveOpt = Annotated[
    list[str] | None, typer.Option("--positive", help="A label that means malignant, all others benign; repeatable.")
]
_PROTOCOL_HELP = (
    "How images are dealt out: folders, stratified, grouped, paper, paper-grouped, hold-out-source=NAME or "
    "within-source=NAME; default: the data's own folders, or "
)
AuditProtocolOpt = Annotated[
    str | None, typer.Option("--protocol", callback=_protocol, metavar="PROTOCOL", help=_PROTOCOL_HELP + "no split.")
]
ProtocolOpt = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        callback=_protocol,
        metavar="PROTOCOL",
        help=_PROTOCOL_HELP + "stratified where there are none.",
    ),
]
SplitOpt = Annotated[Path | None, typer.Option(help="A split.csv to use as it is.")]
SeedOpt = Annotated[
    int | None, typer.Option(min=0, help="Seed of split, first weights, order and augmentation; default 0.")
]
DrawSeedOpt = Annotated[int | None, typer.Option(min=0, help="Seed of what is drawn at random; default 0.")]
CacheOpt = Annotated[
    Path | None, typer.Option(help="Folder of decoded images; default $LENTIGO_CACHE or ~/.cache/lentigo.")
]
EpochsOpt = Annotated[int | None, typer.Option(min=1, help="Passes over the training images; default 10.")]
DeviceOpt = Annotated[
    Literal["auto", "cpu", "cuda", "mps"] | None, typer.Option(help="Where to compute; default auto.")
]
DevicesOpt = Annotated[
    int | None, typer.Option("--devices", min=1, help="Processes, or GPUs, that share the images; default 1.")
]
WeightsOpt = Annotated[Literal["none", "imagenet"] | None, typer.Option(help="Published weights to start from.")]
SeedsOpt = Annotated[
    int, typer.Option(min=1, help="Trainings of every network, with seeds one after the other; default 1.")
]
ExternalOpt = Annotated[
    list[str] | None,
    typer.Option("--external", metavar="NAME=PATH", help="Other data to score the networks on, unchanged; repeatable."),
]
StressOpt = Annotated[
    bool, typer.Option("--stress", help="Score the test images under blur, hair, flash and more too.")
]
LimitOpt = Annotated[
    list[str] | None,
    typer.Option("--limit", metavar="MODEL=MINUTES", help="Stop a model's training after so long; repeatable."),
]
PrevalenceOpt = Annotated[
    float | None,
    typer.Option(
        callback=_prevalence,
        help="Share of malignant moles among those who would be screened, in (0, 1); default 0.01.",
    ),
]
SegmenterOpt = Annotated[
    Path | None,
    typer.Option(
        "--segmenter",
        metavar="RUN",
        help="Run of a lesion_unet that finds lesions that have no mask; default image processing.",
    ),
]
SetOpt = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Change one key of the experiment; repeatable."),
]


def in_processes(devices: int | None, advice: Callable[[], str], *, group: bool = False) -> None:
    """Where a command is to be several processes and is none of them yet: start them, and end with them.

    Args:
        advice: a sentence for the case that one dies, asked then.
        group: also for one process.
    """
    count = devices or 1
    if processes.launched():
        here = processes.place().local_processes
        if devices not in (None, here):
            raise ConfigError(f"--devices is {devices}, but a launcher has started {here} processes here; leave it out")
        return
    if count > 1 or group:
        outcome = processes.run_together(sys.argv[1:], count, advice=advice)
        if outcome.code:
            console(stderr=True).print(f"lentigo: {outcome.text}")
        raise typer.Exit(outcome.code)


def again() -> str:
    """What to do where a process of a command died that keeps no state."""
    return "Give the same command again"


def table_of(data: Path, positive: list[str] | None, *, one_class: bool = False, quiet: bool = False) -> "ImageTable":
    """The table of a data set, and a word on what was ignored, unless `quiet`."""
    from lentigo.data.table import read_table

    table = read_table(data, positive=positive or (), one_class=one_class)
    if one_class and positive and not table.labels.any():
        say(f"{table.name} has no label {' and no label '.join(positive)}: all its images are benign", stderr=True)
    if table.ignored and not quiet:
        say(f"ignored {len(table.ignored)} files that are no images, first {table.ignored[0]}", stderr=True)
    return table


@dataclass(frozen=True, kw_only=True)
class RunData:
    """The images that a command on a run works on."""

    table: "ImageTable"
    pack: "ImagePack"
    split: "Split"  # of no image where they are not the run's own
    own: bool


def data_of_run(run: Path, data: Path | None, positive: list[str] | None, cache: Path | None) -> RunData:
    """The run's own images, or those of `data`, which may be the run's own too."""
    from lentigo.data.pack import pack_images
    from lentigo.data.split import Split
    from lentigo.learn.run import labels_sha256, run_about
    from lentigo.learn.training import read_run

    about = run_about(run)["data"]
    given = positive or (None if data else about.get("positive"))
    table = table_of(data or Path(about["path"]), given, one_class=data is not None)
    with Display().bar("decoding images", len(table)) as advance:
        pack = pack_images(table, image_px=about["image_px"], cache=cache, progress=advance)
    same = pack.key == about["pack_key"]
    if data is None and not same:
        raise ConfigError(f"{table.root} has changed since {run} was trained on it; restore it, or give --data")
    labels = labels_sha256(table)
    if same and about.get("labels_sha256", labels) != labels:
        if data is None or set(_ids_in(run / "split.csv")) == set(table.ids):
            raise ConfigError(
                f"{table.root} now gives other labels than {run} was trained with; check them and --positive"
            )
        same = False  # the same pictures under other names: copies of training images will be found among them
    split = read_run(run, table)[1] if same else Split({})
    return RunData(table=table, pack=pack, split=split, own=same)


def _ids_in(split_file: Path) -> list[str]:
    from lentigo.files import read_csv

    return [row.get("image", "") for row in read_csv(split_file)]


def default_protocol(table: "ImageTable") -> str:
    """The data's own folders where it has both train and test."""
    given = set(table.column("split"))
    return "folders" if {"train", "test"} <= given and "" not in given else "stratified"


def sets_protocol(experiment: "Experiment") -> bool:
    """Whether the experiment file itself says how to split, so that the data's own folders do not decide."""
    return "split" in experiment.model_fields_set and "protocol" in experiment.split.model_fields_set


def changed(experiment: "Experiment", changes: list[str] | None, **tables: Any) -> "Experiment":
    """The experiment with the command's options, then with each --set TABLE.KEY=VALUE."""
    experiment = experiment.changed(**tables)
    for change in changes or ():
        experiment = experiment.with_setting(change)
    return experiment


def experiment_of(
    table: "ImageTable",
    config: Path | None,
    changes: list[str] | None,
    *,
    protocol: str | None,
    seed: int | None,
    **tables: Any,
) -> "Experiment":
    """The experiment file, or the paper's recipe, with a command's options and its --set."""
    from lentigo.config import Experiment, read_experiment

    experiment = read_experiment(config) if config else Experiment()
    if protocol is None and not sets_protocol(experiment):
        protocol = default_protocol(table)
    return changed(experiment, changes, seed=seed, split={"protocol": protocol, "seed": seed}, **tables)


def split_of(table: "ImageTable", experiment: "Experiment", given: Path | None, cache: Path | None) -> "Split":
    """The split that was handed in, else the one that the experiment makes."""
    from lentigo.data.copies import split_apart
    from lentigo.data.split import read_split

    if given is not None:
        return read_split(given, table)
    return split_apart(table, experiment.split, cache=cache, bar=Display().bar)


def command_line(words: Sequence[str] | None = None) -> str:
    """The command as it was given, or these words; of an absolute path only the end, since reports are handed on."""
    return shlex.join(["lentigo", *map(_without_folders, sys.argv[1:] if words is None else words)])


def _without_folders(word: str) -> str:
    """An absolute path as its last part, also behind an equals sign, as in NAME=PATH or --out=PATH."""
    before, equals, path = word.rpartition("=")
    return f"{before}{equals}{Path(path).name}" if Path(path).is_absolute() else word

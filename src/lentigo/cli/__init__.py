"""The command line: one command a stage. The only part that prints, exits or reads arguments; it imports late."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from lentigo import __version__
from lentigo.cli import data_commands, evidence_commands, explain_commands, tune_commands, use_commands
from lentigo.cli.ending import without_teardown
from lentigo.cli.options import (
    DATA_HELP,
    CacheOpt,
    DataArg,
    DeviceOpt,
    EpochsOpt,
    ExternalOpt,
    LimitOpt,
    PositiveOpt,
    PrevalenceOpt,
    ProtocolOpt,
    SeedOpt,
    SeedsOpt,
    SegmenterOpt,
    SetOpt,
    SplitOpt,
    StressOpt,
    WeightsOpt,
    changed,
    command_line,
    default_protocol,
    experiment_of,
    in_processes,
    sets_protocol,
    split_of,
    table_of,
)
from lentigo.deploy import NOTICE
from lentigo.errors import ConfigError, DataError, LentigoError, RunError, StoppedError
from lentigo.learn import processes
from lentigo.terminal import Display, console, say, say_error

if TYPE_CHECKING:
    from lentigo.config import Experiment
    from lentigo.data.pack import ImagePack
    from lentigo.data.split import Split
    from lentigo.data.table import ImageTable
    from lentigo.learn.training import TrainingData

_TRAIN_EXTRA = {
    "torch", "torchvision", "lightning_fabric", "sklearn", "scipy", "safetensors", "matplotlib", "jinja2", "markupsafe",
    "cv2", "threadpoolctl",
}  # fmt: skip
_TUNE_EXTRA = {"optuna", "sqlalchemy", "alembic"}
_WEB_EXTRA = {"fastapi", "uvicorn", "starlette", "python_multipart"}


def _version(on: bool | None) -> None:
    if on:
        say(f"lentigo {__version__}")
        raise typer.Exit


class _Commands(TyperGroup):
    """Ctrl-C anywhere in a command becomes an error of ours, before typer drops it without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise StoppedError("stopped; what was finished is kept") from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=f"CNN classifiers of skin-lesion images that one can believe. {NOTICE}",
    epilog="Begin with [bold]lentigo compare[/bold]: drawn lesions, no download, a report in minutes.",
)


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; may stand anywhere.")] = False,
    version: Annotated[
        bool | None, typer.Option("--version", help="Show the version.", is_eager=True, callback=_version)
    ] = None,
) -> None:
    """Options of every command."""


@app.command(
    epilog="Examples:\n\n"
    "lentigo compare   [dim]drawn lesions, three small networks, minutes[/dim]\n\n"
    "lentigo compare data/kaggle-10k --protocol paper\n\n"
    "lentigo compare data/mine --models vgg11,resnet18 --weights imagenet --epochs 5\n\n"
    "lentigo compare data/kaggle-10k --protocol paper --models tiny_vgg,vgg11 --limit vgg11=20"
)
def compare(
    data: Annotated[Path | None, typer.Argument(help=DATA_HELP + " Left out: drawn lesions.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write; what is there already is reused.")] = Path("comparison"),
    models: Annotated[str | None, typer.Option(help="Models, with commas; default tiny_vgg,vgg11,alexnet.")] = None,
    config: Annotated[list[Path] | None, typer.Option(help="Experiment file of one model; repeatable.")] = None,
    protocol: ProtocolOpt = None,
    split: SplitOpt = None,
    seed: SeedOpt = None,
    epochs: EpochsOpt = None,
    limit: LimitOpt = None,
    weights: WeightsOpt = None,
    device: DeviceOpt = None,
    changes: SetOpt = None,
    seeds: SeedsOpt = 1,
    external: ExternalOpt = None,
    prevalence: PrevalenceOpt = None,
    stress: StressOpt = False,
    segmenter: SegmenterOpt = None,
    positive: PositiveOpt = None,
    cache: CacheOpt = None,
) -> None:
    """Train, score and explain several networks on the same images; ends with report.html."""
    display = Display()
    table = None if data is None else table_of(data, positive)  # before torch is imported: a wrong path is told at once
    externals = tuple(_external(text, positive) for text in external or ())
    from lentigo import compare as job

    experiments = _experiments(models, config, drawn=table is None)
    if table is None:
        table = job.draw_data(out, seed=seed or 0, display=display)
    elif protocol is None and not (config and any(sets_protocol(experiment) for experiment in experiments)):
        protocol = default_protocol(table)
    limits = _limits(limit, [experiment.model.name for experiment in experiments])
    experiments = [
        changed(
            experiment,
            changes,
            seed=seed,
            split={"protocol": protocol, "seed": seed},
            model={"weights": weights},
            train={"epochs": epochs, "device": device, "limit_s": limits.get(experiment.model.name)},
        )
        for experiment in experiments
    ]
    report = job.compare(
        job.Comparison(
            table=table, experiments=tuple(experiments), out=out, command=command_line(), drawn=data is None,
            cache=cache, split_file=split, seeds=seeds, externals=externals, stress=stress,
            prevalence=job.PREVALENCE if prevalence is None else prevalence,
            segmenter=None if segmenter is None else _segmenter(segmenter),
        ),
        display=display,
    )  # fmt: skip
    say(f"report: {report}\n{NOTICE}")


@app.command(
    epilog="Examples:\n\n"
    "lentigo train data/kaggle-10k --model alexnet --protocol paper --out runs/alexnet\n\n"
    "lentigo train data/kaggle-10k --config configs/paper/tiny_vgg.toml --out runs/tiny --limit-minutes 20\n\n"
    "lentigo train data/kaggle-10k --out runs/alexnet --resume"
)
def train(
    data: DataArg,
    out: Annotated[Path, typer.Option(help="Run folder to write.")],
    model: Annotated[str | None, typer.Option(help="Registered model, see `lentigo models`; default tiny_vgg.")] = None,
    config: Annotated[Path | None, typer.Option(help="Experiment file (TOML).")] = None,
    protocol: ProtocolOpt = None,
    split: SplitOpt = None,
    seed: SeedOpt = None,
    epochs: EpochsOpt = None,
    limit_minutes: Annotated[float | None, typer.Option(min=0, help="Stop training after so long.")] = None,
    devices: Annotated[int | None, typer.Option(min=1, help="Processes that share every batch; default 1.")] = None,
    strategy: Annotated[
        Literal["auto", "ddp"] | None, typer.Option(help="How processes share a batch; default auto: several by ddp.")
    ] = None,
    weights: WeightsOpt = None,
    device: DeviceOpt = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic", help="Equal bits twice on one machine, a GPU too; may be slower.")
    ] = None,
    changes: SetOpt = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the run's last saved state, as it was begun.")
    ] = False,
    positive: PositiveOpt = None,
    cache: CacheOpt = None,
) -> None:
    """Train one network; Ctrl-C saves its state, --resume goes on to the same weights."""
    table = table_of(data, positive, quiet=processes.watched())  # the watcher has said it
    if resume:
        others = (model, config, protocol, split, seed, epochs, limit_minutes, weights, device, devices, strategy)
        experiment, split = _as_begun(out, (*others, deterministic, changes))
    else:
        experiment = experiment_of(
            table, config, changes, protocol=protocol, seed=seed, model={"name": model, "weights": weights},
            train={
                "epochs": epochs, "limit_s": _seconds(limit_minutes), "device": device, "devices": devices,
                "strategy": strategy, "deterministic": deterministic,
            },
        )  # fmt: skip
    if experiment.train.together and not processes.launched():
        processes.check_processes(experiment.train.devices, experiment.train.batch_size)
        _packed(table, experiment, split=split, cache=cache)  # here alone, once; the processes find it
        in_processes(experiment.train.devices, lambda: _go_on(out), group=True)
    in_processes(devices, lambda: _go_on(out))
    prepared = _prepare(table, experiment, split=split, cache=cache)
    from lentigo.learn.training import train as train_run

    try:
        with Display().training(experiment.model.name) as on_progress:
            path = train_run(out, experiment, prepared, resume=resume, on_progress=on_progress)
    except StoppedError as error:
        error.again = _go_on_command(data, out, cache)
        raise
    say("\n".join([*_cut_short(out), f"trained: {path}"]))


def _go_on_command(data: Path, out: Path, cache: Path | None) -> str:
    words = ["lentigo", "train", str(data), "--out", str(out), "--resume"]
    return f"`{shlex.join(words if cache is None else [*words, '--cache', str(cache)])}`"


def _cut_short(run: Path) -> list[str]:
    """What to say of a training that its time limit ended."""
    from lentigo.learn.run import run_about

    about = run_about(run)
    done, asked = about.get("epochs"), about.get("epochs_asked")
    if done is None or asked is None or done >= asked:
        return []
    return [
        f"the time limit ended the training after {done} of {asked} epochs ({about.get('steps')} steps); it is as "
        "trained as that, and is not gone on with: train again in a new folder with more time"
    ]


@app.command(epilog="Examples:\n\nlentigo models")
def models() -> None:
    """List the registered networks with their options."""
    from rich.table import Table

    from lentigo.models.registry import MODELS, SEGMENTERS

    table = Table("model", "network", "input", "published weights", "options", box=None, pad_edge=False)
    for name, entry in (MODELS | SEGMENTERS).items():
        options = ", ".join(f"{key} {o.default:g} ({o.low:g} to {o.high:g})" for key, o in entry.options.items())
        size = f"{entry.preprocessing.output_px} px"
        table.add_row(name, entry.title, size, "yes" if entry.published_weights else "no", options or "none")
    console().print(table)


# In --help: data come before networks, and what a network's score is worth after its training.
app.registered_commands[1:1] = data_commands.app.registered_commands
place = [command.callback for command in app.registered_commands].index(models)
app.registered_commands[place:place] = [
    *tune_commands.app.registered_commands,
    *evidence_commands.app.registered_commands,
    *explain_commands.app.registered_commands,
]
app.registered_commands += use_commands.app.registered_commands


def program() -> None:
    """The command line as a process of its own, which ends with it."""
    with without_teardown():
        main()


def main() -> None:
    """Run the command line; an error that a user can cause is one message and exit code 2."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    processes.obey_watcher()
    try:
        _refuse_several(arguments)
        app([argument for argument in arguments if argument != "--debug"], prog_name="lentigo")
    except StoppedError as error:
        say_error(f"{error}; to go on, give {error.again}", 130)
        sys.exit(130)
    except ModuleNotFoundError as error:
        extra = "tune" if error.name in _TUNE_EXTRA else "web" if error.name in _WEB_EXTRA else "train"
        if debug or error.name not in _TRAIN_EXTRA | _TUNE_EXTRA | _WEB_EXTRA:
            raise
        say_error(f"this command needs {error.name}; install it with: pip install 'lentigo[{extra}]'", 2)
        sys.exit(2)
    except (LentigoError, OSError) as error:
        if debug:
            raise
        say_error(str(error), 2, lost=isinstance(error, processes.LostProcessError))
        sys.exit(2)


def _prepare(
    table: "ImageTable", experiment: "Experiment", *, split: Path | None, cache: Path | None
) -> "TrainingData":
    pack, chosen = _packed(table, experiment, split=split, cache=cache)
    from lentigo.learn.training import TrainingData

    return TrainingData(table=table, pack=pack, split=chosen)


def _packed(
    table: "ImageTable", experiment: "Experiment", *, split: Path | None, cache: Path | None
) -> "tuple[ImagePack, Split]":
    """What is made of images before torch is needed."""
    from lentigo.data.pack import pack_images

    chosen = split_of(table, experiment, split, cache)
    with Display().bar("decoding images", len(table)) as advance:
        pack = pack_images(table, image_px=experiment.data.image_px, cache=cache, progress=advance)
    return pack, chosen


def _as_begun(run: Path, others: tuple[object, ...]) -> "tuple[Experiment, Path]":
    """The experiment and the split file of a training that is to go on; `others` are options that would change it."""
    from lentigo.config import read_experiment

    if any(option is not None for option in others):
        raise ConfigError(f"--resume goes on as {run} was begun; leave out every option but --out and --cache")
    if not (run / "experiment.toml").is_file():
        raise RunError(f"{run} holds no training to go on with; check --out, or leave out --resume")
    return read_experiment(run / "experiment.toml"), run / "split.csv"


def _go_on(run: Path) -> str:
    """What to do after the death of a process."""
    if (run / "resume.safetensors").is_file():
        return f"The state saved last is in {run}; go on with `lentigo train DATA --out {run} --resume`"
    return f"{run} holds no saved state yet; `lentigo train DATA --out {run} --resume` begins again"


def _refuse_several(arguments: list[str]) -> None:
    """Raises: ConfigError: a launcher started several processes of a command that knows nothing of the others."""
    command = next((word for word in arguments if not word.startswith("-")), "")
    if processes.place().processes > 1 and command not in ("train", "evaluate", "explain"):
        raise ConfigError(f"lentigo {command} works in one process; start it without torchrun")


def _experiments(models: str | None, config: list[Path] | None, *, drawn: bool) -> "list[Experiment]":
    """One experiment for each network that is to be compared, as its file or its name has it."""
    from lentigo.compare import PAPER_MODELS, demo_experiment
    from lentigo.config import Experiment, read_experiment

    if config and models is not None:
        raise ConfigError("--config and --models both say which networks; give one of them")
    if config:
        return [read_experiment(path) for path in config]
    names = list(PAPER_MODELS) if models is None else [name.strip() for name in models.split(",")]
    return [demo_experiment(name) if drawn else Experiment().changed(model={"name": name}) for name in names]


def _external(text: str, positive: list[str] | None) -> "tuple[str, ImageTable]":
    name, equals, path = text.partition("=")
    if not (equals and name.strip() and path):
        raise ConfigError(f"--external {text}: give NAME=PATH, for instance clinic=data/clinic")
    try:  # its labels need not be called as those of the comparison's own data
        return name.strip(), table_of(Path(path), None, one_class=True)
    except DataError:
        if not positive:
            raise
        return name.strip(), table_of(Path(path), positive, one_class=True)


def _segmenter(run: Path) -> Any:
    from lentigo.learn.segmentation import open_segmenter

    return open_segmenter(run)


def _limits(limit: list[str] | None, names: list[str]) -> dict[str, float]:
    limits = {}
    for text in limit or ():
        name, _, minutes = text.partition("=")
        try:
            limits[name] = float(minutes) * 60
        except ValueError:
            limits[name] = -1.0
        if limits[name] <= 0 or name not in names:
            raise ConfigError(
                f"--limit {text}: give MODEL=MINUTES with a model of {', '.join(names)} and minutes above 0"
            )
    return limits


def _seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * 60

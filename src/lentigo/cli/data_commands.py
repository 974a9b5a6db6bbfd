"""The commands that work on data alone: audit, split, fetch, draw. No torch is needed for them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from lentigo import __version__
from lentigo.cli.options import (
    AuditProtocolOpt,
    CacheOpt,
    DataArg,
    DrawSeedOpt,
    PositiveOpt,
    ProtocolOpt,
    SeedOpt,
    SplitOpt,
    command_line,
    default_protocol,
    table_of,
)
from lentigo.deploy import NOTICE
from lentigo.errors import ConfigError
from lentigo.terminal import Display, say, say_verdict

app = typer.Typer()


@app.command(
    epilog="Examples:\n\nlentigo audit data/kaggle-10k\n\n"
    "lentigo audit data/kaggle-10k --protocol paper --out audit-paper --strict\n\n"
    "lentigo audit data/isic2017 --against data/kaggle-10k"
)
def audit(
    data: DataArg,
    out: Annotated[Path, typer.Option(help="Folder to write audit.json and audit.html to.")] = Path("audit"),
    against: Annotated[
        Path | None, typer.Option(help="Other data, whose copies among these images are looked for.")
    ] = None,
    protocol: AuditProtocolOpt = None,
    split: SplitOpt = None,
    seed: SeedOpt = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when something serious was found.")] = False,
    positive: PositiveOpt = None,
    cache: CacheOpt = None,
) -> None:
    """Say what would make a score on a data set worthless: broken files, copies, leaks, two labels, shortcuts."""
    if split is not None and protocol is not None:
        raise ConfigError("--split and --protocol both say how images are dealt out; give one of them")
    table = table_of(data, positive)
    other = None if against is None else table_of(against, positive)
    from lentigo.config import Experiment
    from lentigo.data.audit import audit_data, write_audit
    from lentigo.data.copies import split_apart
    from lentigo.data.split import read_split
    from lentigo.data.verdict import verdict_on
    from lentigo.report.audit_page import write_audit_page

    display = Display()
    if split is None and protocol is None and default_protocol(table) == "folders":
        protocol = "folders"
    chosen, name = None, ""
    if split is not None:
        chosen, name = read_split(split, table), f"given as {split.name}"
    elif protocol is not None:
        config = Experiment().changed(split={"protocol": protocol, "seed": seed}).split
        chosen, name = split_apart(table, config, cache=cache, bar=display.bar), protocol
    found = audit_data(
        table, split=chosen, split_name=name, against=other, cache=cache, seed=seed or 0, bar=display.bar
    )
    verdict = verdict_on(found)
    write_audit(out / "audit.json", found, verdict.to_dict())
    write_audit_page(
        out / "audit.html",
        found,
        verdict,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command_line(),
        versions=versions(),
    )
    say_verdict(verdict.to_dict())
    say(f"audit: {out / 'audit.html'}\n{NOTICE}")
    if strict and verdict.level == "serious":
        raise typer.Exit(1)


@app.command(
    epilog="Examples:\n\nlentigo split data/kaggle-10k --protocol paper\n\n"
    "lentigo split data/mine --protocol grouped --seed 3 --out split.csv\n\n"
    "lentigo split mine.csv --protocol within-source=isic2020"
)
def split(
    data: DataArg,
    out: Annotated[Path, typer.Option(help="File to write.")] = Path("split.csv"),
    protocol: ProtocolOpt = None,
    seed: SeedOpt = None,
    test_fraction: Annotated[float | None, typer.Option(help="Of the images used; default 0.2.")] = None,
    validation_fraction: Annotated[float | None, typer.Option(help="Of the other images; default 0.1.")] = None,
    positive: PositiveOpt = None,
    cache: CacheOpt = None,
) -> None:
    """Deal the images to train, validation and test; writes split.csv, which may be edited and handed to --split."""
    from lentigo.config import Experiment
    from lentigo.data.split import make_split, uses_twins

    table = table_of(data, positive)
    fractions = {"test_fraction": test_fraction, "validation_fraction": validation_fraction}
    config = (
        Experiment().changed(split={"protocol": protocol or default_protocol(table), "seed": seed, **fractions}).split
    )
    if uses_twins(config.protocol):  # else the base installation is enough, without OpenCV
        from lentigo.data.copies import split_apart

        made = split_apart(table, config, cache=cache, bar=Display().bar)
    else:
        made = make_split(table, config)
    made.write(out)
    for part, counts in made.counts(table).items():
        if any(counts.values()):
            say(f"{part:<12}{counts['benign']:>7} benign {counts['malignant']:>7} malignant")
    say(f"protocol {config.protocol}, seed {config.seed}: {out}")


@app.command(epilog="Examples:\n\nlentigo fetch kaggle-10k --to data")
def fetch(
    name: Annotated[str, typer.Argument(help="Data set; kaggle-10k is the paper's.")],
    to: Annotated[Path, typer.Option(help="Folder in which the data set's own folder is made.")] = Path("data"),
) -> None:
    """Download a public data set."""
    from lentigo.data.fetch import fetch as fetch_data

    say(f"fetched: {fetch_data(name, to)}")


@app.command(
    epilog="Examples:\n\nlentigo draw drawn --count 512\n\n"
    "lentigo draw tied --count 512 --shortcut 0.8 --shortcut-kind frame"
)
def draw(
    to: Annotated[Path, typer.Argument(help="Folder to write.")],
    count: Annotated[int, typer.Option(min=8, help="Images, half of them malignant.")] = 512,
    size_px: Annotated[int, typer.Option(min=32, help="Height and width.")] = 300,
    seed: DrawSeedOpt = None,
    shortcut: Annotated[float, typer.Option(min=0, max=1, help="How strongly a nuisance is tied to the label.")] = 0.0,
    shortcut_kind: Annotated[Literal["frame", "skin"], typer.Option(help="Which nuisance.")] = "frame",
) -> None:
    """Draw dermoscopy-like lesions with masks, on which the truth is known."""
    from lentigo.data.synthetic import write_dataset

    with Display().bar("drawing lesions", count) as advance:
        folder = write_dataset(
            to,
            count=count,
            seed=seed or 0,
            size_px=size_px,
            shortcut=shortcut,
            shortcut_kind=shortcut_kind,
            progress=advance,
        )
    say(f"drawn: {folder}")


def versions() -> dict[str, str]:
    """Of what an audit's numbers depend on."""
    import platform
    from importlib.metadata import version

    names = {"numpy": "numpy", "opencv": "opencv-python-headless", "scikit-learn": "scikit-learn", "scipy": "scipy"}
    return {"lentigo": __version__, "python": platform.python_version()} | {
        name: version(package) for name, package in names.items()
    }

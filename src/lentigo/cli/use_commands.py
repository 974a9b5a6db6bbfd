"""The commands that put a trained network to use: export, predict, serve."""

import contextlib
import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lentigo.cli.options import CacheOpt, RunArg, data_of_run
from lentigo.deploy import NOTICE
from lentigo.errors import ConfigError, ModelError
from lentigo.terminal import Display, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lentigo.deploy.files import Screened
    from lentigo.deploy.screen import Screening

app = typer.Typer()
ModelArg = Annotated[Path, typer.Argument(metavar="MODEL", help="A model.onnx of `lentigo export`, or its folder.")]
DEMO_MODEL = Path("demo") / "model"


@app.command(
    epilog="Examples:\n\nlentigo export runs/tiny_vgg\n\n"
    "lentigo export runs/alexnet --out models/alexnet --quantize int8\n\n"
    "lentigo export runs/tiny_vgg --web public   [dim]a page for any static host[/dim]"
)
def export(
    run: RunArg,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default RUN/exported.")] = None,
    quantize: Annotated[
        Literal["int8"] | None, typer.Option(help="Keep weights in 8 bits; a fourth of the size.")
    ] = None,
    fp16: Annotated[bool, typer.Option("--fp16", help="Keep weights in 16 bits; half the size.")] = False,
    web: Annotated[Path | None, typer.Option(help="Also write the page with the model to this folder.")] = None,
    cache: CacheOpt = None,
) -> None:
    """Write one ONNX file that scores an image, draws its heat map and doubts what it does not know."""
    if quantize and fp16:
        raise ConfigError("--quantize and --fp16 are both given; give one of them")
    from lentigo.deploy.site import PAGE, check_site, export_page

    out = out or run / "exported"
    if web is not None:
        check_site(PAGE, web, model=out)
    prepared = data_of_run(run, None, None, cache)
    from lentigo.deploy.export import export_run
    from lentigo.learn.run import TrainingData

    data = TrainingData(table=prepared.table, pack=prepared.pack, split=prepared.split)
    variant: Literal["float32", "float16", "int8"] = "int8" if quantize else "float16" if fp16 else "float32"
    images = len(data.split.indices(data.table, "validation"))
    with Display().bar("checking the exported model", images * (1 + (variant != "float32"))) as advance:
        found = export_run(run, data, out, variant=variant, progress=advance)
    about = found.about
    say(f"{about['title']}, {variant}, {found.onnx.stat().st_size / 1e6:.2f} MB: {found.onnx}")
    parity, whose = about["parity"], "its" if variant == "float32" else "the float32 graph's"
    say(
        f"on {parity['images']} images {whose} logits differ from the checkpoint's by at most "
        f"{parity['logit_difference']:.0e}, maps by {parity['map_relative_difference']:.0e} of their largest value"
    )
    if variant != "float32":
        lost, alike = about["variant"]["auc_loss"], about["variant"]["map_correlation"]
        told = "one class is absent, so its AUC is not known" if lost is None else f"AUC {round(-lost, 4) + 0.0:+.4f}"
        images = about["variant"]["images"]
        say(f"{variant} against float32 on {images} validation images: {told}; maps correlate by {alike:.3f}")
    if web is not None:
        export_page(found.onnx, PAGE, web)
        say(f"the page, ready for any static host: {web}")
    say(NOTICE)


@app.command(
    epilog="Examples:\n\nlentigo predict runs/tiny_vgg/exported mole.jpg\n\n"
    "lentigo predict model.onnx photos/ --heatmaps maps\n\n"
    "lentigo predict model.onnx 'photos/*.png' --format csv > results.csv"
)
def predict(
    model: ModelArg,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Files, folders or patterns with * and ?.")],
    form: Annotated[
        Literal["table", "json", "csv"], typer.Option("--format", help="How results are written.")
    ] = "table",
    heatmaps: Annotated[Path | None, typer.Option(help="Folder for pictures with their heat maps.")] = None,
    insist: Annotated[bool, typer.Option("--insist", help="Judge also pictures that would be refused.")] = False,
) -> None:
    """Screen pictures with an exported model, without torch; exit code 1 if any file could not be read."""
    from lentigo.deploy.files import pictures, screen_files

    failed = judged = 0
    any_one: Screening | None = None
    write = {"table": _table, "json": _json, "csv": _csv}[form]
    # Where the results are seen, they are the progress.
    bar = contextlib.nullcontext(None) if sys.stdout.isatty() else Display().bar("screening", None)
    with bar as advance:

        def counted() -> "Iterator[Screened]":
            nonlocal failed, judged, any_one
            for result in screen_files(model, pictures(images), heatmaps=heatmaps, insist=insist):
                failed += result.screening is None
                judged += 1
                any_one = result.screening or any_one
                if advance is not None:
                    advance(1)
                yield result

        write(counted())
    if not judged:
        raise ConfigError("no image was found; give files, or folders that hold JPEG, PNG, WebP, BMP or TIFF")
    if any_one is not None:
        _say_of_model(any_one)
    say(f"p: the model's probability of malignant. No band means that a lesion is harmless. {NOTICE}", stderr=True)
    if failed:
        raise typer.Exit(1)


def _say_of_model(any_one: "Screening") -> None:
    """What holds for every result of a model."""
    if any_one.demo:
        say("DEMO: this model was trained on drawn lesions; its numbers say nothing of real ones.", stderr=True)
    if not any_one.calibrated:
        say("p is not calibrated: it orders pictures, and is no share of cases.", stderr=True)
    if any_one.band_reason:
        say(f"bands: {any_one.band_reason}", stderr=True)


def _table(results: "Iterable[Screened]") -> None:
    from lentigo.deploy.files import findings_words

    written = False
    for result in results:
        if not written:
            say(f"{'band':<8}  {'p':>5}  image")
        written, found = True, result.screening
        if found is None:
            say(f"{'failed':<8}  {'':>5}  {_printable(result.error)}")
            continue
        share = "" if found.probability is None else f"{found.probability:.3f}"
        words = findings_words(found)
        say(f"{found.band:<8}  {share:>5}  {_printable(found.name)}{'  (' + words + ')' if words else ''}")


def _printable(text: str) -> str:
    """File names may hold bytes that no text has."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _json(results: "Iterable[Screened]") -> None:
    """One array, written element by element."""
    mark = "["
    for result in results:
        found = result.screening
        told = {"image": str(result.path), "error": result.error} if found is None else found.to_dict()
        _write(f"{mark}{json.dumps(told)}")
        mark = ",\n "
    _write("[]\n" if mark == "[" else "]\n")


def _csv(results: "Iterable[Screened]") -> None:
    from lentigo.deploy.files import CSV_HEADER, csv_row

    def write(cells: "Iterable[str]") -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        _write(_printable(line.getvalue()))

    write(CSV_HEADER)
    for result in results:
        write(csv_row(result))


def _write(text: str) -> None:
    """As it is, for programs: what is made for people's eyes expands tabs."""
    sys.stdout.write(text)
    sys.stdout.flush()


@app.command(
    epilog="Examples:\n\nlentigo serve runs/tiny_vgg/exported\n\n"
    "lentigo serve   [dim]the model of `make demo`[/dim]\n\n"
    "lentigo serve model.onnx --port 9000 --keep received"
)
def serve(
    model: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="A model.onnx or its folder; left out: demo/model.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    keep: Annotated[
        Path | None, typer.Option(help="Keep every picture and its result here; default: none is kept.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="Name that the server is asked by, as by a proxy; repeatable."
        ),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that screen; default one a core.")] = None,
) -> None:
    """Serve the screening page and its API on this machine; pictures are judged and forgotten."""
    from lentigo.deploy.model_file import model_path
    from lentigo.deploy.server import create_app
    from lentigo.deploy.serving import serve as serve_app

    if model is None and not (DEMO_MODEL / "model.onnx").is_file():
        raise ModelError(
            f"{DEMO_MODEL / 'model.onnx'} does not exist; `make demo` trains and exports it, or give the model.onnx of "
            "`lentigo export RUN`"
        )
    path = model_path(model or DEMO_MODEL)

    def ready(url: str) -> None:
        say(f"serving {path} at {url}  (Ctrl-C stops)\n{NOTICE}", stderr=True)

    debug = "--debug" in sys.argv[1:]
    app_ = create_app(path, keep=keep, allow_hosts=allow_host or (), workers=workers, debug=debug)
    serve_app(app_, host=host, port=port, ready=ready)

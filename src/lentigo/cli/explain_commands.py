"""The command that says where a network looks: explain."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lentigo.cli.options import (
    CacheOpt,
    DeviceOpt,
    DevicesOpt,
    DrawSeedOpt,
    OtherDataOpt,
    PositiveOpt,
    RunArg,
    SegmenterOpt,
    again,
    data_of_run,
    in_processes,
)
from lentigo.deploy import NOTICE
from lentigo.errors import ConfigError
from lentigo.terminal import Display, say

if TYPE_CHECKING:
    import torch

app = typer.Typer()


@app.command(
    epilog="Examples:\n\nlentigo explain runs/alexnet\n\n"
    "lentigo explain runs/alexnet --method hires_cam --method occlusion\n\n"
    "lentigo explain runs/alexnet --data data/other-archive --segmenter runs/segmenter\n\n"
    "lentigo explain runs/alexnet mole.jpg other.png --out overlays"
)
def explain(
    run: RunArg,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE]...", help="Image files to draw maps over; left out: the test images."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the pictures of IMAGE files; default overlays.")] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="grad_cam (default), grad_cam_plus_plus, hires_cam, layer_cam, score_cam, ablation_cam or occlusion; "
            "repeatable, but one for IMAGE files."
        ),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer to explain, of IMAGE files; default the network's last map.")
    ] = None,
    npy: Annotated[bool, typer.Option("--npy", help="Keep the raw maps of IMAGE files too.")] = False,
    data: OtherDataOpt = None,
    segmenter: SegmenterOpt = None,
    sample: Annotated[
        int | None, typer.Option(min=0, help="Test images on which the maps' truth is tested; default 32, 0 for none.")
    ] = None,
    maps_only: Annotated[
        bool, typer.Option("--maps-only", help="Only make and measure the maps: neither replace backgrounds nor test.")
    ] = False,
    seed: DrawSeedOpt = None,
    device: DeviceOpt = None,
    devices: DevicesOpt = None,
    positive: PositiveOpt = None,
    cache: CacheOpt = None,
) -> None:
    """Measure where a run looks, on every test image; or draw heat maps over anyone's IMAGE files."""
    of_data: dict[str, Any] = {
        "--data": data,
        "--segmenter": segmenter,
        "--sample": sample,
        "--seed": seed,
        "--positive": positive,
        "--devices": devices,
    }
    of_data["--maps-only"] = maps_only or None
    of_files = {"--out": out, "--layer": layer, "--npy": npy or None}
    if images:
        _refuse(
            {**of_data, "--cache": cache}, "for measuring on many images; leave it out, or leave out the image files"
        )
        _draw(run, images, out or Path("overlays"), method or ["grad_cam"], layer=layer, npy=npy, device=device)
        return
    _refuse(of_files, "for pictures of image files; name the files, or leave it out")
    if maps_only:
        _refuse({"--sample": sample}, "of no use beside --maps-only; leave one of them out")
        sample = 0
    in_processes(devices, again)
    from lentigo.learn.device import choose_device
    from lentigo.learn.shards import device_here, together

    where = device_here(choose_device(device or "auto"))
    with together():
        _measure(run, data, method or [], segmenter, sample, not maps_only, seed or 0, where, positive, cache)


def _draw(
    run: Path,
    images: list[Path],
    out: Path,
    methods: list[str],
    *,
    layer: str | None,
    npy: bool,
    device: str | None,
) -> None:
    from lentigo.explain.pictures import explain_pictures
    from lentigo.learn.device import choose_device

    if len(methods) > 1:
        raise ConfigError(f"--method is given {len(methods)} times; pictures of image files show one method, give one")
    where = choose_device(device or "auto")
    with Display().bar("explaining", len(images)) as advance:
        found = explain_pictures(
            run, images, out, method=methods[0], layer=layer, keep_maps=npy, device=where, on_progress=advance
        )
    for row in found.images:
        notes = [f"nothing speaks for {name}" for name, empty in row.empty.items() if empty]
        notes += ["the image is of one colour, so no heat is drawn"] if row.one_colour else []
        told = "; ".join([f"p(malignant) {row.probability:.3f}", *notes])
        say(f"{row.image}: {told}: {out / row.picture}")
    for line in filter(None, (found.scale.words, found.scale.caution)):
        say(line)
    say(f"written to {out}\n{NOTICE}")


def _measure(
    run: Path,
    data: Path | None,
    methods: list[str],
    segmenter: Path | None,
    sample: int | None,
    background: bool,
    seed: int,
    device: "torch.device",
    positive: list[str] | None,
    cache: Path | None,
) -> None:
    from lentigo.explain.methods import method_named
    from lentigo.explain.stage import GRAD_CAM, ExplainOptions, explain_run, maps_file
    from lentigo.explain.trust import SAMPLE
    from lentigo.learn.elsewhere import evaluate_elsewhere
    from lentigo.learn.segmentation import open_segmenter
    from lentigo.learn.shards import first_here_first, rank
    from lentigo.report.look_words import explanation_lines

    for name in methods:  # before the images are decoded: a wrong name is told at once
        method_named(name)
    options = ExplainOptions(
        methods=tuple(methods),
        sample=SAMPLE if sample is None else sample,
        background=background,
        segmenter=None if segmenter is None else open_segmenter(segmenter),
        seed=seed,
    )
    display = Display()
    with first_here_first():  # to decode the images
        prepared = data_of_run(run, data, positive, cache)
    folder, table, pack, split = run, prepared.table, prepared.pack, prepared.split if prepared.own else None
    if split is None:
        there = evaluate_elsewhere(run, table, cache=cache, device=device, again=False, bar=display.bar)
        folder, table, pack = there.folder, there.table, there.pack
    found = explain_run(
        run, table, pack, split, options=options, folder=folder, device=device, cache=cache, bar=display.bar
    )
    if rank() != 0:  # its share is done
        return
    for line in explanation_lines(found.about):
        say(line)
    cells = "x".join(str(side) for side in found.maps.shape[1:])
    files = ", ".join(str(maps_file(folder, name)) for name in dict.fromkeys((GRAD_CAM, *methods)))
    say(f"{len(found.ids)} maps of {cells} cells: {files}\n{NOTICE}")


def _refuse(given: dict[str, Any], why: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise ConfigError(f"{option} is {why}")

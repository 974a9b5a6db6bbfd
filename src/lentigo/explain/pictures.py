"""Heat maps over anyone's images: image files and a run in, one picture a file out, and what the pictures show as JSON.

A picture holds the photograph, what speaks for malignant, and what speaks for benign, under one scale that is printed
on it. The scale is the run's own, taken from its test images, so that a faint map of one image looks faint. Where the
run has none for such maps, full red is the largest value of the images given, and each picture warns of it. An image
of one colour gets no heat.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL import Image, ImageDraw, ImageFont

from lentigo.data.batches import preprocess_batch
from lentigo.data.inspection import BLANK_STD
from lentigo.errors import ConfigError, DataError
from lentigo.explain.methods import METHODS, Method, method_named
from lentigo.explain.on_image import overlay, seen, to_image_size
from lentigo.explain.stage import GRAD_CAM
from lentigo.files import read_json, whole_file, write_json
from lentigo.imaging import Preprocessing, read_image, squeeze
from lentigo.learn.checkpoint import Checkpoint, run_checkpoint
from lentigo.learn.evaluation import network_of
from lentigo.models.registry import model_entry

DECISIONS = ("malignant", "benign")
PANEL_PX = 360  # the longer side of each of the three pictures on a sheet
_GAP_PX, _LINE_PX = 12, 20
_FONT_PX = 13
_BAR_PX = (150, 10)  # of the colours from no heat to full red
_LEAST_PX = 230  # of a narrow picture's column, so that its title and the lines below have room
_INK, _PAPER, _LIGHT, _WARNING = (27, 37, 45), (255, 255, 255), (88, 102, 112), (170, 30, 30)
_NOTICE = "A heat map shows what moved this network, not what a lesion is. Research software, not a medical device."


@dataclass(frozen=True, kw_only=True)
class Explained:
    """One image file, explained."""

    image: str
    picture: str  # the file that shows it
    logit: float  # higher = more malignant
    probability: float  # of malignant, as the network gives it
    strongest: dict[str, float]  # by decision, the map's largest value, in the method's unit; 0: the map is empty
    empty: dict[str, bool]  # by decision, whether nothing in the image speaks for it
    one_colour: bool  # there is nothing to see in the image: no map of it means anything, and no heat is drawn


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What is drawn in full red."""

    full_red_at: float  # 0: there is no heat to draw
    unit: str
    whose: str  # whose value that is
    caution: str  # what the colours do not tell, and why; empty where the scale is the run's own

    @property
    def words(self) -> str:
        """What full red is, as said on the pictures and in a terminal."""
        if not self.full_red_at:
            return "no heat is drawn: every map is empty, or its image of one colour"
        return f"full red at {self.full_red_at:.3g} {self.unit}: {self.whose}"


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """All images of a call, explained, and the one scale of their pictures."""

    images: tuple[Explained, ...]
    scale: Scale


@dataclass(frozen=True, kw_only=True, eq=False)
class _Mapped:
    """An image's maps; of the photograph itself only what a sheet shows is kept."""

    path: Path
    photograph: UInt8[np.ndarray, "height width 3"]
    one_colour: bool
    values: Float32[np.ndarray, "2 rows columns"]  # positive, by DECISIONS
    logit: float

    @property
    def probability(self) -> float:
        return float((1 + np.tanh(self.logit / 2)) / 2)


@dataclass(frozen=True, kw_only=True)
class _Drawing:
    """What all sheets have in common."""

    checkpoint: Checkpoint
    method: Method
    layer: str | None  # None: the network's own
    scale: Scale


def explain_pictures(
    run: Path,
    images: Sequence[Path],
    out: Path,
    *,
    method: str = GRAD_CAM,
    layer: str | None = None,
    keep_maps: bool = False,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Pictures:
    """Write `NAME.png` for every image, and `pictures.json`.

    Args:
        layer: whose output is explained; None: the network's own.
        keep_maps: write the raw signed map too, as `NAME.npy`, float32 (rows, columns).
        on_progress: called with the number of images done since the last call.
    Raises:
        ConfigError: an unknown method or layer, two images of one name, or a picture would overwrite an image.
        ImageError: an image cannot be read.
        RunError: the run has no whole checkpoint, or a map is not finite.
        DataError: a file cannot be written.
    """
    found, checkpoint = method_named(method), run_checkpoint(run)
    _check_names(images, out)
    checkpoint.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    mapped = []
    for path in images:
        mapped.append(_map_of(checkpoint, found, path, layer, device))
        if on_progress:
            on_progress(1)
    scale = _scale(run, checkpoint, found, layer, mapped)
    drawing = _Drawing(checkpoint=checkpoint, method=found, layer=layer, scale=scale)
    for image in mapped:
        picture = out / f"{image.path.stem}.png"
        _write(picture, partial(_sheet(image, drawing).save, format="PNG"))
        if keep_maps:
            signed = image.values[0] - image.values[1]
            _write(picture.with_suffix(".npy"), partial(np.save, arr=signed, allow_pickle=False))
    rows = tuple(_row(image) for image in mapped)
    write_json(out / "pictures.json", _about(run, drawing, layer, rows))
    return Pictures(images=rows, scale=drawing.scale)


def _map_of(
    checkpoint: Checkpoint, method: Method, path: Path, layer: str | None, device: torch.device | None
) -> _Mapped:
    """The positive maps of both decisions, and the logit; the image goes the way that training went."""
    photograph = read_image(path)
    packed = squeeze(photograph, checkpoint.experiment.data.image_px)
    images = torch.from_numpy(packed.copy())[None].to(device).permute(0, 3, 1, 2)  # Pillow's own is not writable
    found = method.explain(checkpoint.model, preprocess_batch(images, checkpoint.preprocessing), layer=layer)
    both = [found.positive(decision)[0].cpu().numpy() for decision in ("malignant", "benign")]
    share = PANEL_PX / max(photograph.shape[:2])
    size = max(1, round(photograph.shape[1] * share)), max(1, round(photograph.shape[0] * share))
    return _Mapped(
        path=path,
        photograph=np.asarray(Image.fromarray(photograph).resize(size, Image.Resampling.LANCZOS)),
        one_colour=bool((packed.std(axis=(0, 1)) < BLANK_STD).all()),
        values=np.stack(both),
        logit=float(found.logits[0]),
    )


def _scale(run: Path, checkpoint: Checkpoint, method: Method, layer: str | None, mapped: Sequence[_Mapped]) -> Scale:
    """The run's own scale where its maps are of these weights, else that of the images."""
    unit = "logits" if method.unit == "logit" else method.unit
    of_run, why = _scale_of_run(run, checkpoint, method, layer)
    if of_run > 0:
        whose = "what one test image of the run in twenty reaches"
        return Scale(full_red_at=of_run, unit=unit, whose=whose, caution="")
    values = [float(image.values.max()) for image in mapped if not image.one_colour]
    largest = max(values, default=0.0)
    return Scale(
        full_red_at=largest,
        unit=unit,
        whose=f"the largest value of {'one image alone' if len(values) == 1 else 'these images'}",
        caution=f"{why}: here a faint map looks as strong as a sure one" if largest else "",
    )


def _scale_of_run(run: Path, checkpoint: Checkpoint, method: Method, layer: str | None) -> tuple[float, str]:
    """What the run's own maps have in full red; 0 and the reason where there is no such scale for these maps."""
    if method is not METHODS[GRAD_CAM] or layer not in (None, checkpoint.model.cam_layer):
        return 0.0, "the run's scale is of Grad-CAM at its own layer"
    about = read_json(run / "explanation.json") if (run / "explanation.json").is_file() else {}
    if not about or about.get("checkpoint") != network_of(run):
        return 0.0, "no scale for these weights yet (lentigo explain RUN gives one)"
    return float(about.get("scale") or 0), "most test images of the run have empty maps"


def _sheet(image: _Mapped, drawing: _Drawing) -> Image.Image:
    """Photograph and both overlays side by side, and under them what they are."""
    (height, width), preprocessing = image.photograph.shape[:2], drawing.checkpoint.preprocessing
    step = max(width, _LEAST_PX) + _GAP_PX
    top, lines = _GAP_PX + _LINE_PX, _lines(image, drawing)
    sheet = Image.new("RGB", (3 * step + _GAP_PX, top + height + 2 * _GAP_PX + len(lines) * _LINE_PX), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_PX)
    titles = [f"p(malignant) {image.probability:.3f}", *(_title(image, place) for place in range(len(DECISIONS)))]
    for place, (picture, title) in enumerate(zip(_panels(image, drawing), titles, strict=True)):
        left = _GAP_PX + place * step
        draw.text((left, _GAP_PX - 3), title, fill=_INK, font=font)
        sheet.paste(Image.fromarray(picture), (left, top))
        if place and not seen(preprocessing, PANEL_PX).all():
            draw.rectangle(_crop_on(preprocessing, left, top, width, height), outline=_PAPER)
    if drawing.scale.full_red_at and not image.one_colour:
        sheet.paste(_colour_bar(), (3 * step - _BAR_PX[0], top + height + _GAP_PX + _BAR_PX[1] // 2))
    for place, (line, colour) in enumerate(lines):
        draw.text((_GAP_PX, top + height + _GAP_PX + place * _LINE_PX), line, fill=colour, font=font)
    return sheet


def _panels(image: _Mapped, drawing: _Drawing) -> list[UInt8[np.ndarray, "height width 3"]]:
    """The photograph, and it under what speaks for each decision; of one colour, the photograph alone."""
    if image.one_colour:
        return [image.photograph] * (1 + len(DECISIONS))
    height, width = image.photograph.shape[:2]
    heat = to_image_size(image.values, drawing.checkpoint.preprocessing, size_px=PANEL_PX)
    # An image of another aspect was squeezed to a square for the network; its map is stretched back.
    planes = [np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR)) for plane in heat]
    return [
        image.photograph,
        *(overlay(image.photograph, plane, maximum=drawing.scale.full_red_at) for plane in planes),
    ]


def _colour_bar() -> Image.Image:
    """From no heat to full red, as it looks over grey."""
    grey, heat = np.full((*_BAR_PX[::-1], 3), 200, np.uint8), np.linspace(0, 1, _BAR_PX[0], dtype=np.float32)
    return Image.fromarray(overlay(grey, np.tile(heat, (_BAR_PX[1], 1)), maximum=1.0))


def _lines(image: _Mapped, drawing: _Drawing) -> list[tuple[str, tuple[int, int, int]]]:
    """What stands below the pictures, each line with its colour."""
    title = model_entry(drawing.checkpoint.experiment.model.name).title
    cells = " x ".join(str(side) for side in image.values.shape[1:])  # Pillow's own font has no multiplication sign
    warning, scale = drawing.scale.caution, drawing.scale.words
    if image.one_colour:
        warning, scale = "the image is of one colour: no heat is drawn, for no map of it would mean anything", ""
    elif drawing.scale.full_red_at:
        scale += "; no colour at 0"
    at = f" at {drawing.layer}" if drawing.layer else ""
    inside = "" if seen(drawing.checkpoint.preprocessing, PANEL_PX).all() else " in the white frame"
    lines = [(f"{title}, {drawing.method.title}{at}, {cells} cells{inside}", _INK), (scale, _INK), (warning, _WARNING)]
    sentences = [(line[:1].upper() + line[1:], colour) for line, colour in lines if line]
    return [*sentences, (_NOTICE, _LIGHT)]


def _title(image: _Mapped, place: int) -> str:
    what = f"for {DECISIONS[place]}"
    if image.one_colour:
        return f"{what}: not drawn (one colour)"
    return what if image.values[place].any() else f"{what}: nothing (map empty)"


def _crop_on(preprocessing: Preprocessing, left: int, top: int, width: int, height: int) -> tuple[float, ...]:
    """The corners of what the network sees, on a picture of that place and size."""
    rows = np.flatnonzero(seen(preprocessing, PANEL_PX).any(axis=1))
    first, end = rows[0] / PANEL_PX, (rows[-1] + 1) / PANEL_PX
    return left + first * width, top + first * height, left + end * width - 1, top + end * height - 1


def _write(path: Path, save: Callable[[BinaryIO], None]) -> None:
    try:
        with whole_file(path) as temporary, temporary.open("wb") as file:
            save(file)
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}); free space, or give another folder with --out") from error


def _row(image: _Mapped) -> Explained:
    return Explained(
        image=str(image.path),
        picture=f"{image.path.stem}.png",
        logit=image.logit,
        probability=image.probability,
        strongest={name: float(plane.max()) for name, plane in zip(DECISIONS, image.values, strict=True)},
        empty={name: not plane.any() for name, plane in zip(DECISIONS, image.values, strict=True)},
        one_colour=image.one_colour,
    )


def _about(run: Path, drawing: _Drawing, layer: str | None, rows: Sequence[Explained]) -> dict[str, Any]:
    checkpoint, method = drawing.checkpoint, drawing.method
    return {
        "run": run.name,
        "model": checkpoint.experiment.model.name,
        "method": f"{method.title} ({method.source})",
        "layer": None if method is METHODS["occlusion"] else layer or checkpoint.model.cam_layer,
        "full_red_at": drawing.scale.full_red_at,
        "unit": drawing.scale.unit,
        "scale": drawing.scale.whose,
        "caution": drawing.scale.caution,
        "images": [asdict(row) for row in rows],
    }


def _check_names(images: Sequence[Path], out: Path) -> None:
    if not images:
        raise ConfigError("there is no image to explain; give one file or more")
    twice = [name for name, count in Counter(path.stem for path in images).items() if count > 1]
    if twice:
        raise ConfigError(
            f"{twice[0]} is the name of more than one image, so one picture would overwrite the other; explain them "
            "into different folders"
        )
    given = {path.resolve() for path in images}
    for path in images:
        if (out / f"{path.stem}.png").resolve() in given:
            raise ConfigError(f"the picture of {path} would overwrite an image; give another folder with --out")

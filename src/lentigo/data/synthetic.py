"""Drawn lesions: dermoscopy-like images with their masks and the truth they were drawn from. Needs no download.

In: a seed and an index. Out: an image, its lesion mask and its parameters; or a folder of them that `lentigo` reads.

The label acts on a picture through four numbers alone, the ABCD rule's asymmetry, border irregularity, number of
colours and diameter. All else (skin, hair, ruler, bubbles, frame, light, camera; the lesion's place, pigment, texture)
is drawn without looking at the label: the same seed and index with the other label is the same skin with another
lesion. The classes overlap: who knew the four numbers exactly would reach an AUC of about 0.96.
"""

import math
import multiprocessing
import tempfile
from collections.abc import Callable, Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from PIL import Image

from lentigo.data.drawing import COLOURS, LesionParameters, draw_picture
from lentigo.data.table import LABEL_NAMES
from lentigo.errors import ConfigError, DataError
from lentigo.files import write_csv
from lentigo.machine import cores

SHORTCUT_KINDS = ("frame", "skin")
FRAME_BASE_RATE = 0.25
LIGHT_TONES, DARK_TONES = (1, 2, 3, 4), (5, 6)  # what a skin shortcut gives to benign and to malignant images
# Means of the four latent normals (deviation 1) are +-0.62. Their sum has AUC Phi(0.62 * 4 / sqrt(2)) = 0.960; counting
# colours in whole numbers costs 0.001. A CNN of four small layers reached 0.88 after training on 384 pictures of 64 px.
CLASS_SHIFT = 0.62
JPEG_QUALITY = 92


@dataclass(frozen=True)
class DrawnLesion:
    image: UInt8[np.ndarray, "size size 3"]
    mask: Bool[np.ndarray, "size size"]  # True inside the lesion, also under hair, bubbles and frame
    parameters: LesionParameters


def draw_parameters(
    seed: int, index: int, *, malignant: bool, shortcut: float = 0.0, shortcut_kind: str = "frame"
) -> LesionParameters:
    """The truth of one picture, without drawing it.

    Args:
        seed: names the series of pictures.
        index: names the picture in its series.
        malignant: shifts the four ABCD numbers.
        shortcut: in [0, 1]. With this probability the nuisance is set from the label, otherwise it comes from its base
            rate. "frame": P(frame | malignant) = shortcut + (1 - shortcut) / 4, P(frame | benign) = (1 - shortcut) / 4.
            "skin": set from the label means tone 5 or 6 if malignant, 1 to 4 if benign, each equally likely; the base
            rate is 1/6 a tone. At 0 the nuisance is independent of the label, at 1 it is the label.
        shortcut_kind: "frame" or "skin".
    Raises: ConfigError: a value out of range or an unknown kind.
    """
    _check_options(seed=seed, index=index, shortcut=shortcut, shortcut_kind=shortcut_kind)
    return _parameters(np.random.default_rng(np.random.SeedSequence((seed, index))), malignant, shortcut, shortcut_kind)


def draw_lesion(
    seed: int, index: int, *, malignant: bool, size_px: int = 300, shortcut: float = 0.0, shortcut_kind: str = "frame"
) -> DrawnLesion:
    """Draw one picture: a pure function of its arguments. Another size shows the same scene. See `draw_parameters`.

    Raises: ConfigError: a value out of range or an unknown kind.
    """
    _check_options(seed=seed, index=index, shortcut=shortcut, shortcut_kind=shortcut_kind, size_px=size_px)
    rng = np.random.default_rng(np.random.SeedSequence((seed, index)))
    parameters = _parameters(rng, malignant, shortcut, shortcut_kind)
    image, mask = draw_picture(parameters, size_px, *rng.spawn(2))
    return DrawnLesion(image, mask, parameters)


def write_dataset(
    folder: Path,
    *,
    count: int,
    seed: int = 0,
    size_px: int = 300,
    shortcut: float = 0.0,
    shortcut_kind: str = "frame",
    test_fraction: float = 0.25,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Draw a data set: `{train,test}/{benign,malignant}/NNNNN.jpg`, `masks/NNNNN.png` (1 bit) and `metadata.csv`.

    Every odd index is malignant; the last `test_fraction` of each class is the test part. Whole or not at all.

    Args:
        folder: new or empty.
        workers: processes; None: one a core, from 64 images on. 1 draws in this process, and is what a script needs
            that has no `if __name__ == "__main__"` guard.
        progress: called with the number of images drawn since the last call.
    Returns: `folder`.
    Raises: ConfigError: a value out of range. DataError: `folder` is in use.
    """
    _check_options(seed=seed, index=0, shortcut=shortcut, shortcut_kind=shortcut_kind, size_px=size_px)
    _check_dataset_options(count, test_fraction, workers)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder; name a new folder or delete this one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    draw = partial(draw_lesion, seed, size_px=size_px, shortcut=shortcut, shortcut_kind=shortcut_kind)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent) as temporary:
        staged = Path(temporary) / folder.name
        _fill(staged, draw, [_names(index, count, test_fraction) for index in range(count)], workers, progress)
        if folder.exists():
            folder.rmdir()  # it is empty; Windows does not rename onto a folder
        staged.rename(folder)
    return folder


def _check_options(*, seed: int, index: int, shortcut: float, shortcut_kind: str, size_px: int = 300) -> None:
    for name, value in (("seed", seed), ("index", index)):
        if value < 0:
            raise ConfigError(f"{name} is {value}; it must be 0 or more")
    if not 16 <= size_px <= 4096:
        raise ConfigError(f"size_px is {size_px}, not in 16 to 4096; the real images have 300")
    if not 0 <= shortcut <= 1:
        raise ConfigError(f"shortcut is {shortcut}, not in [0, 1]; 0 ties nothing to the label")
    if shortcut_kind not in SHORTCUT_KINDS:
        raise ConfigError(f"shortcut_kind is {shortcut_kind!r}; allowed are {' and '.join(SHORTCUT_KINDS)}")


def _check_dataset_options(count: int, test_fraction: float, workers: int | None) -> None:
    if count < 2:
        raise ConfigError(f"count is {count}; at least 2 images are needed, one of each class")
    if not 0 <= test_fraction < 1:
        raise ConfigError(f"test_fraction is {test_fraction}, not in [0, 1); try 0.25")
    if workers is not None and workers < 1:
        raise ConfigError(f"workers is {workers}; it must be 1 or more, or None for one a core")


def _parameters(rng: np.random.Generator, malignant: bool, shortcut: float, kind: str) -> LesionParameters:
    """Every draw is made whatever the label and the shortcut, so that these move nothing but what they are meant to."""
    latents = rng.standard_normal(4) + (CLASS_SHIFT if malignant else -CLASS_SHIFT)
    tied, frame, tone = rng.random() < shortcut, rng.random() < FRAME_BASE_RATE, rng.integers(1, 7)
    tone_if_tied = [rng.choice(LIGHT_TONES), rng.choice(DARK_TONES)][malignant]
    return LesionParameters(
        **_abcd(latents, rng),
        **_lesion_style(rng),
        **_scene(rng),
        skin_tone=int(tone_if_tied if tied and kind == "skin" else tone),
        frame=bool(malignant if tied and kind == "frame" else frame),
    )


def _abcd(latents: Float64[np.ndarray, "4"], rng: np.random.Generator) -> dict[str, Any]:
    """The four numbers that the label moves, out of four normal ones."""
    asymmetry, border, colour, diameter = latents.tolist()
    # The browns come first, as they do on nearly every mole; what a further colour is does not depend on the label.
    order = (*COLOURS[:2], *(COLOURS[i] for i in 2 + rng.permutation(4)))
    count = 1 + sum(colour > edge for edge in (-0.7, 0.15, 0.8, 1.4, 2.0))
    return {
        "asymmetry": _logistic(1.3 * asymmetry),
        "border_irregularity": _logistic(1.3 * border),
        "colour_count": count,
        "diameter_fraction": 0.15 + 0.42 * _logistic(1.1 * diameter),
        "colours": order[:count],
    }


def _lesion_style(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "centre_x": rng.uniform(-0.05, 0.05),
        "centre_y": rng.uniform(-0.05, 0.05),
        "angle": rng.uniform(0, math.tau),
        "elongation": rng.uniform(1.0, 1.45),
        "pigment": rng.uniform(0.75, 1.5),
        "redness": rng.uniform(0.0, 0.5),
        "border_softness": rng.uniform(0.05, 0.2),
        "network": max(0.0, rng.uniform(-0.3, 0.7)),
        "network_period": rng.uniform(0.014, 0.024),
        "globules": int(rng.integers(0, 45)) if rng.random() < 0.5 else 0,
        "streaks": int(rng.integers(8, 40)) if rng.random() < 0.35 else 0,
    }


def _scene(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "mottling": rng.uniform(0.02, 0.09),
        "cast_warm": rng.normal(0, 0.08),
        "cast_pink": rng.normal(0.02, 0.06),
        "exposure": rng.normal(0.08, 0.1),
        "light_tilt": rng.uniform(0, 0.22),
        "light_angle": rng.uniform(0, math.tau),
        "vignette": rng.uniform(0, 0.3),
        "blur": rng.uniform(0.0012, 0.0034),
        "noise": rng.uniform(0.004, 0.014),
        "hair_count": min(int(rng.geometric(0.12)), 40) if rng.random() < 0.5 else 0,
        "hair_width": rng.uniform(0.0035, 0.009),
        "ruler": bool(rng.random() < 0.2),
        "bubbles": int(rng.integers(1, 12)) if rng.random() < 0.25 else 0,
        "frame_radius": rng.uniform(0.48, 0.6),
    }


def _logistic(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def _fill(
    folder: Path,
    draw: Callable[..., DrawnLesion],
    names: list[tuple[str, str]],
    workers: int | None,
    progress: Callable[[int], None] | None,
) -> None:
    for parent in {(folder / name).parent for pair in names for name in pair}:
        parent.mkdir(parents=True, exist_ok=True)
    drawn: list[LesionParameters] = []
    # Closed before the folder goes: after a failure no process may still be writing into it.
    with closing(_in_parallel(partial(_draw_files, draw, folder), list(enumerate(names)), workers)) as results:
        for parameters in results:
            drawn.append(parameters)
            if progress is not None:
                progress(1)
    _write_metadata(folder / "metadata.csv", names, drawn)


def _names(index: int, count: int, test_fraction: float) -> tuple[str, str]:
    """Paths of image and mask; the last part of either class is the test part."""
    label, of_class = index % 2, (count + 1 - index % 2) // 2
    part = "train" if index // 2 < of_class - round(test_fraction * of_class) else "test"
    return f"{part}/{LABEL_NAMES[label]}/{index:05d}.jpg", f"masks/{index:05d}.png"


def _draw_files(draw: Callable[..., DrawnLesion], folder: Path, item: tuple[int, tuple[str, str]]) -> LesionParameters:
    index, (image_name, mask_name) = item
    drawn = draw(index, malignant=index % 2 == 1)
    Image.fromarray(drawn.image).save(folder / image_name, quality=JPEG_QUALITY, subsampling="4:4:4")
    Image.fromarray(drawn.mask).save(folder / mask_name, bits=1)
    return drawn.parameters


def _in_parallel(function: Callable[[Any], Any], items: list[Any], workers: int | None) -> Generator[Any, None, None]:
    """Results in the order of `items`. Spawned, not forked: a fork of a process that holds threads can hang."""
    # A process needs about a second to start: what takes a few seconds is drawn here.
    workers = workers or (min(cores(), 16) if len(items) >= 64 else 1)
    if workers == 1:
        yield from map(function, items)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield from pool.map(function, items, chunksize=8)
    except BrokenProcessPool as error:
        raise DataError(
            f"a drawing process ended early ({error}); free some memory, put the call of a script under "
            'if __name__ == "__main__", or pass workers=1'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _write_metadata(path: Path, names: list[tuple[str, str]], drawn: list[LesionParameters]) -> None:
    rows = []
    for (image, mask), parameters in zip(names, drawn, strict=True):
        truth = asdict(parameters) | {"colours": "+".join(parameters.colours)}
        split, label, _ = image.split("/")
        rows.append([image, label, split, mask, parameters.skin_tone, *map(_cell, truth.values())])
    header = ["image", "label", "split", "mask", "skin_tone", *(f"drawn_{name}" for name in truth)]
    write_csv(path, header, rows)


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return f"{value:.6g}" if isinstance(value, float) else value

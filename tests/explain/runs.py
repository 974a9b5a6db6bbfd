"""Moles painted on skin, and a run whose network has random weights, for the tests of what explains a run."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lentigo.config import Experiment
from lentigo.data.pack import ImagePack
from lentigo.data.table import ImageTable
from lentigo.learn.checkpoint import Checkpoint, SegmenterCheckpoint, save_checkpoint
from lentigo.models.contract import LesionClassifier
from lentigo.models.lesion_unet import LesionUNet
from lentigo.models.registry import create_model, resolve_preprocessing
from tests.data.pictures import SIDE_PX, packed, write_mask

SMALL = {
    "tiny_vgg": {"preprocessing": {"resize_px": 24}, "model": {"name": "tiny_vgg", "options": {"width": 3}}},
    "alexnet": {
        "preprocessing": {"resize_px": 72, "crop_px": 63},
        "model": {"name": "alexnet", "options": {"width": 0.0625}},
    },
}


def moles(n: int, seed: int = 0, side_px: int = SIDE_PX) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of a round brown mole off the centre of bright skin, and its mask."""
    rng = np.random.default_rng(seed)
    down, right = np.mgrid[:side_px, :side_px]
    y, x = side_px * rng.uniform(0.38, 0.62, (2, n, 1, 1))
    lesions = np.hypot(down - y, right - x) <= side_px * rng.uniform(0.14, 0.22, (n, 1, 1))
    colour = np.where(lesions[..., None], (90, 55, 45), (205, 165, 150))
    images = (colour + rng.normal(0, 4, colour.shape)).clip(0, 255).astype(np.uint8)
    return images, lesions


def packed_moles(
    folder: Path, n: int, *, masked: int | None = None, seed: int = 0, **columns: Any
) -> tuple[ImageTable, ImagePack, np.ndarray]:
    """A table of moles, every other one malignant, its pack, and the masks; `masked` of them name theirs, or all."""
    images, lesions = moles(n, seed)
    named = n if masked is None else masked
    masks = [write_mask(folder / "masks" / f"{k}.png", lesions[k]) if k < named else "" for k in range(n)]
    table, pack = packed(folder, images, [k % 2 for k in range(n)], mask=masks, **columns)
    return table, pack, lesions


def experiment(name: str = "tiny_vgg") -> Experiment:
    return Experiment().changed(data={"image_px": SIDE_PX}, **SMALL[name])


def write_segmenter(folder: Path, seed: int = 0) -> Path:
    """A run folder of a segmenter with its first weights."""
    config = Experiment().changed(
        data={"image_px": SIDE_PX},
        model={"name": "lesion_unet", "options": {"width": 4, "stages": 3}},
        preprocessing={"resize_px": 32},
    )
    settings = resolve_preprocessing(config.model, config.preprocessing)
    model = create_model(config.model, settings, seed=seed)
    assert isinstance(model, LesionUNet)
    folder.mkdir(parents=True)
    (folder / "experiment.toml").write_text(config.to_toml())
    made = SegmenterCheckpoint(model=model, experiment=config, preprocessing=settings, pack_key="made up")
    save_checkpoint(folder / "checkpoint.safetensors", made)
    return folder


def write_run(folder: Path, name: str = "tiny_vgg", seed: int = 0) -> Path:
    """A run folder whose weights are random, but so large that maps and logits differ from image to image."""
    config = experiment(name)
    settings = resolve_preprocessing(config.model, config.preprocessing)
    model = create_model(config.model, settings, seed=seed)
    assert isinstance(model, LesionClassifier)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for values in model.parameters():
            fan_in = values[0].numel() if values.ndim > 1 else 100
            values.copy_(torch.randn(values.shape, generator=random) * (2 / fan_in) ** 0.5)
    folder.mkdir(parents=True)
    (folder / "experiment.toml").write_text(config.to_toml())
    made = Checkpoint(model=model, experiment=config, preprocessing=settings, pack_key="made up")
    save_checkpoint(folder / "checkpoint.safetensors", made)
    return folder

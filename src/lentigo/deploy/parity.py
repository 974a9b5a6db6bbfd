"""How far an exported graph is from its checkpoint: logits, maps and outlier scores of the same images, by two ways.

The graph runs in onnxruntime and has the head's gradient written out; the checkpoint runs in torch, and `explain.cam`
differentiates it.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from lentigo.deploy.model_file import INPUT, OUTPUTS
from lentigo.deploy.outlier import OutlierScore
from lentigo.errors import ModelError
from lentigo.explain.cam import grad_cam
from lentigo.models.contract import LesionClassifier, evaluating

LARGEST_DIFFERENCE = 1e-4  # of a logit; of a map's cell, of the map's largest; of an outlier score, of the score
LARGEST_ON_EDGE = 0.1  # of a map's cell, of the map's largest, where a unit is on the edge: a hundredth for each unit
LARGEST_SHARE_ON_EDGE = 0.25  # of the maps; measured: 5 of 64 in AlexNet
NEAR_ZERO = 2e-6  # of a layer's largest value: what float32 makes of sums over ten thousand inputs
Progress = Callable[[int], None]
Inputs = Iterable[Float32[Tensor, "batch 3 height width"]]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model says of images."""

    logits: Float32[np.ndarray, " image"]
    maps: Float32[np.ndarray, "image rows columns"]
    outliers: Float32[np.ndarray, " image"]


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The largest differences between a graph and its checkpoint over some images."""

    images: int
    logit_difference: float
    map_relative_difference: float  # of the map's largest value, over the maps that are not on an edge
    images_on_edge: int  # whose maps no two programs agree on, see `on_edge`
    map_relative_difference_on_edge: float | None  # over the others; None: there are none
    outlier_relative_difference: float  # of the score

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return {"of": "float32"} | asdict(self)  # a variant's own losses stand under `variant`

    def failures(self) -> list[str]:
        """What differs too far, in words; a number that is not finite does."""
        found = []
        for what, number, allowed in (
            ("logits by {}", self.logit_difference, LARGEST_DIFFERENCE),
            ("maps by {} of their largest value", self.map_relative_difference, LARGEST_DIFFERENCE),
            (
                "maps with a ReLU on its edge by {} of their largest value",
                self.map_relative_difference_on_edge or 0.0,
                LARGEST_ON_EDGE,
            ),
            ("outlier scores by {} of the score", self.outlier_relative_difference, LARGEST_DIFFERENCE),
        ):
            if not number <= allowed:
                found.append(f"{what.format(f'{number:.1e}')} where {allowed:.0e} is allowed")
        if self.images_on_edge > LARGEST_SHARE_ON_EDGE * self.images:
            found.append(
                f"{self.images_on_edge} of {self.images} maps have a ReLU on its edge, which leaves too few to compare"
            )
        return found


def answers_of(model: Path, inputs: Inputs, progress: Progress | None = None) -> Answers:
    """What an exported model says of preprocessed images.

    Args:
        progress: called with the number of images that went through since the last call.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = []
    for images in inputs:
        found.append(session.run(list(OUTPUTS), {INPUT: images.contiguous().numpy()}))
        if progress:
            progress(len(images))
    logits, maps, outliers = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Answers(logits=logits, maps=maps, outliers=outliers)


def check_parity(model: Path, network: LesionClassifier, score: OutlierScore, inputs: Callable[[], Inputs]) -> Parity:
    """Compare an exported float32 model with what it was made of.

    Args:
        inputs: gives the images, preprocessed, the same each time.
    Raises: ModelError: it says something else; what, and by how much.
    """
    found = answers_of(model, inputs())
    expected = _answers_of_checkpoint(network, score, inputs())
    edge = np.concatenate([on_edge(network, images) for images in inputs()])
    parity = _parity(found, expected, edge)
    if failures := parity.failures():
        raise ModelError(
            f"the exported graph differs from the checkpoint on {parity.images} images: {'; '.join(failures)}; nothing "
            "was written, export with other versions of torch, onnxscript and onnxruntime, or train the run again"
        )
    return parity


def _answers_of_checkpoint(network: LesionClassifier, score: OutlierScore, inputs: Inputs) -> Answers:
    explained, outliers = [], []
    for images in inputs:
        explained.append(grad_cam(network, images))
        with torch.no_grad():
            outliers.append(score(images).numpy())
    return Answers(
        logits=np.concatenate([part.logits.numpy() for part in explained]),
        maps=np.concatenate([part.malignant.numpy() for part in explained]),
        outliers=np.concatenate(outliers),
    )


def _parity(found: Answers, expected: Answers, edge: Bool[np.ndarray, " image"]) -> Parity:
    off_maps = np.abs(found.maps - expected.maps).max(axis=(1, 2)) / _at_least_tiny(np.abs(expected.maps).max((1, 2)))
    off_outliers = np.abs(found.outliers - expected.outliers) / _at_least_tiny(expected.outliers)
    return Parity(
        images=len(edge),
        logit_difference=float(np.abs(found.logits - expected.logits).max()),
        map_relative_difference=float(off_maps[~edge].max(initial=0.0)),
        images_on_edge=int(edge.sum()),
        map_relative_difference_on_edge=float(off_maps[edge].max()) if edge.any() else None,
        outlier_relative_difference=float(off_outliers.max()),
    )


def _at_least_tiny(sizes: Float[np.ndarray, " image"]) -> Float[np.ndarray, " image"]:
    return sizes.clip(min=np.finfo(np.float32).tiny)


def on_edge(model: LesionClassifier, images: Float32[Tensor, "batch 3 height width"]) -> Bool[np.ndarray, " batch"]:
    """Where a ReLU of the head lies so near to 0 that rounding says whether a gradient goes through it.

    Such a map differs between any two programs, by about a hundredth for each unit. AlexNet and VGG11 have 8,192 units
    there, which puts a few images in a hundred on an edge.
    """
    relus = [layer for layer in model.head.modules() if isinstance(layer, nn.ReLU)]
    if not relus:
        return np.zeros(len(images), dtype=bool)
    nearest: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        sizes = given[0].flatten(1).abs()
        nearest.append(sizes.amin(dim=1) / sizes.amax(dim=1))

    handles = [layer.register_forward_pre_hook(note) for layer in relus]
    try:
        with evaluating(model), torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    found: np.ndarray = (torch.stack(nearest).amin(dim=0) <= NEAR_ZERO).numpy()
    return found

"""How far a run's decisions hang on the background, and how far its heat maps tell the truth: as JSON-safe numbers.

The first is asked on every image whose lesion is known, the second on a few drawn at random: it costs some hundred
forward passes an image. The values of single images are kept, rounded, so that `trust_pairs` can compare networks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from lentigo.data.batches import batches
from lentigo.data.pack import ImagePack
from lentigo.evidence.comparison import holm
from lentigo.evidence.intervals import Interval
from lentigo.evidence.means import mean_difference, mean_interval
from lentigo.explain.agreement import agreement, explained
from lentigo.explain.background import (
    BackgroundDependence,
    ReplacedLogits,
    background_dependence,
    replaced_logits,
    shared_logits,
)
from lentigo.explain.faithfulness import Curves, Fill, deletion_and_insertion, probability
from lentigo.explain.methods import METHODS
from lentigo.explain.sanity import LayerCheck, over_draws, randomised_layers, stability
from lentigo.explain.survey import Survey
from lentigo.imaging import Preprocessing
from lentigo.learn.sharing import Sharing
from lentigo.models.contract import LesionClassifier

SAMPLE = 32  # images; their 95 % intervals are then about 0.35 standard deviations to either side
SANITY_IMAGES = 8  # of the sample: a network of a hundred layers is explained a hundred times a draw
SANITY_DRAWS = 5  # of random weights: images of one draw agree, so that draws tell more than images
SHIFTS = (0.01, 0.03)  # of the input's side
# With Grad-CAM; the cheap ones. LayerCAM's signed map is HiResCAM's wherever no feature is below 0.
COMPARED = ("grad_cam_plus_plus", "hires_cam", "occlusion")
_KINDS = ("deletion", "insertion")
_DIGITS = 4  # of the values of single images
_BATCH = 16
_ALONE = Sharing()


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network and the images that it is asked about."""

    model: LesionClassifier  # where `device` is
    preprocessing: Preprocessing
    pack: ImagePack  # of the images, in their order
    labels: Int64[np.ndarray, " image"]  # 1 = malignant, 0 = benign
    groups: Int64[np.ndarray, " image"]  # images of one number, such as those of a lesion, depend on each other
    sources: Sequence[str] = ()  # the archive of each; empty: not known
    device: torch.device | None = None


def background(
    subject: Subject,
    survey: Survey,
    *,
    seed: int = 0,
    sharing: Sharing = _ALONE,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """`background.background_dependence` for each fill, on all images and within each source of both classes.

    Beside it are the `shares` of single images, NaN where undefined, and the images' `positions` in the subject.

    Args:
        survey: of the subject's images.
        seed: of the bootstrap.
        sharing: the processes that share the images; all return the same.
        on_progress: called with the number of images done since the last call, of this process.
    """
    usable, total = survey.usable, len(subject.pack)
    own = replaced_logits(
        subject.model,
        subject.pack,
        sharing.shard(range(total)),
        lesion_of=lambda index: _at(survey.lesions[index], subject.pack.image_px) if usable[index] else None,
        preprocessing=subject.preprocessing,
        device=subject.device,
        on_progress=on_progress,
    )
    found = shared_logits(own, total, sharing)
    rows = found.indices
    names = np.array([subject.sources[row] if subject.sources else "" for row in rows])
    labels = subject.labels[rows]
    within = {}
    for name in sorted(set(names) - {""}):
        there = names == name
        if 0 < labels[there].sum() < there.sum():
            within[str(name)] = _dependence(subject, found, there, seed)
    fills = _dependence(subject, found, np.ones(len(rows), dtype=bool), seed) if len(rows) else {}
    return {
        "images": len(rows),
        "left_out": len(found.left_out),
        "fills": {fill: whole.to_dict() for fill, whole in fills.items()},
        "within": {name: {fill: part.to_dict() for fill, part in parts.items()} for name, parts in within.items()},
        "positions": rows.tolist(),
        "shares": {fill: _rounded(whole.share) for fill, whole in fills.items()},
    }


def faithfulness(
    subject: Subject,
    images: Sequence[int] | Int64[np.ndarray, " drawn"],
    *,
    seed: int = 0,
    methods: Sequence[str] = COMPARED,
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Deletion and insertion, randomised weights, small shifts, other methods: of Grad-CAM on some of the images.

    Intervals are the bootstrap's over images, those of `layers` Student's t over draws of random weights. `p_value` is
    as it is tested; `adjusted` is corrected by Holm for the tests of all fills, deletion and insertion.

    Args:
        images: positions among the subject's images.
        seed: of what is drawn at random, and of the bootstrap.
        methods: whose maps are compared with Grad-CAM's.
        on_progress: called with the number of parts done since the last call; `PARTS` in all.
    """
    told = on_progress or (lambda _: None)
    rows, group = np.asarray(images, dtype=np.int64), subject.groups[np.asarray(images, dtype=np.int64)]
    inputs = torch.cat(
        list(batches(subject.pack, rows, subject.preprocessing, batch_size=_BATCH, device=subject.device))
    )
    maps = explained(subject.model, inputs, _explain)
    told(1)
    measured = {}
    for fill in get_args(Fill):
        measured[fill] = deletion_and_insertion(subject.model, inputs, maps, fill=fill, seed=seed)
        told(1)
    few = inputs[:SANITY_IMAGES]
    checks = randomised_layers(subject.model, few, _explain, seed=seed, draws=SANITY_DRAWS)
    told(1)
    shifts = {str(share): max(1, round(share * int(inputs.shape[2]))) for share in SHIFTS}
    stable = {px: stability(subject.model, inputs, _explain, shift_px=px).mean for px in dict.fromkeys(shifts.values())}
    told(1)
    alike = {}
    for name in methods:
        other = explained(subject.model, inputs, partial(_explain, method=name))
        alike[name] = _mean(agreement(maps.numpy(), other.numpy()), group, seed)
    told(1)
    return {
        "method": "grad_cam",
        "images": len(rows),
        "ids": [subject.pack.ids[row] for row in rows],
        "seed": seed,
        "curves": _all_curves(measured, group, seed),
        "layers": [_layer(check) for check in checks],
        "stability": {str(px): _mean(values, group, seed) for px, values in stable.items()},
        "agreement": {METHODS[name].title: value for name, value in alike.items()},
        "values": _gains(measured) | {"stability": {share: _rounded(stable[px]) for share, px in shifts.items()}},
    }


PARTS = 4 + len(get_args(Fill))  # of the work of `faithfulness`


def drawn_images(count: int, total: int, *, seed: int) -> Int64[np.ndarray, " drawn"]:
    """Positions of `count` images of `total`, or of all, drawn at random, in order."""
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0xFA17)))
    drawn: Int64[np.ndarray, " drawn"] = np.sort(rng.permutation(total)[:count]).astype(np.int64)
    return drawn


def _explain(model: LesionClassifier, images: Tensor, *, method: str = "grad_cam") -> Tensor:
    return METHODS[method].explain(model, images).signed()


def _dependence(
    subject: Subject, found: ReplacedLogits, among: Bool[np.ndarray, " image"], seed: int
) -> dict[str, BackgroundDependence]:
    rows = found.indices[among]
    return {
        fill: background_dependence(
            found.logits[among],
            found.without_background[fill][among],
            found.without_lesion[fill][among],
            labels=subject.labels[rows],
            groups=subject.groups[rows],
            seed=seed,
        )
        for fill in found.without_background
    }


def _all_curves(measured: Mapping[Fill, Curves], group: Int64[np.ndarray, " image"], seed: int) -> dict[str, Any]:
    """`_curves` of each fill, with the p values of all of them corrected for their number."""
    found = {str(fill): _curves(curves, group, seed) for fill, curves in measured.items()}
    tests = [curves[kind] for curves in found.values() for kind in _KINDS]
    for test, adjusted in zip(tests, holm([test["p_value"] for test in tests]), strict=True):
        test["adjusted"] = adjusted
    return found


def _curves(curves: Curves, group: Int64[np.ndarray, " image"], seed: int) -> dict[str, Any]:
    """Mean curves of the decision's probability, and the areas under them beside those of random order."""
    areas, known = curves.areas("probability"), ~(curves.constant_map | curves.one_colour)
    points = curves.fractions.size
    found = {}
    for kind in _KINDS:
        area, random = getattr(areas, kind), getattr(areas, f"random_{kind}")
        tested = mean_difference(area, random, groups=group, seed=seed)
        found[kind] = {
            "area": _mean(area, group, seed),
            "random": _mean(random, group, seed),
            "difference": asdict(tested.difference),
            "p_value": tested.p_value,
            "curve": _mean_probability(getattr(curves, kind)[known]),
            "random_curve": _mean_probability(getattr(curves, f"random_{kind}")[known].reshape(-1, points)),
        }
    return {**found, "undefined": curves.undefined}


def _mean_probability(scores: Float64[np.ndarray, "image point"] | Any) -> list[float]:
    if not len(scores):
        return []
    return [float(value) for value in probability(scores.astype(np.float64)).mean(axis=0)]


def _gains(measured: Mapping[Fill, Curves]) -> dict[str, dict[str, list[float]]]:
    """By how much each image's area under a curve is better than that of the moved map, by kind and fill."""
    areas = {str(fill): curves.areas("probability") for fill, curves in measured.items()}
    return {
        f"{kind}_gain": {fill: _rounded(getattr(area, f"{kind}_gain")) for fill, area in areas.items()}
        for kind in _KINDS
    }


def _layer(check: LayerCheck) -> dict[str, Any]:
    draws, images = check.signed.shape
    return {
        "name": check.layer,
        "images": images,
        "draws": draws,
        "undefined": check.undefined,
        "correlation": asdict(over_draws(check.signed)),
        "absolute": asdict(over_draws(check.absolute)),
    }


def _rounded(values: Float64[np.ndarray, " image"]) -> list[float]:
    return [round(float(value), _DIGITS) for value in values]


def _mean(values: Float64[np.ndarray, " image"], group: Int64[np.ndarray, " image"], seed: int) -> dict[str, float]:
    interval: Interval = mean_interval(values, groups=group, seed=seed)
    return asdict(interval)


def _at(lesion: Bool[np.ndarray, "small small"], size_px: int) -> Bool[np.ndarray, "size size"]:
    share = cv2.resize(lesion.astype(np.float32), (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    larger: Bool[np.ndarray, "size size"] = np.asarray(share) >= 0.5
    return larger

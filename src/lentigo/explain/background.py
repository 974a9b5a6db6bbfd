"""How far a decision hangs on the background: images and lesion masks in, no heat map needed; shares and AUCs out.

Everything outside the lesion is replaced, or the lesion itself, and the network is asked again. A network that looks at
the lesion keeps its decision in the first case and loses it in the second; one that goes by the archive's frame, light
or ruler does the opposite. No replacement is a photograph, so there are three; what all three say can be believed.
Of a lesion that is replaced the place, size and outline can still be seen, least under "own".
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64, Integer, Real, Shaped, UInt8
from torch import nn

from lentigo.data.batches import preprocess_batch
from lentigo.data.pack import ImagePack
from lentigo.errors import ConfigError, DataError
from lentigo.evidence.intervals import UNDEFINED, Groups, Interval, auc_interval, share_interval
from lentigo.evidence.means import mean_interval
from lentigo.evidence.metrics import calls, check_scores
from lentigo.imaging import Preprocessing
from lentigo.learn.sharing import Sharing
from lentigo.models.contract import evaluating

# own: the skin of the same image: outside the median colour of a ring around the lesion; inside what the skin around
#   gives when it is blurred over the lesion. The archive's tone of skin stays.
# common: one colour for all images, so that nothing of the archive's light and frame stays.
# blur: the replaced part blurred by itself, so that its colours stay and its structures go.
Fill = Literal["own", "common", "blur"]
FILLS: tuple[Fill, ...] = get_args(Fill)

SKIN = (199.0, 163.0, 164.0)  # mean of the rings of 500 images each of isic2017, ham10000 and kaggle10605's malignant
BLUR = 0.1  # standard deviation of the blur; this and all lengths below are shares of the shorter side
LEAST_LESION = 0.002  # of the pixels; the smallest of isic2017's expert masks has 0.0045
LEAST_BACKGROUND = 0.01  # of the pixels, that can be replaced
_GROWN = 0.04  # what goes with the lesion all around: masks are drawn by hand, and a border is part of a lesion
_EDGE = 0.02  # in which one part goes over into the other, so that no line is drawn
_RING = 0.1  # of skin around that
_FRAME_LEVEL = 45  # of 255, in all channels: the black around a dermatoscope's disc is 0 to 30
_BLURRED_PX = 100  # images are blurred no larger: of what is smoothed over 10 px nothing more is to be seen
_FAR = 0.01  # of a blur's weight: what the mean of all that is known counts, so that deep inside no seams show

Images = UInt8[np.ndarray, "image height width 3"]
Masks = Bool[np.ndarray, "image height width"]
Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class ReplacedLogits:
    """Logits of the images whose lesion is known: as they are, and under each fill without background or lesion."""

    indices: Int64[np.ndarray, " image"]  # of these images in the pack
    left_out: Int64[np.ndarray, " other"]  # images asked for whose mask is missing or not `usable`
    logits: Float32[np.ndarray, " image"]
    without_background: Mapping[Fill, Float32[np.ndarray, " image"]]
    without_lesion: Mapping[Fill, Float32[np.ndarray, " image"]]


@dataclass(frozen=True, kw_only=True, eq=False)
class BackgroundDependence:
    """How far decisions hang on the background, by one fill; intervals are at 95 %, NaN where undefined."""

    share: Float64[np.ndarray, " image"]  # 0: on the lesion alone, 1: on the background alone; NaN where on neither
    mean_share: Interval  # over the images where it is defined
    flips_without_background: Interval  # share of the decisions that change
    flips_without_lesion: Interval
    auc: Interval
    auc_without_background: Interval
    auc_without_lesion: Interval  # 0.5: the background and the lesion's outline know nothing

    @property
    def undefined(self) -> int:
        """Images whose logit neither replacement changes."""
        return int(np.isnan(self.share).sum())

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values, without those of single images."""
        names = (
            "mean_share",
            "flips_without_background",
            "flips_without_lesion",
            "auc",
            "auc_without_background",
            "auc_without_lesion",
        )
        about = {name: {end: getattr(getattr(self, name), end) for end in ("value", "low", "high")} for name in names}
        return about | {"n": len(self.share), "undefined": self.undefined}


def usable(lesions: Masks) -> Bool[np.ndarray, " image"]:
    """Which masks divide their image: an empty one does not, nor one that leaves no background, or hardly any."""
    found = [
        lesion.mean() >= LEAST_LESION and (_nearness(lesion) == 0).mean() >= LEAST_BACKGROUND for lesion in lesions
    ]
    return np.array(found, dtype=bool)


def replace_outside(images: Images, lesions: Masks, fill: Fill, *, colour: Colour = SKIN) -> Images:
    """The images with all that is further than 6 % of the side from the lesion replaced; up to 4 % nothing changes.

    Args:
        images: RGB.
        lesions: True inside.
        fill: see `Fill`.
        colour: of "common", RGB from 0 to 255.
    Raises:
        DataError: a mask is not `usable`.
        ConfigError: the colour is out of range.
    """
    _check(lesions, colour)
    changed = np.empty_like(images)
    for image, lesion, target in zip(images, lesions, changed, strict=True):
        near = _nearness(lesion)
        part = np.array(colour, dtype=np.float32)
        if fill == "own":
            part = _skin_colour(image, lesion)
        elif fill == "blur":
            part = _blurred(image, 1 - near)
        target[:] = _mixed(image, part, 1 - near)
    return changed


def replace_inside(images: Images, lesions: Masks, fill: Fill, *, colour: Colour = SKIN) -> Images:
    """The images with the lesion and 4 % of the side around it replaced; from 6 % on nothing changes.

    Args, Raises: as `replace_outside`.
    """
    _check(lesions, colour)
    changed = np.empty_like(images)
    for image, lesion, target in zip(images, lesions, changed, strict=True):
        near = _nearness(lesion)
        part = np.array(colour, dtype=np.float32)
        if fill == "own":
            part = _blurred(image, _skin(image, near == 0))
        elif fill == "blur":
            part = _blurred(image, near)
        target[:] = _mixed(image, part, near)
    return changed


def replaced_logits(
    model: nn.Module,
    pack: ImagePack,
    indices: Sequence[int] | np.ndarray,
    *,
    lesion_of: Callable[[int], Bool[np.ndarray, "height width"] | None],
    preprocessing: Preprocessing,
    fills: Sequence[Fill] = FILLS,
    colour: Colour = SKIN,
    batch_size: int = 32,
    device: torch.device | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> ReplacedLogits:
    """Ask the network about packed images with their background or their lesion replaced; one batch is held at a time.

    Args:
        lesion_of: from an index in the pack to the lesion's mask at the pack's size; None: not known.
        fills, colour: as `replace_outside`.
        device: where the model is; None: found from its parameters.
        on_progress: called after every batch with the number of its images, those left out too.
    Raises:
        DataError: the pack is damaged, or a mask has another size than the pack.
        ConfigError: as `replace_outside`.
    """
    device = device or next(model.parameters()).device
    kept, left_out, rows = [], [], [np.empty((1 + 2 * len(fills), 0), dtype=np.float32)]
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(indices), batch_size):
            piece = [int(index) for index in indices[start : start + batch_size]]
            masks = [_usable_mask(pack, index, lesion_of) for index in piece]
            known = [index for index, mask in zip(piece, masks, strict=True) if mask is not None]
            if known:
                images, lesions = pack.read(known), np.stack([mask for mask in masks if mask is not None])
                versions = _versions(images, lesions, fills, colour)
                rows.append(np.stack([_logits(model, version, preprocessing, device) for version in versions]))
            kept += known
            left_out += [index for index, mask in zip(piece, masks, strict=True) if mask is None]
            if on_progress:
                on_progress(len(piece))
    logits = np.concatenate(rows, axis=1)
    return ReplacedLogits(
        indices=np.array(kept, dtype=np.int64),
        left_out=np.array(left_out, dtype=np.int64),
        logits=logits[0],
        without_background=dict(zip(fills, logits[1::2], strict=True)),
        without_lesion=dict(zip(fills, logits[2::2], strict=True)),
    )


def shared_logits(found: ReplacedLogits, total: int, sharing: Sharing) -> ReplacedLogits:
    """The logits of images 0 to `total`; `found` has those of this process's share, and all processes call it."""
    fills, mine = list(found.without_background), np.asarray(sharing.shard(range(total)), dtype=np.int64)
    known = np.isin(mine, found.indices)
    parts = [found.logits, *found.without_background.values(), *found.without_lesion.values()]
    rows = np.zeros((len(mine), len(parts)), dtype=np.float32)
    rows[known] = np.stack(parts, axis=1)
    known, rows = sharing.gather(known, total), sharing.gather(rows, total)
    logits = np.ascontiguousarray(rows[known].T)
    return ReplacedLogits(
        indices=np.flatnonzero(known),
        left_out=np.flatnonzero(~known),
        logits=logits[0],
        without_background=dict(zip(fills, logits[1 : 1 + len(fills)], strict=True)),
        without_lesion=dict(zip(fills, logits[1 + len(fills) :], strict=True)),
    )


def background_dependence(
    logits: Real[np.ndarray, " image"],
    without_background: Real[np.ndarray, " image"],
    without_lesion: Real[np.ndarray, " image"],
    *,
    labels: Integer[np.ndarray, " image"],
    groups: Groups = None,
    threshold_logit: float = 0.0,
    seed: int = 0,
) -> BackgroundDependence:
    """How far the logits change, decisions flip and the AUC falls without the background, and without the lesion.

    The share of an image is |change without background| / (|change without background| + |change without lesion|).

    Args:
        labels: 1 = malignant, 0 = benign.
        groups: one number an image; images of one number depend on each other.
        threshold_logit: an image is called malignant when its logit >= this.
        seed: of the mean share's bootstrap.
    Raises: DataError: see `metrics.check_scores`; a logit is infinite.
    """
    for values in (logits, without_background, without_lesion):
        check_scores(labels, values)
        if np.isinf(values).any():
            raise DataError("a logit is infinite, so no change of it can be measured; look at that image")
    exact = logits.astype(np.float64)
    of_background, of_lesion = np.abs(without_background - exact), np.abs(without_lesion - exact)
    total = of_background + of_lesion
    share = np.divide(of_background, total, out=np.full(len(total), math.nan), where=total > 0)
    before = calls(logits, threshold_logit)
    flips = [
        share_interval(calls(values, threshold_logit) != before, groups=groups)
        for values in (without_background, without_lesion)
    ]
    aucs = [_auc(labels, values, groups) for values in (logits, without_background, without_lesion)]
    return BackgroundDependence(
        share=share,
        mean_share=mean_interval(share, groups=groups, seed=seed),
        flips_without_background=flips[0],
        flips_without_lesion=flips[1],
        auc=aucs[0],
        auc_without_background=aucs[1],
        auc_without_lesion=aucs[2],
    )


def blur_weights(pixels: int, shorter_px: int) -> Float32[np.ndarray, "pixel other"]:
    """What every pixel of a line weighs in the blur of every other one: a Gaussian, not divided by its sum.

    Its deviation is `BLUR` of `shorter_px`. Once divided, the mean at an edge is over the pixels that there are.
    """
    apart = np.subtract.outer(np.arange(pixels), np.arange(pixels)) / (BLUR * shorter_px)
    weights: Float32[np.ndarray, "pixel other"] = np.exp(-(apart**2) / 2).astype(np.float32)
    return weights


def _nearness(lesion: Bool[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """1 in the lesion and close to it, 0 in the background, and a straight slope between them; 0 without a lesion."""
    if not lesion.any():
        return np.zeros(lesion.shape, dtype=np.float32)
    side = min(lesion.shape)
    slope = 1 - (_distance(lesion) - _GROWN * side) / max(_EDGE * side, 1.0)
    near: Float32[np.ndarray, "height width"] = slope.clip(0, 1).astype(np.float32)
    return near


def _distance(lesion: Bool[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Of each pixel to the nearest one of the lesion, in pixels."""
    away = cv2.distanceTransform((~lesion).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away, dtype=np.float32)


def _skin(
    image: UInt8[np.ndarray, "height width 3"], among: Bool[np.ndarray, "height width"]
) -> Bool[np.ndarray, "height width"]:
    """The pixels among these that are not as dark as a frame; all of these where no other is left."""
    skin = among & (image.max(axis=2) >= _FRAME_LEVEL)
    return skin if skin.any() else among


def _skin_colour(
    image: UInt8[np.ndarray, "height width 3"], lesion: Bool[np.ndarray, "height width"]
) -> Float32[np.ndarray, " channel"]:
    """Median of a ring around the grown lesion: hair and gleams are few there."""
    side, distance = min(lesion.shape), _distance(lesion)
    inner_px = _GROWN * side + max(_EDGE * side, 1.0)
    # One more, since a step from pixel to pixel might leap over a thin ring.
    ring = (distance >= inner_px) & (distance <= inner_px + _RING * side + 1)
    colour: Float32[np.ndarray, " channel"] = np.median(image[_skin(image, ring)], axis=0).astype(np.float32)
    return colour


def _blurred(
    image: UInt8[np.ndarray, "height width 3"], weight: Shaped[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width 3"]:
    """Gaussian mean around each pixel of the image's pixels as they weigh; what weighs 0 does not bleed into it."""
    height, width = weight.shape
    shrink = max(1.0, max(height, width) / _BLURRED_PX)
    rows, columns = max(1, round(height / shrink)), max(1, round(width / shrink))
    weighed = np.dstack([image, np.ones((height, width), dtype=np.uint8)]) * weight[..., None].astype(np.float32)
    small = np.asarray(cv2.resize(weighed, (columns, rows), interpolation=cv2.INTER_AREA))
    down, across = (blur_weights(side, min(rows, columns)) for side in (rows, columns))
    sums = across @ (down @ small.reshape(rows, -1)).reshape(rows, columns, 4)
    everywhere = small.mean(axis=(0, 1))
    whole_weight = 2 * math.pi * (BLUR * min(rows, columns)) ** 2
    sums += np.float32(_FAR * whole_weight) * everywhere / everywhere[3]
    means: Float32[np.ndarray, "row column 3"] = (sums[..., :3] / sums[..., 3:]).astype(np.float32)
    blurred = cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(blurred, dtype=np.float32)


def _mixed(
    image: UInt8[np.ndarray, "height width 3"],
    part: Float32[np.ndarray, "*plane 3"],
    weight: Float32[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width 3"]:
    share = weight[..., None]
    mixed: UInt8[np.ndarray, "height width 3"] = np.rint(image * (1 - share) + part * share).astype(np.uint8)
    return mixed


def _check(lesions: Masks, colour: Colour) -> None:
    if not all(0 <= value <= 255 for value in colour):  # NaN too
        raise ConfigError(f"colour is {colour}, not three numbers from 0 to 255; try {SKIN}")
    wrong = np.flatnonzero(~usable(lesions)).tolist()
    if wrong:
        raise DataError(
            f"the masks of images {wrong[:5]} of {len(lesions)} leave less than {LEAST_LESION:.1%} of the pixels to "
            f"the lesion or {LEAST_BACKGROUND:.0%} to the background; leave these images out, see `usable`"
        )


def _usable_mask(
    pack: ImagePack, index: int, lesion_of: Callable[[int], Bool[np.ndarray, "height width"] | None]
) -> Bool[np.ndarray, "height width"] | None:
    """The mask of a packed image; None where it is missing or not usable."""
    mask = lesion_of(index)
    if mask is not None and mask.shape != (pack.image_px, pack.image_px):
        raise DataError(
            f"the mask of {pack.ids[index]} has {mask.shape[1]} x {mask.shape[0]} pixels, the pack {pack.image_px} x "
            f"{pack.image_px}; resize the mask to the pack's size"
        )
    return mask if mask is not None and usable(mask[None])[0] else None


def _versions(images: Images, lesions: Masks, fills: Sequence[Fill], colour: Colour) -> Iterator[Images]:
    """The images as they are; then by each fill without background, and without lesion."""
    yield images
    for fill in fills:
        yield replace_outside(images, lesions, fill, colour=colour)
        yield replace_inside(images, lesions, fill, colour=colour)


def _logits(
    model: nn.Module, images: Images, preprocessing: Preprocessing, device: torch.device
) -> Float32[np.ndarray, " image"]:
    batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
    logits: Float32[np.ndarray, " image"] = model(preprocess_batch(batch, preprocessing)).float().cpu().numpy()
    return logits


def _auc(labels: Integer[np.ndarray, " image"], logits: Real[np.ndarray, " image"], groups: Groups) -> Interval:
    if labels.all() or not labels.any():
        return UNDEFINED
    return auc_interval(labels, logits, groups=groups)

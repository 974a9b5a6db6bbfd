"""Where the evidence of a heat map lies: positive maps on the image's grid and lesion masks in, measures an image out.

Nothing outside `region`, what the network sees of the image, counts. A measure is NaN where it has no meaning, and the
image's state says why. Two maps that know nothing, a centre Gaussian and a uniform one, are there to be measured beside
a network's, and all maps can be averaged to the cells of the coarsest one, so that a finer map wins nothing by being
fine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

from lentigo.errors import ConfigError, DataError
from lentigo.explain.on_image import seen, to_image_size
from lentigo.imaging import Preprocessing

MEASURES = ("inside", "density", "pointing", "best_iou", "fixed_iou", "pixel_auc")
MEASURED, EMPTY_MAP, NO_LESION, ALL_LESION = "measured", "empty map", "no lesion", "all lesion"
FIXED_SHARE = 0.2  # of a map's maximum, from which a pixel counts as highlighted; Zhou et al. 2016, section 3.2
SIGMA = 0.25  # of the region's side: standard deviation of the centre Gaussian
_PIECE = 128  # images at once
# Values as near to each other are ties: to_image_size spreads one value over at most 3.7 float32 steps, and without
# this the uniform map, once averaged and enlarged, has a pixel_auc of up to 0.60.
_TIES = np.float32(1 - 8 * np.finfo(np.float32).eps)
_WHOLE = Preprocessing(resize_px=None, crop_px=None)

Heat = Float32[np.ndarray, "image size size"]
Masks = Bool[np.ndarray, "_image _size _size"]  # not bound: another shape is refused with the reason
Region = Bool[np.ndarray, "size size"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Localisation:
    """Measures of each image. All six are NaN where its state is not "measured", so that all have means of one set.

    A lesion that fills the region is no measure of a map either: any map has all of its heat inside.
    """

    state: tuple[str, ...]  # measured; else the first that holds of: no lesion, all lesion (in the region), empty map
    inside: Float64[np.ndarray, " image"]  # share of the heat inside the lesion, in [0, 1]
    density: Float64[np.ndarray, " image"]  # that, over the lesion's share of the area; a uniform map has 1
    pointing: Float64[np.ndarray, " image"]  # 1: the hottest pixel is of the lesion; ties: the share of them that is
    best_iou: Float64[np.ndarray, " image"]  # intersection over union with the lesion, at the best threshold above 0
    fixed_iou: Float64[np.ndarray, " image"]  # at FIXED_SHARE of the map's maximum
    pixel_auc: Float64[np.ndarray, " image"]  # probability that a lesion's pixel is hotter than another; a tie: 1/2
    on: Mapping[str, Float64[np.ndarray, " image"]]  # by artefact, share of the heat on it; NaN for an empty map alone
    area_on: Mapping[str, Float64[np.ndarray, " image"]]  # by artefact, its share of the area; known for each image


def localise(
    heat: Heat, lesions: Masks, region: Region, *, artefacts: Mapping[str, Masks] | None = None
) -> Localisation:
    """Measure maps against lesions.

    Args:
        heat: positive part of a map for one decision, as `on_image.to_image_size` lays it over the image.
        lesions: True inside.
        region: what counts, such as `on_image.seen`.
        artefacts: by name, where frame, hair or ruler are.
    Raises: DataError: heat is negative or not finite, a mask is missing or of another size, or the region is empty.
    Source: pointing game: Zhang et al. 2018, doi:10.1007/s11263-017-1059-x; threshold at 20 % of the maximum: Zhou et
        al. 2016, doi:10.1109/CVPR.2016.319; share inside: Kohlbrenner et al. 2020, doi:10.1109/IJCNN48605.2020.9206975.
    """
    marks = artefacts or {}
    _check(heat, {"lesion": lesions, **marks}, region)
    return joined(
        [
            _measured(
                heat[start : start + _PIECE][:, region],
                lesions[start : start + _PIECE][:, region],
                {name: masks[start : start + _PIECE][:, region] for name, masks in marks.items()},
            )
            for start in range(0, max(len(heat), 1), _PIECE)
        ]
    )


def joined(parts: Sequence[Localisation]) -> Localisation:
    """The measures of one or more sets of images as one, in their order.

    Raises: DataError: there is no set.
    """
    if not parts:
        raise DataError("found no image to measure a map on; give at least one")
    whole = {name: np.concatenate([getattr(part, name) for part in parts]) for name in MEASURES}
    on, area_on = (
        {name: np.concatenate([getattr(part, kind)[name] for part in parts]) for name in parts[0].on}
        for kind in ("on", "area_on")
    )
    return Localisation(state=tuple(name for part in parts for name in part.state), on=on, area_on=area_on, **whole)


def centre_gaussian(region: Region, *, sigma: float = SIGMA) -> Float32[np.ndarray, "size size"]:
    """A Gaussian in the middle of the image, at most 1 and 0 outside the region: moles are photographed in the middle.

    Args:
        sigma: standard deviation, as a share of the region's side.
    Raises:
        ConfigError: sigma is not above 0.
        DataError: the region is no filled square.
    """
    if not sigma > 0:
        raise ConfigError(f"sigma is {sigma}, not above 0; try {SIGMA}")
    side, size = _window(region)[0], region.shape[0]
    apart = (np.arange(size) - (size - 1) / 2) / (sigma * side)
    line = np.exp(-(apart**2) / 2)
    heat: Float32[np.ndarray, "size size"] = (np.outer(line, line) * region).astype(np.float32)
    return heat


def uniform(region: Region) -> Float32[np.ndarray, "size size"]:
    """1 everywhere in the region, 0 outside it."""
    return region.astype(np.float32)


def common_region(preprocessings: Sequence[Preprocessing], size_px: int) -> Region:
    """What every one of the networks sees of an image, on its grid of `size_px` x `size_px`.

    Raises: ConfigError: as `on_image.seen`.
    """
    region = np.ones((size_px, size_px), dtype=bool)
    for preprocessing in preprocessings:
        region &= seen(preprocessing, size_px)
    return region


def common_view(preprocessings: Sequence[Preprocessing]) -> Preprocessing:
    """That of the network which sees least: all crops are centred squares, so the others see all of it.

    Raises: ConfigError: a preprocessing crops without a resize.
    """
    return min(preprocessings, key=_share_seen)


def common_cells(cells: Sequence[tuple[int, ...]], preprocessings: Sequence[Preprocessing]) -> int:
    """Rows and columns of the common region at the size of the coarsest map's cells; at least 1.

    Args:
        cells: rows and columns of each network's map.
        preprocessings: of the same networks.
    Raises: ConfigError: a preprocessing crops without a resize.
    """
    sides = [_share_seen(preprocessing) for preprocessing in preprocessings]
    largest = max(side / min(shape) for side, shape in zip(sides, cells, strict=True))
    return max(1, round(min(sides) / largest))


def maps_at_common_cells(
    maps: Float32[np.ndarray, "image rows columns"],
    preprocessing: Preprocessing,
    *,
    common: Preprocessing,
    cells: int,
    size_px: int,
) -> Heat:
    """A network's maps averaged to `cells` x `cells` over the common view, and laid over the image.

    It takes the cells as the network gives them, before any enlargement: a map that has the common cells already stays
    what it is, and a finer one whose cells fill whole common ones scores what a network with their means for cells
    would. Cells across a border are divided as if their heat rose evenly towards the hotter neighbour. Cut as even
    blocks, the same evidence has 2.4 to 4.5 points less `inside` in 7 x 7 cells averaged to 6 x 6 than in 6 x 6 cells,
    on drawn blobs in moles, the more the sharper they are; so it has 0.6 to 3.5 points less.

    Args:
        maps: positive part for one decision; the cells divide what the network sees evenly.
        preprocessing: of the network.
        common: `common_view` of all networks that are compared.
        cells: `common_cells` of them.
        size_px: height and width of the image's grid.
    Raises:
        ConfigError: cells or `size_px` is below 1, or a preprocessing crops without a resize.
        DataError: the network sees less than the common view.
    Source: van Leer 1979, doi:10.1016/0021-9991(79)90145-1; as a remapping of grids: Jones 1999,
        doi:10.1175/1520-0493(1999)127<2204:FASOCR>2.0.CO;2.
    """
    _check_cells(cells)
    if _share_seen(preprocessing) < _share_seen(common):
        raise DataError(f"a network sees {preprocessing}, less than the common view {common}; take common_view of all")
    target, values = _edges(common, cells), maps.astype(np.float64)
    down, across = (_overlaps(target, _edges(preprocessing, length)) for length in maps.shape[1:])
    fall, rise = _slopes(values)
    averaged = (
        down.shares @ values @ across.shares.T
        + down.levers @ fall @ across.shares.T
        + down.shares @ rise @ across.levers.T
    )
    return to_image_size(averaged.clip(min=0).astype(np.float32), common, size_px=size_px)  # against rounding


def at_common_cells(heat: Heat, region: Region, cells: int) -> Heat:
    """Heat averaged to `cells` x `cells` over a square region, and enlarged to it again as `on_image` does.

    For maps that are drawn by the pixel, as the baselines are. A network's map that was enlarged before would be
    blurred once more, a coarse one most: for those there is `maps_at_common_cells`.

    Raises:
        ConfigError: cells is below 1.
        DataError: the region is no filled square.
    """
    _check_cells(cells)
    side, window = _window(region)
    shares = _overlaps(np.arange(cells + 1) / cells, np.arange(side + 1) / side).shares.astype(np.float32)
    common = np.zeros(heat.shape, np.float32)
    for start in range(0, len(heat), _PIECE):
        averaged = shares @ heat[start : start + _PIECE, *window] @ shares.T
        common[start : start + _PIECE, *window] = to_image_size(averaged, _WHOLE, size_px=side)
    return common


def _measured(
    heat: Float32[np.ndarray, "image pixel"],
    lesions: Bool[np.ndarray, "image pixel"],
    marks: Mapping[str, Bool[np.ndarray, "image pixel"]],
) -> Localisation:
    area, most = lesions.mean(axis=1), heat.max(axis=1, keepdims=True)
    state = np.select([area == 0, area == 1, most[:, 0] == 0], [NO_LESION, ALL_LESION, EMPTY_MAP], MEASURED)
    inside, hottest = _share_on(heat, lesions), heat >= _TIES * most
    ranked = [_by_threshold(*pair) if s == MEASURED else (0, 0) for *pair, s in zip(heat, lesions, state, strict=True)]
    best_iou, pixel_auc = np.array(ranked, dtype=np.float64).reshape(-1, 2).T
    found = {
        "inside": inside,
        "density": np.divide(inside, area, out=np.full(len(area), np.nan), where=area > 0),
        "pointing": (hottest & lesions).sum(axis=1) / hottest.sum(axis=1),
        "best_iou": best_iou,
        "fixed_iou": _iou(heat >= FIXED_SHARE * float(_TIES) * most.astype(np.float64), lesions),
        "pixel_auc": pixel_auc,
    }
    return Localisation(
        state=tuple(map(str, state)),
        on={name: _share_on(heat, masks) for name, masks in marks.items()},
        area_on={name: masks.mean(axis=1) for name, masks in marks.items()},
        **{name: np.where(state == MEASURED, values, np.nan) for name, values in found.items()},
    )


def _share_on(
    heat: Float32[np.ndarray, "image pixel"], masks: Bool[np.ndarray, "image pixel"]
) -> Float64[np.ndarray, " image"]:
    on, total = ((heat * where).sum(axis=1, dtype=np.float64) for where in (masks, np.True_))
    shares: Float64[np.ndarray, " image"] = np.divide(on, total, out=np.full(len(heat), np.nan), where=total > 0)
    return shares


def _iou(one: Bool[np.ndarray, "image pixel"], other: Bool[np.ndarray, "image pixel"]) -> Float64[np.ndarray, " image"]:
    either = (one | other).sum(axis=1)
    iou: Float64[np.ndarray, " image"] = (one & other).sum(axis=1) / either  # a highlighted pixel is always there
    return iou


def _by_threshold(heat: Float32[np.ndarray, " pixel"], lesion: Bool[np.ndarray, " pixel"]) -> tuple[float, float]:
    """Best intersection over union, and area under the ROC curve, of the pixels at or above each value of the heat.

    One sort: the bits of floats from 0 on are in the order of the floats, and the one of the sign is free for the
    lesion. Sorting places instead of numbers takes four times as long: 8.7 s against 2.0 s for 2,000 images of 150 x
    150, on one core.
    """
    keys = np.sort(heat.view(np.uint32) << 1 | lesion)[::-1]
    ordered = (keys >> 1).view(np.float32)
    ends = np.flatnonzero(np.append(ordered[1:] < _TIES * ordered[:-1], True))  # a threshold takes all of a tie
    found = np.cumsum(keys & 1)[ends].astype(np.float64)
    false = ends + 1 - found
    n_lesion, n_other = found[-1], false[-1]
    iou = found / (n_lesion + false)
    # The curve goes from end to end in straight lines: a tie counts one half.
    area = np.diff(false, prepend=0) @ (found + np.append(0, found[:-1])) / 2
    return float(iou[ordered[ends] > 0].max(initial=0)), float(area / (n_lesion * n_other))


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """Along one side: what every source cell gives to the mean over each target cell."""

    shares: Float64[np.ndarray, "target_cell cell"]  # rows sum to 1
    levers: Float64[np.ndarray, "target_cell cell"]  # shares times how far off the cell's centre they are cut, in cells


def _overlaps(target: Float64[np.ndarray, " target_edge"], source: Float64[np.ndarray, " edge"]) -> _Overlaps:
    """Of cells by their edges, rising, in one unit."""
    target, source = np.round(target, 12), np.round(source, 12)  # so that equal edges are equal, and nothing leaks
    low, high = np.maximum(target[:-1, None], source[:-1]), np.minimum(target[1:, None], source[1:])
    overlap = np.maximum(high - low, 0)
    shares = overlap / overlap.sum(axis=1, keepdims=True)
    return _Overlaps(shares, shares * (low + high - source[:-1] - source[1:]) / 2 / np.diff(source))


def _slopes(
    maps: Float64[np.ndarray, "image rows columns"],
) -> tuple[Float64[np.ndarray, "image rows columns"], Float64[np.ndarray, "image rows columns"]]:
    """How heat changes within each cell, down and across, per cell: as between its neighbours.

    Less where a corner would otherwise be below 0. So a cell keeps its mean, and one without heat stays without.
    """
    beside = np.pad(maps, ((0, 0), (1, 1), (1, 1)), mode="edge")
    down, across = (beside[:, 2:, 1:-1] - beside[:, :-2, 1:-1]) / 2, (beside[:, 1:-1, 2:] - beside[:, 1:-1, :-2]) / 2
    drop = np.abs(down) + np.abs(across)  # from corner to corner; half of it from the centre
    kept = np.divide(2 * maps, drop, out=np.ones_like(maps), where=drop > 2 * maps)
    return kept * down, kept * across


def _edges(preprocessing: Preprocessing, cells: int) -> Float64[np.ndarray, " edge"]:
    """Edges of a map's cells as shares of the image's side."""
    resize_px, crop_px = preprocessing.resize_px, preprocessing.crop_px
    first = 0.0 if resize_px is None or crop_px is None else round((resize_px - crop_px) / 2) / resize_px
    edges: Float64[np.ndarray, " edge"] = first + _share_seen(preprocessing) * np.arange(cells + 1) / cells
    return edges


def _share_seen(preprocessing: Preprocessing) -> float:
    """Side of the crop as a share of the image's."""
    seen(preprocessing, 1)  # refuses a crop whose share is not known
    if preprocessing.resize_px is None or preprocessing.crop_px is None:
        return 1.0
    return preprocessing.crop_px / preprocessing.resize_px


def _window(region: Region) -> tuple[int, tuple[slice, slice]]:
    """Side and place of a square region."""
    rows, columns = (np.flatnonzero(region.any(axis=axis)) for axis in (1, 0))
    if not rows.size or len(rows) != len(columns) or region.sum() != len(rows) ** 2:
        raise DataError(
            f"the region has {int(region.sum())} pixels in {len(rows)} rows and {len(columns)} columns, which is no "
            "filled square; give what the network sees, see on_image.seen"
        )
    return len(rows), (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))


def _check(heat: Heat, masks: Mapping[str, Masks], region: Region) -> None:
    for name, given in masks.items():
        if given.shape != heat.shape:
            raise DataError(
                f"masks ({name}) have shape {given.shape} and maps {heat.shape}; give one mask an image, at its size"
            )
    if not region.any():
        raise DataError("the region that counts has no pixel; give what the network sees, see on_image.seen")
    for start in range(0, len(heat), _PIECE):
        piece = heat[start : start + _PIECE]
        if not (np.isfinite(piece).all() and (piece >= 0).all()):
            raise DataError("heat holds NaN, infinite or negative values; give the positive part of a map")


def _check_cells(cells: int) -> None:
    if cells < 1:
        raise ConfigError(f"cells is {cells}, not 1 or more; take localisation.common_cells")

"""Which network looks at the lesion: the measures of several networks on the same images in, a ranking with tests out.

Every measure is taken twice: on each network's own map, and with all maps averaged to the cells of the coarsest one, so
that a finer map wins nothing by being fine. Beside the networks stand two maps that know nothing of the image, a centre
Gaussian and a uniform one: moles are photographed in the middle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from lentigo.errors import DataError
from lentigo.evidence.comparison import holm
from lentigo.evidence.intervals import Interval
from lentigo.evidence.means import MeanDifference, mean_difference, mean_interval
from lentigo.explain.localisation import (
    EMPTY_MAP,
    MEASURED,
    Localisation,
    at_common_cells,
    centre_gaussian,
    common_cells,
    common_region,
    common_view,
    joined,
    localise,
    maps_at_common_cells,
    uniform,
)
from lentigo.explain.on_image import seen, to_image_size
from lentigo.explain.survey import ARTEFACTS, Survey
from lentigo.imaging import Preprocessing

MEASURES = {
    "inside": "evidence inside the lesion",
    "density": "evidence inside, by area",
    "pointing": "strongest point inside",
    "best_iou": "overlap, best threshold",
    "fixed_iou": "overlap, at 20 % of the maximum",
    "pixel_auc": "ranking of pixels, AUC",
}
PRIMARY = "inside"  # the verdict's measure: the share of a network's positive evidence that lies in the lesion
BASELINES = {"centre": "Centre Gaussian", "uniform": "Uniform map"}
CLASSES = ("benign", "malignant")
LEVEL = 0.05
_PIECE = 256  # images at once


@dataclass(frozen=True, kw_only=True, eq=False)
class Maps:
    """One network's heat maps of the images that are compared."""

    title: str
    maps: Float32[np.ndarray, "image rows columns"]  # signed: above 0 for malignant
    preprocessing: Preprocessing


@dataclass(frozen=True, kw_only=True)
class Look:
    """Where one network, or a baseline, has its evidence: means over images with their 95 % intervals."""

    title: str
    baseline: bool
    cells: tuple[int, int] | None  # rows and columns of its own map; None: a baseline, drawn by the pixel
    common: Mapping[str, Interval]  # by measure, all maps at the same cells, on the same images
    own: Mapping[str, Interval]  # by measure, the map as it is, within what the network sees
    own_centre: Mapping[str, Interval]  # the centre Gaussian within what the network sees, on the same images
    by_class: Mapping[str, Mapping[str, Interval]]  # class -> measure, at the common cells
    artefacts: Mapping[str, tuple[Interval, Interval]]  # frame, hair, ruler: share of evidence on it, and of area
    states: Mapping[str, int]  # how many images were measured, or why not

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class LookPair:
    """Two networks, or a network and the centre Gaussian, on the images on which every network can be measured."""

    first: str
    second: str
    differences: Mapping[str, MeanDifference]  # by measure, first less second, at the common cells
    adjusted: Mapping[str, float]  # p values by measure, corrected for the number of pairs (Holm)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """The comparison of several networks' looks."""

    looks: Mapping[str, Look]  # by name: the networks in the order given, then the baselines
    pairs: tuple[LookPair, ...]  # of networks
    against_centre: tuple[LookPair, ...]  # each network less the centre Gaussian
    ranking: tuple[str, ...]  # networks, the best first, by PRIMARY at the common cells
    rankings: Mapping[str, tuple[str, ...]]  # the same by every measure
    cells: int  # rows and columns that all maps were averaged to
    images: int  # whose lesion is known
    together: int  # of these, on which every network's map can be measured; the common cells are of these
    dropped: Mapping[str, int]  # images less together, by why: no lesion, all lesion (in the common region), empty map
    empty: Mapping[str, int]  # of them by network: where nothing in the common region speaks for what the image is
    masks: Mapping[str, int]  # images by the origin of their mask, or why they were left out
    paper: str  # what becomes of the paper's choice of Tiny VGG, by PRIMARY: holds, refuted, undecided, not asked
    verdicts: Mapping[str, str]  # the same by every measure
    inside: Mapping[str, Float64[np.ndarray, " image"]]  # PRIMARY at the common cells; NaN where not measured

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values, without those of single images."""
        return {key: value for key, value in asdict(self).items() if key != "inside"}


def compare_looks(
    models: Mapping[str, Maps],
    survey: Survey,
    labels: Int64[np.ndarray, " image"],
    *,
    groups: Sequence[int] | Int64[np.ndarray, " image"] | None = None,
    seed: int = 0,
) -> Looks:
    """Measure, rank and test.

    A map shows what speaks for that which the image is: malignant in a malignant image, benign in a benign one.

    Args:
        models: by name; maps of the survey's images, in their order.
        labels: 1 = malignant, 0 = benign.
        groups: one number an image, of its lesion or patient: images of one number depend on each other.
        seed: of the intervals and tests.
    Raises: DataError: no model, or one whose maps are not of the survey's images.
    """
    _check(models, survey, labels)
    settings = [model.preprocessing for model in models.values()]
    cells = common_cells([model.maps.shape[1:] for model in models.values()], settings)
    region = common_region(settings, survey.size_px)
    averaged = partial(_averaged, labels=labels, common=common_view(settings), cells=cells, size_px=survey.size_px)
    found = {name: _of_network(model, labels, survey, region, averaged) for name, model in models.items()}
    found |= _of_baselines(survey, region, cells)
    # The same images for all: an empty map has no share, and leaving it out for one network alone would favour it.
    have_a_map = [~np.isnan(getattr(found[name].common, PRIMARY)) for name in models]
    together: Bool[np.ndarray, " image"] = survey.usable & np.logical_and.reduce(have_a_map)
    draws = _Draws(group=np.arange(len(labels)) if groups is None else np.asarray(groups), seed=seed)
    looks = {name: _look(of, survey, together, labels, draws) for name, of in found.items()}
    pairs = _pairs(list(combinations(models, 2)), found, together, draws)
    rankings = {measure: _ranking(list(models), looks, measure) for measure in MEASURES}
    verdicts = {measure: paper_verdict(pairs, rankings[measure], looks, measure=measure) for measure in MEASURES}
    dropped, empty = _dropped({name: found[name].common for name in models}, survey.usable)
    return Looks(
        looks=looks,
        pairs=pairs,
        against_centre=_pairs([(name, "centre") for name in models], found, together, draws),
        ranking=rankings[PRIMARY],
        rankings=rankings,
        cells=cells,
        images=int(survey.usable.sum()),
        together=int(together.sum()),
        dropped=dropped,
        empty=empty,
        masks=survey.counts(),
        paper=verdicts[PRIMARY],
        verdicts=verdicts,
        inside={name: np.where(survey.usable, getattr(found[name].common, PRIMARY), np.nan) for name in models},
    )


def measure(model: Maps, survey: Survey, labels: Int64[np.ndarray, " image"]) -> Localisation:
    """Every image of the survey, by the network's own cells, within what it sees."""
    heat_of = partial(heat_for_truth, model, labels, survey.size_px)
    return _measured(heat_of, survey, seen(model.preprocessing, survey.size_px))


def heat_for_truth(
    model: Maps, labels: Int64[np.ndarray, " image"], size_px: int, rows: slice
) -> Float32[np.ndarray, "row size size"]:
    """What speaks for that which each image is, on the image's grid; 0 elsewhere and outside the crop.

    Args:
        rows: of which images.
    """
    return to_image_size(_for_truth(model, labels, rows), model.preprocessing, size_px=size_px)


def paper_verdict(
    pairs: Sequence[LookPair], ranking: Sequence[str], looks: Mapping[str, Look], *, measure: str = PRIMARY
) -> str:
    """The paper chose Tiny VGG since its maps lay on the mole best.

    holds: its mean of the measure is the highest, with p below 0.05 against every other network; refuted: another has
    a higher one, with p below 0.05; undecided: neither; not asked: no Tiny VGG, or nothing to compare it with.
    """
    ours = [pair for pair in pairs if "tiny_vgg" in (pair.first, pair.second)]
    if not ours or any(np.isnan(looks[name].common[measure].value) for name in ranking):
        return "not asked"
    apart = [pair for pair in ours if pair.adjusted[measure] < LEVEL]
    ahead = [(pair.differences[measure].difference.value > 0) == (pair.first == "tiny_vgg") for pair in apart]
    if not all(ahead):
        return "refuted"
    return "holds" if len(apart) == len(ours) else "undecided"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """Measures of one network's maps, or of a baseline, image by image."""

    title: str
    cells: tuple[int, int] | None
    common: Localisation
    own: Localisation
    own_centre: Localisation


@dataclass(frozen=True, kw_only=True, eq=False)
class _Draws:
    """How means and differences over some of the images are drawn again."""

    group: Int64[np.ndarray, " image"]
    seed: int

    def mean(self, values: Float64[np.ndarray, " image"], used: Bool[np.ndarray, " image"]) -> Interval:
        return mean_interval(values[used], groups=self.group[used], seed=self.seed)

    def difference(
        self,
        first: Float64[np.ndarray, " image"],
        second: Float64[np.ndarray, " image"],
        used: Bool[np.ndarray, " image"],
    ) -> MeanDifference:
        return mean_difference(first[used], second[used], groups=self.group[used], seed=self.seed)


def _check(models: Mapping[str, Maps], survey: Survey, labels: np.ndarray) -> None:
    if not models:
        raise DataError("there is no heat map to measure; explain one network or more")
    for name, model in models.items():
        if len(model.maps) != len(survey.ids) or len(labels) != len(survey.ids):
            raise DataError(
                f"{name} has {len(model.maps)} maps and {len(labels)} labels for {len(survey.ids)} images; explain it "
                "on the same images"
            )


def _for_truth(
    model: Maps, labels: Int64[np.ndarray, " image"], rows: slice
) -> Float32[np.ndarray, "row rows columns"]:
    signs = np.where(labels[rows] == 1, 1, -1).astype(np.float32)
    return np.maximum(model.maps[rows] * signs[:, None, None], 0)


def _averaged(
    model: Maps, rows: slice, *, labels: Int64[np.ndarray, " image"], common: Preprocessing, cells: int, size_px: int
) -> Float32[np.ndarray, "row size size"]:
    """As `heat_for_truth`, at the common cells."""
    maps = _for_truth(model, labels, rows)
    return maps_at_common_cells(maps, model.preprocessing, common=common, cells=cells, size_px=size_px)


def _of_network(
    model: Maps,
    labels: Int64[np.ndarray, " image"],
    survey: Survey,
    region: Bool[np.ndarray, "size size"],
    averaged: Callable[[Maps, slice], Float32[np.ndarray, "image size size"]],
) -> _Found:
    sight = seen(model.preprocessing, survey.size_px)
    return _Found(
        title=model.title,
        cells=model.maps.shape[1:],
        common=_measured(partial(averaged, model), survey, region),
        own=measure(model, survey, labels),
        own_centre=_measured(_same(centre_gaussian(sight)), survey, sight),
    )


def _of_baselines(survey: Survey, region: Bool[np.ndarray, "size size"], cells: int) -> dict[str, _Found]:
    """By name; they are drawn within the common region, which they take for what they see."""
    drawn = {"centre": centre_gaussian(region), "uniform": uniform(region)}
    own = {name: _measured(_same(heat), survey, region) for name, heat in drawn.items()}
    return {
        name: _Found(
            title=BASELINES[name],
            cells=None,
            common=_measured(_same(at_common_cells(heat[None], region, cells)[0]), survey, region),
            own=own[name],
            own_centre=own["centre"],
        )
        for name, heat in drawn.items()
    }


def _measured(
    heat_of: Callable[[slice], Float32[np.ndarray, "image size size"]],
    survey: Survey,
    region: Bool[np.ndarray, "size size"],
) -> Localisation:
    """Piece by piece, so that the enlarged maps of a few images are held at a time."""
    parts = []
    for start in range(0, len(survey.ids), _PIECE):
        rows = slice(start, min(start + _PIECE, len(survey.ids)))
        marks = {name: masks[rows] for name, masks in survey.artefacts.items()}
        parts.append(localise(heat_of(rows), survey.lesions[rows], region, artefacts=marks))
    return joined(parts)


def _same(heat: Float32[np.ndarray, "size size"]) -> Callable[[slice], Float32[np.ndarray, "image size size"]]:
    """One map for every image."""
    return lambda rows: np.broadcast_to(heat, (rows.stop - rows.start, *heat.shape))


def _look(
    found: _Found,
    survey: Survey,
    together: Bool[np.ndarray, " image"],
    labels: Int64[np.ndarray, " image"],
    draws: _Draws,
) -> Look:
    usable = survey.usable
    own_map = usable & ~np.isnan(getattr(found.own, PRIMARY))
    return Look(
        title=found.title,
        baseline=found.cells is None,
        cells=found.cells,
        common=_means(found.common, together, draws),
        own=_means(found.own, own_map, draws),
        own_centre=_means(found.own_centre, own_map, draws),
        by_class={
            kind: _means(found.common, together & (labels == label), draws) for label, kind in enumerate(CLASSES)
        },
        artefacts=_artefact_means(found.own, usable, draws),
        states=_states(found.own, survey),
    )


def _ranking(names: Sequence[str], looks: Mapping[str, Look], measure: str) -> tuple[str, ...]:
    """The best first, and last of all those that could not be measured."""
    return tuple(sorted(names, key=lambda name: -np.nan_to_num(looks[name].common[measure].value, nan=-np.inf)))


def _dropped(
    found: Mapping[str, Localisation], usable: Bool[np.ndarray, " image"]
) -> tuple[dict[str, int], dict[str, int]]:
    """Usable images that not every network can be measured on, by why; and by network, those with an empty map."""
    states = np.array([of.state for of in found.values()], dtype=np.str_)[:, usable]
    empty = states == EMPTY_MAP
    why = np.where(empty.any(axis=0), EMPTY_MAP, states[0])  # a lesion out of the region is so for every network
    names, counts = np.unique(why[why != MEASURED], return_counts=True)
    dropped = {str(name): int(count) for name, count in zip(names, counts, strict=True)}
    return dropped, dict(zip(found, map(int, empty.sum(axis=1)), strict=True))


def _means(found: Localisation, used: Bool[np.ndarray, " image"], draws: _Draws) -> dict[str, Interval]:
    return {name: draws.mean(getattr(found, name), used) for name in MEASURES}


def _artefact_means(
    found: Localisation, used: Bool[np.ndarray, " image"], draws: _Draws
) -> dict[str, tuple[Interval, Interval]]:
    """Over images that show the artefact, and whose map is not empty."""
    means = {}
    for name in ARTEFACTS:
        there = used & (found.area_on[name] > 0) & ~np.isnan(found.on[name])
        means[name] = draws.mean(found.on[name], there), draws.mean(found.area_on[name], there)
    return means


def _states(found: Localisation, survey: Survey) -> dict[str, int]:
    names, counts = np.unique(np.asarray(found.state)[survey.usable], return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}


def _pairs(
    names: Sequence[tuple[str, str]],
    found: Mapping[str, _Found],
    used: Bool[np.ndarray, " image"],
    draws: _Draws,
) -> tuple[LookPair, ...]:
    differences = [_differences(found[first].common, found[second].common, used, draws) for first, second in names]
    adjusted = {measure: holm([pair[measure].p_value for pair in differences]) for measure in MEASURES}
    return tuple(
        LookPair(
            first=first,
            second=second,
            differences=differences[place],
            adjusted={measure: adjusted[measure][place] for measure in MEASURES},
        )
        for place, (first, second) in enumerate(names)
    )


def _differences(
    first: Localisation, second: Localisation, used: Bool[np.ndarray, " image"], draws: _Draws
) -> dict[str, MeanDifference]:
    return {name: draws.difference(getattr(first, name), getattr(second, name), used) for name in MEASURES}

"""What lies where in the images that are explained: the lesion, and the frame, hair and ruler beside it.

In: a table and its pack. Out: one small mask of each an image. A lesion mask that the table names is used; else the
lesion is found automatically, or by a trained segmenter, each with a confidence. What cannot be relied on is left out
of all statistics, and counted.
"""

import contextlib
import hashlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from lentigo.data.masks import mask_digests, read_mask, squeeze_mask
from lentigo.data.pack import ImagePack, default_cache
from lentigo.data.regions import frame_region, hair_region, ruler_region
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.explain.lesion import LEAST_CONFIDENCE, find_lesion
from lentigo.explain.lesion_weights import FIRST_LOOK, OUTLINE, SECOND_LOOK
from lentigo.files import whole_file
from lentigo.learn.sharing import Sharing
from lentigo.machine import cores

SIZE_PX = 100  # a cell of the finest map here, Tiny VGG's, is 1.3 pixels wide; 2,000 images take 80 MB
ARTEFACTS: Mapping[str, Callable[[UInt8[np.ndarray, "height width 3"]], Bool[np.ndarray, "height width"]]] = {
    "frame": frame_region,
    "hair": hair_region,
    "ruler": ruler_region,
}
ORIGINS = ("expert", "automatic", "segmenter")
_VERSION = 3  # of what is found; another one makes earlier files void
_IN_FLIGHT = 64
_MAX_THREADS = 4

Masks = Bool[np.ndarray, "image size size"]


@runtime_checkable
class Segmenter(Protocol):
    """Finds lesions by a trained network."""

    @property
    def key(self) -> str:
        """Names the network's weights."""

    @property
    def least_confidence(self) -> float:
        """Masks below it are left out."""

    def __call__(
        self, pack: ImagePack, indices: Sequence[int], *, size_px: int
    ) -> tuple[Masks, Float64[np.ndarray, " image"]]:
        """Masks and confidences of the images at `indices`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Survey:
    """Masks of the images, squeezed to squares."""

    ids: tuple[str, ...]
    lesions: Masks
    origins: tuple[str, ...]  # one of ORIGINS an image
    confidences: Float64[np.ndarray, " image"]  # in [0, 1], of the lesion's mask; 1 for an expert's
    least_confidence: Mapping[str, float]  # by origin
    artefacts: Mapping[str, Masks]  # by the names of ARTEFACTS

    @property
    def size_px(self) -> int:
        return int(self.lesions.shape[1])

    @property
    def states(self) -> tuple[str, ...]:
        """Of each image: its origin where the mask is used, else why it is left out."""
        return tuple(
            f"{origin}, empty" if not mask.any()
            else f"{origin}, low confidence" if confidence < self.least_confidence[origin]
            else origin
            for origin, mask, confidence in zip(self.origins, self.lesions, self.confidences, strict=True)
        )  # fmt: skip

    @property
    def usable(self) -> Bool[np.ndarray, " image"]:
        """Images whose lesion's place is known well enough."""
        return np.array([state in ORIGINS for state in self.states], dtype=bool)

    def counts(self) -> dict[str, int]:
        """Images by state, the used ones first."""
        found = Counter(self.states)
        return {state: found[state] for state in sorted(found, key=lambda state: (state not in ORIGINS, state))}

    def of(self, indices: Sequence[int] | np.ndarray) -> "Survey":
        """Of the images at `indices`."""
        return Survey(
            ids=tuple(self.ids[index] for index in indices),
            lesions=self.lesions[indices],
            origins=tuple(self.origins[index] for index in indices),
            confidences=self.confidences[indices],
            least_confidence=self.least_confidence,
            artefacts={name: masks[indices] for name, masks in self.artefacts.items()},
        )


def survey_images(
    table: ImageTable,
    pack: ImagePack,
    *,
    segmenter: Segmenter | None = None,
    size_px: int = SIZE_PX,
    sharing: Sharing | None = None,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Survey:
    """Masks of every image of a table, kept in `CACHE/surveys/KEY.npz` for later calls.

    Args:
        pack: of the table's images.
        segmenter: finds the lesions that no mask is given for; None: `lesion.find_lesion` does.
        size_px: height and width of the masks.
        sharing: of the images among processes; None: this one does all.
        cache: as for packs; None: `default_cache()`.
        progress: called with the number of images done since the last call.
    Raises: DataError: a mask cannot be read or is of another size than its image, the pack is damaged, or the disk is
        full.
    """
    key = survey_key(table, pack, segmenter=segmenter, size_px=size_px)
    path = (cache or default_cache()) / "surveys" / f"{key}.npz"
    kept = _kept(path, table, size_px)
    sharing = sharing or Sharing()
    everywhere = sharing.all_have(kept is not None)  # caches of several machines may differ
    if kept is not None and everywhere:
        if progress:
            progress(len(table))
        return kept
    survey = _surveyed(table, pack, segmenter, size_px, sharing, progress)
    if sharing.rank == 0:
        _keep(path, survey)
    return survey


def survey_key(
    table: ImageTable, pack: ImagePack, *, segmenter: Segmenter | None = None, size_px: int = SIZE_PX
) -> str:
    """Names all that `survey_images` depends on: the images, the contents of their masks, and what finds the others.

    Raises: DataError: a mask cannot be read.
    """
    finder = (LEAST_CONFIDENCE, "") if segmenter is None else (segmenter.least_confidence, segmenter.key)
    weights = () if segmenter is not None else map(str, (FIRST_LOOK, SECOND_LOOK, OUTLINE))
    parts = [str(_VERSION), str(size_px), *map(str, finder), *weights, pack.key, *mask_digests(table)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _surveyed(
    table: ImageTable,
    pack: ImagePack,
    segmenter: Segmenter | None,
    size_px: int,
    sharing: Sharing,
    progress: Callable[[int], None] | None,
) -> Survey:
    mine = [int(row) for row in sharing.shard(range(len(table)))]  # of this process
    lesions = np.zeros((len(mine), size_px, size_px), dtype=bool)
    artefacts = {name: np.zeros_like(lesions) for name in ARTEFACTS}
    confidences = np.ones(len(mine))

    def survey(place: int, image: UInt8[np.ndarray, "height width 3"]) -> None:
        row = table.rows[mine[place]]
        for name, find in ARTEFACTS.items():
            artefacts[name][place] = squeeze_mask(find(image), size_px)
        if row.mask:
            lesions[place] = squeeze_mask(read_mask(Path(row.mask), image=row.path), size_px)
        elif segmenter is None:
            found = find_lesion(image)
            lesions[place], confidences[place] = squeeze_mask(found.mask, size_px), found.confidence

    with ThreadPoolExecutor(min(cores(), _MAX_THREADS)) as pool:
        for places in _pieces(len(mine)):
            list(pool.map(survey, places, pack.read([mine[place] for place in places])))
            without = [place for place in places if not table.rows[mine[place]].mask]
            if segmenter is not None and without:
                found = segmenter(pack, [mine[place] for place in without], size_px=size_px)
                lesions[without], confidences[without] = found
            if progress:
                progress(len(places) * sharing.count)  # the others are about as far
    found_by = "automatic" if segmenter is None else "segmenter"
    return Survey(
        ids=tuple(table.ids),
        lesions=sharing.gather(lesions, len(table)),
        origins=tuple("expert" if row.mask else found_by for row in table.rows),
        confidences=sharing.gather(confidences, len(table)),
        least_confidence={
            "expert": 0.0,
            "automatic": LEAST_CONFIDENCE,
            "segmenter": 0.0 if segmenter is None else segmenter.least_confidence,
        },
        artefacts={name: sharing.gather(masks, len(table)) for name, masks in artefacts.items()},
    )


def _pieces(count: int) -> Iterator[range]:
    for start in range(0, count, _IN_FLIGHT):
        yield range(start, min(start + _IN_FLIGHT, count))


def _keep(path: Path, survey: Survey) -> None:
    packed: dict[str, Any] = {f"on_{name}": np.packbits(masks) for name, masks in survey.artefacts.items()}
    try:
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                lesions=np.packbits(survey.lesions),
                confidences=survey.confidences,
                origins=np.array([ORIGINS.index(origin) for origin in survey.origins], dtype=np.uint8),
                least_confidence=np.array([survey.least_confidence[origin] for origin in ORIGINS]),
                **packed,
            )
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}); free space, or set LENTIGO_CACHE or --cache") from error


def _kept(path: Path, table: ImageTable, size_px: int) -> Survey | None:
    """What an earlier call kept; None: nothing, or it is damaged."""
    shape = (len(table), size_px, size_px)

    def unpacked(bits: UInt8[np.ndarray, " byte"]) -> Masks:
        return np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)

    with (
        contextlib.suppress(OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile, zlib.error),
        path.open("rb") as file,  # numpy leaves a damaged file open that it has opened itself
        np.load(file, allow_pickle=False) as kept,
    ):
        return Survey(
            ids=tuple(table.ids),
            lesions=unpacked(kept["lesions"]),
            origins=tuple(ORIGINS[number] for number in kept["origins"]),
            confidences=kept["confidences"],
            least_confidence=dict(zip(ORIGINS, map(float, kept["least_confidence"]), strict=True)),
            artefacts={name: unpacked(kept[f"on_{name}"]) for name in ARTEFACTS},
        )
    return None

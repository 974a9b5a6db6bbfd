"""What the probes see of a few images, as pictures: all that is out of view is grey. In: an audit; its pack is read.

Where that is, is asked of `data.probe_views`, so that the pictures cannot show something else than the probes saw.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from lentigo.data.audit import Audit
from lentigo.data.probe_views import (
    CELLS,
    FREQUENCIES,
    QUANTILES,
    THUMBNAIL_PX,
    cells_beside,
    corner_cells,
    frame_and_corners,
    thumbnail_as_seen,
)
from lentigo.report.content import Photo

IMAGES_A_CLASS = 4
OUT_OF_VIEW = 150  # grey, which is neither the page's light nor its dark ground
_PATCH_PX = 8 * THUMBNAIL_PX
_PERCENT = ", ".join(f"{100 * quantile:g}" for quantile in QUANTILES)
# What a probe makes of what it sees, by name of the view.
TAKEN = {
    "frame": "mean and spread of the colours of each side, no more.",
    "corners": "mean and spread of the colours of each corner, no more.",
    "dark_corners": "which cells along the diagonals and in the corners are black (shown black) and which are not "
    "(white); no colour.",
    "outside_mask": "the colours outside the largest circle that fits into the picture, less the lesion’s mask and a "
    "margin around it, as mean, spread and quantiles; not where they are.",
    "colour": "how much there is of each colour in the whole picture, not where. Above the mean; in the stripes below, "
    f"{_PERCENT} % of the pixels are darker (red, green and blue each on its own).",
    "thumbnail": f"{THUMBNAIL_PX} × {THUMBNAIL_PX} pixels, smoothed to the {FREQUENCIES} × {FREQUENCIES} longest waves "
    "of light and dark.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenImage:
    """One image, and what each view shows of it."""

    id: str
    label: int  # 1 = malignant
    image: Photo
    views: dict[str, Photo | None]  # by name of the probe; None: it sees nothing of this image


def images_as_seen(audit: Audit, *, seed: int = 0) -> list[SeenImage]:
    """Four readable images of each class, benign ones first, drawn at random; as each probe of pixels that ran sees it.

    Raises: DataError: the pack is damaged.
    """
    views = [probe.name for probe in audit.probes if probe.name in TAKEN and not probe.not_run]
    table = audit.readable.table
    rng = np.random.default_rng(np.random.SeedSequence((seed, 0x5EE)))
    chosen: list[int] = []
    for label in (0, 1):
        of_class = np.flatnonzero(table.labels == label)
        chosen += sorted(rng.permutation(of_class)[:IMAGES_A_CLASS].tolist())
    return [
        SeenImage(
            id=table.rows[index].id,
            label=table.rows[index].label,
            image=image,
            views={view: as_seen(view, image, mask=table.rows[index].mask) for view in views},
        )
        for index, image in zip(chosen, audit.readable.pack.read(chosen), strict=True)
    ]


def as_seen(view: str, image: UInt8[np.ndarray, "side side 3"], *, mask: str = "") -> Photo | None:
    """What the probe of that name sees of a picture; None: nothing, for want of a mask that leaves room.

    Args:
        view: a key of TAKEN.
        mask: path of the lesion's mask; empty: none.
    """
    side = image.shape[0]
    if view in ("frame", "corners"):
        return _alone(image, frame_and_corners(side)[view])
    if view == "outside_mask":
        beside = cells_beside(mask) if mask else None
        return None if beside is None else _alone(image, _enlarged(beside, side))
    drawn: dict[str, Callable[[Photo], Photo]] = {
        "dark_corners": _black_corners,
        "colour": _colour_patch,
        "thumbnail": lambda picture: np.kron(thumbnail_as_seen(picture), np.ones((8, 8, 1), dtype=np.uint8)),
    }
    return drawn[view](image)


def _alone(image: Photo, seen: Bool[np.ndarray, "_ _"]) -> Photo:
    return np.where(seen[..., None], image, np.uint8(OUT_OF_VIEW))


def _enlarged(cells: Bool[np.ndarray, "_ _"], side_px: int) -> Bool[np.ndarray, "_ _"]:
    return np.asarray(Image.fromarray(cells).resize((side_px, side_px), Image.Resampling.NEAREST))


def _black_corners(image: Photo) -> Photo:
    seen, dark = corner_cells(image)
    cells = np.where(seen, np.where(dark, np.uint8(0), np.uint8(255)), np.uint8(OUT_OF_VIEW))
    return np.repeat(np.kron(cells, np.ones((3, 3), dtype=np.uint8))[..., None], 3, axis=2)


def _colour_patch(image: Photo) -> Photo:
    """The mean colour, and below it a stripe for each quantile."""
    cells = np.asarray(Image.fromarray(image).resize((CELLS, CELLS), Image.Resampling.BOX)).reshape(-1, 3)
    patch = np.empty((_PATCH_PX, _PATCH_PX, 3), dtype=np.uint8)
    patch[:] = np.rint(cells.mean(axis=0)).astype(np.uint8)
    stripes = np.rint(np.quantile(cells, QUANTILES, axis=0)).astype(np.uint8)
    place = np.arange(_PATCH_PX) * len(QUANTILES) // _PATCH_PX
    patch[-_PATCH_PX // 4 :] = stripes[place]
    return patch

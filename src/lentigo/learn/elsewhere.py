"""A finished run on images of another place: copies of what it was trained on left out, its decisions unchanged."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lentigo.data.copies import AUDIT_PX, Bar, find_copies_between, silent
from lentigo.data.duplicates import SEARCH_UNITS
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.table import ImageTable, read_table
from lentigo.errors import DataError, LentigoError
from lentigo.files import read_json, write_json
from lentigo.learn.evaluation import Evaluation, evaluate_run, read_evaluation
from lentigo.learn.run import read_run, run_about


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An image that a run has seen in its training, or on which its thresholds were chosen."""

    id: str
    label: int
    copy_of: str  # id among the run's images
    part: str  # train or validation
    likeness: float
    change: str  # what was done to one to get the other


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """A run's scores on another data set."""

    name: str  # what readers call the data
    folder: Path
    table: ImageTable  # of the images that were scored
    pack: ImagePack  # of the same
    evaluation: Evaluation
    left_out: tuple[LeftOut, ...]
    unchecked: str  # why no copies were looked for; empty where they were


def evaluate_elsewhere(
    run: Path,
    table: ImageTable,
    *,
    name: str = "",
    cache: Path | None = None,
    device: torch.device | None = None,
    again: bool = True,
    bar: Bar | None = None,
) -> Elsewhere:
    """Score a run on other data; writes predictions.csv, metrics.json and left_out.json to RUN/evaluations/NAME-KEY.

    Args:
        table: may hold one class only.
        name: what readers call the data; empty: the table's name.
        again: score them even where an earlier call has.
        bar: shows progress: a text and a total to a context that takes the number done.
    Raises:
        DataError: an image cannot be read, or every image is a copy of one that the run has seen.
        RunError: the run has no whole checkpoint.
    """
    bar, name = bar or silent, name or table.name
    about = run_about(run)["data"]
    with bar(f"decoding {name}", len(table)) as told:
        pack = pack_images(table, image_px=about["image_px"], cache=cache, progress=told)
    folder = run / "evaluations" / f"{table.name}-{pack.key[:8]}"
    left_out, unchecked = _seen_before(run, about, table, cache=cache, bar=bar)
    gone = {image.id for image in left_out}
    kept = [index for index, row in enumerate(table.rows) if row.id not in gone]
    if not kept:
        raise DataError(
            f"all {len(table)} images of {name} are copies of images that {run} was trained on; nothing is left to "
            "score: give other data"
        )
    table, pack = table.subset(kept), pack.subset(kept)
    found = None if again else _kept(folder, table, left_out)
    if found is None:
        with bar(f"scoring {name}", len(table)) as told:
            found = evaluate_run(run, table, pack, None, folder=folder, device=device, on_progress=told)
        write_json(folder / "left_out.json", {"unchecked": unchecked, "images": [asdict(image) for image in left_out]})
    return Elsewhere(
        name=name, folder=folder, table=table, pack=pack, evaluation=found, left_out=left_out, unchecked=unchecked
    )


def _seen_before(
    run: Path, about: dict[str, Any], table: ImageTable, *, cache: Path | None, bar: Bar
) -> tuple[tuple[LeftOut, ...], str]:
    """Images with a copy in the run's train or validation part, by the audit's search; or why it was not made."""
    try:
        own = read_table(Path(about["path"]), positive=about.get("positive", ()))
        with bar("decoding the run's own images", len(own)) as told:
            seen = pack_images(own, image_px=about["image_px"], cache=cache, progress=told)
        if seen.key != about["pack_key"]:
            return (), f"{own.name} has changed since {run.name} was trained on it"
        split = read_run(run, own)[1]
    except LentigoError as error:
        return (), f"the images that {run.name} was trained on cannot be read ({error})"
    learned = sorted([*split.indices(own, "train"), *split.indices(own, "validation")])
    ours = _at_audit_size(own, seen, cache, bar)
    theirs = _at_audit_size(table, None, cache, bar)
    with bar("looking for copies of training images", SEARCH_UNITS * (len(ours) + len(theirs))) as told:
        pairs = find_copies_between(ours, theirs, cache=cache, progress=told)
    known = set(map(int, learned))
    best: dict[int, LeftOut] = {}
    for pair in sorted(pairs, key=lambda pair: -pair.likeness):
        if pair.one in known and pair.other not in best:
            row = table.rows[pair.other]
            image = own.ids[pair.one]
            best[pair.other] = LeftOut(
                id=row.id,
                label=row.label,
                copy_of=image,
                part=split.part[image],
                likeness=pair.likeness,
                change=pair.change,
            )
    return tuple(best[place] for place in sorted(best)), ""


def _at_audit_size(table: ImageTable, pack: ImagePack | None, cache: Path | None, bar: Bar) -> ImagePack:
    if pack is not None and pack.image_px == AUDIT_PX:
        return pack
    with bar("decoding images", len(table)) as told:
        return pack_images(table, image_px=AUDIT_PX, cache=cache, progress=told)


def _kept(folder: Path, table: ImageTable, left_out: Sequence[LeftOut]) -> Evaluation | None:
    """What an earlier call wrote, if it is of the same images and labels."""
    try:
        evaluation = read_evaluation(folder)
        ids = [image["id"] for image in read_json(folder / "left_out.json")["images"]]
    except (DataError, KeyError, TypeError):
        return None
    predictions = evaluation.predictions
    same = list(predictions.ids) == table.ids and bool((predictions.labels == table.labels).all())
    return evaluation if same and ids == [image.id for image in left_out] else None

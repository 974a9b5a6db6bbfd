"""A finished run on images of another place: copies of what it was trained on left out, its decisions unchanged."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lentigo.data.copies import AUDIT_PX, Bar, find_copies_between, silent
from lentigo.data.duplicates import SEARCH_UNITS, Twins
from lentigo.data.pack import ImagePack, pack_images
from lentigo.data.table import ImageTable, read_table
from lentigo.errors import DataError
from lentigo.files import read_json, write_json
from lentigo.learn.evaluation import Evaluation, evaluate_run, network_of, read_evaluation, score_validation
from lentigo.learn.run import TrainingData, read_run, run_about
from lentigo.learn.shards import all_have, first_here_first, rank


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
    of_test: int  # copies of the run's own test images, which are scored again
    unchecked: str  # why no copies were looked for; empty where they were


def evaluate_elsewhere(
    run: Path,
    table: ImageTable,
    *,
    name: str = "",
    own: TrainingData | None = None,
    cache: Path | None = None,
    device: torch.device | None = None,
    again: bool = True,
    bar: Bar | None = None,
) -> Elsewhere:
    """Score a run on other data; writes predictions.csv, metrics.json and left_out.json to RUN/evaluations/NAME-KEY.

    Several processes share the scoring; all return the same, and the first one writes.

    Args:
        table: may hold one class only.
        name: what readers call the data; empty: the table's name.
        own: what the run was trained on, where the caller has it at hand; None: read from where it was.
        again: score them even where an earlier call has.
        bar: shows progress: a text and a total to a context that takes the number done.
    Raises:
        DataError: an image cannot be read, or every image is a copy of one that the run has seen.
        RunError: the run has no whole checkpoint.
    """
    bar, name = bar or silent, name or table.name
    about = run_about(run)["data"]
    with first_here_first(), bar(f"decoding {name}", len(table)) as told:
        pack = pack_images(table, image_px=about["image_px"], cache=cache, progress=told)
    folder = run / "evaluations" / f"{table.name}-{pack.key[:8]}"
    seen = seen_before(run, table, pack, own=own, score=True, device=device, cache=cache, bar=bar)
    left_out = seen.left_out
    gone = {image.id for image in left_out}
    kept = [index for index, row in enumerate(table.rows) if row.id not in gone]
    if not kept:
        raise DataError(
            f"all {len(table)} images of {name} are copies of images that {run} was trained on; nothing is left to "
            "score: give other data"
        )
    table, pack = table.subset(kept), pack.subset(kept)
    note = seen.note(network_of(run))
    found = None if again else _kept(folder, table, note)
    if not all_have(found is not None) or found is None:
        with bar(f"scoring {name}", len(table)) as told:
            found = evaluate_run(run, table, pack, None, folder=folder, device=device, on_progress=told)
        if rank() == 0:
            write_json(folder / "left_out.json", note)
    return Elsewhere(
        name=name,
        folder=folder,
        table=table,
        pack=pack,
        evaluation=found,
        left_out=left_out,
        of_test=seen.of_test,
        unchecked=seen.unchecked,
    )


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What of a data set a run knows already."""

    left_out: tuple[LeftOut, ...] = ()
    of_test: int = 0
    unchecked: str = ""

    def note(self, checkpoint: str) -> dict[str, Any]:
        """The content of left_out.json for the network with these weights."""
        about = {"checkpoint": checkpoint, "images_of_test": self.of_test, "unchecked": self.unchecked}
        return {**about, "images": [asdict(image) for image in self.left_out]}


def copies_of(
    own: TrainingData, table: ImageTable, pack: ImagePack, *, cache: Path | None = None, bar: Bar | None = None
) -> Seen:
    """Images of other data with a copy among a run's own, by the audit's search.

    Args:
        own: what the run is or will be trained on.
        pack: of the table's images.
    Raises: DataError: an image cannot be read, or the disk is full.
    """
    bar, images, split = bar or silent, own.table, own.split
    ours, theirs = _at_audit_size(images, own.pack, cache, bar), _at_audit_size(table, pack, cache, bar)
    # Apart, for the search looks at a few neighbours of an image only, and test images are no reason to leave one out.
    learned = np.sort(np.concatenate([split.indices(images, part) for part in ("train", "validation")]))
    pairs = _copies_in(ours.subset(learned), theirs, "training images", cache, bar)
    left_out = {
        pair.other: LeftOut(
            id=table.ids[pair.other],
            label=table.rows[pair.other].label,
            copy_of=(image := images.ids[learned[pair.one]]),
            part=split.part[image],
            likeness=pair.likeness,
            change=pair.change,
        )
        for pair in sorted(pairs, key=lambda pair: pair.likeness)  # the likest last: it is kept
    }
    again = _copies_in(ours.subset(split.indices(images, "test")), theirs, "test images", cache, bar)
    return Seen(
        left_out=tuple(left_out[place] for place in sorted(left_out)),
        of_test=len({pair.other for pair in again} - set(left_out)),
    )


def seen_before(
    run: Path,
    table: ImageTable,
    pack: ImagePack,
    *,
    own: TrainingData | None = None,
    score: bool = False,
    device: torch.device | None = None,
    cache: Path | None = None,
    bar: Bar | None = None,
) -> Seen:
    """Which images of other data a run knows, or why that cannot be told.

    Args:
        own: what the run was trained on, where the caller has it at hand; None: read from where it was.
        score: a classifier that was never scored is scored on its validation images, while these are at hand.
        device: where it is scored; None: the CPU.
    Raises: DataError: an image cannot be read, or the disk is full.
    """
    bar = bar or silent
    with first_here_first():
        found = _own_images(run, cache=cache, bar=bar) if own is None else own
    if isinstance(found, str):
        return Seen(unchecked=found)
    if score and not all_have((run / "validation.csv").is_file()):
        score_validation(run, found.table, found.pack, found.split, device=device)
    with first_here_first():  # it is kept in the cache
        return copies_of(found, table, pack, cache=cache, bar=bar)


def _own_images(run: Path, *, cache: Path | None, bar: Bar) -> TrainingData | str:
    """What a run was trained on, read from where it was; or why that cannot be."""
    about = run_about(run)["data"]
    try:
        table = read_table(Path(about["path"]), positive=about.get("positive", ()))
        with bar("decoding the run's own images", len(table)) as told:
            pack = pack_images(table, image_px=about["image_px"], cache=cache, progress=told)
    except DataError:  # its message would put a path of this machine into reports
        return f"the images that {run.name} was trained on cannot be read where they were"
    if pack.key != about["pack_key"]:
        return f"{table.name} has changed since {run.name} was trained on it"
    return TrainingData(table=table, pack=pack, split=read_run(run, table)[1])


def _copies_in(ours: ImagePack, theirs: ImagePack, what: str, cache: Path | None, bar: Bar) -> tuple[Twins, ...]:
    with bar(f"looking for copies of {what}", SEARCH_UNITS * (len(ours) + len(theirs))) as told:
        return find_copies_between(ours, theirs, cache=cache, progress=told)


def _at_audit_size(table: ImageTable, pack: ImagePack, cache: Path | None, bar: Bar) -> ImagePack:
    if pack.image_px == AUDIT_PX:
        return pack
    with bar("decoding images", len(table)) as told:
        return pack_images(table, image_px=AUDIT_PX, cache=cache, progress=told)


def _kept(folder: Path, table: ImageTable, note: dict[str, Any]) -> Evaluation | None:
    """What an earlier call wrote, if it is of the same network, images, labels and copies."""
    try:
        evaluation = read_evaluation(folder)
        if read_json(folder / "left_out.json") != note or not (folder / "metrics.json").is_file():
            return None
    except DataError:
        return None
    predictions = evaluation.predictions
    same = list(predictions.ids) == table.ids and bool((predictions.labels == table.labels).all())
    return evaluation if same else None

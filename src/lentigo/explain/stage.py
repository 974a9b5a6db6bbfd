"""Explanation of a finished run, as files: raw maps of every image, where they lie, and what they are worth.

`heatmaps.npy` holds Grad-CAM's signed maps in float32, `heatmaps-METHOD.npy` those of other methods on request,
`localisation.csv` a row an image, and `explanation.json` what all of it is and comes to.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy.lib.format import dtype_to_descr, write_array_header_1_0

from lentigo.data.batches import batches
from lentigo.data.copies import Bar, silent
from lentigo.data.pack import ImagePack
from lentigo.data.split import Split, groups_of
from lentigo.data.table import ImageTable
from lentigo.errors import DataError
from lentigo.explain.looks import MEASURES, Maps, compare_looks, measure
from lentigo.explain.methods import METHODS, explain_images, method_named
from lentigo.explain.survey import ARTEFACTS, Segmenter, Survey, survey_images, survey_key
from lentigo.explain.trust import PARTS, SAMPLE, Subject, background, drawn_images, faithfulness
from lentigo.files import read_json, whole_file, write_csv, write_json
from lentigo.learn.checkpoint import Checkpoint, run_checkpoint
from lentigo.learn.evaluation import network_of
from lentigo.learn.shards import gather, rank, rounds, shard, sharing, told_of_all
from lentigo.models.registry import model_entry

GRAD_CAM = "grad_cam"
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Grad-CAM maps of a run, in the order of `ids`, and what was measured on them."""

    ids: tuple[str, ...]
    maps: Float32[np.ndarray, "image rows columns"]  # before the ReLU: above 0 for malignant, below 0 for benign
    about: dict[str, Any]  # explanation.json


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """What is made beside Grad-CAM's maps and their place on the lesion."""

    methods: tuple[str, ...] = ()  # other methods whose maps are kept
    sample: int = SAMPLE  # images of the tests of faithfulness; 0: none
    background: bool = True  # whether background and lesion are replaced, to see what hangs on them
    segmenter: Segmenter | None = None  # finds lesions that no mask is given for; None: image processing does
    seed: int = 0


def explain_run(
    run: Path,
    table: ImageTable,
    pack: ImagePack,
    split: Split | None,
    *,
    options: ExplainOptions | None = None,
    folder: Path | None = None,
    device: torch.device | None = None,
    cache: Path | None = None,
    bar: Bar | None = None,
) -> Explanation:
    """Explain every test image, measure the maps, and write the files; `explanation.json` comes last.

    What an earlier call made of the same weights, images and masks stays, as far as this one does not make it again.
    Several processes share the survey, the maps and the images without background or lesion. The first one does the
    rest and writes; what the others return has the ids alone.

    Args:
        split: the test part is explained; None: every image of the table.
        folder: where to write; None: the run folder.
        cache: where surveys are kept; None: `pack.default_cache()`.
        bar: shows progress: a text and a total to a context that takes the number done.
    Raises:
        RunError: the run has no whole checkpoint, or a map is not finite.
        ConfigError: an unknown method.
        DataError: there is no image, a mask cannot be read or is of another size than its image, or the disk is full.
    """
    options, folder, bar = options or ExplainOptions(), folder or run, bar or silent
    others = {name: method_named(name) for name in options.methods if name != GRAD_CAM}
    case = _case(run, table, pack, split, options=options, device=device, cache=cache, bar=bar)
    if rank() == 0:
        earlier = _earlier(folder, {"checkpoint": network_of(run), "survey": case.key, "ids": case.table.ids})
        (folder / "explanation.json").unlink(missing_ok=True)  # it vouches for the other files
    for name in (GRAD_CAM, *others):
        with bar(f"{case.title}: {METHODS[name].title}", len(case.table)) as told:
            _write_maps(maps_file(folder, name), name, case.checkpoint, case.pack, device, told)
    subject = _subject(case.checkpoint, case.table, case.pack, device)
    replaced = _background(case, subject, options, bar)
    if rank() != 0:
        return Explanation(ids=tuple(case.table.ids), maps=np.empty((0, 0, 0), dtype=np.float32), about={})
    maps = read_maps(folder, GRAD_CAM)
    about = (
        earlier
        | _about(maps, case.checkpoint, run, [*others, *earlier.get("other_methods", ())])
        | _measured(case, maps, subject, folder=folder, options=options)
        | replaced
        | _faithfulness(case.title, subject, options, bar)
        | {"ids": case.table.ids}
    )
    write_json(folder / "explanation.json", about)
    return Explanation(ids=tuple(case.table.ids), maps=maps, about=about)


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A network, the images that it is explained on, and what lies where in them."""

    checkpoint: Checkpoint
    table: ImageTable
    pack: ImagePack
    survey: Survey
    key: str  # names the survey

    @property
    def title(self) -> str:
        return self.checkpoint.experiment.model.name


def _case(
    run: Path,
    table: ImageTable,
    pack: ImagePack,
    split: Split | None,
    *,
    options: ExplainOptions,
    device: torch.device | None,
    cache: Path | None,
    bar: Bar,
) -> _Case:
    checkpoint = run_checkpoint(run)
    checkpoint.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    indices = np.arange(len(table)) if split is None else split.indices(table, "test")
    if not len(indices):
        raise DataError(f"{run} has no test image to explain; split the data with a test part, or give --data")
    table, pack = table.subset(indices), pack.subset(indices)
    with bar("surveying lesions", len(table)) as told:
        survey = survey_images(table, pack, segmenter=options.segmenter, sharing=sharing(), cache=cache, progress=told)
    key = survey_key(table, pack, segmenter=options.segmenter)
    return _Case(checkpoint=checkpoint, table=table, pack=pack, survey=survey, key=key)


def _measured(
    case: _Case,
    maps: Float32[np.ndarray, "image rows columns"],
    subject: Subject,
    *,
    folder: Path,
    options: ExplainOptions,
) -> dict[str, Any]:
    """Where the maps lie, also written as `localisation.csv`."""
    of_maps = Maps(title=model_entry(case.title).title, maps=maps, preprocessing=case.checkpoint.preprocessing)
    _write_localisation(folder / "localisation.csv", of_maps, case.survey, case.table)
    looks = compare_looks(
        {case.title: of_maps}, case.survey, case.table.labels, groups=subject.groups, seed=options.seed
    )
    return {
        "survey": case.key,
        "segmenter": "" if options.segmenter is None else options.segmenter.key,
        "look": looks.to_dict(),
    }


def read_explanation(run: Path) -> Explanation:
    """Read what `explain_run` wrote; the maps stay in their file until they are asked for.

    Raises: DataError: a file is missing or damaged.
    """
    about = read_json(run / "explanation.json")
    if not isinstance(about, dict) or not {"ids", "rows", "columns"} <= set(about):
        raise DataError(f"{run}/explanation.json lacks ids, rows or columns; write it again with `lentigo explain`")
    maps = read_maps(run, GRAD_CAM)
    if maps.shape != (len(about["ids"]), about["rows"], about["columns"]):
        raise DataError(
            f"{run / 'heatmaps.npy'} does not fit explanation.json; write both again with `lentigo explain`"
        )
    return Explanation(ids=tuple(about["ids"]), maps=maps, about=about)


def maps_file(folder: Path, method: str) -> Path:
    """Where the raw maps of a method lie."""
    return folder / ("heatmaps.npy" if method == GRAD_CAM else f"heatmaps-{method.replace('_', '-')}.npy")


def read_maps(folder: Path, method: str) -> Float32[np.ndarray, "image rows columns"]:
    """The raw signed maps of a method, which stay in their file until they are asked for.

    Raises: DataError: the file is missing, damaged, or holds something else.
    """
    path = maps_file(folder, method)
    try:
        maps: np.ndarray = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}); write it again with `lentigo explain`") from error
    if maps.dtype != np.float32 or maps.ndim != 3:
        raise DataError(
            f"{path} holds {maps.dtype} of the shape {maps.shape}, not float32 maps (image, rows, columns); write it "
            "again with `lentigo explain`"
        )
    return maps


def _write_maps(
    path: Path,
    method: str,
    checkpoint: Checkpoint,
    pack: ImagePack,
    device: torch.device | None,
    told: Callable[[int], None],
) -> None:
    """Batch by batch into the file, so that memory does not grow with the images; the first process writes."""
    source = _signed_maps(method, checkpoint, pack, device)
    if rank() != 0:
        for _ in source:
            pass
        return
    try:
        with whole_file(path) as temporary, temporary.open("wb") as file:
            for signed in source:
                if not file.tell():  # the size of a map is known now
                    shape = (len(pack), *signed.shape[1:])
                    about = {"descr": dtype_to_descr(signed.dtype), "fortran_order": False, "shape": shape}
                    write_array_header_1_0(file, about)
                file.write(signed.data)
                told(len(signed))
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error}); free space, or choose another place for the run"
        ) from error


def _signed_maps(
    method: str, checkpoint: Checkpoint, pack: ImagePack, device: torch.device | None
) -> Iterator[Float32[np.ndarray, "image rows columns"]]:
    """The maps of all images in order, a batch of each process at once."""
    together = rounds(len(pack), _BATCH)
    mine = [int(index) for piece in together for index in shard(piece)]
    source = batches(pack, mine, checkpoint.preprocessing, batch_size=_BATCH, device=device)
    made = explain_images(checkpoint.model, source, method=method)
    for piece in together:
        # The last batches may be too few images for every process to have one.
        signed = next(made).signed() if len(shard(piece)) else np.empty((0, 0, 0), dtype=np.float32)
        yield gather(np.ascontiguousarray(signed), len(piece))


def _subject(checkpoint: Checkpoint, table: ImageTable, pack: ImagePack, device: torch.device | None) -> Subject:
    return Subject(
        model=checkpoint.model,
        preprocessing=checkpoint.preprocessing,
        pack=pack,
        labels=table.labels,
        groups=np.array(groups_of(table), dtype=np.int64),
        sources=table.column("source"),
        device=device,
    )


def _earlier(folder: Path, same: Mapping[str, Any]) -> dict[str, Any]:
    """Of an explanation of the same weights, images and masks: what this call may not make again; else nothing."""
    try:
        about = read_explanation(folder).about
    except DataError:
        return {}
    if any(about.get(name) != value for name, value in same.items()):
        return {}
    kept = {name: about[name] for name in ("background", "faithfulness") if name in about}
    return kept | {"other_methods": [name for name in about["other_methods"] if maps_file(folder, name).is_file()]}


def _about(
    maps: Float32[np.ndarray, "image rows columns"], checkpoint: Checkpoint, run: Path, others: Sequence[str]
) -> dict[str, Any]:
    largest = np.array([float(np.abs(image).max()) for image in maps])
    return {
        "method": f"{METHODS[GRAD_CAM].title} ({METHODS[GRAD_CAM].source}), before its ReLU",
        "other_methods": list(dict.fromkeys(others)),
        "layer": checkpoint.model.cam_layer,
        "meaning": "above 0 speaks for malignant, below 0 for benign",
        "rows": maps.shape[1],
        "columns": maps.shape[2],
        "images": len(maps),
        # Full red in pictures of single images: what one image in twenty reaches.
        "scale": float(np.quantile(largest, 0.95)),
        "empty_for_malignant": int(sum(bool((image <= 0).all()) for image in maps)),
        "empty_for_benign": int(sum(bool((image >= 0).all()) for image in maps)),
        "checkpoint": network_of(run),
    }


def _background(case: _Case, subject: Subject, options: ExplainOptions, bar: Bar) -> dict[str, Any]:
    if not options.background:
        return {}
    with bar(f"{case.title}: replacing backgrounds and lesions", len(case.table)) as told:
        tell = told_of_all(told)
        return {"background": background(subject, case.survey, seed=options.seed, sharing=sharing(), on_progress=tell)}


def _faithfulness(title: str, subject: Subject, options: ExplainOptions, bar: Bar) -> dict[str, Any]:
    if not options.sample:
        return {}
    drawn = drawn_images(options.sample, len(subject.pack), seed=options.seed)
    with bar(f"{title}: testing the maps on {len(drawn)} images", PARTS) as told:
        return {"faithfulness": faithfulness(subject, drawn, seed=options.seed, on_progress=told)}


def _write_localisation(path: Path, of_maps: Maps, survey: Survey, table: ImageTable) -> None:
    """A row an image: its mask's origin, whether the map could be measured, and each measure at its own cells."""
    found = measure(of_maps, survey, table.labels)
    header = ["image", "label", "mask", "confidence", "state", *MEASURES]
    header += [f"{kind}_{name}" for name in ARTEFACTS for kind in ("on", "area_on")]
    columns = [getattr(found, name) for name in MEASURES]
    columns += [values[name] for name in ARTEFACTS for values in (found.on, found.area_on)]

    def rows() -> Iterator[Sequence[Any]]:
        for place, (row, state) in enumerate(zip(table.rows, survey.states, strict=True)):
            numbers = [_cell(column[place]) for column in columns]
            yield [row.id, row.label, state, f"{survey.confidences[place]:.4f}", found.state[place], *numbers]

    write_csv(path, header, rows())


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"

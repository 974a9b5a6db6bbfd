"""`lentigo export`: a run becomes one ONNX file that scores, explains and doubts images anywhere.

In: a run folder and its images. Out: `model.onnx`, whose graph takes preprocessed images and gives logits, raw Grad-CAM
maps and outlier scores; all else that its user must know stands in its metadata and in `model.json` beside it. Nothing
is written unless the file says the same as the checkpoint.
"""

import contextlib
import io
import json
import logging
import math
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from lentigo import __version__
from lentigo.data.batches import batches
from lentigo.data.table import LABEL_NAMES, METADATA, ImageTable
from lentigo.deploy.explained import ExplainedNetwork
from lentigo.deploy.model_file import FORMAT, INPUT, METADATA_KEY, OUTPUTS, open_model
from lentigo.deploy.outlier import Limits, OutlierScore, fit_outlier_score
from lentigo.deploy.variants import Variant, VariantLoss, converted, variant_loss
from lentigo.errors import DataError, ModelError, UndefinedMetricError
from lentigo.evidence.decisions import Decisions, decide
from lentigo.evidence.intervals import auc_interval
from lentigo.explain.cam import grad_cam
from lentigo.files import sha256_of, whole_file, write_json
from lentigo.learn.checkpoint import Checkpoint, run_checkpoint
from lentigo.learn.evaluation import score_validation
from lentigo.learn.run import TrainingData, run_about
from lentigo.models.contract import LesionClassifier, evaluating
from lentigo.models.registry import MODELS

PARITY_IMAGES = 64
LARGEST_DIFFERENCE = 1e-4  # of a logit, and of a map's cell relative to the map's largest
NEAR_ZERO = 2e-6  # of a layer's largest value: what float32 makes of sums over ten thousand inputs
OPSET = 18
PAGE = Path(__file__).parent / "web"  # built by `make web`, and part of a released package
_BATCH = 32
_LOW, _HIGH = "sensitivity_0.99", "sensitivity_0.90"
Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    onnx: Path
    about: dict[str, Any]  # the content of model.json


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model says of images."""

    logits: Float32[np.ndarray, " image"]
    maps: Float32[np.ndarray, "image rows columns"]


def export_run(
    run: Path,
    data: TrainingData,
    out: Path,
    *,
    variant: Variant = "float32",
    progress: Progress | None = None,
) -> Exported:
    """Write `model.onnx` and `model.json` of a run's network into a folder.

    Args:
        data: what the run was trained on; its validation images fit the outlier score, check the file and calibrate
            `int8`.
        variant: how its weights are kept: "float32"; "float16"; "int8" (static quantisation).
        progress: called with the number of validation images that went through a model since the last call.
    Raises:
        ModelError: the file would not say what the checkpoint says; or, of a variant, its AUC falls too far; or there
            are too few validation images.
        RunError: the run has no whole checkpoint.
        DataError: the disk is full.
    """
    checkpoint = run_checkpoint(run)
    decisions = score_validation(run, data.table, data.pack, data.split)
    rows = data.split.indices(data.table, "validation")
    inputs = _Inputs(data, rows, checkpoint)
    with evaluating(checkpoint.model):
        score, limits = fit_outlier_score(inputs.batches, checkpoint.preprocessing)
        graph = _graph(checkpoint, score)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.onnx"
        onnx.save_model(graph, plain)
        parity = _parity(plain, checkpoint, inputs)
        answers = answers_of(plain, inputs.batches(), progress)
        made, loss = plain, None
        if variant != "float32":
            labels = data.table.labels[rows]
            made = converted(plain, Path(folder) / f"{variant}.onnx", variant, inputs.some_batches())
            found = answers_of(made, inputs.batches(), progress)
            loss = variant_loss(answers, found, labels, variant)
            answers, decisions = found, decide(labels, found.logits)  # its own logits, so its own thresholds
        about = _about(run, checkpoint, data, decisions, limits, answers, parity, loss)
        return _write(made, about, out)


@dataclass(frozen=True)
class _Inputs:
    """The validation images, preprocessed."""

    data: TrainingData
    rows: np.ndarray
    checkpoint: Checkpoint

    def batches(self) -> Iterable[Float32[Tensor, "batch 3 height width"]]:
        return batches(self.data.pack, self.rows, self.checkpoint.preprocessing, batch_size=_BATCH)

    def some_batches(self) -> Iterable[Float32[Tensor, "batch 3 height width"]]:
        """At most `PARITY_IMAGES` of them, spread over all."""
        count = min(PARITY_IMAGES, len(self.rows))
        some = self.rows[np.linspace(0, len(self.rows) - 1, count).astype(np.int64)]
        return batches(self.data.pack, some, self.checkpoint.preprocessing, batch_size=_BATCH)


class _Whole(nn.Module):
    """Everything that the exported graph computes."""

    def __init__(self, explained: ExplainedNetwork, score: OutlierScore) -> None:
        super().__init__()
        self.explained = explained
        self.score = score

    def forward(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch rows columns"], Float[Tensor, " batch"]]:
        logits, maps = self.explained(images)
        return logits, maps, self.score(images)


def _graph(checkpoint: Checkpoint, score: OutlierScore) -> onnx.ModelProto:
    side = checkpoint.preprocessing.output_px
    example = torch.zeros(2, 3, side or 0, side or 0)
    whole = _Whole(ExplainedNetwork(checkpoint.model), score).eval()
    with torch.no_grad(), _quiet():
        program: Any = torch.onnx.export(
            whole,
            (example,),
            dynamo=True,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            verbose=False,
        )
    graph: onnx.ModelProto = program.model_proto
    for node in graph.graph.node:
        del node.metadata_props[:]  # where in the source each came from: of this machine, and half of a small file
        node.doc_string = ""
    for part in (graph.graph.value_info, graph.graph.initializer, graph.graph.input, graph.graph.output):
        for value in part:
            del value.metadata_props[:]
    del graph.graph.metadata_props[:]
    del graph.metadata_props[:]
    return graph


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporter tells its steps on standard output and warns of its own parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def answers_of(
    model: Path, inputs: Iterable[Float32[Tensor, "batch 3 height width"]], progress: Progress | None = None
) -> Answers:
    """What an exported model says of preprocessed images."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    logits, maps = [], []
    for images in inputs:
        found = session.run(list(OUTPUTS[:2]), {INPUT: images.contiguous().numpy()})
        logits.append(found[0])
        maps.append(found[1])
        if progress:
            progress(len(images))
    return Answers(logits=np.concatenate(logits), maps=np.concatenate(maps))


def _parity(model: Path, checkpoint: Checkpoint, inputs: _Inputs) -> dict[str, Any]:
    """How far the file is from the checkpoint, by `explain.cam`, which differentiates.

    Raises: ModelError: too far.
    """
    found = answers_of(model, inputs.some_batches())
    expected = [grad_cam(checkpoint.model, images) for images in inputs.some_batches()]
    on_edge = np.concatenate([_on_edge(checkpoint.model, images) for images in inputs.some_batches()])
    logits = np.concatenate([part.logits.numpy() for part in expected])
    maps = np.concatenate([part.malignant.numpy() for part in expected])
    largest = np.maximum(np.abs(maps).max(axis=(1, 2)), np.finfo(np.float32).tiny)
    off_logit = float(np.abs(found.logits - logits).max())
    off_maps = np.abs(found.maps - maps).max(axis=(1, 2)) / largest
    off_map = float(off_maps[~on_edge].max(initial=0.0))
    if not (off_logit <= LARGEST_DIFFERENCE and off_map <= LARGEST_DIFFERENCE and on_edge.mean() <= 0.5):
        raise ModelError(
            f"the exported graph differs from the checkpoint: logits by {off_logit:.1e}, maps by {off_map:.1e} of "
            f"their largest value, where {LARGEST_DIFFERENCE:.0e} is allowed ({int(on_edge.sum())} of {len(logits)} "
            "maps cannot be compared); nothing was written"
        )
    return {
        "of": "float32",  # a variant's own losses stand under `variant`
        "images": len(logits),
        "logit_difference": off_logit,
        "map_relative_difference": off_map,
        "images_on_edge": int(on_edge.sum()),
    }


def _on_edge(model: LesionClassifier, images: Float32[Tensor, "batch 3 height width"]) -> Bool[np.ndarray, " batch"]:
    """Where a ReLU of the head lies so near to 0 that rounding says whether a gradient goes through it.

    Such a map differs between any two programs, by about a hundredth for each unit. AlexNet and VGG11 have 8,192 units
    there, which puts a few images in a hundred on an edge.
    """
    nearest: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        sizes = given[0].flatten(1).abs()
        nearest.append(sizes.amin(dim=1) / sizes.amax(dim=1))

    relus = [layer for layer in model.head.modules() if isinstance(layer, nn.ReLU)]
    handles = [layer.register_forward_pre_hook(note) for layer in relus]
    try:
        with evaluating(model), torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    if not nearest:
        return np.zeros(len(images), dtype=bool)
    found: np.ndarray = (torch.stack(nearest).amin(dim=0) <= NEAR_ZERO).numpy()
    return found


def _about(
    run: Path,
    checkpoint: Checkpoint,
    data: TrainingData,
    decisions: Decisions,
    limits: Limits,
    answers: Answers,
    parity: Mapping[str, Any],
    loss: VariantLoss | None,
) -> dict[str, Any]:
    name, told = checkpoint.experiment.model.name, run_about(run)["data"]
    rows = data.split.indices(data.table, "validation")
    return {
        "format": FORMAT,
        "lentigo": __version__,
        "name": name,
        "title": MODELS[name].title,
        "demo": _is_drawn(data.table),
        "classes": list(LABEL_NAMES),
        "preprocessing": checkpoint.preprocessing.to_dict(),
        "input_px": checkpoint.preprocessing.output_px,
        "cam_shape": list(answers.maps.shape[1:]),
        "cam_maximum": _full_red(answers.maps),
        "temperature": None if math.isnan(decisions.temperature) else decisions.temperature,
        "temperature_reason": decisions.reason,
        "thresholds": [
            threshold.to_dict() | {"logit": None if math.isnan(threshold.logit) else threshold.logit}
            for threshold in decisions.thresholds
        ],
        "bands": _bands(decisions, _validation(answers, data.table.labels[rows])),
        "outlier": {
            "warn_above": limits.warn_above,
            "refuse_above": limits.refuse_above,
            "fitted_on": limits.fitted_on,
        },
        "validation": _validation(answers, data.table.labels[rows]),
        "training": {
            "data": data.table.name,
            "images": len(data.split.indices(data.table, "train")),
            "pack_key": told["pack_key"],
            "learned_from": checkpoint.learned_from,
            "checkpoint_sha256": sha256_of(run / "checkpoint.safetensors"),
        },
        "variant": (loss or VariantLoss.none(len(rows))).to_dict(),
        "parity": dict(parity),
        "card": _card(run, MODELS[name].title),
    }


def _full_red(maps: Float32[np.ndarray, "image rows columns"]) -> float:
    """What the largest value of one image in a hundred exceeds; never 0, for another image may have heat.

    Where nothing speaks for malignant in any image, as much as speaks against it.
    """
    for sizes in (maps, np.abs(maps)):
        largest = float(np.quantile(sizes.max(axis=(1, 2)).clip(min=0), 0.99))
        if largest > 0:
            return largest
    return 1.0


def _is_drawn(table: ImageTable) -> bool:
    """Whether its images are lentigo's own drawings, which say so in their CSV."""
    told = table.source if table.source is not None and table.source.is_file() else table.root / METADATA
    if not told.is_file():
        return False
    with told.open(encoding="utf-8") as file:
        return "drawn_asymmetry" in file.readline()


def _validation(answers: Answers, labels: np.ndarray) -> dict[str, Any]:
    about: dict[str, Any] = {"n": len(labels), "n_malignant": int(labels.sum())}
    try:
        interval = auc_interval(labels, answers.logits)
    except UndefinedMetricError:
        return about | {"auc": None, "auc_low": None, "auc_high": None}
    return about | {"auc": interval.value, "auc_low": interval.low, "auc_high": interval.high}


def _bands(decisions: Decisions, validation: Mapping[str, Any]) -> dict[str, Any]:
    """Low below the threshold that 99 in 100 malignant images reach, high from that of 90 in 100 on."""
    unclear = {"low_below_logit": None, "high_from_logit": None}
    if validation["auc_low"] is None or validation["auc_low"] <= 0.5:
        return unclear | {"reason": "on the validation images it does no better than chance, or that cannot be told"}
    if math.isnan(decisions.temperature):
        return unclear | {"reason": f"no probabilities could be calibrated: {decisions.reason}"}
    found = {threshold.name: threshold for threshold in decisions.thresholds}
    low, high = found[_LOW], found[_HIGH]
    for threshold in (low, high):
        if math.isnan(threshold.logit):
            return unclear | {"reason": f"there is no threshold for {threshold.title}: {threshold.reason}"}
    return {"low_below_logit": low.logit, "high_from_logit": high.logit, "reason": low.reason or high.reason}


def _card(run: Path, title: str) -> str:
    path = run / "MODEL_CARD.md"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    return (
        f"# Model card: {title}\n\nNo card was written for this run; `lentigo compare` writes one. It is research "
        "software, no medical device. A low probability does not rule out melanoma.\n"
    )


def _write(made: Path, about: dict[str, Any], out: Path) -> Exported:
    """Both files, the account last: a model.json vouches for the model.onnx beside it."""
    graph = onnx.load(made)
    onnx.helper.set_model_props(graph, {METADATA_KEY: json.dumps(about, allow_nan=False)})
    graph.producer_name, graph.producer_version = "lentigo", __version__
    target = out / "model.onnx"
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "model.json").unlink(missing_ok=True)
        with whole_file(target) as temporary:
            onnx.save_model(graph, temporary)
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error}); free space, or give --out another folder") from error
    open_model(target)
    file = {"file": target.name, "bytes": target.stat().st_size, "sha256": sha256_of(target)}
    write_json(out / "model.json", about | {"onnx": file})
    return Exported(onnx=target, about=about | {"onnx": file})


def export_page(exported: Exported, page: Path, out: Path) -> None:
    """Copy the built page and the model into a folder that any static host can serve.

    Raises: ModelError: the page was not built.
    """
    if not (page / "index.html").is_file():
        raise ModelError(f"{page} holds no page; build it with `make web`, or install a released lentigo")
    shutil.copytree(page, out, dirs_exist_ok=True)
    (out / "model").mkdir(exist_ok=True)
    for name in ("model.onnx", "model.json"):
        shutil.copyfile(exported.onnx.with_name(name), out / "model" / name)

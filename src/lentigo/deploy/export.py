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
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Float, Float32, Integer
from torch import Tensor, nn

from lentigo import __version__
from lentigo.data.batches import batches
from lentigo.data.table import LABEL_NAMES, METADATA, ImageTable
from lentigo.deploy.explained import ExplainedNetwork
from lentigo.deploy.model_file import FORMAT, INPUT, METADATA_KEY, OUTPUTS, open_model
from lentigo.deploy.outlier import Limits, OutlierScore, fit_outlier_score
from lentigo.deploy.parity import Answers, Inputs, Parity, Progress, answers_of, check_parity
from lentigo.deploy.variants import Variant, VariantLoss, converted, variant_loss
from lentigo.errors import DataError, UndefinedMetricError
from lentigo.evidence.decisions import Decisions, decide
from lentigo.evidence.intervals import auc_interval
from lentigo.files import sha256_of, whole_file, write_json
from lentigo.imaging import Preprocessing
from lentigo.learn.checkpoint import Checkpoint, run_checkpoint
from lentigo.learn.run import TrainingData, run_about
from lentigo.models.contract import LesionClassifier, evaluating
from lentigo.models.registry import MODELS

PARITY_IMAGES = 64
LOW_SENSITIVITY, HIGH_SENSITIVITY = 0.99, 0.90  # of the thresholds that a band ends at
OPSET = 18
_BATCH = 32


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    onnx: Path
    about: dict[str, Any]  # the content of model.json


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
        data: what the run was trained on; its validation images fit the outlier score, check the file, choose
            temperature and thresholds and calibrate `int8`.
        variant: how its weights are kept: "float32"; "float16"; "int8" (static quantisation).
        progress: called with the number of validation images that went through a model since the last call.
    Raises:
        ModelError: the file would not say what the checkpoint says; or, of a variant, its AUC falls too far; or there
            are too few validation images.
        RunError: the run has no whole checkpoint.
        DataError: the disk is full; or a validation logit is not finite.
    """
    checkpoint = run_checkpoint(run)
    model, preprocessing = checkpoint.model, checkpoint.preprocessing
    inputs = _Inputs(data, preprocessing)
    with evaluating(model):
        score, limits = fit_outlier_score(inputs.validation, preprocessing)
        graph = graph_of(model, score, preprocessing.output_px or 0)
    with tempfile.TemporaryDirectory() as folder:
        made, loss = Path(folder) / "float32.onnx", None
        with _room_in(folder):
            onnx.save_model(graph, made)
        parity = check_parity(made, model, score, inputs.parity)
        answers = answers_of(made, inputs.validation(), progress)
        labels = data.table.labels[inputs.validation_rows]
        if variant != "float32":
            with _room_in(folder):
                made = converted(made, Path(folder) / f"{variant}.onnx", variant, inputs.calibration())
            plain, answers = answers, answers_of(made, inputs.validation(), progress)
            loss = variant_loss(plain, answers, labels, variant)
        decisions = decide(labels, answers.logits)  # the file's own: a threshold is the logit of an image
        about = _about(run, checkpoint, data, decisions, limits, answers, parity, loss)
        return _write(made, about, out)


@contextlib.contextmanager
def _room_in(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{Path(folder).parent} cannot hold the model while it is checked ({error}); free space, or set TMPDIR to "
            "another folder"
        ) from error


@dataclass(frozen=True)
class _Inputs:
    """Images of a run, preprocessed."""

    data: TrainingData
    preprocessing: Preprocessing

    @property
    def validation_rows(self) -> Integer[np.ndarray, " image"]:
        return self.data.split.indices(self.data.table, "validation")

    def validation(self) -> Inputs:
        return self._batches(self.validation_rows)

    def calibration(self) -> Inputs:
        """At most `PARITY_IMAGES` validation images."""
        return self._batches(_spread(self.validation_rows, PARITY_IMAGES))

    def parity(self) -> Inputs:
        """`PARITY_IMAGES` validation images; where there are fewer, training images too."""
        rows = _spread(self.validation_rows, PARITY_IMAGES)
        others = _spread(self.data.split.indices(self.data.table, "train"), PARITY_IMAGES - len(rows))
        return self._batches(np.concatenate([rows, others]))

    def _batches(self, rows: Integer[np.ndarray, " image"]) -> Inputs:
        return batches(self.data.pack, rows, self.preprocessing, batch_size=_BATCH)


def _spread(rows: Integer[np.ndarray, " row"], most: int) -> Integer[np.ndarray, " some"]:
    """At most so many of them, evenly from the first to the last."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]


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


def graph_of(model: LesionClassifier, score: OutlierScore, side_px: int) -> onnx.ModelProto:
    """The graph of a network in evaluation mode: preprocessed images to logits, maps and outlier scores.

    Args:
        side_px: height and width of an image; how many there are stays free.
    Raises: ConfigError: the head has a layer whose gradient is not known.
    """
    example = torch.zeros(2, 3, side_px, side_px)
    whole = _Whole(ExplainedNetwork(model), score).eval()
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
def _quiet() -> Iterator[None]:
    """The exporter tells its steps on standard output and warns of its own parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _about(
    run: Path,
    checkpoint: Checkpoint,
    data: TrainingData,
    decisions: Decisions,
    limits: Limits,
    answers: Answers,
    parity: Parity,
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
        "parity": parity.to_dict(),
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
    ends = {"low_sensitivity": LOW_SENSITIVITY, "high_sensitivity": HIGH_SENSITIVITY}
    unclear = ends | {"low_below_logit": None, "high_from_logit": None}
    if validation["auc_low"] is None or validation["auc_low"] <= 0.5:
        return unclear | {"reason": "on the validation images it does no better than chance, or that cannot be told"}
    if math.isnan(decisions.temperature):
        return unclear | {"reason": f"no probabilities could be calibrated: {decisions.reason}"}
    found = {threshold.name: threshold for threshold in decisions.thresholds}
    low, high = (found[f"sensitivity_{share:.2f}"] for share in (LOW_SENSITIVITY, HIGH_SENSITIVITY))
    for threshold in (low, high):
        if math.isnan(threshold.logit):
            return unclear | {"reason": f"there is no threshold for {threshold.title}: {threshold.reason}"}
    return ends | {"low_below_logit": low.logit, "high_from_logit": high.logit, "reason": low.reason or high.reason}


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

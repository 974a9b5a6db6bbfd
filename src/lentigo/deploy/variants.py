"""Smaller copies of an exported model, and what the smaller size costs.

`float16` keeps weights in 16 bits and computes in 32, as every runtime can; `int8` multiplies in 8 bits (static
quantisation, with ranges from validation images).
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from jaxtyping import Float32, Integer
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from lentigo.deploy.model_file import INPUT, OUTPUTS
from lentigo.deploy.parity import Answers, Inputs
from lentigo.errors import ModelError, UndefinedMetricError
from lentigo.evidence.metrics import roc_auc_score

Variant = Literal["float32", "float16", "int8"]
LARGEST_AUC_LOSS = 0.005
_LEAST_HALVED = 128  # values: a cast takes as much room as fewer save


@dataclass(frozen=True, kw_only=True)
class VariantLoss:
    """What a variant loses against float32, on the validation images."""

    precision: Variant
    auc_loss: float | None  # None: one class is absent
    map_correlation: float  # mean over the images of Pearson's correlation of the two maps
    images: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe values."""
        return asdict(self)

    @classmethod
    def none(cls, images: int) -> "VariantLoss":
        """That of float32 itself."""
        return cls(precision="float32", auc_loss=0.0, map_correlation=1.0, images=images)


def converted(plain: Path, made: Path, variant: Variant, inputs: Inputs) -> Path:
    """Write a variant of a float32 model.

    The outlier score stays in float32: it is small, and its numbers differ in size.

    Args:
        inputs: preprocessed images that `int8` takes its ranges from.
    """
    model = onnx.load(plain)
    kept = only_for(model, OUTPUTS[2])
    if variant == "float16":
        onnx.save_model(_with_half_weights(model, kept), made)
        return made
    with _quietly():
        quantize_static(
            plain,
            made,
            _Reader(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            nodes_to_exclude=kept,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=False,
        )
    return made


def _with_half_weights(model: onnx.ModelProto, kept: list[str]) -> onnx.ModelProto:
    """Weights in float16, each behind a cast to float32 that runtimes fold away when they load the model."""
    graph = model.graph
    used_by_kept = {name for node in graph.node if node.name in kept for name in node.input}
    casts = []
    for weight in graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _LEAST_HALVED or weight.name in used_by_kept:
            continue
        plain_name, half_name = weight.name, f"{weight.name}.half"
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), half_name))
        casts.append(
            onnx.helper.make_node("Cast", [half_name], [plain_name], f"{plain_name}.cast", to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in [value for value in graph.value_info if value.name in {cast.output[0] for cast in casts}]:
        graph.value_info.remove(value)
    return model


def variant_loss(
    plain: Answers, found: Answers, labels: Integer[np.ndarray, " image"], variant: Variant
) -> VariantLoss:
    """What a variant loses on the same images.

    Raises: ModelError: its AUC falls by more than `LARGEST_AUC_LOSS`, or it answers with numbers that are not finite.
    """
    if not (np.isfinite(found.logits).all() and np.isfinite(found.maps).all()):
        raise ModelError(
            f"{variant} gives logits or maps that are not finite on the {len(labels)} validation images; nothing was "
            "written, export float32"
        )
    try:
        lost = roc_auc_score(labels, plain.logits) - roc_auc_score(labels, found.logits)
    except UndefinedMetricError:
        lost = None
    if lost is not None and lost > LARGEST_AUC_LOSS:
        advice = "export with --fp16, or without --quantize" if variant == "int8" else "export without --fp16"
        raise ModelError(
            f"{variant} lowers the AUC on the {len(labels)} validation images by {lost:.4f}, where "
            f"{LARGEST_AUC_LOSS} is allowed; nothing was written, {advice}"
        )
    correlation = float(np.mean([_correlation(one, other) for one, other in zip(plain.maps, found.maps, strict=True)]))
    return VariantLoss(precision=variant, auc_loss=lost, map_correlation=correlation, images=len(labels))


def only_for(model: onnx.ModelProto, output: str) -> list[str]:
    """The names of the nodes that serve one output of a model and no other."""
    wanted = {value.name for value in model.graph.output}
    own, others = _behind(model, {output}), _behind(model, wanted - {output})
    return [node.name for node in own if node.name not in {other.name for other in others}]


def _behind(model: onnx.ModelProto, names: set[str]) -> list[onnx.NodeProto]:
    found = []
    for node in reversed(model.graph.node):  # they stand in the order in which they run
        if names & set(node.output):
            names = names | set(node.input)
            found.append(node)
    return found


def _correlation(one: Float32[np.ndarray, "r c"], other: Float32[np.ndarray, "r c"]) -> float:
    """Of maps that are both flat 1, of one that is flat 0."""
    flat = [float(part.std()) == 0 for part in (one, other)]
    if any(flat):
        return float(all(flat))
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, inputs: Inputs) -> None:
        self._inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        images = next(self._inputs, None)
        return None if images is None else {INPUT: images.contiguous().numpy()}


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """onnxruntime advises preprocessing on the root logger; the exporter has done it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

"""An exported model's own account of itself: the JSON inside `model.onnx`, and beside it as `model.json`. No torch."""

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from lentigo.errors import ConfigError, ModelError
from lentigo.files import sha256_of
from lentigo.imaging import Preprocessing

FORMAT = 1
METADATA_KEY = "lentigo"
INPUT, OUTPUTS = "images", ("logit", "cam", "outlier")
_NEEDED = (
    "format", "lentigo", "name", "title", "demo", "classes", "preprocessing", "input_px", "cam_shape", "cam_maximum",
    "temperature", "temperature_reason", "thresholds", "bands", "outlier", "validation", "training", "variant",
    "parity", "card",
)  # fmt: skip
RUNTIME_ERRORS = (  # what onnxruntime raises; they have no common kind
    ort.Fail,
    ort.RuntimeException,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NotImplemented,
    RuntimeError,
)


@dataclass(frozen=True, kw_only=True)
class Bands:
    """Between which logits a result is called low, unclear or high; None: always unclear, and why."""

    low_below: float | None
    high_from: float | None
    reason: str

    def of(self, logit: float) -> Literal["low", "unclear", "high"]:
        """low, unclear or high."""
        if self.low_below is None or self.high_from is None or math.isnan(logit):
            return "unclear"
        return "low" if logit < self.low_below else "high" if logit >= self.high_from else "unclear"


@dataclass(frozen=True, kw_only=True)
class AboutModel:
    """What is needed to use a model, read from its file."""

    preprocessing: Preprocessing
    bands: Bands
    temperature: float
    cam_maximum: float
    demo: bool
    title: str
    content: Mapping[str, Any]  # all of it, as in model.json

    def probability(self, logit: float) -> float:
        """Calibrated on the validation images, where that was possible."""
        scaled = logit / self.temperature
        return 1 / (1 + math.exp(-scaled)) if scaled >= 0 else math.exp(scaled) / (1 + math.exp(scaled))


def open_model(path: Path, *, threads: int = 0) -> tuple[onnxruntime.InferenceSession, AboutModel]:
    """An exported model, ready to run on the processor, and its account of itself.

    Args:
        path: a model.onnx, the folder that holds one, or a run that was exported. A model.json beside it must fit it.
        threads: that one image may use; 0: as many as there are cores.
    Raises: ModelError: missing, damaged, no ONNX file, or not made by `lentigo export`.
    """
    path = model_path(path)
    told = _told_beside(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it would say on standard error is told by the exception too
    options.intra_op_num_threads = threads
    if told is not None and told["precision"] == "float32":
        # A second copy of the weights, in an order for many images at once. One image is as fast without; reading
        # AlexNet takes half the time and half the memory. Multiplying in 8 bits needs it: five times slower without.
        options.add_session_config_entry("session.disable_prepacking", "1")
    with ThreadPoolExecutor(1) as pool:  # a large file is summed while it is read
        summed = pool.submit(sha256_of, path) if told is not None else None
        session = _session(path, options)
    if told is not None and summed is not None and summed.result() != told["sha256"]:
        raise ModelError(f"{path} is damaged, or is not the model that its model.json is of; export it again")
    if isinstance(session, Exception):
        raise ModelError(f"{path} is no ONNX model that can be run, or is damaged; export it again") from session
    try:
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        names = tuple(output.name for output in session.get_outputs())
        inputs = [source.name for source in session.get_inputs()]
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is damaged ({error}); export it again") from error
    if text is None or names != OUTPUTS or inputs != [INPUT]:
        found = f"its outputs are {', '.join(names)}" if names != OUTPUTS else "it does not say what it was made from"
        raise ModelError(f"{path} was not made by lentigo: {found}; give one of `lentigo export RUN`")
    return session, read_about(text, str(path))


def model_path(path: Path) -> Path:
    """The model.onnx that a user means by its path, by its folder, or by the run that it was exported from.

    Raises: ModelError: there is none.
    """
    if path.is_dir():
        inside = [path / "model.onnx", path / "exported" / "model.onnx"]
        path = next((found for found in inside if found.is_file()), inside[0])
    if not path.is_file():
        raise ModelError(f"{path} does not exist; give the model.onnx that `lentigo export RUN` wrote, or its folder")
    return path


def read_about(text: str, name: str) -> AboutModel:
    """Read a model's account of itself.

    Args:
        name: of the file, for messages.
    Raises: ModelError: it is damaged, or of another format.
    """
    try:
        content = json.loads(text)
        if content.get("format") != FORMAT:
            raise ModelError(
                f"{name} is of format {content.get('format')}, this lentigo reads {FORMAT}; export it again"
            )
        if missing := [key for key in _NEEDED if key not in content]:
            raise ModelError(f"{name} lacks {', '.join(missing)}; export it again")
        bands = content["bands"]
        temperature = content["temperature"]
        return AboutModel(
            preprocessing=Preprocessing.from_dict(content["preprocessing"]),
            bands=Bands(
                low_below=bands["low_below_logit"], high_from=bands["high_from_logit"], reason=str(bands["reason"])
            ),
            temperature=1.0 if temperature is None else float(temperature),
            cam_maximum=float(content["cam_maximum"]),
            demo=bool(content["demo"]),
            title=str(content["title"]),
            content=content,
        )
    except (ValueError, TypeError, KeyError, AttributeError, ConfigError, RecursionError) as error:
        raise ModelError(f"{name} is damaged ({error}); export it again") from error


def _session(path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession | Exception:
    try:  # no fallback to the same provider, which it would announce on standard output
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except (ValueError, *RUNTIME_ERRORS) as error:  # also a name that is no UTF-8; told when the sum is known
        return error


def _told_beside(path: Path) -> dict[str, str] | None:
    """What the model.json beside a model.onnx says of it: what was damaged or exchanged since is refused."""
    beside = path.with_name("model.json")
    if path.name != "model.onnx" or not beside.is_file():
        return None
    try:
        content = json.loads(beside.read_text(encoding="utf-8"))
        return {"sha256": str(content["onnx"]["sha256"]), "precision": str(content["variant"]["precision"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{beside} is damaged ({error}); export the model again, or remove this file") from error

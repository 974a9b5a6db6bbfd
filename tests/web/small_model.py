"""A model.onnx small enough for a test to make: a convolution of fixed weights, the three outputs of the contract.

It has learned nothing. Its logit and its map follow the picture's darkness, its outlier score follows blue over red.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lentigo.imaging import Preprocessing, preprocess

INPUT_PX, CELLS, STRIDE, CHANNELS = 300, 75, 4, 4
PREPROCESSING = Preprocessing(resize_px=INPUT_PX, crop_px=None, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


def write_model(folder: Path, *, onnx_bytes: bytes | None = None, **changes: Any) -> dict[str, Any]:
    """model.onnx and model.json in `folder`; `changes` replace keys of model.json, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    data = onnx_bytes if onnx_bytes is not None else model_bytes()
    (folder / "model.onnx").write_bytes(data)
    about = described() | changes
    about["onnx"] = {"file": "model.onnx", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "model.json").write_text(json.dumps(about))
    return about


def described() -> dict[str, Any]:
    return {
        "format": 1,
        "lentigo": "0.1.0",
        "name": "small",
        "title": "Small test model",
        "demo": False,
        "classes": ["benign", "malignant"],
        "preprocessing": PREPROCESSING.to_dict(),
        "input_px": INPUT_PX,
        "cam_shape": [CELLS, CELLS],
        "cam_maximum": 0.0085,
        "temperature": 2.5,
        "temperature_reason": "",
        "thresholds": [],
        "bands": {
            "low_below_logit": -0.5,
            "high_from_logit": 2.0,
            "low_sensitivity": 0.99,
            "high_sensitivity": 0.90,
            "reason": "",
        },
        "outlier": {"warn_above": 0.8, "refuse_above": 1.2, "fitted_on": 86},
        "validation": {"n": 86, "n_malignant": 39, "auc": 0.9, "auc_low": 0.84, "auc_high": 0.95},
        "training": {"data": "drawn", "images": 775, "pack_key": "", "learned_from": "", "checkpoint_sha256": ""},
        "variant": {"precision": "float32", "auc_loss": 0.0, "map_correlation": 1.0, "images": 86},
        "parity": {"images": 64, "logit_difference": 0.0, "map_relative_difference": 0.0},
        "card": "# Model card\n\nA test's model.\n\n| what | value |\n|---|---|\n| AUC | 0.90 |\n\n- one\n- two\n",
    }


def model_bytes(bias: float = -1.2) -> bytes:
    rng = np.random.default_rng(7)
    kernel = rng.normal(-0.15, 0.08, (CHANNELS, 3, STRIDE, STRIDE)).astype(np.float32)
    head = rng.uniform(0.5, 1.5, (1, CHANNELS, 1, 1)).astype(np.float32)
    constants = {
        "kernel": kernel,
        "head": head,
        "cell_head": head / (CELLS * CELLS),
        "bias": np.array([bias], np.float32),
        "by_colour": np.array([-1, 0, 1], np.float32).reshape(1, 3, 1, 1),
        "flat": np.array([-1], np.int64),
        "channel": np.array([1], np.int64),
        "half": np.array([0.5], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["images", "kernel"], ["raw"], strides=[STRIDE, STRIDE]),
        helper.make_node("Relu", ["raw"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Conv", ["pooled", "head"], ["sum"]),
        helper.make_node("Reshape", ["sum", "flat"], ["plain"]),
        helper.make_node("Add", ["plain", "bias"], ["logit"]),
        helper.make_node("Conv", ["features", "cell_head"], ["map"]),
        helper.make_node("Squeeze", ["map", "channel"], ["cam"]),
        helper.make_node("GlobalAveragePool", ["images"], ["colour"]),
        helper.make_node("Conv", ["colour", "by_colour"], ["blueness"]),
        helper.make_node("Reshape", ["blueness", "flat"], ["blue"]),
        helper.make_node("Mul", ["blue", "half"], ["halved"]),
        helper.make_node("Relu", ["halved"], ["outlier"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, INPUT_PX, INPUT_PX])
    shapes = {"logit": ["batch"], "cam": ["batch", CELLS, CELLS], "outlier": ["batch"]}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    initialisers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "small", [image], outputs, initialisers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def run_model(folder: Path, image: np.ndarray, about: dict[str, Any]) -> dict[str, np.ndarray]:
    """What Python's onnxruntime says of an image: logit, cam and outlier."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    inputs = preprocess(image, Preprocessing.from_dict(about["preprocessing"]))[None]
    names = ["logit", "cam", "outlier"]
    return {name: value[0] for name, value in zip(names, session.run(names, {"images": inputs}), strict=True)}

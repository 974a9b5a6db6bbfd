"""A graph is compared with its checkpoint in all that it says: by hand, and for every registered network."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from lentigo.config import ModelConfig
from lentigo.deploy import export as export_module
from lentigo.deploy import parity as parity_module
from lentigo.deploy.export import graph_of
from lentigo.deploy.outlier import OutlierScore, fit_outlier_score
from lentigo.deploy.parity import Answers, Parity, check_parity, on_edge
from lentigo.deploy.variants import converted
from lentigo.errors import ModelError
from lentigo.imaging import Preprocessing
from lentigo.learn.run import TrainingData
from lentigo.models.contract import LesionClassifier, evaluating
from lentigo.models.registry import MODELS, create_model
from tests.deploy.conftest import Finished
from tests.models.helpers import SMALL

SLOW = {"resnet101"}  # 9 seconds for its graph; the others take 2 to 4


def pictures(count: int, settings: Preprocessing) -> Tensor:
    """Colours that run from side to side, under noise of an image's own size; preprocessed."""
    rng, side = np.random.default_rng(7), settings.output_px or 0
    across = np.linspace(-0.5, 0.5, side)
    down = across[:, None]
    level, *slopes = rng.uniform(-0.4, 0.4, size=(3, count, 3, 1, 1))
    grain = rng.normal(size=(count, 3, side, side)) * rng.uniform(0.01, 0.15, size=(count, 1, 1, 1))
    pixels = (0.5 + level + slopes[0] * across + slopes[1] * down + grain).clip(0, 1)
    mean, std = (np.array(part).reshape(1, 3, 1, 1) for part in (settings.mean, settings.std))
    return torch.from_numpy(((pixels - mean) / std).astype(np.float32))


@dataclasses.dataclass(frozen=True)
class Made:
    """A network with random weights, its outlier score, images, and their graph."""

    network: LesionClassifier
    score: OutlierScore
    images: Tensor
    graph: onnx.ModelProto

    def check(self, folder: Path, graph: onnx.ModelProto | None = None) -> Parity:
        """In batches of one and of three."""
        onnx.save_model(graph or self.graph, folder / "model.onnx")
        some = [self.images[:1], self.images[1:4]]
        return check_parity(folder / "model.onnx", self.network, self.score, lambda: iter(some))


def made(name: str, options: Any, settings: Preprocessing) -> Made:
    network = create_model(ModelConfig(name=name, options=options), settings, seed=3)
    assert isinstance(network, LesionClassifier)
    images = pictures(20, settings)
    with evaluating(network), torch.no_grad():
        last = [layer for layer in network.head.modules() if isinstance(layer, nn.Linear)][-1]
        scale = network(images).abs().max()  # 0.01 to 10,000 with random weights; a trained network's is about 1
        last.weight /= scale
        last.bias /= scale
    score, _ = fit_outlier_score(lambda: [images], settings)
    with evaluating(network):
        return Made(network.eval(), score, images, graph_of(network, score, settings.output_px or 0))


@pytest.fixture(scope="module")
def tiny() -> Made:
    return made("tiny_vgg", {"width": 4}, Preprocessing(resize_px=16, crop_px=None))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS])
def test_every_registered_network_is_exported_at_its_smallest_input(name: str, tmp_path: Path) -> None:
    entry = MODELS[name]
    settings = dataclasses.replace(entry.preprocessing, resize_px=entry.min_input_px, crop_px=None)
    options = {key: value for key, value in SMALL[name][0].options.items() if key != "image_px"}
    one = made(name, options, settings)
    found = one.check(tmp_path)
    assert found.failures() == []
    assert (found.images, found.map_relative_difference <= 1e-4, found.images_on_edge <= 1) == (4, True, True)
    weights = sum(parameter.numel() for parameter in one.network.parameters())
    assert (tmp_path / "model.onnx").stat().st_size < 4 * weights + 200_000  # no weight is stored twice


@pytest.mark.slow
def test_alexnet_in_8_bits_is_under_60_megabytes(tmp_path: Path) -> None:
    one = made("alexnet", {}, MODELS["alexnet"].preprocessing)
    found = one.check(tmp_path)
    assert found.outlier_relative_difference <= 1e-4
    smaller = converted(tmp_path / "model.onnx", tmp_path / "int8.onnx", "int8", [one.images[:8]])
    assert 57_000_000 < smaller.stat().st_size < 60_000_000  # it has 57 million weights
    assert found.map_relative_difference <= 1e-4


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ("head.1.bias", r"checkpoint on 4 images: logits by 1\.0e-02 where 1e-04 is allowed; nothing was written, exp"),
        (
            "score.centre",
            r"on 4 images: outlier scores by \d\.\de-0\d of the score where 1e-04 is allowed; nothing was",
        ),
        (
            "head.1.weight",
            r"logits by \d\.\de-0\d where 1e-04 is allowed; maps by \d\.\de-0\d of their largest value w",
        ),
    ],
)
def test_what_differs_is_named(tiny: Made, tmp_path: Path, weight: str, message: str) -> None:
    assert tiny.check(tmp_path).failures() == []
    changed = onnx.ModelProto()
    changed.CopyFrom(tiny.graph)
    (part,) = [value for value in changed.graph.initializer if value.name.endswith(weight)]
    values = onnx.numpy_helper.to_array(part).copy()
    values.flat[0] += np.float32(0.01)
    part.CopyFrom(onnx.numpy_helper.from_array(values, part.name))
    with pytest.raises(ModelError, match=message):
        tiny.check(tmp_path, changed)


def test_differences_by_hand() -> None:
    """Largest values of the maps: 2, 4 and 10; the third is on an edge."""
    maps = np.array([[[-2, 1]], [[4, 0]], [[0, 10]]], dtype=np.float32)
    logits, outliers = np.array([1, 2, 3], dtype=np.float32), np.array([0.5, 1, 2], dtype=np.float32)
    expected = Answers(logits=logits, maps=maps, outliers=outliers)
    found = Answers(
        logits=logits + np.float32([0, -0.25, 0.125]),
        maps=maps + np.array([[[0, 0.5]], [[0.5, 0]], [[-1.25, 0]]], dtype=np.float32),
        outliers=outliers + np.float32([0.125, 0.125, -0.25]),
    )
    edge = np.array([False, False, True])
    assert parity_module._parity(found, expected, edge).to_dict() == {
        "of": "float32", "images": 3, "logit_difference": 0.25, "map_relative_difference": 0.25, "images_on_edge": 1,
        "map_relative_difference_on_edge": 0.125, "outlier_relative_difference": 0.25,
    }  # fmt: skip
    without = parity_module._parity(found, expected, np.zeros(3, dtype=bool))
    assert (without.map_relative_difference, without.map_relative_difference_on_edge) == (0.25, None)


WITHIN = Parity(
    images=64, logit_difference=1e-4, map_relative_difference=1e-4, images_on_edge=16,
    map_relative_difference_on_edge=0.1, outlier_relative_difference=1e-4,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ({"logit_difference": 2e-4}, "logits by 2.0e-04 where 1e-04 is allowed"),
        ({"logit_difference": np.nan}, "logits by nan where 1e-04 is allowed"),
        ({"map_relative_difference": 2e-4}, "maps by 2.0e-04 of their largest value where 1e-04 is allowed"),
        (
            {"map_relative_difference_on_edge": 0.11},
            "maps with a ReLU on its edge by 1.1e-01 of their largest value where 1e-01 is allowed",
        ),
        (
            {"map_relative_difference_on_edge": np.nan},
            "maps with a ReLU on its edge by nan of their largest value where 1e-01 is allowed",
        ),
        ({"outlier_relative_difference": 2e-4}, "outlier scores by 2.0e-04 of the score where 1e-04 is allowed"),
        ({"images_on_edge": 17}, "17 of 64 maps have a ReLU on its edge, which leaves too few to compare"),
    ],
)
def test_every_limit_holds(change: dict[str, float], failure: str) -> None:
    assert WITHIN.failures() == []
    assert dataclasses.replace(WITHIN, **change).failures() == [failure]  # type: ignore[arg-type]


def test_an_image_on_the_edge_of_a_relu_is_known() -> None:
    """Pre-activations of the second image are 1 and 1e-9, of the third 0 and 2; the others have none near 0."""
    head = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(inplace=True), nn.Linear(2, 1))
    head[1].weight.data[:] = torch.eye(2)
    images = torch.zeros(4, 3, 1, 2)
    images[:, 0, 0] = torch.tensor([[1.0, -1.0], [1.0, 1e-9], [0.0, 2.0], [-1e-3, 5.0]])
    features = nn.Conv2d(3, 1, 1, bias=False)
    features.weight.data[:] = torch.tensor([1.0, 0, 0])[None, :, None, None]
    network = LesionClassifier(features, head)
    assert on_edge(network, images).tolist() == [False, True, True, False]
    without = LesionClassifier(features, nn.Sequential(nn.Flatten(), nn.Linear(2, 1)))
    assert on_edge(without, images).tolist() == [False] * 4
    assert not head[2]._forward_pre_hooks


@pytest.mark.parametrize(("validation", "others"), [(72, 0), (64, 0), (30, 34), (140, 0), (30, 4)])
def test_64_images_are_compared_wherever_there_are_as_many(
    finished: Finished, monkeypatch: pytest.MonkeyPatch, validation: int, others: int
) -> None:
    """Rows 0 to 159 are given out anew: validation first, then the others to training."""

    def as_images(rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows.astype(np.float32))[:, None, None, None].expand(-1, 3, 1, 1)

    train = np.arange(validation, 160 if others != 4 else validation + 4)
    parts = {"validation": np.arange(validation), "train": train}
    monkeypatch.setattr(type(finished.data.split), "indices", lambda _self, _table, part: parts[part])
    monkeypatch.setattr(export_module, "batches", lambda _pack, rows, *_, **__: [as_images(rows)])
    data = TrainingData(table=finished.data.table, pack=finished.data.pack, split=finished.data.split)
    some = export_module._Inputs(data, Preprocessing(resize_px=16, crop_px=None))
    (rows,), (calibrated,) = [[batch[:, 0, 0, 0] for batch in inputs] for inputs in (some.parity(), some.calibration())]
    own, filled = rows[rows < validation], rows[rows >= validation]
    assert len(own) == min(validation, 64)
    assert len(filled) == others
    assert len(set(rows.tolist())) == len(rows)
    assert (own[0], own[-1]) == (0, validation - 1)  # spread from the first to the last
    if others:
        assert (filled[0], filled[-1]) == (train[0], train[-1])
    assert calibrated.tolist() == own.tolist()  # `int8` takes its ranges from validation images alone

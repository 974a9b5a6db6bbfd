"""An exported model says what its checkpoint says, in one file that knows its own limits; else nothing is written."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from lentigo.data.batches import batches
from lentigo.deploy import export as export_module
from lentigo.deploy.export import export_run
from lentigo.deploy.model_file import METADATA_KEY, Bands, model_path, open_model, read_about
from lentigo.deploy.parity import Answers
from lentigo.deploy.variants import LARGEST_AUC_LOSS, only_for, variant_loss
from lentigo.errors import DataError, ModelError
from lentigo.evidence.decisions import Decisions
from lentigo.evidence.metrics import roc_auc_score
from lentigo.evidence.operating_points import PAPER_THRESHOLD, Threshold
from lentigo.explain.cam import grad_cam
from lentigo.files import sha256_of
from lentigo.learn.checkpoint import run_checkpoint
from lentigo.learn.evaluation import score_validation
from tests.deploy.conftest import Finished


def answers(model: Path, images: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["logit", "cam", "outlier"], {"images": images})


def inputs_of(finished: Finished, part: str) -> np.ndarray:
    rows = finished.data.split.indices(finished.data.table, part)
    settings = run_checkpoint(finished.run).preprocessing
    return np.concatenate([b.contiguous().numpy() for b in batches(finished.data.pack, rows, settings, batch_size=16)])


def test_test_images_get_the_checkpoints_logits_and_maps(finished: Finished, model: Path) -> None:
    """By images that the check of the export never saw, and in batches of other sizes."""
    import torch

    images = inputs_of(finished, "test")
    assert len(images) == 16
    expected = grad_cam(run_checkpoint(finished.run).model, torch.from_numpy(images))
    for some in (slice(0, 1), slice(0, 7), slice(None)):
        logits, maps, outliers = answers(model / "model.onnx", images[some])
        np.testing.assert_allclose(logits, expected.logits.numpy()[some], rtol=0, atol=1e-4)
        largest = np.abs(expected.malignant.numpy()[some]).max()
        np.testing.assert_allclose(maps, expected.malignant.numpy()[some], rtol=0, atol=1e-4 * largest)
        assert outliers.shape == logits.shape
        assert (outliers > 0).all()


def test_the_file_says_what_a_user_must_know(finished: Finished, model: Path, tmp_path: Path) -> None:
    told = json.loads((model / "model.json").read_text())
    inside = onnx.load(model / "model.onnx").metadata_props
    assert [entry.key for entry in inside] == [METADATA_KEY]
    assert json.loads(inside[0].value) == {key: value for key, value in told.items() if key != "onnx"}
    assert told["onnx"] == {
        "file": "model.onnx",
        "bytes": (model / "model.onnx").stat().st_size,
        "sha256": sha256_of(model / "model.onnx"),
    }
    decisions = score_validation(
        finished.run, finished.data.table, finished.data.pack, finished.data.split, folder=tmp_path
    )
    assert told["temperature"] == pytest.approx(decisions.temperature, rel=1e-4)
    assert [t["name"] for t in told["thresholds"]] == [t.name for t in decisions.thresholds]
    assert [t["logit"] for t in told["thresholds"]] == pytest.approx([t.logit for t in decisions.thresholds], abs=1e-4)
    by_name = {threshold["name"]: threshold["logit"] for threshold in told["thresholds"]}
    assert told["bands"]["low_below_logit"] == by_name["sensitivity_0.99"]
    assert told["bands"]["high_from_logit"] == by_name["sensitivity_0.90"]
    assert (told["bands"]["low_sensitivity"], told["bands"]["high_sensitivity"]) == (0.99, 0.90)
    assert told["demo"] is True
    assert told["classes"] == ["benign", "malignant"]
    assert (told["input_px"], told["cam_shape"]) == (48, [6, 6])
    assert told["preprocessing"] == run_checkpoint(finished.run).preprocessing.to_dict()
    assert told["training"]["checkpoint_sha256"] == sha256_of(finished.run / "checkpoint.safetensors")
    assert told["training"]["pack_key"] == finished.data.pack.key
    assert (told["validation"]["n"], told["outlier"]["fitted_on"]) == (72, 72)
    differences = {key: value for key, value in told["parity"].items() if key.endswith("_difference")}
    assert sorted(differences) == ["logit_difference", "map_relative_difference", "outlier_relative_difference"]
    assert all(0 <= value <= 1e-4 for value in differences.values())
    assert {key: value for key, value in told["parity"].items() if key not in differences} == {
        "of": "float32", "images": 64, "images_on_edge": 0, "map_relative_difference_on_edge": None,
    }  # fmt: skip
    assert told["variant"] == {"precision": "float32", "auc_loss": 0.0, "map_correlation": 1.0, "images": 72}
    assert "no medical device" in told["card"]


def test_auc_and_scale_are_of_the_validation_images(finished: Finished, model: Path) -> None:
    rows = finished.data.split.indices(finished.data.table, "validation")
    logits, maps, _ = answers(model / "model.onnx", inputs_of(finished, "validation"))
    told = json.loads((model / "model.json").read_text())
    assert told["validation"]["auc"] == pytest.approx(roc_auc_score(finished.data.table.labels[rows], logits))
    largest = np.sort(maps.reshape(len(maps), -1).max(axis=1).clip(min=0))
    assert told["cam_maximum"] == pytest.approx(np.quantile(largest, 0.99))


def test_full_red_is_never_nothing() -> None:
    """By hand: 101 images, of which one in a hundred is above 99."""
    maps = np.zeros((101, 2, 2), dtype=np.float32)
    maps[:, 0, 1] = np.arange(101)
    assert export_module._full_red(maps) == 99.0
    assert export_module._full_red(-maps) == 99.0
    assert export_module._full_red(0 * maps) == 1.0
    maps[:, 1, 1] = -500
    assert export_module._full_red(maps) == 99.0


def test_nothing_of_this_machine_is_in_the_file(finished: Finished, model: Path) -> None:
    content = (model / "model.onnx").read_bytes()
    assert str(Path(export_module.__file__).parents[3]).encode() not in content
    assert str(finished.run).encode() not in content
    assert b"site-packages" not in content


def test_a_model_card_travels_with_it(finished: Finished, tmp_path: Path) -> None:
    (finished.run / "MODEL_CARD.md").write_text("# Model card: of a comparison\n")
    try:
        found = export_run(finished.run, finished.data, tmp_path / "out")
    finally:
        (finished.run / "MODEL_CARD.md").unlink()
    assert found.about["card"] == "# Model card: of a comparison\n"


def test_a_full_disk_is_told_and_leaves_nothing(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = onnx.save_model

    def full(graph: onnx.ModelProto, path: Path) -> None:
        save(graph, path)
        if Path(path).is_relative_to(tmp_path / "out"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save_model", full)
    with pytest.raises(DataError, match=r"model\.onnx cannot be written .*No space left.*; free space, or give --out"):
        export_run(finished.run, finished.data, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_graph_that_differs_is_not_written(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = export_module.graph_of

    def other(*arguments: Any) -> onnx.ModelProto:
        found = graph(*arguments)
        bias = next(value for value in found.graph.initializer if value.name.endswith("head.1.bias"))
        changed = onnx.numpy_helper.to_array(bias) + np.float32(2e-4)
        bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))
        return found

    monkeypatch.setattr(export_module, "graph_of", other)
    with pytest.raises(ModelError, match=r"on 64 images: logits by 2\.0e-04 where 1e-04 is allowed; nothing was"):
        export_run(finished.run, finished.data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("variant", "kind"), [("float16", onnx.TensorProto.FLOAT16), ("int8", onnx.TensorProto.INT8)])
def test_a_variant_is_smaller_and_says_what_it_lost(
    finished: Finished, model: Path, tmp_path: Path, variant: Any, kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lentigo.deploy.variants.LARGEST_AUC_LOSS", 1.0)  # 72 images and a hasty network
    found = export_run(finished.run, finished.data, tmp_path, variant=variant)
    assert found.about["onnx"]["bytes"] < (model / "model.onnx").stat().st_size
    stored = onnx.load(found.onnx).graph.initializer
    weights = [value for value in stored if value.name.startswith("explained.") and len(value.dims) in (2, 4)]
    assert [value.data_type for value in weights] == [kind] * 7  # six convolutions; the linear layer once for both ways
    rows = finished.data.split.indices(finished.data.table, "validation")
    images, labels = inputs_of(finished, "validation"), finished.data.table.labels[rows]
    plain, smaller = answers(model / "model.onnx", images), answers(found.onnx, images)
    lost = roc_auc_score(labels, plain[0]) - roc_auc_score(labels, smaller[0])
    told = found.about["variant"]
    assert told["precision"] == variant
    assert told["auc_loss"] == pytest.approx(lost)
    pairs = zip(plain[1].reshape(72, -1), smaller[1].reshape(72, -1), strict=True)
    assert told["map_correlation"] == pytest.approx(np.mean([np.corrcoef(one, two)[0, 1] for one, two in pairs]))
    assert told["map_correlation"] > 0.8
    np.testing.assert_allclose(smaller[2], plain[2], rtol=1e-3)  # the outlier score stays in float32
    own = {threshold["name"]: threshold["logit"] for threshold in found.about["thresholds"]}
    reached = smaller[0][labels == 1] >= own["sensitivity_0.90"]  # thresholds are of its own logits
    assert reached.mean() >= 0.9
    assert own["sensitivity_0.90"] == pytest.approx(smaller[0][labels == 1][reached].min(), abs=1e-5)
    assert found.about["validation"]["auc"] == pytest.approx(roc_auc_score(labels, smaller[0]))
    assert np.abs(smaller[0] - plain[0]).max() > 0


def test_a_variant_that_loses_too_much_is_refused() -> None:
    labels, maps = np.array([0, 0, 1, 1] * 50), np.ones((200, 2, 2), dtype=np.float32)
    plain = Answers(logits=np.arange(200, dtype=np.float32) % 4, maps=maps, outliers=maps[:, 0, 0])
    worse = dataclasses.replace(plain, logits=plain.logits.copy())
    worse.logits[:2] = [9.0, 9.0]  # two benign above all malignant: 2 of 100 of the pairs
    assert variant_loss(plain, plain, labels, "int8").auc_loss == 0
    with pytest.raises(ModelError, match=r"int8 lowers the AUC on the 200 validation images by 0\.0200, where 0\.005"):
        variant_loss(plain, worse, labels, "int8")
    one_class = variant_loss(plain, worse, np.ones(200, dtype=np.int64), "int8")
    assert (one_class.auc_loss, one_class.map_correlation) == (None, 1.0)
    worse.logits[0] = np.nan
    with pytest.raises(
        ModelError,
        match=r"float16 gives .* not finite on the 200 validation images; nothing was written, export float32",
    ):
        variant_loss(plain, worse, labels, "float16")
    assert LARGEST_AUC_LOSS == 0.005
    worse.logits[0] = 9.0
    for variant, advice in (
        ("int8", "export with --fp16, or without --quantize"),
        ("float16", "export without --fp16"),
    ):
        with pytest.raises(ModelError, match=f"is allowed; nothing was written, {advice}$"):
            variant_loss(plain, worse, labels, variant)


def test_nodes_of_one_output_alone() -> None:
    make = onnx.helper.make_node
    nodes = [
        make("Abs", ["x"], ["a"], "shared"),
        make("Neg", ["a"], ["y"], "first"),
        make("Exp", ["a"], ["b"], "own"),
        make("Log", ["b"], ["z"], "last"),
    ]
    value = onnx.helper.make_tensor_value_info
    number = onnx.TensorProto.FLOAT
    sides = [value("x", number, [1])], [value("y", number, [1]), value("z", number, [1])]
    graph = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", *sides))
    assert sorted(only_for(graph, "z")) == ["last", "own"]
    assert only_for(graph, "y") == ["first"]


def decided(temperature: float = 1.0, **logits: float) -> Decisions:
    thresholds = [Threshold(name=name, title=name, logit=logit, reason="why") for name, logit in logits.items()]
    return Decisions(
        temperature=temperature, reason="because", thresholds=(PAPER_THRESHOLD, *thresholds), malignant_share=0.5,
        n=10, n_malignant=5,
    )  # fmt: skip


GOOD = {"sensitivity_0.99": -1.0, "sensitivity_0.90": 0.5}


@pytest.mark.parametrize(
    ("decisions", "auc_low", "reason"),
    [
        (decided(**GOOD), 0.5, "on the validation images it does no better than chance, or that cannot be told"),
        (decided(**GOOD), None, "on the validation images it does no better than chance, or that cannot be told"),
        (decided(math.nan, **GOOD), 0.9, "no probabilities could be calibrated: because"),
        (
            decided(**(GOOD | {"sensitivity_0.99": math.nan})),
            0.9,
            "there is no threshold for sensitivity_0.99: why",
        ),
    ],
)
def test_where_nothing_separates_everything_is_unclear(
    decisions: Decisions, auc_low: float | None, reason: str
) -> None:
    found = export_module._bands(decisions, {"auc_low": auc_low})
    assert found == {
        "low_sensitivity": 0.99, "high_sensitivity": 0.90, "low_below_logit": None, "high_from_logit": None,
        "reason": reason,
    }  # fmt: skip
    bands = Bands(low_below=None, high_from=None, reason=reason)
    assert {bands.of(logit) for logit in (-99.0, 0.0, 99.0)} == {"unclear"}


def test_bands_have_closed_lower_ends() -> None:
    assert export_module._bands(decided(**GOOD), {"auc_low": 0.51}) == {
        "low_sensitivity": 0.99, "high_sensitivity": 0.90, "low_below_logit": -1.0, "high_from_logit": 0.5,
        "reason": "why",
    }  # fmt: skip
    bands = Bands(low_below=-1.0, high_from=0.5, reason="")
    assert [bands.of(logit) for logit in (-1.01, -1.0, 0.49, 0.5, math.nan)] == [
        "low", "unclear", "unclear", "high", "unclear",
    ]  # fmt: skip


def test_probabilities_are_calibrated(model: Path) -> None:
    text = json.dumps(json.loads((model / "model.json").read_text()) | {"temperature": 2.0})
    about = read_about(text, "it")
    assert about.probability(2.0) == pytest.approx(1 / (1 + math.exp(-1)))
    assert about.probability(-3000.0) == 0.0
    assert about.probability(3000.0) == 1.0
    assert read_about(text.replace('"temperature": 2.0', '"temperature": null'), "it").probability(2.0) == (
        pytest.approx(1 / (1 + math.exp(-2)))
    )


@pytest.mark.parametrize("told", [True, False])
def test_any_damaged_byte_is_one_sentence(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], told: bool
) -> None:
    """With its model.json it is always refused; without, it may happen to run; and the runtime keeps quiet."""
    path = tmp_path / "model.onnx"
    if told:
        shutil.copy(model / "model.json", tmp_path)
    whole = (model / "model.onnx").read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(120):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 40)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            open_model(path)
        except ModelError:
            refused += 1
    assert refused == 120 if told else refused > 20
    assert capfd.readouterr().out == ""


def test_a_damaged_or_foreign_file_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx does not exist; give the model\.onnx that"):
        open_model(tmp_path)
    whole = (model / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="is no ONNX model that can be run, or is damaged; export it again"):
        open_model(tmp_path)
    graph = onnx.load(model / "model.onnx")
    del graph.metadata_props[:]
    onnx.save_model(graph, tmp_path / "model.onnx")
    with pytest.raises(ModelError, match="was not made by lentigo: it does not say what it was made from; give one of"):
        open_model(tmp_path / "model.onnx")


def test_a_flipped_byte_is_noticed_by_the_file_beside_it(model: Path, tmp_path: Path) -> None:
    content = bytearray((model / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "model.onnx").write_bytes(content)
    (tmp_path / "model.json").write_bytes((model / "model.json").read_bytes())
    with pytest.raises(ModelError, match=r"is damaged, or is not the model that .*model\.json is of; export it again"):
        open_model(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ModelError, match=r"model\.json is damaged \('onnx'\)"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "it is of format 2, this lentigo reads 1; export it again"),
        ({"bands": None}, "it is damaged .*; export it again"),
        ({"preprocessing": {}}, "it is damaged .*lacks the keys"),
        ({"cam_maximum": "much"}, "it is damaged"),
    ],
)
def test_an_account_that_cannot_be_used_is_refused(model: Path, change: dict[str, Any], message: str) -> None:
    content = json.loads((model / "model.json").read_text())
    with pytest.raises(ModelError, match=message):
        read_about(json.dumps(content | change), "it")
    with pytest.raises(ModelError, match=r"it lacks card, classes|it lacks classes, card"):
        read_about(json.dumps({key: value for key, value in content.items() if key not in ("card", "classes")}), "it")
    with pytest.raises(ModelError, match="it is damaged"):
        read_about("[1]", "it")


def test_a_run_stands_for_its_exported_model(finished: Finished, model: Path) -> None:
    assert model_path(finished.run) == model_path(model) == model_path(model / "model.onnx") == model / "model.onnx"


def test_the_papers_tiny_vgg_is_under_300_kilobytes(train_other: Callable[..., Finished], tmp_path: Path) -> None:
    """And with 32 validation images: the parity needs training images too."""
    paper = train_other(
        model={"name": "tiny_vgg", "options": {}},
        preprocessing={"resize_px": 300},
        train={"limit_s": 0.01},
        split={"validation_fraction": 0.22},
    )
    weights = sum(parameter.numel() for parameter in run_checkpoint(paper.run).model.parameters())
    assert weights == 10 * (28 + 91 + 91 + 91) + 75 * 75 * 10 + 1  # four convolutions, and all their cells to one logit
    found = export_run(paper.run, paper.data, tmp_path / "out")
    assert (found.about["input_px"], found.about["cam_shape"]) == (300, [75, 75])
    assert (found.about["validation"]["n"], found.about["parity"]["images"]) == (32, 64)
    assert 4 * weights < found.onnx.stat().st_size == found.about["onnx"]["bytes"] < 300_000
    assert not (paper.run / "decisions.json").exists()  # a run is read, not changed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "preprocessing"),
    [
        ("alexnet", {"width": 0.125}, {"resize_px": 64, "crop_px": 64}),
        ("vgg11", {"width": 0.125}, {"resize_px": 64, "crop_px": 32}),
        ("resnet18", {}, {"resize_px": 64, "crop_px": 64}),
    ],
)
def test_other_networks_are_exported_too(
    train_other: Callable[..., Finished], tmp_path: Path, name: str, options: Any, preprocessing: Any
) -> None:
    other = train_other(
        model={"name": name, "options": options},
        preprocessing=preprocessing,
        train={"epochs": 1, "learning_rate": 1e-4},
    )
    found = export_run(other.run, other.data, tmp_path / "out")
    assert found.about["name"] == name
    assert found.about["parity"]["map_relative_difference"] <= 1e-4
    weights = sum(parameter.numel() for parameter in run_checkpoint(other.run).model.parameters())
    assert found.about["onnx"]["bytes"] < 4 * weights + 200_000  # no weight is stored twice

"""One picture through an exported model: what it says, what it refuses, and that no torch is needed for it."""

import json
import math
import os
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from lentigo.data.synthetic import draw_lesion
from lentigo.deploy import screen as screen_module
from lentigo.deploy.quality import Finding, Quality
from lentigo.deploy.screen import Screener, heat_overlay
from lentigo.errors import ImageError, ModelError
from lentigo.explain.on_image import blue_to_red
from lentigo.imaging import preprocess

WARNED = Finding("hair", "warn", "found", "do")
REFUSED = Finding("blurred", "refuse", "found", "do")


@pytest.fixture(scope="module")
def screener(model: Path) -> Screener:
    return Screener(model)


@pytest.fixture
def mole() -> np.ndarray:
    """Unlike the training images in nothing but its number."""
    return draw_lesion(4, 5000, malignant=True, size_px=64).image


def with_findings(monkeypatch: pytest.MonkeyPatch, *findings: Finding, unlike: tuple[Finding, ...] = ()) -> None:
    monkeypatch.setattr(screen_module, "check_quality", lambda _: Quality(findings, {}))
    monkeypatch.setattr(screen_module, "outlier_findings", lambda *_: unlike)


def test_the_numbers_are_those_of_the_graph(
    screener: Screener, model: Path, mole: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_findings(monkeypatch, WARNED)
    found = screener.screen(mole, name="mine")
    session = onnxruntime.InferenceSession(model / "model.onnx", providers=["CPUExecutionProvider"])
    inputs = preprocess(mole, screener.about.preprocessing)[None]
    logits, maps, outliers = session.run(["logit", "cam", "outlier"], {"images": inputs})
    assert found.logit == pytest.approx(float(logits[0]), abs=1e-6)
    assert found.outlier == pytest.approx(float(outliers[0]), rel=1e-5)
    assert found.heat is not None
    np.testing.assert_allclose(found.heat, maps[0], rtol=0, atol=1e-6)
    told = json.loads((model / "model.json").read_text())
    assert found.probability == pytest.approx(1 / (1 + math.exp(-found.logit / told["temperature"])))
    low, high = told["bands"]["low_below_logit"], told["bands"]["high_from_logit"]
    assert found.band == ("low" if found.logit < low else "high" if found.logit >= high else "unclear")
    assert found.findings == (WARNED,)
    assert (found.calibrated, found.band_reason) == (True, told["bands"]["reason"])
    assert (found.name, found.model, found.demo) == ("mine", "Tiny VGG", True)


def test_a_distance_that_is_no_number_is_refused_and_is_null(
    screener: Screener, mole: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lost:
        def run(self, *_: object) -> list[np.ndarray]:
            return [np.zeros(1, np.float32), np.zeros((1, 2, 2), np.float32), np.array([np.inf], np.float32)]

    monkeypatch.setattr(screener, "_session", Lost())
    found = screener.screen(mole)
    assert found.band == "refused"
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["outlier"] is None


@pytest.mark.parametrize("where", ["quality", "outlier"])
def test_a_refused_picture_gets_no_number(
    screener: Screener, mole: np.ndarray, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with_findings(monkeypatch, *([REFUSED] if where == "quality" else []), unlike=(REFUSED,) * (where == "outlier"))
    found = screener.screen(mole)
    assert (found.band, found.probability, found.logit, found.heat) == ("refused", None, None, None)
    assert found.findings == (REFUSED,)
    insisted = screener.screen(mole, insist=True)
    assert insisted.band in ("low", "unclear", "high")
    assert insisted.findings == (REFUSED,)
    assert insisted.heat is not None


def test_the_limits_of_the_model_decide(screener: Screener, mole: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(screen_module, "check_quality", lambda _: Quality((), {}))
    monkeypatch.setattr(screen_module, "outlier_findings", lambda *given: asked.append(given) or ())
    found = screener.screen(mole)
    assert asked == [(found.outlier, screener.about.content["outlier"])]


def test_what_is_no_skin_is_refused(screener: Screener) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    found = screener.screen(noise)
    assert found.band == "refused"
    assert "not_dermoscopy" in [finding.name for finding in found.findings if finding.severity == "refuse"]


def test_paths_bytes_and_pixels_are_the_same(screener: Screener, mole: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "mole.png"
    Image.fromarray(mole).save(path)
    results = [screener.screen(source, insist=True) for source in (path, str(path), path.read_bytes(), mole)]
    assert {result.logit for result in results} == {results[0].logit}
    assert [result.name for result in results] == [str(path), str(path), "image", "image"]
    with pytest.raises(ImageError, match=r"nowhere.png does not exist"):
        screener.screen(tmp_path / "nowhere.png")


def test_what_is_told_can_be_json(screener: Screener, mole: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with_findings(monkeypatch, WARNED)
    told = json.loads(json.dumps(screener.screen(mole).to_dict(), allow_nan=False))
    assert told["findings"] == [{"name": "hair", "severity": "warn", "text": "found", "advice": "do"}]
    assert told["notice"] == "Research software, not a medical device."
    assert set(told) == {
        "image", "band", "probability", "calibrated", "band_reason", "logit", "outlier", "findings", "model", "demo",
        "notice",
    }  # fmt: skip


def test_a_model_that_gives_no_number_is_not_believed(
    screener: Screener, mole: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def run(self, *_: object) -> list[np.ndarray]:
            return [np.array([np.nan], np.float32), np.zeros((1, 2, 2), np.float32), np.zeros(1, np.float32)]

    monkeypatch.setattr(screener, "_session", Broken())
    with pytest.raises(ModelError, match="gives no finite logit for image; its training or its file is broken"):
        screener.screen(mole)


def test_heat_lies_where_the_network_found_it(screener: Screener) -> None:
    """Heat in the upper left cell alone, on a picture twice as wide as high; red at the model's maximum."""
    image = np.full((40, 80, 3), 100, dtype=np.uint8)
    heat = np.zeros((6, 6), dtype=np.float32)
    heat[0, 0], heat[5, 5] = screener.about.cam_maximum, -1.0
    drawn = heat_overlay(image, heat, screener.about, opacity=1.0)
    assert drawn.shape == image.shape
    assert drawn[0, 0].tolist() == [255, 0, 0] == (255 * blue_to_red(np.array(1.0))).tolist()
    assert (drawn[20:] == 100).all()  # also where the map speaks against malignant
    assert (drawn[:, 40:] == 100).all()
    assert (drawn[:6, :12] != 100).any(axis=2).all()
    assert (heat_overlay(image, heat, screener.about, opacity=0.0) == image).all()


def not_in_the_base_installation() -> list[str]:
    """Modules that are installed here and that `pip install lentigo` alone would not bring, torch for one."""
    wanted, modules = ["lentigo"], packages_distributions()
    for name in wanted:  # grows meanwhile
        for requirement in map(Requirement, requires(name) or []):
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if needed and canonicalize_name(requirement.name) not in wanted:
                wanted.append(canonicalize_name(requirement.name))
    return [module for module, of in modules.items() if not {canonicalize_name(name) for name in of} & set(wanted)]


def test_the_base_installation_is_enough_to_predict(model: Path, drawn: Path, tmp_path: Path) -> None:
    """The whole command, with heat maps, where everything else is refused: it cannot be imported, not even tried."""
    others = not_in_the_base_installation()
    assert {"torch", "sklearn", "scipy", "skimage", "cv2", "pandas", "onnx", "fastapi", "pytest"} <= set(others)
    assert not {"numpy", "PIL", "onnxruntime", "typer"} & set(others)
    code = f"""
import sys
class Refuse:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {set(others)!r}:
            raise ModuleNotFoundError(f"{{name}} is not in the base installation", name=name)
sys.meta_path.insert(0, Refuse)
from lentigo.cli import program
program()
"""
    pictures = sorted(drawn.rglob("*.jpg"))[:3]
    command = [sys.executable, "-c", code, "predict", str(model), *map(str, pictures), "--insist"]
    for form in ("table", "json", "csv"):
        words = ["--heatmaps", str(tmp_path / form), "--format", form]
        shown = subprocess.run([*command, *words], capture_output=True, text=True, check=False, timeout=60)
        assert shown.returncode == 0, shown.stderr
        assert [shown.stdout.count(str(picture)) for picture in pictures] == [1, 1, 1]
        assert len(list((tmp_path / form).iterdir())) == 3


def test_nothing_is_written_or_sent_by_the_runtime(model: Path, drawn: Path, tmp_path: Path) -> None:
    """onnxruntime would keep a session file and a database for its makers."""
    picture = next(drawn.rglob("*.jpg"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "lentigo.cli", "predict", str(model), str(picture), "--insist"]
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    assert [path.name for path in tmp_path.rglob("*")] == []

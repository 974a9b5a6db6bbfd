"""Published weights are loaded without running code, or refused in one sentence; nothing is downloaded."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
import torchvision

from lentigo.config import ModelConfig
from lentigo.errors import ConfigError
from lentigo.imaging import Preprocessing
from lentigo.models.contract import seeded_torch
from lentigo.models.registry import MODELS, create_model


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """torch.hub's folder of downloads, empty; the network is cut."""

    def no_connection(*_: object, **__: object) -> None:
        raise URLError("no connection")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", no_connection)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def publish(hub: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, *, stated: bytes | None = None) -> Path:
    """Put a file where torch.hub would have downloaded ResNet-18's weights to, under the hash of `stated`."""
    url = f"https://example.org/resnet18-{hashlib.sha256(stated or content).hexdigest()[:8]}.pth"
    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda _: Published(url))
    path = hub / url.rsplit("/", 1)[1]
    path.write_bytes(content)
    return path


class Published:
    """torchvision's entry of weights, with another address."""

    def __init__(self, url: str) -> None:
        self.IMAGENET1K_V1, self.url = self, url

    def get_state_dict(self, **options: Any) -> dict[str, Any]:
        return torch.hub.load_state_dict_from_url(self.url, **options)


def saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


RESNET18 = ModelConfig(name="resnet18", weights="imagenet")


def test_published_weights_are_loaded_and_only_the_last_layer_is_new(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with seeded_torch(11):
        source = torchvision.models.resnet18()
    publish(hub, monkeypatch, saved(source.state_dict()))
    model = create_model(RESNET18, Preprocessing(resize_px=64, crop_px=None), seed=0)
    theirs, ours = list(source.state_dict().values()), list(model.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(theirs[:-2], ours[:-2], strict=True))
    assert [tuple(value.shape) for value in ours[-2:]] == [(1, 512), (1,)]


def test_no_connection_is_one_sentence(hub: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as refusal:
        create_model(RESNET18, Preprocessing(resize_px=64, crop_px=None), seed=0)
    message = str(refusal.value)
    assert message.startswith("the published weights of resnet18 cannot be downloaded from https://")
    assert "no connection" in message
    assert 'use weights = "none"' in message
    assert capfd.readouterr() == ("", "")  # torch.hub's own words are held back


def test_damaged_download_is_named(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = publish(hub, monkeypatch, b"half a file", stated=b"a whole file")
    with pytest.raises(ConfigError, match=f"{path} is damaged: its SHA-256 .* delete it"):
        create_model(RESNET18, Preprocessing(resize_px=64, crop_px=None), seed=0)


def test_published_weights_are_read_without_running_code(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def look(_: str, **options: Any) -> dict[str, Any]:
        seen.update(options)
        raise URLError("looked")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", look)
    publish(hub, monkeypatch, b"weights")
    with pytest.raises(ConfigError, match="looked"):
        create_model(RESNET18, Preprocessing(resize_px=64, crop_px=None), seed=0)
    assert seen == {"progress": False, "check_hash": True, "weights_only": True}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelConfig(name="tiny_vgg", weights="imagenet"), 'tiny_vgg has no published weights; use weights = "none"'),
        (
            ModelConfig(name="vgg11", weights="imagenet", options={"width": 0.5}),
            "vgg11 with width 0.5 has no published weights",
        ),
    ],
)
def test_networks_without_published_weights_say_so(config: ModelConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_model(config, Preprocessing(resize_px=64, crop_px=None), seed=0)


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.published_weights])
def test_published_weights_exist_for_every_network_that_claims_them(name: str) -> None:
    published = torchvision.models.get_model_weights(name).IMAGENET1K_V1
    assert len(published.url.rsplit("-", 1)[1].removesuffix(".pth")) == 8  # the hash that is checked

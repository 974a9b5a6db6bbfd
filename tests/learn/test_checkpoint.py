"""A checkpoint comes back as it was or not at all: whatever is damaged, foreign or half written is refused by name."""

import errno
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from lentigo.errors import RunError
from lentigo.learn import checkpoint as checkpoint_module
from lentigo.learn.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_tensors,
    run_checkpoint,
    save_checkpoint,
    save_tensors,
)
from lentigo.models.registry import create_model, resolve_preprocessing
from tests.learn.small import ALEXNET, TINY, small_experiment


def new_checkpoint(model: dict[str, Any], seed: int = 0) -> Checkpoint:
    experiment = small_experiment(model)
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    network = create_model(experiment.model, preprocessing, seed=seed)
    return Checkpoint(model=network, experiment=experiment, preprocessing=preprocessing, pack_key="abc")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The checkpoint of a Tiny VGG."""
    save_checkpoint(tmp_path / "checkpoint.safetensors", new_checkpoint(TINY))
    return tmp_path / "checkpoint.safetensors"


@pytest.mark.parametrize("model", [TINY, ALEXNET], ids=lambda model: model["name"])
def test_round_trip(tmp_path: Path, model: dict[str, Any]) -> None:
    written = new_checkpoint(model)
    written.model.to(memory_format=torch.channels_last)  # as training leaves it
    save_checkpoint(tmp_path / "checkpoint.safetensors", written)
    before = torch.get_rng_state()
    read = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert (read.experiment, read.preprocessing, read.pack_key) == (written.experiment, written.preprocessing, "abc")
    one, other = written.model.state_dict(), read.model.state_dict()
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)
    assert not any(module.training for module in read.model.modules())


def test_same_network_makes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        save_checkpoint(tmp_path / name, new_checkpoint(TINY))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_tensors_of_every_kind_round_trip(tmp_path: Path) -> None:
    tensors = {
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 2),
        "flags": torch.tensor([True, False]),
        "half": torch.rand(3).bfloat16(),
        "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": torch.rand(3, 4).T,
        "not a number": torch.tensor([np.nan, np.inf, -0.0]),
        "needs a gradient": torch.rand(2, requires_grad=True),
    }
    about = {"text": 'ü\n"', "nan": float("nan"), "third": 1 / 3, "list": [1, {"b": None, "a": 1}]}
    save_tensors(tmp_path / "file", tensors, about)
    read, found = load_tensors(tmp_path / "file")
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert read[name].shape == tensor.shape
        torch.testing.assert_close(read[name], tensor.detach(), rtol=0, atol=0, equal_nan=True)
    assert json.dumps(found) == json.dumps({"version": 1, **about})


def test_published_weights_are_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = new_checkpoint(ALEXNET)
    experiment = written.experiment.changed(model={"weights": "imagenet"})
    content = Checkpoint(
        model=written.model, experiment=experiment, preprocessing=written.preprocessing, pack_key=written.pack_key
    )
    save_checkpoint(tmp_path / "checkpoint.safetensors", content)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)  # a call would fail
    assert load_checkpoint(tmp_path / "checkpoint.safetensors").experiment.model.weights == "imagenet"


# ---------------------------------------------------------------- damage


def regions(content: bytes) -> dict[str, range]:
    """The parts of a safetensors file: length of the header, header, then each tensor's bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    found = {"length": range(8), "header": range(8, 8 + length)}
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            found[name] = range(start, end)
    return found


def flips(content: bytes) -> Iterator[tuple[str, int, int]]:
    """Region, place and bit mask of what to flip: the whole length, 150 bytes of the header, 10 of each tensor."""
    rng = np.random.default_rng(0)
    for name, places in regions(content).items():
        chosen = {places[0], places[-1], *rng.choice(places, size=min(len(places), 150 if name == "header" else 8))}
        for place in sorted(int(place) for place in chosen):
            yield name, place, 1 << int(rng.integers(8))


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    unnoticed = []
    for region, place, mask in flips(content):
        changed = bytearray(content)
        changed[place] ^= mask
        path.write_bytes(changed)
        try:
            load_checkpoint(path)
            unnoticed.append((region, place, mask, content[place - 20 : place + 20]))
        except RunError as error:
            assert str(error).startswith(f"{path} ")  # noqa: PT017  both outcomes are looked at
    assert unnoticed == []


def test_changed_settings_are_noticed(path: Path) -> None:
    """A flipped digit in the preprocessing would change every score and still be valid JSON."""
    content = path.read_bytes()
    assert content.count(b'resize_px\\": 16') == 1
    path.write_bytes(content.replace(b'resize_px\\": 16', b'resize_px\\": 17'))
    with pytest.raises(
        RunError, match=f"{path} is damaged: its checksum differs; restore it from a copy or train again"
    ):
        load_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 4, 8, 500, -1])
def test_truncated_file_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RunError, match=f"{path} is not a readable safetensors file .*; restore it or train again"):
        load_checkpoint(path)


def test_pickle_is_refused_unread(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "exploded",)

    path = tmp_path / "checkpoint.safetensors"
    torch.save(Bomb(), path)
    with pytest.raises(RunError, match=f"{path} is not a readable safetensors file"):
        load_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"lentigo": "3"}, {"lentigo": "null"}])
def test_foreign_safetensors_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(RunError, match=f"{path} was not written by lentigo: .*; give a run's own file"):
        load_checkpoint(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist; train the run first, or check the path"):
        load_checkpoint(tmp_path / "checkpoint.safetensors")


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint_module, "VERSION", 2)
    save_checkpoint(tmp_path / "file", new_checkpoint(TINY))
    monkeypatch.undo()
    with pytest.raises(RunError, match="is of version 2, this lentigo reads 1; train again"):
        load_checkpoint(tmp_path / "file")


def test_file_without_a_checkpoints_metadata_is_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "resume.safetensors", {"a": torch.zeros(1)}, {"state": {}})
    with pytest.raises(
        RunError, match=r"resume.safetensors is no checkpoint: it lacks 'experiment'; give a checkpoint"
    ):
        load_checkpoint(tmp_path / "resume.safetensors")


def rewrite(path: Path, **changes: Any) -> None:
    """Change the metadata and put a right checksum under them."""
    tensors, about = load_tensors(path)
    save_tensors(path, tensors, about | changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment": {"seed": 0, "colour": "red"}},
        {"experiment": {"model": {"name": "vgg19"}}},
        {"preprocessing": {"resize_px": 16}},
        {"preprocessing": {"resize_px": 0, "crop_px": None, "mean": [0, 0, 0], "std": [1, 1, 1]}},
    ],
)
def test_settings_of_another_lentigo_are_refused(path: Path, changes: dict[str, Any]) -> None:
    rewrite(path, **changes)
    with pytest.raises(RunError, match=f"{path} is of another lentigo: .*; train again"):
        load_checkpoint(path)


def test_weights_of_another_network_are_refused(path: Path) -> None:
    rewrite(
        path,
        experiment=small_experiment(TINY | {"options": {"image_px": 16, "width": 4}}).model_dump(exclude_none=True),
    )
    with pytest.raises(
        RunError, match=f"{path} holds weights that do not fit its experiment's network; .* size mismatch"
    ):
        load_checkpoint(path)


def test_files_with_a_checksum_of_their_tensors_alone_are_read(path: Path) -> None:
    """As the first lentigo wrote them."""
    tensors, about = load_tensors(path)
    text = json.dumps({"checksum": checkpoint_module._checksum(tensors), **about})
    save_file(tensors, path, metadata={"lentigo": text})
    assert load_checkpoint(path).pack_key == "abc"
    tensors["head.1.bias"] += 1
    save_file(tensors, path, metadata={"lentigo": text})
    with pytest.raises(RunError, match="is damaged"):
        load_checkpoint(path)


# ---------------------------------------------------------------- a disk that refuses


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("I/O error: full")]
)
def test_full_disk_leaves_the_earlier_file_whole(path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def write_half(tensors: dict[str, torch.Tensor], file: Path, metadata: dict[str, str]) -> None:
        file.write_bytes(b"half")
        raise error

    before = path.read_bytes()
    monkeypatch.setattr(checkpoint_module, "save_file", write_half)
    with pytest.raises(RunError, match=f"{path} cannot be written .*; free space on the disk and resume"):
        save_checkpoint(path, new_checkpoint(TINY, seed=1))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    path = tmp_path / "file" / "checkpoint.safetensors"
    with pytest.raises(RunError, match=f"{path} cannot be written"):
        save_checkpoint(path, new_checkpoint(TINY))


# ---------------------------------------------------------------- run folders


def test_run_folder_without_a_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"is no run folder: it has no experiment.toml; give a folder that `lentigo train`"
    ):
        run_checkpoint(tmp_path)
    (tmp_path / "experiment.toml").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match=r"has no checkpoint yet, its training has not ended; .* again with --resume"):
        run_checkpoint(tmp_path)


def test_checkpoint_of_a_run_folder(path: Path) -> None:
    (path.parent / "experiment.toml").write_text(small_experiment(TINY, device="auto").to_toml(), encoding="utf-8")
    assert run_checkpoint(path.parent).pack_key == "abc"


def test_checkpoint_of_another_training_is_refused_in_a_run(path: Path) -> None:
    """It may have learned from the images that this run tests on."""
    run = path.parent
    (run / "experiment.toml").write_text(small_experiment(TINY).changed(seed=1).to_toml(), encoding="utf-8")
    with pytest.raises(RunError, match=r"checkpoint.safetensors is of another experiment than .*experiment.toml; rest"):
        run_checkpoint(run)
    (run / "experiment.toml").write_text(small_experiment(TINY).to_toml(), encoding="utf-8")
    about = {"data": {"root": "x", "pack_key": "abd"}}
    (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
    with pytest.raises(
        RunError, match=r"learned from other images, labels or another split than .*run.json says; rest"
    ):
        run_checkpoint(run)
    about["data"]["pack_key"] = "abc"
    (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
    assert run_checkpoint(run).pack_key == "abc"


def test_files_hold_the_documented_metadata(path: Path) -> None:
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["lentigo"])
    assert set(about) == {"version", "checksum", "experiment", "preprocessing", "pack_key", "learned_from"}

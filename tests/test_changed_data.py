"""A data set that changes between two commands: every later command on a run says so and computes nothing."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lentigo.data.synthetic import write_dataset
from tests.command import called

FAST = ["--set", "data.image_px=48", "--set", "preprocessing.resize_px=32", "--set", "split.validation_fraction=0.2"]
CHANGED = "has changed since"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawn lesions, sorted into class folders, a run, and one that was stopped before its checkpoint."""
    place = tmp_path_factory.mktemp("changed")
    data = write_dataset(place / "drawn", count=40, size_px=48, seed=6, workers=1)
    (data / "metadata.csv").unlink()  # else it says which images there are
    shutil.rmtree(data / "masks")
    assert called("train", data, "--out", place / "run", "--epochs", "1", "--cache", place / "cache", *FAST) == 0
    shutil.copytree(place / "run", place / "stopped")
    (place / "stopped" / "checkpoint.safetensors").unlink()
    return place


@pytest.fixture
def data(place: Path) -> Iterator[Path]:
    """The images, which a test may change; they are restored."""
    shutil.copytree(place / "drawn", place / "kept")
    yield place / "drawn"
    shutil.rmtree(place / "drawn")
    (place / "kept").rename(place / "drawn")


def _images(data: Path) -> tuple[Path, Path, Path]:
    """Two benign images of the training part and a malignant one."""
    benign, malignant = (sorted((data / "train" / name).iterdir()) for name in ("benign", "malignant"))
    return benign[0], benign[-1], malignant[0]


def another_content(data: Path) -> None:
    one, other, _ = _images(data)
    one.write_bytes(other.read_bytes())


def one_bit(data: Path) -> None:
    """In a comment, so that the pixels stay as they are."""
    one = _images(data)[0]
    content = one.read_bytes()
    one.write_bytes(content[:2] + b"\xff\xfe\0\3a" + content[2:])


def added(data: Path) -> None:
    shutil.copy(_images(data)[0], data / "train" / "benign" / "zzz.jpg")


def removed(data: Path) -> None:
    _images(data)[1].unlink()


def renamed(data: Path) -> None:
    """Its place in the order stays."""
    last = _images(data)[1]
    last.rename(last.with_name("zzz.jpg"))


def labels_swapped(data: Path) -> None:
    """Both files get the other one's content: names and labels stay."""
    benign, _, malignant = _images(data)
    one, other = benign.read_bytes(), malignant.read_bytes()
    benign.write_bytes(other)
    malignant.write_bytes(one)


def other_class(data: Path) -> None:
    benign = _images(data)[1]
    benign.rename(data / "train" / "malignant" / benign.name)


def unreadable(data: Path) -> None:
    image = _images(data)[0]
    image.write_bytes(image.read_bytes()[:200])


# What a command on the run says, and what one that goes on with the training says.
SAID: dict[Callable[[Path], None], tuple[str, str]] = {
    another_content: (CHANGED, "was trained on other images than"),
    one_bit: (CHANGED, "was trained on other images than"),
    added: (CHANGED, "leaves out 1 images, first train/benign/zzz.jpg"),
    removed: (CHANGED, "no image 'train/benign/"),
    renamed: ("now gives other labels than", "no image 'train/benign/"),
    labels_swapped: (CHANGED, "was trained on other images than"),
    other_class: (CHANGED, "no image 'train/benign/"),
    unreadable: ("1 of 40 images cannot be read: ", "1 of 40 images cannot be read: "),
}


@pytest.mark.parametrize("change", SAID, ids=lambda change: change.__name__)
def test_a_change_is_noticed_by_every_command(
    place: Path, data: Path, change: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [place / "run", place / "stopped"]
    before = {path: path.read_bytes() for run in runs for path in run.iterdir()}
    change(data)
    commands = {
        ("train", data, "--out", place / "stopped", "--resume"): SAID[change][1],
        ("evaluate", place / "run"): SAID[change][0],
        ("explain", place / "run"): SAID[change][0],
        ("stress", place / "run"): SAID[change][0],
    }
    for command, message in commands.items():
        capsys.readouterr()
        assert called(*command, "--cache", place / "cache") == 2, command
        assert message in capsys.readouterr().err, command
    assert {path: path.read_bytes() for run in runs for path in run.iterdir()} == before


def test_an_image_that_turns_unreadable_after_the_audit_is_named(
    place: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("audit", data, "--out", tmp_path / "audit", "--cache", tmp_path / "cache") == 0
    unreadable(data)
    capsys.readouterr()
    train = ("train", data, "--out", tmp_path / "run", "--epochs", "1", "--cache", tmp_path / "cache", *FAST)
    assert called(*train) == 2
    told = capsys.readouterr().err
    assert f"1 of 40 images cannot be read: {_images(data)[0]} is a damaged JPEG" in told
    assert "repair or remove these files" in told
    assert not (tmp_path / "run").exists()
    shutil.copy(place / "kept" / _images(data)[0].relative_to(data), _images(data)[0])
    assert called(*train) == 0


def test_restored_images_are_the_run_s_own_again(place: Path, data: Path) -> None:
    another_content(data)
    assert called("evaluate", place / "run", "--cache", place / "cache") == 2
    shutil.rmtree(data)
    shutil.copytree(place / "kept", data)
    assert called("train", data, "--out", place / "stopped", "--resume", "--cache", place / "cache") == 0

"""`lentigo audit` as a user meets it: what it writes, what it prints, how it exits."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lentigo.data.synthetic import write_dataset
from lentigo.data.table import read_table


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn lesions whose dark frame tells the label, with a training image copied into the test part."""
    folder = write_dataset(tmp_path_factory.mktemp("data") / "tied", count=120, size_px=64, seed=2, shortcut=0.9)
    (folder / "metadata.csv").unlink()  # the class folders speak
    source = sorted((folder / "train" / "benign").iterdir())[0]
    shutil.copy(source, folder / "test" / "benign" / "again.jpg")
    return folder


def audit(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lentigo.cli", "audit", *map(str, arguments)]
    environment = os.environ | {"LENTIGO_CACHE": str(cwd / "cache"), "COLUMNS": "100", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_a_leak_and_a_shortcut_are_found_told_and_make_strict_fail(tied: Path, tmp_path: Path) -> None:
    shown = audit(tied, "--strict", cwd=tmp_path)
    assert shown.returncode == 1, shown.stderr
    lines = shown.stdout.splitlines()
    assert any(line.startswith("SERIOUS") and "Dark corners." in line for line in lines)
    assert "SERIOUS  Leaks. 1 test image of 31 has a copy of the same photograph outside the test part." in lines
    assert any(line.startswith("A score on these data is no evidence about moles by itself") for line in lines)
    assert "not a medical device" in shown.stdout
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    first = sorted(name for name in read_table(tied).ids if name.startswith("train/benign"))[0]
    assert found["leaks"] == [
        {
            "kind": "duplicate",
            "images": ["test/benign/again.jpg", first],
            "parts": ["test", found["leaks"][0]["parts"][1]],
        }
    ]
    assert found["verdict"]["level"] == "serious"
    assert str(tmp_path) not in (tmp_path / "audit" / "audit.html").read_text()


def test_without_strict_findings_are_no_failure_and_against_lists_shared_images(tied: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for label in ("benign", "malignant"):
        (other / label).mkdir(parents=True)
        for number, file in enumerate(sorted((tied / "train" / label).iterdir())[:6]):
            shutil.copy(file, other / label / f"{number}.jpg")
    shown = audit(tied, "--against", other, "--protocol", "stratified", "--out", "found", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    found = json.loads((tmp_path / "found" / "audit.json").read_text())
    assert found["split"] == "stratified"
    assert found["against"]["data"] == "other"
    assert found["against"]["shared"] == 13  # twelve, and the copy of one of them
    assert found["against"]["conflicts"] == 0
    assert "13 images of 121 are also in other" in shown.stdout


def test_grouped_keeps_the_copy_on_one_side(tied: Path, tmp_path: Path) -> None:
    shown = audit(tied, "--protocol", "grouped", "--strict", cwd=tmp_path)
    found = json.loads((tmp_path / "audit" / "audit.json").read_text())
    assert found["leaks"] == []
    assert len(found["exact_groups"]) == 1
    assert shown.returncode == 1  # the frame still tells


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "nowhere does not exist; give a folder with benign/ and malignant/"),
        (("broken", "--against", "nowhere"), "nowhere does not exist; give a folder"),
        (("broken",), "2 of 2 images cannot be read"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    for label in ("benign", "malignant"):
        (tmp_path / "broken" / label).mkdir(parents=True)
        (tmp_path / "broken" / label / "one.jpg").write_bytes(b"no image")
    shown = audit(*arguments, cwd=tmp_path)
    assert shown.returncode == 2
    assert message in shown.stderr
    assert "Traceback" not in shown.stderr
    assert not (tmp_path / "audit").exists()

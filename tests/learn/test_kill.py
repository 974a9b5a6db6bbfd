"""A training whose processes are killed outright, wherever they are, goes on to the same weights, bit for bit.

`benchmarks/kill.py` does the same with 50 kills.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.kill import Trainings, losses, weights_equal

from lentigo import files
from lentigo.data.synthetic import write_dataset
from lentigo.learn.run import run_about
from lentigo.learn.training import TrainingData, read_run, train
from tests.command import called
from tests.learn.helpers import Killed, assert_same_weights
from tests.learn.small import small_experiment

# The first kill comes before the folder is a run; two fall into the writing of files.
AIMS = ("pack", "step", ".resume.safetensors", "step", ".checkpoint.safetensors")


def finished(trainings: Trainings, run: Path) -> Path:
    """The rest of a training, in this process, which spares the seconds that importing torch takes."""
    assert called(*trainings.command(run)[3:], "--cache", trainings.cache(run)) == 0
    return run


def test_five_kills_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_dataset(tmp_path / "drawn", count=60, size_px=64, seed=5, workers=1)
    rng = np.random.default_rng(11)
    trainings = Trainings(data, tmp_path, epochs=8, rng=rng, longest_s=0.4, threads=torch.get_num_threads())
    whole, runs = finished(trainings, tmp_path / "whole"), [tmp_path / "run"]
    for aim in AIMS:
        while not trainings.killed(runs[-1], aim):  # it had ended before: the kill is drawn again, in another training
            runs.append(tmp_path / f"run{len(runs)}")
            assert len(runs) < 5
    for run in runs:
        finished(trainings, run)
        assert weights_equal(run, whole)
        assert losses(run) == losses(whole)
        assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}
    assert trainings.fell.total() == 5
    assert trainings.fell["writing the pack"] + trainings.fell["beginning the folder"] >= 1
    assert len(losses(whole)) == 8


@pytest.mark.parametrize("name", ["split.csv", "run.json", "experiment.toml"])
@pytest.mark.parametrize("resume", [False, True], ids=["again", "resume"])
def test_kill_while_the_folder_is_begun_is_healed(
    tmp_path: Path, noise_data: TrainingData, monkeypatch: pytest.MonkeyPatch, name: str, resume: bool
) -> None:
    """Until experiment.toml is there the folder is no run, and the same command begins it anew."""
    run, experiment, replace = tmp_path / "run", small_experiment(epochs=1), files.os.replace

    def killed(temporary: Path, path: Path) -> None:
        if path.name == name:
            temporary.with_name(f"{temporary.name[:-6]}x.part").write_bytes(b"half")  # a kill unlinks nothing
            raise Killed
        replace(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", killed)
        with pytest.raises(Killed):
            train(run, experiment, noise_data)
    assert len(list(run.glob(f".{name}.*.part"))) == 1
    assert not (run / "experiment.toml").exists()
    (run / ".tmpOf another program").write_bytes(b"")
    train(run, experiment, noise_data, resume=resume)
    assert read_run(run, noise_data.table) == (experiment, noise_data.split)
    assert run_about(run)["complete"] is True
    assert [path.name for path in run.glob(".*")] == [".tmpOf another program"]
    train(tmp_path / "whole", experiment, noise_data)
    assert_same_weights(tmp_path / "whole", run)

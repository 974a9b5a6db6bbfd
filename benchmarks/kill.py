"""Does a training that is killed again and again end with the weights of one that is not?

    OMP_NUM_THREADS=1 python benchmarks/kill.py [--kills 50] [--seed 0] [--work FOLDER]

A small Tiny VGG learns drawn lesions by `lentigo train` in processes of their own, saving after nearly every step. Each
gets a SIGKILL at a random moment: while it starts, so long after its first step, or as soon as a file of a chosen kind
is being written. Then every file in the run folder is read, and the training goes on with `--resume` (with the command
that began it, where the kill came before the folder was a run), until it ends; the next one begins, until there were
kills enough. All of them must end with the weights and the losses, bit for bit, and with the same files as a training
without a kill, and leave nothing half written. Prints rows for RESULTS.md.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from lentigo.data.synthetic import write_dataset
from lentigo.files import read_csv, read_json
from lentigo.learn.checkpoint import load_tensors

SETTINGS = ("data.image_px=64", "preprocessing.resize_px=64", "train.batch_size=8", "train.save_every_s=0.000001")
# What a kill aims at: a random moment of the start-up, one so long after the first step, or the writing of a file.
AIMS = ("start", *["step"] * 4, ".resume.safetensors", ".resume.safetensors", ".history.csv", ".checkpoint.safetensors")
FIRST_AIMS = ("start", "step", *["pack"] * 3, ".split.csv", ".run.json", ".experiment.toml")  # of a run's first life
PLACES = (
    "writing the pack",
    "beginning the folder",
    "start-up",
    "a step",
    "saving",
    "validating",
    "the history",
    "final checkpoint",
)
TIMES = ("seconds", "images_per_s")


@dataclass
class Trainings:
    """What becomes of the trainings, and where their kills fell."""

    data: Path
    work: Path
    epochs: int
    rng: np.random.Generator
    longest_s: float = 1.0  # from the first step of a life to its kill
    threads: int = 1  # of each process; another number may round otherwise
    fell: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    equal: list[bool] = field(default_factory=list)

    def command(self, run: Path) -> list[str]:
        """The command that begins this run, or goes on with it."""
        start = [sys.executable, "-m", "lentigo.cli", "train", str(self.data), "--out", str(run)]
        if (run / "experiment.toml").is_file():
            return [*start, "--resume"]
        changes = [word for setting in SETTINGS for word in ("--set", setting)]
        return [*start, "--model", "tiny_vgg", "--epochs", str(self.epochs), "--device", "cpu", *changes]

    def to_the_end(self, run: Path) -> None:
        """Begin or go on with a run, without a kill."""
        subprocess.run(self.command(run), env=self._environment(run), check=True, capture_output=True, timeout=600)

    def killed(self, run: Path, aim: str) -> bool:
        """Let it live until a moment; False where it ended before."""
        command, before = self.command(run), _newest(run)
        folder, pattern = (self.cache(run) / "packs", ".*.part") if aim == "pack" else (run, f"{aim}.*.part")
        self.resumes += command[-1] == "--resume"
        with (self.work / "printed.txt").open("ab") as printed:
            process = subprocess.Popen(command, env=self._environment(run), stdout=printed, stderr=printed)
        if aim == "start":
            time.sleep(self.rng.uniform(0, 6))
        else:
            if aim in ("step", ".resume.safetensors", ".history.csv"):
                _wait_for_a_step(process, run, before)
                time.sleep(self.rng.uniform(0, self.longest_s))
            if aim != "step":
                _wait_for_a_file(process, folder, pattern)
                time.sleep(self.rng.uniform(0, 0.002))
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            if process.returncode:
                raise SystemExit(f"{' '.join(command)} failed; see {self.work / 'printed.txt'}")
            return False
        self.fell[_place(run, before, self.cache(run))] += 1
        check_files(run)
        return True

    def cache(self, run: Path) -> Path:
        """Each run packs its images itself, so that kills may fall there too."""
        return self.work / f"{run.name}-cache"

    def _environment(self, run: Path) -> dict[str, str]:
        return os.environ | {
            "OMP_NUM_THREADS": str(self.threads),
            "LENTIGO_CACHE": str(self.cache(run)),
            "COLUMNS": "100",
        }

    def compare(self, run: Path, whole: Path) -> None:
        """Whether a training came to what the one without a kill came to, and left no other files."""
        files = [sorted(path.name for path in folder.iterdir()) for folder in (run, whole)]
        same = weights_equal(run, whole) and losses(run) == losses(whole)
        self.equal.append(same and files[0] == files[1])


def check_files(run: Path) -> None:
    """Read all that a later command would read; a half-written file raises."""
    for name in ("resume.safetensors", "checkpoint.safetensors"):
        if (run / name).exists():
            load_tensors(run / name)
    for name, read in (("run.json", read_json), ("split.csv", read_csv), ("history.csv", read_csv)):
        if (run / name).exists():
            read(run / name)


def weights_equal(run: Path, whole: Path) -> bool:
    one, other = (load_tensors(folder / "checkpoint.safetensors")[0] for folder in (run, whole))
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def losses(run: Path) -> list[dict[str, str]]:
    """The history without what is measured by the clock."""
    rows = read_csv(run / "history.csv")
    return [{name: cell for name, cell in row.items() if name not in TIMES} for row in rows]


def _wait_for_a_step(process: "subprocess.Popen[bytes]", run: Path, before: int) -> None:
    while process.poll() is None and _newest(run) == before:  # a resumed training writes its history at once
        time.sleep(0.002)


def _wait_for_a_file(process: "subprocess.Popen[bytes]", folder: Path, pattern: str) -> None:
    while process.poll() is None and not any(folder.glob(pattern)):
        time.sleep(0.0002)  # the file is there for a millisecond or two


def _newest(run: Path) -> int:
    """When the state or the history was last written; 0 without any."""
    found = (path.stat().st_mtime_ns for path in (run / "resume.safetensors", run / "history.csv") if path.exists())
    return max(found, default=0)


def _place(run: Path, before: int, cache: Path) -> str:
    """Where a kill fell, by what it left."""
    if not (run / "experiment.toml").exists():
        begun = "beginning the folder" if any(run.glob("*")) else "start-up"
        return "writing the pack" if any((cache / "packs").glob(".*.part")) and not any(run.glob("*")) else begun
    left = {path.name.split(".")[1] for path in run.glob(".*.part")}
    left |= {"resume" for _ in run.glob(".tmp*")} - {"checkpoint" for _ in run.glob(".checkpoint*")}
    state = run / "resume.safetensors"
    if "checkpoint" in left or (run / "checkpoint.safetensors").exists() or "run" in left:
        return "final checkpoint"
    if "resume" in left:
        return "saving"
    if "history" in left:
        return "the history"
    if not state.exists() or _newest(run) == before:
        return "start-up"
    about = load_tensors(state)[1]["state"]
    steps = int(read_csv(run / "history.csv")[0]["steps"]) if (run / "history.csv").exists() else 0
    return "validating" if about["step"] == steps else "a step"


def trainings(work: Path, *, kills: int, seed: int, epochs: int = 30) -> Trainings:
    """Train without a kill, then with kills until there were so many; every training is led to its end."""
    data = write_dataset(work / "drawn", count=80, size_px=64, seed=5, workers=1)
    found = Trainings(data=data, work=work, epochs=epochs, rng=np.random.default_rng(seed))
    found.to_the_end(work / "whole")
    number = 0
    while found.fell.total() < kills:
        run = work / f"run{number}"
        while found.fell.total() < kills:
            begun = (run / "experiment.toml").exists()
            if not found.killed(run, str(found.rng.choice(AIMS if begun else FIRST_AIMS))):
                break
        if not (run / "checkpoint.safetensors").exists() or (run / "resume.safetensors").exists():
            found.resumes += (run / "experiment.toml").exists()
            found.to_the_end(run)
        found.compare(run, work / "whole")
        number += 1
        print(f"training {number}: {found.fell.total()} kills so far, equal: {found.equal[-1]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="folder for the runs; default one that is removed")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        found = trainings(options.work or Path(temporary), kills=options.kills, seed=options.seed)
    print(f"\n| kills | {' | '.join(PLACES)} | resumed | trainings | equal weights and losses |")
    print("|---" * (len(PLACES) + 4) + "|")
    fell = " | ".join(str(found.fell[place]) for place in PLACES)
    equal = "yes, all" if all(found.equal) else f"**{sum(found.equal)} of {len(found.equal)}**"
    print(f"| {found.fell.total()} | {fell} | {found.resumes} | {len(found.equal)} | {equal} |\n")
    print(f"{time.monotonic() - started:.0f} s")
    raise SystemExit(not all(found.equal))


if __name__ == "__main__":
    main()

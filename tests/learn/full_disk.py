"""Run as a program: packs, trains and writes a report while the disk is full, and again when there is space.

    python -m tests.learn.full_disk HOW DATA WORK

HOW says what a full disk is: `tmpfs`, the small file system in which WORK lies is filled up; `limit`, the system
refuses files above some size. Prints as JSON, for each stage, the message of the refusal, whether what was there is
still as it was, the names of what else is left, and whether it worked afterwards.
"""

import contextlib
import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lentigo.data.pack import pack_images
from lentigo.data.split import make_split
from lentigo.data.table import read_table
from lentigo.errors import LentigoError
from lentigo.files import write_text
from lentigo.learn.checkpoint import load_tensors
from lentigo.learn.training import TrainingData, TrainProgress, train
from tests.learn.small import IMAGE_PX, small_experiment

LIMIT_BYTES = 2048
EXPERIMENT = small_experiment(save_every_s=1e-9)


class Disk:
    """A place that can be filled up and emptied again."""

    def __init__(self, how: str, work: Path) -> None:
        self.how, self.work = how, work

    def fill(self) -> None:
        if self.how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, resource.RLIM_INFINITY))
            return
        with (self.work / "filler").open("ab", buffering=0) as file:
            for size in (65536, 1):  # to the last byte
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)) == size:
                        pass

    def free(self) -> None:
        if self.how == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (self.work / "filler").unlink(missing_ok=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        self.fill()
        try:
            yield
        finally:
            self.free()


def files_under(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "filler"
    }


def refusal(job: Any) -> str:
    try:
        job()
    except LentigoError as error:
        return f"{type(error).__name__}: {error}"
    return ""


def packed(disk: Disk, data: Path, work: Path) -> tuple[dict[str, Any], TrainingData]:
    table = read_table(data)
    with disk.full():
        message = refusal(lambda: pack_images(table, image_px=IMAGE_PX, cache=work / "cache"))
    left = list(files_under(work))
    pack = pack_images(table, image_px=IMAGE_PX, cache=work / "cache")
    found = TrainingData(table=table, pack=pack, split=make_split(table, EXPERIMENT.split))
    return {"message": message, "kept": True, "left": left, "works": len(pack) == len(table)}, found


def trained(disk: Disk, data: TrainingData, work: Path) -> dict[str, Any]:
    """The disk is full from the fourth step on."""
    run, before = work / "run", dict[str, bytes]()

    def fill(now: TrainProgress) -> None:
        if (now.epoch, now.step) == (1, 4):
            before.update(files_under(run))
            disk.fill()

    message = refusal(lambda: train(run, EXPERIMENT, data, on_progress=fill))
    after = files_under(run)
    disk.free()
    train(run, EXPERIMENT, data, resume=True)
    train(work / "whole", EXPERIMENT, data)
    one, other = (load_tensors(folder / "checkpoint.safetensors")[0] for folder in (run, work / "whole"))
    equal = all(torch.equal(one[name], other[name]) for name in other)
    left = sorted(set(after) - set(before))
    return {"message": message, "kept": after == {**after, **before}, "left": left, "works": equal}


def written(disk: Disk, work: Path) -> dict[str, Any]:
    report = work / "report" / "report.html"
    write_text(report, "whole")
    with disk.full():
        message = refusal(lambda: write_text(report, "<p>half</p>" * 20_000))
    kept, left = report.read_text() == "whole", sorted(set(files_under(report.parent)) - {"report.html"})
    write_text(report, "new")
    return {"message": message, "kept": kept, "left": left, "works": report.read_text() == "new"}


def main(how: str, data: str, work: str) -> None:
    disk, place = Disk(how, Path(work)), Path(work)
    pack, training = packed(disk, Path(data), place)
    found = {"pack": pack, "state": trained(disk, training, place), "report": written(disk, place)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])

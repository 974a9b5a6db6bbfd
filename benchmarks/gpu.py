"""How long does the paper's whole experiment take on a GPU, beside the plain loop, and how far is that from the floor?

Run: python benchmarks/gpu.py DATA [--out FOLDER] [--precision bf16-mixed] [--plain-batches 60]
Without a GPU, or with --dry-run, small networks on drawn lesions and the plain loop of Tiny VGG, to see that it runs.

DATA: the paper's images. One `lentigo compare` of Tiny VGG, AlexNet and VGG11, every stage timed; files are read,
decoded and audited before, as they are once for all experiments. The paper's own part is training, scoring the test
images, Grad-CAM of all of them, and writing the report; the rest is what lentigo adds to it. The plain loop (see
plain_loop.py; a worker a core) trains on the same GPU for some batches, and its ten epochs are computed from its rate.

The floor of a training: operations of the forward and backward pass over the rate of a large matrix product, plus the
bytes of Adam over the rate of a large copy; both rates are measured here. Prints tables for RESULTS.md. Asked: 60 s at
most for the paper's part, and 20 times the plain loop.
"""

import argparse
import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from plain_loop import CONFIGS, of_batches, plain_loop, rate

from lentigo.compare import Comparison, compare, demo_experiment
from lentigo.config import Experiment, read_experiment
from lentigo.data.split import make_split
from lentigo.data.synthetic import write_dataset
from lentigo.data.table import ImageTable, read_table
from lentigo.files import read_json
from lentigo.learn.device import device_name
from lentigo.learn.training import TrainProgress
from lentigo.models.contract import multiplied_as, trainable_parameters
from lentigo.models.costs import multiply_adds
from lentigo.models.registry import create_model, model_entry, resolve_preprocessing

NETWORKS = ("tiny_vgg", "alexnet", "vgg11")
BEFORE = ("reading files", "decoding images", "looking for copies", "probing for shortcuts")
PAPERS = ("training", "scoring", "Grad-CAM", "report")
ADAM_BYTES = 28  # a parameter and step: weight, gradient and two moments read, weight and moments written, 4 bytes each


class Stopwatch:
    """A display that adds up the seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.started = time.perf_counter()
        self.report_begun = 0.0

    def say(self, text: str) -> None:
        print(f"  {time.perf_counter() - self.started:6.1f} s  {text}", flush=True)
        self.report_begun = time.perf_counter()  # the last line is said before the report is written

    def verdict(self, _verdict: dict[str, Any]) -> None: ...

    @contextlib.contextmanager
    def bar(self, text: str, _total: int) -> Iterator[Callable[[int], None]]:
        with self._timed(text.partition(": ")[2] or text):
            yield lambda _: None

    @contextlib.contextmanager
    def training(self, _name: str) -> Iterator[Callable[[TrainProgress], None]]:
        with self._timed("training"):
            yield lambda _: None

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        taken = time.perf_counter() - started
        self.seconds[stage] += taken
        print(f"  {time.perf_counter() - self.started:6.1f} s  {stage}: {taken:.1f} s", flush=True)


def main(data: Path, out: Path, *, precision: str, plain_batches: int, dry: bool) -> None:
    """Print the tables."""
    device = torch.device("cpu" if dry else "cuda")
    table = read_table(data)
    experiments = [_experiment(name, precision, len(table), dry=dry) for name in NETWORKS]
    print(f"{device_name(device)}; torch {torch.__version__}; {precision}; {len(table)} images\n", flush=True)
    watch = Stopwatch()
    comparison = Comparison(
        table=table, experiments=tuple(experiments), out=out / "comparison", command="lentigo compare",
        cache=out / "cache",
    )  # fmt: skip
    compare(comparison, display=watch)
    watch.seconds["report"] = time.perf_counter() - watch.report_begun
    print_stages(dict(watch.seconds), time.perf_counter() - watch.started)
    ceilings = measured_ceilings(device, precision, small=dry)
    print("\n| network | accuracy | AUC | lentigo, s | images/s | plain loop, images/s | ratio | floor, s "
          "| times the floor |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    for experiment in experiments[:1] if dry else experiments:  # the plain loop has the paper's sizes
        print_network(data, table, out, experiment, ceilings, batches=plain_batches, device=device)


def _experiment(name: str, precision: str, images: int, *, dry: bool) -> Experiment:
    if dry:
        return demo_experiment(name).changed(train={"epochs": 1, "device": "cpu"})
    experiment = read_experiment(CONFIGS / f"{name}.toml")
    protocol = "paper" if images == 10_605 else "stratified"
    return experiment.changed(train={"precision": precision, "device": "cuda"}, split={"protocol": protocol})


def print_stages(seconds: dict[str, float], total: float) -> None:
    """What took how long, and what the paper's part came to."""
    print("\n| stage | s |")
    print("|---|---|")
    for stage, value in seconds.items():
        print(f"| {stage} | {value:.1f} |")
    before, paper = (sum(seconds[stage] for stage in stages) for stages in (BEFORE, PAPERS))
    between = total - sum(seconds.values())
    print(f"| between the stages: statistics and reading | {between:.1f} |")
    print(f"| **all** | **{total:.1f}** |")
    print(
        f"\nThe paper's part: {paper:.1f} s (asked: 60). All after decoding and audit: {total - before:.1f} s.",
        flush=True,
    )


def measured_ceilings(device: torch.device, precision: str, *, small: bool) -> tuple[float, float]:
    """Operations a second of a large matrix product, and bytes a second of a large copy, best of five."""
    side, count = (512, 1 << 20) if small else (8192, 1 << 29)
    kind = torch.bfloat16 if precision == "bf16-mixed" and not small else torch.float32
    one = torch.randn(side, side, device=device, dtype=kind)
    source = torch.zeros(count, device=device)
    target = torch.empty_like(source)
    with contextlib.nullcontext() if precision != "32-true" else multiplied_as(tf32=False):
        product_s = _best(lambda: torch.matmul(one, one), device)
    copy_s = _best(lambda: target.copy_(source), device)
    found = (2 * side**3 / product_s, 2 * source.nbytes / copy_s)
    print(f"\nMatrix product: {found[0] / 1e12:.1f} TFLOP/s; copy: {found[1] / 1e9:.0f} GB/s.", flush=True)
    return found


def _best(work: Callable[[], object], device: torch.device) -> float:
    taken = []
    for _ in range(6):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def print_network(
    data: Path,
    table: ImageTable,
    out: Path,
    experiment: Experiment,
    ceilings: tuple[float, float],
    *,
    batches: int,
    device: torch.device,
) -> None:
    """A row: the training of the comparison, the plain loop's rate, and the floor."""
    name, config = experiment.model.name, experiment.train
    split = make_split(table, experiment.split)
    about = read_json(out / "comparison" / "runs" / name / "run.json")
    images = len(split.indices(table, "train")) * config.epochs
    _, order = of_batches(table, split, batches, experiment)
    stamps = [
        time.perf_counter()
        for _ in plain_loop(data, table, order, name, experiment, augmented=True, device=device.type)
    ]
    plain = rate(stamps, experiment)
    preprocessing = resolve_preprocessing(experiment.model, experiment.preprocessing)
    network = create_model(experiment.model, preprocessing, seed=0)
    operations = 6 * multiply_adds(network, preprocessing) * images  # forward, and two such products backward
    moved = ADAM_BYTES * trainable_parameters(network) * about["steps"]
    floor = operations / ceilings[0] + moved / ceilings[1]
    seconds, scores = about["seconds"], read_json(out / "comparison" / "comparison.json")["models"][name]
    print(
        f"| {model_entry(name).title} | {scores['accuracy']:.3f} | {scores['auc']:.3f} ({scores['auc_low']:.3f} to "
        f"{scores['auc_high']:.3f}) | {seconds:.1f} | {images / seconds:.0f} | {plain:.0f} | "
        f"{images / seconds / plain:.1f} | {floor:.2f} | {seconds / floor:.1f} |", flush=True,
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--precision", default="bf16-mixed", choices=["32-true", "tf32", "bf16-mixed"])
    parser.add_argument("--plain-batches", type=int, default=60)
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = given.out or Path(folder)
        dry = given.dry_run or given.data is None or not torch.cuda.is_available()
        if dry:
            print("A dry run on drawn lesions, without a GPU or without DATA: no figure of it counts.\n")
        shown = write_dataset(Path(folder) / "drawn", count=120, seed=0, size_px=300) if dry else given.data
        main(shown, place, precision=given.precision, plain_batches=5 if dry else given.plain_batches, dry=dry)

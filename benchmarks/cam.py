"""How many images a second does Grad-CAM explain here, in two public tools, and against the bare forward pass?

    python benchmarks/cam.py [--images 2000] [--vgg11-images 256] [--batch 32] [--seed 0] [--cpu-time]

The paper's three networks with initial weights and images of noise, on the processor. All tools get the same network
and the same batches, as torch makes them and again with the colours of a pixel side by side (channels last, as lentigo
trains), and take one batch in turn; the first is a warm-up. Images a second are those of the median batch. Before,
all are checked to give the same maps, within 1e-4 of the largest value. What each gives:

    forward         the logits
    lentigo         `explain_images`: maps of either decision, unstretched, and the logits, as arrays. Its quick copy of
                    the features is made once, before the first batch; the time for it is printed
    captum          `LayerGradCam.attribute`: maps of either decision, unstretched; no logits
    captum, logits  the same, and a forward pass for the logits
    grad-cam        `GradCAM` as documented: the map of one decision, cut at 0, stretched to [0, 1] and enlarged to the
                    image; logits
    grad-cam, raw   the same without cutting, stretching and enlarging

With --cpu-time it counts the processor's time for this process instead of the wall's, for a machine that others use
too; set OMP_NUM_THREADS=1 then, since threads that wait count as well.

Asked: 2.5 times the images/s of either tool (goal: 5), and 1.4 times the time of the forward pass at most. Prints a
table for RESULTS.md.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget
from torch import Tensor

from lentigo.config import ModelConfig, PreprocessingConfig
from lentigo.explain.methods import explain_images
from lentigo.explain.quick import quick_copy
from lentigo.models.contract import LesionClassifier
from lentigo.models.registry import create_model, model_entry, resolve_preprocessing

NETWORKS = ("tiny_vgg", "alexnet", "vgg11")
LAYOUTS = {"as torch makes it": torch.contiguous_format, "channels last": torch.channels_last}
POOL = 4  # batches that are used over and over
Tool = Callable[[LesionClassifier, Iterable[Tensor]], Iterator[np.ndarray]]


class RawGradCAM(GradCAM):
    """The package without what it does to its maps afterwards."""

    def compute_cam_per_layer(self, images: Tensor, targets: list, eigen_smooth: bool) -> list[np.ndarray]:
        parts = self.activations_and_grads
        activations, gradients = parts.activations[0].numpy(), parts.gradients[0].numpy()
        return [self.get_cam_image(images, self.target_layers[0], targets, activations, gradients, eigen_smooth)]

    def aggregate_multi_layers(self, maps: list[np.ndarray]) -> np.ndarray:
        return maps[0]


def forward(model: LesionClassifier, batches: Iterable[Tensor]) -> Iterator[np.ndarray]:
    for images in batches:
        with torch.no_grad():
            logits = model(images).numpy()
        yield logits


def lentigo(model: LesionClassifier, batches: Iterable[Tensor]) -> Iterator[np.ndarray]:
    for piece in explain_images(model, batches):
        yield piece.malignant


def captum(model: LesionClassifier, batches: Iterable[Tensor]) -> Iterator[np.ndarray]:
    tool = LayerGradCam(model, model.features)
    for images in batches:
        yield tool.attribute(images)[:, 0].detach().numpy()


def captum_and_logits(model: LesionClassifier, batches: Iterable[Tensor]) -> Iterator[np.ndarray]:
    tool = LayerGradCam(model, model.features)
    for images in batches:
        with torch.no_grad():
            model(images)
        yield tool.attribute(images)[:, 0].detach().numpy()


def grad_cam(model: LesionClassifier, batches: Iterable[Tensor], kind: type[GradCAM] = GradCAM) -> Iterator[np.ndarray]:
    with kind(model=model, target_layers=[model.features]) as tool:
        for images in batches:
            yield tool(images, [BinaryClassifierOutputTarget(1)] * len(images))


def grad_cam_raw(model: LesionClassifier, batches: Iterable[Tensor]) -> Iterator[np.ndarray]:
    return grad_cam(model, batches, RawGradCAM)


TOOLS: dict[str, Tool] = {
    "forward": forward,
    "lentigo": lentigo,
    "captum": captum,
    "captum, logits": captum_and_logits,
    "grad-cam": grad_cam,
    "grad-cam, raw": grad_cam_raw,
}


def seconds_a_batch(
    model: LesionClassifier, pool: list[Tensor], batches: int, clock: Callable[[], float]
) -> dict[str, float]:
    """The median of each tool, after the first batch."""
    source = [pool[number % len(pool)] for number in range(batches + 1)]
    running = {name: tool(copy.deepcopy(model), source) for name, tool in TOOLS.items()}  # some leave hooks in theirs
    spent: dict[str, list[float]] = {name: [] for name in TOOLS}
    for _ in range(batches + 1):
        for name, results in running.items():
            start = clock()
            next(results)
            spent[name].append(clock() - start)
    return {name: float(np.median(times[1:])) for name, times in spent.items()}


def check_same_maps(model: LesionClassifier, images: Tensor) -> None:
    """Stop where a tool's maps differ; grad-cam's own are compared before it stretches them."""
    expected = next(captum(model, [images]))
    for tool in (lentigo, grad_cam_raw):
        difference = np.abs(next(tool(model, [images])) - expected).max() / np.abs(expected).max()
        if not difference < 1e-4:
            raise SystemExit(f"{tool.__name__} differs from captum by {difference:.1e} of the largest value")


def main(images: int, vgg11_images: int, *, batch: int, seed: int, cpu_time: bool) -> None:
    """Print a row for each network and layout."""
    clock = time.process_time if cpu_time else time.perf_counter
    print("| network | layout |", " | ".join(TOOLS), "| x captum | x captum, logits | x grad-cam | x grad-cam, raw "
          "| of forward | copy (s) |")  # fmt: skip
    print("|---|---" + "|---" * (len(TOOLS) + 6) + "|")
    for name in NETWORKS:
        config = ModelConfig(name=name)
        preprocessing = resolve_preprocessing(config, PreprocessingConfig())
        model = create_model(config, preprocessing, seed=seed).eval()
        side = preprocessing.output_px or 0
        rng = np.random.default_rng(np.random.SeedSequence((seed, 0xCA3)))
        noise = [torch.from_numpy(rng.random((batch, 3, side, side), dtype=np.float32)) for _ in range(POOL)]
        for layout, memory_format in LAYOUTS.items():
            model = model.to(memory_format=memory_format)
            pool = [part.contiguous(memory_format=memory_format) for part in noise]
            check_same_maps(model, pool[0])
            start = clock()
            quick_copy(model)
            copied = clock() - start
            batches = max((vgg11_images if name == "vgg11" else images) // batch, 1)
            took = seconds_a_batch(model, pool, batches, clock)
            rates = " | ".join(f"{batch / took[tool]:.1f}" for tool in TOOLS)
            ratios = " | ".join(
                f"{took[tool] / took['lentigo']:.2f}" for tool in TOOLS if tool not in ("forward", "lentigo")
            )
            print(
                f"| {model_entry(name).title}, {side} px | {layout} | {rates} | {ratios} "
                f"| {took['lentigo'] / took['forward']:.2f} | {copied:.2f} |", flush=True
            )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--vgg11-images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu-time", action="store_true")
    arguments = parser.parse_args()
    main(
        arguments.images,
        arguments.vgg11_images,
        batch=arguments.batch,
        seed=arguments.seed,
        cpu_time=arguments.cpu_time,
    )

"""How long does one picture take with its heat map, by the exported model and by torch with the grad-cam package?

Run: python benchmarks/single_image.py [--networks tiny_vgg,alexnet] [--rounds 30]

Networks with random weights at the paper's sizes, one picture at a time, from pixels to logit and Grad-CAM map: torch
in eager mode with pytorch-grad-cam, against onnxruntime on the exported graph; both on all cores, in processes of their
own. Also the cold start: `lentigo predict MODEL IMAGE` from the shell until it ends, after one that fills the disk's
cache. Prints a table for RESULTS.md. Asked: at least 3 times as fast, and a cold start below 1.0 s.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

WARM_UP = 3


def main(networks: list[str], rounds: int) -> None:
    """Print a row for each network."""
    print("| network | torch and grad-cam, ms | lentigo, ms | ratio | file, MB | cold start of predict, s |")
    print("|---|---|---|---|---|---|")
    for name in networks:
        with tempfile.TemporaryDirectory() as folder:
            model = in_own_process(exported, name, Path(folder))
            plain = in_own_process(plain_ms, name, rounds)
            ours = in_own_process(lentigo_ms, model, rounds)
            starts = statistics.median(cold_start(model, Path(folder)) for _ in range(5))
            size = model.stat().st_size / 1e6
        print(f"| {name} | {plain:.1f} | {ours:.1f} | {plain / ours:.1f} | {size:.2f} | {starts:.2f} |", flush=True)


def exported(name: str, folder: Path) -> Path:
    """The model.onnx of a run that was trained for one step on drawn lesions."""
    from lentigo.config import read_experiment
    from lentigo.data.pack import pack_images
    from lentigo.data.split import make_split
    from lentigo.data.synthetic import write_dataset
    from lentigo.data.table import read_table
    from lentigo.deploy.export import export_run
    from lentigo.learn.run import TrainingData
    from lentigo.learn.training import train

    drawn = read_table(write_dataset(folder / "drawn", count=160, size_px=300, seed=0, workers=1))
    split = {"protocol": "stratified", "validation_fraction": 0.5, "test_fraction": 0.2}
    experiment = read_experiment(Path("configs/paper") / f"{name}.toml").changed(
        split=split, train={"epochs": 1, "limit_s": 0.01, "device": "cpu"}
    )
    pack = pack_images(drawn, image_px=300, cache=folder / "cache")
    data = TrainingData(table=drawn, pack=pack, split=make_split(drawn, experiment.split))
    train(folder / "run", experiment, data)
    return export_run(folder / "run", data, folder / "exported").onnx


def picture() -> np.ndarray:
    """A drawn mole."""
    from lentigo.data.synthetic import draw_lesion

    return draw_lesion(1, 1, malignant=True, size_px=300).image


def plain_ms(name: str, rounds: int) -> float:
    """Median milliseconds of torch and pytorch-grad-cam, as a notebook has them."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import BinaryClassifierOutputTarget
    from torch import nn
    from torchvision import models, transforms

    image = Image.fromarray(picture())
    if name == "tiny_vgg":
        scale = transforms.ToTensor()
        layers: list[nn.Module] = []
        for channels in (3, 10):
            convolutions = nn.Conv2d(channels, 10, 3, padding=1), nn.Conv2d(10, 10, 3, padding=1)
            layers += [convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), nn.MaxPool2d(2)]
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(56_250, 1))
        target = network[9]
    else:
        numbers = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        steps = transforms.Resize((256, 256)), transforms.CenterCrop(224), transforms.ToTensor()
        scale = transforms.Compose([*steps, transforms.Normalize(*numbers)])
        network = models.get_model(name)
        network.classifier[6] = nn.Linear(4096, 1)
        target = network.features[-1]
    network.eval()
    with GradCAM(model=network, target_layers=[target]) as cam:
        return median_ms(
            lambda: cam(input_tensor=scale(image)[None], targets=[BinaryClassifierOutputTarget(1)]), rounds
        )


def lentigo_ms(model: Path, rounds: int) -> float:
    """Median milliseconds of preprocessing and the exported graph."""
    from lentigo.deploy.model_file import INPUT, OUTPUTS, open_model
    from lentigo.imaging import preprocess

    session, about = open_model(model)
    image = picture()
    return median_ms(lambda: session.run(list(OUTPUTS), {INPUT: preprocess(image, about.preprocessing)[None]}), rounds)


def median_ms(step: object, rounds: int) -> float:
    """Median milliseconds of a call after a few."""
    assert callable(step)
    times = []
    for _ in range(WARM_UP + rounds):
        started = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[WARM_UP:])


def cold_start(model: Path, folder: Path) -> float:
    """Seconds of a whole `lentigo predict`."""
    Image.fromarray(picture()).save(folder / "mole.png")
    started = time.perf_counter()
    command = [Path(sys.executable).with_name("lentigo"), "predict", model, folder / "mole.png", "--insist"]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def in_own_process(function: object, *arguments: object) -> object:
    """One side's memory settings and threads are not the other's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments).result()  # type: ignore[arg-type]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="tiny_vgg,alexnet")
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    main(given.networks.split(","), given.rounds)

"""Does an exported model refuse pictures that show no mole, and accept those that do?

Run: python benchmarks/not_moles.py RUN [--others NAME=DATA ...]

RUN: a run that `lentigo export` has exported. The real ones are its test images, which nothing in the model has seen.
The others: photographs that scikit-image and scikit-learn ship, whole and in five parts; drawn faces of nobody, pages
of letters, noise and textures, from a fixed seed. Prints for every kind the share that the model's own limit refuses,
the share at the limit that accepts exactly 95 % of the real ones, and what `lentigo predict` refuses with all its
checks. Asked: at 95 % accepted, at least 95 % of the others refused.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage
import sklearn
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import gaussian_filter

from lentigo.cli.options import data_of_run
from lentigo.data.table import read_table
from lentigo.deploy.screen import Screener
from lentigo.errors import ImageError
from lentigo.imaging import read_image

PHOTOGRAPHS = """
    astronaut.png brick.png camera.png cell.png chelsea.png chessboard_RGB.png clock_motion.png coffee.png coins.png
    color.png grass.png gravel.png horse.png hubble_deep_field.jpg ihc.png logo.png microaneurysms.png moon.png
    motorcycle_left.png motorcycle_right.png page.png phantom.png retina.jpg rocket.jpg text.png
"""
DRAWN = 60  # of each kind
SIDE = 300
SKIN = ((255, 219, 190), (241, 194, 160), (224, 172, 130), (198, 134, 96), (141, 85, 60), (90, 56, 40))


def main(run: Path, others: list[str]) -> None:
    """Print a row for each kind of picture."""
    screener = Screener(run / "exported")
    refuse_above = screener.about.content["outlier"]["refuse_above"]
    prepared = data_of_run(run, None, None, None)
    test = [prepared.table.rows[index].path for index in prepared.split.indices(prepared.table, "test")]
    real, refused = judged(screener, (read_image(path) for path in test))
    limit = float(np.quantile(real, 0.95))
    print(f"limit of the model {refuse_above:.3f}, limit that accepts 95 % of the test images {limit:.3f}\n")
    print("| pictures | number | refused by the model's limit | at 95 % of the test images accepted | by all checks |")
    print("|---|---|---|---|---|")

    def row(name: str, scores: np.ndarray, refused: np.ndarray) -> None:
        shares = ((scores > refuse_above).mean(), (scores > limit).mean(), refused.mean())
        print(f"| {name} | {len(scores)} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)

    row("test images of the run", real, refused)
    for text in others:
        name, _, data = text.partition("=")
        rows = read_table(Path(data), one_class=True).rows
        some = np.random.default_rng(0).permutation(len(rows))[:500]
        row(name, *judged(screener, (read_image(rows[index].path) for index in some)))
    every: list[tuple[np.ndarray, np.ndarray]] = []
    rng = np.random.default_rng(0)
    kinds = {"faces": faces(rng), "letters": letters(rng), "noise": noise(rng), "textures": textures(rng)}
    for name, images in {"photographs": photographs(), **kinds}.items():
        every.append(judged(screener, images))
        row(name, *every[-1])
    row("**all that show no mole**", *(np.concatenate(part) for part in zip(*every, strict=True)))


def judged(screener: Screener, images: Iterator[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Outlier scores, and whether the picture is refused for any reason."""
    found = [screener.screen(image) for image in images]
    return np.array([one.outlier for one in found]), np.array([one.band == "refused" for one in found])


def photographs() -> Iterator[np.ndarray]:
    """Each whole, and its corners and middle at half the shorter side."""
    folders = Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets" / "images"
    for path in [
        *(folders[0] / name for name in PHOTOGRAPHS.split()),
        folders[1] / "china.jpg",
        folders[1] / "flower.jpg",
    ]:
        try:
            image = read_image(path)
        except ImageError as error:
            raise SystemExit(f"{error}; this version of the package ships other photographs") from error
        yield image
        height, width = image.shape[:2]
        side = min(height, width) // 2
        ends = [(0, 0), (0, width - side), (height - side, 0), (height - side, width - side)]
        for top, left in [*ends, ((height - side) // 2, (width - side) // 2)]:
            yield image[top : top + side, left : left + side]


def faces(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Two eyes, a nose and a mouth on an oval of skin."""
    for _ in range(DRAWN):
        image = Image.new("RGB", (SIDE, SIDE), colour(rng))
        pen, skin = ImageDraw.Draw(image), SKIN[rng.integers(len(SKIN))]
        x, y = rng.integers(120, 180, 2).tolist()
        wide, high = int(rng.integers(60, 110)), int(rng.integers(80, 130))
        pen.ellipse((x - wide, y - high - 30, x + wide, y + high - 60), fill=colour(rng, 120))
        pen.ellipse((x - wide, y - high, x + wide, y + high), fill=skin)
        for side in (-1, 1):
            eye = x + side * wide * 0.4
            pen.ellipse((eye - 14, y - 25, eye + 14, y - 9), fill="white")
            pen.ellipse((eye - 6, y - 23, eye + 6, y - 11), fill=colour(rng, 100))
        shade = tuple(int(0.85 * value) for value in skin)
        pen.polygon([(x, y - 5), (x - 10, y + 25), (x + 10, y + 25)], fill=shade)
        pen.ellipse((x - 28, y + 45, x + 28, y + 60), fill=(170, 50, 60))
        yield np.asarray(image.filter(ImageFilter.GaussianBlur(1.5)))


def letters(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Lines of dark letters on a pale page."""
    for _ in range(DRAWN):
        image = Image.new("RGB", (SIDE, SIDE), tuple(rng.integers(200, 256, 3).tolist()))
        pen, size = ImageDraw.Draw(image), int(rng.integers(9, 40))
        font = ImageFont.load_default(size)
        for y in range(5, SIDE, int(1.3 * size)):
            line = "".join(chr(letter) for letter in rng.integers(97, 123, 60))
            pen.text((5, y), line, fill=colour(rng, 90), font=font)
        yield np.asarray(image)


def noise(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Around one colour, grey or coloured, at four grains."""
    for number in range(DRAWN):
        grain = (0, 2, 8, 24)[number % 4]
        values = rng.normal(size=(SIDE, SIDE, 3 if number % 2 else 1))
        values = gaussian_filter(values, (grain, grain, 0)) if grain else values
        image = rng.integers(0, 256, 3) + rng.integers(20, 128) * values / values.std()
        yield np.clip(image, 0, 255).astype(np.uint8)


def textures(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Stripes, checks, waves, a slope, dots, in two colours."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    for number in range(DRAWN):
        period, turn = int(rng.integers(6, 80)), rng.uniform(0, np.pi)
        along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        wave = np.sin(2 * np.pi * along / period)
        shapes = (
            wave > 0,
            (np.floor(along / period) + np.floor(across / period)) % 2 > 0,
            (1 + wave) / 2,
            (along - along.min()) / np.ptp(along),
            np.hypot(along % period - period / 2, across % period - period / 2) < period / 4,
        )
        share = np.asarray(shapes[number % 5], dtype=np.float64)[..., None]
        one, other = rng.integers(0, 256, (2, 3))
        yield (one * share + other * (1 - share)).astype(np.uint8)


def colour(rng: np.random.Generator, below: int = 256) -> tuple[int, int, int]:
    """Any colour with values below a limit."""
    red, green, blue = rng.integers(0, below, 3).tolist()
    return red, green, blue


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--others", nargs="*", default=[], metavar="NAME=DATA")
    given = parser.parse_args()
    main(given.run, given.others)

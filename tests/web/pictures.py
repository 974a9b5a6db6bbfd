"""Pictures for the page's tests, and what the page shows of them."""

import numpy as np

from lentigo.data.synthetic import draw_lesion
from tests.web.conftest import Visit, png

LOW, HIGH, UNCLEAR, HAIRY = 1, 2, 7, 5  # pictures of series 3 that the small model and the gate judge so


def drawn(index: int, size_px: int = 300) -> bytes:
    return png(draw_lesion(3, index, malignant=index % 2 == 0, size_px=size_px).image)


def bare_skin() -> bytes:
    grain = np.random.default_rng(1).normal(0, 9, (300, 300, 1))
    return png(np.clip(np.array([205, 160, 140]) + grain, 0, 255).astype(np.uint8))


def blue_spot() -> bytes:
    spot = draw_lesion(3, LOW, malignant=False).image[..., ::-1]
    return png((spot * np.array([0.4, 0.7, 1])).astype(np.uint8))


def wide_picture() -> bytes:
    """300 x 500 pixels with the spot in the right half."""
    spot = draw_lesion(3, LOW, malignant=False).image
    return png(np.concatenate([np.full((300, 200, 3), spot[0, 0], np.uint8), spot], axis=1))


def heat_pixels(page: Visit) -> np.ndarray:
    """Red, green, blue and opacity of the heat map on show."""
    values = page.call(
        """() => { const canvas = document.querySelector(".over");
                   return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]; }"""
    )
    side = int((len(values) / 4) ** 0.5)
    return np.array(values, np.uint8).reshape(side, side, 4)

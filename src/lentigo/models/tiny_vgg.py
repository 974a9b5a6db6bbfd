"""Tiny VGG, the paper's Fig. 10: blocks of two 3x3 convolutions and a pooling, then one linear layer.

Source of the architecture: CNN Explainer, Wang et al. 2020, doi:10.1109/TVCG.2020.3030418.
"""

from torch import nn

from lentigo.errors import ConfigError
from lentigo.models.contract import LesionClassifier


def build_tiny_vgg(*, blocks: int, width: int, input_px: int) -> LesionClassifier:
    """Tiny VGG for square images.

    Args:
        blocks: number of blocks; each halves the side. The paper has 2.
        width: kernels of every convolution. The paper has 10.
        input_px: height and width of its input. The paper has 300.
    Raises: ConfigError: the image is too small for so many blocks.
    """
    side = input_px >> blocks
    if side < 1:
        raise ConfigError(
            f"tiny_vgg with {blocks} blocks needs images of at least {1 << blocks} px, found {input_px}; "
            "lower model.options.blocks or raise preprocessing.resize_px"
        )
    layers: list[nn.Module] = []
    for block in range(blocks):
        layers += _block(3 if block == 0 else width, width)
    return LesionClassifier(nn.Sequential(*layers), nn.Sequential(nn.Flatten(), nn.Linear(width * side * side, 1)))


def _block(channels_in: int, width: int) -> list[nn.Module]:
    # The figure pools after the last ReLU. Both are monotone, so pooling first gives the same numbers, and the ReLU
    # then has a quarter of the values to go through.
    return [
        nn.Conv2d(channels_in, width, kernel_size=3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, kernel_size=3, padding=1),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.ReLU(inplace=True),
    ]

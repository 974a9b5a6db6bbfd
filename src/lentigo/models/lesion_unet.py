"""LesionUNet, a small U-Net: an image in, one logit a pixel out, above 0 inside the lesion.

After Ronneberger, Fischer & Brox 2015, doi:10.1007/978-3-319-24574-4_28, with residual blocks (He et al. 2016,
doi:10.1109/CVPR.2016.90), batch normalisation, padded convolutions and at most `MOST_CHANNELS` channels. The first
convolution halves the side and the logits are enlarged at the end: at full resolution the two finest stages would take
three quarters of the time, and a lesion's border is less sure than a pixel.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from lentigo.errors import ConfigError

MOST_CHANNELS = 128


class LesionUNet(nn.Module):
    """A network of stages whose side halves on the way down, and which are met again on the way up."""

    def __init__(self, *, width: int, stages: int) -> None:
        super().__init__()
        channels = [min(width << stage, MOST_CHANNELS) for stage in range(stages)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, kernel_size=5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        inputs = [width, *channels[:-1]]
        self.down = nn.ModuleList(_Block(before, after) for before, after in zip(inputs, channels, strict=True))
        self.up = nn.ModuleList(
            _Block(channels[stage + 1] + channels[stage], channels[stage]) for stage in reversed(range(stages - 1))
        )
        self.head = nn.Conv2d(width, 1, kernel_size=1)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch height width"]:
        """Logits; above 0 = lesion."""
        maps, met = self.stem(images), []
        for stage, block in enumerate(self.down):
            maps = block(max_pool2d(maps, 2) if stage else maps)
            met.append(maps)
        met.pop()
        for block in self.up:
            beside = met.pop()
            maps = block(torch.cat([_enlarged(maps, beside.shape[2:]), beside], dim=1))
        return _enlarged(self.head(maps), images.shape[2:])[:, 0]


def build_lesion_unet(*, width: int, stages: int, input_px: int) -> LesionUNet:
    """LesionUNet for square images.

    Args:
        width: channels of the first stage; each further one has twice as many, `MOST_CHANNELS` at most.
        stages: of the way down; the first has half the side of the image.
        input_px: height and width of its input.
    Raises: ConfigError: the image is too small for so many stages.
    """
    if input_px < 2 << stages:  # else one cell is left, of which batch normalisation makes nothing in a batch of one
        raise ConfigError(
            f"lesion_unet with {stages} stages needs images of at least {2 << stages} px, found {input_px}; "
            "lower model.options.stages or raise preprocessing.resize_px"
        )
    return LesionUNet(width=width, stages=stages)


class _Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Conv2d(after, after, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.shortcut = nn.Conv2d(before, after, kernel_size=1, bias=False) if before != after else nn.Identity()

    def forward(self, maps: Float[Tensor, "batch before row column"]) -> Float[Tensor, "batch after row column"]:
        return torch.relu(self.body(maps) + self.shortcut(maps))


def _enlarged(
    maps: Float[Tensor, "batch channel row column"], size: torch.Size
) -> Float[Tensor, "batch channel height width"]:
    return interpolate(maps, size=tuple(size), mode="bilinear", align_corners=False)
